use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::*;
use crate::language::{bind, compile, compile::Files, syntax as files};

/// Signs nothing: the signature is the key.
struct KeyIsSignature;

impl Signer for KeyIsSignature {
    fn sign(&self, _: syntax::Algorithm, key: &str, _: &[u8]) -> Result<Vec<u8>, BadKey> {
        if key == "bad" { Err(BadKey("is no key")) } else { Ok(key.as_bytes().to_vec()) }
    }

    fn fingerprint(&self, _: syntax::Algorithm, _: &str) -> Result<[u8; 32], BadKey> {
        Ok([0; 32])
    }
}

const NOW_MS: u64 = 1_700_000_000_000;

const HEAD: &str = r#"
title = "Demo"
base_url = "https://api.example.com"
path_prefix = "/demo"
auth = [{ token = "t", set = { authorization = "Bearer {secret}" } }]
endpoint.get = { method = "GET", path = "/get" }
vars.scope = { env = "SCOPE", default = "all of it" }
credentials.field = [
    { name = "id", kind = "text" },
    { name = "tenant", kind = "text", pattern = "[a-z]+" },
    { name = "key" },
    { name = "account", kind = "json", parts = { email = "/client_email", key = "/private_key" } },
]
"#;

fn token(text: &str) -> Arc<Token> {
    let mut all = Files::default();
    let (parsed, found) = files::parse(&"demo.toml".into(), &format!("{HEAD}{text}"));
    assert_eq!(found, []);
    all.providers.insert(FileName::new("demo").unwrap(), parsed);
    let compiled = compile::compile(&all);
    assert_eq!(compiled.diagnostics, []);
    let (bound, found) = bind::bind(&compiled.providers[0], |_, _, _| None);
    assert_eq!(found, []);
    Arc::clone(&bound.unwrap().tokens[0])
}

/// The values of the section, in its order.
const VALUES: [&str; 5] = ["app 1", "acme", "s3cr&t", "a@example.com", "PEM"];

