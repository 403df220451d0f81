//! How many reconciles do work at once. One that waits for Squadcast gives its place back meanwhile.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

/// A place among the reconciles at work.
pub struct Slot {
    all: Arc<Semaphore>,
    mine: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Slot {
    /// A place, given by its permit.
    pub fn new(all: Arc<Semaphore>, permit: OwnedSemaphorePermit) -> Self {
        Self { all, mine: Mutex::new(Some(permit)) }
    }

    /// Waits for something without holding the place.
    pub async fn released<T>(&self, wait: impl Future<Output = T>) -> T {
        self.mine.lock().await.take();
        let result = wait.await;
        // The semaphore is never closed.
        *self.mine.lock().await = self.all.clone().acquire_owned().await.ok();
        result
    }
}
