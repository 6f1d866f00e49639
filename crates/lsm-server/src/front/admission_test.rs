use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tonic::Code;

use super::super::budget::ANSWER_BYTES_SHORT;
use super::super::request::{BATCH_FIELDS_MAX, QUESTION_BYTES_MAX};
use super::*;
use crate::limits::WRITE_BYTES;
use crate::status;

const MOMENT: Duration = Duration::from_secs(5);
/// A message of no bytes, with its header.
const EMPTY: &[u8] = b"\0\0\0\0\0";

/// A body whose pieces are sent by hand.
struct Pieces(mpsc::UnboundedReceiver<&'static [u8]>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = ready!(self.0.poll_recv(context));
        Poll::Ready(piece.map(|bytes| Ok(Frame::data(Bytes::from_static(bytes)))))
    }
}

/// Reads a request to its end, and answers with how that ended and what came.
#[derive(Clone)]
struct Reader;

type BoxedResponse =
    Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send + 'static>>;

impl Service<http::Request<Body>> for Reader {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxedResponse;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> BoxedResponse {
        Box::pin(async move {
            let mut body = request.into_body();
            let ended = loop {
                match std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
                {
                    Some(Ok(_)) => {}
                    Some(Err(status)) => break status,
                    None => break Status::ok("all came"),
                }
            };
            Ok(ended.into_http())
        })
    }
}

fn admission<S>(service: S, limits: &Limits) -> (Admission<S>, watch::Sender<bool>) {
    let (closing, closed) = watch::channel(false);
    (Admission::new(service, limits, closed), closing)
}

/// Requests to one admission.
struct Client {
    admission: Admission<Reader>,
    _closing: watch::Sender<bool>,
    sent: VecDeque<(mpsc::UnboundedSender<&'static [u8]>, tokio::task::JoinHandle<Status>)>,
}

impl Client {
    fn new(requests_max: usize, requests_bytes_max: usize, request_time_max: Duration) -> Self {
        let limits =
            Limits { requests_max, requests_bytes_max, request_time_max, ..Limits::default() };
        Self::within(&limits)
    }

    fn within(limits: &Limits) -> Self {
        let (admission, closing) = admission(Reader, limits);
        Self { admission, _closing: closing, sent: VecDeque::new() }
    }

    /// Begins a request with this piece.
    async fn begin(&mut self, path: &str, piece: &'static [u8]) {
        let (sender, receiver) = mpsc::unbounded_channel();
        sender.send(piece).unwrap();
        let request = http::Request::builder().uri(path);
        let request = request.body(Body::new(Pieces(receiver))).unwrap();
        let answer = self.admission.call(request);
        let task = tokio::spawn(async move {
            let answer = answer.await.unwrap();
            Status::from_header_map(answer.headers()).unwrap()
        });
        self.sent.push_back((sender, task));
        tokio::task::yield_now().await;
    }

    /// How the oldest request ends, when it is left as it is.
    async fn answer(&mut self) -> Status {
        let (_sender, task) = self.sent.pop_front().unwrap();
        timeout(MOMENT, task).await.expect("it is refused").unwrap()
    }

    /// How the oldest request ends, when nothing more is sent.
    async fn end(&mut self) -> Status {
        let (sender, task) = self.sent.pop_front().unwrap();
        drop(sender);
        timeout(MOMENT, task).await.expect("it ends").unwrap()
    }
}

#[tokio::test]
async fn one_request_too_many_is_refused_as_busy() {
    let mut client = Client::new(2, 1000, MOMENT);
    client.begin("/lsm.v1.KVService/Get", b"").await;
    client.begin("/lsm.v1.KVService/Get", b"").await;
    client.begin("/lsm.v1.KVService/Get", b"").await;
    let (sender, third) = client.sent.pop_back().unwrap();
    let status = timeout(MOMENT, third).await.unwrap().unwrap();
    drop(sender);
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status::says(&status, status::BUSY), "{status:?}");
    assert_eq!(client.end().await.code(), Code::Ok);
    // There is budget again.
    client.begin("/lsm.v1.KVService/Get", b"").await;
    assert_eq!(client.end().await.code(), Code::Ok);
    assert_eq!(client.end().await.code(), Code::Ok);
}

