//! Publishing: documents, provenance, the same version twice or at once, and what is refused.

use super::*;
use crate::formats::npm::provenance::tests::bundle;
use crate::http::settings::HttpSettings;

#[tokio::test]
async fn a_published_version_is_there_on_every_node_at_once() {
    let (node, draft) = (TestNode::start().await, Draft::new("@acme/left", "1.0.0"));
    let draft = draft.with(json!({
        "description": "pads", "license": "MIT", "main": "x.js", "dependencies": {"right": "^1.0.0"},
        "scripts": {"postinstall": "true"},
    }));
    let sibling = node.sibling();
    let answer = draft.publish(&node).await.expect(201);
    assert_eq!(answer.json()["ok"], true);

    let tarball = draft.tarball();
    let url = "http://cairn.example/api/v4/projects/1/packages/npm/@acme/left/-/left-1.0.0.tgz";
    for node in [&node, &sibling] {
        let packument = full(node, "@acme/left").await;
        assert_eq!(packument["_id"], "@acme/left");
        assert_eq!(packument["dist-tags"], json!({"latest": "1.0.0"}));
        assert_eq!(packument["description"], "pads");
        assert_eq!(packument["maintainers"], json!([{"name": "developer"}]));
        let version = &packument["versions"]["1.0.0"];
        assert_eq!(version["main"], "x.js");
        assert_eq!(version["_npmUser"], json!({"name": "developer"}));
        assert_eq!(version["dist"]["tarball"], url);
        assert_eq!(version["dist"]["shasum"], hex(&Sha1::digest(&tarball)));
        let integrity = format!("sha512-{}", BASE64.encode(&Sha512::digest(&tarball)));
        assert_eq!(version["dist"]["integrity"], integrity);
        assert_eq!(version["dist"]["fileCount"], 2);

        let short = abbreviated(node, "@acme/left").await;
        let version = &short["versions"]["1.0.0"];
        assert_eq!(version["dependencies"], json!({"right": "^1.0.0"}));
        assert_eq!(version["hasInstallScript"], true);
        assert_eq!(version["dist"]["tarball"], url);
        assert!(version.get("main").is_none() && version.get("scripts").is_none());
        for packument in [&packument, &short] {
            for time in ["created", "modified", "1.0.0"] {
                let time = packument["time"][time].as_str().unwrap();
                assert!(
                    time.starts_with("20") && time.len() == 24 && time.ends_with('Z'),
                    "{time}"
                );
            }
        }
        let target = url.strip_prefix("http://cairn.example").unwrap();
        let got = node.get(target).by("reporter").send().await.expect(200);
        assert_eq!(got.body, tarball);
    }
}

#[tokio::test]
async fn documents_of_other_clients_are_taken() {
    let node = TestNode::start().await;
    // yarn berry: the attachment comes before the versions.
    let draft = Draft::new("berry", "1.0.0");
    let sent = draft.document();
    let mut document = Map::new();
    for key in ["_id", "_attachments", "name", "access", "dist-tags", "versions"] {
        document.insert(key.into(), sent[key].clone());
    }
    node.put(draft.path())
        .by("developer")
        .json(&Value::Object(document))
        .send()
        .await
        .expect(201);
    // yarn classic: a README at the top, and a tarball URL of another host.
    let draft = Draft::new("classic", "1.0.0");
    let mut document = draft.document();
    document["readme"] = json!("# classic");
    node.put(draft.path())
        .by("developer")
        .json(&document)
        .send()
        .await
        .expect(201);
    assert_eq!(full(&node, "classic").await["readme"], "# classic");
    // An old npm: all other versions and their tags come along, without tarballs.
    let draft = Draft::new("old", "1.1.0");
    let mut document = draft.document();
    document["versions"]["1.0.0"] = json!({"name": "old", "version": "1.0.0"});
    document["dist-tags"]["stable"] = json!("1.0.0");
    node.put(draft.path())
        .by("developer")
        .json(&document)
        .send()
        .await
        .expect(201);
    let packument = full(&node, "old").await;
    assert_eq!(versions(&packument), ["1.1.0"]);
    assert_eq!(packument["dist-tags"], json!({"latest": "1.1.0"}));
}

