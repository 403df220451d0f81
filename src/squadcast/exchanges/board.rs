//! Which exchanges are under way and which answers are still good. Pure but for telling those that wait: the
//! clock is a parameter.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::api::{Key, Reason};
use crate::room::give_back;
use crate::squadcast::limits::{Pause, Ticket};
use crate::squadcast::{Failure, Fingerprint, Grant, Line};

/// For how long after its request an answer is good for others.
pub(super) const GOOD_FOR: SignedDuration = SignedDuration::from_secs(30);

/// For how long those that wait for an answer may take to fetch it.
const FETCH: SignedDuration = SignedDuration::from_secs(5);

/// For how long a write-back is waited for before those that wait are told.
const PATIENCE: SignedDuration = SignedDuration::from_secs(10);

/// How often at most an exchange forgets what is old: to look at all answers takes longer the more there are.
const SWEEP: SignedDuration = SignedDuration::from_secs(1);

/// A write-back that nobody holds and nobody has asked about for so long is given up: whoever wanted it is gone.
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(2);

/// An answer, good or bad.
pub(super) type Answer = Result<Arc<Grant>, Failure>;

/// What is asked for.
pub(super) struct Query {
    /// The refresh token.
    pub(super) token: Fingerprint,
    /// Where it was read.
    pub(super) source: Line,
    /// An answer requested earlier is not good enough,
    pub(super) not_before: Timestamp,
    /// unless it was requested after this, whatever the clocks say.
    pub(super) since: Moment,
    /// When the token that is held expires.
    pub(super) expires_at: Option<Timestamp>,
    /// Who writes a new refresh token back.
    pub(super) holder: Option<Key>,
}

impl Query {
    /// With this answer comes the duty to write back.
    pub(super) fn holds(&self, grant: &Grant) -> bool {
        self.holder.is_some() && grant.rotated.is_some()
    }
}

/// What whoever asks has to do.
pub(super) enum Step {
    /// This is the answer. Where the asker [`holds`](Query::holds) it, that is noted.
    Done(Answer),
    /// This answer is to be written back before there can be another. So it is with this one.
    Pending(Arc<Grant>),
    /// Wait for a change, but not longer than this, then ask again. The ticket of who leads may be hurried.
    Wait(OwnedNotified, Option<Duration>, Option<Ticket>),
    /// Make the exchange.
    Lead,
    /// From this moment on there is another refresh token in its place, by a write-back: read it again.
    Replaced(Moment),
}

/// A place in the order of requests and write-backs, whatever the clocks say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

/// All refresh tokens that something is known of. There are as many answers as exchanges in half a minute, as many
/// flights as refresh tokens that wait for their turn, and of the rest few.
#[derive(Default)]
pub(super) struct Board {
    answers: HashMap<Fingerprint, Last>,
    flights: HashMap<Fingerprint, Flight>,
    write_backs: HashMap<Fingerprint, WriteBack>,
    /// Refresh tokens, and places that do not hold them any more from a moment on, for those who have read before.
    replaced: HashMap<(Fingerprint, Line), (Moment, Timestamp)>,
    pauses: HashMap<Fingerprint, (Pause, Failure)>,
    waiting: Waiting,
    next: Moment,
    /// Whether somebody looks after old answers.
    pub(super) is_swept: bool,
    swept_at: Option<Timestamp>,
}

/// Where somebody waits for a change.
#[derive(Default)]
struct Waiting(HashMap<Fingerprint, Arc<Notify>>);

/// An exchange that waits for the limits or is under way.
#[derive(Default)]
struct Flight {
    ticket: Option<Ticket>,
    hold_on_rotation: bool,
}

/// The last answer.
struct Last {
    number: Moment,
    came_at: Timestamp,
    answer: Result<Arc<Grant>, Box<Failure>>,
}

/// A new refresh token that is not written back yet.
struct WriteBack {
    grant: Arc<Grant>,
    since: Timestamp,
    asked_at: Timestamp,
    /// Where it is to be written, and the resources that are at it: nobody, where it was left behind.
    owed: HashMap<Line, Vec<Key>>,
}

impl Board {
    /// The number of the next request or write-back: stands for now.
    pub(super) fn now(&self) -> Moment {
        self.next
    }

    /// From when on its place does not hold this refresh token any more, where it was read before.
    fn replaced(&self, query: &Query) -> Option<Moment> {
        let (from, _) = self.replaced.get(&(query.token, query.source.clone()))?;
        Some(*from).filter(|from| *from > query.since)
    }

