//! State machines for tests, and what two of them must agree on.

use std::path::Path;
use std::sync::Arc;

use lsm_log::fs::{Fs, MemFs};
use raft::eraftpb::ConfState;

use super::machine::{StateMachine, StateOptions};
use super::test_log::{engine, founders};
use crate::error::Result;
use crate::members::Members;

/// Where all states of tests live.
pub(super) const DIR: &str = "node/state";

pub(super) fn try_open<F: Fs + Clone>(fs: &F, seed: u64) -> Result<StateMachine> {
    let options = StateOptions { engine: engine(seed), fs: Arc::new(fs.clone()) };
    StateMachine::open(options, Path::new(DIR))
}

pub(super) fn open<F: Fs + Clone>(fs: &F, seed: u64) -> StateMachine {
    try_open(fs, seed).unwrap_or_else(|error| panic!("seed {seed}: {error}"))
}

/// A founder's state on a new file system.
pub(super) fn founder<F: Fs + Clone>(fs: &F, seed: u64) -> StateMachine {
    let mut machine = open(fs, seed);
    machine.bootstrap(founders()).unwrap();
    machine
}

pub(super) fn in_memory() -> MemFs {
    MemFs::new()
}

pub(super) fn hash(machine: &StateMachine) -> u128 {
    machine.hash_job().unwrap().run().unwrap()
}

/// What two nodes at the same index must agree on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Picture {
    applied: (u64, u64),
    conf: ConfState,
    members: Members,
    hash: u128,
}

impl Picture {
    pub(super) fn index(&self) -> u64 {
        self.applied.0
    }
}

pub(super) fn picture(machine: &StateMachine) -> Picture {
    Picture {
        applied: machine.applied(),
        conf: machine.conf_state(),
        members: Members::clone(&machine.members()),
        hash: hash(machine),
    }
}
