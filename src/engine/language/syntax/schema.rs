//! JSON schemas, generated from the document types, and the validation of documents against them. Findings use the terms
//! of TOML, not those of JSON Schema.

use std::sync::{Arc, LazyLock};

use jsonschema::{
    ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind},
};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::{clients, document, endpoint_set, limits, policy, prices, spans::Spans, wire_format};
use crate::base::{
    diag::{Code, Diagnostic, MAX_FINDINGS},
    numbers::counted,
    suggest::{backticked, nearest},
};

/// The prefix of a schema's `$id`.
const ID: &str = "urn:tollgate:schema:";
const ID_DRAFT_07: &str = "urn:tollgate:schema:draft-07:";

/// The drafts of JSON Schema that schemas are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draft {
    /// Draft 2020-12: the current one.
    Current,
    /// Draft-07, for editors that support no later one.
    Seven,
}

/// The kinds of files that have a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// `providers.d/*.toml` and `providers.d/presets/*.toml`.
    Provider,
    /// `providers.d/endpoints/**.toml`.
    Endpoints,
    /// `providers.d/gateways/*.toml`.
    Gateway,
    /// `providers.d/apis/*.toml`.
    Api,
    /// `providers.d/prices/*.toml`.
    Prices,
    /// `providers.d/clients/*.toml`.
    Client,
    /// `limits.d/*.toml`, next to `providers.d`.
    Limits,
    /// `policy.toml`, next to `providers.d`.
    Policy,
}

impl FileKind {
    /// All kinds.
    pub const ALL: &'static [Self] = &[
        Self::Provider,
        Self::Endpoints,
        Self::Gateway,
        Self::Api,
        Self::Prices,
        Self::Client,
        Self::Limits,
        Self::Policy,
    ];

    /// The stem of the schema file.
    pub fn stem(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Endpoints => "endpoints",
            Self::Gateway => "gateway",
            Self::Api => "api",
            Self::Prices => "prices",
            Self::Client => "client",
            Self::Limits => "limits",
            Self::Policy => "policy",
        }
    }
}

/// A schema, ready to check documents.
#[derive(Debug)]
pub struct Checker {
    schema: Value,
    validator: Validator,
}

static PROVIDER: LazyLock<Checker> = LazyLock::new(Checker::of::<document::Provider>);
static ENDPOINTS: LazyLock<Checker> = LazyLock::new(Checker::of::<endpoint_set::EndpointSet>);
static GATEWAY: LazyLock<Checker> = LazyLock::new(Checker::of::<document::Gateway>);
static API: LazyLock<Checker> = LazyLock::new(Checker::of::<wire_format::Api>);
static PRICES: LazyLock<Checker> = LazyLock::new(Checker::of::<prices::Prices>);
static CLIENT: LazyLock<Checker> = LazyLock::new(Checker::of::<clients::Client>);
static LIMITS: LazyLock<Checker> = LazyLock::new(Checker::of::<limits::LimitsFile>);
static POLICY: LazyLock<Checker> = LazyLock::new(Checker::of::<policy::Policy>);

pub(super) fn checker(kind: FileKind) -> &'static Checker {
    match kind {
        FileKind::Provider => &PROVIDER,
        FileKind::Endpoints => &ENDPOINTS,
        FileKind::Gateway => &GATEWAY,
        FileKind::Api => &API,
        FileKind::Prices => &PRICES,
        FileKind::Client => &CLIENT,
        FileKind::Limits => &LIMITS,
        FileKind::Policy => &POLICY,
    }
}

impl Checker {
    /// The checker of a type's schema.
    pub fn of<T: schemars::JsonSchema>() -> Self {
        let schema = generate::<T>();
        let validator = jsonschema::options().build(&schema).expect("a generated schema is valid");
        Self { schema, validator }
    }

    /// The schema.
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// The schema as the text of a file: indented, with a final newline.
    pub fn text(&self, draft: Draft) -> String {
        let text = match draft {
            Draft::Current => serde_json::to_string_pretty(&self.schema),
            Draft::Seven => serde_json::to_string_pretty(&draft_07(&self.schema)),
        };
        let mut text = text.expect("JSON values have a text");
        text.push('\n');
        text
    }

    /// The errors of form of a value that stands in another document, each with its advice.
    pub fn problems(&self, value: &Value) -> Vec<String> {
        let found = self.check(value, &Spans::default(), &"".into());
        let text = |one: Diagnostic| match one.help {
            Some(help) => format!("{}; {help}", one.message),
            None => one.message,
        };
        found.into_iter().map(text).collect()
    }

