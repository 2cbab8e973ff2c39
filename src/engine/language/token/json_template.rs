//! JSON whose strings are templates: the claims of a JWT, and JSON bodies of token requests.

use serde_json::{Map, Value};

use crate::{
    base::diag::Code,
    language::{
        compile::{Compiler, Placeholder, ProviderTemplate, Template, TemplateScope},
        generator::{Generator, RandomBytes},
        syntax::pointer_step,
    },
};

/// JSON with templates over names of type `N`.
#[derive(Debug, Clone)]
pub(super) enum JsonTemplate<N> {
    /// A string.
    Text(Template<N>),
    /// An array.
    Array(Vec<Self>),
    /// An object, in its order.
    Object(Vec<(String, Self)>),
    /// A text that is generated: a prefix, and the generator.
    Generated(String, Generator),
    /// Anything else.
    Fixed(Value),
}

impl JsonTemplate<Placeholder> {
    /// Compiles a value at the JSON pointer `pointer`. `generated`: true if `{ gen = "uuid" }` has its meaning there.
    pub(super) fn new(
        compiler: &mut Compiler<'_>,
        pointer: &str,
        value: &Value,
        (scope, generated): (TemplateScope<'_>, bool),
    ) -> Option<Self> {
        Some(match value {
            Value::String(text) => Self::Text(compiler.template(pointer, text, scope)?),
            Value::Array(items) => {
                let mut members = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    members.push(Self::new(
                        compiler,
                        &format!("{pointer}/{index}"),
                        item,
                        (scope, generated),
                    )?);
                }
                Self::Array(members)
            }
            Value::Object(map) if generated && map.contains_key("gen") => generator(compiler, pointer, map)?,
            Value::Object(map) => {
                let mut members = Vec::with_capacity(map.len());
                for (key, value) in map {
                    let pointer = format!("{pointer}/{}", pointer_step(key));
                    members.push((key.clone(), Self::new(compiler, &pointer, value, (scope, generated))?));
                }
                Self::Object(members)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => Self::Fixed(value.clone()),
        })
    }
}

/// The claim of a table `{ gen = "uuid", prefix = "..." }`.
fn generator(
    compiler: &mut Compiler<'_>,
    pointer: &str,
    map: &Map<String, Value>,
) -> Option<JsonTemplate<Placeholder>> {
    let found = map.get("gen").and_then(Value::as_str).and_then(Generator::find);
    if found.is_none() {
        let at = compiler.value(&format!("{pointer}/gen"));
        compiler.report(Code::BadValue, at, "`gen` is none of `uuid`, `hex24`, `now`");
    }
    let known = |key: &str, value: &Value| key == "gen" || key == "prefix" && value.is_string();
    if let Some((key, _)) = map.iter().find(|(key, value)| !known(key, value)) {
        let at = compiler.key(&format!("{pointer}/{}", pointer_step(key)));
        let message = format!("a generated claim has `gen` and a text `prefix`, not `{key}`");
        compiler.report(Code::UnknownKey, at, message);
    }
    let prefix = map.get("prefix").and_then(Value::as_str).unwrap_or_default();
    Some(JsonTemplate::Generated(prefix.to_owned(), found?))
}

impl JsonTemplate<Placeholder> {
    /// Adds its texts and its other values, each with its place below `at`.
    pub(super) fn keys(&self, at: &str, keys: &mut Vec<(String, ProviderTemplate)>) {
        let literal = |json: String| (at.to_owned(), Template::text(&json));
        match self {
            Self::Text(text) => {
                let mut quoted = Template::text("\"");
                quoted.append(text, false);
                quoted.append(&Template::text("\""), false);
                keys.push((at.to_owned(), quoted));
            }
            Self::Array(items) => {
                // An object may have the same keys.
                keys.push(literal(format!("[{} items]", items.len())));
                for (index, item) in items.iter().enumerate() {
                    item.keys(&format!("{at}/{index}"), keys);
                }
            }
            Self::Object(map) if map.is_empty() => keys.push(literal("{}".to_owned())),
            Self::Object(map) => {
                for (key, value) in map {
                    value.keys(&format!("{at}/{}", pointer_step(key)), keys);
                }
            }
            Self::Generated(prefix, generator) => {
                keys.push(literal(format!("{prefix:?} and generated: {}", generator.name())));
            }
            Self::Fixed(value) => keys.push(literal(value.to_string())),
        }
    }
}

impl<N> JsonTemplate<N> {
    /// The same with each template replaced.
    pub(super) fn map<M>(&self, with: &impl Fn(&Template<N>) -> Template<M>) -> JsonTemplate<M> {
        match self {
            Self::Text(text) => JsonTemplate::Text(with(text)),
            Self::Array(items) => JsonTemplate::Array(items.iter().map(|item| item.map(with)).collect()),
            Self::Object(map) => {
                JsonTemplate::Object(map.iter().map(|(key, value)| (key.clone(), value.map(with))).collect())
            }
            Self::Generated(prefix, generator) => JsonTemplate::Generated(prefix.clone(), *generator),
            Self::Fixed(value) => JsonTemplate::Fixed(value.clone()),
        }
    }

    /// Its templates, in order.
    pub(super) fn templates(&self) -> Vec<&Template<N>> {
        match self {
            Self::Text(text) => vec![text],
            Self::Array(items) => items.iter().flat_map(Self::templates).collect(),
            Self::Object(map) => map.iter().flat_map(|(_, value)| value.templates()).collect(),
            Self::Generated(..) | Self::Fixed(_) => Vec::new(),
        }
    }

    /// The JSON with all values filled in; none if `text` has none.
    pub(super) fn rendered(
        &self,
        (random, now_ms): (RandomBytes, u64),
        text: &impl Fn(&Template<N>) -> Option<String>,
    ) -> Option<Value> {
        let fresh = (random, now_ms);
        Some(match self {
            Self::Text(template) => Value::String(text(template)?),
            Self::Array(items) => {
                Value::Array(items.iter().map(|item| item.rendered(fresh, text)).collect::<Option<_>>()?)
            }
            Self::Object(map) => {
                let member =
                    |(key, value): &(String, Self)| Some((key.clone(), value.rendered(fresh, text)?));
                Value::Object(map.iter().map(member).collect::<Option<_>>()?)
            }
            Self::Generated(prefix, generator) => {
                Value::String(format!("{prefix}{}", generator.text(random, now_ms)))
            }
            Self::Fixed(value) => value.clone(),
        })
    }
}
