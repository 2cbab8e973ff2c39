//! Exporters: what a collector gets, and what a client does not notice of a collector that hangs, refuses, redirects or
//! fails. The collector is played by the test, and decodes with the messages that are generated from the protocol's
//! definitions.

use std::time::Instant;

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest,
        metrics::v1::ExportMetricsServiceRequest,
        trace::v1::{ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse},
    },
    common::v1::{KeyValue, any_value::Value as Any},
    metrics::v1::metric::Data,
    trace::v1::Span,
};
use prost::Message as _;
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    harness::{
        Exchange, Home, KEY, LIMIT, Message, Upstream, Wire, World, eventually, over_socket, provider,
    },
    metrics::counted,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A gateway that exports to a collector.
pub struct Exporting {
    pub world: World,
    pub collector: Upstream,
}

impl Exporting {
    /// With this text in `tollgate.toml`, where `URL` is the collector's.
    fn new(settings: &str, args: &[&str]) -> Self {
        Self::with(settings, ("other", ""), "", args)
    }

    /// The same, with a file beside the settings, and more in the provider's file.
    pub fn with(settings: &str, (name, text): (&str, &str), more: &str, args: &[&str]) -> Self {
        let (upstream, collector) = (Upstream::plain(), Upstream::plain());
        let host = upstream.address().to_string();
        let home = Home::new(&[("t", &provider(&format!("http://{host}"), more))]);
        std::fs::write(home.path(name), text).unwrap();
        let settings = settings.replace("URL", &format!("http://{}", collector.address()));
        std::fs::write(home.path("tollgate.toml"), settings).unwrap();
        let token = home.user("ada");
        home.credential("ada", "providers.t.apiKey", KEY);
        let gateway = home.serve(args);
        let cors = "Content-Type, Authorization, x-api-key".into();
        Self { world: World { upstream, gateway, home, token, host, cors }, collector }
    }

    /// With one exporter of spans.
    fn spans() -> Self {
        Self::new(&traces("URL"), &[])
    }

    /// The next request of the exporter, answered with a status.
    pub fn answer(&mut self, status: &str, body: &[u8]) -> Message {
        let (request, mut wire) = self.collector.request();
        reply(&mut wire, status, body);
        self.collector.keep(wire);
        request
    }

    /// The state of the exporter's queue for which this holds; waits for it.
    pub fn state(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let (_, status) = over_socket(&self.world.home.data(), "GET /admin/providers");
            let state = &status["exporters"][0];
            if wanted(state) {
                return state.clone();
            }
            assert!(start.elapsed() < LIMIT, "{status}");
            std::thread::yield_now();
        }
    }
}

fn traces(url: &str) -> String {
    format!("[exporter.main]\nkind = \"otlp\"\nendpoint = \"{url}\"\nsignals = [\"traces\"]\n")
}

pub fn reply(wire: &mut Wire, status: &str, body: &[u8]) {
    wire.send(format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len()));
    wire.send(body);
}

pub fn header<'m>(message: &'m Message, name: &str) -> Option<&'m str> {
    message.head.lines.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn spans(message: &Message) -> Vec<Span> {
    let request = ExportTraceServiceRequest::decode(message.body.as_slice()).unwrap();
    request.resource_spans.into_iter().flat_map(|one| one.scope_spans).flat_map(|one| one.spans).collect()
}

/// The spans of exchanges, without those below them.
fn exchanges(message: &Message) -> Vec<Span> {
    spans(message).into_iter().filter(|span| span.kind == 3).collect()
}

fn attribute(all: &[KeyValue], name: &str) -> Option<String> {
    let value = all.iter().find(|one| one.key == name)?.value.clone()?.value?;
    Some(match value {
        Any::StringValue(text) => text,
        Any::IntValue(number) => number.to_string(),
        Any::DoubleValue(number) => number.to_string(),
        Any::BoolValue(on) => on.to_string(),
        other => panic!("{other:?}"),
    })
}

/// The attributes of all data points.
fn metric_points(message: &Message) -> Vec<Vec<KeyValue>> {
    let request = ExportMetricsServiceRequest::decode(message.body.as_slice()).unwrap();
    let metrics = request.resource_metrics.into_iter().flat_map(|one| one.scope_metrics);
    let data = metrics.flat_map(|one| one.metrics).filter_map(|metric| metric.data);
    data.flat_map(|data| match data {
        Data::Histogram(histogram) => {
            histogram.data_points.into_iter().map(|point| point.attributes).collect::<Vec<_>>()
        }
        Data::Sum(sum) => sum.data_points.into_iter().map(|point| point.attributes).collect(),
        other => panic!("{other:?}"),
    })
    .collect()
}

