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

#[tokio::test]
async fn a_repository_is_found_by_its_number_alone() {
    let node = TestNode::start().await;
    node.push_image("acme/open/web", "1", b"layer").await;
    node.push_blob("acme/open/web", b"more").await;
    node.push_image(IMAGE, "1", b"layer").await;
    let number = async |project: u64| {
        let target = format!("/api/v4/projects/{project}/registry/repositories");
        node.get(target).by("root").send().await.expect(200).json()[0]["id"]
            .as_u64()
            .unwrap()
    };
    let (open, private) = (number(2).await, number(1).await);
    let show = async |caller: &str, id: u64, query: &str| {
        let target = format!("/api/v4/registry/repositories/{id}?{query}");
        node.get(target).by(caller).send().await
    };
    let shown = show("reporter", open, "tags=true&tags_count=true&size=true")
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&shown["path"], &shown["tags_count"], &shown["tags"][0]["name"]),
        (&json!("acme/open/web"), &json!(1), &json!("1"))
    );
    // The layer, the config and what no image has yet.
    assert_eq!(shown["size"], 5 + 2 + 4);
    assert!(shown.get("delete_api_path").is_none());
    let plain = show("maintainer", open, "").await.expect(200).json();
    assert_eq!((plain.get("size"), plain.get("tags")), (None, None));
    let delete_path = format!("http://cairn.example/api/v4/projects/2/registry/repositories/{open}");
    assert_eq!(plain["delete_api_path"], delete_path);
    show("anonymous", open, "").await.expect(200);
    // What is not there, and what the caller may not know of, is told in the same words.
    let unknown = show("stranger", u64::MAX, "").await.expect(404);
    for (caller, id) in [
        ("stranger", private),
        ("anonymous", private),
        ("root", open + 1),
        ("root", 1),
    ] {
        assert_eq!(show(caller, id, "").await.expect(404).body, unknown.body);
    }
    show("guest", private, "").await.expect(403);
    show("deploy-read", private, "").await.expect(401);
    node.get("/api/v4/registry/repositories/x")
        .by("root")
        .send()
        .await
        .expect(400);
}

#[tokio::test]
async fn a_group_lists_the_repositories_that_the_caller_may_pull_from() {
    let node = TestNode::start().await;
    for image in [IMAGE, "acme/open/web", "acme/inside/web"] {
        node.push_image(image, "1", b"layer").await;
    }
    let list = async |caller: &str, query: &str| {
        let target = format!("/api/v4/groups/acme/registry/repositories?{query}");
        node.get(target).by(caller).send().await
    };
    let paths = |answer: Answer| -> Vec<String> {
        let rows = answer.expect(200).json();
        let path = |row: &Value| row["path"].as_str().unwrap().to_owned();
        rows.as_array().unwrap().iter().map(path).collect()
    };
    assert_eq!(
        paths(list("reporter", "").await),
        [IMAGE, "acme/open/web", "acme/inside/web"]
    );
    assert_eq!(
        paths(list("guest", "").await),
        ["acme/open/web", "acme/inside/web"]
    );
    assert_eq!(
        paths(list("root", "sort=desc&per_page=1").await),
        ["acme/inside/web"]
    );
    let counted = list("reporter", "tags_count=true").await.expect(200).json();
    assert_eq!(counted[0]["tags_count"], 1);
    for (caller, status) in [("anonymous", 404), ("stranger", 404), ("deploy-read", 401)] {
        list(caller, "").await.expect(status);
    }
    list("reporter", "order_by=size").await.expect(400);
}

/// The number of the only repository of `acme/demo`.
async fn only_repository(node: &TestNode) -> u64 {
    let list = ask(node, "root", "").await.expect(200).json();
    list[0]["id"].as_u64().unwrap()
}

async fn tags_of(node: &TestNode, id: u64) -> Vec<String> {
    let tags = ask(node, "root", &format!("/{id}/tags?per_page=100")).await;
    let name = |tag: &Value| tag["name"].as_str().unwrap().to_owned();
    tags.expect(200)
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(name)
        .collect()
}

