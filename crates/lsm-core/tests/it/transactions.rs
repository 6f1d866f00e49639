//! Transactions: each anomaly that serializable isolation rules out, by name, and what else their
//! calls promise. Random ones are in `serializability`.

use lsm_core::fs::MemFs;
use lsm_core::{Db, Error, ErrorKind, Options, Transaction};

use crate::seeds;

fn db() -> Db {
    Options::default().fs(std::sync::Arc::new(MemFs::new())).open(seeds::dir()).unwrap()
}

fn got(tx: &Transaction, key: &str) -> Option<String> {
    tx.get(key).unwrap().map(|value| String::from_utf8(value.to_vec()).unwrap())
}

fn keys(tx: &Transaction) -> Vec<String> {
    tx.iter().map(|entry| String::from_utf8(entry.unwrap().0.into_vec()).unwrap()).collect()
}

/// The key that a conflict is about.
fn conflict(committed: Result<lsm_core::SeqNo, Error>) -> String {
    let error = committed.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    error.to_string().split('"').nth(1).unwrap().to_owned()
}

#[test]
fn lost_update() {
    let db = db();
    db.put("n", "1").unwrap();
    let (a, b) = (db.transaction(), db.transaction());
    for tx in [&a, &b] {
        let next = got(tx, "n").unwrap().parse::<u32>().unwrap() + 1;
        tx.put("n", next.to_string()).unwrap();
    }
    a.commit().unwrap();
    assert_eq!(conflict(b.commit()), "n");
    assert_eq!(db.get("n").unwrap().unwrap(), b"2"[..]);
    assert_eq!((db.stats().commits, db.stats().conflicts), (1, 1));
}

#[test]
fn write_skew() {
    let db = db();
    for doctor in ["ann", "bob"] {
        db.put(doctor, "on call").unwrap();
    }
    let (a, b) = (db.transaction(), db.transaction());
    for (tx, own) in [(&a, "ann"), (&b, "bob")] {
        assert_eq!(tx.iter().count(), 2, "somebody stays");
        tx.delete(own).unwrap();
    }
    a.commit().unwrap();
    assert_eq!(conflict(b.commit()), "ann");
}

#[test]
fn phantom() {
    let db = db();
    let (a, b) = (db.transaction(), db.transaction());
    for (tx, own) in [(&a, "room/9-10"), (&b, "room/9-11")] {
        assert_eq!(tx.prefix("room/9").count(), 0, "the room is free");
        tx.put(own, "").unwrap();
    }
    a.commit().unwrap();
    assert_eq!(conflict(b.commit()), "room/9-10");
}

#[test]
fn a_key_that_was_missing() {
    let db = db();
    let (a, b) = (db.transaction(), db.transaction());
    for (tx, own) in [(&a, "a"), (&b, "b")] {
        assert_eq!(got(tx, "name"), None);
        tx.put("name", own).unwrap();
        tx.put(own, "").unwrap();
    }
    a.commit().unwrap();
    assert_eq!(conflict(b.commit()), "name");
    assert_eq!(db.get("b").unwrap(), None, "all or nothing");
}

/// Fekete, O'Neil, O'Neil, 2004: a deposit, a withdrawal that must not see it, and a reader that saw
/// it and not the withdrawal.
#[test]
fn read_only_anomaly() {
    let db = db();
    db.put("checking", "0").unwrap();
    db.put("saving", "0").unwrap();
    let withdrawal = db.transaction();
    assert_eq!((got(&withdrawal, "checking"), got(&withdrawal, "saving")).1.unwrap(), "0");
    let deposit = db.transaction();
    assert_eq!(got(&deposit, "saving").unwrap(), "0");
    deposit.put("saving", "20").unwrap();
    deposit.commit().unwrap();
    let report = db.transaction();
    assert_eq!((got(&report, "checking"), got(&report, "saving")).1.unwrap(), "20");
    report.commit().unwrap();
    withdrawal.put("checking", "-11").unwrap();
    assert_eq!(conflict(withdrawal.commit()), "saving");
}

#[test]
fn each_of_many_keys_was_read() {
    let db = db();
    let tx = db.transaction();
    assert_eq!(tx.multi_get(["a", "b", "c"]).unwrap(), [None, None, None]);
    tx.put("d", "").unwrap();
    db.put("b", "").unwrap();
    assert_eq!(conflict(tx.commit()), "b");
}

