//! The names of a container registry: repositories, tags, digests and references.
//!
//! The grammar is that of the OCI distribution-spec 1.1 ("Pulling manifests") and of the OCI
//! image-spec ("Descriptor"). A value of these types has been checked and is written as it was
//! read. All of it is pure.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest repository name: clients limit `host[:port]/name` to as many characters.
pub(super) const MAX_NAME_BYTES: usize = 255;

/// The longest tag.
const MAX_TAG_BYTES: usize = 128;

/// A name that does not follow its grammar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NameError {
    /// Not a repository name.
    #[error("repository name {0:?} is not lower-case components of letters, digits and single separators")]
    Repository(String),
    /// A repository name that clients could not write down.
    #[error("repository name of {0} bytes is over the limit of {MAX_NAME_BYTES}")]
    RepositoryTooLong(usize),
    /// Not a tag.
    #[error(
        "tag {0:?} is not 1 to 128 letters, digits, '_', '.' or '-', beginning with none of the last two"
    )]
    Tag(String),
    /// Not a digest, or not in its only spelling.
    #[error("digest {0:?} is not sha256 or sha512, a colon and as many lower-case hexadecimal digits")]
    Digest(String),
}

/// Shows foreign text in a message without letting it grow the message.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

/// A repository: the whole path between `/v2/` and the endpoint, such as `group/project/image`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct RepositoryName(String);

impl RepositoryName {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Joins components; a slash inside of one makes none of two.
    pub(super) fn from_components(components: &[&str]) -> Result<Self, NameError> {
        let joined = components.join("/");
        if components.iter().any(|component| component.contains('/')) {
            return Err(NameError::Repository(shown(&joined)));
        }
        joined.parse()
    }
}

impl FromStr for RepositoryName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > MAX_NAME_BYTES {
            return Err(NameError::RepositoryTooLong(text.len()));
        }
        if text.split('/').all(is_component) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Repository(shown(text)))
        }
    }
}

/// Whether this is `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
fn is_component(text: &str) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends_plain = bytes.first().is_some_and(is_plain) && bytes.last().is_some_and(is_plain);
    ends_plain
        && bytes.split(is_plain).all(|separator| {
            matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|byte| *byte == b'-')
        })
}

/// A tag: a name that can be moved from one manifest to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Tag(String);

impl Tag {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let begins_well = text.bytes().next().is_some_and(is_word);
        let goes_on_well = text
            .bytes()
            .all(|byte| is_word(byte) || byte == b'.' || byte == b'-');
        if begins_well && goes_on_well && text.len() <= MAX_TAG_BYTES {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Tag(shown(text)))
        }
    }
}

/// The hash functions that name content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Sha256,
    Sha512,
}

impl FromStr for Algorithm {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(NameError::Digest(shown(text))),
        }
    }
}

/// The digest of content, in the one spelling that is accepted. Stored as bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Digest {
    Sha256([u8; 32]),
    Sha512([u8; 64]),
}

impl Digest {
    /// Hashes bytes that are at hand. For a document, not for a blob.
    pub(super) fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(sha2::Sha256::digest(bytes).into()),
            Algorithm::Sha512 => Self::Sha512(sha2::Sha512::digest(bytes).into()),
        }
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// A short form for keys: which algorithm, then the hash.
    pub(super) fn to_key(self) -> Vec<u8> {
        match self {
            Self::Sha256(hash) => [&[1], hash.as_slice()].concat(),
            Self::Sha512(hash) => [&[2], hash.as_slice()].concat(),
        }
    }

    /// Reads what [`Digest::to_key`] wrote.
    pub(super) fn from_key(key: &[u8]) -> Option<Self> {
        match key.split_first()? {
            (1, hash) => hash.try_into().ok().map(Self::Sha256),
            (2, hash) => hash.try_into().ok().map(Self::Sha512),
            _ => None,
        }
    }
}

impl FromStr for Digest {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let malformed = || NameError::Digest(shown(text));
        let (algorithm, encoded) = text.split_once(':').ok_or_else(malformed)?;
        let algorithm: Algorithm = algorithm.parse().map_err(|_| malformed())?;
        // The length first, so that a long text is not decoded; the decoder takes lower case only.
        match (algorithm, encoded.len()) {
            (Algorithm::Sha256, 64) => decode(encoded).map(Self::Sha256),
            (Algorithm::Sha512, 128) => decode(encoded).map(Self::Sha512),
            _ => None,
        }
        .ok_or_else(malformed)
    }
}

fn decode<const N: usize>(encoded: &str) -> Option<[u8; N]> {
    HEXLOWER.decode(encoded.as_bytes()).ok()?.try_into().ok()
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(hash) => write!(f, "sha256:{}", HEXLOWER.encode(hash)),
            Self::Sha512(hash) => write!(f, "sha512:{}", HEXLOWER.encode(hash)),
        }
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a manifest is asked by.
///
/// A tag such as `sha256-…` is a tag: reading it as a digest would list the platforms of an
/// index as its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reference {
    Tag(Tag),
    Digest(Digest),
}

