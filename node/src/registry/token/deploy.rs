//! Deploy tokens: of nobody, for one group or project.

use cairn_cluster::Txn;

use crate::auth::action::{Action, Own};
use crate::auth::token::{Token, TokenKind};
use crate::http::error::ApiError;
use crate::registry::audit::tell;
use crate::registry::door::{Authorised, Instance, transact};
use crate::registry::keys;
use crate::registry::member::Peopled;
use crate::registry::reader::next_entries;
use crate::registry::token::{
    Holder, ManagesTokens, NewToken, ShownToken, TokenRecord, create_deploy, each_in, find_in, one_in, told,
};

/// Makes a deploy token.
pub(crate) async fn new<T, A>(
    of: &Authorised<T, A>,
    username: Option<String>,
    wanted: NewToken,
) -> Result<(TokenRecord, Token), ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    let store = of.access().app().store();
    let key = &store.secrets().await?.token_hash;
    transact(of, async |mut txn: Txn, what: T| {
        let username = username.clone();
        let new = wanted
            .clone()
            .within_lifetime(&mut txn, TokenKind::Deploy, of.now())
            .await?;
        let made = create_deploy(&mut txn, store.seams(), key, what.place(), username, new).await?;
        tell(
            &mut txn,
            of.access(),
            &what,
            told("deploy_token.created", &made.0),
        );
        Ok((txn, made))
    })
    .await
}

/// Calls `row` with the deploy tokens of a group or project, also those that do not hold.
pub(crate) async fn each<T, A>(of: &Authorised<T, A>, row: impl FnMut(ShownToken)) -> Result<(), ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    let place = of.what().place();
    each_in(
        of.snapshot(),
        &keys::deploy_tokens(place.root, place.member()),
        row,
    )
    .await
}

/// One deploy token of a group or project.
pub(crate) async fn get<T, A>(of: &Authorised<T, A>, number: u64) -> Result<ShownToken, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    let place = of.what().place();
    one_in(
        of.snapshot(),
        &keys::deploy_tokens(place.root, place.member()),
        number,
    )
    .await
}

/// Revokes a deploy token of a group or project.
pub(crate) async fn revoke<T, A>(of: &Authorised<T, A>, number: u64) -> Result<(), ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    transact(of, async |mut txn: Txn, what: T| {
        let place = what.place();
        let list = keys::deploy_tokens(place.root, place.member());
        let mut record = find_in(&mut txn, &list, number).await?;
        tell(
            &mut txn,
            of.access(),
            &what,
            told("deploy_token.revoked", &record),
        );
        super::revoke(&mut txn, &mut record, of.now());
        Ok((txn, ()))
    })
    .await
}

impl Authorised<Instance, Own> {
    /// Calls `row` with the deploy tokens of all groups and projects, also those that do not
    /// hold.
    pub(crate) async fn each_deploy(&self, mut row: impl FnMut(TokenRecord)) -> Result<(), ApiError> {
        let mut after = None;
        loop {
            let entries = next_entries(self.snapshot(), &keys::tokens(), &mut after).await?;
            if entries.is_empty() {
                return Ok(());
            }
            for entry in entries {
                let record: TokenRecord = entry.record()?;
                if matches!(record.holder, Holder::Deploy { .. }) {
                    row(record);
                }
            }
        }
    }
}
