//! Pushing gems, and downloading them.

use super::*;
use crate::formats::rubygems::gemspec::tests::yaml;
use crate::http::settings::HttpSettings;
use crate::registry::fixture;
use crate::registry::settings::DuplicatePolicy;

#[tokio::test]
async fn what_is_pushed_is_in_the_indexes_and_downloaded_from_every_node() {
    let node = TestNode::start().await;
    let gem = gem_of("acme_foo", "1.0.0");
    let answer = push(&node, &gem).await.expect(200);
    assert_eq!(answer.text(), "Successfully registered gem: acme_foo (1.0.0)");
    let node = node.sibling();
    let info = get(&node, "info/acme_foo").await.expect(200);
    let expected = format!(
        "---\n1.0.0 rack:< 3&>= 1|checksum:{},ruby:>= 2.7,created_at:",
        sha256(&gem)
    );
    assert!(info.text().starts_with(&expected), "{}", info.text());
    let answer = get(&node, "gems/acme_foo-1.0.0.gem").await.expect(200);
    assert_eq!(answer.body, gem);
    assert_eq!(answer.header("content-type"), "application/octet-stream");
    assert_eq!(answer.header("etag"), format!("\"{}\"", sha256(&gem)));
    let part = node
        .get(format!("{BASE}/gems/acme_foo-1.0.0.gem"))
        .by("deploy-read");
    let part = part.header("range", "bytes=1-2").send().await.expect(206);
    assert_eq!(part.body, gem[1..3]);
    let head = node
        .head(format!("{BASE}/gems/acme_foo-1.0.0.gem"))
        .by("reporter");
    assert!(head.send().await.expect(200).body.is_empty());
    let quick = get(&node, "quick/Marshal.4.8/acme_foo-1.0.0.gemspec.rz").await;
    assert!(holds(&inflated(&quick.expect(200).body), "Does acme_foo"));
    for path in [
        "gems/acme_foo-1.0.1.gem",
        "gems/acme_foo-1.0.0",
        "gems/Acme_foo-1.0.0.gem",
        "quick/Marshal.4.8/acme_foo-1.0.0",
        "quick/Marshal.4.8/acme-1.0.0.gemspec.rz",
        "info/acme-foo",
        "info/none",
    ] {
        assert_eq!(
            get(&node, path).await.expect(404).text(),
            "This gem could not be found",
            "{path}"
        );
    }
    let listed = node.get("/api/v4/projects/1/packages?package_type=rubygems");
    let listed = listed.by("reporter").send().await.expect(200).json();
    assert_eq!(
        (
            &listed[0]["name"],
            &listed[0]["version"],
            &listed[0]["package_type"]
        ),
        (&"acme_foo".into(), &"1.0.0".into(), &"rubygems".into())
    );
}

#[tokio::test]
async fn a_key_is_sent_as_it_is_or_by_a_scheme() {
    let node = TestNode::start().await;
    let token = node.token("developer").to_owned();
    for (version, authorization) in [("1.0", token.clone()), ("1.1", format!("Bearer {token}"))] {
        let request = node.post(format!("{BASE}/api/v1/gems"));
        let request = request.header("authorization", &authorization);
        request.body(gem_of("acme", version)).send().await.expect(200);
    }
    let request = node
        .post(format!("{BASE}/api/v1/gems"))
        .basic("__token__", &token);
    request.body(gem_of("acme", "1.2")).send().await.expect(200);
    let read = node.get(format!("{BASE}/versions")).basic("__token__", &token);
    read.send().await.expect(200);
}

#[tokio::test]
async fn a_version_is_pushed_once() {
    let node = TestNode::start().await;
    publish(&node, "acme", "1.0.0").await;
    let before = get(&node, "versions").await.body;
    // The answer to a push may be lost.
    let again = push(&node, &gem_of("acme", "1.0.0")).await.expect(200);
    assert_eq!(again.text(), "Gem was already pushed: acme (1.0.0)");
    let other = gem_with(&yaml("acme", "1.0.0", "ruby", &[]), &[]);
    let refused = push(&node, &other).await.expect(409);
    assert!(
        refused
            .text()
            .starts_with("Repushing of gem versions is not allowed")
    );
    // Whatever the project says of other formats' duplicates: lock files hold digests.
    fixture::set_duplicates(node.app(), 1, "rubygems", DuplicatePolicy::Replace).await;
    push(&node, &other).await.expect(409);
    let equal = push(&node, &gem_of("acme", "1.0")).await.expect(409);
    assert_eq!(
        equal.text(),
        "acme (1.0) is the same version as 1.0.0, which was pushed already"
    );
    assert_eq!(get(&node, "versions").await.body, before);
}

#[tokio::test]
async fn platforms_are_versions_beside_each_other() {
    let node = TestNode::start().await;
    for platform in ["ruby", "java", "x86_64-linux"] {
        let answer = push(&node, &gem_for("acme", "1.0.0", platform)).await.expect(200);
        let shown = if platform == "ruby" {
            "(1.0.0)".into()
        } else {
            format!("(1.0.0-{platform})")
        };
        assert!(answer.text().ends_with(&shown), "{}", answer.text());
    }
    assert_eq!(
        listed(&node, "acme").await,
        ["1.0.0", "1.0.0-java", "1.0.0-x86_64-linux"]
    );
    let java = get(&node, "gems/acme-1.0.0-java.gem").await.expect(200);
    assert_eq!(java.body, gem_for("acme", "1.0.0", "java"));
    let quick = get(&node, "quick/Marshal.4.8/acme-1.0.0-x86_64-linux.gemspec.rz").await;
    assert!(holds(&inflated(&quick.expect(200).body), "Gem::Platform"));
    get(&node, "gems/acme-1.0.0-ruby.gem").await.expect(404);
    check_digests(&node, BASE).await;
}

