//! Publishing packages.

use data_encoding::BASE64;
use sha2::{Digest, Sha512};

use super::*;
use crate::http::settings::HttpSettings;
use crate::registry::fixture;
use crate::registry::settings::DuplicatePolicy;

#[tokio::test]
async fn a_package_is_published_and_fetched_byte_by_byte() {
    let node = TestNode::start().await;
    let package = package_of("Acme.Lib", "1.0.0-Beta+build");
    put(&node, &package).await.expect(201);
    let sibling = node.sibling();
    let file = get(&sibling, "download/acme.lib/1.0.0-beta/acme.lib.1.0.0-beta.nupkg").await;
    let file = file.expect(200);
    assert_eq!(file.body, package);
    assert_eq!(file.header("content-type"), "application/octet-stream");
    assert_eq!(
        file.header("cache-control"),
        "private, max-age=31536000, immutable"
    );
    let target = format!("{BASE}/download/acme.lib/1.0.0-beta/acme.lib.1.0.0-beta.nupkg");
    let part = node
        .get(target.clone())
        .by("reporter")
        .header("range", "bytes=0-3");
    assert_eq!(part.send().await.expect(206).body, package[..4]);
    let again = node.get(target.clone()).by("reporter");
    let again = again.header("if-none-match", file.header("etag"));
    again.send().await.expect(304);
    let head = node.head(target).by("reporter").send().await.expect(200);
    assert_eq!(head.header("content-length"), package.len().to_string());
    let listed = node
        .get("/api/v4/projects/1/packages?package_type=nuget")
        .by("reporter");
    let listed = listed.send().await.expect(200).json();
    assert_eq!(listed[0]["package_type"], "nuget");
    assert_eq!(listed[0]["version"], "1.0.0-beta");
}

#[tokio::test]
async fn a_package_comes_to_every_path_that_clients_send_it_to() {
    let node = TestNode::start().await;
    let paths = [
        "",
        "/",
        "/v2",
        "/v2/",
        "/v2/package",
        "/v2/package/",
        "/api/v2",
        "/api/v2/package/",
    ];
    for (minor, path) in paths.iter().enumerate() {
        let package = package_of("Acme.Lib", &format!("1.{minor}"));
        put_by(&node, &format!("{BASE}{path}"), "developer", &package)
            .await
            .expect(201);
    }
    // As the body itself.
    let plain = node
        .put(format!("{BASE}/v2/package"))
        .by("developer")
        .body(package_of("Acme.Lib", "2.0"));
    plain.send().await.expect(201);
    assert_eq!(flat(&node, "acme.lib").await.len(), paths.len() + 1);
    put_by(&node, &format!("{BASE}/v2/other"), "developer", b"x")
        .await
        .expect(405);
    let refused = put_by(&node, &format!("{GROUP}/v2/package"), "owner", b"x")
        .await
        .expect(405);
    assert_eq!(refused.reason, "packages are published to a project");
}

#[tokio::test]
async fn a_key_is_enough_to_publish() {
    let node = TestNode::start().await;
    let request = node.put(format!("{BASE}/v2/package/"));
    let request = request.header("x-nuget-apikey", node.token("developer"));
    let request = request.header("content-type", "multipart/form-data; boundary=b");
    request
        .body(form(&package_of("Acme.Lib", "1.0")))
        .send()
        .await
        .expect(201);
    let unsigned = put_by(&node, &format!("{BASE}/v2/package/"), "anonymous", b"x")
        .await
        .expect(401);
    assert_eq!(unsigned.header("www-authenticate"), "Basic realm=\"cairn\"");
    put_by(&node, &format!("{BASE}/v2/package/"), "reporter", b"x")
        .await
        .expect(403);
}

