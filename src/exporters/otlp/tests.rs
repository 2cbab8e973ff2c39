use std::{collections::BTreeSet, sync::Arc, time::Duration};

use http::{Method, StatusCode};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{KeyValue as Attribute, any_value::Value as Any},
    metrics::v1::{HistogramDataPoint as Point, metric::Data},
    trace::v1::Span as SentSpan,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::{
    access_record::{End, Usage, Wait, Waits},
    bind::TelemetryNames,
    exporters::{
        Protocol as _, open_with,
        queue::{Piece, queue},
    },
    fault::FaultKind,
    name::FileName,
    origin::Origin as Upstream,
    recorder::Drops,
    settings::{ExporterTable, MetricLabels, Origin},
    trace_context::TraceContext,
    usage::Counter,
};

fn record() -> AccessRecord {
    let mut record =
        AccessRecord::begun([127, 0, 0, 1].into(), Method::POST, "/v1/x".to_owned(), 1_700_000_000_123);
    record.request_id = "00f067aa0ba902b7".to_owned();
    record.provider = FileName::new("demo");
    record.endpoint = Some("talk".into());
    record.telemetry = Some(names("chat"));
    record.status = Some(StatusCode::OK);
    record.end = End::Complete;
    record.first_byte = Some(Duration::from_millis(200));
    record.duration = Duration::from_millis(1500);
    record.upstream = Upstream::split("https://demo.example:8443").ok().map(|(origin, _)| origin);
    let mut usage = Usage {
        model: Some("m-1".into()),
        request_model: Some("m".into()),
        finish_reason: Some("stop".into()),
        streamed: true,
        ..Usage::default()
    };
    usage.counters.set(Counter::Input, 3);
    usage.counters.set(Counter::CacheRead, 11);
    usage.counters.set(Counter::Output, 5);
    usage.counters.set(Counter::Reasoning, 2);
    record.usage = Some(Box::new(usage));
    record
}

fn names(operation: &str) -> Arc<TelemetryNames> {
    let (provider, operation) = ("acme.ai".into(), operation.into());
    Arc::new(TelemetryNames { provider, operation, is_metered: true })
}

/// An exporter, and the queues of its signals.
struct Exported {
    otlp: Otlp,
    traces: mpsc::Receiver<Piece>,
    metrics: mpsc::Receiver<Piece>,
    logs: mpsc::Receiver<Piece>,
}

impl Exported {
    fn new() -> Self {
        Self::with(None)
    }

    /// With a list of models.
    fn with(models: Option<BTreeSet<String>>) -> Self {
        let queue = |signal| queue("otlp", signal, &Drops::default());
        let ((traces, sent_traces, _), (metrics, sent_metrics, _), (logs, sent_logs, _)) =
            (queue("traces"), queue("metrics"), queue("logs"));
        let otlp = Otlp {
            traces: Some(traces),
            metrics: Some(Due::new(metrics, Duration::from_hours(1), models)),
            logs: Some(logs),
            ids: Traces::new(),
        };
        Self { otlp, traces: sent_traces, metrics: sent_metrics, logs: sent_logs }
    }

    fn of(records: &[AccessRecord]) -> Self {
        let mut exported = Self::new();
        exported.otlp.record(records);
        exported.otlp.close();
        exported
    }

    fn spans(&mut self) -> Vec<SentSpan> {
        let request: ExportTraceServiceRequest = request(&mut self.traces);
        request.resource_spans.into_iter().flat_map(|one| one.scope_spans).flat_map(|one| one.spans).collect()
    }

    /// The data points of a metric, each with its labels.
    fn points(&mut self, name: &str) -> Vec<(Value, Point)> {
        let request: ExportMetricsServiceRequest = request(&mut self.metrics);
        let all = request.resource_metrics.into_iter().flat_map(|one| one.scope_metrics);
        let metric = all.flat_map(|one| one.metrics).find(|metric| metric.name == name);
        let Some(Data::Histogram(histogram)) = metric.and_then(|metric| metric.data) else {
            return Vec::new();
        };
        assert_eq!(histogram.aggregation_temporality, CUMULATIVE);
        histogram.data_points.into_iter().map(|point| (labels(&point.attributes), point)).collect()
    }
}

