//! Publishing, and what is read of it.

use std::time::Duration;

use super::*;
use crate::archive::Compression;
use crate::formats::conan::store;
use crate::registry::fixture;
use crate::registry::settings::DuplicatePolicy;
use crate::testing::archives::{compressed, tar};
use crate::testing::clock::StoppedClock;

const HELLO: &str = "hello/1.0/_/_";

fn hello() -> String {
    format!("{BASE}/v2/conans/{HELLO}")
}

#[tokio::test]
async fn a_revision_is_there_when_its_manifest_is() {
    let node = TestNode::start().await;
    let files = recipe("aaa");
    let (folder, sibling) = (at(HELLO, "aaa"), node.sibling());
    for (path, bytes) in &files.0[..2] {
        put(&node, &format!("{folder}/files/{path}"), "developer", bytes)
            .await
            .expect(201);
        for target in [
            "latest",
            "revisions",
            "search",
            "revisions/aaa/files",
            "revisions/aaa/files/conanfile.py",
        ] {
            get(&sibling, &format!("{}/{target}", hello())).await.expect(404);
        }
        assert!(results(&node, BASE, "").await.is_empty());
    }
    let packages = get(&node, "/api/v4/projects/1/packages").await.expect(200);
    assert_eq!(packages.json(), json!([]));
    // The last file may come to any node.
    put(
        &sibling,
        &format!("{folder}/files/conanmanifest.txt"),
        "developer",
        &files.0[2].1,
    )
    .await
    .expect(201);
    let latest = json_of(&node, &format!("{}/latest", hello())).await;
    assert_eq!(latest["revision"], "aaa");
    assert!(latest["time"].as_str().unwrap().ends_with("+00:00"));
    assert_eq!(revisions(&node, &hello()).await, ["aaa"]);
    assert_eq!(
        json_of(&node, &format!("{folder}/files")).await,
        json!({"files": {"conan_export.tgz": {}, "conanfile.py": {}, "conanmanifest.txt": {}}})
    );
    let fetched = get(&node, &format!("{folder}/files/conanfile.py"))
        .await
        .expect(200);
    assert_eq!(fetched.text(), "aaa");
    assert_eq!(fetched.header("x-checksum-sha1"), sha1(b"aaa"));
    assert_eq!(
        fetched.header("cache-control"),
        "private, max-age=31536000, immutable"
    );
    let etag = fetched.header("etag").to_owned();
    let again = node.get(format!("{folder}/files/conanfile.py")).by("reporter");
    again.header("if-none-match", &etag).send().await.expect(304);
    let part = node.get(format!("{folder}/files/conanfile.py")).by("reporter");
    assert_eq!(
        part.header("range", "bytes=1-").send().await.expect(206).text(),
        "aa"
    );
    get(&node, &format!("{folder}/files/conan_sources.tgz"))
        .await
        .expect(404);
    assert_eq!(results(&node, BASE, "?q=hello").await, ["hello/1.0"]);
    let packages = get(&node, "/api/v4/projects/1/packages?package_type=conan")
        .await
        .expect(200);
    assert_eq!(packages.json()[0]["name"], "hello");
    assert_eq!(packages.json()[0]["package_type"], "conan");
}

#[tokio::test]
async fn binaries_belong_to_a_revision_of_the_recipe() {
    let node = TestNode::start().await;
    let folder = of(HELLO, "aaa", ID, "bbb");
    let refused = put(
        &node,
        &format!("{folder}/files/conaninfo.txt"),
        "developer",
        INFO.as_bytes(),
    )
    .await;
    assert!(refused.expect(404).text().contains("hello/1.0#aaa"));
    publish(&node, HELLO, "aaa").await;
    let missing = format!("{}/packages/{ID}/latest", at(HELLO, "aaa"));
    get(&node, &missing).await.expect(404);
    assert_eq!(
        json_of(&node, &format!("{}/search", at(HELLO, "aaa"))).await,
        json!({})
    );
    publish_package(&node, HELLO, "aaa", "bbb").await;
    assert_eq!(json_of(&node, &missing).await["revision"], "bbb");
    let found = json_of(&node, &format!("{}/search", at(HELLO, "aaa"))).await;
    assert_eq!(
        found,
        json!({ID: {
            "content": INFO, "settings": {"arch": "x86_64", "os": "Linux"},
            "options": {"shared": "False"}, "requires": ["zlib/1.3"],
        }})
    );
    assert_eq!(json_of(&node, &format!("{}/search", hello())).await, found);
    assert_eq!(
        json_of(&node, &format!("{}/search?list_only=True", at(HELLO, "aaa"))).await,
        json!({ID: {}})
    );
    publish_package(&node, HELLO, "aaa", "ccc").await;
    let line = format!("{}/packages/{ID}", at(HELLO, "aaa"));
    assert_eq!(revisions(&node, &line).await, ["ccc", "bbb"]);
    assert_eq!(
        json_of(&node, &format!("{folder}/files")).await,
        json!({"files": {"conan_package.tgz": {}, "conaninfo.txt": {}, "conanmanifest.txt": {}}})
    );
    // A newer recipe begins without binaries.
    publish(&node, HELLO, "bbb").await;
    assert_eq!(json_of(&node, &format!("{}/search", hello())).await, json!({}));
}

