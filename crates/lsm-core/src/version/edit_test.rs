use lsm_log::error::ErrorKind;

use super::*;
use crate::version::fields::TAG_OPTIONAL;

fn meta(number: u64) -> TableMeta {
    TableMeta {
        number: FileNumber(number),
        bytes: 70_000,
        smallest: b"ant".to_vec(),
        largest: b"bee".to_vec(),
        seq_min: SeqNo(3),
        seq_max: SeqNo(300),
        entries: 12,
        tombstones: 2,
        raw_bytes: 90_000,
        shadowed: Shadowed::default(),
    }
}

const SHADOWED: Shadowed = Shadowed { entries: 3, bytes: 70, by: SeqNo(250) };

fn full() -> Edit {
    Edit {
        database_id: Some(0x0123_4567_89ab_cdef),
        next_file: Some(FileNumber(12)),
        flushed_seq: Some(SeqNo(200)),
        log_start: Some(Lsn(4096)),
        add_logs: vec![(FileNumber(10), 1 << 25), (FileNumber(11), 64)],
        drop_logs: vec![FileNumber(7), FileNumber(8)],
        log_closed: Some(Lsn(8192)),
        next_keyspace: Some(KeyspaceId(301)),
        create_keyspaces: vec![(KeyspaceId(1), "users".into())],
        drop_keyspaces: vec![KeyspaceId(2)],
        keyspaces: vec![
            KeyspaceEdit {
                id: KeyspaceId(1),
                flushed_seq: Some(SeqNo(200)),
                options: Some(KeyspaceOptions::default()),
                removed: vec![(0, FileNumber(4)), (6, FileNumber(5))],
                added: vec![(0, meta(6)), (6, TableMeta { shadowed: SHADOWED, ..meta(7) })],
            },
            KeyspaceEdit { id: KeyspaceId(300), ..KeyspaceEdit::default() },
        ],
        snapshot_end: true,
    }
}

fn encoded(edit: &Edit) -> Vec<u8> {
    let mut out = Vec::new();
    edit.encode(&mut out);
    out
}

fn with_table(change: impl FnOnce(&mut TableMeta)) -> Edit {
    let mut table = meta(6);
    change(&mut table);
    let keyspace = KeyspaceEdit { added: vec![(1, table)], ..KeyspaceEdit::default() };
    Edit { keyspaces: vec![keyspace], ..Edit::default() }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn edits_come_back() {
    let shadowed = Shadowed { entries: 10, bytes: 80_000, by: SeqNo(299) };
    let counted = with_table(|table| table.shadowed = shadowed);
    for edit in [Edit::default(), full(), with_table(|_| {}), counted] {
        assert_eq!(Edit::decode(&encoded(&edit)).unwrap(), edit);
    }
    assert!(encoded(&Edit::default()).is_empty());
}

/// The bytes of `docs/format.md`.
#[test]
fn bytes_are_golden() {
    let keyspace = KeyspaceEdit {
        id: KeyspaceId(1),
        flushed_seq: Some(SeqNo(200)),
        removed: vec![(0, FileNumber(4))],
        added: vec![(1, meta(6))],
        ..KeyspaceEdit::default()
    };
    let edit = Edit {
        next_file: Some(FileNumber(12)),
        drop_logs: vec![FileNumber(7)],
        log_start: Some(Lsn(4096)),
        keyspaces: vec![keyspace],
        ..Edit::default()
    };
    assert_eq!(
        hex(&encoded(&edit)),
        "02010c060280200801070c20010102c8010202000403150106f0a20403616e740362656503ac020c0290bf05"
    );
}

#[test]
fn every_cut_is_an_error_or_whole_fields() {
    let bytes = encoded(&full());
    let whole = full();
    for len in 0..bytes.len() {
        match Edit::decode(&bytes[..len]) {
            Ok(edit) => assert_eq!(encoded(&edit), bytes[..len], "cut between two fields"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt);
                assert!(error.offset().is_some_and(|offset| offset <= len as u64), "{error}");
            }
        }
    }
    assert_eq!(Edit::decode(&bytes).unwrap(), whole);
}

#[test]
fn any_bytes_decode_or_are_refused() {
    let bytes = encoded(&full());
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        match Edit::decode(&bytes) {
            Ok(edit) => assert_eq!(Edit::decode(&encoded(&edit)).unwrap(), edit),
            Err(error) => assert!(error.offset().is_some(), "{error}"),
        }
    }
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..rng.usize(0..60)).map(|_| rng.u8(..) >> rng.u8(0..7)).collect();
        let _ = Edit::decode(&bytes);
    }
}

#[test]
fn unknown_required_fields_are_unsupported_and_others_skipped() {
    for tag in (0..=0).chain(15..TAG_OPTIONAL) {
        let error = Edit::decode(&[2, 1, 12, tag, 1, 0]).unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Unsupported, Some(3)), "{tag}");
    }
    for tag in TAG_OPTIONAL..=u8::MAX {
        let edit = Edit::decode(&[2, 1, 12, tag, 1, 0]).unwrap();
        assert_eq!(edit, Edit { next_file: Some(FileNumber(12)), ..Edit::default() });
    }
    // The same inside a keyspace.
    let error = Edit::decode(&[tag::KEYSPACE, 4, 1, 9, 1, 0]).unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Unsupported, Some(3)));
    assert!(Edit::decode(&[tag::KEYSPACE, 4, 1, 66, 1, 0]).is_ok());
    // The same inside the settings of a keyspace.
    let settings = keyspace_tag::OPTIONS;
    let error = Edit::decode(&[tag::KEYSPACE, 6, 1, settings, 3, 9, 1, 0]).unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Unsupported, Some(5)));
    assert!(Edit::decode(&[tag::KEYSPACE, 6, 1, settings, 3, 99, 1, 0]).is_ok());
}

