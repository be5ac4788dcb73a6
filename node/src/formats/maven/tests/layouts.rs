//! The layouts of Ivy, as Gradle and sbt have them, and directories.

use serde_json::json;

use super::*;

#[tokio::test]
async fn ivy_modules_of_gradle_are_published_and_found() {
    let node = TestNode::start().await;
    for version in ["1.0", "1.1"] {
        let base = format!("org.acme/tool/{version}");
        put(&node, &format!("{base}/tool-{version}.jar"), "jar")
            .await
            .expect(201);
        put(&node, &format!("{base}/extra-{version}.jar"), "extra")
            .await
            .expect(201);
        put(&node, &format!("{base}/ivy-{version}.xml"), "<ivy-module/>")
            .await
            .expect(201);
        put(
            &node,
            &format!("{base}/ivy-{version}.xml.sha1"),
            sha1(b"<ivy-module/>"),
        )
        .await
        .expect(201);
    }
    let listing = get(&node, "org.acme/tool/").await.expect(200);
    assert_eq!(links(&listing), ["maven-metadata.xml", "1.0/", "1.1/"]);
    let listing = get(&node, "org.acme/tool/1.0/").await.expect(200);
    assert_eq!(links(&listing), ["extra-1.0.jar", "ivy-1.0.xml", "tool-1.0.jar"]);
    assert_eq!(
        get(&node, "org.acme/tool/1.1/extra-1.1.jar")
            .await
            .expect(200)
            .text(),
        "extra"
    );
    put(&node, "org.acme/tool/1.1/ivy-1.1.xml", "<other/>")
        .await
        .expect(409);
}

#[tokio::test]
async fn ivy_modules_of_sbt_are_published_replaced_and_found() {
    let node = TestNode::start().await;
    let base = "org.acme/plug/scala_2.12/sbt_1.0/0.1-SNAPSHOT";
    for content in ["first", "second"] {
        for file in ["jars/plug.jar", "srcs/plug-sources.jar", "ivys/ivy.xml"] {
            let status = put(&node, &format!("{base}/{file}"), content).await.status;
            assert_eq!(status, if content == "first" { 201 } else { 200 });
            put(&node, &format!("{base}/{file}.sha1"), sha1(content.as_bytes()))
                .await
                .expect(201);
        }
    }
    assert_eq!(
        get(&node, &format!("{base}/ivys/ivy.xml"))
            .await
            .expect(200)
            .text(),
        "second"
    );
    let digest = get(&node, &format!("{base}/jars/plug.jar.md5")).await.expect(200);
    assert_eq!(digest.text().len(), 32);
    assert_eq!(
        links(&get(&node, &format!("{base}/")).await.expect(200)),
        ["ivys/", "jars/", "srcs/"]
    );
    assert_eq!(
        links(&get(&node, &format!("{base}/jars/")).await.expect(200)),
        ["plug.jar"]
    );
    assert_eq!(
        links(&get(&node, "org.acme/plug/").await.expect(200)),
        ["scala_2.12/"]
    );
    let listed = node.get(PACKAGES).by("reporter").send().await.json();
    assert_eq!(listed[0]["name"], "org.acme/plug/scala_2.12/sbt_1.0");
    assert_eq!(listed[0]["version"], "0.1-SNAPSHOT");
}

#[tokio::test]
async fn directories_show_what_is_in_them() {
    let node = TestNode::start().await;
    assert!(links(&get(&node, "").await.expect(200)).is_empty());
    for name in ["lib", "lib-x", "tool"] {
        release(&node, name, "1.0").await;
    }
    release(&node, "lib", "1.1-SNAPSHOT").await;
    put(&node, "org/acme/lib/core/2.0/core-2.0.pom", "<project/>")
        .await
        .expect(201);
    for (path, expected) in [
        ("", vec!["org/"]),
        ("org/", vec!["acme/"]),
        ("org/acme/", vec!["lib/", "lib-x/", "tool/"]),
        (
            "org/acme/lib/",
            vec!["maven-metadata.xml", "1.0/", "1.1-SNAPSHOT/", "core/"],
        ),
        ("org/acme/lib/1.0/", vec!["lib-1.0.jar", "lib-1.0.pom"]),
        (
            "org/acme/lib/1.1-SNAPSHOT/",
            vec![
                "maven-metadata.xml",
                "lib-1.1-SNAPSHOT.jar",
                "lib-1.1-SNAPSHOT.pom",
            ],
        ),
    ] {
        let listing = get(&node, path).await.expect(200);
        assert_eq!(links(&listing), expected, "{path}");
        assert!(listing.header("content-security-policy").contains("sandbox"));
    }
    let redirected = get(&node, "org/acme").await.expect(302);
    assert_eq!(redirected.header("location"), format!("{BASE}/org/acme/"));
    get(&node, "org/none/").await.expect(404);
    get(&node, "org/none").await.expect(404);
    get(&node, "org/acme/lib/9/").await.expect(404);
    let of_group = node
        .get(format!("{GROUP}/org/acme/lib/"))
        .by("developer")
        .send()
        .await
        .expect(200);
    assert_eq!(
        links(&of_group),
        ["maven-metadata.xml", "1.0/", "1.1-SNAPSHOT/", "core/"]
    );
}

#[tokio::test]
async fn directories_are_read_by_pages() {
    let node = TestNode::start().await;
    for name in ["a", "b", "c"] {
        release(&node, name, "1.0").await;
        put(&node, &format!("org/acme/{name}/deep/1/deep-1.pom"), "x")
            .await
            .expect(201);
    }
    let mut seen = Vec::new();
    let mut target = format!("{BASE}/org/acme/a/?limit=1");
    loop {
        let page = node
            .get(target.clone())
            .by("reporter")
            .header("accept", "application/json");
        let page = page.send().await.expect(200);
        let body = page.json();
        seen.push(body["entries"][0]["name"].as_str().unwrap().to_owned());
        assert_eq!(body["entries"].as_array().unwrap().len(), 1);
        if body["next"].is_null() {
            break;
        }
        let link = page.header("link").split_once("cairn.example").unwrap().1;
        target = link.split_once('>').unwrap().0.to_owned();
    }
    assert_eq!(json!(seen), json!(["maven-metadata.xml", "1.0", "deep"]));
    let listing = get(&node, "org/acme/").await;
    assert_eq!(links(&listing), ["a/", "b/", "c/"]);
}
