//! Files that take more work or memory than a file may take: each is rejected, and all others serve.

use std::fmt::Write as _;

use super::*;
use crate::{base::budget::MAX_STEPS, shipped};

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
    let file = |letter: &str, count: usize| {
        let aliases =
            |n: usize| (0..8).fold(String::new(), |all, m| format!("{all}\"/p/{letter}{n}_{m}x{{a}}\", "));
        let path =
            |n: usize| format!("/{letter}{n}x{{a}}\"\naliases = [{}]\nupstream_path = \"/{{a}}", aliases(n));
        format!("{}{}", head("p"), endpoints(count, path))
    };
    let loaded = shipped::load_with(&[("a.toml", &file("a", 160)), ("b.toml", &file("b", 128))]);
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
