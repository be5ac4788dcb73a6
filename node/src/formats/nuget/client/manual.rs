//! What the manual tells to type does what it says.

use super::*;
use crate::testing::readme::blocks;

const MANUAL: &str = include_str!("../../../../../docs/nuget.md");

#[tokio::test(flavor = "multi_thread")]
async fn the_manual_does_what_it_says() {
    let desk = Desk::new().await;
    let name = unique("Acme.Manual");
    for version in ["1.0.0", "1.1.0"] {
        desk.pack(&name, version, "").await;
    }
    let guid: [u8; 16] = blake3::hash(name.as_bytes()).as_bytes()[..16].try_into().unwrap();
    desk.write(format!("{name}.1.0.0.snupkg"), symbols_of(&name, "1.0.0", guid));
    let programs = desk.folder("bin");
    let nuget = programs.join("nuget");
    std::fs::write(
        &nuget,
        // As `Client::run` does it, when mono aborts.
        format!(
            "#!/bin/sh\nfor attempt in 1 2 3; do mono {} \"$@\"; code=$?; [ $code -eq 134 ] || break; done\n\
             exit $code\n",
            desk.program[0]
        ),
    )
    .unwrap();
    std::fs::set_permissions(&nuget, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let bash = Client::of_system("bash")
        .finding([programs])
        .with("CAIRN_URL", desk.cluster.url(0))
        .with("CAIRN_TOKEN", &desk.cluster.token)
        .with("PROJECT", "1")
        .with("NAME", &name);
    let script = blocks(MANUAL, "sh").join("\n");
    let ran = bash.ok(desk.home(), &["-euxc", &script]).await;
    ran.says("Your package was pushed.")
        .says(&format!("{name} 1.1.0"))
        .says("was deleted successfully");
}
