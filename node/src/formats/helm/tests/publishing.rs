//! Publishing charts and provenance, and downloading them.

use super::*;
use crate::http::settings::HttpSettings;
use crate::registry::fixture;
use crate::registry::settings::DuplicatePolicy;

#[tokio::test]
async fn what_is_published_is_in_the_index_and_downloaded_from_every_node() {
    let node = TestNode::start().await;
    let chart = chart_with(
        "app",
        "apiVersion: v2\nname: app\nversion: 1.2.3+b.1\nappVersion: 1.10\nx: y\n",
    );
    let answer = post(&node, &chart).await.expect(201);
    assert_eq!(answer.json(), serde_json::json!({"saved": true}));
    let node = node.sibling();
    let index = index(&node, BASE, "stable").await;
    let entry = &index["entries"]["app"][0];
    assert_eq!(entry["digest"], sha256(&chart));
    assert_eq!(entry["urls"], serde_json::json!(["charts/app-1.2.3+b.1.tgz"]));
    assert_eq!(
        (&entry["appVersion"], &entry["x"]),
        (&"1.10".into(), &Value::Null)
    );
    assert_eq!(index["serverInfo"]["contextPath"], BASE);
    for path in ["stable/charts/app-1.2.3+b.1.tgz", "stable/app-1.2.3%2Bb.1.tgz"] {
        let answer = get(&node, path).await.expect(200);
        assert_eq!(answer.body, chart);
        assert_eq!(answer.header("content-type"), "application/gzip");
        assert_eq!(answer.header("etag"), format!("\"{}\"", sha256(&chart)));
    }
    let part = node
        .get(format!("{BASE}/stable/charts/app-1.2.3+b.1.tgz"))
        .by("deploy-read");
    let part = part.header("range", "bytes=1-2").send().await.expect(206);
    assert_eq!(part.body, chart[1..3]);
    let head = node
        .head(format!("{BASE}/stable/charts/app-1.2.3+b.1.tgz"))
        .by("reporter");
    assert_eq!(head.send().await.expect(200).body.len(), 0);
    get(&node, "stable/charts/app-1.2.3.tgz").await.expect(404);
    get(&node, "other/charts/app-1.2.3+b.1.tgz").await.expect(404);
    let listed = node
        .get("/api/v4/projects/1/packages?package_type=helm")
        .by("reporter");
    let listed = listed.send().await.expect(200).json();
    assert_eq!(
        (&listed[0]["name"], &listed[0]["version"]),
        (&"app".into(), &"1.2.3+b.1".into())
    );
}

#[tokio::test]
async fn a_chart_comes_as_the_body_or_in_a_form_below_both_paths() {
    let node = TestNode::start().await;
    post_to(
        &node,
        &format!("{BASE}/stable/api/charts"),
        &chart_of("a", "1.0.0"),
    )
    .await
    .expect(201);
    let target = format!("{BASE}/api/stable/charts");
    let (chart, fields) = (chart_of("b", "1.0.0"), b"x".as_slice());
    let sent = [("other", fields), ("chart", chart.as_slice())];
    send_form(&node, &target, "developer", &sent).await.expect(201);
    assert_eq!(
        entries(&index(&node, BASE, "stable").await),
        ["a 1.0.0", "b 1.0.0"]
    );
    let refused = send_form(&node, &target, "developer", &[("other", fields)])
        .await
        .expect(400);
    assert!(error(&refused).contains("neither a field chart nor a field prov"));
    let twice = [("chart", chart.as_slice()), ("chart", chart.as_slice())];
    let refused = send_form(&node, &target, "developer", &twice).await.expect(400);
    assert!(error(&refused).contains("twice"));
}

#[tokio::test]
async fn what_is_no_chart_is_refused_and_leaves_nothing() {
    let node = TestNode::start().await;
    let chart = chart_of("app", "1.0.0");
    for (bytes, part) in [
        (b"not a chart".to_vec(), "is damaged"),
        (Vec::new(), "is damaged"),
        (chart[..chart.len() / 2].to_vec(), "the chart"),
        (chart_with("app", "name: app\nversion: 1.0.0\n"), "malformed"),
        (chart_of("app", "1.0"), "SemVer 2"),
        (
            chart_with("app", "apiVersion: v2\nname: ..\nversion: 1.0.0\n"),
            "chart name",
        ),
    ] {
        let refused = post(&node, &bytes).await.expect(400);
        assert!(error(&refused).contains(part), "{} / {part}", error(&refused));
    }
    let coded = node.post(format!("{BASE}/api/stable/charts")).by("developer");
    coded
        .header("content-encoding", "gzip")
        .body(chart.clone())
        .send()
        .await
        .expect(415);
    post_to(&node, &format!("{BASE}/api/-x/charts"), &chart)
        .await
        .expect(400);
    assert!(entries(&index(&node, BASE, "stable").await).is_empty());
    let listed = node
        .get("/api/v4/projects/1/packages")
        .by("reporter")
        .send()
        .await;
    assert_eq!(listed.json(), serde_json::json!([]));
}

