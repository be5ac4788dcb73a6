//! How a segment becomes shards: stripes, cells and Reed-Solomon parity. Pure.
//!
//! ```text
//! segment   | cell 0 | cell 1 | cell 2 | cell 3 | cell 4 | rest |        k = 2, m = 1
//! shard 0   | cell 0          | cell 2          | cell 4, first half |
//! shard 1            | cell 1          | cell 3 | cell 4, second half|
//! shard 2   | parity          | parity          | parity             |
//! ```
//!
//! A stripe is one cell of every shard. All cells have [`CELL_BYTES`], but for those of the last
//! stripe, which share what is left evenly: rounded up to 64 bytes, zeros after the end. So a
//! healthy read is a plain concatenation of data cells, and no shard is longer than it must be.
//!
//! The parity bytes are those of the `reed-solomon-erasure` crate over GF(2^8): they are a
//! stored format, kept as golden values in the tests, whatever computes them. With one data
//! shard nothing is coded, and every shard is a copy.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use reed_solomon_erasure::ReconstructShard;
use reed_solomon_erasure::galois_8::{Field, ReedSolomon};

use super::record::Code;
use super::segments::CELL_BYTES;
use super::tree::SEGMENT_BYTES;

/// The most shards of one segment.
pub(super) const MAX_SHARDS: usize = 32;

/// Cells of the last stripe have a multiple of this many bytes.
const CELL_ALIGNMENT: u64 = 64;

impl Code {
    /// What a cluster of so many nodes uses, if nothing else is configured.
    pub fn for_nodes(nodes: usize) -> Self {
        let (data, parity) = match nodes {
            0 | 1 => (1, 0),
            2 => (1, 1),
            3 => (2, 1),
            4 | 5 => (2, 2),
            _ => (4, 2),
        };
        Self { data, parity }
    }

    /// Copies that survive as many losses.
    pub(super) fn of_copies(self) -> Self {
        Self { data: 1, ..self }
    }

    /// All shards.
    pub fn shards(self) -> usize {
        usize::from(self.data) + usize::from(self.parity)
    }

    /// How many shards must be durable, on distinct nodes, before a write is acknowledged:
    /// one more than is needed to read, where there is one.
    pub fn acknowledged_at(self) -> usize {
        self.shards().min(usize::from(self.data) + 1)
    }

    /// Whether shards can be made by this code.
    pub(super) fn is_valid(self) -> bool {
        let coded = self.data == 1 || self.parity > 0;
        self.data > 0 && coded && self.shards() <= MAX_SHARDS
    }
}

/// Where the bytes of a segment lie in its shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    code: Code,
    len: u64,
}

impl Geometry {
    /// Of a segment with `len` bytes; none if there is no such segment.
    pub(super) fn new(code: Code, len: u64) -> Option<Self> {
        (code.is_valid() && (1..=SEGMENT_BYTES).contains(&len)).then_some(Self { code, len })
    }

    fn data(&self) -> u64 {
        u64::from(self.code.data)
    }

    fn stripe_bytes(&self) -> u64 {
        self.data() * CELL_BYTES as u64
    }

    /// How many stripes there are; as many cells has every shard.
    pub(super) fn stripes(&self) -> u32 {
        self.len.div_ceil(self.stripe_bytes()) as u32
    }

    /// The bytes in each cell of a stripe.
    pub(super) fn cell_bytes(&self, stripe: u32) -> usize {
        let before = u64::from(stripe) * self.stripe_bytes();
        let left = self.len.saturating_sub(before).min(self.stripe_bytes());
        (left.div_ceil(self.data()).next_multiple_of(CELL_ALIGNMENT)) as usize
    }

    /// The bytes of some cells of one shard, one after the other.
    pub(super) fn cells_bytes(&self, cells: Range<u32>) -> u64 {
        if cells.is_empty() {
            return 0;
        }
        let whole = u64::from(cells.end - cells.start - 1) * CELL_BYTES as u64;
        whole + self.cell_bytes(cells.end - 1) as u64
    }

    /// The part of the segment that a data cell holds; what the cell has beyond it is zeros.
    pub(super) fn content_of(&self, stripe: u32, shard: u8) -> Range<u64> {
        let cell_bytes = self.cell_bytes(stripe) as u64;
        let start = u64::from(stripe) * self.stripe_bytes() + u64::from(shard) * cell_bytes;
        start.min(self.len)..(start + cell_bytes).min(self.len)
    }

    /// The stripes that a part of the segment lies in.
    pub(super) fn stripes_of(&self, part: &Range<u64>) -> Range<u32> {
        if part.is_empty() {
            return 0..0;
        }
        (part.start / self.stripe_bytes()) as u32..((part.end - 1) / self.stripe_bytes() + 1) as u32
    }
}

/// Makes the parity of stripes, and data out of what is left of them.
pub(super) struct Coder {
    code: Code,
    /// None for copies.
    codec: Option<ReedSolomon>,
}

