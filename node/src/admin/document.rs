//! The OpenAPI document of the REST API: put together from the routes and from the types of their
//! handlers, and served from memory.
//!
//! What handlers take and give describes itself, in [`crate::http::rest`]. Here is what all operations
//! have in common: how one signs in, how requests fail, where a page is in its list, and what the
//! parts of paths mean.

use aide::axum::ApiRouter;
use aide::generate;
use aide::openapi::OpenApi;
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, header};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::auth::session::COOKIE_NAME;
use crate::http::error::ApiError;
use crate::http::rest::Document;
use crate::http::{Served, serve_bytes};

/// Routes, and the document that tells of them.
pub(super) struct Described {
    pub(super) routes: Router<App>,
    pub(super) document: Bytes,
    etag: String,
}

impl Described {
    /// Puts the document together.
    pub(super) fn new(routes: impl FnOnce() -> ApiRouter<App>) -> Self {
        generate::in_context(|context| {
            let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            });
            context.schema = settings.into_generator();
        });
        let mut api = OpenApi::default();
        let routes = routes().finish_api(&mut api);
        let document = serde_json::to_value(&api).expect("a document of text, lists and maps");
        let document = Bytes::from(complete(document).to_string());
        Self {
            routes,
            etag: blake3::hash(&document).to_hex()[..32].to_owned(),
            document,
        }
    }

    /// Answers with the document.
    pub(super) fn answer(&self, method: &Method, headers: &HeaderMap) -> Result<Document, ApiError> {
        let served = Served::new(&self.etag)
            .with_type("application/json")
            .with_header(header::CACHE_CONTROL, "public, no-cache");
        serve_bytes(method, headers, self.document.clone(), served).map(Document)
    }
}

const INFO: &str = "\
The URLs below `/api/v4` are GitLab's, so that its clients work by changing the host; what GitLab does not have lies \
below `/api/cairn/v1`.\n\n\
Bodies are JSON. The same fields are taken as a form, and in the query: there, lists are sent as `name[]=a&name[]=b`. \
Numbers and booleans may always be sent as text.\n\n\
A list comes in pages, of which the headers `Link`, `X-Page` and so on tell; `pagination=keyset` leads through lists \
of any length. An error says `message`, or `error` if it is about a parameter.";

/// How a request shows who sends it.
fn security_schemes() -> Value {
    json!({
        "private_token": {
            "type": "apiKey", "in": "header", "name": "PRIVATE-TOKEN",
            "description": "A personal, project or group access token.",
        },
        "bearer": { "type": "http", "scheme": "bearer", "description": "Any token." },
        "basic": {
            "type": "http", "scheme": "basic",
            "description": "Any token as the password. Deploy tokens have usernames of their own; with \
                            others, any username will do.",
        },
        "deploy_token": {
            "type": "apiKey", "in": "header", "name": "DEPLOY-TOKEN", "description": "A deploy token.",
        },
        "session": {
            "type": "apiKey", "in": "cookie", "name": COOKIE_NAME,
            "description": "What a browser got by signing in; it counts for requests from Cairn's own pages.",
        },
        "job_token": {
            "type": "apiKey", "in": "header", "name": "JOB-TOKEN",
            "description": "A token that a CI job got for what its CI service says of it.",
        },
    })
}

/// The names of [`security_schemes`], as one of them is asked for.
fn any_credential() -> Vec<Value> {
    let Value::Object(schemes) = security_schemes() else {
        return Vec::new();
    };
    schemes.keys().map(|name| json!({ name: [] })).collect()
}

/// How requests fail.
fn responses() -> Value {
    let error = |description: &str| {
        json!({
            "description": description,
            "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } },
        })
    };
    json!({
        "BadRequest": error("A parameter is missing or cannot be taken."),
        "Unauthorized": error("Credentials are missing, or do not hold."),
        "Forbidden": error("The caller may not do this."),
        "NotFound": error("There is no such thing, or the caller may not know of it."),
        "Refused": error(
            "409: what is there does not allow it. 410: it is gone for good. 412: a condition does not hold. \
             413: the body is too large. 422: the content cannot be taken. 429: too many requests; \
             `Retry-After` says how long to wait."
        ),
        "Failed": error(
            "503: the cluster cannot answer now; `Retry-After` says when to try again. 507: the disks are full. \
             501: the node is not part of a cluster. 500: a fault of Cairn's."
        ),
    })
}

