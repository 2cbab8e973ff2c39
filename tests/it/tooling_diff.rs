//! `tollgate diff`, `tollgate prove`, and policies in `check` and `serve`: over directories, a Git repository and a
//! running server.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use serde_json::Value;

use crate::harness::{CommandOutput, Home, Site, over_socket};

const DEMO: &str = "title = \"Demo\"\nbase_url = \"https://demo.example\"\npath_prefix = \"/demo\"\n[endpoint.get]\nmethod = \"GET\"\npath = \"/get\"\n";
const HTTPS: &str = "[[https]]\nname = \"nobody's plain http\"\n";

fn git(home: &Home, args: &[&str]) {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=t", "-c", "user.email=t@example", "-c", "init.defaultBranch=main"]);
    let output = command.args(args).current_dir(home.path("")).output().expect("git runs");
    assert!(output.status.success(), "git {args:?}: {output:?}");
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
fn a_revision_is_compared_with_the_current_files() {
    let home = Home::new(&[("demo", DEMO), ("presets/one", "path_prefix = \"/{provider}\"\n")]);
    git(&home, &["init", "-q"]);
    git(&home, &["add", "providers.d"]);
    git(&home, &["commit", "-qm", "first"]);
    let diff = |new: &str, more: &[&str]| home.run(&[&["diff", "HEAD:providers.d", new], more].concat(), "");
    check(&diff("providers.d", &[]), 0, &["the same"], &[]);
    home.write("demo", &DEMO.replace("\"/get\"", "\"/get\"\ntimeouts = { idle = \"9s\" }"));
    check(&diff("providers.d", &[]), 1, &["different: 1 provider changed", "+ timeouts get"], &[]);
    home.write("demo", &DEMO.replace("\"/get\"", "\"/{any...}\""));
    home.write("other", &DEMO.replace("demo", "other"));
    check(
        &diff("providers.d", &[]),
        4,
        &["1 provider changed, 1 provider added", "WIDENS: a new endpoint"],
        &[],
    );
    let said = diff("providers.d", &["--format", "json"]);
    let document: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, &document["verdict"]), (4, &"widened".into()), "{document}");
    let said = diff("providers.d", &["--format", "markdown"]);
    check(&said, 4, &["### tollgate: WIDENED", "| <code>other</code> |", "<details>"], &[]);
    git(&home, &["commit", "-qam", "second"]);
    // Also from a subdirectory of the repository, and by a tag.
    git(&home, &["tag", "v2"]);
    check(&home.run(&["diff", "v2~1:providers.d", "v2:providers.d"], ""), 4, &["demo changed"], &[]);
}

/// Git revisions are read as a server would read their checkout: each case is compared with the files on disk, too.
#[test]
fn a_revision_is_read_as_its_checkout() {
    let home = Home::new(&[("demo", DEMO), ("deep/other", &DEMO.replace("demo", "other"))]);
    let providers = home.providers().to_owned();
    let link = |target: &str, name: &str| symlink(target, providers.join(name)).unwrap();
    link("deep/other.toml", "other.toml");
    fs::create_dir(home.path("shared")).unwrap();
    fs::write(home.path("shared/one.toml"), "path_prefix = \"/{provider}\"\n").unwrap();
    symlink("providers.d", home.path("current")).unwrap();
    git(&home, &["init", "-q"]);
    git(&home, &["add", "."]);
    git(&home, &["commit", "-qm", "first"]);
    let diff = |old: &str, new: &str| home.run(&["diff", old, new], "");
    for old in
        ["HEAD:providers.d", "HEAD:current", "HEAD:current/", "HEAD:./providers.d", "HEAD^{/first: none}:x"]
    {
        let code = if old.ends_with('x') { 2 } else { 0 };
        check(&diff(old, "providers.d"), code, &[], &[]);
    }
    // A change behind a link, and a provider that is a link.
    let changed = DEMO.replace("demo", "other").replace("\"/get\"", "\"/{any...}\"");
    fs::write(providers.join("deep/other.toml"), changed).unwrap();
    link("demo.toml", "third.toml");
    fs::write(providers.join("third.toml.new"), "").unwrap();
    check(&diff("HEAD:providers.d", "providers.d"), 4, &["other changed", "WIDENS"], &[]);
    git(&home, &["add", "."]);
    git(&home, &["commit", "-qm", "second"]);
    let both = [diff("HEAD~:providers.d", "HEAD:providers.d"), diff("HEAD~:providers.d", "providers.d")];
    assert_eq!((both[0].code, &both[0].out), (both[1].code, &both[1].out));
    check(&diff("HEAD:providers.d", "providers.d"), 0, &["the same"], &[]);
}

