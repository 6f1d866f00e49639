//! Which mutants run, two at a time, and what came of them.
//!
//! A kill counts only if the test that failed passes without the mutant: neither a test that
//! fails now and then nor a slow machine can hide a survivor.

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::definition::Mutant;
use super::mirror;
use super::suite::{Failure, Suite, Which};
use crate::command::{Result, Step};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run so many of them, chosen by the seed
    #[arg(long)]
    sample: Option<usize>,
    /// What chooses the sample: any text; without it the commit
    #[arg(long)]
    seed: Option<String>,
    /// Run only those whose name holds this; may be given more than once
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Run only those of this crate; may be given more than once
    #[arg(long, short, value_name = "CRATE")]
    package: Vec<String>,
    /// Run only the tests that are likely to notice: for a first look, not for a claim
    #[arg(long)]
    quick: bool,
    /// Name them, and check that none went stale
    #[arg(long)]
    list: bool,
}

pub(crate) fn run(args: &Args) -> Result {
    let mutants = mirror::definitions()?;
    let woven = mirror::woven(&mutants)?;
    if args.list {
        for mutant in &mutants {
            println!("{:44} {}", mutant.name, mutant.breaks);
        }
        println!("{} mutants", mutants.len());
        return Ok(());
    }
    let chosen = choose(args, &mutants)?;
    let home = PathBuf::from(env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into()));
    let home = env::current_dir()?.join(home).join("mutants");
    mirror::update(&home.join("src"), woven)?;
    let packages = chosen.iter().map(|&number| &*mutants[number - 1].package).collect();
    let suite = Suite::build(&home, &packages)?;
    let whole = args.sample.is_none() && args.only.is_empty() && !args.quick;
    if whole {
        println!("without a mutant: all tests");
        if let Some(failure) = suite.first_failure_without()? {
            return Err(format!("{} {} without a mutant", failure.test, failure.how).into());
        }
    }
    let outcomes = run_all(&suite, &mutants, &chosen, args.quick)?;
    report(&suite, &mutants, &outcomes)
}

/// That no definition went stale.
pub(crate) fn check() -> Result {
    let mutants = mirror::definitions()?;
    mirror::woven(&mutants)?;
    println!("mutants: {} definitions fit", mutants.len());
    Ok(())
}

/// The numbers of the mutants to run.
fn choose(args: &Args, mutants: &[Mutant]) -> Result<Vec<usize>> {
    let named = |mutant: &Mutant| {
        (args.only.is_empty() || args.only.iter().any(|word| mutant.name.contains(word.as_str())))
            && (args.package.is_empty() || args.package.contains(&mutant.package))
    };
    let mut chosen: Vec<usize> = (1..=mutants.len()).filter(|&n| named(&mutants[n - 1])).collect();
    if chosen.is_empty() {
        return Err("no mutant is called so: see --list".into());
    }
    if let Some(count) = args.sample {
        let seed = match &args.seed {
            Some(seed) => seed.clone(),
            None => Step::new("git rev-parse HEAD").output()?.trim().to_owned(),
        };
        println!("a sample of {count} of {}: --sample {count} --seed {seed}", chosen.len());
        chosen.sort_by_key(|&number| hash(&[seed.as_bytes(), mutants[number - 1].name.as_bytes()]));
        chosen.truncate(count);
    }
    Ok(chosen)
}

/// FNV-1a: the same on every machine, and with every compiler.
fn hash(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.iter());
    let mixed = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mixed ^ (mixed >> 32)
}

/// What came of one mutant.
struct Outcome {
    number: usize,
    end: End,
    time: Duration,
}

enum End {
    Killed(Failure),
    Survived,
    /// This test fails without the mutant, too.
    Unknown(Failure),
}

fn run_all(
    suite: &Suite,
    mutants: &[Mutant],
    chosen: &[usize],
    quick: bool,
) -> Result<Vec<Outcome>> {
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || -> std::result::Result<(), String> {
        while let Some(&number) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mutant = &mutants[number - 1];
            let start = Instant::now();
            let end = try_to_kill(suite, number, mutant, quick).map_err(|error| {
                // The others end first.
                next.store(chosen.len(), Ordering::Relaxed);
                format!("mutant {}: {error}", mutant.name)
            })?;
            let outcome = Outcome { number, end, time: start.elapsed() };
            let mut outcomes = outcomes.lock().map_err(|_| "another worker panicked")?;
            outcomes.push(outcome);
            let (done, outcome) = (outcomes.len(), &outcomes[outcomes.len() - 1]);
            println!("{done:3}/{} {}", chosen.len(), row(mutant, outcome));
        }
        Ok(())
    };
    // Each runs one test at a time.
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        handles.into_iter().try_for_each(|handle| handle.join().map_err(|_| "a worker panicked")?)
    })?;
    Ok(outcomes.into_inner().map_err(|_| "a worker panicked")?)
}

fn try_to_kill(suite: &Suite, number: usize, mutant: &Mutant, quick: bool) -> Result<End> {
    let likely = Which::Like(&mutant.tests);
    let tests = if quick { &[likely][..] } else { &[likely, Which::All] };
    let Some(failure) = suite.first_failure(&mutant.package, number, tests)? else {
        return Ok(End::Survived);
    };
    let same = match &*failure.test {
        "" => Which::All,
        test => Which::Only(test),
    };
    Ok(match suite.run(failure.binary, 0, same)? {
        None => End::Killed(failure),
        Some(again) => End::Unknown(again),
    })
}

fn row(mutant: &Mutant, outcome: &Outcome) -> String {
    let (word, rest) = match &outcome.end {
        End::Killed(Failure { test, how, .. }) => ("killed", format!("{test} {how}")),
        End::Survived => ("SURVIVED", mutant.breaks.clone()),
        End::Unknown(Failure { test, how, .. }) => {
            ("UNKNOWN", format!("{test} {how} without the mutant, too"))
        }
    };
    format!("{word:8} {:44} {:6.1} s  {rest}", mutant.name, outcome.time.as_secs_f64())
}

fn report(suite: &Suite, mutants: &[Mutant], outcomes: &[Outcome]) -> Result {
    let mut kills: BTreeMap<String, usize> = BTreeMap::new();
    for outcome in outcomes {
        if let End::Killed(failure) = &outcome.end {
            *kills.entry(suite.name(failure.binary)).or_default() += 1;
        }
    }
    let killed: usize = kills.values().sum();
    println!("\n{} mutants, {killed} killed", outcomes.len());
    for (binary, count) in kills {
        println!("{count:5} by {binary}");
    }
    let others: Vec<_> =
        outcomes.iter().filter(|outcome| !matches!(outcome.end, End::Killed(_))).collect();
    for outcome in &others {
        println!("{}", row(&mutants[outcome.number - 1], outcome));
    }
    match others.len() {
        0 => Ok(()),
        count => Err(format!("{count} mutants were not killed: a test is missing").into()),
    }
}