fn hex(bytes: &[u8]) -> String {
    tollgate::hex::encode(bytes)
}

#[test]
fn a_collector_gets_all_three_signals() {
    let settings = "[exporter.main]\nkind = \"otlp\"\nendpoint = \"URL/base/\"\nservice_name = \"edge\"\n\
                    headers_file = \"headers\"\nresource = { region = \"x\" }\nmetrics_interval = \"1h\"\n";
    let mut exporting = Exporting::with(settings, ("headers", "x-key: s3cret\n"), "", &[]);
    exporting.world.exchange(Exchange::get());
    exporting.world.gateway.signal(Signal::TERM);
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..3 {
        let request = exporting.answer("200 OK", b"");
        assert_eq!(header(&request, "content-type"), Some("application/x-protobuf"));
        assert_eq!(header(&request, "x-key"), Some("s3cret"));
        seen.insert(request.head.start.clone(), request);
    }
    assert!(exporting.world.gateway.exit().success());
    let names: Vec<&String> = seen.keys().collect();
    assert_eq!(
        names,
        ["POST /base/v1/logs HTTP/1.1", "POST /base/v1/metrics HTTP/1.1", "POST /base/v1/traces HTTP/1.1"]
    );
    let logs = ExportLogsServiceRequest::decode(seen[names[0]].body.as_slice()).unwrap();
    let log = &logs.resource_logs[0].scope_logs[0].log_records[0];
    let metrics = ExportMetricsServiceRequest::decode(seen[names[1]].body.as_slice()).unwrap();
    let metrics: Vec<&str> =
        metrics.resource_metrics[0].scope_metrics[0].metrics.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(metrics, ["gen_ai.client.operation.duration"]);
    let resource = &logs.resource_logs[0].resource.as_ref().unwrap().attributes;
    for (name, expected) in [("service.name", "edge"), ("region", "x")] {
        assert_eq!(attribute(resource, name).as_deref(), Some(expected));
    }
    let span = exchanges(&seen[names[2]]).remove(0);
    assert_eq!((&span.trace_id, &span.span_id), (&log.trace_id, &log.span_id));
    for (name, expected) in [
        ("gen_ai.operation.name", "get"),
        ("gen_ai.provider.name", "t"),
        ("tollgate.endpoint.name", "get"),
        ("tollgate.provider.name", "t"),
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("url.path", "/t/get"),
        ("server.address", "127.0.0.1"),
        ("tollgate.outcome", "success"),
    ] {
        assert_eq!(attribute(&span.attributes, name).as_deref(), Some(expected), "{name}");
    }
    assert!(attribute(&span.attributes, "tollgate.user.id").unwrap().starts_with("usr_"));
    let below: Vec<String> = spans(&seen[names[2]])
        .iter()
        .filter(|below| below.parent_span_id == span.span_id)
        .map(|below| below.name.clone())
        .collect();
    assert_eq!(below, ["upstream connect", "upstream first byte"]);
    let log = exporting.world.gateway.log().concat();
    assert!(!log.contains("s3cret"), "{log}");
}

