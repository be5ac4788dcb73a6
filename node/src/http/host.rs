//! Under which name a client reaches us, and from where: what links and logs are made from.
//!
//! A forged `Host` must not end up in links that others are given. With a configured external
//! URL, links are made from it and other hosts are refused; without one, links repeat the host
//! that the very client used. `X-Forwarded-*` counts only when a configured proxy sends it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use crate::http::error::{ApiError, ErrorKind};
use crate::http::settings::{HttpSettings, contains};

/// The URL of the host root, without a slash at its end: `https://cairn.example`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(Arc<str>);

impl BaseUrl {
    /// Scheme and authority, as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Host and port.
    pub fn authority(&self) -> &str {
        self.0
            .split_once("://")
            .map_or(&self.0, |(_, authority)| authority)
    }

    /// The host, without a port.
    pub fn host(&self) -> &str {
        let authority = self.authority();
        // The colons of an address in brackets are before their end.
        let port = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
        &authority[..port.unwrap_or(authority.len())]
    }
}

impl Default for BaseUrl {
    fn default() -> Self {
        Self("http://localhost".into())
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The address that a request comes from: of the client, not of a trusted proxy.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub IpAddr);

/// What the server knows of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// The other end; the client's, where a balancer that hands on bytes said so.
    pub peer: IpAddr,
    /// Whether it is encrypted.
    pub tls: bool,
}

/// The longest name that a host can have, with a port.
const MAX_AUTHORITY_BYTES: usize = 261;

/// Finds out the base URL and the client's address; refuses hosts that are not ours.
pub(crate) fn identify(
    settings: &HttpSettings,
    parts: &Parts,
) -> Result<(BaseUrl, Option<ClientAddress>), ApiError> {
    let connection = parts.extensions.get::<Connection>().copied();
    let proxied = connection.is_some_and(|connection| is_trusted(settings, connection.peer));
    let address = connection.map(|connection| {
        let forwarded = if proxied {
            forwarded_for(settings, &parts.headers)
        } else {
            None
        };
        ClientAddress(forwarded.unwrap_or(connection.peer).to_canonical())
    });

    let host = match forwarded(&parts.headers, "x-forwarded-host", proxied) {
        Some(host) => Some(host.to_owned()),
        None => requested_host(parts)?,
    };
    let host = host.map(|host| host.to_ascii_lowercase());
    if host.as_deref().is_some_and(|host| !is_authority(host)) {
        return Err(ApiError::bad_request("the Host header is not a host"));
    }
    if let Some(external) = &settings.external_url {
        let known = |host: &String| {
            host == external.authority()
                || settings
                    .allowed_hosts
                    .iter()
                    .any(|allowed| allowed.eq_ignore_ascii_case(host))
        };
        // Probes of load balancers come by address.
        let probe = parts.uri.path().starts_with("/-/");
        if !probe && !host.as_ref().is_some_and(known) {
            return Err(ApiError::new(
                ErrorKind::Misdirected,
                "this host is not served here",
            ));
        }
        return Ok((BaseUrl(external.to_string().into()), address));
    }
    let Some(host) = host else {
        return Ok((BaseUrl::default(), address));
    };
    let tls = match forwarded(&parts.headers, "x-forwarded-proto", proxied) {
        Some(scheme) => scheme.eq_ignore_ascii_case("https"),
        None => connection.is_some_and(|connection| connection.tls),
    };
    let scheme = if tls { "https" } else { "http" };
    Ok((BaseUrl(format!("{scheme}://{host}").into()), address))
}

fn is_trusted(settings: &HttpSettings, address: IpAddr) -> bool {
    contains(&settings.trusted_proxies, address)
}

/// The last address of `X-Forwarded-For` that is not a trusted proxy: whatever stands before
/// it could be forged.
fn forwarded_for(settings: &HttpSettings, headers: &HeaderMap) -> Option<IpAddr> {
    let lines: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    lines
        .iter()
        .flat_map(|line| line.split(','))
        .rev()
        .map_while(|text| text.trim().parse().ok())
        .find(|address| !is_trusted(settings, *address))
}

fn forwarded<'h>(headers: &'h HeaderMap, name: &str, proxied: bool) -> Option<&'h str> {
    let value = headers.get(name).filter(|_| proxied)?.to_str().ok()?;
    value
        .split(',')
        .next_back()
        .map(str::trim)
        .filter(|last| !last.is_empty())
}

