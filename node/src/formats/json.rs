//! Reads foreign JSON as a stream, within limits.
//!
//! Unlike a plain parser it refuses what two parsers may read differently (a key that comes
//! twice) and what exhausts memory or stack (depth, long strings, many values). What is skipped
//! or streamed costs no memory. Keys are plain data: `__proto__` is a key like any other.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io::{self, Read};
use std::rc::Rc;

use serde_json::{Map, Value};
use struson::reader::{JsonReader, JsonStreamReader, ReaderError, ReaderSettings, ValueType};

/// How much of a document is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of the document, apart from strings that are streamed.
    pub(crate) document_bytes: u64,
    /// Bytes of one captured string or key.
    pub(crate) string_bytes: u64,
    /// Nested arrays and objects.
    pub(crate) depth: u32,
}

/// Why a document could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JsonError {
    #[error("malformed JSON: {0}")]
    Syntax(String),
    #[error("the JSON document has the key {0:?} twice in one object")]
    DuplicateKey(String),
    #[error("the JSON document is nested deeper than {0} levels")]
    TooDeep(u32),
    #[error("the JSON document is larger than allowed")]
    TooLarge,
    #[error("read the document: {0}")]
    Io(#[source] io::Error),
}

/// The memory that captured values may take, roughly.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget(pub(crate) usize);

impl Budget {
    /// What a value costs apart from its text.
    const VALUE: usize = 32;
    /// What a member of an object costs more than its key and its value.
    const MEMBER: usize = 64;

    /// Takes `cost`; false, and nothing left, if there was not enough.
    pub(crate) fn charge(&mut self, cost: usize) -> bool {
        let left = self.0.checked_sub(cost);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

/// What the tokenizer reads ahead, and so is counted against the token before.
const READ_AHEAD: u64 = 2048;

/// A JSON document that is being read.
pub(crate) struct Reader<R: Read> {
    json: JsonStreamReader<Metered<R>>,
    meter: Rc<Meter>,
    limits: Limits,
}

/// Shared by the reader and the source under it, which the tokenizer owns.
struct Meter {
    document_left: Cell<u64>,
    token_left: Cell<u64>,
    counting: Cell<bool>,
    exceeded: Cell<bool>,
    failed: RefCell<Option<io::Error>>,
}

/// The source, cut off where a limit is reached.
struct Metered<R> {
    inner: R,
    meter: Rc<Meter>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let meter = &self.meter;
        let mut allowed = out.len();
        if meter.counting.get() {
            let left = meter.document_left.get().min(meter.token_left.get());
            allowed = allowed.min(usize::try_from(left).unwrap_or(usize::MAX));
        }
        if allowed == 0 && !out.is_empty() {
            meter.exceeded.set(true);
            return Err(io::Error::other("over the limit"));
        }
        let count = self.inner.read(&mut out[..allowed]).inspect_err(|error| {
            // The tokenizer passes on only the text of an error, so its kind is kept here.
            if error.kind() != io::ErrorKind::Interrupted {
                let kept = io::Error::new(error.kind(), error.to_string());
                meter.failed.borrow_mut().get_or_insert(kept);
            }
        })?;
        if meter.counting.get() {
            meter.document_left.set(meter.document_left.get() - count as u64);
            meter.token_left.set(meter.token_left.get() - count as u64);
        }
        Ok(count)
    }
}

impl<R: Read> Reader<R> {
    /// Begins to read a document.
    pub(crate) fn new(source: R, limits: Limits) -> Self {
        let meter = Rc::new(Meter {
            document_left: Cell::new(limits.document_bytes),
            token_left: Cell::new(u64::MAX),
            counting: Cell::new(true),
            exceeded: Cell::new(false),
            failed: RefCell::new(None),
        });
        let settings = ReaderSettings {
            max_nesting_depth: Some(limits.depth),
            // Paths help people who write documents by hand; these come from clients.
            track_path: false,
            ..ReaderSettings::default()
        };
        let source = Metered {
            inner: source,
            meter: meter.clone(),
        };
        Self {
            json: JsonStreamReader::new_custom(source, settings),
            meter,
            limits,
        }
    }

    /// What kind of value comes next.
    pub(crate) fn peek(&mut self) -> Result<ValueType, JsonError> {
        self.step(JsonStreamReader::peek)
    }

    /// Enters an object.
    pub(crate) fn begin_object(&mut self) -> Result<(), JsonError> {
        self.step(JsonStreamReader::begin_object)
    }

