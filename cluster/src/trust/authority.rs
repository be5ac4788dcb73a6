//! The cluster's certificate authority.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
    SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::credentials::SigningRequest;
use super::name::NodeName;
use crate::kv::{Collection, Key, ReadError, Snapshot, Txn};
use crate::node_id::{ClusterId, NodeId};
use crate::record::Record;
use crate::seams::{Seams, Timestamp};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The authority outlives the disks; it is replaced by a command, not by the calendar.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(30 * 365 * DAY.as_secs());

/// How long a node's certificate holds. It is renewed when two thirds of that have passed.
pub(crate) const NODE_CERTIFICATE_LIFETIME: Duration = Duration::from_secs(365 * DAY.as_secs());

/// Certificates hold from a little before they are made, for clocks that are behind.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60 * 60);

/// Why a certificate was not made or not read.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// What the joining node sent is not a signing request that proves possession of its key.
    #[error("the certificate signing request is not valid: {0}")]
    Request(rcgen::Error),
    /// A stored key or certificate does not parse, or cannot sign.
    #[error("{what} cannot be used: {reason}")]
    Unusable {
        /// Which key or certificate.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl CertificateError {
    pub(crate) fn unusable(what: &'static str, reason: impl fmt::Display) -> Self {
        Self::Unusable {
            what,
            reason: reason.to_string(),
        }
    }
}

/// The SHA-256 of a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub(crate) [u8; 32]);

impl Fingerprint {
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not a fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 64 lower-case hexadecimal digits")]
pub struct ParseFingerprintError;

impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = data_encoding::HEXLOWER
            .decode(text.as_bytes())
            .map_err(|_| ParseFingerprintError)?;
        Ok(Self(bytes.try_into().map_err(|_| ParseFingerprintError)?))
    }
}

/// The certificate authority of a cluster, with its key.
pub struct Authority {
    cluster: ClusterId,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// How the authority is kept in the metadata.
#[derive(Serialize, Deserialize)]
struct AuthorityRecord {
    cluster: ClusterId,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Record for AuthorityRecord {}

fn key() -> Key {
    Collection::new("cluster").key("authority")
}

impl Authority {
    /// Makes the authority of a new cluster.
    pub fn create(cluster: ClusterId, seams: &Seams) -> Result<Self, CertificateError> {
        let keys = generate_key()?;
        let mut params = params(seams, AUTHORITY_LIFETIME, format!("cairn cluster {cluster}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params
            .self_signed(&keys)
            .map_err(|error| CertificateError::unusable("the new authority", error))?;
        Ok(Self {
            cluster,
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, keys),
        })
    }

    /// The cluster that it speaks for.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Its certificate, which every node trusts.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// What a join token pins.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// Certifies that the holder of the request's key is `node`. Nothing but the key is taken
    /// from the request.
    pub fn certify(
        &self,
        request: &SigningRequest,
        node: NodeId,
        seams: &Seams,
    ) -> Result<CertificateDer<'static>, CertificateError> {
        self.certify_for(request, node, NODE_CERTIFICATE_LIFETIME, seams)
    }

    pub(crate) fn certify_for(
        &self,
        request: &SigningRequest,
        node: NodeId,
        lifetime: Duration,
        seams: &Seams,
    ) -> Result<CertificateDer<'static>, CertificateError> {
        let request =
            CertificateSigningRequestParams::from_der(&request.0).map_err(CertificateError::Request)?;
        let name = NodeName {
            node,
            cluster: self.cluster,
        }
        .to_string();
        let mut params = params(seams, lifetime, name.clone());
        let san = name
            .try_into()
            .map_err(|error| CertificateError::unusable("the node's name", error))?;
        params.subject_alt_names = vec![SanType::DnsName(san)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let certificate = params
            .signed_by(&request.public_key, &self.issuer)
            .map_err(|error| CertificateError::unusable("the authority's key", error))?;
        Ok(certificate.der().clone())
    }

    /// Writes the authority into the metadata.
    pub(crate) fn put(&self, txn: &mut Txn) {
        let record = AuthorityRecord {
            cluster: self.cluster,
            certificate: self.certificate.to_vec(),
            key: self.issuer.key().serialize_der(),
        };
        txn.put_record(&key(), &record);
    }

    /// The authority in the metadata, if it is there yet.
    pub async fn load(snapshot: &Snapshot) -> Result<Option<Self>, AuthorityError> {
        let Some(record) = snapshot.record::<AuthorityRecord>(&key()).await? else {
            return Ok(None);
        };
        Ok(Some(Self::from_parts(
            record.cluster,
            record.certificate.into(),
            PrivatePkcs8KeyDer::from(record.key),
        )?))
    }

    pub(crate) fn from_parts(
        cluster: ClusterId,
        certificate: CertificateDer<'static>,
        key: PrivatePkcs8KeyDer<'static>,
    ) -> Result<Self, CertificateError> {
        let unusable = |error| CertificateError::unusable("the stored authority", error);
        let keys = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256).map_err(unusable)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, keys).map_err(unusable)?;
        Ok(Self {
            cluster,
            certificate,
            issuer,
        })
    }

    /// The key, for a file that only its owner can read.
    pub(crate) fn key(&self) -> PrivatePkcs8KeyDer<'static> {
        self.issuer.key().serialize_der().into()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("cluster", &self.cluster)
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

/// Why the authority could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The metadata could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What is stored cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

pub(crate) fn generate_key() -> Result<KeyPair, CertificateError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
        .map_err(|error| CertificateError::unusable("the random number generator", error))
}

fn params(seams: &Seams, lifetime: Duration, common_name: String) -> CertificateParams {
    let now = seams.clock.now();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let mut serial: [u8; 16] = seams.random();
    // A serial number is a positive integer without leading zeros.
    serial[0] = serial[0] & 0x3f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let since_epoch = Duration::from_secs(now.since(Timestamp(0)).as_secs());
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch.saturating_sub(CLOCK_TOLERANCE);
    params.not_after = epoch + since_epoch + lifetime;
    params
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::AuthorityRecord>("authority");
    }
}
