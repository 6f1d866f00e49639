//! Several changes that take effect together.

use lsm_proto::v1::{self, write};

use crate::into_bytes::IntoBytes;

/// Puts and deletes that take effect all or none, in order: a later one of the same key wins.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    writes: Vec<v1::Write>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the value of a key.
    pub fn put(&mut self, key: impl IntoBytes, value: impl IntoBytes) -> &mut Self {
        let put = v1::PutOp { key: key.into_bytes(), value: value.into_bytes() };
        self.writes.push(v1::Write { op: Some(write::Op::Put(put)) });
        self
    }

    /// Removes a key.
    pub fn delete(&mut self, key: impl IntoBytes) -> &mut Self {
        let delete = v1::DeleteOp { key: key.into_bytes() };
        self.writes.push(v1::Write { op: Some(write::Op::Delete(delete)) });
        self
    }

    /// How many changes there are.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Forgets all changes and keeps the memory.
    pub fn clear(&mut self) {
        self.writes.clear();
    }

    /// Shares keys and values with the batch.
    pub(crate) fn to_request(&self) -> v1::BatchWriteRequest {
        v1::BatchWriteRequest { writes: self.writes.clone(), session: None }
    }
}
