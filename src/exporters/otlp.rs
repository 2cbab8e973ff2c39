//! The kind `otlp`: traces, metrics and logs over OTLP/HTTP with protobuf bodies. The signals have a queue each, and are
//! delivered to paths below one endpoint, or to endpoints of their own.
//!
//! It exports exchanges that reached a provider's endpoint. Spans of traces that the client did not sample are left out.
//! No signal has content. Read next: `attributes`, the names; `envelope`, the form of requests.

mod attributes;
mod envelope;
mod logs;
mod messages;
mod metrics;
mod traces;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::LazyLock,
    time::{Duration, Instant},
};

use schemars::JsonSchema;
use serde::Deserialize;

use self::{
    envelope::{Envelope, item},
    messages::{KeyValue, Resource, text},
    metrics::Metrics,
    traces::Traces,
};
use super::{
    BatchSize, Given, Kind, Opened, Outlet, Outlets, Queue, Receiver,
    given::{pairs, refused_variable},
};
use crate::{
    access_record::AccessRecord, clock::now_ms, compile::duration, recorder::Sink, secret::Secret,
    settings::SettingsError,
};

/// The kind.
pub(super) const KIND: Kind = Kind { name: "otlp", open };

/// The variables of the kind: those of OpenTelemetry's SDKs, as far as they make sense here.
const DISABLED: &str = "OTEL_SDK_DISABLED";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const SERVICE: &str = "OTEL_SERVICE_NAME";
const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
const INTERVAL: &str = "OTEL_METRIC_EXPORT_INTERVAL";

/// The attribute with the name of the service.
const SERVICE_NAME: &str = "service.name";
/// The only protocol.
const PROTOBUF: &str = "http/protobuf";
const CONTENT_TYPE: &str = "application/x-protobuf";
/// The default interval of metrics.
const METRICS_INTERVAL: Duration = Duration::from_mins(1);
/// The bounds of a request with spans or log records.
const BATCH: BatchSize = BatchSize { pieces: 2048, bytes: 4 << 20 };
/// Metrics are cumulative: each request has one set of them.
const ONE: BatchSize = BatchSize { pieces: 1, bytes: 4 << 20 };

/// The table of an exporter of this kind.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Table {
    /// The kind
    #[serde(rename = "kind")]
    _kind: Option<String>,
    /// The base URL of the receiver: `/v1/traces`, `/v1/metrics` and `/v1/logs` are added
    #[schemars(example = &"http://127.0.0.1:4318")]
    endpoint: Option<String>,
    /// The URL of a signal, in place of that below `endpoint`
    #[schemars(example = BTreeMap::from([("traces", "https://otel.example/v1/traces")]))]
    endpoints: Option<BTreeMap<Signal, String>>,
    /// The signals [default: all]
    #[schemars(example = ["traces", "metrics"])]
    signals: Option<Vec<Signal>>,
    /// A file with headers, which may be secret: a line `name: value` for each
    #[schemars(example = &"/etc/tollgate/otlp-headers")]
    headers_file: Option<PathBuf>,
    /// The attribute `service.name` [default: tollgate]
    #[schemars(example = &"tollgate")]
    service_name: Option<String>,
    /// Further attributes of the resource
    #[schemars(example = BTreeMap::from([("deployment.environment.name", "production")]))]
    resource: Option<BTreeMap<String, String>>,
    /// Interval of metrics [default: 60s]
    #[schemars(example = &"60s", regex(pattern = r"^[0-9]+(ms|s|m|h)$"))]
    metrics_interval: Option<String>,
}

/// A signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Signal {
    /// A span for each exchange.
    Traces,
    /// Histograms.
    Metrics,
    /// A record for each exchange.
    Logs,
}

static CHECKER: LazyLock<crate::syntax::Checker> = LazyLock::new(crate::syntax::Checker::of::<Table>);

impl Signal {
    const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    const fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    /// The path below the base URL.
    fn path(self) -> String {
        format!("/v1/{}", self.name())
    }

    /// The variable with the whole URL of the signal.
    const fn endpoint(self) -> &'static str {
        match self {
            Self::Traces => "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            Self::Metrics => "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            Self::Logs => "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
        }
    }

    /// The variable that turns the signal off with `none`; `otlp` leaves it on.
    const fn exporter(self) -> &'static str {
        match self {
            Self::Traces => "OTEL_TRACES_EXPORTER",
            Self::Metrics => "OTEL_METRICS_EXPORTER",
            Self::Logs => "OTEL_LOGS_EXPORTER",
        }
    }

    /// The variable with the protocol of the signal.
    const fn protocol(self) -> &'static str {
        match self {
            Self::Traces => "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            Self::Metrics => "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
            Self::Logs => "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL",
        }
    }

    const fn batch(self) -> BatchSize {
        match self {
            Self::Traces | Self::Logs => BATCH,
            Self::Metrics => ONE,
        }
    }
}

