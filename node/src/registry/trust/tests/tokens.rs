//! What the tokens of jobs are good for, and until when.

use super::*;

#[tokio::test]
async fn a_job_publishes_and_fetches_by_each_of_its_headers() {
    let (ci, _) = Ci::with_rule(json!({})).await;
    let made = ci.exchange(&ci.id_token(json!({}))).await.expect(200);
    assert_eq!(made.header("cache-control"), "no-store");
    let made = made.json();
    let token = made["access_token"].as_str().unwrap();
    assert!(token.starts_with("cnj-"));
    assert_eq!(
        (&made["token_type"], &made["expires_in"]),
        (&json!("Bearer"), &json!(900))
    );
    assert_eq!(made["scope"], "read_package_registry write_package_registry");
    ci.put(token, "1/tool").await.expect(201);
    // Who published it is known for as long as it is there.
    let packages = ci
        .node
        .get("/api/v4/projects/1/packages")
        .by("reporter")
        .send()
        .await;
    let by = packages.expect(200).json()[0]["published_by"].clone();
    assert_eq!(by["issuer"], ci.issuer.url());
    assert_eq!(by["subject"], "repo:acme/demo:ref:refs/tags/v1");
    assert_eq!(
        by["claims"],
        json!({"repository": "acme/demo", "ref": "refs/tags/v1"})
    );
    let get = || ci.node.get(file("1/tool"));
    get().bearer(token).send().await.expect(200);
    get().header("job-token", token).send().await.expect(200);
    get().basic("gitlab-ci-token", token).send().await.expect(200);
    get().basic("__token__", token).send().await.expect(200);
    get().basic("developer", token).send().await.expect(401);
    // What is not of a job does not pass for it.
    get()
        .basic("gitlab-ci-token", ci.node.token("root"))
        .send()
        .await
        .expect(401);
    // It is for package clients alone.
    for target in ["/api/v4/user", "/api/v4/projects/1", PROJECT_RULES] {
        ci.node.get(target).bearer(token).send().await.expect(401);
    }
    ci.node
        .delete(file("1/tool"))
        .bearer(token)
        .send()
        .await
        .expect(403);
}

#[tokio::test]
async fn a_token_dies_with_its_rule_its_time_or_its_holders_word_on_every_node() {
    let (ci, rule) = Ci::with_rule(json!({"lifetime_seconds": 60})).await;
    let sibling = ci.node.sibling();
    let holds = async |token: &str| {
        let here = ci.get(token, "1/tool").await.status;
        let there = sibling.get(file("1/tool")).bearer(token).send().await.status;
        assert_eq!(here, there);
        here == 200
    };
    let first = ci.token().await;
    ci.put(&first, "1/tool").await.expect(201);
    assert!(holds(&first).await);
    ci.clock.advance(Duration::from_secs(60));
    assert!(!holds(&first).await);

    let given_up = ci.token().await;
    assert!(holds(&given_up).await);
    for _ in 0..2 {
        let revoke = sibling.post("/-/oidc/revoke").json(&json!({"token": given_up}));
        revoke.send().await.expect(200);
        assert!(!holds(&given_up).await);
    }
    // Only tokens of jobs are given up this way.
    let revoke = json!({"token": ci.node.token("developer")});
    ci.node
        .post("/-/oidc/revoke")
        .json(&revoke)
        .send()
        .await
        .expect(200);
    assert!(holds(ci.node.token("developer")).await);

    let last = ci.token().await;
    assert!(holds(&last).await);
    let target = format!("{PROJECT_RULES}/{rule}");
    sibling.delete(&target).by("maintainer").send().await.expect(204);
    assert!(!holds(&last).await);
    ci.refuses(&ci.id_token(json!({})), "invalid_grant", "no trust rule")
        .await;
}

#[tokio::test]
async fn what_has_ended_is_forgotten() {
    let (ci, _) = Ci::with_rule(json!({})).await;
    let shown = ci.id_token(json!({}));
    let made = ci.exchange(&shown).await.expect(200).json();
    let token = made["access_token"].as_str().unwrap();
    let app = ci.node.app();
    assert_eq!(fixture::records_of_job(app, token).await, (2, true));
    fixture::forget_what_ended(app).await;
    assert_eq!(fixture::records_of_job(app, token).await, (2, true));
    ci.clock.advance(Duration::from_secs(900));
    fixture::forget_what_ended(app).await;
    // That the ID token was used is known for longer than it could be shown again.
    assert_eq!(fixture::records_of_job(app, token).await, (1, false));
    ci.refuses(&shown, "invalid_grant", "expired").await;
    ci.clock.advance(LIFETIME);
    fixture::forget_what_ended(app).await;
    assert_eq!(fixture::records_of_job(app, token).await, (0, false));
}

