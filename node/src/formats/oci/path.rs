//! How a path under `/v2/` divides into a repository and an endpoint, and what else requests
//! say in text: pages, chunk ranges, links.
//!
//! Repository names contain slashes and may contain the words of the endpoints, so a path is
//! read from its right end, where every endpoint has a known number of components. All of it
//! is pure.

use percent_encoding::percent_decode_str;

use super::names::{Digest, NameError, Reference, RepositoryName};

/// The most items of one page of a list, also when a client asks for more or for all.
pub(super) const MAX_PAGE: usize = 1000;

/// What a request under `/v2/` is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// `/v2/`: does this host speak the protocol, and am I signed in?
    Base,
    /// `/v2/_catalog`.
    Catalog,
    /// `/v2/<name>/…`.
    Repository(RepositoryName, Resource),
}

/// What in a repository a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    /// `manifests/<reference>`. The reference is judged by whoever acts on it: a malformed tag
    /// is unknown to a reader and invalid to a writer.
    Manifest(Result<Reference, NameError>),
    /// `blobs/<digest>`.
    Blob(Digest),
    /// `blobs/uploads/`.
    Uploads,
    /// `blobs/uploads/<id>`.
    Upload(String),
    /// `tags/list`.
    Tags,
    /// `referrers/<digest>`.
    Referrers(Digest),
}

/// A path that is not one of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PathError {
    /// Nothing is served there.
    #[error("there is no such endpoint under /v2/")]
    Unknown,
    /// A component is not text once it is decoded.
    #[error("the path is not UTF-8 once it is decoded")]
    Encoding,
    /// A name in the path is malformed.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl Endpoint {
    /// Reads the raw, still encoded path of a request, from `/v2` on.
    pub(super) fn parse(raw_path: &str) -> Result<Self, PathError> {
        let rest = match raw_path.strip_prefix("/v2") {
            Some("" | "/") => return Ok(Self::Base),
            Some(rest) => rest.strip_prefix('/').ok_or(PathError::Unknown)?,
            None => return Err(PathError::Unknown),
        };
        // Divided before it is decoded: an encoded slash stays inside its component, where no
        // name may have one.
        let components = rest
            .split('/')
            .map(|component| percent_decode_str(component).decode_utf8())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| PathError::Encoding)?;
        let components: Vec<&str> = components.iter().map(AsRef::as_ref).collect();
        let (name, resource) = match components.as_slice() {
            ["_catalog"] => return Ok(Self::Catalog),
            [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", ""] => {
                (name, Resource::Uploads)
            }
            [name @ .., "blobs", "uploads", id] => (name, Resource::Upload((*id).to_owned())),
            [name @ .., "tags", "list"] => (name, Resource::Tags),
            [name @ .., "manifests", reference] => (name, Resource::Manifest(reference.parse())),
            [name @ .., "blobs", digest] => (name, Resource::Blob(digest.parse()?)),
            [name @ .., "referrers", digest] => (name, Resource::Referrers(digest.parse()?)),
            _ => return Err(PathError::Unknown),
        };
        Ok(Self::Repository(RepositoryName::from_components(name)?, resource))
    }
}

/// The path of an endpoint of a repository, as `Location` and `Link` give it: from the host's
/// root, so that no proxy in between can make scheme, host or port wrong.
pub(super) fn repository_path(name: &RepositoryName, tail: &str) -> String {
    format!("/v2/{name}/{tail}")
}

/// The fields of a query string or form, decoded.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(raw: Option<&str>) -> Self {
        let fields = form_urlencoded::parse(raw.unwrap_or_default().as_bytes());
        Self(fields.into_owned().collect())
    }

    /// The first field of this name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let field = self.0.iter().find(|(key, _)| key == name);
        field.map(|(_, value)| value.as_str())
    }

    /// Every field of this name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let fields = self.0.iter().filter(move |(key, _)| key == name);
        fields.map(|(_, value)| value.as_str())
    }
}

/// Which page of a list is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// At most this many items.
    pub(super) limit: usize,
    /// Only items past this one.
    pub(super) last: Option<String>,
}

