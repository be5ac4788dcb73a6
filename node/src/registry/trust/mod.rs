//! Letting jobs of continuous integration in without a secret: rules say whom to believe what of a
//! job, and what the job may do then; a job shows what its issuer says of it and gets a token.
//!
//! - [`rule`]: the rules, records of a group or project;
//! - [`exchange`]: from an ID token to a token of ours, and giving that up early;
//! - [`job`]: whom such a token stands for.

#[cfg(test)]
#[cfg(feature = "real-clients")]
mod client;
mod exchange;
mod job;
mod rule;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use cairn_cluster::{ReadError, Scan, Txn};

pub(crate) use exchange::{Exchange, Exchanged, Refusal, Wanted};
pub use job::{Job, Origin, Within};
pub(crate) use rule::claim_text;
pub use rule::{Expected, TrustRule};

use crate::auth::action::Action;
use crate::auth::scopes::{Scopes, TokenScope};
use crate::http::error::ApiError;
use crate::oidc::Issuer;
use crate::registry::audit::{Act, tell};
use crate::registry::door::{Authorised, transact};
use crate::registry::keys;
use crate::registry::member::Peopled;
use crate::registry::place::Place;
use crate::registry::reader::{Reader, next_entries};
use crate::registry::sequence;
use crate::registry::token::ManagesTokens;

/// The most rules of one group or project.
const MAX_RULES: usize = 100;

/// A rule to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewRule {
    pub(crate) name: String,
    pub(crate) issuer: Issuer,
    pub(crate) audience: String,
    pub(crate) claims: BTreeMap<String, Expected>,
    pub(crate) scopes: Scopes,
    pub(crate) format: Option<String>,
    pub(crate) package: Option<Expected>,
    pub(crate) lifetime_seconds: u32,
}

/// Makes a rule.
pub(crate) async fn create<T, A>(of: &Authorised<T, A>, new: NewRule) -> Result<TrustRule, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    if !of.access().app().http().may_be_trusted(&new.issuer) {
        return Err(ApiError::bad_request(format!(
            "trust rules of this cluster may not name the issuer {}",
            new.issuer
        )));
    }
    let creator = of.caller().user().map(|user| user.id);
    transact(of, async |mut txn: Txn, what: T| {
        let place = what.place();
        let list = keys::trust_rules_of(place.root, place.member());
        if txn.scan(Scan::of(&list).limit(MAX_RULES)).await?.len() >= MAX_RULES {
            return Err(ApiError::conflict(format!(
                "409 Conflict: there are {MAX_RULES} trust rules here already"
            )));
        }
        let NewRule {
            name,
            issuer,
            audience,
            claims,
            scopes,
            format,
            package,
            lifetime_seconds,
        } = new.clone();
        let rule = TrustRule {
            number: sequence::next(&mut txn, "trust-rule").await?,
            place,
            name,
            issuer,
            audience,
            claims,
            scopes,
            format,
            package,
            lifetime_seconds,
            creator,
            created_at: of.now(),
        };
        txn.put_record(&keys::trust_rule(rule.number), &rule);
        txn.put_record(
            &keys::trust_rules_by(rule.issuer.as_str()).key(rule.number),
            &rule,
        );
        txn.put(&list.key(rule.number), "");
        tell(&mut txn, of.access(), &what, told("trust_rule.created", &rule));
        Ok((txn, rule))
    })
    .await
}

/// Calls `row` with the rules of a group or project.
pub(crate) async fn each<T, A>(of: &Authorised<T, A>, mut row: impl FnMut(TrustRule)) -> Result<(), ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    let place = of.what().place();
    let list = keys::trust_rules_of(place.root, place.member());
    let mut after = None;
    loop {
        let entries = next_entries(of.snapshot(), &list, &mut after).await?;
        if entries.is_empty() {
            return Ok(());
        }
        for number in entries.iter().filter_map(|entry| keys::number(&entry.item)) {
            if let Some(rule) = by_number(&mut of.snapshot().clone(), number).await? {
                row(rule);
            }
        }
    }
}

/// One rule of a group or project.
pub(crate) async fn get<T, A>(of: &Authorised<T, A>, number: u64) -> Result<TrustRule, ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    find_in(&mut of.snapshot().clone(), of.what().place(), number).await
}

/// Removes a rule of a group or project: from then on, no token holds that it made.
pub(crate) async fn remove<T, A>(of: &Authorised<T, A>, number: u64) -> Result<(), ApiError>
where
    T: Peopled,
    A: Action,
    Authorised<T, A>: ManagesTokens<T>,
{
    transact(of, async |mut txn: Txn, what: T| {
        let place = what.place();
        let rule = find_in(&mut txn, place, number).await?;
        txn.delete(&keys::trust_rules_of(place.root, place.member()).key(number));
        forget(&mut txn, &rule);
        tell(&mut txn, of.access(), &what, told("trust_rule.removed", &rule));
        Ok((txn, ()))
    })
    .await
}

/// What the audit log is told of a rule.
fn told(what: &'static str, rule: &TrustRule) -> Act {
    let scopes: Vec<_> = rule.scopes.iter().map(TokenScope::name).collect();
    Act::new(what)
        .to(format!("trust rule {} {:?}", rule.number, rule.name))
        .with("issuer", &rule.issuer)
        .with("audience", &rule.audience)
        .with("claims", &rule.claims)
        .with("scopes", scopes.join(", "))
        .with("package type", &rule.format)
        .with("package", &rule.package)
        .with("lifetime", rule.lifetime_seconds)
}

/// Removes some rules of a group or project that is gone, at most `limit`; says how many.
pub(in crate::registry) async fn drop_some(
    txn: &mut Txn,
    place: Place,
    limit: usize,
) -> Result<usize, ReadError> {
    let list = keys::trust_rules_of(place.root, place.member());
    let entries = txn.scan(Scan::of(&list).limit(limit)).await?;
    for entry in &entries {
        if let Some(number) = keys::number(&entry.item)
            && let Some(rule) = by_number(txn, number).await?
        {
            forget(txn, &rule);
        }
        txn.delete(&list.key(&entry.item));
    }
    Ok(entries.len())
}

fn forget(txn: &mut Txn, rule: &TrustRule) {
    txn.delete(&keys::trust_rule(rule.number));
    txn.delete(&keys::trust_rules_by(rule.issuer.as_str()).key(rule.number));
}

async fn by_number<R: Reader>(reader: &mut R, number: u64) -> Result<Option<TrustRule>, ReadError> {
    reader.read(&keys::trust_rule(number)).await
}

async fn find_in<R: Reader>(reader: &mut R, place: Place, number: u64) -> Result<TrustRule, ApiError> {
    let rule = by_number(reader, number).await?;
    rule.filter(|rule| rule.place == place)
        .ok_or_else(|| ApiError::not_found("404 Trust Rule Not Found"))
}

/// The rules of these numbers; none if one of them is gone.
pub(in crate::registry) async fn all_of<R: Reader>(
    reader: &mut R,
    numbers: &[u64],
) -> Result<Option<Vec<TrustRule>>, ReadError> {
    let mut rules = Vec::new();
    for number in numbers {
        match by_number(reader, *number).await? {
            Some(rule) => rules.push(rule),
            None => return Ok(None),
        }
    }
    Ok((!rules.is_empty()).then_some(rules))
}
