//! The decision table: requests, callers, and the decision about each. Every row is played through the gateway over real
//! sockets, through `tollgate explain`, and, where it can be said there, through a provider file's own test. All three
//! decide the same. `docs/decisions.md` is generated from it.

use std::{collections::BTreeSet, fmt::Write as _, fs};

use serde_json::{Value, json};
use tollgate::{compile, filetest, name::FileName, syntax};

use crate::harness::{Answer, Api, Home, KEY, Message, Next, Upstream, Wire, World, root};

/// A row: what it shows, the listener, the request's line and headers, the caller, the decision.
struct Row(&'static str, At, &'static str, &'static [&'static str], Caller, Decision);

/// The listener of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// The only one.
    Only,
    /// The public one, where there is an admin listener.
    Public,
    /// The admin listener.
    Admin,
}

/// The token that comes with the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    Nobody,
    Unknown,
    /// A user's first token: of the kind `both`, without scopes.
    Known,
    Disabled,
    Manage,
    Proxy,
    /// Scopes `t/post` and `small`.
    Scoped,
    Admin,
    /// A user's session, in its cookie.
    Session,
    /// An admin's session, in its cookie.
    Console,
    /// The text of a session as a bearer.
    Bearer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    /// The fault.
    Refused(u16, &'static str, &'static str),
    /// tollgate answers without a token.
    Own(u16),
    /// A call of tollgate's own API.
    Api(u16),
    /// The request that is sent upstream: its target.
    Sent(&'static str),
}

use At::{Admin as AdminListener, Only, Public};
use Caller::{Admin, Bearer, Console, Disabled, Known, Manage, Nobody, Proxy, Scoped, Session, Unknown};
use Decision::{Api as Called, Own, Refused, Sent};

const NO_TOKEN: Decision = Refused(
    401,
    "missing_token",
    "Invalid or missing auth credentials. No token was found in the request: send yours as `Authorization: Bearer TOKEN`, \
     or where the client has its API key",
);
const WRONG_TOKEN: Decision = Refused(
    401,
    "invalid_token",
    "Invalid or missing auth credentials. The token is not valid here: it was revoked, has expired, or belongs to \
     an admin or another tollgate",
);
const NO_ADMIN: Decision = Refused(
    401,
    "missing_token",
    "Invalid or missing admin credentials. No token was found in the request: send yours as \
     `Authorization: Bearer TOKEN`, or where the client has its API key",
);
const WRONG_ADMIN: Decision = Refused(
    401,
    "invalid_admin_token",
    "Invalid or missing admin credentials. The token is no admin token that is valid here: it was revoked, has expired, \
     or belongs to a user or another tollgate",
);
const DISABLED: Decision =
    Refused(403, "user_disabled", "This user is disabled: ask the operator of this tollgate");
const FOR_SELF_SERVICE: Decision = Refused(
    403,
    "token_kind",
    "This token is for self-service: calls to providers take one of the kind `proxy` or `both`",
);
const FOR_PROVIDERS: Decision = Refused(
    403,
    "token_kind",
    "This token is for calls to providers: self-service takes one of the kind `manage` or `both`, \
     as `tollgate token add NAME --kind both` makes it",
);
const WEBSOCKET: Decision =
    Refused(426, "upgrade_refused", "WebSocket is not served here: send a plain request");
const PLAIN: Decision = Refused(
    426,
    "upgrade_required",
    "This endpoint is a WebSocket: open it as one. A proxy in front of tollgate has to pass `Upgrade` and `Connection` on",
);
const NOT_HERE: Decision = Refused(404, "not_found", "Not found");
const OUT_OF_SCOPE: Decision = Refused(403, "token_scope", "This token does not reach `t/get`");

const CROSS_SITE: Decision = Refused(
    403,
    "cross_site",
    "This change was not asked for by a page of this tollgate, as far as the browser says. \
     Behind a proxy that changes `Host`, set `public_url` to the address that people open",
);

const TOKEN_IN_PATH: Decision = Refused(
    400,
    "token_in_path",
    "The path of the request contains the token that authenticates it. tollgate sends no token upstream: leave it out of the path",
);

const fn malformed(message: &'static str) -> Decision {
    Refused(400, "malformed_request", message)
}

const fn no_route(message: &'static str) -> Decision {
    Refused(404, "route_not_found", message)
}

/// The text of a row with this token for `{token}`, and with it percent-encoded for `{%token}`.
fn with_token(text: &str, token: &str) -> String {
    let encoded: String = token.bytes().map(|byte| ["%", &tollgate::hex::encode(&[byte])].concat()).collect();
    text.replace("{token}", token).replace("{%token}", &encoded)
}

