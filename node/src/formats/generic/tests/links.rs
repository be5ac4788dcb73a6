//! Links.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::testing::clock::StoppedClock;

/// The target of a link to `tool/1/f`, or to another file.
async fn link(node: &TestNode, caller: &str, more: serde_json::Value) -> String {
    let mut wanted = json!({"package": "tool", "version": "1", "file": "f"});
    if let Some(path) = more.get("path") {
        wanted = json!({ "path": path });
    }
    if let Some(seconds) = more.get("expires_in") {
        wanted["expires_in"] = seconds.clone();
    }
    let made = node.post(at("/-/links")).by(caller).json(&wanted).send().await;
    let made = made.expect(201);
    assert_eq!(made.header("cache-control"), "no-store");
    let url = made.json()["url"].as_str().unwrap().to_owned();
    url.strip_prefix("http://cairn.example").unwrap().to_owned()
}

#[tokio::test]
async fn a_link_gives_one_file_to_whoever_has_it() {
    let node = TestNode::start().await;
    publish(&node, "/tool/1/f", "0123456789").await.expect(201);
    publish(&node, "/tool/1/g", "other").await.expect(201);
    node.put(at("/-/raw/%C3%BC/a%20b"))
        .by("developer")
        .body("raw")
        .send()
        .await
        .expect(201);
    let sibling = node.sibling();
    for caller in ["reporter", "deploy-read", "reading"] {
        let target = link(&node, caller, json!({})).await;
        let file = sibling.get(&target).send().await.expect(200);
        assert_eq!(file.text(), "0123456789");
        assert_eq!(
            file.header("cache-control"),
            "private, max-age=31536000, immutable"
        );
        let part = sibling.get(&target).header("range", "bytes=2-4");
        assert_eq!(part.send().await.expect(206).text(), "234");
        let head = sibling.head(&target).send().await.expect(200);
        assert_eq!(head.header("content-length"), "10");
    }
    let target = link(&node, "reporter", json!({"path": "ü/a b"})).await;
    assert_eq!(node.get(&target).send().await.expect(200).text(), "raw");

    // It is for this file, and to fetch it.
    let target = link(&node, "maintainer", json!({})).await;
    let (path, token) = target.split_once("?token=").unwrap();
    for other in [
        path.replace("/1/f", "/1/g"),
        path.replace("/1/f", "/1/f.sha256"),
        path.replace("/1/f", "/1/"),
        path.replace("/1/f", "/latest/f"),
        path.replace("/1/f", "/1/none"),
        path.replace("projects/1/", "projects/2/"),
        path.replace("projects/1/", "projects/99/"),
        path.replace("/tool/1/f", "/-/raw/tool/1/f"),
    ] {
        let refused = node.get(format!("{other}?token={token}")).send().await;
        assert_eq!(refused.status, 401, "{other}");
    }
    for method in [Method::PUT, Method::DELETE, Method::POST] {
        let changed = node.request(method, &target).body("x").send().await;
        changed.expect(401);
    }
    // Nor is it a credential, nor a credential a link.
    let bearer = node.get(path).bearer(token).send().await;
    bearer.expect(401);
    node.get("/v2/acme/demo/tags/list")
        .bearer(token)
        .send()
        .await
        .expect(401);
    let credential = format!("{path}?token={}", node.token("maintainer"));
    node.get(credential).send().await.expect(401);
    let mut forged = target.clone();
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'B' } else { 'A' });
    node.get(&forged[..forged.len() - 3]).send().await.expect(401);
    node.get(format!("{path}?token=")).send().await.expect(401);
    assert_eq!(node.get(&target).send().await.expect(200).text(), "0123456789");
}

#[tokio::test]
async fn a_link_ends_with_its_time_its_token_and_the_rights_behind_it() {
    let (node, clock) = StoppedClock::node().await;
    publish(&node, "/tool/1/f", "x").await.expect(201);
    let short = link(&node, "reporter", json!({"expires_in": 60})).await;
    let usual = link(&node, "reporter", json!({})).await;
    let long = link(&node, "maintainer", json!({"expires_in": 604_800})).await;
    let status = async |target: &str| node.get(target).send().await.status;
    assert_eq!((status(&short).await, status(&usual).await), (200, 200));
    // Clocks of nodes may be half a minute apart.
    clock.advance(Duration::from_secs(60 + 30));
    assert_eq!((status(&short).await, status(&usual).await), (401, 200));
    clock.advance(Duration::from_secs(3600));
    assert_eq!((status(&usual).await, status(&long).await), (401, 200));

    fixture::remove_member(node.app(), "maintainer", "acme").await;
    assert_eq!(status(&long).await, 404);
    let usual = link(&node, "reporter", json!({})).await;
    assert_eq!(status(&usual).await, 200);
    fixture::revoke(node.app(), node.token("reporter")).await;
    assert_eq!(status(&usual).await, 401);
}

#[tokio::test]
async fn wrong_requests_for_links_are_refused() {
    let node = TestNode::start().await;
    publish(&node, "/tool/1/f", "x").await.expect(201);
    let file = json!({"package": "tool", "version": "1", "file": "f"});
    for (caller, status) in [
        ("anonymous", 401),
        ("stranger", 404),
        ("foreign-deploy", 404),
        ("guest", 403),
    ] {
        let made = node.post(at("/-/links")).by(caller).json(&file);
        made.send().await.expect(status);
    }
    // Everybody may fetch this without a link.
    let open = node.post("/api/v4/projects/2/packages/generic/-/links");
    open.json(&file).send().await.expect(401);
    for (wanted, status, message) in [
        (json!({}), 400, "a file is named"),
        (json!({"package": "tool", "version": "1"}), 400, "a file is named"),
        (json!({"path": "x", "file": "f"}), 400, "a file is named"),
        (
            json!({"package": "a b", "version": "1", "file": "f"}),
            400,
            "package name",
        ),
        (json!({"path": "../x"}), 400, "'..' segment"),
        (json!({"path": "none"}), 404, "404 File Not Found"),
        (
            json!({"package": "tool", "version": "2", "file": "f"}),
            404,
            "404 Package Not Found",
        ),
        (json!({"path": "x", "expires_in": 0}), 400, "expires_in"),
        (json!({"path": "x", "expires_in": 604_801}), 400, "expires_in"),
        (json!({"path": "x", "expires_in": -1}), 400, "not as expected"),
    ] {
        let made = node.post(at("/-/links")).by("reporter").json(&wanted);
        let answer = made.send().await;
        assert_eq!(answer.status, status, "{wanted}: {}", answer.text());
        let said = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(said.contains(message), "{wanted}: {said}");
    }
}
