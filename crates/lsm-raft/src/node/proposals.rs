//! Commands on their way into the log: collected into entries, and matched with what comes
//! out committed.
//!
//! Self-clocked batching: with no entry on its way a command goes at once; otherwise commands are
//! collected until that entry is committed, or until they fill an entry of their own. So one client
//! waits for nobody, many share the round trip and the sync, and up to `entries_in_flight_max`
//! full entries keep the disks and the network busy.

use std::collections::VecDeque;

use crate::command::{collect, collected_len};
use crate::config::Config;
use crate::outcome::Refusal;

#[derive(Debug)]
pub(super) struct Proposals<W> {
    queue: VecDeque<(Vec<u8>, W)>,
    queued_bytes: usize,
    in_flight: VecDeque<InFlight<W>>,
    in_flight_bytes: usize,
}

#[derive(Debug)]
struct InFlight<W> {
    index: u64,
    term: u64,
    bytes: usize,
    waiters: Vec<W>,
}

/// An entry's worth of commands, and who waits for them.
#[derive(Debug)]
pub(super) struct Group<W> {
    pub(super) data: Vec<u8>,
    pub(super) waiters: Vec<W>,
}

impl<W> Proposals<W> {
    pub(super) fn new() -> Self {
        let (queue, in_flight) = (VecDeque::new(), VecDeque::new());
        Self { queue, queued_bytes: 0, in_flight, in_flight_bytes: 0 }
    }

    /// Queues a command, or gives the waiter back with the reason.
    pub(super) fn push(
        &mut self,
        command: Vec<u8>,
        waiter: W,
        config: &Config,
    ) -> Result<(), (W, Refusal)> {
        let waiting = self.queued_bytes + self.in_flight_bytes;
        // An empty queue takes anything: one command may be larger than the limit.
        if waiting > 0 && waiting + command.len() > config.pending_bytes_max {
            let what = format!(
                "{waiting} bytes of writes are waiting, and {} are allowed",
                config.pending_bytes_max
            );
            return Err((waiter, Refusal::Busy { what }));
        }
        self.queued_bytes += command.len();
        self.queue.push_back((command, waiter));
        Ok(())
    }

    /// How many bytes of commands must come to make a difference: until an entry is due, or until
    /// so much waits that its bounds must be looked at.
    pub(super) fn missing(&self, config: &Config) -> usize {
        self.due_bytes(config).saturating_sub(self.queued_bytes).min(config.entry_bytes)
    }

    /// How many bytes of commands must wait for an entry to be due.
    fn due_bytes(&self, config: &Config) -> usize {
        match self.in_flight.len() {
            0 => 0,
            count if count < config.entries_in_flight_max => config.entry_bytes,
            _ => usize::MAX,
        }
    }

    /// The next entry to propose, if one is due.
    pub(super) fn next(&mut self, config: &Config) -> Option<Group<W>> {
        if self.queued_bytes < self.due_bytes(config) {
            return None;
        }
        let (count, bytes) = self.first_entry(config);
        if count == 0 {
            return None;
        }
        // Exactly as long as it must be: the entry is held in memory for a while.
        let mut group = Group { data: Vec::with_capacity(bytes), waiters: Vec::new() };
        for (command, waiter) in self.queue.drain(..count) {
            self.queued_bytes -= command.len();
            collect(&command, &mut group.data);
            group.waiters.push(waiter);
        }
        Some(group)
    }

    /// How many of the queued commands one entry takes, and how long it gets.
    fn first_entry(&self, config: &Config) -> (usize, usize) {
        let (mut count, mut bytes) = (0, 0);
        for (command, _) in &self.queue {
            let more = collected_len(command.len());
            if count > 0 && bytes + more > config.entry_bytes {
                break;
            }
            (count, bytes) = (count + 1, bytes + more);
        }
        (count, bytes)
    }

    /// The group was appended to the log as this entry.
    pub(super) fn proposed(&mut self, index: u64, term: u64, bytes: usize, waiters: Vec<W>) {
        self.in_flight_bytes += bytes;
        self.in_flight.push_back(InFlight { index, term, bytes, waiters });
    }

    /// Who waits for the entry `index` of `term`, which is committed. Those who waited at this
    /// index for an entry of another term go to `lost`: theirs will never be.
    pub(super) fn committed(&mut self, index: u64, term: u64, lost: &mut Vec<W>) -> Vec<W> {
        while let Some(entry) = self.in_flight.front() {
            if entry.index > index {
                break;
            }
            let entry = self.in_flight.pop_front().expect("it is the front");
            self.in_flight_bytes -= entry.bytes;
            if entry.index == index && entry.term == term {
                return entry.waiters;
            }
            lost.extend(entry.waiters);
        }
        Vec::new()
    }

