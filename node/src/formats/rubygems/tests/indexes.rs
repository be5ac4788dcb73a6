//! What clients read of all gems.

use super::*;
use crate::formats::rubygems::records::Keys;
use crate::registry::fixture;

#[tokio::test]
async fn the_list_of_changes_only_gets_longer() {
    let node = TestNode::start().await;
    let empty = get(&node, "versions").await.expect(200);
    assert!(empty.text().starts_with("created_at: ") && empty.text().ends_with("Z\n---\n"));
    check_headers(&empty);
    let mut before = empty.body;
    for (name, version) in [("b", "1.0"), ("a", "1.0"), ("b", "0.9"), ("b", "1.1")] {
        publish(&node, name, version).await;
        let now = get(&node.sibling(), "versions").await.expect(200);
        assert!(now.body.starts_with(&before) && now.body.len() > before.len());
        check_digests(&node, BASE).await;
        before = now.body;
    }
    yank(&node, "gem_name=b&version=1.0", "developer")
        .await
        .expect(200);
    unyank(&node, "gem_name=b&version=1.0").await.expect(200);
    let changes = lines(&node, format!("{BASE}/versions")).await;
    let changes: Vec<_> = changes
        .iter()
        .map(|line| line.rsplit_once(' ').unwrap().0)
        .collect();
    assert_eq!(changes, ["b 1.0", "a 1.0", "b 0.9", "b 1.1", "b -1.0", "b 1.0"]);
    // Where a version was published, it stays.
    assert_eq!(listed(&node, "b").await, ["1.0", "0.9", "1.1"]);
    check_digests(&node, BASE).await;
}

#[tokio::test]
async fn bundler_asks_for_what_was_added() {
    let node = TestNode::start().await;
    publish(&node, "acme", "1.0").await;
    for path in ["versions", "info/acme"] {
        let known = get(&node, path).await.expect(200);
        let ask = |range: String| {
            let request = node.get(format!("{BASE}/{path}")).by("reporter");
            request
                .header("if-none-match", known.header("etag"))
                .header("range", &range)
                .send()
        };
        let range = format!("bytes={}-", known.body.len() - 1);
        let same = ask(range.clone()).await.expect(304);
        assert_eq!(same.header("etag"), known.header("etag"));
        publish(&node, "acme", if path == "versions" { "1.1" } else { "1.2" }).await;
        let added = ask(range).await.expect(206);
        let whole = get(&node, path).await.expect(200);
        assert_eq!([&known.body[..], &added.body[1..]].concat(), whole.body);
        assert_eq!(added.header("repr-digest"), whole.header("repr-digest"));
        assert_eq!(added.header("etag"), whole.header("etag"));
        // Who has more than there is has something else.
        let more = ask(format!("bytes={}-", whole.body.len())).await.expect(200);
        assert_eq!(more.body, whole.body);
    }
    let head = node
        .head(format!("{BASE}/versions"))
        .by("reporter")
        .send()
        .await
        .expect(200);
    assert!(head.body.is_empty() && !head.header("content-length").is_empty());
    node.head(format!("{BASE}/"))
        .by("reporter")
        .send()
        .await
        .expect(200);
    node.head(BASE).by("reporter").send().await.expect(200);
}

#[tokio::test]
async fn the_end_of_a_long_list_is_read_from_a_mark() {
    let node = TestNode::start().await;
    publish(&node, "acme", "1.0").await;
    // As many changes as two marks need, without their gems.
    let chain = Keys::new(fixture::format_collection("rubygems")).changes();
    for from in (0..2500).step_by(500) {
        let mut txn = node.kv().begin().await.unwrap();
        for number in from..from + 500 {
            txn.append(&chain, format!("gem{number} 1.0 {}", "0".repeat(32)), &[]);
        }
        txn.commit().await.unwrap();
    }
    let whole = get(&node, "versions").await.expect(200);
    assert_eq!(whole.text().lines().count(), 2503);
    check_headers(&whole);
    // On a node that has read all of it at once, and on one that read it bit by bit.
    for node in [&node, &node.sibling()] {
        for from in [0, 1, 30_000, 47_000, 60_000, whole.body.len() - 1] {
            let request = node.get(format!("{BASE}/versions")).by("reporter");
            let part = request.header("range", &format!("bytes={from}-")).send().await;
            assert_eq!(part.expect(206).body, whole.body[from..]);
        }
    }
}

#[tokio::test]
async fn names_are_those_of_gems_that_have_a_version() {
    let node = TestNode::start().await;
    for name in ["web", "Acme", "b_c"] {
        publish(&node, name, "1.0").await;
    }
    assert_eq!(get(&node, "names").await.text(), "---\nAcme\nb_c\nweb\n");
    yank(&node, "gem_name=b_c&version=1.0", "developer")
        .await
        .expect(200);
    assert_eq!(get(&node, "names").await.text(), "---\nAcme\nweb\n");
    // Its document is there, without lines: its last digest says so.
    assert_eq!(get(&node, "info/b_c").await.expect(200).text(), "---\n");
    check_digests(&node, BASE).await;
}

