//! The messages that wait for one node, and the stream that takes them there.
//!
//! Whoever sends puts messages in and goes on; the connection takes all that is there at once,
//! so that under load one frame carries many messages. What does not fit is dropped, as a
//! network would: raft sends it again.
//!
//! Threads: any number put messages in; one stream at a time takes them out. The lock is held
//! for moves of messages only.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use lsm_proto::peer::Envelope;
use lsm_raft::raft::eraftpb::Message;
use parking_lot::Mutex;
use tokio_stream::Stream;

use super::wire::{size, split, to_wire};

/// Most messages that wait for one node.
pub(super) const MESSAGES_MAX: usize = 4096;
/// Most bytes that wait for one node; a single message may have more.
pub(super) const BYTES_MAX: usize = 64 << 20;
/// Bytes after which no more messages are put into a frame, and to which long appends are
/// split; a single entry may have more.
pub(super) const FRAME_BYTES_MAX: usize = 1 << 20;

/// The messages that wait for one node.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
}

#[derive(Debug, Default)]
struct QueueState {
    messages: VecDeque<(Message, usize)>,
    bytes: usize,
    /// Nothing is taken while the node cannot be reached: what waits too long is of no use.
    open: bool,
    /// Number of the stream that may take messages.
    stream: u64,
    /// Of the stream that waits for messages.
    waker: Option<Waker>,
    /// Messages were dropped since the queue was last empty.
    full: bool,
}

impl Queue {
    /// An empty queue that takes messages.
    pub(super) fn new() -> Arc<Self> {
        let state = QueueState { open: true, ..QueueState::default() };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Takes messages, and wakes the stream once. False if some did not fit, for the first
    /// time since the queue was empty.
    pub(super) fn push(&self, messages: impl Iterator<Item = Message>) -> bool {
        let mut state = self.state.lock();
        let mut fit = true;
        for message in messages {
            split(message, FRAME_BYTES_MAX, |message| fit &= state.push(message));
        }
        let is_news = !fit && !state.full;
        state.full |= !fit;
        let waker = if state.messages.is_empty() { None } else { state.waker.take() };
        drop(state);
        waker.inspect(Waker::wake_by_ref);
        !is_news
    }

    /// Takes messages from now on; they leave through the stream returned. A stream from
    /// before ends.
    pub(super) fn open(self: &Arc<Self>) -> Envelopes {
        let mut state = self.state.lock();
        state.open = true;
        state.stream += 1;
        let waker = state.waker.take();
        let stream = state.stream;
        drop(state);
        waker.inspect(Waker::wake_by_ref);
        Envelopes { queue: Arc::clone(self), stream }
    }

    /// Drops all messages, and those that come from now on; the stream ends.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        *state = QueueState {
            stream: state.stream + 1,
            waker: state.waker.take(),
            ..QueueState::default()
        };
        let waker = state.waker.take();
        drop(state);
        waker.inspect(Waker::wake_by_ref);
    }
}

impl QueueState {
    /// False if the message was dropped for want of room.
    fn push(&mut self, message: Message) -> bool {
        if !self.open {
            return true;
        }
        let bytes = size(&message);
        let has_room = self.messages.len() < MESSAGES_MAX && self.bytes + bytes <= BYTES_MAX;
        if !has_room && !self.messages.is_empty() {
            return false;
        }
        self.bytes += bytes;
        self.messages.push_back((message, bytes));
        true
    }

    /// As many messages as a frame may carry.
    fn next_frame(&mut self) -> Vec<Message> {
        let mut frame_bytes = 0;
        let mut messages = Vec::new();
        while let Some((_, bytes)) = self.messages.front() {
            frame_bytes += bytes;
            if frame_bytes > FRAME_BYTES_MAX && !messages.is_empty() {
                break;
            }
            let (message, bytes) = self.messages.pop_front().expect("it is the front");
            self.bytes -= bytes;
            messages.push(message);
        }
        self.full &= !self.messages.is_empty();
        messages
    }
}

/// What one connection takes out of a [`Queue`]. Ends when the queue is closed, or opened for
/// another connection.
#[derive(Debug)]
pub(super) struct Envelopes {
    queue: Arc<Queue>,
    stream: u64,
}

