//! In which order a shard is looked for on the disks of a node: computed, so that nothing has to be
//! kept or scanned to find it.
//!
//! Each disk draws a number for each shard, weighted by its size (weighted rendezvous hashing, after
//! Schindelhauer and Schomaker 2005), and the highest comes first. A new shard goes to the one of
//! the first two that is less full (the power of two choices, after Mitzenmacher 1996), so disks
//! fill alike whatever their size and age, and yet a shard is found at the first or second look.
//! Putting a disk in or taking one out moves every other one by a place at most.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::blob::shard_file::ShardName;

/// The positions of disks, given by number and size, in the order in which a shard is looked for.
pub(super) fn order(name: &ShardName, disks: &[(u32, u64)]) -> Vec<usize> {
    let seed = [
        &name.id.generation.0[..],
        &name.id.number.to_be_bytes(),
        &[name.index],
    ]
    .concat();
    let draw = |(disk, size): (u32, u64)| {
        let drawn = xxh3_64_with_seed(&seed, disk.into());
        // In (0, 1), of 52 bits.
        let uniform = ((drawn >> 12) as f64 + 0.5) / (1u64 << 52) as f64;
        size.max(1) as f64 / -uniform.ln()
    };
    let mut drawn: Vec<(usize, f64)> = disks.iter().copied().map(draw).enumerate().collect();
    drawn.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    drawn.into_iter().map(|(position, _)| position).collect()
}

/// The same positions in the order in which a new shard is tried to be stored; `room` tells how much
/// there is at a position.
pub(super) fn preference(
    mut order: Vec<usize>,
    disks: &[(u32, u64)],
    room: impl Fn(usize) -> u64,
) -> Vec<usize> {
    if let [first, second, ..] = order[..] {
        // Of its size, or else the small ones would wait until the large ones are nearly full.
        let share = |disk: usize, other: usize| u128::from(room(disk)) * u128::from(disks[other].1);
        if share(second, first) > share(first, second) {
            order.swap(0, 1);
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::id::Generation;
    use crate::blob::record::SegmentId;

    fn name(number: u64) -> ShardName {
        ShardName {
            group: 5,
            id: SegmentId {
                generation: Generation([9; 16]),
                number,
            },
            index: 1,
        }
    }

    /// Stores so many shards of one size on disks of these sizes, with so much taken already; gives
    /// what each has taken then, and how many looks it takes to find all of them.
    fn fill(shards: u64, disks: &[(u32, u64)], taken: &[u64]) -> (Vec<u64>, u64) {
        let (mut taken, mut looks) = (taken.to_vec(), 0);
        for shard in (0..shards).map(name) {
            let order = order(&shard, disks);
            let room = |disk: usize| disks[disk].1 - taken[disk];
            let preference = preference(order.clone(), disks, room);
            let to = preference.into_iter().find(|disk| room(*disk) > 0).unwrap();
            taken[to] += 1;
            looks += 1 + order.iter().position(|disk| *disk == to).unwrap() as u64;
        }
        (taken, looks)
    }

    #[test]
    fn disks_fill_alike_and_shards_are_found_soon() {
        let disks = [(11, 10_000), (22, 10_000), (33, 20_000), (44, 40_000)];
        let (taken, looks) = fill(40_000, &disks, &[0; 4]);
        for (disk, taken) in disks.iter().zip(&taken) {
            let share = *taken as f64 / disk.1 as f64;
            assert!((0.45..0.55).contains(&share), "{taken} on {disk:?}");
        }
        assert!(looks < 2 * 40_000, "{looks}");
        // To the last byte.
        let (taken, _) = fill(80_000, &disks, &[0; 4]);
        assert_eq!(taken, [10_000, 10_000, 20_000, 40_000]);
    }

    #[test]
    fn an_empty_disk_beside_full_ones_catches_up() {
        let disks = [(11, 10_000), (22, 10_000), (33, 10_000)];
        let (taken, _) = fill(5_000, &disks, &[8_000, 8_000, 0]);
        assert!(taken[2] > 3_000, "{taken:?}");
    }

    #[test]
    fn another_disk_moves_the_others_by_a_place_at_most() {
        let before = [(11, 10), (22, 10), (33, 30)];
        let after = [(11, 10), (44, 20), (22, 10), (33, 30)];
        for shard in (0..1000).map(name) {
            let ids = |disks: &[(u32, u64)]| -> Vec<u32> {
                order(&shard, disks).into_iter().map(|at| disks[at].0).collect()
            };
            let mut with = ids(&after);
            with.retain(|disk| *disk != 44);
            assert_eq!(with, ids(&before));
        }
    }
}