#[tokio::test]
async fn marshal_indexes_have_what_clients_look_for() {
    let node = TestNode::start().await;
    for (version, platform) in [
        ("1.9", "ruby"),
        ("1.10", "ruby"),
        ("1.9", "java"),
        ("2.0.rc1", "ruby"),
    ] {
        push(&node, &gem_for("acme", version, platform)).await.expect(200);
    }
    let releases = specs(&node, BASE, "specs").await;
    assert!(releases.starts_with(b"\x04\x08[\x08"), "{releases:?}");
    let latest = specs(&node, BASE, "latest_specs").await;
    assert!(latest.starts_with(b"\x04\x08[\x07") && holds(&latest, "1.10") && holds(&latest, "java"));
    let prereleases = specs(&node, BASE, "prerelease_specs").await;
    assert!(prereleases.starts_with(b"\x04\x08[\x06") && holds(&prereleases, "2.0.rc1"));
    assert_eq!(specs(&node.sibling(), BASE, "specs").await, releases);
}

#[tokio::test]
async fn old_clients_are_told_by_a_date_that_nothing_changed() {
    let node = TestNode::start().await;
    publish(&node, "acme", "1.0").await;
    let ask = |name: &str, date: &str| {
        let request = node.get(format!("{BASE}/specs.4.8.gz")).by("reporter");
        request.header(name, date).send()
    };
    let known = get(&node, "specs.4.8.gz").await.expect(200);
    assert!(!known.header("last-modified").is_empty());
    // What changed within the same minute may not be in the client's copy.
    ask("if-modified-since", known.header("last-modified"))
        .await
        .expect(200);
    ask("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT")
        .await
        .expect(304);
    ask("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT")
        .await
        .expect(200);
    ask("if-none-match", known.header("etag")).await.expect(304);
}

#[tokio::test]
async fn a_group_and_the_instance_show_the_gems_of_all_projects() {
    let node = TestNode::start().await;
    push_to(&node, 2, "developer", &gem_of("shared", "1.0"))
        .await
        .expect(200);
    push_to(&node, 1, "developer", &gem_of("mine", "1.0"))
        .await
        .expect(200);
    // The name was first in project 2.
    push_to(&node, 1, "developer", &gem_of("shared", "9.0"))
        .await
        .expect(200);
    push_to(&node, 2, "developer", &gem_of("shared", "1.1"))
        .await
        .expect(200);
    for base in [GROUP, INSTANCE] {
        let changes = lines(&node, format!("{base}/versions")).await;
        let changes: Vec<_> = changes
            .iter()
            .map(|line| line.rsplit_once(' ').unwrap().0)
            .collect();
        assert_eq!(changes, ["shared 1.0", "mine 1.0", "shared 1.1"], "{base}");
        check_digests(&node, base).await;
        let names = node
            .get(format!("{base}/names"))
            .by("reporter")
            .send()
            .await
            .expect(200);
        assert_eq!(names.text(), "---\nmine\nshared\n");
        let all = specs(&node, base, "specs").await;
        assert!(
            all.starts_with(b"\x04\x08[\x08") && !holds(&all, "9.0"),
            "{all:?}"
        );
        let gem = node
            .get(format!("{base}/gems/shared-1.1.gem"))
            .by("reporter")
            .send()
            .await;
        assert_eq!(gem.expect(200).body, gem_of("shared", "1.1"));
        node.get(format!("{base}/gems/shared-9.0.gem"))
            .by("reporter")
            .send()
            .await
            .expect(404);
        node.head(format!("{base}/"))
            .by("reporter")
            .send()
            .await
            .expect(200);
        let refused = node
            .post(format!("{base}/api/v1/gems"))
            .by("owner")
            .body("x")
            .send()
            .await;
        assert_eq!(refused.expect(405).text(), "gems are pushed to a project");
        // No date is said where projects may come and go.
        let specs = node
            .get(format!("{base}/specs.4.8.gz"))
            .by("reporter")
            .send()
            .await;
        assert_eq!(specs.expect(200).header("last-modified"), "");
    }
    // A stranger sees the gems of public projects alone, and so another document.
    let seen = node
        .get(format!("{INSTANCE}/versions"))
        .by("stranger")
        .send()
        .await
        .expect(200);
    assert!(!seen.text().contains("mine") && seen.text().contains("shared 1.1"));
    assert_eq!(lines(&node, format!("{BASE}/versions")).await.len(), 2);
}

#[tokio::test]
async fn a_group_without_gems_has_indexes() {
    let node = TestNode::start().await;
    for base in [BASE, GROUP, INSTANCE] {
        assert!(lines(&node, format!("{base}/versions")).await.is_empty());
        let names = node
            .get(format!("{base}/names"))
            .by("reporter")
            .send()
            .await
            .expect(200);
        assert_eq!(names.text(), "---\n");
        assert_eq!(specs(&node, base, "latest_specs").await, b"\x04\x08[\x00");
    }
}