#[test]
fn whoever_only_writes_conflicts_too() {
    let db = db();
    let tx = db.transaction();
    tx.put("k", "mine").unwrap();
    db.put("k", "theirs").unwrap();
    assert_eq!(conflict(tx.commit()), "k");
}

#[test]
fn whoever_only_reads_never_conflicts() {
    let db = db();
    db.put("k", "1").unwrap();
    let tx = db.transaction();
    assert_eq!(got(&tx, "k").unwrap(), "1");
    db.put("k", "2").unwrap();
    assert_eq!(got(&tx, "k").unwrap(), "1", "it stands still");
    assert_eq!(tx.commit().unwrap(), tx.sequence());
}

/// A job queue: who takes the first does not mind who appends.
#[test]
fn what_lies_behind_the_last_step_was_not_read() {
    let db = db();
    for n in 1..=3 {
        db.put(format!("job/{n}"), "").unwrap();
    }
    let take = |tx: &Transaction| {
        let (first, _) = tx.prefix("job/").next().unwrap().unwrap();
        tx.delete(&first).unwrap();
        first
    };
    let tx = db.transaction();
    assert_eq!(&*take(&tx), b"job/1");
    db.put("job/4", "").unwrap();
    db.put("job/2", "changed").unwrap();
    tx.commit().unwrap();
    let (a, b) = (db.transaction(), db.transaction());
    assert_eq!(take(&a), take(&b));
    b.commit().unwrap();
    assert_eq!(conflict(a.commit()), "job/2");
    // Before the first one lies a gap that was read.
    let tx = db.transaction();
    take(&tx);
    db.put("job/0", "").unwrap();
    assert_eq!(conflict(tx.commit()), "job/0");
}

/// A cursor that turns has still read what it turned back over.
#[test]
fn what_a_cursor_turned_back_over_was_read() {
    for turned in [false, true] {
        let db = db();
        ["b", "d", "f", "h"].iter().for_each(|key| db.put(key, "").unwrap());
        let tx = db.transaction();
        let mut cursor = tx.cursor();
        if turned {
            assert!(cursor.seek_back("g").unwrap() && cursor.prev().unwrap());
            assert!(cursor.prev().unwrap() && cursor.next().unwrap());
        } else {
            assert!(cursor.seek("a").unwrap() && cursor.next().unwrap());
            assert!(cursor.next().unwrap() && cursor.prev().unwrap());
        }
        assert_eq!(cursor.key(), Some(&b"d"[..]));
        tx.put("x", "").unwrap();
        db.put(if turned { "e" } else { "c" }, "").unwrap();
        assert_eq!(conflict(tx.commit()), if turned { "e" } else { "c" });
    }
}

#[test]
fn changes_are_found_wherever_they_are_stored() {
    let db = db();
    let flushed = |db: &Db| db.flush().unwrap();
    let compacted = |db: &Db| {
        db.flush().unwrap();
        db.compact_range::<&str>(..).unwrap();
    };
    let moves: [&dyn Fn(&Db); 3] = [&|_| {}, &flushed, &compacted];
    for (round, store) in moves.iter().enumerate() {
        for key in ["a", "b", "c", "d"] {
            db.put(key, format!("{round}")).unwrap();
        }
        store(&db);
        let open = || [db.transaction(), db.transaction(), db.transaction(), db.transaction()];
        let [read, walked, written, other] = open();
        assert!(got(&read, "b").is_some());
        assert!(walked.range("a"..="b").rev().count() == 2);
        written.put("b", "mine").unwrap();
        assert!(got(&other, "c").is_some() && other.range("c"..="d").count() == 2);
        for tx in [&read, &walked, &other] {
            tx.put(format!("new {round}"), "").unwrap();
        }
        db.put("b", "theirs").unwrap();
        store(&db);
        assert_eq!(conflict(read.commit()), "b");
        assert_eq!(conflict(walked.commit()), "b");
        assert_eq!(conflict(written.commit()), "b");
        other.commit().unwrap();
        // A deletion is a change, also once nothing is left of it.
        let [read, walked, ..] = open();
        assert!(got(&read, "b").is_some() && walked.iter().count() > 3);
        for tx in [&read, &walked] {
            tx.put("x", "").unwrap();
        }
        db.delete("b").unwrap();
        store(&db);
        assert_eq!(conflict(read.commit()), "b");
        assert_eq!(conflict(walked.commit()), "b");
    }
}

