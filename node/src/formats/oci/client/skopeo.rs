//! skopeo.

use serde_json::Value;

use super::*;

const PLAIN: &str = "--tls-verify=false";
const TO: &str = "--dest-tls-verify=false";
const FROM: &str = "--src-tls-verify=false";

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_copies_inspects_lists_and_deletes() {
    let skopeo = Desk::new(Client::of_system("skopeo")).await;
    let (digest, _) = lay_out(&skopeo, "image", "v1", &content("skopeo"));
    let reference = |rest: &str| format!("docker://{}", skopeo.name(rest));
    let token = skopeo.cluster.token.as_str();
    skopeo
        .go(&["login", PLAIN, "-u", "root", "-p", token, skopeo.host()])
        .await;

    let pushed = reference("/app:v1");
    let copy = ["copy", "--preserve-digests"];
    let push = async |to: &str| skopeo.go(&[&copy[..], &[TO, "oci:image:v1", to]].concat()).await;
    push(&pushed).await;
    for node in &skopeo.cluster.nodes {
        // Each node knows the token, but a client knows it for the host that it signed in to.
        let credentials = format!("--creds=any:{token}");
        let there = format!("docker://{}", skopeo.name_at(node, "/app:v1"));
        let found = skopeo.go(&["inspect", PLAIN, &credentials, &there]).await;
        assert_eq!(found.json()["Digest"], digest.as_str());
        let raw = skopeo
            .go(&["inspect", "--raw", PLAIN, &credentials, &there])
            .await;
        let hex = digest.strip_prefix("sha256:").unwrap();
        assert_eq!(
            raw.stdout.as_bytes(),
            skopeo.read(format!("image/blobs/sha256/{hex}"))
        );
        let credentials = format!("--src-creds=any:{token}");
        let to = format!("oci:from-{}:v1", node.replace(':', "-"));
        skopeo
            .go(&[&copy[..], &[FROM, &credentials, &there, &to]].concat())
            .await;
    }
    // Its layers are mounted into the other repository rather than sent again.
    let copied = reference("/copy:v2");
    let mount = [&copy[..], &["--all", FROM, TO, &pushed, &copied]].concat();
    skopeo.go(&mount).await;
    skopeo
        .go(&[&copy[..], &[FROM, &copied, "oci:back:v2"]].concat())
        .await;
    let index: Value = serde_json::from_slice(&skopeo.read("back/index.json")).unwrap();
    assert_eq!(index["manifests"][0]["digest"], digest.as_str());

    push(&reference("/app:v2")).await;
    let tags = ["list-tags", PLAIN, &reference("/app")];
    assert_eq!(skopeo.go(&tags).await.json()["Tags"], json!(["v1", "v2"]));
    // It deletes by digest, so both tags go.
    skopeo.go(&["delete", PLAIN, &pushed]).await;
    let gone = reference("/app:v2");
    skopeo
        .refused(&["inspect", PLAIN, &gone], 1, &["manifest unknown"])
        .await;
    skopeo.go(&["inspect", PLAIN, &copied]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_says_why_it_was_refused() {
    let skopeo = Desk::new(Client::of_system("skopeo")).await;
    lay_out(&skopeo, "image", "v1", &content("skopeo refused"));
    let image = format!("docker://{}", skopeo.name("/app:v1"));
    let as_whom = |token: &str| format!("--dest-creds=root:{token}");
    let push = |creds: &str| ["copy", TO, creds, "oci:image:v1", &image].map(String::from);
    let refused = async |creds: &str, part: &str| {
        let arguments = push(creds);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        skopeo.refused(&arguments, 1, &[part]).await;
    };
    refused(&as_whom("wrong"), "invalid username/password").await;
    refused("--dest-no-creds", "requested access to the resource is denied").await;
    let reading = skopeo.reading().await;
    refused(&format!("--dest-creds=deploy:{reading}"), "denied").await;
    // A deploy token goes with its username.
    refused(&as_whom(&reading), "invalid username/password").await;
    let arguments = push(&as_whom(&skopeo.cluster.token));
    skopeo.go(&arguments.each_ref().map(String::as_str)).await;

    let creds = format!("--creds=deploy:{reading}");
    skopeo.go(&["inspect", PLAIN, &creds, &image]).await;
    skopeo
        .refused(&["delete", PLAIN, &creds, &image], 1, &["DENIED"])
        .await;
    let missing = format!("docker://{}", skopeo.name("/app:v9"));
    skopeo
        .refused(&["inspect", PLAIN, &creds, &missing], 1, &["manifest unknown"])
        .await;
    let missing = format!("docker://{}", skopeo.name("/none:v1"));
    skopeo
        .refused(&["inspect", PLAIN, &creds, &missing], 1, &["name unknown"])
        .await;
    let elsewhere = format!("docker://{}/acme/elsewhere/app:v1", skopeo.host());
    skopeo
        .refused(&["inspect", PLAIN, &creds, &elsewhere], 1, &["name unknown"])
        .await;
    skopeo
        .refused(&["inspect", PLAIN, "--no-creds", &image], 1, &["unauthorized"])
        .await;
}
