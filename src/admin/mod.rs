//! The API of tollgate itself, for admins and for users (self-service): a call becomes a status code and JSON. The table
//! of operations is in `operations`; [`Admin::handle`] has one arm for each.
//!
//! Callers are authenticated before a call gets here: nothing here reads a token or a socket. Workers reach it through
//! `ApiQueue`, since it uses the store; the control socket calls it directly.

mod access;
mod audit;
mod body;
mod check;
mod credentials;
mod document;
mod explain;
mod fields;
mod findings;
mod json;
mod limits;
mod listing;
mod openapi;
mod operations;
mod overview;
mod owners;
mod page;
mod paste;
mod payloads;
mod pointer;
mod probe;
mod providers;
mod queue;
mod scope;
mod sessions;
mod tokens;
mod tools;
mod unconfirmed;
mod usage;
mod users;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Serialize;
use tokio::time::timeout;

pub use self::{
    access::{AccessibleProvider, UsedKey, UsedKeyFrom},
    audit::{AUDIT_ACTIONS, AuditEntry},
    body::MAX_BODY,
    check::{CheckFinding, CheckPlace, CheckPoint, CheckResult, CheckSpan, MAX_BODY as MAX_CHECK_BODY},
    fields::{
        CredentialField, CredentialFields, CredentialKind, FieldSection, Holder, PasteTokenPlace,
        SharedCredential, UndeclaredField, Wanted,
    },
    findings::{FileFinding, FileFindings},
    json::parse as parse_json,
    limits::{
        AllowRule, EndedGrants, GrantOfLimit, LimitBalance, LimitCounters, LimitGrantDocument, LimitKey,
        LimitScope, LimitsReport, NewLimitGrant,
    },
    listing::{Group, ListedUser, UserNumbers},
    openapi::openapi,
    operations::{Access, FileOperation, OPERATIONS, Operation, OperationId, OperationMatch, find},
    overview::{
        Attention, AttentionKind, AttentionSeverity, AttentionTarget, Overview, OverviewDay,
        OverviewFirstByte, OverviewHour, OverviewNow, OverviewSetup, Percentiles, StatusEvent, StoredFacts,
        Topics,
    },
    owners::OwnerCredentials,
    payloads::{
        AdminToken, ById, EXPECTED_ORIGINS, KindOfAdminToken, ListedKind, MadeAdminToken, MadeToken,
        MadeUser, Me, MyToken, PasteToken, Revoked, Rotated, Token, User,
    },
    probe::{ProbeEnd, ProbeFault, ProbeResult, ProbeTarget},
    providers::{
        ReachableEndpoint, ReachableProvider, ReachableProviders, ServingProvider, TOKEN_PLACES, base_paths,
    },
    queue::ApiQueue,
    scope::other_user,
    sessions::{SessionChange, SignedIn},
    unconfirmed::UnconfirmedOwner,
    usage::{
        DEFAULT_BY, RecentExchange, RecentExchanges, UnpricedModel, UsageFigures, UsageReport, UsageRow,
        csv::line as csv_line, user_shown,
    },
};
use self::{document::ValueRules, operations::OperationId as Id, payloads::Done};
use crate::{
    accounts::{Actor, Caller, Edit, MasterKey, RefreshProblems, Rekeyer},
    admission::Admission,
    exporters::ExporterStates,
    fault::{Fault, FaultKind},
    fields::DeclaredFields,
    files::{Found, Live, ReloadError, ServingFiles, Status},
    ledger::{Ledger, UsageBacklog},
    limits::LimitStates,
    listener_tls::ListenerTls,
    name::Owner,
    recorder::Drops,
    settings::UserOrigins,
    store::{Store, StoreError, TokenHash},
    table::Table,
    traffic::Traffic,
};

/// Timeout of the store's check for the status.
const STORE_CHECK: Duration = Duration::from_secs(2);

