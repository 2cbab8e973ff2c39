//! The head of a part: the name of its field.
//!
//! It guarantees: a head that is accepted has one name, for every parser: no repeated, folded or extended parameters, no
//! escapes, no text in another parameter that looks like a further one, and no coding or character set of the content.

use crate::request::judge::{
    Unjudgeable,
    parameters::{Parsed, is_token},
};

/// A head so far.
#[derive(Debug, Default)]
pub(super) struct Head {
    name: Option<String>,
    has_file_name: bool,
    /// It has a field that changes the meaning of the content.
    has_other: bool,
}

impl Head {
    /// The next line, without its end.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<(), Unjudgeable> {
        let colon = line.iter().position(|byte| !is_token(*byte)).filter(|place| line[*place] == b':');
        let colon = colon.filter(|place| *place > 0).ok_or(Unjudgeable::PartHead)?;
        let value = line[colon + 1..].trim_ascii();
        if value.iter().any(|byte| matches!(byte, 0..=0x1F | 0x7F)) {
            return Err(Unjudgeable::PartHead);
        }
        let is = |name: &str| line[..colon].eq_ignore_ascii_case(name.as_bytes());
        if is("content-disposition") {
            return self.disposition(value).ok_or(Unjudgeable::PartHead);
        }
        if is("content-type") {
            let parsed = Parsed::of(value);
            let is_text = |one: &Parsed<'_>| {
                one.essence.eq_ignore_ascii_case(b"text/plain")
                    && one.is_utf8()
                    && one.parameters.len() == one.all("charset").len()
            };
            self.has_other |= !parsed.as_ref().is_some_and(is_text);
        } else {
            self.has_other |= !is("content-length");
        }
        Ok(())
    }

    /// The name. The error: there is none.
    pub(super) fn name(&self) -> Result<&str, Unjudgeable> {
        self.name.as_deref().ok_or(Unjudgeable::PartHead)
    }

    /// True if the content is text as it stands.
    pub(super) fn is_plain_text(&self) -> bool {
        !self.has_file_name && !self.has_other
    }

    fn disposition(&mut self, value: &[u8]) -> Option<()> {
        let parsed = Parsed::of(value)?;
        let [name] = *parsed.all("name") else { return None };
        let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !b"%'<>;=".contains(byte);
        let is_extended = parsed.has_extended("name");
        let others = parsed.parameters.iter().filter(|(key, _)| !key.eq_ignore_ascii_case(b"name"));
        let is_misread = others.into_iter().any(|(_, value)| value.contains(&b';') && value.contains(&b'='));
        let is_good = parsed.essence.eq_ignore_ascii_case(b"form-data")
            && self.name.is_none()
            && name.iter().all(is_plain)
            && !is_extended
            && !is_misread
            && parsed.all("filename").len() <= 1;
        if !is_good {
            return None;
        }
        self.has_file_name = !parsed.all("filename").is_empty() || parsed.has_extended("filename");
        self.name = Some(str::from_utf8(name).ok()?.to_owned());
        Some(())
    }
}
