//! The requests that limits and rules are for: names and globs, all of which have to match.

use crate::{
    base::name::{FileName, GroupName, Owner, TokenId, UserId},
    language::{
        compile::Glob,
        syntax::{KeyValue, TokenKindValue},
    },
};

use super::{Allow, LimitFilter};

/// A list of names and globs. Empty: any name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameFilter(Box<[Glob]>);

/// The callers that a limit or a rule is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallerFilter {
    /// The names of users.
    pub user: NameFilter,
    /// Their groups.
    pub group: NameFilter,
    /// The kinds of their tokens. Empty: any.
    pub token: Box<[TokenKindValue]>,
}

/// What is known of a request before it is sent, but for its body.
#[derive(Debug, Clone, Copy)]
pub struct CallFacts<'c> {
    /// The caller.
    pub user: &'c UserId,
    /// The caller's name.
    pub user_name: &'c str,
    /// The caller's group.
    pub group: Option<&'c GroupName>,
    /// The token.
    pub token: &'c TokenId,
    /// Its kind.
    pub token_kind: TokenKindValue,
    /// The provider.
    pub provider: &'c FileName,
    /// The name of the endpoint.
    pub endpoint: &'c str,
    /// True if the usage of its answers is counted.
    pub is_metered: bool,
    /// True if tokens of its answers are counted: without, no cap bounds them.
    pub counts_answer: bool,
    /// True if a request may bound the tokens of its answer.
    pub has_cap: bool,
    /// The owner of the credential that is sent.
    pub key: KeyOwner,
}

/// The owner of the credential that a request is sent with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOwner {
    /// The caller.
    Own,
    /// The caller's group, or everybody.
    Shared,
    /// None is sent.
    Nobody,
}

impl KeyOwner {
    /// That of a stored credential; `Nobody` if none is sent.
    pub const fn of(owner: Option<&Owner>) -> Self {
        match owner {
            Some(Owner::User(_)) => Self::Own,
            Some(Owner::Group(_) | Owner::Everybody) => Self::Shared,
            None => Self::Nobody,
        }
    }
}

impl NameFilter {
    /// The filter of these globs.
    pub fn new(globs: Vec<Glob>) -> Self {
        Self(globs.into())
    }

    /// True if it has no name: any name matches.
    pub fn is_any(&self) -> bool {
        self.0.is_empty() || self.0.iter().any(|glob| glob.as_str() == "*")
    }

    /// True if a name matches.
    pub fn matches(&self, name: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|glob| glob.matches(name))
    }

    /// The globs.
    pub fn globs(&self) -> &[Glob] {
        &self.0
    }

    /// Its globs, for people and comparisons: `a`, `b-*`; `*` for any.
    pub fn text(&self) -> String {
        if self.0.is_empty() {
            return "*".to_owned();
        }
        self.0.iter().map(Glob::as_str).collect::<Vec<_>>().join(", ")
    }
}

impl CallerFilter {
    /// True if it is for this caller.
    pub fn matches(&self, user: &str, group: Option<&GroupName>, token: TokenKindValue) -> bool {
        let in_group = match group {
            Some(group) => self.group.matches(group.as_str()),
            None => self.group.globs().is_empty(),
        };
        in_group && self.user.matches(user) && (self.token.is_empty() || self.token.contains(&token))
    }

    /// True if it is for every caller.
    pub fn is_any(&self) -> bool {
        self.user.is_any() && self.group.globs().is_empty() && self.token.is_empty()
    }
}

impl LimitFilter {
    /// True if the limit is for a request, as far as all but its model decides.
    pub fn matches(&self, call: &CallFacts<'_>) -> bool {
        let owned = match self.key {
            None => true,
            Some(KeyValue::Own) => call.key == KeyOwner::Own,
            Some(KeyValue::Shared) => call.key == KeyOwner::Shared,
        };
        owned
            && self.provider.matches(call.provider.as_str())
            && self.endpoint.matches(call.endpoint)
            && self.caller.matches(call.user_name, call.group, call.token_kind)
    }

    /// True if the limit is for requests of this model. A request without a model is for those that are for any.
    pub fn matches_model(&self, model: Option<&str>) -> bool {
        match model {
            Some(model) => self.model.matches(model),
            None => self.model.is_any(),
        }
    }
}

impl Allow {
    /// True if the rule is for this caller.
    pub fn is_for(&self, call: &CallFacts<'_>) -> bool {
        self.caller.matches(call.user_name, call.group, call.token_kind)
    }

    /// True if it allows the endpoint of a request.
    pub fn allows_endpoint(&self, call: &CallFacts<'_>) -> bool {
        self.providers.matches(call.provider.as_str()) && self.endpoints.matches(call.endpoint)
    }
}
