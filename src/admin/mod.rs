//! The API of tollgate itself: a call becomes a status code and JSON, whichever way it came. What calls there are
//! stands in `operations`; each is one arm of [`Admin::answer`].
//!
//! Knows neither tokens nor sockets: whoever calls it has looked at who asks. The workers reach it through the
//! `Desk`, since it touches the store.

mod body;
mod credentials;
mod desk;
mod document;
mod json;
mod openapi;
mod operations;
mod page;
mod paste;
mod reach;
mod shape;
mod tokens;
mod users;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Serialize;

use self::shape::Done;
pub use self::{
    body::MAX_BODY,
    desk::Desk,
    openapi::openapi,
    operations::{Body, Call, FileCall, Found, OPERATIONS, Operation, Reply, SchemaOf, Shape, Who, find},
};
use crate::{
    accounts::{Actor, Caller, Edit, MasterKey, Rekeyer},
    fault::{Fault, Kind},
    fields::KnownFields,
    files::{Live, ReloadError},
    name::Owner,
    store::{Store, StoreError},
    table::Table,
};

/// What the API works on.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The provider files.
    pub files: Files,
    /// Users, tokens, credentials.
    pub store: Store,
    /// What seals credentials.
    pub key: MasterKey,
    /// What replaces that key, where something serves.
    pub rekeyer: Option<Rekeyer>,
}

/// The provider files that calls look at.
#[derive(Debug, Clone)]
pub enum Files {
    /// Those that serve, as they are at the time of a call.
    Live(Arc<Live>),
    /// Those that a command has read: nothing serves.
    Read(Arc<Table>),
}

/// Who asks, and may: whoever hands in a call has seen to that.
#[derive(Debug, Clone)]
pub enum Asker {
    /// Who may read what this process can read.
    Local,
    /// Who has an admin token.
    Admin,
    /// A user, about what is that user's own.
    User(Arc<Caller>),
}

/// A call.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its method. `HEAD` is answered as `GET` is; whoever writes the answer leaves out the body.
    pub method: Method,
    /// Its path.
    pub path: String,
    /// Its query, without `?`.
    pub query: Option<String>,
    /// Its body.
    pub body: Bytes,
    /// The route table when the call began: everything that provider files decide about it comes from there.
    pub table: Arc<Table>,
    /// Who asks, for what may be asked.
    pub asker: Asker,
    /// Who asks, for the audit log.
    pub actor: Actor,
}

/// What a call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// The document, as compact JSON.
    pub body: String,
    /// `Link`: where the next page is.
    pub link: Option<String>,
}

/// The steps that store a credentials document from elsewhere, held against what the provider files declare.
pub fn credential_edits(
    document: &serde_json::Map<String, serde_json::Value>,
    known: &KnownFields,
) -> Result<Vec<Edit>, Fault> {
    document::edits(document, "", known, &std::collections::BTreeSet::new())
}

/// There is no such call.
pub fn not_found() -> Fault {
    Fault::new(Kind::NotFound, "Not found")
}

/// What a handler makes of a call.
type Answered = Result<Answer, Fault>;

impl Request {
    /// The call in the table, if this one may make it.
    fn found(&self) -> Result<Found<'_>, Fault> {
        let found = find(&self.method, &self.path).ok_or_else(not_found)?;
        let may = match (found.operation.who, &self.asker) {
            (Who::Admin, Asker::Local | Asker::Admin)
            | (Who::Local, Asker::Local)
            | (Who::User, Asker::User(_)) => true,
            (Who::Public | Who::Admin | Who::Local | Who::User, _) => false,
        };
        may.then_some(found).ok_or_else(not_found)
    }

    /// The user who asks; an admin has nothing of their own.
    fn caller(&self) -> Result<&Arc<Caller>, Fault> {
        match &self.asker {
            Asker::User(caller) => Ok(caller),
            Asker::Local | Asker::Admin => Err(not_found()),
        }
    }
}

