//! `tollgate check` for programs and people: formats, exit codes, standard input, lint levels. No key is ever shown.
//! A running tollgate reports the same.

use std::fs;

use serde_json::Value;

use crate::harness::{CommandOutput, Home, root};

const KEY: &str = "sk-live0123456789abcdef";

const GOOD: &str = r#"title = "Good"
base_url = "https://good.example"
path_prefix = "/good"
[endpoint.chat]
method = "POST"
path = "/v1/chat"
[[test]]
name = "chat"
request = { method = "POST", path = "/good/v1/chat" }
expect = { url = "https://good.example/v1/chat" }
"#;

/// Valid, with one warning.
fn warned() -> String {
    GOOD.replace("[endpoint", "[headers]\npass = [\"origin\"]\n[endpoint")
}

/// An error on line 3 and a name first declared elsewhere.
fn bad() -> String {
    GOOD.replace("path_prefix", "path_prefx")
}

fn json(said: &CommandOutput) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

#[test]
fn exit_codes_distinguish_the_outcomes() {
    let home = Home::new(&[("good", GOOD)]);
    let bad_home = Home::new(&[("bad", &bad())]);
    let warned = Home::new(&[("warned", &warned())]);
    let check = |home: &Home, args: &[&str], code: i32| {
        let args = [&["check"], args].concat();
        let said = home.run(&args, "");
        assert_eq!(said.code, code, "{args:?}: {said:?}");
    };
    let help = home.run(&["check", "--help"], "");
    assert!(help.out.contains("3 if a file cannot be read"), "{help:?}");
    check(&home, &[], 0);
    check(&warned, &[], 0);
    check(&warned, &["--deny-warnings"], 1);
    check(&bad_home, &[], 1);
    check(&home, &["--format", "yaml"], 2);
    check(&home, &["--explain", "TG999"], 2);
    check(&home, &["-"], 2);
    check(&home, &["--name", "x.toml"], 2);
    check(&home, &["missing.toml"], 3);
    check(&home, &["missing"], 3);
    check(&home, &["--config", "missing.toml"], 3);
    fs::write(home.path("bad.toml"), "[lints]\nheader_pas = \"warn\"\n").unwrap();
    check(&home, &["--config", "bad.toml"], 2);
    fs::write(home.path("note.txt"), "x").unwrap();
    check(&home, &["note.txt"], 2);
    fs::create_dir(home.path("empty")).unwrap();
    check(&home, &["empty"], 2);
    // An error in a file's content is a finding.
    fs::write(home.providers().join("latin.toml"), b"title = \"Caf\xe9\"").unwrap();
    check(&home, &["providers.d/latin.toml"], 1);
    fs::write(home.providers().join("latin.toml"), vec![b'#'; (1 << 20) + 1]).unwrap();
    check(&home, &["providers.d/latin.toml"], 1);
}

#[test]
fn lint_levels_come_from_the_settings() {
    let home = Home::new(&[("warned", &warned())]);
    let check = |lints: &str, args: &[&str], code: i32, expected: &str| {
        fs::write(home.path("tollgate.toml"), lints).unwrap();
        let said = home.run(&[&["check"], args].concat(), "");
        assert_eq!(said.code, code, "{said:?}");
        assert!(said.err.contains(expected) && said.err.is_empty() == expected.is_empty(), "{said:?}");
    };
    check("", &[], 0, "warning[TG067]");
    check("", &["--deny-warnings"], 1, "error[TG067]");
    check("[lints]\nheader_pass = \"warn\"\n", &[], 0, "warning[TG067]");
    check("[lints]\nheader_pass = \"deny\"\n", &[], 1, "error[TG067]");
    check("[lints]\nheader_pass = \"allow\"\n", &["--deny-warnings"], 0, "");
}

