//! Files of limits: their last good versions, and the start that is refused if nothing would be limited.

use super::*;

const BROKEN: &str = "limit = \n";

/// A file with the limit `a`.
fn limits(requests: u32) -> String {
    format!("[[limit]]\nid = \"a\"\nrequests = {requests}\nwindow = {{ every = \"day\" }}\n")
}

/// The directory of limits of a state.
fn place(state: &ReloadState) -> PathBuf {
    state.config.source.limits()
}

fn write_in(state: &ReloadState, name: &str, text: &str) {
    fs::create_dir_all(place(state)).unwrap();
    fs::write(place(state).join(name), text).unwrap();
}

fn write(files: &mut Directory, text: &str) {
    write_in(&files.state, "team.toml", text);
    files.scan();
}

/// A directory with the provider `demo`, and `limits.d/team.toml` with a text.
fn directory(text: &str) -> Directory {
    let mut files = Directory::new(&[("demo.toml", &provider("demo", 1))]);
    write(&mut files, text);
    files
}

/// The limits that serve, as `id=amount`, and the number of providers.
fn serving(state: &ReloadState) -> (String, usize) {
    let limits = state.table.limits.all().iter().map(|one| format!("{}={}", one.id, one.amount));
    (limits.collect::<Vec<_>>().join(" "), state.table.providers.len())
}

/// The state of `team.toml`; none if the status does not list it.
fn state_of(state: &ReloadState) -> Option<FileState> {
    let status = state.record.current();
    status.files.iter().find(|one| one.file.ends_with("limits.d/team.toml")).map(|one| one.state)
}

fn problem(state: &ReloadState) -> String {
    state.record.current().problem.clone().unwrap_or_default()
}

#[track_caller]
fn check(state: &ReloadState, limits: &str, file: Option<FileState>) {
    assert_eq!((serving(state), state_of(state)), ((limits.to_owned(), 1), file));
}

fn started(config: Config) -> Result<ReloadState, StartError> {
    let mut state = ReloadState::new(config);
    state.start(Watching::Events)?;
    Ok(state)
}

/// Stores the last good versions, and starts again.
fn restarted(state: &mut ReloadState) -> Result<ReloadState, StartError> {
    state.save();
    started(state.config.clone())
}