    /// Gives back who waits for entries that `is_there` does not find in the log.
    pub(super) fn take_replaced(&mut self, is_there: impl Fn(u64, u64) -> bool) -> Vec<W> {
        let (kept, replaced): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.in_flight)
            .into_iter()
            .partition(|entry| is_there(entry.index, entry.term));
        self.in_flight = kept;
        self.in_flight_bytes = self.in_flight.iter().map(|entry| entry.bytes).sum();
        replaced.into_iter().flat_map(|entry| entry.waiters).collect()
    }

    /// A snapshot passed over everything through `index`: what became of those is not known.
    pub(super) fn passed(&mut self, index: u64) -> Vec<W> {
        let mut waiters = Vec::new();
        while self.in_flight.front().is_some_and(|entry| entry.index <= index) {
            let entry = self.in_flight.pop_front().expect("it is the front");
            self.in_flight_bytes -= entry.bytes;
            waiters.extend(entry.waiters);
        }
        waiters
    }

    /// Gives back all that is not in the log yet.
    pub(super) fn take_queued(&mut self) -> impl Iterator<Item = W> {
        self.queued_bytes = 0;
        std::mem::take(&mut self.queue).into_iter().map(|(_, waiter)| waiter)
    }

    /// Gives back all that is in the log and not known to be committed.
    pub(super) fn take_in_flight(&mut self) -> impl Iterator<Item = W> {
        self.in_flight_bytes = 0;
        std::mem::take(&mut self.in_flight).into_iter().flat_map(|entry| entry.waiters)
    }

    /// Whether another entry will follow the one that is committed next: it carries the news.
    pub(super) fn more_follow(&self) -> bool {
        !self.queue.is_empty() || self.in_flight.len() > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            entries_in_flight_max: 2,
            entry_bytes: 100,
            pending_bytes_max: 400,
            ..Config::new(1)
        }
    }

    fn filled(count: u32) -> Proposals<u32> {
        let mut proposals = Proposals::new();
        for i in 0..count {
            proposals.push(vec![0; 30], i, &config()).unwrap();
        }
        proposals
    }

    #[test]
    fn commands_are_collected_up_to_the_size_of_an_entry() {
        let mut proposals = filled(5);
        let first = proposals.next(&config()).unwrap();
        assert_eq!((first.waiters, first.data.len()), (vec![0, 1, 2], 93));
        assert_eq!(first.data.capacity(), 93, "nothing is held for nothing");
        proposals.proposed(10, 1, 93, vec![0, 1, 2]);
        proposals.committed(10, 1, &mut Vec::new());
        let second = proposals.next(&config()).unwrap();
        assert_eq!(second.waiters, [3, 4]);
    }

    #[test]
    fn beside_an_entry_on_its_way_only_a_full_one_goes() {
        let config = config();
        let mut proposals = filled(1);
        assert_eq!(proposals.missing(&config), 0, "nothing is on its way");
        let first = proposals.next(&config).unwrap();
        proposals.proposed(10, 1, first.data.len(), first.waiters);
        assert_eq!(proposals.missing(&config), 100);
        for waiter in 1..=3 {
            proposals.push(vec![0; 30], waiter, &config).unwrap();
            assert!(proposals.next(&config).is_none());
        }
        assert_eq!(proposals.missing(&config), 10);
        proposals.push(vec![0; 30], 4, &config).unwrap();
        assert_eq!(proposals.missing(&config), 0);
        assert_eq!(proposals.next(&config).unwrap().waiters, [1, 2, 3]);
        proposals.proposed(11, 1, 93, vec![1, 2, 3]);
        assert_eq!(
            proposals.missing(&config),
            100,
            "no more entries may go, but bytes are counted"
        );
        assert_eq!(proposals.committed(10, 1, &mut Vec::new()), [0]);
        assert!(proposals.next(&config).is_none());
        assert_eq!(proposals.committed(11, 1, &mut Vec::new()), [1, 2, 3]);
        assert_eq!(proposals.next(&config).unwrap().waiters, [4]);
    }

    #[test]
    fn no_more_than_so_many_entries_are_on_their_way() {
        let mut proposals = filled(11);
        for index in 1..=2 {
            let group = proposals.next(&config()).unwrap();
            proposals.proposed(index, 1, group.data.len(), group.waiters);
        }
        assert!(proposals.next(&config()).is_none());
        assert_eq!(proposals.committed(1, 1, &mut Vec::new()), [0, 1, 2]);
        assert_eq!(proposals.next(&config()).unwrap().waiters, [6, 7, 8], "the next is full");
    }

    #[test]
    fn an_entry_of_another_term_loses_those_who_waited() {
        let mut proposals = filled(0);
        proposals.proposed(5, 2, 1, vec![50]);
        proposals.proposed(6, 2, 1, vec![60]);
        let mut lost = Vec::new();
        assert!(proposals.committed(5, 3, &mut lost).is_empty());
        assert_eq!(lost, [50]);
        assert_eq!(proposals.passed(6), [60]);
    }

    #[test]
    fn what_waits_is_bounded_in_bytes() {
        let mut proposals = filled(13);
        let (waiter, refusal) = proposals.push(vec![0; 30], 13, &config()).unwrap_err();
        assert!(waiter == 13 && matches!(refusal, Refusal::Busy { .. }));
        assert_eq!(proposals.take_queued().count(), 13);
        proposals.push(vec![0; 1000], 14, &config()).unwrap();
    }
}