/// A header `-Host` leaves `Host` out.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    // The head.
    Row("No `Host`", Only, "GET /t/get", &["-Host"], Known, malformed("The request has no Host header")),
    Row("Two `Host`s", Only, "GET /t/get", &["Host: a", "Host: a"], Known, malformed("The request has more than one Host header")),
    Row("A `Host` that is none", Only, "GET /t/get", &["Host: a b"], Known, malformed("The request's Host header is malformed")),
    Row("A transfer encoding beside `chunked`", Only, "POST /t/post", &["Transfer-Encoding: gzip, chunked"], Known, malformed("The request's transfer encoding is not `chunked` alone")),
    Row("`CONNECT`", Only, "CONNECT gateway.test:443", &[], Known, malformed("CONNECT is not served here")),
    Row("A malformed head comes before all else", Only, "OPTIONS /health", &["Host: a b", "Upgrade: websocket"], Nobody, malformed("The request's Host header is malformed")),
    // The token in the path. `{token}` is the caller's token, or the same percent-encoded.
    Row("The token in the path", Only, "GET /t/get/{token}", &[], Known, TOKEN_IN_PATH),
    Row("", Only, "GET /t/get/{%token}", &[], Known, TOKEN_IN_PATH),
    Row("On any path, before the rights of the caller", Only, "GET /nowhere/{token}", &["Upgrade: websocket"], Disabled, TOKEN_IN_PATH),
    Row("", Only, "GET /auth/{token}", &[], Known, TOKEN_IN_PATH),
    Row("", Only, "GET /admin/{token}", &[], Admin, TOKEN_IN_PATH),
    Row("A wrong token is refused first", Only, "GET /t/get/{token}", &[], Unknown, WRONG_TOKEN),
    Row("", Only, "GET /admin/{token}", &[], Known, WRONG_ADMIN),
    // The listener.
    Row("Admin work at the public listener", Public, "GET /admin/users", &[], Admin, NOT_HERE),
    Row("", Public, "OPTIONS /console", &[], Nobody, NOT_HERE),
    Row("A provider's path at the admin listener", AdminListener, "GET /t/get", &[], Known, NOT_HERE),
    Row("", AdminListener, "OPTIONS /t/get", &[], Nobody, NOT_HERE),
    Row("Self-service at the admin listener", AdminListener, "GET /auth/me", &[], Known, NOT_HERE),
    Row("Health checks are at both", AdminListener, "GET /readyz", &[], Nobody, Own(200)),
    Row("", Public, "GET /readyz", &[], Nobody, Own(200)),
    Row("", AdminListener, "GET /readyz/x", &[], Nobody, NOT_HERE),
    Row("Admin work at the admin listener", AdminListener, "GET /admin/users", &[], Admin, Called(200)),
    // Without a token.
    Row("The preflight of browsers, on any path", Only, "OPTIONS /t/get", &[], Nobody, Own(204)),
    Row("", Only, "OPTIONS /nowhere", &["Upgrade: websocket"], Unknown, Own(204)),
    Row("", Only, "OPTIONS /admin/users", &[], Nobody, Own(204)),
    Row("Health checks", Only, "GET /health", &[], Nobody, Own(200)),
    Row("", Only, "GET /livez", &[], Disabled, Own(200)),
    Row("", Only, "HEAD /readyz", &[], Nobody, Own(200)),
    Row("The pages, which ask for a token", Only, "GET /config", &["Upgrade: websocket"], Nobody, Own(200)),
    Row("", Only, "GET /console", &[], Known, Own(200)),
    Row("", Only, "GET /config/", &[], Known, Own(200)),
    Row("A browser at the root is led to the pages", Only, "GET /", &["Accept: text/html,application/xhtml+xml;q=0.9"], Nobody, Own(303)),
    Row("", Only, "GET /", &["Accept: text/html"], Known, Own(303)),
    Row("", Public, "HEAD /", &["Accept: text/html"], Nobody, Own(303)),
    Row("", AdminListener, "GET /", &["Accept: text/html"], Nobody, Own(303)),
    Row("Any other client is not", Only, "GET /", &["Accept: */*"], Nobody, NO_TOKEN),
    Row("", Only, "POST /", &["Accept: text/html"], Nobody, NO_TOKEN),
    Row("Nothing is there: as any other path", Only, "POST /health", &[], Nobody, NO_TOKEN),
    Row("", Only, "POST /health", &[], Known, no_route("Route not implemented in AI Gateway: /health. `GET /auth/providers` and `tollgate routes` list all")),
    Row("", Only, "PUT /console", &[], Known, no_route("Route not implemented in AI Gateway: /console. `GET /auth/providers` and `tollgate routes` list all")),
    Row("", Only, "DELETE /config/", &[], Known, no_route("Route not implemented in AI Gateway: /config/. `GET /auth/providers` and `tollgate routes` list all")),
    // The metrics.
    Row("Metrics, for a program of this machine", Only, "GET /metrics", &["Host: localhost"], Nobody, Own(200)),
    Row("", Only, "HEAD /metrics", &["Host: 127.0.0.1:8787"], Nobody, Own(200)),
    Row("What comes through a proxy or a browser needs an admin token", Only, "GET /metrics", &["Host: localhost", "X-Forwarded-For: 127.0.0.1"], Nobody, NO_ADMIN),
    Row("", Only, "GET /metrics", &["Host: localhost", "Forwarded: for=127.0.0.1"], Known, WRONG_ADMIN),
    Row("", Only, "GET /metrics", &["Host: localhost", "Origin: http://localhost"], Nobody, NO_ADMIN),
    Row("", Only, "GET /metrics", &[], Nobody, NO_ADMIN),
    Row("", Only, "GET /metrics", &["X-Forwarded-For: 127.0.0.1"], Admin, Own(200)),
    Row("At the admin listener, it needs none", AdminListener, "GET /metrics", &["X-Forwarded-For: 192.0.2.1"], Nobody, Own(200)),
    Row("The public listener has none then", Public, "GET /metrics", &["Host: localhost"], Admin, NOT_HERE),
    Row("Nothing is there", Only, "POST /metrics", &["Host: localhost"], Nobody, NO_TOKEN),
    Row("", Only, "GET /metrics/x", &[], Known, no_route("Route not implemented in AI Gateway: /metrics/x. `GET /auth/providers` and `tollgate routes` list all")),
    // The admin API.
    Row("The admin API takes an admin token", Only, "GET /admin/users", &[], Nobody, NO_ADMIN),
    Row("", Only, "GET /admin/users", &[], Unknown, WRONG_ADMIN),
    Row("", Only, "GET /admin/users", &[], Known, WRONG_ADMIN),
    Row("", Only, "GET /admin/users", &["Upgrade: websocket"], Admin, Called(200)),
    Row("", Only, "GET /admin/nowhere", &[], Admin, NOT_HERE),
    // Self-service.
    Row("Self-service takes a user's token", Only, "GET /auth/me", &[], Nobody, NO_TOKEN),
    Row("", Only, "GET /auth/me", &[], Admin, WRONG_TOKEN),
    Row("", Only, "GET /auth/me", &[], Known, Called(200)),
    Row("", Only, "GET /auth/me", &["Upgrade: websocket"], Manage, Called(200)),
    Row("", Only, "GET /auth/me", &[], Scoped, Called(200)),
    Row("", Only, "GET /auth/me", &[], Proxy, FOR_PROVIDERS),
    Row("", Only, "GET /auth/nowhere", &[], Disabled, DISABLED),
    // Sessions.
    Row("A session reads below `/auth`", Only, "GET /auth/me", &[], Session, Called(200)),
    Row("", Only, "GET /auth/me", &["Origin: https://evil.example", "Sec-Fetch-Site: cross-site"], Session, Called(200)),
    Row("An admin's reads below `/admin`", Only, "GET /admin/users", &[], Console, Called(200)),
    Row("", AdminListener, "GET /admin/users", &[], Console, Called(200)),
    Row("", Public, "GET /admin/users", &[], Console, NOT_HERE),
    Row("Each for its own part", Only, "GET /admin/users", &[], Session, NO_ADMIN),
    Row("", Only, "GET /auth/me", &[], Console, NO_TOKEN),
    Row("It changes something for a page of the same origin", Only, "POST /auth/tokens", &["Origin: http://gateway.test"], Session, Called(201)),
    Row("", Only, "POST /auth/tokens", &["Sec-Fetch-Site: same-origin"], Session, Called(201)),
    Row("", Only, "POST /auth/tokens", &["Origin: null", "Sec-Fetch-Site: same-origin"], Session, Called(201)),
    Row("", Only, "POST /admin/tokens", &["Origin: http://gateway.test"], Console, Called(201)),
    Row("For no other, before it is looked up", Only, "POST /auth/tokens", &[], Session, CROSS_SITE),
    Row("", Only, "POST /auth/tokens", &["Origin: null"], Session, CROSS_SITE),
    Row("", Only, "POST /auth/tokens", &["Origin: https://evil.example"], Session, CROSS_SITE),
    Row("", Only, "POST /auth/tokens", &["Origin: https://evil.example", "Sec-Fetch-Site: same-origin"], Session, CROSS_SITE),
    Row("", Only, "POST /auth/tokens", &["Origin: http://gateway.test", "Sec-Fetch-Site: same-site"], Session, CROSS_SITE),
    Row("", Only, "PUT /auth/nowhere", &["Cookie: tollgate=wrong"], Nobody, CROSS_SITE),
    Row("", Only, "DELETE /admin/session", &["Sec-Fetch-Site: cross-site"], Console, CROSS_SITE),
    Row("A token counts before it", Only, "GET /auth/me", &["x-api-key: tg_unknown"], Session, WRONG_TOKEN),
    Row("On a provider's path, it is nothing", Only, "GET /t/get", &[], Session, NO_TOKEN),
    Row("", Only, "GET /nowhere", &["Sec-Fetch-Site: same-origin"], Session, NO_TOKEN),
    Row("As a bearer, it is a wrong token", Only, "GET /auth/me", &[], Bearer, WRONG_TOKEN),
    Row("", Only, "GET /t/get", &[], Bearer, WRONG_TOKEN),
    Row("In the path", Only, "GET /auth/{token}", &[], Session, TOKEN_IN_PATH),
    // Providers: the caller.
    Row("A provider's path takes a user's token", Only, "GET /t/get", &[], Nobody, NO_TOKEN),
    Row("", Only, "GET /t/get", &[], Unknown, WRONG_TOKEN),
    Row("", Only, "GET /t/get", &[], Admin, WRONG_TOKEN),
    Row("The caller comes before the path", Only, "GET /nowhere", &["Upgrade: websocket"], Nobody, NO_TOKEN),
    Row("A disabled user", Only, "GET /t/get", &["Upgrade: websocket"], Disabled, DISABLED),
    Row("", Only, "GET /nowhere", &[], Disabled, DISABLED),
    Row("The kind of the token", Only, "GET /t/get", &["Upgrade: websocket"], Manage, FOR_SELF_SERVICE),
    Row("", Only, "GET /nowhere", &[], Manage, FOR_SELF_SERVICE),
    // Providers: the endpoint.
    Row("A WebSocket, on any path", Only, "GET /t/get", &["Upgrade: websocket"], Known, WEBSOCKET),
    Row("", Only, "GET /nowhere", &["Upgrade: WebSocket, h2c"], Known, WEBSOCKET),
    Row("", Only, "GET /t/get", &["Upgrade: websocket"], Scoped, WEBSOCKET),
    Row("An endpoint that is a WebSocket", Only, "GET /t/live?a=1", &["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="], Known, Sent("/live?a=1")),
    Row("", Only, "GET /t/live", &[], Known, PLAIN),
    Row("", Only, "GET /t/live", &["Upgrade: h2c"], Scoped, PLAIN),
    Row("", Only, "POST /t/live", &["Upgrade: websocket"], Known, WEBSOCKET),
    Row("Its handshake", Only, "GET /t/live", &["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 8", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="], Scoped, Refused(426, "websocket_version", "WebSocket is served in version 13 alone")),
    Row("", Only, "GET /t/live", &["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: short"], Scoped, Refused(400, "invalid_handshake", "The request is no handshake of a WebSocket: its `Sec-WebSocket-Key` is not the base64 of 16 bytes")),
    Row("The scopes come after it", Only, "GET /t/live", &["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="], Scoped, Refused(403, "token_scope", "This token does not reach `t/live`")),
    Row("Any other upgrade is ignored", Only, "GET /t/get", &["Upgrade: h2c"], Known, Sent("/get")),
    Row("No endpoint", Only, "GET /nowhere", &[], Known, no_route("Route not implemented in AI Gateway: /nowhere. `GET /auth/providers` and `tollgate routes` list all")),
    Row("", Only, "PUT /t/get", &[], Known, no_route("Route not implemented in AI Gateway: /t/get. The nearest endpoint is `GET /t/get`, not for PUT. `GET /auth/providers` and `tollgate routes` list all")),
    Row("", Only, "GET /t//get", &[], Scoped, no_route("Route not implemented in AI Gateway: /t//get. The nearest endpoint is `POST /t/post`. `GET /auth/providers` and `tollgate routes` list all")),
    Row("The provider's file is rejected", Only, "GET /broken/get", &[], Known, Refused(503, "config_rejected", "Provider broken is out of service: its configuration is rejected")),
    Row("", Only, "GET /broken/get", &[], Scoped, Refused(503, "config_rejected", "Provider broken is out of service: its configuration is rejected")),
    // Providers: the scope.
    Row("The scopes of the token", Only, "GET /t/get", &[], Scoped, OUT_OF_SCOPE),
    Row("", Only, "POST /t/post", &[], Scoped, Sent("/post")),
    Row("They come before the credential", Only, "GET /empty/get", &[], Scoped, Refused(403, "token_scope", "This token does not reach `empty/get`")),
    // Providers: the credential.
    Row("No credential", Only, "GET /empty/get", &[], Known, Refused(401, "credential_missing", "No API key configured for empty. Store one on the page `/config`, or with `tollgate credential set USER providers.empty.apiKey`")),
    Row("", Only, "POST /empty/post", &["Content-Length: 9"], Known, Refused(401, "credential_missing", "No API key configured for empty. Store one on the page `/config`, or with `tollgate credential set USER providers.empty.apiKey`")),
    Row("An expired login", Only, "GET /expired/get", &[], Known, Refused(401, "credential_expired", "The login stored for expired has expired: store it again")),
    Row("A credential that was saved for another host", Only, "GET /moved/get", &[], Known, Refused(403, "credential_moved", "The credential stored for moved was saved for http://old.example, and moved now leads to http://...")),
    // Providers: the body.
    Row("A body that is too large", Only, "POST /small/post", &["Content-Length: 9"], Known, Refused(413, "body_too_large", "The request's body is larger than 8 bytes")),
    Row("", Only, "POST /small/post", &["Content-Length: 9"], Scoped, Refused(413, "body_too_large", "The request's body is larger than 8 bytes")),
    // What is sent.
    Row("Everything is good", Only, "GET /t/get?a=1", &[], Known, Sent("/get?a=1")),
    Row("", Only, "GET /t/get", &[], Proxy, Sent("/get")),
    Row("The token a second time is removed", Only, "GET /t/get?a=1&key={token}&b=2", &["api-key: {token}"], Known, Sent("/get?a=1&b=2")),
    Row("", Only, "GET /t/get?{%token}", &["x-any: a=b; c={%token}"], Known, Sent("/get")),
    Row("No credential is needed", Only, "GET /open/get", &[], Known, Sent("/get")),
];

/// The decision of a player, comparable between players.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Refused(u16, String, String),
    /// tollgate answers; the status, if the player reports it.
    Answered(Option<u16>),
    /// The target upstream.
    Sent(String),
}

