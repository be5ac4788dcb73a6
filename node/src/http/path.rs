//! The path of a request target, checked once before any route sees it.
//!
//! Percent escapes are decoded once, by the router; this makes sure that decoding cannot turn
//! one path into another, whoever decodes it how often: no `..`, no empty segments, no
//! backslashes, no control characters, and a slash inside of a segment only where names have one.

use percent_encoding::percent_decode;

/// Prefixes of routes whose next segment names a group or project, by its encoded path.
const NAMED_BY_PATH: [&str; 5] = [
    "/api/v4/projects/",
    "/api/v4/groups/",
    "/api/cairn/v1/projects/",
    "/api/cairn/v1/groups/",
    "/api/packages/",
];

/// A path that is refused, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path {0}")]
pub struct BadPath(pub &'static str);

/// Refuses what no route should see.
pub fn check(path: &str) -> Result<(), BadPath> {
    let Some(rest) = path.strip_prefix('/') else {
        // `OPTIONS *`, and the authority of CONNECT.
        return if path == "*" {
            Ok(())
        } else {
            Err(BadPath("does not begin with '/'"))
        };
    };
    let mut at = 1;
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if segment.is_empty() && !last {
            return Err(BadPath("has an empty segment"));
        }
        let may_have_slashes = NAMED_BY_PATH.contains(&&path[..at]);
        check_segment(segment, may_have_slashes)?;
        at += segment.len() + 1;
    }
    Ok(())
}

fn check_segment(raw: &str, may_have_slashes: bool) -> Result<(), BadPath> {
    if !escapes_are_whole(raw.as_bytes()) {
        return Err(BadPath("has an incomplete percent escape"));
    }
    let decoded = percent_decode(raw.as_bytes())
        .decode_utf8()
        .map_err(|_| BadPath("is not valid UTF-8"))?;
    if decoded.chars().any(char::is_control) {
        return Err(BadPath("has a control character"));
    }
    if decoded.contains('\\') {
        return Err(BadPath("has a backslash"));
    }
    if has_hidden_escape(&decoded) {
        return Err(BadPath("is encoded twice"));
    }
    if decoded.split('/').any(|part| part == "." || part == "..") {
        return Err(BadPath("has a '.' or '..' segment"));
    }
    if decoded.contains('/') {
        // A scoped npm name is one segment with one encoded slash.
        let scoped = decoded.starts_with('@');
        if !may_have_slashes && !scoped {
            return Err(BadPath("has an encoded slash"));
        }
        if decoded.split('/').any(str::is_empty) {
            return Err(BadPath("has an empty segment"));
        }
    }
    Ok(())
}

fn escapes_are_whole(raw: &[u8]) -> bool {
    let mut escapes = raw.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    escapes.all(|(at, _)| {
        let digits = raw.get(at + 1..at + 3);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

/// Whether decoding once more would give a character that changes the path.
fn has_hidden_escape(decoded: &str) -> bool {
    let folded = decoded.to_ascii_lowercase();
    ["%2e", "%2f", "%5c", "%00", "%25"]
        .iter()
        .any(|escape| folded.contains(escape))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check_path(path: &str, expected: Result<(), &'static str>) {
        assert_eq!(check(path), expected.map_err(BadPath), "{path}");
    }

    #[test]
    fn plain_paths_pass() {
        for path in [
            "/",
            "*",
            "/v2/",
            "/v2/acme/demo/img/blobs/uploads/",
            "/api/v4/projects/acme%2Fdemo/packages/npm/@acme%2ffoo",
            "/api/v4/projects/acme%2Ftools%2fdemo",
            "/api/cairn/v1/projects/acme%2Fdemo/packages/cleanup_policy",
            "/api/packages/acme%2Fdemo/generic/a/1/f",
            "/api/v4/groups/acme%2Ftools/-/packages/npm/%40acme%2Ffoo/-/foo-1.0.0.tgz",
            "/api/v4/projects/1/packages/generic/a%2bb/1.0.0/x~1@y.tgz",
            "/api/v4/projects/1/packages/generic/a/1/f%C3%BC",
        ] {
            check_path(path, Ok(()));
        }
    }

    #[test]
    fn what_could_become_another_path_is_refused() {
        let generic = "/api/v4/projects/1/packages/generic";
        for (tail, reason) in [
            ("/a/../b", "has a '.' or '..' segment"),
            ("/a/./b", "has a '.' or '..' segment"),
            ("/a/%2e%2E/b", "has a '.' or '..' segment"),
            ("/a/.%2e", "has a '.' or '..' segment"),
            ("/a//b", "has an empty segment"),
            ("/a%2Fb/1", "has an encoded slash"),
            ("/@a%2F%2e%2e/1", "has a '.' or '..' segment"),
            ("/@a%2F%2Fb/1", "has an empty segment"),
            ("/a%5cb", "has a backslash"),
            ("/a%00b", "has a control character"),
            ("/a%0d%0aSet-Cookie:x", "has a control character"),
            ("/a%7f", "has a control character"),
            ("/a%ff", "is not valid UTF-8"),
            ("/a%2", "has an incomplete percent escape"),
            ("/a%zz", "has an incomplete percent escape"),
            ("/%252e%252e/b", "is encoded twice"),
            ("/a%252fb", "is encoded twice"),
        ] {
            check_path(&format!("{generic}{tail}"), Err(reason));
        }
        check_path("//api/v4/version", Err("has an empty segment"));
        check_path(
            "/api/v4/projects/acme%2F..%2Fdemo",
            Err("has a '.' or '..' segment"),
        );
        check_path("/api/v4/projects/acme%2F", Err("has an empty segment"));
        check_path("/api/v4/projects/1/packages%2Fnpm", Err("has an encoded slash"));
        check_path("no-slash", Err("does not begin with '/'"));
    }

    proptest! {
        #[test]
        fn a_path_that_passes_decodes_to_clean_segments(path in "(/[a%2eEfF5cC.0@\\\\]{0,8}){1,5}") {
            if check(&path).is_ok() {
                let decoded = percent_decode(path.as_bytes()).decode_utf8().unwrap();
                prop_assert!(decoded.split('/').all(|part| part != "." && part != ".."));
                prop_assert!(!decoded.contains('\\') && !decoded.chars().any(char::is_control));
                let again = percent_decode(decoded.as_bytes()).decode_utf8_lossy();
                prop_assert!(again.split('/').all(|part| part != ".."));
            }
        }
    }
}
