//! Compiles vars and templates, and resolves the names in templates.

use std::collections::BTreeMap;

use http::HeaderName;

use super::Compiler;
use crate::{
    base::{
        diag::{Code, Diagnostic},
        name::FileName,
        suggest::{backticked, nearest},
        written::defect,
    },
    language::{
        auth,
        compile::{
            FieldName, Located, Placeholder, ProviderTemplate, Section, SectionValue, Var, VarSource, Vars,
            template::{Resolved, Template, TemplateError},
        },
        syntax::{self, pointer_step},
        token::TokenWord,
    },
};

/// The names that a template may use.
#[derive(Clone, Copy, Default)]
pub(crate) struct TemplateScope<'s> {
    pub(crate) vars: Option<&'s Vars>,
    /// Optional vars that a `when` guarantees to be set.
    pub(crate) when: &'s [String],
    pub(crate) captures: &'s [String],
    pub(crate) words: &'s [(&'s str, Placeholder)],
    pub(crate) fields: FieldScope<'s>,
}

/// The values of the credentials section that a template may use. Vars, captures and words of the place come first.
#[derive(Clone, Copy, Default)]
pub(crate) struct FieldScope<'s> {
    section: Option<&'s Section>,
    /// True if secrets are excluded.
    public: bool,
}

impl<'s> FieldScope<'s> {
    /// All values.
    pub(crate) fn all(section: Option<&'s Section>) -> Self {
        Self { section, public: false }
    }

    /// The values that may stand in a URL: all but the fields of the kind `secret`.
    pub(crate) fn of_url(section: Option<&'s Section>) -> Self {
        Self { section, public: true }
    }

    fn values(self) -> &'s [SectionValue] {
        self.section.map(|section| &*section.values).unwrap_or_default()
    }
}

impl TemplateScope<'_> {
    /// True if a placeholder stands for a value that is never shown.
    pub(crate) fn is_secret(&self, placeholder: &Placeholder) -> bool {
        match placeholder {
            Placeholder::Secret | Placeholder::Token(TokenWord::Reply(_)) => true,
            Placeholder::Var(name) => {
                self.vars.and_then(|vars| vars.get(&**name)).is_some_and(|var| var.value.secret)
            }
            Placeholder::Field(field) => {
                let value = self.fields.values().get(usize::from(field.index));
                value.is_some_and(|value| value.rule.is_none())
            }
            Placeholder::Capture(_)
            | Placeholder::Host
            | Placeholder::Generated(_)
            | Placeholder::Path
            | Placeholder::Token(TokenWord::Jwt | TokenWord::Fingerprint)
            | Placeholder::Url => false,
        }
    }
}

impl Compiler<'_> {
    pub(super) fn vars(&mut self, vars: Option<&BTreeMap<String, syntax::Var>>, reserved: &[&str]) -> Vars {
        let mut known = Vars::new();
        for (name, var) in vars.into_iter().flatten() {
            let pointer = format!("/vars/{}", pointer_step(name));
            let at = self.key(&pointer);
            match compile_var(name, var, reserved) {
                Ok(value) => {
                    known.insert(name.clone(), Located { value, at });
                }
                Err((code, message)) => self.report(code, at, message),
            }
        }
        known
    }

    pub(crate) fn template(
        &mut self,
        pointer: &str,
        text: &str,
        scope: TemplateScope<'_>,
    ) -> Option<ProviderTemplate> {
        match parse_template(text, self.name, scope) {
            Ok(template) => Some(template),
            Err(error) => {
                let (code, help) = advice(&error, scope);
                let diagnostic = Diagnostic::new(code, self.value(pointer), error.to_string());
                self.add(diagnostic.maybe_help(help));
                None
            }
        }
    }

    pub(super) fn names(&mut self, pointer: &str, names: &[String]) -> Vec<HeaderName> {
        let each = |(index, name): (usize, &String)| self.header_name(&format!("{pointer}/{index}"), name);
        names.iter().enumerate().filter_map(each).collect()
    }
}

fn compile_var(name: &str, var: &syntax::Var, reserved: &[&str]) -> Result<Var, (Code, String)> {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.bytes().all(word) {
        return Err((Code::Name, format!("`{name}` cannot be a var's name: use `[a-z][a-z0-9_]*`")));
    }
    if reserved.contains(&name) {
        return Err((
            Code::Name,
            format!("`{name}` has a meaning of its own in templates: choose another name"),
        ));
    }
    let source = match (&var.env, &var.file) {
        (Some(env), None) if env.starts_with("TOLLGATE_") => {
            return Err((
                Code::Var,
                format!("`{env}` is a setting of tollgate's own, which no file can read"),
            ));
        }
        (Some(env), None) if env.is_empty() || env.contains(['=', '\0']) => {
            return Err((Code::Var, "`env` is not the name of an environment variable".into()));
        }
        (Some(env), None) => VarSource::Env(env.clone()),
        (None, Some(file))
            if file.is_empty() || file.starts_with('.') || file.contains(['/', '\\', '\0']) =>
        {
            return Err((
                Code::Var,
                "`file` is a plain file name below the secrets directory, without slashes".into(),
            ));
        }
        (None, Some(file)) => VarSource::File(file.clone()),
        (None, None) => {
            return Err((Code::Var, format!("var `{name}` has neither `env` nor `file`")));
        }
        (Some(_), Some(_)) => {
            return Err((
                Code::Var,
                format!("var `{name}` has both `env` and `file`: one of them is enough"),
            ));
        }
    };
    let (optional, secret) = (var.optional.unwrap_or(false), var.secret.unwrap_or(false));
    if let Some(default) = &var.default {
        check_default(name, default, optional, secret)?;
    }
    Ok(Var { source, optional, secret, default: var.default.clone(), is_pem: false })
}

