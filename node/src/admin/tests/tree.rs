//! Groups and projects: making, listing, deleting them, their settings.

use super::*;
use crate::registry::fixture;

#[tokio::test]
async fn groups_form_a_tree_that_projects_hang_on() {
    let node = TestNode::start().await;
    let new = json!({ "name": "Tools", "path": "tools", "parent_id": 1 });
    let tools = node
        .post("/api/v4/groups")
        .by("owner")
        .json(&new)
        .send()
        .await
        .expect(201)
        .json();
    assert_eq!(tools["full_path"], "acme/tools");
    assert_eq!(
        (tools["parent_id"].as_u64(), tools["visibility"].as_str()),
        (Some(1), Some("private"))
    );
    let taken = node
        .post("/api/v4/groups")
        .by("owner")
        .json(&new)
        .send()
        .await
        .expect(400);
    assert_eq!(
        taken.json(),
        json!({ "message": { "path": ["has already been taken"] } })
    );

    let new = json!({ "name": "My App", "namespace_id": tools["id"] });
    let app = node
        .post("/api/v4/projects")
        .by("maintainer")
        .json(&new)
        .send()
        .await
        .expect(201)
        .json();
    assert_eq!(app["path_with_namespace"], "acme/tools/my-app");
    assert_eq!(app["namespace"]["full_path"], "acme/tools");
    for reference in [
        app["id"].to_string(),
        "acme%2Ftools%2Fmy-app".into(),
        "ACME%2ftools%2FMy-App".into(),
    ] {
        let shown = node
            .get(format!("/api/v4/projects/{reference}"))
            .by("guest")
            .send()
            .await
            .expect(200);
        assert_eq!(shown.json()["id"], app["id"]);
    }
    let permissions = node
        .get("/api/v4/projects/1")
        .by("maintainer")
        .send()
        .await
        .json()["permissions"]
        .clone();
    assert_eq!(permissions["group_access"]["access_level"], 40);
    assert_eq!(permissions["project_access"], Value::Null);

    let listed = node
        .get("/api/v4/groups/acme/subgroups")
        .by("guest")
        .send()
        .await
        .expect(200);
    assert_eq!(names(&listed, "full_path"), ["acme/tools"]);
    let listed = node.get("/api/v4/groups/acme/projects?include_subgroups=true&order_by=path&sort=asc");
    let listed = listed.by("guest").send().await.expect(200);
    let all = ["acme/demo", "acme/inside", "acme/open", "acme/tools/my-app"];
    assert_eq!(names(&listed, "path_with_namespace"), all);
    let listed = node
        .get("/api/v4/groups/acme/projects")
        .by("guest")
        .send()
        .await
        .expect(200);
    assert_eq!(listed.header("x-total"), "3");

    // Only what is empty goes, and the name is free again.
    node.delete("/api/v4/groups/acme%2Ftools")
        .by("owner")
        .send()
        .await
        .expect(409);
    node.delete("/api/v4/projects/acme%2Ftools%2Fmy-app")
        .by("owner")
        .send()
        .await
        .expect(202);
    node.get("/api/v4/projects/acme%2Ftools%2Fmy-app")
        .by("owner")
        .send()
        .await
        .expect(404);
    node.delete("/api/v4/groups/acme%2Ftools")
        .by("owner")
        .send()
        .await
        .expect(202);
    node.get("/api/v4/groups/acme%2Ftools")
        .by("owner")
        .send()
        .await
        .expect(404);
    let new = json!({ "path": "tools", "parent_id": 1 });
    node.post("/api/v4/groups")
        .by("owner")
        .json(&new)
        .send()
        .await
        .expect(201);
}

