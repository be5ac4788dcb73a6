//! Putting another disk in the place of one that has failed, or that is not to be used any more,
//! while the node runs.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::id::DiskId;
use super::table::{Entry, EntryState, Slot, Table, unusable};
use super::{DiskError, ShardDisk, ShardDisks, label};

/// Why a disk was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// There is no such disk.
    #[error("this node has no disk {0}")]
    Unknown(DiskId),
    /// It would be of no use, or do harm.
    #[error("{0}")]
    Refused(String),
    /// What was to be put in cannot be.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The node stops.
    #[error("the node is stopping")]
    Stopping,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plan {
    /// A new disk is put in here.
    put_in: Option<PathBuf>,
    /// The old one is to be emptied.
    retire: bool,
}

impl ShardDisks {
    /// Puts a new disk in the place of one that has failed or is empty: at `with`, or where that one
    /// was. One that is sound takes nothing more from now on, and gives what it has to the new one
    /// if there is one, and to the others.
    pub(in crate::blob) async fn replace(
        &self,
        disk: DiskId,
        with: Option<PathBuf>,
    ) -> Result<(), ReplaceError> {
        // Held until the work is over, also if nobody waits for it any more.
        let one_at_a_time = self.inner.replacing.clone().lock_owned().await;
        self.note_failures().await;
        let others = self.accepting().iter().any(|other| other.id != disk);
        let plan = plan(&self.table(), disk, with, others)?;
        let this = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            let _held = one_at_a_time;
            this.carry_out(disk, plan)
        });
        work.await.map_err(|_| ReplaceError::Stopping)?
    }

    fn carry_out(&self, old: DiskId, plan: Plan) -> Result<(), ReplaceError> {
        let new = match plan.put_in {
            None => None,
            Some(path) => Some(self.open_new(old, path)?),
        };
        self.change_table(|table| {
            if let Some(new) = &new {
                // The old one is remembered only as long as its place is not taken.
                table.disks.retain(|entry| entry.path != new.path);
                table.disks.push(Entry {
                    disk: new.id,
                    path: new.path.clone(),
                    state: EntryState::InUse,
                });
            }
            if let Some(entry) = table.entry_mut(old) {
                entry.state = match entry.state {
                    EntryState::InUse | EntryState::Retiring => EntryState::Retiring,
                    EntryState::Failed { .. } | EntryState::Retired => EntryState::Retired,
                };
            }
        });
        if plan.retire
            && let Some(old) = self.in_service().iter().find(|disk| disk.id == old)
        {
            old.accepts.store(false, Ordering::SeqCst);
        }
        match new {
            Some(new) => self.put_in_service(new),
            None => self.inner.signals.changed(),
        }
        Ok(())
    }

    fn open_new(&self, old: DiskId, path: PathBuf) -> Result<ShardDisk, ReplaceError> {
        // Elsewhere in the data directory another file system may be mounted.
        let folder = |other: &ShardDisk| match other.id {
            DiskId::DATA => self.inner.folder.clone(),
            _ => other.path.clone(),
        };
        let disks = self.in_service();
        if let Some(other) = disks.iter().find(|other| overlap(&folder(other), &path)) {
            return Err(ReplaceError::Refused(format!(
                "{} and disk {} lie one in the other: name the folder in which a file system of its own is \
                 mounted",
                path.display(),
                other.id
            )));
        }
        match label::look(self.inner.bays.disk(&path).as_ref()) {
            label::Found::Empty => {}
            label::Found::Labelled(label) if label.disk == old => {
                return Err(ReplaceError::Refused(format!(
                    "{} is still disk {old}: put in another disk, or empty this one if it is sound",
                    path.display()
                )));
            }
            other => return Err(unusable(&path, Some(&other)).into()),
        }
        let draw = &mut || DiskId::draw(&self.inner.seams);
        let slot = Slot {
            disk: self.table().draw(draw),
            path,
            is_new: true,
        };
        Ok(self.open_slot(&slot, true)?)
    }
}

/// Whether one of two folders is inside of the other, whatever links lead there.
fn overlap(one: &Path, other: &Path) -> bool {
    // What is not there is refused for that.
    let [one, other] = [one, other].map(|path| path.canonicalize().unwrap_or_else(|_| path.to_owned()));
    one != other && (one.starts_with(&other) || other.starts_with(&one))
}