#[test]
fn environment_variables_are_restricted() {
    let reading = |name: &str| format!("vars.v = {{ env = \"{name}\", optional = true }}\n{GOOD}");
    let home = Home::new(&[("good", &reading("OTHER_REGION"))]);
    let check = |settings: &str, args: &[&str], code: i32, expected: &str| {
        fs::write(home.path("tollgate.toml"), settings).unwrap();
        let said = home.run(&[&["check"], args].concat(), "");
        assert_eq!(said.code, code, "{said:?}");
        assert!(said.err.contains(expected) && said.err.is_empty() == expected.is_empty(), "{said:?}");
    };
    check("", &[], 0, "");
    let refused =
        "error[TG030]: var `v` reads the environment variable `OTHER_REGION`, which is not allowed\n --> ";
    check("env_allow = [\"ACME_*\", \"EGRESS_URL\"]", &[], 1, refused);
    check(
        "env_allow = [\"ACME_*\", \"EGRESS_URL\"]",
        &[],
        1,
        "`env_allow` allows: `ACME_*`, `EGRESS_URL`; the operator can",
    );
    check("env_allow = []", &[], 1, "`env_allow` allows: none;");
    check("env_allow = [\"OTHER_*\"]", &[], 0, "");
    // The command line goes before the file.
    check("env_allow = [\"OTHER_*\"]", &["--env-allow", "ACME_*,MORE"], 1, refused);
    check("env_allow = []", &["--env-allow", "OTHER_REGION"], 0, "");
    check("", &["--env-allow", ""], 2, "`--env-allow` is empty: give it a value, or leave it out");
    // `explain` and `routes` see the same.
    for command in [&["routes"][..], &["explain", "POST", "/good/v1/chat"]] {
        let said = home.run(&[command, &["--env-allow", "ACME_*"]].concat(), "");
        assert!(said.code != 0 && said.err.contains("OTHER_REGION"), "{said:?}");
    }
}

#[test]
fn secrets_of_other_systems_are_a_lint() {
    let home =
        Home::new(&[("good", &format!("vars.v = {{ env = \"DATABASE_URL\", optional = true }}\n{GOOD}"))]);
    let lint = "warning[TG068]: var `v` reads `DATABASE_URL`, which looks like the address and password of a database";
    let said = home.run(&["check"], "");
    assert!(said.code == 0 && said.err.contains(lint), "{said:?}");
    let said = home.run(&["check", "--env-allow", "DATABASE_*"], "");
    assert!(said.code == 0 && said.err.contains(lint), "{said:?}");
    // A name that is written out is meant.
    let said = home.run(&["check", "--env-allow", "DATABASE_URL"], "");
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
}

/// The files of a repository with many authors, as in `docs/ci.md`.
#[test]
fn documented_rules_for_many_authors_hold() {
    let text = fs::read_to_string(root().join("docs/ci.md")).unwrap();
    let (_, text) = text.split_once("<!-- many authors: run by tests/it/tooling_check.rs -->").unwrap();
    let block = |index: usize| text.split("```").nth(index).unwrap().trim_start_matches("toml\n");
    let reading = |name: &str| format!("vars.v = {{ env = \"{name}\", optional = true }}\n{GOOD}");
    let check = |name: &str, good: bool, expected: &str| {
        let home = Home::new(&[("good", &reading(name))]);
        fs::write(home.path("tollgate.toml"), block(1)).unwrap();
        fs::write(home.path("policy.toml"), block(3)).unwrap();
        let said = home.run(&["check"], "");
        assert_eq!(said.code == 0, good, "{name} {said:?}");
        assert!(said.err.contains(expected), "{name} {said:?}");
        let proved = home.run(&["prove"], "");
        assert_eq!(proved.code == 0, !expected.contains("TG070"), "{name} {proved:?}");
    };
    check("GOOD_REGION", true, "");
    check("EGRESS_PROXY_URL", true, "");
    check(
        "BAD_REGION",
        false,
        "error[TG070]: breaks the policy \"providers read their own variables\": var `v` reads the environment variable `BAD_REGION`",
    );
    check("DATABASE_URL", false, "error[TG070]");
}