impl Row {
    fn method(&self) -> &str {
        self.2.split(' ').next().unwrap()
    }

    fn target(&self) -> &str {
        self.2.split(' ').nth(1).unwrap()
    }

    /// The headers as names and values; nothing for `Host` that is left out.
    fn headers(&self) -> Vec<(&str, &str)> {
        self.3.iter().filter_map(|line| line.split_once(": ")).collect()
    }

    /// The beginning of the header line with the token.
    fn place(&self) -> &'static str {
        match self.4 {
            Session => "cookie: tollgate=",
            Console => "cookie: tollgate-admin=",
            Nobody | Unknown | Known | Disabled | Manage | Proxy | Scoped | Admin | Bearer => "x-api-key: ",
        }
    }

    /// True if authentication decides, which only the gateway does.
    fn is_unauthenticated(&self) -> bool {
        matches!(
            self.5,
            Refused(401, "missing_token" | "foreign_token" | "invalid_token" | "invalid_admin_token", _)
        )
    }

    /// True if the request has the token in a place besides its own.
    fn has_token(&self) -> bool {
        self.2.contains("token}")
    }

    /// Compares what a player decided with the row.
    fn check(&self, player: &str, seen: &Outcome) {
        let expected = match self.5 {
            Refused(status, code, message) => Outcome::Refused(status, code.into(), message.into()),
            Own(status) | Called(status) => Outcome::Answered(Some(status)),
            Sent(target) => Outcome::Sent(target.into()),
        };
        let same = match (seen, &expected) {
            (Outcome::Answered(None), Outcome::Answered(_)) => true,
            (Outcome::Refused(status, code, message), Outcome::Refused(wanted, wanted_code, text)) => {
                let front = text.strip_suffix("...");
                let message = front.map_or(message == text, |front| message.starts_with(front));
                (status, code) == (wanted, wanted_code) && message
            }
            (seen, expected) => seen == expected,
        };
        assert!(same, "{player}: {} {:?} as {:?}: {seen:?}, expected {expected:?}", self.2, self.3, self.4);
    }
}

