//! Lifecycle of a serving process: waits for signals, reloads files at SIGHUP, and shuts down in steps. Reports each
//! step to the log and the service manager.
//!
//! Starts nothing: `serve` starts all components.

use std::{convert::Infallible, future::pending, sync::Arc, time::Duration};

use anyhow::bail;
use tokio::{
    signal::unix::Signal,
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::signals::Signals;
use crate::{
    control::Socket,
    exporters::Deliveries,
    files::{Live, Reloader, StatusCounts},
    gateway::{LEAVE_TIME, Readiness},
    ledger::Ledger,
    listener_tls::Watching,
    numbers::millis,
    recorder::Records,
    settings::Settings,
    store::Store,
    systemd,
};

/// Timeout of each remaining task at shutdown.
const TASK_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum duration of the shutdown beside the drain delay and the grace period.
const SHUTDOWN_OVERHEAD: Duration = Duration::from_secs(20);
/// Timeout of the last usage at shutdown.
const USAGE_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of exporters at shutdown, for what is still queued.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of pending OAuth refreshes at shutdown: more than their own deadline, at which they log what is lost.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(13);

/// The components of a running server.
pub(super) struct Running {
    pub(super) live: Arc<Live>,
    pub(super) reloader: Reloader,
    pub(super) store: Store,
    pub(super) ready: Arc<Readiness>,
    /// Cancelled when workers must accept no more connections.
    pub(super) stop: CancellationToken,
    pub(super) workers: Workers,
    /// The recorder's thread.
    pub(super) records: Records,
    /// The delivery tasks of exporters. They end once the recorder's thread has, and their queues are empty.
    pub(super) deliveries: Deliveries,
    /// The task that writes the usage ledger. It ends after the recorder's thread.
    pub(super) usage: JoinHandle<()>,
    /// The usage ledger.
    pub(super) ledger: Ledger,
    /// The control socket.
    pub(super) socket: Socket,
    /// The OAuth refresher. It ends when no caller and no refresh is left.
    pub(super) logins: JoinHandle<()>,
    /// Cancelled when the refresher must end, though callers are left.
    pub(super) end_refreshes: CancellationToken,
    /// Tasks that end by themselves after the workers and the control socket.
    pub(super) control: Vec<JoinHandle<()>>,
    /// The thread that reads the listeners' certificate. It ends with this.
    pub(super) certificate: Option<Watching>,
    /// The task that writes the counters of limits.
    pub(super) limits: JoinHandle<()>,
    /// Cancelled when it must end: once all calls have.
    pub(super) end_limits: CancellationToken,
}

/// The worker threads: each holds a sender until it ends.
pub(super) struct Workers(pub(super) mpsc::Receiver<()>);

impl Workers {
    async fn ended(&mut self) {
        while self.0.recv().await.is_some() {}
    }
}

/// Reports readiness, serves until a signal, then shuts down. Errors if all workers end before that.
pub(super) async fn run_until_stopped(
    mut running: Running,
    signals: Signals,
    settings: &Settings,
) -> anyhow::Result<()> {
    let Signals { mut reload, mut stop } = signals;
    systemd::ready(&status(&running.live));
    let signal = tokio::select! {
        signal = stop.next() => signal,
        () = running.workers.ended() => {
            abandon(running).await;
            bail!("all workers have ended: see the log");
        }
        never = reload_on_hangup(reload.as_mut(), &running.live) => match never {},
    };
    running.ready.drain();
    let (delay, grace) = (settings.drain_delay, settings.grace);
    let deadline = Instant::now() + delay + grace;
    tracing::info!(
        signal,
        drain_delay_ms = millis(delay),
        grace_ms = millis(grace),
        "stopping: `/readyz` returns 503"
    );
    systemd::stopping(delay + grace + SHUTDOWN_OVERHEAD);
    tokio::select! {
        () = drain(&mut running, delay, grace) => {}
        signal = stop.next() => {
            tracing::warn!(signal, "stopped immediately: open requests were aborted");
            abandon(running).await;
            return Ok(());
        }
    }
    finish(running, deadline).await;
    tracing::info!("stopped");
    Ok(())
}

/// Reloads the files at each SIGHUP, one reload at a time. All signals during a reload cause one more.
async fn reload_on_hangup(hangup: Option<&mut Signal>, live: &Live) -> Infallible {
    let Some(hangup) = hangup else { return pending().await };
    while hangup.recv().await.is_some() {
        systemd::reloading();
        match live.reload().await {
            Ok(_) => systemd::ready(&status(live)),
            Err(error) => {
                tracing::error!(%error, "SIGHUP: the files were not reloaded");
                systemd::ready(&format!("serving the previous files: {error}"));
            }
        }
    }
    pending().await
}

/// The status in one line, for the service manager.
fn status(live: &Live) -> String {
    let status = live.status();
    let StatusCounts { providers, stale, rejected, .. } = status.counts;
    let as_of = &status.checked;
    format!(
        "serving; providers: {providers}, stale files: {stale}, rejected files: {rejected}, as of {as_of}"
    )
}

/// Serves normally for `delay`, so that load balancers notice; then accepts nothing new until open requests end.
async fn drain(running: &mut Running, delay: Duration, grace: Duration) {
    if !delay.is_zero() {
        sleep(delay).await;
    }
    tracing::info!("draining: no new connections; open streams continue");
    running.stop.cancel();
    // Each worker aborts its own streams after `grace`, and closes its WebSockets first.
    if timeout(grace + LEAVE_TIME + TASK_TIMEOUT, running.workers.ended()).await.is_err() {
        tracing::error!("a worker hangs: its open requests are aborted");
    }
}

/// Waits for the refreshes that have spent a refresh token: without their new tokens, the logins would be lost. Hands on
/// the access records of what has ended.
async fn abandon(running: Running) {
    running.stop.cancel();
    running.end_refreshes.cancel();
    let _ = timeout(REFRESH_TIMEOUT, running.logins).await;
    close_limits(running.limits, &running.end_limits).await;
    close(running.records, running.usage, &running.ledger, TASK_TIMEOUT).await;
    running.deliveries.end(Instant::now()).await;
}

/// Writes the last counters of limits.
async fn close_limits(limits: JoinHandle<()>, end: &CancellationToken) {
    end.cancel();
    if timeout(USAGE_TIMEOUT, limits).await.is_err() {
        tracing::error!(
            "the last counters of limits were not written in time: up to a second of usage is lost to them"
        );
    }
}

/// Hands the last access records on, and writes the last usage. The tasks of other sinks end afterwards.
async fn close(records: Records, usage: JoinHandle<()>, ledger: &Ledger, limit: Duration) {
    if !records.close(limit).await {
        tracing::error!("the last access records were not handed on in time: they are lost");
    }
    if timeout(USAGE_TIMEOUT, usage).await.is_err() {
        let requests = ledger.unwritten();
        tracing::error!(requests, "the last usage was not written in time: these requests are in no sum");
    }
}

/// Hands the last access records on and closes the store. Exporters have what is left of the grace period, within bounds.
async fn finish(running: Running, deadline: Instant) {
    let Running {
        reloader,
        store,
        records,
        usage,
        ledger,
        deliveries,
        socket,
        logins,
        control,
        certificate,
        limits,
        end_limits,
        ..
    } = running;
    drop(certificate);
    close_limits(limits, &end_limits).await;
    // Within the grace period, no record is lost.
    let left = deadline.saturating_duration_since(Instant::now());
    close(records, usage, &ledger, left.max(TASK_TIMEOUT)).await;
    let now = Instant::now();
    deliveries.end(deadline.clamp(now + TASK_TIMEOUT, now + EXPORT_TIMEOUT)).await;
    drop(socket);
    let _ = timeout(REFRESH_TIMEOUT, logins).await;
    // Without workers there are no lookups and no records, so these tasks end by themselves: also those of sinks.
    for task in control {
        let _ = timeout(TASK_TIMEOUT, task).await;
    }
    reloader.stop();
    let _ = timeout(TASK_TIMEOUT, store.log_others_acts(true)).await;
    let _ = timeout(TASK_TIMEOUT, store.close()).await;
}
