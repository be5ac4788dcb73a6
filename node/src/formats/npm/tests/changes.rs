//! Deprecating, unpublishing, tags, stars, owners.

use super::*;
use crate::registry::fixture;

#[tokio::test]
async fn deprecating_changes_nothing_else() {
    let node = TestNode::start().await;
    for version in ["1.0.0", "1.1.0", "2.0.0"] {
        Draft::new("left", version).publish(&node).await.expect(201);
    }
    let mut edited = full(&node, "left").await;
    for version in ["1.0.0", "1.1.0"] {
        edited["versions"][version]["deprecated"] = json!("use 2");
        edited["versions"][version]["dist"]["tarball"] = json!("http://evil.example/");
        edited["versions"][version]["dependencies"] = json!({"evil": "1"});
    }
    // A version that the document leaves out stays.
    edited["versions"].as_object_mut().unwrap().remove("2.0.0");
    edited["dist-tags"] = json!({"latest": "1.0.0"});
    let answer = node
        .put(path("left"))
        .by("developer")
        .json(&edited)
        .send()
        .await
        .expect(200);
    assert_eq!(answer.json()["ok"], true);
    let packument = full(&node, "left").await;
    assert_eq!(versions(&packument), ["1.0.0", "1.1.0", "2.0.0"]);
    assert_eq!(packument["dist-tags"], json!({"latest": "2.0.0"}));
    let version = &packument["versions"]["1.1.0"];
    assert_eq!(version["deprecated"], "use 2");
    assert!(
        version["dist"]["tarball"]
            .as_str()
            .unwrap()
            .starts_with("http://cairn.example/")
    );
    assert!(version.get("dependencies").is_none());
    assert_eq!(
        abbreviated(&node, "left").await["versions"]["1.0.0"]["deprecated"],
        "use 2"
    );
    // The document is now stale.
    node.put(path("left"))
        .by("developer")
        .json(&edited)
        .send()
        .await
        .expect(409);
    // An empty message takes it back.
    let mut edited = packument;
    edited["versions"]["1.0.0"]["deprecated"] = json!("");
    node.put(path("left"))
        .by("developer")
        .json(&edited)
        .send()
        .await
        .expect(200);
    let packument = full(&node, "left").await;
    assert!(packument["versions"]["1.0.0"].get("deprecated").is_none());
    assert_eq!(packument["versions"]["1.1.0"]["deprecated"], "use 2");
}

#[tokio::test]
async fn many_versions_are_deprecated_at_once() {
    let node = TestNode::start().await;
    let filler = "x".repeat(60_000);
    for n in 0..30 {
        let draft = Draft::new("left", &format!("1.0.{n}"));
        let mut document = draft.document();
        document["versions"][&draft.version]["filler"] = json!(filler);
        node.put(draft.path())
            .by("developer")
            .json(&document)
            .send()
            .await
            .expect(201);
    }
    let mut edited = full(&node, "left").await;
    for version in edited["versions"].as_object_mut().unwrap().values_mut() {
        version["deprecated"] = json!("gone");
    }
    node.put(path("left"))
        .by("developer")
        .json(&edited)
        .send()
        .await
        .expect(200);
    let packument = abbreviated(&node, "left").await;
    assert!(
        packument["versions"]
            .as_object()
            .unwrap()
            .values()
            .all(|version| version["deprecated"] == "gone")
    );
}