const FILES: [&str; 7] = ["t", "open", "empty", "small", "expired", "moved", "broken"];

/// The text of a provider file.
fn file(name: &str, base: &str) -> String {
    let auth = match name {
        "open" => String::new(),
        "expired" => format!(
            "[credentials]\nsection = \"providers.{name}\"\nfield = [{{ name = \"login\", kind = \"oauth2\", \
             token_url = \"{base}/token\", client_id = \"app\" }}]\n\
             [[auth]]\nfield = \"login\"\nset = {{ authorization = \"Bearer {{secret}}\" }}\n"
        ),
        _ => format!(
            "[credentials]\nsection = \"providers.{name}\"\nfield = [{{ name = \"apiKey\" }}]\n\
             [[auth]]\nfield = \"apiKey\"\nset = {{ authorization = \"Bearer {{secret}}\" }}\n"
        ),
    };
    let limits = if ["small", "empty"].contains(&name) { "limits = { max_body = \"8B\" }" } else { "" };
    let broken = if name == "broken" { "unknown = 1" } else { "" };
    format!(
        "title = \"Demo\"\nbase_url = \"{base}\"\npath_prefix = \"/{name}\"\n{limits}\n{broken}\n{auth}\
         [endpoint.get]\nmethod = \"GET\"\npath = \"/get\"\n[endpoint.post]\nmethod = \"POST\"\npath = \"/post\"\n\
         [endpoint.live]\nmethod = \"GET\"\npath = \"/live\"\nupgrade = \"websocket\"\n"
    )
}

