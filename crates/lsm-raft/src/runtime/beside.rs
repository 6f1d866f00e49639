//! Work that goes on beside the threads of a node: segments made ahead, snapshots, hashes. Each
//! piece in a thread of its own; or, for a node that is driven by hand, when its driver says so.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::{io, mem};

use parking_lot::Mutex;

type Task = Box<dyn FnOnce() + Send>;
/// Not yet done, and whoever comes first does it.
type Waiting = Mutex<Option<Task>>;

/// Threads: any number begin work.
pub(super) enum Beside {
    Threads,
    /// The oldest first.
    Steps(Mutex<VecDeque<Weak<Waiting>>>),
}

/// Work that was begun. One that is dropped goes on in its thread, but is not begun any more where
/// it waits for its driver.
pub(super) enum Begun {
    Thread(JoinHandle<()>),
    Step(Arc<Waiting>),
}

impl Beside {
    pub(super) fn steps() -> Self {
        Self::Steps(Mutex::default())
    }

    pub(super) fn begin(
        &self,
        name: &str,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<Begun> {
        match self {
            Self::Threads => {
                thread::Builder::new().name(name.to_owned()).spawn(work).map(Begun::Thread)
            }
            Self::Steps(queue) => {
                let waiting: Arc<Waiting> = Arc::new(Mutex::new(Some(Box::new(work))));
                queue.lock().push_back(Arc::downgrade(&waiting));
                Ok(Begun::Step(waiting))
            }
        }
    }

    /// Does the oldest piece of work that waits for it; false if there is none.
    pub(super) fn step(&self) -> bool {
        let Self::Steps(queue) = self else { return false };
        loop {
            let Some(oldest) = queue.lock().pop_front() else { return false };
            if let Some(task) = oldest.upgrade().and_then(|waiting| waiting.lock().take()) {
                task();
                return true;
            }
        }
    }
}

impl Begun {
    pub(super) fn is_finished(&self) -> bool {
        match self {
            Self::Thread(thread) => thread.is_finished(),
            Self::Step(waiting) => waiting.lock().is_none(),
        }
    }

    /// Waits for it to end.
    pub(super) fn finish(self) {
        match self {
            // What a panic leaves undone is noticed by whoever needs it.
            Self::Thread(thread) => drop(thread.join()),
            Self::Step(waiting) => {
                let task = mem::take(&mut *waiting.lock());
                if let Some(task) = task {
                    task();
                }
            }
        }
    }

    /// Returns once it has ended or will never begin.
    pub(super) fn give_up(self) {
        if matches!(self, Self::Thread(_)) {
            self.finish();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn work_is_done_once_by_its_driver_or_by_who_waits_for_it() {
        let (done, told) = mpsc::channel();
        for beside in [Beside::Threads, Beside::steps()] {
            let begin = |number: u32| {
                let done = done.clone();
                beside.begin("test", move || done.send(number).unwrap()).unwrap()
            };
            let (first, second) = (begin(1), begin(2));
            second.finish();
            while !first.is_finished() {
                beside.step();
            }
            first.finish();
            assert!(!beside.step());
            let mut seen: Vec<u32> = told.try_iter().collect();
            seen.sort_unstable();
            assert_eq!(seen, [1, 2]);
        }
    }

    #[test]
    fn work_that_was_given_up_is_not_begun() {
        let beside = Beside::steps();
        beside.begin("test", || unreachable!("nobody wants it")).unwrap().give_up();
        assert!(!beside.step());
    }
}