#[tokio::test]
async fn the_newest_revision_is_the_one_that_was_completed_last() {
    // However little time passes.
    let (node, _) = StoppedClock::node().await;
    for revision in ["ccc", "aaa", "bbb"] {
        publish(&node, HELLO, revision).await;
    }
    assert_eq!(revisions(&node, &hello()).await, ["bbb", "aaa", "ccc"]);
    let first = json_of(&node, &format!("{}/revisions", hello())).await;
    // Sent again it stays where it is.
    for (path, bytes) in recipe("aaa").0 {
        let target = format!("{}/files/{path}", at(HELLO, "aaa"));
        put(&node, &target, "developer", &bytes).await.expect(200);
    }
    assert_eq!(json_of(&node, &format!("{}/revisions", hello())).await, first);
    let promote = node.post(format!("{}/promote", at(HELLO, "ccc"))).by("developer");
    promote.send().await.expect(200);
    assert_eq!(revisions(&node, &hello()).await, ["ccc", "bbb", "aaa"]);
    let unknown = node.post(format!("{}/promote", at(HELLO, "ddd"))).by("developer");
    unknown.send().await.expect(404);
}

#[tokio::test]
async fn a_long_list_of_revisions_is_whole() {
    let node = TestNode::start().await;
    for number in 0..300 {
        let revision = format!("r{number}");
        let folder = at(HELLO, &revision);
        for (path, bytes) in &recipe("x").0[1..] {
            put(&node, &format!("{folder}/files/{path}"), "developer", bytes)
                .await
                .expect(201);
        }
    }
    let listed = revisions(&node, &hello()).await;
    let expected: Vec<_> = (0..300).rev().map(|number| format!("r{number}")).collect();
    assert_eq!(listed, expected);
}

#[tokio::test]
async fn other_content_does_not_come_under_a_revision() {
    let node = TestNode::start().await;
    publish(&node, HELLO, "aaa").await;
    let target = |path: &str| format!("{}/files/{path}", at(HELLO, "aaa"));
    let refused = put(&node, &target("conanfile.py"), "developer", b"other")
        .await
        .expect(400);
    assert!(
        refused
            .text()
            .contains("is published already, with other content")
    );
    // The same files at another time are the same.
    let later = manifest(2, &[("conanfile.py", b"aaa")]);
    put(&node, &target("conanmanifest.txt"), "developer", later.as_bytes())
        .await
        .expect(200);
    let kept = get(&node, &target("conanmanifest.txt")).await.expect(200);
    assert!(kept.text().starts_with("1\n"));
    // What is not in the manifest is added, and changes.
    for text in ["one", "two"] {
        put(
            &node,
            &target("metadata/logs/build.log"),
            "developer",
            text.as_bytes(),
        )
        .await
        .expect(201);
        let log = get(&node, &target("metadata/logs/build.log")).await.expect(200);
        assert_eq!(
            (log.text(), log.header("cache-control")),
            (text, "private, no-cache")
        );
    }
    fixture::set_duplicates(node.app(), 1, "conan", DuplicatePolicy::Forbid).await;
    put(&node, &target("conanfile.py"), "developer", b"aaa")
        .await
        .expect(400);
    fixture::set_duplicates(node.app(), 1, "conan", DuplicatePolicy::Replace).await;
    put(&node, &target("conanfile.py"), "developer", b"other")
        .await
        .expect(201);
    // Nobody sees it before the manifest.
    assert_eq!(get(&node, &target("conanfile.py")).await.text(), "aaa");
    let other = manifest(3, &[("conanfile.py", b"other")]);
    put(&node, &target("conanmanifest.txt"), "developer", other.as_bytes())
        .await
        .expect(201);
    assert_eq!(get(&node, &target("conanfile.py")).await.text(), "other");
    fixture::check_counters(node.app(), 1).await;
}

