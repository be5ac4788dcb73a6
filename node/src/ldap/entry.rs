//! Entries of a directory, and by what they are known again.

use std::fmt;
use std::str::FromStr;

use ldap3::SearchEntry;

use crate::registry::names::InvalidName;

/// The longest text of an entry that is kept.
const MAX_TEXT_BYTES: usize = 255;

/// What an entry is called for ever (its `entryUUID`, its `objectGUID`), written as in a filter (RFC 4515).
///
/// Invariant: 1 to 255 bytes of printable ASCII, and only one way to write what it stands for. If all of
/// that is printable, `\`, `*`, `(` and `)` are escaped, otherwise all bytes are. So two that differ are two
/// entries, and it can be put into a filter as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntryId(String);

impl EntryId {
    /// The one of these bytes; none if it would be too long.
    fn of(bytes: &[u8]) -> Option<Self> {
        let is_text = bytes.iter().all(|byte| (b' '..=b'~').contains(byte));
        let written: String = bytes
            .iter()
            .map(|&byte| match is_text && !b"\\*()".contains(&byte) {
                true => char::from(byte).to_string(),
                false => format!("\\{byte:02x}"),
            })
            .collect();
        (1..=MAX_TEXT_BYTES)
            .contains(&written.len())
            .then_some(Self(written))
    }

    /// The bytes that are written as this; none if nothing is.
    fn bytes_of(text: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let [first, after @ ..] = rest {
            rest = after;
            if *first != b'\\' {
                bytes.push(*first);
                continue;
            }
            let (digits, after) = rest.split_at_checked(2)?;
            bytes.extend(data_encoding::HEXLOWER.decode(digits).ok()?);
            rest = after;
        }
        Some(bytes)
    }
}

impl FromStr for EntryId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let written = Self::bytes_of(text).and_then(|bytes| Self::of(&bytes));
        written.filter(|written| written.0 == text).ok_or_else(|| {
            InvalidName::new(
                "id of an entry",
                text,
                "is not how the directory's is written in a filter",
            )
        })
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The values of an attribute, whatever case its name has in the answer.
fn values<'e>(entry: &'e SearchEntry, name: &str) -> Vec<&'e [u8]> {
    let texts = entry
        .attrs
        .iter()
        .filter(|(known, _)| known.eq_ignore_ascii_case(name))
        .flat_map(|(_, values)| values.iter().map(String::as_bytes));
    let others = entry
        .bin_attrs
        .iter()
        .filter(|(known, _)| known.eq_ignore_ascii_case(name))
        .flat_map(|(_, values)| values.iter().map(Vec::as_slice));
    texts.chain(others).collect()
}

/// The id that an entry has in this attribute; none if that is missing, or there are several.
pub(super) fn id(entry: &SearchEntry, attribute: &str) -> Option<EntryId> {
    match values(entry, attribute).as_slice() {
        [only] => EntryId::of(only),
        _ => None,
    }
}

/// The name to sign in with, exactly as the entry has it; none if that is missing, or there are
/// several: somebody could have added that of another one.
pub(super) fn username<'e>(entry: &'e SearchEntry, attribute: &str) -> Option<&'e str> {
    match values(entry, attribute).as_slice() {
        [only] => std::str::from_utf8(only).ok().filter(|name| !name.is_empty()),
        _ => None,
    }
}

/// A text to show, if it is fit to be.
pub(super) fn text(entry: &SearchEntry, attribute: &str) -> Option<String> {
    let first = *values(entry, attribute).first()?;
    let text = std::str::from_utf8(first).ok()?.trim();
    let is_fit = !text.is_empty() && text.len() <= MAX_TEXT_BYTES && !text.contains(char::is_control);
    is_fit.then(|| text.to_owned())
}

/// Whether an entry says itself that it is in a group, which is named as a whole or by its `cn`.
pub(super) fn says_to_be_in(entry: &SearchEntry, group: &str) -> bool {
    let names = values(entry, "memberOf");
    let mut names = names.iter().filter_map(|name| std::str::from_utf8(name).ok());
    names.any(|name| {
        let short = common_name(name);
        name.eq_ignore_ascii_case(group) || short.is_some_and(|short| short.eq_ignore_ascii_case(group))
    })
}

