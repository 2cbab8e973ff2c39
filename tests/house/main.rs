//! Rules of the repository, held by reading it: no provider is named in code, rooms use only lower floors, shipped
//! files pass, generated files are fresh. `clippy.toml` and the compiler hold the others.

#![expect(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod catalogue;
mod code;
mod diagnostics;
mod metrics;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use tollgate::{
    compile,
    diag::Code,
    diff::{Verdict, diff},
    fault::Cause,
    files, mock,
    name::FileName,
    origin::Origin,
    pipeline, secret_scan,
    settings::Source,
    syntax,
};

use code::{code, used_modules, words};

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

/// The source up to its tests, which may use and name anything.
fn without_tests<'s>(path: &str, source: &'s str) -> &'s str {
    if path.ends_with("tests.rs") || path.contains("tests/") {
        return "";
    }
    source.find("#[cfg(test)]\nmod tests {").map_or(source, |at| &source[..at])
}

/// The name of a provider that is a word of its own: a field of a vendor's API. Code names its host nowhere either.
const ORDINARY: [&str; 1] = ["parallel"];

/// A provider is data: its name and host occur nowhere in code, also not in strings and tests.
#[test]
fn no_provider_is_named_in_src() {
    let loaded = files::load(&Source::built_in()).unwrap();
    let names = loaded.files.providers.keys().map(FileName::as_str).filter(|name| !ORDINARY.contains(name));
    let names: Vec<String> = names.map(words).collect();
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

/// An exporter is one file in one folder: no other code names a kind.
#[test]
fn exporters_are_named_in_their_folder_only() {
    let mut seen = 0;
    for (path, source) in sources() {
        let spoken = words(&code(&source, true));
        let is_named = [" llemtry ", " otlp ", " otel "].iter().any(|kind| spoken.contains(kind));
        assert!(!is_named || path.starts_with("exporters/"), "src/{path} names a kind of exporter");
        seen += usize::from(is_named);
    }
    assert!(seen > 2, "the kinds are found");
}

/// Text reaches a terminal or a CI log only through `output`, which escapes it. Clippy holds the functions, too.
#[test]
fn only_output_writes_to_the_standard_streams() {
    const WRITERS: [&str; 8] =
        ["io::stdout", "io::stderr", "print!", "println!", "eprint!", "eprintln!", "dbg!", "/dev/std"];
    let mut seen = 0;
    for (path, source) in sources() {
        let code = code(without_tests(&path, &source), true);
        let found = WRITERS.iter().find(|writer| code.contains(*writer));
        if path == "output.rs" {
            seen += usize::from(found.is_some());
            continue;
        }
        assert_eq!(found, None, "src/{path} writes to a standard stream: use `output`");
    }
    assert_eq!(seen, 1, "`output` is read");
}

/// The rooms that a `lib.rs` or `mod.rs` declares, in order, with their floor: a comment `// floor: ...` begins one.
fn rooms(path: &str) -> Vec<(usize, String)> {
    let text = fs::read_to_string(root().join(path)).unwrap();
    let mut floor = 0;
    let mut rooms = Vec::new();
    for line in text.lines() {
        if line.starts_with("// floor: ") {
            floor += 1;
        } else if let Some(room) = line.strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(';')) {
            rooms.push((floor, room.to_owned()));
        }
    }
    rooms
}

/// `src/lib.rs` is the one list of the outer rooms: a room uses rooms of lower floors, and no other of its own.
#[test]
fn outer_rooms_use_only_lower_floors() {
    let rooms = rooms("src/lib.rs");
    let floor = |room: &str| rooms.iter().find(|(_, known)| known == room).map(|(floor, _)| *floor);
    for (path, source) in sources().iter().filter(|(path, _)| !path.starts_with("engine/")) {
        let room = path.split(['/', '.']).next().unwrap_or_default();
        let Some(own) = floor(room) else {
            assert!(matches!(room, "lib" | "main"), "src/{path} is in no room of src/lib.rs");
            continue;
        };
        for used in used_modules(&code(without_tests(path, source), false), "crate") {
            let lower = floor(&used).is_none_or(|other| other < own);
            assert!(
                lower || used == room,
                "src/{path} uses `crate::{used}`, which is on no lower floor than `{room}`"
            );
        }
    }
}

