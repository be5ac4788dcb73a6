//! Requests and answers of the REST API.

use serde_json::{Value, json};

use crate::registry::fixture;
use crate::testing::{Answer, TestNode};

async fn publish(node: &TestNode, project: u64, path: &str) -> Answer {
    let target = format!("/api/v4/projects/{project}/packages/generic/{path}");
    node.put(target).by("root").body("bytes").send().await.expect(201)
}

fn ids(answer: &Answer) -> Vec<u64> {
    let rows = answer.json();
    rows.as_array()
        .unwrap()
        .iter()
        .map(|row| row["id"].as_u64().unwrap())
        .collect()
}

fn names(answer: &Answer, field: &str) -> Vec<String> {
    let rows = answer.json();
    let text = |row: &Value| row[field].as_str().unwrap().to_owned();
    rows.as_array().unwrap().iter().map(text).collect()
}

#[tokio::test]
async fn a_user_sees_who_it_is() {
    let node = TestNode::start().await;
    let root = node
        .get("/api/v4/user")
        .by("root")
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(
        (root["id"].as_u64(), root["username"].as_str()),
        (Some(1), Some("root"))
    );
    assert_eq!(root["is_admin"], true);
    let guest = node
        .get("/api/v4/user")
        .by("guest")
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(
        (guest["username"].as_str(), guest["is_admin"].as_bool()),
        (Some("guest"), Some(false))
    );
    let anonymous = node.get("/api/v4/user").send().await.expect(401);
    assert_eq!(anonymous.json(), json!({ "message": "401 Unauthorized" }));
}

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
async fn members_come_and_go_and_nobody_rises_above_who_adds_them() {
    let node = TestNode::start().await;
    let stranger = node.get("/api/v4/user").by("stranger").send().await.json()["id"].clone();
    let seen = async || node.get("/api/v4/projects/1").by("stranger").send().await.status;
    assert_eq!(seen().await, 404);
    let add = |caller: &'static str, level: u8| {
        let body = json!({ "user_id": stranger, "access_level": level });
        node.post("/api/v4/projects/1/members")
            .by(caller)
            .json(&body)
            .send()
    };
    add("developer", 10).await.expect(403);
    add("maintainer", 50).await.expect(403);
    let added = add("maintainer", 20).await.expect(201).json();
    assert_eq!(
        (added["username"].as_str(), added["access_level"].as_u64()),
        (Some("stranger"), Some(20))
    );
    add("maintainer", 20).await.expect(409);
    assert_eq!(seen().await, 200);
    // A member of a project sees the group around it.
    node.get("/api/v4/groups/acme")
        .by("stranger")
        .send()
        .await
        .expect(200);
    let own = format!("/api/v4/projects/1/members/{stranger}");
    node.put(&own)
        .by("owner")
        .json(&json!({ "access_level": 50 }))
        .send()
        .await
        .expect(200);
    node.put(&own)
        .by("maintainer")
        .json(&json!({ "access_level": 10 }))
        .send()
        .await
        .expect(403);
    node.delete(&own).by("maintainer").send().await.expect(403);

    let direct = node
        .get("/api/v4/projects/1/members")
        .by("guest")
        .send()
        .await
        .expect(200);
    assert_eq!(names(&direct, "username"), ["stranger"]);
    let all = node
        .get("/api/v4/projects/1/members/all?query=e")
        .by("guest")
        .send()
        .await
        .expect(200);
    let everybody = [
        "stranger",
        "guest",
        "reporter",
        "developer",
        "maintainer",
        "owner",
    ];
    assert_eq!(names(&all, "username"), everybody);
    node.delete(&own).by("owner").send().await.expect(204);
    node.delete(&own).by("owner").send().await.expect(404);
    assert_eq!(seen().await, 404);
    node.get("/api/v4/groups/acme")
        .by("stranger")
        .send()
        .await
        .expect(404);

    let ended = json!({ "username": "stranger", "access_level": 20, "expires_at": "2020-01-01" });
    node.post("/api/v4/projects/1/members")
        .by("owner")
        .json(&ended)
        .send()
        .await
        .expect(400);
    let named = json!({ "username": "Stranger", "access_level": 20, "expires_at": "2999-01-01" });
    let named = node
        .post("/api/v4/groups/1/members")
        .by("owner")
        .json(&named)
        .send()
        .await
        .expect(201);
    assert_eq!(named.json()["expires_at"], "2999-01-01");
    assert_eq!(seen().await, 200);
}

