//! What a client says about the bytes it sends, and whether it was true.

use axum::http::{HeaderMap, HeaderName, header};
use cairn_cluster::{DigestSet, Digests};
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};

use crate::http::checksum::Algorithm;
use crate::http::error::ApiError;

/// Digests, and the length, that a client announced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    sha256: Vec<Vec<u8>>,
    sha1: Vec<Vec<u8>>,
    sha512: Vec<Vec<u8>>,
    md5: Vec<Vec<u8>>,
    size: Option<u64>,
}

/// Structured fields of RFC 9530. Without a content coding both say the same.
const DIGEST_HEADERS: [HeaderName; 2] = [
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("content-digest"),
];

impl Claims {
    /// Reads them from the headers of a request.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut claims = Self::default();
        for algorithm in Algorithm::ALL {
            let name = HeaderName::from_static(algorithm.header());
            for value in texts(headers, &name)? {
                let decoded = HEXLOWER_PERMISSIVE.decode(value.trim().as_bytes()).ok();
                claims.add(algorithm, decoded, &name)?;
            }
        }
        let content_md5 = HeaderName::from_static("content-md5");
        for value in texts(headers, &content_md5)? {
            claims.add(
                Algorithm::Md5,
                BASE64.decode(value.trim().as_bytes()).ok(),
                &content_md5,
            )?;
        }
        for name in &DIGEST_HEADERS {
            for value in texts(headers, name)? {
                for member in value.split(',') {
                    claims.add_member(member, name)?;
                }
            }
        }
        claims.size = whole_range(headers)?;
        Ok(claims)
    }

    /// Adds a sha256 in hexadecimal digits that was claimed elsewhere than in a header.
    pub(super) fn add_sha256(&mut self, hex: &str) -> Result<(), ApiError> {
        let decoded = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok();
        let digest = decoded.filter(|digest| digest.len() == Algorithm::Sha256.bytes());
        let digest = digest.ok_or_else(|| ApiError::bad_request("sha256 does not hold a digest"))?;
        self.sha256.push(digest);
        Ok(())
    }

    /// Adds the digests that were claimed of the same bytes before.
    pub(super) fn add_all(&mut self, before: &Self) {
        self.sha256.extend_from_slice(&before.sha256);
        self.sha1.extend_from_slice(&before.sha1);
        self.sha512.extend_from_slice(&before.sha512);
        self.md5.extend_from_slice(&before.md5);
    }

    /// What has to be computed to check them.
    pub(super) fn algorithms(&self) -> DigestSet {
        DigestSet {
            sha1: !self.sha1.is_empty(),
            sha512: !self.sha512.is_empty(),
            md5: !self.md5.is_empty(),
        }
    }

    fn add(
        &mut self,
        algorithm: Algorithm,
        decoded: Option<Vec<u8>>,
        name: &HeaderName,
    ) -> Result<(), ApiError> {
        let digest = decoded.filter(|digest| digest.len() == algorithm.bytes());
        let digest = digest.ok_or_else(|| malformed(name))?;
        match algorithm {
            Algorithm::Sha256 => self.sha256.push(digest),
            Algorithm::Sha1 => self.sha1.push(digest),
            Algorithm::Sha512 => self.sha512.push(digest),
            Algorithm::Md5 => self.md5.push(digest),
        }
        Ok(())
    }

    /// `sha-256=:BASE64:`; algorithms that are not known are left alone, as RFC 9530 wants it.
    fn add_member(&mut self, member: &str, name: &HeaderName) -> Result<(), ApiError> {
        let (algorithm, value) = member.trim().split_once('=').ok_or_else(|| malformed(name))?;
        let algorithm = match algorithm.trim() {
            "sha-256" => Algorithm::Sha256,
            "sha-512" => Algorithm::Sha512,
            "sha" => Algorithm::Sha1,
            "md5" => Algorithm::Md5,
            _ => return Ok(()),
        };
        let encoded = value
            .trim()
            .strip_prefix(':')
            .and_then(|value| value.strip_suffix(':'));
        let decoded = encoded.and_then(|encoded| BASE64.decode(encoded.as_bytes()).ok());
        self.add(algorithm, decoded, name)
    }

    /// Whether content of this sha256 cannot be what was announced.
    pub(super) fn rule_out(&self, sha256: &[u8; 32]) -> bool {
        self.sha256.iter().any(|claimed| claimed != sha256)
    }

    /// Whether a sha256 was announced, and this content is what was.
    pub(super) fn identify(&self, digests: &Digests, size: u64) -> bool {
        !self.sha256.is_empty() && self.check(digests, size).is_ok()
    }

    /// Makes sure that what arrived is what was announced.
    pub(super) fn check(&self, digests: &Digests, size: u64) -> Result<(), ApiError> {
        let mut wrong = None;
        for (algorithm, claimed) in [
            (Algorithm::Sha256, &self.sha256),
            (Algorithm::Sha1, &self.sha1),
            (Algorithm::Sha512, &self.sha512),
            (Algorithm::Md5, &self.md5),
        ] {
            let found = algorithm.of(digests);
            if claimed.iter().any(|claimed| Some(claimed.as_slice()) != found) {
                wrong.get_or_insert(algorithm.name());
            }
        }
        if let Some(name) = wrong {
            return Err(ApiError::bad_request(format!(
                "the {name} of the file is not the one that was sent with it"
            )));
        }
        if self.size.is_some_and(|claimed| claimed != size) {
            return Err(ApiError::bad_request(
                "Content-Range does not cover the whole file",
            ));
        }
        Ok(())
    }
}

