//! Where a request carries its credentials: one reader for every format.

use std::fmt;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use data_encoding::{BASE64, BASE64_NOPAD};

/// A derived token is the longest of them.
const MAX_SECRET_BYTES: usize = 16 << 10;

/// The headers that carry a token and nothing else.
pub(crate) const TOKEN_HEADERS: [HeaderName; 5] = [
    HeaderName::from_static("private-token"),
    HeaderName::from_static("job-token"),
    HeaderName::from_static("deploy-token"),
    HeaderName::from_static("x-nuget-apikey"),
    HeaderName::from_static("x-jfrog-art-api"),
];

/// Parameters of the query string that hold a token.
pub(crate) const TOKEN_PARAMETERS: [&str; 2] = ["private_token", "job_token"];

/// The credential of a request. Its secret is never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Presented {
    /// The username of Basic authentication.
    pub username: Option<String>,
    /// The token.
    pub secret: String,
}

/// Credentials that cannot be read; answered with 401, also where none are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCredentials {
    /// A header is not of the form that it should have.
    #[error("the credentials are malformed")]
    Malformed,
    /// Two that are not the same.
    #[error("two different credentials were sent")]
    Contradictory,
    /// A token in the query string, where that is switched off.
    #[error("a token in the query string is not accepted here; send it in a header")]
    InQuery,
}

/// Reads the credential of a request; none if there is none.
///
/// In order of precedence: `PRIVATE-TOKEN`, `JOB-TOKEN`, `DEPLOY-TOKEN`, `X-NuGet-ApiKey`,
/// `X-JFrog-Art-Api`, `Authorization` (Bearer, Basic, or the token alone as some clients send it), and the query
/// parameters that GitLab takes.
pub fn presented(
    headers: &HeaderMap,
    query: Option<&str>,
    allow_query: bool,
) -> Result<Option<Presented>, BadCredentials> {
    let mut found: Option<Presented> = None;
    for name in &TOKEN_HEADERS {
        for value in headers.get_all(name) {
            keep(&mut found, alone(text(value)?)?)?;
        }
    }
    for value in headers.get_all(AUTHORIZATION) {
        keep(&mut found, authorization(text(value)?)?)?;
    }
    for secret in query.into_iter().flat_map(query_tokens) {
        if !allow_query {
            return Err(BadCredentials::InQuery);
        }
        keep(&mut found, alone(&secret)?)?;
    }
    Ok(found)
}

fn keep(found: &mut Option<Presented>, next: Presented) -> Result<(), BadCredentials> {
    match found {
        Some(first) if first.secret != next.secret => Err(BadCredentials::Contradictory),
        Some(first) => {
            first.username = first.username.take().or(next.username);
            Ok(())
        }
        None => {
            *found = Some(next);
            Ok(())
        }
    }
}

fn text(value: &HeaderValue) -> Result<&str, BadCredentials> {
    // Names of users may be UTF-8 in Basic; tokens are ASCII.
    std::str::from_utf8(value.as_bytes()).map_err(|_| BadCredentials::Malformed)
}

fn alone(secret: &str) -> Result<Presented, BadCredentials> {
    let secret = secret.trim();
    let fits =
        (1..=MAX_SECRET_BYTES).contains(&secret.len()) && secret.bytes().all(|byte| byte.is_ascii_graphic());
    if !fits {
        return Err(BadCredentials::Malformed);
    }
    Ok(Presented {
        username: None,
        secret: secret.into(),
    })
}

fn authorization(value: &str) -> Result<Presented, BadCredentials> {
    let (scheme, rest) = value.trim().split_once(' ').unwrap_or(("", value));
    match scheme.to_ascii_lowercase().as_str() {
        "basic" => basic(rest.trim()),
        "bearer" | "token" | "" => alone(rest),
        _ => Err(BadCredentials::Malformed),
    }
}

fn basic(encoded: &str) -> Result<Presented, BadCredentials> {
    if encoded.len() > MAX_SECRET_BYTES {
        return Err(BadCredentials::Malformed);
    }
    let decoded = BASE64
        .decode(encoded.as_bytes())
        .or_else(|_| BASE64_NOPAD.decode(encoded.as_bytes()))
        .map_err(|_| BadCredentials::Malformed)?;
    let decoded = String::from_utf8(decoded).map_err(|_| BadCredentials::Malformed)?;
    let (username, password) = decoded.split_once(':').ok_or(BadCredentials::Malformed)?;
    // What is no token may be a password, and those may be any text.
    let secret = match alone(password) {
        Ok(token) => token.secret,
        Err(_) if password.is_empty() || password.chars().any(char::is_control) => {
            return Err(BadCredentials::Malformed);
        }
        Err(_) => password.into(),
    };
    Ok(Presented {
        username: Some(username.into()),
        secret,
    })
}

