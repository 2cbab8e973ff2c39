//! `tollgate serve`: starts everything in order, says where it is, and ends in order.

use std::{
    fs::{File, TryLockError},
    io::{IsTerminal, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    accounts::{self, Accounts, MasterKey},
    admin::Admin,
    cli::check,
    control,
    gateway::Readiness,
    listen::listen,
    live::{self, Live, Reloader, StartError, State},
    secret::Secret,
    server::{self, House},
    settings::Settings,
    store::{DirLock, Store},
    telemetry,
    upstream::{self, ConnectRule},
};

/// How long what is left to be recorded may take at the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves until it is told to stop.
pub fn run(settings: &Settings, master_key: Option<Secret>) -> anyhow::Result<()> {
    harden();
    let log = telemetry::start(settings.log, settings.log_format);
    let human = log.human;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(serve(settings, master_key, human));
    runtime.shutdown_background();
    log.close();
    done
}

/// No core dumps, and no other process of the user looks into this one's memory.
fn harden() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    // Where a sandbox forbids either, serving goes on without.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

async fn serve(settings: &Settings, master_key: Option<Secret>, human: bool) -> anyhow::Result<()> {
    // Before anything else, so that a signal never ends a half-started process the hard way.
    let mut signals = Signals {
        hangup: signal(SignalKind::hangup())?,
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
    };
    let upstream = Arc::new(upstream::Shared::new(upstream_config(settings)?)?);
    // First, so that a second process touches nothing; the lock's maker also makes the directory.
    drop(DirLock::acquire(&settings.data).await?);
    let _held = hold(&settings.data)?;
    let store = Store::open(&settings.data).await.context("failed to open the store")?;
    let key = MasterKey::load(master_key.as_ref(), &settings.data, &store).await?;
    let (live, reloader) = files(settings, human)?;
    announce_admin_token(&store, settings).await?;
    let empty = store.users().await?.is_empty();
    let listeners = listen(settings.listen, settings.workers).with_context(|| {
        format!("failed to listen on {}: choose another address with `--listen`", settings.listen)
    })?;
    let address = listeners[0].local_addr()?;
    let admin = Admin { live: live.clone() };
    let (socket, calls) = control::start(&settings.data, admin.clone())
        .with_context(|| format!("failed to make the control socket in `{}`", settings.data.display()))?;
    let (accounts, lookups) = Accounts::start(store.clone(), key);
    let (recorder, records) = telemetry::recorder();
    let house = House {
        live: live.clone(),
        admin,
        ready: Arc::new(Readiness::default()),
        accounts,
        upstream,
        recorder: settings.access_log.then_some(recorder),
        head_timeout: settings.head_timeout,
        max_head: settings.max_head,
        grace: settings.grace,
        stop: CancellationToken::new(),
    };
    #[expect(clippy::disallowed_methods, reason = "all are waited for below, once the workers are done")]
    let control = [tokio::spawn(lookups), tokio::spawn(records), tokio::spawn(calls)];
    let (stop, ready) = (house.stop.clone(), house.ready.clone());
    let workers = start_workers(listeners, &house)?;
    // The workers' own clones keep lookups and records going; this one would keep them going for ever.
    drop(house);
    let (files, data, counts) =
        (check::describe(&settings.providers), settings.data.display(), live.status().counts);
    let live::Counts { providers, stale, rejected, routes, .. } = counts;
    tracing::info!(%address, files, %data, providers, stale, rejected, routes, workers = settings.workers, "listening");
    if human {
        next_steps(&address.to_string(), settings, empty)?;
    }
    tokio::pin!(workers);
    let reason = tokio::select! {
        reason = signals.next(&live) => reason,
        () = &mut workers => bail!("all workers have ended: the log says why"),
    };
    ready.drain();
    tracing::info!(
        signal = reason,
        grace_ms = as_millis(settings.grace),
        "stopping: streams go on to their end"
    );
    stop.cancel();
    let at_once = tokio::select! {
        () = &mut workers => None,
        reason = signals.next(&live) => Some(reason),
    };
    if let Some(signal) = at_once {
        tracing::warn!(signal, "stopped at once: what was unfinished is cut");
        return Ok(());
    }
    tracing::info!("stopped");
    drop(socket);
    // Without workers the others come to their end by themselves: the last lines are written, no lookup is left.
    for task in control {
        let _ = tokio::time::timeout(LAST_WORDS, task).await;
    }
    reloader.stop();
    store.close().await;
    Ok(())
}

fn as_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// The next signal to stop. One that asks for a reload must not end the process.
    async fn next(&mut self, live: &Live) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => {
                    if let Err(error) = live.reload_soon() {
                        tracing::error!(%error, "SIGHUP: the files are not read anew");
                    }
                }
            }
        }
    }
}

