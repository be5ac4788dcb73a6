//! Attestations that `gem push --attestation` sends with a gem: Sigstore bundles, as a list.
//!
//! They are kept as they were sent and served to those who verify them. Whose signatures they bear is for them to
//! judge; that each speaks of this gem is checked here. A bundle has a statement, whose subjects have names, or just a
//! signature of the file, as `sigstore-cli` makes it.

use bytes::Bytes;
use data_encoding::HEXLOWER;
use serde_json::{Map, Value};

use crate::formats::attested::{self, Malformed, Signed};

/// The most attestations of one gem.
const MAX_ATTESTATIONS: usize = 16;

/// What the file with the attestations of a gem has behind the name of the gem's.
const ENDING: &str = ".sigstore.json";

/// How much of a name that is not as expected is shown.
const SHOWN_CHARACTERS: usize = 80;

/// The list, as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attestations {
    /// JSON.
    pub(super) text: Bytes,
}

/// Why attestations were not accepted.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttestationError {
    #[error("the attestations are malformed: {0}")]
    Malformed(#[from] Malformed),
    #[error("a gem has at most {MAX_ATTESTATIONS} attestations")]
    TooMany,
    #[error("an attestation is about {0:?}, not about this gem")]
    OtherFile(String),
    #[error("an attestation is about other bytes than those of the gem")]
    OtherBytes,
}

impl Attestations {
    /// Reads a list that must be about one gem, by the name and the digest of its file; none if nothing is in it.
    pub(super) fn read(
        text: String,
        file: &str,
        sha256: &[u8; 32],
    ) -> Result<Option<Self>, AttestationError> {
        let list: Vec<Map<String, Value>> = attested::read(text.as_bytes())?;
        if list.len() > MAX_ATTESTATIONS {
            return Err(AttestationError::TooMany);
        }
        let is_empty = list.is_empty();
        for bundle in list {
            check(Signed::in_bundle(bundle)?, file, sha256)?;
        }
        let text = Bytes::from(text);
        Ok((!is_empty).then_some(Self { text }))
    }
}

fn check(signed: Signed, file: &str, sha256: &[u8; 32]) -> Result<(), AttestationError> {
    let is_about_it = match signed {
        // A job that makes gems for several platforms may have one statement of all of them.
        Signed::Statement(statement) => {
            let subject = statement.subject.iter().find(|subject| subject.name == file);
            let Some(subject) = subject else {
                let other = statement.subject.first().map(|subject| subject.name.as_str());
                let other = other.ok_or(Malformed::Wrong("a statement has no subject"))?;
                return Err(AttestationError::OtherFile(
                    other.chars().take(SHOWN_CHARACTERS).collect(),
                ));
            };
            subject.digest.sha256.as_deref() == Some(HEXLOWER.encode(sha256).as_str())
        }
        Signed::File(signed) => signed == sha256,
    };
    match is_about_it {
        true => Ok(()),
        false => Err(AttestationError::OtherBytes),
    }
}

/// The name of the file that has the attestations of the gem in `file`.
pub(super) fn file_of(file: &str) -> String {
    format!("{file}{ENDING}")
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::formats::attested::tests::{around, of_file, statement};

    /// A list with one attestation of a gem, as a client would send it.
    pub(in crate::formats::rubygems) fn attestations(file: &str, sha256: &str) -> String {
        let subject = json!([{"name": file, "digest": {"sha256": sha256}}]);
        json!([around(&statement("https://slsa.dev/provenance/v1", &subject))]).to_string()
    }

    #[test]
    fn attestations_are_about_one_gem() {
        let hex = HEXLOWER.encode(&[7; 32]);
        let read = |text: String| Attestations::read(text, "x-1.gem", &[7; 32]);
        let taken = |text: String| {
            let kept = read(text.clone()).unwrap().unwrap();
            assert_eq!(kept.text, text.as_bytes());
        };
        taken(attestations("x-1.gem", &hex));
        taken(json!([of_file(&[7; 32])]).to_string());
        let several = json!([
            {"name": "x-1-java.gem", "digest": {"sha256": "00"}},
            {"name": "x-1.gem", "digest": {"sha256": hex}},
        ]);
        taken(json!([around(&statement("x", &several)), of_file(&[7; 32])]).to_string());
        assert_eq!(read(" [ ] ".into()).unwrap(), None);

        let refused = |text: String, part: &str| {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error} / {part}");
        };
        refused(attestations("x-2.gem", &hex), "\"x-2.gem\", not about this gem");
        refused(attestations("x\n-1.gem", &hex), "\"x\\n-1.gem\"");
        refused(attestations("x-1.gem", "00"), "other bytes");
        refused(json!([of_file(&[8; 32])]).to_string(), "other bytes");
        refused(json!([of_file(b"")]).to_string(), "other bytes");
        let none = statement("x", &json!([]));
        refused(json!([around(&none)]).to_string(), "no subject");
        let many: Vec<Value> = (0..17).map(|_| of_file(&[7; 32])).collect();
        refused(json!(many).to_string(), "at most 16");
        refused("[{}]".into(), "malformed");
        refused("{}".into(), "malformed");
        refused("x".into(), "malformed");
    }
}
