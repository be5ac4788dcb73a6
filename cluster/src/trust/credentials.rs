//! What a node proves itself with: its key, its certificate, and the authority it trusts.

use std::fmt;

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData,
};
use rustls_pki_types::pem::{self, PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, PrivatePkcs8KeyDer};

use super::authority::{Authority, CertificateError, NODE_CERTIFICATE_LIFETIME, generate_key};
use super::name::NodeName;
use crate::node_id::{ClusterId, NodeId};
use crate::seams::{Seams, Timestamp};

/// A node's private key. It is made on the node and never sent.
pub struct NodeKey(KeyPair);

/// A request for a certificate: the public key, signed by its private key.
#[derive(Clone, Debug)]
pub struct SigningRequest(pub(crate) CertificateSigningRequestDer<'static>);

impl SigningRequest {
    /// The request as it travels.
    pub fn der(&self) -> &[u8] {
        &self.0
    }

    /// Takes bytes that came from outside; [`Authority::certify`] checks them.
    pub fn from_der(der: Vec<u8>) -> Self {
        Self(der.into())
    }

    /// What the request's key is remembered by, once it is checked that the sender holds it.
    pub(crate) fn key_hash(&self) -> Result<[u8; 32], CertificateError> {
        let request =
            CertificateSigningRequestParams::from_der(&self.0).map_err(CertificateError::Request)?;
        Ok(blake3::hash(request.public_key.der_bytes()).into())
    }
}

impl NodeKey {
    /// Makes a new key.
    pub fn generate() -> Result<Self, CertificateError> {
        Ok(Self(generate_key()?))
    }

    /// Asks for a certificate for this key. Names are the authority's to give.
    pub fn request(&self) -> Result<SigningRequest, CertificateError> {
        let request = CertificateParams::default()
            .serialize_request(&self.0)
            .map_err(|error| CertificateError::unusable("the node's key", error))?;
        Ok(SigningRequest(request.der().clone()))
    }

    /// The key as text, for a file that only its owner can read.
    pub(crate) fn to_pem(&self) -> String {
        pem_section("PRIVATE KEY", &self.0.serialize_der())
    }

    pub(crate) fn from_pem(text: &str) -> Result<Self, CertificateError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes())
            .map_err(|error| CertificateError::unusable("the node's key", error))?;
        Self::from_der(&der)
    }

    fn from_der(der: &PrivatePkcs8KeyDer<'_>) -> Result<Self, CertificateError> {
        KeyPair::from_pkcs8_der_and_sign_algo(der, &PKCS_ECDSA_P256_SHA256)
            .map(Self)
            .map_err(|error| CertificateError::unusable("the node's key", error))
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey")
    }
}

/// A node's key with its certificate and the authority that gave it.
pub struct Credentials {
    name: NodeName,
    key: NodeKey,
    certificate: CertificateDer<'static>,
    authority: CertificateDer<'static>,
}

impl Credentials {
    /// Puts together what a node was given when it joined.
    pub fn new(
        key: NodeKey,
        certificate: CertificateDer<'static>,
        authority: CertificateDer<'static>,
    ) -> Result<Self, CertificateError> {
        let unusable = |reason: &str| CertificateError::unusable("the node's certificate", reason);
        let name = NodeName::of_certificate(&certificate).ok_or_else(|| unusable("it names no node"))?;
        let (_, parsed) =
            x509_parser::parse_x509_certificate(&certificate).map_err(|_| unusable("it does not parse"))?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.0.public_key_raw() {
            return Err(unusable("it is for another key"));
        }
        Ok(Self {
            name,
            key,
            certificate,
            authority,
        })
    }

    /// Makes a key and has `authority` certify it.
    pub fn issue(authority: &Authority, node: NodeId, seams: &Seams) -> Result<Self, CertificateError> {
        let key = NodeKey::generate()?;
        let certificate = authority.certify(&key.request()?, node, seams)?;
        Self::new(key, certificate, authority.certificate().clone())
    }

    /// The node that these are for.
    pub fn node(&self) -> NodeId {
        self.name.node
    }

    /// The cluster that these are for.
    pub fn cluster(&self) -> ClusterId {
        self.name.cluster
    }

    /// Whether two thirds of the certificate's life have passed.
    pub fn due_for_renewal(&self, now: Timestamp) -> Result<bool, CertificateError> {
        let (_, parsed) = x509_parser::parse_x509_certificate(&self.certificate)
            .map_err(|error| CertificateError::unusable("the node's certificate", error))?;
        let expires_s = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
        let left = Timestamp(expires_s.saturating_mul(1000)).since(now);
        Ok(left < NODE_CERTIFICATE_LIFETIME / 3)
    }

