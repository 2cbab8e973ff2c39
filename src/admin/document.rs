//! The credentials document: the sections of the provider files, nested at their dots. An incoming document becomes a list
//! of edits, or is refused as a whole; stored credentials become a masked document. Pure.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{
    payloads::MaskedCredentials,
    pointer::{self, hint, step, wrong_type},
};
use crate::{
    accounts::{BadCredential, Edit, OwnValues, StoredCredential, bind_edits},
    compile::ValueRule,
    fault::{Cause, Fault},
    fields::{DeclaredFields, Field, FieldKind},
    origin::Origin,
    settings::UserOrigins,
};

const UNKNOWN: &str = "no provider file has such a section or field;";

/// The problem of an origin that no pattern of the setting allows.
const FOREIGN_ORIGIN: &str =
    "is an origin that the operator does not allow: the setting `user_origins` has to name it";

/// The rules for values.
#[derive(Debug, Clone, Copy)]
pub(super) struct ValueRules<'a> {
    /// The declared fields.
    pub(super) known: &'a DeclaredFields,
    /// The origins that users may enter.
    pub(super) user_origins: &'a UserOrigins,
}

/// A section and a field of it.
pub(super) type FieldKey = (String, String);

/// The edits that a document asks for. A value sets a field, `null` removes a field or all of a section, and what is left
/// out stays. `stored` are the fields that the owner has: they can be removed even if no file declares them any more. The
/// caller binds the edits to origins ([`bind_edits`]), which depend on all values of the owner.
pub(super) fn edits(
    document: &Map<String, Value>,
    path: &str,
    rules: ValueRules<'_>,
    stored: &BTreeSet<FieldKey>,
) -> Result<Vec<Edit>, Fault> {
    let declared = rules
        .known
        .0
        .iter()
        .flat_map(|(section, fields)| fields.keys().map(|field| (section.clone(), field.clone())));
    let fields = declared.chain(stored.iter().cloned()).collect();
    let mut walk = Walk { rules, stored, fields, edits: Vec::new() };
    walk.object("", document, path)?;
    Ok(walk.edits)
}

/// The edits of an owner who has nothing stored. They are bound to origins.
pub(super) fn first_edits(
    document: &Map<String, Value>,
    path: &str,
    rules: ValueRules<'_>,
) -> Result<Vec<Edit>, Fault> {
    let mut edits = edits(document, path, rules, &BTreeSet::new())?;
    bind_edits(&OwnValues::default(), rules.known, &[], &mut edits);
    Ok(edits)
}

struct Walk<'a> {
    rules: ValueRules<'a>,
    stored: &'a BTreeSet<FieldKey>,
    /// Every field that is declared or stored.
    fields: BTreeSet<FieldKey>,
    edits: Vec<Edit>,
}

