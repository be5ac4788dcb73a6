//! Paths inside of archives.

use crate::archive::{Limits, Refused, refused};

/// A path that means the same on every system and stays below where it is unpacked.
pub(super) fn check_path<'a>(raw: &'a [u8], is_folder: bool, limits: &Limits) -> Result<&'a str, Refused> {
    if raw.len() > limits.path_bytes {
        return refused(format!("has a path of more than {} bytes", limits.path_bytes));
    }
    let Ok(mut path) = std::str::from_utf8(raw) else {
        return refused(format!(
            "has a path that is not UTF-8: {:?}",
            String::from_utf8_lossy(raw)
        ));
    };
    if is_folder {
        path = path.strip_suffix('/').unwrap_or(path);
    }
    if path.matches('/').count() > limits.folders {
        return refused(format!("has an entry in more than {} folders", limits.folders));
    }
    let has_drive = path.as_bytes().get(1) == Some(&b':');
    let is_plain = path.split('/').all(|part| !["", ".", ".."].contains(&part));
    if has_drive || !is_plain || path.contains('\\') || path.contains(char::is_control) {
        return refused(format!("has an entry with an unsafe path: {path:?}"));
    }
    Ok(path)
}

/// Whether a link at `path` may lead out of the folder that the archive is unpacked to, whether
/// the target counts from the link (symbolic) or from the archive's root (hard).
pub(super) fn leaves_archive(path: &str, target: &str) -> bool {
    if target.starts_with('/') || target.contains(['\\', ':', '\0']) {
        return true;
    }
    let mut depth = path.matches('/').count();
    for part in target.split('/') {
        match part {
            // The top folder is stripped, so leaving it is leaving the package.
            ".." if depth <= 1 => return true,
            ".." => depth -= 1,
            "" | "." => {}
            _ => depth += 1,
        }
    }
    false
}
