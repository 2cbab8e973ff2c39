//! Faults: error responses to clients. A fault has a stable code, a status, the party that has to act, and whether a
//! retry may help. It never holds a secret or an internal text.
//!
//! Making a fault neither logs nor counts. The table below is the only place for codes, statuses and RFC 9209 error
//! types. Only `gateway` turns a fault into a response.

use std::borrow::Cow;

use http::StatusCode;

use super::name::LimitId;

/// The reason why tollgate refused or failed a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The kind of fault. It fixes the status and the stable code.
    pub kind: FaultKind,
    /// One sentence for a person, naming the provider where there is one.
    pub message: Cow<'static, str>,
    /// The exact cause, for programs. Only refused calls of tollgate's own API have one.
    pub cause: Option<Cause>,
    /// The JSON pointer (RFC 6901) of the part of the body that caused the fault. The empty one is the whole body.
    pub at: Option<String>,
    /// The limit that refuses the request.
    pub limit: Option<Box<LimitRefusal>>,
}

/// The refusal of a request by a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitRefusal {
    /// The limit.
    pub id: LimitId,
    /// The seconds until the request would fit. None if it never does.
    pub retry_after_s: Option<u64>,
}

/// The party that has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The client: another request is needed.
    Client,
    /// The upstream, or the network on the way to it.
    Upstream,
    /// This gateway or its operator.
    Gateway,
}

/// The outcome of sending the same request again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retry {
    /// It may succeed without any change.
    MayHelp,
    /// It fails again until a person changes something.
    Useless,
    /// The status decides: a provider's file chose it.
    ByStatus,
}

impl Fault {
    /// A fault of `kind` with a message for a person.
    pub fn new(kind: FaultKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), cause: None, at: None, limit: None }
    }

    /// The same fault with its exact cause.
    #[must_use]
    pub fn because(self, cause: Cause) -> Self {
        Self { cause: Some(cause), ..self }
    }

    /// A request that a limit refuses.
    pub fn limit_exceeded(refusal: LimitRefusal, message: String) -> Self {
        Self { limit: Some(Box::new(refusal)), ..Self::new(FaultKind::LimitExceeded, message) }
    }

    /// A fault about the part of a body at a JSON pointer. The message begins with the pointer.
    pub fn invalid_at(pointer: &str, cause: Cause, problem: &str) -> Self {
        let place = if pointer.is_empty() { "the body" } else { pointer };
        let message = format!("{place}: {problem}");
        Self { at: Some(pointer.to_owned()), ..Self::new(FaultKind::InvalidRequest, message).because(cause) }
    }

    /// The caller's token is not valid here. It does not say why: a guesser learns nothing about tokens that exist.
    pub fn invalid_token() -> Self {
        Self::new(
            FaultKind::InvalidToken,
            "Invalid or missing auth credentials. The token is not valid here: \
             it was revoked, has expired, or belongs to an admin or another tollgate",
        )
    }

    /// The admin token is not valid here.
    pub fn invalid_admin_token() -> Self {
        Self::new(
            FaultKind::InvalidAdminToken,
            "Invalid or missing admin credentials. The token is no admin token that is valid here: \
             it was revoked, has expired, or belongs to a user or another tollgate",
        )
    }
}

/// One row of the table of faults.
struct Row {
    code: &'static str,
    status: StatusCode,
    blame: Blame,
    retry: Retry,
    /// The `error` parameter of `Proxy-Status`: RFC 9209, section 2.3.
    proxy_error: &'static str,
}

