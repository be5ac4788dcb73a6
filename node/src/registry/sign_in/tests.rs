//! People who sign in by passwords, and sessions of browsers.

#[cfg(feature = "real-clients")]
mod directory;
mod providers;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cairn_cluster::{Collection, Scan, Txn};
use serde_json::{Value, json};

use super::StoredPassword;
use crate::auth::password::weak_hash;
use crate::http::error::ApiError;
use crate::http::settings::{AuthSettings, HttpSettings};
use crate::registry::{ending, keys};
use crate::testing::clock::StoppedClock;
use crate::testing::{Answer, TestNode, TestRequest};

const PASSWORD: &str = "correct horse battery";
const SESSION: &str = "/api/cairn/v1/session";

/// Gives the developer a password; gives its number.
async fn set_password(node: &TestNode, caller: &str, password: &str) -> u64 {
    let id = node.get("/api/v4/user").by(caller).send().await.json()["id"]
        .as_u64()
        .unwrap();
    let target = format!("/api/v4/users/{id}");
    let body = json!({ "password": password });
    node.put(target).by("root").json(&body).send().await.expect(200);
    id
}

fn attempt<'n>(node: &'n TestNode, username: &str, password: &str) -> TestRequest<'n> {
    node.post(SESSION)
        .json(&json!({ "username": username, "password": password }))
}

/// The cookie that an answer sets, as the browser sends it back.
fn cookie(answer: &Answer) -> String {
    let set = answer.header("set-cookie");
    assert!(
        set.starts_with("__Host-cairn-session=") && set.contains("HttpOnly; SameSite=Lax; Secure; Path=/"),
        "{set}"
    );
    set.split(';').next().unwrap().to_owned()
}

async fn sign_in(node: &TestNode, username: &str) -> String {
    let answer = attempt(node, username, PASSWORD).send().await.expect(201);
    cookie(&answer)
}

/// A request of a browser from one of our own pages.
trait Browsing {
    fn browsing(self, cookie: &str) -> Self;
}

impl Browsing for TestRequest<'_> {
    fn browsing(self, cookie: &str) -> Self {
        self.header("cookie", cookie)
            .header("sec-fetch-site", "same-origin")
    }
}

async fn events(node: &TestNode, name: &str) -> Vec<Value> {
    let target = format!("/api/v4/audit_events?event_name={name}&per_page=100");
    let answer = node.get(target).by("root").send().await.expect(200);
    answer.json().as_array().unwrap().clone()
}

#[tokio::test]
async fn a_session_holds_on_every_node_until_it_is_ended() {
    let node = TestNode::start().await;
    let sibling = node.sibling();
    set_password(&node, "developer", PASSWORD).await;
    let answer = attempt(&node, "Developer", PASSWORD).send().await.expect(201);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.json()["user"]["username"], "developer");
    assert_eq!(answer.json()["session"]["signed_in_by"], "password");
    let cookie = cookie(&answer);
    for at in [&node, &sibling] {
        let who = at.get(SESSION).browsing(&cookie).send().await.expect(200);
        assert_eq!(who.json()["user"]["username"], "developer");
        at.get("/api/v4/projects/1")
            .browsing(&cookie)
            .send()
            .await
            .expect(200);
    }
    // All that the user may do by a token with every scope.
    let new = json!({ "name": "laptop", "scopes": ["api"] });
    let id = answer.json()["user"]["id"].clone();
    let tokens = format!("/api/v4/users/{id}/personal_access_tokens");
    sibling
        .post(&tokens)
        .browsing(&cookie)
        .json(&new)
        .send()
        .await
        .expect(201);

    let ended = sibling.delete(SESSION).browsing(&cookie).send().await.expect(204);
    assert!(ended.header("set-cookie").contains("Max-Age=0"), "{ended:?}");
    for at in [&node, &sibling] {
        let refused = at.get(SESSION).browsing(&cookie).send().await.expect(401);
        assert!(refused.header("set-cookie").contains("Max-Age=0"));
        // Also where nobody needs to sign in.
        at.get("/api/v4/projects/2")
            .browsing(&cookie)
            .send()
            .await
            .expect(401);
    }
    let [began] = events(&node, "session.began").await.try_into().unwrap();
    assert_eq!(began["details"]["author_name"], "developer");
    assert_eq!(events(&node, "session.ended").await.len(), 1);
    // Nothing is left of it but that it is forgotten later.
    let left = node.kv().local();
    let sessions = keys::user_sessions(id.as_u64().unwrap());
    assert!(left.scan(Scan::of(&sessions)).await.unwrap().is_empty());
}