/// `n` is not a number of items.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the number of items, n, is not a natural number")]
pub(super) struct PageError;

impl Page {
    /// Reads `n` and `last`.
    pub(super) fn parse(query: &Query) -> Result<Self, PageError> {
        let limit = match query.get("n") {
            None => MAX_PAGE,
            // A number past the type is past the limit too.
            Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().unwrap_or(MAX_PAGE).min(MAX_PAGE)
            }
            Some(_) => return Err(PageError),
        };
        Ok(Self {
            limit,
            last: query
                .get("last")
                .filter(|last| !last.is_empty())
                .map(str::to_owned),
        })
    }

    /// The value of a `Link` header that leads to the page past `last`.
    pub(super) fn link(&self, path: &str, last: &str, further: &[(&str, &str)]) -> String {
        let mut fields = form_urlencoded::Serializer::new(String::new());
        fields.append_pair("n", &self.limit.to_string());
        fields.append_pair("last", last);
        fields.extend_pairs(further);
        format!("<{path}?{}>; rel=\"next\"", fields.finish())
    }
}

/// The bytes that a chunk claims to be: `Content-Range: 0-1023`, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkRange {
    pub(super) start: u64,
    pub(super) end: u64,
}

/// A `Content-Range` that is not a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the content range is not FIRST-LAST with FIRST not past LAST")]
pub(super) struct RangeError;

impl ChunkRange {
    /// How many bytes the chunk has.
    pub(super) fn len(&self) -> u64 {
        self.end - self.start + 1
    }
}

impl std::str::FromStr for ChunkRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let number = |digits: &str| {
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| digits.parse::<u64>().ok()).flatten()
        };
        let (start, end) = text.split_once('-').ok_or(RangeError)?;
        let (start, end) = (number(start).ok_or(RangeError)?, number(end).ok_or(RangeError)?);
        // The last byte of all cannot be named, so that the length always fits.
        if start <= end && end < u64::MAX {
            Ok(Self { start, end })
        } else {
            Err(RangeError)
        }
    }
}

/// Whether a `Range` ends before it begins, as in `bytes=500-0`. Of blobs no such part can be
/// given, so clients are told rather than sent the whole.
pub(super) fn is_backward_range(range: &str) -> bool {
    let bounds = range
        .strip_prefix("bytes=")
        .and_then(|bounds| bounds.split_once('-'));
    let number = |text: &str| text.trim().parse::<u64>().ok();
    bounds.is_some_and(|(first, last)| {
        number(first)
            .zip(number(last))
            .is_some_and(|(first, last)| last < first)
    })
}

