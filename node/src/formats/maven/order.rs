//! Maven's order of versions, as its `ComparableVersion` has it.
//!
//! A version is cut at dots, at hyphens, and between digits and letters. What comes out are numbers and
//! qualifiers, of which some are known by name; what says nothing, such as `.0` at the end, is dropped.
//! <https://maven.apache.org/pom.html#version-order-specification>
//!
//! The rest is encoded so that the order of bytes is the order of versions:
//!
//! ```text
//! 10 … 14            alpha, beta, milestone, rc, snapshot
//! 20                 the end
//! 21                 ga, final, release in the middle
//! 30                 sp
//! 31 text 00         any other qualifier
//! 40 length digits   a number after a hyphen, or after a letter
//! 50 length digits   a number after a dot
//! ```

/// Qualifiers before the release, in their order.
const BEFORE: [&str; 5] = ["alpha", "beta", "milestone", "rc", "snapshot"];

const BEFORE_RELEASE: u8 = 0x10;
const END: u8 = 0x20;
const RELEASE: u8 = 0x21;
const SERVICE_PACK: u8 = 0x30;
const OTHER: u8 = 0x31;
const AFTER_HYPHEN: u8 = 0x40;
const AFTER_DOT: u8 = 0x50;

/// The longest number that is told apart from longer ones; versions are shorter.
const MAX_DIGITS: usize = u8::MAX as usize;

/// Where a version is among the others. Several spellings of one version are at the same place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Order(Vec<u8>);

impl Order {
    /// The place of a version. Any text has one.
    pub(super) fn of(version: &str) -> Self {
        let mut bytes = Vec::with_capacity(2 * version.len() + 1);
        for token in telling(tokens(version)) {
            token.encode(&mut bytes);
        }
        bytes.push(END);
        Self(bytes)
    }

    /// Bytes that are in this order, and of which none are the beginning of others.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Token {
    after_hyphen: bool,
    value: Value,
}

#[derive(Debug, PartialEq, Eq)]
enum Value {
    /// Digits without leading zeros; zero has none.
    Number(String),
    /// One of [`BEFORE`].
    Before(u8),
    /// What the release is called by some.
    Release,
    ServicePack,
    Other(String),
}

impl Value {
    fn qualifier(text: &str, before_digit: bool) -> Self {
        let name = match text {
            "a" if before_digit => "alpha",
            "b" if before_digit => "beta",
            "m" if before_digit => "milestone",
            "cr" => "rc",
            other => other,
        };
        if let Some(at) = BEFORE.iter().position(|known| *known == name) {
            return Self::Before(at as u8);
        }
        match name {
            "ga" | "final" | "release" => Self::Release,
            "sp" => Self::ServicePack,
            other => Self::Other(other.into()),
        }
    }

    fn says_nothing(&self) -> bool {
        matches!(self, Self::Release) || matches!(self, Self::Number(digits) if digits.is_empty())
    }
}

impl Token {
    fn encode(&self, out: &mut Vec<u8>) {
        match &self.value {
            Value::Number(digits) => {
                let digits = &digits[..digits.len().min(MAX_DIGITS)];
                out.push(if self.after_hyphen {
                    AFTER_HYPHEN
                } else {
                    AFTER_DOT
                });
                out.push(digits.len() as u8);
                out.extend_from_slice(digits.as_bytes());
            }
            Value::Before(at) => out.push(BEFORE_RELEASE + at),
            Value::Release => out.push(RELEASE),
            Value::ServicePack => out.push(SERVICE_PACK),
            Value::Other(text) => {
                out.push(OTHER);
                out.extend(text.bytes().filter(|byte| *byte != 0));
                out.push(0);
            }
        }
    }
}

