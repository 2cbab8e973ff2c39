//! The work of scans, in steps of the budget: no clock.

mod clients;
mod limit_tests;
mod limits;
mod prices;

use std::{fmt::Write as _, fs, path::PathBuf};

use super::*;
use crate::{
    diag::Code,
    files::{FileState, built_in},
    lint::Levels,
    settings::{Catalogue, SecretsDir},
    variables::EnvAllow,
};

struct Directory {
    _root: tempfile::TempDir,
    dir: PathBuf,
    state: ReloadState,
    /// The steps of the first scan.
    at_start: u64,
}

impl Directory {
    fn new(files: &[(&str, &str)]) -> Self {
        Self::with(files, EnvAllow::default())
    }

    fn with(files: &[(&str, &str)], env_allow: EnvAllow) -> Self {
        Self::in_folder("", files, env_allow)
    }

    fn with_folder(folder: &str, files: &[(&str, &str)]) -> Self {
        Self::in_folder(folder, files, EnvAllow::default())
    }

    fn in_folder(folder: &str, files: &[(&str, &str)], env_allow: EnvAllow) -> Self {
        Self::beside(None, folder, files, env_allow)
    }

    /// A directory beside which built-in providers serve.
    fn beside(
        catalogue: Option<Catalogue>,
        folder: &str,
        files: &[(&str, &str)],
        env_allow: EnvAllow,
    ) -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("providers.d");
        fs::create_dir_all(dir.join(folder)).unwrap();
        for (name, text) in files {
            fs::write(dir.join(folder).join(name), text).unwrap();
        }
        let config = Config {
            source: Source::Directory { path: dir.clone(), catalogue, limits: None },
            secrets: SecretsDir::optional(root.path().join("secrets")),
            data: root.path().into(),
            strict: false,
            max_stale: None,
            sweep: Duration::from_hours(1),
            lints: Levels::default(),
            env_allow,
        };
        let mut state = ReloadState::new(config);
        let (scan, _) = state.start(Watching::Events).unwrap();
        Self { _root: root, dir, state, at_start: scan.steps }
    }

    /// Scans, and returns the steps that it took.
    fn scan(&mut self) -> u64 {
        self.state.scan(Watching::Events).steps
    }

    /// The state of a file, and the codes of its findings.
    fn file(&self, name: &str) -> (FileState, Vec<String>) {
        let status = self.state.record.current();
        let file = status.files.iter().find(|one| one.file.ends_with(name)).unwrap();
        (file.state, file.diagnostics.iter().map(|one| one.code.clone()).collect())
    }
}

fn provider(name: &str, endpoints: usize) -> String {
    let mut text = format!("title = \"X\"\nbase_url = \"https://x.example\"\npath_prefix = \"/{name}\"\n");
    for number in 0..endpoints {
        writeln!(text, "[endpoint.e{number}]\nmethod = \"GET\"\npath = \"/{number}{{a}}/{{b}}{number}\"")
            .unwrap();
    }
    text
}

/// A file whose endpoints repeat long response rules: more memory than its budget.
fn costly(name: &str) -> String {
    let rule = format!(
        "[[response]]\nwhen = {{ status = 400 }}\nreply = {{ status = 500, message = \"{}\" }}\n",
        "m".repeat(1000)
    );
    provider(name, 1000) + &rule.repeat(64)
}

#[test]
fn a_scan_in_which_nothing_changed_takes_no_step() {
    let broken = provider("broken", 10).replace("GET", "GOT");
    let good = provider("good", 10);
    let mut files =
        Directory::new(&[("good.toml", &good), ("broken.toml", &broken), ("costly.toml", &costly("costly"))]);
    assert!(files.at_start > 0);
    assert_eq!(files.file("/costly.toml"), (FileState::Rejected, vec![Code::Budget.as_str().to_owned()]));
    assert_eq!(files.file("/good.toml").0, FileState::Live);
    // The first scan may find that what the start took over changes nothing more.
    files.scan();
    for _ in 0..3 {
        assert_eq!(files.scan(), 0);
    }
    let status = files.state.record.current();
    assert_eq!((status.counts.live, status.counts.rejected), (1, 2));
}

#[test]
fn built_in_providers_serve_beside_those_of_a_directory_if_they_are_named() {
    let names = built_in::provider_names();
    let [first, other] = [names[0], names[1]];
    let catalogue = Catalogue::Named([first.to_owned(), other.to_owned()].into());
    let own = format!("{other}.toml");
    let files = [("own.toml", provider("own", 1)), (&*own, provider("mine", 1))];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let mut files = Directory::beside(Some(catalogue), "", &files, EnvAllow::default());
    let serving = |files: &Directory| -> Vec<(String, bool)> {
        let providers = files.state.table.providers.iter();
        let serving =
            providers.map(|one| (one.name.to_string(), one.prefix != "/mine" && one.prefix != "/own"));
        let mut serving: Vec<_> = serving.collect();
        serving.sort();
        serving
    };
    let expected = |other_is_built_in, has_own: bool| {
        let mut all = vec![(first.to_owned(), true), (other.to_owned(), other_is_built_in)];
        all.extend(has_own.then(|| ("own".to_owned(), false)));
        all.sort();
        all
    };
    // A file of the directory takes the place of the built-in one of its name, and gives it back.
    assert_eq!(serving(&files), expected(false, true));
    fs::remove_file(files.dir.join(&own)).unwrap();
    files.scan();
    assert_eq!(serving(&files), expected(true, true));
    // The last provider of the directory is not taken away by a mistake.
    fs::remove_file(files.dir.join("own.toml")).unwrap();
    files.scan();
    assert_eq!(serving(&files), expected(true, true));
}

