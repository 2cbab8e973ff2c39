//! The vendors that are known, and provider files for them: each file is generated from facts, goes through `check`, and makes the
//! upstream requests that the facts say. `unsayable.toml` lists what no file can say, with the reason.

#![expect(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]
#![expect(clippy::disallowed_methods, reason = "tests read the facts, and the wire formats that are shipped")]

mod cases;
mod concepts;
mod facts;
mod generate;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Map, Value, json};
use tollgate_engine::{
    base::diag::Severity,
    pipeline::{self, Folder, InputFile},
};

use facts::{Addition, Facts, Unsayable};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All that is known.
struct Catalogue {
    facts: Vec<Facts>,
    additions: BTreeMap<String, Addition>,
    unsayable: Vec<Unsayable>,
}

impl Catalogue {
    fn read() -> Self {
        let folder = root().join("tests/catalogue");
        let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        let facts = serde_json::from_str(&text("facts.json")).unwrap();
        let additions =
            toml::from_str(&text("additions.toml")).unwrap_or_else(|error| panic!("additions.toml: {error}"));
        let mut unsayable: BTreeMap<String, Vec<Unsayable>> =
            toml::from_str(&text("unsayable.toml")).unwrap_or_else(|error| panic!("unsayable.toml: {error}"));
        Self { facts, additions, unsayable: unsayable.remove("unsayable").unwrap_or_default() }
    }

    fn parts(&self, id: &str) -> Vec<&Unsayable> {
        self.unsayable.iter().filter(|one| one.provider == id).collect()
    }

    /// The endpoints that no file can have.
    fn without(&self, id: &str) -> Vec<&str> {
        self.parts(id).iter().filter_map(|one| one.part.strip_prefix("endpoint ")).collect()
    }
}

/// A file with the tests that the facts make, without some endpoints.
fn generated(catalogue: &Catalogue, facts: &Facts, without: &[&str]) -> Map<String, Value> {
    with_sketch(catalogue, facts, without, &Map::new())
}

fn with_sketch(
    catalogue: &Catalogue,
    facts: &Facts,
    without: &[&str],
    sketch: &Map<String, Value>,
) -> Map<String, Value> {
    let none = Addition::default();
    let addition = catalogue.additions.get(&facts.id).unwrap_or(&none);
    let mut file = generate::file(facts, addition, without);
    generate::merge(&mut file, sketch);
    let tests = cases::tests(facts, addition, &file);
    file.insert("test".into(), json!(tests));
    file
}

/// The shipped wire formats, by path.
fn apis() -> impl Iterator<Item = (String, String)> {
    let files = fs::read_dir(root().join("providers.d/apis")).unwrap();
    files.map(|file| {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (format!("apis/{name}"), fs::read_to_string(path).unwrap())
    })
}

/// The errors of files, by the name of the file.
fn errors(named: &BTreeMap<String, Map<String, Value>>) -> BTreeMap<String, Vec<String>> {
    let files = named.iter().map(|(name, file)| (format!("{name}.toml"), generate::toml(file)));
    let texts: Vec<(Arc<str>, String)> =
        files.chain(apis()).map(|(path, text)| (path.into(), text)).collect();
    let named_texts: Vec<_> = texts
        .iter()
        .map(|(path, text)| {
            let (folder, name) = Folder::of_path(path).unwrap();
            (path, folder, folder.file_name(name.trim_end_matches(".toml")).unwrap(), text)
        })
        .collect();
    let input = named_texts.iter().map(|(path, folder, name, text)| {
        let filled_in = *folder == Folder::Apis;
        let text = Ok(text.as_str());
        let (is_built_in, is_judged) = (filled_in, false);
        (*path, InputFile { folder: *folder, name: Some(name), text, filled_in, is_built_in, is_judged })
    });
    let (_, outcome, found) = pipeline::check(&pipeline::parse(input, |_| true));
    let mut errors: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in found.iter().filter(|one| one.severity == Severity::Error) {
        let name = one.at.file.trim_end_matches(".toml").to_owned();
        errors.entry(name).or_default().push(format!("{}: {}", one.code.as_str(), one.message));
    }
    assert!(outcome.ran > 0 || errors.len() == named.len(), "the tests of files without errors run");
    errors
}

fn all(catalogue: &Catalogue) -> BTreeMap<String, Map<String, Value>> {
    let file = |facts: &Facts| (facts.id.clone(), generated(catalogue, facts, &catalogue.without(&facts.id)));
    catalogue.facts.iter().map(file).collect()
}

/// Every vendor has a file, but for those on the list; and nobody is on the list for nothing. `CATALOGUE_OUT` names a directory for
/// the files.
#[test]
fn every_vendor_can_be_said_but_those_on_the_list() {
    let catalogue = Catalogue::read();
    let files = all(&catalogue);
    if let Some(folder) = std::env::var_os("CATALOGUE_OUT") {
        fs::create_dir_all(&folder).unwrap();
        for (name, file) in &files {
            fs::write(Path::new(&folder).join(format!("{name}.toml")), generate::toml(file)).unwrap();
        }
    }
    let errors = errors(&files);
    let listed = |id: &str| catalogue.parts(id).iter().any(|one| one.part == "everything");
    let mut wrong = Vec::new();
    for facts in &catalogue.facts {
        match (errors.get(&facts.id), listed(&facts.id)) {
            (Some(found), false) => {
                wrong.push(format!("{}: cannot be said:\n    {}", facts.id, found.join("\n    ")));
            }
            (None, true) => wrong.push(format!("{}: can be said: take it off the list", facts.id)),
            (Some(_), true) | (None, false) => {}
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), files.len(), wrong.join("\n"));
}

