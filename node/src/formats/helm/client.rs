//! The real clients' stories: Helm 3 and Helm 4 add a repository, find charts, pull them through other
//! nodes, verify, depend on them and upgrade; `helm cm-push` publishes; and what they make of errors.
//!
//! `ops/clients.d/helm` installs the clients. Those that only read sign in with a deploy token of
//! the project that may do no more.

mod manual;
mod signing;
mod story;

use std::path::PathBuf;

use crate::testing::client::{Client, Ran, clients};
use crate::testing::cluster::{TestCluster, cluster, unique};

/// What Helm and its plugin end with when they fail.
const FAILED: i32 = 1;

/// A token that Cairn has never given out.
const WRONG_TOKEN: &str = "cnp-wrong";

/// The programs of Helm that are driven.
const HELMS: [&str; 2] = ["helm", "helm4"];

/// The folder of the programs.
fn bin() -> PathBuf {
    clients().join("go").join("bin")
}

/// Somebody with a Helm and a home of their own.
struct Desk {
    client: Client,
    cluster: &'static TestCluster,
}

impl std::ops::Deref for Desk {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Desk {
    async fn with(program: &str) -> Self {
        let cluster = cluster().await;
        let client = with_plugin(Client::kept(&format!("go/bin/{program}")));
        Self { client, cluster }
    }

    /// The URL of a channel through one node.
    fn repository(&self, node: usize, channel: &str) -> String {
        format!(
            "{}/api/v4/projects/1/packages/helm/{channel}",
            self.cluster.url(node)
        )
    }

    async fn go(&self, arguments: &[&str]) -> Ran {
        self.ok(self.home(), arguments).await
    }

    async fn refused(&self, arguments: &[&str], parts: &[&str]) -> Ran {
        self.fails(self.home(), arguments, FAILED, parts).await
    }

    /// Adds a channel as a repository of this name, through one node.
    async fn add(&self, name: &str, node: usize, channel: &str, token: &str) {
        let url = self.repository(node, channel);
        let add = [
            "repo",
            "add",
            name,
            &url,
            "--username",
            "__token__",
            "--password",
            token,
        ];
        self.go(&add).await;
    }

    /// Writes the sources of a chart into a folder of its name, and packages them.
    async fn package(&self, name: &str, version: &str) -> String {
        self.sources(name, version, "");
        self.go(&["package", name]).await;
        format!("{name}-{version}.tgz")
    }

    fn sources(&self, name: &str, version: &str, more: &str) {
        let metadata =
            format!("apiVersion: v2\nname: {name}\nversion: {version}\nappVersion: \"1.10\"\n{more}");
        self.write(format!("{name}/Chart.yaml"), metadata);
        self.write(format!("{name}/values.yaml"), "greeting: hello\n");
        let template = format!(
            "kind: ConfigMap\napiVersion: v1\nmetadata:\n  name: note\ndata:\n  text: '{{{{ .Values.greeting }}}} {name} {version}'\n"
        );
        self.write(format!("{name}/templates/note.yaml"), template);
    }

    /// Publishes a chart by curl, as somebody with this token.
    async fn curl(&self, node: usize, path: &str, token: &str, more: &[&str]) -> Ran {
        let url = format!(
            "{}/api/v4/projects/1/packages/helm/{path}",
            self.cluster.url(node)
        );
        let user = format!("__token__:{token}");
        let curl = Client::of_system("curl");
        let common = [
            "--silent",
            "--show-error",
            "--write-out",
            "\n%{http_code}",
            "--user",
            &user,
            &url,
        ];
        curl.ok(self.home(), &[&common[..], more].concat()).await
    }

    async fn publish(&self, node: usize, channel: &str, chart: &str) {
        let field = format!("chart=@{chart}");
        let path = format!("api/{channel}/charts");
        let sent = self.curl(node, &path, &self.cluster.token, &["-F", &field]).await;
        sent.says("{\"saved\":true}").says("201");
    }
}

/// The same with the plugin `cm-push`.
fn with_plugin(client: Client) -> Client {
    let program = bin().join("helm-cm-push");
    assert!(
        program.exists(),
        "{} is missing; run ops/clients",
        program.display()
    );
    let plugin = format!(
        "name: cm-push\nversion: 0.10.4\nusage: pushes charts\ndescription: pushes charts\ncommand: {}\n",
        program.display()
    );
    client.write("plugins/cm-push/plugin.yaml", plugin);
    let plugins = client.home().join("plugins");
    client.with("HELM_PLUGINS", plugins)
}
