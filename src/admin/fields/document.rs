//! The credential fields of the provider files as a document for pages: in sections, the main group first, then by title.
//! Pure.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::{document::FieldKey, payloads::MaskedCredential, scope::Reach};
use crate::{
    accounts::{NewOrigins, OwnValues},
    bind,
    clock::utc,
    compile::{self, ValueRule, written_pattern},
    fields::{DeclaredFields, Field, FieldKind},
    syntax,
    table::Table,
};

/// The group whose sections come first.
const MAIN_GROUP: &str = "main";

/// The credential fields that the provider files declare.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialFields {
    /// The owner of the credentials that are shown: a user's id, `group:NAME` or `everybody`. Absent if none are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The sections: those of the group `main` first, then by title.
    pub sections: Vec<FieldSection>,
    /// Stored credentials of fields that no provider file declares any more. They are used by nothing, and can be removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undeclared: Vec<UndeclaredField>,
}

/// A section of the credentials document. Its texts are those of its first provider: in the group `main`, then by title.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldSection {
    /// Its name, as in the credentials document: `providers.demo` is `demo` in `providers`.
    pub section: String,
    /// The display name.
    pub title: String,
    /// The group on pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The page where users get an API key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_url: Option<String>,
    /// The documentation of the upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docs: Option<String>,
    /// The fields, in the order of the files.
    pub fields: Vec<CredentialField>,
}

/// A field.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialField {
    /// Its name, as in the credentials document.
    pub field: String,
    /// The label; the name if the file has none.
    pub label: String,
    /// The hint below the field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The placeholder of the empty field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placeholder: Option<String>,
    /// The kind of credential.
    pub kind: CredentialKind,
    /// `text`: a regular expression that the whole value matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// `text`: the allowed values. Absent if others are allowed too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub one_of: Vec<String>,
    /// `text` and `origin`: the value where none is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// True if requests are possible without it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// `json`: JSON pointers into the document, by the names of its parts. Each leads to a string or a number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, String>,
    /// JSON pointers into the document that a user pastes, for `accessToken`, `refreshToken` and `expiresAt`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub paste: BTreeMap<String, String>,
    /// The paste tokens that stand for this login.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paste_tokens: Vec<PasteTokenPlace>,
    /// The providers whose requests are sent with it.
    pub providers: Vec<String>,
    /// The origins that it may go to, as the provider files define them now, with the values of the holder in `used`, or else
    /// the owner's. Of a `text` or `origin` field, those that its value is a part of. One that lacks a value is as written in
    /// the file: `https://{resource}.example.com`.
    pub origins: Vec<String>,
    /// Those of `origins` that are of gateways, with the gateway's name: requests go there only if it is configured.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gateways: BTreeMap<String, String>,
    /// If values of the section make some of `origins`: all of them, by how the file has them, as
    /// `https://{resource}.example.com`. Each name in braces that is a field of the section stands for its value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub templates: BTreeMap<String, String>,
    /// The fields of the section whose values `origins` lack: nothing is sent there before those are stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// The origins that the owner's own secret was saved for. It is sent to no other one before that is confirmed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bound_to: Vec<String>,
    /// `required` if a provider has no other field.
    pub wanted: Wanted,
    /// The owner's own value, masked; of a `text` or `origin` field as it is, unless it was stored as another kind. Absent if there
    /// is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<MaskedCredential>")]
    pub stored: Option<Value>,
    /// The time at which the owner's own value was set. A login that is refreshed is set again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_at: Option<String>,
    /// The owner's own value waits for a confirmation: the origins that it was saved for, and those that the files lead to
    /// now. Requests to the others are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unconfirmed: Option<NewOrigins>,
    /// The others who have one that the owner may use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared: Vec<SharedCredential>,
    /// The one that requests are sent with. Absent if there is none, or if the owner's credentials for another field replace
    /// the shared ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<Holder>,
}

impl CredentialField {
    /// The origins, each as the file has it.
    pub fn written_origins(&self) -> impl Iterator<Item = &str> {
        let plain = self.origins.iter().filter(|_| self.templates.is_empty());
        self.templates.keys().chain(plain).map(String::as_str)
    }
}

