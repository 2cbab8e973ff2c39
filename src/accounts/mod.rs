//! Accounts: who calls, and what they stored. It owns tokens (how they are made and looked up), the
//! sealing of credentials, what may be stored, and the cache that the request path uses.
//!
//! It writes no SQL (`store` does), reads no environment, and never tells a secret in an error or a log
//! line. `lookup` is the request path, `people` what the admin and the command line call.

mod actor;
mod rate_limit;
mod cache;
mod confirm;
mod credential;
mod credentials;
mod directory;
mod display_name;
mod expiry;
mod bloom_filter;
mod single_flight;
mod import;
mod key;
mod locked;
mod lookup;
mod oauth;
mod paste;
mod random;
mod refresh;
mod rekey;
mod seal;
mod segments;
mod token;
mod tokens;
mod last_used;
mod users;
mod watch;

pub use self::{
    actor::Actor,
    cache::LocalCache,
    confirm::{ConfirmError, Confirmed, Which, confirm, moved},
    credential::{BadCredential, Credentials, MAX_SECRET_BYTES, Stored},
    credentials::{
        Edit, Unreadable, change_credentials, open_credential, read_credentials, remove_credential,
    },
    directory::Directory,
    display_name::{BadName, DisplayName},
    import::{Newcomer, NewcomerPaste, NewcomerToken, import_user},
    key::{KeyError, KeySources, Settled},
    lookup::Accounts,
    oauth::TokenEndpointError,
    paste::issue_paste_token,
    rate_limit::{AuthRateLimit, TooMany},
    refresh::{
        CredentialKey, Endpoints, Need, RefreshError, RefreshRequest, Refreshed, Refresher, StoredLogins,
        TokenPair, WAIT_WHILE_GOOD,
    },
    rekey::{RekeyError, RekeyState, RekeyStatus, Rekeyed, Rekeyer, bind_origins, prepare_rekey, rekey},
    seal::{MasterKey, OpenError},
    token::{TokenDraft, shown},
    tokens::{
        Issued, NotRotated, add_token, ensure_admin_token, issue_admin_token, issue_token,
        revoke_admin_token, revoke_token, rotate_token,
    },
    users::{NewUser, UserDraft, add_user, create_user, remove_user, update_user},
};
use crate::{
    decide::CallerFacts,
    name::{FileName, GroupName, Owner, Scope, TokenId, UserId},
    store::{TokenHash, TokenKind},
};

/// The user whose token came with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user's id.
    pub id: UserId,
    /// What people call the user.
    pub name: String,
    /// The user's group.
    pub group: Option<GroupName>,
    /// Whether the user may not call.
    pub disabled: bool,
    /// The token.
    pub token: CallerToken,
    /// What the user may use, in clear, by owner: the user's own stand first, then the group's, then everybody's.
    pub credentials: Vec<(Owner, Credentials)>,
}

/// The token that came with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerToken {
    /// Its id.
    pub id: TokenId,
    /// What it is found by.
    pub hash: TokenHash,
    /// What it may do.
    pub kind: TokenKind,
    /// What it is narrowed to; all providers, if absent.
    pub scopes: Option<Vec<Scope>>,
    /// Whether another one was made in its place.
    pub replaced: bool,
    /// From when on it is refused, in milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
    /// The provider whose routes it serves, and no other's: it is of that one's shape.
    pub paste: Option<FileName>,
}

impl Caller {
    /// What authorization needs to know.
    pub fn facts(&self) -> CallerFacts<'_> {
        let CallerToken { kind, ref paste, ref scopes, .. } = self.token;
        CallerFacts { disabled: self.disabled, kind, paste: paste.as_ref(), scopes: scopes.as_deref() }
    }
}
