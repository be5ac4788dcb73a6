//! The parsers of Maven's that are fuzzed.

use std::io::Cursor;

use super::jar;
use super::names::Target as Path;
use super::order::Order;
use crate::formats::xml;
#[cfg(test)]
use crate::fuzz::lines;
use crate::fuzz::{Target, text};

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "maven_jar",
        // Whatever is no archive is a library.
        read: |bytes| {
            jar::nature(Cursor::new(bytes));
            true
        },
        #[cfg(test)]
        seeds: || {
            let plugin = "<plugin><goalPrefix>p</goalPrefix><name>n</name></plugin>";
            vec![jar::tests::jar(&[("META-INF/maven/plugin.xml", plugin)])]
        },
    },
    Target {
        name: "maven_path",
        read: |bytes| text(bytes, path),
        #[cfg(test)]
        seeds: || {
            lines(
                "com/acme/app/1.0/app-1.0.jar\n\
                 com/acme/app/1.0-SNAPSHOT/app-1.0-20200101.000000-1-sources.jar.sha256\n\
                 com/acme/app/1.0-SNAPSHOT/maven-metadata.xml\n\
                 com/acme/app/maven-metadata.xml.md5\n\
                 com/acme/app/1.0/ivy-1.0.xml",
            )
        },
    },
    Target {
        name: "maven_version",
        read: |bytes| {
            text(bytes, |version| {
                // The order is kept as bytes; they may not outgrow what a key holds.
                Order::of(version).as_bytes().len() <= 16 * version.len() + 16
            })
        },
        #[cfg(test)]
        seeds: || lines("1.0\n1.0.0-alpha-1\n2.0.RELEASE\n1.0-20200101.000000-1\n1.0-rc1.sp.2"),
    },
    Target {
        name: "maven_xml",
        read: document,
        #[cfg(test)]
        seeds: || {
            vec![
                b"<?xml version=\"1.0\"?>\n<plugin><!-- c --><name>a &amp; b</name><x><![CDATA[<y>]]></x></plugin>".into(),
            ]
        },
    },
];

fn path(path: &str) -> bool {
    let read = path.parse::<Path>();
    if let Ok(read) = &read {
        assert!(!path.split('/').any(|segment| matches!(segment, "." | "..")));
        if let Path::File(coordinates) = read {
            assert_eq!(coordinates.to_string(), path);
        }
    }
    read.is_ok()
}

fn document(document: &[u8]) -> bool {
    let mut longest = 0;
    let read = xml::each_text(document, |path, text| {
        longest = longest.max(path.len() + text.len())
    });
    assert!(longest <= document.len());
    read.is_ok()
}
