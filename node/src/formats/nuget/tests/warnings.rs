//! What is said against versions: deprecations, and advisories that audits find.

use super::*;

async fn deprecate(node: &TestNode, id: &str, body: Value) -> Answer {
    let target = format!("{BASE}/v2/package/{id}/deprecations");
    node.put(target).by("developer").json(&body).send().await
}

async fn advise(node: &TestNode, target: &str, affected: &str, severity: &str) -> Answer {
    let link = format!("https://acme.example/{target}");
    let advisory = json!({"affectedVersions": affected, "severity": severity, "link": link});
    let request = node.put(format!("{BASE}/advisories/{target}")).by("developer");
    request.json(&advisory).send().await
}

/// What the registration says against each version, through another node.
async fn against(node: &TestNode, id: &str, what: &str) -> Vec<Value> {
    let registration = told(&node.sibling(), &format!("metadata/{id}/index.json")).await;
    let leaves = registration["items"][0]["items"].as_array().unwrap().iter();
    leaves.map(|leaf| leaf["catalogEntry"][what].clone()).collect()
}

#[tokio::test]
async fn versions_are_deprecated_and_used_again() {
    let node = TestNode::start().await;
    publish_all(&node, "Acme.Lib", &["1.0.0", "1.1.0", "2.0.0"]).await;
    assert_eq!(
        against(&node, "acme.lib", "deprecation").await,
        [Value::Null, Value::Null, Value::Null]
    );
    let said = json!({
        "versions": ["1.0", "1.1.0"], "isLegacy": true, "isOther": true, "message": "see the site",
        "alternatePackageId": "Acme.Next", "alternatePackageVersion": "2.0",
    });
    deprecate(&node, "acme.LIB", said).await.expect(200);
    let expected = json!({
        "reasons": ["Legacy", "Other"], "message": "see the site",
        "alternatePackage": {"id": "Acme.Next", "range": "[2.0.0, )"},
    });
    let deprecations = against(&node, "acme.lib", "deprecation").await;
    assert_eq!(deprecations, [expected.clone(), expected.clone(), Value::Null]);
    // The version by itself, and searches, which tell of the newest, say it too.
    let leaf = told(&node, "metadata/acme.lib/1.0.0.json").await;
    assert_eq!(leaf["catalogEntry"]["deprecation"], expected);
    let newest = json!({"versions": ["2.0.0"], "hasCriticalBugs": true});
    deprecate(&node, "Acme.Lib", newest).await.expect(200);
    let search = told(&node, "query?q=acme").await;
    assert_eq!(
        search["data"][0]["deprecation"],
        json!({"reasons": ["CriticalBugs"]})
    );
    deprecate(&node, "Acme.Lib", json!({"versions": ["1.0.0", "2.0.0"]}))
        .await
        .expect(200);
    let deprecations = against(&node, "acme.lib", "deprecation").await;
    assert_eq!(deprecations, [Value::Null, expected.clone(), Value::Null]);
    // A version that is deleted takes what was said of it along, and brings it back.
    let (id, _) = numbers(&node, "1.1.0").await;
    removal::delete(&node, &id.to_string()).await;
    let deprecations = against(&node, "acme.lib", "deprecation").await;
    assert_eq!(deprecations, [Value::Null, Value::Null]);
    removal::restore_all(&node).await;
    let deprecations = against(&node, "acme.lib", "deprecation").await;
    assert_eq!(deprecations, [Value::Null, expected, Value::Null]);
}

#[tokio::test]
async fn deprecations_that_clients_could_not_tell_are_refused() {
    let node = TestNode::start().await;
    publish(&node, "Acme.Lib", "1.0.0").await;
    for (body, status) in [
        (json!({"versions": [], "isLegacy": true}), 400),
        (json!({"versions": vec!["1.0"; 101], "isLegacy": true}), 400),
        (json!({"versions": ["x"], "isLegacy": true}), 400),
        (json!({"versions": ["1.0"], "isOther": true}), 400),
        (json!({"versions": ["1.0"], "message": "why"}), 400),
        (
            json!({"versions": ["1.0"], "isLegacy": true, "alternatePackageVersion": "1.0"}),
            400,
        ),
        (
            json!({"versions": ["1.0"], "isLegacy": true, "message": "x".repeat(501)}),
            400,
        ),
        (json!({"versions": ["1.0"], "isLegacy": true, "more": 1}), 400),
        (json!({"versions": ["1.0", "9.0"], "isLegacy": true}), 404),
    ] {
        deprecate(&node, "Acme.Lib", body).await.expect(status);
    }
    deprecate(&node, "Acme.None", json!({"versions": ["1.0"], "isLegacy": true}))
        .await
        .expect(404);
    assert_eq!(against(&node, "acme.lib", "deprecation").await, [Value::Null]);
}