/// Inside the engine: the floors of `src/engine/lib.rs`, and on each floor the order of its `mod.rs`.
#[test]
fn engine_rooms_use_only_what_is_listed_before_them() {
    let floors: Vec<String> = rooms("src/engine/lib.rs").into_iter().map(|(_, floor)| floor).collect();
    let rank = |list: &[String], name: &str| list.iter().position(|known| known == name);
    for (path, source) in sources() {
        let Some((floor, rest)) = path.strip_prefix("engine/").and_then(|path| path.split_once('/')) else {
            continue;
        };
        let code = code(without_tests(&path, &source), false);
        let own = rank(&floors, floor).unwrap_or_else(|| panic!("src/{path} is on no floor of the engine"));
        for used in used_modules(&code, "crate") {
            let lower = rank(&floors, &used).is_some_and(|other| other <= own);
            assert!(lower, "src/{path} uses `crate::{used}`, which is not below `{floor}`");
        }
        let listed: Vec<String> =
            rooms(&format!("src/engine/{floor}/mod.rs")).into_iter().map(|(_, room)| room).collect();
        let room = rest.split(['/', '.']).next().unwrap_or_default();
        for used in used_modules(&code, floor) {
            let Some(other) = rank(&listed, &used) else { continue };
            // A kind of authentication, and made tokens, are one folder each: the syntax, the compiled and the bound forms are
            // used by those rooms.
            let is_one_folder = |room: &str| matches!(room, "auth" | "token");
            if is_one_folder(&used) || is_one_folder(room) {
                continue;
            }
            let before = rank(&listed, room).is_none_or(|own| other <= own);
            assert!(before, "src/{path} uses `{floor}::{used}`, which stands after `{room}` in its mod.rs");
        }
    }
}

/// Inside `files`: a module uses only those above it in `mod.rs`, so that there is no circle.
#[test]
fn modules_of_files_use_only_those_above_them() {
    let listing = fs::read_to_string(root().join("src/files/mod.rs")).unwrap();
    let modules: Vec<&str> =
        listing.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';')).collect();
    assert!(modules.len() > 15, "{modules:?}");
    // A name that `mod.rs` exports counts as its module.
    let exports: Vec<(&str, &str)> =
        listing.lines().filter_map(|line| line.strip_prefix("pub use ")?.split_once("::")).collect();
    let module = |name: &str| {
        let is_exported =
            |names: &str| names.split(|c: char| !c.is_alphanumeric() && c != '_').any(|one| one == name);
        let exporting = exports.iter().find(|(_, names)| is_exported(names)).map(|(module, _)| *module);
        modules.iter().position(|one| *one == exporting.unwrap_or(name))
    };
    for (place, name) in modules.iter().enumerate() {
        let path = format!("files/{name}.rs");
        let source = fs::read_to_string(root().join("src").join(&path)).unwrap();
        for used in used_modules(&code(without_tests(&path, &source), false), "super") {
            let above = module(&used).is_none_or(|other| other < place);
            assert!(above, "src/{path} uses `{used}`, which is not above it in src/files/mod.rs");
        }
    }
}

