use super::*;
use crate::{
    fields::{Field, FieldKind, OAuth},
    hex,
};

const NOW: u64 = 1_800_000_000_000;
const ADA: &str = "usr_0123456789abcdef";

fn known() -> DeclaredFields {
    let field = |kind| Box::new(Field::sent_to(kind, vec!["https://demo.example".to_owned()]));
    let login = OAuth {
        paste: BTreeMap::new(),
        token_url: "https://demo.example/token".to_owned(),
        client_id: "app".to_owned(),
        client_secret: None,
        scope: None,
        refresh_before: std::time::Duration::ZERO,
    };
    let demo = [("apiKey", FieldKind::Secret), ("oauth", FieldKind::OAuth2(login))];
    let fields = demo.into_iter().map(|(name, kind)| (name.to_owned(), field(kind)));
    DeclaredFields(BTreeMap::from([
        ("demo".to_owned(), fields.collect()),
        ("providers.demo".to_owned(), BTreeMap::from([("apiKey".to_owned(), field(FieldKind::Secret))])),
    ]))
}

fn dump(value: &Value) -> Dump {
    let paste = PasteLogin {
        provider: FileName::new("demo").unwrap(),
        section: "demo".to_owned(),
        field: "oauth".to_owned(),
    };
    read(&value.to_string(), &known(), &[paste], NOW).unwrap()
}

/// One line per user: name, tokens, number of paste tokens, number of credentials.
fn users(dump: &Dump) -> Vec<String> {
    let tokens = |one: &ImportedUser| {
        one.tokens.iter().map(|one| one.token.expose().to_owned()).collect::<Vec<_>>().join(" ")
    };
    let line = |one: &ImportedUser| {
        format!("{} [{}] {} {}", one.name.as_str(), tokens(one), one.pastes.len(), one.edits.len())
    };
    dump.users.iter().map(line).collect()
}

#[test]
fn all_shapes_of_a_dump_are_parsed() {
    let users_value =
        serde_json::json!({ ADA: { "name": "ada", "ip": "10.0.0.1", "createdAt": 1_700_000_000_123_u64 } });
    let creds = serde_json::json!({
        "demo": { "apiKey": "sk-1", "oauth": { "accessToken": "a", "refreshToken": "r", "expiresAt": 1_700_000_000_000_u64 } },
        "providers": { "demo": { "apiKey": "sk-2" } },
    });
    let paste = hex::encode(&[7; 32]);
    let (token, pasted, own) = ("token:abcdefabcdef", format!("token:{paste}"), format!("creds:{ADA}"));
    let object = serde_json::json!({ "users": users_value, token: ADA, &pasted: ADA, &own: creds });
    let texts = serde_json::json!({
        "users": users_value.to_string(), token: format!("\"{ADA}\""), &pasted: ADA, &own: creds.to_string(),
    });
    let list = |key: &str| {
        let entries = texts.as_object().unwrap().iter();
        Value::from(
            entries.map(|(name, value)| serde_json::json!({ key: name, "value": value })).collect::<Vec<_>>(),
        )
    };
    for value in [&object, &texts, &list("key"), &list("name")] {
        let dump = dump(value);
        assert_eq!((dump.problems.clone(), dump.notes.clone()), (vec![], vec![]));
        assert_eq!(users(&dump), ["ada [abcdefabcdef] 1 3"]);
        let ada = &dump.users[0];
        assert_eq!(
            (ada.created_at_ms, ada.ip.clone()),
            (1_700_000_000_123, AddressNote::new("10.0.0.1").ok())
        );
        assert_eq!(ada.pastes[0].hash, TokenHash::from_hex(&paste).unwrap());
    }
}

/// The errors and notes of a dump with one user and one more key; if there are none, its users.
fn outcome(key: &str, value: Value) -> String {
    let mut all =
        serde_json::json!({ "users": { ADA: { "name": "ada", "createdAt": "2026-01-02T03:04:05.678Z" } } });
    all[key] = value;
    let dump = dump(&all);
    let messages: Vec<String> = dump.problems.iter().chain(&dump.notes).cloned().collect();
    if messages.is_empty() { users(&dump).join(", ") } else { messages.join("; ") }
}

