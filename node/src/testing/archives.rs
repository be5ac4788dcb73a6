//! Archives as those who publish make them, and as nobody should.

use std::io::Write;

use liblzma::write::XzEncoder;

use crate::archive::Compression;
use crate::fuzz::gzip;

/// A tar archive of these files, to which more can be added. Paths are taken as they are, since the library refuses
/// those that tests are about; they have up to 100 bytes.
pub(crate) fn tar<C: AsRef<[u8]>>(files: &[(&str, C)]) -> tar::Builder<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let content = content.as_ref();
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        tar.append(&header, content).unwrap();
    }
    tar
}

/// The same, compressed.
pub(crate) fn tar_gz<C: AsRef<[u8]>>(files: &[(&str, C)]) -> Vec<u8> {
    gzip(&tar(files).into_inner().unwrap())
}

/// Compresses as those who publish do.
pub(crate) fn compressed(bytes: &[u8], compression: Compression) -> Vec<u8> {
    match compression {
        Compression::Gzip => gzip(bytes),
        Compression::Xz => {
            let mut encoder = XzEncoder::new(Vec::new(), 6);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => zstd::encode_all(bytes, 3).unwrap(),
    }
}
