//! What the manual tells to type does what it says.

use serde_json::json;

use crate::testing::client::Client;
use crate::testing::cluster::cluster;
use crate::testing::issuer::TestIssuer;
use crate::testing::readme::blocks;

const MANUAL: &str = include_str!("../../../../docs/ci-without-secrets.md");

#[tokio::test(flavor = "multi_thread")]
async fn the_manual_does_what_it_says() {
    let cluster = cluster().await;
    let issuer = TestIssuer::start().await;
    issuer.run_job(json!({"repository": "acme/demo", "ref": "refs/tags/v1"}));
    let bash = Client::of_system("bash")
        .with("CAIRN_URL", format!("http://{}", cluster.balanced))
        .with("CAIRN_HOST", cluster.balanced.split(':').next().unwrap())
        .with("CAIRN_TOKEN", &cluster.token)
        .with("PROJECT", "acme%2Fdemo")
        .with("ISSUER", issuer.url())
        .with(
            "ACTIONS_ID_TOKEN_REQUEST_URL",
            format!("{}/token?x=1", issuer.url()),
        )
        .with("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "t");
    let script = blocks(MANUAL, "sh").join("\n");
    // A token that was given up holds no more.
    let after =
        "! curl --fail-with-body -sS -H \"JOB-TOKEN: $TOKEN\" \"$packages/generic/report/1.0.0/file.txt\"";
    let script = format!("set -o pipefail\n{script}\n{after}\n");
    let ran = bash.ok(bash.home(), &["-euxc", &script]).await;
    ran.says("made by a job").says("\"issuer\"").says("401");
}