#[tokio::test]
async fn whoever_comes_by_a_token_is_told_who_it_is_and_has_no_session_to_end() {
    let node = TestNode::start().await;
    let who = node.get(SESSION).by("guest").send().await.expect(200).json();
    assert_eq!(
        (&who["user"]["username"], &who["session"]),
        (&json!("guest"), &Value::Null)
    );
    node.delete(SESSION).by("guest").send().await.expect(404);
    node.get(SESSION).send().await.expect(401);
    node.get(SESSION).by("deploy-read").send().await.expect(401);
}

#[tokio::test]
async fn a_session_is_nothing_to_package_clients() {
    let node = TestNode::start().await;
    set_password(&node, "developer", PASSWORD).await;
    let cookie = sign_in(&node, "developer").await;
    let file = "/api/v4/projects/1/packages/generic/tool/1.0/tool.bin";
    node.put(file)
        .browsing(&cookie)
        .body("bytes")
        .send()
        .await
        .expect(401);
    node.put(file)
        .by("developer")
        .body("bytes")
        .send()
        .await
        .expect(201);
    for target in [
        file,
        "/api/v4/projects/1/packages/npm/tool",
        "/v2/acme/demo/img/tags/list",
    ] {
        node.get(target).browsing(&cookie).send().await.expect(401);
        // And what is no cookie of ours is no reason to refuse anybody.
        let odd = "__Host-cairn-session=x";
        node.get("/v2/").browsing(odd).by("root").send().await.expect(200);
        node.get("/api/v4/projects/2/packages/generic/none/1/x")
            .browsing(odd)
            .by("root")
            .send()
            .await
            .expect(404);
    }
}

/// Row A18 of the hostile inputs: another site has the browser ask.
#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let node = TestNode::start().await;
    set_password(&node, "developer", PASSWORD).await;
    let cookie = sign_in(&node, "developer").await;
    let post = || {
        node.post("/api/v4/projects")
            .header("cookie", &cookie)
            .json(&json!({ "path": "new", "namespace_id": 1 }))
    };
    post().send().await.expect(403);
    post()
        .header("sec-fetch-site", "cross-site")
        .send()
        .await
        .expect(403);
    post()
        .header("sec-fetch-site", "same-site")
        .send()
        .await
        .expect(403);
    post()
        .header("origin", "https://evil.example")
        .send()
        .await
        .expect(403);
    post().header("origin", "null").send().await.expect(403);
    post()
        .header("sec-fetch-site", "cross-site")
        .header("origin", "https://cairn.example")
        .send()
        .await
        .expect(403);
    // Let in, and then refused for the developer's role; a maintainer makes it.
    post()
        .header("origin", "https://cairn.example")
        .send()
        .await
        .expect(403)
        .json()["message"]
        .as_str()
        .filter(|message| !message.contains("pages"))
        .unwrap();
    set_password(&node, "maintainer", PASSWORD).await;
    let cookie = sign_in(&node, "maintainer").await;
    let post = node.post("/api/v4/projects").browsing(&cookie);
    post.json(&json!({ "path": "new", "namespace_id": 1 }))
        .send()
        .await
        .expect(201);
    // A token that is sent is meant; then the cookie does not count.
    let post = node.post("/api/v4/projects").header("cookie", &cookie);
    let post = post.header("sec-fetch-site", "cross-site").by("maintainer");
    post.json(&json!({ "path": "newer", "namespace_id": 1 }))
        .send()
        .await
        .expect(201);

    // Nor does it sign somebody in as somebody else.
    let cross = attempt(&node, "developer", PASSWORD).header("sec-fetch-site", "cross-site");
    cross.send().await.expect(403);
    let cross = attempt(&node, "developer", PASSWORD).header("origin", "https://evil.example");
    cross.send().await.expect(403);
    let form = node
        .post(SESSION)
        .header("content-type", "application/x-www-form-urlencoded");
    let form = form.body(format!("username=developer&password={PASSWORD}"));
    form.send().await.expect(415);
}

