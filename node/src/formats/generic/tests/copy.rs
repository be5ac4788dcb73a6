//! Copying and promoting.

use serde_json::{Value, json};

use super::*;

async fn copy(node: &TestNode, caller: &str, project: &str, order: Value) -> Answer {
    let target = format!("/api/v4/projects/{project}/packages/generic/-/copy");
    node.post(target).by(caller).json(&order).send().await
}

async fn read(node: &TestNode, path: &str) -> String {
    let file = node.get(at(path)).by("reporter").send().await.expect(200);
    file.text().to_owned()
}

#[tokio::test]
async fn a_version_is_promoted_with_all_its_files() {
    let node = TestNode::start().await;
    for (path, bytes) in [("/tool/1.0-rc.1/a", "one"), ("/tool/1.0-rc.1/dir/b", "two")] {
        publish(&node, path, bytes).await.expect(201);
    }
    let order = json!({"from": {"package": "tool", "version": "1.0-rc.1"}, "to": {"version": "1.0"}});
    let copied = copy(&node, "developer", "1", order.clone())
        .await
        .expect(201)
        .json();
    assert_eq!(copied["files"].as_array().unwrap().len(), 2);
    assert_eq!(copied["files"][1]["file_name"], "dir/b");
    assert_eq!(copied["files"][1]["file_sha256"], sha256(b"two"));
    assert_eq!(
        copied["files"][0]["url"],
        "http://cairn.example/api/v4/projects/1/packages/generic/tool/1.0/a"
    );
    // What was copied stays when what it was copied from goes.
    node.delete(at("/tool/1.0-rc.1"))
        .by("maintainer")
        .send()
        .await
        .expect(204);
    let sibling = node.sibling();
    assert_eq!(
        (
            read(&node, "/tool/1.0/a").await,
            read(&sibling, "/tool/1.0/dir/b").await
        ),
        ("one".into(), "two".into())
    );
    copy(&node, "developer", "1", order).await.expect(404);
    // The same again is the same publish; other content is refused, and then nothing is copied.
    publish(&node, "/tool/2/a", "other").await.expect(201);
    publish(&node, "/tool/2/c", "new").await.expect(201);
    let order = json!({"from": {"package": "tool", "version": "2"}, "to": {"version": "1.0"}});
    let refused = copy(&node, "developer", "1", order).await.expect(400);
    assert!(refused.text().contains("Duplicate package is not allowed"));
    node.get(at("/tool/1.0/c"))
        .by("reporter")
        .send()
        .await
        .expect(404);
    let order = json!({"from": {"package": "tool", "version": "1.0"}});
    copy(&node, "developer", "1", order).await.expect(201);
}

#[tokio::test]
async fn a_file_is_copied_to_another_name_view_or_project() {
    let node = TestNode::start().await;
    publish(&node, "/tool/1/dir/f", "bytes").await.expect(201);
    let file = json!({"package": "tool", "version": "1", "file": "dir/f"});
    for (to, status, path) in [
        (json!({"file": "g"}), "default", "/tool/1/g"),
        (json!({"package": "secret"}), "hidden", "/secret/1/dir/f"),
        (
            json!({"path": "any/ü path"}),
            "default",
            "/-/raw/any/%C3%BC%20path",
        ),
    ] {
        let order = json!({"from": file, "to": to, "status": status});
        copy(&node, "developer", "1", order).await.expect(201);
        assert_eq!(read(&node, path).await, "bytes", "{path}");
    }
    node.get(at("/secret/1/")).by("reporter").send().await.expect(404);
    let order = json!({
        "from": {"path": "any/ü path"},
        "to": {"package": "tool", "version": "3", "file": "h"},
    });
    copy(&node, "developer", "1", order).await.expect(201);
    assert_eq!(read(&node, "/tool/3/h").await, "bytes");
    let order = json!({"from_project": 1, "from": {"path": "any/ü path"}});
    copy(&node, "developer", "2", order).await.expect(201);
    let order = json!({"from": {"path": "any/ü path"}, "to": {"package": "p"}});
    let refused = copy(&node, "developer", "1", order).await.expect(400);
    assert!(refused.text().contains("a file is named"));
    for project in [json!("acme/demo"), json!(1)] {
        let order = json!({"from_project": project, "from": file});
        copy(&node, "developer", "2", order).await.expect(201);
    }
    let open = "/api/v4/projects/2/packages/generic/tool/1/dir/f";
    let fetched = node.get(open).send().await.expect(200);
    assert_eq!(
        (fetched.text(), fetched.header("x-checksum-md5")),
        ("bytes", "4b3a6218bb3e3a7303e8a171a60fcf92")
    );
}

