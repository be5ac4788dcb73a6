//! The parsers of Conan's that are fuzzed.

use std::io::Cursor;

use super::artifact::{self, Info, Manifest};
use super::names::{FilePath, Line, PackageId, Reference, Revised, Revision};
use super::pattern::Pattern;
use crate::archive::Compression;
#[cfg(test)]
use crate::fuzz::lines;
use crate::fuzz::{Target, gzip, text};
#[cfg(test)]
use crate::testing::archives::tar;

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "conan_archive",
        read: |tar| artifact::inspect(Cursor::new(gzip(tar)), Compression::Gzip).is_ok(),
        #[cfg(test)]
        seeds: || vec![tar(&[("include/a.h", "a"), ("lib/b", "b")]).into_inner().unwrap()],
    },
    Target {
        name: "conan_info",
        read: |bytes| text(bytes, |text| Info::read(text).is_ok()),
        #[cfg(test)]
        seeds: || {
            vec![
                b"[settings]\n    os=Linux\n[options]\n    shared=False\n[requires]\n    zlib/1.Y.Z\n".into(),
            ]
        },
    },
    Target {
        name: "conan_manifest",
        read: manifest,
        #[cfg(test)]
        seeds: || vec![b"1795966546\nconanfile.py: 0123456789abcdef0123456789abcdef\n".into()],
    },
    Target {
        name: "conan_names",
        read: |bytes| text(bytes, names),
        #[cfg(test)]
        seeds: || {
            lines(
                "zlib/1.3.1\nzlib/1.3.1@acme+demo/stable\n0\nda39a3ee5e6b4b0d3255bfef95601890afd80709\n\
                 metadata/sign/a b.sig\nabc/export/conanfile.py\nz[!a-k]ib*",
            )
        },
    },
];

fn manifest(bytes: &[u8]) -> bool {
    let read = Manifest::read(bytes);
    if let Ok(manifest) = &read {
        let _ = (manifest.entries().count(), manifest.sums());
    }
    read.is_ok()
}

fn names(text: &str) -> bool {
    fn is_read<T: std::str::FromStr + ToString>(text: &str) -> bool {
        let read = text.parse::<T>();
        if let Ok(read) = &read {
            assert_eq!(read.to_string(), text);
        }
        read.is_ok()
    }
    if let Some((revised, path)) = Revised::of_file(text) {
        assert_eq!(format!("{}{path}", revised.folder()), text);
    }
    if let Ok(line) = Line::of_key(text) {
        assert_eq!(line.key(), text);
    }
    // Each, whatever the others say.
    is_read::<Reference>(text)
        | is_read::<Revision>(text)
        | is_read::<PackageId>(text)
        | is_read::<FilePath>(text)
        | Pattern::new(text, true).is_ok()
}
