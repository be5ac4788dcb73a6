//! Writes Ruby's Marshal 4.8, as far as the indexes of gems need it: what `gem` without a compact
//! index reads, and in any case before it installs.
//!
//! Symbols that come again are links, as they must be; values that come again are written again,
//! which is right as well. Nothing is read here. Only classes occur that RubyGems admits.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::gemspec::{Date, Dependency, Email, Spec};
use super::names::{GemVersion, Platform, Requirement};

/// What every dump begins with.
const VERSION: &[u8] = b"\x04\x08";

/// The specification's own version.
const SPECIFICATION_VERSION: i32 = 4;

/// A dump in the making.
#[derive(Default)]
pub(super) struct Dump {
    out: Vec<u8>,
    symbols: Vec<&'static str>,
}

impl Dump {
    fn begin() -> Self {
        Self {
            out: VERSION.to_vec(),
            symbols: Vec::new(),
        }
    }

    /// Begins a list of this many gems, each to be added with [`Dump::tuple`].
    pub(super) fn list(count: usize) -> Self {
        let mut dump = Self::begin();
        dump.array(count);
        dump
    }

    /// Adds a gem to a list.
    pub(super) fn tuple(&mut self, name: &str, version: &GemVersion, platform: &Platform) {
        self.array(3);
        self.string(name);
        self.version(version);
        self.string(platform.as_str());
    }

    /// Adds a gem with what it needs to a list.
    pub(super) fn needs(
        &mut self,
        name: &str,
        version: &GemVersion,
        platform: &Platform,
        needs: &[(&str, String)],
    ) {
        self.out.push(b'{');
        self.length(4);
        self.symbol("name");
        self.string(name);
        self.symbol("number");
        self.string(version.as_str());
        self.symbol("platform");
        self.string(platform.as_str());
        self.symbol("dependencies");
        self.array(needs.len());
        for (needed, clauses) in needs {
            self.array(2);
            self.string(needed);
            self.string(clauses);
        }
    }

    /// Takes what is written so far.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    fn integer(&mut self, number: i32) {
        match number {
            0 => self.out.push(0),
            1..=122 => self.out.push((number + 5) as u8),
            -123..=-1 => self.out.push((number - 5) as u8),
            _ => {
                let bytes = number.to_le_bytes();
                let filler = if number < 0 { 0xff } else { 0 };
                let length = bytes
                    .iter()
                    .rposition(|byte| *byte != filler)
                    .map_or(1, |at| at + 1);
                let marker = if number < 0 { -(length as i8) } else { length as i8 };
                self.out.push(marker as u8);
                self.out.extend_from_slice(&bytes[..length]);
            }
        }
    }

    /// Counts and lengths here are far below what Ruby can count to.
    fn length(&mut self, length: usize) {
        self.integer(i32::try_from(length).unwrap_or(i32::MAX));
    }

    fn array(&mut self, count: usize) {
        self.out.push(b'[');
        self.length(count);
    }

    fn symbol(&mut self, symbol: &'static str) {
        match self.symbols.iter().position(|known| *known == symbol) {
            Some(at) => {
                self.out.push(b';');
                self.length(at);
            }
            None => {
                self.symbols.push(symbol);
                self.out.push(b':');
                self.bytes(symbol.as_bytes());
            }
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.out.extend_from_slice(bytes);
    }

    fn boolean(&mut self, value: bool) {
        self.out.push(if value { b'T' } else { b'F' });
    }

    /// A text with its encoding: UTF-8, or ASCII.
    fn encoded(&mut self, text: &str, is_utf8: bool) {
        self.out.extend_from_slice(b"I\"");
        self.bytes(text.as_bytes());
        self.length(1);
        self.symbol("E");
        self.boolean(is_utf8);
    }

    fn string(&mut self, text: &str) {
        self.encoded(text, true);
    }

    fn optional(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None => self.out.push(b'0'),
        }
    }

    fn strings(&mut self, texts: &[String]) {
        self.array(texts.len());
        texts.iter().for_each(|text| self.string(text));
    }

    fn version(&mut self, version: &GemVersion) {
        self.out.push(b'U');
        self.symbol("Gem::Version");
        self.array(1);
        self.string(version.as_str());
    }

    fn requirement(&mut self, requirement: &Requirement) {
        self.out.push(b'U');
        self.symbol("Gem::Requirement");
        self.array(1);
        self.array(requirement.clauses().len());
        for clause in requirement.clauses() {
            self.array(2);
            self.string(clause.operator.as_str());
            self.version(&clause.version);
        }
    }

    fn object(&mut self, class: &'static str, fields: usize) {
        self.out.push(b'o');
        self.symbol(class);
        self.length(fields);
    }

    fn dependency(&mut self, dependency: &Dependency) {
        self.object("Gem::Dependency", 5);
        self.symbol("@name");
        self.string(dependency.name.as_str());
        self.symbol("@requirement");
        self.requirement(&dependency.requirement);
        self.symbol("@type");
        self.symbol(if dependency.is_runtime {
            "runtime"
        } else {
            "development"
        });
        self.symbol("@prerelease");
        self.boolean(dependency.is_prerelease);
        self.symbol("@version_requirements");
        self.requirement(&dependency.requirement);
    }

    /// A time as Ruby packs it: midnight of a day, in UTC.
    fn date(&mut self, date: Date) {
        let day = (1 << 31)
            | (1 << 30)
            | (u32::from(date.year - 1900) << 14)
            | (u32::from(date.month - 1) << 10)
            | (u32::from(date.day) << 5);
        let packed = (u64::from(day)).to_le_bytes();
        self.out.extend_from_slice(b"Iu");
        self.symbol("Time");
        self.bytes(&packed);
        self.length(1);
        self.symbol("zone");
        self.encoded("UTC", false);
    }

    fn platform(&mut self, platform: &Platform) {
        if platform.is_ruby() {
            return self.string(platform.as_str());
        }
        let parts = PlatformParts::of(platform.as_str());
        self.object("Gem::Platform", 3);
        for (field, part) in [
            ("@cpu", parts.cpu),
            ("@os", Some(parts.os)),
            ("@version", parts.version),
        ] {
            self.symbol(field);
            self.optional(part.as_deref());
        }
    }
}

