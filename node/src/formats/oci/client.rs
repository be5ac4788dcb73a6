//! The real clients' stories: sign in, push, pull through other nodes, list, tag, copy, attach,
//! delete, and what they make of errors; and the suite by which the OCI judges registries.
//!
//! `ops/clients.d/oci` installs the clients. They speak to a balancer that gives each request,
//! not each connection, to the next node, so every upload wanders through the cluster.

mod buildah;
mod conformance;
mod crane;
mod curl;
mod helm;
mod manual;
mod oras;
mod regctl;
mod skopeo;

use data_encoding::HEXLOWER;
use serde_json::json;
use sha2::Digest as _;

use crate::testing::archives::tar;
use crate::testing::client::{Client, Ran};
use crate::testing::cluster::{TestCluster, cluster, unique};

/// One of the clients, and names that no other client uses.
struct Desk {
    client: Client,
    cluster: &'static TestCluster,
    /// A path below the project.
    place: String,
}

impl std::ops::Deref for Desk {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Desk {
    async fn new(client: Client) -> Self {
        let home = client.home().to_owned();
        let client = client
            .with("XDG_RUNTIME_DIR", &home)
            .with("DOCKER_CONFIG", home.join("docker"))
            .with("REGISTRY_AUTH_FILE", home.join("auth.json"))
            .with("STORAGE_DRIVER", "vfs");
        // Debian's clients take no image without a policy.
        let policy = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
        client.write(".config/containers/policy.json", policy);
        client.write("auth.json", "{}");
        Self {
            client,
            cluster: cluster().await,
            place: unique("place"),
        }
    }

    /// The host of the balancer.
    fn host(&self) -> &str {
        &self.cluster.balanced
    }

    /// The name of a repository or an image, through the balancer.
    fn name(&self, rest: &str) -> String {
        self.name_at(self.host(), rest)
    }

    /// The same through a node.
    fn name_at(&self, host: &str, rest: &str) -> String {
        format!("{host}/acme/demo/{}{rest}", self.place)
    }

    /// Runs the client in its home; it must succeed. Gives what it prints.
    async fn go(&self, arguments: &[&str]) -> Ran {
        self.ok(self.home(), arguments).await
    }

    /// Runs the client in its home; it must end with this code and say each of these.
    async fn refused(&self, arguments: &[&str], code: i32, parts: &[&str]) {
        self.fails(self.home(), arguments, code, parts).await;
    }

    /// A token that may pull and not push.
    async fn reading(&self) -> String {
        self.cluster.deploy_token(&["read_registry"]).await
    }
}

/// Content that no two tests share, of more than one stripe.
fn content(seed: &str) -> Vec<u8> {
    crate::testing::client::noise(seed, 700_001)
}

/// Adds a blob to a layout; gives its digest.
fn lay_blob(client: &Client, folder: &str, content: &[u8]) -> String {
    let hex = HEXLOWER.encode(&sha2::Sha256::digest(content));
    client.write(format!("{folder}/blobs/sha256/{hex}"), content);
    format!("sha256:{hex}")
}

/// Lays out an image of one layer as a folder that clients can push from; gives its digest and
/// that of its layer.
pub(crate) fn lay_out(client: &Client, folder: &str, tag: &str, layer: &[u8]) -> (String, String) {
    let tar = tar(&[("content", layer)]).into_inner().unwrap();
    let layer = lay_blob(client, folder, &tar);
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [&layer]},
    });
    let config = config.to_string();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": lay_blob(client, folder, config.as_bytes()),
            "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": layer,
            "size": tar.len(),
        }],
    });
    let manifest = manifest.to_string();
    let digest = lay_blob(client, folder, manifest.as_bytes());
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest,
            "size": manifest.len(),
            "platform": {"architecture": "amd64", "os": "linux"},
            "annotations": {"org.opencontainers.image.ref.name": tag},
        }],
    });
    client.write(format!("{folder}/index.json"), index.to_string());
    client.write(
        format!("{folder}/oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    );
    (digest, layer)
}
