//! All nodes: those of the group, those that it must not let in, and what an operator does about
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use lsm_core::fs::CrashImage;
use lsm_raft::{Change, Error, Replica};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::host::{CLUSTER, Host, RESERVE_BYTES, Setup, Standing, founders};
use super::net::{Net, Port, address};
use super::operator::{self, Step};
use super::stub::Stub;

/// The first of the numbers that nodes get which join later.
const FIRST_JOINER: u64 = 11;
/// The first of the places of nodes that are not let in.
const FIRST_STRANGER: u64 = 51;
/// Who the operator is on the network.
const OPERATOR: u64 = 201;
/// Fewest and most nodes of the group.
const MEMBERS_MIN: usize = 3;
const MEMBERS_MAX: usize = 6;
/// Longer than anything takes.
const AWAY_MAX: Duration = Duration::from_secs(60);
/// Between two tries of something.
const PAUSE: Duration = Duration::from_millis(50);
/// As a supervisor does.
const RESTART_PAUSE: Duration = Duration::from_millis(500);

/// All nodes.
pub(super) struct Fleet {
    pub(super) net: Arc<Net>,
    pub(super) rng: Rng,
    lease_reads: bool,
    /// Those that the group was founded with.
    founders: u64,
    /// By place.
    hosts: BTreeMap<u64, Host>,
    restarts: BTreeMap<u64, Instant>,
    next_joiner: u64,
    next_stranger: u64,
    /// What the operator is at.
    operation: Option<JoinHandle<()>>,
}

impl Fleet {
    /// Starts three to five nodes. Now and then one of them was told of one founder too many, or
    /// there are two more that take themselves for founders: they must not found a second group.
    pub(super) async fn found(net: &Arc<Net>, mut rng: Rng) -> Self {
        let (lease_reads, count) = (rng.u8(..3) == 0, rng.u64(3..=5));
        let mut fleet = Self::new(net, lease_reads, count, rng);
        let odd = match fleet.rng.u8(..6) {
            0 => fleet.rng.u64(1..=count)..=count + 1,
            1 => count + 1..=count + 2,
            _ => 0..=0,
        };
        let (first_odd, more) = odd.into_inner();
        let last = if first_odd > count { more } else { count };
        for id in 1..=last {
            let is_odd = id == first_odd || id > count;
            let told = if is_odd { more } else { count };
            let standing = if is_odd { Standing::Odd } else { Standing::Member };
            net.report.odd_founders.add(u64::from(is_odd));
            fleet.add_founder(id, told, standing).await;
        }
        fleet
    }

    /// Starts three nodes that found a group.
    pub(super) async fn found_whole(net: &Arc<Net>, rng: Rng) -> Self {
        let mut fleet = Self::new(net, false, 3, rng);
        for id in 1..=3 {
            fleet.add_founder(id, 3, Standing::Member).await;
        }
        fleet
    }

    fn new(net: &Arc<Net>, lease_reads: bool, founders: u64, rng: Rng) -> Self {
        Self {
            net: Arc::clone(net),
            rng,
            lease_reads,
            founders,
            hosts: BTreeMap::new(),
            restarts: BTreeMap::new(),
            next_joiner: FIRST_JOINER,
            next_stranger: FIRST_STRANGER,
            operation: None,
        }
    }

    /// One that was told of so many founders.
    async fn add_founder(&mut self, id: u64, told: u64, standing: Standing) {
        let mut setup = self.setup(id);
        setup.founders = Some(founders(1..=told));
        self.net.publish(id, true);
        self.add(setup, standing).await;
    }

    /// Of a node that joins.
    fn setup(&self, id: u64) -> Setup {
        let lease_reads = self.lease_reads;
        Setup { id, place: id, cluster: CLUSTER, founders: None, lease_reads }
    }

    async fn add(&mut self, setup: Setup, standing: Standing) {
        let place = setup.place;
        let mut host = Host::new(setup, standing, &self.net);
        if !host.start().await {
            self.restarts.insert(place, Instant::now() + RESTART_PAUSE);
        }
        self.hosts.insert(place, host);
    }

