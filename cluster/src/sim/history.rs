//! What clients asked and were told, and whether that can be true.
//!
//! A call whose answer was lost, or whose client died, may have taken effect at any time since,
//! or never. Times are numbers in the order of events, which one thread gives out.

use std::collections::{BTreeMap, HashSet};

/// How many calls a register takes: the checker keeps them in the bits of a number.
pub(super) const CALLS_PER_REGISTER: usize = 128;

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It took effect before this time.
    Applied(u64),
    /// It never took effect and never will.
    Refused,
    Unknown,
}

/// What a call does to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Write(u64),
    /// Replaces what was read, if it is still there.
    Swap {
        read: Option<u64>,
        write: u64,
    },
    Read(Option<u64>),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    act: Act,
    began: u64,
    fate: Fate,
}

/// An addition to a counter.
#[derive(Clone, Copy, Debug)]
struct Addition {
    amount: i64,
    fate: Fate,
}

/// An item that was added to a collection after all of it was read.
#[derive(Clone, Debug)]
struct Item {
    name: u64,
    rank: u64,
    fate: Fate,
}

/// See the module.
#[derive(Default)]
pub(super) struct History {
    time: u64,
    registers: BTreeMap<u64, Vec<Call>>,
    additions: Vec<Addition>,
    items: Vec<Item>,
}

impl History {
    /// The time now; it is never the same again.
    pub(super) fn now(&mut self) -> u64 {
        self.time += 1;
        self.time
    }

    /// How many calls and changes there were.
    pub(super) fn len(&self) -> usize {
        let calls: usize = self.registers.values().map(Vec::len).sum();
        calls + self.additions.len() + self.items.len()
    }

    /// How many changes were acknowledged.
    pub(super) fn acknowledged(&self) -> usize {
        let calls = self
            .registers
            .values()
            .flatten()
            .filter(|call| !matches!(call.act, Act::Read(_)) && matches!(call.fate, Fate::Applied(_)));
        let fates = self.additions.iter().map(|addition| addition.fate);
        let fates = fates.chain(self.items.iter().map(|item| item.fate));
        calls.count() + fates.filter(|fate| matches!(fate, Fate::Applied(_))).count()
    }

    /// Whether a register takes one more call.
    pub(super) fn has_room(&self, register: u64) -> bool {
        let calls = self.registers.get(&register).map_or(0, Vec::len);
        // Some are left for the end.
        calls < CALLS_PER_REGISTER - 16
    }

    /// Notes a call that is about to be made; its fate is unknown until it is told.
    pub(super) fn call(&mut self, register: u64, act: Act, began: u64) -> usize {
        let calls = self.registers.entry(register).or_default();
        let fate = Fate::Unknown;
        calls.push(Call { act, began, fate });
        calls.len() - 1
    }

    pub(super) fn called(&mut self, register: u64, number: usize, fate: Fate) {
        let calls = self.registers.get_mut(&register).expect("it was called");
        calls[number].fate = fate;
    }

    /// Notes an addition to the counter that is about to be made.
    pub(super) fn add(&mut self, amount: i64) -> usize {
        let fate = Fate::Unknown;
        self.additions.push(Addition { amount, fate });
        self.additions.len() - 1
    }

    pub(super) fn added(&mut self, number: usize, fate: Fate) {
        self.additions[number].fate = fate;
    }

    /// Notes an item that is about to be added.
    pub(super) fn insert(&mut self, name: u64, rank: u64) -> usize {
        let fate = Fate::Unknown;
        self.items.push(Item { name, rank, fate });
        self.items.len() - 1
    }

    pub(super) fn inserted(&mut self, number: usize, fate: Fate) {
        self.items[number].fate = fate;
    }

    /// Whether the counter can have shown `value` to a read that began at a time. Additions are
    /// positive.
    pub(super) fn check_counter(&self, value: i64, read_began: u64) -> Result<(), String> {
        let sum = |counts: &dyn Fn(Fate) -> bool| -> i64 {
            let counted = self.additions.iter().filter(|addition| counts(addition.fate));
            counted.map(|addition| addition.amount).sum()
        };
        let least = sum(&|fate| matches!(fate, Fate::Applied(at) if at < read_began));
        let most = sum(&|fate| fate != Fate::Refused);
        if (least..=most).contains(&value) {
            return Ok(());
        }
        Err(format!(
            "the counter is {value}, between {least} and {most} were added"
        ))
    }

    /// Whether these items, as name and rank in the order in which they were written, were added,
    /// each by somebody who knew all before it; and whether they are all, if they should be.
    pub(super) fn check_items(&self, found: &[(u64, u64)], is_all: bool) -> Result<(), String> {
        for (position, (name, rank)) in found.iter().enumerate() {
            if *rank != position as u64 {
                return Err(format!(
                    "item {name} was added as number {rank}, it is number {position}"
                ));
            }
            let fate = self
                .items
                .iter()
                .find(|item| item.name == *name)
                .map(|item| item.fate);
            if matches!(fate, None | Some(Fate::Refused)) {
                return Err(format!("item {name} is there and was never added"));
            }
        }
        for item in &self.items {
            let is_there = found.contains(&(item.name, item.rank));
            if is_all && matches!(item.fate, Fate::Applied(_)) && !is_there {
                return Err(format!("item {} was acknowledged and is gone", item.name));
            }
        }
        Ok(())
    }

