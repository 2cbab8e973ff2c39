//! Reloads while requests and streams are under way: none fails, none is led elsewhere, none is cut. And how
//! long a save takes to serve.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use crate::harness::{Framing, Site, Wire, answered, pause, save};

const RELOADS: usize = 1000;
const SAVES: usize = 40;
const NAMES: [&str; 3] = ["a", "b", "c"];
/// How often the open loop sends.
const RATE: Duration = Duration::from_millis(5);

/// What one client saw last of each provider: an older version never comes back.
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

/// One request after the other, with a moment for the reloads between.
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

/// Requests at a fixed rate, whether they are answered or not.
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

/// A stream that is open; it has begun.
fn open_stream(site: &Site, name: &str) -> Wire {
    let mut client = connect(site);
    client.send(site.request(name, "stream"));
    let head = client.head().unwrap();
    assert_eq!((head.status(), head.answer_framing().unwrap()), (200, Framing::Chunked));
    client
}

/// All events of a stream, to its proper end.
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
fn a_thousand_reloads_harm_no_request() {
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
            // An event may have been quicker.
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
    // The files have no tests, and are warned of that.
    let log: Vec<_> = site.gateway().log().into_iter().filter(|line| !line.contains("TG064")).collect();
    assert!(!log.iter().any(|line| line.contains("\"ERROR\"") || line.contains("\"WARN\"")), "{log:?}");
}

#[test]
fn a_save_serves_soon() {
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
