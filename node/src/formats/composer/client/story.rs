//! What users of packages do every day.

use reqwest::Method;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn packages_are_required_updated_and_installed_from_a_lock_file() {
    let cluster = cluster().await;
    let write = cluster
        .deploy_token(&["read_package_registry", "write_package_registry"])
        .await;
    let read = cluster.deploy_token(&["read_package_registry"]).await;
    let author = Author::new(&write);
    let ((lib, said), (base, base_said)) = (named("lib"), named("base"));
    author.publish(cluster, 0, "", &package(&base, "v1.0.0")).await;
    let with_base = json!({"require": {&base: "^1.0"}, "type": "library", "license": "MIT"});
    author
        .publish(cluster, 1, "", &package_with(&lib, "1.0.0", with_base.clone()))
        .await;

    let user = Desk::at(cluster, 2, "projects/1", &read).await;
    user.go(&["require", &format!("{lib}:^1.0")])
        .await
        .says(&format!("Locking {lib} (1.0.0)"));
    assert_eq!(user.said(&said).await, format!("{lib} 1.0.0"));
    assert_eq!(user.said(&base_said).await, format!("{base} v1.0.0"));
    user.go(&["validate", "--no-check-publish"]).await;
    user.go(&["why", &base]).await.says(&lib);

    // An upgrade, published through another node, is seen at once; a prerelease is not taken for one.
    author
        .publish(cluster, 0, "", &package_with(&lib, "1.1.0", with_base.clone()))
        .await;
    author
        .publish(cluster, 1, "", &package_with(&lib, "1.2.0-beta1", with_base))
        .await;
    user.go(&["outdated", "--direct"]).await.says("1.1.0");
    user.go(&["update"])
        .await
        .says(&format!("Upgrading {lib} (1.0.0 => 1.1.0)"));
    assert_eq!(user.said(&said).await, format!("{lib} 1.1.0"));
    user.go(&["show", "--all", &lib])
        .await
        .says("1.2.0-beta1")
        .says("* 1.1.0")
        .says("1.0.0");
    // What has not changed is not sent again.
    user.go(&["update", "-vvv"]).await.says("[304]");

    // Somebody else installs the same through another node, and from a node that the lock file does not name.
    let other = Desk::at(cluster, 0, "projects/1", &read).await;
    other.write("app/composer.json", user.read("app/composer.json"));
    other.write("app/composer.lock", user.read("app/composer.lock"));
    other
        .go(&["install"])
        .await
        .says(&format!("Installing {lib} (1.1.0)"));
    assert_eq!(other.said(&said).await, format!("{lib} 1.1.0"));

    // Names are found, listed and completed.
    user.go(&["search", &lib]).await.says("does things");
    user.go(&["search", "--only-name", &lib]).await.says(&lib);
    user.go(&["show", "--available", "acme/*"])
        .await
        .says(&lib)
        .says(&base);
    user.go(&["remove", &lib]).await.says(&format!("Removing {lib}"));

    // What is deleted is gone for those who look for it, and for those who have it in a lock file.
    let list = format!("/api/v4/projects/1/packages?package_version=1.1.0&package_name={lib}");
    let found = cluster.ask(Method::GET, &list, &cluster.root, None).await;
    cluster
        .delete(&format!("/api/v4/projects/1/packages/{}", found[0]["id"]))
        .await;
    let late = Desk::at(cluster, 1, "projects/1", &read).await;
    late.write("app/composer.lock", other.read("app/composer.lock"));
    late.write("app/composer.json", other.read("app/composer.json"));
    late.refused(&["install"], BROKEN, &["404"]).await;
    late.go(&["update"]).await;
    assert_eq!(late.said(&said).await, format!("{lib} 1.0.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_move_and_lock_files_keep_what_they_had() {
    let cluster = cluster().await;
    let author = Author::new(&cluster.token);
    let (lib, said) = named("moving");
    let alias = |note: &str| {
        let more =
            json!({"version": null, "description": note, "extra": {"branch-alias": {"dev-main": "2.x-dev"}}});
        package_with(&lib, "dev-main", more)
    };
    let first = author
        .publish(cluster, 0, "?version=dev-main&default-branch=1", &alias("one"))
        .await;
    author
        .publish(
            cluster,
            1,
            "?version=dev-feature/x",
            &package_with(&lib, "", json!({"version": null})),
        )
        .await;
    author.publish(cluster, 1, "", &package(&lib, "1.0.0")).await;
    let user = Desk::at(cluster, 1, "projects/1", &cluster.token).await;
    // By its alias, which its own composer.json says.
    user.go(&["require", &format!("{lib}:2.x-dev")]).await;
    assert_eq!(
        user.installed(&lib)["dist"]["reference"],
        first["dist"]["reference"]
    );
    let kept = user.read("app/composer.lock");

    let second = author
        .publish(cluster, 2, "?version=dev-main", &alias("two"))
        .await;
    user.go(&["update"])
        .await
        .says(&format!("Upgrading {lib} (dev-main"));
    assert_eq!(
        user.installed(&lib)["dist"]["reference"],
        second["dist"]["reference"]
    );
    let other = Desk::at(cluster, 0, "projects/1", &cluster.token).await;
    other.write("app/composer.json", user.read("app/composer.json"));
    other.write("app/composer.lock", kept);
    other.go(&["install"]).await;
    assert_eq!(
        other.installed(&lib)["dist"]["reference"],
        first["dist"]["reference"]
    );

    user.go(&["require", &format!("{lib}:dev-feature/x")]).await;
    assert_eq!(user.said(&said).await, format!("{lib} "));
    user.go(&["require", &format!("{lib}:^1.0")]).await;
    assert_eq!(user.said(&said).await, format!("{lib} 1.0.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_and_the_instance_show_the_packages_of_all_projects() {
    let cluster = cluster().await;
    let author = Author::new(&cluster.token);
    let (lib, said) = named("shared");
    author.publish(cluster, 0, "", &package(&lib, "1.0.0")).await;
    // The last two as GitLab and as Gitea have them.
    for (node, place) in [
        (1, "groups/acme"),
        (2, "instance"),
        (0, "group/acme"),
        (1, "packages/acme%2Fdemo"),
    ] {
        let member = Desk::at(cluster, node, place, &cluster.root).await;
        member.go(&["require", &lib]).await;
        assert_eq!(member.said(&said).await, format!("{lib} 1.0.0"), "{place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn audits_tell_of_advisories_and_of_packages_that_are_abandoned() {
    let cluster = cluster().await;
    let author = Author::new(&cluster.token);
    let (lib, _) = named("weak");
    for version in ["1.0.0", "1.1.0"] {
        author.publish(cluster, 0, "", &package(&lib, version)).await;
    }
    let user = Desk::at(cluster, 1, "projects/1", &cluster.token).await;
    user.go(&["require", &format!("{lib}:1.0.0")]).await;
    user.go(&["audit"])
        .await
        .says("No security vulnerability advisories found");
    let base = path("projects/1");
    let advisory = json!({
        "title": "reads too much", "affectedVersions": "<1.1", "cve": "CVE-2026-1", "link": "https://acme.example/1",
        "severity": "high",
    });
    let target = format!("{base}/advisories/{lib}/ACME-2026-1");
    cluster
        .ask(Method::PUT, &target, &cluster.token, Some(advisory))
        .await;
    let audit = user
        .refused(&["audit"], 1, &["reads too much", "CVE-2026-1", "<1.1"])
        .await;
    audit.says(&lib);
    user.go(&["require", &format!("{lib}:^1.1")]).await;
    user.go(&["audit"])
        .await
        .says("No security vulnerability advisories found");

    let target = format!("{}{base}/abandoned/{lib}", cluster.url(2));
    let body = r#"{"replacement":"acme/better"}"#;
    let header = format!("Authorization: Bearer {}", cluster.token);
    let say = [
        "-sS",
        "--fail-with-body",
        "-X",
        "PUT",
        "-H",
        &header,
        "-H",
        "Content-Type: application/json",
        "-d",
        body,
        &target,
    ];
    author.curl.ok(author.curl.home(), &say).await;
    user.go(&["update"]).await.says(&format!(
        "Package {lib} is abandoned, you should avoid using it. Use acme/better instead."
    ));
}

/// Packages are packed by what their authors have: by git, and by Composer.
#[tokio::test(flavor = "multi_thread")]
async fn archives_of_git_and_of_composer_itself_are_taken() {
    let cluster = cluster().await;
    let author = Author::new(&cluster.token);
    let (lib, said) = named("packed");
    let sources = author.curl.folder("sources");
    author.curl.write(
        "sources/composer.json",
        json!({"name": lib, "autoload": {"files": ["src/say.php"]}}).to_string(),
    );
    author.curl.write(
        "sources/src/say.php",
        format!("<?php\nconst {said} = 'packed';\n"),
    );
    author.curl.write("sources/tests/large.txt", "x".repeat(1 << 20));
    let script = "set -eux\ngit init -q\ngit add .\n\
        git -c user.name=me -c user.email=me@example.com commit -q -m one\ngit tag v1.0.0\n\
        git archive --format=zip -o ../root.zip v1.0.0\n\
        git archive --format=zip --prefix=lib-2.0.0/ -o ../folder.zip v1.0.0\n\
        zip -qr ../zip.zip composer.json src\n";
    Client::of_system("bash").ok(&sources, &["-c", script]).await;
    let packer = composer();
    let home = author.curl.home().to_str().unwrap();
    packer
        .ok(
            &sources,
            &["archive", "--format=zip", "--file=composer", "--dir", home],
        )
        .await;
    let archives = [
        ("root.zip", "v1.0.0"),
        ("folder.zip", "2.0.0"),
        ("zip.zip", "3.0.0"),
        ("composer.zip", "4.0.0"),
    ];
    for (file, version) in archives {
        let archive = author.curl.read(file);
        author
            .publish(cluster, 0, &format!("?version={version}"), &archive)
            .await;
    }
    let user = Desk::at(cluster, 1, "projects/1", &cluster.token).await;
    for (_, version) in archives {
        user.go(&["require", &format!("{lib}:{version}")]).await;
        assert_eq!(user.installed(&lib)["version"], version);
        assert_eq!(user.said(&said).await, "packed", "{version}");
    }
    // Whole projects are made of a package, too.
    let made = user.folder("made");
    let repository = format!("{}{}", cluster.url(2), path("projects/1"));
    let create = [
        "create-project",
        "--no-secure-http",
        "--no-install",
        "--repository",
        &repository,
        &lib,
        "site",
        "2.0.0",
    ];
    user.ok(&made, &create).await;
    assert!(made.join("site/src/say.php").exists());
}
