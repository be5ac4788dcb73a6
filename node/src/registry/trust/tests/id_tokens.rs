//! What an issuer says of a job, and when it is believed.

use super::*;

#[tokio::test]
async fn an_id_token_is_taken_once_in_the_whole_cluster() {
    let (ci, _) = Ci::with_rule(json!({})).await;
    let sibling = ci.node.sibling();
    for said in [json!({}), json!({"jti": null}), json!({"jti": ""})] {
        let shown = ci.id_token(said);
        ci.exchange(&shown).await.expect(200);
        ci.refuses(&shown, "invalid_grant", "used before").await;
        exchange(&sibling, json!({"token": shown})).await.expect(400);
    }
    // One name is one token, however often it is signed.
    let claims = ci.claims(json!({}));
    ci.exchange(&ci.issuer.sign(&claims)).await.expect(200);
    ci.refuses(&ci.issuer.sign(&claims), "invalid_grant", "used before")
        .await;
    // At the same time, on two nodes: one of them is too late.
    let shown = json!({"token": ci.id_token(json!({}))});
    let (one, other) = tokio::join!(exchange(&ci.node, shown.clone()), exchange(&sibling, shown));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
    // What was refused was not used.
    let early = ci.claims(json!({"nbf": ci.node.app().store().now().0 / 1000 + 60}));
    let shown = ci.issuer.sign(&early);
    ci.refuses(&shown, "invalid_grant", "not hold yet").await;
    ci.clock.advance(Duration::from_secs(60));
    ci.exchange(&shown).await.expect(200);
}

#[tokio::test]
async fn both_algorithms_hold_and_no_other() {
    let (ci, _) = Ci::with_rule(json!({})).await;
    let (rsa, ec) = (SigningKey::rsa(), ci.issuer.key());
    ci.issuer.publish(vec![rsa.clone(), ec.clone()]);
    for key in [&rsa, &ec] {
        let shown = key.sign(&key.header(), &ci.claims(json!({})));
        ci.exchange(&shown).await.expect(200);
    }
    let claims = ci.claims(json!({}));
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let with = |algorithm: &str| {
        let mut header = rsa.header();
        header["alg"] = algorithm.into();
        header
    };
    let unsigned = format!("{}.{}.", part(&with("none")), part(&claims));
    ci.refuses(&unsigned, "invalid_grant", "RS256 or ES256").await;
    // The public key as a shared secret, the oldest of the tricks.
    let secret = jsonwebtoken::EncodingKey::from_secret(rsa.public().to_string().as_bytes());
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    header.kid = rsa.public()["kid"].as_str().map(str::to_owned);
    let shared = jsonwebtoken::encode(&header, &claims, &secret).unwrap();
    ci.refuses(&shared, "invalid_grant", "RS256 or ES256").await;
    for algorithm in ["RS384", "PS256", "EdDSA", "rs256", ""] {
        let shown = rsa.sign(&with(algorithm), &claims);
        ci.refuses(&shown, "invalid_grant", "RS256 or ES256").await;
    }
    // A key of one kind does not sign for the other.
    let crossed = rsa.sign(&with("ES256"), &claims);
    ci.refuses(&crossed, "invalid_grant", "does not have").await;
    let mut header = ec.header();
    header["crit"] = json!(["exp"]);
    ci.refuses(&ec.sign(&header, &claims), "invalid_grant", "extension")
        .await;
    // None of this was used.
    ci.exchange(&ci.issuer.sign(&claims)).await.expect(200);
}

