//! Personal tokens: of users, for all that they may do.

use cairn_cluster::{Timestamp, Txn};

use crate::auth::action::{Action, ManageSelf, See};
use crate::auth::token::{Token, TokenKind};
use crate::http::error::ApiError;
use crate::registry::audit::tell;
use crate::registry::door::{Authorised, Instance, transact};
use crate::registry::token::{
    Holder, NewToken, ShownToken, TokenRecord, by_id, by_number, create_personal, each_in, replace_personal,
    revoke, shown, told, unknown,
};
use crate::registry::{keys, user};

impl<A: Action> Authorised<Instance, A> {
    /// The token that the request came with.
    pub(crate) async fn own_token(&self) -> Result<ShownToken, ApiError> {
        let id = self.caller().token().ok_or_else(ApiError::unauthorized)?;
        let record = by_id(&mut self.snapshot().clone(), id)
            .await?
            .ok_or_else(unknown)?;
        shown(self.snapshot(), record).await
    }

    /// Revokes the token that the request came with.
    pub(crate) async fn revoke_own_token(&self) -> Result<(), ApiError> {
        let id = self.caller().token().ok_or_else(ApiError::unauthorized)?;
        transact(self, async |mut txn: Txn, _| {
            let mut record = by_id(&mut txn, id).await?.ok_or_else(unknown)?;
            tell(&mut txn, self.access(), &Instance, told("token.revoked", &record));
            revoke(&mut txn, &mut record, self.now());
            Ok((txn, ()))
        })
        .await
    }
}

impl Authorised<Instance, See> {
    /// Calls `row` with the personal tokens of a user: the caller, or for administrators anybody.
    pub(crate) async fn each_personal(&self, user: u64, row: impl FnMut(ShownToken)) -> Result<(), ApiError> {
        self.check_own(user)?;
        each_in(self.snapshot(), &keys::user_tokens(user), row).await
    }

    /// One personal token, of the caller or for administrators of anybody.
    pub(crate) async fn personal(&self, number: u64) -> Result<ShownToken, ApiError> {
        let record = by_number(&mut self.snapshot().clone(), number).await?;
        self.check_own(user_of(&record)?).map_err(|_| unknown())?;
        shown(self.snapshot(), record).await
    }

    fn check_own(&self, user: u64) -> Result<(), ApiError> {
        let own = self.caller().user().is_some_and(|own| own.id == user);
        if own || self.caller().is_admin() {
            Ok(())
        } else {
            Err(ApiError::unauthorized())
        }
    }
}

impl Authorised<Instance, ManageSelf> {
    /// Makes a personal token of a user: the caller, or for administrators anybody.
    pub(crate) async fn new_personal(
        &self,
        user: u64,
        new: NewToken,
    ) -> Result<(TokenRecord, Token), ApiError> {
        let store = self.access().app().store();
        let key = &store.secrets().await?.token_hash;
        transact(self, async |mut txn: Txn, _| {
            self.check_own(user)?;
            match user::by_id(&mut txn, user).await? {
                None => return Err(ApiError::not_found("404 User Not Found")),
                // It would outlive the end that was set for the access token.
                Some(user) if user.bot => {
                    return Err(ApiError::forbidden(
                        "403 Forbidden: the bot of an access token has that token alone; make another access token",
                    ));
                }
                Some(_) => {}
            }
            let new = new.clone().within_lifetime(&mut txn, TokenKind::Personal, self.now()).await?;
            let made = create_personal(&mut txn, store.seams(), key, user, new).await?;
            tell(&mut txn, self.access(), &Instance, told("token.created", &made.0));
            Ok((txn, made))
        })
        .await
    }

    /// Replaces a personal token by a new one of the same name and scopes; the old one holds no more.
    pub(crate) async fn rotate(
        &self,
        number: u64,
        expires_at: Option<Timestamp>,
    ) -> Result<(TokenRecord, Token), ApiError> {
        let store = self.access().app().store();
        let key = &store.secrets().await?.token_hash;
        transact(self, async |mut txn: Txn, _| {
            let old = by_number(&mut txn, number).await?;
            let user = user_of(&old)?;
            self.check_own(user).map_err(|_| unknown())?;
            let made = replace_personal(&mut txn, store.seams(), key, user, old, expires_at).await?;
            let act = told("token.rotated", &made.0).with("in place of token", number);
            tell(&mut txn, self.access(), &Instance, act);
            Ok((txn, made))
        })
        .await
    }

    /// Revokes a personal token, of the caller or for administrators of anybody.
    pub(crate) async fn revoke_personal(&self, number: u64) -> Result<(), ApiError> {
        transact(self, async |mut txn: Txn, _| {
            let mut record = by_number(&mut txn, number).await?;
            self.check_own(user_of(&record)?).map_err(|_| unknown())?;
            tell(&mut txn, self.access(), &Instance, told("token.revoked", &record));
            revoke(&mut txn, &mut record, self.now());
            Ok((txn, ()))
        })
        .await
    }

    fn check_own(&self, user: u64) -> Result<(), ApiError> {
        let own = self.caller().user().is_some_and(|own| own.id == user);
        if own || self.caller().is_admin() {
            Ok(())
        } else {
            Err(ApiError::forbidden("403 Forbidden"))
        }
    }
}

fn user_of(record: &TokenRecord) -> Result<u64, ApiError> {
    match record.holder {
        Holder::User { id } => Ok(id),
        Holder::Deploy { .. } | Holder::Job { .. } => Err(unknown()),
    }
}
