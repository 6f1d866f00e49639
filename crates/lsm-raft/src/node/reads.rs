//! Linearizable reads: rounds of questions to a quorum, and who waits for which.
//!
//! A read may be answered from a state that holds everything committed when the read began.
//! ReadIndex (Ongaro's thesis, 6.4) asks a quorum whether the leader still leads. The answer to
//! a round says nothing about reads that began after it: these form the next round, which does not
//! wait for that answer for longer than a heartbeat. So there may be many rounds on their way when
//! round trips are long, and the answer to one serves those before it, too.
//!
//! Lease (the same, 6.4.1): a quorum that answered a round begun at `t` will not vote for
//! another leader before `t` + the least election timeout; until then the leader may answer on
//! its own. How long that is: see `leases`.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::Config;
use crate::outcome::Refusal;

/// Election timeouts after which those who wait are sent away. Far longer than a round trip may
/// take, and than callers wait: this is for callers that have gone.
const TIMEOUTS_MAX: usize = 10;

#[derive(Debug)]
pub(super) struct Reads<W> {
    /// Tells the rounds of this process from those of any other.
    nonce: u64,
    begun: u64,
    waiting: Vec<W>,
    /// On their way, the oldest first.
    rounds: VecDeque<ReadRound<W>>,
    ticks: usize,
    lease_end: Option<Duration>,
}

#[derive(Debug)]
struct ReadRound<W> {
    context: [u8; 16],
    began: Duration,
    tick: usize,
    waiters: Vec<W>,
}

impl<W> Reads<W> {
    pub(super) fn new(nonce: u64) -> Self {
        let (waiting, rounds) = (Vec::new(), VecDeque::new());
        Self { nonce, begun: 0, waiting, rounds, ticks: 0, lease_end: None }
    }

    /// Whether a read that came now would be asked for at once.
    pub(super) fn may_begin(&self, config: &Config) -> bool {
        self.is_quiet_for(config.heartbeat_ticks)
    }

    /// Queues a read, or gives the waiter back with the reason.
    pub(super) fn push(&mut self, waiter: W, config: &Config) -> Result<(), (W, Refusal)> {
        let count = self.len();
        if count >= config.pending_reads_max {
            return Err((waiter, Refusal::Busy { what: format!("{count} reads are waiting") }));
        }
        self.waiting.push(waiter);
        Ok(())
    }

    fn len(&self) -> usize {
        self.waiting.len() + self.rounds.iter().map(|round| round.waiters.len()).sum::<usize>()
    }

    /// Begins a round for those who wait, if one is due: the context to ask the quorum with.
    pub(super) fn begin(&mut self, now: Duration, config: &Config) -> Option<Vec<u8>> {
        let is_due = !self.waiting.is_empty() && self.may_begin(config);
        is_due.then(|| self.ask(now))
    }

    /// The round with this context is answered: who may read now. An answer to anything else
    /// is old news. `lease` is for how long after its begin others may be let read, if at all.
    pub(super) fn answered(&mut self, context: &[u8], lease: Option<Duration>) -> Option<Vec<W>> {
        let at = self.rounds.iter().position(|round| round.context == context)?;
        self.lease_end = lease.map(|lease| self.rounds[at].began + lease);
        Some(self.rounds.drain(..=at).flat_map(|round| round.waiters).collect())
    }

    /// Counts a tick. If nothing was asked for a while and no answer has come, the question may have
    /// been lost: the context to ask again with.
    pub(super) fn tick(&mut self, now: Duration, config: &Config) -> Option<Vec<u8>> {
        self.ticks += 1;
        let is_due = !self.rounds.is_empty() && self.is_quiet_for(2 * config.heartbeat_ticks);
        is_due.then(|| self.ask(now))
    }

    /// Gives up on rounds that are on their way for too long.
    pub(super) fn take_expired(&mut self, config: &Config) -> Vec<W> {
        let mut expired = Vec::new();
        let ticks_max = TIMEOUTS_MAX * config.election_ticks_min;
        while self.rounds.front().is_some_and(|round| self.ticks - round.tick > ticks_max) {
            expired.extend(self.rounds.pop_front().into_iter().flat_map(|round| round.waiters));
        }
        expired
    }

