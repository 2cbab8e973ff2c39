//! Names and ids as newtypes: a provider's name cannot be passed for a user's id.
//!
//! Every value is well-formed: the constructors check it, and nothing else does.

use std::{fmt, sync::Arc};

/// The name of a provider, preset, gateway or api: the stem of its file, `[a-z0-9][a-z0-9-]*`. That of an endpoint set has
/// the folders in front.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(Arc<str>);

impl FileName {
    /// The greatest length in bytes. Names occur in paths, metrics and log lines.
    pub const MAX_LEN: usize = 64;

    /// The name, if `stem` is well-formed.
    pub fn new(stem: &str) -> Option<Self> {
        let mut bytes = stem.bytes();
        let first = bytes.next()?;
        let lower_or_digit = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let good = lower_or_digit(first)
            && bytes.all(|b| lower_or_digit(b) || b == b'-')
            && stem.len() <= Self::MAX_LEN;
        good.then(|| Self(stem.into()))
    }

    /// The greatest number of parts of a nested name.
    pub const MAX_DEPTH: usize = 4;

    /// The name of a file in folders, `folder/stem`, if each part is well-formed.
    pub fn nested(path: &str) -> Option<Self> {
        let parts = path.split('/').count();
        let good = parts <= Self::MAX_DEPTH && path.split('/').all(|part| Self::new(part).is_some());
        good.then(|| Self(path.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as text that outlives it, without a copy.
    pub fn text(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Ids: a prefix for the kind, and 16 hex digits.
macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal;)*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The prefix of all ids of this kind.
            pub const PREFIX: &'static str = $prefix;

            /// The id, if `text` is well-formed.
            pub fn new(text: &str) -> Option<Self> {
                let hex = text.strip_prefix(Self::PREFIX)?;
                let good = hex.len() == 16 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                good.then(|| Self(text.into()))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The id as text that outlives it, without a copy.
            pub fn text(&self) -> Arc<str> {
                Arc::clone(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    )* };
}

ids! {
    /// The id of a user: `usr_` and 16 hex digits.
    UserId "usr_";
    /// The id of a user's token: `tok_` and 16 hex digits. The token cannot be derived from it.
    TokenId "tok_";
    /// The id of an admin token: `adm_` and 16 hex digits.
    AdminTokenId "adm_";
}

/// The name of a group of users. It has the form of a file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(FileName);

impl GroupName {
    /// The rule as a regular expression, for JSON schemas.
    pub const PATTERN: &'static str = "^[a-z0-9][a-z0-9-]{0,63}$";
    /// The rule in words, for messages.
    pub const RULE: &'static str =
        "a group's name has 1 to 64 letters a-z, digits and `-`, and does not begin with `-`";

    /// The name, if `text` is well-formed.
    pub fn new(text: &str) -> Option<Self> {
        FileName::new(text).map(Self)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The name as text that outlives it, without a copy.
    pub fn text(&self) -> Arc<str> {
        self.0.text()
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The id of a limit: what was used belongs to it. It has the form of a file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitId(FileName);

impl LimitId {
    /// The id, if `text` is well-formed.
    pub fn new(text: &str) -> Option<Self> {
        FileName::new(text).map(Self)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The id as text that outlives it, without a copy.
    pub fn text(&self) -> Arc<str> {
        self.0.text()
    }
}

impl fmt::Display for LimitId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The owner of a stored credential. As text: a user's id, `group:` and the group's name, or `everybody`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// One user.
    User(UserId),
    /// The users of a group.
    Group(GroupName),
    /// All users.
    Everybody,
}

impl Owner {
    const GROUP: &'static str = "group:";
    const EVERYBODY: &'static str = "everybody";

    /// Its text. That of a user is not copied.
    pub fn text(&self) -> Arc<str> {
        match self {
            Self::User(id) => id.text(),
            Self::Group(_) => self.to_string().into(),
            Self::Everybody => Self::EVERYBODY.into(),
        }
    }

    /// Parses its text.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix(Self::GROUP) {
            Some(group) => GroupName::new(group).map(Self::Group),
            None if text == Self::EVERYBODY => Some(Self::Everybody),
            None => UserId::new(text).map(Self::User),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => id.fmt(formatter),
            Self::Group(name) => write!(formatter, "{}{name}", Self::GROUP),
            Self::Everybody => formatter.write_str(Self::EVERYBODY),
        }
    }
}

/// The scope of a token: a provider, or one of its endpoints. As text: `provider` or `provider/endpoint`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// The provider.
    pub provider: FileName,
    /// The endpoint's name. None: all endpoints.
    pub endpoint: Option<String>,
}

impl Scope {
    /// The scope, if `text` is well-formed.
    pub fn parse(text: &str) -> Option<Self> {
        let (provider, endpoint) = match text.split_once('/') {
            Some((provider, endpoint)) => (provider, Some(endpoint)),
            None => (text, None),
        };
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        let good = endpoint.is_none_or(|name| !name.is_empty() && name.len() <= 64 && name.bytes().all(word));
        let provider = FileName::new(provider).filter(|_| good)?;
        Some(Self { provider, endpoint: endpoint.map(str::to_owned) })
    }

    /// True if it allows requests to an endpoint.
    pub fn covers(&self, provider: &FileName, endpoint: &str) -> bool {
        self.provider == *provider && self.endpoint.as_deref().is_none_or(|own| own == endpoint)
    }

    /// True if it allows everything that `other` allows.
    pub fn includes(&self, other: &Self) -> bool {
        self.provider == other.provider && (self.endpoint.is_none() || self.endpoint == other.endpoint)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.provider.fmt(formatter)?;
        self.endpoint.iter().try_for_each(|endpoint| write!(formatter, "/{endpoint}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names() {
        let check = |stem: &str, good: bool| assert_eq!(FileName::new(stem).is_some(), good, "{stem}");
        for good in ["a", "0", "open-ai", "gpt4-", &"x".repeat(64)] {
            check(good, true);
        }
        for bad in ["", "-a", "A", "a_b", "a.b", "é", "a/b", &"x".repeat(65)] {
            check(bad, false);
        }
    }

    #[test]
    fn user_ids() {
        let check = |text: &str, good: bool| assert_eq!(UserId::new(text).is_some(), good, "{text}");
        check("usr_0123456789abcdef", true);
        for bad in ["", "usr_", "usr_0123456789ABCDEF", "usr_0123456789abcde", "usr_0123456789abcdef0"] {
            check(bad, false);
        }
    }

    #[test]
    fn owners_and_scopes_round_trip_as_text() {
        for text in ["usr_0123456789abcdef", "group:research", "everybody"] {
            let owner = Owner::parse(text).unwrap();
            assert_eq!((owner.to_string().as_str(), &*owner.text()), (text, text));
        }
        for bad in ["", "group:", "group:A", "nobody", "usr_1"] {
            assert_eq!(Owner::parse(bad), None, "{bad}");
        }
        for text in ["demo", "demo/chat"] {
            assert_eq!(Scope::parse(text).unwrap().to_string(), text);
        }
        for bad in ["", "demo/", "/chat", "demo/a/b", "Demo", "demo/a b"] {
            assert_eq!(Scope::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn scopes_cover_their_endpoints() {
        let check = |scope: &str, provider: &str, endpoint: &str, expected: bool| {
            let covers = Scope::parse(scope).unwrap().covers(&FileName::new(provider).unwrap(), endpoint);
            assert_eq!(covers, expected, "{scope} {provider} {endpoint}");
        };
        check("demo", "demo", "chat", true);
        check("demo", "demo2", "chat", false);
        check("demo/chat", "demo", "chat", true);
        check("demo/chat", "demo", "models", false);
        let [all, chat, other] = ["demo", "demo/chat", "demo/models"].map(|text| Scope::parse(text).unwrap());
        assert!(
            all.includes(&chat) && chat.includes(&chat) && !chat.includes(&all) && !chat.includes(&other)
        );
    }
}