    /// Says what to do next.
    pub(super) fn step(&mut self, query: &Query, now: Timestamp) -> Step {
        let token = query.token;
        let good = self.answers.get(&token).filter(|last| last.is_good(query, now)).map(Last::answer);
        if good.is_none()
            && let Some(from) = self.replaced(query)
        {
            return Step::Replaced(from);
        }
        if let Some(pending) = self.write_backs.get_mut(&token) {
            if query.holder.is_some() {
                pending.asked_at = now;
            }
            let waited = now.duration_since(pending.since);
            let step = match good {
                Some(answer) => Step::Done(answer),
                None if (SignedDuration::ZERO..PATIENCE).contains(&waited) => {
                    Step::Wait(self.waiting.change(token), (PATIENCE - waited).try_into().ok(), None)
                }
                None => Step::Pending(pending.grant.clone()),
            };
            if let Step::Done(Ok(grant)) | Step::Pending(grant) = &step {
                self.hold(query, grant, now);
            }
            return step;
        }
        if let Some((pause, failure)) = self.pauses.get(&token)
            && pause.left_for(query.expires_at, now).is_some()
            && let Some(left) = pause.left(now)
        {
            return Step::Done(Err(Failure { retry_after: Some(left), ..failure.clone() }));
        }
        if let Some(answer) = good {
            if let Ok(grant) = &answer {
                self.hold(query, grant, now);
            }
            return Step::Done(answer);
        }
        if let Some(flight) = self.flights.get_mut(&token) {
            flight.hold_on_rotation |= query.holder.is_some();
            return Step::Wait(self.waiting.change(token), None, flight.ticket);
        }
        self.flights.insert(token, Flight { ticket: None, hold_on_rotation: query.holder.is_some() });
        Step::Lead
    }

    /// The one that leads waits for the limits with this ticket.
    pub(super) fn seat(&mut self, token: Fingerprint, ticket: Ticket) {
        if let Some(flight) = self.flights.get_mut(&token) {
            flight.ticket = Some(ticket);
        }
    }

    /// The request is about to be sent: its number, or `None` where a write-back has come in between.
    pub(super) fn send(&mut self, query: &Query) -> Option<Moment> {
        if self.write_backs.contains_key(&query.token) || self.replaced(query).is_some() {
            return None;
        }
        self.flights.entry(query.token).or_default().ticket = None;
        let number = self.next;
        self.next.0 += 1;
        Some(number)
    }

    /// There will be no answer: others may lead.
    pub(super) fn abandon(&mut self, token: Fingerprint) {
        self.flights.remove(&token);
        self.waiting.tell(token);
    }

    /// An answer has come; `returned` is the new refresh token and the grant as its holders see it.
    pub(super) fn publish(
        &mut self,
        token: Fingerprint,
        number: Moment,
        answer: Answer,
        returned: Option<(Fingerprint, Arc<Grant>)>,
        now: Timestamp,
    ) {
        if let Some((new, grant)) = returned {
            self.answers.insert(new, Last::new(number, Ok(grant), now));
            self.waiting.tell(new);
        }
        let flight = self.flights.remove(&token).unwrap_or_default();
        self.pauses.remove(&token);
        match &answer {
            Ok(grant) if flight.hold_on_rotation => self.pend(token, grant, now),
            Err(failure) if failure.reason == Reason::RateLimited => {
                if let Some(wait) = failure.retry_after {
                    self.pauses.insert(token, (Pause::new(now, wait), failure.clone()));
                }
            }
            _ => {}
        }
        self.answers.insert(token, Last::new(number, answer, now));
        self.waiting.tell(token);
    }

    /// The asker takes it on to write a new refresh token into the place of the one sent.
    fn hold(&mut self, query: &Query, grant: &Arc<Grant>, now: Timestamp) {
        if let Some(holder) = query.holder.clone().filter(|_| query.holds(grant)) {
            self.pend(query.token, grant, now);
            self.take_up(query.token, &query.source, holder);
        }
    }

    /// Where the answer holds a new refresh token, nothing is sent until it is written back.
    fn pend(&mut self, token: Fingerprint, grant: &Arc<Grant>, now: Timestamp) {
        if grant.rotated.is_some() {
            let new = || WriteBack { grant: grant.clone(), since: now, asked_at: now, owed: HashMap::new() };
            self.write_backs.entry(token).or_insert_with(new).grant = grant.clone();
        }
    }

    fn take_up(&mut self, token: Fingerprint, source: &Line, holder: Key) {
        if let Some(pending) = self.write_backs.get_mut(&token) {
            pending.owed.entry(source.clone()).or_default().push(holder);
        }
    }

    /// This resource lets go of it, done or not.
    pub(super) fn release(&mut self, token: Fingerprint, source: &Line, holder: &Key, now: Timestamp) {
        if let Some(pending) = self.write_backs.get_mut(&token)
            && let Some(holders) = pending.owed.get_mut(source)
            && let Some(place) = holders.iter().position(|key| key == holder)
        {
            holders.remove(place);
            pending.asked_at = now;
        }
    }

