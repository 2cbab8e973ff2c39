//! The meaning of the texts of settings: each becomes a value, or an error that names its origin. Reads no file, and chooses
//! between no two values.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;

use super::{
    AccessLog, Arguments, Bypass, DEFAULT_LISTEN, ExporterTable, Given, Origin, SettingsError, Sourced,
    TlsFiles, UserOrigins, arguments::checked, bypass, settings_file::SettingsFile, user_origins,
};
use crate::{
    compile::{duration, held_size, size, span},
    cors::{Readers, TrustedOrigins},
    origin,
};

/// Interprets the texts of settings, and names their origin in errors.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) arguments: &'a Arguments<Given>,
    pub(super) file: &'a SettingsFile,
}

impl Reader<'_> {
    pub(super) fn origin(self, name: &str) -> Origin {
        match self.arguments.origin(name) {
            Some(origin) => origin.clone(),
            None if self.file.has(name) => self.file.origin(name),
            None => Origin::Default(name.to_owned()),
        }
    }

    pub(super) fn refused(self, name: &str, value: &str, problem: String) -> SettingsError {
        SettingsError::Value { origin: self.origin(name), value: value.to_owned(), problem }
    }

    pub(super) fn lasting(
        self,
        parse: fn(&str) -> Result<Duration, String>,
        name: &str,
        text: Option<String>,
    ) -> Result<Option<Duration>, SettingsError> {
        text.map(|text| parse(&text).map_err(|problem| self.refused(name, &text, problem))).transpose()
    }

    pub(super) fn at_least(
        self,
        name: &str,
        text: Option<String>,
        default_s: u64,
    ) -> Result<Duration, SettingsError> {
        Ok(self.lasting(duration, name, text)?.unwrap_or(Duration::from_secs(default_s)))
    }

    pub(super) fn models(self, names: Vec<String>) -> Result<BTreeSet<String>, SettingsError> {
        // A label of the metrics, for all other models.
        let is_free = |name: &str| name != "(other)";
        let is_good = |name: &str| {
            is_free(name)
                && !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'`,".contains(&byte))
        };
        match names.iter().find(|name| !is_good(name)) {
            None => Ok(names.into_iter().collect()),
            Some(bad) => {
                let problem =
                    "a model's name has no quotes, spaces or characters beyond ASCII, and is not `(other)`"
                        .to_owned();
                Err(self.refused("metrics_models", bad, problem))
            }
        }
    }

    pub(super) fn access_log(
        self,
        sample: Option<f64>,
        rate: Option<u64>,
    ) -> Result<AccessLog, SettingsError> {
        let sample = sample.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&sample) {
            let problem = "it has to be from 0 to 1".to_owned();
            return Err(self.refused("access_log_sample", &sample.to_string(), problem));
        }
        if rate == Some(0) {
            let off = match self.origin("access_log_rate") {
                Origin::File { .. } | Origin::Default(_) => "access_log = false".to_owned(),
                Origin::Flag(_) | Origin::Variable(_) => {
                    format!("{}=false", self.origin("access_log_rate").name_of("access_log"))
                }
            };
            let problem = format!("it has to be at least 1; `{off}` turns the access log off");
            return Err(self.refused("access_log_rate", "0", problem));
        }
        Ok(AccessLog { sample, rate })
    }

    pub(super) fn workers(self, number: Option<usize>) -> Result<usize, SettingsError> {
        let number =
            number.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from).min(4));
        if !(1..=256).contains(&number) {
            return Err(self.refused("workers", &number.to_string(), "it has to be from 1 to 256".into()));
        }
        Ok(number)
    }

    /// A limit for which 0 does not mean none.
    pub(super) fn limit(self, name: &str, limit: Option<usize>) -> Result<Option<usize>, SettingsError> {
        match limit {
            Some(0) => Err(self.refused(name, "0", "it has to be at least 1".into())),
            limit => Ok(limit),
        }
    }

    pub(super) fn trusted_proxies(self, texts: &[String]) -> Result<Vec<IpNet>, SettingsError> {
        let problem = || "write networks, as `10.0.0.0/8` or `fd00::/8`, or addresses".to_owned();
        let refused = |text: &str| self.refused("trusted_proxies", text, problem());
        texts.iter().map(|text| network(text).ok_or_else(|| refused(text))).collect()
    }

    pub(super) fn cors_trusted_origins(
        self,
        texts: Option<Vec<String>>,
    ) -> Result<TrustedOrigins, SettingsError> {
        TrustedOrigins::parse(&texts.unwrap_or_default())
            .map_err(|(text, problem)| self.refused("cors_trusted_origins", &text, problem))
    }

    /// The pages that may read responses of providers: all if nothing is given.
    pub(super) fn cors_origins(
        self,
        texts: Option<Vec<String>>,
        trusted: &TrustedOrigins,
    ) -> Result<Readers, SettingsError> {
        let Some(texts) = texts else { return Ok(Readers::All) };
        let listed = TrustedOrigins::parse(&texts)
            .map_err(|(text, problem)| self.refused("cors_origins", &text, problem))?;
        Ok(Readers::new(listed, trusted))
    }

    pub(super) fn max_head(self, text: Option<String>) -> Result<usize, SettingsError> {
        let text = text.unwrap_or_else(|| "64KiB".into());
        head_size(&text).map_err(|problem| self.refused("max_head", &text, problem))
    }

    pub(super) fn judged_body(self, text: Option<String>) -> Result<usize, SettingsError> {
        let text = text.unwrap_or_else(|| "1MiB".into());
        let size = held_size(&text).map_err(|problem| self.refused("judged_body", &text, problem))?;
        Ok(usize::try_from(size).unwrap_or(usize::MAX))
    }

    pub(super) fn log(self, text: Option<String>) -> Result<tracing::Level, SettingsError> {
        let text = text.unwrap_or_else(|| "info".into());
        let problem = || "use `error`, `warn`, `info`, `debug` or `trace`".to_owned();
        text.parse().map_err(|_| self.refused("log", &text, problem()))
    }

    pub(super) fn path(self, name: &str, path: PathBuf) -> Result<Sourced<PathBuf>, SettingsError> {
        let origin = self.origin(name);
        Ok(Sourced { value: usable_path(path, &origin)?, origin })
    }

    pub(super) fn no_proxy(self, entries: &[String]) -> Result<Bypass, SettingsError> {
        Bypass::parse(entries.iter().map(String::as_str))
            .map_err(|(entry, what)| self.refused("no_proxy", entry, format!("{what}; {}", bypass::FORMS)))
    }

    pub(super) fn user_origins(self, patterns: &[String]) -> Result<UserOrigins, SettingsError> {
        UserOrigins::parse(patterns.iter().map(String::as_str)).map_err(|(pattern, what)| {
            self.refused("user_origins", pattern, format!("{what}; {}", user_origins::FORMS))
        })
    }

    /// An origin: tollgate has no path of its own in front.
    pub(super) fn public_url(self, text: &str) -> Result<origin::Origin, SettingsError> {
        let refused = |problem: &str| self.refused("public_url", text, problem.to_owned());
        match origin::Origin::split(text).map_err(refused)? {
            (origin, "" | "/") => Ok(origin),
            _ => Err(refused("it has a path; tollgate is reached at `/`")),
        }
    }

    pub(super) fn address(self, name: &str, text: &str) -> Result<SocketAddr, SettingsError> {
        let problem = || "write an IP address and a port, as `127.0.0.1:8787`".to_owned();
        text.parse().map_err(|_| self.refused(name, text, problem()))
    }

    /// The files of the listeners' TLS: both, or none.
    pub(super) fn tls(
        self,
        certificate: Option<PathBuf>,
        key: Option<PathBuf>,
    ) -> Result<Option<TlsFiles>, SettingsError> {
        let alone = |name: &str, other: &str| {
            let other = self.origin(name).name_of(other);
            let problem = format!("needs `{other}` beside it: TLS takes a certificate and its private key");
            SettingsError::Text { origin: self.origin(name), problem }
        };
        let usable = |name: &str, path: Option<PathBuf>| {
            path.map(|path| usable_path(path, &self.origin(name))).transpose()
        };
        match (usable("tls_cert", certificate)?, usable("tls_key", key)?) {
            (None, None) => Ok(None),
            (Some(_), None) => Err(alone("tls_cert", "tls_key")),
            (None, Some(_)) => Err(alone("tls_key", "tls_cert")),
            (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key })),
        }
    }

    /// The addresses of the public and of the admin listener, which differ.
    pub(super) fn listeners(
        self,
        listen: Option<String>,
        admin_listen: Option<String>,
    ) -> Result<(SocketAddr, Option<SocketAddr>), SettingsError> {
        let listen = self.address("listen", &listen.unwrap_or_else(|| DEFAULT_LISTEN.into()))?;
        let admin = admin_listen.map(|text| self.address("admin_listen", &text)).transpose()?;
        if let Some(admin) = admin.filter(|admin| *admin == listen && admin.port() != 0) {
            let listen = self.origin("admin_listen").name_of("listen");
            let problem = format!("`{listen}` is the same: give one of them another port");
            return Err(self.refused("admin_listen", &admin.to_string(), problem));
        }
        Ok((listen, admin))
    }
}

