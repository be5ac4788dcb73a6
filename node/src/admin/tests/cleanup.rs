//! Cleanup policies of packages: what they say, what they would let go, and what they do.

use std::time::Duration;

use super::*;
use crate::registry::fixture;
use crate::testing::clock::StoppedClock;

const POLICY: &str = "/api/cairn/v1/projects/1/packages/cleanup_policy";
const FILES_POLICY: &str = "/api/v4/projects/1/packages/cleanup/policy";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn set(node: &TestNode, policy: Value) -> Answer {
    node.put(POLICY).by("maintainer").json(&policy).send().await
}

async fn dry_run(node: &TestNode, change: Value) -> Value {
    let target = format!("{POLICY}/dry_run");
    let answer = node.post(target).by("maintainer").json(&change).send().await;
    answer.expect(200).json()
}

/// `name version` of all that would go.
fn going(plan: &Value) -> Vec<String> {
    let rows = plan["going"].as_array().unwrap();
    let name = |row: &Value| {
        let (name, version) = (row["name"].as_str().unwrap(), row["version"].as_str().unwrap());
        match row["file_name"].as_str() {
            Some(file) => format!("{name} {version} {file}"),
            None => format!("{name} {version}"),
        }
    };
    rows.iter().map(name).collect()
}

async fn left(node: &TestNode) -> Vec<String> {
    let listed = node.get("/api/v4/projects/1/packages?per_page=100").by("owner");
    let listed = listed.send().await.expect(200).json();
    let name = |row: &Value| {
        format!(
            "{} {}",
            row["name"].as_str().unwrap(),
            row["version"].as_str().unwrap()
        )
    };
    listed.as_array().unwrap().iter().map(name).collect()
}

/// Has the policy's turn come, on a node that looks for it.
async fn turn(node: &TestNode) {
    let target = format!("{POLICY}/run");
    node.post(target).by("maintainer").send().await.expect(202);
    fixture::clean_up(node.app()).await;
}

#[tokio::test]
async fn a_policy_is_kept_shown_and_taken_back() {
    let (node, clock) = StoppedClock::node().await;
    let first = node.get(POLICY).by("maintainer").send().await.expect(200).json();
    assert_eq!(
        (&first["enabled"], &first["next_run_at"]),
        (&json!(false), &Value::Null)
    );
    let policy = json!({
        "enabled": true,
        "formats": ["generic"],
        "name_regex": "tool.*",
        "version_regex_keep": "1\\..*",
        "keep_n": 2,
        "older_than": "30d",
        "not_downloaded_for": "1 month",
    });
    let shown = set(&node, policy.clone()).await.expect(200).json();
    for (field, value) in policy.as_object().unwrap() {
        assert_eq!(shown[field], *value, "{field}");
    }
    let next = shown["next_run_at"].as_str().unwrap().to_owned();
    // A change of what goes does not put off when.
    clock.advance(Duration::from_secs(3600));
    let shown = set(&node, json!({ "name_regex": null, "keep_n": "3" }))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&shown["name_regex"], &shown["keep_n"]),
        (&Value::Null, &json!(3))
    );
    assert_eq!(shown["next_run_at"], json!(next));
    let shown = set(&node, json!({ "enabled": false })).await.expect(200).json();
    assert_eq!(shown["next_run_at"], Value::Null);
    let target = format!("{POLICY}/run");
    node.post(&target).by("maintainer").send().await.expect(409);
    for (wrong, status) in [
        (
            json!({ "enabled": true, "keep_n": null, "older_than": null, "not_downloaded_for": null }),
            422,
        ),
        (json!({ "keep_n": 1001 }), 400),
        (json!({ "keep_n": -1 }), 400),
        (json!({ "older_than": "soon" }), 400),
        (json!({ "name_regex": "(" }), 400),
        (json!({ "version_regex": "(?=x)" }), 400),
        (json!({ "formats": ["floppy"] }), 400),
        (json!({ "keep": 5 }), 400),
    ] {
        let answer = set(&node, wrong.clone()).await;
        assert_eq!(answer.status, status, "{wrong}");
    }
}

