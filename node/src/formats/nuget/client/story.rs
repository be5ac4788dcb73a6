//! By the newer protocol.

use super::*;

/// What a package says that depends on another one.
fn depends_on(id: &str, range: &str) -> String {
    format!("<dependencies><dependency id=\"{id}\" version=\"{range}\" /></dependencies>")
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_are_pushed_found_installed_and_upgraded() {
    let desk = Desk::new().await;
    let (lib, app) = (unique("Acme.Lib"), unique("Acme.App"));
    let token = desk.cluster.token.as_str();
    desk.source(&desk.url(0, At::Project, "index.json"), Some(token));
    for (id, version, more) in [
        (&lib, "1.0.0", String::new()),
        (&lib, "1.1.0", String::new()),
        (&lib, "2.0.0-beta", String::new()),
        (&app, "1.0.0", depends_on(&lib, "[1.0.0,2.0.0)")),
    ] {
        let file = desk.pack(id, version, &more).await;
        desk.push(&file, token).await.says("Your package was pushed.");
    }

    // Through another node, by somebody who may read and no more.
    let read = desk.cluster.deploy_token(&["read_package_registry"]).await;
    let reader = Desk::new().await;
    reader.source(&reader.url(1, At::Project, "index.json"), Some(&read));
    let found = reader.go(&["list", &lib, "-Source", "cairn"]).await;
    assert_eq!(listed(&found), [format!("{lib} 1.1.0")]);
    let found = reader
        .go(&["list", &lib, "-Source", "cairn", "-AllVersions", "-Prerelease"])
        .await;
    for version in ["1.0.0", "1.1.0", "2.0.0-beta"] {
        found.says(&format!("{lib} {version}"));
    }
    let install = to_install(&app, "out");
    reader.go(&install).await;
    let text = |folder: &str, id: &str, version: &str| {
        reader.read(format!("{folder}/{id}.{version}/content/{id} notes.txt"))
    };
    assert_eq!(text("out", &app, "1.0.0"), format!("{app} 1.0.0\n").as_bytes());
    assert_eq!(text("out", &lib, "1.0.0"), format!("{lib} 1.0.0\n").as_bytes());

    // The newest, a prerelease only by name.
    let newest = to_install(&lib, "newest");
    reader.go(&newest).await.says("1.1.0");
    reader
        .go(&[&newest[..], &["-Prerelease"]].concat())
        .await
        .says("2.0.0-beta");
    assert_eq!(
        text("newest", &lib, "2.0.0-beta"),
        format!("{lib} 2.0.0-beta\n").as_bytes()
    );

    // A file that names versions is restored from a third node.
    reader.source(&reader.url(2, At::Project, "v3/index.json"), Some(&read));
    let packages = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<packages>\n  <package id=\"{lib}\" version=\"1.1.0\" \
         targetFramework=\"net45\" />\n</packages>\n"
    );
    reader.write("packages.config", packages);
    let restore = [
        "restore",
        "packages.config",
        "-PackagesDirectory",
        "restored",
        "-NoCache",
    ];
    reader.go(&restore).await;
    assert_eq!(
        text("restored", &lib, "1.1.0"),
        format!("{lib} 1.1.0\n").as_bytes()
    );

    // What is deleted is not found any more, and stays where it is needed.
    let delete = to_delete(&lib, "1.1.0", token);
    desk.go(&delete).await.says("was deleted successfully");
    reader.source(&reader.url(1, At::Project, "index.json"), Some(&read));
    let found = reader.go(&["list", &lib, "-Source", "cairn"]).await;
    assert_eq!(listed(&found), [format!("{lib} 1.0.0")]);
    std::fs::remove_dir_all(reader.home().join("restored")).unwrap();
    reader.go(&restore).await;
    assert_eq!(
        text("restored", &lib, "1.1.0"),
        format!("{lib} 1.1.0\n").as_bytes()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_a_source_that_only_reads() {
    let desk = Desk::new().await;
    let id = unique("Acme.Shared");
    desk.source(&desk.url(0, At::Project, "index.json"), Some(&desk.cluster.token));
    let file = desk.pack(&id, "1.0.0", "").await;
    desk.push(&file, &desk.cluster.token).await;
    desk.source(&desk.url(1, At::Group, "index.json"), Some(&desk.cluster.root));
    let found = desk.go(&["list", &id, "-Source", "cairn"]).await;
    assert_eq!(listed(&found), [format!("{id} 1.0.0")]);
    desk.go(&to_install(&id, "out")).await;
    assert!(!desk.read(format!("out/{id}.1.0.0/{id}.1.0.0.nupkg")).is_empty());
    let push = ["push", &file, "-Source", "cairn", "-ApiKey", &desk.cluster.root];
    desk.refused(&push, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nuget_says_why_it_was_refused() {
    let desk = Desk::new().await;
    let id = unique("Acme.Refused");
    let token = desk.cluster.token.as_str();
    let url = desk.url(0, At::Project, "index.json");
    let file = desk.pack(&id, "1.0.0", "").await;
    let push = |key: &'static str| ["push", "", "-Source", "cairn", "-ApiKey", key];
    let with = |key: &str| {
        let mut push: Vec<String> = push("").map(str::to_owned).to_vec();
        (push[1], push[5]) = (file.clone(), key.to_owned());
        push
    };
    let refused = async |key: &str, parts: &[&str]| {
        let push = with(key);
        let push: Vec<&str> = push.iter().map(String::as_str).collect();
        desk.refused(&push, parts).await
    };

    // Without a token, and with one of nobody.
    desk.source(&url, None);
    let list = ["list", &id, "-Source", "cairn"];
    desk.refused(&list, &["401"]).await;
    desk.source(&url, Some(WRONG_TOKEN));
    desk.refused(&list, &["401"]).await;
    desk.source(
        &desk
            .url(0, At::Project, "index.json")
            .replace("projects/1/", "projects/99/"),
        Some(token),
    );
    desk.refused(&list, &["404"]).await;

    // With a token that may not publish, and with a key of nobody.
    let read = desk.cluster.deploy_token(&["read_package_registry"]).await;
    desk.source(&url, Some(&read));
    refused(&read, &["403", "may not publish"]).await;
    refused(WRONG_TOKEN, &["401"]).await;

    // Twice, with other content.
    desk.source(&url, Some(token));
    desk.push(&file, token).await;
    desk.pack(&id, "1.0.0", "<title>Another</title>").await;
    refused(token, &["409", "exists already"]).await;

    // What is no package, and what would unpack to somewhere else.
    let hostile = packed(&[
        (
            "a.nuspec",
            super::super::nuspec::tests::nuspec_with(&id, "2.0.0", "").as_bytes(),
        ),
        ("%2e%2e/%2e%2e/x", b"x"),
    ]);
    for (bytes, part) in [
        (b"PK\x03\x04 broken".to_vec(), "is damaged"),
        (hostile, "unsafe path"),
    ] {
        desk.write("wrong.nupkg", bytes);
        let push = ["push", "wrong.nupkg", "-Source", "cairn", "-ApiKey", token];
        desk.refused(&push, &["400", part]).await;
    }

    // What is not there.
    let none = unique("Acme.None");
    let install = to_install(&none, "out");
    desk.refused(&install, &[&none]).await;
    let install = [
        "install",
        &id,
        "-Version",
        "9.0.0",
        "-Source",
        "cairn",
        "-OutputDirectory",
        "out",
        "-NoCache",
    ];
    desk.refused(&install, &["9.0.0"]).await;
    let delete = to_delete(&none, "1.0.0", token);
    desk.refused(&delete, &["404"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn symbols_are_pushed_and_fetched_as_the_sdk_and_debuggers_do() {
    let desk = Desk::new().await;
    let id = unique("Acme.Symbols");
    desk.source(&desk.url(0, At::Project, "index.json"), Some(&desk.cluster.token));
    let file = desk.pack(&id, "1.0.0", "").await;
    desk.push(&file, &desk.cluster.token).await;
    let guid: [u8; 16] = blake3::hash(id.as_bytes()).as_bytes()[..16].try_into().unwrap();
    desk.write("symbols.snupkg", symbols_of(&id, "1.0.0", guid));
    let key = format!("X-NuGet-ApiKey: {}", desk.cluster.token);
    let url = desk.url(1, At::Project, "symbolpackage/");
    let push = [
        "-X",
        "PUT",
        "-H",
        &key,
        "-H",
        "Transfer-Encoding: chunked",
        "-F",
        "package=@symbols.snupkg",
        &url,
    ];
    desk.curl(&push).await.says("201");
    let signature = super::super::pdb::signature(super::super::pdb::tests::pdb(guid).as_slice());
    let signature = signature.unwrap().unwrap().to_uppercase();
    let url = desk.url(
        2,
        At::Project,
        &format!("symbolfiles/{id}.pdb/{signature}/{id}.pdb"),
    );
    let user = format!("token:{}", desk.cluster.token);
    desk.curl(&["--user", &user, "--output", "found.pdb", &url])
        .await
        .says("200");
    assert_eq!(desk.read("found.pdb"), super::super::pdb::tests::pdb(guid));

    // What `dotnet restore` asks for: the versions, and one of them.
    let lower = id.to_lowercase();
    let url = desk.url(2, At::Project, &format!("download/{lower}/index.json"));
    desk.curl(&["--user", &user, &url])
        .await
        .says("{\"versions\":[\"1.0.0\"]}");
    let url = desk.url(
        1,
        At::Project,
        &format!("download/{lower}/1.0.0/{lower}.1.0.0.nupkg"),
    );
    desk.curl(&["--user", &user, "--output", "restored.nupkg", &url])
        .await
        .says("200");
    assert_eq!(desk.read("restored.nupkg"), desk.read(&file));
}