/// The API, with all that its calls use.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The provider files.
    pub files: ProviderFiles,
    /// Users, tokens, credentials.
    pub store: Store,
    /// The master key, which encrypts credentials.
    pub key: MasterKey,
    /// Master-key rotation. Absent in a command, which has no server.
    pub rekeyer: Option<Rekeyer>,
    /// Lifetime of a browser's session.
    pub session_lifetime: Duration,
    /// The origins that users may enter.
    pub user_origins: UserOrigins,
}

/// The provider files that calls use.
#[derive(Debug, Clone)]
pub enum ProviderFiles {
    /// Those of the running server, which change with every reload.
    Live(Box<LiveFiles>),
    /// Those that a command loaded, without a server.
    Loaded(Arc<Table>),
}

/// The provider files of the running server, and the other sources of its status.
#[derive(Debug, Clone)]
pub struct LiveFiles {
    /// The provider files.
    pub live: Arc<Live>,
    /// Its load.
    pub admission: Arc<Admission>,
    /// The drops of its queues.
    pub drops: Drops,
    /// The state of its exporters.
    pub exporters: ExporterStates,
    /// Its outgoing proxies by scheme, without credentials.
    pub outgoing_proxies: BTreeMap<String, String>,
    /// The certificate of its listeners, if they take TLS.
    pub tls: Option<ListenerTls>,
    /// The usage that waits.
    pub ledger: Ledger,
    /// The figures of finished calls.
    pub traffic: Traffic,
    /// The counters of limits.
    pub limits: LimitStates,
    /// The logins whose last refresh failed.
    pub refreshes: RefreshProblems,
    /// What overviews read from the store.
    pub overview: StoredFacts,
    /// The URL at which clients reach tollgate.
    pub url: String,
}

/// The authenticated side of a call.
#[derive(Debug, Clone)]
pub enum Principal {
    /// A user of the machine, over the control socket or by a command.
    Local,
    /// The holder of an admin token or an admin's session.
    Admin,
    /// A user with a token or a session, who reaches only what is the user's own.
    User(Arc<Caller>),
}

/// A call.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method. `HEAD` is handled as `GET`; the caller drops the body of the response.
    pub method: Method,
    /// The path.
    pub path: String,
    /// The query, without `?`.
    pub query: Option<String>,
    /// The body.
    pub body: Bytes,
    /// The route table when the call began: everything that provider files decide about it comes from there.
    pub table: Arc<Table>,
    /// The caller, for authorization.
    pub principal: Principal,
    /// The caller, for the audit log.
    pub actor: Actor,
    /// The sessions that the browser has already, for a call that starts one: they end.
    pub sessions: Vec<TokenHash>,
}

/// The response to a call that was not refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: StatusCode,
    /// Compact JSON, or CSV.
    pub body: String,
    /// True if the body is CSV.
    pub csv: bool,
    /// The `Link` header: the next page of a list.
    pub link: Option<String>,
    /// A session that started or ended: its cookie is set or removed.
    pub session: Option<SessionChange>,
}

/// The result of an operation.
type ApiResult = Result<Response, Fault>;

/// The edits that store a credentials document from another system, checked against the declared fields.
pub fn credential_edits(
    document: &serde_json::Map<String, serde_json::Value>,
    known: &DeclaredFields,
) -> Result<Vec<Edit>, Fault> {
    document::first_edits(document, "", ValueRules { known, user_origins: &UserOrigins::default() })
}

/// The fault for a path and method that no operation has.
pub fn not_found() -> Fault {
    Fault::new(FaultKind::NotFound, "Not found")
}

impl Response {
    fn json(status: StatusCode, payload: &impl Serialize) -> Self {
        let body = serde_json::to_string(payload).expect("payloads have text keys and no failing parts");
        Self { status, body, csv: false, link: None, session: None }
    }

    fn csv(body: String) -> Self {
        Self { status: StatusCode::OK, body, csv: true, link: None, session: None }
    }

    fn done() -> Self {
        Self::json(StatusCode::OK, &Done { ok: true })
    }
}

