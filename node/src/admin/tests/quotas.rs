//! Quotas: who sets them, what they refuse, and that nobody gets past them.

use super::*;
use crate::formats::oci;
use crate::registry::fixture;

const OF_PROJECT: &str = "/api/cairn/v1/projects/1/quota";
const OF_GROUP: &str = "/api/cairn/v1/groups/acme/quota";

async fn set(node: &TestNode, target: &str, bytes: impl Into<Value>) {
    let quota = json!({ "bytes": bytes.into() });
    node.put(target).by("root").json(&quota).send().await.expect(200);
}

async fn put(node: &TestNode, project: u64, path: &str, bytes: usize) -> Answer {
    let target = format!("/api/v4/projects/{project}/packages/generic/{path}");
    let body = "x".repeat(bytes);
    node.put(target).by("root").body(body).send().await
}

async fn used(node: &TestNode, target: &str) -> u64 {
    let shown = node.get(target).by("root").send().await.expect(200).json();
    shown["used_bytes"].as_u64().unwrap()
}

#[tokio::test]
async fn what_is_over_a_quota_is_refused_with_the_numbers_and_deletes_always_go() {
    let node = TestNode::start().await;
    put(&node, 1, "tool/1/a", 60).await.expect(201);
    set(&node, OF_PROJECT, 100).await;
    let refused = put(&node, 1, "tool/1/b", 41).await.expect(507);
    assert_eq!(
        refused.json()["message"],
        "the quota of project acme/demo is 100 bytes: 60 are used, and this needs 41 more"
    );
    put(&node, 1, "tool/1/b", 40).await.expect(201);
    assert_eq!(used(&node, OF_PROJECT).await, 100);
    put(&node, 2, "tool/1/b", 1000).await.expect(201);

    // Smaller than what is there: nothing more comes in, and everything may go.
    set(&node, OF_PROJECT, 10).await;
    put(&node, 1, "tool/1/c", 1).await.expect(507);
    let shown = node.get("/api/v4/projects/1/packages").by("root").send().await;
    for id in ids(&shown) {
        let target = format!("/api/v4/projects/1/packages/{id}?purge=true");
        node.delete(target).by("maintainer").send().await.expect(204);
    }
    fixture::purge(node.app()).await;
    assert_eq!(used(&node, OF_PROJECT).await, 0);
    put(&node, 1, "tool/2/a", 10).await.expect(201);
    set(&node, OF_PROJECT, Value::Null).await;
    put(&node, 1, "tool/2/b", 1000).await.expect(201);
}

#[tokio::test]
async fn the_quota_of_a_group_is_for_all_of_its_projects_together() {
    let node = TestNode::start().await;
    set(&node, OF_GROUP, 100).await;
    put(&node, 1, "tool/1/a", 60).await.expect(201);
    let refused = put(&node, 2, "tool/1/a", 41).await.expect(507);
    assert!(refused.text().contains("group acme is 100 bytes: 60 are used"));
    put(&node, 2, "tool/1/a", 40).await.expect(201);
    let shown = node.get("/api/cairn/v1/projects/2/quota").by("owner");
    let shown = shown.send().await.expect(200).json();
    assert_eq!(
        (&shown["bytes"], &shown["used_bytes"]),
        (&json!(null), &json!(40))
    );
    assert_eq!(
        shown["holding"],
        json!([{"of": "group acme", "bytes": 100, "used_bytes": 100}])
    );
}

#[tokio::test]
async fn a_quota_is_set_from_above_and_the_audit_log_tells() {
    let node = TestNode::start().await;
    let quota = json!({ "bytes": 100 });
    node.put(OF_PROJECT)
        .by("maintainer")
        .json(&quota)
        .send()
        .await
        .expect(403);
    node.put(OF_PROJECT)
        .by("owner")
        .json(&quota)
        .send()
        .await
        .expect(200);
    // An owner of a root group has nobody above but administrators.
    node.put(OF_GROUP)
        .by("owner")
        .json(&quota)
        .send()
        .await
        .expect(403);
    node.put(OF_GROUP)
        .by("root")
        .json(&quota)
        .send()
        .await
        .expect(200);
    for wrong in [json!({}), json!({ "bytes": -1 }), json!({ "bytes": u64::MAX })] {
        node.put(OF_GROUP)
            .by("root")
            .json(&wrong)
            .send()
            .await
            .expect(400);
    }
    let events = node.get("/api/v4/audit_events?event_name=quota.").by("root");
    let events = events.send().await.expect(200).json();
    assert_eq!(events.as_array().unwrap().len(), 2);
    assert_eq!(events[0]["details"]["changes"][0]["to"], "100");
}

