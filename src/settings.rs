//! Settings of the process. Precedence: flags, `TOLLGATE_*` variables, `tollgate.toml`, defaults. None is required.
//! `given` lists them. `arguments` collects the first two, `places` resolves what all commands need, `resolve` the settings
//! of `serve`, and `interpret` knows the meaning of their texts.
//!
//! Every text is understood as its author meant it, or refused with its origin. Reads no file but the settings file.

mod arguments;
pub mod bypass;
pub mod environment;
mod given;
mod interpret;
mod places;
mod settings_file;
pub mod user_origins;

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    admission::Overrides,
    compile::{age, age_of_a_day, span},
    cors::{Readers, TrustedOrigins},
    escape::Lines,
    lint::Levels,
    origin,
    secret::Secret,
    variables::EnvAllow,
};
pub use arguments::{Arguments, Origin};
pub use bypass::Bypass;
pub use given::{Given, PlaceFlags, schema, schema_text};
use interpret::{Reader, exporters, session_lifetime, store_grace, usable_path};
pub use places::{Places, SecretsDir};
pub use settings_file::source_in;
pub use user_origins::UserOrigins;

/// The default settings file.
pub const DEFAULT_FILE: &str = "tollgate.toml";

/// The default providers directory.
pub const DEFAULT_PROVIDERS: &str = "providers.d";
/// The data directory, unless it is named.
pub const DEFAULT_DATA: &str = "data";
/// The address to listen on by default.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8787";

/// The default of `idle_timeout`, in seconds. Longer than those of common load balancers (60 s to 600 s): the side that sends
/// requests has to be the one that closes an idle connection, or else a request may cross the close.
const IDLE_TIMEOUT_S: u64 = 620;

/// The default of `session_lifetime`: a working day.
pub const DEFAULT_SESSION_LIFETIME: Duration = Duration::from_hours(8);

/// The name of the directory of limits.
const LIMITS: &str = "limits.d";

/// The path of a file or directory beside the providers directory, whose links are not followed.
pub fn beside(providers: &Path, name: &str) -> PathBuf {
    match providers.file_name() {
        Some(_) => providers.with_file_name(name),
        None => providers.join("..").join(name),
    }
}

/// The source of provider files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A directory, and the built-in providers that serve beside its own. None if those serve only while it has no provider.
    Directory {
        /// The directory.
        path: PathBuf,
        /// The built-in providers beside it.
        catalogue: Option<Catalogue>,
        /// The directory of limits, if it is named. It is beside the directory by default.
        limits: Option<PathBuf>,
    },
    /// The copy in the binary.
    Embedded {
        /// The providers that serve.
        catalogue: Catalogue,
        /// The directory of limits, if it is named. It is in the current directory by default.
        limits: Option<PathBuf>,
    },
}

impl Source {
    /// A directory without built-in providers beside its own.
    pub fn directory(path: impl Into<PathBuf>) -> Self {
        Self::Directory { path: path.into(), catalogue: None, limits: None }
    }

    /// All built-in providers.
    pub fn built_in() -> Self {
        Self::Embedded { catalogue: Catalogue::All, limits: None }
    }

    /// The directory of limits. Links on the way to the providers directory are not followed.
    pub fn limits(&self) -> PathBuf {
        let (named, beside) = match self {
            Self::Directory { path, limits, .. } => (limits, beside(path, LIMITS)),
            Self::Embedded { limits, .. } => (limits, PathBuf::from(LIMITS)),
        };
        named.clone().unwrap_or(beside)
    }

    /// The directory of limits, if a setting names it.
    pub fn named_limits(&self) -> Option<&Path> {
        match self {
            Self::Directory { limits, .. } | Self::Embedded { limits, .. } => limits.as_deref(),
        }
    }

    /// The built-in providers that serve beside those of a directory.
    pub fn beside(&self) -> Option<&Catalogue> {
        match self {
            Self::Directory { catalogue, .. } => catalogue.as_ref(),
            Self::Embedded { .. } => None,
        }
    }
}

/// The built-in providers that serve.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Catalogue {
    /// All.
    #[default]
    All,
    /// Those of these names.
    Named(BTreeSet<String>),
}

impl Catalogue {
    /// True if the provider serves.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(name),
        }
    }
}

/// The log format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LogFormat {
    /// Text for people.
    Human,
    /// JSON, one object per line.
    Json,
}