#[tokio::test]
async fn the_latest_version_tells_about_the_package() {
    let node = TestNode::start().await;
    let describe =
        |text: &str| json!({"description": text, "keywords": ["k"], "repository": {"url": "git:x"}});
    let with_readme = |draft: Draft, text: &str| {
        let mut document = draft.document();
        document["versions"][&draft.version]["readme"] = json!(text);
        (draft.path(), document)
    };
    for (version, tag) in [("1.0.0", "latest"), ("2.0.0-rc.1", "next")] {
        let draft = Draft::new("left", version).tag(tag).with(describe(version));
        let (path, document) = with_readme(draft, version);
        node.put(path)
            .by("developer")
            .json(&document)
            .send()
            .await
            .expect(201);
    }
    let packument = full(&node, "left").await;
    assert_eq!(
        (&packument["description"], &packument["readme"]),
        (&json!("1.0.0"), &json!("1.0.0"))
    );
    assert!(packument["versions"]["1.0.0"].get("readme").is_none());
    let tag = format!("{BASE}/-/package/left/dist-tags/latest");
    node.put(tag)
        .by("developer")
        .json(&json!("2.0.0-rc.1"))
        .send()
        .await
        .expect(201);
    let packument = full(&node, "left").await;
    assert_eq!(
        (&packument["description"], &packument["readme"]),
        (&json!("2.0.0-rc.1"), &json!("2.0.0-rc.1"))
    );
}

#[tokio::test]
async fn publishing_the_same_bytes_again_is_the_same_publish() {
    let (node, draft) = (TestNode::start().await, Draft::new("left", "1.0.0"));
    draft.publish(&node).await.expect(201);
    let before = revision(&node, "left").await;
    draft.publish(&node.sibling()).await.expect(200);
    assert_eq!(revision(&node, "left").await, before);
}

#[tokio::test]
async fn publishing_a_version_twice_is_refused_in_the_words_that_release_tools_look_for() {
    let node = TestNode::start().await;
    Draft::new("left", "1.0.0").publish(&node).await.expect(201);
    let refused = Draft::new("left", "1.0.0")
        .content(b"other")
        .publish(&node)
        .await
        .expect(403);
    let error = refused.json()["error"].as_str().unwrap().to_owned();
    assert!(
        error.contains("You cannot publish over the previously published versions"),
        "{error}"
    );
    // The same with build metadata is the same version.
    let built = Draft::new("left", "1.0.0+build.7").content(b"third");
    built.publish(&node).await.expect(403);
    assert_eq!(versions(&full(&node, "left").await), ["1.0.0"]);
}

#[tokio::test]
async fn versions_that_are_published_at_once_all_survive() {
    let node = TestNode::start().await;
    let sibling = node.sibling();
    let drafts: Vec<Draft> = (0..8)
        .map(|n| Draft::new("left", &format!("1.0.{n}")).tag(&format!("tag-{n}")))
        .collect();
    let publishes = drafts.iter().enumerate().map(|(n, draft)| {
        let node = if n % 2 == 0 { &node } else { &sibling };
        draft.publish(node)
    });
    for answer in futures::future::join_all(publishes).await {
        answer.expect(201);
    }
    let packument = full(&node, "left").await;
    assert_eq!(versions(&packument).len(), 8);
    assert_eq!(packument["dist-tags"].as_object().unwrap().len(), 9);
}

#[tokio::test]
async fn one_version_published_at_once_with_different_bytes_has_one_winner() {
    let node = TestNode::start().await;
    let drafts: Vec<Draft> = (0..4u8)
        .map(|n| Draft::new("left", "1.0.0").content(&[n]))
        .collect();
    let answers = futures::future::join_all(drafts.iter().map(|draft| draft.publish(&node))).await;
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 403, 403, 403]);
}