#[tokio::test]
async fn bytes_are_counted_over_all_requests_until_they_are_answered() {
    let mut client = Client::new(10, 10, MOMENT);
    client.begin("/lsm.v1.KVService/Put", b"\0\0\0\0").await;
    client.begin("/lsm.v1.KVService/Put", b"\0\0\0\0\x016").await;
    client.begin("/lsm.v1.KVService/Put", b"1").await;
    let (sender, third) = client.sent.pop_back().unwrap();
    let status = timeout(MOMENT, third).await.unwrap().unwrap();
    drop(sender);
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status::says(&status, status::BUSY), "{status:?}");

    assert_eq!(client.end().await.code(), Code::Ok);
    client.begin("/lsm.v1.KVService/Put", b"\0\0\0\0").await;
    client.sent[1].0.send(b"\0").unwrap();
    assert_eq!(client.sent.len(), 2);
    let (_, last) = client.sent.pop_back().unwrap();
    assert_eq!(timeout(MOMENT, last).await.unwrap().unwrap().code(), Code::ResourceExhausted);
    assert_eq!(client.end().await.code(), Code::Ok);
    assert_eq!(client.admission.budget.bytes_left.load(Ordering::Relaxed), 10);
}

#[tokio::test]
async fn a_request_that_does_not_come_to_its_end_is_given_up() {
    let mut client = Client::new(10, 100, Duration::from_millis(50));
    client.begin("/lsm.v1.KVService/Put", EMPTY).await;
    let status = client.answer().await;
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(client.admission.budget.bytes_left.load(Ordering::Relaxed), 100);

    // The questions of reflection come one after the other, when somebody asks.
    client.begin(REFLECTION, b"ask").await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(client.end().await.code(), Code::Ok);
}

#[tokio::test]
async fn a_request_that_is_given_up_gives_back_what_it_held() {
    let mut client = Client::new(1, 100, MOMENT);
    client.begin("/lsm.v1.KVService/Put", EMPTY).await;
    let (_sender, task) = client.sent.pop_back().unwrap();
    assert_eq!(client.admission.budget.bytes_left.load(Ordering::Relaxed), 95);
    task.abort();
    assert!(task.await.is_err());
    assert_eq!(client.admission.budget.bytes_left.load(Ordering::Relaxed), 100);
    client.begin("/lsm.v1.KVService/Put", EMPTY).await;
    assert_eq!(client.end().await.code(), Code::Ok);
}

#[tokio::test]
async fn a_message_that_says_it_is_too_long_is_refused_at_its_header() {
    let mut client = Client::new(10, 100, MOMENT);
    let most = Limits::default().message_bytes_max();
    // One byte more than may be; and the header comes in two pieces.
    client.begin("/lsm.v1.KVService/Put", b"\0\x01\x10").await;
    client.sent[0].0.send(b"\0\x01").unwrap();
    let status = client.answer().await;
    assert_eq!((most, status.code()), (0x0110_0000, Code::InvalidArgument));
    assert!(status::says(&status, status::INVALID), "{status:?}");
    assert_eq!(status.message(), "the message has 17825793 bytes; at most 17825792 are allowed");
    client.begin("/lsm.v1.KVService/Put", b"\0\x01\x10\0\0").await;
    assert_eq!(client.end().await.code(), Code::Ok, "it is the service that misses the bytes");
    assert_eq!(client.admission.budget.bytes_left.load(Ordering::Relaxed), 100);
}

#[tokio::test]
async fn a_call_that_is_no_request_has_few_bytes() {
    let mut client = Client::new(10, 1 << 20, MOMENT);
    client.begin(REFLECTION, b"\0\0\x01\0\x01").await;
    let status = client.answer().await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "the message has 65537 bytes; at most 65536 are allowed");

    client.begin(REFLECTION, EMPTY).await;
    for _ in 1..QUESTION_BYTES_MAX / EMPTY.len() + 1 {
        client.sent[0].0.send(EMPTY).unwrap();
    }
    let status = client.answer().await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status::says(&status, status::INVALID), "{status:?}");
    assert!(status.message().contains("65536 bytes that are allowed"), "{status:?}");
}

const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const WATCH: &str = "/grpc.health.v1.Health/Watch";

