//! A network that drops, delays, duplicates, reorders and cuts, one way or both.

use std::collections::BTreeSet;

use fastrand::Rng;

/// What becomes of messages between nodes. Times are in microseconds.
#[derive(Debug)]
pub(crate) struct Network {
    /// Links that carry nothing: from, to.
    cut: BTreeSet<(u64, u64)>,
    /// Per cent of messages that are lost, and that come twice.
    pub(crate) drop_percent: u8,
    pub(crate) twice_percent: u8,
    /// Delay of a message: from this on, with a tail.
    pub(crate) delay: u64,
}

impl Network {
    pub(crate) fn new() -> Self {
        Self { cut: BTreeSet::new(), drop_percent: 0, twice_percent: 0, delay: 500 }
    }

    /// A message that comes later than this was sent in another time.
    pub(crate) const STALE: u64 = 5_000_000;

    /// When copies of a message arrive, counted from now.
    pub(crate) fn fates(&self, rng: &mut Rng, from: u64, to: u64) -> Vec<u64> {
        if self.cut.contains(&(from, to)) || rng.u8(..100) < self.drop_percent {
            return Vec::new();
        }
        let copies = if rng.u8(..100) < self.twice_percent { 2 } else { 1 };
        let mut delays: Vec<u64> = (0..copies).map(|_| self.delay_of(rng)).collect();
        if rng.u16(..1000) == 0 {
            delays.push(Self::STALE + rng.u64(1..5_000_000));
        }
        delays
    }

    /// Most are quick, some overtake others, a few are very late.
    pub(crate) fn delay_of(&self, rng: &mut Rng) -> u64 {
        let tail = match rng.u8(..100) {
            0 => 300_000,
            1..10 => 20_000,
            _ => 2_000,
        };
        self.delay + rng.u64(..tail)
    }

    pub(crate) fn is_cut(&self, from: u64, to: u64) -> bool {
        self.cut.contains(&(from, to))
    }

    pub(crate) fn cut(&mut self, from: u64, to: u64) {
        self.cut.insert((from, to));
    }

    pub(crate) fn cut_both(&mut self, a: u64, b: u64) {
        self.cut(a, b);
        self.cut(b, a);
    }

    pub(crate) fn heal(&mut self) {
        *self = Self::new();
    }
}
