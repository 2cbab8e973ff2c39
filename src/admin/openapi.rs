//! The `OpenAPI` 3.1 document, generated from the table of operations. `tollgate schema` writes it, and
//! `schema/openapi.json` is its output.

use std::collections::BTreeMap;

use http::StatusCode;
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    operations::{Access, OPERATIONS, Operation, OperationId, Parameter, ParameterKind, ResponseBody},
    payloads::FaultDocument,
    scope,
};
use crate::{decide::SessionCookie, fault::FaultKind};

/// The text of the document.
pub fn openapi() -> String {
    let mut text = serde_json::to_string_pretty(&document()).expect("JSON values have a text");
    text.push('\n');
    text
}

fn document() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS {
        let at = paths.entry(operation.path).or_insert_with(|| json!({}));
        at[operation.method.to_ascii_lowercase()] = describe(operation, &mut generator);
    }
    generator.subschema_for::<FaultDocument>();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "tollgate",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Accounts, provider files and health checks of a tollgate",
            "description": "Operations below `/admin` take an admin token, those below `/auth` a user's token of the kind `manage` or `both`. A browser may have a session in their place; it changes something only from pages of the same origin. With a valid token, unknown paths and methods are 404. `HEAD` is answered as `GET`, and `OPTIONS` by 204 for browsers.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "tags": [
            { "name": "health", "description": "Health checks" },
            { "name": "admin", "description": "Administration" },
            { "name": "self-service", "description": "A user's own account" },
        ],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "adminToken": { "type": "http", "scheme": "bearer", "description": "An admin token" },
                "userToken": { "type": "http", "scheme": "bearer", "description": "A user's token" },
                "adminSession": session(SessionCookie::Admin),
                "userSession": session(SessionCookie::User),
            },
            "schemas": generator.take_definitions(true),
        },
    })
}

/// The cookie of a session as a way to authenticate.
fn session(cookie: SessionCookie) -> Value {
    let [secure, plain] = cookie.names();
    let description = format!("A session; without TLS, the cookie is `{plain}`");
    json!({ "type": "apiKey", "in": "cookie", "name": secure, "description": description })
}

fn describe(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let (tag, security) = match operation.access {
        Access::Public => ("health", json!([])),
        Access::Admin | Access::Local => ("admin", json!([{ "adminToken": [] }, { "adminSession": [] }])),
        Access::User => ("self-service", json!([{ "userToken": [] }, { "userSession": [] }])),
    };
    let mut description = json!({
        "operationId": id(operation),
        "summary": operation.summary,
        "tags": [tag],
        "security": security,
    });
    let parameters = parameters(operation);
    if !parameters.is_empty() {
        description["parameters"] = parameters.into();
    }
    if let Some(body) = &operation.body {
        let schema = (body.schema.generate)(generator);
        description["requestBody"] =
            json!({ "required": !body.optional, "content": { "application/json": { "schema": schema } } });
    }
    description["responses"] = responses(operation, generator);
    description
}

/// The operation id: method and path in words, such as `get_admin_users_id`.
fn id(operation: &Operation) -> String {
    let words =
        operation.path.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let words: Vec<&str> = words.collect();
    format!("{}_{}", operation.method.to_ascii_lowercase(), words.join("_"))
}

fn parameters(operation: &Operation) -> Vec<Value> {
    let names = operation.path.split('/').filter_map(|step| step.strip_prefix('{')?.strip_suffix('}'));
    let mut all: Vec<Value> = names
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } }))
        .collect();
    if operation.paged {
        let limit = "Maximum number of items; all if left out";
        let after = "The id of the last item of the page before, as its `Link` has it";
        all.push(json!({ "name": "limit", "in": "query", "description": limit, "schema": { "type": "integer", "minimum": 0 } }));
        all.push(
            json!({ "name": "after", "in": "query", "description": after, "schema": { "type": "string" } }),
        );
    }
    if operation.with_made {
        let made = "True to end also the tokens that it created, recursively, and those that it replaced or that replaced it";
        all.push(json!({ "name": "withMade", "in": "query", "description": made, "schema": { "type": "boolean" } }));
    }
    if operation.takes_user() {
        all.push(parameter(&scope::USER));
    }
    all.extend(operation.parameters.iter().map(parameter));
    all
}

fn parameter(Parameter { name, description, kind }: &Parameter) -> Value {
    let schema = match kind {
        ParameterKind::Text => json!({ "type": "string", "minLength": 1, "maxLength": 256 }),
        ParameterKind::Count { max } => json!({ "type": "integer", "minimum": 0, "maximum": max }),
        ParameterKind::Word(words) => json!({ "type": "string", "enum": words }),
    };
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}