/// A request takes one configuration snapshot, at its first byte: two could disagree on where the caller's token may
/// stand, and it would be sent upstream.
#[test]
fn a_request_reads_the_current_configuration_once() {
    const EVENTS: &str = "gateway/events.rs";
    let reads = |room: &str| -> Vec<String> {
        let is_of = |path: &str| path.starts_with(room) && (path == EVENTS) == (room == EVENTS);
        let sources = sources().into_iter().filter(|(path, _)| is_of(path));
        let code = sources.map(|(path, source)| code(without_tests(&path, &source), false));
        let lines = code.flat_map(|code| code.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>());
        lines.filter(|line| line.contains("live.") || line.contains(".snapshot(")).collect()
    };
    assert_eq!(reads("gateway/"), ["let table = worker.live.snapshot();"]);
    // A stream of events sends nothing upstream. It makes one call of the API after the other, each with its own snapshot.
    let of_events = ["let status = self.worker.live.status();", "table: self.worker.live.snapshot(),"];
    assert_eq!(reads(EVENTS), of_events);
    // Calls of the API get the snapshot of the request that they came with.
    let snapshots = reads("admin/").into_iter().filter(|line| line.contains("snapshot"));
    assert_eq!(snapshots.collect::<Vec<_>>(), ["Self::Live(files) => files.live.snapshot(),"]);
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
            let kind = match path.split_once('/') {
                Some(("gateways", _)) => "gateway",
                Some(("apis", _)) => "api",
                Some(("prices", _)) => "prices",
                Some(("clients", _)) => "client",
                Some(("endpoints", _)) => "endpoints",
                Some(_) | None => "provider",
            };
            let up = "../".repeat(dir.split('/').count() + path.matches('/').count());
            let first = text.lines().next().unwrap_or_default();
            assert_eq!(first, format!("#:schema {up}schema/{kind}.schema.json"), "{dir}/{path}");
        }
    }
}

/// The shipped files and the test files pass `check`.
#[test]
fn the_files_of_the_language_tests_pass() {
    for dir in ["providers.d", "tests/providers"] {
        let loaded = files::load(&Source::directory(root().join(dir))).unwrap();
        let (_, tests, found) = pipeline::check(&loaded);
        assert_eq!(found, [], "{}", loaded.sources.render(&found, false));
        assert!(tests.ran > 20, "{dir}");
    }
}

/// Nothing in shipped files and documents is masked as a likely key.
#[test]
fn nothing_shipped_looks_like_a_key() {
    for (dir, extension) in
        [("providers.d", "toml"), ("tests/providers", "toml"), ("docs", "md"), ("schema", "json")]
    {
        let texts = files(&root().join(dir), extension);
        for (path, text) in texts.iter().filter(|(path, _)| path != "diagnostics.md") {
            let found: Vec<_> = secret_scan::find(text).into_iter().map(|range| &text[range]).collect();
            assert!(found.is_empty(), "{dir}/{path}: {found:?}");
        }
    }
}

