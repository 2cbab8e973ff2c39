//! `BloomFilter`: which tokens can be known at all, so that a flood of wrong ones does not reach the store. It is a
//! Bloom filter of all tokens' hashes: it may take a wrong token for a right one, now and then, and never a
//! right one for a wrong one. What it does not know asks the store only so often, since a token that another
//! process has just made is not in it yet.
//!
//! It asks nobody and has no clock: `fill` and `watch` put in what there is. No reader waits for anybody.

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

/// With so many bits for a token, one in 200,000 wrong tokens passes; with half of the bits set, one in 256.
const BITS_PER_TOKEN: u64 = 32;
/// It has room for so many tokens at least, and at most: 16 KiB, 128 MiB.
const FEW_TOKENS: u64 = 1 << 12;
const MANY_TOKENS: u64 = 1 << 25;
/// How often a token that is not in it may ask the store: every 20 ms, and 50 times at once.
const LOOKUP_INTERVAL: Duration = Duration::from_millis(20);
const ASKED_AT_ONCE: Duration = Duration::from_secs(1);

/// The filter that all workers share.
#[derive(Debug, Default)]
pub(super) struct BloomFilter {
    /// None until it is filled: then every token may be a right one.
    current: ArcSwapOption<Bits>,
    /// The one that is being filled.
    next: ArcSwapOption<Bits>,
    /// Told when there should be another one.
    wanted: Notify,
    /// When the next token that is not in it may ask, in microseconds since the start.
    ask_from: AtomicU64,
}

/// Eight bits for each token.
#[derive(Debug)]
pub(super) struct Bits {
    words: Box<[AtomicU64]>,
    set: AtomicU64,
}

impl BloomFilter {
    /// Whether to ask the store about these, `since_start` after the start.
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

    /// Takes in a token that is there now.
    pub(super) fn insert(&self, hash: &TokenHash) {
        let (current, next) = (self.current.load_full(), self.next.load_full());
        for bits in [&current, &next].into_iter().flatten() {
            bits.insert(hash);
        }
        if next.is_none() && current.is_some_and(|bits| bits.is_crowded()) {
            self.wanted.notify_one();
        }
    }

    /// There are tokens that nobody told of: all may be right ones until it is filled again.
    pub(super) fn forget(&self) {
        self.next.store(None);
        self.current.store(None);
        self.wanted.notify_one();
    }

    /// There may be tokens that nobody told of, but hardly any: it serves on until it is filled again.
    pub(super) fn renew(&self) {
        self.wanted.notify_one();
    }

    /// Waits until there should be another one.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Begins another one, for so many tokens and some more. From now on it takes in what is inserted.
    pub(super) fn begin(&self, tokens: u64) -> Arc<Bits> {
        let bits = Arc::new(Bits::new(tokens));
        self.next.store(Some(bits.clone()));
        bits
    }

    /// All that there was is in it. It serves from now on, unless it was forgotten meanwhile.
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

    /// Whether so many bits are set that it lets through too much.
    fn is_crowded(&self) -> bool {
        self.set.load(Ordering::Relaxed) > self.words.len() as u64 * 64 / 2
    }

    /// A hash is eight numbers as random as any; each, scaled to the size, is a place.
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

    /// How many of these pass, within no time.
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
            // Fifty are within the budget.
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
