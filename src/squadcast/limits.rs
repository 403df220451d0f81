//! How often, and how many at once, a region may be asked, and who goes first. Pure: the clock is a parameter.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Fingerprint;

mod gate;
#[cfg(test)]
mod tests;
pub(super) use gate::{Gate, Gates, Pass};

/// So many different refresh tokens that were told to wait hold back their region.
const REFUSED: usize = 3;

/// Within this time.
const REFUSED_WITHIN: SignedDuration = SignedDuration::from_mins(1);

/// How far a clock may be set back before a wait that it lengthens is given up.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_secs(5);

/// The limits of each region.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Exchanges a second; a burst of one second's worth, at least one, is allowed. Above 0.
    pub per_second: f64,
    /// Exchanges in flight; at least 1.
    pub in_flight: usize,
}

impl Default for Rate {
    fn default() -> Self {
        Self { per_second: 10.0, in_flight: 8 }
    }
}

/// By how much a time in whole seconds may be early.
const ROUNDING: SignedDuration = SignedDuration::from_secs(2);

/// A wait that a server has asked for, by the wall clock. Setting the clock back does not lengthen it much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pause {
    since: Timestamp,
    length: SignedDuration,
}

impl Pause {
    pub(super) fn new(now: Timestamp, wait: Duration) -> Self {
        Self { since: now, length: SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX) }
    }

    /// What is left of it.
    pub(super) fn left(&self, now: Timestamp) -> Option<Duration> {
        self.left_of(self.length, now)
    }

    /// What is left of it for one whose token expires then: it waits for half of its life at most.
    pub(super) fn left_for(&self, expires: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
        let half = expires.map(|at| at.duration_since(self.since) / 2).filter(SignedDuration::is_positive);
        // Whoever counts in whole seconds must not come a moment too early.
        self.left_of(half.map_or(self.length, |half| self.length.min(half - ROUNDING)), now)
    }

    fn left_of(&self, length: SignedDuration, now: Timestamp) -> Option<Duration> {
        let elapsed = now.duration_since(self.since);
        if elapsed < -CLOCK_SLACK {
            return None;
        }
        let left = length.saturating_sub(elapsed);
        Duration::try_from(left).ok().filter(|left| !left.is_zero())
    }
}

/// Stands for one that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// When the token that is held expires; `None` where there is none, which is most urgent and sorts first.
type Expiry = Option<Timestamp>;

/// What one that waits has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Go. It waits no more and is in flight.
    Go,
    /// Ask again after this time, or when told.
    After(Duration),
    /// Ask again when told.
    Later,
    /// The region is held back for this long: it waits no more.
    Held(Duration),
}

/// One region's limits. `W` is what wakes one that waits.
pub(super) struct Limits<W> {
    rate: Rate,
    budget: f64,
    counted_at: Timestamp,
    in_flight: usize,
    waiting: BTreeMap<(Expiry, Ticket), W>,
    places: HashMap<Ticket, Expiry>,
    next: u64,
    refused: Vec<(Fingerprint, Timestamp, Pause)>,
    pause: Option<Pause>,
}

impl<W: Clone> Limits<W> {
    pub(super) fn new(rate: Rate, now: Timestamp) -> Self {
        let rate = Rate {
            per_second: if rate.per_second > 0.0 { rate.per_second } else { Rate::default().per_second },
            in_flight: rate.in_flight.max(1),
        };
        Self {
            rate,
            budget: rate.per_second.max(1.0),
            counted_at: now,
            in_flight: 0,
            waiting: BTreeMap::new(),
            places: HashMap::new(),
            next: 0,
            refused: Vec::new(),
            pause: None,
        }
    }

    /// Begins to wait.
    pub(super) fn join(&mut self, expires_at: Expiry, wake: W) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.places.insert(ticket, expires_at);
        self.waiting.insert((expires_at, ticket), wake);
        ticket
    }

    /// Moves up to the place of a token that expires earlier.
    pub(super) fn hurry(&mut self, ticket: Ticket, expires_at: Expiry) {
        let Some(place) = self.places.get_mut(&ticket).filter(|place| expires_at < **place) else { return };
        if let Some(wake) = self.waiting.remove(&(*place, ticket)) {
            self.waiting.insert((expires_at, ticket), wake);
        }
        *place = expires_at;
    }

    /// Waits no longer.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        if let Some(expires_at) = self.places.remove(&ticket) {
            self.waiting.remove(&(expires_at, ticket));
        }
    }

    /// An exchange has ended, or was not `made` after all.
    pub(super) fn ended(&mut self, made: bool) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if !made {
            self.budget += 1.0;
        }
    }

    /// The one that is to be told when something has changed.
    pub(super) fn first(&self) -> Option<W> {
        self.waiting.first_key_value().map(|(_, wake)| wake.clone())
    }

    /// All that wait.
    pub(super) fn all(&self) -> Vec<W> {
        self.waiting.values().cloned().collect()
    }

    /// Says what the holder of `ticket` has to do.
    pub(super) fn turn(&mut self, ticket: Ticket, now: Timestamp) -> Turn {
        if let Some(left) = self.held(now) {
            self.leave(ticket);
            return Turn::Held(left);
        }
        let is_first = self.waiting.first_key_value().is_some_and(|((_, first), _)| *first == ticket);
        if !is_first || self.in_flight >= self.rate.in_flight {
            return Turn::Later;
        }
        self.count(now);
        if self.budget < 1.0 {
            // A little more, so that the time is not just short of enough.
            let wait = (1.0 - self.budget) / self.rate.per_second + 0.001;
            return Turn::After(Duration::try_from_secs_f64(wait).unwrap_or(Duration::from_secs(1)));
        }
        self.budget -= 1.0;
        self.in_flight += 1;
        self.leave(ticket);
        Turn::Go
    }

    /// A refresh token was told to wait. The third different one within a minute that still has to holds back
    /// the region, until the earliest of their waits ends.
    pub(super) fn refused(&mut self, token: Fingerprint, now: Timestamp, wait: Duration) {
        self.refused.retain(|(other, at, pause)| {
            let age = now.duration_since(*at);
            *other != token && age <= REFUSED_WITHIN && pause.left(now).is_some()
        });
        self.refused.push((token, now, Pause::new(now, wait)));
        if self.refused.len() >= REFUSED {
            let earliest = self.refused.iter().filter_map(|(_, _, pause)| pause.left(now)).min();
            self.pause = earliest.map(|left| Pause::new(now, left));
        }
    }

    /// How much longer the region is held back.
    pub(super) fn held(&self, now: Timestamp) -> Option<Duration> {
        self.pause.and_then(|pause| pause.left(now))
    }

    /// Adds to the budget what the time has brought.
    fn count(&mut self, now: Timestamp) {
        // Nothing where the clock was set back.
        let elapsed = now.duration_since(self.counted_at).as_secs_f64().max(0.0);
        self.counted_at = now;
        self.budget = elapsed.mul_add(self.rate.per_second, self.budget).min(self.rate.per_second.max(1.0));
    }
}
