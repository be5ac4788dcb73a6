//! People who sign in at an identity provider.

use std::path::Path;

use serde_json::{Value, json};

use super::{cookie, events};
use crate::config::Config;
use crate::http::settings::HttpSettings;
use crate::testing::issuer::{CLIENT, TestIssuer};
use crate::testing::{Answer, TestNode};

const BEGIN: &str = "/api/cairn/v1/session/oidc/company";
const SESSION: &str = "/api/cairn/v1/session";

/// A provider, a node that knows it, and the file with our secret there.
struct Company {
    issuer: TestIssuer,
    node: TestNode,
    _secret: tempfile::TempDir,
}

/// A browser on its way.
struct Browser {
    binding: String,
    /// Where it is sent.
    to: String,
}

impl Company {
    async fn start(more: &str) -> Self {
        let issuer = TestIssuer::start().await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, format!("{}\n", CLIENT.1)).unwrap();
        let text = format!(
            "[oidc.company]\nissuer = {:?}\nclient_id = {:?}\nclient_secret_file = {file:?}\n{more}\n",
            issuer.url(),
            CLIENT.0,
        );
        let config = Config::from_sources(Some((Path::new("test.toml"), &text)), []).unwrap();
        issuer.knows(ann(&json!({})));
        Self {
            issuer,
            node: TestNode::with(HttpSettings::of(&config)).await,
            _secret: folder,
        }
    }

    async fn begin(&self) -> Browser {
        self.begin_at(&self.node, BEGIN).await
    }

    async fn begin_at(&self, node: &TestNode, target: &str) -> Browser {
        let answer = node.get(target).send().await.expect(303);
        let binding = answer.header("set-cookie");
        assert!(
            binding.starts_with("__Host-cairn-oidc=") && binding.contains("HttpOnly; SameSite=Lax; Secure"),
            "{binding}"
        );
        Browser {
            binding: binding.split(';').next().unwrap().to_owned(),
            to: answer.header("location").to_owned(),
        }
    }

    /// Goes to the provider and comes back; gives where to.
    async fn go(&self, browser: &Browser) -> String {
        let back = self.issuer.log_in(&browser.to).await;
        back.strip_prefix("http://cairn.example").unwrap().to_owned()
    }

    async fn come_back(&self, browser: &Browser, target: &str) -> Answer {
        self.node
            .get(target)
            .header("cookie", &browser.binding)
            .send()
            .await
    }

    /// All of it.
    async fn sign_in(&self) -> Answer {
        let browser = self.begin().await;
        let back = self.go(&browser).await;
        self.come_back(&browser, &back).await
    }

    /// Who came in.
    async fn who(&self, answer: &Answer) -> Value {
        let cookie = cookie(answer);
        let who = self.node.get(SESSION).header("cookie", &cookie).send().await;
        who.expect(200).json()
    }
}

