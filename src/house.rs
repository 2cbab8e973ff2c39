//! Rules of the house, held by reading `src/`, `providers.d/` and `schema/`: no provider is named in code,
//! modules use only what lies below them, the pure layer stays pure, and what is generated is fresh.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::{compile, load, origin::Origin, spec};

/// Every module, lowest first: its layer, and what it may use are the layers below and those above it here.
const MODULES: &[(u8, &str)] = &[
    (0, "diag"),
    (0, "name"),
    (0, "origin"),
    (0, "secret"),
    (0, "fault"),
    (1, "spec"),
    (1, "compile"),
    (1, "bind"),
    (1, "table"),
    (1, "rewrite"),
    (1, "filetest"),
    (1, "usage"),
    (1, "exchange"),
    (2, "settings"),
    (2, "upstream"),
    (2, "store"),
    (2, "accounts"),
    (2, "load"),
    (2, "live"),
    (2, "mock"),
    (2, "telemetry"),
    (3, "gateway"),
    (3, "admin"),
    (3, "ui"),
    (4, "server"),
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

/// Rust without its comments; with `texts`, string literals stay, else they are emptied.
fn code(source: &str, texts: bool) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let (taken, kept) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), false)
        } else if rest.starts_with("/*") {
            (rest.find("*/").map_or(rest.len(), |end| end + 2), false)
        } else if let Some(length) = string_literal(rest, out.chars().next_back()) {
            (length, texts)
        } else if first == '\'' {
            (char_literal(rest), true)
        } else {
            (first.len_utf8(), true)
        };
        if kept {
            out.push_str(&rest[..taken]);
        } else {
            out.push_str("\"\"");
        }
        rest = &rest[taken..];
    }
    out
}

/// The length of the string literal that `text` starts with, raw ones included.
fn string_literal(text: &str, before: Option<char>) -> Option<usize> {
    let after_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let raw = text.strip_prefix('r').filter(|_| !after_word || before == Some('b'));
    if let Some(tail) = raw {
        let hashes = tail.len() - tail.trim_start_matches('#').len();
        if tail[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = 1 + hashes + 1;
            return Some(text[start..].find(&end).map_or(text.len(), |at| start + at + end.len()));
        }
    }
    let inner = text.strip_prefix('"')?;
    let mut escaped = false;
    for (at, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 2),
            _ => {}
        }
    }
    Some(text.len())
}

/// The length of a character literal, or of the quote alone where a lifetime begins.
fn char_literal(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((escaped, _))) => {
            let from = escaped + text[escaped..].chars().next().map_or(1, char::len_utf8);
            text[from..].find('\'').map_or(1, |at| from + at + 1)
        }
        (Some(_), Some((close, '\''))) => close + 1,
        _ => 1,
    }
}

/// The words of a text, in lower case: `FooBar`, `foo_bar` and `"foo-bar"` are `foo bar`.
fn words(text: &str) -> String {
    let mut out = String::from(" ");
    let mut before = ' ';
    for c in text.chars() {
        let starts_word = c.is_uppercase() && before.is_lowercase();
        if (starts_word || !c.is_alphanumeric()) && !out.ends_with(' ') {
            out.push(' ');
        }
        if c.is_alphanumeric() {
            out.extend(c.to_lowercase());
        }
        before = c;
    }
    if !out.ends_with(' ') {
        out.push(' ');
    }
    out
}

/// Where the tests of a source begin, which may use and name what they like below.
fn without_tests<'s>(path: &str, source: &'s str) -> &'s str {
    if path.ends_with("tests.rs") || path.contains("tests/") {
        return "";
    }
    source.find("#[cfg(test)]\nmod tests {").map_or(source, |at| &source[..at])
}

#[test]
fn code_and_words() {
    let check = |source: &str, all: &str, bare: &str| {
        assert_eq!(code(source, true), all, "{source}");
        assert_eq!(code(source, false), bare, "{source}");
    };
    check("a // b\nc", "a \"\"\nc", "a \"\"\nc");
    check("a(\"b // c\")", "a(\"b // c\")", "a(\"\")");
    check(r#""a\"b" c"#, r#""a\"b" c"#, "\"\" c");
    check("r#\"a\"b\"# c", "r#\"a\"b\"# c", "\"\" c");
    check("'\"' 'a \"b\"", "'\"' 'a \"b\"", "'\"' 'a \"\"");
    check("'\\'' \"b\"", "'\\'' \"b\"", "'\\'' \"\"");
    assert_eq!(words("FooBar foo_bar \"x-API2\""), " foo bar foo bar x api2 ");
}

/// A provider is data: what tells one from another never stands in code, strings and tests included.
#[test]
fn no_provider_is_named_in_src() {
    let loaded = load::load(&load::Origin::Embedded).unwrap();
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

/// The first names after `crate::`, those in braces included.
fn used_modules(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for tail in code.split("crate::").skip(1) {
        match tail.strip_prefix('{') {
            None => used.extend(first_word(tail)),
            Some(list) => {
                let mut depth = 0;
                let mut item = String::new();
                for c in list.chars() {
                    match c {
                        '}' if depth == 0 => break,
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 0 => used.extend(first_word(&std::mem::take(&mut item))),
                        _ if depth == 0 => item.push(c),
                        _ => {}
                    }
                }
                used.extend(first_word(&item));
            }
        }
    }
    used
}

fn first_word(text: &str) -> Option<String> {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

#[test]
fn used_modules_are_found() {
    let check = |code: &str, expected: &[&str]| {
        assert_eq!(used_modules(code).iter().map(String::as_str).collect::<Vec<_>>(), expected, "{code}");
    };
    check("use crate::a::B;", &["a"]);
    check(
        "use crate::{\n    a,\n    b::{self, C},\n    d::E,\n};\nlet x = crate::f::g();",
        &["a", "b", "d", "f"],
    );
    check("use std::x;", &[]);
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

fn is_whole(code: &str, at: usize, length: usize) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    !code[..at].ends_with(word) && !code[at + length..].starts_with(word)
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

#[test]
fn schemas_are_fresh() {
    for kind in spec::KINDS {
        let path = format!("schema/{}.schema.json", kind.stem());
        let text = fs::read_to_string(root().join(&path)).unwrap_or_default();
        assert!(text == spec::schema_text(*kind), "{path} is stale; run: cargo run -- schema --out schema");
    }
}

/// What the language's own tests say passes.
#[test]
fn the_files_of_the_language_tests_pass() {
    for dir in ["providers.d", "tests/providers"] {
        let loaded = load::load(&load::Origin::Directory(root().join(dir))).unwrap();
        let (_, tests, found) = load::check(&loaded);
        assert_eq!(found, [], "{}", loaded.sources.render(&found, false));
        assert!(tests.ran > 20, "{dir}");
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
        let found = match gateway {
            true => spec::parse::<spec::Gateway>(&"guide".into(), block).1,
            false => spec::parse::<spec::Provider>(&"guide".into(), block).1,
        };
        assert_eq!(found, [], "{block}");
    }
    let whole = guide.split("```toml\n").nth(1).and_then(|tail| tail.split("\n```").next()).unwrap();
    let test = guide.split("```toml\n").nth(2).and_then(|tail| tail.split("\n```").next()).unwrap();
    let mut loaded = load::load(&load::Origin::Embedded).unwrap();
    let (parsed, _) = spec::parse(&"acme.toml".into(), &format!("{whole}\n{test}"));
    loaded.files.providers.insert(crate::name::FileName::new("acme").unwrap(), parsed);
    assert_eq!(load::check(&loaded).2, []);
}
