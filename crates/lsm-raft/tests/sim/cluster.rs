//! The simulated cluster: time, events and what they lead to.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use lsm_core::ManualClock;
use lsm_core::fs::{CrashFs, CrashImage};
use lsm_raft::raft::eraftpb::{Message, MessageType};
use lsm_raft::testkit::{Recorder, check};
use lsm_raft::{Change, Header, Input, Member, Members, Outcome, Piece, Refusal, Result, Role};

use crate::clients::{Client, Next, PATIENCE, RETRY_PAUSE};
use crate::faults;
use crate::network::Network;
use crate::oracle::Oracle;
use crate::replica::{Effects, Running, Setup, Ticket};

const NODES: u64 = 5;
const CLIENTS: u64 = 6;
const TICK: u64 = 100_000;
/// Faults happen until then; microseconds.
const FAULTS_END: u64 = 15_000_000;
/// Clients begin no request after that, and every one that they began is answered by the end.
const CLIENTS_END: u64 = FAULTS_END + 6_000_000;
const END: u64 = CLIENTS_END + 8_000_000;
const OPERATIONS_MAX: usize = 1 << 20;

#[derive(Debug)]
pub(crate) enum Event {
    Deliver(Message),
    Snapshot { from: u64, to: u64, term: u64, header: Header, pieces: Vec<Piece> },
    SnapshotEnded { node: u64, life: u64, to: u64, whole: bool },
    Tick { node: u64, life: u64 },
    Persist { node: u64, life: u64 },
    Apply { node: u64, life: u64 },
    Maintain { node: u64, life: u64 },
    Client { id: u64 },
    Resend { id: u64 },
    Reply { attempt: Ticket, reply: std::result::Result<Outcome, Refusal> },
    Value { attempt: Ticket, value: Option<Vec<u8>> },
    Impatience { id: u64, attempt: Ticket },
    Fault,
    Restart { node: u64 },
    Crash { node: u64, life: u64 },
    Heal,
}

/// How often what happened.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) crashes: u64,
    pub(crate) cuts: u64,
    pub(crate) pauses: u64,
    pub(crate) stalls: u64,
    pub(crate) terms: u64,
    pub(crate) done: u64,
    pub(crate) unknown: u64,
    pub(crate) snapshots: u64,
    pub(crate) truncations: u64,
    pub(crate) changes: u64,
    pub(crate) compared: u64,
    /// Of all that happened, in order.
    pub(crate) trace: u64,
}

impl Report {
    pub(crate) fn add(&mut self, other: &Self) {
        self.crashes += other.crashes;
        self.cuts += other.cuts;
        self.pauses += other.pauses;
        self.stalls += other.stalls;
        self.terms += other.terms;
        self.done += other.done;
        self.unknown += other.unknown;
        self.snapshots += other.snapshots;
        self.truncations += other.truncations;
        self.changes += other.changes;
        self.compared += other.compared;
    }

    /// A simulation that never meets a fault proves nothing.
    pub(crate) fn assert_all_happened(&self) {
        let counts = [
            self.crashes,
            self.cuts,
            self.pauses,
            self.stalls,
            self.terms,
            self.done,
            self.unknown,
            self.snapshots,
            self.truncations,
            self.changes,
            self.compared,
        ];
        assert!(counts.iter().all(|&count| count > 0), "something never happened: {self:?}");
    }
}

/// A node, running or not.
pub(crate) struct Host {
    pub(crate) setup: Setup,
    fs: CrashFs,
    clock: Arc<ManualClock>,
    /// Its clock runs so many thousandths faster than the true one.
    rate: i64,
    clock_set_at: u64,
    /// Counts its starts; events of an earlier life are void.
    pub(crate) life: u64,
    pub(crate) paused_until: u64,
    /// The disk of its log takes no sync to its end before that, and then each longer by this.
    pub(crate) stalled_until: u64,
    pub(crate) sync_time: u64,
    pub(crate) running: Option<Running>,
    persist_due: bool,
    apply_due: bool,
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
    attempts: BTreeMap<Ticket, u64>,
    last_attempt: Ticket,
    recorder: Arc<Recorder>,
    oracle: Oracle,
    pub(crate) report: Report,
}

