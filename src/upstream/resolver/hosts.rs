//! The state of DNS lookups per host: what is cached, what is in flight, and which lookup may start. Pure: the caller
//! passes the time, runs the lookups and holds the lock.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::LookupError;

/// Time for which addresses are used without another lookup.
const FRESH: Duration = Duration::from_secs(5);
/// Time since the last good lookup for which its addresses stand in for one that is slow, fails temporarily or cannot start.
const STALE: Duration = Duration::from_mins(5);
/// Shortest and longest time of negative caching. In between, a failure is cached for as long as its lookup took, so that a
/// host that hangs has a lookup in flight for at most half of the time.
const FAILED: Duration = Duration::from_secs(2);
const FAILED_MOST: Duration = Duration::from_secs(10);
/// A lookup that takes longer is slow.
const SLOW: Duration = Duration::from_secs(1);
/// Timeout for a lookup, after which the addresses of an earlier one stand in.
pub(super) const STALE_TIMEOUT: Duration = Duration::from_millis(250);
/// Maximum number of hosts that are remembered.
const MAX_HOSTS: usize = 1024;

/// Maximum lookups in flight, for a host whose last lookup was quick. A lookup that hangs cannot be cancelled: this is also
/// the maximum number of threads.
pub(super) const MAX_LOOKUPS: usize = 128;
/// The same for a host that was never looked up.
pub(super) const MAX_FOR_NEW: usize = 112;
/// The same for a host whose last lookup was slow: hosts that hang leave the rest to all others.
const MAX_FOR_SLOW: usize = 16;

/// The addresses of a host, in the order of the system.
pub(super) type Addresses = Arc<[IpAddr]>;
/// The outcome of a lookup.
pub(super) type Outcome = Result<Addresses, LookupError>;
/// Receives the outcome of the lookup in flight.
pub(super) type Flight = watch::Receiver<Option<Outcome>>;

/// What to do for a host.
pub(super) enum Step {
    /// The outcome is known.
    Known(Outcome),
    /// Wait for the lookup in flight. If it is slow, the addresses of an earlier one stand in.
    Wait(Flight, Option<Addresses>),
    /// Start a lookup, then wait as above.
    Start(watch::Sender<Option<Outcome>>, Flight, Option<Addresses>),
    /// No lookup can start now.
    Busy,
}

/// All hosts.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    hosts: HashMap<Box<str>, Host>,
    in_flight: usize,
}

#[derive(Debug, Default)]
struct Host {
    found: Option<(Addresses, Instant)>,
    failed: Option<(LookupError, Instant)>,
    pace: Pace,
    /// The lookup in flight, and its begin.
    flight: Option<(Flight, Instant)>,
}

/// How the last lookup went.
#[derive(Debug, Clone, Copy, Default)]
enum Pace {
    #[default]
    New,
    Quick,
    Slow,
}

impl Pace {
    fn max_in_flight(self) -> usize {
        match self {
            Self::New => MAX_FOR_NEW,
            Self::Quick => MAX_LOOKUPS,
            Self::Slow => MAX_FOR_SLOW,
        }
    }
}

impl Hosts {
    /// The step for a caller that needs the addresses of `name`.
    pub(super) fn step(&mut self, name: &str, now: Instant) -> Step {
        let host = self.hosts.get(name);
        let stale = host.and_then(|host| host.found_within(STALE, now));
        if let Some(fresh) = host.and_then(|host| host.found_within(FRESH, now)) {
            return Step::Known(Ok(fresh));
        }
        if let Some((flight, started)) = host.and_then(|host| host.flight.clone()) {
            let waited = now.duration_since(started) >= STALE_TIMEOUT;
            return match stale {
                Some(stale) if waited => Step::Known(Ok(stale)),
                Some(_) | None => Step::Wait(flight, stale),
            };
        }
        if let Some(error) = host.and_then(|host| host.failed_until(now)) {
            return Step::Known(stale.ok_or(error));
        }
        let pace = host.map_or(Pace::New, |host| host.pace);
        if self.in_flight >= pace.max_in_flight() {
            return stale.map_or(Step::Busy, |stale| Step::Known(Ok(stale)));
        }
        self.make_room(now);
        let (sender, flight) = watch::channel(None);
        self.hosts.entry(name.into()).or_default().flight = Some((flight.clone(), now));
        self.in_flight += 1;
        Step::Start(sender, flight, stale)
    }