#[tokio::test]
async fn root_groups_are_made_by_administrators() {
    let node = TestNode::start().await;
    let new = json!({ "path": "labs", "name": "Labs" });
    node.post("/api/v4/groups")
        .by("owner")
        .json(&new)
        .send()
        .await
        .expect(403);
    let labs = node
        .post("/api/v4/groups")
        .by("root")
        .json(&new)
        .send()
        .await
        .expect(201)
        .json();
    let members = node
        .get("/api/v4/groups/labs/members")
        .by("root")
        .send()
        .await
        .expect(200);
    assert_eq!(names(&members, "username"), ["root"]);
    assert_eq!(labs["parent_id"], Value::Null);
    node.get("/api/v4/groups/labs")
        .by("owner")
        .send()
        .await
        .expect(404);
    node.delete("/api/v4/groups/labs")
        .by("root")
        .send()
        .await
        .expect(202);
    fixture::purge(node.app()).await;
    let members = node
        .get("/api/v4/projects?membership=true")
        .by("root")
        .send()
        .await
        .expect(200);
    assert!(names(&members, "path").is_empty());
}

#[tokio::test]
async fn wrong_groups_and_projects_are_refused() {
    let node = TestNode::start().await;
    for (path, body, message) in [
        ("groups", json!({}), "path is missing"),
        ("groups", json!({ "path": "a b" }), "path"),
        ("groups", json!({ "path": "-" }), "path"),
        ("groups", json!({ "path": "x", "parent_id": "one" }), "number"),
        (
            "groups",
            json!({ "path": "x", "visibility": "secret" }),
            "unknown variant",
        ),
        (
            "groups",
            json!({ "path": "x", "name": "a\u{1}b" }),
            "control character",
        ),
        ("groups", json!({ "path": "api" }), "reserved"),
        (
            "groups",
            json!({ "path": "x", "parent_id": 1, "visibility": "public" }),
            "not allowed in a private group",
        ),
        ("projects", json!({}), "name, path are missing"),
        ("projects", json!({ "path": "x" }), "namespace_id is missing"),
        (
            "projects",
            json!({ "path": "demo", "namespace_id": 1 }),
            "has already been taken",
        ),
        (
            "projects",
            json!({ "path": "x", "namespace_id": 1, "visibility": "public" }),
            "not allowed",
        ),
        ("users", json!({ "username": "a/b" }), "is invalid"),
        (
            "users",
            json!({ "username": "x", "is_admin": true }),
            "unknown field",
        ),
        (
            "users/1/personal_access_tokens",
            json!({ "name": "x" }),
            "scopes is missing",
        ),
        (
            "users/1/personal_access_tokens",
            json!({ "name": "x", "scopes": [] }),
            "scopes is missing",
        ),
        (
            "users/1/personal_access_tokens",
            json!({ "name": "x", "scopes": ["root"] }),
            "scopes does not",
        ),
        (
            "users/1/personal_access_tokens",
            json!({ "name": "x", "scopes": ["write_package_registry"] }),
            "scopes does not",
        ),
        (
            "users/1/personal_access_tokens",
            json!({ "name": "x", "scopes": ["api"], "expires_at": "2020-01-01" }),
            "in the future",
        ),
        (
            "users/1/personal_access_tokens",
            json!({ "name": "x", "scopes": ["api"], "expires_at": "2999-01-01" }),
            "within 400 days",
        ),
        (
            "projects/1/members",
            json!({ "user_id": 2 }),
            "access_level is missing",
        ),
        (
            "projects/1/members",
            json!({ "user_id": 2, "access_level": 25 }),
            "access_level does not",
        ),
        (
            "projects/1/deploy_tokens",
            json!({ "name": "x", "scopes": ["api"] }),
            "scopes does not",
        ),
        (
            "projects/1/deploy_tokens",
            json!({ "name": "x", "scopes": ["read_registry"], "username": "a:b" }),
            "can contain only",
        ),
    ] {
        let answer = node
            .post(format!("/api/v4/{path}"))
            .by("root")
            .json(&body)
            .send()
            .await;
        assert_eq!(answer.status, 400, "{path} {body}: {}", answer.text());
        assert!(
            answer.text().contains(message),
            "{path} {body}: {}",
            answer.text()
        );
    }
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    let sent = |body: String| {
        node.post("/api/v4/groups")
            .by("root")
            .header("content-type", "application/json")
            .body(body)
    };
    assert!(
        sent(deep)
            .send()
            .await
            .expect(400)
            .text()
            .contains("nested deeper")
    );
    sent("{".into()).send().await.expect(400);
    sent(format!("\"{}\"", "x".repeat(2 << 20)))
        .send()
        .await
        .expect(413);
    sent("{}".into())
        .header("content-encoding", "gzip")
        .send()
        .await
        .expect(415);
}