const CUMULATIVE: i32 = 2;

/// All pieces in a queue, as one request of the protocol.
fn request<T: prost::Message + Default>(queued: &mut mpsc::Receiver<Piece>) -> T {
    let pieces: Vec<_> = std::iter::from_fn(|| queued.try_recv().ok()).map(Piece::encode).collect();
    T::decode(Envelope::new(&Resource::default()).body(&pieces)).unwrap()
}

fn labels(attributes: &[Attribute]) -> Value {
    let value = |any: &Any| match any {
        Any::StringValue(text) => json!(text),
        Any::BoolValue(on) => json!(on),
        Any::IntValue(number) => json!(number),
        Any::DoubleValue(number) => json!(number),
        Any::ArrayValue(items) => json!(items.values.len()),
        other => panic!("{other:?}"),
    };
    let value = |one: &Attribute| value(one.value.as_ref().unwrap().value.as_ref().unwrap());
    attributes.iter().map(|one| (one.key.clone(), value(one))).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn a_span_has_the_names_of_the_conventions() {
    let mut exported = Exported::of(&[record()]);
    let [span] = <[SentSpan; 1]>::try_from(exported.spans()).unwrap();
    assert_eq!((span.name.as_str(), span.kind, span.flags), ("chat m", 3, 0x101));
    assert_eq!((span.trace_id.len(), hex(&span.span_id).as_str()), (16, "00f067aa0ba902b7"));
    assert_eq!((span.parent_span_id.len(), span.status), (0, None));
    assert_eq!(span.start_time_unix_nano, 1_700_000_000_123_000_000);
    assert_eq!(span.end_time_unix_nano, 1_700_000_001_623_000_000);
    assert_eq!(
        labels(&span.attributes),
        json!({
            "gen_ai.operation.name": "chat", "gen_ai.provider.name": "acme.ai",
            "tollgate.provider.name": "demo", "tollgate.endpoint.name": "talk",
            "gen_ai.request.model": "m", "gen_ai.response.model": "m-1", "gen_ai.response.finish_reasons": 1,
            "gen_ai.request.stream": true, "gen_ai.response.time_to_first_chunk": 0.2,
            "gen_ai.usage.input_tokens": 14, "gen_ai.usage.output_tokens": 7,
            "gen_ai.usage.cache_read.input_tokens": 11, "gen_ai.usage.reasoning.output_tokens": 2,
            "http.request.method": "POST", "http.response.status_code": 200, "url.path": "/v1/x",
            "http.request.body.size": 0, "http.response.body.size": 0, "client.address": "127.0.0.1",
            "server.address": "demo.example", "server.port": 8443,
            "tollgate.request.id": "00f067aa0ba902b7", "tollgate.outcome": "success",
        })
    );
}

fn hex(bytes: &[u8]) -> String {
    crate::hex::encode(bytes)
}

#[test]
fn waits_are_spans_below_it() {
    let mut record = record();
    let wait = |after, length| {
        Some(Wait { after: Duration::from_millis(after), length: Duration::from_millis(length) })
    };
    record.waits =
        Waits { refresh: wait(1, 20), connect: wait(30, 50), sent: Some(Duration::from_millis(30)) };
    let spans = Exported::of(&[record]).spans();
    let start = spans[0].start_time_unix_nano;
    let shown: Vec<(&str, u64, u64)> = spans[1..]
        .iter()
        .map(|span| {
            assert_eq!((&span.trace_id, &span.parent_span_id), (&spans[0].trace_id, &spans[0].span_id));
            let ms = |time: u64| (time - start) / 1_000_000;
            (span.name.as_str(), ms(span.start_time_unix_nano), ms(span.end_time_unix_nano))
        })
        .collect();
    assert_eq!(
        shown,
        [("credential refresh", 1, 21), ("upstream connect", 30, 80), ("upstream first byte", 80, 200)]
    );
    let ids: BTreeSet<&[u8]> = spans.iter().map(|span| span.span_id.as_slice()).collect();
    assert_eq!(ids.len(), 4);
}

#[test]
fn a_clients_trace_is_continued_if_it_is_sampled() {
    let mut record = record();
    let context = TraceContext { trace_id: [7; 16], parent: Some([9; 8]), sampled: true };
    record.trace = Some(Box::new(context));
    let span = Exported::of(&[record.clone()]).spans().remove(0);
    assert_eq!((span.trace_id, span.parent_span_id, span.flags), (vec![7; 16], vec![9; 8], 0x301));
    record.trace = Some(Box::new(TraceContext { sampled: false, ..context }));
    let mut exported = Exported::of(&[record]);
    assert_eq!(exported.spans(), []);
    // The other signals have it.
    assert_eq!(exported.points("gen_ai.client.inference.duration").len(), 1);
    let logs: ExportLogsServiceRequest = request(&mut exported.logs);
    let log = &logs.resource_logs[0].scope_logs[0].log_records[0];
    assert_eq!(
        (log.trace_id.as_slice(), log.flags, log.event_name.as_str()),
        (&[7; 16][..], 0, "tollgate.exchange")
    );
}

#[test]
fn errors_have_a_type_and_a_severity() {
    let check = |change: fn(&mut AccessRecord), expected: Option<&str>, severity: &str| {
        let mut record = record();
        change(&mut record);
        let mut exported = Exported::of(&[record]);
        let span = exported.spans().remove(0);
        let found = labels(&span.attributes)["error.type"].as_str().map(str::to_owned);
        assert_eq!(
            (found.as_deref(), span.status.map(|status| status.code)),
            (expected, expected.map(|_| 2))
        );
        let logs: ExportLogsServiceRequest = request(&mut exported.logs);
        assert_eq!(logs.resource_logs[0].scope_logs[0].log_records[0].severity_text, severity);
        let points = exported.points("gen_ai.client.inference.duration");
        assert_eq!(points[0].0["error.type"].as_str(), expected);
    };
    check(|_| (), None, "INFO");
    check(|record| record.status = Some(StatusCode::TOO_MANY_REQUESTS), Some("429"), "WARN");
    check(|record| record.status = Some(StatusCode::BAD_GATEWAY), Some("502"), "ERROR");
    check(|record| record.end = End::Cut, Some("cut"), "ERROR");
    check(|record| record.usage.as_mut().unwrap().failed = true, Some("upstream_error"), "ERROR");
    check(
        |record| record.fault = Some(FaultKind::UpstreamConnectTimeout),
        Some(FaultKind::UpstreamConnectTimeout.code()),
        "ERROR",
    );
}

#[test]
fn tokens_of_inferences_are_distributed_by_side_and_estimates_apart() {
    let mut estimated = record();
    estimated.usage.as_mut().unwrap().estimated.set(Counter::Output, 5);
    let mut failed = record();
    (failed.status, failed.usage) = (Some(StatusCode::BAD_GATEWAY), Some(Box::default()));
    let records = [record(), record(), estimated, failed];
    let check = |side: &str, expected: &[(bool, Option<&str>, u64, f64)]| {
        let mut exported = Exported::of(&records);
        let points = exported.points(&format!("gen_ai.client.inference.operation.{side}_tokens"));
        let shown: Vec<_> = points
            .iter()
            .map(|(labels, point)| {
                let is_estimated = labels["tollgate.usage.estimated"].as_bool().unwrap_or(false);
                (is_estimated, labels["error.type"].as_str(), point.count, point.sum.unwrap())
            })
            .collect();
        assert_eq!(shown, expected, "{side}");
        assert_eq!(points[0].1.bucket_counts.len(), points[0].1.explicit_bounds.len() + 1);
        points
    };
    let points = check("input", &[(false, Some("502"), 1, 0.0), (false, None, 3, 42.0)]);
    // Bounds are those of buckets' ends: 14 is in (4, 16].
    assert_eq!(points[1].1.bucket_counts[2], 3);
    check("output", &[(false, Some("502"), 1, 0.0), (false, None, 2, 14.0), (true, None, 1, 7.0)]);
}

#[test]
fn tokens_of_inferences_are_counted_by_modality() {
    let mut audio = record();
    audio.usage.as_mut().unwrap().counters.set(Counter::AudioInput, 4);
    let mut exported = Exported::of(&[record(), audio]);
    let request: ExportMetricsServiceRequest = request(&mut exported.metrics);
    let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
    let sums = metrics.iter().filter_map(|metric| match &metric.data {
        Some(Data::Sum(sum)) => Some((metric, sum)),
        _ => None,
    });
    let shown: Vec<(String, &str, String, String)> = sums
        .flat_map(|(metric, sum)| {
            assert_eq!((sum.aggregation_temporality, sum.is_monotonic), (CUMULATIVE, true));
            sum.data_points.iter().map(move |point| {
                let labels = labels(&point.attributes);
                assert_eq!(labels["gen_ai.operation.name"], "chat");
                let name = metric.name.strip_prefix("gen_ai.client.inference.usage.").unwrap();
                let modality = labels["gen_ai.token.modality"].as_str().unwrap().to_owned();
                (name.to_owned(), metric.unit.as_str(), modality, format!("{:?}", point.value))
            })
        })
        .collect();
    let expected = [
        ("input_tokens", "audio", 4),
        ("input_tokens", "unknown", 28),
        ("output_tokens", "unknown", 14),
        ("cache_read.input_tokens", "unknown", 22),
        ("cache_write.input_tokens", "unknown", 0),
        ("reasoning.output_tokens", "unknown", 4),
    ]
    .map(|(name, modality, tokens)| {
        (name.to_owned(), "{token}", modality.to_owned(), format!("Some(AsInt({tokens}))"))
    });
    assert_eq!(shown, expected);
}

/// The conventions name metrics by the kind of the operation.
#[test]
fn each_kind_of_operation_has_its_metrics() {
    let check = |telemetry: TelemetryNames, expected: &[&str]| {
        let record = AccessRecord { telemetry: Some(Arc::new(telemetry)), ..record() };
        let request: ExportMetricsServiceRequest = request(&mut Exported::of(&[record]).metrics);
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        let mut found: Vec<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
        found.retain(|name| !name.contains(".usage."));
        assert_eq!(found, expected);
    };
    let names = |operation: &str| Arc::unwrap_or_clone(names(operation));
    let inference = [
        "gen_ai.client.inference.duration",
        "gen_ai.client.inference.time_to_first_chunk",
        "gen_ai.server.time_to_first_token",
        "gen_ai.client.inference.operation.input_tokens",
        "gen_ai.client.inference.operation.output_tokens",
    ];
    check(names("chat"), &inference);
    check(names("image_generation"), &inference);
    check(
        names("embeddings"),
        &["gen_ai.client.embeddings.duration", "gen_ai.client.embeddings.operation.input_tokens"],
    );
    check(
        TelemetryNames { is_metered: false, ..names("fetch_response") },
        &["gen_ai.client.operation.duration"],
    );
}

#[test]
fn models_in_use_take_the_series_of_invented_ones() {
    let of = |model: &str| {
        let mut record = record();
        let usage = record.usage.as_mut().unwrap();
        (usage.request_model, usage.model) = (Some(model.into()), Some(model.into()));
        record
    };
    let counts = |exported: &mut Exported, model: &str| -> Vec<u64> {
        exported.otlp.close();
        let points = exported.points("gen_ai.client.inference.duration");
        let own = points.iter().filter(|(labels, _)| labels["gen_ai.response.model"] == model);
        own.map(|(_, point)| point.count).collect()
    };
    let mut exported = Exported::new();
    let invented: Vec<_> = (0..100).map(|number| of(&format!("x{number}"))).collect();
    exported.otlp.record(&invented);
    exported.otlp.record(&vec![of("in-use"); 10]);
    assert_eq!(counts(&mut exported, "in-use"), [8]);
    let (all, rest) = (counts(&mut exported, "x0"), counts(&mut exported, "x1"));
    assert_eq!((all, rest), (vec![], vec![1]));
    // A list is final.
    let mut exported = Exported::with(Some(["listed".to_owned()].into()));
    exported.otlp.record(&[of("listed"), of("in-use"), of("in-use")]);
    assert_eq!(counts(&mut exported, "listed"), [1]);
    assert_eq!(counts(&mut exported, "(other)"), [2]);
}

#[test]
fn series_are_bounded() {
    let with = |model: String, status: u16| {
        let mut record = record();
        record.status = StatusCode::from_u16(status).ok();
        record.usage.as_mut().unwrap().request_model = Some(model.clone().into());
        record.usage.as_mut().unwrap().model = Some(model.into());
        record
    };
    let models = |exported: &mut Exported| {
        let points = exported.points("gen_ai.client.inference.duration");
        let total: u64 = points.iter().map(|(_, point)| point.count).sum();
        (points.len(), total, points.iter().any(|(labels, _)| labels["gen_ai.request.model"] == "(other)"))
    };
    let good: Vec<_> = (0..1000).map(|number| with(format!("m{number}"), 200)).collect();
    assert_eq!(models(&mut Exported::of(&good)), (101, 1000, true));
    // A client's invention has no series.
    let bad: Vec<_> = (0..1000).map(|number| with(format!("m{number}"), 404)).collect();
    assert_eq!(models(&mut Exported::of(&bad)), (1, 1000, true));
    // An upstream's inventions have a bound.
    let mut exported = Exported::of(&good[..100]);
    (exported.otlp.traces, exported.otlp.logs) = (None, None);
    for status in 400..700 {
        let records: Vec<_> = (0..10).map(|number| with(format!("m{number}"), status)).collect();
        exported.otlp.record(&records);
    }
    exported.metrics.try_recv().unwrap();
    exported.otlp.close();
    let points = exported.points("gen_ai.client.inference.duration");
    let total: u64 = points.iter().map(|(_, point)| point.count).sum();
    assert_eq!((points.len(), total), (2001, 3100));
    assert_eq!(points[0].0, json!({ "otel.metric.overflow": true }));
}

#[test]
fn what_reached_no_provider_is_not_exported() {
    let mut record = record();
    record.telemetry = None;
    let mut exported = Exported::of(&[record]);
    assert!(exported.traces.try_recv().is_err() && exported.logs.try_recv().is_err());
    assert!(exported.metrics.try_recv().is_err());
}

/// The signals of the exporters that these settings open, or the error.
fn opened(table: Option<Value>, variables: &[(&str, &str)]) -> Result<String, String> {
    opened_as("otlp", table, variables)
}

fn opened_as(name: &str, table: Option<Value>, variables: &[(&str, &str)]) -> Result<String, String> {
    let table = table.map(|keys| ExporterTable {
        name: name.to_owned(),
        origin: Origin::File { key: format!("exporter.{name}"), file: "t.toml".to_owned() },
        keys: keys.as_object().unwrap().clone(),
    });
    let tables: Vec<_> = table.into_iter().collect();
    let lookup =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into());
    let exporters = open_with(&tables, &lookup, &MetricLabels::default(), &Drops::default())
        .map_err(|error| error.to_string())?;
    Ok(exporters.urls().join(" "))
}