/// A running gateway with these files, users and tokens.
struct Stage {
    world: World,
    /// The token that each caller sends, and its id where it has one to name.
    tokens: Vec<(Caller, String, Option<String>)>,
}

impl Stage {
    fn new(args: &[&str]) -> Self {
        let upstream = Upstream::plain();
        let host = upstream.address().to_string();
        let base = format!("http://{host}");
        let home = Home::new(&[]);
        for name in FILES.iter().filter(|name| **name != "broken") {
            home.write(name, &file(name, if *name == "moved" { "http://old.example" } else { &base }));
        }
        let token = home.user("ada");
        for name in ["t", "small", "moved"] {
            home.credential("ada", &format!("providers.{name}.apiKey"), KEY);
        }
        let login = r#"{"accessToken":"a1","expiresAt":1000000000000}"#;
        home.credential("ada", "providers.expired.login", login);
        for name in ["moved", "broken"] {
            home.write(name, &file(name, &base));
        }
        let gateway = home.serve(args);
        let world = World { upstream, gateway, home, token, host, cors: String::new() };
        let tokens = tokens(&world);
        Self { world, tokens }
    }

    fn token(&self, caller: Caller) -> Option<&(Caller, String, Option<String>)> {
        self.tokens.iter().find(|(known, ..)| *known == caller)
    }
}

