//! Memory for blobs on their way out.
//!
//! A blob is read ahead of its client, and a client may take as little of it as the server
//! bears; one connection of HTTP/2 alone can ask for a hundred of them. So all answers together
//! have a bounded room for what was read ahead, and each address a part of it.

use std::net::IpAddr;

use super::shares::{Share, Shares};
use crate::auth::throttle::network;

/// What room is counted in.
const UNIT_BYTES: u64 = 64 << 10;

/// What is read ahead of a blob, at most.
const AHEAD_BYTES: u64 = 4 << 20;

/// 1 GiB for all.
const FOR_ALL: u32 = 16 << 10;

/// 256 MiB, or 64 large blobs at a time, for one address.
const FOR_ONE_ADDRESS: u32 = 4 << 10;

/// The room of one node.
pub(crate) struct ReadBuffers(Shares<Option<IpAddr>>);

impl Default for ReadBuffers {
    fn default() -> Self {
        Self(Shares::new(FOR_ALL, FOR_ONE_ADDRESS))
    }
}

impl ReadBuffers {
    /// Room for reading so many bytes of a blob, as soon as there is some.
    pub(crate) async fn take(&self, address: Option<IpAddr>, len_bytes: u64) -> Share {
        let units = len_bytes.min(AHEAD_BYTES).div_ceil(UNIT_BYTES).max(1);
        self.0.take(address.map(network), units as u32).await
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn one_address_waits_when_it_reads_too_much_at_once() {
        let buffers = ReadBuffers::default();
        let greedy = Some(IpAddr::from([192, 0, 2, 1]));
        let large: Vec<_> = (0..64)
            .map(|_| buffers.take(greedy, 1 << 40).now_or_never().unwrap())
            .collect();
        assert!(buffers.take(greedy, 0).now_or_never().is_none());
        let modest = Some(IpAddr::from([192, 0, 2, 2]));
        assert!(buffers.take(modest, 1 << 40).now_or_never().is_some());
        drop(large);
        // Small ones take what they need.
        let small: Vec<_> = (0..4096)
            .map(|_| buffers.take(greedy, 10).now_or_never().unwrap())
            .collect();
        assert!(buffers.take(greedy, 10).now_or_never().is_none());
        drop(small);
    }
}
