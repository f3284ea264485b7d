//! The one source of chance of a simulated world: ids, faults, loads and the order of things all follow from the seed.

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tfe_core::id::Entropy;

/// `SplitMix64` (Steele, Lea, Flood 2014): a counter and a mixing function, which is all that a simulation needs.
#[derive(Debug)]
pub(super) struct Chance(AtomicU64);

impl Chance {
    pub(super) fn from_seed(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut mixed = self.0.fetch_add(STEP, Relaxed).wrapping_add(STEP);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of the range, which must not be empty.
    pub(super) fn of(&self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    /// Whether something happens that happens so many times in a thousand.
    pub(super) fn happens(&self, in_a_thousand: u64) -> bool {
        in_a_thousand > 0 && self.next() % 1000 < in_a_thousand
    }

    /// An index of something that has so many elements.
    pub(super) fn index(&self, length: usize) -> usize {
        usize::try_from(self.next() % length as u64).expect("an index is smaller than a length")
    }

    /// One of them.
    pub(super) fn pick<'t, T>(&self, of: &'t [T]) -> &'t T {
        &of[self.index(of.len())]
    }

    /// A time of the range, in milliseconds.
    pub(super) fn time(&self, millis: Range<u64>) -> Duration {
        Duration::from_millis(self.of(millis))
    }
}

impl Entropy for Chance {
    fn fill(&self, buffer: &mut [u8]) {
        for piece in buffer.chunks_mut(8) {
            piece.copy_from_slice(&self.next().to_le_bytes()[..piece.len()]);
        }
    }
}
