//! What the group agrees on: commands, encoded for the log.
//!
//! An entry of the log holds any number of commands, one after the other, each with its length
//! in front ([`collect`], [`Commands`]). Encoders append to a `Vec<u8>`; decoders borrow from
//! the entry, never panic, and refuse what encoders do not write. The layout is in
//! `docs/format.md`.

use lsm_log::coding::{Decoder, put_bytes, put_u64, put_varint, varint_len};

use crate::error::{Error, Result};
use crate::members::text;

const WRITE: u8 = 1;
const OPEN_SESSION: u8 = 2;
const IDENTIFY: u8 = 3;
const HASH: u8 = 4;
const FOUND: u8 = 5;

const PUT: u8 = 1;
const DELETE: u8 = 2;

/// Makes a retried request apply once: a session runs one request after the other, each
/// numbered one higher than the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// What opening the session returned.
    pub id: u64,
    /// Number of the request in its session, from 1.
    pub sequence: u64,
}

/// One change of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// Sets a key.
    Put {
        /// The key.
        key: &'a [u8],
        /// Its new value.
        value: &'a [u8],
    },
    /// Removes a key, if it is there.
    Delete {
        /// The key.
        key: &'a [u8],
    },
}

/// One thing for the state machine to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Changes keys, all or none.
    Write {
        /// Without one a retry may apply twice.
        session: Option<Session>,
        /// In order; a later one wins.
        ops: Vec<Op<'a>>,
    },
    /// Opens a session; its id is the result.
    OpenSession,
    /// A node tells which data folder it lives in, and where it listens.
    Identify {
        /// The node.
        node: u64,
        /// Its data folder.
        incarnation: u64,
        /// `host:port` for nodes.
        peer_address: String,
        /// `host:port` for clients.
        client_address: String,
    },
    /// All nodes hash their state at this command's index.
    Hash,
    /// Gives the group its id, unless it has one.
    Found {
        /// Drawn at random.
        cluster_id: u128,
    },
}

impl Command<'_> {
    /// Appends the encoded command to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Write { session, ops } => {
                out.push(WRITE);
                put_varint(out, session.map_or(0, |session| session.id));
                if let Some(session) = session {
                    put_varint(out, session.sequence);
                }
                put_varint(out, ops.len() as u64);
                for op in ops {
                    encode_op(op, out);
                }
            }
            Self::OpenSession => out.push(OPEN_SESSION),
            Self::Identify { node, incarnation, peer_address, client_address } => {
                out.push(IDENTIFY);
                put_varint(out, *node);
                put_u64(out, *incarnation);
                put_bytes(out, peer_address.as_bytes());
                put_bytes(out, client_address.as_bytes());
            }
            Self::Hash => out.push(HASH),
            Self::Found { cluster_id } => {
                out.push(FOUND);
                out.extend_from_slice(&cluster_id.to_le_bytes());
            }
        }
    }

    /// The encoded command.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.size_hint());
        self.encode(&mut out);
        out
    }

    fn size_hint(&self) -> usize {
        let Self::Write { ops, .. } = self else { return 64 };
        let len = |op: &Op<'_>| match op {
            Op::Put { key, value } => key.len() + value.len(),
            Op::Delete { key } => key.len(),
        };
        32 + ops.iter().map(|op| 16 + len(op)).sum::<usize>()
    }
}

impl<'a> Command<'a> {
    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the bytes are anything else.
    pub fn decode(bytes: &'a [u8]) -> Result<Self> {
        let mut decoder = Decoder::new(bytes);
        let command = Self::read(&mut decoder).filter(|_| decoder.is_empty());
        command.ok_or_else(|| {
            Error::corrupt("a command", format!("it stops making sense at {}", decoder.offset()))
        })
    }

    fn read(decoder: &mut Decoder<'a>) -> Option<Self> {
        Some(match decoder.u8()? {
            WRITE => {
                let session = match decoder.varint()? {
                    0 => None,
                    id => Some(Session { id, sequence: decoder.varint()? }),
                };
                let count = decoder.varint()?;
                // No room is reserved for what may not be there.
                let mut ops = Vec::new();
                for _ in 0..count {
                    ops.push(read_op(decoder)?);
                }
                Self::Write { session, ops }
            }
            OPEN_SESSION => Self::OpenSession,
            IDENTIFY => Self::Identify {
                node: decoder.varint()?,
                incarnation: decoder.u64()?,
                peer_address: text(decoder)?,
                client_address: text(decoder)?,
            },
            HASH => Self::Hash,
            FOUND => {
                let bytes = decoder.take(16)?.try_into().ok()?;
                Self::Found { cluster_id: u128::from_le_bytes(bytes) }
            }
            _ => return None,
        })
    }
}

