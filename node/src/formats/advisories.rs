//! What security advisories have in common, whatever the format of the packages that they are on.

use cairn_cluster::record::Record;
use cairn_cluster::{Collection, Key, Scan, Txn};
use serde::{Deserialize, Serialize};

use crate::http::error::ApiError;

/// The longest text of an advisory.
const MAX_TEXT_CHARS: usize = 500;

/// The most advisories on one package: all are in its documents.
pub(crate) const MAX_ON_ONE: usize = 100;

/// The most advisories of one answer.
pub(crate) const MAX_TOLD: usize = 5_000;

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    Low,
    Medium,
    High,
    Critical,
}

/// Refuses an id that could not stand in URLs and records.
pub(crate) fn check_id(id: &str) -> Result<(), ApiError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if id.is_empty() || id.len() > 64 || !id.bytes().all(is_plain) {
        return Err(ApiError::bad_request(
            "the id of an advisory is of up to 64 letters, digits, '-', '_' and '.'",
        ));
    }
    Ok(())
}

/// Refuses a text that is empty or very long.
pub(crate) fn check_text(name: &str, text: &str) -> Result<(), ApiError> {
    if text.is_empty() || text.chars().count() > MAX_TEXT_CHARS {
        return Err(ApiError::bad_request(format!(
            "{name} has 1 to {MAX_TEXT_CHARS} characters"
        )));
    }
    Ok(())
}

/// Refuses what clients should not make a link of.
pub(crate) fn check_link(link: &str) -> Result<(), ApiError> {
    check_text("link", link)?;
    if !["https://", "http://"]
        .iter()
        .any(|scheme| link.starts_with(scheme))
    {
        return Err(ApiError::bad_request("link begins with https:// or http://"));
    }
    Ok(())
}

/// The advisories on a package, which are kept by its name, a zero byte and their id.
pub(crate) fn on(advisories: &Collection, package: &str) -> Scan {
    Scan::of(advisories).prefix(prefix(package)).limit(MAX_ON_ONE)
}

/// The name of the package that an advisory is on, by where it is kept.
pub(crate) fn package_of(item: &[u8]) -> Option<&str> {
    let end = item.iter().position(|byte| *byte == 0)?;
    std::str::from_utf8(&item[..end]).ok()
}

/// Puts an advisory on a package, in the place of one of its id; says whether there was none.
pub(crate) async fn put(
    txn: &mut Txn,
    advisories: &Collection,
    package: &str,
    id: &str,
    advisory: &impl Record,
) -> Result<bool, ApiError> {
    let key = key(advisories, package, id);
    let is_new = txn.get(&key).await?.is_none();
    if is_new && txn.scan(on(advisories, package)).await?.len() >= MAX_ON_ONE {
        return Err(ApiError::unprocessable(format!(
            "there are {MAX_ON_ONE} advisories on {package} already"
        )));
    }
    txn.put_record(&key, advisory);
    Ok(is_new)
}

/// Takes an advisory back; says whether it was there.
pub(crate) async fn delete(
    txn: &mut Txn,
    advisories: &Collection,
    package: &str,
    id: &str,
) -> Result<bool, ApiError> {
    let key = key(advisories, package, id);
    let is_there = txn.get(&key).await?.is_some();
    txn.delete(&key);
    Ok(is_there)
}

fn key(advisories: &Collection, package: &str, id: &str) -> Key {
    advisories.key([prefix(package).as_slice(), id.as_bytes()].concat())
}

fn prefix(package: &str) -> Vec<u8> {
    [package.as_bytes(), &[0]].concat()
}
