//! Authorization: what a caller's token may reach. The token itself is authenticated elsewhere; here are the facts that
//! this brings, and the faults where they do not suffice.

use crate::{
    base::{
        fault::{Fault, FaultKind},
        name::{FileName, Scope},
    },
    request::{rewrite::TokenPart, table::Hit},
};

/// The facts about a caller that decide.
#[derive(Debug, Clone, Copy)]
pub struct CallerFacts<'c> {
    /// All tokens of the user are refused for now.
    pub disabled: bool,
    /// The use that the token is good for.
    pub kind: TokenKind,
    /// The provider whose paste token it is: it reaches no other.
    pub paste: Option<&'c FileName>,
    /// The providers and endpoints that the token reaches; all, if absent.
    pub scopes: Option<&'c [Scope]>,
    /// The part of the presented text that authentication knows as the token; assumed, if absent.
    pub token_part: Option<TokenPart>,
}

/// The use that a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Calls to providers.
    Proxy,
    /// The user's own credentials and tokens.
    Manage,
    /// Both.
    Both,
    /// What its maker may do to the user's own credentials and tokens, from a browser: it comes in a cookie alone.
    Session,
}

impl TokenKind {
    /// The word for it in the database and in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Manage => "manage",
            Self::Both => "both",
            Self::Session => "session",
        }
    }

    /// The kind of a word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Proxy, Self::Manage, Self::Both, Self::Session].into_iter().find(|kind| kind.as_str() == text)
    }
}

impl CallerFacts<'_> {
    /// A caller whom nothing narrows.
    pub const UNRESTRICTED: CallerFacts<'static> =
        CallerFacts { disabled: false, kind: TokenKind::Both, paste: None, scopes: None, token_part: None };

    /// Refuses a token that may not call providers.
    pub(super) fn check_proxy(&self) -> Result<(), Fault> {
        self.check_enabled()?;
        match self.kind {
            TokenKind::Proxy | TokenKind::Both => Ok(()),
            TokenKind::Manage => Err(Fault::new(
                FaultKind::TokenKind,
                "This token is for self-service: calls to providers take one of the kind `proxy` or `both`",
            )),
            // A cookie counts on no provider's path, and nothing else holds a session.
            TokenKind::Session => Err(Fault::invalid_token()),
        }
    }

    /// Refuses a token that may not call the self-service API, or sign in for it.
    pub fn check_manage(&self) -> Result<(), Fault> {
        self.check_enabled()?;
        match (self.paste, self.kind) {
            (None, TokenKind::Manage | TokenKind::Both | TokenKind::Session) => Ok(()),
            (Some(_), _) | (None, TokenKind::Proxy) => Err(Fault::new(
                FaultKind::TokenKind,
                "This token is for calls to providers: self-service takes one of the kind `manage` or `both`, \
                 as `tollgate token add NAME --kind both` makes it",
            )),
        }
    }

    /// Refuses an endpoint that the token does not cover.
    pub(super) fn check_scope(&self, hit: &Hit) -> Result<(), Fault> {
        let (provider, endpoint) = (&hit.provider.name, &hit.endpoint().name);
        if self.reaches(provider, endpoint) {
            return Ok(());
        }
        Err(Fault::new(FaultKind::TokenScope, format!("This token does not reach `{provider}/{endpoint}`")))
    }

    /// True if the token covers an endpoint.
    pub(super) fn reaches(&self, provider: &FileName, endpoint: &str) -> bool {
        let pasted = self.paste.is_none_or(|own| own == provider);
        let within = |scope: &Scope| scope.covers(provider, endpoint);
        pasted && self.scopes.is_none_or(|scopes| scopes.iter().any(within))
    }

    fn check_enabled(&self) -> Result<(), Fault> {
        if self.disabled {
            let message = "This user is disabled: ask the operator of this tollgate";
            return Err(Fault::new(FaultKind::UserDisabled, message));
        }
        Ok(())
    }
}
