//! Files that take more work or memory than a file may take: each is rejected, and all others serve.

use std::fmt::Write as _;

use super::*;
use crate::{
    base::{
        budget::{MAX_BYTES, MAX_STEPS, Used},
        diag::{Code, MAX_FINDINGS},
        name::FileName,
    },
    shipped,
};

fn head(name: &str) -> String {
    format!("title = \"X\"\nbase_url = \"https://x.example\"\npath_prefix = \"/{name}\"\n")
}

fn endpoints(count: usize, path: impl Fn(usize) -> String) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        writeln!(text, "[endpoint.e{number}]\nmethod = \"GET\"\npath = \"{}\"", path(number)).unwrap();
        text
    })
}

/// Checks a file beside an ordinary one. It exceeds its budget, and that is all that is reported of it.
fn check_over(text: &str, problem: &str) {
    let good = format!("{}{}", head("good"), endpoints(1, |_| "/one".into()));
    let loaded = shipped::load_with(&[("costly.toml", text), ("good.toml", &good)]);
    let (compiled, _, found) = check(&loaded);
    let errors: Vec<_> = found.iter().filter(|one| one.is_error()).collect();
    assert!(errors.len() == 1 && errors[0].code == Code::Budget, "{errors:?}");
    assert_eq!((&*errors[0].at.file, errors[0].message.as_str()), ("costly.toml", problem));
    assert!(errors[0].help.is_some());
    let steps = compiled.budgets.used().steps;
    assert!(steps < 2 * MAX_STEPS, "{problem}: {steps}");
    let assembled = assemble(&loaded, |_| Ok(None));
    let serving: Vec<_> = assembled.providers.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(serving, ["good"], "{problem}");
    assert_eq!(assembled.diagnostics.iter().filter(|one| one.is_error()).count(), 1);
}

const TOO_MANY_STEPS: &str = "the file takes more than 50 million steps to judge";
const TOO_MUCH_MEMORY: &str = "the file takes more than 64 MiB of memory to judge";

#[test]
fn rules_that_all_endpoints_repeat_are_bounded() {
    let reply = format!("reply = {{ status = 500, message = \"{}\" }}", "m".repeat(1000));
    let rules = format!("[[response]]\nwhen = {{ status = 400 }}\n{reply}\n").repeat(64);
    check_over(&format!("{}{}{rules}", head("p"), endpoints(1000, |n| format!("/{n}"))), TOO_MUCH_MEMORY);
}

#[test]
fn paths_that_have_to_be_compared_are_bounded() {
    let aliases = |n: usize| (0..8).fold(String::new(), |all, m| format!("{all}\"/p/a{n}_{m}x{{a}}\", "));
    let path = |n: usize| format!("/e{n}x{{a}}\"\naliases = [{}]\nupstream_path = \"/{{a}}", aliases(n));
    check_over(&format!("{}{}", head("p"), endpoints(400, path)), TOO_MANY_STEPS);
}

#[test]
fn tests_of_a_large_provider_are_bounded() {
    let test = "[[test]]\nname = \"t\"\nrequest = { path = \"/p/1\" }\nexpect = { status = 200 }\n";
    let endpoints = endpoints(1000, |n| format!("/{n}"));
    check_over(&format!("{}{endpoints}{}", head("p"), test.repeat(2000)), TOO_MANY_STEPS);
}

#[test]
fn values_that_templates_repeat_are_bounded() {
    let headers = (0..200).fold(String::new(), |all, n| format!("{all}x-{n} = \"{}\"\n", "{v}".repeat(300)));
    let test = format!(
        "[[test]]\nname = \"t\"\nvars = {{ v = \"{}\" }}\nrequest = {{ path = \"/p/0\" }}\nexpect = {{ status = 200 }}\n",
        "v".repeat(400_000)
    );
    let vars = "[vars]\nv = { env = \"V\" }\n[headers.set]\n";
    check_over(
        &format!("{}{vars}{headers}{}{test}", head("p"), endpoints(1, |n| format!("/{n}"))),
        TOO_MANY_STEPS,
    );
}

/// The later one of two files pays for the comparison of both; the one that serves stays.
#[test]
fn comparing_files_is_bounded() {
    let file = |letter: &str| {
        let aliases =
            |n: usize| (0..8).fold(String::new(), |all, m| format!("{all}\"/p/{letter}{n}_{m}x{{a}}\", "));
        let path =
            |n: usize| format!("/{letter}{n}x{{a}}\"\naliases = [{}]\nupstream_path = \"/{{a}}", aliases(n));
        format!("{}{}", head("p"), endpoints(16, path))
    };
    let mut loaded = shipped::load_with(&[("a.toml", &file("a")), ("b.toml", &file("b"))]);
    // Enough to judge the file alone, and less than a step for each pair of paths.
    let (alone, _, _) = check(&shipped::load_with(&[("b.toml", &file("b"))]));
    let steps = alone.budgets.of("b.toml").used().steps + 16 * 9 * 16 * 9;
    leave(&mut loaded, "b", Used { steps, ..HALF });
    let assembled = assemble(&loaded, |_| Ok(None));
    let errors: Vec<_> = assembled.diagnostics.iter().filter(|one| one.is_error()).collect();
    assert!(
        errors.len() == 1 && errors[0].code == Code::Budget && &*errors[0].at.file == "b.toml",
        "{errors:?}"
    );
    assert_eq!(errors[0].message, TOO_MANY_STEPS);
    let serving: Vec<_> = assembled.providers.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(serving, ["a"]);
    let found = check(&loaded).2;
    let errors: Vec<_> =
        found.iter().filter(|one| one.is_error()).map(|one| (&*one.at.file, one.code)).collect();
    assert_eq!(errors, [("b.toml", Code::Budget)]);
}

