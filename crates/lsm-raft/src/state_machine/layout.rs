//! Keys and encodings of the keyspace `raft`: docs/format.md, "The keyspace `raft`".
//!
//! Encoders and decoders only. Decoders never panic and refuse what encoders do not write.

use lsm_log::coding::{Decoder, put_u64, put_varint};
use raft::eraftpb::ConfState;

use crate::error::{Error, Result};

/// The keyspace that holds the rows.
pub(super) const KEYSPACE: &str = "raft";
/// Version of all rows; stands at the front of the applied row.
const VERSION: u8 = 1;

pub(super) const APPLIED_KEY: &[u8] = b"a";
pub(super) const CONF_KEY: &[u8] = b"c";
pub(super) const MEMBERS_KEY: &[u8] = b"m";
const SESSION_PREFIX: u8 = b's';
const SESSION_KEY_LEN: usize = 9;
/// Sessions whose ids lie so close stand in one row.
pub(super) const SESSIONS_A_ROW: u64 = 16;

/// Through where the state holds the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AppliedRow {
    /// Index of the last entry applied; 0 before the first.
    pub(super) index: u64,
    /// Its term.
    pub(super) term: u64,
    /// How many sessions were ever opened: the id of the last.
    pub(super) sessions_opened: u64,
}

impl AppliedRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(25);
        out.push(VERSION);
        put_u64(&mut out, self.index);
        put_u64(&mut out, self.term);
        put_u64(&mut out, self.sessions_opened);
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut decoder = Decoder::new(bytes);
        match decoder.u8() {
            Some(VERSION) => {}
            Some(version) if version > VERSION => {
                let reason = format!("version {version} was written by a newer program");
                return Err(Error::corrupt("the applied row", reason));
            }
            _ => return Err(no_row("applied row")),
        }
        let mut read = || {
            let (index, term) = (decoder.u64()?, decoder.u64()?);
            Some(Self { index, term, sessions_opened: decoder.u64()? })
        };
        let row = read();
        row.filter(|_| decoder.is_empty()).ok_or_else(|| no_row("applied row"))
    }
}

/// The last request of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionRow {
    /// Its number; 0 before the first.
    pub(super) sequence: u64,
    /// Index of the entry that held it, or of the one that opened the session.
    pub(super) index: u64,
}

/// The group that a session stands in.
pub(super) fn session_group(id: u64) -> u64 {
    id / SESSIONS_A_ROW
}

/// The ids that stand in a group.
pub(super) fn ids_of_group(group: u64) -> impl Iterator<Item = u64> {
    let first = group * SESSIONS_A_ROW;
    (0..SESSIONS_A_ROW).map(move |slot| first + slot)
}

