//! Reading the little that is needed of XML documents that strangers sent.
//!
//! Nothing is expanded but the five entities that XML has by itself, and nothing is fetched. What is not well-formed
//! is an error; what is deeper or longer than anything that is looked for is passed over.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8};
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

/// Elements deeper than this are an error.
const MAX_DEPTH: usize = 64;

/// The longest text that [`each_text`] gives out.
const MAX_TEXT_BYTES: usize = 4 << 10;

/// The most attributes of an element.
const MAX_ATTRIBUTES: usize = 64;

/// How far into a document is looked for its encoding.
const DECLARATION_BYTES: usize = 200;

/// What is no document that could be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the XML document {0}")]
pub(crate) struct InvalidXml(String);

fn wrong(why: impl Into<String>) -> InvalidXml {
    InvalidXml(why.into())
}

/// What stands in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen<'a> {
    /// The beginning of an element, with its attributes by their local names.
    Element(&'a [(String, String)]),
    /// The text of an element that has any, at its end.
    Text(&'a str),
}

/// Calls `found` with the path of every element that has text, as `metadata/versioning/release`, and with that text.
pub(super) fn each_text(document: &[u8], mut found: impl FnMut(&str, &str)) -> Result<(), InvalidXml> {
    each(document, MAX_TEXT_BYTES, |path, seen| match seen {
        Seen::Text(text) => found(path, text),
        Seen::Element(_) => {}
    })
}

/// The same with the beginning of every element, and with texts of up to `max_text_bytes`.
pub(super) fn each(
    document: &[u8],
    max_text_bytes: usize,
    mut found: impl FnMut(&str, Seen<'_>),
) -> Result<(), InvalidXml> {
    let text = decoded(document)?;
    let mut reader = Reader::from_str(&text);
    let mut path = String::new();
    // Where the name of each open element begins in the path, and the text of it so far.
    let mut open: Vec<(usize, String)> = Vec::new();
    let add = |open: &mut Vec<(usize, String)>, more: &str| {
        if let Some((_, text)) = open.last_mut()
            && text.len() + more.len() <= max_text_bytes
        {
            text.push_str(more);
        }
    };
    loop {
        match reader
            .read_event()
            .map_err(|error| wrong(format!("is not well-formed: {error}")))?
        {
            Event::Start(element) => {
                if open.len() >= MAX_DEPTH {
                    return Err(wrong(format!("is nested deeper than {MAX_DEPTH}")));
                }
                open.push((enter(&mut path, &element), String::new()));
                found(&path, Seen::Element(&attributes(&element)?));
            }
            Event::Empty(element) => {
                let begin = enter(&mut path, &element);
                found(&path, Seen::Element(&attributes(&element)?));
                path.truncate(begin);
            }
            Event::End(_) => {
                let Some((begin, text)) = open.pop() else {
                    return Err(wrong("ends an element that it has not begun"));
                };
                let text = text.trim();
                if !text.is_empty() {
                    found(&path, Seen::Text(text));
                }
                path.truncate(begin);
            }
            Event::Text(text) => add(&mut open, &text),
            Event::CData(text) => add(&mut open, &text),
            Event::GeneralRef(reference) => {
                let character = match &*reference {
                    "lt" => Some('<'),
                    "gt" => Some('>'),
                    "amp" => Some('&'),
                    "apos" => Some('\''),
                    "quot" => Some('"'),
                    _ => reference.resolve_char_ref().ok().flatten(),
                };
                let Some(character) = character else {
                    return Err(wrong("has an entity that XML does not have by itself"));
                };
                add(&mut open, character.encode_utf8(&mut [0; 4]));
            }
            Event::DocType(_) => return Err(wrong("has a document type")),
            Event::Eof if open.is_empty() => return Ok(()),
            Event::Eof => return Err(wrong("is cut off")),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

/// Goes into an element; says where its name begins in the path.
fn enter(path: &mut String, element: &BytesStart<'_>) -> usize {
    let begin = path.len();
    if begin > 0 {
        path.push('/');
    }
    path.push_str(element.local_name().as_ref());
    begin
}

fn attributes(element: &BytesStart<'_>) -> Result<Vec<(String, String)>, InvalidXml> {
    let unfit = |error: &dyn std::fmt::Display| wrong(format!("is not well-formed: {error}"));
    let mut found = Vec::new();
    for attribute in element.attributes() {
        let attribute = attribute.map_err(|error| unfit(&error))?;
        if found.len() >= MAX_ATTRIBUTES {
            return Err(wrong(format!(
                "has an element of more than {MAX_ATTRIBUTES} attributes"
            )));
        }
        let value = attribute.normalized_value(XmlVersion::Implicit1_0);
        let value = value.map_err(|error| unfit(&error))?;
        found.push((attribute.key.local_name().as_ref().to_owned(), value.into_owned()));
    }
    Ok(found)
}

/// The text of a document, by its byte order mark, or by what it declares, or else as UTF-8.
pub(super) fn decoded(document: &[u8]) -> Result<Cow<'_, str>, InvalidXml> {
    let (encoding, mark) = match Encoding::for_bom(document) {
        Some(by_mark) => by_mark,
        None => (declared(document)?, 0),
    };
    let text = encoding.decode_without_bom_handling_and_without_replacement(&document[mark..]);
    text.ok_or_else(|| wrong(format!("is not {}", encoding.name())))
}

/// The encoding that a document declares. That it does so legibly says that its characters are bytes.
fn declared(document: &[u8]) -> Result<&'static Encoding, InvalidXml> {
    let beginning = String::from_utf8_lossy(&document[..document.len().min(DECLARATION_BYTES)]);
    let declaration = beginning.trim_start().strip_prefix("<?xml");
    let declaration = declaration
        .and_then(|rest| rest.split_once("?>"))
        .map_or("", |(own, _)| own);
    let Some((_, label)) = declaration.split_once("encoding") else {
        return Ok(UTF_8);
    };
    let label = label.split(['"', '\'']).nth(1).unwrap_or_default();
    match Encoding::for_label(label.as_bytes()) {
        Some(encoding) if encoding.is_ascii_compatible() => Ok(encoding),
        // Programs that keep texts so in memory declare it of what they write as UTF-8.
        Some(_) => Ok(UTF_8),
        None => Err(wrong("declares an unknown encoding")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(document: &str) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        each_text(document.as_bytes(), |path, text| {
            found.push(format!("{path}={text}"))
        })
        .map(|()| found)
        .map_err(|error| error.to_string())
    }

    #[test]
    fn texts_come_with_their_paths() {
        let document = "<?xml version=\"1.0\"?>\n<!-- of a plugin -->\n<plugin xmlns=\"x\"><name>A &amp; &#66;</name>\n\
             <a:group xmlns:a=\"y\"><id> <![CDATA[<c>]]> </id></a:group><empty/><none></none></plugin>\n";
        assert_eq!(
            texts(document).unwrap(),
            ["plugin/name=A & B", "plugin/group/id=<c>"]
        );
    }

    #[test]
    fn what_could_hurt_is_refused() {
        for (document, why) in [
            (
                "<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><a>&b;</a>",
                "document type",
            ),
            ("<a>&b;</a>", "entity"),
            ("<a><b></a>", "not well-formed"),
            ("<a>", "cut off"),
            ("</a>", "not well-formed"),
            ("<a", "not well-formed"),
        ] {
            assert!(
                texts(document).unwrap_err().contains(why),
                "{document}: {:?}",
                texts(document)
            );
        }
        let deep = "<a>".repeat(65);
        assert!(texts(&deep).unwrap_err().contains("deeper"));
        let many = (0..65).map(|n| format!(" a{n}=''")).collect::<String>();
        assert!(texts(&format!("<a{many}/>")).unwrap_err().contains("attributes"));
        assert!(texts("<a b='1' b='2'/>").unwrap_err().contains("not well-formed"));
        let long = format!("<a>{}</a>", "x".repeat(5000));
        assert_eq!(texts(&long).unwrap(), [""; 0]);
        assert!(each_text(&[0xff, b'<'], |_, _| {}).is_err());
    }

    #[test]
    fn elements_come_with_their_attributes_before_what_is_in_them() {
        let mut found = Vec::new();
        let document = "<a:p xmlns:a='x' id='1 &lt; &#50;'><q b=\"\"/><r>t</r></a:p>";
        each(document.as_bytes(), 10, |path, seen| {
            found.push(format!("{path} {seen:?}"))
        })
        .unwrap();
        assert_eq!(
            found,
            [
                "p Element([(\"a\", \"x\"), (\"id\", \"1 < 2\")])",
                "p/q Element([(\"b\", \"\")])",
                "p/r Element([])",
                "p/r Text(\"t\")"
            ]
        );
    }

    #[test]
    fn documents_are_read_in_the_encoding_that_they_have() {
        let check = |document: &[u8], expected: Result<&str, &str>| match (each_text_of(document), expected) {
            (Ok(text), Ok(expected)) => assert_eq!(text, expected),
            (Err(error), Err(part)) => assert!(error.contains(part), "{error} / {part}"),
            (outcome, _) => panic!("{document:?} is {outcome:?}"),
        };
        let utf16: Vec<u8> = "\u{feff}<a>\u{e9}</a>"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        check("<a>\u{e9}</a>".as_bytes(), Ok("\u{e9}"));
        check(
            "\u{feff}<?xml version='1.0'?><a>\u{e9}</a>".as_bytes(),
            Ok("\u{e9}"),
        );
        check(&utf16, Ok("\u{e9}"));
        check(&utf16[..utf16.len() - 1], Err("not UTF-16LE"));
        check(
            b"<?xml version='1.0' encoding='iso-8859-1'?><a>\xe9</a>",
            Ok("\u{e9}"),
        );
        check(
            "<?xml version='1.0' encoding=\"utf-16\"?><a>\u{e9}</a>".as_bytes(),
            Ok("\u{e9}"),
        );
        check(
            b"<?xml version='1.0' encoding='x-none'?><a/>",
            Err("unknown encoding"),
        );
        check(b"<a>\xe9</a>", Err("not UTF-8"));
    }

    fn each_text_of(document: &[u8]) -> Result<String, String> {
        let mut found = String::new();
        each_text(document, |_, text| found.push_str(text)).map_err(|error| error.to_string())?;
        Ok(found)
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(document in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = each_text(&document, |_, _| {});
        }

        #[test]
        fn any_document_is_read_or_refused(document in "\\PC{0,80}|(<[a-c]>|</[a-c]>|&[a-z]{0,3};|<!--|-->|<!\\[CDATA\\[|x){0,12}") {
            let mut longest = 0;
            let _ = each_text(document.as_bytes(), |path, text| longest = longest.max(path.len() + text.len()));
            prop_assert!(longest <= document.len());
        }
    }
}
