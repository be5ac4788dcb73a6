//! Uploads in parts.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::testing::TestRequest;
use crate::testing::clock::StoppedClock;

const FILE: &str = "/tool/1/f.bin";

async fn begin(node: &TestNode, file: &str) -> String {
    let begun = node
        .post(at(&format!("{file}?uploads")))
        .by("developer")
        .send()
        .await;
    let begun = begun.expect(200).json();
    assert!(begun["expires_at"].as_str().unwrap().ends_with('Z'));
    begun["upload_id"].as_str().unwrap().to_owned()
}

/// The URL of an upload, or of one of its parts.
fn of(file: &str, id: &str) -> String {
    at(&format!("{file}?upload_id={id}"))
}

async fn part(node: &TestNode, id: &str, number: u64, bytes: &'static str) -> Answer {
    let target = format!("{}&part={number}", of(FILE, id));
    node.put(target).by("developer").body(bytes).send().await
}

/// A request to publish what these parts make.
fn join<'n>(node: &'n TestNode, id: &str, parts: &[u64]) -> TestRequest<'n> {
    let parts: Vec<_> = parts.iter().map(|part| json!({ "part": part })).collect();
    let request = node.post(of(FILE, id)).by("developer");
    request.json(&json!({ "parts": parts }))
}

async fn listed(node: &TestNode, target: &str) -> Value {
    let answer = node.get(target).by("developer").send().await.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.json()
}

async fn fetched(node: &TestNode, file: &str) -> Answer {
    node.get(at(file)).by("reporter").send().await
}

