//! Small files that are whole or absent, whatever happens meanwhile, and what says in them of which
//! format they are.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Why a file is not read, said of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ParseError {
    /// It was written by a newer version.
    #[error("has format {found}, this cairn knows formats up to {newest}: use a newer cairn")]
    Newer { found: u32, newest: u32 },
    /// It is not what was written.
    #[error("does not parse: {0}")]
    Damaged(#[from] serde_json::Error),
}

/// Reads JSON that has the number of its format in `format`, up to the newest that is known.
pub(crate) fn parse<T: DeserializeOwned>(text: &[u8], newest: u32) -> Result<T, ParseError> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    // A newer form is told by its number, whatever else is in it.
    let Format { format: found } = serde_json::from_slice(text)?;
    if found > newest {
        return Err(ParseError::Newer { found, newest });
    }
    Ok(serde_json::from_slice(text)?)
}

/// Writes a file that only its owner can read: a temporary one, synced, renamed into place,
/// and the folder synced, so that a power cut leaves the old content or the new.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut temporary_name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    temporary_name.push(".new");
    let temporary = folder.join(temporary_name);
    // One left by a crash may have other permissions.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_folder(folder)
}

/// Makes a folder that only its owner can enter, and the folders above it.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => sync_folder(above),
        _ => Ok(()),
    }
}

/// Makes names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_version_wrote_is_told_by_its_number() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Known {
            format: u32,
            name: String,
        }
        let parse = |text: &str| parse::<Known>(text.as_bytes(), 2).map_err(|error| error.to_string());
        let known = Known {
            format: 2,
            name: "a".into(),
        };
        assert_eq!(parse(r#"{"format": 2, "name": "a"}"#), Ok(known));
        let newer = parse(r#"{"format": 3, "everything": "else"}"#).unwrap_err();
        assert_eq!(
            newer,
            "has format 3, this cairn knows formats up to 2: use a newer cairn"
        );
        for damaged in ["", "{", "{}", r#"{"format": 1}"#] {
            assert!(
                parse(damaged).unwrap_err().starts_with("does not parse"),
                "{damaged}"
            );
        }
    }
}