fn query_tokens(query: &str) -> Vec<String> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, _)| TOKEN_PARAMETERS.contains(name))
        .map(|(_, value)| {
            percent_encoding::percent_decode_str(value)
                .decode_utf8_lossy()
                .into_owned()
        })
        .collect()
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Presented({:?})", self.username)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(
        headers: &[(&str, &str)],
        query: Option<&str>,
        expected: Result<Option<(Option<&str>, &str)>, BadCredentials>,
    ) {
        let map = headers
            .iter()
            .map(|(name, value)| {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                (name, HeaderValue::from_bytes(value.as_bytes()).unwrap())
            })
            .collect();
        let expected = expected.map(|found| {
            found.map(|(username, secret)| Presented {
                username: username.map(String::from),
                secret: secret.into(),
            })
        });
        assert_eq!(presented(&map, query, true), expected);
    }

    fn encoded(pair: &str) -> String {
        format!("Basic {}", BASE64.encode(pair.as_bytes()))
    }

    #[test]
    fn every_form_is_read() {
        check(&[], None, Ok(None));
        check(&[("private-token", "t")], None, Ok(Some((None, "t"))));
        check(&[("job-token", "t")], None, Ok(Some((None, "t"))));
        check(&[("deploy-token", "t")], None, Ok(Some((None, "t"))));
        check(&[("x-nuget-apikey", "t")], None, Ok(Some((None, "t"))));
        check(&[("x-jfrog-art-api", "t")], None, Ok(Some((None, "t"))));
        check(&[("authorization", "Bearer t")], None, Ok(Some((None, "t"))));
        check(&[("authorization", "bearer  t ")], None, Ok(Some((None, "t"))));
        check(&[("authorization", "Token t")], None, Ok(Some((None, "t"))));
        check(&[("authorization", "t")], None, Ok(Some((None, "t"))));
        check(
            &[("authorization", &encoded("me:t"))],
            None,
            Ok(Some((Some("me"), "t"))),
        );
        check(
            &[("authorization", &encoded("m\u{fc}:t"))],
            None,
            Ok(Some((Some("m\u{fc}"), "t"))),
        );
        check(
            &[("authorization", "basic bTp0dA")],
            None,
            Ok(Some((Some("m"), "tt"))),
        );
        check(&[], Some("a=b&private_token=t%2D1"), Ok(Some((None, "t-1"))));
        check(&[], Some("job_token=t"), Ok(Some((None, "t"))));
        check(&[], Some("token=t&page=2"), Ok(None));
    }

    #[test]
    fn the_same_token_twice_is_one_and_two_are_refused() {
        check(
            &[("private-token", "t"), ("authorization", &encoded("me:t"))],
            None,
            Ok(Some((Some("me"), "t"))),
        );
        for (name, value) in [("authorization", "Bearer u"), ("deploy-token", "u")] {
            check(
                &[("private-token", "t"), (name, value)],
                None,
                Err(BadCredentials::Contradictory),
            );
        }
        check(
            &[("private-token", "t")],
            Some("private_token=u"),
            Err(BadCredentials::Contradictory),
        );
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let long = "x".repeat(MAX_SECRET_BYTES + 1);
        for value in [
            "Basic !!",
            "Basic bm9jb2xvbg==",
            "Digest a",
            "",
            &long,
            "Bearer \u{e9}",
        ] {
            check(&[("authorization", value)], None, Err(BadCredentials::Malformed));
        }
        check(
            &[("authorization", &encoded("me:"))],
            None,
            Err(BadCredentials::Malformed),
        );
        check(&[("private-token", "a b")], None, Err(BadCredentials::Malformed));
    }

    #[test]
    fn a_token_in_the_query_can_be_switched_off() {
        let read = presented(&HeaderMap::new(), Some("private_token=t"), false);
        assert_eq!(read, Err(BadCredentials::InQuery));
    }
}
