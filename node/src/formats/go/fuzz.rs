//! The parsers of Go's that are fuzzed.

use std::io::Cursor;

use super::names::{Asked, ModulePath, Version};
use super::{artifact, gomod};
#[cfg(test)]
use crate::fuzz::lines;
use crate::fuzz::{Target, text};

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "go_mod",
        read: |bytes| gomod::module_of(bytes).is_ok(),
        #[cfg(test)]
        seeds: || {
            vec![
                b"// c\nmodule git.acme.io/lib // x\n\ngo 1.21\n\nrequire (\n\ta.b/c v1.0.0\n)\n".into(),
                b"module (\n\t\"a.b/c\"\n)\n".into(),
            ]
        },
    },
    Target {
        name: "go_names",
        read: |bytes| text(bytes, names),
        #[cfg(test)]
        seeds: || {
            lines(
                "git.acme.io/Team/lib/v2\nv1.0.0-rc.1\nv0.0.0-20200101000000-abcdefabcdef\nv2.0.0+incompatible",
            )
        },
    },
    Target {
        name: "go_zip",
        read: |bytes| artifact::inspect(Cursor::new(bytes), &artifact::Limits::default()).is_ok(),
        #[cfg(test)]
        seeds: || vec![artifact::tests::module(artifact::tests::MODULE, "v1.0.0")],
    },
];

fn names(text: &str) -> bool {
    let path = text.parse::<ModulePath>();
    if let Ok(path) = &path {
        assert_eq!(path.as_str(), text);
    }
    let version = text.parse::<Version>();
    if let Ok(version) = &version {
        assert_eq!(version.to_string(), text);
        let _ = (version.rank(), version.commit());
    }
    path.is_ok() || version.is_ok() || text.parse::<Asked>().is_ok()
}