fn ann(more: &Value) -> Value {
    let mut claims = json!({
        "sub": "7", "preferred_username": "ann", "name": "Ann", "email": "ann@company.example",
        "groups": ["staff"],
    });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

#[tokio::test]
async fn whoever_the_provider_knows_signs_in_and_comes_back_to_any_node() {
    let company = Company::start("auto_create = true\ntitle = \"The company\"").await;
    let means = company
        .node
        .get("/api/cairn/v1/session/means")
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(
        means,
        json!({"password": true, "providers": [{
            "name": "company", "title": "The company",
            "url": "http://cairn.example/api/cairn/v1/session/oidc/company",
        }]})
    );
    let sibling = company.node.sibling();
    let target = format!("{BEGIN}?return_to=%2Fprojects%2F1");
    let browser = company.begin_at(&sibling, &target).await;
    let back = company.go(&browser).await;
    let answer = company.come_back(&browser, &back).await.expect(303);
    assert_eq!(answer.header("location"), "/projects/1");
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    let who = company.who(&answer).await;
    assert_eq!(who["user"]["username"], "ann");
    assert_eq!(who["user"]["email"], "ann@company.example");
    assert_eq!(who["session"]["signed_in_by"], "company");
    let id = who["user"]["id"].clone();
    // The same person again is the same user, whatever the name is by now.
    company.issuer.knows(ann(
        &json!({"preferred_username": "ann.new", "email": "new@company.example"}),
    ));
    let answer = company.sign_in().await.expect(303);
    assert_eq!(answer.header("location"), "/");
    assert_eq!(company.who(&answer).await["user"]["id"], id);
    let shown = company
        .node
        .get(format!("/api/v4/users/{id}"))
        .by("root")
        .send()
        .await
        .json();
    assert_eq!(
        shown["identities"],
        json!([{"provider": "company", "extern_uid": "7"}])
    );
    assert_eq!(events(&company.node, "user.created").await.len(), 1);
    // There is no password by which to come in.
    let by_password = json!({"username": "ann", "password": "correct horse"});
    company
        .node
        .post(SESSION)
        .json(&by_password)
        .send()
        .await
        .expect(401);
}

#[tokio::test]
async fn a_code_and_a_state_are_good_once_and_in_one_browser() {
    let company = Company::start("auto_create = true").await;
    let (ours, theirs) = (company.begin().await, company.begin().await);
    let back = company.go(&ours).await;
    // Another browser, none at all, another state, none, another provider.
    company.come_back(&theirs, &back).await.expect(401);
    company.node.get(&back).send().await.expect(401);
    let other_state = theirs
        .to
        .split("state=")
        .nth(1)
        .unwrap()
        .split('&')
        .next()
        .unwrap();
    let code = back.split("code=").nth(1).unwrap().split('&').next().unwrap();
    let mixed = format!("{BEGIN}/callback?code={code}&state={other_state}");
    company.come_back(&ours, &mixed).await.expect(401);
    let none = format!("{BEGIN}/callback?code={code}");
    company.come_back(&ours, &none).await.expect(401);
    let elsewhere = back.replace("/company/", "/other/");
    company.come_back(&ours, &elsewhere).await.expect(404);
    let other_issuer = format!("{back}&iss=https%3A%2F%2Fevil.example");
    company.come_back(&ours, &other_issuer).await.expect(401);
    // None of that has used it up.
    company.come_back(&ours, &back).await.expect(303);
    let again = company.come_back(&ours, &back).await.expect(401);
    assert!(again.text().contains("shown before"), "{}", again.text());
    // A state that was used does not help another code.
    let next = company.go(&theirs).await;
    let code = next.split("code=").nth(1).unwrap().split('&').next().unwrap();
    let state = back.split("state=").nth(1).unwrap();
    let mixed = format!("{BEGIN}/callback?code={code}&state={state}");
    company.come_back(&ours, &mixed).await.expect(401);
    // A code that the provider does not know.
    let browser = company.begin().await;
    let unknown = company.go(&browser).await.replace("code=", "code=x");
    company.come_back(&browser, &unknown).await.expect(401);
    let refused = company
        .come_back(&browser, &unknown.replace("code=", "error=access_denied&x="))
        .await;
    refused.expect(403);
}

#[tokio::test]
async fn two_nodes_to_which_the_same_comes_back_at_once_let_one_in() {
    let company = Company::start("auto_create = true").await;
    let browser = company.begin().await;
    let back = company.go(&browser).await;
    let sibling = company.node.sibling();
    let here = company
        .node
        .get(&back)
        .header("cookie", &browser.binding)
        .answered();
    let there = sibling.get(&back).header("cookie", &browser.binding).answered();
    let (one, other) = tokio::join!(here, there);
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 401]);
}

#[tokio::test]
async fn an_id_token_that_is_not_for_us_or_not_about_this_lets_nobody_in() {
    let company = Company::start("auto_create = true").await;
    for odd in [
        json!({"nonce": "another"}),
        json!({"nonce": null}),
        json!({"aud": "another"}),
        json!({"aud": ["cairn", "another"]}),
        json!({"aud": ["cairn", "another"], "azp": "another"}),
        json!({"iss": "https://another.example"}),
        json!({"exp": 1}),
        json!({"sub": ""}),
        json!({"sub": null}),
        json!({"sub": "7".repeat(256)}),
        json!({"sub": "7\n"}),
        json!({"sub": "\u{2007}7"}),
    ] {
        company.issuer.knows(ann(&odd));
        let refused = company.sign_in().await;
        assert_eq!(refused.status, 401, "{odd} {}", refused.text());
        assert_eq!(refused.header("set-cookie"), "");
    }
    company
        .issuer
        .knows(ann(&json!({"aud": ["cairn", "another"], "azp": "cairn"})));
    company.sign_in().await.expect(303);
    // Signed by a key that the provider does not publish.
    let keys = company.issuer.key();
    let browser = company.begin().await;
    company
        .issuer
        .publish(vec![crate::testing::issuer::SigningKey::ec()]);
    let back = company.go(&browser).await;
    company.come_back(&browser, &back).await.expect(401);
    company.issuer.publish(vec![keys]);
}

