//! Access tokens of groups and projects: each is the token of a bot that is a member there.

use cairn_cluster::{Timestamp, Txn};

use crate::auth::action::Action;
use crate::auth::role::Role;
use crate::auth::token::{Token, TokenKind};
use crate::http::error::ApiError;
use crate::registry::audit::{Act, tell};
use crate::registry::door::{Authorised, transact};
use crate::registry::keys;
use crate::registry::member::{self, Membership, Peopled};
use crate::registry::place::PlaceKind;
use crate::registry::token::{
    ManagesTokens, NewToken, ShownToken, TokenRecord, by_number, create_personal, each_in, replace_personal,
    told, unknown,
};
use crate::registry::user::{self, NewUser};

/// Makes an access token of a group or project: a bot that is a member, and its token. Nobody
/// makes one whose role is above their own.
pub(crate) async fn new<T, A>(
    of: &Authorised<T, A>,
    role: Role,
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
        let place = what.place();
        member::check_rank(&mut txn, of, &what, role).await?;
        let suffix = data_encoding::HEXLOWER.encode(&store.seams().random::<4>());
        let kind = match place.kind {
            PlaceKind::Group => "group",
            PlaceKind::Project => "project",
        };
        let bot = NewUser {
            username: format!("{kind}_{}_bot_{suffix}", place.id).parse()?,
            name: wanted.name.clone(),
            email: String::new(),
            admin: false,
            bot: true,
        };
        let bot = user::create(&mut txn, bot, of.now()).await?;
        member::put(
            &mut txn,
            place,
            what.ancestors(),
            bot.id,
            &Membership::now(role, of.now()),
        );
        let new = wanted
            .clone()
            .within_lifetime(&mut txn, TokenKind::Personal, of.now())
            .await?;
        let made = create_personal(&mut txn, store.seams(), key, bot.id, new).await?;
        let act = told("access_token.created", &made.0).with("role", role.name());
        tell(&mut txn, of.access(), &what, act);
        Ok((txn, made))
    })
    .await
}

/// An access token of a group or project, with the role of its bot.
#[derive(Clone, Debug)]
pub(crate) struct AccessToken {
    /// The token.
    pub(crate) token: ShownToken,
    /// The bot.
    pub(crate) user: u64,
    /// What the bot may do.
    pub(crate) role: Role,
}

/// Calls `row` with the access tokens of a group or project.
pub(crate) async fn each<T, A>(
    of: &Authorised<T, A>,
    mut row: impl FnMut(AccessToken),
) -> Result<(), ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    let mut bots = Vec::new();
    member::each(of, |member| {
        if member.user.bot {
            bots.push((member.user.id, member.membership.role));
        }
    })
    .await?;
    for (user, role) in bots {
        each_in(of.snapshot(), &keys::user_tokens(user), |token| {
            row(AccessToken { token, user, role })
        })
        .await?;
    }
    Ok(())
}

/// One access token of a group or project.
pub(crate) async fn one<T, A>(of: &Authorised<T, A>, number: u64) -> Result<AccessToken, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    let mut found = None;
    each(of, |access| {
        if access.token.record.number == number {
            found = Some(access);
        }
    })
    .await?;
    found.ok_or_else(unknown)
}

/// Replaces an access token of a group or project by a new one of the same bot; the old one holds no
/// more. As when one is made, its role may not be above that of the caller.
pub(crate) async fn rotate<T, A>(
    of: &Authorised<T, A>,
    number: u64,
    expires_at: Option<Timestamp>,
) -> Result<(TokenRecord, Role, Token), ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    let found = one(of, number).await?;
    let store = of.access().app().store();
    let key = &store.secrets().await?.token_hash;
    transact(of, async |mut txn: Txn, what: T| {
        member::check_rank(&mut txn, of, &what, found.role).await?;
        let old = by_number(&mut txn, number).await?;
        let (record, token) =
            replace_personal(&mut txn, store.seams(), key, found.user, old, expires_at).await?;
        let act = told("access_token.rotated", &record).with("in place of token", number);
        tell(&mut txn, of.access(), &what, act);
        Ok((txn, (record, found.role, token)))
    })
    .await
}

/// Revokes an access token of a group or project, and removes its bot.
pub(crate) async fn revoke<T, A>(of: &Authorised<T, A>, number: u64) -> Result<(), ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    let bot = one(of, number).await?.user;
    transact(of, async |mut txn: Txn, what: T| {
        let act = Act::new("access_token.revoked").to(format!("token {number}"));
        tell(&mut txn, of.access(), &what, act);
        member::remove(&mut txn, what.place(), bot);
        user::drop_bot(&mut txn, bot).await?;
        Ok((txn, ()))
    })
    .await
}