/// A platform as RubyGems takes it apart, to compare it with the machine's own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PlatformParts {
    cpu: Option<String>,
    os: String,
    version: Option<String>,
}

impl PlatformParts {
    fn of(platform: &str) -> Self {
        let mut words: Vec<String> = platform.split('-').map(str::to_owned).collect();
        // What follows the system and has no digit belongs to it: `linux-musl`.
        if words.len() > 2
            && let Some(extra) = words.pop_if(|last| !last.bytes().any(|byte| byte.is_ascii_digit()))
            && let Some(last) = words.last_mut()
        {
            *last = format!("{last}-{extra}");
        }
        let first = words.remove(0);
        let cpu = match is_x86(&first) {
            true => "x86".to_owned(),
            false => first.clone(),
        };
        if let [os, version] = words.as_slice()
            && is_decimal(version)
        {
            return Self {
                cpu: Some(cpu),
                os: os.clone(),
                version: Some(version.clone()),
            };
        }
        let (mut cpu, os) = match words.first() {
            Some(os) => (Some(cpu), os.clone()),
            None => (None, first),
        };
        let (os, version) = system(&os);
        if cpu.is_none() && os.starts_with("mswin") && os.ends_with("32") {
            cpu = Some("x86".into());
        }
        Self { cpu, os, version }
    }
}

/// `i386` to `i986`, wherever it stands.
fn is_x86(cpu: &str) -> bool {
    let bytes = cpu.to_ascii_lowercase().into_bytes();
    bytes
        .windows(4)
        .any(|part| part[0] == b'i' && part[1].is_ascii_digit() && part[2..] == *b"86")
}

/// `12` or `12.3`
fn is_decimal(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    digits(whole) && digits(fraction)
}

/// The name and the version of an operating system, in the order in which RubyGems tries.
fn system(os: &str) -> (String, Option<String>) {
    let after = |name: &str| os.split_once(name).map(|(_, rest)| rest);
    let leading = |text: &str, takes: fn(char) -> bool| {
        let end = text.find(|c| !takes(c)).unwrap_or(text.len());
        (end > 0).then(|| text[..end].to_owned())
    };
    let number = |text: &str| leading(text, |c| c.is_ascii_digit());
    let dotted = |text: &str| leading(text, |c| c.is_ascii_digit() || c == '.');
    let word = |text: &str| leading(text, |c| c.is_ascii_alphanumeric() || c == '_');
    let fraction = |text: &str| dotted(text).filter(|found| found.contains('.') && is_decimal(found));
    let named = |name: &str, version: Option<String>| (name.to_owned(), version);
    if let Some(rest) = after("aix") {
        return named("aix", number(rest));
    }
    if after("cygwin").is_some() {
        return named("cygwin", None);
    }
    if let Some(rest) = after("darwin") {
        return named("darwin", number(rest));
    }
    if os == "macruby" {
        return named("macruby", None);
    }
    for name in ["freebsd", "hpux"] {
        if let Some(rest) = after(name) {
            return named(name, number(rest));
        }
    }
    if os == "jruby" {
        return named("java", None);
    }
    for name in ["java", "dalvik", "dotnet"] {
        if let Some(rest) = os.strip_prefix(name) {
            return named(name, dotted(rest));
        }
    }
    if let Some(rest) = after("linux") {
        let rest = rest.strip_prefix('-').unwrap_or(rest);
        return named("linux", word(rest).filter(|word| !word.starts_with("gnu")));
    }
    if after("mingw32").is_some() {
        return named("mingw32", None);
    }
    if let Some(rest) = after("mingw") {
        return named("mingw", word(rest.strip_prefix('-').unwrap_or(rest)));
    }
    if let Some(rest) = after("mswin")
        && let Some(bits) = number(rest)
    {
        let version = rest[bits.len()..].strip_prefix('_').and_then(number);
        return (format!("mswin{bits}"), version);
    }
    if after("netbsdelf").is_some() {
        return named("netbsdelf", None);
    }
    for name in ["openbsd", "bitrig", "solaris"] {
        if let Some(rest) = after(name) {
            return named(name, fraction(rest));
        }
    }
    named("unknown", None)
}

