//! The TLS settings of a node, for both ends of its connections.
//!
//! Which lane a connection is for is its ALPN name. A server asks for a certificate on every
//! lane; only a connection that names the join protocol may come without one, and it reaches
//! nothing but the join service.

use std::fmt;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{
    CertificateError as InvalidCertificate, ClientConfig, DigitallySignedStruct, Error, OtherError,
    RootCertStore, ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::authority::{CertificateError, Fingerprint};
use super::credentials::Credentials;
use super::name::NodeName;
use crate::net::{JOIN_ALPN, Lane};
use crate::node_id::ClusterId;
use crate::seams::{Clock, Seams, Timestamp};

/// A node's certificate at work. Cheap to clone; all clones see a renewed certificate.
#[derive(Clone)]
pub struct Tls {
    name: NodeName,
    clock: Arc<dyn Clock>,
    current: Arc<RwLock<Arc<Configs>>>,
}

struct Configs {
    client: [Arc<ClientConfig>; Lane::ALL.len()],
    server: [Arc<ServerConfig>; Lane::ALL.len()],
    join: Arc<ServerConfig>,
}

/// What is wrong with a peer that proved to be somebody else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PeerRefused {
    #[error("the peer belongs to cluster {theirs}, this is cluster {ours}")]
    OtherCluster { theirs: ClusterId, ours: ClusterId },
    #[error("the peer is node {theirs}, not the node {wanted} that was called")]
    OtherNode { theirs: String, wanted: String },
    #[error("the peer shows no certificate of a cairn node")]
    NotANode,
    #[error("the peer does not show the certificate authority {wanted} that the join token names")]
    OtherAuthority { wanted: Fingerprint },
}

impl From<PeerRefused> for Error {
    fn from(refused: PeerRefused) -> Self {
        let other = OtherError(Arc::new(refused));
        Self::InvalidCertificate(InvalidCertificate::Other(other))
    }
}

impl Tls {
    /// Puts credentials to work.
    pub fn new(credentials: &Credentials, seams: &Seams) -> Result<Self, CertificateError> {
        let clock = seams.clock.clone();
        Ok(Self {
            name: credentials.name(),
            current: Arc::new(RwLock::new(Arc::new(Configs::new(credentials, &clock)?))),
            clock,
        })
    }

    /// Uses renewed credentials for new connections.
    pub fn renew(&self, credentials: &Credentials) -> Result<(), CertificateError> {
        if credentials.name() != self.name {
            return Err(CertificateError::unusable(
                "the renewed certificate",
                "it names another node",
            ));
        }
        let configs = Arc::new(Configs::new(credentials, &self.clock)?);
        *self.current.write().expect("no panic while held") = configs;
        Ok(())
    }

    pub(crate) fn name(&self) -> NodeName {
        self.name
    }

    pub(crate) fn client(&self, lane: Lane) -> Arc<ClientConfig> {
        self.configs().client[lane as usize].clone()
    }

    pub(crate) fn server(&self, lane: Lane) -> Arc<ServerConfig> {
        self.configs().server[lane as usize].clone()
    }

    pub(crate) fn join_server(&self) -> Arc<ServerConfig> {
        self.configs().join.clone()
    }

    fn configs(&self) -> Arc<Configs> {
        self.current.read().expect("no panic while held").clone()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("name", &self.name.to_string())
            .finish_non_exhaustive()
    }
}

impl Configs {
    fn new(credentials: &Credentials, clock: &Arc<dyn Clock>) -> Result<Self, CertificateError> {
        let unusable = |error: Error| CertificateError::unusable("the node's certificate", error);
        let provider = provider();
        let roots = roots(credentials.authority()).map_err(unusable)?;
        let servers = verifier(roots.clone())
            .map_err(|error| CertificateError::unusable("the authority's certificate", error))?;
        let clients = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|error| CertificateError::unusable("the authority's certificate", error))?;
        let private_key = PrivateKeyDer::Pkcs8(credentials.key_der());
        let certified =
            CertifiedKey::from_der(credentials.chain(), private_key, &provider).map_err(unusable)?;
        let ours = Arc::new(SingleCertAndKey::from(certified));
        let time = Arc::new(ClockTime(clock.clone()));

