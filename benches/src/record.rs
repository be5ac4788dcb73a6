//! Puts the table into a document, so that what was measured stands beside how.

use anyhow::Context as _;

use crate::table::Table;

const HEADING: &str = "\n## A run\n";
const NEXT_HEADING: &str = "\n## ";

/// The document with the table in place of what is under its heading "A run".
pub fn recorded(document: &str, table: &Table) -> anyhow::Result<String> {
    let begin = document.find(HEADING).context("there is no heading \"A run\"")? + HEADING.len();
    let (before, old) = document.split_at(begin);
    let after = old.find(NEXT_HEADING).map_or("", |end| &old[end..]);
    Ok(format!("{before}\n{table}{after}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may")]

    use super::*;

    #[test]
    fn a_table_takes_the_place_of_the_one_before_and_of_nothing_else() {
        let table = Table {
            machine: "2 cores".into(),
            limits: Vec::new(),
            rows: Vec::new(),
        };
        let document = |run: &str, after: &str| format!("# Benchmarks\n\nHow.\n\n## A run\n\n{run}{after}");
        for after in ["", "\n## Later\n\nMore.\n"] {
            let recorded = recorded(&document("Old figures.\n\n| a | b |\n", after), &table).unwrap();
            assert_eq!(recorded, document(&table.to_string(), after));
        }
        assert!(recorded("# Benchmarks\n", &table).is_err());
    }
}
