//! What a package keeps besides its versions: tags, maintainers, stars, and what its packument
//! repeats of the latest version. Changing it is pure; transactions are in [`super::store`].

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cairn_cluster::Timestamp;
use cairn_cluster::record::{self, DecodeError, Record};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::index::{Maintainer, hoisted};
use super::names::{DistTag, Version};

/// The most dist-tags of a package.
const MAX_TAGS: usize = 250;

/// The most maintainers of a package.
const MAX_MAINTAINERS: usize = 50;

/// The most users whose stars are kept.
const MAX_STARS: usize = 250;

/// The most bytes of JSON that are repeated of the latest version.
const MAX_HOISTED_BYTES: usize = 48 << 10;

/// The longest name or mail address of a maintainer.
const MAX_PERSON_CHARS: usize = 255;

/// What the format keeps in the record of a package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) dist_tags: BTreeMap<DistTag, Version>,
    pub(crate) modified: Timestamp,
    pub(crate) maintainers: Vec<Maintainer>,
    /// Names of users.
    pub(crate) stars: BTreeSet<String>,
    /// Of the version that `latest` points to.
    pub(crate) latest: Latest,
}

impl Record for Head {}

/// What packuments and searches show of the latest version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Latest {
    /// A JSON object: see [`hoisted`].
    hoisted: String,
    pub(crate) published_at: Timestamp,
    pub(crate) publisher: Option<String>,
}

/// Why a package cannot be changed so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    #[error("a package has at most {MAX_TAGS} dist-tags")]
    TooManyTags,
    #[error("there is no dist-tag {0}")]
    NoSuchTag(DistTag),
    #[error("the dist-tag latest can be moved, but not removed")]
    LatestStays,
    #[error("a package has 1 to {MAX_MAINTAINERS} maintainers, each with a name")]
    Maintainers,
    #[error("a package keeps the stars of at most {MAX_STARS} users")]
    TooManyStars,
}

/// A version that a tag may point to.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    pub(crate) version: Version,
    pub(crate) manifest: Map<String, Value>,
    pub(crate) published_at: Timestamp,
    pub(crate) publisher: Option<String>,
}

impl Head {
    /// Reads it from the package's record.
    pub(crate) fn decode(metadata: &Bytes) -> Result<Self, DecodeError> {
        if metadata.is_empty() {
            return Ok(Self::default());
        }
        record::decode(metadata)
    }

    /// As the package's record holds it.
    pub(crate) fn encode(&self) -> Bytes {
        record::encode(self)
    }

    /// The version that an install without a version gets.
    pub(crate) fn latest_version(&self) -> Option<&Version> {
        self.dist_tags.get(&DistTag::latest())
    }

    /// What the packument repeats of the latest version.
    pub(crate) fn hoisted(&self) -> Map<String, Value> {
        serde_json::from_str(&self.latest.hoisted).unwrap_or_default()
    }

    /// Adds a version with its tags; the first one becomes `latest`, whatever its tags are.
    pub(crate) fn publish(
        &mut self,
        release: &Release,
        tags: &[DistTag],
        now: Timestamp,
    ) -> Result<(), HeadError> {
        if self.maintainers.is_empty() {
            self.maintainers
                .extend(release.publisher.iter().map(|name| Maintainer {
                    name: name.clone(),
                    email: None,
                }));
        }
        for tag in tags {
            self.point(tag, release)?;
        }
        if self.latest_version().is_none() {
            self.point(&DistTag::latest(), release)?;
        }
        self.modified = now;
        Ok(())
    }

    /// Points a tag to a version.
    pub(crate) fn tag(&mut self, tag: &DistTag, release: &Release, now: Timestamp) -> Result<(), HeadError> {
        self.point(tag, release)?;
        self.modified = now;
        Ok(())
    }

    fn point(&mut self, tag: &DistTag, release: &Release) -> Result<(), HeadError> {
        if self.dist_tags.len() >= MAX_TAGS && !self.dist_tags.contains_key(tag) {
            return Err(HeadError::TooManyTags);
        }
        self.dist_tags.insert(tag.clone(), release.version.clone());
        if *tag == DistTag::latest() {
            self.latest = Latest {
                hoisted: bounded(hoisted(&release.manifest)),
                published_at: release.published_at,
                publisher: release.publisher.clone(),
            };
        }
        Ok(())
    }

