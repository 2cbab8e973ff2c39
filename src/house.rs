//! Rules of the house, held by reading `src/`, `providers.d/` and `schema/`: no provider is named in code,
//! modules use only what lies below them, the pure layer stays pure, and what is generated is fresh.

mod code;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::{compile, leak, load, origin::Origin, settings::Source, spec};

use code::{code, is_whole, used_modules, words};

/// Every module, lowest first: its layer, and what it may use are the layers below and those above it here.
const MODULES: &[(u8, &str)] = &[
    (0, "leak"),
    (0, "diag"),
    (0, "name"),
    (0, "origin"),
    (0, "secret"),
    (0, "fault"),
    (1, "spec"),
    (1, "format"),
    (1, "compile"),
    (1, "starter"),
    (1, "bind"),
    (1, "fields"),
    (1, "table"),
    (1, "rewrite"),
    (1, "explain"),
    (1, "filetest"),
    (1, "lint"),
    (1, "reconcile"),
    (1, "ways"),
    (1, "diff"),
    (1, "prove"),
    (1, "usage"),
    (1, "exchange"),
    (2, "settings"),
    (2, "upstream"),
    (2, "store"),
    (2, "accounts"),
    (2, "systemd"),
    (2, "load"),
    (2, "live"),
    (2, "listen"),
    (2, "mock"),
    (2, "telemetry"),
    (3, "admin"),
    (3, "ui"),
    (3, "gateway"),
    (4, "server"),
    (4, "control"),
    (4, "cli"),
];

