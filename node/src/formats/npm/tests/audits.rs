//! Advisories, and audits that ask for them.

use std::io::Read;

use super::*;

const BULK: &str = "/-/npm/v1/security/advisories/bulk";
const REPORT: &str = "/-/npm/v1/security/audits";

/// Says something of versions of a package of a project; gives the status.
async fn advise(node: &TestNode, project: u64, place: &str, advisory: Value) -> u16 {
    let target = format!("/api/v4/projects/{project}/packages/npm/-/advisories/{place}");
    node.put(target)
        .by("developer")
        .json(&advisory)
        .send()
        .await
        .status
}

/// What an audit is answered below a base.
async fn audit(node: &TestNode, base: &str, way: &str, asked: &Value) -> Value {
    let request = node.post(format!("{base}{way}")).by("reporter").json(asked);
    request.send().await.expect(200).json()
}

fn weakness(affected: &str) -> Value {
    json!({
        "title": "reads too much", "affectedVersions": affected, "severity": "moderate",
        "link": "https://acme.example/1", "cve": "CVE-2026-1",
    })
}

#[tokio::test]
async fn audits_tell_of_advisories_until_they_are_withdrawn() {
    let node = TestNode::start().await;
    for version in ["1.0.0", "1.1.0"] {
        Draft::new("@acme/left", version).publish(&node).await.expect(201);
    }
    let asked = json!({"@acme/left": ["1.0.0", "1.1.0"], "elsewhere": ["1.0.0"]});
    assert_eq!(audit(&node, BASE, BULK, &asked).await, json!({}));

    let place = "@acme%2fleft/ACME-1";
    assert_eq!(advise(&node, 1, place, weakness("<1.0.0")).await, 201);
    assert_eq!(audit(&node, BASE, BULK, &asked).await, json!({}));
    // The same id: it is said anew, and counts at once.
    assert_eq!(
        advise(&node, 1, "@acme/left/ACME-1", weakness("<1.1.0")).await,
        200
    );
    let told = json!({"@acme/left": [{
        "id": 0, "url": "https://acme.example/1", "title": "reads too much", "severity": "moderate",
        "vulnerable_versions": "<1.1.0", "cwe": [], "cvss": {"score": 0, "vectorString": null},
    }]});
    for base in [BASE, "/api/v4/groups/acme/-/packages/npm", "/api/v4/packages/npm"] {
        let mut answer = audit(&node, base, BULK, &asked).await;
        let id = answer["@acme/left"][0]["id"].take();
        assert!(id.as_u64().is_some_and(|id| id < 1 << 53), "{id}");
        answer["@acme/left"][0]["id"] = json!(0);
        assert_eq!(answer, told, "{base}");
    }
    let sound = json!({"@acme/left": ["1.1.0"]});
    assert_eq!(audit(&node, BASE, BULK, &sound).await, json!({}));

    let listed = node.get(format!("{BASE}/-/advisories/@acme%2fleft"));
    let listed = listed.by("reporter").send().await.expect(200).json();
    let mut said = weakness("<1.1.0");
    said["id"] = json!("ACME-1");
    assert_eq!(listed, json!([said]));

    let withdraw = async || {
        let target = format!("{BASE}/-/advisories/{place}");
        node.delete(target).by("developer").send().await.status
    };
    assert_eq!((withdraw().await, withdraw().await), (204, 404));
    assert_eq!(audit(&node, BASE, BULK, &asked).await, json!({}));
}

