//! The cleanup policy of a project's container images.

use super::*;

const POLICY: &str = "/api/cairn/v1/projects/1/registry/cleanup_policy";

async fn set(node: &TestNode, policy: Value) -> Answer {
    let body = json!({ "container_expiration_policy_attributes": policy });
    node.put("/api/v4/projects/1")
        .by("maintainer")
        .json(&body)
        .send()
        .await
}

async fn tags_of(node: &TestNode, image: &str) -> Vec<String> {
    let answer = node
        .get(format!("/v2/{image}/tags/list"))
        .by("reporter")
        .send()
        .await;
    let answer = answer.expect(200).json();
    let tags = answer["tags"].as_array().cloned().unwrap_or_default();
    tags.iter().map(|tag| tag.as_str().unwrap().to_owned()).collect()
}

async fn dry_run(node: &TestNode) -> Value {
    let answer = node
        .post(format!("{POLICY}/dry_run"))
        .by("maintainer")
        .send()
        .await;
    answer.expect(200).json()
}

#[tokio::test]
async fn a_policy_is_an_attribute_of_the_project() {
    let node = TestNode::start().await;
    let shown = async || {
        let project = node.get("/api/v4/projects/1").by("maintainer").send().await;
        project.expect(200).json()["container_expiration_policy"].clone()
    };
    let first = shown().await;
    assert_eq!(
        (&first["enabled"], &first["cadence"]),
        (&json!(false), &json!("1d"))
    );
    assert_eq!(first["next_run_at"], Value::Null);
    let policy = json!({
        "enabled": true,
        "cadence": "7d",
        "keep_n": 5,
        "older_than": "14d",
        "name_regex": "dev-.*",
        "name_regex_keep": "dev-1",
    });
    let changed = set(&node, policy.clone()).await.expect(200).json();
    let next = changed["container_expiration_policy"]["next_run_at"].clone();
    assert!(next.is_string());
    for (field, value) in policy.as_object().unwrap() {
        assert_eq!(shown().await[field], *value, "{field}");
    }
    assert_eq!(shown().await["next_run_at"], next);
    set(
        &node,
        json!({ "keep_n": null, "older_than": "", "name_regex_keep": null }),
    )
    .await
    .expect(200);
    let kept = shown().await;
    assert_eq!(
        (&kept["keep_n"], &kept["older_than"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(kept["cadence"], "7d");
    for wrong in [
        json!({ "cadence": "2d" }),
        json!({ "keep_n": 7 }),
        json!({ "older_than": "8d" }),
        json!({ "name_regex": "(" }),
        json!({ "name_regex": null }),
        json!({ "name_regex_keep": "(?=x)" }),
        json!({ "keep": 1 }),
    ] {
        set(&node, wrong.clone()).await.expect(400);
        assert_eq!(shown().await, kept, "{wrong}");
    }
    let body = json!({ "container_expiration_policy_attributes": { "enabled": false } });
    let refused = node
        .put("/api/v4/projects/1")
        .by("developer")
        .json(&body)
        .send()
        .await;
    refused.expect(403);
    set(&node, json!({ "enabled": false })).await.expect(200);
    assert_eq!(shown().await["next_run_at"], Value::Null);
}

#[tokio::test]
async fn a_run_deletes_exactly_the_tags_that_the_dry_run_said() {
    let (node, clock) = StoppedClock::node().await;
    let other = "acme/demo/other";
    for tag in ["dev-1", "dev-2", "v1", "latest", "dev-3", "dev-4"] {
        node.push_image(IMAGE, tag, b"layer").await;
        node.push_image(other, tag, b"layer").await;
        clock.advance(DAY);
    }
    let policy = json!({ "enabled": true, "keep_n": 1, "older_than": null, "name_regex_keep": "dev-1" });
    set(&node, policy).await.expect(200);
    let plan = dry_run(&node).await;
    let going = |plan: &Value| -> Vec<String> {
        let rows = plan["going"].as_array().unwrap();
        let name = |row: &Value| {
            format!(
                "{}:{}",
                row["path"].as_str().unwrap(),
                row["tag"].as_str().unwrap()
            )
        };
        rows.iter().map(name).collect()
    };
    let expected = ["dev-2", "dev-3", "v1"];
    let all: Vec<String> = [IMAGE, other]
        .iter()
        .flat_map(|image| expected.map(|tag| format!("{image}:{tag}")))
        .collect();
    assert_eq!(going(&plan), all);
    assert_eq!((&plan["tags"], &plan["complete"]), (&json!(6), &json!(true)));
    assert_eq!(tags_of(&node, IMAGE).await.len(), 6, "a dry run changes nothing");
    // It is due after a day, not before; and once, whichever node looks.
    fixture::clean_up(node.app()).await;
    assert_eq!(tags_of(&node, IMAGE).await.len(), 6);
    clock.advance(DAY);
    let sibling = node.sibling();
    tokio::join!(fixture::clean_up(node.app()), fixture::clean_up(sibling.app()));
    for image in [IMAGE, other] {
        assert_eq!(tags_of(&node, image).await, ["dev-1", "dev-4", "latest"]);
    }
    assert_eq!(node.tag_count(IMAGE).await, 3);
    let shown = node.get(POLICY).by("maintainer").send().await.expect(200).json();
    assert_eq!(shown["last_run"]["removed"], 6);
    assert_eq!(dry_run(&node).await["tags"], 0);
}

#[tokio::test]
async fn a_policy_spares_what_is_protected() {
    let (node, clock) = StoppedClock::node().await;
    let kept = "acme/demo/kept";
    for tag in ["v1", "dev-1", "dev-2"] {
        node.push_image(IMAGE, tag, b"layer").await;
        node.push_image(kept, tag, b"layer").await;
        clock.advance(DAY);
    }
    node.protect("tag", &json!({ "tag_name_pattern": "^v" }))
        .await
        .expect(201);
    let rule = json!({ "repository_path_pattern": kept, "minimum_access_level_for_delete": "owner" });
    node.protect("repository", &rule).await.expect(201);
    set(&node, json!({ "enabled": true, "keep_n": 1, "older_than": null }))
        .await
        .expect(200);
    let plan = dry_run(&node).await;
    assert_eq!(
        (&plan["tags"], &plan["going"][0]["tag"]),
        (&json!(1), &json!("dev-1"))
    );
    let run = node.post(format!("{POLICY}/run")).by("maintainer").send().await;
    run.expect(202);
    fixture::clean_up(node.app()).await;
    assert_eq!(tags_of(&node, IMAGE).await, ["dev-2", "v1"]);
    assert_eq!(tags_of(&node, kept).await, ["dev-1", "dev-2", "v1"]);
}

#[tokio::test]
async fn what_nothing_leads_to_goes_a_day_later() {
    let (node, clock) = StoppedClock::node().await;
    let old = node.push_image(IMAGE, "moving", b"old").await;
    let child = node.push_image(IMAGE, "child", b"child").await;
    let index = index_of(&[&child]);
    node.put_manifest(IMAGE, "all", &index).await.expect(201);
    // A signature of what stays stays too, though no tag leads to it.
    node.push_blob(IMAGE, b"signature").await;
    let mut signature = image_of(b"{}", &[b"signature"]);
    signature["subject"] = descriptor(oci_image(), child.to_string().as_bytes());
    let signature_digest = sha256(signature.to_string().as_bytes());
    node.put_manifest(IMAGE, &signature_digest, &signature)
        .await
        .expect(201);
    let id = node
        .get("/api/v4/projects/1/registry/repositories")
        .by("root")
        .send()
        .await
        .json();
    let id = id[0]["id"].as_u64().unwrap();
    let tag = format!("/api/v4/projects/1/registry/repositories/{id}/tags/child");
    node.delete(tag).by("developer").send().await.expect(200);
    clock.advance(DAY * 10);
    // From now on nothing leads to the first image, but it was led to a moment ago.
    let new = node.push_image(IMAGE, "moving", b"new").await;
    set(&node, json!({ "enabled": true, "name_regex": "nothing" }))
        .await
        .expect(200);
    let there = async |manifest: &Value| {
        let digest = sha256(manifest.to_string().as_bytes());
        node.get_manifest(IMAGE, &digest).await.status == 200
    };
    let run = async || {
        node.post(format!("{POLICY}/run"))
            .by("maintainer")
            .send()
            .await
            .expect(202);
        fixture::clean_up(node.app()).await;
    };
    assert_eq!(dry_run(&node).await["manifests"], 0);
    run().await;
    assert!(there(&old).await);
    clock.advance(DAY + Duration::from_secs(1));
    let plan = dry_run(&node).await;
    let digest = sha256(old.to_string().as_bytes());
    assert_eq!(
        (&plan["manifests"], &plan["going"][0]["digest"]),
        (&json!(1), &json!(digest))
    );
    run().await;
    assert!(!there(&old).await);
    for kept in [&new, &child, &index, &signature] {
        assert!(there(kept).await, "{kept}");
    }
    // The layer that only it named goes another day later.
    node.get_blob(IMAGE, &sha256(b"old")).await.expect(200);
    clock.advance(DAY + Duration::from_secs(1));
    assert_eq!(dry_run(&node).await["blobs"], 1);
    run().await;
    node.get_blob(IMAGE, &sha256(b"old")).await.expect(404);
    node.get_blob(IMAGE, &sha256(b"new")).await.expect(200);
}
