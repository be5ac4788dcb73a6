//! What clients attach to say how a package was made: statements of in-toto, in Sigstore bundles or in envelopes of
//! their own.
//!
//! Whose signatures they bear is for those to judge who verify them. What each says that it is about is read here, so
//! that formats hold it against what came with it. <https://docs.sigstore.dev/about/bundle/>,
//! <https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md>

use data_encoding::BASE64;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::formats::json::{Budget, JsonError, Limits, Reader};

/// The deepest nesting of the JSON.
const MAX_DEPTH: u32 = 32;

/// The memory that the values of any document may take.
const MIN_BUDGET_BYTES: usize = 64 << 10;

/// The type of a payload that is a statement.
const STATEMENT_TYPE: &str = "application/vnd.in-toto+json";

/// What the media type of a bundle begins with, whatever its version.
const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle";

/// Why something that was attached could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Malformed {
    #[error(transparent)]
    Json(#[from] JsonError),
    #[error(transparent)]
    Fields(#[from] serde_json::Error),
    #[error(transparent)]
    Base64(#[from] data_encoding::DecodeError),
    #[error("{0}")]
    Wrong(&'static str),
}

/// Reads JSON whose length was bounded when it was received.
pub(crate) fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, Malformed> {
    let limits = Limits {
        document_bytes: text.len() as u64 + 1,
        string_bytes: text.len() as u64,
        depth: MAX_DEPTH,
    };
    let mut reader = Reader::new(text, limits);
    // It has a few values, and most of it is long strings.
    let mut budget = Budget(4 * text.len() + MIN_BUDGET_BYTES);
    let value = reader.value(&mut budget)?.ok_or(JsonError::TooLarge)?;
    reader.finish()?;
    Ok(serde_json::from_value(value)?)
}

/// What a statement of in-toto says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Statement {
    /// What kind it is: a URL.
    pub(crate) predicate_type: String,
    /// The files that it is about.
    pub(crate) subject: Vec<Subject>,
}

/// A file that a statement is about.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Subject {
    /// Its name, as the client wrote it.
    pub(crate) name: String,
    /// Its digests, in hexadecimal.
    pub(crate) digest: SubjectDigests,
}

/// The digests of a subject that are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct SubjectDigests {
    pub(crate) sha256: Option<String>,
    pub(crate) sha512: Option<String>,
}

impl Statement {
    /// Reads a statement, which stands in an envelope in Base64.
    pub(crate) fn read(payload: &str) -> Result<Self, Malformed> {
        read(&BASE64.decode(payload.as_bytes())?)
    }

    /// The subject, of which there is exactly one.
    pub(crate) fn only_subject(&self) -> Result<&Subject, Malformed> {
        match self.subject.as_slice() {
            [subject] => Ok(subject),
            _ => Err(Malformed::Wrong("a statement does not have exactly one subject")),
        }
    }
}

/// What a bundle has a signature of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Signed {
    /// A statement.
    Statement(Statement),
    /// A file itself, of this SHA-256.
    File(Vec<u8>),
}

/// The parts of a bundle that are looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    /// Certificates and entries of a log, which only those read who verify it.
    #[serde(rename = "verificationMaterial")]
    _verification_material: Map<String, Value>,
    dsse_envelope: Option<Envelope>,
    message_signature: Option<MessageSignature>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    sig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageSignature {
    message_digest: MessageDigest,
    signature: String,
}

#[derive(Deserialize)]
struct MessageDigest {
    algorithm: String,
    digest: String,
}

impl Signed {
    /// Finds what a Sigstore bundle has a signature of.
    pub(crate) fn in_bundle(bundle: Map<String, Value>) -> Result<Self, Malformed> {
        let bundle: Bundle = serde_json::from_value(Value::Object(bundle))?;
        if !bundle.media_type.starts_with(BUNDLE_TYPE) {
            return Err(Malformed::Wrong("it is no Sigstore bundle"));
        }
        match (bundle.dsse_envelope, bundle.message_signature) {
            (Some(envelope), None) => Self::in_envelope(&envelope),
            (None, Some(message)) => Self::in_message(&message),
            _ => Err(Malformed::Wrong(
                "a bundle has either an envelope or a signature of a file",
            )),
        }
    }

    fn in_envelope(envelope: &Envelope) -> Result<Self, Malformed> {
        if envelope.payload_type != STATEMENT_TYPE {
            return Err(Malformed::Wrong("what is signed is no statement of in-toto"));
        }
        if envelope.signatures.is_empty() {
            return Err(Malformed::Wrong("it is not signed"));
        }
        for signature in &envelope.signatures {
            check_signature(&signature.sig)?;
        }
        Statement::read(&envelope.payload).map(Self::Statement)
    }

