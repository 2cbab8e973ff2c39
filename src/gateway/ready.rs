//! Whether this process wants more requests, for whoever spreads them: one flag, set once when it is told to
//! stop, and read by `GET /readyz`. It turns nothing away by itself.

use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;

/// Shared by all workers.
#[derive(Debug, Default)]
pub struct Readiness {
    draining: AtomicBool,
}

impl Readiness {
    /// From now on `/readyz` says that no more requests are wanted.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The status code and the one word for `/readyz`; `serves` is whether any provider does.
    pub(super) fn told(&self, serves: bool) -> (StatusCode, &'static str) {
        match (self.draining.load(Ordering::Relaxed), serves) {
            (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
            (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "no_providers"),
            (false, true) => (StatusCode::OK, "ok"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draining_goes_before_all() {
        let readiness = Readiness::default();
        assert_eq!(readiness.told(true).1, "ok");
        assert_eq!(readiness.told(false).1, "no_providers");
        readiness.drain();
        assert_eq!([true, false].map(|serves| readiness.told(serves).1), ["draining"; 2]);
    }
}