#[tokio::test]
async fn unpublishing_a_version_removes_its_tarball_and_moves_latest() {
    let node = TestNode::start().await;
    for (version, tag) in [("1.0.0", "latest"), ("1.1.0", "latest"), ("2.0.0-rc.1", "next")] {
        Draft::new("left", version)
            .tag(tag)
            .publish(&node)
            .await
            .expect(201);
    }
    let mut edited = full(&node, "left").await;
    let target = format!("{}/-rev/{}", path("left"), edited["_rev"].as_str().unwrap());
    edited["versions"].as_object_mut().unwrap().remove("1.1.0");
    node.put(&target)
        .by("developer")
        .json(&edited)
        .send()
        .await
        .expect(403);
    node.put(&target)
        .by("maintainer")
        .json(&edited)
        .send()
        .await
        .expect(200);
    let packument = full(&node, "left").await;
    assert_eq!(versions(&packument), ["1.0.0", "2.0.0-rc.1"]);
    assert_eq!(
        packument["dist-tags"],
        json!({"latest": "1.0.0", "next": "2.0.0-rc.1"})
    );
    assert!(packument["time"].get("1.1.0").is_none());
    let tarball = format!("{}/-/left-1.1.0.tgz", path("left"));
    node.get(&tarball).by("reporter").send().await.expect(404);
    // The client's last step, whatever path it makes up.
    let revision = packument["_rev"].as_str().unwrap();
    node.delete(format!("{tarball}/-rev/{revision}"))
        .by("maintainer")
        .send()
        .await
        .expect(200);
    let other = format!("{}/-/left-1.0.0.tgz/-rev/{revision}", path("left"));
    node.delete(other).by("maintainer").send().await.expect(409);
    // The version is not free again, not even for the same bytes.
    let again = Draft::new("left", "1.1.0").publish(&node).await.expect(409);
    assert!(
        again
            .text()
            .contains("You cannot publish over the previously published versions")
    );
    Draft::new("left", "1.1.1").publish(&node).await.expect(201);
    node.put(&target)
        .by("maintainer")
        .json(&edited)
        .send()
        .await
        .expect(409);
}

#[tokio::test]
async fn a_document_that_was_cut_short_does_not_empty_a_package() {
    let node = TestNode::start().await;
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        Draft::new("left", version).publish(&node).await.expect(201);
    }
    let mut edited = full(&node, "left").await;
    let target = format!("{}/-rev/{}", path("left"), edited["_rev"].as_str().unwrap());
    edited["versions"] = json!({});
    node.put(&target)
        .by("maintainer")
        .json(&edited)
        .send()
        .await
        .expect(400);
    assert_eq!(versions(&full(&node, "left").await).len(), 3);
    // One that removes nothing changes nothing.
    let whole = full(&node, "left").await;
    node.put(&target)
        .by("maintainer")
        .json(&whole)
        .send()
        .await
        .expect(200);
    assert_eq!(versions(&full(&node, "left").await).len(), 3);
}

#[tokio::test]
async fn unpublishing_a_package_removes_it_and_remembers_its_versions() {
    let node = TestNode::start().await;
    for version in ["1.0.0", "1.1.0"] {
        Draft::new("left", version).publish(&node).await.expect(201);
    }
    let stale = format!("{}/-rev/1-0", path("left"));
    node.delete(stale).by("maintainer").send().await.expect(409);
    let target = format!("{}/-rev/{}", path("left"), revision(&node, "left").await);
    node.delete(&target).by("developer").send().await.expect(403);
    node.delete(&target).by("maintainer").send().await.expect(200);
    node.get(path("left")).by("reporter").send().await.expect(404);
    node.get(format!("{}/-/left-1.0.0.tgz", path("left")))
        .by("reporter")
        .send()
        .await
        .expect(404);
    node.delete(&target).by("maintainer").send().await.expect(404);
    Draft::new("left", "1.1.0").publish(&node).await.expect(409);
    Draft::new("left", "1.2.0").publish(&node).await.expect(201);
    assert_eq!(versions(&full(&node, "left").await), ["1.2.0"]);
}

#[tokio::test]
async fn unpublishing_the_only_version_by_a_document_removes_the_package() {
    let node = TestNode::start().await;
    Draft::new("left", "1.0.0").publish(&node).await.expect(201);
    let mut edited = full(&node, "left").await;
    edited["versions"] = json!({});
    let target = format!("{}/-rev/{}", path("left"), edited["_rev"].as_str().unwrap());
    node.put(&target)
        .by("maintainer")
        .json(&edited)
        .send()
        .await
        .expect(200);
    node.get(path("left")).by("reporter").send().await.expect(404);
    Draft::new("left", "1.0.0").publish(&node).await.expect(409);
}

