//! The connection to one other node's client port, over which requests are passed on.
//!
//! While a request waits for its answer the connection is asked whether it still carries, and
//! replaced by a fresh one that does (`probe`). Who waits on the old one then hears of it: what
//! may be repeated is, the rest is told that nobody knows.
//!
//! Threads: any number. One request at a time looks after the connection, on behalf of all.

use std::sync::Arc;
use std::time::Duration;

use lsm_proto::v1::StatusRequest;
use lsm_proto::v1::cluster_service_client::ClusterServiceClient;
use tokio::sync::{Mutex, watch};
use tokio::time::sleep;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::dialer::Dialer;
use crate::probe::Probe;

/// How long a request waits for its answer before it looks after the connection, and how often it
/// does from then on.
const LOOK_PAUSE: Duration = Duration::from_millis(150);

/// The connection to one node.
#[derive(Debug)]
pub(super) struct NodeChannel {
    endpoint: Endpoint,
    dialer: Arc<dyn Dialer>,
    channel: watch::Sender<Channel>,
    /// Held by whoever looks after the connection.
    probe: Mutex<Probe>,
}

impl NodeChannel {
    /// Nothing is sent before the first request.
    pub(super) fn new(endpoint: Endpoint, dialer: Arc<dyn Dialer>) -> Self {
        let channel = watch::Sender::new(dialer.dial_lazily(&endpoint));
        Self { endpoint, dialer, channel, probe: Mutex::default() }
    }

    /// What a call over the connection of now comes to. None if that turned out to carry nothing
    /// any more; the next call goes over a fresh one.
    pub(super) async fn call<F: Future>(
        &self,
        call: impl FnOnce(Channel) -> F,
    ) -> Option<F::Output> {
        let mut replaced = self.channel.subscribe();
        let channel = replaced.borrow_and_update().clone();
        tokio::select! {
            biased;
            answer = call(channel) => Some(answer),
            // It has the other end itself.
            _ = replaced.changed() => None,
            () = self.look_after() => None,
        }
    }

    /// Never returns.
    async fn look_after(&self) {
        loop {
            sleep(LOOK_PAUSE).await;
            let Ok(mut probe) = self.probe.try_lock() else { continue };
            let old = self.channel.borrow().clone();
            let asking = async {
                // An error is an answer, or the end of the connection, which all hear of.
                let _ = ask(old).await;
            };
            let connect = || {
                let channel = self.dialer.dial_lazily(&self.endpoint);
                async move { ask(channel.clone()).await.map(|()| channel) }
            };
            if let Some(fresh) = probe.renew(asking, connect).await {
                self.channel.send_replace(fresh);
            }
        }
    }
}

/// A question that every node answers at once.
async fn ask(channel: Channel) -> Result<(), Status> {
    ClusterServiceClient::new(channel).status(StatusRequest {}).await.map(|_| ())
}
