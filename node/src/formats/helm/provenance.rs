//! A provenance file: what somebody signed about a chart (`helm package --sign`).
//!
//! It is clearsigned (RFC 9580, section 7). What is signed are two documents of YAML: the
//! `Chart.yaml`, and after a line of `...` the digests of files. Whether the signature holds is for
//! those to check who have the keys; here it must be about the chart that it comes with.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::metadata::{self, MetadataError};
use super::names::{ChartName, Version};

/// The longest provenance file.
pub(super) const MAX_BYTES: usize = 512 << 10;

const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END: &str = "-----END PGP SIGNATURE-----";

/// What ends the first document of what is signed.
const SEPARATOR: &str = "\n...\n";

/// Why a provenance file was not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProvenanceError {
    #[error("the provenance file is not a message signed in clear text: {0}")]
    Malformed(&'static str),
    #[error("the {part} of the provenance file {error}")]
    Metadata {
        part: &'static str,
        error: MetadataError,
    },
    #[error("the provenance file is about {0}")]
    Other(String),
    #[error("the provenance file says that {file} has the digest {said:.80}, but it has sha256:{found}")]
    Digest {
        file: String,
        said: String,
        found: String,
    },
}

/// What a provenance file is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Provenance {
    pub(crate) name: ChartName,
    pub(crate) version: Version,
    /// By name of a file, the digest that it must have.
    digests: BTreeMap<String, String>,
    /// The file as it was sent.
    pub(crate) text: String,
}

#[derive(Deserialize)]
struct About {
    name: ChartName,
    version: Version,
}

#[derive(Deserialize)]
struct Sums {
    files: BTreeMap<String, String>,
}

impl Provenance {
    /// Reads a provenance file.
    pub(crate) fn read(text: String) -> Result<Self, ProvenanceError> {
        let signed = signed_text(&text)?;
        let (about, sums) = signed
            .split_once(SEPARATOR)
            .ok_or(ProvenanceError::Malformed("it has no digests of files"))?;
        let of = |part| move |error| ProvenanceError::Metadata { part, error };
        let about: About = metadata::yaml(about.as_bytes()).map_err(of("metadata"))?;
        let sums: Sums = metadata::yaml(sums.as_bytes()).map_err(of("list of files"))?;
        Ok(Self {
            name: about.name,
            version: about.version,
            digests: sums.files,
            text,
        })
    }

    /// Makes sure that it is about this version of a chart, in a file of this name and digest.
    pub(crate) fn check(
        &self,
        name: &ChartName,
        version: &Version,
        file: &str,
        sha256: &str,
    ) -> Result<(), ProvenanceError> {
        if self.name != *name || self.version != *version {
            let other = format!("{} {}, not {name} {version}", self.name, self.version);
            return Err(ProvenanceError::Other(other));
        }
        let Some(said) = self.digests.get(file) else {
            return Err(ProvenanceError::Other(format!("other files than {file}")));
        };
        match said.strip_prefix("sha256:") == Some(sha256) {
            true => Ok(()),
            false => Err(ProvenanceError::Digest {
                file: file.into(),
                said: said.clone(),
                found: sha256.into(),
            }),
        }
    }
}

