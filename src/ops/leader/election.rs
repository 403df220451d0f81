//! Who leads: what to do next, and for how long this process may act. Pure; time is a parameter.
//!
//! One process holds a Lease and renews it. The others look, and take it over once it has not changed for
//! [`DURATION`] on their own clock: what a holder writes about time is never compared with another clock.
//! The holder counts from the moment at which it *sent* its last confirmed renewal and stops [`VALIDITY`]
//! after that, on its own: so it has stopped before anyone else can begin. Every write carries the
//! resourceVersion that was seen, so none lands on a record that has changed meanwhile.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// A lease that did not change for so long is given up by its holder.
pub(super) const DURATION: Duration = Duration::from_secs(15);
/// For so long after it sent a renewal may the holder act; what it has in flight then has the rest of
/// [`DURATION`] to end.
pub(super) const VALIDITY: Duration = Duration::from_secs(10);
/// The holder renews so often: two attempts fit into [`VALIDITY`].
const RENEW: Duration = Duration::from_secs(4);
/// The others look so often.
const LOOK: Duration = Duration::from_secs(2);
/// After a failed request.
const RETRY: Duration = Duration::from_secs(1);
/// After a write that came too late; short, but no loop without rest.
const CONFLICT: Duration = Duration::from_millis(100);
/// A request without an answer by then has failed.
const REQUEST: Duration = Duration::from_secs(3);
/// A record that claims to be good for longer is not believed.
const LONGEST: Duration = Duration::from_secs(60);

/// A moment on both clocks. Only together do they show a process or a machine that was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The monotonic clock, which stands still while the machine sleeps.
    pub steady: Instant,
    /// The wall clock, which may be set.
    pub wall: Timestamp,
}

impl Moment {
    /// Now, on both clocks.
    pub fn now() -> Self {
        Self { steady: Instant::now(), wall: Timestamp::now() }
    }

    /// Whether less than [`VALIDITY`] has passed since, by both clocks. A wall clock that was set by more,
    /// in either direction, proves nothing.
    pub(super) fn is_recent(self, now: Self) -> bool {
        now.steady.saturating_duration_since(self.steady) < VALIDITY
            && now.wall.duration_since(self.wall).unsigned_abs() < VALIDITY
    }
}

/// What a lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Who holds it; nobody once it was released.
    pub(super) holder: Option<String>,
    /// Changes with every write.
    pub(super) resource_version: String,
    /// For how long it is good without a change.
    pub(super) duration: Duration,
    /// How often it changed hands.
    pub(super) transitions: i32,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Read the lease.
    Look,
    /// Create it, held by us.
    Create,
    /// Write ourselves in.
    Take,
    /// Renew what we hold.
    Renew,
    /// Nothing for now.
    Wait,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The lease as it was read, or as we wrote it.
    Record(Record),
    /// There is no lease.
    Absent,
    /// It has changed since we looked, or exists already.
    Conflict,
    /// No answer, or another one. The write may have been made all the same.
    Failed,
}

/// The lease as this process last saw it.
#[derive(Clone, Debug)]
struct View {
    record: Option<Record>,
    /// When it was first seen so.
    since: Instant,
    /// Whether somebody else may still act on what was there before.
    another: bool,
}

impl View {
    fn has_expired(&self, now: Instant) -> bool {
        let claimed = self.record.as_ref().map_or(DURATION, |record| record.duration);
        !self.another || now.saturating_duration_since(self.since) >= claimed.clamp(DURATION, LONGEST)
    }
}

/// The state of one process.
#[derive(Clone, Debug)]
pub(super) struct Election {
    us: String,
    view: Option<View>,
    must_look: bool,
    /// When we sent the last write that made or kept us the holder.
    held: Option<Moment>,
    due: Instant,
}

impl Election {
    pub(super) fn new(us: String, now: Instant) -> Self {
        Self { us, view: None, must_look: true, held: None, due: now }
    }

    /// Who we are in the record.
    pub(super) fn us(&self) -> &str {
        &self.us
    }

    /// The record as it was last seen.
    pub(super) fn record(&self) -> Option<&Record> {
        self.view.as_ref().and_then(|view| view.record.as_ref())
    }

    /// Since when we lead; none while we do not.
    pub(super) fn leads_from(&self, now: Moment) -> Option<Moment> {
        self.held.filter(|held| held.is_recent(now))
    }

    /// When to decide next, or when leading ends unless renewed, if that is earlier.
    pub(super) fn wakes_at(&self, now: Moment) -> Instant {
        self.leads_from(now).map_or(self.due, |held| self.due.min(held.steady + VALIDITY))
    }

    /// How long to wait for an answer: never beyond the end of leading, so that it is noticed.
    pub(super) fn patience(&self, now: Moment) -> Duration {
        self.leads_from(now).map_or(REQUEST, |held| {
            REQUEST.min((held.steady + VALIDITY).saturating_duration_since(now.steady))
        })
    }

    /// What to do now.
    pub(super) fn decide(&self, now: Instant) -> Action {
        if now < self.due {
            return Action::Wait;
        }
        let Some(view) = self.view.as_ref().filter(|_| !self.must_look) else {
            return Action::Look;
        };
        match view.record.as_ref().map(|record| record.holder.as_deref()) {
            Some(Some(holder)) if holder == self.us => Action::Renew,
            Some(None) => Action::Take,
            Some(Some(_)) if view.has_expired(now) => Action::Take,
            None if view.has_expired(now) => Action::Create,
            Some(Some(_)) | None => Action::Wait,
        }
    }

    /// Nothing is to be done: look again later.
    pub(super) fn rest(&mut self, now: Instant) {
        if now >= self.due {
            self.must_look = true;
            self.due = now + LOOK;
        }
    }

    /// What came of an action that was begun at `sent`.
    pub(super) fn learn(&mut self, action: Action, answer: Answer, sent: Moment, now: Moment) {
        let is_write = !matches!(action, Action::Look | Action::Wait);
        match answer {
            Answer::Record(record) if is_write && record.holder.as_ref() == Some(&self.us) => {
                self.held = Some(sent);
                self.due = sent.steady + RENEW;
                self.see(Some(record), now);
            }
            Answer::Record(record) => {
                self.due = now.steady;
                self.see(Some(record), now);
            }
            Answer::Absent => {
                self.due = now.steady;
                self.see(None, now);
            }
            Answer::Conflict => {
                self.must_look = true;
                self.due = now.steady + CONFLICT;
            }
            Answer::Failed => {
                self.due = now.steady + if self.leads_from(now).is_some() { RETRY } else { LOOK };
                // Whoever does not lead judges only by what it has just read.
                self.must_look |= self.leads_from(now).is_none();
            }
        }
    }

    fn see(&mut self, record: Option<Record>, now: Moment) {
        self.must_look = false;
        if record.as_ref().is_some_and(|record| record.holder.as_ref() != Some(&self.us)) {
            self.held = None;
        }
        let version = |record: Option<&Record>| record.map(|record| record.resource_version.clone());
        if let Some(view) = &self.view
            && version(view.record.as_ref()) == version(record.as_ref())
        {
            return;
        }
        // Without a record: if there has been none since we began, this is a first installation. If we
        // lead, nobody else does. Otherwise somebody deleted it, and the holder may not know yet.
        let another = record.is_some() || (self.view.is_some() && self.leads_from(now).is_none());
        self.view = Some(View { record, since: now.steady, another });
    }
}

#[cfg(test)]
mod tests;
