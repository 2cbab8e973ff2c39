//! The deadline of the wait for a request: the idle timeout until its first byte, then the timeout for its head. Each counts
//! from its begin: the end of the response before, and that byte.
//!
//! One timer per connection, which is not reset for each request: it may fire early, and is then set again. A head that
//! begins in one packet with the end of the request before it counts as idle until its next byte.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::client_stream::ClientTimeouts;
use crate::admission::{Awaited, ClientConnection};

#[derive(Debug)]
pub(super) struct RequestWait {
    awaited: Option<Awaited>,
    /// The begin of this part of the wait.
    since: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl RequestWait {
    pub(super) fn new() -> Self {
        Self { awaited: None, since: Instant::now(), timer: None }
    }

    /// Ready once the wait has taken too long. Call it when the client has sent nothing more.
    pub(super) fn poll(
        &mut self,
        connection: &ClientConnection,
        cx: &mut Context<'_>,
        timeouts: ClientTimeouts,
    ) -> Poll<()> {
        let Some(awaited) = connection.awaited() else { return Poll::Pending };
        if self.awaited != Some(awaited) {
            self.awaited = Some(awaited);
            self.since = Instant::now();
        }
        let due = self.since + if awaited.has_begun() { timeouts.head } else { timeouts.idle };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() > due {
            timer.as_mut().reset(due);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}
