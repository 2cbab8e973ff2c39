//! Facts about credentials: the fields of the section, tokens, and the entries of `auth`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Fact, Listing, masked, rules};
use crate::{
    base::{name::FileName, suggest::backticked},
    language::{
        auth::{Output, Place},
        compile::{Auth, Glob, Located, Section},
        syntax::{self, FieldKind},
        token,
    },
    tools::{
        diff::{
            Subject,
            values::{Names, Use, Value},
        },
        upstream_routes,
    },
};

const NO_CREDENTIAL: &str = "requests of callers without a credential reach the upstream";
const DEFAULT: &str = "where none is stored, requests have another value, or another entry of `auth` is used";
const OPTIONAL: &str = "an entry of `auth` is used where it is not stored";
const REQUIRED: &str = "where it is not stored, another entry of `auth` is used";
const PART: &str = "requests get another part of what is stored";
const PASTE: &str = "another part of what users paste is stored";
const SECTION: &str = "credentials of another section are sent";
const LOGIN: &str = "a refresh asks for another login";
const MADE: &str = "the token is another, or it is made in another way";

impl Listing<'_> {
    pub(super) fn section(&mut self, section: &Section) {
        // The values are names for the fields.
        let Section { name, at: _, shared_with, fields, values: _, client_secrets: _ } = section;
        self.add(
            Subject::Credentials,
            "section",
            Fact { changed: Some(SECTION), ..Fact::of(format!("`{name}`")) },
        );
        if !shared_with.is_empty() {
            let shared: Vec<&str> = shared_with.iter().map(FileName::as_str).collect();
            self.add(Subject::Credentials, "shared_with", Fact::of(backticked(&shared)));
        }
        for Located { value: field, at: _ } in fields {
            self.field(field);
        }
    }

    /// A field, and each of its further keys.
    fn field(&mut self, field: &syntax::Field) {
        let syntax::Field {
            name,
            label,
            hint,
            placeholder,
            kind,
            optional,
            pattern,
            one_of,
            default,
            parts,
            token_url,
            client_id,
            client_secret,
            scope,
            // There is one.
            grant: _,
            refresh_before,
            paste,
        } = field;
        let kind = kind.unwrap_or(FieldKind::Secret);
        let url = token_url.as_deref().filter(|_| kind == FieldKind::Oauth2);
        let (value, stated) = described(kind, (pattern.as_deref(), one_of.as_deref()), url);
        let secret = client_secret.as_ref().zip(url);
        let secret = secret.map(|(secret, url)| format!("the client secret `{secret}` is sent to `{url}`"));
        let values = stated.into_iter().chain(secret).map(|text| Value::of(text, Use::Stated)).collect();
        let owner = (Subject::Credentials, format!("field `{name}`"));
        let fixed = Some(format!("{kind:?}"));
        self.add(owner.0, owner.1.clone(), Fact { values, fixed, ..Fact::of(value) });
        let mut key =
            |name: &str, value: Option<&str>, [added, changed, removed]: [Option<&'static str>; 3]| {
                let Some(value) = value else { return };
                let value = format!("`{}`", masked(value));
                let fact = Fact { added, changed, removed, owner: Some(owner.clone()), ..Fact::of(value) };
                self.add(owner.0, format!("{}: {name}", owner.1), fact);
            };
        for (name, value) in [("label", label), ("hint", hint), ("placeholder", placeholder)] {
            key(name, value.as_deref(), [None; 3]);
        }
        key("refresh_before", refresh_before.as_deref(), [None; 3]);
        key("client_id", client_id.as_deref(), [Some(LOGIN); 3]);
        key("client_secret", client_secret.as_deref(), [Some(LOGIN); 3]);
        key("scope", scope.as_deref(), [Some(LOGIN); 3]);
        key("default", default.as_deref(), [Some(DEFAULT); 3]);
        key("optional", (*optional == Some(true)).then_some("true"), [Some(OPTIONAL), None, Some(REQUIRED)]);
        // A new part reaches nothing until a template names it.
        for (part, pointer) in parts.iter().flatten() {
            key(&format!("part `{part}`"), Some(pointer), [None, Some(PART), None]);
        }
        for (part, pointer) in paste.iter().flatten() {
            key(&format!("paste `{part}`"), Some(pointer), [Some(PASTE); 3]);
        }
    }

    /// A token: each key of the request, the JWT and the reply that make it.
    pub(super) fn token(&mut self, token: &token::Compiled) {
        let owner = (Subject::Auth, format!("token `{}`", token.name));
        let added = Some("a token is made of stored values");
        self.add(owner.0, owner.1.clone(), Fact { added, ..Fact::default() });
        let names = Names::of(self.provider);
        // Of two with the same name, the last counts.
        let keys: BTreeMap<_, _> = token.keys().into_iter().map(|key| (key.0.clone(), key)).collect();
        for (name, key) in keys {
            let lifetime = token.ttl().filter(|_| name == token::LIFETIME);
            let changed = Some(MADE).filter(|_| lifetime.is_none() && name != "refresh_before");
            let fact = Fact {
                value: format!("`{}`", masked(&upstream_routes::shown(&key.1, &[]))),
                detail: names.exact(&key.1),
                values: names.made(&key),
                lifetime,
                added: changed,
                changed,
                removed: changed,
                owner: Some(owner.clone()),
                ..Fact::default()
            };
            self.add(owner.0, format!("{}: {name}", owner.1), fact);
        }
    }

    pub(super) fn auth(&mut self, entries: &[Auth]) {
        let (mut order, mut written) = (Vec::new(), Vec::new());
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for entry in entries {
            let Auth { field: _, token: _, matches, endpoints, kind, at: _ } = entry;
            let field = self.provider.auth_name(entry);
            let shown = matches.as_ref().map(|glob| format!(" (`{}`)", glob.as_str())).unwrap_or_default();
            let places = endpoints.as_ref().map(|globs| backticked(globs.iter().map(Glob::as_str)));
            let places = places.map(|places| format!(", at the endpoints {places}")).unwrap_or_default();
            order.push(format!("`{field}`{shown}{places}"));
            written.push(self::written(Names::of(self.provider), entry));
            if kind.is_none() {
                let value = format!("no credential is needed where none is stored{places}");
                let values = self.sent(entry, [Value::of(NO_CREDENTIAL, Use::Stated)].into());
                self.add(Subject::Auth, "none", Fact { values, ..Fact::of(value) });
            }
            for output in kind.outputs() {
                let key = format!("`{field}` into {}", output.place);
                let times = times.entry(key.clone()).or_default();
                *times += 1;
                let key = if *times == 1 { key } else { format!("{key} ({times})") };
                let fact = self.output(entry, &output, &places);
                self.add(Subject::Auth, key, fact);
            }
        }
        if entries.is_empty() {
            let fact = Fact {
                values: [Value::of(NO_CREDENTIAL, Use::Stated)].into(),
                ..Fact::of("no credential is needed".to_owned())
            };
            self.add(Subject::Auth, "none", fact);
        }
        // The first that is stored and matches is used.
        if order.len() > 1 {
            // Entries that are alike there differ in what they write.
            let is_alike = order.iter().collect::<BTreeSet<_>>().len() < order.len();
            let detail = if is_alike { written.join("; ") } else { String::new() };
            self.add(Subject::Auth, "order", Fact { detail, ..Fact::of(order.join(", ")) });
        }
    }

    /// The fact of a text that an entry writes.
    fn output(&self, entry: &Auth, output: &Output<'_>, places: &str) -> Fact {
        let names = Names::of(self.provider).entry(entry);
        let fact = Fact::text(output.text, names, &[]);
        let fixed = Some(fact.detail.clone());
        if let Place::List(name) = output.place
            && !output.reveals
        {
            // A client can send the members of a plain header itself.
            return Fact { fixed: fixed.filter(|_| !rules::is_plain(name)), ..fact };
        }
        let mut values = names.written(output);
        if values.is_empty() {
            values.insert(Value::of("a text that no client can send", Use::Sent));
        }
        let like = entry.matches.as_ref();
        let like = like.map(|glob| format!(", for credentials like `{}`", glob.as_str())).unwrap_or_default();
        let value = format!("{}{like}{places}", fact.value);
        Fact { fixed, value, values: self.sent(entry, values), ..fact }
    }

    /// The values of an entry: those of credentials that match it, at the endpoints that it counts for if they are not all.
    fn sent(&self, entry: &Auth, values: BTreeSet<Value>) -> BTreeSet<Value> {
        let like = entry.matches.as_ref().map(|glob| glob.as_str().to_owned());
        let values = values.into_iter().map(|value| Value { like: like.clone(), ..value });
        if entry.endpoints.is_none() {
            return values.collect();
        }
        let endpoints = self.provider.endpoints.iter().filter(|one| entry.counts_for(&one.name));
        let endpoints: Vec<_> = endpoints.map(|one| Some(one.name.clone())).collect();
        let at = |value: Value| {
            let at = endpoints.iter().cloned();
            at.map(move |endpoint| Value { endpoint, ..value.clone() }).collect::<Vec<_>>()
        };
        values.flat_map(at).collect()
    }
}