#[tokio::test]
async fn the_rules_of_a_project_go_with_it() {
    let (ci, _) = Ci::with_rule(json!({})).await;
    let (app, url) = (ci.node.app(), ci.issuer.url());
    assert_eq!(fixture::rules_by(app, url).await, 1);
    let token = ci.token().await;
    ci.node
        .delete("/api/v4/projects/1")
        .by("owner")
        .send()
        .await
        .expect(202);
    ci.put(&token, "1/tool").await.expect(404);
    fixture::purge(app).await;
    assert_eq!(fixture::rules_by(app, url).await, 0);
    ci.put(&token, "1/tool").await.expect(401);
}

#[tokio::test]
async fn a_token_acts_where_its_rules_say_and_nowhere_else() {
    let (ci, _) = Ci::with_rule(json!({})).await;
    let token = ci.token().await;
    ci.put(&token, "1/tool").await.expect(201);
    ci.put(&token, "2/tool").await.expect(403);
    ci.put(&token, "3/tool").await.expect(404);
    ci.get(&token, "3/tool").await.expect(404);
    // What everybody may fetch, a job may too.
    ci.put(ci.node.token("root"), "2/tool").await.expect(201);
    ci.get(&token, "2/tool").await.expect(200);

    // A rule of the group holds for what is in it; what is asked for of it is held to.
    ci.rule(GROUP_RULES, json!({})).await;
    let wide = ci.token().await;
    ci.put(&wide, "3/tool").await.expect(201);
    ci.put(&wide, "1/other").await.expect(201);
    let narrow = ci.token_for(json!({"repository": "acme/inside"})).await;
    ci.put(&narrow, "3/more").await.expect(201);
    ci.put(&narrow, "1/more").await.expect(404);
    let reads = ci.token_for(json!({"scope": "read_package_registry"})).await;
    ci.get(&reads, "3/more").await.expect(200);
    ci.put(&reads, "3/last").await.expect(403);
    let npm = ci.token_for(json!({"package_type": "npm"})).await;
    ci.put(&npm, "1/last").await.expect(403);
    ci.get(&npm, "1/tool").await.expect(403);
    let refused = json!({"token": ci.id_token(json!({})), "scope": "read_registry"});
    let refused = exchange(&ci.node, refused).await.expect(400).json();
    assert_eq!(refused["error"], "invalid_scope");
    for repository in ["other/thing", "acme/missing", "acme"] {
        let fields = json!({"token": ci.id_token(json!({})), "repository": repository});
        let refused = exchange(&ci.node, fields).await.expect(400).json();
        assert_eq!(refused["error"], "invalid_grant", "{repository}");
    }
}

#[tokio::test]
async fn a_rule_may_be_for_one_format_and_some_packages() {
    let more = json!({"package_type": "generic", "package_name_pattern": "tool-*"});
    let (ci, _) = Ci::with_rule(more).await;
    for name in ["tool-a", "other"] {
        ci.put(ci.node.token("root"), &format!("1/{name}"))
            .await
            .expect(201);
    }
    let token = ci.token().await;
    ci.put(&token, "1/tool-b").await.expect(201);
    ci.get(&token, "1/tool-a").await.expect(200);
    let refused = ci.put(&token, "1/toolbox").await.expect(403);
    assert!(refused.text().contains("toolbox"), "{}", refused.text());
    ci.get(&token, "1/other").await.expect(404);
    let list = ci.node.get("/api/v4/projects/1/packages/generic/").bearer(&token);
    let list = list.send().await.expect(200);
    assert!(
        list.text().contains("tool-a") && !list.text().contains("other"),
        "{}",
        list.text()
    );
    // Another format is another thing.
    for target in ["pypi/simple/", "npm/-/v1/search?text=", "cargo/index/config.json"] {
        let target = format!("/api/v4/projects/1/packages/{target}");
        ci.node.get(&target).bearer(&token).send().await.expect(403);
    }
    // With another rule, which reads everything, it reads everything.
    ci.rule(PROJECT_RULES, json!({"scopes": ["read_package_registry"]}))
        .await;
    let token = ci.token().await;
    ci.get(&token, "1/other").await.expect(200);
    ci.put(&token, "1/other").await.expect(403);
    ci.put(&token, "1/tool-c").await.expect(201);
}

