//! Where a directory is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::oidc::is_this_machine;
use crate::registry::names::InvalidName;

/// The URL of a directory: `ldaps` or `ldap`, a host, perhaps a port, and no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DirectoryUrl {
    is_tls: bool,
    host: Host,
    port: u16,
}

impl DirectoryUrl {
    /// Whether it is spoken to by TLS from the beginning.
    pub(crate) fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Whether it is on this machine.
    pub(crate) fn is_here(&self) -> bool {
        is_this_machine(&self.host)
    }

    /// Whether the host has a name: what a certificate is checked against is one, or an IPv4 address.
    pub(crate) fn can_be_certified(&self) -> bool {
        !matches!(self.host, Host::Ipv6(_))
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The same place, by TLS from the beginning or not.
    pub(super) fn by_tls(&self, is_tls: bool) -> Self {
        Self {
            is_tls,
            ..self.clone()
        }
    }
}

impl FromStr for DirectoryUrl {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let wrong = |reason| InvalidName::new("URL of a directory", text, reason);
        let url = Url::parse(text).map_err(|_| wrong("is not a URL"))?;
        let (is_tls, default_port) = match url.scheme() {
            "ldaps" => (true, 636),
            "ldap" => (false, 389),
            _ => return Err(wrong("does not begin with ldaps:// or ldap://")),
        };
        let has_more = !matches!(url.path(), "" | "/")
            || url.query().is_some()
            || url.fragment().is_some()
            || !url.username().is_empty()
            || url.password().is_some();
        if has_more {
            return Err(wrong("has more than a host and a port"));
        }
        // For this scheme, the URL was read with an address as a name like any other.
        let host = url.host_str().and_then(|host| Host::parse(host).ok());
        Ok(Self {
            is_tls,
            host: host.ok_or_else(|| wrong("has no host"))?,
            port: url.port().unwrap_or(default_port),
        })
    }
}

impl fmt::Display for DirectoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "ldaps" } else { "ldap" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl TryFrom<String> for DirectoryUrl {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<DirectoryUrl> for String {
    fn from(url: DirectoryUrl) -> Self {
        url.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_at_a_host_and_a_port() {
        for (text, expected, is_here) in [
            ("ldaps://LDAP.example", "ldaps://ldap.example:636", false),
            ("ldap://ldap.example/", "ldap://ldap.example:389", false),
            ("ldap://127.0.0.1:3890", "ldap://127.0.0.1:3890", true),
            ("ldap://[::1]", "ldap://[::1]:389", true),
            ("ldap://localhost", "ldap://localhost:389", true),
            ("ldap://127.0.0.1.example", "ldap://127.0.0.1.example:389", false),
            ("ldap://10.1.2.3", "ldap://10.1.2.3:389", false),
        ] {
            let url: DirectoryUrl = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(url.to_string(), expected);
            assert_eq!(url.is_here(), is_here, "{text}");
            assert_eq!(url.to_string().parse::<DirectoryUrl>().unwrap(), url);
        }
        for text in [
            "",
            "ldap.example",
            "https://ldap.example",
            "ldapi:///run/ldap",
            "ldaps://",
            "ldap:ldap.example",
            "ldaps://ldap.example/dc=example",
            "ldaps://ldap.example?uid",
            "ldaps://ldap.example#x",
            "ldaps://cn=cairn@ldap.example",
            "ldaps://:secret@ldap.example",
            "ldaps://a b",
        ] {
            assert!(text.parse::<DirectoryUrl>().is_err(), "{text}");
        }
    }
}