#[tokio::test]
async fn accounts_are_linked_by_administrators_and_never_by_a_name_or_an_address() {
    let company = Company::start("").await;
    let node = &company.node;
    // Nobody is made unasked, and the same name and address are nobody's proof.
    company.issuer.knows(ann(&json!({
        "sub": "9", "preferred_username": "guest", "email": "guest@cairn.example",
    })));
    let refused = company.sign_in().await.expect(403);
    assert!(refused.text().contains("no user is linked"), "{}", refused.text());
    let id = node.get("/api/v4/user").by("guest").send().await.json()["id"].clone();
    let one = format!("/api/v4/users/{id}");
    let put = |body: Value| node.put(&one).by("root").json(&body).send();
    put(json!({"provider": "unknown", "extern_uid": "9"}))
        .await
        .expect(400);
    put(json!({"provider": "company"})).await.expect(400);
    put(json!({"provider": "company", "extern_uid": ""}))
        .await
        .expect(400);
    put(json!({"provider": "company", "extern_uid": "9"}))
        .await
        .expect(200);
    let answer = company.sign_in().await.expect(303);
    assert_eq!(company.who(&answer).await["user"]["id"], id);
    // Nor is somebody else whose number only looks alike.
    for alike in [" 9", "9 ", " "] {
        company.issuer.knows(ann(&json!({ "sub": alike })));
        company.sign_in().await.expect(403);
    }
    company.issuer.knows(ann(&json!({"sub": "9"})));
    let other = json!({"username": "eve", "provider": "company", "extern_uid": "9"});
    node.post("/api/v4/users")
        .by("root")
        .json(&other)
        .send()
        .await
        .expect(409);
    // Blocked: proven, and told so.
    node.post(format!("{one}/block"))
        .by("root")
        .send()
        .await
        .expect(201);
    let blocked = company.sign_in().await.expect(403);
    assert!(blocked.text().contains("blocked"));
    node.post(format!("{one}/unblock"))
        .by("root")
        .send()
        .await
        .expect(201);
    company.sign_in().await.expect(303);
    let link = format!("{one}/identities/company");
    node.delete(&link).by("owner").send().await.expect(403);
    node.delete(&link).by("root").send().await.expect(204);
    node.delete(&link).by("root").send().await.expect(404);
    company.sign_in().await.expect(403);
}

#[tokio::test]
async fn a_name_that_is_taken_is_not_given_to_a_stranger() {
    let company = Company::start("auto_create = true").await;
    company.issuer.knows(ann(&json!({"preferred_username": "Guest"})));
    let refused = company.sign_in().await.expect(403);
    assert!(refused.text().contains("already"), "{}", refused.text());
    company
        .issuer
        .knows(ann(&json!({"preferred_username": "../root"})));
    company.sign_in().await.expect(403);
    company
        .issuer
        .knows(ann(&json!({"preferred_username": "bob@company.example"})));
    let answer = company.sign_in().await.expect(303);
    assert_eq!(company.who(&answer).await["user"]["username"], "bob");
}

#[tokio::test]
async fn groups_say_who_comes_in_and_who_administers() {
    let more = "auto_create = true\nrequired_group = \"staff\"\nadmin_group = \"admins\"";
    let company = Company::start(more).await;
    company.issuer.knows(ann(&json!({"groups": ["visitors"]})));
    company.sign_in().await.expect(403);
    for (groups, admin) in [
        (json!(["staff"]), false),
        (json!(["staff", "admins"]), true),
        (json!("staff"), false),
    ] {
        company.issuer.knows(ann(&json!({"groups": groups})));
        let answer = company.sign_in().await.expect(303);
        assert_eq!(company.who(&answer).await["user"]["is_admin"], admin, "{groups}");
    }
    // Some say it elsewhere than in the ID token; but only of the same person.
    let elsewhere = |info: Value| {
        let mut claims = ann(&json!({"userinfo": info}));
        claims.as_object_mut().unwrap().shift_remove("groups");
        claims
    };
    company
        .issuer
        .knows(elsewhere(json!({"groups": ["staff", "admins"]})));
    let answer = company.sign_in().await.expect(303);
    assert_eq!(company.who(&answer).await["user"]["is_admin"], true);
    company
        .issuer
        .knows(elsewhere(json!({"groups": ["staff"], "sub": "8"})));
    company.sign_in().await.expect(401);
    let changes = events(&company.node, "user.changed").await;
    assert_eq!(changes.len(), 3, "{changes:?}");
}

#[tokio::test]
async fn a_provider_that_cannot_be_asked_is_no_fault_of_the_browser() {
    let company = Company::start("auto_create = true").await;
    company.issuer.behave(crate::testing::issuer::Behaviour::Away);
    company.node.get(BEGIN).send().await.expect(503);
    company
        .node
        .get("/api/cairn/v1/session/oidc/nobody")
        .send()
        .await
        .expect(404);
    // Its secret is gone.
    let company = Company::start("auto_create = true\n").await;
    std::fs::remove_file(company._secret.path().join("secret")).unwrap();
    company.sign_in().await.expect(503);
}

#[tokio::test]
async fn codes_are_not_tried_for_ever_from_one_address() {
    let company = Company::start("auto_create = true").await;
    let target = format!("{BEGIN}/callback?code=x&state=y");
    for _ in 0..100 {
        company
            .node
            .get(&target)
            .from("192.0.2.5")
            .send()
            .await
            .expect(401);
    }
    let refused = company
        .node
        .get(&target)
        .from("192.0.2.5")
        .send()
        .await
        .expect(429);
    assert_eq!(refused.header("retry-after"), "60");
    company.node.get(BEGIN).from("192.0.2.5").send().await.expect(429);
    company.node.get(BEGIN).from("192.0.2.6").send().await.expect(303);
}
