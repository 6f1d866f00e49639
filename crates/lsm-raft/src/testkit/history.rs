//! What concurrent clients did to keys, and when: recorded for [`check`](super::check).
//!
//! Times are any `u64` that all clients share: simulated, or of one monotonic clock. A call is
//! noted before its request leaves, a reply after the answer came: so an operation takes effect
//! somewhere between its two times, if it does at all.
//!
//! Memory: a recorder takes a fixed number of operations and then says that it is full. Long
//! keys and values are kept as a digest.
//!
//! Threads: any number share a [`Recorder`].

use std::collections::BTreeMap;
use std::fmt;
use std::mem;

use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_128;

/// Bytes up to this length are kept whole.
const WHOLE_MAX: usize = 32;
/// Of longer ones: this much of their beginning, a digest of 16 bytes, and their length.
const HEAD_LEN: usize = 16;
const ABRIDGED_LEN: usize = HEAD_LEN + 16 + 8;

const _: () = assert!(ABRIDGED_LEN > WHOLE_MAX, "their lengths tell the two forms apart");

/// A key or value, or a digest of it: equal where the bytes are equal.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text(Box<[u8]>);

impl Text {
    /// Keeps the bytes, or if they are long their beginning, length and digest.
    pub fn new(bytes: &[u8]) -> Self {
        if bytes.len() <= WHOLE_MAX {
            return Self(bytes.into());
        }
        let mut kept = Vec::with_capacity(ABRIDGED_LEN);
        kept.extend_from_slice(&bytes[..HEAD_LEN]);
        kept.extend_from_slice(&xxh3_128(bytes).to_le_bytes());
        kept.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        Self(kept.into())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() < ABRIDGED_LEN {
            return write!(f, "\"{}\"", self.0.escape_ascii());
        }
        let (head, rest) = self.0.split_at(HEAD_LEN);
        let (digest, len) = rest.split_at(16);
        let len = u64::from_le_bytes(len.try_into().expect("its form has eight bytes there"));
        write!(f, "\"{}..\" ({len} bytes, ", head.escape_ascii())?;
        digest[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call<'a> {
    /// Sets the key.
    Put(&'a [u8]),
    /// Removes the key, if it is there.
    Delete,
    /// Reads the key.
    Get,
}

/// What a client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// A put or delete took effect.
    Done,
    /// A get found this.
    Got(Option<&'a [u8]>),
    /// It certainly took no effect, and never will.
    Failed,
    /// It may take effect at any later time, or never.
    Unknown,
}

/// What an operation did, as far as the key can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A put, or with nothing a delete.
    Write(Option<Text>),
    /// A get that was answered so.
    Read(Option<Text>),
}

/// One operation that took effect, or that may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who did it: only for people to read.
    pub client: u64,
    /// When it was called.
    pub start: u64,
    /// When it was answered; `None` if its outcome is unknown.
    pub end: Option<u64>,
    /// What it did.
    pub action: Action,
}

/// The operations on each key.
#[derive(Clone, Debug, Default)]
pub struct History {
    keys: BTreeMap<Text, Vec<Operation>>,
}

impl History {
    /// Adds an operation. Reads of unknown outcome say nothing and are left out.
    ///
    /// # Panics
    ///
    /// If it ends before it starts.
    pub fn push(&mut self, key: &[u8], operation: Operation) {
        let Operation { start, end, .. } = operation;
        assert!(end.is_none_or(|end| start <= end), "an operation from {start} ends at {end:?}");
        if end.is_some() || matches!(operation.action, Action::Write(_)) {
            self.keys.entry(Text::new(key)).or_default().push(operation);
        }
    }

    /// Each key with its operations, in no order.
    pub fn keys(&self) -> impl Iterator<Item = (&Text, &[Operation])> {
        self.keys.iter().map(|(key, operations)| (key, operations.as_slice()))
    }

    /// Number of operations.
    pub fn len(&self) -> usize {
        self.keys.values().map(Vec::len).sum()
    }

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// Collects a [`History`] while it happens.
#[derive(Debug)]
pub struct Recorder {
    operations_max: usize,
    slots: Mutex<Vec<Slot>>,
}

/// An operation that was called: hand it back with the reply. One that is not handed back is of
/// unknown outcome.
#[derive(Debug)]
#[must_use = "without its reply the outcome of the operation is unknown"]
pub struct Ticket(usize);

#[derive(Clone, Debug)]
struct Slot {
    client: u64,
    key: Text,
    start: u64,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// Not answered: what it would write, or nothing if it is a get.
    Open(Option<Action>),
    Answered(u64, Action),
    /// Says nothing about the key.
    Void,
}

impl Recorder {
    /// Takes this many operations.
    pub fn new(operations_max: usize) -> Self {
        Self { operations_max, slots: Mutex::new(Vec::new()) }
    }

