//! The hosts that a field's value may go to, as the form shows them.

use std::borrow::Cow;

use super::{super::shown, Key, shown_value};

/// A host that a credential may go to.
pub(in super::super) struct Host<'k> {
    pub(in super::super) shown: Cow<'k, str>,
    /// The origin as the file has it: the page fills values of the section in while they are typed.
    pub(in super::super) written: &'k str,
    /// True if the values of another holder make it, whose credential is used.
    pub(in super::super) is_shared: bool,
}

impl Key<'_> {
    /// The hosts that it may go to. Of one that values make and that is not complete, the values that are known are filled in.
    pub(in super::super) fn hosts(&self) -> Vec<Host<'_>> {
        let is_shared = !self.is_shown() && self.shared_by().is_some();
        let hosts = self.field.written_origins().map(|written| {
            let origin = self.field.templates.get(written).map_or(written, String::as_str);
            // `templates` has the values of the holder whose credential is used. A value of the owner's own leads elsewhere.
            let is_theirs = is_shared || self.shared_by().is_none();
            let is_complete = is_theirs && (origin != written || !self.field.templates.contains_key(written));
            let shown = if is_complete { shown::host(origin).into() } else { self.filled(written).into() };
            Host { shown, written, is_shared }
        });
        hosts.collect()
    }

    /// True if what is stored is held back, since it would go to another host than it was saved for.
    pub(in super::super) fn stays(&self) -> bool {
        self.field.unconfirmed.is_some() && !self.field.bound_to.is_empty()
    }

    /// The values that its hosts lack, if it is stored.
    pub(in super::super) fn missing(&self) -> &[String] {
        if self.field.bound_to.is_empty() { &[] } else { &self.field.missing }
    }

    /// The host of a template, with the values of the section that are stored, or their defaults.
    fn filled(&self, template: &str) -> String {
        let mut text = String::new();
        // Every second piece is the name of a field.
        for (index, piece) in template.split(['{', '}']).enumerate() {
            let field = self.section.fields.iter().find(|field| field.field == piece);
            let value = field.and_then(|field| shown_value(field).or(field.default.as_deref()));
            match value {
                _ if index % 2 == 0 => text.push_str(piece),
                Some(value) => text.push_str(value),
                None => text.extend(["{", piece, "}"]),
            }
        }
        shown::host(&text).to_owned()
    }
}
