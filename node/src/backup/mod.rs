//! Backups in a folder: what lies where, and what has to hold.
//!
//! ```text
//! FOLDER/
//! ├── manifest.json     which backup this is, and the checksum of the metadata; written last
//! ├── metadata          an export of the cluster: see `cairn_cluster::Part`
//! ├── blobs/ab/ab…      the content of each blob that it names, under its BLAKE3
//! ├── partial/          what is being written
//! └── lock              held while a command writes here
//! ```
//!
//! - A folder without a manifest is no backup, but the beginning of one. Taking the backup again
//!   goes on with the blobs that are there.
//! - Each backup is whole by itself. One that was taken against an earlier one shares files with
//!   it by hard links, so either can be removed.
//! - Nothing depends on how many nodes the cluster has, or how it codes.
//! - Files are readable by their owner alone: they hold what everybody published, and the key
//!   under which tokens are hashed.

pub(crate) mod check;
pub(crate) mod contents;
pub(crate) mod damage;
pub(crate) mod folder;
pub(crate) mod manifest;
pub(crate) mod progress;
pub(crate) mod restore;
