//! Signing in and out, profiles and tokens.

use super::*;

#[tokio::test]
async fn a_token_is_a_password() {
    let node = TestNode::start().await;
    let login = async |name: &str, password: &str| {
        let target = format!("{BASE}/-/user/org.couchdb.user:{name}");
        let body = json!({
            "_id": format!("org.couchdb.user:{name}"), "name": name, "password": password,
            "type": "user", "roles": [], "date": "2026-01-01T00:00:00.000Z",
        });
        // A client that signs in again may still send a token that does not hold any more.
        node.put(target).bearer("cnp-expired").json(&body).send().await
    };
    let token = node.token("developer");
    let signed_in = login("developer", token).await.expect(201).json();
    assert_eq!(
        (&signed_in["ok"], &signed_in["token"]),
        (&json!(true), &json!(token))
    );
    login("owner", token).await.expect(401);
    login("developer", "wrong").await.expect(401);
    login("developer", "").await.expect(401);
    let target = format!("{BASE}/-/user/org.couchdb.user:developer");
    node.put(&target)
        .json(&json!({"name": "owner", "password": token}))
        .send()
        .await
        .expect(400);
    node.put(&target).body("{").send().await.expect(400);
    node.put(&target)
        .body("x".repeat(100_000))
        .send()
        .await
        .expect(413);

    let whoami = format!("{BASE}/-/whoami");
    let answer = node.get(&whoami).by("developer").send().await.expect(200);
    assert_eq!(answer.json(), json!({"username": "developer"}));
    let basic = node
        .get(&whoami)
        .basic("developer", token)
        .send()
        .await
        .expect(200);
    assert_eq!(basic.json(), json!({"username": "developer"}));
    let refused = node.get(&whoami).send().await.expect(401);
    assert_eq!(refused.header("www-authenticate"), "Bearer realm=\"cairn\"");
    node.get(&whoami).bearer("wrong").send().await.expect(401);

    let web = node
        .post(format!("{BASE}/-/v1/login"))
        .json(&json!({}))
        .send()
        .await;
    assert!((400..500).contains(&web.status));
    let ping = node
        .get(format!("{BASE}/-/ping"))
        .by("reporter")
        .send()
        .await
        .expect(200);
    assert_eq!(ping.json(), json!({}));
    let profile = node
        .get(format!("{BASE}/-/npm/v1/user"))
        .by("developer")
        .send()
        .await
        .expect(200);
    assert_eq!(profile.json()["name"], "developer");
    node.post(format!("{BASE}/-/npm/v1/user"))
        .by("developer")
        .json(&json!({}))
        .send()
        .await
        .expect(403);
    node.get(format!("{BASE}/-/npm/v1/user")).send().await.expect(401);
    let user = node
        .get(format!("{BASE}/-/user/org.couchdb.user:owner"))
        .by("developer")
        .send()
        .await
        .expect(200);
    assert_eq!(user.json()["name"], "owner");
    node.get(format!("{BASE}/-/user/org.couchdb.user:nobody"))
        .by("developer")
        .send()
        .await
        .expect(404);
    node.get(format!("{BASE}/-/user/org.couchdb.user:owner"))
        .send()
        .await
        .expect(401);
}

#[tokio::test]
async fn signing_out_ends_the_token_everywhere() {
    let node = TestNode::start().await;
    let target = |token: &str| format!("{BASE}/-/user/token/{token}");
    let token = node.token("developer");
    // Nobody signs out somebody else, and no word is one that is known.
    for (caller, named) in [
        ("reporter", token),
        ("developer", node.token("reporter")),
        ("developer", "cnp-wrong"),
    ] {
        node.delete(target(named)).by(caller).send().await.expect(404);
    }
    node.delete(target(token)).send().await.expect(401);
    node.delete(target(token))
        .by("developer")
        .send()
        .await
        .expect(200);
    for node in [&node, &node.sibling()] {
        let whoami = node.get(format!("{BASE}/-/whoami")).by("developer");
        whoami.send().await.expect(401);
    }
    node.get(format!("{BASE}/-/whoami"))
        .by("reporter")
        .send()
        .await
        .expect(200);
}