/// There are fewer cells of a stripe than data shards, or they do not fit together.
#[derive(Debug, thiserror::Error)]
#[error("too little is left of a stripe")]
pub(super) struct TooFewCells;

impl Coder {
    /// For a valid code.
    pub(super) fn new(code: Code) -> Self {
        assert!(code.is_valid(), "{code:?} is not a code");
        let codec = (code.data > 1).then(|| {
            ReedSolomon::new(code.data.into(), code.parity.into()).expect("the numbers were checked")
        });
        Self { code, codec }
    }

    /// How many data shards the code has.
    pub(super) fn data_shards(&self) -> usize {
        self.code.data.into()
    }

    /// Cuts the content of one stripe into data cells of equal size. A whole stripe is cut
    /// already: its cells are given back as they are.
    pub(super) fn cut(&self, content: Vec<Bytes>) -> Vec<Bytes> {
        let shards = usize::from(self.code.data);
        let len: usize = content.iter().map(Bytes::len).sum();
        let cell_bytes = len.div_ceil(shards).next_multiple_of(CELL_ALIGNMENT as usize);
        if content.len() == shards && content.iter().all(|cell| cell.len() == cell_bytes) {
            return content;
        }
        let mut joined = BytesMut::with_capacity(shards * cell_bytes);
        for part in content {
            joined.extend_from_slice(&part);
        }
        joined.resize(shards * cell_bytes, 0);
        let joined = joined.freeze();
        (0..shards)
            .map(|shard| joined.slice(shard * cell_bytes..(shard + 1) * cell_bytes))
            .collect()
    }

    /// The cells of all shards, from the data cells.
    pub(super) fn encode(&self, data: Vec<Bytes>) -> Vec<Bytes> {
        let mut cells = data;
        let Some(codec) = &self.codec else {
            cells.resize(self.code.shards(), cells[0].clone());
            return cells;
        };
        let mut parity = vec![vec![0; cells[0].len()]; self.code.parity.into()];
        codec
            .encode_sep(&cells, &mut parity)
            .expect("as many cells of one size as there are data shards");
        cells.extend(parity.into_iter().map(Bytes::from));
        cells
    }

    /// The data cells, from any as many cells as there are data shards. `cells` is by shard index.
    pub(super) fn decode(&self, mut cells: Vec<Option<Bytes>>) -> Result<Vec<Bytes>, TooFewCells> {
        let data = usize::from(self.code.data);
        let Some(codec) = &self.codec else {
            return Ok(vec![cells.into_iter().flatten().next().ok_or(TooFewCells)?]);
        };
        if cells.iter().take(data).any(Option::is_none) {
            cells.resize(self.code.shards(), None);
            let mut shards: Vec<Shard> = cells.into_iter().map(Shard::from).collect();
            codec.reconstruct_data(&mut shards).map_err(|_| TooFewCells)?;
            cells = shards
                .into_iter()
                .map(|shard| shard.cell.map(BytesMut::freeze))
                .collect();
        }
        let decoded: Option<Vec<Bytes>> = cells.into_iter().take(data).collect();
        decoded.ok_or(TooFewCells)
    }
}

/// A cell as the decoder wants it: writable, though it writes only to those it makes.
struct Shard {
    cell: Option<BytesMut>,
}

impl From<Option<Bytes>> for Shard {
    fn from(cell: Option<Bytes>) -> Self {
        let writable = |cell: Bytes| {
            cell.try_into_mut()
                .unwrap_or_else(|shared| BytesMut::from(shared.as_ref()))
        };
        Self {
            cell: cell.map(writable),
        }
    }
}

impl ReconstructShard<Field> for Shard {
    fn len(&self) -> Option<usize> {
        self.cell.as_ref().map(BytesMut::len)
    }

    fn get(&mut self) -> Option<&mut [u8]> {
        self.cell.as_deref_mut()
    }