    /// All errors of form of a document.
    pub(super) fn check(&self, document: &Value, spans: &Spans, file: &Arc<str>) -> Vec<Diagnostic> {
        let errors = self.validator.iter_errors(document);
        errors.flat_map(|error| diagnose(&self.schema, &error, spans, file)).take(MAX_FINDINGS + 1).collect()
    }
}

/// The schema (JSON Schema, draft 2020-12) of a type. Without the `null` that serde accepts for an absent value: TOML has
/// none, and editors would offer it.
fn generate<T: schemars::JsonSchema>() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.untagged_enum_variant_titles = false);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    simplify(&mut schema);
    name(&mut schema);
    schema
}

/// Adds an `$id`, and titles where there are none, since editors show them. Moves the important keywords to the front.
fn name(schema: &mut Value) {
    let stem = schema["title"].as_str().and_then(|title| title.rsplit(' ').next()).unwrap_or_default();
    let id = Value::from(format!("{ID}{stem}"));
    let Value::Object(root) = schema else { return };
    root.insert("$id".into(), id);
    lead(root, &["$schema", "$id", "title", "description"]);
    if let Some(Value::Object(types)) = root.get_mut("$defs") {
        entitle(types);
    }
    entitle_properties(schema);
}

fn entitle_properties(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get_mut("properties") {
                entitle(properties);
            }
            map.iter_mut().filter(|(key, _)| *key != "examples").for_each(|(_, one)| entitle_properties(one));
        }
        Value::Array(items) => items.iter_mut().for_each(entitle_properties),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn entitle(schemas: &mut Map<String, Value>) {
    for (key, schema) in schemas {
        if let Value::Object(schema) = schema {
            schema.entry("title").or_insert_with(|| title_of(key).into());
            lead(schema, &["title", "description"]);
        }
    }
}

fn lead(schema: &mut Map<String, Value>, keys: &[&str]) {
    for key in keys.iter().rev() {
        if let Some(value) = schema.shift_remove(*key) {
            schema.shift_insert(0, (*key).to_owned(), value);
        }
    }
}

/// The title of a key or a type: `first_byte` and `FirstByte` become `First byte`.
fn title_of(key: &str) -> String {
    let mut title = String::new();
    for letter in key.chars() {
        match (title.is_empty(), letter) {
            (true, letter) => title.push(letter.to_ascii_uppercase()),
            (false, '_') => title.push(' '),
            (false, letter) if letter.is_ascii_uppercase() => {
                title.extend([' ', letter.to_ascii_lowercase()]);
            }
            (false, letter) => title.push(letter),
        }
    }
    title
}

/// The schema in draft-07. That draft ignores the siblings of a `$ref`, so that the reference moves into an `allOf`.
fn draft_07(schema: &Value) -> Value {
    let mut old = schema.clone();
    if let Value::Object(root) = &mut old {
        root.insert("$schema".into(), "http://json-schema.org/draft-07/schema#".into());
        let id = root.get("$id").and_then(Value::as_str).unwrap_or_default().replacen(ID, ID_DRAFT_07, 1);
        root.insert("$id".into(), id.into());
        if let Some(types) = root.shift_remove("$defs") {
            root.insert("definitions".into(), types);
        }
    }
    refer_down(&mut old);
    old
}

fn refer_down(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::String(path)) = map.get_mut("$ref") {
                *path = path.replacen("#/$defs/", "#/definitions/", 1);
                if map.len() > 1
                    && let Some(path) = map.shift_remove("$ref")
                {
                    map.insert("allOf".into(), serde_json::json!([{ "$ref": path }]));
                }
            }
            map.iter_mut().filter(|(key, _)| *key != "examples").for_each(|(_, one)| refer_down(one));
        }
        Value::Array(items) => items.iter_mut().for_each(refer_down),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The schema of a kind of file.
pub fn schema(kind: FileKind) -> &'static Value {
    checker(kind).schema()
}

/// The schema of a kind of file, as the text of a file under `schema/`.
pub fn schema_text(kind: FileKind, draft: Draft) -> String {
    checker(kind).text(draft)
}

