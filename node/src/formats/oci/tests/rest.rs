//! The REST API of repositories and tags, and what becomes of what is deleted.

use cairn_cluster::Collection;

use super::*;

const REPOSITORIES: &str = "/api/v4/projects/1/registry/repositories";

async fn ask(node: &TestNode, caller: &str, tail: &str) -> Answer {
    node.get(format!("{REPOSITORIES}{tail}")).by(caller).send().await
}

#[tokio::test]
async fn repositories_and_tags_are_shown_as_gitlab_shows_them() {
    let node = TestNode::start().await;
    let manifest = node.push_image("acme/demo/web", "1.0", b"layer").await;
    node.put_manifest("acme/demo/web", "latest", &manifest)
        .await
        .expect(201);
    let index = index_of(&[&manifest]);
    node.put_manifest("acme/demo/web", "all", &index)
        .await
        .expect(201);
    node.push_image("acme/demo", "x", b"layer").await;

    let list = ask(&node, "reporter", "?tags=true&tags_count=1")
        .await
        .expect(200);
    assert_eq!(list.header("x-total"), "2");
    let list = list.json();
    let web = &list[0];
    assert_eq!(web["name"], "web");
    assert_eq!(web["path"], "acme/demo/web");
    assert_eq!(web["location"], "cairn.example/acme/demo/web");
    assert_eq!(web["project_id"], 1);
    assert_eq!(web["status"], Value::Null);
    assert_eq!(web["tags_count"], 3);
    assert_eq!(web["tags"][0]["name"], "1.0");
    assert_eq!(
        (list[1]["name"].clone(), list[1]["path"].clone()),
        (json!(""), json!("acme/demo"))
    );
    let plain = ask(&node, "reporter", "?order_by=name&sort=desc&per_page=1")
        .await
        .expect(200);
    assert_eq!(plain.json()[0]["name"], "web");
    assert!(plain.json()[0].get("tags").is_none());
    assert_eq!(plain.header("x-next-page"), "2");

    let id = web["id"].as_u64().unwrap();
    let shown = ask(&node, "reporter", &format!("/{id}?tags_count=true"))
        .await
        .expect(200)
        .json();
    assert_eq!(shown["tags_count"], 3);
    let tags = ask(&node, "reporter", &format!("/{id}/tags?per_page=2"))
        .await
        .expect(200);
    assert_eq!(tags.header("x-total"), "3");
    assert_eq!(
        tags.json(),
        json!([
            {"name": "1.0", "path": "acme/demo/web:1.0", "location": "cairn.example/acme/demo/web:1.0"},
            {"name": "all", "path": "acme/demo/web:all", "location": "cairn.example/acme/demo/web:all"},
        ])
    );
    let keyset = format!("/{id}/tags?pagination=keyset&order_by=name&sort=desc&per_page=2");
    let keyset = ask(&node, "reporter", &keyset).await.expect(200);
    assert_eq!(keyset.json()[0]["name"], "latest");
    assert!(keyset.header("link").contains("cursor="));

    let tag = ask(&node, "reporter", &format!("/{id}/tags/1.0"))
        .await
        .expect(200)
        .json();
    let revision = sha256(b"{}").strip_prefix("sha256:").unwrap().to_owned();
    assert_eq!(tag["revision"], revision);
    assert_eq!(tag["short_revision"], revision[..9]);
    assert_eq!(tag["digest"], sha256(manifest.to_string().as_bytes()));
    assert_eq!(tag["total_size"], 7);
    assert!(tag["created_at"].as_str().unwrap().ends_with('Z'));
    let all = ask(&node, "reporter", &format!("/{id}/tags/all"))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (all["revision"].clone(), all["total_size"].clone()),
        (json!(""), json!(7))
    );

    for (tail, status) in [("/999", 404), ("/999/tags", 404), ("/x", 400)] {
        ask(&node, "reporter", tail).await.expect(status);
    }
    for tag in ["absent", ".malformed"] {
        ask(&node, "reporter", &format!("/{id}/tags/{tag}"))
            .await
            .expect(404);
    }
    // A repository of one project is not found through another.
    let elsewhere = format!("/api/v4/projects/2/registry/repositories/{id}");
    node.get(elsewhere).by("root").send().await.expect(404);
}

#[tokio::test]
async fn a_tag_is_removed_by_developers_and_a_repository_by_maintainers() {
    let node = TestNode::start().await;
    node.push_image(IMAGE, "1", b"layer").await;
    let id = ask(&node, "root", "").await.expect(200).json()[0]["id"]
        .as_u64()
        .unwrap();
    let tag = format!("{REPOSITORIES}/{id}/tags/1");
    let repository = format!("{REPOSITORIES}/{id}");
    for (caller, status) in [
        ("anonymous", 404),
        ("stranger", 404),
        ("guest", 403),
        ("reporter", 403),
        ("reading", 403),
        ("deploy-write", 401),
    ] {
        node.delete(&tag).by(caller).send().await.expect(status);
        node.delete(&repository).by(caller).send().await.expect(status);
    }
    node.delete(&repository).by("developer").send().await.expect(403);
    node.delete(&tag).by("developer").send().await.expect(200);
    node.delete(&tag).by("developer").send().await.expect(404);
    node.get_manifest(IMAGE, "1").await.fails(404, "MANIFEST_UNKNOWN");
    node.delete(&repository).by("maintainer").send().await.expect(202);
    node.delete(&repository).by("maintainer").send().await.expect(404);
}

