//! People who sign in by a directory, a real one.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Log, PASSWORD as LOCAL, SESSION, attempt, cookie, events, set_password};
use crate::config::Config;
use crate::http::settings::HttpSettings;
use crate::registry::sign_in::directory;
use crate::testing::TestNode;
use crate::testing::client::Client;
use crate::testing::clock::StoppedClock;
use crate::testing::directory::{PASSWORD, READER, TestDirectory};
use crate::testing::readme::blocks;

const MANUAL: &str = include_str!("../../../../../docs/sign-in.md");

/// The settings of a node that asks this directory.
fn settings(directory: &TestDirectory, url: &str, more: &str) -> HttpSettings {
    let file = directory.folder().join("password");
    std::fs::write(&file, format!("{}\n", READER.1)).unwrap();
    let text = format!(
        "[auth]\npasswords_for_packages = true\n[ldap]\nurl = {url:?}\nbind_dn = {:?}\n\
         bind_password_file = {file:?}\nbase = \"ou=people,dc=example,dc=com\"\n\
         group_base = \"ou=groups,dc=example,dc=com\"\n{more}\n",
        READER.0
    );
    of_text(&text)
}

fn of_text(text: &str) -> HttpSettings {
    let config = Config::from_sources(Some((Path::new("test.toml"), text)), []).unwrap();
    HttpSettings::of(&config)
}

async fn node(directory: &TestDirectory, more: &str) -> TestNode {
    TestNode::with(settings(directory, &directory.url(), more)).await
}

/// Signs in somebody of the directory; gives the user.
async fn user(node: &TestNode, name: &str) -> Value {
    let answer = attempt(node, name, PASSWORD).send().await.expect(201);
    answer.json()["user"].clone()
}

async fn make(node: &TestNode, name: &str, more: &Value) -> Value {
    let mut new = json!({ "username": name });
    new.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let made = node.post("/api/v4/users").by("root").json(&new).send().await;
    made.expect(201).json()
}

async fn state(node: &TestNode, user: &Value) -> String {
    let one = format!("/api/v4/users/{}", user["id"]);
    let shown = node.get(one).by("root").send().await.expect(200);
    shown.json()["state"].as_str().unwrap().to_owned()
}

/// Somebody who has signed in and made a token.
struct Known {
    user: Value,
    cookie: String,
    token: String,
}

impl Known {
    async fn new(node: &TestNode, name: &str) -> Self {
        let answer = attempt(node, name, PASSWORD).send().await.expect(201);
        let user = answer.json()["user"].clone();
        let new = json!({"name": "laptop", "scopes": ["api"]});
        let tokens = format!("/api/v4/users/{}/personal_access_tokens", user["id"]);
        let token = node.post(tokens).by("root").json(&new).send().await.expect(201);
        Self {
            user,
            cookie: cookie(&answer),
            token: token.json()["token"].as_str().unwrap().to_owned(),
        }
    }

    async fn session_is(&self, node: &TestNode, status: u16) {
        let asked = node.get(SESSION).header("cookie", &self.cookie);
        asked.send().await.expect(status);
    }

    async fn token_is(&self, node: &TestNode, status: u16) {
        let asked = node.get("/api/v4/user").bearer(&self.token);
        asked.send().await.expect(status);
    }
}

#[tokio::test]
async fn who_is_in_the_directory_signs_in_by_the_password_there() {
    let ldap = TestDirectory::start().await;
    let more = "auto_create = true\nadmin_group = \"package-administrators\"";
    let node = node(&ldap, more).await;
    let answer = attempt(&node, "Ann", PASSWORD).send().await.expect(201);
    let who = answer.json();
    assert_eq!(who["user"]["username"], "ann");
    assert_eq!(who["user"]["name"], "ann of the company");
    assert_eq!(who["user"]["email"], "ann@company.example");
    assert_eq!(who["user"]["is_admin"], true);
    assert_eq!(who["session"]["signed_in_by"], "ldap");
    let cookie = cookie(&answer);
    node.get(SESSION)
        .header("cookie", &cookie)
        .send()
        .await
        .expect(200);
    assert_eq!(user(&node, "ann").await["id"], who["user"]["id"]);
    assert_eq!(user(&node, "bob").await["is_admin"], false);
    let means = node.get(format!("{SESSION}/means")).send().await.expect(200);
    assert_eq!(means.json()["password"], true);
    // Whoever may not administer any more does not, from the next time on.
    ldap.join("bob", "package-administrators").await;
    ldap.leave("ann", "package-administrators").await;
    assert_eq!(user(&node, "ann").await["is_admin"], false);
    assert_eq!(user(&node, "bob").await["is_admin"], true);
}