/// Row A18: an id that was fixed before signing in, and one that was never given out.
#[tokio::test]
async fn signing_in_begins_a_new_session_and_ends_the_one_before() {
    let node = TestNode::start().await;
    set_password(&node, "developer", PASSWORD).await;
    let planted = format!("__Host-cairn-session={}", "A".repeat(43));
    let fixed = attempt(&node, "developer", PASSWORD)
        .browsing(&planted)
        .send()
        .await;
    let first = cookie(&fixed.expect(201));
    assert_ne!(first, planted);
    node.get(SESSION).browsing(&planted).send().await.expect(401);
    let second = attempt(&node, "developer", PASSWORD)
        .browsing(&first)
        .send()
        .await;
    let second = cookie(&second.expect(201));
    assert_ne!(second, first);
    node.get(SESSION).browsing(&first).send().await.expect(401);
    node.get(SESSION).browsing(&second).send().await.expect(200);
    // Two cookies of the name: one was planted.
    let both = format!("{second}; {first}");
    node.get(SESSION).browsing(&both).send().await.expect(401);
}

#[tokio::test]
async fn a_session_ends_when_it_is_not_used_and_at_the_end_of_its_time() {
    let settings = HttpSettings {
        auth: AuthSettings {
            session_idle: Duration::from_secs(24 * 3600),
            session_lifetime: Duration::from_secs(72 * 3600),
            ..HttpSettings::default().auth
        },
        ..HttpSettings::default()
    };
    let (node, clock) = StoppedClock::node_with(settings).await;
    let sibling = node.sibling();
    set_password(&node, "developer", PASSWORD).await;
    let cookie = sign_in(&node, "developer").await;
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let used = async |at: &TestNode, status: u16| {
        at.get(SESSION).browsing(&cookie).send().await.expect(status);
        // What a task does each minute.
        let store = at.app().store();
        store.usage().write(store.kv()).await.unwrap();
    };
    // Used each 20 hours, on any node, it goes on; using it writes nothing by itself.
    for at in [&node, &sibling, &node] {
        clock.advance(hours(20));
        let before = at.kv().local().applied_index();
        at.get(SESSION).browsing(&cookie).send().await.expect(200);
        assert_eq!(at.kv().local().applied_index(), before);
        used(at, 200).await;
    }
    // 60 hours old; at 73 it is over.
    clock.advance(hours(13));
    used(&sibling, 401).await;

    let cookie = sign_in(&node, "developer").await;
    clock.advance(hours(23));
    node.get(SESSION).browsing(&cookie).send().await.expect(200);
    let store = node.app().store();
    store.usage().write(store.kv()).await.unwrap();
    clock.advance(hours(23));
    sibling.get(SESSION).browsing(&cookie).send().await.expect(200);
    // The use on the sibling was noted in its memory alone, and that node went away.
    clock.advance(hours(2));
    node.get(SESSION).browsing(&cookie).send().await.expect(401);

    // In the end nothing is left of either.
    clock.advance(hours(100));
    ending::forget_all(store).await.unwrap();
    let local = node.kv().local();
    for name in ["session", "session-used", "ending"] {
        let all = Collection::new(0).at(name);
        assert!(local.scan(Scan::of(&all)).await.unwrap().is_empty(), "{name}");
    }
}

#[tokio::test]
async fn a_blocked_user_is_signed_out_everywhere_and_stays_so() {
    let node = TestNode::start().await;
    let id = set_password(&node, "developer", PASSWORD).await;
    let cookies = [
        sign_in(&node, "developer").await,
        sign_in(&node, "developer").await,
    ];
    node.post(format!("/api/v4/users/{id}/block"))
        .by("root")
        .send()
        .await
        .expect(201);
    for cookie in &cookies {
        node.get(SESSION).browsing(cookie).send().await.expect(401);
    }
    // As if the password were wrong.
    let blocked = attempt(&node, "developer", PASSWORD).send().await.expect(401);
    let wrong = attempt(&node, "guest", "nothing of the kind")
        .send()
        .await
        .expect(401);
    assert_eq!(blocked.body, wrong.body);
    node.post(format!("/api/v4/users/{id}/unblock"))
        .by("root")
        .send()
        .await
        .expect(201);
    for cookie in &cookies {
        node.get(SESSION).browsing(cookie).send().await.expect(401);
    }
    sign_in(&node, "developer").await;
}