#[tokio::test]
async fn parameters_come_as_forms_too() {
    let node = TestNode::start().await;
    let form = |target: &str, body: &'static str| {
        let request = node.post(target.to_owned()).by("root");
        request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
            .send()
    };
    let made = form(
        "/api/v4/projects/1/deploy_tokens",
        "name=ci&scopes[]=read_registry&scopes[]=write_registry",
    );
    let made = made.await.expect(201).json();
    assert_eq!(made["scopes"], json!(["read_registry", "write_registry"]));
    assert_eq!(made["username"], "gitlab+deploy-token-4");
    form("/api/v4/groups", "path=x&parent_id=1").await.expect(201);
    node.post("/api/v4/groups?path=y&parent_id=1")
        .by("root")
        .send()
        .await
        .expect(201);
}

#[tokio::test]
async fn lists_hide_what_the_caller_may_not_see_without_holes() {
    let node = TestNode::start().await;
    let listed = async |caller: &str, query: &str| {
        let answer = node
            .get(format!("/api/v4/projects?{query}"))
            .by(caller)
            .send()
            .await
            .expect(200);
        (
            names(&answer, "path").join(" "),
            answer.header("x-total").to_owned(),
        )
    };
    assert_eq!(listed("anonymous", "").await, ("open".into(), "1".into()));
    assert_eq!(listed("stranger", "").await, ("inside open".into(), "2".into()));
    assert_eq!(listed("guest", "").await, ("inside open demo".into(), "3".into()));
    assert_eq!(
        listed("guest", "order_by=id&sort=asc&per_page=1&page=2").await,
        ("open".into(), "3".into())
    );
    assert_eq!(listed("guest", "search=DEM").await.0, "demo");
    assert_eq!(listed("guest", "visibility=public").await.0, "open");
    assert_eq!(listed("guest", "membership=true").await.1, "3");
    assert_eq!(listed("stranger", "membership=true").await.1, "0");
    assert_eq!(listed("guest", "owned=true").await.1, "0");
    assert_eq!(listed("owner", "owned=true").await.1, "3");
    let simple = node
        .get("/api/v4/projects?simple=true")
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(simple[0].as_object().unwrap().len(), 10);
    node.get("/api/v4/projects?order_by=luck")
        .send()
        .await
        .expect(400);
    let groups = node.get("/api/v4/groups").by("stranger").send().await.expect(200);
    assert!(names(&groups, "path").is_empty());
    let groups = node.get("/api/v4/groups").by("root").send().await.expect(200);
    assert_eq!(names(&groups, "path"), ["acme", "other"]);
}

#[tokio::test]
async fn a_deleted_project_leaves_nothing() {
    let node = TestNode::start().await;
    publish(&node, 1, "tool/1/a").await;
    publish(&node, 1, "tool/2/a").await;
    publish(&node, 1, "gone/1/a").await;
    node.delete("/api/v4/projects/1/packages/generic/gone")
        .by("maintainer")
        .send()
        .await
        .expect(204);
    let before = fixture::keys_of_project(node.app(), 1).await;
    assert!(before > 20, "{before}");
    node.delete("/api/v4/projects/1")
        .by("maintainer")
        .send()
        .await
        .expect(403);
    node.delete("/api/v4/projects/1")
        .by("owner")
        .send()
        .await
        .expect(202);
    node.get("/api/v4/projects/1/packages/generic/tool/1/a")
        .by("owner")
        .send()
        .await
        .expect(404);
    node.get("/api/v4/projects/1/packages/generic/tool/1/a")
        .by("deploy-read")
        .send()
        .await
        .expect(404);
    fixture::purge(node.app()).await;
    node.get("/api/v4/projects/1/packages/generic/tool/1/a")
        .by("deploy-read")
        .send()
        .await
        .expect(401);
    assert_eq!(fixture::keys_of_project(node.app(), 1).await, 0);
    let again = json!({ "path": "demo", "namespace_id": 1 });
    let again = node
        .post("/api/v4/projects")
        .by("owner")
        .json(&again)
        .send()
        .await
        .expect(201);
    assert_ne!(again.json()["id"], 1);
}

