//! The engines of single nodes: those that `--to` names, and no others.

use std::ffi::OsString;
use std::io::Write;
use std::ops::Bound;
use std::time::Duration;

use lsm_client::{NodeClient, StorageStats};

use crate::failure::Failure;
use crate::keys::Escapes;
use crate::to::To;

/// Longest wait for an answer, and for a compaction, unless told otherwise.
const TIME: Duration = Duration::from_secs(10);
const COMPACT_TIME: Duration = Duration::from_secs(600);

/// A command to the engines of the nodes that `--to` names.
#[derive(Clone, Debug, clap::Subcommand)]
#[expect(missing_docs, reason = "what is flattened is described by its type")]
pub enum StorageCommand {
    /// Turns what is in memory into tables
    Flush {
        #[command(flatten)]
        to: To,
    },
    /// Merges tables down the levels, which gives back the room of what was deleted
    Compact {
        /// From this key on [default: from the first]
        #[arg(long, value_name = "KEY")]
        start: Option<OsString>,
        /// To before this key [default: to the last]
        #[arg(long, value_name = "KEY")]
        end: Option<OsString>,
        #[command(flatten)]
        escapes: Escapes,
        #[command(flatten)]
        to: To,
    },
    /// Lists the levels: how many tables, and how large
    Levels {
        #[command(flatten)]
        to: To,
    },
    /// Prints counters since the node started
    Stats {
        #[command(flatten)]
        to: To,
    },
}

impl StorageCommand {
    /// One node after the other: what a compaction costs is not asked of all at once.
    pub(crate) async fn run(&self, out: &mut impl Write) -> Result<(), Failure> {
        let (to, time) = match self {
            Self::Flush { to } | Self::Levels { to } | Self::Stats { to } => (to, TIME),
            Self::Compact { to, .. } => (to, COMPACT_TIME),
        };
        for address in to.nodes() {
            let node = to.node(address, time).await?;
            if to.nodes().len() > 1 {
                writeln!(out, "{address}:")?;
            }
            self.run_on(out, &node).await?;
        }
        Ok(())
    }

    async fn run_on(&self, out: &mut impl Write, node: &NodeClient) -> Result<(), Failure> {
        match self {
            Self::Flush { .. } => node.flush().await?,
            Self::Compact { start, end, escapes, .. } => {
                let key = |key: &Option<OsString>| {
                    key.as_deref().map(|key| escapes.bytes(key)).transpose()
                };
                let start = key(start)?.map_or(Bound::Unbounded, Bound::Included);
                let end = key(end)?.map_or(Bound::Unbounded, Bound::Excluded);
                node.compact((start, end)).await?;
            }
            Self::Levels { .. } => {
                writeln!(out, "level  tables  entries       bytes")?;
                for level in node.levels().await? {
                    let entries: u64 = level.sstables.iter().map(|table| table.entries).sum();
                    let (number, tables) = (level.level, level.sstables.len());
                    writeln!(out, "{number:<5}  {tables:<6}  {entries:<12}  {}", level.bytes)?;
                }
            }
            Self::Stats { .. } => print_stats(out, &node.stats().await?)?,
        }
        Ok(())
    }
}

fn print_stats(out: &mut impl Write, stats: &StorageStats) -> Result<(), Failure> {
    writeln!(out, "read-amplification   {:.2}", stats.read_amplification)?;
    writeln!(out, "write-amplification  {:.2}", stats.write_amplification)?;
    for (name, count) in [
        ("gets", stats.gets),
        ("gets-found", stats.gets_found),
        ("filter-hits", stats.filter_hits),
        ("filter-misses", stats.filter_misses),
        ("false-positives", stats.false_positives),
        ("blocks", stats.blocks),
        ("flushes", stats.flushes),
        ("compactions", stats.compactions),
        ("table-bytes", stats.table_bytes),
        ("memtable-bytes", stats.memtable_bytes),
        ("cache-bytes", stats.cache_bytes),
        ("debt-bytes", stats.debt_bytes),
        ("stall-micros", stats.stall_micros),
        ("log-bytes", stats.log_bytes),
    ] {
        writeln!(out, "{name:<19}  {count}")?;
    }
    Ok(())
}
