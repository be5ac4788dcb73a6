//! yarn berry.

use super::*;

impl Desk {
    fn configure_berry(&self, node: usize, at: At, token: &str) {
        let registry = self.cluster.registry(node, at);
        let text = format!(
            "npmRegistryServer: \"{}\"\nnpmAuthToken: \"{token}\"\nnpmAlwaysAuth: true\nnpmMinimalAgeGate: 0\n\
             unsafeHttpWhitelist: [\"127.0.0.1\"]\nnodeLinker: node-modules\nenableImmutableInstalls: false\n\
             httpRetry: 0\n",
            registry.trim_end_matches('/')
        );
        self.write(".yarnrc.yml", text);
    }

    /// A package that is a workspace of its own.
    async fn write_berry(&self, folder: &Path, name: &str, version: &str) {
        write_package(folder, name, version, json!({}));
        std::fs::write(folder.join("yarn.lock"), "").unwrap();
        self.ok(folder, &["install"]).await;
    }

    fn application_berry(&self, name: &str) -> PathBuf {
        let application = self.application(name);
        std::fs::write(application.join("yarn.lock"), "").unwrap();
        application
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn yarn_berry_publishes_and_installs() {
    let yarn = Desk::new("yarn-4", "yarn").await;
    let token = yarn.cluster.token.as_str();
    let (plain, scoped) = (yarn.unique("left"), format!("@acme/{}", yarn.unique("right")));
    yarn.configure_berry(0, At::Project, token);
    let package = yarn.folder("package");
    write_noise(&package);
    yarn.write_berry(&package, &plain, "1.0.0").await;
    yarn.ok(&package, &["npm", "whoami"])
        .await
        .says(&yarn.cluster.username);
    yarn.ok(&package, &["npm", "publish"]).await;
    std::fs::remove_file(package.join("noise")).unwrap();
    yarn.write_berry(&package, &scoped, "1.0.0").await;
    yarn.ok(&package, &["npm", "publish", "--access", "restricted"])
        .await;

    yarn.configure_berry(1, At::Project, token);
    let application = yarn.application_berry("application");
    yarn.ok(&application, &["add", &plain, &scoped]).await;
    assert_eq!(installed(&application, &scoped), index(&scoped, "1.0.0"));
    has_noise(&application, &plain);
    let lock = std::fs::read_to_string(application.join("yarn.lock")).unwrap();
    assert!(!lock.contains("__archiveUrl"), "{lock}");
    uninstall(&application);
    yarn.ok(&application, &["install", "--immutable"]).await;
    installed(&application, &plain);
    yarn.audits(&application, &["npm", "audit"], "No audit suggestions", &plain)
        .await;

    yarn.write_berry(&package, &scoped, "1.1.0").await;
    yarn.ok(&package, &["npm", "publish", "--tag", "next"]).await;
    let one = format!("{scoped}@1.0.0");
    yarn.ok(&package, &["npm", "tag", "add", &one, "stable"]).await;
    yarn.ok(&package, &["npm", "tag", "list", &scoped])
        .await
        .says("stable");
    yarn.ok(&application, &["up", &format!("{scoped}@next")]).await;
    assert_eq!(installed(&application, &scoped), index(&scoped, "1.1.0"));
    yarn.ok(&package, &["npm", "tag", "remove", &scoped, "stable"])
        .await;
    let untagged = yarn.ok(&package, &["npm", "tag", "list", &scoped]).await;
    assert!(!untagged.stdout.contains("stable"), "{untagged}");
    yarn.ok(&package, &["npm", "info", &scoped, "--json"])
        .await
        .says("\"latest\":\"1.0.0\"");
    for (turn, at) in [At::Group, At::Instance].into_iter().enumerate() {
        yarn.configure_berry(turn, at, token);
        let wide = yarn.application_berry(&format!("wide-{turn}"));
        yarn.ok(&wide, &["add", &scoped]).await;
        assert_eq!(installed(&wide, &scoped), index(&scoped, "1.0.0"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn yarn_berry_says_why_it_was_refused() {
    let yarn = Desk::new("yarn-4", "yarn").await;
    let (name, package) = (yarn.unique("refused"), yarn.folder("package"));
    yarn.configure_berry(0, At::Project, &yarn.cluster.token);
    yarn.write_berry(&package, &name, "1.0.0").await;
    yarn.ok(&package, &["npm", "publish"]).await;
    std::fs::write(package.join("index.js"), "changed").unwrap();
    yarn.fails(
        &package,
        &["npm", "publish"],
        1,
        &["previously published versions"],
    )
    .await;
    let application = yarn.application_berry("application");
    let missing = yarn.unique("missing");
    yarn.fails(&application, &["add", &missing], 1, &["not found"])
        .await;

    // Another digest in the lock file: what comes is not what was locked.
    let locked = yarn.application_berry("locked");
    yarn.ok(&locked, &["add", &name]).await;
    let lock = std::fs::read_to_string(locked.join("yarn.lock")).unwrap();
    let lines = lock.lines().map(|line| match line.rsplit_once('/') {
        Some((before, digest)) if line.trim_start().starts_with("checksum:") => {
            format!("{before}/{}\n", "0".repeat(digest.len()))
        }
        _ => format!("{line}\n"),
    });
    let wrong: String = lines.collect();
    assert_ne!(wrong, lock);
    std::fs::write(locked.join("yarn.lock"), wrong).unwrap();
    uninstall(&locked);
    let cache = locked.join(".yarn");
    if cache.exists() {
        std::fs::remove_dir_all(cache).unwrap();
    }
    let mismatch = "doesn't match the expected checksum";
    yarn.fails(&locked, &["install"], 1, &[mismatch]).await;

    yarn.write_berry(&package, &name, "2.0.0").await;
    yarn.configure_berry(1, At::Project, WRONG_TOKEN);
    yarn.fails(&package, &["npm", "publish"], 1, &["Invalid authentication"])
        .await;
    yarn.fails(&application, &["add", &name], 1, &["Invalid authentication"])
        .await;
    let token = yarn.cluster.deploy_token(&["read_package_registry"]).await;
    yarn.configure_berry(2, At::Project, &token);
    yarn.fails(&package, &["npm", "publish"], 1, &["403"]).await;
    yarn.ok(&application, &["add", &name]).await;
    assert_eq!(installed(&application, &name), index(&name, "1.0.0"));
}
