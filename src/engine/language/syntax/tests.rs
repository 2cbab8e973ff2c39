use super::*;
use crate::base::diag::Sources;

/// The findings of `parse`, one a line: `code line:column message | help`.
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
        "language = 3\nfuture = 1",
        "TG014 1:12 this file wants language 3: this tollgate knows 2 | upgrade tollgate",
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
    check("[[auth]]\nfeild = \"a\"", "TG010 2:1 unknown key `feild` | did you mean `field`?");
    check("title = 2020-01-01", "TG011 1:9 this is a date: put it in quotes, as text");
    check(
        "a = 1\nb = ",
        "TG003 2:5 a value is missing | for example: \"text\", or `[]` for a list of nothing",
    );
    check(
        "timeouts.idle = \"5 minutes\"",
        "TG013 1:17 `idle` is not written in the form that it has to have | for example: \"300s\"",
    );
    check(
        "limits.x = 1\nlimits.y = 2",
        "TG010 1:8 unknown key `x` | known here: `max_body`, `signed_body`\nTG010 2:8 unknown key `y` | known here: `max_body`, `signed_body`",
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
    // A megabyte in which every pointer would repeat a long key.
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
    // Each part of a dotted key is a key, and nothing is made of them.
    let path = ["a"; 60].join(".");
    let dotted: Vec<_> = (0..4000).map(|at| format!("a{at}.{path}=1\n")).collect();
    let dotted = dotted.concat();
    check(&dotted, "TG013 3279:89 more than 200000 keys");
    for nested in [format!("vars = {}", "{a=".repeat(300_000)), "a.".repeat(300_000)] {
        let found = findings::<Provider>(&nested);
        assert!(found.starts_with("TG003") || found.ends_with("more than 200000 keys"), "{found:.300}");
    }
    let wide = format!("cors_headers = [{}]", "\"x-a\",".repeat(150_000));
    check(&wide, "TG013 1:16 `cors_headers` has more than 64 entries");
}

/// Generates documents from random bytes that mostly conform to a schema.
struct RandomDocument<'b> {
    root: &'b serde_json::Value,
    bytes: std::slice::Iter<'b, u8>,
}

impl RandomDocument<'_> {
    fn byte(&mut self) -> usize {
        self.bytes.next().copied().map_or(0, usize::from)
    }

    /// True once in `n` times.
    fn once_in(&mut self, n: usize) -> bool {
        self.byte() % n == n - 1
    }

    fn any(&mut self) -> String {
        let all = [
            "0",
            "1",
            "-1",
            "1.0",
            "1.5",
            "70000",
            "5000000000",
            "true",
            "false",
            "\"\"",
            "\"10s\"",
            "\"x\"",
            "[]",
            "[1]",
            "{}",
            "{ a = 1 }",
            "\"POST\"",
            "2020-01-01",
        ];
        all[self.byte() % all.len()].to_owned()
    }

    fn value(&mut self, schema: &serde_json::Value, depth: usize) -> String {
        if self.once_in(16) || depth > 8 {
            return self.any();
        }
        if let Some(path) = schema["$ref"].as_str() {
            return self.value(self.root.pointer(&path[1..]).unwrap(), depth + 1);
        }
        if let Some(names) = schema["enum"].as_array() {
            return names[self.byte() % names.len()].to_string();
        }
        if schema.get("then").is_some() {
            let branches =
                [&schema["then"], &schema["else"]].map(|one| if one.is_null() { schema } else { one });
            let known = if self.once_in(2) { branches[0] } else { branches[1] };
            return if known.get("then").is_some() { "\"x\"".into() } else { self.value(known, depth + 1) };
        }
        match schema["type"].as_str() {
            Some("object") => self.table(schema, depth),
            Some("array") => {
                let items = (0..self.byte() % 3).map(|_| self.value(&schema["items"], depth + 1));
                format!("[{}]", items.collect::<Vec<_>>().join(", "))
            }
            Some("string") => match schema["examples"][0].as_str() {
                Some(example) if !self.once_in(8) => serde_json::Value::from(example).to_string(),
                _ => "\"text\"".into(),
            },
            Some("integer") => match self.byte() % 4 {
                0 => schema["minimum"].to_string(),
                1 => schema["maximum"].to_string(),
                2 => "2147483648".into(),
                _ => schema["examples"][0].to_string(),
            }
            .replace("null", "3"),
            Some("boolean") => if self.once_in(2) { "true" } else { "false" }.into(),
            _ => self.any(),
        }
    }

    fn table(&mut self, schema: &serde_json::Value, depth: usize) -> String {
        let pairs = self.pairs(schema, depth);
        format!("{{ {} }}", pairs.join(", "))
    }

    fn pairs(&mut self, schema: &serde_json::Value, depth: usize) -> Vec<String> {
        let mut pairs = Vec::new();
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(|one| one.as_str()).collect();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let wanted = if required.contains(&name.as_str()) { !self.once_in(12) } else { self.once_in(3) };
            if wanted {
                pairs.push(format!("{} = {}", toml_key(name), self.value(property, depth + 1)));
            }
        }
        if schema["additionalProperties"].is_object() {
            for name in ["one", "two"].iter().take(self.byte() % 3) {
                pairs.push(format!("{name} = {}", self.value(&schema["additionalProperties"], depth + 1)));
            }
        } else if self.once_in(12) {
            pairs.push("unknown = 1".into());
        }
        pairs
    }
}

