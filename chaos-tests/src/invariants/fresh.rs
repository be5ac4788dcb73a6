//! I5: what was acknowledged is seen at once, through any node.

use super::{Invariant, Violation};
use crate::oracle::{Known, Told};
use crate::workloads::generic::Read;

/// Judges what a node said of a file, by what clients knew before they asked and afterwards.
pub fn judge(before: &Known, after: &Known, node: usize, read: &Read) -> Result<(), Violation> {
    let stale = match (before.told, read) {
        // Something was under way meanwhile.
        _ if before.changes != after.changes => false,
        (Told::Acknowledged, Read::Absent) => true,
        (Told::Deleted, Read::Whole) => true,
        _ => false,
    };
    match stale {
        false => Ok(()),
        true => Err(Invariant::Fresh.violated(format!(
            "file {} was {:?} before node {} was asked, which says {read:?}",
            before.file.number,
            before.told,
            node + 1
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Payload;

    #[test]
    fn a_read_is_stale_only_if_nothing_was_under_way() {
        let known = |told, changes| Known {
            file: Payload {
                number: 1,
                size_bytes: 1,
            },
            told,
            changes,
            doubtful: false,
        };
        let acknowledged = known(Told::Acknowledged, 2);
        judge(&acknowledged, &acknowledged, 0, &Read::Whole).unwrap();
        judge(&acknowledged, &acknowledged, 0, &Read::Failed("503".into())).unwrap();
        judge(&acknowledged, &known(Told::Deleted, 4), 0, &Read::Absent).unwrap();
        judge(&acknowledged, &acknowledged, 0, &Read::Absent).unwrap_err();
        let deleted = known(Told::Deleted, 4);
        judge(&deleted, &deleted, 0, &Read::Whole).unwrap_err();
    }
}
