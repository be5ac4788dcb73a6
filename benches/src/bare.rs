//! A server that gives back the bytes it was given, with nothing around them: what HTTP itself
//! costs on this machine.
//!
//! It is a process of its own, as a node is, and has the same runtime and the same HTTP library.

use std::collections::HashMap;
use std::path::Path as FilePath;
use std::process::Stdio;
use std::sync::{Arc, RwLock};

use anyhow::Context as _;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::routing::{post, put};
use axum::serve::ListenerExt as _;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, Command};

/// Bytes by name.
type Kept = Arc<RwLock<HashMap<String, Bytes>>>;

/// Serves on a free port, which it prints, until its standard input ends.
pub async fn serve() -> anyhow::Result<()> {
    use std::io::Write as _;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    let listener = listener.tap_io(|stream| {
        // A connection that breaks here breaks at its first read as well.
        let _ = stream.set_nodelay(true);
    });
    let server = axum::serve(listener, router());
    let mut input = tokio::io::stdin();
    tokio::select! {
        ended = server => ended?,
        _ = input.read_u8() => {}
    }
    Ok(())
}

fn router() -> Router {
    Router::new()
        .route("/kept/{name}", put(keep).get(give))
        .route("/sink", post(take))
        .layer(DefaultBodyLimit::disable())
        .with_state(Kept::default())
}

async fn keep(State(kept): State<Kept>, Path(name): Path<String>, body: Bytes) -> StatusCode {
    kept.write().expect("no panic while held").insert(name, body);
    StatusCode::CREATED
}

async fn give(State(kept): State<Kept>, Path(name): Path<String>) -> Result<Bytes, StatusCode> {
    let kept = kept.read().expect("no panic while held");
    kept.get(&name).cloned().ok_or(StatusCode::NOT_FOUND)
}

async fn take(mut body: Body) -> StatusCode {
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            return StatusCode::BAD_REQUEST;
        }
    }
    StatusCode::CREATED
}

/// A running server. Dropping it ends it.
pub(crate) struct Bare {
    address: String,
    process: Child,
    _input: ChildStdin,
}

impl Bare {
    /// Starts one, of this program.
    pub(crate) async fn start(program: &FilePath) -> anyhow::Result<Self> {
        let mut process = Command::new(program)
            .arg("bare")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let input = process.stdin.take().context("standard input is a pipe")?;
        let output = process.stdout.take().context("standard output is a pipe")?;
        let address = BufReader::new(output).lines().next_line().await?;
        Ok(Self {
            address: address.context("the bare server did not start")?,
            process,
            _input: input,
        })
    }

    /// Where it listens: a host and a port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Its process.
    pub(crate) fn pid(&self) -> anyhow::Result<i32> {
        let pid = self.process.id().context("the bare server has ended")?;
        Ok(i32::try_from(pid)?)
    }

    /// Gives it the bytes of a name; the path under which it gives them back.
    pub(crate) async fn keep(&self, name: &str, bytes: Bytes) -> anyhow::Result<String> {
        let path = format!("/kept/{name}");
        let url = format!("http://{}{path}", self.address);
        let answer = reqwest::Client::new().put(url).body(bytes).send().await?;
        answer.error_for_status()?;
        Ok(path)
    }
}