fn tokens(world: &World) -> Vec<(Caller, String, Option<String>)> {
    let admin = fs::read_to_string(world.home.data().join("admin-token")).unwrap().trim_end().to_owned();
    let address = if world.gateway.admin_address.port() == 0 {
        world.gateway.address
    } else {
        world.gateway.admin_address
    };
    let api = Api::new(address, &admin);
    let api_of_user = Api::new(world.gateway.address, &world.token);
    let users = api.done("GET /admin/users", &Value::Null);
    let ada = users.as_object().unwrap().keys().next().unwrap();
    let further = |caller: Caller, wanted: &Value| {
        let made = api.done(&format!("POST /admin/users/{ada}/tokens"), wanted);
        let text = |key: &str| made[key].as_str().unwrap().to_owned();
        (caller, text("token"), Some(text("id")))
    };
    let (dan, disabled) = api.user("dan");
    api.done(&format!("PATCH /admin/users/{dan}"), &json!({ "disabled": true }));
    vec![
        (Unknown, "tg_unknown".to_owned(), None),
        (Admin, admin.clone(), None),
        (Known, world.token.clone(), None),
        (Disabled, disabled, None),
        (Session, api_of_user.signed_in("/auth/session").token().to_owned(), None),
        (Console, api.signed_in("/admin/session").token().to_owned(), None),
        (Bearer, api_of_user.signed_in("/auth/session").token().to_owned(), None),
        further(Manage, &json!({ "kind": "manage" })),
        further(Proxy, &json!({ "kind": "proxy" })),
        further(Scoped, &json!({ "kind": "both", "scopes": ["t/post", "small"] })),
    ]
}

// === The gateway ===