fn responses(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut all: BTreeMap<u16, Value> = BTreeMap::new();
    for ResponseBody { status, schema } in
        [Some(operation.success), operation.alternative].into_iter().flatten()
    {
        let reason = StatusCode::from_u16(status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or_default();
        let schema = (schema.generate)(generator);
        let mut response =
            json!({ "description": reason, "content": { "application/json": { "schema": schema } } });
        if operation.streams && status == 200 {
            let text = "Events of the WHATWG HTML standard, section 9.2. The data of `status` is a `StatusEvent`, that of `overview` an `Overview`, that of `end` an object with the `reason`: `session` if the token or session is not valid any more, `replaced` if newer streams of it took its place, `stopping` if tollgate stops, `store` if that cannot be known now";
            response["content"] =
                json!({ "text/event-stream": { "schema": { "type": "string", "description": text } } });
        }
        if operation.csv && status == 200 {
            response["content"]["text/csv"] = json!({ "schema": { "type": "string" } });
        }
        if operation.id.changes_session() && status < 300 {
            let cookie = "The cookie of the session, set or removed";
            response["headers"] =
                json!({ "Set-Cookie": { "description": cookie, "schema": { "type": "string" } } });
        }
        if operation.paged && status == 200 {
            let link = "The next page (`rel=\"next\"`), if there is one";
            response["headers"] = json!({ "Link": { "description": link, "schema": { "type": "string" } } });
        }
        all.insert(status, response);
    }
    let mut faults: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for kind in faults_of(operation) {
        let codes = faults.entry(kind.status().as_u16()).or_default();
        codes.push(format!("`{}`", kind.code()));
    }
    for (status, codes) in faults {
        let schema = generator.subschema_for::<FaultDocument>();
        let fault = json!({ "description": codes.join(", "), "content": { "application/json": { "schema": schema } } });
        all.entry(status).or_insert(fault);
    }
    all.into_iter().map(|(status, response)| (status.to_string(), response)).collect::<Map<_, _>>().into()
}

/// All faults that an operation may return.
pub(super) fn faults_of(operation: &Operation) -> Vec<FaultKind> {
    let mut all = vec![FaultKind::MalformedRequest];
    all.extend(match operation.access {
        Access::Public => &[][..],
        Access::Admin => &[
            FaultKind::MissingToken,
            FaultKind::ForeignToken,
            FaultKind::InvalidAdminToken,
            FaultKind::TooManyAttempts,
            FaultKind::StoreUnavailable,
        ],
        Access::Local => &[
            FaultKind::MissingToken,
            FaultKind::ForeignToken,
            FaultKind::InvalidAdminToken,
            FaultKind::TooManyAttempts,
            FaultKind::StoreUnavailable,
            FaultKind::NotFound,
        ],
        Access::User => &[
            FaultKind::MissingToken,
            FaultKind::ForeignToken,
            FaultKind::InvalidToken,
            FaultKind::TokenKind,
            FaultKind::UserDisabled,
            FaultKind::TooManyCalls,
            FaultKind::TooManyAttempts,
            FaultKind::StoreUnavailable,
        ],
    });
    if operation.access == Access::User && operation.method != "GET" {
        all.push(FaultKind::TokenReplaced);
    }
    if operation.access != Access::Public && operation.method != "GET" {
        all.push(FaultKind::CrossSite);
    }
    if operation.takes_user() {
        all.push(FaultKind::OtherUser);
    }
    let on_files = matches!(operation.id, OperationId::Files(_));
    if operation.access != Access::Public
        && operation.method != "GET"
        && !on_files
        && !operation.id.only_reads()
    {
        all.push(FaultKind::ChangeUnconfirmed);
    }
    if operation.body.is_some() {
        all.extend([FaultKind::InvalidRequest, FaultKind::BodyTooLarge, FaultKind::BodyTimeout]);
    } else if operation.paged || operation.with_made || !operation.parameters.is_empty() {
        all.push(FaultKind::InvalidRequest);
    }
    all.extend(operation.faults);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_references(value: &Value, root: &Value, seen: &mut usize) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(path)) = map.get("$ref") {
                    assert!(
                        root.pointer(path.strip_prefix('#').unwrap()).is_some(),
                        "{path} resolves to nothing"
                    );
                    *seen += 1;
                }
                map.values().for_each(|one| check_references(one, root, seen));
            }
            Value::Array(items) => items.iter().for_each(|one| check_references(one, root, seen)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn the_document_is_valid_and_complete() {
        let document = document();
        let mut seen = 0;
        check_references(&document, &document, &mut seen);
        assert!(seen > 50, "{seen}");
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            assert!(jsonschema::meta::is_valid(schema), "{name} is not a schema");
            assert!(schema["description"].is_string(), "{name} has no description");
        }
        let paths = document["paths"].as_object().unwrap();
        let operations: usize = paths.values().map(|path| path.as_object().unwrap().len()).sum();
        assert_eq!(operations, OPERATIONS.len());
        for operation in OPERATIONS {
            let faults = faults_of(operation);
            let once = faults.iter().filter(|kind| faults.iter().filter(|one| one == kind).count() == 1);
            assert_eq!(once.count(), faults.len(), "{} {}: {faults:?}", operation.method, operation.path);
        }
    }
}
