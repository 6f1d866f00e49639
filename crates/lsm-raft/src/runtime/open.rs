//! Opens the folder of a node and starts its threads.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;

use lsm_core::Clock;
use lsm_log::fs::{Fs, Lock, LockMode};
use lsm_log::wal::segment_number;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::apply_thread::ApplyThread;
use super::beside::Beside;
use super::busy::Busy;
use super::handle::Replica;
use super::hashes::Hashes;
use super::inbox::{Inbox, Turn};
use super::jobs;
use super::log_thread::LogThread;
use super::queues::JOBS_MAX;
use super::raft_thread::RaftThread;
use super::shared::{RunState, RuntimeShared};
use super::stepper::Stepper;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::identity::{Identity, NODE_FILE};
use crate::log_store::{LogOptions, LogStore, LogWriter};
use crate::members::Members;
use crate::node::Node;
use crate::state_machine::{StateMachine, StateOptions};
use crate::storage::{GroupStorage, SnapshotSlot};
use crate::transport::Transport;

const LOG_DIR: &str = "log";
const STATE_DIR: &str = "state";
/// The engine's own log stays empty: the replicated log is the log.
const ENGINE_LOG_BYTES: u64 = 64 << 10;
/// Bytes of log that are read at once for what they announce.
const ANNOUNCE_BYTES_MAX: u64 = 4 << 20;
/// Held while a process uses the folder of a node.
pub const LOCK_FILE: &str = "LOCK";
/// Names the manifest of a database. In the folder of a node it is further down.
const ENGINE_FILE: &str = "CURRENT";

/// What a replica is opened with.
#[derive(Clone, Debug)]
pub struct ReplicaOptions {
    /// Settings of the node.
    pub config: Config,
    /// Name of the cluster; nodes of another are refused.
    pub cluster: String,
    /// The founding members, this node among them, the same on all; none for a node that
    /// joins a group. Looked at only if the folder is new.
    pub founders: Option<Members>,
    /// Settings of the engine. Its file system and clock are those below.
    pub engine: lsm_core::Options,
    /// Bytes of one segment of the log.
    pub log_segment_bytes: u64,
    /// Bytes of the log's youngest entries that are held in memory.
    pub log_cache_bytes: usize,
    /// Where the files are.
    pub fs: Arc<dyn Fs>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// A random number, new each time: names the folder if it is new, and tells this process's
    /// reads from those of any other.
    pub nonce: u64,
}

/// What an opened folder holds, before anything runs on it.
#[derive(Debug)]
pub struct Opened {
    /// Whose folder it is.
    pub identity: Identity,
    /// The log, and its writer.
    pub log: LogStore,
    /// See [`log`](Self::log).
    pub writer: LogWriter,
    /// The state machine.
    pub machine: StateMachine,
    /// Held while the folder is in use.
    pub lock: Box<dyn Lock>,
}