    fn in_message(message: &MessageSignature) -> Result<Self, Malformed> {
        check_signature(&message.signature)?;
        let digest = &message.message_digest;
        if digest.algorithm != "SHA2_256" {
            return Err(Malformed::Wrong("a signature is not of a SHA-256"));
        }
        Ok(Self::File(BASE64.decode(digest.digest.as_bytes())?))
    }
}

/// Makes sure that there is a signature.
fn check_signature(signature: &str) -> Result<(), Malformed> {
    match BASE64.decode(signature.as_bytes())?.is_empty() {
        true => Err(Malformed::Wrong("it is not signed")),
        false => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A statement about a file, as a client would make it.
    pub(crate) fn statement(predicate_type: &str, subject: &Value) -> String {
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "predicateType": predicate_type,
            "subject": subject,
            "predicate": {},
        });
        BASE64.encode(statement.to_string().as_bytes())
    }

    /// A bundle around a statement.
    pub(crate) fn around(statement: &str) -> Value {
        json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"certificate": {"rawBytes": "AA=="}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": statement,
                "payloadType": STATEMENT_TYPE,
                "signatures": [{"sig": "AA=="}],
            },
        })
    }

    /// A bundle with a signature of a file that has this SHA-256.
    pub(crate) fn of_file(sha256: &[u8]) -> Value {
        json!({
            "mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.3",
            "verificationMaterial": {"certificate": {"rawBytes": "AA=="}, "tlogEntries": []},
            "messageSignature": {
                "messageDigest": {"algorithm": "SHA2_256", "digest": BASE64.encode(sha256)},
                "signature": "AA==",
            },
        })
    }

    fn signed_in(bundle: Value) -> Result<Signed, Malformed> {
        Signed::in_bundle(read(bundle.to_string().as_bytes())?)
    }

    #[test]
    fn a_bundle_tells_what_it_has_a_signature_of() {
        let subject = json!([{"name": "x", "digest": {"sha256": "00", "sha1": "11"}}]);
        let found = signed_in(around(&statement("https://slsa.dev/provenance/v1", &subject)));
        let Ok(Signed::Statement(found)) = found else {
            panic!("{found:?}");
        };
        assert_eq!(found.predicate_type, "https://slsa.dev/provenance/v1");
        let only = found.only_subject().unwrap();
        assert_eq!(
            (only.name.as_str(), only.digest.sha256.as_deref()),
            ("x", Some("00"))
        );
        assert_eq!(signed_in(of_file(&[7; 32])).unwrap(), Signed::File(vec![7; 32]));
    }

    #[test]
    fn what_is_no_bundle_is_refused() {
        let good = || around(&statement("x", &json!([])));
        let check = |bundle: Value, part: &str| {
            let error = signed_in(bundle).unwrap_err().to_string();
            assert!(error.contains(part), "{error} / {part}");
        };
        let edited = |pointer: &str, value: Value| {
            let mut bundle = good();
            *bundle.pointer_mut(pointer).unwrap() = value;
            bundle
        };
        check(json!([]), "expected a map");
        check(json!({}), "missing field `mediaType`");
        check(edited("/mediaType", json!("text/plain")), "no Sigstore bundle");
        check(edited("/verificationMaterial", json!("x")), "expected a map");
        check(edited("/dsseEnvelope", Value::Null), "either an envelope");
        check(edited("/dsseEnvelope/payloadType", json!("x")), "no statement");
        check(edited("/dsseEnvelope/signatures", json!([])), "not signed");
        check(edited("/dsseEnvelope/signatures/0/sig", json!("")), "not signed");
        check(edited("/dsseEnvelope/payload", json!("!")), "invalid");
        check(
            edited("/dsseEnvelope/payload", json!("e30=")),
            "missing field `predicateType`",
        );
        let mut both = good();
        both["messageSignature"] = of_file(&[7; 32])["messageSignature"].clone();
        check(both, "either an envelope");
        let mut other = of_file(&[7; 64]);
        other["messageSignature"]["messageDigest"]["algorithm"] = json!("SHA2_512");
        check(other, "not of a SHA-256");
    }

    #[test]
    fn json_of_strangers_is_read_within_limits() {
        let check = |text: &str, part: &str| {
            let error = read::<Value>(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{error} / {part}");
        };
        check(&"[".repeat(100), "deeper than 32 levels");
        check(r#"{"a":1,"a":2}"#, "twice");
        check(&format!("[{}0]", "[],".repeat(100_000)), "larger than allowed");
        check("{", "malformed JSON");
        assert!(Statement::read("e30=").is_err());
        let two = statement("x", &json!([]));
        let error = Statement::read(&two).unwrap().only_subject().unwrap_err();
        assert!(error.to_string().contains("exactly one subject"));
    }
}