/// The kind of a credential: a `secret`, a `text` or an `origin`, which are shown, a `json` document, or an `oauth2` login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum CredentialKind {
    /// A text such as an API key.
    Secret,
    /// A text that is no secret, such as a region.
    Text,
    /// An origin: scheme, host and port.
    Origin,
    /// A JSON document that is pasted whole.
    Json,
    /// A login.
    Oauth2,
}

/// The need for a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Wanted {
    /// None of its providers can do without.
    Required,
    /// One of its providers takes another field instead, or needs none.
    Optional,
}

/// The holder of a credential: the owner, the owner's group, or everybody. In the order of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Holder {
    /// The owner.
    Own,
    /// The group of the user.
    Group,
    /// Everybody.
    Everybody,
}

/// A credential that is shared with the owner.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SharedCredential {
    /// The holder.
    pub by: Holder,
    /// True if it waits for a confirmation by an admin: requests with it are refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unconfirmed: bool,
}

/// A place that makes paste tokens.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasteTokenPlace {
    /// The provider that they are valid for.
    pub provider: String,
    /// The path: a `POST` there makes one.
    pub path: String,
    /// The key of the answer that holds the token.
    pub name: String,
}

/// A stored credential of a field that no file declares.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UndeclaredField {
    /// Its section.
    pub section: String,
    /// Its field.
    pub field: String,
    /// The value, masked.
    #[schemars(with = "MaskedCredential")]
    pub stored: Value,
    /// The time at which it was set.
    pub stored_at: String,
}

/// A stored credential.
#[derive(Debug)]
pub(in super::super) struct StoredField {
    /// The mask.
    pub(super) value: Value,
    /// False if it cannot be decrypted: requests do not see it.
    pub(super) is_readable: bool,
    /// The time of the last change, in milliseconds since 1970.
    pub(super) updated_at_ms: u64,
    pub(super) unconfirmed: Option<NewOrigins>,
    /// Of a secret, the origins that it is bound to.
    pub(super) bound_to: Vec<String>,
}

/// The credentials that an owner may use, by holder.
#[derive(Debug, Default)]
pub(in super::super) struct Stored {
    pub(super) own: BTreeMap<FieldKey, StoredField>,
    pub(super) group: BTreeMap<FieldKey, StoredField>,
    pub(super) everybody: BTreeMap<FieldKey, StoredField>,
    /// The values that make origins, by holder.
    pub(super) values: BTreeMap<Holder, OwnValues>,
}

impl Stored {
    pub(super) fn of(&mut self, holder: Holder) -> &mut BTreeMap<FieldKey, StoredField> {
        match holder {
            Holder::Own => &mut self.own,
            Holder::Group => &mut self.group,
            Holder::Everybody => &mut self.everybody,
        }
    }

    /// True if a holder has a value of a field that can be decrypted.
    pub(in super::super) fn has(&self, holder: Holder, section: &str, field: &str) -> bool {
        self.find(holder, section, field).is_some_and(|one| one.is_readable)
    }

    /// True if a holder's value of a field waits for a confirmation.
    pub(in super::super) fn waits(&self, holder: Holder, section: &str, field: &str) -> bool {
        self.find(holder, section, field).is_some_and(|one| one.unconfirmed.is_some())
    }

    fn find(&self, holder: Holder, section: &str, field: &str) -> Option<&StoredField> {
        let (_, all) = self.holders().into_iter().find(|(by, _)| *by == holder)?;
        all.get(&key(section, field))
    }

    fn holders(&self) -> [(Holder, &BTreeMap<FieldKey, StoredField>); 3] {
        [(Holder::Own, &self.own), (Holder::Group, &self.group), (Holder::Everybody, &self.everybody)]
    }

    /// The holder whose value of a field the requests of a provider are sent with: the first one that has any field of the
    /// provider, if it has this one. A value that is no secret does not make its holder the first: it may be there for a
    /// shared secret to be added.
    fn used_by(
        &self,
        known: &DeclaredFields,
        provider: &bind::Provider,
        section: &str,
        field: &str,
    ) -> Option<Holder> {
        let has = |all: &BTreeMap<FieldKey, StoredField>, field: &str| {
            all.get(&key(section, field)).is_some_and(|one| one.is_readable)
        };
        let fields =
            provider.section.iter().flat_map(|section| &section.fields).map(|field| &field.value.name);
        let sent: Vec<&String> = fields.filter(|field| provider.sends(field)).collect();
        let is_secret = |name: &&String| known.find(section, name).is_ok_and(Field::is_secret);
        let secrets: Vec<&String> = sent.iter().copied().filter(is_secret).collect();
        let sent = if secrets.is_empty() { sent } else { secrets };
        let has_any = |all| sent.iter().any(|field| has(all, field));
        let (holder, all) = self.holders().into_iter().find(|(_, all)| has_any(all))?;
        has(all, field).then_some(holder)
    }
}

