//! Puts tables and pictures of results into the documentation.

use std::fs;
use std::path::{Path, PathBuf};

use crate::record::{Record, Result};
use crate::summary::Summary;
use crate::{pictures, table};

/// What stands between these lines is the program's; the rest is written by hand.
const BEGIN: &str = "<!-- results: written by `peers report` -->\n";
const END: &str = "<!-- end of results -->\n";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files with results: those of the same number of entries go into the same tables
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The document; the pictures go into the folder beside it that has its name
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/benchmarks.md"))]
    document: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result {
    let records = args.files.iter().map(|file| Record::read(file));
    let summaries = by_size(records.collect::<Result<_>>()?)?;
    let folder = args.document.with_extension("");
    fs::create_dir_all(&folder)?;
    let mut results = draw(&summaries[0], &folder)?;
    for summary in &summaries {
        results += "\n";
        results += &table::tables(summary);
    }
    let document = fs::read_to_string(&args.document)?;
    Ok(fs::write(&args.document, between(&document, &results)?)?)
}

/// In the order of the first record of each size.
fn by_size(records: Vec<Record>) -> Result<Vec<Summary>> {
    let mut sizes: Vec<Vec<Record>> = Vec::new();
    for record in records {
        match sizes.iter_mut().find(|records| records[0].entries == record.entries) {
            Some(records) => records.push(record),
            None => sizes.push(vec![record]),
        }
    }
    sizes.into_iter().map(Summary::of).collect()
}

/// The document with other results.
fn between(document: &str, results: &str) -> Result<String> {
    let parts = document.split_once(BEGIN).and_then(|(head, rest)| {
        let (_, tail) = rest.split_once(END)?;
        Some((head, tail))
    });
    let (head, tail) = parts.ok_or("the document has no lines for the results")?;
    Ok(format!("{head}{BEGIN}\n{results}\n{END}{tail}"))
}

/// Draws the pictures into a folder; returns the Markdown that shows them, for a file beside it.
fn draw(summary: &Summary, folder: &Path) -> Result<String> {
    let pictures = [
        ("threads", "Puts and gets a second by 1 to 16 threads", pictures::threads(summary)?),
        ("best", "lsm-core as a multiple of the best other engine", pictures::best(summary)?),
    ];
    let beside = folder.file_name().unwrap_or_default().to_string_lossy();
    let mut shown = Vec::new();
    for (name, title, svg) in pictures {
        fs::write(folder.join(format!("{name}.svg")), svg)?;
        shown.push(format!("![{title}]({beside}/{name}.svg)\n"));
    }
    Ok(shown.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, between};

    #[test]
    fn only_what_stands_between_the_lines_is_replaced() {
        let document = format!("by hand\n{BEGIN}old\n{END}by hand too\n");
        let new = between(&document, "new\n").unwrap();
        assert_eq!(new, format!("by hand\n{BEGIN}\nnew\n\n{END}by hand too\n"));
        assert_eq!(between(&new, "new\n").unwrap(), new, "twice is once");
        assert!(between("no such lines", "new").is_err());
    }
}
