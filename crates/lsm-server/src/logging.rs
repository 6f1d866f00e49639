//! The log: lines on standard error, for people or for programs.
//!
//! A line that cannot be written, because the disk with the log is full or whoever read it has
//! gone, is lost. It must not cost the node: a leader whose disk is full has yet to hand over.

use std::io::Write as _;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Starts logging, for the rest of the process's life. Once: later calls change nothing.
pub(crate) fn start(log: &Log) {
    // The filter was checked with the other settings.
    let filter = EnvFilter::builder().parse_lossy(&log.filter);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would tell of lost lines on standard error, and panic as that fails.
        .log_internal_errors(false);
    let started = match log.format {
        LogFormat::Text => {
            let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
            builder.with_ansi(colour).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    drop(started);
}

/// Lets a panic of any thread end the process, after it was logged: what the thread held is in
/// an unknown state, and a node that is gone is what the others can deal with.
pub(crate) fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(%panic, %backtrace, "this is a bug; the process ends here");
        let line = format!("lsm-server: {panic}\nThis is a bug; the process ends here.");
        let _ = writeln!(std::io::stderr(), "{line}");
        std::process::abort();
    }));
}
