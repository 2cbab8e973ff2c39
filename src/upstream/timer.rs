//! One timer per connection. It is re-armed only when it fires or would fire too late. Deadlines move with every frame;
//! the timer does not.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    task::coop::has_budget_remaining,
    time::{Instant, Sleep},
};

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
            let polled = self.0.as_mut().poll(cx);
            // Without budget a sleep is never ready, and a peer that floods this task leaves none.
            if polled.is_pending() && has_budget_remaining() {
                return Poll::Pending;
            }
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            ready!(polled);
        }
    }
}

/// `start + wait` without a panic on overflow.
pub(super) fn after(start: Instant, wait: Duration) -> Instant {
    start + wait.min(FAR)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::upstream::turn;

    #[tokio::test]
    async fn a_task_without_budget_sees_its_deadline_pass() {
        let mut timer = Timer::new(Duration::from_hours(1));
        let mut is_due = async |wait: Duration| {
            let deadline = after(Instant::now(), wait);
            poll_fn(|cx| {
                turn::exhaust();
                Poll::Ready(timer.poll(cx, deadline).is_ready())
            })
            .await
        };
        assert!(!is_due(Duration::from_hours(1)).await);
        assert!(is_due(Duration::ZERO).await);
    }
}
