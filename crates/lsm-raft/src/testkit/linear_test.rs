use std::collections::HashSet;
use std::env;
use std::time::Instant;

use fastrand::Rng;

use super::*;
use crate::testkit::{Call, Recorder, Reply};

/// Reads `c1 put a 1..4, c2 get a 2..3, c1 delete 5..?`; `-` is nothing.
fn history(text: &str) -> History {
    let mut history = History::default();
    for line in text.split(',') {
        let mut words: Vec<_> = line.split_whitespace().collect();
        let (start, end) = words.pop().unwrap().split_once("..").unwrap();
        let value = |word: &str| (word != "-").then(|| Text::new(word.as_bytes()));
        let action = match words[1..] {
            ["put", word] => Action::Write(value(word)),
            ["delete"] => Action::Write(None),
            ["get", word] => Action::Read(value(word)),
            _ => panic!("{line}"),
        };
        let client = words[0][1..].parse().unwrap();
        let (start, end) = (start.parse().unwrap(), end.parse().ok());
        history.push(b"k", Operation { client, start, end, action });
    }
    history
}

/// The number of operations that show the violation.
#[track_caller]
fn violation(text: &str) -> usize {
    match check(&history(text)) {
        Err(Failure::Violation(violation)) => violation.window().len(),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn possible_histories_pass() {
    for text in [
        "c1 get - 1..2",
        "c1 put a 1..2, c2 get a 3..4, c1 delete 5..6, c2 get - 7..8",
        // During a write a read sees the old value or the new one.
        "c1 put a 1..9, c2 get - 2..3, c2 get a 4..5",
        // Times that touch are concurrent.
        "c1 put a 1..2, c2 get - 2..3",
        // A write of unknown outcome takes effect late, or never.
        "c1 put a 1..?, c1 put b 2..3, c2 get b 4..5, c2 get a 6..7, c2 get a 8..9",
        "c1 put a 1..?, c2 get - 100..101",
        // A write nobody saw stands right before one that overwrote it.
        "c1 put a 1..9, c2 put b 2..3, c3 get b 4..5, c3 get b 10..11",
        // The order of two writes is told by the reads.
        "c1 put a 1..9, c2 put b 1..9, c3 get b 2..9, c4 get a 2..9, c3 get b 10..11",
        "c1 put a 1..9, c2 put b 1..9, c3 get b 2..3, c4 get a 4..5, c3 get a 10..11",
        // The same value twice.
        "c1 put a 1..2, c1 put b 3..4, c2 put a 3..9, c3 get b 5..6, c3 get a 7..8",
    ] {
        check(&history(text)).unwrap_or_else(|failure| panic!("{text}: {failure}"));
    }
}

#[test]
fn a_stale_read_is_found() {
    assert_eq!(violation("c1 put a 1..2, c1 put b 3..4, c2 get a 5..6"), 3);
    assert_eq!(violation("c1 put a 1..2, c2 get - 3..4"), 2);
}

#[test]
fn a_lost_write_is_found() {
    let text = "c1 put a 1..2, c1 put b 3..4, c2 get b 5..6, c1 put c 7..8, c2 get b 9..10";
    assert_eq!(violation(text), 3);
}

#[test]
fn a_value_from_nowhere_is_found() {
    assert_eq!(violation("c1 put a 1..2, c2 get x 1..4, c1 get a 5..6"), 1);
    // Also one from the future.
    assert_eq!(violation("c2 get a 1..4, c1 put a 5..6"), 1);
}

#[test]
fn reads_that_go_back_in_time_are_found() {
    assert_eq!(violation("c1 put a 1..9, c2 get a 2..3, c3 get - 4..5"), 3);
    let text = "c1 put a 1..2, c1 put b 3..20, c2 get b 4..5, c3 get a 6..7, c2 get b 21..22";
    assert_eq!(violation(text), 4);
}

#[test]
fn a_resurrected_delete_is_found() {
    let text = "c1 put a 1..2, c1 delete 3..4, c2 get - 5..6, c2 get a 7..8";
    assert_eq!(violation(text), 3);
}

#[test]
fn an_unknown_put_that_applies_twice_is_found() {
    let text = "c1 put a 1..?, c2 get a 2..3, c2 put b 4..5, c2 get b 6..7, c3 get a 8..9";
    assert_eq!(violation(text), 4);
    // A put that failed applies not even once.
    let recorder = Recorder::new(10);
    let put = recorder.call(1, 1, b"k", Call::Put(b"a")).unwrap();
    recorder.reply(put, 2, Reply::Failed);
    let get = recorder.call(1, 3, b"k", Call::Get).unwrap();
    recorder.reply(get, 4, Reply::Got(Some(b"a")));
    assert!(matches!(check(&recorder.history()), Err(Failure::Violation(_))));
}

#[test]
fn a_violation_reads_well() {
    let text = "c1 put a 1..2, c2 get a 3..4, c1 put b 4..30, c2 get b 5..6, c3 put c 5..?, \
        c3 get a 7..8, c1 get b 31..32";
    let failure = check(&history(text)).unwrap_err();
    let expected = "\
key \"k\": no order of these 4 operations explains what was read
  client 1   put \"a\"     1 .. 2  |-|
  client 1   put \"b\"     4 .. ?      |--------- ?
  client 2   get -> \"b\"  5 .. 6        |-|
  client 3   get -> \"a\"  7 .. 8            |-|";
    assert_eq!(failure.to_string(), expected);
}

/// Decides by trying every order, without any of the search's short cuts: only what was tried
/// is not tried again.
fn brute_force(ops: &[Op]) -> bool {
    fn place(ops: &[Op], placed: u32, state: usize, tried: &mut HashSet<(u32, usize)>) -> bool {
        let open = |n: &usize| placed & (1 << n) == 0;
        let deadline = (0..ops.len()).filter(open).filter_map(|n| ops[n].end).min();
        let Some(deadline) = deadline else { return true };
        tried.insert((placed, state))
            && (0..ops.len()).filter(open).any(|n| {
                let possible = !ops[n].is_read || ops[n].value == state;
                possible
                    && ops[n].start <= deadline
                    && place(ops, placed | 1 << n, ops[n].value, tried)
            })
    }
    place(ops, 0, 0, &mut HashSet::new())
}

fn seed() -> u64 {
    let given = env::var("LSM_TEST_SEED").ok();
    given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("a seed is a number"))
}

/// Anything at all; or what a register could have done, but for one read.
fn small_history(rng: &mut Rng) -> (Vec<Op>, usize) {
    let (values, span) = (rng.usize(1..=4), rng.u64(1..=20));
    if rng.bool() {
        let ops = (0..rng.usize(1..=8)).map(|source| {
            let is_read = rng.bool();
            let start = rng.u64(0..span);
            let end = (is_read || rng.u8(0..5) > 0).then(|| start + rng.u64(0..=span / 2));
            Op { source, is_read, value: rng.usize(0..values), start, end }
        });
        return (ops.collect(), values);
    }
    let load = Load {
        operations: rng.usize(1..=16),
        clients: rng.usize(1..=8),
        unknown: 200,
        deletes: 100,
        values,
    };
    let history = simulate(load, rng);
    let (mut ops, values) = number(history.keys().next().unwrap().1);
    let reads: Vec<_> = (0..ops.len()).filter(|&op| ops[op].is_read).collect();
    if let Some(op) = rng.choice(reads) {
        ops[op].value = rng.usize(0..values);
    }
    (ops, values)
}

#[test]
fn small_histories_agree_with_brute_force() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let mut impossible = 0;
    for round in 0..40_000 {
        let (ops, values) = small_history(&mut rng);
        let (found, steps) = search(&ops, values, usize::MAX);
        let possible = brute_force(&ops);
        let expected = if possible { Found::Order } else { Found::NoOrder };
        assert_eq!(found, expected, "seed {seed}, round {round}, {steps} steps: {ops:#?}");
        impossible += usize::from(!possible);
        if !possible {
            let window = violation::shrink(&ops, values, usize::MAX);
            assert!(!brute_force(&window), "seed {seed}, round {round}: {window:#?}");
        }
    }
    assert!((4_000..36_000).contains(&impossible), "one-sided: {impossible}, seed {seed}");
}

