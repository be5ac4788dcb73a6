//! What the manual tells to type does what it says.

use super::*;
use crate::testing::readme::blocks;

const MANUAL: &str = include_str!("../../../../../docs/npm.md");

#[tokio::test(flavor = "multi_thread")]
async fn the_manual_does_what_it_says() {
    let desk = Desk::new("npm-11", "npm").await;
    let name = format!("@acme/{}", desk.unique("manual"));
    let bash = Client::of_system("bash").finding(["npm-11", "node", "pnpm-12", "bun", "yarn-4"].map(bin));
    let home = bash.home().to_owned();
    write_package(&bash.folder("package"), &name, "1.0.0", json!({}));
    let bash = bash
        .with("npm_config_cache", home.join("npm-cache"))
        .with("npm_config_update_notifier", "false")
        .with("YARN_ENABLE_TELEMETRY", "0")
        .with("YARN_ENABLE_GLOBAL_CACHE", "0")
        .with("BUN_INSTALL_CACHE_DIR", home.join("bun-cache"))
        .with("CAIRN_URL", desk.cluster.url(0))
        .with("CAIRN_TOKEN", &desk.cluster.token)
        .with("PROJECT", "1")
        .with("PACKAGE", &name);
    let ran = bash
        .ok(bash.home(), &["-euxc", &blocks(MANUAL, "sh").join("\n")])
        .await;
    for client in ["with-npm", "with-bun"] {
        assert_eq!(installed(&home.join(client), &name), index(&name, "1.0.0"));
    }
    installed(&home.join("with-pnpm"), &name);
    // It installs into no folder of the application.
    let lock = std::fs::read_to_string(home.join("with-yarn/yarn.lock")).unwrap();
    assert!(lock.contains(&format!("{name}@npm:1.0.0")), "{lock}");
    ran.says("found 0 vulnerabilities")
        .says("reads files that it should not - https://acme.example/security/1")
        .says("there is something to do")
        .says("use 1.1");
}
