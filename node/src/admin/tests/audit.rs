//! The audit log: what is told, to whom it is shown, and that it cannot be changed unseen.

use cairn_cluster::Link;
use data_encoding::{BASE64, HEXLOWER};

use super::*;

async fn events(node: &TestNode, path: &str, caller: &str) -> Vec<Value> {
    let target = format!("/api/v4{path}");
    let shown = node.get(target).by(caller).send().await.expect(200).json();
    shown.as_array().unwrap().clone()
}

/// The names of events, and what each was done to.
fn told(events: &[Value]) -> Vec<(&str, &str)> {
    let each = events.iter().map(|event| {
        let target = &event["details"]["target_details"];
        (event["event_name"].as_str().unwrap(), target.as_str().unwrap())
    });
    each.collect()
}

#[tokio::test]
async fn every_change_is_told_with_who_made_it() {
    let node = TestNode::start().await;
    let before = events(&node, "/audit_events", "root").await.len();
    let body = json!({ "name": "New", "path": "new", "namespace_id": group(&node, "acme").await });
    let project = node
        .post("/api/v4/projects")
        .by("maintainer")
        .json(&body)
        .send()
        .await
        .expect(201);
    let id = project.json()["id"].clone();
    let change = json!({ "description": "for all", "visibility": "private" });
    let target = format!("/api/v4/projects/{id}");
    node.put(&target)
        .by("maintainer")
        .json(&change)
        .send()
        .await
        .expect(200);
    let token = json!({ "name": "ci", "scopes": ["read_package_registry"] });
    let made = node
        .post(format!("{target}/deploy_tokens"))
        .by("maintainer")
        .json(&token)
        .send()
        .await;
    let number = made.expect(201).json()["id"].clone();
    let stranger = node.get("/api/v4/user").by("stranger").send().await.json()["id"].clone();
    let member = json!({ "user_id": stranger, "access_level": 20 });
    node.post(format!("{target}/members"))
        .by("maintainer")
        .json(&member)
        .send()
        .await
        .expect(201);
    let member = json!({ "access_level": 30 });
    let of_member = format!("{target}/members/{stranger}");
    node.put(&of_member)
        .by("maintainer")
        .json(&member)
        .send()
        .await
        .expect(200);
    node.delete(&of_member).by("maintainer").send().await.expect(204);
    node.delete(format!("{target}/deploy_tokens/{number}"))
        .by("maintainer")
        .send()
        .await
        .expect(204);

    let path = format!("/projects/{id}/audit_events");
    let shown = events(&node, &path, "maintainer").await;
    let token = format!("token {number} \"ci\"");
    let expected = [
        ("deploy_token.revoked", token.as_str()),
        ("member.removed", "stranger"),
        ("member.changed", "stranger"),
        ("member.added", "stranger"),
        ("deploy_token.created", token.as_str()),
        ("project.changed", ""),
        ("project.created", ""),
    ];
    assert_eq!(told(&shown), expected);
    let changed = &shown[5];
    let maintainer = node.get("/api/v4/user").by("maintainer").send().await.json()["id"].clone();
    assert_eq!(changed["author_id"], maintainer);
    assert_eq!(
        (&changed["entity_type"], &changed["entity_id"]),
        (&json!("Project"), &id)
    );
    let details = &changed["details"];
    assert_eq!(details["author_name"], "maintainer");
    assert_eq!(details["entity_path"], "acme/new");
    assert_eq!(
        details["changes"],
        json!([{ "change": "description", "from": "", "to": "for all" }])
    );
    assert_eq!(
        shown[2]["details"]["changes"],
        json!([{ "change": "role", "from": "reporter", "to": "developer" }])
    );
    // Each is shown by itself too, and in the whole log.
    let one = format!("/api/v4{path}/{}", changed["id"]);
    assert_eq!(
        node.get(&one).by("maintainer").send().await.expect(200).json(),
        *changed
    );
    let all = events(&node, "/audit_events", "root").await;
    assert_eq!(all.len(), before + expected.len());
    assert_eq!(all[..expected.len()], shown);
}

async fn group(node: &TestNode, path: &str) -> Value {
    let target = format!("/api/v4/groups/{path}");
    node.get(target).by("root").send().await.expect(200).json()["id"].clone()
}