/// The shipped files have the well-known names of the conventions, in all three signals.
#[test]
fn shipped_providers_have_their_well_known_names() {
    let mut collector = Upstream::plain();
    let url = format!("http://{}", collector.address());
    let mut world = World::shipped(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &url)]);
    let mut check = |path: &str, field: &str, expected: (&str, &str, &str)| {
        world.home.credential("ada", field, KEY);
        let mut client = world.client();
        let (token, body) = (&world.token, r#"{"model":"m-1"}"#);
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        let (_, mut upstream) = world.upstream.request();
        upstream.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
        client.answer().unwrap();
        world.upstream.keep(upstream);
        let named = |all: &[KeyValue]| {
            ["gen_ai.operation.name", "gen_ai.provider.name", "tollgate.provider.name"]
                .map(|name| attribute(all, name).unwrap_or_default())
        };
        let (operation, provider, file) = expected;
        for _ in 0..2 {
            let (request, mut wire) = collector.request();
            reply(&mut wire, "200 OK", b"");
            collector.keep(wire);
            let found = if request.head.start.contains("/v1/traces") {
                let span = exchanges(&request).remove(0);
                assert_eq!(span.name, format!("{operation} m-1"));
                named(&span.attributes)
            } else {
                let logs = ExportLogsServiceRequest::decode(request.body.as_slice()).unwrap();
                named(&logs.resource_logs[0].scope_logs[0].log_records[0].attributes)
            };
            assert_eq!(found, [operation, provider, file]);
        }
    };
    let chat = "/v1/chat/completions";
    check(&format!("/proxy/mistral{chat}"), "providers.mistral.apiKey", ("chat", "mistral_ai", "mistral"));
    check(&format!("/proxy/xai{chat}"), "providers.xai.apiKey", ("chat", "x_ai", "xai"));
    check("/proxy/groq/v1/embeddings", "providers.groq.apiKey", ("embeddings", "groq", "groq"));
    world.gateway.signal(Signal::TERM);
    let (request, mut wire) = collector.request();
    reply(&mut wire, "200 OK", b"");
    assert!(world.gateway.exit().success());
    assert!(request.head.start.contains("/v1/metrics"));
    let found: std::collections::BTreeSet<String> = metric_points(&request)
        .iter()
        .map(|all| {
            ["gen_ai.provider.name", "gen_ai.operation.name"]
                .map(|name| attribute(all, name).unwrap_or_default())
                .join(" ")
        })
        .collect();
    assert_eq!(Vec::from_iter(found), ["groq embeddings", "mistral_ai chat", "x_ai chat"]);
}

/// The trace that a client names is continued. It is passed on, removed, or replaced by tollgate's own span.
#[test]
fn a_trace_is_continued_and_handed_on_as_the_setting_says() {
    let client = format!("00-{TRACE}-{PARENT}-01");
    let check = |setting: &str, sent: Option<&str>, is_own: bool| {
        let mut exporting = Exporting::new(&traces("URL"), &["--trace-context", setting]);
        let world = &mut exporting.world;
        let mut wire = world.client();
        let trace = sent.map(|sent| format!("traceparent: {sent}\r\ntracestate: a=b\r\nbaggage: c=d\r\n"));
        let (token, trace) = (&world.token, trace.unwrap_or_default());
        wire.send(format!("GET /t/get HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n{trace}\r\n"));
        let (request, mut upstream) = world.upstream.request();
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        wire.answer().unwrap();
        world.upstream.keep(upstream);
        let span = exchanges(&exporting.answer("200 OK", b"")).remove(0);
        let valid = sent == Some(client.as_str());
        let passed = |name: &str| header(&request, name).map(str::to_owned);
        let expected = match setting {
            "own" => Some(format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id))),
            "pass" => sent.map(str::to_owned),
            _ => None,
        };
        assert_eq!(passed("traceparent"), expected, "{setting} {sent:?}");
        let has_state = setting == "pass" && sent.is_some() || setting == "own" && valid;
        assert_eq!(passed("tracestate").is_some(), has_state, "{setting} {sent:?}");
        assert_eq!(passed("baggage").is_some(), setting != "remove" && sent.is_some());
        let (trace, parent) = if valid { (TRACE, PARENT) } else { (&*hex(&span.trace_id), "") };
        assert_eq!((hex(&span.trace_id).as_str(), hex(&span.parent_span_id).as_str()), (trace, parent));
        assert_eq!(setting == "own", is_own);
    };
    for sent in [Some(client.as_str()), Some("00-no-trace-01"), None] {
        check("pass", sent, false);
        check("remove", sent, false);
        check("own", sent, true);
    }
}

#[test]
fn a_trace_that_is_not_sampled_is_not_exported() {
    let mut exporting = Exporting::spans();
    exporting.world.exchange(Exchange::get().header("traceparent", &format!("00-{TRACE}-{PARENT}-00")));
    exporting.world.exchange(Exchange::get().header("traceparent", &format!("00-{TRACE}-{PARENT}-01")));
    let spans = exchanges(&exporting.answer("200 OK", b""));
    assert_eq!(spans.iter().map(|span| span.flags & 1).collect::<Vec<_>>(), [1]);
}

