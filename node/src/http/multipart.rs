//! Forms with files, `multipart/form-data` (RFC 7578), as a stream: a part of any size passes by
//! in pieces, and nothing that a client sends is kept beyond its limit.

use axum::http::{HeaderMap, header};
use bytes::{Buf, Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use memchr::memmem;

use crate::http::body::BodyError;
use crate::http::error::{ApiError, ErrorKind};

/// The longest boundary that RFC 2046 allows.
const MAX_BOUNDARY_BYTES: usize = 70;

/// The longest head of a part, and the most that may stand before the first.
const MAX_HEAD_BYTES: usize = 8 << 10;

/// The most parts.
const MAX_PARTS: usize = 10_000;

/// Why a form could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MultipartError {
    #[error("the body is not multipart/form-data")]
    NotMultipart,
    #[error("the form is malformed: {0}")]
    Malformed(&'static str),
    #[error("the form has more than {MAX_PARTS} parts")]
    TooManyParts,
    #[error("the field {name:?} is longer than {limit_bytes} bytes")]
    FieldTooLarge { name: String, limit_bytes: usize },
    #[error("the form is larger than {0} bytes")]
    TooLarge(u64),
    #[error(transparent)]
    Body(#[from] BodyError),
}

impl From<MultipartError> for ApiError {
    fn from(error: MultipartError) -> Self {
        let kind = match error {
            MultipartError::Body(error) => return error.into(),
            MultipartError::NotMultipart => ErrorKind::UnsupportedMediaType,
            MultipartError::TooLarge(_) | MultipartError::FieldTooLarge { .. } => ErrorKind::TooLarge,
            MultipartError::Malformed(_) | MultipartError::TooManyParts => ErrorKind::BadRequest,
        };
        Self::new(kind, error.to_string())
    }
}

/// What a part says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The field.
    pub(crate) name: String,
    /// The name of the file that it holds.
    pub(crate) file_name: Option<String>,
}

/// A form that is being read.
pub(crate) struct Multipart<S> {
    body: S,
    left_bytes: u64,
    limit_bytes: u64,
    buffer: BytesMut,
    /// What ends a part: a line break, two hyphens, the boundary.
    delimiter: Vec<u8>,
    /// Whether the line break may have no carriage return.
    takes_bare_breaks: bool,
    parts: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// In what comes before the first part, or in a part.
    Inside,
    /// After a delimiter.
    Between,
    /// After the last part.
    Done,
}

impl<S: Stream<Item = Result<Bytes, BodyError>> + Unpin> Multipart<S> {
    /// Begins to read a form of at most `limit_bytes`.
    pub(crate) fn new(headers: &HeaderMap, body: S, limit_bytes: u64) -> Result<Self, MultipartError> {
        let boundary = boundary(headers).ok_or(MultipartError::NotMultipart)?;
        Ok(Self {
            body,
            left_bytes: limit_bytes,
            limit_bytes,
            // As if a line had ended before the first delimiter.
            buffer: BytesMut::from(b"\r\n".as_slice()),
            delimiter: [b"\r\n--", boundary.as_bytes()].concat(),
            takes_bare_breaks: false,
            parts: 0,
            state: State::Inside,
        })
    }

    /// Has parts also end where the line break before a boundary has no carriage return, for clients that end them as
    /// lines end on their system.
    pub(crate) fn with_bare_breaks(mut self) -> Self {
        self.delimiter.remove(0);
        self.takes_bare_breaks = true;
        self
    }

    /// The next part; what was not read of the one before it is skipped.
    pub(crate) async fn next(&mut self) -> Result<Option<Part>, MultipartError> {
        let mut skipped_bytes = 0;
        while let Some(piece) = self.chunk().await? {
            skipped_bytes += piece.len();
            if self.parts == 0 && skipped_bytes > MAX_HEAD_BYTES {
                return Err(MultipartError::Malformed("its first part does not begin"));
            }
        }
        if self.state == State::Done {
            return Ok(None);
        }
        self.parts += 1;
        if self.parts > MAX_PARTS {
            return Err(MultipartError::TooManyParts);
        }
        self.head().await.map(Some)
    }

    /// The next piece of the current part; none at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, MultipartError> {
        while self.state == State::Inside {
            if let Some(at) = memmem::find(&self.buffer, &self.delimiter) {
                let has_return = self.takes_bare_breaks && self.buffer[..at].ends_with(b"\r");
                let end = at - usize::from(has_return);
                if end > 0 {
                    return Ok(Some(self.buffer.split_to(end).freeze()));
                }
                self.buffer.advance(at + self.delimiter.len());
                self.end_delimiter().await?;
                break;
            }
            // The end of the buffer may be the beginning of a delimiter, and of the line break before it.
            let held = self.delimiter.len() + usize::from(self.takes_bare_breaks);
            let certain = (self.buffer.len() + 1).saturating_sub(held);
            if certain > 0 {
                return Ok(Some(self.buffer.split_to(certain).freeze()));
            }
            self.fill().await?;
        }
        Ok(None)
    }

    /// The pieces of the current part, as a stream.
    pub(crate) fn pieces(&mut self) -> impl Stream<Item = Result<Bytes, ApiError>> + Unpin {
        Box::pin(stream::try_unfold(self, async |form| {
            let piece = form.chunk().await?;
            Ok(piece.map(|piece| (piece, form)))
        }))
    }

    /// The whole of the current part, which is named `name`, as text.
    pub(crate) async fn text(&mut self, name: &str, limit_bytes: usize) -> Result<String, MultipartError> {
        let mut text = Vec::new();
        while let Some(piece) = self.chunk().await? {
            text.extend_from_slice(&piece);
            if text.len() > limit_bytes {
                return Err(MultipartError::FieldTooLarge {
                    name: name.into(),
                    limit_bytes,
                });
            }
        }
        String::from_utf8(text).map_err(|_| MultipartError::Malformed("a field is not UTF-8"))
    }

    /// Reads and forgets the rest: whoever breaks off what they send has not sent it.
    pub(crate) async fn drain(&mut self) -> Result<(), MultipartError> {
        loop {
            self.buffer.clear();
            match self.body.next().await {
                Some(piece) => self.count(&piece?)?,
                None => return Ok(()),
            }
        }
    }

    /// What follows a delimiter: two hyphens after the last part, a line break otherwise.
    async fn end_delimiter(&mut self) -> Result<(), MultipartError> {
        while self.buffer.len() < 2 {
            self.fill().await?;
        }
        if self.buffer.starts_with(b"--") {
            self.state = State::Done;
            return self.drain().await;
        }
        // Blanks may stand before the line break.
        let mut blanks = 0;
        loop {
            while self.buffer.len() < 2 {
                self.fill().await?;
            }
            match self.buffer[0] {
                b' ' | b'\t' if blanks < MAX_HEAD_BYTES => {
                    blanks += 1;
                    self.buffer.advance(1);
                }
                b'\r' if self.buffer[1] == b'\n' => break,
                _ => return Err(MultipartError::Malformed("a boundary does not end its line")),
            }
        }
        // The line break stays: a head without lines is that one and another.
        self.state = State::Between;
        Ok(())
    }

    /// Reads the head of a part.
    async fn head(&mut self) -> Result<Part, MultipartError> {
        let end = loop {
            if let Some(end) = memmem::find(&self.buffer, b"\r\n\r\n") {
                break end;
            }
            if self.buffer.len() > MAX_HEAD_BYTES {
                return Err(MultipartError::Malformed("the head of a part is too long"));
            }
            self.fill().await?;
        };
        let head = self.buffer.split_to(end);
        self.buffer.advance(4);
        self.state = State::Inside;
        let head =
            std::str::from_utf8(&head).map_err(|_| MultipartError::Malformed("a head is not UTF-8"))?;
        part(head).ok_or(MultipartError::Malformed("a part has no name"))
    }

    async fn fill(&mut self) -> Result<(), MultipartError> {
        match self.body.next().await {
            Some(piece) => {
                let piece = piece?;
                self.count(&piece)?;
                self.buffer.extend_from_slice(&piece);
                Ok(())
            }
            None => Err(MultipartError::Malformed("it ends inside of a part")),
        }
    }

    fn count(&mut self, piece: &Bytes) -> Result<(), MultipartError> {
        match self.left_bytes.checked_sub(piece.len() as u64) {
            Some(left) => {
                self.left_bytes = left;
                Ok(())
            }
            None => Err(MultipartError::TooLarge(self.limit_bytes)),
        }
    }
}

