//! The table of operations of the API. Calls are looked up in it, and the `OpenAPI` document is generated from it: no
//! operation is undocumented.

use std::borrow::Cow;

use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::{
    access::{self, AccessibleProvider},
    audit::{self, AuditEntry},
    body::MAX_BODY,
    check::{self, CheckRequest, CheckResult},
    credentials,
    explain::ExplainRequest,
    fields::{self, CredentialFields},
    findings::{self, FileFindings},
    limits::{self, EndedGrants, LimitGrantDocument, LimitsReport, NewLimitGrant},
    listing::{self, Group, ListedUser, UserNumbers},
    overview::{self, Overview, StatusEvent},
    owners::OwnerCredentials,
    payloads,
    probe::ProbeResult,
    providers::{ReachableProviders, ServingProvider},
    unconfirmed::UnconfirmedOwner,
    usage::{self, RecentExchanges, UsageReport},
};
use crate::{
    accounts::RekeyStatus,
    explain::Explanation,
    fault::FaultKind,
    files::{ServedFiles, Status},
};

/// An operation, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the table below has a summary of each")]
pub enum OperationId {
    Liveness,
    Readiness,
    Files(FileOperation),
    GetOverview,
    StreamEvents,
    CreateUser,
    ListUsers,
    CountUsers,
    GetUser,
    UpdateUser,
    DeleteUser,
    GetUserCreds,
    ReplaceUserCreds,
    MergeUserCreds,
    GetUnconfirmedUserCreds,
    ConfirmUserCreds,
    ListUserTokens,
    CreateUserToken,
    RevokeUserToken,
    GetSharedCreds,
    ReplaceSharedCreds,
    MergeSharedCreds,
    GetUnconfirmedSharedCreds,
    ConfirmSharedCreds,
    GetGroupCreds,
    ReplaceGroupCreds,
    MergeGroupCreds,
    GetUnconfirmedGroupCreds,
    ConfirmGroupCreds,
    ListUnconfirmedCreds,
    ListCreds,
    GetUserAccess,
    ListGroups,
    ListEndpoints,
    ListAdminTokens,
    CreateAdminToken,
    RevokeAdminToken,
    ListAudit,
    GetFields,
    GetProvider,
    GetFindings,
    Explain,
    Check,
    StartRekey,
    GetRekeyStatus,
    GetMe,
    GetMyAccess,
    GetMyCreds,
    MergeMyCreds,
    GetUnconfirmedMyCreds,
    ConfirmMyCreds,
    RotateMyToken,
    ListMyTokens,
    CreateMyToken,
    RevokeMyToken,
    CreatePasteToken,
    GetUsage,
    GetRecentUsage,
    GetMyUsage,
    GetMyRecentUsage,
    GetLimits,
    GetMyLimits,
    GrantLimit,
    EndLimitGrants,
    GetMyFields,
    ListMyProviders,
    ProbeMyProvider,
    StartMySession,
    EndMySession,
    StartAdminSession,
    EndAdminSession,
}

impl OperationId {
    /// True for an operation whose method is `POST` for its body alone: it changes nothing.
    pub(super) fn only_reads(self) -> bool {
        matches!(self, Self::Explain | Self::Check)
    }

    /// True if a success sets or removes the cookie of a session.
    pub fn changes_session(self) -> bool {
        matches!(
            self,
            Self::StartMySession | Self::EndMySession | Self::StartAdminSession | Self::EndAdminSession
        )
    }
}

/// An operation on provider files. These need no store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the table below has a summary of each")]
pub enum FileOperation {
    Status,
    Texts,
    Reload,
}

/// The callers that may use an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody, without a token.
    Public,
    /// Holders of an admin token, and the control socket.
    Admin,
    /// The control socket only.
    Local,
    /// A user, for what is the user's own.
    User,
}