    /// Records the end of the lookup in flight of `name`.
    pub(super) fn ended(&mut self, name: &str, outcome: &Outcome, now: Instant) {
        let Some(host) = self.hosts.get_mut(name) else { return };
        let Some((_, started)) = host.flight.take() else { return };
        self.in_flight -= 1;
        let took = now.duration_since(started);
        host.pace = if took >= SLOW { Pace::Slow } else { Pace::Quick };
        match outcome {
            Ok(addresses) => {
                host.found = Some((addresses.clone(), now));
                host.failed = None;
            }
            Err(error) => {
                // An answer that the name does not exist ends the use of earlier addresses.
                host.found.take_if(|_| !error.is_temporary);
                host.failed = Some((error.clone(), now + took.clamp(FAILED, FAILED_MOST)));
            }
        }
    }

    #[cfg(test)]
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Forgets hosts, so that there is room for another: those without use, or else the one looked up least recently.
    /// Never one with a lookup in flight.
    fn make_room(&mut self, now: Instant) {
        if self.hosts.len() < MAX_HOSTS {
            return;
        }
        self.hosts.retain(|_, host| host.is_of_use(now));
        if self.hosts.len() >= MAX_HOSTS {
            let idle = self.hosts.iter().filter(|(_, host)| host.flight.is_none());
            let oldest = idle.min_by_key(|(_, host)| host.found.as_ref().map(|(_, since)| *since));
            if let Some(name) = oldest.map(|(name, _)| name.clone()) {
                self.hosts.remove(&name);
            }
        }
    }
}

impl Host {
    fn found_within(&self, time: Duration, now: Instant) -> Option<Addresses> {
        let found = self.found.as_ref().filter(|(_, since)| now.duration_since(*since) < time);
        found.map(|(addresses, _)| addresses.clone())
    }

    fn failed_until(&self, now: Instant) -> Option<LookupError> {
        self.failed.as_ref().filter(|(_, until)| now < *until).map(|(error, _)| error.clone())
    }

