//! Conan 1, with and without revisions.

use super::*;

async fn signed_in(node: usize, token: &str, revisions: bool) -> Desk {
    let desk = Desk::with("conan-1").await;
    desk.go(&["config", "init"]).await;
    let enabled = format!("general.revisions_enabled={}", u8::from(revisions));
    desk.go(&["config", "set", &enabled]).await;
    desk.add_remote(node).await;
    desk.go(&["user", "-p", token, "-r", "cairn", "__token__"]).await;
    desk
}

impl Desk {
    async fn publish_as(&self, name: &str, reference: &str, text: &str) {
        let version = reference.split(['/', '@']).nth(1).unwrap();
        self.recipe(name, version, text);
        let of = &reference[reference.find('@').unwrap() + 1..];
        self.go(&["create", "recipe", of]).await;
        self.go(&["upload", reference, "--all", "-r", "cairn", "-c"])
            .await;
    }

    /// Installs a reference, and gives what the header says.
    async fn installed(&self, reference: &str, more: &[&str]) -> String {
        let install = ["install", reference, "-r", "cairn", "-if", "out", "-g", "deploy"];
        let _ = std::fs::remove_dir_all(self.home().join("out"));
        self.go(&[&install[..], more].concat()).await;
        let name = reference.split('/').next().unwrap();
        String::from_utf8(self.read(format!("out/{name}/include/header.h"))).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_are_published_installed_replaced_and_deleted() {
    for revisions in [false, true] {
        let name = unique("old");
        let cluster = cluster().await;
        let read = cluster.deploy_token(&["read_package_registry"]).await;
        let ours = signed_in(0, &cluster.token, revisions).await;
        let theirs = signed_in(1, &read, revisions).await;
        let reference = format!("{name}/1.0.0@acme/stable");
        ours.publish_as(&name, &reference, "one").await;
        theirs
            .go(&["search", &format!("{name}*"), "-r", "cairn"])
            .await
            .says(&reference);
        theirs
            .go(&["search", &reference, "-r", "cairn"])
            .await
            .says("shared: False")
            .says("os: Linux");
        assert_eq!(theirs.installed(&reference, &[]).await, "one");
        ours.publish_as(&name, &reference, "two").await;
        assert_eq!(theirs.installed(&reference, &["-u"]).await, "two");
        ours.publish_as(&name, &format!("{name}/1.1.0@acme/stable"), "three")
            .await;
        let range = format!("{name}/[>=1.0 <2]@acme/stable");
        assert_eq!(theirs.installed(&range, &["-u"]).await, "three");
        theirs.go(&["download", &reference, "-r", "cairn"]).await;

        theirs
            .refused(
                &["upload", &reference, "--all", "-r", "cairn", "-c", "--force"],
                &["Permission denied"],
            )
            .await;
        theirs
            .refused(
                &["remove", &reference, "-r", "cairn", "-f"],
                &["Permission denied"],
            )
            .await;
        ours.go(&["remove", &reference, "-r", "cairn", "-f", "-p"]).await;
        let fresh = signed_in(2, &read, revisions).await;
        fresh
            .refused(
                &["install", &reference, "-r", "cairn"],
                &["Missing prebuilt package"],
            )
            .await;
        ours.go(&["remove", &reference, "-r", "cairn", "-f"]).await;
        let fresh = signed_in(1, &read, revisions).await;
        fresh
            .refused(&["install", &reference, "-r", "cairn"], &["not found"])
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_told() {
    let desk = Desk::with("conan-1").await;
    desk.add_remote(0).await;
    desk.refused(
        &["user", "-p", WRONG_TOKEN, "-r", "cairn", "__token__"],
        &["Wrong user or password"],
    )
    .await;
    desk.refused(&["install", "none/1.0@acme/stable", "-r", "cairn"], &["ERROR"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_generations_install_what_the_other_published() {
    let name = unique("both");
    let cluster = cluster().await;
    let first = signed_in(0, &cluster.token, true).await;
    let reference = format!("{name}/1.0.0@acme/stable");
    first.publish_as(&name, &reference, "one").await;
    let second = Desk::with("conan-2").await;
    second.add_remote(1).await;
    second
        .go(&["remote", "login", "cairn", "__token__", "-p", &cluster.token])
        .await;
    second
        .go(&["search", &format!("{name}*"), "-r", "cairn"])
        .await
        .says(&reference);
    // Recipes are shared; binaries are each generation's own.
    second
        .go(&["download", &reference, "-r", "cairn", "--only-recipe"])
        .await;
    let without = signed_in(2, &cluster.token, false).await;
    assert_eq!(without.installed(&reference, &[]).await, "one");
}
