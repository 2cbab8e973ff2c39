//! A bounded map with approximate LRU eviction (two generations). It has no clock.

use std::{collections::HashMap, hash::Hash};

/// When the young generation is full, it becomes the old one, and the old one is dropped. An entry of the old generation
/// that is used becomes young again.
#[derive(Debug)]
pub(super) struct Segments<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half: usize,
}

impl<K: Copy + Eq + Hash, V> Segments<K, V> {
    pub(super) fn new(limit: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half: (limit / 2).max(1) }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<&mut V> {
        if let Some(value) = self.old.remove(key) {
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
    fn what_is_used_stays() {
        let mut segments = Segments::new(10);
        for number in 0..1000 {
            segments.insert(number, number);
            assert_eq!(segments.get(&0), Some(&mut 0), "after {number}");
            assert!(segments.len() <= 10);
        }
        assert_eq!(segments.get(&1), None);
        segments.remove(&0);
        assert_eq!(segments.get(&0), None);
    }
}
