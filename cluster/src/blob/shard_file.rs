//! The shard file: one shard of one segment, readable without anything else.
//!
//! ```text
//! 0      8  magic "CAIRNSHD"
//! 8      2  version of this layout, 1
//! 10     1  shard index
//! 11     1  k, data shards
//! 12     1  m, parity shards
//! 13     1  1 if the blob's id is known, otherwise 0
//! 14     2  placement group
//! 16    16  generation
//! 32     8  where the segment's bytes begin in their blob
//! 40     8  bytes in the segment
//! 48    32  the segment's BLAKE3 chaining value
//! 80    32  the blob's id, or zeros
//! 112    4  cells in this file
//! 116    4  bytes in a whole cell
//! 120  8 n  the xxh3-64 of each cell
//!           zeros
//! 4088   8  the xxh3-64 of bytes 0 to 4088
//! 4096      the cells, one after the other
//! ```
//!
//! Numbers are little endian. The header is written after the cells, so a file with a valid one
//! was written to its end.

use std::ops::Range;

use bytes::{Buf, BufMut};
use xxhash_rust::xxh3::xxh3_64;

use super::erasure::Geometry;
use super::id::{BlobId, Generation};
use super::record::{Code, SegmentId};
use super::segments::CELL_BYTES;
use super::tree::SEGMENT_BYTES;

/// Bytes before the first cell.
pub(super) const HEADER_BYTES: usize = 4096;

const MAGIC: &[u8; 8] = b"CAIRNSHD";
const VERSION: u16 = 1;
const FIXED_BYTES: usize = 120;
const CHECKSUM_AT: usize = HEADER_BYTES - 8;

/// The most cells of a shard: those of a copy of a whole segment.
pub(super) const MAX_CELLS: usize = SEGMENT_BYTES as usize / CELL_BYTES;

/// How many cells are read at once where a whole shard is: 2 MiB.
const CELLS_AT_ONCE: u32 = 8;

/// Everything that a shard file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShardHeader {
    pub(super) name: ShardName,
    pub(super) code: Code,
    /// Where the segment's bytes begin in their blob.
    pub(super) offset: u64,
    pub(super) seal: Seal,
    /// The checksum of each cell.
    pub(super) checksums: Vec<u64>,
}

/// Which shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ShardName {
    pub(super) group: u16,
    pub(super) id: SegmentId,
    pub(super) index: u8,
}

/// What is known of a segment when all of it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seal {
    pub(super) len: u64,
    pub(super) hash: [u8; 32],
    pub(super) blob: Option<BlobId>,
}

/// Why a header page is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// It is not what was written.
    Damaged(&'static str),
    /// It is of a version that this one does not read: no reason to throw the file away.
    Version(u16),
}

/// The checksum of a cell.
pub(super) fn checksum(cell: &[u8]) -> u64 {
    xxh3_64(cell)
}

impl ShardHeader {
    /// Where the bytes of the segment lie; none if the numbers make no shard.
    pub(super) fn geometry(&self) -> Option<Geometry> {
        let geometry = Geometry::new(self.code, self.seal.len)?;
        let fits = geometry.stripes() as usize == self.checksums.len();
        (fits && usize::from(self.name.index) < self.code.shards()).then_some(geometry)
    }

    /// The size of the file.
    pub(super) fn file_bytes(&self) -> u64 {
        let cells = self
            .geometry()
            .map_or(0, |geometry| geometry.cells_bytes(0..self.checksums.len() as u32));
        HEADER_BYTES as u64 + cells
    }

    /// The cells, some at a time.
    pub(super) fn chunks(&self) -> impl Iterator<Item = Range<u32>> + Send + use<> {
        let cells = self.checksums.len() as u32;
        (0..cells)
            .step_by(CELLS_AT_ONCE as usize)
            .map(move |first| first..cells.min(first + CELLS_AT_ONCE))
    }

    /// The checksums of some cells.
    pub(super) fn checksums_of(&self, cells: &Range<u32>) -> &[u64] {
        &self.checksums[cells.start as usize..cells.end as usize]
    }

