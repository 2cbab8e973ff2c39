//! The provider files at the start: the source that serves, the first load with its report, and what older stored credentials
//! need of them.

use std::{path::Path, sync::Arc};

use anyhow::bail;

use crate::{
    accounts::{self, Actor, MasterKey},
    cli::check,
    files::{self, FileState, Finding, InitialDiagnostics, Live, Reloader, StartError, Status},
    settings::{DEFAULT_PROVIDERS, Settings, Source},
    store::Store,
};

/// The source of the provider files. If the default directory served before and is missing now, it stays the source:
/// a missing directory is more likely a mistake than a wish for the built-in files.
pub(super) fn source(settings: &Settings) -> Source {
    let served = files::last_good_source(&settings.data)
        .filter(|_| matches!(settings.providers, Source::Embedded { .. }));
    if let Some(served) = served {
        let default = Path::new(DEFAULT_PROVIDERS);
        let kept = settings.data.join("last-good").display().to_string();
        if std::path::absolute(default).is_ok_and(|here| here == served) {
            tracing::warn!(
                kept,
                "`{DEFAULT_PROVIDERS}` is missing; serving its last good snapshot. To use the built-in files, delete {kept}."
            );
            return Source::Directory {
                path: default.into(),
                catalogue: settings.catalogue.clone(),
                limits: settings.providers.named_limits().map(Path::to_owned),
            };
        }
        tracing::warn!(
            served = %served.display(),
            "the built-in provider files serve, and not those of the directory that served from this data directory before: if that is a mistake, start tollgate where it was started then, or name the directory with `--providers`"
        );
    }
    settings.providers.clone()
}

/// Loads the provider files and starts the reloader. Reports errors; serves the files without errors.
pub(super) fn load(settings: &Settings, human: bool) -> anyhow::Result<(Arc<Live>, Reloader)> {
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
        Err(StartError::Strict(mut first)) => {
            first.diagnostics.sort_by_key(|one| !one.is_error());
            check::show(&first.sources, &first.diagnostics)?;
            bail!("{what} has errors, and `--strict` is on");
        }
        Err(StartError::Limits(mut first)) => {
            first.diagnostics.sort_by_key(|one| !one.is_error());
            check::show(&first.sources, &first.diagnostics)?;
            bail!(
                "a file of limits in `{}` has errors, and no last good version: mend it first, since what it limits would be unlimited",
                settings.providers.limits().display()
            );
        }
        Err(StartError::NoFiles(problem)) => match settings.providers {
            Source::Directory { .. } => bail!("{problem}: name another directory with `--providers`"),
            Source::Embedded { .. } => bail!("{problem}"),
        },
        Err(error) => return Err(error.into()),
    };
    report(first, human)?;
    log_status(&live.status(), human);
    Ok((live, reloader))
}

/// Shows the findings of the first load: errors with their source lines if people read the log, and one line for each file
/// otherwise and for warnings.
fn report(first: InitialDiagnostics, human: bool) -> anyhow::Result<()> {
    let (shown, logged): (Vec<_>, Vec<_>) =
        first.diagnostics.into_iter().partition(|one| human && one.is_error());
    check::show(&first.sources, &shown)?;
    let logged: Vec<_> = logged.iter().map(|one| Finding::new(one, &first.sources)).collect();
    files::log_findings(&logged);
    Ok(())
}

/// Logs the files that do not serve in their current text. `human`: their errors were shown, and not logged. A log for programs
/// has a line about each file with errors already.
fn log_status(status: &Status, human: bool) {
    if let Some(problem) = &status.problem {
        tracing::error!(problem, "provider files cannot be read: serving the last good snapshot");
    }
    for one in status.files.iter().filter(|one| one.state != FileState::Live) {
        let (file, state, since) = (&one.file, one.state, &one.since);
        if state == FileState::Stale {
            tracing::error!(file, since, "stale: serving its last good version; see its errors above");
        } else if human || one.diagnostics.is_empty() {
            tracing::error!(file, "out of service: see its errors above");
        }
    }
}

/// Binds credentials that an older version stored without origins to the origins in the current files.
pub(super) async fn bind_origins(store: &Store, key: &MasterKey, live: &Live) {
    let table = live.snapshot();
    let origins = |section: &str, field: &str| {
        // Values are newer than bound origins: no owner has one here.
        table.fields.find(section, field).map(|field| field.origins_with(|_| None)).unwrap_or_default()
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