/// An operation.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub struct Operation {
    /// The name.
    pub id: OperationId,
    /// The method.
    pub method: &'static str,
    /// The path. `{name}` matches any one segment.
    pub path: &'static str,
    /// The callers that may use it.
    pub access: Access,
    /// One line for the `OpenAPI` document.
    pub summary: &'static str,
    /// True if it takes `?limit=` and `?after=`.
    pub paged: bool,
    /// True if it takes `?withMade=`.
    pub with_made: bool,
    /// The query parameters that it takes besides these.
    pub parameters: &'static [Parameter],
    /// True if it returns CSV with `?format=csv`.
    pub csv: bool,
    /// True if a success is a stream of events, each with a document, and never ends by itself.
    pub streams: bool,
    /// The request body, if it takes one.
    pub body: Option<RequestBody>,
    /// The response of a success.
    pub success: ResponseBody,
    /// A second response that is not a fault.
    pub alternative: Option<ResponseBody>,
    /// Faults besides those that all operations with this access have.
    pub faults: &'static [FaultKind],
}

/// A query parameter.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// The name.
    pub name: &'static str,
    /// The description.
    pub description: &'static str,
    /// The values that it takes.
    pub kind: ParameterKind,
}

/// The values of a query parameter.
#[derive(Debug, Clone, Copy)]
pub enum ParameterKind {
    /// A text that is not empty.
    Text,
    /// A number from zero on.
    Count {
        /// The greatest.
        max: u64,
    },
    /// One of some words.
    Word(&'static [&'static str]),
}

/// A function that adds a type to a schema generator and returns its schema.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// The schema of a type, with the type's name.
#[derive(Debug, Clone, Copy)]
pub struct NamedSchema {
    /// The name.
    pub name: fn() -> Cow<'static, str>,
    /// The schema.
    pub generate: SchemaOf,
}

/// A request body.
#[derive(Debug, Clone, Copy)]
pub struct RequestBody {
    /// Its type.
    pub schema: NamedSchema,
    /// True if it may be left out, which means `{}`.
    pub optional: bool,
    /// The largest that is read, in bytes.
    pub max_bytes: usize,
}

/// A response body.
#[derive(Debug, Clone, Copy)]
pub struct ResponseBody {
    /// The status code.
    pub status: u16,
    /// Its type.
    pub schema: NamedSchema,
}

/// An operation that matches a path.
#[derive(Debug)]
pub struct OperationMatch<'p> {
    /// The operation.
    pub operation: &'static Operation,
    /// The segments that match its `{name}`s, in order.
    pub captures: Vec<&'p str>,
}

/// Finds the operation for a method and a path. `HEAD` is handled as `GET`.
pub fn find<'p>(method: &Method, path: &'p str) -> Option<OperationMatch<'p>> {
    let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
    let mut candidates = OPERATIONS.iter().filter(|operation| operation.method == method);
    candidates
        .find_map(|operation| Some(OperationMatch { operation, captures: captures(operation.path, path)? }))
}

fn captures<'p>(template: &str, path: &'p str) -> Option<Vec<&'p str>> {
    let (mut segments, mut captures) = (path.split('/'), Vec::new());
    for expected in template.split('/') {
        match segments.next()? {
            segment if expected.starts_with('{') && !segment.is_empty() => captures.push(segment),
            segment if segment == expected => {}
            _ => return None,
        }
    }
    segments.next().is_none().then_some(captures)
}

const fn schema<T: JsonSchema>() -> NamedSchema {
    NamedSchema { name: T::schema_name, generate: SchemaGenerator::subschema_for::<T> }
}

const fn new<T: JsonSchema>(
    id: OperationId,
    method: &'static str,
    path: &'static str,
    access: Access,
    summary: &'static str,
) -> Operation {
    let success = ResponseBody { status: 200, schema: schema::<T>() };
    let (paged, with_made, csv, streams, body, alternative) = (false, false, false, false, None, None);
    let (parameters, faults): (&[Parameter], &[FaultKind]) = (&[], &[]);
    Operation {
        id,
        method,
        path,
        access,
        summary,
        paged,
        with_made,
        parameters,
        csv,
        streams,
        body,
        success,
        alternative,
        faults,
    }
}

impl Operation {
    /// True if it takes `?as=`: a change by a user.
    pub fn takes_user(&self) -> bool {
        self.access == Access::User && self.method != "GET"
    }

