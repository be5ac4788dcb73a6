//! Rules that protect repositories and tags: at the token endpoint, in the protocol, and in the REST
//! API; and the switch for all images of a project.

use super::*;

const TAGS: &str = "/api/v4/projects/1/registry/repositories";

/// Pushes an image by a caller; gives the answer to its manifest, or to what was refused before.
async fn push(node: &TestNode, caller: &str, image: &str, tag: &str, layer: &[u8]) -> Answer {
    for blob in [b"{}".as_slice(), layer] {
        let target = format!("/v2/{image}/blobs/uploads/?digest={}", sha256(blob));
        let answer = node.post(target).by(caller).body(blob.to_vec()).send().await;
        if answer.status != 201 {
            return answer;
        }
    }
    let manifest = image_of(b"{}", &[layer]);
    let target = format!("/v2/{image}/manifests/{tag}");
    let request = node.put(target).by(caller).header("content-type", oci_image());
    request.body(manifest.to_string()).send().await
}

/// The actions that a token is given for an image.
async fn granted(node: &TestNode, caller: &str, image: &str) -> String {
    let form = format!(
        "grant_type=password&username={caller}&password={}&service=container_registry&scope=repository:{image}:pull,push,delete",
        node.token(caller)
    );
    let request = node
        .post("/jwt/auth")
        .header("content-type", "application/x-www-form-urlencoded");
    let answer = request.body(form).send().await.expect(200).json();
    answer["scope"].as_str().unwrap().to_owned()
}

async fn repository_id(node: &TestNode, image: &str) -> u64 {
    let list = node.get(TAGS).by("root").send().await.expect(200).json();
    let found = list.as_array().unwrap().iter().find(|row| row["path"] == image);
    found.unwrap()["id"].as_u64().unwrap()
}

async fn tags_of(node: &TestNode, id: u64) -> Vec<String> {
    let tags = node.get(format!("{TAGS}/{id}/tags?per_page=100")).by("root");
    let tags = tags.send().await.expect(200).json();
    let name = |tag: &Value| tag["name"].as_str().unwrap().to_owned();
    tags.as_array().unwrap().iter().map(name).collect()
}

#[tokio::test]
async fn a_protected_repository_is_pushed_to_and_deleted_from_by_those_who_may() {
    let node = TestNode::start().await;
    push(&node, "developer", IMAGE, "1", b"one").await.expect(201);
    let rule = json!({
        "repository_path_pattern": "acme/demo/ap*",
        "minimum_access_level_for_push": "maintainer",
        "minimum_access_level_for_delete": "owner",
    });
    node.protect("repository", &rule).await.expect(201);
    for caller in ["developer", "deploy-write"] {
        push(&node, caller, IMAGE, "2", b"two").await.fails(403, "DENIED");
        push(&node, caller, "acme/demo/other", "2", b"two")
            .await
            .expect(201);
    }
    for caller in ["maintainer", "owner", "root"] {
        push(&node, caller, IMAGE, caller, b"three").await.expect(201);
    }
    push(&node, "reporter", IMAGE, "2", b"two")
        .await
        .fails(403, "DENIED");
    push(&node, "anonymous", IMAGE, "2", b"two")
        .await
        .fails(401, "UNAUTHORIZED");
    let id = repository_id(&node, IMAGE).await;
    let tag = |name: &str| format!("{TAGS}/{id}/tags/{name}");
    node.delete(tag("1")).by("maintainer").send().await.expect(403);
    let target = format!("/v2/{IMAGE}/manifests/1");
    node.delete(&target)
        .by("maintainer")
        .send()
        .await
        .fails(403, "DENIED");
    let bulk = format!("{TAGS}/{id}/tags?name_regex_delete=.*");
    node.delete(bulk).by("maintainer").send().await.expect(403);
    let whole = format!("{TAGS}/{id}");
    node.delete(&whole).by("maintainer").send().await.expect(403);
    let shown = node.get(&whole).by("maintainer").send().await.expect(200).json();
    assert!(shown.get("delete_api_path").is_none());
    node.delete(&target).by("owner").send().await.expect(202);
    node.delete(&whole).by("owner").send().await.expect(202);
}

