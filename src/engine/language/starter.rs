//! The text of a new provider file (`tollgate new`): the keys that a preset leaves out, and two tests.
//!
//! Derived from the preset alone. The names in braces of the base URL are vars of the preset, or become fields. The caller
//! checks the result.

use std::{collections::BTreeSet, fmt::Write as _};

use crate::{
    base::{name::FileName, origin::Origin},
    language::{
        auth,
        compile::{self, Glob},
        format::quoted,
        syntax::{self, Auth, Endpoint, EndpointEntry, Field},
    },
};

/// The faults of a missing credential and of an unknown path.
const REFUSALS: [(u16, &str); 2] = [(401, "credential_missing"), (404, "route_not_found")];

/// The request of the file's tests.
struct Call {
    /// The name of the endpoint.
    endpoint: String,
    method: String,
    path: String,
    url: Option<String>,
}

/// The text of a provider that extends a preset. The error is the reason why the URL cannot be a base URL.
pub fn text(
    name: &FileName,
    base_url: &str,
    extends: &FileName,
    preset: &syntax::Provider,
) -> Result<String, String> {
    let fields = asked(base_url, preset)?;
    let filled = filled(base_url, &fields);
    let (origin, path) = Origin::split(&filled)?;
    let path = path.trim_end_matches('/');
    // The same for a URL without names, but for the case of its host.
    let called = format!("{}://{}{path}", origin.scheme.as_str(), origin.authority());
    let base = if filled == base_url { called.clone() } else { base_url.trim_end_matches('/').to_owned() };
    let own = |template: &str| template.replace("{provider}", name.as_str());
    let mut text = format!("title = {}\n", quoted(&title(name)));
    let _ = writeln!(text, "extends = {}\nbase_url = {}", quoted(extends.as_str()), quoted(&base));
    let prefix = preset.path_prefix.clone().unwrap_or_else(|| "/{provider}".into());
    if preset.path_prefix.is_none() {
        let _ = writeln!(text, "path_prefix = {}", quoted(&prefix));
    }
    if !fields.is_empty() {
        text.push_str(&section(preset, &fields)?);
    }
    let Some(call) = call(preset, &called, &own(&prefix)) else { return Ok(text) };
    let counts = |auth: &&Auth| counts_for(auth, &call.endpoint);
    let auth = preset.auth.iter().flatten().find(counts).filter(|auth| auth.none.is_none());
    let is_optional = preset.auth.iter().flatten().filter(counts).any(|auth| auth.none.is_some());
    let vars = vars(preset);
    let request = |path: &str| {
        let (method, path) = (quoted(&call.method), quoted(path));
        format!("{vars}request = {{ method = {method}, path = {path} }}\n")
    };
    let stored = auth.map(|auth| credentials(auth, &fields)).unwrap_or_default();
    let _ = write!(text, "\n[[test]]\nname = \"upstream request\"\n{}{stored}", request(&call.path));
    let _ = writeln!(text, "expect = {}", expect(&call, auth, &own));
    let (what, path, (status, code)) = match auth.filter(|_| !is_optional) {
        Some(_) => ("no credential", call.path.clone(), REFUSALS[0]),
        None => ("no endpoint", format!("{}/no-such-endpoint", own(&prefix)), REFUSALS[1]),
    };
    let _ = write!(text, "\n[[test]]\nname = {}\n{}", quoted(what), request(&path));
    let _ = writeln!(text, "expect = {{ status = {status}, code = {} }}", quoted(code));
    Ok(text)
}

/// A name in the base URL that each user gives a value.
struct Asked<'u> {
    name: &'u str,
    /// True if it is the whole origin.
    is_origin: bool,
}

impl Asked<'_> {
    /// Its value in the test.
    fn value(&self) -> &'static str {
        if self.is_origin { "https://host.example" } else { "value" }
    }
}

/// The names in braces of a base URL that are no vars of the preset.
fn asked<'u>(base_url: &'u str, preset: &syntax::Provider) -> Result<Vec<Asked<'u>>, String> {
    let (mut asked, mut known, mut rest) = (Vec::<Asked<'_>>::new(), BTreeSet::new(), base_url);
    while let Some((front, tail)) = rest.split_once('{') {
        let Some((name, after)) = tail.split_once('}') else { return Err("a `{` is not closed".into()) };
        if !name.starts_with(|first: char| first.is_ascii_alphanumeric())
            || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        {
            return Err(format!("`{{{name}}}` is no name of a field: use letters, digits, `-` and `_`"));
        }
        let is_var = preset.vars.as_ref().is_some_and(|vars| vars.contains_key(name));
        if !is_var && known.insert(name) {
            asked.push(Asked { name, is_origin: front.is_empty() && rest.len() == base_url.len() });
        }
        rest = after;
    }
    Ok(asked)
}

