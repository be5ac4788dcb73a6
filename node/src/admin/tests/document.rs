//! The OpenAPI document.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::testing::TestNode;
use crate::testing::matrix::routes_of_source;

fn document() -> Value {
    serde_json::from_slice(crate::admin::document()).unwrap()
}

/// Every operation, with its method and path.
fn operations(document: &Value) -> impl Iterator<Item = (String, String, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths.flat_map(|(path, item)| {
        let operations = item.as_object().unwrap().iter();
        operations.map(move |(method, operation)| (method.to_uppercase(), path.clone(), operation))
    })
}

#[test]
fn the_routes_of_the_rest_api_are_those_of_the_document() {
    let document = document();
    let described: BTreeSet<_> = operations(&document)
        .map(|(method, path, _)| format!("{method} {path}"))
        .collect();
    let mounted: BTreeSet<_> = routes_of_source()
        .into_iter()
        .filter(|(_, file, _)| file.starts_with("admin/") || file == "formats/oci/rest.rs")
        .map(
            |(method, _, path)| match path.starts_with("/api/") || path.starts_with("/-/") {
                true => format!("{method} {path}"),
                false => format!("{method} /api/v4{path}"),
            },
        )
        .collect();
    let undescribed: Vec<_> = mounted.difference(&described).collect();
    assert!(
        undescribed.is_empty(),
        "not mounted by `api_route`, with `get_with(handler, about(…))`: {undescribed:#?}"
    );
    let unmounted: Vec<_> = described.difference(&mounted).collect();
    assert!(unmounted.is_empty(), "in no source: {unmounted:#?}");
}

#[test]
fn every_operation_has_a_name_a_tag_and_says_what_it_does_and_gives() {
    let document = document();
    for tag in document["tags"].as_array().unwrap() {
        assert_ne!(tag["description"], "", "`tag_description` does not know {tag}");
    }
    let mut names = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let route = format!("{method} {path}");
        let name = operation["operationId"]
            .as_str()
            .unwrap_or_else(|| panic!("{route} has no name"));
        assert!(names.insert(name.to_owned()), "{name} comes twice");
        for field in ["summary", "tags"] {
            assert!(operation.get(field).is_some(), "{route} has no {field}");
        }
        let responses = operation["responses"].as_object().unwrap();
        assert!(
            responses.keys().any(|status| status.starts_with(['2', '3'])),
            "{route} does not say what it gives"
        );
        let parts = path.matches('{').count();
        let told = operation["parameters"].as_array().unwrap().iter();
        let told = told.filter(|parameter| parameter["in"] == "path").count();
        assert_eq!(
            told, parts,
            "{route} has parts that `path_parameter` does not know"
        );
    }
}

/// Whoever misspells a field, or hopes for one that is not theirs to set, is told so.
#[test]
fn no_operation_takes_fields_that_it_does_not_know() {
    let document = document();
    let mut lenient = Vec::new();
    // OAuth 2.0 wants parameters that are not known to be passed over (RFC 6749, section 3.2).
    let strict = operations(&document).filter(|(_, path, _)| !path.starts_with("/-/oidc/"));
    for (method, path, operation) in strict {
        let Some(content) = operation["requestBody"]["content"].as_object() else {
            continue;
        };
        for media in content.values() {
            let mut schema = &media["schema"];
            if let Some(reference) = schema["$ref"].as_str() {
                schema = document.pointer(reference.trim_start_matches('#')).unwrap();
            }
            let closed = ["additionalProperties", "unevaluatedProperties"];
            if closed.iter().all(|keyword| schema[*keyword] != false) {
                lenient.push(format!("{method} {path}"));
            }
        }
    }
    assert!(lenient.is_empty(), "{lenient:#?}");
}

#[tokio::test]
async fn the_document_is_served_to_everyone_and_again_only_if_it_is_another() {
    let node = TestNode::start().await;
    let first = node.get("/api/v4/openapi.json").send().await.expect(200);
    assert_eq!(first.header("content-type"), "application/json");
    assert_eq!(first.json()["openapi"], "3.1.0");
    let again = node.get("/api/v4/openapi.json");
    let again = again.header("if-none-match", first.header("etag"));
    again.send().await.expect(304);
}
