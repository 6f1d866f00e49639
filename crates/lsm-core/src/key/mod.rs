//! Keys as the engine orders them, ranges of them, and their hash.

mod internal;
mod owned;
mod range;

pub(crate) use internal::{KeyHash, Kind, OWN_SEQ_MIN, SEQ_MAX, Tag, compare};
pub use internal::{KeyspaceId, SeqNo};
pub use owned::Key;
pub(crate) use range::KeyRange;
pub use range::prefix_end;
