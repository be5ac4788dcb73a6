//! I9: of several publishes under one name, one wins: at most one is acknowledged, and its content
//! is what every node serves from then on.

use super::{Invariant, Violation};

/// A name under which different contents were published at the same time.
#[derive(Clone, Debug)]
pub struct Contest {
    /// The number of the name.
    pub name: u64,
    /// The contents, and whether their publish was acknowledged.
    pub entries: Vec<(u64, bool)>,
    /// What a node was once seen to serve: it can never change.
    pub seen: Option<u64>,
}

impl Contest {
    /// Judges the answers to the publishes.
    pub fn judge(&self) -> Result<(), Violation> {
        let winners: Vec<_> = self.entries.iter().filter(|(_, won)| *won).collect();
        match winners.len() {
            0 | 1 => Ok(()),
            _ => Err(Invariant::OneWinner.violated(format!(
                "different contents were acknowledged under the name {}: {winners:?}",
                self.name
            ))),
        }
    }

    /// Judges what a node serves under the name: the number of a content, or nothing.
    pub fn judge_served(&mut self, node: usize, served: Option<u64>) -> Result<(), Violation> {
        let winner = self.entries.iter().find(|(_, won)| *won);
        let must = self.seen.or(winner.map(|(content, _)| *content));
        if must.is_some() && served != must {
            return Err(Invariant::OneWinner.violated(format!(
                "under the name {} node {} serves {served:?}, and {must:?} has won",
                self.name,
                node + 1
            )));
        }
        self.seen = served;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_winners_and_a_winner_that_changes_are_seen() {
        let contest = |entries: &[(u64, bool)]| Contest {
            name: 1,
            entries: entries.to_vec(),
            seen: None,
        };
        contest(&[(1, true), (2, true)]).judge().unwrap_err();
        let mut won = contest(&[(1, true), (2, false)]);
        won.judge().unwrap();
        won.judge_served(0, Some(1)).unwrap();
        won.judge_served(1, Some(2)).unwrap_err();
        won.judge_served(1, None).unwrap_err();
        let mut open = contest(&[(1, false), (2, false)]);
        open.judge_served(0, None).unwrap();
        open.judge_served(0, Some(2)).unwrap();
        open.judge_served(1, Some(1)).unwrap_err();
    }
}
