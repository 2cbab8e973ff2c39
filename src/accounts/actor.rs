//! The actor of a change, for the audit log: who makes it, from where, and by which right.

use std::net::IpAddr;

use serde_json::Value;

use super::Caller;
use crate::{
    clock,
    name::AdminTokenId,
    store::{Act, Right},
};

/// All actions of the audit log.
pub const ACTIONS: &[&str] = &[
    "admin_token.create",
    "admin_token.revoke",
    "credentials.bind",
    "credentials.change",
    "credentials.confirm",
    "limit.grant",
    "limit.grant_end",
    "master_key.replace",
    "master_key.replaced",
    "paste_token.create",
    "session.create",
    "session.end",
    "store.restore",
    "token.create",
    "token.revoke",
    "token.rotate",
    "user.change",
    "user.create",
    "user.delete",
    "user.import",
];

/// The author of a change, and the address it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Its kind and id: `admin adm_…`, `user usr_… token tok_…`, `uid 1000`, `tollgate`.
    pub who: String,
    /// An address, or `local`.
    pub source: String,
    /// The right to make the change, if it can be revoked meanwhile. The store checks it in the same transaction.
    pub right: Option<Right>,
}

impl Actor {
    /// The tollgate process itself.
    pub fn own() -> Self {
        Self::here("tollgate".to_owned())
    }

    /// The operating system's user who runs this command.
    pub fn command() -> Self {
        Self::local(rustix::process::getuid().as_raw())
    }

    /// A user of the operating system.
    pub fn local(uid: u32) -> Self {
        Self::here(format!("uid {uid}"))
    }

    fn here(who: String) -> Self {
        Self { who, source: LOCAL.to_owned(), right: None }
    }

    /// A caller with an admin token, from an address.
    pub fn admin(id: &AdminTokenId, from: IpAddr) -> Self {
        let right = Some(Right::Admin(id.clone()));
        Self { who: format!("admin {id}"), source: from.to_string(), right }
    }

    /// A user with a token, from an address.
    pub fn user(caller: &Caller, from: IpAddr) -> Self {
        let who = format!("user {} token {}", caller.id, caller.token.id);
        Self { who, source: from.to_string(), right: Some(Right::Token(caller.token.hash)) }
    }

    /// The audit entry of a change that the actor makes now.
    pub fn act(&self, action: &'static str, target: &(impl ToString + ?Sized), detail: Value) -> Act {
        // Filters and pages know the actions of the list alone.
        debug_assert!(ACTIONS.contains(&action), "`{action}` is missing in the list of actions");
        let Self { who: actor, source, right } = self.clone();
        Act { at_ms: clock::now_ms(), actor, source, right, action, target: target.to_string(), detail }
    }
}

/// The source of an actor who came over no network.
const LOCAL: &str = "local";
