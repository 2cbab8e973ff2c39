//! `tollgate serve`: starts all components in order and announces the addresses. `lifecycle` runs them until shutdown.

mod lifecycle;
mod origin_changes;
mod sinks;

use std::{
    convert::Infallible,
    fs::File,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, bail};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    accounts::{
        self, Actor, AdminTokenPlace, Authenticator, HttpTokenEndpoints, KeySources, MasterKey, Refresher,
        Rekeyer, StoredLogins,
    },
    admin::{Admin, ApiQueue, ProviderFiles},
    admission::{Admission, Limits, Resources, raise_open_files},
    cli::{
        check,
        context::unusable,
        serve_lock::{acquire_serve_lock, remove_unused},
    },
    clock,
    control::{self, Socket},
    decide::ListenerRole,
    diag::Diagnostic,
    escape::{self, Lines},
    exporters,
    files::{self, FileState, Finding, Live, Reloader, StartError},
    gateway::Readiness,
    metrics, output,
    recorder::Recorder,
    secret::Secret,
    server::{self, Shared, WorkerConfig, listen::listen},
    settings::{DEFAULT_PROVIDERS, Settings, Source},
    store::{self, DirLock, Store},
    systemd::{self, Heartbeat},
    telemetry::{self, Log},
    upstream::{self, ConnectRule},
};
use lifecycle::{Running, Signals, Workers};
use sinks::Sinks;

/// Maximum number of warnings that are logged at the start.
const MAX_WARNINGS: usize = 50;

/// Variables that other programs read, and whose operator may expect the same here.
const PROXY_VARIABLES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// Fewer connections than that are worth a warning.
const FEW_CONNECTIONS: usize = 256;

