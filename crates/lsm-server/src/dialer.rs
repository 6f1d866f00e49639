//! How connections to other nodes are made: over the network, or as a simulation has it.

use std::fmt::Debug;

use tonic::transport::{Channel, Endpoint, Error};

/// Makes connections.
#[tonic::async_trait]
pub(crate) trait Dialer: Debug + Send + Sync + 'static {
    /// A channel that connects when it is first used.
    fn dial_lazily(&self, endpoint: &Endpoint) -> Channel;

    /// A channel that is connected.
    ///
    /// # Errors
    ///
    /// As [`Endpoint::connect`].
    async fn dial(&self, endpoint: &Endpoint) -> Result<Channel, Error>;
}

/// Over the network.
#[derive(Debug)]
pub(crate) struct Network;

#[tonic::async_trait]
impl Dialer for Network {
    fn dial_lazily(&self, endpoint: &Endpoint) -> Channel {
        endpoint.connect_lazy()
    }

    async fn dial(&self, endpoint: &Endpoint) -> Result<Channel, Error> {
        endpoint.connect().await
    }
}