impl ReplicaOptions {
    /// Opens the folder, or makes it, and brings log and state to where they fit together.
    ///
    /// # Errors
    ///
    /// `Folder` if it belongs to another node, is in use, or lost its log; `Storage` and
    /// `Corrupt` as the engine reports them; `Invalid` for settings.
    pub fn open_folder(&self, dir: &Path) -> Result<Opened> {
        self.config.validate()?;
        let fs = &*self.fs;
        let found = fs.absolute(dir);
        let dir = &*found.map_err(|error| folder(dir, format!("cannot be found: {error}")))?;
        refuse_database(fs, dir)?;
        refuse_nameless(fs, dir)?;
        let made = fs.create_dir_all(dir);
        made.map_err(|error| folder(dir, format!("cannot be made: {error}")))?;
        let lock = fs.lock(&dir.join(LOCK_FILE), LockMode::Exclusive).map_err(|error| {
            folder(dir, format!("is in use by another process, or cannot be locked: {error}"))
        })?;
        let wanted = Identity {
            cluster: self.cluster.clone(),
            group: self.config.group,
            node: self.config.node,
            incarnation: self.nonce,
        };
        let (identity, _) = Identity::open(fs, dir, &wanted)?;
        let log_dir = dir.join(LOG_DIR);
        let mut machine = self.open_state(dir)?;
        if let Some(founders) = self.founders.as_ref().filter(|_| machine.applied().0 == 0) {
            let mut founders = founders.clone();
            founders.origin.founders = Some(founders.digest(&identity.cluster, identity.group));
            machine.bootstrap(founders)?;
        }
        let options = LogOptions {
            fs: Arc::clone(&self.fs),
            owner: identity.incarnation,
            segment_bytes: self.log_segment_bytes,
            cache_bytes: self.log_cache_bytes,
            seed: self.engine.seed(),
        };
        let (log, mut writer) = LogStore::open(options, &log_dir)?;
        // Nothing is applied in a term that is not in the log.
        if machine.applied().0 > 1 && log.hard_state().term == 0 {
            return Err(folder(
                dir,
                format!(
                    "holds a state but no log in {LOG_DIR}/: what this node promised to others is \
                     lost. Add a learner under a new id, then remove this node from the cluster"
                ),
            ));
        }
        join(&log, &mut writer, machine.applied(), dir)?;
        announce(&log, &mut machine)?;
        Ok(Opened { identity, log, writer, machine, lock })
    }

    fn open_state(&self, dir: &Path) -> Result<StateMachine> {
        let engine = self.engine.clone().fs(Arc::clone(&self.fs)).clock(Arc::clone(&self.clock));
        let engine = engine.log_segment_bytes(ENGINE_LOG_BYTES);
        let options = StateOptions { engine, fs: Arc::clone(&self.fs) };
        let mut machine = StateMachine::open(options, &dir.join(STATE_DIR))?;
        machine.limit_sessions(self.config.sessions_max);
        Ok(machine)
    }

    /// Opens the folder and starts the node's threads.
    ///
    /// # Errors
    ///
    /// As for [`open_folder`](Self::open_folder).
    pub fn open(self, dir: impl Into<PathBuf>, transport: Arc<dyn Transport>) -> Result<Replica> {
        let made = self.make(dir.into(), transport, Beside::Threads, JOBS_MAX)?;
        let Made { replica, raft, log, apply, lock } = made;
        // The folder is free for others once the state is closed.
        let apply = move || {
            apply.run();
            drop(lock);
        };
        // The others end with the raft thread, and so with its queues, if it cannot be started.
        let threads = vec![
            start("raft-log", move || log.run())?,
            start("raft-apply", apply)?,
            start("raft", move || raft.run())?,
        ];
        *replica.threads.lock() = threads;
        Ok(replica)
    }

    /// Opens the folder of a node whose threads are driven by hand.
    ///
    /// # Errors
    ///
    /// As for [`open_folder`](Self::open_folder).
    pub fn open_stepped(
        self,
        dir: impl Into<PathBuf>,
        transport: Arc<dyn Transport>,
    ) -> Result<(Replica, Stepper)> {
        // Nobody could make room while the raft thread waits for it.
        let made = self.make(dir.into(), transport, Beside::steps(), usize::MAX)?;
        let Made { replica, raft, log, apply, lock } = made;
        Ok((replica, Stepper::new(raft, log, apply, lock)))
    }

