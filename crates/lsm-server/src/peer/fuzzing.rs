//! Doors for fuzzers, and seeds: what strangers may send to the ports of a node. Each takes any
//! bytes and must come back, without a panic and without memory or time out of proportion.
//!
//! Of this program there is no library: the fuzz crate includes this file and those it uses.

#![allow(unreachable_pub, reason = "the fuzz crate reaches it")]

use lsm_proto::peer::{Envelope, LogEntry, Message};
use lsm_proto::v1::{BatchWriteRequest, Session, Write};
use lsm_raft::{Config, Identity, Member, Members, Origin, Role};
use prost::Message as _;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, KeyAndValueRef, MetadataMap};

use super::handshake;
use super::headers::PeerHeaders;
use super::wire::{from_wire, split, to_wire};
use crate::front::fields::Fields;
use crate::front::framing::Framing;

/// A message in pieces, whose length is the first byte: however it is cut the same fields are
/// counted, and never fewer than a decoder takes in.
pub fn fields(bytes: &[u8]) {
    let Some((&len, message)) = bytes.split_first() else { return };
    let whole = Fields::default().feed(message);
    let mut fields = Fields::default();
    let pieces = message.chunks(usize::from(len).max(1));
    assert_eq!(pieces.map(|piece| fields.feed(piece)).sum::<usize>(), whole);
    let mut decoded = BatchWriteRequest::default();
    let _ = decoded.merge(message);
    assert!(decoded.writes.len() <= whole);
}

/// A body in pieces, whose length is the first byte; the second is the greatest length of a
/// message. However it is cut the same comes out.
pub fn framing(bytes: &[u8]) {
    let [len, most, body @ ..] = bytes else { return };
    let (len, most) = (usize::from(*len).max(1), usize::from(*most) << 4);
    let follow = |len: usize| {
        let (mut framing, mut inside) = (Framing::default(), Vec::new());
        let mut feed = |piece| framing.feed(piece, most, |part| inside.extend_from_slice(part));
        let ended = body.chunks(len).try_for_each(&mut feed);
        (ended, inside)
    };
    let (whole, pieces) = (follow(body.len().max(1)), follow(len));
    assert_eq!(whole, pieces);
    assert!(whole.1.len() <= body.len());
}

/// A frame of messages: what is taken goes out as it came in, also when it is split.
pub fn wire(bytes: &[u8]) {
    let Ok(envelope) = Envelope::decode(bytes) else { return };
    for sent in envelope.messages {
        let Ok(message) = from_wire(sent.clone()) else { continue };
        let entries = message.get_entries().len();
        let (mut parts, mut seen) = (0, 0);
        split(message.clone(), 256, |part| {
            parts += 1;
            seen += part.get_entries().len();
        });
        assert!(seen == entries && parts <= entries.max(1));
        assert_eq!(to_wire(message), Some(sent));
    }
}

/// The head of a call, a line for each value: what is understood is understood again, and
/// decided.
pub fn handshake(bytes: &[u8]) {
    let own = Identity { cluster: "fuzzed".into(), group: 1, node: 2, incarnation: 1002 };
    let mut metadata = MetadataMap::new();
    for line in bytes.split(|&byte| byte == b'\n') {
        let Some(at) = line.iter().position(|&byte| byte == b' ') else { continue };
        let key = AsciiMetadataKey::from_bytes(&line[..at]);
        let value = AsciiMetadataValue::try_from(&line[at + 1..]);
        if let (Ok(key), Ok(value)) = (key, value) {
            metadata.insert(key, value);
        }
    }
    let Ok(hello) = PeerHeaders::read(&metadata, &own) else { return };
    let mut again = MetadataMap::new();
    hello.write(&mut again);
    let again = PeerHeaders::read(&again, &own).expect("what was written is read");
    // Names and addresses stay escaped.
    let (cluster, peer_address) = (hello.cluster.clone(), hello.peer_address.clone());
    assert_eq!(PeerHeaders { cluster, peer_address, ..again }, hello);
    for members in [members(), Members::default()] {
        let checked = handshake::check(&hello, &own, &members);
        let answer = handshake::check_answer(&hello, hello.from, &own, &members);
        assert_eq!(checked, answer);
        let let_in = checked.is_ok();
        assert!(!let_in || (hello.to, hello.group) == (own.node, own.group));
    }
    let timing = Config::new(2).timing();
    let _ = handshake::clash(2, &timing, hello.from, &hello.timing);
}