    /// Everyone who waits.
    pub(super) fn take_all(&mut self) -> Vec<W> {
        let asked = self.rounds.drain(..).flat_map(|round| round.waiters);
        asked.chain(self.waiting.drain(..)).collect()
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

    fn is_quiet_for(&self, ticks: usize) -> bool {
        self.rounds.back().is_none_or(|last| self.ticks - last.tick >= ticks)
    }

    fn ask(&mut self, now: Duration) -> Vec<u8> {
        self.begun += 1;
        let mut context = [0; 16];
        context[..8].copy_from_slice(&self.nonce.to_le_bytes());
        context[8..].copy_from_slice(&self.begun.to_le_bytes());
        let waiters = std::mem::take(&mut self.waiting);
        self.rounds.push_back(ReadRound { context, began: now, tick: self.ticks, waiters });
        context.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(5);

    fn reads() -> (Reads<i32>, Config) {
        (Reads::new(7), Config::new(1))
    }

    /// Ticks until the next context.
    fn tick(reads: &mut Reads<i32>, config: &Config) -> Vec<u8> {
        (0..100).find_map(|_| reads.tick(NOW, config)).expect("the question may have been lost")
    }

    #[test]
    fn reads_that_come_during_a_round_wait_for_the_next() {
        let (mut reads, config) = reads();
        reads.push(1, &config).unwrap();
        let first = reads.begin(NOW, &config).unwrap();
        reads.push(2, &config).unwrap();
        assert_eq!(reads.begin(NOW, &config), None);
        assert_eq!(reads.answered(b"other", None), None);
        assert_eq!(reads.answered(&first, None), Some(vec![1]));
        let second = reads.begin(NOW, &config).unwrap();
        assert_ne!(first, second);
        assert_eq!(reads.answered(&first, None), None);
        assert_eq!(reads.answered(&second, None), Some(vec![2]));
    }

    #[test]
    fn any_answer_to_a_question_that_was_repeated_serves_those_who_waited_before_it() {
        for answered in 0..3 {
            let (mut reads, config) = reads();
            reads.push(1, &config).unwrap();
            let mut asked = vec![reads.begin(NOW, &config).unwrap()];
            asked.push(tick(&mut reads, &config));
            reads.push(2, &config).unwrap();
            asked.push(tick(&mut reads, &config));
            reads.push(3, &config).unwrap();
            let served = if answered < 2 { vec![1] } else { vec![1, 2] };
            assert_eq!(reads.answered(&asked[answered], None), Some(served));
            for old in &asked[..=answered] {
                assert_eq!(reads.answered(old, None), None, "it is over");
            }
            let later = asked.get(answered + 1..).and_then(|later| later.last());
            let last = later.map(|last| reads.answered(last, None).unwrap());
            assert_eq!(last, later.map(|_| vec![2]));
        }
    }

    #[test]
    fn a_long_round_trip_does_not_hold_up_those_who_come_later() {
        let (mut reads, config) = reads();
        reads.push(1, &config).unwrap();
        let mut asked = vec![reads.begin(NOW, &config).unwrap()];
        for waiter in 2..6 {
            reads.push(waiter, &config).unwrap();
            assert!(!reads.may_begin(&config) && reads.begin(NOW, &config).is_none());
            for _ in 0..config.heartbeat_ticks {
                assert_eq!(reads.tick(NOW, &config), None);
            }
            assert!(reads.may_begin(&config));
            asked.push(reads.begin(NOW, &config).unwrap());
        }
        for (context, waiter) in asked.iter().zip(1..) {
            assert_eq!(reads.answered(context, None), Some(vec![waiter]));
        }
    }

    #[test]
    fn nobody_waits_for_ever_and_questions_do_not_pile_up() {
        let (mut reads, config) = reads();
        reads.push(1, &config).unwrap();
        reads.begin(NOW, &config).unwrap();
        let patience = TIMEOUTS_MAX * config.election_ticks_min;
        for tick in 0..10 * patience {
            reads.tick(NOW, &config);
            let expected = if tick == patience { vec![1] } else { vec![] };
            assert_eq!(reads.take_expired(&config), expected, "{tick}");
            assert!(reads.rounds.len() <= 2 + patience / (2 * config.heartbeat_ticks));
        }
        assert_eq!(reads.len(), 0);
    }

    #[test]
    fn a_lease_counts_from_the_begin_of_its_round() {
        let (mut reads, config) = reads();
        reads.push(1, &config).unwrap();
        let context = reads.begin(NOW, &config).unwrap();
        while reads.tick(NOW + Duration::from_secs(1), &config).is_none() {}
        reads.answered(&context, Some(Duration::from_millis(720)));
        assert!(reads.has_lease(NOW + Duration::from_millis(719)));
        assert!(!reads.has_lease(NOW + Duration::from_millis(720)));
        reads.drop_lease();
        assert!(!reads.has_lease(NOW));
    }
}
