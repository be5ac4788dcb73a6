//! Tar archives compressed with gzip.

use std::io::{self, Read};

use flate2::bufread::GzDecoder;

use crate::archive::tar::{expect_padding, walk_tar};
use crate::archive::{Compressed, Limits, Refused, Visitor, damaged, refused};

/// Walks through a gzip-compressed tar archive, to the last byte of `source`.
pub(crate) fn walk_tar_gz<V: Visitor>(
    source: impl Compressed,
    limits: &Limits,
    visitor: &mut V,
) -> Result<(), V::Error> {
    let mut inflated = Inflated {
        gzip: GzDecoder::new(source),
        bytes: 0,
        limits,
        refused: None,
    };
    let outcome =
        walk_tar(&mut inflated, limits, visitor).and_then(|()| inflated.expect_end().map_err(V::Error::from));
    // What stopped the stream explains more than how the tar reader put it.
    match inflated.refused {
        Some(refused) => Err(refused.into()),
        None => outcome,
    }
}

/// The tar stream, cut off where it grows out of proportion.
struct Inflated<'l, S> {
    gzip: GzDecoder<S>,
    bytes: u64,
    limits: &'l Limits,
    refused: Option<Refused>,
}

impl<S: Compressed> Read for Inflated<'_, S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.gzip.read(out)?;
        self.bytes += count as u64;
        let growth = self
            .limits
            .check_growth(self.bytes, self.gzip.get_ref().read_bytes());
        if let Err(refused) = growth {
            self.refused.get_or_insert(refused);
            return Err(io::Error::other("stopped"));
        }
        Ok(count)
    }
}

impl<S: Compressed> Inflated<'_, S> {
    /// Refuses what follows the archive: bytes that one unpacker skips and another reads.
    fn expect_end(&mut self) -> Result<(), Refused> {
        expect_padding(self)?;
        if !self.gzip.get_mut().fill_buf().map_err(damaged)?.is_empty() {
            return refused("goes on after its compressed data");
        }
        Ok(())
    }
}
