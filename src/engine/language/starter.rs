//! The text of a new provider file (`tollgate new`): the keys that a preset leaves out, and two tests.
//!
//! Derived from the preset alone. The caller checks the result.

use std::fmt::Write as _;

use crate::{
    base::{name::FileName, origin::Origin},
    language::{
        auth, compile,
        format::quoted,
        syntax::{self, Auth, Endpoint, EndpointEntry},
    },
};

/// The faults of a missing credential and of an unknown path.
const REFUSALS: [(u16, &str); 2] = [(401, "credential_missing"), (404, "route_not_found")];

/// The request of the file's tests.
struct Call {
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
    if base_url.contains('{') {
        return Err("a URL with vars needs their declarations: write that file by hand".into());
    }
    let (origin, path) = Origin::split(base_url)?;
    let base = format!("{}://{}{}", origin.scheme.as_str(), origin.authority(), path.trim_end_matches('/'));
    let own = |template: &str| template.replace("{provider}", name.as_str());
    let mut text = format!("title = {}\n", quoted(&title(name)));
    let _ = writeln!(text, "extends = {}\nbase_url = {}", quoted(extends.as_str()), quoted(&base));
    let prefix = preset.path_prefix.clone().unwrap_or_else(|| "/{provider}".into());
    if preset.path_prefix.is_none() {
        let _ = writeln!(text, "path_prefix = {}", quoted(&prefix));
    }
    let Some(call) = call(preset, &base, &own(&prefix)) else { return Ok(text) };
    let auth = preset.auth.iter().flatten().next();
    let vars = vars(preset);
    let request = |path: &str| {
        let (method, path) = (quoted(&call.method), quoted(path));
        format!("{vars}request = {{ method = {method}, path = {path} }}\n")
    };
    let stored = auth.map(credentials).unwrap_or_default();
    let _ = write!(text, "\n[[test]]\nname = \"upstream request\"\n{}{stored}", request(&call.path));
    let _ = writeln!(text, "expect = {}", expect(&call, auth, &own));
    let (what, path, (status, code)) = match auth {
        Some(_) => ("no credential", call.path.clone(), REFUSALS[0]),
        None => ("no endpoint", format!("{}/no-such-endpoint", own(&prefix)), REFUSALS[1]),
    };
    let _ = write!(text, "\n[[test]]\nname = {}\n{}", quoted(what), request(&path));
    let _ = writeln!(text, "expect = {{ status = {status}, code = {} }}", quoted(code));
    Ok(text)
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
    let (method, path, table) = preset.endpoint.iter().flatten().find_map(|(_, entry)| whole(entry))?;
    let method = compile::http_method(method).to_string();
    let filled = |path: &str| path.replace("...}", "}").replace(['{', '}'], "");
    let up = filled(table.upstream_path.as_deref().unwrap_or(&path));
    let url = plain(&table).then(|| format!("{base}{up}"));
    Some(Call { method, path: format!("{prefix}{}", filled(&path)), url })
}

/// True if the upstream URL follows from the paths alone.
fn plain(endpoint: &Endpoint) -> bool {
    let adds = |query: &syntax::Query| query.default.is_some() || query.set.is_some();
    let template = endpoint.upstream_path.as_deref().unwrap_or_default();
    !endpoint.query.as_ref().is_some_and(adds) && !template.contains('{')
}

/// A secret that matches the entry.
fn secret(auth: &Auth) -> String {
    auth.r#match.as_deref().map_or_else(|| "key".to_owned(), |glob| glob.replace(['*', '?'], "x"))
}

fn credentials(auth: &Auth) -> String {
    format!("credentials = {{ {} = {} }}\n", syntax::toml_key(&auth.field), quoted(&secret(auth)))
}

fn vars(preset: &syntax::Provider) -> String {
    let needed = preset.vars.iter().flatten().filter(|(_, var)| var.optional != Some(true));
    let vars: Vec<String> =
        needed.map(|(name, _)| format!("{} = \"value\"", syntax::toml_key(name))).collect();
    if vars.is_empty() { String::new() } else { format!("vars = {{ {} }}\n", vars.join(", ")) }
}

fn expect(call: &Call, auth: Option<&Auth>, own: &impl Fn(&str) -> String) -> String {
    let mut parts = Vec::new();
    parts.extend(call.url.as_ref().map(|url| format!("url = {}", quoted(url))));
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
        check("", "ftp://a.example", "it does not start with `https://` or `http://`");
        check("", "https://{a}.example", "a URL with vars needs their declarations: write that file by hand");
    }
}
