//! Reads the YAML of gems: what Ruby's own writer makes of a specification and of checksums.
//!
//! A tag names a class of Ruby, and what a reader makes of a class that it does not expect has been
//! an attack before. So tags are read and only those that a specification needs are taken; none of
//! them means anything here, where everything becomes text, lists and maps. Aliases, merge keys,
//! keys that come twice and further documents are refused, because readers disagree about them.

use std::collections::BTreeSet;

use granit_parser::{Event, Parser, ScalarStyle, Tag};

/// How deep lists and maps nest.
const MAX_DEPTH: usize = 16;

/// The most scalars, lists and maps.
const MAX_NODES: usize = 200_000;

/// The classes that are taken.
const CLASSES: &[&str] = &[
    "Gem::Specification",
    "Gem::Version",
    "Gem::Requirement",
    "Gem::Dependency",
    "Gem::Version::Requirement",
];

/// A document, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// What is written without quotes may be nothing.
    Text {
        text: String,
        is_quoted: bool,
    },
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// Why it was not read: what follows the word for the document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct YamlError(String);

fn refused<T>(why: impl Into<String>) -> Result<T, YamlError> {
    Err(YamlError(why.into()))
}

impl Node {
    /// Reads the one document of a text.
    pub(super) fn read(text: &[u8]) -> Result<Self, YamlError> {
        let Ok(text) = std::str::from_utf8(text) else {
            return refused("is not UTF-8");
        };
        Reader {
            events: Parser::new_from_str_with_options(
                text,
                granit_parser::options! {
                    disallow_directives: true,
                    flow_nesting_limit: MAX_DEPTH,
                    block_nesting_limit: 2 * MAX_DEPTH,
                },
            ),
            nodes: 0,
        }
        .document()
    }

    /// What a map has under a key, unless that is nothing.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(entries) = self else {
            return None;
        };
        let found = entries.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value).filter(|value| !value.is_nothing())
    }

    fn is_nothing(&self) -> bool {
        let words = ["", "~", "null", "Null", "NULL"];
        matches!(self, Self::Text { text, is_quoted: false } if words.contains(&text.as_str()))
    }

    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text { text, .. } => Some(text),
            Self::List(_) | Self::Map(_) => None,
        }
    }

    /// The elements, if it is a list.
    pub(super) fn list(&self) -> Option<&[Self]> {
        match self {
            Self::List(elements) => Some(elements),
            Self::Text { .. } | Self::Map(_) => None,
        }
    }

    /// Keys and values, if it is a map.
    pub(super) fn map(&self) -> Option<&[(String, Self)]> {
        match self {
            Self::Map(entries) => Some(entries),
            Self::Text { .. } | Self::List(_) => None,
        }
    }
}

/// Makes nodes of events.
struct Reader<'t> {
    events: Parser<'t, granit_parser::StrInput<'t>>,
    nodes: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<Event<'t>, YamlError> {
        match self.events.next_event() {
            Some(Ok((event, _))) => Ok(event),
            Some(Err(error)) => {
                let said = error.to_string();
                refused(format!(
                    "is malformed: {}",
                    said.lines().next().unwrap_or_default()
                ))
            }
            None => Ok(Event::StreamEnd),
        }
    }

    fn document(mut self) -> Result<Node, YamlError> {
        loop {
            match self.next()? {
                Event::StreamStart | Event::DocumentStart(..) => {}
                Event::StreamEnd => return refused("is empty"),
                event => {
                    let node = self.node(event, 0)?;
                    return match (self.next()?, self.next()?) {
                        (Event::DocumentEnd, Event::StreamEnd) => Ok(node),
                        _ => refused("has more than one document"),
                    };
                }
            }
        }
    }

    fn node(&mut self, event: Event<'t>, depth: usize) -> Result<Node, YamlError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return refused(format!("has more than {MAX_NODES} parts"));
        }
        if depth > MAX_DEPTH {
            return refused(format!("nests deeper than {MAX_DEPTH}"));
        }
        match event {
            Event::Scalar(text, style, 0, tag) => {
                check_tag(tag.as_deref())?;
                Ok(Node::Text {
                    text: text.into_owned(),
                    is_quoted: style != ScalarStyle::Plain,
                })
            }
            Event::SequenceStart(_, 0, tag) => {
                check_tag(tag.as_deref())?;
                let mut elements = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => return Ok(Node::List(elements)),
                        event => elements.push(self.node(event, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(_, 0, tag) => {
                check_tag(tag.as_deref())?;
                self.map(depth)
            }
            Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..) | Event::Alias(_) => {
                refused("has anchors or aliases")
            }
            _ => refused("is malformed"),
        }
    }

    fn map(&mut self, depth: usize) -> Result<Node, YamlError> {
        let (mut entries, mut keys) = (Vec::new(), BTreeSet::new());
        loop {
            let key = match self.next()? {
                Event::MappingEnd => return Ok(Node::Map(entries)),
                event => self.node(event, depth + 1)?,
            };
            let Node::Text { text: key, is_quoted } = key else {
                return refused("has a key that is no text");
            };
            if key == "<<" && !is_quoted {
                return refused("has a merge key");
            }
            if !keys.insert(key.clone()) {
                return refused(format!("has the key {key:.80?} twice"));
            }
            let value = self.next()?;
            entries.push((key, self.node(value, depth + 1)?));
        }
    }
}

