//! From an issuer's word to a token, and what that is good for, by requests.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::http::settings::HttpSettings;
use crate::registry::fixture;
use crate::testing::clock::StoppedClock;
use crate::testing::issuer::{Behaviour, LIFETIME, SigningKey, TestIssuer};
use crate::testing::{Answer, TestNode};

const HOST: &str = "cairn.example";
const PROJECT_RULES: &str = "/api/cairn/v1/projects/1/trust_rules";
const GROUP_RULES: &str = "/api/cairn/v1/groups/1/trust_rules";

/// A node, and a service that runs jobs.
struct Ci {
    node: TestNode,
    clock: Arc<StoppedClock>,
    issuer: TestIssuer,
}

impl Ci {
    async fn start() -> Self {
        let settings = HttpSettings {
            issuers: vec!["*".parse().unwrap()],
            ..HttpSettings::default()
        };
        let (node, clock) = StoppedClock::node_with(settings).await;
        Self {
            node,
            clock,
            issuer: TestIssuer::start().await,
        }
    }

    /// The same with a rule for the jobs of `acme/demo`, in project 1.
    async fn with_rule(more: Value) -> (Self, u64) {
        let ci = Self::start().await;
        let id = ci.rule(PROJECT_RULES, more).await;
        (ci, id)
    }

    /// Makes a rule; `more` adds to what it says.
    async fn rule(&self, place: &str, more: Value) -> u64 {
        let mut rule = json!({
            "name": "release",
            "issuer": self.issuer.url(),
            "claims": {"repository": "acme/demo"},
            "scopes": ["read_package_registry", "write_package_registry"],
        });
        rule.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let made = self.node.post(place).by("owner").json(&rule).send().await;
        made.expect(201).json()["id"].as_u64().unwrap()
    }

    /// What is said of a job, with changes.
    fn claims(&self, more: Value) -> Value {
        let mut said = json!({"repository": "acme/demo", "ref": "refs/tags/v1"});
        said.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let now = self.node.app().store().now();
        self.issuer.claims(now, HOST, &said)
    }

    fn id_token(&self, more: Value) -> String {
        self.issuer.sign(&self.claims(more))
    }

    async fn exchange(&self, id_token: &str) -> Answer {
        exchange(&self.node, json!({"token": id_token})).await
    }

    /// A token for a job.
    async fn token(&self) -> String {
        self.token_for(json!({})).await
    }

    /// The same with more said of what it is for.
    async fn token_for(&self, more: Value) -> String {
        let mut fields = json!({"token": self.id_token(json!({}))});
        fields
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let made = exchange(&self.node, fields).await.expect(200).json();
        made["access_token"].as_str().unwrap().to_owned()
    }

    async fn put(&self, token: &str, target: &str) -> Answer {
        self.node
            .put(file(target))
            .bearer(token)
            .body("bytes")
            .send()
            .await
    }

    async fn get(&self, token: &str, target: &str) -> Answer {
        self.node.get(file(target)).bearer(token).send().await
    }

    /// Is refused, for this reason.
    async fn refuses(&self, id_token: &str, error: &str, part: &str) {
        let refused = self.exchange(id_token).await.expect(400).json();
        assert_eq!(refused["error"], error, "{refused}");
        let description = refused["error_description"].as_str().unwrap();
        assert!(description.contains(part), "{description} / {part}");
    }
}

/// A file of a generic package, as `project/package`.
fn file(target: &str) -> String {
    let (project, package) = target.split_once('/').unwrap();
    format!("/api/v4/projects/{project}/packages/generic/{package}/1.0/file")
}

async fn exchange(node: &TestNode, fields: Value) -> Answer {
    node.post("/-/oidc/exchange").json(&fields).send().await
}

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

