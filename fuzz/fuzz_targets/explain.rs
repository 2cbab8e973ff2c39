//! Explains any request to any provider file: there is always an answer, it can be displayed, and it has no secret.
//!
//! The input is text: `METHOD TARGET`, a header per line, an empty line, then a provider file.

#![no_main]

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, Mutex},
};

use http::{HeaderName, HeaderValue, Request};
use libfuzzer_sys::fuzz_target;
use tollgate::{bind, compile::{self, Var}, explain::{Action, Caller, StoredValue, Context, explain}, files, pipeline::{self, Loaded}, name::FileName, secret::Secret, settings::Source, syntax, table::Table};

/// A value that no input contains by chance.
const SECRET: &str = "tgXsecretXofXsomebody";
const FILE: &str = "fuzzed.toml";

fn value(var: &Var) -> Option<String> {
    Some(if var.secret { SECRET } else { "v" }.to_owned())
}

/// The shipped presets, gateways and apis, for the file to use.
static SHIPPED: LazyLock<Mutex<Loaded>> = LazyLock::new(|| {
    let mut loaded = files::load(&Source::Embedded).expect("the shipped files are there");
    loaded.files.providers.clear();
    Mutex::new(loaded)
});

fn put(loaded: &mut Loaded, text: &str) {
    loaded.sources.insert(FILE.into(), text.into());
    let (parsed, _) = syntax::parse(&FILE.into(), text);
    loaded.files.providers.insert(FileName::new("fuzzed").expect("the name is well-formed"), parsed);
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some((head, file)) = text.split_once("\n\n") else { return };
    let mut lines = head.lines();
    let Some((method, target)) = lines.next().and_then(|line| line.split_once(' ')) else { return };
    let Ok(request) = Request::builder().method(method).uri(target).version(http::Version::HTTP_10).body(()) else { return };
    let (mut head, ()) = request.into_parts();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
        {
            head.headers.append(name, value);
        }
    }
    let mut loaded = SHIPPED.lock().expect("no other thread is there to panic");
    put(&mut loaded, file);
    let compiled = compile::compile(&loaded.files);
    let bound = compiled.providers.iter().filter_map(|one| bind::bind(one, |_, _, var| value(var)).0);
    let bound: Vec<_> = bound.map(Arc::new).collect();
    let providers: Vec<_> = compiled
        .providers
        .iter()
        .filter(|one| bound.iter().any(|bound| bound.name == one.name))
        .cloned()
        .collect();
    let table: Table = pipeline::table(&providers, bound, compiled.rejected, std::sync::Arc::default());
    let fields = providers.iter().filter_map(|one| one.section.as_ref()).flat_map(|section| &section.fields);
    let held: BTreeMap<String, StoredValue> =
        fields.map(|field| (field.value.name.clone(), StoredValue::Value(Secret::new(SECRET)))).collect();
    let caller = Caller::given(held, "nothing is stored");
    let context = Context {
        files: &loaded.files,
        sources: &loaded.sources,
        table: &table,
        providers: &providers,
        fixture: None,
    };
    let explained = explain(context, &head, &|_, _, var| Ok(value(var)), &caller);
    assert!(explained.route.is_some() != explained.miss.is_some());
    let shown = explained.to_string();
    if !text.contains(SECRET) {
        assert!(!shown.contains(SECRET), "{shown}");
    }
    for header in explained.route.iter().flat_map(|route| &route.headers) {
        let removed = header.steps.last().is_some_and(|step| step.action == Action::Removed);
        assert_eq!(removed, header.values.is_empty(), "{header:?}");
    }
});
