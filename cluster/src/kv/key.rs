//! Keys and collections: how names become ordered bytes.
//!
//! A *collection* is a path of segments; a *key* is an item of one collection. Encoded:
//!
//! ```text
//! collection   segment 00 01  segment 00 01 …       (00 inside a segment is written 00 FF)
//! key          collection 00 00 item                (the item is last, so it is written as it is)
//! ```
//!
//! The items of a collection are therefore contiguous and in the order of their bytes, and
//! never mixed with those of the collections below it. No two paths share an encoding, so
//! `a-1` + `2` and `a` + `1-2` can never be mistaken for each other.

use std::cell::RefCell;
use std::fmt;

use bytes::Bytes;

const SEGMENT_END: &[u8] = &[0x00, 0x01];
const ITEM: &[u8] = &[0x00, 0x00];

/// The largest encoded key, in bytes.
pub const MAX_KEY_BYTES: usize = 4096;

/// One step of a path, or the item at its end.
pub trait Segment {
    /// Appends the bytes that stand for this segment; their order is the order of the segments.
    fn put(&self, out: &mut Vec<u8>);
}

impl Segment for [u8] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl<const N: usize> Segment for [u8; N] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl Segment for str {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

impl Segment for String {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_str().put(out);
    }
}

impl Segment for Vec<u8> {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_slice().put(out);
    }
}

impl Segment for Bytes {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_ref().put(out);
    }
}

/// Numbers are eight bytes, big endian, so that they sort as numbers.
impl Segment for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
}

impl<T: Segment + ?Sized> Segment for &T {
    fn put(&self, out: &mut Vec<u8>) {
        (**self).put(out);
    }
}

/// A path of segments under which items are kept, ordered, with one revision for them all.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Collection(Bytes);

impl Collection {
    /// The collection named by one segment.
    pub fn new(segment: impl Segment) -> Self {
        Self(Bytes::new()).at(segment)
    }

    /// The collection below this one.
    pub fn at(&self, segment: impl Segment) -> Self {
        Self(encoded(|out| {
            out.extend_from_slice(&self.0);
            segment.put(out);
            escape(out, self.0.len());
            out.extend_from_slice(SEGMENT_END);
        }))
    }

    /// An item of this collection.
    pub fn key(&self, item: impl Segment) -> Key {
        let encoded = encoded(|out| {
            out.extend_from_slice(&self.0);
            out.extend_from_slice(ITEM);
            item.put(out);
        });
        Key {
            encoded,
            collection_len: self.0.len(),
        }
    }

    /// The encoded form.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Reads an encoded collection, as found in a log entry.
    pub fn decode(encoded: Bytes) -> Option<Self> {
        let key = Key::decode([encoded.as_ref(), ITEM].concat().into())?;
        let whole = key.collection_len == encoded.len() && encoded.ends_with(SEGMENT_END);
        whole.then_some(Self(encoded))
    }

    /// Its path: what [`Collection::new`] and [`Collection::at`] were given, as bytes.
    pub fn segments(&self) -> Vec<Vec<u8>> {
        let mut segments = Vec::new();
        let mut segment = Vec::new();
        let mut bytes = self.0.iter();
        while let Some(byte) = bytes.next() {
            match byte {
                // What comes after a 00 is 01 at the end of a segment, and FF inside of one.
                0x00 if bytes.next() == Some(&0x01) => segments.push(std::mem::take(&mut segment)),
                byte => segment.push(*byte),
            }
        }
        segments
    }

    /// What the encoded keys of this collection's items begin with.
    pub(crate) fn items_prefix(&self) -> Vec<u8> {
        [self.0.as_ref(), ITEM].concat()
    }
}

/// What `write` appends, without more memory than that. Each request makes dozens of keys.
fn encoded(write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    thread_local! {
        static DRAFT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    DRAFT.with_borrow_mut(|draft| {
        draft.clear();
        write(draft);
        Bytes::copy_from_slice(draft)
    })
}

/// Writes 00 FF for each 00 from `start` on.
fn escape(out: &mut Vec<u8>, start: usize) {
    let zeros = out[start..].iter().filter(|byte| **byte == 0).count();
    let mut from = out.len();
    out.resize(from + zeros, 0);
    let mut to = out.len();
    // From the end, so that nothing is written over before it was read.
    while from < to {
        from -= 1;
        to -= 1;
        out[to] = out[from];
        if out[from] == 0 {
            out[to] = 0xff;
            to -= 1;
            out[to] = 0;
        }
    }
}

/// The name of one value: an item of a collection.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    encoded: Bytes,
    collection_len: usize,
}

