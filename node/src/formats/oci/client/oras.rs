//! oras.

use super::*;

const PLAIN: &str = "--plain-http";

#[tokio::test(flavor = "multi_thread")]
async fn oras_pushes_attaches_discovers_and_deletes() {
    let oras = Desk::new(Client::kept("go/bin/oras")).await;
    let host = oras.host();
    let login = ["login", PLAIN, host, "-u", "root", "-p", &oras.cluster.token];
    oras.go(&login).await;
    oras.write("notes.txt", content("oras"));
    oras.write("bill.json", "{}");
    let app = oras.name("/app:1");
    let notes = ["--artifact-type=application/x-notes", "notes.txt:text/plain"];
    oras.go(&[&["push", PLAIN, &app][..], &notes].concat()).await;
    let subject = oras.go(&["resolve", PLAIN, &app]).await.stdout;
    let bill = [
        "--artifact-type=application/x-bill",
        app.as_str(),
        "bill.json:application/json",
    ];
    oras.go(&[&["attach", PLAIN][..], &bill].concat()).await;
    let discover = ["discover", PLAIN, "--format=json"];
    let found = oras.go(&[&discover[..], &[&app]].concat()).await;
    assert_eq!(
        found.json()["referrers"][0]["artifactType"],
        "application/x-bill",
        "{found}"
    );
    let filtered = [&discover[..], &["--artifact-type=other", &app]].concat();
    let none = oras.go(&filtered).await.json();
    assert!(none["referrers"].as_array().is_none_or(Vec::is_empty), "{none}");
    // A client that kept a list of its own would have left a tag.
    let tags = oras.go(&["repo", "tags", PLAIN, &oras.name("/app")]).await;
    assert_eq!(tags.lines(), ["1"]);

    let copy = oras.name("/copy:1");
    oras.go(&["cp", "-r", "--from-plain-http", "--to-plain-http", &app, &copy])
        .await;
    oras.go(&[&discover[..], &[&copy]].concat())
        .await
        .says("application/x-bill");
    oras.go(&["pull", PLAIN, "-o", "pulled", &copy]).await;
    assert_eq!(oras.read("pulled/notes.txt"), content("oras"));
    oras.go(&["repo", "ls", PLAIN, &format!("{host}/acme/demo")])
        .await
        .says(&format!("{}/app", oras.place));

    let blobs = oras.name("/blobs");
    oras.go(&["blob", "push", PLAIN, &blobs, "notes.txt"]).await;
    let descriptor = ["blob", "push", PLAIN, "--descriptor", &blobs, "bill.json"];
    let descriptor = oras.go(&descriptor).await.json();
    let blob = format!("{blobs}@{}", descriptor["digest"].as_str().unwrap());
    oras.go(&["blob", "fetch", PLAIN, "--output=fetched", &blob])
        .await;
    assert_eq!(oras.read("fetched"), b"{}");
    oras.go(&["blob", "delete", PLAIN, "--force", &blob]).await;
    let again = ["blob", "fetch", PLAIN, "--output=again", &blob];
    oras.refused(&again, 1, &["not found"]).await;
    let manifest = format!("{}@{}", oras.name("/app"), subject.trim());
    oras.go(&["manifest", "delete", PLAIN, "--force", &manifest])
        .await;
    oras.refused(&["resolve", PLAIN, &app], 1, &["not found"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oras_says_why_it_was_refused() {
    let oras = Desk::new(Client::kept("go/bin/oras")).await;
    let host = oras.host();
    let wrong = ["login", PLAIN, host, "-u", "root", "-p", "wrong"];
    oras.refused(&wrong, 1, &["401"]).await;
    oras.write("notes.txt", content("oras refused"));
    let app = oras.name("/app:1");
    let push = ["push", PLAIN, &app, "notes.txt:text/plain"];
    oras.refused(&push, 1, &["401"]).await;
    let login = ["login", PLAIN, host, "-u", "deploy", "-p", &oras.reading().await];
    oras.go(&login).await;
    oras.refused(&push, 1, &["denied"]).await;
    oras.refused(&["pull", PLAIN, &app], 1, &["not found"]).await;
}