fn repeat(count: usize, piece: impl Fn(usize) -> String) -> String {
    (0..count).map(piece).collect()
}

/// Half of a budget.
const HALF: Used = Used { steps: MAX_STEPS / 2, bytes: MAX_BYTES / 2 };

/// Judges a provider that has this left of its budget, under a policy. Returns its errors and the steps it took.
fn under_policy(text: &str, policy: &str, left: Used) -> (Vec<Diagnostic>, u64) {
    let mut loaded = shipped::load_with(&[("p.toml", text), ("../policy.toml", policy)]);
    assert_eq!(loaded.diagnostics, []);
    leave(&mut loaded, "p", left);
    let before = MAX_STEPS - left.steps;
    let (compiled, _, found) = check(&loaded);
    let errors = found.into_iter().filter(Diagnostic::is_error).collect();
    (errors, compiled.budgets.of("p.toml").used().steps - before)
}

/// Charges the budget of a provider, so that so much is left of it.
fn leave(loaded: &mut Loaded, name: &str, left: Used) {
    let parsed = loaded.files.providers.get_mut(&FileName::new(name).unwrap()).unwrap().as_mut().unwrap();
    parsed.used = Used { steps: MAX_STEPS - left.steps, bytes: MAX_BYTES - left.bytes };
}

#[test]
fn breaches_of_a_policy_are_bounded() {
    let text = format!("{}{}", head("p"), endpoints(60, |n| format!("/{n}")));
    let names = repeat(20, |n| format!("\"x-{n}\", "));
    let (errors, steps) =
        under_policy(&text, &format!("[[headers]]\nname = \"h\"\nnever = [{names}]\n"), HALF);
    assert!(errors.iter().all(|one| one.code == Code::Policy), "{:?}", errors[0]);
    assert!(errors.len() == MAX_FINDINGS + 1 && steps < MAX_STEPS / 4, "{steps}");
    let rules = repeat(256, |n| format!("[[endpoints]]\nname = \"{n}\"\nmethods = []\n"));
    let (errors, _) = under_policy(&text, &rules, Used { bytes: 1 << 20, ..HALF });
    assert_eq!((errors.len(), errors[0].message.as_str()), (1, TOO_MUCH_MEMORY));
}

#[test]
fn rules_of_a_policy_are_bounded() {
    let check = |text: &str, rule: &str, per_rule: u64| {
        let rules = |count: usize| repeat(count, |n| rule.replace('?', &n.to_string()));
        let (errors, few) = under_policy(text, &rules(2), HALF);
        assert!(errors.iter().all(|one| one.code == Code::Policy), "{errors:?}");
        assert!(few >= 2 * per_rule, "{few}");
        let (errors, _) = under_policy(text, &rules(256), Used { steps: few + 9 * per_rule, ..HALF });
        assert!(errors.len() == 1 && errors[0].code == Code::Budget, "{errors:?}");
    };
    let vars = repeat(200, |n| format!("v{n} = {{ env = \"V{n}\", optional = true }}\n"));
    let egresses = repeat(16, |n| {
        format!("[[egress]]\nwhen = [\"v{n}\"]\nurl = \"https://e{n}.example/{{url|urlencode}}\"\n")
    });
    let small = format!("{}{}", head("p"), endpoints(1, |_| format!("/{}", "o".repeat(64))));
    check(
        &format!("{}[vars]\n{vars}{egresses}{}", head("p"), endpoints(1, |_| "/one".into())),
        "[[https]]\nname = \"?\"\n",
        17 * 200,
    );
    let reply =
        "[[response]]\nwhen = { status = 400 }\nreply = { status = 500, message = \"m\" }\n".repeat(64);
    let refusals = "\"response_rule\", ".repeat(256);
    check(
        &format!("{}{reply}{}", head("p"), endpoints(100, |n| format!("/{n}"))),
        &format!("[[tests]]\nname = \"?\"\nrefusals = [{refusals}]\n"),
        256 * 64 * 100,
    );
    let stars = format!("\"{}\", ", "x*".repeat(50)).repeat(20);
    check(&small, &format!("[[https]]\nname = \"?\"\nexcept = [{stars}]\n"), 20 * 100 * 8);
    check(&small, &format!("[[endpoints]]\nname = \"?\"\npaths = [{stars}\"*\"]\n"), 20 * 100 * 8);
}