impl Key {
    /// The encoded form.
    pub fn as_bytes(&self) -> &Bytes {
        &self.encoded
    }

    /// The collection that this key is an item of.
    pub fn collection(&self) -> Collection {
        Collection(self.encoded.slice(..self.collection_len))
    }

    /// The item's own bytes.
    pub fn item(&self) -> Bytes {
        self.encoded.slice(self.collection_len + ITEM.len()..)
    }

    /// Reads an encoded key, as found in a log entry, a store or an export.
    pub fn decode(encoded: Bytes) -> Option<Self> {
        // Inside a collection a 00 is followed by 01 or FF, so the first 00 00 ends it.
        let mut at = 0;
        while at + 1 < encoded.len() {
            match (encoded[at], encoded[at + 1]) {
                (0x00, 0x00) if encoded.len() <= MAX_KEY_BYTES => {
                    return Some(Self {
                        encoded,
                        collection_len: at,
                    });
                }
                (0x00, 0x01 | 0xff) => at += 2,
                (0x00, _) => return None,
                _ => at += 1,
            }
        }
        None
    }
}

/// Shows segments joined by `/`, and bytes that are not text as escapes.
fn show(encoded: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut at = 0;
    while at < encoded.len() {
        match (encoded[at], encoded.get(at + 1)) {
            (0x00, Some(0x01)) => {
                f.write_str("/")?;
                at += 2;
            }
            (0x00, Some(0xff)) => {
                f.write_str("\\0")?;
                at += 2;
            }
            (byte, _) => {
                write!(f, "{}", byte.escape_ascii())?;
                at += 1;
            }
        }
    }
    Ok(())
}

impl fmt::Debug for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(&self.0, f)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(&self.encoded[..self.collection_len], f)?;
        write!(f, "{}", self.item().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn structured_names_do_not_collide() {
        let one = Collection::new("a-1").key("2");
        let other = Collection::new("a").key("1-2");
        assert_ne!(one, other);
    }

    #[test]
    fn items_of_a_collection_come_before_and_apart_from_those_below_it() {
        let collection = Collection::new("a");
        let item = collection.key([0xff; 4]);
        let below = collection.at([0x00]).key("x");
        let prefix = collection.items_prefix();
        assert!(item.as_bytes().starts_with(&prefix));
        assert!(!below.as_bytes().starts_with(&prefix));
        assert!(item.as_bytes() < below.as_bytes());
    }

    proptest! {
        #[test]
        fn decoding_inverts_encoding(path in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 1..5), item in prop::collection::vec(any::<u8>(), 0..8)) {
            let mut collection = Collection::new(&path[0]);
            for segment in &path[1..] {
                collection = collection.at(segment);
            }
            let key = collection.key(&item);
            let decoded = Key::decode(key.as_bytes().clone()).unwrap();
            prop_assert_eq!(&decoded, &key);
            prop_assert_eq!(decoded.collection().segments(), path);
            prop_assert_eq!(decoded.collection(), collection);
            prop_assert_eq!(decoded.item(), Bytes::from(item));
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(prop::sample::select(vec![0u8, 1, 2, 0xff]), 0..12)) {
            let _ = Key::decode(bytes.into());
        }
    }
}

#[cfg(test)]
mod stored {
    use data_encoding::HEXLOWER;
    use serde_json::json;

    use super::*;
    use crate::samples;

    #[test]
    fn keys_are_read() {
        let keys = [
            Collection::new("cluster").at("nodes").key(7_u64),
            Collection::new(0_u64).at("a\0b").at([0, 0xff]).key("\0"),
        ];
        let written: Vec<_> = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
        samples::check_bytes("kv-key", &written, |stored| {
            let key = Key::decode(Bytes::copy_from_slice(stored)).unwrap();
            let segments = key.collection().segments();
            let segments: Vec<_> = segments.iter().map(|segment| HEXLOWER.encode(segment)).collect();
            json!({"collection": segments, "item": HEXLOWER.encode(&key.item())}).to_string()
        });
    }
}
