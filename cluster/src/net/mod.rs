//! The network between nodes.
//!
//! [`Net`] is the seam: streams of bytes to and from addresses. On it stand mutual TLS
//! ([`crate::trust`]), the lanes that keep heavy traffic from delaying heartbeats ([`Lane`]),
//! the client side ([`Peers`]) and the server side ([`Server`]).
//!
//! What holds here:
//! - nothing but a join is parsed of a connection without a certificate of this cluster;
//! - who a peer is, is taken from its certificate alone ([`PeerIdentity`]);
//! - connections, handshakes, streams, headers and messages are all bounded, per lane.

mod connect;
mod gate;
mod lane;
mod peers;
mod probe;
mod server;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

pub use gate::{PeerIdentity, Roster};
pub use lane::{Lane, MAX_MESSAGE_BYTES};
pub use peers::{Liveness, PeerChannel, Peers, PeersConfig};
pub use probe::DiskGauge;
pub use server::{Server, ServerConfig};

pub(crate) use connect::Dialer;
pub(crate) use gate::{Known, protocol_header};
pub(crate) use lane::JOIN_ALPN;

/// The version of what nodes say to each other. A node talks to those of the version before.
pub const PROTOCOL_VERSION: u32 = 1;

/// The oldest version that is still understood.
pub const OLDEST_PROTOCOL_VERSION: u32 = 1;

/// A connection, before TLS.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Makes connections and accepts them: TCP, or a simulated network.
#[async_trait]
pub trait Net: Send + Sync + fmt::Debug {
    /// Connects to `host:port`. The caller bounds the time.
    async fn connect(&self, address: &str) -> io::Result<Box<dyn Stream>>;

    /// Listens on `host:port`; port 0 takes a free one.
    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>>;
}

/// Accepts connections.
#[async_trait]
pub trait Listener: Send + Sync {
    /// The next connection, and where it comes from.
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, SocketAddr)>;

    /// Where it listens.
    fn address(&self) -> io::Result<SocketAddr>;
}

/// The machine's TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

#[async_trait]
impl Net for Tcp {
    async fn connect(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(address).await?;
        // Small messages are what consensus waits for.
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }

    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        Ok(Box::new(TcpListener::bind(address).await?))
    }
}

#[async_trait]
impl Listener for TcpListener {
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, SocketAddr)> {
        let (stream, remote) = TcpListener::accept(self).await?;
        stream.set_nodelay(true)?;
        Ok((Box::new(stream), remote))
    }

    fn address(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }
}
