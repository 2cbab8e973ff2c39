//! Files of limits in a running tollgate: a start that would limit nothing is refused, and a file that breaks keeps its last good
//! version, in the status, on the page and after a restart.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Api, Home, Site, World, over_socket};

const SERVE: &[&str] = &["serve", "--listen", "127.0.0.1:0"];

/// A file with the limit `a`.
fn limits(requests: u32) -> String {
    format!("[[limit]]\nid = \"a\"\nrequests = {requests}\nwindow = {{ every = \"day\" }}\n")
}

fn write(home: &Home, text: &str) {
    fs::create_dir_all(home.path("limits.d")).unwrap();
    fs::write(home.path("limits.d/team.toml"), text).unwrap();
}

/// The state of `team.toml`; null if it is not listed.
fn state(status: &Value) -> &Value {
    let is_team = |one: &&Value| one["file"].as_str().unwrap().ends_with("/limits.d/team.toml");
    status["files"].as_array().unwrap().iter().find(is_team).map_or(&Value::Null, |one| &one["state"])
}

#[test]
fn a_start_that_would_limit_nothing_is_refused() {
    let site = Site::stopped("a=1");
    let home = &site.home;
    let check = |text: &str, args: &[&str], parts: &[&str]| {
        write(home, text);
        let said = home.run(&[SERVE, args].concat(), "");
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
        for part in parts {
            assert!(said.err.contains(part), "{part}: {said:?}");
        }
    };
    let refused = "limits.d` has errors, and no last good version: mend it first, since what it limits would be unlimited";
    check("limit = \n", &[], &["error[TG003]", "limits.d/team.toml:1:", refused]);
    check(&limits(1).replace("day", "year"), &[], &["limits.d/team.toml:4:", refused]);
    check(&limits(1).replace("day", "year"), &["--log-format", "json"], &["limits.d/team.toml:4:", refused]);
    check("limit = \n", &["--strict"], &["error[TG003]", "`--strict` is on"]);
    let unknown = limits(1).replace("requests", "match.provider = [\"b\"]\nrequests");
    check(&unknown, &[], &["error[TG090]", "no provider is named `b`", "limits.d/team.toml:2:", refused]);
    fs::write(home.path("limits.d/other.toml"), limits(1)).unwrap();
    check(
        &limits(1),
        &[],
        &["error[TG090]", "another file has a limit `a`, too", "limits.d/team.toml:2:", refused],
    );
    fs::remove_file(home.path("limits.d/other.toml")).unwrap();
    write(home, "limit = \n");
    fs::rename(home.path("limits.d"), home.path("caps")).unwrap();
    let said = home.run(&[SERVE, &["--limits", "caps"]].concat(), "");
    assert!(said.code == 1 && said.err.contains("a file of limits in `caps` has errors"), "{said:?}");
    let said = home.run(&[SERVE, &["--limits", "gone"]].concat(), "");
    assert!(
        said.code == 1 && said.err.contains("`--limits` cannot be `gone`: there is no such directory"),
        "{said:?}"
    );
}

#[test]
fn a_file_that_breaks_keeps_its_last_good_version() {
    let mut site = Site::stopped("a=1");
    write(&site.home, &limits(1));
    site.start(&[]);
    assert_eq!(state(&site.status()), "live");
    write(&site.home, "limit = \n");
    let status = site.reload();
    assert_eq!((state(&status), &status["ok"]), (&json!("stale"), &json!(false)), "{status}");
    let said = site.home.run(&["status"], "");
    assert!(
        said.code == 1 && said.out.contains("limits.d/team.toml:1:") && said.out.contains("stale"),
        "{said:?}"
    );
    // The texts that serve are those that count.
    let (code, served) = over_socket(&site.home.data(), "GET /admin/providers/files");
    assert_eq!(
        (code, served["texts"].as_object().unwrap().values().any(|text| *text == limits(1))),
        (200, true)
    );
    let data = site.home.data().display().to_string();
    let said = site.home.run(&["diff", &format!("socket:{data}"), "providers.d"], "");
    assert!(said.code == 2 && said.err.contains("limits.d/team.toml"), "{said:?}");
    // A copy, which the server does not read.
    for dir in ["copy/providers.d", "copy/limits.d"] {
        fs::create_dir_all(site.home.path(dir)).unwrap();
    }
    fs::copy(site.file("a"), site.home.path("copy/providers.d/a.toml")).unwrap();
    fs::write(site.home.path("copy/limits.d/team.toml"), limits(2)).unwrap();
    let said = site.home.run(&["diff", &format!("socket:{data}"), "copy/providers.d"], "");
    assert!(said.code == 4 && said.out.contains("the amount is larger"), "{said:?}");
    site.stop(Signal::TERM);
    site.start(&[]);
    assert_eq!(state(&site.status()), "stale");
    site.serves("a=1");
    fs::remove_dir_all(site.home.path("limits.d")).unwrap();
    let status = site.reload();
    assert_eq!(state(&status), "stale");
    let problem = status["problem"].as_str().unwrap();
    assert!(problem.contains("limits.d` is missing; to have no limits any more"), "{problem}");
    fs::create_dir(site.home.path("limits.d")).unwrap();
    let status = site.reload();
    assert_eq!((state(&status), &status["ok"]), (&Value::Null, &json!(true)), "{status}");
}