#[tokio::test]
async fn tags_are_listed_moved_and_removed() {
    let node = TestNode::start().await;
    Draft::new("left", "1.0.0").publish(&node).await.expect(201);
    Draft::new("left", "1.1.0").publish(&node).await.expect(201);
    let tags = format!("{BASE}/-/package/left/dist-tags");
    let list = async || node.get(&tags).by("reporter").send().await.expect(200).json();
    assert_eq!(list().await, json!({"latest": "1.1.0"}));
    let put = async |tag: &str, version: Value, caller: &str| {
        node.put(format!("{tags}/{tag}"))
            .by(caller)
            .json(&version)
            .send()
            .await
    };
    put("stable", json!("1.0.0"), "developer").await.expect(201);
    node.post(format!("{tags}/beta"))
        .by("developer")
        .json(&json!("1.1.0"))
        .send()
        .await
        .expect(201);
    assert_eq!(
        list().await,
        json!({"latest": "1.1.0", "stable": "1.0.0", "beta": "1.1.0"})
    );
    assert_eq!(full(&node, "left").await["dist-tags"], list().await);
    // The packages API shows them with the version that they lead to.
    let packages = node
        .get("/api/v4/projects/1/packages?order_by=version")
        .by("reporter");
    let packages = packages.send().await.expect(200).json();
    let shown = |version: usize| {
        let tags = packages[version]["tags"].as_array().unwrap();
        tags.iter().map(|tag| tag["name"].clone()).collect::<Value>()
    };
    assert_eq!(
        (shown(0), shown(1)),
        (json!(["stable"]), json!(["beta", "latest"]))
    );
    put("stable", json!("1.1.0"), "developer").await.expect(201);
    put("stable", json!("9.9.9"), "developer").await.expect(404);
    put("stable", json!("^1"), "developer").await.expect(400);
    put("stable", json!({"version": "1.0.0"}), "developer")
        .await
        .expect(400);
    put("1.x", json!("1.0.0"), "developer").await.expect(400);
    put("stable", json!("1.0.0"), "reporter").await.expect(403);
    node.put(format!("{BASE}/-/package/right/dist-tags/beta"))
        .by("developer")
        .json(&json!("1.0.0"))
        .send()
        .await
        .expect(404);
    node.delete(format!("{tags}/stable"))
        .by("reporter")
        .send()
        .await
        .expect(403);
    node.delete(format!("{tags}/stable"))
        .by("developer")
        .send()
        .await
        .expect(200);
    node.delete(format!("{tags}/stable"))
        .by("developer")
        .send()
        .await
        .expect(404);
    node.delete(format!("{tags}/latest"))
        .by("developer")
        .send()
        .await
        .expect(403);
    assert_eq!(list().await, json!({"latest": "1.1.0", "beta": "1.1.0"}));
    node.get(format!("{BASE}/-/package/right/dist-tags"))
        .by("reporter")
        .send()
        .await
        .expect(404);
}

#[tokio::test]
async fn stars_and_owners_come_without_versions() {
    let node = TestNode::start().await;
    Draft::new("left", "1.0.0").publish(&node).await.expect(201);
    let star = async |caller: &str, users: Value| {
        let document = json!({"_id": "left", "_rev": revision(&node, "left").await, "users": users});
        node.put(path("left")).by(caller).json(&document).send().await
    };
    // A reporter may not publish, but star; only for itself.
    star("reporter", json!({"reporter": true, "owner": true}))
        .await
        .expect(200);
    star("developer", json!({"developer": true})).await.expect(200);
    assert_eq!(
        full(&node, "left").await["users"],
        json!({"developer": true, "reporter": true})
    );
    star("reporter", json!({"developer": true})).await.expect(200);
    assert_eq!(full(&node, "left").await["users"], json!({"developer": true}));
    star("anonymous", json!({"x": true})).await.expect(401);
    star("deploy-write", json!({"x": true})).await.expect(403);

    let rights = format!("{BASE}/-/package/left/collaborators");
    let owners = async |revision: &str, maintainers: Value| {
        let document = json!({"_id": "left", "_rev": revision, "maintainers": maintainers});
        let target = format!("{}/-rev/{revision}", path("left"));
        node.put(target).by("developer").json(&document).send().await
    };
    let current = revision(&node, "left").await;
    let two = json!([{"name": "developer", "email": ""}, {"name": "owner", "email": "o@cairn.example"}]);
    owners(&current, two.clone()).await.expect(200);
    assert_eq!(full(&node, "left").await["maintainers"], two);
    let listed = node.get(&rights).by("reporter").send().await.expect(200);
    assert_eq!(listed.json(), json!({"developer": "write", "owner": "write"}));
    owners(&current, two).await.expect(409);
    owners(&revision(&node, "left").await, json!([]))
        .await
        .expect(400);
}

