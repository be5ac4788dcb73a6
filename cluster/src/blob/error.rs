//! What can go wrong with blobs, one enum for each operation.

use std::convert::Infallible;
use std::ops::Range;

use super::id::BlobId;
use super::segments::SegmentError;
use crate::kv::{CommitError, ReadError, Unavailable};

/// Why bytes were not stored.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PutError<E> {
    /// The body ended with an error of its own.
    #[error("receive the body: {0}")]
    Body(E),
    /// The body is longer than allowed.
    #[error("the body is over the limit of {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// Too few nodes take it now.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// The cluster does not store bytes now in the way that it promises.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// Too few nodes take it; try again later.
    #[error("store a blob: {reason}")]
    Unavailable {
        /// What was missing, in words for an operator.
        reason: String,
    },
    /// Too few nodes have room for it.
    #[error("store a blob: {reason}")]
    Full {
        /// What was missing, in words for an operator.
        reason: String,
    },
}

impl WriteError {
    pub(super) fn unavailable(reason: impl ToString) -> Self {
        Self::Unavailable {
            reason: reason.to_string(),
        }
    }
}

impl From<SegmentError> for WriteError {
    fn from(error: SegmentError) -> Self {
        match error {
            SegmentError::Full(reason) => Self::Full { reason },
            other => Self::unavailable(other),
        }
    }
}

impl From<CommitError> for WriteError {
    fn from(error: CommitError) -> Self {
        Self::unavailable(error)
    }
}

impl From<ReadError> for WriteError {
    fn from(error: ReadError) -> Self {
        Self::unavailable(error)
    }
}

/// Why a blob was not read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BlobReadError {
    /// There is no such blob, or not any more.
    #[error("blob {id} is not known")]
    Unknown {
        /// Which.
        id: BlobId,
    },
    /// The range does not lie inside of the blob.
    #[error("bytes {} to {} are not inside of a blob of {size}", .range.start, .range.end)]
    Range {
        /// What was asked for.
        range: Range<u64>,
        /// The size of the blob.
        size: u64,
    },
    /// Too few nodes give it now; try again later.
    #[error("read blob {id}: {reason}")]
    Unavailable {
        /// Which.
        id: BlobId,
        /// What was missing, in words for an operator.
        reason: String,
    },
    /// What is left of it is not enough to tell its bytes.
    #[error("blob {id} is damaged: {reason}")]
    Damaged {
        /// Which.
        id: BlobId,
        /// What was found.
        reason: String,
    },
    /// Its record could not be read.
    #[error(transparent)]
    Metadata(#[from] ReadError),
}

impl BlobReadError {
    pub(super) fn of(id: BlobId, error: SegmentError) -> Self {
        match error {
            SegmentError::Unavailable(reason) | SegmentError::Full(reason) => {
                Self::Unavailable { id, reason }
            }
            SegmentError::Damaged(reason) => Self::Damaged { id, reason },
        }
    }
}

/// Why a blob could not be named in a transaction.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BlobTxnError {
    /// No such blob is kept, or it is being removed: its bytes have to be stored again.
    #[error("blob {id} is not known")]
    Unknown {
        /// Which.
        id: BlobId,
    },
    /// The bytes were stored so long ago that they may have been collected.
    #[error("blob {id} was not named in time and has to be stored again")]
    Expired {
        /// Which.
        id: BlobId,
    },
    /// Metadata could not be read.
    #[error(transparent)]
    Metadata(#[from] ReadError),
}

/// Why a lease was not renewed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LeaseError {
    /// Metadata could not be read.
    #[error(transparent)]
    Metadata(#[from] ReadError),
    /// The lease could not be written.
    #[error("lease a blob: {0}")]
    Commit(#[from] CommitError),
}

/// Why an upload did not go on. `E` is the error of the body, where there is one.
#[derive(Clone, Debug, thiserror::Error)]
pub enum UploadError<E = Infallible> {
    /// There is no such upload, or not any more.
    #[error("the upload is not known")]
    Unknown,
    /// The bytes do not begin where the upload stands; another request may have been faster.
    #[error("the upload stands at byte {actual}")]
    WrongOffset {
        /// Where it stands.
        actual: u64,
    },
    /// The upload is finished and takes no more bytes.
    #[error("the upload is finished")]
    Finished,
    /// The upload would become larger than allowed.
    #[error("the upload is over the limit of {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The body ended with an error of its own.
    #[error("receive the body: {0}")]
    Body(E),
    /// The cluster cannot take it now; try again later, from where the upload then stands.
    #[error("store an upload: {reason}")]
    Unavailable {
        /// What was missing, in words for an operator.
        reason: String,
    },
    /// Too few nodes have room for it.
    #[error("store an upload: {reason}")]
    Full {
        /// What was missing, in words for an operator.
        reason: String,
    },
    /// Metadata could not be read.
    #[error(transparent)]
    Metadata(#[from] ReadError),
}

impl UploadError {
    /// The same error among those of a request with a body.
    pub fn widen<E>(self) -> UploadError<E> {
        match self {
            Self::Unknown => UploadError::Unknown,
            Self::WrongOffset { actual } => UploadError::WrongOffset { actual },
            Self::Finished => UploadError::Finished,
            Self::TooLarge { limit_bytes } => UploadError::TooLarge { limit_bytes },
            Self::Body(never) => match never {},
            Self::Unavailable { reason } => UploadError::Unavailable { reason },
            Self::Full { reason } => UploadError::Full { reason },
            Self::Metadata(error) => UploadError::Metadata(error),
        }
    }
}

/// The causes that only say "not now".
macro_rules! unavailable_from {
    ($($cause:ty),*) => {$(
        impl From<$cause> for UploadError {
            fn from(error: $cause) -> Self {
                Self::Unavailable {
                    reason: error.to_string(),
                }
            }
        }
    )*};
}

unavailable_from!(CommitError, Unavailable);

impl From<SegmentError> for UploadError {
    fn from(error: SegmentError) -> Self {
        match error {
            SegmentError::Full(reason) => Self::Full { reason },
            other => Self::Unavailable {
                reason: other.to_string(),
            },
        }
    }
}