/// A part on the list cannot be said: `check` refuses the file with its sketch.
#[test]
fn no_part_on_the_list_can_be_said() {
    let catalogue = Catalogue::read();
    let mut files = BTreeMap::new();
    for (at, one) in catalogue.unsayable.iter().enumerate() {
        assert!(one.reason.len() > 20, "{}: {}: a reason", one.provider, one.part);
        let facts = catalogue.facts.iter().find(|facts| facts.id == one.provider).unwrap();
        if let Some(endpoint) = one.part.strip_prefix("endpoint ") {
            assert!(facts.endpoints.contains_key(endpoint), "{}: no endpoint `{endpoint}`", one.provider);
        }
        let mut without = catalogue.without(&one.provider);
        without.retain(|name| one.part != format!("endpoint {name}"));
        files.insert(format!("part-{at}"), with_sketch(&catalogue, facts, &without, &one.sketch));
    }
    let errors = errors(&files);
    for (at, one) in catalogue.unsayable.iter().enumerate() {
        assert!(errors.contains_key(&format!("part-{at}")), "{}: {} can be said", one.provider, one.part);
    }
}

/// A file has the concepts that its vendor needs, all hosts, and all ways to authenticate, or else the list has the part.
#[test]
fn nothing_of_the_facts_is_left_out() {
    let catalogue = Catalogue::read();
    let none = Addition::default();
    let mut missing = Vec::new();
    for facts in &catalogue.facts {
        let addition = catalogue.additions.get(&facts.id).unwrap_or(&none);
        let parts = catalogue.parts(&facts.id);
        let listed = |part: &str| parts.iter().any(|one| one.part.starts_with(part));
        let file = generated(&catalogue, facts, &catalogue.without(&facts.id));
        for concept in facts.needs.iter().filter(|one| !concepts::has(one, &file)) {
            let aside = addition.needless.contains_key(concept.as_str());
            if !aside && (*concept != "answer-urls" || !listed("URLs in answers")) {
                missing.push(format!("{}: {concept}", facts.id));
            }
        }
        let text = generate::toml(&file) + &generate::token_hosts(facts, addition).join(" ");
        for host in &facts.hosts {
            let host = facts::fill(host, |name| generate::value(addition, name));
            let unsaid = catalogue.without(&facts.id);
            let unsaid = unsaid.iter().any(|one| facts.endpoints[*one].1.contains(&format!("//{host}")));
            if !unsaid && !["//", " ", "\""].iter().any(|before| text.contains(&format!("{before}{host}"))) {
                missing.push(format!("{}: the host {host}", facts.id));
            }
        }
        let token = concepts::missing_of_token(facts, &file);
        missing.extend(token.map(|what| format!("{}: of its token, {what}", facts.id)));
        missing.extend(concepts::missing_of_key(facts, &file).map(|what| format!("{}: {what}", facts.id)));
        let another =
            !addition.alt.is_empty() || addition.alt_is_said.is_some() || facts.needs("optional-key");
        if facts.auth("alt").is_some() && !another && !listed("alternative") {
            missing.push(format!("{}: {}", facts.id, facts.auth("alt").unwrap()));
        }
    }
    let known = |id: &String| catalogue.facts.iter().any(|facts| facts.id == *id);
    missing
        .extend(catalogue.additions.keys().filter(|id| !known(id)).map(|id| format!("{id}: no such vendor")));
    assert!(missing.is_empty(), "{} missing:\n{}", missing.len(), missing.join("\n"));
}

/// The tests of the files find a file that sends a request elsewhere, under another path or with another key.
#[test]
fn a_wrong_file_fails_its_tests() {
    let catalogue = Catalogue::read();
    let facts = catalogue.facts.iter().find(|facts| facts.id == "mistral").unwrap();
    let mut files = BTreeMap::new();
    let wrong = [
        ("right", json!({})),
        ("host", json!({ "base_url": "https://api.example.com" })),
        ("path", json!({ "endpoint": { "chat": { "upstream_path": "/v1/chat" } } })),
        ("method", json!({ "endpoint": { "chat": { "method": "PUT" } } })),
        ("key", json!({ "auth": [{ "field": "apiKey", "set": { "authorization": "Token {secret}" } }] })),
    ];
    for (name, change) in &wrong {
        let mut file = generated(&catalogue, facts, &[]);
        generate::merge(&mut file, change.as_object().unwrap());
        file.insert("path_prefix".into(), json!("/proxy/mistral"));
        // Each file has paths of its own.
        let text = Value::Object(file).to_string().replace("/proxy/mistral", &format!("/proxy/{name}"));
        files.insert((*name).to_owned(), serde_json::from_str(&text).unwrap());
    }
    let found: Vec<String> = errors(&files).into_keys().collect();
    assert_eq!(found, ["host", "key", "method", "path"]);
}
