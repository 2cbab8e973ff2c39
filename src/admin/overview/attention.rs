//! What needs attention: each problem that the server knows of, with what to do. Lists and texts are bounded.

use super::{
    document::{Attention, AttentionKind as Kind, AttentionSeverity as Severity, AttentionTarget as Target},
    stored::{ExpiringLogin, MovedField},
};
use crate::{
    accounts::{CredentialId, RefreshError},
    clock::utc,
    escape,
    exporters::ExporterStatus,
    files::{FileState, FileStatus, Status},
    name::Owner,
    numbers::counted,
    traffic::RefusedKey,
};

/// The entries of one kind that are listed; the others are one.
const MAX_OF_KIND: usize = 8;
/// The longest text, in bytes.
const MAX_TEXT: usize = 400;

/// What is known, besides the status.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'f> {
    pub(super) moved: &'f [MovedField],
    pub(super) expiring: &'f [ExpiringLogin],
    pub(super) refreshes: &'f [(CredentialId, RefreshError)],
    pub(super) refused: &'f [RefusedKey],
    pub(super) now_ms: u64,
}

/// All entries, the worst first.
pub(super) fn attention(status: &Status, facts: Facts<'_>) -> Vec<Attention> {
    let mut all = Vec::new();
    machine(status, &mut all);
    files(status, &mut all);
    few(&mut all, facts.moved.iter().map(moved), Kind::CredentialMoved, Target::Shared);
    few(&mut all, facts.refused.iter().map(key_refused), Kind::KeyRefused, Target::Shared);
    few(&mut all, facts.refreshes.iter().map(refresh_failed), Kind::RefreshFailed, Target::Shared);
    let expiring = facts.expiring.iter().map(|login| expires(login, facts.now_ms));
    few(&mut all, expiring, Kind::LoginExpires, Target::Shared);
    all.sort_by_key(|one| (one.severity, one.kind));
    all
}

fn entry(kind: Kind, severity: Severity, message: &str, action: &str, target: Target) -> Attention {
    let (message, action) = (bounded(message), bounded(action));
    Attention { kind, severity, message, action, target }
}

fn bounded(text: &str) -> String {
    let cut = &text[..text.floor_char_boundary(MAX_TEXT)];
    let shown = escape::value(cut).to_string();
    if cut.len() < text.len() { shown + "…" } else { shown }
}

/// Adds the first entries of a kind, and one for the number of the others.
fn few(all: &mut Vec<Attention>, mut more: impl Iterator<Item = Attention>, kind: Kind, target: Target) {
    all.extend(more.by_ref().take(MAX_OF_KIND));
    let rest = more.count();
    if rest > 0 {
        let message = format!("{rest} more of this kind.");
        let action = match target {
            Target::Providers => "`tollgate status` lists all.",
            Target::Shared | Target::Users | Target::Usage | Target::Machine => "tollgate's log names all.",
        };
        all.push(entry(kind, Severity::Warning, &message, action, target));
    }
}

/// Problems of the machine, and of what tollgate sends and writes.
fn machine(status: &Status, all: &mut Vec<Attention>) {
    if let Some(problem) = &status.store_problem {
        let message = format!("The store fails: {problem}");
        let action = "Until it responds again, only known callers are served, and nothing can be changed. See tollgate's log.";
        all.push(entry(Kind::Store, Severity::Error, &message, action, Target::Machine));
    }
    if let Some(pending) = &status.usage_pending {
        let pending = pending.to_string();
        let message = format!("The {pending}");
        let action = "It is written once the store can be. A stop of tollgate before that loses it.";
        all.push(entry(Kind::UsagePending, Severity::Error, &message, action, Target::Machine));
    }
    for (sink, problem) in status.sink_problems.iter().take(MAX_OF_KIND) {
        let message = format!("`{sink}` {problem}.");
        let action = "This is a defect of tollgate: report it with the lines of the log.";
        all.push(entry(Kind::Sink, Severity::Error, &message, action, Target::Machine));
    }
    let failing = status.exporters.iter().filter(|one| one.problem.is_some());
    few(all, failing.map(exporter), Kind::Exporter, Target::Machine);
    let dropped = status.dropped.iter().map(|(queue, number)| {
        let message = format!("{} of `{queue}` dropped since the start.", counted(number, "entry"));
        let action =
            "The receiver or the disk behind it is too slow, or too much comes at once. See tollgate's log.";
        entry(Kind::Dropped, Severity::Warning, &message, action, Target::Machine)
    });
    few(all, dropped, Kind::Dropped, Target::Machine);
}