#[test]
fn json_is_one_document() {
    let home = Home::new(&[("bad", &bad()), ("good", GOOD), ("twin", &GOOD.replace("Good", "Twin"))]);
    let said = home.run(&["check", "providers.d", "--format", "json"], "");
    assert_eq!((said.code, said.err.as_str()), (1, ""), "{said:?}");
    let document = json(&said);
    assert_eq!((&document["version"], &document["ok"]), (&1.into(), &false.into()));
    let files = ["providers.d/bad.toml", "providers.d/good.toml", "providers.d/twin.toml"];
    assert_eq!(document["files"], serde_json::json!(files));
    let findings = document["findings"].as_array().unwrap();
    assert_eq!(document["errors"].as_u64(), Some(findings.len() as u64), "{said:?}");
    let of = |code: &str| {
        findings.iter().find(|one| one["code"] == code).unwrap_or_else(|| panic!("{code}: {said:?}"))
    };
    let unknown = of("TG010");
    let start = bad().find("path_prefx").unwrap();
    let span = serde_json::json!({
        "file": "providers.d/bad.toml",
        "start": { "byte": start, "line": 3, "column": 1 },
        "end": { "byte": start + 10, "line": 3, "column": 11 },
    });
    assert_eq!((&unknown["span"], &unknown["severity"]), (&span, &"error".into()));
    assert_eq!(unknown["help"], "did you mean `path_prefix`?");
    let clash = of("TG040");
    assert_eq!(clash["related"][0]["span"]["file"], "providers.d/good.toml");
    assert_eq!(clash["related"][0]["message"], "the other one");
    let clean = json(&home.run(&["check", "providers.d/good.toml", "--format", "json"], ""));
    assert_eq!(clean["files"], serde_json::json!(["providers.d/good.toml"]));
}

#[test]
fn github_output_is_a_line_per_finding() {
    let home = Home::new(&[("bad", &bad()), ("warned", &warned())]);
    let said = home.run(&["check", "providers.d", "--format", "github"], "");
    assert_eq!((said.code, said.err.as_str()), (1, ""), "{said:?}");
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!(
        lines[0],
        "::error file=providers.d/bad.toml,line=3,col=1,endLine=3,endColumn=10,title=TG010::unknown key `path_prefx`%0Ahelp: did you mean `path_prefix`?"
    );
    assert!(lines[1].starts_with("::warning file=providers.d/warned.toml,line=5,"), "{said:?}");
    assert_eq!(lines.len(), 2, "{said:?}");
}

