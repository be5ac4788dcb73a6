//! Blobs: pushing in every way, on any node; mounting, reading and removing them.

use super::*;
use crate::http::settings::HttpSettings;

const UPLOADS: &str = "/v2/acme/demo/app/blobs/uploads/";

/// Begins an upload; gives where it goes on.
async fn begin(node: &TestNode) -> String {
    let answer = node
        .post(UPLOADS)
        .by("developer")
        .header("content-length", "0")
        .send()
        .await
        .expect(202);
    assert_eq!(answer.header("range"), "0-0");
    assert_eq!(answer.header("content-length"), "0");
    assert!(!answer.header("docker-upload-uuid").is_empty());
    assert!(answer.header("oci-chunk-min-length").parse::<u64>().is_ok());
    let location = answer.header("location").to_owned();
    assert!(location.starts_with(UPLOADS), "{location}");
    location
}

async fn patch(node: &TestNode, location: &str, range: Option<(usize, usize)>, content: &[u8]) -> Answer {
    let mut request = node
        .patch(location)
        .by("developer")
        .header("content-type", "application/octet-stream");
    if let Some((start, end)) = range {
        request = request.header("content-range", &format!("{start}-{end}"));
        request = request.header("content-length", &content.len().to_string());
    }
    request.body(content.to_vec()).send().await
}

async fn put(node: &TestNode, location: &str, digest: &str, content: &[u8]) -> Answer {
    let request = node.put(format!("{location}?digest={digest}")).by("developer");
    request.body(content.to_vec()).send().await
}

#[track_caller]
fn is_created(answer: Answer, digest: &str) {
    let answer = answer.expect(201);
    assert_eq!(answer.header("location"), format!("/v2/{IMAGE}/blobs/{digest}"));
    assert_eq!(answer.header("docker-content-digest"), digest);
}

#[tokio::test]
async fn each_request_of_an_upload_may_go_to_another_node() {
    let first = TestNode::start().await;
    let (second, third) = (first.sibling(), first.sibling());
    let content = large(3, 300);
    let digest = sha256(&content);

    let location = begin(&first).await;
    let answer = patch(&second, &location, Some((0, 99)), &content[..100])
        .await
        .expect(202);
    assert_eq!(answer.header("range"), "0-99");
    let location = answer.header("location").to_owned();
    let answer = patch(&third, &location, Some((100, 199)), &content[100..200])
        .await
        .expect(202);
    assert_eq!(answer.header("range"), "0-199");
    let status = first.get(&location).by("developer").send().await.expect(204);
    assert_eq!(status.header("range"), "0-199");
    assert_eq!(status.header("location"), location);
    is_created(put(&second, &location, &digest, &content[200..]).await, &digest);
    assert_eq!(third.get_blob(IMAGE, &digest).await.expect(200).body, content);
}

#[tokio::test]
async fn a_blob_is_pushed_in_every_way() {
    let node = TestNode::start().await;
    for (way, digest_of) in [
        ("stream", sha256 as fn(&[u8]) -> String),
        ("stream", sha512),
        ("put", sha256),
        ("put", sha512),
        ("post", sha256),
        ("post", sha512),
        ("chunk in put", sha256),
    ] {
        let content = large(way.len() as u8, 5000);
        let digest = digest_of(&content);
        match way {
            "stream" => {
                let location = begin(&node).await;
                patch(&node, &location, None, &content).await.expect(202);
                is_created(put(&node, &location, &digest, b"").await, &digest);
            }
            "put" => {
                let location = begin(&node).await;
                is_created(put(&node, &location, &digest, &content).await, &digest);
            }
            "chunk in put" => {
                let location = begin(&node).await;
                patch(&node, &location, Some((0, 999)), &content[..1000])
                    .await
                    .expect(202);
                let request = node.put(format!("{location}?digest={digest}")).by("developer");
                let request = request.header("content-range", "1000-4999");
                is_created(request.body(content[1000..].to_vec()).send().await, &digest);
            }
            _ => {
                let request = node.post(format!("{UPLOADS}?digest={digest}")).by("developer");
                is_created(request.body(content.to_vec()).send().await, &digest);
            }
        }
        let blob = node.get_blob(IMAGE, &digest).await.expect(200);
        assert_eq!(blob.body, content, "{way} {digest}");
        assert_eq!(blob.header("docker-content-digest"), digest);
    }
    let begun = node
        .post(format!("{UPLOADS}?digest-algorithm=sha512"))
        .by("developer")
        .send()
        .await
        .expect(202);
    let digest = sha512(b"x");
    is_created(put(&node, begun.header("location"), &digest, b"x").await, &digest);
    for target in [
        "?digest-algorithm=md5",
        "?digest-algorithm=",
        "?digest=sha256:0",
        "?mount=md5:00&from=acme/demo",
    ] {
        let request = node.post(format!("{UPLOADS}{target}")).by("developer");
        request.send().await.fails(400, "DIGEST_INVALID");
    }
}

