//! A bounded queue from the raft thread to one that works for it.
//!
//! The worker takes all that waits at a time, as it shares syncs and batches between jobs. It
//! sleeps at once when there is nothing: a channel that looks again and again before it sleeps
//! takes the processor from the other nodes of a small machine.
//!
//! Threads: one gives, one takes. The lock is held for moves of jobs only.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

#[derive(Debug)]
struct Queue<T> {
    state: Mutex<QueueState<T>>,
    max: usize,
    /// There are jobs, or there will be none.
    filled: Condvar,
    /// There is room, or nobody works.
    emptied: Condvar,
}

#[derive(Debug)]
struct QueueState<T> {
    jobs: VecDeque<T>,
    /// Either end has gone.
    closed: bool,
}

/// A queue for `max` jobs.
pub(super) fn queue<T>(max: usize) -> (JobSender<T>, JobReceiver<T>) {
    let state = Mutex::new(QueueState { jobs: VecDeque::new(), closed: false });
    let (filled, emptied) = (Condvar::new(), Condvar::new());
    let queue = Arc::new(Queue { state, max, filled, emptied });
    (JobSender(Arc::clone(&queue)), JobReceiver(queue))
}

/// The end that gives. Dropping it ends the work once all jobs are done.
#[derive(Debug)]
pub(super) struct JobSender<T>(Arc<Queue<T>>);

impl<T> JobSender<T> {
    /// Jobs that wait.
    pub(super) fn len(&self) -> usize {
        self.0.state.lock().jobs.len()
    }

    /// Waits for room. A job for a worker that has gone is dropped: it has failed, and said so.
    pub(super) fn give(&self, job: T) {
        let mut state = self.0.state.lock();
        while state.jobs.len() >= self.0.max && !state.closed {
            self.0.emptied.wait(&mut state);
        }
        if !state.closed {
            state.jobs.push_back(job);
            drop(state);
            self.0.filled.notify_one();
        }
    }
}

/// The end that takes. Dropping it drops the jobs that wait.
#[derive(Debug)]
pub(super) struct JobReceiver<T>(Arc<Queue<T>>);

impl<T> JobReceiver<T> {
    /// Waits for jobs, but no longer than `time`, and puts all there are into `jobs`, which is
    /// empty. False if there will be no more.
    pub(super) fn take(&self, time: Duration, jobs: &mut VecDeque<T>) -> bool {
        let mut state = self.0.state.lock();
        if state.jobs.is_empty() && !state.closed {
            self.0.filled.wait_for(&mut state, time);
        }
        mem::swap(&mut state.jobs, jobs);
        let more = !jobs.is_empty() || !state.closed;
        drop(state);
        self.0.emptied.notify_one();
        more
    }
}

impl<T> Drop for JobSender<T> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.closed = true;
        drop(state);
        self.0.filled.notify_one();
    }
}

impl<T> Drop for JobReceiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.closed = true;
        let jobs = mem::take(&mut state.jobs);
        drop(state);
        self.0.emptied.notify_one();
        // Outside the lock: those who wait for them are told.
        drop(jobs);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn all_that_waits_is_taken_in_order_and_then_the_end() {
        let (giver, worker) = queue(10);
        let mut jobs = VecDeque::new();
        (0..3).for_each(|job| giver.give(job));
        assert!(worker.take(LONG, &mut jobs));
        assert_eq!(jobs, [0, 1, 2]);
        jobs.clear();
        assert!(worker.take(Duration::ZERO, &mut jobs) && jobs.is_empty(), "the time was over");
        giver.give(3);
        drop(giver);
        assert!(worker.take(LONG, &mut jobs));
        assert_eq!(jobs, [3], "what was given is done");
        jobs.clear();
        assert!(!worker.take(LONG, &mut jobs));
    }

    #[test]
    fn a_giver_waits_for_room_and_a_worker_for_jobs() {
        let (giver, worker) = queue(2);
        let gives = thread::spawn(move || (0..1000).for_each(|job| giver.give(job)));
        let (mut jobs, mut taken) = (VecDeque::new(), Vec::new());
        while worker.take(LONG, &mut jobs) {
            assert!(jobs.len() <= 2);
            taken.extend(jobs.drain(..));
        }
        gives.join().unwrap();
        assert_eq!(taken, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn a_worker_that_goes_takes_the_jobs_along_and_lets_the_giver_go() {
        let (giver, worker) = queue(1);
        let job = Arc::new(());
        giver.give(Arc::clone(&job));
        let gives = thread::spawn({
            let job = Arc::clone(&job);
            move || giver.give(job)
        });
        drop(worker);
        gives.join().unwrap();
        assert_eq!(Arc::strong_count(&job), 1);
    }
}