#[test]
fn what_a_revision_lacks_is_an_error() {
    let home = Home::new(&[("demo", DEMO)]);
    git(&home, &["init", "-q"]);
    git(&home, &["add", "."]);
    git(&home, &["commit", "-qm", "first"]);
    let bad = |set_up: &dyn Fn(&Path), expected: &str| {
        set_up(home.providers());
        git(&home, &["add", "-A", "."]);
        git(&home, &["commit", "-qm", "bad"]);
        for args in [["HEAD~:providers.d", "HEAD:providers.d"], ["HEAD:providers.d", "HEAD:providers.d"]] {
            let said = home.run(&["diff", args[0], args[1]], "");
            check(&said, 2, &[], &[expected]);
            assert_eq!(said.out, "", "{said:?}");
        }
        git(&home, &["reset", "-q", "--hard", "HEAD~"]);
    };
    let link = |target: &'static str| move |dir: &Path| symlink(target, dir.join("x.toml")).unwrap();
    bad(&link("/etc/x.toml"), "a link to `/etc/x.toml`, outside the repository");
    bad(&link("../../x.toml"), "a link to `../../x.toml`, outside the repository");
    bad(&link("../x.toml"), "a link that leads nowhere");
    bad(&link("x.toml"), "a link that leads to itself");
    bad(&|dir| symlink("../../presets", dir.join("presets")).unwrap(), "outside the repository");
    bad(
        &|dir| fs::create_dir(dir.join("x.toml")).and_then(|()| fs::write(dir.join("x.toml/y"), "")).unwrap(),
        "is a directory",
    );
    let lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    bad(&|dir| fs::write(dir.join("x.toml"), lfs).unwrap(), "a pointer of Git LFS");
    let attribute = |line: &'static str| {
        move |dir: &Path| {
            fs::write(dir.join("x.toml"), format!("{DEMO}# $Id$\n")).unwrap();
            fs::write(dir.join(".gitattributes"), line).unwrap();
        }
    };
    bad(&attribute("*.toml filter=vault\n"), "has the Git filter `vault`");
    bad(&attribute("*.toml working-tree-encoding=UTF-16LE-BOM\n"), "is checked out as UTF-16LE-BOM");
    bad(&attribute("*.toml ident\n"), "has the attribute `ident`");
    bad(
        &|dir| fs::write(dir.join("x.toml"), vec![b'#'; (1 << 20) + 1]).unwrap(),
        "is larger than 1048576 bytes",
    );
    // A submodule in place of a folder.
    let submodule = "160000,1234567890123456789012345678901234567890,providers.d/presets";
    git(&home, &["update-index", "--add", "--cacheinfo", submodule]);
    git(&home, &["commit", "-qm", "submodule"]);
    let said = home.run(&["diff", "HEAD:providers.d", "HEAD:providers.d"], "");
    check(&said, 2, &[], &["`providers.d/presets`: is in the submodule `providers.d/presets`"]);
    // Line ends are no difference.
    git(&home, &["reset", "-q", "--hard", "HEAD~"]);
    fs::write(home.path(".gitattributes"), "*.toml eol=crlf\n").unwrap();
    fs::write(home.providers().join("demo.toml"), DEMO.replace('\n', "\r\n")).unwrap();
    git(&home, &["add", "."]);
    git(&home, &["commit", "-qm", "crlf"]);
    check(&home.run(&["diff", "HEAD~:providers.d", "providers.d"], ""), 0, &["the same"], &[]);
    check(&home.run(&["diff", "HEAD:providers.d", "HEAD~:providers.d"], ""), 0, &["the same"], &[]);
}

