//! What goes into a node and comes out of it.

use raft::eraftpb::{ConfState, Entry, HardState, Message};

use crate::config::Timing;
use crate::error::Error;
use crate::members::{Change, Members};
use crate::outcome::Refusal;

/// Where a node's log lives. Reads go through [`raft::Storage`].
pub trait NodeStorage: raft::Storage {
    /// Takes entries, replacing those that conflict: readable on return, durable later.
    fn append(&mut self, entries: &[Entry]);

    /// Gives up the entries through `index`: gone on return, on disk later.
    fn truncate(&mut self, index: u64);

    /// Replaces the whole log by the point that a snapshot stands for.
    fn reset(&mut self, index: u64, term: u64);

    /// Whether a follower needs a snapshot and there is none: then one is made now, of a state that
    /// has applied this index at least. Asking clears it.
    fn take_snapshot_wanted(&mut self, applied: u64) -> bool;

    /// The least index of a snapshot that is being made or on offer: who takes it needs the log
    /// behind it.
    fn snapshot_index(&self) -> Option<u64>;

    /// Why entries could not be read, if so; the first reason. Asking clears it.
    ///
    /// raft panics at such an error. So [`entries`](raft::Storage::entries) keeps it back: where
    /// raft can wait it gets `LogTemporarilyUnavailable`, elsewhere no entries.
    fn take_read_error(&mut self) -> Option<Error>;

    /// Entries through this one were durable, and were lost before this process began; zero if none
    /// were.
    fn lost_through(&self) -> u64;

    /// The index through which the log may be cut so that about `keep_bytes` stay.
    fn cut_for(&self, keep_bytes: u64) -> u64;
}

/// What a node reacts to. `W` is whoever waits for an answer.
#[derive(Debug)]
pub enum Input<W> {
    /// A tick of the clock has passed.
    Tick,
    /// Another node sent this.
    Message(Message),
    /// Replicate an encoded command.
    Propose {
        /// See [`Command`](crate::command::Command).
        command: Vec<u8>,
        /// Gets the outcome.
        waiter: W,
    },
    /// Change the members, in one step.
    ChangeMembers {
        /// What to change; several at once go through joint consensus.
        changes: Vec<Change>,
        /// Gets the outcome.
        waiter: W,
    },
    /// A linearizable read wants to know what it must see.
    Read {
        /// Gets the index.
        waiter: W,
    },
    /// Everything persisted through this ready is durable.
    Persisted {
        /// From [`Persist`] or [`Restore`].
        ready: u64,
    },
    /// The state machine has applied through this index.
    Applied {
        /// The index.
        index: u64,
    },
    /// The state through this index is durable: the log may be cut there.
    Flushed {
        /// The index.
        index: u64,
    },
    /// A snapshot took the place of the state; see [`Output::Restore`].
    Restored {
        /// From [`Restore`].
        ready: u64,
        /// The index of the snapshot.
        index: u64,
        /// The members that came with it.
        members: Members,
    },
    /// The state is damaged; to be said again until another one is in force. A leader hands over: it
    /// must not offer it to others. Whoever follows asks for a good copy, and takes no entries until
    /// that has come.
    StateDamaged,
    /// The log may take so much of the disk while others catch up from a snapshot.
    Spare {
        /// Bytes.
        bytes: u64,
    },
    /// A node tells its times; what of it comes after this was sent under them.
    Timing {
        /// The node.
        node: u64,
        /// What it said.
        timing: Timing,
    },
    /// Messages to this node do not get through.
    Unreachable {
        /// The node.
        node: u64,
    },
    /// Sending a snapshot ended.
    SnapshotSent {
        /// The receiver.
        node: u64,
        /// Whether it has all of it.
        whole: bool,
    },
    /// Hand the leadership over.
    Transfer {
        /// To whom; none: to whoever is furthest.
        to: Option<u64>,
    },
    /// Become leader if a quorum agrees.
    Campaign,
    /// This node cannot persist any more: hand over, take no part in anything new.
    Fail {
        /// Why, for those who wait.
        reason: String,
    },
}