/// The tables of exporters. Their names stand in logs and metrics, and are bounded.
pub(super) fn exporters(
    tables: BTreeMap<String, serde_json::Map<String, serde_json::Value>>,
    file: &SettingsFile,
) -> Result<Vec<ExporterTable>, SettingsError> {
    let table = |(name, keys): (String, _)| {
        let origin = file.origin(&format!("exporter.{}", name.escape_debug()));
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.is_empty() || name.len() > 40 || !name.bytes().all(is_plain) {
            let problem = "needs a name of 1 to 40 letters, digits, `-` and `_`".to_owned();
            return Err(SettingsError::Text { origin, problem });
        }
        Ok(ExporterTable { name, origin, keys })
    };
    tables.into_iter().map(table).collect()
}

/// Parses a CIDR network or an address. IPv4-mapped IPv6 becomes IPv4, as peers' addresses do.
fn network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    let net: IpNet = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()?;
    match (net.addr().to_canonical(), net.prefix_len().checked_sub(96)) {
        (IpAddr::V4(address), Some(length)) if net.addr().is_ipv6() => {
            IpNet::new(address.into(), length).ok()
        }
        _ => Some(net),
    }
}

pub(super) fn usable_path(path: PathBuf, origin: &Origin) -> Result<PathBuf, SettingsError> {
    checked(path.as_os_str(), origin).map(|_: &str| ()).map(|()| path)
}

