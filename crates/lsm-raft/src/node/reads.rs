//! Linearizable reads: one confirmation on its way, all that come meanwhile behind it.
//!
//! A read may be answered from a state that holds everything committed when the read began.
//! ReadIndex (Ongaro's thesis, 6.4) asks a quorum whether the leader still leads. The answer to
//! a round says nothing about reads that began after it, so these form the next round.
//!
//! Lease (the same, 6.4.1): a quorum that answered a round begun at `t` will not vote for
//! another leader before `t` + the least election timeout; until then the leader may answer on
//! its own, if no clock runs much faster than its own. [`LEASE_PERCENT`] is the allowance.

use std::time::Duration;

use crate::config::Config;

/// Part of the election timeout for which a lease is trusted.
const LEASE_PERCENT: u32 = 80;
/// Rounds that may go unanswered before those who wait are sent away.
const ROUNDS_MAX: u32 = 8;

#[derive(Debug)]
pub(super) struct Reads<W> {
    /// Tells the rounds of this process from those of any other.
    nonce: u64,
    rounds: u64,
    waiting: Vec<W>,
    round: Option<Round<W>>,
    lease_end: Option<Duration>,
}

#[derive(Debug)]
struct Round<W> {
    context: [u8; 16],
    began: Duration,
    ticks: usize,
    unanswered: u32,
    waiters: Vec<W>,
}

impl<W> Reads<W> {
    pub(super) fn new(nonce: u64) -> Self {
        Self { nonce, rounds: 0, waiting: Vec::new(), round: None, lease_end: None }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.round.as_ref().map_or(0, |round| round.waiters.len())
    }

    /// Whether a round is on its way: what comes now waits for the next.
    pub(super) fn is_asking(&self) -> bool {
        self.round.is_some()
    }

    pub(super) fn push(&mut self, waiter: W) {
        self.waiting.push(waiter);
    }

    /// Begins a round, if one is due: the context to ask the quorum with.
    pub(super) fn begin(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.round.is_some() || self.waiting.is_empty() {
            return None;
        }
        let context = self.next_context();
        let waiters = std::mem::take(&mut self.waiting);
        self.round = Some(Round { context, began: now, ticks: 0, unanswered: 0, waiters });
        Some(context.to_vec())
    }

    /// The round with this context is answered: who may read now. An answer to anything else
    /// is old news.
    pub(super) fn answered(&mut self, context: &[u8], config: &Config) -> Option<Vec<W>> {
        let round = self.round.take_if(|round| round.context == context)?;
        let ticks = config.election_ticks_min.saturating_sub(1) as u32;
        self.lease_end = Some(round.began + config.tick * ticks * LEASE_PERCENT / 100);
        Some(round.waiters)
    }

    /// Counts a tick; a round that takes too long is asked again under a fresh context.
    pub(super) fn tick(&mut self, now: Duration, config: &Config) -> Option<Vec<u8>> {
        let round = self.round.as_mut()?;
        round.ticks += 1;
        if round.ticks < 2 * config.heartbeat_ticks {
            return None;
        }
        let context = self.next_context();
        let round = self.round.as_mut().expect("it was there");
        (round.context, round.began, round.ticks) = (context, now, 0);
        round.unanswered += 1;
        Some(context.to_vec())
    }

    /// Gives up on a round that was asked too often.
    pub(super) fn take_hopeless(&mut self) -> Vec<W> {
        match self.round.take_if(|round| round.unanswered >= ROUNDS_MAX) {
            Some(round) => round.waiters,
            None => Vec::new(),
        }
    }

    /// Everyone who waits.
    pub(super) fn take_all(&mut self) -> Vec<W> {
        let mut all = self.round.take().map_or_else(Vec::new, |round| round.waiters);
        all.append(&mut self.waiting);
        all
    }

    /// Those who wait for the next round.
    pub(super) fn take_waiting(&mut self) -> Vec<W> {
        std::mem::take(&mut self.waiting)
    }

    pub(super) fn has_lease(&self, now: Duration) -> bool {
        self.lease_end.is_some_and(|end| now < end)
    }

    /// To be called whenever another node may be leading soon.
    pub(super) fn drop_lease(&mut self) {
        self.lease_end = None;
    }

    fn next_context(&mut self) -> [u8; 16] {
        self.rounds += 1;
        let mut context = [0; 16];
        context[..8].copy_from_slice(&self.nonce.to_le_bytes());
        context[8..].copy_from_slice(&self.rounds.to_le_bytes());
        context
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(5);

    #[test]
    fn reads_that_come_during_a_round_wait_for_the_next() {
        let (mut reads, config) = (Reads::new(7), Config::new(1));
        reads.push(1);
        let first = reads.begin(NOW).unwrap();
        reads.push(2);
        assert_eq!(reads.begin(NOW), None);
        assert_eq!(reads.answered(b"other", &config), None);
        assert_eq!(reads.answered(&first, &config), Some(vec![1]));
        let second = reads.begin(NOW).unwrap();
        assert_ne!(first, second);
        assert_eq!(reads.answered(&first, &config), None);
        assert_eq!(reads.answered(&second, &config), Some(vec![2]));
    }

    #[test]
    fn a_slow_round_is_asked_afresh_and_the_old_answer_is_not_taken() {
        let (mut reads, config) = (Reads::new(7), Config::new(1));
        reads.push(1);
        let first = reads.begin(NOW).unwrap();
        let again = (0..100).find_map(|_| reads.tick(NOW, &config)).unwrap();
        assert_eq!(reads.answered(&first, &config), None);
        assert_eq!(reads.answered(&again, &config), Some(vec![1]));
    }

    #[test]
    fn nobody_waits_for_ever() {
        let (mut reads, config) = (Reads::new(7), Config::new(1));
        reads.push(1);
        reads.begin(NOW).unwrap();
        for _ in 0..100 {
            reads.tick(NOW, &config);
        }
        assert_eq!(reads.take_hopeless(), [1]);
        assert_eq!(reads.len(), 0);
    }

    #[test]
    fn a_lease_counts_from_the_begin_of_its_round() {
        let (mut reads, config) = (Reads::new(7), Config::new(1));
        reads.push(1);
        let context = reads.begin(NOW).unwrap();
        reads.answered(&context, &config);
        assert!(reads.has_lease(NOW + Duration::from_millis(700)));
        assert!(!reads.has_lease(NOW + Duration::from_millis(720)));
        reads.drop_lease();
        assert!(!reads.has_lease(NOW));
    }
}
