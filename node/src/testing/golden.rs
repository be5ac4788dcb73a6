//! Golden files of the documents that clients fetch: what a node answers is held against them, and they are
//! served to real clients, which say what they understand.

use super::{TestNode, check_golden};

/// What a client asks for, below the base URL of a registry, each with the golden file that has the answer.
pub(crate) type Documents = [(&'static str, &'static str)];

/// Holds what a node answers to a reporter against the golden files of a format; JSON in lines, which are read more
/// easily than what goes over the wire, and say the same.
pub(crate) async fn check(node: &TestNode, format: &str, base: &str, documents: &Documents) {
    for (target, file) in documents {
        let answer = node.get(format!("{base}/{target}")).by("reporter").send().await;
        let answer = answer.expect(200);
        match file.ends_with(".json") {
            true => check_golden(format, file, format!("{:#}\n", answer.json()).as_bytes()),
            false => check_golden(format, file, &answer.body),
        }
    }
}

#[cfg(feature = "real-clients")]
pub(crate) use self::served::GoldenServer;

/// A golden file of a format.
#[cfg(feature = "real-clients")]
pub(crate) fn read(format: &str, file: &str) -> Vec<u8> {
    let path = super::golden_path(format, file);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[cfg(feature = "real-clients")]
mod served {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::{Request, State};
    use axum::http::{StatusCode, header};
    use axum::response::{IntoResponse, Response};
    use tokio::net::TcpListener;

    use super::{Documents, read};

    /// Where documents say that they are from.
    const ORIGIN: &str = "http://cairn.example";

    /// A server that has golden files and nothing else. It serves as long as the runtime that it was started on.
    pub(crate) struct GoldenServer {
        /// The base URL of the registry.
        pub(crate) base: String,
        served: Arc<Served>,
    }

    #[derive(Default)]
    struct Served {
        /// By the targets of requests.
        files: BTreeMap<String, (&'static str, Vec<u8>)>,
        /// Those of them that are documents.
        documents: BTreeSet<String>,
        asked: Mutex<BTreeSet<String>>,
    }

    impl GoldenServer {
        /// Serves the documents of a format, whose URLs lead here, below a path; and further files as they are.
        pub(crate) async fn start(
            format: &str,
            base: &str,
            documents: &Documents,
            files: Vec<(String, Vec<u8>)>,
        ) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let origin = format!("http://{}", listener.local_addr().unwrap());
            let mut served = Served::default();
            for (target, file) in documents {
                let target = format!("{base}/{target}");
                let text = String::from_utf8(read(format, file)).unwrap();
                let bytes = text.replace(ORIGIN, &origin).into_bytes();
                served.documents.insert(target.clone());
                served.files.insert(target, (content_type(file), bytes));
            }
            for (target, bytes) in files {
                let file = ("application/octet-stream", bytes);
                served.files.insert(format!("{base}/{target}"), file);
            }
            let served = Arc::new(served);
            let router = Router::new().fallback(answer).with_state(served.clone());
            tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
            let base = format!("{origin}{base}");
            Self { base, served }
        }

        /// Makes sure that clients asked for all documents, and for nothing that is not here.
        #[track_caller]
        pub(crate) fn is_all_read(&self) {
            let asked = self.served.asked.lock().unwrap();
            let unread: Vec<_> = self.served.documents.difference(&asked).collect();
            assert!(unread.is_empty(), "nobody asked for {unread:#?}");
            let is_here = |target: &&String| self.served.files.contains_key(*target);
            let missing: Vec<_> = asked.iter().filter(|target| !is_here(target)).collect();
            assert!(missing.is_empty(), "there is no {missing:#?}");
        }
    }

    fn content_type(file: &str) -> &'static str {
        match file.rsplit_once('.') {
            Some((_, "json")) => "application/json",
            Some((_, "xml")) => "application/xml",
            _ => "text/plain; charset=utf-8",
        }
    }

    async fn answer(State(served): State<Arc<Served>>, request: Request) -> Response {
        let target = request.uri().to_string();
        let answer = match served.files.get(&target) {
            Some((content_type, bytes)) => {
                ([(header::CONTENT_TYPE, *content_type)], bytes.clone()).into_response()
            }
            None => StatusCode::NOT_FOUND.into_response(),
        };
        served.asked.lock().unwrap().insert(target);
        answer
    }
}