/// How many records there are of a repository, by all collections that have a name.
async fn records(node: &TestNode, keys: &RepositoryKeys, digests: &[String]) -> usize {
    let mut collections: Vec<Collection> = vec![keys.blobs(), keys.manifests(), keys.tags()];
    for digest in digests {
        let digest = digest.parse().unwrap();
        collections.extend([keys.tagged(&digest), keys.used(&digest), keys.referrers(&digest)]);
    }
    let mut count = 0;
    for collection in collections {
        count += node.kv().local().scan(Scan::of(&collection)).await.unwrap().len();
    }
    count
}

/// Fills a repository with everything that it can have; gives the digests in it.
async fn fill(node: &TestNode, image: &str) -> Vec<String> {
    let manifest = node.push_image(image, "1", b"layer").await;
    let mut signature = image_of(b"{}", &[]);
    signature["subject"] = descriptor(oci_image(), manifest.to_string().as_bytes());
    signature["annotations"] = json!({"large": "x".repeat(10_000)});
    node.put_manifest(image, "signature", &signature)
        .await
        .expect(201);
    let index = index_of(&[&manifest, &signature]);
    node.put_manifest(image, "all", &index).await.expect(201);
    let digest = sha256(manifest.to_string().as_bytes());
    for round in 0..4 {
        let tags: String = (0..100).map(|at| format!("&tag=t{round}-{at}")).collect();
        node.put_manifest(image, &format!("{digest}?{tags}"), &manifest)
            .await
            .expect(201);
    }
    let texts = [
        manifest.to_string(),
        signature.to_string(),
        index.to_string(),
        "layer".into(),
        "{}".into(),
    ];
    texts.iter().map(|text| sha256(text.as_bytes())).collect()
}

#[tokio::test]
async fn what_a_deleted_repository_had_is_taken_apart() {
    let node = TestNode::start().await;
    let digests = fill(&node, IMAGE).await;
    let keys = node.repository(IMAGE).await;
    let before = records(&node, &keys, &digests).await;
    assert!(before > 800, "{before}");
    let id = ask(&node, "root", "").await.expect(200).json()[0]["id"]
        .as_u64()
        .unwrap();
    node.delete(format!("{REPOSITORIES}/{id}"))
        .by("maintainer")
        .send()
        .await
        .expect(202);
    // It is gone at once, and what is pushed again is new.
    node.get_manifest(IMAGE, "1").await.fails(404, "NAME_UNKNOWN");
    assert_eq!(ask(&node, "root", "").await.json(), json!([]));
    node.get_blob(IMAGE, &sha256(b"layer"))
        .await
        .fails(404, "BLOB_UNKNOWN");
    node.push_blob(IMAGE, b"{}").await;
    node.get_blob(IMAGE, &sha256(b"layer"))
        .await
        .fails(404, "BLOB_UNKNOWN");
    fixture::purge(node.app()).await;
    assert_eq!(records(&node, &keys, &digests).await, 0);
    node.get_blob(IMAGE, &sha256(b"{}")).await.expect(200);
}

#[tokio::test]
async fn what_the_images_of_a_deleted_project_had_is_taken_apart() {
    let node = TestNode::start().await;
    let digests = fill(&node, IMAGE).await;
    fill(&node, "acme/demo/other").await;
    node.post("/v2/acme/demo/app/blobs/uploads/")
        .by("developer")
        .send()
        .await
        .expect(202);
    let (keys, other) = (
        node.repository(IMAGE).await,
        node.repository("acme/demo/other").await,
    );
    let project = ProjectKeys::new(node.oci_scope("root", "acme/demo").await.collection());
    node.delete("/api/v4/projects/1")
        .by("owner")
        .send()
        .await
        .expect(202);
    node.get_manifest(IMAGE, "1").await.fails(404, "NAME_UNKNOWN");
    fixture::purge(node.app()).await;
    assert_eq!(records(&node, &keys, &digests).await, 0);
    assert_eq!(records(&node, &other, &digests).await, 0);
    for collection in [
        project.images(),
        project.image_ids(),
        project.sessions().uploading(),
        project.sessions().finished_at(),
    ] {
        assert!(
            node.kv()
                .local()
                .scan(Scan::of(&collection))
                .await
                .unwrap()
                .is_empty()
        );
    }
}
