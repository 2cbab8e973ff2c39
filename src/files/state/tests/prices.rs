//! Price files: their last good versions, and providers that serve whatever becomes of them.

use super::*;
use crate::{compile::Prices, usage::Counter};

const BROKEN: &str = "title = \n";

fn prices(input: u32) -> String {
    format!("title = \"P\"\ncurrency = \"USD\"\nprice = [{{ model = [\"m\"], input = {input} }}]\n")
}

/// A directory with the provider `demo`, and `prices/demo.toml` with a text.
fn directory(text: &str) -> Directory {
    let files = Directory::new(&[("demo.toml", &provider("demo", 1))]);
    fs::create_dir(files.dir.join("prices")).unwrap();
    let mut files = Directory { at_start: 0, ..files };
    write(&mut files, text);
    files
}

fn write(files: &mut Directory, text: &str) {
    fs::write(files.dir.join("prices/demo.toml"), text).unwrap();
    files.scan();
}

/// The price of a million tokens, and the number of providers that serve.
fn serving(files: &Directory) -> (Option<u64>, usize) {
    serving_of(&files.state)
}

fn serving_of(state: &ReloadState) -> (Option<u64>, usize) {
    let found = |prices: &Prices| {
        let price = prices.find("demo", "m", "2026-11-20".parse().unwrap())?;
        price.rates.rate(Counter::Input).map(|pico| pico / 1_000_000)
    };
    (found(&state.table.prices), state.table.providers.len())
}

fn restarted(files: &Directory) -> ReloadState {
    let mut state = ReloadState::new(files.state.config.clone());
    state.start(Watching::Events).unwrap();
    state
}

fn state_of(files: &Directory) -> FileState {
    files.file("prices/demo.toml").0
}

#[test]
fn a_changed_price_serves_and_no_provider_is_judged() {
    let mut files = directory(&prices(1));
    assert_eq!((serving(&files), state_of(&files)), ((Some(1), 1), FileState::Live));
    let (before, hash) = (files.state.table.clone(), files.state.record.current().hash.clone());
    write(&mut files, &prices(2));
    assert_eq!(serving(&files), (Some(2), 1));
    // A request keeps the prices of its snapshot, and its provider is the same one.
    assert_eq!(
        before.prices.find("demo", "m", crate::day::Day::LAST).unwrap().rates.rate(Counter::Input),
        Some(1_000_000)
    );
    assert!(Arc::ptr_eq(&before.providers[0], &files.state.table.providers[0]));
    assert_ne!(files.state.record.current().hash, hash);
    let generation = files.state.record.current().generation;
    assert_eq!((files.scan(), files.state.record.current().generation), (0, generation));
    fs::remove_file(files.dir.join("prices/demo.toml")).unwrap();
    files.scan();
    assert_eq!(serving(&files), (None, 1));
}

#[test]
fn a_broken_price_file_keeps_its_last_good_version() {
    let mut files = directory(BROKEN);
    assert_eq!((serving(&files), state_of(&files)), ((None, 1), FileState::Rejected));
    assert_eq!(files.file("/demo.toml").0, FileState::Live);
    assert!(!files.state.record.current().ok);
    write(&mut files, &prices(1));
    assert!(files.state.record.current().ok);
    let failing = "[[test]]\nname = \"t\"\nusage = { model = \"m\", input = 1 }\nexpect = { cost = \"9\" }\n";
    for broken in [BROKEN.to_owned(), prices(2).replace("USD", "usd"), format!("{}{failing}", prices(2))] {
        write(&mut files, &broken);
        assert_eq!((serving(&files), state_of(&files)), ((Some(1), 1), FileState::Stale), "{broken}");
        assert_eq!(files.file("/demo.toml").0, FileState::Live);
        files.state.save();
        assert_eq!(serving_of(&restarted(&files)), (Some(1), 1), "{broken}");
        // The same outcome at each further scan.
        assert_eq!((files.scan(), serving(&files)), (0, (Some(1), 1)));
    }
    write(&mut files, &prices(3));
    files.state.save();
    assert_eq!((serving(&files), serving_of(&restarted(&files))), ((Some(3), 1), (Some(3), 1)));
}