    fn of(&self, standing: Standing) -> impl Iterator<Item = &Host> {
        self.hosts.values().filter(move |host| host.standing == standing)
    }

    /// The nodes of the group.
    pub(super) fn members(&self) -> Vec<u64> {
        self.of(Standing::Member).map(|host| host.setup.place).collect()
    }

    /// Of all members that think that they lead the one with the latest term.
    pub(super) fn leader(&self) -> Option<(u64, &Replica)> {
        let members = self.of(Standing::Member);
        let running = members.filter_map(|host| Some((host.setup.place, host.replica()?)));
        let leaders = running.filter(|(_, replica)| replica.status().leads());
        leaders.max_by_key(|(_, replica)| replica.status().term)
    }

    /// A member, and the leader more often than chance would have it.
    pub(super) fn victim(&mut self) -> u64 {
        let leader = self.leader().map(|(place, _)| place);
        let members = self.members();
        match leader {
            Some(leader) if self.rng.bool() => leader,
            _ => members[self.rng.usize(..members.len())],
        }
    }

    /// A node dies, and comes back after a while.
    pub(super) async fn crash(&mut self, place: u64, away: Duration) {
        let image = match self.rng.u8(..3) {
            0 => CrashImage::Lost,
            1 => CrashImage::Kept,
            _ => CrashImage::Torn { seed: self.rng.u64(..) },
        };
        let host = self.hosts.get_mut(&place).filter(|host| host.is_up());
        if let Some(host) = host {
            self.net.report.crashes.one_more();
            host.crash(image).await;
            self.restarts.insert(place, Instant::now() + away);
        }
    }

    /// A disk has little room, or none, or some again; or all have.
    pub(super) fn fill(&mut self, victims: &[u64]) {
        let free_bytes = match self.rng.u8(..4) {
            0 => None,
            // Little enough to be noticed before anything fails, most of the time.
            1 | 2 => Some(self.rng.u64(RESERVE_BYTES / 2..2 * RESERVE_BYTES)),
            _ if victims.len() > 1 => None,
            // So little that nothing warns before the log cannot be written.
            _ => Some(self.rng.u64(..RESERVE_BYTES / 64)),
        };
        self.net.report.full_disks.add(u64::from(free_bytes.is_some()));
        for victim in victims {
            self.hosts[victim].set_free_bytes(free_bytes);
        }
    }

    /// A member loses its disk and comes back with an empty one, under its old number. The operator
    /// puts another in its place.
    pub(super) async fn wipe(&mut self, victim: u64) {
        if self.operation.is_some() || !self.may_be_posed_as(victim) {
            return;
        }
        self.net.report.wipes.one_more();
        let host = self.hosts.get_mut(&victim).expect("it is known");
        host.crash(CrashImage::Lost).await;
        host.lose_disk();
        host.standing = Standing::Impostor;
        self.restarts.insert(victim, Instant::now());
        let joiner = self.join().await;
        self.change(vec![Step::Add(joiner), Step::Remove(victim), Step::Promote(joiner)]);
    }

    /// A second node takes the number of a member, which goes on.
    pub(super) async fn double(&mut self, victim: u64) {
        let setup = self.hosts[&victim].setup.clone();
        if setup.founders.is_some() && self.may_be_posed_as(victim) {
            self.net.report.doubles.one_more();
            let place = self.stranger();
            self.add(Setup { place, ..setup }, Standing::Impostor).await;
        }
    }

