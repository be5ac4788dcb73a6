//! What the newer protocol says of versions, and searches.

use super::*;

#[tokio::test]
async fn the_service_index_tells_where_everything_is() {
    let node = TestNode::start().await;
    let index = told(&node, "index.json").await;
    assert_eq!(told(&node, "v3/index.json").await, index);
    let url = |index: &Value, kind: &str| {
        let resources = index["resources"].as_array().unwrap().iter();
        let mut of_kind = resources.filter(|resource| resource["@type"] == kind);
        of_kind
            .next()
            .map(|resource| resource["@id"].as_str().unwrap().to_owned())
    };
    let base = format!("{HOST}{BASE}/");
    assert_eq!(
        url(&index, "PackageBaseAddress/3.0.0").unwrap(),
        format!("{base}download/")
    );
    assert_eq!(
        url(&index, "PackagePublish/2.0.0").unwrap(),
        format!("{base}v2/package")
    );
    assert_eq!(url(&index, "LegacyGallery/2.0.0").unwrap(), format!("{base}v2"));
    let by_path = node
        .get("/api/v4/projects/acme%2Fdemo/packages/nuget/index.json")
        .by("reporter");
    let by_path = by_path.send().await.expect(200).json();
    assert!(
        url(&by_path, "SearchQueryService")
            .unwrap()
            .contains("/projects/acme%2Fdemo/packages/nuget/query")
    );
    let group = node
        .get(format!("{GROUP}/index.json"))
        .by("reporter")
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(url(&group, "PackagePublish/2.0.0"), None);
    let anonymous = node.get(format!("{BASE}/index.json")).send().await.expect(401);
    assert_eq!(anonymous.header("www-authenticate"), "Basic realm=\"cairn\"");
}

#[tokio::test]
async fn versions_are_in_their_order_and_kept_by_clients_until_they_change() {
    let node = TestNode::start().await;
    publish_all(
        &node,
        "Acme.Lib",
        &["1.10", "1.9", "2.0-Beta.2", "2.0-beta.10", "1.9.0.1", "2.0"],
    )
    .await;
    let expected = [
        "1.9.0",
        "1.9.0.1",
        "1.10.0",
        "2.0.0-beta.2",
        "2.0.0-beta.10",
        "2.0.0",
    ];
    assert_eq!(flat(&node, "acme.lib").await, expected);
    for path in ["download/acme.lib/index.json", "metadata/acme.lib/index.json"] {
        let first = get(&node, path).await.expect(200);
        let other = get(&node.sibling(), path).await.expect(200);
        assert_eq!(
            (first.header("etag"), &first.body),
            (other.header("etag"), &other.body)
        );
        assert_eq!(first.header("content-type"), "application/json");
        let request = node.get(format!("{BASE}/{path}")).by("reporter");
        request
            .header("if-none-match", first.header("etag"))
            .send()
            .await
            .expect(304);
    }
    let before = get(&node, "download/acme.lib/index.json").await;
    publish(&node, "Other", "1.0").await;
    let again = get(&node, "download/acme.lib/index.json").await;
    assert_eq!(again.header("etag"), before.header("etag"));
    publish(&node, "Acme.Lib", "3.0").await;
    let changed = get(&node, "download/acme.lib/index.json").await;
    assert_ne!(changed.header("etag"), before.header("etag"));
    for path in [
        "download/none/index.json",
        "metadata/none/index.json",
        "download/a..b/index.json",
        "metadata/acme.lib/9.0.json",
    ] {
        get(&node, path).await.expect(404);
    }
}

#[tokio::test]
async fn a_registration_has_what_clients_resolve_by() {
    let node = TestNode::start().await;
    let more = "<dependencies><group targetFramework=\"net45\"/><group targetFramework=\"netstandard2.0\">\
        <dependency id=\"Acme.Base\" version=\"1.0\"/></group></dependencies>";
    put(&node, &package_with("Acme.Lib", "1.0", more))
        .await
        .expect(201);
    publish(&node, "Acme.Lib", "1.1.0-a.1+b").await;
    let index = told(&node, "metadata/acme.lib/index.json").await;
    let page = &index["items"][0];
    assert_eq!((&index["count"], &page["count"]), (&1.into(), &2.into()));
    assert_eq!(
        (&page["lower"], &page["upper"]),
        (&"1.0.0".into(), &"1.1.0-a.1".into())
    );
    let leaves = page["items"].as_array().unwrap();
    let base = format!("{HOST}{BASE}/");
    let entry = &leaves[0]["catalogEntry"];
    assert_eq!(
        leaves[0]["packageContent"],
        format!("{base}download/acme.lib/1.0.0/acme.lib.1.0.0.nupkg")
    );
    let groups = entry["dependencyGroups"].as_array().unwrap();
    assert_eq!(
        (&groups[0]["targetFramework"], &groups[0]["dependencies"]),
        (&"net45".into(), &Value::Null)
    );
    assert_eq!(groups[1]["dependencies"][0]["range"], "[1.0.0, )");
    assert_eq!(leaves[1]["catalogEntry"]["version"], "1.1.0-a.1+b");
    // Every URL in it leads somewhere.
    let path = leaves[1]["@id"].as_str().unwrap().strip_prefix(&base).unwrap();
    assert_eq!(told(&node, path).await["catalogEntry"]["id"], "Acme.Lib");
    // Clients of the first SemVer do not see the second one.
    let old = told(&node, "metadata-semver1/acme.lib/index.json").await;
    assert_eq!(old["items"][0]["count"], 1);
    get(&node, "metadata-semver1/acme.lib/1.1.0-a.1.json")
        .await
        .expect(404);
    get(&node, "metadata/acme.lib/1.1.0-a.1.json").await.expect(200);
    publish(&node, "New.Only", "1.0.0-a.b").await;
    get(&node, "metadata-semver1/new.only/index.json")
        .await
        .expect(404);
}