    fn is_of_use(&self, now: Instant) -> bool {
        self.flight.is_some() || self.found_within(STALE, now).is_some() || self.failed_until(now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hosts under a clock of the test's own.
    struct Clock {
        hosts: Hosts,
        now: Instant,
    }

    impl Clock {
        fn new() -> Self {
            Self { hosts: Hosts::default(), now: Instant::now() }
        }

        fn pass(&mut self, seconds: f64) {
            self.now += Duration::from_secs_f64(seconds);
        }

        /// The step, as a word, and the number of addresses known.
        fn step(&mut self, name: &str) -> (&'static str, usize) {
            match self.hosts.step(name, self.now) {
                Step::Known(Ok(addresses)) => ("known", addresses.len()),
                Step::Known(Err(_)) => ("failed", 0),
                Step::Wait(_, stale) => ("wait", stale.map_or(0, |stale| stale.len())),
                Step::Start(_, _, stale) => ("start", stale.map_or(0, |stale| stale.len())),
                Step::Busy => ("busy", 0),
            }
        }

        /// Starts a lookup, which ends after a time. With no outcome it fails for the time being.
        fn look_up(&mut self, name: &str, seconds: f64, addresses: Option<usize>) {
            assert_eq!(self.step(name).0, "start", "{name}");
            self.pass(seconds);
            self.end(name, addresses.ok_or(true));
        }

        fn end(&mut self, name: &str, outcome: Result<usize, bool>) {
            let outcome = match outcome {
                Ok(count) => Ok(vec![IpAddr::from([192, 0, 2, 1]); count].into()),
                Err(is_temporary) => Err(LookupError { what: "scripted".into(), is_temporary, local: None }),
            };
            self.hosts.ended(name, &outcome, self.now);
        }
    }

    #[test]
    fn addresses_are_fresh_then_stand_in_then_are_forgotten() {
        let mut clock = Clock::new();
        clock.look_up("a", 0.1, Some(2));
        assert_eq!(clock.step("a"), ("known", 2));
        clock.pass(4.9);
        assert_eq!(clock.step("a"), ("known", 2));
        clock.pass(0.1);
        assert_eq!(clock.step("a"), ("start", 2));
        assert_eq!(clock.step("a"), ("wait", 2));
        clock.pass(0.3);
        assert_eq!(clock.step("a"), ("known", 2), "slow: nobody waits again");
        clock.pass(300.0);
        assert_eq!(clock.step("a"), ("wait", 0), "too old");
    }

    #[test]
    fn failures_are_cached_for_as_long_as_they_took_within_bounds() {
        for (took, cached) in [(0.1, 2.0), (5.0, 5.0), (40.0, 10.0)] {
            let mut clock = Clock::new();
            clock.look_up("a", took, None);
            clock.pass(cached - 0.1);
            assert_eq!(clock.step("a"), ("failed", 0), "{took}");
            clock.pass(0.1);
            assert_eq!(clock.step("a"), ("start", 0), "{took}");
        }
    }

    #[test]
    fn earlier_addresses_survive_a_temporary_failure_alone() {
        for (is_temporary, expected) in [(true, ("known", 1)), (false, ("failed", 0))] {
            let mut clock = Clock::new();
            clock.look_up("a", 0.1, Some(1));
            clock.pass(6.0);
            assert_eq!(clock.step("a"), ("start", 1));
            clock.pass(0.1);
            clock.end("a", Err(is_temporary));
            assert_eq!(clock.step("a"), expected);
        }
    }

    #[test]
    fn hosts_that_hang_get_a_share() {
        let mut clock = Clock::new();
        let name = |number: usize| format!("hang{number}");
        clock.look_up("quick", 0.1, None);
        clock.look_up("stale", 0.1, Some(1));
        clock.pass(10.0);
        for number in 0..MAX_FOR_NEW {
            assert_eq!(clock.step(&name(number)), ("start", 0));
        }
        assert_eq!(clock.step(&name(MAX_FOR_NEW)), ("busy", 0));
        assert_eq!(clock.step("quick"), ("start", 0), "a share is kept for hosts that were quick");
        clock.pass(10.0);
        clock.end("quick", Ok(1));
        for number in 0..MAX_FOR_NEW {
            clock.end(&name(number), Err(true));
        }
        clock.pass(10.0);
        for number in 0..MAX_FOR_SLOW {
            assert_eq!(clock.step(&name(number)), ("start", 0));
        }
        assert_eq!(clock.step(&name(MAX_FOR_SLOW)), ("busy", 0), "slow hosts have the smallest share");
        assert_eq!(clock.step("new"), ("start", 0));
        assert_eq!(clock.step("stale"), ("start", 1));
        // One that recovers is one among all others again.
        clock.end(&name(0), Ok(1));
        clock.pass(6.0);
        assert_eq!(clock.step(&name(0)), ("start", 1));
        assert_eq!(clock.hosts.in_flight(), MAX_FOR_SLOW + 2);
    }

    #[test]
    fn without_a_lookup_earlier_addresses_stand_in() {
        let mut clock = Clock::new();
        clock.look_up("a", 2.0, Some(1));
        clock.pass(6.0);
        for number in 0..MAX_FOR_SLOW {
            assert_eq!(clock.step(&number.to_string()), ("start", 0));
        }
        assert_eq!(clock.step("a"), ("known", 1));
        clock.pass(300.0);
        assert_eq!(clock.step("a"), ("busy", 0));
    }

    #[test]
    fn the_number_of_hosts_is_bounded() {
        let mut clock = Clock::new();
        assert_eq!(clock.step("in flight"), ("start", 0));
        for number in 0..3 * MAX_HOSTS {
            clock.look_up(&number.to_string(), 0.001, Some(1));
            assert!(clock.hosts.hosts.len() <= MAX_HOSTS);
        }
        assert_eq!(clock.step("in flight").0, "wait");
        assert_eq!(clock.step(&(3 * MAX_HOSTS - 1).to_string()), ("known", 1));
        clock.pass(400.0);
        clock.look_up("after a pause", 0.1, Some(1));
        assert_eq!(clock.hosts.hosts.len(), 2, "those without use are forgotten");
    }
}