pub(super) fn session_lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = span(text)?;
    let range = Duration::from_mins(5)..=Duration::from_hours(168);
    if range.contains(&lifetime) { Ok(lifetime) } else { Err("it has to be from `5m` to `168h`".into()) }
}

/// At least one second: a healthy store sometimes takes almost as long.
pub(super) fn store_grace(text: &str) -> Result<Duration, String> {
    let grace = span(text)?;
    if grace < Duration::from_secs(1) {
        return Err("it has to be at least `1s`".into());
    }
    Ok(grace)
}

fn head_size(text: &str) -> Result<usize, String> {
    let bytes = size(text)?;
    // hyper needs a buffer of at least 8 KiB. More than 16 MiB is no sensible head.
    match usize::try_from(bytes) {
        Ok(bytes) if (8 << 10..=16 << 20).contains(&bytes) => Ok(bytes),
        _ => Err("it has to be from `8KiB` to `16MiB`".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_of_one_version() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(network(text).map(|net| net.to_string()).as_deref(), expected, "{text}");
        };
        check("10.0.0.0/8", Some("10.0.0.0/8"));
        check(" 10.0.0.1 ", Some("10.0.0.1/32"));
        check("fd00::/8", Some("fd00::/8"));
        check("::1", Some("::1/128"));
        check("::ffff:10.0.0.0/104", Some("10.0.0.0/8"));
        check("::ffff:10.0.0.1", Some("10.0.0.1/32"));
        check("::/0", Some("::/0"));
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "proxy.example", "10.0.0.1:80", "fe80::1%eth0"] {
            check(bad, None);
        }
    }
}
