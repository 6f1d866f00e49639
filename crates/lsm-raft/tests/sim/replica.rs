//! One simulated node: the production node with all its threads, which go on when the simulation
//! says so, and the calls of clients that it has not answered yet.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use lsm_core::{KeyspaceOptions, ManualClock, Options};
use lsm_log::fs::Fs;
use lsm_raft::raft::eraftpb::{Entry, Message};
use lsm_raft::{
    Change, Config, Error, Header, Members, NodeStatus, Outcome, Outgoing, Piece, Refusal, Replica,
    ReplicaOptions, Result, StateReader, Stepper, Timing, Transport,
};

use crate::pair;

/// One attempt of a client.
pub(crate) type Ticket = u64;

pub(crate) const DIR: &str = "node";
/// Small, so that logs are cut and snapshots needed.
const LOG_KEEP_BYTES: u64 = 6 << 10;
/// On a disk that is about to be full so much is held back.
pub(crate) const RESERVE_BYTES: u64 = 256 << 10;

/// What a client asks a node for.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Propose(Vec<u8>),
    Read(Vec<u8>),
    /// All values from the first key of the pair to the second one.
    Scan,
}

/// What comes of it: an outcome, or what was read.
#[derive(Debug)]
pub(crate) enum Answer {
    Outcome(Outcome),
    Value(Option<Vec<u8>>),
    Scanned(Vec<Vec<u8>>),
    Refused(Refusal),
    /// The state could not be read.
    Broken,
}

/// What a step of a node leads to outside of it.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) messages: Vec<Message>,
    pub(crate) snapshots: Vec<(Message, Arc<Outgoing>)>,
    pub(crate) answers: Vec<(Ticket, Answer)>,
    pub(crate) committed: Vec<Entry>,
    /// The log was cut, or set to begin behind a snapshot.
    pub(crate) truncated: bool,
    pub(crate) restored: bool,
    /// All threads have ended: with a reason, unless the node was told to stop.
    pub(crate) ended: Option<Option<Error>>,
}

/// What a simulated node is opened with.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) id: u64,
    pub(crate) founders: Option<Members>,
    pub(crate) lease_reads: bool,
    /// The least ticks of an election; nodes may differ.
    pub(crate) election_ticks: usize,
    pub(crate) seed: u64,
}

/// Keeps what a node sends until the simulation takes it.
#[derive(Debug, Default)]
struct Outbox {
    messages: Mutex<Vec<Message>>,
    snapshots: Mutex<Vec<(Message, Arc<Outgoing>)>>,
}

impl Transport for Outbox {
    fn send(&self, messages: Vec<Message>) {
        self.messages.lock().unwrap().extend(messages);
    }

    fn send_snapshot(&self, message: Message, snapshot: Arc<Outgoing>) {
        self.snapshots.lock().unwrap().push((message, snapshot));
    }
}

type Call = Pin<Box<dyn Future<Output = Answer>>>;

pub(crate) struct Running {
    pub(crate) replica: Replica,
    pub(crate) stepper: Stepper,
    outbox: Arc<Outbox>,
    calls: Vec<(Ticket, Call)>,
    seen_committed: u64,
    seen_first: u64,
}

impl Setup {
    fn config(&self) -> Config {
        Config {
            lease_reads: self.lease_reads,
            election_ticks_min: self.election_ticks,
            election_ticks_max: 2 * self.election_ticks,
            log_keep_bytes: LOG_KEEP_BYTES,
            append_bytes: 2 << 10,
            appends_in_flight_max: 4,
            entry_bytes: 256,
            disk_reserve_bytes: Some(RESERVE_BYTES),
            ..Config::new(self.id)
        }
    }

    /// What the others are told of this node's times.
    pub(crate) fn timing(&self) -> Timing {
        self.config().timing()
    }

    fn options(&self, fs: Arc<dyn Fs>, clock: &Arc<ManualClock>, nonce: u64) -> ReplicaOptions {
        let tables = KeyspaceOptions::default().write_buffer_bytes(64 << 10);
        ReplicaOptions {
            config: self.config(),
            cluster: "simulated".into(),
            founders: self.founders.clone(),
            engine: Options::default().default_keyspace(tables).stepped(self.seed),
            log_segment_bytes: 16 << 10,
            log_cache_bytes: 2 << 10,
            fs,
            clock: Arc::clone(clock) as Arc<dyn lsm_core::Clock>,
            nonce,
        }
    }
}

impl Running {
    pub(crate) fn start(
        setup: &Setup,
        fs: Arc<dyn Fs>,
        clock: &Arc<ManualClock>,
        nonce: u64,
    ) -> Result<Self> {
        let outbox = Arc::new(Outbox::default());
        let options = setup.options(fs, clock, nonce);
        let transport = Arc::clone(&outbox) as Arc<dyn Transport>;
        let (replica, stepper) = options.open_stepped(DIR, transport)?;
        let (applied, first) = (replica.reader().applied(), stepper.store().first_index());
        Ok(Self {
            replica,
            stepper,
            outbox,
            calls: Vec::new(),
            seen_committed: applied,
            seen_first: first,
        })
    }