    /// New credentials for the same node: a new key and a new certificate.
    pub fn renew(&self, authority: &Authority, seams: &Seams) -> Result<Self, CertificateError> {
        Self::issue(authority, self.node(), seams)
    }

    pub(crate) fn name(&self) -> NodeName {
        self.name
    }

    pub(crate) fn authority(&self) -> &CertificateDer<'static> {
        &self.authority
    }

    /// What is shown in a handshake. The authority is included, so that a joining node, which
    /// knows only its fingerprint, can check the rest.
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone(), self.authority.clone()]
    }

    pub(crate) fn key_der(&self) -> PrivatePkcs8KeyDer<'static> {
        self.key.0.serialize_der().into()
    }

    /// All of it as text, for a file that only its owner can read.
    pub(crate) fn to_pem(&self) -> String {
        [
            self.key.to_pem(),
            pem_section("CERTIFICATE", &self.certificate),
            pem_section("CERTIFICATE", &self.authority),
        ]
        .concat()
    }

    pub(crate) fn from_pem(text: &str) -> Result<Self, CertificateError> {
        let unusable = |reason: &str| CertificateError::unusable("the node's credentials", reason);
        let mut keys = Vec::new();
        let mut certificates = Vec::new();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()) {
            match section.map_err(|error: pem::Error| unusable(&error.to_string()))? {
                (SectionKind::PrivateKey, der) => keys.push(PrivatePkcs8KeyDer::from(der)),
                (SectionKind::Certificate, der) => certificates.push(CertificateDer::from(der)),
                _ => return Err(unusable("they hold something other than a key and certificates")),
            }
        }
        let [key] = keys.as_slice() else {
            return Err(unusable("they do not hold one key"));
        };
        let [certificate, authority] = <[_; 2]>::try_from(certificates)
            .map_err(|_| unusable("they do not hold the node's certificate and the authority's"))?;
        Self::new(NodeKey::from_der(key)?, certificate, authority)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("name", &self.name.to_string())
            .finish_non_exhaustive()
    }
}

/// One section of a PEM file (RFC 7468).
pub(crate) fn pem_section(label: &str, der: &[u8]) -> String {
    let base64 = data_encoding::BASE64.encode(der);
    let lines: Vec<&str> = base64
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).expect("base64 is ASCII"))
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn authority() -> Authority {
        let seams = Seams::system();
        Authority::create(ClusterId::random(&seams), &seams).unwrap()
    }

    #[test]
    fn credentials_read_as_they_are_written() {
        let authority = authority();
        let credentials = Credentials::issue(&authority, NodeId(3), &Seams::system()).unwrap();
        let read = Credentials::from_pem(&credentials.to_pem()).unwrap();
        assert_eq!(read.name(), credentials.name());
        assert_eq!(read.chain(), credentials.chain());
        assert_eq!(read.node(), NodeId(3));
    }

    #[test]
    fn a_certificate_for_another_key_is_not_taken() {
        let authority = authority();
        let theirs = Credentials::issue(&authority, NodeId(3), &Seams::system()).unwrap();
        let key = NodeKey::generate().unwrap();
        assert!(Credentials::new(key, theirs.certificate.clone(), authority.certificate().clone()).is_err());
    }

    #[test]
    fn the_authority_takes_nothing_but_the_key_from_a_request() {
        let authority = authority();
        let key = NodeKey::generate().unwrap();
        let mut params = CertificateParams::new(vec!["node-1.example".into()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let request = SigningRequest(params.serialize_request(&key.0).unwrap().der().clone());
        let certificate = authority.certify(&request, NodeId(9), &Seams::system()).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).unwrap();
        assert!(!parsed.is_ca());
        let name = NodeName::of_certificate(&certificate).unwrap();
        assert_eq!((name.node, name.cluster), (NodeId(9), authority.cluster()));
    }

    #[test]
    fn a_request_without_proof_of_its_key_is_refused() {
        let authority = authority();
        let mut der = NodeKey::generate().unwrap().request().unwrap().der().to_vec();
        *der.last_mut().unwrap() ^= 1;
        let request = SigningRequest::from_der(der);
        assert!(matches!(
            authority.certify(&request, NodeId(9), &Seams::system()),
            Err(CertificateError::Request(_))
        ));
    }

    #[test]
    fn a_certificate_is_due_after_two_thirds_of_its_life() {
        let seams = Seams::system();
        let credentials = Credentials::issue(&authority(), NodeId(3), &seams).unwrap();
        let after = |days: u64| seams.clock.now().plus(Duration::from_secs(days * 86_400));
        assert!(!credentials.due_for_renewal(after(240)).unwrap());
        assert!(credentials.due_for_renewal(after(245)).unwrap());
        assert!(credentials.due_for_renewal(after(4000)).unwrap());
    }
}
