//! The readiness flag for load balancers: `GET /readyz` reads it. It is set once, when a graceful shutdown begins, and
//! turns no request away by itself.

use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;
use tokio_util::sync::CancellationToken;

/// Shared by all workers.
#[derive(Debug, Default)]
pub struct Readiness {
    draining: AtomicBool,
    /// Cancelled at the same time, for those that wait for it.
    drained: CancellationToken,
}

impl Readiness {
    /// Begins the drain: from now on `/readyz` is 503.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.drained.cancel();
    }

    /// Waits until the drain begins.
    pub(super) async fn drained(&self) {
        self.drained.cancelled().await;
    }

    /// True once the drain has begun.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The status code and the word that `/readyz` answers with; `serves`: whether there is any provider.
    pub(super) fn status(&self, serves: bool) -> (StatusCode, &'static str) {
        match (self.is_draining(), serves) {
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
    fn draining_comes_before_all_else() {
        let readiness = Readiness::default();
        assert_eq!(readiness.status(true).1, "ok");
        assert_eq!(readiness.status(false).1, "no_providers");
        readiness.drain();
        assert_eq!([true, false].map(|serves| readiness.status(serves).1), ["draining"; 2]);
    }
}
