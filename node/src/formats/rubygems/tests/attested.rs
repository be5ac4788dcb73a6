//! Attestations: pushed with a gem, served to those who verify them, gone with it.

use serde_json::{Value, json};

use super::super::attestations::tests::attestations;
use super::*;
use crate::formats::attested::tests::of_file;
use crate::formats::rubygems::gemspec::tests::yaml;
use crate::registry::fixture;

const PATH: &str = "api/v1/attestations";

/// Attestations of a gem, as they should be.
fn good(gem: &[u8], file: &str) -> String {
    attestations(file, &sha256(gem))
}

async fn push_attested(node: &TestNode, gem: &[u8], attestations: &str) -> Answer {
    push_form(node, &[("gem", gem), ("attestations", attestations.as_bytes())]).await
}

async fn attestations_of(node: &TestNode, full_name: &str) -> Answer {
    get(node, &format!("{PATH}/{full_name}.json")).await
}

/// The version of a gem as the REST API numbers it, with its files by name.
async fn files(node: &TestNode) -> (u64, Vec<(String, u64)>) {
    let list = node
        .get("/api/v4/projects/1/packages")
        .by("maintainer")
        .send()
        .await;
    let id = list.json()[0]["id"].as_u64().unwrap();
    let files = node.get(format!("/api/v4/projects/1/packages/{id}/package_files"));
    let files = files.by("maintainer").send().await.json();
    let files = files.as_array().unwrap().iter();
    let named = |file: &Value| {
        let name = file["file_name"].as_str().unwrap().to_owned();
        (name, file["id"].as_u64().unwrap())
    };
    (id, files.map(named).collect())
}

#[tokio::test]
async fn attestations_are_served_as_they_were_sent_wherever_the_gem_is() {
    let node = TestNode::start().await;
    let gem = gem_for("acme", "1.0.0", "java");
    let sent = good(&gem, "acme-1.0.0-java.gem");
    let pushed = push_attested(&node, &gem, &sent).await.expect(200);
    assert_eq!(pushed.text(), "Successfully registered gem: acme (1.0.0-java)");
    for base in [BASE, GROUP, INSTANCE] {
        let node = node.sibling();
        let target = format!("{base}/{PATH}/acme-1.0.0-java.json");
        let answer = node.get(&target).by("reporter").send().await.expect(200);
        assert_eq!(answer.text(), sent, "{base}");
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("cache-control"), "private, no-cache");
        let again = node.get(target).by("reporter");
        let again = again.header("if-none-match", answer.header("etag"));
        again.send().await.expect(304);
    }
    // The gem is what it would be without them.
    assert_eq!(get(&node, "gems/acme-1.0.0-java.gem").await.expect(200).body, gem);
    check_digests(&node, BASE).await;
    // One that nothing is attested of, and those that are not there.
    publish(&node, "plain", "1.0.0").await;
    assert_eq!(
        attestations_of(&node, "plain-1.0.0").await.expect(200).text(),
        "[]"
    );
    for path in ["acme-1.0.0.json", "acme-1.0.0-java", "none-1.0.0.json", "x.json"] {
        let missing = get(&node, &format!("{PATH}/{path}")).await.expect(404);
        assert_eq!(missing.text(), "This gem could not be found", "{path}");
    }
}

#[tokio::test]
async fn attestations_may_come_first_or_be_none() {
    let node = TestNode::start().await;
    let gem = gem_of("acme", "1.0.0");
    let sent = json!([of_file(&Sha256::digest(&gem))]).to_string();
    push_form(&node, &[("attestations", sent.as_bytes()), ("gem", &gem)])
        .await
        .expect(200);
    assert_eq!(
        attestations_of(&node, "acme-1.0.0").await.expect(200).text(),
        sent
    );
    push_attested(&node, &gem_of("acme", "2.0.0"), "[]")
        .await
        .expect(200);
    assert_eq!(
        attestations_of(&node, "acme-2.0.0").await.expect(200).text(),
        "[]"
    );
}

