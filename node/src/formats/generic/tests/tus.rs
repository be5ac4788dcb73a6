//! Uploads in several requests.

use super::*;
use crate::testing::TestRequest;

const PIECE: &str = "application/offset+octet-stream";

fn metadata(pairs: &[(&str, &str)]) -> String {
    let pairs = pairs
        .iter()
        .map(|(key, value)| format!("{key} {}", BASE64.encode(value.as_bytes())));
    pairs.collect::<Vec<_>>().join(",")
}

fn package(file: &str) -> String {
    metadata(&[("package", "tool"), ("version", "1"), ("filename", file)])
}

impl<'n> TestRequest<'n> {
    fn tus(self) -> Self {
        self.by("developer").header("tus-resumable", "1.0.0")
    }
}

async fn begin(node: &TestNode, length: usize, metadata: &str) -> Answer {
    node.post(at("/-/uploads"))
        .tus()
        .header("upload-length", &length.to_string())
        .header("upload-metadata", metadata)
        .send()
        .await
}

fn place(answer: &Answer) -> String {
    answer
        .header("location")
        .trim_start_matches("http://cairn.example")
        .to_owned()
}

async fn piece(node: &TestNode, place: &str, offset: usize, bytes: &'static str) -> Answer {
    node.patch(place)
        .tus()
        .header("content-type", PIECE)
        .header("upload-offset", &offset.to_string())
        .body(bytes)
        .send()
        .await
}

#[tokio::test]
async fn each_piece_of_a_file_may_go_to_another_node() {
    let node = TestNode::start().await;
    let (second, third) = (node.sibling(), node.sibling());
    let begun = begin(&node, 10, &package("f.bin")).await.expect(201);
    assert_eq!(begun.header("tus-resumable"), "1.0.0");
    let place = place(&begun);
    let first = piece(&second, &place, 0, "0123").await.expect(204);
    assert_eq!(first.header("upload-offset"), "4");
    node.get(at("/tool/1/f.bin"))
        .by("reporter")
        .send()
        .await
        .expect(404);
    let status = third.head(&place).tus().send().await.expect(200);
    assert_eq!(
        (status.header("upload-offset"), status.header("upload-length")),
        ("4", "10")
    );
    assert_eq!(status.header("cache-control"), "no-store");
    assert_eq!(status.header("upload-metadata"), package("f.bin"));
    // A piece that comes twice, or too early, is told where to go on.
    for offset in [0, 5] {
        let wrong = piece(&third, &place, offset, "0123").await.expect(409);
        assert_eq!(wrong.header("upload-offset"), "4");
    }
    let last = piece(&third, &place, 4, "456789").await.expect(204);
    assert_eq!(last.header("upload-offset"), "10");
    assert_eq!(last.header("x-checksum-sha256"), sha256(b"0123456789"));
    let url = "http://cairn.example/api/v4/projects/1/packages/generic/tool/1/f.bin";
    assert_eq!(last.header("location"), url);
    let fetched = second
        .get(at("/tool/1/f.bin"))
        .by("reporter")
        .send()
        .await
        .expect(200);
    assert_eq!(fetched.text(), "0123456789");
    assert_eq!(
        fetched.header("x-checksum-md5"),
        "781e5e245d69b566979b86e28d23f2c7"
    );

    // A client that did not hear of the end asks again.
    let status = node.head(&place).tus().send().await.expect(200);
    assert_eq!(
        (status.header("upload-offset"), status.header("upload-length")),
        ("10", "10")
    );
    piece(&node, &place, 10, "").await.expect(204);
    piece(&node, &place, 4, "456789").await.expect(409);
}

