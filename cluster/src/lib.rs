//! A replicated transactional key-value store and an erasure-coded blob store.
//!
//! This crate knows nothing of packages. Its front is what is exported here: structs that are
//! cheap to clone, their errors and their configuration. Raft, shards and peers stay inside.

#[cfg(test)]
extern crate self as cairn_cluster;

mod backup;
mod blob;
mod cluster;
mod departure;
mod disks;
mod files;
pub mod identity;
mod kv;
mod level;
pub mod membership;
pub mod net;
mod node_id;
mod off_thread;
mod raft;
pub mod record;
#[cfg(test)]
mod samples;
mod seams;
#[cfg(test)]
mod sim;
mod storage;
mod tasks;
pub mod trust;

pub use backup::{
    Begin, ExportedBlob, Part, PartError, Parts, Restore, RestoreError, StoreBlobError, Totals,
};
pub use blob::{
    BackupId, Bays, BlobConfig, BlobId, BlobInfo, BlobOpenError, BlobPeers, BlobReadError, BlobReader,
    BlobService, BlobTxnError, BlobWriter, Blobs, Code, DigestSet, Digests, Disk, DiskError, DiskFile,
    DiskId, DiskOwner, DiskState, DiskStatus, DiskSummary, DisksConfig, Folder, Folders, Hold, HoldError,
    Holding, Kept, KeptError, LayOutError, Layout, LayoutError, LeaseError, Member, ParseDiskIdError,
    ParseIdError, Protection, ProtectionError, PutError, ReplaceError, Retention, RetentionError, Room,
    Space, StoredBlob, Succession, UnderProtected, UnderProtectedPage, Upkeep, UploadError, UploadId,
    UploadStatus, Waste, WasteStage, Wire, WriteError,
};
pub use cluster::{Cluster, ClusterConfig, EnterError, ExportError, StartError};
pub use departure::{Decision, Departure, DepartureError, Intent, Motion, Refusal};
pub use disks::{DiskList, DiskRequestError, NodeDisk};
pub use kv::{
    BrokenChain, Chain, Collection, CommitError, Entry, Footprint, Key, Kv, Link, MAX_KEY_BYTES, MAX_SCAN,
    MAX_TRANSACTION_BYTES, ReadError, Scan, Seen, Segment, Snapshot, StoreError, Txn, Unavailable, Versioned,
};
pub use level::{Build, Level, LevelError};
pub use node_id::{ClusterId, NodeId, ParseClusterIdError, ParseNodeIdError};
pub use raft::{MetadataHash, RaftConfig};
pub use seams::{Clock, Entropy, Seams, Timestamp};
pub use storage::FailStop;
pub use tasks::{
    ParseTaskKindError, Phase, SettingsError, TaskFailure, TaskKind, TaskSettings, TaskState, TaskStatus,
};