#[tokio::test]
async fn a_run_removes_exactly_what_the_dry_run_said() {
    let (node, clock) = StoppedClock::node().await;
    for version in 1..=6 {
        publish(&node, 1, &format!("tool/{version}/f")).await;
        publish(&node, 1, &format!("tool/{version}/g")).await;
        publish(&node, 1, &format!("lib/{version}/f")).await;
        clock.advance(DAY);
    }
    publish(&node, 1, "tool/hidden/f?status=hidden").await;
    let raw = node
        .put("/api/v4/projects/1/packages/generic/-/raw/a/b")
        .by("root");
    raw.body("bytes").send().await.expect(201);
    let before = left(&node).await;
    set(
        &node,
        json!({ "enabled": true, "keep_n": 2, "older_than": "4d", "name_regex_keep": "lib" }),
    )
    .await
    .expect(200);
    let plan = dry_run(&node, json!({})).await;
    // What is younger than four days stays, and with it the newest two.
    assert_eq!(going(&plan), ["tool 1", "tool 2", "tool 3"]);
    assert_eq!((&plan["versions"], &plan["complete"]), (&json!(3), &json!(true)));
    let why = plan["going"][0]["why"].as_str().unwrap();
    assert!(
        why.contains("not among the newest 2") && why.contains("published at"),
        "{why}"
    );
    assert_eq!(left(&node).await, before, "a dry run changes nothing");
    let short = dry_run(&node, json!({ "limit": 1 })).await;
    assert_eq!(
        (&short["versions"], &short["complete"]),
        (&json!(3), &json!(false))
    );
    assert_eq!(going(&short), ["tool 1"]);
    // What a change would do can be seen before it is made.
    let other = dry_run(
        &node,
        json!({ "keep_n": 5, "older_than": null, "name_regex_keep": null }),
    )
    .await;
    assert_eq!(going(&other), ["lib 1", "tool 1"]);

    turn(&node).await;
    let gone: Vec<String> = before
        .iter()
        .filter(|name| !going(&plan).contains(name))
        .cloned()
        .collect();
    assert_eq!(left(&node).await, gone);
    let shown = node.get(POLICY).by("maintainer").send().await.expect(200).json();
    assert_eq!(
        (&shown["last_run"]["removed"], &shown["running"]),
        (&json!(3), &json!(false))
    );
    assert!(going(&dry_run(&node, json!({})).await).is_empty());
    let told = node.get("/api/v4/projects/1/audit_events?event_name=package.version_deleted");
    let told = told.by("owner").send().await.expect(200).json();
    assert_eq!(told.as_array().unwrap().len(), 3);
    assert_eq!(told[0]["details"]["author_name"], "cairn");
    for kept in ["tool/hidden/f", "-/raw/a/b"] {
        let target = format!("/api/v4/projects/1/packages/generic/{kept}");
        node.get(target).by("reporter").send().await.expect(200);
    }
}

#[tokio::test]
async fn a_policy_has_its_turn_when_it_is_due_and_once_in_the_cluster() {
    let (node, clock) = StoppedClock::node().await;
    let sibling = node.sibling();
    for version in 1..=3 {
        publish(&node, 1, &format!("tool/{version}/f")).await;
        clock.advance(Duration::from_secs(1));
    }
    set(&node, json!({ "enabled": true, "keep_n": 1 }))
        .await
        .expect(200);
    fixture::clean_up(node.app()).await;
    assert_eq!(left(&node).await.len(), 3, "it is not due yet");
    clock.advance(DAY / 2);
    tokio::join!(fixture::clean_up(node.app()), fixture::clean_up(sibling.app()));
    assert_eq!(left(&node).await, ["tool 3"]);
    let shown = node.get(POLICY).by("maintainer").send().await.expect(200).json();
    assert_eq!(shown["last_run"]["removed"], 2);
    publish(&node, 1, "tool/4/f").await;
    fixture::clean_up(sibling.app()).await;
    assert_eq!(left(&node).await.len(), 2, "it had its turn");
}

#[tokio::test]
async fn what_is_downloaded_stays() {
    let (node, clock) = StoppedClock::node().await;
    for name in ["used", "unused"] {
        publish(&node, 1, &format!("{name}/1/f")).await;
    }
    clock.advance(DAY * 40);
    node.get("/api/v4/projects/1/packages/generic/used/1/f")
        .by("reporter")
        .send()
        .await
        .expect(200);
    fixture::write_usage(node.app()).await;
    set(&node, json!({ "enabled": true, "not_downloaded_for": "30d" }))
        .await
        .expect(200);
    let plan = dry_run(&node, json!({})).await;
    assert_eq!(going(&plan), ["unused 1"]);
    assert_eq!(plan["going"][0]["why"], "never downloaded");
    turn(&node).await;
    assert_eq!(left(&node).await, ["used 1"]);
}

