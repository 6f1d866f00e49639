//! Someone opens sessions and leaves them: so many that others are given up for them. Which ones is
//! told by their numbers, which count up: one that made no request is gone once enough were opened
//! after it, and one that was just opened is not before that.

use std::collections::VecDeque;
use std::sync::Arc;

use lsm_proto::v1::{PutRequest, Session};

use super::history::History;
use super::host::SESSIONS_MAX;
use super::stub::{Failure, Stub, within};

const PAUSE_MILLIS: u64 = 300;
/// No more than so many sessions of others are used meanwhile, and stay for that.
const OTHERS_MAX: u64 = 4;

pub(super) async fn open_and_leave(mut stub: Stub, history: Arc<History>) {
    let mut left = VecDeque::new();
    while !history.is_over() {
        stub.pause(PAUSE_MILLIS).await;
        history.begin(stub.client);
        let id = stub.open_session().await;
        history.note_served(stub.client);
        if let Some(old) = left.pop_front_if(|old| *old + SESSIONS_MAX <= id) {
            let written = write(&mut stub, old).await;
            assert!(written.is_err(), "session {old} is used, and {id} is there");
            stub.net.report.given_up.add(u64::from(written == Err(Failure::SessionUnknown)));
        }
        if stub.rng.bool() {
            left.push_back(id);
        } else if write(&mut stub, id).await == Err(Failure::SessionUnknown) {
            let last = stub.open_session().await;
            assert!(last + OTHERS_MAX >= id + SESSIONS_MAX, "{id} is gone, and {last} was opened");
            left.push_back(last);
        }
    }
}

/// The first request of a session.
async fn write(stub: &mut Stub, id: u64) -> Result<(), Failure> {
    let session = Some(Session { id, sequence: 1 });
    let put = PutRequest { key: "left".into(), value: "by a session".into(), session };
    let (request, time) = stub.request(put);
    within(time, stub.kv().put(request)).await.map(drop)
}
