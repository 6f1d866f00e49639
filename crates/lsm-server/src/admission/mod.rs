//! What requests of clients, and the answers to them, may take up at a time, over all
//! connections: so many requests, so many bytes, and each within a limited time.
//!
//! A request is counted from its head until the last piece of its answer has left, its bytes
//! from when they come until it is answered, and those of the answer from when it is put
//! together. One too many is refused as busy, before it has any effect; it does not wait, since
//! those that wait for each other with half of their bytes here would wait for ever. A message
//! that says it is longer than one may be is refused at its header, before anything is set
//! aside for it. Of a batch the writes count too: what is two bytes here may be a hundred once
//! it is decoded.
//!
//! Calls of health and reflection may stay open for as long as their clients like. They have a
//! number of their own: many of them are no reason to refuse a request.
//!
//! Leaves to others: what may be in a request (its service), how many requests a connection may
//! have (the server), and clients that do not take their answers (the listener).

mod answer;
mod budget;
mod call_kind;
mod request;
mod service;

pub(crate) use service::Admission;
