//! Reading the little that is needed of XML documents that strangers sent.
//!
//! Nothing is expanded but the five entities that XML has by itself, and nothing is fetched. What is not well-formed
//! is an error; what is deeper or longer than anything that is looked for is passed over.

use quick_xml::Reader;
use quick_xml::events::Event;

/// Elements deeper than this are an error.
const MAX_DEPTH: usize = 64;

/// The longest text that is given out.
const MAX_TEXT_BYTES: usize = 4 << 10;

/// What is no document that could be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the XML document {0}")]
pub(super) struct InvalidXml(String);

/// Calls `found` with the path of every element that has text, as `metadata/versioning/release`, and with that text.
pub(super) fn each_text(document: &[u8], mut found: impl FnMut(&str, &str)) -> Result<(), InvalidXml> {
    let wrong = |why: String| InvalidXml(why);
    let text = std::str::from_utf8(document).map_err(|_| wrong("is not UTF-8".into()))?;
    let mut reader = Reader::from_str(text);
    let mut path = String::new();
    // Where the name of each open element begins in the path, and the text of it so far.
    let mut open: Vec<(usize, String)> = Vec::new();
    let add = |open: &mut Vec<(usize, String)>, more: &str| {
        if let Some((_, text)) = open.last_mut()
            && text.len() + more.len() <= MAX_TEXT_BYTES
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
                open.push((path.len(), String::new()));
                if !path.is_empty() {
                    path.push('/');
                }
                path.push_str(element.local_name().as_ref());
            }
            Event::End(_) => {
                let Some((begin, text)) = open.pop() else {
                    return Err(wrong("ends an element that it has not begun".into()));
                };
                let text = text.trim();
                if !text.is_empty() {
                    found(&path, text);
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
                    return Err(wrong("has an entity that XML does not have by itself".into()));
                };
                add(&mut open, character.encode_utf8(&mut [0; 4]));
            }
            Event::DocType(_) => return Err(wrong("has a document type".into())),
            Event::Eof if open.is_empty() => return Ok(()),
            Event::Eof => return Err(wrong("is cut off".into())),
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
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
        let long = format!("<a>{}</a>", "x".repeat(5000));
        assert_eq!(texts(&long).unwrap(), [""; 0]);
        assert!(each_text(&[0xff, b'<'], |_, _| {}).is_err());
    }

    proptest! {
        #[test]
        fn any_document_is_read_or_refused(document in "\\PC{0,80}|(<[a-c]>|</[a-c]>|&[a-z]{0,3};|<!--|-->|<!\\[CDATA\\[|x){0,12}") {
            let mut longest = 0;
            let _ = each_text(document.as_bytes(), |path, text| longest = longest.max(path.len() + text.len()));
            prop_assert!(longest <= document.len());
        }
    }
}
