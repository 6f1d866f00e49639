//! The handle of a running replica: what services and the transport call.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use lsm_core::Clock;
use parking_lot::Mutex;
use raft::eraftpb::{Message, MessageType};
use tokio::sync::{oneshot, watch};

use super::inbox::NotTaken;
use super::queues::{Event, Waiter};
use super::shared::{RunState, RuntimeShared};
use crate::config::Timing;
use crate::error::Error;
use crate::identity::Identity;
use crate::members::{Change, Members};
use crate::node::{Input, NodeStatus};
use crate::outcome::{Refusal, Reply};
use crate::room::Room;
use crate::snapshot::{Header, Incoming, Staged};
use crate::state_machine::StateReader;
use crate::storage::snapshot_message;

/// How often whoever stops looks whether another node has taken over, and the threads have ended.
const STOP_LOOK: Duration = Duration::from_millis(5);
/// A disk that is silent for so long is not waited for: longer than writing all that may be under
/// way takes on a slow one.
const STOP_SILENCE_MAX: Duration = Duration::from_secs(10);

/// A node that runs. Cheap to clone; any thread or task may call it.
#[derive(Clone)]
pub struct Replica {
    pub(super) shared: Arc<RuntimeShared>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) hand_over_time: Duration,
    pub(super) threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").field("identity", &self.shared.identity).finish_non_exhaustive()
    }
}

impl Replica {
    /// Whose folder this is.
    pub fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    /// What other nodes must know of this node's times.
    pub fn timing(&self) -> Timing {
        self.shared.timing
    }

    /// Replicates an encoded [`Command`](crate::command::Command); returns when it is applied
    /// here. Dropping the future does not take the command back.
    ///
    /// # Errors
    ///
    /// See [`Refusal`]; only `Unknown` and `Stopped` leave open whether it takes effect.
    pub async fn propose(&self, command: Vec<u8>) -> Reply {
        self.check_room(Room::Little)?;
        self.ask(|waiter| Input::Propose { command, waiter }).await
    }

    /// Changes the members, in one step; returns when the change is applied here. It waits for
    /// a change that is under way; dropping the future does not take it back.
    ///
    /// # Errors
    ///
    /// See [`Refusal`]; `Invalid` says what is wrong with the change.
    pub async fn change_members(&self, changes: Vec<Change>) -> Reply {
        self.check_room(Room::Little)?;
        self.ask(|waiter| Input::ChangeMembers { changes, waiter }).await
    }

    /// How much room there is on the disk of this node.
    pub fn room(&self) -> Room {
        self.shared.room()
    }

    /// Refuses what needs more room on the disk of this node than `least` stands for:
    /// [`Room::Enough`] is for what adds to the state, such as puts.
    ///
    /// # Errors
    ///
    /// `NoRoom`.
    pub fn check_room(&self, least: Room) -> Result<(), Refusal> {
        match self.shared.room() {
            room if room <= least => Ok(()),
            Room::Little => Err(Refusal::NoRoom("only reads and deletes are served")),
            _ => Err(Refusal::NoRoom("only reads are served")),
        }
    }

    /// Returns once this node holds everything that was acknowledged before the call: what
    /// [`reader`](Self::reader) then reads is linearizable. Any node may be asked.
    ///
    /// # Errors
    ///
    /// See [`Refusal`]; trying again is always safe.
    pub async fn read(&self) -> Reply {
        self.ask(|waiter| Input::Read { waiter }).await
    }

    async fn ask(&self, input: impl FnOnce(Waiter) -> Input<Waiter>) -> Reply {
        let (waiter, answer) = oneshot::channel();
        match self.shared.inbox.request(input(Waiter(waiter))) {
            Ok(()) => {}
            Err(NotTaken::Full) => {
                return Err(Refusal::Busy { what: "too many requests are waiting".into() });
            }
            Err(NotTaken::Closed) => return Err(self.stopped_refusal()),
        }
        match answer.await {
            Ok(reply) => reply,
            Err(_) => Err(Refusal::Unknown),
        }
    }

    fn stopped_refusal(&self) -> Refusal {
        let reason = match &*self.shared.life.borrow() {
            RunState::Failing(error) | RunState::Stopped(Some(error)) => error.to_string(),
            RunState::Running | RunState::Stopped(None) => "it was told to".to_owned(),
        };
        Refusal::Stopped(reason)
    }

    /// The state as this node has applied it, possibly old; see [`read`](Self::read).
    pub fn reader(&self) -> &StateReader {
        &self.shared.reader
    }

    /// What the node knows of itself.
    pub fn status(&self) -> NodeStatus {
        let mut status = self.shared.status.borrow().clone();
        status.applied = self.shared.reader.applied();
        // The rest may be a little older.
        status.committed = status.committed.max(status.applied);
        status
    }

    /// Tells of changes of leader and term.
    pub fn watch(&self) -> watch::Receiver<NodeStatus> {
        self.shared.status.subscribe()
    }

    /// The members as this node has applied them.
    pub fn members(&self) -> Arc<Members> {
        self.shared.reader.members()
    }

    /// The members with what the log said of their data folders when this node was started, applied
    /// or not. By these it tells who may come in.
    pub fn known_members(&self) -> Arc<Members> {
        self.shared.reader.known_members()
    }

