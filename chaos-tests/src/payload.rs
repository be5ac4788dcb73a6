//! Content of any size that its number decides, byte for byte, so that it is never stored.

use std::ops::Range;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use sha2::{Digest as _, Sha256};

/// How much is made at a time.
const CHUNK_BYTES: u64 = 1 << 20;

/// The content of `size_bytes` with a number, whole.
pub fn payload(number: u64, size_bytes: usize) -> Bytes {
    Payload {
        number,
        size_bytes: size_bytes as u64,
    }
    .part(0..size_bytes as u64)
}

/// Content that is made where it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Decides every byte.
    pub number: u64,
    /// How long it is.
    pub size_bytes: u64,
}

impl Payload {
    /// A part of it that fits in memory.
    pub fn part(&self, range: Range<u64>) -> Bytes {
        assert!(range.end <= self.size_bytes, "beyond the end");
        let mut part = vec![0; (range.end - range.start) as usize];
        let mut reader = blake3::Hasher::new()
            .update(&self.number.to_be_bytes())
            .finalize_xof();
        reader.set_position(range.start);
        reader.fill(&mut part);
        part.into()
    }

    /// A range of it in parts, in order.
    pub fn parts(self, range: Range<u64>) -> impl Iterator<Item = Bytes> + Send + use<> {
        let end = range.end;
        range
            .step_by(CHUNK_BYTES as usize)
            .map(move |start| self.part(start..end.min(start + CHUNK_BYTES)))
    }

    /// A range of it as the body of a request.
    pub fn body(self, range: Range<u64>) -> reqwest::Body {
        let parts = self.parts(range).map(Ok::<_, std::convert::Infallible>);
        reqwest::Body::wrap_stream(futures::stream::iter(parts))
    }

    /// Its digest, as registries of container images write it.
    pub fn sha256(self) -> String {
        let mut hasher = Sha256::new();
        for part in self.parts(0..self.size_bytes) {
            hasher.update(&part);
        }
        format!("sha256:{}", data_encoding::HEXLOWER.encode(&hasher.finalize()))
    }

    /// Holds a body against it as it comes. Whatever came, also of a body that broke off, must
    /// be its beginning; a body that ends must be all of it.
    pub async fn verify(
        self,
        mut body: impl Stream<Item = reqwest::Result<Bytes>> + Unpin,
    ) -> Result<(), Difference> {
        let mut at = 0;
        while let Some(part) = body.next().await {
            let part = part.map_err(|_| Difference::BrokenOff { at })?;
            let end = at + part.len() as u64;
            if end > self.size_bytes || part != self.part(at..end) {
                return Err(Difference::WrongByte { after: at });
            }
            at = end;
        }
        match at == self.size_bytes {
            true => Ok(()),
            false => Err(Difference::WrongByte { after: at }),
        }
    }
}

/// How a body is not the content that it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// The connection ended before the body did; what came was right.
    #[error("the body broke off after {at} bytes")]
    BrokenOff {
        /// Where it ended.
        at: u64,
    },
    /// A byte is wrong, too many, or missing at the end.
    #[error("the body differs after {after} bytes")]
    WrongByte {
        /// Up to where it was right, at least.
        after: u64,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may")]

    use super::*;

    const PAYLOAD: Payload = Payload {
        number: 7,
        size_bytes: 3 * CHUNK_BYTES + 5,
    };

    fn body(bytes: &Bytes) -> impl Stream<Item = reqwest::Result<Bytes>> + Unpin {
        let parts: Vec<_> = bytes.chunks(70_001).map(Bytes::copy_from_slice).map(Ok).collect();
        futures::stream::iter(parts)
    }

    #[test]
    fn parts_make_the_whole() {
        let whole = payload(7, PAYLOAD.size_bytes as usize);
        let parts: Vec<_> = PAYLOAD.parts(0..PAYLOAD.size_bytes).collect();
        assert_eq!(parts.concat(), whole);
        assert_eq!(PAYLOAD.part(100..2_000_000), whole.slice(100..2_000_000));
    }

    #[tokio::test]
    async fn each_difference_is_seen() {
        let whole = payload(7, PAYLOAD.size_bytes as usize);
        PAYLOAD.verify(body(&whole)).await.unwrap();
        let mut wrong = whole.to_vec();
        wrong[2_500_000] ^= 1;
        let long: Bytes = [whole.as_ref(), b"x"].concat().into();
        for wrong in [Bytes::from(wrong), whole.slice(..whole.len() - 1), long] {
            let difference = PAYLOAD.verify(body(&wrong)).await.unwrap_err();
            assert!(matches!(difference, Difference::WrongByte { .. }), "{difference}");
        }
    }
}
