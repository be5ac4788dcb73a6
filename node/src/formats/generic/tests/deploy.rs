//! Deploying by checksum.

use super::*;

async fn deploy(node: &TestNode, caller: &str, path: &str, sha256: &str) -> Answer {
    let request = node.put(at(path)).by(caller);
    let request = request.header("x-checksum-deploy", "true");
    request.header("x-checksum-sha256", sha256).send().await
}

#[tokio::test]
async fn content_that_is_known_is_published_without_being_sent() {
    let node = TestNode::start().await;
    publish(&node, "/tool/1/f", "bytes").await.expect(201);
    let known = sha256(b"bytes");
    for path in ["/tool/1/f", "/tool/2/f"] {
        let deployed = deploy(&node, "developer", path, &known).await.expect(201);
        assert_eq!(deployed.header("x-checksum-sha256"), known);
        let file = node.get(at(path)).by("reporter").send().await.expect(200);
        assert_eq!(file.text(), "bytes");
    }
    node.put(at("/-/raw/f"))
        .by("developer")
        .body("bytes")
        .send()
        .await
        .expect(201);
    deploy(&node, "developer", "/-/raw/f", &known).await.expect(200);
}

/// It must not tell what exists where the caller may not look, nor give it away.
#[tokio::test]
async fn content_that_is_not_known_to_the_caller_is_asked_for() {
    let node = TestNode::start().await;
    publish(&node, "/tool/1/f", "bytes").await.expect(201);
    let known = sha256(b"bytes");
    for path in ["/tool/2/g", "/other/1/f", "/-/raw/tool/1/f"] {
        let asked = deploy(&node, "developer", path, &known).await.expect(404);
        assert!(asked.text().contains("send the file itself"));
    }
    deploy(&node, "developer", "/tool/2/f", &sha256(b"other"))
        .await
        .expect(404);
    // Other content is at this place, and it stays.
    deploy(&node, "developer", "/tool/1/f", &sha256(b"other"))
        .await
        .expect(400);
    // Another digest of it is claimed than it has.
    let wrong = node.put(at("/tool/2/f")).by("developer");
    let wrong = wrong.header("x-checksum-deploy", "true");
    let wrong = wrong.header("x-checksum-sha256", &known);
    let wrong = wrong.header("x-checksum-md5", &"00".repeat(16));
    wrong.send().await.expect(404);
    let weak = node.put(at("/tool/2/f")).by("developer");
    let weak = weak.header("x-checksum-deploy", "true");
    let weak = weak.header("x-checksum-sha1", "daf529a73101c2be626b99fc6938163e7a27620b");
    weak.send().await.expect(404);
    let scopes = serde_json::json!({"name": "w", "scopes": ["write_package_registry"]});
    let token = node.post("/api/v4/projects/1/deploy_tokens").by("maintainer");
    let token = token.json(&scopes).send().await.expect(201).json();
    let blind = node.put(at("/tool/2/f")).bearer(token["token"].as_str().unwrap());
    let blind = blind.header("x-checksum-deploy", "true");
    blind.header("x-checksum-sha256", &known).send().await.expect(404);
    node.get(at("/tool/2/f")).by("reporter").send().await.expect(404);
}
