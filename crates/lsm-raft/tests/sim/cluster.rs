//! The simulated cluster: time, events and what they lead to.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use fastrand::Rng;
use lsm_log::fs::CrashImage;
use lsm_raft::command::Command;
use lsm_raft::raft::eraftpb::Message;
use lsm_raft::testkit::{Recorder, check};
use lsm_raft::{Change, Error, Header, Member, Members, Outcome, Outgoing, Piece, Refusal, Role};

use crate::clients::{Client, Next, PATIENCE, RETRY_PAUSE};
use crate::faults;
use crate::host::Host;
use crate::network::Network;
use crate::oracle::Oracle;
use crate::pair::Pair;
use crate::replica::{Answer, Effects, Request, Running, Setup, Ticket};
use crate::report::Report;

const NODES: u64 = 5;
const CLIENTS: u64 = 6;
const TICK: u64 = 100_000;
/// Faults happen until then; microseconds.
pub(crate) const FAULTS_END: u64 = 15_000_000;
/// Clients begin no request after that, and every one that they began is answered by the end.
const CLIENTS_END: u64 = FAULTS_END + 6_000_000;
/// No states are asked for after that.
const CHECKS_END: u64 = CLIENTS_END + 5_000_000;
const END: u64 = CHECKS_END + 3_000_000;
/// After the last fault each client is served within this time.
const RECOVERY_MAX: u64 = 8_000_000;
const OPERATIONS_MAX: usize = 1 << 20;

/// One of the threads of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thread {
    Raft,
    Log,
    Apply,
}

#[derive(Debug)]
pub(crate) enum Event {
    Deliver(Message),
    Snapshot { from: u64, to: u64, term: u64, header: Header, pieces: Vec<Piece> },
    SnapshotEnded { node: u64, life: u64, to: u64, whole: bool },
    Tick { node: u64, life: u64 },
    Turn { node: u64, life: u64, thread: Thread },
    Maintain { node: u64, life: u64 },
    Client { id: u64 },
    Pair,
    Ask { attempt: Ticket, node: u64, request: Request },
    Resend { id: u64 },
    Answer { attempt: Ticket, answer: Answer },
    Impatience { id: u64, attempt: Ticket },
    AskForStates,
    CompareStates { index: u64 },
    Fault,
    Transfer { to: u64 },
    Replace { node: u64 },
    Restart { node: u64 },
    Crash { node: u64, life: u64 },
    Heal,
}

pub(crate) struct Cluster {
    seed: u64,
    print: bool,
    pub(crate) rng: Rng,
    pub(crate) now: u64,
    serial: u64,
    events: BTreeMap<(u64, u64), Event>,
    pub(crate) hosts: BTreeMap<u64, Host>,
    pub(crate) network: Network,
    clients: BTreeMap<u64, Client>,
    pair: Pair,
    attempts: BTreeMap<Ticket, u64>,
    last_attempt: Ticket,
    /// Nodes that are gone for good and still members.
    pub(crate) replacing: BTreeSet<u64>,
    /// Indexes whose states were asked for, the last ones.
    asked: Vec<u64>,
    recorder: Arc<Recorder>,
    oracle: Oracle,
    pub(crate) report: Report,
}

impl Cluster {
    pub(crate) fn new(seed: u64, print: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let recorder = Arc::new(Recorder::new(OPERATIONS_MAX));
        let mut cluster = Self {
            seed,
            print,
            now: 0,
            serial: 0,
            events: BTreeMap::new(),
            hosts: BTreeMap::new(),
            network: Network::new(),
            clients: BTreeMap::new(),
            pair: Pair::default(),
            attempts: BTreeMap::new(),
            last_attempt: 0,
            replacing: BTreeSet::new(),
            asked: Vec::new(),
            oracle: Oracle::default(),
            report: Report::default(),
            recorder: Arc::clone(&recorder),
            rng: rng.fork(),
        };
        for id in 1..=NODES {
            let setup = cluster.setup(id, Some(founders()));
            cluster.add_host(setup);
        }
        for id in 1..=CLIENTS {
            let client = Client::new(id, id % 2 == 0, Arc::clone(&recorder));
            cluster.clients.insert(id, client);
            cluster.schedule(rng.u64(..TICK), Event::Client { id });
        }
        cluster.schedule(100_000, Event::Pair);
        cluster.schedule(1_500_000, Event::Fault);
        cluster.schedule(2_000_000, Event::AskForStates);
        cluster.schedule(FAULTS_END, Event::Heal);
        cluster
    }