/// The host of the request line (HTTP/2, and absolute targets) or of the one `Host` header.
fn requested_host(parts: &Parts) -> Result<Option<String>, ApiError> {
    if let Some(authority) = parts.uri.authority() {
        return Ok(Some(authority.as_str().into()));
    }
    let mut lines = parts.headers.get_all(header::HOST).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Ok(None),
        (Some(host), None) => match host.to_str() {
            Ok(host) => Ok(Some(host.into())),
            Err(_) => Err(ApiError::bad_request("the Host header is not a host")),
        },
        (Some(_), Some(_)) => Err(ApiError::bad_request("there are two Host headers")),
    }
}

/// Letters, digits, dots and hyphens, or an IPv6 address in brackets; then maybe a port.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, rest)) if address.parse::<std::net::Ipv6Addr>().is_ok() => {
                ("v6", rest.strip_prefix(':').or((rest.is_empty()).then_some("0")))
            }
            _ => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, Some("0")),
        },
    };
    let name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    text.len() <= MAX_AUTHORITY_BYTES
        && !host.is_empty()
        && host.bytes().all(name)
        && port
            .is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;
    use crate::http::settings::ExternalUrl;

    #[test]
    fn a_host_is_what_comes_before_its_port() {
        for (url, expected) in [
            ("https://cairn.example", "cairn.example"),
            ("https://cairn.example:8443", "cairn.example"),
            ("http://[::1]:80", "[::1]"),
            ("http://[::1]", "[::1]"),
        ] {
            assert_eq!(BaseUrl(url.into()).host(), expected);
        }
    }

    fn seen(settings: &HttpSettings, peer: &str, headers: &[(&str, &str)]) -> Result<(String, String), u16> {
        let mut request = Request::builder().uri("/api/v4/version");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let peer = peer.parse().unwrap();
        let (parts, ()) = request
            .extension(Connection { peer, tls: false })
            .body(())
            .unwrap()
            .into_parts();
        let (url, address) = identify(settings, &parts).map_err(|error| error.kind.status().as_u16())?;
        Ok((url.to_string(), address.unwrap().0.to_string()))
    }

    #[track_caller]
    fn check(found: Result<(String, String), u16>, expected: Result<(&str, &str), u16>) {
        assert_eq!(found, expected.map(|(url, address)| (url.into(), address.into())));
    }

    #[test]
    fn without_an_external_url_links_repeat_the_host() {
        let settings = HttpSettings::default();
        let client = "192.0.2.1";
        check(
            seen(&settings, client, &[("host", "Node1:8080")]),
            Ok(("http://node1:8080", client)),
        );
        check(
            seen(&settings, client, &[("host", "[::1]:8080")]),
            Ok(("http://[::1]:8080", client)),
        );
        check(seen(&settings, client, &[]), Ok(("http://localhost", client)));
        for bad in ["a b", "a/b", "a\"><script>", "a:b", "[::1", "a:99999", "", "x@y"] {
            check(seen(&settings, client, &[("host", bad)]), Err(400));
        }
        check(seen(&settings, client, &[("host", "a"), ("host", "b")]), Err(400));
    }

    #[test]
    fn with_an_external_url_other_hosts_are_refused() {
        let settings = HttpSettings {
            external_url: Some(ExternalUrl::of(&"https://cairn.example".parse().unwrap())),
            allowed_hosts: vec!["node1.internal:8080".into()],
            ..HttpSettings::default()
        };
        let client = "192.0.2.1";
        check(
            seen(&settings, client, &[("host", "cairn.example")]),
            Ok(("https://cairn.example", client)),
        );
        check(
            seen(&settings, client, &[("host", "node1.internal:8080")]),
            Ok(("https://cairn.example", client)),
        );
        check(seen(&settings, client, &[("host", "evil.example")]), Err(421));
        check(
            seen(
                &settings,
                client,
                &[("host", "cairn.example"), ("x-forwarded-host", "evil.example")],
            ),
            Ok(("https://cairn.example", client)),
        );
    }

    #[test]
    fn forwarded_headers_count_from_trusted_proxies_alone() {
        let settings = HttpSettings {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            ..HttpSettings::default()
        };
        let headers = [
            ("host", "inside"),
            ("x-forwarded-host", "cairn.example"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-for", "198.51.100.9, 203.0.113.5, 10.0.0.2"),
        ];
        check(
            seen(&settings, "10.0.0.1", &headers),
            Ok(("https://cairn.example", "203.0.113.5")),
        );
        check(
            seen(&settings, "192.0.2.1", &headers),
            Ok(("http://inside", "192.0.2.1")),
        );
    }
}
