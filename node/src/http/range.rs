//! Ranges and conditions of requests for files, as RFC 9110 has them.

use std::ops::Range;

use axum::http::{HeaderMap, Method, header};
use cairn_cluster::Timestamp;

use crate::registry::time::parse_http_date;

/// What to answer to a request for a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// 200 and everything.
    Whole,
    /// 206 and these bytes.
    Part(Range<u64>),
    /// 304: the client has it.
    NotModified,
    /// 412: it is not what the client expects.
    PreconditionFailed,
    /// 416: there is no such byte.
    NotSatisfiable,
}

/// What a file is known by.
#[derive(Clone, Copy, Debug)]
pub struct Validators<'a> {
    /// A strong entity tag, with its quotes.
    pub etag: &'a str,
    /// When it was published; without it, conditions on dates are not looked at.
    pub modified: Option<Timestamp>,
}

/// Decides what to answer. `size` is the file's.
pub fn reply(method: &Method, headers: &HeaderMap, validators: Validators<'_>, size: u64) -> Reply {
    match condition(headers, validators) {
        Some(failed) => failed,
        None if *method == Method::GET => range(headers, validators, size),
        None => Reply::Whole,
    }
}

/// The first condition that does not let the request go on, in the order of RFC 9110, 13.2.2.
fn condition(headers: &HeaderMap, validators: Validators<'_>) -> Option<Reply> {
    let modified = validators.modified.map(whole_seconds);
    if headers.contains_key(header::IF_MATCH) {
        if !any_tag(headers, header::IF_MATCH, validators.etag, false) {
            return Some(Reply::PreconditionFailed);
        }
    } else if let Some(date) = date(headers, header::IF_UNMODIFIED_SINCE)
        && modified.is_some_and(|modified| modified > date)
    {
        return Some(Reply::PreconditionFailed);
    }
    if headers.contains_key(header::IF_NONE_MATCH) {
        if any_tag(headers, header::IF_NONE_MATCH, validators.etag, true) {
            return Some(Reply::NotModified);
        }
    } else if let Some(date) = date(headers, header::IF_MODIFIED_SINCE)
        && modified.is_some_and(|modified| modified <= date)
    {
        return Some(Reply::NotModified);
    }
    None
}

fn range(headers: &HeaderMap, validators: Validators<'_>, size: u64) -> Reply {
    let Some(range) = headers.get(header::RANGE).and_then(|value| value.to_str().ok()) else {
        return Reply::Whole;
    };
    if !if_range_holds(headers, validators) {
        return Reply::Whole;
    }
    match parse(range, size) {
        Parsed::One(range) => Reply::Part(range),
        Parsed::Ignore => Reply::Whole,
        Parsed::NotSatisfiable => Reply::NotSatisfiable,
    }
}

/// `If-Range`: the part is wanted only of this very file.
fn if_range_holds(headers: &HeaderMap, validators: Validators<'_>) -> bool {
    let Some(value) = headers.get(header::IF_RANGE) else {
        return true;
    };
    let Ok(value) = value.to_str() else {
        return false;
    };
    if value.contains('"') {
        return value.trim() == validators.etag;
    }
    parse_http_date(value).is_some_and(|date| Some(date) == validators.modified.map(whole_seconds))
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    One(Range<u64>),
    Ignore,
    NotSatisfiable,
}

/// One range is served; several at a time are answered with the whole file, which RFC 9110
/// allows and which cannot be made to cost more than the file.
pub(super) fn parse(value: &str, size: u64) -> Parsed {
    let Some((unit, ranges)) = value.split_once('=') else {
        return Parsed::Ignore;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") || ranges.contains(',') {
        return Parsed::Ignore;
    }
    let Some((first, last)) = ranges.trim().split_once('-') else {
        return Parsed::Ignore;
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (first, last) {
        ("", suffix) => match number(suffix) {
            None => Parsed::Ignore,
            Some(0) => Parsed::NotSatisfiable,
            Some(_) if size == 0 => Parsed::NotSatisfiable,
            Some(length) => Parsed::One(size.saturating_sub(length)..size),
        },
        (first, last) => {
            let (Some(first), last) = (
                number(first),
                if last.is_empty() {
                    Some(u64::MAX)
                } else {
                    number(last)
                },
            ) else {
                return Parsed::Ignore;
            };
            match last {
                None => Parsed::Ignore,
                Some(last) if last < first => Parsed::Ignore,
                Some(_) if first >= size => Parsed::NotSatisfiable,
                Some(last) => Parsed::One(first..size.min(last.saturating_add(1))),
            }
        }
    }
}

/// Whether a list of entity tags holds this one. Weak tags count only where `weakly` says so.
fn any_tag(headers: &HeaderMap, name: header::HeaderName, etag: &str, weakly: bool) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag == etag || weakly && tag.strip_prefix("W/") == Some(etag))
}