#[tokio::test]
async fn what_is_no_package_is_refused_and_leaves_nothing() {
    let node = TestNode::start().await;
    let package = package_of("Acme.Lib", "1.0.0");
    for (bytes, part) in [
        (b"not a package".to_vec(), "the package is not a ZIP archive"),
        (Vec::new(), "is not a ZIP archive"),
        (package[..package.len() / 2].to_vec(), "the package"),
        (packed(&[("x", b"x")]), "no .nuspec"),
        (package_of("a b", "1.0"), "package id"),
        (package_of("Acme.Lib", "x"), "package version"),
        (
            package_with("Acme.Lib", "1.0", "<icon>none.png</icon>"),
            "no file",
        ),
        (
            packed(&[("a.nuspec", b"<x/>"), ("%2e%2e/x", b"x")]),
            "unsafe path",
        ),
    ] {
        let refused = put(&node, &bytes).await.expect(400);
        assert!(refused.reason.contains(part), "{} / {part}", refused.reason);
    }
    let no_file = node.put(format!("{BASE}/v2/package")).by("developer");
    let no_file = no_file.header("content-type", "multipart/form-data; boundary=b");
    assert!(
        no_file
            .body("--b--\r\n")
            .send()
            .await
            .expect(400)
            .reason
            .contains("no file")
    );
    let broken = node.put(format!("{BASE}/v2/package")).by("developer");
    let broken = broken.header("content-type", "multipart/form-data; boundary=b");
    let whole = form(&package);
    broken
        .body(whole[..whole.len() - 8].to_vec())
        .send()
        .await
        .expect(400);
    let coded = node.put(format!("{BASE}/v2/package")).by("developer");
    coded
        .header("content-encoding", "gzip")
        .body(package)
        .send()
        .await
        .expect(415);
    let listed = node
        .get("/api/v4/projects/1/packages")
        .by("reporter")
        .send()
        .await;
    assert_eq!(listed.json(), serde_json::json!([]));
    get(&node, "download/acme.lib/index.json").await.expect(404);
}

#[tokio::test]
async fn a_package_over_the_limit_is_refused() {
    let mut settings = HttpSettings::default();
    settings.limits.file_bytes = 100;
    let node = TestNode::with(settings).await;
    let refused = put(&node, &package_of("Acme.Lib", "1.0")).await.expect(413);
    assert!(refused.reason.contains("over the limit of 100 bytes"));
}

#[tokio::test]
async fn a_version_is_published_once_however_it_is_written() {
    let node = TestNode::start().await;
    publish(&node, "Acme.Lib", "1.0").await;
    // The answer to a publish may be lost.
    publish(&node, "Acme.Lib", "1.0").await;
    for (id, version) in [
        ("Acme.Lib", "1.0.0.0"),
        ("ACME.lib", "1.0.0+x"),
        ("acme.lib", "01.0"),
    ] {
        let refused = put(&node, &package_of(id, version)).await.expect(409);
        assert_eq!(
            refused.reason,
            format!("{id} 1.0.0 exists already and cannot be replaced")
        );
    }
    publish(&node, "Acme.Lib", "2.0.0-beta.1").await;
    put(&node, &package_of("Acme.Lib", "2.0.0-beta.01"))
        .await
        .expect(409);
    assert_eq!(flat(&node, "ACME.LIB").await, ["1.0.0", "2.0.0-beta.1"]);
    for path in [
        "1.0/acme.lib.1.0.nupkg",
        "1.0.0.0/Acme.Lib.1.0.0.nupkg",
        "1.00/acme.lib.1.0.0.0.nupkg",
    ] {
        get(&node, &format!("download/Acme.Lib/{path}")).await.expect(200);
    }
}

#[tokio::test]
async fn of_two_who_publish_one_version_at_once_one_does() {
    let node = TestNode::start().await;
    let sibling = node.sibling();
    let (one, other) = (
        package_of("a", "1.0"),
        package_with("a", "1.0", "<title>x</title>"),
    );
    let (first, second) = futures::join!(put(&node, &one), put(&sibling, &other));
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
    let published = if first.status == 201 { one } else { other };
    assert_eq!(
        get(&sibling, "download/a/1.0.0/a.1.0.0.nupkg").await.body,
        published
    );
}

#[tokio::test]
async fn many_who_publish_versions_of_one_package_at_once_all_do() {
    let node = TestNode::start().await;
    let sibling = node.sibling();
    let publishes = (0..24).map(|minor| {
        let through = if minor % 2 == 0 { &node } else { &sibling };
        async move { publish(through, "a", &format!("1.{minor}")).await }
    });
    futures::future::join_all(publishes).await;
    assert_eq!(flat(&node, "a").await.len(), 24);
    assert_eq!(found(&node, "q=a").await, ["a 1.23.0"]);
}

