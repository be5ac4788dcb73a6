//! What clients read: packuments, manifests, tarballs, also from memory.

use std::io::Read;
use std::time::Duration;

use flate2::read::GzDecoder;

use super::*;
use crate::registry::time;
use crate::testing::clock::StoppedClock;

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn a_scoped_name_is_found_in_every_spelling() {
    let node = TestNode::start().await;
    Draft::new("@acme/left", "1.0.0").publish(&node).await.expect(201);
    for spelling in [
        "@acme%2fleft",
        "@acme%2Fleft",
        "@acme/left",
        "%40acme%2fleft",
        "%40acme/left",
    ] {
        for tail in [
            "",
            "/1.0.0",
            "/latest",
            "/-/left-1.0.0.tgz",
            "/-/@acme/left-1.0.0.tgz",
            "/-/@acme%2fleft-1.0.0.tgz",
        ] {
            node.get(format!("{BASE}/{spelling}{tail}"))
                .by("reporter")
                .send()
                .await
                .expect(200);
        }
        let tags = format!("{BASE}/-/package/{spelling}/dist-tags");
        node.get(&tags).by("reporter").send().await.expect(200);
        node.put(format!("{tags}/next"))
            .by("developer")
            .json(&json!("1.0.0"))
            .send()
            .await
            .expect(201);
        node.delete(format!("{tags}/next"))
            .by("developer")
            .send()
            .await
            .expect(200);
        let document = Draft::new("@acme/left", "1.0.0").document();
        node.put(format!("{BASE}/{spelling}"))
            .by("developer")
            .json(&document)
            .send()
            .await
            .expect(200);
    }
}

#[tokio::test]
async fn both_forms_have_tags_of_their_own_and_vary() {
    let node = TestNode::start().await;
    Draft::new("left", "1.0.0").publish(&node).await.expect(201);
    let get = async |accept: &str, etag: &str| {
        let mut request = node.get(path("left")).by("reporter").header("accept", accept);
        if !etag.is_empty() {
            request = request.header("if-none-match", etag);
        }
        request.send().await
    };
    let (short, long) = (
        get(INSTALLING, "").await.expect(200),
        get("*/*", "").await.expect(200),
    );
    assert_eq!(
        (short.header("content-type"), long.header("content-type")),
        (ABBREVIATED, "application/json")
    );
    assert_ne!(short.header("etag"), long.header("etag"));
    for answer in [&short, &long] {
        assert_eq!(answer.header("vary"), "Accept, Accept-Encoding");
        assert_eq!(answer.header("cache-control"), "private, no-cache");
    }
    let unchanged = get(INSTALLING, short.header("etag")).await.expect(304);
    assert_eq!(unchanged.header("etag"), short.header("etag"));
    assert!(unchanged.body.is_empty() && unchanged.header("vary").contains("Accept"));
    get("*/*", long.header("etag")).await.expect(304);
    get("*/*", short.header("etag")).await.expect(200);
    get(INSTALLING, long.header("etag")).await.expect(200);
    // Every node has the same tags, and every change makes new ones.
    let request = node.sibling();
    let request = request
        .get(path("left"))
        .by("reporter")
        .header("accept", INSTALLING);
    request
        .header("if-none-match", short.header("etag"))
        .send()
        .await
        .expect(304);
    Draft::new("left", "1.1.0").publish(&node).await.expect(201);
    get(INSTALLING, short.header("etag")).await.expect(200);
    get("*/*", long.header("etag")).await.expect(200);
}

#[tokio::test]
async fn who_is_about_to_write_gets_everything() {
    let node = TestNode::start().await;
    Draft::new("left", "1.0.0").publish(&node).await.expect(201);
    let target = format!("{}?write=true", path("left"));
    let answer = node
        .get(target)
        .by("reporter")
        .header("accept", INSTALLING)
        .send()
        .await
        .expect(200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.json()["_rev"], revision(&node, "left").await);
}

