//! regctl, of regclient.

use super::*;

/// regctl, which knows that the balancer does not do TLS.
async fn regctl() -> Desk {
    let regctl = Desk::new(Client::kept("go/bin/regctl")).await;
    let host = regctl.host();
    regctl
        .go(&["registry", "set", host, "--tls", "disabled", "--skip-check"])
        .await;
    regctl
}

impl Desk {
    async fn sign_in_regctl(&self, name: &str, token: &str) {
        self.go(&["registry", "login", self.host(), "-u", name, "-p", token])
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn regctl_imports_copies_attaches_lists_and_deletes() {
    let regctl = regctl().await;
    regctl.sign_in_regctl("root", &regctl.cluster.token).await;
    let (digest, layer) = lay_out(&regctl, "image", "v1", &content("regctl"));
    let (app, copy) = (regctl.name("/app:1"), regctl.name("/copy:1"));
    regctl.go(&["image", "copy", "ocidir://image:v1", &app]).await;
    let found = regctl.go(&["image", "digest", &app]).await;
    assert_eq!(found.lines(), [digest.as_str()]);
    let repository = regctl.name("/app");
    regctl.go(&["image", "copy", &app, &regctl.name("/app:2")]).await;
    let tags = regctl.go(&["tag", "ls", &repository]).await;
    assert_eq!(tags.lines(), ["1", "2"]);
    let catalog = ["repo", "ls", regctl.host()];
    let named = format!("acme/demo/{}/app", regctl.place);
    assert!(regctl.go(&catalog).await.lines().contains(&named.as_str()));

    // What belongs to an image goes where it goes.
    regctl.write("bill.json", "{}");
    let kind = ["--artifact-type", "application/x-bill"];
    let put = [
        &["artifact", "put", "--subject", &app, "--file", "bill.json"][..],
        &kind,
    ];
    regctl.go(&put.concat()).await;
    let belonging = ["artifact", "list", &app, "--format", "{{json .Descriptors}}"];
    let listed = regctl.go(&belonging).await.json();
    assert_eq!(listed[0]["artifactType"], "application/x-bill", "{listed}");
    regctl.go(&["image", "copy", "--referrers", &app, &copy]).await;
    regctl
        .go(&["artifact", "list", &copy])
        .await
        .says("application/x-bill");

    let blob = ["blob", "get", &repository, &layer];
    assert!(regctl.go(&blob).await.stdout.len() > 1000);
    regctl.go(&["image", "copy", &copy, "ocidir://back:v1"]).await;
    let file = format!("blobs/sha256/{}", layer.strip_prefix("sha256:").unwrap());
    assert_eq!(
        regctl.read(format!("back/{file}")),
        regctl.read(format!("image/{file}"))
    );
    let second = regctl.name("/app:2");
    regctl.go(&["tag", "delete", &second]).await;
    regctl
        .refused(&["manifest", "get", &second], 1, &["not found"])
        .await;
    regctl
        .go(&["manifest", "delete", &format!("{repository}@{digest}")])
        .await;
    regctl
        .refused(&["manifest", "get", &app], 1, &["not found"])
        .await;
    regctl.go(&["manifest", "get", &copy]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn regctl_says_why_it_was_refused() {
    let regctl = regctl().await;
    let app = regctl.name("/app:1");
    lay_out(&regctl, "image", "v1", &content("regctl refused"));
    let push = ["image", "copy", "ocidir://image:v1", &app];
    regctl.refused(&push, 1, &["unauthorized"]).await;
    let login = ["registry", "login", regctl.host(), "-u", "root", "-p", "wrong"];
    regctl.refused(&login, 1, &["unauthorized"]).await;
    regctl.sign_in_regctl("deploy", &regctl.reading().await).await;
    regctl.refused(&push, 1, &["403"]).await;
    regctl
        .refused(&["manifest", "get", &app], 1, &["not found"])
        .await;
}
