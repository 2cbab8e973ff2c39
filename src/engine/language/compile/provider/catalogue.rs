//! Checks the `[catalogue]` table. Nothing of it is compiled: no request depends on it.

use std::collections::BTreeMap;

use super::Compiler;
use crate::{
    base::{
        day::Day,
        diag::Code,
        suggest::{backticked, nearest},
    },
    language::{
        compile::Section,
        syntax::{self, pointer_step},
    },
};

impl Compiler<'_> {
    pub(super) fn check_catalogue(
        &mut self,
        catalogue: Option<&syntax::Catalogue>,
        section: Option<&Section>,
    ) {
        let Some(catalogue) = catalogue else { return };
        let syntax::Catalogue { env, models, sources, checked, unconfirmed, doubts, imports } = catalogue;
        for (field, variables) in env.iter().flatten() {
            self.check_variables(field, variables, section);
        }
        self.each("models", models.as_deref(), |name| {
            let is_word =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
            let is_name = !name.is_empty() && name.bytes().all(is_word);
            (!is_name).then_some("is not the name of a family of models: use `[a-z0-9._-]+`")
        });
        for (key, lines) in [("sources", sources), ("doubts", doubts)] {
            self.each(key, lines.as_deref(), |line| line.trim().is_empty().then_some("says nothing"));
        }
        if let Some(problem) = checked.as_deref().and_then(|day| Some((day, day.parse::<Day>().err()?))) {
            let (day, problem) = problem;
            self.report(Code::BadValue, self.value("/catalogue/checked"), format!("`{day}` {problem}"));
        }
        for (project, marks) in imports.iter().flatten() {
            self.check_imports(project, marks);
        }
        for (index, key) in unconfirmed.iter().flatten().enumerate() {
            let pointer = format!("/{}", key.replace('~', "~0").replace('/', "~1").replace('.', "/"));
            if key.is_empty() || !self.has(&pointer) {
                let at = self.value(&format!("/catalogue/unconfirmed/{index}"));
                let message = format!("the provider has no key `{key}`");
                let help = "write the steps with dots between them, as in `endpoint.chat`";
                self.report_with_help(Code::Reference, at, message, help);
            }
        }
    }

    /// The marks of the projects that `tollgate import` reads.
    fn check_imports(&mut self, project: &str, marks: &BTreeMap<String, String>) {
        let pointer = format!("/catalogue/imports/{}", pointer_step(project));
        if !syntax::PROJECTS.contains(&project) {
            let help = match nearest(project, syntax::PROJECTS) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known projects: {}", backticked(syntax::PROJECTS)),
            };
            let message = format!("`tollgate import` reads no project `{project}`");
            self.report_with_help(Code::Reference, self.key(&pointer), message, help);
        }
        for (mark, end) in marks {
            if !end.is_empty() && (!end.starts_with('/') || end.ends_with('/')) {
                let at = self.value(&format!("{pointer}/{}", pointer_step(mark)));
                let message = format!("`{end}` is not the start of a path");
                let help = "write it as in `/v1`, or leave it empty";
                self.report_with_help(Code::BadValue, at, message, help);
            }
        }
    }

    /// Reports the elements of a list that have a problem.
    fn each(&mut self, key: &str, list: Option<&[String]>, problem: impl Fn(&str) -> Option<&'static str>) {
        for (index, text) in list.into_iter().flatten().enumerate() {
            if let Some(problem) = problem(text) {
                let at = self.value(&format!("/catalogue/{key}/{index}"));
                self.report(Code::BadValue, at, format!("`{text}` {problem}"));
            }
        }
    }

    /// The environment variables of a field of the section.
    fn check_variables(&mut self, field: &str, variables: &[String], section: Option<&Section>) {
        let fields = section.map(|section| &*section.fields).unwrap_or_default();
        if !fields.iter().any(|known| known.value.name == field) {
            let names: Vec<&str> = fields.iter().map(|known| known.value.name.as_str()).collect();
            let help = match nearest(field, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if names.is_empty() => "the provider has no fields".to_owned(),
                None => format!("known fields: {}", backticked(&names)),
            };
            let at = self.key(&format!("/catalogue/env/{field}"));
            self.report_with_help(Code::Reference, at, format!("there is no field `{field}`"), help);
        }
        self.each(&format!("env/{field}"), Some(variables), |name| {
            let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            let is_name = !name.is_empty()
                && name.bytes().all(is_word)
                && !name.starts_with(|c: char| c.is_ascii_digit());
            (!is_name).then_some("is not the name of an environment variable: use `[A-Za-z_][A-Za-z0-9_]*`")
        });
    }
}
