//! pnpm, in the last version that leaves publishing to npm, and as it is now.

use super::*;

const PUBLISH: [&str; 2] = ["publish", "--no-git-checks"];

async fn story(name: &'static str) {
    let pnpm = Desk::new(name, "pnpm").await;
    let token = pnpm.cluster.token.as_str();
    let (plain, scoped) = (pnpm.unique("left"), format!("@acme/{}", pnpm.unique("right")));
    pnpm.sign_in(0, At::Project, token);
    let package = pnpm.folder("package");
    pnpm.ok(&package, &["whoami"]).await.says(&pnpm.cluster.username);
    pnpm.ok(&package, &["ping"]).await;
    write_noise(&package);
    write_package(&package, &plain, "1.0.0", json!({}));
    pnpm.ok(&package, &PUBLISH).await;
    std::fs::remove_file(package.join("noise")).unwrap();
    let depends = json!({"dependencies": {plain.clone(): "^1.0.0"}});
    write_package(&package, &scoped, "1.0.0", depends);
    pnpm.ok(&package, &PUBLISH).await;

    pnpm.sign_in(1, At::Project, token);
    let application = pnpm.application("application");
    pnpm.ok(&application, &["add", &scoped, &plain]).await;
    assert_eq!(installed(&application, &scoped), index(&scoped, "1.0.0"));
    has_noise(&application, &plain);
    // The URL of a tarball follows the convention, so the lock file leaves it out.
    let lock = std::fs::read_to_string(application.join("pnpm-lock.yaml")).unwrap();
    assert!(
        lock.contains("integrity: sha512-") && !lock.contains("tarball:"),
        "{lock}"
    );
    uninstall(&application);
    pnpm.sign_in(2, At::Project, token);
    pnpm.ok(&application, &["install", "--frozen-lockfile"]).await;
    installed(&application, &scoped);
    pnpm.audits(&application, &["audit"], "No known vulnerabilities found", &plain)
        .await;

    write_package(&package, &scoped, "1.1.0", json!({}));
    pnpm.ok(&package, &PUBLISH).await;
    pnpm.run(&application, &["outdated"]).await.says("1.1.0");
    pnpm.ok(&application, &["update"]).await;
    assert_eq!(installed(&application, &scoped), index(&scoped, "1.1.0"));
    let tags = ["view", &scoped, "dist-tags", "--json"];
    assert_eq!(pnpm.ok(&package, &tags).await.json(), json!({"latest": "1.1.0"}));
    let one = format!("{scoped}@1.0.0");
    pnpm.ok(&package, &["deprecate", &one, "old"]).await;
    let deprecated = ["view", &one, "deprecated"];
    pnpm.ok(&package, &deprecated).await.says("old");
    pnpm.ok(&package, &["dist-tag", "add", &one, "stable"]).await;
    pnpm.ok(&package, &["dist-tag", "ls", &scoped])
        .await
        .says("stable: 1.0.0");
    pnpm.ok(&package, &["search", &scoped]).await.says(&scoped);
    for (turn, at) in [At::Group, At::Instance].into_iter().enumerate() {
        pnpm.sign_in(turn, at, token);
        let wide = pnpm.application(&format!("wide-{turn}"));
        pnpm.ok(&wide, &["add", &format!("{scoped}@1.1.0")]).await;
        assert_eq!(installed(&wide, &scoped), index(&scoped, "1.1.0"));
    }
    pnpm.sign_in(1, At::Project, token);
    pnpm.ok(&package, &["unpublish", &format!("{scoped}@1.1.0")])
        .await;
    assert_eq!(
        pnpm.ok(&package, &tags).await.json(),
        json!({"latest": "1.0.0", "stable": "1.0.0"})
    );
}

async fn failures(name: &'static str) {
    let pnpm = Desk::new(name, "pnpm").await;
    let (name, package) = (pnpm.unique("refused"), pnpm.folder("package"));
    pnpm.sign_in(0, At::Project, &pnpm.cluster.token);
    write_package(&package, &name, "1.0.0", json!({}));
    pnpm.ok(&package, &PUBLISH).await;
    std::fs::write(package.join("index.js"), "changed").unwrap();
    let duplicate = "cannot publish over the previously published";
    pnpm.fails(&package, &PUBLISH, 1, &[duplicate]).await;

    let application = pnpm.application("application");
    let missing = pnpm.unique("missing");
    pnpm.fails(&application, &["add", &missing], 1, &["404"]).await;

    let broken = pnpm.unique("corrupt");
    write_package(&package, &broken, "1.0.0", json!({}));
    pnpm.ok(&package, &["pack"]).await;
    let tarball = package.join(format!("{broken}-1.0.0.tgz"));
    corrupt(&tarball);
    let publish = ["publish", "--no-git-checks", tarball.to_str().unwrap()];
    pnpm.fails(&package, &publish, 1, &["422"]).await;

    write_package(&package, &name, "2.0.0", json!({}));
    pnpm.sign_in(1, At::Project, WRONG_TOKEN);
    pnpm.fails(&package, &PUBLISH, 1, &["401"]).await;
    pnpm.fails(&application, &["add", &name], 1, &["401"]).await;
    let reading = json!({"name": "reading", "scopes": ["read_api"], "access_level": 40});
    let token = pnpm.cluster.project_token(reading).await;
    pnpm.sign_in(2, At::Project, &token);
    pnpm.fails(&package, &PUBLISH, 1, &["403"]).await;
    pnpm.ok(&application, &["add", &name]).await;
    assert_eq!(installed(&application, &name), index(&name, "1.0.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pnpm_10_publishes_and_installs() {
    story("pnpm-10").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pnpm_12_publishes_and_installs() {
    story("pnpm-12").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pnpm_10_says_why_it_was_refused() {
    failures("pnpm-10").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pnpm_12_says_why_it_was_refused() {
    failures("pnpm-12").await;
}
