//! Passwords: how they are chosen, hashed and checked.
//!
//! Argon2id with the parameters that OWASP asks for at least, kept as a PHC string that names its
//! own, so that they can grow: whoever signs in by a hash of smaller ones gets a new one. Hashing
//! takes 19 MiB and a core for some 20 ms; there are as many at a time as the machine has cores,
//! off the async threads, and not many more may wait.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;

use argon2::password_hash::phc::PasswordHash as Phc;
use argon2::password_hash::{CustomizedPasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::registry::names::Username;

/// The longest password that is ever looked at.
const MAX_BYTES: usize = 1024;

/// The shortest that may be chosen, in characters.
const MIN_CHARS: usize = 8;

/// Memory of one hash, in KiB.
const MEMORY_KIB: u32 = 19 << 10;

/// How often that memory is gone over.
const PASSES: u32 = 2;

const LANES: u32 = 1;

/// So many wait for each core before others are sent away.
const MAX_WAITING_PER_CORE: usize = 32;

/// A password as somebody typed it: 1 to 1024 bytes. Never logged, never stored.
#[derive(Clone)]
pub(crate) struct Password(String);

/// What is stored of a password: a PHC string.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct PasswordHash(String);

/// Why a password is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadPassword {
    /// There is none.
    #[error("is empty")]
    Empty,
    /// Nobody types that much.
    #[error("is longer than {MAX_BYTES} bytes")]
    Long,
    /// It could be guessed.
    #[error("is shorter than {MIN_CHARS} characters")]
    Short,
    /// It could be guessed at once.
    #[error("is the username")]
    Username,
    /// Some clients would not send it as it is.
    #[error("begins or ends with a blank, or has a control character")]
    Blank,
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    /// It is another password, or there is none.
    Wrong,
    /// It is the password.
    Right {
        /// Whether it should be hashed anew.
        is_outgrown: bool,
    },
}

/// Too many wait for passwords to be hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many sign-ins at once; try again")]
pub(crate) struct Busy;

/// Where a node hashes passwords.
pub(crate) struct PasswordHashing {
    cores: Arc<Semaphore>,
    under_way: AtomicUsize,
    max_under_way: usize,
    #[cfg(test)]
    done: AtomicUsize,
}

impl Password {
    /// As it was typed.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes sure that it may be chosen by somebody of this name.
    pub(crate) fn check_choice(&self, username: &Username) -> Result<(), BadPassword> {
        if self.0.chars().count() < MIN_CHARS {
            return Err(BadPassword::Short);
        }
        if self.0.trim() != self.0 || self.0.chars().any(char::is_control) {
            return Err(BadPassword::Blank);
        }
        match self.0.eq_ignore_ascii_case(username.as_str()) {
            true => Err(BadPassword::Username),
            false => Ok(()),
        }
    }
}

impl TryFrom<String> for Password {
    type Error = BadPassword;

    fn try_from(text: String) -> Result<Self, BadPassword> {
        match text.len() {
            0 => Err(BadPassword::Empty),
            1..=MAX_BYTES => Ok(Self(text)),
            _ => Err(BadPassword::Long),
        }
    }
}

/// What is wrong is said without a word of what was sent.
impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Value::deserialize(from)? {
            Value::String(text) => {
                Self::try_from(text).map_err(|bad| de::Error::custom(format_args!("the password {bad}")))
            }
            _ => Err(de::Error::custom("the password is not text")),
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash")
    }
}

impl Default for PasswordHashing {
    fn default() -> Self {
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            cores: Arc::new(Semaphore::new(cores)),
            under_way: AtomicUsize::new(0),
            max_under_way: cores * (1 + MAX_WAITING_PER_CORE),
            #[cfg(test)]
            done: AtomicUsize::new(0),
        }
    }
}

impl PasswordHashing {
    /// Hashes a password, to be stored.
    pub(crate) async fn hash(&self, password: &Password, salt: [u8; 16]) -> Result<PasswordHash, Busy> {
        let password = password.clone();
        self.run(move || hash(&password, &salt, params())).await
    }

    /// Whether a password is the one of which this was stored. Where nothing was stored, it takes
    /// the same work to say no.
    pub(crate) async fn check(
        &self,
        password: &Password,
        stored: Option<PasswordHash>,
    ) -> Result<Checked, Busy> {
        let password = password.clone();
        self.run(move || match stored {
            Some(stored) => check(&password, &stored),
            None => {
                hash(&password, &[0; 16], params());
                Checked::Wrong
            }
        })
        .await
    }