fn boundary(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let (media_type, parameters) = value.split_once(';')?;
    let boundary = parameter(parameters, "boundary")?;
    let fits = media_type.trim().eq_ignore_ascii_case("multipart/form-data")
        && (1..=MAX_BOUNDARY_BYTES).contains(&boundary.len())
        && boundary.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    fits.then_some(boundary)
}

fn part(head: &str) -> Option<Part> {
    let disposition = head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim()
            .eq_ignore_ascii_case("content-disposition")
            .then_some(value)
    })?;
    let (kind, parameters) = disposition.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return None;
    }
    Some(Part {
        name: parameter(parameters, "name")?,
        file_name: parameter(parameters, "filename"),
    })
}

/// One of `; name=value; name="value"`.
fn parameter(mut text: &str, wanted: &str) -> Option<String> {
    while let Some((name, rest)) = text.split_once('=') {
        let name = name.trim_start_matches([';', ' ', '\t']).trim();
        let (value, after) = match rest.trim_start().strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let end = rest.find(';').unwrap_or(rest.len());
                (rest[..end].trim().to_owned(), &rest[end..])
            }
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        text = after;
    }
    None
}

/// The text up to the closing quote, and what follows it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn typed(content_type: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap())])
    }

    /// Reads a form that comes in pieces of this size.
    fn read(text: &[u8], piece_bytes: usize, limit: u64) -> Result<Vec<(Part, Vec<u8>)>, MultipartError> {
        let pieces: Vec<_> = text
            .chunks(piece_bytes)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        futures::executor::block_on(async {
            let headers = typed("multipart/form-data; boundary=\"b-1\"");
            let mut form = Multipart::new(&headers, futures::stream::iter(pieces), limit)?;
            let mut parts = Vec::new();
            while let Some(part) = form.next().await? {
                let mut content = Vec::new();
                while let Some(piece) = form.chunk().await? {
                    content.extend_from_slice(&piece);
                    assert!(form.buffer.len() <= piece_bytes + form.delimiter.len());
                }
                parts.push((part, content));
            }
            Ok(parts)
        })
    }

    pub(in crate::http) const FORM: &[u8] = b"--b-1\r\n\
        Content-Disposition: form-data; name=\"name\"\r\n\r\n\
        foo\r\n\
        --b-1 \r\n\
        content-type: application/octet-stream\r\n\
        content-disposition: form-data; name=content; filename=\"a \\\"b\\\".whl\"\r\n\r\n\
        \r\n--b-\r\n--b\r\n\
        --b-1\r\n\
        Content-Disposition: form-data; name=\"empty\"\r\n\r\n\
        \r\n--b-1--\r\nepilogue";

    #[test]
    fn parts_come_out_however_they_are_cut() {
        for piece_bytes in 1..FORM.len() {
            let parts = read(FORM, piece_bytes, 1 << 20).unwrap();
            let part = |name: &str, file_name: Option<&str>, content: &[u8]| {
                let part = Part {
                    name: name.into(),
                    file_name: file_name.map(Into::into),
                };
                (part, content.to_vec())
            };
            let expected = [
                part("name", None, b"foo"),
                part("content", Some("a \"b\".whl"), b"\r\n--b-\r\n--b"),
                part("empty", None, b""),
            ];
            assert_eq!(parts, expected, "{piece_bytes}");
        }
    }

    #[test]
    fn parts_may_end_with_a_bare_line_break_for_those_who_ask() {
        let form = b"--b-1\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n\n2\r\n--b-1\r\n\
            Content-Disposition: form-data; name=b\r\n\r\n3\n--b-1--";
        for piece_bytes in 1..form.len() {
            let pieces: Vec<_> = form
                .chunks(piece_bytes)
                .map(|piece| Ok(Bytes::copy_from_slice(piece)))
                .collect();
            let contents = futures::executor::block_on(async {
                let headers = typed("multipart/form-data; boundary=b-1");
                let form = Multipart::new(&headers, futures::stream::iter(pieces), 1000).unwrap();
                let mut form = form.with_bare_breaks();
                let mut contents = Vec::new();
                while let Some(part) = form.next().await.unwrap() {
                    contents.push(form.text(&part.name, 100).await.unwrap());
                }
                contents
            });
            assert_eq!(contents, ["1\r\n\n2", "3"], "{piece_bytes}");
        }
        assert!(read(form, 100, 1000).is_err());
    }

    #[test]
    fn what_is_no_form_is_refused() {
        let check = |text: &str, part: &str| {
            let error = read(text.as_bytes(), 100, 1 << 20).unwrap_err().to_string();
            assert!(error.contains(part), "{error} / {part}");
        };
        check("", "ends inside");
        check("--b-1\r\n", "ends inside");
        check("--b-1\r\n\r\n\r\n--b-1--", "has no name");
        check("--b-1x\r\n", "does not end its line");
        check(
            "--b-1\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\nabc",
            "ends inside",
        );
        check(
            "--b-1\r\nContent-Disposition: attachment; name=\"x\"\r\n\r\n\r\n--b-1--",
            "no name",
        );
        check(&"x".repeat(20_000), "does not begin");
        check(&format!("--b-1\r\nx: {}", "x".repeat(20_000)), "too long");
        let many = "--b-1\r\nContent-Disposition: form-data; name=x\r\n\r\n\r\n".repeat(MAX_PARTS + 1);
        check(&many, "more than 10000 parts");
        let error = read(FORM, 100, 50).unwrap_err();
        assert!(matches!(error, MultipartError::TooLarge(50)), "{error}");
        for content_type in [
            "text/plain",
            "multipart/form-data",
            "multipart/mixed; boundary=x",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=\"x",
        ] {
            assert!(boundary(&typed(content_type)).is_none(), "{content_type}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(flips in prop::collection::vec((0..400usize, any::<u8>()), 0..6), piece_bytes in 1..50usize) {
            let mut form = FORM.to_vec();
            let len = form.len();
            for (at, byte) in flips {
                form[at % len] = byte;
            }
            let _ = read(&form, piece_bytes, 1 << 20);
        }
    }
}
