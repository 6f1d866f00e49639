//! Whether this node serves, as gRPC's health service tells it.
//!
//! It serves while it knows a leader, its disk answers, and it does not stop. That holds for the node as a whole, which
//! is what probes ask about if they are told nothing else, as for KVService.
//!
//! Threads: one task, until the health is closed or the replica has stopped.

use std::time::Duration;

use lsm_proto::v1::kv_service_server::KvServiceServer;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health as HealthCalls, HealthServer};
use tonic_health::server::{HealthReporter, health_reporter};

use super::context::Context;
use super::kv::Kv;

/// How often the health of the node is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// The node as a whole, and what it is for.
const NAMES: [&str; 2] = ["", KvServiceServer::<Kv>::NAME];

/// Keeps the health up to date.
#[derive(Debug)]
pub(crate) struct Health {
    reporter: HealthReporter,
    task: JoinHandle<()>,
}

impl Health {
    /// The health of a node that begins to serve, and the service that tells it.
    pub(super) async fn start(context: &Context) -> (Self, HealthServer<impl HealthCalls>) {
        let (reporter, service) = health_reporter();
        tell(&reporter, false).await;
        let task = tokio::spawn(look(context.clone(), reporter.clone()));
        (Self { reporter, task }, service)
    }

    /// The node stops: all who ask or watch hear that it does not serve.
    pub(crate) async fn close(self) {
        self.task.abort();
        // It must not have the last word.
        let _ = self.task.await;
        tell(&self.reporter, false).await;
    }
}

async fn look(context: Context, reporter: HealthReporter) {
    let mut served = false;
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stopped = context.replica.wait_stopped();
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            _ = looks.tick() => {}
        }
        let replica = &context.replica;
        let answers = replica.disk_silence() <= replica.election_time();
        let serves = context.leader().is_some() && answers;
        if served != serves {
            served = serves;
            tell(&reporter, serves).await;
        }
    }
    tell(&reporter, false).await;
}

async fn tell(reporter: &HealthReporter, serves: bool) {
    let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
    for name in NAMES {
        reporter.set_service_status(name, status).await;
    }
}