#[tokio::test]
async fn a_wrong_password_and_a_name_that_nobody_has_are_told_and_asked_the_same() {
    let ldap = TestDirectory::start().await;
    let node = node(&ldap, "auto_create = true\nrequired_group = \"packages\"").await;
    let mut answers = Vec::new();
    for name in [
        "ann",
        "nobody",
        // Two are called that, so neither is meant.
        "twin",
        // Characters of filters and of names of entries.
        "*",
        "a*",
        "ann)(uid=*",
        "*)(objectClass=*",
        "a*(b)\\c)",
        "a\\2a(b)\\5cc",
        "\\",
        "ann\0",
        "ann,ou=people",
        "uid=ann,ou=people,dc=example,dc=com",
        "{dn}",
        "",
        // What the directory takes for the same as `ann`, or as a part of it.
        " ann",
        "ann ",
        "\u{ff41}nn",
        "a\u{ad}nn",
        "an",
        // Not below where people are.
        "manager",
        "cairn",
    ] {
        let before = ldap.binds().await;
        let password = if name == "ann" { "wrong horse" } else { PASSWORD };
        let answer = attempt(&node, name, password).send().await;
        // Ours, the one that is to show the password, and the one for this answer.
        assert_eq!(ldap.binds().await - before, 3, "{name:?}");
        answers.push((answer.status, answer.body));
    }
    assert_eq!(answers[0].0, 401);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    // A bind without a password succeeds and proves nothing, so there is none.
    let before = ldap.binds().await;
    attempt(&node, "ann", "").send().await.expect(400);
    assert_eq!(ldap.binds().await - before, 1);
    // Such a name is still one that is found, by whoever has it.
    let odd = attempt(&node, "a*(b)\\c", PASSWORD).send().await.expect(403);
    assert!(odd.text().contains("group"), "{}", odd.text());
    let node = node.sibling_with(settings(&ldap, &ldap.url(), "auto_create = true"));
    let odd = attempt(&node, "a*(b)\\c", PASSWORD).send().await.expect(403);
    assert!(odd.text().contains("no name that could be"), "{}", odd.text());
    let link = json!({"provider": "ldap", "extern_uid": ldap.id("a*(b)\\5Cc").await});
    let linked = make(&node, "odd", &link).await;
    assert_eq!(user(&node, "a*(b)\\c").await["id"], linked["id"]);
}

#[tokio::test]
async fn two_of_the_directory_are_never_one_here() {
    let ldap = TestDirectory::start().await;
    let exact = "auto_create = true\nusername_attribute = \"labeledURI\"";
    let node = node(&ldap, exact).await;
    let one = user(&node, "Max").await;
    // Here, names are compared without regard to case, so the other one gets no user by itself.
    let other = attempt(&node, "max", PASSWORD).send().await.expect(403);
    assert!(other.text().contains("already"), "{}", other.text());
    let link = json!({"provider": "ldap", "extern_uid": ldap.id("max2").await});
    let other = make(&node, "max.other", &link).await;
    assert_eq!(user(&node, "Max").await["id"], one["id"]);
    assert_eq!(user(&node, "max").await["id"], other["id"]);

    // Who adds a name to its own has none any more.
    ldap.replace("eve", "labeledURI", &["eve", "somebody"]).await;
    attempt(&node, "eve", PASSWORD).send().await.expect(401);
    attempt(&node, "somebody", PASSWORD).send().await.expect(401);
}

#[tokio::test]
async fn who_gets_the_name_of_somebody_who_left_gets_nothing_else_of_it() {
    let ldap = TestDirectory::start().await;
    let (node, clock) = StoppedClock::node_with(settings(&ldap, &ldap.url(), "auto_create = true")).await;
    let ann = Known::new(&node, "ann").await;
    user(&node, "bob").await;
    ldap.remove("ann").await;
    ldap.add("ann").await;
    attempt(&node, "ann", PASSWORD).send().await.expect(403);
    let file = "/api/v4/projects/2/packages/generic/tool/1.0/tool.bin";
    node.get(file).basic("ann", PASSWORD).send().await.expect(401);
    clock.advance(Duration::from_secs(3600));
    directory::look(node.app()).await.unwrap();
    ann.token_is(&node, 401).await;
    attempt(&node, "ann", PASSWORD).send().await.expect(403);
    // Whoever is called another name by now is still who it was.
    ldap.replace("bob", "labeledURI", &["robert"]).await;
    let renamed = settings(
        &ldap,
        &ldap.url(),
        "auto_create = true\nusername_attribute = \"labeledURI\"",
    );
    let node = node.sibling_with(renamed);
    assert_eq!(user(&node, "robert").await["username"], "bob");
}