    /// The next key of the object that was entered, or `None` at its end, which it leaves.
    /// `seen` holds the object's keys so far.
    pub(crate) fn next_key(
        &mut self,
        seen: &mut HashSet<String>,
        budget: &mut Budget,
    ) -> Result<Option<String>, JsonError> {
        let Some(key) = self.next_name()? else {
            return Ok(None);
        };
        if !budget.charge(key.len() + Budget::MEMBER) {
            return Err(JsonError::TooLarge);
        }
        if !seen.insert(key.clone()) {
            return Err(JsonError::DuplicateKey(key));
        }
        Ok(Some(key))
    }

    /// Captures the next value, whatever it is; passes over it and answers `None` if it does
    /// not fit into the budget.
    pub(crate) fn value(&mut self, budget: &mut Budget) -> Result<Option<Value>, JsonError> {
        if !budget.charge(Budget::VALUE) {
            self.skip()?;
            return Ok(None);
        }
        match self.peek()? {
            ValueType::Object => self.object(budget),
            ValueType::Array => self.array(budget),
            ValueType::String => {
                let text = self.step(JsonStreamReader::next_string)?;
                refuse_nul(&text)?;
                Ok(budget.charge(text.len()).then_some(Value::String(text)))
            }
            ValueType::Number => {
                let text = self.step(JsonStreamReader::next_number_as_string)?;
                let number = text
                    .parse()
                    .map_err(|_| JsonError::Syntax(format!("the number {text} is out of range")))?;
                Ok(Some(Value::Number(number)))
            }
            ValueType::Boolean => Ok(Some(Value::Bool(self.step(JsonStreamReader::next_bool)?))),
            ValueType::Null => {
                self.step(JsonStreamReader::next_null)?;
                Ok(Some(Value::Null))
            }
        }
    }

    fn object(&mut self, budget: &mut Budget) -> Result<Option<Value>, JsonError> {
        self.begin_object()?;
        let mut object = Map::new();
        let mut fits = true;
        while let Some(key) = self.next_name()? {
            fits = fits && budget.charge(key.len() + Budget::MEMBER);
            if !fits {
                self.skip()?;
            } else if object.contains_key(&key) {
                return Err(JsonError::DuplicateKey(key));
            } else if let Some(value) = self.value(budget)? {
                object.insert(key, value);
            } else {
                fits = false;
            }
        }
        Ok(fits.then_some(Value::Object(object)))
    }

    fn array(&mut self, budget: &mut Budget) -> Result<Option<Value>, JsonError> {
        self.step(JsonStreamReader::begin_array)?;
        let mut array = Vec::new();
        let mut fits = true;
        while self.step(JsonStreamReader::has_next)? {
            match self.value(budget)? {
                Some(value) => array.push(value),
                None => fits = false,
            }
        }
        self.step(JsonStreamReader::end_array)?;
        Ok(fits.then_some(Value::Array(array)))
    }

    /// The first `max_bytes` of the next value if it is a string; anything else is skipped.
    pub(crate) fn text_prefix(&mut self, max_bytes: usize) -> Result<Option<String>, JsonError> {
        if self.peek()? != ValueType::String {
            self.skip()?;
            return Ok(None);
        }
        self.meter.token_left.set(u64::MAX);
        let kept = self.read_text(|text| {
            let mut kept = Vec::new();
            text.take(max_bytes as u64).read_to_end(&mut kept).map(|_| kept)
        })?;
        let kept = kept.map_err(|error| self.cause(error))?;
        Ok(Some(lossy_prefix(&kept)))
    }

    /// Hands the next value, which must be a string, to `consume` as a stream of its text. What
    /// is read here does not count against the size of the document.
    pub(crate) fn stream_text<T>(
        &mut self,
        consume: impl FnOnce(&mut dyn Read) -> T,
    ) -> Result<T, JsonError> {
        self.meter.counting.set(false);
        let outcome = self.read_text(consume);
        self.meter.counting.set(true);
        outcome
    }

    /// Passes over the next value.
    pub(crate) fn skip(&mut self) -> Result<(), JsonError> {
        self.meter.token_left.set(u64::MAX);
        self.json
            .skip_value()
            .map_err(|error| classify(&self.meter, self.limits, error))
    }

    /// Ends the document: nothing but white space may follow.
    pub(crate) fn finish(self) -> Result<(), JsonError> {
        let Self { json, meter, limits } = self;
        json.consume_trailing_whitespace()
            .map_err(|error| classify(&meter, limits, error))
    }

