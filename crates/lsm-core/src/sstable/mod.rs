//! Tables: immutable files of sorted entries, built once, searched and scanned.
//!
//! Knows nothing of levels or versions of the database. Builder and reader share only the
//! format (`docs/format.md`, section "Table"); decoders take bytes and know no files.

mod block;
mod block_builder;
mod builder;
mod compress;
mod cursor;
#[cfg(test)]
mod damage_test;
#[cfg(test)]
pub(crate) mod document_test;
mod filter;
mod format;
#[cfg(any(test, feature = "testkit"))]
pub(crate) mod fuzzing;
mod index;
mod open_tables;
mod properties;
mod read_ahead;
mod reader;
mod scan;
#[cfg(test)]
mod table_test;
mod verify;

pub(crate) use builder::{TableBuilder, TableOptions};
pub(crate) use cursor::TableCursor;
pub(crate) use filter::FilterLine;
pub(crate) use open_tables::{OpenTable, OpenTables, TableHandle};
pub(crate) use properties::Shadowed;
pub(crate) use reader::{FoundBlock, ReadOptions, ReadStats};
pub(crate) use scan::TableScan;
