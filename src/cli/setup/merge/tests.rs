use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// The new text and the keys that were set, with what may be shown of their old values.
fn outcome(language: Language, text: &str, snippet: &str) -> Result<(String, Vec<String>), MergeError> {
    let Merged { text, changes, kept: _ } = merge(language, text, snippet)?;
    let shown = changes.into_iter().map(|Change { key, before }| match before {
        Before::Absent => key,
        Before::Shown(old) => format!("{key} was {old}"),
        Before::Hidden => format!("{key} was hidden"),
    });
    Ok((text, shown.collect()))
}

fn check(language: Language, text: &str, snippet: &str, expected: &str, changes: &[&str]) {
    let (merged, found) = outcome(language, text, snippet).unwrap();
    assert_eq!(
        (merged.as_str(), found),
        (expected, changes.iter().map(|&one| one.into()).collect::<Vec<_>>())
    );
    // A second time, nothing changes.
    assert_eq!(outcome(language, &merged, snippet), Ok((merged.clone(), Vec::new())));
}

fn refuses(language: Language, text: &str, snippet: &str, at: Option<(usize, usize)>, part: &str) {
    match merge(language, text, snippet) {
        Err(MergeError::Text { at: found, problem }) => {
            assert!(found == at && problem.contains(part), "{text:?}: {found:?} {problem}");
        }
        other => panic!("{text:?}: {other:?}"),
    }
}

#[test]
fn json_keeps_what_it_does_not_set() {
    let check = |text: &str, snippet: &str, expected: &str, changes: &[&str]| {
        check(Language::Json, text, snippet, expected, changes);
    };
    check("", "{\"a\": {\"b\": \"c\"}}", "{\"a\": {\"b\": \"c\"}}\n", &["a.b"]);
    check("{}", "{\"a\": {\"b\": 1}}", "{\n  \"a\": {\n    \"b\": 1\n  }\n}", &["a.b"]);
    check("{ }\n", "{\"a\": 1}", "{\n  \"a\": 1\n}\n", &["a"]);
    // Numbers and blanks stay as they are.
    check(
        "{\n\t\"n\": 12345678901234567890123,\n\t\"e\": 1.50e1\n}\n",
        "{\"a\": {\"b\": \"c\"}}",
        "{\n\t\"n\": 12345678901234567890123,\n\t\"e\": 1.50e1,\n\t\"a\": {\n\t  \"b\": \"c\"\n\t}\n}\n",
        &["a.b"],
    );
    check(
        "{\"x\":1,\"env\":{\"A\":\"}\\\"{\"}}",
        "{\"env\": {\"B\": \"2\", \"C\": {}}}",
        "{\"x\":1,\"env\":{\"A\":\"}\\\"{\",\"B\": \"2\",\"C\": {}}}",
        &["env.B", "env.C"],
    );
    check(
        "{\r\n  \"env\": { \"A\": \"1\" },\r\n  \"z\": []\r\n}",
        "{\"env\": {\"A\": \"2\"}}",
        "{\r\n  \"env\": { \"A\": \"2\" },\r\n  \"z\": []\r\n}",
        &["env.A was 1"],
    );
    check("{\"a\":[1],\"a\":[2]}", "{\"a\": [3]}", "{\"a\":[1],\"a\":[3]}", &["a was [2]"]);
    check(
        "{\"m\": {\"gpt-5.1\": {\"x\": 1}}}",
        "{\"m\": {\"gpt-5.1\": {}}}",
        "{\"m\": {\"gpt-5.1\": {\"x\": 1}}}",
        &[],
    );
    check(
        "{}",
        "{\"m\": {\"gpt-5.1\": {}}}",
        "{\n  \"m\": {\n    \"gpt-5.1\": {}\n  }\n}",
        &["m.\"gpt-5.1\""],
    );
}

#[test]
fn json_that_is_not_plain_is_refused() {
    let refuses =
        |text: &str, at, part: &str| refuses(Language::Json, text, "{\"env\": {\"A\": 1}}", at, part);
    refuses("{\n  // why\n  \"a\": 1\n}", Some((2, 3)), "JSON with comments is not changed");
    refuses("{\"a\": 1,}", Some((1, 9)), "it is not JSON (trailing comma)");
    refuses("\u{feff}{}", Some((1, 1)), "it is not JSON");
    refuses("[]", Some((1, 1)), "it holds no JSON object");
    refuses("{\n \"env\": 1}", Some((2, 9)), "`env` is no object");
    refuses("{\"env\": {\"A\": {\"x\": 1}}}", Some((1, 15)), "`env.A` is an object");
    assert!(matches!(merge(Language::Json, "{}", "{"), Err(MergeError::Snippet(_))));
}