    /// Removes a tag.
    pub(crate) fn untag(&mut self, tag: &DistTag, now: Timestamp) -> Result<(), HeadError> {
        if *tag == DistTag::latest() {
            return Err(HeadError::LatestStays);
        }
        if self.dist_tags.remove(tag).is_none() {
            return Err(HeadError::NoSuchTag(tag.clone()));
        }
        self.modified = now;
        Ok(())
    }

    /// Removes the tags of a version that is gone; says whether `latest` was one of them, so that
    /// another version must take its place.
    pub(crate) fn forget_version(&mut self, version: &Version, now: Timestamp) -> bool {
        let was_latest = self.latest_version() == Some(version);
        self.dist_tags.retain(|_, target| target != version);
        self.modified = now;
        was_latest
    }

    /// Replaces the maintainers. They are names to ask, and have no rights by that.
    pub(crate) fn set_maintainers(&mut self, maintainers: &Value, now: Timestamp) -> Result<(), HeadError> {
        let people: Vec<Maintainer> =
            serde_json::from_value(maintainers.clone()).map_err(|_| HeadError::Maintainers)?;
        let is_short =
            |text: &str| text.chars().count() <= MAX_PERSON_CHARS && !text.contains(char::is_control);
        let fits = |person: &Maintainer| {
            !person.name.is_empty() && is_short(&person.name) && person.email.as_deref().is_none_or(is_short)
        };
        if !(1..=MAX_MAINTAINERS).contains(&people.len()) || !people.iter().all(fits) {
            return Err(HeadError::Maintainers);
        }
        self.maintainers = people;
        self.modified = now;
        Ok(())
    }

    /// Sets or removes a user's star.
    pub(crate) fn star(&mut self, user: &str, starred: bool) -> Result<(), HeadError> {
        if !starred {
            self.stars.remove(user);
        } else if self.stars.len() < MAX_STARS {
            self.stars.insert(user.into());
        } else if !self.stars.contains(user) {
            return Err(HeadError::TooManyStars);
        }
        Ok(())
    }
}

/// Drops members, the largest first, until the rest is small enough to be part of every record.
fn bounded(mut members: Map<String, Value>) -> String {
    loop {
        let text = Value::Object(members.clone()).to_string();
        if text.len() <= MAX_HOISTED_BYTES {
            return text;
        }
        let largest = members.iter().max_by_key(|(_, value)| value.to_string().len());
        let Some((largest, _)) = largest else {
            return text;
        };
        let largest = largest.clone();
        members.remove(&largest);
    }
}

