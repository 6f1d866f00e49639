//! What waits for the raft thread, and when that wakes up for it.
//!
//! Events wake it at once. A request often can only join others that wait already, for entries
//! on their way or for a round of reads: before it sleeps the thread says which requests it
//! would act on, and it sleeps through the others. So under load a request costs no switch of
//! threads, and all that came meanwhile are taken in one turn.
//!
//! Threads: any number put something in; the raft thread takes all of it out. The lock is held
//! for moves of events only.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::queues::{Event, Waiter};
use crate::node::{Input, Wants};

/// Requests that wait for the raft thread, and bundles of messages: so many of each. What does
/// not fit is refused.
const WAITING_MAX: usize = 1 << 16;

#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<InboxState>,
    wake: Condvar,
}

/// What the raft thread takes at a time.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// To be looked at before the events, of which one may let those go that wait.
    pub(super) requests: Vec<Input<Waiter>>,
    pub(super) events: VecDeque<Event>,
}

/// Why something was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    Full,
    Closed,
}

#[derive(Debug, Default)]
struct InboxState {
    turn: Turn,
    waiting: Waiting,
    /// What the raft thread wakes up for; none while it is awake.
    asleep: Option<Wants>,
    /// The raft thread has ended.
    closed: bool,
}

/// What is in a turn.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    proposals: usize,
    proposal_bytes: usize,
    reads: usize,
    /// Requests of other kinds.
    others: usize,
    /// Bundles of messages from other nodes.
    bundles: usize,
    persisted: usize,
    /// Events that wake the thread.
    urgent: usize,
}

impl Waiting {
    fn add(&mut self, request: &Input<Waiter>) {
        match request {
            Input::Propose { command, .. } => {
                self.proposals += 1;
                self.proposal_bytes += command.len();
            }
            Input::Read { .. } => self.reads += 1,
            _ => self.others += 1,
        }
    }

    fn matters(&self, wants: Wants) -> bool {
        self.urgent + self.others > 0
            || (self.persisted > 0 && wants.persisted)
            || (self.reads > 0 && wants.reads)
            || (self.proposals > 0 && self.proposal_bytes >= wants.proposal_bytes)
    }
}

impl Inbox {
    /// An event that is never refused: from a thread of the node, bounded by what that was
    /// given to do, or rare.
    pub(super) fn tell(&self, event: Event) {
        let mut state = self.state.lock();
        if !state.closed {
            state.turn.events.push_back(event);
            state.waiting.urgent += 1;
            self.rouse(state);
        }
    }

    /// As [`tell`](Self::tell), for news that can wait until the thread wakes up for something
    /// else: for a tick at most.
    pub(super) fn leave(&self, event: Event) {
        let mut state = self.state.lock();
        if !state.closed {
            state.turn.events.push_back(event);
        }
    }

    /// Everything through this ready is durable.
    pub(super) fn persisted(&self, ready: u64) {
        let mut state = self.state.lock();
        if !state.closed {
            state.turn.events.push_back(Event::Input(Input::Persisted { ready }));
            state.waiting.persisted += 1;
            self.rouse_if_it_matters(state);
        }
    }

    /// Messages of another node.
    pub(super) fn deliver(&self, messages: Event) -> Result<(), NotTaken> {
        let mut state = self.state.lock();
        check(&state, state.waiting.bundles)?;
        state.turn.events.push_back(messages);
        state.waiting.bundles += 1;
        state.waiting.urgent += 1;
        self.rouse(state);
        Ok(())
    }

    /// A request of a client or an operator.
    pub(super) fn request(&self, request: Input<Waiter>) -> Result<(), NotTaken> {
        let mut state = self.state.lock();
        check(&state, state.turn.requests.len())?;
        state.waiting.add(&request);
        state.turn.requests.push(request);
        self.rouse_if_it_matters(state);
        Ok(())
    }

    fn rouse_if_it_matters(&self, state: MutexGuard<'_, InboxState>) {
        if state.asleep.is_some_and(|wants| state.waiting.matters(wants)) {
            self.rouse(state);
        }
    }

