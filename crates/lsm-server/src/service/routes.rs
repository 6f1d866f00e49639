//! All services of the client port, each with its limits, and health and reflection beside.

use std::time::Duration;

use lsm_client::proto::DESCRIPTORS;
use lsm_client::proto::v1::cluster_service_server::ClusterServiceServer;
use lsm_client::proto::v1::kv_service_server::KvServiceServer;
use lsm_client::proto::v1::session_service_server::SessionServiceServer;
use lsm_client::proto::v1::storage_service_server::StorageServiceServer;
use tokio::time::{MissedTickBehavior, interval};
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::cluster::Cluster;
use super::context::Context;
use super::dispatch::Dispatch;
use super::kv::Kv;
use super::session::Sessions;
use super::storage::Storage;

/// How often the health of the node is looked at.
const HEALTH_INTERVAL: Duration = Duration::from_millis(200);

/// The services that reflection lists.
const DESCRIBED: [&str; 5] = [
    "lsm.v1.KVService",
    "lsm.v1.SessionService",
    "lsm.v1.StorageService",
    "lsm.v1.ClusterService",
    "grpc.health.v1.Health",
];

/// The services of the client port. To be called in the runtime: starts a task that keeps the
/// health up to date until the node stops.
///
/// # Errors
///
/// A description of the services that does not decode: a bug.
pub(crate) fn routes(context: &Context) -> Result<Dispatch, tonic_reflection::server::Error> {
    let bytes_max = context.limits.message_bytes_max();
    let kv = KvServiceServer::new(Kv(context.clone()))
        .max_decoding_message_size(bytes_max)
        .max_encoding_message_size(bytes_max);
    let sessions = SessionServiceServer::new(Sessions(context.clone()))
        .max_decoding_message_size(bytes_max)
        .max_encoding_message_size(bytes_max);
    let storage = StorageServiceServer::new(Storage(context.clone()))
        .max_decoding_message_size(bytes_max)
        .max_encoding_message_size(bytes_max);
    let cluster = ClusterServiceServer::new(Cluster(context.clone()))
        .max_decoding_message_size(bytes_max)
        .max_encoding_message_size(bytes_max);
    // The descriptions hold the service of the other port too.
    let describe = || {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        DESCRIBED.iter().fold(builder, |builder, name| builder.with_service_name(*name))
    };
    let (reporter, health) = tonic_health::server::health_reporter();
    tokio::spawn(watch_health(context.clone(), reporter));
    let others = Routes::new(sessions)
        .add_service(storage)
        .add_service(cluster)
        .add_service(health)
        .add_service(describe().build_v1()?)
        // What older tools ask for.
        .add_service(describe().build_v1alpha()?)
        .prepare();
    Ok(Dispatch::new(kv, others))
}

/// The whole server serves while the node runs; KVService, only while a leader is known.
async fn watch_health(context: Context, reporter: HealthReporter) {
    reporter.set_serving::<KvServiceServer<Kv>>().await;
    let mut served = None;
    let mut looks = interval(HEALTH_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stopped = context.replica.wait_stopped();
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            _ = looks.tick() => {}
        }
        let serves = context.leader().is_some();
        if served != Some(serves) {
            served = Some(serves);
            let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
            reporter.set_service_status("lsm.v1.KVService", status).await;
        }
    }
    reporter.set_service_status("", ServingStatus::NotServing).await;
    reporter.set_service_status("lsm.v1.KVService", ServingStatus::NotServing).await;
}
