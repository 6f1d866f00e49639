//! Clients: each makes one request after the other, of any node, and writes down what it was told.
//! Those with a session send a write again until it is answered, each time to any node; those
//! without believe what a failure proves, and nothing else.

use std::sync::Arc;

use lsm_proto::v1::{DeleteRequest, GetRequest, GetResponse, Header, PutRequest, Session};
use lsm_raft::testkit::{Call, Reply};

use super::history::History;
use super::net::Net;
use super::stub::{Failure, Stub, is_elsewhere, within};

/// Few keys, so that clients meet.
const KEYS: u64 = 2;
/// The longest pause between two requests.
const PAUSE_MILLIS: u64 = 60;

pub(super) struct Client {
    id: u64,
    stub: Stub,
    history: Arc<History>,
    with_session: bool,
    session: Option<Session>,
    written: u64,
    /// The key of the last write, if that may not have happened.
    doubt: Option<String>,
}

impl Client {
    pub(super) fn new(id: u64, with_session: bool, net: &Arc<Net>, history: &Arc<History>) -> Self {
        Self {
            id,
            stub: Stub::new(net, id),
            history: Arc::clone(history),
            with_session,
            session: None,
            written: 0,
            doubt: None,
        }
    }

    /// Until it is told to end.
    pub(super) async fn run(mut self) {
        if self.with_session {
            self.session = Some(Session { id: self.stub.open_session().await, sequence: 0 });
        }
        while !self.history.is_over() {
            self.stub.pause(PAUSE_MILLIS).await;
            self.history.begin(self.id);
            // What is not known, or said not to have happened, is looked at.
            let doubt = self.doubt.take();
            let choice = if doubt.is_some() { 0 } else { self.stub.rng.u8(..10) };
            let key = doubt.unwrap_or_else(|| format!("key{}", self.stub.rng.u64(..KEYS)));
            let served = match choice {
                0..5 => self.get(&key).await,
                5 => self.write(&key, None).await,
                _ => {
                    self.written += 1;
                    let value = format!("{}.{}", self.id, self.written);
                    self.write(&key, Some(value)).await
                }
            };
            if served {
                self.history.note_served(self.id);
            }
        }
    }

    async fn get(&mut self, key: &str) -> bool {
        let history = Arc::clone(&self.history);
        let call = history.recorder.call(self.id, history.moment(), key.as_bytes(), Call::Get);
        let call = call.expect("the recorder is large enough");
        let message = GetRequest { key: key.to_owned().into(), ..GetRequest::default() };
        let (request, time) = self.stub.request(message);
        let answer = within(time, self.stub.kv().get(request)).await;
        let reply = match &answer {
            Ok(GetResponse { found, value, header }) => {
                self.stub.net.report.reads.one_more();
                if is_elsewhere(header.as_ref()) {
                    self.stub.net.report.reads_elsewhere.one_more();
                }
                Reply::Got(found.then_some(value))
            }
            Err(_) => Reply::Unknown,
        };
        history.recorder.reply(call, history.moment(), reply);
        answer.is_ok()
    }

    async fn write(&mut self, key: &str, value: Option<String>) -> bool {
        if let Some(session) = &mut self.session {
            session.sequence += 1;
        }
        let history = Arc::clone(&self.history);
        let what = value.as_ref().map_or(Call::Delete, |value| Call::Put(value.as_bytes()));
        let call = history.recorder.call(self.id, history.moment(), key.as_bytes(), what);
        let call = call.expect("the recorder is large enough");
        // Whether any of the tries may have done it, or may do so yet.
        let mut in_doubt = false;
        let reply = loop {
            let tried = self.try_write(key, value.as_ref(), &mut in_doubt).await;
            let Err(failure) = tried else { break Reply::Done };
            in_doubt |= !failure.is_certain();
            if self.session.is_none() || failure == Failure::SessionUnknown {
                break if in_doubt { Reply::Unknown } else { Reply::Failed };
            }
            self.stub.net.report.repeats.one_more();
            self.stub.pause(80).await;
        };
        history.recorder.reply(call, history.moment(), reply);
        self.doubt = (reply != Reply::Done).then(|| key.to_owned());
        if self.session.is_some() && reply != Reply::Done {
            self.stub.net.report.lost_sessions.one_more();
            self.session = Some(Session { id: self.stub.open_session().await, sequence: 0 });
        }
        reply == Reply::Done
    }

    async fn try_write(
        &mut self,
        key: &str,
        value: Option<&String>,
        in_doubt: &mut bool,
    ) -> Result<(), Failure> {
        if self.session.is_some() && self.stub.rng.u8(..10) == 0 {
            *in_doubt = true;
            self.stub.net.report.doubled.one_more();
            let second = self.send_write(key, value);
            tokio::spawn(second);
        }
        let written = self.send_write(key, value).await;
        let report = &self.stub.net.report;
        match &written {
            Ok(header) => {
                report.writes.one_more();
                if value.is_none() {
                    report.deletes.one_more();
                }
                if is_elsewhere(header.as_ref()) {
                    report.writes_elsewhere.one_more();
                }
            }
            Err(Failure::Refused) => report.refused.one_more(),
            Err(Failure::NoRoom) => report.no_room.one_more(),
            // Counted when it is replaced.
            Err(Failure::SessionUnknown) => {}
            Err(Failure::Unknown) => report.unknown.one_more(),
            Err(Failure::Unanswered) => report.unanswered.one_more(),
        }
        written.map(drop)
    }

    /// Sends a write to any node.
    fn send_write(
        &mut self,
        key: &str,
        value: Option<&String>,
    ) -> impl Future<Output = Result<Option<Header>, Failure>> + Send + use<> {
        let (mut kv, session) = (self.stub.kv(), self.session);
        let (key, value) = (key.to_owned().into(), value.cloned().map(Into::into));
        let (request, time) = self.stub.request(());
        async move {
            match value {
                Some(value) => {
                    let request = request.map(|()| PutRequest { key, value, session });
                    within(time, kv.put(request)).await.map(|answer| answer.header)
                }
                None => {
                    let request = request.map(|()| DeleteRequest { key, session });
                    within(time, kv.delete(request)).await.map(|answer| answer.header)
                }
            }
        }
    }
}