#[tokio::test]
async fn open_calls_have_a_number_of_their_own() {
    let limits = Limits { requests_max: 1, open_calls_max: 2, ..Limits::default() };
    let mut client = Client::within(&limits);
    client.begin(REFLECTION, EMPTY).await;
    client.begin(WATCH, EMPTY).await;
    client.begin(WATCH, EMPTY).await;
    let (_sender, third) = client.sent.pop_back().unwrap();
    let status = timeout(MOMENT, third).await.unwrap().unwrap();
    assert!(status::says(&status, status::BUSY), "{status:?}");
    assert!(status.message().contains("2 calls of health and reflection"), "{status:?}");
    // Neither keeps a request out, nor a question about the health.
    for path in ["/lsm.v1.KVService/Get", "/grpc.health.v1.Health/Check"] {
        client.begin(path, EMPTY).await;
        let (sender, answered) = client.sent.pop_back().unwrap();
        drop(sender);
        assert_eq!(timeout(MOMENT, answered).await.unwrap().unwrap().code(), Code::Ok);
    }
    assert_eq!(client.end().await.code(), Code::Ok);
    client.begin(REFLECTION, EMPTY).await;
    assert_eq!(client.end().await.code(), Code::Ok);
    assert_eq!(client.end().await.code(), Code::Ok);
    assert_eq!(client.admission.budget.open_left.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn an_open_call_counts_until_its_answer_ends() {
    let limits = Limits { open_calls_max: 1, ..Limits::default() };
    let (mut admission, _closing) = admission(Speaker, &limits);
    let mut talk = || {
        let request = http::Request::get("/grpc.reflection.v1.ServerReflection/1");
        admission.call(request.body(Body::empty()).unwrap())
    };
    let first = talk().await.unwrap();
    let status = Status::from_header_map(talk().await.unwrap().headers());
    assert!(status::says(&status.unwrap(), status::BUSY));
    drop(first);
    assert!(Status::from_header_map(talk().await.unwrap().headers()).is_none());
}

#[tokio::test]
async fn a_talk_in_which_nothing_is_asked_ends() {
    let time = Duration::from_millis(400);
    let limits = Limits { question_time_max: time, request_time_max: time, ..Limits::default() };
    let mut client = Client::within(&limits);
    client.begin(WATCH, EMPTY).await;
    client.begin(REFLECTION, EMPTY).await;
    for _ in 0..4 {
        sleep(time / 2).await;
        client.sent[1].0.send(EMPTY).unwrap();
    }
    assert!(!client.sent[1].1.is_finished(), "each question gives it time");
    let (_sender, talk) = client.sent.pop_back().unwrap();
    let status = timeout(MOMENT, talk).await.unwrap().unwrap();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert!(status.message().contains("no question came"), "{status:?}");
    assert!(!client.sent[0].1.is_finished(), "there is nothing to ask");
    assert_eq!(client.end().await.code(), Code::Ok);
}

/// So many writes of a batch, each of no bytes.
fn batch(writes: usize) -> Vec<u8> {
    let mut body = vec![0];
    body.extend((2 * writes as u32).to_be_bytes());
    body.extend([0x0a, 0].repeat(writes));
    body
}

#[tokio::test]
async fn a_batch_of_too_many_writes_is_refused_before_it_is_decoded() {
    let mut client = Client::new(10, Limits::default().requests_bytes_max, MOMENT);
    let path = "/lsm.v1.KVService/BatchWrite";
    // Its service says how many there are, and that a session would be one field more.
    client.begin(path, batch(BATCH_FIELDS_MAX).leak()).await;
    assert_eq!(client.end().await.code(), Code::Ok);
    // All but the last byte of the last came: it does not wait for more.
    let body = batch(BATCH_FIELDS_MAX + 1).leak();
    let (most, last) = body.split_at(body.len() - 2);
    client.begin(path, most).await;
    client.sent[0].0.send(&last[..1]).unwrap();
    let status = client.answer().await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status::says(&status, status::INVALID), "{status:?}");
    let sentence = "the batch holds more than the 131072 writes that are allowed";
    assert_eq!(status.message(), sentence);
    // What looks like one elsewhere is a value.
    client.begin("/lsm.v1.KVService/Put", body).await;
    assert_eq!(client.end().await.code(), Code::Ok);
}

/// A message of 256 KiB is 18 MB once it is decoded, and it may wait for the end of its body.
#[tokio::test]
async fn the_writes_of_a_batch_count_among_the_bytes() {
    let cost = batch(1000).len() + 1000 * WRITE_BYTES;
    let mut client = Client::new(10, 2 * cost - 1, MOMENT);
    let path = "/lsm.v1.KVService/BatchWrite";
    client.begin(path, batch(1000).leak()).await;
    let left = client.admission.budget.bytes_left.load(Ordering::Relaxed);
    assert_eq!(left, cost - 1);
    client.begin(path, batch(1000).leak()).await;
    let (_sender, second) = client.sent.pop_back().unwrap();
    let status = timeout(MOMENT, second).await.unwrap().unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(client.end().await.code(), Code::Ok);
    client.begin(path, batch(1000).leak()).await;
    assert_eq!(client.end().await.code(), Code::Ok);
}

/// Answers each request with as many bytes as the second part of its path says.
#[derive(Clone)]
struct Speaker;

impl Service<http::Request<Body>> for Speaker {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let bytes = request.uri().path().rsplit('/').next().unwrap().parse().unwrap();
        let (sender, receiver) = mpsc::unbounded_channel();
        sender.send(&*vec![7; bytes].leak()).unwrap();
        std::future::ready(Ok(http::Response::new(Body::new(Pieces(receiver)))))
    }
}