#[tokio::test]
async fn personal_tokens_are_made_listed_rotated_and_revoked() {
    let node = TestNode::start().await;
    let guest = node.get("/api/v4/user").by("guest").send().await.json()["id"].clone();
    let target = format!("/api/v4/users/{guest}/personal_access_tokens");
    let wanted = json!({ "name": "ci", "scopes": ["read_api"] });
    node.post(&target)
        .by("developer")
        .json(&wanted)
        .send()
        .await
        .expect(403);
    let made = node
        .post(&target)
        .by("root")
        .json(&wanted)
        .send()
        .await
        .expect(201)
        .json();
    let token = made["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("cnp-") && made["active"] == true && made["user_id"] == guest);
    assert!(made["expires_at"].is_string());

    let own = async |token: &str| {
        node.get("/api/v4/personal_access_tokens/self")
            .bearer(token)
            .send()
            .await
    };
    assert_eq!(own(&token).await.expect(200).json()["id"], made["id"]);
    // What a token may not do, it may not gain by making another one.
    let more = json!({ "name": "more", "scopes": ["api"] });
    node.post(&target)
        .bearer(&token)
        .json(&more)
        .send()
        .await
        .expect(403);
    node.post("/api/v4/personal_access_tokens/self/rotate")
        .bearer(&token)
        .send()
        .await
        .expect(403);

    let listed = node
        .get("/api/v4/personal_access_tokens")
        .by("guest")
        .send()
        .await
        .expect(200);
    assert_eq!(names(&listed, "name"), ["test", "ci"]);
    assert!(!listed.text().contains("token\":"));
    let of_others = format!("/api/v4/personal_access_tokens?user_id={guest}");
    node.get(&of_others).by("developer").send().await.expect(401);
    assert_eq!(
        ids(&node.get(&of_others).by("root").send().await.expect(200)).len(),
        2
    );
    let one = format!("/api/v4/personal_access_tokens/{}", made["id"]);
    node.get(&one).by("guest").send().await.expect(200);
    node.get(&one).by("developer").send().await.expect(404);
    node.delete(&one).by("developer").send().await.expect(404);

    let rotated = node
        .post(format!("{one}/rotate"))
        .by("guest")
        .send()
        .await
        .expect(200)
        .json();
    let renewed = rotated["token"].as_str().unwrap().to_owned();
    assert_eq!(rotated["scopes"], json!(["read_api"]));
    own(&token).await.expect(401);
    own(&renewed).await.expect(200);
    // Also on another node, at once.
    let sibling = node.sibling();
    node.delete("/api/v4/personal_access_tokens/self")
        .bearer(&renewed)
        .send()
        .await
        .expect(204);
    sibling
        .get("/api/v4/personal_access_tokens/self")
        .bearer(&renewed)
        .send()
        .await
        .expect(401);
    let revoked = node
        .get("/api/v4/personal_access_tokens?state=inactive")
        .by("guest")
        .send()
        .await
        .expect(200);
    assert_eq!(ids(&revoked).len(), 2);
}

#[tokio::test]
async fn a_blocked_user_holds_no_token() {
    let node = TestNode::start().await;
    let id = node.get("/api/v4/user").by("developer").send().await.json()["id"].clone();
    node.post(format!("/api/v4/users/{id}/block"))
        .by("owner")
        .send()
        .await
        .expect(403);
    node.post(format!("/api/v4/users/{id}/block"))
        .by("root")
        .send()
        .await
        .expect(201);
    node.get("/api/v4/user").by("developer").send().await.expect(401);
    node.get("/api/v4/projects/2")
        .by("developer")
        .send()
        .await
        .expect(401);
    node.post(format!("/api/v4/users/{id}/unblock"))
        .by("root")
        .send()
        .await
        .expect(201);
    node.get("/api/v4/user").by("developer").send().await.expect(200);
    node.post("/api/v4/users/1/block")
        .by("root")
        .send()
        .await
        .expect(403);
}

#[tokio::test]
async fn users_are_made_and_found() {
    let node = TestNode::start().await;
    let new = json!({ "username": "Bob", "name": "Bob", "email": "bob@cairn.example" });
    node.post("/api/v4/users")
        .by("owner")
        .json(&new)
        .send()
        .await
        .expect(403);
    let bob = node
        .post("/api/v4/users")
        .by("root")
        .json(&new)
        .send()
        .await
        .expect(201)
        .json();
    node.post("/api/v4/users")
        .by("root")
        .json(&new)
        .send()
        .await
        .expect(409);
    let found = node
        .get("/api/v4/users?username=bob")
        .by("stranger")
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!((&found[0]["id"], &found[0]["email"]), (&bob["id"], &Value::Null));
    node.get("/api/v4/users").by("stranger").send().await.expect(403);
    let all = node
        .get("/api/v4/users?search=BOB")
        .by("root")
        .send()
        .await
        .expect(200);
    assert_eq!(all.json()[0]["email"], "bob@cairn.example");
    node.get("/api/v4/users/9999").by("root").send().await.expect(404);
}

#[tokio::test]
async fn deploy_tokens_pull_and_publish_in_their_project_alone() {
    let node = TestNode::start().await;
    let wanted = json!({
        "name": "ci",
        "scopes": ["read_package_registry", "write_package_registry"],
        "username": "ci-bot",
        "expires_at": "2999-01-01",
    });
    node.post("/api/v4/projects/1/deploy_tokens")
        .by("developer")
        .json(&wanted)
        .send()
        .await
        .expect(403);
    let made = node
        .post("/api/v4/projects/1/deploy_tokens")
        .by("maintainer")
        .json(&wanted)
        .send()
        .await;
    let made = made.expect(201).json();
    let token = made["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("cnd-"));
    assert_eq!(made["expires_at"], "2999-01-01T00:00:00.000Z");

    let target = "/api/v4/projects/1/packages/generic/p/1/f";
    node.put(target)
        .basic("ci-bot", &token)
        .body("x")
        .send()
        .await
        .expect(201);
    node.get(target)
        .header("deploy-token", &token)
        .send()
        .await
        .expect(200);
    node.get(target).bearer(&token).send().await.expect(200);
    node.get(target)
        .basic("someone-else", &token)
        .send()
        .await
        .expect(401);
    node.delete(target)
        .basic("ci-bot", &token)
        .send()
        .await
        .expect(403);
    node.put("/api/v4/projects/2/packages/generic/p/1/f")
        .bearer(&token)
        .body("x")
        .send()
        .await
        .expect(403);
    node.get("/api/v4/projects/3/packages/generic/p/1/f")
        .bearer(&token)
        .send()
        .await
        .expect(404);
    node.get("/api/v4/projects/1")
        .bearer(&token)
        .send()
        .await
        .expect(401);

    let listed = node
        .get("/api/v4/projects/1/deploy_tokens?active=true")
        .by("maintainer")
        .send()
        .await;
    assert_eq!(
        names(&listed.expect(200), "username"),
        ["deploy-read", "deploy-write", "ci-bot"]
    );
    let one = format!("/api/v4/projects/1/deploy_tokens/{}", made["id"]);
    assert_eq!(
        node.get(&one).by("maintainer").send().await.expect(200).json()["revoked"],
        false
    );
    let foreign = format!("/api/v4/projects/2/deploy_tokens/{}", made["id"]);
    node.get(&foreign).by("maintainer").send().await.expect(404);
    node.delete(&foreign).by("maintainer").send().await.expect(404);
    node.delete(&one).by("maintainer").send().await.expect(204);
    node.get(target).bearer(&token).send().await.expect(401);
    assert_eq!(
        node.get(&one).by("maintainer").send().await.expect(200).json()["revoked"],
        true
    );

    let of_group = json!({ "name": "all", "scopes": ["read_package_registry"] });
    node.post("/api/v4/groups/1/deploy_tokens")
        .by("maintainer")
        .json(&of_group)
        .send()
        .await
        .expect(403);
    let made = node
        .post("/api/v4/groups/1/deploy_tokens")
        .by("owner")
        .json(&of_group)
        .send()
        .await
        .expect(201);
    let token = made.json()["token"].as_str().unwrap().to_owned();
    node.get(target).bearer(&token).send().await.expect(200);
    node.put(target).bearer(&token).body("x").send().await.expect(403);
}

#[tokio::test]
async fn administrators_see_the_deploy_tokens_of_all() {
    let node = TestNode::start().await;
    let list = async |caller: &str, query: &str| {
        let target = format!("/api/v4/deploy_tokens?{query}");
        node.get(target).by(caller).send().await
    };
    let all = list("root", "").await.expect(200);
    assert_eq!(
        names(&all, "username"),
        ["deploy-read", "deploy-write", "foreign-deploy"]
    );
    assert!(
        all.json()
            .as_array()
            .unwrap()
            .iter()
            .all(|token| token.get("token").is_none())
    );
    let first = all.json()[0]["id"].clone();
    node.delete(format!("/api/v4/projects/1/deploy_tokens/{first}"))
        .by("root")
        .send()
        .await
        .expect(204);
    let gone = list("root", "active=false").await.expect(200);
    assert_eq!(
        (ids(&gone), &gone.json()[0]["revoked"]),
        (vec![first.as_u64().unwrap()], &json!(true))
    );
    assert_eq!(
        names(&list("root", "active=true&per_page=1").await, "username"),
        ["deploy-write"]
    );
    list("root", "active=maybe").await.expect(400);
    for (caller, status) in [("anonymous", 401), ("owner", 403), ("deploy-read", 401)] {
        list(caller, "").await.expect(status);
    }
}

#[tokio::test]
async fn access_tokens_are_bots_with_a_role() {
    let node = TestNode::start().await;
    let wanted = |level: u8| json!({ "name": "release", "scopes": ["api"], "access_level": level });
    let post = |caller: &'static str, level: u8| {
        node.post("/api/v4/projects/1/access_tokens")
            .by(caller)
            .json(&wanted(level))
            .send()
    };
    post("developer", 30).await.expect(403);
    post("maintainer", 50).await.expect(403);
    let made = post("maintainer", 30).await.expect(201).json();
    let token = made["token"].as_str().unwrap().to_owned();
    assert_eq!(made["access_level"], 30);
    node.put("/api/v4/projects/1/packages/generic/p/1/f")
        .bearer(&token)
        .body("x")
        .send()
        .await
        .expect(201);
    node.put("/api/v4/projects/2/packages/generic/p/1/f")
        .bearer(&token)
        .body("x")
        .send()
        .await
        .expect(403);
    let own = node
        .get("/api/v4/user")
        .bearer(&token)
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(
        (own["bot"].as_bool(), own["name"].as_str()),
        (Some(true), Some("release"))
    );
    let listed = node
        .get("/api/v4/projects/1/access_tokens")
        .by("maintainer")
        .send()
        .await
        .expect(200);
    assert_eq!(ids(&listed), [made["id"].as_u64().unwrap()]);
    let one = format!("/api/v4/projects/1/access_tokens/{}", made["id"]);
    node.get(&one).by("maintainer").send().await.expect(200);
    check_bot_stays(&node, made["user_id"].as_u64().unwrap(), &token).await;
    node.delete(&one).by("maintainer").send().await.expect(204);
    node.get("/api/v4/user").bearer(&token).send().await.expect(401);
    node.get(&one).by("maintainer").send().await.expect(404);
}

/// Makes sure that the bot of an access token of project 1 can neither be taken over by another
/// place, nor be parted from its token, nor give itself one that holds longer.
async fn check_bot_stays(node: &TestNode, bot: u64, token: &str) {
    // Whoever has it as a member could list its token, and revoke it.
    let add = json!({ "user_id": bot, "access_level": 10 });
    for place in ["projects/2", "groups/other"] {
        let answer = node
            .post(format!("/api/v4/{place}/members"))
            .by("root")
            .json(&add)
            .send()
            .await
            .expect(400);
        assert!(answer.text().contains("access token"), "{}", answer.text());
    }
    let elsewhere = node
        .get("/api/v4/projects/2/access_tokens")
        .by("owner")
        .send()
        .await;
    assert_eq!(ids(&elsewhere), [0; 0]);
    node.delete(format!("/api/v4/projects/1/members/{bot}"))
        .by("maintainer")
        .send()
        .await
        .expect(400);
    let more = json!({ "name": "longer", "scopes": ["api"] });
    for caller in [token, node.token("root")] {
        node.post(format!("/api/v4/users/{bot}/personal_access_tokens"))
            .bearer(caller)
            .json(&more)
            .send()
            .await
            .expect(403);
    }
}

#[tokio::test]
async fn packages_are_listed_shown_and_deleted() {
    let node = TestNode::start().await;
    for path in [
        "tool/1.0.0/a",
        "tool/1.0.0/b",
        "tool/1.1.0/a",
        "Other/1/x",
        "gone/1/x",
    ] {
        publish(&node, 1, path).await;
    }
    publish(&node, 1, "secret/1/x?status=hidden").await;
    node.delete("/api/v4/projects/1/packages/generic/gone")
        .by("maintainer")
        .send()
        .await
        .expect(204);

    let list = async |query: &str| {
        let answer = node
            .get(format!("/api/v4/projects/1/packages?{query}"))
            .by("reporter")
            .send()
            .await;
        answer.expect(200)
    };
    let all = list("").await;
    assert_eq!(names(&all, "name"), ["tool", "tool", "Other"]);
    assert_eq!(all.header("x-total"), "3");
    let first = &all.json()[0];
    assert_eq!(
        (first["version"].as_str(), first["package_type"].as_str()),
        (Some("1.0.0"), Some("generic"))
    );
    assert_eq!(
        first["_links"],
        json!({ "web_path": format!("/acme/demo/-/packages/{}", first["id"]) })
    );
    assert_eq!(first["last_downloaded_at"], Value::Null);
    for (query, expected) in [
        ("sort=desc", vec!["Other", "tool", "tool"]),
        ("order_by=name&sort=desc", vec!["tool", "tool", "Other"]),
        ("package_name=OO", vec!["tool", "tool"]),
        ("package_name=%25", vec![]),
        ("package_version=1.1.0", vec!["tool"]),
        ("package_type=npm", vec![]),
        ("package_type=conan", vec![]),
        ("status=processing", vec![]),
        ("status=hidden", vec!["secret"]),
        ("per_page=1&page=3", vec!["Other"]),
        ("page=99", vec![]),
    ] {
        assert_eq!(names(&list(query).await, "name"), expected, "{query}");
    }
    for wrong in [
        "package_type=floppy",
        "status=lost",
        "order_by=size",
        "sort=up",
        "page=x",
    ] {
        let target = format!("/api/v4/projects/1/packages?{wrong}");
        let answer = node.get(target).by("reporter").send().await.expect(400);
        assert!(answer.json()["error"].is_string(), "{wrong}");
    }
    let page = list("pagination=keyset&per_page=2").await;
    assert_eq!((names(&page, "name").len(), page.header("x-total")), (2, ""));
    let link = page.header("link");
    let next = link
        .trim_start_matches("<http://cairn.example")
        .split('>')
        .next()
        .unwrap()
        .to_owned();
    let rest = node.get(next).by("reporter").send().await.expect(200);
    assert_eq!(
        (names(&rest, "name"), rest.header("link")),
        (vec!["Other".to_owned()], "")
    );

    let id = &first["id"];
    let shown = node
        .get(format!("/api/v4/projects/1/packages/{id}"))
        .by("maintainer")
        .send()
        .await;
    let shown = shown.expect(200).json();
    assert_eq!(shown["versions"][0]["version"], "1.1.0");
    let delete_path = shown["_links"]["delete_api_path"].as_str().unwrap();
    assert_eq!(
        delete_path,
        format!("http://cairn.example/api/v4/projects/1/packages/{id}")
    );

    let files = node
        .get(format!("/api/v4/projects/1/packages/{id}/package_files"))
        .by("reporter")
        .send()
        .await;
    let files = files.expect(200);
    assert_eq!(names(&files, "file_name"), ["a", "b"]);
    let file = &files.json()[0]["id"];
    let target = format!("/api/v4/projects/1/packages/{id}/package_files/{file}");
    let got = node
        .get(format!("{target}/download"))
        .by("reporter")
        .send()
        .await
        .expect(200);
    assert_eq!(got.text(), "bytes");
    node.delete(&target).by("developer").send().await.expect(403);
    node.delete(&target).by("maintainer").send().await.expect(204);
    node.delete(&target).by("maintainer").send().await.expect(404);
    node.get("/api/v4/projects/1/packages/generic/tool/1.0.0/a")
        .by("reporter")
        .send()
        .await
        .expect(404);

    // Numbers of another project lead nowhere.
    for foreign in [
        format!("/api/v4/projects/2/packages/{id}"),
        "/api/v4/projects/1/packages/99999".into(),
    ] {
        node.get(&foreign).by("owner").send().await.expect(404);
        node.delete(&foreign).by("owner").send().await.expect(404);
    }
    let old = "Wed, 01 Jul 2020 12:00:00 GMT";
    let target = format!("/api/v4/projects/1/packages/{id}");
    node.delete(&target)
        .by("maintainer")
        .header("if-unmodified-since", old)
        .send()
        .await
        .expect(412);
    node.delete(&target).by("maintainer").send().await.expect(204);
    node.get(&target).by("reporter").send().await.expect(404);
    assert_eq!(names(&list("").await, "name"), ["tool", "Other"]);
}

#[tokio::test]
async fn a_group_lists_what_the_caller_may_read_of_its_projects() {
    let node = TestNode::start().await;
    publish(&node, 1, "private/1/x").await;
    publish(&node, 2, "public/1/x").await;
    publish(&node, 3, "internal/1/x").await;
    let list = async |caller: &str, query: &str| {
        let target = format!("/api/v4/groups/acme/packages?order_by=project_path&{query}");
        node.get(target).by(caller).send().await
    };
    list("anonymous", "").await.expect(404);
    list("stranger", "").await.expect(404);
    assert_eq!(
        names(&list("guest", "").await.expect(200), "name"),
        ["internal", "public"]
    );
    let all = list("reporter", "").await.expect(200);
    assert_eq!(names(&all, "name"), ["private", "internal", "public"]);
    assert_eq!(
        names(&all, "project_path"),
        ["acme/demo", "acme/inside", "acme/open"]
    );
    assert_eq!(
        names(&list("reporter", "package_name=pub").await, "name"),
        ["public"]
    );
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