#[tokio::test]
async fn settings_decide_about_duplicates_from_the_nearest_place() {
    let node = TestNode::start().await;
    let group = "/api/v4/groups/1/packages/settings";
    let project = "/api/v4/projects/1/packages/settings";
    let target = "/api/v4/projects/1/packages/generic/p/1/f";
    let put = |body: &'static str| node.put(target).by("developer").body(body).send();
    put("one").await.expect(201);
    put("two").await.expect(400);
    let change = |target: &'static str, caller: &'static str, body: Value| {
        node.put(target).by(caller).json(&body).send()
    };
    change(group, "maintainer", json!({ "generic_duplicates_allowed": true }))
        .await
        .expect(403);
    let now = change(group, "owner", json!({ "generic_duplicates_allowed": true }))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&now["generic_duplicates_allowed"], &now["generic_duplicates"]),
        (&json!(true), &json!("allow"))
    );
    put("two").await.expect(201);
    change(project, "maintainer", json!({ "generic_duplicates": "forbid" }))
        .await
        .expect(200);
    put("two").await.expect(400);
    change(project, "maintainer", json!({ "generic_duplicates": null }))
        .await
        .expect(200);
    put("three").await.expect(201);
    for wrong in [
        json!({ "x": 1 }),
        json!({ "generic_duplicates": "maybe" }),
        json!({ "generic_duplicates_allowed": 3 }),
    ] {
        change(project, "maintainer", wrong).await.expect(400);
    }
}

#[tokio::test]
async fn settings_decide_about_versions_from_the_nearest_place() {
    let node = TestNode::start().await;
    let group = "/api/v4/groups/1/packages/settings";
    let project = "/api/v4/projects/1/packages/settings";
    let set = async |target: &str, caller: &str, policy: Value| {
        let fields = json!({ "maven_version_policy": policy });
        node.put(target).by(caller).json(&fields).send().await
    };
    let put = async |version: &str| {
        let path = format!("/api/v4/projects/1/packages/maven/a/b/{version}/b-{version}.jar");
        node.put(path).by("developer").body("x").send().await.status
    };
    set(group, "maintainer", json!("release")).await.expect(403);
    set(project, "developer", json!("release")).await.expect(403);
    let shown = node.get(project).by("reporter").send().await.expect(200).json();
    assert_eq!(shown["maven_version_policy"], json!(null));
    let now = set(group, "owner", json!("release")).await.expect(200).json();
    assert_eq!(now["maven_version_policy"], "release");
    assert_eq!(put("1-SNAPSHOT").await, 409);
    assert_eq!(put("1").await, 201);
    set(project, "maintainer", json!("snapshot")).await.expect(200);
    assert_eq!(put("2-SNAPSHOT").await, 201);
    assert_eq!(put("2").await, 409);
    set(project, "maintainer", json!("mixed")).await.expect(200);
    assert_eq!(put("3-SNAPSHOT").await, 201);
    assert_eq!(put("3").await, 201);
    set(project, "maintainer", json!(null)).await.expect(200);
    assert_eq!(put("4-SNAPSHOT").await, 409);
    for wrong in [json!("releases"), json!(true), json!(["release"])] {
        set(project, "maintainer", wrong).await.expect(400);
    }
    // Others have no snapshots.
    let fields = json!({ "generic_version_policy": "release" });
    let other = node.put(project).by("maintainer").json(&fields);
    other.send().await.expect(400);
}

