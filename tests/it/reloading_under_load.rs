//! Reloads under load: no request fails, no stream is cut or sent to another upstream. And the time from a save to its
//! first answer.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use crate::harness::{Framing, Site, Wire, answered, pause, save};

const RELOADS: usize = 1000;
const SAVES: usize = 40;
const NAMES: [&str; 3] = ["a", "b", "c"];
/// The interval between two requests of the open loop.
const RATE: Duration = Duration::from_millis(5);

/// The last version of each provider that one client saw: an older one must not follow.
#[derive(Default)]
struct Seen([usize; NAMES.len()]);

impl Seen {
    fn take(&mut self, at: usize, version: &str) {
        let version = version.parse().unwrap_or_else(|_| panic!("{} is out: {version}", NAMES[at]));
        assert!(version >= self.0[at], "{} goes back from {} to {version}", NAMES[at], self.0[at]);
        self.0[at] = version;
    }
}

fn connect(site: &Site) -> Wire {
    Wire::connect(site.gateway().address)
}

/// Requests one after the other, with a pause for the reloads.
fn closed_loop(site: &Site, over: &AtomicBool) -> usize {
    let (mut client, mut seen, mut count) = (connect(site), Seen::default(), 0);
    while !over.load(Ordering::Acquire) {
        let at = count % NAMES.len();
        seen.take(at, &site.seen(&mut client, NAMES[at]));
        count += 1;
        pause(Duration::from_millis(1));
    }
    count
}

/// Requests at a fixed rate, independent of the answers.
fn open_loop(site: &Site, over: &AtomicBool) -> usize {
    let mut answers = connect(site);
    let mut requests = answers.twin();
    let sent = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let start = Instant::now();
            for number in 0.. {
                let due = start + RATE * u32::try_from(number).unwrap();
                pause(due.saturating_duration_since(Instant::now()));
                requests.send(site.request(NAMES[number % NAMES.len()], "get"));
                sent.store(number + 1, Ordering::Release);
                if over.load(Ordering::Acquire) {
                    return;
                }
            }
        });
        let (mut seen, mut count) = (Seen::default(), 0);
        loop {
            let done = sender.is_finished();
            if count < sent.load(Ordering::Acquire) {
                let at = count % NAMES.len();
                seen.take(at, &answered(&mut answers, NAMES[at]));
                count += 1;
            } else if done {
                return count;
            } else {
                pause(Duration::from_millis(1));
            }
        }
    })
}

/// Opens a stream and reads its beginning.
fn open_stream(site: &Site, name: &str) -> Wire {
    let mut client = connect(site);
    client.send(site.request(name, "stream"));
    let head = client.head().unwrap();
    assert_eq!((head.status(), head.answer_framing().unwrap()), (200, Framing::Chunked));
    client
}

/// Reads a stream to its proper end. Returns the number of events.
fn events(mut client: Wire) -> usize {
    let (body, _) = client.body(Framing::Chunked).unwrap_or_else(|broken| panic!("{broken:?}; {client:?}"));
    let text = String::from_utf8(body).unwrap();
    let events: Vec<&str> = text.split_terminator("\n\n").collect();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(*event, format!("data: {number}"));
    }
    events.len()
}

#[test]
fn a_thousand_reloads_disturb_no_request() {
    let site = Site::new("a=0 b=0 c=0", &["--workers", "2", "--sweep", "1h"]);
    let over = AtomicBool::new(false);
    let streams: Vec<Wire> = NAMES.iter().map(|name| open_stream(&site, name)).collect();
    let start = Instant::now();
    let (closed, open) = std::thread::scope(|scope| {
        let closed = [(); 2].map(|()| scope.spawn(|| closed_loop(&site, &over)));
        let open = scope.spawn(|| open_loop(&site, &over));
        let mut client = connect(&site);
        let mut generation = 1;
        for number in 1..=RELOADS {
            let (name, version) = (NAMES[number % NAMES.len()], number.to_string());
            save(&site.file(name), &site.text(name, &version));
            let status = site.reload();
            let now = status["generation"].as_u64().unwrap();
            // The event may have caused the reload first.
            assert!(status["ok"] == true && now >= generation, "{status}");
            generation = now;
            assert_eq!(site.seen(&mut client, name), version);
        }
        assert!(generation > RELOADS as u64, "{generation} generations");
        over.store(true, Ordering::Release);
        (closed.map(|one| one.join().unwrap()), open.join().unwrap())
    });
    let took = start.elapsed();
    site.upstream.end_streams();
    let events: Vec<usize> = streams.into_iter().map(events).collect();
    println!(
        "{RELOADS} reloads in {took:?}: closed loops {closed:?}, open loop {open} requests, streams {events:?} events"
    );
    assert!(events.iter().all(|count| *count > 10));
    // Lints warn that the files have no tests.
    let log: Vec<_> = site.gateway().log().into_iter().filter(|line| !line.contains("TG064")).collect();
    assert!(!log.iter().any(|line| line.contains("\"ERROR\"") || line.contains("\"WARN\"")), "{log:?}");
}

#[test]
fn a_saved_file_serves_soon() {
    let site = Site::new("a=0 b=0 c=0", &[]);
    let mut client = connect(&site);
    let mut times: Vec<Duration> = (1..=SAVES)
        .map(|number| {
            let version = number.to_string();
            save(&site.file("a"), &site.text("a", &version));
            let saved = Instant::now();
            while site.seen(&mut client, "a") != version {
                assert!(saved.elapsed() < Duration::from_secs(5), "version {version} does not serve");
                pause(Duration::from_millis(1));
            }
            saved.elapsed()
        })
        .collect();
    times.sort();
    println!(
        "from save to served, {SAVES} times: median {:?}, at most {:?}",
        times[SAVES / 2],
        times[SAVES - 1]
    );
}
