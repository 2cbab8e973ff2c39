//! The keys that are used most, at most so many: those have values of their own. Memory is bounded, whatever keys come.
//!
//! The first keys take the free places. After that, a key takes the place of the least used one once it has more than twice
//! its uses, so that a flood of keys that each occur once changes nothing. Uses fade: each so many uses, all are halved.

use std::{borrow::Borrow, collections::BTreeMap};

/// Keys without a place whose uses are counted. Beyond it, the uses of all of them are halved, and those without any are
/// forgotten.
const MAX_CANDIDATES: usize = 1000;

/// Uses after which all are halved, so that a key that was used much long ago loses its place.
const HALF_LIFE: u64 = 1_000_000;

/// Keys and values, the former ranked by their uses.
#[derive(Debug, Clone)]
pub struct Ranking<K, V> {
    places: usize,
    ranked: BTreeMap<K, Ranked<V>>,
    candidates: BTreeMap<K, u64>,
    uses: u64,
}

#[derive(Debug, Clone, Default)]
struct Ranked<V> {
    uses: u64,
    value: V,
}

impl<K: Ord + Clone, V: Default> Ranking<K, V> {
    /// With so many places.
    pub const fn new(places: usize) -> Self {
        Self { places, ranked: BTreeMap::new(), candidates: BTreeMap::new(), uses: 0 }
    }

    /// Counts a use of the key. Its value, if it has a place.
    pub fn used(&mut self, key: &K) -> Option<&mut V> {
        self.uses += 1;
        if self.uses.is_multiple_of(HALF_LIFE) {
            self.ranked.values_mut().for_each(|ranked| ranked.uses /= 2);
            self.halve_candidates();
        }
        if !self.ranked.contains_key(key) {
            let uses = self.place_for(key)?;
            self.ranked.insert(key.clone(), Ranked { uses, value: V::default() });
        }
        let ranked = self.ranked.get_mut(key)?;
        ranked.uses += 1;
        Some(&mut ranked.value)
    }

    /// Makes a place for a key that deserves one. Its uses before this one.
    fn place_for(&mut self, key: &K) -> Option<u64> {
        if self.ranked.len() < self.places {
            return Some(0);
        }
        let before = self.candidates.remove(key).unwrap_or_default();
        let least = self.ranked.iter().min_by_key(|(_, ranked)| ranked.uses);
        let (least, uses) = least.map(|(key, ranked)| (key.clone(), ranked.uses))?;
        if before + 1 > 2 * uses {
            self.ranked.remove(&least);
            self.candidates.insert(least, uses);
            return Some(before);
        }
        self.candidates.insert(key.clone(), before + 1);
        while self.candidates.len() > MAX_CANDIDATES {
            self.halve_candidates();
        }
        None
    }

    fn halve_candidates(&mut self) {
        self.candidates.retain(|_, uses| {
            *uses /= 2;
            *uses > 0
        });
    }

    /// True if the key has a place.
    pub fn contains<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.ranked.contains_key(key)
    }

    /// The keys that have a place, with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.ranked.iter().map(|(key, ranked)| (key, &ranked.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn use_of(ranking: &mut Ranking<u32, u64>, key: u32, times: u64) -> u64 {
        (0..times).filter(|_| ranking.used(&key).is_some()).count() as u64
    }

    fn keys(ranking: &Ranking<u32, u64>) -> Vec<u32> {
        ranking.iter().map(|(key, _)| *key).collect()
    }

    #[test]
    fn a_flood_takes_no_place_of_keys_in_use() {
        let mut ranking = Ranking::new(3);
        for key in 1..=3 {
            assert_eq!(use_of(&mut ranking, key, 2), 2);
        }
        for key in 100..20_100 {
            assert_eq!(ranking.used(&key), None);
        }
        assert_eq!(keys(&ranking), [1, 2, 3]);
        assert!(ranking.candidates.len() <= MAX_CANDIDATES);
    }

    #[test]
    fn a_key_in_use_takes_the_place_of_one_of_a_flood() {
        let mut ranking = Ranking::new(3);
        for key in 100..120 {
            ranking.used(&key);
        }
        assert_eq!(keys(&ranking), [100, 101, 102]);
        // Its third use is more than twice the one of the others; a value begins with its place.
        assert_eq!(use_of(&mut ranking, 1, 10), 8);
        assert_eq!(keys(&ranking), [1, 101, 102]);
        // And stays while others come.
        for key in 100..5000 {
            ranking.used(&key);
        }
        assert!(keys(&ranking).contains(&1));
    }

    #[test]
    fn a_key_that_is_no_longer_used_loses_its_place() {
        let mut ranking = Ranking::new(1);
        use_of(&mut ranking, 1, 1000);
        let mut taken = 0;
        while ranking.used(&2).is_none() {
            taken += 1;
            assert!(taken < 2 * HALF_LIFE, "it never gets a place");
        }
        assert_eq!((keys(&ranking), taken), (vec![2], 2000));
        assert_eq!(ranking.used(&1), None);
    }

    #[test]
    fn no_places_are_a_ranking_without_keys() {
        let mut ranking: Ranking<u32, u64> = Ranking::new(0);
        assert_eq!(ranking.used(&1), None);
        assert_eq!(ranking.iter().count(), 0);
    }
}
