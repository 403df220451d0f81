//! The fate of a process of the operator: whether it leads, and when it dies.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use tokio::sync::Notify;

/// What happens to a process. Clones are the same process.
#[derive(Clone)]
pub(super) struct Process(Arc<Fate>);

struct Fate {
    number: u64,
    dead: AtomicBool,
    leads: AtomicBool,
    /// Dies after so many more requests; whether the next one is still done.
    dies: Mutex<Option<(u32, bool)>>,
    died: Notify,
}

impl Process {
    pub(super) fn new(number: u64) -> Self {
        Self(Arc::new(Fate {
            number,
            dead: AtomicBool::new(false),
            leads: AtomicBool::new(true),
            dies: Mutex::new(None),
            died: Notify::new(),
        }))
    }

    pub(super) fn number(&self) -> u64 {
        self.0.number
    }

    pub(super) fn is_dead(&self) -> bool {
        self.0.dead.load(Relaxed)
    }

    /// It does nothing any more.
    pub(super) fn end(&self) {
        self.0.dead.store(true, Relaxed);
    }

    /// Whether it has the lease.
    pub(super) fn leads(&self) -> bool {
        self.0.leads.load(Relaxed)
    }

    /// It gets the lease, or loses it.
    pub(super) fn set_leads(&self, leads: bool) {
        self.0.leads.store(leads, Relaxed);
    }

    /// Counts a request. `Some`: the process dies at this one, after it was done or before.
    pub(super) fn dies_at_this_request(&self) -> Option<bool> {
        let mut dies = self.0.dies.lock().unwrap();
        let (left, done) = dies.as_mut()?;
        match left.checked_sub(1) {
            Some(fewer) => {
                *left = fewer;
                None
            }
            None => Some(*done),
        }
    }

    /// Never answers.
    pub(super) async fn die<T>(&self) -> T {
        self.end();
        self.0.died.notify_one();
        std::future::pending().await
    }

    /// Waits until it has died.
    pub(super) async fn died(&self) {
        self.0.died.notified().await;
    }

    /// It will die after so many more requests.
    pub(super) fn will_die(&self, requests: u32, done: bool) {
        *self.0.dies.lock().unwrap() = Some((requests, done));
    }

    pub(super) fn survives(&self) {
        *self.0.dies.lock().unwrap() = None;
    }
}
