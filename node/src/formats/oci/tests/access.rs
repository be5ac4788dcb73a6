//! Who may do what, and what clients are told to do about it.

use super::*;

const CHALLENGE: &str = "Bearer realm=\"http://cairn.example/jwt/auth\",service=\"container_registry\"";

#[tokio::test]
async fn signing_in_goes_from_a_challenge_to_a_token() {
    let node = TestNode::start().await;
    let challenge = node.get("/v2/").send().await.fails(401, "UNAUTHORIZED");
    assert_eq!(challenge.header("www-authenticate"), CHALLENGE);
    let answer = node
        .get("/jwt/auth?account=developer&client_id=docker&offline_token=true&service=container_registry")
        .basic("developer", node.token("developer"))
        .send()
        .await
        .expect(200);
    let body = answer.json();
    assert_eq!(body["token"], body["access_token"]);
    assert_eq!(body["expires_in"], 300);
    assert!(body["issued_at"].as_str().unwrap().ends_with('Z'));
    assert!(body.get("refresh_token").is_none());
    assert_eq!(answer.header("cache-control"), "no-store");
    let token = body["token"].as_str().unwrap();
    for node in [&node, &node.sibling()] {
        assert_eq!(
            node.get("/v2/").bearer(token).send().await.expect(200).json(),
            json!({})
        );
        node.get("/v2").bearer(token).send().await.expect(200);
        node.head("/v2/").bearer(token).send().await.expect(200);
    }
    // Basic is taken on every request too.
    node.get("/v2/")
        .basic("anyone", node.token("developer"))
        .send()
        .await
        .expect(200);
    node.get("/v2/").by("deploy-read").send().await.expect(200);
    node.get("/v2/")
        .basic("anyone", "wrong")
        .send()
        .await
        .fails(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn tokens_are_given_for_forms_too() {
    let node = TestNode::start().await;
    let post = async |form: String| {
        let request = node
            .post("/jwt/auth")
            .header("content-type", "application/x-www-form-urlencoded");
        request.body(form).send().await
    };
    let secret = node.token("developer");
    let common = "service=container_registry&client_id=x&access_type=offline";
    let scope = "scope=repository:acme/demo/app:pull,push%20repository:other/x:pull";
    let password = format!("grant_type=password&username=developer&password={secret}&{common}&{scope}");
    let answer = post(password).await.expect(200).json();
    assert_eq!(answer["scope"], "repository:acme/demo/app:pull,push");
    let token = answer["access_token"].as_str().unwrap();
    node.post("/v2/acme/demo/app/blobs/uploads/")
        .bearer(token)
        .send()
        .await
        .expect(202);
    let refresh = format!("grant_type=refresh_token&refresh_token={secret}&{common}&{scope}");
    post(refresh).await.expect(200);
    post(format!("grant_type=password&username=x&password=wrong&{common}"))
        .await
        .expect(401);
    post(format!("grant_type=refresh_token&refresh_token=wrong&{common}"))
        .await
        .expect(401);
    post(format!("grant_type=password&username=x&password=&{common}"))
        .await
        .expect(401);
    post(format!("grant_type=other&{common}")).await.expect(400);
    post("\u{0}=%ff".into()).await.expect(400);
    post("x".repeat(70_000)).await.expect(413);
    // A narrowed token is no credential for another one.
    post(format!(
        "grant_type=refresh_token&refresh_token={token}&{common}&{scope}"
    ))
    .await
    .expect(401);
    node.get("/jwt/auth?service=container_registry")
        .bearer(token)
        .send()
        .await
        .expect(401);
    node.put("/jwt/auth").send().await.expect(405);
}

#[tokio::test]
async fn what_was_asked_for_and_allowed_is_granted() {
    let node = TestNode::start().await;
    let granted = async |caller: &str, scopes: &[&str]| {
        let token = node.login(caller, scopes).await;
        let payload = token.split('.').nth(1).unwrap();
        let payload = data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes()).unwrap();
        let claims: Value = serde_json::from_slice(&payload).unwrap();
        let access = claims["access"].as_array().unwrap().clone();
        let granted = access.iter().filter(|entry| entry["type"] != "refused");
        granted
            .map(|entry| format!("{}:{}", entry["name"].as_str().unwrap(), entry["actions"]))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let all = "repository:acme/demo/app:pull,push,delete";
    for (caller, expected) in [
        ("anonymous", ""),
        ("stranger", ""),
        ("guest", ""),
        ("foreign-deploy", ""),
        ("reporter", r#"acme/demo/app:["pull"]"#),
        ("reading", r#"acme/demo/app:["pull"]"#),
        ("deploy-read", r#"acme/demo/app:["pull"]"#),
        ("deploy-write", r#"acme/demo/app:["pull","push"]"#),
        ("developer", r#"acme/demo/app:["pull","push","delete"]"#),
        ("root", r#"acme/demo/app:["pull","push","delete"]"#),
    ] {
        assert_eq!(granted(caller, &[all]).await, expected, "{caller}");
    }
    assert_eq!(
        granted("developer", &["repository:acme/demo/app:pull"]).await,
        r#"acme/demo/app:["pull"]"#
    );
    assert_eq!(
        granted("anonymous", &["repository:acme/open/app:*"]).await,
        r#"acme/open/app:["pull"]"#
    );
    assert_eq!(
        granted(
            "developer",
            &[
                "repository:acme/demo/a:pull",
                "repository:acme/open/b:push%20repository:x/y:pull"
            ]
        )
        .await,
        r#"acme/demo/a:["pull"] acme/open/b:["push"]"#
    );
    assert_eq!(
        granted("developer", &["repository(plugin):acme/demo/a:pull"]).await,
        r#"acme/demo/a:["pull"]"#
    );
    assert_eq!(granted("developer", &[]).await, "");
    let request = |query: &str| node.get(format!("/jwt/auth?{query}")).by("developer");
    request("service=other").send().await.expect(400);
    request("scope=x").send().await.expect(400);
    request(&"scope=repository:a:pull&".repeat(40))
        .send()
        .await
        .expect(400);
}

/// One request of each kind, with the status for a caller that may do it.
const REQUESTS: [(&str, &str, &str, u16); 12] = [
    ("pull", "GET", "manifests/1", 200),
    ("pull", "HEAD", "manifests/1", 200),
    ("pull", "GET", "tags/list", 200),
    ("pull", "GET", "blobs/LAYER", 200),
    ("pull", "GET", "manifests/DIGEST", 200),
    ("pull", "GET", "referrers/DIGEST", 200),
    ("push", "POST", "blobs/uploads/", 202),
    ("push", "PUT", "manifests/2", 201),
    (
        "push",
        "GET",
        "blobs/uploads/00000000000000000000000000000000",
        404,
    ),
    (
        "push",
        "PATCH",
        "blobs/uploads/00000000000000000000000000000000",
        404,
    ),
    ("delete", "DELETE", "manifests/absent", 404),
    ("delete", "DELETE", "blobs/ABSENT", 404),
];

async fn ask(
    node: &TestNode,
    name: &str,
    manifest: &Value,
    at: usize,
    caller: &str,
    token: Option<&str>,
) -> Answer {
    let (_, method, tail, _) = REQUESTS[at];
    let tail = tail
        .replace("LAYER", &sha256(b"layer"))
        .replace("DIGEST", &sha256(manifest.to_string().as_bytes()))
        .replace("ABSENT", &sha256(b"absent"));
    let request = node.request(method.parse().unwrap(), format!("/v2/{name}/{tail}"));
    let request = match token {
        Some(token) => request.bearer(token),
        None => request.by(caller),
    };
    let body = if method == "PUT" {
        manifest.to_string()
    } else {
        String::new()
    };
    request
        .header("content-type", oci_image())
        .body(body)
        .send()
        .await
}

#[tokio::test]
async fn every_request_is_decided_for_every_caller() {
    let node = TestNode::start().await;
    // What a caller gets instead, in a project of each visibility; `None`: as allowed.
    let (ok, unauthorized, denied, hidden) = (None, Some(401), Some(403), Some(404));
    let table = [
        (
            "acme/demo/app",
            "anonymous",
            [unauthorized, unauthorized, unauthorized],
        ),
        ("acme/demo/app", "stranger", [hidden, hidden, hidden]),
        ("acme/demo/app", "foreign-deploy", [hidden, hidden, hidden]),
        ("acme/demo/app", "guest", [denied, denied, denied]),
        ("acme/demo/app", "reporter", [ok, denied, denied]),
        ("acme/demo/app", "reading", [ok, denied, denied]),
        ("acme/demo/app", "deploy-read", [ok, denied, denied]),
        ("acme/demo/app", "deploy-write", [ok, ok, denied]),
        ("acme/demo/app", "developer", [ok, ok, ok]),
        ("acme/demo/app", "maintainer", [ok, ok, ok]),
        ("acme/demo/app", "root", [ok, ok, ok]),
        ("acme/open/app", "anonymous", [ok, unauthorized, unauthorized]),
        ("acme/open/app", "stranger", [ok, denied, denied]),
        ("acme/open/app", "developer", [ok, ok, ok]),
        (
            "acme/inside/app",
            "anonymous",
            [unauthorized, unauthorized, unauthorized],
        ),
        ("acme/inside/app", "stranger", [ok, denied, denied]),
        (
            "acme/absent/app",
            "anonymous",
            [unauthorized, unauthorized, unauthorized],
        ),
        ("acme/absent/app", "stranger", [hidden, hidden, hidden]),
        ("absent", "anonymous", [unauthorized, unauthorized, unauthorized]),
        ("absent", "root", [hidden, hidden, hidden]),
    ];
    let manifest = image_of(b"{}", &[b"layer"]);
    for name in ["acme/demo/app", "acme/open/app", "acme/inside/app"] {
        node.push_image(name, "1", b"layer").await;
    }
    for (name, caller, refusals) in table {
        let scope = format!("repository:{name}:pull,push,delete");
        let token = node.login(caller, &[&scope]).await;
        for (at, &(action, method, tail, allowed)) in REQUESTS.iter().enumerate() {
            let refusal = refusals[["pull", "push", "delete"]
                .iter()
                .position(|known| *known == action)
                .unwrap()];
            // A credential itself, and a token made for it, come to the same.
            for token in [None, Some(token.as_str())] {
                let answer = ask(&node, name, &manifest, at, caller, token).await;
                let expected = refusal.unwrap_or(allowed);
                assert_eq!(
                    answer.status,
                    expected,
                    "{caller} {method} {name}/{tail} {token:?}: {}",
                    answer.text()
                );
                if expected == 401 {
                    let challenge = answer.header("www-authenticate");
                    assert!(challenge.starts_with(CHALLENGE), "{challenge}");
                    assert!(
                        challenge.contains(&format!("scope=\"repository:{name}:")),
                        "{challenge}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn a_token_that_was_not_asked_for_enough_is_told_what_to_ask_for() {
    let node = TestNode::start().await;
    node.push_image(IMAGE, "1", b"layer").await;
    let manifest = image_of(b"{}", &[b"layer"]);
    let pull = node.login("developer", &["repository:acme/demo/app:pull"]).await;
    let other = node
        .login("developer", &["repository:acme/demo/other:pull,push,delete"])
        .await;
    for (at, &(action, _, tail, allowed)) in REQUESTS.iter().enumerate() {
        for (token, goes) in [(&pull, action == "pull"), (&other, false)] {
            let answer = ask(&node, IMAGE, &manifest, at, "developer", Some(token)).await;
            if goes {
                answer.expect(allowed);
                continue;
            }
            let answer = answer.expect(401);
            let challenge = answer.header("www-authenticate");
            let actions = match action {
                "push" => "pull,push",
                other => other,
            };
            let expected = format!(",scope=\"repository:{IMAGE}:{actions}\",error=\"insufficient_scope\"");
            assert!(challenge.ends_with(&expected), "{tail}: {challenge}");
        }
    }
}

#[tokio::test]
async fn a_mount_with_a_token_for_the_target_alone_asks_for_both() {
    let node = TestNode::start().await;
    let digest = node.push_blob("acme/open/base", b"shared").await;
    let push = "repository:acme/demo/app:pull,push";
    let mount = async |scopes: &[&str], from: &str| {
        let token = node.login("developer", scopes).await;
        let target = format!("/v2/acme/demo/app/blobs/uploads/?mount={digest}&from={from}");
        node.post(target).bearer(&token).send().await
    };
    // Whether the source exists makes no difference.
    for from in ["acme/open/base", "acme/absent/base", "nothing"] {
        let answer = mount(&[push], from).await.expect(401);
        let expected = format!("scope=\"{push} repository:{from}:pull\",error=\"insufficient_scope\"");
        assert!(answer.header("www-authenticate").ends_with(&expected));
    }
    for from in ["acme/absent/base", "nothing"] {
        mount(&[push, &format!("repository:{from}:pull")], from)
            .await
            .expect(202);
    }
    mount(&[push, "repository:acme/open/base:pull"], "acme/open/base")
        .await
        .expect(201);
}

#[tokio::test]
async fn a_token_dies_with_the_credential_behind_it() {
    let node = TestNode::start().await;
    let other = node.sibling();
    node.push_image(IMAGE, "1", b"layer").await;
    let scope = "repository:acme/demo/app:pull,push";
    let token = node.login("developer", &[scope]).await;
    let target = format!("/v2/{IMAGE}/manifests/1");
    other.get(&target).bearer(&token).send().await.expect(200);
    let begun = node
        .post("/v2/acme/demo/app/blobs/uploads/")
        .bearer(&token)
        .send()
        .await
        .expect(202);
    node.revoke("developer").await;
    other
        .get(&target)
        .bearer(&token)
        .send()
        .await
        .fails(401, "UNAUTHORIZED");
    let digest = sha256(b"x");
    let end = format!("{}?digest={digest}", begun.header("location"));
    other
        .put(end)
        .bearer(&token)
        .body("x")
        .send()
        .await
        .fails(401, "UNAUTHORIZED");
    node.get_blob(IMAGE, &digest).await.fails(404, "BLOB_UNKNOWN");
}

#[tokio::test]
async fn a_right_that_is_withdrawn_during_an_upload_is_withdrawn_from_the_upload() {
    let node = TestNode::start().await;
    let digest = sha256(b"content");
    let target = format!("/v2/{IMAGE}/blobs/uploads/?digest={digest}");
    let (sender, body) = futures::channel::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let sending = async {
        let mut sender = sender;
        futures::SinkExt::send(&mut sender, Ok(Bytes::from_static(b"con")))
            .await
            .unwrap();
        node.revoke("developer").await;
        futures::SinkExt::send(&mut sender, Ok(Bytes::from_static(b"tent")))
            .await
            .unwrap();
    };
    let request = node
        .post(target)
        .by("developer")
        .body(axum::body::Body::from_stream(body));
    let (answer, ()) = tokio::join!(request.send(), sending);
    answer.fails(401, "UNAUTHORIZED");
    node.get_blob(IMAGE, &digest).await.fails(404, "BLOB_UNKNOWN");
}

#[tokio::test]
async fn tokens_that_are_not_ours_are_refused_everywhere() {
    let node = TestNode::start().await;
    node.push_image("acme/open/app", "1", b"layer").await;
    let token = node.login("developer", &["repository:acme/open/app:pull"]).await;
    let parts: Vec<&str> = token.split('.').collect();
    let encoded = |header: &str| data_encoding::BASE64URL_NOPAD.encode(header.as_bytes());
    let elsewhere = TestNode::start().await;
    let foreign = elsewhere
        .login("developer", &["repository:acme/open/app:pull"])
        .await;
    let unsigned = format!("{}.{}.", encoded(r#"{"alg":"none","typ":"JWT"}"#), parts[1]);
    let swapped = format!(
        "{}.{}.{}",
        encoded(r#"{"alg":"EdDSA","typ":"JWT"}"#),
        parts[1],
        parts[2]
    );
    let own_key = format!(
        "{}.{}.{}",
        encoded(r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AA"}}"#),
        parts[1],
        parts[2]
    );
    let wider = {
        let payload = data_encoding::BASE64URL_NOPAD
            .decode(parts[1].as_bytes())
            .unwrap();
        let payload = String::from_utf8(payload)
            .unwrap()
            .replace("\"pull\"", "\"push\"");
        format!("{}.{}.{}", parts[0], encoded(&payload), parts[2])
    };
    node.get("/v2/acme/open/app/manifests/1")
        .bearer(&token)
        .send()
        .await
        .expect(200);
    for bad in [
        foreign,
        unsigned,
        swapped,
        own_key,
        wider,
        "x".into(),
        "a.b.c".into(),
    ] {
        // Also where no credential is needed.
        let answer = node
            .get("/v2/acme/open/app/manifests/1")
            .bearer(&bad)
            .send()
            .await;
        answer.fails(401, "UNAUTHORIZED");
        node.get("/v2/")
            .bearer(&bad)
            .send()
            .await
            .fails(401, "UNAUTHORIZED");
    }
    // A token for images is none for the rest.
    node.get("/api/v4/version")
        .bearer(&token)
        .send()
        .await
        .expect(401);
}

#[tokio::test]
async fn a_token_lives_for_minutes() {
    let (node, clock) = StoppedClock::node().await;
    let token = node.login("developer", &[]).await;
    clock.advance(Duration::from_secs(299));
    node.get("/v2/").bearer(&token).send().await.expect(200);
    // What the clocks of two nodes may be apart is forgiven.
    clock.advance(Duration::from_secs(60));
    node.get("/v2/")
        .bearer(&token)
        .send()
        .await
        .fails(401, "UNAUTHORIZED");
}
