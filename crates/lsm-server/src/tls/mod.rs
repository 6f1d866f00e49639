//! Encryption: the certificates of a node, and connections that are made with them.
//!
//! Leaves to others: reading the files (`config`), and bounding the time of a handshake
//! (`listener` for those who come, the callers for those who are called).
//!
//! Invariants:
//! * With certificates both ports speak TLS and nothing else.
//! * Between nodes each side shows a certificate of a node and demands one.
//! * A node starts only with a certificate that the others will take.

mod certificates;
mod nodes_only;
mod own;
mod stream;
#[cfg(test)]
mod test_authority;

pub(crate) use certificates::{Part, Pem, Tls, endpoint};
pub(crate) use stream::{MaybeTlsStream, accept, close};
#[cfg(test)]
pub(crate) use test_authority::{Authority, Signed};
