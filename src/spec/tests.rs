use super::*;
use crate::diag::Sources;

/// What `parse` says of a provider file, one line a finding: `code line:column message | help`.
fn findings<T: Document>(text: &str) -> String {
    let file: Arc<str> = "x.toml".into();
    let mut sources = Sources::default();
    sources.insert(file.clone(), text.into());
    let (_, found) = parse::<T>(&file, text);
    let line = |one: &Diagnostic| {
        let (line, column) = sources.line_column(&one.at);
        let help = one.help.as_ref().map(|help| format!(" | {help}")).unwrap_or_default();
        format!("{} {line}:{column} {}{help}", one.code.as_str(), one.message)
    };
    found.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn shapes() {
    let check = |text: &str, expected: &str| assert_eq!(findings::<Provider>(text), expected, "\n{text}");
    check("title = \"x\"", "");
    check("titel = \"x\"", "TG010 1:1 unknown key `titel` | did you mean `title`?");
    check(
        "title = 1",
        "TG011 1:9 `title` is an integer, but has to be a string | for example: \"Example AI\"",
    );
    check(
        "language = 2\nfuture = 1",
        "TG014 1:12 this file wants language 2: this tollgate knows 1 | upgrade tollgate",
    );
    check("endpoint.a = false", "");
    check(
        "endpoint.a = true",
        "TG013 1:14 `a` is `true`, which means nothing | write `false` to remove the preset's endpoint, or a table",
    );
    check("endpoint.a = { metod = \"GET\" }", "TG010 1:16 unknown key `metod` | did you mean `method`?");
    check(
        "endpoint.a = { method = \"get\" }",
        "TG013 1:25 `method` is none of `GET`, `HEAD`, `POST`, `PUT`, `PATCH`, `DELETE` | did you mean `GET`?",
    );
    check(
        "[[auth]]\nfield = \"a\"",
        "TG012 1:1 entry 1 of `auth` has no `set` | for example: { authorization = \"Bearer {secret}\" }",
    );
    check("title = 2020-01-01", "TG011 1:9 this is a date: put it in quotes, as text");
    check("a = 1\nb = ", "TG003 2:5 string values must be quoted, expected literal string");
    check(
        "timeouts.idle = \"5 minutes\"",
        "TG013 1:17 `idle` is not written in the form that it has to have | for example: \"300s\"",
    );
    check(
        "limits.x = 1\nlimits.y = 2",
        "TG010 1:8 unknown key `x` | known here: `max_body`\nTG010 2:8 unknown key `y` | known here: `max_body`",
    );
}

#[test]
fn keys_have_a_bound() {
    let check = |text: &str, expected: &str| {
        assert_eq!(findings::<Provider>(text), expected, "{} bytes", text.len());
    };
    let long = "k".repeat(257);
    check(&format!("title = \"x\"\n{long}.a = 1"), "TG013 2:1 a key of more than 256 bytes");
    check(&format!("title = \"x\"\nvars.{long}.env = \"A\""), "TG013 2:6 a key of more than 256 bytes");
    // A megabyte of which each pointer would be a copy of what is above it.
    let huge: String = std::iter::once(format!("[\"{}\"]\n", "k".repeat(400 << 10)))
        .chain((0..80_000).map(|index| format!("{index}=1\n")))
        .collect();
    check(&huge, "TG013 1:2 a key of more than 256 bytes");
    let deep = vec!["k".repeat(250); 40].join(".");
    let deep: String = std::iter::once(format!("[{deep}]\n"))
        .chain((0..100_000).map(|index| format!("{index}=1\n")))
        .collect();
    let found = findings::<Provider>(&deep);
    assert!(found.starts_with("TG013 ") && found.ends_with(" too many keys, nested too deep"), "{found}");
    let wide = format!("cors_headers = [{}]", "\"x-a\",".repeat(150_000));
    check(&wide, "");
}

#[test]
fn every_property_is_described_and_has_an_example() {
    fn look(schema: &serde_json::Value, path: &str) {
        if let Some(properties) = schema.get("properties").and_then(|p| p.as_object()) {
            for (name, property) in properties {
                assert!(property.get("description").is_some(), "{path}/{name} has no description");
                assert!(property.get("examples").is_some(), "{path}/{name} has no example");
                let typed = ["type", "$ref", "enum", "additionalProperties"]
                    .iter()
                    .any(|k| property.get(k).is_some());
                assert!(typed, "{path}/{name} has no type: {property}");
            }
        }
        for (name, child) in schema.as_object().into_iter().flatten().filter(|(name, _)| *name != "examples")
        {
            look(child, &format!("{path}/{name}"));
        }
    }
    for kind in KINDS {
        let schema: serde_json::Value = serde_json::from_str(&schema_text(*kind)).unwrap();
        look(&schema, kind.stem());
        assert!(!schema.to_string().contains("\"null\""), "{} offers null", kind.stem());
    }
}
