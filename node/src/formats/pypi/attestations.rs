//! Attestations that a client uploads with a file (PEP 740).
//!
//! They are kept as they were sent and served to those who verify them. Whose signatures they
//! bear is for them to judge; that they speak of this file and these bytes is checked here.

use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::formats::attested::{self, Malformed, Statement};

/// The most attestations of one file.
const MAX_ATTESTATIONS: usize = 16;

/// The list, as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attestations {
    /// JSON.
    pub(super) text: String,
}

/// Why attestations were not accepted.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttestationError {
    #[error("the attestations are malformed: {0}")]
    Malformed(#[from] Malformed),
    #[error("an attestation is about {0:?}, not about this file")]
    OtherFile(String),
    #[error("an attestation is about other bytes than those of the file")]
    OtherBytes,
}

/// The parts of an attestation that are looked at.
#[derive(Deserialize)]
struct Attestation {
    version: u64,
    envelope: Envelope,
}

#[derive(Deserialize)]
struct Envelope {
    statement: String,
}

impl Attestations {
    /// Reads a list that must be about one file.
    pub(super) fn read(text: String, file: &str, sha256: &[u8; 32]) -> Result<Self, AttestationError> {
        let list: Vec<Attestation> = attested::read(text.as_bytes())?;
        if list.len() > MAX_ATTESTATIONS {
            return Err(Malformed::Wrong("there are too many").into());
        }
        for attestation in list {
            if attestation.version != 1 {
                return Err(Malformed::Wrong("they have another version than 1").into());
            }
            let statement = Statement::read(&attestation.envelope.statement)?;
            let subject = statement.only_subject()?;
            if subject.name != file {
                return Err(AttestationError::OtherFile(
                    subject.name.chars().take(80).collect(),
                ));
            }
            if subject.digest.sha256.as_deref() != Some(HEXLOWER.encode(sha256).as_str()) {
                return Err(AttestationError::OtherBytes);
            }
        }
        Ok(Self { text })
    }
}

/// The document that verifiers fetch. `publisher` is who uploaded the file here.
pub(super) fn provenance(attestations: &[u8], project: &str, publisher: Option<&str>) -> Value {
    // They were parsed when they were uploaded.
    let attestations: Value = serde_json::from_slice(attestations).unwrap_or(Value::Null);
    json!({
        "version": 1,
        "attestation_bundles": [{
            "publisher": {"kind": "Cairn", "project": project, "user": publisher, "claims": null},
            "attestations": attestations,
        }],
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::formats::attested::tests::statement;

    /// A list with one attestation, as a client would send it.
    pub(in crate::formats::pypi) fn attestations(file: &str, sha256: &str) -> String {
        let subject = json!([{"name": file, "digest": {"sha256": sha256}}]);
        let statement = statement("https://attest.example/publish/v1", &subject);
        json!([{
            "version": 1,
            "verification_material": {"certificate": "AA==", "transparency_entries": []},
            "envelope": {"statement": statement, "signature": "AA=="},
        }])
        .to_string()
    }

    #[test]
    fn attestations_are_about_one_file() {
        let hex = HEXLOWER.encode(&[7; 32]);
        let read = |text: String| Attestations::read(text, "x-1.tar.gz", &[7; 32]);
        let read_text = read(attestations("x-1.tar.gz", &hex)).unwrap().text;
        let served = provenance(read_text.as_bytes(), "acme/demo", Some("alice"));
        assert_eq!(served["attestation_bundles"][0]["attestations"][0]["version"], 1);
        let check = |text: String, part: &str| {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error} / {part}");
        };
        check(attestations("y-1.tar.gz", &hex), "not about this file");
        check(attestations("x-1.tar.gz", "00"), "other bytes");
        check("{}".into(), "malformed");
        check(
            r#"[{"version":2,"envelope":{"statement":"e30="}}]"#.into(),
            "another version",
        );
        check(
            r#"[{"version":1,"envelope":{"statement":"!"}}]"#.into(),
            "malformed",
        );
        check(
            r#"[{"version":1,"envelope":{"statement":"e30="}}]"#.into(),
            "missing field",
        );
        check("[".repeat(100), "deeper than 32 levels");
    }
}
