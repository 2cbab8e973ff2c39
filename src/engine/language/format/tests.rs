use super::*;
use crate::language::syntax::FileKind;

const HEADER: &str = "#:schema ../schema/provider.schema.json";

fn lay_out(text: &str, header: Option<&str>) -> Result<String, FormatError> {
    format(&"x.toml".into(), text, syntax::schema(FileKind::Provider), header)
}

/// Checks the formatted text, and that formatting it again changes nothing.
fn check(text: &str, expected: &str) {
    let laid_out = lay_out(text, None).unwrap();
    assert_eq!(laid_out, expected, "\nof\n{text}");
    assert_eq!(lay_out(&laid_out, None).unwrap(), expected, "a second time");
}

#[test]
fn keys_are_in_the_order_of_the_schema() {
    check("base_url = \"b\"\ntitle = \"a\"\n", "title    = \"a\"\nbase_url = \"b\"\n");
    check("typo = 1\ntitle = \"a\"\nother = 2", "title = \"a\"\ntypo  = 1\nother = 2\n");
    check(
        "[endpoint.b]\npath = \"/b\"\nmethod = \"GET\"\n[endpoint.a]\npath = \"/a\"",
        "[endpoint.b]\nmethod = \"GET\"\npath   = \"/b\"\n\n[endpoint.a]\npath = \"/a\"\n",
    );
    check(
        "endpoint.a = { path = \"/a\", method = \"GET\" }",
        "endpoint.a = { method = \"GET\", path = \"/a\" }\n",
    );
    // Names that the author chooses keep their order.
    check("[headers]\nset = { b = \"1\", a = \"2\" }", "[headers]\nset = { b = \"1\", a = \"2\" }\n");
}

#[test]
fn tables_are_in_the_order_of_the_schema() {
    check(
        "[[test]]\nname = \"1\"\n[test.provider]\ntitle = \"p\"\n[timeouts]\n[[test]]\nname = \"2\"\n[[auth]]\n[vars]\n",
        "[vars]\n\n[[auth]]\n\n[timeouts]\n\n[[test]]\nname = \"1\"\n\n[test.provider]\ntitle = \"p\"\n\n[[test]]\nname = \"2\"\n",
    );
    check(
        "[endpoint.b]\npath = \"/b\"\n[endpoint]\na = false\n",
        "[endpoint]\na = false\n\n[endpoint.b]\npath = \"/b\"\n",
    );
    // Items of an array of tables keep their order, each with its tables.
    check(
        "[[credentials.field]]\nname = \"b\"\n[credentials]\nsection = \"s\"\n",
        "[credentials]\nsection = \"s\"\n\n[[credentials.field]]\nname = \"b\"\n",
    );
}

#[test]
fn equals_signs_are_aligned_up_to_a_blank_line() {
    check(
        "title=\"a\"\ndocs  =  \"d\"\n\nlimits={max_body=\"1B\"}",
        "title = \"a\"\ndocs  = \"d\"\n\nlimits = { max_body = \"1B\" }\n",
    );
    check(
        "title = \"a\"\ngateway.x = { path = \"/\" }\nvars.long_name.env = \"A\"",
        "title = \"a\"\nvars.long_name.env = \"A\"\ngateway.x          = { path = \"/\" }\n",
    );
    check("[vars]\na = 1\n\"b c\" = 2\n\n\n\nd = 3", "[vars]\na = 1\n\"b c\" = 2\n\nd = 3\n");
}

