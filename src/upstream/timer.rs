//! One timer per connection. It is re-armed only when it fires or would fire too late. Deadlines move with every frame;
//! the timer does not.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

/// Stands for "never": `Instant` has no maximum to saturate at.
const FAR: Duration = Duration::from_hours(24 * 365);

/// One sleep, reused for one deadline after another.
#[derive(Debug)]
pub(super) struct Timer(Pin<Box<Sleep>>);

impl Timer {
    pub(super) fn new(first: Duration) -> Self {
        Self(Box::pin(tokio::time::sleep_until(after(Instant::now(), first))))
    }

    /// Ready once `deadline` has passed. Each call may have another deadline.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        loop {
            if self.0.is_elapsed() || self.0.deadline() > deadline {
                self.0.as_mut().reset(deadline);
            }
            ready!(self.0.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
        }
    }
}

/// `start + wait` without a panic on overflow.
pub(super) fn after(start: Instant, wait: Duration) -> Instant {
    start + wait.min(FAR)
}