/// A part of a file cannot be published: a client that resumes an upload sends only the rest,
/// and storing that as the file would truncate it. Only a range that is the whole is taken;
/// returns the size that it announces.
fn whole_range(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let mut values = headers.get_all(header::CONTENT_RANGE).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let whole = || {
        let (range, size) = value.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        let size: u64 = size.parse().ok()?;
        (first == 0 && last.checked_add(1) == Some(size)).then_some(size)
    };
    match (whole(), values.next(), crate::http::body::content_length(headers)) {
        (Some(size), None, None) => Ok(Some(size)),
        (Some(size), None, Some(length)) if length == size => Ok(Some(size)),
        _ => Err(ApiError::bad_request(
            "a file is published whole: Content-Range must cover all of it or be left out",
        )),
    }
}

fn texts<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Vec<&'h str>, ApiError> {
    let values = headers.get_all(name).iter();
    values
        .map(|value| value.to_str().map_err(|_| malformed(name)))
        .collect()
}

fn malformed(name: &HeaderName) -> ApiError {
    ApiError::bad_request(format!("the header {name} does not hold a digest"))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const SIZE: u64 = 5;

    fn digests() -> Digests {
        Digests {
            sha256: [1; 32],
            sha1: Some([2; 20]),
            sha512: Some([3; 64]),
            md5: Some([4; 16]),
        }
    }

    fn judged(headers: &[(&str, String)]) -> Result<(), String> {
        let map = headers
            .iter()
            .map(|(name, value)| {
                let name: HeaderName = name.parse().unwrap();
                (name, HeaderValue::from_str(value).unwrap())
            })
            .collect();
        let claims = Claims::of(&map).map_err(|error| error.message)?;
        claims.check(&digests(), SIZE).map_err(|error| error.message)
    }

    #[test]
    fn true_claims_pass_and_false_ones_do_not() {
        let b64 = |bytes: &[u8]| BASE64.encode(bytes);
        for (name, right, wrong) in [
            ("x-checksum-sha256", "01".repeat(32), "02".repeat(32)),
            ("x-checksum-sha1", "02".repeat(20), "03".repeat(20)),
            ("x-checksum-sha512", "03".repeat(64), "0A".repeat(64)),
            ("x-checksum-md5", "04".repeat(16), "05".repeat(16)),
            ("content-md5", b64(&[4; 16]), b64(&[5; 16])),
            (
                "repr-digest",
                format!("sha-256=:{}:", b64(&[1; 32])),
                format!("sha-256=:{}:", b64(&[9; 32])),
            ),
            (
                "repr-digest",
                format!("crc32c=:AAAA:, sha-512=:{}:", b64(&[3; 64])),
                format!("md5=:{}:", b64(&[9; 16])),
            ),
            (
                "content-digest",
                format!("sha=:{}:", b64(&[2; 20])),
                format!("sha=:{}:", b64(&[9; 20])),
            ),
        ] {
            assert_eq!(judged(&[(name, right)]), Ok(()), "{name}");
            assert!(
                judged(&[(name, wrong)]).unwrap_err().contains("is not the one"),
                "{name}"
            );
        }
    }

    #[test]
    fn what_is_no_digest_is_refused_before_the_body() {
        for (name, value) in [
            ("x-checksum-sha256", "01".repeat(31)),
            ("x-checksum-sha256", "zz".repeat(32)),
            ("x-checksum-md5", String::new()),
            ("content-md5", "!".into()),
            ("repr-digest", "sha-256=abc".into()),
            ("repr-digest", "sha-256".into()),
            ("repr-digest", "sha-256=:QQ==:".into()),
        ] {
            assert!(
                judged(&[(name, value)])
                    .unwrap_err()
                    .contains("does not hold a digest"),
                "{name}"
            );
        }
    }

    #[test]
    fn only_the_whole_is_a_range_that_can_be_published() {
        let range = |value: &str, length: Option<u64>| {
            let mut headers = vec![("content-range", value.to_owned())];
            headers.extend(length.map(|length| ("content-length", length.to_string())));
            judged(&headers)
        };
        assert_eq!(range("bytes 0-4/5", Some(5)), Ok(()));
        assert_eq!(range("bytes 0-4/5", None), Ok(()));
        for (value, length) in [
            ("bytes 1-4/5", Some(4)),
            ("bytes 0-3/5", Some(4)),
            ("bytes 0-4/5", Some(4)),
            ("bytes 0-4/*", Some(5)),
            ("bytes */5", Some(5)),
            ("bytes 0-9/10", None),
            ("0-4/5", Some(5)),
            ("bytes 0-18446744073709551615/5", Some(5)),
        ] {
            assert!(
                range(value, length).unwrap_err().contains("Content-Range"),
                "{value}"
            );
        }
    }

    #[test]
    fn a_digest_rules_out_other_content() {
        let mut headers = HeaderMap::new();
        headers.insert(
            "x-checksum-sha256",
            HeaderValue::from_str(&"01".repeat(32)).unwrap(),
        );
        let claims = Claims::of(&headers).unwrap();
        assert!(claims.identify(&digests(), SIZE));
        assert!(!Claims::default().identify(&digests(), SIZE));
        assert!(!claims.rule_out(&[1; 32]));
        assert!(claims.rule_out(&[2; 32]));
    }
}
