//! What publishers send, and what is refused.

use std::io::Write;

use futures::future::join_all;
use serde_json::json;

use super::*;
use crate::http::settings::HttpSettings;

#[tokio::test]
async fn a_file_name_is_given_out_once() {
    let node = TestNode::start().await;
    let wheel = Dist::wheel("foo", "1.0");
    wheel.publish(&node).await.expect(200);
    wheel.publish(&node).await.expect(200);
    let other = Dist::wheel_with(
        "foo",
        "1.0",
        "py3-none-any",
        &(core_metadata("foo", "1.0") + "more"),
    );
    let refused = other.publish(&node).await.expect(400);
    assert!(
        refused.text().starts_with("File already exists"),
        "{}",
        refused.text()
    );
    assert_eq!(files(&page(&node, BASE, "foo").await).len(), 1);

    // Deleted, the name stays taken, also for the same bytes.
    let target = format!("{BASE}/{}", wheel.path());
    node.delete(target.clone())
        .by("developer")
        .send()
        .await
        .expect(403);
    node.delete(target.replace(&wheel.sha256(), &"0".repeat(64)))
        .by("maintainer")
        .send()
        .await
        .expect(404);
    node.delete(target.clone())
        .by("maintainer")
        .send()
        .await
        .expect(204);
    get(&node, &wheel.path()).await.expect(404);
    get(&node, &format!("{}.metadata", wheel.path()))
        .await
        .expect(404);
    get(&node, "simple/foo/").await.expect(404);
    assert!(wheel.publish(&node).await.expect(400).text().contains("deleted"));
    // Another file may join the version.
    Dist::wheel_for("foo", "1.0", "py2-none-any")
        .publish(&node)
        .await
        .expect(200);
    assert_eq!(
        files(&page(&node, BASE, "foo").await),
        ["foo-1.0-py2-none-any.whl"]
    );
}

#[tokio::test]
async fn spellings_of_a_version_are_one_release() {
    let node = TestNode::start().await;
    Dist::wheel("foo", "1.0.0").publish(&node).await.expect(200);
    let short = Dist::wheel_for("foo", "1.0", "py2-none-any");
    short.publish(&node).await.expect(200);
    let page = page(&node, BASE, "foo").await;
    assert_eq!(page["versions"], json!(["1.0.0"]));
    assert_eq!(files(&page).len(), 2);
    assert!(get(&node, &short.path()).await.expect(200).body == short.bytes);
    let listed = node
        .get("/api/v4/projects/1/packages?package_type=pypi")
        .by("reporter");
    let listed = listed.send().await.expect(200).json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["version"], "1.0.0");
    assert_eq!(listed[0]["name"], "foo");

    Dist::sdist("foo", "1.0.0").publish(&node).await.expect(200);
    let second = Dist::sdist("foo", "1.0").publish(&node).await.expect(400);
    assert!(
        second.text().contains("source distribution already"),
        "{}",
        second.text()
    );
}

#[tokio::test]
async fn forms_that_do_not_fit_are_refused() {
    let node = TestNode::start().await;
    let wheel = || Dist::wheel("foo", "1.0");
    let check = async |dist: Dist, part: &str| {
        let answer = dist.publish(&node).await.expect(400);
        assert!(answer.text().contains(part), "{} / {part}", answer.text());
        assert!(!answer.text().starts_with("400"));
    };
    check(wheel().field("name", "bar"), "field name does not fit").await;
    check(wheel().field("version", "1.1"), "field version does not fit").await;
    check(wheel().field("filetype", "sdist"), "field filetype does not fit").await;
    check(wheel().field("sha256_digest", "00"), "sha256_digest does not fit").await;
    check(
        wheel().field("md5_digest", "00").late(),
        "md5_digest does not fit",
    )
    .await;
    check(
        wheel().field("blake2_256_digest", "00"),
        "blake2_256_digest does not fit",
    )
    .await;
    check(wheel().field(":action", "submit"), ":action").await;
    check(wheel().without("name"), "no field name").await;
    check(wheel().without("version"), "no field version").await;
    check(wheel().field("version", "one"), "not a version").await;
    check(wheel().named("foo-1.0.exe"), "neither a .whl").await;
    check(wheel().named("../foo-1.0.zip"), "no distribution has").await;
    check(wheel().named("bar-1.0-py3-none-any.whl"), "the .dist-info folder").await;
    check(
        wheel().named("foo-1.1-py3-none-any.whl").late(),
        "the .dist-info folder",
    )
    .await;
    check(wheel().bytes(b"\x89PNG".to_vec()), "not a ZIP archive").await;
    check(wheel().field("attestations", "{}"), "attestations are malformed").await;
    let long = wheel().field("name", "x".repeat(10_000)).late();
    assert!(
        long.publish(&node)
            .await
            .expect(413)
            .text()
            .contains("longer than 4096 bytes")
    );
    let twice = Dist {
        fields: [wheel().fields, vec![("name".into(), "foo".into())]].concat(),
        ..wheel()
    };
    check(twice, "name twice").await;
    let request = node
        .post(BASE)
        .by("developer")
        .header("content-type", "text/plain");
    request.body("x").send().await.expect(415);
    let empty = node.post(BASE).by("developer");
    let empty = empty
        .header("content-type", "multipart/form-data; boundary=b")
        .body("--b--");
    assert!(empty.send().await.expect(400).text().contains("no file"));
    get(&node, "simple/foo/").await.expect(404);
    wheel()
        .field("sha256_digest", wheel().sha256().to_uppercase())
        .field("md5_digest", HEXLOWER.encode(&md5_of(&wheel().bytes)))
        .publish(&node)
        .await
        .expect(200);
}

