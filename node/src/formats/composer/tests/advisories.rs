//! Security advisories: who publishes them, and how audits find them.

use super::*;

async fn advise(node: &TestNode, name: &str, id: &str, affected: &str) -> Answer {
    let advisory = json!({
        "title": "reads too much", "affectedVersions": affected, "severity": "high", "cve": "CVE-2026-1",
        "link": "https://acme.example/1", "reportedAt": "2026-07-01T12:00:00Z",
    });
    let request = node.put(format!("{BASE}/advisories/{name}/{id}")).by("developer");
    request.json(&advisory).send().await
}

async fn audit(node: &TestNode, base: &str, form: &str) -> Value {
    let request = node.post(format!("{base}/security-advisories")).by("reporter");
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    request.body(form.to_owned()).send().await.expect(200).json()
}

#[tokio::test]
async fn audits_hear_of_the_packages_that_they_ask_about_alone() {
    let node = TestNode::start().await;
    for name in ["acme/foo", "acme/bar", "acme/sound"] {
        publish(&node, name, "1.0").await;
    }
    advise(&node, "acme/foo", "ACME-1", "<1.2").await.expect(201);
    advise(&node, "Acme/Foo", "ACME-2", ">=1.0,<1.1|2.0")
        .await
        .expect(201);
    advise(&node, "acme/bar", "ACME-3", "*").await.expect(201);
    let form = "packages%5B0%5D=acme%2Ffoo&packages%5B1%5D=acme%2Fsound&packages%5B2%5D=other%2Fx&packages%5B3%5D=php";
    for base in [BASE, GROUP, INSTANCE] {
        let answer = audit(&node, base, form).await;
        let all = answer["advisories"].as_object().unwrap();
        assert_eq!(all.keys().collect::<Vec<_>>(), ["acme/foo"], "{base}");
        assert_eq!(all["acme/foo"].as_array().unwrap().len(), 2);
        let first = &all["acme/foo"][0];
        assert_eq!(
            *first,
            json!({
                "advisoryId": "ACME-1", "packageName": "acme/foo", "title": "reads too much",
                "link": "https://acme.example/1", "cve": "CVE-2026-1", "affectedVersions": "<1.2",
                "reportedAt": "2026-07-01 12:00:00", "severity": "high",
                "sources": [{"name": "cairn", "remoteId": "ACME-1"}],
                "composerRepository": format!("http://cairn.example{base}"),
            })
        );
    }
    assert_eq!(audit(&node, BASE, "").await, json!({"advisories": {}}));
    // The short form is in every document of the package.
    let document = get(&node, "p2/acme/foo.json").await.expect(200).json();
    assert_eq!(
        document["security-advisories"],
        json!([{"advisoryId": "ACME-1", "affectedVersions": "<1.2"}, {"advisoryId": "ACME-2", "affectedVersions": ">=1.0,<1.1|2.0"}])
    );
    let none = get(&node, "p2/acme/sound.json").await.expect(200).json();
    assert_eq!(none["security-advisories"], json!([]));
}

