//! bun.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn bun_publishes_and_installs() {
    let bun = Desk::new("bun", "bun").await;
    let token = bun.cluster.token.as_str();
    let (plain, scoped) = (bun.unique("left"), format!("@acme/{}", bun.unique("right")));
    bun.sign_in(0, At::Project, token);
    let package = bun.folder("package");
    write_noise(&package);
    write_package(&package, &plain, "1.0.0", json!({}));
    bun.ok(&package, &["pm", "whoami"])
        .await
        .says(&bun.cluster.username);
    bun.ok(&package, &["publish"]).await;
    std::fs::remove_file(package.join("noise")).unwrap();
    let depends = json!({"dependencies": {plain.clone(): "^1.0.0"}});
    write_package(&package, &scoped, "1.0.0", depends);
    bun.ok(&package, &["publish", "--access", "restricted"]).await;

    bun.sign_in(1, At::Project, token);
    let application = bun.application("application");
    bun.ok(&application, &["add", &scoped, &plain]).await;
    assert_eq!(installed(&application, &scoped), index(&scoped, "1.0.0"));
    has_noise(&application, &plain);
    let lock = std::fs::read_to_string(application.join("bun.lock")).unwrap();
    assert!(lock.contains("sha512-"), "{lock}");
    uninstall(&application);
    // Through the same node, whose URLs are in the lock file; what was fetched is fetched again.
    std::fs::remove_dir_all(bun.home().join("bun-cache")).unwrap();
    bun.ok(&application, &["install", "--frozen-lockfile"]).await;
    installed(&application, &scoped);
    bun.audits(&application, &["audit"], "No vulnerabilities found", &plain)
        .await;

    write_package(&package, &scoped, "1.1.0", json!({}));
    bun.ok(&package, &["publish", "--tag", "next"]).await;
    let info = ["info", &scoped, "dist-tags", "--json"];
    let tags = bun.ok(&package, &info).await.json();
    assert_eq!(tags, json!({"latest": "1.0.0", "next": "1.1.0"}));
    bun.ok(&application, &["outdated"]).await;
    bun.ok(&application, &["add", &format!("{scoped}@next")]).await;
    assert_eq!(installed(&application, &scoped), index(&scoped, "1.1.0"));
    write_package(&package, &scoped, "1.2.0", json!({}));
    bun.ok(&package, &["publish"]).await;
    bun.ok(&application, &["outdated"]).await.says("1.2.0");
    bun.ok(&application, &["update", "--latest"]).await;
    assert_eq!(installed(&application, &scoped), index(&scoped, "1.2.0"));
    for (turn, at) in [At::Group, At::Instance].into_iter().enumerate() {
        bun.sign_in(turn, at, token);
        let wide = bun.application(&format!("wide-{turn}"));
        bun.ok(&wide, &["add", &scoped]).await;
        assert_eq!(installed(&wide, &scoped), index(&scoped, "1.2.0"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bun_says_why_it_was_refused() {
    let bun = Desk::new("bun", "bun").await;
    let (name, package) = (bun.unique("refused"), bun.folder("package"));
    bun.sign_in(0, At::Project, &bun.cluster.token);
    write_package(&package, &name, "1.0.0", json!({}));
    bun.ok(&package, &["publish"]).await;
    std::fs::write(package.join("index.js"), "changed").unwrap();
    let duplicate = "cannot publish over the previously published versions";
    bun.fails(&package, &["publish"], 1, &["403", duplicate]).await;
    let application = bun.application("application");
    let missing = bun.unique("missing");
    bun.fails(&application, &["add", &missing], 1, &["404"]).await;

    // Another digest in the lock file: what comes is not what was locked.
    let locked = bun.application("locked");
    bun.ok(&locked, &["add", &name]).await;
    let lock = std::fs::read_to_string(locked.join("bun.lock")).unwrap();
    let (before, digest) = lock.split_once("sha512-").unwrap();
    let after = digest.split_once('"').unwrap().1;
    let wrong = format!("{before}sha512-{}==\"{after}", "A".repeat(86));
    std::fs::write(locked.join("bun.lock"), wrong).unwrap();
    uninstall(&locked);
    std::fs::remove_dir_all(bun.home().join("bun-cache")).unwrap();
    bun.fails(&locked, &["install"], 1, &["Integrity check failed"])
        .await;

    write_package(&package, &name, "2.0.0", json!({}));
    bun.sign_in(1, At::Project, WRONG_TOKEN);
    bun.fails(&package, &["publish"], 1, &["unable to authenticate"])
        .await;
    bun.fails(&application, &["add", &name], 1, &["401"]).await;
    let token = bun.cluster.deploy_token(&["read_package_registry"]).await;
    bun.sign_in(2, At::Project, &token);
    bun.fails(&package, &["publish"], 1, &["403"]).await;
    bun.ok(&application, &["add", &name]).await;
    assert_eq!(installed(&application, &name), index(&name, "1.0.0"));
}
