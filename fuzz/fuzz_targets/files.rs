//! Any text as a provider file, and as a preset, a gateway, an api and a client of the same name, beside the shipped files.
//! Nothing panics; each finding is within its file and can be displayed; the same text gives the same findings again.

#![no_main]

use std::sync::{Arc, LazyLock, Mutex};

use libfuzzer_sys::fuzz_target;
use tollgate::{bind, budget::Budgets, compile, diag::{Location, Diagnostic}, filetest, files, pipeline::{Loaded}, name::FileName, settings::Source, syntax, table};

/// Enough shipped providers to conflict with.
const NEIGHBOURS: usize = 1;
/// Texts whose length is a multiple of this are compiled twice.
const AGAIN: usize = 8;
/// The number of findings displayed: displaying them costs more than finding them.
const SHOWN: usize = 8;
const NAME: &str = "fuzzed";

static SHIPPED: LazyLock<Mutex<Loaded>> = LazyLock::new(|| {
    let mut loaded = files::load(&Source::Embedded).expect("the shipped files are there");
    assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
    let kept: Vec<FileName> = loaded.files.providers.keys().take(NEIGHBOURS).cloned().collect();
    loaded.files.providers.retain(|name, _| kept.contains(name));
    Mutex::new(loaded)
});

fn put(loaded: &mut Loaded, text: &str) -> Vec<Diagnostic> {
    let name = FileName::new(NAME).expect("the name is well-formed");
    let file = |folder: &str| -> Arc<str> { format!("{folder}{NAME}.toml").into() };
    let (provider, mut found) = syntax::parse(&file(""), text);
    let (preset, more) = syntax::parse(&file("presets/"), text);
    found.extend(more);
    let (gateway, more) = syntax::parse(&file("gateways/"), text);
    found.extend(more);
    let (api, more) = syntax::parse(&file("apis/"), text);
    found.extend(more);
    let (client, more) = syntax::parse(&file("clients/"), text);
    found.extend(more);
    loaded.files.clients.insert(name.clone(), client);
    loaded.files.providers.insert(name.clone(), provider);
    loaded.files.presets.insert(name.clone(), preset);
    loaded.files.gateways.insert(name.clone(), gateway);
    loaded.files.apis.insert(name, api);
    for folder in ["", "presets/", "gateways/", "apis/", "clients/"] {
        loaded.sources.insert(file(folder), text.into());
    }
    found
}

/// All findings, from syntax to vars.
fn all(loaded: &mut Loaded, text: &str) -> Vec<Diagnostic> {
    let mut found = put(loaded, text);
    let compiled = compile::compile(&loaded.files);
    found.extend(table::link(&[], &compiled.providers, &compiled.rejected, &Budgets::default()).into_iter().map(|one| one.diagnostic));
    for provider in &compiled.providers {
        for value in [None, Some("v"), Some("http://[::1]:1/a b?\u{e9}#\r\n"), Some("https://a.example/x")] {
            found.extend(bind::bind(provider, |_, _, _| value.map(str::to_owned)).1);
        }
    }
    found.extend(filetest::run(&compiled).diagnostics);
    found.extend(compiled.diagnostics);
    found.sort();
    found
}

fn check_place(at: &Location, text: &str) {
    if at.file.ends_with(&format!("{NAME}.toml")) {
        assert!(at.start <= at.end && at.end <= text.len(), "{at:?} lies outside of {} bytes", text.len());
        assert!(text.is_char_boundary(at.start) && text.is_char_boundary(at.end), "{at:?} cuts a character");
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut loaded = SHIPPED.lock().expect("no other thread is there to panic");
    let found = all(&mut loaded, text);
    for one in &found {
        check_place(&one.at, text);
        one.related.iter().for_each(|(at, _)| check_place(at, text));
        let _ = loaded.sources.line_column(&one.at);
        assert!(!one.message.contains('\n'), "a message of several lines: {:?}", one.message);
    }
    let some = &found[..found.len().min(SHOWN)];
    assert_eq!(some.is_empty(), loaded.sources.render(some, true).is_empty());
    if text.len().is_multiple_of(AGAIN) {
        assert_eq!(found, all(&mut loaded, text), "the second run has other findings");
    }
});
