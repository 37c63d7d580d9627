//! What the lanes and the keeper share: the queues, and what only the keeper can do.

use super::queue::Queue;
use super::{Lane, Read};

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::{Notify, oneshot};

/// What the lanes and the keeper share.
#[derive(Debug)]
pub(super) struct Shared {
    desk: Mutex<Desk>,
    /// For the keeper: there is something to do.
    pub(super) bell: Condvar,
    /// For each lane: there may be something for it.
    wakes: Vec<Arc<Notify>>,
}

#[derive(Debug)]
pub(super) struct Desk {
    pub(super) queues: Vec<Queue>,
    pub(super) asked: VecDeque<Asked>,
    /// The keeper waits to be rung for.
    pub(super) asleep: bool,
    pub(super) ended: bool,
    /// The keeper has gone: nobody answers any more.
    pub(super) gone: bool,
}

/// What only the keeper can do.
#[derive(Debug)]
pub(super) enum Asked {
    Read { lane: usize, after: u64, limit: usize, answer: oneshot::Sender<Read> },
    SetAside { lane: usize, number: u64, reason: String },
}

impl Shared {
    /// For these lanes.
    pub(super) fn new(queues: Vec<Queue>) -> Self {
        let wakes = queues.iter().map(|_| Arc::default()).collect();
        let (asked, asleep, ended, gone) = (VecDeque::new(), false, false, false);
        let desk = Mutex::new(Desk { queues, asked, asleep, ended, gone });
        Self { desk, bell: Condvar::new(), wakes }
    }

    /// Does something with a lane's queue.
    pub(super) fn with<T>(&self, lane: usize, act: impl FnOnce(&mut Queue) -> T) -> Option<T> {
        let mut desk = self.desk();
        let queue = desk.queues.get_mut(lane)?;
        let result = act(queue);
        let hurry = queue.due().is_some_and(|due| due <= Instant::now());
        if desk.asleep || hurry {
            self.bell.notify_one();
        }
        Some(result)
    }

    /// Wakes a lane.
    pub(super) fn wake(&self, lane: usize) {
        if let Some(wake) = self.wakes.get(lane) {
            wake.notify_one();
        }
    }

    pub(super) fn read(&self, lane: usize, after: u64, limit: usize) -> oneshot::Receiver<Read> {
        let (answer, answered) = oneshot::channel();
        self.ask(Asked::Read { lane, after, limit, answer });
        answered
    }

    pub(super) fn set_aside(&self, lane: usize, number: u64, reason: String) {
        self.ask(Asked::SetAside { lane, number, reason });
    }

    fn ask(&self, asked: Asked) {
        let mut desk = self.desk();
        if !desk.gone {
            desk.asked.push_back(asked);
            self.bell.notify_one();
        }
    }

    pub(super) fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    /// Fires when there may be something to take.
    pub(in crate::bridge) async fn woken(&self) {
        if let Some(wake) = self.shared.wakes.get(self.number) {
            wake.notified().await;
        }
    }
}