#[tokio::test]
async fn a_long_registration_is_in_pages() {
    let node = TestNode::start().await;
    for minor in 0..150 {
        publish(&node, "a", &format!("1.{minor}")).await;
    }
    let index = told(&node, "metadata/a/index.json").await;
    assert_eq!(index["count"], 3);
    let base = format!("{HOST}{BASE}/");
    let mut versions = Vec::new();
    for page in index["items"].as_array().unwrap() {
        assert_eq!(page["items"], Value::Null);
        let path = page["@id"].as_str().unwrap().strip_prefix(&base).unwrap();
        let page = told(&node, path).await;
        for leaf in page["items"].as_array().unwrap() {
            versions.push(leaf["catalogEntry"]["version"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!((versions.len(), versions[149].as_str()), (150, "1.149.0"));
    get(&node, "metadata/a/page/x/1.0.json").await.expect(404);
}

#[tokio::test]
async fn documents_are_compressed_for_those_who_take_it() {
    let node = TestNode::start().await;
    publish_all(&node, "a", &["1.0", "1.1", "1.2", "1.3"]).await;
    let request = node.get(format!("{BASE}/metadata/a/index.json")).by("reporter");
    let answer = request
        .header("accept-encoding", "gzip, deflate")
        .send()
        .await
        .expect(200);
    assert_eq!(answer.header("content-encoding"), "gzip");
    assert_eq!(
        get(&node, "metadata/a/index.json")
            .await
            .header("content-encoding"),
        ""
    );
}

#[tokio::test]
async fn packages_are_found_by_the_newest_version_that_one_can_use() {
    let node = TestNode::start().await;
    publish_all(&node, "Acme.Lib", &["1.0", "1.1-beta", "2.0.0-rc.1"]).await;
    publish_all(&node, "Acme.Only", &["1.0.0-rc.1"]).await;
    let more = "<title>Other things</title><tags>json</tags><packageTypes><packageType name=\"DotnetTool\"/></packageTypes>";
    put(&node, &package_with("Tool", "3.0", more)).await.expect(201);
    assert_eq!(found(&node, "q=acme").await, ["Acme.Lib 1.0.0"]);
    assert_eq!(
        found(&node, "q=acme&prerelease=true").await,
        ["Acme.Lib 1.1.0-beta"]
    );
    assert_eq!(
        found(&node, "q=acme&prerelease=true&semVerLevel=2.0.0").await,
        ["Acme.Lib 2.0.0-rc.1", "Acme.Only 1.0.0-rc.1"]
    );
    assert_eq!(found(&node, "").await, ["Acme.Lib 1.0.0", "Tool 3.0.0"]);
    for query in [
        "q=json",
        "q=other+things",
        "packageType=dotnettool",
        "q=packageid:TOOL",
        "q=does+tool",
    ] {
        assert_eq!(found(&node, query).await, ["Tool 3.0.0"], "{query}");
    }
    assert_eq!(found(&node, "skip=1&take=1").await, ["Tool 3.0.0"]);
    assert_eq!(found(&node, "q=none").await, [""; 0]);
    let hit = told(&node, "query?q=acme&prerelease=true").await["data"][0].clone();
    let versions = hit["versions"].as_array().unwrap();
    assert_eq!((versions.len(), &versions[0]["version"]), (2, &"1.0.0".into()));
    assert_eq!(told(&node, "query?take=1").await["totalHits"], 2);
    get(&node, "query?skip=x").await.expect(400);
}

#[tokio::test]
async fn names_and_versions_are_completed() {
    let node = TestNode::start().await;
    publish_all(&node, "Acme.Lib", &["1.0", "1.1-beta", "2.0.0-rc.1"]).await;
    publish(&node, "Other", "1.0").await;
    let complete = async |query: &str| {
        let answer = told(&node, &format!("autocomplete?{query}")).await;
        texts(&answer["data"]).join(" ")
    };
    assert_eq!(complete("q=acme").await, "Acme.Lib");
    assert_eq!(complete("").await, "Acme.Lib Other");
    assert_eq!(complete("id=acme.LIB").await, "1.0.0");
    assert_eq!(complete("id=acme.lib&prerelease=true").await, "1.0.0 1.1.0-beta");
    assert_eq!(
        complete("id=acme.lib&prerelease=true&semVerLevel=2.0.0").await,
        "1.0.0 1.1.0-beta 2.0.0-rc.1"
    );
    assert_eq!(complete("id=none").await, "");
    assert_eq!(complete("id=../x").await, "");
}

#[tokio::test]
async fn downloads_are_counted() {
    let node = TestNode::start().await;
    publish(&node, "a", "1.0").await;
    for _ in 0..3 {
        get(&node, "download/a/1.0.0/a.1.0.0.nupkg").await.expect(200);
    }
    crate::registry::fixture::write_usage(node.app()).await;
    let hit = told(&node, "query?q=a").await["data"][0].clone();
    assert_eq!(
        (&hit["totalDownloads"], &hit["versions"][0]["downloads"]),
        (&3.into(), &3.into())
    );
}

#[tokio::test]
async fn what_is_unlisted_stays_where_it_is_needed() {
    let node = TestNode::start().await;
    publish_all(&node, "a", &["1.0", "2.0"]).await;
    let unlist = async |path: &str, caller: &str| {
        let request = node.delete(format!("{BASE}/{path}")).by(caller);
        request.send().await
    };
    unlist("v2/package/A/2.0.0.0", "reporter").await.expect(403);
    unlist("v2/package/A/2.0.0.0", "developer").await.expect(204);
    unlist("v2/a/2.0", "developer").await.expect(204);
    unlist("a/2.0", "developer").await.expect(204);
    assert_eq!(flat(&node, "a").await, ["1.0.0", "2.0.0"]);
    assert_eq!(found(&node, "q=a").await, ["a 1.0.0"]);
    let listed = async |version: &str| {
        let leaf = told(&node, &format!("metadata/a/{version}.json")).await;
        (
            leaf["listed"].clone(),
            leaf["published"].as_str().unwrap()[..4].to_owned(),
        )
    };
    assert_eq!(listed("2.0.0").await, (false.into(), "1900".into()));
    assert_eq!(listed("1.0.0").await.0, true);
    get(&node, "download/a/2.0.0/a.2.0.0.nupkg").await.expect(200);
    let answer = told(&node, "autocomplete?id=a").await;
    assert_eq!(texts(&answer["data"]), ["1.0.0"]);
    unlist("v2/package/a/1.0", "developer").await.expect(204);
    assert_eq!(found(&node, "q=a").await, [""; 0]);
    let relist = node.post(format!("{BASE}/v2/package/a/2.0")).by("developer");
    relist.send().await.expect(200);
    assert_eq!(found(&node, "q=a").await, ["a 2.0.0"]);
    node.post(format!("{BASE}/a/1.0"))
        .by("developer")
        .send()
        .await
        .expect(200);
    assert_eq!(
        told(&node, "query?q=a").await["data"][0]["versions"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    for path in [
        "v2/package/a/3.0",
        "v2/package/none/1.0",
        "v2/package/a/x",
        "a/3.0",
    ] {
        unlist(path, "developer").await.expect(404);
    }
    unlist("v2/package/a", "developer").await.expect(404);
    unlist("v2/a", "developer").await.expect(405);
}

#[tokio::test]
async fn a_group_has_each_package_where_it_was_first() {
    let node = TestNode::start().await;
    let publish_to = async |project: u64, id: &str, version: &str| {
        let target = format!("/api/v4/projects/{project}/packages/nuget");
        put_by(&node, &target, "developer", &package_of(id, version))
            .await
            .expect(201);
    };
    publish_to(3, "App", "1.0").await;
    publish_to(1, "App", "9.0").await;
    publish_to(1, "Web", "1.0").await;
    publish_to(2, "Cache", "1.0").await;
    let group = async |path: &str, caller: &str| {
        let request = node.get(format!("{GROUP}/{path}")).by(caller);
        request.send().await
    };
    let hits = group("query", "reporter").await.expect(200).json();
    let hits: Vec<_> = hits["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| hit["version"].clone())
        .collect();
    assert_eq!(hits, ["1.0.0", "1.0.0", "1.0.0"]);
    let index = group("download/app/index.json", "reporter")
        .await
        .expect(200)
        .json();
    assert_eq!(texts(&index["versions"]), ["1.0.0"]);
    group("download/app/1.0.0/app.1.0.0.nupkg", "reporter")
        .await
        .expect(200);
    group("download/app/9.0.0/app.9.0.0.nupkg", "reporter")
        .await
        .expect(404);
    let registration = group("metadata/web/index.json", "reporter")
        .await
        .expect(200)
        .json();
    let url = registration["items"][0]["items"][0]["packageContent"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(url.starts_with(&format!("{HOST}{GROUP}/download/web/")), "{url}");
    let feed = group("v2/Search()?$filter=IsLatestVersion", "reporter")
        .await
        .expect(200);
    assert_eq!(feed.text().matches("<entry>").count(), 3);
    group("download/web/index.json", "anonymous").await.expect(401);
}