#[tokio::test]
async fn a_token_is_given_no_more_than_the_rules_allow() {
    let node = TestNode::start().await;
    let rule = json!({
        "repository_path_pattern": "acme/demo/*",
        "minimum_access_level_for_push": "maintainer",
        "minimum_access_level_for_delete": "admin",
    });
    node.protect("repository", &rule).await.expect(201);
    for (caller, expected) in [
        ("developer", "pull"),
        ("deploy-write", "pull"),
        ("maintainer", "pull,push"),
        ("owner", "pull,push"),
        ("root", "pull,push,delete"),
    ] {
        assert_eq!(
            granted(&node, caller, IMAGE).await,
            format!("repository:{IMAGE}:{expected}"),
            "{caller}"
        );
    }
    // Whoever asked for more is told that asking again is of no use.
    let ask = format!("/jwt/auth?service=container_registry&scope=repository:{IMAGE}:pull,push");
    let token = node
        .get(ask)
        .basic("x", node.token("developer"))
        .send()
        .await
        .expect(200)
        .json();
    let upload = node.post(format!("/v2/{IMAGE}/blobs/uploads/"));
    let upload = upload.bearer(token["token"].as_str().unwrap()).send().await;
    upload.fails(403, "DENIED");
}

#[tokio::test]
async fn a_rule_that_is_made_meanwhile_holds_for_a_token_that_was_given_before() {
    let node = TestNode::start().await;
    let sibling = node.sibling();
    let ask = format!("/jwt/auth?service=container_registry&scope=repository:{IMAGE}:pull,push");
    let token = node
        .get(ask)
        .basic("x", node.token("developer"))
        .send()
        .await
        .expect(200)
        .json();
    let token = token["token"].as_str().unwrap().to_owned();
    let begin = async |node: &TestNode| {
        let target = format!("/v2/{IMAGE}/blobs/uploads/");
        node.post(target).bearer(&token).send().await
    };
    begin(&sibling).await.expect(202);
    let rule = json!({
        "repository_path_pattern": IMAGE,
        "minimum_access_level_for_push": "owner",
    });
    node.protect("repository", &rule).await.expect(201);
    begin(&sibling).await.fails(403, "DENIED");
}

#[tokio::test]
async fn protected_tags_are_moved_and_deleted_by_those_who_may() {
    let node = TestNode::start().await;
    for tag in ["v1", "v2", "dev"] {
        push(&node, "developer", IMAGE, tag, b"one").await.expect(201);
    }
    let rule = json!({
        "tag_name_pattern": "^v\\d+",
        "minimum_access_level_for_push": "maintainer",
        "minimum_access_level_for_delete": "owner",
    });
    node.protect("tag", &rule).await.expect(201);
    for caller in ["developer", "deploy-write"] {
        push(&node, caller, IMAGE, "v1", b"two")
            .await
            .fails(403, "DENIED");
        push(&node, caller, IMAGE, "v3", b"two")
            .await
            .fails(403, "DENIED");
        push(&node, caller, IMAGE, "dev", b"two").await.expect(201);
    }
    // Tags beside a digest are tags all the same.
    let manifest = image_of(b"{}", &[b"two"]).to_string();
    let digest = sha256(manifest.as_bytes());
    let target = format!("/v2/{IMAGE}/manifests/{digest}?tag=v9");
    let request = node
        .put(target)
        .by("developer")
        .header("content-type", oci_image());
    request.body(manifest.clone()).send().await.fails(403, "DENIED");
    push(&node, "maintainer", IMAGE, "v1", b"two").await.expect(201);

    let id = repository_id(&node, IMAGE).await;
    let tag = |name: &str| format!("{TAGS}/{id}/tags/{name}");
    node.delete(tag("v1")).by("maintainer").send().await.expect(403);
    let by_tag = |name: &str| format!("/v2/{IMAGE}/manifests/{name}");
    node.delete(by_tag("v1"))
        .by("maintainer")
        .send()
        .await
        .fails(403, "DENIED");
    // A manifest goes with every tag that points to it, or not at all.
    node.delete(by_tag(&digest))
        .by("maintainer")
        .send()
        .await
        .fails(403, "DENIED");
    let whole = format!("{TAGS}/{id}");
    node.delete(&whole).by("maintainer").send().await.expect(403);
    // Deleting by rules spares them, whoever asks.
    let bulk = format!("{TAGS}/{id}/tags?name_regex_delete=.*");
    node.delete(bulk).by("owner").send().await.expect(202);
    assert_eq!(tags_of(&node, id).await, ["v1", "v2"]);
    node.delete(by_tag(&digest)).by("owner").send().await.expect(202);
    assert_eq!(tags_of(&node, id).await, ["v2"]);
    node.delete(&whole).by("owner").send().await.expect(202);
}