#[tokio::test]
async fn rules_are_made_by_maintainers_of_projects_and_owners_of_groups() {
    let ci = Ci::start().await;
    let rule = json!({
        "name": "release", "issuer": "https://ci.example", "claims": {"project_path": "acme/demo", "id": 7},
        "scopes": ["write_registry"], "lifetime_seconds": 3600,
    });
    for (caller, project, group) in [
        ("anonymous", 404, 404),
        ("stranger", 404, 404),
        ("developer", 403, 403),
        ("reading", 403, 403),
        ("deploy-write", 401, 401),
        ("maintainer", 201, 403),
        ("owner", 201, 201),
    ] {
        for (target, status) in [(PROJECT_RULES, project), (GROUP_RULES, group)] {
            let answer = ci.node.post(target).by(caller).json(&rule).send().await;
            assert_eq!(answer.status, status, "{caller} {target}");
        }
    }
    let listed = ci
        .node
        .get(PROJECT_RULES)
        .by("maintainer")
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let first = &listed[0];
    assert_eq!(first["claims"], json!({"project_path": "acme/demo", "id": "7"}));
    assert_eq!(
        (&first["audience"], &first["lifetime_seconds"]),
        (&json!(HOST), &json!(3600))
    );
    // A rule of one place is none of another.
    let of_group = ci
        .node
        .get(GROUP_RULES)
        .by("owner")
        .send()
        .await
        .expect(200)
        .json()[0]["id"]
        .clone();
    let foreign = format!("{PROJECT_RULES}/{of_group}");
    ci.node.get(&foreign).by("owner").send().await.expect(404);
    ci.node.delete(&foreign).by("owner").send().await.expect(404);
}

#[tokio::test]
async fn rules_that_would_let_everybody_in_are_refused() {
    let ci = Ci::start().await;
    for (more, part) in [
        (json!({"claims": {}}), "must ask for something"),
        (json!({"claims": {"repository": "*"}}), "must ask for something"),
        (json!({"claims": {"aud": "x"}}), "says nothing of the job"),
        (json!({"claims": {"repository": ["a"]}}), "neither text"),
        (json!({"claims": {"repository": "a*b"}}), "not its last character"),
        (json!({"issuer": "http://ci.example"}), "https://"),
        (json!({"issuer": "https://169.254.169.254"}), "never asked"),
        (json!({"scopes": ["api"]}), "scopes"),
        (json!({"scopes": []}), "scopes"),
        (json!({"lifetime_seconds": 3601}), "between 60 and 3600"),
        (json!({"lifetime_seconds": 0}), "between 60 and 3600"),
        (json!({"package_type": "nothing"}), "package_type"),
        (json!({"package_name_pattern": "x"}), "needs a package_type"),
        (json!({"name": ""}), "name"),
        (json!({"audience": ""}), "audience"),
        (json!({"creator": 1}), "unknown field"),
        (
            json!({"place": {"root": 1, "kind": "group", "id": 1}}),
            "unknown field",
        ),
    ] {
        let mut rule = json!({
            "name": "x", "issuer": "https://ci.example", "claims": {"sub": "x"}, "scopes": ["read_registry"],
        });
        rule.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let refused = ci
            .node
            .post(PROJECT_RULES)
            .by("owner")
            .json(&rule)
            .send()
            .await
            .expect(400);
        assert!(refused.text().contains(part), "{} / {part}", refused.text());
    }
}

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
async fn operators_say_which_issuers_rules_may_name() {
    let issuer = TestIssuer::start().await;
    let settings = HttpSettings {
        issuers: vec![
            "https://ci.example".parse().unwrap(),
            "https://gitlab.example/*".parse().unwrap(),
        ],
        ..HttpSettings::default()
    };
    let node = TestNode::with(settings).await;
    for (issuer, status) in [
        ("https://ci.example", 201),
        ("https://ci.example/", 400),
        ("https://gitlab.example/a", 201),
        (issuer.url(), 400),
    ] {
        let rule =
            json!({"name": "x", "issuer": issuer, "claims": {"sub": "x"}, "scopes": ["read_registry"]});
        let answer = node.post(PROJECT_RULES).by("owner").json(&rule).send().await;
        assert_eq!(answer.status, status, "{issuer}");
    }
    // A rule that was made before is not followed.
    let (ci, _) = Ci::with_rule(json!({})).await;
    ci.exchange(&ci.id_token(json!({}))).await.expect(200);
    let settings = HttpSettings {
        issuers: Vec::new(),
        ..HttpSettings::default()
    };
    let stricter = ci.node.sibling_with(settings);
    let shown = json!({"token": ci.id_token(json!({}))});
    exchange(&stricter, shown).await.expect(400);
}
