//! Publishing: what is taken, what is refused, and what stays as it was.

use super::*;
use crate::http::settings::HttpSettings;
use crate::registry::fixture;
use crate::registry::settings::DuplicatePolicy;

#[tokio::test]
async fn what_is_published_is_served_by_every_node() {
    let node = TestNode::start().await;
    let archive = package_with(
        "Acme/Foo",
        "v1.2",
        json!({"require": {"php": ">=8.1"}, "scripts": {"x": "y"}}),
    );
    let answer = send(&node, "deploy-write", "", &archive).await.expect(201).json();
    assert_eq!(
        (&answer["name"], &answer["version"]),
        (&json!("acme/foo"), &json!("v1.2"))
    );
    let node = node.sibling();
    let versions = shown(&node, "acme/foo").await;
    let [version] = versions.as_slice() else {
        panic!("{versions:?}");
    };
    let reference = sha1(&archive);
    assert_eq!(version["name"], "acme/foo");
    assert_eq!(
        (&version["version"], &version["version_normalized"]),
        (&json!("v1.2"), &json!("1.2.0.0"))
    );
    assert_eq!(version["require"], json!({"php": ">=8.1"}));
    assert_eq!(
        version["scripts"],
        Value::Null,
        "nobody runs the scripts of what they depend on"
    );
    assert_eq!(version["dist"], answer["dist"]);
    assert_eq!(
        version["dist"],
        json!({
            "type": "zip", "reference": reference, "shasum": reference,
            "url": format!("http://cairn.example{BASE}/files/acme/foo/1.2.0/{reference}.zip"),
        })
    );
    let time = version["time"].as_str().unwrap();
    assert!(time.ends_with("+00:00") && time.len() == 25, "{time}");

    let target = dist(version);
    let fetched = node.get(&target).by("deploy-read").send().await.expect(200);
    assert_eq!(fetched.body, archive);
    assert_eq!(fetched.header("content-type"), "application/zip");
    assert_eq!(
        fetched.header("cache-control"),
        "private, max-age=31536000, immutable"
    );
    assert!(fetched.header("content-disposition").contains("foo-1.2.0.zip"));
    let part = node.get(&target).by("reporter").header("range", "bytes=2-5");
    assert_eq!(part.send().await.expect(206).body, archive[2..6]);
    let head = node.head(&target).by("reporter").send().await.expect(200);
    assert_eq!(head.header("content-length"), archive.len().to_string());
}

