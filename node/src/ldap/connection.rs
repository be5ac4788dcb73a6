//! A connection with a directory: at an address that may be asked, encrypted, and nothing in it endless.
//!
//! Before a certificate has shown who answers, nothing that came is given to the crate `ldap3`, which
//! follows nested values as deep as they go. So it is here that StartTLS is asked for (RFC 4511, section
//! 4.14), and its answer is short. Afterwards the directory is believed, as it is in who somebody is.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ldap3::asn1::{PL, StructureTag, TagClass, parse_tag};
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, Scope, SearchEntry, SearchOptions, StdStream};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};
use url::Host;

use super::{DirectoryError, DirectoryUrl};
use crate::auth::password::Password;
use crate::oidc::may_be_asked;

/// How long a directory may search, as it is told; it is not waited for much longer.
const SEARCH_SECONDS: i32 = 10;

/// How long it may take to connect.
const CONNECT_DEADLINE: Duration = Duration::from_secs(4);

/// The most references to other directories in an answer. None is followed.
const MAX_REFERENCES: usize = 100;

/// An ExtendedRequest of the first message, with the name of StartTLS.
const START_TLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";

/// The longest answer to it.
const MAX_START_TLS_BYTES: usize = 512;

/// A connection, which ends when this is dropped.
pub(super) struct Connection {
    ldap: Ldap,
    _driver: AbortOnDropHandle<()>,
}

/// What a search found.
pub(super) struct Found {
    pub(super) entries: Vec<SearchEntry>,
    /// Whether there is no more.
    pub(super) is_all: bool,
}

impl Connection {
    /// Connects, and makes sure of who answers where that is not this machine.
    pub(super) async fn open(
        url: &DirectoryUrl,
        start_tls: bool,
        authority_file: Option<&Path>,
    ) -> Result<Self, DirectoryError> {
        let is_encrypted = url.is_tls() || start_tls;
        let mut settings = LdapConnSettings::new();
        if is_encrypted {
            settings = settings.set_config(tls(authority_file).await?);
        }
        let reached = tokio::time::timeout(CONNECT_DEADLINE, reach(url, is_encrypted)).await;
        let reached = reached.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let mut stream = reached.map_err(DirectoryError::Reach)?;
        if start_tls {
            ask_for_tls(&mut stream).await?;
        }
        let stream = stream.into_std().map_err(DirectoryError::Reach)?;
        settings = settings.set_std_stream(StdStream::Tcp(stream));
        let url = url.by_tls(is_encrypted).to_string();
        let (connection, ldap) = LdapConnAsync::with_settings(settings, &url).await?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.drive().await {
                warn!(%error, "a connection with the directory broke");
            }
        });
        Ok(Self {
            ldap,
            _driver: AbortOnDropHandle::new(driver),
        })
    }

    /// Whether the directory takes this for the password of an entry. Who asks is that entry then.
    pub(super) async fn bind(&mut self, dn: &str, password: &Password) -> Result<bool, DirectoryError> {
        // A bind without a name or without a password succeeds and proves nothing (RFC 4513, sections
        // 5.1.1 and 5.1.2). A `Password` is never empty.
        if dn.is_empty() {
            return Ok(false);
        }
        let bound = self.ldap.simple_bind(dn, password.as_str()).await?;
        match bound.rc {
            0 => Ok(true),
            // invalidCredentials
            49 => Ok(false),
            // There is no such entry, or none that may bind: it is locked, has expired, has no password.
            rc @ (19 | 32 | 34 | 48 | 50 | 53) => {
                info!(rc, "the directory lets an entry not bind, whatever its password");
                Ok(false)
            }
            _ => Err(DirectoryError::Refused(bound.to_string())),
        }
    }

    /// Searches for so many entries at most.
    pub(super) async fn search(
        &mut self,
        base: &str,
        scope: Scope,
        filter: &str,
        attributes: &[&str],
        at_most: usize,
    ) -> Result<Found, DirectoryError> {
        let options = SearchOptions::new()
            .sizelimit(i32::try_from(at_most).unwrap_or(i32::MAX))
            .timelimit(SEARCH_SECONDS);
        let ldap = self.ldap.with_search_options(options);
        let mut answers = ldap
            .streaming_search(base, scope, filter, attributes.to_vec())
            .await?;
        let (mut entries, mut references) = (Vec::new(), 0);
        while let Some(answer) = answers.next().await? {
            if answer.is_ref() || answer.is_intermediate() {
                references += 1;
                if references > MAX_REFERENCES {
                    return Err(DirectoryError::Malformed);
                }
                continue;
            }
            // Whatever the directory makes of the limit that it was told.
            if entries.len() == at_most {
                return Ok(Found {
                    entries,
                    is_all: false,
                });
            }
            entries.push(SearchEntry::construct(answer));
        }
        let ended = answers.finish().await;
        match ended.rc {
            0 => Ok(Found {
                entries,
                is_all: true,
            }),
            // sizeLimitExceeded
            4 => Ok(Found {
                entries,
                is_all: false,
            }),
            _ => Err(DirectoryError::Refused(ended.to_string())),
        }
    }
}

