//! Applying: outcomes, refusals, and that pieces and losses make no difference.

use lsm_log::fs::{CrashFs, CrashImage};
use raft::eraftpb::{ConfState, Entry};

use super::hash::HashJob;
use super::machine::{BATCH_BYTES, HASH_JOBS_MAX, UNFLUSHED_MAX};
use super::test_log::{Log, TERM, change, entry, founders, identify, put, put_in};
use super::test_state::{Picture, founder, hash, in_memory, open, picture};
use crate::command::{Command, Op};
use crate::config::SESSIONS_MAX;
use crate::error::Error;
use crate::members::{Change, Members};
use crate::outcome::Outcome;

#[test]
fn founders_start_alike() {
    let fs = in_memory();
    let mut machine = open(&fs, 1);
    assert_eq!((machine.applied(), machine.flushed_index()), ((0, 0), 0));
    assert_eq!(machine.conf_state(), ConfState::default());
    assert!(machine.checkpoint().is_err(), "there is nothing to send");
    assert!(machine.bootstrap(Members::default()).is_err(), "nobody would vote");
    machine.bootstrap(founders()).unwrap();
    assert_eq!((machine.applied(), machine.flushed_index()), ((1, 1), 1));
    assert_eq!(machine.conf_state(), ConfState::from((vec![1, 2, 3], vec![])));
    assert_eq!(*machine.members(), founders());
    assert!(machine.bootstrap(founders()).is_err(), "once is enough");
    let (first, other) = (picture(&machine), picture(&founder(&in_memory(), 2)));
    assert_eq!(first, other);
    machine.close().unwrap();
    assert_eq!(picture(&open(&fs, 3)), first);
}

#[test]
fn commands_have_their_outcomes() {
    let mut machine = founder(&in_memory(), 1);
    let ops = vec![
        Op::Put { key: b"k", value: b"1" },
        Op::Put { key: b"k", value: b"2" },
        Op::Delete { key: b"gone" },
    ];
    let long = vec![0; lsm_core::KEY_LEN_MAX + 1];
    let entries = [
        entry(2, &[]),
        entry(3, &[Command::OpenSession, put(b"gone", b"x"), Command::OpenSession]),
        entry(4, &[Command::Write { session: None, ops }, put_in(1, 1, b"a", b"1")]),
        entry(5, &[put_in(1, 1, b"a", b"2"), put_in(1, 3, b"a", b"3"), put_in(1, 2, b"a", b"4")]),
        entry(6, &[put_in(9, 1, b"a", b"5"), put_in(2, 1, &long, b""), put_in(2, 1, &long, b"")]),
        entry(7, &[identify(1, 8), identify(1, 9), identify(7, 1), Command::Hash]),
        entry(8, &[Command::Found { cluster_id: 5 }, Command::Found { cluster_id: 6 }]),
        entry(9, &[put_in(2, 1, b"b", b"")]),
    ];
    let outcomes = machine.apply(&entries, &[]).unwrap();
    let written = |index| Outcome::Written { index };
    let opened = |id| Outcome::SessionOpened { id };
    assert_eq!(outcomes[0], (2, vec![]));
    assert_eq!(outcomes[1], (3, vec![opened(1), written(3), opened(2)]));
    assert_eq!(outcomes[2], (4, vec![written(4), written(4)]));
    let passed = Outcome::SessionPassed { last: 3 };
    assert_eq!(outcomes[3], (5, vec![written(4), written(5), passed]));
    assert_eq!((outcomes[4].0, &outcomes[4].1[0]), (6, &Outcome::SessionUnknown));
    for refused in &outcomes[4].1[1..] {
        assert!(matches!(refused, Outcome::Invalid(why) if why.contains("65536")), "{refused:?}");
    }
    assert_eq!(outcomes[5].1[0], Outcome::Identified);
    assert!(matches!(&outcomes[5].1[1], Outcome::Impostor(why) if why.contains("lost its disk")));
    assert!(matches!(&outcomes[5].1[2], Outcome::Impostor(why) if why.contains("no member")));
    assert_eq!(outcomes[5].1[3], Outcome::Hashing { index: 7 });
    let founded = Outcome::Founded { cluster_id: 5 };
    assert_eq!(outcomes[6].1, [founded.clone(), founded], "the first id stays");
    assert_eq!(outcomes[7].1, [written(9)], "a refused write does not use up its number");
    assert_eq!(machine.members().origin.cluster_id, Some(5));

    let reader = machine.reader();
    let get = |key: &str| reader.get(key).unwrap().map(|value| value.to_vec());
    assert_eq!((get("k"), get("a"), get("gone")), (Some(b"2".to_vec()), Some(b"3".to_vec()), None));
    assert_eq!((reader.applied(), machine.applied()), (9, (9, TERM)));
    assert_eq!(reader.members().nodes[&1].incarnation, Some(8));
    assert_eq!(reader.members().origin, machine.members().origin);
    assert_eq!(reader.members().nodes[&1].peer_address, "i1:1");
    let jobs = machine.take_hash_jobs();
    assert_eq!((jobs.len(), jobs[0].index()), (1, 7));
}

