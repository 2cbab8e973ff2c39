//! `tollgate serve`: starts all components in order. `lifecycle` runs them until shutdown.
//!
//! The parts of a start are modules: `resources`, `provider_files`, `listeners`, `sinks`, `announce`.

mod announce;
mod lifecycle;
mod limit_names;
mod listeners;
mod origin_changes;
mod outgoing_proxy;
mod price_changes;
mod provider_files;
mod resources;
mod signals;
mod sinks;

use std::{convert::Infallible, fs::File, path::Path, sync::Arc};

use anyhow::Context as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    accounts::{Authenticator, HttpTokenEndpoints, KeySources, MasterKey, Refresher, Rekeyer, StoredLogins},
    admin::{Admin, ApiQueue, LiveFiles, ProviderFiles, StoredFacts},
    admission::Admission,
    cli::{
        context::unusable,
        serve_lock::{acquire_serve_lock, remove_unused},
    },
    clock,
    control::{self, Socket},
    exporters,
    files::{Live, Reloader},
    gateway::{EventStreams, Readiness},
    ledger::Ledger,
    limits::{self, LimitStates, LimitWriter},
    listener_tls::{ListenerTls, Watching},
    metrics::{self, Metrics},
    server::Shared,
    settings::Settings,
    store::{self, DirLock, Store},
    systemd,
    telemetry::{self, Log},
    traffic::Traffic,
    upstream,
};
use lifecycle::Running;
use listeners::{BoundSockets, open_listeners, start_workers};
use signals::Signals;
use sinks::Sinks;

