//! uv.

use super::*;

/// An application whose only index is ours.
fn write_application(folder: &Path, registry: &str) {
    let manifest = format!(
        "[project]\nname = \"application\"\nversion = \"1.0\"\nrequires-python = \">=3.8\"\n\
         [[tool.uv.index]]\nname = \"cairn\"\nurl = \"{registry}/simple/\"\n\
         publish-url = \"{registry}\"\ndefault = true\n"
    );
    std::fs::write(folder.join("pyproject.toml"), manifest).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn uv_publishes_locks_and_installs() {
    let cluster = cluster().await;
    let (name, builder) = (unique("uv"), client("twine-7", "python"));
    let (registry, reader) = (cluster.pypi_registry(0, At::Project), cluster.reader().await);
    let check = cluster.pypi_index(0, At::Project, &cluster.token);
    let publish = async |uv: &Client, version: &str| {
        let dist = build(&builder, &name, version, &[]).await;
        let wheel = wheel_in(&dist);
        let arguments = [
            "publish",
            "--publish-url",
            &registry,
            "-u",
            "__token__",
            "-p",
            &cluster.token,
            text(&wheel),
        ];
        uv.ok(builder.home(), &arguments).await;
        wheel
    };
    let uv = client("uv", "uv")
        .with("UV_INDEX_CAIRN_USERNAME", "__token__")
        .with("UV_INDEX_CAIRN_PASSWORD", &reader);
    let wheel = publish(&uv, "1.0").await;
    let again = [
        "publish",
        "--publish-url",
        &registry,
        "--check-url",
        &check,
        "-u",
        "__token__",
        "-p",
        &cluster.token,
        text(&wheel),
    ];
    uv.ok(builder.home(), &again).await.says("already exists");

    let application = uv.folder("application");
    write_application(&application, &cluster.pypi_registry(1, At::Project));
    uv.ok(&application, &["add", &name]).await;
    let lock = std::fs::read_to_string(application.join("uv.lock")).unwrap();
    assert!(
        lock.contains(&cluster.pypi_registry(1, At::Project)) && !lock.contains(&reader),
        "{lock}"
    );
    let installed = |version: &str| {
        let mut packages = std::fs::read_dir(application.join(".venv/lib")).unwrap();
        let packages = packages.next().unwrap().unwrap().path().join("site-packages");
        has(&packages, &name, version);
    };
    installed("1.0");
    std::fs::remove_dir_all(application.join(".venv")).unwrap();
    uv.ok(&application, &["sync", "--locked"]).await;
    installed("1.0");

    // Published a moment ago through another node, and there.
    publish(&uv, "1.1").await;
    uv.ok(&application, &["lock", "--upgrade"]).await;
    uv.ok(&application, &["sync"]).await;
    installed("1.1");
    yank(cluster, &name, "1.1").await;
    let index = cluster.pypi_index(2, At::Project, &reader);
    let target = uv.folder("target");
    let install = [
        "pip",
        "install",
        "--default-index",
        &index,
        "--target",
        text(&target),
        &name,
    ];
    uv.ok(uv.home(), &install).await;
    has(&target, &name, "1.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn uv_says_why_it_was_refused() {
    let cluster = cluster().await;
    let (uv, builder) = (client("uv", "uv"), client("twine-7", "python"));
    let (name, registry) = (unique("uv-refused"), cluster.pypi_registry(0, At::Project));
    let reader = cluster.reader().await;
    let dist = build(&builder, &name, "1.0", &[]).await;
    let publish = async |token: &str, file: &Path| {
        let arguments = [
            "publish",
            "--publish-url",
            &registry,
            "-u",
            "__token__",
            "-p",
            token,
            text(file),
        ];
        uv.run(builder.home(), &arguments).await
    };
    let wheel = wheel_in(&dist);
    for (token, part) in [(WRONG_TOKEN, "401"), (&reader, "may not publish here")] {
        let ran = publish(token, &wheel).await;
        assert_eq!(ran.code, Some(2), "{ran}");
        ran.says(part);
    }
    assert_eq!(publish(&cluster.token, &wheel).await.code, Some(0));
    let other = build(&builder, &name, "1.0", &["something"]).await;
    let ran = publish(&cluster.token, &wheel_in(&other)).await;
    assert_eq!(ran.code, Some(2), "{ran}");
    ran.says("File already exists");

    let target = uv.folder("target");
    let install = async |token: &str, name: &str, parts: &[&str]| {
        let index = cluster.pypi_index(1, At::Project, token);
        let arguments = [
            "pip",
            "install",
            "--default-index",
            &index,
            "--target",
            text(&target),
            name,
        ];
        uv.fails(uv.home(), &arguments, 1, parts).await;
    };
    install(&reader, &unique("missing"), &["was not found"]).await;
    install(WRONG_TOKEN, &name, &["401"]).await;
}
