//! RocksDB: opening, writing by one thread, and the answers to a store that fails or stalls.

mod watch;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rocksdb::{ColumnFamilyDescriptor, DB, DBRecoveryMode, Options};

pub(crate) use self::watch::DiskWatch;
pub(crate) use self::writer::WriterThread;

/// What happens when a write or an fsync fails.
///
/// The kernel may have marked the lost pages clean, so a retry could claim durability that is
/// not there: the process ends, and what the others hold repairs this node when it is back.
#[derive(Clone)]
pub struct FailStop(Arc<dyn Fn(&str) + Send + Sync>);

impl FailStop {
    /// Calls `stop` with a sentence that names what failed. It should not return.
    pub fn new(stop: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(stop))
    }

    /// Logs the failure and ends the process at once, without running destructors.
    pub fn exit_process() -> Self {
        Self::new(|reason| {
            tracing::error!(reason, "storage failed; stopping this node");
            std::process::exit(74); // EX_IOERR of sysexits.h
        })
    }

    /// Reports a failure.
    pub fn stop(&self, reason: &str) {
        (self.0)(reason);
    }
}

impl fmt::Debug for FailStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FailStop")
    }
}

/// Options that every store of ours shares.
pub(crate) fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // A torn tail was never acknowledged. What looks like one and is not must be found out by
    // who opens the store: RocksDB drops whatever comes after the damage.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(8 << 20);
    options.set_max_total_wal_size(256 << 20);
    options.set_paranoid_checks(true);
    options
}

/// Opens a database with these column families.
pub(crate) fn open(
    path: &Path,
    options: &Options,
    families: impl IntoIterator<Item = (&'static str, Options)>,
) -> Result<DB, rocksdb::Error> {
    let descriptors = families
        .into_iter()
        .map(|(name, options)| ColumnFamilyDescriptor::new(name, options));
    DB::open_cf_descriptors(options, path, descriptors)
}
