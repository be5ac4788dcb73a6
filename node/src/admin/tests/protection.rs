//! Rules that protect packages: what is said of them, and what they forbid.

use super::*;

const RULES: &str = "/api/v4/projects/1/packages/protection/rules";

async fn change(node: &TestNode, id: &Value, change: Value) -> Answer {
    let target = format!("{RULES}/{id}");
    node.patch(target).by("maintainer").json(&change).send().await
}

#[tokio::test]
async fn rules_are_made_shown_changed_and_removed() {
    let node = TestNode::start().await;
    let rule = json!({
        "package_name_pattern": "release-*",
        "package_type": "generic",
        "minimum_access_level_for_push": "maintainer",
        "minimum_access_level_for_delete": "owner",
    });
    let made = node.protect("packages", &rule).await.expect(201).json();
    let id = made["id"].clone();
    let whole = json!({
        "id": id,
        "project_id": 1,
        "package_name_pattern": "release-*",
        "package_type": "generic",
        "minimum_access_level_for_push": "maintainer",
        "minimum_access_level_for_delete": "owner",
    });
    assert_eq!(made, whole);
    let listed = node.get(RULES).by("maintainer").send().await.expect(200).json();
    assert_eq!(listed, json!([whole]));

    let changed = change(
        &node,
        &id,
        json!({ "package_name_pattern": "v*", "minimum_access_level_for_push": null }),
    );
    let changed = changed.await.expect(200).json();
    assert_eq!(changed["package_name_pattern"], "v*");
    assert_eq!(changed["minimum_access_level_for_push"], Value::Null);
    assert_eq!(changed["minimum_access_level_for_delete"], "owner");
    // A form says the same.
    let form = node.patch(format!("{RULES}/{id}")).by("owner");
    let form = form.header("content-type", "application/x-www-form-urlencoded");
    let form = form.body("minimum_access_level_for_push=admin&minimum_access_level_for_delete=");
    let changed = form.send().await.expect(200).json();
    assert_eq!(changed["minimum_access_level_for_push"], "admin");
    assert_eq!(changed["minimum_access_level_for_delete"], Value::Null);

    node.delete(format!("{RULES}/{id}"))
        .by("maintainer")
        .send()
        .await
        .expect(204);
    node.delete(format!("{RULES}/{id}"))
        .by("maintainer")
        .send()
        .await
        .expect(404);
    change(&node, &id, json!({})).await.expect(404);
    let listed = node.get(RULES).by("maintainer").send().await.expect(200);
    assert_eq!(listed.json(), json!([]));
}

#[tokio::test]
async fn rules_that_say_nothing_or_say_it_twice_are_refused() {
    let node = TestNode::start().await;
    let rule = |pattern: &str, kind: &str, push: Value, delete: Value| {
        json!({
            "package_name_pattern": pattern,
            "package_type": kind,
            "minimum_access_level_for_push": push,
            "minimum_access_level_for_delete": delete,
        })
    };
    let long = "x".repeat(256);
    for (wrong, status) in [
        (rule("a", "generic", Value::Null, Value::Null), 422),
        (rule("", "generic", json!("owner"), Value::Null), 400),
        (rule(&long, "generic", json!("owner"), Value::Null), 400),
        (rule("a", "floppy", json!("owner"), Value::Null), 400),
        (rule("a", "oci", json!("owner"), Value::Null), 400),
        (rule("a", "generic", json!("developer"), Value::Null), 400),
        (rule("a", "generic", json!(40), Value::Null), 400),
        (rule("a", "generic", Value::Null, json!("maintainer")), 400),
        (
            json!({ "package_type": "generic", "minimum_access_level_for_push": "owner" }),
            400,
        ),
        (
            json!({ "package_name_pattern": "a", "minimum_access_level_for_push": "owner" }),
            400,
        ),
    ] {
        let answer = node.protect("packages", &wrong).await;
        assert_eq!(answer.status, status, "{wrong}");
    }
    let good = rule("a", "generic", json!("owner"), Value::Null);
    let made = node.protect("packages", &good).await.expect(201).json();
    node.protect("packages", &good).await.expect(422);
    let other = rule("b", "generic", json!("owner"), Value::Null);
    let other = node.protect("packages", &other).await.expect(201).json();
    change(&node, &other["id"], json!({ "package_name_pattern": "a" }))
        .await
        .expect(422);
    change(
        &node,
        &other["id"],
        json!({ "package_type": "npm", "package_name_pattern": "a" }),
    )
    .await
    .expect(200);
    change(
        &node,
        &made["id"],
        json!({ "minimum_access_level_for_push": null }),
    )
    .await
    .expect(422);
}

