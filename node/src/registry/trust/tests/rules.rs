//! Rules: who makes them, and what they may say.

use super::*;

#[tokio::test]
async fn rules_are_made_by_maintainers_of_projects_and_owners_of_groups() {
    let ci = Ci::start().await;
    let rule = json!({
        "name": "release", "issuer": "https://ci.example", "claims": {"project_path": "acme/demo", "id": 7},
        "scopes": ["write_registry"], "lifetime_seconds": 3600,
    });
    for (caller, project, group) in [
        ("anonymous", 404, 404),
        ("stranger", 404, 404),
        ("developer", 403, 403),
        ("reading", 403, 403),
        ("deploy-write", 401, 401),
        ("maintainer", 201, 403),
        ("owner", 201, 201),
    ] {
        for (target, status) in [(PROJECT_RULES, project), (GROUP_RULES, group)] {
            let answer = ci.node.post(target).by(caller).json(&rule).send().await;
            assert_eq!(answer.status, status, "{caller} {target}");
        }
    }
    let listed = ci
        .node
        .get(PROJECT_RULES)
        .by("maintainer")
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let first = &listed[0];
    assert_eq!(first["claims"], json!({"project_path": "acme/demo", "id": "7"}));
    assert_eq!(
        (&first["audience"], &first["lifetime_seconds"]),
        (&json!(HOST), &json!(3600))
    );
    // A rule of one place is none of another.
    let of_group = ci
        .node
        .get(GROUP_RULES)
        .by("owner")
        .send()
        .await
        .expect(200)
        .json()[0]["id"]
        .clone();
    let foreign = format!("{PROJECT_RULES}/{of_group}");
    ci.node.get(&foreign).by("owner").send().await.expect(404);
    ci.node.delete(&foreign).by("owner").send().await.expect(404);
}

#[tokio::test]
async fn rules_that_would_let_everybody_in_are_refused() {
    let ci = Ci::start().await;
    for (more, part) in [
        (json!({"claims": {}}), "must ask for something"),
        (json!({"claims": {"repository": "*"}}), "must ask for something"),
        (json!({"claims": {"aud": "x"}}), "says nothing of the job"),
        (json!({"claims": {"repository": ["a"]}}), "neither text"),
        (json!({"claims": {"repository": "a*b"}}), "not its last character"),
        (json!({"issuer": "http://ci.example"}), "https://"),
        (json!({"issuer": "https://169.254.169.254"}), "never asked"),
        (json!({"scopes": ["api"]}), "scopes"),
        (json!({"scopes": []}), "scopes"),
        (json!({"lifetime_seconds": 3601}), "between 60 and 3600"),
        (json!({"lifetime_seconds": 0}), "between 60 and 3600"),
        (json!({"package_type": "nothing"}), "package_type"),
        (json!({"package_name_pattern": "x"}), "needs a package_type"),
        (json!({"name": ""}), "name"),
        (json!({"audience": ""}), "audience"),
        (json!({"creator": 1}), "unknown field"),
        (
            json!({"place": {"root": 1, "kind": "group", "id": 1}}),
            "unknown field",
        ),
    ] {
        let mut rule = json!({
            "name": "x", "issuer": "https://ci.example", "claims": {"sub": "x"}, "scopes": ["read_registry"],
        });
        rule.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let refused = ci
            .node
            .post(PROJECT_RULES)
            .by("owner")
            .json(&rule)
            .send()
            .await
            .expect(400);
        assert!(refused.text().contains(part), "{} / {part}", refused.text());
    }
}

#[tokio::test]
async fn operators_say_which_issuers_rules_may_name() {
    let issuer = TestIssuer::start().await;
    let settings = HttpSettings {
        issuers: vec![
            "https://ci.example".parse().unwrap(),
            "https://gitlab.example/*".parse().unwrap(),
        ],
        ..HttpSettings::default()
    };
    let node = TestNode::with(settings).await;
    for (issuer, status) in [
        ("https://ci.example", 201),
        ("https://ci.example/", 400),
        ("https://gitlab.example/a", 201),
        (issuer.url(), 400),
    ] {
        let rule =
            json!({"name": "x", "issuer": issuer, "claims": {"sub": "x"}, "scopes": ["read_registry"]});
        let answer = node.post(PROJECT_RULES).by("owner").json(&rule).send().await;
        assert_eq!(answer.status, status, "{issuer}");
    }
    // A rule that was made before is not followed.
    let (ci, _) = Ci::with_rule(json!({})).await;
    ci.exchange(&ci.id_token(json!({}))).await.expect(200);
    let settings = HttpSettings {
        issuers: Vec::new(),
        ..HttpSettings::default()
    };
    let stricter = ci.node.sibling_with(settings);
    let shown = json!({"token": ci.id_token(json!({}))});
    exchange(&stricter, shown).await.expect(400);
}