#[test]
fn own_writes_are_seen_from_either_end_and_by_cursors() {
    let db = db();
    for key in ["b", "d", "f"] {
        db.put(key, "stored").unwrap();
    }
    let tx = db.transaction();
    let before = tx.iter();
    for (key, value) in [("a", "own"), ("d", "first"), ("d", "own"), ("g", "own")] {
        tx.put(key, value).unwrap();
    }
    tx.delete("f").unwrap();
    tx.delete("g").unwrap();
    assert_eq!(keys(&tx), ["a", "b", "d"]);
    let back: Vec<_> = tx.iter().rev().map(|entry| entry.unwrap().1.to_vec()).collect();
    assert_eq!(back, [&b"own"[..], b"stored", b"own"]);
    assert_eq!(before.count(), 3, "an iterator sees the moment it was made");
    let mut cursor = tx.cursor();
    assert!(cursor.seek("c").unwrap());
    assert_eq!(cursor.entry(), Some((&b"d"[..], &b"own"[..])));
    assert!(!cursor.next().unwrap() && cursor.prev().unwrap());
    assert_eq!(cursor.key(), Some(&b"d"[..]));
    assert!(cursor.prev().unwrap() && cursor.prev().unwrap());
    assert_eq!(cursor.key(), Some(&b"a"[..]));
    assert_eq!((got(&tx, "f"), got(&tx, "d").as_deref()), (None, Some("own")));
    let many = tx.multi_get(["f", "a", "b", "x"]).unwrap();
    assert_eq!(many.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, true, false]);
    assert_eq!(many[1].as_deref(), Some(&b"own"[..]));
    assert_eq!(db.iter().count(), 3, "nobody else sees them");
    tx.commit().unwrap();
    assert_eq!(db.iter().count(), 3);
    assert_eq!(db.get("d").unwrap().unwrap(), b"own"[..]);
}

#[test]
fn many_versions_of_one_own_key_are_passed_over() {
    let db = db();
    db.put("a", "").unwrap();
    db.put("z", "").unwrap();
    (0..20).for_each(|n| db.put("k", format!("old {n}")).unwrap());
    let tx = db.transaction();
    for n in 0..50 {
        tx.put("m", n.to_string()).unwrap();
        if n == 20 {
            let old: Vec<_> = tx.iter().map(|entry| entry.unwrap().1.to_vec()).collect();
            assert_eq!(old[2], b"20");
        }
    }
    let mut early = tx.cursor();
    for n in 50..100 {
        tx.put("m", n.to_string()).unwrap();
    }
    for seek in [true, false] {
        let found = if seek { early.seek("m") } else { early.seek_back("m") };
        assert!(found.unwrap());
        assert_eq!(early.value(), Some(&b"49"[..]));
        assert!(early.next().unwrap() && early.key() == Some(b"z"));
        assert!(early.prev().unwrap() && early.value() == Some(b"49"));
        assert!(early.prev().unwrap() && early.value() == Some(b"old 19"));
        assert!(early.prev().unwrap() && early.key() == Some(b"a"));
    }
    for n in 0..50 {
        db.put("m", format!("too new {n}")).unwrap();
        db.put("k", format!("too new {n}")).unwrap();
    }
    let mut late = tx.cursor();
    assert!(late.seek_back("n").unwrap() && late.value() == Some(b"99"));
    assert!(early.seek_back("n").unwrap() && early.value() == Some(b"49"));
    assert!(early.seek("l").unwrap() && early.value() == Some(b"49"));
    for cursor in [&mut early, &mut late] {
        // Of this key there are no own versions to stop at.
        assert!(cursor.seek_back("l").unwrap() && cursor.value() == Some(b"old 19"));
        assert!(cursor.seek("b").unwrap() && cursor.value() == Some(b"old 19"));
    }
    let reader = db.transaction();
    db.put("m", "newer still").unwrap();
    let values: Vec<_> = reader.iter().map(|entry| entry.unwrap().1.to_vec()).collect();
    assert_eq!(values[2], b"too new 49");
}