#[tokio::test]
async fn what_is_protected_against_deletion_stays() {
    let (node, clock) = StoppedClock::node().await;
    for name in ["tool", "precious"] {
        for version in 1..=3 {
            publish(&node, 1, &format!("{name}/{version}/f")).await;
            clock.advance(Duration::from_secs(1));
        }
    }
    let rule = json!({
        "package_name_pattern": "prec*",
        "package_type": "generic",
        "minimum_access_level_for_delete": "owner",
    });
    node.protect("packages", &rule).await.expect(201);
    set(&node, json!({ "enabled": true, "keep_n": 1 }))
        .await
        .expect(200);
    assert_eq!(going(&dry_run(&node, json!({})).await), ["tool 1", "tool 2"]);
    turn(&node).await;
    assert_eq!(
        left(&node).await,
        ["tool 3", "precious 1", "precious 2", "precious 3"]
    );
}

#[tokio::test]
async fn duplicate_files_of_a_version_go_by_gitlabs_policy() {
    let (node, clock) = StoppedClock::node().await;
    let get = node.get(FILES_POLICY).by("maintainer").send().await.expect(200);
    let none = json!({ "keep_n_duplicated_package_files": "ALL_PACKAGE_FILES", "next_run_at": null });
    assert_eq!(get.json(), none);
    let settings = json!({ "generic_duplicates_allowed": true });
    node.put("/api/v4/projects/1/packages/settings")
        .by("maintainer")
        .json(&settings)
        .send()
        .await
        .expect(200);
    for content in ["one", "two", "three"] {
        let put = node
            .put("/api/v4/projects/1/packages/generic/tool/1/f")
            .by("developer");
        put.body(content).send().await.expect(201);
        clock.advance(Duration::from_secs(1));
    }
    publish(&node, 1, "tool/1/other").await;
    for wrong in [json!(2), json!("5"), json!("NONE"), json!(null), json!(true)] {
        let body = json!({ "keep_n_duplicated_package_files": wrong });
        let answer = node.put(FILES_POLICY).by("maintainer").json(&body).send().await;
        assert_eq!(answer.status, 400, "{wrong}");
    }
    let body = json!({ "keep_n_duplicated_package_files": 1 });
    let set = node
        .put(FILES_POLICY)
        .by("maintainer")
        .json(&body)
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(set["keep_n_duplicated_package_files"], 1);
    assert!(set["next_run_at"].is_string());
    let plan = dry_run(&node, json!({})).await;
    assert_eq!(going(&plan), ["tool 1 f", "tool 1 f"]);
    assert_eq!((&plan["versions"], &plan["files"]), (&json!(0), &json!(2)));
    turn(&node).await;
    assert!(going(&dry_run(&node, json!({})).await).is_empty());
    let got = node
        .get("/api/v4/projects/1/packages/generic/tool/1/f")
        .by("reporter");
    assert_eq!(got.send().await.expect(200).text(), "three");
    let listed = node
        .get("/api/v4/projects/1/packages")
        .by("owner")
        .send()
        .await
        .json();
    let files = format!("/api/v4/projects/1/packages/{}/package_files", listed[0]["id"]);
    let files = node.get(files).by("owner").send().await.expect(200);
    assert_eq!(names(&files, "file_name"), ["f", "other"]);
}

#[tokio::test]
async fn a_turn_that_broke_off_is_taken_up_by_another_node() {
    let (node, clock) = StoppedClock::node().await;
    let sibling = node.sibling();
    for version in 1..=30 {
        publish(&node, 1, &format!("tool/{version}/f")).await;
        clock.advance(Duration::from_secs(1));
    }
    set(&node, json!({ "enabled": true, "keep_n": 1 }))
        .await
        .expect(200);
    clock.advance(DAY / 2);
    fixture::begin_cleanup(node.app()).await;
    fixture::clean_up(sibling.app()).await;
    assert_eq!(left(&node).await.len(), 30, "another node has the turn");
    let shown = node.get(POLICY).by("maintainer").send().await.expect(200).json();
    assert_eq!(shown["running"], true);
    clock.advance(Duration::from_secs(301));
    fixture::clean_up(sibling.app()).await;
    assert_eq!(left(&node).await, ["tool 30"]);
}
