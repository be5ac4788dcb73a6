//! A certificate and its key, from the text of two files to what connections are served with.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_cluster::Timestamp;
use jiff::Timestamp as Date;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{Error, InconsistentKeys, ServerConfig};
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::parse_x509_certificate;

/// Where certificate and key are.
#[derive(Clone, Debug)]
pub(super) struct Files {
    /// The certificate, and after it those that lead to an authority.
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// What the files hold.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) certificate: Vec<u8>,
    pub(super) key: Vec<u8>,
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Contents")
    }
}

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot use {}: {why}", .path.display())]
pub struct Unusable {
    path: PathBuf,
    why: String,
}

impl Unusable {
    pub(super) fn new(path: &Path, why: impl fmt::Display) -> Self {
        Self {
            path: path.to_owned(),
            why: why.to_string(),
        }
    }
}

/// A certificate that fits its key, at work.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) config: Arc<ServerConfig>,
    pub(super) subject: String,
    pub(super) begins: Date,
    pub(super) ends: Date,
}

impl Pair {
    /// Reads what the files hold.
    pub(super) fn parse(files: &Files, contents: &Contents) -> Result<Self, Unusable> {
        let in_certificate = |why: &dyn fmt::Display| Unusable::new(&files.certificate, why);
        let in_key = |why: &dyn fmt::Display| Unusable::new(&files.key, why);
        let chain = chain(&contents.certificate).map_err(|why| in_certificate(&why))?;
        let (subject, begins, ends) = describe(&chain[0]).map_err(|why| in_certificate(&why))?;
        let key = private_key(&contents.key).map_err(|why| in_key(&why))?;
        let provider = Arc::new(default_provider());
        let key = provider.key_provider.load_private_key(key);
        let key = key.map_err(|_| in_key(&"it holds a private key of a kind that TLS has no use for"))?;
        if !fits(&chain[0], &key) {
            return Err(match chain.iter().any(|other| fits(other, &key)) {
                true => in_certificate(&"the certificate of the key must come first in it"),
                false => in_key(&format_args!(
                    "it is not the key of the certificate in {}",
                    files.certificate.display()
                )),
            });
        }
        let config =
            serve_with(CertifiedKey::new(chain, key), provider).map_err(|error| in_certificate(&error))?;
        Ok(Self {
            config: Arc::new(config),
            subject,
            begins,
            ends,
        })
    }

    /// What is wrong with the time of it.
    pub(super) fn untimely(&self, now: Timestamp) -> Option<String> {
        let (now, Self { begins, ends, .. }) = (date(now), self);
        if *ends <= now {
            Some(format!("has expired at {ends}"))
        } else if now < *begins {
            Some(format!("does not hold before {begins}"))
        } else {
            None
        }
    }

    /// How long it still holds, in seconds; how long it has not, if that is negative.
    pub(super) fn seconds_left(&self, now: Timestamp) -> i64 {
        self.ends.as_second() - date(now).as_second()
    }
}

fn date(time: Timestamp) -> Date {
    i64::try_from(time.0)
        .ok()
        .and_then(|millis| Date::from_millisecond(millis).ok())
        .unwrap_or(Date::MAX)
}

/// The certificates of a PEM file.
fn chain(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(broken)?;
    if chain.is_empty() {
        return Err("it holds no certificate in PEM (BEGIN CERTIFICATE)".into());
    }
    for (at, certificate) in chain.iter().enumerate() {
        describe(certificate).map_err(|why| format!("certificate {} in it: {why}", at + 1))?;
    }
    Ok(chain)
}

/// The subject of a certificate, and from when to when it holds.
fn describe(certificate: &CertificateDer<'_>) -> Result<(String, Date, Date), String> {
    let parsed = parse_x509_certificate(certificate);
    let (_, parsed) = parsed.map_err(|error| format!("it does not parse: {error}"))?;
    let (begins, ends) = (parsed.validity().not_before, parsed.validity().not_after);
    let date = |seconds| Date::from_second(seconds).map_err(|_| "its dates are out of range".to_owned());
    Ok((
        parsed.subject().to_string(),
        date(begins.timestamp())?,
        date(ends.timestamp())?,
    ))
}

/// The private key of a PEM file.
fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        pem::Error::NoItemsFound if contains(text, b"BEGIN ENCRYPTED PRIVATE KEY") => {
            "the private key in it is encrypted; take its passphrase off, and let only Cairn read the file"
                .into()
        }
        pem::Error::NoItemsFound => "it holds no private key in PEM (PKCS#8, PKCS#1 or SEC1)".into(),
        other => broken(other),
    })
}

/// Without the text of the file, which may be a key's.
fn broken(error: pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section of it does not end".into(),
        pem::Error::IllegalSectionStart { .. } => "a section of it does not begin as PEM does".into(),
        pem::Error::Base64Decode(_) => "it is not Base64 throughout".into(),
        other => other.to_string(),
    }
}

