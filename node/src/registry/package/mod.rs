//! Packages, their versions and files: what every format that has versions shares.
//!
//! A package is (project, format, normalised name). A version has files; a file is a name, a
//! blob, its size and digests. Each carries bytes of the format's own, which only the format
//! reads. [`View`] reads them on the snapshot of a request, [`Edit`] changes them inside of a
//! transaction; a version becomes visible with what the same transaction says of it.
//!
//! Publishing costs the same however many versions there are: records are items of their own,
//! and nothing is counted or listed to add one.

mod catalog;
mod edit;
mod lookup;
mod record;
mod view;

pub use catalog::{Filter, Listed};
pub use edit::{Edit, FilePut, NewFile, NewVersion, Reuse};
pub(in crate::registry) use record::Location;
pub use record::{File, MAX_METADATA_BYTES, Package, Status, Tombstone, Version};
pub use view::View;