fn error_schema() -> Value {
    json!({
        "description": "Why a request failed, as GitLab words it.",
        "type": "object",
        "properties": {
            "message": {
                "description": "What went wrong; of fields that cannot be taken, what is wrong with each.",
                "anyOf": [
                    { "type": "string" },
                    {
                        "type": "object",
                        "additionalProperties": { "type": "array", "items": { "type": "string" } },
                    },
                ],
            },
            "error": { "type": "string", "description": "What is wrong with the parameters." },
            "error_description": { "type": "string", "description": "Why, from the token exchange." },
        },
        "anyOf": [{ "required": ["message"] }, { "required": ["error"] }],
    })
}

fn headers() -> Value {
    let number = |description: &str| json!({ "description": description, "schema": { "type": "integer" } });
    let maybe = |description: &str| json!({ "description": description, "schema": { "type": "string" } });
    json!({
        "Link": maybe("The pages around this one, as RFC 8288 has it: `next`, `prev`, `first`, `last`."),
        "X-Page": number("The number of the page."),
        "X-Per-Page": number("How many rows a page has."),
        "X-Next-Page": maybe("The number of the next page; empty on the last."),
        "X-Prev-Page": maybe("The number of the page before; empty on the first."),
        "X-Total": number("How many rows there are; absent beyond 10000."),
        "X-Total-Pages": number("How many pages there are; absent beyond 10000 rows."),
    })
}

/// What a part of a path means.
fn path_parameter(name: &str, path: &str) -> Option<Value> {
    let number = || json!({ "type": "integer", "format": "uint64", "minimum": 0 });
    let text = || json!({ "type": "string", "minLength": 1 });
    let (schema, description) = match name {
        "id" if path.contains("/groups/") => (
            json!({ "anyOf": [number(), text()] }),
            "The number of the group, or its path, with each `/` as `%2F`.",
        ),
        "id" => (
            json!({ "anyOf": [number(), text()] }),
            "The number of the project, or its path, with each `/` as `%2F`.",
        ),
        "user_id" => (number(), "The number of the user."),
        "token_id" => (number(), "The number of the token."),
        "session_id" => (text(), "The id of the session, as the list shows it."),
        "event_id" => (number(), "The number of the event."),
        "rule_id" => (number(), "The number of the rule."),
        "provider" => (text(), "The name of the identity provider in the configuration."),
        "package_id" => (number(), "The number of the package."),
        "file_id" => (number(), "The number of the file."),
        "deleted_id" => (number(), "The number of what was deleted."),
        "repository_id" => (number(), "The number of the image repository."),
        "root_group" => (
            number(),
            "The number of the group at the top that the blob belongs to.",
        ),
        "tag_name" => (text(), "The name of the tag."),
        "backup" => (text(), "The id of the backup."),
        "blob" => (text(), "The BLAKE3 of the blob, in hexadecimal."),
        "node" => (text(), "The id of the node."),
        "disk" => (text(), "The id of the disk."),
        "task" => (text(), "The kind of background work."),
        _ => return None,
    };
    Some(json!({
        "name": name, "in": "path", "required": true, "description": description, "schema": schema,
    }))
}

/// Adds what all operations have in common.
fn complete(mut document: Value) -> Value {
    document["info"] = json!({
        "title": "Cairn",
        "description": INFO,
        "version": env!("CARGO_PKG_VERSION"),
        "license": { "name": "Apache License 2.0", "identifier": "Apache-2.0" },
    });
    document["servers"] = json!([{ "url": "/", "description": "The host that gave this document." }]);
    let mut security = vec![json!({})];
    security.extend(any_credential());
    document["security"] = security.into();
    let mut tags: Vec<Value> = Vec::new();
    let paths = document["paths"].as_object_mut();
    for (path, item) in paths.into_iter().flatten() {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            complete_operation(path, method, operation);
            let name = &operation["tags"][0];
            if !tags.iter().any(|tag| tag["name"] == *name) {
                tags.push(json!({ "name": name, "description": tag_description(name.as_str()) }));
            }
        }
    }
    document["tags"] = tags.into();
    let components = &mut document["components"];
    components["schemas"]["Error"] = error_schema();
    components["responses"] = responses();
    components["headers"] = headers();
    components["securitySchemes"] = security_schemes();
    tidy(&mut document);
    document
}