fn simplify(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|one| one != "null");
                if let [one] = types.as_slice() {
                    let one = one.clone();
                    map.insert("type".into(), one);
                }
            }
            if let Some(Value::Array(options)) = map.get_mut("anyOf") {
                options.retain(|option| option.get("type").is_none_or(|one| one != "null"));
                if let [Value::Object(option)] = options.as_slice() {
                    let option = option.clone();
                    map.shift_remove("anyOf");
                    for (key, value) in option {
                        map.entry(key).or_insert(value);
                    }
                }
            }
            if let Some(names) = map.get("oneOf").and_then(all_constants) {
                map.shift_remove("oneOf");
                map.insert("type".into(), "string".into());
                map.insert("enum".into(), names);
            }
            if let Some(Value::Array(values)) = map.get_mut("enum") {
                values.retain(|value| !value.is_null());
            }
            if let Some(Value::String(text)) = map.get_mut("description") {
                // Line breaks of a doc comment have no meaning.
                *text = text.replace('\n', " ");
            }
            if map.get("default").is_some_and(Value::is_null) {
                map.shift_remove("default");
            }
            map.values_mut().for_each(simplify);
        }
        Value::Array(items) => items.iter_mut().for_each(simplify),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The constants, if all alternatives are constants: an `enum` is easier to read than a `oneOf`.
fn all_constants(alternatives: &Value) -> Option<Value> {
    alternatives.as_array()?.iter().map(|alternative| alternative.get("const").cloned()).collect()
}

fn diagnose(schema: &Value, error: &ValidationError<'_>, spans: &Spans, file: &Arc<str>) -> Vec<Diagnostic> {
    let pointer = error.instance_path().to_string();
    let value_at = || spans.value(file, &pointer);
    // The schema of the failed keyword, for its limits and examples.
    let owner = error.schema_path().to_string();
    let owner = owner.rfind('/').and_then(|slash| schema.pointer(&owner[..slash]));
    let name = described(&pointer);
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
            .iter()
            .take(MAX_FINDINGS + 1)
            .map(|key| {
                let at = spans.key(file, &format!("{pointer}/{}", super::spans::pointer_step(key)));
                unknown_key(at, key, owner, (!pointer.is_empty()).then_some(schema))
            })
            .collect(),
        ValidationErrorKind::Required { property } => {
            let property = property.as_str().unwrap_or_default();
            let message = format!("{name} has no `{property}`");
            let help = example_of(schema, owner.and_then(|owner| owner.get("properties")?.get(property)));
            let help = help.map(|example| format!("for example: {} = {example}", toml_key(property)));
            vec![with_help(Diagnostic::new(Code::MissingKey, spans.key(file, &pointer), message), help)]
        }
        ValidationErrorKind::Type { kind } => {
            let message = format!("{name} is {}, but has to be {}", type_of(error.instance()), wanted(kind));
            let referrer = || referrer(schema, &error.evaluation_path().to_string());
            let help = example(schema, owner).or_else(|| example(schema, referrer()));
            vec![with_help(Diagnostic::new(Code::WrongType, value_at(), message), help)]
        }
        ValidationErrorKind::Constant { .. } => {
            let message = format!("{name} is `true`, which means nothing");
            let help = "write `false` to remove the preset's endpoint, or a table".to_owned();
            vec![with_help(Diagnostic::new(Code::BadValue, value_at(), message), Some(help))]
        }
        ValidationErrorKind::Enum { options } => {
            let given = error.instance().as_str().unwrap_or_default();
            let options: Vec<&str> =
                options.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let none = if options.len() == 1 { "not" } else { "none of" };
            let message = format!("{name} is {none} {}", backticked(&options));
            let near = nearest(given, options.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            // One text among values of other types: those are shown.
            let help =
                near.or_else(|| example(schema, of_any_type(schema, error).filter(|_| options.len() == 1)));
            vec![with_help(Diagnostic::new(Code::BadValue, value_at(), message), help)]
        }
        ValidationErrorKind::Pattern { .. } => {
            let message = format!("{name} is not written in the form that it has to have");
            vec![with_help(Diagnostic::new(Code::BadValue, value_at(), message), example(schema, owner))]
        }
        ValidationErrorKind::Minimum { limit } => {
            let message = format!("{name} has to be at least {limit}");
            vec![with_help(Diagnostic::new(Code::BadValue, value_at(), message), example(schema, owner))]
        }
        ValidationErrorKind::Maximum { limit } => {
            let message = format!("{name} has to be at most {limit}");
            vec![with_help(Diagnostic::new(Code::BadValue, value_at(), message), example(schema, owner))]
        }
        ValidationErrorKind::MinItems { limit } => {
            let message = format!("{name} has to have at least {}", counted(limit, "entry"));
            vec![with_help(Diagnostic::new(Code::BadValue, value_at(), message), example(schema, owner))]
        }
        ValidationErrorKind::MaxItems { limit } | ValidationErrorKind::MaxProperties { limit } => {
            let message = format!("{name} has more than {limit} entries");
            vec![Diagnostic::new(Code::BadValue, value_at(), message)]
        }
        ValidationErrorKind::MaxLength { limit } => {
            let message = format!("{name} has more than {limit} characters");
            vec![Diagnostic::new(Code::BadValue, value_at(), message)]
        }
        _ => {
            let message = format!("{name}: {}", error.masked());
            vec![with_help(Diagnostic::new(Code::BadValue, value_at(), message), example(schema, owner))]
        }
    }
}

