//! What the whole server does with clients that mean harm, or do not know better.

mod floods;
mod rates;
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes};
use futures::{StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::http::entrance::Entrance;
use crate::http::parsing::FOR_ONE_CALLER;
use crate::http::server::Server;
use crate::http::settings::Limits;
use crate::testing::TestNode;

/// Sends bytes to a new server; gives what it answers until it closes, or says nothing more.
async fn answer_to(node: &TestNode, request: &[u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::start(listener, Entrance::default(), node.front(), &Limits::default()).unwrap();
    let mut client = TcpStream::connect(server.address()).await.unwrap();
    let (mut reader, mut writer) = client.split();
    let mut answer = Vec::new();
    let send = async {
        // The server may answer and close before it has read everything.
        let _ = writer.write_all(request).await;
        let _ = writer.shutdown().await;
    };
    let receive = async {
        let _ = reader.read_to_end(&mut answer).await;
    };
    tokio::join!(send, receive);
    server.stop(std::time::Duration::ZERO).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn check(request: &[u8], status: &str) -> String {
    let node = TestNode::start().await;
    let answer = answer_to(&node, request).await;
    let line = answer.lines().next().unwrap_or_default();
    let shown = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
    assert!(
        line.starts_with(&format!("HTTP/1.1 {status}")),
        "{shown:?}: {line:?}"
    );
    answer
}

#[tokio::test]
async fn heads_over_the_limits_are_refused_with_the_reason() {
    let many: String = (0..500).map(|at| format!("x-{at}: y\r\n")).collect();
    check(
        format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n").as_bytes(),
        "431",
    )
    .await;
    let long = "y".repeat(100 << 10);
    check(
        format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n").as_bytes(),
        "431",
    )
    .await;
    for kib in [9, 64] {
        let target = "a".repeat(kib << 10);
        check(
            format!("GET /{target} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes(),
            "414",
        )
        .await;
    }
}

#[tokio::test]
async fn a_length_that_could_be_read_in_two_ways_is_refused() {
    for headers in [
        "content-length: 3\r\ncontent-length: 4\r\n",
        "content-length: 3, 4\r\n",
        "content-length: -1\r\n",
        "content-length: 99999999999999999999999\r\n",
        "transfer-encoding: gzip\r\n",
        "transfer-encoding: chunked, gzip\r\n",
    ] {
        let request = format!("PUT /api/v4/version HTTP/1.1\r\nhost: a\r\n{headers}\r\nabc");
        check(request.as_bytes(), "400").await;
    }
    // Both at once: the coding counts, as the standard has it, and the connection ends, so that
    // nothing behind the body can pass for another request.
    let both = "PUT /x HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n\
                0\r\n\r\nGET /api/v4/version HTTP/1.1\r\nhost: a\r\n\r\n";
    let answer = check(both.as_bytes(), "404").await;
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
}

#[tokio::test]
async fn broken_chunks_and_bodies_end_the_request_and_leave_nothing() {
    let node = TestNode::start().await;
    let target = "/api/v4/projects/1/packages/generic/p/1/f";
    let token = node.token("developer").to_owned();
    let head = format!("PUT {target} HTTP/1.1\r\nhost: a\r\nprivate-token: {token}\r\n");
    for rest in [
        "transfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n",
        "transfer-encoding: chunked\r\n\r\nffffffffffffffffffff\r\nabc",
        "transfer-encoding: chunked\r\n\r\n5\r\nabc",
        "content-length: 10\r\n\r\nabc",
    ] {
        let answer = answer_to(&node, format!("{head}{rest}").as_bytes()).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
            "{rest:?}: {answer}"
        );
        node.get(target).by("reporter").send().await.expect(404);
    }
    let whole = "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let answer = answer_to(&node, format!("{head}{whole}").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

#[tokio::test]
async fn a_client_that_waits_to_send_its_body_is_refused_before_it_does() {
    let node = TestNode::start().await;
    let target = "/api/v4/projects/1/packages/generic/p/1/f";
    for (token, name, status) in [
        ("", "f", "401"),
        (node.token("guest"), "f", "403"),
        (node.token("developer"), "~f", "400"),
        (node.token("developer"), "f", "100"),
    ] {
        let credentials = if token.is_empty() {
            String::new()
        } else {
            format!("private-token: {token}\r\n")
        };
        let target = target.replace("/f", &format!("/{name}"));
        let request = format!(
            "PUT {target} HTTP/1.1\r\nhost: a\r\n{credentials}content-length: 3\r\nexpect: 100-continue\r\n\r\n"
        );
        let answer = answer_to(&node, request.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{name}: {answer}"
        );
        assert_eq!(answer.contains("100 Continue"), status == "100", "{answer}");
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    check(b"TRACE / HTTP/1.1\r\nhost: a\r\n\r\n", "405").await;
    check(b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n", "405").await;
    check(
        b"POST /api/v4/version HTTP/1.1\r\nhost: a\r\nx-http-method-override: GET\r\ncontent-length: 0\r\n\r\n",
        "405",
    )
    .await;
    check(
        b"GET /api/v4/version HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "400",
    )
    .await;
    check(b"GET /api/v4/version HTTP/1.1\r\nhost: a/b\r\n\r\n", "400").await;
    check(b"GET //api/v4/version HTTP/1.1\r\nhost: a\r\n\r\n", "400").await;
    check(b"GET /a\x00b HTTP/1.1\r\nhost: a\r\n\r\n", "400").await;
    check(b"GET /%0d%0aset-cookie:x HTTP/1.1\r\nhost: a\r\n\r\n", "400").await;
    check(b"nonsense\r\n\r\n", "400").await;
    let options = check(b"OPTIONS /api/v4/version HTTP/1.1\r\nhost: a\r\n\r\n", "405").await;
    assert!(options.contains("allow: GET,HEAD"), "{options}");
}

#[tokio::test]
async fn answers_carry_an_id_and_logs_no_query() {
    let node = TestNode::start().await;
    let given = node
        .get("/-/health")
        .header("x-request-id", "from-proxy-1")
        .send()
        .await
        .expect(200);
    assert_eq!(given.header("x-request-id"), "from-proxy-1");
    let forged = node
        .get("/-/health")
        .header("x-request-id", "a b\"c")
        .send()
        .await
        .expect(200);
    assert_eq!(forged.header("x-request-id").len(), 32);
    let found = node.get("/nowhere").send().await.expect(404);
    assert_eq!(found.header("x-request-id").len(), 32);
    node.get("/-/ready").send().await.expect(200);
    node.app().drain();
    node.get("/-/ready").send().await.expect(503);
    node.get("/-/health").send().await.expect(200);
}

#[tokio::test]
async fn credentials_that_do_not_hold_are_401_also_on_public_data() {
    let node = TestNode::start().await;
    let public = "/api/v4/projects/2";
    node.get(public).send().await.expect(200);
    let good = node.token("guest").to_owned();
    let mut damaged = good.clone();
    damaged.replace_range(20..21, if &good[20..21] == "a" { "b" } else { "a" });
    for token in [
        "x",
        "cnp-",
        &damaged,
        "eyJhbGciOiJub25lIn0.e30.",
        &"x".repeat(20_000),
    ] {
        node.get(public).bearer(token).send().await.expect(401);
        node.get(format!("{public}/packages/generic/"))
            .bearer(token)
            .send()
            .await
            .expect(401);
    }
    let two = node
        .get(public)
        .bearer(&good)
        .header("private-token", node.token("owner"));
    two.send().await.expect(401);
    node.get(public)
        .basic("gitlab-ci-token", &good)
        .send()
        .await
        .expect(401);
    node.get(public).basic("anybody", &good).send().await.expect(200);
    node.get(format!("{public}?private_token={good}"))
        .send()
        .await
        .expect(200);
    let listed = node
        .get(format!("/api/v4/projects?private_token={good}&simple=true"))
        .send()
        .await
        .expect(200);
    assert!(
        !listed.header("link").contains("token"),
        "{}",
        listed.header("link")
    );
}

#[tokio::test]
async fn whoever_guesses_tokens_is_slowed_down_and_nobody_else() {
    let node = TestNode::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::start(listener, Entrance::default(), node.front(), &Limits::default()).unwrap();
    let url = format!("http://{}/api/v4/user", server.address());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = async |token: &str| client.get(&url).bearer_auth(token).send().await.unwrap();
    for _ in 0..100 {
        assert_eq!(ask("wrong").await.status().as_u16(), 401);
    }
    let slowed = ask("wrong").await;
    assert_eq!(slowed.status().as_u16(), 429);
    assert!(slowed.headers().contains_key("retry-after"));
    assert_eq!(ask(node.token("guest")).await.status().as_u16(), 200);
    server.stop(std::time::Duration::ZERO).await;
}

/// A body that begins a document and never ends; counts how many of them are read from.
fn endless_document(begun: Arc<AtomicUsize>) -> Body {
    let begin = stream::once(async move {
        begun.fetch_add(1, Ordering::SeqCst);
        Ok::<_, std::io::Error>(Bytes::from_static(b"{\"_id\":\""))
    });
    Body::from_stream(begin.chain(stream::pending()))
}

#[test]
fn slow_publishers_leave_threads_for_all_else() {
    const THREADS: usize = FOR_ONE_CALLER as usize;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(THREADS + 1)
        .build()
        .unwrap();
    let begun = Arc::new(AtomicUsize::new(0));
    runtime.block_on(async {
        let node = TestNode::start().await;
        // Whoever may only look sends documents too, to star a package.
        for _ in 0..2 * THREADS {
            let publish = node
                .put("/api/v4/projects/2/packages/npm/left")
                .by("stranger")
                .body(endless_document(begun.clone()));
            tokio::spawn(publish.answered());
        }
        while begun.load(Ordering::SeqCst) < THREADS {
            tokio::task::yield_now().await;
        }
        // The last thread is for others, however many more documents wait.
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
        tokio::task::spawn_blocking(|| ()).await.unwrap();
        assert_eq!(begun.load(Ordering::SeqCst), THREADS);
    });
    runtime.shutdown_background();
}
