use serde_json::json;

use super::*;
use crate::fields::FieldKind;

fn secret(text: &str) -> Secret {
    Secret::new(text)
}

fn oauth(access: &str, refresh: Option<&str>, expires_at_ms: Option<u64>) -> StoredCredential {
    StoredCredential::OAuth {
        access_token: secret(access),
        refresh_token: refresh.map(secret),
        expires_at_ms,
    }
}

#[test]
fn plain_secrets_are_printable_ascii() {
    let check = |text: &str, expected: Result<&str, &str>| {
        let got = StoredCredential::plain(text).map_err(|error| error.to_string());
        match (got, expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, StoredCredential::Plain(secret(expected))),
            (Err(got), Err(expected)) => assert!(got.contains(expected), "{got}"),
            (got, expected) => panic!("{got:?} against {expected:?}"),
        }
    };
    check("k", Ok("k"));
    check("key!~\n", Ok("key!~"));
    check("key\r\n", Ok("key"));
    check(&"x".repeat(8192), Ok(&"x".repeat(8192)));
    check(&"x".repeat(8193), Err("the secret has 8193 bytes"));
    check("", Err("the secret is empty"));
    check("\n", Err("the secret is empty"));
    check("key\n\n", Err("position 4"));
    check("my key", Err("position 3"));
    check("key\r", Ok("key"));
    check("\u{feff}key", Ok("key"));
    check("\"key\"", Err("the secret is in quotes"));
    check("k\ry", Err("position 2"));
    check("k\0", Err("position 2"));
    check("schlüssel", Err("position 5"));
    check("\u{7f}", Err("position 1"));
    // A mask from a list is not a secret.
    let is_mask = "this is a mask, not a secret: leave the field out to keep what is stored";
    check("***", Err(is_mask));
    check(&StoredCredential::Plain(secret("0123456789abcdefg")).mask(None), Err(is_mask));
    check("****", Ok("****"));
    check("01234567...defgh", Ok("01234567...defgh"));
}

