//! Files of clients: their last good versions, the built-in ones beside them, and providers that serve whatever becomes of
//! them.

use super::*;

const BROKEN: &str = "title = \n";

fn client(title: &str) -> String {
    format!(
        "title = \"{title}\"\nkind = \"tool\"\n[[speaks]]\napi = \"messages\"\npath = \"/v1/messages\"\nstep = [{{ language = \"sh\", code = \"run {{base_url}}\" }}]\n"
    )
}

/// A directory with the provider `demo`, and `clients/demo.toml` with a text.
fn directory(text: &str) -> Directory {
    let files = Directory::new(&[("demo.toml", &provider("demo", 1))]);
    fs::create_dir(files.dir.join("clients")).unwrap();
    let mut files = Directory { at_start: 0, ..files };
    write(&mut files, text);
    files
}

fn write(files: &mut Directory, text: &str) {
    fs::write(files.dir.join("clients/demo.toml"), text).unwrap();
    files.scan();
}

/// The title of the client `demo`, and the numbers of clients and providers that serve.
fn serving(state: &ReloadState) -> (Option<&str>, usize, usize) {
    let clients = state.table.clients.files();
    let demo = clients.iter().find(|one| one.name.as_str() == "demo").map(|one| one.title.as_str());
    (demo, clients.len(), state.table.providers.len())
}

fn restarted(files: &Directory) -> ReloadState {
    let mut state = ReloadState::new(files.state.config.clone());
    state.start(Watching::Events).unwrap();
    state
}

fn state_of(files: &Directory) -> FileState {
    files.file("clients/demo.toml").0
}

/// The number of built-in clients.
fn built_in() -> usize {
    let config = Config { source: Source::built_in(), ..directory(BROKEN).state.config };
    let mut state = ReloadState::new(config);
    state.start(Watching::Nothing).unwrap();
    serving(&state).1
}

#[test]
fn a_changed_client_serves_and_no_provider_is_judged() {
    let built_in = built_in();
    assert!(built_in > 8);
    let mut files = directory(&client("One"));
    assert_eq!((serving(&files.state), state_of(&files)), ((Some("One"), built_in + 1, 1), FileState::Live));
    let (before, hash) = (files.state.table.clone(), files.state.record.current().hash.clone());
    write(&mut files, &client("Two"));
    assert_eq!(serving(&files.state), (Some("Two"), built_in + 1, 1));
    // A request keeps the clients of its snapshot, and its provider is the same one.
    assert!(before.clients.files().iter().any(|one| one.title == "One"));
    assert!(Arc::ptr_eq(&before.providers[0], &files.state.table.providers[0]));
    assert_ne!(files.state.record.current().hash, hash);
    let generation = files.state.record.current().generation;
    assert_eq!((files.scan(), files.state.record.current().generation), (0, generation));
    assert!(files.state.served().clients.keys().any(|file| file.ends_with("clients/demo.toml")));
    fs::remove_file(files.dir.join("clients/demo.toml")).unwrap();
    files.scan();
    assert_eq!(serving(&files.state), (None, built_in, 1));
}

#[test]
fn a_broken_client_keeps_its_last_good_version() {
    let built_in = built_in();
    let mut files = directory(BROKEN);
    assert_eq!((serving(&files.state), state_of(&files)), ((None, built_in, 1), FileState::Rejected));
    assert_eq!(files.file("providers.d/demo.toml").0, FileState::Live);
    assert!(!files.state.record.current().ok);
    write(&mut files, &client("One"));
    assert!(files.state.record.current().ok);
    let unclosed = client("Two").replace("{base_url}", "{base_url");
    for broken in [BROKEN.to_owned(), client("Two").replace("tool", "toool"), unclosed] {
        write(&mut files, &broken);
        let expected = (Some("One"), built_in + 1, 1);
        assert_eq!((serving(&files.state), state_of(&files)), (expected, FileState::Stale), "{broken}");
        assert_eq!(files.file("providers.d/demo.toml").0, FileState::Live);
        files.state.save();
        assert_eq!(serving(&restarted(&files)), expected, "{broken}");
        assert_eq!((files.scan(), serving(&files.state)), (0, expected));
    }
    write(&mut files, &client("Three"));
    files.state.save();
    assert_eq!(serving(&files.state).0, Some("Three"));
    assert_eq!(serving(&restarted(&files)).0, Some("Three"));
}

#[test]
fn clients_stay_while_the_directory_is_missing() {
    let mut files = directory(&client("One"));
    let before = serving(&files.state).1;
    let away = files.dir.with_extension("away");
    fs::rename(&files.dir, &away).unwrap();
    files.scan();
    assert_eq!((serving(&files.state), state_of(&files)), ((Some("One"), before, 1), FileState::Stale));
    let listed =
        files.state.record.current().files.iter().filter(|one| one.file.contains("clients/")).count();
    assert_eq!(listed, 1, "built-in clients are not listed");
    fs::rename(&away, &files.dir).unwrap();
    files.scan();
    assert_eq!((serving(&files.state), state_of(&files)), ((Some("One"), before, 1), FileState::Live));
}

#[test]
fn strict_takes_all_files_or_none() {
    let mut files = directory(&client("One"));
    files.state.config.strict = true;
    fs::write(files.dir.join("other.toml"), BROKEN).unwrap();
    write(&mut files, &client("Two"));
    assert_eq!((serving(&files.state).0, state_of(&files)), (Some("One"), FileState::Stale));
    fs::remove_file(files.dir.join("other.toml")).unwrap();
    files.scan();
    assert_eq!((serving(&files.state).0, state_of(&files)), (Some("Two"), FileState::Live));
}

#[test]
fn a_client_of_the_directory_replaces_the_built_in_one_of_its_name() {
    let built_in = built_in();
    let mut files = directory(&client("One"));
    fs::write(files.dir.join("clients/curl.toml"), client("My curl")).unwrap();
    files.scan();
    let titles = |files: &Directory| -> Vec<String> {
        let named = files.state.table.clients.files().iter().filter(|one| one.name.as_str() == "curl");
        named.map(|one| one.title.clone()).collect()
    };
    assert_eq!((titles(&files), serving(&files.state).1), (vec!["My curl".to_owned()], built_in + 1));
    fs::remove_file(files.dir.join("clients/curl.toml")).unwrap();
    files.scan();
    assert_eq!(titles(&files), ["curl"]);
}

#[test]
fn an_unknown_wire_format_is_a_warning() {
    let mut files = directory(&client("One").replace("\"messages\"", "\"mesages\""));
    let found = files.file("clients/demo.toml");
    assert_eq!(found, (FileState::Live, vec![Code::UnknownApi.as_str().to_owned()]));
    assert_eq!(serving(&files.state).0, Some("One"));
    // An api of the directory counts.
    fs::create_dir(files.dir.join("apis")).unwrap();
    let api = "title = \"A\"\nerror.body = { error = \"{message}\" }\n";
    fs::write(files.dir.join("apis/mesages.toml"), api).unwrap();
    files.scan();
    assert_eq!(files.file("clients/demo.toml"), (FileState::Live, Vec::new()));
    fs::write(files.dir.join("clients/No Name.toml"), client("N")).unwrap();
    files.scan();
    assert_eq!(files.file("/No Name.toml"), (FileState::Rejected, vec![Code::FileName.as_str().to_owned()]));
}
