//! What can be wrong with a shard. Each is told apart from the others all the way to who asked:
//! a missing shard is rebuilt, a corrupt one was quarantined, and neither ever counts as success.

use std::io;

use tonic::{Code, Status};

use super::shard_file::HeaderError;

/// Why a shard could not be read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum ShardError {
    /// It is not where it should be.
    #[error("the shard is missing")]
    Missing,
    /// Its bytes are not those that were written.
    #[error("the shard is corrupt: {0}")]
    Corrupt(String),
    /// The disk failed.
    #[error("the disk failed: {0}")]
    Io(String),
    /// The disk is full, but for its reserve.
    #[error("the disk is full")]
    Full,
    /// The node did not answer in time.
    #[error("the node does not answer in time")]
    Timeout,
    /// The node could not be called.
    #[error("{0}")]
    Unreachable(String),
    /// What was asked makes no sense.
    #[error("the request was refused: {0}")]
    Refused(String),
}

impl From<io::Error> for ShardError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io(error.to_string()),
        }
    }
}

impl From<HeaderError> for ShardError {
    fn from(error: HeaderError) -> Self {
        match error {
            HeaderError::Damaged(what) => Self::Corrupt(what.into()),
            HeaderError::Version(version) => Self::Io(format!(
                "the shard file has version {version}, which this cairn cannot read"
            )),
        }
    }
}

impl From<ShardError> for Status {
    fn from(error: ShardError) -> Self {
        match error {
            ShardError::Missing => Self::not_found("the shard is missing"),
            ShardError::Corrupt(what) => Self::data_loss(what),
            ShardError::Io(what) => Self::internal(what),
            ShardError::Full => Self::resource_exhausted("the disk is full"),
            ShardError::Timeout => Self::deadline_exceeded("the node does not answer in time"),
            ShardError::Unreachable(what) => Self::unavailable(what),
            ShardError::Refused(what) => Self::invalid_argument(what),
        }
    }
}

impl From<Status> for ShardError {
    fn from(status: Status) -> Self {
        let what = status.message().to_owned();
        match status.code() {
            Code::NotFound => Self::Missing,
            Code::DataLoss => Self::Corrupt(what),
            Code::ResourceExhausted => Self::Full,
            Code::DeadlineExceeded => Self::Timeout,
            Code::InvalidArgument | Code::OutOfRange => Self::Refused(what),
            Code::Internal => Self::Io(what),
            code => Self::Unreachable(format!("{code}: {what}")),
        }
    }
}