/// The specification of one gem, compressed: `quick/Marshal.4.8/….gemspec.rz`.
pub(super) fn quick(spec: &Spec) -> std::io::Result<Vec<u8>> {
    let inner = specification(spec);
    let mut dump = Dump::begin();
    dump.out.push(b'u');
    dump.symbol("Gem::Specification");
    dump.bytes(&inner);
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&dump.out)?;
    encoder.finish()
}

fn specification(spec: &Spec) -> Vec<u8> {
    let mut dump = Dump::begin();
    dump.array(19);
    dump.string(&spec.rubygems_version);
    dump.out.push(b'i');
    dump.integer(SPECIFICATION_VERSION);
    dump.string(spec.name.as_str());
    dump.version(&spec.version);
    dump.date(spec.date.unwrap_or(Date {
        year: 1980,
        month: 1,
        day: 2,
    }));
    dump.string(&spec.summary);
    dump.requirement(&spec.required_ruby);
    dump.requirement(&spec.required_rubygems);
    dump.string(spec.platform.as_str());
    dump.array(spec.dependencies.len());
    for dependency in &spec.dependencies {
        dump.dependency(dependency);
    }
    // The project at a site that is gone.
    dump.string("");
    match &spec.email {
        Email::None => dump.optional(None),
        Email::One(email) => dump.string(email),
        Email::Many(emails) => dump.strings(emails),
    }
    dump.strings(&spec.authors);
    dump.optional(spec.description.as_deref());
    dump.optional(spec.homepage.as_deref());
    dump.boolean(true);
    dump.platform(&spec.platform);
    dump.strings(&spec.licenses);
    dump.out.push(b'{');
    dump.length(spec.metadata.len());
    for (key, value) in &spec.metadata {
        dump.string(key);
        dump.string(value);
    }
    dump.out
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use data_encoding::BASE64;
    use flate2::read::ZlibDecoder;
    use proptest::prelude::*;

    use super::*;
    use crate::formats::rubygems::gemspec::tests::yaml;
    use crate::testing::check_golden;

    #[test]
    fn numbers_are_written_as_ruby_has_them() {
        let written = |number: i32| {
            let mut dump = Dump::default();
            dump.integer(number);
            dump.out
        };
        // What `Marshal.dump` gives, without its head.
        for (number, expected) in [
            (0, b"\x00".as_slice()),
            (1, b"\x06"),
            (122, b"\x7f"),
            (123, b"\x01\x7b"),
            (255, b"\x01\xff"),
            (256, b"\x02\x00\x01"),
            (65_536, b"\x03\x00\x00\x01"),
            (1 << 24, b"\x04\x00\x00\x00\x01"),
            (-1, b"\xfa"),
            (-123, b"\x80"),
            (-124, b"\xff\x84"),
            (-256, b"\xff\x00"),
            (-257, b"\xfe\xff\xfe"),
        ] {
            assert_eq!(written(number), expected, "{number}");
        }
    }

    #[test]
    fn a_list_is_what_gem_generates() {
        let mut dump = Dump::list(2);
        dump.tuple("acme_foo", &"1.0.0".parse().unwrap(), &Platform::ruby());
        dump.tuple(
            "acme_foo",
            &"2.0.0".parse().unwrap(),
            &"x86_64-linux".parse().unwrap(),
        );
        let expected = b"\x04\x08[\x07[\x08I\"\racme_foo\x06:\x06ETU:\x11Gem::Version[\x06I\"\n1.0.0\x06;\x00TI\"\truby\x06;\x00T\
            [\x08I\"\racme_foo\x06;\x00TU;\x06[\x06I\"\n2.0.0\x06;\x00TI\"\x11x86_64-linux\x06;\x00T";
        assert_eq!(dump.take(), expected);
    }

    #[test]
    fn what_gems_need_is_a_hash_for_each() {
        let mut dump = Dump::list(2);
        let needs = [("rack", "< 3, >= 1".to_owned())];
        dump.needs("web", &"0.1".parse().unwrap(), &Platform::ruby(), &needs);
        dump.needs("web", &"0.2".parse().unwrap(), &Platform::ruby(), &[]);
        let expected = b"\x04\x08[\x07{\x09:\x09nameI\"\x08web\x06:\x06ET:\x0bnumberI\"\x080.1\x06;\x06T\
            :\x0dplatformI\"\truby\x06;\x06T:\x11dependencies[\x06[\x07I\"\track\x06;\x06TI\"\x0e< 3, >= 1\x06;\x06T\
            {\x09;\x00I\"\x08web\x06;\x06T;\x07I\"\x080.2\x06;\x06T;\x08I\"\truby\x06;\x06T;\x09[\x00";
        assert_eq!(dump.take(), expected);
    }

    #[test]
    fn indexes_are_what_ruby_reads() {
        let mut dump = Dump::list(3);
        for (name, version, platform) in [
            ("acme_foo", "1.0.0", "ruby"),
            ("acme_foo", "1.0.0", "x86_64-linux"),
            ("web", "0.1", "java"),
        ] {
            dump.tuple(name, &version.parse().unwrap(), &platform.parse().unwrap());
        }
        let as_text = |bytes: &[u8]| BASE64.encode(bytes) + "\n";
        check_golden("rubygems", "specs.4.8.base64", as_text(&dump.take()).as_bytes());
        let spec = Spec::read(include_bytes!("testdata/acme_foo.yaml")).unwrap();
        let mut written = Vec::new();
        let compressed = quick(&spec).unwrap();
        ZlibDecoder::new(compressed.as_slice())
            .read_to_end(&mut written)
            .unwrap();
        check_golden(
            "rubygems",
            "acme_foo-1.0.0.gemspec.base64",
            as_text(&written).as_bytes(),
        );
    }

    #[test]
    fn platforms_are_taken_apart_as_rubygems_does() {
        // What `Gem::Platform.new(text).to_a` gives.
        for (text, cpu, os, version) in [
            ("x86_64-linux", Some("x86_64"), "linux", None),
            ("x86_64-linux-gnu", Some("x86_64"), "linux", None),
            ("x86_64-linux-musl", Some("x86_64"), "linux", Some("musl")),
            ("aarch64-linux", Some("aarch64"), "linux", None),
            ("arm64-darwin-22", Some("arm64"), "darwin", Some("22")),
            ("x86_64-darwin", Some("x86_64"), "darwin", None),
            ("universal-darwin20", Some("universal"), "darwin", Some("20")),
            ("i686-linux", Some("x86"), "linux", None),
            ("java", None, "java", None),
            ("jruby", None, "java", None),
            ("x86-mingw32", Some("x86"), "mingw32", None),
            ("x64-mingw-ucrt", Some("x64"), "mingw", Some("ucrt")),
            ("x86-mswin32-60", Some("x86"), "mswin32", Some("60")),
            ("mswin32", Some("x86"), "mswin32", None),
            ("x64-mswin64_100", Some("x64"), "mswin64", Some("100")),
            ("powerpc-aix5", Some("powerpc"), "aix", Some("5")),
            ("x86_64-freebsd13", Some("x86_64"), "freebsd", Some("13")),
            ("amd64-openbsd7.2", Some("amd64"), "openbsd", Some("7.2")),
            ("x-y", Some("x"), "unknown", None),
        ] {
            let expected = PlatformParts {
                cpu: cpu.map(str::to_owned),
                os: os.into(),
                version: version.map(str::to_owned),
            };
            assert_eq!(PlatformParts::of(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_platform_is_taken_apart(text in "[a-z0-9][a-z0-9._-]{0,20}") {
            if let Ok(platform) = text.parse::<Platform>() {
                let _ = PlatformParts::of(platform.as_str());
            }
        }

        #[test]
        fn every_specification_is_written(summary in any::<String>().prop_map(|text| text.replace(char::is_control, " "))) {
            let mut spec = Spec::read(yaml("acme", "1.0", "java", &[("rack", ">= 1")]).as_bytes()).unwrap();
            spec.summary = summary;
            let compressed = quick(&spec).unwrap();
            let mut text = Vec::new();
            ZlibDecoder::new(compressed.as_slice()).read_to_end(&mut text).unwrap();
            prop_assert!(text.starts_with(b"\x04\x08u:\x17Gem::Specification"));
        }
    }
}
