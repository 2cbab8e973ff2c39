//! The corpus of JSON bodies that `tests/judge` shows to other parsers, too.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    body: Option<String>,
    base64: Option<String>,
    #[serde(default)]
    model: Option<String>,
    refused: Option<String>,
}

impl Entry {
    fn bytes(&self) -> Vec<u8> {
        match (&self.body, &self.base64) {
            (Some(body), None) => body.clone().into_bytes(),
            (None, Some(encoded)) => STANDARD.decode(encoded).unwrap(),
            _ => panic!("{}: one of `body` and `base64`", self.name),
        }
    }
}

fn entries() -> Vec<Entry> {
    serde_json::from_str(include_str!("../../../../../tests/judge/corpus.json")).unwrap()
}

#[test]
fn each_body_of_the_corpus_is_judged_as_it_says() {
    let case = Case { places: places("/model", &["/max"]), content_type: None, needs: MODEL };
    for entry in entries() {
        let judged = case.every_cut(&entry.bytes()).map(|(model, _)| model);
        let judged = judged.map_err(|refused| refused.cause().to_owned());
        let expected = entry.refused.map_or(Ok(entry.model), Err);
        assert_eq!(judged, expected, "{}", entry.name);
    }
}

#[test]
fn the_corpus_has_both_kinds() {
    let entries = entries();
    let refused = entries.iter().filter(|entry| entry.refused.is_some()).count();
    assert!(entries.len() >= 120 && refused >= 60 && entries.len() - refused >= 60);
}