    fn next_name(&mut self) -> Result<Option<String>, JsonError> {
        if !self.step(JsonStreamReader::has_next)? {
            self.step(JsonStreamReader::end_object)?;
            return Ok(None);
        }
        let key = self.step(JsonStreamReader::next_name_owned)?;
        refuse_nul(&key)?;
        Ok(Some(key))
    }

    /// Takes one step that holds at most one string in memory.
    fn step<T>(
        &mut self,
        step: impl FnOnce(&mut JsonStreamReader<Metered<R>>) -> Result<T, ReaderError>,
    ) -> Result<T, JsonError> {
        self.meter
            .token_left
            .set(self.limits.string_bytes.saturating_add(READ_AHEAD));
        step(&mut self.json).map_err(|error| classify(&self.meter, self.limits, error))
    }

    /// Lets `consume` read a string, then passes over what it left.
    fn read_text<T>(&mut self, consume: impl FnOnce(&mut dyn Read) -> T) -> Result<T, JsonError> {
        let (meter, limits) = (self.meter.clone(), self.limits);
        let mut text = self
            .json
            .next_string_reader()
            .map_err(|error| classify(&meter, limits, error))?;
        let outcome = consume(&mut text);
        match io::copy(&mut text, &mut io::sink()) {
            Ok(_) => Ok(outcome),
            Err(error) => {
                drop(text);
                Err(self.cause(error))
            }
        }
    }

    /// Why reading a string as a stream failed.
    fn cause(&self, error: io::Error) -> JsonError {
        root_cause(&self.meter).unwrap_or_else(|| JsonError::Syntax(error.to_string()))
    }
}

/// What stopped the source, if it is what stopped the tokenizer.
fn root_cause(meter: &Meter) -> Option<JsonError> {
    if meter.exceeded.get() {
        return Some(JsonError::TooLarge);
    }
    meter.failed.borrow_mut().take().map(JsonError::Io)
}

fn classify(meter: &Meter, limits: Limits, error: ReaderError) -> JsonError {
    if let Some(cause) = root_cause(meter) {
        return cause;
    }
    match error {
        ReaderError::MaxNestingDepthExceeded { .. } => JsonError::TooDeep(limits.depth),
        other => JsonError::Syntax(other.to_string()),
    }
}

/// A zero byte ends a string for some readers and not for others.
fn refuse_nul(text: &str) -> Result<(), JsonError> {
    if text.contains('\0') {
        return Err(JsonError::Syntax("a string has a zero character".into()));
    }
    Ok(())
}

/// Text that was cut at some byte, without a torn last character and without zero characters.
pub(crate) fn lossy_prefix(bytes: &[u8]) -> String {
    let whole = match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => &bytes[..error.valid_up_to()],
        _ => bytes,
    };
    String::from_utf8_lossy(whole).replace('\0', "")
}

