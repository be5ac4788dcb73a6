//! The raw view.

use super::*;

fn raw(path: &str) -> String {
    at(&format!("/-/raw{path}"))
}

async fn put(node: &TestNode, path: &str, body: &'static str) -> Answer {
    node.put(raw(path)).by("developer").body(body).send().await
}

#[tokio::test]
async fn a_file_lies_under_any_path() {
    let node = TestNode::start().await;
    let made = put(&node, "/tools/%C3%BC%20v1/a;b=c.tgz", "bytes")
        .await
        .expect(201);
    let url = "http://cairn.example/api/v4/projects/1/packages/generic/-/raw/tools/%C3%BC%20v1/a%3Bb%3Dc.tgz";
    assert_eq!(made.header("location"), url);
    let body = made.json();
    assert_eq!(
        (&body["repo"], &body["path"]),
        (&"acme/demo".into(), &"/tools/ü v1/a;b=c.tgz".into())
    );
    assert_eq!((&body["downloadUri"], &body["size"]), (&url.into(), &"5".into()));
    assert_eq!(body["mimeType"], "application/gzip");
    assert_eq!(body["checksums"]["sha256"], sha256(b"bytes"));
    assert_eq!(body["checksums"]["md5"], "4b3a6218bb3e3a7303e8a171a60fcf92");

    let path = url.trim_start_matches("http://cairn.example").to_owned();
    let fetched = node.sibling();
    let fetched = fetched.get(&path).by("reporter").send().await.expect(200);
    assert_eq!(
        (fetched.text(), fetched.header("x-content-type-options")),
        ("bytes", "nosniff")
    );
    let part = node.get(&path).by("reporter").header("range", "bytes=1-2");
    assert_eq!(part.send().await.expect(206).text(), "yt");
    let head = node.head(&path).by("reporter").send().await.expect(200);
    assert_eq!(head.header("content-length"), "5");
    let sum = node
        .get(format!("{path}.sha256"))
        .by("reporter")
        .send()
        .await
        .expect(200);
    assert_eq!(sum.text(), format!("{}  a;b=c.tgz\n", sha256(b"bytes")));
    // The same text in another form of Unicode is the same path.
    put(&node, "/tools/u%CC%88%20v1/a;b=c.tgz", "bytes")
        .await
        .expect(200);
    put(&node, "/tools/u%CC%88%20v1/a;b=c.tgz", "other")
        .await
        .expect(409);
}

#[tokio::test]
async fn duplicates_of_the_raw_view_follow_the_policy() {
    let node = TestNode::start().await;
    put(&node, "/f", "one").await.expect(201);
    put(&node, "/f", "one").await.expect(200);
    put(&node, "/f", "two").await.expect(409);
    fixture::set_duplicates(node.app(), 1, "generic", DuplicatePolicy::Replace).await;
    put(&node, "/f", "two").await.expect(200);
    assert_eq!(node.get(raw("/f")).by("reporter").send().await.text(), "two");
    fixture::set_duplicates(node.app(), 1, "generic", DuplicatePolicy::Forbid).await;
    put(&node, "/f", "two").await.expect(409);
}

#[tokio::test]
async fn both_views_are_apart() {
    let node = TestNode::start().await;
    put(&node, "/tool/1/f", "raw").await.expect(201);
    node.get(at("/tool/1/f")).by("reporter").send().await.expect(404);
    publish(&node, "/tool/1/f", "package").await.expect(201);
    assert_eq!(
        node.get(raw("/tool/1/f")).by("reporter").send().await.text(),
        "raw"
    );
    let listed = node
        .get(at("/"))
        .by("reporter")
        .header("accept", "application/json");
    let listed = listed.send().await.json();
    assert_eq!(listed["entries"].as_array().unwrap().len(), 1);
    let packages = "/api/v4/projects/1/packages";
    let packages = node.get(packages).by("reporter").send().await.expect(200).json();
    assert_eq!(packages.as_array().unwrap().len(), 1);
    for path in ["/-/", "/-/-/", "/-/-/tool/1/f"] {
        let answer = node.get(at(path)).by("reporter").send().await;
        assert!([400, 404].contains(&answer.status), "{path}: {}", answer.status);
    }
}

