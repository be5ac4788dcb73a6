//! What installers and mirrors read.

use serde_json::json;

use super::super::attestations::tests::attestations;
use super::*;

#[tokio::test]
async fn a_release_is_published_and_found_on_every_node() {
    let node = TestNode::start().await;
    let wheel = Dist::wheel("Acme.Foo", "1.0");
    let sdist = Dist::sdist("Acme.Foo", "1.0").late();
    assert!(wheel.publish(&node).await.expect(200).body.is_empty());
    sdist
        .send_to(&node, &format!("{BASE}/legacy/"), "deploy-write")
        .await
        .expect(200);
    wheel
        .send_to(&node, &format!("{BASE}/"), "developer")
        .await
        .expect(200);

    let sibling = node.sibling();
    let page = page(&sibling, BASE, "acme-foo").await;
    assert_eq!(files(&page), [wheel.file.as_str(), &sdist.file]);
    assert_eq!(page["name"], "acme-foo");
    assert_eq!(page["versions"], json!(["1.0"]));
    assert_eq!(page["meta"]["api-version"], "1.4");
    let file = &page["files"][0];
    assert_eq!(file["hashes"]["sha256"], wheel.sha256());
    assert_eq!(file["requires-python"], ">=3.8");
    assert_eq!(file["size"], wheel.bytes.len());
    assert_eq!(file["yanked"], false);
    assert_eq!(page["files"][1]["core-metadata"], false);

    // The URL is relative to the page, and the metadata lies beside the file.
    let url = file["url"].as_str().unwrap().strip_prefix("../../").unwrap();
    let got = get(&sibling, url).await.expect(200);
    assert!(got.body == wheel.bytes);
    assert_eq!(got.header("content-type"), "application/octet-stream");
    assert!(got.header("cache-control").contains("immutable"));
    let metadata = get(&sibling, &format!("{url}.metadata")).await.expect(200);
    assert_eq!(metadata.text(), core_metadata("Acme.Foo", "1.0"));
    let sha256 = HEXLOWER.encode(&Sha256::digest(&metadata.body));
    assert_eq!(file["core-metadata"]["sha256"], sha256);
    assert_eq!(file["data-dist-info-metadata"], file["core-metadata"]);

    // As clients read only the end of a wheel.
    let head = node
        .head(format!("{BASE}/{url}"))
        .by("reporter")
        .send()
        .await
        .expect(200);
    assert_eq!(head.header("content-length"), wheel.bytes.len().to_string());
    assert_eq!(head.header("accept-ranges"), "bytes");
    let part = node
        .get(format!("{BASE}/{url}"))
        .by("reporter")
        .header("range", "bytes=-22");
    let part = part.send().await.expect(206);
    assert!(part.body == wheel.bytes[wheel.bytes.len() - 22..]);
}

