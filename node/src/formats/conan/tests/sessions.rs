//! What the registry says it can do, and signing in.

use std::time::Duration;

use super::*;
use crate::registry::fixture;
use crate::testing::clock::StoppedClock;

async fn sign_in(node: &TestNode, caller: &str) -> String {
    let request = node.get(format!("{BASE}/v2/users/authenticate"));
    let answer = request
        .basic("__token__", node.token(caller))
        .send()
        .await
        .expect(200);
    assert_eq!(answer.header("content-type"), "text/plain");
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.text().to_owned()
}

#[tokio::test]
async fn everybody_is_told_what_the_registry_can_do() {
    let node = TestNode::start().await;
    for base in [BASE, GROUP, INSTANCE, "/api/v4/projects/99/packages/conan"] {
        let answer = node.get(format!("{base}/v1/ping")).send().await.expect(200);
        assert_eq!(
            answer.header("x-conan-server-capabilities"),
            "complex_search,revisions"
        );
        assert!(answer.body.is_empty());
    }
    // Also whoever comes with what does not hold any more.
    let answer = node
        .get(format!("{BASE}/v1/ping"))
        .by("wrong")
        .send()
        .await
        .expect(401);
    assert_eq!(
        answer.header("x-conan-server-capabilities"),
        "complex_search,revisions"
    );
    let answer = node
        .get(format!("{BASE}/v1/users/authenticate"))
        .send()
        .await
        .expect(401);
    assert_eq!(answer.header("www-authenticate"), "Basic realm=\"cairn\"");
    assert_eq!(answer.header("x-conan-server-capabilities"), "");
}

#[tokio::test]
async fn a_session_holds_on_every_node_and_as_long_as_what_it_was_made_of() {
    let (node, clock) = StoppedClock::node().await;
    let sibling = node.sibling();
    let session = sign_in(&node, "developer").await;
    let check = async |node: &TestNode| {
        let request = node.get(format!("{BASE}/v2/users/check_credentials"));
        request.bearer(&session).send().await
    };
    assert_eq!(check(&sibling).await.expect(200).text(), "developer");
    let search = format!("{BASE}/v2/conans/search");
    sibling.get(&search).bearer(&session).send().await.expect(200);
    let files = recipe("aaa");
    for (path, bytes) in &files.0 {
        let target = format!("{}/files/{path}", at("hello/1.0/_/_", "aaa"));
        let request = sibling.put(target).bearer(&session).body(bytes.clone());
        request.send().await.expect(201);
    }
    // It may no more than the one who began it.
    let delete = node
        .delete(format!("{BASE}/v2/conans/hello/1.0/_/_"))
        .bearer(&session);
    delete.send().await.expect(403);
    clock.advance(Duration::from_secs(23 * 3600));
    check(&node).await.expect(200);
    fixture::revoke(node.app(), node.token("developer")).await;
    check(&sibling).await.expect(401);
    let session = sign_in(&node, "maintainer").await;
    clock.advance(Duration::from_secs(25 * 3600));
    let request = node.get(&search).bearer(&session);
    request.send().await.expect(401);
}

#[tokio::test]
async fn a_session_is_for_this_format_alone() {
    let node = TestNode::start().await;
    let session = sign_in(&node, "owner").await;
    for target in [
        "/api/v4/projects/1",
        "/api/v4/projects/1/packages/helm/stable/index.yaml",
        "/api/v4/projects/1/packages/generic/-/raw/x",
        "/v2/acme/demo/img/tags/list",
        "/api/v4/personal_access_tokens",
    ] {
        node.get(target).bearer(&session).send().await.expect(401);
    }
    // Nor is it exchanged for one that lasts longer.
    let again = node.get(format!("{BASE}/v2/users/authenticate")).bearer(&session);
    again.send().await.expect(401);
    let again = node
        .get(format!("{BASE}/v2/users/authenticate"))
        .basic("x", &session);
    again.send().await.expect(401);
    let link = node
        .get("/api/v4/projects/1/packages/conan/v2/conans/search")
        .bearer(&format!("{session}x"));
    link.send().await.expect(401);
}

#[tokio::test]
async fn those_who_only_read_or_only_publish_sign_in_as_well() {
    let node = TestNode::start().await;
    for caller in ["deploy-read", "deploy-write", "reading"] {
        let request = node.get(format!("{BASE}/v1/users/authenticate")).by(caller);
        let session = request.send().await.expect(200).text().to_owned();
        let request = node
            .get(format!("{BASE}/v1/users/check_credentials"))
            .bearer(&session);
        let name = request.send().await.expect(200);
        assert!(!name.text().is_empty());
    }
    node.get(format!("{BASE}/v2/users/check_credentials"))
        .send()
        .await
        .expect(401);
}
