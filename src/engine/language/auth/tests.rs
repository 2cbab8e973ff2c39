//! Kinds of authentication as requests see them: applied last, and never against a gateway or an egress.

use http::{HeaderName, Method, Request};

use crate::{
    base::secret::Secret,
    pipeline,
    request::rewrite::{self, Chosen, Fate, RuleTable, Witness},
    shipped,
};

const PROVIDER: &str = r#"title = "Demo"
base_url = "https://demo.example"
path_prefix = "/demo"
vars = { relay = { env = "RELAY", optional = true } }
credentials.field = [{ name = "key" }]
auth = [{ field = "key", set = { authorization = "Bearer {secret}", x-key = "{secret}" } }]
endpoint.get = { method = "GET", path = "/get" }
gateway.hub = { path = "/g{path}" }
"#;

/// What became of each header, in order, as `name` and the table of the rule.
#[derive(Default)]
struct Steps(Vec<String>);

impl Witness for Steps {
    fn header(&mut self, name: &HeaderName, fate: Fate) {
        if let Fate::Ruled(rule) = fate {
            let table = match rule.table {
                RuleTable::Auth => "auth",
                RuleTable::Overlay(_) => "overlay",
                RuleTable::Provider | RuleTable::Endpoint => "rule",
            };
            self.0.push(format!("{table} {:?} {name}", rule.kind));
        }
    }
}

/// The sent values of the two headers of the credential, and the steps, with the overlays' rules given.
fn check(gateway: &str, egress: &str, sent: [Option<&str>; 2], steps: &str) {
    let egress = if egress.is_empty() {
        String::new()
    } else {
        format!(
            "[[egress]]\nurl = \"https://relay.example/?u={{url|urlencode}}\"\nwhen = [\"relay\"]\nheaders = {egress}\n"
        )
    };
    let hub = format!(
        "title = \"Hub\"\nbase_url = \"https://hub.example\"\nvars.token = {{ env = \"T\", optional = true }}\nheaders = {gateway}\n"
    );
    let provider = format!("{PROVIDER}{egress}");
    let files = [("demo.toml", provider.as_str()), ("gateways/hub.toml", hub.as_str())];
    let made = pipeline::assemble(&shipped::load_with(&files), |_| Ok(Some("on".into())));
    let errors: Vec<_> = made.diagnostics.iter().filter(|one| one.is_error()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let hit = made.table.find(&Method::GET, "/demo/get").unwrap();
    let head = Request::builder().uri("/demo/get").header("x-key", "theirs").body(()).unwrap().into_parts().0;
    let chosen = Chosen { owner: 0, auth: &hit.provider.auth[0], secret: &Secret::new("s3cret") };
    let mut seen = Steps::default();
    let out = rewrite::watched(&hit, &head, Some(&chosen), &made.table.carriers, &mut seen).unwrap();
    let values =
        ["authorization", "x-key"].map(|name| out.headers.get(name).map(|one| one.to_str().unwrap()));
    assert_eq!(values, sent, "{gateway} {egress}");
    assert_eq!(seen.0.join(", "), steps, "{gateway} {egress}");
}

#[test]
fn a_credential_goes_in_last_and_yields_to_gateway_and_egress() {
    let (bearer, key) = (Some("Bearer s3cret"), Some("s3cret"));
    check("{}", "", [bearer, key], "auth Set authorization, auth Set x-key");
    check(
        "{ remove = [\"auth*\"] }",
        "",
        [None, key],
        "auth Set authorization, overlay Remove authorization, auth Set x-key",
    );
    check(
        "{ set = { x-key = \"hub\" } }",
        "",
        [bearer, Some("hub")],
        "auth Set x-key, overlay Set x-key, auth Set authorization",
    );
    check(
        "{}",
        "{ remove = [\"x-key\"], set = { authorization = \"relay\" } }",
        [Some("relay"), None],
        "auth Set authorization, auth Set x-key, overlay Remove x-key, overlay Set authorization",
    );
    check(
        "{ remove = [\"x-key\"] }",
        "{ set = { x-key = \"relay\" } }",
        [bearer, Some("relay")],
        "auth Set x-key, overlay Remove x-key, overlay Set x-key, auth Set authorization",
    );
}

#[test]
fn a_malformed_credential_is_not_sent() {
    let made = pipeline::assemble(
        &shipped::load_with(&[("demo.toml", &PROVIDER.replace("gateway.hub", "# "))]),
        |_| Ok(None),
    );
    let hit = made.table.find(&Method::GET, "/demo/get").unwrap();
    let head = Request::builder().uri("/demo/get").body(()).unwrap().into_parts().0;
    for secret in ["a\nb", "a\0", "\u{7f}"] {
        let chosen = Chosen { owner: 0, auth: &hit.provider.auth[0], secret: &Secret::new(secret) };
        let fault = rewrite::request(&hit, &head, Some(&chosen), &made.table.carriers).unwrap_err();
        assert_eq!(fault.kind.code(), "rewrite_failed", "{secret:?}");
        assert!(!fault.message.contains(secret));
    }
}
