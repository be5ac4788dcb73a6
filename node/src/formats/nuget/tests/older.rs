//! The older protocol, as Chocolatey and old clients speak it.

use super::*;

async fn filled() -> TestNode {
    let node = TestNode::start().await;
    publish_all(
        &node,
        "Acme.Lib",
        &["1.0", "1.10", "1.9", "2.0-beta", "2.0.0-rc.1"],
    )
    .await;
    publish(&node, "Web", "3.0").await;
    node
}

#[tokio::test]
async fn it_says_what_there_is() {
    let node = filled().await;
    for path in ["v2", "v2/", "api/v2", "api/v2/"] {
        let service = get(&node, path).await.expect(200);
        assert_eq!(service.header("content-type"), "application/xml;charset=utf-8");
        assert!(service.text().contains(&format!("xml:base=\"{HOST}{BASE}/v2/\"")));
    }
    let metadata = get(&node, "v2/$metadata").await.expect(200);
    assert!(
        metadata
            .text()
            .contains("FunctionImport Name=\"FindPackagesById\"")
    );
    for path in [
        "v2/none",
        "v2/Packages(Id='x')",
        "v2/Packages(Id='none',Version='1.0')",
    ] {
        get(&node, path).await.expect(404);
    }
    get(&node, "v2/Search()?$filter=(").await.expect(400);
}

#[tokio::test]
async fn versions_of_a_package_are_found() {
    let node = filled().await;
    let all = feed(&node, "FindPackagesById()?id='acme.lib'&semVerLevel=2.0.0").await;
    let expected = [
        "Acme.Lib 1.0",
        "Acme.Lib 1.9",
        "Acme.Lib 1.10 latest",
        "Acme.Lib 2.0-beta newest",
        "Acme.Lib 2.0.0-rc.1 newest",
    ];
    assert_eq!(all, expected);
    assert_eq!(
        feed(&node, "FindPackagesById()?id=%27Acme.Lib%27").await,
        expected[..4]
    );
    let newest = "FindPackagesById()?id='Acme.Lib'&$filter=IsLatestVersion&$orderby=Version%20desc&$top=1";
    assert_eq!(feed(&node, newest).await, ["Acme.Lib 1.10 latest"]);
    assert_eq!(feed(&node, "FindPackagesById()?id='none'").await, [""; 0]);
    assert_eq!(feed(&node, "FindPackagesById()?id='..'").await, [""; 0]);
    let answer = get(&node, "v2/FindPackagesById()?id='Acme.Lib'").await;
    assert_eq!(
        answer.header("content-type"),
        "application/atom+xml;type=feed;charset=utf-8"
    );
}

#[tokio::test]
async fn one_version_is_an_entry_by_itself() {
    let node = filled().await;
    for key in [
        "Id='Acme.Lib',Version='1.10'",
        "Id=%27acme.lib%27,Version=%271.10.0%27",
        "Version='1.10.0.0',Id='Acme.Lib'",
    ] {
        let entry = get(&node, &format!("v2/Packages({key})")).await.expect(200);
        assert_eq!(
            entry.header("content-type"),
            "application/atom+xml;type=entry;charset=utf-8"
        );
        let text = entry.text();
        assert!(
            text.contains("<d:NormalizedVersion>1.10.0</d:NormalizedVersion>"),
            "{text}"
        );
        let content = format!("src=\"{HOST}{BASE}/v2/package/Acme.Lib/1.10.0\"");
        assert!(text.contains(&content), "{text}");
    }
    let file = get(&node, "v2/package/Acme.Lib/1.10").await.expect(200);
    assert_eq!(file.body, package_of("Acme.Lib", "1.10"));
    let newest = get(&node, "v2/package/acme.lib").await.expect(200);
    assert_eq!(newest.body, file.body);
    get(&node, "v2/package/acme.lib/7.0").await.expect(404);
    get(&node, "v2/package/none").await.expect(404);
}

