//! What the manual tells to type does what it says.

use super::*;
use crate::testing::readme::blocks;

#[tokio::test(flavor = "multi_thread")]
async fn the_manual_does_what_it_says() {
    let cluster = cluster().await;
    let manual = include_str!("../../../../../docs/maven.md");
    let script = blocks(manual, "sh").join("\n");
    assert!(script.contains("mvn"));
    let bash = on_java("bash");
    let bash = bash
        .with("CAIRN_URL", cluster.url(0))
        .with("CAIRN_TOKEN", &cluster.token)
        .with("PROJECT", "1")
        .with("GROUP_ID", unique_group("manual"));
    // What mvn itself is made of is no business of the manual.
    let central =
        "<mirror><id>debian</id><mirrorOf>central</mirrorOf><url>file:///usr/share/maven-repo</url></mirror>";
    let script = script.replace("<mirrors>", &format!("<mirrors>{central}"));
    let ran = bash.ok(bash.home(), &["-euxc", &script]).await;
    ran.says("BUILD SUCCESS").says("hello 1.1");
}