impl Admin {
    /// Answers a call.
    pub async fn answer(&self, request: &Request) -> Answered {
        let Found { operation, captures } = request.found()?;
        if let Asker::User(caller) = &request.asker {
            reach::may_change(caller, operation.method)?;
        }
        let first = captures.first().copied().unwrap_or_default();
        let second = captures.get(1).copied().unwrap_or_default();
        match operation.call {
            Call::Alive | Call::Ready => Err(not_found()),
            Call::Files(call) => self.files.answer(call).await,
            Call::MakeUser => self.make_user(request).await,
            Call::Users => self.users(request).await,
            Call::User => self.user(first).await,
            Call::ChangeUser => self.change_user(first, request).await,
            Call::RemoveUser => self.remove_user(first, request).await,
            Call::UserCreds => self.creds(&users::owner(first)?, request).await,
            Call::ReplaceUserCreds => self.replace_creds(&users::owner(first)?, request).await,
            Call::MergeUserCreds => self.merge_creds(&users::owner(first)?, request).await,
            Call::ConfirmUserCreds => self.confirm_creds(&users::owner(first)?, request).await,
            Call::UserTokens => self.tokens(&users::id(first)?, request).await,
            Call::MakeUserToken => self.make_token(&users::id(first)?, request).await,
            Call::RemoveUserToken => self.remove_token(&users::id(first)?, second, request).await,
            Call::SharedCreds => self.creds(&Owner::Everybody, request).await,
            Call::ReplaceSharedCreds => self.replace_creds(&Owner::Everybody, request).await,
            Call::MergeSharedCreds => self.merge_creds(&Owner::Everybody, request).await,
            Call::ConfirmSharedCreds => self.confirm_creds(&Owner::Everybody, request).await,
            Call::GroupCreds => self.creds(&credentials::group(first)?, request).await,
            Call::ReplaceGroupCreds => self.replace_creds(&credentials::group(first)?, request).await,
            Call::MergeGroupCreds => self.merge_creds(&credentials::group(first)?, request).await,
            Call::ConfirmGroupCreds => self.confirm_creds(&credentials::group(first)?, request).await,
            Call::AdminTokens => self.admin_tokens(request).await,
            Call::MakeAdminToken => self.make_admin_token(request).await,
            Call::RemoveAdminToken => self.remove_admin_token(first, request).await,
            Call::Audit => self.audit(request).await,
            Call::Rekey => {
                let rekeyer = self.rekeyer.as_ref().ok_or_else(not_found)?;
                Ok(answer(StatusCode::ACCEPTED, &rekeyer.ask(request.actor.clone())))
            }
            Call::RekeyStatus => {
                Ok(answer(StatusCode::OK, &self.rekeyer.as_ref().ok_or_else(not_found)?.status()))
            }
            Call::Me => Ok(answer(StatusCode::OK, &tokens::me(request.caller()?))),
            Call::MyCreds => self.creds(&Owner::User(request.caller()?.id.clone()), request).await,
            Call::MergeMyCreds => self.merge_my_creds(request.caller()?, request).await,
            Call::ConfirmMyCreds => {
                self.confirm_creds(&Owner::User(request.caller()?.id.clone()), request).await
            }
            Call::Rotate => self.rotate(request.caller()?, request).await,
            Call::MyTokens => self.tokens(&request.caller()?.id, request).await,
            Call::MakeMyToken => self.make_my_token(request.caller()?, request).await,
            Call::PasteToken => self.paste_token(request.caller()?, request).await,
            Call::RemoveMyToken => self.remove_my_token(request.caller()?, first, request).await,
        }
    }
}

impl Files {
    /// Answers a call that is about files alone. Of those that nothing serves there is nothing to tell.
    async fn answer(&self, call: FileCall) -> Answered {
        let Self::Live(live) = self else { return Err(not_found()) };
        match call {
            FileCall::Status => Ok(answer(StatusCode::OK, &*live.status())),
            FileCall::Texts => Ok(answer(StatusCode::OK, &live.served_files())),
            FileCall::Reload => reload(live).await,
        }
    }

    /// The route table of this moment, for the [`Request`] that begins now.
    pub fn snapshot(&self) -> Arc<Table> {
        match self {
            Self::Live(live) => live.snapshot(),
            Self::Read(table) => Arc::clone(table),
        }
    }
}

async fn reload(live: &Live) -> Answered {
    let status = live.reload().await.map_err(unfinished)?;
    let code = if status.ok { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    Ok(answer(code, &*status))
}

fn unfinished(error: ReloadError) -> Fault {
    Fault::new(Kind::ReloadUnfinished, error.to_string())
}

/// The store did not do it; whoever runs this gets to know why.
fn lost(error: StoreError) -> Fault {
    match error {
        StoreError::Revoked { admin: false } => Fault::invalid_token(),
        StoreError::Revoked { admin: true } => Fault::invalid_admin_token(),
        StoreError::TooManyTokens { .. } => Fault::new(Kind::TooManyTokens, error.to_string()),
        error => {
            tracing::error!(%error, "the store did not answer a call");
            Fault::new(
                Kind::StoreUnavailable,
                "The store does not answer now, and nothing was changed: try again",
            )
        }
    }
}

fn answer(status: StatusCode, document: &impl Serialize) -> Answer {
    let body = serde_json::to_string(document).expect("documents have text keys and no failing parts");
    Answer { status, body, link: None }
}

fn done() -> Answer {
    answer(StatusCode::OK, &Done { ok: true })
}
