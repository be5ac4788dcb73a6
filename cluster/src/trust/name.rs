//! How a certificate names its node: one DNS name, `node-<id>.<cluster>.cairn.internal`.

use std::fmt;
use std::str::FromStr;

use rustls_pki_types::{CertificateDer, ServerName};
use x509_parser::extensions::GeneralName;

use crate::node_id::{ClusterId, NodeId};

const SUFFIX: &str = ".cairn.internal";

/// A node of a cluster, as certificates say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NodeName {
    pub(crate) node: NodeId,
    pub(crate) cluster: ClusterId,
}

impl NodeName {
    /// The name that a certificate carries. It says nothing of who signed it: whoever calls
    /// this has checked that, or only wants to explain a refusal.
    pub(crate) fn of_certificate(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let names = parsed.subject_alternative_name().ok()??;
        match names.value.general_names.as_slice() {
            [GeneralName::DNSName(name)] => name.parse().ok(),
            _ => None,
        }
    }

    pub(crate) fn server_name(&self) -> ServerName<'static> {
        ServerName::try_from(self.to_string()).expect("digits, letters, hyphens and dots are a DNS name")
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node-{}.{}{SUFFIX}", self.node, self.cluster)
    }
}

/// A name that no node of any cluster has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotANode;

impl FromStr for NodeName {
    type Err = NotANode;

    fn from_str(text: &str) -> Result<Self, NotANode> {
        let (node, cluster) = text
            .strip_suffix(SUFFIX)
            .and_then(|rest| rest.strip_prefix("node-"))
            .and_then(|rest| rest.split_once('.'))
            .ok_or(NotANode)?;
        Ok(Self {
            node: node.parse().map_err(|_| NotANode)?,
            cluster: cluster.parse().map_err(|_| NotANode)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::seams::Seams;

    #[test]
    fn names_read_as_they_are_written() {
        let name = NodeName {
            node: NodeId(7),
            cluster: ClusterId::random(&Seams::system()),
        };
        assert_eq!(name.to_string().parse(), Ok(name));
        let _ = name.server_name();
        for wrong in [
            name.to_string().replace("node-7", "node-07"),
            name.to_string().replace("node-7", "node-"),
            name.to_string().replace("internal", "external"),
            format!("x.{name}"),
            format!("{name}."),
        ] {
            assert_eq!(wrong.parse::<NodeName>(), Err(NotANode), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn foreign_certificates_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(NodeName::of_certificate(&CertificateDer::from(bytes)), None);
        }
    }
}