/// Serves until a signal stops the process. Warns about the environment variables that are `ignored`.
pub fn run(settings: &Settings, keys: &KeySources, ignored: &[String]) -> anyhow::Result<()> {
    harden();
    let log = telemetry::start(settings.log, settings.log_format);
    for variable in ignored {
        tracing::warn!(variable, "an environment variable looks like a setting, and is none: it is ignored");
    }
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if let Some(variable) = PROXY_VARIABLES.into_iter().find(is_set) {
        tracing::warn!(
            variable,
            "requests do not go through this proxy: tollgate reads no proxy variable; an egress in a provider file leads through one"
        );
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

/// Starts all components. Returns the lock of the data directory, the components and the watchdog task.
async fn start(
    settings: &Settings,
    keys: &KeySources,
    log: &Log,
) -> anyhow::Result<(File, Running, impl Future<Output = Infallible>)> {
    let started_at_ms = clock::now_ms();
    let settings = &Settings { providers: source(settings), ..settings.clone() };
    let exporters = exporters::open(&settings.exporters, &log.drops)?;
    let limits = limits(settings);
    let upstream = Arc::new(upstream::Shared::new(upstream_config(settings, &limits)?)?);
    // First, so that a second process changes nothing.
    let is_new = !settings.data.exists();
    let lock = lock(&settings.data).await?;
    let prepared = prepare(settings, keys, log.human).await;
    if is_new && prepared.is_err() {
        remove_unused(&settings.data);
    }
    let (bound, live, reloader) = prepared?;
    let (store, key) = open_store(settings, keys, &live).await?;
    let empty = store.users_page(None, Some(1)).await?.is_empty();
    let (address, admin_address) = (bound.address, bound.admin_address);
    let admission = Admission::new(limits, bound.listeners.len());
    let files = ProviderFiles::Live(live.clone(), admission.clone(), log.drops.clone(), exporters.states());
    let OwnApi { queue: api_queue, socket, tasks: api_tasks } =
        start_api(settings, keys, &store, &key, files)?;
    let logins = StoredLogins::new(store.clone(), key.clone());
    let end_refreshes = CancellationToken::new();
    let endpoints = HttpTokenEndpoints::new(upstream.clone());
    let (refresher, logins) = Refresher::start(logins, endpoints, end_refreshes.clone());
    let (accounts, lookups) = Authenticator::start(store.clone(), key, settings.store_grace);
    let sources = metrics::Sources {
        live: live.clone(),
        admission: admission.clone(),
        store: accounts.store_health(),
        drops: log.drops.clone(),
        started_at_ms,
    };
    let number = bound.listeners.len();
    let inputs = sinks::Inputs {
        settings,
        log,
        store: &store,
        sources,
        exporters,
        upstream: &upstream,
        workers: number,
    };
    let Sinks { recorders, records, metrics, scrapes, deliveries, usage } = sinks::start(inputs).await?;
    let shared = Shared {
        live: live.clone(),
        api_queue,
        ready: Arc::new(Readiness::default()),
        accounts,
        refresher,
        trusted_origins: Arc::new(settings.cors_trusted_origins.clone()),
        trusted_proxies: settings.trusted_proxies.as_slice().into(),
        admission,
        upstream,
        metrics,
        head_timeout: settings.head_timeout,
        idle_timeout: settings.idle_timeout,
        half_closed: settings.half_closed,
        trace_context: settings.trace_context,
        max_head: settings.max_head,
        grace: settings.grace,
        stop: CancellationToken::new(),
    };
    #[expect(clippy::disallowed_methods, reason = "`lifecycle` waits for all, once the workers are done")]
    let (mut control, logins) = (
        vec![
            tokio::spawn(lookups),
            scrapes,
            tokio::spawn(origin_changes::watch(live.clone(), store.clone(), shared.stop.clone())),
        ],
        tokio::spawn(logins),
    );
    control.extend(api_tasks);
    let (stop, ready) = (shared.stop.clone(), shared.ready.clone());
    let (heartbeats, watchdog) = systemd::watchdog(bound.listeners.len());
    let workers = start_workers(bound, heartbeats, recorders, &shared)?;
    // Lookups end with the last clone. The workers have theirs; this one would keep them running for ever.
    drop(shared);
    log_listening(settings, &live, address, admin_address);
    if log.human {
        next_steps(address, admin_address, settings, empty)?;
    }
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
        socket,
        logins,
        end_refreshes,
        control,
    };
    Ok((lock, running, watchdog))
}

/// Opens the store and loads the master key. Completes what a first start or an older version left.
async fn open_store(
    settings: &Settings,
    keys: &KeySources,
    live: &Live,
) -> anyhow::Result<(Store, MasterKey)> {
    warn_of_untrusted_writers(&settings.data)?;
    let store = Store::open(&settings.data).await.context("failed to open the store")?;
    let key = MasterKey::load(keys, &settings.data, &store).await?;
    bind_origins(&store, &key, live).await;
    announce_admin_token(&store, settings).await?;
    Ok((store, key))
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
    store: &Store,
    key: &MasterKey,
    files: ProviderFiles,
) -> anyhow::Result<OwnApi> {
    let data = &settings.data;
    let (rekeyer, rekeys) = Rekeyer::start(store.clone(), key.clone(), keys.clone(), data.clone());
    let admin = Admin { files, store: store.clone(), key: key.clone(), rekeyer: Some(rekeyer) };
    let (queue, jobs) = ApiQueue::start(admin.clone());
    let (socket, calls) = control::start(data, admin)
        .with_context(|| format!("failed to create the control socket in `{}`", data.display()))?;
    let tasks = [tokio::spawn(calls), tokio::spawn(jobs), tokio::spawn(rekeys)];
    Ok(OwnApi { queue, socket, tasks })
}

fn log_listening(settings: &Settings, live: &Live, address: SocketAddr, admin_address: Option<SocketAddr>) {
    let (files, data, counts) =
        (check::describe(&settings.providers), settings.data.display(), live.status().counts);
    let files::StatusCounts { providers, stale, rejected, routes, .. } = counts;
    let shown = admin_address.map(tracing::field::display);
    tracing::info!(
        %address, admin_address = shown, files, %data, providers, stale, rejected, routes,
        workers = settings.workers, "listening"
    );
}

/// Creates the data directory if it is missing, and locks it for this process.
async fn lock(data: &Path) -> anyhow::Result<File> {
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
    let (live, reloader) = files(settings, human)?;
    Ok((bound, live, reloader))
}

fn warn_of_untrusted_writers(data: &Path) -> anyhow::Result<()> {
    if let Some(why) = store::untrusted_writers(data)? {
        let data = data.display();
        tracing::warn!(%data, "other users can write to the data directory: {why}");
    }
    Ok(())
}

/// The limits of admission control, for all the open files that the system allows.
fn limits(settings: &Settings) -> Limits {
    raise_open_files();
    let resources = Resources::of_this_process();
    let limits = Limits::derive(resources, &settings.admission, settings.workers, settings.max_head);
    let Limits { open_files, connections, requests, .. } = limits;
    if connections < FEW_CONNECTIONS && settings.admission.connections.is_none() {
        tracing::warn!(
            open_files,
            memory_mib = resources.memory >> 20,
            connections,
            requests,
            "few connections fit: raise the limit of open files (`ulimit -n`, `LimitNOFILE=`) or of memory"
        );
    }
    let asked =
        [("max_connections", settings.admission.connections), ("max_requests", settings.admission.requests)];
    for ((setting, asked), limit) in asked.into_iter().zip([connections, requests]) {
        if let Some(asked) = asked
            && limit < asked
        {
            tracing::warn!(
                setting,
                asked,
                limit,
                open_files,
                "a limit was lowered to what open files allow: raise them (`ulimit -n`, `LimitNOFILE=`)"
            );
        }
    }
    limits
}

fn upstream_config(settings: &Settings, limits: &Limits) -> anyhow::Result<upstream::Config> {
    let rules = settings
        .connect_to
        .iter()
        .map(|rule| ConnectRule::parse(rule).context("`connect_to` cannot be used"));
    let connect_to = rules.collect::<anyhow::Result<Vec<_>>>()?;
    for rule in &settings.connect_to {
        tracing::warn!(%rule, "connect_to is on: connections go to other addresses than their URLs name");
    }
    if settings.allow_private {
        tracing::warn!("allow_private is on: upstream names may resolve to private addresses");
    }
    let extra_ca = match &settings.ca_file {
        Some(path) => upstream::load_ca_file(path)?,
        None => Vec::new(),
    };
    Ok(upstream::Config {
        connect_to,
        extra_ca,
        allow_private: settings.allow_private,
        pool_max_idle: limits.idle_upstream,
        ..upstream::Config::default()
    })
}

/// The source of the provider files. If the default directory served before and is missing now, it stays the source:
/// a missing directory is more likely a mistake than a wish for the built-in files.
fn source(settings: &Settings) -> Source {
    let default = Path::new(DEFAULT_PROVIDERS);
    if settings.providers == Source::Embedded && files::has_last_good(&settings.data, default) {
        let kept = settings.data.join("last-good").display().to_string();
        tracing::warn!(
            kept,
            "`{DEFAULT_PROVIDERS}` is missing; serving its last good snapshot. To use the built-in files, delete {kept}."
        );
        return Source::Directory(default.into());
    }
    settings.providers.clone()
}

/// Loads the provider files and starts the reloader. Reports errors; serves the files without errors.
fn files(settings: &Settings, human: bool) -> anyhow::Result<(Arc<Live>, Reloader)> {
    let what = check::describe(&settings.providers);
    let config = files::Config {
        source: settings.providers.clone(),
        secrets: settings.secrets.clone(),
        data: settings.data.clone(),
        strict: settings.strict,
        max_stale: settings.max_stale,
        sweep: settings.sweep,
        lints: settings.lints.clone(),
        env_allow: settings.env_allow.clone(),
    };
    let (live, reloader, first) = match files::start(config) {
        Ok(started) => started,
        Err(StartError::Strict(first)) => {
            check::show(&first.sources, &first.diagnostics)?;
            bail!("{what} has errors, and `--strict` is on");
        }
        Err(StartError::NoFiles(problem)) => bail!("{problem}: name another directory with `--providers`"),
        Err(error) => return Err(error.into()),
    };
    let (mut reported, warnings): (Vec<_>, Vec<_>) =
        first.diagnostics.into_iter().partition(Diagnostic::is_error);
    let more = warnings.len().saturating_sub(MAX_WARNINGS);
    reported.extend(warnings.into_iter().take(MAX_WARNINGS));
    if human {
        check::show(&first.sources, &reported)?;
    } else {
        for one in &reported {
            files::log_finding(&Finding::new(one, &first.sources));
        }
    }
    if more > 0 {
        tracing::warn!(more, "further warnings: `tollgate check` shows them");
    }
    let status = live.status();
    if let Some(problem) = &status.problem {
        tracing::error!(problem, "provider files cannot be read: serving the last good snapshot");
    }
    for one in status.files.iter().filter(|one| one.state != FileState::Live) {
        let (file, state, since) = (&one.file, one.state, &one.since);
        if state == FileState::Stale {
            tracing::error!(file, since, "stale: serving its last good version; see its errors above");
        } else {
            tracing::error!(file, "out of service: see its errors above");
        }
    }
    Ok((live, reloader))
}

/// Binds credentials that an older version stored without origins to the origins in the current files.
async fn bind_origins(store: &Store, key: &MasterKey, live: &Live) {
    let table = live.snapshot();
    let origins = |section: &str, field: &str| {
        table.fields.find(section, field).map(|field| field.origins.clone()).unwrap_or_default()
    };
    match accounts::bind_origins(store, key, &Actor::own(), origins).await {
        Ok(0) => {}
        Ok(credentials) => {
            tracing::info!(credentials, "credentials bound to the origins in the current files");
        }
        Err(error) => {
            tracing::warn!(%error, "credentials were not bound to origins; the next start tries again");
        }
    }
}

async fn announce_admin_token(store: &Store, settings: &Settings) -> anyhow::Result<()> {
    match accounts::ensure_admin_token(store, &settings.data, show_on_terminal).await? {
        Some(AdminTokenPlace::File(file)) => {
            tracing::info!(file = %file.display(), "admin token created");
        }
        Some(AdminTokenPlace::Shown) | None => {}
    }
    Ok(())
}

fn show_on_terminal(token: &Secret) -> bool {
    let line = Lines::one(format_args!("admin token, shown this once: {}", token.expose()));
    output::is_terminal() && output::print(&line).is_ok()
}

/// The listening sockets, each with its role, and their addresses.
struct BoundSockets {
    listeners: Vec<(TcpListener, ListenerRole)>,
    address: SocketAddr,
    admin_address: Option<SocketAddr>,
}

fn open_listeners(settings: &Settings) -> anyhow::Result<BoundSockets> {
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
fn start_workers(
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

/// Prints the addresses and, without users, the next commands to run.
fn next_steps(
    address: SocketAddr,
    admin_address: Option<SocketAddr>,
    settings: &Settings,
    no_users: bool,
) -> anyhow::Result<()> {
    let providers = check::describe(&settings.providers);
    let data = settings.data.to_string_lossy();
    let data = escape::value(&data);
    let first = "
next, in another terminal:
  tollgate user add alice                      # prints alice's token
  tollgate credential set alice SECTION.FIELD  # asks for a key
  tollgate routes                              # what can be called
";
    let next = if no_users { first } else { "" };
    let admin = admin_address.map(|admin| format!("  admin      http://{admin}\n")).unwrap_or_default();
    let text = format!(
        "\ntollgate listens on http://{address}\n{admin}  providers  {providers}\n  data       {data}\n{next}"
    );
    output::note(&Lines::split(&text)).context("failed to print")
}
