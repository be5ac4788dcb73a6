//! The body of a publish: two lengths and what they announce, as a stream.
//!
//! ```text
//! u32  length of the metadata, little endian
//!      the metadata
//! u32  length of the crate, little endian
//!      the crate, to the end of the body
//! ```

use bytes::{Buf, Bytes, BytesMut};
use futures::{Stream, StreamExt};

use crate::http::body::BodyError;
use crate::http::error::{ApiError, ErrorKind};

/// Why a body is not what it should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// It did not arrive.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// It ends before what its lengths announce.
    #[error("the body ends before the {0}")]
    Short(&'static str),
    /// It goes on after it.
    #[error("the body goes on after the crate that its length announces")]
    Long,
    /// One of the lengths is over a limit.
    #[error("the {what} is over the limit of {limit_bytes} bytes")]
    TooLarge {
        /// What it announces.
        what: &'static str,
        /// The limit.
        limit_bytes: u64,
    },
}

/// A body that is read frame by frame; at most one piece of it is held.
pub(super) struct Frames<S> {
    body: S,
    piece: Bytes,
}

impl<S: Stream<Item = Result<Bytes, BodyError>> + Unpin> Frames<S> {
    pub(super) fn new(body: S) -> Self {
        Self {
            body,
            piece: Bytes::new(),
        }
    }

    /// Reads the length of what comes next.
    pub(super) async fn length(&mut self, what: &'static str, limit_bytes: u64) -> Result<u32, FrameError> {
        let mut field = self.whole(what, 4).await?;
        let length = field.get_u32_le();
        if u64::from(length) > limit_bytes {
            return Err(FrameError::TooLarge { what, limit_bytes });
        }
        Ok(length)
    }

    /// Reads this many bytes as a whole.
    pub(super) async fn whole(&mut self, what: &'static str, length: u32) -> Result<Bytes, FrameError> {
        let mut left = length;
        let mut whole = BytesMut::new();
        while left > 0 {
            whole.extend_from_slice(&self.some(what, &mut left).await?);
        }
        Ok(whole.freeze())
    }

    /// Reads some of the `left` bytes that are still to come, and counts them off.
    pub(super) async fn some(&mut self, what: &'static str, left: &mut u32) -> Result<Bytes, FrameError> {
        if self.piece.is_empty() {
            self.piece = self.next().await?.ok_or(FrameError::Short(what))?;
        }
        let count = self.piece.len().min(*left as usize);
        // It is at most what was left.
        *left -= count as u32;
        Ok(self.piece.split_to(count))
    }

    /// Makes sure that nothing follows.
    pub(super) async fn end(&mut self) -> Result<(), FrameError> {
        match self.piece.is_empty() && self.next().await?.is_none() {
            true => Ok(()),
            false => Err(FrameError::Long),
        }
    }

    /// The next piece that is not empty.
    async fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        while let Some(piece) = self.body.next().await {
            let piece = piece?;
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }
}

impl From<FrameError> for ApiError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Body(error) => error.into(),
            FrameError::TooLarge { .. } => Self::new(ErrorKind::TooLarge, error.to_string()),
            FrameError::Short(_) | FrameError::Long => Self::bad_request(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a body that comes in pieces of these sizes.
    async fn read(body: &[u8], sizes: &[usize], limit_bytes: u64) -> Result<(Vec<u8>, Vec<u8>), FrameError> {
        let mut rest = body;
        let mut pieces = Vec::new();
        for size in sizes.iter().copied().chain([usize::MAX]) {
            let (piece, after) = rest.split_at(size.min(rest.len()));
            pieces.push(Ok(Bytes::copy_from_slice(piece)));
            rest = after;
        }
        let mut frames = Frames::new(futures::stream::iter(pieces));
        let length = frames.length("metadata", limit_bytes).await?;
        let metadata = frames.whole("metadata", length).await?.to_vec();
        let mut left = frames.length("crate", limit_bytes).await?;
        let mut artifact = Vec::new();
        while left > 0 {
            artifact.extend_from_slice(&frames.some("crate", &mut left).await?);
        }
        frames.end().await?;
        Ok((metadata, artifact))
    }

    fn framed(metadata: &[u8], artifact: &[u8]) -> Vec<u8> {
        let length = |bytes: &[u8]| (bytes.len() as u32).to_le_bytes();
        [&length(metadata), metadata, &length(artifact), artifact].concat()
    }

    #[tokio::test]
    async fn lengths_must_add_up_to_the_body() {
        let body = framed(b"{}", b"crate");
        let check = async |body: &[u8], part: &str| {
            let error = read(body, &[], 100).await.unwrap_err().to_string();
            assert!(error.contains(part), "{error} / {part}");
        };
        for cut in 0..body.len() {
            check(&body[..cut], "the body ends before").await;
        }
        check(&[body.as_slice(), b"x"].concat(), "goes on after").await;
        check(
            &framed(&[b' '; 101], b""),
            "metadata is over the limit of 100 bytes",
        )
        .await;
        check(&framed(b"", &[0; 101]), "crate is over the limit of 100 bytes").await;
        check(&[0xff; 20], "over the limit").await;
        let empty = read(&framed(b"", b""), &[], 100).await.unwrap();
        assert_eq!(empty, (Vec::new(), Vec::new()));
    }

    proptest! {
        #[test]
        fn however_it_is_cut_it_is_read_the_same(
            metadata in prop::collection::vec(any::<u8>(), 0..50),
            artifact in prop::collection::vec(any::<u8>(), 0..50),
            sizes in prop::collection::vec(0..20usize, 0..20),
        ) {
            let body = framed(&metadata, &artifact);
            let outcome = futures::executor::block_on(read(&body, &sizes, 100));
            prop_assert_eq!(outcome.unwrap(), (metadata, artifact));
        }

        #[test]
        fn nothing_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = futures::executor::block_on(read(&body, &[7, 1], 100));
        }
    }
}
