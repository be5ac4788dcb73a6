//! Access tokens of groups and projects: each is the token of a bot that is a member there.

use cairn_cluster::Txn;

use crate::auth::action::Action;
use crate::auth::role::Role;
use crate::auth::token::Token;
use crate::http::error::ApiError;
use crate::registry::audit::{Act, tell};
use crate::registry::door::{Authorised, transact};
use crate::registry::keys;
use crate::registry::member::{self, Membership, Peopled};
use crate::registry::place::PlaceKind;
use crate::registry::token::{
    ManagesTokens, NewToken, ShownToken, TokenRecord, create_personal, each_in, told, unknown,
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
        let made = create_personal(&mut txn, store.seams(), key, bot.id, wanted.clone()).await?;
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

/// Revokes an access token of a group or project, and removes its bot.
pub(crate) async fn revoke<T, A>(of: &Authorised<T, A>, number: u64) -> Result<(), ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    let mut bot = None;
    each(of, |access| {
        if access.token.record.number == number {
            bot = Some(access.user);
        }
    })
    .await?;
    let bot = bot.ok_or_else(unknown)?;
    transact(of, async |mut txn: Txn, what: T| {
        let act = Act::new("access_token.revoked").to(format!("token {number}"));
        tell(&mut txn, of.access(), &what, act);
        member::remove(&mut txn, what.place(), bot);
        user::drop_bot(&mut txn, bot).await?;
        Ok((txn, ()))
    })
    .await
}