#[tokio::test]
async fn a_file_may_be_empty_raw_or_hidden() {
    let node = TestNode::start().await;
    begin(&node, 0, &package("empty")).await.expect(201);
    assert_eq!(
        node.get(at("/tool/1/empty"))
            .by("reporter")
            .send()
            .await
            .expect(200)
            .text(),
        ""
    );
    let raw = begin(&node, 1, &metadata(&[("path", "any/ü path"), ("filename", "x")]))
        .await
        .expect(201);
    piece(&node, &place(&raw), 0, "x").await.expect(204);
    let there = node
        .get(at("/-/raw/any/%C3%BC%20path"))
        .by("reporter")
        .send()
        .await;
    assert_eq!(there.expect(200).text(), "x");
    let hidden = [
        ("package", "secret"),
        ("version", "1"),
        ("filename", "f"),
        ("status", "hidden"),
    ];
    let hidden = begin(&node, 1, &metadata(&hidden)).await.expect(201);
    piece(&node, &place(&hidden), 0, "x").await.expect(204);
    node.get(at("/secret/1/f"))
        .by("reporter")
        .send()
        .await
        .expect(200);
    node.get(at("/secret/1/")).by("reporter").send().await.expect(404);
}

#[tokio::test]
async fn what_is_spoken_is_said() {
    let node = TestNode::start().await;
    let said = node
        .request(Method::OPTIONS, at("/-/uploads"))
        .by("reporter")
        .send()
        .await
        .expect(204);
    assert_eq!(
        (said.header("tus-version"), said.header("tus-extension")),
        ("1.0.0", "creation,termination")
    );
    assert_eq!(
        said.header("tus-max-size").parse::<u64>().unwrap(),
        node.app().http().limits.file_bytes
    );
    for version in ["0.2.2", ""] {
        let wrong = node
            .post(at("/-/uploads"))
            .by("developer")
            .header("tus-resumable", version)
            .header("upload-length", "1")
            .header("upload-metadata", &package("f"))
            .send()
            .await
            .expect(412);
        assert_eq!(wrong.header("tus-version"), "1.0.0");
    }
}

#[tokio::test]
async fn bytes_that_are_not_what_was_claimed_are_thrown_away() {
    let node = TestNode::start().await;
    let claimed = |hex: &str| {
        metadata(&[
            ("package", "tool"),
            ("version", "1"),
            ("filename", "f"),
            ("sha256", hex),
        ])
    };
    let wrong = place(&begin(&node, 1, &claimed(&sha256(b"y"))).await.expect(201));
    let refused = piece(&node, &wrong, 0, "x").await;
    assert_eq!(refused.status, 460);
    assert!(
        refused.json()["message"]
            .as_str()
            .unwrap()
            .contains("the sha256 of the file")
    );
    node.head(&wrong).tus().send().await.expect(404);
    node.get(at("/tool/1/f")).by("reporter").send().await.expect(404);
    let right = place(&begin(&node, 1, &claimed(&sha256(b"x"))).await.expect(201));
    piece(&node, &right, 0, "x").await.expect(204);

    // What is published meanwhile under the same name is not overwritten.
    let late = place(&begin(&node, 1, &package("late")).await.expect(201));
    publish(&node, "/tool/1/late", "first").await.expect(201);
    let refused = piece(&node, &late, 0, "x").await.expect(400);
    assert!(refused.text().contains("Duplicate package is not allowed"));
    node.head(&late).tus().send().await.expect(404);
    assert_eq!(
        node.get(at("/tool/1/late")).by("reporter").send().await.text(),
        "first"
    );
}

#[tokio::test]
async fn an_upload_belongs_to_who_began_it_and_can_be_thrown_away() {
    let node = TestNode::start().await;
    let place = place(&begin(&node, 4, &package("f")).await.expect(201));
    for (caller, status) in [
        ("anonymous", 401),
        ("reporter", 403),
        ("maintainer", 404),
        ("deploy-write", 404),
        ("stranger", 404),
    ] {
        let other = node.head(&place).by(caller).header("tus-resumable", "1.0.0");
        other.send().await.expect(status);
        let other = node.delete(&place).by(caller).header("tus-resumable", "1.0.0");
        other.send().await.expect(status);
    }
    let elsewhere = place.replace("projects/1/", "projects/2/");
    node.head(elsewhere).tus().send().await.expect(404);
    piece(&node, &place, 0, "x").await.expect(204);
    node.delete(&place).tus().send().await.expect(204);
    node.delete(&place).tus().send().await.expect(404);
    node.head(&place).tus().send().await.expect(404);
    piece(&node, &place, 1, "x").await.expect(404);
}