#[tokio::test]
async fn packages_and_images_are_told_and_steps_of_an_upload_are_not() {
    let node = TestNode::start().await;
    let before = events(&node, "/projects/1/audit_events", "root").await.len();
    let uploads = "/v2/acme/demo/blobs/uploads/";
    let begun = node.post(uploads).by("root").send().await.expect(202);
    let location = begun.header("location").to_owned();
    node.patch(location)
        .by("root")
        .body("bytes")
        .send()
        .await
        .expect(202);
    assert_eq!(
        events(&node, "/projects/1/audit_events", "root").await.len(),
        before
    );

    publish(&node, 1, "tool/1.0/tool.bin").await;
    let versions = node.get("/api/v4/projects/1/packages").by("root").send().await;
    let id = ids(&versions)[0];
    let hidden = json!({ "status": "hidden" });
    let target = "/api/v4/projects/1/packages/generic/tool/1.0";
    node.patch(target)
        .by("root")
        .json(&hidden)
        .send()
        .await
        .expect(200);
    node.delete(format!("/api/v4/projects/1/packages/{id}"))
        .by("root")
        .send()
        .await
        .expect(204);
    let shown = events(&node, "/projects/1/audit_events", "root").await;
    let expected = [
        ("package.version_deleted", "generic tool 1.0"),
        // What has no name of its own is told by its request.
        ("changed", "PATCH /api/v4/projects/1/packages/generic/tool/1.0"),
        ("package.file_added", "generic tool 1.0: tool.bin"),
        ("package.version_created", "generic tool 1.0"),
    ];
    assert_eq!(told(&shown[..shown.len() - before]), expected);
    let file = &shown[2]["details"]["changes"];
    let sha256 = HEXLOWER.encode(&<sha2::Sha256 as sha2::Digest>::digest(b"bytes"));
    assert_eq!(file[0], json!({ "change": "size", "from": null, "to": "5" }));
    assert_eq!(file[1], json!({ "change": "sha256", "from": null, "to": sha256 }));
}

