//! All services of the client port, each with its limits, and health and reflection beside.

use lsm_proto::DESCRIPTORS;
use lsm_proto::v1::cluster_service_server::ClusterServiceServer;
use lsm_proto::v1::kv_service_server::KvServiceServer;
use lsm_proto::v1::session_service_server::SessionServiceServer;
use lsm_proto::v1::storage_service_server::StorageServiceServer;
use tonic::service::Routes;

use super::cluster::Cluster;
use super::context::Context;
use super::dispatch::Dispatch;
use super::health::Health;
use super::kv::Kv;
use super::session::Sessions;
use super::storage::Storage;

/// The services that reflection lists.
const DESCRIBED: [&str; 5] = [
    "lsm.v1.KVService",
    "lsm.v1.SessionService",
    "lsm.v1.StorageService",
    "lsm.v1.ClusterService",
    "grpc.health.v1.Health",
];

/// The services of the client port, and the health of the node, which is to be closed first when
/// it stops.
///
/// # Errors
///
/// A description of the services that does not decode: a bug.
pub(crate) async fn routes(
    context: &Context,
) -> Result<(Dispatch, Health), tonic_reflection::server::Error> {
    // No bound on what leaves: values were bounded when they were written, under whatever settings.
    let bytes_max = context.limits.message_bytes_max();
    let kv = KvServiceServer::new(Kv(context.clone())).max_decoding_message_size(bytes_max);
    let sessions =
        SessionServiceServer::new(Sessions(context.clone())).max_decoding_message_size(bytes_max);
    let storage =
        StorageServiceServer::new(Storage(context.clone())).max_decoding_message_size(bytes_max);
    let cluster =
        ClusterServiceServer::new(Cluster(context.clone())).max_decoding_message_size(bytes_max);
    // The descriptions hold the service of the other port too.
    let describe = || {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        DESCRIBED.iter().fold(builder, |builder, name| builder.with_service_name(*name))
    };
    let (health, health_calls) = Health::start(context).await;
    let others = Routes::new(sessions)
        .add_service(storage)
        .add_service(cluster)
        .add_service(health_calls)
        .add_service(describe().build_v1()?)
        // What older tools ask for.
        .add_service(describe().build_v1alpha()?)
        .prepare();
    Ok((Dispatch::new(kv, others), health))
}
