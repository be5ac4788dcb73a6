//! Real clients of the REST API: `python-gitlab`, and what judges the OpenAPI document, a linter and a
//! program that sends what the document allows and what it does not. `ops/clients.d/rest` installs them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::testing::client::Client;
use crate::testing::cluster::{TestCluster, cluster, own_cluster, unique};

/// A script that knows nothing of Cairn.
const STORY: &str = include_str!("client/story.py");

#[tokio::test(flavor = "multi_thread")]
async fn python_gitlab_keeps_groups_projects_tokens_packages_and_images_in_order() {
    let cluster = cluster().await;
    let python = Client::kept("rest/python-gitlab/bin/python");
    python.write("story.py", STORY);
    let name = unique("story");
    let urls = [0, 1, 2].map(|node| cluster.url(node));
    let mut arguments = vec!["story.py"];
    arguments.extend(urls.iter().map(String::as_str));
    arguments.extend([cluster.root.as_str(), &name]);
    python.ok(python.home(), &arguments).await;
}

/// What the linter is to go by.
const LINT: &str = include_str!("client/redocly.yaml");

#[tokio::test(flavor = "multi_thread")]
async fn a_linter_finds_nothing_in_the_document() {
    let linter = Client::kept("rest/redocly/node_modules/.bin/redocly")
        .with("REDOCLY_TELEMETRY", "off")
        .with("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true");
    linter.write("redocly.yaml", LINT);
    linter.write("openapi.json", crate::admin::document());
    linter.ok(linter.home(), &["lint", "openapi.json"]).await;
}

/// How much is sent.
const FUZZ: &str = include_str!("client/schemathesis.toml");

/// What would end the run itself, or take away what it is about: the token that it is done with, its user,
/// the nodes, the project.
const LEFT_OUT: &[&str] = &[
    "revokeOwnToken",
    "rotateOwnToken",
    "revokePersonalToken",
    "rotatePersonalToken",
    "blockUser",
    "drainNode",
    "replaceNode",
    "removeNode",
    "replaceDisk",
    "deleteProject",
    "deleteGroup",
    // Guessing is slowed down.
    "signIn",
    "changeOwnPassword",
];

/// As an administrator last of all: it changes and deletes what the others look at.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_sent_is_answered_as_the_document_says() {
    let cluster = own_cluster().await;
    let paths = furnish(cluster).await;
    let developer = cluster.group_token(json!({"name": "fuzz", "scopes": ["api"], "access_level": 30}));
    let developer = developer.await;
    fuzz(cluster, None, "fuzzing", &paths).await;
    fuzz(cluster, Some(&developer), "fuzzing", &paths).await;
    // With every bound of every parameter, which is most of the work.
    fuzz(cluster, Some(&cluster.root), "coverage,fuzzing", &paths).await;
    let status = cluster.ask(Method::GET, "/api/cairn/v1/cluster", &cluster.root, None);
    let status = status.await;
    let nodes = status["nodes"].as_array().unwrap_or_else(|| panic!("{status}"));
    let up = nodes
        .iter()
        .filter(|node| node["up"] == Value::Bool(true))
        .count();
    assert_eq!(up, 3, "{status:#}");
}

/// Makes something of most kinds in project 1; what the parts of paths are then, so that there is something
/// at most of them.
async fn furnish(cluster: &TestCluster) -> String {
    let rule =
        json!({"package_name_pattern": "x", "package_type": "npm", "minimum_access_level_for_push": "owner"});
    let rule = made(cluster, Method::POST, "packages/protection/rules", rule).await;
    made(
        cluster,
        Method::PUT,
        "packages/generic/tool/1.0.0/file",
        json!("bytes"),
    )
    .await;
    let package = made(cluster, Method::GET, "packages", Value::Null).await;
    let files = format!("packages/{package}/package_files");
    let file = made(cluster, Method::GET, &files, Value::Null).await;
    let token = json!({"name": "x", "scopes": ["read_registry"]});
    let token = made(cluster, Method::POST, "deploy_tokens", token).await;
    [
        ("id", "1"),
        ("user_id", "2"),
        ("rule_id", &rule.to_string()),
        ("package_id", &package.to_string()),
        ("file_id", &file.to_string()),
        ("token_id", &token.to_string()),
        ("event_id", "1"),
        ("task", "\"scrub\""),
    ]
    .map(|(name, value)| format!("\"path.{name}\" = {value}\n"))
    .concat()
}

/// The number of what is made in project 1, or of the first that is listed.
async fn made(cluster: &TestCluster, method: Method, path: &str, body: Value) -> Value {
    let path = format!("/api/v4/projects/1/{path}");
    let body = Some(body).filter(|body| !body.is_null());
    let answer = cluster.ask(method, &path, &cluster.root, body).await;
    let of = answer.get(0).unwrap_or(&answer);
    of["id"].clone()
}

async fn fuzz(cluster: &TestCluster, token: Option<&str>, phases: &str, paths: &str) {
    let schemathesis = Client::kept("rest/schemathesis/bin/schemathesis");
    schemathesis.write("schemathesis.toml", format!("{FUZZ}\n[parameters]\n{paths}"));
    schemathesis.write("openapi.json", crate::admin::document());
    let url = format!("http://{}", cluster.balanced);
    let header = token.map(|token| format!("Authorization: Bearer {token}"));
    let mut arguments = vec![
        "--config-file",
        "schemathesis.toml",
        "run",
        "openapi.json",
        "--url",
        &url,
        "--phases",
        phases,
    ];
    arguments.extend(header.iter().flat_map(|header| ["--header", header]));
    arguments.extend(LEFT_OUT.iter().flat_map(|name| ["--exclude-operation-id", name]));
    let ran = schemathesis.ok(schemathesis.home(), &arguments).await;
    // What is turned away at the door says nothing of what is behind it.
    assert!(!ran.stdout.contains("Rate limited"), "{ran}");
}
