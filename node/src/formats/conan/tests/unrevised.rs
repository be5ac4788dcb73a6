//! Version 1 of the API: clients that know of no revisions.

use super::*;
use crate::registry::fixture;
use crate::registry::settings::DuplicatePolicy;

const V1: &str = "/api/v4/projects/1/packages/conan/v1/conans/hello/1.0/acme/stable";
const V2: &str = "/api/v4/projects/1/packages/conan/v2/conans/hello/1.0/acme/stable";

/// Sends files as Conan 1 does: it asks where to, and sends them in the order of their names.
async fn send(node: &TestNode, line: &str, files: &Files) {
    let sizes: Value = files
        .0
        .iter()
        .map(|(path, bytes)| (path.clone(), json!(bytes.len())))
        .collect();
    let request = node
        .post(format!("{line}/upload_urls"))
        .by("developer")
        .json(&sizes);
    let urls = request.send().await.expect(200).json();
    for (path, bytes) in &files.0 {
        let url = urls[path].as_str().unwrap();
        let target = url.strip_prefix("http://cairn.example").unwrap();
        let answer = put(node, target, "developer", bytes).await;
        assert!(
            [200, 201].contains(&answer.status),
            "{} {}",
            answer.status,
            answer.text()
        );
    }
}

#[tokio::test]
async fn a_recipe_and_a_binary_go_to_the_revision_zero_and_come_back() {
    let node = TestNode::start().await;
    for target in ["", "/digest", "/download_urls", "/search"] {
        get(&node, &format!("{V1}{target}")).await.expect(404);
    }
    let (sent, line) = (recipe("one"), format!("{V1}/packages/{ID}"));
    send(&node, V1, &sent).await;
    send(&node, &line, &package("one")).await;
    let sums: Value = sent
        .0
        .iter()
        .map(|(path, bytes)| (path.clone(), json!(md5(bytes))))
        .collect();
    assert_eq!(json_of(&node, V1).await, sums);
    let digest = json_of(&node, &format!("{line}/digest")).await;
    assert_eq!(
        digest["conanmanifest.txt"],
        format!(
            "http://cairn.example{BASE}/v1/files/hello/1.0/acme/stable/0/package/{ID}/0/conanmanifest.txt"
        )
    );
    let urls = json_of(&node, &format!("{line}/download_urls")).await;
    let url = urls["conaninfo.txt"].as_str().unwrap();
    let fetched = get(&node, url.strip_prefix("http://cairn.example").unwrap())
        .await
        .expect(200);
    assert_eq!(
        (fetched.text(), fetched.header("cache-control")),
        (INFO, "private, no-cache")
    );
    let found = json_of(&node, &format!("{V1}/search")).await;
    assert_eq!(found[ID]["content"], INFO);
    assert_eq!(results(&node, BASE, "?q=hello*").await, ["hello/1.0@acme/stable"]);
    assert_eq!(
        json_of(&node, &format!("{BASE}/v1/conans/search?q=hello*")).await["results"],
        json!(["hello/1.0@acme/stable"])
    );
    assert_eq!(json_of(&node, &format!("{V2}/latest")).await["revision"], "0");
}

#[tokio::test]
async fn a_recipe_is_replaced_all_at_once() {
    let node = TestNode::start().await;
    send(&node, V1, &recipe("one")).await;
    let first = json_of(&node, &format!("{V2}/latest")).await;
    let second = recipe("two");
    let file = format!("{V2}/revisions/0/files/conanfile.py");
    send(&node, V1, &Files(second.0[..2].to_vec())).await;
    assert_eq!(get(&node, &file).await.text(), "one");
    send(&node, V1, &Files(second.0[2..].to_vec())).await;
    assert_eq!(get(&node, &file).await.text(), "two");
    assert_ne!(json_of(&node, &format!("{V2}/latest")).await, first);
    let list = json!({"files": ["conan_export.tgz", "conanmanifest.txt", "none"]});
    let remove = node
        .post(format!("{V1}/remove_files"))
        .by("developer")
        .json(&list);
    remove.send().await.expect(200);
    let left = json_of(&node, V1).await;
    assert_eq!(
        left.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["conanfile.py", "conanmanifest.txt"]
    );
    // Unless the project says that nothing is to change.
    fixture::set_duplicates(node.app(), 1, "conan", DuplicatePolicy::ForbidSameContentOk).await;
    put(&node, &file, "developer", b"three").await.expect(400);
    let remove = node
        .post(format!("{V1}/remove_files"))
        .by("developer")
        .json(&list);
    remove.send().await.expect(400);
    fixture::check_counters(node.app(), 1).await;
}

#[tokio::test]
async fn archives_that_did_not_change_stay_when_a_recipe_is_replaced() {
    let node = TestNode::start().await;
    let archive = tar_gz(&[("conandata.yml", "same")]);
    let sent = |text: &str| {
        let files: [(&str, &[u8]); 2] = [("conandata.yml", b"same"), ("conanfile.py", text.as_bytes())];
        Files(vec![
            ("conan_export.tgz".into(), archive.clone()),
            ("conanfile.py".into(), text.into()),
            ("conanmanifest.txt".into(), manifest(1, &files).into()),
        ])
    };
    send(&node, V1, &sent("one")).await;
    send(&node, V1, &sent("two")).await;
    let file = format!("{V2}/revisions/0/files");
    assert_eq!(get(&node, &format!("{file}/conanfile.py")).await.text(), "two");
    get(&node, &format!("{file}/conan_export.tgz")).await.expect(200);
}

#[tokio::test]
async fn clients_without_revisions_see_the_newest_of_others() {
    let node = TestNode::start().await;
    publish(&node, "hello/1.0/acme/stable", "aaa").await;
    publish_package(&node, "hello/1.0/acme/stable", "aaa", "bbb").await;
    let urls = json_of(&node, &format!("{V1}/packages/{ID}/download_urls")).await;
    let url = urls["conaninfo.txt"].as_str().unwrap();
    assert!(
        url.ends_with(&format!("/aaa/package/{ID}/bbb/conaninfo.txt")),
        "{url}"
    );
    get(&node, url.strip_prefix("http://cairn.example").unwrap())
        .await
        .expect(200);
    // A binary goes where its recipe is.
    send(&node, &format!("{V1}/packages/{ID}"), &package("other")).await;
    let line = format!("{V2}/revisions/aaa/packages/{ID}");
    assert_eq!(revisions(&node, &line).await, ["0", "bbb"]);
}

#[tokio::test]
async fn binaries_and_recipes_are_deleted() {
    let node = TestNode::start().await;
    send(&node, V1, &recipe("one")).await;
    let line = format!("{V1}/packages/{ID}");
    let delete = async |body: Value| {
        let request = node.post(format!("{V1}/packages/delete")).by("maintainer");
        request.json(&body).send().await
    };
    for body in [json!({"package_ids": [ID]}), json!({"package_ids": []})] {
        send(&node, &line, &package("one")).await;
        delete(body.clone()).await.expect(200);
        assert_eq!(json_of(&node, &format!("{V1}/search")).await, json!({}));
        delete(body).await.expect(404);
    }
    delete(json!({"package_ids": ["../x"]})).await.expect(400);
    node.delete(V1).by("maintainer").send().await.expect(200);
    get(&node, V1).await.expect(404);
    let long: Value = (0..1001).map(|number| (format!("f{number}"), json!(1))).collect();
    let request = node.post(format!("{V1}/upload_urls")).by("developer").json(&long);
    request.send().await.expect(400);
    let request = node.post(format!("{V1}/upload_urls")).by("developer");
    request.json(&json!({"../x": 1})).send().await.expect(400);
}
