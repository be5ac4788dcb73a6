//! The documents about one package, and how clients know whether they have them.

use super::*;

#[tokio::test]
async fn a_document_that_a_client_has_is_not_sent_again() {
    let node = TestNode::start().await;
    publish(&node, "acme/foo", "1.0").await;
    let other_node = node.sibling();
    let ask = async |path: &str, header: &str, value: &str| {
        let request = other_node.get(format!("{BASE}/{path}")).by("reporter");
        request.header(header, value).send().await
    };
    for path in [
        "packages.json",
        "p2/acme/foo.json",
        "p2/acme/foo~dev.json",
        "p/acme/foo.json",
    ] {
        let first = get(&node, path).await.expect(200);
        assert_eq!(first.header("content-type"), "application/json");
        let (date, etag) = (first.header("last-modified"), first.header("etag"));
        let same = ask(path, "if-modified-since", date).await.expect(304);
        assert_eq!(
            (same.header("last-modified"), same.body.len()),
            (date, 0),
            "{path}"
        );
        ask(path, "if-none-match", etag).await.expect(304);
        // A date that is not ours says nothing, also if it is later.
        ask(path, "if-modified-since", "Wed, 01 Jul 2099 12:00:00 GMT")
            .await
            .expect(200);
        ask(path, "if-modified-since", "yesterday").await.expect(200);
    }
}

/// Clients know a document by a second, so what changes within one must have another all the same.
#[tokio::test]
async fn every_change_gives_a_document_a_later_second() {
    let node = TestNode::start().await;
    publish(&node, "acme/foo", "1.0").await;
    let last_modified = async || {
        let answer = get(&node, "p2/acme/foo.json").await.expect(200);
        let date = answer.header("last-modified").to_owned();
        crate::registry::time::parse_http_date(&date).unwrap_or_else(|| panic!("{date}"))
    };
    let mut before = last_modified().await;
    let mut has_grown = async |what: &str| {
        let after = last_modified().await;
        assert!(after > before, "{what}: {after:?} after {before:?}");
        before = after;
    };
    publish(&node, "acme/foo", "1.1").await;
    has_grown("a version").await;
    publish(&node, "acme/foo", "dev-main").await;
    has_grown("a branch").await;
    send(&node, "developer", "", &other("acme/foo", "dev-main"))
        .await
        .expect(200);
    has_grown("a branch that moves").await;
    let abandon = node.put(format!("{BASE}/abandoned/acme/foo")).by("developer");
    abandon.json(&json!({})).send().await.expect(204);
    has_grown("abandoned").await;
    let target = format!("{BASE}/advisories/acme/foo/A-1");
    let advise = node.put(&target).by("developer");
    advise
        .json(&json!({"title": "x", "affectedVersions": "1.0"}))
        .send()
        .await
        .expect(201);
    has_grown("an advisory").await;
    node.delete(&target).by("developer").send().await.expect(204);
    has_grown("an advisory less").await;
    removal::delete(&node, "1.1.0").await;
    has_grown("a version less").await;
    removal::restore(&node).await;
    has_grown("a version that is back").await;
    // A repeated upload changes nothing.
    send(&node, "developer", "", &package("acme/foo", "1.0"))
        .await
        .expect(200);
    assert_eq!(last_modified().await, before);
}

#[tokio::test]
async fn what_is_not_here_is_404_so_that_composer_asks_elsewhere() {
    let node = TestNode::start().await;
    publish(&node, "acme/foo", "1.0").await;
    for path in [
        "p2/acme/bar.json",
        "p2/acme/bar~dev.json",
        "p2/acme/foo",
        "p2/acme/foo.txt",
        "p2/php.json",
        "p2/%20/foo.json",
        "p2/acme/~dev.json",
        "p/acme/bar.json",
        "p2/acme",
        "providers/acme/x.txt",
        "nothing",
        "files/acme/foo/1.0.0/x.zip",
        "files/acme/foo/2.0.0/da39a3ee5e6b4b0d3255bfef95601890afd80709.zip",
        "files/acme/foo/-/da39a3ee5e6b4b0d3255bfef95601890afd80709.zip",
    ] {
        let answer = get(&node, path).await.expect(404);
        assert!(
            message(&answer).starts_with("404"),
            "{path}: {}",
            message(&answer)
        );
    }
    // Names have no case, as clients that ask in another one know.
    get(&node, "p2/Acme/Foo.json").await.expect(200);
    // Of what is known, there is a document without versions.
    assert!(shown(&node, "acme/foo~dev").await.is_empty());
}

#[tokio::test]
async fn the_first_composer_reads_a_document_with_all_versions() {
    let node = TestNode::start().await;
    publish(&node, "acme/foo", "v1.0").await;
    publish(&node, "acme/foo", "dev-main").await;
    let document = get(&node, "p/acme/foo.json").await.expect(200).json();
    let versions = document["packages"]["acme/foo"].as_object().unwrap();
    assert_eq!(versions.keys().collect::<Vec<_>>(), ["v1.0", "dev-main"]);
    let uids: Vec<_> = versions
        .values()
        .map(|version| version["uid"].as_u64().unwrap())
        .collect();
    assert_ne!(uids[0], uids[1]);
    assert_eq!(versions["v1.0"]["name"], "acme/foo");
}

#[tokio::test]
async fn a_package_is_abandoned_by_its_author_or_as_a_whole() {
    let node = TestNode::start().await;
    publish(&node, "acme/foo", "1.0").await;
    let archive = package_with("acme/foo", "1.1", json!({"abandoned": true}));
    send(&node, "developer", "", &archive).await.expect(201);
    let abandoned = async || {
        let shown = shown(&node, "acme/foo").await;
        shown
            .iter()
            .map(|version| version["abandoned"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(abandoned().await, [Value::Null, json!(true)]);
    let target = format!("{BASE}/abandoned/Acme/Foo");
    let abandon = async |caller: &str, body: Value| node.put(&target).by(caller).json(&body).send().await;
    abandon("reporter", json!({})).await.expect(403);
    abandon("developer", json!({"replacement": "not a name"}))
        .await
        .expect(400);
    abandon("developer", json!({"reason": "x"})).await.expect(400);
    abandon("developer", json!({"replacement": "Acme/New"}))
        .await
        .expect(204);
    assert_eq!(abandoned().await, [json!("acme/new"), json!("acme/new")]);
    let found = get(&node, "search.json?q=foo").await.expect(200).json();
    assert_eq!(found["results"][0]["abandoned"], "acme/new");
    node.delete(&target).by("developer").send().await.expect(204);
    assert_eq!(abandoned().await, [Value::Null, json!(true)]);
    let unknown = node.put(format!("{BASE}/abandoned/acme/bar")).by("developer");
    unknown.json(&json!({})).send().await.expect(404);
}

#[tokio::test]
async fn a_large_document_comes_in_pieces_and_is_whole() {
    let node = TestNode::start().await;
    for minor in 0..450 {
        publish(&node, "acme/foo", &format!("1.{minor}.0")).await;
    }
    assert_eq!(versions(&node, "acme/foo").await.len(), 450);
    let packed = node.get(format!("{BASE}/p2/acme/foo.json")).by("reporter");
    let packed = packed.header("accept-encoding", "gzip").send().await.expect(200);
    assert_eq!(packed.header("content-encoding"), "gzip");
}