#[tokio::test]
async fn images_are_refused_as_their_clients_expect() {
    let node = TestNode::start().await;
    oci::tests::furnish(&node, "acme/demo/app").await;
    let bytes = used(&node, OF_PROJECT).await;
    set(&node, OF_PROJECT, bytes).await;
    // What is there already needs no room.
    oci::tests::furnish(&node, "acme/demo/app").await;
    let refused = oci::tests::try_push_blob(&node, "acme/demo/app", b"another layer").await;
    let error = refused.expect(403).json()["errors"][0].clone();
    assert_eq!(error["code"], "DENIED");
    assert!(
        error["message"].as_str().unwrap().contains("this needs 13 more"),
        "{error}"
    );
    oci::tests::try_push_blob(&node, "acme/demo/other", b"layer")
        .await
        .expect(403);
}

#[tokio::test]
async fn a_body_that_cannot_fit_is_refused_before_it_is_sent() {
    let node = TestNode::start().await;
    set(&node, OF_PROJECT, 100).await;
    // Nothing of the body ever comes: who waits for it waits for ever.
    let never = || {
        axum::body::Body::from_stream(futures::stream::pending::<
            Result<axum::body::Bytes, std::io::Error>,
        >())
    };
    let sent = node
        .put("/api/v4/projects/1/packages/generic/tool/1/a")
        .by("root");
    let refused = sent
        .header("content-length", "101")
        .body(never())
        .send()
        .await
        .expect(507);
    assert!(
        refused.text().contains("this needs 101 more"),
        "{}",
        refused.text()
    );
    let sent = node.post("/v2/acme/demo/app/blobs/uploads/?digest=sha256:".to_owned() + &"0".repeat(64));
    let sent = sent.by("developer").header("content-length", "101").body(never());
    sent.send().await.expect(403);
}

/// Many writers on three nodes, in all projects of a group: what was acknowledged is within the quota,
/// nothing was refused that would have fitted, and the counters are the exact sum.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_race_for_the_last_bytes_never_gets_past_a_quota() {
    const LIMIT: u64 = 1000;
    let node = TestNode::start().await;
    let nodes = [node.sibling(), node.sibling(), node.sibling()];
    set(&node, OF_GROUP, LIMIT).await;
    let mut writers = Vec::new();
    for nth in 0..48usize {
        let size = 20 + nth % 30;
        let (project, through) = (1 + nth % 3, &nodes[nth % 3]);
        let target = format!("/api/v4/projects/{project}/packages/generic/tool/{nth}/a");
        let sent = through.put(target).by("root").body("x".repeat(size)).answered();
        writers.push(tokio::spawn(async move { (size as u64, sent.await.status) }));
    }
    let (mut acknowledged, mut smallest_refused) = (0, u64::MAX);
    for writer in writers {
        match writer.await.unwrap() {
            (size, 201) => acknowledged += size,
            (size, 507) => smallest_refused = smallest_refused.min(size),
            (_, other) => panic!("{other}"),
        }
    }
    assert!(acknowledged <= LIMIT, "{acknowledged} bytes were acknowledged");
    assert!(smallest_refused < u64::MAX, "there was no race");
    // Whoever was refused did not fit into what was left.
    assert!(
        acknowledged + smallest_refused > LIMIT,
        "{acknowledged} {smallest_refused}"
    );
    assert_eq!(used(&node, OF_GROUP).await, acknowledged);
    for project in 1..=3 {
        fixture::check_counters(node.app(), project).await;
    }
}