    /// The header page.
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        assert!(
            self.checksums.len() <= MAX_CELLS,
            "a shard of {} cells",
            self.checksums.len()
        );
        let mut page = [0; HEADER_BYTES];
        let mut out = &mut page[..];
        out.put_slice(MAGIC);
        out.put_u16_le(VERSION);
        out.put_u8(self.name.index);
        out.put_u8(self.code.data);
        out.put_u8(self.code.parity);
        out.put_u8(self.seal.blob.is_some().into());
        out.put_u16_le(self.name.group);
        out.put_slice(&self.name.id.generation.0);
        out.put_u64_le(self.offset);
        out.put_u64_le(self.seal.len);
        out.put_slice(&self.seal.hash);
        out.put_slice(&self.seal.blob.map_or([0; 32], |id| id.0));
        out.put_u32_le(self.checksums.len() as u32);
        out.put_u32_le(CELL_BYTES as u32);
        for checksum in &self.checksums {
            out.put_u64_le(*checksum);
        }
        let checksum = checksum(&page[..CHECKSUM_AT]);
        page[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        page
    }

    /// Reads a header page.
    pub(super) fn decode(page: &[u8]) -> Result<Self, HeaderError> {
        let damaged = |what| Err(HeaderError::Damaged(what));
        if page.len() != HEADER_BYTES {
            return damaged("the header is cut off");
        }
        let (body, stored) = page.split_at(CHECKSUM_AT);
        let mut from = body;
        let mut magic = [0; 8];
        from.copy_to_slice(&mut magic);
        if magic != *MAGIC {
            return damaged("it is not a shard file");
        }
        let version = from.get_u16_le();
        if version > VERSION {
            return Err(HeaderError::Version(version));
        }
        if checksum(body).to_le_bytes() != stored {
            return damaged("the header does not have its checksum");
        }
        let index = from.get_u8();
        let code = Code {
            data: from.get_u8(),
            parity: from.get_u8(),
        };
        let has_blob = from.get_u8() == 1;
        let group = from.get_u16_le();
        let mut generation = [0; 16];
        from.copy_to_slice(&mut generation);
        let offset = from.get_u64_le();
        let len = from.get_u64_le();
        let mut hash = [0; 32];
        from.copy_to_slice(&mut hash);
        let mut blob = [0; 32];
        from.copy_to_slice(&mut blob);
        let cells = from.get_u32_le() as usize;
        if from.get_u32_le() as usize != CELL_BYTES || cells > MAX_CELLS {
            return damaged("its cells are not of this version");
        }
        debug_assert_eq!(body.len() - from.remaining(), FIXED_BYTES);
        let checksums = (0..cells).map(|_| from.get_u64_le()).collect();
        let header = Self {
            name: ShardName {
                group,
                id: SegmentId {
                    generation: Generation(generation),
                    number: offset / SEGMENT_BYTES,
                },
                index,
            },
            code,
            offset,
            seal: Seal {
                len,
                hash,
                blob: has_blob.then_some(BlobId(blob)),
            },
            checksums,
        };
        match header.geometry() {
            Some(_) => Ok(header),
            None => damaged("its numbers do not fit together"),
        }
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::samples;

    fn header() -> ShardHeader {
        ShardHeader {
            name: ShardName {
                group: 0x0123,
                id: SegmentId {
                    generation: Generation([7; 16]),
                    number: 2,
                },
                index: 1,
            },
            code: Code { data: 2, parity: 1 },
            offset: 2 * SEGMENT_BYTES,
            seal: Seal {
                len: 600_000,
                hash: [8; 32],
                blob: Some(BlobId([9; 32])),
            },
            checksums: vec![0x1122_3344_5566_7788, 2],
        }
    }

    /// The stored form of [`header`], as the first release wrote it: a change here makes stored
    /// shards unreadable.
    #[test]
    fn the_header_is_a_stored_format() {
        let page = header().encode();
        let fixed = HEXLOWER.encode(&page[..136]);
        let expected = [
            "434149524e534844",
            "0100",
            "01",
            "02",
            "01",
            "01",
            "2301",
            "07070707070707070707070707070707",
            "0000000400000000",
            "c027090000000000",
            "0808080808080808080808080808080808080808080808080808080808080808",
            "0909090909090909090909090909090909090909090909090909090909090909",
            "02000000",
            "00000400",
            "8877665544332211",
            "0200000000000000",
        ];
        assert_eq!(fixed, expected.concat());
        assert!(page[136..CHECKSUM_AT].iter().all(|byte| *byte == 0));
        assert_eq!(ShardHeader::decode(&page), Ok(header()));
    }

    #[test]
    fn what_was_stored_is_read() {
        let header = ShardHeader {
            name: ShardName {
                group: 7,
                id: SegmentId {
                    number: 1,
                    ..header().name.id
                },
                ..header().name
            },
            offset: SEGMENT_BYTES,
            checksums: vec![1, 2],
            ..header()
        };
        // The rest of the page is zeros, and its last bytes are a checksum.
        let written = header.encode();
        let (begin, end) = (written[..FIXED_BYTES + 16].to_vec(), &written[CHECKSUM_AT..]);
        let written = [begin.as_slice(), end].concat();
        samples::check_bytes("shard-header", &[written], |stored| {
            let mut page = [0; HEADER_BYTES];
            let (begin, end) = stored.split_at(stored.len() - 8);
            page[..begin.len()].copy_from_slice(begin);
            page[CHECKSUM_AT..].copy_from_slice(end);
            let header = ShardHeader::decode(&page).unwrap();
            json!({
                "group": header.name.group,
                "generation": HEXLOWER.encode(&header.name.id.generation.0),
                "segment": header.name.id.number,
                "index": header.name.index,
                "data": header.code.data,
                "parity": header.code.parity,
                "offset": header.offset,
                "len": header.seal.len,
                "hash": HEXLOWER.encode(&header.seal.hash),
                "blob": header.seal.blob.map(|id| HEXLOWER.encode(&id.0)),
                "checksums": header.checksums,
            })
            .to_string()
        });
    }

    #[test]
    fn a_shard_of_most_cells_fits_in_the_header() {
        let full = ShardHeader {
            name: ShardName {
                index: 0,
                ..header().name
            },
            code: Code { data: 1, parity: 1 },
            seal: Seal {
                len: SEGMENT_BYTES,
                ..header().seal
            },
            checksums: (0..MAX_CELLS as u64).collect(),
            ..header()
        };
        assert_eq!(ShardHeader::decode(&full.encode()), Ok(full));
    }

    #[test]
    fn numbers_that_make_no_shard_are_refused() {
        let check = |change: fn(&mut ShardHeader)| {
            let mut header = header();
            change(&mut header);
            assert!(ShardHeader::decode(&header.encode()).is_err(), "{header:?}");
        };
        check(|header| header.name.index = 3);
        check(|header| header.code.data = 0);
        check(|header| header.code.parity = 200);
        check(|header| header.seal.len = 0);
        check(|header| header.seal.len = u64::MAX);
        check(|header| header.checksums.clear());
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_noticed(at in 0..HEADER_BYTES, flip in 1u8..) {
            let mut page = header().encode();
            page[at] ^= flip;
            let refused = ShardHeader::decode(&page);
            let version = at == 8 || at == 9;
            prop_assert!(matches!(refused, Err(HeaderError::Version(_))) || !version);
            prop_assert!(refused.is_err());
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 120..200)) {
            let mut page = [0; HEADER_BYTES];
            page[..bytes.len()].copy_from_slice(&bytes);
            page[..10].copy_from_slice(b"CAIRNSHD\x01\x00");
            let checksum = checksum(&page[..CHECKSUM_AT]);
            page[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
            let _ = ShardHeader::decode(&page);
        }
    }
}