#[test]
fn members_change_with_the_configuration() {
    let mut machine = founder(&in_memory(), 1);
    let learner =
        |node| Change::AddLearner { node, peer_address: "p".into(), client_address: "c".into() };
    let mut joint = ConfState::from((vec![4, 2, 1], vec![]));
    joint.voters_outgoing = vec![3, 1, 2];
    joint.auto_leave = true;
    let after = ConfState::from((vec![1, 2, 4], vec![]));
    let entries = [
        change(2, &[learner(4)]),
        change(3, &[learner(5)]),
        change(4, &[Change::Promote { node: 4 }, Change::Remove { node: 3 }]),
        change(5, &[]),
        entry(6, &[identify(3, 1)]),
        change(7, &[Change::Promote { node: 9 }]),
    ];
    let conf = [
        (2, ConfState::from((vec![3, 1, 2], vec![4]))),
        (4, joint.clone()),
        (5, after.clone()),
        (7, after.clone()),
    ];
    let outcomes = machine.apply(&entries[..3], &conf).unwrap();
    assert_eq!(outcomes[0].1, [Outcome::Changed(Ok(2))]);
    assert!(matches!(&outcomes[1].1[..], [Outcome::Changed(Err(_))]), "raft refused");
    assert_eq!(outcomes[2].1, [Outcome::Changed(Ok(4))]);
    joint.voters = vec![1, 2, 4];
    joint.voters_outgoing = vec![1, 2, 3];
    assert_eq!(machine.conf_state(), joint);
    let outcomes = machine.apply(&entries[3..], &conf).unwrap();
    assert_eq!(outcomes[0].1, [Outcome::Changed(Ok(5))]);
    assert!(matches!(&outcomes[1].1[..], [Outcome::Impostor(why)] if why.contains("removed")));
    let why = "node 9 is no member".to_owned();
    assert_eq!(outcomes[2].1, [Outcome::Changed(Err(why))]);
    assert_eq!(machine.conf_state(), after);
    let ids: Vec<u64> = machine.members().nodes.keys().copied().collect();
    assert_eq!(ids, [1, 2, 4]);
    assert!(machine.members().removed.contains(&3));
}

#[test]
fn what_is_not_the_next_entry_is_refused_for_good() {
    let garbage = |index| Entry { index, term: TERM, data: vec![9; 40].into(), ..Entry::default() };
    let mut bad_change = change(2, &[]);
    bad_change.context = vec![9].into();
    let mut old = entry(2, &[]);
    old.term = 0;
    let mut half = entry(2, &[put(b"k", b"v")]);
    half.data = [&half.data[..], &[77]].concat().into();
    let bad =
        [entry(1, &[]), entry(3, &[]), entry(u64::MAX, &[]), garbage(2), bad_change, old, half];
    for bad in bad {
        let fs = in_memory();
        let mut machine = founder(&fs, 1);
        let error = machine.apply(std::slice::from_ref(&bad), &[]).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
        assert!(error.to_string().contains(&format!("entry {}", bad.index)), "{error}");
        assert!(machine.apply(&[entry(2, &[])], &[]).is_err(), "not usable after an error");
        assert!(machine.reader().get("k").unwrap().is_none());
        drop(machine);
        let mut machine = open(&fs, 1);
        assert_eq!(machine.applied(), (1, 1));
        machine.apply(&[entry(2, &[])], &[]).unwrap();
    }
}