/// A base URL with values for its names.
fn filled(base_url: &str, fields: &[Asked<'_>]) -> String {
    let mut filled = base_url.to_owned();
    for field in fields {
        filled = filled.replace(&format!("{{{}}}", field.name), field.value());
    }
    // Those of vars.
    let mut pieces = filled.split(['{', '}']);
    let mut text = pieces.next().unwrap_or_default().to_owned();
    let rest: Vec<&str> = pieces.collect();
    for pair in rest.chunks(2) {
        text.extend(["value", pair.get(1).copied().unwrap_or_default()]);
    }
    text
}

/// The credentials section: the fields of the preset, which a file replaces as a whole, and those of the base URL.
fn section(preset: &syntax::Provider, asked: &[Asked<'_>]) -> Result<String, String> {
    let credentials = preset.credentials.clone().unwrap_or_default();
    let mut text = String::new();
    if let Some(section) = &credentials.section {
        let _ = write!(text, "\n[credentials]\nsection = {}\n", quoted(section));
    }
    for field in credentials.field.iter().flatten() {
        let Field { name, label, hint, placeholder, .. } = field.clone();
        let keys = [("label", &label), ("hint", &hint), ("placeholder", &placeholder)];
        let _ = write!(text, "\n[[credentials.field]]\nname = {}\n", quoted(&name));
        for (key, value) in keys.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?))) {
            let _ = writeln!(text, "{key} = {}", quoted(value));
        }
        if (Field { name, label, hint, placeholder, ..Field::default() }) != *field {
            return Err(format!(
                "the preset's field `{}` is more than a key: write that file by hand",
                field.name
            ));
        }
    }
    for Asked { name, is_origin } in asked {
        let kind =
            if *is_origin { "kind = \"origin\"" } else { "kind = \"text\"\npattern = \"[a-z0-9-]{1,63}\"" };
        let label = self::label(name);
        let _ = write!(
            text,
            "\n[[credentials.field]]\nname = {}\nlabel = {}\n{kind}\n",
            quoted(name),
            quoted(&label)
        );
    }
    Ok(text)
}

/// The label for a name: `Resource name` for `resource_name`.
fn label(name: &str) -> String {
    let words = name.replace(['-', '_'], " ");
    let words = words.trim();
    words[..1].to_ascii_uppercase() + &words[1..]
}

/// The title for a name: `Acme Ai` for `acme-ai`.
fn title(name: &FileName) -> String {
    let words = name.as_str().split('-').filter(|word| !word.is_empty());
    let capital = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    words.map(capital).collect::<Vec<_>>().join(" ")
}

/// A request to the first endpoint of the preset. The names of captures are their values.
fn call(preset: &syntax::Provider, base: &str, prefix: &str) -> Option<Call> {
    let whole = |entry: &EndpointEntry| match entry {
        EndpointEntry::Removed => None,
        EndpointEntry::Table(table) => Some((table.method?, table.path.clone()?, table.clone())),
    };
    let mut all = preset.endpoint.iter().flatten();
    let (endpoint, (method, path, table)) =
        all.find_map(|(name, entry)| Some((name.clone(), whole(entry)?)))?;
    let method = compile::http_method(method).to_string();
    let filled = |path: &str| path.replace("...}", "}").replace(['{', '}'], "");
    let up = filled(table.upstream_path.as_deref().unwrap_or(&path));
    let url = plain(&table).then(|| format!("{base}{up}"));
    Some(Call { endpoint, method, path: format!("{prefix}{}", filled(&path)), url })
}

/// True if an entry counts for an endpoint.
fn counts_for(auth: &Auth, endpoint: &str) -> bool {
    let globs = auth.endpoints.as_ref();
    globs.is_none_or(|globs| globs.iter().any(|glob| Glob::new(glob).matches(endpoint)))
}

