//! By the older protocol.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_older_protocol_serves_clients_that_could_do_more() {
    let desk = Desk::new().await;
    let id = unique("Acme.Older");
    let token = desk.cluster.token.as_str();
    desk.source(&desk.url(0, At::Project, "v2"), Some(token));
    for version in ["1.0.0", "1.1.0", "2.0.0-beta"] {
        let file = desk.pack(&id, version, "").await;
        desk.push(&file, token).await.says("Your package was pushed.");
    }
    let read = desk.cluster.deploy_token(&["read_package_registry"]).await;
    desk.source(&desk.url(1, At::Project, "v2"), Some(&read));
    let found = desk.go(&["list", &id, "-Source", "cairn"]).await;
    assert_eq!(listed(&found), [format!("{id} 1.1.0")]);
    let found = desk
        .go(&["list", &id, "-Source", "cairn", "-AllVersions", "-Prerelease"])
        .await;
    for version in ["1.0.0", "1.1.0", "2.0.0-beta"] {
        found.says(&format!("{id} {version}"));
    }
    let install = to_install(&id, "out");
    desk.go(&install).await.says("1.1.0");
    desk.source(&desk.url(2, At::Project, "v2/"), Some(token));
    let delete = to_delete(&id, "1.1.0", token);
    desk.go(&delete).await.says("was deleted successfully");
    let found = desk.go(&["list", &id, "-Source", "cairn"]).await;
    assert_eq!(listed(&found), [format!("{id} 1.0.0")]);
    let install = [
        "install",
        &id,
        "-Version",
        "1.1.0",
        "-Source",
        "cairn",
        "-OutputDirectory",
        "named",
        "-NoCache",
    ];
    desk.go(&install).await;
    assert!(!desk.read(format!("named/{id}.1.1.0/{id}.1.1.0.nupkg")).is_empty());
    desk.pack(&id, "1.0.0", "<title>Another</title>").await;
    let file = format!("{id}.1.0.0.nupkg");
    let push = ["push", &file, "-Source", "cairn", "-ApiKey", token];
    desk.refused(&push, &["409", "exists already"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_before_the_newer_protocol_pushes_and_installs() {
    let desk = Desk::old().await;
    let (lib, app) = (unique("Old.Lib"), unique("Old.App"));
    let token = desk.cluster.token.as_str();
    desk.source(&desk.url(0, At::Project, "v2"), Some(token));
    for version in ["1.0.0", "1.1.0"] {
        let file = desk.pack(&lib, version, "").await;
        desk.push(&file, token).await.says("Your package was pushed.");
    }
    let depends = format!("<dependencies><dependency id=\"{lib}\" version=\"1.0.0\" /></dependencies>");
    let file = desk.pack(&app, "1.0.0", &depends).await;
    desk.push(&file, token).await;
    desk.source(&desk.url(1, At::Project, "v2"), Some(token));
    let install = to_install(&app, "out");
    desk.go(&install).await;
    assert!(!desk.read(format!("out/{app}.1.0.0/{app}.1.0.0.nupkg")).is_empty());
    // What it packed on Unix has backslashes in the names of its files, so only the package is where it is looked for.
    assert!(!desk.read(format!("out/{lib}.1.0.0/{lib}.1.0.0.nupkg")).is_empty());
    let newest = to_install(&lib, "newest");
    desk.go(&newest).await.says("1.1.0");
    desk.pack(&lib, "1.0.0", "<title>Another</title>").await;
    let file = format!("{lib}.1.0.0.nupkg");
    let push = ["push", &file, "-Source", "cairn", "-ApiKey", token];
    desk.refused(&push, &["exists already"]).await;
    let none = unique("Old.None");
    let missing = to_install(&none, "out");
    desk.refused(&missing, &["Unable to find package"]).await;
}
