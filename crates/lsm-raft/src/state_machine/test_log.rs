//! Logs to apply in tests: made by hand, or at random from a seed.

use std::collections::BTreeSet;
use std::sync::Arc;

use fastrand::Rng;
use lsm_core::{KeyspaceOptions, ManualClock, Options};
use raft::eraftpb::{ConfState, Entry, EntryType};

use crate::command::{Command, Op, Session, collect};
use crate::members::{Change, Member, Members, Role, encode_changes};

/// Term of the entries of a test.
pub(super) const TERM: u64 = 2;

/// An engine with the smallest buffers, stepped by the caller.
pub(super) fn engine(seed: u64) -> Options {
    let keyspace = KeyspaceOptions::default().write_buffer_bytes(64 << 10).table_bytes(64 << 10);
    let engine = Options::default().default_keyspace(keyspace);
    engine.clock(Arc::new(ManualClock::default())).stepped(seed)
}

/// Three voters without folders.
pub(super) fn founders() -> Members {
    let mut members = Members::default();
    for node in 1..=3 {
        let member = Member {
            role: Role::Voter,
            peer_address: format!("n{node}:1"),
            client_address: format!("n{node}:2"),
            incarnation: None,
        };
        members.nodes.insert(node, member);
    }
    members
}

/// An entry that holds commands.
pub(super) fn entry(index: u64, commands: &[Command<'_>]) -> Entry {
    let mut data = Vec::new();
    for command in commands {
        collect(&command.to_bytes(), &mut data);
    }
    Entry { index, term: TERM, data: data.into(), ..Entry::default() }
}

/// An entry that changes the members.
pub(super) fn change(index: u64, changes: &[Change]) -> Entry {
    let mut context = Vec::new();
    if !changes.is_empty() {
        encode_changes(changes, &mut context);
    }
    let mut entry = Entry { index, term: TERM, context: context.into(), ..Entry::default() };
    entry.set_entry_type(EntryType::EntryConfChangeV2);
    entry
}

pub(super) fn put<'a>(key: &'a [u8], value: &'a [u8]) -> Command<'a> {
    Command::Write { session: None, ops: vec![Op::Put { key, value }] }
}

pub(super) fn put_in<'a>(id: u64, sequence: u64, key: &'a [u8], value: &'a [u8]) -> Command<'a> {
    let session = Some(Session { id, sequence });
    Command::Write { session, ops: vec![Op::Put { key, value }] }
}

pub(super) fn identify(node: u64, incarnation: u64) -> Command<'static> {
    let (peer_address, client_address) = (format!("i{node}:1"), format!("i{node}:2"));
    Command::Identify { node, incarnation, peer_address, client_address }
}

/// Entries from index 2 on, and the configurations that raft went on to.
pub(super) struct Log {
    pub(super) entries: Vec<Entry>,
    pub(super) conf: Vec<(u64, ConfState)>,
}

impl Log {
    /// Of all kinds of entries, `value_bytes` at most in each value.
    pub(super) fn random(seed: u64, count: u64, value_bytes: usize) -> Self {
        let mut rng = Rng::with_seed(seed);
        let (mut voters, mut learners) = (BTreeSet::from([1, 2, 3]), BTreeSet::new());
        let mut log = Self { entries: Vec::new(), conf: Vec::new() };
        for index in 2..2 + count {
            if rng.u8(..12) > 0 {
                log.entries.push(random_entry(&mut rng, index, value_bytes));
                continue;
            }
            let node = rng.u64(1..8);
            let changes = random_change(&mut rng, node);
            log.entries.push(change(index, &changes));
            for change in &changes {
                match change {
                    Change::AddLearner { node, .. } => _ = learners.insert(*node),
                    Change::Promote { node } => {
                        learners.remove(node);
                        voters.insert(*node);
                    }
                    Change::Remove { node } => {
                        learners.remove(node);
                        voters.remove(node);
                    }
                }
            }
            // Now and then raft refuses.
            if rng.u8(..4) > 0 {
                // In any order: raft keeps them in hash sets.
                let mut ids: [Vec<u64>; 2] = [&voters, &learners].map(|ids| {
                    let mut ids: Vec<u64> = ids.iter().copied().collect();
                    rng.shuffle(&mut ids);
                    ids
                });
                let conf = ConfState::from((std::mem::take(&mut ids[0]), ids[1].clone()));
                log.conf.push((index, conf));
            }
        }
        log
    }

    /// The entries behind `index`.
    pub(super) fn behind(&self, index: u64) -> &[Entry] {
        let at = self.entries.partition_point(|entry| entry.index <= index);
        &self.entries[at..]
    }

    pub(super) fn last(&self) -> u64 {
        self.entries.last().map_or(1, |entry| entry.index)
    }
}

fn random_entry(rng: &mut Rng, index: u64, value_bytes: usize) -> Entry {
    let mut data = Vec::new();
    for _ in 0..rng.usize(..4) {
        let bytes = match rng.u8(..20) {
            0 => Command::Hash.to_bytes(),
            1 | 2 => Command::OpenSession.to_bytes(),
            3 => identify(rng.u64(..8), rng.u64(..2)).to_bytes(),
            4 => Command::Found { cluster_id: rng.u128(..) }.to_bytes(),
            _ => random_write(rng, value_bytes),
        };
        collect(&bytes, &mut data);
    }
    Entry { index, term: TERM, data: data.into(), ..Entry::default() }
}

fn random_write(rng: &mut Rng, value_bytes: usize) -> Vec<u8> {
    let session = rng.bool().then(|| Session { id: rng.u64(1..12), sequence: rng.u64(..12) });
    let texts: Vec<_> = (0..rng.usize(..4))
        .map(|_| {
            let len = if rng.u8(..60) == 0 { 70_000 } else { rng.usize(..4) };
            let key: Vec<u8> = (0..len).map(|_| rng.u8(b'a'..b'e')).collect();
            let value: Vec<u8> = (0..rng.usize(..=value_bytes)).map(|_| rng.u8(..)).collect();
            (key, value, rng.u8(..4) > 0)
        })
        .collect();
    let ops = texts.iter().map(|(key, value, is_put)| match is_put {
        true => Op::Put { key, value },
        false => Op::Delete { key },
    });
    Command::Write { session, ops: ops.collect() }.to_bytes()
}

fn random_change(rng: &mut Rng, node: u64) -> Vec<Change> {
    match rng.u8(..4) {
        0 => vec![Change::AddLearner {
            node,
            peer_address: format!("n{node}:1"),
            client_address: format!("n{node}:2"),
        }],
        1 => vec![Change::Promote { node }],
        2 => vec![Change::Remove { node: node + 3 }, Change::Remove { node: node + 4 }],
        _ => vec![],
    }
}