#[tokio::test]
async fn the_version_is_said_by_the_archive_or_by_the_request() {
    let node = TestNode::start().await;
    let without = zip(&[("composer.json", r#"{"name":"acme/foo"}"#)]);
    let refused = send(&node, "developer", "", &without).await.expect(400);
    assert!(
        message(&refused).contains("add ?version=1.2.3"),
        "{}",
        message(&refused)
    );
    send(&node, "developer", "?version=", &without).await.expect(400);
    send(&node, "developer", "?version=1.0.0", &without)
        .await
        .expect(201);
    // The same bytes may be another version, and with a slash at the end it is the same URL.
    send(&node, "developer", "/?version=1.0.1", &without)
        .await
        .expect(201);
    let refused = send(&node, "developer", "?version=main", &without)
        .await
        .expect(400);
    assert!(
        message(&refused).contains("a branch is dev-NAME"),
        "{}",
        message(&refused)
    );
    let refused = send(&node, "developer", "?version=1.1", &package("acme/foo", "1.2")).await;
    assert!(message(&refused.expect(400)).contains("the version 1.2, and the request 1.1"));
    assert_eq!(versions(&node, "acme/foo").await, ["1.0.0", "1.0.1"]);
    // Nothing is taken from git.
    let from_git = node.post(BASE).by("developer");
    let from_git = from_git.header("content-type", "application/x-www-form-urlencoded");
    let refused = from_git.body("tag=v1.0.0").send().await.expect(422);
    assert!(message(&refused).contains("there are no git repositories here"));
}

#[tokio::test]
async fn a_release_is_published_once() {
    let node = TestNode::start().await;
    let first = publish(&node, "acme/foo", "1.0.0").await;
    let before = get(&node, "p2/acme/foo.json").await.expect(200);
    let again = send(&node, "developer", "", &package("acme/foo", "1.0.0"))
        .await
        .expect(200);
    assert_eq!(again.json(), first);
    for (caller, archive) in [
        ("maintainer", other("acme/foo", "1.0.0")),
        ("developer", package("acme/foo", "v1.0")),
        ("developer", package("Acme/Foo", "1.0.0.0")),
    ] {
        let refused = send(&node, caller, "", &archive).await.expect(409);
        assert_eq!(
            message(&refused),
            "acme/foo 1.0.0 exists already, and what was published stays; publish another version"
        );
    }
    let after = get(&node, "p2/acme/foo.json").await.expect(200);
    assert_eq!(
        (after.body.as_ref(), after.header("last-modified")),
        (before.body.as_ref(), before.header("last-modified"))
    );
    assert_eq!(
        node.get(dist(&first)).by("reporter").send().await.body,
        package("acme/foo", "1.0.0")
    );
}

#[tokio::test]
async fn settings_say_what_happens_to_duplicates() {
    let node = TestNode::start().await;
    let first = publish(&node, "acme/foo", "1.0.0").await;
    fixture::set_duplicates(node.app(), 1, "composer", DuplicatePolicy::Forbid).await;
    send(&node, "developer", "", &package("acme/foo", "1.0.0"))
        .await
        .expect(409);
    for policy in [DuplicatePolicy::Replace, DuplicatePolicy::Allow] {
        fixture::set_duplicates(node.app(), 1, "composer", policy).await;
        let changed = send(&node, "developer", "", &other("acme/foo", "1.0.0"))
            .await
            .expect(200)
            .json();
        assert_eq!(shown(&node, "acme/foo").await[0]["dist"], changed["dist"]);
        // Whoever has the one before in a lock file still installs it.
        node.get(dist(&first)).by("reporter").send().await.expect(200);
        send(&node, "developer", "", &package("acme/foo", "1.0.0"))
            .await
            .expect(200);
        assert_eq!(shown(&node, "acme/foo").await[0]["dist"], first["dist"]);
    }
}

#[tokio::test]
async fn a_branch_moves_and_its_old_archives_stay() {
    let node = TestNode::start().await;
    let first = send(
        &node,
        "developer",
        "?default-branch=1",
        &package("acme/foo", "dev-main"),
    )
    .await;
    let first = first.expect(201).json();
    publish(&node, "acme/foo", "dev-feature/x").await;
    publish(&node, "acme/foo", "1.x-dev").await;
    let second = send(&node, "developer", "", &other("acme/foo", "dev-main"))
        .await
        .expect(200)
        .json();
    assert_ne!(first["dist"]["reference"], second["dist"]["reference"]);
    assert!(
        versions(&node, "acme/foo").await.is_empty(),
        "branches are in a document of their own"
    );
    let shown = shown(&node, "acme/foo~dev").await;
    let named = |version: &str| shown.iter().find(|shown| shown["version"] == version).unwrap();
    assert_eq!(shown.len(), 3);
    assert_eq!(named("dev-main")["dist"], second["dist"]);
    assert_eq!(named("dev-main")["default-branch"], true);
    assert_eq!(named("1.x-dev")["default-branch"], Value::Null);
    assert_eq!(
        named("1.x-dev")["version_normalized"],
        "1.9999999.9999999.9999999-dev"
    );
    for version in [&first, &second, named("dev-feature/x"), named("1.x-dev")] {
        node.get(dist(version)).by("reporter").send().await.expect(200);
    }
    // Back to where it was; and another branch becomes the default, though nothing of it changes.
    send(&node, "developer", "", &package("acme/foo", "dev-main"))
        .await
        .expect(200);
    send(
        &node,
        "developer",
        "?default-branch=true",
        &package("acme/foo", "1.x-dev"),
    )
    .await
    .expect(200);
    let shown = super::shown(&node, "acme/foo~dev").await;
    let named = |version: &str| shown.iter().find(|shown| shown["version"] == version).unwrap();
    assert_eq!(named("dev-main")["dist"], first["dist"]);
    assert_eq!(named("dev-main")["default-branch"], Value::Null);
    assert_eq!(named("1.x-dev")["default-branch"], true);
    let refused = send(
        &node,
        "developer",
        "?default-branch=1",
        &package("acme/foo", "1.0"),
    )
    .await;
    assert!(message(&refused.expect(400)).contains("1.0 is not of a branch"));
}

#[tokio::test]
async fn of_two_publishes_at_once_one_wins() {
    let node = TestNode::start().await;
    let (one, two) = (package("acme/foo", "1.0.0"), other("acme/foo", "1.0.0"));
    let (one, two) = tokio::join!(
        send(&node, "developer", "", &one),
        send(&node, "developer", "", &two)
    );
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
    // Of different versions, none is lost.
    let archives: Vec<_> = (0..5)
        .map(|patch| package("acme/foo", &format!("2.0.{patch}")))
        .collect();
    let all = archives
        .iter()
        .map(|archive| send(&node, "developer", "", archive));
    for answer in futures::future::join_all(all).await {
        answer.expect(201);
    }
    assert_eq!(versions(&node, "acme/foo").await.len(), 6);
}

#[tokio::test]
async fn what_is_no_package_is_refused_and_leaves_nothing() {
    let node = TestNode::start().await;
    let check = async |archive: Vec<u8>, part: &str| {
        let answer = send(&node, "developer", "?version=1.0", &archive)
            .await
            .expect(400);
        assert!(message(&answer).contains(part), "{} / {part}", message(&answer));
    };
    check(Vec::new(), "the package is not a ZIP archive").await;
    check(b"<html>".repeat(100_000), "the package is not a ZIP archive").await;
    check(zip(&[("a.php", "")]), "has no composer.json").await;
    check(zip(&[("composer.json", "{}")]), "has no name").await;
    check(
        zip(&[("composer.json", r#"{"name":"a/b","name":"a/c"}"#)]),
        "twice",
    )
    .await;
    check(
        zip(&[("composer.json", r#"{"name":"php"}"#)]),
        "is not a vendor, a slash and a name",
    )
    .await;
    let broken = package_with("acme/foo", "1.0", json!({"require": {"a/b": "^^1"}}));
    check(broken, "the constraint \"^^1\" is none that Composer reads").await;
    check(
        zip(&[("composer.json", r#"{"name":"a/b"}"#), ("../x", "")]),
        "unsafe path",
    )
    .await;
    let mut corrupt = package("acme/foo", "1.0");
    corrupt[90] ^= 1;
    check(corrupt, "").await;
    get(&node, "p2/acme/foo.json").await.expect(404);
    let listed = node
        .get("/api/v4/projects/1/packages")
        .by("reporter")
        .send()
        .await;
    assert_eq!(listed.json(), json!([]));
    let coded = node.put(BASE).by("developer").header("content-encoding", "gzip");
    coded.body(package("acme/foo", "1.0")).send().await.expect(415);
    publish(&node, "acme/foo", "1.0").await;
}

#[tokio::test]
async fn a_package_over_a_limit_or_a_quota_is_refused() {
    let mut settings = HttpSettings::default();
    settings.limits.file_bytes = 100;
    let small = TestNode::with(settings).await;
    let refused = send(&small, "developer", "", &package("acme/foo", "1.0"))
        .await
        .expect(413);
    assert_eq!(message(&refused), "the file is over the limit of 100 bytes");

    let node = TestNode::start().await;
    let quota = node.put("/api/cairn/v1/projects/1/quota").by("root");
    quota.json(&json!({"bytes": 100})).send().await.expect(200);
    let refused = send(&node, "developer", "", &package("acme/foo", "1.0"))
        .await
        .expect(403);
    assert!(message(&refused).contains("quota"), "{}", message(&refused));
    get(&node, "p2/acme/foo.json").await.expect(404);
}

#[tokio::test]
async fn a_protected_name_is_known_in_every_case() {
    let node = TestNode::start().await;
    let rule = json!({
        "package_name_pattern": "Acme/Foo*", "package_type": "composer", "minimum_access_level_for_push": "maintainer",
    });
    node.protect("packages", &rule).await.expect(201);
    let refused = send(&node, "developer", "", &package("ACME/foo", "1.0"))
        .await
        .expect(403);
    assert_eq!(message(&refused), "Package protected.");
    publish(&node, "acme/bar", "1.0").await;
    send(&node, "maintainer", "", &package("acme/foo", "1.0"))
        .await
        .expect(201);
    let abandon = node.put(format!("{BASE}/abandoned/acme/foo")).by("developer");
    abandon.json(&json!({})).send().await.expect(403);
}

#[tokio::test]
async fn the_rest_api_lists_what_is_published_under_gitlabs_type() {
    let node = TestNode::start().await;
    let first = publish(&node, "acme/foo", "v1.0").await;
    let target = "/api/v4/projects/1/packages?package_type=composer";
    let listed = node.get(target).by("reporter").send().await.expect(200).json();
    assert_eq!(
        (&listed[0]["name"], &listed[0]["version"]),
        (&json!("acme/foo"), &json!("1.0.0"))
    );
    assert_eq!(listed[0]["package_type"], "composer");
    let target = format!("/api/v4/projects/1/packages/{}/package_files", listed[0]["id"]);
    let files = node.get(target).by("reporter").send().await.expect(200).json();
    assert_eq!(files[0]["file_sha1"], first["dist"]["shasum"]);
}
