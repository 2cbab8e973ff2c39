//! Locked memory for a key: a page of its own, kept out of swap (`mlock`) and zeroed before it is freed. If the
//! system's limits forbid locking, the key is held in normal memory.

use std::sync::Arc;

use zeroize::{Zeroize, Zeroizing};

/// The page size of most systems. If pages are larger, neighbouring memory is locked too.
const PAGE: usize = 4096;

/// A key's bytes. All clones share them.
#[derive(Clone)]
pub(super) struct Locked(Arc<LockedPage>);

struct LockedPage {
    // Declared first, so that the page is unlocked before it is freed.
    guard: Result<region::LockGuard, String>,
    page: Box<Page>,
}

/// Alone on its page: releasing one lock on a page releases all.
#[repr(align(4096))]
struct Page([u8; PAGE]);

impl Locked {
    /// Copies the bytes to locked memory.
    pub(super) fn new(bytes: &Zeroizing<[u8; 32]>) -> Self {
        let mut page = Box::new(Page([0; PAGE]));
        let guard = region::lock(page.0.as_ptr(), PAGE).map_err(|error| error.to_string());
        page.0[..32].copy_from_slice(bytes.as_slice());
        Self(Arc::new(LockedPage { guard, page }))
    }

    /// The bytes.
    pub(super) fn expose(&self) -> &[u8] {
        &self.0.page.0[..32]
    }

    /// The error that kept them from being locked; none if they are never written to swap.
    pub(super) fn lock_error(&self) -> Option<&str> {
        self.0.guard.as_ref().err().map(String::as_str)
    }
}

impl Drop for LockedPage {
    fn drop(&mut self) {
        self.page.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// True if the system reports these bytes as locked.
    fn is_locked(bytes: &[u8]) -> bool {
        let at = bytes.as_ptr().addr();
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut here = false;
        for line in maps.lines() {
            let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
            let number = |text| usize::from_str_radix(text, 16).ok();
            if let Some((from, to)) = range.and_then(|(from, to)| Some((number(from)?, number(to)?))) {
                here = (from..to).contains(&at);
            } else if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| here) {
                return flags.split(' ').any(|flag| flag == "lo");
            }
        }
        panic!("{at:x} is in no mapping");
    }

    #[test]
    fn clones_share_locked_memory_until_the_last_is_dropped() {
        let one = Locked::new(&Zeroizing::new([7; 32]));
        if let Some(why) = one.lock_error() {
            eprintln!("skipped: memory cannot be locked here: {why}");
            return;
        }
        let (two, other) = (one.clone(), Locked::new(&Zeroizing::new([8; 32])));
        assert_eq!(two.expose().as_ptr(), one.expose().as_ptr());
        assert!(is_locked(one.expose()) && is_locked(other.expose()) && !is_locked(&[0; 32]));
        drop((one, other));
        assert!(is_locked(two.expose()), "dropping one key does not unlock another");
        assert_eq!(two.expose(), [7; 32]);
    }
}