#[tokio::test]
async fn a_password_is_changed_by_whoever_knows_it_and_ends_all_other_sessions() {
    const OWN: &str = "/api/cairn/v1/user/password";
    let node = TestNode::start().await;
    // The first one is set by an administrator, or whoever has a token had a way in for ever.
    let change = |old: &str, new: &str| json!({ "password": old, "new_password": new });
    let first = node.put(OWN).by("developer").json(&change("x", "another horse"));
    first.send().await.expect(403);
    set_password(&node, "developer", PASSWORD).await;
    let here = sign_in(&node, "developer").await;
    let elsewhere = sign_in(&node, "developer").await;
    let put = |body: Value| node.put(OWN).browsing(&here).json(&body).send();
    put(change("wrong horse", "another horse")).await.expect(403);
    for (new, reason) in [
        ("short", "is shorter"),
        ("developer", "is the username"),
        (" another horse", "begins or ends"),
    ] {
        let refused = put(change(PASSWORD, new)).await.expect(400);
        assert!(refused.text().contains(reason), "{}", refused.text());
    }
    let more = json!({ "password": PASSWORD, "new_password": "another horse", "is_admin": true });
    put(more).await.expect(400);
    node.get(SESSION).browsing(&elsewhere).send().await.expect(200);

    let changed = put(change(PASSWORD, "another horse")).await.expect(204);
    let renewed = cookie(&changed);
    node.get(SESSION).browsing(&here).send().await.expect(401);
    node.get(SESSION).browsing(&elsewhere).send().await.expect(401);
    node.get(SESSION).browsing(&renewed).send().await.expect(200);
    attempt(&node, "developer", PASSWORD).send().await.expect(401);
    attempt(&node, "developer", "another horse")
        .send()
        .await
        .expect(201);
    assert_eq!(events(&node, "password.changed").await.len(), 1);
    // A token that may only read changes nothing.
    set_password(&node, "maintainer", PASSWORD).await;
    let reading = node
        .put(OWN)
        .by("reading")
        .json(&change(PASSWORD, "another horse"));
    reading.send().await.expect(403);
}

#[tokio::test]
async fn administrators_set_passwords_and_nobody_is_ever_shown_one() {
    let node = TestNode::start().await;
    let new = json!({ "username": "ann", "password": PASSWORD });
    node.post("/api/v4/users")
        .by("owner")
        .json(&new)
        .send()
        .await
        .expect(403);
    let ann = node
        .post("/api/v4/users")
        .by("root")
        .json(&new)
        .send()
        .await
        .expect(201);
    let id = ann.json()["id"].clone();
    let cookie = sign_in(&node, "ann").await;
    let one = format!("/api/v4/users/{id}");
    let shown = node.get(&one).by("root").send().await.expect(200);
    for answer in [&ann, &shown] {
        let text = answer.text();
        assert!(!text.contains("argon2") && !text.contains(PASSWORD), "{text}");
    }
    let put = |caller: &'static str, body: Value| node.put(&one).by(caller).json(&body).send();
    put("owner", json!({ "name": "Ann" })).await.expect(403);
    put("root", json!({ "username": "eve" })).await.expect(400);
    put("root", json!({ "password": "short" })).await.expect(400);
    let changed = put(
        "root",
        json!({ "name": "Ann", "email": "ann@cairn.example", "admin": true }),
    )
    .await;
    let changed = changed.expect(200).json();
    assert_eq!(
        (&changed["name"], &changed["is_admin"]),
        (&json!("Ann"), &json!(true))
    );
    node.get(SESSION).browsing(&cookie).send().await.expect(200);
    put("root", json!({ "admin": false, "password": "another horse" }))
        .await
        .expect(200);
    node.get(SESSION).browsing(&cookie).send().await.expect(401);
    attempt(&node, "ann", "another horse").send().await.expect(201);
    node.put("/api/v4/users/9999")
        .by("root")
        .json(&json!({}))
        .send()
        .await
        .expect(404);
    node.put("/api/v4/users/1")
        .by("root")
        .json(&json!({ "admin": false }))
        .send()
        .await
        .expect(403);

    // Whoever finds an open browser of an administrator still does not know the password.
    set_password(&node, "root", PASSWORD).await;
    let cookie = sign_in(&node, "root").await;
    let own = node.put("/api/v4/users/1").browsing(&cookie);
    own.json(&json!({ "password": "another horse" }))
        .send()
        .await
        .expect(403);
    node.put(&one)
        .browsing(&cookie)
        .json(&json!({ "name": "A" }))
        .send()
        .await
        .expect(200);
}

