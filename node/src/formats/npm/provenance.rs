//! Provenance that a client attaches: a Sigstore bundle around a signed in-toto statement.
//!
//! The bundle is kept as it was sent and served to those who verify it. Whose signature it bears
//! is for them to judge; that it speaks of this package and these bytes is checked here.

use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::names::{PackageName, Version};
use crate::formats::attested::{self, Malformed, Signed};

/// A bundle and what is said in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Provenance {
    /// The bundle, as JSON text.
    pub(crate) bundle: String,
    /// What kind of statement it is: a URL.
    pub(crate) predicate_type: String,
    /// The tarball's digest according to the statement, in lower-case hexadecimal.
    sha512: String,
}

/// Why a bundle was not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProvenanceError {
    #[error("the provenance bundle is malformed: {0}")]
    Malformed(#[from] Malformed),
    #[error("the provenance statement is about {0:?}, not about this version")]
    OtherSubject(String),
    #[error("the provenance statement is about other bytes than those of the tarball")]
    OtherBytes,
}

impl Provenance {
    /// Reads a bundle that must be about one version.
    pub(crate) fn read(
        bundle: String,
        name: &PackageName,
        version: &Version,
    ) -> Result<Self, ProvenanceError> {
        let Signed::Statement(statement) = Signed::in_bundle(attested::read(bundle.as_bytes())?)? else {
            return Err(Malformed::Wrong("it has no statement").into());
        };
        let subject = statement.only_subject()?;
        if subject.name != package_url(name, version) {
            return Err(ProvenanceError::OtherSubject(subject.name.clone()));
        }
        let sha512 = subject.digest.sha512.as_deref();
        let sha512 = sha512.ok_or(Malformed::Wrong("its statement has no SHA-512"))?;
        Ok(Self {
            sha512: sha512.to_ascii_lowercase(),
            bundle,
            predicate_type: statement.predicate_type,
        })
    }

    /// Makes sure that the statement is about these bytes.
    pub(crate) fn check_bytes(&self, sha512: &[u8; 64]) -> Result<(), ProvenanceError> {
        if self.sha512 == HEXLOWER.encode(sha512) {
            Ok(())
        } else {
            Err(ProvenanceError::OtherBytes)
        }
    }
}

/// The package URL of a version, as the clients write it into statements.
fn package_url(name: &PackageName, version: &Version) -> String {
    match name.scope() {
        Some(scope) => format!("pkg:npm/%40{scope}/{}@{version}", name.base()),
        None => format!("pkg:npm/{name}@{version}"),
    }
}

/// The document that clients fetch: every attestation of a version.
pub(crate) fn attestations(predicate_type: &str, bundle: &[u8]) -> Value {
    // It was parsed when it was published.
    let bundle: Value = serde_json::from_slice(bundle).unwrap_or(Value::Null);
    json!({"attestations": [{"predicateType": predicate_type, "bundle": bundle}]})
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::formats::attested::tests::{around, of_file, statement};

    /// A bundle about a version of a package, as a client would attach it.
    pub(crate) fn bundle(subject: &str, sha512: &str) -> String {
        let subject = json!([{"name": subject, "digest": {"sha512": sha512}}]);
        around(&statement("https://slsa.dev/provenance/v1", &subject)).to_string()
    }

    fn read(bundle: &str) -> Result<Provenance, ProvenanceError> {
        Provenance::read(
            bundle.into(),
            &"@acme/left".parse().unwrap(),
            &"1.0.0".parse().unwrap(),
        )
    }

    #[test]
    fn a_bundle_tells_its_subject_and_kind() {
        let hex = HEXLOWER.encode(&[7; 64]);
        let provenance = read(&bundle("pkg:npm/%40acme/left@1.0.0", &hex)).unwrap();
        assert_eq!(provenance.predicate_type, "https://slsa.dev/provenance/v1");
        assert!(provenance.check_bytes(&[7; 64]).is_ok());
        assert!(matches!(
            provenance.check_bytes(&[8; 64]),
            Err(ProvenanceError::OtherBytes)
        ));
        let served = attestations(&provenance.predicate_type, provenance.bundle.as_bytes());
        assert_eq!(
            served["attestations"][0]["bundle"]["mediaType"],
            "application/vnd.dev.sigstore.bundle.v0.3+json"
        );
    }

    #[test]
    fn other_bundles_are_refused() {
        let check = |bundle: &str, part: &str| {
            let error = read(bundle).unwrap_err().to_string();
            assert!(error.contains(part), "{error} / {part}");
        };
        check(
            &bundle("pkg:npm/%40acme/left@2.0.0", "00"),
            "not about this version",
        );
        check(&bundle("pkg:npm/left@1.0.0", "00"), "not about this version");
        check("{", "malformed");
        check("{}", "malformed");
        check(&of_file(&[7; 32]).to_string(), "no statement");
        let subject = json!([{"name": "pkg:npm/%40acme/left@1.0.0", "digest": {"sha256": "00"}}]);
        check(&around(&statement("x", &subject)).to_string(), "no SHA-512");
        let none = statement("x", &json!([]));
        check(&around(&none).to_string(), "exactly one subject");
    }
}