fn encode_op(op: &Op<'_>, out: &mut Vec<u8>) {
    match op {
        Op::Put { key, value } => {
            out.push(PUT);
            put_bytes(out, key);
            put_bytes(out, value);
        }
        Op::Delete { key } => {
            out.push(DELETE);
            put_bytes(out, key);
        }
    }
}

fn read_op<'a>(decoder: &mut Decoder<'a>) -> Option<Op<'a>> {
    Some(match decoder.u8()? {
        PUT => Op::Put { key: decoder.bytes()?, value: decoder.bytes()? },
        DELETE => Op::Delete { key: decoder.bytes()? },
        _ => return None,
    })
}

/// Bytes that a command of this length takes in an entry.
pub fn collected_len(command_len: usize) -> usize {
    varint_len(command_len as u64) + command_len
}

/// Appends an encoded command to the data of an entry.
pub fn collect(command: &[u8], entry: &mut Vec<u8>) {
    put_bytes(entry, command);
}

/// The commands of an entry, in order. After an error there are no more.
#[derive(Debug)]
pub struct Commands<'a> {
    decoder: Decoder<'a>,
}

impl<'a> Commands<'a> {
    /// Of an entry's data; no data is no command.
    pub fn new(entry: &'a [u8]) -> Self {
        Self { decoder: Decoder::new(entry) }
    }
}

impl<'a> Iterator for Commands<'a> {
    type Item = Result<Command<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.decoder.is_empty() {
            return None;
        }
        let Some(bytes) = self.decoder.bytes() else {
            let offset = self.decoder.offset();
            self.decoder = Decoder::new(&[]);
            return Some(Err(Error::corrupt(
                "an entry",
                format!("its commands break off at {offset}"),
            )));
        };
        let command = Command::decode(bytes);
        if command.is_err() {
            self.decoder = Decoder::new(&[]);
        }
        Some(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Command<'static>> {
        vec![
            Command::Write {
                session: None,
                ops: vec![Op::Put { key: b"k", value: b"" }, Op::Delete { key: b"" }],
            },
            Command::Write { session: Some(Session { id: 300, sequence: 7 }), ops: vec![] },
            Command::OpenSession,
            Command::Identify {
                node: 3,
                incarnation: u64::MAX,
                peer_address: "a:1".into(),
                client_address: "b:2".into(),
            },
            Command::Hash,
            Command::Found { cluster_id: u128::MAX - 7 },
        ]
    }

    #[test]
    fn commands_come_back_in_order() {
        let mut entry = Vec::new();
        for command in samples() {
            assert_eq!(Command::decode(&command.to_bytes()).unwrap(), command);
            let (command, before) = (command.to_bytes(), entry.len());
            collect(&command, &mut entry);
            assert_eq!(entry.len() - before, collected_len(command.len()));
        }
        let read: Result<Vec<_>> = Commands::new(&entry).collect();
        assert_eq!(read.unwrap(), samples());
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_read_without_panic() {
        for command in samples() {
            let bytes = command.to_bytes();
            for len in 0..bytes.len() {
                assert!(Command::decode(&bytes[..len]).is_err(), "{command:?} cut to {len}");
            }
            for at in 0..bytes.len() {
                let mut bad = bytes.clone();
                bad[at] ^= 0x41;
                let _ = Command::decode(&bad);
            }
        }
        let mut longer = Command::Hash.to_bytes();
        longer.push(0);
        assert!(Command::decode(&longer).is_err());
    }

    #[test]
    fn damage_ends_the_commands() {
        let mut entry = Vec::new();
        collect(&[99], &mut entry);
        collect(&Command::Hash.to_bytes(), &mut entry);
        let read: Vec<_> = Commands::new(&entry).collect();
        assert_eq!(read.len(), 1);
        assert!(read[0].is_err());
        let read: Vec<_> = Commands::new(&[200, 1]).collect();
        assert!(read.len() == 1 && read[0].is_err());
    }
}