#[tokio::test]
async fn parts_come_in_any_order_to_any_node_and_make_a_file() {
    let node = TestNode::start().await;
    let (second, third) = (node.sibling(), node.sibling());
    let id = begin(&node, FILE).await;
    let last = part(&second, &id, 10_000, "9").await.expect(200);
    assert_eq!(last.header("etag"), format!("\"{}\"", sha256(b"9")));
    part(&third, &id, 2, "wrong").await.expect(200);
    let again = part(&node, &id, 2, "5678").await.expect(200);
    assert_eq!(
        again.json(),
        json!({"part": 2, "size": 4, "etag": again.header("etag")})
    );
    part(&third, &id, 1, "01234").await.expect(200);
    fetched(&node, FILE).await.expect(404);

    let there = listed(&second, &of(FILE, &id)).await;
    let numbers: Vec<_> = there["parts"].as_array().unwrap().iter().collect();
    let numbers: Vec<_> = numbers
        .iter()
        .map(|part| part["part"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [1, 2, 10_000]);
    assert_eq!(
        (&there["parts"][1]["size"], &there["parts"][1]["sha256"]),
        (&json!(4), &json!(sha256(b"5678")))
    );
    let page = listed(&second, &format!("{}&limit=1&after=1", of(FILE, &id))).await;
    assert_eq!((&page["parts"][0]["part"], &page["next"]), (&json!(2), &json!(2)));

    let whole = json!({
        "parts": [{"part": 1}, {"part": 2, "etag": sha256(b"5678")}, {"part": 10_000, "etag": last.header("etag")}],
        "sha256": sha256(b"0123456789"),
    });
    let made = third
        .post(of(FILE, &id))
        .by("developer")
        .json(&whole)
        .send()
        .await;
    let made = made.expect(201);
    assert_eq!(made.header("x-checksum-sha256"), sha256(b"0123456789"));
    let url = "http://cairn.example/api/v4/projects/1/packages/generic/tool/1/f.bin";
    assert_eq!(made.header("location"), url);
    for node in [&node, &second, &third] {
        let file = fetched(node, FILE).await.expect(200);
        assert_eq!(file.text(), "0123456789");
        assert_eq!(file.header("x-checksum-md5"), "781e5e245d69b566979b86e28d23f2c7");
    }
    // A client that did not hear of the end asks again; and that was the end.
    let again = node.post(of(FILE, &id)).by("developer").json(&whole).send().await;
    assert_eq!(again.expect(201).header("etag"), made.header("etag"));
    part(&node, &id, 1, "x").await.expect(404);
    node.get(of(FILE, &id)).by("developer").send().await.expect(404);
}

#[tokio::test]
async fn a_file_may_be_described_raw_or_hidden() {
    let node = TestNode::start().await;
    let id = begin(&node, "/secret/1/f").await;
    let target = of("/secret/1/f", &id);
    node.put(format!("{target}&part=1"))
        .by("developer")
        .body("x")
        .send()
        .await
        .expect(200);
    let list = json!({"parts": [{"part": 1}]});
    let object = node.post(format!("{target}&select=package_file"));
    let object = object.by("developer").json(&list).send().await.expect(201).json();
    assert_eq!((&object["file_name"], &object["size"]), (&json!("f"), &json!(1)));

    let raw = "/-/raw/any/%C3%BC%20path";
    let id = begin(&node, raw).await;
    let target = of(raw, &id);
    for (number, bytes) in [(1, "a"), (2, "b")] {
        let part = node.put(format!("{target}&part={number}")).by("developer");
        part.body(bytes).send().await.expect(200);
    }
    assert_eq!(listed(&node, &target).await["parts"].as_array().unwrap().len(), 2);
    let list = json!({"parts": [{"part": 1}, {"part": 2}]});
    let made = node
        .post(&target)
        .by("developer")
        .json(&list)
        .send()
        .await
        .expect(201);
    assert_eq!(made.json()["path"], "/any/ü path");
    assert_eq!(fetched(&node, raw).await.expect(200).text(), "ab");
}

#[tokio::test]
async fn an_upload_in_parts_belongs_to_who_began_it_and_can_be_thrown_away() {
    let node = TestNode::start().await;
    let id = begin(&node, FILE).await;
    part(&node, &id, 1, "x").await.expect(200);
    let target = of(FILE, &id);
    let list = json!({"parts": [{"part": 1}]});
    for (caller, status) in [
        ("anonymous", 401),
        ("reporter", 403),
        ("deploy-read", 403),
        ("maintainer", 404),
        ("deploy-write", 404),
        ("stranger", 404),
    ] {
        let put = node.put(format!("{target}&part=1")).by(caller).body("y");
        put.send().await.expect(status);
        node.get(&target).by(caller).send().await.expect(status);
        let join = node.post(&target).by(caller).json(&list);
        join.send().await.expect(status);
        node.delete(&target).by(caller).send().await.expect(status);
    }
    // It is an upload of one file of one project.
    for elsewhere in [
        target.replace("f.bin", "g.bin"),
        target.replace("/tool/1/", "/-/raw/tool/1/"),
        target.replace("acme%2Fdemo", "2"),
    ] {
        node.get(&elsewhere).by("developer").send().await.expect(404);
        let join = node.post(&elsewhere).by("developer").json(&list);
        join.send().await.expect(404);
    }
    node.delete(&target).by("developer").send().await.expect(204);
    node.delete(&target).by("developer").send().await.expect(404);
    part(&node, &id, 2, "x").await.expect(404);
    join(&node, &id, &[1]).send().await.expect(404);
    fixture::purge(node.app()).await;
    // What is left is the order that would have ended it.
    assert_eq!(fixture::records_of_parts(node.app(), &id).await, 1);
    fetched(&node, FILE).await.expect(404);
}

#[tokio::test]
async fn what_a_part_is_not_is_refused() {
    let node = TestNode::start().await;
    let id = begin(&node, FILE).await;
    let other = "00".repeat(32);
    let b64 = BASE64.encode(&[0; 16]);
    for (part, name, value, status, message) in [
        ("&part=0", "", "", 400, "between 1 and 10000"),
        ("&part=10001", "", "", 400, "between 1 and 10000"),
        ("&part=-1", "", "", 400, "a number"),
        ("&part=x", "", "", 400, "a number"),
        ("", "", "", 400, "between 1 and 10000"),
        (
            "&part=1",
            "x-checksum-sha256",
            &other,
            400,
            "the sha256 of the file",
        ),
        ("&part=1", "x-checksum-sha1", "zz", 400, "does not hold a digest"),
        ("&part=1", "content-md5", &b64, 400, "the md5 of the file"),
        ("&part=1", "content-range", "bytes 1-4/5", 400, "Content-Range"),
        ("&part=1", "content-encoding", "gzip", 415, "Content-Encoding"),
        (
            "&part=1",
            "content-length",
            "99999999999999",
            413,
            "over the limit",
        ),
    ] {
        let target = format!("{}{part}", of(FILE, &id));
        let mut request = node.put(target).by("developer").body("other");
        if !name.is_empty() {
            request = request.header(name, value);
        }
        let answer = request.send().await;
        assert_eq!(answer.status, status, "{part} {name}: {}", answer.text());
        let said = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(said.contains(message), "{part} {name}: {said}");
    }
    for (name, value) in [
        ("x-checksum-sha1", "d16fb36f0911f878998c136191af705e"),
        ("content-md5", "not base64"),
    ] {
        let target = format!("{}&part=1", of(FILE, &id));
        let request = node.put(target).by("developer").header(name, value);
        request.body("x").send().await.expect(400);
    }
    let right = BASE64.encode(
        &data_encoding::HEXLOWER
            .decode(b"9dd4e461268c8034f5c8564e155c67a6")
            .unwrap(),
    );
    let target = format!("{}&part=1", of(FILE, &id));
    let request = node.put(&target).by("developer").header("content-md5", &right);
    request.body("x").send().await.expect(200);
    assert_eq!(
        listed(&node, &of(FILE, &id)).await["parts"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    // A part whose connection broke is not there.
    let broken = Body::from_stream(stream::iter([
        Ok(Bytes::from_static(b"half")),
        Err(std::io::Error::other("the connection broke")),
    ]));
    let target = format!("{}&part=2", of(FILE, &id));
    let request = node.put(&target).by("developer").body(broken);
    request.send().await.expect(400);
    join(&node, &id, &[1, 2]).send().await.expect(400);
    for unknown in ["nothing", "00112233445566778899aabbccddeeff", ""] {
        let target = format!("{}&part=1", of(FILE, unknown));
        let request = node.put(target).by("developer").body("x");
        request.send().await.expect(404);
    }
}

#[tokio::test]
async fn what_is_not_the_file_is_not_published() {
    let node = TestNode::start().await;
    publish(&node, "/taken/1/f", "taken").await.expect(201);
    for (target, header, status, message) in [
        ("/a%20b/1/f?uploads", "", 400, "package name"),
        ("/p/1/f?uploads&status=gone", "", 400, "unknown variant"),
        ("/-/raw/a//b?uploads", "", 400, "empty segment"),
        (
            "/p/1/f?uploads",
            "x-checksum-sha256",
            400,
            "does not hold a digest",
        ),
        ("/taken/1/f?uploads", "if-none-match", 412, "412"),
        ("/taken/1/f", "", 405, "405"),
    ] {
        let mut request = node.post(at(target)).by("developer");
        if !header.is_empty() {
            request = request.header(header, "*");
        }
        let answer = request.send().await;
        assert_eq!(answer.status, status, "{target}: {}", answer.text());
        let said = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(said.contains(message), "{target}: {said}");
    }

    let id = begin(&node, FILE).await;
    for (number, bytes) in [(1, "a"), (2, "b"), (3, "c")] {
        part(&node, &id, number, bytes).await.expect(200);
    }
    let other = "00".repeat(32);
    for (body, status, message) in [
        (json!([]), 400, "not as expected"),
        (json!({}), 400, "missing field"),
        (json!({"parts": []}), 400, "parts is empty"),
        (
            json!({"parts": [{"part": 4}]}),
            400,
            "part 4 has not been uploaded",
        ),
        (json!({"parts": [{"part": 2}, {"part": 1}]}), 400, "in the order"),
        (json!({"parts": [{"part": 1}, {"part": 1}]}), 400, "in the order"),
        (
            json!({"parts": [{"part": 1, "etag": other}]}),
            400,
            "part 1 is another one",
        ),
        (
            json!({"parts": [{"part": 1}], "sha256": "x"}),
            400,
            "sha256 does not hold",
        ),
        (
            json!({"parts": [{"part": 1}], "sha256": other}),
            400,
            "the sha256 of the file",
        ),
        (json!({"parts": [{"part": 1}], "owner": 1}), 400, "unknown field"),
    ] {
        let answer = node.post(of(FILE, &id)).by("developer").json(&body).send().await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        let said = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(said.contains(message), "{body}: {said}");
    }
    let coded = join(&node, &id, &[1]).header("content-encoding", "gzip");
    coded.send().await.expect(415);
    // Nothing of that ended the upload; what is published meanwhile under its name is kept.
    publish(&node, FILE, "first").await.expect(201);
    let refused = join(&node, &id, &[1, 2, 3]).send().await.expect(400);
    assert!(refused.text().contains("Duplicate package is not allowed"));
    assert_eq!(fetched(&node, FILE).await.text(), "first");

    let claimed = node.post(at("/p/1/f?uploads")).by("developer");
    let claimed = claimed.header("x-checksum-sha256", &sha256(b"right"));
    let claimed = claimed.send().await.expect(200).json();
    let target = of("/p/1/f", claimed["upload_id"].as_str().unwrap());
    let put = |bytes: &'static str| {
        let part = node.put(format!("{target}&part=1")).by("developer");
        part.body(bytes).send()
    };
    let list = json!({"parts": [{"part": 1}]});
    put("wrong").await.expect(200);
    let refused = node
        .post(&target)
        .by("developer")
        .json(&list)
        .send()
        .await
        .expect(400);
    assert!(refused.text().contains("the sha256 of the file"));
    put("right").await.expect(200);
    node.post(&target)
        .by("developer")
        .json(&list)
        .send()
        .await
        .expect(201);
}

#[tokio::test]
async fn parts_together_are_held_to_the_limit_of_a_file() {
    let mut settings = crate::http::settings::HttpSettings::default();
    settings.limits.file_bytes = 10;
    let node = TestNode::with(settings).await;
    let id = begin(&node, FILE).await;
    part(&node, &id, 1, "0123456789").await.expect(200);
    part(&node, &id, 2, "01234567890").await.expect(413);
    part(&node, &id, 2, "0").await.expect(200);
    let refused = join(&node, &id, &[1, 2]).send().await.expect(413);
    assert!(refused.text().contains("over the limit of 10 bytes"));
    // Nor can an upload hold on to more than that for long.
    part(&node, &id, 3, "012345678").await.expect(200);
    let more = node.put(format!("{}&part=4", of(FILE, &id))).by("developer");
    let more = more.header("content-length", "1").body("0");
    more.send().await.expect(413);
    join(&node, &id, &[1]).send().await.expect(201);
    assert_eq!(fetched(&node, FILE).await.text(), "0123456789");
}

#[tokio::test]
async fn an_abandoned_upload_in_parts_is_gone_after_a_week() {
    let (node, clock) = StoppedClock::node().await;
    let id = begin(&node, FILE).await;
    for number in 1..=70 {
        part(&node, &id, number, "x").await.expect(200);
    }
    fixture::purge(node.app()).await;
    part(&node, &id, 71, "x").await.expect(200);
    assert_eq!(fixture::records_of_parts(node.app(), &id).await, 71 + 3);
    clock.advance(Duration::from_secs(7 * 24 * 3600));
    part(&node, &id, 72, "x").await.expect(404);
    join(&node, &id, &[1]).send().await.expect(404);
    fixture::purge(node.app()).await;
    assert_eq!(fixture::records_of_parts(node.app(), &id).await, 0);
    fetched(&node, FILE).await.expect(404);
}

#[tokio::test]
async fn uploads_in_parts_of_a_deleted_project_leave_nothing() {
    let node = TestNode::start().await;
    let id = begin(&node, FILE).await;
    for number in 1..=70 {
        part(&node, &id, number, "x").await.expect(200);
    }
    begin(&node, "/-/raw/f").await;
    assert_eq!(fixture::records_of_parts(node.app(), &id).await, 70 + 5);
    node.delete("/api/v4/projects/1")
        .by("owner")
        .send()
        .await
        .expect(202);
    fixture::purge(node.app()).await;
    assert_eq!(fixture::records_of_parts(node.app(), &id).await, 0);
}