fn date(headers: &HeaderMap, name: header::HeaderName) -> Option<Timestamp> {
    parse_http_date(headers.get(name)?.to_str().ok()?)
}

fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp(at.0 - at.0 % 1000)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    const SIZE: u64 = 1000;
    const ETAG: &str = "\"abc\"";
    const MODIFIED: Timestamp = Timestamp(1_782_907_200_123);
    const DATE: &str = "Wed, 01 Jul 2026 12:00:00 GMT";
    const BEFORE: &str = "Wed, 01 Jul 2026 11:59:59 GMT";

    #[track_caller]
    fn check(headers: &[(&str, &str)], expected: Reply) {
        let map: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                let name: HeaderName = name.parse().unwrap();
                (name, HeaderValue::from_str(value).unwrap())
            })
            .collect();
        let validators = Validators {
            etag: ETAG,
            modified: Some(MODIFIED),
        };
        assert_eq!(
            reply(&Method::GET, &map, validators, SIZE),
            expected,
            "{headers:?}"
        );
    }

    #[test]
    fn ranges() {
        check(&[], Reply::Whole);
        for (range, expected) in [
            ("bytes=0-", Reply::Part(0..1000)),
            ("bytes=0-0", Reply::Part(0..1)),
            ("bytes=10-19", Reply::Part(10..20)),
            ("bytes=990-2000", Reply::Part(990..1000)),
            ("bytes=-10", Reply::Part(990..1000)),
            ("bytes=-5000", Reply::Part(0..1000)),
            ("Bytes=1-2", Reply::Part(1..3)),
            ("bytes=5-99999999999999999999999", Reply::Part(5..1000)),
            ("bytes=1000-", Reply::NotSatisfiable),
            ("bytes=99999999999999999999999-", Reply::NotSatisfiable),
            ("bytes=-0", Reply::NotSatisfiable),
            ("bytes=0-1,5-6", Reply::Whole),
            ("bytes=9-1", Reply::Whole),
            ("bytes=a-b", Reply::Whole),
            ("bytes=+1-2", Reply::Whole),
            ("bytes=", Reply::Whole),
            ("bytes", Reply::Whole),
            ("lines=1-2", Reply::Whole),
        ] {
            check(&[("range", range)], expected);
        }
        let many: Vec<_> = (0..1000).map(|at| format!("{at}-{at}")).collect();
        check(&[("range", &format!("bytes={}", many.join(",")))], Reply::Whole);
    }

    #[test]
    fn conditions() {
        check(&[("if-none-match", ETAG)], Reply::NotModified);
        check(&[("if-none-match", "W/\"abc\"")], Reply::NotModified);
        check(&[("if-none-match", "\"x\", \"abc\"")], Reply::NotModified);
        check(&[("if-none-match", "*")], Reply::NotModified);
        check(&[("if-none-match", "\"x\"")], Reply::Whole);
        check(&[("if-modified-since", DATE)], Reply::NotModified);
        check(&[("if-modified-since", BEFORE)], Reply::Whole);
        check(&[("if-modified-since", "junk")], Reply::Whole);
        check(
            &[("if-none-match", "\"x\""), ("if-modified-since", DATE)],
            Reply::Whole,
        );
        check(&[("if-match", ETAG)], Reply::Whole);
        check(&[("if-match", "W/\"abc\"")], Reply::PreconditionFailed);
        check(&[("if-match", "\"x\"")], Reply::PreconditionFailed);
        check(&[("if-unmodified-since", DATE)], Reply::Whole);
        check(&[("if-unmodified-since", BEFORE)], Reply::PreconditionFailed);
        check(
            &[("if-none-match", ETAG), ("range", "bytes=0-1")],
            Reply::NotModified,
        );
    }

    #[test]
    fn a_part_is_given_only_of_the_same_file() {
        let part = Reply::Part(0..2);
        check(&[("range", "bytes=0-1"), ("if-range", ETAG)], part.clone());
        check(&[("range", "bytes=0-1"), ("if-range", "W/\"abc\"")], Reply::Whole);
        check(&[("range", "bytes=0-1"), ("if-range", "\"x\"")], Reply::Whole);
        check(&[("range", "bytes=0-1"), ("if-range", DATE)], part);
        check(&[("range", "bytes=0-1"), ("if-range", BEFORE)], Reply::Whole);
    }

    #[test]
    fn nothing_of_an_empty_file_can_be_a_part() {
        assert_eq!(parse("bytes=0-", 0), Parsed::NotSatisfiable);
        assert_eq!(parse("bytes=-1", 0), Parsed::NotSatisfiable);
    }

    proptest! {
        #[test]
        fn a_part_lies_inside_of_the_file(range in "(bytes=)?[0-9,-]{0,30}", size in 0u64..2000) {
            if let Parsed::One(part) = parse(&range, size) {
                prop_assert!(part.start < part.end && part.end <= size);
            }
        }
    }
}
