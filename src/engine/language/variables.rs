//! Names of environment variables that files read: those that the operator allows, and those that other systems keep
//! secrets in.
//!
//! It sees names, never values. Built-in files are exempt from the operator's list: nobody else writes them.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use super::{
    compile::{Files, Glob},
    syntax::{self, Spans, pointer_step},
};
use crate::base::diag::{Code, Diagnostic, Location};

/// The globs of secrets of other systems: data.
const FOREIGN: &str = include_str!("variables/foreign_secrets.txt");

/// The allowed names of environment variables; all if the operator has no list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnvAllow(Option<Vec<Glob>>);

impl EnvAllow {
    /// A list of globs, which respect case. The error names a bad glob and its problem, a fragment.
    pub fn new(globs: &[String]) -> Result<Self, (String, String)> {
        for glob in globs {
            let problem = match Glob::check(glob) {
                Ok(()) if glob.is_empty() => {
                    "it is empty: for no variable at all, write `env_allow = []`".to_owned()
                }
                Ok(())
                    if glob.contains(['=', '\0', '"', '\'', '“', '”'])
                        || glob.contains(char::is_whitespace) =>
                {
                    "a variable's name has no `=`, quote or space: write names or globs, as `ACME_*`"
                        .to_owned()
                }
                Ok(()) => continue,
                Err(problem) => format!("a glob that {problem}"),
            };
            return Err((glob.clone(), problem));
        }
        Ok(Self(Some(globs.iter().map(|glob| Glob::new(glob)).collect())))
    }

    fn allows(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|globs| globs.iter().any(|glob| glob.matches(name)))
    }

    /// True if the operator wrote exactly this name.
    fn names(&self, name: &str) -> bool {
        self.0.iter().flatten().any(|glob| glob.as_str() == name)
    }

    fn shown(&self) -> String {
        let globs: Vec<String> = self.0.iter().flatten().map(|glob| format!("`{}`", glob.as_str())).collect();
        if globs.is_empty() { "none".to_owned() } else { globs.join(", ") }
    }
}

/// Errors about the variables of the operator's files that are not allowed.
pub fn refused(files: &Files, allow: &EnvAllow) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    each_env(files, |at, name, env, _| {
        if !allow.allows(env) {
            let message =
                format!("var `{name}` reads the environment variable `{env}`, which is not allowed");
            let help = format!(
                "the setting `env_allow` allows: {}; the operator can add the name to it",
                allow.shown()
            );
            found.push(Diagnostic::new(Code::Var, at, message).help(help));
        }
    });
    found
}

/// Lints about variables that look like secrets of other systems. A name that the operator wrote out is meant.
pub(super) fn foreign(files: &Files, allow: &EnvAllow) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    each_env(files, |at, name, env, var| {
        let Some(known) = foreign_secret(env, var.secret == Some(true)).filter(|_| !allow.names(env)) else {
            return;
        };
        let message = format!("var `{name}` reads `{env}`, which looks like {known}");
        let help =
            "read a variable of your own; if it is meant, write its whole name into the setting `env_allow`";
        found.push(Diagnostic::new(Code::ForeignSecret, at, message).help(help));
    });
    found
}

/// The kind of secret that a name looks like. Names that only sound like secrets are fine for vars that are `secret`.
fn foreign_secret(env: &str, is_secret: bool) -> Option<&'static str> {
    static LIST: LazyLock<Vec<(Glob, &str)>> = LazyLock::new(|| {
        let lines = FOREIGN.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| line.split_once(' '))
            .map(|(glob, what)| (Glob::new(glob), what.trim()))
            .collect()
    });
    let name = env.to_ascii_uppercase();
    let mut known = LIST.iter().filter(|(glob, _)| glob.matches(&name));
    known.find_map(|(_, what)| match what.strip_suffix(" (unless secret)") {
        Some(_) if is_secret => None,
        Some(what) => Some(what),
        None => Some(*what),
    })
}

/// Calls `each` for every var of the operator's files that reads an environment variable.
fn each_env(files: &Files, mut each: impl FnMut(Location, &str, &str, &syntax::Var)) {
    let mut table = |file: &Arc<str>, spans: &Spans, vars: &BTreeMap<String, syntax::Var>| {
        if file.starts_with("built-in/") {
            return;
        }
        for (name, var) in vars {
            if let Some(env) = &var.env {
                each(spans.value(file, &format!("/vars/{}/env", pointer_step(name))), name, env, var);
            }
        }
    };
    for one in files.providers.values().chain(files.presets.values()).flatten() {
        one.document.vars.iter().for_each(|vars| table(&one.file, &one.spans, vars));
    }
    for one in files.gateways.values().flatten() {
        table(&one.file, &one.spans, &one.document.vars);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_other_systems_are_known() {
        let check = |env: &str, is_secret: bool, expected: bool| {
            assert_eq!(foreign_secret(env, is_secret).is_some(), expected, "{env} {is_secret}");
        };
        for name in [
            "AWS_SECRET_ACCESS_KEY",
            "aws_session_token",
            "DATABASE_URL",
            "APP_DATABASE_URL",
            "PGPASSWORD",
            "GITHUB_TOKEN",
            "CI_JOB_TOKEN",
            "VAULT_TOKEN",
            "KUBECONFIG",
            "SENTRY_DSN",
            "AZURE_CLIENT_SECRET",
            "SSH_AUTH_SOCK",
            "NPM_TOKEN",
        ] {
            check(name, true, true);
        }
        for name in [
            "DEMO_SECRET",
            "DEMO_CLIENT_SECRET",
            "DEMO_TOKEN",
            "DB_PASSWORD",
            "DEMO_PRIVATE_KEY",
            "DEMO_API_KEY",
        ] {
            check(name, false, true);
            check(name, true, false);
        }
        for name in
            ["DEMO_REGION", "PROXY_URL", "TOKENIZER", "PATH", "AZURE_REGION", "DEMO_GATEWAY_ID", "AWSOME"]
        {
            check(name, false, false);
        }
    }

    #[test]
    fn allowed_names_are_globs() {
        let allow =
            |globs: &[&str]| EnvAllow::new(&globs.iter().map(ToString::to_string).collect::<Vec<_>>());
        let check = |globs: &[&str], env: &str, expected: bool| {
            assert_eq!(allow(globs).unwrap().allows(env), expected, "{globs:?} {env}");
        };
        check(&["DEMO_*"], "DEMO_TOKEN", true);
        check(&["DEMO_*"], "demo_token", false);
        check(&["DEMO_*", "PROXY"], "PROXY", true);
        check(&[], "PROXY", false);
        assert!(EnvAllow::default().allows("ANYTHING"));
        for bad in ["", "A=B", " A", "A\t"] {
            assert!(allow(&[bad]).is_err(), "{bad:?}");
        }
    }
}
