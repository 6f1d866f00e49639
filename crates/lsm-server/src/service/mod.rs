//! What clients ask a node for: one file a service, and what they share.
//!
//! A request is judged before anything is queued ([`validate`](crate::validate)). What only the
//! leader serves goes through `leader.rs`, which finds it, here or elsewhere; reads are served
//! by the node that is asked, once it has caught up.
//!
//! Nothing here waits for the disk on the threads of the runtime, but for the first of several
//! lookups of keys that are not in memory (`lookups`).

mod cluster;
mod context;
mod deadline;
mod dispatch;
mod forward;
#[cfg(test)]
mod group_test;
mod hash_check;
mod health;
mod kv;
mod leader;
mod lookups;
mod node_channel;
mod pager;
mod range;
mod routes;
mod scan;
#[cfg(test)]
mod server_test;
mod session;
mod storage;
#[cfg(test)]
mod test_group;

pub(crate) use context::{Context, Peers};
pub(crate) use health::Health;
pub(crate) use routes::routes;
