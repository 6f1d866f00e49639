//! Two keys that are always written together, in one batch, and read together, in one scan: both
//! have the same value, and none older than what was acknowledged before the scan began.

use std::collections::BTreeMap;

use lsm_raft::command::{Command, Op, Session};
use lsm_raft::{Outcome, Refusal};

use crate::replica::{Answer, Request, Ticket};

pub(crate) const FROM: &[u8] = b"pair-a";
pub(crate) const TO: &[u8] = b"pair-b";

/// Who writes them, one batch after the other, each until it is answered, and who reads.
#[derive(Debug, Default)]
pub(crate) struct Pair {
    session: Option<u64>,
    /// The batch that is being written, and its last attempt.
    number: u64,
    attempt: Option<Ticket>,
    acknowledged: u64,
    /// Scans on their way: what each must see at least.
    scans: BTreeMap<Ticket, u64>,
}

impl Pair {
    /// The next batch, or the last one again if that was not answered.
    pub(crate) fn write(&mut self, attempt: Ticket) -> Request {
        self.attempt = Some(attempt);
        let Some(id) = self.session else {
            return Request::Propose(Command::OpenSession.to_bytes());
        };
        if self.number == self.acknowledged {
            self.number += 1;
        }
        let value = &self.number.to_be_bytes()[..];
        let ops = vec![Op::Put { key: FROM, value }, Op::Put { key: TO, value }];
        let session = Some(Session { id, sequence: self.number });
        Request::Propose(Command::Write { session, ops }.to_bytes())
    }

    pub(crate) fn scan(&mut self, attempt: Ticket) -> Request {
        self.scans.insert(attempt, self.acknowledged);
        Request::Scan
    }

    /// Whether the answer was to one of these attempts, which is true once.
    pub(crate) fn told(&mut self, attempt: Ticket, answer: &Answer) -> bool {
        if let Some(least) = self.scans.remove(&attempt) {
            if let Answer::Scanned(found) = answer {
                let numbers: Vec<u64> = found.iter().map(|value| number(value)).collect();
                let whole = matches!(numbers[..], [] | [_, _]) && numbers.first() == numbers.last();
                assert!(whole, "a batch was seen in part: {numbers:?}");
                let seen = numbers.first().copied().unwrap_or(0);
                assert!(seen >= least, "a scan saw batch {seen}, and {least} was acknowledged");
            }
            return true;
        }
        if self.attempt != Some(attempt) {
            return false;
        }
        match answer {
            Answer::Outcome(Outcome::SessionOpened { id }) => self.session = Some(*id),
            Answer::Outcome(Outcome::Written { .. }) => self.acknowledged = self.number,
            Answer::Outcome(other) => panic!("a batch was answered by {other:?}"),
            Answer::Refused(Refusal::Invalid(reason)) => panic!("a batch was refused: {reason}"),
            _ => {}
        }
        true
    }
}

fn number(value: &[u8]) -> u64 {
    u64::from_be_bytes(value.try_into().expect("that is how they are written"))
}
