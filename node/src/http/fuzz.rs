//! The parsers of requests that are fuzzed.

use axum::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use futures::executor::block_on;
use futures::stream;

use super::entrance::proxy;
use super::multipart::{Multipart, MultipartError};
use super::{path, range};
use crate::auth::token::Token;
#[cfg(test)]
use crate::fuzz::lines;
use crate::fuzz::{Target, text};

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "http_multipart",
        read: |bytes| block_on(form(bytes)).is_ok(),
        #[cfg(test)]
        seeds: || vec![super::multipart::tests::FORM.into()],
    },
    Target {
        name: "http_path",
        read: |bytes| text(bytes, |path| path::check(path).is_ok()),
        #[cfg(test)]
        seeds: || lines("/api/v4/projects/a%2Fb/packages/npm/@acme%2fleft\n/v2/"),
    },
    Target {
        name: "http_proxy_header",
        read: |mut bytes| block_on(proxy::read(&mut bytes)).is_ok(),
        #[cfg(test)]
        seeds: || {
            vec![
                b"PROXY TCP4 10.0.0.1 10.0.0.2 4000 443\r\n".into(),
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\0\0\x01\x0a\0\0\x02\x0f\xa0\x01\xbb".into(),
            ]
        },
    },
    Target {
        name: "http_range",
        read: |bytes| text(bytes, ranges),
        #[cfg(test)]
        seeds: || lines("bytes=0-1\nbytes=5-\nbytes=-3"),
    },
    Target {
        name: "http_token",
        read: |bytes| text(bytes, token),
        #[cfg(test)]
        seeds: || {
            use crate::auth::token::TokenKind;
            vec![
                Token::generate(TokenKind::Personal, &cairn_cluster::Seams::system())
                    .reveal()
                    .into(),
            ]
        },
    },
];

async fn form(body: &[u8]) -> Result<(), MultipartError> {
    let headers = HeaderMap::from_iter([(
        header::CONTENT_TYPE,
        HeaderValue::from_static("multipart/form-data; boundary=\"b-1\""),
    )]);
    let pieces = body.chunks(50).map(|piece| Ok(Bytes::copy_from_slice(piece)));
    let mut form = Multipart::new(&headers, stream::iter(pieces), 1 << 20)?;
    while form.next().await?.is_some() {
        while form.chunk().await?.is_some() {}
    }
    Ok(())
}

fn ranges(text: &str) -> bool {
    match range::parse(text, 1000) {
        range::Parsed::One(part) => {
            assert!(part.start < part.end && part.end <= 1000);
            true
        }
        _ => false,
    }
}

fn token(text: &str) -> bool {
    let token = text.parse::<Token>();
    if let Ok(token) = &token {
        assert_eq!(token.reveal(), text);
    }
    token.is_ok()
}