fn exporter(one: &ExporterStatus) -> Attention {
    let ExporterStatus { exporter, signal, queued, dropped, failed, problem, .. } = one;
    let problem = problem.as_deref().unwrap_or_default();
    let lost = dropped.saturating_add(*failed);
    let message = format!(
        "The exporter `{exporter}` fails to send {signal}: {problem}. {} waiting, {lost} lost since the start.",
        counted(queued, "entry")
    );
    let severity = if lost > 0 { Severity::Error } else { Severity::Warning };
    let action = "Check that the receiver runs and takes these data, and the exporter's settings.";
    entry(Kind::Exporter, severity, &message, action, Target::Machine)
}

fn files(status: &Status, all: &mut Vec<Attention>) {
    if let Some(problem) = &status.problem {
        let message = format!("The provider files: {problem}");
        let action =
            "What was last good goes on serving. Put the directory in order; it is read again at once.";
        all.push(entry(Kind::Directory, Severity::Error, &message, action, Target::Providers));
    }
    let of = |state| status.files.iter().filter(move |file| file.state == state);
    let rejected = of(FileState::Rejected).map(|one| {
        let action = "Nothing of it serves. Mend the file; it is read again at once.";
        let message = format!("`{}` is rejected{}", one.file, reason(one));
        entry(Kind::FileRejected, Severity::Error, &message, action, Target::Providers)
    });
    few(all, rejected, Kind::FileRejected, Target::Providers);
    let stale = of(FileState::Stale).map(|one| {
        let action = "Its last good text serves. Mend the file; it is read again at once.";
        let message = format!("`{}` is stale{}", one.file, reason(one));
        entry(Kind::FileStale, Severity::Warning, &message, action, Target::Providers)
    });
    few(all, stale, Kind::FileStale, Target::Providers);
}

/// The first finding of a file, or the files that it waits for.
fn reason(file: &FileStatus) -> String {
    match (file.diagnostics.first(), file.because.as_slice()) {
        (Some(finding), _) => {
            format!(": line {}, {} ({}).", finding.line, finding.message, finding.code)
        }
        (None, []) => ".".to_owned(),
        (None, because) => format!(", because of {}.", because.join(", ")),
    }
}

fn moved(field: &MovedField) -> Attention {
    let message = format!(
        "`{}` of {} waits for a confirmation: the files name {} now, which it was not stored for.",
        field.place,
        counted(field.owners, "owner"),
        field.to.join(", ")
    );
    let action = "Requests with it are refused until its owner confirms the move, or the file is put back.";
    entry(Kind::CredentialMoved, Severity::Error, &message, action, Target::Shared)
}

/// The page for the credentials of an owner.
fn target(owner: &Owner) -> Target {
    match owner {
        Owner::User(_) => Target::Users,
        Owner::Group(_) | Owner::Everybody => Target::Shared,
    }
}

fn key_refused(key: &RefusedKey) -> Attention {
    let RefusedKey { provider, owner, status, calls, last_ms } = key;
    let message = format!(
        "`{provider}` refuses a key of {owner} that tollgate holds: {} answered {}, the last at {}.",
        counted(calls, "call"),
        status.as_u16(),
        utc(*last_ms)
    );
    let action = "Check the key at the provider, and store a new one if it was revoked. This goes with the next call that succeeds.";
    entry(Kind::KeyRefused, Severity::Error, &message, action, target(owner))
}

fn refresh_failed((login, error): &(CredentialId, RefreshError)) -> Attention {
    let CredentialId { owner, section, field } = login;
    let message = format!("The login `{section}.{field}` of {owner} is not refreshed: {error}.");
    let (severity, action) = if error.is_retryable() {
        (Severity::Warning, "It is tried again with the next requests. See tollgate's log if it lasts.")
    } else {
        (Severity::Error, "Sign in at the provider again, and store the new login.")
    };
    entry(Kind::RefreshFailed, severity, &message, action, target(owner))
}

