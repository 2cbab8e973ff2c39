//! Commands that need no server: complete outputs and exit codes.

use crate::harness::{CommandOutput, Home, root};

const GOOD: &str = r#"title = "Good"
base_url = "https://good.example/api"
path_prefix = "/good"
[endpoint.chat]
method = "POST"
path = "/v1/chat"
[endpoint.model]
method = "GET"
path = "/v1/models/{model}"
upstream_path = "/models/{model}"
aliases = ["/models/{model}"]
[[test]]
name = "passes"
request = { method = "POST", path = "/good/v1/chat" }
expect = { url = "https://good.example/api/v1/chat" }
[[test]]
name = "one model"
request = { path = "/good/v1/models/m" }
expect = { url = "https://good.example/api/models/m" }
"#;

/// Compares a command's output with `expected`; `{dir}` is the provider directory.
fn check(home: &Home, args: &[&str], code: i32, out: &str, err: &str) {
    let CommandOutput { code: seen, out: seen_out, err: seen_err } = home.run(args, "");
    let shown = |text: String| text.replace(&home.providers().display().to_string(), "{dir}");
    let (seen_out, seen_err) = (shown(seen_out), shown(seen_err));
    assert_eq!(
        (seen, seen_out.as_str(), seen_err.as_str()),
        (code, out, err),
        "{args:?}\n{seen_out}\n{seen_err}"
    );
}

#[test]
fn check_is_quiet_about_good_files() {
    let home = Home::new(&[("good", GOOD)]);
    check(&home, &["check"], 0, "`{dir}`: 1 provider, 2 endpoints, 2 tests: ok\n", "");
}

#[test]
fn check_reports_all_errors() {
    let bad = "title = \"Bad\"\nbase_url = \"https://bad.example\"\npath_prefx = \"/bad\"\n[endpoint.chat]\nmethod = \"post\"\npath = \"/v1/chat\"\n";
    let home = Home::new(&[("good", GOOD), ("bad", bad)]);
    let said = home.run(&["check"], "");
    assert_eq!(said.code, 1, "{said:?}");
    for part in ["bad.toml:3:1", "path_prefx", "did you mean `path_prefix`?", "bad.toml:5:10", "POST"] {
        assert!(said.err.contains(part), "`{part}` is missing in\n{}", said.err);
    }
    assert!(!said.err.contains("good.toml"), "{}", said.err);
    assert!(said.out.contains("2 errors in 2 providers"), "{}", said.out);
}

#[test]
fn check_reports_a_broken_preset_once() {
    let using = |name: &str| {
        format!("title = \"{name}\"\nbase_url = \"https://{name}.example\"\nextends = \"base\"\n")
    };
    let home = Home::new(&[("presets/base", "path_prefix = \"/{provider}\"\nbogus = 1\n")]);
    for name in ["a", "b", "c", "d"] {
        home.write(name, &using(name));
    }
    let said = home.run(&["check"], "");
    assert!(said.code == 1 && said.err.starts_with("error[TG010]: unknown key `bogus`"), "{said:?}");
    let dir = home.providers().display().to_string();
    let line = format!(
        "error[TG025]: preset `base` has errors of its own: 4 places, in {dir}/a.toml, {dir}/b.toml, {dir}/c.toml and 1 more\n"
    );
    assert!(said.err.contains(&line), "{line} is missing in\n{}", said.err);
    assert_eq!(said.err.matches("has errors of its own").count(), 1, "{}", said.err);
    let json = home.run(&["check", "--format", "json"], "").out;
    assert_eq!(json.matches("has errors of its own").count(), 4, "{json}");
    let found: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&found["findings"][0]["code"], found["errors"].as_u64()),
        (&"TG010".into(), Some(5)),
        "{json}"
    );
    // One alone is shown whole.
    for name in ["b", "c", "d"] {
        std::fs::remove_file(home.providers().join(format!("{name}.toml"))).unwrap();
    }
    let said = home.run(&["check"], "");
    assert!(said.err.contains("= help: mend that file first"), "{said:?}");
}

#[test]
fn check_reports_a_failing_test() {
    let home = Home::new(&[("good", &GOOD.replace("api/v1/chat\" }", "api/v2/chat\" }"))]);
    let said = home.run(&["check"], "");
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("test `passes` fails: "), "{}", said.err);
    assert!(said.err.contains("https://good.example/api/v1/chat"), "{}", said.err);
}

#[test]
fn check_reports_two_conflicting_files() {
    let home = Home::new(&[("good", GOOD), ("twin", GOOD)]);
    let said = home.run(&["check"], "");
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("can match the same request"), "{}", said.err);
    assert!(said.err.contains("good.toml:") && said.err.contains("twin.toml:"), "{}", said.err);
}

