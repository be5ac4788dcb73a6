//! Issuers, as rules name them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::registry::names::InvalidName;

const MAX_ISSUER_BYTES: usize = 255;

/// Who says of a job what it is: the URL below which its keys are found, written as it writes it
/// into its tokens.
///
/// Invariant: 1 to 255 bytes; https elsewhere, or http on this machine; no user, query or fragment; a host
/// that can be asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Issuer(String);

impl Issuer {
    /// As it is written in tokens.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where it describes itself.
    pub(super) fn configuration_url(&self) -> String {
        format!(
            "{}/.well-known/openid-configuration",
            self.0.trim_end_matches('/')
        )
    }

    /// Whether it is on this machine: for trying out, and for tests.
    pub(super) fn is_here(&self) -> bool {
        self.url().is_ok_and(|url| is_here(&url))
    }

    fn url(&self) -> Result<Url, url::ParseError> {
        Url::parse(&self.0)
    }
}

/// Whether a URL is of this machine, whatever it is called in a network.
pub(super) fn is_here(url: &Url) -> bool {
    url.host().is_some_and(|host| is_this_machine(&host))
}

/// Whether a host is this machine, whatever it is called in a network.
pub(crate) fn is_this_machine<S: AsRef<str>>(host: &Host<S>) -> bool {
    match host {
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
        Host::Domain(name) => name.as_ref() == "localhost",
    }
}

/// Whether an address may be asked for keys. Addresses of this machine and of the link are never
/// those of an issuer, but of what believes everybody that comes from there: consoles without a
/// password, the metadata services of clouds.
pub(crate) fn may_be_asked(address: IpAddr) -> bool {
    let is_unfit = match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_loopback()
                || address.is_link_local()
                || address.is_unspecified()
                || address.is_broadcast()
                || address.is_multicast()
        }
        IpAddr::V6(address) => {
            address.is_loopback()
                || address.is_unicast_link_local()
                || address.is_unspecified()
                || address.is_multicast()
                // The metadata service of a large cloud, in the range for private networks.
                || address.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]
        }
    };
    !is_unfit
}

impl FromStr for Issuer {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let wrong = |reason| Err(InvalidName::new("issuer", text, reason));
        if text.len() > MAX_ISSUER_BYTES {
            return wrong("is longer than 255 bytes");
        }
        // What the parser would mend is not what the issuer writes.
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
            return wrong("has characters that do not belong into a URL");
        }
        let Ok(url) = Url::parse(text) else {
            return wrong("is not a URL");
        };
        match url.scheme() {
            "https" => {}
            "http" if is_here(&url) => {}
            _ => return wrong("does not begin with https://"),
        }
        let has_more = url.query().is_some() || url.fragment().is_some();
        if has_more || !url.username().is_empty() || url.password().is_some() {
            return wrong("has more than a host and a path");
        }
        let can_be_asked = match url.host() {
            Some(Host::Ipv4(address)) => may_be_asked(address.into()),
            Some(Host::Ipv6(address)) => may_be_asked(address.into()),
            Some(Host::Domain(_)) => !is_here(&url),
            None => false,
        };
        // Whoever may name every issuer with https must not reach what listens on this machine.
        let is_tried_out = url.scheme() == "http";
        if !can_be_asked && !is_tried_out {
            return wrong("is at an address that is never asked");
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for Issuer {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Issuer> for String {
    fn from(issuer: Issuer) -> Self {
        issuer.0
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_are_asked_by_https_and_on_this_machine_also_by_http() {
        for text in [
            "https://ci.example",
            "https://ci.example/",
            "https://ci.example:8443/oidc/team",
            "https://10.1.2.3",
            "http://127.0.0.1:9000",
            "http://[::1]:9000/x",
            "http://localhost:1",
        ] {
            let issuer: Issuer = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(issuer.to_string(), text);
        }
        for text in [
            "",
            "ci.example",
            "http://ci.example",
            "http://127.0.0.1.example",
            "ftp://ci.example",
            "https://user@ci.example",
            "https://user:secret@ci.example",
            "https://ci.example?x=1",
            "https://ci.example#x",
            "https://ci.example/a b",
            "https:\\\\ci.example",
            "https://127.0.0.1:9000",
            "https://[::1]:9000",
            "https://localhost:9000",
            "https://169.254.169.254",
            "https://[fe80::1]",
            "https://0.0.0.0",
            "https://[fd00:ec2::254]",
            &format!("https://ci.example/{}", "x".repeat(255)),
        ] {
            assert!(text.parse::<Issuer>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_issuer_describes_itself_below_its_path() {
        for (issuer, expected) in [
            (
                "https://ci.example",
                "https://ci.example/.well-known/openid-configuration",
            ),
            (
                "https://ci.example/",
                "https://ci.example/.well-known/openid-configuration",
            ),
            (
                "https://ci.example/a",
                "https://ci.example/a/.well-known/openid-configuration",
            ),
        ] {
            assert_eq!(issuer.parse::<Issuer>().unwrap().configuration_url(), expected);
        }
    }

    #[test]
    fn addresses_behind_which_everybody_is_believed_are_not_asked() {
        for (address, expected) in [
            ("192.0.2.1", true),
            ("10.0.0.1", true),
            ("2001:db8::1", true),
            ("127.0.0.1", false),
            ("::ffff:127.0.0.1", false),
            ("::1", false),
            ("169.254.169.254", false),
            ("fe80::1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("0.0.0.0", false),
        ] {
            assert_eq!(may_be_asked(address.parse().unwrap()), expected, "{address}");
        }
    }
}