#[tokio::test]
async fn package_access_can_be_narrower_or_wider_than_the_project() {
    let node = TestNode::start().await;
    publish(&node, 1, "p/1/f").await;
    publish(&node, 2, "p/1/f").await;
    let set = async |project: u64, access: &str| {
        let body = json!({ "package_registry_access_level": access });
        let target = format!("/api/v4/projects/{project}");
        node.put(target)
            .by("maintainer")
            .json(&body)
            .send()
            .await
            .expect(200);
    };
    let read = async |project: u64, caller: &str| {
        let target = format!("/api/v4/projects/{project}/packages/generic/p/1/f");
        node.get(target).by(caller).send().await.status
    };
    set(1, "public").await;
    assert_eq!((read(1, "anonymous").await, read(1, "guest").await), (200, 200));
    node.get("/api/v4/projects/1").send().await.expect(404);
    node.put("/api/v4/projects/1/packages/generic/p/1/g")
        .body("x")
        .send()
        .await
        .expect(401);
    set(2, "private").await;
    assert_eq!(
        (
            read(2, "anonymous").await,
            read(2, "guest").await,
            read(2, "reporter").await
        ),
        (401, 403, 200)
    );
    set(1, "disabled").await;
    assert_eq!(
        (
            read(1, "owner").await,
            read(1, "root").await,
            read(1, "stranger").await
        ),
        (403, 403, 404)
    );
    node.put("/api/v4/projects/1")
        .by("developer")
        .json(&json!({}))
        .send()
        .await
        .expect(403);
}

#[tokio::test]
async fn exceptions_turn_what_happens_to_duplicates_around() {
    let node = TestNode::start().await;
    let settings = "/api/v4/projects/1/packages/settings";
    let change = async |body: Value| node.put(settings).by("maintainer").json(&body).send().await;
    let now = change(json!({ "generic_duplicate_exception_regex": "dev-.*|1\\.0-SNAPSHOT" }));
    let now = now.await.expect(200).json();
    assert_eq!(now["generic_duplicate_exception_regex"], "dev-.*|1\\.0-SNAPSHOT");
    let put = async |path: &str, body: &'static str| {
        let target = format!("/api/v4/projects/1/packages/generic/{path}/f");
        node.put(target).by("developer").body(body).send().await.status
    };
    let twice = async |path: &str| (put(path, "one").await, put(path, "two").await);
    assert_eq!(twice("tool/1").await, (201, 400));
    assert_eq!(twice("dev-tool/1").await, (201, 201));
    assert_eq!(twice("tool/1.0-SNAPSHOT").await, (201, 201));
    assert_eq!(twice("xdev-tool/1").await, (201, 400));
    change(json!({ "generic_duplicates_allowed": true }))
        .await
        .expect(200);
    assert_eq!(twice("tool/2").await, (201, 201));
    assert_eq!(twice("dev-tool/2").await, (201, 400));
    // Exceptions of a group hold in its projects as far as its policy does.
    change(json!({ "generic_duplicates_allowed": null, "generic_duplicate_exception_regex": "" }))
        .await
        .expect(200);
    let group = node.put("/api/v4/groups/1/packages/settings").by("owner");
    let rules = json!({ "generic_duplicates": "forbid", "generic_duplicate_exception_regex": "grouped" });
    group.json(&rules).send().await.expect(200);
    assert_eq!(twice("grouped/1").await, (201, 201));
    change(json!({ "generic_duplicates": "forbid" }))
        .await
        .expect(200);
    assert_eq!(twice("grouped/2").await, (201, 400));
    for wrong in [
        json!({ "generic_duplicate_exception_regex": "(" }),
        json!({ "generic_duplicate_exception_regex": "x".repeat(256) }),
        json!({ "generic_duplicate_exception_regex": 3 }),
        // Its clients leave no choice.
        json!({ "npm_duplicates_allowed": true }),
    ] {
        change(wrong).await.expect(400);
    }
}

#[tokio::test]
async fn a_project_is_made_with_its_switches() {
    let node = TestNode::start().await;
    let new = json!({
        "path": "closed",
        "namespace_id": 1,
        "package_registry_access_level": "disabled",
        "container_registry_access_level": "private",
    });
    let made = node
        .post("/api/v4/projects")
        .by("maintainer")
        .json(&new)
        .send()
        .await;
    let made = made.expect(201).json();
    assert_eq!(
        (&made["package_registry_access_level"], &made["packages_enabled"]),
        (&json!("disabled"), &json!(false))
    );
    assert_eq!(
        (
            &made["container_registry_access_level"],
            &made["container_registry_enabled"]
        ),
        (&json!("private"), &json!(true))
    );
}
