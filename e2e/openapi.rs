//! `openapi.yaml`, and whether it describes a response.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex},
};

use jsonschema::Validator;
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::{Response, read, workspace};

/// The parsed document.
pub fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> =
        LazyLock::new(|| serde_saphyr::from_str(&read("openapi.yaml")).unwrap());
    &DOCUMENT
}

/// Follows `$ref` if there is one.
fn resolve(value: &'static Value) -> &'static Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(reference) => {
            let target = document().pointer(reference.strip_prefix('#').unwrap());
            resolve(target.unwrap_or_else(|| panic!("{reference} does not exist")))
        }
        None => value,
    }
}

/// The members of an object; none if the value is not an object.
pub fn members(value: &'static Value) -> &'static Map<String, Value> {
    static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
    value.as_object().unwrap_or(&NONE)
}

/// The validator for a schema of the document.
///
/// Rejects unknown members: clients should ignore those, but the services must not send any.
fn validator(schema: &Value) -> Arc<Validator> {
    static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);
    let mut validators = VALIDATORS.lock().unwrap();
    let validator = validators.entry(schema.to_string()).or_insert_with(|| {
        let mut whole = schema.as_object().unwrap().clone();
        let mut schemas = document()["components"]["schemas"].clone();
        for schema in schemas.as_object_mut().unwrap().values_mut().filter_map(Value::as_object_mut) {
            if schema.contains_key("properties") {
                schema.insert("additionalProperties".to_owned(), false.into());
            }
        }
        whole.insert("components".to_owned(), json!({ "schemas": schemas }));
        let options = jsonschema::draft202012::options().should_validate_formats(true);
        Arc::new(options.build(&whole.into()).unwrap())
    });
    Arc::clone(validator)
}

/// Asserts that a value matches a schema in the document.
#[track_caller]
pub fn assert_valid(schema: &Value, instance: &Value, place: &str) {
    let validator = validator(schema);
    let errors: Vec<_> =
        validator.iter_errors(instance).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{place} does not match openapi.yaml: {errors:#?}\n{instance:#}");
}

/// Asserts that the document describes this response: its status, headers, content type and body.
pub(crate) fn assert_conforms(method: &Method, path: &str, response: &Response) {
    let place = format!("{} to {method} {path}", response.status);
    // A host without some of the components has an empty 404 of its own.
    let is_from_host =
        response.status == 404 && response.body.is_empty() && response.header("content-type").is_none();
    let is_page_file = workspace().join("web/static").join(path.trim_start_matches('/')).is_file();
    // OPTIONS is described in prose only.
    if *method == Method::OPTIONS || is_from_host || is_page_file {
        return;
    }
    let shared = &document()["components"]["responses"];
    let status = response.status.to_string();
    let item = document()["paths"].get(path);
    let operation = item.and_then(|item| item.get(method.as_str().to_ascii_lowercase()));
    // Every path with GET also has HEAD.
    let operation = operation.or_else(|| item.filter(|_| *method == Method::HEAD)?.get("get"));
    let documented = match (item, operation) {
        (_, Some(operation)) => operation["responses"].get(&status).map(resolve),
        _ if response.status == 503 => Some(&shared["Unavailable"]),
        (Some(_), None) => Some(&shared["MethodNotAllowed"]).filter(|_| response.status == 405),
        (None, None) => Some(&shared["NoSuchPath"]).filter(|_| response.status == 404),
    };
    let documented = documented.unwrap_or_else(|| panic!("openapi.yaml lacks {place}: {}", response.text()));

    for (name, header) in members(&documented["headers"]) {
        let header = resolve(header);
        match response.header(name) {
            Some(text) => {
                let is_integer = resolve(&header["schema"])["type"] == "integer";
                let value = if is_integer { text.parse::<u64>().unwrap().into() } else { text.into() };
                assert_valid(&header["schema"], &value, &format!("{name} of {place}"));
            }
            None => assert_ne!(header["required"], true, "{place} lacks {name}"),
        }
    }
    if *method == Method::HEAD {
        return;
    }
    let content_type = response.header("content-type").map(|text| text.split(';').next().unwrap());
    let content = members(&documented["content"]);
    let Some(content_type) = content_type else {
        assert!(content.is_empty() && response.body.is_empty(), "{place} has no content type");
        return;
    };
    let media = content.get(content_type);
    let media = media.unwrap_or_else(|| panic!("openapi.yaml lacks {content_type} in {place}"));
    if content_type.ends_with("/json") || content_type.ends_with("+json") {
        assert_valid(&media["schema"], &response.json(), &place);
    }
}