#[tokio::test]
async fn installations_hear_which_versions_are_malware() {
    let node = TestNode::start().await;
    publish(&node, "acme/foo", "1.0").await;
    advise(&node, "acme/foo", "ACME-1", "<1.2").await.expect(201);
    let advisory = json!({
        "title": "sends files away", "affectedVersions": "1.0", "malware": true, "link": "https://acme.example/2",
    });
    let request = node
        .put(format!("{BASE}/advisories/acme/foo/ACME-2"))
        .by("developer");
    let answer = request.json(&advisory).send().await.expect(201).json();
    assert_eq!(answer["malware"], true);
    let entry = json!({
        "constraint": "1.0", "url": "https://acme.example/2", "reason": "sends files away", "id": "ACME-2",
    });
    let mut told = entry.clone();
    told["package"] = "acme/foo".into();
    for base in [BASE, GROUP, INSTANCE] {
        let root = node.get(format!("{base}/packages.json")).by("reporter");
        let root = root.send().await.expect(200).json();
        assert_eq!(root["filter"]["lists"], json!({"malware": {"enabled": true}}));
        let target = root["filter"]["api-url"].as_str().unwrap();
        let target = target.strip_prefix("http://cairn.example").unwrap();
        let ask = async |body: Value, status| {
            let request = node.post(target).by("reporter").json(&body);
            request.send().await.expect(status).json()
        };
        let packages = json!([
            "pkg://composer/acme/foo",
            "pkg://composer/other/x",
            "pkg://npm/acme/foo",
            "php"
        ]);
        assert_eq!(
            ask(json!({"packages": packages, "lists": ["malware", "other"]}), 200).await,
            json!({"filter": {"malware": [told]}})
        );
        for (packages, lists, answer) in [
            (packages.clone(), json!(["other"]), json!({})),
            (json!([]), json!(["malware"]), json!({"malware": []})),
        ] {
            let body = json!({"packages": packages, "lists": lists});
            assert_eq!(ask(body, 200).await, json!({ "filter": answer }));
        }
        let many: Vec<_> = (0..10_001)
            .map(|number| format!("pkg://composer/a/{number}"))
            .collect();
        ask(json!({"packages": many, "lists": ["malware"]}), 413).await;
    }
    let document = get(&node, "p2/acme/foo.json").await.expect(200).json();
    assert_eq!(document["filter"], json!({"malware": [entry]}));
    // To those that do not know the list, it is an advisory.
    assert_eq!(document["security-advisories"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_advisory_is_changed_and_taken_back() {
    let node = TestNode::start().await;
    advise(&node, "acme/foo", "A-1", "*").await.expect(404);
    publish(&node, "acme/foo", "1.0").await;
    advise(&node, "acme/foo", "A-1", "*").await.expect(201);
    advise(&node, "acme/foo", "A-1", "<1.0").await.expect(200);
    let listed = get(&node, "advisories/acme/foo").await.expect(200).json();
    assert_eq!(
        (listed.as_array().unwrap().len(), &listed[0]["affectedVersions"]),
        (1, &json!("<1.0"))
    );
    for (target, status) in [
        ("acme/foo/A-1", 204),
        ("acme/foo/A-1", 404),
        ("acme/bar/A-1", 404),
        ("acme/foo/", 404),
    ] {
        let request = node.delete(format!("{BASE}/advisories/{target}")).by("developer");
        request.send().await.expect(status);
    }
    assert_eq!(
        get(&node, "advisories/acme/foo").await.expect(200).json(),
        json!([])
    );
    get(&node, "advisories/acme/bar").await.expect(404);
    get(&node, "advisories/acme/-").await.expect(404);
}

#[tokio::test]
async fn an_advisory_that_clients_could_not_read_is_refused() {
    let node = TestNode::start().await;
    publish(&node, "acme/foo", "1.0").await;
    let put = async |id: &str, body: Value, status: u16| {
        let request = node
            .put(format!("{BASE}/advisories/acme/foo/{id}"))
            .by("developer");
        message(&request.json(&body).send().await.expect(status))
    };
    let told = put("A-1", json!({"title": "x", "affectedVersions": "<<1"}), 400).await;
    assert!(told.contains("is none that Composer reads"), "{told}");
    put("A%201", json!({"title": "x", "affectedVersions": "*"}), 400).await;
    put(
        "A-1",
        json!({"title": "x".repeat(501), "affectedVersions": "*"}),
        400,
    )
    .await;
    for number in 0..100 {
        advise(&node, "acme/foo", &format!("A-{number}"), "*")
            .await
            .expect(201);
    }
    let told = put("A-100", json!({"title": "x", "affectedVersions": "*"}), 422).await;
    assert!(told.contains("100 advisories on acme/foo already"), "{told}");
    let many: Vec<_> = (0..20_000)
        .map(|number| format!("packages[]=a/{number}"))
        .collect();
    let request = node.post(format!("{BASE}/security-advisories")).by("reporter");
    request.body(many.join("&")).send().await.expect(413);
}
