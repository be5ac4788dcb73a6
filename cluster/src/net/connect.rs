//! Makes one connection to a node: address, TLS, and a clear word about what failed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Net, Stream};
use crate::trust::PeerRefused;

/// How long a connection may take, the handshake included.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// Why a peer was not reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// Nobody answers at the address.
    #[error("{address} cannot be reached: {source}")]
    Unreachable { address: String, source: io::Error },
    /// The address answers too slowly, or not at all.
    #[error("{address} does not answer within {CONNECT_WITHIN:?}")]
    TimedOut { address: String },
    /// Somebody else answers.
    #[error("{address} is not the right peer: {refused}")]
    WrongPeer { address: String, refused: PeerRefused },
    /// The handshake failed otherwise.
    #[error("TLS handshake with {address} failed: {source}")]
    Handshake { address: String, source: io::Error },
}

impl ConnectError {
    /// Whether it is certain that the node does not run there, rather than merely slow.
    pub(crate) fn is_conclusive(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => source.kind() == io::ErrorKind::ConnectionRefused,
            Self::WrongPeer { .. } => true,
            Self::TimedOut { .. } | Self::Handshake { .. } => false,
        }
    }
}

/// Dials addresses.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    net: Arc<dyn Net>,
}

impl Dialer {
    pub(crate) fn new(net: Arc<dyn Net>) -> Self {
        Self { net }
    }

    /// Connects to `address` and proves the peer by `config`.
    pub(crate) async fn dial(
        &self,
        address: &str,
        name: ServerName<'static>,
        config: Arc<ClientConfig>,
    ) -> Result<TlsStream<Box<dyn Stream>>, ConnectError> {
        let address = address.to_owned();
        let connect = async {
            let stream = self
                .net
                .connect(&address)
                .await
                .map_err(|source| ConnectError::Unreachable {
                    address: address.clone(),
                    source,
                })?;
            TlsConnector::from(config)
                .connect(name, stream)
                .await
                .map_err(|source| match refused(&source) {
                    Some(refused) => ConnectError::WrongPeer {
                        address: address.clone(),
                        refused,
                    },
                    None => ConnectError::Handshake {
                        address: address.clone(),
                        source,
                    },
                })
        };
        match timeout(CONNECT_WITHIN, connect).await {
            Ok(done) => done,
            Err(_) => Err(ConnectError::TimedOut { address }),
        }
    }
}

/// What our own verifier said, out of the error that carries it.
fn refused(error: &io::Error) -> Option<PeerRefused> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) => {
            other.0.downcast_ref::<PeerRefused>().cloned()
        }
        _ => None,
    }
}