/// Which inputs a node would act on now. Others of these kinds it could only note: whoever drives
/// it may let them wait for the next input that counts, or for the next tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants {
    /// Proposals, once so many bytes of them wait; 0: any.
    pub proposal_bytes: usize,
    /// Reads.
    pub reads: bool,
    /// That something is durable: a leader counts itself, and what is committed is applied.
    pub persisted: bool,
}

/// What is to be done, in the order given.
#[derive(Debug)]
pub enum Output<W> {
    /// Send now. Losing messages is fine, blocking is not.
    Send(Vec<Message>),
    /// Make durable, then send, then say so.
    Persist(Persist),
    /// Replace the state by a snapshot that was received whole. Nothing that follows may be
    /// done before.
    Restore(Restore),
    /// Let the state machine go on.
    Apply(Apply<W>),
    /// These may read as soon as `index` is applied.
    Read {
        /// What the read must see.
        index: u64,
        /// Who asked.
        waiters: Vec<W>,
    },
    /// Tell this one no.
    Refuse {
        /// Who asked.
        waiter: W,
        /// Why.
        refusal: Refusal,
    },
    /// The log is not needed through `index`, and was cut there in memory.
    Truncate {
        /// The index.
        index: u64,
        /// Term of that index.
        term: u64,
    },
    /// A follower needs a snapshot: make one.
    MakeSnapshot,
    /// What the node knows of itself: at once if leader, term or what is committed changed, soon
    /// if anything else did.
    Status(NodeStatus),
    /// The log of this leader cannot be read: it is handing over as after [`Input::Fail`], and is
    /// to be stopped then.
    Failed(Error),
    /// This node is not in the group any more.
    Removed,
}

/// Something to write to the log.
#[derive(Debug)]
pub struct Persist {
    /// Comes back in [`Input::Persisted`].
    pub ready: u64,
    /// To be written with the entries.
    pub hard_state: Option<HardState>,
    /// In order; they replace what conflicts.
    pub entries: Vec<Entry>,
    /// To be sent once all of it is durable, and all that came before.
    pub messages: Vec<Message>,
}

/// A snapshot to switch to.
#[derive(Debug)]
pub struct Restore {
    /// Comes back in [`Input::Restored`].
    pub ready: u64,
    /// What the snapshot stands for.
    pub index: u64,
    /// Term of that index.
    pub term: u64,
    /// The configuration at that index.
    pub conf_state: ConfState,
    /// To be written to the log that starts there.
    pub hard_state: HardState,
    /// To be sent once all of it is durable.
    pub messages: Vec<Message>,
}

/// How far the state machine may go.
#[derive(Debug)]
pub struct Apply<W> {
    /// Apply through this index.
    pub through: u64,
    /// What membership changes led to, by index; left out where one turned out impossible.
    pub conf: Vec<(u64, ConfState)>,
    /// Who waits for the outcomes of which entry, in the order of its commands.
    pub waiters: Vec<(u64, Vec<W>)>,
}

/// What a node knows of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// This node.
    pub node: u64,
    /// Who leads, if known.
    pub leader: Option<u64>,
    /// Its term.
    pub term: u64,
    /// First and last index of the log.
    pub first: u64,
    /// See [`first`](Self::first).
    pub last: u64,
    /// Known to be committed.
    pub committed: u64,
    /// Done by the state machine.
    pub applied: u64,
    /// Applied and in durable tables, as far as is known.
    pub flushed: u64,
    /// What a leader knows of the others; empty on other nodes.
    pub peers: Vec<PeerStatus>,
}

impl NodeStatus {
    /// Whether this node leads.
    pub fn leads(&self) -> bool {
        self.leader == Some(self.node)
    }
}

/// What a leader knows of another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The node.
    pub node: u64,
    /// It holds the log through this index.
    pub matched: u64,
    /// It answered within the last two election timeouts; or it was just added.
    pub active: bool,
    /// It is being sent a snapshot.
    pub snapshot: bool,
}
