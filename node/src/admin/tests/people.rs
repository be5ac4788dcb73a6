//! Users, members and their roles.

use super::*;

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
