//! A port in front of a node that can be unplugged, for tests.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(super) struct Proxy {
    pub(super) address: String,
    accepting: JoinHandle<()>,
    shared: Arc<ProxyShared>,
}

struct ProxyShared {
    target: Mutex<SocketAddr>,
    is_plugged: Mutex<bool>,
    connections: Mutex<Vec<JoinHandle<()>>>,
}

impl Proxy {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(ProxyShared {
            target: Mutex::new(address),
            is_plugged: Mutex::new(false),
            connections: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address: address.to_string(), accepting, shared }
    }

    /// Lets connections through, to a port.
    pub(super) fn plug(&self, target: SocketAddr) {
        *self.shared.target.lock() = target;
        *self.shared.is_plugged.lock() = true;
    }

    /// Breaks all connections; new ones are closed at once.
    pub(super) fn unplug(&self) {
        *self.shared.is_plugged.lock() = false;
        for connection in self.shared.connections.lock().drain(..) {
            connection.abort();
        }
    }

    pub(super) fn target(&self) -> SocketAddr {
        *self.shared.target.lock()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.unplug();
    }
}

async fn accept(listener: TcpListener, shared: Arc<ProxyShared>) {
    loop {
        let (mut from, _) = listener.accept().await.unwrap();
        if !*shared.is_plugged.lock() {
            continue;
        }
        let target = *shared.target.lock();
        let connection = tokio::spawn(async move {
            if let Ok(mut to) = TcpStream::connect(target).await {
                let _ = from.set_nodelay(true);
                let _ = to.set_nodelay(true);
                let _ = copy_bidirectional(&mut from, &mut to).await;
            }
        });
        shared.connections.lock().push(connection);
    }
}
