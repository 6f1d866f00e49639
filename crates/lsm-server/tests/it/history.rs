//! Clients that write and read the same few keys while nodes are killed, paused and restarted:
//! what they were told must be a history of one register a key.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lsm_client::Client;
use lsm_raft::testkit::{Call, Recorder, Reply, check};
use tokio::task::JoinHandle;

use crate::harness::{Cluster, ELECTION_TIME_MAX};

const CLIENTS: u64 = 8;
const KEYS: u64 = 5;

/// Clients that run, and what they are told.
struct Clients {
    recorder: Arc<Recorder>,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Clients {
    fn start(client: &Client) -> Self {
        let (recorder, stop) = (Arc::new(Recorder::new(1 << 20)), Arc::new(AtomicBool::new(false)));
        let (answered, begun) = (Arc::new(AtomicU64::new(0)), Instant::now());
        let tasks = (0..CLIENTS).map(|id| {
            let (client, recorder) = (client.clone(), Arc::clone(&recorder));
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            tokio::spawn(async move {
                for number in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    one(&client, &recorder, begun, id, number).await;
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        let tasks = tasks.collect();
        Self { recorder, stop, answered, tasks }
    }

    async fn more(&self, count: u64) {
        let goal = self.answered.load(Ordering::SeqCst) + count;
        crate::harness::wait_for("answers", Duration::from_secs(120), async || {
            (self.answered.load(Ordering::SeqCst) >= goal).then_some(())
        })
        .await;
    }

    async fn assert_linearizable(self) {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
        let history = self.recorder.history();
        println!("{} operations", history.len());
        if let Err(violation) = check(&history) {
            panic!("{violation}");
        }
    }
}

async fn one(client: &Client, recorder: &Recorder, begun: Instant, id: u64, number: u64) {
    let now = || begun.elapsed().as_micros() as u64;
    // Different paths of different clients through the same keys.
    let choice = id.wrapping_mul(7919).wrapping_add(number.wrapping_mul(104_729));
    let key = format!("key{}", (choice >> 3) % KEYS);
    if choice % 8 < 4 {
        let Some(call) = recorder.call(id, now(), key.as_bytes(), Call::Get) else { return };
        match client.get(key.as_str()).await {
            Ok(value) => recorder.reply(call, now(), Reply::Got(value.as_deref())),
            Err(_) => recorder.reply(call, now(), Reply::Unknown),
        }
        return;
    }
    let value = format!("{id}.{number}");
    let delete = choice % 8 == 4;
    let what = if delete { Call::Delete } else { Call::Put(value.as_bytes()) };
    let Some(call) = recorder.call(id, now(), key.as_bytes(), what) else { return };
    let written = if delete {
        client.delete(key.as_str()).await
    } else {
        client.put(key.as_str(), value.as_str()).await
    };
    let reply = match written {
        Ok(_) => Reply::Done,
        Err(error) if error.is_safe_to_retry() => Reply::Failed,
        Err(_) => Reply::Unknown,
    };
    recorder.reply(call, now(), reply);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_and_pauses_are_not_seen_in_what_clients_are_told() {
    let mut cluster = Cluster::start(5).await;
    let clients = Clients::start(&cluster.client().await);
    clients.more(500).await;
    for _ in 0..2 {
        let old = cluster.leader().await;
        cluster.kill(old);
        clients.more(300).await;

        // It does not know yet that it leads no more when it wakes up.
        let asleep = cluster.leader().await;
        cluster.pause(asleep);
        let awake: Vec<_> = cluster.running().into_iter().filter(|&node| node != asleep).collect();
        cluster.leader_of(&awake, ELECTION_TIME_MAX).await;
        clients.more(300).await;
        cluster.resume(asleep);
        clients.more(300).await;
        cluster.run_node(old);
        clients.more(100).await;
    }
    clients.assert_linearizable().await;
    cluster.assert_equal_states().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_for_long_gets_a_snapshot() {
    let flags = "--write-buffer-bytes 256KiB --log-keep-bytes 1MiB";
    let mut cluster = Cluster::builder(5).flags(flags).start().await;
    let client = cluster.client().await;
    let away = cluster.leader().await % 5 + 1;
    client.put("before", "1").await.unwrap();
    cluster.kill(away);
    // More than the others keep, by far.
    let value = vec![b'x'; 16 << 10];
    for number in 0..400 {
        client.put(format!("big{}", number % 50), value.clone()).await.unwrap();
    }
    crate::harness::wait_for("a shorter log", Duration::from_secs(30), async || {
        client.put("more", value.clone()).await.unwrap();
        let leader = cluster.leader().await;
        (cluster.status(leader).await?.first_index > 100).then_some(())
    })
    .await;
    cluster.run_node(away);
    cluster.caught_up().await;
    let log = std::fs::read_to_string(cluster.log(away)).unwrap();
    assert!(log.contains("switching to a snapshot"), "it caught up without one");
    cluster.assert_equal_states().await;
    // And again: what it took over survives.
    cluster.kill(away);
    cluster.run_node(away);
    cluster.assert_equal_states().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_grows_from_three_to_five_and_shrinks_again() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client().await;
    let clients = Clients::start(&client);
    clients.more(200).await;
    for _ in 0..2 {
        let node = cluster.run_joining_node();
        let (peer, own) = (cluster.peer_address(node), cluster.address(node));
        client.add_learner(node, peer.to_string(), own.to_string()).await.unwrap();
        // Refused until it has caught up.
        crate::harness::wait_for("a promotion", Duration::from_secs(30), async || {
            client.promote(node, false).await.ok()
        })
        .await;
        clients.more(100).await;
    }
    let voters = client.members().await.unwrap();
    assert_eq!(voters.len(), 5, "{voters:?}");
    // Two may die now.
    cluster.kill_all(&[1, 2]);
    clients.more(200).await;
    client.remove(1, false).await.unwrap();
    client.remove(2, false).await.unwrap();
    clients.more(100).await;
    assert_eq!(client.members().await.unwrap().len(), 3);
    clients.assert_linearizable().await;
    cluster.assert_equal_states().await;
}
