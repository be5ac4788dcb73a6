//! The Raft log in a RocksDB of its own.
//!
//! A log that has lost what it had confirmed is not opened: see [`super::floor`].

use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use prost::Message;
use rocksdb::{DB, IteratorMode, Options, ReadOptions, WriteBatch, WriteOptions};

use super::floor::Floor;
use super::log_store::{Change, Found, LogDisk};
use super::types::{Entry, LogId};
use super::wire;
use crate::storage;

/// Beside RocksDB's own files, which have other names.
const FLOOR: &str = "floor.json";

const ENTRIES: &str = "entries";
const META: &str = "meta";
const VOTE: &[u8] = b"vote";
const COMMITTED: &[u8] = b"committed";
const PURGED: &[u8] = b"purged";

/// An open log database.
pub(super) struct RocksLog {
    db: DB,
    floor: Mutex<Floor>,
}

impl RocksLog {
    /// Opens or creates the log in `path`.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Found)> {
        let mut options = storage::options();
        options.set_write_buffer_size(32 << 20);
        options.set_max_background_jobs(2);
        let mut entries = Options::default();
        entries.set_compression_type(rocksdb::DBCompressionType::Lz4);
        let families = [(ENTRIES, entries), (META, Options::default())];
        let db = storage::open(path, &options, families).map_err(io::Error::other)?;

        let meta = |name: &[u8]| db.get_cf(family(&db, META)?, name).map_err(io::Error::other);
        let vote = match meta(VOTE)? {
            Some(stored) => Some(wire::vote_from(Some(&decode(&stored)?))?),
            None => None,
        };
        let purged = match meta(PURGED)? {
            Some(stored) => Some(wire::log_id_from(&decode(&stored)?)),
            None => None,
        };
        let newest = db
            .iterator_cf(family(&db, ENTRIES)?, IteratorMode::End)
            .next()
            .transpose();
        let last = match newest.map_err(io::Error::other)? {
            Some((_, stored)) => Some(wire::entry_from(decode(&stored)?)?.log_id),
            None => purged,
        };
        let found = Found { vote, purged, last };
        let floor = Floor::check(path.join(FLOOR), found.end(), vote.as_ref())?;
        let floor = Mutex::new(floor);
        Ok((Self { db, floor }, found))
    }

    fn floor(&self) -> MutexGuard<'_, Floor> {
        self.floor.lock().expect("no panic while held")
    }
}

impl LogDisk for RocksLog {
    fn write(&self, changes: &[Change]) -> io::Result<()> {
        let entries = family(&self.db, ENTRIES)?;
        let meta = family(&self.db, META)?;
        let mut batch = WriteBatch::default();
        let mut end = None;
        let mut voted = None;
        for change in changes {
            match change {
                Change::Append(appended) => {
                    for (index, encoded) in appended {
                        batch.put_cf(entries, index.to_be_bytes(), encoded);
                        end = Some(index + 1);
                    }
                }
                Change::Vote(vote) => {
                    batch.put_cf(meta, VOTE, wire::vote_to(vote).encode_to_vec());
                    voted = Some(vote);
                }
                Change::Committed(id) => {
                    batch.put_cf(meta, COMMITTED, wire::log_id_to(id).encode_to_vec());
                }
                Change::Truncate { from } => {
                    self.floor().lower(*from)?;
                    batch.delete_range_cf(entries, from.to_be_bytes(), u64::MAX.to_be_bytes());
                    end = Some(*from);
                }
                Change::Purge(upto) => {
                    batch.put_cf(meta, PURGED, wire::log_id_to(upto).encode_to_vec());
                    batch.delete_range_cf(entries, 0u64.to_be_bytes(), (upto.index + 1).to_be_bytes());
                }
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.write_opt(batch, &options).map_err(io::Error::other)?;
        if let Some(end) = end {
            self.floor().reached(end);
        }
        if let Some(vote) = voted {
            self.floor().note_vote(vote)?;
        }
        Ok(())
    }

    fn settle(&self) -> io::Result<()> {
        self.floor().note_if_due()
    }

    fn read(&self, start: u64, end: u64, max_bytes: usize) -> io::Result<(Vec<Entry>, bool)> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(end.to_be_bytes());
        let from = start.to_be_bytes();
        let mode = IteratorMode::From(&from, rocksdb::Direction::Forward);
        let mut bytes = 0;
        let mut found: Vec<Entry> = Vec::new();
        for item in self.db.iterator_cf_opt(family(&self.db, ENTRIES)?, options, mode) {
            let (_, stored) = item.map_err(io::Error::other)?;
            if bytes > 0 && bytes + stored.len() > max_bytes {
                return Ok((found, true));
            }
            bytes += stored.len();
            found.push(wire::entry_from(decode(&stored)?)?);
        }
        Ok((found, false))
    }

    fn committed(&self) -> io::Result<Option<LogId>> {
        let stored = self.db.get_cf(family(&self.db, META)?, COMMITTED);
        match stored.map_err(io::Error::other)? {
            Some(stored) => Ok(Some(wire::log_id_from(&decode(&stored)?))),
            None => Ok(None),
        }
    }
}

fn family<'db>(db: &'db DB, name: &str) -> io::Result<&'db rocksdb::ColumnFamily> {
    db.cf_handle(name)
        .ok_or_else(|| io::Error::other(format!("the log lacks the column family {name}")))
}

fn decode<M: Message + Default>(stored: &[u8]) -> io::Result<M> {
    M::decode(stored).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
