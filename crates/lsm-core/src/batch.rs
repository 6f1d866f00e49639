//! A group of writes in the one encoding that callers build, the log keeps and the memtable
//! reads.
//!
//! `first sequence u64 | count u32 | operations`; an operation is
//! `kind u8 | keyspace varint | key length varint | value length varint | key | value`, where
//! a delete has no value length and no value. The n-th operation has the n-th sequence number
//! from the first on. Layout and limits: docs/format.md, "Batch".

use std::fmt;

use lsm_log::coding::{Decoder, put_u32, put_u64, put_varint};
use lsm_log::error::{Error, Result};

use crate::key::{KeyspaceId, Kind, SEQ_MAX, SeqNo};
use crate::options::{BATCH_BYTES_MAX, KEY_LEN_MAX, VALUE_LEN_MAX};

const HEADER_LEN: usize = 12;

/// A keyspace as a batch needs to know it: which one, of which open database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyspaceRef {
    pub(crate) database: u64,
    pub(crate) id: KeyspaceId,
}

/// Writes that take effect together or not at all, in order, across keyspaces.
///
/// A later write to a key wins over an earlier one of the same batch. Limits are checked as the
/// batch is built, and told when it is written, with the number of the write that
/// broke one: keys up to [`KEY_LEN_MAX`], values up to [`VALUE_LEN_MAX`], the whole up to
/// [`BATCH_BYTES_MAX`] bytes. A batch that was written is as it was before: it can be written
/// again, or [cleared](Self::clear) and filled anew.
///
/// ```
/// # fn main() -> lsm_core::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = lsm_core::Db::open(dir.path())?;
/// let mut batch = lsm_core::WriteBatch::new();
/// batch.put("from", "90");
/// batch.put("to", "110");
/// batch.delete("pending");
/// db.write(&batch)?;
/// # db.close()
/// # }
/// ```
#[derive(Clone)]
pub struct WriteBatch {
    encoded: Vec<u8>,
    count: u32,
    /// The keyspaces named so far, in the order of their numbers.
    keyspaces: Vec<KeyspaceId>,
    /// The open database whose keyspaces the batch names.
    database: Option<u64>,
    /// The first limit that was broken; reported when the batch is written.
    refused: Option<Error>,
}

impl Default for WriteBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl WriteBatch {
    /// An empty batch. Writing it is allowed and does nothing.
    pub fn new() -> Self {
        Self::with_capacity(0)
    }

