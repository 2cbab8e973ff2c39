//! The facts about vendors, as read: `facts.json`. A fact is what the vendor's documents or clients say, not what a
//! provider file says. `additions.toml` has what the facts say in prose, as data.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

/// Texts by name.
pub type Texts = BTreeMap<String, String>;

/// One vendor.
#[derive(Debug, Deserialize)]
pub struct Facts {
    pub id: String,
    pub name: String,
    pub base_url: String,
    pub hosts: Vec<String>,
    /// A Bearer token if absent.
    pub auth: Option<Map<String, Value>>,
    #[serde(default)]
    pub required_headers: Texts,
    #[serde(default)]
    pub optional_headers: Texts,
    #[serde(default)]
    pub per_user_fields: Vec<UserField>,
    /// The client's base URL. `openai` stands for an SDK whose base URL ends with the version.
    pub client_base_url: Option<Value>,
    /// The concepts of the language without which the file cannot be written.
    #[serde(default)]
    pub needs: Vec<String>,
    pub endpoints: BTreeMap<String, Endpoint>,
}

/// A value that each user has.
#[derive(Debug, Deserialize)]
pub struct UserField {
    #[serde(rename = "where")]
    pub place: String,
}

/// Method, path or whole URL, streaming, wire format.
#[derive(Debug, Clone, Deserialize)]
pub struct Endpoint(pub String, pub String, pub String, pub String);

/// What is added to the facts of one vendor.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Addition {
    /// Values for the placeholders of the facts. One with the name of a field is stored in the tests, too.
    pub values: Texts,
    /// Values of captures.
    pub samples: Texts,
    /// Names in templates for placeholders whose name is no field.
    pub templates: Texts,
    /// Query parameters of every upstream request.
    pub query: Texts,
    /// Fields besides the key.
    pub fields: Vec<Map<String, Value>>,
    /// Further origins that users of the vendor have.
    pub servers: Vec<String>,
    /// Stored in the tests, in place of the key.
    pub credentials: Option<Map<String, Value>>,
    /// Vars in the tests.
    pub vars: Map<String, Value>,
    /// The reply of the token endpoint in the tests.
    pub token_reply: Option<Value>,
    /// Further expectations of the tests: the request for a token, and the JWT.
    pub expect: Map<String, Value>,
    /// Upstream headers where the facts have prose. An empty text: the client sends the header and it passes, if the vendor demands
    /// it; any value otherwise.
    pub headers: Texts,
    /// Endpoints that take the key elsewhere.
    pub keys: Vec<KeyPlace>,
    /// Further ways to authenticate.
    pub alt: Vec<Alternative>,
    /// The reason why the facts' further way needs no entry of its own.
    pub alt_is_said: Option<String>,
    /// Concepts that the file does without, with the reason.
    pub needless: Texts,
    /// Keys of the provider file. They replace generated ones, tables key by key.
    pub file: Map<String, Value>,
}

/// Endpoints, by name or by wire format, and the header that they take the key in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyPlace {
    #[serde(default)]
    pub endpoints: Vec<String>,
    #[serde(default)]
    pub api: Option<String>,
    pub header: String,
    pub format: String,
}

/// What is stored, and the upstream request that it makes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alternative {
    pub credentials: Map<String, Value>,
    /// An empty text: any value.
    #[serde(default)]
    pub headers: Texts,
    #[serde(default)]
    pub absent: Vec<String>,
    #[serde(default)]
    pub token_reply: Option<Value>,
    #[serde(default)]
    pub expect: Map<String, Value>,
    /// The first one of the facts if absent.
    pub endpoint: Option<String>,
    /// The host of the upstream URL, where it is another one.
    pub host: Option<String>,
}

/// Something that no provider file can say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unsayable {
    pub provider: String,
    /// `everything`, `endpoint NAME`, `alternative`, `URLs in answers`.
    pub part: String,
    /// Keys that would say it, as a sketch. `check` refuses the file with them.
    #[serde(default)]
    pub sketch: Map<String, Value>,
    pub reason: String,
}

impl Facts {
    /// A text of `auth`.
    pub fn auth(&self, key: &str) -> Option<&str> {
        self.auth.as_ref()?.get(key)?.as_str()
    }

    /// `bearer`, `header`, ...
    pub fn style(&self) -> &str {
        self.auth("style").unwrap_or("bearer")
    }

    /// Header and value with the key.
    pub fn key_place(&self) -> Option<(String, String)> {
        let (header, format) = match self.auth {
            Some(_) => (self.auth("header")?, self.auth("format")?),
            None => ("Authorization", "Bearer {key}"),
        };
        Some((header.to_ascii_lowercase(), format.to_owned()))
    }

    pub fn needs(&self, concept: &str) -> bool {
        self.needs.iter().any(|one| one == concept)
    }

    /// True if clients put the path below a base URL that ends with the version.
    pub fn client_has_version(&self) -> bool {
        match &self.client_base_url {
            Some(Value::String(_)) => true,
            Some(client) => client["sdk_adds_version"] == false,
            None => false,
        }
    }
}

/// Scheme and authority, and the rest.
pub fn split(url: &str) -> (&str, &str) {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let end = url[authority..].find('/').map_or(url.len(), |at| authority + at);
    url.split_at(end)
}

/// The names in braces.
pub fn placeholders(text: &str) -> Vec<&str> {
    text.split('{').skip(1).filter_map(|one| Some(one.split_once('}')?.0)).collect()
}

/// Replaces each name in braces.
pub fn fill(text: &str, value: impl Fn(&str) -> String) -> String {
    let mut parts = text.split('{');
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').unwrap_or((part, ""));
        filled += &value(name);
        filled += rest;
    }
    filled
}
