//! Clients: each sends one request after the other, retries as the real one does, and writes
//! down what it was told.

use std::sync::Arc;

use fastrand::Rng;
use lsm_raft::command::{Command, Op, Session};
use lsm_raft::testkit::{Call, Recorder, Reply, Ticket as Call_};
use lsm_raft::{Outcome, Refusal};

use crate::replica::Ticket;

/// Few keys, so that clients meet.
const KEYS: u64 = 4;
/// Microseconds that a client waits for an answer.
pub(crate) const PATIENCE: u64 = 1_500_000;
/// Pause before a request is tried elsewhere.
pub(crate) const RETRY_PAUSE: u64 = 40_000;
/// Tries of a request without a session.
const TRIES_MAX: u32 = 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    OpenSession,
    Put(Vec<u8>),
    Delete,
    Get,
}

#[derive(Debug)]
struct Request {
    ask: Ask,
    key: Vec<u8>,
    attempt: Ticket,
    tries: u32,
    noted: Option<Call_>,
}

/// What the cluster does for a client next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Send the current request again after a pause.
    Retry,
    /// Begin another request.
    Go,
}

#[derive(Debug)]
pub(crate) struct Client {
    id: u64,
    /// The node it talks to.
    pub(crate) target: u64,
    /// With sessions it retries until it is answered; without, it gives up on what may have
    /// happened.
    with_session: bool,
    session: Option<u64>,
    sequence: u64,
    written: u64,
    request: Option<Request>,
    recorder: Arc<Recorder>,
    pub(crate) done: u64,
    /// When it was first served since that was cleared.
    pub(crate) served: Option<u64>,
    pub(crate) unknown: u64,
}

impl Client {
    pub(crate) fn new(id: u64, with_session: bool, recorder: Arc<Recorder>) -> Self {
        Self {
            id,
            target: 1,
            with_session,
            session: None,
            sequence: 0,
            written: 0,
            request: None,
            recorder,
            done: 0,
            served: None,
            unknown: 0,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.request.is_none()
    }

    /// Begins a request.
    pub(crate) fn begin(&mut self, rng: &mut Rng, now: u64) {
        assert!(self.request.is_none(), "one request at a time");
        let key = format!("key{}", rng.u64(..KEYS)).into_bytes();
        let ask = if self.with_session && self.session.is_none() {
            Ask::OpenSession
        } else {
            match rng.u8(..10) {
                0..4 => Ask::Get,
                4 => Ask::Delete,
                _ => {
                    self.written += 1;
                    // Some large, so that entries, appends and segments fill up.
                    let len = if rng.u8(..20) == 0 { rng.usize(..3000) } else { rng.usize(..40) };
                    let mut value = format!("{}.{}.", self.id, self.written).into_bytes();
                    value.resize(value.len() + len, b'x');
                    Ask::Put(value)
                }
            }
        };
        let call = match &ask {
            Ask::OpenSession => None,
            Ask::Put(value) => Some(Call::Put(value)),
            Ask::Delete => Some(Call::Delete),
            Ask::Get => Some(Call::Get),
        };
        if matches!(ask, Ask::Put(_) | Ask::Delete) {
            self.sequence += 1;
        }
        let noted = call.map(|call| {
            self.recorder.call(self.id, now, &key, call).expect("the recorder is large enough")
        });
        self.request = Some(Request { ask, key, attempt: 0, tries: 0, noted });
    }

    /// Sends the request under this number: the command, or none for a read.
    pub(crate) fn send(&mut self, attempt: Ticket) -> Option<Vec<u8>> {
        let session = self.session.map(|id| Session { id, sequence: self.sequence });
        let request = self.request.as_mut().expect("a request was begun");
        (request.attempt, request.tries) = (attempt, request.tries + 1);
        let op = match &request.ask {
            Ask::Get => return None,
            Ask::OpenSession => return Some(Command::OpenSession.to_bytes()),
            Ask::Put(value) => Op::Put { key: &request.key, value },
            Ask::Delete => Op::Delete { key: &request.key },
        };
        Some(Command::Write { session, ops: vec![op] }.to_bytes())
    }

    /// Whether what it asks for may arrive twice and take effect once.
    pub(crate) fn repeats_safely(&self) -> bool {
        self.session.is_some()
    }

    pub(crate) fn waits_for(&self, attempt: Ticket) -> bool {
        self.request.as_ref().is_some_and(|request| request.attempt == attempt)
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.request.as_ref().expect("a request was begun").key
    }

    /// The answer to a read.
    pub(crate) fn got(&mut self, value: Option<&[u8]>, now: u64) -> Next {
        self.finish(now, Reply::Got(value));
        self.count(now);
        Next::Go
    }

    /// The answer to a write.
    pub(crate) fn told(
        &mut self,
        reply: Result<Outcome, Refusal>,
        nodes: &[u64],
        rng: &mut Rng,
        now: u64,
    ) -> Next {
        match reply {
            Ok(Outcome::Written { .. }) => {
                self.finish(now, Reply::Done);
                self.count(now);
                Next::Go
            }
            Ok(Outcome::SessionOpened { id }) => {
                (self.session, self.sequence) = (Some(id), 0);
                self.request = None;
                Next::Go
            }
            Ok(other) => panic!("client {} was told {other:?}", self.id),
            Err(Refusal::NotLeader { leader }) => {
                self.target = leader.unwrap_or_else(|| nodes[rng.usize(..nodes.len())]);
                self.again(now, true)
            }
            Err(Refusal::NoRoom(_)) => {
                self.target = nodes[rng.usize(..nodes.len())];
                self.again(now, true)
            }
            Err(Refusal::Busy { .. } | Refusal::Invalid(_)) => self.again(now, true),
            Err(_) => self.gone(nodes, rng, now),
        }
    }

    /// No answer, or one that says that it may have happened.
    pub(crate) fn gone(&mut self, nodes: &[u64], rng: &mut Rng, now: u64) -> Next {
        self.target = nodes[rng.usize(..nodes.len())];
        self.again(now, false)
    }

    fn again(&mut self, now: u64, nothing_happened: bool) -> Next {
        let request = self.request.as_mut().expect("it waits for an answer");
        let safe = self.session.is_some() || matches!(request.ask, Ask::Get | Ask::OpenSession);
        if safe || (nothing_happened && request.tries < TRIES_MAX) {
            // What still comes of the last attempt is too late.
            request.attempt = 0;
            return Next::Retry;
        }
        if !nothing_happened {
            self.unknown += 1;
        }
        self.finish(now, if nothing_happened { Reply::Failed } else { Reply::Unknown });
        Next::Go
    }

    fn count(&mut self, now: u64) {
        self.done += 1;
        self.served.get_or_insert(now);
    }

    fn finish(&mut self, now: u64, reply: Reply<'_>) {
        let request = self.request.take().expect("it waits for an answer");
        if let Some(noted) = request.noted {
            self.recorder.reply(noted, now, reply);
        }
    }
}