    /// Bytes of the replicated log on disk.
    pub fn log_bytes(&self) -> u64 {
        self.shared.log.disk_bytes()
    }

    /// Asks the node to hand the leadership over; does nothing unless it leads. Watch
    /// [`status`](Self::status) to see whether it did.
    pub fn transfer(&self, to: Option<u64>) {
        let _ = self.shared.inbox.request(Input::Transfer { to });
    }

    /// The hash of the state at an index where [`Command::Hash`](crate::command::Command::Hash)
    /// stands, or why there is none: one state at a time is hashed, and few hashes are
    /// remembered. None as long as there may be an answer later.
    pub fn hash(&self, index: u64) -> Option<Result<[u8; 16], String>> {
        self.shared.hashes.lock().get(index)
    }

    /// Messages from another node, whose identity was checked. Never blocks: what does not
    /// fit is dropped, as a network would.
    pub fn deliver(&self, mut messages: Vec<Message>) {
        // A snapshot comes with its files; see `begin_snapshot`.
        messages.retain(|message| message.get_msg_type() != MessageType::MsgSnapshot);
        let _ = self.shared.inbox.deliver(Event::Messages(messages));
    }

    /// The times of another node, whose identity was checked. To be called before the messages that
    /// it sent under them are delivered.
    pub fn note_timing(&self, node: u64, timing: Timing) {
        self.shared.inbox.tell(Event::Input(Input::Timing { node, timing }));
    }

    /// Messages to this node do not get through.
    pub fn unreachable(&self, node: u64) {
        let _ = self.shared.inbox.request(Input::Unreachable { node });
    }

    /// Sending a snapshot ended.
    pub fn snapshot_sent(&self, node: u64, whole: bool) {
        // Not to be lost: raft sends nothing else to that node until it hears.
        self.shared.inbox.tell(Event::Input(Input::SnapshotSent { node, whole }));
    }

    /// Begins to receive a snapshot. One at a time: a second takes the place of the first.
    ///
    /// # Errors
    ///
    /// `Corrupt` for a description that cannot be true, `Storage` if there is no room: by what the
    /// header says, before anything is taken.
    pub fn begin_snapshot(&self, header: Header) -> crate::Result<Incoming> {
        let free = self.shared.free.load(Ordering::Relaxed);
        if header.bytes() > free {
            let action = format!("take a snapshot of {} bytes; {free} are free", header.bytes());
            let full = io::ErrorKind::StorageFull.into();
            let cause = lsm_core::Error::io(&action, &self.shared.dir, full);
            return Err(Error::Storage { action: "receive a snapshot", cause });
        }
        self.shared.reader.receive(header)
    }

    /// A snapshot is here whole, from the node that leads in `term`. Reads and checks all of it:
    /// blocks for as long as that takes.
    ///
    /// # Errors
    ///
    /// `Corrupt` if it is damaged, or not what its header says, `Storage`: then this node goes on
    /// without it.
    pub fn deliver_snapshot(&self, from: u64, term: u64, staged: Staged) -> crate::Result<()> {
        let checked = self.shared.reader.check(staged)?;
        let message = snapshot_message(from, self.shared.identity.node, term, checked.header());
        self.shared.inbox.tell(Event::Snapshot(Box::new(message), Box::new(checked)));
        Ok(())
    }

    /// The group refuses this node, or what it runs on is about to fail: it hands over and
    /// stops.
    #[allow(clippy::needless_pass_by_value, reason = "it ends here")]
    pub fn fail(&self, error: Error) {
        self.shared.fail(&error);
    }

    /// Returns when the node has stopped: with the reason, unless it was told to.
    pub async fn wait_stopped(&self) -> Option<Error> {
        let mut life = self.shared.life.subscribe();
        let stopped = life.wait_for(|life| matches!(life, RunState::Stopped(_))).await;
        match stopped.as_deref() {
            Ok(RunState::Stopped(error)) => error.clone(),
            _ => None,
        }
    }

    /// For how long the log has been waiting for the disk, or writing a lot to it. Past an
    /// [election timeout](Self::election_time) a leader hands over.
    pub fn disk_silence(&self) -> Duration {
        self.shared.log_busy.time()
    }

    /// The longest election timeout of this node.
    pub fn election_time(&self) -> Duration {
        self.hand_over_time
    }

    /// Stops: hands over the leadership if it can within an election timeout, makes the state
    /// durable, and closes the folder. Blocks until then.
    ///
    /// # Errors
    ///
    /// `Silent` if the disk does not answer: then a thread is left behind that waits for it, and the
    /// folder is not free before the process has ended. Nothing that was acknowledged is lost.
    pub fn stop(&self) -> crate::Result<()> {
        let end = self.clock.now() + self.hand_over_time;
        if self.shared.status.borrow().leads() {
            self.transfer(None);
            while self.shared.status.borrow().leads() && self.clock.now() < end {
                self.clock.sleep(STOP_LOOK);
            }
        }
        self.shared.inbox.tell(Event::Stop);
        for thread in self.threads.lock().drain(..) {
            while !thread.is_finished() {
                let time = self.disk_silence();
                if time > STOP_SILENCE_MAX {
                    return Err(Error::Silent { time });
                }
                self.clock.sleep(STOP_LOOK);
            }
            // A panic was told when it happened.
            let _ = thread.join();
        }
        Ok(())
    }
}