#[tokio::test]
async fn names_that_are_taken_for_each_other_are_refused() {
    let node = TestNode::start().await;
    publish(&node, "acme-foo", "1.0.0").await;
    for name in ["Acme-Foo", "acme_foo"] {
        let refused = push(&node, &gem_of(name, "2.0.0")).await.expect(409);
        assert_eq!(
            refused.text(),
            format!("The name {name} is too close to acme-foo, which is there already")
        );
    }
    // By its file, this is version 2 of acme-1.
    push(&node, &gem_for("acme", "1", "2")).await.expect(200);
    let refused = push(&node, &gem_of("acme-1", "2")).await.expect(409);
    assert_eq!(
        refused.text(),
        "The file acme-1-2.gem is that of acme (1-2), so acme-1 (2) cannot be pushed"
    );
    let kept = get(&node, "gems/acme-1-2.gem").await.expect(200);
    assert_eq!(kept.body, gem_for("acme", "1", "2"));
}

#[tokio::test]
async fn what_is_no_gem_is_refused_and_leaves_nothing() {
    let node = TestNode::start().await;
    let gem = gem_of("acme", "1.0.0");
    for (bytes, part) in [
        (b"not a gem".to_vec(), "the gem"),
        (Vec::new(), "is cut off"),
        (gem[..gem.len() / 2].to_vec(), "the gem"),
        (gem_with(&yaml("..", "1.0.0", "ruby", &[]), &[]), "gem name"),
        (gem_with(&yaml("acme", "one", "ruby", &[]), &[]), "gem version"),
        (gem_with("--- !ruby/object:Kernel {}\n", &[]), "no gem needs"),
    ] {
        let refused = push(&node, &bytes).await.expect(422);
        assert!(refused.text().contains(part), "{} / {part}", refused.text());
        assert_eq!(refused.text().lines().count(), 1);
        assert_eq!(refused.header("content-type"), "text/plain; charset=utf-8");
    }
    let coded = node.post(format!("{BASE}/api/v1/gems")).by("developer");
    coded
        .header("content-encoding", "gzip")
        .body(gem)
        .send()
        .await
        .expect(415);
    assert!(lines(&node, format!("{BASE}/versions")).await.is_empty());
    let listed = node
        .get("/api/v4/projects/1/packages")
        .by("reporter")
        .send()
        .await;
    assert_eq!(listed.json(), serde_json::json!([]));
}

#[tokio::test]
async fn a_gem_over_the_limit_is_refused() {
    let mut settings = HttpSettings::default();
    settings.limits.file_bytes = 100;
    let node = TestNode::with(settings).await;
    let refused = push(&node, &gem_of("acme", "1.0.0")).await.expect(413);
    assert!(refused.text().contains("over the limit of 100 bytes"));
}

#[tokio::test]
async fn a_gem_comes_in_a_form_too() {
    let node = TestNode::start().await;
    let gem = gem_of("acme", "1.0.0");
    push_form(&node, &[("gem", &gem)]).await.expect(200);
    for (fields, part) in [
        (
            &[("gem", gem.as_slice()), ("gem", &gem)][..],
            "the field gem twice",
        ),
        (&[("x", b"y")], "no field gem"),
    ] {
        let refused = push_form(&node, fields).await.expect(422);
        assert!(refused.text().contains(part), "{}", refused.text());
    }
    assert_eq!(listed(&node, "acme").await, ["1.0.0"]);
    assert_eq!(get(&node, "gems/acme-1.0.0.gem").await.expect(200).body, gem);
}

#[tokio::test]
async fn many_who_push_at_once_lose_nothing() {
    let node = TestNode::start().await;
    let mut pushes = Vec::new();
    for number in 0..12 {
        let name = if number % 2 == 0 { "even" } else { "odd" };
        let node = node.sibling();
        let gem = gem_of(name, &format!("1.{number}"));
        pushes.push(tokio::spawn(async move { push(&node, &gem).await.status }));
    }
    for pushed in pushes {
        assert_eq!(pushed.await.unwrap(), 200);
    }
    assert_eq!(
        (
            listed(&node, "even").await.len(),
            listed(&node, "odd").await.len()
        ),
        (6, 6)
    );
    assert_eq!(lines(&node, format!("{BASE}/versions")).await.len(), 12);
    check_digests(&node, BASE).await;
}

#[tokio::test]
async fn a_protected_gem_is_known_by_every_spelling() {
    let node = TestNode::start().await;
    publish(&node, "acme_foo", "1.0.0").await;
    let rule = serde_json::json!({
        "package_name_pattern": "Acme-*", "package_type": "rubygems",
        "minimum_access_level_for_push": "maintainer",
    });
    node.protect("packages", &rule).await.expect(201);
    let refused = push(&node, &gem_of("acme_foo", "2.0.0")).await.expect(403);
    assert_eq!(refused.text(), "Package protected.");
    publish(&node, "other", "1.0.0").await;
    push_to(&node, 1, "maintainer", &gem_of("acme_foo", "2.0.0"))
        .await
        .expect(200);
}

#[tokio::test]
async fn a_quota_is_answered_in_a_line() {
    let node = TestNode::start().await;
    let quota = serde_json::json!({"bytes": 100});
    let set = node.put("/api/cairn/v1/projects/1/quota").by("root");
    set.json(&quota).send().await.expect(200);
    let refused = push(&node, &gem_of("acme", "1.0.0")).await.expect(403);
    assert!(refused.text().contains("quota"), "{}", refused.text());
    assert!(lines(&node, format!("{BASE}/versions")).await.is_empty());
}
