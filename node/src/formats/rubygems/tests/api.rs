//! What bots and people ask, owners, and signing in.

use serde_json::json;

use super::*;

#[tokio::test]
async fn a_gem_is_described_by_its_highest_release() {
    let node = TestNode::start().await;
    for version in ["1.9", "1.10", "2.0.rc1"] {
        publish(&node, "acme", version).await;
    }
    let about = get(&node, "api/v1/gems/acme.json").await.expect(200).json();
    let gem = gem_of("acme", "1.10");
    for (field, expected) in [
        ("name", json!("acme")),
        ("version", json!("1.10")),
        ("platform", json!("ruby")),
        ("authors", json!("Ann")),
        ("info", json!("Does acme")),
        ("licenses", json!(["MIT"])),
        ("sha", json!(sha256(&gem))),
        ("yanked", json!(false)),
        ("homepage_uri", json!("https://acme.example/acme")),
        (
            "dependencies",
            json!({"development": [], "runtime": [{"name": "rack", "requirements": "< 3, >= 1"}]}),
        ),
    ] {
        assert_eq!(about[field], expected, "{field}");
    }
    let uri = about["gem_uri"].as_str().unwrap();
    let (_, path) = uri.split_once("cairn.example").unwrap();
    assert_eq!(node.get(path).by("reporter").send().await.expect(200).body, gem);

    let versions = get(&node, "api/v1/versions/acme.json").await.expect(200).json();
    let versions: Vec<_> = versions
        .as_array()
        .unwrap()
        .iter()
        .map(|version| version["number"].clone())
        .collect();
    assert_eq!(versions, ["2.0.rc1", "1.10", "1.9"]);
    let latest = get(&node, "api/v1/versions/acme/latest.json").await.expect(200);
    assert_eq!(latest.json(), json!({"version": "1.10"}));
    let latest = get(&node, "api/v1/versions/none/latest.json").await.expect(200);
    assert_eq!(latest.json(), json!({"version": "unknown"}));
    let one = get(&node, "api/v2/rubygems/acme/versions/1.9.json")
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&one["number"], &one["ruby_version"]),
        (&json!("1.9"), &json!(">= 2.7"))
    );
    for path in [
        "api/v1/gems/none.json",
        "api/v1/gems/acme",
        "api/v1/versions/none.json",
        "api/v2/rubygems/acme/versions/9.json",
        "api/v2/rubygems/acme/versions/x.json",
        "api/v2/rubygems/acme/versions/1.9.json?platform=java",
    ] {
        assert_eq!(
            get(&node, path).await.expect(404).text(),
            "This gem could not be found"
        );
    }
}

#[tokio::test]
async fn old_clients_ask_what_versions_need() {
    let node = TestNode::start().await;
    for version in ["1.0", "1.1.rc1", "1.2"] {
        publish(&node, "acme", version).await;
    }
    yank(&node, "gem_name=acme&version=1.2", "developer")
        .await
        .expect(200);
    push(&node, &gem_for("other", "2.0", "java")).await.expect(200);
    for base in [BASE, GROUP, INSTANCE] {
        let ask = async |names: &str| {
            let target = format!("{base}/api/v1/dependencies{names}");
            node.get(target).by("reporter").send().await
        };
        // Whether they may ask.
        assert!(ask("").await.expect(200).body.is_empty());
        let answer = ask("?gems=other,acme,none,acme,..").await.expect(200);
        assert_eq!(answer.header("content-type"), "application/octet-stream");
        // Three hashes, the first with name, number, platform, dependencies.
        let begins = b"\x04\x08[\x08{\x09:\tnameI\"\tacme\x06:\x06ET:\x0bnumberI\"\x081.0\x06;\x06T";
        assert!(answer.body.starts_with(begins), "{:?}", answer.body);
        for part in ["1.1.rc1", "other", "java", "< 3, >= 1"] {
            assert!(holds(&answer.body, part), "{part}");
        }
        assert!(!holds(&answer.body, "1.2"));
        let none = ask("?gems=none").await.expect(200).body;
        assert_eq!(&none[..], b"\x04\x08[\x00");
        let many: Vec<String> = (0..201).map(|number| format!("a{number}")).collect();
        let refused = ask(&format!("?gems={}", many.join(","))).await.expect(422);
        assert_eq!(refused.text(), "ask about at most 200 gems at a time");
        ask(&format!("?gems={}", many[1..].join(","))).await.expect(200);
        // What is published later is told at once.
        let before = ask("?gems=acme,later").await.expect(200).body;
        assert!(!holds(&before, "later"));
    }
    publish(&node, "later", "1.0").await;
    let after = get(&node, "api/v1/dependencies?gems=acme,later")
        .await
        .expect(200);
    assert!(holds(&after.body, "later"));
}

#[tokio::test]
async fn gems_are_found_by_words() {
    let node = TestNode::start().await;
    for name in ["acme", "acme-web", "other"] {
        publish(&node, name, "1.0").await;
    }
    let found = async |base: &str, query: &str| -> Vec<String> {
        let request = node
            .get(format!("{base}/api/v1/search.json?query={query}"))
            .by("reporter");
        let found = request.send().await.expect(200).json();
        let found = found.as_array().unwrap().iter();
        found
            .map(|gem| gem["name"].as_str().unwrap().to_owned())
            .collect()
    };
    for base in [BASE, GROUP, INSTANCE] {
        assert_eq!(found(base, "Acme").await, ["acme", "acme-web"]);
        assert_eq!(found(base, "web%20acme").await, ["acme-web"]);
        assert_eq!(found(base, "does").await.len(), 3);
        assert!(found(base, "acme&page=2").await.is_empty());
        assert!(found(base, "none").await.is_empty());
    }
}