#[tokio::test]
async fn what_the_issuer_did_not_say_of_this_job_for_us_now_is_refused() {
    let (ci, _) = Ci::with_rule(json!({})).await;
    let now = ci.node.app().store().now().0 / 1000;
    let (day, no_rule) = (24 * 3600, "no trust rule matches");
    for (said, part) in [
        (json!({"aud": "other.example"}), no_rule),
        (json!({"aud": ["other.example", "npm:other.example"]}), no_rule),
        (json!({"aud": null}), no_rule),
        (json!({"aud": {"cairn.example": 1}}), no_rule),
        (json!({"repository": "acme/other"}), no_rule),
        (json!({"repository": null}), no_rule),
        (json!({"iss": "https://ci.example"}), no_rule),
        (json!({"iss": "file:///etc/passwd"}), no_rule),
        (json!({"iss": null}), "names no issuer"),
        (json!({"iss": [ci.issuer.url()]}), "names no issuer"),
        (json!({"exp": now - 31}), "expired"),
        (json!({"exp": null}), "no end"),
        (json!({"exp": "tomorrow"}), "not a time"),
        (json!({"exp": -1}), "not a time"),
        (json!({"exp": now + day + 1}), "more than a day"),
        (json!({"nbf": now + 31}), "not hold yet"),
        (json!({"iat": now + 31, "nbf": null}), "not hold yet"),
        (json!({"iat": null}), "no time"),
    ] {
        ci.refuses(&ci.id_token(said), "invalid_grant", part).await;
    }
    for (said, _) in [
        (json!({"exp": now - 29}), ""),
        (json!({"nbf": now + 29}), ""),
        (json!({"aud": ["other.example", HOST]}), ""),
        (json!({"aud": format!("npm:{HOST}")}), ""),
        (json!({"exp": now as f64 + 60.5}), ""),
    ] {
        ci.exchange(&ci.id_token(said)).await.expect(200);
    }
    // The host that a request names does not make it ours.
    let shown = json!({"token": ci.id_token(json!({"aud": "other.example"}))});
    let request = ci.node.post("http://other.example/-/oidc/exchange").json(&shown);
    request.send().await.expect(400);

    // Signed by somebody else, or changed.
    let (own, stranger) = (ci.issuer.key(), SigningKey::ec());
    let claims = ci.claims(json!({}));
    ci.refuses(
        &stranger.sign(&own.header(), &claims),
        "invalid_grant",
        "signature",
    )
    .await;
    let mut brings_its_own = own.header();
    brings_its_own["jwk"] = stranger.public();
    ci.refuses(
        &stranger.sign(&brings_its_own, &claims),
        "invalid_grant",
        "signature",
    )
    .await;
    ci.refuses(
        &stranger.sign(&stranger.header(), &claims),
        "invalid_grant",
        "does not have",
    )
    .await;
    let signed = ci.issuer.sign(&claims);
    let mut parts: Vec<&str> = signed.split('.').collect();
    let changed = BASE64URL_NOPAD.encode(ci.claims(json!({"ref": "x"})).to_string().as_bytes());
    parts[1] = &changed;
    ci.refuses(&parts.join("."), "invalid_grant", "signature").await;
    for junk in ["", "x", "a.b", "a.b.c", "a.b.c.d", "....", &"x".repeat(20 << 10)] {
        let answer = ci.exchange(junk).await;
        assert_eq!(answer.status, 400, "{junk}");
    }
}

#[tokio::test]
async fn keys_are_remembered_and_asked_for_again_when_they_are_rotated() {
    let (ci, _) = Ci::with_rule(json!({})).await;
    assert_eq!(ci.issuer.asked(), 0);
    for _ in 0..3 {
        ci.exchange(&ci.id_token(json!({}))).await.expect(200);
    }
    // Where they are, and which.
    assert_eq!(ci.issuer.asked(), 2);
    let old = ci.issuer.key();
    ci.clock.advance(Duration::from_secs(10));
    ci.issuer.publish(vec![SigningKey::ec(), old.clone()]);
    ci.exchange(&ci.id_token(json!({}))).await.expect(200);
    assert_eq!(ci.issuer.asked(), 4);
    ci.exchange(&old.sign(&old.header(), &ci.claims(json!({}))))
        .await
        .expect(200);
    // Nobody makes us ask without end.
    for _ in 0..5 {
        let stranger = SigningKey::ec();
        let shown = stranger.sign(&stranger.header(), &ci.claims(json!({})));
        ci.refuses(&shown, "invalid_grant", "does not have").await;
    }
    assert_eq!(ci.issuer.asked(), 4);
    // What was withdrawn is believed for a while, and no longer.
    ci.issuer.publish(vec![ci.issuer.key()]);
    ci.clock.advance(Duration::from_secs(599));
    ci.exchange(&old.sign(&old.header(), &ci.claims(json!({}))))
        .await
        .expect(200);
    ci.clock.advance(Duration::from_secs(1));
    let shown = old.sign(&old.header(), &ci.claims(json!({})));
    ci.refuses(&shown, "invalid_grant", "does not have").await;
}

