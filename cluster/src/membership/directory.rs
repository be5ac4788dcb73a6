//! Keeps what this node needs to know of the others in step with the metadata: their
//! addresses, whom to refuse, its own certificate, and whether it must stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::record::NodeRecord;
use crate::identity::{DataDir, Instance};
use crate::kv::{Kv, ReadError, Scan, Snapshot};
use crate::level::{ClusterLevel, Level};
use crate::net::{Known, Peers, Roster};
use crate::node_id::NodeId;
use crate::seams::Seams;
use crate::trust::{Authority, Tls};

/// How often the metadata is looked at. It costs three cached reads if nothing has changed.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How often the certificate's age is looked at.
const RENEW_CHECK_EVERY: Duration = Duration::from_secs(60 * 60);

/// Why a node must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Departed {
    /// It was removed from the cluster.
    #[error("this node was removed from the cluster")]
    Removed,
    /// Another copy of its data directory has been started.
    #[error("another copy of this node's data directory has been started")]
    Superseded,
    /// All other nodes were upgraded, and write what this one cannot read.
    #[error("this node's version is too old: the cluster is of a level that it cannot read")]
    Outdated,
}

/// Follows the records of the nodes. Cheap to clone.
#[derive(Clone)]
pub struct Directory {
    /// The metadata.
    pub kv: Kv,
    /// This node's directory.
    pub dir: Arc<DataDir>,
    /// Whose addresses are kept.
    pub peers: Peers,
    /// Whom to refuse.
    pub roster: Roster,
    /// This node's certificate.
    pub tls: Tls,
    /// The clock that tells when it is to be renewed.
    pub seams: Seams,
    /// What this node's build can read and write.
    pub level: Level,
}

impl Directory {
    /// Takes over what this node's own state says. Done once before the server starts, and by
    /// [`Directory::follow`] after that.
    pub async fn refresh(&self) -> Result<Option<Departed>, ReadError> {
        self.take_over(&self.kv.local()).await
    }

    /// Follows the metadata until `shutdown`, or until this node must stop.
    pub async fn follow(self, shutdown: CancellationToken) -> Option<Departed> {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = None;
        let mut renewal_checked: Option<Instant> = None;
        let mut removed = self.peers.removed();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return None,
                Ok(_) = removed.wait_for(|removed| *removed) => return Some(Departed::Removed),
                _ = ticks.tick() => {}
            }
            let snapshot = self.kv.local();
            match self.look(&snapshot, &mut seen).await {
                Ok(None) => {}
                Ok(Some(departed)) => return Some(departed),
                Err(error) => warn!(%error, "read the records of the nodes"),
            }
            if renewal_checked.is_none_or(|checked| checked.elapsed() >= RENEW_CHECK_EVERY) {
                renewal_checked = Some(Instant::now());
                if let Err(error) = self.renew_if_due(&snapshot).await {
                    error!(%error, "renew this node's certificate");
                }
            }
        }
    }

    async fn look(
        &self,
        snapshot: &Snapshot,
        seen: &mut Option<[u64; 3]>,
    ) -> Result<Option<Departed>, ReadError> {
        let nodes = snapshot.revision(&NodeRecord::collection()).await?;
        let instances = snapshot.revision(&Instance::collection()).await?;
        let level = snapshot.revision(&ClusterLevel::collection()).await?;
        let current = Some([nodes, instances, level]);
        if *seen == current {
            return Ok(None);
        }
        let departed = self.take_over(snapshot).await?;
        *seen = current;
        Ok(departed)
    }

    async fn take_over(&self, snapshot: &Snapshot) -> Result<Option<Departed>, ReadError> {
        let records = NodeRecord::all(snapshot).await?;
        let mut known = BTreeMap::<NodeId, Known>::new();
        for (&node, record) in &records {
            known.entry(node).or_default().removed = record.removed.is_some();
            match record.removed {
                None => self.peers.learn(node, record.address.as_str()),
                Some(_) => self.peers.forget(node),
            }
        }
        for entry in snapshot.scan(Scan::of(&Instance::collection())).await? {
            let node = NodeId(crate::record::number(&entry.item)?);
            known.entry(node).or_default().instance = Some(entry.record()?);
        }
        self.roster.replace(known);
        let level = Level::of(snapshot).await?;
        self.roster.require(level);
        self.note(level).await;
        if self.level < level {
            return Ok(Some(Departed::Outdated));
        }
        let own = records.get(&self.dir.node());
        if own.is_some_and(|own| own.removed.is_some()) {
            return Ok(Some(Departed::Removed));
        }
        let superseded = self.dir.is_superseded(snapshot).await?;
        Ok(superseded.then_some(Departed::Superseded))
    }

    /// Notes the level of the cluster in the data directory, so that an older build is refused
    /// before it opens what it cannot read.
    async fn note(&self, level: Level) {
        let dir = self.dir.clone();
        let noted = tokio::task::spawn_blocking(move || dir.note_level(level)).await;
        if let Ok(Err(error)) = noted {
            error!(%error, "note the level of the cluster");
        }
    }

    /// Every node holds the authority's key, so it renews its own certificate without asking.
    async fn renew_if_due(&self, snapshot: &Snapshot) -> anyhow::Result<()> {
        let dir = self.dir.clone();
        let credentials = tokio::task::spawn_blocking(move || dir.credentials()).await??;
        if !credentials.due_for_renewal(self.seams.clock.now())? {
            return Ok(());
        }
        let Some(authority) = Authority::load(snapshot).await? else {
            return Ok(());
        };
        let renewed = credentials.renew(&authority, &self.seams)?;
        self.tls.renew(&renewed)?;
        let dir = self.dir.clone();
        tokio::task::spawn_blocking(move || dir.store_credentials(&renewed)).await??;
        info!("renewed this node's certificate");
        Ok(())
    }
}
