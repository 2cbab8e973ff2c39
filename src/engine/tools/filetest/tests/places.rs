//! Each place that a shipped api names matters: without it, a test of the file fails. A pointer that no transcript covers
//! may be wrong for years.

use serde::Deserialize as _;
use serde_json::Value;

use crate::{
    base::name::FileName,
    language::{
        compile::{self, Files},
        syntax::{self, Api},
    },
    shipped,
    tools::filetest::run,
};

/// The JSON pointers of the places below a key: values, and elements of lists.
fn places(value: &Value, pointer: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(table) => {
            for (key, value) in table.iter().filter(|(key, _)| *key != "minus" && *key != "combine") {
                places(value, &format!("{pointer}/{}", syntax::pointer_step(key)), found);
            }
        }
        Value::Array(items) if items.len() > 1 => {
            found.extend((0..items.len()).map(|index| format!("{pointer}/{index}")));
        }
        _ => found.push(pointer.to_owned()),
    }
}

/// The document without a place. A count without its last place goes as a whole, and so do the names of it in `minus`.
fn without(document: &Value, place: &str) -> Value {
    let mut changed = document.clone();
    let place = place.strip_suffix("/at").unwrap_or(place);
    let (parent, key) = place.rsplit_once('/').unwrap();
    match changed.pointer_mut(parent).unwrap() {
        Value::Array(items) => {
            items.remove(key.parse().unwrap());
        }
        Value::Object(table) => {
            table.remove(key);
        }
        _ => unreachable!("a place is in a table or a list"),
    }
    for map in ["/usage/body", "/usage/event"] {
        let Some(Value::Object(counts)) = changed.pointer_mut(map) else { continue };
        let names: Vec<String> = counts.keys().cloned().collect();
        for count in counts.values_mut() {
            if let Some(Value::Array(minus)) = count.get_mut("minus") {
                minus.retain(|one| names.iter().any(|name| one == name));
            }
        }
    }
    changed
}

#[test]
fn each_place_of_usage_matters_to_a_test() {
    let mut unproven = Vec::new();
    for (path, text) in shipped::read("providers.d").iter().filter(|(path, _)| path.starts_with("apis/")) {
        let file = path.as_str().into();
        let document = syntax::values(&file, text).unwrap();
        let mut tried = Vec::new();
        for key in ["usage", "request"] {
            for (below, value) in document.get(key).and_then(Value::as_object).into_iter().flatten() {
                // The others are no places of a value that a test sees.
                if !["stream", "when_missing", "ask"].contains(&below.as_str()) {
                    places(value, &format!("/{key}/{below}"), &mut tried);
                }
            }
        }
        let name = FileName::new(path.trim_start_matches("apis/").trim_end_matches(".toml")).unwrap();
        let mut parsed = syntax::parse::<Api>(&file, text).0.unwrap();
        let mut files = Files::default();
        for place in tried {
            parsed.document = Api::deserialize(without(&document, &place)).unwrap();
            files.apis.insert(name.clone(), Ok(parsed));
            let compiled = compile::compile(&files);
            assert_eq!(compiled.diagnostics, [], "{path} without {place}");
            if run(&compiled).diagnostics.is_empty() {
                unproven.push(format!("{path} {place}"));
            }
            parsed = files.apis.remove(&name).unwrap().unwrap();
        }
    }
    assert_eq!(unproven, [""; 0], "no test fails without these places");
}
