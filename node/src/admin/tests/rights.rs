//! Rights that are taken away, narrowed, or tried to be stretched.

use axum::body::{Body, Bytes};
use futures::stream;

use super::*;

async fn user_id(node: &TestNode, caller: &str) -> Value {
    node.get("/api/v4/user").by(caller).send().await.json()["id"].clone()
}

/// A change of a user that arrives only after `first` has been answered.
fn change_after(first: impl Future<Output = Answer> + Send + 'static, change: &Value) -> Body {
    let change = Bytes::from(change.to_string());
    Body::from_stream(stream::once(async move {
        first.await.expect(200);
        Ok::<_, std::io::Error>(change)
    }))
}

#[tokio::test]
async fn of_two_administrators_who_depose_each_other_one_remains() {
    let node = TestNode::start().await;
    let owner = user_id(&node, "owner").await;
    let own = format!("/api/v4/users/{owner}");
    let promote = node.put(&own).by("root").json(&json!({ "admin": true }));
    promote.send().await.expect(200);

    let step_down = json!({ "admin": false });
    // The owner is let in while still an administrator; before the body comes, that has ended.
    let first = node.put(&own).by("root").json(&step_down).answered();
    node.put("/api/v4/users/1")
        .by("owner")
        .header("content-type", "application/json")
        .body(change_after(first, &step_down))
        .send()
        .await
        .expect(403);
    node.get("/api/v4/users").by("root").send().await.expect(200);
    node.get("/api/v4/users").by("owner").send().await.expect(403);

    for refused in [
        node.put("/api/v4/users/1").by("root").json(&step_down),
        node.post("/api/v4/users/1/block").by("root"),
    ] {
        refused.send().await.expect(403);
    }
}

#[tokio::test]
async fn a_token_for_one_image_is_a_token_for_nothing_else() {
    let node = TestNode::start().await;
    publish(&node, 1, "tool/1/f").await;
    let query = "service=container_registry&scope=repository:acme/demo/app:pull";
    let answer = node.get(format!("/jwt/auth?{query}")).by("root").send().await;
    let token = answer.expect(200).json()["token"].as_str().unwrap().to_owned();
    for request in [
        node.get("/api/v4/user"),
        node.get("/api/v4/projects/1"),
        node.post("/api/v4/groups").json(&json!({ "path": "new" })),
        node.get("/api/v4/projects/1/packages/generic/tool/1/f"),
        node.put("/api/v4/projects/1/packages/generic/tool/1/g").body("x"),
        // Nor for a token that reaches further.
        node.get("/jwt/auth?service=container_registry&scope=repository:acme/demo/app:push"),
    ] {
        request.bearer(&token).send().await.expect(401);
    }
}

#[tokio::test]
async fn nobody_becomes_more_by_saying_so() {
    let node = TestNode::start().await;
    let developer = user_id(&node, "developer").await;
    let token = json!({ "name": "x", "scopes": ["api"] });
    let project = json!({ "path": "mine", "namespace_id": 1 });
    for (caller, target, sound) in [
        (
            "developer",
            format!("/api/v4/users/{developer}/personal_access_tokens"),
            &token,
        ),
        ("maintainer", "/api/v4/projects".into(), &project),
    ] {
        for field in [
            "is_admin",
            "admin",
            "owner",
            "owner_id",
            "id",
            "user_id",
            "access_level",
        ] {
            let mut stretched = sound.clone();
            stretched[field] = json!(1);
            let refused = node.post(&target).by(caller).json(&stretched).send().await;
            let said = refused.expect(400);
            assert!(said.text().contains(field), "{field}: {}", said.text());
        }
        node.post(&target).by(caller).json(sound).send().await.expect(201);
    }
}