    /// An empty batch with room for about `bytes` of keys and values.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut encoded = Vec::with_capacity(HEADER_LEN + bytes);
        encoded.resize(HEADER_LEN, 0);
        Self { encoded, count: 0, keyspaces: Vec::new(), database: None, refused: None }
    }

    /// Sets `key` to `value` in the default keyspace.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> &mut Self {
        self.push(Kind::Put, KeyspaceId::DEFAULT, key.as_ref(), value.as_ref());
        self
    }

    /// Removes `key` from the default keyspace; fine if it is not there.
    pub fn delete(&mut self, key: impl AsRef<[u8]>) -> &mut Self {
        self.push(Kind::Delete, KeyspaceId::DEFAULT, key.as_ref(), &[]);
        self
    }

    /// Sets `key` to `value` in `keyspace`.
    pub fn put_in(
        &mut self,
        keyspace: &impl AsRef<KeyspaceRef>,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> &mut Self {
        let id = self.enter(*keyspace.as_ref());
        self.push(Kind::Put, id, key.as_ref(), value.as_ref());
        self
    }

    /// Removes `key` from `keyspace`; fine if it is not there.
    pub fn delete_in(
        &mut self,
        keyspace: &impl AsRef<KeyspaceRef>,
        key: impl AsRef<[u8]>,
    ) -> &mut Self {
        let id = self.enter(*keyspace.as_ref());
        self.push(Kind::Delete, id, key.as_ref(), &[]);
        self
    }

    /// How many writes the batch holds.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether the batch holds no write.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The length of the encoded batch, in bytes.
    pub fn bytes(&self) -> usize {
        self.encoded.len()
    }

    /// Forgets all writes and keeps the memory.
    pub fn clear(&mut self) {
        self.encoded.truncate(HEADER_LEN);
        self.keyspaces.clear();
        (self.count, self.database, self.refused) = (0, None, None);
    }

    /// Where the batch ends now.
    pub(crate) fn savepoint(&self) -> Savepoint {
        Savepoint { count: self.count, bytes: self.encoded.len() }
    }

    /// Forgets the writes behind `savepoint`; false, and nothing is done, if none of its writes ends
    /// there.
    pub(crate) fn roll_back(&mut self, savepoint: Savepoint) -> bool {
        let mut operations = self.operations();
        let ends_there = savepoint.count <= self.count
            && operations.by_ref().take(savepoint.count as usize).count()
                == savepoint.count as usize
            && HEADER_LEN + operations.decoder.offset() == savepoint.bytes;
        if ends_there {
            self.encoded.truncate(savepoint.bytes);
            self.count = savepoint.count;
            let mut named: Vec<_> = self.operations().map(|write| write.keyspace).collect();
            named.sort_unstable();
            named.dedup();
            self.keyspaces = named;
        }
        ends_there
    }

    fn enter(&mut self, keyspace: KeyspaceRef) -> KeyspaceId {
        if *self.database.get_or_insert(keyspace.database) != keyspace.database {
            self.refuse(Error::invalid("a batch names keyspaces of two databases"));
        }
        keyspace.id
    }

    pub(crate) fn push(&mut self, kind: Kind, keyspace: KeyspaceId, key: &[u8], value: &[u8]) {
        if let Err(error) = self.try_push(kind, keyspace, key, value) {
            self.refuse(error);
        }
    }

    /// Adds a write, unless it breaks a limit.
    #[inline]
    pub(crate) fn try_push(
        &mut self,
        kind: Kind,
        keyspace: KeyspaceId,
        key: &[u8],
        value: &[u8],
    ) -> Result<()> {
        check_limits(key, value, self.encoded.len())?;
        let out = &mut self.encoded;
        out.push(kind as u8);
        put_varint(out, u64::from(keyspace.0));
        put_varint(out, key.len() as u64);
        if kind == Kind::Put {
            put_varint(out, value.len() as u64);
        }
        out.extend_from_slice(key);
        out.extend_from_slice(value);
        self.count += 1;
        if let Err(at) = self.keyspaces.binary_search(&keyspace) {
            self.keyspaces.insert(at, keyspace);
        }
        Ok(())
    }

    /// Up to the first refusal every write was taken: their count is the number of this one.
    fn refuse(&mut self, error: Error) {
        if self.refused.is_none() {
            self.refused = Some(error.in_write(self.len()));
        }
    }

    /// What to say of the first write to a keyspace that was dropped.
    pub(crate) fn names_dropped(&self, keyspace: KeyspaceId) -> Error {
        let index = self.operations().position(|operation| operation.keyspace == keyspace);
        let error = Error::invalid("its keyspace was dropped");
        error.in_write(index.expect("each keyspace that a batch names is some write's"))
    }

    /// The batch may be written to `database`; otherwise says why not.
    pub(crate) fn check(&self, database: u64) -> Result<()> {
        if let Some(error) = &self.refused {
            return Err(error.clone());
        }
        if self.database.is_some_and(|own| own != database) {
            return Err(Error::invalid("the batch names a keyspace of another database"));
        }
        Ok(())
    }

    /// Appends the batch with its place in the write order, as the log holds it: as many bytes as
    /// [`bytes`](Self::bytes) says.
    #[inline]
    pub(crate) fn encode(&self, first: SeqNo, out: &mut Vec<u8>) {
        put_u64(out, first.0);
        put_u32(out, self.count);
        out.extend_from_slice(&self.encoded[HEADER_LEN..]);
    }

    /// The keyspaces that the batch names, in the order of their numbers, each once.
    pub(crate) fn keyspaces(&self) -> &[KeyspaceId] {
        &self.keyspaces
    }

    /// The writes, in order.
    pub(crate) fn operations(&self) -> Operations<'_> {
        Operations { decoder: Decoder::new(&self.encoded[HEADER_LEN..]), left: self.count }
    }
}

/// Where a batch ended once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Savepoint {
    count: u32,
    bytes: usize,
}

