//! Groups, the instance and searches: what is shown to whom.

use super::*;

#[tokio::test]
async fn searches_find_by_name_keyword_and_description() {
    let node = TestNode::start().await;
    let publish = async |name: &str, about: Value| {
        Draft::new(name, "1.0.0")
            .with(about)
            .publish(&node)
            .await
            .expect(201);
    };
    publish(
        "@acme/left-pad",
        json!({"description": "pads a string", "keywords": ["text"]}),
    )
    .await;
    publish("pad", json!({"description": "for writing"})).await;
    publish("other", json!({"description": "nothing", "keywords": ["pad"]})).await;
    let search = async |query: &str| {
        let answer = node
            .get(format!("{BASE}/-/v1/search?{query}"))
            .by("reporter")
            .send()
            .await
            .expect(200);
        let found = answer.json();
        let names = found["objects"].as_array().unwrap().iter();
        let names: Vec<String> = names
            .map(|object| object["package"]["name"].as_str().unwrap().into())
            .collect();
        (names.join(" "), found["total"].as_u64().unwrap())
    };
    assert_eq!(search("text=pad").await, ("pad @acme/left-pad other".into(), 3));
    assert_eq!(
        search("text=pad&size=1&from=1").await,
        ("@acme/left-pad".into(), 3)
    );
    assert_eq!(search("text=pad+string").await, ("@acme/left-pad".into(), 1));
    assert_eq!(search("text=keywords:text").await, ("@acme/left-pad".into(), 1));
    assert_eq!(search("text=nobody").await, (String::new(), 0));
    assert_eq!(search("").await.1, 3);
    assert_eq!(search("text=pad&size=4294967295&from=4294967295").await.1, 3);
    let wrong = format!("{BASE}/-/v1/search?size=-1");
    node.get(wrong).by("reporter").send().await.expect(400);
}

#[tokio::test]
async fn groups_and_the_instance_show_what_the_caller_may_see() {
    let node = TestNode::start().await;
    let publish = async |project: u64, draft: Draft| {
        let target = format!(
            "/api/v4/projects/{project}/packages/npm/{}",
            draft.name.replace('/', "%2f")
        );
        node.put(target)
            .by("developer")
            .json(&draft.document())
            .send()
            .await
            .expect(201);
    };
    publish(1, Draft::new("@acme/left", "1.0.0")).await;
    publish(1, Draft::new("@acme/left", "1.1.0").content(b"of project 1")).await;
    publish(2, Draft::new("@acme/left", "1.1.0").content(b"of project 2")).await;
    publish(2, Draft::new("@acme/left", "2.0.0").tag("next")).await;
    publish(1, Draft::new("only-private", "1.0.0")).await;
    let bases = ["/api/v4/groups/acme/-/packages/npm", "/api/v4/packages/npm"];
    for base in bases {
        let target = format!("{base}/@acme%2fleft");
        let merged = node.get(&target).by("reporter").send().await.expect(200).json();
        assert_eq!(versions(&merged).len(), 3);
        // The newest project comes first.
        assert_eq!(merged["dist-tags"], json!({"latest": "1.1.0", "next": "2.0.0"}));
        assert_eq!(merged["time"].as_object().unwrap().len(), 5);
        let url = merged["versions"]["1.1.0"]["dist"]["tarball"].as_str().unwrap();
        assert_eq!(
            url,
            format!("http://cairn.example{base}/@acme/left/-/left-1.1.0.tgz")
        );
        let tarball = node
            .get(url.strip_prefix("http://cairn.example").unwrap())
            .by("reporter")
            .send()
            .await
            .expect(200);
        assert_eq!(
            tarball.body,
            Draft::new("@acme/left", "1.1.0")
                .content(b"of project 2")
                .tarball()
        );
        assert_eq!(
            merged["versions"]["1.1.0"]["dist"]["shasum"],
            hex(&Sha1::digest(&tarball.body))
        );
        node.get(format!("{target}/1.0.0"))
            .by("reporter")
            .send()
            .await
            .expect(200);
        node.get(format!("{base}/-/package/@acme%2fleft/dist-tags"))
            .by("reporter")
            .send()
            .await
            .expect(200);
        node.get(format!("{base}/@acme%2fright"))
            .by("reporter")
            .send()
            .await
            .expect(404);
        node.get(format!("{base}/@acme%2fright")).send().await.expect(401);
        // A stranger sees the public project alone, with other entity tags.
        let public = node.get(&target).by("stranger").send().await;
        if base.contains("packages/npm") && !base.contains("groups") {
            let public = public.expect(200).json();
            assert_eq!(versions(&public), ["1.1.0", "2.0.0"]);
        } else {
            public.expect(404);
        }
        let found = node
            .get(format!("{base}/-/v1/search?text=left"))
            .by("reporter")
            .send()
            .await
            .expect(200);
        assert_eq!(found.json()["total"], 2);
        // Packages are published to projects.
        let document = Draft::new("@acme/new", "1.0.0").document();
        node.put(format!("{base}/@acme%2fnew"))
            .by("owner")
            .json(&document)
            .send()
            .await
            .expect(405);
        node.get(format!("{base}/-/ping"))
            .by("reporter")
            .send()
            .await
            .expect(200);
        node.get(format!("{base}/-/whoami"))
            .by("reporter")
            .send()
            .await
            .expect(200);
    }
    // A name without a scope does not say which root group it belongs to.
    node.get("/api/v4/packages/npm/only-private")
        .by("reporter")
        .send()
        .await
        .expect(404);
    node.get("/api/v4/groups/acme/-/packages/npm/only-private")
        .by("reporter")
        .send()
        .await
        .expect(200);
}