#[tokio::test]
async fn tags_are_deleted_by_rules() {
    let (node, clock) = StoppedClock::node().await;
    for tag in ["dev-1", "dev-2", "v1", "latest", "dev-keep", "dev-3", "dev-4"] {
        node.push_image(IMAGE, tag, b"layer").await;
        clock.advance(DAY);
    }
    // A tag that is pushed again is as young as that.
    node.push_image(IMAGE, "dev-1", b"layer").await;
    let id = only_repository(&node).await;
    let clean = async |caller: &str, query: &str| {
        let target = format!("{REPOSITORIES}/{id}/tags?{query}");
        node.delete(target).by(caller).send().await
    };
    let rules = "name_regex_delete=dev-.*&name_regex_keep=.*keep&keep_n=2&older_than=1d";
    clean("maintainer", rules).await.expect(202);
    assert_eq!(
        tags_of(&node, id).await,
        ["dev-1", "dev-4", "dev-keep", "latest", "v1"]
    );
    assert_eq!(node.tag_count(IMAGE).await, 5);
    let again = clean("maintainer", rules).await.expect(400);
    assert!(again.text().contains("at most once an hour"));
    clock.advance(Duration::from_secs(3601));
    // All names; nothing is old enough.
    clean("owner", "name_regex_delete=.*&older_than=1month")
        .await
        .expect(202);
    assert_eq!(tags_of(&node, id).await.len(), 5);
    clock.advance(Duration::from_secs(3601));
    // Rules in the query and in the body are rules together.
    let both = async |sparing: &str| {
        let target = format!("{REPOSITORIES}/{id}/tags{sparing}");
        let request = node.delete(target).by("maintainer");
        request
            .json(&json!({"name_regex": ".*"}))
            .send()
            .await
            .expect(202);
        clock.advance(Duration::from_secs(3601));
        tags_of(&node, id).await
    };
    assert_eq!(
        both("?keep_n=1&name_regex_keep=v.*").await,
        ["dev-1", "latest", "v1"]
    );
    assert_eq!(both("").await, ["latest"]);
    // The images themselves are there.
    let manifest = image_of(b"{}", &[b"layer"]).to_string();
    node.get_manifest(IMAGE, &sha256(manifest.as_bytes()))
        .await
        .expect(200);
}

#[tokio::test]
async fn wrong_rules_delete_nothing() {
    let node = TestNode::start().await;
    node.push_image(IMAGE, "1", b"layer").await;
    let id = only_repository(&node).await;
    let clean = async |caller: &str, id: u64, query: &str| {
        let target = format!("{REPOSITORIES}/{id}/tags?{query}");
        node.delete(target).by(caller).send().await
    };
    let long = format!("name_regex_delete={}", "x".repeat(2000));
    for wrong in [
        "",
        "name_regex_delete=",
        "name_regex_delete=(",
        "name_regex_delete=(%3F=x)",
        "name_regex_delete=(x%7B1000%7D)%7B1000%7D",
        &long,
        "name_regex_keep=.*",
        "name_regex_delete=.*&name_regex_keep=*",
        "name_regex_delete=.*&keep_n=-1",
        "name_regex_delete=.*&keep_n=10001",
        "name_regex_delete=.*&keep_n=x",
        "name_regex_delete=.*&older_than=yesterday",
        "name_regex_delete=.*&older_than=-1d",
        "name_regex_delete=.*&older_than=9999999y",
        // A rule that is not known would have spared something.
        "name_regex_delete=.*&keepn=5",
    ] {
        clean("maintainer", id, wrong).await.expect(400);
    }
    for (caller, status) in [
        ("anonymous", 404),
        ("stranger", 404),
        ("guest", 403),
        ("developer", 403),
        ("reading", 403),
        ("deploy-write", 401),
    ] {
        clean(caller, id, "name_regex_delete=.*").await.expect(status);
    }
    clean("maintainer", id + 1, "name_regex_delete=.*")
        .await
        .expect(404);
    assert_eq!(tags_of(&node, id).await, ["1"]);
    clean("maintainer", id, "name_regex_delete=.*&private_token=")
        .await
        .expect(401);
}

#[tokio::test]
async fn an_index_of_indexes_is_added_up_without_end() {
    let node = TestNode::start().await;
    let mut inner = node.push_image(IMAGE, "0", b"layer").await;
    for depth in 1..=60 {
        inner = index_of(&[&inner]);
        node.put_manifest(IMAGE, &depth.to_string(), &inner)
            .await
            .expect(201);
    }
    let id = only_repository(&node).await;
    let tag = ask(&node, "reporter", &format!("/{id}/tags/60"))
        .await
        .expect(200);
    assert_eq!(tag.json()["total_size"], 7);
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