impl Request {
    /// The operation, if the principal has access to it. One without access looks like one that does not exist. A fault if
    /// the call is for another user.
    fn operation(&self) -> Result<OperationMatch<'_>, Fault> {
        let found = find(&self.method, &self.path).ok_or_else(not_found)?;
        let allowed = match (found.operation.access, &self.principal) {
            (Access::Admin, Principal::Local | Principal::Admin)
            | (Access::Local, Principal::Local)
            | (Access::User, Principal::User(_)) => true,
            (Access::Public | Access::Admin | Access::Local | Access::User, _) => false,
        };
        let found = allowed.then_some(found).ok_or_else(not_found)?;
        if let Principal::User(caller) = &self.principal
            && found.operation.takes_user()
        {
            scope::check_user(caller, self.query.as_deref())?;
        }
        Ok(found)
    }

    /// The calling user. Admins have no account of their own.
    fn caller(&self) -> Result<&Arc<Caller>, Fault> {
        match &self.principal {
            Principal::User(caller) => Ok(caller),
            Principal::Local | Principal::Admin => Err(not_found()),
        }
    }

    /// The calling user, as the owner of credentials.
    fn own(&self) -> Result<Owner, Fault> {
        Ok(Owner::User(self.caller()?.id.clone()))
    }
}

