//! The parts of an export, and their form in a file or on the wire.
//!
//! ```text
//! export   "CAIRNBK" 01, frame, frame, …
//! frame    length of the body (4 bytes), XXH3 of the body (8 bytes), body; big endian
//! body     a record: Part
//! order    Begin, then (Blob, its Names …) …, then Record …, then End
//! ```
//!
//! Whoever reads parts is told of everything that does not fit: a torn end, a changed byte, a
//! part out of its order, totals that differ.

use std::io::{self, Read};

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::own_records;
use crate::blob::{BackupId, BlobId, Digests, Retention, Space};
use crate::kv::{Key, MAX_KEY_BYTES, MAX_TRANSACTION_BYTES};
use crate::level::Level;
use crate::node_id::ClusterId;
use crate::record::{self, DecodeError, Record, byte_string};
use crate::seams::Timestamp;
use crate::tasks::{TaskKind, TaskSettings};

/// What an export begins with; the last byte is its version.
const MAGIC: [u8; 8] = *b"CAIRNBK\x01";

/// Length and checksum.
const FRAME_HEAD: usize = 4 + 8;

/// No part is longer: a record is the longest, and was written by a transaction.
const MAX_BODY: usize = MAX_KEY_BYTES + MAX_TRANSACTION_BYTES + 1024;

/// One part of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// The first.
    #[serde(rename = "begin")]
    Begin(Begin),
    /// A blob that something names.
    #[serde(rename = "b")]
    Blob(ExportedBlob),
    /// A name of the blob before it: what was given to [`crate::Blobs::reference`].
    #[serde(rename = "n")]
    Name(#[serde(with = "byte_string")] Bytes),
    /// A record of the callers.
    #[serde(rename = "r")]
    Record {
        /// Its key, in its encoded form.
        #[serde(rename = "k", with = "byte_string")]
        key: Bytes,
        /// Its value.
        #[serde(rename = "v", with = "byte_string")]
        value: Bytes,
    },
    /// The last.
    #[serde(rename = "end")]
    End(Totals),
}

impl Record for Part {}

/// What an export says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// Which backup it is for.
    pub backup: BackupId,
    /// The cluster that it was taken of.
    pub cluster: ClusterId,
    /// The log index of the state.
    pub log_index: u64,
    /// The highest revision that anything in it can have been known under.
    pub revision: u64,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// How long what nothing names is kept.
    pub retention: Retention,
    /// What was set for background work.
    pub tasks: Vec<(TaskKind, TaskSettings)>,
    /// The level of the cluster: what can read the records.
    #[serde(default)]
    pub level: Level,
}

/// What is known of a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedBlob {
    /// Whose it is.
    #[serde(rename = "s")]
    pub space: Space,
    /// The BLAKE3 of its content.
    #[serde(rename = "i")]
    pub id: BlobId,
    /// Its size in bytes.
    #[serde(rename = "n")]
    pub size: u64,
    /// Its other digests.
    #[serde(rename = "d")]
    pub digests: Digests,
}

/// How much an export holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Blobs; content that several spaces keep counts in each.
    pub blobs: u64,
    /// Bytes of these blobs.
    pub blob_bytes: u64,
    /// Names of these blobs.
    pub names: u64,
    /// Records.
    pub records: u64,
}

impl Totals {
    fn count(&mut self, part: &Part) {
        match part {
            Part::Blob(blob) => {
                self.blobs += 1;
                self.blob_bytes = self.blob_bytes.saturating_add(blob.size);
            }
            Part::Name(_) => self.names += 1,
            Part::Record { .. } => self.records += 1,
            Part::Begin(_) | Part::End(_) => {}
        }
    }
}

/// Writes parts in their order, and keeps the totals.
#[derive(Debug)]
pub(super) struct PartWriter {
    out: BytesMut,
    totals: Totals,
}

impl PartWriter {
    pub(super) fn new(begin: Begin) -> Self {
        let mut writer = Self {
            out: BytesMut::from(&MAGIC[..]),
            totals: Totals::default(),
        };
        writer.put(&Part::Begin(begin));
        writer
    }

    pub(super) fn put(&mut self, part: &Part) {
        self.totals.count(part);
        let body = record::encode(part);
        assert!(
            body.len() <= MAX_BODY,
            "a part is bounded by what a transaction writes"
        );
        self.out.reserve(FRAME_HEAD + body.len());
        self.out.put_u32(body.len() as u32);
        self.out.put_u64(xxh3_64(&body));
        self.out.put_slice(&body);
    }

    pub(super) fn end(&mut self) {
        self.put(&Part::End(self.totals));
    }

    /// How many bytes were written and not taken.
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// Takes what was written since the last time.
    pub(super) fn take(&mut self) -> Bytes {
        self.out.split().freeze()
    }
}

/// Why an export could not be read.
#[derive(Debug, thiserror::Error)]
#[error("at byte {at}: {problem}")]
pub struct PartError {
    /// The byte at which the part begins that is not right.
    at: u64,
    problem: Problem,
}