#[tokio::test]
async fn nobody_learns_what_is_not_theirs() {
    let node = TestNode::start().await;
    Draft::new("left", "1.0.0").publish(&node).await.expect(201);
    let reads = [
        "/left",
        "/unknown",
        "/left/1.0.0",
        "/left/-/left-1.0.0.tgz",
        "/-/package/left/dist-tags",
        "/-/package/left/collaborators",
        "/-/package/left/visibility",
        "/-/v1/search?text=left",
        "/-/ping",
        "/-/npm/v1/attestations/left@1.0.0",
        "/-/npm/v1/keys",
    ];
    for tail in reads {
        for project in ["1", "999", "acme%2Fnothing"] {
            let target = format!("/api/v4/projects/{project}/packages/npm{tail}");
            let anonymous = node.get(&target).send().await.expect(401);
            assert_eq!(
                anonymous.header("www-authenticate"),
                "Bearer realm=\"cairn\"",
                "{target}"
            );
            assert!(anonymous.json()["error"].is_string());
            node.get(&target).by("stranger").send().await.expect(404);
        }
        node.get(format!("{BASE}{tail}"))
            .by("guest")
            .send()
            .await
            .expect(403);
        let wrong = node
            .get(format!("/api/v4/projects/2/packages/npm{tail}"))
            .bearer("wrong")
            .send()
            .await;
        wrong.expect(401);
    }
    let rev = revision(&node, "left").await;
    let document = Draft::new("left", "1.1.0").document();
    let writes = [
        (Method::PUT, "/left".to_owned()),
        (Method::PUT, format!("/left/-rev/{rev}")),
        (Method::DELETE, format!("/left/-rev/{rev}")),
        (Method::DELETE, format!("/left/-/left-1.0.0.tgz/-rev/{rev}")),
        (Method::PUT, "/-/package/left/dist-tags/x".to_owned()),
        (Method::DELETE, "/-/package/left/dist-tags/x".to_owned()),
        (Method::POST, "/-/package/left/access".to_owned()),
    ];
    for (method, tail) in writes {
        let target = format!("{BASE}{tail}");
        for (caller, status) in [
            ("anonymous", 401),
            ("stranger", 404),
            ("guest", 403),
            ("reporter", 403),
            ("deploy-read", 403),
        ] {
            let answer = node
                .request(method.clone(), &target)
                .by(caller)
                .json(&document)
                .send()
                .await;
            assert_eq!(
                answer.status,
                status,
                "{method} {target} by {caller}: {}",
                answer.text()
            );
        }
    }
    assert_eq!(versions(&full(&node, "left").await), ["1.0.0"]);
    // The public project is for everyone to read.
    let open = "/api/v4/projects/2/packages/npm";
    let draft = Draft::new("open", "1.0.0");
    node.put(format!("{open}/open"))
        .by("developer")
        .json(&draft.document())
        .send()
        .await
        .expect(201);
    node.get(format!("{open}/open")).send().await.expect(200);
    node.get(format!("{open}/open/-/open-1.0.0.tgz"))
        .send()
        .await
        .expect(200);
    node.get(format!("{open}/unknown")).send().await.expect(404);
    node.put(format!("{open}/open"))
        .json(&draft.document())
        .send()
        .await
        .expect(401);
    node.put(format!("{open}/open"))
        .by("stranger")
        .json(&draft.document())
        .send()
        .await
        .expect(403);
    // Deploy tokens do what their scopes say.
    Draft::new("deployed", "1.0.0")
        .publish_by(&node, "deploy-write")
        .await
        .expect(201);
    node.get(path("deployed"))
        .by("deploy-read")
        .send()
        .await
        .expect(200);
}