/// What serves stays, and so does the next start.
#[test]
fn a_text_that_does_not_fit_what_serves_keeps_the_last_good_version() {
    let mut site = Site::stopped("a=1");
    write(&site.home, &limits(1));
    site.start(&[]);
    write(&site.home, &limits(2).replace("requests", "match.provider = [\"b\"]\nrequests"));
    let status = site.reload();
    assert_eq!((state(&status), &status["ok"]), (&json!("stale"), &json!(false)), "{status}");
    assert!(status.to_string().contains("no provider is named `b`"), "{status}");
    site.stop(Signal::TERM);
    site.start(&[]);
    assert_eq!(state(&site.status()), "stale");
    // A provider that goes takes no limit with it, also at the next start.
    site.write("b", "1");
    assert_eq!(state(&site.reload()), "live");
    fs::remove_file(site.file("b")).unwrap();
    let status = site.reload();
    assert_eq!((state(&status), &status["ok"]), (&json!("live"), &json!(false)), "{status}");
    site.stop(Signal::TERM);
    site.start(&[]);
    assert_eq!(state(&site.status()), "live");
}

#[test]
fn names_that_no_account_has_are_logged() {
    let mut site = Site::stopped("a=1");
    write(&site.home, &limits(1).replace("requests", "match.group = [\"enginers\"]\nrequests"));
    site.start(&[]);
    let told = site.logs(0, &["limits name users or groups that no account has", "`enginers`"]);
    write(&site.home, &limits(1).replace("requests", "except = { alise = \"none\" }\nrequests"));
    site.reload();
    let line = site.logs(told + 1, &["limits name users or groups that no account has", "`alise`"]);
    assert!(!site.gateway().log()[line].contains("enginers"));
}

/// The built-in providers have no directory that a policy could be beside.
#[test]
fn a_policy_beside_limits_holds_for_the_built_in_providers() {
    let home = Home::new(&[]);
    fs::remove_dir(home.providers()).unwrap();
    let run = |args: &[&str]| home.run_without_providers(args);
    write(&home, &limits(1));
    let policy = |measure: &str| {
        let text = format!("[[limits]]\nname = \"all\"\nmeasure = \"{measure}\"\n");
        fs::write(home.path("policy.toml"), text).unwrap();
    };
    policy("requests");
    for args in [
        &["check"][..],
        &["check", "policy.toml"],
        &["check", "limits.d"],
        &["prove"],
        &["prove", "limits.d"],
    ] {
        let said = run(args);
        assert_eq!(said.code, 0, "{args:?}: {said:?}");
    }
    assert!(run(&["prove"]).out.contains("holds   all (policy.toml:2:8)"));
    policy("concurrent");
    for (args, expected) in [
        (&["check"][..], "breaks the policy \"all\""),
        (&["check", "policy.toml"], "breaks the policy \"all\""),
        (&["prove"], "BROKEN  all"),
    ] {
        let said = run(args);
        assert!(said.code == 1 && (said.out + &said.err).contains(expected), "{args:?}");
    }
    // What no limit of tokens sees is a note, and a warning of `check`.
    policy("cost");
    write(&home, "[[limit]]\nid = \"a\"\ncost = \"1 USD\"\nwindow = \"total\"\nno_price = \"reject\"\n");
    let said = run(&["prove"]);
    assert!(said.code == 0 && said.out.contains("  note: no limit of `cost` counts calls of"), "{said:?}");
    let said = run(&["prove", "--format", "json"]);
    let document: Value = serde_json::from_str(&said.out).unwrap();
    assert!(document["rules"][0]["notes"][0]["provider"].is_string(), "{document}");
    let said = run(&["check"]);
    assert!(said.code == 0 && said.err.contains("warning[TG091]"), "{said:?}");
}

#[test]
fn a_text_is_checked_as_a_file_of_limits() {
    let world = World::new();
    let api = Api::admin(&world);
    let check =
        |file: &str, text: &str| api.done("POST /admin/check", &json!({ "file": file, "text": text }));
    let checked = check("limits.d/team.toml", &limits(1));
    assert_eq!((&checked["ok"], &checked["widens"]), (&json!(true), &json!(false)), "{checked}");
    assert!(checked["file"].as_str().unwrap().ends_with("/limits.d/team.toml"), "{checked}");
    assert_eq!(checked["diff"]["limits"][0]["name"], "a", "{checked}");
    let checked =
        check("limits.d/team.toml", &limits(1).replace("requests", "match.provider = [\"tt\"]\nrequests"));
    assert_eq!(
        (&checked["ok"], &checked["findings"][0]["code"]),
        (&json!(false), &json!("TG090")),
        "{checked}"
    );
    write(&world.home, &limits(1));
    over_socket(&world.home.data(), "POST /admin/reload");
    let checked = check("limits.d/team.toml", &limits(2));
    assert_eq!((&checked["ok"], &checked["widens"]), (&json!(true), &json!(true)), "{checked}");
    let checked = check("limits.d/other.toml", &limits(2));
    assert_eq!(
        (&checked["ok"], &checked["findings"][0]["code"]),
        (&json!(false), &json!("TG090")),
        "{checked}"
    );
}
