//! Certificates for tests.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_RSA_SHA256, SignatureAlgorithm, date_time_ymd,
};
use tempfile::TempDir;

use crate::http::entrance::certificate::Files;

/// An authority that clients of a test trust.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, as a PEM file.
    pub(crate) certificate: String,
}

/// What an authority gives: for `localhost` and `127.0.0.1`.
#[derive(Clone)]
pub(crate) struct Issued {
    /// A PEM file, with the authority's certificate after the own one.
    pub(crate) certificate: String,
    /// A PEM file of PKCS#8.
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "An authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    pub(crate) fn issue(&self) -> Issued {
        self.issue_with(&PKCS_ECDSA_P256_SHA256, 2100)
    }

    pub(crate) fn issue_rsa(&self) -> Issued {
        self.issue_with(&PKCS_RSA_SHA256, 2100)
    }

    pub(crate) fn issue_expired(&self) -> Issued {
        self.issue_with(&PKCS_ECDSA_P256_SHA256, 2020)
    }

    fn issue_with(&self, algorithm: &'static SignatureAlgorithm, until: i32) -> Issued {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "localhost");
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Issued {
            certificate: format!("{certificate}{}", self.certificate),
            key: key.serialize_pem(),
        }
    }
}

impl Issued {
    pub(crate) fn into_files(self) -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        folder.write(&self);
        folder
    }
}

/// Where the files are, until it is dropped.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn write(&self, issued: &Issued) {
        std::fs::write(self.certificate(), &issued.certificate).unwrap();
        std::fs::write(self.key(), &issued.key).unwrap();
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.0.path().join("certificate.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.0.path().join("key.pem")
    }

    pub(in crate::http::entrance) fn files(&self) -> Files {
        Files {
            certificate: self.certificate(),
            key: self.key(),
        }
    }
}