impl Admin {
    /// Handles a call. Health checks are answered by the gateway, which knows the state of the process; so are probes,
    /// which it sends, and streams of events.
    pub async fn handle(&self, request: &Request) -> ApiResult {
        let OperationMatch { operation, captures } = request.operation()?;
        if let Principal::User(caller) = &request.principal {
            scope::check_not_replaced(caller, operation.method)?;
        }
        let first = captures.first().copied().unwrap_or_default();
        let second = captures.get(1).copied().unwrap_or_default();
        match operation.id {
            Id::Liveness | Id::Readiness | Id::ProbeMyProvider | Id::StreamEvents => Err(not_found()),
            Id::GetOverview => self.overview(request).await,
            Id::Files(operation) => self.files.handle(operation, Some(&self.store)).await,
            Id::CreateUser => self.create_user(request).await,
            Id::ListUsers => self.list_users(request).await,
            Id::CountUsers => self.count_users(request).await,
            Id::GetUser => self.get_user(first).await,
            Id::UpdateUser => self.update_user(first, request).await,
            Id::DeleteUser => self.delete_user(first, request).await,
            Id::GetUserCreds => self.get_creds(&users::owner(first)?, request).await,
            Id::ReplaceUserCreds => self.replace_creds(&users::owner(first)?, request).await,
            Id::MergeUserCreds => self.merge_creds(&users::owner(first)?, request).await,
            Id::GetUnconfirmedUserCreds => self.get_unconfirmed(&users::owner(first)?, request).await,
            Id::ConfirmUserCreds => self.confirm_creds(&users::owner(first)?, request).await,
            Id::ListUserTokens => self.list_tokens(&users::id(first)?, request).await,
            Id::CreateUserToken => self.create_token(&users::id(first)?, request).await,
            Id::RevokeUserToken => self.revoke_token(&users::id(first)?, second, request).await,
            Id::GetSharedCreds => self.get_creds(&Owner::Everybody, request).await,
            Id::ReplaceSharedCreds => self.replace_creds(&Owner::Everybody, request).await,
            Id::MergeSharedCreds => self.merge_creds(&Owner::Everybody, request).await,
            Id::GetUnconfirmedSharedCreds => self.get_unconfirmed(&Owner::Everybody, request).await,
            Id::ConfirmSharedCreds => self.confirm_creds(&Owner::Everybody, request).await,
            Id::GetGroupCreds => self.get_creds(&credentials::group(first)?, request).await,
            Id::ReplaceGroupCreds => self.replace_creds(&credentials::group(first)?, request).await,
            Id::MergeGroupCreds => self.merge_creds(&credentials::group(first)?, request).await,
            Id::GetUnconfirmedGroupCreds => self.get_unconfirmed(&credentials::group(first)?, request).await,
            Id::ConfirmGroupCreds => self.confirm_creds(&credentials::group(first)?, request).await,
            Id::GetUserAccess => self.access(&users::id(first)?, request).await,
            Id::GetMyAccess => self.access(&request.caller()?.id, request).await,
            Id::ListCreds => self.list_creds(request).await,
            Id::ListUnconfirmedCreds => self.list_unconfirmed(request).await,
            Id::ListGroups => self.list_groups(request).await,
            Id::ListAdminTokens => self.list_admin_tokens(request).await,
            Id::CreateAdminToken => self.create_admin_token(request).await,
            Id::RevokeAdminToken => self.revoke_admin_token(first, request).await,
            Id::GetUsage => self.usage(request, None).await,
            Id::GetRecentUsage => self.recent_usage(request, None).await,
            Id::GetMyUsage => self.usage(request, Some(&request.caller()?.id)).await,
            Id::GetMyRecentUsage => self.recent_usage(request, Some(&request.caller()?.id)).await,
            Id::GetLimits => self.limits(request).await,
            Id::GetMyLimits => self.my_limits(request).await,
            Id::GrantLimit => self.grant_limit(request).await,
            Id::EndLimitGrants => self.end_limit_grants(first, second, request).await,
            Id::GetFields => self.fields_of(request).await,
            Id::GetMyFields => self.fields(Some(request.own()?), request).await,
            Id::ListMyProviders | Id::ListEndpoints => Ok(providers::reachable(request)),
            Id::GetProvider => providers::serving(first, request),
            Id::GetFindings => self.findings(request).await,
            Id::Explain => self.explain(request).await,
            Id::Check => self.check(request).await,
            Id::ListAudit => self.list_audit(request).await,
            Id::StartRekey => {
                let rekeyer = self.rekeyer.as_ref().ok_or_else(not_found)?;
                Ok(Response::json(StatusCode::ACCEPTED, &rekeyer.ask(request.actor.clone())))
            }
            Id::GetRekeyStatus => {
                let rekeyer = self.rekeyer.as_ref().ok_or_else(not_found)?;
                Ok(Response::json(StatusCode::OK, &rekeyer.status()))
            }
            Id::StartMySession => self.start_session(request.caller()?, request).await,
            Id::EndMySession => self.end_session(request.caller()?, request).await,
            Id::StartAdminSession => self.start_admin_session(request).await,
            Id::EndAdminSession => self.end_admin_session(request).await,
            Id::GetMe => Ok(Response::json(StatusCode::OK, &tokens::me(request.caller()?))),
            Id::GetMyCreds => self.get_creds(&request.own()?, request).await,
            Id::MergeMyCreds => self.merge_my_creds(request.caller()?, request).await,
            Id::GetUnconfirmedMyCreds => self.get_unconfirmed(&request.own()?, request).await,
            Id::ConfirmMyCreds => self.confirm_creds(&request.own()?, request).await,
            Id::RotateMyToken => self.rotate_my_token(request.caller()?, request).await,
            Id::ListMyTokens => self.list_tokens(&request.caller()?.id, request).await,
            Id::CreateMyToken => self.create_my_token(request.caller()?, request).await,
            Id::CreatePasteToken => self.create_paste_token(request.caller()?, request).await,
            Id::RevokeMyToken => self.revoke_my_token(request.caller()?, first, request).await,
        }
    }
}

impl ProviderFiles {
    /// Handles an operation on files. The status has the state of the store; without `store`, that is a failed one. A
    /// command has loaded files, but none that serve.
    async fn handle(&self, operation: FileOperation, store: Option<&Store>) -> ApiResult {
        let Self::Live(files) = self else { return Err(not_found()) };
        match operation {
            FileOperation::Status => {
                let status = files.with_load(&files.live.status());
                let is_current = status.certificate.as_ref().is_none_or(|one| one.problem.is_none());
                let ok = status.ok
                    && status.usage_pending.is_none()
                    && status.sink_problems.is_empty()
                    && is_current;
                let (status, _) = with_store(Status { ok, ..status }, store).await;
                Ok(Response::json(StatusCode::OK, &status))
            }
            FileOperation::Texts => Ok(Response::json(StatusCode::OK, &files.live.served_files())),
            FileOperation::Reload => files.reload().await,
        }
    }

