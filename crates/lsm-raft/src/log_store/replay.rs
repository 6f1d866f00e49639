//! Adds up the records of a log. No I/O.

use bytes::Bytes;
use lsm_core::{Error, Result};
use lsm_log::wal::LogRecord;
use raft::eraftpb::Entry;

use super::index::{Index, Written};
use super::live::Live;
use super::record::{DurableRecord, Hard, LogId, Record, StateRecord};

/// What the records so far add up to.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) hard: Hard,
    pub(super) truncated: LogId,
    pub(super) index: Index,
    pub(super) live: Live,
    /// Entries through this one were durable and are lost, if the log ends before it.
    pub(super) lost_through: u64,
    cache_bytes_max: usize,
}

impl Replay {
    pub(super) fn new(cache_bytes_max: usize) -> Self {
        Self {
            hard: Hard::default(),
            truncated: LogId::default(),
            index: Index::new(LogId::default(), cache_bytes_max),
            live: Live::default(),
            lost_through: 0,
            cache_bytes_max,
        }
    }

    pub(super) fn visit(&mut self, record: &LogRecord<'_>) -> Result<()> {
        let payload = Bytes::copy_from_slice(record.payload);
        match decode(&payload)? {
            Record::State(state) => self.state(&state),
            Record::Durable(durable) => {
                self.durable(durable);
                Ok(())
            }
            Record::Append { hard, first, at, entries } => {
                self.hard = hard.unwrap_or(self.hard);
                if entries.is_empty() {
                    return Ok(());
                }
                let numbered = (first..).zip(&entries);
                let entries: Vec<Entry> =
                    numbered.map(|(index, entry)| entry.to_entry(index, &payload)).collect();
                let (segment, offset) = (record.segment, record.offset);
                let written = Written { segment, offset, payload_len: payload.len(), first };
                self.append(written, &entries, at)
            }
        }
    }

    fn state(&mut self, state: &StateRecord) -> Result<()> {
        if state.truncated.index < self.truncated.index {
            return Err(Error::corrupt("a later segment begins before an earlier one"));
        }
        (self.hard, self.truncated) = (state.hard, state.truncated);
        self.cut_behind(state.last);
        Ok(())
    }

    fn durable(&mut self, DurableRecord { hard, through }: DurableRecord) {
        self.hard = hard;
        self.lost_through = if through > self.index.last() { through } else { 0 };
    }

    /// Payloads of records behind damage. What they say that was durable is all that counts of them:
    /// entries behind a gap are of no use. Nor are those before it that were not known to be
    /// committed: what the damage took may have replaced them, and a commit index that was noted
    /// behind it would speak of others.
    pub(super) fn behind_damage(&mut self, payloads: &[Vec<u8>]) -> Result<bool> {
        let mut last = None;
        for payload in payloads {
            if let Record::Durable(durable) = decode(payload)? {
                last = Some(durable);
            }
        }
        if let Some(durable) = last {
            self.cut_behind(self.hard.commit.max(self.truncated.index));
            self.durable(durable);
        }
        Ok(last.is_some())
    }

    /// The log ends at entry `last`, or before it.
    fn cut_behind(&mut self, last: u64) {
        if last >= self.index.last() {
            return;
        }
        if last + 1 < self.index.first() {
            let before = LogId { index: last, term: 0 };
            self.index = Index::new(before, self.cache_bytes_max);
            self.live = Live::behind(last);
        } else {
            self.index.cut(last + 1);
            self.live.cut(last);
        }
    }

    fn append(&mut self, record: Written, entries: &[Entry], at: usize) -> Result<()> {
        let (first, begin, end) = (record.first, self.index.first(), self.index.last());
        // What stood before the oldest needed segment is gone. Entries that followed it come
        // without it; that is fine as long as they are truncated or replaced later.
        if first < begin || begin > end {
            let before = LogId { index: first - 1, term: 0 };
            self.index = Index::new(before, self.cache_bytes_max);
            self.live = Live::behind(first - 1);
        } else if first > end + 1 {
            return Err(Error::corrupt(format!("entries from {first} on follow entry {end}")));
        }
        self.index.append(entries);
        self.index.written(record, entries, at);
        self.live.wrote(record.segment, first, self.index.last());
        // A leader sends what was lost again. All else was durable no longer than it was here.
        if self.lost_through <= end || self.lost_through <= self.index.last() {
            self.lost_through = 0;
        }
        Ok(())
    }

    /// To be called behind the last record: drops what was truncated, and checks that nothing is
    /// missing.
    pub(super) fn finish(mut self) -> Result<Self> {
        let (truncated, begin, end) = (self.truncated, self.index.first(), self.index.last());
        if begin > end {
            self.index = Index::new(truncated, self.cache_bytes_max);
            self.live = Live::behind(truncated.index);
        } else if begin > truncated.index + 1 || end < truncated.index {
            return Err(Error::corrupt(format!(
                "the raft log holds entries {begin} to {end}, but begins behind {}",
                truncated.index
            )));
        } else if !self.index.begin_behind(truncated) {
            let LogId { index, term } = truncated;
            return Err(Error::corrupt(format!(
                "entry {index} of the raft log has no term {term}"
            )));
        } else {
            self.live.truncate(truncated.index);
        }
        // A leader's word that more is committed may come late; what was truncated was committed.
        self.hard.commit = self.hard.commit.max(truncated.index);
        let last = self.index.last();
        if self.lost_through > last {
            // What is lost is committed again once it is here again.
            self.hard.commit = self.hard.commit.min(last);
        } else {
            self.lost_through = 0;
        }
        let commit = self.hard.commit;
        if commit > last {
            return Err(Error::corrupt(format!(
                "the raft log ends at entry {last}, but {commit} entries were committed"
            )));
        }
        Ok(self)
    }
}

fn decode(payload: &[u8]) -> Result<Record<'_>> {
    Record::decode(payload).map_err(|at| {
        Error::corrupt(format!("raft log record stops making sense at byte {at} of its payload"))
    })
}