    /// A node of another group takes these for its own: it has the same name, or the same address
    /// is given for both.
    pub(super) async fn intrude(&mut self) {
        self.net.report.strangers.one_more();
        let place = self.stranger();
        let cluster = if self.rng.bool() { CLUSTER } else { "another" };
        let setup = Setup { cluster, founders: Some(founders([place])), ..self.setup(place) };
        self.add(setup, Standing::Stranger).await;
        let replica = self.hosts[&place].replica().expect("it runs").clone();
        // Not of those that joined: without their disks they know nobody, and join whoever calls.
        let is_founder = |host: &&Host| host.setup.founders.is_some();
        let added = self.of(Standing::Member).filter(is_founder).map(|host| Change::AddLearner {
            node: host.setup.id,
            peer_address: address(host.setup.place, Port::Nodes),
            client_address: address(host.setup.place, Port::Clients),
        });
        let added: Vec<_> = added.collect();
        tokio::spawn(async move {
            while replica.change_members(added.clone()).await.is_err() {
                sleep(PAUSE).await;
            }
        });
    }

    fn stranger(&mut self) -> u64 {
        self.next_stranger += 1;
        self.next_stranger - 1
    }

    /// Whether all members run, and know the disk of this one: if it came back with another,
    /// none would take it for what it was. And whether those that take themselves for founders, each
    /// with an empty disk, are too few to found a group of their own.
    fn may_be_posed_as(&self, victim: u64) -> bool {
        let knows = |host: &Host| {
            let members = host.replica().map(Replica::members);
            let known = members.and_then(|members| members.nodes.get(&victim)?.incarnation);
            known.is_some()
        };
        let posing = self.of(Standing::Impostor).map(|host| host.setup.id);
        let posing: BTreeSet<_> =
            posing.chain([victim]).filter(|id| *id <= self.founders).collect();
        self.of(Standing::Odd).next().is_none()
            && self.of(Standing::Member).all(knows)
            && posing.len() as u64 <= self.founders / 2
    }

    /// The group gets a member more, or less.
    pub(super) async fn resize(&mut self) {
        let members = self.members();
        if self.operation.is_some() {
            return;
        }
        if members.len() < MEMBERS_MAX && (members.len() <= MEMBERS_MIN || self.rng.bool()) {
            let joiner = self.join().await;
            self.change(vec![Step::Add(joiner), Step::Promote(joiner)]);
        } else if members.len() > MEMBERS_MIN && self.of(Standing::Odd).next().is_none() {
            let victim = self.victim();
            self.hosts.get_mut(&victim).expect("it is a member").standing = Standing::Removed;
            self.change(vec![Step::Remove(victim)]);
        }
    }

    /// A node that is to join.
    async fn join(&mut self) -> u64 {
        let joiner = self.next_joiner;
        self.next_joiner += 1;
        self.add(self.setup(joiner), Standing::Member).await;
        joiner
    }

    fn change(&mut self, steps: Vec<Step>) {
        self.operation = Some(tokio::spawn(operator::change(self.operator(), steps)));
    }

    fn operator(&self) -> Stub {
        Stub::new(&self.net, OPERATOR)
    }

    /// The operator notices who was told the wrong founders: such a node gets an empty disk, and
    /// the right ones, or joins. Until then it has been of no group.
    pub(super) async fn correct(&mut self) {
        let odd: Vec<u64> = self.of(Standing::Odd).map(|host| host.setup.place).collect();
        if odd.is_empty() || self.operation.is_some() {
            return;
        }
        for &place in &odd {
            let count = self.founders;
            let host = self.hosts.get_mut(&place).expect("it is there");
            host.crash(CrashImage::Kept).await;
            host.lose_disk();
            host.standing = Standing::Member;
            host.setup.founders = (place <= count).then(|| founders(1..=count));
            self.restarts.insert(place, Instant::now());
            self.net.publish(place, place <= count);
        }
        let joins = odd.into_iter().filter(|&place| place > self.founders);
        let steps: Vec<_> =
            joins.flat_map(|place| [Step::Add(place), Step::Promote(place)]).collect();
        if !steps.is_empty() {
            self.change(steps);
        }
    }