/// What the pure layer has no business with. Types of `http` are fine.
const IMPURE: &[&str] = &[
    "tokio",
    "hyper",
    "rustls",
    "std::fs",
    "std::net",
    "std::env",
    "SystemTime",
    "Instant",
    "rand",
    "getrandom",
    "tracing",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `dir` with an extension, by path relative to it.
fn files(dir: &Path, extension: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|one| one == extension) {
                let shown = path.strip_prefix(dir).unwrap().to_string_lossy().replace('\\', "/");
                found.push((shown, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<(String, String)> {
    files(&root().join("src"), "rs")
}

/// Where the tests of a source begin, which may use and name what they like below.
fn without_tests<'s>(path: &str, source: &'s str) -> &'s str {
    if path.ends_with("tests.rs") || path.contains("tests/") {
        return "";
    }
    source.find("#[cfg(test)]\nmod tests {").map_or(source, |at| &source[..at])
}

/// A provider is data: what tells one from another never stands in code, strings and tests included.
#[test]
fn no_provider_is_named_in_src() {
    let loaded = load::load(&Source::Embedded).unwrap();
    let names: Vec<String> = loaded.files.providers.keys().map(|name| words(name.as_str())).collect();
    let hosts = hosts(&loaded.files);
    assert!(names.len() > 10 && hosts.len() > 10, "the shipped files are read");
    for (path, source) in sources() {
        let code = code(&source, true);
        let spoken = words(&code);
        let name = names.iter().find(|name| spoken.contains(name.as_str()));
        let host = hosts.iter().find(|host| code.to_lowercase().contains(host.as_str()));
        let found = name.or(host);
        assert_eq!(
            found, None,
            "src/{path} names a provider: say it in providers.d, or use `demo` in a test"
        );
    }
}

fn hosts(files: &compile::Files) -> BTreeSet<String> {
    let mut urls = Vec::new();
    for parsed in files.providers.values().flatten() {
        urls.extend(parsed.document.base_url.clone());
        let fields = parsed.document.credentials.iter().flat_map(|one| one.field.iter().flatten());
        urls.extend(fields.filter_map(|field| field.token_url.clone()));
    }
    urls.extend(files.gateways.values().flatten().map(|parsed| parsed.document.base_url.clone()));
    let host = |url: &String| {
        let fixed = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        let fixed = fixed.split(['/', '{']).next().unwrap_or_default();
        Origin::split(&format!("https://{fixed}")).ok().map(|(origin, _)| origin.host().to_owned())
    };
    urls.iter().filter_map(host).collect()
}

/// Modules use lower layers, and what stands before them in their own.
#[test]
fn modules_use_only_what_lies_below() {
    let rank = |module: &str| MODULES.iter().position(|(_, known)| *known == module);
    for (path, source) in sources() {
        let module = path.split(['/', '.']).next().unwrap_or_default();
        if matches!(module, "lib" | "main" | "house") {
            continue;
        }
        let own =
            rank(module).unwrap_or_else(|| panic!("src/{path}: give the module a place in src/house.rs"));
        for used in used_modules(&code(without_tests(&path, &source), false)) {
            let other =
                rank(&used).unwrap_or_else(|| panic!("src/{path} uses `crate::{used}`, which has no place"));
            let below = other < own && MODULES[other].0 <= MODULES[own].0;
            assert!(
                below || other == own,
                "src/{path} uses `crate::{used}`, which does not lie below `{module}`"
            );
        }
    }
}

/// Between `parse` and `link`, and on a request's way through its rules, nothing touches the world.
#[test]
fn the_pure_layer_is_pure() {
    for (path, source) in sources() {
        let module = path.split(['/', '.']).next().unwrap_or_default();
        if !MODULES.contains(&(1, module)) {
            continue;
        }
        let code = code(without_tests(&path, &source), false);
        for name in IMPURE {
            let found = code.match_indices(name).any(|(at, _)| is_whole(&code, at, name.len()));
            assert!(!found, "src/{path} names `{name}`: the pure layer has no business with it");
        }
        for (brace, used) in code.match_indices("std::{").map(|(at, _)| (at, &code[at..])) {
            let list = &used[..used.find(';').unwrap_or(used.len())];
            for name in ["fs", "net", "env"] {
                let found = list.match_indices(name).any(|(at, _)| is_whole(list, at, name.len()));
                assert!(!found, "src/{path} names `std::{name}` (byte {brace})");
            }
        }
    }
}

#[test]
fn every_module_says_what_it_owns() {
    for (path, source) in sources() {
        let told = source.starts_with("//!") || path.ends_with("tests.rs");
        assert!(told, "src/{path} does not start with `//!`");
    }
}

#[test]
fn every_file_names_its_schema() {
    for dir in ["providers.d", "tests/providers"] {
        for (path, text) in files(&root().join(dir), "toml") {
            let (folder, kind) = match path.split_once('/') {
                Some(("gateways", _)) => (true, "gateway"),
                Some(("apis", _)) => (true, "api"),
                Some(_) => (true, "provider"),
                None => (false, "provider"),
            };
            let up = "../".repeat(dir.split('/').count() + usize::from(folder));
            let first = text.lines().next().unwrap_or_default();
            assert_eq!(first, format!("#:schema {up}schema/{kind}.schema.json"), "{dir}/{path}");
        }
    }
}

/// What the language's own tests say passes.
#[test]
fn the_files_of_the_language_tests_pass() {
    for dir in ["providers.d", "tests/providers"] {
        let loaded = load::load(&Source::Directory(root().join(dir))).unwrap();
        let (_, tests, found) = load::check(&loaded);
        assert_eq!(found, [], "{}", loaded.sources.render(&found, false));
        assert!(tests.ran > 20, "{dir}");
    }
}

/// What is shown of the shipped files and the docs is shown as it is.
#[test]
fn nothing_shipped_looks_like_a_key() {
    for (dir, extension) in
        [("providers.d", "toml"), ("tests/providers", "toml"), ("docs", "md"), ("schema", "json")]
    {
        let texts = files(&root().join(dir), extension);
        for (path, text) in texts.iter().filter(|(path, _)| path != "diagnostics.md") {
            let found: Vec<_> = leak::find(text).into_iter().map(|range| &text[range]).collect();
            assert!(found.is_empty(), "{dir}/{path}: {found:?}");
        }
    }
}

/// What the guide shows can be written: whole files pass `check`, parts of files parse.
#[test]
fn the_guide_is_true() {
    let guide = fs::read_to_string(root().join("docs/provider-files.md")).unwrap();
    let blocks: Vec<&str> =
        guide.split("```toml\n").skip(1).filter_map(|tail| tail.split("\n```").next()).collect();
    assert!(blocks.len() > 10, "the guide shows files");
    for block in blocks {
        let gateway = block.contains("relay.example/v1/{account}");
        let found = if gateway {
            spec::parse::<spec::Gateway>(&"guide".into(), block).1
        } else {
            spec::parse::<spec::Provider>(&"guide".into(), block).1
        };
        assert_eq!(found, [], "{block}");
    }
    let whole = guide.split("```toml\n").nth(1).and_then(|tail| tail.split("\n```").next()).unwrap();
    let test = guide.split("```toml\n").nth(2).and_then(|tail| tail.split("\n```").next()).unwrap();
    let mut loaded = load::load(&Source::Embedded).unwrap();
    let (parsed, _) = spec::parse(&"acme.toml".into(), &format!("{whole}\n{test}"));
    loaded.files.providers.insert(crate::name::FileName::new("acme").unwrap(), parsed);
    assert_eq!(load::check(&loaded).2, []);
}