fn over_sockets(stage: &mut Stage, row: &Row) -> Outcome {
    let gateway = &stage.world.gateway;
    let mut client =
        Wire::connect(if row.1 == AdminListener { gateway.admin_address } else { gateway.address });
    let token = stage.token(row.4).map_or("", |(_, token, _)| token);
    let mut request = format!("{} HTTP/1.1\r\n", with_token(row.2, token));
    if !row.3.iter().any(|line| line.contains("Host")) {
        request.push_str("Host: gateway.test\r\n");
    }
    for (name, value) in row.headers() {
        let _ = write!(request, "{name}: {}\r\n", with_token(value, token));
    }
    if let Some((_, token, _)) = stage.token(row.4) {
        let _ = write!(request, "{}{token}\r\n", row.place());
    }
    client.send(format!("{request}\r\n"));
    match stage.world.upstream.next_or(&client) {
        Next::Request(mut wire) => {
            let request = wire.request().unwrap();
            wire.send(Answer::new("200 OK").bytes());
            assert_eq!(client.answer().unwrap().head.status(), 200);
            stage.world.upstream.keep(wire);
            let key = (row.target().split('/').nth(1) != Some("open")).then(|| format!("Bearer {KEY}"));
            assert_eq!(request.head.get("authorization"), key.as_deref(), "{}", row.2);
            assert!(request.head.get("api-key").is_none() && request.head.get("x-any").is_none());
            Outcome::Sent(request.head.start.split(' ').nth(1).unwrap().to_owned())
        }
        Next::Client if row.method() == "HEAD" => Outcome::Answered(Some(client.head().unwrap().status())),
        Next::Client => answered(&client.answer().unwrap()),
    }
}

fn answered(answer: &Message) -> Outcome {
    let status = answer.head.status();
    if status < 400 {
        return Outcome::Answered(Some(status));
    }
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    refused(status, &body["error"])
}

fn refused(status: u16, fault: &Value) -> Outcome {
    let text = |key: &str| fault[key].as_str().unwrap().to_owned();
    Outcome::Refused(status, text("code"), text("message"))
}

// === `tollgate explain` ===

/// Its decision; none, if the row is about something that it never looks at: the listener, authentication, a missing `Host`.
fn explained(stage: &Stage, row: &Row) -> Option<Outcome> {
    let is_said =
        row.1 == Only && !row.3.contains(&"-Host") && row.method() != "CONNECT" && !row.is_unauthenticated();
    let needs_nobody = matches!(row.5, Own(_)) || matches!(row.5, Refused(400, ..));
    let by_token = [Nobody, Unknown, Admin, Console, Bearer].contains(&row.4) && !needs_nobody;
    if !is_said || by_token {
        return None;
    }
    let token = stage.token(row.4).map_or("", |(_, token, _)| token);
    let target = with_token(row.target(), token);
    let mut args = vec!["explain", row.method(), &target, "--json"];
    match row.4 {
        Nobody | Unknown | Admin | Console | Bearer => {}
        Disabled => args.extend(["--as", "dan"]),
        Known | Manage | Proxy | Scoped | Session => args.extend(["--as", "ada"]),
    }
    if let Some((_, _, Some(id))) = stage.token(row.4) {
        args.extend(["--token", id]);
    }
    let mut headers: Vec<String> = row.3.iter().map(|line| with_token(line, token)).collect();
    headers.extend((row.has_token() || row.4 == Session).then(|| format!("{}{token}", row.place())));
    // A session's page is compared with it.
    headers.extend((row.4 == Session).then(|| "Host: gateway.test".to_owned()));
    args.extend(headers.iter().flat_map(|line| ["-H", line]));
    let said = stage.world.home.run(&args, "");
    assert!(token.is_empty() || !said.out.contains(token), "{args:?}: {}", said.out);
    let document: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{args:?}: {said:?}"));
    let (way, miss) = (&document["way"], &document["miss"]);
    let fault = if way.is_null() { &miss["fault"] } else { &way["fault"] };
    Some(match fault["status"].as_u64() {
        Some(status) => refused(u16::try_from(status).unwrap(), fault),
        None if miss["own"].is_string() => Outcome::Answered(None),
        None => {
            let base = format!("http://{}", stage.world.host);
            Outcome::Sent(way["url"].as_str().unwrap().strip_prefix(&base).unwrap().to_owned())
        }
    })
}

// === A file's own test ===