#[test]
fn counts_may_stand_in_front_of_their_table() {
    let mut keyspace = vec![1, keyspace_tag::SHADOWED, 4, 6, 3, 9, 4, keyspace_tag::ADDED];
    put_bytes(&mut keyspace, &[1, 6, 9, 1, b'a', 1, b'b', 3, 4, 5, 2, 9]);
    let mut out = vec![tag::KEYSPACE];
    put_bytes(&mut out, &keyspace);
    assert_eq!(Edit::decode(&out).unwrap().keyspaces[0].added[0].1.shadowed.entries, 3);
}

#[test]
fn limits_hold() {
    let long_name = "n".repeat(KEYSPACE_NAME_LEN_MAX + 1);
    let name = |name: &str| Edit {
        create_keyspaces: vec![(KeyspaceId(1), name.into())],
        ..Edit::default()
    };
    let bad = [
        name(""),
        name(&long_name),
        Edit { flushed_seq: Some(SeqNo(SEQ_MAX.0 + 1)), ..Edit::default() },
        Edit { log_start: Some(Lsn(u64::MAX)), ..Edit::default() },
        with_table(|table| table.largest = vec![b'z'; KEY_LEN_MAX + 1]),
    ];
    for edit in bad {
        let error = Edit::decode(&encoded(&edit)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
    let good = [
        name(&long_name[1..]),
        with_table(|table| table.largest = vec![b'z'; KEY_LEN_MAX]),
        with_table(|table| table.smallest.clear()),
    ];
    for edit in good {
        assert_eq!(Edit::decode(&encoded(&edit)).unwrap(), edit);
    }
}

/// Values that the encoder refuses, as bytes.
#[test]
fn impossible_values_are_refused() {
    let table = |value: &[u8]| {
        let mut keyspace = vec![1, keyspace_tag::ADDED];
        put_bytes(&mut keyspace, value);
        let mut out = vec![tag::KEYSPACE];
        put_bytes(&mut out, &keyspace);
        Edit::decode(&out)
    };
    let good = [1, 6, 9, 1, b'a', 1, b'b', 3, 4, 5, 2, 9];
    assert!(table(&good).is_ok());
    for (at, byte, what) in [
        (0, 7, "level"),
        (4, b'c', "smallest key"),
        (7, 5, "least sequence"),
        (10, 6, "tombstones"),
        (3, 9, "length of a key"),
    ] {
        let mut bytes = good;
        bytes[at] = byte;
        assert_eq!(table(&bytes).unwrap_err().kind(), ErrorKind::Corrupt, "{what}");
    }
    let counted = |counts: &[&[u8]]| {
        let mut keyspace = vec![1, keyspace_tag::ADDED];
        put_bytes(&mut keyspace, &good);
        for count in counts {
            keyspace.push(keyspace_tag::SHADOWED);
            put_bytes(&mut keyspace, count);
        }
        let mut out = vec![tag::KEYSPACE];
        put_bytes(&mut out, &keyspace);
        Edit::decode(&out)
    };
    let fits = counted(&[&[6, 3, 9, 4]]).unwrap();
    let shadowed = Shadowed { entries: 3, bytes: 9, by: SeqNo(4) };
    assert_eq!(fits.keyspaces[0].added[0].1.shadowed, shadowed);
    let bad_counts: [&[&[u8]]; 7] = [
        &[&[7, 3, 9, 4]],                // of another table
        &[&[6, 0, 0, 0]],                // of none
        &[&[6, 4, 9, 4]],                // more than there are puts
        &[&[6, 3, 10, 4]],               // more bytes than there are
        &[&[6, 3, 9, 5]],                // by a version that is not there
        &[&[6, 3, 9, 4], &[6, 3, 9, 4]], // twice
        &[&[6, 3, 9, 4, 0]],
    ];
    for counts in bad_counts {
        assert_eq!(counted(counts).unwrap_err().kind(), ErrorKind::Corrupt, "{counts:?}");
    }
    let bad: [&[u8]; 6] = [
        &[tag::CREATE_KEYSPACE, 4, 1, 2, 0xc3, 0x28],
        &[tag::NEXT_FILE, 2, 1, 1],
        &[tag::NEXT_FILE, 1, 1, tag::NEXT_FILE, 1, 1],
        &[tag::DATABASE_ID, 1, 1],
        &[tag::KEYSPACE, 0],
        &[tag::DROP_KEYSPACE, 5, 0xff, 0xff, 0xff, 0xff, 0x7f],
    ];
    for bytes in bad {
        let error = Edit::decode(bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{bytes:?}");
        assert!(error.offset().is_some(), "{bytes:?}");
    }
}