#[test]
fn a_failed_comparison_is_not_a_difference() {
    let home = Home::new(&[("demo", DEMO)]);
    git(&home, &["init", "-q"]);
    for (old, said) in [
        ("nowhere", "is no directory, no `REV:PATH`"),
        ("HEAD:providers.d", "git failed: "),
        ("--output=x:y", "git failed: "),
        ("socket:nowhere", "no tollgate serves from `nowhere`"),
        ("/", "`/` has no provider file"),
    ] {
        check(&home.run(&["diff", "--", old, "providers.d"], ""), 2, &[], &[said]);
    }
    fs::create_dir(home.path("new")).unwrap();
    fs::write(home.path("new/demo.toml"), "title = 1").unwrap();
    check(&home.run(&["diff", "providers.d", "new"], ""), 2, &[], &["TG011", "mend them first"]);
    let failing =
        "[[test]]\nname = \"gone\"\nrequest = { path = \"/demo/get\" }\nexpect = { status = 404 }\n";
    fs::write(home.path("new/demo.toml"), format!("{DEMO}{failing}")).unwrap();
    check(&home.run(&["diff", "providers.d", "new"], ""), 2, &[], &["TG050", "gone", "mend them first"]);
    // Tests of OLD do not matter.
    check(&home.run(&["diff", "new", "providers.d"], ""), 0, &["the same"], &[]);
    fs::write(home.path("new/demo.toml"), "title = 1").unwrap();
    // A fix adds a provider that did not serve before.
    check(
        &home.run(&["diff", "new", "providers.d"], ""),
        4,
        &["demo added"],
        &["providers with errors count as missing"],
    );
}

#[test]
fn a_directory_is_compared_with_a_running_server() {
    let site = Site::new("a=1 b=1", &[]);
    let socket = format!("socket:{}", site.home.data().display());
    check(&site.home.run(&["diff", &socket, "providers.d"], ""), 0, &["the same"], &[]);
    site.write("b", "2");
    site.serves("a=1 b=2");
    check(&site.home.run(&["diff", &socket, "providers.d"], ""), 0, &["the same"], &[]);
    // A stale provider serves its last good version.
    fs::write(site.file("b"), "title = 1").unwrap();
    site.serves("a=1 b=2~");
    let (code, texts) = over_socket(&site.home.data(), "GET /admin/providers/files");
    assert_eq!(code, 200);
    let hash = texts["providers"]["b"][0]["sha256"].as_str().unwrap();
    assert!(texts["texts"][hash].as_str().unwrap().contains("b 2"), "{texts}");
    site.write("b", "3");
    site.serves("a=1 b=3");
    fs::remove_file(site.file("a")).unwrap();
    check(&site.home.run(&["diff", "providers.d", &socket], ""), 4, &["a added"], &[]);
}

#[test]
fn the_texts_are_not_served_over_http() {
    let site = Site::new("a=1", &[]);
    let admin = site.home.done(&["token", "add", "--admin"], "");
    let mut client = crate::harness::Wire::connect(site.gateway().address);
    client.send(format!(
        "GET /admin/providers/files HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\n\r\n",
        admin.trim_end()
    ));
    assert_eq!(client.answer().unwrap().head.status(), 404);
}