/// The treatment of a client that has closed its side of the connection before its answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum HalfClosed {
    /// It has left: the upstream request is cancelled.
    #[default]
    Cancel,
    /// It gets its answer.
    Answer,
}

/// The selection of lines of the access log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AccessLog {
    /// Share of successful requests, from 0 to 1.
    pub sample: f64,
    /// Maximum lines in a second; none for no limit.
    pub rate: Option<u64>,
}

/// The treatment of the trace context that a client sends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum TraceHeaders {
    /// It passes unchanged.
    #[default]
    Pass,
    /// It does not reach the upstream.
    Remove,
    /// The upstream gets tollgate's own span as the parent.
    Own,
}

/// The settings of the labels of metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetricLabels {
    /// The models that have metrics of their own; none for those that are used most.
    pub models: Option<BTreeSet<String>>,
    /// True if there are metrics by user.
    pub users: bool,
}

/// The settings in force.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The separate admin address, if any.
    pub admin_listen: Option<SocketAddr>,
    /// The certificate of the listeners and its key; none for plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Networks of proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// Origins whose pages may send any header.
    pub cors_trusted_origins: TrustedOrigins,
    /// The pages that may read responses of providers.
    pub cors_origins: Readers,
    /// The address at which people reach tollgate in a browser.
    pub public_url: Option<origin::Origin>,
    /// Lifetime of a browser's session.
    pub session_lifetime: Duration,
    /// Number of worker threads.
    pub workers: usize,
    /// True if an error in any file refuses the start and every reload.
    pub strict: bool,
    /// Connect rules, as written.
    pub connect_to: Vec<String>,
    /// A PEM file with additional certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// The URL of the outgoing proxy, as written; empty for none, whatever the environment says.
    pub outgoing_proxy: Option<Sourced<Secret>>,
    /// A file with credentials for it.
    pub outgoing_proxy_auth_file: Option<Sourced<PathBuf>>,
    /// Hosts that are called without it.
    pub no_proxy: Option<Bypass>,
    /// Origins that users may enter.
    pub user_origins: UserOrigins,
    /// True if names may resolve to private addresses.
    pub allow_private: bool,
    /// The source of provider files.
    pub providers: Source,
    /// The built-in providers that serve, if that is set. It has no effect beside a directory.
    pub catalogue: Option<Catalogue>,
    /// The data directory.
    pub data: PathBuf,
    /// The directory of vars with `file`.
    pub secrets: SecretsDir,
    /// A file with the master key.
    pub master_key_file: Option<PathBuf>,
    /// Maximum time that a last good version serves; none for no limit.
    pub max_stale: Option<Duration>,
    /// Interval of full scans of the files.
    pub sweep: Duration,
    /// Time after SIGTERM during which connections are still accepted.
    pub drain_delay: Duration,
    /// Grace period of a graceful shutdown.
    pub grace: Duration,
    /// Time that cached callers are served while the store is down.
    pub store_grace: Duration,
    /// Timeout for a request head.
    pub head_timeout: Duration,
    /// Time that a client's connection may idle.
    pub idle_timeout: Duration,
    /// The longest time of a probe.
    pub probe_timeout: Duration,
    /// The treatment of a half-closed client.
    pub half_closed: HalfClosed,
    /// The treatment of the trace context that clients send.
    pub trace_context: TraceHeaders,
    /// Maximum size of a request head, in bytes.
    pub max_head: usize,
    /// The most bytes of a body that limits and rules read before it is sent.
    pub judged_body: usize,
    /// True if answers say what is left of limits.
    pub limit_headers: bool,
    /// Limits of admission control.
    pub admission: Overrides,
    /// The log level.
    pub log: tracing::Level,
    /// The log format; none to choose by the terminal.
    pub log_format: Option<LogFormat>,
    /// The access log; none if it is off.
    pub access_log: Option<AccessLog>,
    /// Tables of exporters.
    pub exporters: Vec<ExporterTable>,
    /// The age at which hourly usage is deleted.
    pub usage_retention: Duration,
    /// The age at which single exchanges are deleted; zero to keep none.
    pub usage_detail_retention: Duration,
    /// The labels of metrics.
    pub metrics: MetricLabels,
    /// Levels of lints.
    pub lints: Levels,
    /// The environment variables that provider files may read.
    pub env_allow: EnvAllow,
}

