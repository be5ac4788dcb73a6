//! Chains: append-only lists of which each link vouches for all links before it.
//!
//! A chain is a collection. Its links are the items `1, 2, 3, …`; the empty item is its head, which
//! says how many there are and what the hash of the last one is. A link is stored as its hash and
//! its content, and its hash is
//!
//! ```text
//! BLAKE3(hash of the link before, 32 bytes of 0 for the first ‖ its number, 8 bytes big endian ‖ content)
//! ```
//!
//! Links are numbered and hashed when a transaction is applied, in the order of the log: so
//! whoever appends reads nothing, and never conflicts with another one who does.

use bytes::Bytes;

use super::key::{Collection, Key};
use super::snapshot::{ReadError, Scan, Snapshot};
use super::view::StoreError;

const HASH_BYTES: usize = 32;
const NUMBER_BYTES: usize = 8;

/// An append-only list of which each link vouches for all before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain(Collection);

/// One link of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number; the first is 1.
    pub number: u64,
    /// Its hash, which covers all links before it.
    pub hash: [u8; HASH_BYTES],
    /// What was appended.
    pub content: Bytes,
}

/// A link does not follow from the one before it: one of the two was changed, or some are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("link {number} does not follow from what is before it")]
pub struct BrokenChain {
    /// The number of the first link that does not.
    pub number: u64,
}

/// The stored form of a chain's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// How many links there are.
    pub(super) links: u64,
    /// Of the last of them.
    pub(super) hash: [u8; HASH_BYTES],
}

impl Chain {
    /// The chain that is kept in this collection. Nothing else is kept there.
    pub fn new(collection: Collection) -> Self {
        Self(collection)
    }

    pub(super) fn head(&self) -> Key {
        self.0.key([])
    }
}

impl Link {
    /// Makes sure that it follows from the hash of the link before it: none for the first of all.
    pub fn check(&self, before: Option<[u8; HASH_BYTES]>) -> Result<(), BrokenChain> {
        let expected = hash(&before.unwrap_or_default(), self.number, &self.content);
        match expected == self.hash && before.is_none() == (self.number == 1) {
            true => Ok(()),
            false => Err(BrokenChain { number: self.number }),
        }
    }

    fn read(number: u64, stored: &Bytes) -> Result<Self, ReadError> {
        let malformed = || StoreError(format!("link {number} of a chain is too short"));
        let (hash, content) = stored.split_first_chunk().ok_or_else(malformed)?;
        Ok(Self {
            number,
            hash: *hash,
            content: stored.slice_ref(content),
        })
    }
}

impl Head {
    /// Reads the stored form; an absent one is that of a chain without links.
    pub(super) fn read(stored: Option<Bytes>) -> Result<Self, &'static str> {
        let Some(stored) = stored else {
            return Ok(Self {
                links: 0,
                hash: [0; HASH_BYTES],
            });
        };
        let parts = stored.split_first_chunk::<NUMBER_BYTES>();
        let parts = parts.and_then(|(links, hash)| Some((*links, hash.try_into().ok()?)));
        let (links, hash) = parts.ok_or("the head of a chain is a number and a hash")?;
        Ok(Self {
            links: u64::from_be_bytes(links),
            hash,
        })
    }

    pub(super) fn stored(&self) -> Bytes {
        [self.links.to_be_bytes().as_slice(), &self.hash].concat().into()
    }

    /// The head after one more link, and that link's stored form.
    pub(super) fn followed_by(&self, content: &[u8]) -> (Self, Bytes) {
        let links = self.links + 1;
        let hash = hash(&self.hash, links, content);
        (Self { links, hash }, [hash.as_slice(), content].concat().into())
    }
}

impl Snapshot {
    /// How many links a chain has.
    pub async fn links(&self, chain: &Chain) -> Result<u64, ReadError> {
        let stored = self.get(&chain.head()).await?.map(|found| found.value);
        let head = Head::read(stored).map_err(|what| StoreError(what.into()))?;
        Ok(head.links)
    }

    /// The links of a chain behind this number, in order, at most so many.
    pub async fn links_after(
        &self,
        chain: &Chain,
        number: u64,
        limit: usize,
    ) -> Result<Vec<Link>, ReadError> {
        let links = self.placed_links_after(chain, number, limit).await?;
        Ok(links.into_iter().map(|(_, link)| link).collect())
    }

    /// The same, each with the log index of the transaction that appended it: by it, the links of
    /// several chains have one order, which is the same on every node.
    pub async fn placed_links_after(
        &self,
        chain: &Chain,
        number: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Link)>, ReadError> {
        // Of one byte at least, so that the head is passed over.
        let scan = Scan::of(&chain.0).after(number.to_be_bytes()).limit(limit);
        let entries = self.scan(scan).await?;
        let links = entries.iter().filter_map(|entry| {
            let number = entry.item.as_ref().try_into().ok().map(u64::from_be_bytes)?;
            Some(Link::read(number, &entry.value).map(|link| (entry.version, link)))
        });
        links.collect()
    }

    /// One link of a chain.
    pub async fn link(&self, chain: &Chain, number: u64) -> Result<Option<Link>, ReadError> {
        let found = self.get(&chain.0.key(number)).await?;
        found.map(|found| Link::read(number, &found.value)).transpose()
    }
}

fn hash(before: &[u8; HASH_BYTES], number: u64, content: &[u8]) -> [u8; HASH_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(before)
        .update(&number.to_be_bytes())
        .update(content);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn checked(links: &[Link]) -> Result<(), BrokenChain> {
        let mut before = None;
        for link in links {
            link.check(before)?;
            before = Some(link.hash);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn whatever_is_done_to_one_link_is_seen(
            contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..8), 2..8),
            at in any::<prop::sample::Index>(),
            what in 0..4,
        ) {
            let mut head = Head::read(None).unwrap();
            let mut links = Vec::new();
            for content in &contents {
                let (next, stored) = head.followed_by(content);
                prop_assert_eq!(Head::read(Some(next.stored())), Ok(next));
                links.push(Link::read(next.links, &stored).unwrap());
                head = next;
            }
            prop_assert_eq!(checked(&links), Ok(()));
            let at = at.index(links.len() - 1);
            match what {
                0 => links[at].content = [&links[at].content[..], b"x"].concat().into(),
                1 => drop(links.remove(at)),
                2 => links.swap(at, at + 1),
                _ => links[at].number += 1,
            }
            prop_assert!(checked(&links).is_err());
        }
    }
}
