//! The nodes as processes.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::plan::{LocalPlan, PlannedNode};

/// Longest time that the nodes get to stop.
const STOP_TIME_MAX: Duration = Duration::from_secs(15);
const STOP_LOOK: Duration = Duration::from_millis(20);
/// Bytes of a node's log that are shown when it ends.
const TAIL_BYTES: usize = 1500;

/// The processes, in the order of the plan; none for one that has ended. Dropping it closes
/// their standard inputs, and so stops them.
#[derive(Debug, Default)]
pub(super) struct Processes {
    children: Vec<Option<Child>>,
}

impl Processes {
    /// Starts the next node of the plan.
    pub(super) fn start(
        &mut self,
        program: &Path,
        plan: &LocalPlan,
        node: &PlannedNode,
    ) -> io::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&node.log)?;
        let mut command = Command::new(program);
        command
            .args(plan.arguments(node))
            .arg("--stop-with-stdin")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C is for us; the nodes are told in turn.
            .process_group(0);
        // What is set for one node does not hold for all of these.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("LSM_")) {
                command.env_remove(name);
            }
        }
        self.children.push(Some(command.spawn()?));
        Ok(())
    }

    /// How a node ended, if it did since the last call.
    pub(super) fn ended(&mut self, node: usize) -> Option<ExitStatus> {
        let slot = self.children.get_mut(node)?;
        let status = slot.as_mut()?.try_wait().ok()??;
        *slot = None;
        Some(status)
    }

    pub(super) fn pid(&self, node: usize) -> Option<u32> {
        self.children.get(node)?.as_ref().map(Child::id)
    }

    pub(super) fn running(&self) -> usize {
        self.children.iter().flatten().count()
    }

    /// Stops all nodes; those that take too long are killed. Returns how many.
    pub(super) async fn stop(&mut self) -> usize {
        for child in self.children.iter_mut().flatten() {
            drop(child.stdin.take());
        }
        let end = Instant::now() + STOP_TIME_MAX;
        loop {
            for node in 0..self.children.len() {
                self.ended(node);
            }
            if self.running() == 0 || Instant::now() >= end {
                break;
            }
            sleep(STOP_LOOK).await;
        }
        self.kill()
    }

    /// Kills all nodes that run. Returns how many.
    pub(super) fn kill(&mut self) -> usize {
        let mut killed = 0;
        for mut child in self.children.iter_mut().filter_map(Option::take) {
            killed += usize::from(child.kill().is_ok());
            let _ = child.wait();
        }
        killed
    }
}

/// The last lines of a log file.
pub(super) fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let from = text.len().saturating_sub(TAIL_BYTES);
    let from = (from..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
    let (_, tail) = text.split_at(from);
    let whole_lines = if from == 0 { tail } else { tail.split_once('\n').map_or(tail, |(_, t)| t) };
    whole_lines.trim_end().to_owned()
}
