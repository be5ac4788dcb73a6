//! What follows from what changes: the layout of blobs from the members, background work from the
//! layout and the disks.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::MissedTickBehavior;

use super::Cluster;
use crate::blob::{Blobs, DiskSummary, Member, Succession, Upkeep};
use crate::kv::Kv;
use crate::membership::{FollowMembers, NodeInfo, TellDisks};
use crate::tasks::TaskKind;

/// How long a node waits before it tells the cluster again what it could not tell.
const TELL_AGAIN: Duration = Duration::from_secs(5);

/// How often it is looked whether the layout has changed.
const LOOK_AT_LAYOUT_EVERY: Duration = Duration::from_millis(250);

impl Cluster {
    /// Has everything look that depends on where shards should be, when that has changed.
    pub(super) async fn follow_layout(self) {
        let mut ticks = tokio::time::interval(LOOK_AT_LAYOUT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = None;
        loop {
            ticks.tick().await;
            let version = Blobs::layout_version(&self.shared.kv.local()).await;
            let Ok(version) = version else { continue };
            if seen.replace(version).is_some_and(|seen| seen != version) {
                for kind in [TaskKind::Repair, TaskKind::Rebalance, TaskKind::Recoding] {
                    self.shared.tasks.wake(kind);
                }
            }
        }
    }

    /// Has everything look that depends on what this node can hold, when that has changed, and tells
    /// the cluster of it.
    pub(super) async fn follow_disks(self) {
        let mut changes = self.shared.upkeep.disk_changes();
        while changes.changed().await.is_ok() {
            for kind in [TaskKind::Repair, TaskKind::Rebalance] {
                self.shared.tasks.wake(kind);
            }
            while let Err(error) = self.announce().await {
                tracing::warn!(%error, "tell the cluster what this node can hold");
                tokio::time::sleep(TELL_AGAIN).await;
            }
        }
    }
}

/// Keeps the layout of blobs in step with the members.
pub(super) struct FollowLayout {
    pub(super) kv: Kv,
}

#[async_trait]
impl FollowMembers for FollowLayout {
    async fn follow(&self, members: &[NodeInfo]) -> anyhow::Result<()> {
        let successions: Vec<Succession> = members
            .iter()
            .filter_map(|member| {
                let new = member.leaving?.successor?;
                Some(Succession { old: member.id, new })
            })
            .collect();
        let members: Vec<Member> = members
            .iter()
            .map(|member| Member {
                node: member.id,
                zone: member.zone.as_str().to_owned(),
                capacity: match member.leaving {
                    Some(_) => 0,
                    // A disk that does not tell its size still takes its share.
                    None => member.capacity_bytes.max(1),
                },
            })
            .collect();
        self.kv
            .transact(async |mut txn| {
                Blobs::lay_out(&mut txn, &members, &successions, None).await?;
                Ok::<_, anyhow::Error>((txn, ()))
            })
            .await
    }
}

#[async_trait]
impl TellDisks for Upkeep {
    async fn summary(&self) -> DiskSummary {
        self.disk_summary().await
    }
}