#[tokio::test]
async fn audits_find_the_advisories_on_packages_that_are_here() {
    let node = TestNode::start().await;
    advise(&node, "Acme.Lib/A-1", "", "low").await.expect(404);
    publish_all(&node, "Acme.Lib", &["1.0.0", "1.1.0", "2.0.0"]).await;
    publish(&node, "Acme.Sound", "1.0.0").await;
    let index = told(&node, "vulnerabilities/index.json").await;
    let before = index[0]["@updated"].as_str().unwrap().to_owned();
    assert_eq!(told(&node, "vulnerabilities/base.json").await, json!({}));
    advise(&node, "Acme.Lib/A-1", "(,1.1)", "high").await.expect(201);
    advise(&node, "acme.lib/A-2", "[1.0,3.0)", "medium")
        .await
        .expect(201);
    advise(&node, "acme.lib/A-2", "[1.1,2.0)", "critical")
        .await
        .expect(200);
    let told_of = json!({"acme.lib": [
        {"severity": 2, "url": "https://acme.example/Acme.Lib/A-1", "versions": "(, 1.1.0)"},
        {"severity": 3, "url": "https://acme.example/acme.lib/A-2", "versions": "[1.1.0, 2.0.0)"},
    ]});
    for base in [BASE, GROUP] {
        let at = async |path: &str| {
            let request = node.get(path).by("reporter");
            request.send().await.expect(200)
        };
        let index = at(&format!("{base}/vulnerabilities/index.json")).await.json();
        assert!(index[0]["@updated"].as_str().unwrap() > before.as_str());
        let page = index[0]["@id"].as_str().unwrap().strip_prefix(HOST).unwrap();
        assert_eq!(page, format!("{base}/vulnerabilities/base.json"));
        let page = at(page).await;
        assert_eq!(page.json(), told_of, "{base}");
        let again = node
            .get(format!("{base}/vulnerabilities/base.json"))
            .by("reporter");
        again
            .header("if-none-match", page.header("etag"))
            .send()
            .await
            .expect(304);
    }
    let high = json!([{"advisoryUrl": "https://acme.example/Acme.Lib/A-1", "severity": "2"}]);
    let critical = json!([{"advisoryUrl": "https://acme.example/acme.lib/A-2", "severity": "3"}]);
    assert_eq!(
        against(&node, "acme.lib", "vulnerabilities").await,
        [high, critical, Value::Null]
    );
    let listed = told(&node, "advisories/ACME.lib").await;
    assert_eq!(
        (&listed[0]["id"], &listed[1]["severity"]),
        (&json!("A-1"), &json!("critical"))
    );
    for (target, status) in [
        ("Acme.lib/A-2", 204),
        ("acme.lib/A-2", 404),
        ("acme.sound/A-1", 404),
    ] {
        let request = node.delete(format!("{BASE}/advisories/{target}")).by("developer");
        request.send().await.expect(status);
    }
    assert_eq!(
        told(&node, "vulnerabilities/base.json").await["acme.lib"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_group_tells_what_is_known_of_the_packages_that_it_gives() {
    let node = TestNode::start().await;
    let other = BASE.replace("projects/1", "projects/2");
    let all = async || {
        let request = node
            .get(format!("{GROUP}/vulnerabilities/base.json"))
            .by("reporter");
        let told = request.send().await.expect(200).json();
        let told = told.as_object().unwrap().iter();
        told.map(|(package, told)| format!("{package} {}", told[0]["severity"]))
            .collect::<Vec<_>>()
    };
    let said = async |base: &str, package: &str, severity: &str| {
        let advisory = json!({"affectedVersions": "", "severity": severity, "link": "https://acme.example/"});
        let target = format!("{base}/advisories/{package}/A-1");
        let request = node.put(target).by("root");
        request.json(&advisory).send().await.expect(201);
    };
    let published = async |base: &str, package: &str| {
        let target = format!("{base}/v2/package/");
        put_by(&node, &target, "root", &package_of(package, "1.0.0"))
            .await
            .expect(201);
    };
    published(&other, "Acme.Lib").await;
    said(&other, "Acme.Lib", "high").await;
    assert_eq!(all().await, ["acme.lib 2"]);
    // What somebody says of a package of their own that nobody is given there does not count.
    published(BASE, "Acme.Lib").await;
    published(BASE, "Acme.More").await;
    said(BASE, "Acme.Lib", "low").await;
    said(BASE, "Acme.More", "low").await;
    assert_eq!(all().await, ["acme.lib 2", "acme.more 0"]);
    assert_eq!(
        told(&node, "vulnerabilities/base.json").await["acme.lib"][0]["severity"],
        0
    );
}

#[tokio::test]
async fn advisories_that_clients_could_not_read_are_refused() {
    let node = TestNode::start().await;
    publish(&node, "Acme.Lib", "1.0.0").await;
    advise(&node, "Acme.Lib/A-1", "[2.0,1.0", "low").await.expect(400);
    advise(&node, "Acme.Lib/A-1", "", "bad").await.expect(400);
    advise(&node, "Acme.Lib/A%201", "", "low").await.expect(400);
    let target = format!("{BASE}/advisories/Acme.Lib/A-1");
    let advisory = json!({"affectedVersions": "", "severity": "low", "link": "javascript:x"});
    node.put(target)
        .by("developer")
        .json(&advisory)
        .send()
        .await
        .expect(400);
    for number in 0..100 {
        advise(&node, &format!("Acme.Lib/A-{number}"), "", "low")
            .await
            .expect(201);
    }
    advise(&node, "Acme.Lib/A-100", "", "low").await.expect(422);
    assert_eq!(
        told(&node, "advisories/acme.lib").await.as_array().unwrap().len(),
        100
    );
}

#[tokio::test]
async fn who_may_not_publish_a_protected_package_may_not_say_anything_against_it() {
    let node = TestNode::start().await;
    publish(&node, "Acme.Lib", "1.0.0").await;
    let advised = async || advise(&node, "Acme.Lib/A-1", "[1.0,2.0)", "high").await.status;
    assert_eq!(advised().await, 201);
    let rule = json!({
        "package_name_pattern": "acme.lib", "package_type": "nuget", "minimum_access_level_for_push": "maintainer",
    });
    node.protect("packages", &rule).await.expect(201);
    assert_eq!(advised().await, 403);
    let target = format!("{BASE}/advisories/Acme.Lib/A-1");
    node.delete(&target).by("developer").send().await.expect(403);
    let old = json!({"versions": ["1.0.0"], "isLegacy": true});
    deprecate(&node, "Acme.Lib", old).await.expect(403);
    node.delete(&target).by("maintainer").send().await.expect(204);
}
