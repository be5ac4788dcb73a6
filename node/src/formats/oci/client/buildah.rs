//! buildah and podman.

use super::*;

const PLAIN: &str = "--tls-verify=false";
const STORAGE: [&str; 3] = ["--storage-driver=vfs", "--root=storage", "--runroot=run"];

impl Desk {
    /// Runs a command of a client that keeps images of its own.
    async fn local(&self, arguments: &[&str]) -> Ran {
        self.go(&[&STORAGE, arguments].concat()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn buildah_builds_and_pushes_and_podman_pulls_pushes_and_searches() {
    let buildah = Desk::new(Client::of_system("buildah")).await;
    let token = buildah.cluster.token.as_str();
    let host = buildah.host();
    buildah.write("hello", content("buildah"));
    let login = ["login", PLAIN, "-u", "root", "-p", token, host];
    buildah.go(&login).await;
    let container = buildah.local(&["from", "scratch"]).await;
    let container = container.stdout.trim();
    buildah.local(&["add", container, "hello", "/hello"]).await;
    buildah.local(&["commit", "--format=oci", container, "app"]).await;
    let image = buildah.name("/app:1");
    buildah
        .local(&["push", PLAIN, "app", &format!("docker://{image}")])
        .await;
    // An image index with what it names.
    buildah.local(&["manifest", "create", "list"]).await;
    buildah.local(&["manifest", "add", "list", "app"]).await;
    let list = buildah.name("/list:1");
    let push = [
        "manifest",
        "push",
        "--all",
        PLAIN,
        "list",
        &format!("docker://{list}"),
    ];
    buildah.local(&push).await;

    let podman = Desk::new(Client::of_system("podman")).await;
    podman.go(&login).await;
    for image in [&image, &list] {
        podman.local(&["pull", PLAIN, image]).await;
        podman.local(&["image", "exists", image]).await;
    }
    let again = podman.name("/again:2");
    podman.local(&["tag", &image, &again]).await;
    podman.local(&["push", PLAIN, &again]).await;
    let tags = ["search", PLAIN, "--list-tags", &podman.name("/again")];
    let tags = podman.local(&tags).await;
    assert!(
        tags.lines().iter().any(|line| line.ends_with("/again  2")),
        "{tags}"
    );
    let term = format!("{host}/{}", podman.place);
    let search = ["search", PLAIN, "--format={{.Name}}", &term];
    podman.local(&search).await.says(&podman.name("/again"));
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_says_why_it_was_refused() {
    let podman = Desk::new(Client::of_system("podman")).await;
    let host = podman.host();
    let wrong = ["login", PLAIN, "-u", "root", "-p", "wrong", host];
    podman.refused(&wrong, 125, &["invalid username/password"]).await;
    lay_out(&podman, "image", "v1", &content("podman refused"));
    podman.local(&["pull", "oci:image"]).await;
    let images = podman.local(&["images", "--quiet"]).await;
    let image = images.stdout.trim();
    let target = podman.name("/app:1");
    let push = |creds: &'static str| [&STORAGE[..], &["push", PLAIN, creds, image, &target]].concat();
    podman
        .refused(&push("--creds=root:wrong"), 125, &["invalid username/password"])
        .await;
    let reading = podman.reading().await;
    let login = ["login", PLAIN, "-u", "deploy", "-p", &reading, host];
    podman.go(&login).await;
    podman.refused(&push("--quiet"), 125, &["denied"]).await;
    let pull = [&STORAGE[..], &["pull", PLAIN, &target]].concat();
    podman.refused(&pull, 125, &["name unknown"]).await;
}