#[tokio::test]
async fn packuments_are_compressed_for_those_who_take_it() {
    let node = TestNode::start().await;
    let draft = Draft::new("left", "1.0.0").with(json!({"description": "x".repeat(5000)}));
    draft.publish(&node).await.expect(201);
    let plain = node.get(path("left")).by("reporter").send().await.expect(200);
    assert_eq!(plain.header("content-encoding"), "");
    for _ in 0..2 {
        let request = node
            .get(path("left"))
            .by("reporter")
            .header("accept-encoding", "br, gzip");
        let compressed = request.send().await.expect(200);
        assert_eq!(compressed.header("content-encoding"), "gzip");
        assert!(compressed.body.len() < 2000);
        let mut text = Vec::new();
        GzDecoder::new(compressed.body.as_ref())
            .read_to_end(&mut text)
            .unwrap();
        assert_eq!(text, plain.body);
    }
    let head = node.head(path("left")).by("reporter").send().await.expect(200);
    assert!(head.body.is_empty() && head.header("etag") == plain.header("etag"));
}

#[tokio::test]
async fn a_packument_too_large_to_keep_is_sent_in_pieces() {
    let node = TestNode::start().await;
    let filler = "x".repeat(100_000);
    for n in 0..90 {
        let draft = Draft::new("left", &format!("1.0.{n}"));
        let mut document = draft.document();
        document["versions"][&draft.version]["filler"] = json!(filler);
        node.put(draft.path())
            .by("developer")
            .json(&document)
            .send()
            .await
            .expect(201);
    }
    let plain = node.get(path("left")).by("reporter").send().await.expect(200);
    assert!(plain.body.len() > 8 << 20 && plain.header("content-length").is_empty());
    let packument = plain.json();
    assert_eq!(
        (
            versions(&packument).len(),
            packument["time"].as_object().unwrap().len()
        ),
        (90, 92)
    );
    let request = node
        .get(path("left"))
        .by("reporter")
        .header("accept-encoding", "gzip");
    let compressed = request.send().await.expect(200);
    let mut text = Vec::new();
    GzDecoder::new(compressed.body.as_ref())
        .read_to_end(&mut text)
        .unwrap();
    assert_eq!(text, plain.body);
    assert_eq!(versions(&abbreviated(&node, "left").await).len(), 90);
}

#[tokio::test]
async fn one_manifest_is_found_by_version_or_tag() {
    let node = TestNode::start().await;
    Draft::new("left", "1.0.0").publish(&node).await.expect(201);
    Draft::new("left", "2.0.0-rc.1")
        .tag("next")
        .publish(&node)
        .await
        .expect(201);
    for (asked, version) in [
        ("1.0.0", "1.0.0"),
        ("latest", "1.0.0"),
        ("next", "2.0.0-rc.1"),
        ("1.0.0+x", "1.0.0"),
    ] {
        let manifest = node
            .get(format!("{}/{asked}", path("left")))
            .by("reporter")
            .send()
            .await
            .expect(200);
        assert_eq!(manifest.json()["version"], version);
    }
    for asked in ["3.0.0", "beta", "%5E1.0.0", "1.x"] {
        node.get(format!("{}/{asked}", path("left")))
            .by("reporter")
            .send()
            .await
            .expect(404);
    }
}

#[tokio::test]
async fn tarballs_are_served_as_they_are() {
    let (node, draft) = (
        TestNode::start().await,
        Draft::new("@acme/left", "1.0.0").content(&[7; 5000]),
    );
    draft.publish(&node).await.expect(201);
    let tarball = draft.tarball();
    let target = format!("{BASE}/@acme/left/-/left-1.0.0.tgz");
    let whole = node
        .get(&target)
        .by("reporter")
        .header("accept-encoding", "gzip")
        .send()
        .await
        .expect(200);
    assert_eq!(whole.body, tarball);
    assert_eq!(whole.header("content-encoding"), "");
    assert_eq!(whole.header("content-type"), "application/octet-stream");
    assert_eq!(whole.header("content-length"), tarball.len().to_string());
    assert!(whole.header("cache-control").contains("immutable"));
    assert_eq!(whole.header("x-content-type-options"), "nosniff");
    assert!(whole.header("content-disposition").starts_with("attachment"));
    let head = node.head(&target).by("reporter").send().await.expect(200);
    assert_eq!(
        (head.header("content-length"), head.body.len()),
        (tarball.len().to_string().as_str(), 0)
    );
    assert_eq!(head.header("etag"), whole.header("etag"));
    let part = node
        .get(&target)
        .by("reporter")
        .header("range", "bytes=10-19")
        .send()
        .await
        .expect(206);
    assert_eq!(part.body, tarball[10..20]);
    let beyond = node
        .get(&target)
        .by("reporter")
        .header("range", "bytes=99999999-")
        .send()
        .await;
    beyond.expect(416);
    let known = node
        .get(&target)
        .by("reporter")
        .header("if-none-match", whole.header("etag"));
    known.send().await.expect(304);
    for missing in [
        "left-2.0.0.tgz",
        "right-1.0.0.tgz",
        "left-1.0.0.zip",
        "left-1.0.0.sigstore",
        "@evil/left-1.0.0.tgz",
    ] {
        node.get(format!("{BASE}/@acme/left/-/{missing}"))
            .by("reporter")
            .send()
            .await
            .expect(404);
    }
}

