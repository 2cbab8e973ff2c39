//! The authentication rate limit: failed authentications per IP address (IPv6: per /64), in one worker. The response to
//! each further failure is delayed for longer. A valid token is never delayed: it never gets here.
//!
//! The number of addresses and the number of concurrently delayed responses are bounded.

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

use super::lru::LruMap;

/// Failures without delay. Every `LEAK_INTERVAL` allows one more.
const FREE_ATTEMPTS: u32 = 10;
const LEAK_INTERVAL: Duration = Duration::from_secs(6);
/// The first delay. Each further one is twice as long.
const MIN_DELAY: Duration = Duration::from_millis(100);
/// The longest delay.
const MAX_DELAY: Duration = Duration::from_secs(5);
/// Failures that are counted at most: then the delay is the longest.
const MAX_COUNTED: u32 = FREE_ATTEMPTS + 7;
const MAX_ADDRESSES: usize = 20_000;
/// Maximum concurrently delayed responses.
const MAX_DELAYED: usize = 128;

/// The rate limit of one worker. Its lock is never contended: no other thread takes it.
#[derive(Debug)]
pub struct AuthRateLimit {
    buckets: Mutex<Buckets>,
    delayed: Semaphore,
}

/// Too many responses are delayed already: this one has to be a 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyDelayed;

impl Default for AuthRateLimit {
    fn default() -> Self {
        Self { buckets: Mutex::new(Buckets::new(MAX_ADDRESSES)), delayed: Semaphore::new(MAX_DELAYED) }
    }
}

impl AuthRateLimit {
    /// Counts a failed authentication, and waits for the delay of its response.
    pub async fn record_failure(&self, from: IpAddr) -> Result<(), TooManyDelayed> {
        let delay = self.count(from, Instant::now());
        if delay == MIN_DELAY {
            tracing::info!(peer = %from, "authentication rate limit: responses to this address are delayed");
        }
        if !delay.is_zero() {
            let _permit = self.delayed.try_acquire().map_err(|_| TooManyDelayed)?;
            tokio::time::sleep(delay).await;
        }
        Ok(())
    }

    fn count(&self, from: IpAddr, now: Instant) -> Duration {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner).add(network(from), now)
    }
}

/// The unit that is counted: an IPv4 address, or the /64 prefix of an IPv6 address.
fn network(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() & !u128::from(u64::MAX),
    }
}

/// A leaky bucket per network, stored as the time at which it is empty.
#[derive(Debug)]
struct Buckets {
    empty_at: LruMap<u128, Instant>,
}

impl Buckets {
    fn new(max_addresses: usize) -> Self {
        Self { empty_at: LruMap::new(max_addresses) }
    }

    /// Counts a failure and returns the delay of its response.
    fn add(&mut self, network: u128, now: Instant) -> Duration {
        let empty_at = self.empty_at.get(&network).map_or(now, |at| *at).max(now);
        let empty_at = (empty_at + LEAK_INTERVAL).min(now + LEAK_INTERVAL * MAX_COUNTED);
        self.empty_at.insert(network, empty_at);
        let counted = (empty_at - now).as_millis().div_ceil(LEAK_INTERVAL.as_millis());
        delay(u32::try_from(counted).unwrap_or(MAX_COUNTED))
    }
}

/// The delay after so many counted failures.
fn delay(counted: u32) -> Duration {
    match counted.checked_sub(FREE_ATTEMPTS + 1) {
        None => Duration::ZERO,
        Some(doublings) => (MIN_DELAY * 2_u32.pow(doublings.min(MAX_COUNTED))).min(MAX_DELAY),
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// The delays, in milliseconds, of the last of the failures at these seconds.
    fn check(seconds: &[u64], expected: &[u128]) {
        let (start, mut buckets) = (Instant::now(), Buckets::new(10));
        let delay = |second: &u64| buckets.add(1, start + Duration::from_secs(*second)).as_millis();
        let delays: Vec<u128> = seconds.iter().map(delay).collect();
        assert_eq!(&delays[delays.len() - expected.len()..], expected);
    }

    #[test]
    fn the_delay_grows_with_failures_and_decays_with_time() {
        check(&[0; 10], &[0; 10]);
        let mut expected = vec![0; 10];
        expected.extend([100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        check(&[0; 19], &expected);
        // One failure every six seconds is never delayed.
        check(&(0..600).step_by(6).collect::<Vec<_>>(), &[0; 100]);
        // After any flood, one failure is free again after 48 seconds, and ten after 102.
        let flood = [0; 1000];
        check(&[&flood[..], &[41]].concat(), &[200]);
        check(&[&flood[..], &[48, 48]].concat(), &[0, 100]);
        let ten = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 100];
        check(&[&flood[..], &[102; 11]].concat(), &ten);
    }

    #[test]
    fn each_ipv4_address_and_each_ipv6_64_is_counted_separately() {
        let check = |one: &str, other: &str, same: bool| {
            let [one, other] = [one, other].map(|text| network(text.parse().unwrap()));
            assert_eq!(one == other, same);
        };
        check("192.0.2.1", "192.0.2.1", true);
        check("192.0.2.1", "::ffff:192.0.2.1", true);
        check("192.0.2.1", "192.0.2.2", false);
        check("2001:db8::1", "2001:db8::ffff:1", true);
        check("2001:db8::1", "2001:db8:0:0:ffff::", true);
        check("2001:db8::1", "2001:db8:0:1::1", false);
        check("0.0.0.0", "::", false);
        let (now, mut buckets) = (Instant::now(), Buckets::new(10));
        for _ in 0..11 {
            buckets.add(1, now);
        }
        assert!(buckets.add(1, now) > Duration::ZERO);
        assert_eq!(buckets.add(2, now), Duration::ZERO);
    }

    #[test]
    fn the_number_of_counted_networks_is_bounded() {
        let (now, mut buckets) = (Instant::now(), Buckets::new(100));
        for network in 0..10_000 {
            buckets.add(network, now);
        }
        assert!(buckets.empty_at.len() <= 100);
    }

    #[tokio::test]
    async fn responses_above_the_maximum_of_delayed_ones_fail_at_once() {
        let limit = AuthRateLimit::default();
        let [flooder, other] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let fail = |from| {
            let mut answer = Box::pin(limit.record_failure(from));
            let polled = answer.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            (polled, answer)
        };
        let mut delayed_responses = Vec::new();
        for number in 0..1000_usize {
            let expected = match number.checked_sub(FREE_ATTEMPTS as usize) {
                None => Poll::Ready(Ok(())),
                Some(delayed) if delayed < MAX_DELAYED => Poll::Pending,
                Some(_) => Poll::Ready(Err(TooManyDelayed)),
            };
            let (polled, answer) = fail(flooder);
            assert_eq!(polled, expected, "{number}");
            delayed_responses.extend(polled.is_pending().then_some(answer));
        }
        assert_eq!(fail(other).0, Poll::Ready(Ok(())));
        delayed_responses.pop();
        assert_eq!(fail(flooder).0, Poll::Pending, "a dropped response frees its permit");
    }
}
