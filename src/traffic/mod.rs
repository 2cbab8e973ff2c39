//! Figures of calls to providers: of the last minute in parts of 5 s, and of the last 24 hours in parts of 5 minutes.
//!
//! A sink on the recorder's thread adds each finished call at the time at which it comes there, by a clock that nobody sets. Memory is fixed, whatever is called. The figures begin with the
//! process: what has to outlive it is in the ledger. Read next: `ring` for the parts, `histogram` for percentiles.

mod histogram;
mod refused;
mod ring;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

pub use self::{histogram::Histogram, refused::RefusedKey, ring::Figures};
use self::{refused::RefusedKeys, ring::Ring};
use crate::{
    access_record::{AccessRecord, Outcome},
    clock,
    compile::Prices,
    day::Day,
    files::Live,
    numbers::millis,
    recorder::Sink,
    upstream::ConnectionCounts,
};

/// The length of a part of the last minute.
const PART_MS: u64 = 5000;
/// The parts of the last minute: the current one is not over yet.
const MINUTE: usize = 12;
/// The length of a part of the last day.
const DAY_PART_MS: u64 = 5 * 60_000;
/// The parts of the last day.
const DAY_PARTS: usize = 288;
const HOUR_MS: u64 = 3_600_000;

/// The figures of this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Traffic(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The start of the process, in milliseconds since 1970.
    started_at_ms: u64,
    /// The same time.
    started: Instant,
    windows: Mutex<Windows>,
    refused: Mutex<RefusedKeys>,
    /// Of each worker.
    connections: Mutex<Vec<Arc<ConnectionCounts>>>,
}

#[derive(Debug)]
struct Windows {
    minute: Ring,
    day: Ring,
}

/// The figures of a range up to now.
#[derive(Debug, Clone)]
pub struct Window {
    /// Its begin: that of the process, if it is shorter. In milliseconds since 1970.
    pub since_ms: u64,
    /// The sums.
    pub figures: Figures,
}

/// The sink that adds finished calls.
struct Adding {
    traffic: Traffic,
    /// For the current prices.
    live: Arc<Live>,
}

/// True for an end that is no fault of the client: the gateway, the upstream or the way to it failed.
pub const fn is_error(outcome: Outcome) -> bool {
    match outcome {
        Outcome::GatewayError
        | Outcome::UpstreamFailed
        | Outcome::UpstreamLimited
        | Outcome::UpstreamError
        | Outcome::Cut => true,
        Outcome::Success | Outcome::Refused | Outcome::UpstreamRejected | Outcome::ClientLeft => false,
    }
}

impl Traffic {
    /// Empty figures of a process that starts at this time, in milliseconds since 1970.
    pub fn new(started_at_ms: u64) -> Self {
        let windows = Windows { minute: Ring::new(PART_MS, MINUTE), day: Ring::new(DAY_PART_MS, DAY_PARTS) };
        let (windows, refused, connections) = (Mutex::new(windows), Mutex::default(), Mutex::default());
        Self(Arc::new(Shared { started_at_ms, started: Instant::now(), windows, refused, connections }))
    }

    /// The sink that fills them.
    pub fn sink(&self, live: Arc<Live>) -> Box<dyn Sink> {
        Box::new(Adding { traffic: self.clone(), live })
    }

    /// Adds the connections of a worker that starts.
    pub fn add_worker(&self, connections: Arc<ConnectionCounts>) {
        lock(&self.0.connections).push(connections);
    }

    /// Answers of upstreams that are being passed on.
    pub fn streams(&self) -> usize {
        lock(&self.0.connections).iter().map(|worker| worker.streams()).sum()
    }

    /// The last minute: eleven whole parts, and the current one.
    pub fn last_minute(&self) -> Window {
        self.window(self.now_ms(), MINUTE, |windows| &windows.minute).by_wall_clock(self.now_ms())
    }

