//! Projects, groups and the instance, by all the URLs that they have.

use super::*;

async fn publish_to(node: &TestNode, project: u64, archive: Vec<u8>) -> Value {
    let target = format!("/api/v4/projects/{project}/packages/composer");
    node.put(target)
        .by("root")
        .body(archive)
        .send()
        .await
        .expect(201)
        .json()
}

#[tokio::test]
async fn a_package_is_served_below_the_url_that_it_is_asked_by() {
    let node = TestNode::start().await;
    let archive = package("acme/foo", "1.0");
    publish_to(&node, 1, archive.clone()).await;
    let group = "/api/v4/groups/1/-/packages/composer";
    for (base, expected) in [
        (BASE, BASE),
        (
            "/api/v4/projects/acme%2Fdemo/packages/composer",
            "/api/v4/projects/acme%2Fdemo/packages/composer",
        ),
        (GROUP, GROUP),
        (INSTANCE, INSTANCE),
        // As GitLab has it, and as Gitea.
        ("/api/v4/group/acme/-/packages/composer", group),
        ("/api/packages/acme%2Fdemo/composer", BASE),
    ] {
        let root = get_at(&node, base, "packages.json").await.expect(200).json();
        assert_eq!(
            root["metadata-url"],
            format!("http://cairn.example{expected}/p2/%package%.json"),
            "{base}"
        );
        let document = get_at(&node, base, "p2/acme/foo.json").await.expect(200).json();
        let target = dist(&document["packages"]["acme/foo"][0]);
        assert!(
            target.starts_with(&format!("{expected}/files/acme/foo/1.0.0/")),
            "{target}"
        );
        let fetched = node.get(target).by("reporter").send().await.expect(200);
        assert_eq!(fetched.body, archive);
        let file = format!("files/acme/foo/1.0.0/{}.zip", sha1(&archive));
        get_at(&node, base, &file).await.expect(200);
        get_at(&node, base, "p2/acme/bar.json").await.expect(404);
        let list = get_at(&node, base, "list.json").await.expect(200).json();
        assert_eq!(list["packageNames"], json!(["acme/foo"]));
    }
    let gitea = node.put("/api/packages/1/composer?version=2.0").by("developer");
    gitea.body(package("acme/foo", "2.0")).send().await.expect(201);
    for base in [GROUP, INSTANCE, "/api/v4/group/acme/-/packages/composer"] {
        let target = format!("{base}/packages.json");
        let refused = node
            .put(target)
            .by("root")
            .body(archive.clone())
            .send()
            .await
            .expect(405);
        assert_eq!(message(&refused), "packages are published to a project");
        node.put(base)
            .by("root")
            .body(archive.clone())
            .send()
            .await
            .expect(404);
    }
}

#[tokio::test]
async fn in_a_group_a_name_belongs_to_the_project_that_had_it_first() {
    let node = TestNode::start().await;
    publish_to(&node, 2, package("acme/foo", "1.0")).await;
    let alone = get_at(&node, GROUP, "p2/acme/foo.json").await.expect(200);
    assert_ne!(alone.header("last-modified"), "");
    publish_to(&node, 1, package("acme/foo", "2.0")).await;
    publish_to(&node, 1, package("acme/bar", "2.0")).await;
    for base in [GROUP, INSTANCE] {
        let document = get_at(&node, base, "p2/acme/foo.json").await.expect(200);
        let versions = document.json()["packages"]["acme/foo"]
            .as_array()
            .unwrap()
            .clone();
        assert_eq!(
            (versions.len(), &versions[0]["version"]),
            (1, &json!("1.0")),
            "{base}"
        );
        assert_eq!(
            document.header("last-modified"),
            "",
            "it might be the second of another project"
        );
        let found = get_at(&node, base, "search.json?q=foo").await.expect(200).json();
        assert_eq!(found["results"].as_array().unwrap().len(), 1);
        let list = get_at(&node, base, "list.json").await.expect(200).json();
        assert_eq!(list["packageNames"], json!(["acme/bar", "acme/foo"]));
        let other = format!("files/acme/foo/2.0.0/{}.zip", sha1(&package("acme/foo", "2.0")));
        get_at(&node, base, &other).await.expect(404);
    }
}

#[tokio::test]
async fn whoever_may_see_everything_without_a_token_is_never_asked_for_one() {
    let node = TestNode::start().await;
    publish_to(&node, 2, package("acme/foo", "1.0")).await;
    let open = "/api/v4/projects/2/packages/composer";
    let ask = async |target: String| node.get(target).send().await;
    ask(format!("{open}/p2/acme/foo.json")).await.expect(200);
    ask(format!("{open}/p2/acme/bar.json")).await.expect(404);
    ask(format!(
        "{open}/files/acme/foo/1.0.0/{}.zip",
        sha1(&package("acme/foo", "1.0"))
    ))
    .await
    .expect(200);
    // What is private is 401 with a challenge, whether it is there or not.
    for target in [
        "p2/acme/foo.json",
        "p2/acme/bar.json",
        "packages.json",
        "files/a/b/1.0/x.zip",
    ] {
        for base in [BASE, "/api/v4/projects/99/packages/composer", GROUP] {
            let refused = ask(format!("{base}/{target}")).await.expect(401);
            assert_eq!(
                refused.header("www-authenticate"),
                "Basic realm=\"cairn\"",
                "{base}/{target}"
            );
        }
    }
}

#[tokio::test]
async fn tokens_are_taken_as_composer_sends_them() {
    let node = TestNode::start().await;
    publish_to(&node, 1, package("acme/foo", "1.0")).await;
    let target = format!("{BASE}/p2/acme/foo.json");
    let token = node.token("reporter").to_owned();
    node.get(&target)
        .basic("anybody", &token)
        .send()
        .await
        .expect(200);
    node.get(&target).bearer(&token).send().await.expect(200);
    node.get(&target)
        .header("private-token", &token)
        .send()
        .await
        .expect(200);
    node.get(&target)
        .basic("anybody", "wrong")
        .send()
        .await
        .expect(401);
}
