//! Accounts: who calls, and what they stored. It owns tokens (how they are made and looked up), the
//! sealing of credentials, what may be stored, and the cache that the request path uses.
//!
//! It writes no SQL (`store` does), reads no environment, and never tells a secret in an error or a log
//! line. `lookup` is the request path, `people` what the admin and the command line call.

mod cache;
mod clock;
mod credential;
mod flight;
mod key;
mod known;
mod locked;
mod lookup;
mod people;
mod seal;
mod token;

pub use self::{
    cache::LocalCache,
    clock::{now_ms, utc},
    credential::{BadCredential, Credentials, MAX_SECRET_BYTES, Stored},
    key::{KeyError, KeySources},
    known::{FieldKind, KnownFields, UnknownField},
    lookup::{Accounts, Directory},
    people::{
        BadName, DisplayName, Edit, NewUser, Unreadable, change_credentials, create_user, ensure_admin_token,
        issue_admin_token, issue_token, read_credentials,
    },
    seal::{MasterKey, OpenError},
    token::shown,
};
use crate::name::UserId;

/// The user whose token came with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user's id.
    pub id: UserId,
    /// What people call the user.
    pub name: String,
    /// What the user stored, in clear.
    pub credentials: Credentials,
}
