use std::path::PathBuf;

use lsm_core::fs::{CrashFs, CrashImage, MemFs};

use super::super::test_log::{Log, TERM, change, engine, entry, founders, identify, put, put_in};
use super::*;
use crate::command::{Command, Op};
use crate::members::Change;

fn dir() -> PathBuf {
    PathBuf::from("node/state")
}

fn open(fs: &Arc<dyn Fs>, seed: u64) -> StateMachine {
    let options = StateOptions { engine: engine(seed), fs: Arc::clone(fs) };
    StateMachine::open(options, &dir()).unwrap()
}

/// A founder's state on a new file system.
fn founder(fs: &Arc<dyn Fs>, seed: u64) -> StateMachine {
    let mut machine = open(fs, seed);
    machine.bootstrap(founders()).unwrap();
    machine
}

fn in_memory() -> Arc<dyn Fs> {
    Arc::new(MemFs::new())
}

fn hash(machine: &StateMachine) -> u128 {
    machine.hash_job().unwrap().run().unwrap()
}

/// What two nodes at the same index must agree on.
#[derive(Debug, PartialEq)]
struct Picture {
    applied: (u64, u64),
    conf: ConfState,
    members: Members,
    hash: u128,
}

fn picture(machine: &StateMachine) -> Picture {
    Picture {
        applied: machine.applied(),
        conf: machine.conf_state(),
        members: Members::clone(&machine.members()),
        hash: hash(machine),
    }
}

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
        entry(6, &[put_in(9, 1, b"a", b"5"), put_in(2, 1, &long, b""), put_in(2, 1, b"b", b"")]),
        entry(7, &[identify(1, 8), identify(1, 9), identify(7, 1), Command::Hash]),
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
    assert!(matches!(&outcomes[4].1[1], Outcome::Invalid(why) if why.contains("65536")));
    assert_eq!(outcomes[4].1[2], written(6), "a refused write does not use up its number");
    assert_eq!(outcomes[5].1[0], Outcome::Identified);
    assert!(matches!(&outcomes[5].1[1], Outcome::Impostor(why) if why.contains("lost its disk")));
    assert!(matches!(&outcomes[5].1[2], Outcome::Impostor(why) if why.contains("no member")));
    assert_eq!(outcomes[5].1[3], Outcome::Hashing { index: 7 });

    let reader = machine.reader();
    let get = |key: &str| reader.get(key).unwrap().map(|value| value.to_vec());
    assert_eq!((get("k"), get("a"), get("gone")), (Some(b"2".to_vec()), Some(b"3".to_vec()), None));
    assert_eq!((reader.applied(), machine.applied()), (7, (7, TERM)));
    assert_eq!(reader.members().nodes[&1].incarnation, Some(8));
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
    let mut machine = founder(&(Arc::new(fs.clone()) as Arc<dyn Fs>), seed);
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
                machine = open(&(Arc::new(fs.clone()) as Arc<dyn Fs>), seed);
            }
            3 | 4 => {
                let durable = machine.flushed_index();
                fs = fs.image(CrashImage::Torn { seed: rng.u64(..) });
                machine = open(&(Arc::new(fs.clone()) as Arc<dyn Fs>), seed);
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
