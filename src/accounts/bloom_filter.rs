//! A Bloom filter of all token hashes. It keeps a flood of wrong tokens away from the store. False positives are rare, and
//! there are no false negatives. A small budget (a rate limit) allows lookups of other tokens, since another process may
//! have just created them.
//!
//! It does no lookups and reads no clock. `watch` inserts the hashes. Readers never wait.

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
/// Capacity in tokens, 16 KiB to 128 MiB.
const MIN_CAPACITY: u64 = 1 << 12;
const MAX_CAPACITY: u64 = 1 << 25;
/// Budget of lookups for tokens that it does not contain: one per interval, with a burst of 50.
const LOOKUP_INTERVAL: Duration = Duration::from_millis(20);
const BURST: Duration = Duration::from_secs(1);

/// The filter, shared by all workers.
#[derive(Debug, Default)]
pub(super) struct BloomFilter {
    /// None until it is filled. Until then every token is looked up.
    current: ArcSwapOption<Bits>,
    /// The one that is being filled.
    next: ArcSwapOption<Bits>,
    /// Notified when it has to be filled again.
    fill_requested: Notify,
    /// Time of the next lookup in the budget, in microseconds since the start.
    next_lookup: AtomicU64,
}

/// The bits. A token sets up to eight of them.
#[derive(Debug)]
pub(super) struct Bits {
    words: Box<[AtomicU64]>,
    set: AtomicU64,
}

impl BloomFilter {
    /// True if these candidates may be looked up, `since_start` after the start.
    pub(super) fn allows_lookup(&self, candidates: Candidates, since_start: Duration) -> bool {
        self.may_contain(candidates) || self.within_budget(since_start)
    }

    /// False if none of these candidates is a token that it knows.
    pub(super) fn may_contain(&self, candidates: Candidates) -> bool {
        let bits = self.current.load();
        bits.as_ref().is_none_or(|bits| candidates.iter().any(|one| bits.contains(&one.hash)))
    }

    /// True if it has all tokens, and none with this hash.
    pub(super) fn excludes(&self, hash: &TokenHash) -> bool {
        self.current.load().as_ref().is_some_and(|bits| !bits.contains(hash))
    }

    fn within_budget(&self, since_start: Duration) -> bool {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let (now, every) = (micros(since_start), micros(LOOKUP_INTERVAL));
        let latest = now + micros(BURST) - every;
        let next = |from: u64| (from <= latest).then_some(from.max(now) + every);
        self.next_lookup.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    /// Inserts a new token.
    pub(super) fn insert(&self, hash: &TokenHash) {
        let (current, next) = (self.current.load_full(), self.next.load_full());
        for bits in [&current, &next].into_iter().flatten() {
            bits.insert(hash);
        }
        if next.is_none() && current.is_some_and(|bits| bits.is_saturated()) {
            self.fill_requested.notify_one();
        }
    }

    /// Drops the filter, since tokens may be missing: every token is looked up until it is filled again.
    pub(super) fn clear(&self) {
        self.next.store(None);
        self.current.store(None);
        self.fill_requested.notify_one();
    }

    /// Requests a new one, since few tokens may be missing. The current one serves meanwhile.
    pub(super) fn request_fill(&self) {
        self.fill_requested.notify_one();
    }

    /// Waits until a new one is requested.
    pub(super) async fn fill_requested(&self) {
        self.fill_requested.notified().await;
    }

    /// Starts a new one with a capacity of at least `tokens`. From now on, insertions go into it too.
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
        let words = tokens.clamp(MIN_CAPACITY, MAX_CAPACITY) * BITS_PER_TOKEN / 64;
        Self { words: (0..words).map(|_| AtomicU64::new(0)).collect(), set: AtomicU64::new(0) }
    }

    pub(super) fn insert(&self, hash: &TokenHash) {
        for (word, bit) in self.positions(hash) {
            let before = self.words[word].fetch_or(bit, Ordering::Relaxed);
            self.set.fetch_add(u64::from(before & bit == 0), Ordering::Relaxed);
        }
    }

