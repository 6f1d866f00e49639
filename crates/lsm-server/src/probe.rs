//! Whether a connection still carries, found out by asking over it and over fresh ones beside.
//!
//! After a partition the system sends again what was under way only after a pause that has
//! doubled with each try, and of an end that has gone nothing is heard at all. A fresh connection
//! gets through as soon as the network does. Silence alone says nothing: the other side may be
//! far away, busy or stopped. That a fresh connection is answered and the old one is not, does.
//!
//! ```text
//! ask over the old one ── usual time ──> fresh ones, each tried beside those before
//!        | answered: it stays                  | answered: the old one gets as long again
//! ```

use std::pin::pin;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// Between two fresh tries, and most of them at a time.
const TRY_PAUSE: Duration = Duration::from_millis(250);
const TRIES_MAX: usize = 16;
/// The least that a connection gets to answer, before fresh ones are tried and after one of them
/// has answered: a round trip nearby, on a busy machine.
const ANSWER_TIME_MIN: Duration = Duration::from_millis(100);

/// Tries of the same thing beside each other, of which none may have an end.
#[derive(Debug)]
pub(crate) struct Tries<T> {
    running: JoinSet<T>,
    due: Instant,
}

impl<T: Send + 'static> Tries<T> {
    pub(crate) fn new() -> Self {
        Self { running: JoinSet::new(), due: Instant::now() }
    }

    /// The next one that ends. Until then a further one begins now and then: what the first of
    /// them sent may have been lost. Those that still run end when this is dropped.
    pub(crate) async fn next<F>(&mut self, mut begin: impl FnMut() -> F) -> T
    where
        F: Future<Output = T> + Send + 'static,
    {
        loop {
            let may_begin = self.running.len() < TRIES_MAX;
            tokio::select! {
                Some(ended) = self.running.join_next() => {
                    if let Ok(ended) = ended {
                        return ended;
                    }
                }
                () = sleep_until(self.due), if may_begin => {
                    self.running.spawn(begin());
                    self.due = Instant::now() + TRY_PAUSE;
                }
            }
        }
    }
}

/// What is known of the time that one node takes to answer.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    last: Duration,
}

impl Probe {
    /// A fresh connection, if that is answered and the old one is not. `ask` asks over the old
    /// one, and ends if that has answered or is broken; `connect` makes a fresh one and asks.
    pub(crate) async fn renew<C, E, F>(
        &mut self,
        ask: impl Future<Output = ()>,
        connect: impl FnMut() -> F,
    ) -> Option<C>
    where
        F: Future<Output = Result<C, E>> + Send + 'static,
        C: Send + 'static,
        E: Send + 'static,
    {
        let begun = Instant::now();
        let mut asked = pin!(ask);
        let usual = ANSWER_TIME_MIN.max(2 * self.last);
        if timeout(usual, &mut asked).await.is_ok() {
            self.last = begun.elapsed();
            return None;
        }
        let fresh = tokio::select! {
            biased;
            () = &mut asked => {
                self.last = begun.elapsed();
                return None;
            }
            (fresh, time) = connected(connect) => {
                self.last = time;
                fresh
            }
        };
        let time = ANSWER_TIME_MIN.max(self.last);
        timeout(time, asked).await.is_err().then_some(fresh)
    }
}

/// The first connection that is answered, and how long that took.
async fn connected<C, E, F>(mut connect: impl FnMut() -> F) -> (C, Duration)
where
    F: Future<Output = Result<C, E>> + Send + 'static,
    C: Send + 'static,
    E: Send + 'static,
{
    let mut tries = Tries::new();
    loop {
        let begin = || {
            let (begun, connecting) = (Instant::now(), connect());
            async move { (connecting.await, begun.elapsed()) }
        };
        if let (Ok(fresh), time) = tries.next(begin).await {
            return (fresh, time);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::sleep;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Connections of which each takes so long, and how many were made.
    struct Network {
        time: Duration,
        /// The first so many get no answer.
        lost: usize,
        made: Arc<AtomicUsize>,
    }

    impl Network {
        fn new(time: Duration, lost: usize) -> Self {
            Self { time, lost, made: Arc::default() }
        }

        fn connect(&self) -> impl Future<Output = Result<usize, ()>> + Send + use<> {
            let number = self.made.fetch_add(1, Ordering::Relaxed);
            let (time, is_lost) = (self.time, number < self.lost);
            async move {
                sleep(if is_lost { 1000 * SECOND } else { time }).await;
                Ok(number)
            }
        }

        fn made(&self) -> usize {
            self.made.load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_connection_is_replaced_as_soon_as_a_fresh_one_is_answered() {
        let network = Network::new(SECOND / 20, 8);
        let begun = Instant::now();
        let fresh = Probe::default().renew(pending(), || network.connect()).await;
        assert_eq!(fresh, Some(8));
        let healed = 8 * TRY_PAUSE + ANSWER_TIME_MIN;
        assert!(begun.elapsed() <= healed + SECOND / 4, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_slow_stays_and_is_left_alone_once_that_is_known() {
        for round_trip in [SECOND / 5, 9 * SECOND / 10] {
            // Connecting takes two of them.
            let network = Network::new(2 * round_trip, 0);
            let mut probe = Probe::default();
            assert_eq!(probe.renew(sleep(round_trip), || network.connect()).await, None);
            let made = network.made();
            assert_eq!(probe.renew(sleep(round_trip), || network.connect()).await, None);
            assert_eq!(network.made(), made);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_answers_beside_a_fresh_one_stays() {
        let network = Network::new(SECOND / 4, 0);
        let mut probe = Probe::default();
        assert_eq!(probe.renew(sleep(SECOND / 2), || network.connect()).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_answers_nobody_is_tried_a_bounded_number_of_times() {
        let network = Network::new(SECOND, usize::MAX);
        let mut probe = Probe::default();
        let renewed = probe.renew(sleep(100 * SECOND), || network.connect());
        assert_eq!(renewed.await, None);
        assert_eq!(network.made(), TRIES_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn tries_that_fail_at_once_do_not_follow_each_other_at_once() {
        let count = AtomicUsize::new(0);
        let refuse = || {
            count.fetch_add(1, Ordering::Relaxed);
            async { Err::<(), ()>(()) }
        };
        assert_eq!(Probe::default().renew(sleep(SECOND), refuse).await, None);
        assert!(count.into_inner() <= 4);
    }
}