#[test]
fn what_may_be_tried_again_is_and_the_rest_is_given_up() {
    let mut exporting = Exporting::spans();
    let mut check = |answers: &[&str], sent: u64, failed: u64, problem: Option<&str>| {
        exporting.world.exchange(Exchange::get());
        let mut bodies: Vec<Vec<u8>> =
            answers.iter().map(|status| exporting.answer(status, b"").body).collect();
        bodies.dedup();
        assert_eq!(bodies.len(), 1, "the same batch each time");
        let state = exporting.state(|state| state["sent"] == sent && state["failed"] == failed);
        assert_eq!(
            (&state["exporter"], &state["signal"], &state["queued"]),
            (&"main".into(), &"traces".into(), &0.into())
        );
        match problem {
            Some(problem) => assert!(state["problem"].as_str().unwrap().contains(problem), "{state}"),
            None => assert_eq!(state.get("problem"), None),
        }
    };
    check(&["503 Service Unavailable", "429 Too Many Requests", "200 OK"], 1, 0, None);
    check(&["400 Bad Request"], 1, 1, Some("it answered 400"));
    check(&["200 OK"], 2, 1, None);
    check(&["500 Internal Server Error"], 2, 2, Some("it answered 500"));
    // Data that waits is another case than data that is lost.
    let waits = "cannot deliver: data waits in its queue, and is dropped beyond its bound";
    let lost = "gave up data: the receiver refuses it";
    eventually("the log has each change", || {
        let log = exporting.world.gateway.log();
        let messages =
            log.iter().filter_map(|line| line.split_once(r#""message":"an exporter "#)?.1.split('"').next());
        messages.eq(["is on", waits, "delivers again", lost, "delivers again", lost])
    });
    let entries = |result, number| {
        let labels = format!(r#"{{exporter="main",signal="traces",result="{result}"}}"#);
        (format!("tollgate_exporter_entries_total{labels}"), number)
    };
    let entries = [entries("sent", 2.0), entries("given_up", 2.0), entries("dropped", 0.0)];
    let entries: Vec<(&str, f64)> =
        entries.iter().map(|(series, number)| (series.as_str(), *number)).collect();
    counted(&exporting.world, &entries);
    let shown = exporting.world.home.run(&["status"], "");
    let expected = "exporter main, traces: 2 sent, 0 queued, 0 dropped, 2 given up; the last attempt failed: it answered 500";
    assert!(shown.out.contains(expected), "{shown:?}");
}

#[test]
fn a_partial_success_counts_what_was_refused() {
    let mut exporting = Exporting::spans();
    exporting.world.exchange(Exchange::get());
    let partial = ExportTracePartialSuccess { rejected_spans: 1, error_message: "no".into() };
    let answer = ExportTraceServiceResponse { partial_success: Some(partial) };
    exporting.answer("200 OK", &answer.encode_to_vec());
    exporting.state(|state| state["failed"] == 1 && state["sent"] == 0);
}

#[test]
fn a_redirect_is_not_followed() {
    let mut exporting = Exporting::spans();
    let mut elsewhere = Upstream::plain();
    exporting.world.exchange(Exchange::get());
    let (_, mut wire) = exporting.collector.request();
    wire.send(format!(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{}/\r\nContent-Length: 0\r\n\r\n",
        elsewhere.address()
    ));
    let state = exporting.state(|state| state["failed"] == 1);
    assert!(state["problem"].as_str().unwrap().contains("redirects are not followed"), "{state}");
    elsewhere.saw_nothing();
}

/// A collector that hangs holds nobody back: exchanges go on while it has not answered, and are delivered afterwards.
#[test]
fn clients_do_not_wait_for_a_collector_that_hangs() {
    let mut exporting = Exporting::spans();
    exporting.world.exchange(Exchange::get());
    let (first, mut wire) = exporting.collector.request();
    for _ in 0..20 {
        exporting.world.exchange(Exchange::get());
    }
    exporting.state(|state| state["queued"] == 21);
    reply(&mut wire, "200 OK", b"");
    exporting.collector.keep(wire);
    let mut delivered = exchanges(&first).len();
    assert_eq!(delivered, 1);
    while delivered < 21 {
        delivered += exchanges(&exporting.answer("200 OK", b"")).len();
    }
    exporting.state(|state| state["sent"] == 21 && state["queued"] == 0);
}

#[test]
fn clients_do_not_notice_a_collector_that_refuses() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut exporting = Exporting::new(&traces(&format!("http://{closed}")), &["--grace", "300ms"]);
    exporting.world.exchange(Exchange::get());
    let state = exporting.state(|state| state["problem"].is_string());
    assert!(state["problem"].as_str().unwrap().contains("cannot be reached"), "{state}");
    exporting.world.exchange(Exchange::get());
    // The shutdown gives up what cannot be delivered, and says so.
    exporting.world.gateway.signal(Signal::TERM);
    assert!(exporting.world.gateway.exit().success());
    let log = exporting.world.gateway.log().join("\n");
    let line = log.lines().find(|line| line.contains("gives up what it has not delivered")).unwrap();
    assert!(line.contains("\"lost\":2"), "{line}");
}

/// A collector that is dead holds no restart up: what is queued has one attempt, and seconds in all. The grace period and all
/// attempts would take longer than a test waits.
#[test]
fn a_shutdown_does_not_wait_for_a_collector_that_is_dead() {
    let check = |settings: &str, hangs: bool| {
        let mut exporting = Exporting::new(settings, &["--grace", "10m"]);
        exporting.world.exchange(Exchange::get());
        // Its connection stays open, without an answer.
        let _hanging = hangs.then(|| exporting.collector.request());
        exporting.world.exchange(Exchange::get());
        exporting.state(|state| state["queued"] == 2 && (hangs || state["problem"].is_string()));
        exporting.world.gateway.signal(Signal::TERM);
        assert!(exporting.world.gateway.exit().success());
        let log = exporting.world.gateway.log().join("\n");
        let line = log.lines().find(|line| line.contains("gives up what it has not delivered")).unwrap();
        assert!(line.contains("\"lost\":2"), "{line}");
        assert_eq!(log.contains("an exporter cannot deliver"), !hangs, "{log}");
    };
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    check(&traces(&format!("http://{closed}")), false);
    check(&traces("URL"), true);
}

/// The drain delivers what is queued, also what ended last.
#[test]
fn a_drain_delivers_what_is_queued() {
    let mut exporting = Exporting::spans();
    exporting.world.exchange(Exchange::get());
    let (first, mut wire) = exporting.collector.request();
    exporting.world.exchange(Exchange::get());
    exporting.world.gateway.signal(Signal::TERM);
    exporting.world.gateway.wait_for_log("draining: no new connections; open streams continue");
    reply(&mut wire, "200 OK", b"");
    exporting.collector.keep(wire);
    let second = exporting.answer("200 OK", b"");
    assert_eq!((exchanges(&first).len(), exchanges(&second).len()), (1, 1));
    assert!(exporting.world.gateway.exit().success());
    let log = exporting.world.gateway.log().concat();
    assert!(!log.contains("gives up"), "{log}");
}

#[test]
fn a_table_that_cannot_be_used_refuses_the_start_and_variables_turn_it_off() {
    let home = Home::new(&[("t", &provider("http://127.0.0.1:1", ""))]);
    let settings = |text: &str| std::fs::write(home.path("tollgate.toml"), text).unwrap();
    settings("[exporter.main]\nkind = \"otpl\"\n");
    let said = home.run(&["serve", "--listen", "127.0.0.1:0"], "");
    let expected = "`exporter.main` in `tollgate.toml` has the unknown `kind` `otpl`: the kinds are `llemtry`, `otlp`; did you mean `otlp`?";
    assert!(said.code == 1 && said.err.contains(expected), "{said:?}");
    settings("[exporter.\"a b\"]\nkind = \"otlp\"\n");
    let said = home.run(&["serve", "--listen", "127.0.0.1:0"], "");
    assert!(said.code == 1 && said.err.contains("needs a name of 1 to 40 letters"), "{said:?}");
    assert!(!home.path("data").exists());
    settings("");
    let env = [("LLEMTRY_ENABLED", "true"), ("LLEMTRY_AUTH_TOKEN", "s3cret-token")];
    let gateway = home.serve_with(&[], &env);
    let line = gateway.logged("an exporter is off: its settings cannot be used").concat();
    assert!(line.contains("needs an `endpoint` (or `LLEMTRY_ENDPOINT`)"), "{line}");
    assert!(line.contains("\"level\":\"ERROR\"") && !gateway.log().concat().contains("s3cret"), "{line}");
}