    const fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(RequestBody { schema: schema::<T>(), optional: false, max_bytes: MAX_BODY });
        self
    }

    const fn large_body<T: JsonSchema>(mut self, max_bytes: usize) -> Self {
        self.body = Some(RequestBody { schema: schema::<T>(), optional: false, max_bytes });
        self
    }

    const fn optional_body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(RequestBody { schema: schema::<T>(), optional: true, max_bytes: MAX_BODY });
        self
    }

    const fn paged(mut self) -> Self {
        self.paged = true;
        self
    }

    const fn with_made(mut self) -> Self {
        self.with_made = true;
        self
    }

    const fn parameters(mut self, parameters: &'static [Parameter]) -> Self {
        self.parameters = parameters;
        self
    }

    /// Parameters with `format` among them.
    const fn with_csv(mut self, parameters: &'static [Parameter]) -> Self {
        self.parameters = parameters;
        self.csv = true;
        self
    }

    const fn streams(mut self) -> Self {
        self.streams = true;
        self
    }

    const fn created(mut self) -> Self {
        self.success.status = 201;
        self
    }

    const fn accepted(mut self) -> Self {
        self.success.status = 202;
        self
    }

    const fn or<T: JsonSchema>(mut self, status: u16) -> Self {
        self.alternative = Some(ResponseBody { status, schema: schema::<T>() });
        self
    }

    const fn faults(mut self, faults: &'static [FaultKind]) -> Self {
        self.faults = faults;
        self
    }
}

type Users = payloads::ById<ListedUser>;
type Groups = payloads::ById<Group>;
type Unconfirmed = payloads::ById<UnconfirmedOwner>;
type Creds = payloads::ById<OwnerCredentials>;
type Providers = payloads::ById<AccessibleProvider>;
type Tokens = payloads::ById<payloads::Token>;
type AdminTokens = payloads::ById<payloads::AdminToken>;
type Audit = payloads::ById<AuditEntry>;
type Masked = payloads::MaskedCredentials;
type Document = payloads::CredentialsChange;

const NOT_FOUND: &[FaultKind] = &[FaultKind::NotFound];
const BAD: &[FaultKind] = &[FaultKind::InvalidRequest];
const TOOL: &[FaultKind] = &[FaultKind::NotFound, FaultKind::TooManyCalls, FaultKind::CallUnfinished];
const KIND: &[FaultKind] = &[FaultKind::TokenKind];

