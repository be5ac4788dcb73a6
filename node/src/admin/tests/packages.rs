//! Packages and their files.

use super::*;

#[tokio::test]
async fn packages_are_listed_shown_and_deleted() {
    let node = TestNode::start().await;
    for path in [
        "tool/1.0.0/a",
        "tool/1.0.0/b",
        "tool/1.1.0/a",
        "Other/1/x",
        "gone/1/x",
    ] {
        publish(&node, 1, path).await;
    }
    publish(&node, 1, "secret/1/x?status=hidden").await;
    node.delete("/api/v4/projects/1/packages/generic/gone")
        .by("maintainer")
        .send()
        .await
        .expect(204);

    let list = async |query: &str| {
        let answer = node
            .get(format!("/api/v4/projects/1/packages?{query}"))
            .by("reporter")
            .send()
            .await;
        answer.expect(200)
    };
    let all = list("").await;
    assert_eq!(names(&all, "name"), ["tool", "tool", "Other"]);
    assert_eq!(all.header("x-total"), "3");
    let first = &all.json()[0];
    assert_eq!(
        (first["version"].as_str(), first["package_type"].as_str()),
        (Some("1.0.0"), Some("generic"))
    );
    assert_eq!(
        first["_links"],
        json!({ "web_path": format!("/acme/demo/-/packages/{}", first["id"]) })
    );
    assert_eq!(first["last_downloaded_at"], Value::Null);
    for (query, expected) in [
        ("sort=desc", vec!["Other", "tool", "tool"]),
        ("order_by=name&sort=desc", vec!["tool", "tool", "Other"]),
        ("package_name=OO", vec!["tool", "tool"]),
        ("package_name=%25", vec![]),
        ("package_version=1.1.0", vec!["tool"]),
        ("package_type=npm", vec![]),
        ("package_type=conan", vec![]),
        ("status=processing", vec![]),
        ("status=hidden", vec!["secret"]),
        ("per_page=1&page=3", vec!["Other"]),
        ("page=99", vec![]),
    ] {
        assert_eq!(names(&list(query).await, "name"), expected, "{query}");
    }
    for wrong in [
        "package_type=floppy",
        "status=lost",
        "order_by=size",
        "sort=up",
        "page=x",
    ] {
        let target = format!("/api/v4/projects/1/packages?{wrong}");
        let answer = node.get(target).by("reporter").send().await.expect(400);
        assert!(answer.json()["error"].is_string(), "{wrong}");
    }
    let page = list("pagination=keyset&per_page=2").await;
    assert_eq!((names(&page, "name").len(), page.header("x-total")), (2, ""));
    let link = page.header("link");
    let next = link
        .trim_start_matches("<http://cairn.example")
        .split('>')
        .next()
        .unwrap()
        .to_owned();
    let rest = node.get(next).by("reporter").send().await.expect(200);
    assert_eq!(
        (names(&rest, "name"), rest.header("link")),
        (vec!["Other".to_owned()], "")
    );

    let id = &first["id"];
    let shown = node
        .get(format!("/api/v4/projects/1/packages/{id}"))
        .by("maintainer")
        .send()
        .await;
    let shown = shown.expect(200).json();
    assert_eq!(shown["versions"][0]["version"], "1.1.0");
    let delete_path = shown["_links"]["delete_api_path"].as_str().unwrap();
    assert_eq!(
        delete_path,
        format!("http://cairn.example/api/v4/projects/1/packages/{id}")
    );

    let files = node
        .get(format!("/api/v4/projects/1/packages/{id}/package_files"))
        .by("reporter")
        .send()
        .await;
    let files = files.expect(200);
    assert_eq!(names(&files, "file_name"), ["a", "b"]);
    let file = &files.json()[0]["id"];
    let target = format!("/api/v4/projects/1/packages/{id}/package_files/{file}");
    let got = node
        .get(format!("{target}/download"))
        .by("reporter")
        .send()
        .await
        .expect(200);
    assert_eq!(got.text(), "bytes");
    node.delete(&target).by("developer").send().await.expect(403);
    node.delete(&target).by("maintainer").send().await.expect(204);
    node.delete(&target).by("maintainer").send().await.expect(404);
    node.get("/api/v4/projects/1/packages/generic/tool/1.0.0/a")
        .by("reporter")
        .send()
        .await
        .expect(404);

    // Numbers of another project lead nowhere.
    for foreign in [
        format!("/api/v4/projects/2/packages/{id}"),
        "/api/v4/projects/1/packages/99999".into(),
    ] {
        node.get(&foreign).by("owner").send().await.expect(404);
        node.delete(&foreign).by("owner").send().await.expect(404);
    }
    let old = "Wed, 01 Jul 2020 12:00:00 GMT";
    let target = format!("/api/v4/projects/1/packages/{id}");
    node.delete(&target)
        .by("maintainer")
        .header("if-unmodified-since", old)
        .send()
        .await
        .expect(412);
    node.delete(&target).by("maintainer").send().await.expect(204);
    node.get(&target).by("reporter").send().await.expect(404);
    assert_eq!(names(&list("").await, "name"), ["tool", "Other"]);
}

#[tokio::test]
async fn a_group_lists_what_the_caller_may_read_of_its_projects() {
    let node = TestNode::start().await;
    publish(&node, 1, "private/1/x").await;
    publish(&node, 2, "public/1/x").await;
    publish(&node, 3, "internal/1/x").await;
    let list = async |caller: &str, query: &str| {
        let target = format!("/api/v4/groups/acme/packages?order_by=project_path&{query}");
        node.get(target).by(caller).send().await
    };
    list("anonymous", "").await.expect(404);
    list("stranger", "").await.expect(404);
    assert_eq!(
        names(&list("guest", "").await.expect(200), "name"),
        ["internal", "public"]
    );
    let all = list("reporter", "").await.expect(200);
    assert_eq!(names(&all, "name"), ["private", "internal", "public"]);
    assert_eq!(
        names(&all, "project_path"),
        ["acme/demo", "acme/inside", "acme/open"]
    );
    assert_eq!(
        names(&list("reporter", "package_name=pub").await, "name"),
        ["public"]
    );
}
