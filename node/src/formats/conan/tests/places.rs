//! Searches, and where references are: projects, groups, the instance.

use super::*;

#[tokio::test]
async fn references_are_found_by_patterns_in_their_order() {
    let node = TestNode::start().await;
    assert!(results(&node, BASE, "").await.is_empty());
    for reference in [
        "zlib/1.3/_/_",
        "zlib/1.2/acme/stable",
        "zlib-ng/2.0/_/_",
        "Boost/1.80/_/_",
        "boost/1.81/acme/_",
    ] {
        publish(&node, reference, "aaa").await;
    }
    for (query, expected) in [
        (
            "",
            vec![
                "Boost/1.80",
                "boost/1.81@acme",
                "zlib-ng/2.0",
                "zlib/1.2@acme/stable",
                "zlib/1.3",
            ],
        ),
        ("?q=zlib/*", vec!["zlib/1.2@acme/stable", "zlib/1.3"]),
        ("?q=zlib", vec!["zlib/1.2@acme/stable", "zlib/1.3"]),
        (
            "?q=zlib*",
            vec!["zlib-ng/2.0", "zlib/1.2@acme/stable", "zlib/1.3"],
        ),
        ("?q=BOOST*", vec!["Boost/1.80", "boost/1.81@acme"]),
        ("?q=Boost*&ignorecase=False", vec!["Boost/1.80"]),
        ("?q=*@acme*", vec!["boost/1.81@acme", "zlib/1.2@acme/stable"]),
        ("?q=nothing*", vec![]),
    ] {
        assert_eq!(results(&node, BASE, query).await, expected, "{query}");
    }
    let target = format!("{BASE}/v2/conans/search?q=zlib*");
    let first = get(&node, &target).await;
    let again = node
        .get(&target)
        .by("reporter")
        .header("if-none-match", first.header("etag"));
    again.send().await.expect(304);
    publish(&node, "zlib/1.4/_/_", "aaa").await;
    let again = node
        .get(&target)
        .by("reporter")
        .header("if-none-match", first.header("etag"));
    assert_eq!(
        again.send().await.expect(200).json()["results"]
            .as_array()
            .unwrap()
            .len(),
        4
    );
    let long = format!("{BASE}/v2/conans/search?q={}", "a".repeat(600));
    get(&node, &long).await.expect(400);
}

#[tokio::test]
async fn a_long_list_of_references_is_whole() {
    let node = TestNode::start().await;
    let mut expected = Vec::new();
    for number in 0..300 {
        let folder = at(&format!("p{number:03}/1.0/_/_"), "aaa");
        for (path, bytes) in &recipe("x").0[1..] {
            put(&node, &format!("{folder}/files/{path}"), "developer", bytes)
                .await
                .expect(201);
        }
        expected.push(format!("p{number:03}/1.0"));
    }
    assert_eq!(results(&node, BASE, "").await, expected);
    assert_eq!(results(&node, GROUP, "?q=*1.0").await, expected);
}

#[tokio::test]
async fn a_group_shows_the_recipes_of_whoever_had_the_name_first() {
    let node = TestNode::start().await;
    let other = "/api/v4/projects/3/packages/conan";
    publish(&node, "zlib/1.3/_/_", "aaa").await;
    for reference in ["zlib/1.3/_/_", "zlib/9.9/_/_", "boost/1.80/_/_"] {
        let folder = format!("{other}/v2/conans/{reference}/revisions/bbb");
        recipe("other").send_to(&node, &folder, "developer").await;
    }
    assert_eq!(results(&node, GROUP, "").await, ["boost/1.80", "zlib/1.3"]);
    let latest = json_of(&node, &format!("{GROUP}/v2/conans/zlib/1.3/_/_/latest")).await;
    assert_eq!(latest["revision"], "aaa");
    get(&node, &format!("{GROUP}/v2/conans/zlib/9.9/_/_/latest"))
        .await
        .expect(404);
    let file = format!("{GROUP}/v2/conans/zlib/1.3/_/_/revisions/aaa/files/conanfile.py");
    assert_eq!(get(&node, &file).await.expect(200).text(), "aaa");
    node.get(&file).send().await.expect(401);
    let refused = put(&node, &file, "root", b"x").await.expect(400);
    assert!(refused.text().contains("published to a project"));
    let urls = json_of(&node, &format!("{GROUP}/v1/conans/zlib/1.3/_/_/digest")).await;
    let url = urls["conanmanifest.txt"].as_str().unwrap();
    assert_eq!(
        url,
        "http://cairn.example/api/v4/groups/1/-/packages/conan/v1/files/zlib/1.3/_/_/aaa/export/conanmanifest.txt"
    );
    get(&node, url.strip_prefix("http://cairn.example").unwrap())
        .await
        .expect(200);
}