fn check_tag(tag: Option<&Tag>) -> Result<(), YamlError> {
    let Some(tag) = tag else {
        return Ok(());
    };
    let name = format!("{}{}", tag.handle(), tag.suffix());
    let is_class = |class: &str| CLASSES.contains(&class);
    let is_known = match name.strip_prefix("!ruby/") {
        Some(ruby) => ["sym", "symbol"].contains(&ruby) || ruby.strip_prefix("object:").is_some_and(is_class),
        // Old writers mark quoted text by it; the others are what it is anyway.
        None => [
            "!",
            "tag:yaml.org,2002:str",
            "tag:yaml.org,2002:seq",
            "tag:yaml.org,2002:map",
        ]
        .contains(&name.as_str()),
    };
    match is_known {
        true => Ok(()),
        false => refused(format!("has a part of a kind that no gem needs: {name:.80?}")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(text: &str) -> String {
        Node::read(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn classes_of_a_specification_are_taken_and_become_plain() {
        let text = "--- !ruby/object:Gem::Specification\nname: acme\nversion: !ruby/object:Gem::Version\n  version: 1.10\n\
            type: :runtime\nkind: !ruby/sym development\nnone:\nempty: \"\"\nlist:\n- - ! '>='\n  - x\nsummary: |-\n  a\n  b\n";
        let node = Node::read(text.as_bytes()).unwrap();
        assert_eq!(node.get("name").unwrap().text(), Some("acme"));
        assert_eq!(
            node.get("version").unwrap().get("version").unwrap().text(),
            Some("1.10")
        );
        assert_eq!(node.get("type").unwrap().text(), Some(":runtime"));
        assert_eq!(node.get("kind").unwrap().text(), Some("development"));
        assert_eq!(node.get("none"), None);
        assert_eq!(node.get("empty").unwrap().text(), Some(""));
        assert_eq!(
            node.get("list").unwrap().list().unwrap()[0].list().unwrap()[0].text(),
            Some(">=")
        );
        assert_eq!(node.get("summary").unwrap().text(), Some("a\nb"));
    }

    #[test]
    fn what_is_no_plain_specification_is_refused() {
        for (text, part) in [
            ("--- !ruby/object:Kernel\na: b\n", "no gem needs"),
            ("--- !ruby/object:Gem::Installer\ni: x\n", "no gem needs"),
            ("--- !ruby/hash:Gem::Specification\na: b\n", "no gem needs"),
            ("a: !ruby/regexp /x/\n", "no gem needs"),
            ("a: !binary |\n  eA==\n", "no gem needs"),
            ("a: !!binary eA==\n", "no gem needs"),
            (
                "a: !<tag:ruby.yaml.org,2002:object:Gem::Version> x\n",
                "no gem needs",
            ),
            ("a: &x 1\nb: *x\n", "anchors"),
            ("a: &x [*x]\n", "anchors"),
            ("a: {b: c}\n<<: {d: e}\n", "merge key"),
            ("a: 1\na: 2\n", "twice"),
            ("[a]: b\n", "no text"),
            ("--- a\n--- b\n", "more than one document"),
            ("%YAML 1.1\n--- a\n", "malformed"),
            ("a: [", "malformed"),
            ("\"\\ud800\"", "malformed"),
            ("", "empty"),
            (&"[".repeat(40), "malformed"),
            (
                &format!(
                    "a:\n{}",
                    (1..40)
                        .map(|depth| format!("{}a:\n", " ".repeat(depth)))
                        .collect::<String>()
                ),
                "deep",
            ),
        ] {
            assert!(refusal(text).contains(part), "{text:?}: {}", refusal(text));
        }
        assert!(Node::read(b"\xff\xfe").is_err());
        let many = "- a\n".repeat(MAX_NODES + 1);
        assert!(refusal(&many).contains("more than 200000 parts"));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in any::<Vec<u8>>(), yaml in "[a-c:\\-\\[\\]{},!&*|>'\"#% \n]{0,80}") {
            let _ = Node::read(&text);
            let _ = Node::read(yaml.as_bytes());
        }
    }
}