fn check_limits(key: &[u8], value: &[u8], batch_bytes: usize) -> Result<()> {
    const OPERATION_HEAD_MAX: usize = 16;
    if key.len() > KEY_LEN_MAX {
        return Err(Error::invalid(format!(
            "the key has {} bytes, but at most {KEY_LEN_MAX} are allowed",
            key.len()
        )));
    }
    if value.len() > VALUE_LEN_MAX {
        return Err(Error::invalid(format!(
            "the value has {} bytes, but at most {VALUE_LEN_MAX} are allowed",
            value.len()
        )));
    }
    if batch_bytes + key.len() + value.len() + OPERATION_HEAD_MAX > BATCH_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the batch exceeds {BATCH_BYTES_MAX} bytes: split it where it need not be atomic"
        )));
    }
    Ok(())
}

impl fmt::Debug for WriteBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteBatch")
            .field("len", &self.count)
            .field("bytes", &self.bytes())
            .finish()
    }
}

/// One write of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation<'a> {
    pub(crate) kind: Kind,
    pub(crate) keyspace: KeyspaceId,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// An encoded batch, as read back from the log.
#[derive(Clone, Debug)]
pub(crate) struct Batch<'a> {
    pub(crate) first: SeqNo,
    pub(crate) count: u32,
    operations: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Reads the header and checks the whole: after this, every operation decodes.
    pub(crate) fn decode(encoded: &'a [u8]) -> Result<Self> {
        let mut decoder = Decoder::new(encoded);
        let (Some(first), Some(count)) = (decoder.u64(), decoder.u32()) else {
            return Err(Error::corrupt("batch header is cut short").at(0));
        };
        if first == 0 || first > SEQ_MAX.0 - u64::from(count) {
            return Err(Error::corrupt("batch sequence number out of range").at(0));
        }
        let batch = Self { first: SeqNo(first), count, operations: &encoded[HEADER_LEN..] };
        let mut operations = batch.operations();
        for _ in 0..count {
            let offset = (HEADER_LEN + operations.decoder.offset()) as u64;
            if operations.next().is_none() {
                return Err(Error::corrupt("batch operation does not decode").at(offset));
            }
        }
        if !operations.decoder.is_empty() {
            let offset = (HEADER_LEN + operations.decoder.offset()) as u64;
            return Err(Error::corrupt("batch has bytes behind its last operation").at(offset));
        }
        Ok(batch)
    }

    pub(crate) fn operations(&self) -> Operations<'a> {
        Operations { decoder: Decoder::new(self.operations), left: self.count }
    }

    /// Sequence number of the last operation; of the one before the first if there is none.
    pub(crate) fn last(&self) -> SeqNo {
        SeqNo(self.first.0 + u64::from(self.count) - 1)
    }
}

/// The operations of a batch; ends early at bytes that do not decode.
#[derive(Clone, Debug)]
pub(crate) struct Operations<'a> {
    decoder: Decoder<'a>,
    left: u32,
}

impl<'a> Iterator for Operations<'a> {
    type Item = Operation<'a>;