/// The outcome of a provider file's own test that expects the row's decision. None if a test cannot express the row:
/// a test is about one provider alone, without stored state.
fn tested(row: &Row) -> Option<Result<(), String>> {
    const BASE: &str = "https://api.example";
    const TOKEN: &str = "tg_0123456789abcdef0123456789abcdef0123456789abcdef";
    let name = row.target().split(['/', '?']).nth(1).filter(|name| FILES.contains(name)).unwrap_or("t");
    let once = row.headers().iter().map(|(name, _)| name).collect::<BTreeSet<_>>().len() == row.3.len();
    let is_said = row.1 == Only
        && once
        && row.method() != "CONNECT"
        && !matches!(row.5, Called(_))
        && !row.is_unauthenticated();
    let by_caller = row.4 != Known && !matches!(row.5, Own(_) | Refused(400, ..));
    // Of calls of tollgate's own API, a test can only say that they are refused before authentication.
    let is_api = row.has_token() && ["/auth/", "/admin/"].iter().any(|front| row.target().starts_with(front));
    if !is_said || by_caller || is_api || ["expired", "moved", "broken"].contains(&name) {
        return None;
    }
    let mut headers = row.headers();
    headers.extend(row.has_token().then_some(("x-api-key", TOKEN)));
    let headers = headers.into_iter().map(|(name, value)| format!("{name} = {:?}", with_token(value, TOKEN)));
    let headers = headers.collect::<Vec<_>>().join(", ");
    let credentials = if ["t", "small"].contains(&name) {
        format!("credentials = {{ apiKey = \"{KEY}\" }}\n")
    } else {
        String::new()
    };
    let expect = match row.5 {
        Refused(status, code, message) => {
            format!("{{ status = {status}, code = {code:?}, message = {message:?} }}")
        }
        Own(status) | Called(status) => format!("{{ status = {status} }}"),
        Sent(target) => format!("{{ url = \"{BASE}{target}\" }}"),
    };
    let text = format!(
        "{}[[test]]\nname = \"row\"\n{credentials}request = {{ method = {:?}, path = {:?}, headers = {{ {headers} }} }}\nexpect = {expect}\n",
        file(name, BASE),
        row.method(),
        with_token(row.target(), TOKEN)
    );
    let (parsed, found) = syntax::parse(&"row.toml".into(), &text);
    assert_eq!(found, [], "{text}");
    let mut files = compile::Files::default();
    files.providers.insert(FileName::new(name).unwrap(), parsed);
    let outcome = filetest::run(&compile::compile(&files));
    assert_eq!(outcome.ran, 1, "{text}");
    Some(outcome.diagnostics.first().map_or(Ok(()), |first| Err(first.message.clone())))
}

// === The table ===

#[test]
fn gateway_explain_and_file_tests_decide_alike() {
    let mut only = Stage::new(&[]);
    let mut two = Stage::new(&["--admin-listen", "127.0.0.1:0"]);
    let (mut explains, mut tests) = (0, 0);
    for row in ROWS {
        let stage = if row.1 == Only { &mut only } else { &mut two };
        row.check("the gateway", &over_sockets(stage, row));
        if let Some(outcome) = explained(stage, row) {
            row.check("explain", &outcome);
            explains += 1;
        }
        if let Some(outcome) = tested(row) {
            assert_eq!(outcome, Ok(()), "{} {:?}", row.2, row.3);
            tests += 1;
        }
    }
    // No row is left out unnoticed.
    assert!(explains >= 54 && tests >= 23, "explain says {explains} of {} rows, tests {tests}", ROWS.len());
}

/// The table as a document.
fn document() -> String {
    let mut text = String::from(
        "# The order of decisions\n\n\
         Generated from `tests/it/decision_table.rs`, which plays each row through the gateway over real sockets, through\n\
         `tollgate explain` and through a provider file's own test. Change it there, then run `tests/update.sh`.\n\n\
         The first line that applies decides. `t` and `small` are providers with a stored key, `empty` has none, `open` needs none;\n\
         bodies for `small` and `empty` may have 8 bytes. `/nowhere` is no provider's path. `{token}` is the token that comes with\n\
         the request, and `{%token}` the same percent-encoded. A session comes in its cookie.\n\n\
         | | request | token | decision |\n|---|---|---|---|\n",
    );
    for row in ROWS {
        let header = |line: &&str| match line.strip_prefix('-') {
            Some(name) => format!(", without `{name}`"),
            None => format!(", `{line}`"),
        };
        let headers: String = row.3.iter().map(header).collect();
        let listener = match row.1 {
            Only => "",
            Public => ", public listener",
            AdminListener => ", admin listener",
        };
        let token = match row.4 {
            Nobody => "none",
            Unknown => "unknown",
            Known => "a user's",
            Disabled => "a disabled user's",
            Manage => "of the kind `manage`",
            Proxy => "of the kind `proxy`",
            Scoped => "scopes `t/post`, `small`",
            Admin => "an admin's",
            Session => "a user's session",
            Console => "an admin's session",
            Bearer => "a session, as a bearer",
        };
        let decision = match row.5 {
            Refused(status, code, message) => format!("{status} `{code}`: {message}"),
            Own(status) => format!("{status}"),
            Called(status) => format!("{status}, from tollgate's API"),
            Sent(target) => format!("sent upstream, to `{target}`"),
        };
        let _ = writeln!(text, "| {} | `{}`{headers}{listener} | {token} | {decision} |", row.0, row.2);
    }
    text
}

#[test]
fn the_document_is_fresh() {
    let path = root().join("docs/decisions.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, document()).unwrap();
    }
    let on_disk = fs::read_to_string(&path).unwrap_or_default();
    assert!(on_disk == document(), "docs/decisions.md is stale: run tests/update.sh");
}