fn key(section: &str, field: &str) -> FieldKey {
    (section.to_owned(), field.to_owned())
}

/// The providers in the order of pages: the main group first, then by title.
pub(in super::super) fn in_order<'t>(table: &'t Table, reach: Reach<'_>) -> Vec<&'t bind::Provider> {
    let reached = table.providers.iter().map(AsRef::as_ref).filter(|one| reach.provider(&one.name));
    let mut providers: Vec<&bind::Provider> = reached.collect();
    let is_main = |one: &bind::Provider| one.shown.group.as_deref() == Some(MAIN_GROUP);
    providers.sort_by_cached_key(|one| (!is_main(one), one.shown.title.to_lowercase(), one.name.clone()));
    providers
}

/// The document: the fields of the providers in reach, with what is stored.
pub(super) fn arrange(
    table: &Table,
    reach: Reach<'_>,
    owner: Option<String>,
    stored: Option<&Stored>,
) -> CredentialFields {
    let mut sections: Vec<(&compile::Section, Vec<&bind::Provider>)> = Vec::new();
    let mut known = BTreeMap::new();
    for provider in in_order(table, reach) {
        let Some(section) = &provider.section else { continue };
        let at = *known.entry(section.name.as_str()).or_insert(sections.len());
        if at == sections.len() {
            sections.push((section, Vec::new()));
        }
        sections[at].1.push(provider);
    }
    let own = stored.iter().flat_map(|stored| &stored.own);
    let undeclared = own.filter(|((section, field), _)| {
        reach.section(section, table) && table.fields.find(section, field).is_err()
    });
    CredentialFields {
        owner,
        sections: sections
            .iter()
            .map(|(section, providers)| Members { table, name: &section.name, providers, stored }.section())
            .collect(),
        undeclared: undeclared
            .map(|((section, field), stored)| UndeclaredField {
                section: section.clone(),
                field: field.clone(),
                stored: stored.value.clone(),
                stored_at: utc(stored.updated_at_ms),
            })
            .collect(),
    }
}

/// The parts of a field's document that its kind decides.
struct KindOfField {
    kind: CredentialKind,
    paste: BTreeMap<String, String>,
    parts: BTreeMap<String, String>,
    pattern: Option<String>,
    one_of: Vec<String>,
}

impl KindOfField {
    fn of(kind: Option<&FieldKind>) -> Self {
        let (paste, parts) = (BTreeMap::new(), BTreeMap::new());
        let plain = Self { kind: CredentialKind::Secret, paste, parts, pattern: None, one_of: Vec::new() };
        match kind {
            Some(FieldKind::OAuth2(login)) => {
                Self { kind: CredentialKind::Oauth2, paste: login.paste.clone(), ..plain }
            }
            Some(FieldKind::Json(parts)) => {
                Self { kind: CredentialKind::Json, parts: parts.clone(), ..plain }
            }
            Some(FieldKind::Value(rule)) => {
                let text = Self { kind: CredentialKind::Text, ..plain };
                match rule {
                    ValueRule::Plain => text,
                    ValueRule::Pattern(pattern) => {
                        Self { pattern: Some(written_pattern(pattern).to_owned()), ..text }
                    }
                    ValueRule::OneOf(values) => Self { one_of: values.clone(), ..text },
                    ValueRule::Origin => Self { kind: CredentialKind::Origin, ..text },
                }
            }
            Some(FieldKind::Secret) | None => plain,
        }
    }
}

/// The providers in reach that use a section, in order.
struct Members<'d> {
    table: &'d Table,
    name: &'d str,
    providers: &'d [&'d bind::Provider],
    stored: Option<&'d Stored>,
}

