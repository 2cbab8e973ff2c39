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
    name::{LimitId, Owner},
    numbers::counted,
    recorder::RecentDrops,
    token::STORED_PREFIX,
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
    /// Of the last hour.
    pub(super) drops: &'f [RecentDrops],
    /// The limits with one amount for everybody that is nearly used up.
    pub(super) limits: &'f [NearLimit],
    pub(super) now_ms: u64,
}

/// A limit whose one amount is nearly used up.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NearLimit {
    pub(super) id: LimitId,
    /// The share that is used or reserved.
    pub(super) share: f64,
    /// True if requests beyond it are refused.
    pub(super) refuses: bool,
}

/// All entries, the worst first.
pub(super) fn attention(status: &Status, facts: Facts<'_>) -> Vec<Attention> {
    let mut all = Vec::new();
    machine(status, facts.drops, &mut all);
    files(status, &mut all);
    few(&mut all, facts.moved.iter().map(moved), Kind::CredentialMoved, Target::Unconfirmed);
    few(&mut all, facts.refused.iter().map(key_refused), Kind::KeyRefused, Target::Shared);
    few(&mut all, facts.refreshes.iter().map(refresh_failed), Kind::RefreshFailed, Target::Shared);
    let expiring = facts.expiring.iter().map(|login| expires(login, facts.now_ms));
    few(&mut all, expiring, Kind::LoginExpires, Target::Shared);
    few(&mut all, facts.limits.iter().map(limit_nearly_used), Kind::LimitNearlyUsed, Target::Usage);
    all.sort_by_key(|one| (one.severity, one.kind));
    all
}

fn entry(kind: Kind, severity: Severity, message: &str, action: &str, target: Target) -> Attention {
    let (message, action) = (bounded(message), bounded(action));
    Attention { kind, severity, message, action, target, count: 1 }
}

fn bounded(text: &str) -> String {
    let cut = &text[..text.floor_char_boundary(MAX_TEXT)];
    let shown = escape::value(cut).to_string();
    if cut.len() < text.len() { shown + "…" } else { shown }
}

/// Adds the first entries of a kind, the worst first, and one for the others.
fn few(all: &mut Vec<Attention>, more: impl Iterator<Item = Attention>, kind: Kind, target: Target) {
    let mut more: Vec<_> = more.collect();
    more.sort_by_key(|one| one.severity);
    let rest = more.split_off(more.len().min(MAX_OF_KIND));
    all.append(&mut more);
    if let Some(worst) = rest.first() {
        let message = format!("{} more {}.", rest.len(), others(kind, rest.len()));
        let action = match target {
            Target::Providers => "`tollgate status` lists all.",
            Target::Unconfirmed => "The page lists all.",
            Target::Shared | Target::Users | Target::Usage | Target::Machine => "tollgate's log names all.",
        };
        all.push(Attention { count: rest.len(), ..entry(kind, worst.severity, &message, action, target) });
    }
}

/// The name of so many problems of a kind.
fn others(kind: Kind, number: usize) -> &'static str {
    let (one, many) = match kind {
        Kind::Store => ("problem of the store", "problems of the store"),
        Kind::UsagePending => ("backlog of usage", "backlogs of usage"),
        Kind::Directory => ("problem of the directory", "problems of the directory"),
        Kind::FileRejected => ("rejected file", "rejected files"),
        Kind::FileStale => ("stale file", "stale files"),
        Kind::Sink => ("consumer that panicked", "consumers that panicked"),
        Kind::Exporter => ("exporter that fails", "exporters that fail"),
        Kind::Dropped => ("queue that dropped entries", "queues that dropped entries"),
        Kind::CredentialMoved => {
            ("field that waits for a confirmation", "fields that wait for a confirmation")
        }
        Kind::KeyRefused => ("key that an upstream refuses", "keys that upstreams refuse"),
        Kind::RefreshFailed => ("login that is not refreshed", "logins that are not refreshed"),
        Kind::LoginExpires => ("login that expires", "logins that expire"),
        Kind::LimitNearlyUsed => ("limit that is nearly used up", "limits that are nearly used up"),
    };
    if number == 1 { one } else { many }
}

fn limit_nearly_used(limit: &NearLimit) -> Attention {
    let message =
        format!("Of the limit `{}` for everybody, {:.0} % are used.", limit.id, limit.share * 100.0);
    let action = if limit.refuses {
        "Requests beyond it are refused. `tollgate limits` shows when it is free again; its file has the amount."
    } else {
        "Requests beyond it are counted, and pass. `tollgate limits` shows when it is free again."
    };
    entry(Kind::LimitNearlyUsed, Severity::Warning, &message, action, Target::Usage)
}