#[tokio::test]
async fn a_page_comes_in_the_form_that_is_asked_for() {
    let node = TestNode::start().await;
    Dist::wheel("foo", "1.0+cu.1").publish(&node).await.expect(200);
    let html = get(&node, "simple/foo/").await.expect(200);
    assert_eq!(html.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(html.header("vary"), "Accept, Accept-Encoding");
    assert!(html.text().contains("1.0%2Bcu.1-py3-none-any.whl#sha256="));
    assert!(html.text().contains("data-requires-python=\"&gt;=3.8\""));
    assert!(html.text().contains(">foo-1.0+cu.1-py3-none-any.whl</a>"));
    let asked = get(&node, &format!("simple/foo/?format={}", JSON.replace('+', "%2B"))).await;
    assert_eq!(asked.expect(200).header("content-type"), JSON);
    let html = node.get(format!("{BASE}/simple/foo/")).by("reporter");
    let html = html
        .header("accept", "application/vnd.pypi.simple.v1+html")
        .send()
        .await;
    assert_eq!(html.header("content-type"), "application/vnd.pypi.simple.v1+html");

    let root = node
        .get(format!("{BASE}/simple/"))
        .by("reporter")
        .header("accept", JSON);
    let root = root.send().await.expect(200);
    assert_eq!(root.json()["projects"], json!([{"name": "foo"}]));
    assert!(!root.header("x-pypi-last-serial").is_empty());
    assert!(
        get(&node, "simple/")
            .await
            .expect(200)
            .text()
            .contains("<a href=\"foo/\">foo</a>")
    );
}

#[tokio::test]
async fn other_spellings_lead_to_the_normalised_name() {
    let node = TestNode::start().await;
    Dist::wheel("Foo.Bar", "1.0").publish(&node).await.expect(200);
    for spelling in ["Foo.Bar/", "foo_bar/", "foo-bar", "FOO--BAR"] {
        let moved = get(&node, &format!("simple/{spelling}")).await.expect(301);
        assert_eq!(
            moved.header("location"),
            format!("http://cairn.example{BASE}/simple/foo-bar/")
        );
    }
    let moved = get(&node, "simple/foo_bar/?format=text/html").await.expect(301);
    assert!(moved.header("location").ends_with("/foo-bar/?format=text/html"));
    get(&node, "simple").await.expect(301);
    for missing in ["simple/other/", "simple/-/", "files/00/x", "pypi/other/json"] {
        get(&node, missing).await.expect(404);
    }
    let answer = node.get(format!("{BASE}/simple/other/")).send().await.expect(401);
    assert_eq!(answer.header("www-authenticate"), "Basic realm=\"cairn\"");
}

#[tokio::test]
async fn an_unchanged_page_is_not_sent_again() {
    let node = TestNode::start().await;
    Dist::wheel("foo", "1.0").publish(&node).await.expect(200);
    let first = get(&node, "simple/foo/").await.expect(200);
    let again = async |tag: &str| {
        let request = node.sibling();
        let request = request.get(format!("{BASE}/simple/foo/")).by("reporter");
        request.header("if-none-match", tag).send().await.status
    };
    assert_eq!(again(first.header("etag")).await, 304);
    Dist::wheel("foo", "1.1").publish(&node).await.expect(200);
    assert_eq!(again(first.header("etag")).await, 200);
    let second = get(&node, "simple/foo/").await.expect(200);
    let serial = |answer: &Answer| answer.header("x-pypi-last-serial").parse::<u64>().unwrap();
    assert!(serial(&second) > serial(&first));
    assert_eq!(again(second.header("etag")).await, 304);
    let json = node
        .get(format!("{BASE}/simple/foo/"))
        .by("reporter")
        .header("accept", JSON);
    assert_ne!(json.send().await.header("etag"), second.header("etag"));
    // Yanking changes a page, and so does deleting through the REST API.
    let yank = node.post(format!("{BASE}/releases/foo/1.1/yank")).by("developer");
    yank.send().await.expect(200);
    assert_eq!(again(second.header("etag")).await, 200);
}

#[tokio::test]
async fn a_group_shows_what_its_projects_have() {
    let node = TestNode::start().await;
    let open = "/api/v4/projects/2/packages/pypi";
    let old = Dist::wheel("foo", "1.0");
    old.publish(&node).await.expect(200);
    let other = Dist::wheel_with(
        "foo",
        "1.0",
        "py3-none-any",
        &(core_metadata("foo", "1.0") + "newer"),
    );
    other.send_to(&node, open, "root").await.expect(200);
    Dist::wheel("foo", "2.0").publish(&node).await.expect(200);
    Dist::wheel("bar", "1.0")
        .send_to(&node, open, "root")
        .await
        .expect(200);

    let page = page(&node, GROUP, "foo").await;
    assert_eq!(
        files(&page),
        ["foo-1.0-py3-none-any.whl", "foo-2.0-py3-none-any.whl"]
    );
    assert_eq!(
        page["files"][0]["hashes"]["sha256"],
        other.sha256(),
        "the newest project wins"
    );
    for dist in [&other, &Dist::wheel("foo", "2.0")] {
        let target = format!("{GROUP}/{}", dist.path());
        let got = node.get(target).by("reporter").send().await.expect(200);
        assert!(got.body == dist.bytes);
    }
    let root = node
        .get(format!("{GROUP}/simple/"))
        .by("reporter")
        .header("accept", JSON);
    assert_eq!(
        root.send().await.json()["projects"],
        json!([{"name": "bar"}, {"name": "foo"}])
    );
    let moved = node
        .get(format!("{GROUP}/simple/Foo"))
        .by("reporter")
        .send()
        .await
        .expect(301);
    assert_eq!(
        moved.header("location"),
        format!("http://cairn.example{GROUP}/simple/foo/")
    );
    let legacy = node
        .get(format!("{GROUP}/pypi/foo/json"))
        .by("reporter")
        .send()
        .await;
    assert_eq!(
        legacy.expect(200).json()["releases"].as_object().unwrap().len(),
        2
    );
    node.get(format!("{GROUP}/simple/foo/")).send().await.expect(401);
    node.get(format!("{GROUP}/simple/none/"))
        .by("reporter")
        .send()
        .await
        .expect(404);
    Dist::wheel("foo", "3.0")
        .send_to(&node, GROUP, "root")
        .await
        .expect(404);
}

#[tokio::test]
async fn the_older_documents_tell_of_releases() {
    let node = TestNode::start().await;
    for version in ["1.9", "1.10", "2.0rc1"] {
        Dist::wheel("foo", version).publish(&node).await.expect(200);
    }
    let all = get(&node, "pypi/Foo/json").await.expect(200).json();
    assert_eq!(all["info"]["version"], "1.10");
    assert_eq!(all["info"]["requires_python"], ">=3.8");
    assert_eq!(all["info"]["description"], "# foo\n");
    assert_eq!(all["releases"].as_object().unwrap().len(), 3);
    let file = &all["urls"][0];
    assert_eq!(*file, all["releases"]["1.10"][0]);
    assert_eq!(file["digests"]["sha256"], Dist::wheel("foo", "1.10").sha256());
    let url = file["url"]
        .as_str()
        .unwrap()
        .strip_prefix("http://cairn.example")
        .unwrap();
    node.get(url).by("reporter").send().await.expect(200);
    let one = get(&node, "pypi/foo/2.0.rc1/json").await.expect(200).json();
    assert_eq!(one["info"]["version"], "2.0rc1");
    assert!(one.get("releases").is_none());
    get(&node, "pypi/foo/3.0/json").await.expect(404);
}

#[tokio::test]
async fn attestations_are_served_to_those_who_verify_them() {
    let node = TestNode::start().await;
    let wheel = Dist::wheel("foo", "1.0");
    let other = attestations(&wheel.file, &"0".repeat(64));
    let refused = wheel
        .clone()
        .field("attestations", other)
        .publish(&node)
        .await
        .expect(400);
    assert!(refused.text().contains("other bytes"));
    let list = attestations(&wheel.file, &wheel.sha256());
    wheel
        .clone()
        .field("attestations", list)
        .publish(&node)
        .await
        .expect(200);
    let page = page(&node, BASE, "foo").await;
    let url = page["files"][0]["provenance"].as_str().unwrap();
    let url = url.strip_prefix("http://cairn.example").unwrap();
    let provenance = node.get(url).by("reporter").send().await.expect(200);
    assert_eq!(
        provenance.header("content-type"),
        "application/vnd.pypi.integrity.v1+json"
    );
    let bundle = &provenance.json()["attestation_bundles"][0];
    assert_eq!(bundle["publisher"]["user"], "developer");
    assert_eq!(bundle["attestations"][0]["version"], 1);
    Dist::sdist("foo", "1.0").publish(&node).await.expect(200);
    let none = "integrity/foo/1.0/foo-1.0.tar.gz/provenance";
    get(&node, none).await.expect(404);
}

#[tokio::test]
async fn any_username_goes_with_a_token() {
    let node = TestNode::start().await;
    Dist::wheel("foo", "1.0").publish(&node).await.expect(200);
    let target = format!("{BASE}/simple/foo/");
    for (username, caller, status) in [
        ("__token__", "reporter", 200),
        ("anything", "reporter", 200),
        ("__token__", "deploy-read", 200),
        ("deploy-read", "deploy-read", 200),
        ("another", "deploy-read", 401),
    ] {
        let token = node.token(caller).to_owned();
        let answer = node.get(target.clone()).basic(username, &token).send().await;
        assert_eq!(answer.status, status, "{username} {caller}");
    }
}
