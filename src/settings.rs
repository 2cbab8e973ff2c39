//! Settings of the process. Precedence: flags, `TOLLGATE_*` variables, `tollgate.toml`, defaults. None is required.
//! `arguments` collects the first two, `places` resolves what all commands need, `resolve` the settings of `serve`,
//! and `interpret` knows the meaning of their texts.
//!
//! Every text is understood as its author meant it, or refused with its origin. Reads no file but the settings file.

mod arguments;
pub mod environment;
mod interpret;
mod places;
mod settings_file;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::LazyLock,
    time::Duration,
};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    admission::Overrides,
    compile::{age, span},
    cors::TrustedOrigins,
    escape::Lines,
    lint::Levels,
    syntax::{self, Checker, Document},
    variables::EnvAllow,
};
pub use arguments::{Arguments, Origin};
use interpret::{Reader, exporters, head_size, store_grace, usable_path, usage_retention};
pub use places::{Places, SecretsDir};

/// The default settings file.
pub const DEFAULT_FILE: &str = "tollgate.toml";

/// The default providers directory.
pub const DEFAULT_PROVIDERS: &str = "providers.d";

/// The default of `idle_timeout`, in seconds. Longer than those of common load balancers (60 s to 600 s): the side that sends
/// requests has to be the one that closes an idle connection, or else a request may cross the close.
const IDLE_TIMEOUT_S: u64 = 620;