    /// Whether every register behaved as if each call took effect at one moment between its
    /// begin and its end.
    pub(super) fn check_registers(&self) -> Result<(), String> {
        for (register, calls) in &self.registers {
            let calls: Vec<Call> = calls.iter().filter(|call| is_bound(call)).copied().collect();
            if !is_linearizable(&calls) {
                return Err(format!("register {register} is not linearizable: {calls:?}"));
            }
        }
        Ok(())
    }
}

/// Whether a call says anything, or can have done anything.
fn is_bound(call: &Call) -> bool {
    match call.act {
        Act::Read(_) => matches!(call.fate, Fate::Applied(_)),
        Act::Write(_) | Act::Swap { .. } => call.fate != Fate::Refused,
    }
}

/// Searches for an order of the calls that explains all of them (Wing and Gong, with the memory
/// of Lowe: what was tried in one state of the register is not tried again).
fn is_linearizable(calls: &[Call]) -> bool {
    assert!(
        calls.len() <= CALLS_PER_REGISTER,
        "too many calls of one register"
    );
    let bit = |number: usize| 1u128 << number;
    let ended = |call: &Call| match call.fate {
        Fate::Applied(at) => at,
        _ => u64::MAX,
    };
    let must: u128 = (0..calls.len())
        .filter(|number| ended(&calls[*number]) < u64::MAX)
        .fold(0, |all, number| all | bit(number));
    let mut tried = HashSet::new();
    let mut open = vec![(0u128, None)];
    while let Some((done, value)) = open.pop() {
        if done & must == must {
            return true;
        }
        if !tried.insert((done, value)) {
            continue;
        }
        let left = || (0..calls.len()).filter(|number| done & bit(*number) == 0);
        // Whatever began after another call had ended comes after it.
        let first_end = left()
            .map(|number| ended(&calls[number]))
            .min()
            .unwrap_or(u64::MAX);
        for number in left().filter(|number| calls[*number].began < first_end) {
            let after = match calls[number].act {
                Act::Write(written) => Some(written),
                Act::Swap { read, write } if read == value => Some(write),
                Act::Read(read) if read == value => value,
                Act::Swap { .. } | Act::Read(_) => continue,
            };
            open.push((done | bit(number), after));
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(calls: &[(Act, u64, Fate)], expected: bool) {
        let calls: Vec<Call> = calls
            .iter()
            .map(|&(act, began, fate)| Call { act, began, fate })
            .collect();
        assert_eq!(is_linearizable(&calls), expected, "{calls:?}");
    }

    #[test]
    fn registers() {
        use Act::{Read, Swap, Write};
        use Fate::{Applied, Unknown};
        check(&[], true);
        check(&[(Write(1), 1, Applied(2)), (Read(Some(1)), 3, Applied(4))], true);
        // A stale read.
        check(&[(Write(1), 1, Applied(2)), (Read(None), 3, Applied(4))], false);
        // While the write is under way, both are right, but not one after the other.
        let write = (Write(1), 1, Applied(9));
        check(
            &[write, (Read(None), 2, Applied(3)), (Read(Some(1)), 4, Applied(5))],
            true,
        );
        check(
            &[write, (Read(Some(1)), 2, Applied(3)), (Read(None), 4, Applied(5))],
            false,
        );
        // What is not known may have happened, late, or not at all.
        let lost = (Write(1), 1, Unknown);
        check(
            &[lost, (Read(None), 5, Applied(6)), (Read(Some(1)), 7, Applied(8))],
            true,
        );
        check(&[lost, (Read(None), 5, Applied(6))], true);
        check(
            &[lost, (Read(Some(1)), 5, Applied(6)), (Read(None), 7, Applied(8))],
            false,
        );
        // Two swaps of the same value.
        let swap = |write, began, ended| (Swap { read: None, write }, began, Applied(ended));
        check(&[swap(1, 1, 4), swap(2, 2, 3)], false);
        check(
            &[
                swap(1, 1, 4),
                (
                    Swap {
                        read: Some(1),
                        write: 2,
                    },
                    2,
                    Applied(3),
                ),
            ],
            true,
        );
    }

    #[test]
    fn counters_and_items() {
        let mut history = History::default();
        let sure = history.add(2);
        history.added(sure, Fate::Applied(1));
        history.add(3);
        let refused = history.add(5);
        history.added(refused, Fate::Refused);
        for (value, right) in [(1, false), (2, true), (5, true), (7, false)] {
            assert_eq!(history.check_counter(value, 2).is_ok(), right, "{value}");
        }
        assert!(history.check_counter(0, 1).is_ok(), "it was not acknowledged yet");

        for name in [10, 11] {
            let number = history.insert(name, name - 10);
            history.inserted(number, Fate::Applied(3));
        }
        history.insert(12, 1);
        assert!(history.check_items(&[(10, 0), (11, 1)], true).is_ok());
        assert!(history.check_items(&[(10, 0)], true).is_err(), "one is lost");
        assert!(
            history.check_items(&[(10, 0), (11, 1), (12, 1)], true).is_err(),
            "a phantom"
        );
        assert!(
            history.check_items(&[(10, 0), (11, 1), (13, 2)], true).is_err(),
            "a stranger"
        );
    }
}
