//! Many writers, many faults: whatever a write's outcome says, that is how often it took
//! effect.

use std::collections::HashMap;
use std::env;
use std::time::Duration;

use bytes::Bytes;
use lsm_client::{Client, Error};
use tonic::Code;

use crate::fake::{Fake, Fault, options};

/// What goes wrong with a write, if anything.
pub(crate) fn fault(dice: &mut fastrand::Rng) -> Option<Fault> {
    let time = |dice: &mut fastrand::Rng| Duration::from_millis(dice.u64(0..60));
    match dice.u32(0..100) {
        0..8 => Some(Fault::LoseAnswer),
        8..12 => Some(Fault::HangAfter),
        12..15 => Some(Fault::Hang),
        15..20 => Some(Fault::Late(time(dice))),
        20..25 => Some(Fault::Slow(time(dice))),
        25..30 => Some(Fault::Fail(Code::Unavailable)),
        30..35 => Some(Fault::Refuse(Code::Unavailable, "not-leader")),
        35..40 => Some(Fault::Refuse(Code::ResourceExhausted, "busy")),
        40..42 => Some(Fault::ForgetSessions),
        42..43 => Some(Fault::LoseAnswerAndSessions),
        43..45 => Some(Fault::Hint("127.0.0.1:1".into())),
        45..46 => Some(Fault::Fail(Code::Internal)),
        _ => None,
    }
}

/// Puts values of its own, one after the other; how each ended.
async fn writer(client: Client, name: usize, count: usize) -> Vec<(Bytes, Result<u64, Error>)> {
    let mut ended = Vec::new();
    for i in 0..count {
        let value = Bytes::from(format!("{name}-{i}"));
        ended.push((value.clone(), client.put(format!("k{name}"), value).await));
    }
    ended
}

/// How many writes were acknowledged.
async fn run(seed: u64, exactly_once: bool) -> usize {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut fake = Fake::start(3).await;
    let options = options()
        .exactly_once(exactly_once)
        .timeout(Duration::from_millis(dice.u64(100..2000)))
        .try_timeout(Duration::from_millis(dice.u64(20..80)));
    let client = fake.client_with(0, options).await;
    fake.world().dice = Some(dice.fork());
    let writers: Vec<_> =
        (0..8).map(|name| tokio::spawn(writer(client.clone(), name, 15))).collect();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(dice.u64(20..200))).await;
        let node = dice.usize(0..3);
        fake.world().forwards = dice.bool();
        fake.world().leader = Some(dice.usize(0..3));
        fake.kill(node).await;
        tokio::time::sleep(Duration::from_millis(dice.u64(0..100))).await;
        fake.restart(node);
    }
    let mut ended = Vec::new();
    for writer in writers {
        ended.extend(writer.await.unwrap());
    }
    // What was to be applied late is applied by now.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut effects: HashMap<Bytes, usize> = HashMap::new();
    for (_, value) in fake.world().history.iter().flatten() {
        *effects.entry(value.clone().unwrap()).or_default() += 1;
    }
    let mut acknowledged = 0;
    for (value, result) in ended {
        let count = effects.get(&value).copied().unwrap_or(0);
        match result {
            Ok(_) => {
                acknowledged += 1;
                assert_eq!(count, 1, "seed {seed}: {value:?} was acknowledged");
            }
            Err(error) if error.is_safe_to_retry() => {
                assert_eq!(count, 0, "seed {seed}: {value:?} did nothing, says {error:?}");
            }
            Err(error) => assert!(count <= 1, "seed {seed}: {value:?}, {error:?}"),
        }
    }
    acknowledged
}

/// `LSM_TEST_SEED` names the only seed to run, `LSM_TEST_SEEDS` says how many.
async fn each_seed(exactly_once: bool) {
    let number = |name| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("LSM_TEST_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("LSM_TEST_SEEDS").unwrap_or(4),
    };
    let mut acknowledged = 0;
    for seed in seeds {
        acknowledged += run(seed, exactly_once).await;
    }
    // Far more on a machine that is not busy; but none would show nothing.
    assert!(acknowledged > 20, "only {acknowledged} writes succeeded");
}

#[tokio::test]
async fn a_write_takes_effect_as_often_as_its_outcome_says() {
    each_seed(true).await;
}

#[tokio::test]
async fn without_sessions_too() {
    each_seed(false).await;
}
