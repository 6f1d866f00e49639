//! A state from another node: sent, received, refused, put in force.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lsm_core::{KeyspaceOptions, Options};
use lsm_log::fs::{Fault, FaultFs, Fs, MemFs, Op, OsFs, corrupt};

use super::machine::{StateMachine, StateOptions};
use super::test_log::{Log, entry, put};
use super::test_state::{DIR, founder, in_memory, open, picture, try_open};
use crate::error::{Error, Result};
use crate::snapshot::{Header, Outgoing, Staged};

/// A state that has applied a random log up to its end.
fn sender(log: &Log) -> StateMachine {
    let mut machine = founder(&in_memory(), 3);
    machine.apply(&log.entries, &log.conf).unwrap();
    machine
}

fn send(from: &Arc<Outgoing>, to: &StateMachine) -> Result<Staged> {
    let mut incoming = to.reader().receive(from.header().clone())?;
    for piece in from.pieces() {
        incoming.write(&piece?)?;
    }
    assert_eq!(incoming.received(), from.header().bytes());
    incoming.finish()
}

fn restore(machine: &mut StateMachine, staged: Staged) -> Result<()> {
    machine.restore(machine.reader().check(staged)?)
}

fn folders(fs: &dyn Fs) -> Vec<String> {
    let mut folders = fs.list_dirs(Path::new(DIR)).unwrap();
    folders.sort();
    folders
}

#[test]
fn a_state_goes_to_old_and_new_nodes() {
    let log = Log::random(3, 200, 2000);
    let mut machine = sender(&log);
    let outgoing = Arc::new(machine.checkpoint().unwrap());
    let header = outgoing.header();
    assert_eq!((header.index, header.term), machine.applied());
    assert_eq!(header.conf_state, machine.conf_state());
    let expected = picture(&machine);
    machine.apply(&[entry(log.last() + 1, &[put(b"later", b"")])], &[]).unwrap();

    let fs = in_memory();
    let mut behind = founder(&fs, 1);
    behind.apply(&log.entries[..50], &log.conf).unwrap();
    for (receiver, fs) in [(behind, fs), {
        let fs = in_memory();
        (open(&fs, 1), fs)
    }] {
        let mut receiver = receiver;
        let reader = receiver.reader();
        let staged = send(&outgoing, &receiver).unwrap();
        assert_eq!(folders(&fs), ["state-000001", "state-000002"]);
        restore(&mut receiver, staged).unwrap();
        assert_eq!(folders(&fs), ["state-000002"]);
        assert_eq!(picture(&receiver), expected);
        assert_eq!(receiver.flushed_index(), log.last());
        assert_eq!((reader.applied(), reader.members()), (log.last(), receiver.members()));
        // It goes on from there, also after a restart.
        receiver.apply(&[entry(log.last() + 1, &[put(b"later", b"")])], &[]).unwrap();
        assert_eq!(picture(&receiver), picture(&machine));
        assert!(reader.get("later").unwrap().is_some());
        receiver.close().unwrap();
        assert_eq!(picture(&open(&fs, 1)), picture(&machine));
    }
}

#[test]
fn a_state_that_does_not_open_costs_no_other() {
    let fs = in_memory();
    founder(&fs, 1).close().unwrap();
    let received = Path::new(DIR).join("state-000002");
    fs.create_dir_all(&received).unwrap();
    fs.create(&received.join("000001.table")).unwrap();
    let current = Path::new(DIR).join("state-000001/CURRENT");
    corrupt(&fs, &current, 0, 1).unwrap();
    try_open(&fs, 1).unwrap_err();
    assert_eq!(folders(&fs), ["state-000001", "state-000002"]);
    corrupt(&fs, &current, 0, 1).unwrap();
    open(&fs, 1);
    assert_eq!(folders(&fs), ["state-000001"]);
}

#[test]
fn what_is_dropped_leaves_nothing() {
    let log = Log::random(4, 30, 500);
    let sender_fs = in_memory();
    let mut machine = founder(&sender_fs, 1);
    machine.apply(&log.entries, &log.conf).unwrap();
    let outgoing = Arc::new(machine.checkpoint().unwrap());
    assert_eq!(folders(&sender_fs), ["checkpoint-000002", "state-000001"]);
    let fs = in_memory();
    let receiver = founder(&fs, 1);
    let staged = send(&outgoing, &receiver).unwrap();
    let mut half = receiver.reader().receive(outgoing.header().clone()).unwrap();
    half.write(&outgoing.piece(0, 0).unwrap()).unwrap();
    assert_eq!(folders(&fs).len(), 3);
    drop((staged, half));
    assert_eq!(folders(&fs), ["state-000001"]);
    let pieces = outgoing.pieces();
    drop(outgoing);
    assert_eq!(folders(&sender_fs).len(), 2, "it is still being sent");
    drop(pieces);
    assert_eq!(folders(&sender_fs), ["state-000001"]);
}

