//! Who belongs to the cluster: records of its nodes, how a node joins, who votes, and what the
//! cluster survives.
//!
//! The records in the metadata say who belongs. What follows from them is computed and carried
//! out elsewhere: each node's [`Directory`] keeps its address book and its list of refused
//! callers in step, and the leader's [`Controller`] makes members learners and voters.
//!
//! A node starts in this order, and stops in the reverse:
//! 1. [`crate::identity::DataDir`] is opened (made by `init` or [`join`]);
//! 2. the stores are opened, and [`Directory::refresh`] reads what they say of the others;
//! 3. the inter-node server listens and [`crate::net::Peers::probe`] runs;
//! 4. consensus starts; the founder of a new cluster writes its first records ([`found`]);
//! 5. the start is registered (`DataDir::register`) and told to the others ([`announce`]);
//! 6. [`Directory::follow`] and [`Controller::run`] run, and clients are served.

mod admission;
mod control;
mod controller;
mod directory;
mod join;
mod record;
mod status;
mod survival;
#[cfg(test)]
mod tests;
mod upgrade;
mod voters;

pub use admission::JoinService;
pub use control::{ControlError, RaftControl, RaftView};
pub use controller::{Controller, ControllerConfig, FollowMembers};
pub use directory::{Departed, Directory};
pub use join::{JoinError, JoinPlan, Joined, join};
pub use record::{
    Announcement, FoundError, Leaving, NodeAddress, NodeInfo, NodeRecord, ParseAddressError, ParseZoneError,
    Zone, announce, found, nodes,
};
pub use status::{ClusterStatus, NodeStatus, Reporter, Role, TellDisks, cluster_status};
pub use survival::{Coding, Facts, NodeFacts, survival};
pub use upgrade::Upgrade;
pub(crate) use voters::wanted_voters;