#[tokio::test]
async fn tokens_are_made_listed_and_revoked() {
    let node = TestNode::start().await;
    let tokens = format!("{BASE}/-/npm/v1/tokens");
    let create = async |caller: &str, body: Value| node.post(&tokens).by(caller).json(&body).send().await;
    let password = node.token("developer");
    let wanted =
        json!({"password": password, "readonly": true, "name": "ci", "expires": 7, "cidr_whitelist": []});
    let made = create("developer", wanted).await.expect(201);
    assert_eq!(made.header("cache-control"), "no-store");
    let made = made.json();
    let token = made["token"].as_str().unwrap();
    assert_eq!((&made["readonly"], &made["name"]), (&json!(true), &json!("ci")));
    let whoami = format!("{BASE}/-/whoami");
    let who = node.sibling().get(&whoami).bearer(token).send().await.expect(200);
    assert_eq!(who.json()["username"], "developer");
    node.put(format!("{BASE}/-/package/hello/dist-tags/x"))
        .bearer(token)
        .json(&json!("1.0.0"))
        .send()
        .await
        .expect(403);

    let listed = node.get(&tokens).by("developer").send().await.expect(200);
    assert!(!listed.text().contains(token) && !listed.text().contains(password));
    let listed = listed.json();
    let objects = listed["objects"].as_array().unwrap();
    assert_eq!(objects.len(), 2);
    let mine = objects.iter().find(|object| object["name"] == "ci").unwrap();
    assert_eq!(mine["key"], made["key"]);
    assert!(token.starts_with(mine["token"].as_str().unwrap()));

    let key = format!("{tokens}/token/{}", made["key"].as_str().unwrap());
    // A token that may only read revokes nothing, and nobody those of others.
    node.delete(&key).bearer(token).send().await.expect(403);
    node.delete(&key).by("owner").send().await.expect(404);
    node.delete(&key).by("developer").send().await.expect(204);
    node.get(&whoami).bearer(token).send().await.expect(401);
    node.delete(&key).by("developer").send().await.expect(404);
    node.delete(format!("{tokens}/token/nothing"))
        .by("developer")
        .send()
        .await
        .expect(404);
}

#[tokio::test]
async fn wrong_requests_for_tokens_are_refused() {
    let node = TestNode::start().await;
    let tokens = format!("{BASE}/-/npm/v1/tokens");
    let password = node.token("developer").to_owned();
    let with = |more: Value| {
        let mut body = json!({ "password": password });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    for (caller, body, status) in [
        ("anonymous", with(json!({})), 401),
        ("deploy-write", with(json!({})), 403),
        ("reading", with(json!({})), 403),
        ("developer", json!({}), 400),
        ("developer", json!({"password": "wrong"}), 401),
        ("developer", json!({"password": node.token("owner")}), 401),
        ("developer", with(json!({"expires": 0})), 400),
        ("developer", with(json!({"expires": 401})), 400),
        ("developer", with(json!({"expires": "soon"})), 400),
        ("developer", with(json!({"name": ""})), 400),
        ("developer", with(json!({"name": "x".repeat(256)})), 400),
        ("developer", with(json!({"cidr_whitelist": ["10.0.0.0/8"]})), 400),
        ("developer", with(json!({"packages": ["left"]})), 400),
        ("developer", with(json!({"scopes": ["@acme"]})), 400),
        ("developer", with(json!({"orgs": ["acme"]})), 400),
        ("developer", with(json!({"name": "x".repeat(20_000)})), 413),
    ] {
        let answer = node.post(&tokens).by(caller).json(&body).send().await;
        assert_eq!(answer.status, status, "{caller} {body}: {}", answer.text());
        assert!(answer.json()["error"].is_string(), "{caller} {body}");
    }
    node.get(&tokens).send().await.expect(401);
    let listed = node.get(&tokens).by("developer").send().await.expect(200);
    assert_eq!(listed.json()["total"], 1);
}
