//! Compiles the fields of a credentials section, each with the keys of its kind, and the values that templates can name.

use super::{Compiler, TemplateScope};
use crate::{
    base::diag::{Code, Diagnostic},
    language::{
        compile::{Located, Part, Placeholder, SectionValue, ValueRule, Vars, filter::Filters, quantity},
        syntax::{self, FieldKind, pointer_step},
    },
};

/// The keys that belong to kinds of fields, each with its kinds.
const KEYS: &[(&str, &[FieldKind])] = &[
    ("token_url", &[FieldKind::Oauth2]),
    ("client_id", &[FieldKind::Oauth2]),
    ("client_secret", &[FieldKind::Oauth2]),
    ("scope", &[FieldKind::Oauth2]),
    ("grant", &[FieldKind::Oauth2]),
    ("refresh_before", &[FieldKind::Oauth2]),
    ("paste", &[FieldKind::Oauth2]),
    ("pattern", &[FieldKind::Text]),
    ("one_of", &[FieldKind::Text]),
    ("default", &[FieldKind::Text, FieldKind::Origin]),
    ("parts", &[FieldKind::Json, FieldKind::Oauth2]),
];

impl Compiler<'_> {
    pub(super) fn fields(
        &mut self,
        specs: &[syntax::Field],
    ) -> (Box<[Located<syntax::Field>]>, Box<[SectionValue]>) {
        let mut fields: Vec<Located<syntax::Field>> = Vec::new();
        let mut values = Vec::new();
        for (index, field) in specs.iter().enumerate() {
            let pointer = format!("/credentials/field/{index}");
            let at = self.own_value(&format!("{pointer}/name"));
            let good = field.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
            if field.name.is_empty() || !good {
                self.report(
                    Code::BadValue,
                    at.clone(),
                    "a field's name is made of letters, digits, `-` and `_`",
                );
            }
            if let Some(first) = fields.iter().find(|known| known.value.name == field.name) {
                let message = format!("two fields are named `{}`", field.name);
                let first = first.at.clone();
                self.add(
                    Diagnostic::new(Code::Name, at.clone(), message).related(first, "first declared here"),
                );
            }
            self.keys_of_kind(&pointer, field);
            self.oauth_field(&pointer, field);
            self.parts(&pointer, field);
            let rule = self.value_rule(&pointer, field);
            values.extend(values_of(field, rule.as_ref()));
            fields.push(Located { value: field.clone(), at });
        }
        (fields.into(), values.into())
    }

    /// Reports keys that belong to another kind, and those that the kind has to have.
    fn keys_of_kind(&mut self, pointer: &str, field: &syntax::Field) {
        let kind = field.kind.unwrap_or(FieldKind::Secret);
        for (key, kinds) in KEYS.iter().filter(|(key, kinds)| has(field, key) && !kinds.contains(&kind)) {
            let kinds: Vec<String> = kinds.iter().map(|kind| format!("`{}`", kind.name())).collect();
            let not = if kinds.len() == 1 { "not" } else { "neither" };
            let message =
                format!("`{key}` means nothing here: the field's kind is {not} {}", kinds.join(" nor "));
            self.report(Code::Condition, self.key(&format!("{pointer}/{key}")), message);
        }
        let required: &[(&str, &str)] = match kind {
            FieldKind::Oauth2 => &[
                ("token_url", "token_url = \"https://auth.example.com/token\""),
                ("client_id", "client_id = \"app_123\""),
            ],
            FieldKind::Secret | FieldKind::Text | FieldKind::Origin | FieldKind::Json => &[],
        };
        for (key, example) in required.iter().filter(|(key, _)| !has(field, key)) {
            let message = format!("an `oauth2` field has to have `{key}`");
            self.report_with_help(
                Code::MissingKey,
                self.key(pointer),
                message,
                format!("for example: {example}"),
            );
        }
    }

    /// Checks the values of an `oauth2` field's keys.
    fn oauth_field(&mut self, pointer: &str, field: &syntax::Field) {
        if let Some(url) = &field.token_url
            && let Err(message) = callable(url)
        {
            self.report(
                Code::Url,
                self.value(&format!("{pointer}/token_url")),
                format!("cannot be a URL: {message}"),
            );
        }
        if let Some(text) = &field.refresh_before {
            self.quantity(&format!("{pointer}/refresh_before"), quantity::duration(text));
        }
        if let Some(scope) = &field.scope
            && let Err(problem) = check_scope(scope)
        {
            let help = "for example: scope = \"openid offline_access\"";
            self.report_with_help(Code::BadValue, self.value(&format!("{pointer}/scope")), problem, help);
        }
        self.json_pointers(&format!("{pointer}/paste"), field.paste.as_ref());
    }

    /// The vars with the client secrets of logins, by field.
    pub(super) fn client_secrets(&mut self, specs: &[syntax::Field], vars: &Vars) -> Vec<(String, String)> {
        let mut secrets = Vec::new();
        for (index, field) in specs.iter().enumerate() {
            let Some(text) = &field.client_secret else { continue };
            let pointer = format!("/credentials/field/{index}/client_secret");
            let scope = TemplateScope { vars: Some(vars), ..TemplateScope::default() };
            let Some(template) = self.template(&pointer, text, scope) else { continue };
            let [Part::Placeholder { name: Placeholder::Var(name), filters }] = template.parts() else {
                let message = "a client secret is a secret, and the file would show it";
                let help = "name a secret var: client_secret = \"{client_secret}\", and under `[vars]` \
                    client_secret = { env = \"EXAMPLE_CLIENT_SECRET\", secret = true }";
                self.report_with_help(Code::Condition, self.value(&pointer), message, help);
                continue;
            };
            if let Some(var) = vars.get(&**name).filter(|var| !var.value.secret) {
                let message = format!("var `{name}` holds a client secret, and is not `secret`");
                let help = "add `secret = true` to the var: what is secret is never shown";
                self.report_with_help(Code::Var, var.at.clone(), message, help);
            }
            if *filters != Filters::default() {
                let message = "a client secret is the value of a var as it is";
                let help = format!("leave the filter out: client_secret = \"{{{name}}}\"");
                self.report_with_help(Code::Condition, self.value(&pointer), message, help);
            }
            secrets.push((field.name.clone(), name.to_string()));
        }
        secrets
    }

    /// Checks the parts of a `json` field, or of a login's access token.
    fn parts(&mut self, pointer: &str, field: &syntax::Field) {
        let pointer = format!("{pointer}/parts");
        self.json_pointers(&pointer, field.parts.as_ref());
        for name in field.parts.iter().flatten().map(|(name, _)| name) {
            let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
            if name.is_empty() || !name.bytes().all(word) {
                let at = self.key(&format!("{pointer}/{}", pointer_step(name)));
                self.report(Code::Name, at, "a part's name is made of letters, digits, `-` and `_`");
            }
        }
    }

    fn json_pointers(&mut self, pointer: &str, pointers: Option<&syntax::StringMap>) {
        for (key, target) in pointers.into_iter().flatten() {
            if !target.starts_with('/') {
                let at = self.value(&format!("{pointer}/{}", pointer_step(key)));
                self.report(Code::BadValue, at, "a JSON pointer starts with `/` (RFC 6901)");
            }
        }
    }

    /// The rule for the values of a `text` or `origin` field, and the check of its default.
    fn value_rule(&mut self, pointer: &str, field: &syntax::Field) -> Option<ValueRule> {
        if field.kind == Some(FieldKind::Text) && field.pattern.is_some() && field.one_of.is_some() {
            let at = self.key(&format!("{pointer}/one_of"));
            self.report(Code::Condition, at, "a field has `pattern` or `one_of`, not both");
        }
        let rule = match ValueRule::of(field) {
            Ok(rule) => rule?,
            Err(problem) => {
                let at = self.value(&format!("{pointer}/pattern"));
                let message = format!("`pattern` is no regular expression: {problem}");
                let help = "for example: \"[a-z0-9-]{1,63}\"; the whole value has to match";
                self.report_with_help(Code::BadValue, at, message, help);
                // Still the field of a value: it is no secret where the file names it.
                return Some(ValueRule::OneOf(Vec::new()));
            }
        };
        for (index, value) in field.one_of.iter().flatten().enumerate() {
            if let Err(problem) = ValueRule::Plain.check(value) {
                let at = self.value(&format!("{pointer}/one_of/{index}"));
                self.report(Code::BadValue, at, format!("a value that {problem}"));
            }
        }
        if let Some(Err(problem)) = field.default.as_deref().map(|value| rule.check(value)) {
            let at = self.value(&format!("{pointer}/default"));
            self.report(Code::BadValue, at, format!("the default {problem}"));
        }
        Some(rule)
    }
}