    pub(super) fn make(
        self,
        dir: PathBuf,
        transport: Arc<dyn Transport>,
        beside: Beside,
        jobs_max: usize,
    ) -> Result<Made> {
        let Opened { identity, log, writer, machine, lock } = self.open_folder(&dir)?;
        let (applied, members) = (machine.applied().0, (*machine.members()).clone());
        let slot = SnapshotSlot::default();
        let storage = GroupStorage::new(log.clone(), machine.conf_state(), applied, slot.clone());
        let node = Node::new(self.config.clone(), storage, applied, members, self.nonce)?;
        let shared = Arc::new(RuntimeShared {
            identity,
            dir,
            timing: self.config.timing(),
            status: watch::Sender::new(node.status()),
            life: watch::Sender::new(RunState::Running),
            reader: machine.reader(),
            log,
            slot,
            transport,
            inbox: Inbox::default(),
            beside,
            hashes: Mutex::new(Hashes::new(applied)),
            log_busy: Busy::new(Arc::clone(&self.clock)),
            room: Mutex::default(),
            free: AtomicU64::new(u64::MAX),
        });
        let hand_over_time = self.config.tick * self.config.election_ticks_max as u32;
        let (log_jobs, log_worker) = jobs::queue(jobs_max);
        let (apply_jobs, apply_worker) = jobs::queue(jobs_max);
        let raft = RaftThread {
            node,
            clock: Arc::clone(&self.clock),
            tick: self.config.tick,
            next_tick: self.clock.now() + self.config.tick,
            ticks: 0,
            hand_over_time,
            failed_at: None,
            log: log_jobs,
            apply: apply_jobs,
            shared: Arc::clone(&shared),
            fs: Arc::clone(&self.fs),
            reserve_bytes: self.config.disk_reserve_bytes,
            handed_over: false,
            turn: Turn::default(),
            checked: None,
            restoring: None,
        };
        let log = LogThread::new(writer, log_worker, Arc::clone(&shared));
        let apply = ApplyThread::new(machine, apply_worker, Arc::clone(&shared));
        let (clock, threads) = (self.clock, Arc::default());
        let replica = Replica { shared, clock, hand_over_time, threads };
        Ok(Made { replica, raft, log, apply, lock })
    }
}

/// A node that is about to run: what its threads do, and the handle of it.
pub(super) struct Made {
    replica: Replica,
    pub(super) raft: RaftThread,
    pub(super) log: LogThread,
    pub(super) apply: ApplyThread,
    /// Held until the state is closed.
    lock: Box<dyn Lock>,
}

/// Brings the log to where the state is, if it ends before: after a crash while a snapshot was
/// switched in, and in a new folder.
fn join(log: &LogStore, writer: &mut LogWriter, applied: (u64, u64), dir: &Path) -> Result<()> {
    let (index, term) = applied;
    if log.first_index() > index + 1 {
        return Err(folder(
            dir,
            format!(
                "the log begins at {}, but the state ends at {index}: the state was lost or \
                 replaced. Add a learner under a new id, then remove this node from the cluster",
                log.first_index()
            ),
        ));
    }
    if index > 0 && log.term(index) != Ok(term) {
        log.reset_to(index, term);
        writer.reset(index, term)?;
    }
    Ok(())
}

/// Whoever was known before is known again: by the log, as long as the state is older.
fn announce(log: &LogStore, machine: &mut StateMachine) -> Result<()> {
    let is_all_known =
        |members: &Members| members.nodes.values().all(|member| member.incarnation.is_some());
    let (mut next, end) = (machine.applied().0 + 1, log.last_index() + 1);
    while next < end && !is_all_known(&machine.reader().known_members()) {
        let entries = log.entries(next, end, Some(ANNOUNCE_BYTES_MAX))?;
        machine.announce(&entries);
        next += entries.len() as u64;
    }
    Ok(())
}

/// Refuses a folder that lost the file that says whose it is, before anything is made in it. Under
/// another identity nothing in it would fit, and the node must not forget what it promised.
fn refuse_nameless(fs: &dyn Fs, dir: &Path) -> Result<()> {
    let holds_files = |part: &str| fs.list(&dir.join(part)).is_ok_and(|names| !names.is_empty());
    let Some(part) = [LOG_DIR, STATE_DIR].into_iter().find(|part| holds_files(part)) else {
        return Ok(());
    };
    // What cannot be listed shows itself when it is opened.
    if fs.list(dir).map_or(true, |names| names.iter().any(|name| name == NODE_FILE)) {
        return Ok(());
    }
    let reason = format!(
        "holds files of a node in {part}/, but the file {NODE_FILE}, which says of which, is \
         missing. Put it back where it was; if it is lost, add a learner under a new id, with an \
         empty folder, and remove this node from the cluster"
    );
    Err(folder(dir, reason))
}