/// The settings of `serve`, from flags and `TOLLGATE_*` variables or from `tollgate.toml`. Flags precede variables, and
/// variables precede the file. `lints` is a key of the file only.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tollgate settings")]
pub struct Given {
    /// The address to listen on; port 0 takes a free one [default: 127.0.0.1:8787]
    #[arg(long, env = "TOLLGATE_LISTEN", hide_env_values = true, value_name = "ADDRESS:PORT")]
    #[schemars(example = &"127.0.0.1:8787")]
    pub listen: Option<String>,
    /// A separate address for `/admin`, `/console` and `/metrics`. Plain HTTP: keep it on loopback or a private network
    /// [default: they are served at the address of `--listen`]
    #[arg(long, env = "TOLLGATE_ADMIN_LISTEN", hide_env_values = true, value_name = "ADDRESS:PORT")]
    #[schemars(example = &"127.0.0.1:8789")]
    pub admin_listen: Option<String>,
    /// Trusted proxies, as a CIDR network (`10.0.0.0/8`) or an address: their `X-Forwarded-For` gives the client's
    /// address (repeatable) [default: none]
    #[arg(
        long,
        env = "TOLLGATE_TRUSTED_PROXIES",
        hide_env_values = true,
        value_name = "NETWORK",
        value_delimiter = ','
    )]
    #[schemars(example = ["10.0.0.0/8", "fd00::/8"])]
    pub trusted_proxies: Option<Vec<String>>,
    /// Origins of pages, as `https://app.example`, that may send any header and method, and call from a public network into a
    /// private one; `*` for all (repeatable) [default: none: pages may send what the provider files name]
    #[arg(
        long,
        env = "TOLLGATE_CORS_TRUSTED_ORIGINS",
        hide_env_values = true,
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    #[schemars(example = ["https://app.example"])]
    pub cors_trusted_origins: Option<Vec<String>>,
    /// Number of worker threads [default: one per core, at most 4]
    #[arg(long, env = "TOLLGATE_WORKERS", hide_env_values = true, value_name = "N")]
    #[schemars(example = 2, range(min = 1, max = 256))]
    pub workers: Option<usize>,
    /// Refuse the start and every reload if any provider file has an error; warnings do not count
    #[arg(long, env = "TOLLGATE_STRICT", hide_env_values = true, num_args = 0..=1, default_missing_value = "true")]
    #[schemars(example = true)]
    pub strict: Option<bool>,
    /// Redirect connections: `host:port=address:port`, with `*` for all hosts (repeatable)
    #[arg(
        long,
        env = "TOLLGATE_CONNECT_TO",
        hide_env_values = true,
        value_name = "RULE",
        value_delimiter = ','
    )]
    #[schemars(example = ["api.example.com:443=127.0.0.1:8443"])]
    pub connect_to: Option<Vec<String>>,
    /// A PEM file with additional certificate authorities to trust
    #[arg(long, env = "TOLLGATE_CA_FILE", hide_env_values = true, value_name = "PEM")]
    #[schemars(example = &"./ca.pem")]
    pub ca_file: Option<PathBuf>,
    /// Allow upstream names that resolve to private and loopback addresses (turns off that part of the SSRF guard)
    #[arg(long, env = "TOLLGATE_ALLOW_PRIVATE", hide_env_values = true, num_args = 0..=1, default_missing_value = "true")]
    #[schemars(example = false)]
    pub allow_private: Option<bool>,
    /// Maximum time that the last good version of a broken file serves [default: no limit]
    #[arg(long, env = "TOLLGATE_MAX_STALE", hide_env_values = true, value_name = "DURATION")]
    #[schemars(example = &"24h", regex(pattern = r"^[0-9]+(ms|s|m|h)$"))]
    pub max_stale: Option<String>,
    /// Interval of a full scan of the files, for changes without a file system event [default: 15s]
    #[arg(long, env = "TOLLGATE_SWEEP", hide_env_values = true, value_name = "DURATION")]
    #[schemars(example = &"15s", regex(pattern = r"^[0-9]+(ms|s|m|h)$"))]
    pub sweep: Option<String>,
    /// Time after SIGTERM during which connections are still accepted while `/readyz` fails [default: 0s]
    #[arg(long, env = "TOLLGATE_DRAIN_DELAY", hide_env_values = true, value_name = "DURATION")]
    #[schemars(example = &"5s", regex(pattern = r"^[0-9]+(ms|s|m|h)$"))]
    pub drain_delay: Option<String>,
    /// Grace period of a graceful shutdown: time for running streams after SIGTERM and the drain delay [default: 30s]
    #[arg(long, env = "TOLLGATE_GRACE", hide_env_values = true, value_name = "DURATION")]
    #[schemars(example = &"30s", regex(pattern = r"^[0-9]+(ms|s|m|h)$"))]
    pub grace: Option<String>,
    /// Time that cached callers are served while the store is down, at least 1s [default: 1h]
    #[arg(long, env = "TOLLGATE_STORE_GRACE", hide_env_values = true, value_name = "DURATION")]
    #[schemars(example = &"1h", regex(pattern = r"^[0-9]+(ms|s|m|h)$"))]
    pub store_grace: Option<String>,
    /// Timeout for a request's head, from its first byte [default: 60s]
    #[arg(long, env = "TOLLGATE_HEAD_TIMEOUT", hide_env_values = true, value_name = "DURATION")]
    #[schemars(example = &"60s", regex(pattern = r"^[0-9]+(ms|s|m|h)$"))]
    pub head_timeout: Option<String>,
    /// Time that a client's connection may idle, announced as `Keep-Alive`: longer than that of a load balancer in front
    /// [default: 620s]
    #[arg(long, env = "TOLLGATE_IDLE_TIMEOUT", hide_env_values = true, value_name = "DURATION")]
    #[schemars(example = &"620s", regex(pattern = r"^[0-9]+(ms|s|m|h)$"))]
    pub idle_timeout: Option<String>,
    /// A client that closes its side of the connection before its answer: `cancel` the request, or `answer` it
    /// [default: cancel]
    #[arg(long, env = "TOLLGATE_HALF_CLOSED", hide_env_values = true, value_name = "ACTION")]
    #[schemars(example = &"cancel")]
    pub half_closed: Option<HalfClosed>,
    /// The trace context that clients send, `traceparent` and its companions: `pass` it on, `remove` it, or replace it by
    /// tollgate's `own`, which makes the upstream's spans children of tollgate's [default: pass]
    #[arg(long, env = "TOLLGATE_TRACE_CONTEXT", hide_env_values = true, value_name = "ACTION")]
    #[schemars(example = &"pass")]
    pub trace_context: Option<TraceHeaders>,
    /// Maximum size of a request's head, at least 8KiB [default: 64KiB]
    #[arg(long, env = "TOLLGATE_MAX_HEAD", hide_env_values = true, value_name = "SIZE")]
    #[schemars(example = &"64KiB", regex(pattern = r"^[0-9]+(B|KiB|MiB|GiB)$"))]
    pub max_head: Option<String>,
    /// Maximum concurrent requests of one token; 0 for no limit [default: 256, at most half of `max_requests`]
    #[arg(long, env = "TOLLGATE_MAX_REQUESTS_PER_TOKEN", hide_env_values = true, value_name = "N")]
    #[schemars(example = 256)]
    pub max_requests_per_token: Option<usize>,
    /// Maximum concurrent requests of one user; 0 for no limit [default: 512, at most half of `max_requests`]
    #[arg(long, env = "TOLLGATE_MAX_REQUESTS_PER_USER", hide_env_values = true, value_name = "N")]
    #[schemars(example = 512)]
    pub max_requests_per_user: Option<usize>,
    /// Maximum concurrent requests to providers [default: from the limit of open files, and from memory]
    #[arg(long, env = "TOLLGATE_MAX_REQUESTS", hide_env_values = true, value_name = "N")]
    #[schemars(example = 5000, range(min = 1))]
    pub max_requests: Option<usize>,
    /// Maximum connections of one client address (IPv6: /64), trusted proxies excepted; 0 for no limit [default: a quarter
    /// of `max_connections`, at least 64]
    #[arg(long, env = "TOLLGATE_MAX_CONNECTIONS_PER_ADDRESS", hide_env_values = true, value_name = "N")]
    #[schemars(example = 1000)]
    pub max_connections_per_address: Option<usize>,
    /// Maximum client connections [default: from the limit of open files, and from memory]
    #[arg(long, env = "TOLLGATE_MAX_CONNECTIONS", hide_env_values = true, value_name = "N")]
    #[schemars(example = 8000, range(min = 1))]
    pub max_connections: Option<usize>,
    /// Log level: `error`, `warn`, `info`, `debug`, `trace` [default: info]
    #[arg(long, env = "TOLLGATE_LOG", hide_env_values = true, value_name = "LEVEL")]
    #[schemars(example = &"info", extend("enum" = ["error", "warn", "info", "debug", "trace"]))]
    pub log: Option<String>,
    /// Log format: `human`, `json` [default: human on a terminal, else json]
    #[arg(long, env = "TOLLGATE_LOG_FORMAT", hide_env_values = true, value_name = "FORMAT")]
    #[schemars(example = &"json")]
    pub log_format: Option<LogFormat>,
    /// Access log: one line per request [default: true]
    #[arg(long, env = "TOLLGATE_ACCESS_LOG", hide_env_values = true, num_args = 0..=1, default_missing_value = "true")]
    #[schemars(example = true)]
    pub access_log: Option<bool>,
    /// Share of successful requests in the access log, from 0 to 1; every other request is logged [default: 1]
    #[arg(long, env = "TOLLGATE_ACCESS_LOG_SAMPLE", hide_env_values = true, value_name = "SHARE")]
    #[schemars(example = 0.1, range(min = 0, max = 1))]
    pub access_log_sample: Option<f64>,
    /// Maximum lines of the access log in a second; others are counted [default: no limit]
    #[arg(long, env = "TOLLGATE_ACCESS_LOG_RATE", hide_env_values = true, value_name = "N")]
    #[schemars(example = 1000, range(min = 1))]
    pub access_log_rate: Option<u64>,
    /// Age at which hourly usage is deleted, at least 1d [default: 400d]
    #[arg(long, env = "TOLLGATE_USAGE_RETENTION", hide_env_values = true, value_name = "AGE")]
    #[schemars(example = &"400d", regex(pattern = r"^(0|[0-9]+[hd])$"))]
    pub usage_retention: Option<String>,
    /// Age at which single exchanges of the usage ledger are deleted; 0 to keep none [default: 7d]
    #[arg(long, env = "TOLLGATE_USAGE_DETAIL_RETENTION", hide_env_values = true, value_name = "AGE")]
    #[schemars(example = &"7d", regex(pattern = r"^(0|[0-9]+[hd])$"))]
    pub usage_detail_retention: Option<String>,
    /// Models that have metrics of their own, by their exact names (repeatable) [default: the 100 that are used most]
    #[arg(
        long,
        env = "TOLLGATE_METRICS_MODELS",
        hide_env_values = true,
        value_name = "MODEL",
        value_delimiter = ','
    )]
    #[schemars(example = ["model-large", "model-small"])]
    pub metrics_models: Option<Vec<String>>,
    /// Metrics by user, for at most 1,000 users [default: false]
    #[arg(long, env = "TOLLGATE_METRICS_USERS", hide_env_values = true, num_args = 0..=1, default_missing_value = "true")]
    #[schemars(example = true)]
    pub metrics_users: Option<bool>,
    /// A file that holds the master key
    #[arg(skip)]
    #[schemars(example = &"/etc/tollgate/master-key")]
    pub master_key_file: Option<PathBuf>,
    /// The providers directory
    #[arg(skip)]
    #[schemars(example = &"./providers.d")]
    pub providers: Option<PathBuf>,
    /// The data directory
    #[arg(skip)]
    #[schemars(example = &"./data")]
    pub data: Option<PathBuf>,
    /// The directory of vars with `file = "..."`
    #[arg(skip)]
    #[schemars(example = &"./secrets")]
    pub secrets: Option<PathBuf>,
    /// The environment variables that provider files may read, as globs [default: all but `TOLLGATE_*`]
    #[arg(skip)]
    #[schemars(example = ["ACME_*", "EGRESS_PROXY_URL"])]
    pub env_allow: Option<Vec<String>>,
    /// Exporters of finished exchanges, by name: a kind, and the keys of that kind
    #[arg(skip)]
    #[schemars(example = serde_json::json!({"mine": {"kind": "KIND", "endpoint": "http://127.0.0.1:4318"}}))]
    pub exporter: Option<BTreeMap<String, serde_json::Map<String, serde_json::Value>>>,
    /// Levels of lints of provider files, by lint
    #[arg(skip)]
    #[schemars(example = BTreeMap::from([("untested_endpoint", "allow")]))]
    pub lints: Option<Levels>,
}

