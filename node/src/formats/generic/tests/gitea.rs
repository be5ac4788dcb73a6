//! The URLs of Gitea.

use super::*;

fn gitea(path: &str) -> String {
    format!("/api/packages/acme%2Fdemo/generic{path}")
}

#[tokio::test]
async fn files_are_published_fetched_and_deleted_as_gitea_has_it() {
    let node = TestNode::start().await;
    let put = |bytes: &'static str| {
        let request = node.put(gitea("/tool/1.0/f.bin")).by("developer");
        request.body(bytes).send()
    };
    put("bytes").await.expect(201);
    put("bytes").await.expect(201);
    let refused = put("other").await.expect(409);
    assert_eq!(refused.json()["message"], "409 Conflict: the file exists already");
    fixture::set_duplicates(node.app(), 1, "generic", DuplicatePolicy::Forbid).await;
    put("bytes").await.expect(409);
    let there = node.get("/api/packages/1/generic/tool/1.0/f.bin").by("reporter");
    assert_eq!(there.send().await.expect(200).text(), "bytes");
    let head = node.head(gitea("/tool/1.0/f.bin")).by("reporter").send().await;
    assert_eq!(head.expect(200).header("content-length"), "5");
    // It is the file of the package view.
    assert_eq!(
        node.get(at("/tool/1.0/f.bin"))
            .by("reporter")
            .send()
            .await
            .expect(200)
            .text(),
        "bytes"
    );
    publish(&node, "/tool/1.0/g", "x").await.expect(201);
    let delete = |path: &str| node.delete(gitea(path)).by("maintainer").send();
    delete("/tool/1.0/f.bin").await.expect(204);
    delete("/tool/1.0/f.bin").await.expect(404);
    delete("/tool/1.0").await.expect(204);
    delete("/tool/1.0").await.expect(404);
    node.get(at("/tool/1.0/g"))
        .by("reporter")
        .send()
        .await
        .expect(404);
}

#[tokio::test]
async fn wrong_requests_get_what_gitea_says() {
    let node = TestNode::start().await;
    for (path, name, value, status) in [
        ("/a%20b/1/f", "", "", 400),
        ("/p/1..0/f", "", "", 400),
        ("/p/1/~f", "", "", 400),
        ("/p/1/a%2Fb", "", "", 400),
        ("/p/1/%2e%2e/b", "", "", 400),
        ("/p/1/f", "content-range", "bytes 1-4/5", 400),
        ("/p/1/f", "content-encoding", "gzip", 415),
        ("/p/1/f", "content-length", "99999999999999", 413),
        ("/p/1/f", "x-checksum-deploy", "true", 404),
    ] {
        let mut request = node.put(gitea(path)).by("developer").body("x");
        if !name.is_empty() {
            request = request.header(name, value);
        }
        let answer = request.send().await;
        assert_eq!(answer.status, status, "{path} {name}: {}", answer.text());
        assert!(answer.json()["message"].is_string());
    }
    for owner in ["acme%2Fdemo", "acme%2Fnone", "acme", "99"] {
        let target = format!("/api/packages/{owner}/generic/p/1/f");
        let refused = node.get(&target).send().await.expect(401);
        assert_eq!(refused.header("www-authenticate"), "Basic realm=\"cairn\"");
        node.get(&target).by("stranger").send().await.expect(404);
        node.put(&target)
            .by("stranger")
            .body("x")
            .send()
            .await
            .expect(404);
    }
    node.get(gitea("/p/1/f")).by("reporter").send().await.expect(404);
}