/// A field in words, and what a user's value in it does, in sentences.
fn described(
    kind: FieldKind,
    (pattern, one_of): (Option<&str>, Option<&[String]>),
    token_url: Option<&str>,
) -> (String, Vec<String>) {
    let enter = |values: &str| vec![format!("users may enter {values}")];
    match (kind, token_url, pattern, one_of) {
        (FieldKind::Oauth2, Some(url), ..) => {
            (format!("a login, refreshed at `{url}`"), vec![format!("a login is refreshed at `{url}`")])
        }
        (FieldKind::Secret | FieldKind::Oauth2, ..) => ("a key".to_owned(), Vec::new()),
        (FieldKind::Json, ..) => ("a document".to_owned(), Vec::new()),
        (FieldKind::Origin, ..) => ("an origin".to_owned(), enter("any origin")),
        (FieldKind::Text, _, Some(pattern), _) => {
            (format!("a text like `{pattern}`"), enter(&format!("values like `{pattern}`")))
        }
        (FieldKind::Text, _, None, Some(values)) => {
            let each = values.iter().flat_map(|value| enter(&format!("`{value}`")));
            (format!("one of {}", backticked(values)), each.collect())
        }
        (FieldKind::Text, ..) => ("a text".to_owned(), enter("any text")),
    }
}

/// All that an entry writes, with its places.
pub(in crate::tools::diff) fn written(names: Names<'_>, entry: &Auth) -> String {
    let outputs = entry.kind.outputs();
    let texts = outputs.iter().map(|output| format!("{} {}", output.place, names.exact(output.text)));
    texts.collect::<Vec<_>>().join(", ")
}