    /// What the node knows of itself at this moment.
    pub(crate) fn status(&self) -> NodeStatus {
        self.stepper.status().unwrap_or_else(|| self.replica.status())
    }

    pub(crate) fn leads(&self) -> bool {
        self.stepper.status().is_some_and(|status| status.leads())
    }

    pub(crate) fn applied(&self) -> u64 {
        self.replica.reader().applied()
    }

    /// A client asks for something.
    pub(crate) fn ask(&mut self, ticket: Ticket, request: Request) {
        let replica = self.replica.clone();
        self.calls.push((
            ticket,
            Box::pin(async move {
                if let Request::Propose(command) = request {
                    let reply = replica.propose(command).await;
                    return reply.map_or_else(Answer::Refused, Answer::Outcome);
                }
                if let Err(refusal) = replica.read().await {
                    return Answer::Refused(refusal);
                }
                let reader = replica.reader();
                let answer = match request {
                    Request::Read(key) => reader
                        .get(key)
                        .map(|value| Answer::Value(value.map(|value| value.to_vec())))
                        .ok(),
                    _ => scan(reader).map(Answer::Scanned).ok(),
                };
                answer.unwrap_or(Answer::Broken)
            }),
        ));
    }

    /// An operator asks for a change of the members, and does not wait.
    pub(crate) fn change(&self, changes: Vec<Change>) {
        let mut call = Box::pin(self.replica.change_members(changes));
        let _ = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }

    /// All pieces of a snapshot that is being sent; none if they cannot be read.
    pub(crate) fn read_snapshot(snapshot: &Arc<Outgoing>) -> Option<(Header, Vec<Piece>)> {
        let pieces: Result<Vec<_>> = snapshot.pieces().collect();
        pieces.ok().map(|pieces| (snapshot.header().clone(), pieces))
    }

    /// A snapshot arrives.
    pub(crate) fn receive_snapshot(
        &self,
        from: u64,
        term: u64,
        header: &Header,
        pieces: &[Piece],
    ) -> Result<()> {
        let mut incoming = self.replica.begin_snapshot(header.clone())?;
        for piece in pieces {
            incoming.write(piece)?;
        }
        self.replica.deliver_snapshot(from, term, incoming.finish()?)
    }

    /// Some work of the engine in the background.
    pub(crate) fn maintain(&self, flush: bool) -> lsm_core::Result<()> {
        let db = self.replica.reader().db();
        if flush {
            db.flush()?;
        }
        db.step().map(drop)
    }

    /// When the raft thread would wake up for its next tick, by the node's clock.
    pub(crate) fn next_tick(&self) -> Duration {
        self.stepper.next_tick()
    }

    /// What came of the steps so far.
    pub(crate) fn effects(&mut self) -> Effects {
        let mut effects = Effects {
            messages: mem::take(&mut *self.outbox.messages.lock().unwrap()),
            snapshots: mem::take(&mut *self.outbox.snapshots.lock().unwrap()),
            ..Effects::default()
        };
        let mut context = Context::from_waker(Waker::noop());
        self.calls.retain_mut(|(ticket, call)| match call.as_mut().poll(&mut context) {
            Poll::Ready(answer) => {
                effects.answers.push((*ticket, answer));
                false
            }
            Poll::Pending => true,
        });
        let first = self.stepper.store().first_index();
        if first > mem::replace(&mut self.seen_first, first) {
            (effects.restored, effects.truncated) =
                (self.stepper.is_restoring(), !self.stepper.is_restoring());
        }
        let committed = self.status().committed;
        let from = (self.seen_committed + 1).max(first);
        if committed >= from {
            // On a disk that fails there is nothing to see.
            let entries = self.stepper.store().entries(from, committed + 1, None);
            if let Ok(entries) = entries {
                effects.committed = entries;
                self.seen_committed = committed;
            }
        }
        if self.stepper.has_ended() {
            let mut stopped = Box::pin(self.replica.wait_stopped());
            effects.ended = match stopped.as_mut().poll(&mut context) {
                Poll::Ready(error) => Some(error),
                Poll::Pending => panic!("all threads have ended, and nobody says why"),
            };
        }
        effects
    }
}

fn scan(reader: &StateReader) -> lsm_core::Result<Vec<Vec<u8>>> {
    let found = reader.snapshot().range(pair::FROM..=pair::TO);
    let values = found.map(|entry| entry.map(|(_, value)| value.to_vec()));
    values.collect::<lsm_core::Result<_>>().inspect_err(|error| reader.note_error(error))
}
