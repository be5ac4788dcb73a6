//! Who may do what, members of groups, and stars.

use super::*;

async fn ask(node: &TestNode, caller: &str, tail: &str) -> Answer {
    node.get(format!("{BASE}/-/{tail}")).by(caller).send().await
}

#[tokio::test]
async fn packages_are_listed_with_what_the_caller_may_do() {
    let node = TestNode::start().await;
    for name in ["left", "@acme/right", "@other/right"] {
        Draft::new(name, "1.0.0").publish(&node).await.expect(201);
    }
    furnish(&node, 2).await;
    for (caller, right) in [("reporter", "read"), ("developer", "write"), ("reading", "read")] {
        let of_scope = ask(&node, caller, "org/acme/package").await.expect(200);
        assert_eq!(of_scope.json(), json!({"@acme/right": right}), "{caller}");
    }
    let own = ask(&node, "developer", "user/Developer/package")
        .await
        .expect(200);
    let all = json!({"@acme/right": "write", "@other/right": "write", "left": "write"});
    assert_eq!(own.json(), all);
    let of_deploy = ask(&node, "deploy-read", "user/deploy-read/package")
        .await
        .expect(200);
    assert_eq!(of_deploy.json()["left"], "read");
    // A group shows what is in all its projects; only some of them may be written to.
    let target = "/api/v4/groups/acme/-/packages/npm/-/user/guest/package";
    let own = node.get(target).by("guest").send().await.expect(200);
    assert_eq!(own.json(), json!({"hello": "read"}));

    for (caller, tail, status) in [
        ("developer", "org/none/package", 404),
        ("developer", "org/..%2F/package", 400),
        ("developer", "user/none/package", 404),
        // What others may do is not told, whether they are known or not.
        ("developer", "user/owner/package", 404),
        ("stranger", "user/stranger/package", 404),
        ("guest", "user/guest/package", 403),
        ("anonymous", "user/guest/package", 401),
        ("anonymous", "org/acme/package", 401),
    ] {
        ask(&node, caller, tail).await.expect(status);
    }
}

#[tokio::test]
async fn an_organization_is_a_group_and_has_no_teams() {
    let node = TestNode::start().await;
    let roster = ask(&node, "reporter", "org/acme/user").await.expect(200).json();
    assert_eq!(
        (&roster["owner"], &roster["guest"], roster.get("stranger")),
        (&json!("owner"), &json!("guest"), None)
    );
    assert_eq!(
        ask(&node, "reporter", "org/acme/team?format=cli")
            .await
            .expect(200)
            .json(),
        json!([])
    );
    for (caller, tail, status) in [
        ("reporter", "org/none/user", 404),
        ("reporter", "org/other/user", 404),
        ("reporter", "org/.x/user", 404),
        ("deploy-read", "org/acme/user", 404),
        ("stranger", "org/acme/user", 404),
        ("anonymous", "org/acme/user", 401),
        ("reporter", "team/acme/devs/user?format=cli", 404),
        ("reporter", "team/acme/devs/package", 404),
    ] {
        ask(&node, caller, tail).await.expect(status);
    }
    let before = ask(&node, "owner", "org/acme/user").await.json();
    for (method, tail, status) in [
        (Method::PUT, "org/acme/user", 403),
        (Method::DELETE, "org/acme/user", 403),
        (Method::PUT, "org/acme/team", 403),
        (Method::DELETE, "team/acme/devs", 404),
        (Method::PUT, "team/acme/devs/user", 404),
        (Method::DELETE, "team/acme/devs/user", 404),
        (Method::PUT, "team/acme/devs/package", 404),
        (Method::DELETE, "team/acme/devs/package", 404),
    ] {
        let request = node.request(method, format!("{BASE}/-/{tail}")).by("owner");
        let body = json!({"user": "stranger", "role": "owner", "name": "devs", "package": "left"});
        let answer = request.json(&body).send().await.expect(status);
        assert!(answer.json()["error"].is_string());
    }
    assert_eq!(ask(&node, "owner", "org/acme/user").await.json(), before);
}

#[tokio::test]
async fn the_stars_of_a_user_are_listed() {
    let node = TestNode::start().await;
    for name in ["left", "@acme/right"] {
        Draft::new(name, "1.0.0").publish(&node).await.expect(201);
        let document = json!({"_id": name, "users": {"reporter": true}});
        node.put(path(name))
            .by("reporter")
            .json(&document)
            .send()
            .await
            .expect(200);
    }
    let stars = async |key: &str| ask(&node, "developer", &format!("_view/starredByUser?key={key}")).await;
    let starred = stars("%22reporter%22").await.expect(200).json();
    let names: Vec<_> = starred["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["value"])
        .collect();
    assert_eq!(names, ["@acme/right", "left"]);
    for nobody in ["%22developer%22", "%22%22", "%22reporter%22%22"] {
        let answer = stars(nobody).await;
        let empty = answer.status == 200 && answer.json()["rows"] == json!([]);
        assert!(empty || answer.status == 400, "{nobody}: {answer:?}");
    }
    for wrong in ["reporter", "%5B%5D", "1", ""] {
        stars(wrong).await.expect(400);
    }
    ask(&node, "developer", "_view/starredByUser").await.expect(400);
    ask(&node, "anonymous", "_view/starredByUser?key=%22reporter%22")
        .await
        .expect(401);
}
