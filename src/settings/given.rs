//! Settings as they are given: the keys of `tollgate.toml` with their flags and variables, and the schema of the file. The doc
//! comments of fields are the help of flags, and the descriptions in the schema. Values are texts; `interpret` knows their meaning.

use std::{collections::BTreeMap, path::PathBuf, sync::LazyLock};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::{HalfClosed, LogFormat, TraceHeaders};
use crate::{
    lint::Levels,
    syntax::{self, Checker, Document},
};

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
    /// A separate address for `/admin`, `/console` and `/metrics`. Keep it on loopback or a private network, the more so without
    /// TLS [default: they are served at the address of `--listen`]
    #[arg(long, env = "TOLLGATE_ADMIN_LISTEN", hide_env_values = true, value_name = "ADDRESS:PORT")]
    #[schemars(example = &"127.0.0.1:8789")]
    pub admin_listen: Option<String>,
    /// A PEM file with the certificate of the listeners, followed by its chain: they take TLS alone then. It is read again when
    /// it changes. Needs `--tls-key` [default: no TLS]
    #[arg(long, env = "TOLLGATE_TLS_CERT", hide_env_values = true, value_name = "PEM")]
    #[schemars(example = &"/etc/tollgate/tls.crt")]
    pub tls_cert: Option<PathBuf>,
    /// A PEM file with the private key of that certificate, not encrypted: PKCS#8, PKCS#1 or SEC1
    #[arg(long, env = "TOLLGATE_TLS_KEY", hide_env_values = true, value_name = "PEM")]
    #[schemars(example = &"/etc/tollgate/tls.key")]
    pub tls_key: Option<PathBuf>,
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
    /// Origins of pages, as `https://app.example`, that may read responses of providers; `*` for all (repeatable) [default: all]
    #[arg(
        long,
        env = "TOLLGATE_CORS_ORIGINS",
        hide_env_values = true,
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    #[schemars(example = ["https://app.example"])]
    pub cors_origins: Option<Vec<String>>,
    /// The address at which people reach tollgate in a browser, as `https://gateway.example.com`: needed behind a proxy that
    /// changes `Host` [default: the host that the browser names]
    #[arg(long, env = "TOLLGATE_PUBLIC_URL", hide_env_values = true, value_name = "URL")]
    #[schemars(example = &"https://gateway.example.com")]
    pub public_url: Option<String>,
    /// Lifetime of a browser's session, from 5m to 168h; none outlives the token that it was started with [default: 8h]
    #[arg(long, env = "TOLLGATE_SESSION_LIFETIME", hide_env_values = true, value_name = "DURATION")]
    #[schemars(example = &"8h", regex(pattern = r"^[0-9]+(ms|s|m|h)$"))]
    pub session_lifetime: Option<String>,
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
    /// The proxy that requests to upstreams, token endpoints and exporters go through, as `http://proxy.example:3128`; an empty
    /// one for none [default: `HTTPS_PROXY` and `HTTP_PROXY`]
    #[arg(long, env = "TOLLGATE_OUTGOING_PROXY", hide_env_values = true, value_name = "URL")]
    #[schemars(example = &"http://proxy.example:3128", extend("minLength" = 0))]
    pub outgoing_proxy: Option<String>,
    /// A file with the credentials for the outgoing proxy, `user:password` [default: those of its URL]
    #[arg(long, env = "TOLLGATE_OUTGOING_PROXY_AUTH_FILE", hide_env_values = true, value_name = "FILE")]
    #[schemars(example = &"/etc/tollgate/proxy-auth")]
    pub outgoing_proxy_auth_file: Option<PathBuf>,
    /// Hosts, addresses and networks that are called without the outgoing proxy; `*` for all (repeatable)
    /// [default: `NO_PROXY`]
    #[arg(
        long,
        env = "TOLLGATE_NO_PROXY",
        hide_env_values = true,
        value_name = "HOST",
        value_delimiter = ','
    )]
    #[schemars(example = ["internal.example", "10.0.0.0/8"])]
    pub no_proxy: Option<Vec<String>>,
    /// Origins that users may enter as a whole, as `https://*.corp.example` (`*` for one label), `http://10.0.0.0/8` or
    /// `http://localhost:*` (repeatable) [default: none]
    #[arg(
        long,
        env = "TOLLGATE_USER_ORIGINS",
        hide_env_values = true,
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    #[schemars(example = ["https://*.corp.example", "http://10.0.0.0/8"])]
    pub user_origins: Option<Vec<String>>,
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
    /// Longest time of a probe, the request of "try it" on pages [default: 30s]
    #[arg(long, env = "TOLLGATE_PROBE_TIMEOUT", hide_env_values = true, value_name = "DURATION")]
    #[schemars(example = &"30s", regex(pattern = r"^[0-9]+(ms|s|m|h)$"))]
    pub probe_timeout: Option<String>,
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
    /// Maximum size of the part of a request's body that limits and rules read before it is sent, up to 64MiB [default: 1MiB]
    #[arg(long, env = "TOLLGATE_JUDGED_BODY", hide_env_values = true, value_name = "SIZE")]
    #[schemars(example = &"1MiB", regex(pattern = r"^[0-9]+(B|KiB|MiB|GiB)$"))]
    pub judged_body: Option<String>,
    /// Say in answers what is left of limits, with the header `tollgate-limit` [default: false]
    #[arg(long, env = "TOLLGATE_LIMIT_HEADERS", hide_env_values = true, num_args = 0..=1, default_missing_value = "true")]
    #[schemars(example = true)]
    pub limit_headers: Option<bool>,
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
    /// The built-in providers that serve, also beside those of a providers directory: their names, or `"all"` [default: all without a
    /// directory, none beside one that has a provider]
    #[arg(skip)]
    #[serde(default)]
    #[schemars(schema_with = "catalogue_schema")]
    pub catalogue: Option<serde_json::Value>,
    /// The directory of limits [default: `limits.d` beside the providers directory]
    #[arg(skip)]
    #[schemars(example = &"./limits.d")]
    pub limits: Option<PathBuf>,
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
    /// The built-in providers that serve, also beside those of a providers directory: `all`, or names separated by commas [default:
    /// all without a directory, none beside one that has a provider]
    #[arg(
        long,
        global = true,
        env = "TOLLGATE_CATALOGUE",
        hide_env_values = true,
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub catalogue: Option<Vec<String>>,
    /// The directory of limits [default: limits.d beside the providers directory, if it exists]
    #[arg(long, global = true, env = "TOLLGATE_LIMITS", hide_env_values = true, value_name = "DIR")]
    pub limits: Option<PathBuf>,
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

/// `"all"`, or names.
fn catalogue_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "The built-in providers that serve where there is no providers directory: their names, or `\"all\"` [default: all]",
        "type": ["string", "array", "null"],
        "pattern": "^all$",
        "items": { "type": "string" },
        "minItems": 1,
        "examples": [["acme", "other"], "all"],
    })
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