#[tokio::test]
async fn what_is_not_what_it_says_is_refused() {
    let node = TestNode::start().await;
    let target = |path: &str| format!("{}/files/{path}", at(HELLO, "aaa"));
    let request = node.put(target("conanfile.py")).by("developer");
    let request = request.header("x-checksum-sha1", &sha1(b"what was meant"));
    let refused = request.body("what came").send().await.expect(400);
    assert!(refused.text().contains("sha1"), "{}", refused.text());
    let refused = put(&node, &target("conan_export.tgz"), "developer", b"no archive")
        .await
        .expect(400);
    assert!(refused.text().starts_with("the archive"), "{}", refused.text());
    let evil = tar_gz(&[("../../evil", "x")]);
    put(&node, &target("conan_sources.tgz"), "developer", &evil)
        .await
        .expect(400);
    for (name, compression) in [
        ("conan_sources.txz", Compression::Xz),
        ("conan_sources.tzst", Compression::Zstd),
    ] {
        let target = target(name);
        let packed = |path| compressed(&tar(&[(path, "x")]).into_inner().unwrap(), compression);
        for harmful in [&packed("../../evil"), &evil] {
            put(&node, &target, "developer", harmful).await.expect(400);
        }
        put(&node, &target, "developer", &packed("src/a.c"))
            .await
            .expect(201);
    }
    for (path, archive) in [
        ("conandata.yml", "conan_export.tgz"),
        ("export_source/a.c", "conan_sources.tgz"),
    ] {
        let target = |path: &str| format!("{}/files/{path}", at("other/1.0/_/_", "aaa"));
        put(&node, &target("conanfile.py"), "developer", b"x")
            .await
            .expect(201);
        let lonely = manifest(1, &[("conanfile.py", b"x"), (path, b"y")]);
        let refused = put(
            &node,
            &target("conanmanifest.txt"),
            "developer",
            lonely.as_bytes(),
        )
        .await
        .expect(400);
        assert!(
            refused.text().contains(&format!("has no {archive}")),
            "{}",
            refused.text()
        );
    }
    let early = manifest(1, &[("conanfile.py", b"x")]);
    let refused = put(&node, &target("conanmanifest.txt"), "developer", early.as_bytes())
        .await
        .expect(400);
    assert!(
        refused.text().contains("has no conanfile.py"),
        "{}",
        refused.text()
    );
    put(&node, &target("conanfile.py"), "developer", b"y")
        .await
        .expect(201);
    let refused = put(&node, &target("conanmanifest.txt"), "developer", early.as_bytes())
        .await
        .expect(400);
    assert!(
        refused
            .text()
            .contains("is not the one that its manifest tells of")
    );
    put(&node, &target("conanmanifest.txt"), "developer", b"no manifest")
        .await
        .expect(400);
    for path in ["a/..%2F..%2Fb", "..%2Fconanfile.py", "a%5Cb", "a//b", "a%00b"] {
        put(&node, &target(path), "developer", b"x").await.expect(400);
    }
    for bad in ["h/1.0/_/_", "hello/1.0/_/stable", "h%20llo/1.0/_/_"] {
        let target = format!("{}/files/conanfile.py", at(bad, "aaa"));
        put(&node, &target, "developer", b"x").await.expect(400);
        get(&node, &target).await.expect(404);
    }
    put(&node, &format!("{}/files/x", at(HELLO, "a-b")), "developer", b"x")
        .await
        .expect(400);
    publish(&node, HELLO, "bbb").await;
    let folder = of(HELLO, "bbb", ID, "ccc");
    put(
        &node,
        &format!("{folder}/files/conaninfo.txt"),
        "developer",
        b"\xff",
    )
    .await
    .expect(400);
    put(
        &node,
        &format!("{folder}/files/conaninfo.txt"),
        "developer",
        INFO.as_bytes(),
    )
    .await
    .expect(201);
    let lonely = manifest(1, &[("conaninfo.txt", INFO.as_bytes())]);
    let target = format!("{folder}/files/conanmanifest.txt");
    let refused = put(&node, &target, "developer", lonely.as_bytes())
        .await
        .expect(400);
    assert!(refused.text().contains("has no conan_package.tgz"));
    let short = of(HELLO, "bbb", "da39", "ccc");
    put(&node, &format!("{short}/files/x"), "developer", b"x")
        .await
        .expect(400);
    // A client that asks whether a file is here by its digest is to send it.
    let request = node
        .put(format!("{}/files/conanfile.py", at(HELLO, "ddd")))
        .by("developer");
    request
        .header("x-checksum-deploy", "true")
        .send()
        .await
        .expect(404);
    assert_eq!(revisions(&node, &hello()).await, ["bbb"]);
}