#[tokio::test]
async fn a_user_of_the_same_name_is_not_who_the_directory_knows() {
    let ldap = TestDirectory::start().await;
    let node = node(&ldap, "auto_create = true").await;
    let own = make(&node, "ann", &json!({"password": "only known here"})).await;
    let refused = attempt(&node, "ann", PASSWORD).send().await.expect(403);
    assert!(refused.text().contains("not linked"), "{}", refused.text());
    attempt(&node, "ann", "only known here").send().await.expect(201);
    // Until an administrator says so.
    let one = format!("/api/v4/users/{}", own["id"]);
    let put = |id: String| {
        let link = json!({"provider": "ldap", "extern_uid": id});
        node.put(&one).by("root").json(&link).send()
    };
    for no_id in ["*", "a)(uid=*", "", "\u{e9}", "\\2A", "a b\\20"] {
        put(no_id.to_owned()).await.expect(400);
    }
    put(ldap.id("ann").await).await.expect(200);
    assert_eq!(user(&node, "ann").await["id"], own["id"]);
    let shown = node.get(&one).by("root").send().await.json();
    assert_eq!(shown["identities"][0]["provider"], "ldap");
    assert_eq!(shown["identities"][0]["extern_uid"], ldap.id("ann").await);
}

#[tokio::test]
async fn nobody_is_made_unasked_and_groups_keep_people_out() {
    let ldap = TestDirectory::start().await;
    let node = node(&ldap, "").await;
    attempt(&node, "ann", PASSWORD).send().await.expect(403);
    for group in ["packages", "cn=Packages,ou=groups,dc=example,dc=com"] {
        let more = format!("auto_create = true\nrequired_group = {group:?}");
        let node = node.sibling_with(settings(&ldap, &ldap.url(), &more));
        attempt(&node, "eve", PASSWORD).send().await.expect(403);
        attempt(&node, "eve", "wrong horse").send().await.expect(401);
        attempt(&node, "bob", PASSWORD).send().await.expect(201);
    }
    // A group that there is not is a fault of the configuration.
    let more = "auto_create = true\nrequired_group = \"cn=none,ou=groups,dc=example,dc=com\"";
    let node = node.sibling_with(settings(&ldap, &ldap.url(), more));
    attempt(&node, "bob", PASSWORD).send().await.expect(503);
}

#[tokio::test]
async fn connections_are_encrypted_and_checked() {
    let ldap = TestDirectory::start().await;
    let file = |name: &str| format!("authority_file = {:?}", ldap.folder().join(name));
    let node = node(&ldap, "").await;
    let status = async |url: &str, more: &str| {
        let settings = settings(&ldap, url, &format!("auto_create = true\n{more}"));
        let node = node.sibling_with(settings);
        attempt(&node, "ann", PASSWORD).send().await.status
    };
    let start = "start_tls = true\n";
    let authority = file("authority.pem");
    assert_eq!(status(&ldap.tls_url(), &authority).await, 201);
    assert_eq!(status(&ldap.url(), &format!("{start}{authority}")).await, 201);
    // Another authority, one that nobody named, and files that hold none.
    for more in [
        file("other-authority.pem"),
        String::new(),
        file("key.pem"),
        file("nothing.pem"),
    ] {
        assert_eq!(status(&ldap.tls_url(), &more).await, 503, "{more}");
        assert_eq!(
            status(&ldap.url(), &format!("{start}{more}")).await,
            503,
            "{more}"
        );
    }
    // A certificate of another name, and TLS spoken to what does not.
    let elsewhere = ldap.tls_url().replace("127.0.0.1", "127.0.0.2");
    assert_eq!(status(&elsewhere, &authority).await, 503);
    let clear = ldap.url().replace("ldap:", "ldaps:");
    assert_eq!(status(&clear, &authority).await, 503);
}