#[tokio::test]
async fn the_report_of_a_lock_file_tells_the_ways_to_what_is_affected() {
    let node = TestNode::start().await;
    Draft::new("left", "1.0.0").publish(&node).await.expect(201);
    let weak = json!({"title": "x", "affectedVersions": "<1.2.0", "severity": "critical"});
    assert_eq!(advise(&node, 1, "left/A-1", weak).await, 201);
    let tree = json!({"name": "app", "version": "1.0.0", "dependencies": {
        "left": {"version": "1.0.0"},
        "right": {"version": "2.0.0", "dependencies": {"left": {"version": "1.0.0"}}},
    }});
    for way in [REPORT, &format!("{REPORT}/quick")] {
        let report = audit(&node, BASE, way, &tree).await;
        let (id, told) = report["advisories"].as_object().unwrap().iter().next().unwrap();
        assert_eq!(*id, told["id"].to_string());
        assert_eq!(told["github_advisory_id"], "A-1");
        assert_eq!(
            told["findings"],
            json!([{
                "version": "1.0.0", "paths": ["left", "right>left"],
                "dev": false, "optional": false, "bundled": false,
            }])
        );
        assert_eq!(told["patched_versions"], ">=1.2.0");
        // Where nobody gave a link, it leads to what is said here.
        let url = format!("http://cairn.example{BASE}/-/advisories/left");
        assert_eq!(told["url"], url.as_str());
        assert_eq!(
            report["metadata"]["vulnerabilities"],
            json!({"info": 0, "low": 0, "moderate": 0, "high": 0, "critical": 1})
        );
        assert_eq!(report["metadata"]["totalDependencies"], 3);
        assert_eq!(report["actions"][0]["resolves"][1]["path"], "right>left");
    }
    let none = json!({"dependencies": {"right": {"version": "2.0.0"}}});
    let report = audit(&node, BASE, REPORT, &none).await;
    assert_eq!(
        (&report["advisories"], &report["actions"]),
        (&json!({}), &json!([]))
    );
}

#[tokio::test]
async fn what_a_project_says_counts_for_what_is_installed_from_it() {
    let node = TestNode::start().await;
    let publish = async |project: u64, version: &str| {
        let target = format!("/api/v4/projects/{project}/packages/npm/@acme%2fleft");
        let document = Draft::new("@acme/left", version).document();
        node.put(target)
            .by("developer")
            .json(&document)
            .send()
            .await
            .expect(201);
    };
    publish(1, "1.0.0").await;
    publish(2, "2.0.0").await;
    assert_eq!(advise(&node, 1, "@acme/left/A-1", weakness("*")).await, 201);
    let group = "/api/v4/groups/acme/-/packages/npm";
    let asked = |version: &str| json!({"@acme/left": [version]});
    assert_ne!(audit(&node, group, BULK, &asked("1.0.0")).await, json!({}));
    assert_eq!(audit(&node, group, BULK, &asked("2.0.0")).await, json!({}));
    // Where both are installed, what the one says is not held against the other's; and the same id is two.
    assert_eq!(
        advise(&node, 2, "@acme/left/A-1", weakness(">=2.0.0 <3.0.0")).await,
        201
    );
    let both = audit(&node, group, BULK, &json!({"@acme/left": ["1.0.0", "2.0.0"]})).await;
    let told = both["@acme/left"].as_array().unwrap();
    let ranges: Vec<_> = told
        .iter()
        .map(|told| told["vulnerable_versions"].as_str().unwrap())
        .collect();
    assert_eq!(ranges, ["2.0.0", "1.0.0"]);
    assert_ne!(told[0]["id"], told[1]["id"]);
    let target = "/api/v4/projects/2/packages/npm/-/advisories/@acme%2fleft/A-1";
    node.delete(target).by("developer").send().await.expect(204);
    // One that nobody has any more may be installed all the same.
    assert_ne!(audit(&node, group, BULK, &asked("0.9.0")).await, json!({}));
    let revision = revision(&node, "@acme/left").await;
    let target = format!("{}/-rev/{revision}", path("@acme/left"));
    node.delete(target).by("maintainer").send().await.expect(200);
    assert_ne!(audit(&node, BASE, BULK, &asked("1.0.0")).await, json!({}));
    // What is said of it can still be read, and taken back.
    let place = format!("{BASE}/-/advisories/@acme%2fleft");
    node.get(&place).by("reporter").send().await.expect(200);
    node.delete(format!("{place}/A-1"))
        .by("developer")
        .send()
        .await
        .expect(204);
    node.get(&place).by("reporter").send().await.expect(404);
}