/// What an upload has received, as `Range` tells it. Nothing and one byte look alike: the
/// protocol has no way to say that there is nothing.
pub(super) fn received_range(size_bytes: u64) -> String {
    format!("0-{}", size_bytes.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> RepositoryName {
        text.parse().unwrap()
    }

    fn digest() -> Digest {
        Digest::Sha256([0xab; 32])
    }

    fn tag(text: &str) -> Resource {
        Resource::Manifest(Ok(Reference::Tag(text.parse().unwrap())))
    }

    #[test]
    fn paths_divide_from_the_right() {
        let check = |path: &str, repository: &str, resource: Resource| {
            assert_eq!(
                Endpoint::parse(path),
                Ok(Endpoint::Repository(name(repository), resource)),
                "{path}"
            );
        };
        let hex = "ab".repeat(32);
        check("/v2/a/manifests/latest", "a", tag("latest"));
        check("/v2/a/b/c/manifests/1.0", "a/b/c", tag("1.0"));
        check("/v2/a/tags/list", "a", Resource::Tags);
        check("/v2/a/tags/list/tags/list", "a/tags/list", Resource::Tags);
        check("/v2/a/manifests/manifests/tags", "a/manifests", tag("tags"));
        check("/v2/a/tags/list/manifests/list", "a/tags/list", tag("list"));
        check("/v2/blobs/uploads/manifests/v1", "blobs/uploads", tag("v1"));
        check(
            &format!("/v2/a/blobs/sha256:{hex}"),
            "a",
            Resource::Blob(digest()),
        );
        check(
            &format!("/v2/a/blobs/sha256%3A{hex}"),
            "a",
            Resource::Blob(digest()),
        );
        check(
            &format!("/v2/manifests/blobs/sha256:{hex}"),
            "manifests",
            Resource::Blob(digest()),
        );
        check(
            &format!("/v2/a/referrers/sha256:{hex}"),
            "a",
            Resource::Referrers(digest()),
        );
        check("/v2/a/blobs/uploads/", "a", Resource::Uploads);
        check("/v2/a/blobs/uploads", "a", Resource::Uploads);
        check("/v2/a/blobs/blobs/uploads/", "a/blobs", Resource::Uploads);
        check("/v2/a/blobs/uploads/x.y", "a", Resource::Upload("x.y".into()));
        check("/v2/a/blobs/uploads/list", "a", Resource::Upload("list".into()));
        check(
            &format!("/v2/a/manifests/sha256:{hex}"),
            "a",
            Resource::Manifest(Ok(Reference::Digest(digest()))),
        );
        assert_eq!(Endpoint::parse("/v2/"), Ok(Endpoint::Base));
        assert_eq!(Endpoint::parse("/v2"), Ok(Endpoint::Base));
        assert_eq!(Endpoint::parse("/v2/_catalog"), Ok(Endpoint::Catalog));
    }

    #[test]
    fn other_paths_are_refused() {
        use PathError::{Encoding, Name, Unknown};
        let check = |path: &str, is_expected: fn(&PathError) -> bool| {
            let error = Endpoint::parse(path).expect_err(path);
            assert!(is_expected(&error), "{path}: {error:?}");
        };
        check("/v2x", |error| matches!(error, Unknown));
        check("/v2/a", |error| matches!(error, Unknown));
        check("/v2/a/manifests", |error| matches!(error, Unknown));
        check("/v2/a/tags/other", |error| matches!(error, Unknown));
        check("/v2/a/unknown/b", |error| matches!(error, Unknown));
        check("/v2/a/manifests/%ff", |error| matches!(error, Encoding));
        check("/v2/manifests/latest", |error| {
            matches!(error, Name(NameError::Repository(_)))
        });
        check("/v2//manifests/latest", |error| {
            matches!(error, Name(NameError::Repository(_)))
        });
        check("/v2/A/manifests/latest", |error| {
            matches!(error, Name(NameError::Repository(_)))
        });
        check("/v2/a%2Fb/manifests/latest", |error| {
            matches!(error, Name(NameError::Repository(_)))
        });
        check("/v2/a/../b/tags/list", |error| {
            matches!(error, Name(NameError::Repository(_)))
        });
        check("/v2/a%00/tags/list", |error| {
            matches!(error, Name(NameError::Repository(_)))
        });
        check("/v2/a/blobs/sha256:baddigest", |error| {
            matches!(error, Name(NameError::Digest(_)))
        });
        check("/v2/a/referrers/latest", |error| {
            matches!(error, Name(NameError::Digest(_)))
        });
    }

    #[test]
    fn a_malformed_reference_is_left_to_its_reader() {
        let check = |path: &str| match Endpoint::parse(path) {
            Ok(Endpoint::Repository(_, Resource::Manifest(reference))) => reference.unwrap_err(),
            other => panic!("{path}: {other:?}"),
        };
        assert!(matches!(check("/v2/a/manifests/.x"), NameError::Tag(_)));
        assert!(matches!(check("/v2/a/manifests/a%2Fb"), NameError::Tag(_)));
        assert!(matches!(check("/v2/a/manifests/sha256:x"), NameError::Digest(_)));
    }

    #[test]
    fn queries_are_decoded() {
        let query = Query::parse(Some(
            "digest=sha256%3Aab&from=a%2Fb&tag=x&tag=y&empty&plus=a+b&&odd=%zz",
        ));
        assert_eq!(query.get("digest"), Some("sha256:ab"));
        assert_eq!(query.get("from"), Some("a/b"));
        assert_eq!(query.all("tag").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(query.get("empty"), Some(""));
        assert_eq!(query.get("plus"), Some("a b"));
        assert_eq!(query.get("odd"), Some("%zz"));
        assert_eq!(query.get("absent"), None);
        assert_eq!(Query::parse(None).get("x"), None);
    }

    #[test]
    fn pages_are_bounded() {
        let page = |query: &str| Page::parse(&Query::parse(Some(query)));
        let limit = |query: &str| page(query).map(|page| page.limit);
        assert_eq!(limit(""), Ok(MAX_PAGE));
        assert_eq!(limit("n=0"), Ok(0));
        assert_eq!(limit("n=7"), Ok(7));
        assert_eq!(limit("n=2147483648"), Ok(MAX_PAGE));
        assert_eq!(limit("n=99999999999999999999999"), Ok(MAX_PAGE));
        for bad in ["n=", "n=-1", "n=x", "n=+1", "n=1.5", "n=%00"] {
            assert_eq!(limit(bad), Err(PageError), "{bad}");
        }
        assert_eq!(page("last=b").unwrap().last.as_deref(), Some("b"));
        assert_eq!(page("last=").unwrap().last, None);
    }

    #[test]
    fn links_keep_what_the_next_page_needs() {
        let page = Page { limit: 2, last: None };
        assert_eq!(
            page.link("/v2/a/tags/list", "v1", &[]),
            "</v2/a/tags/list?n=2&last=v1>; rel=\"next\""
        );
        assert_eq!(
            page.link(
                "/v2/a/referrers/x",
                "sha256:ab",
                &[("artifactType", "application/x+json")]
            ),
            "</v2/a/referrers/x?n=2&last=sha256%3Aab&artifactType=application%2Fx%2Bjson>; rel=\"next\""
        );
    }

    #[test]
    fn chunk_ranges() {
        let parse = |text: &str| text.parse::<ChunkRange>();
        assert_eq!(parse("0-0"), Ok(ChunkRange { start: 0, end: 0 }));
        assert_eq!(parse("10-19").map(|range| range.len()), Ok(10));
        let bad = [
            "",
            "-",
            "5",
            "5-",
            "-5",
            "5-4",
            "a-b",
            "0-+1",
            "bytes 0-1",
            "0-1/2",
            " 0-1",
            "0-18446744073709551615",
            "0-99999999999999999999",
        ];
        for text in bad {
            assert_eq!(parse(text), Err(RangeError), "{text:?}");
        }
    }

    #[test]
    fn backward_ranges_are_told_from_others() {
        assert!(is_backward_range("bytes=500-0"));
        for other in [
            "bytes=0-500",
            "bytes=5-5",
            "bytes=500-",
            "bytes=-500",
            "bytes=9-5,1-2",
            "lines=5-0",
            "",
        ] {
            assert!(!is_backward_range(other), "{other}");
        }
    }

    #[test]
    fn what_was_received_is_told_by_its_last_byte() {
        assert_eq!(received_range(0), "0-0");
        assert_eq!(received_range(1), "0-0");
        assert_eq!(received_range(512), "0-511");
    }

    proptest! {
        #[test]
        fn foreign_paths_never_panic(path in "/v2(/[a-z%./:A-Z0-9 ]{0,12}){0,6}") {
            let _ = Endpoint::parse(&path);
        }

        #[test]
        fn every_well_formed_path_finds_its_name(
            components in prop::collection::vec("manifests|blobs|tags|referrers|uploads|list|a|b-c", 1..6),
        ) {
            let repository = components.join("/");
            for tail in ["manifests/latest", "tags/list", "blobs/uploads/", "blobs/uploads/x"] {
                let parsed = Endpoint::parse(&format!("/v2/{repository}/{tail}"));
                match parsed {
                    Ok(Endpoint::Repository(found, _)) => prop_assert_eq!(found.as_str(), repository.as_str()),
                    other => prop_assert!(false, "{repository}/{tail}: {other:?}"),
                }
            }
        }
    }
}
