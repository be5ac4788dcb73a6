//! What the metadata keeps of each node: `cluster/nodes`, one record per node id.
//!
//! A record stays when its node is removed, so that "removed" is never confused with "not
//! heard of yet".

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::identity::{DataDir, DirError};
use crate::kv::{Collection, CommitError, Key, Kv, ReadError, Scan, Snapshot};
use crate::level::{Build, Level, LevelError};
use crate::node_id::NodeId;
use crate::record::Record;
use crate::seams::{Seams, Timestamp};
use crate::trust::{Authority, AuthorityError};

/// Where a node listens for the others: a name or an IP address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeAddress(String);

impl NodeAddress {
    /// The address as it is dialled.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text that is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address: a name or an IP address, a colon and a port are needed")]
pub struct ParseAddressError {
    text: String,
}

impl FromStr for NodeAddress {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name = |host: &str| {
            (1..=253).contains(&host.len())
                && host.split('.').all(|label| {
                    (1..=63).contains(&label.len())
                        && label
                            .bytes()
                            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
                })
        };
        let is_host = |host: &str| match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(ipv6) => ipv6.parse::<Ipv6Addr>().is_ok(),
            None => host.parse::<Ipv4Addr>().is_ok() || is_name(host),
        };
        match text.rsplit_once(':') {
            Some((host, port))
                if is_host(host)
                    && port.parse::<u16>().is_ok_and(|port| port != 0)
                    && port.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                Ok(Self(text.to_owned()))
            }
            _ => Err(ParseAddressError {
                text: text.chars().take(300).collect(),
            }),
        }
    }
}

impl TryFrom<String> for NodeAddress {
    type Error = ParseAddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<NodeAddress> for String {
    fn from(address: NodeAddress) -> Self {
        address.0
    }
}

/// What fails together: a rack, a room, a data centre.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(String);

impl Zone {
    /// The zone as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where nobody has said anything of zones.
impl Default for Zone {
    fn default() -> Self {
        Self("default".into())
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text that is not the name of a zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a zone: 1 to 64 of a-z, 0-9, '-', '_' and '.' are needed")]
pub struct ParseZoneError {
    text: String,
}

impl FromStr for Zone {
    type Err = ParseZoneError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(ParseZoneError {
            text: text.chars().take(80).collect(),
        })
    }
}

impl TryFrom<String> for Zone {
    type Error = ParseZoneError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.0
    }
}

/// What a node says of itself, and when it came and went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Where it listens for the others.
    pub address: NodeAddress,
    /// What it fails together with.
    pub zone: Zone,
    /// The version of cairn that it runs.
    pub version: String,
    /// What that can read and write.
    #[serde(default)]
    pub level: Level,
    /// The size of the disks that it keeps shards on.
    pub capacity_bytes: u64,
    /// When it was admitted.
    pub joined: Timestamp,
    /// When it was removed, if it was.
    #[serde(default)]
    pub removed: Option<Timestamp>,
    /// That it is to be removed, and gives up what it has.
    #[serde(default)]
    pub leaving: Option<Leaving>,
}

impl Record for NodeRecord {}

/// A node that gives up its vote and its shards: it was drained, or another takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// When that was decided.
    pub since: Timestamp,
    /// Who takes its places. The node is removed by itself when it has nothing any more.
    #[serde(default)]
    pub successor: Option<NodeId>,
}

impl NodeRecord {
    /// Where the records are.
    pub(crate) fn collection() -> Collection {
        Collection::new("cluster").at("nodes")
    }

    pub(crate) fn key(node: NodeId) -> Key {
        Self::collection().key(node)
    }

    /// All records, those of removed nodes too.
    pub(crate) async fn all(snapshot: &Snapshot) -> Result<BTreeMap<NodeId, Self>, ReadError> {
        let entries = snapshot.scan(Scan::of(&Self::collection())).await?;
        let records = entries.iter().map(|entry| {
            let id = crate::record::number(&entry.item)?;
            Ok((NodeId(id), entry.record()?))
        });
        records.collect()
    }
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its id.
    pub id: NodeId,
    /// Where it listens for the others.
    pub address: NodeAddress,
    /// What it fails together with.
    pub zone: Zone,
    /// The version of cairn that it runs, and what that can read and write.
    pub build: Build,
    /// The size of the disks that it keeps shards on.
    pub capacity_bytes: u64,
    /// That it gives up what it has.
    pub leaving: Option<Leaving>,
}

