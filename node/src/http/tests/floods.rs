//! Floods of frames on one connection of HTTP/2: the connection ends, and nobody else notices.

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `GET http://a/`, compressed.
const GET: [u8; 6] = [0x82, 0x86, 0x84, 0x41, 0x01, b'a'];

/// Far more than a server may take; if it takes them all, the test fails.
const MANY: u32 = 20_000;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [head.as_slice(), payload].concat()
}

/// The kinds of the frames that the server sent.
fn kinds(mut sent: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let [a, b, c, kind, ..] = *sent {
        kinds.push(kind);
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        sent = sent.get(9 + length..).unwrap_or_default();
    }
    kinds
}

/// Floods a server; makes sure that it says that it had enough, and still serves others.
async fn check(flood: impl Iterator<Item = Vec<u8>>) {
    let node = TestNode::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::start(listener, Entrance::default(), node.front(), &Limits::default()).unwrap();
    let mut client = TcpStream::connect(server.address()).await.unwrap();
    let (mut reader, mut writer) = client.split();
    let send = async {
        writer.write_all(PREFACE).await.unwrap();
        writer.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        for frames in flood {
            if writer.write_all(&frames).await.is_err() {
                break;
            }
        }
        let _ = writer.shutdown().await;
    };
    let mut answer = Vec::new();
    let receive = async {
        // The connection may end by a reset, after its last frames.
        let _ = reader.read_to_end(&mut answer).await;
    };
    tokio::join!(send, receive);
    let kinds = kinds(&answer);
    assert!(kinds.contains(&GOAWAY), "{kinds:?}");

    let mut other = TcpStream::connect(server.address()).await.unwrap();
    other
        .write_all(b"GET /-/health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut health = String::new();
    other.read_to_string(&mut health).await.unwrap();
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    server.stop(std::time::Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_taken_back_at_once_end_the_connection() {
    let cancel = 8_u32.to_be_bytes();
    check((0..MANY).map(|at| {
        let stream = 2 * at + 1;
        [
            frame(HEADERS, END_STREAM | END_HEADERS, stream, &GET),
            frame(RST_STREAM, 0, stream, &cancel),
        ]
        .concat()
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_goes_on_for_ever_ends_the_connection() {
    let field = [0x00, 0x01, b'x', 0x01, b'y'];
    let more = frame(CONTINUATION, 0, 1, &field.repeat(3000));
    let first = frame(HEADERS, END_STREAM, 1, &GET);
    check(std::iter::once(first).chain((0..MANY).map(|_| more.clone()))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_in_countless_empty_pieces_ends_the_connection() {
    let more = frame(CONTINUATION, 0, 1, &[]);
    let first = frame(HEADERS, END_STREAM, 1, &GET);
    check(std::iter::once(first).chain((0..MANY).map(|_| more.clone()))).await;
}