fn contains(text: &[u8], what: &[u8]) -> bool {
    memchr::memmem::find(text, what).is_some()
}

fn fits(certificate: &CertificateDer<'static>, key: &Arc<dyn SigningKey>) -> bool {
    let pair = CertifiedKey::new(vec![certificate.clone()], key.clone());
    !matches!(
        pair.keys_match(),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch))
    )
}

fn serve_with(pair: CertifiedKey, provider: Arc<CryptoProvider>) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        // TLS 1.3 and 1.2.
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Clients of packages come back often; what they need to go on is kept by them.
    config.ticketer = Ticketer::new()?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;
    use x509_parser::der_parser::parse_der;

    use super::*;
    use crate::http::entrance::fixture::{Authority, Issued};

    fn parse(certificate: &str, key: &str) -> Result<Pair, String> {
        let files = Files {
            certificate: "certificate.pem".into(),
            key: "key.pem".into(),
        };
        let contents = Contents {
            certificate: certificate.into(),
            key: key.into(),
        };
        Pair::parse(&files, &contents).map_err(|why| why.to_string())
    }

    /// The key in the form that was usual before PKCS#8, which wraps it.
    fn unwrapped(key: &str, label: &str) -> String {
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let (_, wrapped) = parse_der(key.secret_der()).unwrap();
        let inner = wrapped.as_sequence().unwrap()[2].as_slice().unwrap();
        format!(
            "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
            BASE64.encode(inner)
        )
    }

    #[test]
    fn every_usual_form_of_a_key_is_read() {
        let authority = Authority::new();
        for (Issued { certificate, key }, label) in [
            (authority.issue(), "EC PRIVATE KEY"),
            (authority.issue_rsa(), "RSA PRIVATE KEY"),
        ] {
            let pair = parse(&certificate, &key).unwrap();
            assert_eq!(
                (pair.subject.as_str(), pair.ends.to_string().as_str()),
                ("CN=localhost", "2100-01-01T00:00:00Z")
            );
            parse(&certificate, &unwrapped(&key, label)).unwrap();
            // Both in one file, and what else such files hold.
            let file = format!("# of a test\n{key}{certificate}");
            parse(&file, &file).unwrap();
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_the_file_and_the_reason() {
        let authority = Authority::new();
        let Issued { certificate, key } = authority.issue();
        let other = authority.issue();
        let check = |certificate: &str, key: &str, expected: &str| {
            let refused = parse(certificate, key).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
            // Keys are not shown.
            assert!(
                !refused.contains(&key[key.len() / 2..][..8.min(key.len() / 2)]),
                "{refused}"
            );
        };
        check("", &key, "certificate.pem: it holds no certificate");
        check(&key, &key, "certificate.pem: it holds no certificate");
        check(
            &certificate[..300],
            &key,
            "certificate.pem: a section of it does not end",
        );
        let broken = certificate.replacen("MII", "MI!", 1);
        check(&broken, &key, "certificate.pem: it is not Base64");
        let nonsense = "-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----\n";
        check(
            nonsense,
            &key,
            "certificate.pem: certificate 1 in it: it does not parse",
        );
        check(
            &format!("{certificate}{nonsense}"),
            &key,
            "certificate.pem: certificate 3 in it",
        );
        check(&certificate, &certificate, "key.pem: it holds no private key");
        check(&certificate, &key[..100], "key.pem: a section of it does not end");
        check(
            &certificate,
            &other.key,
            "key.pem: it is not the key of the certificate in certificate.pem",
        );
        let reversed = format!("{}{certificate}", authority.certificate);
        check(
            &reversed,
            &key,
            "certificate.pem: the certificate of the key must come first",
        );
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        check(
            &certificate,
            &encrypted,
            "key.pem: the private key in it is encrypted",
        );
        let no_key = "-----BEGIN PRIVATE KEY-----\nbm9uc2Vuc2U=\n-----END PRIVATE KEY-----\n";
        check(&certificate, no_key, "key.pem: it holds a private key of a kind");
    }

    #[test]
    fn an_expired_certificate_is_used_and_said_to_have_expired() {
        let Issued { certificate, key } = Authority::new().issue_expired();
        let pair = parse(&certificate, &key).unwrap();
        let at = |date: &str| Timestamp(date.parse::<Date>().unwrap().as_millisecond() as u64);
        let untimely = |date| pair.untimely(at(date)).unwrap_or_default();
        assert_eq!(untimely("2019-12-31T23:59:59Z"), "");
        assert_eq!(
            untimely("2020-01-01T00:00:00Z"),
            "has expired at 2020-01-01T00:00:00Z"
        );
        assert_eq!(
            untimely("1999-12-31T00:00:00Z"),
            "does not hold before 2000-01-01T00:00:00Z"
        );
        assert_eq!(pair.seconds_left(at("2019-12-31T23:59:00Z")), 60);
        assert_eq!(pair.seconds_left(at("2020-01-01T00:01:00Z")), -60);
    }
}
