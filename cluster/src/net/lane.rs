//! Lanes: what a connection between nodes is used for.
//!
//! Each lane has connections of its own, so that bulk data cannot delay a heartbeat, and is
//! told apart by its ALPN name in the TLS handshake, before anything else is read.

use std::time::Duration;

/// The largest message between nodes. Services set it as their decoding limit, and so do clients
/// that expect more than the 4 MiB that the library allows by itself.
pub const MAX_MESSAGE_BYTES: usize = 8 << 20;

/// What a connection is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Consensus and liveness: small, urgent.
    Raft,
    /// Short calls: read indexes, forwarded transactions, status.
    Requests,
    /// Shards and snapshots.
    Bulk,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Self; 3] = [Self::Raft, Self::Requests, Self::Bulk];

    /// The lane's name in the handshake.
    pub(crate) fn alpn(self) -> &'static [u8] {
        match self {
            Self::Raft => b"cairn-raft",
            Self::Requests => b"cairn-requests",
            Self::Bulk => b"cairn-bulk",
        }
    }

    pub(crate) fn shape(self) -> Shape {
        match self {
            Self::Raft => Shape {
                stream_window_bytes: 1 << 20,
                connection_window_bytes: 4 << 20,
                frame_bytes: 1 << 18,
                streams_per_connection: 256,
                answer_within: Some(Duration::from_secs(30)),
            },
            Self::Requests => Shape {
                stream_window_bytes: 1 << 20,
                connection_window_bytes: 8 << 20,
                frame_bytes: 1 << 18,
                streams_per_connection: 1024,
                answer_within: Some(Duration::from_secs(30)),
            },
            // Measured: with the usual windows a shard costs twice the CPU, and a long link
            // is never filled. An upload is answered at its end, so its length is the
            // caller's to bound; a dead link is noticed by keep-alive.
            Self::Bulk => Shape {
                stream_window_bytes: 16 << 20,
                connection_window_bytes: 32 << 20,
                frame_bytes: 1 << 20,
                streams_per_connection: 1024,
                answer_within: None,
            },
        }
    }
}

/// The name in the handshake of a connection that only asks to join; it alone needs no
/// certificate.
pub(crate) const JOIN_ALPN: &[u8] = b"cairn-join";

/// How HTTP/2 is set for a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) stream_window_bytes: u32,
    pub(crate) connection_window_bytes: u32,
    pub(crate) frame_bytes: u32,
    pub(crate) streams_per_connection: u32,
    /// How long a call may wait for the head of its answer, if the caller sets no deadline.
    pub(crate) answer_within: Option<Duration>,
}

/// Joins are rare, small and come from strangers.
pub(crate) const JOIN_SHAPE: Shape = Shape {
    stream_window_bytes: 1 << 16,
    connection_window_bytes: 1 << 16,
    frame_bytes: 1 << 14,
    streams_per_connection: 2,
    answer_within: Some(Duration::from_secs(30)),
};
