//! How often, and how many at once, a region may be asked, and who goes first. Pure: the clock is a parameter.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Fingerprint;

mod gate;
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

/// A wait that a server has asked for, by the wall clock. Setting the clock back does not lengthen it much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    since: Timestamp,
    length: SignedDuration,
}

impl Hold {
    pub(super) fn new(now: Timestamp, wait: Duration) -> Self {
        Self { since: now, length: SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX) }
    }

    /// What is left of it.
    pub(super) fn left(&self, now: Timestamp) -> Option<Duration> {
        let elapsed = now.duration_since(self.since);
        if elapsed < -CLOCK_SLACK {
            return None;
        }
        let left = self.length.saturating_sub(elapsed);
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
    refused: Vec<(Fingerprint, Timestamp, Hold)>,
    hold: Option<Hold>,
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
            hold: None,
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
        self.refused.retain(|(other, at, hold)| {
            let age = now.duration_since(*at);
            *other != token && age <= REFUSED_WITHIN && hold.left(now).is_some()
        });
        self.refused.push((token, now, Hold::new(now, wait)));
        if self.refused.len() >= REFUSED {
            let earliest = self.refused.iter().filter_map(|(_, _, hold)| hold.left(now)).min();
            self.hold = earliest.map(|left| Hold::new(now, left));
        }
    }

    /// How much longer the region is held back.
    pub(super) fn held(&self, now: Timestamp) -> Option<Duration> {
        self.hold.and_then(|hold| hold.left(now))
    }

    /// Adds to the budget what the time has brought.
    fn count(&mut self, now: Timestamp) {
        // Nothing where the clock was set back.
        let elapsed = now.duration_since(self.counted_at).as_secs_f64().max(0.0);
        self.counted_at = now;
        self.budget = elapsed.mul_add(self.rate.per_second, self.budget).min(self.rate.per_second.max(1.0));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::squadcast::RefreshToken;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    fn limits(per_second: f64, in_flight: usize) -> Limits<()> {
        Limits::new(Rate { per_second, in_flight }, at(0))
    }

    fn print(number: usize) -> Fingerprint {
        RefreshToken::parse(format!("token {number}").as_bytes()).unwrap().fingerprint("us")
    }

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_burst_of_one_seconds_worth_then_the_rate() {
        let mut limits = limits(10.0, 100);
        let mut go = |now| {
            let ticket = limits.join(None, ());
            let turn = limits.turn(ticket, now);
            limits.leave(ticket);
            turn
        };
        for _ in 0..10 {
            assert_eq!(go(at(0)), Turn::Go);
        }
        assert_eq!(go(at(0)), Turn::After(Duration::from_millis(101)));
        assert_eq!(go(at(99)), Turn::After(Duration::from_millis(2)));
        assert_eq!(go(at(101)), Turn::Go);
        assert!(matches!(go(at(101)), Turn::After(_)));
        // A clock that is set back earns nothing, and loses nothing but the time.
        assert!(matches!(go(at(-100_000)), Turn::After(_)));
        assert_eq!(go(at(-99_899)), Turn::Go);
    }

    #[test]
    fn a_rate_below_one() {
        let mut limits = limits(0.5, 1);
        let first = limits.join(None, ());
        assert_eq!(limits.turn(first, at(0)), Turn::Go);
        limits.ended(true);
        let second = limits.join(None, ());
        assert_eq!(limits.turn(second, at(0)), Turn::After(Duration::from_millis(2001)));
        assert_eq!(limits.turn(second, at(2001)), Turn::Go);
    }

    #[test]
    fn so_many_in_flight() {
        let mut limits = limits(10.0, 2);
        let tickets: Vec<_> = (0..3).map(|_| limits.join(None, ())).collect();
        assert_eq!(limits.turn(tickets[0], at(0)), Turn::Go);
        assert_eq!(limits.turn(tickets[1], at(0)), Turn::Go);
        assert_eq!(limits.turn(tickets[2], at(0)), Turn::Later);
        limits.ended(true);
        assert_eq!(limits.turn(tickets[2], at(0)), Turn::Go);
        assert!(limits.first().is_none());
    }

    #[test]
    fn the_least_life_goes_first() {
        let mut limits = limits(10.0, 8);
        let long = limits.join(Some(at(9000)), ());
        let short = limits.join(Some(at(1000)), ());
        let later = limits.join(Some(at(1000)), ());
        let none = limits.join(None, ());
        for (now_first, others) in [(none, vec![short, later, long]), (short, vec![later, long])] {
            for other in others {
                assert_eq!(limits.turn(other, at(0)), Turn::Later);
            }
            assert_eq!(limits.turn(now_first, at(0)), Turn::Go);
        }
        limits.hurry(long, Some(at(10_000)));
        assert_eq!(limits.turn(long, at(0)), Turn::Later);
        limits.hurry(long, Some(at(500)));
        assert_eq!(limits.turn(later, at(0)), Turn::Later);
        assert_eq!(limits.turn(long, at(0)), Turn::Go);
        limits.leave(later);
        assert!(limits.all().is_empty());
    }

    #[test]
    fn three_refused_tokens_hold_back_the_region() {
        let mut limits = limits(10.0, 8);
        let held = |limits: &Limits<()>, now| limits.held(at(now)).map(|left| left.as_secs());
        limits.refused(print(1), at(0), secs(120));
        limits.refused(print(1), at(1000), secs(120));
        limits.refused(print(2), at(2000), secs(30));
        assert_eq!(held(&limits, 2000), None);
        limits.refused(print(3), at(12_000), secs(600));
        assert_eq!(held(&limits, 12_000), Some(20));
        let ticket = limits.join(None, ());
        assert_eq!(limits.turn(ticket, at(12_000)), Turn::Held(secs(20)));
        assert!(limits.first().is_none());
        assert_eq!(held(&limits, 32_000), None);
        // The second one's wait has ended: it counts no more, but a fourth makes three again.
        limits.refused(print(4), at(40_000), secs(50));
        assert_eq!(held(&limits, 40_000), Some(50));
        // The clock is set back by an hour: nobody waits for an hour.
        assert_eq!(held(&limits, 40_000 - 3_600_000), None);
    }

    #[test]
    fn refusals_further_apart_do_not() {
        let mut limits = limits(10.0, 8);
        for number in 0..10 {
            let now = at(i64::try_from(number).unwrap() * 31_000);
            limits.refused(print(number), now, secs(3600));
            assert_eq!(limits.held(now), None);
        }
        for number in 0..10 {
            let now = at(1_000_000 + i64::try_from(number).unwrap() * 1000);
            limits.refused(print(number), now, secs(1));
            assert_eq!(limits.held(now), None);
        }
    }

    proptest! {
        #[test]
        fn never_more_than_allowed(steps in prop::collection::vec((0..400i64, 0..4usize, any::<bool>()), 1..200)) {
            let mut limits = limits(5.0, 3);
            let (mut now, mut flying, mut went) = (0, 0, Vec::new());
            let mut tickets = Vec::new();
            for (wait, join, end) in steps {
                now += wait;
                tickets.extend((0..join).map(|life| {
                    let expires_at = Some(at(i64::try_from(life).unwrap()));
                    (expires_at, limits.join(expires_at, ()))
                }));
                if end && flying > 0 {
                    limits.ended(true);
                    flying -= 1;
                }
                tickets.sort_unstable();
                while let Some((_, first)) = tickets.first() {
                    if limits.turn(*first, at(now)) != Turn::Go {
                        break;
                    }
                    tickets.remove(0);
                    flying += 1;
                    went.push(now);
                }
                prop_assert!(flying <= 3);
                prop_assert_eq!(limits.all().len(), tickets.len());
            }
            for from in &went {
                let within = went.iter().filter(|at| (*from..from + 1000).contains(*at)).count();
                prop_assert!(within <= 10, "{within} in a second");
            }
        }
    }
}
