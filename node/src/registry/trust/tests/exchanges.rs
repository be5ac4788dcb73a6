//! Each way in which clients ask for a token.

use super::*;

#[tokio::test]
async fn the_form_of_oauth_is_taken_and_answered() {
    let (ci, _) = Ci::with_rule(json!({})).await;
    let grant = "urn:ietf:params:oauth:grant-type:token-exchange";
    let kind = "urn:ietf:params:oauth:token-type:id_token";
    let send = async |fields: &[(&str, &str)]| {
        let form: String = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let request = ci.node.post("/-/oidc/exchange");
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.body(form).send().await
    };
    let shown = ci.id_token(json!({}));
    let good = [
        ("grant_type", grant),
        ("subject_token", shown.as_str()),
        ("subject_token_type", kind),
        ("audience", "acme/demo"),
        ("scope", "write_package_registry"),
    ];
    let made = send(&good).await.expect(200).json();
    assert_eq!(
        made["issued_token_type"],
        "urn:ietf:params:oauth:token-type:access_token"
    );
    assert_eq!(made["scope"], "write_package_registry");
    for (fields, error) in [
        (vec![("grant_type", "password")], "unsupported_grant_type"),
        (vec![("grant_type", grant)], "invalid_request"),
        (
            vec![("subject_token", "x"), ("subject_token_type", "saml")],
            "invalid_request",
        ),
        (
            vec![("subject_token", "x"), ("actor_token", "y")],
            "invalid_request",
        ),
        (
            vec![("subject_token", "x"), ("requested_token_type", kind)],
            "invalid_request",
        ),
        (
            vec![("subject_token", "x"), ("scope", "everything")],
            "invalid_scope",
        ),
        (
            vec![("subject_token", "x"), ("audience", "a//b")],
            "invalid_target",
        ),
        (vec![("subject_token", "x")], "invalid_grant"),
    ] {
        let refused = send(&fields).await.expect(400).json();
        assert_eq!(refused["error"], error, "{fields:?}");
    }
    let large = json!({"token": "x".repeat(40 << 10)});
    exchange(&ci.node, large).await.expect(413);
    let deep = "[".repeat(100) + &"]".repeat(100);
    ci.node
        .post("/-/oidc/exchange")
        .body(deep)
        .send()
        .await
        .expect(400);
}

#[tokio::test]
async fn python_clients_get_their_token_at_the_host() {
    let (ci, _) = Ci::with_rule(json!({"package_type": "pypi"})).await;
    let audience = ci.node.get("/_/oidc/audience").send().await.expect(200).json();
    assert_eq!(audience, json!({"audience": HOST}));
    let mint = async |body: &Value| ci.node.post("/_/oidc/mint-token").json(body).send().await;
    let shown = json!({"token": ci.id_token(json!({}))});
    let made = mint(&shown).await.expect(200).json();
    let token = made["token"].as_str().unwrap();
    let expected = ci.node.app().store().now().0 / 1000 + 900;
    assert_eq!(
        (&made["success"], &made["expires"]),
        (&json!(true), &json!(expected))
    );
    let list = || ci.node.get("/api/v4/projects/1/packages/pypi/simple/");
    list().basic("__token__", token).send().await.expect(200);
    let stranger = SigningKey::ec();
    let forged = stranger.sign(&stranger.header(), &ci.claims(json!({})));
    for (body, code) in [
        (shown, "invalid-reuse-token"),
        (json!({"token": forged}), "invalid-token"),
        (
            json!({"token": ci.id_token(json!({"repository": "acme/other"}))}),
            "invalid-publisher",
        ),
        (json!({"tokens": 1}), "invalid-payload"),
    ] {
        let refused = mint(&body).await.expect(422).json();
        assert_eq!(refused["errors"][0]["code"], code, "{refused}");
        assert!(refused["message"].is_string());
    }
    let burn = json!({"token": token});
    ci.node
        .post("/_/oidc/burn-token")
        .json(&burn)
        .send()
        .await
        .expect(200);
    list().basic("__token__", token).send().await.expect(401);
}

