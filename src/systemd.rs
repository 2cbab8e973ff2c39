//! What the service manager is told, by the protocol of `sd_notify(3)`: that we are ready, read files anew,
//! stop, and are alive. Where the environment names no socket for it, nothing is told.
//!
//! Decides nothing about serving: a manager that cannot be told is a line in the log.

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

/// How long a message may wait for the service manager to take it.
const PATIENCE: Duration = Duration::from_millis(500);
/// The longest time between two beats of a worker.
const BEAT: Duration = Duration::from_secs(1);
/// What a worker that has ended in order shows: it is never late again.
const AT_REST: u64 = u64::MAX;

/// We serve, for the first time or again.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The files are read anew; `ready` has to follow.
pub fn reloading() {
    let mut news = vec![NotifyState::Reloading, NotifyState::Status("reading the provider files anew")];
    // Without the time a manager from version 253 on takes it for the end of no reload that it knows of.
    news.extend(NotifyState::monotonic_usec_now());
    tell(&news);
}

/// We are about to end, in `within` at most: a manager that would wait less waits as long.
pub fn stopping(within: Duration) {
    let extend = format!("EXTEND_TIMEOUT_USEC={}", within.as_micros());
    let status = NotifyState::Status("stopping: what is under way is finished");
    tell(&[NotifyState::Stopping, status, NotifyState::Custom(&extend)]);
}

fn tell(news: &[NotifyState<'_>]) {
    let Some(place) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let lines: Vec<String> = news.iter().map(ToString::to_string).collect();
    if let Err(error) = send(&place, &lines.join("\n")) {
        tracing::warn!(%error, "the service manager at `NOTIFY_SOCKET` cannot be told");
    }
}

/// Not `sd_notify::notify`, which waits for ever where nobody reads, as when the manager has crashed.
fn send(place: &OsStr, text: &str) -> io::Result<()> {
    let address = match place.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(place)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.send_to_addr(text.as_bytes(), &address).map(drop)
}

/// When a worker was last seen to be alive. Beats only if the service manager wants to know.
#[derive(Debug, Clone)]
pub struct Pulse {
    every: Option<Duration>,
    started: Instant,
    last_ms: Arc<AtomicU64>,
}

impl Pulse {
    /// Beats for as long as the runtime that polls it goes round.
    pub async fn keep(&self) -> Infallible {
        let Some(every) = self.every else { return pending().await };
        loop {
            self.last_ms.store(millis(self.started.elapsed()), Ordering::Relaxed);
            sleep(every).await;
        }
    }

    /// The worker has ended in order: it is no longer missed.
    pub fn rest(&self) {
        self.last_ms.store(AT_REST, Ordering::Relaxed);
    }
}

/// A pulse for each worker, and what tells the service manager that we live for as long as all of them beat.
pub fn watchdog(workers: usize) -> (Vec<Pulse>, impl Future<Output = Infallible>) {
    let limit = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero());
    let every = limit.map(|limit| BEAT.min(limit / 4));
    let started = Instant::now();
    let pulse = |_| Pulse { every, started, last_ms: Arc::default() };
    let pulses: Vec<Pulse> = (0..workers).map(pulse).collect();
    let watched = pulses.clone();
    let watch = async move {
        match limit {
            Some(limit) => watch(&watched, started, limit).await,
            None => pending().await,
        }
    };
    (pulses, watch)
}

async fn watch(pulses: &[Pulse], started: Instant, limit: Duration) -> Infallible {
    let mut well = true;
    loop {
        let beats = pulses.iter().map(|pulse| pulse.last_ms.load(Ordering::Relaxed));
        let late = late(beats, millis(started.elapsed()), millis(limit));
        match late {
            None => tell(&[NotifyState::Watchdog]),
            Some(worker) if well => tracing::error!(
                worker,
                "a worker hangs: the service manager is no longer told that all is well"
            ),
            Some(_) => {}
        }
        well = late.is_none();
        sleep(limit / 3).await;
    }
}

/// The first that has not beaten within the limit.
fn late(beats: impl IntoIterator<Item = u64>, now_ms: u64, limit_ms: u64) -> Option<usize> {
    beats.into_iter().position(|last_ms| now_ms.saturating_sub(last_ms) > limit_ms)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
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
        check(&[AT_REST, 900], 1000, None);
        check(&[AT_REST, 1], 1000, Some(1));
    }
}