fn check_default(name: &str, default: &str, optional: bool, secret: bool) -> Result<(), (Code, String)> {
    if secret {
        let message = format!("var `{name}` is secret, and its default would stand in the file");
        return Err((Code::Condition, message));
    }
    if optional {
        let message = format!("var `{name}` has a default, so that it is never unset: drop `optional`");
        return Err((Code::Condition, message));
    }
    match defect(default) {
        Some(defect) => Err((Code::Var, format!("the default of var `{name}` {defect}"))),
        None => Ok(()),
    }
}

/// The reason why a template cannot use a name.
#[derive(Debug, thiserror::Error)]
enum NameError {
    #[error("var `{0}` holds a PEM text for `tls`, which stands in no template")]
    Pem(String),
    #[error("var `{0}` is optional, and may be unset here")]
    OptionalVar(String),
    #[error("`{{{0}}}` is a secret, which cannot stand in a URL")]
    SecretField(String),
    #[error("`{{{0}}}` stands for nothing here")]
    Unknown(String),
}

fn parse_template(
    text: &str,
    provider: &FileName,
    scope: TemplateScope<'_>,
) -> Result<ProviderTemplate, TemplateError<NameError>> {
    Template::parse(text, |name| {
        if name == "provider" {
            return Ok(Resolved::Text(provider.as_str().to_owned()));
        }
        if let Some((_, word)) = scope.words.iter().find(|(known, _)| *known == name) {
            return Ok(Resolved::Placeholder(word.clone()));
        }
        if let Some(index) = scope.captures.iter().position(|known| known == name) {
            return Ok(Resolved::Placeholder(Placeholder::Capture(
                u8::try_from(index).expect("a path has few captures"),
            )));
        }
        if let Some(var) = scope.vars.and_then(|vars| vars.get(name)) {
            if var.value.is_pem {
                return Err(NameError::Pem(name.to_owned()));
            }
            if var.value.optional && !scope.when.iter().any(|set| set == name) {
                return Err(NameError::OptionalVar(name.to_owned()));
            }
            return Ok(Resolved::Placeholder(Placeholder::Var(name.into())));
        }
        let fields = scope.fields;
        if let Some(index) = fields.values().iter().position(|value| value.name == name) {
            let value = &fields.values()[index];
            if fields.public && value.rule.is_none() && value.pointer.is_none() {
                return Err(NameError::SecretField(name.to_owned()));
            }
            let index = u16::try_from(index).expect("a section has few values");
            return Ok(Resolved::Placeholder(Placeholder::Field(FieldName { index, name: name.into() })));
        }
        Err(NameError::Unknown(name.to_owned()))
    })
}

/// The code and the help for an error of a template.
fn advice(error: &TemplateError<NameError>, scope: TemplateScope<'_>) -> (Code, Option<String>) {
    let braces = "a name stands in one pair of braces, `{name}`; a brace is never text";
    let optional = "use it where a `when` names it, or drop `optional`";
    match error {
        TemplateError::Unopened | TemplateError::Unclosed => (Code::Template, Some(braces.to_owned())),
        TemplateError::UnknownFilter(_) => (Code::Template, None),
        TemplateError::Name(NameError::Pem(_)) => {
            (Code::Template, Some("declare another var for it".to_owned()))
        }
        TemplateError::Name(NameError::OptionalVar(_)) => (Code::OptionalVar, Some(optional.to_owned())),
        TemplateError::Name(NameError::SecretField(_)) => {
            let help = "give the field `kind = \"text\"` if its value may be shown, or put it into a header";
            (Code::Template, Some(help.to_owned()))
        }
        TemplateError::Name(NameError::Unknown(name)) => (Code::Template, Some(known_names(name, scope))),
    }
}

fn known_names(name: &str, scope: TemplateScope<'_>) -> String {
    if name == "secret" {
        return format!("the caller's credential is known only in {}", auth::SECRET_SCOPE);
    }
    let mut known = vec!["provider".to_owned()];
    known.extend(scope.words.iter().map(|(word, _)| (*word).to_owned()));
    known.extend(scope.captures.iter().cloned());
    known.extend(scope.vars.into_iter().flatten().map(|(name, _)| name.clone()));
    known.extend(scope.fields.values().iter().map(|value| value.name.clone()));
    let vars = if scope.vars.is_some() { "; a var is declared under `[vars]`" } else { "" };
    match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{{{near}}}`?"),
        None => format!("known here: {}{vars}", backticked(&known)),
    }
}