    /// The last 24 hours.
    pub fn last_day(&self) -> Window {
        self.window(self.now_ms(), DAY_PARTS, |windows| &windows.day).by_wall_clock(self.now_ms())
    }

    /// The stored keys that upstreams refuse, and that were refused within the last hour; the latest first.
    pub fn refused_keys(&self) -> Vec<RefusedKey> {
        lock(&self.0.refused).since(clock::now_ms().saturating_sub(HOUR_MS))
    }

    /// The start, and the time since then: unlike the wall clock, it never steps.
    fn now_ms(&self) -> u64 {
        self.0.started_at_ms.saturating_add(millis(self.0.started.elapsed()))
    }

    fn window(&self, now_ms: u64, parts: usize, ring: fn(&Windows) -> &Ring) -> Window {
        let windows = lock(&self.0.windows);
        let (since_ms, figures) = ring(&windows).last(now_ms, parts);
        Window { since_ms: since_ms.max(self.0.started_at_ms).min(now_ms), figures }
    }

    fn add(&self, records: &[AccessRecord], prices: &Prices, now_ms: u64) {
        let (mut windows, mut refused) = (lock(&self.0.windows), lock(&self.0.refused));
        for record in records {
            // tollgate's own answers are no traffic: a page that looks at these figures would be in them.
            let Some(provider) = &record.provider else { continue };
            let model = record.usage.as_ref().map_or("", |usage| usage.charged_model());
            let price = prices.find(provider.as_str(), model, Day::of_seconds(record.ended_at_ms() / 1000));
            windows.minute.at(now_ms).add(record, price);
            windows.day.at(now_ms).add(record, price);
            refused.note(record);
        }
    }
}

impl Window {
    /// The same, with its begin by the wall clock. `now_ms`: the time that it was made for.
    fn by_wall_clock(self, now_ms: u64) -> Self {
        Self { since_ms: clock::now_ms().saturating_sub(now_ms.saturating_sub(self.since_ms)), ..self }
    }
}

impl Sink for Adding {
    fn record(&mut self, records: &[AccessRecord]) {
        let prices = Arc::clone(&self.live.snapshot().prices);
        self.traffic.add(records, &prices, self.traffic.now_ms());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, time::Duration};

    use http::{Method, StatusCode};

    use super::*;
    use crate::{access_record::End, name::FileName};

    /// A call that ended at this time.
    fn call(ended_at_ms: u64, status: u16) -> AccessRecord {
        let peer = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
        AccessRecord {
            provider: FileName::new("t"),
            status: StatusCode::from_u16(status).ok(),
            end: End::Complete,
            first_byte: Some(Duration::from_millis(40)),
            ..AccessRecord::begun(peer, Method::GET, "/".to_owned(), ended_at_ms)
        }
    }

    #[test]
    fn calls_count_in_the_minute_and_the_day_that_they_end_in() {
        let start = 1_800_000_000_000;
        let traffic = Traffic::new(start);
        let own = AccessRecord { provider: None, ..call(start, 200) };
        traffic.add(&[own, call(start + 1, 200)], &Prices::default(), start + 1);
        // The wall clock was set back: the figures stay.
        traffic.add(&[call(start - 86_400_000, 502)], &Prices::default(), start + 2);
        let check = |after_ms: u64, minute: (u64, u64), day: u64| {
            let now = start + after_ms;
            let last = traffic.window(now, MINUTE, |windows| &windows.minute);
            assert_eq!((last.figures.requests, last.figures.errors()), minute, "after {after_ms} ms");
            let whole = traffic.window(now, DAY_PARTS, |windows| &windows.day);
            assert_eq!(whole.figures.requests, day, "after {after_ms} ms");
            assert!((start..=now).contains(&last.since_ms) && now - last.since_ms <= 60_000);
        };
        check(2, (2, 1), 2);
        check(59_000, (2, 1), 2);
        check(60_000, (0, 0), 2);
        check(86_000_000, (0, 0), 2);
        check(86_400_000, (0, 0), 0);
    }
}
