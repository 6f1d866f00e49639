//! Tests of the way of messages over the wire.

use bytes::Bytes;
use prost::Message as _;

use super::*;

/// A number that is more often small or extreme than not.
fn number(rng: &mut fastrand::Rng) -> u64 {
    match rng.u8(..4) {
        0 => 0,
        1 => rng.u64(..300),
        2 => u64::MAX - rng.u64(..3),
        _ => rng.u64(..),
    }
}

fn bytes(rng: &mut fastrand::Rng) -> Bytes {
    let len = rng.usize(..40);
    std::iter::repeat_with(|| rng.u8(..)).take(len).collect()
}

fn entry(rng: &mut fastrand::Rng) -> Entry {
    let mut entry = Entry::default();
    let kinds = [EntryType::EntryNormal, EntryType::EntryConfChange, EntryType::EntryConfChangeV2];
    entry.set_entry_type(kinds[rng.usize(..3)]);
    (entry.term, entry.index) = (number(rng), number(rng));
    (entry.data, entry.context) = (bytes(rng), bytes(rng));
    entry
}

fn message(kind: MessageType, rng: &mut fastrand::Rng) -> Message {
    let mut message = Message::default();
    message.set_msg_type(kind);
    (message.to, message.from, message.term) = (number(rng), number(rng), number(rng));
    (message.log_term, message.index) = (number(rng), number(rng));
    (message.commit, message.commit_term) = (number(rng), number(rng));
    (message.request_snapshot, message.reject_hint) = (number(rng), number(rng));
    message.reject = rng.bool();
    message.context = bytes(rng);
    message.priority = rng.i64(..);
    let count = rng.usize(..4);
    let entries: Vec<_> = std::iter::repeat_with(|| entry(rng)).take(count).collect();
    message.set_entries(entries.into());
    message
}

fn rng() -> fastrand::Rng {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    fastrand::Rng::with_seed(seed)
}

#[test]
fn every_kind_of_message_comes_back_as_it_was() {
    let mut rng = rng();
    for kind in KINDS {
        for _ in 0..50 {
            let sent = message(kind, &mut rng);
            let frame = Bytes::from(to_wire(sent.clone()).unwrap().encode_to_vec());
            let wire = proto::Message::decode(frame).unwrap();
            assert_eq!(from_wire(wire).unwrap(), sent);
        }
    }
}

#[test]
fn messages_of_one_node_to_itself_and_proposals_do_not_travel() {
    let local = [
        MessageType::MsgHup,
        MessageType::MsgBeat,
        MessageType::MsgPropose,
        MessageType::MsgSnapshot,
        MessageType::MsgUnreachable,
        MessageType::MsgSnapStatus,
        MessageType::MsgCheckQuorum,
    ];
    for kind in local {
        assert_eq!(to_wire(message(kind, &mut rng())), None);
        let wire = proto::Message { kind: kind as u32, ..proto::Message::default() };
        assert_eq!(from_wire(wire), Err(Bad::Kind(kind as u32)));
    }
    // No kind was forgotten.
    assert!((0..19).all(|kind| {
        KINDS.iter().any(|known| *known as u32 == kind)
            != local.iter().any(|known| *known as u32 == kind)
    }));
}

#[test]
fn unknown_kinds_are_errors() {
    for kind in [19, 255, u32::MAX] {
        let wire = proto::Message { kind, ..proto::Message::default() };
        assert_eq!(from_wire(wire), Err(Bad::Kind(kind)));
        let entries = vec![proto::LogEntry { kind, index: 7, ..proto::LogEntry::default() }];
        let kind_append = MessageType::MsgAppend as u32;
        let wire = proto::Message { kind: kind_append, entries, ..proto::Message::default() };
        assert_eq!(from_wire(wire), Err(Bad::Entry { index: 7, kind }));
    }
}

#[test]
fn messages_of_others_spoil_the_envelope() {
    let mut sent = message(MessageType::MsgHeartbeat, &mut rng());
    (sent.from, sent.to) = (1, 2);
    let wire = to_wire(sent.clone()).unwrap();
    let envelope = || proto::Envelope { messages: vec![wire.clone(), wire.clone()] };
    assert_eq!(from_envelope(envelope(), 1, 2), Ok(vec![sent.clone(), sent]));
    assert_eq!(from_envelope(envelope(), 3, 2), Err(Bad::Nodes { from: 1, to: 2 }));
    assert_eq!(from_envelope(envelope(), 1, 3), Err(Bad::Nodes { from: 1, to: 2 }));
}

#[test]
fn damaged_frames_never_panic_and_what_is_taken_is_sent_alike() {
    let mut rng = rng();
    let mut taken = 0;
    for _ in 0..3000 {
        let kind = KINDS[rng.usize(..KINDS.len())];
        let messages = vec![to_wire(message(kind, &mut rng)).unwrap()];
        let mut frame = proto::Envelope { messages }.encode_to_vec();
        for _ in 0..rng.usize(..4) {
            let at = rng.usize(..frame.len());
            frame[at] ^= 1 << rng.u8(..8);
        }
        if rng.u8(..8) == 0 {
            frame.truncate(rng.usize(..frame.len()));
        }
        let Ok(envelope) = proto::Envelope::decode(Bytes::from(frame)) else { continue };
        for wire in envelope.messages {
            if let Ok(message) = from_wire(wire.clone()) {
                assert_eq!(to_wire(message), Some(wire));
                taken += 1;
            }
        }
    }
    assert!(taken > 100, "only {taken} frames were taken");
}

#[test]
fn an_entry_is_a_slice_of_its_frame() {
    let mut sent = message(MessageType::MsgAppend, &mut rng());
    let entry = Entry { data: Bytes::from(vec![7; 1000]), ..Entry::default() };
    sent.set_entries(vec![entry].into());
    let frame = Bytes::from(to_wire(sent).unwrap().encode_to_vec());
    let range = frame.as_ptr() as usize..frame.as_ptr() as usize + frame.len();
    let got = from_wire(proto::Message::decode(frame).unwrap()).unwrap();
    assert!(range.contains(&(got.get_entries()[0].data.as_ptr() as usize)));
}

#[test]
fn long_appends_are_split_into_appends_that_follow_each_other() {
    let mut rng = rng();
    for _ in 0..200 {
        let mut sent = message(MessageType::MsgAppend, &mut rng);
        (sent.index, sent.log_term) = (10, 2);
        let count = rng.u64(..20);
        let entries: Vec<_> = (0..count)
            .map(|offset| {
                let mut entry = entry(&mut rng);
                (entry.index, entry.term) = (11 + offset, 2 + offset / 4);
                entry
            })
            .collect();
        sent.set_entries(entries.clone().into());
        let bytes_max = rng.usize(64..1000);
        let mut parts = Vec::new();
        split(sent.clone(), bytes_max, |part| parts.push(part));
        let (mut index, mut term, mut joined) = (10, 2, Vec::new());
        for part in &parts {
            assert_eq!((part.index, part.log_term), (index, term));
            assert!(size(part) <= bytes_max || part.get_entries().len() <= 1);
            assert_eq!((part.commit, part.term), (sent.commit, sent.term));
            joined.extend(part.get_entries().iter().cloned());
            if let Some(last) = joined.last() {
                (index, term) = (last.index, last.term);
            }
        }
        assert_eq!(joined, entries);
        assert!(parts.len() > 1 || size(&sent) <= bytes_max || count <= 1);
    }
}