#[tokio::test]
async fn content_that_does_not_have_its_digest_is_thrown_away() {
    let node = TestNode::start().await;
    let other = sha256(b"something else");
    let location = begin(&node).await;
    put(&node, &location, &other, b"content")
        .await
        .fails(400, "DIGEST_INVALID");
    node.get(&location)
        .by("developer")
        .send()
        .await
        .fails(404, "BLOB_UPLOAD_UNKNOWN");

    let location = begin(&node).await;
    patch(&node, &location, None, b"content").await.expect(202);
    put(&node, &location, &sha512(b"something else"), b"")
        .await
        .fails(400, "DIGEST_INVALID");
    patch(&node, &location, None, b"more")
        .await
        .fails(404, "BLOB_UPLOAD_UNKNOWN");

    let target = format!("{UPLOADS}?digest={other}");
    let answer = node.post(target).by("developer").body("content").send().await;
    answer.fails(400, "DIGEST_INVALID");
    node.get_blob(IMAGE, &other).await.fails(404, "BLOB_UNKNOWN");
    node.get_blob(IMAGE, &sha256(b"content"))
        .await
        .fails(404, "BLOB_UNKNOWN");
}

#[tokio::test]
async fn digests_in_another_spelling_are_refused() {
    let node = TestNode::start().await;
    let location = begin(&node).await;
    let digest = sha256(b"content");
    let hex = digest.strip_prefix("sha256:").unwrap();
    for bad in [
        format!("sha256:{}", hex.to_uppercase()),
        format!("SHA256:{hex}"),
        format!("sha256:{}", &hex[1..]),
        format!("md5:{}", &hex[..32]),
        format!("sha384:{hex}"),
        hex.to_owned(),
        String::new(),
    ] {
        put(&node, &location, &bad, b"content")
            .await
            .fails(400, "DIGEST_INVALID");
    }
    node.put(&location)
        .by("developer")
        .body("content")
        .send()
        .await
        .fails(400, "DIGEST_INVALID");
    // Nothing of it was taken; and an encoded colon is a colon.
    is_created(
        put(&node, &location, &digest.replace(':', "%3A"), b"content").await,
        &digest,
    );
}

#[tokio::test]
async fn chunks_that_do_not_follow_each_other_are_told_where_to_go_on() {
    let node = TestNode::start().await;
    let content = large(5, 30);
    let location = begin(&node).await;
    let told = |answer: Answer, range: &str| {
        let answer = answer.fails(416, "BLOB_UPLOAD_INVALID");
        assert_eq!(answer.header("range"), range);
        assert_eq!(answer.header("location"), location);
    };
    told(
        patch(&node, &location, Some((10, 19)), &content[10..20]).await,
        "0-0",
    );
    patch(&node, &location, Some((0, 9)), &content[..10])
        .await
        .expect(202);
    told(
        patch(&node, &location, Some((20, 29)), &content[20..]).await,
        "0-9",
    );
    told(patch(&node, &location, Some((0, 9)), &content[..10]).await, "0-9");
    told(
        patch(&node, &location, Some((5, 14)), &content[5..15]).await,
        "0-9",
    );
    let digest = sha256(&content);
    let last = node.put(format!("{location}?digest={digest}")).by("developer");
    told(
        last.header("content-range", "20-29")
            .body(content[20..].to_vec())
            .send()
            .await,
        "0-9",
    );

    patch(&node, &location, Some((10, 19)), &content[10..20])
        .await
        .expect(202);
    is_created(put(&node, &location, &digest, &content[20..]).await, &digest);
}

