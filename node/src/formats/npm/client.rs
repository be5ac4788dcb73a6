//! The real clients' stories: sign in, publish, install from other nodes, tag, deprecate,
//! search, audit, unpublish; what they make of errors; and what the manual tells to type.
//!
//! `ops/clients.d/npm` installs the clients. Each signs in with the token of a project, except
//! where a story is about who may not.

mod berry;
mod bun;
mod classic;
mod manual;
mod npm;
mod pnpm;
mod trusted;

use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::{Value, json};

use crate::testing::client::{Client, clients, noise};
use crate::testing::cluster::{TestCluster, unique};

/// How large a tarball that is called large is.
const LARGE_BYTES: usize = 32 << 20;

/// A token that Cairn has never given out.
const WRONG_TOKEN: &str = "cnp-wrong";

/// Where a client reads and writes packages.
#[derive(Clone, Copy)]
enum At {
    Project,
    Group,
    Instance,
}

impl TestCluster {
    /// The URL of a registry on one node, with a slash at its end.
    fn registry(&self, node: usize, at: At) -> String {
        let path = match at {
            At::Project => "projects/1/packages/npm",
            At::Group => "groups/acme/-/packages/npm",
            At::Instance => "packages/npm",
        };
        format!("{}/api/v4/{path}/", self.url(node))
    }

    /// An `.npmrc` that uses one node and has a token for it.
    fn npmrc(&self, node: usize, at: At, token: &str) -> String {
        let registry = self.registry(node, at);
        let place = registry.strip_prefix("http:").unwrap();
        format!("registry={registry}\n{place}:_authToken={token}\n")
    }
}

/// One of the clients, with names that no other client uses.
struct Desk {
    /// The folder below `$CAIRN_CLIENTS/npm`.
    name: &'static str,
    client: Client,
    cluster: &'static TestCluster,
}

impl std::ops::Deref for Desk {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// The folder of a client's programs.
pub(crate) fn bin(name: &str) -> PathBuf {
    clients().join("npm").join(name).join("node_modules/.bin")
}

impl Desk {
    async fn new(name: &'static str, program: &str) -> Self {
        let client = Client::kept(&format!("npm/{name}/node_modules/.bin/{program}"));
        // Some clients call npm for what they do not do themselves.
        let client = client.finding([bin(name), bin("npm-11"), bin("node")]);
        let home = client.home().to_owned();
        let client = client
            .with("npm_config_cache", home.join("npm-cache"))
            .with("npm_config_userconfig", home.join(".npmrc"))
            .with("npm_config_update_notifier", "false")
            .with("npm_config_fund", "false")
            .with("npm_config_fetch_retries", "0")
            .with("YARN_ENABLE_TELEMETRY", "0")
            .with("YARN_ENABLE_GLOBAL_CACHE", "0")
            .with("BUN_INSTALL_CACHE_DIR", home.join("bun-cache"));
        Self {
            name,
            client,
            cluster: crate::testing::cluster::cluster().await,
        }
    }

    /// A name for packages that no other client uses, and no other run.
    fn unique(&self, name: &str) -> String {
        unique(&format!("{}-{name}", self.name))
    }

    /// Makes sure that an audit of an application tells of what is said of a package that it has, as long as it is said,
    /// and otherwise of this.
    async fn audits(&self, application: &Path, command: &[&str], sound: &str, package: &str) {
        self.ok(application, command).await.says(sound);
        let package = package.replace('/', "%2f");
        let path = format!("/api/v4/projects/1/packages/npm/-/advisories/{package}/ACME-2026-1");
        let weakness = json!({
            "title": "reads too much", "affectedVersions": "<1.1", "severity": "high",
            "link": "https://acme.example/1",
        });
        let token = &self.cluster.token;
        self.cluster.ask(Method::PUT, &path, token, Some(weakness)).await;
        let told = ["reads too much", "https://acme.example/1"];
        self.fails(application, command, 1, &told).await;
        self.cluster.delete(&path).await;
        self.ok(application, command).await.says(sound);
    }

    /// A folder with an application that has no dependencies yet.
    fn application(&self, name: &str) -> PathBuf {
        let application = self.folder(name);
        write_application(&application);
        application
    }
}

fn write_application(folder: &Path) {
    let write = |file: &str, text: &str| std::fs::write(folder.join(file), text).unwrap();
    write(
        "package.json",
        r#"{"name":"application","version":"1.0.0","private":true}"#,
    );
    // pnpm refuses what was published today, unless it is told not to.
    write("pnpm-workspace.yaml", "minimumReleaseAge: 0\n");
}

/// Writes a package into a folder.
fn write_package(folder: &Path, name: &str, version: &str, more: Value) {
    let mut manifest = json!({
        "name": name, "version": version, "description": format!("{name} for tests"),
        "main": "index.js", "license": "Apache-2.0", "keywords": ["cairn"],
    });
    manifest
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    std::fs::write(folder.join("package.json"), manifest.to_string()).unwrap();
    std::fs::write(folder.join("index.js"), index(name, version)).unwrap();
    std::fs::write(folder.join("README.md"), format!("# {name}\n")).unwrap();
}

/// What a package that was written by [`write_package`] does.
fn index(name: &str, version: &str) -> String {
    format!("module.exports = '{name} {version}'\n")
}

/// Adds a file to a package that makes its tarball large.
fn write_noise(folder: &Path) {
    std::fs::write(folder.join("noise"), noise("npm", LARGE_BYTES)).unwrap();
}

/// Makes sure that an application has the large package.
#[track_caller]
fn has_noise(application: &Path, name: &str) {
    let file = application.join("node_modules").join(name).join("noise");
    assert!(std::fs::read(file).unwrap() == noise("npm", LARGE_BYTES));
}

/// What an application has of a package.
#[track_caller]
fn installed(application: &Path, name: &str) -> String {
    let file = application.join("node_modules").join(name).join("index.js");
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Forgets what is installed, and nothing else.
fn uninstall(application: &Path) {
    std::fs::remove_dir_all(application.join("node_modules")).unwrap();
}

/// Appends a second compressed stream to a tarball: clients do not mind and send it, but other
/// unpackers would see another package.
fn corrupt(tarball: &Path) {
    let mut bytes = std::fs::read(tarball).unwrap();
    let mut second = flate2::read::GzEncoder::new(&b""[..], flate2::Compression::fast());
    std::io::Read::read_to_end(&mut second, &mut bytes).unwrap();
    std::fs::write(tarball, bytes).unwrap();
}
