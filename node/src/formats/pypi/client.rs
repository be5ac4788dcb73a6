//! The real clients' stories: publish, install through other nodes, upgrade, pin hashes, yank;
//! and what they make of errors.
//!
//! `ops/clients.d/pypi` installs the clients. Those that only read sign in with a deploy token
//! of the project that may do no more.

mod manual;
mod pip;
mod poetry;
mod trusted;
mod uv;

use std::path::{Path, PathBuf};

use crate::testing::client::{Client, clients};
use crate::testing::cluster::{TestCluster, cluster, unique};

/// A token that Cairn has never given out.
const WRONG_TOKEN: &str = "cnp-wrong";

/// Where a client reads and writes packages.
#[derive(Clone, Copy)]
enum At {
    Project,
    Group,
}

impl TestCluster {
    /// The URL of a registry on one node, without a slash at its end.
    fn pypi_registry(&self, node: usize, at: At) -> String {
        let path = match at {
            At::Project => "projects/1/packages/pypi",
            At::Group => "groups/acme/-/packages/pypi",
        };
        format!("{}/api/v4/{path}", self.url(node))
    }

    /// The URL of the package index, with a token in it.
    fn pypi_index(&self, node: usize, at: At, token: &str) -> String {
        let registry = self.pypi_registry(node, at);
        let place = registry.strip_prefix("http://").unwrap();
        format!("http://__token__:{token}@{place}/simple/")
    }

    /// The token of somebody who may install from `acme/demo`, and nothing else.
    async fn reader(&self) -> String {
        self.deploy_token(&["read_package_registry"]).await
    }
}

/// The folder of a client's programs.
pub(crate) fn bin(folder: &str) -> PathBuf {
    clients().join("pypi").join(folder).join("bin")
}

/// A client in a home of its own, which asks nobody and remembers nothing.
pub(crate) fn client(folder: &str, program: &str) -> Client {
    Client::kept(&format!("pypi/{folder}/bin/{program}"))
        .finding([bin(folder)])
        .with("PIP_NO_CACHE_DIR", "1")
        .with("PIP_NO_INPUT", "1")
        .with("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .with("PIP_RETRIES", "0")
        .with("UV_NO_CACHE", "1")
        .with("UV_PYTHON_DOWNLOADS", "never")
        .with("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
        .with("POETRY_VIRTUALENVS_IN_PROJECT", "true")
        .with("LC_ALL", "C.UTF-8")
}

/// Writes the source of a package of one module, which says its name and version.
fn write_source(folder: &Path, name: &str, version: &str, dependencies: &[&str]) {
    let module = name.replace('-', "_");
    let dependencies = serde_json::json!(dependencies);
    let manifest = format!(
        "[build-system]\nrequires = [\"flit_core\"]\nbuild-backend = \"flit_core.buildapi\"\n\
         [project]\nname = \"{name}\"\nversion = \"{version}\"\ndescription = \"for tests\"\n\
         requires-python = \">=3.8\"\ndependencies = {dependencies}\n\
         authors = [{{name = \"Cairn\", email = \"tests@cairn.example\"}}]\n"
    );
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("pyproject.toml"), manifest).unwrap();
    std::fs::write(folder.join(format!("{module}.py")), module_text(name, version)).unwrap();
}

fn module_text(name: &str, version: &str) -> String {
    format!("\"\"\"For tests.\"\"\"\nTEXT = '{name} {version}'\n")
}

/// Builds a wheel and a source distribution in a folder of its own; gives that folder.
pub(crate) async fn build(builder: &Client, name: &str, version: &str, dependencies: &[&str]) -> PathBuf {
    let folder = builder.folder(&format!("{name}-{version}"));
    write_source(&folder, name, version, dependencies);
    builder
        .ok(&folder, &["-m", "build", "--no-isolation", "--sdist", "--wheel"])
        .await;
    folder.join("dist")
}

/// The wheel in a folder.
fn wheel_in(folder: &Path) -> PathBuf {
    let mut files = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    files
        .find(|file| file.extension().is_some_and(|extension| extension == "whl"))
        .unwrap_or_else(|| panic!("no wheel in {}", folder.display()))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Makes sure of what is installed in a folder.
#[track_caller]
pub(crate) fn has(folder: &Path, name: &str, version: &str) {
    let file = folder.join(format!("{}.py", name.replace('-', "_")));
    let found = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    assert_eq!(found, module_text(name, version));
}

/// Yanks a version as scripts do it.
async fn yank(cluster: &TestCluster, name: &str, version: &str) {
    let path = format!("/api/v4/projects/1/packages/pypi/releases/{name}/{version}/yank");
    let reason = serde_json::json!({"reason": "it is broken"});
    let answer = cluster
        .ask(reqwest::Method::POST, &path, &cluster.token, Some(reason))
        .await;
    assert_eq!(answer["ok"], true, "{answer}");
}
