//! Bytes that stay in memory: on pages of their own, which the system is asked not to write to swap, and
//! overwritten before they are let go. Where its limits forbid that, they are there all the same.

use std::sync::Arc;

use zeroize::{Zeroize, Zeroizing};

/// More than most systems' pages have; where they are larger, a neighbour is locked too.
const PAGE: usize = 4096;

/// A key's bytes. All clones are the one place.
#[derive(Clone)]
pub(super) struct Locked(Arc<Place>);

struct Place {
    // First, so that the page is let go before it is freed.
    guard: Result<region::LockGuard, String>,
    page: Box<Page>,
}

/// Of no other's page: to let go of one lock on a page lets go of all.
#[repr(align(4096))]
struct Page([u8; PAGE]);

impl Locked {
    /// Moves the bytes to their place.
    pub(super) fn new(bytes: &Zeroizing<[u8; 32]>) -> Self {
        let mut page = Box::new(Page([0; PAGE]));
        let guard = region::lock(page.0.as_ptr(), PAGE).map_err(|error| error.to_string());
        page.0[..32].copy_from_slice(bytes.as_slice());
        Self(Arc::new(Place { guard, page }))
    }

    /// The bytes.
    pub(super) fn expose(&self) -> &[u8] {
        &self.0.page.0[..32]
    }

    /// Why they may be written to swap; nothing, if they never are.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.0.guard.as_ref().err().map(String::as_str)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.page.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the system says that these bytes stay in memory.
    fn stays(bytes: &[u8]) -> bool {
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
    fn clones_share_one_place_that_stays_in_memory_till_the_last_is_gone() {
        let one = Locked::new(&Zeroizing::new([7; 32]));
        if let Some(why) = one.refusal() {
            eprintln!("not tested here, where memory cannot be locked: {why}");
            return;
        }
        let (two, other) = (one.clone(), Locked::new(&Zeroizing::new([8; 32])));
        assert_eq!(two.expose().as_ptr(), one.expose().as_ptr());
        assert!(stays(one.expose()) && stays(other.expose()) && !stays(&[0; 32]));
        drop((one, other));
        assert!(stays(two.expose()), "another one's end is not its own");
        assert_eq!(two.expose(), [7; 32]);
    }
}
