//! How the disk under the log of this node does: whether it answers, and whether it is slower
//! than those of the others. Pure: writes, what is committed and ticks in, a verdict out.
//!
//! A leader whose disk does not answer decides nothing, and still has the others follow it by its
//! heartbeats. So it hands over after the time in which they would replace a leader that is dead,
//! and a node whose disk does not answer for much longer stops. Silence is counted in ticks, which
//! do not pass while the process is paused.
//!
//! A leader answers a write when it has it on its own disk, too. One whose disk is slow makes the
//! group slow, though a quorum of others would do. How long the others take is seen in how long
//! its entries take to be committed, the network included: a leader that takes several times as
//! long for its own disk, over a while and not once, hands over.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::Config;

/// So many times as long as the others a slow disk takes,
const SLOW_FACTOR: u32 = 4;
/// and longer by so much: less is not worth an election.
const SLOW_MIN: Duration = Duration::from_millis(50);
/// A window is slow if at least three of four of its writes are, and there are so many.
const WINDOW_WRITES_MIN: u32 = 4;
/// So many windows in a row must be slow. Each is an election timeout long.
const SLOW_WINDOWS: u32 = 3;
/// For so many windows after that nothing is judged: the next leader was no better, or this one
/// would not lead again.
const REST_WINDOWS: u32 = 60;
/// Election timeouts without an answer after which the node stops.
const DEAD_TIMEOUTS: usize = 30;

/// What is to be done about the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiskHealth {
    /// Nothing.
    Fine,
    /// A leader hands over: the disk is much slower than those of the others.
    Slow,
    /// A leader hands over: the disk has not answered for an election timeout.
    Silent,
    /// The node stops: it has not for much longer.
    Dead,
}

#[derive(Debug, Default)]
pub(super) struct Disk {
    /// What was given out to be persisted, the oldest first.
    writes: VecDeque<PendingWrite>,
    ticks: usize,
    window: Window,
    slow_windows: u32,
    rest_windows: u32,
}

#[derive(Debug)]
struct PendingWrite {
    ready: u64,
    tick: usize,
    began: Duration,
    /// The last entry of a write that a leader made, and after what time the others had it.
    last: Option<u64>,
    others: Option<Duration>,
}

/// Judged writes of one stretch of time.
#[derive(Debug, Default)]
struct Window {
    writes: u32,
    slow: u32,
}

impl Disk {
    /// Something is to be persisted. `last` is the last entry in it, if this node leads.
    pub(super) fn begin(&mut self, ready: u64, last: Option<u64>, now: Duration) {
        self.writes.push_back(PendingWrite {
            ready,
            tick: self.ticks,
            began: now,
            last,
            others: None,
        });
    }

    /// The entries through `index` are committed.
    pub(super) fn committed(&mut self, index: u64, now: Duration) {
        let waits = |write: &&mut PendingWrite| write.others.is_none();
        for write in self.writes.iter_mut().filter(waits) {
            if write.last.is_some_and(|last| last <= index) {
                write.others = Some(now.saturating_sub(write.began));
            }
        }
    }

    /// All through this ready is durable.
    pub(super) fn done(&mut self, ready: u64, now: Duration) {
        while self.writes.front().is_some_and(|write| write.ready <= ready) {
            let Some(write) = self.writes.pop_front() else { break };
            if write.last.is_none() {
                continue;
            }
            let own = now.saturating_sub(write.began);
            // Not committed yet: this disk was faster.
            let is_slow = write.others.is_some_and(|others| own >= others * SLOW_FACTOR + SLOW_MIN);
            self.window.writes += 1;
            self.window.slow += u32::from(is_slow);
        }
    }

    /// This node leads no longer: what was seen says nothing of the next time.
    pub(super) fn forget(&mut self) {
        self.window = Window::default();
        self.slow_windows = 0;
        self.writes.iter_mut().for_each(|write| write.last = None);
    }

    /// Counts a tick.
    pub(super) fn tick(&mut self, config: &Config) -> DiskHealth {
        self.ticks += 1;
        if self.ticks.is_multiple_of(config.election_ticks_min) && self.end_window() {
            return DiskHealth::Slow;
        }
        match self.silent_ticks() {
            ticks if ticks >= DEAD_TIMEOUTS * config.election_ticks_min => DiskHealth::Dead,
            ticks if ticks >= config.election_ticks_min => DiskHealth::Silent,
            _ => DiskHealth::Fine,
        }
    }