fn members() -> Members {
    let member = |node: u64| Member {
        role: Role::Voter,
        peer_address: format!("host{node}:1"),
        client_address: format!("host{node}:2"),
        incarnation: Some(1000 + node),
    };
    Members {
        nodes: (1..4).map(|node| (node, member(node))).collect(),
        removed: [9].into(),
        origin: Origin { founders: Some(1), cluster_id: Some(10) },
    }
}

/// The targets, each with what correct nodes and clients send.
pub fn seeds() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let session = Some(Session { id: 1 << 40, sequence: 7 });
    let batch = BatchWriteRequest { writes: vec![Write::default(); 30], session }.encode_to_vec();
    let with = |head: &[u8], body: &[u8]| [head, body].concat();
    let framed = with(&[0, 0, 0, 0, batch.len() as u8], &batch);
    let entry =
        |index| LogEntry { index, term: 3, data: vec![7; 100].into(), ..LogEntry::default() };
    let append = Message {
        kind: 3,
        from: 1,
        to: 2,
        term: 3,
        log_term: 3,
        index: 6,
        entries: (7..12).map(entry).collect(),
        commit: 5,
        ..Message::default()
    };
    let heartbeat = Message { kind: 8, context: vec![1; 16].into(), ..append.clone() };
    let heartbeat = Message { entries: Vec::new(), ..heartbeat };
    let envelope = Envelope { messages: vec![append, heartbeat] }.encode_to_vec();
    let said = |from: u64, origin: Origin| {
        let own =
            Identity { cluster: "fuzzed".into(), group: 1, node: from, incarnation: 1000 + from };
        let known = Members { origin, ..members() };
        let timing = Config::new(from).timing();
        let mut metadata = MetadataMap::new();
        PeerHeaders::new(&own, timing, &known, 2, None).write(&mut metadata);
        let mut lines = Vec::new();
        for pair in metadata.iter() {
            if let KeyAndValueRef::Ascii(key, value) = pair {
                lines.extend_from_slice(key.as_str().as_bytes());
                lines.push(b' ');
                lines.extend_from_slice(value.as_bytes());
                lines.push(b'\n');
            }
        }
        lines
    };
    vec![
        ("fields", vec![with(&[3], &batch), with(&[255], &batch)]),
        ("framing", vec![with(&[3, 9], &framed), with(&[1, 1], &framed)]),
        ("wire", vec![envelope]),
        (
            "handshake",
            vec![said(1, members().origin), said(3, Origin::default()), said(7, members().origin)],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a fuzzer does, for a moment.
    #[test]
    fn seeds_and_what_is_like_them_do_no_harm() {
        let seed = fastrand::u64(..);
        eprintln!("seed {seed}");
        let mut dice = fastrand::Rng::with_seed(seed);
        for (target, seeds) in seeds() {
            let door = match target {
                "fields" => fields,
                "framing" => framing,
                "wire" => wire,
                _ => handshake,
            };
            for whole in seeds {
                door(&whole);
                for _ in 0..3000 {
                    let mut bytes = whole.clone();
                    for _ in 0..dice.usize(1..4) {
                        let at = dice.usize(..bytes.len());
                        match dice.u8(..4) {
                            0 => bytes.truncate(at + 1),
                            1 => bytes.insert(at, dice.u8(..)),
                            2 => bytes[at] ^= 1 << dice.u8(..8),
                            _ => bytes[at] = *dice.choice(&[0, 1, 0x7f, 0x80, 0xff, b' ']).unwrap(),
                        }
                    }
                    door(&bytes);
                }
            }
        }
    }

    #[test]
    fn seeds_get_to_where_something_is_decided() {
        let seeds = seeds();
        let of = |name| &seeds.iter().find(|(target, _)| *target == name).unwrap().1;
        let envelope = Envelope::decode(&of("wire")[0][..]).unwrap();
        assert!(envelope.messages.into_iter().all(|message| from_wire(message).is_ok()));
        assert!(
            of("handshake").iter().all(|lines| lines.split(|&byte| byte == b'\n').count() > 10)
        );
    }
}