#[test]
fn rules_are_proved_and_refuted() {
    let http = DEMO.replace("https://", "http://");
    let home = Home::new(&[("demo", DEMO)]);
    let policy = |text: &str| fs::write(home.path("policy.toml"), text).unwrap();
    check(&home.run(&["prove"], ""), 2, &[], &["there is no policy: write `", "policy.toml`"]);
    policy(HTTPS);
    check(&home.run(&["prove"], ""), 0, &["holds   nobody's plain http", "1 rule: 1 holds, 0 broken"], &[]);
    check(&home.run(&["check"], ""), 0, &[": ok"], &[]);
    home.write("demo", &http);
    let way = [
        "policy.toml:2:8",
        "demo.toml:2:12: `http://demo.example` is called over plain http",
        "`GET /demo/get`",
    ];
    check(&home.run(&["prove"], ""), 1, &way, &[]);
    let said = home.run(&["prove", "providers.d", "--format", "json"], "");
    let document: Value = serde_json::from_str(&said.out).unwrap();
    let breach = &document["rules"][0]["breaches"][0];
    assert_eq!((said.code, &breach["at"]["line"]), (1, &2.into()), "{document}");
    assert_eq!(breach["example"]["request"], "GET /demo/get");
    check(
        &home.run(&["check"], ""),
        1,
        &[],
        &["error[TG070]", "breaks the policy \"nobody's plain http\"", "policy.toml:2:8"],
    );
    // Another policy for one command.
    fs::write(home.path("other.toml"), format!("{HTTPS}allow = [\"http://demo.*\"]\n")).unwrap();
    check(&home.run(&["prove", "--policy", "other.toml"], ""), 0, &["holds"], &[]);
    check(&home.run(&["prove", "--policy", "gone.toml"], ""), 2, &[], &["`gone.toml` does not exist"]);
    for (text, said) in [
        ("[[htps]]\nname = \"x\"\n", "did you mean `https`?"),
        ("x =", "TG003"),
        ("[[headers]]\nname = \"x\"\nnever = []\n", "TG028"),
    ] {
        policy(text);
        check(&home.run(&["prove"], ""), 2, &[], &[said, "nothing can be proved"]);
        check(&home.run(&["check"], ""), 1, &[], &[said]);
    }
}

/// A file of few bytes and a policy of few bytes: the product of the globs has millions of states.
fn undecidable() -> (String, &'static str) {
    let rotated = |by: usize| {
        let letters = "abcdefgh".chars().cycle().skip(by).take(8);
        format!(", \"{}q\"", letters.fold(String::new(), |glob, letter| format!("{glob}*{letter}")))
    };
    let globs: String = (0..8).map(rotated).collect();
    let text = format!("headers = {{ remove = [\"*y\"{globs}] }}\n");
    (text, "[[headers]]\nname = \"no y\"\nnever = [\"x-*y\"]\n")
}

#[test]
fn rule_that_cannot_be_decided_counts_as_broken() {
    let (globs, policy) = undecidable();
    let home = Home::new(&[("demo", &format!("{globs}{DEMO}"))]);
    fs::write(home.path("policy.toml"), policy).unwrap();
    let reason = "it cannot be decided whether a header of `x-*y` goes out: the product of the globs of `remove` has more than 16384 states";
    check(&home.run(&["prove"], ""), 1, &["CANNOT BE DECIDED  no y", reason, "0 hold, 1 broken"], &[]);
    let said = home.run(&["prove", "--format", "json"], "");
    let document: Value = serde_json::from_str(&said.out).unwrap();
    let rule = &document["rules"][0];
    assert_eq!(
        (said.code, &rule["outcome"], &rule["holds"]),
        (1, &"undecided".into(), &false.into()),
        "{document}"
    );
    assert_eq!(
        (&rule["breaches"][0]["what"], &document["holds"]),
        (&reason.into(), &false.into()),
        "{document}"
    );
    check(&home.run(&["check"], ""), 1, &[], &["error[TG070]", "may break the policy \"no y\"", reason]);
    for format in ["json", "github", "sarif"] {
        check(&home.run(&["check", "--format", format], ""), 1, &["TG070", "16384 states"], &[]);
    }
}

#[test]
fn file_that_the_policy_cannot_be_proved_for_is_stale() {
    let site = Site::new("a=1 b=1", &[]);
    site.serves("a=1 b=1");
    let (globs, policy) = undecidable();
    write_policy(&site, policy);
    // What removes `y` keeps to the policy. Nothing removes it in `a`.
    fs::write(site.file("b"), format!("headers = {{ remove = [\"*y\"] }}\n{}", site.text("b", "2"))).unwrap();
    site.serves("a=1~ b=2");
    fs::write(site.file("b"), format!("{globs}{}", site.text("b", "3"))).unwrap();
    site.serves("a=1~ b=2~");
    check(&site.home.run(&["status"], ""), 1, &["TG070", "it cannot be decided"], &[]);
}

/// Writes the policy of a site.
fn write_policy(site: &Site, text: &str) {
    fs::write(site.home.path("policy.toml"), text).unwrap();
}

