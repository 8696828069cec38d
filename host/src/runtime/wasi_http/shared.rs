//! What the parts of one worker know in common.

use super::exchange::Exchange;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

pub struct WorkerShared {
    present: Mutex<Option<Arc<Exchange>>>,
    /// The guest has nothing to do, not even after its answer.
    pub idle: AtomicBool,
    /// The worker was ended from outside, so the error that it ends with says
    /// nothing.
    pub ended: AtomicBool,
    memory: AtomicUsize,
    /// Linear memory right after instantiation: an interpreter begins with a lot.
    initial_memory: AtomicUsize,
}

impl Default for WorkerShared {
    fn default() -> WorkerShared {
        WorkerShared {
            present: Mutex::default(),
            idle: AtomicBool::new(true),
            ended: AtomicBool::new(false),
            memory: AtomicUsize::new(0),
            initial_memory: AtomicUsize::new(0),
        }
    }
}

impl WorkerShared {
    pub fn note_memory(&self, bytes: usize) {
        self.memory.store(bytes, Ordering::Relaxed);
    }

    /// The instance is made: its memory now is what it needs at least.
    pub fn note_instantiated(&self) {
        self.initial_memory.store(self.memory.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    pub fn growth(&self) -> usize {
        self.memory.load(Ordering::Relaxed).saturating_sub(self.initial_memory.load(Ordering::Relaxed))
    }

    pub fn present(&self) -> MutexGuard<'_, Option<Arc<Exchange>>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if the next call may begin; lets go of the last one.
    pub fn is_free(&self) -> bool {
        let mut present = self.present();
        let Some(exchange) = &*present else { return true };
        let free = exchange.is_delivered() && self.idle.load(Ordering::Relaxed);
        if free {
            *present = None;
        }
        free
    }
}