#[tokio::test]
async fn lists_that_all_share_show_a_job_all_or_nothing() {
    let more = json!({"package_type": "pypi", "package_name_pattern": "My_Tool*"});
    let (ci, rule) = Ci::with_rule(more).await;
    crate::formats::pypi::tests::furnish(&ci.node, 1).await;
    let shown = ci
        .node
        .get(format!("{PROJECT_RULES}/{rule}"))
        .by("maintainer")
        .send()
        .await;
    assert_eq!(shown.expect(200).json()["package_name_pattern"], "my-tool*");
    let names = async |token: &str| {
        let list = ci
            .node
            .get("/api/v4/projects/1/packages/pypi/simple/")
            .bearer(token);
        list.send().await.expect(200).text().to_owned()
    };
    let everything = names(ci.node.token("root")).await;
    assert!(everything.contains("<a "), "{everything}");
    assert!(!names(&ci.token().await).await.contains("<a "));
    assert_eq!(names(ci.node.token("root")).await, everything);
}

#[tokio::test]
async fn audits_tell_a_job_of_the_packages_alone_that_it_may_have() {
    let (ci, _) = Ci::with_rule(json!({"package_type": "npm", "package_name_pattern": "tool"})).await;
    crate::formats::npm::tests::furnish(&ci.node, 1).await;
    let audit = async |token: &str| {
        let target = "/api/v4/projects/1/packages/npm/-/npm/v1/security/advisories/bulk";
        let asked = json!({"hello": ["1.0.0"]});
        let request = ci.node.post(target).bearer(token).json(&asked);
        request.send().await.expect(200).json()
    };
    assert_ne!(audit(ci.node.token("root")).await, json!({}));
    assert_eq!(audit(&ci.token().await).await, json!({}));
}

#[tokio::test]
async fn images_are_reached_by_a_job_as_by_others() {
    let more = json!({
        "scopes": ["read_registry", "write_registry"],
        "package_type": "oci",
        "package_name_pattern": "app*",
    });
    let (ci, rule) = Ci::with_rule(more).await;
    let token = ci.token().await;
    let grants = async |name: &str, actions: &str| {
        let ask = format!("/jwt/auth?service=container_registry&scope=repository:acme/{name}:{actions}");
        let answer = ci
            .node
            .get(ask)
            .basic("gitlab-ci-token", &token)
            .send()
            .await
            .expect(200);
        answer.json()["token"].as_str().unwrap().to_owned()
    };
    let begin = async |token: &str, name: &str| {
        let target = format!("/v2/acme/{name}/blobs/uploads/");
        ci.node.post(target).bearer(token).send().await
    };
    let derived = grants("demo/app", "pull,push").await;
    begin(&derived, "demo/app").await.expect(202);
    begin(&derived, "demo/app-2").await.expect(401);
    for name in ["demo/other", "demo", "inside/app"] {
        let status = begin(&grants(name, "pull,push").await, name).await.status;
        assert!(matches!(status, 403 | 404), "{name}: {status}");
    }
    begin(&token, "demo/app-3").await.expect(202);
    begin(&token, "demo/other").await.expect(403);
    // Who pushed it is known here as well.
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [],
    });
    let push = ci.node.put("/v2/acme/demo/app/manifests/v1").bearer(&derived);
    push.json(&manifest).send().await.expect(201);
    let repositories = "/api/v4/projects/1/registry/repositories";
    let listed = ci
        .node
        .get(repositories)
        .by("reporter")
        .send()
        .await
        .expect(200)
        .json();
    let tag = format!("{repositories}/{}/tags/v1", listed[0]["id"]);
    let tag = ci.node.get(tag).by("reporter").send().await.expect(200).json();
    assert_eq!(tag["published_by"]["claims"]["repository"], "acme/demo", "{tag}");
    // A token that was derived dies with the rule too.
    let target = format!("{PROJECT_RULES}/{rule}");
    ci.node.delete(&target).by("maintainer").send().await.expect(204);
    begin(&derived, "demo/app").await.expect(401);
}

#[tokio::test]
async fn an_upload_under_way_ends_with_its_rule() {
    let (ci, rule) = Ci::with_rule(json!({})).await;
    let token = ci.token().await;
    let (send, body) = tokio::sync::mpsc::channel::<Result<&'static str, std::io::Error>>(1);
    let body = axum::body::Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(body));
    let upload = ci.node.put(file("1/tool")).bearer(&token).body(body).answered();
    let upload = tokio::spawn(upload);
    // The second piece is taken only when the first one was read, by whoever was let in.
    for piece in ["begun", " and on its way"] {
        send.send(Ok(piece)).await.unwrap();
    }
    let target = format!("{PROJECT_RULES}/{rule}");
    ci.node.delete(&target).by("maintainer").send().await.expect(204);
    send.send(Ok(" and ended")).await.unwrap();
    drop(send);
    upload.await.unwrap().expect(401);
    ci.get(ci.node.token("root"), "1/tool").await.expect(404);
}
