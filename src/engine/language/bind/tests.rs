use std::collections::BTreeMap;

use super::*;
use crate::language::{
    auth::FieldValues,
    compile::{Compiled, Files, compile},
    syntax,
};

/// The findings of `bind` for the provider `demo` with vars `name=value`, or the URL of its endpoint.
fn bound(text: &str, vars: &[(&str, &str)]) -> String {
    match bind_demo(text, vars) {
        Ok(provider) => {
            let mut target = String::new();
            provider.endpoints[0].target.render(&mut target, |_| "");
            let called = provider.destination.origin(&FieldValues::default()).expect("it has no field");
            let origin = provider.egress.as_ref().map_or(&*called, |egress| &egress.origin);
            format!("{origin}{target}")
        }
        Err(found) => found,
    }
}

fn bind_demo(text: &str, vars: &[(&str, &str)]) -> Result<Provider, String> {
    let mut files = Files::default();
    let gateway = "title = \"G\"\nbase_url = \"https://{zone}.g.example.com/{id}\"\nvars = { zone = { env = \"Z\" }, id = { env = \"I\" } }";
    let (gateway, _) = syntax::parse(&"g.toml".into(), gateway);
    for name in ["one", "two"] {
        let (copy, _) = syntax::parse(
            &"g.toml".into(),
            "title = \"G\"\nbase_url = \"https://{id}.example.com\"\nvars = { id = { env = \"I\" } }",
        );
        files.gateways.insert(FileName::new(name).unwrap(), copy);
    }
    files.gateways.insert(FileName::new("g").unwrap(), gateway);
    let head =
        "title = \"Demo\"\npath_prefix = \"/demo\"\nendpoint.a.method = \"GET\"\nendpoint.a.path = \"/a\"\n";
    let (parsed, found) = syntax::parse(&"demo.toml".into(), &format!("{head}{text}"));
    assert_eq!(found, [], "{text}");
    files.providers.insert(FileName::new("demo").unwrap(), parsed);
    let Compiled { providers, diagnostics, .. } = compile(&files);
    assert_eq!(diagnostics, [], "{text}");
    let vars: BTreeMap<_, _> = vars.iter().copied().collect();
    let value = |name: &str| match vars.get(name) {
        Some(&"UNREADABLE") => Err("cannot be read".to_owned()),
        value => Ok(value.map(|value| (*value).to_owned())),
    };
    let (provider, found) =
        try_bind(&providers[0], |_, name, _| value(name), TlsMaker::default(), &Budget::default());
    let line = |one: &Diagnostic| {
        let help = one.help.as_ref().map(|help| format!(" | {help}")).unwrap_or_default();
        format!("{} {}{help}", one.code.as_str(), one.message)
    };
    provider.ok_or_else(|| found.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// A gateway and an egress are called with the TLS of the system: neither gets the client certificate.
#[test]
fn tls_is_for_the_own_origin() {
    let text = "title = \"Demo\"\npath_prefix = \"/demo\"\nbase_url = \"https://x.example.com\"\n\
        vars = { ca = { file = \"ca\" }, out = { env = \"OUT\", optional = true } }\ntls = { ca = \"ca\" }\n\
        egress = [{ when = [\"out\"], url = \"https://out.example/?to={url|urlencode}\" }]\n\
        endpoint.a = { method = \"GET\", path = \"/a\" }\n";
    let mut files = Files::default();
    files.providers.insert(FileName::new("demo").unwrap(), syntax::parse(&"demo.toml".into(), text).0);
    let compiled = compile(&files);
    let pem = "line\nline".to_owned();
    let with = |set: &[&str]| {
        let value = |_: VarOwner<'_>, name: &str, _: &Var| set.contains(&name).then(|| pem.clone());
        bind(&compiled.providers[0], value).0.map(|bound| bound.tls.is_some())
    };
    assert_eq!(with(&["ca"]), Some(true));
    assert_eq!(with(&[]), None, "its text is missing");
    // A line break is fine in a PEM text alone.
    assert_eq!(with(&["ca", "out"]), None);
    let value = |_: VarOwner<'_>, name: &str, _: &Var| Some(name.to_owned());
    assert!(bind(&compiled.providers[0], value).0.unwrap().tls.is_none());
}

#[test]
fn headers_made_of_secrets_are_sensitive() {
    let text = "title = \"Demo\"\npath_prefix = \"/demo\"\nbase_url = \"https://x.example.com\"\n\
        vars = { open = { env = \"O\" }, hidden = { env = \"H\", secret = true } }\n\
        headers.set = { x-open = \"{open}\", x-hidden = \"a {hidden}\" }\n\
        endpoint.a = { method = \"GET\", path = \"/a\" }\n";
    let mut files = Files::default();
    files.providers.insert(FileName::new("demo").unwrap(), syntax::parse(&"demo.toml".into(), text).0);
    let (provider, found) = bind(&compile(&files).providers[0], |_, name, _| Some(name.to_owned()));
    assert_eq!(found, []);
    let set = provider.unwrap().headers.set;
    let sensitive = set.iter().map(|(name, value)| match value {
        Value::Fixed(value) => (name.as_str(), value.is_sensitive()),
        Value::Made(_) | Value::Generated { .. } => (name.as_str(), false),
    });
    assert_eq!(
        sensitive.collect::<BTreeMap<_, _>>(),
        BTreeMap::from([("x-open", false), ("x-hidden", true)])
    );
}

#[test]
fn vars_in_urls() {
    let check = |text: &str, vars: &[(&str, &str)], expected: &str| {
        assert_eq!(bound(text, vars), expected, "{text} {vars:?}");
    };
    let host = "base_url = \"https://{region}.example.com/v1\"\nvars.region = { env = \"REGION\" }";
    let no_label = "TG030 var `region` stands in the host, and its value is no part of one | a part of a host is made of letters, digits, `-` and `.`";
    check(host, &[("region", "eu")], "https://eu.example.com/v1/a");
    check(host, &[("region", "eu.west")], "https://eu.west.example.com/v1/a");
    for value in ["evil.com/", "evil.com?", "evil.com#", "u@evil.com", "evil.com:1", "https://x", "a\\b", "ä"]
    {
        check(host, &[("region", value)], no_label);
    }
    check(
        host,
        &[],
        "TG030 var `region` is not set: environment variable `REGION` | set it and start again, or mark the var `optional`",
    );
    check(
        host,
        &[("region", "UNREADABLE")],
        "TG030 var `region` cannot be read: environment variable `REGION` | a var is unset only where it is absent, not where it is unusable",
    );
    check(
        host,
        &[("region", ".")],
        "TG030 with the vars filled in this is no base URL: its host is not a DNS name or an IP address",
    );
    check(
        host,
        &[("region", "a\nb")],
        "TG030 var `region` has the control character U+000A at position 2: remove it (environment variable `REGION`)",
    );
    let path = "base_url = \"https://x.example.com\"\nvars.v = { env = \"V\" }\nendpoint.a.upstream_path = \"/p/{v}/q\"";
    let no_path = "TG030 with the vars filled in this is no path";
    check(path, &[("v", "v/w")], "https://x.example.com/p/v/w/q");
    check(path, &[("v", "...")], "https://x.example.com/p/.../q");
    for value in ["..", ".", "a/../..", "%2e%2E", "..;x", "a b", "a?b"] {
        check(path, &[("v", value)], no_path);
    }
    let through = "base_url = \"https://x.example.com\"\nvars.v = { env = \"V\" }\ngateway.one = { path = \"/{v}{path}\" }";
    check(through, &[("v", "w"), ("id", "i")], "https://i.example.com/w/a");
    check(through, &[("v", ".."), ("id", "i")], no_path);
    let whole = "base_url = \"{base}\"\nvars.base = { env = \"BASE\" }";
    check(whole, &[("base", "http://localhost:8080/x/")], "http://localhost:8080/x/a");
    check(
        whole,
        &[("base", "localhost:8080")],
        "TG030 with the vars filled in this is no base URL: it does not start with `https://` or `http://`",
    );
    check(
        whole,
        &[("base", "https://a.com/../b")],
        "TG030 with the vars filled in this is no base URL: its path has characters or segments that a path cannot have",
    );
}

#[test]
fn gateways_and_egresses() {
    let check = |text: &str, vars: &[(&str, &str)], expected: &str| {
        let text = format!("base_url = \"https://api.example.com\"\n{text}");
        assert_eq!(bound(&text, vars), expected, "{text} {vars:?}");
    };
    let gateway = "gateway.g = { path = \"/x{path}\" }";
    check(gateway, &[("zone", "z"), ("id", "i")], "https://z.g.example.com/i/x/a");
    check(gateway, &[], "https://api.example.com/a");
    check(gateway, &[("zone", ""), ("id", "")], "https://api.example.com/a");
    let part = "TG030 gateway `g` is set in part: its var `id` is not set (environment variable `I`) | set all vars of a gateway, or none: without it, requests go to the provider directly";
    check(gateway, &[("zone", "z")], part);
    check(gateway, &[("zone", "z"), ("id", "")], part);
    check(
        gateway,
        &[("zone", "z/"), ("id", "i")],
        "TG030 var `zone` stands in the host, and its value is no part of one | a part of a host is made of letters, digits, `-` and `.`",
    );
    check(
        gateway,
        &[("zone", "z"), ("id", "a b")],
        "TG030 with the vars filled in this is no base URL: its path has characters or segments that a path cannot have",
    );
    check(
        "gateway.one = { path = \"/1{path}\" }\ngateway.two = { path = \"/2{path}\" }",
        &[("id", "i")],
        "TG031 gateways `one` and `two` are both active | give each an `order` of its own: the lowest is used",
    );
    check(
        "gateway.one = { path = \"/1{path}\", order = 2 }\ngateway.two = { path = \"/2{path}\", order = 1 }",
        &[("id", "i")],
        "https://i.example.com/2/a",
    );
    let egress = "vars.e = { env = \"E\", optional = true }\negress = [{ when = [\"e\"], url = \"{e}?to={url|urlencode}\" }]";
    check(egress, &[("e", "https://e.example.com/p")], "https://e.example.com/a");
    check(egress, &[], "https://api.example.com/a");
    check(
        egress,
        &[("e", "UNREADABLE")],
        "TG030 var `e` cannot be read: environment variable `E` | a var is unset only where it is absent, not where it is unusable",
    );
    check(
        gateway,
        &[("zone", "z"), ("id", "UNREADABLE")],
        "TG030 var `id` cannot be read: environment variable `I` | a var is unset only where it is absent, not where it is unusable",
    );
    check(
        egress,
        &[("e", "e.example.com")],
        "TG030 with the vars filled in the egress's `url` is none: it does not start with `https://` or `http://`",
    );
    let bare = "vars.e = { env = \"E\" }\negress = [{ url = \"{e}/{url}\" }]";
    check(bare, &[("e", "https://e.example.com")], "https://e.example.com/a");
    check(
        bare,
        &[("e", "https://e.example.com/?to=")],
        "TG030 with the vars filled in the egress's `url` is none: `{url}` as it is would stand beside its query",
    );
    check(
        "vars.e = { env = \"E\" }\negress = [{ url = \"https://a.example.com\" }, { url = \"{e}\" }]",
        &[("e", "https://e.example.com")],
        "TG028 two active egresses have a `url` | only one of those whose `when` holds at once may have it",
    );
}

#[test]
fn allowed_origins_of_a_stored_credential() {
    let check = |text: &str, vars: &[(&str, &str)], allowed: &[&str], used: &[&str]| {
        let provider = bind_demo(text, vars).unwrap();
        assert_eq!(
            (&provider.allowed.fixed[..], &provider.used.fixed[..]),
            (&strings(allowed)[..], &strings(used)[..]),
            "{text} {vars:?}"
        );
    };
    let api = "https://api.example.com";
    let base = "base_url = \"https://API.example.com:443/v1\"\n";
    check(base, &[], &[api], &[api]);
    let region = "base_url = \"https://{region}.example.com\"\nvars.region = { env = \"R\" }";
    check(region, &[("region", "eu")], &["https://eu.example.com"], &["https://eu.example.com"]);
    let secret = region.replace("\"R\"", "\"R\", secret = true");
    check(&secret, &[("region", "hush")], &["https://{env:R}.example.com"], &["https://{env:R}.example.com"]);
    // A var with another source is another origin, also if its value is secret.
    let elsewhere = secret.replace("\"R\"", "\"S\"");
    check(
        &elsewhere,
        &[("region", "hush")],
        &["https://{env:S}.example.com"],
        &["https://{env:S}.example.com"],
    );
    let whole = "base_url = \"{region}\"\nvars.region = { env = \"R\" }";
    check(whole, &[("region", "http://eu:81/x")], &["http://eu:81"], &["http://eu:81"]);

    let gateways = format!(
        "{base}gateway.g = {{ path = \"/x{{path}}\", order = 1 }}\ngateway.one = {{ path = \"/x{{path}}\", order = 2 }}"
    );
    let (g, one) = ("https://{env:Z}.g.example.com", "https://{env:I}.example.com");
    check(&gateways, &[], &[api, one, g], &[api]);
    check(&gateways, &[("id", "i")], &[api, one, g], &[one]);
    check(&gateways, &[("id", "i"), ("zone", "z")], &[api, one, g], &[g]);

    let egress = |url: &str| {
        let vars = "vars.e = { env = \"E\", optional = true }\nvars.f = { env = \"F\" }\n";
        format!("{base}{vars}egress = [{{ when = [\"e\", \"f\"], url = \"{url}\" }}]")
    };
    let check = |url: &str, e: &str, written: &str| {
        let (text, both) = (egress(url), [written, api]);
        let both = if written.is_empty() { &both[1..] } else { &both[..] };
        let mut sorted = both.to_vec();
        sorted.sort_unstable();
        check(&text, &[("e", e), ("f", ".f.example.com")], &sorted, &sorted);
        check(&text, &[("f", "x")], &sorted, &[api]);
    };
    check("https://eg.example.com/?to={url|urlencode}", "x", "https://eg.example.com");
    check("https://eg.example.com:8443", "x", "https://eg.example.com:8443");
    check("https://eg.example.com?{e}", "x", "https://eg.example.com");
    check("https://{e}.Eg.example.com/{f}", "x", "https://{env:E}.eg.example.com");
    check("{e}/?to={url|urlencode}", "https://eg.example.com", "");
    check("{e}?to={url|urlencode}", "https://eg.example.com", "");
    check("{e}{f}/x", "https://eg", "");
    // A file that appends to the operator's host has an origin of its own.
    check("{e}.evil.example/?to={url|urlencode}", "https://eg.example.com", "{env:E}.evil.example");
    check("{e}{f}.evil.example", "https://eg", "{env:E}{env:F}.evil.example");
    check("{e}:8443/", "https://eg.example.com", "{env:E}:8443");
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// The names in telemetry of the first endpoint: `provider operation`, and if it is metered.
#[test]
fn names_in_telemetry() {
    let check = |text: &str, expected: &str| {
        let provider = bind_demo(&format!("{text}\nbase_url = \"https://x.example.com\""), &[]).unwrap();
        let TelemetryNames { provider, operation, is_metered } = &*provider.endpoints[0].telemetry;
        assert_eq!(format!("{provider} {operation} {is_metered}"), expected, "{text}");
    };
    check("", "demo a false");
    check("telemetry_name = \"acme.ai\"", "acme.ai a false");
    check("endpoint.a.operation = \"fetch\"", "demo fetch false");
}

/// The names of the endpoints in `docs/provider-files.md`, as the table there has them.
#[test]
fn documented_names_in_telemetry() {
    let text = include_str!("../../../../docs/provider-files.md");
    let block = |mark: &str| {
        let (_, rest) = text.split_once(&format!("<!-- {mark} -->\n```toml\n")).unwrap();
        rest.split_once("```").unwrap()
    };
    let (api, _) = block("api: run by tests/house");
    let (provider, rest) = block("names: run by src/engine/language/bind/tests.rs");
    let mut files = Files::default();
    let name = |name: &str| FileName::new(name).unwrap();
    files.apis.insert(name("acme-chat"), syntax::parse(&"acme-chat.toml".into(), api).0);
    files.providers.insert(name("acme"), syntax::parse(&"acme.toml".into(), provider).0);
    let Compiled { providers, diagnostics, .. } = compile(&files);
    assert_eq!(diagnostics, []);
    let (bound, _) = bind(&providers[0], |_, _, _| None);
    let bound = bound.unwrap();
    let named = |row: &str| {
        let cells: Vec<&str> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let endpoint = bound.endpoints.iter().find(|one| &*one.name == cells[1]).unwrap();
        let TelemetryNames { provider, operation, is_metered: _ } = &*endpoint.telemetry;
        assert_eq!([&**provider, &**operation], [cells[2], cells[3]], "{row}");
    };
    let (_, table) = rest.split_once("|---|---|---|\n").unwrap();
    let rows: Vec<&str> = table.lines().take_while(|line| line.starts_with('|')).collect();
    for row in &rows {
        named(row);
    }
    assert_eq!(rows.len(), bound.endpoints.len());
}