#[test]
fn writes_can_be_rolled_back_to_a_savepoint() {
    let db = db();
    let users = db.keyspace("users", None).unwrap();
    let tx = db.transaction();
    let in_users = tx.keyspace(&users).unwrap();
    let start = tx.savepoint();
    tx.put("a", "1").unwrap();
    let first = tx.savepoint();
    tx.put("a", "2").unwrap();
    in_users.put("u", "1").unwrap();
    let second = tx.savepoint();
    tx.delete("a").unwrap();
    tx.rollback_to(second).unwrap();
    assert_eq!((got(&tx, "a").unwrap(), got(&in_users, "u").unwrap()), ("2".into(), "1".into()));
    tx.rollback_to(first).unwrap();
    assert_eq!((got(&tx, "a").unwrap(), got(&in_users, "u")), ("1".into(), None));
    assert_eq!(tx.rollback_to(second).unwrap_err().kind(), ErrorKind::Invalid);
    let other = db.transaction();
    other.put("a", "1").unwrap();
    assert_eq!(other.rollback_to(first).unwrap_err().kind(), ErrorKind::Invalid);
    // In the place of what was rolled back.
    tx.put("b", "3").unwrap();
    tx.put("b", "4").unwrap();
    assert_eq!((got(&tx, "a").unwrap(), got(&in_users, "u")), ("1".into(), None));
    assert_eq!((tx.iter().count(), in_users.iter().count()), (2, 0));
    tx.commit().unwrap();
    assert_eq!((db.iter().count(), users.iter().count()), (2, 0));
    let tx = db.transaction();
    let nothing = tx.savepoint();
    tx.put("c", "").unwrap();
    tx.rollback_to(nothing).unwrap();
    assert_eq!(tx.commit().unwrap(), tx.sequence(), "nothing was left to write");
    let _ = start;
}

#[test]
fn a_transaction_spans_keyspaces() {
    let db = db();
    let [users, names] = ["users", "names"].map(|name| db.keyspace(name, None).unwrap());
    let sign_up = |id: &str, name: &str| {
        let tx = db.transaction();
        let (by_id, by_name) = (tx.keyspace(&users).unwrap(), tx.keyspace(&names).unwrap());
        let is_free = by_name.get(name).unwrap().is_none();
        by_id.put(id, name).unwrap();
        by_name.put(name, id).unwrap();
        (tx, is_free)
    };
    let ((a, free_a), (b, free_b)) = (sign_up("1", "ann"), sign_up("2", "ann"));
    assert!(free_a && free_b);
    a.commit().unwrap();
    let error = b.commit().unwrap_err();
    assert!(error.to_string().contains("keyspace \"names\""), "{error}");
    assert_eq!((users.iter().count(), names.iter().count()), (1, 1));
    // The same key elsewhere is another key.
    let tx = db.transaction();
    assert!(tx.keyspace(&users).unwrap().get("k").unwrap().is_none());
    tx.put("x", "").unwrap();
    names.put("k", "").unwrap();
    tx.commit().unwrap();
}