#[test]
fn comments_move_with_their_item() {
    // Above a key, and after it.
    check(
        "# b\nbase_url = \"b\" # bb\n# t\ntitle = \"a\"   # tt",
        "# t\ntitle    = \"a\" # tt\n# b\nbase_url = \"b\" # bb\n",
    );
    // At the start and at the end of the file.
    check(
        "# file\n\n# b\nbase_url = \"b\"\ntitle = \"a\"\n\n# end",
        "# file\n\ntitle    = \"a\"\n# b\nbase_url = \"b\"\n\n# end\n",
    );
    // Below a table, and above one.
    check(
        "[timeouts] # how long\n# idle = \"1s\"\n\n# what\n[headers]\n",
        "# what\n[headers]\n\n[timeouts] # how long\n# idle = \"1s\"\n",
    );
    check("# only\n\n\n# comments", "# only\n\n# comments\n");
    // Separated by a blank line from the item that is first after ordering: it belongs to the file.
    check("[timeouts]\n\n# part two\n\n[headers]", "# part two\n\n[headers]\n\n[timeouts]\n");
    // In an array, which then has several lines.
    check(
        "cors_headers = [ # all\n\"a\", # one\n# two\n\"b\"\n# end\n]",
        "cors_headers = [\n    # all\n    \"a\", # one\n    # two\n    \"b\",\n    # end\n]\n",
    );
    check(
        "[vars]\na = { env = \"A\" } # one\nbb = { env = \"B\", optional = true } # two",
        "[vars]\na  = { env = \"A\" }                  # one\nbb = { env = \"B\", optional = true } # two\n",
    );
}

#[test]
fn arrays_wrap_where_they_do_not_fit() {
    check("cors_headers = [\n  \"a\",\n  \"b\",\n]", "cors_headers = [\"a\", \"b\"]\n");
    let (long, short) = ("x".repeat(60), "y".repeat(10));
    check(
        &format!("cors_headers = [\"{long}\", \"{short}\", \"{long}\"]"),
        &format!("cors_headers = [\n    \"{long}\",\n    \"{short}\",\n    \"{long}\",\n]\n"),
    );
    // An inline table stays on one line.
    let wide = format!("limits = {{ max_body = \"{long}{long}\" }}\n");
    check(&wide, &wide);
    check("limits = {\n  max_body\n=\n\"1B\"\n,\n}", "limits = { max_body = \"1B\" }\n");
    check(
        "limits = { # a\nmax_body # b\n= # c\n\"1B\" # d\n}",
        "# a\n# b\n# c\n# d\nlimits = { max_body = \"1B\" }\n",
    );
    check("vars = {}\nauth = [ ]", "vars = {}\nauth = []\n");
}

