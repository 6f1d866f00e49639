//! Five processes on this machine, in a folder of their own; or a cluster that runs already.
//!
//! Processes that were started here are killed when the cluster is dropped, and their folder is
//! removed.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::Folder;
use tokio::time::{sleep, timeout};

use super::target::{Addresses, Connection, Target};

const NODES: usize = 5;
/// For all nodes to agree on a leader.
const LEADER_TIME: Duration = Duration::from_secs(60);
/// For one node to answer.
const STATUS_TIME: Duration = Duration::from_secs(2);
/// Lines of a node's log that are shown if it ends.
const LOG_LINES: usize = 15;

pub(crate) struct Cluster {
    clients: Vec<String>,
    processes: Vec<Child>,
    folder: Option<Folder>,
}

impl Cluster {
    pub(crate) fn existing(endpoints: &[String]) -> Self {
        Self { clients: endpoints.to_vec(), processes: Vec::new(), folder: None }
    }

    /// Starts a new, empty cluster.
    pub(crate) fn start<T: Target>() -> io::Result<Self> {
        let folder = Folder::new();
        let addresses = free_addresses()?;
        let clients = addresses.iter().map(|node| node.client.clone()).collect();
        let mut cluster = Self { clients, processes: Vec::new(), folder: None };
        for index in 0..NODES {
            let log = File::create(folder.path().join(log_name(index)))?;
            let dir = folder.path().join(format!("node-{}", index + 1));
            let mut command = T::command(index, &addresses, &dir);
            command.stdout(Stdio::from(log.try_clone()?)).stderr(Stdio::from(log));
            let process = command.spawn().map_err(|error| {
                let program = command.get_program().to_string_lossy().into_owned();
                io::Error::new(error.kind(), format!("{program} does not start: {error}"))
            })?;
            cluster.processes.push(process);
        }
        cluster.folder = Some(folder);
        Ok(cluster)
    }

    /// Addresses for clients.
    pub(crate) fn clients(&self) -> &[String] {
        &self.clients
    }

    /// None if it was not started here.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.processes.iter().map(Child::id).collect()
    }

    /// Waits until all nodes agree on a leader, and returns its index.
    ///
    /// # Errors
    ///
    /// With what is known, if a process ended or the time is over.
    pub(crate) async fn leader<T: Target>(&mut self) -> Result<usize, String> {
        let start = Instant::now();
        loop {
            self.check_processes()?;
            let found = self.agreed_leader::<T>().await;
            match found {
                Ok(leader) => return Ok(leader),
                Err(why) if start.elapsed() > LEADER_TIME => {
                    return Err(format!("{}: no leader: {why}", T::NAME));
                }
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    async fn agreed_leader<T: Target>(&self) -> Result<usize, String> {
        let mut standings = Vec::new();
        for client in &self.clients {
            let connection = Connection::to(client).await?;
            let standing = timeout(STATUS_TIME, T::standing(connection)).await;
            match standing {
                Ok(Ok(standing)) => standings.push(standing),
                Ok(Err(status)) => return Err(format!("{client}: {status}")),
                Err(_) => return Err(format!("{client} does not answer")),
            }
        }
        let leader = standings.first().map_or(0, |first| first.leader);
        if leader == 0 || standings.iter().any(|standing| standing.leader != leader) {
            return Err(format!("nodes do not agree: {standings:?}"));
        }
        let index = standings.iter().position(|standing| standing.node == leader);
        index.ok_or_else(|| format!("the leader is none of {:?}", self.clients))
    }

    /// # Errors
    ///
    /// If a process has ended, with the end of its log.
    pub(crate) fn check_processes(&mut self) -> Result<(), String> {
        for (index, process) in self.processes.iter_mut().enumerate() {
            let Ok(Some(status)) = process.try_wait() else { continue };
            let log = self.folder.as_ref().map(|folder| folder.path().join(log_name(index)));
            let log = log.and_then(|log| fs::read_to_string(log).ok()).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n  ");
            return Err(format!("node {} ended, {status}:\n  {tail}", index + 1));
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
        }
        for process in &mut self.processes {
            let _ = process.wait();
        }
    }
}

fn log_name(index: usize) -> String {
    format!("node-{}.log", index + 1)
}

/// Ports that nobody listens on now; all are taken at the same time, so that they differ.
fn free_addresses() -> io::Result<Vec<Addresses>> {
    let listen = |_| TcpListener::bind("127.0.0.1:0");
    let listeners = (0..2 * NODES).map(listen).collect::<io::Result<Vec<_>>>()?;
    let address = |listener: &TcpListener| listener.local_addr().map(|addr| addr.to_string());
    let pairs = listeners.chunks(2);
    pairs
        .map(|pair| Ok(Addresses { client: address(&pair[0])?, peer: address(&pair[1])? }))
        .collect()
}
