//! What the manual tells to type does what it says, with each Helm.

use super::signing::make_key;
use super::*;
use crate::testing::readme::blocks;

const MANUAL: &str = include_str!("../../../../../docs/helm.md");

#[tokio::test(flavor = "multi_thread")]
async fn the_manual_does_what_it_says() {
    for program in HELMS {
        let helm = Desk::with(program).await;
        let name = unique("manual");
        for version in ["1.0.0", "1.1.0"] {
            helm.package(&name, version).await;
        }
        make_key(&helm).await;
        let programs = helm.folder("bin");
        std::os::unix::fs::symlink(bin().join(program), programs.join("helm")).unwrap();
        let bash = with_plugin(Client::of_system("bash"))
            .finding([programs])
            .with("CAIRN_URL", helm.cluster.url(0))
            .with("CAIRN_HOST", &helm.cluster.nodes[0])
            .with("CAIRN_TOKEN", &helm.cluster.token)
            .with("PROJECT", "1")
            .with("NAME", &name)
            .with("KEY", "Cairn Tests")
            .with("SECRET_KEYRING", helm.home().join("secret.gpg"))
            .with("PUBLIC_KEYRING", helm.home().join("public.gpg"))
            .with("OCI_FLAGS", "--plain-http");
        let ran = bash
            .ok(helm.home(), &["-euxc", &blocks(MANUAL, "sh").join("\n")])
            .await;
        ran.says("Chart Hash Verified").says("{\"deleted\":true}");
    }
}
