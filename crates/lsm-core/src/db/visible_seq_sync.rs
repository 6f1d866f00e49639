//! What [`VisibleSeq`](super::visible_seq::VisibleSeq) is made of. A test compiles it with those of
//! a model checker instead, which tries every order in which threads can come to them.

pub(super) use std::hint::spin_loop;
pub(super) use std::sync::atomic::AtomicU64;

pub(super) use crossbeam_utils::sync::{Parker, Unparker};
pub(super) use parking_lot::{Mutex, MutexGuard};

/// An insert takes about a microsecond: worth spinning for a moment, not for a lost time slice.
pub(super) const SPINS: usize = 64;
