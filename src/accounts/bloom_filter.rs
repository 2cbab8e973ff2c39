//! A Bloom filter of all token hashes, so that a flood of wrong tokens does not reach the store. It has rare false
//! positives and no false negatives. Tokens that it does not contain are looked up within a small budget, since another
//! process may have just created them.
//!
//! It does no lookups and has no clock: `fill` and `watch` insert the hashes. Readers never wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use super::token::Candidates;
use crate::store::TokenHash;

/// False positives: one in 200,000 with this many bits per token, one in 256 with half of the bits set.
const BITS_PER_TOKEN: u64 = 32;
/// Smallest and largest capacity in tokens: 16 KiB, 128 MiB.
const FEW_TOKENS: u64 = 1 << 12;
const MANY_TOKENS: u64 = 1 << 25;
/// Budget of lookups for tokens that it does not contain: one per interval, with a burst of 50.
const LOOKUP_INTERVAL: Duration = Duration::from_millis(20);
const ASKED_AT_ONCE: Duration = Duration::from_secs(1);

/// The filter, shared by all workers.
#[derive(Debug, Default)]
pub(super) struct BloomFilter {
    /// None until it is filled. Until then every token is looked up.
    current: ArcSwapOption<Bits>,
    /// The one that is being filled.
    next: ArcSwapOption<Bits>,
    /// Notified when it has to be filled again.
    wanted: Notify,
    /// Time of the next lookup in the budget, in microseconds since the start.
    ask_from: AtomicU64,
}

/// The bits: eight per token.
#[derive(Debug)]
pub(super) struct Bits {
    words: Box<[AtomicU64]>,
    set: AtomicU64,
}

impl BloomFilter {
    /// True if these candidates may be looked up, `since_start` after the start.
    pub(super) fn lets_through(&self, candidates: Candidates, since_start: Duration) -> bool {
        let bits = self.current.load();
        let may_be_known =
            bits.as_ref().is_none_or(|bits| candidates.iter().any(|hash| bits.contains(&hash)));
        may_be_known || self.within_budget(since_start)
    }

    fn within_budget(&self, since_start: Duration) -> bool {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let (now, every) = (micros(since_start), micros(LOOKUP_INTERVAL));
        let latest = now + micros(ASKED_AT_ONCE) - every;
        let next = |from: u64| (from <= latest).then_some(from.max(now) + every);
        self.ask_from.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    /// Inserts a new token.
    pub(super) fn insert(&self, hash: &TokenHash) {
        let (current, next) = (self.current.load_full(), self.next.load_full());
        for bits in [&current, &next].into_iter().flatten() {
            bits.insert(hash);
        }
        if next.is_none() && current.is_some_and(|bits| bits.is_crowded()) {
            self.wanted.notify_one();
        }
    }

    /// Drops the filter, since tokens may be missing: every token is looked up until it is filled again.
    pub(super) fn forget(&self) {
        self.next.store(None);
        self.current.store(None);
        self.wanted.notify_one();
    }

    /// Requests a new one, since few tokens may be missing. The current one serves meanwhile.
    pub(super) fn renew(&self) {
        self.wanted.notify_one();
    }

    /// Waits until a new one is requested.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Starts a new one with room for `tokens` and some more. Insertions go into it from now on.
    pub(super) fn begin(&self, tokens: u64) -> Arc<Bits> {
        let bits = Arc::new(Bits::new(tokens));
        self.next.store(Some(bits.clone()));
        bits
    }

    /// Activates the new one, unless it was dropped meanwhile.
    pub(super) fn finish(&self, bits: &Arc<Bits>) {
        let next = self.next.swap(None);
        if next.is_some_and(|next| Arc::ptr_eq(&next, bits)) {
            self.current.store(Some(bits.clone()));
        }
    }
}

impl Bits {
    fn new(tokens: u64) -> Self {
        let words = tokens.clamp(FEW_TOKENS, MANY_TOKENS) * BITS_PER_TOKEN / 64;
        Self { words: (0..words).map(|_| AtomicU64::new(0)).collect(), set: AtomicU64::new(0) }
    }