/// The value at a pointer in words: the file, a key, or an entry of an array.
fn described(pointer: &str) -> String {
    let mut steps = pointer.rsplit('/');
    let last = steps.next().unwrap_or_default();
    match (last.parse::<usize>(), steps.next()) {
        (Ok(index), Some(array)) => format!("entry {} of `{array}`", index + 1),
        _ if last.is_empty() => "the file".to_owned(),
        _ => format!("`{}`", last.replace("~1", "/").replace("~0", "~")),
    }
}

/// `root`: the schema of the file, if the key is not at its top level.
fn unknown_key(
    at: crate::base::diag::Location,
    key: &str,
    owner: Option<&Value>,
    root: Option<&Value>,
) -> Diagnostic {
    let known: Vec<&str> = owner
        .and_then(|owner| owner.get("properties")?.as_object())
        .map(|properties| properties.keys().map(String::as_str).collect())
        .unwrap_or_default();
    // A name that tables have too may belong to another table.
    let of_table = |root: &Value| {
        let types = root.get("$defs").and_then(Value::as_object).into_iter().flatten();
        let mut tables = types.filter(|(name, _)| *name != "Provider");
        tables.any(|(_, table)| table.get("properties").is_some_and(|keys| keys.get(key).is_some()))
    };
    let of_file = root.is_some_and(|root| root["properties"].get(key).is_some() && !of_table(root));
    let help = match nearest(key, known.iter().copied()) {
        _ if of_file => format!("`{key}` is a key of the file itself: it stands above the first `[table]`"),
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known here: {}", backticked(&known)),
    };
    Diagnostic::new(Code::UnknownKey, at, format!("unknown key `{key}`")).help(help)
}

fn with_help(diagnostic: Diagnostic, help: Option<String>) -> Diagnostic {
    match help {
        Some(help) => diagnostic.help(help),
        None => diagnostic,
    }
}

/// The schema with the reference to the type whose keyword is evaluated at `path`. Its example fits better than the type's.
fn referrer<'a>(root: &'a Value, path: &str) -> Option<&'a Value> {
    let above = path.strip_suffix("/$ref/type")?;
    above.split('/').skip(1).try_fold(root, |schema, step| match step {
        "$ref" => root.pointer(schema.get("$ref")?.as_str()?.strip_prefix('#')?),
        _ => schema.pointer(&format!("/{step}")),
    })
}

/// The schema of a value of several types, one of whose types failed.
fn of_any_type<'a>(schema: &'a Value, error: &ValidationError<'_>) -> Option<&'a Value> {
    let path = error.schema_path().to_string();
    schema.pointer(path.strip_suffix("/then/enum")?)
}

/// `for example: ...` in TOML, from an example of the schema.
fn example(root: &Value, owner: Option<&Value>) -> Option<String> {
    example_of(root, owner).map(|example| format!("for example: {example}"))
}

fn example_of(root: &Value, owner: Option<&Value>) -> Option<String> {
    let owner = owner?;
    let target =
        owner.get("$ref").and_then(Value::as_str).and_then(|path| root.pointer(path.strip_prefix('#')?));
    let example = owner.get("examples").or_else(|| target?.get("examples"))?.get(0)?;
    Some(inline_toml(example))
}

/// A JSON value as inline TOML.
fn inline_toml(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let pairs: Vec<_> = map
                .iter()
                .map(|(key, value)| format!("{} = {}", toml_key(key), inline_toml(value)))
                .collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(inline_toml).collect::<Vec<_>>().join(", ")),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

/// A key in TOML, quoted if needed.
pub fn toml_key(key: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !key.is_empty() && key.bytes().all(bare) { key.to_owned() } else { format!("{key:?}") }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a float",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "a table",
    }
}

fn wanted(kind: &TypeKind) -> String {
    let words = |name: &str| match name {
        "object" => "a table",
        "array" => "an array",
        "string" => "a string",
        "integer" => "an integer",
        "number" => "a number",
        "boolean" => "a boolean",
        _ => "something else",
    };
    match kind {
        TypeKind::Single(one) => words(&one.to_string()).to_owned(),
        TypeKind::Multiple(set) => {
            set.iter().map(|one| words(&one.to_string()).to_owned()).collect::<Vec<_>>().join(" or ")
        }
    }
}
