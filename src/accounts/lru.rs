//! A bounded map with approximate LRU eviction (two generations). It has no clock.

use std::{collections::HashMap, hash::Hash};

/// A full young generation becomes the old one, and the old one is dropped. An entry of the old generation moves to the
/// young one when it is used.
#[derive(Debug)]
pub(super) struct LruMap<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half: usize,
}

impl<K: Copy + Eq + Hash, V> LruMap<K, V> {
    pub(super) fn new(limit: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half: (limit / 2).max(1) }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<&mut V> {
        // Few callers never fill a generation: their keys are hashed once.
        if !self.old.is_empty()
            && let Some(value) = self.old.remove(key)
        {
            self.insert(*key, value);
        }
        self.young.get_mut(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    pub(super) fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recently_used_entries_are_kept() {
        let mut map = LruMap::new(10);
        for number in 0..1000 {
            map.insert(number, number);
            assert_eq!(map.get(&0), Some(&mut 0), "after {number}");
            assert!(map.len() <= 10);
        }
        assert_eq!(map.get(&1), None);
        map.remove(&0);
        assert_eq!(map.get(&0), None);
    }
}