    pub(super) fn insert(&self, hash: &TokenHash) {
        for (word, bit) in self.places(hash) {
            let before = self.words[word].fetch_or(bit, Ordering::Relaxed);
            self.set.fetch_add(u64::from(before & bit == 0), Ordering::Relaxed);
        }
    }

    fn contains(&self, hash: &TokenHash) -> bool {
        self.places(hash).all(|(word, bit)| self.words[word].load(Ordering::Relaxed) & bit != 0)
    }

    /// True if too many bits are set, so that false positives get frequent.
    fn is_crowded(&self) -> bool {
        self.set.load(Ordering::Relaxed) > self.words.len() as u64 * 64 / 2
    }

    /// The bit positions of a hash: its eight 32-bit numbers, scaled to the size.
    fn places(&self, hash: &TokenHash) -> impl Iterator<Item = (usize, u64)> + use<> {
        let size = self.words.len() as u64 * 64;
        hash.numbers().into_iter().map(move |number| {
            let place = (u64::from(number) * size) >> 32;
            (usize::try_from(place / 64).expect("it is less than the size"), 1 << (place % 64))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(number: u64) -> Candidates {
        Candidates::of(&format!("tg_{number}")).unwrap()
    }

    /// The number of these that pass at one moment.
    fn passing(filter: &BloomFilter, numbers: std::ops::Range<u64>) -> usize {
        let start = Duration::from_hours(1);
        numbers.filter(|number| filter.lets_through(one(*number), start)).count()
    }

    fn filled(filter: &BloomFilter, tokens: u64) {
        let bits = filter.begin(tokens);
        (0..tokens).for_each(|number| bits.insert(&one(number).whole));
        filter.finish(&bits);
    }

    #[test]
    fn right_tokens_always_pass_and_wrong_ones_hardly_ever() {
        for tokens in [0, 1, 1000, 20_000] {
            let filter = BloomFilter::default();
            assert_eq!(passing(&filter, 100_000..100_100), 100, "it knows nothing yet");
            filled(&filter, tokens);
            assert_eq!(passing(&filter, 0..tokens) as u64, tokens);
            // Fifty lookups are within the budget.
            let wrong = passing(&filter, 100_000..200_000);
            assert!((50..60).contains(&wrong), "{wrong} of 100,000 pass among {tokens}");
        }
    }

    #[test]
    fn what_is_not_known_asks_so_often() {
        let filter = BloomFilter::default();
        filled(&filter, 10);
        let asks = |millis: u64, count: u64| {
            let since_start = Duration::from_millis(millis);
            (0..count).filter(|number| filter.lets_through(one(1000 + number), since_start)).count()
        };
        assert_eq!(asks(0, 1000), 50);
        assert_eq!((asks(19, 10), asks(20, 10), asks(30, 10), asks(60, 10)), (0, 1, 0, 2));
        assert_eq!(asks(3_600_000, 1000), 50);
        assert!(filter.lets_through(one(5), Duration::ZERO));
        let behind_a_prefix = Candidates::of("vendor-tg_5").unwrap();
        assert!(filter.lets_through(behind_a_prefix, Duration::ZERO));
    }

    #[tokio::test]
    async fn it_grows_and_forgets() {
        let filter = BloomFilter::default();
        filled(&filter, 10);
        let is_wanted = async || tokio::time::timeout(Duration::ZERO, filter.wanted()).await.is_ok();
        assert!(!is_wanted().await);
        (0..FEW_TOKENS * 4).for_each(|number| filter.insert(&one(number).whole));
        assert!(is_wanted().await, "half of the bits are set");
        let bits = filter.begin(FEW_TOKENS * 4);
        filter.insert(&one(1_000_000).whole);
        (0..FEW_TOKENS * 4).for_each(|number| bits.insert(&one(number).whole));
        assert!(!bits.is_crowded());
        filter.finish(&bits);
        assert_eq!(passing(&filter, 1_000_000..1_000_001), 1, "it was told meanwhile");
        assert!(passing(&filter, 2_000_000..2_100_000) < 60);
        let bits = filter.begin(10);
        filter.forget();
        filter.finish(&bits);
        assert_eq!(passing(&filter, 2_000_000..2_000_100), 100, "nothing is known");
        assert!(is_wanted().await);
    }
}
