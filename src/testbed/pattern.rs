//! Content for streams that shows every lost, repeated, swapped or misdelivered byte.

/// Period of the content in bytes: prime, so that a shift by any power of two (buffers, segments, pages) shows.
const PERIOD: usize = 65_521;
/// The longest slice that [`Pattern::at`] gives.
const WINDOW: usize = 64 << 10;

/// An endless stream of pseudo-random bytes, given by a seed.
#[derive(Debug)]
pub(super) struct Pattern {
    /// One period, and as much of the next as makes every window contiguous.
    bytes: Vec<u8>,
}

impl Pattern {
    pub(super) fn new(seed: u64) -> Self {
        let mut bytes: Vec<u8> = (0..PERIOD.div_ceil(8) as u64)
            .flat_map(|block| mix(seed.wrapping_add(block.wrapping_mul(GOLDEN))).to_le_bytes())
            .take(PERIOD)
            .collect();
        bytes.reserve_exact(WINDOW);
        for at in 0..WINDOW {
            bytes.push(bytes[at % PERIOD]);
        }
        Self { bytes }
    }

    /// The bytes of the stream from `offset` on: `length` of them, or as many as there are in one piece (64 KiB).
    pub(super) fn at(&self, offset: u64, length: u64) -> &[u8] {
        let start = (offset % PERIOD as u64) as usize;
        &self.bytes[start..start + length.min(WINDOW as u64) as usize]
    }
}

/// 2^64 divided by the golden ratio, SplitMix64's increment.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's output function (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(GOLDEN);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_pieces_of_one_periodic_stream() {
        let pattern = Pattern::new(7);
        let stream = |offset: u64| pattern.at(offset, 1)[0];
        for offset in [0, 1, 65_520, 65_521, 65_522, 1 << 20, (1 << 40) + 3] {
            let window = pattern.at(offset, u64::MAX);
            assert_eq!(window.len(), WINDOW);
            for at in [0, 1, 63, 4096, WINDOW - 1] {
                assert_eq!(window[at], stream(offset + at as u64));
            }
        }
    }

    #[test]
    fn shifts_and_seeds_show() {
        let pattern = Pattern::new(7);
        for power in 0..20 {
            assert_ne!(pattern.at(0, 64), pattern.at(1 << power, 64), "shift by {}", 1 << power);
        }
        assert_ne!(pattern.at(0, 64), Pattern::new(8).at(0, 64));
        // Any byte value occurs about as often as any other: 255.9 times.
        let mut count = [0_u32; 256];
        pattern.bytes[..PERIOD].iter().for_each(|&byte| count[usize::from(byte)] += 1);
        assert!(count.iter().all(|count| (150..400).contains(count)));
    }
}
