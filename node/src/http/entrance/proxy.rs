//! The header of the PROXY protocol, versions 1 and 2, by which a proxy that hands on bytes says
//! whose connection it is.

use std::io;
use std::net::IpAddr;

use proxy_header::{Error, ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The shortest header there is, `PROXY UNKNOWN` and the end of the line.
const SHORTEST_BYTES: usize = 15;

/// The longest header that is read. Version 2 would allow 64 KiB; what proxies add about TLS and
/// about themselves takes a few hundred bytes.
const LONGEST_BYTES: usize = 4 << 10;

/// Of version 2: what comes before the addresses, with their length in its last two bytes.
const FIXED_BYTES: usize = 16;

/// What a header of version 2 begins with; one of version 1 is text.
const VERSION_2: u8 = b'\r';

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub(in crate::http) enum HeaderError {
    #[error("it does not begin with a header of the PROXY protocol")]
    Malformed,
    #[error("its header of the PROXY protocol is longer than {LONGEST_BYTES} bytes")]
    TooLong,
    #[error("its header of the PROXY protocol does not end")]
    Cut(#[from] io::Error),
}

/// Reads the header, and not a byte behind it. Gives the address of the client; none if the proxy
/// speaks for itself, or for somebody who has no address.
pub(in crate::http) async fn read<S: AsyncRead + Unpin>(
    stream: &mut S,
) -> Result<Option<IpAddr>, HeaderError> {
    let mut header = vec![0; SHORTEST_BYTES];
    stream.read_exact(&mut header).await?;
    let config = ParseConfig {
        include_tlvs: false,
        ..ParseConfig::default()
    };
    loop {
        match ProxyHeader::parse(&header, config) {
            Ok((parsed, _)) => {
                let client = parsed.proxied_address();
                return Ok(client.map(|client| client.source.ip()));
            }
            Err(Error::BufferTooShort) => {
                let (read, missing) = (header.len(), missing_bytes(&header));
                if read + missing > LONGEST_BYTES {
                    return Err(HeaderError::TooLong);
                }
                header.resize(read + missing, 0);
                stream.read_exact(&mut header[read..]).await?;
            }
            Err(_) => return Err(HeaderError::Malformed),
        }
    }
}

/// How much is missing at least.
fn missing_bytes(header: &[u8]) -> usize {
    match header {
        [VERSION_2, .., high, low] if header.len() == FIXED_BYTES => {
            // Less than the addresses take is found out with what follows.
            usize::from(u16::from_be_bytes([*high, *low])).max(1)
        }
        // The end of version 1 is found by looking for it.
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxy_header::{ProxiedAddress, Tlv};
    use tokio::runtime::Builder;

    use super::*;

    /// What a header says, and what is left behind it.
    fn read_all(mut bytes: &[u8]) -> Result<(Option<String>, Vec<u8>), HeaderError> {
        let runtime = Builder::new_current_thread().build().unwrap();
        let client = runtime.block_on(read(&mut bytes))?;
        Ok((client.map(|client| client.to_string()), bytes.to_vec()))
    }

    #[track_caller]
    fn check(header: &[u8], expected: Option<&str>) {
        let (client, left) = read_all(&[header, b"GET / HTTP/1.1"].concat()).unwrap();
        assert_eq!(client.as_deref(), expected);
        assert_eq!(left, b"GET / HTTP/1.1");
    }

    fn version_2(source: &str, destination: &str) -> ProxyHeader<'static> {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        ProxyHeader::with_address(ProxiedAddress::stream(source, destination))
    }

    fn encoded(header: &ProxyHeader<'_>) -> Vec<u8> {
        let mut bytes = vec![0; 70_000];
        let length = header.encode_to_slice_v2(&mut bytes).unwrap();
        bytes.truncate(length);
        bytes
    }

    #[test]
    fn both_versions_name_the_client_and_leave_what_follows() {
        check(
            b"PROXY TCP4 203.0.113.5 192.0.2.1 51234 443\r\n",
            Some("203.0.113.5"),
        );
        check(
            b"PROXY TCP6 2001:db8::5 2001:db8::1 51234 443\r\n",
            Some("2001:db8::5"),
        );
        let mut header = version_2("203.0.113.5:51234", "192.0.2.1:443");
        check(&encoded(&header), Some("203.0.113.5"));
        header.append_tlv(Tlv::Authority("cairn.example".into()));
        check(&encoded(&header), Some("203.0.113.5"));
        check(
            &encoded(&version_2("[2001:db8::5]:51234", "[2001:db8::1]:443")),
            Some("2001:db8::5"),
        );
    }

    #[test]
    fn a_proxy_that_speaks_for_itself_names_nobody() {
        check(b"PROXY UNKNOWN\r\n", None);
        check(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None);
        check(&encoded(&ProxyHeader::with_local()), None);
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let mut long = version_2("203.0.113.5:51234", "192.0.2.1:443");
        long.append_tlv(Tlv::Noop(LONGEST_BYTES));
        let long = encoded(&long);
        let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; 500]].concat();
        for bytes in [
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".as_slice(),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00\x00\x00",
            b"PROXY TCP4 203.0.113.500 192.0.2.1 51234 443\r\n",
            b"PROXY TCP4 203.0.113.5 192.0.2.1 51234 443\n\n",
            b"PROXY UDP4 203.0.113.5 192.0.2.1 51234 443\r\n",
            b"PROXY TCP4 203.0.113.5",
            b"PROXY",
            // Addresses of IPv4, in no bytes at all and in four.
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\0GET / HTTP/1.1\r\nhost: a\r\n\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04GET / HTTP/1.1\r\nhost: a\r\n\r\n",
            b"",
            &endless,
            &long,
            &long[..100],
        ] {
            let read = read_all(bytes);
            assert!(read.is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    fn something_like_a_header() -> impl Strategy<Value = Vec<u8>> {
        let begin = prop_oneof![
            Just(b"".to_vec()),
            Just(b"PROXY ".to_vec()),
            Just(b"PROXY TCP4 1.1.1.1 ".to_vec()),
            Just(b"\r\n\r\n\0\r\nQUIT\n".to_vec()),
            Just(b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec()),
            Just(b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00".to_vec()),
        ];
        (begin, proptest::collection::vec(any::<u8>(), 0..300))
            .prop_map(|(begin, rest)| [begin, rest].concat())
    }

    proptest! {
        #[test]
        fn no_bytes_break_it_or_are_read_beyond_the_limit(bytes in something_like_a_header()) {
            let mut left = bytes.as_slice();
            let runtime = Builder::new_current_thread().build().unwrap();
            let read = runtime.block_on(read(&mut left));
            prop_assert!(bytes.len() - left.len() <= LONGEST_BYTES);
            if read.is_ok() {
                let header = &bytes[..bytes.len() - left.len()];
                // What was read is one header: the same without what follows, none with less.
                prop_assert!(read_all(header).is_ok());
                prop_assert!(read_all(&header[..header.len() - 1]).is_err());
            }
        }
    }
}
