//! The front of both ports: connections, what their requests and answers may take up at a time
//! over all of them, and answers on their way (admission control).
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
//! Leaves to tonic and hyper: how many requests a connection may have, HTTP/2, decoding. To the
//! services: what may be in a request. What is here, neither they nor tower have: a bound on
//! bytes over all connections, one on messages that comes with a word for programs and counts
//! the fields of a batch, and an end for clients that do not take their answers.

mod admission;
mod budget;
mod coalesce;
pub(crate) mod fields;
pub(crate) mod framing;
pub(crate) mod handles;
pub(crate) mod listener;
mod request;
mod response;
mod slow_readers;

pub(crate) use admission::Admission;