#[tokio::test]
async fn at_the_instance_the_user_of_a_reference_is_its_project() {
    let node = TestNode::start().await;
    let reference = "zlib/1.3/acme+demo/stable";
    let folder = format!("{INSTANCE}/v2/conans/{reference}/revisions/aaa");
    recipe("aaa").send_to(&node, &folder, "developer").await;
    assert_eq!(results(&node, BASE, "").await, ["zlib/1.3@acme+demo/stable"]);
    assert_eq!(results(&node, INSTANCE, "").await, ["zlib/1.3@acme+demo/stable"]);
    let latest = format!("{INSTANCE}/v2/conans/{reference}/latest");
    assert_eq!(json_of(&node, &latest).await["revision"], "aaa");
    node.get(&latest).by("stranger").send().await.expect(404);
    node.get(&latest).send().await.expect(401);
    // Others cannot put something in the place of it.
    let squat = "/api/v4/projects/2/packages/conan/v2/conans/zlib/1.4/acme+demo/stable/revisions/aaa";
    recipe("bad").send_to(&node, squat, "root").await;
    get(
        &node,
        &format!("{INSTANCE}/v2/conans/zlib/1.4/acme+demo/stable/latest"),
    )
    .await
    .expect(404);
    publish(&node, "other/1.0/_/_", "aaa").await;
    get(&node, &format!("{INSTANCE}/v2/conans/other/1.0/_/_/latest"))
        .await
        .expect(404);
    assert_eq!(results(&node, INSTANCE, "").await, ["zlib/1.3@acme+demo/stable"]);
    for (target, caller, status) in [
        (
            format!("{INSTANCE}/v2/conans/zlib/1.5/acme+demo/stable"),
            "reporter",
            403,
        ),
        (
            format!("{INSTANCE}/v2/conans/zlib/1.5/acme+demo/stable"),
            "stranger",
            404,
        ),
        (
            format!("{INSTANCE}/v2/conans/zlib/1.5/acme+none/stable"),
            "root",
            404,
        ),
        (format!("{INSTANCE}/v2/conans/zlib/1.5/_/_"), "root", 404),
    ] {
        let target = format!("{target}/revisions/aaa/files/conanfile.py");
        put(&node, &target, caller, b"x").await.expect(status);
    }
    let delete = node
        .delete(format!("{INSTANCE}/v2/conans/{reference}"))
        .by("maintainer");
    delete.send().await.expect(200);
    assert_eq!(results(&node, BASE, "").await, ["other/1.0"]);
}

#[tokio::test]
async fn errors_are_plain_text_with_statuses_that_clients_know() {
    let node = TestNode::start().await;
    let missing = get(&node, &format!("{BASE}/v2/conans/zlib/1.3/_/_/latest"))
        .await
        .expect(404);
    assert_eq!(missing.text(), "not found: zlib/1.3");
    assert_eq!(missing.header("content-type"), "text/plain; charset=utf-8");
    let unsigned = node
        .get(format!("{BASE}/v2/conans/zlib/1.3/_/_/latest"))
        .send()
        .await
        .expect(401);
    assert_eq!(unsigned.header("www-authenticate"), "Bearer realm=\"cairn\"");
    let not_allowed = node
        .post(format!("{BASE}/v2/conans/search"))
        .by("root")
        .send()
        .await;
    not_allowed.expect(400);
}