#[test]
fn the_variables_of_sdks_are_understood() {
    let check = |variables: &[(&str, &str)], expected: &str| {
        assert_eq!(opened(None, variables).as_deref(), Ok(expected), "{variables:?}");
    };
    let base = (ENDPOINT, "http://c:4318/");
    let all = "http://c:4318/v1/traces http://c:4318/v1/metrics http://c:4318/v1/logs";
    check(&[], "");
    check(&[base], all);
    check(&[base, (PROTOCOL, "http/protobuf"), (HEADERS, "api-key=a%20b"), (SERVICE, "x")], all);
    check(
        &[base, ("OTEL_METRICS_EXPORTER", "none"), ("OTEL_LOGS_EXPORTER", "none")],
        "http://c:4318/v1/traces",
    );
    check(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t:1/in")], "http://t:1/in");
    check(
        &[
            base,
            ("OTEL_TRACES_EXPORTER", "OTLP"),
            ("OTEL_METRICS_EXPORTER", "None"),
            ("OTEL_LOGS_EXPORTER", "none"),
        ],
        "http://c:4318/v1/traces",
    );
    check(&[base, (DISABLED, "true")], "");
    // For other programs: there is nothing to export to.
    check(&[("OTEL_TRACES_EXPORTER", "console")], "");
    // Off, and an error is logged.
    check(&[base, (PROTOCOL, "grpc")], "");
    check(&[base, (Signal::Logs.protocol(), "grpc")], "");
    let spoken = Signal::ALL.map(|signal| (signal.protocol(), PROTOBUF));
    check(&[&[base, (PROTOCOL, "grpc")][..], &spoken].concat(), all);
    check(&[base, (DISABLED, "1")], "");
    check(&[base, (DISABLED, "TRUE")], "");
    check(&[base, (HEADERS, "no pair")], "");
    check(&[base, (HEADERS, "host=elsewhere")], "");
    check(&[base, (INTERVAL, "0")], "");
    check(&[(ENDPOINT, "c:4318")], "");
}

#[test]
fn variables_that_are_not_understood_are_named() {
    let check = |variables: &[(&str, &str)], expected: &str| {
        let keys = json!({ "kind": "otlp", "endpoint": "http://c:4318" });
        assert_eq!(opened(Some(keys), variables), Err(expected.to_owned()), "{variables:?}");
    };
    check(&[("OTEL_TRACES_EXPORTER", "nnone")], "`OTEL_TRACES_EXPORTER` is neither `otlp` nor `none`");
    check(&[("OTEL_LOGS_EXPORTER", "console")], "`OTEL_LOGS_EXPORTER` is neither `otlp` nor `none`");
    check(&[("OTEL_METRICS_EXPORTER", "otlp,none")], "`OTEL_METRICS_EXPORTER` is neither `otlp` nor `none`");
    check(&[(DISABLED, "yes")], "`OTEL_SDK_DISABLED` is neither `true` nor `false`");
    check(
        &[(ENDPOINT, "http://c:4318/v1/traces/")],
        "`OTEL_EXPORTER_OTLP_ENDPOINT` ends with `/v1/traces`: write the URL without that, or use `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`",
    );
}

#[test]
fn only_the_exporter_with_the_name_of_the_kind_reads_variables() {
    let base = [(ENDPOINT, "http://c:4318")];
    let check = |name: &str, variables: &[(&str, &str)], expected: &str| {
        let error = opened_as(name, Some(json!({ "kind": "otlp" })), variables).unwrap_err();
        assert_eq!(error, format!("`exporter.{name}` in `t.toml` {expected}"));
    };
    check("otlp", &[], "needs an `endpoint` (or `OTEL_EXPORTER_OTLP_ENDPOINT`), and a signal");
    check("collector", &base, "needs an `endpoint`, and a signal");
}

#[test]
fn variables_precede_the_attributes_of_the_table() {
    let attributes = |keys: Value, variables: &[(&str, &str)]| {
        let lookup = |name: &str| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| std::ffi::OsString::from(*value))
        };
        let given = Given { name: "otlp", table: None, variables: Some(&lookup) };
        let resource = resource(&given, &serde_json::from_value(keys).unwrap()).unwrap();
        let body = Envelope::new(&resource).body(&[]);
        let request: ExportTraceServiceRequest = prost::Message::decode(body).unwrap();
        let found = labels(&request.resource_spans[0].resource.as_ref().unwrap().attributes);
        (found["service.name"].clone(), found["service.version"].clone())
    };
    let version = json!(env!("CARGO_PKG_VERSION"));
    assert_eq!(attributes(json!({}), &[]), (json!("tollgate"), version.clone()));
    let table = json!({ "service_name": "t", "resource": { "service.name": "r", "service.version": "7" } });
    assert_eq!(attributes(table.clone(), &[]), (json!("t"), json!("7")));
    let of_attributes = (ATTRIBUTES, "service.name=a,service.version=8");
    assert_eq!(attributes(table.clone(), &[of_attributes]), (json!("a"), json!("8")));
    assert_eq!(attributes(table, &[of_attributes, (SERVICE, "v")]), (json!("v"), json!("8")));
}