/// True if the field has the key.
fn has(field: &syntax::Field, key: &str) -> bool {
    let syntax::Field {
        name: _,
        label: _,
        hint: _,
        placeholder: _,
        kind: _,
        optional: _,
        pattern,
        one_of,
        default,
        parts,
        token_url,
        client_id,
        client_secret,
        scope,
        grant,
        refresh_before,
        paste,
    } = field;
    match key {
        "token_url" => token_url.is_some(),
        "client_id" => client_id.is_some(),
        "client_secret" => client_secret.is_some(),
        "scope" => scope.is_some(),
        "grant" => grant.is_some(),
        "refresh_before" => refresh_before.is_some(),
        "paste" => paste.is_some(),
        "pattern" => pattern.is_some(),
        "one_of" => one_of.is_some(),
        "default" => default.is_some(),
        "parts" => parts.is_some(),
        _ => false,
    }
}

/// The values of a field that templates can name. A login itself is named by `field` and `{secret}` alone, since it may have
/// to be refreshed first; its parts are claims of its access token.
fn values_of(field: &syntax::Field, rule: Option<&ValueRule>) -> Vec<SectionValue> {
    let value = |name: String, pointer: Option<&String>| SectionValue {
        name,
        field: field.name.clone(),
        pointer: pointer.cloned(),
        rule: rule.cloned(),
        optional: field.optional == Some(true),
        default: field.default.clone(),
    };
    match field.kind.unwrap_or(FieldKind::Secret) {
        FieldKind::Secret | FieldKind::Text | FieldKind::Origin => vec![value(field.name.clone(), None)],
        FieldKind::Json | FieldKind::Oauth2 => {
            let parts = field.parts.iter().flatten();
            parts.map(|(part, pointer)| value(format!("{}.{part}", field.name), Some(pointer))).collect()
        }
    }
}

/// Checks the characters of a scope (RFC 6749, section 3.3).
fn check_scope(scope: &str) -> Result<(), &'static str> {
    let word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte))
    };
    if scope.split(' ').all(word) {
        Ok(())
    } else {
        Err("a scope is made of words of printable ASCII with one space between them")
    }
}

/// Checks that a request can be sent to a URL as written.
fn callable(url: &str) -> Result<(), &'static str> {
    let (_, target) = crate::base::origin::Origin::split(url)?;
    let plain = target.bytes().all(|b| b.is_ascii_graphic() && !b"#\\\"<>{}".contains(&b));
    if plain { Ok(()) } else { Err("it has characters that a URL to call cannot have") }
}