#[tokio::test]
async fn directories_are_listed_and_deleted() {
    let node = TestNode::start().await;
    let names = async |path: &str| {
        let page = node
            .get(raw(path))
            .by("reporter")
            .header("accept", "application/json");
        let page = page.send().await.expect(200).json();
        let names = page["entries"].as_array().unwrap().iter();
        let names: Vec<_> = names
            .map(|entry| entry["name"].as_str().unwrap().to_owned())
            .collect();
        names.join(" ")
    };
    assert_eq!(names("/").await, "");
    for path in [
        "/a",
        "/dir/x",
        "/dir/sub/y",
        "/dir/%C3%A9",
        "/dir-a/z",
        "/%C3%A9/q",
    ] {
        put(&node, path, "x").await.expect(201);
    }
    // A directory is there as long as something lies in it.
    put(&node, "/empty/", "").await.expect(201);
    assert_eq!(names("/").await, "a dir-a dir é");
    assert_eq!(names("/dir/").await, "sub x é");
    assert_eq!(names("/dir/?limit=1&after=sub/").await, "x");
    for accept in ["application/json", "text/html"] {
        let gone = node.get(raw("/empty/")).by("reporter").header("accept", accept);
        gone.send().await.expect(404);
    }
    let html = node
        .get(raw("/dir/"))
        .by("reporter")
        .header("accept", "text/html");
    let html = html.send().await.expect(200);
    assert!(
        html.text().contains("<a href=\"%C3%A9\">é</a>"),
        "{}",
        html.text()
    );
    let moved = node.get(raw("")).by("reporter").send().await.expect(302);
    assert_eq!(moved.header("location"), raw("/"));

    let delete = |caller: &'static str, path: &str| node.delete(raw(path)).by(caller).send();
    delete("developer", "/dir/x").await.expect(403);
    delete("developer", "/dir/").await.expect(403);
    delete("maintainer", "/dir/x").await.expect(204);
    delete("maintainer", "/dir/x").await.expect(404);
    assert_eq!(names("/dir/").await, "sub é");
    for file in 0..130 {
        put(&node, &format!("/dir/many/{file}"), "x").await.expect(201);
    }
    delete("maintainer", "/dir/").await.expect(204);
    delete("maintainer", "/dir/").await.expect(404);
    assert_eq!(names("/").await, "a dir-a é");
    // What was deleted can be published again.
    put(&node, "/dir/x", "other").await.expect(201);
}

/// Every row of the sheet that says what a wrong request to the raw view gets.
#[tokio::test]
async fn wrong_requests_to_the_raw_view_are_refused_and_leave_nothing() {
    let node = TestNode::start().await;
    put(&node, "/taken", "taken").await.expect(201);
    let other = "00".repeat(32);
    let long = format!("/{}", "a".repeat(256));
    let deep = "/a".repeat(600);
    for (path, name, value, status, message) in [
        ("/a/../b", "", "", 400, "'..' segment"),
        ("/a/%2e%2e/b", "", "", 400, "'..' segment"),
        ("/a%2Fb", "", "", 400, "encoded slash"),
        ("/a%5Cb", "", "", 400, "backslash"),
        ("/a%00b", "", "", 400, "control character"),
        ("/a%0Ab", "", "", 400, "control character"),
        ("/a%FFb", "", "", 400, "UTF-8"),
        ("/a//b", "", "", 400, "empty segment"),
        ("/%F4%8F%BF%BF", "", "", 400, "control character"),
        (&long, "", "", 400, "longer than 255"),
        (&deep, "", "", 400, "longer than 1024"),
        ("/dir/", "", "", 400, "is a directory"),
        ("/f", "x-checksum-sha256", &other, 400, "the sha256 of the file"),
        ("/f", "x-checksum-sha1", "zz", 400, "does not hold a digest"),
        ("/f", "content-range", "bytes 1-4/5", 400, "Content-Range"),
        ("/f", "content-encoding", "gzip", 415, "Content-Encoding"),
        ("/f", "content-length", "99999999999999", 413, "over the limit"),
        ("/f", "if-match", "\"x\"", 412, "412"),
        ("/taken", "if-none-match", "*", 412, "412"),
        ("/taken", "", "", 409, "another file"),
        ("/taken", "x-checksum-sha256", &other, 409, "another file"),
        ("/f", "x-checksum-deploy", "true", 404, "send the file"),
        ("/f", "x-explode-archive", "true", 400, "not unpacked"),
    ] {
        let mut request = node.put(raw(path)).by("maintainer").body("other");
        if !name.is_empty() {
            request = request.header(name, value);
        }
        let answer = request.send().await;
        assert_eq!(answer.status, status, "{path} {name}: {}", answer.text());
        let said = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(said.contains(message), "{path} {name}: {said}");
    }
    for method in ["MKCOL", "PROPFIND", "MOVE", "COPY", "POST"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let wrong = node
            .request(method, raw("/f"))
            .by("maintainer")
            .send()
            .await
            .expect(405);
        assert!(wrong.header("allow").contains("PUT"));
    }
    for (caller, status) in [
        ("anonymous", 401),
        ("reporter", 403),
        ("deploy-read", 403),
        ("stranger", 404),
    ] {
        node.put(raw("/f"))
            .by(caller)
            .body("x")
            .send()
            .await
            .expect(status);
    }
    for (caller, status) in [("anonymous", 401), ("stranger", 404), ("reporter", 404)] {
        node.get(raw("/f")).by(caller).send().await.expect(status);
    }
    let listed = node
        .get(raw("/"))
        .by("reporter")
        .header("accept", "application/json");
    assert_eq!(listed.send().await.json()["entries"].as_array().unwrap().len(), 1);
}