    /// How many hashes were made.
    #[cfg(test)]
    pub(crate) fn done(&self) -> usize {
        self.done.load(Ordering::SeqCst)
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let _counted = Counted::among(&self.under_way);
        if self.under_way.load(Ordering::SeqCst) > self.max_under_way {
            return Err(Busy);
        }
        let core = self.cores.clone().acquire_owned().await;
        let core = core.expect("the semaphore is never closed");
        let ran = tokio::task::spawn_blocking(move || {
            // Also if whoever asked for it has gone meanwhile.
            let _held = core;
            work()
        });
        let result = ran.await.expect("hashing does not panic");
        #[cfg(test)]
        self.done.fetch_add(1, Ordering::SeqCst);
        Ok(result)
    }
}

/// Counts until it is dropped.
struct Counted<'c>(&'c AtomicUsize);

impl<'c> Counted<'c> {
    fn among(count: &'c AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn params() -> Params {
    Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the parameters are within their limits")
}

fn hash(password: &Password, salt: &[u8; 16], params: Params) -> PasswordHash {
    let hashed = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
        .hash_password_with_params(password.0.as_bytes(), salt, params)
        .expect("password and salt are of lengths that can be hashed");
    PasswordHash(hashed.to_string())
}

fn check(password: &Password, stored: &PasswordHash) -> Checked {
    let Ok(stored) = Phc::new(&stored.0) else {
        return Checked::Wrong;
    };
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params());
    if argon2.verify_password(password.0.as_bytes(), &stored).is_err() {
        return Checked::Wrong;
    }
    let is_outgrown = match Params::try_from(&stored) {
        Ok(used) => {
            used.m_cost() < MEMORY_KIB
                || used.t_cost() < PASSES
                || stored.algorithm.as_str() != Algorithm::Argon2id.as_str()
        }
        Err(_) => true,
    };
    Checked::Right { is_outgrown }
}

/// A hash as an older release could have made it.
#[cfg(test)]
pub(crate) fn weak_hash(password: &str) -> PasswordHash {
    let params = Params::new(64, 1, 1, None).unwrap();
    hash(&Password(password.into()), &[7; 16], params)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::try_from(text.to_owned()).unwrap()
    }

    #[tokio::test]
    async fn a_password_is_known_again_and_another_is_not() {
        let hashing = PasswordHashing::default();
        let hashed = hashing.hash(&password("correct horse"), [1; 16]).await.unwrap();
        assert!(
            hashed.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{}",
            hashed.0
        );
        let check = async |text: &str, stored| hashing.check(&password(text), stored).await.unwrap();
        let right = Checked::Right { is_outgrown: false };
        assert_eq!(check("correct horse", Some(hashed.clone())).await, right);
        assert_eq!(check("Correct horse", Some(hashed.clone())).await, Checked::Wrong);
        assert_eq!(check("correct horse", None).await, Checked::Wrong);
        let damaged = PasswordHash("$argon2id$v=19$m=1".into());
        assert_eq!(check("correct horse", Some(damaged)).await, Checked::Wrong);
        let again = hashing.hash(&password("correct horse"), [2; 16]).await.unwrap();
        assert_ne!(again.0, hashed.0);
        assert_eq!(format!("{:?} {hashed:?}", password("x")), "Password PasswordHash");
    }

    #[tokio::test]
    async fn a_hash_of_smaller_parameters_is_outgrown() {
        let hashing = PasswordHashing::default();
        let weak = Some(weak_hash("correct horse"));
        let checked = hashing.check(&password("correct horse"), weak).await;
        assert_eq!(checked, Ok(Checked::Right { is_outgrown: true }));
    }

    #[tokio::test]
    async fn whoever_comes_when_too_many_wait_is_sent_away() {
        let hashing = PasswordHashing::default();
        hashing.under_way.store(hashing.max_under_way, Ordering::SeqCst);
        assert_eq!(hashing.check(&password("x"), None).await, Err(Busy));
        hashing.under_way.store(0, Ordering::SeqCst);
        assert_eq!(hashing.check(&password("x"), None).await, Ok(Checked::Wrong));
    }

    #[test]
    fn what_could_be_guessed_may_not_be_chosen() {
        let name: Username = "somebody".parse().unwrap();
        for (text, expected) in [
            ("correct horse", Ok(())),
            ("\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}", Ok(())),
            ("seven77", Err(BadPassword::Short)),
            ("SomeBody", Err(BadPassword::Username)),
            (" eight888", Err(BadPassword::Blank)),
            ("eight\u{0}888", Err(BadPassword::Blank)),
        ] {
            assert_eq!(password(text).check_choice(&name), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_password_is_said_without_it() {
        for (json, expected) in [
            (r#""""#.to_owned(), "the password is empty"),
            (
                format!("{:?}", "x".repeat(MAX_BYTES + 1)),
                "the password is longer than 1024 bytes",
            ),
            ("12345678".to_owned(), "the password is not text"),
            (r#"{"secret":1}"#.to_owned(), "the password is not text"),
        ] {
            let error = serde_json::from_str::<Password>(&json).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
