//! One segment of a path: a literal, or a capture with literal text before or after it.

use std::{cmp::Ordering, iter::once};

use super::Relation;

/// One segment of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Segment {
    /// Matches itself.
    Literal(Box<str>),
    /// Matches a segment with this prefix and suffix, and at least one character between.
    Capture {
        /// The text before the capture.
        prefix: Box<str>,
        /// The text after it.
        suffix: Box<str>,
        /// True if encoded slashes may stand in it.
        slash: bool,
    },
    /// Matches a segment with this prefix and suffix, and a member between.
    OneOf {
        /// The text before the capture.
        prefix: Box<str>,
        /// The text after it.
        suffix: Box<str>,
        /// The members, sorted.
        members: Box<[Box<str>]>,
    },
}

impl Segment {
    /// A capture of a closed set.
    pub(super) fn of_set(prefix: Box<str>, suffix: Box<str>, members: &[String]) -> Self {
        let mut members: Vec<Box<str>> = members.iter().map(|one| one.as_str().into()).collect();
        members.sort();
        members.dedup();
        Self::OneOf { prefix, suffix, members: members.into() }
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Literal(literal) => &**literal == text,
            Self::Capture { prefix, suffix, .. } => {
                // The `..` of `..:x` could become a whole segment at the upstream.
                inner(text, prefix, suffix)
                    .is_some_and(|one| !one.is_empty() && !is_dots(one) && !ends_inside_escape(one))
            }
            Self::OneOf { prefix, suffix, members } => inner(text, prefix, suffix)
                .is_some_and(|one| members.binary_search_by(|member| (**member).cmp(one)).is_ok()),
        }
    }

    /// True unless the text of the capture has an encoded slash that cannot stand in it. For a text that matches.
    pub(super) fn slashes_fit(&self, text: &str) -> bool {
        match self {
            Self::Literal(_) | Self::OneOf { .. } => true,
            Self::Capture { prefix, suffix, slash } => {
                inner(text, prefix, suffix).is_some_and(|one| good_slashes(one, *slash))
            }
        }
    }

    /// The text of the capture. For a text that matches.
    #[cfg(test)]
    pub(super) fn captured<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self {
            Self::Literal(_) => None,
            Self::Capture { prefix, suffix, .. } | Self::OneOf { prefix, suffix, .. } => {
                inner(text, prefix, suffix)
            }
        }
    }

    pub(super) fn takes_slashes(&self) -> bool {
        matches!(self, Self::Capture { slash: true, .. })
    }

    /// The number of members of its set.
    pub(super) fn members(&self) -> usize {
        match self {
            Self::OneOf { members, .. } => members.len(),
            Self::Literal(_) | Self::Capture { .. } => 0,
        }
    }

    /// The order in which the captures of a node are tried. Of two that match the same segment, the one that matches less
    /// comes first: sets before other captures, the smaller set, the longer literal text, and no encoded slash.
    pub(super) fn rank(&self) -> (usize, usize, bool) {
        match self {
            Self::Literal(_) => (0, 0, false),
            Self::OneOf { members, .. } => (members.len(), 0, false),
            Self::Capture { prefix, suffix, slash } => {
                (usize::MAX, usize::MAX - prefix.len() - suffix.len(), *slash)
            }
        }
    }

    pub(super) fn relation(&self, other: &Self) -> Relation {
        match (self, other) {
            (Self::Literal(a), Self::Literal(b)) if a == b => Relation::Equal,
            (Self::Literal(_), Self::Literal(_)) => Relation::Disjoint,
            (Self::Literal(a), Self::Capture { .. } | Self::OneOf { .. }) => literal_in(a, other),
            (Self::Capture { .. } | Self::OneOf { .. }, Self::Literal(b)) => literal_in(b, self).turned(),
            (Self::OneOf { .. }, Self::Capture { .. } | Self::OneOf { .. }) => self.set_relation(other),
            (Self::Capture { .. }, Self::OneOf { .. }) => other.set_relation(self).turned(),
            (
                Self::Capture { prefix: ap, suffix: asx, slash: aslash },
                Self::Capture { prefix: bp, suffix: bsx, slash: bslash },
            ) => {
                let prefix = affix(ap.len().cmp(&bp.len()), ap.starts_with(&**bp), bp.starts_with(&**ap));
                let suffix = affix(asx.len().cmp(&bsx.len()), asx.ends_with(&**bsx), bsx.ends_with(&**asx));
                prefix.and(suffix).and(slash_relation(*aslash, *bslash))
            }
        }
    }

    /// The relation of a set to another capture.
    fn set_relation(&self, other: &Self) -> Relation {
        let Self::OneOf { prefix, suffix, members } = self else { return Relation::Overlap };
        let is_shared = |member: &str| {
            let text: String = [&**prefix, member, &**suffix].into_iter().collect();
            other.matches(&text)
        };
        let shared = members.iter().filter(|member| is_shared(member)).count();
        match (shared == members.len(), shared == other.members()) {
            _ if shared == 0 => Relation::Disjoint,
            (true, true) if self == other => Relation::Equal,
            // The same texts, cut differently: the tree has no order for them.
            (true, true) | (false, false) => Relation::Overlap,
            (true, false) => Relation::Subset,
            (false, true) => Relation::Superset,
        }
    }
}