fn with_values<T>(test: impl FnOnce(&FieldValues<'_>) -> T) -> T {
    let secrets = VALUES.map(Secret::new);
    let mut values = FieldValues::default();
    for (index, secret) in (0..).zip(&secrets) {
        values.push(index, FieldValue::stored(secret));
    }
    test(&values)
}

fn step(text: &str) -> Result<TokenStep, TokenProblem> {
    with_values(|values| token(text).step(values, ([7; 16], NOW_MS), &KeyIsSignature))
}

#[test]
fn a_request_is_made_of_fields_and_vars() {
    let check = |request: &str, line: &str, headers: &[(&str, &str)], body: &str| {
        let text = format!("[token.t]\nrequest = {{ {request} }}\nreply.token = \"/access_token\"");
        let Ok(TokenStep::Call(call)) = step(&text) else { panic!("{request}") };
        assert_eq!(format!("{} {}{}", call.method, call.origin, call.target), line, "{request}");
        let mut seen: Vec<(&str, &str)> =
            call.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        seen.sort_unstable();
        assert_eq!(seen, headers, "{request}");
        assert_eq!(std::str::from_utf8(&call.body).unwrap(), body, "{request}");
    };
    let (accept, form) = (("accept", "application/json"), "application/x-www-form-urlencoded");
    check(
        r#"url = "https://login.example.com/{tenant}/token", form = { grant_type = "client_credentials", client_secret = "{key}", scope = "{scope}" }"#,
        "POST https://login.example.com/acme/token",
        &[accept, ("content-type", form)],
        "client_secret=s3cr%26t&grant_type=client_credentials&scope=all+of+it",
    );
    check(
        r#"url = "https://{tenant}.login.example.com", basic = { username = "{id}", password = "{key}" }, form = { grant_type = "x" }"#,
        "POST https://acme.login.example.com/",
        &[accept, ("authorization", "Basic YXBwIDE6czNjciZ0"), ("content-type", form)],
        "grant_type=x",
    );
    check(
        r#"url = "https://login.example.com/token", json = { key = "{key}", list = ["{id}", 1, true], deep = { id = "{id|base64}" } }"#,
        "POST https://login.example.com/token",
        &[accept, ("content-type", "application/json")],
        r#"{"deep":{"id":"YXBwIDE="},"key":"s3cr&t","list":["app 1",1,true]}"#,
    );
    check(
        r#"method = "GET", url = "https://login.example.com/token/{id}", headers = { accept = "a/b", authorization = "token {key}" }"#,
        "GET https://login.example.com/token/app%201",
        &[("accept", "a/b"), ("authorization", "token s3cr&t")],
        "",
    );
}

#[test]
fn a_jwt_has_its_claims_and_times() {
    let check = |jwt: &str, header: Value, claims: Value, expires_at_ms: u64| {
        let made = match step(&format!("[token.t]\njwt = {{ {jwt} }}")) {
            Ok(TokenStep::Made(made)) => made,
            other => panic!("{jwt}: {other:?}"),
        };
        let parts: Vec<Vec<u8>> =
            made.token.expose().split('.').map(|part| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
        let part = |index: usize| serde_json::from_slice::<Value>(&parts[index]).unwrap();
        assert_eq!((part(0), part(1)), (header, claims), "{jwt}");
        assert_eq!((parts[2].as_slice(), made.expires_at_ms), (b"PEM".as_slice(), expires_at_ms), "{jwt}");
    };
    check(
        r#"alg = "RS256", key = "{account.key}", claims = { iss = "{account.email}", sub = "{id|upper}:{fingerprint}" }"#,
        json!({ "alg": "RS256", "typ": "JWT" }),
        json!({
            "iss": "a@example.com",
            "sub": format!("APP 1:{}", "A".repeat(43) + "="),
            "iat": 1_700_000_000,
            "exp": 1_700_000_600,
        }),
        NOW_MS + 600_000,
    );
    check(
        r#"alg = "ES256", key = "{account.key}", kid = "{id}", headers = { x5t = "{tenant}" }, ttl = "1h", claims = { iat = 1, aud = ["{scope}"], jti = { gen = "hex24", prefix = "j-" } }"#,
        json!({ "alg": "ES256", "typ": "JWT", "kid": "app 1", "x5t": "acme" }),
        json!({ "iat": 1, "aud": ["all of it"], "jti": format!("j-{}", "07".repeat(12)), "exp": 1_700_003_600 }),
        NOW_MS + 3_600_000,
    );
    let bad = r#"[token.t]
jwt = { alg = "EdDSA", key = "bad", claims = { sub = "{key}" } }"#;
    assert_eq!(step(bad).unwrap_err(), TokenProblem::BadKey("is no key"));
}

#[test]
fn a_request_sends_its_jwt() {
    let text = r#"[token.t]
jwt = { alg = "HS256", key = "{key}", claims = { iss = "{id}" } }
request = { url = "https://login.example.com/token", form = { assertion = "{jwt}" } }
reply = { token = "/access_token", fields = { kind = "/token_type" } }"#;
    let Ok(TokenStep::Call(call)) = step(text) else { panic!("a call") };
    let body = String::from_utf8(call.body.to_vec()).unwrap();
    let jwt = body.strip_prefix("assertion=").unwrap();
    assert_eq!(jwt.split('.').count(), 3, "{body}");
    let reply = token(text).reply(200, br#"{"access_token":"a","token_type":"Bearer"}"#, NOW_MS).unwrap();
    assert_eq!(reply.token.expose(), "a");
    assert_eq!(reply.fields, [("kind".into(), Secret::new("Bearer"))]);
}

#[test]
fn another_definition_or_value_makes_another_token() {
    let text = |form: &str| {
        format!(
            "[token.t]\nrequest = {{ url = \"https://login.example.com/x\", form = {{ {form} }} }}\nreply.token = \"/a\""
        )
    };
    let digest = |form: &str, key: &str| {
        let token = token(&text(form));
        let secret = Secret::new(key);
        let mut values = FieldValues::default();
        values.push(2, FieldValue::stored(&secret));
        token.made_from(&values)
    };
    let one = digest(r#"key = "{key}""#, "a");
    assert_eq!(one, digest(r#"key = "{key}""#, "a"));
    assert_ne!(one, digest(r#"key = "{key}""#, "b"));
    assert_ne!(one, digest(r#"key = "{key}", x = "1""#, "a"));
    assert_eq!(token(&text(r#"key = "{key}""#)).stored_as, "token:demo:t");
}

#[test]
fn the_documented_file_passes_its_test() {
    let text = include_str!("../../../../docs/provider-files.md");
    let mark = "<!-- tokens: run by src/engine/language/token/tests.rs -->\n```toml\n";
    let (block, _) = text.split_once(mark).unwrap().1.split_once("```").unwrap();
    let mut all = Files::default();
    let (parsed, found) = files::parse(&"demo.toml".into(), block);
    assert_eq!(found, []);
    all.providers.insert(FileName::new("demo").unwrap(), parsed);
    let compiled = compile::compile(&all);
    assert_eq!(compiled.diagnostics, []);
    let outcome = crate::tools::filetest::run(&compiled);
    assert_eq!((outcome.ran, outcome.diagnostics), (1, Vec::new()));
}

#[test]
fn urls_are_called_as_written_and_values_stay_inside() {
    let check = |url: &str, target: Result<&str, TokenProblem>| {
        let text = format!(
            "[token.t]\nrequest = {{ url = \"https://login.example.com{url}\", form = {{ key = \"{{key}}\" }} }}\nreply.token = \"/a\""
        );
        let step = step(&text);
        let seen = match &step {
            Ok(TokenStep::Call(call)) => Ok(call.target.as_str()),
            Ok(TokenStep::Made(_)) => panic!("{url} makes a call"),
            Err(problem) => Err(*problem),
        };
        assert_eq!(seen, target, "{url}");
    };
    check("", Ok("/"));
    check("/", Ok("/"));
    check("/token", Ok("/token"));
    check("/token/", Ok("/token/"));
    check("/{tenant}/token/", Ok("/acme/token/"));
    // A whole segment of dots would leave the path.
    let dots = "[token.t]\nrequest = { url = \"https://login.example.com/{id}/token\", form = { key = \"{key}\" } }\nreply.token = \"/a\"";
    let secret = Secret::new("..");
    let mut values = FieldValues::default();
    values.push(0, FieldValue::stored(&secret));
    values.push(2, FieldValue::stored(&secret));
    let problem = token(dots).step(&values, ([7; 16], NOW_MS), &KeyIsSignature).unwrap_err();
    assert_eq!(problem, TokenProblem::Malformed);
}

#[test]
fn a_user_name_of_basic_has_no_colon() {
    let text = "[token.t]\nrequest = { url = \"https://login.example.com/x\", basic = { username = \"{id}:\", password = \"{key}\" } }\nreply.token = \"/a\"";
    assert_eq!(step(text).unwrap_err(), TokenProblem::Malformed);
}

/// Requests and tokens are logged in no way that shows what they hold.
#[test]
fn debug_output_has_no_secret() {
    let text = "[token.t]\njwt = { alg = \"HS256\", key = \"{key}\", claims = { iss = \"{id}\" } }\nrequest = { url = \"https://login.example.com/x\", headers = { x-key = \"{key}\" }, form = { a = \"{jwt}\", k = \"{key}\" } }\nreply.token = \"/a\"";
    let shown = format!("{:?} {:?}", step(text).unwrap(), token(text));
    assert!(!shown.contains("s3cr") && !shown.contains("all of it"), "{shown}");
}