/// True if the upstream URL follows from the paths alone.
fn plain(endpoint: &Endpoint) -> bool {
    let adds = |query: &syntax::Query| query.default.is_some() || query.set.is_some();
    let template = endpoint.upstream_path.as_deref().unwrap_or_default();
    !endpoint.query.as_ref().is_some_and(adds) && !template.contains('{') && endpoint.origin.is_none()
}

/// A secret that matches the entry.
fn secret(auth: &Auth) -> String {
    auth.r#match.as_deref().map_or_else(|| "key".to_owned(), |glob| glob.replace(['*', '?'], "x"))
}

fn credentials(auth: &Auth, asked: &[Asked<'_>]) -> String {
    let secret = auth.field.iter().map(|field| (field.as_str(), secret(auth)));
    let all = secret.chain(asked.iter().map(|field| (field.name, field.value().to_owned())));
    let all: Vec<String> =
        all.map(|(name, value)| format!("{} = {}", syntax::toml_key(name), quoted(&value))).collect();
    if all.is_empty() { String::new() } else { format!("credentials = {{ {} }}\n", all.join(", ")) }
}

fn vars(preset: &syntax::Provider) -> String {
    let needed = preset.vars.iter().flatten().filter(|(_, var)| var.optional != Some(true));
    let vars: Vec<String> =
        needed.map(|(name, _)| format!("{} = \"value\"", syntax::toml_key(name))).collect();
    if vars.is_empty() { String::new() } else { format!("vars = {{ {} }}\n", vars.join(", ")) }
}

fn expect(call: &Call, auth: Option<&Auth>, own: &impl Fn(&str) -> String) -> String {
    let mut parts = Vec::new();
    let mut parameters = auth.into_iter().flat_map(auth::parameters);
    // A URL with a credential in it has to be written by hand.
    let url = call.url.as_ref().filter(|_| parameters.next().is_none());
    parts.extend(url.map(|url| format!("url = {}", quoted(url))));
    parts.push(format!("method = {}", quoted(&call.method)));
    let sent =
        auth.into_iter().flat_map(|auth| auth::templates(auth).map(move |(name, value)| (auth, name, value)));
    let sent = sent.map(|(auth, name, value)| (name, own(value).replace("{secret}", &secret(auth))));
    let known = sent.filter(|(_, value)| !value.contains('{'));
    let headers: Vec<String> =
        known.map(|(name, value)| format!("{} = {}", syntax::toml_key(name), quoted(&value))).collect();
    if !headers.is_empty() {
        parts.push(format!("headers = {{ {} }}", headers.join(", ")));
    }
    format!("{{ {} }}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file that comes of a preset, after its first keys.
    fn check(preset: &str, base_url: &str, expected: &str) {
        let (parsed, found) = syntax::parse::<syntax::Provider>(&"p.toml".into(), preset);
        assert_eq!(found, []);
        let name = |text| FileName::new(text).unwrap();
        let text = text(&name("acme-ai"), base_url, &name("p"), &parsed.unwrap().document);
        assert_eq!(text.unwrap_or_else(|problem| problem), expected);
    }

    #[test]
    fn the_text_has_what_the_preset_lacks() {
        let start = "title = \"Acme Ai\"\nextends = \"p\"\nbase_url = \"https://a.example/b\"\n";
        check("", "https://A.example:443/b/", &format!("{start}path_prefix = \"/{{provider}}\"\n"));
        check(
            "path_prefix = \"/x/{provider}\"\n[endpoint.a]\nmethod = \"GET\"\npath = \"/v1/{model}:go/{rest...}\"\n",
            "https://a.example/b",
            &format!(
                "{start}
[[test]]
name = \"upstream request\"
request = {{ method = \"GET\", path = \"/x/acme-ai/v1/model:go/rest\" }}
expect = {{ url = \"https://a.example/b/v1/model:go/rest\", method = \"GET\" }}

[[test]]
name = \"no endpoint\"
request = {{ method = \"GET\", path = \"/x/acme-ai/no-such-endpoint\" }}
expect = {{ status = 404, code = \"route_not_found\" }}
"
            ),
        );
        check(
            "path_prefix = \"/x\"\nvars.v.env = \"V\"\ncredentials.field = [{ name = \"k\" }]\n\
             auth = [{ field = \"k\", match = \"sk-*\", set = { x-k = \"Bearer {secret}\", x-v = \"{v}\" } }]\n\
             [endpoint.a]\nmethod = \"POST\"\npath = \"/a\"\nupstream_path = \"/{v}\"\n",
            "https://a.example/b",
            &format!(
                "{start}
[[test]]
name = \"upstream request\"
vars = {{ v = \"value\" }}
request = {{ method = \"POST\", path = \"/x/a\" }}
credentials = {{ k = \"sk-x\" }}
expect = {{ method = \"POST\", headers = {{ x-k = \"Bearer sk-x\" }} }}

[[test]]
name = \"no credential\"
vars = {{ v = \"value\" }}
request = {{ method = \"POST\", path = \"/x/a\" }}
expect = {{ status = 401, code = \"credential_missing\" }}
"
            ),
        );
        check(
            "path_prefix = \"/x\"\ncredentials.field = [{ name = \"k\" }, { name = \"l\" }]\n\
             auth = [{ field = \"k\", endpoints = [\"b\"], set = { x-k = \"{secret}\" } }, { field = \"l\", query = { key = \"{secret}\" } }, { none = true }]\n\
             [endpoint.a]\nmethod = \"GET\"\npath = \"/a\"\n",
            "https://a.example/b",
            &format!(
                "{start}
[[test]]
name = \"upstream request\"
request = {{ method = \"GET\", path = \"/x/a\" }}
credentials = {{ l = \"key\" }}
expect = {{ method = \"GET\" }}

[[test]]
name = \"no endpoint\"
request = {{ method = \"GET\", path = \"/x/no-such-endpoint\" }}
expect = {{ status = 404, code = \"route_not_found\" }}
"
            ),
        );
        check("", "ftp://a.example", "it does not start with `https://` or `http://`");
        check("", "https://{a.example", "a `{` is not closed");
        check("", "https://{a b}.example", "`{a b}` is no name of a field: use letters, digits, `-` and `_`");
    }

    #[test]
    fn names_in_the_base_url_become_fields() {
        const PRESET: &str = "path_prefix = \"/x\"\ncredentials = { section = \"s.{provider}\", field = [{ name = \"k\", hint = \"h\" }] }\n\
             auth = [{ field = \"k\", set = { x-k = \"{secret}\" } }]\nvars.v.env = \"V\"\n\
             [endpoint.a]\nmethod = \"POST\"\npath = \"/a\"\n";
        let expected = |base_url: &str, fields: &str, stored: &str, called: &str| {
            format!(
                "title = \"Acme Ai\"\nextends = \"p\"\nbase_url = \"{base_url}\"\n
[credentials]
section = \"s.{{provider}}\"

[[credentials.field]]
name = \"k\"
hint = \"h\"
{fields}
[[test]]
name = \"upstream request\"
vars = {{ v = \"value\" }}
request = {{ method = \"POST\", path = \"/x/a\" }}
credentials = {{ k = \"key\", {stored} }}
expect = {{ url = \"{called}/a\", method = \"POST\", headers = {{ x-k = \"key\" }} }}

[[test]]
name = \"no credential\"
vars = {{ v = \"value\" }}
request = {{ method = \"POST\", path = \"/x/a\" }}
expect = {{ status = 401, code = \"credential_missing\" }}
"
            )
        };
        let text = |name: &str, label: &str| {
            format!(
                "\n[[credentials.field]]\nname = \"{name}\"\nlabel = \"{label}\"\nkind = \"text\"\npattern = \"[a-z0-9-]{{1,63}}\"\n"
            )
        };
        check(
            PRESET,
            "https://{resource_name}.{v}.a.example/{zone}/{zone}/",
            &expected(
                "https://{resource_name}.{v}.a.example/{zone}/{zone}",
                &(text("resource_name", "Resource name") + &text("zone", "Zone")),
                "resource_name = \"value\", zone = \"value\"",
                "https://value.value.a.example/value/value",
            ),
        );
        let origin = "\n[[credentials.field]]\nname = \"server\"\nlabel = \"Server\"\nkind = \"origin\"\n";
        check(
            PRESET,
            "{server}/v1",
            &expected("{server}/v1", origin, "server = \"https://host.example\"", "https://host.example/v1"),
        );
        check(
            &PRESET.replace("hint = \"h\"", "kind = \"json\""),
            "{server}",
            "the preset's field `k` is more than a key: write that file by hand",
        );
    }
}