#[tokio::test]
async fn npm_gets_a_token_for_the_one_package_that_it_publishes() {
    let (ci, _) = Ci::with_rule(json!({"package_type": "npm", "package_name_pattern": "@acme/*"})).await;
    let exchange = async |name: &str, shown: &str| {
        let target = format!("/-/npm/v1/oidc/token/exchange/package/{name}");
        ci.node.post(target).bearer(shown).send().await
    };
    let shown = || ci.id_token(json!({"aud": format!("npm:{HOST}")}));
    let made = exchange("@acme%2fhello", &shown()).await.expect(201).json();
    let token = made["token"].as_str().unwrap();
    let ask = async |name: &str| {
        let target = format!("/api/v4/projects/1/packages/npm/{name}");
        ci.node.get(target).bearer(token).send().await
    };
    let publish = async |name: &str| {
        let document = crate::formats::npm::tests::document(name, "1.0.0");
        let target = format!("/api/v4/projects/1/packages/npm/{}", name.replace('/', "%2f"));
        ci.node.put(target).bearer(token).json(&document).send().await
    };
    publish("@acme/hello").await.expect(201);
    ask("@acme%2fhello").await.expect(200);
    publish("@acme/other").await.expect(403);
    let refused = exchange("left", &shown()).await.expect(403).json();
    assert!(
        refused["message"].as_str().unwrap().contains("no trust rule"),
        "{refused}"
    );
    exchange("@acme%2fhello", "junk").await.expect(401);
    exchange("..%2f..", &shown()).await.expect(400);
}

#[tokio::test]
async fn workflows_for_crates_get_a_token_and_give_it_up() {
    let (ci, _) = Ci::with_rule(json!({"package_type": "cargo"})).await;
    let target = "/api/v1/trusted_publishing/tokens";
    let shown = json!({"jwt": ci.id_token(json!({}))});
    let made = ci.node.post(target).json(&shown).send().await.expect(200).json();
    let token = made["token"].as_str().unwrap();
    let me = || ci.node.get("/api/v4/projects/1/packages/cargo/index/config.json");
    // Cargo sends the token alone.
    me().header("authorization", token).send().await.expect(200);
    let again = ci.node.post(target).json(&shown).send().await.expect(400).json();
    assert!(
        again["errors"][0]["detail"]
            .as_str()
            .unwrap()
            .contains("used before")
    );
    ci.node.delete(target).send().await.expect(401);
    ci.node.delete(target).bearer(token).send().await.expect(204);
    ci.node.delete(target).bearer(token).send().await.expect(401);
    me().header("authorization", token).send().await.expect(401);
}

#[tokio::test]
async fn actions_that_release_gems_get_a_token_for_the_project_that_they_push_to() {
    let (ci, _) = Ci::with_rule(json!({"package_type": "rubygems"})).await;
    ci.rule(
        "/api/cairn/v1/projects/2/trust_rules",
        json!({"package_type": "rubygems"}),
    )
    .await;
    let path = "api/v1/oidc/trusted_publisher/exchange_token";
    let base = |project: &str| format!("/api/v4/projects/{project}/packages/rubygems");
    let exchange = async |base: &str, shown: &Value| {
        let request = ci.node.post(format!("{base}/{path}"));
        request.json(&json!({"jwt": shown})).send().await
    };
    let shown = || json!(ci.id_token(json!({})));
    let push = async |project: &str, token: &str| {
        let request = ci.node.post(format!("{}/api/v1/gems", base(project)));
        // `gem` sends the token alone.
        request.header("authorization", token).body("x").send().await
    };
    let first = shown();
    let made = exchange(&base("acme%2Fdemo"), &first).await.expect(201).json();
    let token = made["rubygems_api_key"].as_str().unwrap();
    assert_eq!(made["scopes"], json!(["push_rubygem"]));
    assert!(made["name"].is_string());
    let ends = ci
        .node
        .app()
        .store()
        .now()
        .plus(std::time::Duration::from_secs(900));
    assert_eq!(made["expires_at"], json!(crate::registry::time::iso(ends)));
    // What is pushed is no gem: who may not push is not told so.
    push("1", token).await.expect(422);
    push("2", token).await.expect(403);
    let again = exchange(&base("1"), &first).await.expect(401);
    assert!(again.text().contains("used before"), "{}", again.text());
    // At the host, for every project that lets it in.
    let made = exchange("", &shown()).await.expect(201).json();
    let token = made["rubygems_api_key"].as_str().unwrap();
    push("1", token).await.expect(422);
    push("2", token).await.expect(422);
    // These alone are what actions call not configured, whether the project is there or not.
    let other = json!(ci.id_token(json!({"repository": "acme/other"})));
    for (project, shown) in [("1", other), ("acme%2Fnone", shown()), ("%20", shown())] {
        exchange(&base(project), &shown).await.expect(404);
    }
    exchange(&base("1"), &json!(7)).await.expect(400);
}