impl Walk<'_> {
    fn object(&mut self, section: &str, object: &Map<String, Value>, path: &str) -> Result<(), Fault> {
        for (key, value) in object {
            let path = format!("{path}/{}", step(key));
            let below = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
            if self.fields.contains(&(section.to_owned(), key.clone())) {
                self.field(section, key, value, &path)?;
            } else if !key.contains('.') && self.fields.iter().any(|(other, _)| is_within(other, &below)) {
                self.section(&below, value, &path)?;
            } else {
                return Err(self.unknown(section, key, &path));
            }
        }
        Ok(())
    }

    fn section(&mut self, section: &str, value: &Value, path: &str) -> Result<(), Fault> {
        match value {
            Value::Object(object) => self.object(section, object, path),
            Value::Null => {
                let removed = self.stored.iter().filter(|(other, _)| is_within(other, section));
                self.edits.extend(
                    removed.map(|(section, field)| Edit::Remove {
                        section: section.clone(),
                        field: field.clone(),
                    }),
                );
                Ok(())
            }
            other => Err(wrong_type(path, other, "an object or null")),
        }
    }

    fn field(&mut self, section: &str, field: &str, value: &Value, path: &str) -> Result<(), Fault> {
        let (section_name, field_name) = (section.to_owned(), field.to_owned());
        if value.is_null() {
            self.edits.push(Edit::Remove { section: section_name, field: field_name });
            return Ok(());
        }
        let known = self.rules.known.find(section, field).map_err(|_| {
            undeclared(path, "no provider file has this field any more: `null` takes away what is stored")
        })?;
        let stored = parse_value(&known.kind, value, (path, self.rules.user_origins))?;
        self.edits.push(Edit::Set { section: section_name, field: field_name, stored, origins: Vec::new() });
        Ok(())
    }

    fn unknown(&self, section: &str, key: &str, path: &str) -> Fault {
        if let Some(name) = self.full_name(section, key) {
            // Only JSON has a dotted key; without one, the section alone is wrong.
            if !key.contains('.') {
                return undeclared(path, format!("{UNKNOWN} did you mean `{name}`?"));
            }
            let nested =
                name.rsplit('.').fold("…".to_owned(), |inner, step| format!("{{\"{step}\":{inner}}}"));
            return undeclared(path, format!("{UNKNOWN} did you mean `{name}`? Nest it: `{nested}`"));
        }
        let subsection = |other: &str| -> Option<String> {
            let rest =
                if section.is_empty() { other } else { other.strip_prefix(section)?.strip_prefix('.')? };
            rest.split('.').next().map(str::to_owned)
        };
        let fields = self.fields.iter().filter(|(other, _)| other == section).map(|(_, field)| field.clone());
        let subsections = self.fields.iter().filter_map(|(other, _)| subsection(other));
        let known: BTreeSet<String> = fields.chain(subsections).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        undeclared(path, format!("{UNKNOWN} {}", hint(key, &known)))
    }

    /// The only section or field with this dotted name or suffix: the key was written flat, or without its parents.
    fn full_name(&self, section: &str, key: &str) -> Option<String> {
        let below = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
        let fields = self.fields.iter().map(|(section, field)| format!("{section}.{field}"));
        let names: BTreeSet<String> =
            self.fields.iter().map(|(section, _)| section.clone()).chain(fields).collect();
        let mut meant = names.into_iter().filter(|name| {
            name.strip_suffix(&below).is_some_and(|before| before.is_empty() || before.ends_with('.'))
        });
        meant.next().filter(|_| meant.next().is_none())
    }
}