#[test]
fn an_oauth_login_is_canonical_json() {
    let check = |text: &str, expected: Result<StoredCredential, &str>| {
        let got = StoredCredential::oauth(text, &BTreeMap::new()).map_err(|error| error.to_string());
        match (got, expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected),
            (Err(got), Err(expected)) => assert!(got.contains(expected), "{got}"),
            (got, expected) => panic!("{got:?} against {expected:?}"),
        }
    };
    check(r#"{"accessToken":"a"}"#, Ok(oauth("a", None, None)));
    let all = r#" {"accessToken":"a","refreshToken":"r","expiresAt":100000000000} "#;
    check(all, Ok(oauth("a", Some("r"), Some(100_000_000_000))));
    check(r#"{"accessToken":"a","expiresAt":0}"#, Ok(oauth("a", None, Some(0))));
    let seconds = "`expiresAt` looks like seconds: milliseconds since 1970 are needed";
    check(r#"{"accessToken":"a","expiresAt":1800000000}"#, Err(seconds));
    check(r#"{"accessToken":"a","expiresAt":99999999999}"#, Err(seconds));
    for shown in [r#"{"status":"configured","expiresAt":1800000000000}"#, r#"{"status":"unreadable"}"#] {
        check(shown, Err("this is a mask, not a secret"));
    }
    check(r#"{"accessToken":"a","refreshToken":null,"expiresAt":null}"#, Ok(oauth("a", None, None)));
    check("sk-canary", Err("line 1, column 1 is not valid JSON"));
    check("[]", Err("it is not an object"));
    check("{}", Err("`accessToken` is missing"));
    check(r#"{"accessToken":null}"#, Err("`accessToken` is missing"));
    check(r#"{"accessToken":5}"#, Err("`accessToken` is not a string"));
    check(r#"{"accessToken":""}"#, Err("`accessToken` is empty"));
    check(r#"{"accessToken":"a b"}"#, Err("`accessToken` has a forbidden character at position 2"));
    check(
        r#"{"accessToken":"a","refreshToken":"r\n"}"#,
        Err("`refreshToken` has a forbidden character at position 2"),
    );
    check(r#"{"accessToken":"a","refreshToken":"\u007f"}"#, Err("printable ASCII and spaces only"));
    check(r#"{"accessToken":"a","refreshToken":""}"#, Err("`refreshToken` is empty"));
    // It is no header value.
    let (long, longer) = ("r".repeat(64 << 10), "r".repeat((64 << 10) + 1));
    for legal in [" r ~", "\\\"", &long] {
        check(
            &json!({ "accessToken": "a", "refreshToken": legal }).to_string(),
            Ok(oauth("a", Some(legal), None)),
        );
    }
    let longer = json!({ "accessToken": "a", "refreshToken": longer }).to_string();
    check(&longer, Err("`refreshToken` has 65537 bytes: at most 65536 are stored"));
    for bad in ["-1", "1.5", "\"5\"", "true", "[]", "1e400"] {
        let text = format!(r#"{{"accessToken":"a","expiresAt":{bad}}}"#);
        assert!(StoredCredential::oauth(&text, &BTreeMap::new()).is_err(), "{bad}");
    }
    check(r#"{"accessToken":"a","scope":"x"}"#, Err("the key `scope` is not known"));
    let in_a_key = r#"{"sk-canary-in-the-place-of-a-key":"x"}"#;
    check(in_a_key, Err("a key of 31 bytes is not known"));
}

#[test]
fn other_documents_are_read_through_json_pointers() {
    let paste = [
        ("accessToken", "/tokens/access_token"),
        ("refreshToken", "/tokens/refresh_token"),
        ("expiresAt", "/expiry"),
    ];
    let paste = paste.map(|(key, pointer)| (key.to_owned(), pointer.to_owned())).into();
    let check =
        |text: &str, expected| assert_eq!(StoredCredential::oauth(text, &paste).ok(), expected, "{text}");
    let error = |text: &str| StoredCredential::oauth(text, &paste).unwrap_err().to_string();
    let pasted =
        r#"{"tokens":{"access_token":"a","refresh_token":"r","id":"x"},"expiry":1800000000000,"more":1}"#;
    check(pasted, Some(oauth("a", Some("r"), Some(1_800_000_000_000))));
    check(r#"{"tokens":{"access_token":"a"}}"#, Some(oauth("a", None, None)));
    check(r#"{"accessToken":"b","expiresAt":0}"#, Some(oauth("b", None, Some(0))));
    for part in [r#"{"tokens":{"refresh_token":"r"}}"#, r#"{"mode":"x","expiry":1}"#] {
        assert!(error(part).ends_with("`/tokens/access_token` is missing: is the text complete?"), "{part}");
    }
    assert!(error(r#"{"other":{}}"#).ends_with("the key `other` is not known"));
    check(r#"{"tokens":{"access_token":"a\n"}}"#, None);
}

#[test]
fn no_error_contains_the_value() {
    let long = format!("canary {}", "x".repeat(9000));
    for text in ["canary one", "canary\u{e9}", "\ncanary", &long] {
        let messages = [
            StoredCredential::plain(text).unwrap_err(),
            StoredCredential::oauth(text, &BTreeMap::new()).unwrap_err(),
            StoredCredential::oauth(&json!({"accessToken": text}).to_string(), &BTreeMap::new()).unwrap_err(),
            StoredCredential::oauth(&json!({"accessToken": [text]}).to_string(), &BTreeMap::new())
                .unwrap_err(),
            StoredCredential::oauth(
                &json!({"accessToken": "a", "expiresAt": text}).to_string(),
                &BTreeMap::new(),
            )
            .unwrap_err(),
        ];
        for error in messages {
            assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
        }
    }
}

#[test]
fn a_plaintext_decodes_to_the_same_credential() {
    let check = |stored: StoredCredential| {
        assert_eq!(StoredCredential::from_plaintext(&stored.to_plaintext()), Some(stored));
    };
    check(StoredCredential::Plain(secret(r#"{"accessToken":"a"}"#)));
    check(oauth("a", None, Some(5)));
    check(oauth("\"\\", Some(&format!(" \\r\"{}", "~".repeat(60_000))), Some(u64::MAX)));
    for bad in [&b""[..], b"X", b"O{", b"P\xff"] {
        assert_eq!(StoredCredential::from_plaintext(bad), None, "{bad:?}");
    }
}

#[test]
fn masks_show_too_little_to_use() {
    let check = |stored: &StoredCredential, expected| assert_eq!(stored.mask(None), expected);
    check(&StoredCredential::Plain(secret("k")), "***");
    check(&StoredCredential::Plain(secret("0123456789abcdef")), "***");
    check(&StoredCredential::Plain(secret("0123456789abcdefg")), "01234567...defg");
    check(&oauth("canary-canary-canary", None, None), "configured");
    check(&oauth("canary", None, Some(1_767_323_045_000)), "configured, expires 2026-01-02T03:04:05Z");
}

#[test]
fn credentials_are_found_by_section_and_field() {
    let mut credentials = Credentials::default();
    let origins = vec!["https://a.example".to_owned()];
    let key = StoredCredential::Plain(secret("k"));
    credentials.insert("providers.demo".to_owned(), "apiKey".to_owned(), key, origins.clone());
    credentials.insert("demo".to_owned(), "oauth".to_owned(), oauth("a", None, None), Vec::new());
    assert_eq!(credentials.get("providers.demo", "apiKey"), Some(&StoredCredential::Plain(secret("k"))));
    assert_eq!(credentials.origins("providers.demo", "apiKey"), origins);
    assert_eq!(credentials.get("providers.demo", "oauth"), None);
    assert_eq!(credentials.origins("providers.demo", "oauth"), [""; 0]);
    assert_eq!(credentials.get("providers", "demo.apiKey"), None);
    let listed: Vec<_> = credentials.iter().map(|(section, field, _)| (section, field)).collect();
    assert_eq!(listed, [("demo", "oauth"), ("providers.demo", "apiKey")]);
    assert!(!format!("{credentials:?}").contains("\"k\""));
}

#[test]
fn values_are_checked_by_the_rule_of_their_field() {
    let rule = ValueRule::OneOf(vec!["eu".to_owned(), "us".to_owned()]);
    assert_eq!(StoredCredential::value("eu", &rule), Ok(StoredCredential::Value(secret("eu"))));
    let error = StoredCredential::value("sk-canary", &rule).unwrap_err().to_string();
    assert_eq!(error, "the value is none of `eu`, `us`");
    for mask in ["***", "01234567...cdef"] {
        assert_eq!(
            StoredCredential::value(mask, &ValueRule::Plain),
            Err(BadCredential::Mask { what: "value" })
        );
    }
    let stored = StoredCredential::Value(secret("eu"));
    assert_eq!(stored.usable(0), Some(&secret("eu")));
    // It is shown only while its field is declared as such a value.
    let check = |kind: Option<FieldKind>, expected: &str| {
        let declared = kind.map(|kind| Field::sent_to(kind, Vec::new()));
        assert_eq!(stored.mask(declared.as_ref()), expected);
    };
    check(Some(FieldKind::Value(ValueRule::Plain)), "eu");
    check(Some(FieldKind::Secret), "***");
    check(Some(FieldKind::Json(BTreeMap::new())), "***");
    check(None, "***");
    assert_eq!(StoredCredential::from_plaintext(&stored.to_plaintext()), Some(stored));
}

#[test]
fn a_document_has_its_parts() {
    let parts = BTreeMap::from([
        ("email".to_owned(), "/client_email".to_owned()),
        ("key".to_owned(), "/keys/0/id".to_owned()),
    ]);
    let read = |text: &str| {
        let document = StoredCredential::document(&serde_json::from_str(text).unwrap(), &parts);
        document.map_err(|error| error.to_string())
    };
    let check = |text: &str, expected: &str| {
        let error = read(text).unwrap_err();
        assert_eq!(error.strip_prefix("a JSON document is expected: ").unwrap_or(&error), expected, "{text}");
        assert!(!error.contains("canary"), "{error}");
    };
    let whole = r#"{"client_email":"canary","keys":[{"id":7}],"more":{"a":true}}"#;
    let stored = read(whole).unwrap();
    assert_eq!(
        (stored.mask(None), stored.usable(0), stored.refreshable()),
        ("configured".to_owned(), None, None)
    );
    // The text is all that is kept: an index of its parts may be far larger.
    assert_eq!(stored, StoredCredential::Document(secret(whole)));
    assert_eq!(StoredCredential::from_plaintext(&stored.to_plaintext()), Some(stored.clone()));
    // However much stands before its parts.
    let numbers = "0,".repeat(2000);
    read(&format!(r#"{{"more":[{numbers}0],"client_email":"canary","keys":[{{"id":7}}]}}"#)).unwrap();
    let pem = r#"{"client_email":"-----BEGIN KEY-----\r\ncanary\n","keys":[{"id":"canary"}]}"#;
    read(pem).unwrap();

    check("[]", "it is no object: paste the whole file");
    check("\"canary\"", "it is no object: paste the whole file");
    let question = "is this the right file, and complete?";
    check(
        r#"{"keys":[{"id":"canary"}]}"#,
        &format!("it has no string or number at `/client_email`, which is its part `email`: {question}"),
    );
    check(
        r#"{"client_email":"","keys":[{"id":"canary"}]}"#,
        &format!("it has an empty string at `/client_email`, which is its part `email`: {question}"),
    );
    for control in ["\\r", "\\n", "\\u0000", "\\t", "\\u007f", "\\u0085"] {
        let problem = "it has a string with control characters at `/keys/0/id`, which is its part `key`";
        check(
            &format!(r#"{{"client_email":"canary","keys":[{{"id":"canary{control}x"}}]}}"#),
            &format!("{problem}: no line breaks and no tabs"),
        );
    }
    check(
        r#"{"client_email":"canary","keys":[{"id":null}]}"#,
        &format!("it has no string or number at `/keys/0/id`, which is its part `key`: {question}"),
    );
    check(
        r#"{"status":"configured"}"#,
        "this is a mask, not a secret: leave the field out to keep what is stored",
    );
    let long = format!(r#"{{"client_email":"{}"}}"#, "canary".repeat(12_000));
    check(&long, "the document has 72019 bytes: at most 65536 are stored");
}

#[test]
fn a_made_token_is_stored_whole() {
    let made = MadeCredential {
        token: secret("t.1"),
        fields: [("kind".into(), secret("a\u{1}\"b\\")), ("project".into(), secret(""))].into(),
        expires_at_ms: 7,
        made_from: [9; 32],
    };
    let stored = StoredCredential::Made(made);
    let plaintext = stored.to_plaintext();
    assert_eq!(StoredCredential::from_plaintext(&plaintext), Some(stored.clone()));
    assert_eq!((stored.usable(6), stored.usable(7)), (Some(&secret("t.1")), None));
    assert_eq!((stored.mask(None).as_str(), stored.refreshable()), ("configured", None));
    assert_eq!(StoredCredential::from_plaintext(b"T{}"), None);
}