#[test]
fn errors_name_the_key_and_contain_no_secret() {
    let check = |key: &str, value: Value, expected: &str| {
        let messages = outcome(key, value);
        assert!(messages.contains(expected) && !messages.contains("canary"), "{messages}");
    };
    let (id, json) = (ADA.to_owned(), |text: &str| serde_json::from_str::<Value>(text).unwrap());
    check("token:abc", id.clone().into(), "ada [abc] 0 0");
    check("token:sk-ant-oat-abc", id.clone().into(), "ada [sk-ant-oat-abc] 0 0");
    check(
        "token:canarycanary1",
        json(r#"{"userId": "usr_0123456789abcdef", "expiresAt": 1}"#),
        "token:can...: left out, since it has expired",
    );
    check("token:canarycanary1", json("5"), "token:can...: expected a user's id");
    check(
        "token:canarycanary1",
        json(r#""usr_ffffffffffffffff""#),
        "token:can...: left out, since its user does not exist",
    );
    check("token:canary canary", id.clone().into(), "is not a token: one word");
    check("token:a.b.canary", id.clone().into(), "is not a token: one word");
    check(
        &format!("token:{}", hex::encode(&[7; 32])),
        id.clone().into(),
        "a paste token, left out, since its user has no login",
    );
    check(&format!("creds:{ADA}"), json(r#"{"demo": {"apiKey": "canary\n"}}"#), "/demo/apiKey: ");
    check(
        &format!("creds:{ADA}"),
        json(r#"{"demo": {"apiKey": 5}}"#),
        "creds:usr_0123456789abcdef/demo/apiKey: ",
    );
    check(
        &format!("creds:{ADA}"),
        json(r#"{"dmo": {"apiKey": "canary"}}"#),
        "creds:usr_0123456789abcdef/dmo: ",
    );
    check(&format!("creds:{ADA}"), json(r#"{"demo": {"apiKey": null}}"#), "ada [] 0 0");
    check(&format!("creds:{ADA}"), json(r#""canary""#), "creds:usr_0123456789abcdef: expected an object");
    check("creds:usr_ffffffffffffffff", json("{}"), "left out, since there is no such user");
    check("session:canary", json("{}"), "left out, since this kind of key is unknown");
    check("users", json(r#"{"bob": {"name": "bob"}}"#), "users/bob: a user's id is `usr_` and 16 hex digits");
    check(
        "users",
        json(r#"{"usr_0123456789abcdef": {}}"#),
        "users/usr_0123456789abcdef: name: expected a string",
    );
    check(
        "users",
        json(r#"{"usr_0123456789abcdef": {"name": "a", "createdAt": "canary"}}"#),
        "createdAt: expected",
    );
    check("users", json(r#"{"usr_0123456789abcdef": {"name": "a", "ip": 1}}"#), "ip: expected a string");
    // Characters that would reach a terminal or a header, in each text of a dump.
    for bad in ["\u{1b}[31m", "a\nb", "\u{7f}", "\u{9b}", "a\u{202e}b", "a\u{200b}b"] {
        check(&format!("token:canary{bad}"), id.clone().into(), "is not a token: one word of ASCII");
        check(
            "users",
            serde_json::json!({ ADA: { "name": format!("x{bad}x") } }),
            "name: a name has printable characters only",
        );
        check(
            "users",
            serde_json::json!({ ADA: { "name": "a", "ip": bad } }),
            "ip: a note has at most 100 characters, all of them printable",
        );
        let shown = outcome("users", serde_json::json!({ format!("usr{bad}"): {} }));
        assert!(!shown.contains(bad), "{shown:?}");
    }
    let error = read("{\"users\": canary", &known(), &[], NOW).unwrap_err().to_string();
    assert_eq!(error, "the dump is not JSON: see line 1, column 11");
    assert!(read("{}", &known(), &[], NOW).unwrap_err().to_string().contains("has no key `users`"));
}

/// A user's own token that looks like a hash stays a token; any other hash is a paste token's.
#[test]
fn a_hash_is_a_token_only_if_the_users_record_has_it() {
    let hash = hex::encode(&[7; 32]);
    let key = format!("token:{hash}");
    let all = |own: &str| serde_json::json!({ "users": { ADA: { "name": "ada", "token": own } }, &key: ADA });
    assert_eq!(users(&dump(&all(&hash))), [format!("ada [{hash}] 0 0")]);
    assert_eq!(users(&dump(&all("another"))), ["ada [] 0 0"]);
}
