//! Notifies the service manager by the protocol of `sd_notify(3)`: ready, reloading, stopping, and the watchdog. Without
//! `NOTIFY_SOCKET` it does nothing.
//!
//! A failed notification is a line in the log. It changes nothing about serving.

use crate::numbers::millis;
use std::{
    convert::Infallible,
    ffi::OsStr,
    future::pending,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::time::{Instant, sleep};

/// Timeout for sending a message.
const SEND_TIMEOUT: Duration = Duration::from_millis(500);
/// The longest interval between two heartbeats of a worker.
const MAX_BEAT_INTERVAL: Duration = Duration::from_secs(1);
/// The heartbeat of a worker that ended in order: it is never late.
const STOPPED: u64 = u64::MAX;

/// Reports that the process serves: after the start, or after a reload.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Reports the start of a reload; `ready` has to follow.
pub fn reloading() {
    let mut states = vec![NotifyState::Reloading, NotifyState::Status("reloading the provider files")];
    // systemd 253 and later match the end of a reload by this time.
    states.extend(NotifyState::monotonic_usec_now());
    notify(&states);
}

/// Reports the shutdown, and asks the manager to wait at least `within`.
pub fn stopping(within: Duration) {
    let extend = format!("EXTEND_TIMEOUT_USEC={}", within.as_micros());
    let status = NotifyState::Status("stopping: running requests are finished");
    notify(&[NotifyState::Stopping, status, NotifyState::Custom(&extend)]);
}

fn notify(states: &[NotifyState<'_>]) {
    let Some(socket_path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let lines: Vec<String> = states.iter().map(ToString::to_string).collect();
    if let Err(error) = send(&socket_path, &lines.join("\n")) {
        tracing::warn!(%error, "notifying the service manager at `NOTIFY_SOCKET` failed");
    }
}

/// Sends with a timeout. `sd_notify::notify` would block for ever if the manager has crashed.
fn send(socket_path: &OsStr, text: &str) -> io::Result<()> {
    let address = match socket_path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket_path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(SEND_TIMEOUT))?;
    socket.send_to_addr(text.as_bytes(), &address).map(drop)
}

/// The heartbeat of a worker. It beats only if the service manager's watchdog is on.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    every: Option<Duration>,
    started: Instant,
    last_ms: Arc<AtomicU64>,
}

impl Heartbeat {
    /// Beats while the runtime that polls it makes progress.
    pub async fn run(&self) -> Infallible {
        let Some(every) = self.every else { return pending().await };
        loop {
            self.last_ms.store(millis(self.started.elapsed()), Ordering::Relaxed);
            sleep(every).await;
        }
    }

    /// Marks the worker as ended in order.
    pub fn stop(&self) {
        self.last_ms.store(STOPPED, Ordering::Relaxed);
    }
}

/// A heartbeat per worker, and the task that pings the service manager's watchdog while all of them beat.
pub fn watchdog(workers: usize) -> (Vec<Heartbeat>, impl Future<Output = Infallible>) {
    let limit = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero());
    let every = limit.map(|limit| MAX_BEAT_INTERVAL.min(limit / 4));
    let started = Instant::now();
    let heartbeat = |_| Heartbeat { every, started, last_ms: Arc::default() };
    let heartbeats: Vec<Heartbeat> = (0..workers).map(heartbeat).collect();
    let watched = heartbeats.clone();
    let watch = async move {
        match limit {
            Some(limit) => watch(&watched, started, limit).await,
            None => pending().await,
        }
    };
    (heartbeats, watch)
}

async fn watch(heartbeats: &[Heartbeat], started: Instant, limit: Duration) -> Infallible {
    let mut alive = true;
    loop {
        let beats = heartbeats.iter().map(|heartbeat| heartbeat.last_ms.load(Ordering::Relaxed));
        let late = late(beats, millis(started.elapsed()), millis(limit));
        match late {
            None => notify(&[NotifyState::Watchdog]),
            Some(worker) if alive => {
                tracing::error!(worker, "a worker hangs: watchdog pings to the service manager stop");
            }
            Some(_) => {}
        }
        alive = late.is_none();
        sleep(limit / 3).await;
    }
}

/// The first worker without a heartbeat within the limit.
fn late(beats: impl IntoIterator<Item = u64>, now_ms: u64, limit_ms: u64) -> Option<usize> {
    beats.into_iter().position(|last_ms| now_ms.saturating_sub(last_ms) > limit_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_has_not_beaten_within_the_limit_is_late() {
        let check = |beats: &[u64], now, expected| {
            assert_eq!(late(beats.iter().copied(), now, 200), expected, "{beats:?} at {now}");
        };
        check(&[], 1000, None);
        check(&[0, 0], 200, None);
        check(&[0, 0], 201, Some(0));
        check(&[900, 799, 1000], 1000, Some(1));
        check(&[900, 800, 1000], 1000, None);
        check(&[1001], 1000, None);
        check(&[STOPPED, 900], 1000, None);
        check(&[STOPPED, 1], 1000, Some(1));
    }
}
