//! What was acknowledged through one node is what every other answers from then on, also where
//! the answer moves: lists, dist-tags, image tags.

use anyhow::ensure;
use cairn_chaos_tests::workloads::{generic, npm, oci};
use cairn_chaos_tests::{Cluster, Oracle};
use futures::future::{try_join, try_join3};

/// A thousand rounds in all.
const FILES: u64 = 400;
const NPM_TAGS: u64 = 300;
const IMAGE_TAGS: u64 = 300;

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_ever_stale() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    // All at once, so that each write comes while others are written and read.
    try_join3(files(&cluster), npm_tags(&cluster), image_tags(&cluster)).await?;
    cluster.stop().await
}

async fn files(cluster: &Cluster) -> anyhow::Result<()> {
    let oracle = Oracle::default();
    for number in 0..FILES {
        let acknowledged = oracle.publish(cluster, 0, number, 100).await;
        ensure!(acknowledged, "publish {number} was refused");
        let look = async |node| {
            oracle.expect(cluster, node, number).await?;
            let newest = generic::newest(cluster, node).await?;
            ensure!(
                newest == number,
                "node {} lists file {newest} as the newest, after {number} was published",
                node + 1
            );
            Ok(())
        };
        try_join(look(1), look(2)).await?;
    }
    Ok(())
}

async fn npm_tags(cluster: &Cluster) -> anyhow::Result<()> {
    let version = |number: u64| format!("1.0.{}", number % 5);
    for number in 0..5 {
        npm::publish(cluster, 0, &version(number)).await?;
    }
    for number in 0..NPM_TAGS {
        let version = version(number);
        npm::set_tag(cluster, 0, "moving", &version).await?;
        // Each node is asked for both forms in turn.
        let (first, second) = (1 + number as usize / 5 % 2, 2 - number as usize / 5 % 2);
        let (tag, packument) = try_join(
            npm::tag(cluster, first, "moving"),
            npm::tag_in_packument(cluster, second, "moving"),
        )
        .await?;
        ensure!(
            tag == version && packument == version,
            "the tag was moved to {version}; node {} says {tag}, node {} says {packument}",
            first + 1,
            second + 1
        );
    }
    Ok(())
}

async fn image_tags(cluster: &Cluster) -> anyhow::Result<()> {
    oci::push_config(cluster, 0).await?;
    for number in 0..IMAGE_TAGS {
        oci::set_tag(cluster, 0, "moving", number).await?;
        let look = |node| oci::expect_tag(cluster, node, "moving", number);
        try_join(look(1), look(2)).await?;
    }
    Ok(())
}