#[tokio::test]
async fn access_follows_the_project() {
    let node = TestNode::start().await;
    Draft::new("left", "1.0.0").publish(&node).await.expect(201);
    let seen = node
        .get(format!("{BASE}/-/package/left/visibility"))
        .by("reporter")
        .send()
        .await
        .expect(200);
    assert_eq!(seen.json(), json!({"public": false}));
    let set = async |body: Value| {
        node.post(format!("{BASE}/-/package/left/access"))
            .by("developer")
            .json(&body)
            .send()
            .await
    };
    set(json!({"access": "restricted"})).await.expect(200);
    set(json!({"access": "public"})).await.expect(403);
    set(json!({"access": "secret"})).await.expect(400);
    set(json!({"publish_requires_tfa": false})).await.expect(200);
    set(json!({"publish_requires_tfa": true})).await.expect(403);
    node.post(format!("{BASE}/-/package/right/access"))
        .by("developer")
        .json(&json!({}))
        .send()
        .await
        .expect(404);
}

#[tokio::test]
async fn a_version_that_the_rest_api_deleted_leaves_no_tag_behind() {
    use crate::registry::package::Edit;
    let node = TestNode::start().await;
    for (version, tag) in [("1.0.0", "latest"), ("1.1.0", "latest"), ("1.2.0-rc.1", "next")] {
        Draft::new("left", version)
            .tag(tag)
            .publish(&node)
            .await
            .expect(201);
    }
    let delete = async |version: &str| {
        let mut parts = axum::http::Request::get("/").body(()).unwrap().into_parts().0;
        let bearer = format!("Bearer {}", node.token("maintainer"));
        parts.headers.insert("authorization", bearer.parse().unwrap());
        let access = crate::auth::Access::of(node.app(), &parts, crate::auth::action::Freshness::Latest)
            .await
            .unwrap();
        let scope = access
            .project::<crate::auth::Delete>(&"1".parse().unwrap())
            .await
            .unwrap()
            .scope(crate::formats::npm::NAME);
        scope
            .transact(async |mut txn| {
                let mut edit = Edit::new(&scope, &mut txn);
                let package = edit.package("left").await?.unwrap();
                let found = edit.version(&package, version).await?.unwrap();
                edit.delete_version(&package, &found).await?;
                Ok((txn, ()))
            })
            .await
            .unwrap();
    };
    let before = node.get(path("left")).by("reporter").send().await.expect(200);
    delete("1.1.0").await;
    let request = node
        .get(path("left"))
        .by("reporter")
        .header("if-none-match", before.header("etag"));
    let packument = request.send().await.expect(200).json();
    assert_eq!(
        packument["dist-tags"],
        json!({"latest": "1.0.0", "next": "1.2.0-rc.1"})
    );
    Draft::new("left", "1.1.1")
        .tag("patch")
        .publish(&node)
        .await
        .expect(201);
    let tags = full(&node, "left").await["dist-tags"].clone();
    assert_eq!(
        tags,
        json!({"latest": "1.1.1", "next": "1.2.0-rc.1", "patch": "1.1.1"})
    );
}

