//! Cursors over sorted entries, and how they combine. Never touches files.

mod concat;
mod cursor;
mod merge;

pub(crate) use concat::{Concat, Run};
pub(crate) use cursor::Cursor;
pub(crate) use merge::Merge;
