//! The certificate that clients are shown, and how a new one takes its place while the node runs.
//!
//! The files are looked at regularly, and at once on SIGHUP. What is whole and fits together is
//! used for connections from then on. What is not leaves the one before in use, and is told: a pair
//! that is just being replaced is given until the next look to become whole.

use std::fmt;
use std::future::pending;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use cairn_cluster::Clock;
use rustls::ServerConfig;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Duration, MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::http::entrance::certificate::{Contents, Files, Pair, Unusable};
use crate::http::metrics;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// How long before its end a certificate is warned of, each day.
const DAYS_OF_WARNING: i64 = 14;

/// More than any chain of certificates takes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A certificate at work. Cheap to clone; all clones see a new one.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    files: Files,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    pair: Pair,
    contents: Contents,
    /// What is wrong with the files now, and whether that was told.
    refused: Option<(Unusable, bool)>,
    /// How many days were left when that was told.
    told_days: Option<i64>,
}

impl Tls {
    /// Reads the files.
    pub(super) async fn load(files: Files, clock: Arc<dyn Clock>) -> Result<Self, Unusable> {
        let contents = read(&files).await?;
        let pair = Pair::parse(&files, &contents)?;
        let tls = Self(Arc::new(Inner {
            files,
            clock,
            state: Mutex::new(State {
                pair,
                contents,
                refused: None,
                told_days: None,
            }),
        }));
        tls.say_in_use();
        tls.tell();
        Ok(tls)
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.state.lock().expect("no panic while held"))
    }

    /// What new connections are served with.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.with(|state| state.pair.config.clone())
    }

    /// Looks at the files whenever it is time to. Goes on for ever.
    pub(super) async fn follow(self) {
        let asked = signal(SignalKind::hangup());
        let mut asked = asked
            .inspect_err(|error| warn!(%error, "could not listen for SIGHUP"))
            .ok();
        let mut regularly = interval(LOOK_EVERY);
        regularly.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = regularly.tick() => self.look(false).await,
                () = next(&mut asked) => self.look(true).await,
            };
        }
    }

    /// Uses what the files hold now, if it can be used, and says so.
    pub(super) async fn look(&self, asked: bool) -> Found {
        let read = read(&self.0.files).await;
        let found = self.with(|state| state.take(&self.0.files, read, asked));
        match &found {
            Found::Same if asked => info!("the certificate and its key are what they were"),
            Found::New => self.say_in_use(),
            Found::Unusable(why) => {
                let ends = self.with(|state| state.pair.ends);
                warn!("{why}; the certificate that was read before, which ends at {ends}, stays in use");
            }
            Found::Same | Found::Unfinished => {}
        }
        self.tell();
        found
    }

    fn say_in_use(&self) {
        self.with(|state| {
            let Pair { subject, ends, .. } = &state.pair;
            info!(subject, %ends, "clients are shown the certificate of {subject}, which ends at {ends}");
        });
    }

    /// Says how long the certificate holds; in the log, if it is not long.
    fn tell(&self) {
        let now = self.0.clock.now();
        self.with(|state| {
            let left = state.pair.seconds_left(now);
            metrics::certificate(left, state.refused.is_some());
            let days = left.div_euclid(24 * 60 * 60);
            let untimely = state.pair.untimely(now);
            if untimely.is_none() && days >= DAYS_OF_WARNING || state.told_days == Some(days) {
                return;
            }
            state.told_days = Some(days);
            let Pair { subject, ends, .. } = &state.pair;
            match untimely {
                Some(why) => {
                    warn!(subject, %ends, "the certificate of {subject} that clients are shown {why}")
                }
                None => warn!(
                    subject, %ends,
                    "the certificate of {subject} that clients are shown ends at {ends}"
                ),
            }
        });
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.files.fmt(f)
    }
}

