//! Projects that take releases or snapshots alone.

use serde_json::json;

use super::*;

async fn take(node: &TestNode, policy: &str) {
    let settings = node.put(format!("{PACKAGES}/settings")).by("maintainer");
    let fields = json!({ "maven_version_policy": policy });
    settings.json(&fields).send().await.expect(200);
}

#[tokio::test]
async fn whatever_belongs_to_a_snapshot_is_refused_where_releases_alone_are_taken() {
    let node = TestNode::start().await;
    let earlier = "org/acme/lib/0.9-SNAPSHOT/lib-0.9-20260701.120000-1.jar";
    put(&node, earlier, "earlier").await.expect(201);
    take(&node, "release").await;
    release(&node, "lib", "1.0").await;
    put(&node, "org.acme/mod/1.0/jars/mod.jar", "x").await.expect(201);
    put(&node, "org/acme/lib/maven-metadata.xml", "<metadata/>")
        .await
        .expect(201);
    for (path, version) in [
        (
            "org/acme/lib/1.1-SNAPSHOT/lib-1.1-20260701.120000-1.jar",
            "1.1-SNAPSHOT",
        ),
        ("org/acme/lib/1.1-SNAPSHOT/lib-1.1-SNAPSHOT.pom", "1.1-SNAPSHOT"),
        (
            "org/acme/lib/1.1-SNAPSHOT/lib-1.1-SNAPSHOT.jar.sha1",
            "1.1-SNAPSHOT",
        ),
        (
            "org/acme/lib/1.1-SNAPSHOT/lib-1.1-SNAPSHOT.jar.asc",
            "1.1-SNAPSHOT",
        ),
        ("org/acme/lib/1.1-SNAPSHOT/maven-metadata.xml", "1.1-SNAPSHOT"),
        ("org/acme/lib/1.1-SNAPSHOT/maven-metadata.xml.md5", "1.1-SNAPSHOT"),
        ("org/acme/lib/SNAPSHOT/lib-SNAPSHOT.jar", "SNAPSHOT"),
        // Ivy's layouts, as Gradle and sbt have them.
        ("org.acme/mod/1.1-SNAPSHOT/ivy-1.1-SNAPSHOT.xml", "1.1-SNAPSHOT"),
        ("org.acme/mod/1.1-SNAPSHOT/ivys/ivy.xml", "1.1-SNAPSHOT"),
        ("org.acme/mod/1.1-SNAPSHOT/jars/mod.jar.sha1", "1.1-SNAPSHOT"),
        // What was there before gets no more.
        (
            "org/acme/lib/0.9-SNAPSHOT/lib-0.9-20260701.120000-1-sources.jar",
            "0.9-SNAPSHOT",
        ),
    ] {
        let refused = put(&node, path, "x").await.expect(409);
        let why = format!("this project takes releases only, and {version} is a snapshot");
        assert_eq!(refused.text().trim_end(), why, "{path}");
    }
    assert_eq!(versions(&node, BASE, "org/acme/lib").await, ["1.0"]);
    get(&node, "org/acme/lib/1.1-SNAPSHOT/").await.expect(404);
    get(&node, earlier).await.expect(200);
    delete(&node, earlier).await.expect(204);
}

#[tokio::test]
async fn whatever_belongs_to_a_release_is_refused_where_snapshots_alone_are_taken() {
    let node = TestNode::start().await;
    take(&node, "snapshot").await;
    let stem = "org/acme/lib/1.0-SNAPSHOT";
    for path in [
        "lib-1.0-20260701.120000-1.jar",
        "lib-1.0-20260701.120000-1.pom",
        "maven-metadata.xml",
        "maven-metadata.xml.sha1",
    ] {
        let body = match path.ends_with(".sha1") {
            true => sha1(b"x"),
            false => "x".to_owned(),
        };
        put(&node, &format!("{stem}/{path}"), body).await.expect(201);
    }
    for path in [
        "org/acme/lib/1.0/lib-1.0.jar",
        "org/acme/lib/1.0/lib-1.0.jar.sha256",
        "org/acme/lib/1.0-rc1/lib-1.0-rc1.module",
        "org.acme/mod/1.0/ivy-1.0.xml",
        "org.acme/mod/1.0/jars/mod.jar",
    ] {
        let refused = put(&node, path, "x").await.expect(409);
        let text = refused.text();
        assert!(
            text.starts_with("this project takes snapshots only, and 1.0"),
            "{text}"
        );
        assert!(text.trim_end().ends_with("is a release"), "{text}");
    }
    assert_eq!(versions(&node, BASE, "org/acme/lib").await, ["1.0-SNAPSHOT"]);
    // Whoever may not publish is told that, and not what would be taken.
    let other = node.put(format!("{BASE}/org/acme/lib/1.0/lib-1.0.jar"));
    other.by("reporter").body("x").send().await.expect(403);
}

#[tokio::test]
async fn a_rule_lets_nobody_publish_and_everybody_resolve() {
    let node = TestNode::start().await;
    release(&node, "lib", "1.0").await;
    let rule = json!({
        "package_name_pattern": "*", "package_type": "maven",
        "minimum_access_level_for_push": "admin", "minimum_access_level_for_delete": "admin",
    });
    let made = node.post(format!("{PACKAGES}/protection/rules")).by("maintainer");
    made.json(&rule).send().await.expect(201);
    let path = "org/acme/lib/1.1/lib-1.1.jar";
    for caller in ["developer", "maintainer", "owner"] {
        let request = node.put(format!("{BASE}/{path}")).by(caller);
        let refused = request.body("x").send().await.expect(403);
        assert_eq!(refused.text().trim_end(), "Package protected.", "{caller}");
    }
    let deleted = node.delete(format!("{BASE}/org/acme/lib/1.0/")).by("owner");
    deleted.send().await.expect(403);
    get(&node, "org/acme/lib/1.0/lib-1.0.jar").await.expect(200);
}