/// The files of the listeners' TLS. One file may hold both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by its chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A value, and the place that it comes from.
#[derive(Debug, Clone)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// The place.
    pub origin: Origin,
}

/// The table `[exporter.NAME]` of an exporter. Its kind knows its keys: `exporters` reads them.
#[derive(Debug, Clone)]
pub struct ExporterTable {
    /// The name.
    pub name: String,
    /// The table in the settings file.
    pub origin: Origin,
    /// Its keys.
    pub keys: serde_json::Map<String, serde_json::Value>,
}

/// The reason why settings are refused.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The settings file cannot be read.
    #[error("failed to read the settings file `{}`{by}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The origin of its name, as the rest of a sentence.
        by: String,
        /// The system's error.
        error: io::Error,
    },
    /// The settings file has errors: rendered diagnostics.
    #[error("the settings file has errors:\n{0}")]
    File(Lines),
    /// An invalid value.
    #[error("{origin} cannot be `{}`: {problem}", value.escape_debug())]
    Value {
        /// The place that it comes from.
        origin: Origin,
        /// The value.
        value: String,
        /// The reason, a fragment.
        problem: String,
    },
    /// A text that its author did not mean.
    #[error("{origin} {problem}")]
    Text {
        /// The place that it comes from.
        origin: Origin,
        /// The reason, the rest of a sentence.
        problem: String,
    },
    /// A variable with the name of no setting, but similar to one.
    #[error("the environment variable `{name}` is no setting: did you mean `{near}`? Correct or unset it")]
    UnknownVariable {
        /// Its name, escaped.
        name: String,
        /// The variable that it resembles.
        near: String,
    },
}

