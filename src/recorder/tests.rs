use std::net::{IpAddr, Ipv4Addr};

use http::Method;

use super::*;
use crate::{
    access_record::{Sides, Usage},
    clock,
    name::FileName,
    usage::{Counter, Counters},
};

/// The longest wait for the thread.
const LIMIT: Duration = Duration::from_mins(1);

fn record(path: &str, started_at_ms: u64, duration_ms: u64) -> AccessRecord {
    let mut record =
        AccessRecord::begun(IpAddr::V4(Ipv4Addr::LOCALHOST), Method::GET, path.to_owned(), started_at_ms);
    record.duration = Duration::from_millis(duration_ms);
    record
}

/// The calls of a sink.
#[derive(Debug, PartialEq, Eq)]
enum Call {
    Records(Vec<String>),
    Tick,
    Close,
}

struct Probe(mpsc::Sender<Call>);

impl Sink for Probe {
    fn record(&mut self, records: &[AccessRecord]) {
        let paths = records.iter().map(|record| record.path.clone()).collect();
        self.0.send(Call::Records(paths)).unwrap();
    }

    fn tick(&mut self) {
        self.0.send(Call::Tick).unwrap();
    }

    fn close(&mut self) {
        self.0.send(Call::Close).unwrap();
    }
}

/// The ends of all records.
struct Ends(mpsc::Sender<u64>);

impl Sink for Ends {
    fn record(&mut self, records: &[AccessRecord]) {
        for record in records {
            self.0.send(record.ended_at_ms()).unwrap();
        }
    }
}

/// An exchange that began before the wall clock was set back would else count in an hour that no report asks for yet.
#[tokio::test]
async fn no_exchange_ends_in_the_future() {
    let (ends, ended) = mpsc::channel();
    let (recorders, records) =
        start(1, vec![named(Ends(ends))], Ratios::default(), &Drops::default()).unwrap();
    let (before, day) = (clock::now_ms(), 86_400_000);
    recorders[0].record(record("/past", 5, 7));
    recorders[0].record(record("/ahead", before + day, 1000));
    recorders[0].record(record("/long", before + day, 2 * before));
    assert!(records.close(LIMIT).await);
    let after = clock::now_ms();
    let ended: Vec<u64> = ended.iter().collect();
    assert_eq!(ended[0], 12);
    assert!((before..=after).contains(&ended[1]), "{ended:?}");
    assert_eq!(ended[2], 2 * before, "it cannot begin before 1970");
}

fn named(sink: impl Sink + 'static) -> NamedSink {
    ("probe".to_owned(), Box::new(sink))
}

fn probed(workers: usize) -> (Vec<Recorder>, Records, Drops, mpsc::Receiver<Call>) {
    let (calls, called) = mpsc::channel();
    let drops = Drops::default();
    let (recorders, records) = start(workers, vec![named(Probe(calls))], Ratios::default(), &drops).unwrap();
    (recorders, records, drops, called)
}

#[tokio::test]
async fn sinks_get_the_records_of_all_workers_and_are_closed_after_the_last() {
    let (recorders, records, drops, called) = probed(2);
    // It ticks without records.
    assert_eq!(called.recv_timeout(LIMIT), Ok(Call::Tick));
    for number in 0..3 {
        recorders[0].record(record(&format!("/a/{number}"), number, 0));
        recorders[1].record(record(&format!("/b/{number}"), number, 0));
    }
    assert!(records.close(LIMIT).await);
    let calls: Vec<_> = called.iter().collect();
    assert_eq!(calls.last(), Some(&Call::Close));
    assert_eq!(calls.iter().filter(|call| **call == Call::Close).count(), 1);
    let paths: Vec<_> = calls
        .into_iter()
        .filter_map(|call| match call {
            Call::Records(paths) => Some(paths),
            Call::Tick | Call::Close => None,
        })
        .flatten()
        .collect();
    for worker in ["/a/", "/b/"] {
        let own: Vec<_> = paths.iter().filter(|path| path.starts_with(worker)).collect();
        assert_eq!(own, ["0", "1", "2"].map(|number| format!("{worker}{number}")).each_ref());
    }
    assert_eq!(
        (paths.len(), drops.numbers()),
        (6, ["content", "records", "sink.probe"].map(|name| (name.to_owned(), 0)).into())
    );
}

#[test]
fn a_batch_is_in_the_order_of_ends() {
    let (calls, called) = mpsc::channel();
    let buffers: Vec<Arc<Buffer>> = vec![Arc::default(), Arc::default()];
    let mut distributor = Distributor {
        buffers: buffers.clone(),
        spare: Vec::new(),
        batch: Vec::new(),
        ratios: Ratios::default(),
        sinks: vec![Guarded::new(named(Probe(calls)), &Drops::default())],
        report: DropReport::new(Drops::default()),
        reported: Instant::now(),
    };
    buffers[0].lock().records.extend([record("/1", 1000, 0), record("/3", 10, 1030)]);
    buffers[1].lock().records.extend([record("/2", 500, 510), record("/4", 900, 200)]);
    distributor.hand_on();
    distributor.hand_on();
    let expected = ["/1", "/2", "/3", "/4"].map(str::to_owned).to_vec();
    let calls: Vec<_> = called.try_iter().collect();
    assert_eq!(calls, [Call::Records(expected), Call::Tick, Call::Tick]);
}