#[tokio::test]
async fn settings_say_what_happens_to_duplicates() {
    let node = TestNode::start().await;
    publish(&node, "a", "1.0").await;
    let other = package_with("a", "1.0", "<title>Other</title>");
    put(&node, &other).await.expect(409);
    let allowed = serde_json::json!({"nuget_duplicates_allowed": true});
    let settings = node.put("/api/v4/projects/1/packages/settings").by("maintainer");
    settings.json(&allowed).send().await.expect(200);
    put(&node, &other).await.expect(201);
    let file = get(&node, "download/a/1.0.0/a.1.0.0.nupkg").await.expect(200);
    assert_eq!(file.body, other);
    assert_eq!(file.header("cache-control"), "private, no-cache");
    assert_eq!(told(&node, "query?q=a").await["data"][0]["title"], "Other");
    fixture::set_duplicates(node.app(), 1, "nuget", DuplicatePolicy::Forbid).await;
    put(&node, &other).await.expect(409);
}

#[tokio::test]
async fn a_protected_package_is_known_by_every_spelling() {
    let node = TestNode::start().await;
    let rule = serde_json::json!({
        "package_name_pattern": "Acme.*", "package_type": "nuget",
        "minimum_access_level_for_push": "maintainer",
    });
    node.protect("packages", &rule).await.expect(201);
    let refused = put(&node, &package_of("ACME.Lib", "1.0")).await.expect(403);
    assert_eq!(refused.reason, "Package protected.");
    let by_maintainer = package_of("ACME.Lib", "1.0");
    put_by(&node, BASE, "maintainer", &by_maintainer)
        .await
        .expect(201);
    let unlist = node.delete(format!("{BASE}/acme.lib/1.0")).by("developer");
    unlist.send().await.expect(403);
    publish(&node, "Other", "1.0").await;
}

#[tokio::test]
async fn a_quota_is_kept() {
    let node = TestNode::start().await;
    let quota = serde_json::json!({"bytes": 100});
    let request = node.put("/api/cairn/v1/projects/1/quota").by("root");
    request.json(&quota).send().await.expect(200);
    let refused = put(&node, &package_of("a", "1.0")).await.expect(403);
    assert!(refused.reason.contains("quota"), "{}", refused.reason);
    get(&node, "download/a/index.json").await.expect(404);
}

#[tokio::test]
async fn what_a_package_says_of_itself_is_shown() {
    let node = TestNode::start().await;
    let more = "<icon>images\\icon.png</icon><readme>docs\\README.md</readme>\
        <license type=\"file\">LICENSE.txt</license>";
    let package = package_with("Acme.Lib", "1.0.0", more);
    put(&node, &package).await.expect(201);
    let part = async |name: &str| {
        get(&node, &format!("download/acme.lib/1.0.0/{name}"))
            .await
            .expect(200)
    };
    let nuspec = part("acme.lib.nuspec").await;
    assert_eq!(nuspec.header("content-type"), "application/xml");
    assert!(nuspec.text().contains("<id>Acme.Lib</id>"));
    let icon = part("icon").await;
    assert_eq!(
        (&icon.body[..], icon.header("content-type")),
        (&b"\x89PNG"[..], "image/png")
    );
    assert!(icon.header("content-security-policy").contains("sandbox"));
    assert_eq!(part("readme").await.text(), "# Read me");
    assert_eq!(part("license").await.text(), "Do as you like");
    let leaf = told(&node, "metadata/acme.lib/1.0.0.json").await;
    let base = format!("{HOST}{BASE}/");
    let entry = &leaf["catalogEntry"];
    assert_eq!(entry["iconUrl"], format!("{base}download/acme.lib/1.0.0/icon"));
    assert_eq!(
        entry["licenseUrl"],
        format!("{base}download/acme.lib/1.0.0/license")
    );
    let entry = get(&node, "v2/Packages(Id='Acme.Lib',Version='1.0.0')")
        .await
        .expect(200);
    assert!(entry.text().contains(&BASE64.encode(&Sha512::digest(&package))));
    publish(&node, "Plain", "1.0").await;
    for name in [
        "icon",
        "license",
        "readme",
        "other.nuspec",
        "x",
        "plain.2.0.0.nupkg",
    ] {
        get(&node, &format!("download/plain/1.0.0/{name}"))
            .await
            .expect(404);
    }
}