#[tokio::test]
async fn a_chart_over_the_limit_is_refused() {
    let mut settings = HttpSettings::default();
    settings.limits.file_bytes = 100;
    let node = TestNode::with(settings).await;
    let chart = chart_of("app", "1.0.0");
    let refused = post(&node, &chart).await.expect(413);
    assert!(error(&refused).contains("over the limit of 100 bytes"));
    let target = format!("{BASE}/api/stable/charts");
    send_form(&node, &target, "developer", &[("chart", &chart)])
        .await
        .expect(413);
}

#[tokio::test]
async fn a_version_is_published_once() {
    let node = TestNode::start().await;
    publish(&node, "app", "1.0.0").await;
    // The answer to a publish may be lost.
    publish(&node, "app", "1.0.0").await;
    let other = chart_with(
        "app",
        "apiVersion: v2\nname: app\nversion: 1.0.0\ndescription: x\n",
    );
    let refused = post(&node, &other).await.expect(409);
    assert_eq!(error(&refused), "file already exists: app-1.0.0.tgz");
    let with_v = post(&node, &chart_of("app", "v1.0.0")).await.expect(409);
    assert_eq!(error(&with_v), "file already exists: app-1.0.0.tgz");
    let twin = post(&node, &chart_of("App", "2.0.0")).await.expect(409);
    assert_eq!(error(&twin), "the chart App was published as app");
    // Its file would be that of another chart.
    publish(&node, "a", "1.0.0-2.0.0").await;
    let twin = post(&node, &chart_of("a-1.0.0", "2.0.0")).await.expect(409);
    assert_eq!(
        error(&twin),
        "file already exists: a-1.0.0-2.0.0.tgz is a 1.0.0-2.0.0"
    );
    // Build metadata tells versions apart.
    publish(&node, "app", "1.0.0+a").await;
    publish(&node, "app", "1.0.0+b").await;
}

#[tokio::test]
async fn of_two_who_publish_one_version_at_once_one_does() {
    let node = TestNode::start().await;
    let sibling = node.sibling();
    let other = chart_with(
        "app",
        "apiVersion: v2\nname: app\nversion: 1.0.0\ndescription: x\n",
    );
    let chart = chart_of("app", "1.0.0");
    let (first, second) = futures::join!(post(&node, &chart), post(&sibling, &other));
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
    let published = if first.status == 201 { chart } else { other };
    let digest = &index(&node, BASE, "stable").await["entries"]["app"][0]["digest"];
    assert_eq!(*digest, sha256(&published));
    let file = get(&sibling, "stable/charts/app-1.0.0.tgz").await.expect(200);
    assert_eq!(file.body, published);
}

#[tokio::test]
async fn settings_say_what_happens_to_duplicates() {
    let node = TestNode::start().await;
    publish(&node, "app", "1.0.0").await;
    let other = chart_with(
        "app",
        "apiVersion: v2\nname: app\nversion: 1.0.0\ndescription: x\n",
    );
    post(&node, &other).await.expect(409);
    let allowed = serde_json::json!({"helm_duplicates_allowed": true});
    let settings = node.put("/api/v4/projects/1/packages/settings").by("maintainer");
    settings.json(&allowed).send().await.expect(200);
    post(&node, &other).await.expect(201);
    assert_eq!(get(&node, "stable/charts/app-1.0.0.tgz").await.body, other);
}

