//! Content to upload: as much as wanted, without holding it, and no two alike.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use sha2::{Digest, Sha256};

/// What a piece of a body carries at most.
const PIECE_BYTES: usize = 256 << 10;

const BLOCK_BYTES: usize = 4 << 20;

/// Bytes that nothing can compress, which all content is cut from.
static BLOCK: LazyLock<Bytes> = LazyLock::new(|| {
    let mut block = vec![0; BLOCK_BYTES];
    blake3::Hasher::new().finalize_xof().fill(&mut block);
    block.into()
});

/// Content that is known by its number and size. No two begin alike, so nothing is stored once
/// for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) number: u64,
    pub(crate) size_bytes: u64,
}

impl Content {
    /// What stands at `offset`: as much as one piece carries, nothing at the end.
    fn piece(self, offset: u64) -> Bytes {
        let len = (self.size_bytes - offset).min(PIECE_BYTES as u64) as usize;
        let start = self.number.wrapping_mul(64).wrapping_add(offset);
        let at = start as usize % (BLOCK_BYTES - PIECE_BYTES);
        let piece = BLOCK.slice(at..at + len);
        if offset > 0 {
            return piece;
        }
        let mut first = piece.to_vec();
        for (byte, mark) in first.iter_mut().zip(self.number.to_be_bytes()) {
            *byte = mark;
        }
        first.into()
    }

    /// Its digest, as container images are named.
    pub(crate) fn digest(self) -> String {
        let mut hash = Sha256::new();
        let mut offset = 0;
        while offset < self.size_bytes {
            let piece = self.piece(offset);
            hash.update(&piece);
            offset += piece.len() as u64;
        }
        format!("sha256:{}", data_encoding::HEXLOWER.encode(&hash.finalize()))
    }

    /// All of it at once, for what is small or compared with.
    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.size_bytes as usize);
        while (bytes.len() as u64) < self.size_bytes {
            bytes.extend_from_slice(&self.piece(bytes.len() as u64));
        }
        bytes
    }

    /// It as the body of a request.
    pub(crate) fn body(self) -> Generated {
        Generated {
            content: self,
            offset: 0,
        }
    }
}

/// Content that is made while it is sent.
pub(crate) struct Generated {
    content: Content,
    offset: u64,
}

impl Body for Generated {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        let piece = self.content.piece(self.offset);
        self.offset += piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.offset == self.content.size_bytes
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.content.size_bytes - self.offset)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may")]

    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_body_has_the_size_and_the_digest_that_were_said() {
        for size_bytes in [0, 3, PIECE_BYTES as u64, 5 << 20] {
            let content = Content {
                number: 7,
                size_bytes,
            };
            let bytes = content.body().collect().await.unwrap().to_bytes();
            assert_eq!(bytes.len() as u64, size_bytes);
            let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(&bytes));
            assert_eq!(content.digest(), format!("sha256:{hash}"));
        }
        let (one, other) = [1, 2]
            .map(|number| Content {
                number,
                size_bytes: 100,
            })
            .into();
        assert_ne!(one.digest(), other.digest());
    }
}