/// Cuts a version into its parts.
fn tokens(version: &str) -> Vec<Token> {
    let version = version.to_lowercase();
    let mut tokens = Vec::new();
    let (mut begin, mut after_hyphen) = (0, false);
    let mut was_digit = None;
    let mut cut = |part: &str, after_hyphen: bool, before_digit: bool| {
        let is_number = part.bytes().all(|byte| byte.is_ascii_digit());
        let value = match is_number {
            true => Value::Number(part.trim_start_matches('0').into()),
            false => Value::qualifier(part, before_digit),
        };
        tokens.push(Token { after_hyphen, value });
    };
    for (at, character) in version.char_indices() {
        let is_digit = character.is_ascii_digit();
        match character {
            '.' | '-' => {
                cut(&version[begin..at], after_hyphen, false);
                (begin, after_hyphen, was_digit) = (at + 1, character == '-', None);
            }
            _ => {
                if was_digit == Some(!is_digit) {
                    cut(&version[begin..at], after_hyphen, is_digit);
                    (begin, after_hyphen) = (at, true);
                }
                was_digit = Some(is_digit);
            }
        }
    }
    if begin < version.len() {
        cut(&version[begin..], after_hyphen, false);
    }
    tokens
}

/// Leaves out what says nothing at the end, before a hyphen, or before a qualifier.
fn telling(tokens: Vec<Token>) -> Vec<Token> {
    let mut kept = Vec::with_capacity(tokens.len());
    let mut is_end = true;
    for token in tokens.into_iter().rev() {
        if is_end && token.value.says_nothing() {
            continue;
        }
        is_end = token.after_hyphen || !matches!(token.value, Value::Number(_));
        kept.push(token);
    }
    kept.reverse();
    kept
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Lines of versions, the lower first; those in one line are one.
    const GOLDEN: &str = include_str!("testdata/order.txt");

    /// Versions as people write them, and some that nobody would.
    pub(in crate::formats::maven) fn version() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            Just("0"),
            Just("00"),
            Just("1"),
            Just("2"),
            Just("10"),
            Just("007"),
            Just("99999999999999999999"),
            Just("a"),
            Just("b"),
            Just("m"),
            Just("alpha"),
            Just("beta"),
            Just("milestone"),
            Just("rc"),
            Just("cr"),
            Just("SNAPSHOT"),
            Just("ga"),
            Just("final"),
            Just("sp"),
            Just("x"),
            Just("Foo"),
        ];
        let separator = prop_oneof![3 => Just("."), 2 => Just("-"), 1 => Just("")];
        prop::collection::vec((part, separator), 1..6).prop_map(|parts| {
            let text: String = parts
                .iter()
                .flat_map(|(part, separator)| [*part, *separator])
                .collect();
            text.trim_end_matches(['.', '-']).to_owned()
        })
    }

    fn golden() -> Vec<Vec<&'static str>> {
        let lines = GOLDEN.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.split_whitespace().collect()).collect()
    }

    #[test]
    fn versions_are_in_the_order_of_the_table() {
        let lines = golden();
        assert!(lines.len() > 50);
        for (at, line) in lines.iter().enumerate() {
            for version in line {
                assert_eq!(Order::of(version), Order::of(line[0]), "{version} = {}", line[0]);
                for later in lines[at + 1..].iter().flatten() {
                    assert!(Order::of(version) < Order::of(later), "{version} < {later}");
                }
            }
        }
    }

    #[test]
    fn no_place_is_the_beginning_of_another() {
        let places: Vec<_> = golden().iter().map(|line| Order::of(line[0])).collect();
        for one in &places {
            for other in places.iter().filter(|other| *other != one) {
                assert!(!other.as_bytes().starts_with(one.as_bytes()), "{one:?} {other:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_place(text in "\\PC{0,40}") {
            let order = Order::of(&text);
            prop_assert!(order.as_bytes().len() <= 16 * text.len() + 16);
        }

        #[test]
        fn the_order_is_total(a in version(), b in version(), c in version()) {
            let (a, b, c) = (Order::of(&a), Order::of(&b), Order::of(&c));
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
        }

        #[test]
        fn zeros_at_the_end_and_case_say_nothing(version in version()) {
            let order = Order::of(&version);
            prop_assert_eq!(&Order::of(&version.to_uppercase()), &order);
            prop_assert_eq!(&Order::of(&format!("{version}-0")), &order);
        }

        #[test]
        fn a_snapshot_is_before_its_release(version in version()) {
            let snapshot = format!("{version}-SNAPSHOT");
            prop_assert!(Order::of(&snapshot) < Order::of(&version), "{}", version);
        }
    }
}
