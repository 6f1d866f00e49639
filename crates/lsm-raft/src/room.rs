//! Whether there is room on the disk for what is asked for. Pure.
//!
//! A log that cannot be written ends a node, and a node that finds no room at all does not start
//! again; where all nodes hold the same, their disks fill up together. So a part of the disk is held
//! back: for the log, for tables that are merged to make room, for a start, and for the deletes
//! that people have to send.

use lsm_log::fs::Space;

/// What is held back if nothing is set.
const RESERVE_MIN: u64 = 64 << 20;
const RESERVE_MAX: u64 = 1 << 30;
const RESERVE_PART: u64 = 10;
/// The part of the reserve that only the log of what was decided elsewhere may use.
const LAST_PART: u64 = 4;

/// How much room there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Enough for everything.
    #[default]
    Enough,
    /// No more than the reserve: nothing that is to stay is taken, but deletes are.
    Little,
    /// Little of the reserve: nothing is written.
    None,
}

impl Room {
    /// What there is now, if it was `self` before: a little more is needed to go back.
    #[must_use]
    pub fn judge(self, space: Space, reserve_bytes: Option<u64>) -> Self {
        let reserve = reserve_bytes
            .unwrap_or_else(|| (space.total / RESERVE_PART).clamp(RESERVE_MIN, RESERVE_MAX));
        let last = reserve / LAST_PART;
        // What was too little before has to grow by an eighth.
        let grown = |bytes: u64, was_less: bool| if was_less { bytes + bytes / 8 } else { bytes };
        if space.free < grown(last, self == Self::None) {
            Self::None
        } else if space.free < grown(reserve, self != Self::Enough) {
            Self::Little
        } else {
            Self::Enough
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn judge(before: Room, free: u64) -> Room {
        before.judge(Space { total: 1 << 40, free }, Some(800))
    }

    #[test]
    fn room_is_judged_by_the_reserve_and_does_not_waver() {
        for (free, room) in [(800, Room::Enough), (799, Room::Little), (199, Room::None)] {
            assert_eq!(judge(Room::Enough, free), room, "{free}");
        }
        for (before, free, room) in [
            (Room::Little, 899, Room::Little),
            (Room::Little, 900, Room::Enough),
            (Room::Little, 199, Room::None),
            (Room::None, 224, Room::None),
            (Room::None, 225, Room::Little),
            (Room::None, 899, Room::Little),
            (Room::None, 900, Room::Enough),
        ] {
            assert_eq!(judge(before, free), room, "{before:?} {free}");
        }
    }

    #[test]
    fn a_tenth_of_the_disk_is_held_back_within_limits() {
        for (total, reserve) in [(300 * MIB, 64 * MIB), (2000 * MIB, 200 * MIB), (1 << 42, 1 << 30)]
        {
            let judge = |free| Room::Enough.judge(Space { total, free }, None);
            assert_eq!(judge(reserve), Room::Enough, "{total}");
            assert_eq!(judge(reserve - 1), Room::Little, "{total}");
        }
    }
}
