//! The table of codes.

use super::*;

#[test]
fn codes_are_unique_and_in_order() {
    let codes: Vec<_> = Code::all().iter().map(|entry| entry.text).collect();
    assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?}");
    assert!(Code::all().iter().all(|entry| entry.code.entry().text == entry.text));
    let find = |text: &str| Code::find(text).map(|entry| entry.text);
    assert_eq!((find("tg012"), find("plain_http"), find("TG999")), (Some("TG012"), Some("TG062"), None));
}