#[tokio::test]
async fn a_chunk_must_have_the_length_of_its_range() {
    let node = TestNode::start().await;
    let location = begin(&node).await;
    patch(&node, &location, Some((0, 99)), b"short")
        .await
        .fails(400, "SIZE_INVALID");
    for range in ["0-4/5", "bytes 0-4", "4-0", "x-y", "0-", "0-18446744073709551615"] {
        let request = node
            .patch(&location)
            .by("developer")
            .header("content-range", range);
        request
            .body("short")
            .send()
            .await
            .fails(400, "BLOB_UPLOAD_INVALID");
    }
    // Sent in pieces, without a length of its own.
    for (range, content) in [("0-9", "short"), ("0-2", "long")] {
        let request = node
            .patch(&location)
            .by("developer")
            .header("content-range", range);
        request.body(content).send().await.fails(400, "SIZE_INVALID");
    }
    let status = node.get(&location).by("developer").send().await.expect(204);
    assert_eq!(status.header("range"), "0-0");
    is_created(put(&node, &location, &sha256(b""), b"").await, &sha256(b""));
}

#[tokio::test]
async fn of_two_chunks_at_one_place_one_is_taken() {
    let node = TestNode::start().await;
    let other = node.sibling();
    for range in [Some((0, 4)), None] {
        let location = begin(&node).await;
        let (one, two) = tokio::join!(
            patch(&node, &location, range, b"first"),
            patch(&other, &location, range, b"other"),
        );
        let mut statuses = [one.status, two.status];
        statuses.sort_unstable();
        // Without a range the second one may also have come after the first.
        let in_turn = range.is_none() && statuses == [202, 202];
        assert!(statuses == [202, 416] || in_turn, "{statuses:?}");
        let status = node.get(&location).by("developer").send().await.expect(204);
        assert_eq!(status.header("range"), if in_turn { "0-9" } else { "0-4" });
    }
}

#[tokio::test]
async fn ending_an_upload_twice_gives_the_same_answer() {
    let node = TestNode::start().await;
    let other = node.sibling();
    let digest = sha256(b"content");
    let location = begin(&node).await;
    patch(&node, &location, None, b"content").await.expect(202);
    is_created(put(&node, &location, &digest, b"").await, &digest);
    is_created(put(&other, &location, &digest, b"").await, &digest);
    // The last chunk sent again is not added again.
    is_created(put(&other, &location, &digest, b"content").await, &digest);
    put(&other, &location, &sha256(b"other"), b"")
        .await
        .fails(404, "BLOB_UPLOAD_UNKNOWN");
    patch(&other, &location, None, b"more")
        .await
        .fails(404, "BLOB_UPLOAD_UNKNOWN");
    node.get(&location)
        .by("developer")
        .send()
        .await
        .fails(404, "BLOB_UPLOAD_UNKNOWN");
    let elsewhere = location.replace("/app/", "/other/");
    put(&node, &elsewhere, &digest, b"")
        .await
        .fails(404, "BLOB_UPLOAD_UNKNOWN");

    let location = begin(&node).await;
    patch(&node, &location, None, b"content").await.expect(202);
    let (one, two) = tokio::join!(
        put(&node, &location, &digest, b""),
        put(&other, &location, &digest, b"")
    );
    is_created(one, &digest);
    is_created(two, &digest);
}

