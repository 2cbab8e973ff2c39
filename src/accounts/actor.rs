//! The actor of a change, for the audit log: who makes it, from where, and by which right.

use std::net::IpAddr;

use serde_json::Value;

use super::Caller;
use crate::{
    clock,
    name::AdminTokenId,
    store::{Act, Right},
};

/// Who changes something, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// A kind and an id: `admin adm_…`, `user usr_… token tok_…`, `uid 1000`, `tollgate`.
    pub who: String,
    /// An address, or `local`.
    pub source: String,
    /// What gives the right to what is asked for, if that may be taken away meanwhile.
    pub right: Option<Right>,
}

impl Actor {
    /// Tollgate itself.
    pub fn own() -> Self {
        Self::here("tollgate".to_owned())
    }

    /// The user of the machine who runs this command.
    pub fn command() -> Self {
        Self::local(rustix::process::getuid().as_raw())
    }

    /// A user of the machine.
    pub fn local(uid: u32) -> Self {
        Self::here(format!("uid {uid}"))
    }

    fn here(who: String) -> Self {
        Self { who, source: LOCAL.to_owned(), right: None }
    }

    /// Who came with an admin token, from an address.
    pub fn admin(id: &AdminTokenId, from: IpAddr) -> Self {
        let right = Some(Right::Admin(id.clone()));
        Self { who: format!("admin {id}"), source: from.to_string(), right }
    }

    /// A user, who came with a token from an address.
    pub fn user(caller: &Caller, from: IpAddr) -> Self {
        let who = format!("user {} token {}", caller.id, caller.token.id);
        Self { who, source: from.to_string(), right: Some(Right::Token(caller.token.hash)) }
    }

    /// What the actor does now.
    pub fn act(&self, action: &'static str, target: &(impl ToString + ?Sized), detail: Value) -> Act {
        let Self { who: actor, source, right } = self.clone();
        Act { at_ms: clock::now_ms(), actor, source, right, action, target: target.to_string(), detail }
    }
}

/// Where an actor is who came over no network.
const LOCAL: &str = "local";