/// The examples of the guide are valid: complete files pass `check`, parts of files parse.
#[test]
fn the_guide_is_true() {
    let guide = fs::read_to_string(root().join("docs/provider-files.md")).unwrap();
    let blocks: Vec<&str> =
        guide.split("```toml\n").skip(1).filter_map(|tail| tail.split("\n```").next()).collect();
    assert!(blocks.len() > 10, "the guide shows files");
    for block in &blocks {
        let gateway = block.contains("relay.example/v1/{account}");
        let found = if gateway {
            syntax::parse::<syntax::Gateway>(&"guide".into(), block).1
        } else if block.contains("[[price]]") {
            syntax::parse::<syntax::Prices>(&"guide".into(), block).1
        } else if block.contains("[[speaks]]") {
            syntax::parse::<syntax::Client>(&"guide".into(), block).1
        } else if *block == marked(&guide, "endpoints") {
            syntax::parse::<syntax::EndpointSet>(&"guide".into(), block).1
        } else if *block == marked(&guide, "api") {
            syntax::parse::<syntax::Api>(&"guide".into(), block).1
        } else {
            syntax::parse::<syntax::Provider>(&"guide".into(), block).1
        };
        assert_eq!(found, [], "{block}");
    }
    let whole = guide.split("```toml\n").nth(1).and_then(|tail| tail.split("\n```").next()).unwrap();
    let test = guide.split("```toml\n").nth(2).and_then(|tail| tail.split("\n```").next()).unwrap();
    let mut loaded = files::load(&Source::built_in()).unwrap();
    let (parsed, _) = syntax::parse(&"acme.toml".into(), &format!("{whole}\n{test}"));
    loaded.files.providers.insert(FileName::new("acme").unwrap(), parsed);
    let prices = blocks.iter().find(|block| block.contains("[[price]]")).unwrap();
    let lab = whole.replace("Acme", "Lab").replace("acme", "lab");
    loaded
        .files
        .providers
        .insert(FileName::new("lab-1").unwrap(), syntax::parse(&"lab-1.toml".into(), &lab).0);
    let (parsed, _) = syntax::parse(&"prices/acme.toml".into(), prices);
    loaded.files.prices.insert(FileName::new("acme").unwrap(), parsed);
    let client = blocks.iter().find(|block| block.contains("[[speaks]]")).unwrap();
    let (parsed, _) = syntax::parse(&"clients/acme-code.toml".into(), client);
    loaded.files.clients.insert(FileName::new("acme-code").unwrap(), parsed);
    let (parsed, _) = syntax::parse(&"apis/acme-chat.toml".into(), marked(&guide, "api"));
    loaded.files.apis.insert(FileName::new("acme-chat").unwrap(), parsed);
    let live = blocks.iter().find(|block| block.contains("[endpoint.live]")).unwrap();
    let (parsed, _) = syntax::parse(&"acme-live.toml".into(), live);
    loaded.files.providers.insert(FileName::new("acme-live").unwrap(), parsed);
    let (parsed, _) = syntax::parse(&"endpoints/acme/notes.toml".into(), marked(&guide, "endpoints"));
    loaded.files.endpoint_sets.insert(FileName::nested("acme/notes").unwrap(), parsed);
    let (parsed, _) = syntax::parse(&"acme-chat.toml".into(), marked(&guide, "login"));
    loaded.files.providers.insert(FileName::new("acme-chat").unwrap(), parsed);
    let paths = blocks.iter().find(|block| block.contains("path_prefixes")).unwrap();
    let (parsed, _) = syntax::parse(&"paths.toml".into(), &paths.replace("/proxy/acme/", "/proxy/paths/"));
    loaded.files.providers.insert(FileName::new("paths").unwrap(), parsed);
    let (_, urls) = guide.split_once("<!-- urls: run by tests/house -->\n```toml\n").unwrap();
    let (parsed, _) = syntax::parse(&"acme-files.toml".into(), urls.split("\n```").next().unwrap());
    loaded.files.providers.insert(FileName::new("acme-files").unwrap(), parsed);
    let shipped = compile::compile(&files::load(&Source::built_in()).unwrap().files).fixtures.len();
    let (compiled, tests, found) = pipeline::check(&loaded);
    assert_eq!(found.into_iter().filter(|one| one.code != Code::UntestedEndpoint).collect::<Vec<_>>(), []);
    let shown = compiled.providers.iter().find(|one| one.name.as_str() == "acme-files").unwrap();
    assert_eq!(shown.tests.len(), 3, "the tests of URLs in responses ran");
    let without = {
        loaded.files.prices.remove(&FileName::new("acme").unwrap());
        pipeline::check(&loaded).1.ran
    };
    assert_eq!(tests.ran, without + 2, "the tests of the prices run");
    assert_eq!(compiled.fixtures.len(), shipped + 5, "the tests of the guide's api and endpoint set ran");
    let live = compiled.providers.iter().find(|provider| provider.name.as_str() == "acme-live").unwrap();
    assert_eq!(live.tests.len(), 2, "the tests of the guide's WebSocket ran");
    let login = compiled.providers.iter().find(|provider| provider.name.as_str() == "acme-chat").unwrap();
    assert_eq!(login.tests.len(), 2, "the tests of the guide's login ran");
}

/// The guide's file of a kind.
fn marked<'g>(guide: &'g str, kind: &str) -> &'g str {
    let (_, tail) = guide.split_once(&format!("<!-- {kind}: run by tests/house -->\n```toml\n")).unwrap();
    tail.split("\n```").next().unwrap()
}

/// Files read from another directory or in another order are equal.
#[test]
fn nothing_differs_from_itself() {
    let root = root();
    let read = |source: &Source| compile::compile(&files::load(source).unwrap().files).providers;
    for dir in ["providers.d", "tests/providers"] {
        let one = read(&Source::directory(root.join(dir)));
        let other = read(&Source::directory(root.join("src/..").join(dir)));
        assert!(one.len() > 3);
        let found = diff(&one, &other);
        assert_eq!((found.verdict, found.groups), (Verdict::Same, vec![]), "{dir}");
        assert_ne!(diff(&one, &one[1..]).verdict, Verdict::Same);
    }
    let shipped = read(&Source::directory(root.join("providers.d")));
    assert_eq!(diff(&shipped, &read(&Source::built_in())).verdict, Verdict::Same);
}