/// How clients use a simulated register.
#[derive(Clone, Copy, Debug)]
struct Load {
    operations: usize,
    clients: usize,
    /// In a thousand.
    unknown: u32,
    deletes: u32,
    /// Distinct values; 0: each put has its own.
    values: usize,
}

/// Runs clients on an atomic register: each operation takes effect at one moment of its time,
/// those of unknown outcome at a later one, or never.
fn simulate(load: Load, rng: &mut Rng) -> History {
    struct Running {
        at: u64,
        client: u64,
        start: u64,
        end: Option<u64>,
        write: Option<Option<Text>>,
    }
    let mut running: Vec<Running> = Vec::new();
    let mut free: Vec<u64> = vec![0; load.clients];
    for number in 0..load.operations {
        let client = (0..load.clients).min_by_key(|&client| free[client]).unwrap();
        let start = free[client] + rng.u64(0..20);
        let at = start + rng.u64(0..100);
        let mut end = Some(at + rng.u64(0..100));
        free[client] = end.unwrap() + 1;
        let value = if load.values == 0 { number } else { rng.usize(0..load.values) };
        let write = match rng.u32(0..1000) {
            n if n < load.deletes => Some(None),
            n if n < 500 => Some(Some(Text::new(format!("v{value}").as_bytes()))),
            _ => None,
        };
        let mut at = at;
        if write.is_some() && rng.u32(0..1000) < load.unknown {
            end = None;
            at = if rng.bool() { at + rng.u64(0..5_000) } else { u64::MAX };
        }
        running.push(Running { at, client: client as u64, start, end, write });
    }
    running.sort_by_key(|operation| operation.at);
    let (mut history, mut state) = (History::default(), None);
    for Running { at, client, start, end, write } in running {
        let action = match write {
            Some(value) => {
                if at < u64::MAX {
                    state.clone_from(&value);
                }
                Action::Write(value)
            }
            None => Action::Read(state.clone()),
        };
        history.push(b"register", Operation { client, start, end, action });
    }
    history
}