#[test]
fn sarif_output_matches_its_schema() {
    let path = root().join("tests/sarif/sarif-schema-2.1.0.json");
    // This validator's regular expressions need a literal `]` escaped.
    let text = fs::read_to_string(path).unwrap().replace("{2}]?$", "{2}\\\\]?$");
    let schema: Value = serde_json::from_str(&text).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let valid = |document: &Value| {
        let errors: Vec<_> = validator
            .iter_errors(document)
            .map(|error| format!("{error} at {}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
    };
    let twin = GOOD.replace("Good", "Twin");
    let home =
        Home::new(&[("bad", &bad()), ("warned", &warned()), ("good", GOOD), ("twin", &twin), ("large", "")]);
    fs::write(home.providers().join("latin 1.toml"), b"\xe9").unwrap();
    let said = home.run(&["check", "providers.d", "--format", "sarif"], "");
    assert_eq!((said.code, said.err.as_str()), (1, ""), "{said:?}");
    let document = json(&said);
    valid(&document);
    let run = &document["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let results = run["results"].as_array().unwrap();
    for result in results {
        let rule = &rules[usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
        assert_eq!(rule["id"], result["ruleId"]);
    }
    let levels: Vec<_> = results.iter().filter_map(|one| one["level"].as_str()).collect();
    assert!(levels.contains(&"error") && levels.contains(&"warning"), "{levels:?}");
    let uri = |one: &Value| one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].clone();
    assert!(results.iter().any(|one| uri(one) == "providers.d/latin%201.toml"), "{said:?}");
    assert!(results.iter().any(|one| one.get("relatedLocations").is_some()), "{said:?}");
    let clean = Home::new(&[("good", GOOD)]);
    let clean = json(&clean.run(&["check", "--format", "sarif"], ""));
    valid(&clean);
    assert_eq!(clean["runs"][0]["results"], serde_json::json!([]));
    // The check itself can fail.
    let mut wrong = clean;
    wrong["runs"][0]["results"] = serde_json::json!([{ "level": "loud" }]);
    assert!(!validator.is_valid(&wrong));
}

#[test]
fn standard_input_replaces_a_file_of_the_directory() {
    let home = Home::new(&[("good", GOOD), ("other", &GOOD.replace("good", "other"))]);
    let check = |name: &str, text: &str, code: i32, expected: &str| {
        let said = home.run(&["check", "-", "--name", name], text);
        assert_eq!(said.code, code, "{name}: {said:?}");
        assert!(said.err.contains(expected), "{name}: {said:?}");
    };
    check("providers.d/good.toml", GOOD, 0, "");
    check("providers.d/good.toml", &bad(), 1, "providers.d/good.toml:3:1");
    // A new file beside the existing ones.
    check("providers.d/new.toml", GOOD, 1, "TG040");
    check("providers.d/new.toml", &GOOD.replace("good", "new"), 0, "");
    check("providers.d/New.toml", GOOD, 1, "TG002");
    check("providers.d/new.txt", GOOD, 2, "is no provider file");
    check("providers.d/new.toml", &"#".repeat((1 << 20) + 1), 1, "is larger than");
    check("nowhere/new.toml", GOOD, 3, "cannot read");
    let preset = "path_prefix = \"/{provider}\"\ntest = 1\n";
    check("providers.d/presets/p.toml", preset, 1, "providers.d/presets/p.toml:2:8");
    // The file on disk is neither read nor reported.
    home.write("good", "x =");
    check("providers.d/good.toml", GOOD, 0, "");
}

#[test]
fn a_file_is_checked_in_its_directory_by_any_path() {
    let gateway = "title = \"G\"\nbase_url = \"https://g.example\"\nvars.key = { env = \"K\" }\nwrong = 1\n";
    let home = Home::new(&[("good", GOOD), ("gateways/g", gateway)]);
    let absolute = home.providers().join("gateways/g.toml").display().to_string();
    for path in ["providers.d/gateways/g.toml", "./providers.d/gateways/g.toml", &absolute] {
        let said = home.run(&["check", path], "");
        assert!(said.code == 1 && said.err.contains("gateways/g.toml:4:1"), "{said:?}");
    }
    let said = home.run(&["check", "providers.d/good.toml", "providers.d/gateways/g.toml"], "");
    assert_eq!((said.code, said.out.lines().count()), (1, 1), "one directory is checked once: {said:?}");
}

#[test]
fn no_key_is_ever_shown() {
    let literal = GOOD.replace("[endpoint", &format!("[headers.set]\nx-api-key = \"{KEY}\"\n[endpoint"));
    let faulty = [
        literal.clone(),
        // The key is the faulty value, or is on the line of another error.
        GOOD.replace("\"POST\"\npath", &format!("\"{KEY}\"\npath")),
        GOOD.replace("title = \"Good\"", &format!("title = {{ a = \"{KEY}\", b = 1 }}")),
        GOOD.replace("title", &format!("title = \"{KEY}\" x # title")),
        format!("{GOOD}credentials = {{ k = \"{KEY}\" }}\n"),
        GOOD.replace("good.example\"\npath", &format!("me:{KEY}@good.example\"\npath")),
        GOOD.replace("https://good.example/v1/chat", KEY),
        format!("{KEY} = 1\n{GOOD}"),
    ];
    for text in faulty {
        let home = Home::new(&[("x", &text)]);
        for format in ["human", "json", "github", "sarif"] {
            let said = home.run(&["check", "--format", format], "");
            assert_eq!(said.code, 1, "{text}\n{said:?}");
            let shown = format!("{}{}", said.out, said.err);
            assert!(!shown.contains(&KEY[3..]), "{format} shows the key of\n{text}\n{shown}");
        }
    }
    let home = Home::new(&[("x", &literal)]);
    let said = home.run(&["check"], "");
    let masked = format!("x-api-key = \"{}\"", "*".repeat(KEY.len()));
    assert!(
        said.err.contains("error[TG060]: this looks like a key") && said.err.contains(&masked),
        "{said:?}"
    );
    let carets = "^".repeat(KEY.len());
    assert!(said.err.contains(&carets) && !said.err.contains(&format!("{carets}^")), "{said:?}");
}

#[test]
fn only_the_first_of_many_findings_are_reported() {
    let many: String = (0..1100).map(|number| format!("[t{number}]\n")).collect::<Vec<_>>().concat();
    let home = Home::new(&[("many", &many), ("good", GOOD)]);
    let said = home.run(&["check", "providers.d", "--format", "json"], "");
    let document = json(&said);
    let findings = document["findings"].as_array().unwrap().len();
    assert_eq!(
        (said.code, findings, &document["cut"]),
        (1, 1000, &serde_json::json!(["providers.d/many.toml"]))
    );
    let said = home.run(&["check"], "");
    assert!(said.code == 1 && said.err.contains("many.toml` has more findings"), "{}", said.out);
    // Of many files, too.
    for at in 0..5 {
        home.write(&format!("many{at}"), &many);
    }
    let said = home.run(&["check", "--format", "json"], "");
    let document = json(&said);
    assert_eq!((said.code, document["findings"].as_array().unwrap().len()), (1, 5000));
    assert_eq!(document["cut"].as_array().unwrap().len(), 6, "{}", document["cut"]);
    for args in
        [&["test"][..], &["explain", "GET", "/proxy/x"], &["routes"], &["diff", "providers.d", "providers.d"]]
    {
        let said = home.run(args, "");
        let shown = said.err.matches("error[").count();
        assert!(shown == 5000 && said.err.contains("more findings, not shown"), "{args:?}: {shown}");
    }
}

#[test]
fn codes_are_explained() {
    let home = Home::new(&[]);
    let said = home.run(&["check", "--explain", "tg012"], "");
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    for part in ["## TG012", "A required key is missing.", "Bad:", "Good:", "```toml"] {
        assert!(said.out.contains(part), "`{part}` is missing in\n{}", said.out);
    }
    assert_eq!(
        home.run(&["check", "--explain", "plain_http"], "").out,
        home.run(&["check", "--explain", "TG062"], "").out
    );
    let shipped = fs::read_to_string(root().join("docs/diagnostics.md")).unwrap();
    assert_eq!(home.run(&["check", "--explain", "all"], "").out, shipped);
}

#[test]
fn a_running_tollgate_reports_the_same_and_keeps_serving() {
    let home = Home::new(&[("warned", &warned()), ("good", GOOD.replace("good", "other").as_str())]);
    let home_of = |file: &Value| file["file"].as_str().unwrap_or_default().ends_with("warned.toml");
    let findings = || {
        let said = home.run(&["reload", "--json"], "");
        assert_eq!(said.code, 0, "warnings change nothing: {said:?}");
        let status = json(&said);
        assert_eq!(status["ok"], true);
        let file = status["files"].as_array().unwrap().iter().find(|file| home_of(file)).unwrap().clone();
        assert_eq!(file["state"], "live");
        let diagnostics = file["diagnostics"].as_array().cloned().unwrap_or_default();
        diagnostics.iter().map(|one| format!("{} {}", one["code"], one["severity"])).collect::<Vec<_>>()
    };
    let gateway = home.serve(&["--strict"]);
    let logged = gateway.logged("TG067");
    assert!(logged.iter().all(|line| line.contains("\"WARN\"")), "{logged:?}");
    let warning = ["\"TG067\" \"warning\""];
    assert_eq!(findings(), warning);
    // Another file changes: the findings of this one stay.
    home.write("good", &GOOD.replace("good", "another"));
    assert_eq!(findings(), warning);
    let said = home.run(&["status"], "");
    assert!(said.code == 0 && said.out.contains(", 1 warning\n"), "{said:?}");
    let said = home.run(&["status", "--all"], "");
    assert!(said.code == 0 && said.out.contains("warning[TG067]"), "{said:?}");
    assert_eq!(gateway.logged("TG067").len(), 1, "a warning is logged once");
    home.write("gateways/unused", "title = \"Unused\"\nbase_url = \"https://gateway.example/{account}\"\nvars.account = { env = \"ACCOUNT\", optional = true }\n");
    assert_eq!(findings(), warning);
    assert_eq!(gateway.logged("TG066").len(), 1, "a shared file is warned of, too");
    home.write("warned", GOOD);
    assert_eq!(findings(), Vec::<String>::new());
}

#[test]
fn a_denied_lint_rejects_a_file() {
    let home = Home::new(&[("warned", &warned()), ("good", GOOD.replace("good", "other").as_str())]);
    fs::write(home.path("tollgate.toml"), "[lints]\nheader_pass = \"deny\"\n").unwrap();
    let _gateway = home.serve(&[]);
    let said = home.run(&["status"], "");
    assert!(
        said.code == 1 && said.out.contains("error[TG067]") && said.out.contains("1 rejected"),
        "{said:?}"
    );
}

/// The hook for commits passes the files that changed.
#[test]
fn a_policy_or_settings_file_stands_for_the_directory_beside_it() {
    let home = Home::new(&[("good", GOOD)]);
    let check = |name: &str, text: &str, code: i32, expected: &str| {
        fs::write(home.path(name), text).unwrap();
        for path in [name, home.path(name).to_str().unwrap()] {
            let said = home.run(&["check", path], "");
            assert!(said.code == code && said.err.contains(expected), "{path}: {said:?}");
        }
    };
    check("tollgate.toml", "[lints]\n", 0, "");
    check("policy.toml", "[[https]]\nname = \"no plain http\"\n", 0, "");
    home.write(
        "plain",
        &GOOD.replace(
            "https://good.example\"\npath_prefix = \"/good\"",
            "http://good.example\"\npath_prefix = \"/plain\"",
        ),
    );
    check("policy.toml", "[[https]]\nname = \"no plain http\"\n", 1, "error[TG070]");
    check("tollgate.toml", "[lints]\n", 1, "error[TG070]");
    let hooks = fs::read_to_string(root().join(".pre-commit-hooks.yaml")).unwrap();
    assert!(hooks.contains(r"files: (^|/)((providers|limits)\.d/.*|policy|tollgate)\.toml$"), "{hooks}");
}

/// A limit of requests to some providers.
fn limit(id: &str, provider: &str) -> String {
    format!(
        "[[limit]]\nid = \"{id}\"\nmatch = {{ provider = [\"{provider}\"] }}\nrequests = 1\nwindow = {{ every = \"day\" }}\n"
    )
}

#[test]
fn limits_are_checked_beside_their_providers() {
    let home = Home::new(&[("good", GOOD)]);
    fs::create_dir(home.path("limits.d")).unwrap();
    let write = |name: &str, text: &str| fs::write(home.path("limits.d").join(name), text).unwrap();
    let check = |args: &[&str], code: i32, out: &str, err: &str| {
        let said = home.run(&[&["check"], args].concat(), "");
        assert_eq!(said.code, code, "{args:?}: {said:?}");
        assert!(said.out.contains(out), "{args:?}: {out}: {said:?}");
        assert!(said.err.contains(err) && said.err.is_empty() == err.is_empty(), "{args:?}: {err}: {said:?}");
    };
    let all: [&[&str]; 4] = [&[], &["providers.d"], &["limits.d"], &["limits.d/team.toml"]];
    for args in all {
        write("team.toml", "");
        check(args, 0, "1 provider, 1 endpoint, 1 test: ok", "");
        write("team.toml", &limit("a", "good"));
        check(args, 0, "1 provider, 1 endpoint, 1 test, 1 limit: ok", "");
        write("team.toml", &(limit("a", "good") + &limit("b", "g*") + &limit("c", "*")));
        check(args, 0, "1 test, 3 limits: ok", "");
        write("team.toml", &limit("a", "god"));
        check(args, 1, "1 error in 1 provider", "error[TG090]: no provider is named `god`");
        check(args, 1, "", "limits.d/team.toml:2:");
        check(args, 1, "", "did you mean `good`?");
        write("team.toml", &limit("a", "good").replace("day", "year"));
        check(args, 1, "1 error in 1 provider", "limits.d/team.toml:5:");
    }
    // A file is checked beside the others of its directory, and reports its own findings alone.
    write("team.toml", &limit("a", "good"));
    write("twin.toml", &limit("a", "good"));
    write("wrong.toml", &limit("w", "god"));
    check(&["limits.d/team.toml"], 1, "", "another file has a limit `a`, too");
    let said = home.run(&["check", "limits.d/twin.toml"], "");
    assert!(!said.err.contains("wrong.toml"), "{said:?}");
    check(&["limits.d/twin.toml"], 1, "1 error", "limits.d/twin.toml:2:");
    fs::remove_file(home.path("limits.d/wrong.toml")).unwrap();
    fs::remove_file(home.path("limits.d/twin.toml")).unwrap();
    // From standard input, from inside of the directory, and beside built-in providers.
    let said = home.run(&["check", "-", "--name", "limits.d/new.toml"], &limit("a", "good"));
    assert!(said.code == 1 && said.err.contains("another file has a limit `a`, too"), "{said:?}");
    let said = home.run(&["check", "-", "--name", "limits.d/new.toml"], &limit("n", "good"));
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    assert!(said.out.contains("2 limits"), "{said:?}");
    let said = home.run_elsewhere(&home.path("limits.d"), &["check", "team.toml"], &[]);
    assert!(said.code == 0 && said.out.contains("1 limit: ok"), "{said:?}");
    // A settings file names both directories.
    fs::rename(home.path("limits.d"), home.path("caps")).unwrap();
    fs::write(home.path("tollgate.toml"), "providers = \"providers.d\"\nlimits = \"caps\"\n").unwrap();
    check(&["tollgate.toml"], 0, "1 limit: ok", "");
    check(&[], 0, "1 limit: ok", "");
    fs::write(home.path("tollgate.toml"), "").unwrap();
    check(&["--limits", "caps"], 0, "1 limit: ok", "");
    fs::rename(home.path("caps"), home.path("limits.d")).unwrap();
    fs::remove_dir_all(home.providers()).unwrap();
    let said = home.run(&["check", "limits.d/team.toml"], "");
    assert!(said.code == 1 && said.err.contains("no provider is named `good`"), "{said:?}");
    assert!(said.out.contains("the built-in provider files"), "{said:?}");
}

#[test]
fn findings_about_limits_are_in_every_format() {
    let home = Home::new(&[("good", GOOD)]);
    fs::create_dir(home.path("limits.d")).unwrap();
    fs::write(home.path("limits.d/team.toml"), limit("a", "god")).unwrap();
    for args in [&["providers.d"][..], &["limits.d/team.toml"], &["limits.d"]] {
        let run = |format: &str| home.run(&[&["check", "--format", format], args].concat(), "");
        let said = run("json");
        let document = json(&said);
        let finding = &document["findings"][0];
        assert_eq!(
            (said.code, &document["errors"], &finding["code"]),
            (1, &1.into(), &"TG090".into()),
            "{said:?}"
        );
        assert_eq!(
            (&finding["span"]["file"], &finding["span"]["start"]["line"]),
            (&"limits.d/team.toml".into(), &2.into())
        );
        assert!(document["files"].as_array().unwrap().contains(&"limits.d/team.toml".into()), "{document}");
        let said = run("github");
        assert!(said.out.starts_with("::error file=limits.d/team.toml,line=2,"), "{said:?}");
        let document = json(&run("sarif"));
        let result = &document["runs"][0]["results"][0];
        assert_eq!(result["ruleId"], "TG090", "{document}");
        let place = &result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
        assert_eq!(place, "limits.d/team.toml", "{document}");
    }
}

#[test]
fn other_commands_read_providers_beside_limits() {
    let home = Home::new(&[("good", GOOD)]);
    fs::create_dir(home.path("limits.d")).unwrap();
    fs::write(home.path("limits.d/team.toml"), limit("a", "good")).unwrap();
    fs::write(home.path("policy.toml"), "[[https]]\nname = \"no plain http\"\n").unwrap();
    for args in
        [&["test"][..], &["test", "providers.d"], &["test", "limits.d/team.toml"], &["prove"], &["routes"]]
    {
        let said = home.run(args, "");
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{args:?} {said:?}");
    }
}