/// The example of the guide to limits is a good file beside the shipped providers.
#[test]
fn the_guide_to_limits_is_true() {
    let guide = fs::read_to_string(root().join("docs/limits.md")).unwrap();
    let block = guide.split("```toml\n").nth(1).and_then(|tail| tail.split("\n```").next()).unwrap();
    let mut loaded = files::load(&Source::built_in()).unwrap();
    let (parsed, found) = syntax::parse(&"limits.d/guide.toml".into(), block);
    assert_eq!(found, []);
    loaded.files.limits.insert(FileName::new("guide").unwrap(), parsed);
    let (_, _, found) = pipeline::check(&loaded);
    assert!(found.is_empty(), "{found:?}");
    for (index, block) in guide.split("```toml\n").skip(2).enumerate() {
        let block = block.split("\n```").next().unwrap();
        let found = if block.contains("[[limits]]") {
            syntax::parse::<syntax::Policy>(&"guide".into(), block).1
        } else {
            syntax::parse::<syntax::LimitsFile>(&"guide".into(), block).1
        };
        assert_eq!(found, [], "block {index}");
    }
}

/// The table of rooms in docs/architecture.md is the list of `src/lib.rs`, in its order.
#[test]
fn the_architecture_lists_every_room() {
    let text = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let (_, table) = text.split_once("<!-- rooms: held by tests/house -->\n").unwrap();
    let rows = table.lines().take_while(|line| line.starts_with('|')).skip(2);
    let listed: Vec<&str> = rows.filter_map(|row| row.split('`').nth(1)).collect();
    let rooms = rooms("src/lib.rs");
    assert_eq!(listed, rooms.iter().map(|(_, room)| room.as_str()).collect::<Vec<_>>());
}

/// The table of the mock in docs/tooling.md is that of the code, and its formats are api files.
#[test]
fn the_docs_list_what_the_mock_answers() {
    let text = fs::read_to_string(root().join("docs/tooling.md")).unwrap();
    let (_, table) = text.split_once("<!-- mock: held by tests/house -->\n").unwrap();
    let rows = table.lines().take_while(|line| line.starts_with('|')).skip(2);
    let rows: Vec<Vec<&str>> = rows.map(|row| row.split('|').map(str::trim).collect()).collect();
    let listed: Vec<String> = rows.iter().map(|row| format!("{} {}", row[1], row[2])).collect();
    let served = mock::served().map(|(method, path)| format!("`{method}` `*{path}`"));
    assert_eq!(listed, served.collect::<Vec<_>>());
    for format in rows.iter().map(|row| row[3].trim_matches('`')).filter(|format| *format != "-") {
        assert!(root().join(format!("providers.d/apis/{format}.toml")).exists(), "{format}");
    }
}

/// Links between the documents of the repository, and from them into the code, lead somewhere.
#[test]
fn links_of_documents_lead_somewhere() {
    let mut documents: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md"].map(|one| root().join(one)).into();
    for dir in ["docs", "docs/adr"] {
        documents
            .extend(files(&root().join(dir), "md").into_iter().map(|(path, _)| root().join(dir).join(path)));
    }
    for path in documents {
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|tail| tail.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.contains(' ') {
                continue;
            }
            assert!(
                path.parent().unwrap().join(target).exists(),
                "{}: `{link}` leads nowhere",
                path.display()
            );
        }
    }
}

#[test]
fn the_docs_list_every_cause_of_a_refusal() {
    let docs = fs::read_to_string(root().join("docs/accounts.md")).unwrap();
    let (_, table) = docs.split_once("| `cause` | meaning |\n").unwrap();
    let rows = table.lines().skip(1).take_while(|line| line.starts_with("| `"));
    let listed: Vec<&str> = rows.filter_map(|line| line.split('`').nth(1)).collect();
    let causes: Vec<&str> = Cause::ALL.iter().map(|cause| cause.code()).collect();
    assert_eq!(listed, causes);
}
