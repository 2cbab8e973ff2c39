//! Kinds of authentication in requests: applied last, and overridden by gateway and egress.

use http::{HeaderName, Method, Request};
use proptest::{prelude::*, sample::subsequence};

use crate::{
    base::secret::Secret,
    language::{auth::FieldValues, compile::Glob},
    pipeline,
    request::rewrite::{self, Chosen, Fate, Fresh, RuleTable, Withheld, Witness},
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

/// The decisions about headers, in order, as the table of the rule, its kind and the name.
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

/// The provider's file and its gateway's, with these lines more.
fn files(gateway: &str, egress: &str) -> [(&'static str, String); 2] {
    let hub = format!(
        "title = \"Hub\"\nbase_url = \"https://hub.example\"\nvars.token = {{ env = \"T\", optional = true }}\n{gateway}\n"
    );
    [("demo.toml", format!("{PROVIDER}{egress}")), ("gateways/hub.toml", hub)]
}

fn as_str<'f>(files: &'f [(&'f str, String); 2]) -> [(&'f str, &'f str); 2] {
    files.each_ref().map(|(name, text)| (*name, text.as_str()))
}

/// The sent values of the two headers of the credential, and the steps, with the overlays' rules given.
fn sent(gateway: &str, egress: &str) -> ([Option<String>; 2], Vec<String>) {
    let wrap = "url = \"https://relay.example/?u={url|urlencode}\"\nwhen = [\"relay\"]";
    let wrap =
        if egress.is_empty() { String::new() } else { format!("[[egress]]\n{wrap}\nheaders = {egress}\n") };
    let files = files(&format!("headers = {gateway}"), &wrap);
    let made = pipeline::assemble(&shipped::load_with(&as_str(&files)), |_| Ok(Some("on".into())));
    let errors: Vec<_> = made.diagnostics.iter().filter(|one| one.is_error()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let hit = made.table.find(&Method::GET, "/demo/get").unwrap();
    let head = Request::builder().uri("/demo/get").header("x-key", "theirs").body(()).unwrap().into_parts().0;
    let chosen = Chosen {
        reply: &[],
        owner: 0,
        auth: &hit.provider.auth[0],
        secret: Some(&Secret::new("s3cret")),
        values: FieldValues::default(),
        now_ms: 0,
        body: None,
    };
    let mut seen = Steps::default();
    let out = rewrite::request_observed(
        &hit,
        &head,
        Some(&chosen),
        Withheld::of(&made.table, None),
        Fresh::STAND_IN,
        &mut seen,
    )
    .unwrap();
    let value = |name| out.headers.get(name).map(|one| one.to_str().unwrap().to_owned());
    (["authorization", "x-key"].map(value), seen.0)
}

fn check(gateway: &str, egress: &str, values: [Option<&str>; 2], steps: &str) {
    let (sent, seen) = sent(gateway, egress);
    assert_eq!(sent.each_ref().map(Option::as_deref), values, "{gateway} {egress}");
    assert_eq!(seen.join(", "), steps, "{gateway} {egress}");
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
    // Not even where the gateway removes the one header that would carry it.
    for gateway in [None, Some("headers.remove = [\"authorization\", \"x-key\"]")] {
        let files = files(gateway.unwrap_or_default(), "");
        let made = pipeline::assemble(&shipped::load_with(&as_str(&files)), |_| Ok(gateway.map(Into::into)));
        let hit = made.table.find(&Method::GET, "/demo/get").unwrap();
        assert_eq!(hit.provider.gateway.is_some(), gateway.is_some());
        let head = Request::builder().uri("/demo/get").body(()).unwrap().into_parts().0;
        for secret in ["a\nb", "a\0", "\u{7f}"] {
            let chosen = Chosen {
                reply: &[],
                owner: 0,
                auth: &hit.provider.auth[0],
                secret: Some(&Secret::new(secret)),
                values: FieldValues::default(),
                now_ms: 0,
                body: None,
            };
            let fault = rewrite::request(
                &hit,
                &head,
                Some(&chosen),
                Withheld::of(&made.table, None),
                Fresh::STAND_IN,
            )
            .unwrap_err();
            assert_eq!(fault.kind.code(), "credential_missing", "{secret:?}");
            assert!(!fault.message.contains(secret));
        }
    }
}

/// The rules of one overlay: globs to remove, then headers to set.
type Rules = (Vec<&'static str>, Vec<&'static str>);

fn rules() -> impl Strategy<Value = Rules> {
    let globs = subsequence(vec!["authorization", "x-key", "x-*", "*"], 0..=2);
    (globs, subsequence(vec!["authorization", "x-key"], 0..=2))
}

/// The rules as TOML; each header is set to `value`.
fn table((remove, set): &Rules, value: &str) -> String {
    let set: Vec<String> = set.iter().map(|name| format!("{name} = \"{value}\"")).collect();
    format!("{{ remove = {remove:?}, set = {{ {} }} }}", set.join(", "))
}

/// The value of one header, and the last rule about it, if the credential is set first and the overlays run on that.
fn credential_first(name: &str, own: &str, overlays: &[(&Rules, &str)]) -> (Option<String>, String) {
    let mut state = (Some(own.to_owned()), format!("auth Set {name}"));
    for ((remove, set), value) in overlays {
        if state.0.is_some() && remove.iter().any(|glob| Glob::new(glob).matches(name)) {
            state = (None, format!("overlay Remove {name}"));
        }
        if set.contains(&name) {
            state = (Some((*value).to_owned()), format!("overlay Set {name}"));
        }
    }
    state
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn applied_last_is_the_same_as_applied_before_the_overlays(gateway in rules(), egress in rules()) {
        let (values, steps) = sent(&table(&gateway, "hub"), &table(&egress, "relay"));
        let overlays = [(&gateway, "hub"), (&egress, "relay")];
        for (index, (name, own)) in [("authorization", "Bearer s3cret"), ("x-key", "s3cret")].into_iter().enumerate() {
            let last = steps.iter().rfind(|step| step.ends_with(name)).cloned().unwrap_or_default();
            prop_assert_eq!((values[index].clone(), last), credential_first(name, own, &overlays));
        }
    }
}
