//! What the state machine knows beside the user's data, and what entries do to both.
//!
//! Decides only: the writes are collected in a batch, which the machine writes. What an entry
//! does depends on the entries before it and on nothing else.
//!
//! After an error the metadata may hold half an entry, and must not be used again.

use std::sync::Arc;

use lsm_core::{Db, KEY_LEN_MAX, Keyspace, VALUE_LEN_MAX, WriteBatch};
use raft::eraftpb::{ConfState, Entry, EntryType};

use super::layout::{
    APPLIED_KEY, AppliedRow, CONF_KEY, KEYSPACE, MEMBERS_KEY, SESSIONS_A_ROW, decode_conf,
    decode_sessions, encode_conf, encode_sessions, group_in_key, session_key, sorted,
};
use super::sessions::{Sessions, Verdict};
use crate::command::{Command, Commands, Op, Session};
use crate::config::SESSIONS_MAX;
use crate::error::{Error, Result};
use crate::members::{Members, decode_changes};
use crate::outcome::Outcome;

/// Most bytes that one entry may bring into a batch, so that it always fits into one; more is
/// refused. Above the longest key and value together.
const ENTRY_BYTES_MAX: usize = 384 << 20;
/// What an operation takes in a batch beside its key and value, at most.
const OP_BYTES: usize = 16;
/// What a change of a session takes: the row that it stands in, and that of one that is given up.
const SESSION_BYTES: usize = 2 * (OP_BYTES + 9 + 21 * SESSIONS_A_ROW as usize);

/// The replicated bookkeeping.
#[derive(Debug)]
pub(super) struct Metadata {
    index: u64,
    term: u64,
    conf: ConfState,
    members: Arc<Members>,
    sessions: Sessions,
    conf_changed: bool,
    members_changed: bool,
}

/// What an entry did.
#[derive(Debug)]
pub(super) struct Step {
    /// Of each command, in order.
    pub(super) outcomes: Vec<Outcome>,
    /// Whether the state is to be hashed right after it.
    pub(super) hash: bool,
    /// What it brought into the batch, about; at most 384 MiB.
    pub(super) bytes: usize,
}

impl Metadata {
    /// Of a state that nothing was applied to.
    pub(super) fn new() -> Self {
        Self {
            index: 0,
            term: 0,
            conf: ConfState::default(),
            members: Arc::default(),
            sessions: Sessions::new(SESSIONS_MAX),
            conf_changed: false,
            members_changed: false,
        }
    }

    /// Reads the rows of an engine; and the keyspace that holds them, made if need be.
    pub(super) fn load(db: &Db) -> Result<(Keyspace, Self)> {
        let storage = || Error::storage("read the state's own rows");
        let rows = db.keyspace(KEYSPACE, None).map_err(storage())?;
        let mut metadata = Self::new();
        let (mut applied, mut sessions) = (None, Vec::new());
        for row in rows.iter() {
            let (key, value) = row.map_err(storage())?;
            match &*key {
                APPLIED_KEY => applied = Some(AppliedRow::decode(&value)?),
                CONF_KEY => metadata.conf = decode_conf(&value)?,
                MEMBERS_KEY => metadata.members = Arc::new(Members::decode(&value)?),
                key => match group_in_key(key) {
                    Some(group) => sessions.extend(decode_sessions(group, &value)?),
                    None => return Err(Error::corrupt("the state", format!("a row {key:?}"))),
                },
            }
        }
        match applied {
            Some(row) => {
                (metadata.index, metadata.term) = (row.index, row.term);
                metadata.sessions = Sessions::load(SESSIONS_MAX, row.sessions_opened, sessions);
            }
            None if rows.iter().next().is_none() => {}
            None => return Err(Error::corrupt("the state", "the applied row is missing")),
        }
        Ok((rows, metadata))
    }

    pub(super) fn limit_sessions(&mut self, max: usize) {
        self.sessions.limit(max);
    }

    pub(super) fn applied(&self) -> (u64, u64) {
        (self.index, self.term)
    }

    pub(super) fn conf(&self) -> &ConfState {
        &self.conf
    }

    pub(super) fn members(&self) -> &Arc<Members> {
        &self.members
    }

    /// Puts the founders in, as if by entry 1 of term 1.
    pub(super) fn found(&mut self, members: Members, conf: ConfState) {
        (self.index, self.term) = (1, 1);
        (self.conf, self.conf_changed) = (sorted(conf), true);
        self.set_members(members);
    }