/// Usage without counts is estimated before a sink sees it, by what was learned from the same model.
#[test]
fn estimates_are_complete_when_sinks_get_the_records() {
    struct Estimates(mpsc::Sender<(u64, u64)>);
    impl Sink for Estimates {
        fn record(&mut self, records: &[AccessRecord]) {
            for usage in records.iter().filter_map(|record| record.usage.as_ref()) {
                let output = |counters: &Counters| counters.get(Counter::Output);
                self.0.send((output(&usage.counters), output(&usage.estimated))).unwrap();
            }
        }
    }
    let (calls, called) = mpsc::channel();
    let (recorders, records) =
        start(1, vec![named(Estimates(calls))], Ratios::default(), &Drops::default()).unwrap();
    let exchange = |usage: Usage| {
        let provider = FileName::new("demo");
        recorders[0].record(AccessRecord { provider, usage: Some(Box::new(usage)), ..record("/", 0, 0) });
    };
    let mut counted = Usage { answer_bytes: 1_000_000, ..Usage::default() };
    counted.counters.set(Counter::Output, 500_000);
    exchange(counted);
    let to_estimate = Sides { prompt: false, answer: true };
    exchange(Usage { answer_bytes: 1000, to_estimate, ..Usage::default() });
    drop(records);
    assert_eq!(called.recv_timeout(LIMIT), Ok((500_000, 0)));
    let (output, estimated) = called.recv_timeout(LIMIT).unwrap();
    assert!(output == estimated && (490..=500).contains(&output), "{output}: 2 bytes a token were learned");
}

fn recorder() -> Recorder {
    let (drops, text_drops) = (DropCount::default(), DropCount::default());
    Recorder { buffer: Arc::default(), drops, text_drops, text_rooms: None }
}

#[test]
fn without_room_for_its_text_a_record_goes_on_without() {
    let recorder = recorder();
    let parameters = vec![("temperature".into(), "1".to_owned())];
    let exchange = |bytes: usize| {
        let content =
            Content { answer: "x".repeat(bytes), parameters: parameters.clone(), ..Content::default() };
        let usage = Usage { content: Some(Arc::new(content)), ..Usage::default() };
        recorder.record(AccessRecord { usage: Some(Box::new(usage)), ..record("/", 0, 0) });
    };
    exchange(MAX_TEXT - 10);
    exchange(11);
    exchange(10);
    exchange(1);
    exchange(0);
    let take = || {
        let mut records = Vec::new();
        recorder.buffer.take(&mut records);
        let contents = records.into_iter().map(|record| record.usage.unwrap().content.unwrap());
        contents
            .map(|content| (content.answer.len(), content.is_dropped, content.parameters.len()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        take(),
        [(MAX_TEXT - 10, false, 1), (0, true, 1), (10, false, 1), (0, true, 1), (0, false, 1)]
    );
    exchange(MAX_TEXT);
    assert_eq!(take(), [(MAX_TEXT, false, 1)]);
    assert_eq!((recorder.text_drops.get(), recorder.drops.get()), (2, 0));
}

#[test]
fn a_full_buffer_drops_and_counts() {
    let recorder = recorder();
    for number in 0..MAX_RECORDS + 3 {
        recorder.record(record(&number.to_string(), 0, 0));
    }
    let kept = &recorder.buffer.lock().records;
    assert_eq!((kept.len(), kept[MAX_RECORDS - 1].path.as_str()), (MAX_RECORDS, "8191"));
    assert_eq!(recorder.drops.get(), 3);
}

/// A sink that never returns, until the test ends it.
struct Hangs(mpsc::Receiver<Infallible>);

impl Sink for Hangs {
    fn record(&mut self, _: &[AccessRecord]) {
        let _ = self.0.recv();
    }
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_sink_for_ever() {
    let (end, ended) = mpsc::channel();
    let (recorders, records) =
        start(1, vec![named(Hangs(ended))], Ratios::default(), &Drops::default()).unwrap();
    recorders[0].record(record("/", 0, 0));
    assert!(!records.close(Duration::ZERO).await);
    drop(end);
}

/// A sink that panics at each record with this path.
struct Panics(&'static str);

impl Sink for Panics {
    fn record(&mut self, records: &[AccessRecord]) {
        assert!(records.iter().all(|record| record.path != self.0), "a bug");
    }
}

#[test]
fn a_sink_that_panics_delays_no_other_and_is_off_in_the_end() {
    let (calls, called) = mpsc::channel();
    let drops = Drops::default();
    let sinks = [("bad".to_owned(), Box::new(Panics("/bad")) as Box<dyn Sink>), named(Probe(calls))];
    let buffer: Arc<Buffer> = Arc::default();
    let mut distributor = Distributor {
        buffers: vec![buffer.clone()],
        spare: Vec::new(),
        batch: Vec::new(),
        ratios: Ratios::default(),
        sinks: sinks.map(|sink| Guarded::new(sink, &drops)).into(),
        report: DropReport::new(drops.clone()),
        reported: Instant::now(),
    };
    let mut hand_on = |paths: &[&str]| {
        buffer.lock().records.extend(paths.iter().map(|path| record(path, 0, 0)));
        distributor.hand_on();
        drops.numbers()["sink.bad"]
    };
    assert_eq!(hand_on(&["/bad", "/good"]), 2);
    assert_eq!(drops.sinks.get()["bad"], "panicked 1 time since the start, see the log; it is on");
    assert_eq!(hand_on(&["/good"]), 2);
    for panics in 2..=10 {
        assert_eq!(hand_on(&["/bad"]), 1 + panics);
    }
    assert_eq!(hand_on(&["/good"]), 12);
    let problem = "panicked 10 times since the start, see the log; it is off until a restart";
    assert_eq!(drops.sinks.get(), [("bad".to_owned(), problem.to_owned())].into());
    let records = called.try_iter().filter(|call| matches!(call, Call::Records(_))).count();
    assert_eq!(records, 12);
}