/// Refuses the folder of a database of the engine's own, before anything is made in it.
fn refuse_database(fs: &dyn Fs, dir: &Path) -> Result<()> {
    // What cannot be listed, or is not there yet, shows itself when it is made.
    let names = fs.list(dir).unwrap_or_default();
    let is_database =
        names.iter().any(|name| name == ENGINE_FILE || segment_number(name).is_some());
    if !is_database || names.iter().any(|name| name == NODE_FILE) {
        return Ok(());
    }
    let reason = "holds a database of the engine, which is opened with `lsm_core::Db`; a node needs \
                  a folder of its own";
    Err(folder(dir, reason.to_owned()))
}

fn folder(dir: &Path, reason: String) -> Error {
    Error::Folder { dir: dir.to_owned(), reason }
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    started.map_err(|error| Error::Raft(format!("no thread could be started: {error}")))
}

#[cfg(test)]
mod tests {
    use lsm_core::SystemClock;
    use lsm_log::fs::MemFs;
    use raft::eraftpb::{Entry, HardState};

    use super::*;
    use crate::command::{Command, collect};
    use crate::members::{Member, Role};

    fn options(fs: &Arc<MemFs>) -> ReplicaOptions {
        let member = Member {
            role: Role::Voter,
            peer_address: "peer:1".into(),
            client_address: "client:1".into(),
            incarnation: None,
        };
        let founders = Members { nodes: [(1, member)].into(), ..Members::default() };
        ReplicaOptions {
            config: Config::new(1),
            cluster: "test".into(),
            founders: Some(founders),
            engine: lsm_core::Options::default(),
            log_segment_bytes: 64 << 10,
            log_cache_bytes: 1 << 20,
            fs: Arc::clone(fs) as Arc<dyn Fs>,
            clock: Arc::new(SystemClock::new()),
            nonce: 7,
        }
    }

    #[test]
    fn the_folder_of_a_database_is_refused_and_left_as_it_is() {
        let (fs, dir) = (Arc::new(MemFs::default()), Path::new("db"));
        let engine = || lsm_core::Options::default().fs(Arc::clone(&fs) as Arc<dyn Fs>).stepped(1);
        let db = engine().open(dir).unwrap();
        db.put("a", "1").unwrap();
        db.close().unwrap();
        let names = || {
            let mut names = fs.list(dir).unwrap();
            names.sort();
            (names, fs.list_dirs(dir).unwrap())
        };
        // Also one that has lost its most important file.
        for lost in [None, Some("CURRENT")] {
            if let Some(name) = lost {
                fs.remove(&dir.join(name)).unwrap();
            }
            let before = names();
            let error = options(&fs).open_folder(dir).unwrap_err().to_string();
            assert!(error.contains("lsm_core") && error.contains("of its own"), "{error}");
            assert_eq!(names(), before);
        }
    }

    /// A folder under another identity would be of no use to anybody.
    #[test]
    fn a_folder_that_lost_its_name_is_refused_and_left_as_it_is() {
        let (fs, dir) = (Arc::new(MemFs::default()), Path::new("node"));
        drop(options(&fs).open_folder(dir).unwrap());
        let name = fs.open_read(&dir.join(NODE_FILE)).unwrap();
        let mut bytes = vec![0; name.len() as usize];
        name.read_at(0, &mut bytes).unwrap();
        fs.remove(&dir.join(NODE_FILE)).unwrap();
        let names = || {
            let mut names = [dir.to_owned(), dir.join(LOG_DIR), dir.join(STATE_DIR)]
                .map(|dir| fs.list(&dir).unwrap());
            names.iter_mut().for_each(|names| names.sort());
            names
        };
        let before = names();
        for _ in 0..2 {
            let error = options(&fs).open_folder(dir).unwrap_err().to_string();
            assert!(error.contains("the file NODE") && error.contains("is missing"), "{error}");
            assert_eq!(names(), before);
        }
        fs.create(&dir.join(NODE_FILE)).unwrap().write_at(0, &bytes).unwrap();
        drop(options(&fs).open_folder(dir).unwrap());
    }