/// The relation of a literal to a capture. A set with this member alone has no more than the literal, and no order.
fn literal_in(text: &str, capture: &Segment) -> Relation {
    match capture.matches(text) {
        true if capture.members() == 1 => Relation::Overlap,
        true => Relation::Subset,
        false => Relation::Disjoint,
    }
}

/// The text between prefix and suffix.
fn inner<'t>(text: &'t str, prefix: &str, suffix: &str) -> Option<&'t str> {
    text.strip_prefix(prefix)?.strip_suffix(suffix)
}

/// The relation of two captures by the encoded slashes that may stand in them.
pub(super) fn slash_relation(ours: bool, theirs: bool) -> Relation {
    match (ours, theirs) {
        (false, true) => Relation::Subset,
        (true, false) => Relation::Superset,
        (true, true) | (false, false) => Relation::Equal,
    }
}

/// The relation of two prefixes or suffixes: the longer one matches less.
fn affix(length: Ordering, a_extends_b: bool, b_extends_a: bool) -> Relation {
    match length {
        Ordering::Equal if a_extends_b => Relation::Equal,
        Ordering::Greater if a_extends_b => Relation::Subset,
        Ordering::Less if b_extends_a => Relation::Superset,
        Ordering::Equal | Ordering::Greater | Ordering::Less => Relation::Disjoint,
    }
}

/// True for `.` and `..`, also percent-encoded or with a parameter: some servers remove `;x` before they resolve dot
/// segments.
pub fn is_dots(segment: &str) -> bool {
    if !segment.starts_with(['.', '%']) {
        return false;
    }
    let plain = segment.to_ascii_lowercase().replace("%2e", ".").replace("%3b", ";");
    matches!(plain.split(';').next(), Some("." | ".."))
}

/// True if a captured text ends with a part of a percent escape, as `%2` of `%20`.
fn ends_inside_escape(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().rev().take(2).any(|byte| *byte == b'%')
}

/// The texts between encoded slashes; one for a text without them.
pub fn between_slashes(text: &str) -> impl Iterator<Item = &str> {
    let is_slash = |at: usize| text.get(at..at + 3).is_some_and(|escape| escape.eq_ignore_ascii_case("%2f"));
    let slashes = text.match_indices('%').map(|(at, _)| at).filter(move |at| is_slash(*at));
    let mut start = 0;
    slashes.map(Some).chain(once(None)).map(move |slash| {
        let piece = &text[start..slash.unwrap_or(text.len())];
        start = slash.map_or(start, |slash| slash + 3);
        piece
    })
}

/// True if the encoded slashes of a captured text are none, or may stand there: no text between them is empty or a dot
/// segment, and no percent sign is encoded, which a second decoding would turn into another escape.
pub(super) fn good_slashes(text: &str, allowed: bool) -> bool {
    text.split('/').all(|segment| {
        let has_slash = between_slashes(segment).nth(1).is_some();
        !has_slash
            || allowed
                && !segment.contains("%25")
                && between_slashes(segment).all(|piece| !piece.is_empty() && !is_dots(piece))
    })
}

/// Checks a capture's name. The error is a fragment.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let good = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if good { Ok(()) } else { Err(format!("`{name}` cannot be a capture's name: use `[a-z][a-z0-9_]*`")) }
}

/// Checks literal text of a path: RFC 3986's `pchar` without percent-encoding, so that a path has one spelling. `whole`:
/// the text is a whole segment, and must not be empty or a dot segment.
pub(super) fn check_literal(text: &str, whole: bool) -> Result<(), String> {
    if whole && matches!(text, "" | "." | "..") {
        return Err("it has an empty or a dot segment".into());
    }
    if whole && text == "*" {
        return Err("`*` is no wildcard: `{name}` takes one segment, `{rest...}` one or more".into());
    }
    if whole && text.starts_with(':') {
        let name = &text[1..];
        return Err(format!("`{text}` is no capture: write `{{{name}}}`"));
    }
    let good = |c: &char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@".contains(*c);
    match text.chars().find(|c| !good(c)) {
        None => Ok(()),
        Some(c) if c.is_control() => Err(format!("`{}` cannot stand in it", c.escape_default())),
        Some(c) => Err(format!("`{c}` cannot stand in it")),
    }
}

/// The problem of a member of a closed set: its index and a fragment.
pub fn members_problem(members: &[String]) -> Option<(usize, String)> {
    let problem = |(index, member): (usize, &String)| {
        if member.is_empty() || is_dots(member) {
            return Some((index, "it is empty or a dot segment".to_owned()));
        }
        if members[..index].contains(member) {
            return Some((index, "it is there twice".to_owned()));
        }
        check_literal(member, false).err().map(|problem| (index, problem))
    };
    members.iter().enumerate().find_map(problem)
}
