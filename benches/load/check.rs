//! What a client wrote to keys of its own, compared at the end with what is there.
//!
//! A value begins with the number of its put and that of its client. A key must hold the last
//! acknowledged put or one of unknown outcome, which may take effect late. The key of another
//! client, or of an earlier measurement, is not looked at.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use common::Data;
use tokio::time::sleep;

use super::target::{Client, in_time};

/// Reads of one key until it counts as unreadable.
const TRIES_MAX: u32 = 20;
const TRY_PAUSE: Duration = Duration::from_millis(200);
/// Complaints that are kept.
const WRONG_MAX: usize = 10;

#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// Keys that hold what they must.
    pub(crate) right: u64,
    pub(crate) wrong: u64,
    /// The first of them, as sentences.
    pub(crate) complaints: Vec<String>,
}

impl Checked {
    pub(crate) fn add(&mut self, other: Self) {
        self.right += other.right;
        self.wrong += other.wrong;
        self.complaints.extend(other.complaints);
        self.complaints.truncate(WRONG_MAX);
    }
}

#[derive(Debug, Default)]
struct Puts {
    acknowledged: Option<u64>,
    /// Sent; it is not known whether they took effect, or will.
    unknown: Vec<u64>,
}

#[derive(Debug)]
pub(crate) struct Ledger {
    client: u64,
    last: u64,
    keys: HashMap<u64, Puts>,
}

impl Ledger {
    pub(crate) fn new(client: u64) -> Self {
        Self { client, last: 0, keys: HashMap::new() }
    }

    /// Marks the value of a put that is about to be sent to the key of this number.
    pub(crate) fn stamp(&mut self, key: u64, value: &mut [u8]) {
        self.last += 1;
        value[..8].copy_from_slice(&self.last.to_be_bytes());
        value[8..16].copy_from_slice(&self.client.to_be_bytes());
        self.keys.entry(key).or_default();
    }

    /// Notes whether the last put was acknowledged.
    pub(crate) fn answered(&mut self, key: u64, acknowledged: bool) {
        let puts = self.keys.get_mut(&key).expect("the put was stamped");
        if acknowledged {
            puts.acknowledged = Some(self.last);
        } else {
            puts.unknown.push(self.last);
        }
    }

    /// Reads every key back.
    pub(crate) async fn check(&self, client: &mut impl Client, data: &Data) -> Checked {
        let mut checked = Checked::default();
        for (&number, puts) in &self.keys {
            let Some(acknowledged) = puts.acknowledged else { continue };
            let complaint = match read(client, Bytes::copy_from_slice(&data.key(number))).await {
                Err(error) => Some(format!("cannot be read: {error}")),
                Ok(None) => Some(format!("is gone; put {acknowledged} was acknowledged")),
                Ok(Some(value)) => self.judge(acknowledged, &puts.unknown, &value),
            };
            match complaint {
                None => checked.right += 1,
                Some(complaint) => {
                    let complaint = format!("client {}: key {number} {complaint}", self.client);
                    let complaints = vec![complaint];
                    checked.add(Checked { right: 0, wrong: 1, complaints });
                }
            }
        }
        checked
    }

    fn judge(&self, acknowledged: u64, unknown: &[u64], value: &[u8]) -> Option<String> {
        let number = |at: usize| {
            let bytes = value.get(at..at + 8)?;
            Some(u64::from_be_bytes(bytes.try_into().expect("it has eight bytes")))
        };
        let (put, client) = (number(0), number(8));
        let right = |put| put == acknowledged || unknown.contains(&put);
        if client == Some(self.client) && put.is_some_and(right) {
            return None;
        }
        Some(format!(
            "holds put {put:?} of client {client:?}; put {acknowledged} was acknowledged last"
        ))
    }
}

async fn read(client: &mut impl Client, key: Bytes) -> Result<Option<Bytes>, tonic::Status> {
    let mut tries = 1;
    loop {
        match in_time(client.get(key.clone())).await {
            Err(_) if tries < TRIES_MAX => tries += 1,
            result => return result,
        }
        sleep(TRY_PAUSE).await;
    }
}
