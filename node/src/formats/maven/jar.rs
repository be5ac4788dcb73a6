//! What a JAR is besides a library: a plugin of Maven, or an archetype. Found while it passes by, by the descriptors
//! that Maven puts into it.
//!
//! A JAR that cannot be read is taken for a library: whoever publishes it need not know what is looked for here.

use std::io::Read;

use crate::archive::{self, Compressed, Refused, Visitor, small_file, walk_zip};
use crate::formats::xml;

/// Where the descriptor of a plugin is.
const PLUGIN: &str = "META-INF/maven/plugin.xml";

/// Where those of archetypes are: of today, and of a long time ago.
const ARCHETYPES: [&str; 3] = [
    "META-INF/maven/archetype-metadata.xml",
    "META-INF/maven/archetype.xml",
    "META-INF/archetype.xml",
];

/// The largest descriptor that is read: those of plugins hold all their documentation.
const MAX_DESCRIPTOR_BYTES: u64 = 16 << 20;

/// How far is looked: what is a plugin or an archetype is not large.
const LIMITS: archive::Limits = archive::Limits {
    unpacked_bytes: 128 << 20,
    ratio: 200,
    ratio_from_bytes: 16 << 20,
    entries: 20_000,
    path_bytes: 4096,
    folders: 128,
};

/// What a JAR is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Nature {
    /// Nothing else.
    #[default]
    Library,
    /// A plugin, whose goals are called by a prefix.
    Plugin { prefix: String, name: Option<String> },
    /// What new projects are made from.
    Archetype,
}

/// Why the walk ends.
enum Stop {
    Found(Nature),
    Refused,
}

impl From<Refused> for Stop {
    fn from(_: Refused) -> Self {
        Self::Refused
    }
}

struct Look;

impl Visitor for Look {
    type Error = Stop;

    fn file(&mut self, path: &str, _: u64, content: &mut dyn Read) -> Result<(), Stop> {
        if path == PLUGIN {
            let descriptor = small_file(path, content, MAX_DESCRIPTOR_BYTES)?;
            return Err(plugin(&descriptor).map_or(Stop::Refused, Stop::Found));
        }
        match ARCHETYPES.contains(&path) {
            true => Err(Stop::Found(Nature::Archetype)),
            false => Ok(()),
        }
    }

    fn link(&mut self, _: &str) -> Result<(), Stop> {
        Err(Stop::Refused)
    }
}

/// Looks into a JAR until it is known what it is.
pub(super) fn nature(source: impl Compressed) -> Nature {
    match walk_zip(source, &LIMITS, &mut Look) {
        Err(Stop::Found(nature)) => nature,
        Err(Stop::Refused) | Ok(()) => Nature::Library,
    }
}

/// Reads the descriptor of a plugin.
fn plugin(descriptor: &[u8]) -> Option<Nature> {
    let (mut prefix, mut name) = (None, None);
    let mut look = |path: &str, text: &str| match path {
        "plugin/goalPrefix" => prefix = Some(text.to_owned()),
        "plugin/name" => name = Some(text.to_owned()),
        _ => {}
    };
    xml::each_text(descriptor, &mut look).ok()?;
    let is_plain = |text: &String| text.len() <= 255 && !text.chars().any(char::is_control);
    let prefix = prefix.filter(is_plain)?;
    let name = name.filter(is_plain);
    Some(Nature::Plugin { prefix, name })
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::archive::zip_tests::Builder;

    /// A JAR with these files.
    pub(in crate::formats::maven) fn jar(files: &[(&str, &str)]) -> Vec<u8> {
        let stored = |jar: Builder, (path, text): &(&str, &str)| jar.stored(path, text);
        files.iter().fold(Builder::default(), stored).end()
    }

    /// The descriptor of a plugin.
    pub(in crate::formats::maven) fn descriptor(prefix: &str, name: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?><plugin><name>{name}</name><goalPrefix>{prefix}</goalPrefix></plugin>"
        )
    }

    fn nature_of(files: &[(&str, &str)]) -> Nature {
        nature(Cursor::new(jar(files).as_slice()))
    }

    #[test]
    fn plugins_and_archetypes_are_told_apart_from_libraries() {
        let manifest = ("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n");
        assert_eq!(nature_of(&[manifest, ("a/B.class", "x")]), Nature::Library);
        assert_eq!(
            nature_of(&[manifest, (PLUGIN, &descriptor("hello", "Hello &amp; more"))]),
            Nature::Plugin {
                prefix: "hello".into(),
                name: Some("Hello & more".into()),
            }
        );
        for path in ARCHETYPES {
            assert_eq!(
                nature_of(&[manifest, (path, "<x/>")]),
                Nature::Archetype,
                "{path}"
            );
        }
        for broken in [
            "",
            "<plugin>",
            "<plugin><goalPrefix/></plugin>",
            "<!DOCTYPE a><plugin/>",
        ] {
            assert_eq!(nature_of(&[(PLUGIN, broken)]), Nature::Library, "{broken}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_nature(bytes in prop::collection::vec(any::<u8>(), 0..400), cut in 0usize..400) {
            nature(Cursor::new(bytes.as_slice()));
            let whole = jar(&[(PLUGIN, &descriptor("p", "n"))]);
            nature(Cursor::new(&whole[..cut.min(whole.len())]));
        }
    }
}
