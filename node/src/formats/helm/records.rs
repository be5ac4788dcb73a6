//! What the format keeps in a project besides packages, versions and their files.
//!
//! ```text
//! format / helm
//! ├── channel            channel                      → ()      what has entries below
//! ├── changed            channel                      → number  when its entries changed, in seconds since 1970
//! └── entry / {channel}  chart, 0, descending version → Entry   one version in the index of a channel
//! ```
//!
//! The index of a channel is made from its entries alone, in one scan, and the revision of their
//! collection tells of every change. A version of a chart has a file for each channel that it is in,
//! `CHANNEL/NAME-VERSION.tgz`, which holds its entry as well; so what was deleted can be put back.
//!
//! Clients that know an index by its date alone are told when the channel changed. Each change raises that, by a second
//! at least and whatever clocks say, so no two states of an index have one date; it may be ahead of the clock when
//! there are several changes in a second.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cairn_cluster::record::{self, Record};
use cairn_cluster::{Collection, Key, ReadError, Timestamp, Txn};
use serde::{Deserialize, Serialize};

use super::names::{Channel, Version};
use crate::http::error::ApiError;

/// A version of a chart in a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The name of the chart.
    pub(super) chart: String,
    /// The version as it was published.
    pub(super) version: Version,
    /// The name of its file, as clients know it.
    pub(super) file: String,
    /// The digest of the chart, in lower-case hexadecimal.
    pub(super) sha256: String,
    pub(super) published_at: Timestamp,
    /// The whole entry of the index, as JSON.
    pub(super) document: String,
}

impl Record for Entry {}

/// What the format keeps in the record of a version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VersionNotes {
    /// By channel that it is in, the name of its file there, as clients know it.
    pub(super) channels: BTreeMap<String, String>,
    /// The channels that it was in.
    pub(super) left: BTreeSet<String>,
}

impl Record for VersionNotes {}

/// What the format keeps in the record of a provenance file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProvenanceNotes {
    /// The digest of the chart that it is about.
    pub(super) sha256: String,
}

impl Record for ProvenanceNotes {}

/// Reads what the format keeps in a record.
pub(super) fn decode<R: Record>(stored: &Bytes) -> Result<R, ApiError> {
    Ok(record::decode(stored).map_err(ReadError::from)?)
}

/// Makes the keys of the records above.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    records: Collection,
}

impl Keys {
    pub(super) fn new(records: Collection) -> Self {
        Self { records }
    }

    pub(super) fn channels(&self) -> Collection {
        self.records.at("channel")
    }

    pub(super) fn entries(&self, channel: impl AsRef<[u8]>) -> Collection {
        self.records.at("entry").at(channel.as_ref())
    }

    /// When the entries of a channel changed.
    pub(super) fn changed(&self, channel: impl AsRef<[u8]>) -> Key {
        self.records.at("changed").key(channel.as_ref())
    }

    /// Puts an entry in, as part of a transaction.
    pub(super) fn put_entry(&self, txn: &mut Txn, channel: &str, chart: &str, entry: &Entry, now: Timestamp) {
        txn.put_record(&self.entry(channel, chart, &entry.version), entry);
        txn.put(&self.channels().key(channel), "");
        self.change(txn, channel, now);
    }

    /// Takes an entry out, as part of a transaction.
    pub(super) fn delete_entry(
        &self,
        txn: &mut Txn,
        channel: &str,
        chart: &str,
        version: &Version,
        now: Timestamp,
    ) {
        txn.delete(&self.entry(channel, chart, version));
        self.change(txn, channel, now);
    }

    fn change(&self, txn: &mut Txn, channel: &str, now: Timestamp) {
        let changed = self.changed(channel);
        // Neither conflicts with those who publish to the channel at the same time.
        txn.raise(&changed, (now.0 / 1000).saturating_sub(1));
        txn.add(&changed, 1);
    }

    /// The entry of a version of the chart of this canonical name.
    pub(super) fn entry(&self, channel: &str, chart: &str, version: &Version) -> Key {
        let item = [chart_prefix(chart).as_slice(), &version.descending_key()].concat();
        self.entries(channel).key(item)
    }
}

/// What the items of a chart's entries begin with.
pub(super) fn chart_prefix(chart: &str) -> Vec<u8> {
    [chart.as_bytes(), &[0]].concat()
}

/// What no item of a chart's entries comes after, and all of the next chart do.
pub(super) fn chart_end(chart: &str) -> Vec<u8> {
    [chart.as_bytes(), &[1]].concat()
}

/// The canonical name of the chart that an item belongs to.
pub(super) fn chart_of(item: &[u8]) -> String {
    let name = item.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// The name of a version's file in its record: there is one for each channel.
pub(super) fn file_in(channel: &str, file: &str) -> String {
    format!("{channel}/{file}")
}

/// The channel that a file of a version is for.
pub(super) fn channel_of(file: &str) -> Option<Channel> {
    file.split_once('/')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use cairn_cluster::Collection;

    use super::*;

    #[test]
    fn entries_of_one_chart_stand_together_from_the_highest_version() {
        let keys = Keys::new(Collection::new("x"));
        let key = |chart: &str, version: &str| keys.entry("stable", chart, &version.parse().unwrap());
        let ordered = [
            key("a", "2.0.0"),
            key("a", "1.0.0"),
            key("a", "1.0.0-rc.1"),
            key("a-b", "9.0.0"),
            key("a.b", "1.0.0"),
            key("ab", "1.0.0"),
        ];
        assert!(ordered.is_sorted());
    }

    #[test]
    fn items_and_files_are_taken_apart_again() {
        let version: Version = "1.0.0".parse().unwrap();
        let item = [chart_prefix("app"), version.descending_key()].concat();
        assert_eq!(chart_of(&item), "app");
        assert!(item < chart_end("app") && chart_end("app") < chart_prefix("app-x"));
        let file = file_in("stable", "app-1.0.0.tgz");
        assert_eq!(channel_of(&file), Some("stable".parse().unwrap()));
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Entry>("helm-entry");
        samples::check::<super::VersionNotes>("helm-version-notes");
        samples::check::<super::ProvenanceNotes>("helm-provenance-notes");
    }
}