#[tokio::test]
async fn force_overwrites_what_the_policy_lets_those_who_may_delete() {
    let node = TestNode::start().await;
    publish(&node, "app", "1.0.0").await;
    let other = chart_with(
        "app",
        "apiVersion: v2\nname: app\nversion: 1.0.0\ndescription: x\n",
    );
    let force = |caller: &str, query: &str| {
        let request = node.post(format!("{BASE}/api/stable/charts?{query}")).by(caller);
        request.body(other.clone()).send()
    };
    let refused = force("developer", "force").await.expect(403);
    assert!(error(&refused).contains("may delete"));
    force("maintainer", "force=false").await.expect(409);
    force("maintainer", "force").await.expect(201);
    assert_eq!(get(&node, "stable/charts/app-1.0.0.tgz").await.body, other);
    assert_eq!(
        index(&node, BASE, "stable").await["entries"]["app"][0]["digest"],
        sha256(&other)
    );

    fixture::set_duplicates(node.app(), 1, "helm", DuplicatePolicy::Forbid).await;
    force("maintainer", "force").await.expect(409);
    fixture::set_duplicates(node.app(), 1, "helm", DuplicatePolicy::Replace).await;
    publish_other(&node, "developer").await;
    fixture::set_duplicates(node.app(), 1, "helm", DuplicatePolicy::Allow).await;
    force("developer", "x").await.expect(201);
    assert_eq!(entries(&index(&node, BASE, "stable").await), ["app 1.0.0"]);
}

async fn publish_other(node: &TestNode, caller: &str) {
    let chart = chart_of("app", "1.0.0");
    let request = node.post(format!("{BASE}/api/stable/charts")).by(caller);
    request.body(chart.clone()).send().await.expect(201);
    assert_eq!(get(node, "stable/charts/app-1.0.0.tgz").await.body, chart);
}

#[tokio::test]
async fn provenance_comes_with_the_chart_or_later_and_is_about_it() {
    let node = TestNode::start().await;
    let chart = chart_of("app", "1.0.0");
    let signed = provenance("app", "1.0.0", &sha256(&chart));
    let (charts, prov) = (
        format!("{BASE}/api/stable/charts"),
        format!("{BASE}/stable/api/prov"),
    );
    // Before the chart, in the same form.
    let fields = [("prov", signed.as_bytes()), ("chart", chart.as_slice())];
    send_form(&node, &charts, "developer", &fields).await.expect(201);
    let found = get(&node, "stable/charts/app-1.0.0.tgz.prov").await.expect(200);
    assert_eq!(
        (found.text(), found.header("content-type")),
        (signed.as_str(), "application/pgp-signature")
    );

    publish(&node, "web", "1.0.0").await;
    let file = "stable/web-1.0.0.tgz.prov";
    get(&node, file).await.expect(404);
    let web = sha256(&chart_of("web", "1.0.0"));
    for (text, status, part) in [
        (
            provenance("web", "1.0.0", &"0".repeat(64)),
            400,
            "but it has sha256:",
        ),
        (provenance("web", "2.0.0", &web), 404, "chart not found"),
        (provenance("other", "1.0.0", &web), 404, "chart not found"),
        ("what?".into(), 400, "not a message signed"),
        ("x".repeat(600 << 10), 413, "over the limit"),
    ] {
        let refused = node
            .post(prov.clone())
            .by("developer")
            .body(text)
            .send()
            .await
            .expect(status);
        assert!(error(&refused).contains(part), "{} / {part}", error(&refused));
    }
    let good = provenance("web", "1.0.0", &web);
    node.post(prov.clone())
        .by("developer")
        .body(good.clone())
        .send()
        .await
        .expect(201);
    node.post(prov.clone())
        .by("developer")
        .body(good.clone())
        .send()
        .await
        .expect(201);
    let other = good.replace("wsBc", "wsBd");
    node.post(prov.clone())
        .by("developer")
        .body(other.clone())
        .send()
        .await
        .expect(409);
    node.post(format!("{prov}?force"))
        .by("maintainer")
        .body(other.clone())
        .send()
        .await
        .expect(201);
    assert_eq!(get(&node, file).await.text(), other);
    // In a form by itself.
    send_form(&node, &charts, "developer", &[("prov", other.as_bytes())])
        .await
        .expect(201);
}

#[tokio::test]
async fn provenance_of_another_chart_is_refused_with_the_chart() {
    let node = TestNode::start().await;
    let chart = chart_of("app", "1.0.0");
    let other = provenance("app", "1.0.0", &"0".repeat(64));
    let target = format!("{BASE}/api/stable/charts");
    let fields = [("chart", chart.as_slice()), ("prov", other.as_bytes())];
    let refused = send_form(&node, &target, "developer", &fields).await.expect(400);
    assert!(error(&refused).contains("says that app-1.0.0.tgz has the digest"));
    assert!(entries(&index(&node, BASE, "stable").await).is_empty());
    // What was signed about bytes that are overwritten is gone with them.
    let good = provenance("app", "1.0.0", &sha256(&chart));
    let fields = [("chart", chart.as_slice()), ("prov", good.as_bytes())];
    send_form(&node, &target, "developer", &fields).await.expect(201);
    let changed = chart_with(
        "app",
        "apiVersion: v2\nname: app\nversion: 1.0.0\ndescription: x\n",
    );
    let request = node
        .post(format!("{target}?force"))
        .by("maintainer")
        .body(changed);
    request.send().await.expect(201);
    get(&node, "stable/app-1.0.0.tgz.prov").await.expect(404);
}