    /// Applies the next entry. `conf` holds the configurations that raft went on to, each with
    /// the index of the entry that changed it.
    ///
    /// # Errors
    ///
    /// `Corrupt` if it is not the next entry or does not decode.
    pub(super) fn step(
        &mut self,
        entry: &Entry,
        conf: &[(u64, ConfState)],
        batch: &mut WriteBatch,
    ) -> Result<Step> {
        let refuse = |reason| Err(Error::corrupt(format!("entry {}", entry.index), reason));
        if self.index.checked_add(1) != Some(entry.index) {
            return refuse(format!("the state is at {}", self.index));
        }
        if entry.term < self.term {
            return refuse(format!("its term {} is below {}", entry.term, self.term));
        }
        let step = match entry.get_entry_type() {
            EntryType::EntryNormal => self.run_commands(entry, batch),
            EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
                let found = conf.iter().find(|(index, _)| *index == entry.index);
                let outcome = self.change_members(entry, found.map(|(_, conf)| conf));
                outcome.map(|outcome| Step { outcomes: vec![outcome], hash: false, bytes: 0 })
            }
        };
        let step = step.or_else(|error| refuse(error.to_string()))?;
        (self.index, self.term) = (entry.index, entry.term);
        Ok(step)
    }

    fn run_commands(&mut self, entry: &Entry, batch: &mut WriteBatch) -> Result<Step> {
        let mut step = Step { outcomes: Vec::new(), hash: false, bytes: 0 };
        let (index, mut room) = (entry.index, ENTRY_BYTES_MAX);
        for command in Commands::new(&entry.data) {
            step.outcomes.push(match command? {
                Command::Write { session, ops } => {
                    self.write(index, session, &ops, &mut room, batch)
                }
                Command::OpenSession => match take(SESSION_BYTES, &mut room) {
                    Ok(()) => Outcome::SessionOpened { id: self.sessions.open(index) },
                    Err(reason) => Outcome::Invalid(reason),
                },
                Command::Identify { node, incarnation, peer_address, client_address } => {
                    self.identify(node, incarnation, [peer_address, client_address])
                }
                Command::Found { cluster_id } => self.take_id(cluster_id),
                Command::Hash => {
                    step.hash = true;
                    Outcome::Hashing { index }
                }
            });
        }
        step.bytes = ENTRY_BYTES_MAX - room;
        Ok(step)
    }

    fn write(
        &mut self,
        index: u64,
        session: Option<Session>,
        ops: &[Op<'_>],
        room: &mut usize,
        batch: &mut WriteBatch,
    ) -> Outcome {
        if let Some(session) = session {
            match self.sessions.judge(session) {
                Verdict::Unknown => return Outcome::SessionUnknown,
                Verdict::Passed { last } => return Outcome::SessionPassed { last },
                Verdict::Repeated { index } => return Outcome::Written { index },
                Verdict::New => {}
            }
        }
        // Bytes of the log are not to be trusted blindly: what the engine would refuse must be
        // refused here, by every node alike and with the rest of the entry unharmed.
        let beside = session.map_or(0, |_| SESSION_BYTES);
        if let Err(reason) = writes_bytes(ops).and_then(|bytes| take(beside + bytes, room)) {
            return Outcome::Invalid(reason);
        }
        for op in ops {
            match op {
                Op::Put { key, value } => batch.put(key, value),
                Op::Delete { key } => batch.delete(key),
            };
        }
        if let Some(session) = session {
            self.sessions.applied(session, index);
        }
        Outcome::Written { index }
    }

    fn identify(&mut self, node: u64, incarnation: u64, addresses: [String; 2]) -> Outcome {
        if self.members.removed.contains(&node) {
            return Outcome::Impostor(format!(
                "node {node} was removed from this group; join with a new id, added as a learner"
            ));
        }
        let Some(member) = self.members.nodes.get(&node) else {
            return Outcome::Impostor(format!(
                "node {node} is no member of this group; add it as a learner first"
            ));
        };
        if member.incarnation.is_some_and(|known| known != incarnation) {
            return Outcome::Impostor(format!(
                "node {node} is known with another data folder: a node that lost its disk comes \
                 back under a new id, added as a learner"
            ));
        }
        let mut told = member.clone();
        told.incarnation = Some(incarnation);
        [told.peer_address, told.client_address] = addresses;
        if told != *member {
            let mut members = Members::clone(&self.members);
            members.nodes.insert(node, told);
            self.set_members(members);
        }
        Outcome::Identified
    }

    /// The first id stays.
    fn take_id(&mut self, proposed: u128) -> Outcome {
        let cluster_id = self.members.origin.cluster_id.unwrap_or_else(|| {
            let mut members = Members::clone(&self.members);
            members.origin.cluster_id = Some(proposed);
            self.set_members(members);
            proposed
        });
        Outcome::Founded { cluster_id }
    }

    fn change_members(&mut self, entry: &Entry, conf: Option<&ConfState>) -> Result<Outcome> {
        let changes = decode_changes(&entry.context)?;
        let Some(conf) = conf else {
            return Ok(Outcome::Changed(Err("the change was not possible any more".into())));
        };
        // Whatever becomes of the list of members: this is how raft counts votes from here on.
        (self.conf, self.conf_changed) = (sorted(conf.clone()), true);
        // Without changes it is raft's own entry, which leaves a joint configuration.
        if !changes.is_empty() {
            match self.members.after(&changes) {
                Ok(members) => self.set_members(members),
                Err(reason) => return Ok(Outcome::Changed(Err(reason))),
            }
        }
        Ok(Outcome::Changed(Ok(entry.index)))
    }

    fn set_members(&mut self, members: Members) {
        (self.members, self.members_changed) = (Arc::new(members), true);
    }

    /// Adds the rows that changed since the last call to a batch, and the applied row.
    pub(super) fn write_rows(&mut self, rows: &Keyspace, batch: &mut WriteBatch) {
        for (group, sessions) in self.sessions.take_changed() {
            if sessions.is_empty() {
                batch.delete_in(rows, session_key(group));
            } else {
                batch.put_in(rows, session_key(group), encode_sessions(&sessions));
            }
        }
        if std::mem::take(&mut self.members_changed) {
            let mut encoded = Vec::new();
            self.members.encode(&mut encoded);
            batch.put_in(rows, MEMBERS_KEY, encoded);
        }
        if std::mem::take(&mut self.conf_changed) {
            batch.put_in(rows, CONF_KEY, encode_conf(&self.conf));
        }
        let sessions_opened = self.sessions.opened();
        let applied = AppliedRow { index: self.index, term: self.term, sessions_opened };
        batch.put_in(rows, APPLIED_KEY, applied.encode());
    }
}