/// The flags and variables that every command takes.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PlaceFlags {
    /// The providers directory [default: ./providers.d if it exists, else the built-in files]
    #[arg(long, global = true, env = "TOLLGATE_PROVIDERS", hide_env_values = true, value_name = "DIR")]
    pub providers: Option<PathBuf>,
    /// The data directory [default: ./data]
    #[arg(long, global = true, env = "TOLLGATE_DATA", hide_env_values = true, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The directory of vars with `file = "..."` [default: ./secrets]
    #[arg(long, global = true, env = "TOLLGATE_SECRETS", hide_env_values = true, value_name = "DIR")]
    pub secrets: Option<PathBuf>,
    /// A file with the master key, 64 hex digits, readable by its owner alone [default: a key in the data directory]
    #[arg(
        long,
        global = true,
        env = "TOLLGATE_MASTER_KEY_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub master_key_file: Option<PathBuf>,
    /// The environment variables that provider files may read, as globs (repeatable) [default: all but `TOLLGATE_*`]
    #[arg(
        long,
        global = true,
        env = "TOLLGATE_ENV_ALLOW",
        hide_env_values = true,
        value_name = "GLOB",
        value_delimiter = ','
    )]
    pub env_allow: Option<Vec<String>>,
    /// The settings file [default: ./tollgate.toml if it exists]
    #[arg(long, global = true, env = "TOLLGATE_CONFIG", hide_env_values = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The source of provider files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A directory.
    Directory(PathBuf),
    /// The copy in the binary.
    Embedded,
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
    /// Networks of proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// Origins whose pages may send any header.
    pub cors_trusted_origins: TrustedOrigins,
    /// Number of worker threads.
    pub workers: usize,
    /// True if an error in any file refuses the start and every reload.
    pub strict: bool,
    /// Connect rules, as written.
    pub connect_to: Vec<String>,
    /// A PEM file with additional certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// True if names may resolve to private addresses.
    pub allow_private: bool,
    /// The source of provider files.
    pub providers: Source,
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
    /// The treatment of a half-closed client.
    pub half_closed: HalfClosed,
    /// The treatment of the trace context that clients send.
    pub trace_context: TraceHeaders,
    /// Maximum size of a request head, in bytes.
    pub max_head: usize,
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