    #[inline]
    fn next(&mut self) -> Option<Operation<'a>> {
        self.left = self.left.checked_sub(1)?;
        let kind = Kind::from_u8(self.decoder.u8()?)?;
        let keyspace = KeyspaceId(self.decoder.varint_u32()?);
        let key_len = self.decoder.varint_u32()? as usize;
        let value_len = match kind {
            Kind::Put => self.decoder.varint_u32()? as usize,
            Kind::Delete => 0,
            // Reserved: no version of the program writes them yet.
            Kind::RangeDelete | Kind::Merge => return None,
        };
        if key_len > KEY_LEN_MAX || value_len > VALUE_LEN_MAX {
            return None;
        }
        let key = self.decoder.take(key_len)?;
        let value = self.decoder.take(value_len)?;
        Some(Operation { kind, keyspace, key, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lsm_log::error::ErrorKind;

    fn encoded(batch: &WriteBatch, first: u64) -> Vec<u8> {
        let mut out = Vec::new();
        batch.encode(SeqNo(first), &mut out);
        assert_eq!(out.len(), batch.bytes());
        out
    }

    fn sample() -> WriteBatch {
        let mut batch = WriteBatch::new();
        batch.put("key", "value");
        batch.delete("");
        batch.put_in(&Named(300), "k", "");
        batch
    }

    struct Named(u32);

    impl AsRef<KeyspaceRef> for Named {
        fn as_ref(&self) -> &KeyspaceRef {
            match self.0 {
                0 => &KeyspaceRef { database: 2, id: KeyspaceId(0) },
                _ => &KeyspaceRef { database: 1, id: KeyspaceId(300) },
            }
        }
    }

    #[test]
    fn operations_come_back_in_order() {
        let batch = sample();
        let encoded = encoded(&batch, 9);
        let decoded = Batch::decode(&encoded).unwrap();
        assert_eq!((decoded.first, decoded.count, decoded.last()), (SeqNo(9), 3, SeqNo(11)));
        let found: Vec<_> =
            decoded.operations().map(|op| (op.kind, op.keyspace.0, op.key, op.value)).collect();
        assert_eq!(
            found,
            [
                (Kind::Put, 0, &b"key"[..], &b"value"[..]),
                (Kind::Delete, 0, b"", b""),
                (Kind::Put, 300, b"k", b""),
            ]
        );
    }

    #[test]
    fn keyspaces_are_named_once_and_in_order() {
        let mut batch = WriteBatch::new();
        assert!(batch.keyspaces().is_empty());
        for id in [7, 7, 300, 7, 300, 1] {
            batch.push(Kind::Put, KeyspaceId(id), b"key", b"value");
        }
        assert_eq!(batch.keyspaces(), [1, 7, 300].map(KeyspaceId));
        batch.push(Kind::Delete, KeyspaceId(1), b"key", b"");
        assert_eq!(batch.keyspaces(), [1, 7, 300].map(KeyspaceId));
        batch.clear();
        assert!(batch.keyspaces().is_empty());
    }

    #[test]
    fn every_cut_is_refused_with_an_offset() {
        let batch = sample();
        let encoded = encoded(&batch, 1);
        for len in 0..encoded.len() {
            let error = Batch::decode(&encoded[..len]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.offset().is_some());
        }
        let mut longer = encoded;
        longer.push(0);
        assert!(Batch::decode(&longer).is_err());
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let batch = sample();
        for first in [0, SEQ_MAX.0 - 2, SEQ_MAX.0, u64::MAX] {
            let error = Batch::decode(&encoded(&batch, first)).unwrap_err();
            assert_eq!((error.kind(), error.offset()), (ErrorKind::Corrupt, Some(0)), "{first}");
        }
        let last = Batch::decode(&encoded(&batch, SEQ_MAX.0 - 3)).unwrap().last();
        assert!(last < SEQ_MAX);
    }

    #[test]
    fn limits_are_reported_when_written() {
        let mut batch = WriteBatch::new();
        batch.put(vec![0; KEY_LEN_MAX], "");
        assert!(batch.check(1).is_ok());
        batch.put(vec![0; KEY_LEN_MAX + 1], "");
        assert_eq!(batch.check(1).unwrap_err().kind(), ErrorKind::Invalid);
        batch.clear();
        assert!(batch.check(1).is_ok() && batch.is_empty());
    }

    #[test]
    fn limits_hold_to_the_byte() {
        let value = vec![0; VALUE_LEN_MAX + 1]; // Zeros that nobody touches cost nothing.
        check_limits(b"k", &value[1..], 0).unwrap();
        let refused = |result: Result<()>, words: &str| {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(words), "{error}");
        };
        refused(check_limits(b"k", &value, 0), "value");
        // What is in the batch counts, and so does the head of the operation.
        let room = BATCH_BYTES_MAX - 16 - 2;
        check_limits(b"k", b"v", room).unwrap();
        refused(check_limits(b"k", b"v", room + 1), "split it");
        let longest = WriteBatch::new().bytes() + 16 + KEY_LEN_MAX + VALUE_LEN_MAX;
        assert!(longest <= BATCH_BYTES_MAX, "the longest key and value fit into one batch");
    }

    #[test]
    fn keyspaces_of_another_database_are_refused() {
        let mut batch = sample();
        assert!(batch.check(1).is_ok());
        assert!(batch.check(2).is_err());
        batch.put_in(&Named(0), "k", "v");
        assert!(batch.check(1).is_err(), "two databases in one batch");
    }
}
