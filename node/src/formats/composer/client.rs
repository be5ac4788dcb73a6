//! The real client's stories: Composer 2.5 requires packages that another node took, updates them, installs from a
//! lock file, searches and audits; packages are packed by git and by Composer itself, and sent by curl.
//!
//! `ops/clients.d/composer` installs it. Those that only read sign in with a deploy token of the project that may do
//! no more. What no client that can be had does is played to Composer: the documents of the first Composer by a
//! repository that knows of nothing else.

mod failures;
mod library;
mod manual;
mod story;

use std::path::PathBuf;

use serde_json::{Value, json};

use super::artifact::tests::{package, package_with, zip};
use crate::testing::client::{Client, Ran};
use crate::testing::cluster::{TestCluster, cluster, unique};

/// What curl ends with when the server refuses.
const REFUSED: i32 = 22;

/// What Composer ends with when nothing fits what is required.
const UNSOLVABLE: i32 = 2;

/// What it ends with when a repository does not answer as it should.
const BROKEN: i32 = 255;

/// A Composer with a home of its own, which speaks to nobody but those it is told of.
fn composer() -> Client {
    let client = Client::of_system("composer");
    let home = client.home().join("composer");
    client
        .with("COMPOSER_HOME", &home)
        .with("COMPOSER_CACHE_DIR", home.join("cache"))
        .with("COMPOSER_ALLOW_SUPERUSER", "1")
        .with("COMPOSER_NO_INTERACTION", "1")
        // What it says is in lines of this length.
        .with("COLUMNS", "1000")
}

/// Somebody with a Composer, a home and a project that uses the packages of one place.
struct Desk {
    client: Client,
    app: PathBuf,
}

impl std::ops::Deref for Desk {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Desk {
    /// Somebody who reads what is at `place`, as `projects/1`, through one node.
    async fn at(cluster: &TestCluster, node: usize, place: &str, token: &str) -> Self {
        let desk = Self::without_token(cluster, node, place);
        for host in &cluster.nodes {
            let key = format!("http-basic.{host}");
            let set = ["config", "--global", "--auth", &key, "deploy", token];
            desk.client.ok(&desk.app, &set).await;
        }
        desk
    }

    fn without_token(cluster: &TestCluster, node: usize, place: &str) -> Self {
        let client = composer();
        let repository = json!({"type": "composer", "url": format!("{}{}", cluster.url(node), path(place))});
        let project = json!({
            "name": "acme/app", "repositories": [repository, {"packagist": false}],
            "config": {"secure-http": false}, "minimum-stability": "dev", "prefer-stable": true,
        });
        client.write("app/composer.json", project.to_string());
        Self {
            app: client.folder("app"),
            client,
        }
    }

    async fn go(&self, arguments: &[&str]) -> Ran {
        self.ok(&self.app, arguments).await
    }

    async fn refused(&self, arguments: &[&str], code: i32, parts: &[&str]) -> Ran {
        self.fails(&self.app, arguments, code, parts).await
    }

    /// What the packages that are installed say of themselves, by their constants.
    async fn said(&self, constant: &str) -> String {
        let php = Client::of_system("php");
        let code = format!("require 'vendor/autoload.php'; echo {constant};");
        php.ok(&self.app, &["-r", &code]).await.stdout
    }

    /// The version of a package that is installed.
    fn installed(&self, name: &str) -> Value {
        let installed: Value =
            serde_json::from_slice(&self.read("app/vendor/composer/installed.json")).unwrap();
        let packages = installed["packages"].as_array().unwrap();
        let found = packages.iter().find(|package| package["name"] == name);
        found
            .cloned()
            .unwrap_or_else(|| panic!("{name} is not in {installed}"))
    }
}

/// The path of the packages of a place.
fn path(place: &str) -> String {
    match place.split('/').next() {
        Some("projects") => format!("/api/v4/{place}/packages/composer"),
        Some("packages") => format!("/api/{place}/composer"),
        Some("instance") => "/api/v4/packages/composer".to_owned(),
        _ => format!("/api/v4/{place}/-/packages/composer"),
    }
}

/// Somebody who publishes to project 1 with curl.
struct Author {
    curl: Client,
    token: String,
}

impl Author {
    fn new(token: &str) -> Self {
        Self {
            curl: Client::of_system("curl"),
            token: token.to_owned(),
        }
    }

    fn arguments(&self, cluster: &TestCluster, node: usize, query: &str, archive: &[u8]) -> Vec<String> {
        self.curl.write("package.zip", archive);
        let url = format!("{}{}{query}", cluster.url(node), path("projects/1"));
        let user = format!("deploy:{}", self.token);
        let arguments = ["-sS", "--fail-with-body", "-T", "package.zip", "-u", &user, &url];
        arguments.map(str::to_owned).into()
    }

    async fn publish(&self, cluster: &TestCluster, node: usize, query: &str, archive: &[u8]) -> Value {
        let arguments = self.arguments(cluster, node, query, archive);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.curl.ok(self.curl.home(), &arguments).await.json()
    }

    async fn may_not_publish(&self, cluster: &TestCluster, archive: &[u8], status: u16, because: &str) {
        let arguments = self.arguments(cluster, 0, "", archive);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let status = format!("error: {status}");
        let parts = [status.as_str(), because];
        self.curl
            .fails(self.curl.home(), &arguments, REFUSED, &parts)
            .await;
    }
}

/// A name that no other test has, and the constant that [`package`] has in it.
fn named(base: &str) -> (String, String) {
    let name = format!("acme/{}", unique(base));
    let constant = format!(
        "SAID_{}",
        name.trim_start_matches("acme/").replace('-', "_").to_uppercase()
    );
    (name, constant)
}