    #[test]
    fn folders_that_were_made_for_the_parts_of_a_node_are_no_hindrance() {
        let (fs, dir) = (Arc::new(MemFs::default()), Path::new("node"));
        fs.create_dir_all(&dir.join(LOG_DIR)).unwrap();
        fs.create_dir_all(&dir.join(STATE_DIR)).unwrap();
        drop(options(&fs).open_folder(dir).unwrap());
    }

    #[test]
    fn the_engine_refuses_the_folders_of_a_node() {
        let (fs, dir) = (Arc::new(MemFs::default()), Path::new("node"));
        drop(options(&fs).open_folder(dir).unwrap());
        let engine = || lsm_core::Options::default().fs(Arc::clone(&fs) as Arc<dyn Fs>).stepped(1);
        for part in [dir.to_owned(), dir.join(LOG_DIR), dir.join(STATE_DIR)] {
            let names = fs.list(&part).unwrap();
            for result in [engine().open(&part), engine().open_read_only(&part)] {
                let error = result.unwrap_err();
                assert_eq!(error.kind(), lsm_core::ErrorKind::Invalid, "{error}");
                assert!(error.to_string().contains("`lsm-server`"), "{error}");
            }
            assert_eq!(fs.list(&part).unwrap(), names);
        }
        drop(options(&fs).open_folder(dir).unwrap());
    }

    /// It would vote for whoever asks.
    #[test]
    fn whose_folder_the_log_names_is_known_before_that_is_applied() {
        let (fs, dir) = (Arc::new(MemFs::default()), Path::new("node"));
        let Opened { log, mut writer, machine, .. } = options(&fs).open_folder(dir).unwrap();
        let mut data = Vec::new();
        let [peer_address, client_address] = ["peer:1", "client:1"].map(str::to_owned);
        let identify = Command::Identify { node: 1, incarnation: 8, peer_address, client_address };
        collect(&identify.to_bytes(), &mut data);
        let entry = |index, data| Entry { index, term: 1, data, ..Entry::default() };
        let long = vec![0; ANNOUNCE_BYTES_MAX as usize];
        let entries = [entry(2, long.into()), entry(3, data.into())];
        log.append(&entries);
        let hard_state = HardState { term: 1, vote: 1, ..HardState::default() };
        writer.write(Some(&hard_state), &entries).unwrap();
        writer.sync().unwrap();
        drop((writer, machine));
        let Opened { mut machine, .. } = options(&fs).open_folder(dir).unwrap();
        let incarnation = |members: Arc<Members>| members.nodes[&1].incarnation;
        let reader = machine.reader();
        assert_eq!(machine.applied(), (1, 1));
        assert_eq!(incarnation(reader.known_members()), Some(8));
        assert_eq!(incarnation(reader.members()), None, "it may never be applied");
        // Another leader may have put something else there.
        let others = [2, 3].map(|index| Entry { index, term: 2, ..Entry::default() });
        machine.apply(&others, &[]).unwrap();
        assert_eq!(incarnation(reader.known_members()), None);
    }

    /// The votes are in it.
    #[test]
    fn a_state_whose_log_is_gone_is_refused() {
        let (fs, dir) = (Arc::new(MemFs::default()), Path::new("node"));
        let Opened { log, mut writer, mut machine, .. } = options(&fs).open_folder(dir).unwrap();
        let entries = [Entry { index: 2, term: 1, ..Entry::default() }];
        log.append(&entries);
        let hard_state = HardState { term: 1, vote: 1, ..HardState::default() };
        writer.write(Some(&hard_state), &entries).unwrap();
        writer.sync().unwrap();
        machine.apply(&entries, &[]).unwrap();
        machine.close().unwrap();
        drop(writer);
        drop(options(&fs).open_folder(dir).unwrap());
        let log_dir = dir.join(LOG_DIR);
        for name in fs.list(&log_dir).unwrap() {
            if segment_number(&name).is_some() {
                fs.remove(&log_dir.join(name)).unwrap();
            }
        }
        for _ in 0..2 {
            let error = options(&fs).open_folder(dir).unwrap_err().to_string();
            assert!(error.contains("what this node promised to others is lost"), "{error}");
        }
    }
}
