//! Which service a request is for.
//!
//! KVService, which most requests are for, is found by one look at the path; the others by the
//! router that tonic brings. Measured with 256 clients that put: the router took 4 % of the
//! processor time of a cluster.

use std::convert::Infallible;
use std::task::{Context, Poll};

use lsm_proto::v1::kv_service_server::KvServiceServer;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;
use tonic::service::Routes;

use super::kv::Kv;

/// All services of the client port.
#[derive(Clone)]
pub(crate) struct Dispatch {
    kv: KvServiceServer<Kv>,
    others: Routes,
}

impl Dispatch {
    pub(super) fn new(kv: KvServiceServer<Kv>, others: Routes) -> Self {
        Self { kv, others }
    }
}

/// Whether the path, `/service/method`, is one of `S`.
fn is_for<S: NamedService>(path: &str) -> bool {
    let method = path.strip_prefix('/').and_then(|path| path.strip_prefix(S::NAME));
    method.is_some_and(|method| method.starts_with('/'))
}

impl Service<http::Request<Body>> for Dispatch {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    /// Services take any number of requests: what bounds them lies before.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if is_for::<KvServiceServer<Kv>>(request.uri().path()) {
            return self.kv.call(request);
        }
        Box::pin(self.others.call(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_found_by_its_whole_name() {
        let is_kv = is_for::<KvServiceServer<Kv>>;
        assert!(is_kv("/lsm.v1.KVService/Put") && is_kv("/lsm.v1.KVService/"));
        for path in ["/lsm.v1.KVService", "/lsm.v1.KVServices/Put", "lsm.v1.KVService/Put", "/", ""]
        {
            assert!(!is_kv(path), "{path}");
        }
    }
}