/// The first frame of an answer of so many bytes. What comes after it is given up, as by a
/// connection that has all of the answer.
async fn speak(
    admission: &mut Admission<Speaker>,
    slow_readers: &Arc<SlowReaders>,
    bytes: usize,
) -> Result<Bytes, Status> {
    let request = http::Request::builder().uri(format!("/lsm.v1.KVService/{bytes}"));
    let mut request = request.body(Body::empty()).unwrap();
    request.extensions_mut().insert(Arc::clone(slow_readers));
    let mut answer = admission.call(request).await.unwrap();
    if let Some(status) = Status::from_header_map(answer.headers()) {
        return Err(status);
    }
    let body = answer.body_mut();
    let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
    frame.unwrap().unwrap().into_data().map_err(|frame| {
        let trailers = frame.into_trailers().unwrap();
        Status::from_header_map(&trailers).unwrap()
    })
}

#[tokio::test]
async fn a_request_counts_until_its_answer_has_left() {
    let limits = Limits { requests_max: 1, ..Limits::default() };
    let (mut admission, _closing) = admission(Speaker, &limits);
    let slow_readers = Arc::default();
    let answer = speak(&mut admission, &slow_readers, 1).await.unwrap();
    assert_eq!(answer, &[7][..]);
    let part = answer.slice(..1);
    drop(answer);
    let status = speak(&mut admission, &slow_readers, 1).await.unwrap_err();
    assert!(status::says(&status, status::BUSY), "{status:?}");
    drop(part);
    assert_eq!(speak(&mut admission, &slow_readers, 1).await.unwrap().len(), 1);
    assert!(slow_readers.turn() && slow_readers.turn(), "the connection has taken everything");
}

#[tokio::test]
async fn bytes_of_answers_are_counted_until_they_have_left() {
    let limits = Limits { answer_bytes_max: 100_000, ..Limits::default() };
    let (mut admission, _closing) = admission(Speaker, &limits);
    let slow_readers = Arc::default();
    let first = speak(&mut admission, &slow_readers, 50_000).await.unwrap();
    let second = speak(&mut admission, &slow_readers, 50_000).await.unwrap();
    let status = speak(&mut admission, &slow_readers, ANSWER_BYTES_SHORT + 1).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status::says(&status, status::BUSY), "{status:?}");
    assert!(status.message().contains("100000 bytes already"), "{status:?}");
    // Such as every answer to a write, which must not be refused.
    let short = speak(&mut admission, &slow_readers, ANSWER_BYTES_SHORT).await.unwrap();
    drop(first);
    let third = speak(&mut admission, &slow_readers, 50_000).await.unwrap();
    assert!(slow_readers.turn() && !slow_readers.turn(), "they wait for their connection");
    drop((second, third, short));
    assert!(slow_readers.turn());
    assert_eq!(admission.budget.answer_bytes_left.load(Ordering::Relaxed), 100_000);
}

#[tokio::test]
async fn the_bytes_of_a_request_count_no_longer_than_until_it_is_answered() {
    let (mut admission, _closing) = admission(Reader, &Limits::default());
    let request = http::Request::builder().uri("/lsm.v1.KVService/Put");
    let (sender, receiver) = mpsc::unbounded_channel();
    sender.send(EMPTY).unwrap();
    drop(sender);
    let answer = admission.call(request.body(Body::new(Pieces(receiver))).unwrap()).await.unwrap();
    let left = admission.budget.bytes_left.load(Ordering::Relaxed);
    assert_eq!(left, Limits::default().requests_bytes_max);
    drop(answer);
    assert_eq!(
        admission.budget.requests_left.load(Ordering::Relaxed),
        Limits::default().requests_max
    );
}

#[tokio::test(start_paused = true)]
async fn it_is_idle_once_no_request_was_served_for_a_while() {
    const MILLISECOND: Duration = Duration::from_millis(1);
    let mut client = Client::new(8, 1 << 20, 100 * MOMENT);
    let begun = Instant::now();
    client.admission.idle(100 * MILLISECOND).await;
    assert!(begun.elapsed() >= 100 * MILLISECOND && begun.elapsed() < MOMENT);
    for path in ["/lsm.v1.KVService/Put", "/grpc.health.v1.Health/Watch"] {
        client.begin(path, EMPTY).await;
        let idle = client.admission.idle(100 * MILLISECOND);
        assert!(timeout(MOMENT, idle).await.is_err(), "it waits for the rest of {path}");
        client.sent.pop_front().unwrap().1.abort();
        timeout(MOMENT, client.admission.idle(100 * MILLISECOND)).await.unwrap();
    }
}