#[tokio::test]
async fn package_clients_send_the_password_of_the_directory_and_it_is_asked_once_a_minute() {
    let file = "/api/v4/projects/2/packages/generic/tool/1.0/tool.bin";
    let ldap = TestDirectory::start().await;
    let node = node(&ldap, "auto_create = true").await;
    node.put(file).by("root").body("bytes").send().await.expect(201);
    let get = |name: &'static str, password: &'static str| node.get(file).basic(name, password).send();
    // Whoever was never here has no user yet.
    get("ann", PASSWORD).await.expect(401);
    let ann = user(&node, "ann").await;
    get("ann", PASSWORD).await.expect(200);
    get("ann", "wrong horse").await.expect(401);
    get("a*", PASSWORD).await.expect(401);
    let before = ldap.binds().await;
    get("ann", PASSWORD).await.expect(200);
    assert_eq!(ldap.binds().await - before, 1);
    // Not even then for whoever was blocked or unlinked meanwhile.
    let one = format!("/api/v4/users/{}", ann["id"]);
    let link = json!({"provider": "ldap", "extern_uid": ldap.id("ann").await});
    let unlink = node.delete(format!("{one}/identities/ldap")).by("root");
    unlink.send().await.expect(204);
    get("ann", PASSWORD).await.expect(401);
    node.put(&one).by("root").json(&link).send().await.expect(200);
    get("ann", PASSWORD).await.expect(200);
    node.post(format!("{one}/block"))
        .by("root")
        .send()
        .await
        .expect(201);
    get("ann", PASSWORD).await.expect(401);
}

#[tokio::test]
async fn who_guesses_passwords_of_the_directory_is_sent_away_before_it_is_asked() {
    let ldap = TestDirectory::start().await;
    let node = node(&ldap, "auto_create = true").await;
    let before = ldap.binds().await;
    let mut statuses = Vec::new();
    for at in 0..25 {
        // Whatever the case is, it is the same person.
        let name = if at % 2 == 0 { "bob" } else { "BOB" };
        let tried = attempt(&node, name, "wrong horse").from(&format!("198.51.100.{at}"));
        statuses.push(tried.send().await.status);
    }
    assert_eq!(statuses[..20], [401; 20]);
    assert_eq!(statuses[20..], [429; 5]);
    assert_eq!(ldap.binds().await - before, 2 * 20 + 1);
    attempt(&node, "bob", PASSWORD)
        .from("198.51.100.99")
        .send()
        .await
        .expect(429);
    attempt(&node, "ann", PASSWORD)
        .from("198.51.100.99")
        .send()
        .await
        .expect(201);
}

#[tokio::test]
async fn who_leaves_the_directory_is_out_with_all_tokens_after_one_look_of_the_cluster() {
    let ldap = TestDirectory::start().await;
    let more = "auto_create = true\nadmin_group = \"package-administrators\"\nlook_every = \"1h\"\n\
                user_filter = \"(&(objectClass=person)(!(employeeType=left)))\"";
    let (node, clock) = StoppedClock::node_with(settings(&ldap, &ldap.url(), more)).await;
    let sibling = node.sibling();
    let (ann, bob, eve) = (
        Known::new(&node, "ann").await,
        Known::new(&node, "bob").await,
        Known::new(&node, "eve").await,
    );
    directory::look(node.app()).await.unwrap();
    ldap.remove("ann").await;
    // Disabled, as far as the configuration says what that is.
    ldap.replace("eve", "employeeType", &["left"]).await;
    ldap.join("bob", "package-administrators").await;
    attempt(&node, "ann", PASSWORD).send().await.expect(401);
    attempt(&node, "eve", PASSWORD).send().await.expect(401);
    // Not yet time.
    directory::look(sibling.app()).await.unwrap();
    for known in [&ann, &eve] {
        known.session_is(&node, 200).await;
        known.token_is(&sibling, 200).await;
    }
    clock.advance(Duration::from_secs(3600));
    directory::look(sibling.app()).await.unwrap();
    for known in [&ann, &eve] {
        known.session_is(&node, 401).await;
        known.token_is(&sibling, 401).await;
        assert_eq!(state(&node, &known.user).await, "ldap_blocked");
    }
    bob.session_is(&sibling, 200).await;
    bob.token_is(&node, 200).await;
    let told = events(&node, "user.changed").await;
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(
        told.iter()
            .all(|event| event["details"]["author_name"] == "cairn")
    );
    let shown = node.get("/api/v4/user").bearer(&bob.token).send().await.json();
    assert_eq!(shown["is_admin"], true);
    // Users who never came by the directory are none of its business.
    node.get("/api/v4/user").by("guest").send().await.expect(200);
    set_password(&node, "guest", LOCAL).await;
    attempt(&node, "guest", LOCAL).send().await.expect(201);

    // The other node finds the time set by the one that looked.
    ldap.remove("bob").await;
    directory::look(node.app()).await.unwrap();
    bob.token_is(&node, 200).await;

    // It was not the group or the base, since there are others: so all of them have left.
    clock.advance(Duration::from_secs(3600));
    directory::look(node.app()).await.unwrap();
    bob.token_is(&node, 401).await;
    // Only the directory lets in again whom it does not know, or whoever was unlinked from it.
    let one = format!("/api/v4/users/{}", bob.user["id"]);
    let unblock = || node.post(format!("{one}/unblock")).by("root").send();
    unblock().await.expect(403);
    let unlink = node.delete(format!("{one}/identities/ldap")).by("root");
    unlink.send().await.expect(204);
    bob.token_is(&node, 401).await;
    unblock().await.expect(201);
    bob.token_is(&node, 200).await;
    bob.session_is(&node, 401).await;
}

