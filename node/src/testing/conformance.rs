//! Holds what tests get against the OpenAPI document, so that it cannot say what is not so.
//!
//! Every answer of a [`super::TestNode`] to a request that the document knows passes by here.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};

use axum::http::Method;
use jsonschema::Validator;
use serde_json::{Value, json};

use super::Answer;

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_slice(crate::admin::document()).unwrap());

/// What the document says of the answers of one operation with one status.
type Told = (String, String, String);

static VALIDATORS: LazyLock<Mutex<BTreeMap<Told, Arc<Validator>>>> = LazyLock::new(Mutex::default);

/// Makes sure that an answer is what the document says of it, if it says anything.
#[track_caller]
pub(super) fn check(method: &Method, target: &str, answer: &Answer) {
    let path = target.split('?').next().unwrap_or_default();
    let Some((template, operation)) = operation(method, path) else {
        return;
    };
    let status = answer.status.to_string();
    let range = format!("{}XX", &status[..1]);
    let responses = &operation["responses"];
    let told = [&status, &range]
        .into_iter()
        .find(|told| responses.get(told).is_some());
    let told = told.unwrap_or_else(|| panic!("{method} {template} is not said to answer {status}"));
    let response = resolved(&responses[told]);
    let kind = answer.header("content-type");
    let Some(contents) = response["content"].as_object() else {
        assert!(
            answer.body.is_empty(),
            "{method} {template} is said to answer {status} with nothing, not {}",
            answer.text()
        );
        return;
    };
    let content = contents
        .iter()
        .find(|(told, _)| *told == "*/*" || kind.starts_with(told.as_str()));
    let (_, content) =
        content.unwrap_or_else(|| panic!("{method} {template} is not said to answer {status} with {kind:?}"));
    let Some(schema) = content.get("schema") else {
        return;
    };
    let key = (method.to_string(), template.to_owned(), told.clone());
    let validator = VALIDATORS
        .lock()
        .unwrap()
        .entry(key)
        .or_insert_with(|| Arc::new(validator(schema)))
        .clone();
    let body = answer.json();
    let errors: Vec<_> = validator
        .iter_errors(&body)
        .map(|error| error.to_string())
        .collect();
    assert!(
        errors.is_empty(),
        "{method} {template} answers {status} with {body:#}, of which the document says otherwise: {errors:#?}"
    );
}

/// A validator for a schema of the document.
pub(crate) fn validator(schema: &Value) -> Validator {
    let whole = json!({ "components": DOCUMENT["components"], "allOf": [schema] });
    jsonschema::draft202012::new(&whole).unwrap()
}

/// The operation that a request is for, with its path.
pub(crate) fn operation(method: &Method, path: &str) -> Option<(&'static str, &'static Value)> {
    let method = method.as_str().to_lowercase();
    let mut found: Vec<_> = DOCUMENT["paths"]
        .as_object()
        .unwrap()
        .iter()
        .filter_map(|(template, item)| Some((template.as_str(), item.get(&method)?)))
        .filter(|(template, operation)| is_for(template, operation, path))
        .collect();
    // `/personal_access_tokens/self` is no number.
    found.sort_by_key(|(template, _)| template.matches('{').count());
    found.into_iter().next()
}

fn is_for(template: &str, operation: &Value, path: &str) -> bool {
    let (mut told, mut asked) = (template.split('/'), path.split('/'));
    loop {
        match (told.next(), asked.next()) {
            (None, None) => return true,
            (Some(told), Some(asked)) => match told.strip_prefix('{').and_then(|name| name.strip_suffix('}'))
            {
                Some(name) if is_number(operation, name) => {
                    if asked.parse::<u64>().is_err() {
                        return false;
                    }
                }
                Some(_) if !asked.is_empty() => {}
                _ if told == asked => {}
                _ => return false,
            },
            _ => return false,
        }
    }
}

fn is_number(operation: &Value, name: &str) -> bool {
    let mut parameters = operation["parameters"].as_array().into_iter().flatten();
    parameters.any(|parameter| parameter["name"] == name && parameter["schema"]["type"] == "integer")
}

fn resolved(value: &'static Value) -> &'static Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(reference) => DOCUMENT.pointer(reference.trim_start_matches('#')).unwrap(),
        None => value,
    }
}
