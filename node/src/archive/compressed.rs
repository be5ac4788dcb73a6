//! Compressed tar archives.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::Stream;
use zstd::stream::read::Decoder as ZstdDecoder;

use crate::archive::tar::{expect_padding, walk_tar};
use crate::archive::{Compressed, Limits, Refused, Visitor, damaged, refused};

/// The most that a decoder looks back, in bytes as a power of two: as far as xz does at its highest level, and zstd at
/// all but its highest. Each decoder has so much memory.
const WINDOW_LOG: u32 = 26;

/// What a decoder of xz has beside its window, in bytes.
const XZ_OVERHEAD_BYTES: u64 = 2 << 20;

/// How an archive is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    /// RFC 1952.
    Gzip,
    /// The .xz file format, <https://tukaani.org/xz/xz-file-format.txt>.
    Xz,
    /// RFC 8878.
    Zstd,
}

/// Walks through a gzip-compressed tar archive, to the last byte of `source`.
pub(crate) fn walk_tar_gz<V: Visitor>(
    source: impl Compressed,
    limits: &Limits,
    visitor: &mut V,
) -> Result<(), V::Error> {
    walk(GzDecoder::new(source), limits, visitor)
}

/// Walks through a tar archive that is compressed in this way, to the last byte of `source`.
///
/// It is one gzip member, xz stream or zstd frame: unpackers disagree about those that follow the first.
pub(crate) fn walk_compressed_tar<V: Visitor>(
    source: impl Compressed,
    compression: Compression,
    limits: &Limits,
    visitor: &mut V,
) -> Result<(), V::Error> {
    match compression {
        Compression::Gzip => walk_tar_gz(source, limits, visitor),
        Compression::Xz => {
            let memory_bytes = (1 << WINDOW_LOG) + XZ_OVERHEAD_BYTES;
            let stream =
                Stream::new_stream_decoder(memory_bytes, 0).map_err(|error| damaged(error.into()))?;
            walk(XzDecoder::new_stream(source, stream), limits, visitor)
        }
        Compression::Zstd => {
            let mut decoder = ZstdDecoder::with_buffer(source).map_err(damaged)?.single_frame();
            decoder.window_log_max(WINDOW_LOG).map_err(damaged)?;
            walk(decoder, limits, visitor)
        }
    }
}

fn walk<V: Visitor>(decoder: impl Decoder, limits: &Limits, visitor: &mut V) -> Result<(), V::Error> {
    let mut unpacked = Unpacked {
        decoder,
        bytes: 0,
        limits,
        refused: None,
    };
    let outcome =
        walk_tar(&mut unpacked, limits, visitor).and_then(|()| unpacked.expect_end().map_err(V::Error::from));
    // What stopped the stream explains more than how the tar reader put it.
    match unpacked.refused {
        Some(refused) => Err(refused.into()),
        None => outcome,
    }
}

/// What unpacks a source, and lends it out.
trait Decoder: Read {
    fn source(&mut self) -> &mut impl Compressed;
}

impl<S: Compressed> Decoder for GzDecoder<S> {
    fn source(&mut self) -> &mut impl Compressed {
        self.get_mut()
    }
}

impl<S: Compressed> Decoder for XzDecoder<S> {
    fn source(&mut self) -> &mut impl Compressed {
        self.get_mut()
    }
}

impl<S: Compressed> Decoder for ZstdDecoder<'_, S> {
    fn source(&mut self) -> &mut impl Compressed {
        self.get_mut()
    }
}

/// The tar stream, cut off where it grows out of proportion.
struct Unpacked<'l, D> {
    decoder: D,
    bytes: u64,
    limits: &'l Limits,
    refused: Option<Refused>,
}

impl<D: Decoder> Read for Unpacked<'_, D> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.decoder.read(out)?;
        self.bytes += count as u64;
        let growth = self
            .limits
            .check_growth(self.bytes, self.decoder.source().read_bytes());
        if let Err(refused) = growth {
            self.refused.get_or_insert(refused);
            return Err(io::Error::other("stopped"));
        }
        Ok(count)
    }
}