/// Sends a snapshot whose header or staged files were tampered with, and expects a refusal that
/// leaves the receiver as it was.
fn refused(change: impl Fn(&mut Header), damage: impl Fn(&MemFs, &Path), words: &str) {
    let log = Log::random(5, 40, 500);
    let outgoing = Arc::new(sender(&log).checkpoint().unwrap());
    let fs = in_memory();
    let mut receiver = founder(&fs, 1);
    receiver.apply(&log.entries[..10], &log.conf).unwrap();
    let before = picture(&receiver);
    let mut header = outgoing.header().clone();
    change(&mut header);
    let mut incoming = receiver.reader().receive(header).unwrap();
    for piece in outgoing.pieces() {
        incoming.write(&piece.unwrap()).unwrap();
    }
    let staged = incoming.finish().unwrap();
    damage(&fs, staged.dir());
    let error = restore(&mut receiver, staged).unwrap_err();
    assert!(error.to_string().contains(words), "{error}");
    assert_eq!(folders(&fs), ["state-000001"]);
    assert_eq!(picture(&receiver), before);
    receiver.apply(log.behind(before.index()), &log.conf).unwrap();
}

#[test]
fn a_state_that_is_not_what_it_should_be_is_refused() {
    refused(|header| header.index += 1, |_, _| {}, "it is of index 41");
    refused(|header| header.term += 1, |_, _| {}, "it is of index 41");
    refused(|header| header.conf_state.voters.push(99), |_, _| {}, "99");
    refused(|header| header.index = 5, |_, _| {}, "not ahead");
    let hit = |suffix: &'static str, nth: usize| {
        move |fs: &MemFs, dir: &Path| {
            let mut names = fs.list(dir).unwrap();
            names.retain(|name| name.ends_with(suffix));
            names.sort();
            corrupt(fs, &dir.join(&names[nth]), 5, 1).unwrap();
        }
    };
    // The user's, and that of our rows.
    refused(|_| {}, hit(".table", 0), "checksum");
    refused(|_| {}, hit(".table", 1), "checksum");
    refused(|_| {}, hit(".manifest", 0), "manifest");
    refused(|_| {}, hit("CURRENT", 0), "CURRENT");
    refused(|_| {}, |fs, dir| fs.remove(&dir.join("CURRENT")).unwrap(), "CURRENT");
}

#[test]
fn a_state_of_another_folder_is_refused() {
    let log = Log::random(5, 40, 500);
    let outgoing = Arc::new(sender(&log).checkpoint().unwrap());
    let (mut receiver, other) = (founder(&in_memory(), 1), {
        let fs = Arc::new(in_memory());
        let engine = super::test_log::engine(1);
        StateMachine::open(StateOptions { engine, fs }, Path::new("elsewhere")).unwrap()
    });
    let staged = send(&outgoing, &other).unwrap();
    let checked = other.reader().check(staged).unwrap();
    assert!(matches!(receiver.restore(checked), Err(Error::Invalid(_))));
    receiver.apply(&log.entries, &log.conf).unwrap();
}

#[test]
fn after_a_failed_switch_only_the_disk_knows() {
    let log = Log::random(6, 40, 500);
    let machine = sender(&log);
    let outgoing = Arc::new(machine.checkpoint().unwrap());
    for op in [Op::Create, Op::Write, Op::Sync, Op::Rename, Op::SyncDir] {
        let fs = FaultFs::new(Arc::new(in_memory()));
        let mut receiver = founder(&fs, 1);
        let staged = send(&outgoing, &receiver).unwrap();
        let fault = Fault::error(op, std::io::ErrorKind::Other);
        // The second sync of the folder is the one behind the rename.
        fs.inject(match op {
            Op::SyncDir => fault.on(DIR).after(1),
            _ => fault.on("state/CURRENT.new"),
        });
        restore(&mut receiver, staged).unwrap_err();
        assert!(receiver.apply(&log.entries, &log.conf).is_err(), "{op:?}");
        drop(receiver);
        let mut receiver = open(&fs, 1);
        assert_eq!(receiver.applied().0, if op == Op::SyncDir { log.last() } else { 1 }, "{op:?}");
        receiver.apply(log.behind(receiver.applied().0), &log.conf).unwrap();
        assert_eq!(picture(&receiver), picture(&machine), "{op:?}");
    }
}

/// Lets the other threads end, also if this one has failed.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn readers_notice_nothing_but_the_progress() {
    let threads = || {
        let keyspace = KeyspaceOptions::default().write_buffer_bytes(64 << 10);
        let engine = Options::default().default_keyspace(keyspace);
        let options = StateOptions { engine, fs: Arc::new(in_memory()) };
        let mut machine = StateMachine::open(options, Path::new(DIR)).unwrap();
        machine.bootstrap(super::test_log::founders()).unwrap();
        machine
    };
    let write = |machine: &mut StateMachine, index: u64| {
        let value = index.to_be_bytes().repeat(100);
        let keys: Vec<_> = (0..20_u8).map(|key| [key]).collect();
        let puts: Vec<_> = keys.iter().map(|key| put(key, &value)).collect();
        machine.apply(&[entry(index, &puts)], &[]).unwrap();
    };
    let (mut leader, mut follower) = (threads(), threads());
    write(&mut leader, 2);
    write(&mut follower, 2);
    let (reader, done) = (follower.reader(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _stop = StopAtEnd(&done);
        for thread in 0..2_u8 {
            let (reader, done) = (&reader, &done);
            scope.spawn(move || {
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    let at_least = reader.applied();
                    let value = reader.get([thread]).unwrap().expect("it is always there");
                    let found = u64::from_be_bytes(value[..8].try_into().unwrap());
                    assert!(found >= last.max(at_least), "{found} after {last}, {at_least}");
                    last = found;
                }
            });
        }
        for round in 0..30 {
            let index = 3 + 10 * round;
            (index..index + 9).for_each(|index| write(&mut leader, index));
            let outgoing = Arc::new(leader.checkpoint().unwrap());
            let staged = send(&outgoing, &follower).unwrap();
            restore(&mut follower, staged).unwrap();
            write(&mut leader, index + 9);
            write(&mut follower, index + 9);
        }
    });
    assert_eq!(picture(&leader), picture(&follower));
}