#[tokio::test]
async fn a_directory_that_has_lost_everybody_or_does_not_answer_keeps_nobody_out() {
    let ldap = TestDirectory::start().await;
    let more = "auto_create = true\nlook_every = \"1h\"";
    let (node, clock) = StoppedClock::node_with(settings(&ldap, &ldap.url(), more)).await;
    let ann = Known::new(&node, "ann").await;
    let look_as = async |url: &str, more: &str, is_answered: bool| {
        clock.advance(Duration::from_secs(3600));
        let sibling = node.sibling_with(settings(&ldap, url, &format!("auto_create = true\n{more}")));
        let looked = directory::look(sibling.app()).await;
        assert_eq!(looked.is_ok(), is_answered, "{url} {more}: {looked:?}");
        ann.token_is(&node, 200).await;
        ann.session_is(&node, 200).await;
    };
    let url = ldap.url();
    // As an empty copy of it would answer.
    look_as(&url, "user_filter = \"(objectClass=account)\"", true).await;
    // A group that was renamed; one that is gone; nothing there; another id than before, which we may not
    // read or which nobody has.
    look_as(&url, "required_group = \"renamed\"", true).await;
    let gone = "required_group = \"cn=gone,ou=groups,dc=example,dc=com\"";
    look_as(&url, gone, false).await;
    look_as("ldap://127.0.0.1:1", "", false).await;
    look_as(&url, "id_attribute = \"title\"", true).await;
    // Another directory, in which all have other ids.
    let bob = Known::new(&node, "bob").await;
    look_as(&url, "id_attribute = \"uid\"", true).await;
    bob.token_is(&node, 200).await;
    // When it answers again, all is as before.
    look_as(&url, "", true).await;
    drop(ldap);
    clock.advance(Duration::from_secs(3600));
    directory::look(node.app()).await.unwrap_err();
    ann.token_is(&node, 200).await;
}

#[tokio::test]
async fn one_who_is_back_in_the_directory_is_let_in_again_and_one_who_is_blocked_is_not() {
    let ldap = TestDirectory::start().await;
    let more = "auto_create = true\nrequired_group = \"packages\"\nlook_every = \"1h\"";
    let (node, clock) = StoppedClock::node_with(settings(&ldap, &ldap.url(), more)).await;
    let (ann, bob) = (Known::new(&node, "ann").await, Known::new(&node, "bob").await);
    node.post(format!("/api/v4/users/{}/block", bob.user["id"]))
        .by("root")
        .send()
        .await
        .expect(201);
    ldap.leave("ann", "packages").await;
    directory::look(node.app()).await.unwrap();
    assert_eq!(state(&node, &ann.user).await, "ldap_blocked");
    assert_eq!(state(&node, &bob.user).await, "blocked");
    attempt(&node, "ann", PASSWORD).send().await.expect(403);
    ann.token_is(&node, 401).await;
    ldap.join("ann", "packages").await;
    // By the next look, or by signing in before.
    clock.advance(Duration::from_secs(3600));
    directory::look(node.app()).await.unwrap();
    assert_eq!(state(&node, &ann.user).await, "active");
    ann.token_is(&node, 200).await;
    ann.session_is(&node, 401).await;
    ldap.leave("ann", "packages").await;
    clock.advance(Duration::from_secs(3600));
    directory::look(node.app()).await.unwrap();
    ldap.join("ann", "packages").await;
    user(&node, "ann").await;
    ann.token_is(&node, 200).await;

    attempt(&node, "bob", PASSWORD).send().await.expect(403);
    clock.advance(Duration::from_secs(3600));
    directory::look(node.app()).await.unwrap();
    assert_eq!(state(&node, &bob.user).await, "blocked");
}