#[tokio::test]
async fn an_immutable_tag_stays_what_it_is() {
    let node = TestNode::start().await;
    let rule = json!({ "tag_name_pattern": "^v" });
    let rule = node.protect("tag", &rule).await.expect(201).json();
    assert_eq!(
        (
            &rule["minimum_access_level_for_push"],
            &rule["minimum_access_level_for_delete"]
        ),
        (&Value::Null, &Value::Null)
    );
    push(&node, "developer", IMAGE, "v1", b"one").await.expect(201);
    // The same again is no change.
    push(&node, "developer", IMAGE, "v1", b"one").await.expect(201);
    for caller in ["developer", "owner", "root"] {
        push(&node, caller, IMAGE, "v1", b"two")
            .await
            .fails(403, "DENIED");
    }
    let id = repository_id(&node, IMAGE).await;
    node.delete(format!("{TAGS}/{id}/tags/v1"))
        .by("root")
        .send()
        .await
        .expect(403);
    node.delete(format!("{TAGS}/{id}"))
        .by("root")
        .send()
        .await
        .expect(403);
    let target = format!("/api/v4/projects/1/registry/protection/tag/rules/{}", rule["id"]);
    node.delete(target).by("maintainer").send().await.expect(204);
    node.delete(format!("{TAGS}/{id}/tags/v1"))
        .by("developer")
        .send()
        .await
        .expect(200);
}

#[tokio::test]
async fn rules_of_the_registry_that_make_no_sense_are_refused() {
    let node = TestNode::start().await;
    let repository = |pattern: &str, push: Value| json!({ "repository_path_pattern": pattern, "minimum_access_level_for_push": push });
    for (wrong, status) in [
        (repository("acme/demo/x", Value::Null), 422),
        (repository("acme/open/x", json!("owner")), 422),
        (repository("acme/demolition", json!("owner")), 422),
        (repository("*", json!("owner")), 422),
        (repository("", json!("owner")), 400),
        (repository("acme/demo", json!("developer")), 400),
        (json!({ "minimum_access_level_for_push": "owner" }), 400),
    ] {
        let answer = node.protect("repository", &wrong).await;
        assert_eq!(answer.status, status, "{wrong}");
    }
    for good in ["acme/demo", "acme/demo*", "Acme/Demo/x*y"] {
        node.protect("repository", &repository(good, json!("owner")))
            .await
            .expect(201);
    }
    node.protect("repository", &repository("acme/demo", json!("admin")))
        .await
        .expect(422);
    let tag = |pattern: &str, push: Value, delete: Value| {
        json!({
            "tag_name_pattern": pattern,
            "minimum_access_level_for_push": push,
            "minimum_access_level_for_delete": delete,
        })
    };
    let long = "x".repeat(101);
    for wrong in [
        tag("", Value::Null, Value::Null),
        tag("(", Value::Null, Value::Null),
        tag("(?=a)", Value::Null, Value::Null),
        tag(&long, Value::Null, Value::Null),
        tag("a", json!("owner"), Value::Null),
        tag("a", Value::Null, json!("owner")),
    ] {
        let answer = node.protect("tag", &wrong).await;
        assert_eq!(answer.status, 422, "{wrong}");
    }
    for number in 0..5 {
        let rule = tag(&format!("v{number}"), Value::Null, Value::Null);
        node.protect("tag", &rule).await.expect(201);
    }
    node.protect("tag", &tag("v6", Value::Null, Value::Null))
        .await
        .expect(422);
}

#[tokio::test]
async fn images_have_a_switch_of_their_own() {
    let node = TestNode::start().await;
    push(&node, "developer", IMAGE, "1", b"one").await.expect(201);
    let package = "/api/v4/projects/1/packages/generic/p/1/f";
    node.put(package)
        .by("developer")
        .body("bytes")
        .send()
        .await
        .expect(201);
    let set = async |access: &str| {
        let body = json!({ "container_registry_access_level": access });
        let put = node.put("/api/v4/projects/1").by("maintainer").json(&body);
        let shown = put.send().await.expect(200).json();
        assert_eq!(shown["container_registry_access_level"], access);
        assert_eq!(shown["package_registry_access_level"], "enabled");
    };
    let pull = async |caller: &str| {
        let target = format!("/v2/{IMAGE}/manifests/1");
        node.get(target).by(caller).send().await.status
    };
    set("public").await;
    assert_eq!((pull("anonymous").await, pull("stranger").await), (200, 200));
    let read = node.get(package).send().await;
    assert_eq!(read.status, 401, "packages are not wider than before");
    set("private").await;
    assert_eq!(
        (
            pull("anonymous").await,
            pull("guest").await,
            pull("reporter").await
        ),
        (401, 403, 200)
    );
    set("disabled").await;
    assert_eq!((pull("root").await, pull("owner").await), (403, 403));
    node.get(TAGS).by("owner").send().await.expect(403);
    node.get(package).by("reporter").send().await.expect(200);
    let body =
        json!({ "container_registry_access_level": "enabled", "package_registry_access_level": "disabled" });
    node.put("/api/v4/projects/1")
        .by("maintainer")
        .json(&body)
        .send()
        .await
        .expect(200);
    assert_eq!(pull("reporter").await, 200);
    node.get(package).by("reporter").send().await.expect(403);
    node.get("/api/v4/projects/1/packages")
        .by("owner")
        .send()
        .await
        .expect(403);
}
