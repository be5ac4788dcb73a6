//! Lists: tags, referrers, repositories.

use super::*;

#[tokio::test]
async fn tags_are_listed_in_the_order_of_their_bytes() {
    let node = TestNode::start().await;
    let list = async |query: &str| {
        let target = format!("/v2/{IMAGE}/tags/list{query}");
        node.get(target).by("reporter").send().await
    };
    list("").await.fails(404, "NAME_UNKNOWN");
    node.push_blob(IMAGE, b"{}").await;
    assert_eq!(
        list("").await.expect(200).json(),
        json!({"name": IMAGE, "tags": []})
    );
    let manifest = image_of(b"{}", &[]);
    for tag in ["b", "B", "a", "_x", "1.0", "1.0-rc"] {
        node.put_manifest(IMAGE, tag, &manifest).await.expect(201);
    }
    let sorted = ["1.0", "1.0-rc", "B", "_x", "a", "b"];
    let all = list("").await.expect(200);
    assert_eq!(all.json()["tags"], json!(sorted));
    assert_eq!(all.header("link"), "");

    let mut seen = Vec::new();
    let mut target = format!("/v2/{IMAGE}/tags/list?n=4");
    loop {
        let page = node.get(&target).by("reporter").send().await.expect(200);
        let tags = page.json()["tags"].as_array().unwrap().clone();
        assert!(tags.len() <= 4);
        seen.extend(tags);
        match page.header("link").strip_suffix(">; rel=\"next\"") {
            Some(next) => target = next.trim_start_matches('<').to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, sorted);
    assert_eq!(
        list("?last=B").await.expect(200).json()["tags"],
        json!(["_x", "a", "b"])
    );
    assert_eq!(list("?last=zzz").await.expect(200).json()["tags"], json!([]));
    // A position need not be a tag.
    assert_eq!(
        list("?n=1&last=1").await.expect(200).json()["tags"],
        json!(["1.0"])
    );
    let none = list("?n=0").await.expect(200);
    assert_eq!(
        (none.json()["tags"].clone(), none.header("link")),
        (json!([]), "")
    );
    list("?n=6").await.expect(200);
    assert_eq!(list("?n=6").await.header("link"), "");
    assert_eq!(
        list("?n=99999999999").await.expect(200).json()["tags"],
        json!(sorted)
    );
    for bad in ["?n=-1", "?n=x", "?n="] {
        list(bad).await.fails(400, "PAGINATION_NUMBER_INVALID");
    }
}

/// A manifest that refers to another.
fn referrer(subject: &Value, artifact_type: Option<&str>, note: &str) -> Value {
    let mut manifest = image_of(b"{}", &[]);
    manifest["subject"] = descriptor(oci_image(), subject.to_string().as_bytes());
    manifest["annotations"] = json!({"note": note});
    if let Some(artifact_type) = artifact_type {
        manifest["artifactType"] = json!(artifact_type);
    }
    manifest
}

async fn referrers(node: &TestNode, digest: &str, query: &str) -> Answer {
    let target = format!("/v2/{IMAGE}/referrers/{digest}{query}");
    let answer = node.get(target).by("reporter").send().await.expect(200);
    assert_eq!(answer.header("content-type"), oci_index());
    assert_eq!(answer.json()["schemaVersion"], 2);
    assert_eq!(answer.json()["mediaType"], oci_index());
    answer
}

#[tokio::test]
async fn manifests_that_refer_to_another_are_listed_with_it() {
    let node = TestNode::start().await;
    // Clients ask so whether there is such a list at all.
    assert_eq!(
        referrers(&node, &format!("sha256:{}", "0".repeat(64)), "")
            .await
            .json()["manifests"],
        json!([])
    );
    let subject = image_of(b"{}", &[b"layer"]);
    let digest = sha256(subject.to_string().as_bytes());
    node.push_blob(IMAGE, b"{}").await;
    node.push_blob(IMAGE, b"layer").await;
    // The subject may come later.
    let signature = referrer(&subject, Some("application/signature"), "one");
    let put = node
        .put_manifest(IMAGE, &sha256(signature.to_string().as_bytes()), &signature)
        .await
        .expect(201);
    assert_eq!(put.header("oci-subject"), digest);
    node.put_manifest(IMAGE, "1", &subject).await.expect(201);
    let bill = referrer(&subject, Some("application/bill"), "two");
    node.put_manifest(IMAGE, "bill", &bill).await.expect(201);
    let plain = referrer(&subject, None, "three");
    node.put_manifest(IMAGE, "plain", &plain).await.expect(201);
    let mut index = index_of(&[]);
    index["subject"] = signature["subject"].clone();
    node.put_manifest(IMAGE, "index", &index).await.expect(201);

    let entry = |manifest: &Value, artifact_type: Option<&str>| {
        let text = manifest.to_string();
        let mut entry = json!({
            "mediaType": manifest["mediaType"],
            "digest": sha256(text.as_bytes()),
            "size": text.len(),
        });
        if let Some(artifact_type) = artifact_type {
            entry["artifactType"] = json!(artifact_type);
        }
        if manifest["annotations"].is_object() {
            entry["annotations"] = manifest["annotations"].clone();
        }
        entry
    };
    let expected = [
        entry(&signature, Some("application/signature")),
        entry(&bill, Some("application/bill")),
        entry(&plain, Some(CONFIG_TYPE)),
        entry(&index, None),
    ];
    let found = referrers(&node.sibling(), &digest, "").await;
    assert_eq!(found.header("oci-filters-applied"), "");
    let found = found.json()["manifests"].as_array().unwrap().clone();
    assert_eq!(found.len(), 4);
    for entry in &expected {
        assert!(found.contains(entry), "{entry} in {found:?}");
    }
    for (query, expected) in [
        ("?artifactType=application%2Fsignature", vec![&expected[0]]),
        (
            "?artifactType=application/vnd.oci.image.config.v1%2Bjson",
            vec![&expected[2]],
        ),
        ("?artifactType=other", vec![]),
    ] {
        let found = referrers(&node, &digest, query).await;
        assert_eq!(found.header("oci-filters-applied"), "artifactType");
        assert_eq!(found.json()["manifests"], json!(expected));
    }
    // One that is deleted is not listed; its subject may go and they stay.
    let target = format!("/v2/{IMAGE}/manifests/{}", sha256(bill.to_string().as_bytes()));
    node.delete(target).by("developer").send().await.expect(202);
    node.delete(format!("/v2/{IMAGE}/manifests/{digest}"))
        .by("developer")
        .send()
        .await
        .expect(202);
    let left = referrers(&node, &digest, "").await.json()["manifests"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(left, 3);
}

#[tokio::test]
async fn referrers_come_in_pages_of_bounded_size() {
    let node = TestNode::start().await;
    node.push_blob(IMAGE, b"{}").await;
    let subject = image_of(b"{}", &[]);
    let digest = sha256(subject.to_string().as_bytes());
    let mut all = std::collections::BTreeSet::new();
    for (at, size) in [10, 20_000, 1 << 20, 2 << 20, 3 << 20, 100, 2 << 20]
        .into_iter()
        .enumerate()
    {
        let artifact_type = if at % 2 == 0 { "even" } else { "odd" };
        let manifest = referrer(&subject, Some(artifact_type), &"x".repeat(size + at));
        node.put_manifest(IMAGE, &format!("t{at}"), &manifest)
            .await
            .expect(201);
        all.insert(sha256(manifest.to_string().as_bytes()));
    }
    let walk = async |query: &str| {
        let mut seen = Vec::new();
        let mut query = query.to_owned();
        loop {
            let page = referrers(&node, &digest, &query).await;
            assert!(page.body.len() < 4 << 20, "{} bytes", page.body.len());
            for entry in page.json()["manifests"].as_array().unwrap() {
                seen.push(entry["digest"].as_str().unwrap().to_owned());
            }
            match page.header("link").split_once('?') {
                Some((_, next)) => query = format!("?{}", next.strip_suffix(">; rel=\"next\"").unwrap()),
                None => return seen,
            }
        }
    };
    let seen = walk("").await;
    assert_eq!(seen.len(), 7);
    assert_eq!(all, seen.into_iter().collect());
    assert_eq!(walk("?n=2").await.len(), 7);
    assert_eq!(walk("?artifactType=even&n=1").await.len(), 4);
    let target = format!("/v2/{IMAGE}/referrers/{digest}?last=x");
    node.get(target)
        .by("reporter")
        .send()
        .await
        .fails(400, "DIGEST_INVALID");
}

async fn catalog(node: &TestNode, caller: &str, query: &str) -> Answer {
    node.get(format!("/v2/_catalog{query}"))
        .by(caller)
        .send()
        .await
        .expect(200)
}

#[tokio::test]
async fn the_catalog_has_what_the_caller_may_pull() {
    let node = TestNode::start().await;
    for image in ["acme/demo/web", "acme/demo", "acme/open/tool", "acme/inside/x"] {
        node.push_blob(image, b"x").await;
    }
    let names = async |caller: &str| catalog(&node, caller, "").await.json()["repositories"].clone();
    let all = json!(["acme/demo", "acme/demo/web", "acme/inside/x", "acme/open/tool"]);
    assert_eq!(names("reporter").await, all);
    assert_eq!(names("root").await, all);
    assert_eq!(
        names("stranger").await,
        json!(["acme/inside/x", "acme/open/tool"])
    );
    assert_eq!(
        names("deploy-read").await,
        json!(["acme/demo", "acme/demo/web", "acme/open/tool"])
    );
    let refused = node.get("/v2/_catalog").send().await.fails(401, "UNAUTHORIZED");
    assert!(
        refused
            .header("www-authenticate")
            .contains("scope=\"registry:catalog:*\"")
    );
    let token = node.login("anonymous", &["registry:catalog:*"]).await;
    let public = node.get("/v2/_catalog").bearer(&token).send().await.expect(200);
    assert_eq!(public.json()["repositories"], json!(["acme/open/tool"]));
    let token = node.login("reporter", &["repository:acme/demo:pull"]).await;
    let narrow = node
        .get("/v2/_catalog")
        .bearer(&token)
        .send()
        .await
        .fails(401, "UNAUTHORIZED");
    assert!(narrow.header("www-authenticate").contains("insufficient_scope"));
}

#[tokio::test]
async fn the_catalog_is_sorted_across_projects_on_every_page() {
    let node = TestNode::start().await;
    // `-` and `.` come before `/`, so the images of `acme/demo` lie between other projects.
    for project in ["demo-2", "demo.x", "demo2", "a", "z"] {
        fixture::add_to_acme(node.app(), project).await;
    }
    let mut expected: Vec<String> = Vec::new();
    for project in ["demo", "demo-2", "demo.x", "demo2", "a", "z"] {
        for image in ["", "/a", "/b", "/b/c", "/z-1"] {
            let name = format!("acme/{project}{image}");
            node.push_blob(&name, b"x").await;
            expected.push(name);
        }
    }
    expected.sort();
    for size in [1, 2, 3, 7, 29, 30, 31, 1000] {
        let mut seen: Vec<String> = Vec::new();
        let mut query = format!("?n={size}");
        loop {
            let page = catalog(&node, "developer", &query).await;
            let names = page.json()["repositories"].as_array().unwrap().clone();
            assert!(names.len() <= size);
            seen.extend(names.iter().map(|name| name.as_str().unwrap().to_owned()));
            match page.header("link").split_once('?') {
                Some((_, next)) => query = format!("?{}", next.strip_suffix(">; rel=\"next\"").unwrap()),
                None => break,
            }
        }
        assert_eq!(seen, expected, "in pages of {size}");
    }
    assert_eq!(
        catalog(&node, "developer", "?n=0").await.json()["repositories"],
        json!([])
    );
    node.get("/v2/_catalog?n=-1")
        .by("developer")
        .send()
        .await
        .fails(400, "PAGINATION_NUMBER_INVALID");
}
