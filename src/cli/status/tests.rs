use super::*;
use crate::diag::Severity;
use crate::files::StatusCounts;
use crate::ledger::UsageBacklog;

fn file(name: &str, state: FileState) -> FileStatus {
    FileStatus {
        file: format!("providers.d/{name}.toml"),
        provider: Some(name.into()),
        state,
        sha256: None,
        since: "2026-11-22T14:30:00Z".into(),
        routes: 1,
        because: Vec::new(),
        diagnostics: Vec::new(),
    }
}

fn finding() -> Finding {
    Finding {
        code: "TG010".into(),
        severity: Severity::Error,
        file: "providers.d/demo.toml".into(),
        line: 3,
        column: 1,
        message: "unknown key `path_prefx`".into(),
        help: Some("did you mean `path_prefix`?".into()),
        related: Vec::new(),
        follows: false,
    }
}

fn status(files: Vec<FileStatus>) -> Status {
    let of = |state| files.iter().filter(|one| one.state == state).count();
    let counts = StatusCounts {
        live: of(FileState::Live),
        stale: of(FileState::Stale),
        rejected: of(FileState::Rejected),
        providers: 14,
        routes: 61,
    };
    Status {
        ok: counts.stale + counts.rejected == 0,
        generation: 7,
        since: "2026-11-22T14:30:00Z".into(),
        watching: Watching::Events,
        counts,
        files,
        ..Status::default()
    }
}

fn check(status: &Status, all: bool, expected: &str) {
    assert_eq!(&*report(status, all), expected);
}

#[test]
fn one_line_if_all_files_are_live() {
    let status = status(vec![file("demo", FileState::Live), file("example", FileState::Live)]);
    let verdict =
        "ok: generation 7 since 2026-11-22T14:30:00Z, 14 providers, 61 routes, watching by events\n";
    check(&status, false, verdict);
    let files = "live providers.d/demo.toml since 2026-11-22T14:30:00Z\n\
                 live providers.d/example.toml since 2026-11-22T14:30:00Z\n";
    check(&status, true, &format!("{verdict}{files}"));
}

#[test]
fn problems_follow_the_verdict() {
    let other = RelatedLocation {
        file: "providers.d/twin.toml".into(),
        line: 8,
        column: 2,
        label: "the other one".into(),
    };
    let clash = Finding {
        message: "it clashes".into(),
        help: Some("one\n   two\u{7}".into()),
        related: vec![other],
        ..finding()
    };
    let broken = FileStatus { diagnostics: vec![finding(), clash], ..file("demo", FileState::Stale) };
    let because = vec!["providers.d/presets/p.toml".into(), "providers.d/demo.toml".into()];
    let dragged = FileStatus { because, ..file("example", FileState::Rejected) };
    let status = Status {
        problem: Some("`providers.d` is\u{1b}[2J gone".into()),
        usage_pending: Some(UsageBacklog {
            since: "2026-11-22T14:30:00Z".into(),
            requests: Some(20),
            problem: Some("no space left to write `d\n`".into()),
        }),
        omitted: 1,
        dropped: [("log".to_owned(), 7), ("records".to_owned(), 12)].into(),
        sink_problems: [("ledger".to_owned(), "panicked".to_owned())].into(),
        ..status(vec![file("fine", FileState::Live), broken, dragged])
    };
    check(
        &status,
        false,
        "NOT OK: 1 stale, 1 rejected, generation 7 since 2026-11-22T14:30:00Z, 14 providers, 61 routes, watching by events\n\
         dropped since the start: 7 by `log`, 12 by `records`\n\
         problem: `providers.d` is\\u{1b}[2J gone\n\
         ledger: panicked\n\
         usage of 20 requests waits in memory since 2026-11-22T14:30:00Z: no space left to write `d\\n`\n\
         stale providers.d/demo.toml since 2026-11-22T14:30:00Z\n  \
           providers.d/demo.toml:3:1: error[TG010]: unknown key `path_prefx`\n    \
             help: did you mean `path_prefix`?\n  \
           providers.d/demo.toml:3:1: error[TG010]: it clashes\n    \
             providers.d/twin.toml:8:2: the other one\n    \
             help: one\n          \
                   two\\u{7}\n\
         rejected providers.d/example.toml since 2026-11-22T14:30:00Z, because of providers.d/presets/p.toml, providers.d/demo.toml\n\
         and 1 finding more, not shown: mend these first\n",
    );
}

#[test]
fn other_responses_are_errors() {
    let check = |code: u16, body: &'static str, expected: &str| {
        let error = read(StatusCode::from_u16(code).unwrap(), &Bytes::from_static(body.as_bytes()));
        assert!(error.unwrap_err().to_string().starts_with(expected), "{body}");
    };
    check(503, r#"{"error":{"message":"too many wait"}}"#, "too many wait");
    check(404, "", "the running tollgate returned 404 Not Found: does its version");
    check(200, r#"{"ok":"yes"}"#, "failed to read the response of the running tollgate: does its version");
}

#[test]
fn causes_come_first_and_what_follows_shares_a_line() {
    let follows = |name: &str| Finding {
        message: "preset `base` has errors of its own".into(),
        help: Some("mend that file first".into()),
        file: format!("providers.d/{name}.toml"),
        follows: true,
        ..finding()
    };
    let using =
        |name: &str| FileStatus { diagnostics: vec![follows(name)], ..file(name, FileState::Rejected) };
    let because = |name: &str| FileStatus {
        because: vec!["providers.d/gateways/g.toml".into()],
        ..file(name, FileState::Stale)
    };
    let cause = FileStatus { diagnostics: vec![finding()], ..file("presets/base", FileState::Rejected) };
    let files = ["a", "b", "c", "d"].map(using).into_iter().chain([cause]);
    let status = status(files.chain(["e", "f"].map(because)).collect());
    let verdict = "NOT OK: 2 stale, 5 rejected, generation 7 since 2026-11-22T14:30:00Z, 14 providers, 61 routes, watching by events\n";
    let cause = "rejected providers.d/presets/base.toml since 2026-11-22T14:30:00Z\n  \
                   providers.d/demo.toml:3:1: error[TG010]: unknown key `path_prefx`\n    \
                     help: did you mean `path_prefix`?\n";
    let following = "rejected: 4 files, since preset `base` has errors of its own: \
         providers.d/a.toml, providers.d/b.toml, providers.d/c.toml and 1 more; `--all` shows each\n\
         stale: 2 files, because of providers.d/gateways/g.toml: providers.d/e.toml, providers.d/f.toml; `--all` shows each\n";
    check(&status, false, &format!("{verdict}{cause}{following}"));
    let all = report(&status, true);
    assert_eq!(all.matches("help: mend that file first").count(), 4, "{}", &*all);
}