#[tokio::test]
async fn attestations_that_are_not_of_the_gem_are_refused_and_nothing_is_published() {
    let node = TestNode::start().await;
    let gem = gem_of("acme", "1.0.0");
    let own = good(&gem, "acme-1.0.0.gem");
    let many = vec![of_file(&Sha256::digest(&gem)); 17];
    let long = format!("{own}{}", " ".repeat(600 << 10));
    for (sent, part) in [
        ("x", "the attestations are malformed"),
        ("{}", "the attestations are malformed"),
        ("[{}]", "missing field `mediaType`"),
        (good(&gem, "acme-1.0.1.gem").as_str(), "not about this gem"),
        (good(&gem, "acme\n-1.0.gem").as_str(), "not about this gem"),
        (
            attestations("acme-1.0.0.gem", &sha256(b"other")).as_str(),
            "other bytes than those of the gem",
        ),
        (
            json!([of_file(&Sha256::digest(b"other"))]).to_string().as_str(),
            "other bytes than those of the gem",
        ),
        (json!(many).to_string().as_str(), "at most 16 attestations"),
        (&long, "longer than 524288 bytes"),
    ] {
        let refused = push_attested(&node, &gem, sent).await.expect(422);
        assert!(refused.text().contains(part), "{} / {part}", refused.text());
        assert_eq!(refused.text().lines().count(), 1);
        assert_eq!(refused.header("content-type"), "text/plain; charset=utf-8");
    }
    let twice = [
        ("gem", gem.as_slice()),
        ("attestations", own.as_bytes()),
        ("attestations", own.as_bytes()),
    ];
    let refused = push_form(&node, &twice).await.expect(422);
    assert_eq!(refused.text(), "the form has the field attestations twice");
    push_form(&node, &[("attestations", own.as_bytes())])
        .await
        .expect(422);
    assert!(lines(&node, format!("{BASE}/versions")).await.is_empty());
    get(&node, "gems/acme-1.0.0.gem").await.expect(404);
    attestations_of(&node, "acme-1.0.0").await.expect(404);
}

#[tokio::test]
async fn a_repeated_push_keeps_or_adds_attestations_and_never_changes_them() {
    let node = TestNode::start().await;
    let gem = gem_of("acme", "1.0.0");
    publish(&node, "acme", "1.0.0").await;
    let before = get(&node, "versions").await.body;
    let first = good(&gem, "acme-1.0.0.gem");
    // The first push of a job may have been one without.
    let added = push_attested(&node, &gem, &first).await.expect(200);
    assert_eq!(
        added.text(),
        "Gem was already pushed: acme (1.0.0); its attestations were added"
    );
    // The answer to a push may be lost, and a push without them takes nothing away.
    for again in [
        push_attested(&node, &gem, &first).await,
        push(&node, &gem).await,
        push_attested(&node, &gem, "[]").await,
    ] {
        assert_eq!(again.expect(200).text(), "Gem was already pushed: acme (1.0.0)");
    }
    let other = json!([of_file(&Sha256::digest(&gem))]).to_string();
    let refused = push_attested(&node, &gem, &other).await.expect(409);
    assert_eq!(
        refused.text(),
        "acme (1.0.0) has other attestations already, which stay as they are"
    );
    let changed = gem_with(&yaml("acme", "1.0.0", "ruby", &[]), &[]);
    push_attested(&node, &changed, &good(&changed, "acme-1.0.0.gem"))
        .await
        .expect(409);
    assert_eq!(
        attestations_of(&node, "acme-1.0.0").await.expect(200).text(),
        first
    );
    assert_eq!(get(&node, "versions").await.body, before);
}

#[tokio::test]
async fn attestations_go_with_their_gem_and_come_back_with_it() {
    let node = TestNode::start().await;
    let gem = gem_of("acme", "1.0.0");
    let sent = good(&gem, "acme-1.0.0.gem");
    push_attested(&node, &gem, &sent).await.expect(200);
    let served = async || attestations_of(&node, "acme-1.0.0").await;

    yank(&node, "gem_name=acme&version=1.0.0", "developer")
        .await
        .expect(200);
    served().await.expect(404);
    push_attested(&node, &gem, &sent).await.expect(409);
    unyank(&node, "gem_name=acme&version=1.0.0").await.expect(200);
    assert_eq!(served().await.expect(200).text(), sent);

    let (id, files) = files(&node).await;
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["acme-1.0.0.gem", "acme-1.0.0.gem.sigstore.json"]);
    let version = format!("/api/v4/projects/1/packages/{id}");
    // The gem, its attestations alone, and both of them with their version.
    for (target, without) in [
        (format!("{version}/package_files/{}", files[0].1), 404),
        (format!("{version}/package_files/{}", files[1].1), 200),
        (version, 404),
    ] {
        node.delete(&target).by("maintainer").send().await.expect(204);
        let answer = served().await.expect(without);
        assert_ne!(answer.text(), sent, "{target}");
        removal::restore_all(&node).await;
        assert_eq!(served().await.expect(200).text(), sent, "{target}");
        check_digests(&node, BASE).await;
    }
}

#[tokio::test]
async fn nothing_is_left_of_attestations_when_a_project_is_deleted() {
    let node = TestNode::start().await;
    let gem = gem_of("acme", "1.0.0");
    push_attested(&node, &gem, &good(&gem, "acme-1.0.0.gem"))
        .await
        .expect(200);
    node.delete("/api/v4/projects/1")
        .by("owner")
        .send()
        .await
        .expect(202);
    fixture::purge(node.app()).await;
    assert_eq!(fixture::keys_of_project(node.app(), 1).await, 0);
}
