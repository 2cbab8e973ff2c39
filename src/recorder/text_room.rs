//! Room for the text of running exchanges, of one worker: many long prompts at once would otherwise take memory without a
//! bound.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use super::DropCount;

/// The most text of a worker's running exchanges, in bytes.
const MAX_BYTES: usize = 64 << 20;

/// The text of all running exchanges of a worker.
#[derive(Debug, Clone)]
pub(super) struct TextRooms {
    bytes: Arc<AtomicUsize>,
    drops: DropCount,
}

/// The part of it that one exchange takes, until it is dropped.
#[derive(Debug)]
pub struct TextRoom {
    bytes: usize,
    rooms: TextRooms,
}

impl TextRooms {
    pub(super) fn new(drops: DropCount) -> Self {
        Self { bytes: Arc::default(), drops }
    }

    /// A part without text so far.
    pub(super) fn enter(&self) -> TextRoom {
        TextRoom { bytes: 0, rooms: self.clone() }
    }
}

impl TextRoom {
    /// The exchange has so much text now. False if there is no room for it: the text has to be dropped, and counts as that.
    #[must_use]
    pub fn set(&mut self, bytes: usize) -> bool {
        // One worker alone adds: nothing is added between the two steps.
        let others = self.rooms.bytes.load(Relaxed) - self.bytes;
        let fits = others + bytes <= MAX_BYTES;
        if !fits {
            self.rooms.drops.add(1);
        }
        self.bytes = if fits { bytes } else { 0 };
        self.rooms.bytes.store(others + self.bytes, Relaxed);
        fits
    }
}

impl Drop for TextRoom {
    fn drop(&mut self) {
        self.rooms.bytes.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchanges_share_the_room_and_give_it_back() {
        let drops = DropCount::default();
        let rooms = TextRooms::new(drops.clone());
        let (mut first, mut second) = (rooms.enter(), rooms.enter());
        assert!(first.set(10) && first.set(MAX_BYTES - 5) && second.set(5));
        assert!(!second.set(6), "it has no more room");
        assert!(second.set(5), "what it had is given back");
        assert!(first.set(MAX_BYTES - 5) && first.set(0) && second.set(MAX_BYTES));
        drop(second);
        assert!(first.set(MAX_BYTES));
        drop(first);
        assert_eq!((rooms.bytes.load(Relaxed), drops.get()), (0, 1));
    }
}