#[tokio::test]
async fn an_upload_can_be_thrown_away() {
    let node = TestNode::start().await;
    let location = begin(&node).await;
    patch(&node, &location, None, b"content").await.expect(202);
    node.delete(&location).by("developer").send().await.expect(204);
    node.delete(&location)
        .by("developer")
        .send()
        .await
        .fails(404, "BLOB_UPLOAD_UNKNOWN");
    patch(&node, &location, None, b"more")
        .await
        .fails(404, "BLOB_UPLOAD_UNKNOWN");
    put(&node, &location, &sha256(b"content"), b"")
        .await
        .fails(404, "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn an_upload_belongs_to_its_repository() {
    let node = TestNode::start().await;
    let location = begin(&node).await;
    for name in ["acme/demo/other", "acme/demo", "acme/open/app"] {
        let elsewhere = location.replace(IMAGE, name);
        patch(&node, &elsewhere, None, b"x")
            .await
            .fails(404, "BLOB_UPLOAD_UNKNOWN");
        put(&node, &elsewhere, &sha256(b""), b"")
            .await
            .fails(404, "BLOB_UPLOAD_UNKNOWN");
        node.get(&elsewhere)
            .by("developer")
            .send()
            .await
            .fails(404, "BLOB_UPLOAD_UNKNOWN");
        node.delete(&elsewhere)
            .by("developer")
            .send()
            .await
            .fails(404, "BLOB_UPLOAD_UNKNOWN");
    }
    for id in ["x", "0", "..%2f", &"0".repeat(32), &"g".repeat(32)] {
        let unknown = format!("{UPLOADS}{id}");
        let answer = node.get(unknown).by("developer").send().await;
        assert!(matches!(answer.status, 400 | 404), "{id}: {}", answer.status);
    }
    node.get(&location).by("developer").send().await.expect(204);
}

#[tokio::test]
async fn uploads_under_way_are_counted() {
    let node = TestNode::start().await;
    let (one, two, three) = (begin(&node).await, begin(&node).await, begin(&node).await);
    assert_eq!(node.upload_count().await, 3);
    is_created(put(&node, &one, &sha256(b"x"), b"x").await, &sha256(b"x"));
    is_created(put(&node, &one, &sha256(b"x"), b"x").await, &sha256(b"x"));
    node.delete(&two).by("developer").send().await.expect(204);
    put(&node, &three, &sha256(b"y"), b"x")
        .await
        .fails(400, "DIGEST_INVALID");
    assert_eq!(node.upload_count().await, 0);

    let scope = node.oci_scope("developer", "acme/demo").await;
    let keys = ProjectKeys::new(scope.collection());
    let mut txn = node.kv().begin().await.unwrap();
    txn.add(&keys.sessions().count(), 1000);
    txn.commit().await.unwrap();
    let refused = node
        .post(UPLOADS)
        .by("developer")
        .send()
        .await
        .fails(429, "TOOMANYREQUESTS");
    assert!(!refused.header("retry-after").is_empty());
}

#[tokio::test]
async fn a_blob_of_one_request_is_held_to_the_limit() {
    let settings = HttpSettings {
        limits: crate::http::settings::Limits {
            file_bytes: 1000,
            ..Default::default()
        },
        ..Default::default()
    };
    let node = TestNode::with(settings).await;
    let content = large(1, 1001);
    let digest = sha256(&content);
    let target = format!("{UPLOADS}?digest={digest}");
    node.post(target)
        .by("developer")
        .body(content.to_vec())
        .send()
        .await
        .fails(413, "SIZE_INVALID");
    let location = begin(&node).await;
    patch(&node, &location, None, &content[..600]).await.expect(202);
    patch(&node, &location, None, &content[600..])
        .await
        .fails(413, "SIZE_INVALID");
    put(&node, &location, &digest, &content[600..])
        .await
        .fails(413, "SIZE_INVALID");
    put(&node, &location, &sha256(&content[..1000]), &content[600..1000])
        .await
        .expect(201);
    let coded = node
        .post(UPLOADS)
        .by("developer")
        .header("content-encoding", "gzip");
    coded.send().await.expect(415);
}

#[tokio::test]
async fn blobs_are_mounted_from_where_the_caller_may_pull() {
    let node = TestNode::start().await;
    let digest = node.push_blob("acme/open/base", b"shared").await;
    let mount = async |caller: &str, query: String| {
        let target = format!("/v2/acme/demo/app/blobs/uploads/?mount={query}");
        node.post(target).by(caller).send().await
    };
    let not_mounted = |answer: Answer| {
        let answer = answer.expect(202);
        assert!(answer.header("location").starts_with(UPLOADS));
        assert_eq!(answer.header("range"), "0-0");
        assert!(!answer.header("oci-chunk-min-length").is_empty());
    };
    let other = sha256(b"unknown");
    not_mounted(mount("developer", format!("{other}&from=acme/open/base")).await);
    not_mounted(mount("developer", format!("{digest}&from=acme/open/other")).await);
    not_mounted(mount("developer", format!("{digest}&from=acme/nothing/base")).await);
    not_mounted(mount("developer", format!("{digest}&from=Not/A/Name")).await);
    not_mounted(mount("developer", digest.clone()).await);
    // A token for one project is nothing in another that is not public.
    node.push_blob("acme/inside/base", b"inside").await;
    let inside = sha256(b"inside");
    not_mounted(mount("deploy-write", format!("{inside}&from=acme/inside/base")).await);
    node.get_blob(IMAGE, &digest).await.fails(404, "BLOB_UNKNOWN");

    is_created(
        mount("developer", format!("{digest}&from=acme%2Fopen%2Fbase&origin=x")).await,
        &digest,
    );
    assert_eq!(node.get_blob(IMAGE, &digest).await.expect(200).body, "shared");
    // Without a source, what the repository holds itself is found.
    is_created(mount("developer", digest.clone()).await, &digest);
    is_created(
        mount("developer", format!("{inside}&from=acme/inside/base")).await,
        &inside,
    );
    // It stays when the source lets go of it.
    let source = format!("/v2/acme/open/base/blobs/{digest}");
    node.delete(&source).by("developer").send().await.expect(202);
    node.get(&source)
        .by("reporter")
        .send()
        .await
        .fails(404, "BLOB_UNKNOWN");
    assert_eq!(node.get_blob(IMAGE, &digest).await.expect(200).body, "shared");
}

/// What the log of the metadata grows by, and what the answer says, apart from the session's name.
async fn mounted(node: &TestNode, from: &str, digest: &str) -> (u64, String) {
    let target = format!("/v2/acme/demo/app/blobs/uploads/?mount={digest}&from={from}");
    let before = node.kv().local().applied_index();
    let answer = node.post(target).by("deploy-write").send().await.expect(202);
    let session = answer.header("docker-upload-uuid").to_owned();
    let mut headers: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| !["date", "x-request-id"].contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    let shown = format!("{}\n{:?}", headers.join("\n"), answer.body);
    let writes = node.kv().local().applied_index() - before;
    (writes, shown.replace(&session, "SESSION"))
}

#[tokio::test]
async fn a_mount_from_what_the_caller_may_not_pull_is_like_one_from_nowhere() {
    let node = TestNode::start().await;
    let digest = node.push_blob("acme/inside/base", b"inside").await;
    // The first of a node's sessions takes numbers for more of them.
    mounted(&node, "acme/nothing/base", &digest).await;
    let nowhere = mounted(&node, "acme/nothing/base", &digest).await;
    for from in [
        "acme/inside/base",
        "acme/inside/other",
        "none/none",
        "acme/open/other",
    ] {
        assert_eq!(mounted(&node, from, &digest).await, nowhere, "{from}");
    }
    let unknown = sha256(b"unknown");
    assert_eq!(mounted(&node, "acme/inside/base", &unknown).await, nowhere);
}

#[tokio::test]
async fn a_blob_that_was_removed_in_one_repository_is_not_found_again_through_another() {
    let node = TestNode::start().await;
    let other = node.sibling();
    let digest = node.push_blob("acme/demo/a", b"content").await;
    node.push_blob("acme/demo/b", b"content").await;
    let target = format!("/v2/acme/demo/a/blobs/{digest}");
    node.delete(&target).by("developer").send().await.expect(202);
    other.get_blob("acme/demo/b", &digest).await.expect(200);
    other
        .get_blob("acme/demo/a", &digest)
        .await
        .fails(404, "BLOB_UNKNOWN");
    node.get_blob("acme/demo/a", &digest)
        .await
        .fails(404, "BLOB_UNKNOWN");
    node.delete(&target)
        .by("developer")
        .send()
        .await
        .fails(404, "BLOB_UNKNOWN");
}

#[tokio::test]
async fn parts_of_a_blob() {
    let node = TestNode::start().await;
    let content = large(9, 2048);
    let digest = node.push_blob(IMAGE, &content).await;
    let target = format!("/v2/{IMAGE}/blobs/{digest}");
    for (range, part) in [
        ("bytes=500-1499", Some(500..1500)),
        ("bytes=500-", Some(500..2048)),
        ("bytes=-500", Some(1548..2048)),
        ("bytes=2000-5000", Some(2000..2048)),
        ("bytes=500-0", None),
        ("bytes=5000-10000", None),
    ] {
        let answer = node
            .get(&target)
            .by("reporter")
            .header("range", range)
            .send()
            .await;
        match part {
            Some(part) => {
                let answer = answer.expect(206);
                let expected = format!("bytes {}-{}/2048", part.start, part.end - 1);
                assert_eq!(answer.header("content-range"), expected);
                assert_eq!(answer.body, content[part]);
            }
            None => {
                let answer = answer.fails(416, "RANGE_INVALID");
                assert_eq!(answer.header("content-range"), "bytes */2048");
            }
        }
    }
    let head = node.head(&target).by("reporter").send().await.expect(200);
    assert_eq!(head.header("content-length"), "2048");
    assert!(head.body.is_empty());
    let etag = head.header("etag").to_owned();
    node.get(&target)
        .by("reporter")
        .header("if-none-match", &etag)
        .send()
        .await
        .expect(304);
}

#[tokio::test]
async fn what_head_promised_is_marked() {
    let node = TestNode::start().await;
    let digest = node.push_blob(IMAGE, b"content").await;
    let kept = async || node.kept(IMAGE, &digest).await;
    let forget = async || {
        let mut txn = node.kv().begin().await.unwrap();
        txn.delete(&node.kept_key(IMAGE, &digest).await);
        txn.commit().await.unwrap();
    };
    assert!(kept().await > 0);
    let target = format!("/v2/{IMAGE}/blobs/{digest}");
    forget().await;
    // Who only reads is promised nothing, and writes nothing.
    node.head(&target).by("reporter").send().await.expect(200);
    node.get(&target).by("developer").send().await.expect(200);
    assert_eq!(kept().await, 0);
    let token = node.login("developer", &["repository:acme/demo/app:pull"]).await;
    node.head(&target).bearer(&token).send().await.expect(200);
    assert_eq!(kept().await, 0);
    node.head(&target).by("developer").send().await.expect(200);
    let first = kept().await;
    assert!(first > 0);
    // Asked again soon, the promise is still good.
    node.head(&target).by("developer").send().await.expect(200);
    assert_eq!(kept().await, first);
    node.head(target.replace(&digest, &sha256(b"other")))
        .by("developer")
        .send()
        .await
        .expect(404);
}

#[tokio::test]
async fn an_abandoned_upload_gives_back_its_place() {
    let (node, clock) = StoppedClock::node().await;
    let abandoned = begin(&node).await;
    patch(&node, &abandoned, None, b"content").await.expect(202);
    let slow = begin(&node).await;
    clock.advance(DAY / 2);
    patch(&node, &slow, None, b"slow").await.expect(202);
    clock.advance(DAY / 2 + Duration::from_secs(1));
    patch(&node, &abandoned, None, b"more")
        .await
        .fails(404, "BLOB_UPLOAD_UNKNOWN");
    put(&node, &abandoned, &sha256(b"content"), b"")
        .await
        .fails(404, "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(node.upload_count().await, 2);
    // The next one to begin looks after those that were left.
    begin(&node).await;
    assert_eq!(node.upload_count().await, 2);
    is_created(put(&node, &slow, &sha256(b"slow"), b"").await, &sha256(b"slow"));
    clock.advance(DAY * 2);
    for _ in 0..2 {
        begin(&node).await;
    }
    assert_eq!(node.upload_count().await, 2);
}

#[tokio::test]
async fn the_end_of_an_upload_is_remembered_for_a_while() {
    let (node, clock) = StoppedClock::node().await;
    let location = begin(&node).await;
    let digest = sha256(b"content");
    is_created(put(&node, &location, &digest, b"content").await, &digest);
    clock.advance(DAY / 48);
    begin(&node).await;
    is_created(put(&node, &location, &digest, b"").await, &digest);
    clock.advance(DAY / 24);
    begin(&node).await;
    put(&node, &location, &digest, b"")
        .await
        .fails(404, "BLOB_UPLOAD_UNKNOWN");
    node.get_blob(IMAGE, &digest).await.expect(200);
}
