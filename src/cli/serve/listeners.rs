//! The listening sockets, and a worker thread for each.

use std::net::{SocketAddr, TcpListener};

use anyhow::Context as _;
use tokio::sync::mpsc;

use super::lifecycle::Workers;
use crate::{
    decide::ListenerRole,
    recorder::Recorder,
    server::{self, Shared, WorkerConfig, listen::listen},
    settings::Settings,
    systemd::Heartbeat,
};

/// The listening sockets, each with its role, and their addresses.
pub(super) struct BoundSockets {
    pub(super) listeners: Vec<(TcpListener, ListenerRole)>,
    pub(super) address: SocketAddr,
    pub(super) admin_address: Option<SocketAddr>,
}

/// Opens the sockets: one for each worker, and the separate admin address.
pub(super) fn open_listeners(settings: &Settings) -> anyhow::Result<BoundSockets> {
    let role = if settings.admin_listen.is_some() { ListenerRole::Public } else { ListenerRole::All };
    let listeners = listen(settings.listen, settings.workers, "--listen")?;
    let address = listeners[0].local_addr()?;
    let mut listeners: Vec<_> = listeners.into_iter().map(|listener| (listener, role)).collect();
    let mut admin_address = None;
    if let Some(admin) = settings.admin_listen {
        for listener in listen(admin, 1, "--admin-listen")? {
            admin_address = Some(listener.local_addr()?);
            listeners.push((listener, ListenerRole::Admin));
        }
    }
    Ok(BoundSockets { listeners, address, admin_address })
}

/// Starts a thread for each listener.
pub(super) fn start_workers(
    bound: BoundSockets,
    heartbeats: Vec<Heartbeat>,
    recorders: Vec<Recorder>,
    shared: &Shared,
) -> anyhow::Result<Workers> {
    let (done, waiting) = mpsc::channel::<()>(1);
    let each = bound.listeners.into_iter().zip(heartbeats).zip(recorders).enumerate();
    for (index, (((listener, role), heartbeat), recorder)) in each {
        let (shared, done) = (shared.clone(), done.clone());
        let config = WorkerConfig { listener, number: index, role, heartbeat, recorder, first_id: random()? };
        let work = move || {
            let _done = done;
            if let Err(error) = server::work(config, &shared) {
                tracing::error!(%error, "a worker failed to start");
            }
        };
        std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(work)
            .context("failed to start a worker")?;
    }
    Ok(Workers(waiting))
}

fn random() -> anyhow::Result<u64> {
    getrandom::u64().context("the system gives no random numbers")
}