/// What a look at the files found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// What is in use; or what was told before that it cannot be used.
    Same,
    /// What is in use from now on.
    New,
    /// What cannot be used, perhaps because it is being replaced.
    Unfinished,
    /// What cannot be used.
    Unusable(Unusable),
}

impl State {
    fn take(&mut self, files: &Files, read: Result<Contents, Unusable>, asked: bool) -> Found {
        if read.as_ref() == Ok(&self.contents) {
            self.refused = None;
            return Found::Same;
        }
        let parsed = read.and_then(|contents| Ok((Pair::parse(files, &contents)?, contents)));
        let why = match parsed {
            Ok((pair, contents)) => {
                *self = Self {
                    pair,
                    contents,
                    refused: None,
                    told_days: None,
                };
                return Found::New;
            }
            Err(why) => why,
        };
        let before = self.refused.take().filter(|(before, _)| *before == why);
        let (seen, told) = before.map_or((false, false), |(_, told)| (true, told));
        let tell = asked || seen && !told;
        self.refused = Some((why.clone(), told || tell));
        match (tell, told) {
            (true, _) => Found::Unusable(why),
            (false, true) => Found::Same,
            (false, false) => Found::Unfinished,
        }
    }
}

/// Waits for the next signal, for ever if there will be none.
async fn next(signal: &mut Option<Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    pending().await
}

async fn read(files: &Files) -> Result<Contents, Unusable> {
    Ok(Contents {
        certificate: read_file(&files.certificate).await?,
        key: read_file(&files.key).await?,
    })
}

async fn read_file(path: &Path) -> Result<Vec<u8>, Unusable> {
    let read = async {
        let mut bytes = Vec::new();
        let file = File::open(path).await?;
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).await?;
        Ok::<_, io::Error>(bytes)
    };
    let bytes = read.await.map_err(|error| Unusable::new(path, error))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Unusable::new(
            path,
            "it is too large to be a certificate or a key",
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use cairn_cluster::Seams;

    use super::*;
    use crate::http::entrance::fixture::Authority;

    #[tokio::test]
    async fn what_is_whole_and_fits_takes_the_place_of_what_was_there() {
        let folder = Authority::new().issue().into_files();
        let tls = Tls::load(folder.files(), Seams::system().clock).await.unwrap();
        assert_eq!(tls.look(false).await, Found::Same);
        let before = tls.config();
        folder.write(&Authority::new().issue());
        assert_eq!(tls.look(false).await, Found::New);
        assert!(!Arc::ptr_eq(&before, &tls.config()));
        assert_eq!(tls.look(true).await, Found::Same);
    }

    #[tokio::test]
    async fn what_cannot_be_used_is_told_once_and_what_was_there_stays() {
        let folder = Authority::new().issue().into_files();
        let tls = Tls::load(folder.files(), Seams::system().clock).await.unwrap();
        let before = tls.config();
        let next = Authority::new().issue();
        // The certificate comes first, its key a moment later.
        std::fs::write(folder.files().certificate, &next.certificate).unwrap();
        assert_eq!(tls.look(false).await, Found::Unfinished);
        assert!(matches!(tls.look(false).await, Found::Unusable(_)));
        assert_eq!(tls.look(false).await, Found::Same);
        // Whoever asks is told again.
        assert!(matches!(tls.look(true).await, Found::Unusable(_)));
        std::fs::remove_file(folder.files().key).unwrap();
        assert!(matches!(tls.look(true).await, Found::Unusable(_)));
        assert!(Arc::ptr_eq(&before, &tls.config()));
        folder.write(&next);
        assert_eq!(tls.look(false).await, Found::New);
    }

    #[tokio::test]
    async fn a_file_without_an_end_is_not_read_to_it() {
        let folder = Authority::new().issue().into_files();
        let files = Files {
            key: "/dev/zero".into(),
            ..folder.files()
        };
        let refused = Tls::load(files, Seams::system().clock).await.unwrap_err();
        assert!(
            refused.to_string().contains("/dev/zero: it is too large"),
            "{refused}"
        );
    }
}
