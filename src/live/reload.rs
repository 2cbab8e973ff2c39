//! The reloader: one thread that looks at the files, and puts a new table in place of the current one.

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use arc_swap::ArcSwap;

use super::{Command, Counts, File, Finding, Live, MAX_WAITING, State, Status};
use crate::{
    accounts::{now_ms, utc},
    diag::{Diagnostic, Sources},
    load,
    settings::Source,
};

/// What a reloader works with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the files come from.
    pub source: Source,
    /// Where vars with `file` are read.
    pub secrets: PathBuf,
    /// The data directory, where what was last good is kept.
    pub data: PathBuf,
    /// Whether anything wrong with any file refuses all.
    pub strict: bool,
    /// How long a last good text may serve.
    pub max_stale: Option<Duration>,
    /// How often to look without an event.
    pub sweep: Duration,
}

/// Keeps the reloader going; `stop` ends it.
#[derive(Debug)]
pub struct Reloader {
    thread: JoinHandle<()>,
}

/// What the first look found, for showing to a person.
#[derive(Debug)]
pub struct First {
    /// The texts.
    pub sources: Sources,
    /// What is wrong with them.
    pub diagnostics: Vec<Diagnostic>,
}

/// Looks at the files for the first time, then whenever they change.
pub fn start(config: Config) -> std::io::Result<(Arc<Live>, Reloader, First)> {
    let (table, status, first) = look(&config, 1)?;
    let (commands, waiting) = mpsc::sync_channel(MAX_WAITING);
    let live = Arc::new(Live {
        table: ArcSwap::from_pointee(table),
        status: ArcSwap::from_pointee(status),
        commands,
    });
    let weak = Arc::downgrade(&live);
    let work = move || {
        while let Ok(Command::Reload(tell)) = waiting.recv() {
            let Some(live) = weak.upgrade() else { return };
            if let Ok((table, status, _)) = look(&config, live.status().generation + 1) {
                live.table.store(Arc::new(table));
                live.status.store(Arc::new(status));
            }
            let _ = tell.send(live.status());
        }
    };
    let thread = std::thread::Builder::new().name("reload".into()).spawn(work)?;
    Ok((live, Reloader { thread }, first))
}

impl Reloader {
    /// Ends it, once the last `Live` is gone.
    pub fn stop(self) {
        let _ = self.thread.join();
    }
}

fn look(config: &Config, generation: u64) -> std::io::Result<(crate::table::Table, Status, First)> {
    let loaded = load::load(&config.source)?;
    let assembled = load::assemble(&loaded, |source| load::var_value(source, &config.secrets));
    let now = utc(now_ms());
    let files = loaded.files.providers.keys().map(|name| {
        let served = assembled.table.providers.iter().find(|one| one.name == *name);
        let file = format!("providers.d/{name}.toml");
        let found =
            assembled.diagnostics.iter().filter(|one| one.at.file.ends_with(&format!("/{name}.toml")));
        let finding = |one: &Diagnostic| {
            let (line, column) = loaded.sources.line_column(&one.at);
            Finding {
                code: one.code.as_str().into(),
                file: one.at.file.to_string(),
                line,
                column,
                message: one.message.clone(),
                help: one.help.clone(),
            }
        };
        File {
            provider: Some(name.to_string()),
            state: if served.is_some() { State::Live } else { State::Rejected },
            since: now.clone(),
            routes: served.map_or(0, |one| one.endpoints.len()),
            because: Vec::new(),
            diagnostics: found.map(finding).collect(),
            file,
        }
    });
    let files: Vec<File> = files.collect();
    let status = Status {
        ok: assembled.diagnostics.is_empty(),
        generation,
        since: now.clone(),
        checked: now,
        counts: Counts {
            live: files.iter().filter(|one| one.state == State::Live).count(),
            stale: 0,
            rejected: files.iter().filter(|one| one.state == State::Rejected).count(),
            routes: files.iter().map(|one| one.routes).sum(),
        },
        files,
        ..Status::default()
    };
    let first = First { sources: loaded.sources, diagnostics: assembled.diagnostics };
    Ok((assembled.table, status, first))
}
