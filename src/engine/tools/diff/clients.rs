//! Compares clients by what pages show of them. Another text is content: it costs no access and gives none, so that its
//! changes have no rating.
//!
//! A snippet is too long for a line: its change is reported, and the files show it. Read next: `show`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Change, Subject};
use crate::language::compile::{ClientFile, Clients, Speaks, Step};

/// What pages show of a client, or of a wire format that it speaks.
#[derive(PartialEq)]
enum Shown<'c> {
    Client(String),
    Steps(usize, &'c [Step]),
}

pub(super) fn changes(old: &Clients, new: &Clients) -> Vec<Change> {
    let (old, new) = (shown(old), shown(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differing = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    let change = |name: &String| {
        let (old, new) = (old.get(name).map(words), new.get(name).map(words));
        let same = old.is_some() && old == new;
        let new = new.map(|new| if same { format!("{new}, with other contents") } else { new });
        Change { subject: Subject::Client, name: name.clone(), old, new, widens: None }
    };
    differing.map(change).collect()
}

fn shown(clients: &Clients) -> BTreeMap<String, Shown<'_>> {
    let mut all = BTreeMap::new();
    for client in clients.files() {
        let ClientFile { name, file: _, title, kind, docs, note, provider, speaks } = &**client;
        let mut words = format!("{title} ({kind})");
        for more in [docs, note].into_iter().flatten() {
            words = format!("{words}, {more}");
        }
        if let Some(provider) = provider {
            words = format!("{words}, for `{provider}` if none is named");
        }
        all.insert(name.to_string(), Shown::Client(words));
        for (place, Speaks { api, path, steps, paste_steps }) in speaks.iter().enumerate() {
            // Of two with the same path, pages show the first.
            let key = format!("{name} {} {path}", api.value);
            if !paste_steps.is_empty() {
                all.entry(format!("{key}, paste token")).or_insert(Shown::Steps(place + 1, paste_steps));
            }
            all.entry(key).or_insert(Shown::Steps(place + 1, steps));
        }
    }
    all
}

fn words(shown: &Shown<'_>) -> String {
    match shown {
        Shown::Client(words) => words.clone(),
        Shown::Steps(place, steps) => {
            let files = steps.iter().filter_map(|step| step.file.as_deref());
            let files: Vec<&str> = files.collect();
            let files = if files.is_empty() { String::new() } else { format!(" ({})", files.join(", ")) };
            let unit = if steps.len() == 1 { "step" } else { "steps" };
            format!("choice {place}: {} {unit}{files}", steps.len())
        }
    }
}
