//! Accounts: authentication of callers, users, tokens, encrypted credentials, and the refresh of OAuth logins.
//!
//! It writes no SQL (`store` does), reads no environment, and puts no secret into an error or a log line. Read next:
//! `lookup` for the request path; `users`, `tokens` and `credentials` for the admin and the command line; `refresh`.

mod actor;
mod bloom_filter;
mod cache;
mod confirm;
mod credential;
mod credentials;
mod directory;
mod display_name;
mod encryption;
mod expiry;
mod import;
mod json_secret;
mod key;
mod last_used;
mod locked;
mod lookup;
mod lru;
mod oauth;
mod paste;
mod random;
mod rate_limit;
mod refresh;
mod rekey;
mod sessions;
mod signer;
mod single_flight;
mod stored_facts;
mod token;
mod tokens;
mod unread_answer;
mod users;
mod values;
mod watch;

pub use self::{
    actor::{ACTIONS, Actor},
    cache::{CacheCounts, LocalCache},
    confirm::{
        ConfirmError, ExpectedOrigins, NewOrigins, WaitingOwner, WaitingOwners, check_change, confirm,
        new_origins, section_and_field, unconfirmed, waiting,
    },
    credential::{
        BadCredential, Credentials, FoundCredential, MAX_DOCUMENT_BYTES, MAX_SECRET_BYTES, MadeCredential,
        StoredCredential,
    },
    credentials::{
        Edit, Unreadable, change_credentials, change_logins, decrypt_credential, read_credentials,
        remove_credential,
    },
    directory::Directory,
    display_name::{AddressNote, BadName, BadNote, DisplayName, is_printable},
    encryption::{DecryptError, MasterKey},
    import::{ImportedPasteToken, ImportedToken, ImportedUser, import_user},
    key::{KeyError, KeySources, NextKeyFile, PutBack, old_key_file, put_back_key},
    lookup::{Authenticated, Authenticator, StoreHealth},
    oauth::TokenEndpointError,
    paste::{draft_paste_token, issue_paste_token},
    random::random,
    rate_limit::{AuthRateLimit, TooManyDelayed},
    refresh::{
        CredentialId, HttpTokenEndpoints, LoginRefresh, RefreshError, RefreshHow, RefreshProblems,
        RefreshReason, RefreshRequest, Refreshed, Refresher, StoredLogins, TokenMaking, TokenPair,
        TokenSource, WAIT_WHILE_GOOD,
    },
    rekey::{
        RekeyError, RekeyProgress, RekeyState, RekeyStatus, Rekeyer, bind_origins, prepare_rekey, rekey,
    },
    sessions::{
        SessionRequest, StartedSession, end_admin_session, end_session, start_admin_session, start_session,
    },
    stored_facts::StoredFacts,
    token::{TokenDraft, shown_prefix},
    tokens::{
        AdminTokenPlace, IssuedToken, REPLACED_TOKEN_MS, RotateError, add_token, ensure_admin_token,
        issue_admin_token, issue_token, revoke_admin_token, revoke_token, rotate_stored_token, rotate_token,
    },
    unread_answer::{UnreadAnswer, read_answers},
    users::{NewUser, UserDraft, add_user, create_user, remove_user, update_user},
    values::{OwnValues, bind_edits},
};
use crate::{
    decide::CallerFacts,
    name::{FileName, GroupName, Owner, Scope, TokenId, UserId},
    rewrite::TokenPart,
    store::{SessionMaker, TokenHash, TokenKind},
};

/// An authenticated user, the token of the request, and the credentials to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user's id.
    pub id: UserId,
    /// The user's name.
    pub name: String,
    /// The user's group.
    pub group: Option<GroupName>,
    /// True if all of the user's tokens are refused.
    pub disabled: bool,
    /// The token.
    pub token: CallerToken,
    /// The decrypted credentials that the user may use, by owner: first the user's own, then the group's, then everybody's.
    pub credentials: Vec<(Owner, Credentials)>,
    /// Sections with a credential that cannot be decrypted; nearly always none.
    pub unreadable: Vec<Box<str>>,
}

/// The token that came with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerToken {
    /// Its id.
    pub id: TokenId,
    /// Its SHA-256.
    pub hash: TokenHash,
    /// Its kind.
    pub kind: TokenKind,
    /// Its scopes; none for all providers.
    pub scopes: Option<Vec<Scope>>,
    /// True if a rotation has replaced it.
    pub replaced: bool,
    /// Its expiry, in milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
    /// For a paste token: the only provider that it is valid for.
    pub paste: Option<FileName>,
    /// For a session: the token that made it, and in whose name it makes tokens.
    pub session_of: Option<SessionMaker>,
}

impl CallerToken {
    /// The hash of the token that the user holds: of a session, that of its maker.
    pub fn held(&self) -> &TokenHash {
        self.session_of.as_ref().map_or(&self.hash, |maker| &maker.hash)
    }

    /// The expiry of what it makes, at the latest.
    pub fn limit_ms(&self) -> Option<u64> {
        self.session_of.as_ref().map_or(self.expires_at_ms, |maker| maker.expires_at_ms)
    }
}

impl Caller {
    /// The caller's properties that decide, for a request with its token in this part of the presented text.
    pub fn facts(&self, part: TokenPart) -> CallerFacts<'_> {
        let CallerToken { kind, ref paste, ref scopes, .. } = self.token;
        CallerFacts {
            disabled: self.disabled,
            kind,
            paste: paste.as_ref(),
            scopes: scopes.as_deref(),
            token_part: Some(part),
        }
    }
}