fn upstream_config(settings: &Settings) -> anyhow::Result<upstream::Config> {
    let rules = settings.connect_to.iter().map(|rule| ConnectRule::parse(rule).map_err(anyhow::Error::from));
    let connect_to = rules.collect::<anyhow::Result<Vec<_>>>()?;
    for rule in &settings.connect_to {
        tracing::warn!(%rule, "connect_to is on: connections go elsewhere than their URLs say");
    }
    if settings.allow_private {
        tracing::warn!("allow_private is on: names of upstreams may lead into this network");
    }
    let extra_ca = match &settings.ca_file {
        Some(path) => upstream::load_ca_file(path)?,
        None => Vec::new(),
    };
    Ok(upstream::Config {
        connect_to,
        extra_ca,
        allow_private: settings.allow_private,
        ..upstream::Config::default()
    })
}

/// One `serve` per data directory; a second one says who holds it.
fn hold(data: &Path) -> anyhow::Result<File> {
    let path = data.join("serve.lock");
    let open = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = open.with_context(|| format!("failed to open `{}`", path.display()))?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            bail!(
                "another tollgate serves from `{}` (process {}): stop it, or choose another data directory with `--data`",
                data.display(),
                holder.trim()
            )
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("failed to lock `{}`", path.display()))
        }
    }
}

/// Reads the provider files, and goes on watching them. What is wrong is told; what is good is served.
fn files(settings: &Settings, human: bool) -> anyhow::Result<(Arc<Live>, Reloader)> {
    let what = check::describe(&settings.providers);
    let config = live::Config {
        source: settings.providers.clone(),
        secrets: settings.secrets.clone(),
        data: settings.data.clone(),
        strict: settings.strict,
        max_stale: settings.max_stale,
        sweep: settings.sweep,
    };
    let (live, reloader, first) = match live::start(config) {
        Ok(started) => started,
        Err(StartError::Strict(first)) => {
            check::show(&first.sources, &first.diagnostics)?;
            bail!("{what} has errors, and `--strict` is on");
        }
        Err(StartError::Nothing(problem)) => bail!("{problem}: name another directory with `--providers`"),
        Err(error) => return Err(error.into()),
    };
    if human {
        check::show(&first.sources, &first.diagnostics)?;
    } else {
        for one in &first.diagnostics {
            let (row, column) = first.sources.line_column(&one.at);
            let (file, code, help) = (&*one.at.file, one.code.as_str(), one.help.as_deref());
            tracing::error!(file, line = row, column, code, help, "{}", one.message);
        }
    }
    let status = live.status();
    if let Some(problem) = &status.problem {
        tracing::error!(problem, "provider files cannot be read: what was last good serves");
    }
    for one in status.files.iter().filter(|one| one.state != State::Live) {
        let (file, state, since) = (&one.file, one.state, &one.since);
        if state == State::Stale {
            tracing::error!(
                file,
                since,
                "stale: it serves as it last was good; see what is wrong with it above"
            );
        } else {
            tracing::error!(file, "out of service: see what is wrong with it above");
        }
    }
    Ok((live, reloader))
}

async fn announce_admin_token(store: &Store, settings: &Settings) -> anyhow::Result<()> {
    let terminal = std::io::stdout().is_terminal();
    let fresh = !store.has_admin_token().await?;
    let shown = accounts::ensure_admin_token(store, &settings.data, terminal).await?;
    match shown {
        Some(token) => {
            let mut out = std::io::stdout().lock();
            writeln!(out, "admin token, shown this once: {}", token.expose())?;
            out.flush()?;
        }
        None if fresh => {
            let file = settings.data.join("admin-token");
            tracing::info!(file = %file.display(), "an admin token was made");
        }
        None => {}
    }
    Ok(())
}

/// Starts a thread per worker; what comes back is done when all of them are.
fn start_workers(
    listeners: Vec<std::net::TcpListener>,
    house: &House,
) -> anyhow::Result<impl Future<Output = ()> + use<>> {
    let (done, mut waiting) = tokio::sync::mpsc::channel::<()>(1);
    for (index, listener) in listeners.into_iter().enumerate() {
        let (house, done, first_id) = (house.clone(), done.clone(), random()?);
        let work = move || {
            let _done = done;
            if let Err(error) = server::work(listener, house, first_id) {
                tracing::error!(%error, "a worker cannot run");
            }
        };
        std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(work)
            .context("failed to start a worker")?;
    }
    Ok(async move { while waiting.recv().await.is_some() {} })
}

fn random() -> anyhow::Result<u64> {
    getrandom::u64().context("the system gives no random numbers")
}

/// What a person types next.
fn next_steps(address: &str, settings: &Settings, no_users: bool) -> anyhow::Result<()> {
    let (providers, data) = (check::describe(&settings.providers), settings.data.display());
    let first = "
next, in another terminal:
  tollgate user add alice                      # prints alice's token
  tollgate credential set alice SECTION.FIELD  # asks for a key
  tollgate routes                              # what can be called
";
    let next = if no_users { first } else { "" };
    let text = format!(
        "\ntollgate listens on http://{address}\n  providers  {providers}\n  data       {data}\n{next}"
    );
    std::io::stderr().write_all(text.as_bytes()).context("failed to print")
}
