//! The `OpenAPI` 3.1 document: the table of calls, told in another way.

use std::collections::BTreeMap;

use http::StatusCode;
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    operations::{OPERATIONS, Operation, Reply, Who},
    shape::FaultDocument,
};
use crate::fault::Kind;

/// The document as it stands in its file.
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
        at[operation.method.to_ascii_lowercase()] = described(operation, &mut generator);
    }
    generator.subschema_for::<FaultDocument>();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "tollgate",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Accounts, provider files and health of a tollgate",
            "description": "Calls below `/admin` take an admin token, those below `/auth` a user's token of the kind `manage` or `both`. Unknown paths and methods are 404 once the token is good. `HEAD` is answered as `GET` is, and `OPTIONS` by 204 for browsers.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "tags": [
            { "name": "health", "description": "For whoever watches the process" },
            { "name": "admin", "description": "For whoever runs it" },
            { "name": "self-service", "description": "For its users" },
        ],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "adminToken": { "type": "http", "scheme": "bearer", "description": "An admin token" },
                "userToken": { "type": "http", "scheme": "bearer", "description": "A user's token" },
            },
            "schemas": generator.take_definitions(true),
        },
    })
}

fn described(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let (tag, security) = match operation.who {
        Who::Public => ("health", json!([])),
        Who::Admin | Who::Local => ("admin", json!([{ "adminToken": [] }])),
        Who::User => ("self-service", json!([{ "userToken": [] }])),
    };
    let mut described = json!({
        "operationId": id(operation),
        "summary": operation.summary,
        "tags": [tag],
        "security": security,
    });
    let parameters = parameters(operation);
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    if let Some(body) = &operation.body {
        let schema = (body.shape.schema)(generator);
        described["requestBody"] =
            json!({ "required": !body.optional, "content": { "application/json": { "schema": schema } } });
    }
    described["responses"] = responses(operation, generator);
    described
}

/// Method and path in words: `get_admin_users_id`.
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
        let limit = "How many to give, at most; all if left out";
        let after = "The id after which to go on, as the `Link` of the page before has it";
        all.push(json!({ "name": "limit", "in": "query", "description": limit, "schema": { "type": "integer", "minimum": 0 } }));
        all.push(
            json!({ "name": "after", "in": "query", "description": after, "schema": { "type": "string" } }),
        );
    }
    all
}

fn responses(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut all: BTreeMap<u16, Value> = BTreeMap::new();
    for Reply { status, shape } in [Some(operation.answer), operation.other].into_iter().flatten() {
        let reason = StatusCode::from_u16(status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or_default();
        let schema = (shape.schema)(generator);
        let mut response =
            json!({ "description": reason, "content": { "application/json": { "schema": schema } } });
        if operation.paged && status == 200 {
            let link = "The next page (`rel=\"next\"`), where there is one";
            response["headers"] = json!({ "Link": { "description": link, "schema": { "type": "string" } } });
        }
        all.insert(status, response);
    }
    let mut faults: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for kind in faults_of(operation) {
        let told = faults.entry(kind.status().as_u16()).or_default();
        told.push(format!("`{}`", kind.code()));
    }
    for (status, codes) in faults {
        let schema = generator.subschema_for::<FaultDocument>();
        let fault = json!({ "description": codes.join(", "), "content": { "application/json": { "schema": schema } } });
        all.entry(status).or_insert(fault);
    }
    all.into_iter().map(|(status, response)| (status.to_string(), response)).collect::<Map<_, _>>().into()
}

/// All faults that a call may be answered by.
pub(super) fn faults_of(operation: &Operation) -> Vec<Kind> {
    let mut all = vec![Kind::MalformedRequest];
    all.extend(match operation.who {
        Who::Public => &[][..],
        Who::Admin => &[Kind::InvalidAdminToken, Kind::TooManyAttempts, Kind::StoreUnavailable],
        Who::Local => {
            &[Kind::InvalidAdminToken, Kind::TooManyAttempts, Kind::StoreUnavailable, Kind::NotFound]
        }
        Who::User => &[
            Kind::InvalidToken,
            Kind::TokenKind,
            Kind::UserDisabled,
            Kind::TooManyCalls,
            Kind::TooManyAttempts,
            Kind::StoreUnavailable,
        ],
    });
    if operation.who == Who::User && operation.method != "GET" {
        all.push(Kind::TokenReplaced);
    }
    if operation.body.is_some() {
        all.extend([Kind::InvalidRequest, Kind::BodyTooLarge, Kind::BodyTimeout]);
    } else if operation.paged {
        all.push(Kind::InvalidRequest);
    }
    all.extend(operation.faults);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(value: &Value, root: &Value, seen: &mut usize) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(path)) = map.get("$ref") {
                    assert!(root.pointer(path.strip_prefix('#').unwrap()).is_some(), "{path} leads nowhere");
                    *seen += 1;
                }
                map.values().for_each(|one| look(one, root, seen));
            }
            Value::Array(items) => items.iter().for_each(|one| look(one, root, seen)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Every reference leads somewhere, and every schema is one.
    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let mut seen = 0;
        look(&document, &document, &mut seen);
        assert!(seen > 50, "{seen}");
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            assert!(jsonschema::meta::is_valid(schema), "{name} is no schema");
            assert!(schema["description"].is_string(), "{name} is not described");
        }
        let paths = document["paths"].as_object().unwrap();
        let calls: usize = paths.values().map(|path| path.as_object().unwrap().len()).sum();
        assert_eq!(calls, OPERATIONS.len());
        for operation in OPERATIONS {
            let faults = faults_of(operation);
            let once = faults.iter().filter(|kind| faults.iter().filter(|one| one == kind).count() == 1);
            assert_eq!(once.count(), faults.len(), "{} {}: {faults:?}", operation.method, operation.path);
        }
    }
}
