//! What a connection passes before HTTP is spoken on it: the word of a proxy on whose connection
//! it is, and TLS.
//!
//! All of it must be over within the head timeout, and counts as an open connection meanwhile.

mod certificate;
#[cfg(test)]
pub(crate) mod fixture;
pub(super) mod proxy;
mod tls;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use cairn_cluster::Clock;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use crate::config::Http;
use crate::http::settings::contains;
use certificate::Files;
pub use certificate::Unusable;
pub use tls::Tls;

/// The first byte of a TLS record that begins a handshake; no method of HTTP begins with it.
const HANDSHAKE: u8 = 0x16;

/// How connections come in. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Entrance {
    /// From these, connections begin with a header of the PROXY protocol.
    proxies: Arc<[IpNet]>,
    tls: Option<Tls>,
}

/// A connection that HTTP is spoken on.
pub(super) struct Admitted<S> {
    pub(super) stream: Either<S, Box<TlsStream<S>>>,
    /// The other end, as far as we are told.
    pub(super) peer: IpAddr,
    pub(super) spoken: Spoken,
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    Http,
    Https,
    /// Something else than TLS, where TLS is to be spoken.
    HttpInPlaceOfHttps,
}

/// Why HTTP is not spoken on a connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotAdmitted {
    #[error("it was closed before anything was sent")]
    Closed,
    #[error("it took too long to begin")]
    Slow,
    #[error(transparent)]
    ProxyHeader(#[from] proxy::HeaderError),
    #[error("no TLS came about: {0}")]
    Handshake(io::Error),
}

impl NotAdmitted {
    /// For metrics; none for what is usual, as balancers look whether a port is open.
    pub(super) fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Closed => None,
            Self::Slow => Some("slow"),
            Self::ProxyHeader(_) => Some("proxy_header"),
            Self::Handshake(_) => Some("tls"),
        }
    }
}

impl Entrance {
    /// What the configuration says, with the certificate that it names.
    pub async fn load(http: &Http, clock: Arc<dyn Clock>) -> Result<Self, Unusable> {
        let files = match (&http.tls_certificate, &http.tls_key) {
            (Some(certificate), Some(key)) => Some(Files {
                certificate: certificate.clone(),
                key: key.clone(),
            }),
            // Either without the other is refused with the configuration.
            _ => None,
        };
        Ok(Self {
            proxies: http.proxy_protocol.as_slice().into(),
            tls: match files {
                Some(files) => Some(Tls::load(files, clock).await?),
                None => None,
            },
        })
    }

    /// The scheme of URLs under which clients come in.
    pub fn scheme(&self) -> &'static str {
        match self.tls {
            Some(_) => "https",
            None => "http",
        }
    }

    /// Uses a certificate that is replaced while the node runs. Goes on for ever, if there is one.
    pub async fn follow(self) {
        if let Some(tls) = self.tls {
            tls.follow().await;
        }
    }

    /// Looks at the files of the certificate now.
    #[cfg(test)]
    pub(in crate::http) async fn look(&self) {
        if let Some(tls) = &self.tls {
            tls.look(true).await;
        }
    }

    /// Brings a connection to where HTTP begins.
    pub(super) async fn admit(
        &self,
        stream: TcpStream,
        peer: IpAddr,
        within: Duration,
    ) -> Result<Admitted<TcpStream>, NotAdmitted> {
        if self.tls.is_none() && !contains(&self.proxies, peer) {
            return Ok(Admitted {
                stream: Either::Left(stream),
                peer,
                spoken: Spoken::Http,
            });
        }
        let admitted = timeout(within, self.negotiate(stream, peer)).await;
        admitted.unwrap_or(Err(NotAdmitted::Slow))
    }

    async fn negotiate(
        &self,
        mut stream: TcpStream,
        mut peer: IpAddr,
    ) -> Result<Admitted<TcpStream>, NotAdmitted> {
        if contains(&self.proxies, peer) {
            first_byte(&stream).await?;
            // A proxy that speaks for itself, as when it looks whether we are there, names nobody.
            peer = proxy::read(&mut stream).await?.unwrap_or(peer);
        }
        let Some(tls) = &self.tls else {
            return Ok(Admitted {
                stream: Either::Left(stream),
                peer,
                spoken: Spoken::Http,
            });
        };
        if first_byte(&stream).await? != HANDSHAKE {
            return Ok(Admitted {
                stream: Either::Left(stream),
                peer,
                spoken: Spoken::HttpInPlaceOfHttps,
            });
        }
        let stream = handshake(tls, stream).await.map_err(NotAdmitted::Handshake)?;
        Ok(Admitted {
            stream: Either::Right(Box::new(stream)),
            peer,
            spoken: Spoken::Https,
        })
    }
}

/// Looks at the first byte that comes, and leaves it there.
async fn first_byte(stream: &TcpStream) -> Result<u8, NotAdmitted> {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(1) => Ok(first[0]),
        // However it ended, there is nobody to be told.
        Ok(_) | Err(_) => Err(NotAdmitted::Closed),
    }
}

async fn handshake<S>(tls: &Tls, stream: S) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    TlsAcceptor::from(tls.config()).accept(stream).await
}