#[tokio::test]
async fn provenance_is_kept_with_its_version() {
    let (node, draft) = (TestNode::start().await, Draft::new("@acme/left", "1.0.0"));
    let sha512 = hex(&Sha512::digest(draft.tarball()));
    let attach = |bundle: String| {
        let mut document = draft.document();
        document["_attachments"]["@acme/left-1.0.0.sigstore"] = json!({
            "content_type": "application/vnd.dev.sigstore.bundle.v0.3+json", "data": bundle, "length": bundle.len(),
        });
        document
    };
    let put = async |document: Value| {
        node.put(draft.path())
            .by("developer")
            .json(&document)
            .send()
            .await
    };
    put(attach(bundle("pkg:npm/%40acme/left@1.0.0", "00")))
        .await
        .expect(422);
    put(attach(bundle("pkg:npm/right@1.0.0", &sha512)))
        .await
        .expect(422);
    put(attach("{}".into())).await.expect(422);
    put(attach(bundle("pkg:npm/%40acme/left@1.0.0", &sha512)))
        .await
        .expect(201);
    let dist = full(&node, "@acme/left").await["versions"]["1.0.0"]["dist"].clone();
    let url = dist["attestations"]["url"].as_str().unwrap();
    assert_eq!(
        dist["attestations"]["provenance"]["predicateType"],
        "https://slsa.dev/provenance/v1"
    );
    let target = url.strip_prefix("http://cairn.example").unwrap();
    let found = node.get(target).by("reporter").send().await.expect(200).json();
    let attestation = &found["attestations"][0];
    assert_eq!(attestation["predicateType"], "https://slsa.dev/provenance/v1");
    assert!(attestation["bundle"]["dsseEnvelope"]["payload"].is_string());
    Draft::new("plain", "1.0.0").publish(&node).await.expect(201);
    for spec in ["plain@1.0.0", "@acme%2fleft@2.0.0", "nothing", "none@1.0.0"] {
        node.get(format!("{BASE}/-/npm/v1/attestations/{spec}"))
            .by("reporter")
            .send()
            .await
            .expect(404);
    }
}