#[test]
fn toml_keeps_what_it_does_not_set() {
    let check = |text: &str, snippet: &str, expected: &str, changes: &[&str]| {
        check(Language::Toml, text, snippet, expected, changes);
    };
    let snippet = "model = \"m\"\n\n[providers.own]\nname = \"own\"";
    check("", snippet, &format!("{snippet}\n"), &["model", "providers.own.name"]);
    check(
        "# mine\nmodel = \"old\" # why\n\n[tools]\nx = 1\n",
        snippet,
        "# mine\nmodel = \"m\" # why\n\n[tools]\nx = 1\n\n[providers.own]\nname = \"own\"\n",
        &["model was old", "providers.own.name"],
    );
    check(
        "[providers.a]\nname = \"a\"\n\n[providers.own]\nother = 1\n[z]\n",
        snippet,
        "model = \"m\"\n[providers.a]\nname = \"a\"\n\n[providers.own]\nother = 1\nname = \"own\"\n[z]\n",
        &["model", "providers.own.name"],
    );
    check(
        "model = 'm'\nproviders = { a = { name = 'a' } }\n",
        snippet,
        "model = 'm'\nproviders = { a = { name = 'a' } , own = { name = \"own\" } }\n",
        &["providers.own.name"],
    );
    check("a = 1", "a = 2", "a = 2\n", &["a was 1"]);
}

#[test]
fn toml_that_cannot_take_it_is_refused() {
    let refuses = |text: &str, at, part: &str| refuses(Language::Toml, text, "[a]\nb = 1", at, part);
    refuses("x = 1\n[a\n", Some((2, 3)), "it is not TOML");
    refuses("a = 1\n", None, "`a` is no table");
    refuses("[[a]]\n", None, "`a` is no table");
    refuses("[a.b]\n", None, "`a.b` is a table");
    assert!(matches!(merge(Language::Toml, "", "["), Err(MergeError::Snippet(_))));
}

#[test]
fn yaml_keeps_what_it_does_not_set() {
    let check = |text: &str, snippet: &str, expected: &str, changes: &[&str]| {
        check(Language::Yaml, text, snippet, expected, changes);
    };
    check("", "a: \"1\"\nb-c: 2", "a: \"1\"\nb-c: 2\n", &["a", "b-c"]);
    check(
        "# mine\na: old # why\nlist:\n  - x\n- y\nz: 'q # r'",
        "a: \"1\"\nn: 2\nz: \"q # r\"",
        "# mine\na: \"1\"\nlist:\n  - x\n- y\nz: 'q # r'\nn: 2\n",
        &["a was old", "n"],
    );
    check("---\na:\n", "a: 1", "---\na: 1\n", &["a was "]);
}

#[test]
fn yaml_that_is_not_plain_is_refused() {
    let refuses = |text: &str, at, part: &str| refuses(Language::Yaml, text, "a: \"1\"", at, part);
    refuses("x: 1\n{ y: 2 }\n", Some((2, 1)), "this line is no key with a value");
    refuses("x: 1\n---\ny: 2\n", Some((2, 1)), "`---`");
    refuses("a: |\n  text\n", Some((1, 1)), "the value of `a` is not of one line");
    refuses("x: 1\na: [1,\n  2]\n", Some((2, 1)), "the value of `a` is not of one line");
    refuses("a:\n  b: 1\n", Some((1, 1)), "the value of `a` is not of one line");
    refuses("a:\n\n  - b\n", Some((1, 1)), "the value of `a` is not of one line");
    refuses("a:\n# why\n\n- b\n", Some((1, 1)), "the value of `a` is not of one line");
    refuses("a: \"1\"\n  more\n", Some((1, 1)), "the value of `a` is not of one line");
    refuses("x: \"foo\na: old\"\n", Some((1, 1)), "the value of `x` is not of one line");
    refuses("x: 'it''s\na: old'\n", Some((1, 1)), "the value of `x` is not of one line");
    refuses("x:\t!!str \"foo\\\"\na: old\"\n", Some((1, 1)), "the value of `x` is not of one line");
    refuses("x: [b,\na: old]\n", Some((1, 1)), "the value of `x` is not of one line");
    refuses("x: { b: \"}\",\na: old }\n", Some((1, 1)), "the value of `x` is not of one line");
    refuses("x:\n  - \"y\": 'z\na: old'\n", Some((2, 1)), "the value of `y` is not of one line");
    refuses("- \"x\na: old\"\n", Some((1, 1)), "a value is not of one line");
    refuses("--- \"x\na: old\"\n", Some((1, 1)), "a value behind `---`");
    assert!(matches!(merge(Language::Yaml, "", "- a"), Err(MergeError::Snippet(_))));
}

/// Text in a block, closed values and comments may have quotes and brackets.
#[test]
fn yaml_with_other_values_is_changed() {
    for other in [
        "x: |\n  \"foo\n  [\n\n  'bar\ny: 1",
        "x:\n  - y: >-\n      {\n    z: \"1\"",
        "- |\n  \"foo",
        "x: it's\ny: don't [",
        "x: [\"]\", 'it''s', {b: c}] # \"",
        "x: \"a \\\" b\" # '",
        "x: http://a:b # c: \"",
        "\n# \"\n  # '",
        "x: &one 'two'\ny: *one",
    ] {
        let text = format!("{other}\na: old\n");
        check(Language::Yaml, &text, "a: \"1\"", &format!("{other}\na: \"1\"\n"), &["a was old"]);
    }
}