#[tokio::test]
async fn advisories_are_on_packages_that_are_here_and_are_bounded() {
    let node = TestNode::start().await;
    assert_eq!(advise(&node, 1, "left/A-1", weakness("*")).await, 404);
    Draft::new("left", "1.0.0").publish(&node).await.expect(201);
    assert_eq!(advise(&node, 1, "left/A%201", weakness("*")).await, 400);
    for wrong in [weakness("latest"), weakness(""), json!({"title": "x"}), json!({})] {
        assert_eq!(advise(&node, 1, "left/A-1", wrong).await, 400);
    }
    for number in 0..100 {
        assert_eq!(
            advise(&node, 1, &format!("left/A-{number}"), weakness("*")).await,
            201
        );
    }
    assert_eq!(advise(&node, 1, "left/B-1", weakness("*")).await, 422);
    assert_eq!(advise(&node, 1, "left/A-1", weakness("*")).await, 200);
}

#[tokio::test]
async fn who_may_not_publish_a_protected_package_may_not_say_anything_of_it() {
    let node = TestNode::start().await;
    Draft::new("left", "1.0.0").publish(&node).await.expect(201);
    assert_eq!(advise(&node, 1, "left/A-1", weakness("*")).await, 201);
    let rule = json!({
        "package_name_pattern": "left", "package_type": "npm", "minimum_access_level_for_push": "maintainer",
    });
    node.protect("packages", &rule).await.expect(201);
    assert_eq!(advise(&node, 1, "left/A-1", weakness("<1")).await, 403);
    let target = format!("{BASE}/-/advisories/left/A-1");
    node.delete(&target).by("developer").send().await.expect(403);
    node.delete(&target).by("maintainer").send().await.expect(204);
}

#[tokio::test]
async fn bodies_of_audits_are_bounded() {
    let node = TestNode::start().await;
    let post = async |way: &str, body: Vec<u8>, coding: &str| {
        let request = node.post(format!("{BASE}{way}")).by("reporter");
        let request = match coding {
            "" => request,
            coding => request.header("content-encoding", coding),
        };
        request.body(body).send().await
    };
    let gzip = |text: &str| {
        let mut encoder = flate2::read::GzEncoder::new(text.as_bytes(), flate2::Compression::fast());
        let mut out = Vec::new();
        encoder.read_to_end(&mut out).unwrap();
        out
    };
    let list = r#"{"left":["1.0.0"]}"#;
    let answer = post(BULK, gzip(list), "gzip").await.expect(200);
    assert_eq!(answer.json(), json!({}));
    post(BULK, list.into(), "br").await.expect(415);
    post(BULK, list.into(), "gzip").await.expect(400);
    post(BULK, "[]".into(), "").await.expect(400);
    let long = gzip(&format!("{{\"a\":\"{}\"}}", "x".repeat(50 << 20)));
    post(BULK, long.clone(), "gzip").await.expect(413);
    post(REPORT, long, "gzip").await.expect(413);
    let many: Vec<_> = (0..20_001).map(|number| format!("1.0.{number}")).collect();
    let many = gzip(&json!({ "left": many }).to_string());
    post(BULK, many, "gzip").await.expect(413);
    // Few bytes with many long ways to what is affected.
    Draft::new("left", "1.0.0").publish(&node).await.expect(201);
    assert_eq!(advise(&node, 1, "left/A-1", weakness("*")).await, 201);
    let ways = |length: usize| {
        let below: Map<_, _> = (0..4_500)
            .map(|number| {
                let left = json!({"dependencies": {"left": {"version": format!("1.0.{number}")}}});
                (format!("{number}{}", "x".repeat(length)), left)
            })
            .collect();
        gzip(&json!({ "dependencies": below }).to_string())
    };
    post(REPORT, ways(0), "gzip").await.expect(200);
    post(REPORT, ways(200), "gzip").await.expect(200);
    // What no package can be called is passed over.
    let none = post(REPORT, ways(1_000), "gzip").await.expect(200).json();
    assert_eq!(none["advisories"], json!({}));
    for number in 2..6 {
        assert_eq!(
            advise(&node, 1, &format!("left/A-{number}"), weakness("*")).await,
            201
        );
    }
    post(REPORT, ways(0), "gzip").await.expect(413);
    post(BULK, vec![b' '; 5 << 20], "").await.expect(413);
    node.get(format!("{BASE}/-/npm/v1/keys"))
        .by("reporter")
        .send()
        .await
        .expect(404);
}