/// Applies a log in random pieces to a state that loses its memory now and then.
fn apply_with_losses(log: &Log, seed: u64) -> (Vec<(u64, Vec<Outcome>)>, Picture) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut fs = CrashFs::new();
    let mut machine = founder(&fs, seed);
    let mut outcomes = vec![Vec::new(); log.last() as usize + 1];
    while machine.applied().0 < log.last() {
        let entries = log.behind(machine.applied().0);
        let count = rng.usize(1..=entries.len().min(40));
        for (index, outcome) in machine.apply(&entries[..count], &log.conf).unwrap() {
            let before = &mut outcomes[index as usize];
            assert!(before.is_empty() || *before == outcome, "seed {seed}: entry {index} again");
            *before = outcome;
        }
        match rng.u8(..10) {
            0 => _ = machine.reader().db().step().unwrap(),
            1 => machine.flush().unwrap(),
            2 => {
                machine.close().unwrap();
                machine = open(&fs, seed);
            }
            3 | 4 => {
                let durable = machine.flushed_index();
                fs = fs.image(CrashImage::Torn { seed: rng.u64(..) });
                machine = open(&fs, seed);
                assert!(machine.applied().0 >= durable, "seed {seed}");
            }
            _ => {}
        }
    }
    let outcomes = outcomes.into_iter().zip(0..).skip(2).map(|(o, i)| (i, o)).collect();
    (outcomes, picture(&machine))
}

#[test]
fn pieces_and_losses_make_no_difference() {
    for seed in 0..30 {
        let log = Log::random(seed, 150, 2000);
        let mut machine = founder(&in_memory(), 0);
        let expected = machine.apply(&log.entries, &log.conf).unwrap();
        let expected = (expected, picture(&machine));
        let hashes = machine.take_hash_jobs().into_iter().map(|job| (job.index(), job));
        let hashes: Vec<_> = hashes.map(|(index, job)| (index, job.run().unwrap())).collect();

        let mut machine = founder(&in_memory(), 1);
        let mut single = Vec::new();
        for entry in &log.entries {
            single.extend(machine.apply(std::slice::from_ref(entry), &log.conf).unwrap());
            if let Some((_, expected)) = hashes.iter().find(|(index, _)| *index == entry.index) {
                assert_eq!(hash(&machine), *expected, "seed {seed}: entry {}", entry.index);
            }
        }
        assert!((single, picture(&machine)) == expected, "seed {seed}: one by one");
        assert!(apply_with_losses(&log, seed) == expected, "seed {seed}: with losses");
    }
}

#[test]
fn many_bytes_are_written_in_several_batches() {
    let mut machine = founder(&in_memory(), 1);
    let before = machine.reader().db().last_sequence().get();
    let value = vec![b'x'; BATCH_BYTES / 2];
    let entries: Vec<_> = (2..6).map(|index| entry(index, &[put(b"k", &value)])).collect();
    machine.apply(&entries, &[]).unwrap();
    // One put each, and one applied row a batch: two of them fill one.
    assert_eq!(machine.reader().db().last_sequence().get(), before + 4 + 2);
    let small: Vec<_> = (6..100).map(|index| entry(index, &[put(b"k", b"v")])).collect();
    machine.apply(&small, &[]).unwrap();
    assert_eq!(machine.reader().db().last_sequence().get(), before + 6 + 94 + 1);
}

#[test]
fn the_flushed_index_follows_the_tables() {
    let mut machine = founder(&in_memory(), 1);
    for index in 2..10 {
        machine.apply(&[entry(index, &[put(b"k", b"v")])], &[]).unwrap();
        assert_eq!(machine.flushed_index(), 1);
        if index == 6 {
            let reader = machine.reader();
            reader.db().flush().unwrap();
            assert_eq!(machine.flushed_index(), 6);
            break;
        }
    }
    // Also with more batches than are remembered, only not as exactly.
    let last = 6 + 3 * UNFLUSHED_MAX as u64;
    for index in 7..=last {
        machine.apply(&[entry(index, &[])], &[]).unwrap();
        assert!((6..=index).contains(&machine.flushed_index()));
    }
    assert_eq!(machine.flushed_index(), 6);
    machine.flush().unwrap();
    assert_eq!(machine.flushed_index(), last);
    machine.apply(&[entry(last + 1, &[put(b"k", b"w")])], &[]).unwrap();
    assert_eq!(machine.flushed_index(), last);
}

#[test]
fn the_flushed_index_is_what_a_power_loss_leaves() {
    let mut partly = 0;
    for seed in 0..20 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let fs = CrashFs::new();
        let mut machine = founder(&fs, seed);
        for index in 2..80 {
            let value = vec![7; rng.usize(..6000)];
            machine.apply(&[entry(index, &[put(b"k", &value)])], &[]).unwrap();
            if rng.u8(..4) == 0 {
                machine.reader().db().step().unwrap();
            }
            let left = open(&fs.image(CrashImage::Lost), seed).applied().0;
            assert_eq!(machine.flushed_index(), left, "seed {seed}: entry {index}");
            partly += u32::from(left > 1 && left < index);
        }
    }
    assert!(partly > 100, "some of it was flushed {partly} times");
}