#[test]
fn check_takes_paths() {
    let home = Home::new(&[("good", GOOD), ("bad", "title = 1")]);
    let path = |name: &str| home.providers().join(name).display().to_string();
    assert_eq!(home.run(&["check", &path("good.toml")], "").code, 0);
    assert_eq!(home.run(&["check", &path("bad.toml")], "").code, 1);
    let said = home.run(&["check", &path("missing.toml")], "");
    assert_eq!((said.code, said.out.as_str()), (3, ""), "{said:?}");
    assert!(said.err.contains("missing.toml"), "{said:?}");
}

#[test]
fn the_shipped_files_are_good() {
    let home = Home::shipped();
    let said = home.run(&["check"], "");
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    assert!(said.out.ends_with(": ok\n"), "{said:?}");
    let embedded = Home::new(&[]);
    let path = root().join("providers.d").display().to_string();
    assert_eq!(embedded.run(&["check", &path], "").code, 0);
}

#[test]
fn routes_are_listed() {
    let home = Home::new(&[("good", GOOD)]);
    let table = "\
METHOD  CLIENT PATH              PROVIDER  UPSTREAM
POST    /good/v1/chat            good      https://good.example/api/v1/chat
GET     /good/v1/models/{model}  good      https://good.example/api/models/{model}
GET     /models/{model}          good      https://good.example/api/models/{model}
";
    check(&home, &["routes"], 0, table, "");
}

#[test]
fn routes_use_the_secrets_directory() {
    let (text, _) = GOOD.split_once("[[test]]").unwrap();
    let text = text.replace("good.example", "{region}.example");
    let home = Home::new(&[("good", &format!("{text}[vars]\nregion = {{ file = \"region\" }}\n"))]);
    let secrets = home.path("elsewhere");
    std::fs::create_dir(&secrets).unwrap();
    std::fs::write(secrets.join("region"), "eu\n").unwrap();
    let config = home.path("t.toml");
    std::fs::write(&config, format!("secrets = {:?}\n", secrets.display().to_string())).unwrap();
    for args in
        [["routes", "--secrets", secrets.to_str().unwrap()], ["routes", "--config", config.to_str().unwrap()]]
    {
        let said = home.run(&args, "");
        assert_eq!(said.code, 0, "{said:?}");
        assert!(said.out.contains("https://eu.example/api/v1/chat"), "{said:?}");
    }
}

#[test]
fn routes_show_no_secret() {
    let check = |base_url: &str, expected: &str| {
        let (text, _) = GOOD.split_once("[endpoint.model]").unwrap();
        let text = text.replace("https://good.example/api", base_url);
        let vars = "[vars]\nregion = { file = \"region\" }\nkey = { file = \"key\", secret = true }\n";
        let home = Home::new(&[("good", &format!("{text}{vars}"))]);
        std::fs::create_dir(home.path("secrets")).unwrap();
        std::fs::write(home.path("secrets/region"), "eu").unwrap();
        std::fs::write(home.path("secrets/key"), "s3cret").unwrap();
        let said = home.run(&["routes"], "");
        assert!(said.code == 0 && said.out.trim_end().ends_with(expected), "{said:?}");
        assert!(!said.out.contains("s3cret"), "{said:?}");
    };
    check("https://{region}.example", " https://eu.example/v1/chat");
    check("https://{region}.example/{key}/x", " https://eu.example/***/x/v1/chat");
    check("https://{key}.example/{region}", " ***");
}

#[test]
fn schemas_are_printed() {
    let home = Home::new(&[]);
    for kind in ["provider", "gateway", "api", "settings"] {
        let said = home.run(&["schema", kind], "");
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{kind}");
        let schema: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(schema["title"], format!("tollgate {kind}"));
        let shipped = std::fs::read_to_string(root().join(format!("schema/{kind}.schema.json"))).unwrap();
        assert_eq!(said.out, shipped, "schema/{kind}.schema.json is stale");
    }
    assert_eq!(home.run(&["schema", "nonsense"], "").code, 2);
}

#[test]
fn help_and_version() {
    let home = Home::new(&[]);
    check(&home, &["--version"], 0, concat!("tollgate ", env!("CARGO_PKG_VERSION"), "\n"), "");
    let help = home.run(&["--help"], "");
    assert_eq!((help.code, help.err.as_str()), (0, ""));
    for command in
        ["serve", "check", "fmt", "new", "price", "routes", "schema", "user", "token", "credential", "mock"]
    {
        assert!(help.out.contains(&format!("\n  {command} ")), "`{command}` is missing in\n{}", help.out);
        assert_eq!(home.run(&[command, "--help"], "").code, 0, "{command}");
    }
}
