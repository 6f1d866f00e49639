//! Runs every scene on every engine, in turns, each in a process of its own.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::{Measured, SCENES, Scene, rate};
use indicatif::{ProgressBar, ProgressStyle};

use crate::engines::{ENGINES, Engine};
use crate::machine::{self, Machine};
use crate::record::{Record, Result, Row};
use crate::scene::{self, is_wanted};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Entries of the data set
    #[arg(long, default_value_t = 500_000)]
    entries: u64,
    /// Rounds; in each the engines take turns, scene by scene
    #[arg(long, default_value_t = 3)]
    rounds: u64,
    /// Only these engines
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only the rows whose names hold one of these
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// A row ends after so many seconds, even if not all of its operations are done
    #[arg(long, default_value_t = 10.0)]
    row_seconds: f64,
    /// The file for the results
    #[arg(long, default_value = "peers.json")]
    out: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result {
    let engines = engines(&args.only)?;
    let wanted = |scene: &&Scene| scene.rows().any(|(_, name)| is_wanted(&args.rows, name));
    let scenes: Vec<_> = SCENES.iter().filter(wanted).collect();
    if scenes.is_empty() {
        return Err("no row has such a name".into());
    }
    let versions =
        engines.iter().map(|e| (e.name.to_owned(), machine::version(e.package))).collect();
    let (machine, commit) = (Machine::this(), machine::commit());
    let (entries, row_seconds) = (args.entries, args.row_seconds);
    let mut record = Record { machine, commit, entries, row_seconds, versions, rows: Vec::new() };
    let progress = ProgressBar::new(args.rounds * (scenes.len() * engines.len()) as u64);
    progress.set_style(ProgressStyle::with_template("{bar:40} {elapsed} {msg}")?);
    let mut failures = Vec::new();
    for round in 1..=args.rounds {
        for scene in &scenes {
            for engine in turn(&engines, round) {
                let name = engine.name;
                progress.set_message(format!("round {round}: {}, {name}", scene.name));
                let done = |measured: Measured| {
                    let rate = rate(measured.per_second());
                    let row = &measured.name;
                    progress.set_message(format!("round {round}: {row}, {name}: {rate}/s"));
                    record.rows.push(Row { engine: name.to_owned(), round, measured });
                };
                if let Err(error) = run_scene(args, engine, scene, done) {
                    failures.push(format!("{name}, {}, round {round}: {error}", scene.name));
                }
                progress.inc(1);
            }
            // What is there stays, should the rest be broken off.
            record.write(&args.out)?;
        }
    }
    progress.finish_and_clear();
    eprintln!("results: {}", args.out.display());
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
}

fn engines(only: &[String]) -> Result<Vec<Engine>> {
    if let Some(name) = only.iter().find(|only| ENGINES.iter().all(|e| e.name != **only)) {
        let names: Vec<_> = ENGINES.iter().map(|engine| engine.name).collect();
        return Err(format!("no engine {name}; there are {}", names.join(", ")).into());
    }
    let wanted = |engine: &&Engine| only.is_empty() || only.iter().any(|o| o == engine.name);
    Ok(ENGINES.iter().filter(wanted).copied().collect())
}

/// Each round begins with another engine: none always follows the same one.
fn turn(engines: &[Engine], round: u64) -> impl Iterator<Item = &Engine> {
    let first = (round - 1) as usize % engines.len();
    engines.iter().cycle().skip(first).take(engines.len())
}

fn run_scene(
    args: &Args,
    engine: &Engine,
    scene: &Scene,
    mut done: impl FnMut(Measured),
) -> Result {
    let args = scene::Args {
        engine: engine.name.to_owned(),
        scene: scene.name.to_owned(),
        entries: args.entries,
        row_seconds: args.row_seconds,
        rows: args.rows.clone(),
    };
    let mut command = Command::new(env::current_exe()?);
    let mut child = command.args(args.words()).stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    let read = lines.try_for_each(|line| -> Result {
        done(serde_json::from_str(&line?)?);
        Ok(())
    });
    let status = child.wait()?;
    if status.success() { read } else { Err(status.to_string().into()) }
}
