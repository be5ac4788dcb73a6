//! Personal, deploy and access tokens.

use super::*;

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
async fn the_token_of_a_bot_is_rotated_and_stays_its_own() {
    let node = TestNode::start().await;
    let tokens = "/api/v4/projects/1/access_tokens";
    let wanted = json!({ "name": "ci", "scopes": ["read_api"], "access_level": 30 });
    let made = node.post(tokens).by("maintainer").json(&wanted).send().await;
    let made = made.expect(201).json();
    let old = made["token"].as_str().unwrap();
    let rotate = format!("{tokens}/{}/rotate", made["id"]);
    node.post(&rotate).by("developer").send().await.expect(403);
    let rotated = node
        .post(&rotate)
        .by("maintainer")
        .send()
        .await
        .expect(200)
        .json();
    for same in ["user_id", "access_level", "scopes", "name"] {
        assert_eq!(rotated[same], made[same], "{same}");
    }
    let project = |token: &str| node.get("/api/v4/projects/1").bearer(token).send();
    project(old).await.expect(401);
    project(rotated["token"].as_str().unwrap()).await.expect(200);
    // The one that is gone cannot be rotated again, and what another place has is not there.
    node.post(&rotate).by("maintainer").send().await.expect(400);
    let elsewhere = format!("/api/v4/projects/2/access_tokens/{}/rotate", rotated["id"]);
    node.post(&elsewhere).by("maintainer").send().await.expect(404);
}

#[tokio::test]
async fn administrators_bound_how_long_tokens_live() {
    let node = TestNode::start().await;
    let settings = "/api/v4/application/settings";
    let set = async |change: Value, status: u16| {
        let answer = node.put(settings).by("root").json(&change).send().await;
        answer.expect(status).json()
    };
    for wrong in [
        json!({ "max_personal_access_token_lifetime": 401 }),
        json!({ "max_personal_access_token_lifetime": 0 }),
        json!({ "max_deploy_token_lifetime": -1 }),
        json!({ "unknown": 1 }),
    ] {
        set(wrong, 400).await;
    }
    let both = json!({ "max_personal_access_token_lifetime": 30, "max_deploy_token_lifetime": 10 });
    let now = set(both, 200).await;
    assert_eq!(now["max_personal_access_token_lifetime"], 30);
    // On every node at once, and for everything that makes tokens.
    let sibling = node.sibling();
    let user = node.get("/api/v4/user").by("developer").send().await.json()["id"].clone();
    for (target, by, scope) in [
        (
            format!("/api/v4/users/{user}/personal_access_tokens"),
            "root",
            "api",
        ),
        ("/api/v4/projects/1/access_tokens".into(), "maintainer", "api"),
        (
            "/api/v4/projects/1/deploy_tokens".into(),
            "maintainer",
            "read_registry",
        ),
    ] {
        let wanted = |end: Option<&str>| json!({ "name": "x", "scopes": [scope], "expires_at": end });
        let make = async |end| sibling.post(&target).by(by).json(&wanted(end)).send().await;
        let refused = make(Some("2999-01-01")).await.expect(400);
        assert!(refused.text().contains("must be within"), "{}", refused.text());
        let made = make(None).await.expect(201).json();
        assert!(made["expires_at"].is_string(), "it ends: {made}");
        if !target.ends_with("deploy_tokens") {
            let rotate = match target.starts_with("/api/v4/users") {
                true => format!("/api/v4/personal_access_tokens/{}/rotate", made["id"]),
                false => format!("{target}/{}/rotate", made["id"]),
            };
            let far = json!({ "expires_at": "2999-01-01" });
            node.post(&rotate).by(by).json(&far).send().await.expect(400);
        }
    }
    let now = set(json!({ "max_deploy_token_lifetime": null }), 200).await;
    assert_eq!(
        now["max_personal_access_token_lifetime"], 30,
        "what is absent stays"
    );
    let endless = json!({ "name": "x", "scopes": ["read_registry"] });
    let made = node
        .post("/api/v4/projects/1/deploy_tokens")
        .by("maintainer")
        .json(&endless);
    assert_eq!(made.send().await.expect(201).json()["expires_at"], Value::Null);
}
