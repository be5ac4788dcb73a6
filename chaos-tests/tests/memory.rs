//! Large files come in and go out through memory that does not grow with them.

use anyhow::ensure;
use cairn_chaos_tests::workloads::generic::{self, Read};
use cairn_chaos_tests::workloads::oci::{self, Upload};
use cairn_chaos_tests::{Cluster, Payload};

/// What a node may have resident at any time: less than any of the files below.
const MAX_MEMORY_BYTES: u64 = 512 << 20;

const FILE: Payload = Payload {
    number: 1,
    size_bytes: 1 << 30,
};
const BLOB: Payload = Payload {
    number: 2,
    size_bytes: 1 << 30,
};

#[tokio::test(flavor = "multi_thread")]
async fn large_files_pass_through_bounded_memory() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let bounded = |doing: &str| -> anyhow::Result<()> {
        for node in 0..cluster.size() {
            let peak = cluster.node(node).peak_memory_bytes()?;
            ensure!(
                peak <= MAX_MEMORY_BYTES,
                "node {} needed {} MiB to {doing}",
                node + 1,
                peak >> 20
            );
        }
        Ok(())
    };
    ensure!(generic::publish(&cluster, 0, FILE).await, "the file was refused");
    bounded("store a file")?;
    let digest = tokio::task::spawn_blocking(|| BLOB.sha256()).await?;
    // In one request, as most clients push.
    let upload = Upload::begin(&cluster, 1).await?;
    let pushed = upload.append(&cluster, 1, BLOB, 0..BLOB.size_bytes).await?;
    ensure!(pushed == Some(BLOB.size_bytes), "the blob was refused");
    upload.finish(&cluster, 1, &digest).await?;
    bounded("store a blob")?;
    let read = generic::read(&cluster, 2, FILE).await?;
    ensure!(read == Read::Whole, "the file cannot be read: {read:?}");
    oci::read(&cluster, 2, BLOB, &digest).await?;
    bounded("serve a file and a blob")?;
    cluster.stop().await
}
