//! What is forgotten when its time is over: in a list ordered by that time, which any node looks
//! at; two that do at once conflict, and one of them goes on.

use std::time::Duration;

use cairn_cluster::record::Record;
use cairn_cluster::{Scan, Timestamp, Txn};
use serde::{Deserialize, Serialize};

use crate::auth::session::SessionName;
use crate::auth::token::TokenId;
use crate::http::error::ApiError;
use crate::registry::keys;
use crate::registry::sign_in::session;
use crate::registry::store::Store;
use crate::registry::token::{self, TokenEntry};

/// How much longer than it holds it is remembered that something was used, for nodes whose clocks are
/// behind.
pub(in crate::registry) const CLOCKS_APART: Duration = Duration::from_secs(10 * 60);

/// How many are forgotten in one transaction.
const STEP: usize = 200;

/// Something that has an end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::registry) enum Ending {
    /// The token of a job.
    Token(TokenId),
    /// That an ID token was used, or that somebody came back from a provider.
    IdToken([u8; 32]),
    /// The session of a browser.
    Session(SessionName),
}

impl Record for Ending {}

/// Orders, as part of a transaction, that something is forgotten at a time.
pub(in crate::registry) fn order(txn: &mut Txn, at: Timestamp, what: &Ending) {
    let name = match what {
        Ending::Token(id) => id.as_str().as_bytes(),
        Ending::IdToken(proof) => proof.as_slice(),
        Ending::Session(name) => name.0.as_slice(),
    };
    let item = [&at.0.to_be_bytes(), name].concat();
    txn.put_record(&keys::endings().key(item), what);
}

/// Forgets everything whose time is over.
pub(in crate::registry) async fn forget_all(store: &Store) -> Result<(), ApiError> {
    loop {
        let snapshot = store.kv().latest().await?;
        let entries = snapshot.scan(Scan::of(&keys::endings()).limit(STEP)).await?;
        let over: Vec<_> = entries
            .into_iter()
            .take_while(|entry| ends_at(&entry.item).is_some_and(|end| end <= store.now()))
            .collect();
        if over.is_empty() {
            return Ok(());
        }
        let step = async |mut txn: Txn| {
            for entry in &over {
                let order = keys::endings().key(&entry.item);
                // Another node may have done it meanwhile.
                let Some(what) = txn.record::<Ending>(&order).await? else {
                    continue;
                };
                match what {
                    Ending::Token(id) => token::forget(&mut txn, &TokenEntry(id)),
                    Ending::IdToken(proof) => txn.delete(&keys::id_token(&proof)),
                    Ending::Session(name) => session::end(&mut txn, &name).await?,
                }
                txn.delete(&order);
            }
            Ok::<_, ApiError>((txn, ()))
        };
        store.kv().transact(step).await?;
    }
}

fn ends_at(item: &[u8]) -> Option<Timestamp> {
    let (end, _) = item.split_first_chunk::<8>()?;
    Some(Timestamp(u64::from_be_bytes(*end)))
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Ending>("ending");
    }
}