impl Stream for Envelopes {
    type Item = Envelope;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Envelope>> {
        let mut state = self.queue.state.lock();
        if state.stream != self.stream {
            return Poll::Ready(None);
        }
        if state.messages.is_empty() {
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        let messages = state.next_frame();
        drop(state);
        let messages = messages.into_iter().filter_map(to_wire).collect();
        Poll::Ready(Some(Envelope { messages }))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lsm_raft::raft::eraftpb::{Entry, MessageType};
    use tokio_stream::StreamExt;

    use super::*;

    fn append(bytes: usize, index: u64) -> Message {
        let entry = Entry { data: Bytes::from(vec![0; bytes]), ..Entry::default() };
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgAppend);
        message.index = index;
        message.set_entries(vec![entry].into());
        message
    }

    fn indexes(envelope: &Envelope) -> Vec<u64> {
        envelope.messages.iter().map(|message| message.index).collect()
    }

    #[tokio::test]
    async fn all_that_waits_leaves_in_one_frame_and_in_order() {
        let queue = Queue::new();
        let mut stream = queue.open();
        assert!(queue.push((0..5).map(|index| append(10, index))));
        assert!(queue.push((5..9).map(|index| append(10, index))));
        let envelope = stream.next().await.unwrap();
        assert_eq!(indexes(&envelope), (0..9).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn frames_are_cut_at_their_length_and_a_longer_message_is_one_of_its_own() {
        let queue = Queue::new();
        let mut stream = queue.open();
        let third = FRAME_BYTES_MAX / 3;
        let sizes = [third, third, third, 3 * FRAME_BYTES_MAX, 1];
        assert!(queue.push(sizes.into_iter().zip(0..).map(|(bytes, at)| append(bytes, at))));
        assert_eq!(indexes(&stream.next().await.unwrap()), [0, 1]);
        assert_eq!(indexes(&stream.next().await.unwrap()), [2]);
        assert_eq!(indexes(&stream.next().await.unwrap()), [3]);
        assert_eq!(indexes(&stream.next().await.unwrap()), [4]);
    }

    #[tokio::test]
    async fn too_many_messages_are_dropped_and_told_once_until_there_is_room() {
        let queue = Queue::new();
        let mut stream = queue.open();
        let many = || (0..MESSAGES_MAX as u64).map(|index| append(1, index));
        assert!(queue.push(many()));
        assert!(!queue.push(many().take(1)), "the first that is dropped is told");
        assert!(queue.push(many()), "and no other");
        let mut taken = 0;
        while taken < MESSAGES_MAX {
            taken += stream.next().await.unwrap().messages.len();
        }
        assert_eq!(taken, MESSAGES_MAX);
        assert!(queue.push(many()));
        assert!(!queue.push(many()), "it filled up again");
    }

    #[test]
    fn too_many_bytes_are_dropped_but_never_the_only_message() {
        let queue = Queue::new();
        assert!(queue.push(std::iter::once(append(BYTES_MAX + 1, 0))));
        assert!(!queue.push(std::iter::once(append(1, 1))));
        assert_eq!(queue.state.lock().messages.len(), 1);
    }

    #[tokio::test]
    async fn a_closed_queue_holds_nothing_and_ends_its_stream() {
        let queue = Queue::new();
        let mut first = queue.open();
        queue.push(std::iter::once(append(1, 0)));
        queue.close();
        assert!(queue.push(std::iter::once(append(1, 1))), "nobody is told twice");
        assert_eq!(first.next().await, None);
        let mut second = queue.open();
        queue.push(std::iter::once(append(1, 2)));
        assert_eq!(first.next().await, None);
        assert_eq!(indexes(&second.next().await.unwrap()), [2]);
    }

    #[tokio::test]
    async fn a_stream_that_waits_is_woken_by_messages_and_by_the_end() {
        let queue = Queue::new();
        let mut stream = queue.open();
        let task = tokio::spawn(async move {
            let first = stream.next().await;
            (first, stream.next().await)
        });
        tokio::task::yield_now().await;
        queue.push(std::iter::once(append(1, 0)));
        while queue.state.lock().waker.is_none() {
            tokio::task::yield_now().await;
        }
        queue.close();
        let (first, second) = task.await.unwrap();
        assert_eq!(indexes(&first.unwrap()), [0]);
        assert_eq!(second, None);
    }
}