impl Members<'_> {
    fn section(&self) -> FieldSection {
        let text = |get: fn(&bind::Provider) -> &Option<String>| {
            self.providers.iter().find_map(|provider| get(provider).clone())
        };
        let mut fields: Vec<CredentialField> = Vec::new();
        for declared in self.providers.iter().filter_map(|provider| provider.section.as_ref()) {
            for field in declared.fields.iter().map(|field| &field.value) {
                if !fields.iter().any(|known| known.field == field.name) {
                    fields.push(self.field(field));
                }
            }
        }
        FieldSection {
            section: self.name.to_owned(),
            title: self.providers.first().map(|provider| provider.shown.title.clone()).unwrap_or_default(),
            group: text(|provider| &provider.shown.group),
            keys_url: text(|provider| &provider.shown.keys_url),
            docs: text(|provider| &provider.shown.docs),
            fields,
        }
    }

    fn field(&self, declared: &syntax::Field) -> CredentialField {
        let name = declared.name.as_str();
        let known = self.table.fields.find(self.name, name).ok();
        let KindOfField { kind, paste, parts, pattern, one_of } =
            KindOfField::of(known.map(|field| &field.kind));
        let senders = self.providers.iter().filter(|one| one.sends(name));
        let is_alone =
            |one: &&bind::Provider| !one.auth.is_empty() && one.auth.iter().all(|auth| one.needs(auth, name));
        // A field that one provider of the section can do without is not missing.
        let mut users = self.providers.iter().filter(|one| one.sends(name) || is_alone(one)).peekable();
        let is_required = users.peek().is_some() && users.all(is_alone);
        let own = self.stored.and_then(|stored| stored.own.get(&key(self.name, name)));
        let used = self.stored.and_then(|stored| {
            let senders = senders.clone();
            senders.filter_map(|provider| stored.used_by(&self.table.fields, provider, self.name, name)).min()
        });
        let none = OwnValues::default();
        let values = self.stored.and_then(|stored| stored.values.get(&used.unwrap_or(Holder::Own)));
        let (values, declared_fields) = (values.unwrap_or(&none), &self.table.fields);
        let origins = values.leads_to(declared_fields, self.name, name);
        let gateways = senders.clone().flat_map(|one| &one.gateway_origins);
        let gateways = gateways.filter(|(origin, _)| origins.contains(origin));
        CredentialField {
            field: name.to_owned(),
            label: declared.label.clone().unwrap_or_else(|| name.to_owned()),
            hint: declared.hint.clone(),
            placeholder: declared.placeholder.clone(),
            kind,
            pattern,
            one_of,
            default: known.and_then(|field| field.default.clone()),
            optional: known.is_some_and(|field| field.optional),
            parts,
            paste,
            paste_tokens: self.paste_tokens(name),
            providers: senders.clone().map(|one| one.name.to_string()).collect(),
            gateways: gateways.map(|(origin, gateway)| (origin.clone(), gateway.to_string())).collect(),
            origins,
            templates: values.templates(declared_fields, self.name, name),
            missing: values.missing(declared_fields, self.name, name),
            bound_to: own.map(|own| own.bound_to.clone()).unwrap_or_default(),
            wanted: if is_required { Wanted::Required } else { Wanted::Optional },
            stored: own.map(|own| own.value.clone()),
            stored_at: own.map(|own| utc(own.updated_at_ms)),
            unconfirmed: own.and_then(|own| own.unconfirmed.clone()),
            shared: self.shared(name),
            used,
        }
    }

    fn paste_tokens(&self, field: &str) -> Vec<PasteTokenPlace> {
        let made =
            self.providers.iter().filter_map(|provider| Some((provider, provider.paste_token.as_ref()?)));
        made.filter(|(_, paste)| paste.field == field)
            .map(|(provider, paste)| PasteTokenPlace {
                provider: provider.name.to_string(),
                path: paste.spec.path.clone(),
                name: paste.spec.reply.clone(),
            })
            .collect()
    }

    fn shared(&self, field: &str) -> Vec<SharedCredential> {
        let others = self.stored.iter().flat_map(|stored| stored.holders().into_iter().skip(1));
        let shared = others.filter_map(|(by, all)| {
            let one = all.get(&key(self.name, field)).filter(|one| one.is_readable)?;
            Some(SharedCredential { by, unconfirmed: one.unconfirmed.is_some() })
        });
        shared.collect()
    }
}
