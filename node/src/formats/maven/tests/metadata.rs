//! Metadata of artifacts and groups.

use super::*;
use crate::formats::maven::jar::tests::{descriptor, jar};

#[tokio::test]
async fn metadata_list_versions_in_the_order_of_maven() {
    let node = TestNode::start().await;
    for version in ["1.0", "1.10", "1.2", "2.0-rc1", "1.2-SNAPSHOT", "2.0-alpha-1"] {
        release(&node, "lib", version).await;
    }
    let metadata = get(&node.sibling(), "org/acme/lib/maven-metadata.xml")
        .await
        .expect(200);
    assert!(metadata.header("content-type").starts_with("text/xml"));
    assert_eq!(texts(&metadata, "groupId"), ["org.acme"]);
    assert_eq!(texts(&metadata, "artifactId"), ["lib"]);
    assert_eq!(
        texts(&metadata, "versioning/versions/version"),
        ["1.0", "1.2-SNAPSHOT", "1.2", "1.10", "2.0-alpha-1", "2.0-rc1"]
    );
    assert_eq!(texts(&metadata, "versioning/latest"), ["2.0-rc1"]);
    assert_eq!(texts(&metadata, "versioning/release"), ["2.0-rc1"]);
    release(&node, "lib", "3-SNAPSHOT").await;
    let metadata = get(&node, "org/acme/lib/maven-metadata.xml").await;
    assert_eq!(texts(&metadata, "versioning/latest"), ["3-SNAPSHOT"]);
    assert_eq!(texts(&metadata, "versioning/release"), ["2.0-rc1"]);
    get(&node, "org/acme/none/maven-metadata.xml").await.expect(404);
    get(&node, "org/acme/lib/1.0/maven-metadata.xml")
        .await
        .expect(404);
}

#[tokio::test]
async fn digests_of_metadata_are_of_the_bytes_that_are_served() {
    let node = TestNode::start().await;
    release(&node, "lib", "1.0").await;
    let path = "org/acme/lib/maven-metadata.xml";
    let metadata = get(&node, path).await.expect(200);
    assert_eq!(
        get(&node, path).await.body,
        metadata.body,
        "reading does not change it"
    );
    assert_eq!(metadata.header("x-checksum-sha1"), sha1(&metadata.body));
    let sibling = node.sibling();
    assert_eq!(
        get(&sibling, &format!("{path}.sha1")).await.expect(200).text(),
        sha1(&metadata.body)
    );
    assert_eq!(
        get(&sibling, &format!("{path}.sha512"))
            .await
            .expect(200)
            .text()
            .len(),
        128
    );
    let again = node.get(format!("{BASE}/{path}")).by("reporter");
    let again = again
        .header("if-none-match", metadata.header("etag"))
        .send()
        .await;
    again.expect(304);
    let packed = node
        .get(format!("{BASE}/{path}"))
        .by("reporter")
        .header("accept-encoding", "gzip");
    assert_eq!(
        packed.send().await.header("x-checksum-sha1"),
        sha1(&metadata.body)
    );
    release(&node, "lib", "1.1").await;
    let changed = get(&node, path).await;
    assert_ne!(changed.body, metadata.body);
    assert_eq!(
        get(&node, &format!("{path}.sha1")).await.text(),
        sha1(&changed.body)
    );
}

#[tokio::test]
async fn what_clients_send_as_metadata_is_not_given_out() {
    let node = TestNode::start().await;
    release(&node, "lib", "1.0").await;
    let path = "org/acme/lib/maven-metadata.xml";
    let before = get(&node, path).await.expect(200);
    for lie in [
        "<metadata><versioning><release>9.9</release><versions><version>9.9</version></versions></versioning></metadata>",
        "no XML at all",
        "<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><metadata>&e;</metadata>",
        "",
    ] {
        put(&node, path, lie).await.expect(201);
        put(&node, &format!("{path}.sha1"), sha1(lie.as_bytes()))
            .await
            .expect(201);
        assert_eq!(get(&node, path).await.body, before.body, "{lie}");
    }
    put(&node, path, "x".repeat(3 << 20)).await.expect(201);
    put(&node, "org/acme/maven-metadata.xml", "<metadata/>")
        .await
        .expect(201);
    put(&node, "archetype-catalog.xml", "<archetype-catalog/>")
        .await
        .expect(201);
    assert_eq!(
        get(&node, &format!("{path}.sha1")).await.text(),
        sha1(&before.body)
    );
}

