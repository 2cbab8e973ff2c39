//! The life of a process that serves: it waits for signals, has files read anew at SIGHUP, and ends step by
//! step. The log and the service manager are told of each step.
//!
//! Starts nothing: what runs is made in `serve`.

use std::{convert::Infallible, future::pending, io, sync::Arc, time::Duration};

use anyhow::bail;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    control::Socket,
    files::{Live, Reloader, StatusCounts},
    gateway::Readiness,
    numbers::millis,
    settings::Settings,
    store::Store,
    systemd,
};

/// How long what is left to be done may take at the end, each part of it.
const TASK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the end takes beside the delay and the grace period, at most.
const SHUTDOWN_OVERHEAD: Duration = Duration::from_secs(20);
/// How long a login's refresh may still take: cut short, its new tokens would be lost.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(12);

/// The signals that are answered, from when this is made.
pub(super) struct Signals {
    hangup: Signal,
    pub(super) stop: StopSignals,
}

/// The signals that end the process.
pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn register() -> io::Result<Self> {
        let stop = StopSignals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        };
        Ok(Self { hangup: signal(SignalKind::hangup())?, stop })
    }
}

impl StopSignals {
    /// The next one; its name.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// What runs, once it does.
pub(super) struct Running {
    pub(super) live: Arc<Live>,
    pub(super) reloader: Reloader,
    pub(super) store: Store,
    pub(super) ready: Arc<Readiness>,
    /// Told when no more connections are to be accepted.
    pub(super) stop: CancellationToken,
    pub(super) workers: Workers,
    /// Where the commands that talk to this process reach it.
    pub(super) socket: Socket,
    /// What keeps logins alive, and ends once nobody asks and nothing is under way.
    pub(super) logins: JoinHandle<()>,
    /// What ends by itself once the workers have, and the socket is gone.
    pub(super) control: Vec<JoinHandle<()>>,
}

/// The threads that serve: each holds a sender until its end.
pub(super) struct Workers(pub(super) mpsc::Receiver<()>);

impl Workers {
    async fn ended(&mut self) {
        while self.0.recv().await.is_some() {}
    }
}

/// From the first request to the last.
pub(super) async fn run_until_stopped(
    mut running: Running,
    signals: Signals,
    settings: &Settings,
) -> anyhow::Result<()> {
    let Signals { mut hangup, mut stop } = signals;
    systemd::ready(&status(&running.live));
    let signal = tokio::select! {
        signal = stop.next() => signal,
        () = running.workers.ended() => bail!("all workers have ended: the log says why"),
        never = reload_on_hangup(&mut hangup, &running.live) => match never {},
    };
    running.ready.drain();
    let (delay, grace) = (settings.drain_delay, settings.grace);
    tracing::info!(
        signal,
        drain_delay_ms = millis(delay),
        grace_ms = millis(grace),
        "stopping: `/readyz` says so"
    );
    systemd::stopping(delay + grace + SHUTDOWN_OVERHEAD);
    tokio::select! {
        () = drain(&mut running, delay, grace) => {}
        signal = stop.next() => {
            tracing::warn!(signal, "stopped at once: what was unfinished is cut");
            return Ok(());
        }
    }
    finish(running).await;
    tracing::info!("stopped");
    Ok(())
}

/// Has the files read anew at each SIGHUP, one time after the other. All that come during one make one more.
async fn reload_on_hangup(hangup: &mut Signal, live: &Live) -> Infallible {
    while hangup.recv().await.is_some() {
        systemd::reloading();
        match live.reload().await {
            Ok(_) => systemd::ready(&status(live)),
            Err(error) => {
                tracing::error!(%error, "SIGHUP: the files are not read anew");
                systemd::ready(&format!("serving as before: {error}"));
            }
        }
    }
    pending().await
}

/// What serves, in a line.
fn status(live: &Live) -> String {
    let status = live.status();
    let StatusCounts { providers, stale, rejected, .. } = status.counts;
    let as_of = &status.checked;
    format!(
        "serving; providers: {providers}, stale files: {stale}, rejected files: {rejected}, as of {as_of}"
    )
}

/// All is served for `delay`; then nothing new, and what is under way goes on to its end.
async fn drain(running: &mut Running, delay: Duration, grace: Duration) {
    if !delay.is_zero() {
        sleep(delay).await;
    }
    tracing::info!("draining: nothing new is accepted, and streams go on to their end");
    running.stop.cancel();
    // Each cuts its own streams once `grace` is over.
    if timeout(grace + TASK_TIMEOUT, running.workers.ended()).await.is_err() {
        tracing::error!("a worker hangs: what it has under way is cut");
    }
}

/// The last lines are written, and what was stored is closed.
async fn finish(running: Running) {
    let Running { reloader, store, socket, logins, control, .. } = running;
    drop(socket);
    let _ = timeout(REFRESH_TIMEOUT, logins).await;
    // Without workers these come to their end by themselves: no lookup is left, and nothing to record.
    for task in control {
        let _ = timeout(TASK_TIMEOUT, task).await;
    }
    reloader.stop();
    let _ = timeout(TASK_TIMEOUT, store.close()).await;
}