/// Serves until a signal stops the process. Warns about the environment variables that are `ignored`.
pub fn run(settings: &Settings, keys: &KeySources, ignored: &[String]) -> anyhow::Result<()> {
    harden();
    let log = telemetry::start(settings.log, settings.log_format);
    for variable in ignored {
        tracing::warn!(variable, "an environment variable looks like a setting, and is none: it is ignored");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(serve(settings, keys, &log));
    runtime.shutdown_background();
    log.close();
    done
}

/// Disables core dumps, and keeps the user's other processes from reading this one's memory.
fn harden() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    // A sandbox may forbid either. Serving continues without it.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

async fn serve(settings: &Settings, keys: &KeySources, log: &Log) -> anyhow::Result<()> {
    // First, so that a signal never kills a half-started process.
    let mut signals = Signals::register()?;
    let (_lock, running, watchdog) = tokio::select! {
        started = start(settings, keys, log) => started?,
        signal = signals.stop.next() => {
            tracing::info!(signal, "stopped during startup");
            return Ok(());
        }
    };
    tokio::select! {
        // The service manager gets the ready message before the first watchdog ping.
        biased;
        ended = lifecycle::run_until_stopped(running, signals, settings) => ended,
        never = watchdog => match never {},
    }
}

/// What components are started on: all that may refuse the start.
struct Base {
    /// The lock of the data directory.
    lock: File,
    upstream: Arc<upstream::Shared>,
    bound: BoundSockets,
    tls: Option<ListenerTls>,
    /// The thread that reads its files again.
    certificate: Option<Watching>,
    admission: Arc<Admission>,
    live: Arc<Live>,
    reloader: Reloader,
    store: Store,
    key: MasterKey,
    limits: LimitStates,
    limit_writer: LimitWriter,
}

/// Starts all components. Returns the lock of the data directory, the components and the watchdog task.
#[expect(clippy::disallowed_methods, reason = "`lifecycle` waits for the task, once the workers are done")]
async fn start(
    settings: &Settings,
    keys: &KeySources,
    log: &Log,
) -> anyhow::Result<(File, Running, impl Future<Output = Infallible>)> {
    let started_at_ms = clock::now_ms();
    let settings = &Settings { providers: provider_files::source(settings), ..settings.clone() };
    let exporters = exporters::open(&settings.exporters, &settings.metrics, &log.drops)?;
    let base = open(settings, keys, log.human).await?;
    let no_users = base.store.users_page(None, Some(1)).await?.is_empty();
    let (live, admission, drops) = (base.live.clone(), base.admission.clone(), log.drops.clone());
    let ledger = Ledger::new(&drops);
    let traffic = Traffic::new(started_at_ms);
    let Accounts { authenticator, lookups, refresher, logins, end_refreshes } =
        start_accounts(settings, &base);
    let files = ProviderFiles::Live(Box::new(LiveFiles {
        live: live.clone(),
        admission: admission.clone(),
        drops: drops.clone(),
        exporters: exporters.states(),
        outgoing_proxies: base.upstream.proxies_shown(),
        tls: base.tls.clone(),
        ledger: ledger.clone(),
        traffic: traffic.clone(),
        limits: base.limits.clone(),
        refreshes: refresher.problems().clone(),
        overview: StoredFacts::default(),
        url: super::own_url::of_server(settings, base.bound.address),
    }));
    let OwnApi { queue, socket, tasks: api_tasks } = start_api(settings, keys, &base, files)?;
    let sources = metrics::Sources {
        live,
        admission,
        store: authenticator.store_health(),
        drops,
        ledger: ledger.clone(),
        exporters: exporters.states(),
        tls: base.tls.clone(),
        limits: base.limits.clone(),
        started_at_ms,
    };
    let inputs = sinks::Inputs {
        settings,
        log,
        store: &base.store,
        sources,
        traffic: &traffic,
        exporters,
        upstream: &base.upstream,
        workers: base.bound.listeners.len(),
    };
    let Sinks { recorders, records, metrics, scrapes, deliveries, usage } = sinks::start(inputs).await?;
    let shared = shared(settings, &base, queue, (authenticator, refresher), (metrics, traffic));
    let (stop, ready) = (shared.stop.clone(), shared.ready.clone());
    let Base {
        lock, bound, certificate, live, reloader, store, key, limits: limit_states, limit_writer, ..
    } = base;
    let end_limits = CancellationToken::new();
    let limits = tokio::spawn(limit_writer.run(end_limits.clone()));
    let changes = tokio::spawn(origin_changes::watch(live.clone(), store.clone(), key, stop.clone()));
    let corrections =
        tokio::spawn(price_changes::watch(live.clone(), store.clone(), limit_states, stop.clone()));
    let names = tokio::spawn(limit_names::watch(live.clone(), store.clone(), stop.clone()));
    let control = [lookups, scrapes, changes, corrections, names].into_iter().chain(api_tasks).collect();
    let addresses = (bound.address, bound.admin_address);
    let (heartbeats, watchdog) = systemd::watchdog(bound.listeners.len());
    let workers = start_workers(bound, heartbeats, recorders, &shared)?;
    // Lookups end with the last clone. The workers have theirs; this one would keep them running for ever.
    drop(shared);
    announce::listening(settings, &live, addresses, log.human, no_users)?;
    let running = Running {
        live,
        reloader,
        store,
        ready,
        stop,
        workers,
        records,
        deliveries,
        usage,
        ledger,
        socket,
        logins,
        end_refreshes,
        control,
        certificate,
        limits,
        end_limits,
    };
    Ok((lock, running, watchdog))
}

/// Locks the data directory, opens the sockets and loads the files; then opens the store. A first start that fails before
/// that leaves no data directory.
async fn open(settings: &Settings, keys: &KeySources, human: bool) -> anyhow::Result<Base> {
    let resources = resources::limits(settings);
    let upstream = Arc::new(upstream::Shared::new(resources::upstream_config(settings, &resources)?)?);
    let tls = settings.tls.clone().map(ListenerTls::open).transpose();
    let tls = tls.context("the listeners cannot take TLS (settings `tls_cert`, `tls_key`)")?;
    // First, so that a second process changes nothing.
    let is_new = !settings.data.exists();
    let lock = lock(&settings.data).await?;
    let prepared = prepare(settings, keys, human).await;
    if is_new && prepared.is_err() {
        remove_unused(&settings.data);
    }
    let (bound, live, reloader) = prepared?;
    let (store, key) = open_store(settings, keys, &live).await?;
    let admission = Admission::new(resources, bound.listeners.len());
    let certificate = tls.as_ref().map(ListenerTls::watch).transpose()?;
    let limits = LimitStates::default();
    let limit_writer =
        limits::start(&store, &limits).await.map_err(|error| unusable(&settings.data, error))?;
    Ok(Base {
        lock,
        upstream,
        bound,
        tls,
        certificate,
        admission,
        live,
        reloader,
        store,
        key,
        limits,
        limit_writer,
    })
}

/// Creates the data directory if it is missing, and locks it for this process.
async fn lock(data: &Path) -> anyhow::Result<File> {
    store::create_for_own_user(data).map_err(|error| unusable(data, error))?;
    drop(DirLock::acquire(data).await.map_err(|error| unusable(data, error))?);
    acquire_serve_lock(data)
}

/// All that a start needs and that may fail, before the store is created: the key, the listeners, the provider files.
async fn prepare(
    settings: &Settings,
    keys: &KeySources,
    human: bool,
) -> anyhow::Result<(BoundSockets, Arc<Live>, Reloader)> {
    MasterKey::check(keys, &settings.data).await?;
    let bound = open_listeners(settings)?;
    let (live, reloader) = provider_files::load(settings, human)?;
    Ok((bound, live, reloader))
}

/// Opens the store and loads the master key. Completes what a first start or an older version left.
async fn open_store(
    settings: &Settings,
    keys: &KeySources,
    live: &Live,
) -> anyhow::Result<(Store, MasterKey)> {
    warn_of_untrusted_writers(&settings.data)?;
    let store = Store::open(&settings.data).await.map_err(|error| unusable(&settings.data, error))?;
    store.follow_audit().await?;
    let key = MasterKey::load(keys, &settings.data, &store).await?;
    provider_files::bind_origins(&store, &key, live).await;
    announce::admin_token(&store, settings).await?;
    Ok((store, key))
}

fn warn_of_untrusted_writers(data: &Path) -> anyhow::Result<()> {
    if let Some(warning) = store::untrusted_writers(data)? {
        let data = data.display();
        tracing::warn!(%data, "{warning}");
    }
    Ok(())
}

/// tollgate's own API.
struct OwnApi {
    queue: ApiQueue,
    socket: Socket,
    /// Tasks that end by themselves after the workers and the socket.
    tasks: [JoinHandle<()>; 3],
}

#[expect(clippy::disallowed_methods, reason = "`lifecycle` waits for all, once the workers are done")]
fn start_api(
    settings: &Settings,
    keys: &KeySources,
    base: &Base,
    files: ProviderFiles,
) -> anyhow::Result<OwnApi> {
    let (Base { store, key, .. }, data) = (base, &settings.data);
    let (rekeyer, rekeys) = Rekeyer::start(store.clone(), key.clone(), keys.clone(), data.clone());
    let admin = Admin {
        files,
        store: store.clone(),
        key: key.clone(),
        rekeyer: Some(rekeyer),
        session_lifetime: settings.session_lifetime,
        user_origins: settings.user_origins.clone(),
    };
    let (queue, jobs) = ApiQueue::start(admin.clone());
    let (socket, calls) = control::start(data, admin)
        .with_context(|| format!("failed to create the control socket in `{}`", data.display()))?;
    let tasks = [tokio::spawn(calls), tokio::spawn(jobs), tokio::spawn(rekeys)];
    Ok(OwnApi { queue, socket, tasks })
}

/// Authentication, and the refresh of logins.
struct Accounts {
    authenticator: Authenticator,
    /// Ends with the last clone of the authenticator.
    lookups: JoinHandle<()>,
    refresher: Refresher,
    /// Ends with the last clone of the refresher, and by `end_refreshes`.
    logins: JoinHandle<()>,
    end_refreshes: CancellationToken,
}

#[expect(clippy::disallowed_methods, reason = "`lifecycle` waits for all, once the workers are done")]
fn start_accounts(settings: &Settings, base: &Base) -> Accounts {
    let Base { store, key, upstream, .. } = base;
    let logins = StoredLogins::new(store.clone(), key.clone());
    let end_refreshes = CancellationToken::new();
    let endpoints = HttpTokenEndpoints::new(upstream.clone());
    let (refresher, logins) = Refresher::start(logins, endpoints, end_refreshes.clone());
    let (authenticator, lookups) = Authenticator::start(store.clone(), key.clone(), settings.store_grace);
    let (lookups, logins) = (tokio::spawn(lookups), tokio::spawn(logins));
    Accounts { authenticator, lookups, refresher, logins, end_refreshes }
}

/// The parts that workers share.
fn shared(
    settings: &Settings,
    base: &Base,
    api_queue: ApiQueue,
    (accounts, refresher): (Authenticator, Refresher),
    (metrics, traffic): (Metrics, Traffic),
) -> Shared {
    Shared {
        live: base.live.clone(),
        api_queue,
        ready: Arc::new(Readiness::default()),
        accounts,
        refresher,
        trusted_origins: Arc::new(settings.cors_trusted_origins.clone()),
        page_readers: Arc::new(settings.cors_origins.clone()),
        trusted_proxies: settings.trusted_proxies.as_slice().into(),
        admission: base.admission.clone(),
        limits: base.limits.clone(),
        judged_body: settings.judged_body,
        limit_headers: settings.limit_headers,
        upstream: base.upstream.clone(),
        metrics,
        traffic,
        events: EventStreams::default(),
        head_timeout: settings.head_timeout,
        idle_timeout: settings.idle_timeout,
        probe_timeout: settings.probe_timeout,
        half_closed: settings.half_closed,
        public_url: settings.public_url.clone(),
        trace_context: settings.trace_context,
        max_head: settings.max_head,
        grace: settings.grace,
        tls: base.tls.clone(),
        stop: CancellationToken::new(),
    }
}
