//! The real clients' stories: sign in, push, pull through other nodes, list, tag, copy, attach,
//! delete, and what a wrong token gets; and the suite by which the OCI judges registries.
//!
//! `ops/clients.d/oci` installs the clients. Three nodes of one cluster listen on loopback, and
//! beside them a balancer that gives each request, not each connection, to the next node: so
//! every upload wanders through the cluster. With `CAIRN_NODES` and `CAIRN_TOKEN` set, as
//! `cairn dev` writes them to `dev.env`, a running cluster is used instead.

mod balancer;
mod conformance;
mod stories;

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use axum::Router;
use data_encoding::HEXLOWER;
use sha2::Digest as _;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::testing::TestNode;

/// A client that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// A cluster that clients can reach.
struct Fleet {
    /// Hosts with ports, one for each node.
    nodes: Vec<String>,
    /// The host of the balancer.
    balanced: String,
    token: String,
    tasks: Vec<JoinHandle<()>>,
}

impl Fleet {
    async fn start() -> Self {
        let mut fleet = match (std::env::var("CAIRN_NODES"), std::env::var("CAIRN_TOKEN")) {
            (Ok(nodes), Ok(token)) => {
                let hosts = nodes
                    .split_whitespace()
                    .map(|url| url.trim_start_matches("http://"));
                Self {
                    nodes: hosts.map(|host| host.trim_end_matches('/').to_owned()).collect(),
                    balanced: String::new(),
                    token,
                    tasks: Vec::new(),
                }
            }
            _ => Self::in_this_process().await,
        };
        let router = balancer::router(fleet.nodes.clone());
        fleet.balanced = fleet.serve(router).await;
        fleet
    }

    async fn in_this_process() -> Self {
        let first = TestNode::start().await;
        let nodes = [first.sibling(), first.sibling(), first];
        let mut fleet = Self {
            nodes: Vec::new(),
            balanced: String::new(),
            token: nodes[0].token("root").to_owned(),
            tasks: Vec::new(),
        };
        for node in nodes {
            let host = fleet.serve(node.router()).await;
            fleet.nodes.push(host);
        }
        fleet
    }

    async fn serve(&mut self, router: Router) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        self.tasks.push(tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        }));
        host
    }

    /// Every way to reach the cluster: each node, and all of them in turn.
    fn ways(&self) -> impl Iterator<Item = &String> {
        self.nodes.iter().chain([&self.balanced])
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// A client with a home of its own, so that nothing that it knows from before hides a request.
struct Client {
    program: PathBuf,
    home: TempDir,
}

impl Client {
    /// One that Debian has.
    fn of_system(name: &str) -> Self {
        let program = ["/usr/bin", "/usr/local/bin"]
            .iter()
            .map(|folder| Path::new(folder).join(name));
        let program = program.into_iter().find(|program| program.exists());
        Self::of(program.unwrap_or_else(|| panic!("{name} is missing; run ops/clients")))
    }

    /// One that is built from source.
    fn built(name: &str) -> Self {
        let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let cache = set("CAIRN_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("cairn")))
            .or_else(|| set("HOME").map(|home| home.join(".cache/cairn")));
        let clients = set("CAIRN_CLIENTS").or_else(|| cache.map(|cache| cache.join("clients")));
        let program = clients
            .expect("CAIRN_CLIENTS or HOME is set")
            .join("go/bin")
            .join(name);
        assert!(
            program.exists(),
            "{} is missing; run ops/clients",
            program.display()
        );
        Self::of(program)
    }

    fn of(program: PathBuf) -> Self {
        Self {
            program,
            home: tempfile::tempdir().unwrap(),
        }
    }

    fn home(&self) -> &Path {
        self.home.path()
    }

    fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        let file = self.home().join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }

    fn read(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.home().join(file)).unwrap()
    }

    async fn output(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let home = self.home();
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(home)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home)
            .env("TMPDIR", home)
            .env("XDG_RUNTIME_DIR", home)
            .env("DOCKER_CONFIG", home.join("docker"))
            .env("REGISTRY_AUTH_FILE", home.join("auth.json"))
            .env("STORAGE_DRIVER", "vfs")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let run = tokio::time::timeout(PATIENCE, command.output());
        run.await
            .unwrap_or_else(|_| panic!("{} {arguments:?} hangs", self.program.display()))
            .unwrap()
    }

    /// Runs it, and gives what it prints; it must succeed.
    async fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments, &[]).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (told, complained) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{arguments:?}:\n{told}\n{complained}");
        told
    }

    /// Runs it, and gives what it complains of; it must fail.
    async fn fails(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments, &[]).await;
        assert!(!output.status.success(), "{arguments:?} succeeded");
        let streams = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&streams).into_owned()
    }
}

/// Lays out an image of one layer as a folder that clients can push from; gives its digest.
fn lay_out(client: &Client, folder: &str, tag: &str, layer: &[u8]) -> String {
    let blob = |content: &[u8]| {
        let hex = HEXLOWER.encode(&sha2::Sha256::digest(content));
        client.write(&format!("{folder}/blobs/sha256/{hex}"), content);
        format!("sha256:{hex}")
    };
    let tar = {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(layer.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, "content", layer).unwrap();
        tar.into_inner().unwrap()
    };
    let tar_digest = blob(&tar);
    let config = serde_json::json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [&tar_digest]},
    });
    let config = config.to_string();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": blob(config.as_bytes()),
            "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": tar_digest,
            "size": tar.len(),
        }],
    });
    let manifest = manifest.to_string();
    let digest = blob(manifest.as_bytes());
    let index = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest,
            "size": manifest.len(),
            "platform": {"architecture": "amd64", "os": "linux"},
            "annotations": {"org.opencontainers.image.ref.name": tag},
        }],
    });
    client.write(&format!("{folder}/index.json"), index.to_string());
    client.write(
        &format!("{folder}/oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    );
    digest
}