#[tokio::test]
async fn a_version_is_listed_when_clients_can_begin_with_it() {
    let node = TestNode::start().await;
    let stem = "org/acme/lib/1.0/lib-1.0";
    put(&node, &format!("{stem}.jar"), "x").await.expect(201);
    assert!(
        versions(&node, BASE, "org/acme/lib").await.is_empty(),
        "half of it is there"
    );
    get(&node, &format!("{stem}.jar")).await.expect(200);
    put(&node, &format!("{stem}.pom"), "<project/>").await.expect(201);
    assert_eq!(versions(&node, BASE, "org/acme/lib").await, ["1.0"]);
    // Some are published without a POM; metadata come last.
    put(&node, "org/acme/lib/1.1/lib-1.1.jar", "x").await.expect(201);
    put(&node, "org/acme/lib/1.2/lib-1.2.jar", "x").await.expect(201);
    let sent = "<metadata><versioning><release>1.1</release><versions><version>1.0</version>\
                <version>1.1</version></versions></versioning></metadata>";
    put(&node, "org/acme/lib/maven-metadata.xml", sent)
        .await
        .expect(201);
    assert_eq!(versions(&node, BASE, "org/acme/lib").await, ["1.0", "1.1"]);
}

#[tokio::test]
async fn plugins_are_found_by_their_prefix() {
    let node = TestNode::start().await;
    let plugin = |prefix: &str| {
        jar(&[
            ("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n"),
            (
                "META-INF/maven/plugin.xml",
                &descriptor(prefix, "Says hello &amp; more"),
            ),
        ])
    };
    let stem = "org/acme/hello-maven-plugin";
    put(
        &node,
        &format!("{stem}/1.0/hello-maven-plugin-1.0.jar"),
        plugin("hi"),
    )
    .await
    .expect(201);
    get(&node, "org/acme/maven-metadata.xml").await.expect(404);
    put(
        &node,
        &format!("{stem}/1.0/hello-maven-plugin-1.0.pom"),
        "<project/>",
    )
    .await
    .expect(201);
    release(&node, "lib", "1.0").await;
    let metadata = get(&node, "org/acme/maven-metadata.xml").await.expect(200);
    assert_eq!(texts(&metadata, "plugins/plugin/prefix"), ["hi"]);
    assert_eq!(texts(&metadata, "plugins/plugin/name"), ["Says hello & more"]);
    assert_eq!(
        texts(&metadata, "plugins/plugin/artifactId"),
        ["hello-maven-plugin"]
    );
    let digest = get(&node, "org/acme/maven-metadata.xml.sha1").await.expect(200);
    assert_eq!(digest.text(), sha1(&metadata.body));
    let of_group = node
        .get(format!("{GROUP}/org/acme/maven-metadata.xml"))
        .by("developer");
    assert_eq!(of_group.send().await.expect(200).body, metadata.body);
    // A later version may call itself otherwise.
    put(
        &node,
        &format!("{stem}/1.1/hello-maven-plugin-1.1.jar"),
        plugin("hello"),
    )
    .await
    .expect(201);
    let metadata = get(&node, "org/acme/maven-metadata.xml").await.expect(200);
    assert_eq!(texts(&metadata, "plugins/plugin/prefix"), ["hello"]);
    // A package may have the path of a group.
    let below = format!("{stem}/core-maven-plugin/1.0/core-maven-plugin-1.0");
    put(&node, &format!("{below}.jar"), plugin("core"))
        .await
        .expect(201);
    put(&node, &format!("{below}.pom"), "<project/>")
        .await
        .expect(201);
    let both = get(&node, &format!("{stem}/maven-metadata.xml"))
        .await
        .expect(200);
    assert_eq!(texts(&both, "versioning/versions/version"), ["1.0"]);
    assert_eq!(texts(&both, "plugins/plugin/prefix"), ["core"]);
    delete(&node, &format!("{stem}/")).await.expect(204);
    get(&node, "org/acme/maven-metadata.xml").await.expect(404);
}