#[tokio::test]
async fn who_was_refused_is_told_once_with_how_often() {
    let node = TestNode::start().await;
    let target = "/api/v4/projects/1/packages/generic/a/1/a";
    for _ in 0..3 {
        node.put(target)
            .by("reporter")
            .body("bytes")
            .send()
            .await
            .expect(403);
    }
    node.get("/api/v4/projects/1")
        .by("stranger")
        .send()
        .await
        .expect(404);
    node.get("/api/v4/user")
        .header("PRIVATE-TOKEN", "cnp-no-such-token")
        .send()
        .await
        .expect(401);
    // These refuse nothing to anybody.
    node.get("/api/v4/projects/999")
        .by("stranger")
        .send()
        .await
        .expect(404);
    node.get(target).send().await.expect(401);
    node.tell_refusals().await;
    node.tell_refusals().await;
    let refused = events(&node, "/audit_events?event_name=refused", "root").await;
    let mut shown: Vec<_> = refused
        .iter()
        .map(|event| {
            let details = &event["details"];
            let text = |name: &str| details[name].as_str().unwrap().to_owned();
            let refused = &details["refused"];
            (
                text("author_name"),
                text("target_details"),
                refused["status"].clone(),
                refused["times"].clone(),
            )
        })
        .collect();
    shown.sort_by(|one, other| one.0.cmp(&other.0));
    let row = |who: &str, what: &str, status: u16, times: u32| {
        (who.to_owned(), what.to_owned(), json!(status), json!(times))
    };
    let expected = [
        row("nobody", "credentials that do not hold", 401, 1),
        row("reporter", &format!("PUT {target}"), 403, 3),
        row("stranger", "GET /api/v4/projects/1", 404, 1),
    ];
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn nobody_can_fill_the_log_by_being_refused() {
    let node = TestNode::start().await;
    for number in 0..150 {
        let target = format!("/api/v4/projects/1/packages/generic/a/1/{number}");
        node.put(target)
            .by("guest")
            .body("bytes")
            .send()
            .await
            .expect(403);
    }
    node.tell_refusals().await;
    let path = "/audit_events?event_name=refused&pagination=keyset&per_page=100";
    let newest = events(&node, path, "root").await;
    let others = newest
        .iter()
        .find(|event| event["details"]["author_name"] == "nobody")
        .unwrap();
    assert_eq!(others["details"]["refused"]["times"], 50);
    let link = node
        .get(format!("/api/v4{path}"))
        .by("root")
        .send()
        .await
        .header("link")
        .to_owned();
    let cursor = link
        .split("cursor=")
        .nth(1)
        .unwrap()
        .split(['&', '>'])
        .next()
        .unwrap();
    let rest = events(&node, &format!("{path}&cursor={cursor}"), "root").await;
    assert_eq!((newest.len(), rest.len()), (100, 1));
}

#[tokio::test]
async fn only_those_who_manage_a_place_are_shown_what_was_done_there() {
    let node = TestNode::start().await;
    let asked = async |path: &str, caller: &str| {
        let target = format!("/api/v4{path}/audit_events");
        node.get(target).by(caller).send().await.status
    };
    for (path, caller, status) in [
        ("/projects/1", "maintainer", 200),
        ("/projects/1", "developer", 403),
        ("/projects/1", "stranger", 404),
        ("/projects/1", "deploy-write", 401),
        ("/groups/acme", "owner", 200),
        ("/groups/acme", "maintainer", 403),
        ("", "root", 200),
        ("", "owner", 403),
    ] {
        assert_eq!(asked(path, caller).await, status, "{path} by {caller}");
    }
    // What was done elsewhere is not shown by its number either.
    publish(&node, 1, "tool/1.0/tool.bin").await;
    let number = events(&node, "/projects/1/audit_events", "root").await[0]["id"].clone();
    let one = format!("/groups/acme/audit_events/{number}");
    node.get(format!("/api/v4{one}"))
        .by("owner")
        .send()
        .await
        .expect(404);
}

#[tokio::test]
async fn the_log_holds_together_and_has_no_secrets() {
    let node = TestNode::start().await;
    let new = json!({ "name": "canary", "scopes": ["api"] });
    let id = node.get("/api/v4/user").by("root").send().await.json()["id"].clone();
    let target = format!("/api/v4/users/{id}/personal_access_tokens");
    let made = node
        .post(&target)
        .by("root")
        .json(&new)
        .send()
        .await
        .expect(201)
        .json();
    let token = made["token"].as_str().unwrap().to_owned();
    let in_query = format!("/api/v4/user?private_token={token}");
    node.get(in_query).send().await;
    node.get("/api/v4/audit_events")
        .bearer(&token)
        .send()
        .await
        .expect(200);
    let own = "/api/v4/personal_access_tokens/self";
    node.delete(own)
        .header("PRIVATE-TOKEN", &token)
        .send()
        .await
        .expect(204);
    node.get("/api/v4/user")
        .header("PRIVATE-TOKEN", &token)
        .send()
        .await
        .expect(401);
    node.tell_refusals().await;
    publish(&node, 1, "tool/1.0/tool.bin").await;

    let log = "/api/cairn/v1/audit_log";
    node.get(log).by("owner").send().await.expect(403);
    let (mut before, mut after) = (None, 0);
    loop {
        let some = node
            .get(format!("{log}?after={after}"))
            .by("root")
            .send()
            .await
            .expect(200)
            .json();
        let some = some.as_array().unwrap();
        if some.is_empty() {
            break;
        }
        for line in some {
            let text = |name: &str| line[name].as_str().unwrap().as_bytes();
            let link = Link {
                number: line["number"].as_u64().unwrap(),
                hash: HEXLOWER.decode(text("hash")).unwrap().try_into().unwrap(),
                content: BASE64.decode(text("content")).unwrap().into(),
            };
            link.check(before).unwrap();
            (before, after) = (Some(link.hash), link.number);
            let content = String::from_utf8_lossy(&link.content).into_owned();
            // The id of a token is no secret; what follows it is.
            let secret = &token[token.len() - 20..];
            assert!(
                !content.contains(secret) && !line.to_string().contains(secret),
                "{line}"
            );
        }
    }
    let names = events(&node, "/audit_events", "root").await;
    let names: Vec<_> = told(&names).into_iter().map(|(name, _)| name).collect();
    for name in [
        "token.created",
        "token.revoked",
        "refused",
        "package.version_created",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert_eq!(after as usize, names.len());
}

#[tokio::test]
async fn events_are_found_by_who_when_and_what() {
    let node = TestNode::start().await;
    publish(&node, 1, "tool/1.0/tool.bin").await;
    let count = async |query: &str| {
        events(&node, &format!("/audit_events?{query}"), "root")
            .await
            .len()
    };
    assert_eq!(count("event_name=package.").await, 2);
    assert_eq!(count("event_name=package.file").await, 1);
    assert_eq!(count("event_name=package.&author_id=1").await, 2);
    assert_eq!(count("event_name=package.&author_id=2").await, 0);
    assert_eq!(
        count("event_name=package.&entity_type=Project&entity_id=1").await,
        2
    );
    assert_eq!(count("event_name=package.&entity_type=Group").await, 0);
    assert_eq!(count("event_name=package.&created_before=2020-01-01").await, 0);
    assert_eq!(
        count("event_name=package.&created_after=2020-01-01T00:00:00Z").await,
        2
    );
    assert_eq!(count("event_name=package.&created_after=9000-01-01").await, 0);
    for query in ["created_after=soon", "sort=asc", "author_id=x"] {
        let target = format!("/api/v4/audit_events?{query}");
        node.get(target).by("root").send().await.expect(400);
    }
}