#[tokio::test]
async fn who_copies_may_pull_there_and_publish_here() {
    let node = TestNode::start().await;
    publish(&node, "/tool/1/f", "x").await.expect(201);
    let here = json!({"from": {"package": "tool", "version": "1"}, "to": {"version": "2"}});
    for (caller, status) in [
        ("anonymous", 401),
        ("stranger", 404),
        ("guest", 403),
        ("reporter", 403),
        ("deploy-read", 403),
        ("deploy-write", 201),
    ] {
        copy(&node, caller, "1", here.clone()).await.expect(status);
    }
    // Of what is not for the caller it is not said whether it is there.
    let scopes = ["read_package_registry", "write_package_registry"];
    let token = node
        .post("/api/v4/projects/2/deploy_tokens")
        .by("maintainer")
        .json(&json!({"name": "open", "scopes": scopes}))
        .send()
        .await;
    let token = token.expect(201).json();
    for project in [json!("acme/demo"), json!("acme/none"), json!(1), json!(3)] {
        let order = json!({"from_project": project, "from": {"package": "tool", "version": "1"}});
        let request = node.post("/api/v4/projects/2/packages/generic/-/copy");
        let request = request.bearer(token["token"].as_str().unwrap());
        let refused = request.json(&order).send().await.expect(404);
        assert_eq!(refused.json()["message"], "404 Project Not Found");
    }
    let group = node.get("/api/v4/groups/other").by("root").send().await.json();
    let project = json!({"name": "far", "namespace_id": group["id"]});
    let project = node
        .post("/api/v4/projects")
        .by("root")
        .json(&project)
        .send()
        .await;
    let id = project.expect(201).json()["id"].to_string();
    let order = json!({"from_project": 1, "from": {"package": "tool", "version": "1"}});
    let refused = copy(&node, "root", &id, order).await.expect(422);
    assert!(refused.text().contains("below one root group"));
}

#[tokio::test]
async fn wrong_copies_are_refused() {
    let node = TestNode::start().await;
    for (path, bytes) in [("/tool/1/f", "x"), ("/tool/2/f", "y")] {
        publish(&node, path, bytes).await.expect(201);
    }
    for file in 0..257 {
        publish(&node, &format!("/many/1/{file}"), "x").await.expect(201);
    }
    let version = json!({"package": "tool", "version": "1"});
    for (order, status, message) in [
        (json!({}), 400, "missing field"),
        (json!({"from": {}}), 400, "a file is named"),
        (json!({"from": {"package": "tool"}}), 400, "a file is named"),
        (
            json!({"from": {"version": "1"}}),
            400,
            "a version is named by package and version",
        ),
        (
            json!({"from_project": [1], "from": {"path": "x"}}),
            400,
            "neither a number nor a path",
        ),
        (
            json!({"from_project": "a b", "from": {"path": "x"}}),
            400,
            "may hold only",
        ),
        (json!({"from": {"path": "../x"}}), 400, "'..' segment"),
        (json!({"from": {"path": "x"}}), 404, "404 File Not Found"),
        (
            json!({"from": version, "to": {"file": "g"}}),
            400,
            "a version is copied to a version",
        ),
        (
            json!({"from": version, "to": {"version": "latest"}}),
            400,
            "reserved",
        ),
        (json!({"from": version, "status": "deprecated"}), 400, "status"),
        (json!({"from": version, "status": "gone"}), 400, "unknown variant"),
        (
            json!({"from": version, "to": {"version": "2"}}),
            400,
            "Duplicate package is not allowed",
        ),
        (
            json!({"from": {"package": "many", "version": "1"}, "to": {"version": "2"}}),
            422,
            "more than 256 files",
        ),
        (json!({"from": version, "into": {}}), 400, "unknown field"),
        (
            json!({"from": version, "to": {"versoin": "2"}}),
            400,
            "unknown field",
        ),
        (
            json!({"from": {"path": "x"}, "to": {"package": "p"}}),
            404,
            "404 File Not Found",
        ),
    ] {
        let answer = copy(&node, "maintainer", "1", order.clone()).await;
        assert_eq!(answer.status, status, "{order}: {}", answer.text());
        let said = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(said.contains(message), "{order}: {said}");
    }
    node.get(at("/many/2/")).by("reporter").send().await.expect(404);
}
