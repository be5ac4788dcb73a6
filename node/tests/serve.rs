//! `cairn serve` as its operator meets it: a real process, real signals, what it writes to its log.

#![allow(clippy::unwrap_used, reason = "tests may")]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use reqwest::Certificate;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Far longer than anything here takes, so that a hang ends.
const WATCHDOG: Duration = Duration::from_secs(180);

/// A founded node, with certificate and key in its folder.
struct Site {
    folder: TempDir,
    port: u16,
}

impl Site {
    fn found() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [port, cluster_port] = free_ports();
        let site = Self { folder, port };
        let config = format!(
            "[node]\ndata = {:?}\nreserve = \"0 B\"\n\
             [http]\nlisten = \"127.0.0.1:{port}\"\ntls_certificate = {:?}\ntls_key = {:?}\n\
             [cluster]\nlisten = \"127.0.0.1:{cluster_port}\"\n",
            site.path("data"),
            site.path("certificate.pem"),
            site.path("key.pem"),
        );
        std::fs::write(site.path("cairn.toml"), config).unwrap();
        let founded = site.command(&["cluster", "init"]).output().unwrap();
        assert!(founded.status.success(), "{founded:?}");
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
        command
            .args(arguments)
            .arg("--config")
            .arg(self.path("cairn.toml"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    /// Writes a new certificate and its key; gives what clients must trust.
    fn renew(&self) -> Certificate {
        self.renew_until(2100)
    }

    fn renew_until(&self, year: i32) -> Certificate {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        std::fs::write(self.path("certificate.pem"), &pem).unwrap();
        std::fs::write(self.path("key.pem"), key.serialize_pem()).unwrap();
        Certificate::from_pem(pem.as_bytes()).unwrap()
    }

    fn get(&self, path: &str, trusted: &Certificate) -> Result<String, reqwest::Error> {
        let client = reqwest::blocking::Client::builder()
            .no_proxy()
            .tls_certs_only([trusted.clone()]);
        let answer = client
            .build()?
            .get(format!("https://localhost:{}{path}", self.port));
        answer.send()?.error_for_status()?.text()
    }
}

fn free_ports<const N: usize>() -> [u16; N] {
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

/// A running node. Dropping it kills it.
struct Node {
    child: Child,
    log: Receiver<String>,
}

impl Node {
    fn start(site: &Site) -> Self {
        let mut child = site.command(&["serve"]).spawn().unwrap();
        let (sender, log) = channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, log }
    }

    /// Reads on in the log until a line holds this.
    fn until(&self, expected: &str) -> String {
        let mut read = String::new();
        loop {
            let Ok(line) = self.log.recv_timeout(WATCHDOG) else {
                panic!("no {expected:?} in the log:\n{read}");
            };
            if line.contains(expected) {
                return line;
            }
            read = format!("{read}{line}\n");
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id() as i32).unwrap(), signal).unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_certificate_is_replaced_while_the_node_runs() {
    let site = Site::found();
    let first = site.renew();
    let mut node = Node::start(&site);
    node.until("clients are shown the certificate");
    node.until(&format!("serving clients on https://127.0.0.1:{}", site.port));
    assert_eq!(site.get("/-/health", &first).unwrap(), "ok\n");
    let metrics = site.get("/-/metrics", &first).unwrap();
    assert!(
        metrics.contains("cairn_http_certificate_left_seconds"),
        "{metrics}"
    );

    let second = site.renew();
    node.signal(Signal::HUP);
    node.until("clients are shown the certificate");
    assert_eq!(site.get("/-/health", &second).unwrap(), "ok\n");
    site.get("/-/health", &first).unwrap_err();

    std::fs::write(site.path("key.pem"), "nonsense").unwrap();
    node.signal(Signal::HUP);
    let told = node.until("stays in use");
    assert!(told.contains("key.pem: it holds no private key"), "{told}");
    assert_eq!(site.get("/-/health", &second).unwrap(), "ok\n");

    site.renew_until(2020);
    node.signal(Signal::HUP);
    let told = node.until("has expired");
    assert!(told.contains("WARN") && told.contains("2020-01-01"), "{told}");

    node.signal(Signal::TERM);
    assert!(node.child.wait().unwrap().success());
}

#[test]
fn a_node_does_not_start_with_what_cannot_work() {
    let site = Site::found();
    let check = |expected: &str| {
        let refused = site.command(&["serve"]).output().unwrap();
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && said.contains(expected), "{said}");
    };
    check("certificate.pem: No such file");
    site.renew();
    let other: &Path = &site.path("other.pem");
    std::fs::rename(site.path("key.pem"), other).unwrap();
    site.renew();
    std::fs::rename(other, site.path("key.pem")).unwrap();
    check("key.pem: it is not the key of the certificate in ");
    std::fs::remove_file(site.path("key.pem")).unwrap();
    check("key.pem: No such file");
}
