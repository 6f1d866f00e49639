//! A search engine for a folder of text, source and HTML files.
//!
//! ```sh
//! cargo run --release -p search -- FOLDER              # index, then ask
//! cargo run --release -p search -- FOLDER word 'pre*'  # index, then answer
//! ```
//!
//! Reading order: `index` is the layout in the database, `changes` finds what to do, `update`
//! does it, `query` answers; `words` and `html` turn files into words.

#![allow(
    clippy::disallowed_methods,
    reason = "an example is user code: files and clock are its own"
)]

mod changes;
mod html;
mod index;
mod query;
mod update;
mod words;

use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use clap::Parser;
use indicatif::{HumanBytes, HumanCount};
use lsm_core::ErrorKind;

use index::{Index, decode_record};
use query::Term;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Indexes every word of the text, source and HTML files below a folder, then finds the files
/// that hold all the words asked for.
///
/// Only new and changed files are read again. It may be stopped at any moment, even by force:
/// the next run goes on where it stopped. Hidden files, links and what is not UTF-8 text are
/// left out.
///
/// A word is a run of letters and digits. All else separates words, `_` too: `write_batch` asks
/// for files that hold `write` and `batch`. Of HTML files the tags, scripts and styles are left
/// out.
#[derive(Parser)]
#[command(name = "search")]
struct Args {
    /// Where to search
    folder: PathBuf,
    /// What to find: files must hold all of these; `pre*` is any word that begins with "pre".
    /// Without words, a prompt asks for them if the input is a terminal
    words: Vec<String>,
    /// Where the index lives; it may hold several folders
    #[arg(long, value_name = "FOLDER", default_value = ".search-index")]
    index: PathBuf,
    /// How many files to show for a query; 0 for all
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    limit: usize,
    /// Print nothing but the paths of all files found, in their order by name
    #[arg(long, short = 'l', requires = "words")]
    list: bool,
    /// Answer from the index as it is; several can do so at once
    #[arg(long)]
    as_is: bool,
    /// Say what the index holds and what the database did for it
    #[arg(long)]
    stats: bool,
    /// Read the whole index and check that it is undamaged and complete
    #[arg(long)]
    verify: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has seen enough, as `head` does.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            let mut err = io::stderr();
            // Not eprintln!, which panics where nobody reads it.
            let _ = writeln!(err, "error: {error}");
            if let Some(advice) = error.downcast_ref().and_then(|error| advice(error, &args)) {
                let _ = writeln!(err, "{advice}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let terms = query::parse(args.words.iter().map(String::as_str))?;
    let root = root(&args.folder)?;
    let index = if args.as_is {
        Index::open_read_only(&args.index)?
    } else {
        let index = Index::open(&args.index)?;
        update(&index, &root, &args.index, args.list)?;
        index
    };
    if args.verify {
        let checked = index.verify()?;
        let (files, postings) = (HumanCount(checked.files), HumanCount(checked.postings));
        let mut out = io::stdout();
        writeln!(out, "the index is undamaged and complete: {files} files, {postings} postings")?;
    }
    if !terms.is_empty() {
        answer(&index, &root, &terms, args)?;
    } else if io::stdin().is_terminal() && !args.stats && !args.verify {
        prompt(&index, &root, args)?;
    }
    if args.stats {
        stats(&index)?;
    }
    Ok(index.db.close()?)
}

/// The folder's one name, however it was typed: what the index knows it by.
fn root(folder: &Path) -> Result<String> {
    let named = |error| format!("cannot search {}: {error}", folder.display());
    let root = fs::canonicalize(folder).map_err(named)?;
    if !root.is_dir() {
        return Err(format!("{} is a file: name the folder it lies in", folder.display()).into());
    }
    match root.into_os_string().into_string() {
        Ok(root) => Ok(root),
        Err(_) => Err(format!("the name of {} is not UTF-8", folder.display()).into()),
    }
}

fn update(index: &Index, root: &str, folder: &Path, quiet: bool) -> Result<()> {
    let start = Instant::now();
    let done = update::run(index, root, &fs::canonicalize(folder)?)?;
    if quiet {
        return Ok(());
    }
    let read = |counter: AtomicU64| counter.into_inner();
    let (indexed, bytes) = (HumanCount(read(done.indexed)), HumanBytes(read(done.bytes)));
    let mut out = io::stdout().lock();
    write!(out, "indexed {indexed} files ({bytes}) in {:.1} s", start.elapsed().as_secs_f64())?;
    let others = [
        (read(done.same), "unchanged"),
        (read(done.removed), "gone"),
        (read(done.no_text), "not text"),
        (read(done.unreadable), "unreadable"),
    ];
    for (count, what) in others.into_iter().filter(|(count, _)| *count > 0) {
        write!(out, ", {} {what}", HumanCount(count))?;
    }
    writeln!(out)?;
    Ok(())
}

fn answer(index: &Index, root: &str, terms: &[Term], args: &Args) -> Result<()> {
    let start = Instant::now();
    let mut found = query::find(index, root, terms)?;
    let took = start.elapsed();
    let mut out = io::stdout().lock();
    if args.list {
        found.sort_by(|a, b| a.path.cmp(&b.path));
        for file in &found {
            writeln!(out, "{}", file.path)?;
        }
        return Ok(());
    }
    let terms: Vec<_> = terms.iter().map(Term::to_string).collect();
    let (count, millis) = (HumanCount(found.len() as u64), took.as_secs_f64() * 1e3);
    writeln!(out, "{}: {count} files in {millis:.1} ms", terms.join(" "))?;
    let shown = if args.limit == 0 { found.len() } else { args.limit.min(found.len()) };
    let start = changes::below(root).len();
    for file in &found[..shown] {
        // The path from the folder on; the line makes it something an editor can open.
        writeln!(out, "{:>7}  {}:{}", file.hit.count, &file.path[start..], file.hit.line)?;
    }
    if shown < found.len() {
        writeln!(out, "    and {} more: see --limit", HumanCount((found.len() - shown) as u64))?;
    }
    Ok(())
}

fn prompt(index: &Index, root: &str, args: &Args) -> Result<()> {
    let mut out = io::stdout();
    writeln!(out, "words that a file must hold, or beg* for a beginning; an empty line ends")?;
    let mut lines = io::stdin().lock().lines();
    loop {
        write!(out, "> ")?;
        out.flush()?;
        let Some(line) = lines.next().transpose()? else { break };
        if line.trim().is_empty() {
            break;
        }
        match query::parse(line.split_whitespace()) {
            Ok(terms) => answer(index, root, &terms, args)?,
            Err(error) => writeln!(out, "{error}")?,
        }
    }
    Ok(())
}

fn stats(index: &Index) -> Result<()> {
    let mut out = io::stdout().lock();
    let (mut files, mut bytes, mut postings, mut no_text) = (0, 0, 0, 0);
    let mut cursor = index.files.cursor();
    while cursor.next()? {
        let record = decode_record(cursor.value().expect("the cursor stands on an entry"))?;
        if record.id == 0 {
            no_text += 1;
            continue;
        }
        files += 1;
        bytes += record.stamp.bytes;
        postings += u64::from(record.words);
    }
    writeln!(
        out,
        "files     {} ({}), and {no_text} not text",
        HumanCount(files),
        HumanBytes(bytes)
    )?;
    writeln!(out, "words     {}", HumanCount(index.count_words()?))?;
    writeln!(out, "postings  {}", HumanCount(postings))?;
    for keyspace in [&index.files, &index.names, &index.postings, &index.contents] {
        write!(out, "{:9}", keyspace.name())?;
        for level in keyspace.levels().iter().filter(|level| !level.tables.is_empty()) {
            let (tables, bytes) = (level.tables.len(), HumanBytes(level.bytes()));
            write!(out, " L{}: {tables} tables, {bytes};", level.number)?;
        }
        writeln!(out)?;
    }
    let stats = index.db.stats();
    writeln!(out, "tables    {}", HumanBytes(stats.table_bytes))?;
    writeln!(out, "memtables {}", HumanBytes(stats.memtable_bytes))?;
    writeln!(
        out,
        "this run  {} batches of {}, {:.1} bytes to disk for each, {:.1} s held back ({:?})",
        HumanCount(stats.batches),
        HumanBytes(stats.written_bytes),
        stats.write_amplification(),
        stats.stall_time.as_secs_f64(),
        stats.stall_reason,
    )?;
    Ok(())
}

/// What the user can do about an error of the database.
fn advice(error: &lsm_core::Error, args: &Args) -> Option<String> {
    let index = args.index.display();
    Some(match error.kind() {
        ErrorKind::Locked => format!(
            "another search uses the index {index}: wait for it, or name another with --index"
        ),
        ErrorKind::Corrupt => {
            format!("the index {index} is damaged: delete that folder and run again to rebuild it")
        }
        ErrorKind::Invalid if args.as_is => {
            "--as-is needs a finished index: run once without it first".to_owned()
        }
        ErrorKind::Unsupported => {
            format!("the index {index} is another version's: name another with --index")
        }
        _ => return None,
    })
}

fn is_broken_pipe(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error.downcast_ref().is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe)
}