/// What of a clearsigned message is signed, with line feeds alone at the ends of lines.
fn signed_text(text: &str) -> Result<String, ProvenanceError> {
    let malformed = ProvenanceError::Malformed;
    let mut lines = text.lines().map(str::trim_end);
    if lines.next() != Some(BEGIN) {
        return Err(malformed("it does not begin as one"));
    }
    // Which hashes are used, up to an empty line.
    let is_header = |line: &str| line.starts_with("Hash: ");
    if !lines.by_ref().take_while(|line| !line.is_empty()).all(is_header) {
        return Err(malformed("it has another header than Hash"));
    }
    let mut signed = String::with_capacity(text.len());
    loop {
        let line = lines.next().ok_or(malformed("it has no signature"))?;
        match line.strip_prefix("- ") {
            Some(escaped) => signed.push_str(escaped),
            None if line == SIGNATURE => break,
            None if line.starts_with("-----") => return Err(malformed("it holds another message")),
            None => signed.push_str(line),
        }
        signed.push('\n');
    }
    if !lines.by_ref().any(|line| line == END) {
        return Err(malformed("its signature does not end"));
    }
    match lines.all(str::is_empty) {
        true => Ok(signed),
        false => Err(malformed("something follows its signature")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A provenance file with a signature that nobody has made.
    pub(in crate::formats::helm) fn provenance(name: &str, version: &str, sha256: &str) -> String {
        signed(&format!(
            "apiVersion: v2\nname: {name}\nversion: {version}\n\n...\nfiles:\n  {name}-{version}.tgz: sha256:{sha256}\n"
        ))
    }

    fn signed(message: &str) -> String {
        format!("{BEGIN}\nHash: SHA512\n\n{message}{SIGNATURE}\n\nwsBcBAEBCgAQ\n=abcd\n{END}")
    }

    fn read(text: &str) -> Result<Provenance, ProvenanceError> {
        Provenance::read(text.to_owned())
    }

    fn names(name: &str, version: &str) -> (ChartName, Version) {
        (name.parse().unwrap(), version.parse().unwrap())
    }

    #[test]
    fn it_is_about_one_chart_in_one_file() {
        let sha256 = "a".repeat(64);
        let text = provenance("app", "1.0.0", &sha256);
        for text in [text.clone(), text.replace('\n', "\r\n"), text.clone() + "\n\n"] {
            let found = read(&text).unwrap();
            let check = |name: &str, version: &str, file: &str, sha256: &str| {
                let (name, version) = names(name, version);
                found
                    .check(&name, &version, file, sha256)
                    .map_err(|error| error.to_string())
            };
            assert_eq!(check("app", "1.0.0", "app-1.0.0.tgz", &sha256), Ok(()));
            let other = |outcome: Result<(), String>, part: &str| {
                let error = outcome.unwrap_err();
                assert!(error.contains(part), "{error}");
            };
            other(
                check("other", "1.0.0", "app-1.0.0.tgz", &sha256),
                "is about app 1.0.0, not other",
            );
            other(
                check("app", "1.0.1", "app-1.0.0.tgz", &sha256),
                "is about app 1.0.0, not app 1.0.1",
            );
            other(
                check("app", "1.0.0", "app.tgz", &sha256),
                "other files than app.tgz",
            );
            other(
                check("app", "1.0.0", "app-1.0.0.tgz", &"b".repeat(64)),
                "but it has sha256:bbb",
            );
        }
    }

    #[test]
    fn lines_with_hyphens_are_escaped() {
        let message = "apiVersion: v2\nname: app\nversion: 1.0.0\nkeywords:\n- - a\n\n...\nfiles:\n  x: y\n";
        assert_eq!(read(&signed(message)).unwrap().name.as_str(), "app");
    }

    #[test]
    fn what_is_no_signed_message_is_refused() {
        let good = provenance("app", "1.0.0", "x");
        let check = |text: &str, part: &str| {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error} / {part}");
        };
        check("", "does not begin");
        check(&format!("x\n{good}"), "does not begin");
        check(&good.replace("Hash: SHA512", "Comment: x"), "another header");
        check(good.split(SIGNATURE).next().unwrap(), "no signature");
        check(&good.replace(SIGNATURE, ""), "another message");
        check(
            &good.replace(SIGNATURE, "-----BEGIN PGP MESSAGE-----"),
            "another message",
        );
        check(&good.replace(END, ""), "does not end");
        check(&format!("{good}\nmore"), "follows its signature");
        check(&format!("{good}\n{good}"), "follows its signature");
        check(&good.replace("...", "---"), "no digests");
        check(
            &good.replace("name: app", "name: ../app"),
            "metadata of the provenance file",
        );
        check(&good.replace("files:", "sums:"), "list of files");
        check(&good.replace("name: app", "name: app\nname: app"), "malformed");
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in any::<String>(), message in "[a-z:.\n -]{0,80}") {
            let _ = read(&text);
            let _ = read(&signed(&message));
        }
    }
}