/// Problems of the machine, and of what tollgate sends and writes.
fn machine(status: &Status, drops: &[RecentDrops], all: &mut Vec<Attention>) {
    if let Some(problem) = &status.store_problem {
        let message = format!("The store fails: {problem}");
        let action = "Until it can be written again, nothing can be changed; while it cannot be read, only known callers are served. See tollgate's log.";
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
    let dropped = drops.iter().map(|RecentDrops { queue, number, last_ms }| {
        let (number, last) = (counted(number, "entry"), utc(*last_ms));
        let message = format!("{number} of `{queue}` dropped since the start, the last at {last}.");
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
        "`{}` of {} waits for a confirmation: it leads to {} now, which it was not stored for.",
        field.place,
        counted(field.owners, "owner"),
        field.to.join(", ")
    );
    let action = "Requests with it are refused until its owner or an operator confirms the move. If nobody meant it, put the provider file, or the value that makes the host, back.";
    entry(Kind::CredentialMoved, Severity::Error, &message, action, Target::Unconfirmed)
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
    let made = field.starts_with(STORED_PREFIX).then(|| field.rsplit(':').next().unwrap_or_default());
    let message = match made {
        Some(token) => {
            format!("The token `{token}` cannot be made from `{section}` of {owner}: {error}.")
        }
        None => format!("The login `{section}.{field}` of {owner} is not refreshed: {error}."),
    };
    let (severity, action) = match made {
        _ if error.is_retryable() => {
            (Severity::Warning, "It is tried again with the next requests. See tollgate's log if it lasts.")
        }
        Some(_) => (Severity::Error, "Check the credential at the provider, and store it again."),
        None => (Severity::Error, "Sign in at the provider again, and store the new login."),
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
            sha256: None,
            since: String::new(),
            routes: 0,
            because: vec!["presets/base.toml".to_owned()],
            diagnostics: Vec::new(),
        }
    }

    fn none() -> Facts<'static> {
        Facts {
            moved: &[],
            expiring: &[],
            refreshes: &[],
            refused: &[],
            drops: &[],
            limits: &[],
            now_ms: 1000,
        }
    }

    fn kinds(all: &[Attention]) -> Vec<(Severity, Kind)> {
        all.iter().map(|one| (one.severity, one.kind)).collect()
    }

    fn near(id: &str, refuses: bool) -> NearLimit {
        NearLimit { id: LimitId::new(id).unwrap(), share: 0.914, refuses }
    }

    #[test]
    fn a_limit_that_is_nearly_used_up_is_named() {
        let check = |refuses: bool, message: &str, action: &str| {
            let all =
                attention(&Status::default(), Facts { limits: &[near("team-month", refuses)], ..none() });
            assert_eq!(all.len(), 1, "{all:?}");
            assert_eq!(all[0].message, message);
            assert!(all[0].action.starts_with(action), "{all:?}");
        };
        let message = "Of the limit `team-month` for everybody, 91 % are used.";
        check(true, message, "Requests beyond it are refused.");
        check(false, message, "Requests beyond it are counted, and pass.");
    }

    #[test]
    fn the_worst_comes_first() {
        let status = Status {
            problem: Some("no such directory".to_owned()),
            usage_pending: Some(UsageBacklog { since: "now".into(), requests: Some(2), problem: None }),
            store_problem: Some("no space left".to_owned()),
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
        let drops = [RecentDrops { queue: "records".into(), number: 1, last_ms: 0 }];
        let facts = Facts {
            drops: &drops,
            moved: &moved,
            expiring: &expiring,
            refreshes: &refreshes,
            refused: &[refused],
            limits: &[near("everybody", true)],
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
            (Severity::Warning, Kind::LimitNearlyUsed),
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
        let last = &all[MAX_OF_KIND];
        let expected = (Severity::Error, Kind::FileRejected, 292, "292 more rejected files.");
        assert_eq!((last.severity, last.kind, last.count, &*last.message), expected);
    }

    #[test]
    fn the_rest_of_a_kind_follows_it_and_the_worst_are_listed() {
        let file = |state| move |number: usize| file(&format!("{number}.toml"), state);
        let mut files: Vec<_> = (0..3).map(file(FileState::Stale)).collect();
        files.extend((0..12).map(file(FileState::Rejected)));
        let login = |error: fn() -> RefreshError| {
            move |number: usize| {
                let (section, field) = ("providers.t".to_owned(), format!("f{number}"));
                (CredentialId { owner: Owner::Everybody, section, field }, error())
            }
        };
        let mut refreshes: Vec<_> = (0..8).map(login(|| RefreshError::Timeout)).collect();
        refreshes.push(login(|| RefreshError::NoRefreshToken)(8));
        let all =
            attention(&Status { files, ..Status::default() }, Facts { refreshes: &refreshes, ..none() });
        let mut expected = vec![(Severity::Error, Kind::FileRejected); MAX_OF_KIND + 1];
        expected.push((Severity::Error, Kind::RefreshFailed));
        expected.extend([(Severity::Warning, Kind::FileStale); 3]);
        expected.extend([(Severity::Warning, Kind::RefreshFailed); MAX_OF_KIND]);
        assert_eq!(kinds(&all), expected);
        assert_eq!(all[MAX_OF_KIND].message, "4 more rejected files.");
        assert_eq!(all.last().unwrap().message, "1 more login that is not refreshed.");
        assert_eq!(all.iter().map(|one| one.count).sum::<usize>(), 15 + 9);
    }

    #[test]
    fn hidden_characters_are_shown() {
        let all = attention(&Status { problem: Some("a\u{202e}b\n".into()), ..Status::default() }, none());
        assert!(!all[0].message.contains(['\u{202e}', '\n']), "{}", all[0].message);
    }

    #[test]
    fn a_token_that_is_not_made_is_no_login() {
        let id = CredentialId {
            owner: Owner::Everybody,
            section: "providers.t".to_owned(),
            field: "token:t:session".to_owned(),
        };
        let refused = RefreshError::Token(crate::token::TokenProblem::Refused(401));
        let entry = refresh_failed(&(id, refused));
        assert_eq!(
            entry.message,
            "The token `session` cannot be made from `providers.t` of everybody: \
             the token endpoint refused the credential with status 401."
        );
        assert_eq!(entry.action, "Check the credential at the provider, and store it again.");
    }
}