#[tokio::test]
async fn a_jar_is_kept_as_it_is_whatever_is_seen_in_it() {
    let node = TestNode::start().await;
    let long = "x".repeat(3 << 20);
    let plugin = ("META-INF/maven/plugin.xml", descriptor("x", "X"));
    let whole = jar(&[(plugin.0, &plugin.1), ("long", &long)]);
    let cut = whole[..whole.len() / 2].to_vec();
    for (name, bytes) in [("plugin", whole), ("cut", cut), ("text", long.into_bytes())] {
        let path = format!("org/acme/{name}/1/{name}-1.jar");
        put(&node, &path, bytes.clone()).await.expect(201);
        assert!(get(&node, &path).await.expect(200).body == bytes, "{name}");
    }
}

#[tokio::test]
async fn archetypes_are_in_the_catalog() {
    let node = TestNode::start().await;
    let empty = get(&node, "archetype-catalog.xml").await.expect(200);
    assert!(!empty.text().contains("<archetype>"));
    for version in ["1.0", "1.1-SNAPSHOT"] {
        let stem = format!("org/acme/start/{version}/start-{version}");
        let archetype = jar(&[("META-INF/maven/archetype-metadata.xml", "<archetype-descriptor/>")]);
        put(&node, &format!("{stem}.jar"), archetype).await.expect(201);
        put(&node, &format!("{stem}.pom"), "<project/>").await.expect(201);
    }
    release(&node, "lib", "1.0").await;
    let catalog = get(&node, "archetype-catalog.xml").await.expect(200);
    assert_eq!(catalog.text().matches("<archetype>").count(), 1);
    assert!(
        catalog
            .text()
            .contains("<artifactId>start</artifactId>\n      <version>1.0</version>")
    );
    let digest = get(&node, "archetype-catalog.xml.md5").await.expect(200);
    assert_eq!(digest.text(), catalog.header("x-checksum-md5"));
    let of_group = node
        .get(format!("{GROUP}/archetype-catalog.xml"))
        .by("developer")
        .send()
        .await;
    assert_eq!(of_group.expect(200).body, catalog.body);
}

#[tokio::test]
async fn what_filters_or_indexes_a_repository_is_not_there() {
    let node = TestNode::start().await;
    for path in [
        ".meta/prefixes.txt",
        ".meta/prefixes.txt.sha1",
        ".index/nexus-maven-repository-index.properties",
        ".index/nexus-maven-repository-index.gz",
    ] {
        get(&node, path).await.expect(404);
    }
}

#[tokio::test]
async fn many_versions_are_listed_by_pages_of_records() {
    let node = TestNode::start().await;
    let count = 1203;
    for number in 0..count {
        put(
            &node,
            &format!("org/acme/lib/1.{number}/lib-1.{number}.pom"),
            "<project/>",
        )
        .await
        .expect(201);
    }
    let metadata = get(&node, "org/acme/lib/maven-metadata.xml").await.expect(200);
    let listed = texts(&metadata, "versioning/versions/version");
    let expected: Vec<_> = (0..count).map(|number| format!("1.{number}")).collect();
    assert_eq!(listed, expected);
    assert_eq!(
        texts(&metadata, "versioning/release"),
        [format!("1.{}", count - 1)]
    );
    let listing = get(&node, "org/acme/lib/").await.expect(200);
    assert_eq!(links(&listing).len(), count + 1);
}