/// One row holds the sessions of a group: those that are used together are written together,
/// and a batch of many requests costs few rows.
pub(super) fn encode_sessions(sessions: &[(u64, SessionRow)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(sessions.len() * 12);
    for (id, row) in sessions {
        out.push((id % SESSIONS_A_ROW) as u8);
        put_varint(&mut out, row.sequence);
        put_varint(&mut out, row.index);
    }
    out
}

pub(super) fn decode_sessions(group: u64, bytes: &[u8]) -> Result<Vec<(u64, SessionRow)>> {
    let mut decoder = Decoder::new(bytes);
    let mut sessions: Vec<(u64, SessionRow)> = Vec::new();
    while !decoder.is_empty() {
        let mut read = || {
            let slot = u64::from(decoder.u8()?);
            let id = group.checked_mul(SESSIONS_A_ROW)?.checked_add(slot)?;
            let row = SessionRow { sequence: decoder.varint()?, index: decoder.varint()? };
            let ascends = sessions.last().is_none_or(|(last, _)| *last < id);
            (slot < SESSIONS_A_ROW && ascends).then_some((id, row))
        };
        sessions.push(read().ok_or_else(|| no_row("row of sessions"))?);
    }
    // A group without sessions has no row.
    if sessions.is_empty() { Err(no_row("row of sessions")) } else { Ok(sessions) }
}

/// The key of a group's row. In the order of the ids.
pub(super) fn session_key(group: u64) -> [u8; SESSION_KEY_LEN] {
    let mut key = [SESSION_PREFIX; SESSION_KEY_LEN];
    key[1..].copy_from_slice(&group.to_be_bytes());
    key
}

/// The group in the key of its row; `None` for any other key.
pub(super) fn group_in_key(key: &[u8]) -> Option<u64> {
    let group = key.strip_prefix(&[SESSION_PREFIX])?;
    Some(u64::from_be_bytes(group.try_into().ok()?))
}

/// The same configuration in the one order that is stored, compared and hashed.
pub(super) fn sorted(mut conf: ConfState) -> ConfState {
    conf.mut_voters().sort_unstable();
    conf.mut_learners().sort_unstable();
    conf.mut_voters_outgoing().sort_unstable();
    conf.mut_learners_next().sort_unstable();
    conf
}

/// Of a [`sorted`] configuration.
pub(super) fn encode_conf(conf: &ConfState) -> Vec<u8> {
    let mut out = Vec::new();
    for ids in [&conf.voters, &conf.learners, &conf.voters_outgoing, &conf.learners_next] {
        put_varint(&mut out, ids.len() as u64);
        ids.iter().for_each(|id| put_varint(&mut out, *id));
    }
    out.push(u8::from(conf.auto_leave));
    out
}

pub(super) fn decode_conf(bytes: &[u8]) -> Result<ConfState> {
    let mut decoder = Decoder::new(bytes);
    let conf = read_conf(&mut decoder).filter(|_| decoder.is_empty());
    conf.ok_or_else(|| no_row("row of the configuration"))
}

fn read_conf(decoder: &mut Decoder<'_>) -> Option<ConfState> {
    let mut ids = || {
        let count = decoder.varint()?;
        // No room is reserved for what may not be there.
        let mut ids = Vec::<u64>::new();
        for _ in 0..count {
            let id = decoder.varint()?;
            if ids.last().is_some_and(|last| *last >= id) {
                return None;
            }
            ids.push(id);
        }
        Some(ids)
    };
    let mut conf = ConfState { voters: ids()?, learners: ids()?, ..ConfState::default() };
    (conf.voters_outgoing, conf.learners_next) = (ids()?, ids()?);
    conf.auto_leave = match decoder.u8()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    Some(conf)
}

fn no_row(what: &str) -> Error {
    Error::corrupt(format!("the {what}"), "it does not decode")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf() -> ConfState {
        let mut conf = ConfState::from((vec![1, 300], vec![7]));
        conf.voters_outgoing = vec![1, 2, 300];
        conf.learners_next = vec![2];
        conf.auto_leave = true;
        conf
    }

    #[test]
    fn rows_come_back() {
        let applied = AppliedRow { index: 300, term: u64::MAX, sessions_opened: 7 };
        assert_eq!(AppliedRow::decode(&applied.encode()).unwrap(), applied);
        let row = |sequence| SessionRow { sequence, index: 129 };
        let sessions = vec![(48, row(0)), (50, row(u64::MAX)), (63, row(5))];
        assert_eq!(decode_sessions(3, &encode_sessions(&sessions)).unwrap(), sessions);
        assert!(ids_of_group(3).all(|id| session_group(id) == 3));
        assert_eq!(ids_of_group(3).count() as u64, SESSIONS_A_ROW);
        for conf in [conf(), ConfState::default()] {
            assert_eq!(decode_conf(&encode_conf(&conf)).unwrap(), conf);
        }
        for id in [0, 1, 1 << 40, u64::MAX] {
            assert_eq!(group_in_key(&session_key(id)), Some(id));
        }
        assert!(session_key(255) < session_key(256));
        for other in [APPLIED_KEY, CONF_KEY, MEMBERS_KEY, b"s", b"s1234567", b"s123456789"] {
            assert_eq!(group_in_key(other), None);
        }
    }

    #[test]
    fn rows_are_laid_out_as_documented() {
        let applied = AppliedRow { index: 0x0102, term: 3, sessions_opened: 4 };
        let [index, term, sessions] =
            [[2, 1], [3, 0], [4, 0]].map(|b| [b[0], b[1], 0, 0, 0, 0, 0, 0]);
        assert_eq!(applied.encode(), [&[1][..], &index, &term, &sessions].concat());
        let sessions = [(33, SessionRow { sequence: 5, index: 300 })];
        assert_eq!(encode_sessions(&sessions), [1, 5, 0xac, 2]);
        assert_eq!(session_key(0x0102), *b"s\0\0\0\0\0\0\x01\x02");
        assert_eq!(encode_conf(&conf()), [2, 1, 0xac, 2, 1, 7, 3, 1, 2, 0xac, 2, 1, 2, 1]);
    }

    #[test]
    fn every_cut_and_every_longer_row_is_refused() {
        let applied = AppliedRow { index: 1, term: 2, sessions_opened: 3 }.encode();
        let session = encode_sessions(&[(1, SessionRow { sequence: 300, index: 300 })]);
        type IsRefused = fn(&[u8]) -> bool;
        let rows: [(Vec<u8>, IsRefused); 3] = [
            (applied, |bytes| AppliedRow::decode(bytes).is_err()),
            (session, |bytes| decode_sessions(0, bytes).is_err()),
            (encode_conf(&conf()), |bytes| decode_conf(bytes).is_err()),
        ];
        for (mut bytes, is_refused) in rows {
            for len in 0..bytes.len() {
                assert!(is_refused(&bytes[..len]), "{bytes:?} cut to {len}");
            }
            bytes.push(0);
            assert!(is_refused(&bytes), "{bytes:?}");
        }
        assert!(AppliedRow::decode(&[2; 25]).unwrap_err().to_string().contains("newer"));
        assert!(decode_sessions(0, &[5, 1, 1, 5, 1, 1]).is_err(), "an id twice");
        assert!(decode_sessions(0, &[16, 1, 1]).is_err(), "an id of the next group");
        assert!(decode_sessions(u64::MAX, &[0, 1, 1]).is_err(), "no such id");
        assert!(decode_conf(&[2, 5, 5, 0, 0, 0, 0]).is_err(), "an id twice");
        assert!(decode_conf(&[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]).is_err());
    }
}