    /// Settings of a node, which may differ from those of the others.
    pub(crate) fn setup(&mut self, id: u64, founders: Option<Members>) -> Setup {
        let rng = &mut self.rng;
        let lease_reads = match self.seed % 4 {
            0 | 1 => false,
            2 => true,
            // Then nobody rests on a lease.
            _ => rng.bool(),
        };
        let election_ticks = if self.seed.is_multiple_of(5) { rng.usize(7..20) } else { 10 };
        Setup { id, founders, lease_reads, election_ticks, seed: rng.u64(..) }
    }

    pub(crate) fn add_host(&mut self, setup: Setup) {
        let id = setup.id;
        // A lease allows for a difference of a tenth and a little.
        let rate = self.rng.i64(-40..=40);
        self.hosts.insert(id, Host::new(setup, rate, self.now));
        self.start(id);
    }

    pub(crate) fn run(mut self) -> Report {
        while let Some(((time, _), event)) = self.events.pop_first() {
            if time > END {
                break;
            }
            self.now = time;
            self.handle(event);
        }
        self.finish()
    }

    pub(crate) fn schedule(&mut self, after: u64, event: Event) {
        self.serial += 1;
        self.events.insert((self.now + after, self.serial), event);
    }

    fn trace(&mut self, what: &str, node: u64, detail: u64) {
        let numbers = [self.report.trace, self.now, node, detail];
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.report.trace = xxhash_rust::xxh3::xxh3_64_with_seed(&bytes, what.len() as u64);
        if self.print {
            println!("{:>9} {what} {node} {detail}", self.now);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Deliver(message) => self.deliver(message),
            Event::Snapshot { from, to, term, header, pieces } => {
                self.snapshot_arrived(from, to, term, &header, pieces);
            }
            Event::SnapshotEnded { node, life, to, whole } => {
                // Not lost while the sender is paused: it does not come through the network.
                if self.is_alive(node, life, Event::SnapshotEnded { node, life, to, whole }) {
                    self.with(node, |running| running.replica.snapshot_sent(to, whole));
                }
            }
            Event::Tick { node, life } => {
                if self.is_alive(node, life, Event::Tick { node, life }) {
                    self.with(node, |running| running.stepper.raft());
                    self.schedule_tick(node);
                }
            }
            Event::Turn { node, life, thread } => {
                if self.is_alive(node, life, Event::Turn { node, life, thread }) {
                    self.turn(node, thread);
                }
            }
            Event::Maintain { node, life } => {
                if self.is_alive(node, life, Event::Maintain { node, life }) {
                    self.maintain(node, life);
                }
            }
            Event::Client { id } => self.client(id),
            Event::Pair => self.pair(),
            Event::Ask { attempt, node, request } => {
                self.with(node, |running| running.ask(attempt, request));
            }
            Event::Resend { id } => self.send(id),
            Event::Answer { attempt, answer } => self.answer(attempt, answer),
            Event::Impatience { id, attempt } => {
                if self.clients[&id].waits_for(attempt) {
                    let nodes = self.nodes();
                    let client = self.clients.get_mut(&id).expect("clients stay");
                    let next = client.gone(&nodes, &mut self.rng, self.now);
                    self.go_on(id, &next);
                }
            }
            Event::AskForStates => self.ask_for_states(),
            Event::CompareStates { index } => drop(self.compare_states(index)),
            Event::Fault => faults::strike(self),
            Event::Transfer { to } => {
                if let Some(leader) = self.leader() {
                    self.report.transfers += 1;
                    self.with(leader, |running| running.replica.transfer(Some(to)));
                }
            }
            Event::Replace { node } => self.replace(node),
            Event::Restart { node } => {
                if self.hosts.get(&node).is_some_and(|host| host.running.is_none()) {
                    self.start(node);
                }
            }
            Event::Crash { node, life } => {
                if self.hosts.get(&node).is_some_and(|host| host.life == life) {
                    self.crash(node);
                }
            }
            Event::Heal => self.heal(),
        }
    }

