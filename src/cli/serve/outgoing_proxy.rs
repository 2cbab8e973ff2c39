//! The outgoing proxies of `serve`: the setting, else the environment variables that other programs read, in their usual
//! meaning.
//!
//! A setting is understood or refused. A variable is shared with other programs: an entry of `NO_PROXY` that only they
//! understand is left out with a warning. No message contains credentials.

use std::{ffi::OsString, fs, os::unix::ffi::OsStrExt as _, path::PathBuf};

use zeroize::Zeroizing;

use crate::{
    secret::Secret,
    settings::{Bypass, Origin, Settings, SettingsError, Sourced, bypass},
    upstream::{Proxies, Proxy},
    written,
};

/// Maximum size of the file with credentials, in bytes.
const MAX_CREDENTIALS: usize = 4096;

/// A lookup of an environment variable.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The proxies that settings and environment name. None if there is none.
pub(super) fn proxies(settings: &Settings) -> Result<Option<Proxies>, SettingsError> {
    let proxies = of(settings, &|name| std::env::var_os(name))?;
    if let Some(Proxies { http, https, bypass }) = &proxies {
        let shown = |proxy: &Option<Proxy>| proxy.as_ref().map(|proxy| proxy.origin().to_string());
        let (http, https) = (shown(http), shown(https));
        tracing::info!(http, https, without = bypass.len(), "requests go through an outgoing proxy");
    }
    Ok(proxies)
}

fn of(settings: &Settings, lookup: Lookup<'_>) -> Result<Option<Proxies>, SettingsError> {
    let (http, https) = match &settings.outgoing_proxy {
        Some(url) if url.value.expose().is_empty() => return Ok(None),
        Some(Sourced { value, origin }) => {
            let proxy = parse(value.expose(), origin.clone())?;
            (Some(proxy.clone()), Some(proxy))
        }
        None => {
            // In a CGI program, a client's header `Proxy` would set this one.
            let http: &[&str] = if lookup("REQUEST_METHOD").is_some() {
                &["http_proxy"]
            } else {
                &["http_proxy", "HTTP_PROXY"]
            };
            (variable(http, lookup)?, variable(&["https_proxy", "HTTPS_PROXY"], lookup)?)
        }
    };
    if http.is_none() && https.is_none() {
        if let Some(Sourced { origin, .. }) = &settings.outgoing_proxy_auth_file {
            let proxy = origin.name_of("outgoing_proxy");
            let problem = format!("is set, but there is no proxy: set `{proxy}` too, or remove it");
            return Err(SettingsError::Text { origin: origin.clone(), problem });
        }
        return Ok(None);
    }
    let authorized = |proxy: Option<Proxy>| match (&settings.outgoing_proxy_auth_file, proxy) {
        (Some(file), Some(proxy)) => authorized(proxy, file).map(Some),
        (_, proxy) => Ok(proxy),
    };
    let bypass = settings.no_proxy.clone().unwrap_or_else(|| bypass_of_environment(lookup));
    Ok(Some(Proxies { http: authorized(http)?, https: authorized(https)?, bypass }))
}

fn parse(url: &str, origin: Origin) -> Result<Proxy, SettingsError> {
    Proxy::parse(url).map_err(|problem| {
        let problem = format!("is not the URL of a proxy: {problem}; write `http://proxy.example:3128`");
        SettingsError::Text { origin, problem }
    })
}

/// The proxy of the first of these variables that is set and not empty.
fn variable(names: &[&str], lookup: Lookup<'_>) -> Result<Option<Proxy>, SettingsError> {
    let mut set =
        names.iter().filter_map(|name| Some((*name, lookup(name).filter(|value| !value.is_empty())?)));
    let Some((name, value)) = set.next() else { return Ok(None) };
    let origin = Origin::Variable(name.to_owned());
    let refused = |problem: String| SettingsError::Text { origin: origin.clone(), problem };
    let url = value.to_str().ok_or_else(|| refused(written::not_utf8(value.as_bytes()).to_owned()))?;
    if let Some(defect) = written::defect(url) {
        return Err(refused(defect.to_string()));
    }
    parse(url, origin.clone()).map(Some).map_err(|error| match error {
        SettingsError::Text { origin, problem } => {
            let problem = format!("{problem}, unset it, or set `outgoing_proxy`, which goes first");
            SettingsError::Text { origin, problem }
        }
        other => other,
    })
}

/// The entries of `no_proxy` or `NO_PROXY` that are understood.
fn bypass_of_environment(lookup: Lookup<'_>) -> Bypass {
    let list =
        ["no_proxy", "NO_PROXY"].into_iter().find_map(|name| lookup(name).filter(|list| !list.is_empty()));
    let list = list.unwrap_or_default().to_string_lossy().into_owned();
    let entries = list.split([',', ' ']).filter(|entry| !entry.is_empty());
    let is_good = |entry: &&str| match Bypass::parse([*entry]) {
        Ok(_) => true,
        Err((entry, what)) => {
            tracing::warn!(entry, "an entry of `NO_PROXY` is left out: {what}; {}", bypass::FORMS);
            false
        }
    };
    Bypass::parse(entries.filter(is_good)).unwrap_or_default()
}

