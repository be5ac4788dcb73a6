//! What a seed decides of a run's faults: which, in which order, for how long, and their dice.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::faults::{Kind, Strike};

/// How long a fault lasts, in milliseconds, where that can be chosen: mostly short, sometimes long.
const SHORT: std::ops::Range<u64> = 500..4000;
const LONG: std::ops::Range<u64> = 4000..15_000;

/// How long nothing happens between two faults, in milliseconds.
const CALM: std::ops::Range<u64> = 200..2500;

/// One step of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// How long nothing happens first.
    pub calm: Duration,
    /// What happens then.
    pub strike: Strike,
}

/// The steps of a run, without end: all faults in some order, and again in another one.
pub fn steps(seed: u64, faults: &[Kind]) -> impl Iterator<Item = Step> {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut faults = faults.to_vec();
    faults.sort();
    let mut deck = Vec::new();
    std::iter::from_fn(move || {
        if deck.is_empty() {
            deck.clone_from(&faults);
            deck.shuffle(&mut dice);
        }
        let lasts = match dice.random_bool(0.8) {
            true => SHORT,
            false => LONG,
        };
        Some(Step {
            calm: Duration::from_millis(dice.random_range(CALM)),
            strike: Strike {
                kind: deck.pop()?,
                hold: Duration::from_millis(dice.random_range(lasts)),
                dice: dice.random(),
                alone: true,
                spared: None,
            },
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_everything_and_each_round_has_every_fault() {
        let of = |seed| steps(seed, &Kind::ALL).take(60).collect::<Vec<_>>();
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
        let mut round: Vec<_> = of(7)[..Kind::ALL.len()]
            .iter()
            .map(|step| step.strike.kind)
            .collect();
        round.sort();
        assert_eq!(round, Kind::ALL);
    }

    #[test]
    fn the_order_in_which_faults_are_named_does_not_matter() {
        let one: Vec<_> = steps(3, &[Kind::KillOne, Kind::Pause]).take(9).collect();
        let other: Vec<_> = steps(3, &[Kind::Pause, Kind::KillOne]).take(9).collect();
        assert_eq!(one, other);
    }
}