/// The version that takes the place of a `latest` that is gone: the highest release, or the
/// highest pre-release if there is nothing else.
pub(crate) fn successor(versions: impl IntoIterator<Item = Version>) -> Option<Version> {
    versions
        .into_iter()
        .max_by(|one, other| (!one.is_prerelease(), one).cmp(&(!other.is_prerelease(), other)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::publication::tests::object;
    use super::*;

    fn release(version: &str) -> Release {
        Release {
            version: version.parse().unwrap(),
            manifest: object(json!({"description": format!("this is {version}"), "main": "x.js"})),
            published_at: Timestamp(7),
            publisher: Some("alice".into()),
        }
    }

    fn tag(text: &str) -> DistTag {
        text.parse().unwrap()
    }

    fn tags(head: &Head) -> String {
        let shown = |(tag, version): (&DistTag, &Version)| format!("{tag}={version}");
        head.dist_tags.iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_first_version_is_latest_whatever_its_tag() {
        let mut head = Head::default();
        head.publish(&release("1.0.0-rc.1"), &[tag("next")], Timestamp(1))
            .unwrap();
        assert_eq!(tags(&head), "latest=1.0.0-rc.1 next=1.0.0-rc.1");
        head.publish(&release("1.0.0-rc.2"), &[tag("next")], Timestamp(2))
            .unwrap();
        assert_eq!(tags(&head), "latest=1.0.0-rc.1 next=1.0.0-rc.2");
        assert_eq!(head.hoisted()["description"], "this is 1.0.0-rc.1");
        head.publish(&release("1.0.0"), &[tag("latest")], Timestamp(3))
            .unwrap();
        assert_eq!(tags(&head), "latest=1.0.0 next=1.0.0-rc.2");
        assert_eq!(
            Value::Object(head.hoisted()),
            json!({"description": "this is 1.0.0"})
        );
        assert_eq!((head.modified, head.maintainers.len()), (Timestamp(3), 1));
    }

    #[test]
    fn tags_come_and_go_but_latest_stays() {
        let mut head = Head::default();
        head.publish(&release("1.0.0"), &[], Timestamp(1)).unwrap();
        head.tag(&tag("beta"), &release("1.0.0"), Timestamp(2)).unwrap();
        assert_eq!(tags(&head), "beta=1.0.0 latest=1.0.0");
        head.untag(&tag("beta"), Timestamp(3)).unwrap();
        assert_eq!(
            head.untag(&tag("beta"), Timestamp(3)),
            Err(HeadError::NoSuchTag(tag("beta")))
        );
        assert_eq!(
            head.untag(&tag("latest"), Timestamp(3)),
            Err(HeadError::LatestStays)
        );
        assert!(head.forget_version(&"1.0.0".parse().unwrap(), Timestamp(4)));
        assert_eq!(tags(&head), "");
    }

    #[test]
    fn a_package_has_a_limited_number_of_tags() {
        let mut head = Head::default();
        head.publish(&release("1.0.0"), &[], Timestamp(1)).unwrap();
        for n in 1..MAX_TAGS {
            head.tag(&tag(&format!("t{n}")), &release("1.0.0"), Timestamp(2))
                .unwrap();
        }
        assert_eq!(
            head.tag(&tag("more"), &release("1.0.0"), Timestamp(2)),
            Err(HeadError::TooManyTags)
        );
        head.tag(&tag("t1"), &release("1.0.1"), Timestamp(2)).unwrap();
    }

    #[test]
    fn maintainers_are_people() {
        let mut head = Head::default();
        head.set_maintainers(
            &json!([{"name": "bob", "email": "bob@cairn.example", "x": 1}]),
            Timestamp(1),
        )
        .unwrap();
        assert_eq!(head.maintainers[0].email.as_deref(), Some("bob@cairn.example"));
        let many: Vec<Value> = (0..51).map(|n| json!({"name": format!("u{n}")})).collect();
        for bad in [
            json!([]),
            json!("bob"),
            json!([{"name": ""}]),
            json!([{"name": "\u{1b}"}]),
            json!(many),
        ] {
            assert_eq!(
                head.set_maintainers(&bad, Timestamp(2)),
                Err(HeadError::Maintainers),
                "{bad:.40}"
            );
        }
        assert_eq!(head.maintainers.len(), 1);
    }

    #[test]
    fn stars_are_kept_once_and_not_without_end() {
        let mut head = Head::default();
        for n in 0..MAX_STARS {
            head.star(&format!("u{n}"), true).unwrap();
        }
        head.star("u1", true).unwrap();
        assert_eq!(head.star("more", true), Err(HeadError::TooManyStars));
        head.star("u1", false).unwrap();
        head.star("more", true).unwrap();
    }

    #[test]
    fn the_fullest_head_fits_into_a_record() {
        let mut head = Head::default();
        let long = |n: usize, len: usize| format!("t{n:0>width$x}", width = len - 1);
        let mut big = release(&format!("1.0.0-{}", "x".repeat(250)));
        big.manifest = object(json!({"description": "d".repeat(30_000), "keywords": ["k".repeat(40_000)]}));
        for n in 0..MAX_TAGS - 1 {
            head.tag(&tag(&long(n, 128)), &big, Timestamp(1)).unwrap();
        }
        head.tag(&tag("latest"), &big, Timestamp(1)).unwrap();
        for n in 0..MAX_STARS {
            head.star(&long(n, 255), true).unwrap();
        }
        let people: Vec<Value> = (0..MAX_MAINTAINERS)
            .map(|n| json!({"name": long(n, 255), "email": long(n, 255)}))
            .collect();
        head.set_maintainers(&json!(people), Timestamp(1)).unwrap();
        assert!(
            head.encode().len() <= crate::registry::package::MAX_METADATA_BYTES,
            "{}",
            head.encode().len()
        );
        assert_eq!(Head::decode(&head.encode()).unwrap(), head);
        assert!(!head.hoisted().contains_key("keywords") && head.hoisted().contains_key("description"));
    }

    #[test]
    fn the_highest_release_follows_a_latest_that_is_gone() {
        let check = |versions: &[&str], expected: Option<&str>| {
            let found = successor(versions.iter().map(|version| version.parse().unwrap()));
            assert_eq!(found.map(|version| version.to_string()).as_deref(), expected);
        };
        check(&["1.9.0", "1.10.0", "2.0.0-rc.1"], Some("1.10.0"));
        check(&["2.0.0-rc.1", "2.0.0-rc.2"], Some("2.0.0-rc.2"));
        check(&[], None);
    }
}

#[cfg(test)]
mod stored {
    use crate::samples;

    #[test]
    fn what_was_stored_is_read() {
        samples::check::<super::Head>("npm-head");
    }
}