    /// The answer whose refresh token is to be written here, where nobody is at it any more: this resource is now. A
    /// place of which nothing is known is as good as the one that was left.
    pub(super) fn left_behind(
        &mut self,
        token: Fingerprint,
        source: &Line,
        holder: &Key,
    ) -> Option<Arc<Grant>> {
        let pending = self.write_backs.get(&token)?;
        let nobody_at_all = || pending.owed.values().all(Vec::is_empty);
        let is_left = pending.owed.get(source).map_or_else(nobody_at_all, Vec::is_empty);
        let grant = is_left.then(|| pending.grant.clone())?;
        self.take_up(token, source, holder.clone());
        Some(grant)
    }

    /// The resources that are at a write-back.
    pub(super) fn holders(&self) -> Vec<Key> {
        self.write_backs.values().flat_map(|pending| pending.owed.values().flatten().cloned()).collect()
    }

    /// Its place holds the new refresh token, or another one.
    pub(super) fn written_back(&mut self, token: Fingerprint, source: &Line, now: Timestamp) {
        if let Some(pending) = self.write_backs.get_mut(&token) {
            pending.owed.remove(source);
            if pending.owed.is_empty() {
                self.write_backs.remove(&token);
            }
        }
        self.next.0 += 1;
        self.replaced.insert((token, source.clone()), (self.next, now));
        self.waiting.tell(token);
    }

    /// As [`Board::sweep`], where the last one was some time ago.
    pub(super) fn sweep_sometimes(&mut self, now: Timestamp) {
        if self.swept_at.is_none_or(|at| now.duration_since(at).abs() >= SWEEP) {
            self.sweep(now);
        }
    }

    /// Forgets what is of no more use; says whether there is something left that will be forgotten.
    pub(super) fn sweep(&mut self, now: Timestamp) -> bool {
        self.swept_at = Some(now);
        self.write_backs.retain(|token, pending| {
            let is_held = pending.owed.values().any(|holders| !holders.is_empty());
            let is_wanted = is_held || now.duration_since(pending.asked_at) < FORGOTTEN;
            if !is_wanted {
                self.waiting.tell(*token);
            }
            is_wanted
        });
        self.answers.retain(|_, last| !last.is_old(now));
        // Whoever waits for its turn may have read it long ago.
        self.replaced
            .retain(|(token, _), (_, at)| is_within(*at, GOOD_FOR, now) || self.flights.contains_key(token));
        self.pauses.retain(|_, (pause, _)| pause.left(now).is_some());
        give_back(&mut self.answers);
        give_back(&mut self.flights);
        give_back(&mut self.replaced);
        give_back(&mut self.waiting.0);
        !self.answers.is_empty() || !self.replaced.is_empty()
    }

    /// Of how many refresh tokens something is known or waited for.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let mut tokens: Vec<_> = self.answers.keys().chain(self.flights.keys()).collect();
        tokens.extend(self.write_backs.keys().chain(self.pauses.keys()).chain(self.waiting.0.keys()));
        tokens.extend(self.replaced.keys().map(|(token, _)| token));
        tokens.sort();
        tokens.dedup();
        tokens.len()
    }
}

impl Waiting {
    /// The next change.
    fn change(&mut self, token: Fingerprint) -> OwnedNotified {
        self.0.entry(token).or_default().clone().notified_owned()
    }

    /// Wakes all who wait.
    fn tell(&mut self, token: Fingerprint) {
        if let Some(changed) = self.0.remove(&token) {
            changed.notify_waiters();
        }
    }
}

impl Last {
    fn new(number: Moment, answer: Answer, now: Timestamp) -> Self {
        Self { number, came_at: now, answer: answer.map_err(Box::new) }
    }

    fn requested_at(&self) -> Timestamp {
        match &self.answer {
            Ok(grant) => grant.requested_at,
            Err(failure) => failure.requested_at,
        }
    }

    fn answer(&self) -> Answer {
        self.answer.clone().map_err(|failure| *failure)
    }

    fn is_good(&self, query: &Query, now: Timestamp) -> bool {
        let is_fresh = is_within(self.requested_at(), GOOD_FOR, now);
        self.number >= query.since || (is_fresh && self.requested_at() >= query.not_before)
    }

    fn is_old(&self, now: Timestamp) -> bool {
        !is_within(self.requested_at(), GOOD_FOR, now) && !is_within(self.came_at, FETCH, now)
    }
}

/// It was at most so long ago; a clock that was set back a little does not count.
fn is_within(at: Timestamp, length: SignedDuration, now: Timestamp) -> bool {
    (-FETCH..length).contains(&now.duration_since(at))
}