/// The proxy with the credentials of a file, `user:password`.
fn authorized(proxy: Proxy, file: &Sourced<PathBuf>) -> Result<Proxy, SettingsError> {
    let Sourced { value: path, origin } = file;
    let refused = |problem: String| SettingsError::Text {
        origin: origin.clone(),
        problem: format!("cannot be used: {problem}"),
    };
    if proxy.has_credentials() {
        return Err(refused("the proxy's URL has credentials, too: keep them in one place".to_owned()));
    }
    let bytes = fs::read(path).map_err(|error| refused(format!("`{}`: {error}", path.display())))?;
    let bytes = Zeroizing::new(bytes);
    if bytes.len() > MAX_CREDENTIALS {
        return Err(refused(format!("`{}` has more than {MAX_CREDENTIALS} bytes", path.display())));
    }
    let content = std::str::from_utf8(&bytes).map_err(|_| refused(written::not_utf8(&bytes).to_owned()))?;
    let content = written::line(content);
    if let Some(defect) = written::defect(content) {
        return Err(refused(format!("`{}` {defect}", path.display())));
    }
    if content.is_empty() {
        return Err(refused(format!("`{}` is empty", path.display())));
    }
    proxy.with_credentials(&Secret::new(content)).map_err(refused)
}

#[cfg(test)]
mod tests {
    use crate::settings::{Arguments, Places, resolve};

    use super::*;

    /// The proxies as text: for http, for https, and whether they have credentials; or the error.
    fn found(settings: &[(&str, &str)], variables: &[(&str, &str)]) -> String {
        let mut given = Arguments::default();
        for (id, text) in settings {
            given = given.with(id, text);
        }
        let settings = resolve(&Places::default(), &given).unwrap();
        let lookup = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        match of(&settings, &lookup) {
            Ok(None) => "none".to_owned(),
            Ok(Some(Proxies { http, https, .. })) => {
                let shown = |proxy: Option<Proxy>| {
                    proxy.map_or_else(
                        || "-".to_owned(),
                        |proxy| {
                            format!("{}{}", proxy.origin(), if proxy.has_credentials() { "!" } else { "" })
                        },
                    )
                };
                format!("{} {}", shown(http), shown(https))
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_setting_goes_before_the_environment() {
        let env = [("HTTPS_PROXY", "http://env.example:1")];
        assert_eq!(found(&[], &[]), "none");
        assert_eq!(found(&[], &env), "- http://env.example:1");
        assert_eq!(
            found(&[("outgoing_proxy", "http://p.example:2")], &env),
            "http://p.example:2 http://p.example:2"
        );
        assert_eq!(found(&[("outgoing_proxy", "")], &env), "none");
    }

    #[test]
    fn variables_are_read_as_other_programs_do() {
        let check = |variables: &[(&str, &str)], expected: &str| {
            assert_eq!(found(&[], variables), expected, "{variables:?}");
        };
        check(&[("https_proxy", "a.example:1"), ("HTTPS_PROXY", "b.example:1")], "- http://a.example:1");
        check(&[("https_proxy", ""), ("HTTPS_PROXY", "http://u:p@b.example:1")], "- http://b.example:1!");
        check(&[("http_proxy", "http://a.example")], "http://a.example -");
        check(&[("HTTP_PROXY", "http://a.example")], "http://a.example -");
        check(&[("HTTP_PROXY", "http://a.example"), ("REQUEST_METHOD", "GET")], "none");
        check(&[("ALL_PROXY", "http://a.example")], "none");
        check(
            &[("HTTPS_PROXY", "socks5://u:s3cret@a.example")],
            "`HTTPS_PROXY` is not the URL of a proxy: `socks5` is no protocol of a proxy that tollgate knows: `http` and \
             `https` are; write `http://proxy.example:3128`, unset it, or set `outgoing_proxy`, which goes first",
        );
        check(
            &[("HTTPS_PROXY", "\"http://a\"")],
            "`HTTPS_PROXY` is in quotes, which `docker --env-file` keeps: remove them",
        );
    }

    #[test]
    fn credentials_of_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth");
        let check = |content: &str, url: &str, expected: &str| {
            fs::write(&path, content).unwrap();
            let found =
                found(&[("outgoing_proxy", url), ("outgoing_proxy_auth_file", path.to_str().unwrap())], &[]);
            let found = found.replace(path.to_str().unwrap(), "auth");
            assert!(found.contains(expected) && !found.contains("s3cret"), "{found}");
        };
        check("ada:s3cret\n", "http://p.example", "http://p.example! http://p.example!");
        check("ada:s3cret", "http://u:s3cret@p.example", "the proxy's URL has credentials, too");
        check("s3cret", "http://p.example", "have no `:` between name and password");
        check("\n", "http://p.example", "`auth` is empty");
        check("ada:s3cret\nx", "http://p.example", "`auth` has the control character U+000A");
        let alone = found(&[("outgoing_proxy_auth_file", "/nowhere")], &[]);
        assert!(alone.contains("there is no proxy: set `--outgoing-proxy` too"), "{alone}");
    }
}