impl FromStr for Reference {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        // No tag has a colon in it, every digest has one.
        if text.contains(':') {
            text.parse().map(Self::Digest)
        } else {
            text.parse().map(Self::Tag)
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// Serde goes through the same door as everything else.
macro_rules! through_text {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.to_string()
            }
        }
    )*};
}

through_text!(RepositoryName, Tag);

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.to_key())
        }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Stored;

        impl Visitor<'_> for Stored {
            type Value = Digest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a digest")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Digest, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Digest, E> {
                Digest::from_key(bytes).ok_or_else(|| E::invalid_length(bytes.len(), &self))
            }
        }

        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Stored)
        } else {
            deserializer.deserialize_bytes(Stored)
        }
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn repository_names_follow_the_grammar() {
        let deepest = "a/".repeat(127);
        let good = [
            "a",
            "acme/demo",
            "acme/demo/web",
            "a.b_c__d-e---f/0",
            "0/1/2/3/4/5",
            deepest.trim_end_matches('/'),
        ];
        for name in good {
            let parsed: RepositoryName = name.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(parsed.to_string(), name);
        }
        let bad = [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            "acme/Demo",
            "a..b",
            "a___b",
            "a._b",
            "a.-b",
            "-a",
            "a-",
            "_a",
            "a_",
            ".a",
            "a.",
            ".",
            "..",
            "a/../b",
            "a b",
            "a%2fb",
            "a\\b",
            "a\0b",
            "ä",
            "a:b",
            "a@b",
        ];
        for name in bad {
            assert!(name.parse::<RepositoryName>().is_err(), "{name:?}");
        }
        assert_eq!(
            "a".repeat(256).parse::<RepositoryName>(),
            Err(NameError::RepositoryTooLong(256))
        );
    }

    #[test]
    fn tags_follow_the_grammar() {
        for tag in [
            "latest",
            "1.0",
            "_x",
            "A-b.C_d",
            &"x".repeat(128),
            "sha256-abc.sig",
            "tags",
            "list",
        ] {
            assert_eq!(tag.parse::<Tag>().unwrap().to_string(), *tag);
        }
        for tag in ["", ".a", "-a", "a b", "a/b", "a:b", "ä", "a\n", &"x".repeat(129)] {
            assert!(tag.parse::<Tag>().is_err(), "{tag:?}");
        }
    }

    #[test]
    fn digests_have_one_spelling() {
        let sha256 = format!("sha256:{}", "0f".repeat(32));
        let sha512 = format!("sha512:{}", "0f".repeat(64));
        for digest in [&sha256, &sha512] {
            let parsed: Digest = digest.parse().unwrap();
            assert_eq!(parsed.to_string(), *digest);
            assert_eq!(Digest::from_key(&parsed.to_key()), Some(parsed));
            assert_eq!(serde_json::to_value(parsed).unwrap(), serde_json::json!(digest));
            let stored = rmp_serde::to_vec(&parsed).unwrap();
            assert!(stored.len() < digest.len());
            assert_eq!(rmp_serde::from_slice::<Digest>(&stored).unwrap(), parsed);
        }
        let bad = [
            String::new(),
            "sha256".into(),
            "sha256:".into(),
            sha256.to_uppercase(),
            format!("sha256:{}", "0F".repeat(32)),
            format!("sha256:{}", "0f".repeat(31)),
            format!("sha256:{}", "0f".repeat(64)),
            format!("sha512:{}", "0f".repeat(32)),
            format!("md5:{}", "0f".repeat(16)),
            format!("sha1:{}", "0f".repeat(20)),
            format!("sha384:{}", "0f".repeat(48)),
            format!("sha256:{}", "zz".repeat(32)),
            format!("sha256:{}\n", "0f".repeat(32)),
            format!(" sha256:{}", "0f".repeat(32)),
            "sha256:baddigeststring".into(),
        ];
        for digest in bad {
            assert!(digest.parse::<Digest>().is_err(), "{digest:?}");
        }
    }

    #[test]
    fn a_fallback_tag_is_never_a_digest() {
        let text = format!("sha256-{}", "0f".repeat(32));
        assert!(matches!(text.parse(), Ok(Reference::Tag(_))));
    }

    #[test]
    fn messages_do_not_grow_with_what_they_show() {
        let error = "x".repeat(100_000).parse::<Digest>().unwrap_err();
        assert!(error.to_string().len() < 300);
    }

    proptest! {
        #[test]
        fn foreign_text_never_panics(text in ".{0,80}") {
            let _ = text.parse::<RepositoryName>();
            let _ = text.parse::<Reference>();
        }

        #[test]
        fn parsing_inverts_display(hash in any::<[u8; 32]>()) {
            let digest = Digest::Sha256(hash);
            prop_assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        }
    }
}