    fn get_or_initialize(
        &mut self,
        len: usize,
    ) -> Result<&mut [u8], Result<&mut [u8], reed_solomon_erasure::Error>> {
        match &mut self.cell {
            Some(cell) => Ok(cell),
            missing => Err(Ok(missing.insert(BytesMut::zeroed(len)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::blob::suite::content;

    const CODES: [(u8, u8); 7] = [(1, 0), (1, 1), (1, 2), (2, 1), (2, 2), (4, 2), (8, 4)];

    fn code((data, parity): (u8, u8)) -> Code {
        Code { data, parity }
    }

    /// Parity of the bytes 0, 7, 14, 21 …, 64 to a cell; the first sixteen of each parity cell,
    /// and the xxh3 of the whole. A change here makes stored shards unreadable.
    #[test]
    fn the_parity_bytes_are_a_stored_format() {
        let check = |numbers: (u8, u8), expected: &[(&str, u64)]| {
            let (data, coder) = (usize::from(numbers.0), Coder::new(code(numbers)));
            let bytes: Bytes = (0..64 * data).map(|n| (n * 7) as u8).collect();
            let cells = coder.encode(coder.cut(vec![bytes]));
            let parity: Vec<(String, u64)> = cells[data..]
                .iter()
                .map(|cell| {
                    let start = data_encoding::HEXLOWER.encode(&cell[..16]);
                    (start, xxhash_rust::xxh3::xxh3_64(cell))
                })
                .collect();
            let parity: Vec<(&str, u64)> = parity
                .iter()
                .map(|(start, hash)| (start.as_str(), *hash))
                .collect();
            assert_eq!(parity, expected, "{numbers:?}");
        };
        check(
            (2, 1),
            &[("9d9a938881beb7aca5a2c6cdd4dbe2e9", 9_750_521_793_902_706_775)],
        );
        check(
            (2, 2),
            &[
                ("9d9a938881beb7aca5a2c6cdd4dbe2e9", 9_750_521_793_902_706_775),
                ("5d5a5348417e776c6562868d949ba2a9", 7_358_204_915_962_398_538),
            ],
        );
        check(
            (4, 2),
            &[
                ("696e677c754a435851565b5049467f74", 6_100_353_351_859_890_428),
                ("a9aea7bcb58a839891961b1009063f34", 18_349_476_714_479_951_732),
            ],
        );
    }

    #[test]
    fn every_byte_of_a_segment_has_its_place() {
        let cell = CELL_BYTES as u64;
        for numbers in CODES {
            for len in [
                1,
                63,
                64,
                65,
                1000,
                cell - 1,
                cell,
                cell + 1,
                2 * cell,
                9 * cell + 5,
                SEGMENT_BYTES,
            ] {
                let geometry = Geometry::new(code(numbers), len).unwrap();
                let mut at = 0;
                for stripe in 0..geometry.stripes() {
                    for shard in 0..numbers.0 {
                        let content = geometry.content_of(stripe, shard);
                        if !content.is_empty() {
                            assert_eq!(content.start, at, "{numbers:?} {len}");
                            assert_eq!(geometry.stripes_of(&content), stripe..stripe + 1);
                            at = content.end;
                        }
                        assert!(content.end - content.start <= geometry.cell_bytes(stripe) as u64);
                    }
                }
                assert_eq!(at, len, "{numbers:?}");
                let shard = geometry.cells_bytes(0..geometry.stripes());
                assert!(shard * u64::from(numbers.0) >= len);
                assert!(
                    shard * u64::from(numbers.0) < len + 64 * u64::from(numbers.0) + 64,
                    "{numbers:?} {len}"
                );
            }
        }
    }

    #[test]
    fn what_is_not_a_segment_has_no_geometry() {
        assert!(Geometry::new(code((2, 1)), 0).is_none());
        assert!(Geometry::new(code((2, 1)), SEGMENT_BYTES + 1).is_none());
        for impossible in [(0, 1), (2, 0), (30, 3)] {
            assert!(Geometry::new(code(impossible), 1).is_none(), "{impossible:?}");
        }
    }

    /// Every way to pick `k` out of `n`, as bit sets.
    fn subsets(n: usize, k: usize) -> impl Iterator<Item = u32> {
        (0..1u32 << n).filter(move |set| set.count_ones() as usize == k)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]

        #[test]
        fn any_as_many_shards_as_hold_data_give_the_content(which in 0..CODES.len() - 1, len in 1usize..20_000) {
            let numbers = CODES[which];
            let coder = Coder::new(code(numbers));
            let bytes = content(len);
            let parts = bytes.chunks(777).map(|part| bytes.slice_ref(part)).collect();
            let cells = coder.encode(coder.cut(parts));
            prop_assert_eq!(cells.len(), code(numbers).shards());
            for present in 0..=cells.len() {
                for set in subsets(cells.len(), present) {
                    let left: Vec<Option<Bytes>> = cells
                        .iter()
                        .enumerate()
                        .map(|(index, cell)| (set & 1 << index != 0).then(|| cell.clone()))
                        .collect();
                    match coder.decode(left) {
                        Ok(data) => {
                            let joined = data.concat();
                            prop_assert!(joined[..len] == bytes, "{numbers:?} {set:b}");
                            prop_assert!(joined[len..].iter().all(|byte| *byte == 0));
                        }
                        Err(TooFewCells) => prop_assert!(present < numbers.0.into()),
                    }
                }
            }
        }
    }

    #[test]
    fn cells_of_different_sizes_are_not_decoded() {
        let coder = Coder::new(code((2, 2)));
        let cells = vec![
            None,
            Some(Bytes::from(vec![1; 64])),
            Some(Bytes::from(vec![1; 128])),
            None,
        ];
        assert!(coder.decode(cells).is_err());
    }
}
