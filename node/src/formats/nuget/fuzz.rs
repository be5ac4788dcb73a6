//! The parsers of NuGet's that are fuzzed.

use std::io::{self, Cursor};

use super::artifact::{self, Keep, LIMITS};
use super::names::{PackageId, Range, Version};
use super::nuspec::Nuspec;
use super::odata::{Query, Resource};
#[cfg(test)]
use crate::fuzz::lines;
use crate::fuzz::{Target, text};

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "nuget_filter",
        read: |bytes| {
            text(bytes, |query| {
                query.parse::<Resource>().is_ok() || Query::read(query).is_ok()
            })
        },
        #[cfg(test)]
        seeds: || {
            lines(
                "Packages(Id='Acme.Lib',Version='1.0.0')\n\
                 Search()/$count\n\
                 $filter=(tolower(Id)%20eq%20'a')%20and%20not%20IsPrerelease&$top=3&$orderby=Id\n\
                 searchTerm='it''s'&$filter=substringof('x',Tags)%20or%20Version%20gt%20'1.0'",
            )
        },
    },
    Target {
        name: "nuget_names",
        read: |bytes| text(bytes, names),
        #[cfg(test)]
        seeds: || lines("Acme.Lib-x\n1.0\n01.2.3.4-Beta.01+sha.5\n[1.0, 2.0)\n(,1.0]"),
    },
    Target {
        name: "nuget_nuspec",
        read: |bytes| Nuspec::read(bytes).is_ok(),
        #[cfg(test)]
        seeds: || {
            let more = super::registration::tests::RICH;
            vec![super::nuspec::tests::nuspec_with("Acme.Lib", "1.0.0-a.1", more).into()]
        },
    },
    Target {
        name: "nuget_package",
        read: |bytes| artifact::inspect(Cursor::new(bytes), &LIMITS).is_ok(),
        #[cfg(test)]
        seeds: || vec![artifact::tests::package_of("Acme.Lib", "1.0.0")],
    },
    Target {
        name: "nuget_symbols",
        read: |bytes| artifact::inspect_symbols(Cursor::new(bytes), &LIMITS, Nobody).is_ok(),
        #[cfg(test)]
        seeds: || vec![artifact::tests::symbols_of("Acme.Lib", "1.0.0", [7; 16])],
    },
];

fn names(text: &str) -> bool {
    let version = text.parse::<Version>();
    if let Ok(version) = &version {
        for form in [
            version.normalised(),
            version.full(),
            version.canonical(),
            version.in_urls(),
        ] {
            assert_eq!(form.parse::<Version>().as_ref(), Ok(version));
        }
    }
    let range = text.parse::<Range>();
    if let Ok(range) = &range {
        assert_eq!(range.to_string().parse::<Range>().as_ref(), Ok(range));
    }
    version.is_ok() || range.is_ok() || text.parse::<PackageId>().is_ok()
}

/// Lets go of PDBs.
struct Nobody;

impl Keep for Nobody {
    fn begin(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn piece(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self, known: Option<(String, String)>) -> io::Result<()> {
        let is_plain = |name: &str| !name.contains(['/', '\\', '\0']);
        assert!(known.is_none_or(|(pdb, signature)| is_plain(&pdb) && is_plain(&signature)));
        Ok(())
    }
}