/// An editor that validates by the schemas, in either draft, accepts the same documents as `parse`.
#[test]
fn schemas_and_parse_agree() {
    use proptest::prelude::*;
    fn agree<T: Document>(kind: FileKind, bytes: &[u8], verdicts: &mut [usize; 2]) {
        static EDITORS: std::sync::LazyLock<Vec<[jsonschema::Validator; 2]>> =
            std::sync::LazyLock::new(|| {
                let validator = |kind: FileKind, draft: Draft| {
                    let schema: serde_json::Value = serde_json::from_str(&schema_text(kind, draft)).unwrap();
                    jsonschema::validator_for(&schema).unwrap()
                };
                let both =
                    |kind: &FileKind| [Draft::Current, Draft::Seven].map(|draft| validator(*kind, draft));
                FileKind::ALL.iter().map(both).collect()
            });
        let mut document = RandomDocument { root: schema(kind), bytes: bytes.iter() };
        let text = document.pairs(schema(kind), 0).join("\n");
        let (slot, found) = parse::<T>(&"x.toml".into(), &text);
        assert_eq!(slot.is_ok(), found.is_empty(), "{text}");
        let table: toml::Table = text.parse().unwrap();
        let document = serde_json::to_value(table).unwrap();
        let no_date = !text.contains("2020-01-01");
        for editor in &EDITORS[FileKind::ALL.iter().position(|one| *one == kind).unwrap()] {
            let good = editor.is_valid(&document) && no_date;
            // The schema only marks the keys that an earlier language lacks.
            // It may be written as `1.0`.
            let language = document.get("language").and_then(serde_json::Value::as_f64);
            let is_older = language.is_some_and(|language| language < f64::from(LANGUAGE));
            let of_form = found.is_empty() || is_older && found.iter().all(|one| one.code == Code::Language);
            assert_eq!(good, of_form, "{found:#?}\n{text}");
        }
        // Each finding has a location of its own, not that of the whole file.
        for one in found.iter().filter(|one| one.code == Code::BadValue) {
            assert_ne!(one.at.end, 0, "{one:?}\n{text}");
        }
        verdicts[usize::from(found.is_empty())] += 1;
    }
    let mut verdicts = [0, 0];
    let config = ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let bytes = prop::collection::vec(any::<u8>(), 0..300);
    let verdicts = std::cell::RefCell::new(&mut verdicts);
    runner
        .run(&bytes, |bytes| {
            let mut verdicts = verdicts.borrow_mut();
            agree::<Provider>(FileKind::Provider, &bytes, &mut verdicts);
            agree::<Gateway>(FileKind::Gateway, &bytes, &mut verdicts);
            agree::<Api>(FileKind::Api, &bytes, &mut verdicts);
            Ok(())
        })
        .unwrap();
    let verdicts = verdicts.into_inner();
    assert!(verdicts.iter().all(|count| *count > 100), "too few of one kind: {verdicts:?}");
}
