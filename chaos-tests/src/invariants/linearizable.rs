//! I4: what clients saw of a tag fits into one order, in which each request took effect at some
//! moment between its beginning and its end.
//!
//! A search as Wing and Gong, and Lowe, describe it: take as the next any request that began
//! before every other one that is left had ended; remember which states led nowhere. Histories
//! are short, so that a set of requests is one number.
//!
//! Jeannette M. Wing, Chun Gong: Testing and Verifying Concurrent Objects, 1993. Gavin Lowe:
//! Testing for Linearizability, 2016.

use std::collections::HashSet;

use super::{Invariant, Violation};

/// The longest history that can be judged.
pub const MOST_REQUESTS: usize = 64;

/// A request about a tag. Times are numbers that only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// When it was sent.
    pub began: u64,
    /// When it was answered with success. What was not may take effect at any time, or never.
    pub ended: Option<u64>,
    /// What it was.
    pub kind: Kind,
}

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The tag was to name this.
    Write(u64),
    /// The tag named this, or there was none.
    Read(Option<u64>),
}

/// Judges a history of a tag that did not exist before.
pub fn check(tag: &str, history: &[Request]) -> Result<(), Violation> {
    assert!(
        history.len() <= MOST_REQUESTS,
        "the history is too long to be judged"
    );
    // What a read saw matters only if it was answered.
    let history: Vec<_> = history
        .iter()
        .copied()
        .filter(|request| request.ended.is_some() || matches!(request.kind, Kind::Write(_)))
        .collect();
    match fits(&history) {
        true => Ok(()),
        false => Err(Invariant::Linearizable.violated(format!(
            "what clients saw of the tag {tag} fits into no order: {history:?}"
        ))),
    }
}

fn fits(history: &[Request]) -> bool {
    let must: u64 = (0..history.len())
        .filter(|at| history[*at].ended.is_some())
        .fold(0, |set, at| set | 1 << at);
    let (mut dead, mut open) = (HashSet::new(), vec![(0_u64, None)]);
    while let Some((done, value)) = open.pop() {
        if done & must == must {
            return true;
        }
        if !dead.insert((done, value)) {
            continue;
        }
        let left = || (0..history.len()).filter(|at| done & 1 << at == 0);
        let first_end = left().filter_map(|at| history[at].ended).min();
        let may_be_next = |at: &usize| first_end.is_none_or(|end| history[*at].began <= end);
        for at in left().filter(may_be_next) {
            let done = done | 1 << at;
            match history[at] {
                // What was not acknowledged and is never read need not have happened. So it takes
                // effect just before somebody reads it, which leaves few orders to be tried.
                Request { ended: None, .. } => {}
                Request {
                    kind: Kind::Write(written),
                    ..
                } => open.push((done, Some(written))),
                Request {
                    kind: Kind::Read(seen),
                    ..
                } if seen == value => open.push((done, value)),
                Request {
                    kind: Kind::Read(seen),
                    ..
                } => {
                    let writes = |at: &usize| match history[*at] {
                        Request {
                            ended: None,
                            kind: Kind::Write(written),
                            ..
                        } => seen == Some(written),
                        _ => false,
                    };
                    let unknown = left().filter(may_be_next).filter(writes);
                    open.extend(unknown.map(|write| (done | 1 << write, seen)));
                }
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(value: u64, began: u64, ended: impl Into<Option<u64>>) -> Request {
        Request {
            began,
            ended: ended.into(),
            kind: Kind::Write(value),
        }
    }

    fn read(value: impl Into<Option<u64>>, began: u64, ended: u64) -> Request {
        Request {
            began,
            ended: Some(ended),
            kind: Kind::Read(value.into()),
        }
    }

    #[test]
    fn requests_at_the_same_time_may_take_effect_in_any_order() {
        assert!(fits(&[write(1, 0, 9), write(2, 1, 8), read(1, 10, 11)]));
        assert!(fits(&[write(1, 0, 9), write(2, 1, 8), read(2, 10, 11)]));
        assert!(fits(&[write(1, 0, 9), read(None, 1, 2), read(1, 3, 4)]));
    }

    #[test]
    fn a_stale_read_fits_nowhere() {
        assert!(!fits(&[write(1, 0, 1), write(2, 2, 3), read(1, 4, 5)]));
        assert!(!fits(&[write(1, 0, 1), read(None, 2, 3)]));
        // Once a newer value was seen, the older one is gone.
        assert!(!fits(&[
            write(1, 0, 1),
            write(2, 2, 20),
            read(2, 3, 4),
            read(1, 5, 6)
        ]));
    }

    #[test]
    fn what_was_not_acknowledged_may_take_effect_late_or_never() {
        let unknown = [write(1, 0, 1), write(2, 2, None), read(1, 3, 4)];
        assert!(fits(&unknown));
        assert!(fits(&[unknown[0], unknown[1], unknown[2], read(2, 5, 6)]));
        // But not twice.
        assert!(!fits(&[
            unknown[0],
            unknown[1],
            read(2, 3, 4),
            read(1, 5, 6),
            read(2, 7, 8)
        ]));
    }

    #[test]
    fn many_unknown_writes_are_judged_in_no_time() {
        let mut history: Vec<_> = (0..20).map(|value| write(value, value, None)).collect();
        history.extend((0..20).map(|at| read(at, 100 + 2 * at, 101 + 2 * at)));
        assert!(fits(&history));
        history.push(read(0, 200, 201));
        history.push(write(0, 198, 199));
        assert!(fits(&history));
    }
}
