//! yarn classic.

use super::*;

const PUBLISH: [&str; 3] = ["publish", "--non-interactive", "--no-git-tag-version"];

impl Desk {
    fn configure_classic(&self, node: usize, at: At, token: &str) {
        // Without the last line it sends no token for packages without a scope.
        let npmrc = self.cluster.npmrc(node, at, token) + "always-auth=true\n";
        self.write(".npmrc", npmrc);
        let registry = self.cluster.registry(node, at);
        self.write(".yarnrc", format!("registry \"{registry}\"\n"));
    }

    async fn publish_classic(&self, folder: &Path, name: &str, version: &str) {
        write_package(folder, name, version, json!({}));
        self.ok(folder, &PUBLISH).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn yarn_classic_publishes_and_installs() {
    let yarn = Desk::new("yarn-1", "yarn").await;
    let token = yarn.cluster.token.as_str();
    let (plain, scoped) = (yarn.unique("left"), format!("@acme/{}", yarn.unique("right")));
    yarn.configure_classic(0, At::Project, token);
    let package = yarn.folder("package");
    write_noise(&package);
    yarn.publish_classic(&package, &plain, "1.0.0").await;
    std::fs::remove_file(package.join("noise")).unwrap();
    yarn.publish_classic(&package, &scoped, "1.0.0").await;

    yarn.configure_classic(1, At::Project, token);
    let application = yarn.application("application");
    yarn.ok(&application, &["add", &plain, &scoped]).await;
    assert_eq!(installed(&application, &scoped), index(&scoped, "1.0.0"));
    has_noise(&application, &plain);
    uninstall(&application);
    yarn.ok(&application, &["install", "--frozen-lockfile"]).await;
    installed(&application, &plain);

    yarn.publish_classic(&package, &scoped, "1.1.0").await;
    yarn.run(&application, &["outdated"]).await.says("1.1.0");
    yarn.ok(&application, &["upgrade", "--latest"]).await;
    assert_eq!(installed(&application, &scoped), index(&scoped, "1.1.0"));
    let one = format!("{scoped}@1.0.0");
    yarn.ok(&package, &["tag", "add", &one, "stable"]).await;
    yarn.ok(&package, &["tag", "list", &scoped]).await.says("stable");
    let tagged = yarn.application("application-tagged");
    yarn.ok(&tagged, &["add", &format!("{scoped}@stable")]).await;
    assert_eq!(installed(&tagged, &scoped), index(&scoped, "1.0.0"));
    yarn.ok(&package, &["tag", "remove", &scoped, "stable"]).await;
    let untagged = yarn.ok(&package, &["tag", "list", &scoped]).await;
    assert!(!untagged.stdout.contains("stable"), "{untagged}");
    yarn.ok(&package, &["info", &scoped, "version"])
        .await
        .says("1.1.0");
    yarn.ok(&package, &["owner", "list", &scoped])
        .await
        .says(&yarn.cluster.username);
    for (turn, at) in [At::Group, At::Instance].into_iter().enumerate() {
        yarn.configure_classic(turn, at, token);
        let wide = yarn.application(&format!("wide-{turn}"));
        yarn.ok(&wide, &["add", &scoped]).await;
        assert_eq!(installed(&wide, &scoped), index(&scoped, "1.1.0"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn yarn_classic_says_why_it_was_refused() {
    let yarn = Desk::new("yarn-1", "yarn").await;
    let (name, package) = (yarn.unique("refused"), yarn.folder("package"));
    yarn.configure_classic(0, At::Project, &yarn.cluster.token);
    yarn.publish_classic(&package, &name, "1.0.0").await;
    std::fs::write(package.join("index.js"), "changed").unwrap();
    yarn.fails(&package, &PUBLISH, 1, &["previously published versions"])
        .await;
    let application = yarn.application("application");
    let missing = yarn.unique("missing");
    yarn.fails(&application, &["add", &missing], 1, &["is not in this registry"])
        .await;

    let broken = yarn.unique("corrupt");
    write_package(&package, &broken, "1.0.0", json!({}));
    yarn.ok(&package, &["pack", "--filename", "broken.tgz"]).await;
    let tarball = package.join("broken.tgz");
    corrupt(&tarball);
    let publish = [&PUBLISH[..], &[tarball.to_str().unwrap()]].concat();
    yarn.fails(&package, &publish, 1, &["goes on after its compressed data"])
        .await;

    write_package(&package, &name, "2.0.0", json!({}));
    yarn.configure_classic(1, At::Project, WRONG_TOKEN);
    yarn.fails(&package, &PUBLISH, 1, &["401"]).await;
    yarn.fails(&application, &["add", &name], 1, &["401"]).await;
    let token = yarn.cluster.deploy_token(&["read_package_registry"]).await;
    yarn.configure_classic(2, At::Project, &token);
    yarn.fails(&package, &PUBLISH, 1, &["403"]).await;
    yarn.ok(&application, &["add", &name]).await;
    assert_eq!(installed(&application, &name), index(&name, "1.0.0"));
}