fn md5_of(bytes: &[u8]) -> Vec<u8> {
    use md5::Digest as _;
    md5::Md5::digest(bytes).to_vec()
}

#[tokio::test]
async fn hostile_distributions_are_refused() {
    let node = TestNode::start().await;
    let metadata = core_metadata("foo", "1.0");
    let info = |file: &str| format!("foo-1.0.dist-info/{file}");
    let whole = || {
        Builder::default()
            .stored(&info("METADATA"), &metadata)
            .stored(&info("WHEEL"), "")
            .stored(&info("RECORD"), "")
    };
    let check = async |dist: Dist, part: &str| {
        let answer = dist.publish(&node).await.expect(400);
        assert!(answer.text().contains(part), "{} / {part}", answer.text());
    };
    let wheel = |builder: Builder| Dist::wheel("foo", "1.0").bytes(builder.end());
    check(wheel(Builder::default()), "no .dist-info").await;
    check(wheel(whole().stored("../evil.py", "")), "unsafe path").await;
    check(
        wheel(whole().stored("bar-1.0.dist-info/METADATA", "")),
        "two .dist-info",
    )
    .await;
    check(
        wheel(Builder::default().stored(&info("METADATA"), &metadata)),
        "no WHEEL",
    )
    .await;
    let bare = Builder::default()
        .stored(&info("WHEEL"), "")
        .stored(&info("RECORD"), "");
    check(wheel(bare), "no METADATA").await;
    check(wheel(whole().file("zeros", vec![0; 40 << 20])), "times its size").await;
    let large = Builder::default().file(&info("METADATA"), vec![b'x'; 5 << 20]);
    check(wheel(large), "METADATA of more than").await;
    let lying = Dist::wheel_with("foo", "1.0", "py3-none-any", &core_metadata("bar", "1.0"));
    check(lying, "the name of the distribution is \"bar\"").await;
    let lying = Dist::wheel_with("foo", "1.0", "py3-none-any", &core_metadata("foo", "2.0"));
    check(lying, "the version of the distribution").await;
    let appended = [whole().end(), whole().end()].concat();
    check(Dist::wheel("foo", "1.0").bytes(appended), "goes on after its end").await;

    let sdist = |bytes: Vec<u8>| Dist::sdist("foo", "1.0").bytes(bytes);
    let valid = || tar_gz(&[("foo-1.0/PKG-INFO", metadata.as_bytes())]);
    check(sdist(tar_gz(&[("PKG-INFO", metadata.as_bytes())])), "no PKG-INFO").await;
    check(
        sdist(tar_gz(&[("foo-1.0/PKG-INFO", b"Name: foo")])),
        "no field Metadata-Version",
    )
    .await;
    let two = tar_gz(&[
        ("a/PKG-INFO", metadata.as_bytes()),
        ("b/PKG-INFO", metadata.as_bytes()),
    ]);
    check(sdist(two), "two PKG-INFO").await;
    check(
        sdist([valid(), whole().end()].concat()),
        "goes on after its compressed data",
    )
    .await;
    check(sdist(whole().end()), "is damaged").await;
    check(sdist(valid()[..100].to_vec()), "is damaged").await;
    // A ZIP archive that is part of what gzip skips: its head has room for a comment.
    check(
        sdist(with_comment(&valid(), &Builder::default().end())),
        "ZIP archive at once",
    )
    .await;
    sdist(with_comment(&valid(), b"plain"))
        .publish(&node)
        .await
        .expect(200);
    assert_eq!(files(&page(&node, BASE, "foo").await), ["foo-1.0.tar.gz"]);
}

/// Puts a comment into the head of a gzip file.
fn with_comment(gz: &[u8], comment: &[u8]) -> Vec<u8> {
    const FLAG_EXTRA: u8 = 4;
    let mut out = gz[..10].to_vec();
    out[3] |= FLAG_EXTRA;
    out.write_all(&(comment.len() as u16).to_le_bytes()).unwrap();
    out.extend_from_slice(comment);
    out.extend_from_slice(&gz[10..]);
    out
}

#[tokio::test]
async fn an_upload_over_the_limit_is_cut_off() {
    let mut settings = HttpSettings::default();
    settings.limits.file_bytes = 2000;
    let node = TestNode::with(settings).await;
    Dist::wheel("foo", "1.0").publish(&node).await.expect(200);
    let large = "x".repeat(2000);
    let large = Dist::wheel_with(
        "foo",
        "1.1",
        "py3-none-any",
        &(core_metadata("foo", "1.1") + &large),
    );
    large.publish(&node).await.expect(413);
    get(&node, "simple/foo/").await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_one_release_arrive_side_by_side() {
    let node = TestNode::start().await;
    let nodes = [node.sibling(), node.sibling(), node.sibling()];
    let uploads = (0..12).map(|number| {
        let dist = Dist::wheel_for("foo", "1.0", &format!("cp3{number}-none-any"));
        let node = &nodes[number % nodes.len()];
        async move { dist.publish(node).await.expect(200) }
    });
    join_all(uploads).await;
    let page = page(&node, BASE, "foo").await;
    assert_eq!(files(&page).len(), 12);
    assert_eq!(page["versions"], json!(["1.0"]));
    let listed = node
        .get("/api/v4/projects/1/packages")
        .by("reporter")
        .send()
        .await;
    assert_eq!(listed.json().as_array().unwrap().len(), 1);
}