/// What is wrong with a part.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{0}")]
    Io(io::Error),
    #[error("it is no export, or one that only a newer cairn can read")]
    NoExport,
    #[error("it ends before its end")]
    Torn,
    #[error("its bytes do not have their checksum")]
    Checksum,
    #[error("a part of {0} bytes is longer than any can be")]
    TooLong(u32),
    #[error(transparent)]
    Unknown(DecodeError),
    #[error("a part is not where it belongs")]
    Order,
    #[error("the key of a record is not one of what a cluster keeps for its callers")]
    Key,
    #[error("it should hold {said:?} and holds {found:?}")]
    Totals { said: Totals, found: Totals },
}

/// How far a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Start,
    Begun,
    Blobs,
    Records,
    Over,
    /// What follows a part that is wrong cannot be trusted to begin where it should.
    Failed,
}

/// Reads the parts of an export one by one. After an error, or the end, there are no more.
#[derive(Debug)]
pub struct Parts<R> {
    from: R,
    at: u64,
    stage: Stage,
    totals: Totals,
}

impl<R: Read> Parts<R> {
    /// Reads from where `from` stands, which should be buffered.
    pub fn new(from: R) -> Self {
        Self {
            from,
            at: 0,
            stage: Stage::Start,
            totals: Totals::default(),
        }
    }

    /// Fills the buffer; says whether there was nothing at all.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<bool, Problem> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.from.read(&mut buffer[filled..]) {
                Ok(0) if filled == 0 => return Ok(true),
                Ok(0) => return Err(Problem::Torn),
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Problem::Io(error)),
            }
        }
        Ok(false)
    }

    fn read(&mut self) -> Result<Option<Part>, Problem> {
        if self.stage == Stage::Start {
            let mut magic = [0; MAGIC.len()];
            if self.fill(&mut magic).map_err(|problem| match problem {
                Problem::Torn => Problem::NoExport,
                other => other,
            })? || magic != MAGIC
            {
                return Err(Problem::NoExport);
            }
            self.at += MAGIC.len() as u64;
        }
        let mut head = [0; FRAME_HEAD];
        if self.fill(&mut head)? {
            return match self.stage {
                Stage::Over => Ok(None),
                _ => Err(Problem::Torn),
            };
        }
        let (len, checksum) = head.split_at(4);
        let len = u32::from_be_bytes(len.try_into().expect("four bytes"));
        let checksum = u64::from_be_bytes(checksum.try_into().expect("eight bytes"));
        if len as usize > MAX_BODY {
            return Err(Problem::TooLong(len));
        }
        let mut body = vec![0; len as usize];
        if self.fill(&mut body)? {
            return Err(Problem::Torn);
        }
        if xxh3_64(&body) != checksum {
            return Err(Problem::Checksum);
        }
        let part: Part = record::decode(&body).map_err(Problem::Unknown)?;
        self.stage = self.accept(&part)?;
        self.totals.count(&part);
        self.at += (FRAME_HEAD + body.len()) as u64;
        Ok(Some(part))
    }

    /// The stage after a part, if it may come now.
    fn accept(&self, part: &Part) -> Result<Stage, Problem> {
        let stage = match (self.stage, part) {
            (Stage::Start, Part::Begin(_)) => Stage::Begun,
            (Stage::Begun | Stage::Blobs, Part::Blob(_)) => Stage::Blobs,
            (Stage::Blobs, Part::Name(_)) => Stage::Blobs,
            (Stage::Begun | Stage::Blobs | Stage::Records, Part::Record { key, .. }) => {
                let own = own_records();
                let is_own = |key: Key| own.iter().any(|own| key.as_bytes().starts_with(own.as_bytes()));
                if Key::decode(key.clone()).is_none_or(is_own) {
                    return Err(Problem::Key);
                }
                Stage::Records
            }
            (Stage::Begun | Stage::Blobs | Stage::Records, Part::End(said)) => {
                if *said != self.totals {
                    let (said, found) = (*said, self.totals);
                    return Err(Problem::Totals { said, found });
                }
                Stage::Over
            }
            _ => return Err(Problem::Order),
        };
        Ok(stage)
    }
}