#[tokio::test]
async fn everybody_sees_their_own_sessions_and_ends_them_and_nobody_elses() {
    const OWN: &str = "/api/cairn/v1/user/sessions";
    let (node, clock) = StoppedClock::node().await;
    let sibling = node.sibling();
    for caller in ["developer", "guest"] {
        set_password(&node, caller, PASSWORD).await;
    }
    let first = attempt(&node, "developer", PASSWORD)
        .from("192.0.2.1")
        .send()
        .await;
    let first = cookie(&first.expect(201));
    clock.advance(Duration::from_secs(3600));
    let second = sign_in(&sibling, "developer").await;
    let of_guest = sign_in(&node, "guest").await;
    let list = async |cookie: &str| {
        let answer = node.get(OWN).browsing(cookie).send().await.expect(200);
        assert!(!answer.text().contains(cookie.split_once('=').unwrap().1));
        answer.json().as_array().unwrap().clone()
    };
    let seen = list(&second).await;
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!(
        (&seen[0]["current"], &seen[1]["current"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(seen[1]["address"], "192.0.2.1");
    assert_eq!(seen[1]["signed_in_by"], "password");
    // When it was used is seen once that is written.
    assert_eq!(seen[1]["last_used_at"], seen[1]["began_at"]);
    node.get(SESSION).browsing(&first).send().await.expect(200);
    let store = node.app().store();
    store.usage().write(store.kv()).await.unwrap();
    let used = list(&second).await;
    assert_eq!(used[1]["last_used_at"], seen[0]["began_at"]);

    let id = |session: &Value| format!("{OWN}/{}", session["id"].as_str().unwrap());
    let guests = list(&of_guest).await;
    assert_eq!(guests.len(), 1);
    for nobodys in [id(&guests[0]), format!("{OWN}/x"), format!("{OWN}/%2E%2E")] {
        let refused = node.delete(&nobodys).browsing(&second).send().await;
        assert!(
            [400, 404].contains(&refused.status),
            "{nobodys}: {}",
            refused.status
        );
    }
    // Not for another site, nor for a token that only reads; such a one sees them.
    node.delete(id(&seen[1]))
        .header("cookie", &second)
        .send()
        .await
        .expect(403);
    node.delete(id(&seen[1])).by("reading").send().await.expect(403);

    let ended = sibling
        .delete(id(&seen[1]))
        .browsing(&second)
        .send()
        .await
        .expect(204);
    assert_eq!(ended.header("set-cookie"), "");
    node.get(SESSION).browsing(&first).send().await.expect(401);
    node.delete(id(&seen[1]))
        .browsing(&second)
        .send()
        .await
        .expect(404);
    assert_eq!(list(&second).await.len(), 1);
    assert_eq!(events(&node, "session.ended").await.len(), 1);
    // By a token, too, also the last one; a browser that ends its own is told to forget it.
    let by_token = node.get(OWN).by("developer").send().await.expect(200).json();
    assert_eq!(
        (by_token[0]["id"].clone(), &by_token[0]["current"]),
        (seen[0]["id"].clone(), &json!(false))
    );
    let own = node
        .delete(id(&seen[0]))
        .browsing(&second)
        .send()
        .await
        .expect(204);
    assert!(own.header("set-cookie").contains("Max-Age=0"), "{own:?}");
    node.delete(id(&guests[0])).by("guest").send().await.expect(204);
    node.get(SESSION).browsing(&of_guest).send().await.expect(401);

    // What has ended by itself is not shown.
    let idle = sign_in(&node, "guest").await;
    clock.advance(Duration::from_secs(25 * 3600));
    node.get(SESSION).browsing(&idle).send().await.expect(401);
    let left = node.get(OWN).by("guest").send().await.expect(200);
    assert_eq!(left.json(), json!([]));
}

/// Row A12 of the hostile inputs.
#[tokio::test]
async fn who_tries_many_passwords_is_sent_away_before_they_are_hashed() {
    let node = TestNode::start().await;
    set_password(&node, "developer", PASSWORD).await;
    // From where somebody signed in, the owner still does.
    let familiar = attempt(&node, "developer", PASSWORD).from("192.0.2.1");
    familiar.send().await.expect(201);
    let (mut wrong, mut refused) = (0, 0);
    for at in 0..200 {
        let address = format!("198.51.100.{}", at % 4);
        let answer = attempt(&node, "developer", "wrong horse")
            .from(&address)
            .send()
            .await;
        match answer.status {
            401 => wrong += 1,
            429 => {
                assert_eq!(answer.header("retry-after"), "60");
                refused += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!((wrong, refused), (20, 180));
    // One for each that was not refused, the two that set it up, and no more.
    assert_eq!(node.app().passwords().done(), 20 + 2);
    // The right one does not help from there, and nobody else is kept out.
    attempt(&node, "developer", PASSWORD)
        .from("198.51.100.9")
        .send()
        .await
        .expect(429);
    attempt(&node, "developer", PASSWORD)
        .from("192.0.2.1")
        .send()
        .await
        .expect(201);
    set_password(&node, "guest", PASSWORD).await;
    attempt(&node, "guest", PASSWORD)
        .from("198.51.100.1")
        .send()
        .await
        .expect(201);

    // One address, many accounts.
    for at in 0..101 {
        let answer = attempt(&node, &format!("nobody{at}"), "wrong horse")
            .from("203.0.113.1")
            .send()
            .await;
        assert_eq!(answer.status, if at < 100 { 401 } else { 429 });
    }
    let before = node.app().passwords().done();
    attempt(&node, "guest", PASSWORD)
        .from("203.0.113.1")
        .send()
        .await
        .expect(429);
    assert_eq!(node.app().passwords().done(), before);

    // The log says who was tried, and from where.
    let store = node.app().store();
    node.app().denials().tell(store.kv(), store.now()).await.unwrap();
    let refused = events(&node, "refused").await;
    let tried = refused
        .iter()
        .any(|event| event.to_string().contains("sign in as developer"));
    assert!(tried, "{refused:?}");
}

/// Row A13 of the hostile inputs.
#[tokio::test]
async fn an_unknown_user_costs_the_same_work_and_gets_the_same_answer() {
    let node = TestNode::start().await;
    set_password(&node, "developer", PASSWORD).await;
    let mut answers = Vec::new();
    // Known; without a password; a bot; unknown; what can be no name.
    let access = json!({"name": "x", "scopes": ["api"], "access_level": 30});
    let made = node
        .post("/api/v4/projects/1/access_tokens")
        .by("root")
        .json(&access);
    made.send().await.expect(201);
    let bot = node
        .get("/api/v4/users?search=bot")
        .by("root")
        .send()
        .await
        .json();
    let bot = bot[0]["username"].as_str().unwrap().to_owned();
    for name in ["developer", "guest", bot.as_str(), "nobody", "../root", ""] {
        let before = node.app().passwords().done();
        let answer = attempt(&node, name, "wrong horse").send().await.expect(401);
        assert_eq!(node.app().passwords().done(), before + 1, "{name}");
        assert_eq!(answer.header("set-cookie"), "");
        answers.push(answer.body);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

/// Rows A14, A15 and A16 of the hostile inputs.
#[tokio::test]
async fn what_is_no_sign_in_is_refused_before_anything_is_hashed() {
    let node = TestNode::start().await;
    set_password(&node, "developer", PASSWORD).await;
    let before = node.app().passwords().done();
    for length in [1025, 1 << 19] {
        let long = attempt(&node, "developer", &"x".repeat(length))
            .send()
            .await
            .expect(400);
        assert!(long.text().contains("longer than 1024 bytes") && long.body.len() < 500);
    }
    let huge = attempt(&node, "developer", &"x".repeat(1 << 20)).send().await;
    assert!([400, 413].contains(&huge.status), "{}", huge.status);
    attempt(&node, "developer", "").send().await.expect(400);
    attempt(&node, &"x".repeat(300), "wrong horse")
        .send()
        .await
        .expect(400);
    for body in [
        json!({ "username": "developer", "password": PASSWORD, "is_admin": true }),
        json!({ "username": "developer", "password": PASSWORD, "id": 1 }),
        json!({ "username": "developer" }),
        json!({ "username": "developer", "password": [PASSWORD] }),
        json!([]),
    ] {
        let refused = node.post(SESSION).json(&body).send().await.expect(400);
        assert!(!refused.text().contains(PASSWORD), "{}", refused.text());
    }
    let body = json!({ "username": "developer", "password": PASSWORD });
    let in_query = node.post(format!("{SESSION}?password=x")).json(&body).send();
    in_query.await.expect(400);
    let target = "/api/v4/users?username=eve&password=correct+horse";
    node.post(target).by("root").send().await.expect(400);
    node.put("/api/v4/users/2?password=correct+horse")
        .by("root")
        .send()
        .await
        .expect(400);
    assert_eq!(node.app().passwords().done(), before);
}

/// Row A17 of the hostile inputs.
#[tokio::test]
async fn a_new_cluster_has_no_password() {
    let node = TestNode::start().await;
    for name in ["root", "admin", "cairn", "gitlab"] {
        for password in [
            "root", "admin", "admin123", "password", "cairn", "5iveL!fe", "changeme",
        ] {
            attempt(&node, name, password)
                .from("192.0.2.7")
                .send()
                .await
                .expect(401);
        }
    }
}

#[tokio::test]
async fn a_hash_of_an_older_release_is_replaced_at_sign_in() {
    let node = TestNode::start().await;
    let id = set_password(&node, "developer", PASSWORD).await;
    let read = async || {
        let stored: Option<StoredPassword> = node.kv().local().record(&keys::password(id)).await.unwrap();
        stored.unwrap()
    };
    let weak = StoredPassword {
        hash: weak_hash(PASSWORD),
        ..read().await
    };
    let write = async |mut txn: Txn| {
        txn.put_record(&keys::password(id), &weak);
        Ok::<_, ApiError>((txn, ()))
    };
    node.kv().transact(write).await.unwrap();
    attempt(&node, "developer", "wrong horse")
        .send()
        .await
        .expect(401);
    assert_eq!(read().await, weak);
    let before = sign_in(&node, "developer").await;
    let renewed = read().await;
    assert_ne!(renewed.hash, weak.hash);
    assert_eq!(renewed.set_at, weak.set_at);
    sign_in(&node, "developer").await;
    assert_eq!(read().await, renewed);
    // It is the same password, so nobody is signed out.
    node.get(SESSION).browsing(&before).send().await.expect(200);
}

#[tokio::test]
async fn package_clients_may_send_a_password_where_that_is_switched_on() {
    let file = "/api/v4/projects/1/packages/generic/tool/1.0/tool.bin";
    let node = TestNode::start().await;
    let id = set_password(&node, "developer", PASSWORD).await;
    node.get(file)
        .basic("developer", PASSWORD)
        .send()
        .await
        .expect(401);
    let auth = AuthSettings {
        passwords_for_packages: true,
        ..HttpSettings::default().auth
    };
    let node = node.sibling_with(HttpSettings {
        auth,
        ..HttpSettings::default()
    });
    let put = node.put(file).basic("developer", PASSWORD).body("bytes");
    put.send().await.expect(201);
    let hashed = node.app().passwords().done();
    for _ in 0..10 {
        node.get(file)
            .basic("developer", PASSWORD)
            .send()
            .await
            .expect(200);
    }
    assert_eq!(node.app().passwords().done(), hashed);
    node.get(file)
        .basic("developer", "wrong horse")
        .send()
        .await
        .expect(401);
    node.get(file).basic("guest", PASSWORD).send().await.expect(401);
    // For packages alone.
    node.get("/api/v4/user")
        .basic("developer", PASSWORD)
        .send()
        .await
        .expect(401);
    node.get(file).bearer(PASSWORD).send().await.expect(401);

    // Container clients get a token for it, which dies with the password.
    let ask = "/jwt/auth?service=container_registry&scope=repository:acme/demo/img:pull,push";
    let answer = node
        .get(ask)
        .basic("developer", PASSWORD)
        .send()
        .await
        .expect(200)
        .json();
    let token = answer["token"].as_str().unwrap().to_owned();
    let begin = || {
        node.post("/v2/acme/demo/img/blobs/uploads/")
            .bearer(&token)
            .send()
    };
    begin().await.expect(202);
    let body = json!({ "password": "another horse" });
    let set = node.put(format!("/api/v4/users/{id}")).by("root").json(&body);
    set.send().await.expect(200);
    begin().await.expect(401);
    node.get(file)
        .basic("developer", PASSWORD)
        .send()
        .await
        .expect(401);
    node.get(file)
        .basic("developer", "another horse")
        .send()
        .await
        .expect(200);
    node.post(format!("/api/v4/users/{id}/block"))
        .by("root")
        .send()
        .await
        .expect(201);
    node.get(file)
        .basic("developer", "another horse")
        .send()
        .await
        .expect(401);
    // Guessing is slowed down here too, in the words of the format.
    let guess = || {
        node.get(file)
            .basic("guest", "wrong horse")
            .from("192.0.2.8")
            .send()
    };
    for _ in 0..19 {
        guess().await.expect(401);
    }
    assert_eq!(guess().await.expect(429).header("retry-after"), "60");
}

#[tokio::test]
async fn signing_in_by_a_password_can_be_switched_off() {
    let auth = AuthSettings {
        passwords: false,
        ..HttpSettings::default().auth
    };
    let node = TestNode::with(HttpSettings {
        auth,
        ..HttpSettings::default()
    })
    .await;
    set_password(&node, "developer", PASSWORD).await;
    attempt(&node, "developer", PASSWORD).send().await.expect(403);
}

#[tokio::test]
async fn the_oldest_session_ends_when_there_are_too_many() {
    let node = TestNode::start().await;
    set_password(&node, "developer", PASSWORD).await;
    let first = sign_in(&node, "developer").await;
    for _ in 0..99 {
        sign_in(&node, "developer").await;
    }
    node.get(SESSION).browsing(&first).send().await.expect(200);
    let last = sign_in(&node, "developer").await;
    node.get(SESSION).browsing(&first).send().await.expect(401);
    node.get(SESSION).browsing(&last).send().await.expect(200);
}

/// Somewhere that a log goes to.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn neither_passwords_nor_ids_of_sessions_are_ever_logged() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let logging = tracing::subscriber::set_default(subscriber);
    let node = TestNode::start().await;
    set_password(&node, "developer", PASSWORD).await;
    attempt(&node, "guest", "wrong").send().await.expect(401);
    // What another test came to first, on a thread that nobody listens to, is silent otherwise.
    tracing::callsite::rebuild_interest_cache();
    let cookie = sign_in(&node, "developer").await;
    attempt(&node, PASSWORD, "developer").send().await.expect(401);
    attempt(&node, "guest", PASSWORD).send().await.expect(401);
    let change = json!({ "password": PASSWORD, "new_password": "canary horse battery" });
    let own = node.put("/api/cairn/v1/user/password").browsing(&cookie);
    let renewed = own.json(&change).send().await.expect(204);
    let renewed = self::cookie(&renewed);
    let target = "/api/v4/users?username=eve&password=canary+horse+battery";
    node.post(target).by("root").send().await.expect(400);
    let file = "/api/v4/projects/1/packages/generic/tool/1.0/tool.bin";
    node.get(file)
        .basic("developer", PASSWORD)
        .send()
        .await
        .expect(401);
    let store = node.app().store();
    node.app().denials().tell(store.kv(), store.now()).await.unwrap();
    drop(logging);

    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("/api/cairn/v1/session"), "{logged}");
    let told = node
        .get("/api/v4/audit_events?per_page=100")
        .by("root")
        .send()
        .await;
    let ids = [cookie, renewed].map(|cookie| cookie.split_once('=').unwrap().1.to_owned());
    let secrets = [PASSWORD, "canary", "argon2", ids[0].as_str(), ids[1].as_str()];
    for secret in secrets {
        assert!(!logged.contains(secret), "{secret} is logged");
        assert!(!told.text().contains(secret), "{secret} is in the audit log");
    }
}
