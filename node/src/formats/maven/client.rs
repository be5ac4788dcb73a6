//! The real clients' stories: publish, resolve through other nodes, by release, snapshot and range; delete; and what
//! they make of errors.
//!
//! `ops/clients.d/maven` installs the clients. Those that only read sign in with a deploy token of the project that
//! may do no more. What mvn itself is made of comes from the repository that Debian's packages hold.

mod gradle;
mod ivy;
mod manual;
mod mvn;
mod sbt;

use std::path::PathBuf;

use crate::testing::client::Client;
use crate::testing::cluster::{TestCluster, cluster, unique};

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
    /// The URL of a repository on one node, with a slash at its end.
    fn maven_repository(&self, node: usize, at: At) -> String {
        let path = match at {
            At::Project => "projects/1/packages/maven",
            At::Group => "groups/acme/-/packages/maven",
            At::Instance => "packages/maven",
        };
        format!("{}/api/v4/{path}/", self.url(node))
    }

    /// The token of somebody who may fetch from `acme/demo`, and nothing else.
    async fn maven_reader(&self) -> String {
        self.deploy_token(&["read_package_registry"]).await
    }

    /// A request as scripts make it, with a token; its status and what was answered.
    async fn maven_request(&self, method: &str, node: usize, path: &str, body: &str) -> (u16, String) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}{path}", self.maven_repository(node, At::Project));
        let request = client
            .request(method.parse().unwrap(), url)
            .bearer_auth(&self.token);
        let answer = request.body(body.to_owned()).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

/// A program of Debian's that runs on Java, in a home of its own.
fn on_java(program: &str) -> Client {
    at_home(Client::of_system(program))
}

/// A program that runs on Java and knows its home.
fn at_home(client: Client) -> Client {
    // Java takes the home of a user from elsewhere.
    let home = format!("-Duser.home={}", client.home().display());
    let gradle = client.home().join(".gradle");
    client
        .with("JAVA_TOOL_OPTIONS", home)
        .with("GRADLE_USER_HOME", gradle)
        .with("LC_ALL", "C.UTF-8")
}

/// The folder of a group's artifact among what a client has fetched.
fn local(client: &Client, group: &str, file: &str) -> PathBuf {
    client
        .home()
        .join(".m2/repository")
        .join(group.replace('.', "/"))
        .join(file)
}

/// A group that no other test and no other run has.
fn unique_group(name: &str) -> String {
    format!("org.{}", unique(name).replace('-', "."))
}