#[test]
fn what_only_toml_1_1_allows_is_rewritten() {
    // An array within an inline table keeps its comments; it may have several lines, the table may not.
    check("vars = { a = [1, # one\n2], b = 2 }", "vars = { a = [\n    1, # one\n    2,\n], b = 2 }\n");
    check(
        "vars = [ # x\n{ # a\na = 1, # b\n}, # c\n]",
        "vars = [\n    # x\n    # a\n    # b\n    { a = 1 }, # c\n]\n",
    );
    check("vars = {\n\"k\" = { a = [] , # in\n}\n}", "# in\nvars = { k = { a = [] } }\n");
    check(r#"title = "\e[1m\x41""#, "title = \"\\u001B[1mA\"\n");
    check("title = \"\"\"\n\\e\\\\e\\x41\n\"\"\"", "title = \"\"\"\n\\u001B\\\\e\\u0041\n\"\"\"\n");
    check("title = '''\n\\e\n'''", "title = '''\n\\e\n'''\n");
    check("\"\\x41\" = 1", "A = 1\n");
    for (time, whole) in [
        ("07:32", "07:32:00"),
        ("07:32:01.5", "07:32:01.5"),
        ("1979-05-27", "1979-05-27"),
        ("1979-05-27T07:32Z", "1979-05-27T07:32:00Z"),
        ("1979-05-27 07:32-07:00", "1979-05-27 07:32:00-07:00"),
        ("1979-05-27T07:32:00+01:30", "1979-05-27T07:32:00+01:30"),
    ] {
        check(&format!("title = {time}"), &format!("title = {whole}\n"));
    }
}

#[test]
fn a_long_key_or_line_widens_no_other() {
    let (long, wide) = ("k".repeat(70_000), "x".repeat(70_000));
    check(&format!("a=1\n{long}=2"), &format!("a = 1\n{long} = 2\n"));
    check(&format!("a=1 # c\nb=\"{wide}\" # d"), &format!("a = 1 # c\nb = \"{wide}\" # d\n"));
}

#[test]
fn strings_are_in_the_simplest_quotes() {
    check("title = 'a'", "title = \"a\"\n");
    check(r#"title = "say \"hi\"""#, "title = 'say \"hi\"'\n");
    check(r#"title = "a\tb\u0041""#, "title = \"a\\tbA\"\n");
    check(r#"title = "it's \"it\"""#, "title = \"it's \\\"it\\\"\"\n");
    check(r#"title = """one line""""#, "title = \"one line\"\n");
    check("title = \"\"\"\ntwo\nlines\"\"\"", "title = \"\"\"\ntwo\nlines\"\"\"\n");
    check(
        "'title' = \"a\"\n\"vars\".\"a b\" = { 'env' = 'A' }",
        "title = \"a\"\nvars.\"a b\" = { env = \"A\" }\n",
    );
    check("limits = 0x1F\ntimeouts = 1_000", "timeouts = 1_000\nlimits   = 0x1F\n");
}

#[test]
fn line_ends_and_bom_are_normalized() {
    check("\u{feff}title = \"a\"\r\n\r\n\r\n[limits]\r\n", "title = \"a\"\n\n[limits]\n");
    check("", "");
    check("\n\n\ttitle = \"a\"   \n\n", "title = \"a\"\n");
}

#[test]
fn the_schema_is_named_first() {
    let check = |text: &str, expected: &str| {
        let laid_out = lay_out(text, Some(HEADER)).unwrap();
        assert_eq!(laid_out, expected, "\nof\n{text}");
        assert_eq!(lay_out(&laid_out, Some(HEADER)).unwrap(), expected, "a second time");
    };
    check("title = \"a\"", &format!("{HEADER}\ntitle = \"a\"\n"));
    check("# file\n\ntitle = \"a\"", &format!("{HEADER}\n# file\n\ntitle = \"a\"\n"));
    check("[limits]", &format!("{HEADER}\n\n[limits]\n"));
    check("", &format!("{HEADER}\n"));
    check("# file\n#:schema ./mine.json\n\n[limits]", "#:schema ./mine.json\n# file\n\n[limits]\n");
    check("# t\n#:schema mine.json\ntitle = \"a\"", "#:schema mine.json\n# t\ntitle = \"a\"\n");
}

#[test]
fn invalid_toml_is_rejected() {
    let check = |text: &str, message: &str| match lay_out(text, None) {
        Err(FormatError::Broken(found)) => {
            assert!(found.iter().any(|one| one.message.contains(message)), "{found:?}");
        }
        other => panic!("{text}: {other:?}"),
    };
    check("title = ", "a value is missing");
    check("title = \"a\"\ntitle = \"b\"", "is written twice");
    check("[a]\n[a]", "is written twice");
    check(&format!("a = {}", "[".repeat(10_000)), "recurse");
}

/// What only a reader of TOML 1.1 accepts, found by the grammar alone.
fn new_in_1_1(text: &str) -> Option<String> {
    use toml_parser::{
        Source,
        decoder::Encoding,
        parser::{Event, EventKind, parse_document},
    };
    let tokens = Source::new(text).lex().into_vec();
    let mut events: Vec<Event> = Vec::new();
    parse_document(&tokens, &mut events, &mut ());
    events.retain(|event| event.kind() != EventKind::Whitespace);
    let (mut open, mut before) = (Vec::new(), None);
    for event in &events {
        let written = &text[event.span().start()..event.span().end()];
        let in_table = open.last() == Some(&EventKind::InlineTableOpen);
        let is_new = match event.kind() {
            EventKind::Newline | EventKind::Comment => in_table,
            EventKind::InlineTableClose => before == Some(EventKind::ValueSep),
            EventKind::SimpleKey if event.encoding().is_none() => {
                !written.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
            }
            EventKind::SimpleKey | EventKind::Scalar => match event.encoding() {
                // Without an offset: hours, minutes and seconds.
                None => {
                    written.contains(':')
                        && written.split('+').next().is_some_and(|time| time.split(':').count() < 3)
                }
                Some(Encoding::BasicString | Encoding::MlBasicString) => {
                    let plain = written.replace("\\\\", "");
                    plain.contains("\\e") || plain.contains("\\x")
                }
                Some(Encoding::LiteralString | Encoding::MlLiteralString) => false,
            },
            _ => false,
        };
        if is_new {
            return Some(written.to_owned());
        }
        match event.kind() {
            kind @ (EventKind::InlineTableOpen | EventKind::ArrayOpen) => open.push(kind),
            EventKind::InlineTableClose | EventKind::ArrayClose => drop(open.pop()),
            _ => {}
        }
        before = Some(event.kind());
    }
    None
}

#[test]
fn what_is_new_in_toml_1_1_is_found() {
    let check =
        |text: &str, expected: Option<&str>| assert_eq!(new_in_1_1(text).as_deref(), expected, "{text}");
    check("a = { b = [1, # c\n2], c = \"\\\\e\", d = 07:32:00 }", None);
    check("a = { b = 1\n}", Some("\n"));
    check("a = { b = 1, }", Some("}"));
    check("a = \"\\e\"", Some("\"\\e\""));
    check("a = \"\"\"\\x41\"\"\"", Some("\"\"\"\\x41\"\"\""));
    check("a = 07:32", Some("07:32"));
    check("a = 1979-05-27 07:32Z", Some("1979-05-27 07:32Z"));
}

#[test]
fn formatting_keeps_the_meaning() {
    use proptest::prelude::*;
    let line = prop::sample::select(&[
        "title = 'a'",
        "base_url = \"b\" # c",
        "# c",
        "",
        "[vars]",
        "[vars.a]",
        "env = \"A\"",
        "a = [1, # c\n2]",
        "[[test]]",
        "[test.provider]",
        "name = \"\"\"x\ny\"\"\"",
        "endpoint.a.path = \"/\"",
        "[endpoint]",
        "[endpoint.b]",
        "b = false",
        "gateway.\"x y\" = { path = '/', when = [] }",
        "[[auth]] # c",
        "x = {}",
        "#:schema s",
        "\t# c  ",
        "[[credentials.field]]",
        "[credentials]",
        "y = { z = [ { q = 1 } ] }",
        "u = { v = [ 1, # c\n { w = [ # d\n] } ], x = 1 }",
        "v = [ { # c\n a = { b = 1, # d\n }, }, # e\n]",
        "w = { a = 'x', # c\n # d\n}",
        "t = 1979-05-27 07:32Z",
        "s = \"\\e\\x1f\\u202E\\U0001F600\"",
        "r = \"\"\"\n\\e\\x41 \\\n  z\"\"\"",
        "'ä' = 07:32",
    ]);
    let text = prop::collection::vec(line, 0..14).prop_map(|lines| lines.join("\n"));
    let config = ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(text in text, with_header in any::<bool>())| {
        let header = with_header.then_some(HEADER);
        match lay_out(&text, header) {
            Ok(laid_out) => {
                prop_assert!(is_same_document(&text, &laid_out));
                prop_assert_eq!(new_in_1_1(&laid_out), None, "{}", laid_out);
                prop_assert_eq!(lay_out(&laid_out, header).unwrap(), laid_out);
            }
            Err(FormatError::Broken(found)) => prop_assert!(!found.is_empty()),
            Err(FormatError::Changed) => prop_assert!(false, "changed"),
        }
    });
}