#[test]
fn ends_of_lines_stay() {
    for (language, text, snippet, expected) in [
        (
            Language::Toml,
            "# b\na = 1\n\n[t]\nx = \"\"\"\ny\"\"\"\n",
            "a = 2\n[t]\nz = 3",
            "# b\na = 2\n\n[t]\nx = \"\"\"\ny\"\"\"\nz = 3\n",
        ),
        (Language::Yaml, "a: 1\nb: 2\n", "a: 2\nc: 3", "a: 2\nb: 2\nc: 3\n"),
        (
            Language::Json,
            "{\n  \"a\": {}\n}\n",
            "{\"a\": {\"b\": 1}}",
            "{\n  \"a\": {\n    \"b\": 1\n  }\n}\n",
        ),
    ] {
        let crlf = |text: &str| text.replace('\n', "\r\n");
        assert_eq!(merge(language, text, snippet).unwrap().text, expected);
        assert_eq!(merge(language, &crlf(text), snippet).unwrap().text, crlf(expected));
    }
    refuses(Language::Toml, "x = 1\r\na = 1\n", "a = 2", None, "some of its lines end in CRLF");
    assert!(merge(Language::Toml, "x = 1\r\na = 2\n", "a = 2").unwrap().changes.is_empty());
}

#[test]
fn a_stand_in_replaces_an_empty_value_alone() {
    let check = |language, text: &str, snippet: &str| {
        let snippet = snippet.replace("TOKEN", FILE_TOKEN);
        let kept = vec!["t".to_owned()];
        let expected = Merged { text: text.to_owned(), changes: Vec::new(), kept };
        assert_eq!(merge(language, text, &snippet), Ok(expected), "{text}");
        let empty = text.replace("tg_1", "").replace("t: \n", "t: \"\"\n");
        let merged = merge(language, &empty, &snippet).unwrap();
        let set = Change { key: "t".to_owned(), before: Before::Absent };
        assert!(merged.text.contains(FILE_TOKEN), "{}", merged.text);
        assert_eq!((merged.changes, merged.kept), (vec![set], Vec::new()), "{text}");
        // The stand-in itself is no token.
        assert!(merge(language, &merged.text, &snippet).unwrap().kept.is_empty());
    };
    check(Language::Json, "{\"t\": \"tg_1\"}", "{\"t\": \"Bearer TOKEN\"}");
    check(Language::Toml, "t = \"tg_1\"\n", "t = \"TOKEN\"");
    check(Language::Yaml, "t: tg_1\n", "t: \"TOKEN\"");
}

#[test]
fn no_old_value_that_may_be_a_secret_is_shown() {
    let hidden = Before::Hidden;
    let shown = |text: &str| Before::Shown(text.to_owned());
    for (key, value, expected) in [
        ("env.BASE_URL", "https://api.example.com/v1", shown("https://api.example.com/...")),
        ("env.BASE_URL", "https://api.example.com", shown("https://api.example.com")),
        ("env.BASE_URL", "https://me:pw@api.example.com/v1", hidden),
        ("model", "example-large-1", shown("example-large-1")),
        ("options.apiKey", "x", Before::Hidden),
        ("env.AUTH_TOKEN", "x", Before::Hidden),
        ("model", "sk-1", Before::Hidden),
        ("model", "0123456789012345678901234567890", Before::Hidden),
    ] {
        assert_eq!(before(key, value), expected, "{key} {value}");
    }
}

/// A JSON value, with keys that the snippet below has too.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[\\[\\]{}\",: \\\\]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let key = prop_oneof!["[abc]", any::<String>()];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((key, inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// The value with the members of the snippet; none if an object would have to give way to another value.
fn merged_value(old: Value, snippet: &Value) -> Option<Value> {
    match (old, snippet) {
        (Value::Object(mut old), Value::Object(snippet)) => {
            for (key, new) in snippet {
                let value = match old.get(key) {
                    Some(before) => merged_value(before.clone(), new)?,
                    None => new.clone(),
                };
                old.insert(key.clone(), value);
            }
            Some(Value::Object(old))
        }
        (old, new) if !old.is_object() && !new.is_object() => Some(new.clone()),
        _ => None,
    }
}

proptest! {
    /// Merging a text is merging the values, whatever its layout.
    #[test]
    fn merged_json_has_both(old in json_value(), is_pretty in any::<bool>()) {
        let snippet = json!({ "a": { "b": { "c": 1 }, "c": "x" }, "b": [1], "new": {} });
        let text = if is_pretty { format!("{old:#}\n") } else { old.to_string() };
        let merged = merge(Language::Json, &text, &snippet.to_string());
        if let Some(expected) = merged_value(old, &snippet) {
            prop_assert_eq!(serde_json::from_str::<Value>(&merged.unwrap().text).unwrap(), expected);
        } else {
            let is_refused = matches!(merged, Err(MergeError::Text { .. }));
            prop_assert!(is_refused);
        }
    }
}