#[tokio::test]
async fn wrong_uploads_are_refused() {
    let node = TestNode::start().await;
    publish(&node, "/taken/1/f", "taken").await.expect(201);
    fixture::set_duplicates(node.app(), 1, "generic", DuplicatePolicy::Forbid).await;
    let names = |package: &str, version: &str, file: &str| {
        metadata(&[("package", package), ("version", version), ("filename", file)])
    };
    let long = metadata(&[("path", &"a".repeat(5000))]);
    for (length, metadata, status, message) in [
        ("", package("f"), 400, "not a number"),
        ("-1", package("f"), 400, "not a number"),
        ("99999999999999", package("f"), 413, "over the limit"),
        ("1", String::new(), 400, "where the file is to lie"),
        ("1", "package".into(), 400, "where the file is to lie"),
        ("1", "package !".into(), 400, "Base64"),
        ("1", "package /w==".into(), 400, "Base64"),
        ("1", names("a b", "1", "f"), 400, "package name"),
        ("1", names("-", "1", "f"), 400, "reserved"),
        ("1", names("p", "..", "f"), 400, "version"),
        ("1", names("p", "1", "../f"), 400, "file name"),
        ("1", metadata(&[("path", "a/../b")]), 400, "'..' segment"),
        (
            "1",
            metadata(&[("path", "a"), ("package", "p")]),
            400,
            "where the file is to lie",
        ),
        ("1", long, 400, "over the limit"),
        ("1", package("f") + ",status Z29uZQ==", 400, "status"),
        (
            "1",
            package("f") + ",sha256 Z29uZQ==",
            400,
            "does not hold a digest",
        ),
        (
            "1",
            names("taken", "1", "f"),
            400,
            "Duplicate package is not allowed",
        ),
    ] {
        let request = node
            .post(at("/-/uploads"))
            .tus()
            .header("upload-length", length)
            .header("upload-metadata", &metadata);
        let answer = request.send().await;
        assert_eq!(answer.status, status, "{length} {metadata}: {}", answer.text());
        assert_eq!(answer.header("tus-resumable"), "1.0.0");
        let said = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(said.contains(message), "{length} {metadata}: {said}");
    }
    node.post(at("/-/uploads"))
        .tus()
        .header("upload-metadata", &package("f"))
        .send()
        .await
        .expect(400);
    node.post(at("/-/uploads"))
        .tus()
        .header("upload-length", "1")
        .send()
        .await
        .expect(400);

    let place = place(&begin(&node, 4, &package("f")).await.expect(201));
    for (name, value, status) in [
        ("content-type", "application/octet-stream", 415),
        ("upload-checksum", "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=", 400),
        ("content-encoding", "gzip", 415),
        ("upload-offset", "x", 400),
    ] {
        let mut request = node.patch(&place).tus().header(name, value).body("x");
        for (other, usual) in [("content-type", PIECE), ("upload-offset", "0")] {
            if other != name {
                request = request.header(other, usual);
            }
        }
        let answer = request.send().await;
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
    }
    piece(&node, &place, 0, "12345").await.expect(413);
    node.head(at("/-/uploads/nothing")).tus().send().await.expect(404);
    let id = "/-/uploads/00112233445566778899aabbccddeeff";
    node.head(at(id)).tus().send().await.expect(404);
    node.get(at("/tool/1/f")).by("reporter").send().await.expect(404);
}
