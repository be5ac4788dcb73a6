//! The form of tokens, which can be checked without asking anybody.
//!
//! ```text
//! cnp-XXXXXXXXXXXXYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYCCCCCC
//! |   |           |                               CRC-32 of all before it, 6 digits
//! |   |           secret: 32 digits, 190 bits
//! |   id: 12 digits, 71 bits
//! kind: cnp- of a user, cnd- for deploying, cnj- of a job
//! ```
//!
//! Digits are base 62. The checksum lets Cairn refuse junk, and scanners recognise leaked
//! tokens, without a look-up. Only the id and a keyed hash of the secret are ever stored.

use std::fmt;
use std::str::FromStr;

use cairn_cluster::Seams;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ID_DIGITS: usize = 12;
const SECRET_DIGITS: usize = 32;
const CHECKSUM_DIGITS: usize = 6;
const PREFIX_BYTES: usize = 4;
const TOKEN_BYTES: usize = PREFIX_BYTES + ID_DIGITS + SECRET_DIGITS + CHECKSUM_DIGITS;

/// Whose token it is, as its prefix says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// Of a user (a person, or the bot of a project or group).
    Personal,
    /// Of a project or group, for deploying.
    Deploy,
    /// Of a job that trust rules let in.
    Job,
}

impl TokenKind {
    const ALL: [Self; 3] = [Self::Personal, Self::Deploy, Self::Job];

    fn prefix(self) -> &'static str {
        match self {
            Self::Personal => "cnp-",
            Self::Deploy => "cnd-",
            Self::Job => "cnj-",
        }
    }
}

/// Names a token in the store; not secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenId(String);

/// A whole token, as its holder knows it. Never logged, never stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    kind: TokenKind,
    id: TokenId,
    secret: String,
}

/// What is stored of a secret.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretHash([u8; 32]);

/// The key under which secrets are hashed; the cluster has one.
#[derive(Clone)]
pub struct HashKey([u8; 32]);

/// Text that is not a token of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a token of cairn, or it is damaged")]
pub struct MalformedToken;

impl Token {
    /// Draws a new token.
    pub fn generate(kind: TokenKind, seams: &Seams) -> Self {
        Self {
            kind,
            id: TokenId(random_digits(seams, ID_DIGITS)),
            secret: random_digits(seams, SECRET_DIGITS),
        }
    }

    /// Whose token it is.
    pub fn kind(&self) -> TokenKind {
        self.kind
    }

    /// Its name in the store.
    pub fn id(&self) -> &TokenId {
        &self.id
    }

    /// What is stored of its secret.
    pub fn hash(&self, key: &HashKey) -> SecretHash {
        let mut hasher = blake3::Hasher::new_keyed(&key.0);
        hasher.update(self.kind.prefix().as_bytes());
        hasher.update(self.id.0.as_bytes());
        hasher.update(self.secret.as_bytes());
        SecretHash(hasher.finalize().into())
    }

    /// The token as its holder is shown it, once.
    pub fn reveal(&self) -> String {
        let body = format!("{}{}{}", self.kind.prefix(), self.id.0, self.secret);
        let checksum = checksum(&body);
        body + &checksum
    }
}

/// Shows what may be seen in logs.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}…", self.kind.prefix(), self.id.0)
    }
}

impl FromStr for Token {
    type Err = MalformedToken;

    fn from_str(text: &str) -> Result<Self, MalformedToken> {
        let kind = TokenKind::ALL
            .into_iter()
            .find(|kind| text.starts_with(kind.prefix()))
            .ok_or(MalformedToken)?;
        let digits = &text[PREFIX_BYTES..];
        if text.len() != TOKEN_BYTES || !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(MalformedToken);
        }
        let (body, sum) = text.split_at(TOKEN_BYTES - CHECKSUM_DIGITS);
        if checksum(body) != sum {
            return Err(MalformedToken);
        }
        let (id, secret) = body[PREFIX_BYTES..].split_at(ID_DIGITS);
        Ok(Self {
            kind,
            id: TokenId(id.into()),
            secret: secret.into(),
        })
    }
}

impl TokenId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TokenId {
    type Error = MalformedToken;

    fn try_from(text: String) -> Result<Self, MalformedToken> {
        if text.len() == ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            Ok(Self(text))
        } else {
            Err(MalformedToken)
        }
    }
}

impl From<TokenId> for String {
    fn from(id: TokenId) -> Self {
        id.0
    }
}

impl SecretHash {
    /// Compares in a time that does not depend on where the two differ.
    pub fn matches(&self, other: &SecretHash) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl HashKey {
    /// The key that is derived from the cluster's secret.
    pub fn derive(cluster_secret: &[u8; 32]) -> Self {
        Self(blake3::derive_key("cairn 2026-07 token secrets", cluster_secret))
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash")
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey")
    }
}

fn checksum(body: &str) -> String {
    let mut rest = u64::from(crc32fast::hash(body.as_bytes()));
    let mut digits = [0; CHECKSUM_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    String::from_utf8_lossy(&digits).into_owned()
}

fn random_digits(seams: &Seams, count: usize) -> String {
    let mut out = String::with_capacity(count);
    while out.len() < count {
        // 248 is the greatest multiple of 62 in a byte; beyond it the first digits would be
        // likelier than the rest.
        let fair = seams.random::<32>().into_iter().filter(|byte| *byte < 248);
        out.extend(
            fair.take(count - out.len())
                .map(|byte| DIGITS[usize::from(byte) % 62] as char),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_survives_being_shown_and_typed() {
        let seams = Seams::system();
        for kind in TokenKind::ALL {
            let token = Token::generate(kind, &seams);
            assert_eq!(token.reveal().parse(), Ok(token.clone()));
            assert!(!format!("{token:?}").contains(&token.secret));
        }
    }

    #[test]
    fn a_hash_tells_secrets_keys_and_kinds_apart() {
        let seams = Seams::system();
        let token = Token::generate(TokenKind::Personal, &seams);
        let key = HashKey::derive(&[7; 32]);
        let stored = token.hash(&key);
        assert!(stored.matches(&token.hash(&key)));
        assert!(!stored.matches(&token.hash(&HashKey::derive(&[8; 32]))));
        let same_id = Token {
            secret: "0".repeat(SECRET_DIGITS),
            ..token.clone()
        };
        assert!(!stored.matches(&same_id.hash(&key)));
        let other_kind = Token {
            kind: TokenKind::Deploy,
            ..token
        };
        assert!(!stored.matches(&other_kind.hash(&key)));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_shown_again(text in "\\PC{0,80}") {
            if let Ok(token) = text.parse::<Token>() {
                prop_assert_eq!(token.reveal(), text);
            }
        }

        #[test]
        fn one_wrong_character_is_noticed(at in 0..TOKEN_BYTES, with in "[0-9A-Za-z]") {
            let token = Token::generate(TokenKind::Personal, &Seams::system()).reveal();
            let mut changed = token.clone();
            changed.replace_range(at..=at, &with);
            prop_assert_eq!(changed.parse::<Token>().is_ok(), changed == token);
        }
    }
}