#[tokio::test]
async fn wrong_documents_are_refused_and_leave_nothing() {
    let node = TestNode::start().await;
    let draft = || Draft::new("left", "1.0.0").document();
    let edited = |edit: &dyn Fn(&mut Value)| {
        let mut document = draft();
        edit(&mut document);
        document.to_string()
    };
    let attached = |tarball: &[u8]| {
        edited(&|document| {
            document["_attachments"]["left-1.0.0.tgz"] = json!({"data": BASE64.encode(tarball)});
            document["versions"]["1.0.0"]
                .as_object_mut()
                .unwrap()
                .remove("dist");
        })
    };
    let packed = |manifest: &str| attached(&tarball(manifest));
    let cases: Vec<(&str, u16, String)> = vec![
        ("no JSON", 400, "not json".into()),
        ("an array", 400, "[]".into()),
        ("half a document", 400, draft().to_string()[..200].into()),
        (
            "a key twice",
            400,
            draft()
                .to_string()
                .replacen("{\"_id\"", "{\"name\":\"right\",\"_id\"", 1),
        ),
        ("deep nesting", 400, format!("{{\"x\":{}}}", "[".repeat(200))),
        (
            "a zero character",
            400,
            edited(&|document| document["name"] = json!("left\0")),
        ),
        (
            "a huge number",
            400,
            draft()
                .to_string()
                .replacen("\"access\":null", "\"maintainers\":1e999", 1),
        ),
        (
            "another _id",
            422,
            edited(&|document| document["_id"] = json!("right")),
        ),
        (
            "another name",
            422,
            edited(&|document| document["name"] = json!("right")),
        ),
        (
            "no tarball",
            400,
            edited(&|document| {
                document.as_object_mut().unwrap().remove("_attachments");
            }),
        ),
        (
            "an empty attachment list",
            400,
            edited(&|document| document["_attachments"] = json!({})),
        ),
        (
            "no data",
            400,
            edited(&|document| document["_attachments"] = json!({"left-1.0.0.tgz": {}})),
        ),
        (
            "no base64",
            400,
            edited(&|document| document["_attachments"]["left-1.0.0.tgz"]["data"] = json!("%%%%")),
        ),
        (
            "a wrong length",
            400,
            edited(&|document| document["_attachments"]["left-1.0.0.tgz"]["length"] = json!(1)),
        ),
        (
            "another file name",
            422,
            edited(&|document| {
                let attachment = document["_attachments"]["left-1.0.0.tgz"].take();
                document["_attachments"] = json!({"right-1.0.0.tgz": attachment});
            }),
        ),
        (
            "another kind of file",
            400,
            edited(&|document| document["_attachments"] = json!({"left.zip": {"data": ""}})),
        ),
        (
            "no manifest",
            400,
            edited(&|document| document["versions"] = json!({})),
        ),
        (
            "a manifest of another version",
            400,
            edited(&|document| {
                let manifest = document["versions"]["1.0.0"].take();
                document["versions"] = json!({"2.0.0": manifest});
            }),
        ),
        (
            "another version in the manifest",
            422,
            edited(&|document| document["versions"]["1.0.0"]["version"] = json!("1.0.1")),
        ),
        (
            "a wrong shasum",
            422,
            edited(&|document| document["versions"]["1.0.0"]["dist"]["shasum"] = json!("00")),
        ),
        (
            "a wrong integrity",
            422,
            edited(&|document| document["versions"]["1.0.0"]["dist"]["integrity"] = json!("sha512-AAAA")),
        ),
        (
            "a tag that is a range",
            400,
            edited(&|document| document["dist-tags"] = json!({"1.x": "1.0.0"})),
        ),
        (
            "a tag with a slash",
            400,
            edited(&|document| document["dist-tags"] = json!({"a/b": "1.0.0"})),
        ),
        (
            "a terminal escape",
            422,
            edited(&|document| document["versions"]["1.0.0"]["description"] = json!("\u{1b}[31m")),
        ),
        (
            "too long a manifest",
            413,
            edited(&|document| document["versions"]["1.0.0"]["x"] = json!("y".repeat(200_000))),
        ),
        (
            "too long a string",
            413,
            edited(&|document| document["versions"]["1.0.0"]["x"] = json!("y".repeat(2_000_000))),
        ),
        ("not a tarball", 422, attached(b"garbage")),
        (
            "no package.json",
            422,
            attached(&{
                let mut whole = tarball("{}");
                whole.truncate(40);
                whole
            }),
        ),
        (
            "a package.json of another package",
            422,
            packed(r#"{"name":"right","version":"1.0.0"}"#),
        ),
        (
            "a package.json of another version",
            422,
            packed(r#"{"name":"left","version":"2.0.0"}"#),
        ),
        (
            "a package.json with a key twice",
            422,
            packed(r#"{"name":"left","name":"left","version":"1.0.0"}"#),
        ),
        (
            "dependencies that are a list",
            422,
            packed(r#"{"name":"left","version":"1.0.0","dependencies":["a"]}"#),
        ),
    ];
    for (what, status, document) in cases {
        let answer = node.put(path("left")).by("developer").body(document).send().await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert!(answer.json()["error"].as_str().unwrap().len() > 10, "{what}");
        node.get(path("left")).by("reporter").send().await.expect(404);
    }
    // The document is fine; the URL is not.
    for (name, status) in [
        ("right", 422),
        ("LEFT", 422),
        (".left", 400),
        ("_left", 400),
        ("node_modules", 400),
        ("le%23ft", 400),
    ] {
        let answer = node
            .put(format!("{BASE}/{name}"))
            .by("developer")
            .json(&draft())
            .send()
            .await;
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
    }
    let upper = Draft::new("JSONStream", "1.0.0").publish(&node).await.expect(400);
    assert!(upper.text().contains("upper-case"));
    let version = Draft::new("left", "1.0").publish(&node).await.expect(400);
    assert!(version.text().contains("semver"));
    let coded = node
        .put(path("left"))
        .by("developer")
        .header("content-encoding", "gzip")
        .json(&draft());
    coded.send().await.expect(415);
    for name in [".left", "%20left", "a%3Ab", "node_modules", "-"] {
        node.get(format!("{BASE}/{name}"))
            .by("reporter")
            .send()
            .await
            .expect(404);
    }
    for (method, tail) in [
        (Method::POST, "/left"),
        (Method::DELETE, "/left"),
        (Method::PATCH, "/left"),
        (Method::PUT, "/-/ping"),
    ] {
        node.request(method, format!("{BASE}{tail}"))
            .by("owner")
            .send()
            .await
            .expect(405);
    }
    for tail in [
        "/-/org/acme/package",
        "/-/team/acme/x/user",
        "/-/stage",
        "/-/package/left/trust",
        "/-/nothing",
    ] {
        node.get(format!("{BASE}{tail}"))
            .by("owner")
            .send()
            .await
            .expect(404);
    }
}

#[tokio::test]
async fn a_document_over_the_limit_is_refused() {
    let mut settings = HttpSettings::default();
    settings.limits.npm_publish_bytes = 100_000;
    let node = TestNode::with(settings).await;
    Draft::new("left", "1.0.0").publish(&node).await.expect(201);
    let noise: Vec<u8> = (0..5000u32)
        .flat_map(|n| *blake3::hash(&n.to_le_bytes()).as_bytes())
        .collect();
    Draft::new("left", "1.1.0")
        .content(&noise)
        .publish(&node)
        .await
        .expect(413);
    let mut document = Draft::new("left", "1.2.0").document();
    document["filler"] = json!(vec!["x"; 60_000]);
    node.put(path("left"))
        .by("developer")
        .json(&document)
        .send()
        .await
        .expect(413);
    assert_eq!(versions(&full(&node, "left").await), ["1.0.0"]);
}