    /// Whether all that it was given is durable.
    pub(super) fn is_idle(&self) -> bool {
        self.writes.is_empty()
    }

    /// How long the disk has been silent: since the oldest write that it was given.
    pub(super) fn silent_ticks(&self) -> usize {
        self.writes.front().map_or(0, |write| self.ticks - write.tick)
    }

    /// Whether enough windows were slow.
    fn end_window(&mut self) -> bool {
        let Window { writes, slow } = std::mem::take(&mut self.window);
        if self.rest_windows > 0 {
            self.rest_windows -= 1;
            return false;
        }
        // Too few say nothing either way.
        if writes >= WINDOW_WRITES_MIN {
            self.slow_windows = if 4 * slow >= 3 * writes { self.slow_windows + 1 } else { 0 };
        }
        let is_slow = self.slow_windows >= SLOW_WINDOWS;
        if is_slow {
            (self.slow_windows, self.rest_windows) = (0, REST_WINDOWS);
        }
        is_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A leader with a write a tick, which takes `own` here and `others` on a quorum of others.
    struct Leader {
        disk: Disk,
        now: Duration,
        next: u64,
    }

    impl Leader {
        fn new() -> Self {
            Self { disk: Disk::default(), now: Duration::ZERO, next: 0 }
        }

        fn write(&mut self, own: u32, others: u32) -> DiskHealth {
            self.next += 1;
            self.now += 100 * MS;
            self.disk.begin(self.next, Some(self.next), self.now);
            if others < own {
                self.disk.committed(self.next, self.now + others * MS);
            }
            self.disk.done(self.next, self.now + own * MS);
            self.disk.committed(self.next, self.now + others * MS);
            self.disk.tick(&Config::new(1))
        }
    }

    #[test]
    fn a_disk_that_is_slower_than_the_others_for_a_while_is_found() {
        let windows = 1 + SLOW_WINDOWS as usize;
        let ticks = Config::new(1).election_ticks_min;
        let mut leader = Leader::new();
        let found = (0..1000).find(|_| leader.write(200, 10) == DiskHealth::Slow).unwrap();
        assert!((ticks * (windows - 1)..=ticks * windows).contains(&(found + 1)), "{found}");
        // Then there is time to see what came of it.
        let again = (0..10_000).find(|_| leader.write(200, 10) == DiskHealth::Slow).unwrap();
        assert!(again >= ticks * REST_WINDOWS as usize, "{again}");
    }

    #[test]
    fn what_is_slow_everywhere_now_and_then_or_by_little_is_not_acted_on() {
        for (own, others) in [(200, 150), (200, 1000), (40, 1), (1, 1)] {
            let mut leader = Leader::new();
            let all_fine = (0..1000).all(|_| leader.write(own, others) == DiskHealth::Fine);
            assert!(all_fine, "{own} ms and {others} ms");
        }
        let mut leader = Leader::new();
        let ticks = Config::new(1).election_ticks_min as u64;
        let own = |n: u64| if n / ticks % 3 == 2 { 5 } else { 200 };
        assert!((0..1000).all(|n| leader.write(own(n), 5) == DiskHealth::Fine));
        // What a follower writes is not compared with anything.
        let mut leader = Leader::new();
        for _ in 0..1000 {
            assert_eq!(leader.write(200, 10), DiskHealth::Fine);
            leader.disk.forget();
        }
    }

    #[test]
    fn silence_is_counted_from_the_oldest_write() {
        let (config, mut disk) = (Config::new(1), Disk::default());
        (0..50).for_each(|_| assert_eq!(disk.tick(&config), DiskHealth::Fine));
        disk.begin(1, None, Duration::ZERO);
        disk.begin(2, None, Duration::ZERO);
        disk.begin(3, None, Duration::ZERO);
        for n in 1..config.election_ticks_min {
            assert_eq!(disk.tick(&config), DiskHealth::Fine);
            assert_eq!(disk.silent_ticks(), n);
        }
        assert_eq!(disk.tick(&config), DiskHealth::Silent);
        disk.begin(4, None, Duration::ZERO);
        disk.done(3, Duration::ZERO);
        assert_eq!(disk.tick(&config), DiskHealth::Fine, "it answers");
        let dead = DEAD_TIMEOUTS * config.election_ticks_min;
        let until = (2..).find(|_| disk.tick(&config) == DiskHealth::Dead);
        assert_eq!(until, Some(dead));
        disk.done(4, Duration::ZERO);
        assert_eq!(disk.tick(&config), DiskHealth::Fine);
    }
}