#[test]
fn a_checkpoint_made_while_entries_are_applied_is_of_the_index_it_says() {
    let log = Log::random(9, 400, 2000);
    let keyspace = KeyspaceOptions::default().write_buffer_bytes(64 << 10);
    let engine = Options::default().default_keyspace(keyspace);
    let options = StateOptions { engine, fs: Arc::new(in_memory()) };
    let mut machine = StateMachine::open(options, Path::new(DIR)).unwrap();
    machine.bootstrap(super::test_log::founders()).unwrap();
    let (reader, done) = (machine.reader(), AtomicBool::new(false));
    let made = std::thread::scope(|scope| {
        let stop = StopAtEnd(&done);
        let made = scope.spawn(|| {
            let mut made = Vec::new();
            while !done.load(Ordering::Relaxed) && made.len() < 20 {
                made.push(Arc::new(reader.checkpoint().unwrap()));
            }
            made
        });
        for entries in log.entries.chunks(3) {
            machine.apply(entries, &log.conf).unwrap();
            std::thread::yield_now();
        }
        drop(stop);
        made.join().unwrap()
    });
    for outgoing in &made {
        let mut receiver = open(&in_memory(), 1);
        let staged = send(outgoing, &receiver).unwrap();
        restore(&mut receiver, staged).unwrap();
        let mut model = founder(&in_memory(), 1);
        let count = outgoing.header().index as usize - 1;
        model.apply(&log.entries[..count], &log.conf).unwrap();
        assert_eq!(picture(&receiver), picture(&model));
    }
}

#[test]
fn a_state_moves_on_a_real_disk() {
    let temporary = tempfile::tempdir().unwrap();
    let open = |name: &str| {
        let options = StateOptions { engine: Options::default(), fs: Arc::new(OsFs) };
        StateMachine::open(options, &temporary.path().join(name)).unwrap()
    };
    let log = Log::random(10, 100, 500);
    let (mut leader, mut follower) = (open("a"), open("b"));
    leader.bootstrap(super::test_log::founders()).unwrap();
    leader.apply(&log.entries, &log.conf).unwrap();
    let outgoing = Arc::new(leader.checkpoint().unwrap());
    let staged = send(&outgoing, &follower).unwrap();
    restore(&mut follower, staged).unwrap();
    drop(outgoing);
    let expected = picture(&leader);
    assert_eq!(picture(&follower), expected);
    follower.close().unwrap();
    leader.close().unwrap();
    assert_eq!((picture(&open("a")), picture(&open("b"))), (expected.clone(), expected));
    for (node, state) in [("a", "state-000001"), ("b", "state-000002")] {
        assert_eq!(OsFs.list_dirs(&temporary.path().join(node)).unwrap(), [state]);
    }
}

#[test]
fn a_damaged_state_is_offered_to_nobody_and_replaced_by_a_good_one_of_its_index() {
    let log = Log::random(6, 200, 2000);
    let good = Arc::new(sender(&log).checkpoint().unwrap());
    let fs = in_memory();
    let mut machine = founder(&fs, 3);
    machine.apply(&log.entries, &log.conf).unwrap();
    machine.flush().unwrap();
    let same = send(&good, &machine).unwrap();
    let error = machine.reader().check(same).unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    machine.close().unwrap();

    // In the first block of its largest table.
    let dir = Path::new(DIR).join("state-000001");
    let mut tables: Vec<_> =
        fs.list(&dir).unwrap().into_iter().map(|name| dir.join(name)).collect();
    tables.retain(|path| path.extension().is_some_and(|extension| extension == "table"));
    let table = tables.iter().max_by_key(|path| fs.len(path).unwrap()).unwrap();
    corrupt(&fs, table, 100, 1).unwrap();
    let mut machine = open(&fs, 3);
    let reader = machine.reader();
    assert!(!reader.is_damaged());
    let error = machine.checkpoint().unwrap_err().to_string();
    assert!(error.contains(".table"), "{error}");
    assert!(reader.is_damaged());
    let staged = send(&good, &machine).unwrap();
    restore(&mut machine, staged).unwrap();
    assert!(!reader.is_damaged());
    assert_eq!(picture(&machine), picture(&sender(&log)));
    machine.checkpoint().unwrap();
}
