//! What the rows of the scenes do: each function takes a stage and measures one thing on it.

pub(crate) mod deletes;
pub(crate) mod reads;
pub(crate) mod writes;
pub(crate) mod ycsb;