/// `staff` of `cn=staff,ou=groups,dc=example`, where that is plain.
fn common_name(dn: &str) -> Option<&str> {
    let (first, _) = dn.split_once(',').unwrap_or((dn, ""));
    let (kind, name) = first.split_once('=')?;
    let is_plain = kind.trim().eq_ignore_ascii_case("cn") && !name.contains(['\\', '+', '"', '=', '#']);
    is_plain.then(|| name.trim())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn entry(attributes: &[(&str, &[&str])]) -> SearchEntry {
        let attributes = attributes.iter().map(|(name, values)| {
            let values = values.iter().map(|value| (*value).to_owned());
            ((*name).to_owned(), values.collect())
        });
        SearchEntry {
            dn: "uid=ann,dc=example".into(),
            attrs: attributes.collect(),
            bin_attrs: HashMap::from([("objectGUID".to_owned(), vec![vec![0x3b, 0xa1, 0x28]])]),
        }
    }

    #[test]
    fn an_entry_has_one_id_and_one_name_or_none() {
        let ann = entry(&[
            ("entryuuid", &["8f2a-1"]),
            ("uid", &["Ann"]),
            ("mail", &["a", "b"]),
            ("odd", &["a*(b)\\c"]),
            ("sn", &[""]),
        ]);
        let check = |attribute, expected: Option<&str>| {
            let found = id(&ann, attribute).map(|id| id.to_string());
            assert_eq!(found.as_deref(), expected, "{attribute}");
        };
        check("entryUUID", Some("8f2a-1"));
        check("OBJECTGUID", Some("\\3b\\a1\\28"));
        check("odd", Some("a\\2a\\28b\\29\\5cc"));
        check("mail", None);
        check("sn", None);
        check("none", None);
        assert_eq!(username(&ann, "UID"), Some("Ann"));
        for attribute in ["mail", "sn", "none"] {
            assert_eq!(username(&ann, attribute), None);
        }
    }

    #[test]
    fn groups_are_known_by_their_whole_and_their_plain_names() {
        let check = |dn: &str, group: &str, expected: bool| {
            let ann = entry(&[("memberOf", &["cn=other,dc=example", dn])]);
            assert_eq!(says_to_be_in(&ann, group), expected, "{group} of {dn}");
        };
        let staff = "CN=Staff,ou=groups,dc=example";
        check(staff, "staff", true);
        check(staff, "cn=staff,OU=groups,dc=example", true);
        check(staff, "sta", false);
        check(staff, "groups", false);
        check("ou=staff,dc=example", "staff", false);
        check("cn=a\\,cn=staff,dc=example", "staff", false);
        check("cn=staff+ou=x,dc=example", "staff", false);
        check("cn=#0405,dc=example", "#0405", false);
        check("", "", true);
    }

    proptest! {
        #[test]
        fn ids_of_two_entries_are_never_one(a in prop::collection::vec(any::<u8>(), 1..20), b in prop::collection::vec(any::<u8>(), 1..20)) {
            let (one, other) = (EntryId::of(&a).unwrap(), EntryId::of(&b).unwrap());
            prop_assert_eq!(one == other, a == b);
            prop_assert_eq!(one.to_string().parse::<EntryId>().unwrap(), one);
        }

        #[test]
        fn what_is_read_as_an_id_is_written_as_it_was(text in "[a-f0-9\\\\*() \u{e9}-]{0,12}") {
            if let Ok(id) = text.parse::<EntryId>() {
                prop_assert_eq!(id.to_string(), text.clone());
                // It stays one value of a filter, whatever it is.
                let is_filter = ldap3::parse_filter(format!("(a={text})")).is_ok();
                prop_assert!(is_filter && !text.contains(['*', '(', ')']));
            }
        }
    }
}