impl<R: Read> Iterator for Parts<R> {
    type Item = Result<Part, PartError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.stage == Stage::Failed {
            return None;
        }
        match self.read() {
            Ok(part) => part.map(Ok),
            Err(problem) => {
                self.stage = Stage::Failed;
                Some(Err(PartError { at: self.at, problem }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kv::Collection;

    fn begin() -> Begin {
        Begin {
            backup: BackupId([7; 16]),
            cluster: ClusterId::random(&crate::seams::Seams::system()),
            log_index: 9,
            revision: 11,
            taken_at: Timestamp(12),
            retention: Retention::default(),
            tasks: vec![(TaskKind::Scrub, TaskSettings::default())],
            level: Level::FIRST,
        }
    }

    fn written(begin: &Begin, parts: &[Part]) -> Vec<u8> {
        let mut writer = PartWriter::new(begin.clone());
        for part in parts {
            writer.put(part);
        }
        writer.end();
        writer.take().to_vec()
    }

    fn read(bytes: &[u8]) -> Result<Vec<Part>, PartError> {
        Parts::new(bytes).collect()
    }

    fn blob() -> impl Strategy<Value = Part> {
        (
            any::<u64>(),
            any::<[u8; 32]>(),
            any::<u32>(),
            any::<Option<[u8; 16]>>(),
        )
            .prop_map(|(space, id, size, md5)| {
                Part::Blob(ExportedBlob {
                    space: Space(space),
                    id: BlobId(id),
                    size: size.into(),
                    digests: Digests {
                        sha256: id,
                        sha1: None,
                        sha512: None,
                        md5,
                    },
                })
            })
    }

    fn bytes() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
    }

    fn parts() -> impl Strategy<Value = Vec<Part>> {
        let named = (blob(), prop::collection::vec(bytes().prop_map(Part::Name), 0..3));
        let named = named.prop_map(|(blob, names)| [vec![blob], names].concat());
        let record = (bytes(), bytes()).prop_map(|(item, value)| Part::Record {
            key: Collection::new("c").key(item).as_bytes().clone(),
            value,
        });
        let blobs = prop::collection::vec(named, 0..4);
        let records = prop::collection::vec(record, 0..4);
        (blobs, records).prop_map(|(blobs, records)| [blobs.concat(), records].concat())
    }

    #[test]
    fn parts_out_of_their_order_are_refused() {
        let record = Part::Record {
            key: Collection::new("c").key("x").as_bytes().clone(),
            value: Bytes::new(),
        };
        let name = Part::Name(Bytes::from_static(b"n"));
        for wrong in [
            vec![name.clone()],
            vec![record.clone(), name],
            vec![Part::Begin(begin())],
            vec![Part::End(Totals::default()), record],
        ] {
            let error = read(&written(&begin(), &wrong)).unwrap_err();
            assert!(matches!(error.problem, Problem::Order), "{error}");
        }
    }

    #[test]
    fn a_record_that_a_cluster_keeps_for_itself_is_refused() {
        let authority = Collection::new("cluster").key("authority");
        let blob = Collection::new("blobs").at(1u64).at("records").key([7; 32]);
        for key in [
            Bytes::from_static(b"no key"),
            authority.as_bytes().clone(),
            blob.as_bytes().clone(),
        ] {
            let value = Bytes::new();
            let error = read(&written(&begin(), &[Part::Record { key, value }])).unwrap_err();
            assert!(matches!(error.problem, Problem::Key), "{error}");
        }
    }

    #[test]
    fn less_than_the_end_says_is_refused() {
        let mut writer = PartWriter::new(begin());
        writer.totals.records = 1;
        writer.end();
        let error = read(&writer.take()).unwrap_err();
        assert!(error.to_string().contains("records: 1"), "{error}");
    }

    #[test]
    fn what_is_no_export_is_said_to_be_none() {
        for bytes in [&b""[..], b"CAIRN", b"CAIRNBK\x02 and more", b"<html></html>"] {
            let error = read(bytes).unwrap_err();
            assert!(matches!(error.problem, Problem::NoExport), "{error}");
        }
        // A length alone takes no memory.
        let error = read(&[&MAGIC[..], &[0xff; 12]].concat()).unwrap_err();
        assert!(matches!(error.problem, Problem::TooLong(u32::MAX)), "{error}");
    }

    proptest! {
        #[test]
        fn reading_inverts_writing(parts in parts()) {
            let begin = begin();
            let found = read(&written(&begin, &parts)).unwrap();
            prop_assert_eq!(&found[0], &Part::Begin(begin));
            prop_assert_eq!(&found[1..found.len() - 1], &parts[..]);
            prop_assert!(matches!(found[found.len() - 1], Part::End(_)));
        }

        #[test]
        fn every_torn_end_is_noticed(parts in parts(), keep in 0.0..1.0) {
            let whole = written(&begin(), &parts);
            let kept = (whole.len() as f64 * keep) as usize;
            prop_assert!(read(&whole[..kept]).is_err());
        }

        #[test]
        fn every_changed_bit_is_noticed(parts in parts(), at: prop::sample::Index, bit in 0..8) {
            let mut bytes = written(&begin(), &parts);
            let at = at.index(bytes.len());
            bytes[at] ^= 1u8 << bit;
            prop_assert!(read(&bytes).is_err());
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let _ = read(&[&MAGIC[..], &bytes].concat());
        }
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Part>("part");
    }

    #[test]
    fn an_export_is_read() {
        let mut writer = super::PartWriter::new(samples::forms::<super::Begin>().remove(0));
        writer.end();
        samples::check_bytes("export", &[writer.take().to_vec()], |stored| {
            let parts: Vec<super::Part> = super::Parts::new(stored).map(Result::unwrap).collect();
            serde_json::to_string(&parts).unwrap()
        });
    }
}