#[test]
fn a_table_is_understood_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let headers = dir.path().join("headers");
    std::fs::write(&headers, "x-key: s3cret\r\n\nauthorization: Bearer s3cret\n").unwrap();
    let check = |mut keys: Value, expected: Result<&str, &str>| {
        keys["kind"] = json!("otlp");
        match (opened(Some(keys), &[]), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(error), Err(expected)) => {
                assert!(error.contains(expected) && !error.contains("s3cret"), "{error}");
            }
            (found, _) => panic!("{found:?} instead of {expected:?}"),
        }
    };
    check(
        json!({ "endpoint": "http://c:4318", "signals": ["traces", "logs"], "headers_file": headers,
                "endpoints": { "logs": "https://l.example/in" }, "resource": { "a": "b" }, "metrics_interval": "5s" }),
        Ok("http://c:4318/v1/traces https://l.example/in"),
    );
    check(json!({}), Err("`exporter.otlp` in `t.toml` needs an `endpoint`"));
    check(json!({ "endpoint": "http://c", "signals": [] }), Err("needs an `endpoint`"));
    check(
        json!({ "endpoint": "http://c/v1/logs" }),
        Err(
            "has an `endpoint` that ends with `/v1/logs`: write the URL without that, or use `endpoints.logs`",
        ),
    );
    check(
        json!({ "endpoints": { "logs": "http://c/v1/logs" }, "signals": ["logs"] }),
        Ok("http://c/v1/logs"),
    );
    check(
        json!({ "endpoint": "http://c", "signals": ["spans"] }),
        Err("none of `traces`, `metrics`, `logs`"),
    );
    check(json!({ "endpoint": "c:4318" }), Err("cannot post traces to its endpoint: it does not start"));
    check(json!({ "endpoint": "http://c", "metrics_interval": "often" }), Err("is not written in the form"));
    check(json!({ "endpoint": "http://c", "headers": { "a": "b" } }), Err("unknown key `headers`"));
    std::fs::write(&headers, "s3cret\n").unwrap();
    check(json!({ "endpoint": "http://c", "headers_file": headers }), Err("no `name: value`"));
    std::fs::write(&headers, "x-key: x\nBearer s3cret: x\n").unwrap();
    check(
        json!({ "endpoint": "http://c", "headers_file": headers }),
        Err("cannot post traces to its endpoint `http://c`: header 2 of 2: it has no valid name"),
    );
    check(
        json!({ "endpoint": "https://user:s3cret@c.example" }),
        Err("cannot post traces to its endpoint: it has user information before the host"),
    );
    check(
        json!({ "endpoint": "https://c.example/x?key=s3cret" }),
        Err("cannot post traces to its endpoint `https://c.example`: it has a query or a fragment"),
    );
}
