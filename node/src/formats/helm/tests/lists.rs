//! The package index, and the lists of ChartMuseum's API.

use cairn_cluster::Timestamp;

use super::*;
use crate::registry::time::{http_date, parse_http_date};
use crate::testing::clock::StoppedClock;

async fn filled() -> TestNode {
    let node = TestNode::start().await;
    for version in ["1.0.0", "1.10.0", "1.9.0", "2.0.0-rc.1"] {
        publish(&node, "app", version).await;
    }
    publish(&node, "app-extra", "1.0.0").await;
    publish(&node, "web", "v3.0.0").await;
    node
}

#[tokio::test]
async fn versions_stand_from_the_highest() {
    let node = filled().await;
    let expected = [
        "app 2.0.0-rc.1",
        "app 1.10.0",
        "app 1.9.0",
        "app 1.0.0",
        "app-extra 1.0.0",
        "web v3.0.0",
    ];
    let index = index(&node, BASE, "stable").await;
    assert_eq!(entries(&index), expected);
    let charts = get(&node, "api/stable/charts").await.expect(200).json();
    assert_eq!(charts, index["entries"]);
}

#[tokio::test]
async fn an_index_is_the_same_on_every_node_and_asked_for_again_only_when_it_changed() {
    let node = filled().await;
    let path = format!("{BASE}/stable/index.yaml");
    let first = get(&node, "stable/index.yaml").await.expect(200);
    assert_eq!(first.header("content-type"), "application/x-yaml");
    assert_eq!(first.header("cache-control"), "private, no-cache");
    let other = get(&node.sibling(), "stable/index.yaml").await.expect(200);
    assert_eq!(
        (first.header("etag"), &first.body),
        (other.header("etag"), &other.body)
    );
    let head = node.head(path.clone()).by("reporter").send().await.expect(200);
    assert_eq!((head.header("etag"), head.body.len()), (first.header("etag"), 0));
    let again = |tag: &str| {
        let request = node.get(path.clone()).by("reporter").header("if-none-match", tag);
        request.send()
    };
    again(first.header("etag")).await.expect(304);
    let beta = format!("{BASE}/api/beta/charts");
    post_to(&node, &beta, &chart_of("app", "1.0.0")).await.expect(201);
    again(first.header("etag")).await.expect(304);
    publish(&node, "web", "4.0.0").await;
    let changed = again(first.header("etag")).await.expect(200);
    assert_ne!(changed.header("etag"), first.header("etag"));
}

#[tokio::test]
async fn an_index_has_a_date_that_is_another_after_each_change_and_never_goes_back() {
    let (node, clock) = StoppedClock::node().await;
    let other_node = node.sibling();
    let empty = get(&node, "stable/index.yaml").await.expect(200);
    assert_eq!(empty.header("last-modified"), "");
    let since = async |date: &str| {
        let request = other_node.get(format!("{BASE}/stable/index.yaml")).by("reporter");
        request.header("if-modified-since", date).send().await
    };
    let changed_after = async |before: u64| {
        let answer = get(&node, "stable/index.yaml").await.expect(200);
        let date = answer.header("last-modified");
        let same = since(date).await.expect(304);
        assert_eq!((same.header("last-modified"), same.body.len()), (date, 0));
        let seconds = parse_http_date(date).unwrap().0 / 1000;
        assert!(seconds > before, "{seconds} {before}");
        since(&http_date(Timestamp(before * 1000))).await.expect(200);
        seconds
    };
    let delete = |version: &str| {
        let target = format!("{BASE}/api/stable/charts/{version}");
        node.delete(target).by("maintainer").send()
    };
    publish(&node, "app", "1.0.0").await;
    let mut date = changed_after(0).await;
    assert_eq!(date, node.app().store().now().0 / 1000);
    // All within one second.
    publish(&node, "app", "1.1.0").await;
    date = changed_after(date).await;
    delete("app/1.1.0").await.expect(200);
    date = changed_after(date).await;
    clock.advance(std::time::Duration::from_secs(3600));
    publish(&node, "web", "1.0.0").await;
    date = changed_after(date).await;
    assert_eq!(date, node.app().store().now().0 / 1000);
    delete("app/1.0.0").await.expect(200);
    changed_after(date).await;
    // What is the same as before is no change, nor is what happens in another channel.
    let date = get(&node, "stable/index.yaml").await;
    let date = date.header("last-modified");
    publish(&node, "web", "1.0.0").await;
    let beta = format!("{BASE}/api/beta/charts");
    post_to(&node, &beta, &chart_of("web", "2.0.0")).await.expect(201);
    since(date).await.expect(304);
    // A date that is not ours says nothing, and who sends a tag has it looked at alone.
    since("Wed, 01 Jul 2099 12:00:00 GMT").await.expect(200);
    since("yesterday").await.expect(200);
    let request = node.get(format!("{BASE}/stable/index.yaml")).by("reporter");
    let request = request.header("if-modified-since", date);
    request.header("if-none-match", "\"x\"").send().await.expect(200);
    // Of several projects together no second says it.
    let group = node.get(format!("{GROUP}/stable/index.yaml")).by("reporter");
    assert_eq!(group.send().await.expect(200).header("last-modified"), "");
}

