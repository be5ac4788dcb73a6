//! What Composer says when something is wrong, and what curl says to who publishes.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn composer_says_what_is_wrong() {
    let cluster = cluster().await;
    let author = Author::new(&cluster.token);
    let (lib, _) = named("failing");
    author.publish(cluster, 0, "", &package(&lib, "1.0.0")).await;
    let require = format!("{lib}:^1.0");

    let stranger = Desk::without_token(cluster, 0, "projects/1");
    stranger.refused(&["require", &require], BROKEN, &["401"]).await;
    let impostor = Desk::at(cluster, 0, "projects/1", "cnp-wrong").await;
    impostor.refused(&["require", &require], BROKEN, &["401"]).await;
    let write_only = cluster.deploy_token(&["write_package_registry"]).await;
    let publisher = Desk::at(cluster, 0, "projects/1", &write_only).await;
    publisher.refused(&["require", &require], BROKEN, &["403"]).await;

    let user = Desk::at(cluster, 1, "projects/1", &cluster.token).await;
    let missing = format!("{lib}-no");
    let told = format!("Could not find a matching version of package {missing}");
    user.refused(&["require", &missing], 1, &[&told]).await;
    let wanted = json!({&lib: "^2.0"});
    let mut project: Value = serde_json::from_slice(&user.read("app/composer.json")).unwrap();
    project["require"] = wanted;
    user.write("app/composer.json", project.to_string());
    user.refused(
        &["update"],
        UNSOLVABLE,
        &["found", "1.0.0", "but it does not match the constraint"],
    )
    .await;

    // An archive that is not what the lock file says is not installed.
    project["require"] = json!({&lib: "^1.0"});
    user.write("app/composer.json", project.to_string());
    user.go(&["update", "--no-install"]).await;
    let mut lock: Value = serde_json::from_slice(&user.read("app/composer.lock")).unwrap();
    lock["packages"][0]["dist"]["shasum"] = json!("da39a3ee5e6b4b0d3255bfef95601890afd80709");
    user.write("app/composer.lock", lock.to_string());
    user.refused(&["install"], 1, &["The checksum verification of the file failed"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_published_is_refused_with_the_reason() {
    let cluster = cluster().await;
    let author = Author::new(&cluster.token);
    let (lib, _) = named("refused");
    let archive = package(&lib, "1.0.0");
    let read = cluster.deploy_token(&["read_package_registry"]).await;
    Author::new(&read)
        .may_not_publish(cluster, &archive, 403, "may not publish here")
        .await;
    Author::new("cnp-wrong")
        .may_not_publish(cluster, &archive, 401, "401 Unauthorized")
        .await;
    author.publish(cluster, 0, "", &archive).await;
    // The same again is the same publish, through whatever node.
    author.publish(cluster, 2, "", &archive).await;
    let other = package_with(&lib, "1.0.0", json!({"description": "other"}));
    author
        .may_not_publish(cluster, &other, 409, "exists already")
        .await;
    let climbing = zip(&[
        (
            "composer.json",
            &json!({"name": lib, "version": "2.0"}).to_string(),
        ),
        ("../x", ""),
    ]);
    author
        .may_not_publish(cluster, &climbing, 400, "unsafe path")
        .await;
    author
        .may_not_publish(cluster, b"no archive", 400, "is not a ZIP archive")
        .await;
    let unversioned = package_with(&lib, "", json!({"version": null}));
    author
        .may_not_publish(cluster, &unversioned, 400, "add ?version=")
        .await;
    let broken = package_with(&lib, "2.0", json!({"require": {"acme/x": "^^1"}}));
    author
        .may_not_publish(cluster, &broken, 400, "none that Composer reads")
        .await;
    let user = Desk::at(cluster, 1, "projects/1", &cluster.token).await;
    user.go(&["show", "--all", &lib]).await.says("versions : 1.0.0");
}
