//! The files under `providers.d`, unchanged, with all hosts resolved to one TLS upstream: the client paths, the
//! destination and the key of each, also through a gateway and an egress.

use std::collections::BTreeSet;

use crate::harness::{Answer, Exchange, Fault, World};

/// Method, client path, host, upstream path, path below the Cloudflare gateway (empty: the route does not use it).
type Route = (&'static str, String, &'static str, String, String);

fn route(method: &'static str, client: &str, host: &'static str, upstream: &str, gateway: &str) -> Route {
    (method, client.into(), host, upstream.into(), gateway.into())
}

/// Name, host, base path, and the place of the base's `/v1` at the Cloudflare gateway.
const ADDITIONAL: [(&str, &str, &str, &str); 11] = [
    ("cohere", "api.cohere.ai", "/compatibility", "/cohere/compatibility/v1"),
    ("deepseek", "api.deepseek.com", "", "/deepseek"),
    ("fireworks", "api.fireworks.ai", "/inference", "/fireworks"),
    ("groq", "api.groq.com", "/openai", "/groq"),
    ("minimax", "api.minimax.io", "", ""),
    ("mistral", "api.mistral.ai", "", "/mistral/v1"),
    ("moonshot", "api.moonshot.ai", "", ""),
    ("openrouter", "openrouter.ai", "/api", "/openrouter/v1"),
    ("perplexity", "api.perplexity.ai", "", "/perplexity-ai/v1"),
    ("together", "api.together.xyz", "", ""),
    ("xai", "api.x.ai", "", "/grok/v1"),
];

fn routes() -> Vec<Route> {
    let (openai, anthropic) = ("api.openai.com", "api.anthropic.com");
    let mut routes = vec![
        route(
            "POST",
            "/openai/v1/chat/completions",
            openai,
            "/v1/chat/completions",
            "/openai/chat/completions",
        ),
        route("POST", "/openai/v1/responses", openai, "/v1/responses", "/openai/responses"),
        route("POST", "/openai/v1/embeddings", openai, "/v1/embeddings", "/openai/embeddings"),
        route("GET", "/openai/v1/models", openai, "/v1/models", "/openai/models"),
        route("POST", "/anthropic/v1/messages", anthropic, "/v1/messages", "/anthropic/v1/messages"),
        route(
            "POST",
            "/anthropic/v1/messages/count_tokens",
            anthropic,
            "/v1/messages/count_tokens",
            "/anthropic/v1/messages/count_tokens",
        ),
        route("GET", "/anthropic/v1/models", anthropic, "/v1/models", "/anthropic/v1/models"),
        route("POST", "/openai/v1/codex/responses", "chatgpt.com", "/backend-api/codex/responses", ""),
        route("POST", "/openai-codex/codex/responses", "chatgpt.com", "/backend-api/codex/responses", ""),
        route("GET", "/openai-codex/codex/models", "chatgpt.com", "/backend-api/codex/models", ""),
        route("GET", "/openai/v1/codex/models", "chatgpt.com", "/backend-api/codex/models", ""),
    ];
    for (name, host, base, gateway) in ADDITIONAL {
        for (method, path) in [("POST", "/chat/completions"), ("POST", "/embeddings"), ("GET", "/models")] {
            let without_v1 = name == "perplexity" && path == "/chat/completions";
            let version = if without_v1 { "" } else { "/v1" };
            let gateway = if without_v1 { "/perplexity-ai" } else { gateway };
            let below = if gateway.is_empty() { String::new() } else { format!("{gateway}{path}") };
            routes.push(route(
                method,
                &format!("/proxy/{name}/v1{path}"),
                host,
                &format!("{base}{version}{path}"),
                &below,
            ));
        }
    }
    routes
}

/// Stores a different key for every provider, so that a misrouted key is visible.
fn store_keys(world: &World) {
    world.home.credential("ada", "openai.apiKey", "key-openai");
    world.home.credential("ada", "anthropic.apiKey", "key-anthropic");
    for (name, ..) in ADDITIONAL {
        world.home.credential("ada", &format!("providers.{name}.apiKey"), &format!("key-{name}"));
    }
}

const LOGIN: &str = r#"{"accessToken":"login-openai","refreshToken":"r","expiresAt":4102444800000}"#;