impl<D: Decoder> Unpacked<'_, D> {
    /// Refuses what follows the archive: bytes that one unpacker skips and another reads.
    fn expect_end(&mut self) -> Result<(), Refused> {
        expect_padding(self)?;
        if !self.decoder.source().fill_buf().map_err(damaged)?.is_empty() {
            return refused("goes on after its compressed data");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use liblzma::write::XzEncoder;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::archives::{compressed, tar};

    const ALL: [Compression; 3] = [Compression::Gzip, Compression::Xz, Compression::Zstd];

    fn tar_of(path: &str, content: &[u8]) -> Vec<u8> {
        tar(&[(path, content)]).into_inner().unwrap()
    }

    /// Reads every file to its end.
    #[derive(Default)]
    struct Bytes(u64);

    impl Visitor for Bytes {
        type Error = Refused;

        fn file(&mut self, _: &str, _: u64, content: &mut dyn Read) -> Result<(), Refused> {
            self.0 += crate::archive::each_piece(content, |_| ())?;
            Ok(())
        }

        fn link(&mut self, _: &str) -> Result<(), Refused> {
            Ok(())
        }
    }

    fn walked(packed: &[u8], compression: Compression) -> Result<u64, String> {
        let mut bytes = Bytes::default();
        walk_compressed_tar(Cursor::new(packed), compression, &Limits::default(), &mut bytes)
            .map(|()| bytes.0)
            .map_err(|refused| refused.to_string())
    }

    #[test]
    fn archives_are_read_to_their_last_byte_in_every_compression() {
        for compression in ALL {
            let packed = compressed(&tar_of("a/b", &[7; 300_000]), compression);
            assert_eq!(walked(&packed, compression), Ok(300_000));
            for cut in [0, 1, 20, packed.len() / 2, packed.len() - 1] {
                let refused = walked(&packed[..cut], compression).unwrap_err();
                assert!(refused.contains("is damaged"), "{compression:?} {cut}: {refused}");
            }
            let twice = [packed.as_slice(), &packed].concat();
            let refused = walked(&twice, compression).unwrap_err();
            assert!(refused.contains("goes on after its compressed data"), "{refused}");
            for other in ALL.iter().filter(|other| **other != compression) {
                assert!(walked(&packed, *other).unwrap_err().contains("is damaged"));
            }
        }
    }

    #[test]
    fn what_unpacks_out_of_proportion_is_stopped() {
        let tar = tar_of("zeros", &vec![0; 64 << 20]);
        for compression in ALL {
            let refused = walked(&compressed(&tar, compression), compression).unwrap_err();
            assert!(refused.contains("unpacks to more than 200 times"), "{refused}");
        }
    }

    #[test]
    fn a_decoder_does_not_take_more_memory_than_it_may() {
        // A frame says how far back it looks, before anything is in it.
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(WINDOW_LOG + 1).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.write_all(&tar_of("a", b"a")).unwrap();
        let refused = walked(&encoder.finish().unwrap(), Compression::Zstd).unwrap_err();
        assert!(refused.contains("memory"), "{refused}");

        let mut options = liblzma::stream::LzmaOptions::new_preset(6).unwrap();
        options.dict_size(1 << (WINDOW_LOG + 1));
        let mut filters = liblzma::stream::Filters::new();
        filters.lzma2(&options);
        let stream = Stream::new_stream_encoder(&filters, liblzma::stream::Check::Crc64).unwrap();
        let mut encoder = XzEncoder::new_stream(Vec::new(), stream);
        encoder.write_all(&tar_of("a", b"a")).unwrap();
        let refused = walked(&encoder.finish().unwrap(), Compression::Xz).unwrap_err();
        assert!(refused.contains("memory"), "{refused}");

        // The highest levels of xz are within it.
        let mut encoder = XzEncoder::new(Vec::new(), 9);
        encoder.write_all(&tar_of("a", b"a")).unwrap();
        assert_eq!(walked(&encoder.finish().unwrap(), Compression::Xz), Ok(1));
    }

    proptest! {
        #[test]
        fn damaged_archives_are_refused_or_read(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            for compression in ALL {
                let mut packed = compressed(&tar_of("a/b", &[7; 3000]), compression);
                let at = at.index(packed.len());
                packed[at] = byte;
                let _ = walked(&packed, compression);
            }
        }
    }
}