#[test]
fn too_many_sessions_push_out_the_oldest_for_good() {
    let fs = in_memory();
    let mut machine = founder(&fs, 1);
    let opens = vec![Command::OpenSession; SESSIONS_MAX];
    machine.apply(&[entry(2, &opens)], &[]).unwrap();
    let use_first = put_in(1, 1, b"k", b"v");
    machine
        .apply(&[entry(3, &[use_first, Command::OpenSession, Command::OpenSession])], &[])
        .unwrap();
    for _ in 0..2 {
        let index = machine.applied().0 + 1;
        let requests =
            [1, 2, 3, 4, SESSIONS_MAX as u64 + 2].map(|id| put_in(id, index, b"k", b"v"));
        let outcomes = machine.apply(&[entry(index, &requests)], &[]).unwrap();
        let (unknown, written) = (Outcome::SessionUnknown, Outcome::Written { index });
        let expected = [&written, &unknown, &unknown, &written, &written];
        assert!(outcomes[0].1.iter().eq(expected), "{outcomes:?}");
        machine.close().unwrap();
        machine = open(&fs, 1);
    }
    let db = machine.reader().db();
    let rows = db.keyspace("raft", None).unwrap();
    // Sixteen a row, from id 1 on.
    assert_eq!(rows.prefix("s").count(), SESSIONS_MAX / 16 + 1);
}

#[test]
fn hashes_tell_states_apart() {
    let of = |commands: &[Command<'_>]| {
        let mut machine = founder(&in_memory(), 1);
        machine.apply(&[entry(2, commands)], &[]).unwrap();
        hash(&machine)
    };
    let states: [&[Command<'_>]; 9] = [
        &[],
        &[put(b"", b"")],
        &[put(b"a", b"")],
        &[put(b"", b"a")],
        &[put(b"a", b""), put(b"b", b"")],
        &[put(b"ab", b"")],
        &[Command::OpenSession],
        &[Command::OpenSession, put_in(1, 1, b"a", b"")],
        &[identify(1, 1)],
    ];
    let mut hashes: Vec<u128> = states.iter().map(|commands| of(commands)).collect();
    let gone = Command::Write { session: None, ops: vec![Op::Delete { key: b"a" }] };
    assert_eq!(of(&[put(b"a", b"1"), gone]), hashes[0], "what is gone leaves no trace");
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), states.len());
}

#[test]
fn hashes_stay_the_same_between_versions() {
    // Nodes of two versions must agree while a group is being upgraded.
    let mut machine = founder(&in_memory(), 1);
    let commands = [Command::OpenSession, put_in(1, 1, b"key", b"value"), identify(1, 7)];
    machine.apply(&[entry(2, &commands), change(3, &[])], &[]).unwrap();
    let mut members = Vec::new();
    machine.members().encode(&mut members);
    let parts: [&[(&[u8], &[u8])]; 2] = [
        &[(b"key", b"value")],
        &[
            (b"a", &[1, 3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
            (b"c", &[3, 1, 2, 3, 0, 0, 0, 0]),
            (b"m", &members),
            (b"s\0\0\0\0\0\0\0\0", &[1, 1, 2]),
        ],
    ];
    let mut fed = Vec::new();
    for part in parts {
        for (key, value) in part {
            fed.extend((key.len() as u64).to_le_bytes());
            fed.extend((value.len() as u64).to_le_bytes());
            fed.extend([*key, *value].concat());
        }
        fed.extend(u64::MAX.to_le_bytes());
        fed.extend((part.len() as u64).to_le_bytes());
    }
    assert_eq!(hash(&machine), xxhash_rust::xxh3::xxh3_128(&fed));
    assert_eq!(hash(&machine), 133_043_889_114_967_510_881_220_807_298_120_843_049);
}

#[test]
fn a_hash_is_of_its_index_whenever_it_is_made() {
    let mut machine = founder(&in_memory(), 1);
    machine.apply(&[entry(2, &[Command::Hash, put(b"k", b"2")])], &[]).unwrap();
    let expected = hash(&machine);
    let job = machine.take_hash_jobs().pop().unwrap();
    for index in 3..60 {
        machine.apply(&[entry(index, &[put(b"k", &[7; 5000]), Command::Hash])], &[]).unwrap();
    }
    machine.reader().db().compact_range::<&[u8]>(..).unwrap();
    assert_eq!((job.index(), job.run().unwrap()), (2, expected));
    let jobs = machine.take_hash_jobs();
    let indexes: Vec<u64> = jobs.iter().map(HashJob::index).collect();
    assert_eq!(indexes, Vec::from_iter(60 - HASH_JOBS_MAX as u64..60), "the newest are kept");
}