/// The findings that refuse a start.
#[track_caller]
fn refused(outcome: Result<ReloadState, StartError>) -> String {
    match outcome {
        Err(StartError::Limits(first)) => first.sources.render(&first.diagnostics, false).to_string(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it starts"),
    }
}

#[test]
fn a_file_appears_changes_breaks_and_is_deleted() {
    let mut files = Directory::new(&[("demo.toml", &provider("demo", 1))]);
    check(&files.state, "", None);
    assert!(files.state.table.limits.is_empty());
    write(&mut files, &limits(1));
    check(&files.state, "a=1", Some(FileState::Live));
    let (before, hash) = (files.state.table.clone(), files.state.record.current().hash.clone());
    write(&mut files, &limits(2));
    check(&files.state, "a=2", Some(FileState::Live));
    // A request keeps the limits of its snapshot, and its provider is the same one.
    assert_eq!(before.limits.all()[0].amount, 1);
    assert!(Arc::ptr_eq(&before.providers[0], &files.state.table.providers[0]));
    assert_ne!(files.state.record.current().hash, hash);
    let generation = files.state.record.current().generation;
    assert_eq!((files.scan(), files.state.record.current().generation), (0, generation));
    assert!(files.state.record.current().ok);
    for broken in [
        BROKEN.to_owned(),
        limits(3).replace("day", "year"),
        limits(3).replace("= 3", "= 0"),
        limits(3).repeat(2),
    ] {
        write(&mut files, &broken);
        check(&files.state, "a=2", Some(FileState::Stale));
        assert!(!files.state.record.current().ok, "{broken}");
        assert_eq!(files.scan(), 0, "the same outcome at each further scan");
        check(&restarted(&mut files.state).unwrap(), "a=2", Some(FileState::Stale));
    }
    write(&mut files, &limits(4));
    check(&files.state, "a=4", Some(FileState::Live));
    fs::remove_file(place(&files.state).join("team.toml")).unwrap();
    files.scan();
    check(&files.state, "", None);
    assert!(files.state.record.current().ok);
    check(&restarted(&mut files.state).unwrap(), "", None);
}

#[test]
fn files_are_judged_each_by_itself() {
    let mut files = directory(&limits(1));
    write_in(&files.state, "other.toml", &limits(5).replace("\"a\"", "\"b\""));
    files.scan();
    check(&files.state, "a=1 b=5", Some(FileState::Live));
    write_in(&files.state, "other.toml", BROKEN);
    write(&mut files, &limits(2));
    check(&files.state, "a=2 b=5", Some(FileState::Live));
    assert_eq!(files.file("limits.d/other.toml").0, FileState::Stale);
    // A file without a last good version is rejected, and the others serve.
    write_in(&files.state, "new.toml", BROKEN);
    files.scan();
    check(&files.state, "a=2 b=5", Some(FileState::Live));
    assert_eq!(files.file("limits.d/new.toml").0, FileState::Rejected);
    assert_eq!(files.file("/demo.toml").0, FileState::Live);
    // So is one whose name is none.
    write_in(&files.state, "No Name.toml", &limits(9));
    files.scan();
    assert_eq!(files.file("/No Name.toml"), (FileState::Rejected, vec![Code::FileName.as_str().to_owned()]));
    // A provider that breaks takes no limits with it.
    fs::write(files.dir.join("demo.toml"), "title = \n").unwrap();
    files.scan();
    check(&files.state, "a=2 b=5", Some(FileState::Live));
}

/// A limit `a` for a provider.
fn limits_of(provider: &str, requests: u32) -> String {
    limits(requests).replace("requests", &format!("match.provider = [\"{provider}\"]\nrequests"))
}

#[test]
fn a_new_text_that_does_not_fit_what_serves_does_not_serve() {
    let mut files = directory(&limits_of("demo", 1));
    let codes = vec![Code::Limit.as_str().to_owned()];
    write(&mut files, &limits_of("dmeo", 2));
    check(&files.state, "a=1", Some(FileState::Stale));
    assert_eq!(files.file("limits.d/team.toml"), (FileState::Stale, codes.clone()));
    assert_eq!(files.scan(), 0, "the same outcome at each further scan");
    check(&restarted(&mut files.state).unwrap(), "a=1", Some(FileState::Stale));
    write(&mut files, &limits_of("demo", 3));
    check(&files.state, "a=3", Some(FileState::Live));
    // What comes later takes nothing from the other, whatever its name.
    for name in ["a-team.toml", "z-team.toml"] {
        write_in(&files.state, name, &limits(7));
        files.scan();
        check(&files.state, "a=3", Some(FileState::Live));
        assert_eq!(files.file(&format!("limits.d/{name}")), (FileState::Rejected, codes.clone()));
        assert!(refused(restarted(&mut files.state)).contains("another file has a limit `a`"));
        // It serves once it fits, with the same text.
        write(&mut files, &limits(4).replace("\"a\"", "\"b\""));
        assert_eq!(serving(&files.state).0, "a=7 b=4");
        assert_eq!(files.file(&format!("limits.d/{name}")), (FileState::Live, vec![]));
        fs::remove_file(place(&files.state).join(name)).unwrap();
        write(&mut files, &limits(3));
        check(&files.state, "a=3", Some(FileState::Live));
    }
    // A text that reverts has its old limits, which another new one must not have.
    write_in(&files.state, "a-team.toml", &limits(7));
    write(&mut files, &limits_of("dmeo", 2).replace("\"a\"", "\"b\""));
    check(&files.state, "a=3", Some(FileState::Stale));
    assert_eq!(files.file("limits.d/a-team.toml"), (FileState::Rejected, codes));
}

#[test]
fn nothing_that_changes_beside_it_takes_a_text_out_of_service() {
    let mut files =
        Directory::new(&[("demo.toml", &provider("demo", 1)), ("more.toml", &provider("more", 1))]);
    write(&mut files, &limits_of("more", 1));
    fs::remove_file(files.dir.join("more.toml")).unwrap();
    files.scan();
    check(&files.state, "a=1", Some(FileState::Live));
    let codes = vec![Code::Limit.as_str().to_owned()];
    assert_eq!(files.file("limits.d/team.toml"), (FileState::Live, codes.clone()));
    assert!(!files.state.record.current().ok);
    check(&restarted(&mut files.state).unwrap(), "a=1", Some(FileState::Live));
    // A new text has to fit.
    write(&mut files, &limits_of("more", 2));
    check(&files.state, "a=1", Some(FileState::Stale));
    // A provider that is out of service may have what the limit is for: its error is the one to mend.
    fs::write(files.dir.join("more.toml"), "title = \n").unwrap();
    files.scan();
    check(&files.state, "a=2", Some(FileState::Live));
    assert_eq!(files.file("limits.d/team.toml"), (FileState::Live, codes));
}

#[test]
fn limits_stay_while_their_directory_is_missing() {
    let mut files = directory(&limits(1));
    let dir = place(&files.state);
    let away = dir.with_extension("away");
    let message = "limits.d` is missing; to have no limits any more, leave the directory and delete its files: \
                   the last good files go on serving; restore the directory";
    fs::rename(&dir, &away).unwrap();
    for _ in 0..2 {
        files.scan();
        check(&files.state, "a=1", Some(FileState::Stale));
        assert!(problem(&files.state).ends_with(message), "{}", problem(&files.state));
    }
    let state = restarted(&mut files.state).unwrap();
    check(&state, "a=1", Some(FileState::Stale));
    assert!(problem(&state).ends_with(message));
    fs::rename(&away, &dir).unwrap();
    files.scan();
    check(&files.state, "a=1", Some(FileState::Live));
    assert_eq!(problem(&files.state), "");
    // Without the providers, limits stay, too.
    fs::rename(&files.dir, &away).unwrap();
    files.scan();
    check(&files.state, "a=1", Some(FileState::Stale));
    fs::rename(&away, &files.dir).unwrap();
    // A directory without files means that there are no limits; it may go then.
    fs::remove_file(dir.join("team.toml")).unwrap();
    files.scan();
    check(&files.state, "", None);
    fs::remove_dir(&dir).unwrap();
    files.scan();
    assert_eq!(problem(&files.state), "");
    assert!(restarted(&mut files.state).is_ok());
}

#[test]
fn strict_takes_all_files_or_none() {
    let mut files = directory(&limits(1));
    files.state.config.strict = true;
    fs::write(files.dir.join("demo.toml"), provider("demo", 2)).unwrap();
    write(&mut files, BROKEN);
    let endpoints = |files: &Directory| files.state.table.providers[0].endpoints.len();
    check(&files.state, "a=1", Some(FileState::Stale));
    assert_eq!(endpoints(&files), 1);
    assert!(problem(&files.state).contains("`strict` is on"));
    write(&mut files, &limits(2));
    check(&files.state, "a=2", Some(FileState::Live));
    assert_eq!(endpoints(&files), 2);
    fs::write(files.dir.join("demo.toml"), "title = \n").unwrap();
    write(&mut files, &limits(3));
    check(&files.state, "a=2", Some(FileState::Stale));
    assert!(matches!(restarted(&mut files.state), Err(StartError::Strict(_))));
}

#[test]
fn a_start_that_would_limit_nothing_is_refused() {
    let files = Directory::new(&[("demo.toml", &provider("demo", 1))]);
    let config = files.state.config.clone();
    let check = |name: &str, text: &[u8], expected: &str| {
        fs::create_dir_all(place(&files.state)).unwrap();
        let path = place(&files.state).join(name);
        fs::write(&path, text).unwrap();
        let shown = refused(started(config.clone()));
        assert!(shown.contains(expected) && shown.contains(name), "{shown}");
        fs::remove_file(path).unwrap();
    };
    check("team.toml", BROKEN.as_bytes(), "TG003");
    check("team.toml", limits(0).as_bytes(), "TG013");
    check("team.toml", &[b'a', 0xff], "TG001");
    check("team.toml", &vec![b'#'; (1 << 20) + 1], "TG001");
    check("No Name.toml", limits(1).as_bytes(), "TG002");
    check("team.toml", limits_of("dmeo", 1).as_bytes(), "TG090");
    // Hidden files and those of editors are none.
    write_in(&files.state, ".team.toml", BROKEN);
    write_in(&files.state, "team.toml~", BROKEN);
    assert!(started(config.clone()).is_ok());
    // One good file does not make up for another one.
    write_in(&files.state, "good.toml", &limits(1));
    check("team.toml", BROKEN.as_bytes(), "TG003");
    check("team.toml", limits(2).as_bytes(), "another file has a limit `a`, too: this one does not count");
    let state = started(config).unwrap();
    assert_eq!(serving(&state).0, "a=1");
}

/// The limits of built-in providers are in a directory that a setting names, or in the current one.
#[test]
fn limits_beside_built_in_providers_keep_their_last_good_version() {
    let files = Directory::new(&[("demo.toml", &provider("demo", 1))]);
    let limits_dir = files.dir.with_file_name("limits.d");
    fs::create_dir(&limits_dir).unwrap();
    let source = Source::Embedded { catalogue: Catalogue::All, limits: Some(limits_dir.clone()) };
    let config = Config { source, ..files.state.config.clone() };
    write_in(&ReloadState::new(config.clone()), "team.toml", BROKEN);
    assert!(refused(started(config.clone())).contains("TG003"));
    write_in(&ReloadState::new(config.clone()), "team.toml", &limits(1));
    let mut state = started(config.clone()).unwrap();
    let built_in = state.table.providers.len();
    let check = |state: &ReloadState, limits: &str, file: Option<FileState>| {
        assert_eq!((serving(state), state_of(state)), ((limits.to_owned(), built_in), file));
    };
    assert!(built_in > 1);
    check(&state, "a=1", Some(FileState::Live));
    check(&restarted(&mut state).unwrap(), "a=1", Some(FileState::Live));
    write_in(&state, "team.toml", BROKEN);
    state.scan(Watching::Events);
    check(&state, "a=1", Some(FileState::Stale));
    let mut state = restarted(&mut state).unwrap();
    check(&state, "a=1", Some(FileState::Stale));
    // Another start keeps what this one took over.
    check(&restarted(&mut state).unwrap(), "a=1", Some(FileState::Stale));
    fs::rename(&limits_dir, limits_dir.with_extension("away")).unwrap();
    state.scan(Watching::Events);
    check(&state, "a=1", Some(FileState::Stale));
    assert!(problem(&state).contains("limits.d` is missing"));
    assert!(
        matches!(restarted(&mut state), Err(StartError::NoFiles(text)) if text.contains("limits.d` is missing"))
    );
    fs::rename(limits_dir.with_extension("away"), &limits_dir).unwrap();
    fs::remove_file(limits_dir.join("team.toml")).unwrap();
    state.scan(Watching::Events);
    check(&state, "", None);
    check(&restarted(&mut state).unwrap(), "", None);
}

#[test]
fn limits_take_no_built_in_provider_out_of_service() {
    let mut files = Directory::with_folder(
        "prices",
        &[("own.toml", "title = \"P\"\ncurrency = \"USD\"\nprice = [{ model = [\"m\"], input = 1 }]\n")],
    );
    let built_in = files.state.table.providers.len();
    write(&mut files, &limits(1));
    assert_eq!(serving(&files.state), ("a=1".to_owned(), built_in));
    assert!(built_in > 1);
    // A provider file of the name `limits` is none of limits.
    let named = Directory::new(&[("limits.toml", &provider("limits", 1))]);
    assert_eq!(serving(&named.state), (String::new(), 1));
}

#[test]
fn the_texts_that_serve_include_limits() {
    let mut files = directory(&limits(1));
    write(&mut files, BROKEN);
    let served = files.state.served();
    let texts: Vec<_> = served.limits.values().map(|text| text.text.as_deref().unwrap().to_owned()).collect();
    assert_eq!(texts, [limits(1)]);
}