/// Adds somebody to the owners of `acme`, or removes them.
async fn change_owner(node: &TestNode, method: axum::http::Method, who: &str) -> Answer {
    let target = format!("{BASE}/api/v1/gems/acme/owners");
    let request = node.request(method, target).by("developer");
    request.body(format!("email={who}")).send().await
}

#[tokio::test]
async fn owners_are_users_whom_to_ask() {
    let node = TestNode::start().await;
    publish(&node, "acme", "1.0").await;
    let change = async |method, who: &str| change_owner(&node, method, who).await;
    let (add, remove) = (axum::http::Method::POST, axum::http::Method::DELETE);
    let owners = async || {
        get(&node, "api/v1/gems/acme/owners.yaml")
            .await
            .expect(200)
            .text()
            .to_owned()
    };
    assert!(owners().await.contains("handle: \"developer\""));
    let added = change(add.clone(), "guest").await.expect(200);
    assert_eq!(
        added.text(),
        "Owner added successfully. Who may push is decided by the roles in acme/demo."
    );
    let json = get(&node, "api/v1/gems/acme/owners.json")
        .await
        .expect(200)
        .json();
    assert_eq!(json[1]["handle"], "guest");
    let unknown = change(add, "nobody").await.expect(404);
    assert_eq!(unknown.text(), "there is no user `nobody`");
    change(remove.clone(), "developer").await.expect(200);
    assert!(!owners().await.contains("developer"));
    let last = change(remove, "guest").await.expect(422);
    assert_eq!(last.text(), "the last owner cannot be removed");
    get(&node, "api/v1/gems/none/owners.yaml").await.expect(404);
}

#[tokio::test]
async fn an_owner_is_named_by_the_mail_address_of_a_member_and_of_nobody_else() {
    let node = TestNode::start().await;
    publish(&node, "acme", "1.0").await;
    let change = async |method, who: &str| change_owner(&node, method, who).await;
    let add = async |who: &str| change(axum::http::Method::POST, who).await;
    let handles = async || {
        let owners = get(&node, "api/v1/gems/acme/owners.json")
            .await
            .expect(200)
            .json();
        let handles = owners.as_array().unwrap().iter();
        handles
            .map(|owner| owner["handle"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    // A member of the group above is one; letters are as in addresses, either case.
    add("Guest%40cairn.example").await.expect(200);
    assert_eq!(handles().await, ["developer", "guest"]);
    change(axum::http::Method::DELETE, "guest%40cairn.example")
        .await
        .expect(200);
    assert_eq!(handles().await, ["developer"]);
    // That somebody else has the address is not told.
    for address in ["stranger@cairn.example", "nobody@cairn.example"] {
        let named = address.replace('@', "%40");
        let unknown = add(&named).await.expect(404);
        assert_eq!(
            unknown.text(),
            format!("no member of acme/demo has the address `{address}`; name others by their usernames")
        );
    }
    add("%40").await.expect(404);
    // Two say that it is theirs.
    let users = node.get("/api/v4/users?username=reporter").by("root").send();
    let reporter = users.await.expect(200).json()[0]["id"].as_u64().unwrap();
    let same = serde_json::json!({"email": "guest@cairn.example"});
    node.put(format!("/api/v4/users/{reporter}"))
        .by("root")
        .json(&same)
        .send()
        .await
        .expect(200);
    let several = add("guest%40cairn.example").await.expect(422);
    assert!(several.text().contains("several members"), "{}", several.text());
    assert_eq!(handles().await, ["developer"]);
}

#[tokio::test]
async fn who_signs_in_gets_the_token_back_that_was_the_password() {
    let node = TestNode::start().await;
    let token = node.token("developer").to_owned();
    let sign_in = |password: &str| {
        let request = node
            .post(format!("{BASE}/api/v1/api_key"))
            .basic("dev@acme.example", password);
        request.body("name=laptop&push_rubygem=true").send()
    };
    let key = sign_in(&token).await.expect(200);
    assert_eq!(key.text(), token);
    assert_eq!(key.header("cache-control"), "no-store");
    sign_in("wrong").await.expect(401);
    node.post(format!("{BASE}/api/v1/api_key"))
        .send()
        .await
        .expect(401);
    node.get("/api/v4/projects/2/packages/rubygems/api/v1/api_key")
        .send()
        .await
        .expect(401);
    let profile = node
        .get(format!("{BASE}/api/v1/profile/me.yaml"))
        .basic("x", &token)
        .send()
        .await;
    assert_eq!(
        profile.expect(200).text(),
        "---\nhandle: \"developer\"\nmfa: disabled\n"
    );
}

#[tokio::test]
async fn errors_are_a_line_of_text() {
    let node = TestNode::start().await;
    let unsigned = node.get(format!("{BASE}/versions")).send().await.expect(401);
    assert_eq!(unsigned.header("www-authenticate"), "Basic realm=\"cairn\"");
    let refused = node
        .post(format!("{BASE}/api/v1/gems"))
        .by("reporter")
        .body("x")
        .send()
        .await;
    let refused = refused.expect(403);
    // This would make `gem` ask for a password.
    assert!(!refused.text().is_empty() && !refused.text().starts_with("The API key doesn't"));
    get(&node, "api/v1/webauthn_verification").await.expect(404);
}