#[tokio::test]
async fn a_directory_that_is_away_is_no_wrong_password() {
    let ldap = TestDirectory::start().await;
    let node = node(&ldap, "auto_create = true").await;
    set_password(&node, "guest", LOCAL).await;
    // The account by which we search has another password by now.
    std::fs::write(ldap.folder().join("password"), "another").unwrap();
    attempt(&node, "ann", PASSWORD).send().await.expect(503);
    std::fs::write(ldap.folder().join("password"), "\n").unwrap();
    let before = ldap.binds().await;
    attempt(&node, "ann", PASSWORD).send().await.expect(503);
    assert_eq!(ldap.binds().await - before, 1);
    drop(ldap);
    let away = attempt(&node, "ann", PASSWORD).send().await.expect(503);
    assert!(
        away.text().contains("directory") && !away.header("retry-after").is_empty(),
        "{away:?}"
    );
    attempt(&node, "guest", LOCAL).send().await.expect(201);
    node.get("/api/v4/user").by("guest").send().await.expect(200);
}

#[tokio::test]
async fn without_passwords_of_our_own_the_directory_still_lets_people_in() {
    let ldap = TestDirectory::start().await;
    let mut settings = settings(&ldap, &ldap.url(), "auto_create = true");
    settings.auth.passwords = false;
    let node = TestNode::with(settings).await;
    set_password(&node, "guest", LOCAL).await;
    attempt(&node, "guest", LOCAL).send().await.expect(401);
    user(&node, "ann").await;
}

#[tokio::test]
async fn no_password_of_the_directory_is_ever_logged() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let logging = tracing::subscriber::set_default(subscriber);
    let ldap = TestDirectory::start().await;
    let node = node(&ldap, "auto_create = true").await;
    tracing::callsite::rebuild_interest_cache();
    user(&node, "ann").await;
    attempt(&node, "ann", "canary horse").send().await.expect(401);
    attempt(&node, "twin", PASSWORD).send().await.expect(401);
    directory::look(node.app()).await.unwrap();
    std::fs::write(ldap.folder().join("password"), "canary").unwrap();
    attempt(&node, "ann", PASSWORD).send().await.expect(503);
    drop(logging);
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for said in [
        "looked through the directory",
        "several entries",
        "does not take the password of cn=cairn",
    ] {
        assert!(logged.contains(said), "{said}: {logged}");
    }
    let shown = format!("{:?}", node.app().http().auth.directory);
    for secret in [PASSWORD, "canary", READER.1] {
        assert!(!logged.contains(secret), "{secret} is logged");
        assert!(!shown.contains(secret), "{secret} is shown");
    }
}

#[tokio::test]
async fn the_manual_does_what_it_says() {
    let ldap = TestDirectory::start().await;
    let section = MANUAL.split("\n## By a directory\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let here = |text: &str| {
        let folder = ldap.folder().display().to_string();
        text.replace("ldaps://ldap.example.com", &ldap.tls_url())
            .replace("/etc/cairn/directory.pem", &format!("{folder}/authority.pem"))
            .replace("/etc/cairn/directory-password", &format!("{folder}/password"))
    };
    std::fs::write(ldap.folder().join("password"), READER.1).unwrap();
    let [configuration] = blocks(section, "toml").try_into().unwrap();
    let node = TestNode::with(of_text(&here(&configuration))).await;
    assert_eq!(user(&node, "ann").await["is_admin"], true);
    assert_eq!(user(&node, "bob").await["is_admin"], false);
    attempt(&node, "eve", PASSWORD).send().await.expect(403);

    // What finds the id that a user is to be linked with.
    let [search] = blocks(section, "console").try_into().unwrap();
    let command = search.trim_start_matches("$ ");
    let bash = Client::of_system("bash").with("LDAPTLS_CACERT", ldap.folder().join("authority.pem"));
    let ran = bash.ok(bash.home(), &["-euc", &here(command)]).await;
    ran.says(&format!("entryUUID: {}", ldap.id("ann").await));
}