#[tokio::test]
async fn a_version_is_asked_for_by_a_constraint() {
    let node = filled().await;
    for (asked, expected) in [
        ("latest", "1.10.0"),
        ("%5E1.0", "1.10.0"),
        ("~1.9", "1.9.0"),
        ("%3E=1%20%3C1.10", "1.9.0"),
        ("*", "1.10.0"),
        // Prereleases are for those who ask for them.
        ("%3E=1.0.0-0", "2.0.0-rc.1"),
        ("*-0", "2.0.0-rc.1"),
        ("%5E2.0.0-rc", "2.0.0-rc.1"),
    ] {
        let found = get(&node, &format!("api/stable/charts/app/{asked}"))
            .await
            .expect(200);
        assert_eq!(found.json()["version"], expected, "{asked}");
    }
    for asked in ["%5E2", "%3E=2", "2", "%5E3-0"] {
        get(&node, &format!("api/stable/charts/app/{asked}"))
            .await
            .expect(404);
    }
}

#[tokio::test]
async fn lists_are_read_in_pages_of_charts() {
    let node = filled().await;
    let names = async |query: &str| {
        let list = get(&node, &format!("api/stable/charts?{query}"))
            .await
            .expect(200)
            .json();
        list.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(names("limit=1").await, ["app"]);
    assert_eq!(names("offset=1").await, ["app-extra", "web"]);
    assert_eq!(names("offset=1&limit=1").await, ["app-extra"]);
    assert_eq!(names("limit=0").await, [""; 0]);
    assert_eq!(names("offset=9").await, [""; 0]);
    for query in ["offset=x", "limit=-1"] {
        get(&node, &format!("api/stable/charts?{query}"))
            .await
            .expect(400);
    }
}

#[tokio::test]
async fn a_chart_and_its_versions_are_shown() {
    let node = filled().await;
    let versions = get(&node, "stable/api/charts/app").await.expect(200).json();
    assert_eq!(versions.as_array().unwrap().len(), 4);
    for (asked, expected) in [
        ("1.9.0", "1.9.0"),
        ("v1.9.0", "1.9.0"),
        ("latest", "1.10.0"),
        ("%5E1.0", "1.10.0"),
        ("~1.9", "1.9.0"),
        ("%3C1.10", "1.9.0"),
        ("2.0.0-rc.1", "2.0.0-rc.1"),
    ] {
        let found = get(&node, &format!("api/stable/charts/app/{asked}"))
            .await
            .expect(200);
        assert_eq!(found.json()["version"], expected, "{asked}");
    }
    for path in [
        "app/3.0.0",
        "app/%5E3",
        "App/1.0.0",
        "none/1.0.0",
        "none",
        "App",
        "%20",
    ] {
        get(&node, &format!("api/stable/charts/{path}")).await.expect(404);
    }
    get(&node, "api/stable/charts/app/what").await.expect(400);
    let head = node.head(format!("{BASE}/api/stable/charts/app")).by("reporter");
    head.send().await.expect(200);
}

#[tokio::test]
async fn values_and_templates_are_shown() {
    let node = filled().await;
    let values = get(&node, "api/stable/charts/app/latest/values")
        .await
        .expect(200);
    assert_eq!(
        (values.text(), values.header("content-type")),
        ("replicas: 1\n", "application/yaml")
    );
    let templates = get(&node, "api/stable/charts/app/latest/templates")
        .await
        .expect(200);
    assert_eq!(templates.json()[0]["name"], "templates/note.yaml");
    get(&node, "api/stable/charts/app/9.0.0/values").await.expect(404);
}

#[tokio::test]
async fn more_versions_than_are_read_at_once_are_all_listed() {
    let node = TestNode::start().await;
    for minor in 0..300 {
        publish(&node, "app", &format!("1.{minor}.0")).await;
    }
    publish(&node, "web", "1.0.0").await;
    let listed = entries(&index(&node, BASE, "stable").await);
    assert_eq!(listed.len(), 301);
    assert_eq!(
        (listed[0].as_str(), listed[300].as_str()),
        ("app 1.299.0", "web 1.0.0")
    );
    let group = entries(&index(&node, GROUP, "stable").await);
    assert_eq!(group, listed);
    let second = get(&node, "api/stable/charts?offset=1").await.json();
    assert_eq!(second.as_object().unwrap().len(), 1);
    let oldest = get(&node, "api/stable/charts/app/%3C1.1").await.expect(200);
    assert_eq!(oldest.json()["version"], "1.0.0");
}

#[tokio::test]
async fn a_group_and_the_instance_have_each_chart_where_it_was_first() {
    let node = TestNode::start().await;
    let publish_to = async |project: u64, channel: &str, name: &str, version: &str| {
        let target = format!("/api/v4/projects/{project}/packages/helm/api/{channel}/charts");
        let request = node.post(target).by("developer").body(chart_of(name, version));
        request.send().await.expect(201);
    };
    publish_to(3, "stable", "app", "1.0.0").await;
    publish_to(1, "stable", "app", "9.0.0").await;
    publish_to(1, "stable", "web", "1.0.0").await;
    publish_to(2, "stable", "cache", "1.0.0").await;
    // Nobody but the first publishes to any channel of it.
    publish_to(1, "beta", "app", "9.1.0").await;
    for base in [GROUP, INSTANCE] {
        let merged = index(&node, base, "stable").await;
        assert_eq!(
            entries(&merged),
            ["app 1.0.0", "cache 1.0.0", "web 1.0.0"],
            "{base}"
        );
        // Whoever publishes there is told why that is refused.
        assert_eq!(merged["serverInfo"]["contextPath"], base);
        assert!(entries(&index(&node, base, "beta").await).is_empty());
        let file = |name: &str| {
            node.get(format!("{base}/stable/charts/{name}"))
                .by("reporter")
                .send()
        };
        file("app-1.0.0.tgz").await.expect(200);
        file("app-9.0.0.tgz").await.expect(404);
        file("web-1.0.0.tgz").await.expect(200);
        let charts = node.get(format!("{base}/api/stable/charts/app")).by("reporter");
        assert_eq!(
            charts.send().await.expect(200).json().as_array().unwrap().len(),
            1
        );
    }
    // A stranger sees what is open to all: then another chart of the name is the first.
    let seen = async |caller: &str| {
        let answer = node
            .get(format!("{INSTANCE}/stable/index.yaml"))
            .by(caller)
            .send()
            .await;
        entries(&answer.expect(200).json())
    };
    assert_eq!(seen("stranger").await, ["app 1.0.0", "cache 1.0.0"]);
    assert_eq!(seen("anonymous").await, ["cache 1.0.0"]);
    let hidden = node.get(format!("{INSTANCE}/stable/charts/web-1.0.0.tgz"));
    hidden.by("stranger").send().await.expect(404);
    let hidden = node.get(format!("{INSTANCE}/stable/charts/web-1.0.0.tgz"));
    hidden.send().await.expect(401);
}