#[tokio::test]
async fn files_without_a_manifest_are_let_go_after_a_day() {
    let (node, clock) = StoppedClock::node().await;
    let (path, bytes) = &recipe("aaa").0[0];
    let target = format!("{}/files/{path}", at(HELLO, "aaa"));
    put(&node, &target, "developer", bytes).await.expect(201);
    clock.advance(Duration::from_secs(23 * 3600));
    fixture::purge(node.app()).await;
    assert_eq!(records(&node).await, 3);
    clock.advance(Duration::from_secs(2 * 3600));
    fixture::purge(node.app()).await;
    assert_eq!(records(&node).await, 0);
    // What begins anew is whole.
    publish(&node, HELLO, "aaa").await;
    clock.advance(Duration::from_secs(25 * 3600));
    fixture::purge(node.app()).await;
    assert_eq!(revisions(&node, &hello()).await, ["aaa"]);
    fixture::check_counters(node.app(), 1).await;
}

#[tokio::test]
async fn a_protected_name_and_a_full_quota_are_refused() {
    let node = TestNode::start().await;
    let rule = json!({
        "package_name_pattern": "hel*", "package_type": "conan",
        "minimum_access_level_for_push": "maintainer", "minimum_access_level_for_delete": "owner",
    });
    node.protect("packages", &rule).await.expect(201);
    let target = format!("{}/files/conanfile.py", at(HELLO, "aaa"));
    let refused = put(&node, &target, "developer", b"x").await.expect(403);
    assert_eq!(refused.text(), "Package protected.");
    recipe("aaa")
        .send_to(&node, &at(HELLO, "aaa"), "maintainer")
        .await;
    let delete = node.delete(hello()).by("maintainer");
    delete.send().await.expect(403);
    publish(&node, "other/1.0/_/_", "aaa").await;
    let quota = json!({"bytes": 100});
    let set = node.put("/api/cairn/v1/projects/1/quota").by("root").json(&quota);
    set.send().await.expect(200);
    let target = format!("{}/files/conanfile.py", at("other/2.0/_/_", "aaa"));
    let refused = put(&node, &target, "developer", b"x").await.expect(403);
    assert!(refused.text().contains("quota"), "{}", refused.text());
}

#[tokio::test]
async fn files_sent_at_once_through_two_nodes_are_all_there() {
    let node = TestNode::start().await;
    let sibling = node.sibling();
    let folder = at(HELLO, "aaa");
    let files: Vec<_> = (0..20).map(|number| format!("extra{number}")).collect();
    let sent = files.iter().enumerate().map(|(at, path)| {
        let node = if at % 2 == 0 { &node } else { &sibling };
        let request = node.put(format!("{folder}/files/{path}")).by("developer");
        request.body(path.clone()).answered()
    });
    for answer in futures::future::join_all(sent).await {
        answer.expect(201);
    }
    publish(&node, HELLO, "aaa").await;
    let listed = json_of(&sibling, &format!("{folder}/files")).await;
    assert_eq!(listed["files"].as_object().unwrap().len(), 23);
    fixture::check_counters(node.app(), 1).await;
}

#[tokio::test]
async fn too_many_files_do_not_wait_for_one_manifest() {
    let node = TestNode::start().await;
    let folder = at(HELLO, "aaa");
    for number in 0..store::MAX_STAGED {
        let target = format!("{folder}/files/extra{number}");
        put(&node, &target, "developer", b"x").await.expect(201);
    }
    let target = format!("{folder}/files/conanfile.py");
    put(&node, &target, "developer", b"x").await.expect(400);
}