/// What the operations of a tag are about.
fn tag_description(name: Option<&str>) -> &'static str {
    match name.unwrap_or_default() {
        "Instance" => "This document, the version, and what holds for the whole instance.",
        "Users" => "Who there is.",
        "Sessions" => "How people sign in at a browser, and out again, and where they are signed in.",
        "Personal access tokens" => "Tokens of users, for all that they may do.",
        "Groups" => "Groups form a tree, and hold projects.",
        "Projects" => "Projects hold packages and images.",
        "Members" => "Who is what in a group or project.",
        "Deploy tokens" => "Tokens of nobody, for packages and images of one group or project.",
        "Access tokens" => "Tokens of bots that are members of a group or project.",
        "Package settings" => "What happens to duplicates.",
        "Audit" => "Who changed what.",
        "Packages" => "What was published, by version.",
        "Protection rules" => "Which names are protected, and against whom.",
        "Cleanup policies" => "What projects let go by themselves.",
        "Image repositories" => "Container images and their tags.",
        "Backups" => "What `cairn backup` asks of a running cluster.",
        "Usage" => "What is stored, and how much may be.",
        "Trust rules" => "Which CI jobs get in without a secret.",
        "Token exchange" => "How a CI job gets in without a secret.",
        "Cluster" => "Its nodes and their disks.",
        "Background work" => "What the cluster does by itself, and blobs that need it.",
        _ => "",
    }
}

fn complete_operation(path: &str, method: &str, operation: &mut Value) {
    let in_path = path.split(['{', '}']).skip(1).step_by(2);
    let mut parameters: Vec<Value> = in_path.filter_map(|name| path_parameter(name, path)).collect();
    if let Some(own) = operation["parameters"].as_array_mut() {
        parameters.append(own);
    }
    // Where a body would have no meaning, the same fields stand in the query.
    if ["get", "delete"].contains(&method)
        && let Some(body) = operation
            .as_object_mut()
            .and_then(|operation| operation.remove("requestBody"))
    {
        parameters.extend(as_query(&body["content"]["application/json"]["schema"]));
    }
    operation["parameters"] = parameters.into();
    if operation["security"].is_array() {
        operation["security"] = any_credential().into();
    }
    let responses = &mut operation["responses"];
    for (status, response) in responses.as_object_mut().into_iter().flatten() {
        let told = response
            .get("description")
            .and_then(Value::as_str)
            .is_some_and(|told| !told.is_empty());
        if response.get("$ref").is_none() && !told {
            response["description"] = match status.as_str() {
                "201" => "It is made.",
                "202" => "It is begun.",
                "204" => "It is done.",
                _ => "What was asked for.",
            }
            .into();
        }
    }
    responses["4XX"] = json!({ "$ref": "#/components/responses/Refused" });
    responses["5XX"] = json!({ "$ref": "#/components/responses/Failed" });
}

fn as_query(schema: &Value) -> impl Iterator<Item = Value> {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    properties.into_iter().map(move |(name, schema)| {
        let mut parameter = json!({ "name": name, "in": "query", "schema": schema });
        if required.contains(&json!(name)) {
            parameter["required"] = true.into();
        }
        if let Some(description) = parameter["schema"]["description"].as_str() {
            parameter["description"] = description.into();
        }
        parameter
    })
}

/// Says in one word what can be said so: a choice among constants is an enumeration, for the sake of
/// generated clients.
fn tidy(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(tidy),
        Value::Object(fields) => {
            fields.values_mut().for_each(tidy);
            let constants = fields.get("oneOf").and_then(Value::as_array).and_then(|choices| {
                let constant = |choice: &Value| choice.get("const").cloned();
                choices.iter().map(constant).collect::<Option<Vec<_>>>()
            });
            if let Some(constants) = constants {
                let told = meanings(fields);
                fields.remove("oneOf");
                fields.insert("type".into(), "string".into());
                fields.insert("enum".into(), constants.into());
                if let Some(told) = told {
                    fields.insert("description".into(), told.into());
                }
            }
        }
        _ => {}
    }
}

/// The description of a choice, with those of what can be chosen.
fn meanings(fields: &Map<String, Value>) -> Option<String> {
    let mut told = fields.get("description")?.as_str()?.to_owned();
    for choice in fields.get("oneOf")?.as_array()? {
        if let (Some(name), Some(meaning)) = (choice["const"].as_str(), choice["description"].as_str()) {
            told.push_str(&format!("\n- `{name}`: {meaning}"));
        }
    }
    Some(told)
}