        let client = |lane: Lane| -> Result<_, Error> {
            let mut config = ClientConfig::builder_with_details(provider.clone(), time.clone())
                .with_protocol_versions(&[&TLS13])?
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(PeerVerifier {
                    cluster: credentials.cluster(),
                    inner: servers.clone(),
                }))
                .with_client_cert_resolver(ours.clone());
            config.alpn_protocols = vec![lane.alpn().to_vec()];
            config.resumption = rustls::client::Resumption::disabled();
            Ok(Arc::new(config))
        };
        let server = |alpn: &[u8], proven: bool| -> Result<_, Error> {
            let builder = ServerConfig::builder_with_details(provider.clone(), time.clone())
                .with_protocol_versions(&[&TLS13])?;
            let mut config = match proven {
                true => builder.with_client_cert_verifier(clients.clone()),
                false => builder.with_no_client_auth(),
            }
            .with_cert_resolver(ours.clone());
            config.alpn_protocols = vec![alpn.to_vec()];
            // A resumed session would not show its certificate again.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
            Ok(Arc::new(config))
        };
        let build = || -> Result<Self, Error> {
            let [raft, requests, bulk] = Lane::ALL;
            Ok(Self {
                client: [client(raft)?, client(requests)?, client(bulk)?],
                server: [
                    server(raft.alpn(), true)?,
                    server(requests.alpn(), true)?,
                    server(bulk.alpn(), true)?,
                ],
                join: server(JOIN_ALPN, false)?,
            })
        };
        build().map_err(unusable)
    }
}

/// The settings of a node that has only a join token: it checks that the peer is a node of the
/// cluster that the token names, under the authority that it pins, and shows nothing itself.
pub(crate) fn pinned_client(
    cluster: ClusterId,
    authority: Fingerprint,
    seams: &Seams,
) -> Result<Arc<ClientConfig>, Error> {
    let mut config = ClientConfig::builder_with_details(provider(), Arc::new(ClockTime(seams.clock.clone())))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedVerifier {
            cluster,
            authority,
            provider: provider(),
        }))
        .with_no_client_auth();
    config.alpn_protocols = vec![JOIN_ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn roots(authority: &CertificateDer<'static>) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone())?;
    Ok(Arc::new(roots))
}

fn verifier(
    roots: Arc<RootCertStore>,
) -> Result<Arc<WebPkiServerVerifier>, rustls::server::VerifierBuilderError> {
    WebPkiServerVerifier::builder_with_provider(roots, provider()).build()
}

/// Certificates expire by the clock that is passed in.
struct ClockTime(Arc<dyn Clock>);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        let Timestamp(millis) = self.0.now();
        Some(UnixTime::since_unix_epoch(Duration::from_millis(millis)))
    }
}

impl fmt::Debug for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Checks that the peer is the node that was called, and says who it is if not.
#[derive(Debug)]
struct PeerVerifier {
    cluster: ClusterId,
    inner: Arc<WebPkiServerVerifier>,
}

impl PeerVerifier {
    /// Two clusters that were wired together, or a node behind another's address, are
    /// operators' mistakes that deserve a better word than "unknown issuer". Nothing is
    /// trusted here: this only ever refuses.
    fn explain(&self, certificate: &CertificateDer<'_>, wanted: &ServerName<'_>) -> Result<(), PeerRefused> {
        let theirs = NodeName::of_certificate(certificate).ok_or(PeerRefused::NotANode)?;
        if theirs.cluster != self.cluster {
            return Err(PeerRefused::OtherCluster {
                theirs: theirs.cluster,
                ours: self.cluster,
            });
        }
        if theirs.server_name() != *wanted {
            let wanted = wanted.to_str();
            let node = wanted.parse::<NodeName>().map(|name| name.node.to_string());
            return Err(PeerRefused::OtherNode {
                theirs: theirs.node.to_string(),
                wanted: node.unwrap_or_else(|_| wanted.into_owned()),
            });
        }
        Ok(())
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.explain(end_entity, server_name)?;
        self.inner
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Checks that the peer is some node of a cluster whose authority is known by its fingerprint.
#[derive(Debug)]
struct PinnedVerifier {
    cluster: ClusterId,
    authority: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let theirs = NodeName::of_certificate(end_entity).ok_or(PeerRefused::NotANode)?;
        if theirs.cluster != self.cluster {
            return Err(PeerRefused::OtherCluster {
                theirs: theirs.cluster,
                ours: self.cluster,
            }
            .into());
        }
        let authority = intermediates
            .iter()
            .find(|shown| Fingerprint::of(shown) == self.authority)
            .ok_or(PeerRefused::OtherAuthority {
                wanted: self.authority,
            })?;
        let roots = roots(&authority.clone().into_owned())?;
        let verifier = verifier(roots).map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(
            end_entity,
            intermediates,
            &theirs.server_name(),
            ocsp_response,
            now,
        )
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
