//! Checks the examples of each diagnostic code, and that `docs/diagnostics.md` is fresh.

use std::{collections::BTreeMap, fs, path::Path};

use tollgate::{
    compile::VarSource,
    diag::{Code, CodeInfo, Diagnostic, EXAMPLE_BASE, document},
    files,
    lint::{Level, Levels},
    pipeline,
    settings::Source,
};

use super::root;

/// The directories of an example.
const FOLDERS: [&str; 2] = ["providers.d/", "limits.d/"];

/// The files of an example by path, with the keys that they leave out.
fn files(example: &str) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut path = "providers.d/example.toml".to_owned();
    for line in example.lines() {
        if let Some(named) = line
            .strip_prefix("# ")
            .filter(|one| FOLDERS.iter().any(|folder| one.starts_with(folder)) || *one == "policy.toml")
        {
            named.clone_into(&mut path);
            files.entry(path.clone()).or_default();
        } else {
            let text: &mut String = files.entry(path.clone()).or_default();
            text.push_str(line);
            text.push('\n');
        }
    }
    let provider = |path: &String| path.starts_with(FOLDERS[0]) && path.matches('/').count() == 1;
    files
        .into_iter()
        .map(|(path, text)| if provider(&path) { (path, filled_in(&text)) } else { (path, text) })
        .collect()
}

fn filled_in(text: &str) -> String {
    let (keys, endpoint) = EXAMPLE_BASE.split_once("\n\n").unwrap();
    let missing = |line: &&str| {
        let key = line.split_once('=').unwrap().0.trim_end();
        !text.lines().any(|one| one.split_once('=').is_some_and(|(other, _)| other.trim_end() == key))
    };
    let keys: String = keys.lines().filter(missing).fold(String::new(), |all, line| all + line + "\n");
    let endpoint = if text.contains("[endpoint.") { "" } else { endpoint };
    format!("{keys}{text}{endpoint}\n")
}

fn write(dir: &Path, example: &str, latin_1: bool) {
    for (path, text) in files(example) {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let bytes = if latin_1 {
            text.chars().map(|c| u8::try_from(c).unwrap()).collect()
        } else {
            text.into_bytes()
        };
        fs::write(path, bytes).unwrap();
    }
}

/// A file of 1,000 endpoints with copies of the example's rule: all of them repeat 64 rules of 1,000 bytes.
fn over_budget(example: &str) -> String {
    let rule = example.replace("...", &"m".repeat(1000));
    let endpoint = |number| format!("[endpoint.e{number}]\nmethod = \"GET\"\npath = \"/{number}\"\n");
    (0..1000).map(endpoint).collect::<String>() + &(rule + "\n").repeat(64)
}

/// The findings of an example. All vars are set, except where the code is about unset vars.
fn found(entry: &CodeInfo, example: &str) -> Vec<Diagnostic> {
    let dir = tempfile::tempdir().unwrap();
    // The example of a file over its budget would fill pages: its rules are repeated here.
    let is_bad = std::ptr::eq(example, entry.bad);
    let repeated = (entry.code == Code::Budget && is_bad).then(|| over_budget(example));
    let latin_1 = entry.code == Code::File && is_bad;
    write(dir.path(), repeated.as_deref().unwrap_or(example), latin_1);
    let mut loaded = files::load(&Source::directory(dir.path().join("providers.d"))).unwrap();
    // Most examples leave out tests.
    let untested = (entry.code != Code::UntestedEndpoint).then_some(Level::Allow);
    loaded.today = "2026-11-20".parse().ok();
    loaded.levels = Levels { untested_endpoint: untested, ..Levels::default() };
    let (_, _, found) = pipeline::check(&loaded);
    if !matches!(entry.code, Code::Var | Code::GatewayOrder) {
        return found;
    }
    assert_eq!(found, [], "{}: found where vars are looked up", entry.text);
    let unset = entry.code == Code::Var;
    pipeline::assemble(&loaded, |_: &VarSource| Ok((!unset).then(|| "x".to_owned()))).diagnostics
}

#[test]
fn bad_examples_have_the_finding_and_good_ones_have_none() {
    for entry in Code::all() {
        let bad = found(entry, entry.bad);
        assert!(!bad.is_empty() && bad.iter().all(|one| one.code == entry.code), "{}: {bad:#?}", entry.text);
        assert!(bad.iter().all(|one| one.severity == entry.severity), "{}: {bad:#?}", entry.text);
        let good = found(entry, entry.good);
        assert_eq!(good, [], "{}", entry.text);
    }
}

#[test]
fn the_document_is_fresh() {
    let path = root().join("docs/diagnostics.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, document()).unwrap();
    }
    let on_disk = fs::read_to_string(&path).unwrap_or_default();
    assert!(on_disk == document(), "docs/diagnostics.md is stale: run the tests with UPDATE_EXPECT=1");
}