#[tokio::test]
async fn a_protected_package_is_published_and_deleted_by_those_who_may() {
    let node = TestNode::start().await;
    let sibling = node.sibling();
    publish(&node, 1, "tool/1/f").await;
    node.protect(
        "packages",
        &json!({
            "package_name_pattern": "to*",
            "package_type": "generic",
            "minimum_access_level_for_push": "maintainer",
            "minimum_access_level_for_delete": "owner",
        }),
    )
    .await
    .expect(201);
    // What was said on one node a moment ago holds on every other.
    let push = async |caller: &str, name: &str| {
        let target = format!("/api/v4/projects/1/packages/generic/{name}/{caller}/f");
        sibling.put(target).by(caller).body("bytes").send().await
    };
    for (caller, status) in [
        ("developer", 403),
        ("deploy-write", 403),
        ("maintainer", 201),
        ("owner", 201),
        ("root", 201),
        ("reporter", 403),
        ("anonymous", 401),
        ("stranger", 404),
    ] {
        assert_eq!(push(caller, "tool").await.status, status, "{caller}");
    }
    assert_eq!(
        push("developer", "tool").await.json()["message"],
        "Package protected."
    );
    for caller in ["developer", "deploy-write"] {
        push(caller, "other").await.expect(201);
    }
    // A status is a change too.
    let change = async |caller: &str| {
        let target = "/api/v4/projects/1/packages/generic/tool/1";
        node.patch(target)
            .by(caller)
            .json(&json!({ "status": "deprecated" }))
            .send()
            .await
    };
    change("developer").await.expect(403);
    change("maintainer").await.expect(200);

    let id = node
        .get("/api/v4/projects/1/packages?package_version=1")
        .by("maintainer");
    let listed = id.send().await.expect(200).json();
    assert!(listed[0]["_links"].get("delete_api_path").is_none(), "{listed}");
    let id = listed[0]["id"].clone();
    let files = node.get(format!("/api/v4/projects/1/packages/{id}/package_files"));
    let file = files.by("owner").send().await.expect(200).json()[0]["id"].clone();
    for target in [
        "/api/v4/projects/1/packages/generic/tool".to_owned(),
        "/api/v4/projects/1/packages/generic/tool/1".to_owned(),
        "/api/v4/projects/1/packages/generic/tool/1/f".to_owned(),
        format!("/api/v4/projects/1/packages/{id}"),
        format!("/api/v4/projects/1/packages/{id}/package_files/{file}"),
    ] {
        let answer = node.delete(&target).by("maintainer").send().await.expect(403);
        assert_eq!(answer.json()["message"], "Package protected.", "{target}");
    }
    let file = format!("/api/v4/projects/1/packages/{id}/package_files/{file}");
    node.delete(file).by("owner").send().await.expect(204);
    node.delete("/api/v4/projects/1/packages/generic/tool")
        .by("owner")
        .send()
        .await
        .expect(204);
    // The name stays protected.
    push("developer", "tool").await.expect(403);
}

#[tokio::test]
async fn the_strictest_of_several_rules_counts() {
    let node = TestNode::start().await;
    for (pattern, level) in [("a*", "maintainer"), ("*b", "admin"), ("ab*", "owner")] {
        let rule = json!({
            "package_name_pattern": pattern,
            "package_type": "generic",
            "minimum_access_level_for_push": level,
        });
        node.protect("packages", &rule).await.expect(201);
    }
    let push = async |caller: &str, name: &str| {
        let target = format!("/api/v4/projects/1/packages/generic/{name}/{caller}/f");
        node.put(target).by(caller).body("bytes").send().await.status
    };
    let all = async |name: &str| {
        (
            push("developer", name).await,
            push("maintainer", name).await,
            push("owner", name).await,
            push("root", name).await,
        )
    };
    assert_eq!(all("x").await, (201, 201, 201, 201));
    assert_eq!(all("ac").await, (403, 201, 201, 201));
    assert_eq!(all("abc").await, (403, 403, 201, 201));
    assert_eq!(all("ab").await, (403, 403, 403, 201));
}

#[tokio::test]
async fn a_deploy_token_never_publishes_what_any_rule_protects() {
    let node = TestNode::start().await;
    let rule = json!({
        "package_name_pattern": "tool",
        "package_type": "generic",
        "minimum_access_level_for_delete": "owner",
    });
    node.protect("packages", &rule).await.expect(201);
    let push = async |caller: &str| {
        let target = "/api/v4/projects/1/packages/generic/tool/1/f";
        node.put(target).by(caller).body("bytes").send().await
    };
    push("deploy-write").await.expect(403);
    push("developer").await.expect(201);
}

#[tokio::test]
async fn files_are_not_copied_under_a_protected_name_nor_sent_in_parts() {
    let node = TestNode::start().await;
    publish(&node, 1, "free/1/f").await;
    let rule = json!({
        "package_name_pattern": "tool",
        "package_type": "generic",
        "minimum_access_level_for_push": "owner",
    });
    node.protect("packages", &rule).await.expect(201);
    let copy = json!({
        "from": { "package": "free", "version": "1", "file": "f" },
        "to": { "package": "tool" },
    });
    let copied = node
        .post("/api/v4/projects/1/packages/generic/-/copy")
        .by("developer");
    copied.json(&copy).send().await.expect(403);
    let parts = node.post("/api/v4/projects/1/packages/generic/tool/1/f?uploads");
    parts.by("developer").send().await.expect(403);
    // The same under the URLs of another server.
    let other = node
        .put("/api/packages/acme/demo/generic/tool/1/f")
        .by("developer");
    let other = other.body("bytes").send().await;
    assert!([403, 404].contains(&other.status), "{other:?}");
    let listed = node
        .get("/api/v4/projects/1/packages?package_name=tool")
        .by("owner");
    assert_eq!(listed.send().await.expect(200).json(), json!([]));
}

#[tokio::test]
async fn rules_of_a_project_go_with_it() {
    let node = TestNode::start().await;
    let rule = json!({
        "package_name_pattern": "x",
        "package_type": "generic",
        "minimum_access_level_for_push": "owner",
    });
    node.protect("packages", &rule).await.expect(201);
    let policy = json!({ "enabled": true, "keep_n": 1 });
    node.put("/api/cairn/v1/projects/1/packages/cleanup_policy")
        .by("maintainer")
        .json(&policy)
        .send()
        .await
        .expect(200);
    assert!(crate::registry::fixture::keys_of_project(node.app(), 1).await > 0);
    node.delete("/api/v4/projects/1")
        .by("owner")
        .send()
        .await
        .expect(202);
    crate::registry::fixture::purge(node.app()).await;
    assert_eq!(crate::registry::fixture::keys_of_project(node.app(), 1).await, 0);
}