/// The settings of `serve`, from flags and environment (`given`), the settings file, and defaults.
pub fn resolve(places: &Places, given: &Arguments<Given>) -> Result<Settings, SettingsError> {
    let source = places.file()?;
    let file = source.all()?.clone();
    let (arguments, given) = (given, given.document(schema())?);
    let given: Given =
        serde_json::from_value(given).expect("each value is of the type that the schema of `Given` names");
    macro_rules! pick {
        ($name:ident) => {
            given.$name.or(file.$name)
        };
    }
    let read = Reader { arguments, file: source };
    let admission = Overrides {
        requests_per_token: pick!(max_requests_per_token),
        requests_per_user: pick!(max_requests_per_user),
        requests: read.limit("max_requests", pick!(max_requests))?,
        connections_per_address: pick!(max_connections_per_address),
        connections: read.limit("max_connections", pick!(max_connections))?,
    };
    let access_log = read.access_log(pick!(access_log_sample), pick!(access_log_rate))?;
    let (listen, admin_listen) = read.listeners(pick!(listen), pick!(admin_listen))?;
    let cors_trusted_origins = read.cors_trusted_origins(pick!(cors_trusted_origins))?;
    Ok(Settings {
        listen,
        admin_listen,
        tls: read.tls(pick!(tls_cert), pick!(tls_key))?,
        trusted_proxies: read.trusted_proxies(&pick!(trusted_proxies).unwrap_or_default())?,
        cors_origins: read.cors_origins(pick!(cors_origins), &cors_trusted_origins)?,
        cors_trusted_origins,
        public_url: pick!(public_url).map(|text| read.public_url(&text)).transpose()?,
        session_lifetime: read
            .lasting(session_lifetime, "session_lifetime", pick!(session_lifetime))?
            .unwrap_or(DEFAULT_SESSION_LIFETIME),
        workers: read.workers(pick!(workers))?,
        strict: pick!(strict).unwrap_or(false),
        connect_to: pick!(connect_to).unwrap_or_default(),
        ca_file: pick!(ca_file).map(|path| usable_path(path, &read.origin("ca_file"))).transpose()?,
        outgoing_proxy: pick!(outgoing_proxy)
            .map(|url| Sourced { value: Secret::new(url), origin: read.origin("outgoing_proxy") }),
        outgoing_proxy_auth_file: pick!(outgoing_proxy_auth_file)
            .map(|path| read.path("outgoing_proxy_auth_file", path))
            .transpose()?,
        no_proxy: pick!(no_proxy).map(|entries| read.no_proxy(&entries)).transpose()?,
        user_origins: read.user_origins(&pick!(user_origins).unwrap_or_default())?,
        allow_private: pick!(allow_private).unwrap_or(false),
        providers: places.providers()?,
        catalogue: places.catalogue()?,
        data: places.data()?,
        secrets: places.secrets()?,
        master_key_file: places.master_key_file()?,
        max_stale: read.lasting(span, "max_stale", pick!(max_stale))?,
        sweep: read.at_least("sweep", pick!(sweep), 15)?,
        drain_delay: read.lasting(span, "drain_delay", pick!(drain_delay))?.unwrap_or_default(),
        grace: read.at_least("grace", pick!(grace), 30)?,
        store_grace: read
            .lasting(store_grace, "store_grace", pick!(store_grace))?
            .unwrap_or(Duration::from_hours(1)),
        head_timeout: read.at_least("head_timeout", pick!(head_timeout), 60)?,
        idle_timeout: read.at_least("idle_timeout", pick!(idle_timeout), IDLE_TIMEOUT_S)?,
        probe_timeout: read.at_least("probe_timeout", pick!(probe_timeout), 30)?,
        half_closed: pick!(half_closed).unwrap_or_default(),
        trace_context: pick!(trace_context).unwrap_or_default(),
        max_head: read.max_head(pick!(max_head))?,
        judged_body: read.judged_body(pick!(judged_body))?,
        limit_headers: pick!(limit_headers).unwrap_or(false),
        admission,
        log: read.log(pick!(log))?,
        log_format: pick!(log_format),
        access_log: pick!(access_log).unwrap_or(true).then_some(access_log),
        exporters: exporters(file.exporter.unwrap_or_default(), source)?,
        // Hours are summed by day.
        usage_retention: read
            .lasting(age_of_a_day, "usage_retention", pick!(usage_retention))?
            .unwrap_or(Duration::from_hours(400 * 24)),
        usage_detail_retention: read
            .lasting(age, "usage_detail_retention", pick!(usage_detail_retention))?
            .unwrap_or(Duration::from_hours(7 * 24)),
        metrics: MetricLabels {
            models: pick!(metrics_models).map(|models| read.models(models)).transpose()?,
            users: pick!(metrics_users).unwrap_or(false),
        },
        lints: file.lints.unwrap_or_default(),
        env_allow: places.env_allow()?,
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn places(config: &Path) -> Places {
        Places::new(Arguments::default().with("config", config.to_str().unwrap()))
    }

    #[test]
    fn flags_go_before_the_file_and_that_before_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("t.toml");
        fs::write(&config, "listen = \"127.0.0.1:1\"\ngrace = \"5s\"\ndata = \"elsewhere\"\n").unwrap();
        let given = Arguments::default().with("listen", "127.0.0.1:2");
        let settings = resolve(&places(&config), &given).unwrap();
        assert_eq!(settings.listen.port(), 2);
        assert_eq!(settings.grace, Duration::from_secs(5));
        assert_eq!(settings.data, Path::new("elsewhere"));
        assert_eq!(settings.max_head, 64 << 10);
    }

    #[test]
    fn bad_values_say_what_to_write() {
        let check = |text: &str, expected: &str| {
            let dir = tempfile::tempdir().unwrap();
            let config = dir.path().join("t.toml");
            fs::write(&config, text).unwrap();
            let error = resolve(&places(&config), &Arguments::default()).unwrap_err().to_string();
            let error = error.replace(config.to_str().unwrap(), "t.toml");
            assert!(error.contains(expected), "{error}");
        };
        check(
            "listen = \"localhost\"",
            "`listen` in `t.toml` cannot be `localhost`: write an IP address and a port",
        );
        check("grace = \"soon\"", "`grace` is not written in the form that it has to have");
        check("max_head = \"1KiB\"", "from `8KiB` to `16MiB`");
        check(
            "admin_listen = \"127.0.0.1:8787\"",
            "`admin_listen` in `t.toml` cannot be `127.0.0.1:8787`: `listen` is the same",
        );
        check("listn = \"x\"", "did you mean `listen`?");
        check(
            "trusted_proxies = [\"10.0.0.0/33\"]",
            "`trusted_proxies` in `t.toml` cannot be `10.0.0.0/33`: write networks",
        );
        check("usage_retention = \"23h\"", "cannot be `23h`: it has to be at least `1d`");
        check(
            "usage_retention = \"0\"",
            "cannot be `0`: it has to be a whole number and `h` or `d`, at least `1d`",
        );
        check("usage_detail_retention = \"3651d\"", "cannot be `3651d`: it has to be at most `3650d`");
        check("usage_detail_retention = \"7\"", "is not written in the form that it has to have");
        check("session_lifetime = \"299s\"", "cannot be `299s`: it has to be from `5m` to `168h`");
        check("session_lifetime = \"169h\"", "cannot be `169h`: it has to be from `5m` to `168h`");
        check(
            "public_url = \"gateway.example\"",
            "`public_url` in `t.toml` cannot be `gateway.example`: it does not start with `https://` or `http://`",
        );
        check(
            "public_url = \"https://a.example/tollgate\"",
            "cannot be `https://a.example/tollgate`: it has a path; tollgate is reached at `/`",
        );
        check("store_grace = \"999ms\"", "cannot be `999ms`: it has to be at least `1s`");
        check(
            "env_allow = [\"A=B\"]",
            "`env_allow` in `t.toml` cannot be `A=B`: a variable's name has no `=`",
        );
        check(
            "metrics_models = [\"good\", \"a b\"]",
            "`metrics_models` in `t.toml` cannot be `a b`: a model's name has no quotes",
        );
        check(
            "metrics_models = [\"(other)\"]",
            "`metrics_models` in `t.toml` cannot be `(other)`: a model's name",
        );
        check("env_allow = [\"\"]", "`env_allow` in `t.toml` cannot be ``: it is empty");
        check("log = \"loud\"", "`log` is none of `error`, `warn`, `info`, `debug`, `trace`");
        check("[serve]\nlisten = \"x\"", "settings stand at the top of the file: remove the line `[serve]`");
        check("[server]\nother = 1", "known here: ");
        check("data = \"x\\r\"", "`data` in `t.toml` ends with a carriage return");
    }

    #[test]
    fn a_bad_flag_is_named() {
        let check = |id: &str, text: &str, expected: &str| {
            let given = Arguments::default().with(id, text);
            assert_eq!(resolve(&Places::default(), &given).unwrap_err().to_string(), expected);
        };
        check("max_connections", "0", "`--max-connections` cannot be `0`: it has to be at least 1");
        check("workers", "two", "`--workers` cannot be `two`: use a whole number");
        check("strict", "yes", "`--strict` cannot be `yes`: use `true` or `false`");
        check("log_format", "xml", "`--log-format` cannot be `xml`: use one of `human`, `json`");
        check("access_log_sample", "1.5", "`--access-log-sample` cannot be `1.5`: it has to be from 0 to 1");
        check("access_log_sample", "some", "`--access-log-sample` cannot be `some`: use a number");
        check("access_log_sample", "NaN", "`--access-log-sample` cannot be `NaN`: use a number");
        check(
            "access_log_rate",
            "0",
            "`--access-log-rate` cannot be `0`: it has to be at least 1; `--access-log=false` turns the access log off",
        );
        check("grace", "", "`--grace` is empty: give it a value, or leave it out");
        check("grace", "\"5s\"", "`--grace` is in quotes, which `docker --env-file` keeps: remove them");
        check(
            "trusted_proxies",
            "\u{a0}10.0.0.1",
            "`--trusted-proxies` has the invisible character U+00A0 at position 1: type it again, without",
        );
    }

    /// A command is stopped by errors of the file that concern what it needs, and by no others.
    #[test]
    fn a_key_of_the_file_is_read_beside_errors_of_others() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let dir = tempfile::tempdir().unwrap();
            let config = dir.path().join("t.toml");
            fs::write(&config, text).unwrap();
            match (places(&config).data(), expected) {
                (Ok(data), Ok(expected)) => assert_eq!(data, Path::new(expected), "{text}"),
                (Err(error), Err(expected)) => {
                    assert!(error.to_string().contains(expected), "{text}: {error}");
                }
                (data, _) => panic!("{text}: {data:?}"),
            }
        };
        check("data = \"there\"\ngrace = \"soon\"", Ok("there"));
        check("data = \"there\"\nlistn = 1\nsecrets = 5", Ok("there"));
        check("grace = \"soon\"", Ok("data"));
        check("\u{feff}data = \"there\"\r\n", Ok("there"));
        check("data = 5", Err("`data` is an integer, but has to be a string"));
        check("dat = \"there\"", Err("did you mean `data`?"));
        check("data = \"there", Err("the settings file has errors"));
        check("data = \"\"", Err("is empty"));
    }
}
