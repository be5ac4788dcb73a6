//! Requests and answers of generic files.

mod copy;
mod deploy;
mod form;
mod gitea;
mod links;
mod parts;
mod raw;
mod tus;

use axum::body::Body;
use axum::http::Method;
use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use futures::stream;
use sha2::{Digest, Sha256};

use crate::registry::fixture;
use crate::registry::settings::DuplicatePolicy;
use crate::testing::{Answer, TestNode};

const BASE: &str = "/api/v4/projects/acme%2Fdemo/packages/generic";

fn at(path: &str) -> String {
    format!("{BASE}{path}")
}

fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

async fn publish(node: &TestNode, path: &str, body: &'static str) -> Answer {
    node.put(at(path)).by("developer").body(body).send().await
}

#[tokio::test]
async fn what_is_published_on_one_node_is_fetched_from_another() {
    let node = TestNode::start().await;
    let published = publish(&node, "/tool/1.0.0/tool.tgz", "bytes").await.expect(201);
    assert_eq!(published.json()["message"], "201 Created");
    assert_eq!(published.header("x-checksum-sha256"), sha256(b"bytes"));
    assert_eq!(published.header("etag"), format!("\"{}\"", sha256(b"bytes")));
    let location = published.header("location");
    assert_eq!(
        location,
        "http://cairn.example/api/v4/projects/1/packages/generic/tool/1.0.0/tool.tgz"
    );

    let fetched = node.sibling();
    let path = location.trim_start_matches("http://cairn.example").to_owned();
    let fetched = fetched.get(path).by("reporter").send().await.expect(200);
    assert_eq!(fetched.text(), "bytes");
    for (name, value) in [
        ("content-length", "5"),
        ("content-type", "application/gzip"),
        ("accept-ranges", "bytes"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; sandbox"),
        (
            "content-disposition",
            "attachment; filename=\"tool.tgz\"; filename*=UTF-8''tool%2Etgz",
        ),
        ("cache-control", "private, max-age=31536000, immutable"),
        ("x-checksum-md5", "4b3a6218bb3e3a7303e8a171a60fcf92"),
        ("x-checksum-sha1", "daf529a73101c2be626b99fc6938163e7a27620b"),
    ] {
        assert_eq!(fetched.header(name), value, "{name}");
    }
    assert_eq!(
        fetched.header("repr-digest"),
        format!("sha-256=:{}:", BASE64.encode(&Sha256::digest(b"bytes")))
    );
    assert!(fetched.header("last-modified").ends_with(" GMT"));
}

#[tokio::test]
async fn head_says_what_get_would_and_parts_and_conditions_hold() {
    let node = TestNode::start().await;
    publish(&node, "/tool/1/f.bin", "0123456789").await.expect(201);
    let path = at("/tool/1/f.bin");
    let head = node.head(&path).by("reporter").send().await.expect(200);
    assert_eq!((head.header("content-length"), head.body.len()), ("10", 0));
    let etag = head.header("etag").to_owned();
    let date = head.header("last-modified").to_owned();

    let with = |name: &'static str, value: String| node.get(&path).by("reporter").header(name, &value).send();
    let part = with("range", "bytes=2-4".into()).await.expect(206);
    assert_eq!(
        (part.text(), part.header("content-range")),
        ("234", "bytes 2-4/10")
    );
    assert_eq!(part.header("content-length"), "3");
    let beyond = with("range", "bytes=10-".into()).await.expect(416);
    assert_eq!(beyond.header("content-range"), "bytes */10");
    assert_eq!(
        with("range", "bytes=0-1,4-5".into()).await.expect(200).text(),
        "0123456789"
    );
    let ranges: Vec<_> = (0..1000).map(|at| format!("{at}-{at}")).collect();
    with("range", format!("bytes={}", ranges.join(",")))
        .await
        .expect(200);
    let unchanged = with("if-none-match", etag.clone()).await.expect(304);
    assert_eq!(
        (unchanged.header("etag"), unchanged.body.len()),
        (etag.as_str(), 0)
    );
    with("if-modified-since", date).await.expect(304);
    with("if-match", "\"other\"".into()).await.expect(412);
    let resumed = node
        .get(&path)
        .by("reporter")
        .header("range", "bytes=5-")
        .header("if-range", &etag);
    assert_eq!(resumed.send().await.expect(206).text(), "56789");
    let replaced = node
        .get(&path)
        .by("reporter")
        .header("range", "bytes=5-")
        .header("if-range", "\"x\"");
    assert_eq!(replaced.send().await.expect(200).text(), "0123456789");
}

#[tokio::test]
async fn the_object_of_the_new_file_is_answered_when_asked_for() {
    let node = TestNode::start().await;
    let published = publish(&node, "/tool/1/dir/f.txt?select=package_file", "x")
        .await
        .expect(201)
        .json();
    assert_eq!(published["file_name"], "dir/f.txt");
    assert_eq!(published["size"], 1);
    assert_eq!(published["file_sha256"], sha256(b"x"));
    assert_eq!(published["status"], "default");
    assert!(published["id"].is_u64() && published["package_id"].is_u64());
    let url = "http://cairn.example/api/v4/projects/1/packages/generic/tool/1/dir/f.txt";
    assert_eq!(published["file"]["url"], url);
}

/// Every row of the sheet that says what a wrong publish gets.
#[tokio::test]
async fn wrong_publishes_are_refused_and_leave_nothing() {
    let node = TestNode::start().await;
    publish(&node, "/taken/1/f", "taken").await.expect(201);
    let other = "00".repeat(32);
    let b64 = BASE64.encode(&[0; 16]);
    for (path, name, value, status, message) in [
        ("/a%20b/1/f", "", "", 400, "package name"),
        ("/.a/1/f", "", "", 400, "begins with '.'"),
        ("/-/1/f", "", "", 400, "reserved"),
        ("/latest/1/f", "", "", 400, "reserved"),
        ("/p/latest/f", "", "", 400, "reserved"),
        ("/p/1..0/f", "", "", 400, "version"),
        ("/p/1%200/f", "", "", 400, "version"),
        ("/p/1/~f", "", "", 400, "begins or ends"),
        ("/p/1/f@", "", "", 400, "begins or ends"),
        ("/p/1/a%20b", "", "", 400, "file name"),
        ("/p/1/a;b=c", "", "", 400, "file name"),
        ("/p/1/dir/", "", "", 400, "file name"),
        ("/p/1/a%2Fb", "", "", 400, "encoded slash"),
        ("/p/1/..%2Fb", "", "", 400, "'..' segment"),
        ("/p/1/%2e%2e/b", "", "", 400, "'..' segment"),
        ("/p/1/%252e%252e/b", "", "", 400, "encoded twice"),
        ("/p/1/a%5Cb", "", "", 400, "backslash"),
        ("/p/1/a%00b", "", "", 400, "control character"),
        ("/p/1//b", "", "", 400, "empty segment"),
        ("/p/1/f?status=gone", "", "", 400, "unknown variant"),
        ("/p/1/f?status=deprecated", "", "", 400, "status"),
        ("/p/1/f", "x-checksum-sha256", "00", 400, "does not hold a digest"),
        (
            "/p/1/f",
            "x-checksum-sha256",
            &other,
            400,
            "the sha256 of the file",
        ),
        ("/p/1/f", "content-md5", &b64, 400, "the md5 of the file"),
        ("/p/1/f", "content-range", "bytes 1-4/5", 400, "Content-Range"),
        ("/p/1/f", "content-encoding", "gzip", 415, "Content-Encoding"),
        (
            "/p/1/f",
            "content-length",
            "99999999999999",
            413,
            "over the limit",
        ),
        ("/p/1/f", "if-match", "\"x\"", 412, "412"),
        ("/p/1/f", "if-none-match", "\"x\"", 400, "can only be *"),
        ("/p/1/f", "x-checksum-deploy", "true", 404, "send the file"),
        ("/p/1/f", "x-http-method-override", "DELETE", 405, "405"),
        ("/taken/1/f", "", "", 400, "Duplicate package is not allowed"),
        (
            "/taken/1/f",
            "x-checksum-sha256",
            &other,
            400,
            "Duplicate package is not allowed",
        ),
        ("/taken/1/f", "if-none-match", "*", 412, "412"),
        ("/taken/1/f", "if-match", "\"x\"", 412, "412"),
    ] {
        let mut request = node.put(at(path)).by("maintainer").body("other");
        if !name.is_empty() {
            request = request.header(name, value);
        }
        let answer = request.send().await;
        assert_eq!(answer.status, status, "{path} {name}: {}", answer.text());
        let said = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(said.contains(message), "{path} {name}: {said}");
    }
    let listed = node
        .get(at("/"))
        .by("reporter")
        .header("accept", "application/json")
        .send()
        .await;
    assert_eq!(listed.expect(200).json()["entries"].as_array().unwrap().len(), 1);
    assert_eq!(
        node.get(at("/taken/1/f")).by("reporter").send().await.text(),
        "taken"
    );
}

#[tokio::test]
async fn true_digests_and_conditions_let_a_publish_pass() {
    let node = TestNode::start().await;
    let put = |path: &str| node.put(at(path)).by("developer").body("x");
    let right = sha256(b"x");
    put("/p/1/a")
        .header("x-checksum-sha256", &right)
        .send()
        .await
        .expect(201);
    put("/p/1/b")
        .header("x-checksum-sha256", &right.to_uppercase())
        .send()
        .await
        .expect(201);
    put("/p/1/c")
        .header("content-range", "bytes 0-0/1")
        .send()
        .await
        .expect(201);
    put("/p/1/d")
        .header("if-none-match", "*")
        .send()
        .await
        .expect(201);
    put("/p/1/d")
        .header("if-match", &format!("\"{right}\""))
        .send()
        .await
        .expect(201);
    put("/p/1/e")
        .header("content-type", "application/x-www-form-urlencoded")
        .send()
        .await
        .expect(201);
    // The same content again is the same publish.
    put("/p/1/a").send().await.expect(201);
}

#[tokio::test]
async fn a_broken_body_leaves_nothing() {
    let node = TestNode::start().await;
    let broken = Body::from_stream(stream::iter([
        Ok(Bytes::from_static(b"half")),
        Err(std::io::Error::other("the connection broke")),
    ]));
    node.put(at("/p/1/f"))
        .by("developer")
        .body(broken)
        .send()
        .await
        .expect(400);
    node.get(at("/p/1/f")).by("reporter").send().await.expect(404);
    let listed = node
        .get(at("/"))
        .by("reporter")
        .header("accept", "application/json")
        .send()
        .await;
    assert_eq!(listed.json()["entries"], serde_json::json!([]));
}

#[tokio::test]
async fn duplicates_follow_the_policy_of_the_project() {
    let node = TestNode::start().await;
    let path = at("/p/1/f");
    let put = |body: &'static str| node.put(&path).by("developer").body(body).send();
    let read = async || {
        node.get(&path)
            .by("reporter")
            .send()
            .await
            .expect(200)
            .text()
            .to_owned()
    };
    put("one").await.expect(201);

    fixture::set_duplicates(node.app(), 1, "generic", DuplicatePolicy::Forbid).await;
    put("one").await.expect(400);
    put("two").await.expect(400);
    assert_eq!(read().await, "one");

    fixture::set_duplicates(node.app(), 1, "generic", DuplicatePolicy::Replace).await;
    let replaced = put("two").await.expect(201);
    assert_eq!(read().await, "two");
    let changed = node.get(&path).by("reporter").send().await;
    assert_eq!(changed.header("etag"), replaced.header("etag"));
    assert_eq!(changed.header("cache-control"), "private, no-cache");

    fixture::set_duplicates(node.app(), 1, "generic", DuplicatePolicy::Allow).await;
    put("three").await.expect(201);
    put("four").await.expect(201);
    assert_eq!(read().await, "four");
    node.delete(&path).by("maintainer").send().await.expect(204);
    node.get(&path).by("reporter").send().await.expect(404);
}

#[tokio::test]
async fn of_two_publishes_at_once_one_wins() {
    let node = TestNode::start().await;
    let sibling = node.sibling();
    let one = publish(&node, "/p/1/f", "one");
    let other = publish(&sibling, "/p/1/f", "other");
    let (one, other) = tokio::join!(one, other);
    let mut answers = [one.status, other.status];
    answers.sort_unstable();
    assert_eq!(answers, [201, 400]);
    let winner = if one.status == 201 { "one" } else { "other" };
    assert_eq!(node.get(at("/p/1/f")).by("reporter").send().await.text(), winner);
}

#[tokio::test]
async fn checksum_files_are_made_unless_they_are_published() {
    let node = TestNode::start().await;
    publish(&node, "/p/1/dir/f.tgz", "x").await.expect(201);
    let get = |path: &str| node.get(at(path)).by("reporter").send();
    let sum = get("/p/1/dir/f.tgz.sha256").await.expect(200);
    assert_eq!(sum.text(), format!("{}  f.tgz\n", sha256(b"x")));
    assert_eq!(sum.header("content-type"), "text/plain; charset=utf-8");
    for (algorithm, digits) in [("sha512", 128), ("sha1", 40), ("md5", 32)] {
        let sum = get(&format!("/p/1/dir/f.tgz.{algorithm}")).await.expect(200);
        assert_eq!(sum.text().find("  f.tgz\n"), Some(digits), "{algorithm}");
    }
    get("/p/1/dir/f.tgz.crc32").await.expect(404);
    get("/p/1/dir/g.tgz.sha256").await.expect(404);
    publish(&node, "/p/1/dir/f.tgz.sha256", "mine").await.expect(201);
    assert_eq!(get("/p/1/dir/f.tgz.sha256").await.text(), "mine");
    let listed = node
        .get(at("/p/1/dir/"))
        .by("reporter")
        .header("accept", "application/json")
        .send()
        .await;
    assert_eq!(listed.expect(200).json()["entries"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn latest_leads_to_the_greatest_version() {
    let node = TestNode::start().await;
    for version in ["0.9.0", "0.10.0", "0.10.0-rc.1", "nightly"] {
        publish(&node, &format!("/p/{version}/f"), "x").await.expect(201);
    }
    publish(&node, "/p/1.0.0/f?status=hidden", "x").await.expect(201);
    let latest = node
        .get(at("/p/latest/f"))
        .by("reporter")
        .send()
        .await
        .expect(302);
    assert_eq!(
        latest.header("location"),
        "http://cairn.example/api/v4/projects/1/packages/generic/p/0.10.0/f"
    );
    assert_eq!(latest.header("cache-control"), "no-cache");
    node.get(at("/q/latest/f"))
        .by("reporter")
        .send()
        .await
        .expect(404);
}

#[tokio::test]
async fn listings_show_directories_files_and_pages() {
    let node = TestNode::start().await;
    for path in [
        "/b/1/a.txt",
        "/b/1/sub/x",
        "/b/1/sub/deep/y",
        "/b/1/sub-a",
        "/b/2/z",
        "/a+b/1/f",
    ] {
        publish(&node, path, "x").await.expect(201);
    }
    publish(&node, "/hidden/1/f?status=hidden", "x").await.expect(201);
    let names = async |path: &str| {
        let page = node
            .get(at(path))
            .by("reporter")
            .header("accept", "application/json")
            .send()
            .await;
        let page = page.expect(200).json();
        let names = page["entries"].as_array().unwrap().iter().map(|entry| {
            let slash = if entry["type"] == "dir" { "/" } else { "" };
            format!("{}{slash}", entry["name"].as_str().unwrap())
        });
        (names.collect::<Vec<_>>().join(" "), page["next"].clone())
    };
    assert_eq!(names("/").await.0, "a+b/ b/");
    assert_eq!(names("").await.0, "a+b/ b/");
    assert_eq!(names("/b/").await.0, "1/ 2/");
    assert_eq!(names("/b/1/").await.0, "a.txt sub-a sub/");
    assert_eq!(names("/b/1/sub/").await.0, "deep/ x");
    let (first, next) = names("/b/1/?limit=2").await;
    assert_eq!((first.as_str(), next.as_str()), ("a.txt sub-a", Some("sub-a")));
    let (second, next) = names("/b/1/?limit=2&after=sub-a").await;
    assert_eq!((second.as_str(), next.as_str()), ("sub/", None));
    assert_eq!(names("/b/1/?limit=1&after=sub/").await.0, "");

    let page = node
        .get(at("/b/1/?limit=1"))
        .by("reporter")
        .header("accept", "application/json")
        .send()
        .await;
    let link = "<http://cairn.example/api/v4/projects/acme%2Fdemo/packages/generic/b/1/?limit=1&after=a.txt>; rel=\"next\"";
    assert_eq!(page.header("link"), link);

    let html = node
        .get(at("/b/1/"))
        .by("reporter")
        .header("accept", "text/html")
        .send()
        .await
        .expect(200);
    let links: Vec<_> = html
        .text()
        .split("href=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert_eq!(links, ["../", "a.txt", "sub-a", "sub/"]);
    assert!(html.header("content-security-policy").contains("sandbox"));

    let moved = node.get(at("/b/1?x=1")).by("reporter").send().await.expect(302);
    assert_eq!(moved.header("location"), at("/b/1/?x=1"));
    for gone in ["/c/", "/b/3/", "/hidden/1/"] {
        node.get(at(gone)).by("reporter").send().await.expect(404);
    }
    for wrong in ["/b/?limit=-1", "/b/?limit=x"] {
        node.get(at(wrong))
            .by("reporter")
            .header("accept", "application/json")
            .send()
            .await
            .expect(400);
    }
    node.get(at("/b/?limit=4294967296"))
        .by("reporter")
        .header("accept", "application/json")
        .send()
        .await
        .expect(200);
    node.get(at("/hidden/1/f"))
        .by("reporter")
        .send()
        .await
        .expect(200);
}

#[tokio::test]
async fn what_is_deleted_is_gone_and_remembered() {
    let node = TestNode::start().await;
    for path in ["/p/1/a", "/p/1/b", "/p/2/a", "/q/1/a"] {
        publish(&node, path, "x").await.expect(201);
    }
    let delete = |path: &str| node.delete(at(path)).by("maintainer").send();
    let status = async |path: &str| node.get(at(path)).by("reporter").send().await.status;
    for path in ["/p/1/c", "/p/3", "/r"] {
        delete(path).await.expect(404);
    }
    for path in ["/p/1/a", "/p/1", "/p"] {
        node.delete(at(path)).by("developer").send().await.expect(403);
    }
    delete("/p/1/a").await.expect(204);
    assert_eq!((status("/p/1/a").await, status("/p/1/b").await), (404, 200));
    delete("/p/1").await.expect(204);
    assert_eq!((status("/p/1/b").await, status("/p/2/a").await), (404, 200));
    delete("/q").await.expect(204);
    assert_eq!(status("/q/1/a").await, 404);

    // Only who may delete may put something else in the place of what was deleted.
    for path in ["/p/1/b", "/q/1/a"] {
        publish(&node, path, "other").await.expect(409);
        node.put(at(path))
            .by("maintainer")
            .body("again")
            .send()
            .await
            .expect(201);
        assert_eq!(node.get(at(path)).by("reporter").send().await.text(), "again");
    }
    publish(&node, "/q/2/a", "x").await.expect(201);
}

#[tokio::test]
async fn a_version_of_many_files_is_taken_apart_in_the_background() {
    let node = TestNode::start().await;
    fixture::delete_finally(node.app()).await;
    for file in 0..150 {
        publish(&node, &format!("/p/1/f{file}"), "x").await.expect(201);
    }
    publish(&node, "/p/2/f", "x").await.expect(201);
    let before = fixture::items(node.app()).await;
    node.delete(at("/p/1")).by("maintainer").send().await.expect(204);
    node.get(at("/p/1/f7")).by("reporter").send().await.expect(404);
    assert!(
        fixture::items(node.app()).await > 150,
        "the files are still to be let go"
    );
    fixture::purge(node.app()).await;
    let after = fixture::items(node.app()).await;
    assert!(after + 300 <= before, "{before} items before, {after} after");
    assert_eq!(node.get(at("/p/2/f")).by("reporter").send().await.text(), "x");

    node.delete(at("/p")).by("maintainer").send().await.expect(204);
    // While the versions are still there, and after.
    publish(&node, "/p/2/f", "y").await.expect(409);
    fixture::purge(node.app()).await;
    publish(&node, "/p/2/f", "y").await.expect(409);
    publish(&node, "/p/3/f", "y").await.expect(201);
}

#[tokio::test]
async fn the_last_status_wins() {
    let node = TestNode::start().await;
    publish(&node, "/p/1/a", "x").await.expect(201);
    let listed = async || {
        let page = node
            .get(at("/"))
            .by("reporter")
            .header("accept", "application/json")
            .send()
            .await;
        page.json()["entries"].as_array().unwrap().len()
    };
    publish(&node, "/p/1/b?status=hidden", "x").await.expect(201);
    assert_eq!(listed().await, 0);
    publish(&node, "/p/1/c", "x").await.expect(201);
    assert_eq!(listed().await, 0);
    let change = |status: &str| {
        let body = serde_json::json!({ "status": status });
        node.patch(at("/p/1")).by("developer").json(&body).send()
    };
    assert_eq!(change("default").await.expect(200).json()["status"], "default");
    assert_eq!(listed().await, 1);
    change("gone").await.expect(400);
    let unknown = serde_json::json!({ "status": "default", "id": 7 });
    node.patch(at("/p/1"))
        .by("developer")
        .json(&unknown)
        .send()
        .await
        .expect(400);
    node.patch(at("/p/2"))
        .by("developer")
        .json(&serde_json::json!({ "status": "hidden" }))
        .send()
        .await
        .expect(404);
}

#[tokio::test]
async fn a_right_that_is_withdrawn_during_an_upload_is_withdrawn_from_it() {
    let node = TestNode::start().await;
    let token = node.token("developer").to_owned();
    let revoke = |app| async move {
        fixture::revoke(&app, &token).await;
        Ok::<_, std::io::Error>(Bytes::from_static(b"bytes"))
    };
    let body = Body::from_stream(stream::once(revoke(node.app().clone())));
    node.put(at("/p/1/f"))
        .by("developer")
        .body(body)
        .send()
        .await
        .expect(401);
    node.get(at("/p/1/f")).by("reporter").send().await.expect(404);

    let remove = |app| async move {
        fixture::remove_member(&app, "maintainer", "acme").await;
        Ok::<_, std::io::Error>(Bytes::from_static(b"bytes"))
    };
    let body = Body::from_stream(stream::once(remove(node.app().clone())));
    node.put(at("/p/1/f"))
        .by("maintainer")
        .body(body)
        .send()
        .await
        .expect(404);
    node.get(at("/p/1/f")).by("reporter").send().await.expect(404);
}

#[tokio::test]
async fn what_belongs_to_a_file_is_listed_as_attached_to_it() {
    let node = TestNode::start().await;
    for path in ["/p/1/dir/f.tgz", "/p/1/dir/f.tgz.asc", "/p/1/dir/f.tgz.cdx.json"] {
        publish(&node, path, "x").await.expect(201);
    }
    publish(&node, "/p/1/dir/g.sig", "x").await.expect(201);
    publish(&node, "/p/1/g", "x").await.expect(201);
    let page = node
        .get(at("/p/1/dir/"))
        .by("reporter")
        .header("accept", "application/json")
        .send()
        .await;
    let page = page.expect(200).json();
    let attached = page["entries"].as_array().unwrap().iter();
    let attached: Vec<_> = attached.map(|entry| entry["attached_to"].as_str()).collect();
    assert_eq!(attached, [None, Some("f.tgz"), Some("f.tgz"), None]);
}

#[tokio::test]
async fn errors_suit_what_the_client_reads() {
    let node = TestNode::start().await;
    let plain = node
        .get(at("/p/1/f"))
        .by("reporter")
        .header("accept", "text/plain")
        .send()
        .await
        .expect(404);
    assert_eq!(plain.text(), "404 Package Not Found\n");
    let refused = node.get(at("/p/1/f")).send().await.expect(401);
    assert_eq!(refused.header("www-authenticate"), "Basic realm=\"cairn\"");
    assert_eq!(refused.json()["message"], "401 Unauthorized");
    let unknown = node
        .get("/api/v4/projects/acme%2Fnone/packages/generic/p/1/f")
        .send()
        .await
        .expect(401);
    assert_eq!(
        (refused.body, refused.headers.len()),
        (unknown.body, unknown.headers.len())
    );
    let publish = node.put(at("/p/1/f")).body("x").send().await.expect(401);
    assert_eq!(publish.header("www-authenticate"), "Basic realm=\"cairn\"");
    for caller in ["reporter", "reading", "deploy-read"] {
        node.put(at("/p/1/f"))
            .by(caller)
            .body("x")
            .send()
            .await
            .expect(403);
    }
    for caller in ["stranger", "foreign-deploy"] {
        node.put(at("/p/1/f"))
            .by(caller)
            .body("x")
            .send()
            .await
            .expect(404);
    }
    let wrong = node
        .request(Method::POST, at("/p/1/f"))
        .by("developer")
        .send()
        .await
        .expect(405);
    assert!(wrong.header("allow").contains("PUT"));
    assert_eq!(wrong.json()["message"], "405 Method Not Allowed");
}
