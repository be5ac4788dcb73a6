//! crane.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn crane_appends_copies_tags_lists_and_deletes() {
    let crane = Desk::new(Client::kept("go/bin/crane")).await;
    let host = crane.host();
    crane
        .go(&["auth", "login", host, "-u", "root", "-p", &crane.cluster.token])
        .await;
    let layer = tar(&[("file", content("crane"))]).into_inner().unwrap();
    crane.write("layer.tar", layer);
    let app = crane.name("/app:1");
    crane
        .go(&["append", "--oci-empty-base", "-f", "layer.tar", "-t", &app])
        .await;
    let digest = crane.go(&["digest", &app]).await.stdout;
    let digest = digest.trim();
    crane.go(&["validate", "--remote", &app]).await;
    crane.go(&["tag", &app, "latest"]).await;
    let tags = ["ls", &crane.name("/app")];
    assert_eq!(crane.go(&tags).await.lines(), ["1", "latest"]);
    let copy = crane.name("/copy:1");
    crane.go(&["copy", &app, &copy]).await;
    assert_eq!(crane.go(&["digest", &copy]).await.stdout.trim(), digest);
    crane.go(&["pull", &copy, "image.tar"]).await;
    let pushed = crane.name("/pushed:1");
    crane.go(&["push", "image.tar", &pushed]).await;
    let index = crane.name("/index:1");
    crane.go(&["index", "append", "-m", &app, "-t", &index]).await;
    crane.go(&["manifest", &index]).await.says(digest);
    let catalog = crane.go(&["catalog", host]).await;
    for image in ["app", "copy", "pushed", "index"] {
        let repository = format!("acme/demo/{}/{image}", crane.place);
        assert!(catalog.lines().contains(&repository.as_str()), "{catalog}");
    }
    crane.go(&["delete", &app]).await;
    assert_eq!(crane.go(&tags).await.lines(), ["latest"]);
    let by_digest = format!("{}@{digest}", crane.name("/app"));
    crane.go(&["delete", &by_digest]).await;
    let latest = ["manifest", &crane.name("/app:latest")];
    crane.refused(&latest, 1, &["MANIFEST_UNKNOWN"]).await;
    crane.go(&["manifest", &copy]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crane_says_why_it_was_refused() {
    let crane = Desk::new(Client::kept("go/bin/crane")).await;
    let host = crane.host();
    let app = crane.name("/app:1");
    let sign_in = async |name: &str, token: &str| {
        crane.go(&["auth", "login", host, "-u", name, "-p", token]).await;
    };
    let (_, layer) = lay_out(&crane, "image", "v1", &content("crane refused"));
    let push = ["push", "image", app.as_str()];
    crane.refused(&push, 1, &["401 Unauthorized"]).await;
    sign_in("root", "wrong").await;
    crane.refused(&push, 1, &["401 Unauthorized"]).await;
    sign_in("deploy", &crane.reading().await).await;
    crane.refused(&push, 1, &["DENIED"]).await;
    crane.refused(&["manifest", &app], 1, &["NAME_UNKNOWN"]).await;

    // A layer that is not what its digest says: the client sends it all the same.
    sign_in("root", &crane.cluster.token).await;
    let file = format!("image/blobs/sha256/{}", layer.strip_prefix("sha256:").unwrap());
    let right = crane.read(&file);
    let mut wrong = right.clone();
    wrong[1000] ^= 1;
    crane.write(&file, wrong);
    crane.refused(&push, 1, &["DIGEST_INVALID"]).await;
    crane.refused(&["manifest", &app], 1, &["_UNKNOWN"]).await;
    crane.write(&file, right);
    crane.go(&push).await;
    crane.go(&["pull", "--format=oci", &app, "back"]).await;
    assert_eq!(crane.read(file.replacen("image", "back", 1)), crane.read(&file));
    crane
        .refused(&["manifest", &crane.name("/app:9")], 1, &["MANIFEST_UNKNOWN"])
        .await;
}