/// Connects with an address that may be asked, as for issuers; without encryption with this machine alone.
async fn reach(url: &DirectoryUrl, is_encrypted: bool) -> io::Result<TcpStream> {
    let found: Vec<SocketAddr> = match url.host() {
        Host::Ipv4(address) => vec![(*address, url.port()).into()],
        Host::Ipv6(address) => vec![(*address, url.port()).into()],
        Host::Domain(name) => tokio::net::lookup_host((name.as_str(), url.port()))
            .await?
            .collect(),
    };
    let fit = |address: &SocketAddr| match address.ip().to_canonical().is_loopback() {
        true => url.is_here(),
        false => is_encrypted && may_be_asked(address.ip()),
    };
    let fit: Vec<SocketAddr> = found.into_iter().filter(fit).collect();
    if fit.is_empty() {
        return Err(io::Error::other("it is at an address that is never asked"));
    }
    TcpStream::connect(fit.as_slice()).await
}

/// Asks for TLS on a connection; an error if the directory does not go on by TLS.
async fn ask_for_tls(stream: &mut TcpStream) -> Result<(), DirectoryError> {
    stream.write_all(START_TLS).await.map_err(DirectoryError::Reach)?;
    let mut answer = Vec::new();
    loop {
        let mut piece = [0; MAX_START_TLS_BYTES];
        let room = MAX_START_TLS_BYTES - answer.len();
        let read = stream
            .read(&mut piece[..room])
            .await
            .map_err(DirectoryError::Reach)?;
        answer.extend_from_slice(&piece[..read]);
        match parse_tag(&answer) {
            // What comes after it in the clear could be meant to be read as if it had been encrypted.
            Ok((rest, message)) if rest.is_empty() && is_success(&message) => return Ok(()),
            Err(error) if error.is_incomplete() && read > 0 => {}
            _ => return Err(DirectoryError::NoTls),
        }
    }
}

/// Whether a message is an ExtendedResponse to the first request, with the result `success`.
fn is_success(message: &StructureTag) -> bool {
    let PL::C(parts) = &message.payload else {
        return false;
    };
    let [id, response, ..] = parts.as_slice() else {
        return false;
    };
    let PL::C(result) = &response.payload else {
        return false;
    };
    let is_response = response.class == TagClass::Application && response.id == 24;
    let is_first = matches!(&id.payload, PL::P(number) if number.as_slice() == [1]);
    let code = result.first().map(|code| &code.payload);
    is_response && is_first && matches!(code, Some(PL::P(code)) if code.as_slice() == [0])
}

/// What a connection is encrypted by: certificates are those of the authorities in a file, or that the
/// system knows.
async fn tls(authority_file: Option<&Path>) -> Result<Arc<ClientConfig>, DirectoryError> {
    let file = authority_file.map(Path::to_owned);
    let made = tokio::task::spawn_blocking(move || {
        let mut roots = RootCertStore::empty();
        match &file {
            Some(file) => {
                let unfit = || DirectoryError::Authority(file.clone());
                let text = std::fs::read(file).map_err(|error| DirectoryError::File(file.clone(), error))?;
                for certificate in CertificateDer::pem_slice_iter(&text) {
                    let certificate = certificate.map_err(|_| unfit())?;
                    roots.add(certificate).map_err(|_| unfit())?;
                }
                if roots.is_empty() {
                    return Err(unfit());
                }
            }
            // Those of a system that cannot be read are of no use to anybody else either.
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider knows the versions that are the default")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    });
    made.await.expect("reading certificates does not panic")
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// What comes of a connection with a directory that says this to whatever it is asked first, and then
    /// no more.
    async fn told(answer: &'static [u8]) -> DirectoryError {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ldap://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let directory = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; START_TLS.len()];
            stream.read_exact(&mut asked).await.unwrap();
            assert_eq!(asked, START_TLS);
            stream.write_all(answer).await.unwrap();
        };
        let url = url.parse().unwrap();
        let (opened, ()) = tokio::join!(Connection::open(&url, true, None), directory);
        opened.err().expect("nobody was made sure of")
    }

    #[tokio::test]
    async fn nothing_goes_on_in_the_clear_where_tls_was_asked_for() {
        for answer in [
            b"".as_slice(),
            // protocolError; success in an answer to something else, or to a bind.
            b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x02\x04\x00\x04\x00",
            b"\x30\x0c\x02\x01\x02\x78\x07\x0a\x01\x00\x04\x00\x04\x00",
            b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00",
            // Something after it; no end; no message at all.
            b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00\x30",
            b"\x30\x84\x7f\xff\xff\xff\x02",
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            // As deep as it may be long.
            &[0x30; 2 * MAX_START_TLS_BYTES],
        ] {
            let error = told(answer).await;
            assert!(matches!(error, DirectoryError::NoTls), "{error:?} for {answer:?}");
        }
    }

    #[tokio::test]
    async fn after_the_answer_comes_a_certificate_or_nothing() {
        let error = told(b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00").await;
        assert!(matches!(error, DirectoryError::Ldap(_)), "{error:?}");
    }
}