#[tokio::test]
async fn searches_and_lists_go_through_all_packages() {
    let node = filled().await;
    let latest = "Search()?$filter=IsLatestVersion&$orderby=Id&$skip=0&$top=30&searchTerm=''&targetFramework=''&includePrerelease=false";
    assert_eq!(
        feed(&node, latest).await,
        ["Acme.Lib 1.10 latest", "Web 3.0 latest newest"]
    );
    let newest = "Search()?$filter=IsAbsoluteLatestVersion&searchTerm='acme'&includePrerelease=true";
    assert_eq!(feed(&node, newest).await, ["Acme.Lib 2.0-beta newest"]);
    let all = "Search()?$orderby=Id&searchTerm='lib'&includePrerelease=false";
    assert_eq!(
        feed(&node, all).await,
        ["Acme.Lib 1.0", "Acme.Lib 1.9", "Acme.Lib 1.10 latest"]
    );
    let by_name = "Packages()?$filter=tolower(Id)%20eq%20'acme.lib'%20and%20IsLatestVersion";
    assert_eq!(feed(&node, by_name).await, ["Acme.Lib 1.10 latest"]);
    let by_part = "Packages()?$filter=substringof('eb',tolower(Id))";
    assert_eq!(feed(&node, by_part).await, ["Web 3.0 latest newest"]);
    let version = "Packages()?$filter=(Id%20eq%20'Acme.Lib')%20and%20(Version%20eq%20'1.9.0')";
    assert_eq!(feed(&node, version).await, ["Acme.Lib 1.9"]);
    for (path, expected) in [
        ("Search()/$count?$filter=IsLatestVersion", "2"),
        ("Packages()/$count", "4"),
        ("FindPackagesById()/$count?id='Acme.Lib'&semVerLevel=2.0.0", "5"),
    ] {
        assert_eq!(
            get(&node, &format!("v2/{path}")).await.expect(200).text(),
            expected,
            "{path}"
        );
    }
    let counted = get(&node, "v2/Search()?$inlinecount=allpages&$top=1")
        .await
        .expect(200);
    assert!(counted.text().contains("<m:count>4</m:count>"));
}

#[tokio::test]
async fn updates_are_found() {
    let node = filled().await;
    let updates = "GetUpdates()?packageIds='acme.lib|Web|none'&versions='1.0|3.0|1.0'";
    assert_eq!(feed(&node, updates).await, ["Acme.Lib 1.10 latest"]);
    let all = format!("{updates}&includePrerelease=true&includeAllVersions=true&semVerLevel='2.0.0'");
    assert_eq!(feed(&node, &all).await.len(), 4);
    let constrained = format!("{updates}&versionConstraints='(,1.10)||'");
    assert_eq!(feed(&node, &constrained).await, ["Acme.Lib 1.9"]);
}

#[tokio::test]
async fn a_long_feed_says_where_it_goes_on() {
    let node = TestNode::start().await;
    for minor in 0..120 {
        publish(&node, "a", &format!("1.{minor}")).await;
    }
    let first = get(&node, "v2/FindPackagesById()?id='a'").await.expect(200);
    let (_, next) = first.text().split_once("<link rel=\"next\" href=\"").unwrap();
    let next = next.split('"').next().unwrap().replace("&amp;", "&");
    let path = next.strip_prefix(&format!("{HOST}{BASE}/v2/")).unwrap();
    let rest = feed(&node, path).await;
    assert_eq!((rest.len(), rest[19].as_str()), (20, "a 1.119 latest newest"));
    let answer = get(&node, "v2/FindPackagesById()?id='a'&$top=30").await;
    assert!(!answer.text().contains("rel=\"next\""));
    assert_eq!(
        feed(&node, "FindPackagesById()?id='a'&$skip=110&$top=30")
            .await
            .len(),
        10
    );
}

#[tokio::test]
async fn what_is_unlisted_is_not_found_but_there() {
    let node = filled().await;
    let target = format!("{BASE}/v2/Acme.Lib/1.10");
    node.delete(target).by("developer").send().await.expect(204);
    assert_eq!(
        feed(&node, "Search()?$filter=IsLatestVersion&$orderby=Id").await,
        ["Acme.Lib 1.9 latest", "Web 3.0 latest newest"]
    );
    let entry = get(&node, "v2/Packages(Id='Acme.Lib',Version='1.10')")
        .await
        .expect(200);
    assert!(entry.text().contains(">1900-01-01T00:00:00<"));
    assert_eq!(feed(&node, "FindPackagesById()?id='Acme.Lib'").await.len(), 4);
}