    pub(crate) fn host(&mut self, node: u64) -> &mut Host {
        self.hosts.get_mut(&node).expect("it is a host")
    }

    /// Ids of all hosts.
    pub(crate) fn nodes(&self) -> Vec<u64> {
        self.hosts.keys().copied().collect()
    }

    /// Of all that think that they lead the one with the latest term.
    pub(crate) fn leader(&self) -> Option<u64> {
        let term = |host: &&Host| host.running.as_ref().map(|running| running.status().term);
        let leaders = self.hosts.values().filter(|host| host.leads());
        leaders.max_by_key(term).map(|host| host.setup.id)
    }

    /// Whether this event of a node still counts; puts it off while the node is paused.
    fn is_alive(&mut self, node: u64, life: u64, event: Event) -> bool {
        let now = self.now;
        let Some(host) = self.hosts.get(&node) else { return false };
        if host.life != life || host.running.is_none() {
            return false;
        }
        let paused = host.paused_until.saturating_sub(now);
        if paused > 0 {
            self.schedule(paused, event);
        }
        paused == 0
    }

    /// Does something with a node that is up, and what that leads to. None if the node is down, or
    /// lost its power meanwhile.
    pub(crate) fn with<T>(&mut self, node: u64, work: impl FnOnce(&mut Running) -> T) -> Option<T> {
        let now = self.now;
        let host = self.hosts.get_mut(&node)?;
        host.set_clock(now);
        if host.is_paused(now) {
            return None;
        }
        let running = host.running.as_mut()?;
        let worked = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let done = work(running);
            (done, running.effects())
        }));
        if host.has_crashed() {
            self.crash(node);
            return None;
        }
        let (done, effects) = worked.unwrap_or_else(|cause| std::panic::resume_unwind(cause));
        self.absorb(node, effects);
        Some(done)
    }

    fn turn(&mut self, node: u64, thread: Thread) {
        self.host(node).due[thread as usize] = false;
        // What goes on beside the threads does so at some time.
        let beside = self.rng.u8(..4) == 0;
        self.with(node, |running| {
            match thread {
                Thread::Raft => running.stepper.raft(),
                Thread::Log => running.stepper.log(),
                Thread::Apply => running.stepper.apply(),
            }
            if beside {
                running.stepper.beside();
            }
        });
        // A switch to a snapshot goes on once another thread has done its part.
        let waits = |running: &Running| running.stepper.is_restoring();
        let restores =
            self.hosts.get(&node).and_then(|host| host.running.as_ref()).is_some_and(waits);
        if restores && thread != Thread::Raft {
            self.schedule_turn(node, Thread::Raft);
        }
    }

    fn maintain(&mut self, node: u64, life: u64) {
        let flush = self.rng.u8(..4) == 0;
        let maintained = self.with(node, |running| {
            running.stepper.beside();
            running.stepper.apply();
            running.maintain(flush)
        });
        if let Some(Err(error)) = maintained
            && error.kind() != lsm_core::ErrorKind::Closed
        {
            let faulty = self.hosts.get(&node).is_none_or(|host| host.is_faulty || host.is_damaged);
            assert!(faulty, "node {node} failed at {}: {error}", self.now);
        }
        let pause = self.rng.u64(50_000..400_000);
        self.schedule(pause, Event::Maintain { node, life });
    }

    fn absorb(&mut self, node: u64, effects: Effects) {
        let host = self.hosts.get_mut(&node).expect("it made a step");
        let running = host.running.as_ref().expect("it made a step");
        if running.replica.reader().is_damaged() && !std::mem::replace(&mut host.was_found, true) {
            self.report.found += 1;
        }
        let status = running.status();
        self.oracle.see_status(&status);
        self.trace("step", node, status.term << 40 ^ status.committed << 20 ^ status.last);
        self.oracle.see_committed(node, &effects.committed);
        self.report.snapshots += u64::from(effects.restored);
        self.report.truncations += u64::from(effects.truncated);
        for message in effects.messages {
            self.carry(node, &message);
        }
        for (message, snapshot) in effects.snapshots {
            self.carry_snapshot(node, &message, &snapshot);
        }
        for (attempt, answer) in effects.answers {
            let delay = self.rng.u64(100..2_000);
            self.schedule(delay, Event::Answer { attempt, answer });
        }
        if let Some(error) = effects.ended {
            self.ended(node, error);
            return;
        }
        let stepper = &self.hosts[&node].running.as_ref().expect("it made a step").stepper;
        let due = [
            (Thread::Raft, stepper.raft_is_due()),
            (Thread::Log, stepper.log_is_due()),
            (Thread::Apply, stepper.apply_is_due()),
        ];
        for (thread, _) in due.into_iter().filter(|(_, is_due)| *is_due) {
            self.schedule_turn(node, thread);
        }
    }

    fn schedule_turn(&mut self, node: u64, thread: Thread) {
        let now = self.now;
        let host = self.host(node);
        if std::mem::replace(&mut host.due[thread as usize], true) {
            return;
        }
        let life = host.life;
        let delay = match thread {
            Thread::Raft => self.rng.u64(20..400),
            Thread::Log => {
                let stalled = host.stalled_until.saturating_sub(now) + host.sync_time;
                stalled + self.rng.u64(200..15_000)
            }
            Thread::Apply => self.rng.u64(100..5_000),
        };
        self.schedule(delay, Event::Turn { node, life, thread });
    }

    fn schedule_tick(&mut self, node: u64) {
        let Some(host) = self.hosts.get(&node).filter(|host| host.running.is_some()) else {
            return;
        };
        let (delay, life) = (host.until_tick(), host.life);
        self.schedule(delay, Event::Tick { node, life });
    }

    /// All threads of a node have ended.
    fn ended(&mut self, node: u64, error: Option<Error>) {
        self.trace("ended", node, u64::from(error.is_some()));
        match error {
            Some(Error::Refused(_)) => {
                self.hosts.remove(&node);
            }
            None => self.crash(node),
            Some(error) => {
                let faulty = self.hosts[&node].is_faulty;
                assert!(faulty, "node {node} failed at {}: {error}", self.now);
                self.report.stopped += 1;
                self.crash(node);
            }
        }
    }

    fn deliver(&mut self, message: Message) {
        let (from, to) = (message.from, message.to);
        let Some(host) = self.hosts.get(&to) else { return };
        let paused = host.paused_until.saturating_sub(self.now);
        if paused > 0 {
            // What waits in the system's buffers is read when the node goes on.
            if self.rng.bool() {
                let delay = paused + self.rng.u64(..10_000);
                self.schedule(delay, Event::Deliver(message));
            }
            return;
        }
        // It may be from a node that has gone.
        let timing = self.hosts.get(&from).map(|host| host.setup.timing());
        self.with(to, |running| {
            if let Some(timing) = timing {
                running.replica.note_timing(from, timing);
            }
            running.replica.deliver(vec![message]);
        });
    }

    fn carry(&mut self, from: u64, message: &Message) {
        assert_eq!(message.from, from, "a node speaks for itself");
        for delay in self.network.fates(&mut self.rng, from, message.to) {
            self.report.stale_messages += u64::from(delay > Network::STALE);
            self.schedule(delay, Event::Deliver(message.clone()));
        }
    }

    fn carry_snapshot(&mut self, from: u64, message: &Message, snapshot: &Arc<Outgoing>) {
        let to = message.to;
        match Running::read_snapshot(snapshot) {
            Some((header, pieces)) if !self.network.is_cut(from, to) => {
                let delay = self.rng.u64(5_000..80_000);
                let term = message.term;
                self.schedule(delay, Event::Snapshot { from, to, term, header, pieces });
            }
            // It cannot be read on a disk that is about to be found dead.
            _ => self.snapshot_ended(from, to, false),
        }
    }

    fn snapshot_arrived(
        &mut self,
        from: u64,
        to: u64,
        term: u64,
        header: &Header,
        mut pieces: Vec<Piece>,
    ) {
        let up = self.hosts.get(&to).is_some_and(|host| host.is_up(self.now));
        if !up || self.network.is_cut(from, to) {
            return self.snapshot_ended(from, to, false);
        }
        // Damage on the way is noticed, and costs nothing but another try.
        let damaged = self.rng.u8(..10) == 0;
        if damaged {
            let piece = self.rng.usize(..pieces.len());
            pieces[piece].crc32c ^= 1;
            self.report.damaged_snapshots += 1;
        }
        let received =
            self.with(to, |running| running.receive_snapshot(from, term, header, &pieces));
        let whole = matches!(received, Some(Ok(())));
        assert!(!(whole && damaged), "a damaged snapshot was taken");
        self.report.refused_snapshots += u64::from(!whole && !damaged);
        self.snapshot_ended(from, to, whole);
    }

    fn snapshot_ended(&mut self, from: u64, to: u64, whole: bool) {
        self.trace("snapshot", to, u64::from(whole));
        if let Some(life) = self.hosts.get(&from).map(|host| host.life) {
            self.schedule(0, Event::SnapshotEnded { node: from, life, to, whole });
        }
    }

    pub(crate) fn start(&mut self, node: u64) {
        let (now, nonce) = (self.now, self.rng.u64(1..));
        let host = self.host(node);
        host.set_clock(now);
        match host.start(nonce) {
            Ok(()) => {
                let life = host.life;
                let applied = host.running.as_ref().map_or(0, Running::applied);
                self.trace("start", node, applied);
                self.schedule_tick(node);
                let delay = self.rng.u64(..TICK);
                self.schedule(delay, Event::Maintain { node, life });
            }
            Err(_) if host.is_damaged && !host.is_faulty => {
                self.report.replaced += 1;
                self.hosts.remove(&node);
                self.replace(node);
            }
            Err(error) => {
                assert!(host.is_faulty, "node {node} cannot start at {now}: {error}");
                self.crash_down(node);
            }
        }
        let host = self.hosts.get(&node).and_then(|host| host.running.as_ref());
        if host.is_some_and(|running| running.stepper.store().lost_through() > 0) {
            self.report.losses += 1;
        }
    }

    /// An operator removes a node that cannot start any more.
    fn replace(&mut self, node: u64) {
        let leader = self.leader().and_then(|leader| self.hosts[&leader].running.as_ref());
        if leader.is_some_and(|leader| !leader.replica.members().nodes.contains_key(&node)) {
            self.replacing.remove(&node);
            return;
        }
        self.replacing.insert(node);
        self.change(vec![Change::Remove { node }]);
        self.schedule(500_000, Event::Replace { node });
    }

    /// The process dies, and of what it had on disk a bit flips near the end of its log, or some in
    /// a table.
    pub(crate) fn damage(&mut self, node: u64) {
        let pause = self.rng.u64(10_000..2_000_000);
        let host = self.hosts.get_mut(&node).filter(|host| host.running.is_some());
        if let Some(host) = host {
            host.crash(CrashImage::Kept);
            if self.rng.bool() && host.damage_table(&mut self.rng) {
                self.report.damaged_tables += 1;
            } else {
                host.damage_log(&mut self.rng);
                self.report.damaged_logs += 1;
            }
            self.trace("damage", node, 0);
            self.schedule(pause, Event::Restart { node });
        }
    }

    /// Lets the power go within the next changes, which ends the node in the middle of something.
    pub(crate) fn crash_soon(&mut self, node: u64) {
        let changes = self.rng.u64(..60);
        let host = self.host(node);
        if host.running.is_some() {
            host.crash_after(changes);
            let life = host.life;
            self.schedule(400_000, Event::Crash { node, life });
        }
    }

    pub(crate) fn crash(&mut self, node: u64) {
        if self.hosts[&node].running.is_some() {
            self.report.crashes += 1;
            self.trace("crash", node, 0);
            self.crash_down(node);
        }
    }

    fn crash_down(&mut self, node: u64) {
        let image = match self.rng.u8(..3) {
            0 => CrashImage::Lost,
            1 => CrashImage::Kept,
            _ => CrashImage::Torn { seed: self.rng.u64(..) },
        };
        let pause = self.rng.u64(10_000..4_000_000);
        self.host(node).crash(image);
        self.schedule(pause, Event::Restart { node });
    }

    fn heal(&mut self) {
        self.trace("heal", 0, 0);
        self.network.heal();
        for node in self.nodes() {
            let host = self.host(node);
            host.heal();
            if host.running.is_none() {
                self.start(node);
            }
        }
        for client in self.clients.values_mut() {
            (client.done, client.served) = (0, None);
        }
    }

    fn client(&mut self, id: u64) {
        if self.now > CLIENTS_END || !self.clients[&id].is_idle() {
            return;
        }
        let (now, nodes) = (self.now, self.nodes());
        let client = self.clients.get_mut(&id).expect("clients stay");
        client.begin(&mut self.rng, now);
        if self.rng.u8(..8) == 0 {
            client.target = nodes[self.rng.usize(..nodes.len())];
        }
        self.send(id);
    }

    fn send(&mut self, id: u64) {
        let attempt = self.next_attempt();
        let nodes = self.nodes();
        let client = self.clients.get_mut(&id).expect("clients stay");
        if !self.hosts.contains_key(&client.target) {
            client.target = nodes[0];
        }
        let (target, command) = (client.target, client.send(attempt));
        let request = match command {
            Some(command) => Request::Propose(command),
            None => Request::Read(client.key().to_vec()),
        };
        let repeats = client.repeats_safely();
        self.attempts.insert(attempt, id);
        self.schedule(PATIENCE, Event::Impatience { id, attempt });
        let copies = if repeats && self.rng.u8(..20) == 0 { 2 } else { 1 };
        for _ in 0..copies {
            // That is a fault, too.
            let is_late = self.rng.u8(..50) == 0 && self.now < FAULTS_END;
            let delay = if is_late { self.rng.u64(..5_000_000) } else { self.rng.u64(50..500) };
            self.report.late_requests += u64::from(is_late);
            let request = request.clone();
            self.schedule(delay, Event::Ask { attempt, node: target, request });
        }
        self.report.doubled_requests += copies - 1;
    }

    /// A batch, or a scan, at any node.
    fn pair(&mut self) {
        let attempt = self.next_attempt();
        let request = match self.rng.bool() {
            true => self.pair.write(attempt),
            false => self.pair.scan(attempt),
        };
        let nodes = self.nodes();
        // Others refuse batches, and say so.
        let node = self.leader().filter(|_| matches!(request, Request::Propose(_)));
        let node = node.unwrap_or(nodes[self.rng.usize(..nodes.len())]);
        self.with(node, |running| running.ask(attempt, request));
        if self.now < CLIENTS_END {
            let pause = self.rng.u64(5_000..150_000);
            self.schedule(pause, Event::Pair);
        }
    }

    fn next_attempt(&mut self) -> Ticket {
        self.last_attempt += 1;
        self.last_attempt
    }

    fn answer(&mut self, attempt: Ticket, answer: Answer) {
        if let Answer::Outcome(Outcome::Hashing { index }) = answer {
            self.asked.push(index);
            self.schedule(1_000_000, Event::CompareStates { index });
            return;
        }
        if self.pair.told(attempt, &answer) {
            self.report.scans += u64::from(matches!(answer, Answer::Scanned(_)));
            self.report.batches += u64::from(matches!(answer, Answer::Outcome(_)));
            return;
        }
        let Some(id) = self.attempts.remove(&attempt) else { return };
        let nodes = self.nodes();
        let (rng, now) = (&mut self.rng, self.now);
        let client = self.clients.get_mut(&id).expect("clients stay");
        if !client.waits_for(attempt) {
            return;
        }
        let done = client.done;
        let next = match answer {
            Answer::Value(value) => client.got(value.as_deref(), now),
            Answer::Outcome(outcome) => client.told(Ok(outcome), &nodes, rng, now),
            Answer::Refused(refusal) => {
                self.report.no_room += u64::from(matches!(refusal, Refusal::NoRoom(_)));
                client.told(Err(refusal), &nodes, rng, now)
            }
            Answer::Broken | Answer::Scanned(_) => client.gone(&nodes, rng, now),
        };
        self.report.done += client.done - done;
        self.go_on(id, &next);
    }

    fn go_on(&mut self, id: u64, next: &Next) {
        match next {
            Next::Retry => self.schedule(RETRY_PAUSE, Event::Resend { id }),
            Next::Go => {
                let pause = self.rng.u64(..30_000);
                self.schedule(pause, Event::Client { id });
            }
        }
    }

    /// Has all nodes hash the same state, as an operator does.
    fn ask_for_states(&mut self) {
        if self.now > CHECKS_END {
            return;
        }
        let pause = self.rng.u64(300_000..900_000);
        self.schedule(pause, Event::AskForStates);
        if let Some(leader) = self.leader() {
            let attempt = self.next_attempt();
            let request = Request::Propose(Command::Hash.to_bytes());
            self.with(leader, |running| running.ask(attempt, request));
        }
    }

    /// So far as the nodes know the states of that index.
    fn compare_states(&mut self, index: u64) -> usize {
        let mut compared = 0;
        for host in self.hosts.values() {
            let running = host.running.as_ref();
            if let Some(Ok(hash)) = running.and_then(|running| running.replica.hash(index)) {
                self.oracle.see_state(host.setup.id, index, u128::from_be_bytes(hash));
                compared += 1;
            }
        }
        self.report.compared += compared;
        compared as usize
    }

    /// Faults ended long ago: everyone was served, all nodes are equal, and the history of all
    /// clients is linearizable.
    fn finish(mut self) -> Report {
        let seed = self.seed;
        for (id, client) in &self.clients {
            let served = client.served.map(|at| at - FAULTS_END);
            // One that was served late has no time left to ask for more.
            assert!(
                served.is_some_and(|time| time < RECOVERY_MAX),
                "client {id} was served {served:?} µs after the faults, {} times: seed {seed}",
                client.done
            );
            assert!(client.is_idle(), "client {id} still waits: seed {seed}");
            self.report.recovery = self.report.recovery.max(served.unwrap_or(0));
            self.report.unknown += client.unknown;
        }
        let done: u64 = self.clients.values().map(|client| client.done).sum();
        assert!(done > 3 * CLIENTS, "{done} requests were served: seed {seed}");
        let running = |host: &Host| host.running.as_ref().expect("all were restarted").applied();
        let newest = self.hosts.values().max_by_key(|host| running(host)).expect("some are left");
        let members = newest.running.as_ref().expect("it runs").replica.members();
        // One that was removed may never hear of it.
        self.hosts.retain(|id, _| members.nodes.contains_key(id));
        let broken = |host: &&Host| {
            let running = host.running.as_ref();
            running.is_some_and(|running| running.replica.reader().is_damaged())
        };
        assert_eq!(self.hosts.values().filter(broken).count(), 0, "damage stays: seed {seed}");
        let ends: Vec<u64> = self.hosts.values().map(running).collect();
        assert!(
            ends.windows(2).all(|pair| pair[0] == pair[1]),
            "ends differ: {ends:?}, seed {seed}"
        );
        // A node that still hashes one state takes no other.
        let asked = self.asked.split_off(self.asked.len().saturating_sub(5));
        let compared = asked.into_iter().map(|index| self.compare_states(index)).max();
        assert_eq!(compared, Some(self.hosts.len()), "nobody knows the last states: seed {seed}");
        if let Err(violation) = check(&self.recorder.history()) {
            panic!("seed {seed}: {violation}");
        }
        self.report.terms = self.oracle.terms();
        self.report
    }

    /// Asks the leader to change the members; the answer does not matter.
    pub(crate) fn change(&mut self, changes: Vec<Change>) {
        let Some(leader) = self.leader() else { return };
        self.report.changes += 1;
        self.with(leader, |running| running.change(changes));
    }
}

fn founders() -> Members {
    let member = |id: u64| Member {
        role: Role::Voter,
        peer_address: format!("peer{id}"),
        client_address: format!("client{id}"),
        incarnation: None,
    };
    Members { nodes: (1..=NODES).map(|id| (id, member(id))).collect(), ..Members::default() }
}
