//! From the start of the nodes to their end, and what is told meanwhile.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lsm_core::fs::{Fs, Lock, LockMode, OsFs};
use lsm_raft::LOCK_FILE;
use tempfile::TempDir;
use tokio::time::{MissedTickBehavior, interval};

use super::plan::{LocalPlan, PEER_PORT_OFFSET};
use super::processes::{Processes, tail};
use super::view::{ClusterView, News};
use crate::exit;
use crate::signals::StopSignal;

/// How often the nodes are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Runs a whole cluster on this machine, for trying it out.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LocalArgs {
    /// How many nodes; of 5, any 2 may die
    #[arg(long, value_name = "N", default_value_t = 5,
        value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// Folder for the nodes, which is kept [default: a new one, removed at the end unless a node
    /// that was started by hand runs in it]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the first node listens for clients; the others follow, and for nodes 1000 above
    #[arg(long, value_name = "PORT", default_value_t = 4001,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(u16::MAX - PEER_PORT_OFFSET) - 9))]
    port: u16,
    /// Further flags of `start`, for every node, after `--`
    #[arg(last = true, value_name = "FLAGS")]
    flags: Vec<String>,
}

/// Runs until it is asked to stop, by Ctrl-C or SIGTERM.
///
/// # Errors
///
/// A sentence: a port is taken, the folder cannot be made, no process can be started.
pub(crate) fn run(args: &LocalArgs) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let folder = Folder::new(args.data.as_deref())?;
    let plan = Arc::new(LocalPlan::new(args.nodes, args.port, folder.path(), &args.flags));
    plan.check_flags()?;
    plan.check_ports()?;
    let ended = runtime.block_on(async {
        // All that may fail comes before there are nodes that would have to be stopped.
        let stop = StopSignal::listen(false).map_err(|error| error.to_string())?;
        let view = ClusterView::new(&plan)?;
        Local::start(&plan)?.watch(&folder, &stop, view).await
    });
    folder.end(&plan);
    ended
}

/// Where the nodes live.
enum Folder {
    Given(PathBuf),
    Temporary(TempDir),
}

impl Folder {
    fn new(given: Option<&Path>) -> Result<Self, String> {
        let Some(given) = given else {
            let made = tempfile::Builder::new().prefix("lsm-local-").tempdir();
            return made.map(Self::Temporary).map_err(|error| format!("no folder: {error}"));
        };
        let made = OsFs.create_dir_all(given).and_then(|()| given.canonicalize());
        made.map(Self::Given).map_err(|error| format!("{}: {error}", given.display()))
    }

    /// Removes what is temporary; not under a node that somebody else has started in it.
    fn end(self, plan: &LocalPlan) {
        let Self::Temporary(dir) = self else { return };
        let (mut used, mut locks) = (Vec::new(), Vec::new());
        for node in &plan.nodes {
            match lock(&node.data) {
                // Held until the folder is gone, so that nobody starts in it meanwhile.
                Ok(lock) => locks.extend(lock),
                Err(_) => used.push(node.id.to_string()),
            }
        }
        if used.is_empty() {
            let path = dir.path().display().to_string();
            if let Err(error) = dir.close() {
                say(&format!("{path} could not be removed: {error}"));
            }
            return;
        }
        let (nodes, path) = (used.join(", "), dir.keep());
        say(&format!(
            "in use by node {nodes}, which was started by hand: {} is kept; stop the node, then \
             remove the folder",
            path.display()
        ));
    }

    fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            Self::Temporary(dir) => dir.path(),
        }
    }

    fn fate(&self) -> &'static str {
        match self {
            Self::Given(_) => "kept",
            Self::Temporary(_) => "removed at the end",
        }
    }
}

/// The right to use the folder of a node, if there is one.
///
/// # Errors
///
/// If somebody else has it.
fn lock(node: &Path) -> std::io::Result<Option<Box<dyn Lock>>> {
    let path = node.join(LOCK_FILE);
    match OsFs.open_read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        _ => OsFs.lock(&path, LockMode::Exclusive).map(Some),
    }
}

struct Local {
    program: PathBuf,
    plan: Arc<LocalPlan>,
    processes: Processes,
}

impl Local {
    fn start(plan: &Arc<LocalPlan>) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| format!("who am I? {error}"))?;
        let mut processes = Processes::default();
        for node in &plan.nodes {
            if let Err(error) = processes.start(&program, plan, node) {
                processes.kill();
                return Err(format!("node {} cannot be started: {error}", node.id));
            }
        }
        Ok(Self { program, plan: Arc::clone(plan), processes })
    }

    async fn watch(
        mut self,
        folder: &Folder,
        stop: &StopSignal,
        mut view: ClusterView,
    ) -> Result<(), String> {
        self.tell_plan(folder);
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.asked() => break,
                _ = looks.tick() => {}
            }
            self.tell_ends();
            if self.processes.running() == 0 && view.saw_none() {
                return Err("all nodes have ended before one of them could be reached".to_owned());
            }
            let news = tokio::select! {
                () = stop.asked() => break,
                news = view.look() => news,
            };
            for news in news {
                self.tell(&news);
            }
        }
        say("stopping the nodes; once more kills them");
        let killed = tokio::select! {
            killed = self.processes.stop() => killed,
            () = stop.asked_again() => self.processes.kill(),
        };
        if killed > 0 {
            return Err(format!("{killed} nodes did not stop and were killed"));
        }
        Ok(())
    }

    fn tell_plan(&self, folder: &Folder) {
        let (count, dir) = (self.plan.nodes.len(), folder.path().display());
        say(&format!("{count} nodes on this machine; data in {dir} ({})\n", folder.fate()));
        say("  node  process  clients          nodes            log");
        for (index, node) in self.plan.nodes.iter().enumerate() {
            let pid = self.processes.pid(index).unwrap_or(0);
            let (listen, peer_listen) = (node.listen.to_string(), node.peer_listen.to_string());
            let log = node.log.display();
            say(&format!("  {:<4}  {pid:<7}  {listen:<15}  {peer_listen:<15}  {log}", node.id));
        }
        let first = self.plan.nodes[0].listen;
        let program = self.program.display();
        say(&format!(
            "\nTry:   {program} put hello world --to {first}\n       \
             {program} get hello --to {first}\n       \
             kill -9 one or two of the processes\nStop:  Ctrl-C\n"
        ));
    }

    fn tell_ends(&mut self) {
        for (index, node) in self.plan.nodes.iter().enumerate() {
            let Some(status) = self.processes.ended(index) else { continue };
            say(&format!("node {} has ended: {status}", node.id));
            if status.code().is_some() {
                say(&tail(&node.log));
            }
            if status.code() != Some(exit::REFUSED.into()) {
                say(&format!("to start it again:\n  {}", self.plan.command(&self.program, node)));
            }
        }
    }

    fn tell(&self, news: &News) {
        match news {
            News::Leader { node, term } => {
                let listen = usize::try_from(node - 1).ok().and_then(|at| self.plan.nodes.get(at));
                let listen = listen.map(|node| format!(" at {}", node.listen)).unwrap_or_default();
                say(&format!("node {node}{listen} leads (term {term})"));
            }
            News::NoLeader => {
                let (running, count) = (self.processes.running(), self.plan.nodes.len());
                let needed = count / 2 + 1;
                say(&format!("no node leads ({running} of {count} run here, {needed} are needed)"));
            }
            News::Back(node) => say(&format!("node {node} is back")),
        }
    }
}

/// One line for whoever looks on; if nobody does, so be it.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