macro_rules! faults {
    ($($(#[$doc:meta])* $kind:ident $code:literal $status:ident $blame:ident $retry:ident $proxy:literal;)*) => {
        /// The kinds of faults. Their codes are stable: clients may match on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum FaultKind { $($(#[$doc])* $kind,)* }

        impl FaultKind {
            /// All kinds, in the order of the table.
            pub const ALL: &'static [FaultKind] = &[$(FaultKind::$kind,)*];

            fn row(self) -> Row {
                match self {
                    $(FaultKind::$kind => Row {
                        code: $code, status: StatusCode::$status,
                        blame: Blame::$blame, retry: Retry::$retry, proxy_error: $proxy,
                    },)*
                }
            }
        }
    };
}

faults! {
    /// The request has no token.
    MissingToken "missing_token" UNAUTHORIZED Client Useless "http_request_denied";
    /// The token has not the form of a token of tollgate: as a rule it is a vendor's key.
    ForeignToken "foreign_token" UNAUTHORIZED Client Useless "http_request_denied";
    /// The token is unknown: revoked, expired, or of another tollgate.
    InvalidToken "invalid_token" UNAUTHORIZED Client Useless "http_request_denied";
    /// Under `/admin`: the token is no admin token that is valid here.
    InvalidAdminToken "invalid_admin_token" UNAUTHORIZED Client Useless "http_request_denied";
    /// A wrong token from a network beyond its authentication rate limit.
    TooManyAttempts "too_many_attempts" TOO_MANY_REQUESTS Client MayHelp "http_request_denied";
    /// A call of the API by a user with too many calls in progress.
    TooManyCalls "too_many_calls" TOO_MANY_REQUESTS Client MayHelp "http_request_denied";
    /// A request by a token with too many requests in progress.
    TokenConcurrency "token_concurrency" TOO_MANY_REQUESTS Client MayHelp "http_request_denied";
    /// A request by a user with too many requests in progress.
    UserConcurrency "user_concurrency" TOO_MANY_REQUESTS Client MayHelp "http_request_denied";
    /// A connection from an address with too many connections.
    TooManyConnections "too_many_connections" TOO_MANY_REQUESTS Client MayHelp "http_request_denied";
    /// The process has as many requests or connections as it takes.
    Overloaded "overloaded" SERVICE_UNAVAILABLE Gateway MayHelp "connection_limit_reached";
    /// Another user of the machine called the control socket.
    Forbidden "forbidden" FORBIDDEN Client Useless "http_request_denied";
    /// The request is not valid HTTP for a proxy: `Host` missing or doubled, `CONNECT`.
    MalformedRequest "malformed_request" BAD_REQUEST Client Useless "http_request_error";
    /// The head of the request has too many header fields, or is too large.
    HeadTooLarge "head_too_large" REQUEST_HEADER_FIELDS_TOO_LARGE Client Useless "http_request_error";
    /// The request's path contains its caller's token, which is never sent upstream.
    TokenInPath "token_in_path" BAD_REQUEST Client Useless "http_request_denied";
    /// No endpoint matches method and path.
    RouteNotFound "route_not_found" NOT_FOUND Client Useless "http_request_denied";
    /// A reserved path that does not exist.
    NotFound "not_found" NOT_FOUND Client Useless "http_request_denied";
    /// A malformed call of tollgate's own API. The message names the JSON path.
    InvalidRequest "invalid_request" BAD_REQUEST Client Useless "http_request_error";
    /// The request's body has a key twice where a key is to be inserted: it could be read in two ways.
    AmbiguousBody "ambiguous_body" BAD_REQUEST Client Useless "http_request_error";
    /// A limit or a rule needs something of the request's body that could be read in two ways.
    UnjudgeableBody "unjudgeable_body" BAD_REQUEST Client Useless "http_request_error";
    /// A limit needs the model of a request, or the cap of its answer, and neither is in the part of its body that is read.
    BodyTooLargeToJudge "body_too_large_to_judge" PAYLOAD_TOO_LARGE Client Useless "http_request_denied";
    /// No rule allows the caller the endpoint.
    EndpointNotAllowed "endpoint_not_allowed" FORBIDDEN Client Useless "http_request_denied";
    /// A limit needs the model of a request, and the request names none.
    ModelMissing "model_missing" BAD_REQUEST Client Useless "http_request_error";
    /// No rule allows the caller the model.
    ModelNotAllowed "model_not_allowed" FORBIDDEN Client Useless "http_request_denied";
    /// A limit of cost admits models with a price alone.
    NoPrice "no_price" FORBIDDEN Client Useless "http_request_denied";
    /// A limit reserves the most that a request can use, and the request does not bound it.
    NoOutputCap "no_output_cap" BAD_REQUEST Client Useless "http_request_denied";
    /// The request could use more tokens than its size and its cap say, and a limit reserves the most.
    UnboundedRequest "unbounded_request" BAD_REQUEST Client Useless "http_request_denied";
    /// A limit has no room for the request.
    LimitExceeded "limit_exceeded" TOO_MANY_REQUESTS Client MayHelp "http_request_denied";
    /// A change with a session's cookie, or a sign-in, that no page of tollgate asked for.
    CrossSite "cross_site" FORBIDDEN Client Useless "http_request_denied";
    /// The call is for another user than the one who makes it.
    OtherUser "other_user" CONFLICT Client Useless "http_request_denied";
    /// The kind of the token does not allow the request.
    TokenKind "token_kind" FORBIDDEN Client Useless "http_request_denied";
    /// The scopes of the token do not cover the request.
    TokenScope "token_scope" FORBIDDEN Client Useless "http_request_denied";
    /// The token was replaced by another.
    TokenReplaced "token_replaced" CONFLICT Client Useless "http_request_denied";
    /// The user has the greatest number of tokens.
    TooManyTokens "too_many_tokens" CONFLICT Client Useless "http_request_denied";
    /// A credential leads to other origins than its confirmation expects.
    OriginsChanged "origins_changed" CONFLICT Client Useless "http_request_denied";
    /// The last admin token cannot be revoked over HTTP.
    LastAdminToken "last_admin_token" CONFLICT Client Useless "http_request_denied";
    /// The user is disabled.
    UserDisabled "user_disabled" FORBIDDEN Client Useless "http_request_denied";
    /// The caller has stored no usable credential for the provider.
    CredentialMissing "credential_missing" UNAUTHORIZED Client Useless "http_request_denied";
    /// The caller's login for the provider has expired, and no other credential is stored.
    CredentialExpired "credential_expired" UNAUTHORIZED Client Useless "http_request_denied";
    /// The token for the provider cannot be made from the stored credential: the token endpoint refuses it.
    TokenRefused "token_refused" UNAUTHORIZED Client Useless "http_request_denied";
    /// The token for the provider could not be made: the token endpoint failed.
    TokenUnavailable "token_unavailable" BAD_GATEWAY Upstream MayHelp "http_request_error";
    /// The provider sends to an origin that the credential was not saved for, and nobody has confirmed it.
    CredentialMoved "credential_moved" FORBIDDEN Client Useless "http_request_denied";
    /// There is no WebSocket at this path. Clients fall back to plain requests on this status.
    UpgradeRefused "upgrade_refused" UPGRADE_REQUIRED Client Useless "http_upgrade_failed";
    /// The endpoint is a WebSocket, and the request does not ask for one.
    UpgradeRequired "upgrade_required" UPGRADE_REQUIRED Client Useless "http_upgrade_failed";
    /// The client's version of WebSocket is not supported.
    WebsocketVersion "websocket_version" UPGRADE_REQUIRED Client Useless "http_upgrade_failed";
    /// The request for a WebSocket is no handshake.
    InvalidHandshake "invalid_handshake" BAD_REQUEST Client Useless "http_upgrade_failed";
    /// The body is larger than the endpoint's limit.
    BodyTooLarge "body_too_large" PAYLOAD_TOO_LARGE Client Useless "http_request_denied";
    /// The body is larger than the endpoint's limit for bodies that are signed.
    SignedBodyTooLarge "signed_body_too_large" PAYLOAD_TOO_LARGE Client Useless "http_request_denied";
    /// The client stopped sending the body.
    BodyTimeout "body_timeout" REQUEST_TIMEOUT Client MayHelp "http_request_error";
    /// The rewritten request cannot be sent: a malformed value, or a path that does not fit its gateway.
    RewriteFailed "rewrite_failed" BAD_GATEWAY Gateway Useless "proxy_configuration_error";
    /// The provider's file is rejected, and no last good version serves.
    ConfigRejected "config_rejected" SERVICE_UNAVAILABLE Gateway Useless "proxy_configuration_error";
    /// A reload has not finished in time.
    ReloadUnfinished "reload_unfinished" SERVICE_UNAVAILABLE Gateway MayHelp "proxy_internal_error";
    /// A call that only computes took too long, or failed: it changed nothing.
    CallUnfinished "call_unfinished" SERVICE_UNAVAILABLE Gateway MayHelp "proxy_internal_error";
    /// The store does not respond: authentication or a change is not possible now.
    StoreUnavailable "store_unavailable" SERVICE_UNAVAILABLE Gateway MayHelp "proxy_internal_error";
    /// It is not known whether a change was made: the disk failed while it was stored, or its answer is late.
    ChangeUnconfirmed "change_unconfirmed" SERVICE_UNAVAILABLE Gateway MayHelp "proxy_internal_error";
    /// The upstream's name does not resolve.
    UpstreamDns "upstream_dns" BAD_GATEWAY Upstream MayHelp "dns_error";
    /// The DNS lookup of the upstream's name did not end in time.
    UpstreamDnsTimeout "upstream_dns_timeout" GATEWAY_TIMEOUT Upstream MayHelp "dns_timeout";
    /// Too many DNS lookups hang: the upstream's name cannot be looked up now.
    UpstreamDnsBusy "upstream_dns_busy" SERVICE_UNAVAILABLE Gateway MayHelp "dns_error";
    /// SSRF guard: the upstream's name resolves to a forbidden address.
    UpstreamForbidden "upstream_forbidden" BAD_GATEWAY Gateway Useless "destination_ip_prohibited";
    /// The upstream refused the connection.
    UpstreamRefused "upstream_refused" BAD_GATEWAY Upstream MayHelp "connection_refused";
    /// There is no route to the upstream.
    UpstreamUnreachable "upstream_unreachable" BAD_GATEWAY Upstream MayHelp "destination_ip_unroutable";
    /// This machine cannot connect: no descriptor, port, memory or thread is left, or its own rules forbid it.
    LocalError "local_error" SERVICE_UNAVAILABLE Gateway MayHelp "proxy_internal_error";
    /// The outgoing proxy on the way to the upstream failed, or refused the way.
    ProxyFailed "proxy_failed" BAD_GATEWAY Gateway MayHelp "destination_unavailable";
    /// The upstream did not accept the connection in time.
    UpstreamConnectTimeout "upstream_connect_timeout" GATEWAY_TIMEOUT Upstream MayHelp "connection_timeout";
    /// The TLS handshake with the upstream failed.
    UpstreamTls "upstream_tls" BAD_GATEWAY Upstream MayHelp "tls_protocol_error";
    /// The upstream closed the connection before it responded.
    UpstreamReset "upstream_reset" BAD_GATEWAY Upstream MayHelp "connection_terminated";
    /// The head of the upstream's response has too many header fields, or is too large.
    UpstreamHeadTooLarge "upstream_head_too_large" BAD_GATEWAY Upstream Useless "http_response_header_section_size";
    /// The upstream's response is not valid HTTP.
    UpstreamMalformed "upstream_malformed" BAD_GATEWAY Upstream MayHelp "http_protocol_error";
    /// The upstream's answer to the handshake of a WebSocket is not valid.
    UpstreamHandshake "upstream_handshake" BAD_GATEWAY Upstream MayHelp "http_upgrade_failed";
    /// The upstream sent too many interim (1xx) responses.
    UpstreamInterim "upstream_interim" BAD_GATEWAY Upstream MayHelp "http_protocol_error";
    /// The upstream did not begin its response in time.
    UpstreamTimeout "upstream_timeout" GATEWAY_TIMEOUT Upstream MayHelp "http_response_timeout";
    /// A response rule of the provider's file replaced the upstream's response.
    ResponseRule "response_rule" BAD_GATEWAY Upstream ByStatus "http_request_denied";
}

impl FaultKind {
    /// The stable code that clients may match on.
    pub fn code(self) -> &'static str {
        self.row().code
    }

    /// The HTTP status of the response.
    pub fn status(self) -> StatusCode {
        self.row().status
    }

    /// The party that has to act.
    pub fn blame(self) -> Blame {
        self.row().blame
    }

    /// True if sending the same request again may help.
    pub fn retry_may_help(self) -> bool {
        match self.row().retry {
            Retry::MayHelp => true,
            Retry::Useless | Retry::ByStatus => false,
        }
    }

    /// True if a client should not send the same request again after a response with this status.
    pub fn is_final(self, status: StatusCode) -> bool {
        match self.row().retry {
            Retry::MayHelp => false,
            Retry::Useless => true,
            Retry::ByStatus => !is_temporary(status),
        }
    }

    /// The `error` parameter of `Proxy-Status` (RFC 9209, section 2.3).
    pub fn proxy_error(self) -> &'static str {
        self.row().proxy_error
    }
}

