//! What the manual tells to type does what it says.

use super::*;
use crate::testing::client::clients;
use crate::testing::readme::blocks;

const MANUAL: &str = include_str!("../../../../../docs/oci.md");

#[tokio::test(flavor = "multi_thread")]
async fn the_manual_does_what_it_says() {
    let desk = Desk::new(Client::of_system("bash").finding([clients().join("go/bin")])).await;
    lay_out(&desk, "image", "1.0", &content("manual"));
    let secure = &desk.cluster.secure;
    let script = blocks(MANUAL, "sh").join("\n");
    // Other tests use the project as well.
    let script = script.replace("/acme/demo", &format!("/acme/demo/{}", desk.place));
    let Desk { client, .. } = desk;
    // Of a host that is called so, oras thinks that it does no TLS.
    let host = secure.nodes[0].replace("localhost", "127.0.0.1");
    client.write("authority.pem", &secure.authority);
    let authority = client.home().join("authority.pem");
    let bash = client
        .with("SSL_CERT_FILE", &authority)
        .with("CURL_CA_BUNDLE", &authority)
        .with("CAIRN_URL", format!("https://{host}"))
        .with("CAIRN_HOST", &host)
        .with("CAIRN_TOKEN", &cluster().await.token)
        .with("PROJECT", "1");
    let ran = bash.ok(bash.home(), &["-euxc", &script]).await;
    ran.says("application/vnd.acme.bill").says("\"location\"");
    assert_eq!(bash.read("notes/notes.txt"), b"what is new\n");
}
