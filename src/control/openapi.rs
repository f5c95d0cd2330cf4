//! `/openapi.json`: the description of the API in OpenAPI 3.1, made of the list of operations and
//! of the types that bodies are read into and answers written from.

use std::sync::LazyLock;

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::answer::{Answer, ErrorEnveloped};
use super::call::Call;
use super::error::ApiError;
use super::operation::{OPERATIONS, Operation};
use super::query::{PAGE_LIMIT, Parameter, WAIT_LIMIT};
use super::words::ID_LIMIT;
use crate::core::permissions::Level;
use crate::core::routes::RequiresSpec;

static DOCUMENT: LazyLock<String> = LazyLock::new(|| document().to_string());

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("GET", "/openapi.json", "Describe this API", describe)
            .requires(RequiresSpec::Public)
            .answers_document(),
    ]
}

fn describe(_: &Call<'_>) -> Result<Answer, ApiError> {
    Ok(Answer::document(&DOCUMENT))
}

/// Schemas of bodies, and those of answers: what may be left out differs.
struct Schemas {
    bodies: SchemaGenerator,
    answers: SchemaGenerator,
}

fn document() -> Value {
    let settings = || {
        SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
    };
    let mut schemas = Schemas {
        bodies: settings().for_deserialize().into_generator(),
        answers: settings().for_serialize().into_generator(),
    };
    let error = schemas.answers.subschema_for::<ErrorEnveloped>().to_value();
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS.iter().filter(|operation| !operation.is_of_feed) {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.to_lowercase()] = describe_operation(operation, &mut schemas, &error);
    }
    let mut components = schemas.bodies.take_definitions(true);
    components.extend(schemas.answers.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Portcullis management API",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "bearer": [] }, { "token": [] }],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "token": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`Token`, a space, and the token",
                },
            },
        },
    })
}

fn describe_operation(operation: &Operation, schemas: &mut Schemas, error: &Value) -> Value {
    let mut described = json!({
        "operationId": operation.summary.to_lowercase().replace(' ', "_"),
        "summary": operation.summary,
        "description": needs(operation),
        "parameters": parameters(operation),
        "responses": responses(operation, schemas, error),
    });
    if operation.requires == RequiresSpec::Public {
        described["security"] = json!([]);
    }
    if let Some(body) = operation.body {
        let schema = body(&mut schemas.bodies).to_value();
        described["requestBody"] = json!({
            "required": !operation.is_body_optional,
            "content": { "application/json": { "schema": schema } },
        });
    }
    described
}

fn needs(operation: &Operation) -> String {
    let level = |level: &Level| if *level == Level::Write { "W" } else { "R" };
    let mut needs = match &operation.requires {
        RequiresSpec::Public => "For everyone.".to_owned(),
        RequiresSpec::Authenticated => "For any valid token.".to_owned(),
        RequiresSpec::OwnUser => "For personal tokens of the user in the path.".to_owned(),
        RequiresSpec::All(all) => {
            let all: Vec<String> =
                all.iter().map(|(resource, at)| format!("{resource}:{}", level(at))).collect();
            format!("Needs {}.", all.join(" and "))
        }
    };
    if operation.manages_tokens {
        needs.push_str(
            " A personal token's user must administer the account and have a Developer licence.",
        );
    }
    needs
}

fn parameters(operation: &Operation) -> Vec<Value> {
    let captures = operation.path.split('/').filter_map(|segment| {
        segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}'))
    });
    let captures = captures.map(|name| {
        let schema = match name {
            "index" => json!({ "type": "string", "minLength": 1 }),
            _ => json!({ "type": "integer", "minimum": 0, "maximum": ID_LIMIT }),
        };
        json!({ "name": name, "in": "path", "required": true, "schema": schema })
    });
    let query = operation.query.iter().map(|parameter| {
        json!({ "name": parameter.name(), "in": "query", "schema": schema_of(*parameter) })
    });
    captures.chain(query).collect()
}

fn schema_of(parameter: Parameter) -> Value {
    match parameter {
        Parameter::Limit => {
            json!({ "type": "integer", "minimum": 1, "maximum": PAGE_LIMIT, "default": PAGE_LIMIT })
        }
        Parameter::Offset => {
            json!({ "type": "integer", "minimum": 0, "maximum": ID_LIMIT, "default": 0 })
        }
        Parameter::Force => json!({ "type": "boolean", "default": false }),
        Parameter::IncludeRelated => json!({ "type": "string" }),
        Parameter::Since => duration("7d"),
        Parameter::Silent => duration("1d"),
        Parameter::After => json!({ "type": "string" }),
        Parameter::Wait => {
            json!({ "type": "integer", "minimum": 0, "maximum": WAIT_LIMIT, "default": 0 })
        }
    }
}

fn duration(default: &str) -> Value {
    json!({ "type": "string", "pattern": "^[0-9]{1,4}(ms|s|m|h|d)$", "default": default })
}

fn responses(operation: &Operation, schemas: &mut Schemas, error: &Value) -> Value {
    let json = |schema: Value| json!({ "application/json": { "schema": schema } });
    let mut success = json!({ "description": "Done." });
    if let Some(answer) = operation.answer {
        success["content"] = json(answer(&mut schemas.answers).to_value());
    }
    let mut responses = json!({ (operation.status.to_string()): success });
    for (status, description) in failures(operation) {
        responses[status] = json!({ "description": description, "content": json(error.clone()) });
    }
    responses
}

/// What can be answered instead.
fn failures(operation: &Operation) -> Vec<(&'static str, &'static str)> {
    let mut failures = vec![
        ("400", "A field, a parameter or the path is wrong."),
        ("503", "The service cannot answer now: try again."),
    ];
    if operation.requires != RequiresSpec::Public {
        failures.extend([
            ("401", "No valid token."),
            ("429", "Too many credentials from this address have failed."),
            ("403", "The token may not do this, or not from this address."),
        ]);
    }
    if operation.path.contains('{') {
        failures.push(("404", "There is no such thing in this account."));
    }
    if operation.method != "GET" {
        failures.push(("409", "A rule forbids it, or the present state does."));
    }
    if operation.body.is_some() {
        failures.extend([
            ("408", "The body took too long."),
            ("413", "The body is too large."),
            ("415", "The body is not JSON."),
        ]);
    }
    failures
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_operation_is_described_under_a_name_of_its_own() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let names: Vec<&Value> = paths
            .values()
            .flat_map(|path| path.as_object().unwrap().values())
            .map(|operation| &operation["operationId"])
            .collect();
        let described = OPERATIONS.iter().filter(|operation| !operation.is_of_feed);
        assert_eq!(names.len(), described.count());
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(!document["components"]["schemas"][name].is_null(), "{name}");
        }
    }
}