    fn rouse(&self, mut state: MutexGuard<'_, InboxState>) {
        if state.asleep.take().is_some() {
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Whether there is something of what the thread wants.
    pub(super) fn matters(&self, wants: Wants) -> bool {
        self.state.lock().waiting.matters(wants)
    }

    /// Waits until there is something of what the thread wants, or the time is over; then puts
    /// all there is into `turn`, which is empty.
    pub(super) fn take(&self, wants: Wants, time: Duration, turn: &mut Turn) {
        let mut state = self.state.lock();
        if !state.waiting.matters(wants) && !time.is_zero() {
            state.asleep = Some(wants);
            self.wake.wait_for(&mut state, time);
            state.asleep = None;
        }
        state.waiting = Waiting::default();
        mem::swap(&mut state.turn, turn);
    }

    /// The raft thread ends: nothing is taken any more, and what waits is dropped.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let turn = mem::take(&mut state.turn);
        drop(state);
        drop(turn);
    }
}

fn check(state: &InboxState, waiting: usize) -> Result<(), NotTaken> {
    if state.closed {
        return Err(NotTaken::Closed);
    }
    if waiting >= WAITING_MAX { Err(NotTaken::Full) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::oneshot;

    use super::*;

    const NOW: Duration = Duration::ZERO;
    const LONG: Duration = Duration::from_secs(60);

    fn waiter() -> Waiter {
        Waiter(oneshot::channel().0)
    }

    fn proposal(bytes: usize) -> Input<Waiter> {
        Input::Propose { command: vec![0; bytes], waiter: waiter() }
    }

    fn wants(proposal_bytes: usize, reads: bool) -> Wants {
        Wants { proposal_bytes, reads, persisted: false }
    }

    /// What a thread that wants this takes once `put` has been called while it sleeps; none if it
    /// still sleeps then.
    fn woken(wants: Wants, put: impl FnOnce(&Inbox)) -> Option<Turn> {
        let inbox = Arc::new(Inbox::default());
        let thread = std::thread::spawn({
            let inbox = Arc::clone(&inbox);
            move || {
                let mut turn = Turn::default();
                inbox.take(wants, LONG, &mut turn);
                turn
            }
        });
        while inbox.state.lock().asleep.is_none() {
            std::thread::yield_now();
        }
        put(&inbox);
        let sleeps = inbox.state.lock().asleep.is_some();
        inbox.tell(Event::Stop);
        let turn = thread.join().unwrap();
        (!sleeps).then_some(turn)
    }

    #[test]
    fn a_thread_sleeps_through_what_it_could_only_queue() {
        assert!(woken(wants(100, true), |inbox| inbox.request(proposal(99)).unwrap()).is_none());
        let read = || Input::Read { waiter: waiter() };
        assert!(woken(wants(0, false), |inbox| inbox.request(read()).unwrap()).is_none());
        let left = |inbox: &Inbox| inbox.leave(Event::Input(Input::Applied { index: 1 }));
        assert!(woken(wants(0, true), left).is_none());
        assert!(woken(wants(0, true), |inbox| inbox.persisted(1)).is_none());
    }

    #[test]
    fn a_thread_wakes_up_for_what_it_can_act_on() {
        let enough = woken(wants(100, false), |inbox| {
            inbox.request(proposal(60)).unwrap();
            inbox.request(proposal(60)).unwrap();
        });
        assert!((1..=2).contains(&enough.unwrap().requests.len()));
        assert!(woken(wants(0, false), |inbox| inbox.request(proposal(0)).unwrap()).is_some());
        let read = Input::Read { waiter: waiter() };
        assert!(woken(wants(9, true), |inbox| inbox.request(read).unwrap()).is_some());
        let transfer = Input::Transfer { to: None };
        assert!(woken(wants(9, false), |inbox| inbox.request(transfer).unwrap()).is_some());
        let persisted = Wants { persisted: true, ..wants(9, false) };
        assert!(woken(persisted, |inbox| inbox.persisted(1)).is_some());
        let messages = Event::Messages(Vec::new());
        assert!(woken(wants(9, false), |inbox| inbox.deliver(messages).unwrap()).is_some());
    }

    /// It goes to sleep without a look at each.
    #[test]
    fn a_thread_does_not_sleep_on_what_came_while_it_was_awake() {
        let none = Wants { proposal_bytes: 9, reads: false, persisted: false };
        let urgent: [fn(&Inbox); 3] = [
            |inbox| inbox.tell(Event::Stop),
            |inbox| inbox.deliver(Event::Messages(Vec::new())).unwrap(),
            |inbox| inbox.request(Input::Transfer { to: None }).unwrap(),
        ];
        for put in urgent {
            let (inbox, mut turn) = (Inbox::default(), Turn::default());
            assert!(!inbox.matters(none));
            put(&inbox);
            assert!(inbox.matters(none));
            inbox.take(none, LONG, &mut turn);
            assert!(!inbox.matters(none), "all was taken");
        }
    }

    #[test]
    fn one_turn_takes_all_in_order() {
        let (inbox, mut turn) = (Inbox::default(), Turn::default());
        (1..=3).for_each(|bytes| inbox.request(proposal(bytes)).unwrap());
        inbox.leave(Event::Input(Input::Applied { index: 1 }));
        inbox.persisted(2);
        inbox.take(wants(0, true), LONG, &mut turn);
        let bytes = |request: &Input<Waiter>| match request {
            Input::Propose { command, .. } => command.len(),
            _ => unreachable!("only proposals were made"),
        };
        assert_eq!(turn.requests.iter().map(bytes).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(matches!(
            turn.events.make_contiguous(),
            [Event::Input(Input::Applied { .. }), Event::Input(Input::Persisted { .. })]
        ));
        let mut next = Turn::default();
        inbox.take(wants(0, true), NOW, &mut next);
        assert!(next.requests.is_empty() && next.events.is_empty());
    }

    #[test]
    fn what_waits_is_bounded_and_a_closed_inbox_takes_nothing() {
        let inbox = Inbox::default();
        for _ in 0..WAITING_MAX {
            inbox.request(proposal(0)).unwrap();
            inbox.deliver(Event::Messages(Vec::new())).unwrap();
        }
        assert_eq!(inbox.request(proposal(0)), Err(NotTaken::Full));
        assert_eq!(inbox.deliver(Event::Messages(Vec::new())), Err(NotTaken::Full));
        let (waiting, mut answer) = oneshot::channel();
        inbox.tell(Event::Input(Input::Read { waiter: Waiter(waiting) }));
        inbox.close();
        assert!(
            answer.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed)
        );
        assert_eq!(inbox.request(proposal(0)), Err(NotTaken::Closed));
        inbox.tell(Event::Stop);
        assert!(inbox.state.lock().turn.events.is_empty());
    }
}
