//! npm in a job, which has no secret but what its service says of it.

use super::*;
use crate::testing::issuer::TestIssuer;

/// An npm in a job, with no token in its configuration.
async fn npm_in_a_job(variables: &[(&str, &str)]) -> Desk {
    let mut npm = Desk::new("npm-11", "npm").await;
    for (name, value) in variables {
        npm.client = npm.client.with(name, value);
    }
    let registry = npm.cluster.registry(0, At::Project);
    npm.write(".npmrc", format!("registry={registry}\n"));
    npm
}

#[tokio::test(flavor = "multi_thread")]
async fn npm_publishes_from_a_job_of_a_service_like_github() {
    let issuer = TestIssuer::start().await;
    issuer.run_job(json!({"repository": "acme/demo", "ref": "refs/tags/v1"}));
    let url = format!("{}/token?x=1", issuer.url());
    let npm = npm_in_a_job(&[
        ("CI", "true"),
        ("GITHUB_ACTIONS", "true"),
        ("ACTIONS_ID_TOKEN_REQUEST_URL", &url),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "t"),
    ])
    .await;
    let (name, package) = (format!("@acme/{}", npm.unique("trusted")), npm.folder("package"));
    write_package(&package, &name, "1.0.0", json!({}));
    npm.fails(&package, &["publish"], 1, &["ENEEDAUTH"]).await;
    let rule = npm
        .cluster
        .trust(json!({
            "name": name,
            "issuer": issuer.url(),
            "claims": {"repository": "acme/demo", "ref": "refs/tags/*"},
            "scopes": ["read_package_registry", "write_package_registry"],
            "package_type": "npm",
            "package_name_pattern": name,
        }))
        .await;
    npm.ok(&package, &["publish"]).await;
    // Another name is none of the job's business, and another branch has none here.
    let other = npm.folder("other");
    write_package(&other, &format!("{name}-2"), "1.0.0", json!({}));
    npm.fails(&other, &["publish"], 1, &["ENEEDAUTH"]).await;
    issuer.run_job(json!({"repository": "acme/demo", "ref": "refs/heads/main"}));
    write_package(&package, &name, "1.1.0", json!({}));
    npm.fails(&package, &["publish"], 1, &["ENEEDAUTH"]).await;
    issuer.run_job(json!({"repository": "acme/demo", "ref": "refs/tags/v2"}));
    npm.cluster.distrust(rule).await;
    npm.fails(&package, &["publish"], 1, &["ENEEDAUTH"]).await;

    npm.sign_in(2, At::Project, &npm.cluster.token);
    let application = npm.application("application");
    npm.ok(&application, &["install", &name]).await;
    assert_eq!(installed(&application, &name), index(&name, "1.0.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn npm_publishes_from_a_job_of_a_service_like_gitlab() {
    let issuer = TestIssuer::start().await;
    let now = cairn_cluster::Seams::system().clock.now();
    let job = json!({"project_path": "acme/demo", "ref_protected": "true"});
    let id_token = issuer.sign(&issuer.claims(now, "npm:127.0.0.1", &job));
    let npm = npm_in_a_job(&[("CI", "true"), ("GITLAB_CI", "true"), ("NPM_ID_TOKEN", &id_token)]).await;
    let (name, package) = (npm.unique("trusted"), npm.folder("package"));
    npm.cluster
        .trust(json!({
            "name": name,
            "issuer": issuer.url(),
            "claims": {"project_path": "acme/demo", "ref_protected": "true"},
            "scopes": ["read_package_registry", "write_package_registry"],
        }))
        .await;
    write_package(&package, &name, "1.0.0", json!({}));
    npm.ok(&package, &["publish"]).await;
    // The job was given one token, and that was used.
    write_package(&package, &name, "1.1.0", json!({}));
    npm.fails(&package, &["publish"], 1, &["ENEEDAUTH"]).await;
}