/// Reads a whole document that is in memory already, such as a `package.json`.
pub(crate) fn parse(bytes: &[u8], limits: Limits) -> Result<Value, JsonError> {
    // Editors on some systems write a byte order mark, and the client drops it.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = Reader::new(bytes, limits);
    // The document is short enough to be kept whole, however many values it is cut into.
    let mut budget = Budget(usize::MAX);
    let value = reader.value(&mut budget)?.ok_or(JsonError::TooLarge)?;
    reader.finish()?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const LIMITS: Limits = Limits {
        document_bytes: 1 << 20,
        string_bytes: 1 << 16,
        depth: 64,
    };

    fn check(document: &str, expected: Result<Value, &str>) {
        let parsed = parse(document.as_bytes(), LIMITS).map_err(|error| error.to_string());
        match (&parsed, &expected) {
            (Err(error), Err(part)) => assert!(error.contains(part), "{document:.80}: {error}"),
            _ => assert_eq!(
                parsed.as_ref().ok(),
                expected.as_ref().ok(),
                "{document:.80}: {parsed:?}"
            ),
        }
    }

    #[test]
    fn documents_are_read_as_they_are() {
        check(
            r#"{"a":[1,-2.5,true,null,"x\n"],"b":{}}"#,
            Ok(json!({"a": [1, -2.5, true, null, "x\n"], "b": {}})),
        );
        check("\u{feff}{\"a\":1}", Ok(json!({"a": 1})));
        check(
            r#"{"__proto__":{"constructor":1}}"#,
            Ok(json!({"__proto__": {"constructor": 1}})),
        );
        check(" 1 ", Ok(json!(1)));
    }

    #[test]
    fn what_parsers_read_differently_is_refused() {
        check(r#"{"name":"a","name":"b"}"#, Err("the key \"name\" twice"));
        check(r#"{"a":{"x":1,"\u0078":2}}"#, Err("the key \"x\" twice"));
        check(r#"{"a":1}{"b":2}"#, Err("malformed"));
        check(r#"{"a":1,}"#, Err("malformed"));
        check(r#"{"a":"x\u0000y"}"#, Err("zero character"));
        check(r#"{"a\u0000":1}"#, Err("zero character"));
        check(r#"{"a":"\ud800"}"#, Err("malformed"));
        check("{\"a\":\"\u{1}\"}", Err("malformed"));
        check("1e400", Err("malformed"));
        check("NaN", Err("malformed"));
        check("", Err("malformed"));
        check(r#"{"a":"#, Err("malformed"));
        assert!(parse(b"{\"a\":\"\xff\"}", LIMITS).is_err());
    }

    #[test]
    fn limits_hold() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(nested(64).as_bytes(), LIMITS).is_ok());
        check(&nested(65), Err("deeper than 64"));
        check(&nested(10_000), Err("deeper than 64"));
        check(
            &format!("\"{}\"", "x".repeat(1 << 17)),
            Err("larger than allowed"),
        );
        check(
            &format!("{{\"{}\":1}}", "x".repeat(1 << 17)),
            Err("larger than allowed"),
        );
        check(
            &format!("[{}1]", "1,".repeat(1 << 20)),
            Err("larger than allowed"),
        );
        check(&"1".repeat(1000), Err("malformed"));
    }

    #[test]
    fn what_does_not_fit_is_passed_over() {
        let mut reader = Reader::new(r#"{"a":{"x":["yyyyyyyyyyyyyyyy"]},"b":2}"#.as_bytes(), LIMITS);
        let (mut keys, mut plenty) = (HashSet::new(), Budget(10_000));
        reader.begin_object().unwrap();
        assert_eq!(
            reader.next_key(&mut keys, &mut plenty).unwrap().as_deref(),
            Some("a")
        );
        assert_eq!(reader.value(&mut Budget(150)).unwrap(), None);
        assert_eq!(
            reader.next_key(&mut keys, &mut plenty).unwrap().as_deref(),
            Some("b")
        );
        assert_eq!(reader.value(&mut plenty).unwrap(), Some(json!(2)));
        assert_eq!(reader.next_key(&mut keys, &mut plenty).unwrap(), None);
        reader.finish().unwrap();
    }

    #[test]
    fn a_prefix_ends_between_characters() {
        let prefix = |document: &str, max_bytes| {
            let mut reader = Reader::new(document.as_bytes(), LIMITS);
            let text = reader.text_prefix(max_bytes).unwrap();
            reader.finish().unwrap();
            text
        };
        assert_eq!(prefix("\"h\u{e9}llo\"", 2).as_deref(), Some("h"));
        assert_eq!(prefix("\"h\u{e9}llo\"", 3).as_deref(), Some("h\u{e9}"));
        assert_eq!(prefix("\"hello\"", 100).as_deref(), Some("hello"));
        assert_eq!(prefix("[1]", 100), None);
        assert_eq!(
            prefix(&format!("\"{}\"", "x".repeat(1 << 18)), 4).as_deref(),
            Some("xxxx")
        );
    }

    #[test]
    fn a_streamed_string_does_not_count_against_the_document() {
        let document = format!("[\"{}\",7]", "x".repeat(1 << 21));
        let mut reader = Reader::new(document.as_bytes(), LIMITS);
        reader.step(JsonStreamReader::begin_array).unwrap();
        let first = reader
            .stream_text(|text| {
                let mut first = [0; 3];
                text.read_exact(&mut first).unwrap();
                first
            })
            .unwrap();
        assert_eq!(&first, b"xxx");
        assert_eq!(reader.value(&mut Budget(100)).unwrap(), Some(json!(7)));
    }

    #[test]
    fn a_failing_source_is_not_taken_for_bad_json() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::new(io::ErrorKind::ConnectionReset, "gone"))
            }
        }
        let mut reader = Reader::new(r#"{"a":"b"#.as_bytes().chain(Failing), LIMITS);
        let error = reader.value(&mut Budget(1000)).unwrap_err();
        assert!(
            matches!(&error, JsonError::Io(io) if io.kind() == io::ErrorKind::ConnectionReset),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_plain_parser(text in r#"[\[\]{}:,"a1.e\\ -]{0,24}"#) {
            if let Ok(value) = parse(text.as_bytes(), LIMITS) {
                prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
            }
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&bytes, LIMITS);
        }
    }
}
