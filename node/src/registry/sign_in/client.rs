//! What the manual tells to type does what it says.

use crate::testing::client::Client;
use crate::testing::cluster::{cluster, unique};
use crate::testing::readme::blocks;

const MANUAL: &str = include_str!("../../../../docs/sign-in.md");

#[tokio::test(flavor = "multi_thread")]
async fn the_manual_does_what_it_says() {
    let cluster = cluster().await;
    let bash = Client::of_system("bash")
        .with("CAIRN_URL", format!("http://{}", cluster.balanced))
        .with("CAIRN_TOKEN", &cluster.root)
        .with("NAME", unique("ann"));
    let script = blocks(MANUAL, "sh").join("\n");
    // A session that was ended holds no more.
    let after = "! curl --fail-with-body -sS -H \"Cookie: $session\" \"$CAIRN_URL/api/cairn/v1/session\"";
    let script = format!("set -o pipefail\n{script}\n{after}\n");
    let ran = bash.ok(bash.home(), &["-euxc", &script]).await;
    ran.says("\"signed_in_by\":\"password\"").says("401");
}
