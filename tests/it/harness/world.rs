//! The setting of an exchange: an upstream, a provider `t` for it, a gateway, and a user with a token and a key.
//! All exchanges go through `World::exchange` or `World::fault`.

use std::sync::Arc;

use tollgate::mock::Authority;

use super::{
    exchange::{Exchange, Fault},
    gateway::{Gateway, Home},
    upstream::Upstream,
    wire::{Message, Wire},
};

/// The user's stored key.
pub const KEY: &str = "sk-upstream-0123456789";

/// The provider `t` without `base_url`, which each world adds.
pub const PROVIDER: &str = r#"
title = "Test"
path_prefix = "/t"
[credentials]
section = "providers.t"
[[credentials.field]]
name = "apiKey"
label = "API key"
[[auth]]
field = "apiKey"
set = { authorization = "Bearer {secret}" }
[endpoint.get]
method = "GET"
path = "/get"
[endpoint.post]
method = "POST"
path = "/post"
"#;

/// A dollar for a million tokens.
const PRICES: &str =
    "title = \"Test\"\ncurrency = \"USD\"\nprice = [{ model = [\"*\"], input = 1, output = 1 }]\n";

/// A provider file with this `base_url`.
pub fn provider(base_url: &str, more: &str) -> String {
    format!("base_url = \"{base_url}\"\n{PROVIDER}\n{more}")
}

/// A provider file that takes a login, or else a key.
pub fn provider_with_login(base_url: &str, token_url: &str) -> String {
    format!(
        r#"
title = "Test"
base_url = "{base_url}"
path_prefix = "/t"
[credentials]
section = "providers.t"
[[credentials.field]]
name = "login"
kind = "oauth2"
token_url = "{token_url}"
client_id = "app_1"
[[credentials.field]]
name = "apiKey"
[[auth]]
field = "login"
set = {{ authorization = "Bearer {{secret}}" }}
[[auth]]
field = "apiKey"
set = {{ authorization = "Key {{secret}}" }}
[endpoint.get]
method = "GET"
path = "/get"
[endpoint.post]
method = "POST"
path = "/post"
"#
    )
}

/// Everything that an exchange needs.
pub struct World {
    /// The upstream of all requests.
    pub upstream: Upstream,
    /// The binary under test.
    pub gateway: Gateway,
    /// Its directories.
    pub home: Home,
    /// The user's token.
    pub token: String,
    /// The upstream's expected `Host`.
    pub host: String,
    /// `Access-Control-Allow-Headers`.
    pub cors: String,
}

impl World {
    /// With the provider `t` unchanged.
    pub fn new() -> Self {
        Self::with("", &[])
    }

    /// With more in the provider's file, and more arguments to `serve`.
    pub fn with(more: &str, args: &[&str]) -> Self {
        Self::with_env(more, args, &[])
    }

    /// The same, with environment variables.
    pub fn with_env(more: &str, args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::of(None, more, args, env)
    }

    /// With a file of limits, prices, more in the provider's file, and more arguments to `serve`.
    pub fn limited(limits: &str, more: &str, args: &[&str]) -> Self {
        Self::of(Some(limits), more, args, &[])
    }

    fn of(limits: Option<&str>, more: &str, args: &[&str], env: &[(&str, &str)]) -> Self {
        let upstream = Upstream::plain();
        let host = upstream.address().to_string();
        let home = Home::new(&[("t", &provider(&format!("http://{host}"), more))]);
        if let Some(limits) = limits {
            home.write_limits("t", limits);
            home.write("prices/t", PRICES);
        }
        let token = home.user("ada");
        home.credential("ada", "providers.t.apiKey", KEY);
        let gateway = home.serve_with(args, env);
        let cors = "Content-Type, Authorization, x-api-key".into();
        Self { upstream, gateway, home, token, host, cors }
    }

    /// With the shipped files, whose hosts all resolve to this one upstream, and environment variables.
    pub fn shipped(env: &[(&str, &str)]) -> Self {
        Self::tls(Home::shipped(), env)
    }

    /// The same with other files.
    pub fn tls(home: Home, env: &[(&str, &str)]) -> Self {
        let authority = Arc::new(Authority::new(&[]).expect("an authority can be made"));
        let upstream = Upstream::tls(Arc::clone(&authority));
        let ca = home.path("ca.pem");
        std::fs::write(&ca, authority.pem()).expect("the directory is ours");
        let token = home.user("ada");
        let rule = format!("*={}", upstream.address());
        let args = ["--connect-to", &rule, "--ca-file", ca.to_str().expect("text")];
        let gateway = home.serve_with(&args, env);
        let cors = "Content-Type, Authorization, x-api-key, anthropic-version, http-referer, x-title".into();
        Self { upstream, gateway, home, token, host: String::new(), cors }
    }

    /// A client's connection.
    pub fn client(&self) -> Wire {
        Wire::connect(self.gateway.address)
    }

    /// Adds the headers of every known caller: the caller's token is removed, the stored key is added.
    pub fn known(&self, exchange: Exchange) -> Exchange {
        let exchange = exchange.removed("Authorization", &format!("Bearer {}", self.token));
        exchange.added("Authorization", &format!("Bearer {KEY}"))
    }

    /// An exchange of a known caller on its own connection.
    pub fn exchange(&mut self, exchange: Exchange) {
        let exchange = self.known(exchange);
        let mut client = self.client();
        self.exchange_on(&mut client, &exchange);
    }

    /// An exchange, unchanged, on an open connection.
    pub fn exchange_on(&mut self, client: &mut Wire, exchange: &Exchange) {
        client.send(exchange.bytes());
        self.serve(exchange);
        self.receive(client, exchange);
    }

    /// The upstream's part of an exchange.
    pub fn serve(&mut self, exchange: &Exchange) {
        let (request, mut wire) = self.upstream.request();
        exchange.check(&self.host, &request);
        wire.send(exchange.answer.bytes());
        if !exchange.answer.closes() {
            self.upstream.keep(wire);
        }
    }

    /// The client's part of an exchange after its request.
    pub fn receive(&self, client: &mut Wire, exchange: &Exchange) -> Message {
        let answer = client.answer().unwrap_or_else(|broken| panic!("{broken:?}; {client:?}"));
        exchange.answer.check(&self.cors, &answer);
        assert_eq!(client.left_over(), b"", "bytes follow the answer");
        answer
    }

    /// A request that the gateway answers itself, without the upstream. There is no CORS below reserved prefixes.
    pub fn fault(&mut self, request: impl AsRef<[u8]>, fault: Fault<'_>) {
        let mut client = self.client();
        client.send(&request);
        let answer = client.answer().unwrap_or_else(|broken| panic!("{broken:?}; {client:?}"));
        self.check_fault(&request, fault, &answer);
        self.upstream.saw_nothing();
    }

    /// Checks that an answer is this fault.
    pub fn check_fault(&self, request: impl AsRef<[u8]>, fault: Fault<'_>, answer: &Message) {
        let target = request.as_ref().split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        let reserved =
            matches!(target.split(|byte| b"/?".contains(byte)).nth(1), Some(b"admin" | b"auth" | b"metrics"));
        fault.check((!reserved).then_some(&*self.cors), answer);
    }
}