    /// The files that serve at this moment. A command has loaded some, but none that serve.
    fn serving(&self) -> Result<ServingFiles, Fault> {
        match self {
            Self::Live(files) => Ok(files.live.serving_files()),
            Self::Loaded(_) => Err(not_found()),
        }
    }

    /// The findings of the last scan. A command has none.
    fn found(&self) -> Result<Arc<Found>, Fault> {
        match self {
            Self::Live(files) => Ok(files.live.found()),
            Self::Loaded(_) => Err(not_found()),
        }
    }

    /// The usage that no report has yet, because the store cannot be written. A command has none in memory.
    fn usage_backlog(&self) -> Option<UsageBacklog> {
        match self {
            Self::Live(files) => files.ledger.backlog(),
            Self::Loaded(_) => None,
        }
    }

    /// The route table of this moment, for the [`Request`] that begins now.
    pub fn snapshot(&self) -> Arc<Table> {
        match self {
            Self::Live(files) => files.live.snapshot(),
            Self::Loaded(table) => Arc::clone(table),
        }
    }
}

impl LiveFiles {
    async fn reload(&self) -> ApiResult {
        let status = self.with_load(&*self.live.reload().await.map_err(reload_fault)?);
        let code = if status.ok { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
        Ok(Response::json(code, &status))
    }

    /// The status with the load of the running server, and its queues.
    fn with_load(&self, status: &Status) -> Status {
        let mut dropped = self.drops.numbers();
        dropped.retain(|_, number| *number > 0);
        Status {
            load: Some(self.admission.load()),
            dropped,
            sink_problems: self.drops.sinks.get(),
            exporters: self.exporters.status(),
            outgoing_proxies: self.outgoing_proxies.clone(),
            url: Some(self.url.clone()),
            certificate: self.tls.as_ref().map(ListenerTls::status),
            usage_pending: self.ledger.backlog(),
            ..status.clone()
        }
    }
}

/// The status with the state of the store, and true if the store can be read. The files alone decide about a reload.
async fn with_store(status: Status, store: Option<&Store>) -> (Status, bool) {
    let late = || "the store did not answer in time".to_owned();
    let (problem, is_readable) = match store {
        Some(store) => match timeout(STORE_CHECK, store.check()).await {
            // A full disk can be read.
            Ok(Ok(())) => {
                (store.write_problem().map(|problem| format!("the last write failed: {problem}")), true)
            }
            Ok(Err(error)) => (Some(error.to_string()), false),
            Err(_) => (Some(late()), false),
        },
        None => (Some(late()), false),
    };
    let ok = status.ok && problem.is_none();
    (Status { ok, store_problem: problem, ..status }, is_readable)
}

fn reload_fault(error: ReloadError) -> Fault {
    Fault::new(FaultKind::ReloadUnfinished, error.to_string())
}

/// The fault for an error of the store. The cause goes to the log: it is for the operator, not for the client.
fn store_fault(error: StoreError) -> Fault {
    match error {
        StoreError::TokenRevoked => Fault::invalid_token(),
        StoreError::AdminTokenRevoked => Fault::invalid_admin_token(),
        StoreError::TooManyTokens { .. } => Fault::new(FaultKind::TooManyTokens, error.to_string()),
        StoreError::Unconfirmed { .. } => {
            tracing::error!(%error, "an API call failed in the store");
            let message = "The store failed during this change: it is not in effect, but may be after a crash of tollgate; try again, and after a crash check whether it was made";
            Fault::new(FaultKind::ChangeUnconfirmed, message)
        }
        error => {
            tracing::error!(%error, "an API call failed in the store");
            Fault::new(
                FaultKind::StoreUnavailable,
                "The store is unavailable, and nothing was changed; try again",
            )
        }
    }
}
