//! What the manual tells to type does what it says.

use super::*;
use crate::testing::readme::blocks;

const MANUAL: &str = include_str!("../../../../../docs/composer.md");

#[tokio::test(flavor = "multi_thread")]
async fn the_manual_works_as_it_is_written() {
    let cluster = cluster().await;
    let name = unique("hello");
    let manual = MANUAL
        .replace("https://cairn.example", &cluster.url(0))
        .replace("cairn.example", &cluster.nodes[0])
        .replace("acme/hello", &format!("acme/{name}"));
    let script = format!("set -eux\n{}", blocks(&manual, "sh").concat());
    assert!(
        script.matches("composer ").count() >= 10,
        "the manual has lost its commands"
    );
    let shell = Client::of_system("bash");
    let home = shell.home().join("composer");
    // It is served over HTTPS there, and here without.
    shell.write("composer/config.json", r#"{"config": {"secure-http": false}}"#);
    shell.write("manual.sh", script);
    let shell = shell
        .with("COMPOSER_HOME", &home)
        .with("COMPOSER_CACHE_DIR", home.join("cache"))
        .with("COMPOSER_ALLOW_SUPERUSER", "1")
        .with("COMPOSER_NO_INTERACTION", "1")
        .with("CAIRN_TOKEN", &cluster.token);
    let ran = shell.ok(&shell.folder("work"), &["../manual.sh"]).await;
    ran.says("Hello from a package")
        .says("reads files that it should not")
        .says("is abandoned, you should avoid using it");
}
