//! Keys as the engine orders them, ranges of them, and their hash.

mod hash;
mod internal;
mod keyspace_id;
mod range;

pub(crate) use hash::KeyHash;
pub use internal::SeqNo;
pub(crate) use internal::{Kind, SEQ_MAX, Tag, compare};
pub use keyspace_id::KeyspaceId;
pub(crate) use range::KeyRange;
pub use range::prefix_end;