fn open(given: &Given<'_>, outlets: &mut Outlets) -> Opened {
    if given.switch(DISABLED)? == Some(true) {
        return Ok(None);
    }
    let table: Table = given.table(&CHECKER)?;
    let urls = urls(given, &table)?;
    if urls.is_empty() {
        // Variables alone name an endpoint, or nothing is exported. A table is there to export.
        return if given.table.is_some() {
            let variable = given.or_variable(ENDPOINT);
            Err(given.refused(format!("needs an `endpoint`{variable}, and a signal")))
        } else {
            Ok(None)
        };
    }
    for (signal, _) in &urls {
        check_protocol(given, *signal)?;
    }
    let headers = headers(given, &table)?;
    let resource = resource(given, &table)?;
    let interval = interval(given, &table)?;
    let mut queues = BTreeMap::new();
    for (signal, url) in urls {
        let receiver =
            receiver(&url, &headers).map_err(|problem| given.bad_url(signal.name(), &url, &problem))?;
        let protocol = Box::new(Envelope::new(&resource));
        let outlet = Outlet { signal: signal.name(), receiver, protocol, size: signal.batch() };
        queues.insert(signal, outlets.add(given, outlet));
    }
    Ok(Some(Box::new(Otlp {
        traces: queues.remove(&Signal::Traces),
        metrics: queues
            .remove(&Signal::Metrics)
            .map(|queue| Due::new(queue, interval, outlets.labels.models.clone())),
        logs: queues.remove(&Signal::Logs),
        ids: Traces::new(),
    })))
}

/// The URLs of the signals that are exported.
fn urls(given: &Given<'_>, table: &Table) -> Result<Vec<(Signal, String)>, SettingsError> {
    let base = base(given, table)?;
    let mut urls = Vec::new();
    for signal in Signal::ALL {
        let is_listed = table.signals.as_ref().is_none_or(|listed| listed.contains(&signal));
        let below = || base.as_ref().map(|base| format!("{base}{}", signal.path()));
        let own = || table.endpoints.as_ref()?.get(&signal).cloned();
        let url = given.text(signal.endpoint())?.or_else(own).or_else(below);
        // Without a URL, the variable is one that other programs read.
        if let Some(url) = url.filter(|_| is_listed)
            && given.either(signal.exporter(), "otlp", "none")? != Some(false)
        {
            urls.push((signal, url));
        }
    }
    Ok(urls)
}

/// The base URL, without a slash at its end.
fn base(given: &Given<'_>, table: &Table) -> Result<Option<String>, SettingsError> {
    let variable = given.text(ENDPOINT)?;
    let is_variable = variable.is_some();
    let Some(base) = variable.or_else(|| table.endpoint.clone()) else { return Ok(None) };
    let base = base.trim_end_matches('/');
    match Signal::ALL.into_iter().find(|signal| base.ends_with(&signal.path())) {
        None => Ok(Some(base.to_owned())),
        Some(signal) if is_variable => {
            let (path, own) = (signal.path(), signal.endpoint());
            let problem = format!("ends with `{path}`: write the URL without that, or use `{own}`");
            Err(refused_variable(ENDPOINT, problem))
        }
        Some(signal) => Err(given.refused(format!(
            "has an `endpoint` that ends with `{}`: write the URL without that, or use `endpoints.{}`",
            signal.path(),
            signal.name()
        ))),
    }
}

/// Refuses another protocol of a signal: its own variable precedes that of all signals.
fn check_protocol(given: &Given<'_>, signal: Signal) -> Result<(), SettingsError> {
    for variable in [signal.protocol(), PROTOCOL] {
        let Some(protocol) = given.text(variable)? else { continue };
        if protocol == PROTOBUF {
            break;
        }
        let problem =
            format!("`{variable}` is `{}`, and only `{PROTOBUF}` is spoken", protocol.escape_debug());
        return Err(given.refused(format!("cannot export: {problem}")));
    }
    Ok(())
}

fn receiver(url: &str, headers: &[(String, Secret)]) -> Result<Receiver, String> {
    let mut receiver = Receiver::new(url, CONTENT_TYPE).map_err(str::to_owned)?;
    for (index, (name, value)) in headers.iter().enumerate() {
        let add = receiver.header(name, value.expose());
        add.map_err(|problem| format!("header {} of {}: {problem}", index + 1, headers.len()))?;
    }
    Ok(receiver)
}