/// True if a section is `parent` or one below it.
fn is_within(section: &str, parent: &str) -> bool {
    section.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn parse_value(
    kind: &FieldKind,
    value: &Value,
    (path, user_origins): (&str, &UserOrigins),
) -> Result<StoredCredential, Fault> {
    let stored = match (kind, value) {
        (FieldKind::Secret, Value::String(text)) => StoredCredential::exact(text),
        (FieldKind::Value(rule), Value::String(text)) => shown_value(rule, text, user_origins),
        (FieldKind::Json(parts), Value::Object(_)) => StoredCredential::document(value, parts),
        (FieldKind::OAuth2(login), Value::Object(_)) => StoredCredential::oauth_value(value, &login.paste),
        (FieldKind::Secret | FieldKind::Value(_), other) => {
            return Err(wrong_type(path, other, "a string or null"));
        }
        (FieldKind::Json(_), other) => {
            return Err(wrong_type(path, other, "an object (the document) or null"));
        }
        (FieldKind::OAuth2(_), other) => {
            let cause = if other.is_string() { Cause::LoginExpected } else { Cause::WrongType };
            return Err(wrong_type(path, other, "an object or null").because(cause));
        }
    };
    stored.map_err(|error| pointer::fault(path, Cause::InvalidValue, error.to_string()))
}

/// A value of a `text` or `origin` field.
fn shown_value(
    rule: &ValueRule,
    text: &str,
    user_origins: &UserOrigins,
) -> Result<StoredCredential, BadCredential> {
    let value = StoredCredential::value(text, rule)?;
    let is_allowed = match rule {
        ValueRule::Origin => Origin::split(text).is_ok_and(|(origin, _)| user_origins.allows(&origin)),
        ValueRule::Plain | ValueRule::Pattern(_) | ValueRule::OneOf(_) => true,
    };
    if is_allowed { Ok(value) } else { Err(BadCredential::Rule { problem: FOREIGN_ORIGIN.to_owned() }) }
}

/// The fault for a section or field that no provider file declares.
fn undeclared(path: &str, problem: impl AsRef<str>) -> Fault {
    pointer::fault(path, Cause::UnknownCredential, problem)
}

/// The masked document of stored credentials. `unreadable` are those that cannot be decrypted.
pub(super) fn masked<'l>(
    known: &DeclaredFields,
    credentials: impl Iterator<Item = (&'l str, &'l str, &'l StoredCredential)>,
    unreadable: impl Iterator<Item = (&'l str, &'l str)>,
) -> MaskedCredentials {
    let mut document = Map::new();
    for (section, field, stored) in credentials {
        let declared = known.find(section, field).ok();
        put(&mut document, section, field, masked_value(stored, declared));
    }
    for (section, field) in unreadable {
        put(&mut document, section, field, unreadable_value());
    }
    MaskedCredentials(document)
}

/// A credential of a field, masked. A value is shown if its field is declared as one still.
pub(super) fn masked_value(stored: &StoredCredential, declared: Option<&Field>) -> Value {
    match stored {
        StoredCredential::Plain(_) | StoredCredential::Value(_) => stored.mask(declared).into(),
        StoredCredential::OAuth { expires_at_ms: Some(ms), .. } => {
            json!({ "status": "configured", "expiresAt": ms })
        }
        StoredCredential::Document(_)
        | StoredCredential::Made(_)
        | StoredCredential::OAuth { expires_at_ms: None, .. } => {
            json!({ "status": "configured" })
        }
    }
}

/// The same of one that cannot be decrypted.
pub(super) fn unreadable_value() -> Value {
    json!({ "status": "unreadable" })
}

fn put(document: &mut Map<String, Value>, section: &str, field: &str, value: Value) {
    let mut at = document;
    for step in section.split('.') {
        let next = at.entry(step).or_insert_with(|| json!({}));
        if !next.is_object() {
            // A field and a section have the same name: the section wins, since it leads to more fields.
            *next = json!({});
        }
        at = next.as_object_mut().expect("it was made an object");
    }
    at.insert(field.to_owned(), value);
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;
    use crate::fields::{OAuth, SectionFields};

    fn known() -> DeclaredFields {
        let fields = |names: &[(&str, FieldKind)]| -> SectionFields {
            let field = |kind: &FieldKind| Field::sent_to(kind.clone(), vec!["https://demo.example".into()]);
            names.iter().map(|(name, kind)| ((*name).to_owned(), Box::new(field(kind)))).collect()
        };
        let paste = BTreeMap::from([("accessToken".to_owned(), "/tokens/access".to_owned())]);
        let login = FieldKind::OAuth2(OAuth {
            paste,
            token_url: "https://demo.example/token".to_owned(),
            client_id: "demo".to_owned(),
            client_secret: None,
            scope: None,
            refresh_before: Duration::ZERO,
        });
        DeclaredFields(BTreeMap::from([
            ("demo".to_owned(), fields(&[("apiKey", FieldKind::Secret), ("oauth", login)])),
            ("providers.demo".to_owned(), fields(&[("apiKey", FieldKind::Secret)])),
            ("providers.example".to_owned(), fields(&[("apiKey", FieldKind::Secret)])),
        ]))
    }

    fn stored() -> BTreeSet<FieldKey> {
        let fields =
            [("demo", "apiKey"), ("providers.demo", "apiKey"), ("providers.old", "key"), ("gone.by", "key")];
        fields.into_iter().map(|(section, field)| (section.to_owned(), field.to_owned())).collect()
    }

    /// The edits as text, `section.field=value` or `section.field-`, or the fault's message.
    fn read(document: &str) -> String {
        let document: Map<String, Value> = serde_json::from_str(document).unwrap();
        let text = |edit: &Edit| match edit {
            Edit::Set { section, field, stored: StoredCredential::Plain(secret), .. } => {
                format!("{section}.{field}={}", secret.expose())
            }
            Edit::Set {
                section,
                field,
                stored: StoredCredential::OAuth { access_token, expires_at_ms, .. },
                ..
            } => {
                format!("{section}.{field}={}@{expires_at_ms:?}", access_token.expose())
            }
            Edit::Set { section, field, stored, .. } => format!("{section}.{field}={}", stored.mask(None)),
            Edit::Bind { section, field, .. } => format!("{section}.{field}~"),
            Edit::Remove { section, field } => format!("{section}.{field}-"),
            Edit::RemoveAll => "-".to_owned(),
        };
        let (known, user_origins) = (known(), UserOrigins::default());
        let rules = ValueRules { known: &known, user_origins: &user_origins };
        match edits(&document, "", rules, &stored()) {
            Ok(edits) => edits.iter().map(text).collect::<Vec<_>>().join(" "),
            Err(fault) => fault.message.into_owned(),
        }
    }

    #[test]
    fn a_document_becomes_edits() {
        let check = |document: &str, expected: &str| assert_eq!(read(document), expected, "{document}");
        check("{}", "");
        check(r#"{"demo":{}}"#, "");
        check(
            r#"{"demo":{"apiKey":"k"},"providers":{"demo":{"apiKey":"l"},"example":{"apiKey":null}}}"#,
            "demo.apiKey=k providers.demo.apiKey=l providers.example.apiKey-",
        );
        check(r#"{"demo":null}"#, "demo.apiKey-");
        check(r#"{"providers":null}"#, "providers.demo.apiKey- providers.old.key-");
        check(r#"{"providers":{"old":null}}"#, "providers.old.key-");
        check(r#"{"providers":{"old":{"key":null}}}"#, "providers.old.key-");
        check(r#"{"gone":{"by":{"key":null}}}"#, "gone.by.key-");
        check(r#"{"providers":{"example":null}}"#, "");
        check(
            r#"{"demo":{"oauth":{"accessToken":"a","refreshToken":null,"expiresAt":1800000000000}}}"#,
            "demo.oauth=a@Some(1800000000000)",
        );
        check(r#"{"demo":{"oauth":{"tokens":{"access":"a"}}}}"#, "demo.oauth=a@None");
    }

    #[test]
    fn a_fault_names_the_pointer() {
        let check = |document: &str, expected: &str| assert_eq!(read(document), expected, "{document}");
        let field = "no provider file has such a section or field;";
        check(r#"{"dmo":{}}"#, &format!("/dmo: {field} did you mean `demo`?"));
        check(r#"{"x":null}"#, &format!("/x: {field} known here: `demo`, `gone`, `providers`"));
        check(
            r#"{"providers":{"demo":{"apikey":"k"}}}"#,
            &format!("/providers/demo/apikey: {field} did you mean `apiKey`?"),
        );
        check(
            r#"{"providers":{"other":{"apiKey":"k"}}}"#,
            &format!("/providers/other: {field} known here: `demo`, `example`, `old`"),
        );
        let nested = "did you mean `providers.demo`? Nest it: `{\"providers\":{\"demo\":…}}`";
        check(r#"{"providers.demo":{}}"#, &format!("/providers.demo: {field} {nested}"));
        check(
            r#"{"example":{"apiKey":"k"}}"#,
            &format!("/example: {field} did you mean `providers.example`?"),
        );
        let nested =
            "did you mean `providers.demo.apiKey`? Nest it: `{\"providers\":{\"demo\":{\"apiKey\":…}}}`";
        check(r#"{"providers.demo.apiKey":"k"}"#, &format!("/providers.demo.apiKey: {field} {nested}"));
        check(r#"{"providers":{"demo.apiKey":"k"}}"#, &format!("/providers/demo.apiKey: {field} {nested}"));
        let many = "known here: `demo`, `gone`, `providers`";
        check(r#"{"apiKey":"k"}"#, &format!("/apiKey: {field} {many}"));
        check(r#"{"a/b~":1}"#, &format!("/a~1b~0: {field} known here: `demo`, `gone`, `providers`"));
        check(
            &format!(r#"{{"{}":1}}"#, "k".repeat(40)),
            &format!("/(a key of 40 bytes): {field} known here: `demo`, `gone`, `providers`"),
        );
        let old = "no provider file has this field any more: `null` takes away what is stored";
        check(
            r#"{"demo":{"apiKey":"01234567...cdef"}}"#,
            "/demo/apiKey: this is a mask, not a secret: leave the field out to keep what is stored",
        );
        check(r#"{"providers":{"old":{"key":"k"}}}"#, &format!("/providers/old/key: {old}"));
        for (value, name) in
            [("1", "a number"), ("true", "a boolean"), ("[]", "an array"), ("{}", "an object")]
        {
            check(
                &format!(r#"{{"demo":{{"apiKey":{value}}}}}"#),
                &format!("/demo/apiKey: expected a string or null, got {name}"),
            );
        }
        for (value, name) in
            [("1", "a number"), ("true", "a boolean"), ("[]", "an array"), (r#""s""#, "a string")]
        {
            check(
                &format!(r#"{{"demo":{value}}}"#),
                &format!("/demo: expected an object or null, got {name}"),
            );
            check(
                &format!(r#"{{"providers":{{"demo":{value}}}}}"#),
                &format!("/providers/demo: expected an object or null, got {name}"),
            );
            check(
                &format!(r#"{{"demo":{{"oauth":{value}}}}}"#),
                &format!("/demo/oauth: expected an object or null, got {name}"),
            );
        }
    }

    #[test]
    fn a_fault_repeats_no_secret() {
        for document in [
            r#"{"demo":{"apiKey":"canary\n"}}"#,
            r#"{"demo":{"apiKey":"canary é"}}"#,
            r#"{"demo":{"apiKey":["canary"]}}"#,
            r#"{"demo":{"apiKey":{"canary":1}}}"#,
            r#"{"demo":{"oauth":{"accessToken":"canary\r"}}}"#,
            r#"{"demo":{"oauth":{"accessToken":["canary"]}}}"#,
            r#"{"demo":{"oauth":{"refreshToken":"canary"}}}"#,
            r#"{"demo":"canary"}"#,
            r#"{"demo":{"apiKey":""}}"#,
        ] {
            let message = read(document);
            assert!(message.starts_with("/demo") && !message.contains("canary"), "{message}");
        }
    }

    #[test]
    fn stored_credentials_are_masked() {
        let mut credentials = crate::accounts::Credentials::default();
        let mut set = |section: &str, field: &str, stored| {
            credentials.insert(section.into(), field.into(), stored, vec![]);
        };
        set("demo", "apiKey", StoredCredential::exact("0123456789abcdef").unwrap());
        set(
            "demo",
            "oauth",
            StoredCredential::oauth(r#"{"accessToken":"a","expiresAt":1800000000000}"#, &BTreeMap::new())
                .unwrap(),
        );
        set("providers.demo", "apiKey", StoredCredential::exact("0123456789abcdefg").unwrap());
        let expected = json!({
            "demo": { "apiKey": "***", "oauth": { "status": "configured", "expiresAt": 1_800_000_000_000_u64 } },
            "providers": { "demo": { "apiKey": "01234567...defg" }, "old": { "key": { "status": "unreadable" } } },
        });
        let document = masked(&known(), credentials.iter(), [("providers.old", "key")].into_iter());
        assert_eq!(Value::Object(document.0), expected);
        assert_eq!(masked(&known(), std::iter::empty(), std::iter::empty()), MaskedCredentials::default());
    }
}