/// True for a status that asks for another try.
fn is_temporary(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_EARLY
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
    )
}

macro_rules! causes {
    ($($(#[$doc:meta])* $cause:ident $code:literal $basis:ident;)*) => {
        /// The exact cause of a refused call of tollgate's own API, within its [`FaultKind`]. The code of each is stable:
        /// programs may match on it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Cause { $($(#[$doc])* $cause,)* }

        impl Cause {
            /// All causes, in the order of the table.
            pub const ALL: &'static [Cause] = &[$(Cause::$cause,)*];

            /// The stable code.
            pub fn code(self) -> &'static str {
                match self { $(Cause::$cause => $code,)* }
            }

            /// The input that has to change for the call to pass.
            pub fn basis(self) -> Basis {
                match self { $(Cause::$cause => Basis::$basis,)* }
            }
        }
    };
}

causes! {
    /// The body is not JSON.
    InvalidJson "invalid_json" Call;
    /// An object has a key twice.
    DuplicateKey "duplicate_key" Call;
    /// A key that the operation does not know.
    UnknownKey "unknown_key" Call;
    /// A required key is missing.
    MissingKey "missing_key" Call;
    /// A value of another JSON type than the operation takes.
    WrongType "wrong_type" Call;
    /// A value of the right type that is not allowed: too long, empty, in the past, of the wrong form.
    InvalidValue "invalid_value" Call;
    /// A part of the path that cannot be a name.
    InvalidPath "invalid_path" Call;
    /// A query parameter that is not allowed.
    InvalidQuery "invalid_query" Call;
    /// A credentials section or field that no provider file declares.
    UnknownCredential "unknown_credential" Files;
    /// A text for a field that holds an OAuth login, which is an object.
    LoginExpected "login_expected" Call;
    /// There is no login to make a token for.
    LoginMissing "login_missing" Accounts;
    /// A scope for a provider or endpoint that no provider file declares.
    UnknownScope "unknown_scope" Files;
    /// The user does not exist.
    UnknownUser "unknown_user" Accounts;
    /// The token does not exist.
    UnknownToken "unknown_token" Accounts;
    /// No file has a limit with this id, or it has no amount of the user's own.
    UnknownLimit "unknown_limit" Files;
    /// The user has no grant for the limit.
    UnknownGrant "unknown_grant" Accounts;
}

/// The input that a [`Cause`] depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The call alone.
    Call,
    /// The provider files that serve: another set of files may allow the same call.
    Files,
    /// Users, tokens and credentials.
    Accounts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_have_unique_codes() {
        let mut codes: Vec<_> = Cause::ALL.iter().map(|cause| cause.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Cause::ALL.len());
    }

    #[test]
    fn a_rule_of_a_file_is_final_unless_its_status_is_temporary() {
        let check = |kind: FaultKind, status: u16, expected: bool| {
            assert_eq!(kind.is_final(StatusCode::from_u16(status).unwrap()), expected, "{kind:?} {status}");
        };
        for (status, expected) in
            [(403, true), (408, false), (425, false), (429, false), (502, true), (503, false)]
        {
            check(FaultKind::ResponseRule, status, expected);
        }
        check(FaultKind::ConfigRejected, 503, true);
        check(FaultKind::InvalidToken, 401, true);
        check(FaultKind::Overloaded, 503, false);
    }

    #[test]
    fn codes_are_unique_and_blame_fits_the_status() {
        let mut codes: Vec<_> = FaultKind::ALL.iter().map(|kind| kind.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), FaultKind::ALL.len());
        for kind in FaultKind::ALL {
            let row = kind.row();
            assert_eq!(row.status.is_client_error(), row.blame == Blame::Client, "{}", row.code);
            // Client libraries repeat these by themselves, and no other fault of the client is temporary.
            if row.status.is_client_error() {
                assert_eq!(row.retry == Retry::MayHelp, is_temporary(row.status), "{}", row.code);
            }
        }
    }
}
