//! Threads on which bodies are parsed while they come in.
//!
//! Such a thread waits for its client most of the time, and a client may be as slow as
//! [`super::pace`] lets it be. It comes from the same supply as the threads that read, write and
//! replicate metadata. So clients get a share of that supply that leaves enough for all else,
//! and every caller a share of the clients' part; the client of whoever waits is not read from
//! meanwhile.

use tokio::task::JoinHandle;

use super::shares::Shares;
use crate::auth::caller::{Caller, Identity};
use crate::auth::token::TokenId;

/// A quarter of the threads that a runtime has for what blocks.
const FOR_ALL: u32 = 128;

/// Enough for a build that publishes many packages at once.
pub(crate) const FOR_ONE_CALLER: u32 = 16;

/// The threads of one node.
pub(crate) struct ParserThreads(Shares<Key>);

/// Whose share it is: all tokens of a user have one together.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Anonymous,
    User(u64),
    Token(Option<TokenId>),
}

impl Key {
    fn of(caller: &Caller) -> Self {
        match caller.identity() {
            Identity::Anonymous => Self::Anonymous,
            Identity::User(user) => Self::User(user.id),
            Identity::Deploy { .. } | Identity::Job(_) => Self::Token(caller.token().cloned()),
        }
    }
}

impl Default for ParserThreads {
    fn default() -> Self {
        Self(Shares::new(FOR_ALL, FOR_ONE_CALLER))
    }
}

impl ParserThreads {
    /// Begins `work` for a caller on a thread that may wait, as soon as there is one.
    pub(crate) async fn start<T: Send + 'static>(
        &self,
        caller: &Caller,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let share = self.0.take(Key::of(caller), 1).await;
        tokio::task::spawn_blocking(move || {
            let _held = share;
            work()
        })
    }
}
