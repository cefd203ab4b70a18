//! Where a stream is cut into members: where its bytes say so, not at fixed places.
//!
//! After a change that makes a tar longer or shorter, the cuts soon fall on the same bytes as before, and the members between
//! them are the same. A tar's headers and files begin at multiples of [`UNIT`], so nothing else is looked at.

/// What a member is a multiple of, but for the last.
const UNIT: usize = 512;
/// The fewest bytes in a member, but for the last.
const LEAST: usize = 256 << 10;
/// The most bytes in a member.
pub(super) const MOST: usize = 1 << 20;
/// How many bits of a unit's hash are 0 where a member may end: one unit in so many powers of two, 256 KiB on an average.
const BITS: u32 = 9;
/// Bytes between two words of a unit that are looked at.
const STEP: usize = 64;

/// Where the member that `block` begins with ends, if it does; the first `seen` bytes were looked at before.
pub(super) fn end(block: &[u8], seen: usize) -> Option<usize> {
    let first = seen / UNIT * UNIT;
    let mut end = first;
    for unit in block[first..].chunks_exact(UNIT) {
        end += UNIT;
        if end >= LEAST && is_mark(unit) {
            return Some(end);
        }
    }
    (block.len() == MOST).then_some(MOST)
}

fn is_mark(unit: &[u8]) -> bool {
    let words = unit.chunks_exact(STEP).filter_map(|step| step.first_chunk::<8>());
    let mixed = words.fold(0_u64, |hash, word| {
        (hash.rotate_left(23) ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    mixed >> (u64::BITS - BITS) == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(mut bytes: &[u8]) -> Vec<usize> {
        let mut lengths = Vec::new();
        while let Some(end) = end(&bytes[..bytes.len().min(MOST)], 0) {
            lengths.push(end);
            bytes = &bytes[end..];
        }
        lengths
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let words = std::iter::from_fn(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            Some(state.to_le_bytes())
        });
        words.flatten().take(length).collect()
    }

    #[test]
    fn members_are_of_a_good_size_and_uniform_bytes_are_cut_too() {
        let lengths_of_noise = lengths(&noise(12 << 20));
        let mean = lengths_of_noise.iter().sum::<usize>() / lengths_of_noise.len();
        assert!(lengths_of_noise.iter().all(|length| (LEAST..=MOST).contains(length)));
        assert!((400 << 10..600 << 10).contains(&mean), "{mean}");
        assert!(lengths(&vec![0; 3 * MOST]).iter().all(|length| *length == MOST || *length == LEAST));
    }

    #[test]
    fn soon_after_a_change_the_cuts_are_where_they_were() {
        let before = noise(8 << 20);
        let after =
            [&before[..100_000 / UNIT * UNIT], &noise(5 * UNIT), &before[200_000 / UNIT * UNIT..]].concat();
        let from_the_end = |bytes: &[u8]| {
            let mut at = 0;
            let ends = lengths(bytes).into_iter().map(|length| {
                at += length;
                bytes.len() - at
            });
            ends.collect::<std::collections::HashSet<usize>>()
        };
        let (old, new) = (from_the_end(&before), from_the_end(&after));
        let same = old.intersection(&new).count();
        assert!(same + 8 > old.len(), "{same} of {}", old.len());
    }
}
