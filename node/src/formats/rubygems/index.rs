//! The lines of the compact index, which Bundler and newer versions of `gem` read.
//!
//! ```text
//! /info/NAME  ---
//!             VERSION[-PLATFORM] dependency:clause&clause,…|checksum:…[,ruby:…][,rubygems:…],created_at:…
//! /versions   created_at: …
//!             ---
//!             NAME [-]VERSION[-PLATFORM] MD5 of /info/NAME
//! ```
//!
//! Both are read to their ends only once by a client, which then asks for what was added. So the
//! lines of `/info/NAME` stand in the order of their publication, and `/versions` has a line for
//! every change. The MD5 of a document that only gets longer is taken further from a stored state:
//! a publish hashes one line, however many there are.

use cairn_cluster::Timestamp;
use data_encoding::HEXLOWER;
use md5::digest::common::hazmat::{SerializableState, SerializedState};
use md5::{Digest, Md5};

use super::gemspec::Spec;
use super::names::{Requirement, numbered};
use crate::registry::time::iso_seconds;

/// What lists of names and of versions begin with.
pub(super) const HEAD: &str = "---\n";

/// The line of a version in the document about its gem, without its end.
pub(super) fn info_line(spec: &Spec, sha256: &str, published_at: Timestamp) -> String {
    let dependencies: Vec<String> = spec
        .runtime_dependencies()
        .iter()
        .map(|needed| format!("{}:{}", needed.name, needed.requirement.joined("&")))
        .collect();
    let mut line = format!(
        "{} {}|checksum:{sha256}",
        numbered(&spec.version, &spec.platform),
        dependencies.join(",")
    );
    let mut require = |what: &str, requirement: &Requirement| {
        if !requirement.is_any() {
            line.push_str(&format!(",{what}:{}", requirement.joined("&")));
        }
    };
    require("ruby", &spec.required_ruby);
    require("rubygems", &spec.required_rubygems);
    line.push_str(&format!(",created_at:{}", iso_seconds(published_at)));
    line
}

/// What a version needs to run, as its line in the document about its gem says: names, with clauses between commas.
pub(super) fn needs_in(line: &str) -> Vec<(&str, String)> {
    let (_, rest) = line.split_once(' ').unwrap_or_default();
    let (needs, _) = rest.split_once('|').unwrap_or_default();
    let needs = needs.split(',').filter_map(|need| need.split_once(':'));
    needs
        .map(|(name, clauses)| (name, clauses.replace('&', ", ")))
        .collect()
}

/// What `/versions` begins with.
pub(super) fn versions_head(created_at: Timestamp) -> String {
    format!("created_at: {}\n{HEAD}", iso_seconds(created_at))
}

/// The line of a change in `/versions`, without its end.
pub(super) fn change_line(name: &str, numbered: &str, is_there: bool, info_md5: &str) -> String {
    let sign = if is_there { "" } else { "-" };
    format!("{name} {sign}{numbered} {info_md5}")
}

/// The digest of a document about a gem, up to its last line.
#[derive(Clone)]
pub(super) struct InfoDigest(Md5);

impl InfoDigest {
    /// Of one without lines.
    pub(super) fn new() -> Self {
        Self(Md5::new_with_prefix(HEAD))
    }

    /// Goes on from what was stored; none if that was written by another version of the library.
    pub(super) fn resume(stored: &[u8]) -> Option<Self> {
        let state = SerializedState::<Md5>::try_from(stored).ok()?;
        Md5::deserialize(&state).ok().map(Self)
    }

    /// To be stored.
    pub(super) fn state(&self) -> Vec<u8> {
        self.0.serialize().to_vec()
    }

    /// Adds a line.
    pub(super) fn push(&mut self, line: &str) {
        self.0.update(line);
        self.0.update("\n");
    }

    /// In hexadecimal digits.
    pub(super) fn hex(&self) -> String {
        HEXLOWER.encode(&self.0.clone().finalize())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::formats::rubygems::gemspec::tests::yaml;
    use crate::testing::check_golden;

    fn line(platform: &str, dependencies: &[(&str, &str)]) -> String {
        let spec = Spec::read(yaml("acme", "1.0.0", platform, dependencies).as_bytes()).unwrap();
        info_line(&spec, "ab12", Timestamp(1_782_907_200_123))
    }

    #[test]
    fn lines_say_what_a_version_needs() {
        let check = |line: &str, expected: &[(&str, &str)]| {
            let found = needs_in(line);
            let found: Vec<_> = found.iter().map(|(name, clauses)| (*name, &**clauses)).collect();
            assert_eq!(found, expected, "{line}");
        };
        check(
            &line("java", &[("rack", "< 3, >= 1"), ("a-b.c_d", "= 2.0")]),
            &[("a-b.c_d", "= 2.0"), ("rack", "< 3, >= 1")],
        );
        check(&line("ruby", &[]), &[]);
    }

    #[test]
    fn lines_are_as_bundler_reads_them() {
        assert_eq!(
            line("ruby", &[]),
            "1.0.0 |checksum:ab12,ruby:>= 2.7,created_at:2026-07-01T12:00:00Z"
        );
        assert_eq!(
            line("x86_64-linux", &[("zeta", ">= 1.0, < 3"), ("alpha", "= 2.0")]),
            "1.0.0-x86_64-linux alpha:= 2.0,zeta:< 3&>= 1.0|checksum:ab12,ruby:>= 2.7,created_at:2026-07-01T12:00:00Z"
        );
        assert_eq!(
            change_line("acme", "1.0.0-java", true, "ff"),
            "acme 1.0.0-java ff"
        );
        assert_eq!(change_line("acme", "1.0.0", false, "ff"), "acme -1.0.0 ff");
        assert_eq!(
            versions_head(Timestamp(0)),
            "created_at: 1970-01-01T00:00:00Z\n---\n"
        );
    }

    #[test]
    fn a_document_is_what_bundler_reads() {
        let yaml = include_str!("testdata/acme_foo.yaml");
        let lines = ["platform: ruby", "platform: x86_64-linux"].map(|platform| {
            let spec = Spec::read(yaml.replace("platform: ruby", platform).as_bytes()).unwrap();
            format!(
                "{}\n",
                info_line(&spec, &"a1".repeat(32), Timestamp(1_782_907_200_123))
            )
        });
        check_golden("rubygems", "info", format!("{HEAD}{}", lines.concat()).as_bytes());
    }

    #[test]
    fn the_digest_of_no_lines_is_that_of_the_head() {
        assert_eq!(InfoDigest::new().hex(), HEXLOWER.encode(&Md5::digest(HEAD)));
        assert!(InfoDigest::resume(b"other").is_none());
    }

    proptest! {
        #[test]
        fn a_digest_goes_on_from_what_was_stored(lines in prop::collection::vec("[ -~]{0,90}", 0..6)) {
            let (mut digest, mut document) = (InfoDigest::new(), HEAD.to_owned());
            for line in &lines {
                digest = InfoDigest::resume(&digest.state()).unwrap();
                digest.push(line);
                document += &format!("{line}\n");
            }
            prop_assert_eq!(digest.hex(), HEXLOWER.encode(&Md5::digest(&document)));
        }
    }
}