impl Cluster {
    pub(crate) fn new(seed: u64, print: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let recorder = Arc::new(Recorder::new(OPERATIONS_MAX));
        let lease_reads = seed.is_multiple_of(3);
        let mut cluster = Self {
            seed,
            print,
            now: 0,
            serial: 0,
            events: BTreeMap::new(),
            hosts: BTreeMap::new(),
            network: Network::new(),
            clients: BTreeMap::new(),
            attempts: BTreeMap::new(),
            last_attempt: 0,
            oracle: Oracle::default(),
            report: Report::default(),
            recorder: Arc::clone(&recorder),
            rng: rng.fork(),
        };
        for id in 1..=NODES {
            let founders = Some(founders());
            let setup = Setup { id, founders, lease_reads, seed: rng.u64(..) };
            cluster.add_host(setup);
        }
        for id in 1..=CLIENTS {
            let client = Client::new(id, id % 2 == 0, Arc::clone(&recorder));
            cluster.clients.insert(id, client);
            cluster.schedule(rng.u64(..TICK), Event::Client { id });
        }
        cluster.schedule(1_500_000, Event::Fault);
        cluster.schedule(FAULTS_END, Event::Heal);
        cluster
    }

    pub(crate) fn add_host(&mut self, setup: Setup) {
        let id = setup.id;
        let host = Host {
            setup,
            fs: CrashFs::new(),
            clock: Arc::new(ManualClock::default()),
            // A lease allows for a difference of a tenth and a little.
            rate: self.rng.i64(-40..=40),
            clock_set_at: self.now,
            life: 0,
            paused_until: 0,
            stalled_until: 0,
            sync_time: 0,
            running: None,
            persist_due: false,
            apply_due: false,
        };
        self.hosts.insert(id, host);
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
            Event::Deliver(message) => {
                let to = message.to;
                // Garbage may be from nobody.
                let timing = self.hosts.get(&message.from).map(|host| host.setup.timing());
                self.with(to, |running, now| running.receive(timing, message, now));
            }
            Event::Snapshot { from, to, term, header, pieces } => {
                self.snapshot_arrived(from, to, term, &header, pieces);
            }
            Event::SnapshotEnded { node, life, to, whole } => {
                // Not lost while the sender is paused: it does not come through the network.
                if self.is_alive(node, life, Event::SnapshotEnded { node, life, to, whole }) {
                    let ended = Input::SnapshotSent { node: to, whole };
                    self.with(node, |running, now| running.step(ended, now));
                }
            }
            Event::Tick { node, life } => self.tick(node, life),
            Event::Persist { node, life } => {
                if self.is_alive(node, life, Event::Persist { node, life }) {
                    self.host(node).persist_due = false;
                    let count = self.rng.usize(1..8);
                    self.with(node, |running, now| running.persist(count, now));
                }
            }
            Event::Apply { node, life } => {
                if self.is_alive(node, life, Event::Apply { node, life }) {
                    self.host(node).apply_due = false;
                    let count = self.rng.u64(1..12);
                    self.with(node, |running, now| running.apply(count, now));
                }
            }
            Event::Maintain { node, life } => {
                if self.is_alive(node, life, Event::Maintain { node, life }) {
                    let flush = self.rng.u8(..4) == 0;
                    self.with(node, |running, now| running.maintain(flush, now));
                    let pause = self.rng.u64(50_000..400_000);
                    self.schedule(pause, Event::Maintain { node, life });
                }
            }
            Event::Client { id } => self.client(id),
            Event::Resend { id } => self.send(id),
            Event::Reply { attempt, reply } => self.reply(attempt, reply),
            Event::Value { attempt, value } => self.value(attempt, value.as_deref()),
            Event::Impatience { id, attempt } => {
                if self.clients[&id].waits_for(attempt) {
                    let nodes = self.nodes();
                    let client = self.clients.get_mut(&id).expect("clients stay");
                    let next = client.gone(&nodes, &mut self.rng, self.now);
                    self.go_on(id, &next);
                }
            }
            Event::Fault => faults::strike(self),
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

    pub(crate) fn leader(&self) -> Option<u64> {
        let leads = |host: &&Host| host.running.as_ref().is_some_and(|r| r.status().leads());
        let leaders = self.hosts.values().filter(leads);
        leaders
            .max_by_key(|host| host.running.as_ref().map(|r| r.status().term))
            .map(|h| h.setup.id)
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

    fn local_time(&mut self, node: u64) -> Duration {
        let now = self.now;
        let host = self.host(node);
        let passed = now - host.clock_set_at;
        host.clock_set_at = now;
        let local = passed as i64 + passed as i64 * host.rate / 1000;
        host.clock.advance(Duration::from_micros(local as u64));
        lsm_core::Clock::now(&*host.clock)
    }

    pub(crate) fn with(
        &mut self,
        node: u64,
        work: impl FnOnce(&mut Running, Duration) -> Result<Effects>,
    ) {
        if !self.hosts.contains_key(&node) {
            return;
        }
        let now = self.local_time(node);
        let host = self.host(node);
        let paused = host.paused_until > host.clock_set_at;
        let Some(running) = host.running.as_mut().filter(|_| !paused) else { return };
        let worked = std::panic::catch_unwind(AssertUnwindSafe(|| work(running, now)));
        let crashed = self.hosts[&node].fs.crashed();
        match worked {
            Ok(Ok(effects)) => self.absorb(node, effects),
            // raft panics if the log cannot be read: the process ends either way.
            Ok(Err(_)) | Err(_) if crashed => self.crash(node),
            Ok(Err(error)) => panic!("node {node} failed at {}: {error}", self.now),
            Err(cause) => std::panic::resume_unwind(cause),
        }
    }

    fn absorb(&mut self, node: u64, effects: Effects) {
        let status = self.hosts[&node].running.as_ref().map(Running::status);
        if let Some(status) = status {
            self.oracle.see_status(&status);
            self.trace("step", node, status.term << 40 ^ status.committed << 20 ^ status.last);
        }
        self.oracle.see_committed(node, &effects.committed);
        for (index, hash) in effects.states {
            self.oracle.see_state(node, index, hash);
            self.report.compared += 1;
        }
        self.report.snapshots += u64::from(effects.restored);
        self.report.truncations += u64::from(effects.truncated);
        for message in effects.messages {
            self.carry(node, &message);
        }
        for (attempt, reply) in effects.replies {
            let delay = self.rng.u64(100..2_000);
            self.schedule(delay, Event::Reply { attempt, reply });
        }
        for attempt in effects.readable {
            self.read(node, attempt);
        }
        if effects.removed {
            self.trace("removed", node, 0);
            self.hosts.remove(&node);
            return;
        }
        let life = self.hosts[&node].life;
        if effects.log_work && !std::mem::replace(&mut self.host(node).persist_due, true) {
            let host = &self.hosts[&node];
            let stalled = host.stalled_until.saturating_sub(self.now) + host.sync_time;
            let delay = stalled + self.rng.u64(200..15_000);
            self.schedule(delay, Event::Persist { node, life });
        }
        if effects.apply_work && !std::mem::replace(&mut self.host(node).apply_due, true) {
            let delay = self.rng.u64(100..5_000);
            self.schedule(delay, Event::Apply { node, life });
        }
    }

    fn carry(&mut self, from: u64, message: &Message) {
        assert_eq!(message.from, from, "a node speaks for itself");
        if message.get_msg_type() == MessageType::MsgSnapshot {
            self.carry_snapshot(from, message);
            return;
        }
        for delay in self.network.fates(&mut self.rng, from, message.to) {
            self.schedule(delay, Event::Deliver(message.clone()));
        }
    }

    fn carry_snapshot(&mut self, from: u64, message: &Message) {
        let to = message.to;
        let running = self.hosts[&from].running.as_ref().expect("it sends");
        match running.read_snapshot(message) {
            Some((header, pieces)) if !self.network.is_cut(from, to) => {
                let delay = self.rng.u64(5_000..80_000);
                let term = message.term;
                self.schedule(delay, Event::Snapshot { from, to, term, header, pieces });
            }
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
        let up = self
            .hosts
            .get(&to)
            .is_some_and(|host| host.running.is_some() && host.paused_until <= self.now);
        if !up || self.network.is_cut(from, to) || self.hosts[&to].fs.crashed() {
            return self.snapshot_ended(from, to, false);
        }
        if self.rng.u8(..10) == 0 {
            // Damage on the way is noticed, and costs nothing but another try.
            let piece = self.rng.usize(..pieces.len());
            pieces[piece].crc32c ^= 1;
            let running = self.hosts[&to].running.as_ref().expect("it is up");
            let mut incoming = running.machine.reader().receive(header.clone()).expect("room");
            let bad = pieces.iter().try_for_each(|piece| incoming.write(piece));
            assert!(bad.is_err(), "a damaged piece was taken");
            return self.snapshot_ended(from, to, false);
        }
        self.with(to, |running, now| running.receive_snapshot(from, term, header, &pieces, now));
        self.snapshot_ended(from, to, true);
    }

    fn snapshot_ended(&mut self, from: u64, to: u64, whole: bool) {
        self.trace("snapshot", to, u64::from(whole));
        if let Some(life) = self.hosts.get(&from).map(|host| host.life) {
            self.schedule(0, Event::SnapshotEnded { node: from, life, to, whole });
        }
    }

    fn tick(&mut self, node: u64, life: u64) {
        if !self.is_alive(node, life, Event::Tick { node, life }) {
            return;
        }
        self.with(node, |running, now| running.step(Input::Tick, now));
        if let Some(host) = self.hosts.get(&node) {
            let interval = TICK as i64 - TICK as i64 * host.rate / 1000;
            self.schedule(interval as u64, Event::Tick { node, life });
        }
    }

    pub(crate) fn start(&mut self, node: u64) {
        self.local_time(node);
        let nonce = self.rng.u64(1..);
        let host = self.host(node);
        host.life += 1;
        (host.persist_due, host.apply_due, host.paused_until) = (false, false, 0);
        let life = host.life;
        match Running::start(&host.setup, &host.fs, &host.clock, nonce) {
            Ok(running) => {
                self.trace("start", node, running.applied());
                self.host(node).running = Some(running);
                let delay = self.rng.u64(..TICK);
                self.schedule(delay, Event::Tick { node, life });
                self.schedule(delay, Event::Maintain { node, life });
            }
            Err(error) => panic!("node {node} cannot start at {}: {error}", self.now),
        }
    }

    /// Lets the disk fail within the next changes, which ends the node in the middle of
    /// something.
    pub(crate) fn crash_soon(&mut self, node: u64) {
        let changes = self.rng.u64(..60);
        let host = self.host(node);
        if host.running.is_some() {
            host.fs.crash_after(host.fs.events() + changes);
            let life = host.life;
            self.schedule(400_000, Event::Crash { node, life });
        }
    }

    pub(crate) fn crash(&mut self, node: u64) {
        let image = match self.rng.u8(..3) {
            0 => CrashImage::Lost,
            1 => CrashImage::Kept,
            _ => CrashImage::Torn { seed: self.rng.u64(..) },
        };
        let pause = self.rng.u64(10_000..4_000_000);
        let host = self.host(node);
        if host.running.is_none() {
            return;
        }
        let fs = host.fs.image(image);
        host.running = None;
        host.fs = fs;
        self.report.crashes += 1;
        self.trace("crash", node, 0);
        self.schedule(pause, Event::Restart { node });
    }

    fn heal(&mut self) {
        self.trace("heal", 0, 0);
        self.network.heal();
        for node in self.nodes() {
            let host = self.host(node);
            (host.paused_until, host.stalled_until, host.sync_time) = (0, 0, 0);
            if host.running.is_none() {
                self.start(node);
            }
        }
        for client in self.clients.values_mut() {
            client.done = 0;
        }
        self.report.done += 1;
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
        self.last_attempt += 1;
        let attempt = self.last_attempt;
        let nodes = self.nodes();
        let client = self.clients.get_mut(&id).expect("clients stay");
        if !self.hosts.contains_key(&client.target) {
            client.target = nodes[0];
        }
        let (target, command) = (client.target, client.send(attempt));
        self.attempts.insert(attempt, id);
        self.schedule(PATIENCE, Event::Impatience { id, attempt });
        let input = match command {
            Some(command) => Input::Propose { command, waiter: attempt },
            None => Input::Read { waiter: attempt },
        };
        self.with(target, |running, now| running.step(input, now));
    }

    fn read(&mut self, node: u64, attempt: Ticket) {
        let Some(client) = self.attempts.get(&attempt).map(|id| &self.clients[id]) else { return };
        if !client.waits_for(attempt) {
            return;
        }
        let running = self.hosts[&node].running.as_ref().expect("it answers");
        let value = match running.machine.reader().get(client.key()) {
            Ok(value) => value,
            Err(_) if self.hosts[&node].fs.crashed() => return,
            Err(error) => panic!("node {node} cannot read its state: {error}"),
        };
        let value = value.map(|value| value.to_vec());
        let delay = self.rng.u64(100..2_000);
        self.schedule(delay, Event::Value { attempt, value });
    }

    fn value(&mut self, attempt: Ticket, value: Option<&[u8]>) {
        let Some(id) = self.attempts.remove(&attempt) else { return };
        let client = self.clients.get_mut(&id).expect("clients stay");
        if client.waits_for(attempt) {
            let next = client.got(value, self.now);
            self.report.done += 1;
            self.go_on(id, &next);
        }
    }

    fn reply(&mut self, attempt: Ticket, reply: std::result::Result<Outcome, Refusal>) {
        let Some(id) = self.attempts.remove(&attempt) else { return };
        let nodes = self.nodes();
        let client = self.clients.get_mut(&id).expect("clients stay");
        if client.waits_for(attempt) {
            self.report.done += u64::from(reply.is_ok());
            let next = client.told(reply, &nodes, &mut self.rng, self.now);
            self.go_on(id, &next);
        }
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

    /// Faults ended long ago: everyone was served, all nodes are equal, and the history of all
    /// clients is linearizable.
    fn finish(mut self) -> Report {
        let seed = self.seed;
        for (id, client) in &self.clients {
            assert!(client.done > 3, "client {id} got nowhere after the faults: seed {seed}");
            assert!(client.is_idle(), "client {id} still waits: seed {seed}");
            self.report.unknown += client.unknown;
        }
        let mut ends = Vec::new();
        let newest = self
            .hosts
            .values()
            .max_by_key(|host| host.running.as_ref().map_or(0, Running::applied));
        let members = newest.and_then(|host| Some(host.running.as_ref()?.machine.members()));
        let members = members.expect("all were restarted");
        // One that was removed may never hear of it.
        for host in self.hosts.values().filter(|host| members.nodes.contains_key(&host.setup.id)) {
            let running = host.running.as_ref().expect("all were restarted");
            ends.push((running.applied(), running.hash().expect("the state can be read")));
        }
        assert!(
            ends.windows(2).all(|pair| pair[0] == pair[1]),
            "ends differ: {ends:?}, seed {seed}"
        );
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
        let input = Input::ChangeMembers { changes, waiter: 0 };
        self.with(leader, |running, now| running.step(input, now));
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