    fn contains(&self, hash: &TokenHash) -> bool {
        self.positions(hash).all(|(word, bit)| self.words[word].load(Ordering::Relaxed) & bit != 0)
    }

    /// True if too many bits are set, so that false positives get frequent.
    fn is_saturated(&self) -> bool {
        self.set.load(Ordering::Relaxed) > self.words.len() as u64 * 64 / 2
    }

    /// The bit positions of a hash: its eight 32-bit numbers, scaled to the size.
    fn positions(&self, hash: &TokenHash) -> impl Iterator<Item = (usize, u64)> + use<> {
        let size = self.words.len() as u64 * 64;
        hash.numbers().into_iter().map(move |number| {
            let position = (u64::from(number) * size) >> 32;
            (usize::try_from(position / 64).expect("it is less than the size"), 1 << (position % 64))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(number: u64) -> Candidates {
        Candidates::of(&format!("tg_{number}")).unwrap()
    }

    fn hash(number: u64) -> TokenHash {
        TokenHash::of(&format!("tg_{number}"))
    }

    /// The number of these that pass at one moment.
    fn passing(filter: &BloomFilter, numbers: std::ops::Range<u64>) -> usize {
        let start = Duration::from_hours(1);
        numbers.filter(|number| filter.allows_lookup(one(*number), start)).count()
    }

    fn fill(filter: &BloomFilter, tokens: u64) {
        let bits = filter.begin(tokens);
        (0..tokens).for_each(|number| bits.insert(&hash(number)));
        filter.finish(&bits);
    }

    #[test]
    fn known_tokens_always_pass_and_others_hardly_ever() {
        for tokens in [0, 1, 1000, 20_000] {
            let filter = BloomFilter::default();
            assert_eq!(passing(&filter, 100_000..100_100), 100, "before it is filled, every token passes");
            fill(&filter, tokens);
            assert_eq!(passing(&filter, 0..tokens) as u64, tokens);
            // Fifty lookups are within the budget.
            let others = passing(&filter, 100_000..200_000);
            assert!((50..60).contains(&others), "{others} of 100,000 pass among {tokens}");
        }
    }

    #[test]
    fn other_tokens_are_looked_up_within_a_budget() {
        let filter = BloomFilter::default();
        fill(&filter, 10);
        let lookups = |millis: u64, count: u64| {
            let since_start = Duration::from_millis(millis);
            (0..count).filter(|number| filter.allows_lookup(one(1000 + number), since_start)).count()
        };
        assert_eq!(lookups(0, 1000), 50);
        assert_eq!((lookups(19, 10), lookups(20, 10), lookups(30, 10), lookups(60, 10)), (0, 1, 0, 2));
        assert_eq!(lookups(3_600_000, 1000), 50);
        assert!(filter.allows_lookup(one(5), Duration::ZERO));
        let prefixed = Candidates::of("vendor-tg_5").unwrap();
        assert!(filter.allows_lookup(prefixed, Duration::ZERO));
    }

    #[tokio::test]
    async fn it_is_filled_again_when_saturated_or_cleared() {
        let filter = BloomFilter::default();
        fill(&filter, 10);
        let is_requested =
            async || tokio::time::timeout(Duration::ZERO, filter.fill_requested()).await.is_ok();
        assert!(!is_requested().await);
        (0..MIN_CAPACITY * 4).for_each(|number| filter.insert(&hash(number)));
        assert!(is_requested().await, "half of the bits are set");
        let bits = filter.begin(MIN_CAPACITY * 4);
        filter.insert(&hash(1_000_000));
        (0..MIN_CAPACITY * 4).for_each(|number| bits.insert(&hash(number)));
        assert!(!bits.is_saturated());
        filter.finish(&bits);
        assert_eq!(passing(&filter, 1_000_000..1_000_001), 1, "inserted while it was being filled");
        assert!(passing(&filter, 2_000_000..2_100_000) < 60);
        let bits = filter.begin(10);
        filter.clear();
        filter.finish(&bits);
        assert_eq!(passing(&filter, 2_000_000..2_000_100), 100, "after it is cleared, every token passes");
        assert!(is_requested().await);
    }
}
