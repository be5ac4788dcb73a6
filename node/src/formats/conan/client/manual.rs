//! What the manual tells to type does what it says, with each generation.

use super::*;
use crate::testing::client::clients;
use crate::testing::readme::blocks;

const MANUAL: &str = include_str!("../../../../../docs/conan.md");

#[tokio::test(flavor = "multi_thread")]
async fn the_manual_does_what_it_says() {
    let (second, first) = MANUAL.split_once("\n## Conan 1\n").unwrap();
    for (generation, part) in [("conan-2", second), ("conan-1", first)] {
        let desk = Desk::with(generation).await;
        let name = unique("manual");
        desk.recipe(&name, "1.0.0", "manual");
        let bin = clients().join("conan").join(generation).join("bin");
        let bash = with_cache(Client::of_system("bash"))
            .finding([bin])
            .with("CAIRN_URL", desk.cluster.url(0))
            .with("CAIRN_TOKEN", &desk.cluster.token)
            .with("PROJECT", "1")
            .with("NAME", &name);
        let script = blocks(part, "sh").join("\n");
        let ran = bash.ok(desk.home(), &["-euxc", &script]).await;
        ran.says(&name);
        // Everything that was published is deleted in the end.
        let left = bash
            .ok(
                desk.home(),
                &["-c", &format!("conan search '{name}*' -r cairn || true")],
            )
            .await;
        assert!(!left.stdout.contains(&format!("{name}/1.0.0")), "{left}");
    }
}
