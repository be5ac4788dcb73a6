//! The parsers of what strangers send, as targets of fuzzing.
//!
//! Each format lists its own. A fuzzer runs them by the programs in `node/fuzz`, see `ops/fuzz`; and
//! with every test run each reads well-formed input and what comes of it by a few random damages.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::formats;
use crate::http;

/// A parser.
pub struct Target {
    /// As its program is called.
    pub name: &'static str,
    /// Reads these bytes and says whether they were accepted. Panics if it accepts what it should
    /// not, or shows what it has read as something else.
    pub read: fn(&[u8]) -> bool,
    /// What is accepted, for a fuzzer to begin with.
    #[cfg(test)]
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub fn targets() -> impl Iterator<Item = &'static Target> {
    let formats = formats::FUZZ_TARGETS.iter().copied();
    [http::fuzz::TARGETS].into_iter().chain(formats).flatten()
}

/// Has the target of this name read `bytes`.
pub fn run(name: &str, bytes: &[u8]) {
    let mut targets = targets();
    let target = targets
        .find(|target| target.name == name)
        .expect("there is such a target");
    (target.read)(bytes);
}

/// Reads text; what is not UTF-8 is not accepted.
pub(crate) fn text(bytes: &[u8], read: impl FnOnce(&str) -> bool) -> bool {
    std::str::from_utf8(bytes).is_ok_and(read)
}

/// Compressed as archives are. A fuzzer changes what is inside: of a changed compressed stream only
/// the checksum would be looked at.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// The inverse of [`gzip`].
#[cfg(test)]
pub(crate) fn gunzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Read;

    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes)
        .read_to_end(&mut plain)
        .unwrap();
    plain
}

/// The lines of `text`, each an input of its own.
#[cfg(test)]
pub(crate) fn lines(text: &str) -> Vec<Vec<u8>> {
    text.lines().map(|line| line.trim().into()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;

    use super::*;

    /// Where seeds are to be written, for a fuzzer to begin with.
    const SEEDS: &str = "CAIRN_FUZZ_SEEDS";

    #[test]
    fn what_is_well_formed_is_accepted() {
        for target in targets() {
            let seeds = (target.seeds)();
            assert!(!seeds.is_empty(), "{}", target.name);
            for (number, seed) in seeds.iter().enumerate() {
                let shown = String::from_utf8_lossy(seed);
                assert!((target.read)(seed), "{} {number}: {shown:.200}", target.name);
                if let Ok(folder) = std::env::var(SEEDS) {
                    let folder = Path::new(&folder).join(target.name);
                    fs::create_dir_all(&folder).unwrap();
                    fs::write(folder.join(format!("seed-{number}")), seed).unwrap();
                }
            }
        }
    }

    #[test]
    fn what_is_damaged_makes_no_parser_panic() {
        for target in targets() {
            let seeds = (target.seeds)();
            let outcome =
                TestRunner::default().run(&(any::<prop::sample::Index>(), damages()), |(seed, damages)| {
                    let mut bytes = seeds[seed.index(seeds.len())].clone();
                    for damage in &damages {
                        damage.apply(&mut bytes);
                    }
                    (target.read)(&bytes);
                    Ok(())
                });
            outcome.unwrap_or_else(|error| panic!("{}: {error}", target.name));
        }
    }

    /// One change of some bytes.
    #[derive(Clone, Debug)]
    enum Damage {
        /// Other bytes in the place of some.
        Overwrite(prop::sample::Index, Vec<u8>),
        Insert(prop::sample::Index, Vec<u8>),
        /// Everything from here on is gone.
        Cut(prop::sample::Index),
        /// What lies between is there so many times.
        Repeat(prop::sample::Index, prop::sample::Index, usize),
    }

    fn damages() -> impl Strategy<Value = Vec<Damage>> {
        let index = any::<prop::sample::Index>;
        // Bytes that mean something in one syntax or another are worth more than others.
        let byte = || {
            prop_oneof![
                any::<u8>(),
                prop::sample::select(b"\0\n\r \"'{}[]<>&%/\\.:;,-+*!#@=0129azAZ".to_vec())
            ]
        };
        let bytes = move || prop::collection::vec(byte(), 1..6);
        let damage = prop_oneof![
            4 => (index(), bytes()).prop_map(|(at, bytes)| Damage::Overwrite(at, bytes)),
            2 => (index(), bytes()).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
            1 => index().prop_map(Damage::Cut),
            1 => (index(), index(), 0..40usize).prop_map(|(from, to, times)| Damage::Repeat(from, to, times)),
        ];
        prop::collection::vec(damage, 1..5)
    }

    impl Damage {
        fn apply(&self, bytes: &mut Vec<u8>) {
            let place = |index: &prop::sample::Index| index.index(bytes.len() + 1);
            match self {
                Self::Overwrite(at, with) => {
                    let at = place(at);
                    let end = (at + with.len()).min(bytes.len());
                    bytes.splice(at..end, with.iter().copied());
                }
                Self::Insert(at, what) => {
                    let at = place(at);
                    bytes.splice(at..at, what.iter().copied());
                }
                Self::Cut(at) => bytes.truncate(place(at)),
                Self::Repeat(one, other, times) => {
                    let (one, other) = (place(one), place(other));
                    let (from, to) = (one.min(other), one.max(other));
                    // No more than what a test can read quickly.
                    let part = bytes[from..to.min(from + 1000)].repeat(*times);
                    bytes.splice(from..to, part);
                }
            }
        }
    }

    #[test]
    fn every_target_has_its_program() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let manifest: toml::Table =
            toml::from_str(&fs::read_to_string(folder.join("Cargo.toml")).unwrap()).unwrap();
        let programs = manifest["bin"].as_array().unwrap().iter();
        let programs: BTreeSet<&str> = programs.map(|bin| bin["name"].as_str().unwrap()).collect();
        let named: Vec<&str> = targets().map(|target| target.name).collect();
        assert_eq!(programs, BTreeSet::from_iter(named.iter().copied()));
        assert_eq!(programs.len(), named.len(), "no name is there twice");
        for program in programs {
            let source = fs::read_to_string(folder.join(format!("targets/{program}.rs"))).unwrap();
            assert!(
                source.contains(&format!("cairn::fuzz::run({program:?}, bytes)")),
                "{program}"
            );
        }
    }
}