#[tokio::test]
async fn changes_of_wrong_shape_are_refused() {
    let node = TestNode::start().await;
    Draft::new("left", "1.0.0").publish(&node).await.expect(201);
    let current = full(&node, "left").await;
    let put = async |tail: &str, document: Value| {
        node.put(format!("{}{tail}", path("left")))
            .by("maintainer")
            .json(&document)
            .send()
            .await
    };
    let rev = format!("/-rev/{}", current["_rev"].as_str().unwrap());
    put("", json!({"_id": "left"})).await.expect(400);
    put("", json!({"_id": "right", "users": {}})).await.expect(422);
    put("", json!({"_id": "left", "versions": {"9.9.9": {}}}))
        .await
        .expect(400);
    put(&rev, json!({"_id": "left"})).await.expect(400);
    put(&rev, json!({"_id": "right", "versions": {}}))
        .await
        .expect(422);
    put(&rev, json!({"versions": []})).await.expect(400);
    put("/-rev/nonsense", current.clone()).await.expect(409);
    let mut edited = current.clone();
    edited["versions"]["1.0.0"]["deprecated"] = json!("x".repeat(2000));
    put("", edited.clone()).await.expect(422);
    edited["versions"]["1.0.0"]["deprecated"] = json!("\u{1b}]0;");
    put("", edited.clone()).await.expect(422);
    edited["versions"]["1.0.0"]["deprecated"] = json!(["no"]);
    put("", edited).await.expect(400);
    assert_eq!(full(&node, "left").await, current);
    // A tarball where none belongs.
    put(&rev, Draft::new("left", "1.1.0").document())
        .await
        .expect(403);
}

#[tokio::test]
async fn a_protected_package_is_changed_by_those_who_may_and_starred_by_all() {
    let node = TestNode::start().await;
    Draft::new("@acme/core", "1.0.0").publish(&node).await.expect(201);
    let rule = json!({
        "package_name_pattern": "@acme/*",
        "package_type": "npm",
        "minimum_access_level_for_push": "maintainer",
        "minimum_access_level_for_delete": "owner",
    });
    node.protect("packages", &rule).await.expect(201);
    let two = Draft::new("@acme/core", "2.0.0");
    for caller in ["developer", "deploy-write"] {
        let refused = two.publish_by(&node, caller).await.expect(403);
        assert_eq!(refused.json()["error"], "Package protected.", "{caller}");
    }
    two.publish_by(&node, "maintainer").await.expect(201);
    Draft::new("free", "1.0.0")
        .publish_by(&node, "deploy-write")
        .await
        .expect(201);
    let tag = format!("{BASE}/-/package/@acme%2fcore/dist-tags/latest");
    let move_tag = |caller: &str| node.put(&tag).by(caller).json(&json!("1.0.0")).send();
    move_tag("developer").await.expect(403);
    move_tag("maintainer").await.expect(201);
    let rev = revision(&node, "@acme/core").await;
    let unpublish = |caller: &str| {
        let target = format!("{}/-rev/{rev}", path("@acme/core"));
        node.delete(target).by(caller).send()
    };
    unpublish("maintainer").await.expect(403);
    let star = json!({ "_id": "@acme/core", "users": { "developer": true } });
    node.put(path("@acme/core"))
        .by("developer")
        .json(&star)
        .send()
        .await
        .expect(200);
    let rev = revision(&node, "@acme/core").await;
    let target = format!("{}/-rev/{rev}", path("@acme/core"));
    node.delete(target).by("owner").send().await.expect(200);
}

#[tokio::test]
async fn a_cleanup_policy_spares_what_a_tag_points_to() {
    let node = TestNode::start().await;
    Draft::new("foo", "1.0.0")
        .tag("old")
        .publish(&node)
        .await
        .expect(201);
    for version in ["1.1.0", "1.2.0", "1.3.0"] {
        Draft::new("foo", version).publish(&node).await.expect(201);
    }
    let base = "/api/cairn/v1/projects/1/packages/cleanup_policy";
    let policy = json!({ "enabled": true, "keep_n": 2 });
    node.put(base)
        .by("maintainer")
        .json(&policy)
        .send()
        .await
        .expect(200);
    let run = format!("{base}/run");
    node.post(run).by("maintainer").send().await.expect(202);
    fixture::clean_up(node.app()).await;
    let packument = full(&node, "foo").await;
    assert_eq!(versions(&packument), ["1.0.0", "1.2.0", "1.3.0"]);
    assert_eq!(
        packument["dist-tags"],
        json!({ "latest": "1.3.0", "old": "1.0.0" })
    );
}
