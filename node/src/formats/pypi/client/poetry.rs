//! poetry.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn poetry_publishes_locks_and_installs() {
    let cluster = cluster().await;
    let (name, builder) = (unique("poetry"), client("twine-7", "python"));
    let poetry = client("poetry", "poetry");
    let home = poetry.home().to_owned();
    let publish = async |version: &str| {
        build(&builder, &name, version, &[]).await;
        let folder = builder.home().join(format!("{name}-{version}"));
        poetry.ok(&folder, &["publish", "-r", "cairn"]).await;
        folder
    };
    // It sends credentials to the host of the repository of this name, and to no other.
    let sign_in = async |node: usize, token: &str| {
        let registry = cluster.pypi_registry(node, At::Project);
        let repository = ["config", "repositories.cairn", &registry];
        poetry.ok(&home, &repository).await;
        let credentials = ["config", "http-basic.cairn", "__token__", token];
        poetry.ok(&home, &credentials).await;
    };
    sign_in(0, &cluster.token).await;
    let folder = publish("1.0").await;

    let reader = cluster.reader().await;
    let application = poetry.folder("application");
    let manifest = format!(
        "[project]\nname = \"application\"\nversion = \"1.0\"\nrequires-python = \">=3.8\"\n\
         dependencies = [\"{name}>=1.0\"]\n[tool.poetry]\npackage-mode = false\n\
         [[tool.poetry.source]]\nname = \"cairn\"\nurl = \"{}/simple/\"\npriority = \"primary\"\n",
        cluster.pypi_registry(1, At::Project)
    );
    std::fs::write(application.join("pyproject.toml"), manifest).unwrap();
    sign_in(1, &reader).await;
    poetry.ok(&application, &["install"]).await;
    let installed = |version: &str| {
        let mut packages = std::fs::read_dir(application.join(".venv/lib")).unwrap();
        let packages = packages.next().unwrap().unwrap().path().join("site-packages");
        has(&packages, &name, version);
    };
    installed("1.0");
    let refused = poetry.run(&folder, &["publish", "-r", "cairn"]).await;
    assert_eq!(refused.code, Some(1), "{refused}");
    refused.says("403");

    sign_in(0, &cluster.token).await;
    publish("1.1").await;
    sign_in(1, &reader).await;
    poetry.ok(&application, &["update", "--no-cache"]).await;
    installed("1.1");
    let missing = unique("missing");
    let ran = poetry.run(&application, &["add", &missing]).await;
    assert_eq!(ran.code, Some(1), "{ran}");
    ran.says("Could not find a matching version");
}