#[test]
fn histories_of_an_atomic_register_pass() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let mut undecided = 0;
    for round in 0..300 {
        let load = Load {
            operations: 500,
            clients: rng.usize(1..=50),
            unknown: [0, 20, 200][rng.usize(0..3)],
            deletes: [0, 20, 200][rng.usize(0..3)],
            values: [0, 2, 10, 50][rng.usize(0..4)],
        };
        let steps_max = if load.values == 0 { STEPS_MAX } else { 20_000 };
        match check_within(&simulate(load, &mut rng), steps_max) {
            Ok(()) => {}
            // Where many writes have one value, the search may lose itself.
            Err(Failure::Undecided { .. }) if load.values > 0 => undecided += 1,
            Err(failure) => panic!("seed {seed}, round {round}, {load:?}: {failure}"),
        }
    }
    assert!(undecided < 30, "{undecided} of 300 undecided, seed {seed}");
}

#[test]
fn a_broken_read_in_a_long_history_is_found_and_cut_out() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    for round in 0..20 {
        let load = Load { operations: 2000, clients: 20, unknown: 20, deletes: 20, values: 0 };
        let mut history = simulate(load, &mut rng);
        let operations = history.keys().next().unwrap().1.to_vec();
        // A late read of the first value that was read at all.
        let old = operations.iter().find(|o| matches!(o.action, Action::Read(Some(_)))).unwrap();
        let late = operations.iter().filter_map(|o| o.end).max().unwrap() + 1;
        let stale = Operation { client: 99, start: late, end: Some(late), ..old.clone() };
        history.push(b"register", stale);
        let Err(Failure::Violation(violation)) = check(&history) else {
            panic!("seed {seed}, round {round}: not found")
        };
        let window = violation.window();
        assert!(window.len() <= 4, "seed {seed}, round {round}: {violation}");
        assert!(window.iter().any(|o| o.client == 99), "seed {seed}: {violation}");
    }
}

#[test]
fn a_long_history_takes_little_time() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    for deletes in [0, 50] {
        let load = Load { operations: 20_000, clients: 50, unknown: 20, deletes, values: 0 };
        let history = simulate(load, &mut rng);
        #[allow(clippy::disallowed_methods, reason = "the test is about real time")]
        let start = Instant::now();
        assert_eq!(check(&history), Ok(()), "seed {seed}, {load:?}");
        let time = start.elapsed();
        assert!(time.as_secs() < 10, "{time:?}, seed {seed}, {load:?}");
    }
}

#[test]
fn an_endless_search_is_given_up() {
    // All writes and reads at once: the reads say nothing about the order of the values.
    let mut text = String::new();
    for n in 0..40 {
        text += &format!("c1 put {} 1..100, c2 get {} 1..{}, ", n % 20, n % 20, 50 + n);
    }
    text += "c3 get 7 101..102, c3 get 8 103..104";
    let result = check_within(&history(&text), 10);
    assert!(matches!(result, Err(Failure::Undecided { steps: 10, .. })), "{result:?}");
}
