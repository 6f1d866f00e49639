//! One scene on one engine: what a process of its own does.

use std::io::{Write as _, stdout};
use std::time::Duration;

use common::{Folder, SCENES, Sizes};

use crate::engines::ENGINES;
use crate::record::Result;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    pub(crate) engine: String,
    #[arg(long)]
    pub(crate) scene: String,
    #[arg(long)]
    pub(crate) entries: u64,
    #[arg(long)]
    pub(crate) row_seconds: f64,
    /// Only the rows whose names hold one of these
    #[arg(long, value_delimiter = ',')]
    pub(crate) rows: Vec<String>,
}

impl Args {
    /// The same as words of a command line.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words = vec!["scene".to_owned()];
        let mut option = |name: &str, value: &str| words.push(format!("--{name}={value}"));
        option("engine", &self.engine);
        option("scene", &self.scene);
        option("entries", &self.entries.to_string());
        option("row-seconds", &self.row_seconds.to_string());
        self.rows.iter().for_each(|row| option("rows", row));
        words
    }
}

pub(crate) fn run(args: &Args) -> Result {
    let engine =
        ENGINES.iter().find(|engine| engine.name == args.engine).ok_or("no such engine")?;
    let scene = SCENES.iter().find(|scene| scene.name == args.scene).ok_or("no such scene")?;
    let row = Duration::from_secs_f64(args.row_seconds);
    let sizes = Sizes { row, ..Sizes::of(args.entries) };
    let folder = Folder::new();
    let Some(store) = (engine.open)(folder.path(), scene.lz4) else { return Ok(()) };
    let wanted = |name: &str| is_wanted(&args.rows, name);
    let mut failed = None;
    scene.run(&*store, folder.path(), (args.entries, sizes), &wanted, &mut |measured| {
        let line = serde_json::to_string(&measured).map_err(Into::into);
        failed = line.and_then(|line| Ok(writeln!(stdout(), "{line}")?)).err().or(failed.take());
    });
    failed.map_or(Ok(()), Err)
}

/// Whether a row's name holds one of the words, or there are none.
pub(crate) fn is_wanted(rows: &[String], name: &str) -> bool {
    rows.is_empty() || rows.iter().any(|row| name.contains(row.as_str()))
}