#[tokio::test]
async fn channels_have_charts_of_their_own() {
    let node = TestNode::start().await;
    publish(&node, "app", "1.0.0").await;
    let beta = format!("{BASE}/api/beta/charts");
    let other = chart_with(
        "app",
        "apiVersion: v2\nname: app\nversion: 1.0.0\ndescription: beta\n",
    );
    post_to(&node, &beta, &other).await.expect(201);
    post_to(&node, &beta, &chart_of("app", "2.0.0-beta.1"))
        .await
        .expect(201);
    assert_eq!(entries(&index(&node, BASE, "stable").await), ["app 1.0.0"]);
    assert_eq!(
        entries(&index(&node, BASE, "beta").await),
        ["app 2.0.0-beta.1", "app 1.0.0"]
    );
    assert!(entries(&index(&node, BASE, "none").await).is_empty());
    assert_eq!(get(&node, "beta/charts/app-1.0.0.tgz").await.body, other);
    // A channel may be called as a part of paths is.
    post_to(&node, &format!("{BASE}/api/api/charts"), &chart_of("x", "1.0.0"))
        .await
        .expect(201);
    assert_eq!(entries(&index(&node, BASE, "api").await), ["x 1.0.0"]);
    get(&node, "api/charts/x-1.0.0.tgz").await.expect(200);
    get(&node, "api/api/charts/x").await.expect(200);
}

#[tokio::test]
async fn a_protected_chart_is_known_by_every_spelling() {
    let node = TestNode::start().await;
    publish(&node, "app", "1.0.0").await;
    let rule = serde_json::json!({
        "package_name_pattern": "App*", "package_type": "helm",
        "minimum_access_level_for_push": "maintainer",
    });
    node.protect("packages", &rule).await.expect(201);
    let refused = post(&node, &chart_of("app", "2.0.0")).await.expect(403);
    assert_eq!(error(&refused), "Package protected.");
    publish(&node, "other", "1.0.0").await;
    let request = node.post(format!("{BASE}/api/stable/charts")).by("maintainer");
    request.body(chart_of("app", "2.0.0")).send().await.expect(201);
}

#[tokio::test]
async fn a_quota_is_answered_as_chartmuseum_does() {
    let node = TestNode::start().await;
    let quota = serde_json::json!({"bytes": 100});
    node.put("/api/cairn/v1/projects/1/quota")
        .by("root")
        .json(&quota)
        .send()
        .await
        .expect(200);
    let refused = post(&node, &chart_of("app", "1.0.0")).await.expect(507);
    assert!(error(&refused).contains("quota"), "{}", error(&refused));
    assert!(entries(&index(&node, BASE, "stable").await).is_empty());
}

#[tokio::test]
async fn errors_are_in_the_words_of_chartmuseum() {
    let node = TestNode::start().await;
    let unsigned = node
        .get(format!("{BASE}/stable/index.yaml"))
        .send()
        .await
        .expect(401);
    assert_eq!(unsigned.header("www-authenticate"), "Basic realm=\"cairn\"");
    assert!(!error(&unsigned).is_empty());
    let refused = node
        .post(format!("{BASE}/api/stable/charts"))
        .by("reporter")
        .send()
        .await
        .expect(403);
    assert!(!error(&refused).is_empty());
    let refused = node
        .post(format!("{GROUP}/api/stable/charts"))
        .by("owner")
        .send()
        .await
        .expect(405);
    assert_eq!(error(&refused), "charts are published to a project");
    assert_eq!(
        error(&get(&node, "api/stable/charts/none").await.expect(404)),
        "chart not found"
    );
    let health = get(&node, "health").await.expect(200);
    assert_eq!(health.json(), serde_json::json!({"healthy": true}));
    assert!(
        get(&node, "stable/info").await.json()["version"]
            .as_str()
            .unwrap()
            .starts_with("cairn ")
    );
    get(&node, "stable/artifacthub-repo.yml").await.expect(404);
}