#[test]
fn what_cannot_be_met_is_refused_in_words() {
    let db = db();
    let users = db.keyspace("users", None).unwrap();
    let refused = |done: Result<(), Error>, words: &str| {
        let error = done.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(words), "{error}");
    };
    let tx = db.transaction();
    let (mut cursor, mut iter, point) = (tx.cursor(), tx.iter(), tx.savepoint());
    tx.put("k", "v").unwrap();
    tx.commit().unwrap();
    refused(tx.put("k", "v"), "has ended");
    refused(tx.get("k").map(drop), "has ended");
    refused(tx.commit().map(drop), "has ended");
    refused(tx.rollback_to(point), "has ended");
    refused(cursor.next().map(drop), "has ended");
    refused(iter.next().unwrap().map(drop), "has ended");
    refused(tx.iter().next().unwrap().map(drop), "has ended");
    let tx = db.transaction();
    tx.put("gone", "").unwrap();
    tx.rollback();
    refused(tx.delete("k"), "has ended");
    assert_eq!(db.get("gone").unwrap(), None);

    let (reads, writes) = (db.transaction(), db.transaction());
    reads.keyspace(&users).unwrap().get("k").unwrap();
    reads.put("k", "").unwrap();
    let in_users = writes.keyspace(&users).unwrap();
    in_users.put("k", "").unwrap();
    db.drop_keyspace("users").unwrap();
    refused(reads.commit().map(drop), "dropped");
    refused(in_users.put("l", ""), "dropped");
    refused(writes.commit().map(drop), "dropped");

    let other = Options::default().fs(std::sync::Arc::new(MemFs::new())).open("/other").unwrap();
    let foreign = other.keyspace("users", None).unwrap();
    refused(db.transaction().keyspace(&foreign).map(drop), "another database");
    let tx = db.transaction();
    refused(tx.put(vec![0; lsm_core::KEY_LEN_MAX + 1], ""), "bytes");
    tx.put("fits", "").unwrap();
    tx.commit().unwrap();
    db.clone().close().unwrap();
    assert_eq!(tx.get("k").unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(db.transaction().get("k").unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn a_transaction_is_run_again_until_nobody_is_faster() {
    let db = db();
    db.put("n", "0").unwrap();
    let mut runs = 0;
    let last = db.transact(|tx| {
        runs += 1;
        let n = got(tx, "n").unwrap();
        if runs < 4 {
            db.put("n", runs.to_string()).unwrap();
        }
        tx.put("n", "mine")?;
        Ok::<_, Error>(n)
    });
    assert_eq!((last.unwrap(), runs), ("3".to_owned(), 4));
    let mut runs = 0;
    let never = db.transact(|tx| {
        runs += 1;
        db.put("n", "faster").unwrap();
        tx.put("n", "mine")
    });
    assert_eq!((never.unwrap_err().kind(), runs), (ErrorKind::Conflict, 100));
    let given_up = db.transact(|tx| {
        tx.put("n", "nothing of it stays")?;
        Err::<(), _>(Box::<dyn std::error::Error>::from("no"))
    });
    assert_eq!(given_up.unwrap_err().to_string(), "no");
    assert_eq!(db.get("n").unwrap().unwrap(), b"faster"[..]);
}

/// A queue whose first entry all want: nobody is put off for ever.
#[test]
fn whoever_loses_all_the_time_gets_its_turn() {
    let db = db();
    let (threads, jobs) = (8, 2000);
    (0..jobs).for_each(|n| db.put(format!("{n:04}"), "").unwrap());
    let most = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..jobs / threads {
                    let mut runs = 0;
                    db.transact(|tx| {
                        runs += 1;
                        let (first, _) = tx.iter().next().expect("one for each")?;
                        // Others are sure to come in between.
                        std::thread::yield_now();
                        tx.delete(first)
                    })
                    .unwrap();
                    most.fetch_max(runs, std::sync::atomic::Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(db.iter().count(), 0);
    assert!(most.into_inner() > 4, "nobody had to take a turn: this tests nothing");
}

/// The turn may be taken within a turn, and by one who waits for another in vain.
#[test]
fn transactions_within_transactions_do_not_hang() {
    let db = db();
    let run = |key: &str, then: &dyn Fn()| {
        let mut runs = 0;
        db.transact(|tx| {
            runs += 1;
            tx.get(key)?;
            if runs < 8 {
                db.put(key, runs.to_string())?;
            } else {
                then();
            }
            tx.put(key, "mine")
        })
        .unwrap();
    };
    run("outer", &|| run("inner", &|| ()));
    run("waits", &|| std::thread::scope(|scope| drop(scope.spawn(|| run("waited for", &|| ())))));
    assert_eq!(db.iter().filter(|entry| entry.as_ref().unwrap().1 == b"mine"[..]).count(), 4);
}

#[test]
fn single_keys_change_only_from_what_they_are() {
    let db = db();
    let users = db.keyspace("users", None).unwrap();
    assert_eq!(users.put_if_absent("k", "1").unwrap(), None);
    assert_eq!(users.put_if_absent("k", "2").unwrap().unwrap(), b"1"[..]);
    let swap = |expected: Option<&[u8]>, new: Option<&[u8]>| {
        users.compare_and_swap("k", expected, new).unwrap().map_err(|error| error.current)
    };
    assert_eq!(swap(Some(b"2"), None).unwrap_err().unwrap(), b"1"[..]);
    assert_eq!(swap(None, Some(b"2")).unwrap_err().unwrap(), b"1"[..]);
    swap(Some(b"1"), Some(b"3")).unwrap();
    swap(Some(b"3"), None).unwrap();
    assert_eq!(swap(Some(b"3"), Some(b"4")).unwrap_err(), None);
    assert_eq!(users.get("k").unwrap(), None);
    let before = db.last_sequence();
    swap(None, None).unwrap();
    assert_eq!(users.fetch_update("k", |_| None::<&str>).unwrap(), None);
    assert_eq!(db.last_sequence(), before, "nothing was written for nothing");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    users
                        .fetch_update("n", |n| Some([n.map_or(1, |n| n[0].wrapping_add(1))]))
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(users.get("n").unwrap().unwrap()[0], (800 % 256) as u8);
    assert_eq!(db.get("n").unwrap(), None, "of the default keyspace that is another key");
}