#[test]
fn a_change_of_one_file_judges_that_file_alone() {
    let mut files =
        Directory::new(&[("good.toml", &provider("good", 10)), ("costly.toml", &costly("costly"))]);
    let at_start = files.at_start;
    files.scan();
    fs::write(files.dir.join("good.toml"), provider("good", 11)).unwrap();
    let steps = files.scan();
    assert!(steps > 0 && steps < at_start / 10, "{steps} of {at_start}");
    assert_eq!(files.file("/good.toml").0, FileState::Live);
    assert_eq!(files.file("/costly.toml").0, FileState::Rejected);
    // A change of the costly file is judged again, once, and its last good version goes on serving.
    fs::write(files.dir.join("costly.toml"), provider("costly", 10)).unwrap();
    files.scan();
    assert_eq!(
        files.file("/costly.toml"),
        (FileState::Live, vec![Code::UntestedEndpoint.as_str().to_owned(); 10])
    );
    fs::write(files.dir.join("costly.toml"), costly("costly")).unwrap();
    assert!(files.scan() > at_start / 2);
    assert_eq!(files.file("/costly.toml"), (FileState::Stale, vec![Code::Budget.as_str().to_owned()]));
    files.scan();
    assert_eq!(files.scan(), 0);
}

#[test]
fn a_changed_preset_is_judged_with_its_users() {
    let preset = "[endpoint.one]\nmethod = \"GET\"\npath = \"/one\"\n";
    let user = "title = \"X\"\nextends = \"p\"\nbase_url = \"https://x.example\"\npath_prefix = \"/user\"\n";
    let mut files = Directory::new(&[("user.toml", user), ("bad.toml", "title = 1\n")]);
    assert_eq!(files.file("/user.toml").0, FileState::Rejected);
    fs::create_dir(files.dir.join("presets")).unwrap();
    fs::write(files.dir.join("presets/p.toml"), preset).unwrap();
    assert!(files.scan() > 0);
    assert_eq!(files.file("/user.toml").0, FileState::Live);
    fs::write(files.dir.join("presets/p.toml"), preset.replace("GET", "GOT")).unwrap();
    assert!(files.scan() > 0);
    assert_eq!(files.file("/user.toml").0, FileState::Stale);
    fs::write(files.dir.join("presets/p.toml"), preset).unwrap();
    files.scan();
    assert_eq!(files.file("/user.toml").0, FileState::Live);
}

#[test]
fn a_secret_file_that_appears_is_seen() {
    let var = "\n[vars]\nkey = { file = \"key\", secret = true }\n[headers.set]\nx-key = \"{key}\"\n";
    let mut files =
        Directory::new(&[("a.toml", &format!("{}{var}", provider("a", 1))), ("b.toml", &provider("b", 1))]);
    assert_eq!(files.file("/a.toml").0, FileState::Rejected);
    files.scan();
    assert_eq!(files.scan(), 0);
    let secrets = files.dir.with_file_name("secrets");
    fs::create_dir(&secrets).unwrap();
    fs::write(secrets.join("key"), "value").unwrap();
    assert!(files.scan() > 0);
    assert_eq!(files.file("/a.toml").0, FileState::Live);
}

#[test]
fn a_variable_that_is_not_allowed_leaves_the_last_good_version() {
    let reading = |name: &str| {
        let var = format!("vars.v = {{ env = \"{name}\", optional = true }}\n");
        var + &provider("a", 1)
    };
    let gateway = |name: &str| {
        format!("title = \"G\"\nbase_url = \"https://g.example\"\nvars.v = {{ env = \"{name}\" }}\n")
    };
    let through = "gateway.g = { path = \"/g{path}\" }\n".to_owned() + &provider("b", 1);
    let allow = EnvAllow::new(&["DEMO_*".to_owned()]).unwrap();
    let mut files = Directory::with(&[("a.toml", &provider("a", 1)), ("c.toml", &reading("OTHER"))], allow);
    assert_eq!(files.file("/a.toml").0, FileState::Live);
    let of = |files: &Directory, name: &str| {
        let (state, codes) = files.file(name);
        (state, codes.first().cloned().unwrap_or_default())
    };
    assert_eq!(of(&files, "/c.toml"), (FileState::Rejected, "TG030".to_owned()));
    fs::remove_file(files.dir.join("c.toml")).unwrap();
    fs::create_dir(files.dir.join("gateways")).unwrap();
    let write = |files: &Directory, file: &str, text: &str| fs::write(files.dir.join(file), text).unwrap();
    write(&files, "gateways/g.toml", &gateway("DEMO_GATEWAY"));
    write(&files, "b.toml", &through);
    write(&files, "a.toml", &reading("OTHER"));
    files.scan();
    assert_eq!(of(&files, "/a.toml"), (FileState::Stale, "TG030".to_owned()));
    assert_eq!(files.file("/b.toml").0, FileState::Live);
    write(&files, "gateways/g.toml", &gateway("OTHER"));
    write(&files, "a.toml", &reading("DEMO_REGION"));
    files.scan();
    assert_eq!(files.file("/a.toml").0, FileState::Live);
    assert_eq!(files.file("/b.toml").0, FileState::Stale);
    assert_eq!(of(&files, "/g.toml").1, "TG030");
}