static CHECKER: LazyLock<Checker> = LazyLock::new(Checker::of::<Given>);

impl Document for Given {
    fn checker() -> &'static Checker {
        &CHECKER
    }
}

/// The schema of `tollgate.toml`.
pub fn schema() -> &'static serde_json::Value {
    CHECKER.schema()
}

/// The schema's text, as in `schema/`.
pub fn schema_text(draft: syntax::Draft) -> String {
    CHECKER.text(draft)
}

/// The settings of `serve`, from flags and environment (`given`), the settings file, and defaults.
pub fn resolve(places: &Places, given: &Arguments<Given>) -> Result<Settings, SettingsError> {
    let source = places.file()?;
    let file = source.all()?.clone();
    let arguments = given;
    let given: Given = serde_json::from_value(arguments.document(schema())?)
        .expect("each value is of the type that the schema of `Given` names");
    macro_rules! pick {
        ($name:ident) => {
            given.$name.or(file.$name)
        };
    }
    let read = Reader { arguments, file: source };
    let bad = |name, value: &str, problem| read.refused(name, value, problem);
    let max_head = pick!(max_head).unwrap_or_else(|| "64KiB".into());
    let log = pick!(log).unwrap_or_else(|| "info".into());
    let workers = read.workers(pick!(workers))?;
    let admission = Overrides {
        requests_per_token: pick!(max_requests_per_token),
        requests_per_user: pick!(max_requests_per_user),
        requests: read.limit("max_requests", pick!(max_requests))?,
        connections_per_address: pick!(max_connections_per_address),
        connections: read.limit("max_connections", pick!(max_connections))?,
    };
    let access_log = read.access_log(pick!(access_log_sample), pick!(access_log_rate))?;
    let listen = read.address("listen", &pick!(listen).unwrap_or_else(|| "127.0.0.1:8787".into()))?;
    let admin_listen = pick!(admin_listen).map(|text| read.address("admin_listen", &text)).transpose()?;
    if let Some(admin) = admin_listen.filter(|admin| *admin == listen && admin.port() != 0) {
        let problem = "`listen` is the same: give one of them another port".into();
        return Err(bad("admin_listen", &admin.to_string(), problem));
    }
    Ok(Settings {
        listen,
        admin_listen,
        trusted_proxies: read.trusted_proxies(&pick!(trusted_proxies).unwrap_or_default())?,
        cors_trusted_origins: TrustedOrigins::parse(&pick!(cors_trusted_origins).unwrap_or_default())
            .map_err(|(text, problem)| bad("cors_trusted_origins", &text, problem))?,
        workers,
        strict: pick!(strict).unwrap_or(false),
        connect_to: pick!(connect_to).unwrap_or_default(),
        ca_file: pick!(ca_file).map(|path| usable_path(path, &read.origin("ca_file"))).transpose()?,
        allow_private: pick!(allow_private).unwrap_or(false),
        providers: places.providers()?,
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
        half_closed: pick!(half_closed).unwrap_or_default(),
        trace_context: pick!(trace_context).unwrap_or_default(),
        max_head: head_size(&max_head).map_err(|problem| bad("max_head", &max_head, problem))?,
        admission,
        log: log
            .parse()
            .map_err(|_| bad("log", &log, "use `error`, `warn`, `info`, `debug` or `trace`".into()))?,
        log_format: pick!(log_format),
        access_log: pick!(access_log).unwrap_or(true).then_some(access_log),
        exporters: exporters(file.exporter.unwrap_or_default(), source)?,
        usage_retention: read
            .lasting(usage_retention, "usage_retention", pick!(usage_retention))?
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
        check("usage_retention = \"0\"", "cannot be `0`: it has to be at least `1d`");
        check("usage_detail_retention = \"3651d\"", "cannot be `3651d`: it has to be at most `3650d`");
        check("usage_detail_retention = \"7\"", "is not written in the form that it has to have");
        check("store_grace = \"999ms\"", "cannot be `999ms`: it has to be at least `1s`");
        check(
            "env_allow = [\"A=B\"]",
            "`env_allow` in `t.toml` cannot be `A=B`: a variable's name has no `=`",
        );
        check(
            "metrics_models = [\"good\", \"a b\"]",
            "`metrics_models` in `t.toml` cannot be `a b`: a model's name has no quotes",
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
            "`--access-log-rate` cannot be `0`: it has to be at least 1; `access_log = false` turns the access log off",
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