#[test]
fn prices_stay_while_the_directory_is_missing() {
    let mut files = directory(&prices(1));
    let away = files.dir.with_extension("away");
    fs::rename(&files.dir, &away).unwrap();
    files.scan();
    assert_eq!((serving(&files), state_of(&files)), ((Some(1), 1), FileState::Stale));
    fs::rename(&away, &files.dir).unwrap();
    files.scan();
    assert_eq!((serving(&files), state_of(&files)), ((Some(1), 1), FileState::Live));
}

#[test]
fn strict_takes_all_files_or_none() {
    let mut files = directory(&prices(1));
    files.state.config.strict = true;
    fs::write(files.dir.join("other.toml"), BROKEN).unwrap();
    write(&mut files, &prices(2));
    assert_eq!((serving(&files), state_of(&files)), ((Some(1), 1), FileState::Stale));
    fs::remove_file(files.dir.join("other.toml")).unwrap();
    files.scan();
    assert_eq!((serving(&files), state_of(&files)), ((Some(2), 1), FileState::Live));
    write(&mut files, BROKEN);
    fs::write(files.dir.join("demo.toml"), provider("demo", 2)).unwrap();
    files.scan();
    let endpoints = files.state.table.providers[0].endpoints.len();
    assert_eq!((serving(&files), endpoints), ((Some(2), 1), 1));
}

#[test]
fn a_price_for_no_provider_is_a_warning() {
    let mut files = directory(&prices(1));
    fs::write(files.dir.join("prices/dmeo.toml"), prices(1)).unwrap();
    fs::write(files.dir.join("prices/No Name.toml"), prices(1)).unwrap();
    files.scan();
    assert_eq!(files.file("/dmeo.toml"), (FileState::Live, vec![Code::UnusedPrice.as_str().to_owned()]));
    assert_eq!(files.file("/No Name.toml"), (FileState::Rejected, vec![Code::FileName.as_str().to_owned()]));
    let served = files.state.served();
    assert_eq!(served.prices.keys().filter(|file| file.ends_with("meo.toml")).count(), 1);
}

#[test]
fn a_first_price_file_takes_no_built_in_provider_out_of_service() {
    let mut embedded =
        ReloadState::new(Config { source: Source::built_in(), ..directory(&prices(1)).state.config });
    embedded.start(Watching::Nothing).unwrap();
    let built_in = embedded.table.providers.len();
    assert!(built_in > 1);
    for folder in ["presets", "gateways", "apis", "prices", "clients"] {
        let files = with_folder(folder);
        let status = files.state.record.current();
        assert_eq!((files.state.table.providers.len(), status.ok), (built_in, true), "{folder}: {status:?}");
        assert_eq!(status.counts.providers, built_in, "{folder}");
        assert_eq!(restarted(&files).table.providers.len(), built_in, "{folder}");
    }
}

/// A directory with one file, in a folder.
fn with_folder(folder: &str) -> Directory {
    let text = match folder {
        "prices" => prices(1),
        "clients" => "title = \"C\"\nkind = \"tool\"\n[[speaks]]\napi = \"messages\"\npath = \"/m\"\nstep = [{ language = \"sh\", code = \"c\" }]\n".to_owned(),
        "gateways" => {
            "title = \"G\"\nbase_url = \"https://g.example/{at}\"\nvars.at.env = \"G_AT\"\n".to_owned()
        }
        "apis" => "title = \"A\"\nerror.body = { error = \"{message}\" }\n".to_owned(),
        _ => "path_prefix = \"/{provider}\"\n".to_owned(),
    };
    Directory::with_folder(folder, &[("mine.toml", &text)])
}

#[test]
fn the_first_own_provider_replaces_the_built_in_ones_which_never_come_back_by_themselves() {
    let mut files = with_folder("prices");
    fs::write(files.dir.join("demo.toml"), provider("demo", 1)).unwrap();
    files.scan();
    assert_eq!(files.state.table.providers.len(), 1);
    files.state.save();
    // Its removal is more likely a mistake than a wish for the built-in providers.
    fs::remove_file(files.dir.join("demo.toml")).unwrap();
    files.scan();
    let state = |state: &ReloadState| {
        let problem = state.record.current().problem.clone().unwrap_or_default();
        (state.table.providers.len(), problem.contains("has no provider file"))
    };
    assert_eq!(state(&files.state), (1, true));
    assert_eq!(state(&restarted(&files)), (1, true));
}
