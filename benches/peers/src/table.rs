//! The results as Markdown.

use std::fmt::Write as _;
use std::time::Duration;

use common::{Measured, Section, digits, rate, rounds, rows, time};

use crate::summary::Summary;

/// The sections of timed rows, and their titles.
const SECTIONS: &[(Section, &str)] = &[
    (Section::Writes, "Writes"),
    (Section::Disk, "What the disk gives beside each engine"),
    (Section::Reads, "Reads, after the fill settled"),
    (Section::Compacted, "The same after a full compaction, where the engine has one"),
    (Section::Ycsb, "YCSB, on the settled tree, in this order"),
    (Section::Together, "Two at once"),
    (Section::Large, "Reads of values of 1 KiB"),
    (Section::Deletes, "A third deleted at random"),
    (Section::Queue, "The first of a prefix behind deleted keys"),
    (Section::Lz4, "With LZ4"),
];

/// All tables of one size of data.
pub(crate) fn tables(summary: &Summary) -> String {
    let mut out = about(summary);
    out += "\n### Operations a second\n\nMedian, and below it the least and the greatest. `best` is \
            lsm-core's median as a multiple of the best other engine's.\n";
    for (section, title) in SECTIONS {
        let rows = rows_of(summary, &[*section]);
        if !rows.is_empty() {
            let compared = (*section != Section::Disk).then_some(summary);
            _ = write!(out, "\n**{title}**\n\n");
            out += &grid(summary, &rows, compared, |row, engine| cell_rate(summary, row, engine));
        }
    }
    let timed: Vec<_> = SECTIONS.iter().map(|(section, _)| *section).collect();
    let timed = rows_of(summary, &timed);
    let rest = rows_of(summary, &[Section::Rest]);
    out += "\n### At rest\n\nMB that the files take, as a multiple of the keys and values in them; MB \
            written to get there; MB of memory that no file stands behind.\n\n";
    out += &grid(summary, &rest, None, |row, engine| cell_rest(summary, row, engine));
    out += "\n### Times of calls\n\nMedian, 99 %, 99.9 % and the longest of all rounds.\n\n";
    out += &grid(summary, &timed, None, |row, engine| cell_times(summary, row, engine));
    out += "\n### Processor time, and bytes written, for one operation\n\nOf the whole process with \
            its background threads, in the median round.\n\n";
    out += &grid(summary, &timed, None, |row, engine| cell_cost(summary, row, engine));
    out
}

fn about(summary: &Summary) -> String {
    let about = &summary.about;
    let machine = &about.machine;
    let mut out = format!("## {} entries\n\n", common::rate(about.entries as f64));
    let engines = summary.engines.iter().map(|name| format!("{name} {}", about.versions[*name]));
    let engines = engines.collect::<Vec<_>>().join(", ");
    let commit = about.commit.as_deref().unwrap_or("unknown");
    _ = writeln!(
        out,
        "{} processors ({}), {} GiB of memory, {}. {}. {engines}; commit {commit}. No row took longer \
         than {} s.",
        machine.processors,
        machine.processor,
        machine.memory_gib,
        machine.system,
        rounds(summary.rounds() as u64),
        about.row_seconds,
    );
    out
}

/// Those of the sections that any engine has.
fn rows_of(summary: &Summary, sections: &[Section]) -> Vec<&'static str> {
    let rows = rows().into_iter().filter(|(section, _)| sections.contains(section));
    rows.map(|(_, name)| name).filter(|name| summary.has(name)).collect()
}

/// A line a row, a column an engine; with `ratios` one more.
fn grid(
    summary: &Summary,
    rows: &[&str],
    ratios: Option<&Summary>,
    cell: impl Fn(&str, &str) -> Option<String>,
) -> String {
    let mut out = String::from("| |");
    let best = ratios.map_or("", |_| " best |");
    summary.engines.iter().for_each(|engine| _ = write!(out, " {engine} |"));
    _ = write!(out, "{best}\n|---|");
    out += &"---|".repeat(summary.engines.len() + usize::from(ratios.is_some()));
    for row in rows {
        _ = write!(out, "\n| {row} |");
        for engine in &summary.engines {
            _ = write!(out, " {} |", cell(row, engine).as_deref().unwrap_or("–"));
        }
        if let Some(summary) = ratios {
            let ratio =
                summary.ratio(row).map_or("–".into(), |ratio| format!("{} ×", digits(ratio)));
            _ = write!(out, " {ratio} |");
        }
    }
    out + "\n"
}

fn cell_rate(summary: &Summary, row: &str, engine: &str) -> Option<String> {
    let spread = summary.spread((row, engine), Measured::per_second)?;
    let (least, greatest) = (rate(spread.least), rate(spread.greatest));
    let range =
        if least == greatest { String::new() } else { format!("<br>{least} – {greatest}") };
    Some(rate(spread.median) + &range)
}

fn cell_rest(summary: &Summary, row: &str, engine: &str) -> Option<String> {
    let median = |figure: fn(&Measured) -> f64| {
        summary.spread((row, engine), figure).map(|spread| spread.median)
    };
    let files = median(|m| m.disk_bytes.unwrap_or(0) as f64)?;
    let live = median(|m| m.live_bytes.unwrap_or(0) as f64)?;
    let (written, memory) = (median(|m| m.written_bytes as f64)?, median(|m| m.anon_bytes as f64)?);
    let mb = |bytes: f64| format!("{:.0}", bytes / 1e6);
    let times = digits(files / live);
    Some(format!("{} ({times} ×)<br>{} written, {} memory", mb(files), mb(written), mb(memory)))
}

fn cell_times(summary: &Summary, row: &str, engine: &str) -> Option<String> {
    let spread = |figure: fn(&Measured) -> u64| {
        let spread = summary.spread((row, engine), |m| figure(m) as f64);
        spread.map(|s| (nanos(s.median), nanos(s.greatest)))
    };
    let (p50, p99) = (spread(|m| m.p50_nanos)?.0, spread(|m| m.p99_nanos)?.0);
    let (p999, longest) = (spread(|m| m.p999_nanos)?.0, spread(|m| m.longest_nanos)?.1);
    Some(format!("{p50}, {p99}<br>{p999}, {longest}"))
}

fn cell_cost(summary: &Summary, row: &str, engine: &str) -> Option<String> {
    let processor = summary.spread((row, engine), Measured::processor_nanos)?.median;
    let written = |m: &Measured| m.written_bytes as f64 / m.operations.max(1) as f64;
    let written = summary.spread((row, engine), written)?.median;
    let written = if written < 0.5 { String::new() } else { format!("<br>{written:.0} B") };
    Some(format!("{}{written}", nanos(processor)))
}

fn nanos(nanos: f64) -> String {
    time(Duration::from_nanos(nanos as u64))
}