/// A route's request by the token's user; the upstream gets `secret` in the provider's format.
fn exchange(world: &World, route: &Route, secret: &str) -> Exchange {
    let (method, client, host, upstream, _) = route;
    let exchange = Exchange::new(method, "").at(&format!("{client}?a=1"), &format!("{upstream}?a=1"));
    let exchange = if *method == "POST" { exchange.body("{\"model\":\"m\"}") } else { exchange };
    let exchange = exchange.removed("Authorization", &format!("Bearer {}", world.token));
    let exchange =
        exchange.removed("X-Api-Key", "another").removed("CF-Ray", "1").header("User-Agent", "sdk");
    if *host == "api.anthropic.com" {
        let exchange = exchange.added("anthropic-version", "2023-06-01");
        let oauth = secret.starts_with("sk-ant-oat");
        let (name, value) = if oauth { ("authorization", "Bearer ") } else { ("x-api-key", "") };
        let exchange = if oauth { exchange.added("anthropic-beta", "oauth-2025-04-20") } else { exchange };
        return exchange.added(name, &format!("{value}{secret}"));
    }
    exchange.added("authorization", &format!("Bearer {secret}"))
}

fn secret_of(client: &str) -> String {
    match client.split('/').collect::<Vec<_>>().as_slice() {
        [_, "proxy", name, ..] => format!("key-{name}"),
        [_, _, _, "codex", ..] | [_, "openai-codex", ..] => "login-openai".into(),
        [_, name, ..] => format!("key-{name}"),
        other => panic!("{other:?} is no client path"),
    }
}

#[test]
fn every_route_leads_where_it_should() {
    let mut world = World::shipped(&[]);
    store_keys(&world);
    // All others have tests in their files.
    let listed = world.home.done(&["routes"], "");
    let listed: BTreeSet<(&str, &str)> = listed
        .lines()
        .filter_map(|line| line.split_whitespace().next().zip(line.split_whitespace().nth(1)))
        .collect();
    for (method, client, ..) in routes() {
        assert!(listed.contains(&(method, client.as_str())), "{method} {client} is not listed");
    }
    for route in routes().iter().filter(|route| route.2 != "chatgpt.com") {
        world.host = route.2.to_owned();
        let mut client = world.client();
        let exchange = exchange(&world, route, &secret_of(&route.1));
        world.exchange_on(&mut client, &exchange);
    }
}

#[test]
fn a_login_is_preferred_and_goes_to_both() {
    let mut world = World::shipped(&[]);
    store_keys(&world);
    world.home.credential("ada", "openai.oauth", LOGIN);
    world.home.credential("ada", "anthropic.oauthToken", "sk-ant-oat01-login");
    for route in routes().iter().filter(|route| !route.1.starts_with("/proxy")) {
        world.host = route.2.to_owned();
        let secret = if route.2 == "api.anthropic.com" { "sk-ant-oat01-login" } else { "login-openai" };
        let mut client = world.client();
        let exchange = exchange(&world, route, secret);
        world.exchange_on(&mut client, &exchange);
    }
}

#[test]
fn without_a_key_each_names_its_provider() {
    let mut world = World::shipped(&[]);
    for (method, client, ..) in routes() {
        let name = match client.split('/').collect::<Vec<_>>().as_slice() {
            [_, "proxy", name, ..] => (*name).to_owned(),
            [_, _, _, "codex", ..] => "openai-codex".into(),
            [_, name, ..] => (*name).to_owned(),
            other => panic!("{other:?} is no client path"),
        };
        let request = Exchange::new(method, "").at(&client, "");
        let request = request.removed("Authorization", &format!("Bearer {}", world.token)).bytes();
        let message = format!("No API key configured for {name}");
        world.fault(request, Fault(401, "credential_missing", &message));
    }
}

