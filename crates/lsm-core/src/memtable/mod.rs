//! The newest writes, sorted in memory. Never touches files.

mod cursor;
mod entry;
mod filter;
mod memory;
mod position;
mod table;

pub(crate) use cursor::MemtableCursor;
pub(crate) use memory::MemoryUse;
pub(crate) use table::{Insert, Memtable};
