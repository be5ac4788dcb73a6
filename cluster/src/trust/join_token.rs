//! Join tokens: one line of text that admits one new node.
//!
//! ```text
//! crn_join_ base64url( payload, first 4 bytes of BLAKE3(payload) )
//! payload   MessagePack of (version, cluster, fingerprint of the authority, secret, seed addresses)
//! ```
//!
//! The checksum lets a broken copy be told from a refused token. The metadata keeps only the
//! hash of the secret, with its expiry and, once it is used, the key that used it: an answer
//! that was lost can be asked for again with the same key, and by nobody else.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use super::authority::{Authority, AuthorityError, Fingerprint};
use crate::kv::{Collection, CommitError, Key, Kv, ReadError, Scan, Unavailable};
use crate::node_id::ClusterId;
use crate::record::Record;
use crate::seams::{Seams, Timestamp};

/// How long a join token holds unless told otherwise.
pub const DEFAULT_TOKEN_LIFETIME: Duration = Duration::from_secs(60 * 60);

const PREFIX: &str = "crn_join_";
const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;
const MAX_TEXT_BYTES: usize = 4096;
const MAX_SEEDS: usize = 16;
const MAX_ADDRESS_BYTES: usize = 300;

/// What proves that its holder may join.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TokenSecret(pub(crate) [u8; 32]);

impl TokenSecret {
    /// What is kept of it, and under which it is found. The secret is random, so a plain hash
    /// cannot be turned back, and finding by hash tells nothing of near misses.
    pub(crate) fn hash(&self) -> [u8; 32] {
        blake3::derive_key("cairn 2026 join token", &self.0)
    }
}

/// Admits one node, once, for a short time.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    pub(crate) cluster: ClusterId,
    pub(crate) authority: Fingerprint,
    pub(crate) secret: TokenSecret,
    pub(crate) seeds: Vec<String>,
}

impl JoinToken {
    /// The cluster that it admits to.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Addresses of nodes that can be asked.
    pub fn seeds(&self) -> &[String] {
        &self.seeds
    }
}

type Payload = (u8, ClusterId, [u8; 32], [u8; 32], Vec<String>);

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let payload: Payload = (
            VERSION,
            self.cluster,
            self.authority.0,
            self.secret.0,
            self.seeds.clone(),
        );
        let mut bytes = rmp_serde::to_vec(&payload).map_err(|_| fmt::Error)?;
        let checksum = blake3::hash(&bytes);
        bytes.extend_from_slice(&checksum.as_bytes()[..CHECKSUM_BYTES]);
        write!(f, "{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes))
    }
}

/// Shows where it leads, never the secret.
impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("cluster", &self.cluster)
            .field("seeds", &self.seeds)
            .finish_non_exhaustive()
    }
}

/// Text that is not a join token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseJoinTokenError {
    /// Something else altogether.
    #[error("a join token begins with {PREFIX:?}")]
    Prefix,
    /// A part was lost or changed on the way.
    #[error("the join token is damaged: copy the whole line again")]
    Damaged,
    /// Made by another version of cairn.
    #[error("the join token has version {version}, this cairn reads version {VERSION}")]
    Version {
        /// What it says.
        version: u8,
    },
}

impl FromStr for JoinToken {
    type Err = ParseJoinTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        use ParseJoinTokenError::{Damaged, Prefix, Version};
        let text = text.trim();
        let encoded = text.strip_prefix(PREFIX).ok_or(Prefix)?;
        if text.len() > MAX_TEXT_BYTES {
            return Err(Damaged);
        }
        let bytes = BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| Damaged)?;
        let (payload, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(Damaged)?;
        if blake3::hash(payload).as_bytes()[..CHECKSUM_BYTES] != *checksum {
            return Err(Damaged);
        }
        // The version comes first, in an array of any length, so that it can be told whatever follows.
        match payload {
            [_array, version, ..] if *version != VERSION => return Err(Version { version: *version }),
            _ => {}
        }
        let (_, cluster, authority, secret, seeds): Payload =
            rmp_serde::from_slice(payload).map_err(|_| Damaged)?;
        if seeds.len() > MAX_SEEDS || seeds.iter().any(|seed| seed.len() > MAX_ADDRESS_BYTES) {
            return Err(Damaged);
        }
        Ok(Self {
            cluster,
            authority: Fingerprint(authority),
            secret: TokenSecret(secret),
            seeds,
        })
    }
}

/// What the metadata keeps of a token, under the hash of its secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TokenRecord {
    pub(crate) expires: Timestamp,
    /// The BLAKE3 of the public key that used it. The node that it admitted is named by the
    /// log index of the write that set this.
    #[serde(default)]
    pub(crate) used_by: Option<[u8; 32]>,
}

impl Record for TokenRecord {}

impl TokenRecord {
    pub(crate) fn collection() -> Collection {
        Collection::new("cluster").at("join-tokens")
    }

    pub(crate) fn key(secret: &TokenSecret) -> Key {
        Self::collection().key(secret.hash())
    }
}

