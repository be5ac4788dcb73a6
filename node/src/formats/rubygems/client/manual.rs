//! What the manual tells to type does what it says.

use super::*;
use crate::testing::readme::blocks;

const MANUAL: &str = include_str!("../../../../../docs/rubygems.md");

#[tokio::test(flavor = "multi_thread")]
async fn the_manual_does_what_it_says() {
    let bash = Desk::with("bash").await;
    let name = unique("manual").replace('-', "_");
    for version in ["1.0.0", "1.1.0"] {
        bash.build(&name, version, "").await;
    }
    let client = at_home(Client::of_system("bash"))
        .with("CAIRN_URL", bash.cluster.url(0))
        .with("CAIRN_TOKEN", &bash.cluster.token)
        .with("PROJECT", "1")
        .with("NAME", &name)
        .with("OWNER", "root");
    for version in ["1.0.0", "1.1.0"] {
        let file = format!("{name}-{version}.gem");
        client.write(&file, bash.read(&file));
    }
    let ran = client
        .ok(client.home(), &["-euxc", &blocks(MANUAL, "sh").join("\n")])
        .await;
    ran.says(&format!("Successfully registered gem: {name} (1.1.0)"))
        .says(&format!("Successfully deleted gem: {name} (1.0.0)"))
        .says(&format!("Successfully restored gem: {name} (1.0.0)"))
        .says(&format!("{name} is 1.1.0"));
}
