//! One file of `CrashFs`: its bytes on disk and in the system's cache, and what a crash makes
//! of them.
//!
//! Pure data: no lock, no clock; chance comes in as an argument. The model is in `crash.rs`.

use std::collections::BTreeMap;
use std::io;

use fastrand::Rng;

use super::mem::{grow, store};

/// What a disk writes whole, in bytes.
pub(super) const SECTOR_BYTES: u64 = 512;

/// A file's bytes on disk and in the system's cache.
#[derive(Debug)]
pub(super) struct Content {
    /// What programs see.
    current: Vec<u8>,
    /// What is surely on disk.
    durable: Vec<u8>,
    /// What happened since, oldest first.
    unsynced: Vec<ByteChange>,
}

/// One change of a file's bytes.
#[derive(Debug)]
pub(super) enum ByteChange {
    Write { offset: u64, bytes: Vec<u8> },
    Grow { len: u64 },
}

impl ByteChange {
    fn apply(&self, bytes: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Write { offset, bytes: new } => store(bytes, *offset, new),
            Self::Grow { len } => grow(bytes, *len),
        }
    }
}

impl Content {
    /// Bytes that are on disk.
    pub(super) fn synced(bytes: Vec<u8>) -> Self {
        Self { current: bytes.clone(), durable: bytes, unsynced: Vec::new() }
    }

    /// What programs see.
    pub(super) fn current(&self) -> &[u8] {
        &self.current
    }

    /// What is surely on disk.
    pub(super) fn durable(&self) -> &[u8] {
        &self.durable
    }

    /// Changes what programs see.
    pub(super) fn apply(&mut self, change: ByteChange) -> io::Result<()> {
        change.apply(&mut self.current)?;
        self.unsynced.push(change);
        Ok(())
    }

    /// Puts everything on disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.unsynced.drain(..).try_for_each(|change| change.apply(&mut self.durable))
    }

    /// Forgets that anything still has to be put on disk. The length is on disk by other ways.
    pub(super) fn lose(&mut self) -> io::Result<()> {
        self.unsynced.clear();
        grow(&mut self.durable, self.current.len() as u64)
    }

    /// The durable bytes and some sectors of the writes since.
    pub(super) fn torn(&self, rng: &mut Rng) -> Vec<u8> {
        let mut sectors = SectorChoice::new(self.unsynced.len(), rng);
        self.torn_by(&mut sectors, rng)
    }

    fn torn_by(&self, sectors: &mut SectorChoice, rng: &mut Rng) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for (index, change) in self.unsynced.iter().enumerate() {
            match change {
                ByteChange::Grow { .. } if !sectors.keeps_some(rng) => {}
                ByteChange::Grow { len } => grow(&mut bytes, *len).expect("it grew before"),
                // Nothing written, nothing grown.
                ByteChange::Write { bytes, .. } if bytes.is_empty() => {}
                ByteChange::Write { offset, bytes: new } => {
                    for (at, piece) in split_sectors(*offset, new) {
                        if sectors.keeps(at / SECTOR_BYTES, index, rng) {
                            store(&mut bytes, at, piece).expect("it was written before");
                        }
                    }
                    // The length may be on disk without the bytes, which then read as zero.
                    if sectors.keeps_some(rng) {
                        grow(&mut bytes, offset + new.len() as u64).expect("it grew before");
                    }
                }
            }
        }
        bytes
    }
}

/// Cuts a write where sectors end.
fn split_sectors(offset: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let (mut at, mut rest) = (offset, bytes);
    std::iter::from_fn(move || {
        let room = usize::try_from(SECTOR_BYTES - at % SECTOR_BYTES).unwrap_or(usize::MAX);
        let (piece, after) = rest.split_at(room.min(rest.len()));
        let found = (at, piece);
        (at, rest) = (at + piece.len() as u64, after);
        (!piece.is_empty()).then_some(found)
    })
}

/// Chooses which sectors of a file's unsynced writes are on disk.
struct SectorChoice {
    /// Out of [`CHANCES`](Self::CHANCES): from all lost to all kept.
    kept_chance: u32,
    /// How many writes each sector had seen when the system last wrote it out, as real caches
    /// do it; `None` to choose for each write alone, which asks more of the reader.
    seen: Option<BTreeMap<u64, usize>>,
    writes: usize,
}

impl SectorChoice {
    const CHANCES: u32 = 16;

    fn new(writes: usize, rng: &mut Rng) -> Self {
        let kept_chance = rng.u32(0..=Self::CHANCES);
        Self { kept_chance, seen: rng.bool().then(BTreeMap::new), writes }
    }

    fn keeps(&mut self, sector: u64, write: usize, rng: &mut Rng) -> bool {
        let keeps_some = self.keeps_some(rng);
        let Some(seen) = &mut self.seen else {
            return keeps_some;
        };
        let writes = self.writes;
        let seen = seen
            .entry(sector)
            .or_insert_with(|| if keeps_some { writes } else { rng.usize(..=writes) });
        write < *seen
    }

    fn keeps_some(&self, rng: &mut Rng) -> bool {
        rng.u32(..Self::CHANCES) < self.kept_chance
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What is found of two writes to one sector and one to the next.
    fn torn(seen: Option<&BTreeMap<u64, usize>>) -> BTreeSet<String> {
        let mut content = Content::synced(b"-".repeat(600));
        for (offset, bytes) in [(0, b"1"), (1, b"2"), (SECTOR_BYTES, b"3")] {
            let bytes = bytes.to_vec();
            content.apply(ByteChange::Write { offset, bytes }).unwrap();
        }
        let image = |seed| {
            let mut sectors = SectorChoice { kept_chance: 8, seen: seen.cloned(), writes: 3 };
            let bytes = content.torn_by(&mut sectors, &mut Rng::with_seed(seed));
            [0, 1, SECTOR_BYTES as usize].iter().map(|at| char::from(bytes[*at])).collect()
        };
        (0..200).map(image).collect()
    }

    #[test]
    fn a_cache_writes_out_sectors_as_they_are() {
        let found = torn(Some(&BTreeMap::new()));
        let expected = ["---", "1--", "12-", "--3", "1-3", "123"];
        assert_eq!(found, expected.map(str::to_owned).into());
    }

    #[test]
    fn an_empty_write_grows_nothing() {
        let mut content = Content::synced(Vec::new());
        let empty = ByteChange::Write { offset: u64::MAX, bytes: Vec::new() };
        content.apply(empty).unwrap();
        for seed in 0..20 {
            assert!(content.torn(&mut Rng::with_seed(seed)).is_empty());
        }
    }

    #[test]
    fn without_a_cache_each_write_is_for_itself() {
        assert_eq!(torn(None).len(), 8);
    }
}