/// The members of the cluster by id, without those that were removed.
pub async fn nodes(snapshot: &Snapshot) -> Result<Vec<NodeInfo>, ReadError> {
    let records = NodeRecord::all(snapshot).await?;
    let members = records.into_iter().filter(|(_, record)| record.removed.is_none());
    Ok(members
        .map(|(id, record)| NodeInfo {
            id,
            address: record.address,
            zone: record.zone,
            build: Build {
                version: record.version,
                level: record.level,
            },
            capacity_bytes: record.capacity_bytes,
            leaving: record.leaving,
        })
        .collect())
}

/// Why the cluster's first records were not written.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    /// The metadata could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The metadata could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The stored authority cannot be used.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The directory could not be read.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// The node was removed from the cluster.
    #[error("node {node} was removed from the cluster: a new node must join in its place")]
    Removed {
        /// The node.
        node: NodeId,
    },
    /// The node has no record: it never joined this cluster.
    #[error("node {node} is not known to the cluster")]
    Unknown {
        /// The node.
        node: NodeId,
    },
    /// The build does not fit the cluster.
    #[error(transparent)]
    Level(#[from] LevelError),
}

/// Writes what a new cluster begins with: the authority and the first node. Does nothing on a
/// node that did not found the cluster, or if it is done already.
pub async fn found(kv: &Kv, dir: &DataDir, own: &NodeInfo, seams: &Seams) -> Result<(), FoundError> {
    let Some(authority) = dir.authority()? else {
        return Ok(());
    };
    kv.transact(async |mut txn| {
        if Authority::load(txn.snapshot()).await?.is_some() {
            return Ok((txn, ()));
        }
        txn.depend_on(&NodeRecord::collection()).await?;
        authority.put(&mut txn);
        own.build.level.put(&mut txn, seams.clock.now());
        txn.put_record(&NodeRecord::key(own.id), &record(own, seams.clock.now()));
        Ok((txn, ()))
    })
    .await
}

/// What a node says of itself at its start.
#[derive(Clone, Debug)]
pub struct Announcement {
    /// Where it listens for the others; `None` keeps what is recorded.
    pub address: Option<NodeAddress>,
    /// What it fails together with; `None` keeps what is recorded.
    pub zone: Option<Zone>,
    /// The version of cairn that it runs, and what that can read and write.
    pub build: Build,
    /// The size of the disks that it keeps shards on.
    pub capacity_bytes: u64,
}

/// Brings a node's own record up to date: after an upgrade, on another address, with another
/// disk. Writes nothing if nothing has changed. Refused if its build does not fit the cluster.
pub async fn announce(kv: &Kv, node: NodeId, news: &Announcement) -> Result<(), FoundError> {
    kv.transact(async |mut txn| {
        let key = NodeRecord::key(node);
        let stored: NodeRecord = txn.record(&key).await?.ok_or(FoundError::Unknown { node })?;
        if stored.removed.is_some() {
            return Err(FoundError::Removed { node });
        }
        news.build.level.check(Level::within(&mut txn).await?)?;
        let current = NodeRecord {
            address: news.address.clone().unwrap_or_else(|| stored.address.clone()),
            zone: news.zone.clone().unwrap_or_else(|| stored.zone.clone()),
            version: news.build.version.clone(),
            level: news.build.level,
            capacity_bytes: news.capacity_bytes,
            joined: stored.joined,
            removed: None,
            leaving: stored.leaving,
        };
        if current != stored {
            txn.put_record(&key, &current);
        }
        Ok((txn, ()))
    })
    .await
}

pub(crate) fn record(info: &NodeInfo, joined: Timestamp) -> NodeRecord {
    NodeRecord {
        address: info.address.clone(),
        zone: info.zone.clone(),
        version: info.build.version.clone(),
        level: info.build.level,
        capacity_bytes: info.capacity_bytes,
        joined,
        removed: None,
        leaving: info.leaving,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for right in ["127.0.0.1:7001", "node-1.example:65535", "[::1]:1", "a_b:80"] {
            assert_eq!(right.parse::<NodeAddress>().unwrap().to_string(), right);
        }
        let long = format!("{}:1", "a.".repeat(200));
        for wrong in [
            "", ":", "a", "a:", ":1", "a:0", "a:65536", "a:+1", "::1:80", "a b:1", "a/b:1", "a@b:1", "[::1]",
            &long,
        ] {
            assert!(wrong.parse::<NodeAddress>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn zones() {
        for right in ["default", "eu-west_1.b", "7"] {
            assert_eq!(right.parse::<Zone>().unwrap().to_string(), right);
        }
        for wrong in ["", "A", "a b", "ä", &"a".repeat(65)] {
            assert!(wrong.parse::<Zone>().is_err(), "{wrong}");
        }
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::NodeRecord>("node");
    }
}
