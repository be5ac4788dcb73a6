//! One story for each client.

use serde_json::Value;

use super::{Client, Fleet, lay_out};

/// Content that no two tests share, of more than one stripe.
fn content(seed: &str) -> Vec<u8> {
    seed.bytes().cycle().take(700_001).collect()
}

/// The digests of what a list holds.
fn lines(text: &str) -> Vec<&str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_copies_inspects_lists_and_deletes() {
    let fleet = Fleet::start().await;
    let skopeo = Client::of_system("skopeo");
    let (host, plain) = (&fleet.balanced, "--tls-verify=false");
    let digest = lay_out(&skopeo, "image", "v1", &content("skopeo"));
    let reference = |host: &str, rest: &str| format!("docker://{host}/acme/demo/skopeo{rest}");
    let login = ["login", plain, "-u", "root", "-p", fleet.token.as_str(), host];
    skopeo.run(&login).await;

    let pushed = reference(host, "/app:v1");
    skopeo
        .run(&[
            "copy",
            "--preserve-digests",
            "--dest-tls-verify=false",
            "oci:image:v1",
            &pushed,
        ])
        .await;
    for node in &fleet.nodes {
        // Each node knows the token, but a client knows it for the host that it signed in to.
        let credentials = format!("--creds=root:{}", fleet.token);
        let there = reference(node, "/app:v1");
        let found = skopeo.run(&["inspect", plain, &credentials, &there]).await;
        let found: Value = serde_json::from_str(&found).unwrap();
        assert_eq!(found["Digest"], digest.as_str());
        let raw = skopeo
            .run(&["inspect", "--raw", plain, &credentials, &there])
            .await;
        let hex = digest.strip_prefix("sha256:").unwrap();
        assert_eq!(raw.as_bytes(), skopeo.read(&format!("image/blobs/sha256/{hex}")));
    }
    // Its layers are mounted into the other repository rather than sent again.
    let copied = reference(host, "/copy:v2");
    skopeo
        .run(&[
            "copy",
            "--preserve-digests",
            "--all",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            &pushed,
            &copied,
        ])
        .await;
    let back = [
        "copy",
        "--preserve-digests",
        "--src-tls-verify=false",
        copied.as_str(),
        "oci:back:v2",
    ];
    skopeo.run(&back).await;
    let index: Value = serde_json::from_slice(&skopeo.read("back/index.json")).unwrap();
    assert_eq!(index["manifests"][0]["digest"], digest.as_str());

    skopeo
        .run(&[
            "copy",
            "--preserve-digests",
            "--dest-tls-verify=false",
            "oci:image:v1",
            &reference(host, "/app:v2"),
        ])
        .await;
    let repository = reference(host, "/app");
    let tags: Value = serde_json::from_str(&skopeo.run(&["list-tags", plain, &repository]).await).unwrap();
    assert_eq!(tags["Tags"], serde_json::json!(["v1", "v2"]));
    // It deletes by digest, so both tags go.
    skopeo.run(&["delete", plain, &pushed]).await;
    skopeo
        .fails(&["inspect", plain, &reference(host, "/app:v2")])
        .await;
    skopeo.run(&["inspect", plain, &copied]).await;

    skopeo.run(&["logout", host]).await;
    let refused = skopeo.fails(&["inspect", plain, &copied]).await;
    assert!(refused.contains("unauthorized"), "{refused}");
    let refused = skopeo
        .fails(&["inspect", plain, "--creds=root:wrong", &copied])
        .await;
    assert!(refused.contains("invalid username/password"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn buildah_and_podman_push_pull_and_search() {
    let fleet = Fleet::start().await;
    let buildah = Client::of_system("buildah");
    let host = fleet.balanced.as_str();
    let image = format!("{host}/acme/demo/podman/app:1");
    buildah.write("hello", content("buildah"));
    let policy = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
    buildah.write(".config/containers/policy.json", policy);
    let login = [
        "login",
        "--tls-verify=false",
        "-u",
        "root",
        "-p",
        fleet.token.as_str(),
        host,
    ];
    buildah.run(&login).await;
    let storage = ["--storage-driver=vfs", "--root=storage", "--runroot=run"];
    let build = async |arguments: &[&str]| buildah.run(&[&storage, arguments].concat()).await;
    let container = build(&["from", "scratch"]).await;
    let container = container.trim();
    build(&["add", container, "hello", "/hello"]).await;
    build(&["commit", "--format=oci", container, "app"]).await;
    build(&["push", "--tls-verify=false", "app", &format!("docker://{image}")]).await;

    let podman = Client::of_system("podman");
    podman.write(".config/containers/policy.json", policy);
    podman.run(&login).await;
    let plain = "--tls-verify=false";
    podman
        .run(&[&storage, ["pull", plain, image.as_str()].as_slice()].concat())
        .await;
    let again = format!("{host}/acme/demo/podman/again:2");
    podman
        .run(&[&storage, ["tag", image.as_str(), again.as_str()].as_slice()].concat())
        .await;
    podman
        .run(&[&storage, ["push", plain, again.as_str()].as_slice()].concat())
        .await;
    let repository = format!("{host}/acme/demo/podman/again");
    let tags = ["search", plain, "--list-tags", repository.as_str()];
    let tags = podman.run(&[&storage, tags.as_slice()].concat()).await;
    assert!(
        lines(&tags).iter().any(|line| line.ends_with("/again  2")),
        "{tags}"
    );
    let term = format!("{host}/podman");
    let found = ["search", plain, "--format={{.Name}}", term.as_str()];
    let found = podman.run(&[&storage, found.as_slice()].concat()).await;
    assert!(found.contains("acme/demo/podman/app"), "{found}");
    let wrong = ["login", plain, "-u", "root", "-p", "wrong", host];
    podman.fails(&wrong).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crane_appends_copies_tags_lists_and_deletes() {
    let fleet = Fleet::start().await;
    let crane = Client::built("crane");
    let host = fleet.balanced.as_str();
    let name = |rest: &str| format!("{host}/acme/demo/crane{rest}");
    crane
        .run(&["auth", "login", host, "-u", "root", "-p", &fleet.token])
        .await;
    crane.write("file", content("crane"));
    let layer = {
        let mut tar = tar::Builder::new(Vec::new());
        tar.append_path_with_name(crane.home().join("file"), "file")
            .unwrap();
        tar.into_inner().unwrap()
    };
    crane.write("layer.tar", layer);
    let app = name("/app:1");
    crane
        .run(&["append", "--oci-empty-base", "-f", "layer.tar", "-t", &app])
        .await;
    let digest = crane.run(&["digest", &app]).await;
    let digest = digest.trim();
    crane.run(&["validate", "--remote", &app]).await;
    crane.run(&["tag", &app, "latest"]).await;
    assert_eq!(lines(&crane.run(&["ls", &name("/app")]).await), ["1", "latest"]);
    crane.run(&["copy", &app, &name("/copy:1")]).await;
    assert_eq!(crane.run(&["digest", &name("/copy:1")]).await.trim(), digest);
    crane.run(&["pull", &name("/copy:1"), "image.tar"]).await;
    crane.run(&["push", "image.tar", &name("/pushed:1")]).await;
    let index = name("/index:1");
    crane.run(&["index", "append", "-m", &app, "-t", &index]).await;
    assert!(crane.run(&["manifest", &index]).await.contains(digest));
    let catalog = crane.run(&["catalog", host]).await;
    for repository in [
        "acme/demo/crane/app",
        "acme/demo/crane/copy",
        "acme/demo/crane/pushed",
    ] {
        assert!(lines(&catalog).contains(&repository), "{catalog}");
    }
    crane.run(&["delete", &app]).await;
    assert_eq!(lines(&crane.run(&["ls", &name("/app")]).await), ["latest"]);
    crane
        .run(&["delete", &format!("{}@{digest}", name("/app"))])
        .await;
    crane.fails(&["manifest", &name("/app:latest")]).await;
    crane.run(&["manifest", &name("/copy:1")]).await;
    crane
        .run(&["auth", "login", host, "-u", "root", "-p", "wrong"])
        .await;
    let refused = crane.fails(&["ls", &name("/copy")]).await;
    assert!(refused.contains("UNAUTHORIZED"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn oras_pushes_attaches_discovers_and_deletes() {
    let fleet = Fleet::start().await;
    let oras = Client::built("oras");
    let host = fleet.balanced.as_str();
    let plain = "--plain-http";
    oras.run(&["login", plain, host, "-u", "root", "-p", &fleet.token])
        .await;
    oras.write("notes.txt", content("oras"));
    oras.write("bill.json", "{}");
    let name = |rest: &str| format!("{host}/acme/demo/oras{rest}");
    let app = name("/app:1");
    oras.run(&[
        "push",
        plain,
        &app,
        "--artifact-type=application/x-notes",
        "notes.txt:text/plain",
    ])
    .await;
    let subject = oras.run(&["resolve", plain, &app]).await;
    let attach = [
        "attach",
        plain,
        "--artifact-type=application/x-bill",
        app.as_str(),
        "bill.json:application/json",
    ];
    oras.run(&attach).await;
    let found = oras.run(&["discover", plain, "--format=json", &app]).await;
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!(
        found["referrers"][0]["artifactType"], "application/x-bill",
        "{found}"
    );
    let filtered = [
        "discover",
        plain,
        "--format=json",
        "--artifact-type=other",
        app.as_str(),
    ];
    let none: Value = serde_json::from_str(&oras.run(&filtered).await).unwrap();
    assert!(none["referrers"].as_array().is_none_or(Vec::is_empty), "{none}");
    // A client that kept a list of its own would have left a tag.
    assert_eq!(
        lines(&oras.run(&["repo", "tags", plain, &name("/app")]).await),
        ["1"]
    );

    let copy = name("/copy:1");
    oras.run(&["cp", "-r", "--from-plain-http", "--to-plain-http", &app, &copy])
        .await;
    let copied = oras.run(&["discover", plain, "--format=json", &copy]).await;
    assert!(copied.contains("application/x-bill"), "{copied}");
    oras.run(&["pull", plain, "-o", "pulled", &copy]).await;
    assert_eq!(oras.read("pulled/notes.txt"), content("oras"));
    let repositories = oras
        .run(&["repo", "ls", plain, &format!("{host}/acme/demo")])
        .await;
    assert!(repositories.contains("oras/app"), "{repositories}");

    oras.run(&["blob", "push", plain, &name("/blobs"), "notes.txt"])
        .await;
    let descriptor = oras
        .run(&[
            "blob",
            "push",
            plain,
            "--descriptor",
            &name("/blobs"),
            "bill.json",
        ])
        .await;
    let descriptor: Value = serde_json::from_str(&descriptor).unwrap();
    let blob = format!("{}@{}", name("/blobs"), descriptor["digest"].as_str().unwrap());
    oras.run(&["blob", "fetch", plain, "--output=fetched", &blob])
        .await;
    assert_eq!(oras.read("fetched"), b"{}");
    oras.run(&["blob", "delete", plain, "--force", &blob]).await;
    oras.fails(&["blob", "fetch", plain, "--output=again", &blob])
        .await;
    let manifest = format!("{}@{}", name("/app"), subject.trim());
    oras.run(&["manifest", "delete", plain, "--force", &manifest])
        .await;
    oras.fails(&["resolve", plain, &app]).await;
    oras.fails(&["login", plain, host, "-u", "root", "-p", "wrong"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_pushes_and_pulls_charts() {
    let fleet = Fleet::start().await;
    let helm = Client::built("helm");
    let host = fleet.balanced.as_str();
    let plain = "--plain-http";
    let login = [
        "registry",
        "login",
        plain,
        host,
        "-u",
        "root",
        "-p",
        fleet.token.as_str(),
    ];
    helm.run(&login).await;
    helm.write(
        "chart/Chart.yaml",
        "apiVersion: v2\nname: web\nversion: 1.2.3+build.4\n",
    );
    helm.write(
        "chart/templates/note.yaml",
        "kind: ConfigMap\napiVersion: v1\nmetadata:\n  name: note\n",
    );
    helm.run(&["package", "chart"]).await;
    let charts = format!("oci://{host}/acme/demo/charts");
    helm.run(&["push", plain, "web-1.2.3+build.4.tgz", &charts]).await;
    let chart = format!("{charts}/web");
    let shown = helm
        .run(&["show", "chart", plain, &chart, "--version", "1.2.3+build.4"])
        .await;
    assert!(shown.contains("name: web"), "{shown}");
    let rendered = helm
        .run(&["template", plain, "x", &chart, "--version", "~1.2.0"])
        .await;
    assert!(rendered.contains("ConfigMap"), "{rendered}");
    let packaged = helm.read("web-1.2.3+build.4.tgz");
    helm.run(&["pull", plain, &chart, "--version", "1.2.3+build.4", "-d", "."])
        .await;
    assert_eq!(helm.read("web-1.2.3+build.4.tgz"), packaged);
    helm.run(&["registry", "logout", host]).await;
    helm.fails(&["show", "chart", plain, &chart, "--version", "1.2.3+build.4"])
        .await;
    let wrong = ["registry", "login", plain, host, "-u", "root", "-p", "wrong"];
    helm.fails(&wrong).await;
}