#[test]
fn served_files_obey_the_policy() {
    let site = Site::new("a=1", &[]);
    // The policy allows the test's upstream alone.
    write_policy(
        &site,
        "[[endpoints]]\nname = \"these paths\"\npaths = [\"/a/*\", \"/b/get\", \"/b/stream\"]\n",
    );
    site.write("b", "1");
    site.serves("a=1 b=1");
    let wider = |version: &str| {
        format!("{}[endpoint.more]\nmethod = \"GET\"\npath = \"/more\"\n", site.text("b", version))
    };
    fs::write(site.file("b"), wider("2")).unwrap();
    site.serves("a=1 b=1~");
    let said = site.home.run(&["status"], "");
    check(&said, 1, &["TG070", "breaks the policy \"these paths\"", "policy.toml:2:8"], &[]);
    site.write("c", "1");
    site.serves("a=1 b=1~ c=config_rejected");
    // The policy allows the files now; they need no edit.
    write_policy(&site, "[[endpoints]]\nname = \"these paths\"\npaths = [\"/*\"]\n");
    site.serves("a=1 b=2 c=1");
    // An unreadable policy is not an absent one: good versions keep serving, and no change is adopted.
    write_policy(&site, "[[endpoint");
    site.write("a", "2");
    site.serves("a=1~ b=2~ c=1~");
    fs::remove_file(site.home.path("policy.toml")).unwrap();
    site.serves("a=2 b=2 c=1");
}

#[test]
fn a_new_policy_applies_to_files_that_serve_already() {
    let mut site = Site::new("a=1", &[]);
    site.serves("a=1");
    write_policy(&site, HTTPS);
    site.serves("a=1~");
    // Also after a restart.
    site.stop(rustix::process::Signal::TERM);
    site.start(&[]);
    site.serves("a=1~");
    assert!(Path::new(&site.home.path("policy.toml")).exists());
    write_policy(&site, &format!("{HTTPS}allow = [\"http://127.0.0.1:*\"]\n"));
    site.serves("a=1");
}

#[test]
fn limits_are_compared_with_the_directory_that_they_are_beside() {
    let home = Home::new(&[("demo", DEMO)]);
    let limit = |requests: u32| {
        format!("[[limit]]\nid = \"a\"\nrequests = {requests}\nwindow = {{ every = \"day\" }}\n")
    };
    let team = home.path("limits.d/team.toml");
    fs::create_dir(home.path("limits.d")).unwrap();
    fs::write(&team, limit(1)).unwrap();
    git(&home, &["init", "-q"]);
    git(&home, &["add", "."]);
    git(&home, &["commit", "-qm", "first"]);
    let diff = |old: &str, new: &str| home.run(&["diff", old, new], "");
    check(&diff("HEAD:providers.d", "providers.d"), 0, &["the same"], &[]);
    fs::write(&team, limit(2)).unwrap();
    let wider =
        ["WIDENED: 1 limit changed; 1 change widens exposure", "limit a", "WIDENS: the amount is larger"];
    check(&diff("HEAD:providers.d", "providers.d"), 4, &wider, &[]);
    git(&home, &["commit", "-qam", "second"]);
    check(&diff("HEAD~:providers.d", "HEAD:providers.d"), 4, &wider, &[]);
    check(&diff("HEAD~:./providers.d/", "HEAD:providers.d"), 4, &wider, &[]);
    check(
        &diff("HEAD:providers.d", "HEAD~:providers.d"),
        1,
        &["different: 1 limit changed; nothing widens"],
        &[],
    );
    fs::remove_file(&team).unwrap();
    check(&diff("HEAD:providers.d", "providers.d"), 4, &["nothing has this limit any more"], &[]);
    let said = home.run(&["diff", "HEAD~:providers.d", "HEAD:providers.d", "--format", "json"], "");
    let document: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (&document["limits"][0]["name"], &document["verdict"]),
        (&"a".into(), &"widened".into()),
        "{document}"
    );
    // An error is shown at its place in the revision.
    fs::write(&team, limit(0)).unwrap();
    git(&home, &["commit", "-qam", "third"]);
    check(&diff("HEAD~:providers.d", "HEAD:providers.d"), 2, &[], &["HEAD:limits.d/team.toml:3:"]);
}
