//! Conan 2.

use super::*;

/// A desk that has signed in at the project through one node.
async fn signed_in(node: usize, token: &str) -> Desk {
    let desk = Desk::with("conan-2").await;
    desk.add_remote(node).await;
    desk.go(&["remote", "login", "cairn", "__token__", "-p", token])
        .await;
    desk.go(&["profile", "detect"]).await;
    desk
}

impl Desk {
    async fn publish(&self, name: &str, version: &str, text: &str) {
        self.recipe(name, version, text);
        self.go(&["create", "recipe"]).await;
        let reference = format!("{name}/{version}");
        self.go(&["upload", &reference, "-r", "cairn", "-c"]).await;
    }

    /// Installs a requirement, and gives what the header says.
    async fn header(&self, requirement: &str, name: &str, more: &[&str]) -> String {
        let requires = format!("--requires={requirement}");
        let install = [
            "install",
            &requires,
            "-r",
            "cairn",
            "--deployer=full_deploy",
            "--deployer-folder=out",
        ];
        self.go(&[&install[..], more].concat()).await;
        let found = std::process::Command::new("find")
            .arg(self.home().join("out/full_deploy/host").join(name))
            .args(["-name", "header.h"])
            .output()
            .unwrap();
        let path = String::from_utf8(found.stdout).unwrap();
        let mut paths = path.lines();
        let header = std::fs::read_to_string(paths.next_back().unwrap()).unwrap();
        std::fs::remove_dir_all(self.home().join("out")).unwrap();
        header
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_are_published_found_installed_upgraded_and_deleted() {
    let name = unique("web");
    let token = cluster().await.token.clone();
    let read = cluster().await.deploy_token(&["read_package_registry"]).await;
    let ours = signed_in(0, &token).await;
    let theirs = signed_in(1, &read).await;
    ours.publish(&name, "1.0.0", "one").await;
    theirs
        .go(&["search", &format!("{name}*"), "-r", "cairn"])
        .await
        .says(&format!("{name}/1.0.0"));
    let listed = theirs
        .go(&[
            "list",
            &format!("{name}/1.0.0#*:*#*"),
            "-r",
            "cairn",
            "-f",
            "json",
        ])
        .await;
    listed.says("\"os\": \"Linux\"").says("\"shared\": \"False\"");
    assert_eq!(theirs.header(&format!("{name}/1.0.0"), &name, &[]).await, "one");

    // A newer revision of the same version is found by those who ask for it, and a higher version by a
    // range, right after they were published through another node.
    ours.publish(&name, "1.0.0", "two").await;
    let theirs_by_2 = signed_in(2, &read).await;
    let range = format!("{name}/[>=1 <2]");
    assert_eq!(theirs_by_2.header(&range, &name, &[]).await, "two");
    assert_eq!(theirs.header(&format!("{name}/1.0.0"), &name, &[]).await, "one");
    assert_eq!(
        theirs.header(&format!("{name}/1.0.0"), &name, &["-u"]).await,
        "two"
    );
    ours.publish(&name, "1.1.0", "three").await;
    assert_eq!(theirs.header(&range, &name, &["-u"]).await, "three");

    // What is there is not sent again, and may be.
    let reference = format!("{name}/1.1.0");
    ours.go(&["upload", &reference, "-r", "cairn", "-c"])
        .await
        .says("already in server, skipping upload");
    ours.go(&["upload", &reference, "-r", "cairn", "-c", "--force"])
        .await;
    ours.go(&["upload", &reference, "-r", "cairn", "-c", "--check"])
        .await;
    theirs
        .go(&["download", &format!("{name}/1.0.0:*"), "-r", "cairn"])
        .await;

    // Binaries, a revision, and all of it.
    ours.go(&["remove", &format!("{name}/1.1.0:*"), "-r", "cairn", "-c"])
        .await;
    let fresh = signed_in(2, &read).await;
    fresh
        .refused(
            &["install", &format!("--requires={reference}"), "-r", "cairn"],
            &["Missing prebuilt package"],
        )
        .await;
    ours.go(&["remove", &format!("{name}/*"), "-r", "cairn", "-c"])
        .await;
    fresh
        .refused(
            &["install", &format!("--requires={name}/1.0.0"), "-r", "cairn"],
            &["not resolved"],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_and_other_compressions_are_kept() {
    let name = unique("notes");
    let ours = signed_in(0, &cluster().await.token).await;
    ours.publish(&name, "1.0.0", "one").await;
    let reference = format!("{name}/1.0.0");
    let folder = ours.go(&["cache", "path", &reference, "--folder=metadata"]).await;
    std::fs::write(format!("{}/build.log", folder.stdout.trim()), "it was built").unwrap();
    let upload = [
        "upload",
        &reference,
        "-r",
        "cairn",
        "-c",
        "--force",
        "--metadata=*",
    ];
    ours.go(&upload).await;
    let theirs = signed_in(1, &cluster().await.token).await;
    theirs
        .go(&["download", &reference, "-r", "cairn", "--metadata=*"])
        .await;
    let folder = theirs
        .go(&["cache", "path", &reference, "--folder=metadata"])
        .await;
    let log = std::fs::read_to_string(format!("{}/build.log", folder.stdout.trim()));
    assert_eq!(log.unwrap(), "it was built");

    // The newest compression needs a newer Python than Debian has.
    let (name, xz) = (unique("packed"), "core.upload:compression_format=xz");
    ours.recipe(&name, "1.0.0", "packed");
    ours.go(&["create", "recipe"]).await;
    let reference = format!("{name}/1.0.0");
    ours.go(&["upload", &reference, "-r", "cairn", "-c", "-cc", xz])
        .await;
    assert_eq!(theirs.header(&reference, &name, &[]).await, "packed");
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_may_not_are_told_so() {
    let name = unique("closed");
    let cluster = cluster().await;
    let ours = signed_in(0, &cluster.token).await;
    ours.publish(&name, "1.0.0", "one").await;
    let reference = format!("{name}/1.0.0");
    let install = ["install", &format!("--requires={reference}"), "-r", "cairn"].map(str::to_owned);
    let install: Vec<&str> = install.iter().map(String::as_str).collect();

    // Without a token, and with one that Cairn does not know.
    let stranger = Desk::with("conan-2").await;
    stranger.add_remote(1).await;
    stranger.go(&["profile", "detect"]).await;
    stranger.refused(&install, &["interactive mode disabled"]).await;
    stranger
        .refused(
            &["remote", "login", "cairn", "__token__", "-p", WRONG_TOKEN],
            &["Wrong user or password"],
        )
        .await;
    // A deploy token has its own name.
    let read = cluster.deploy_token(&["read_package_registry"]).await;
    stranger
        .refused(
            &["remote", "login", "cairn", "somebody", "-p", &read],
            &["Wrong user or password"],
        )
        .await;
    stranger
        .go(&["remote", "login", "cairn", "deploy", "-p", &read])
        .await;
    stranger.go(&install).await;
    // It reads, and neither publishes nor deletes.
    stranger.recipe(&name, "2.0.0", "two");
    stranger.go(&["create", "recipe"]).await;
    stranger
        .refused(
            &["upload", &format!("{name}/2.0.0"), "-r", "cairn", "-c"],
            &["Permission denied", "this token may not publish here"],
        )
        .await;
    stranger
        .refused(
            &["remove", &reference, "-r", "cairn", "-c"],
            &["Permission denied"],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_or_other_than_published_is_refused() {
    let name = unique("damaged");
    let ours = signed_in(0, &cluster().await.token).await;
    ours.publish(&name, "1.0.0", "one").await;
    let reference = format!("{name}/1.0.0");
    // The recipe of a revision that is there is changed in the cache, and forced.
    let path = ours.go(&["cache", "path", &reference]).await;
    let recipe = format!("{}/conanfile.py", path.stdout.trim());
    let text = std::fs::read_to_string(&recipe).unwrap();
    std::fs::write(&recipe, format!("{text}# changed\n")).unwrap();
    ours.refused(
        &[
            "upload",
            &reference,
            "-r",
            "cairn",
            "-c",
            "--force",
            "--only-recipe",
        ],
        &["is published already, with other content"],
    )
    .await;
    // The same of one that is not there: it is not what its manifest tells of.
    ours.recipe(&name, "2.0.0", "two");
    ours.go(&["create", "recipe"]).await;
    let reference = format!("{name}/2.0.0");
    let path = ours.go(&["cache", "path", &reference]).await;
    let recipe = format!("{}/conanfile.py", path.stdout.trim());
    let text = std::fs::read_to_string(&recipe).unwrap();
    std::fs::write(&recipe, format!("{text}# changed\n")).unwrap();
    ours.refused(
        &["upload", &reference, "-r", "cairn", "-c"],
        &["is not the one that its manifest tells of"],
    )
    .await;
    let theirs = signed_in(1, &cluster().await.token).await;
    theirs
        .refused(
            &["install", &format!("--requires={reference}"), "-r", "cairn"],
            &["not resolved"],
        )
        .await;
    // A link that leads out of the package.
    ours.recipe(&name, "3.0.0", "three");
    let text = String::from_utf8(ours.read("recipe/conanfile.py")).unwrap();
    let link = "        os.symlink(\"../../../etc/passwd\", os.path.join(self.package_folder, \"include\", \"evil\"))\n";
    ours.write("recipe/conanfile.py", format!("{text}{link}"));
    ours.go(&["create", "recipe"]).await;
    ours.refused(
        &["upload", &format!("{name}/3.0.0"), "-r", "cairn", "-c"],
        &["leads out of it"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_reads_and_the_instance_has_what_says_its_project() {
    let name = unique("shared");
    let cluster = cluster().await;
    let ours = signed_in(0, &cluster.token).await;
    ours.publish(&name, "1.0.0", "one").await;
    let new = serde_json::json!({"name": "group", "scopes": ["api"], "access_level": 40});
    let token = cluster.group_token(new).await;
    for (path, is_group) in [("groups/acme/-/packages", true), ("packages", false)] {
        let theirs = Desk::with("conan-2").await;
        let url = format!("{}/api/v4/{path}/conan", cluster.url(1));
        theirs.go(&["remote", "add", "cairn", &url]).await;
        theirs
            .go(&["remote", "login", "cairn", "__token__", "-p", &token])
            .await;
        theirs.go(&["profile", "detect"]).await;
        if is_group {
            assert_eq!(theirs.header(&format!("{name}/1.0.0"), &name, &[]).await, "one");
            theirs.recipe(&name, "1.1.0", "two");
            theirs.go(&["create", "recipe"]).await;
            let upload = ["upload", &format!("{name}/1.1.0"), "-r", "cairn", "-c"].map(str::to_owned);
            let upload: Vec<&str> = upload.iter().map(String::as_str).collect();
            theirs
                .refused(&upload, &["recipes are published to a project"])
                .await;
            continue;
        }
        theirs.recipe(&name, "2.0.0", "two");
        theirs
            .go(&["create", "recipe", "--user=acme+demo", "--channel=stable"])
            .await;
        let reference = format!("{name}/2.0.0@acme+demo/stable");
        theirs.go(&["upload", &reference, "-r", "cairn", "-c"]).await;
        theirs.go(&["remove", &reference, "-c"]).await;
        assert_eq!(theirs.header(&reference, &name, &[]).await, "two");
        let ours = signed_in(2, &cluster.token).await;
        assert_eq!(ours.header(&reference, &name, &[]).await, "two");
    }
}
