//! Waiting for a region's limits: the edge between [`Limits`] and the clock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::{Limits, Pause, Rate, Ticket, Turn};
use crate::squadcast::{Clock, Fingerprint};

/// How long is slept at most before the wall clock is looked at again.
const NAP: Duration = Duration::from_secs(30);

/// One gate for each region, so that waiting in one blocks no other.
pub(in crate::squadcast) struct Gates {
    rate: Rate,
    clock: Clock,
    regions: Mutex<HashMap<String, Arc<Gate>>>,
}

impl Gates {
    pub(in crate::squadcast) fn new(rate: Rate, clock: Clock) -> Self {
        Self { rate, clock, regions: Mutex::default() }
    }

    /// The gate of a region.
    pub(in crate::squadcast) fn of(&self, region: &str) -> Arc<Gate> {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = regions.get(region) {
            return gate.clone();
        }
        let limits = Mutex::new(Limits::new(self.rate, (self.clock)()));
        let gate = Arc::new(Gate { limits, clock: self.clock.clone() });
        regions.insert(region.to_owned(), gate.clone());
        gate
    }
}

/// A region's limits, and those that wait for them.
pub(in crate::squadcast) struct Gate {
    limits: Mutex<Limits<Arc<Notify>>>,
    clock: Clock,
}

impl Gate {
    /// Begins to wait; ends when the place is dropped.
    pub(in crate::squadcast) fn join(self: &Arc<Self>, expires_at: Option<Timestamp>) -> Place {
        let wake = Arc::new(Notify::new());
        let ticket = self.limits().join(expires_at, wake.clone());
        Place { gate: self.clone(), ticket, wake }
    }

    /// Moves one that waits up to the place of a token that expires earlier.
    pub(in crate::squadcast) fn hurry(&self, ticket: Ticket, expires_at: Option<Timestamp>) {
        self.limits().hurry(ticket, expires_at);
        self.wake_first();
    }

    /// A refresh token was told to wait; the token that was minted from it before expires then.
    pub(in crate::squadcast) fn refused(
        &self,
        token: Fingerprint,
        wait: Duration,
        expires_at: Option<Timestamp>,
    ) {
        let now = (self.clock)();
        let wait = Pause::new(now, wait).left_for(expires_at, now).unwrap_or_default();
        let told = {
            let mut limits = self.limits();
            limits.refused(token, now, wait);
            limits.held(now).map(|_| limits.all())
        };
        told.into_iter().flatten().for_each(|wake| wake.notify_one());
    }

    fn wake_first(&self) {
        let first = self.limits().first();
        if let Some(first) = first {
            first.notify_one();
        }
    }

    fn limits(&self) -> MutexGuard<'_, Limits<Arc<Notify>>> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among those that wait.
pub(in crate::squadcast) struct Place {
    gate: Arc<Gate>,
    ticket: Ticket,
    wake: Arc<Notify>,
}

impl Place {
    /// What it is known by.
    pub(in crate::squadcast) fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Waits for its turn; an error is how much longer the region is held back.
    pub(in crate::squadcast) async fn pass(self) -> Result<Pass, Duration> {
        loop {
            let now = (self.gate.clock)();
            let turn = self.gate.limits().turn(self.ticket, now);
            match turn {
                Turn::Go => return Ok(Pass { gate: self.gate.clone(), made: false }),
                Turn::Held(left) => return Err(left),
                Turn::Later => self.wake.notified().await,
                Turn::After(wait) => {
                    let _ = tokio::time::timeout(wait.min(NAP), self.wake.notified()).await;
                }
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gate.limits().leave(self.ticket);
        self.gate.wake_first();
    }
}

/// Leave for one exchange, until it is dropped.
pub(in crate::squadcast) struct Pass {
    gate: Arc<Gate>,
    made: bool,
}

impl Pass {
    /// The exchange is made; one that is not is not counted.
    pub(in crate::squadcast) fn make(&mut self) {
        self.made = true;
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.limits().ended(self.made);
        self.gate.wake_first();
    }
}
