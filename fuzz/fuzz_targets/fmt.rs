//! Formats any text as a provider file, gateway and api: nothing panics; valid TOML stays the same document with the
//! same comments; a second run changes nothing.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use tollgate::{format::{FormatError, format, is_same_document}, syntax};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let file: Arc<str> = "fuzzed.toml".into();
    for (kind, header) in syntax::FileKind::ALL.iter().zip([None, Some("#:schema s.json"), None]) {
        let lay_out = |text: &str| format(&file, text, syntax::schema(*kind), header);
        match lay_out(text) {
            Ok(laid_out) => {
                assert!(is_same_document(text, &laid_out), "the meaning changes\n{laid_out}");
                assert_eq!(lay_out(&laid_out), Ok(laid_out.clone()), "the second time it changes");
            }
            Err(FormatError::Broken(found)) => assert!(!found.is_empty()),
            Err(FormatError::Changed) => panic!("the meaning, or a comment, would have changed"),
        }
    }
});
