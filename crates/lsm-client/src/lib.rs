//! Client of an lsm-server cluster, and the messages that it speaks.

pub mod proto;