    /// Notes a call, at a time before its request leaves. `None`: the recorder is full, and
    /// the call must not be made.
    pub fn call(&self, client: u64, at: u64, key: &[u8], call: Call<'_>) -> Option<Ticket> {
        let action = match call {
            Call::Put(value) => Some(Action::Write(Some(Text::new(value)))),
            Call::Delete => Some(Action::Write(None)),
            Call::Get => None,
        };
        let slot = Slot { client, key: Text::new(key), start: at, state: State::Open(action) };
        let mut slots = self.slots.lock();
        if slots.len() >= self.operations_max {
            return None;
        }
        slots.push(slot);
        Some(Ticket(slots.len() - 1))
    }

    /// Notes the reply to a call, at a time after it came.
    ///
    /// # Panics
    ///
    /// If the reply is of another kind than the call, or came before it.
    #[allow(clippy::needless_pass_by_value, reason = "a call is answered once")]
    pub fn reply(&self, ticket: Ticket, at: u64, reply: Reply<'_>) {
        let mut slots = self.slots.lock();
        let slot = &mut slots[ticket.0];
        assert!(slot.start <= at, "the reply at {at} to a call at {}", slot.start);
        let State::Open(action) = mem::replace(&mut slot.state, State::Void) else {
            panic!("the ticket is of another recorder")
        };
        slot.state = match (reply, action) {
            (Reply::Failed, _) | (Reply::Unknown, None) => State::Void,
            (Reply::Unknown, action) => State::Open(action),
            (Reply::Done, Some(action)) => State::Answered(at, action),
            (Reply::Got(value), None) => State::Answered(at, Action::Read(value.map(Text::new))),
            (reply, action) => panic!("{reply:?} is no reply to {action:?}"),
        };
    }

    /// What was recorded until now. Calls that are not answered are of unknown outcome.
    pub fn history(&self) -> History {
        let slots = self.slots.lock().clone();
        let mut history = History::default();
        for Slot { client, key, start, state } in slots {
            let (end, action) = match state {
                State::Open(Some(action)) => (None, action),
                State::Answered(end, action) => (Some(end), action),
                State::Open(None) | State::Void => continue,
            };
            let operation = Operation { client, start, end, action };
            history.keys.entry(key).or_default().push(operation);
        }
        history
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_become_operations() {
        let recorder = Recorder::new(6);
        let call = |at, call| recorder.call(7, at, b"k", call).unwrap();
        let (put, delete, get) =
            (call(1, Call::Put(b"v")), call(2, Call::Delete), call(3, Call::Get));
        let (lost, failed) = (call(4, Call::Put(b"w")), call(5, Call::Put(b"x")));
        drop(call(6, Call::Get));
        assert!(recorder.call(7, 7, b"k", Call::Get).is_none(), "it is full");
        recorder.reply(get, 8, Reply::Got(Some(b"v")));
        recorder.reply(failed, 8, Reply::Failed);
        recorder.reply(lost, 8, Reply::Unknown);
        recorder.reply(put, 9, Reply::Done);
        drop(delete);
        let history = recorder.history();
        let (key, operations) = history.keys().next().unwrap();
        assert_eq!(key, &Text::new(b"k"));
        let text = |bytes: &[u8]| Some(Text::new(bytes));
        let expected = [
            (1, Some(9), Action::Write(text(b"v"))),
            (2, None, Action::Write(None)),
            (3, Some(8), Action::Read(text(b"v"))),
            (4, None, Action::Write(text(b"w"))),
        ];
        let expected =
            expected.map(|(start, end, action)| Operation { client: 7, start, end, action });
        assert_eq!(operations, expected);
    }

    #[test]
    fn threads_share_a_recorder() {
        let recorder = Recorder::new(4000);
        std::thread::scope(|scope| {
            for client in 0..4 {
                let recorder = &recorder;
                scope.spawn(move || {
                    for at in 0..1000 {
                        let ticket = recorder.call(client, at, b"k", Call::Put(b"v")).unwrap();
                        recorder.reply(ticket, at, Reply::Done);
                    }
                });
            }
        });
        assert_eq!(recorder.history().len(), 4000);
    }

    #[test]
    #[should_panic(expected = "no reply to")]
    fn a_put_finds_nothing() {
        let recorder = Recorder::new(1);
        let ticket = recorder.call(1, 1, b"k", Call::Put(b"v")).unwrap();
        recorder.reply(ticket, 2, Reply::Got(None));
    }

    #[test]
    fn long_texts_are_abridged_and_differ_where_the_bytes_do() {
        let mut long = vec![b'a'; 1000];
        let one = Text::new(&long);
        assert!(one.0.len() == ABRIDGED_LEN && one == Text::new(&long));
        assert!(one.to_string().starts_with("\"aaaaaaaaaaaaaaaa..\" (1000 bytes, "), "{one}");
        long[999] = b'b';
        assert_ne!(one, Text::new(&long));
        assert_ne!(one, Text::new(&one.0.clone()));
        assert_eq!(Text::new(b"\xffk\"").to_string(), "\"\\xffk\\\"\"");
    }
}
