//! The number by which debuggers ask for a Portable PDB: it stands in the metadata that such a file is.
//!
//! ```text
//! "BSJB", versions, reserved, length of the name of the version, that name     the root
//! flags, number of streams, and for each: offset, length, name                 what lies where
//! "#Pdb": GUID (16 bytes), stamp (4 bytes), …                                  the stream that is looked for
//! ```
//!
//! <https://github.com/dotnet/runtime/blob/main/docs/design/specs/PortablePdb-Metadata.md>

use std::io::{self, Read};

use data_encoding::HEXLOWER;

/// What begins a Portable PDB.
const SIGNATURE: [u8; 4] = *b"BSJB";

/// The stream that holds the number.
const STREAM: &[u8] = b"#Pdb";

/// The longest name of a version that the specification allows.
const MAX_VERSION_BYTES: u32 = 255;

/// There are six kinds of streams.
const MAX_STREAMS: u16 = 32;

/// The longest name of a stream, with the zero that ends it.
const MAX_STREAM_NAME_BYTES: usize = 32;

/// Reads the number of a Portable PDB as URLs have it: the GUID, and `ffffffff` for the age that older files have. None
/// if the file is something else.
pub(super) fn signature(mut file: impl Read) -> io::Result<Option<String>> {
    match find(&mut file) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        outcome => outcome,
    }
}

fn find(file: &mut impl Read) -> io::Result<Option<String>> {
    if array::<4>(file)? != SIGNATURE {
        return Ok(None);
    }
    array::<8>(file)?;
    let length = number(file)?;
    if length > MAX_VERSION_BYTES + 1 {
        return Ok(None);
    }
    skip(file, length.into())?;
    array::<2>(file)?;
    let streams = u16::from_le_bytes(array(file)?);
    if streams > MAX_STREAMS {
        return Ok(None);
    }
    let mut read = 4 + 8 + 4 + u64::from(length) + 2 + 2;
    let mut found = None;
    for _ in 0..streams {
        let (offset, size) = (number(file)?, number(file)?);
        let Some(name) = stream_name(file)? else {
            return Ok(None);
        };
        read += 8 + name.len() as u64;
        if name.starts_with(STREAM) && name[STREAM.len()] == 0 && size >= 20 {
            found = Some(u64::from(offset));
        }
    }
    let Some(skipped) = found.and_then(|offset| offset.checked_sub(read)) else {
        return Ok(None);
    };
    skip(file, skipped)?;
    let guid: [u8; 16] = array(file)?;
    Ok(Some(format!("{}ffffffff", as_text(guid))))
}

/// A GUID as it is written: its first three numbers are stored with their last byte first.
fn as_text(guid: [u8; 16]) -> String {
    let [a, b, c, d, e, f, g, h, rest @ ..] = guid;
    HEXLOWER.encode(&[&[d, c, b, a, f, e, h, g][..], &rest].concat())
}

/// A name that is ended by a zero and filled up to four bytes.
fn stream_name(file: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut name = Vec::new();
    while !name.contains(&0) {
        if name.len() >= MAX_STREAM_NAME_BYTES {
            return Ok(None);
        }
        name.extend_from_slice(&array::<4>(file)?);
    }
    Ok(Some(name))
}

fn array<const N: usize>(file: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn number(file: &mut impl Read) -> io::Result<u32> {
    array(file).map(u32::from_le_bytes)
}

fn skip(file: &mut impl Read, count: u64) -> io::Result<()> {
    match io::copy(&mut file.take(count), &mut io::sink())? == count {
        true => Ok(()),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A Portable PDB of this GUID, which says nothing more.
    pub(in crate::formats::nuget) fn pdb(guid: [u8; 16]) -> Vec<u8> {
        let mut file = SIGNATURE.to_vec();
        file.extend_from_slice(&[1, 0, 1, 0, 0, 0, 0, 0]);
        file.extend_from_slice(&12u32.to_le_bytes());
        file.extend_from_slice(b"PDB v1.0\0\0\0\0");
        file.extend_from_slice(&[0, 0, 2, 0]);
        for (offset, size, name) in [(80u32, 4u32, &b"#~\0\0"[..]), (84, 24, b"#Pdb\0\0\0\0")] {
            file.extend_from_slice(&offset.to_le_bytes());
            file.extend_from_slice(&size.to_le_bytes());
            file.extend_from_slice(name);
        }
        file.resize(84, 0);
        file.extend_from_slice(&guid);
        file.extend_from_slice(&[1; 8]);
        file
    }

    const GUID: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    #[test]
    fn a_portable_pdb_has_a_number() {
        let found = signature(pdb(GUID).as_slice()).unwrap();
        assert_eq!(found.as_deref(), Some("030201000504070608090a0b0c0d0e0fffffffff"));
    }

    #[test]
    fn what_is_none_has_no_number() {
        let whole = pdb(GUID);
        for length in 0..100 {
            assert_eq!(signature(&whole[..length]).unwrap(), None, "{length}");
        }
        assert_eq!(signature(&b"Microsoft C/C++ MSF 7.00\r\n"[..]).unwrap(), None);
        let with = |at: usize, bytes: &[u8]| {
            let mut file = whole.clone();
            file[at..at + bytes.len()].copy_from_slice(bytes);
            signature(file.as_slice()).unwrap()
        };
        assert_eq!(with(12, &[0xff; 4]), None);
        assert_eq!(with(30, &[0xff; 2]), None);
        assert_eq!(with(52, b"#Qdb"), None);
        assert_eq!(with(44, &[0xff; 4]), None);
        assert_eq!(with(44, &[4, 0, 0, 0]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_number_or_none(flips in prop::collection::vec((0..100usize, any::<u8>()), 0..8)) {
            let mut file = pdb(GUID);
            for (at, byte) in flips {
                file[at] = byte;
            }
            let _ = signature(file.as_slice());
        }
    }
}