#[tokio::test]
async fn a_key_without_a_name_is_the_only_one_there_is() {
    let (ci, _) = Ci::with_rule(json!({})).await;
    let key = ci.issuer.key();
    let mut header = key.header();
    header.as_object_mut().unwrap().remove("kid");
    ci.exchange(&key.sign(&header, &ci.claims(json!({}))))
        .await
        .expect(200);
    ci.issuer.publish(vec![key.clone(), SigningKey::ec()]);
    ci.clock.advance(Duration::from_secs(600));
    let shown = key.sign(&header, &ci.claims(json!({})));
    ci.refuses(&shown, "invalid_grant", "does not have").await;
}

#[tokio::test]
async fn an_issuer_that_is_away_is_believed_by_what_is_known_of_it_for_an_hour() {
    let (ci, _) = Ci::with_rule(json!({})).await;
    ci.issuer.behave(Behaviour::Away);
    let away = ci.exchange(&ci.id_token(json!({}))).await.expect(503);
    assert_eq!(away.json()["error"], "temporarily_unavailable");
    assert_eq!(away.header("retry-after"), "10");
    // It is left alone for a moment.
    ci.issuer.behave(Behaviour::Sound);
    ci.exchange(&ci.id_token(json!({}))).await.expect(503);
    ci.clock.advance(Duration::from_secs(10));
    ci.exchange(&ci.id_token(json!({}))).await.expect(200);
    ci.issuer.behave(Behaviour::Away);
    ci.clock.advance(Duration::from_secs(3599));
    ci.exchange(&ci.id_token(json!({}))).await.expect(200);
    ci.clock.advance(Duration::from_secs(1));
    ci.exchange(&ci.id_token(json!({}))).await.expect(503);
}

#[tokio::test]
async fn an_issuer_whose_documents_are_not_its_own_is_not_believed() {
    let (ci, _) = Ci::with_rule(json!({})).await;
    let other = TestIssuer::start().await;
    for behaviour in [
        Behaviour::Endless,
        Behaviour::Redirects(format!("{}/keys", other.url())),
        Behaviour::Pretends(other.url().to_owned()),
        Behaviour::KeysAt("https://169.254.169.254/keys".into()),
        Behaviour::KeysAt("https://ci.example/keys".into()),
        Behaviour::KeysAt("file:///etc/passwd".into()),
        Behaviour::KeysAt(format!("{}/nothing", ci.issuer.url())),
        Behaviour::KeysAt("no URL".into()),
    ] {
        ci.issuer.behave(behaviour.clone());
        let answer = ci.exchange(&ci.id_token(json!({}))).await;
        assert_eq!(answer.status, 503, "{behaviour:?}");
        ci.clock.advance(Duration::from_secs(10));
    }
    assert_eq!(other.asked(), 0);
    ci.issuer.publish(Vec::new());
    ci.issuer.behave(Behaviour::Sound);
    let key = SigningKey::ec();
    let shown = key.sign(&key.header(), &ci.claims(json!({})));
    ci.exchange(&shown).await.expect(503);
    // It may send to another page of its own.
    ci.clock.advance(Duration::from_secs(10));
    ci.issuer.publish(vec![key]);
    ci.exchange(&ci.id_token(json!({}))).await.expect(200);
}

#[tokio::test]
async fn who_is_refused_is_told_to_the_audit_log() {
    let (ci, _) = Ci::with_rule(json!({})).await;
    let spent = ci.id_token(json!({}));
    ci.exchange(&spent).await.expect(200);
    ci.exchange(&spent).await.expect(400);
    let body = json!({ "token": ci.id_token(json!({ "repository": "acme/other" })) });
    ci.node
        .post("/_/oidc/mint-token")
        .json(&body)
        .send()
        .await
        .expect(422);
    ci.node.tell_refusals().await;
    let told = ci.node.get("/api/v4/audit_events?event_name=refused").by("root");
    let told = told.send().await.expect(200).json();
    let mut targets: Vec<_> = told
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["details"]["target_details"].as_str().unwrap())
        .collect();
    targets.sort_unstable();
    assert_eq!(
        targets,
        [
            "let in a job: no trust rule matches the issuer, the audience and the claims of the ID token",
            "let in a job: the ID token was used before; each is taken once",
        ]
    );
}