#[tokio::test]
async fn urls_follow_how_the_project_is_named() {
    let node = TestNode::start().await;
    Draft::new("left", "1.0.0").publish(&node).await.expect(201);
    for (id, shown) in [
        ("1", "1"),
        ("acme%2Fdemo", "acme%2Fdemo"),
        ("acme%2fdemo", "acme%2Fdemo"),
    ] {
        let target = format!("/api/v4/projects/{id}/packages/npm/left");
        let packument = node.get(target).by("reporter").send().await.expect(200).json();
        let url = format!("http://cairn.example/api/v4/projects/{shown}/packages/npm/left/-/left-1.0.0.tgz");
        assert_eq!(packument["versions"]["1.0.0"]["dist"]["tarball"], url);
        node.get(url.strip_prefix("http://cairn.example").unwrap())
            .by("reporter")
            .send()
            .await
            .expect(200);
    }
}

#[tokio::test]
async fn a_packument_from_memory_is_as_new_as_one_that_is_made() {
    let (node, clock) = StoppedClock::node().await;
    Draft::new("kept", "1.0.0").publish(&node).await.expect(201);
    let asked = async |caller: &str| node.get(format!("{BASE}/kept")).by(caller).send().await;
    let repeated = || node.front().answers().repeated();
    asked("developer").await.expect(200);
    assert_eq!(repeated(), 0);
    asked("developer").await.expect(200);
    assert_eq!(repeated(), 1, "nothing has changed");

    let sibling = node.sibling();
    Draft::new("elsewhere", "1.0.0")
        .publish(&sibling)
        .await
        .expect(201);
    asked("developer").await.expect(200);
    assert_eq!(repeated(), 2, "what has changed has nothing to do with it");

    Draft::new("kept", "1.1.0").publish(&sibling).await.expect(201);
    assert_eq!(versions(&asked("developer").await.json()), ["1.0.0", "1.1.0"]);
    assert_eq!(repeated(), 2, "a version was published through another node");

    let stranger = node.get("/api/v4/user").by("stranger").send().await.json()["id"].clone();
    asked("stranger").await.expect(404);
    let end = time::date(node.app().store().now().plus(2 * DAY));
    node.post("/api/v4/projects/1/members")
        .by("root")
        .json(&json!({"user_id": stranger, "access_level": 20, "expires_at": end}))
        .send()
        .await
        .expect(201);
    for _ in 0..3 {
        asked("stranger").await.expect(200);
    }
    let before = repeated();
    asked("stranger").await.expect(200);
    assert_eq!(repeated(), before + 1);
    clock.advance(3 * DAY);
    asked("stranger").await.expect(404);
    asked("developer").await.expect(200);
}

#[tokio::test]
async fn a_token_that_was_revoked_gets_nothing_from_memory() {
    let node = TestNode::start().await;
    Draft::new("kept", "1.0.0").publish(&node).await.expect(201);
    let made = node
        .post("/api/v4/users/1/personal_access_tokens")
        .by("root")
        .json(&json!({"name": "short", "scopes": ["read_api"]}))
        .send()
        .await
        .expect(201)
        .json();
    let token = made["token"].as_str().unwrap();
    let asked = async || node.get(format!("{BASE}/kept")).bearer(token).send().await;
    for _ in 0..4 {
        asked().await.expect(200);
    }
    assert!(node.front().answers().repeated() > 0);
    node.sibling()
        .delete(format!("/api/v4/personal_access_tokens/{}", made["id"]))
        .by("root")
        .send()
        .await
        .expect(204);
    asked().await.expect(401);
}