fn expires(login: &ExpiringLogin, now_ms: u64) -> Attention {
    let ExpiringLogin { owner, place, at_ms } = login;
    let (severity, verb) =
        if *at_ms <= now_ms { (Severity::Error, "expired") } else { (Severity::Warning, "expires") };
    let message =
        format!("The login `{place}` of {owner} {verb} at {}, and has no refresh token.", utc(*at_ms));
    let action = "Sign in at the provider again, and store the new login.";
    entry(Kind::LoginExpires, severity, &message, action, target(owner))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::{ledger::UsageBacklog, name::FileName};

    fn file(name: &str, state: FileState) -> FileStatus {
        FileStatus {
            file: name.to_owned(),
            provider: None,
            state,
            since: String::new(),
            routes: 0,
            because: vec!["presets/base.toml".to_owned()],
            diagnostics: Vec::new(),
        }
    }

    fn none() -> Facts<'static> {
        Facts { moved: &[], expiring: &[], refreshes: &[], refused: &[], now_ms: 1000 }
    }

    fn kinds(all: &[Attention]) -> Vec<(Severity, Kind)> {
        all.iter().map(|one| (one.severity, one.kind)).collect()
    }

    #[test]
    fn the_worst_comes_first() {
        let status = Status {
            problem: Some("no such directory".to_owned()),
            usage_pending: Some(UsageBacklog { since: "now".into(), requests: Some(2), problem: None }),
            store_problem: Some("no space left".to_owned()),
            dropped: [("records".to_owned(), 1)].into(),
            files: vec![
                file("live.toml", FileState::Live),
                file("stale.toml", FileState::Stale),
                file("bad.toml", FileState::Rejected),
            ],
            ..Status::default()
        };
        let login = |field: &str| CredentialId {
            owner: Owner::Everybody,
            section: "providers.t".to_owned(),
            field: field.to_owned(),
        };
        let refreshes = [(login("a"), RefreshError::NoRefreshToken), (login("b"), RefreshError::Timeout)];
        let moved = [MovedField { place: "providers.t.key".into(), owners: 3, to: vec![] }];
        let expiring = [1000, 1001].map(|at_ms| ExpiringLogin {
            owner: Owner::Everybody,
            place: "providers.t.x".into(),
            at_ms,
        });
        let refused = RefusedKey {
            provider: FileName::new("t").unwrap(),
            owner: Owner::Everybody,
            status: StatusCode::UNAUTHORIZED,
            calls: 5,
            last_ms: 0,
        };
        let facts = Facts {
            moved: &moved,
            expiring: &expiring,
            refreshes: &refreshes,
            refused: &[refused],
            now_ms: 1000,
        };
        let all = attention(&status, facts);
        let expected = [
            (Severity::Error, Kind::Store),
            (Severity::Error, Kind::UsagePending),
            (Severity::Error, Kind::Directory),
            (Severity::Error, Kind::FileRejected),
            (Severity::Error, Kind::CredentialMoved),
            (Severity::Error, Kind::KeyRefused),
            (Severity::Error, Kind::RefreshFailed),
            (Severity::Error, Kind::LoginExpires),
            (Severity::Warning, Kind::FileStale),
            (Severity::Warning, Kind::Dropped),
            (Severity::Warning, Kind::RefreshFailed),
            (Severity::Warning, Kind::LoginExpires),
        ];
        assert_eq!(kinds(&all), expected);
        assert_eq!(all[3].message, "`bad.toml` is rejected, because of presets/base.toml.");
        assert_eq!(attention(&Status::default(), none()), []);
    }

    #[test]
    fn lists_and_texts_are_bounded() {
        let name = "é".repeat(500);
        let files = (0..300).map(|_| file(&name, FileState::Rejected)).collect();
        let all = attention(&Status { files, ..Status::default() }, none());
        assert_eq!(all.len(), MAX_OF_KIND + 1);
        assert!(all.iter().all(|one| one.message.len() <= MAX_TEXT + 4), "{all:?}");
        assert_eq!(all[MAX_OF_KIND].message, "292 more of this kind.");
    }

    #[test]
    fn hidden_characters_are_shown() {
        let all = attention(&Status { problem: Some("a\u{202e}b\n".into()), ..Status::default() }, none());
        assert!(!all[0].message.contains(['\u{202e}', '\n']), "{}", all[0].message);
    }
}