/// What these operations take in a batch, at most; or why they cannot be in one.
fn writes_bytes(ops: &[Op<'_>]) -> std::result::Result<usize, String> {
    let mut bytes = 0;
    for op in ops {
        let (key, value): (&[u8], &[u8]) = match op {
            Op::Put { key, value } => (key, value),
            Op::Delete { key } => (key, &[]),
        };
        if key.len() > KEY_LEN_MAX {
            return Err(format!("a key has {} bytes, over {KEY_LEN_MAX}", key.len()));
        }
        if value.len() > VALUE_LEN_MAX {
            return Err(format!("a value has {} bytes, over {VALUE_LEN_MAX}", value.len()));
        }
        bytes += key.len() + value.len() + OP_BYTES;
    }
    Ok(bytes)
}

/// Takes bytes from an entry's room, or none if there are not as many.
fn take(bytes: usize, room: &mut usize) -> std::result::Result<(), String> {
    *room = room
        .checked_sub(bytes)
        .ok_or_else(|| format!("the entry's writes have over {ENTRY_BYTES_MAX} bytes"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::collect;

    #[test]
    fn what_the_engine_would_refuse_is_refused_to_the_byte() {
        let zeros = vec![0; VALUE_LEN_MAX + 1]; // Zeros that nobody touches cost nothing.
        let check = |key_len, value_len| {
            let (key, value): (&[u8], &[u8]) = (&zeros[..key_len], &zeros[..value_len]);
            let put = writes_bytes(&[Op::Put { key, value }]);
            if value_len == 0 {
                assert_eq!(writes_bytes(&[Op::Delete { key }]), put);
            }
            put
        };
        assert!(check(KEY_LEN_MAX, VALUE_LEN_MAX).unwrap() < ENTRY_BYTES_MAX);
        assert!(check(KEY_LEN_MAX + 1, 0).unwrap_err().contains("65536"));
        assert!(check(0, VALUE_LEN_MAX + 1).unwrap_err().contains("268435457"));
        let two = [Op::Delete { key: b"a" }, Op::Put { key: b"b", value: b"c" }];
        assert_eq!(writes_bytes(&two), Ok(3 + 2 * OP_BYTES));
        let mut room = 10;
        assert!(take(11, &mut room).is_err());
        take(10, &mut room).unwrap();
        assert!(take(1, &mut room).is_err() && room == 0);
    }

    #[test]
    fn an_entry_tells_at_least_what_it_brings_into_the_batch() {
        let mut metadata = Metadata::new();
        let dir = std::path::Path::new("db");
        let fs = Arc::new(lsm_log::fs::MemFs::new());
        let db = lsm_core::Options::default().fs(fs).stepped(1).open(dir).unwrap();
        let (rows, _) = Metadata::load(&db).unwrap();
        let mut data = Vec::new();
        // Fills the sessions, so that each further one pushes out another.
        (0..SESSIONS_MAX + 100).for_each(|_| collect(&Command::OpenSession.to_bytes(), &mut data));
        for id in SESSIONS_MAX as u64..SESSIONS_MAX as u64 + 50 {
            let session = Some(Session { id, sequence: u64::MAX });
            let ops = vec![Op::Put { key: b"k", value: b"v" }, Op::Delete { key: b"k" }];
            collect(&Command::Write { session, ops }.to_bytes(), &mut data);
        }
        let entry = Entry { index: 1, term: 1, data: data.into(), ..Entry::default() };
        let mut batch = WriteBatch::new();
        let step = metadata.step(&entry, &[], &mut batch).unwrap();
        assert!(step.outcomes.iter().all(|o| !matches!(o, Outcome::Invalid(_))));
        metadata.write_rows(&rows, &mut batch);
        assert!(batch.bytes() < step.bytes + 100, "{} from {}", batch.bytes(), step.bytes);
    }
}