#[test]
fn an_api_key_never_goes_to_another_host() {
    let mut world = World::shipped(&[]);
    store_keys(&world);
    let expired = LOGIN.replace("4102444800000", "1000000000000").replace(r#""refreshToken":"r","#, "");
    world.home.credential("ada", "openai.oauth", &expired);
    for path in ["/openai/v1/codex/responses", "/openai-codex/codex/responses"] {
        let request = Exchange::new("POST", "").at(path, "");
        let request = request.removed("Authorization", &format!("Bearer {}", world.token)).bytes();
        let message = "The login stored for openai-codex has expired: store it again";
        world.fault(request, Fault(401, "credential_expired", message));
    }
}

const NOWHERE: [(&str, &str); 52] = [
    ("DELETE", "/openai/v1/chat/completions"),
    ("PUT", "/openai/v1/chat/completions"),
    ("POST", "/openai/v1/models"),
    ("DELETE", "/openai/v1/models"),
    ("HEAD2", "/openai/v1/models"),
    ("GET", "/anthropic/v1/messages"),
    ("PUT", "/openai-codex/codex/responses"),
    ("POST", "/openai/v1/chat/completions/"),
    ("POST", "//openai/v1/chat/completions"),
    ("POST", "/openai//v1/chat/completions"),
    ("POST", "/openai/v1/chat//completions"),
    ("POST", "/OpenAI/v1/chat/completions"),
    ("POST", "/openai/V1/chat/completions"),
    ("POST", "/openai/chat/completions"),
    ("POST", "/openai/v2/chat/completions"),
    ("POST", "/openai/v1/organization"),
    ("POST", "/openai/v1/chat"),
    ("POST", "/openai/v1/chat/completions/x/y/z"),
    ("POST", "/openai/v1/organization/users"),
    ("POST", "/openai/v1/../v1/chat/completions"),
    ("POST", "/openai/./v1/chat/completions"),
    ("POST", "/openai/%2e%2e/openai/v1/chat/completions"),
    ("POST", "/x/../openai/v1/chat/completions"),
    ("POST", "/openai%2Fv1/chat/completions"),
    ("POST", "/openai/v1%2fchat/completions"),
    ("POST", "/openai/v1%5Cchat/completions"),
    ("POST", "/openai/v1/chat/completions;x"),
    ("POST", "/openai/v1/chat/completions;x=1"),
    ("POST", "/openai/v1/chat/completions%00"),
    ("POST", "/openai/v1/chat/completions%20"),
    ("POST", "/openai/v1/chat/completions%3Fa"),
    ("POST", "/%6Fpenai/v1/chat/completions"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/messages"),
    ("POST", "/chat/completions"),
    ("POST", "/anthropic/v1/completes"),
    ("POST", "/anthropic/messages"),
    ("POST", "/openai-codex/v1/codex/responses"),
    ("POST", "/openai-codex/responses"),
    ("POST", "/proxy/DeepSeek/v1/chat/completions"),
    ("POST", "/proxy/deepsee%6B/v1/chat/completions"),
    ("POST", "/proxy/deepseek/chat/completions"),
    ("POST", "/proxy/deepseek/v1/chat/completions/"),
    ("POST", "/proxy//v1/chat/completions"),
    ("POST", "/proxy/openai/v1/chat/completions"),
    ("POST", "/proxy/anthropic/v1/chat/completions"),
    ("POST", "/proxy/__proto__/v1/chat/completions"),
    ("POST", "/proxy/constructor/v1/chat/completions"),
    ("POST", "/proxy/nobody/v1/chat/completions"),
    ("POST", "/proxy/deepseek/v1/answers"),
    ("POST", "/deepseek/v1/chat/completions"),
    ("GET", "/proxy"),
];

#[test]
fn every_other_path_is_not_found() {
    let mut world = World::shipped(&[]);
    store_keys(&world);
    world.home.credential("ada", "openai.oauth", LOGIN);
    for (method, path) in NOWHERE {
        for query in ["", "?a=1"] {
            let request = Exchange::new(method, "").at(&format!("{path}{query}"), "");
            let request = request.removed("Authorization", &format!("Bearer {}", world.token)).bytes();
            let message = format!("Route not implemented in AI Gateway: {path}");
            world.fault(request, Fault(404, "route_not_found", &message));
        }
    }
}

const GATEWAY: [(&str, &str); 3] =
    [("CF_AI_GATEWAY_TOKEN", "cf-token"), ("CF_AI_GATEWAY_ACCOUNT_ID", "acc"), ("CF_AI_GATEWAY_ID", "gw")];

#[test]
fn through_the_gateway() {
    let mut world = World::shipped(&GATEWAY);
    store_keys(&world);
    for route in routes().iter().filter(|route| route.2 != "chatgpt.com") {
        let mut sent = exchange(&world, route, &secret_of(&route.1));
        world.host = route.2.to_owned();
        if !route.4.is_empty() {
            world.host = "gateway.ai.cloudflare.com".into();
            sent = sent.at(&format!("{}?a=1", route.1), &format!("/v1/acc/gw{}?a=1", route.4));
            sent = sent.added("cf-aig-authorization", "Bearer cf-token");
        }
        let mut client = world.client();
        world.exchange_on(&mut client, &sent.removed("CF-Aig-Authorization", "Bearer mine"));
    }
}

#[test]
fn a_gateway_of_two_settings_is_not_bypassed() {
    for missing in 0..3 {
        let mut env = GATEWAY.to_vec();
        env[missing].1 = "";
        let world = World::shipped(&env);
        world.gateway.logged("gateway `cloudflare` is set in part");
        let mut client = world.client();
        client
            .send(format!("GET /openai/v1/models HTTP/1.1\r\nHost: g\r\nx-api-key: {}\r\n\r\n", world.token));
        let answer = client.answer().unwrap();
        let body = String::from_utf8(answer.body).unwrap();
        assert!(answer.head.status() == 503 && body.contains("has no usable value"), "{body}");
    }
}

const EGRESS: [(&str, &str); 4] = [
    ("EGRESS_PROXY_URL", "https://egress.example/p"),
    ("EGRESS_PROXY_AUTH_TOKEN", "pt"),
    ("CF_ACCESS_CLIENT_ID", "id"),
    ("CF_ACCESS_CLIENT_SECRET", "cs"),
];
const WRAPPED: &str =
    "/p?_proxyUpstreamURL_=https%3A%2F%2Fchatgpt.com%2Fbackend-api%2Fcodex%2Fresponses%3Fa%3D1";
const SMUGGLED: [(&str, &str); 6] = [
    ("X-Proxy-Auth", "mine"),
    ("CF-Access-Client-Id", "mine"),
    ("CF-Access-Client-Secret", "mine"),
    ("X-Real-IP", "1.2.3.4"),
    ("X-Forwarded-For", "1.2.3.4"),
    ("X-Forwarded-Proto", "https"),
];

/// The codex routes under these settings: their destination, and their headers besides the login.
fn egress(env: &[(&str, &str)], host: &str, target: &str, added: &[(&str, &str)]) {
    let mut world = World::shipped(env);
    world.home.credential("ada", "openai.oauth", LOGIN);
    world.home.credential("ada", "openai.apiKey", "key-openai");
    for route in routes().iter().filter(|route| route.0 == "POST" && route.2 == "chatgpt.com") {
        let sent = exchange(&world, route, "login-openai").at(&format!("{}?a=1", route.1), target);
        let sent = SMUGGLED.iter().fold(sent, |all, (name, value)| all.removed(name, value));
        let sent = added.iter().fold(sent, |all, (name, value)| all.added(name, value));
        host.clone_into(&mut world.host);
        let mut client = world.client();
        world.exchange_on(&mut client, &sent);
    }
    // No other route uses the egress.
    world.host = "api.openai.com".into();
    let mut client = world.client();
    let sent = exchange(&world, &routes()[0], "login-openai");
    world.exchange_on(&mut client, &sent);
}

#[test]
fn through_an_egress() {
    let direct = "/backend-api/codex/responses?a=1";
    let auth = ("x-proxy-auth", "Bearer pt");
    let access = [("cf-access-client-id", "id"), ("cf-access-client-secret", "cs")];
    egress(&EGRESS, "egress.example", WRAPPED, &[auth, access[0], access[1]]);
    egress(&EGRESS[..1], "egress.example", WRAPPED, &[]);
    egress(&EGRESS[..3], "egress.example", WRAPPED, &[auth]);
    egress(&[EGRESS[0], EGRESS[2], EGRESS[3]], "egress.example", WRAPPED, &access);
    egress(&EGRESS[1..], "chatgpt.com", direct, &[]);
    egress(&[("EGRESS_PROXY_URL", ""), EGRESS[1]], "chatgpt.com", direct, &[]);
}

#[test]
fn a_firewalls_page_becomes_advice_on_the_legacy_routes_only() {
    let mut world = World::shipped(&[]);
    store_keys(&world);
    world.home.credential("ada", "openai.oauth", LOGIN);
    let page = Answer::new("403 Forbidden").header("Content-Type", "text/html; charset=UTF-8").body("<html>");
    for route in &routes() {
        let secret = if route.2.contains("openai") { "login-openai".into() } else { secret_of(&route.1) };
        let sent = exchange(&world, route, &secret).answer(page.clone());
        world.host = route.2.to_owned();
        let mut client = world.client();
        client.send(sent.bytes());
        world.serve(&sent);
        if route.1.starts_with("/proxy") {
            world.receive(&mut client, &sent);
            continue;
        }
        let answer = client.answer().unwrap();
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let message = body["error"]["message"].as_str().unwrap();
        assert!(
            message.starts_with(&format!("Upstream {} blocked this request (403).", route.2)),
            "{message}"
        );
        world.check_fault(sent.bytes(), Fault(502, "response_rule", message), &answer);
    }
}