    /// Starts who is to be started, and looks at what has become of all.
    pub(super) async fn tend(&mut self) {
        let now = Instant::now();
        let due: Vec<_> = self.restarts.extract_if(.., |_, at| *at <= now).collect();
        for (place, _) in due {
            let host = self.hosts.get_mut(&place).expect("hosts that are down stay");
            if !host.start().await {
                self.restarts.insert(place, now + RESTART_PAUSE);
            }
        }
        let mut gone = Vec::new();
        for (&place, host) in &mut self.hosts {
            check(host);
            let Some(error) = host.ended().await else { continue };
            if host.standing.is_refused() && matches!(error, Error::Refused(_)) {
                self.net.report.refused_nodes.one_more();
                gone.push(place);
            } else {
                // It may, if something else takes the room that it holds back; it hardly ever does.
                assert!(host.was_full(), "node {place} has stopped by itself: {error}");
                self.restarts.insert(place, now + RESTART_PAUSE);
            }
        }
        for place in gone {
            self.hosts.remove(&place);
        }
        if let Some(operation) = self.operation.take_if(|operation| operation.is_finished())
            && let Err(end) = operation.await
        {
            std::panic::resume_unwind(end.into_panic());
        }
    }

    /// All are to run, and to be what they should.
    pub(super) async fn heal(&mut self) {
        self.hosts.values().for_each(|host| host.set_free_bytes(None));
        // Who asks a node that is of no group waits in vain, however well the group is.
        for host in self.hosts.values().filter(|host| host.standing != Standing::Member) {
            self.net.publish(host.setup.place, false);
        }
        self.restarts.values_mut().for_each(|at| *at = Instant::now());
        self.correct().await;
    }

    /// Now and then the leader stays away for a while longer, if all others are there.
    pub(super) fn leave(&mut self) -> Option<u64> {
        let is_whole = self.operation.is_none() && self.of(Standing::Odd).next().is_none();
        let (leader, _) = self.leader().filter(|_| is_whole && self.restarts.is_empty())?;
        if self.rng.bool() {
            return None;
        }
        self.net.report.absences.one_more();
        self.net.publish(leader, false);
        self.net.pause(leader, Instant::now() + AWAY_MAX);
        Some(leader)
    }

    /// Whether nothing is left to be done by the operator, and no node runs that the group has told
    /// to stop.
    pub(super) async fn is_settled(&mut self) -> bool {
        self.tend().await;
        if self.of(Standing::Odd).next().is_some() {
            self.correct().await;
        }
        let mut refused = self.hosts.values().filter(|host| host.standing.is_refused());
        let to_hear = refused.any(|host| self.hears(host));
        self.operation.is_none() && self.of(Standing::Odd).next().is_none() && !to_hear
    }

    /// Whether those who could tell this node that it is refused still run.
    fn hears(&self, host: &Host) -> bool {
        let Some(replica) = host.replica() else { return true };
        let members = replica.members();
        let voters: Vec<u64> = members.voters().collect();
        let is_member = |&&id: &&u64| {
            id != host.setup.id
                && self.hosts.get(&id).is_some_and(|host| host.standing == Standing::Member)
        };
        voters.iter().filter(is_member).count() > voters.len() / 2
    }

    /// All members hold the same, by their own word.
    pub(super) async fn compare(&mut self) {
        let mut stub = self.operator();
        loop {
            // One that was paused may only now find that its disk was full.
            self.tend().await;
            if operator::compare(&mut stub).await.is_ok_and(|nodes| nodes == self.members()) {
                return;
            }
            sleep(PAUSE).await;
        }
    }

    pub(super) async fn stop(&mut self) {
        for host in self.hosts.values_mut() {
            host.crash(CrashImage::Kept).await;
        }
    }
}

/// Nobody is led from outside of its group, and who is not let in by nobody at all.
fn check(host: &Host) {
    let Some(leader) = host.replica().and_then(|replica| replica.status().leader) else { return };
    let (place, standing) = (host.setup.place, host.standing);
    let may_lead = match standing {
        Standing::Member | Standing::Removed => leader < FIRST_STRANGER,
        Standing::Odd | Standing::Impostor => false,
        Standing::Stranger => leader == place,
    };
    assert!(may_lead, "node {leader} leads node {place}: {standing:?}");
}