/// Every operation.
#[rustfmt::skip]
pub static OPERATIONS: &[Operation] = &[
    new::<payloads::Health>(OperationId::Liveness, "GET", "/health", Access::Public, "Liveness: the process runs"),
    new::<payloads::Health>(OperationId::Liveness, "GET", "/livez", Access::Public, "Liveness: the process runs"),
    new::<payloads::Health>(OperationId::Readiness, "GET", "/readyz", Access::Public, "Readiness: the process accepts more requests")
        .or::<payloads::Health>(503),

    new::<Status>(OperationId::Files(FileOperation::Status), "GET", "/admin/providers", Access::Admin, "Status of the provider files: each one's state and errors"),
    new::<ServedFiles>(OperationId::Files(FileOperation::Texts), "GET", "/admin/providers/files", Access::Local, "The texts of the provider files that serve (control socket only)"),
    new::<Status>(OperationId::Files(FileOperation::Reload), "POST", "/admin/reload", Access::Admin, "Reload the provider files")
        .or::<Status>(422).faults(&[FaultKind::ReloadUnfinished]),
    new::<ServingProvider>(OperationId::GetProvider, "GET", "/admin/providers/{name}", Access::Admin, "Show a provider that serves: its endpoints, the hosts that it calls, its credentials section. One that is named `files` cannot be shown: that path has the texts").faults(NOT_FOUND),
    new::<FileFindings>(OperationId::GetFindings, "GET", "/admin/findings", Access::Admin, "Show the findings of a provider file with their source lines, as `tollgate check` prints them; what looks like a key is masked")
        .parameters(findings::PARAMETERS).faults(TOOL),
    new::<Explanation>(OperationId::Explain, "POST", "/admin/explain", Access::Admin, "Explain what would become of a request, by the files that serve; nothing is sent. The document is that of `tollgate explain --json`")
        .body::<ExplainRequest>().faults(TOOL),
    new::<CheckResult>(OperationId::Check, "POST", "/admin/check", Access::Admin, "Check a text as that of a provider file, among the files that serve, and show what it would change; nothing is written")
        .large_body::<CheckRequest>(check::MAX_BODY).faults(TOOL),

    new::<Overview>(OperationId::GetOverview, "GET", "/admin/overview", Access::Admin, "The state of the gateway at a glance: figures of now and of the day, and what needs attention"),
    new::<StatusEvent>(OperationId::StreamEvents, "GET", "/admin/events", Access::Admin, "Server-sent events: `status` when the provider files change, `overview` every two seconds, `end` before tollgate ends the stream")
        .streams().parameters(overview::EVENTS).faults(&[FaultKind::Overloaded]),

    new::<payloads::MadeUser>(OperationId::CreateUser, "POST", "/admin/users", Access::Admin, "Create a user with a first token of the kind `both`")
        .body::<payloads::NewUser>().created(),
    new::<Users>(OperationId::ListUsers, "GET", "/admin/users", Access::Admin, "List users: oldest first, by name, or last used first").paged()
        .parameters(listing::USERS),
    new::<UserNumbers>(OperationId::CountUsers, "GET", "/admin/users/count", Access::Admin, "The number of users").parameters(listing::FILTERS),
    new::<ListedUser>(OperationId::GetUser, "GET", "/admin/users/{id}", Access::Admin, "Show a user").faults(NOT_FOUND),
    new::<payloads::User>(OperationId::UpdateUser, "PATCH", "/admin/users/{id}", Access::Admin, "Change a user's name, note or group, or disable the user")
        .body::<payloads::UserPatch>().faults(NOT_FOUND),
    new::<payloads::Done>(OperationId::DeleteUser, "DELETE", "/admin/users/{id}", Access::Admin, "Delete a user with all tokens and credentials")
        .faults(NOT_FOUND),
    new::<Masked>(OperationId::GetUserCreds, "GET", "/admin/users/{id}/creds", Access::Admin, "Show a user's credentials, masked").faults(NOT_FOUND),
    new::<payloads::Done>(OperationId::ReplaceUserCreds, "PUT", "/admin/users/{id}/creds", Access::Admin, "Replace all of a user's credentials")
        .body::<Document>().faults(&[FaultKind::NotFound, FaultKind::OriginsChanged]),
    new::<Masked>(OperationId::MergeUserCreds, "PATCH", "/admin/users/{id}/creds", Access::Admin, "Change some of a user's credentials")
        .body::<Document>().parameters(&[credentials::EXPIRY]).faults(&[FaultKind::NotFound, FaultKind::OriginsChanged]),
    new::<payloads::Unconfirmed>(OperationId::GetUnconfirmedUserCreds, "GET", "/admin/users/{id}/creds/confirm", Access::Admin, "Show a user's credentials that wait for a confirmation, with their origins").faults(NOT_FOUND),
    new::<payloads::Confirmation>(OperationId::ConfirmUserCreds, "POST", "/admin/users/{id}/creds/confirm", Access::Admin, "Confirm that a user's credentials may go to the origins that the provider files lead to now")
        .body::<payloads::Confirm>().faults(&[FaultKind::NotFound, FaultKind::OriginsChanged]),
    new::<Tokens>(OperationId::ListUserTokens, "GET", "/admin/users/{id}/tokens", Access::Admin, "List a user's tokens").paged().faults(NOT_FOUND),
    new::<payloads::MadeToken>(OperationId::CreateUserToken, "POST", "/admin/users/{id}/tokens", Access::Admin, "Create a token for a user")
        .optional_body::<payloads::NewToken>().created().faults(&[FaultKind::NotFound, FaultKind::TooManyTokens]),
    new::<payloads::Revoked>(OperationId::RevokeUserToken, "DELETE", "/admin/users/{id}/tokens/{token}", Access::Admin, "Revoke a user's token, with its paste tokens")
        .with_made().faults(NOT_FOUND),

    new::<Masked>(OperationId::GetSharedCreds, "GET", "/admin/credentials/everybody", Access::Admin, "Show the credentials that everybody may use, masked"),
    new::<payloads::Done>(OperationId::ReplaceSharedCreds, "PUT", "/admin/credentials/everybody", Access::Admin, "Replace all credentials that everybody may use")
        .body::<Document>().faults(&[FaultKind::OriginsChanged]),
    new::<Masked>(OperationId::MergeSharedCreds, "PATCH", "/admin/credentials/everybody", Access::Admin, "Change some of the credentials that everybody may use")
        .body::<Document>().parameters(&[credentials::EXPIRY]).faults(&[FaultKind::OriginsChanged]),
    new::<payloads::Unconfirmed>(OperationId::GetUnconfirmedSharedCreds, "GET", "/admin/credentials/everybody/confirm", Access::Admin, "Show the credentials that everybody may use and that wait for a confirmation, with their origins"),
    new::<payloads::Confirmation>(OperationId::ConfirmSharedCreds, "POST", "/admin/credentials/everybody/confirm", Access::Admin, "Confirm that the credentials that everybody may use may go to the origins that the provider files lead to now")
        .body::<payloads::Confirm>().faults(&[FaultKind::OriginsChanged]),
    new::<Masked>(OperationId::GetGroupCreds, "GET", "/admin/credentials/groups/{name}", Access::Admin, "Show the credentials that a group may use, masked").faults(BAD),
    new::<payloads::Done>(OperationId::ReplaceGroupCreds, "PUT", "/admin/credentials/groups/{name}", Access::Admin, "Replace all credentials that a group may use")
        .body::<Document>().faults(&[FaultKind::OriginsChanged]),
    new::<Masked>(OperationId::MergeGroupCreds, "PATCH", "/admin/credentials/groups/{name}", Access::Admin, "Change some of the credentials that a group may use")
        .body::<Document>().parameters(&[credentials::EXPIRY]).faults(&[FaultKind::OriginsChanged]),
    new::<payloads::Unconfirmed>(OperationId::GetUnconfirmedGroupCreds, "GET", "/admin/credentials/groups/{name}/confirm", Access::Admin, "Show the credentials that a group may use and that wait for a confirmation, with their origins").faults(BAD),
    new::<payloads::Confirmation>(OperationId::ConfirmGroupCreds, "POST", "/admin/credentials/groups/{name}/confirm", Access::Admin, "Confirm that the credentials that a group may use may go to the origins that the provider files lead to now")
        .body::<payloads::Confirm>().faults(&[FaultKind::OriginsChanged]),

    new::<Providers>(OperationId::GetUserAccess, "GET", "/admin/users/{id}/access", Access::Admin, "List the providers and endpoints that a user may call, with whose key, and below which paths; at most 100 providers a page").paged()
        .parameters(access::PARAMETERS).faults(NOT_FOUND),
    new::<Creds>(OperationId::ListCreds, "GET", "/admin/credentials", Access::Admin, "List all owners of credentials, users, groups and everybody, with the credentials, masked; at most 100 owners a page").paged(),
    new::<Unconfirmed>(OperationId::ListUnconfirmedCreds, "GET", "/admin/credentials/unconfirmed", Access::Admin, "List the owners of credentials that wait for a confirmation; at most 100 owners a page").paged(),
    new::<Groups>(OperationId::ListGroups, "GET", "/admin/groups", Access::Admin, "List the groups that users are in or that have credentials, by name; at most 100 a page").paged(),
    new::<ReachableProviders>(OperationId::ListEndpoints, "GET", "/admin/endpoints", Access::Admin, "List the providers that serve, with their endpoints"),

    new::<AdminTokens>(OperationId::ListAdminTokens, "GET", "/admin/tokens", Access::Admin, "List admin tokens").paged(),
    new::<payloads::MadeAdminToken>(OperationId::CreateAdminToken, "POST", "/admin/tokens", Access::Admin, "Create an admin token")
        .optional_body::<payloads::NewAdminToken>().created(),
    new::<payloads::Revoked>(OperationId::RevokeAdminToken, "DELETE", "/admin/tokens/{id}", Access::Admin, "Revoke an admin token; the last valid one cannot be revoked")
        .with_made().faults(&[FaultKind::NotFound, FaultKind::LastAdminToken]),
    new::<payloads::Session>(OperationId::StartAdminSession, "POST", "/admin/session", Access::Admin, "Sign in: start a session with an admin token, whose cookie is set")
        .created().faults(KIND),
    new::<payloads::Done>(OperationId::EndAdminSession, "DELETE", "/admin/session", Access::Admin, "Sign out: end the calling session, whose cookie is removed")
        .faults(KIND),
    new::<Audit>(OperationId::ListAudit, "GET", "/admin/audit", Access::Admin, "List the audit log, or search it: at most 1000 entries a page, as CSV at most 50000")
        .paged().with_csv(audit::PARAMETERS),

    new::<CredentialFields>(OperationId::GetFields, "GET", "/admin/fields", Access::Admin, "Show the credential fields of the provider files, with the credentials of an owner")
        .parameters(fields::PARAMETERS).faults(NOT_FOUND),

    new::<UsageReport>(OperationId::GetUsage, "GET", "/admin/usage", Access::Admin, "Usage of all users, by dimensions and time").with_csv(usage::ALL_REPORT),
    new::<RecentExchanges>(OperationId::GetRecentUsage, "GET", "/admin/usage/recent", Access::Admin, "The last exchanges of all users").with_csv(usage::ALL_RECENT),

    new::<LimitsReport>(OperationId::GetLimits, "GET", "/admin/limits", Access::Admin, "What is used and left of limits, of all users or one; at most 1000 amounts a page").paged()
        .parameters(limits::ALL),
    new::<LimitGrantDocument>(OperationId::GrantLimit, "POST", "/admin/limits/grants", Access::Admin, "Grant a user more than the amount of a limit, for a time. It is in effect at once, and ends by itself")
        .body::<NewLimitGrant>().created().faults(NOT_FOUND),
    new::<EndedGrants>(OperationId::EndLimitGrants, "DELETE", "/admin/limits/grants/{limit}/{user}", Access::Admin, "End all grants of a user for a limit now")
        .faults(NOT_FOUND),

    new::<RekeyStatus>(OperationId::StartRekey, "POST", "/admin/rekey", Access::Local, "Start a master-key rotation to the key in `master-key.next` (control socket only)")
        .accepted(),
    new::<RekeyStatus>(OperationId::GetRekeyStatus, "GET", "/admin/rekey", Access::Local, "Progress of the master-key rotation (control socket only)"),

    new::<payloads::Me>(OperationId::GetMe, "GET", "/auth/me", Access::User, "Show the calling user and token"),
    new::<Providers>(OperationId::GetMyAccess, "GET", "/auth/access", Access::User, "List the providers and endpoints that the calling token reaches, with whose key, and below which paths; at most 100 providers a page").paged(),
    new::<Masked>(OperationId::GetMyCreds, "GET", "/auth/creds", Access::User, "Show the caller's credentials, masked"),
    new::<Masked>(OperationId::MergeMyCreds, "PUT", "/auth/creds", Access::User, "Change some of the caller's credentials")
        .body::<Document>().parameters(&[credentials::EXPIRY, credentials::PASTE_TOKENS]).faults(&[FaultKind::TokenScope, FaultKind::OriginsChanged]),
    new::<payloads::Unconfirmed>(OperationId::GetUnconfirmedMyCreds, "GET", "/auth/creds/confirm", Access::User, "Show the caller's credentials that wait for a confirmation, with their origins"),
    new::<payloads::Confirmation>(OperationId::ConfirmMyCreds, "POST", "/auth/creds/confirm", Access::User, "Confirm that the caller's credentials may go to the origins that the provider files lead to now")
        .body::<payloads::Confirm>().faults(&[FaultKind::TokenScope, FaultKind::OriginsChanged]),
    new::<CredentialFields>(OperationId::GetMyFields, "GET", "/auth/fields", Access::User, "Show the credential fields of the provider files, with the caller's credentials"),
    new::<ReachableProviders>(OperationId::ListMyProviders, "GET", "/auth/providers", Access::User, "List the providers and endpoints that the calling token reaches"),
    new::<ProbeResult>(OperationId::ProbeMyProvider, "POST", "/auth/providers/{name}/probe", Access::User, "Send the request that a provider's file names in `probe`, as the caller's own, and show the answer")
        .faults(&[FaultKind::NotFound, FaultKind::TokenScope, FaultKind::ConfigRejected]),
    new::<UsageReport>(OperationId::GetMyUsage, "GET", "/auth/usage", Access::User, "The caller's usage, by dimensions and time").with_csv(usage::OWN_REPORT),
    new::<RecentExchanges>(OperationId::GetMyRecentUsage, "GET", "/auth/usage/recent", Access::User, "The caller's last exchanges").with_csv(usage::OWN_RECENT),
    new::<LimitsReport>(OperationId::GetMyLimits, "GET", "/auth/limits", Access::User, "What is used and left of the limits that the caller's requests take from, and the rules for models and endpoints; at most 1000 amounts a page").paged()
        .parameters(limits::OWN),
    new::<payloads::Rotated>(OperationId::RotateMyToken, "POST", "/auth/rotate", Access::User, "Rotate the calling token, or the one that the calling session was started with; it and its paste tokens stay valid for an hour")
        .faults(&[FaultKind::TooManyTokens]),
    new::<Tokens>(OperationId::ListMyTokens, "GET", "/auth/tokens", Access::User, "List the caller's tokens").paged(),
    new::<payloads::MadeToken>(OperationId::CreateMyToken, "POST", "/auth/tokens", Access::User, "Create a token that reaches no further than the calling one")
        .optional_body::<payloads::NewToken>().created().faults(&[FaultKind::TokenScope, FaultKind::TooManyTokens]),
    new::<payloads::Revoked>(OperationId::RevokeMyToken, "DELETE", "/auth/tokens/{id}", Access::User, "Revoke one of the caller's tokens, with its paste tokens")
        .with_made().faults(&[FaultKind::NotFound, FaultKind::TokenScope]),
    new::<payloads::Session>(OperationId::StartMySession, "POST", "/auth/session", Access::User, "Sign in: start a session with the calling token, whose cookie is set")
        .created(),
    new::<payloads::Done>(OperationId::EndMySession, "DELETE", "/auth/session", Access::User, "Sign out: end the calling session, whose cookie is removed"),
    new::<payloads::PasteToken>(OperationId::CreatePasteToken, "POST", "/auth/{name}", Access::User, "Create a paste token (a token in a vendor's own shape), at a path that a provider file names")
        .faults(&[FaultKind::NotFound, FaultKind::InvalidRequest, FaultKind::TokenScope]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::own_paths::{self, Served};

    #[test]
    fn method_and_path_find_an_operation() {
        let check = |line: &str, expected: Option<(OperationId, &[&str])>| {
            let (method, path) = line.split_once(' ').unwrap();
            let found = find(&method.parse().unwrap(), path);
            let found = found.as_ref().map(|found| (found.operation.id, &*found.captures));
            assert_eq!(found, expected, "{line}");
        };
        check("GET /health", Some((OperationId::Liveness, &[])));
        check("HEAD /admin/users", Some((OperationId::ListUsers, &[])));
        check("PATCH /admin/users/u/creds", Some((OperationId::MergeUserCreds, &["u"])));
        check("DELETE /admin/users/u/tokens/t", Some((OperationId::RevokeUserToken, &["u", "t"])));
        check("GET /admin/users/creds", Some((OperationId::GetUser, &["creds"])));
        for none in [
            "POST /health",
            "OPTIONS /admin/users",
            "GET /admin",
            "GET /admin/",
            "GET /admin/users/",
            "GET /admin/users//creds",
            "GET /admin/users/u/",
            "GET /admin/users/u/creds/",
            "PUT /admin/users",
            "GET //admin/users",
            "get /admin/users",
        ] {
            check(none, None);
        }
    }

    #[test]
    fn every_operation_lies_below_an_own_path_of_its_listener() {
        for Operation { method, path, access, .. } in OPERATIONS {
            let (_, served) = own_paths::find(path).unwrap_or_else(|| panic!("{path} is not reserved"));
            let expected = match access {
                Access::Public => Served::Both,
                Access::Admin | Access::Local => Served::Admin,
                Access::User => Served::Public,
            };
            assert_eq!(served, expected, "{path}");
            // A paste token is made by POST at a path that a provider file names.
            if let Some(name) = path.strip_prefix("/auth/").and_then(|rest| rest.split('/').next())
                && *method != "GET"
                && name != "{name}"
            {
                assert!(own_paths::SELF_SERVICE.contains(&name), "{path}");
            }
        }
    }

    #[test]
    fn no_operation_hides_another() {
        for (index, one) in OPERATIONS.iter().enumerate() {
            for other in &OPERATIONS[index + 1..] {
                assert!(one.method != other.method || one.path != other.path, "{} {}", one.method, one.path);
            }
            let found = find(&one.method.parse().unwrap(), one.path).unwrap();
            assert_eq!(found.operation.path, one.path, "an earlier operation hides it");
        }
    }
}