/// The headers of the file, then those of the variable.
fn headers(given: &Given<'_>, table: &Table) -> Result<Vec<(String, Secret)>, SettingsError> {
    let mut headers = Vec::new();
    if let Some(path) = &table.headers_file {
        for line in given.secret_lines("headers_file", path)? {
            let Some((name, value)) = line.expose().split_once(':') else {
                let problem = "has `headers_file`, a file with a line that is no `name: value`";
                return Err(given.refused(format!("{problem}: `{}`", path.display())));
            };
            headers.push((name.trim().to_owned(), Secret::new(value.trim())));
        }
    }
    if let Some(text) = given.text(HEADERS)? {
        let Some(found) = pairs(&text) else { return Err(given.refused(not_pairs(HEADERS))) };
        headers.extend(found.into_iter().map(|(name, value)| (name, Secret::new(value))));
    }
    Ok(headers)
}

fn resource(given: &Given<'_>, table: &Table) -> Result<Resource, SettingsError> {
    // What comes later precedes what came before: keys of the table, then variables.
    let mut attributes = table.resource.clone().unwrap_or_default();
    attributes.entry("service.version".to_owned()).or_insert_with(|| env!("CARGO_PKG_VERSION").to_owned());
    attributes.extend(table.service_name.clone().map(|name| (SERVICE_NAME.to_owned(), name)));
    if let Some(text) = given.text(ATTRIBUTES)? {
        let Some(found) = pairs(&text) else { return Err(given.refused(not_pairs(ATTRIBUTES))) };
        attributes.extend(found);
    }
    attributes.extend(given.text(SERVICE)?.map(|name| (SERVICE_NAME.to_owned(), name)));
    attributes.entry(SERVICE_NAME.to_owned()).or_insert_with(|| "tollgate".to_owned());
    let attributes: Vec<KeyValue> = attributes.into_iter().map(|(key, value)| text(&key, value)).collect();
    Ok(Resource { attributes })
}

fn not_pairs(variable: &str) -> String {
    format!(
        "cannot export: `{variable}` has to be `name=value` pairs with commas, and percent-encoded values"
    )
}

fn interval(given: &Given<'_>, table: &Table) -> Result<Duration, SettingsError> {
    let refused = |text: &str, problem: &str| {
        Err(given.refused(format!(
            "has an interval of metrics that cannot be `{}`: {problem}",
            text.escape_debug()
        )))
    };
    if let Some(text) = given.text(INTERVAL)? {
        return match text.parse() {
            Ok(millis @ 1..) => Ok(Duration::from_millis(millis)),
            _ => refused(&text, "write milliseconds, at least 1"),
        };
    }
    let Some(text) = &table.metrics_interval else { return Ok(METRICS_INTERVAL) };
    duration(text).or_else(|problem| refused(text, &problem))
}

/// An exporter of this kind.
struct Otlp {
    traces: Option<Queue>,
    metrics: Option<Due>,
    logs: Option<Queue>,
    ids: Traces,
}

/// Metrics, and the time of their next export.
struct Due {
    queue: Queue,
    metrics: Metrics,
    interval: Duration,
    exported: Instant,
}

impl Due {
    fn new(queue: Queue, interval: Duration, models: Option<BTreeSet<String>>) -> Self {
        Self { queue, metrics: Metrics::new(now_ms(), models), interval, exported: Instant::now() }
    }

    fn export(&mut self) {
        self.exported = Instant::now();
        let encoded: Vec<u8> = self.metrics.collect(now_ms()).iter().flat_map(item).collect();
        if !encoded.is_empty() {
            self.queue.push(encoded);
        }
    }
}

impl Sink for Otlp {
    fn record(&mut self, records: &[AccessRecord]) {
        for record in records.iter().filter(|record| record.telemetry.is_some()) {
            let trace = self.ids.trace(record);
            if let Some(queue) = self.traces.as_ref().filter(|_| trace.context.sampled) {
                let spans: Vec<u8> = self.ids.spans(record, &trace).iter().flat_map(item).collect();
                queue.push(spans);
            }
            if let Some(queue) = &self.logs {
                queue.push(item(&logs::record(record, &trace)));
            }
            if let Some(due) = &mut self.metrics {
                due.metrics.add(record);
            }
        }
    }

    fn tick(&mut self) {
        if let Some(due) = self.metrics.as_mut().filter(|due| due.exported.elapsed() >= due.interval) {
            due.export();
        }
    }

    fn close(&mut self) {
        if let Some(due) = &mut self.metrics {
            due.export();
        }
    }
}

#[cfg(test)]
mod tests;