fn plan(table: &Table, disk: DiskId, with: Option<PathBuf>, others: bool) -> Result<Plan, ReplaceError> {
    let refused = |why: String| Err(ReplaceError::Refused(why));
    if disk == DiskId::DATA {
        return refused(
            "the data directory cannot be replaced: to have no shards in it, list other disks in node.disks; \
             if its disk fails, the node is replaced by a new one"
                .into(),
        );
    }
    let entry = table.entry(disk).ok_or(ReplaceError::Unknown(disk))?;
    if let Some(path) = &with {
        if !path.is_absolute() {
            return refused(format!("{} is not an absolute path", path.display()));
        }
        let is_used = |other: &&Entry| other.path == *path && other.state.is_in_service();
        if let Some(other) = table.disks.iter().find(is_used) {
            return refused(format!("{} is disk {} already", path.display(), other.disk));
        }
    }
    match entry.state {
        EntryState::Failed { .. } | EntryState::Retired => Ok(Plan {
            put_in: Some(with.unwrap_or_else(|| entry.path.clone())),
            retire: false,
        }),
        EntryState::InUse | EntryState::Retiring if with.is_none() && !others => refused(format!(
            "disk {disk} is sound, and this node has no other one for its shards: name one by --with"
        )),
        EntryState::InUse | EntryState::Retiring => Ok(Plan {
            put_in: with,
            retire: true,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seams::Timestamp;

    #[test]
    fn one_disk_is_not_inside_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let [outer, inner] = ["a", "a/shards/incoming"].map(|path| folder.path().join(path));
        let beside = folder.path().join("ab");
        std::fs::create_dir_all(&inner).unwrap();
        std::os::unix::fs::symlink(&inner, &beside).unwrap();
        for (one, other, expected) in [
            (&outer, &inner, true),
            (&inner, &outer, true),
            (&outer, &beside, true),
            (&outer, &outer, false),
            (&outer, &folder.path().join("abc"), false),
        ] {
            assert_eq!(overlap(one, other), expected, "{one:?} {other:?}");
        }
    }

    #[test]
    fn what_is_to_be_done_depends_on_how_the_disk_is() {
        let failed = EntryState::Failed {
            reason: "it broke".into(),
            at: Timestamp(1),
        };
        let check =
            |state: &EntryState, with: Option<&str>, others, expected: Result<(Option<&str>, bool), &str>| {
                let table = Table {
                    disks: vec![
                        Entry {
                            disk: "aaaaaaaa".parse().unwrap(),
                            path: "/a".into(),
                            state: state.clone(),
                        },
                        Entry {
                            disk: "bbbbbbbb".parse().unwrap(),
                            path: "/b".into(),
                            state: EntryState::InUse,
                        },
                    ],
                    ..Table::default()
                };
                let planned = plan(
                    &table,
                    "aaaaaaaa".parse().unwrap(),
                    with.map(PathBuf::from),
                    others,
                );
                match (planned, expected) {
                    (Ok(plan), Ok((put_in, retire))) => {
                        assert_eq!((plan.put_in, plan.retire), (put_in.map(PathBuf::from), retire));
                    }
                    (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
                    (planned, expected) => panic!("{planned:?} rather than {expected:?}"),
                }
            };
        check(&failed, None, true, Ok((Some("/a"), false)));
        check(&failed, None, false, Ok((Some("/a"), false)));
        check(&failed, Some("/c"), true, Ok((Some("/c"), false)));
        check(&failed, Some("/b"), true, Err("/b is disk bbbbbbbb already"));
        check(&failed, Some("c"), true, Err("absolute"));
        check(&EntryState::Retired, None, true, Ok((Some("/a"), false)));
        check(&EntryState::InUse, None, true, Ok((None, true)));
        check(&EntryState::InUse, None, false, Err("--with"));
        check(&EntryState::InUse, Some("/c"), false, Ok((Some("/c"), true)));
        check(
            &EntryState::InUse,
            Some("/a"),
            true,
            Err("/a is disk aaaaaaaa already"),
        );
        check(&EntryState::Retiring, None, true, Ok((None, true)));
    }
}