/// Makes join tokens.
#[derive(Clone)]
pub struct JoinTokens {
    kv: Kv,
    seams: Seams,
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The metadata could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The metadata could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The authority could not be loaded.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The metadata holds no authority.
    #[error("this cluster has no certificate authority: it was not initialised")]
    NotInitialised,
}

impl From<Unavailable> for TokenError {
    fn from(error: Unavailable) -> Self {
        Self::Commit(error.into())
    }
}

impl JoinTokens {
    /// Makes tokens for the cluster of this metadata.
    pub fn new(kv: Kv, seams: Seams) -> Self {
        Self { kv, seams }
    }

    /// Makes a token that names `seeds` as the nodes to ask. Tokens that have expired are
    /// forgotten on the way.
    pub async fn issue(&self, lifetime: Duration, seeds: Vec<String>) -> Result<JoinToken, TokenError> {
        let snapshot = self.kv.latest().await?;
        let authority = Authority::load(&snapshot)
            .await?
            .ok_or(TokenError::NotInitialised)?;
        let token = JoinToken {
            cluster: authority.cluster(),
            authority: authority.fingerprint(),
            secret: TokenSecret(self.seams.random()),
            seeds: seeds
                .into_iter()
                .filter(|seed| seed.len() <= MAX_ADDRESS_BYTES)
                .take(MAX_SEEDS)
                .collect(),
        };
        let now = self.seams.clock.now();
        let record = TokenRecord {
            expires: now.plus(lifetime),
            used_by: None,
        };
        let mut expired = Vec::new();
        for entry in snapshot
            .scan(Scan::of(&TokenRecord::collection()).limit(1000))
            .await?
        {
            if entry.record::<TokenRecord>()?.expires < now {
                expired.push(TokenRecord::collection().key(&entry.item));
            }
        }
        self.kv
            .transact(async |mut txn| {
                txn.put_record(&TokenRecord::key(&token.secret), &record);
                for key in &expired {
                    txn.delete(key);
                }
                Ok::<_, TokenError>((txn, ()))
            })
            .await?;
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> JoinToken {
        let seams = Seams::system();
        JoinToken {
            cluster: ClusterId::random(&seams),
            authority: Fingerprint(seams.random()),
            secret: TokenSecret(seams.random()),
            seeds: vec!["127.0.0.1:7001".into(), "node.example:7001".into()],
        }
    }

    #[test]
    fn tokens_read_as_they_are_written() {
        let token = token();
        let text = token.to_string();
        assert_eq!(text.parse(), Ok(token.clone()));
        assert_eq!(format!(" {text}\n").parse(), Ok(token));
        assert!(!text.contains(char::is_whitespace));
    }

    #[test]
    fn the_secret_is_not_shown() {
        let token = token();
        let secret = data_encoding::HEXLOWER.encode(&token.secret.0);
        assert!(!format!("{token:?}").contains(&secret));
    }

    #[test]
    fn a_damaged_copy_is_told_from_another_version() {
        let text = token().to_string();
        let cut = &text[..text.len() - 1];
        assert_eq!(cut.parse::<JoinToken>(), Err(ParseJoinTokenError::Damaged));
        assert_eq!("glpat-x".parse::<JoinToken>(), Err(ParseJoinTokenError::Prefix));
        let mut newer = rmp_serde::to_vec(&(9u8, "something else")).unwrap();
        let checksum = blake3::hash(&newer);
        newer.extend_from_slice(&checksum.as_bytes()[..CHECKSUM_BYTES]);
        let newer = format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&newer));
        assert_eq!(
            newer.parse::<JoinToken>(),
            Err(ParseJoinTokenError::Version { version: 9 })
        );
    }

    #[tokio::test]
    async fn issuing_forgets_what_has_expired() {
        let seams = Seams::system();
        let kv = Kv::in_memory(seams.clone());
        let authority = Authority::create(ClusterId::random(&seams), &seams).unwrap();
        let mut txn = kv.begin().await.unwrap();
        authority.put(&mut txn);
        let stale = TokenRecord {
            expires: Timestamp(1),
            used_by: None,
        };
        txn.put_record(&TokenRecord::key(&TokenSecret([1; 32])), &stale);
        txn.commit().await.unwrap();
        let token = JoinTokens::new(kv.clone(), seams)
            .issue(DEFAULT_TOKEN_LIFETIME, vec![])
            .await
            .unwrap();
        let left = kv
            .local()
            .scan(Scan::of(&TokenRecord::collection()))
            .await
            .unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].item, token.secret.hash().as_slice());
    }

    proptest! {
        #[test]
        fn foreign_text_never_panics(text in "(crn_join_)?[A-Za-z0-9_-]{0,300}") {
            let _ = text.parse::<JoinToken>();
        }

        #[test]
        fn any_changed_character_is_noticed(at in 0..100usize, with in "[A-Za-z0-9_-]") {
            let mut text = token().to_string();
            let at = PREFIX.len() + at % (text.len() - PREFIX.len());
            if text[at..=at] != with {
                text.replace_range(at..=at, &with);
                prop_assert_eq!(text.parse::<JoinToken>(), Err(ParseJoinTokenError::Damaged));
            }
        }
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::TokenRecord>("token");
    }
}
