//! What the process remembers of a resource between reconciles, and may forget at a restart.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    api::SquadcastCredentialStatus,
    reconcile::Trouble,
    schedule::{self, plus, seconds_between},
    squadcast::{Duty, Fingerprint, Grant, Line},
};

/// Longest pause where the API server cannot be asked, in seconds.
const UNREACHABLE_CAP: i64 = 15;

/// A token or an answer of so long ago, in seconds, matters to nobody: not to the pause between two exchanges of one
/// resource, and it is not shared any more.
const GRANT_MATTERS: i64 = 60;

/// Whether a token or an answer of then may still matter.
pub fn exchange_matters(at: Timestamp, now: Timestamp) -> bool {
    seconds_between(at, now).abs() < GRANT_MATTERS
}

/// Memory of one resource.
#[derive(Clone, Default)]
pub struct Memory {
    /// A token that was got and is not in the target yet.
    pub pending: Option<Pending>,
    /// When the target's data was repaired within the last hour, oldest first.
    pub repairs: Vec<Timestamp>,
    /// When its labels, annotations or owners were, oldest first.
    pub rewrites: Vec<Timestamp>,
    /// When the token that this resource got last was answered.
    pub last_grant: Option<Timestamp>,
    /// When the answer that this resource used last was requested: it never uses that one again.
    pub last_answer: Option<Timestamp>,
    /// The status that could not be written.
    pub unwritten: Option<Box<SquadcastCredentialStatus>>,
    /// How many times in a row the API server could not be asked at all.
    pub unreachable: u32,
    /// Former targets that could not be deleted.
    pub leftover: Option<Box<Leftover>>,
    /// The process is about to end: what is to be saved is saved now, whatever the back-off.
    pub last_chance: bool,
}

/// Former targets that could not be deleted. It holds up neither the token nor a restart.
#[derive(Clone)]
pub struct Leftover {
    /// Why.
    pub trouble: Trouble,
    /// How many times in a row.
    pub failures: u32,
    /// When it was tried last.
    pub at: Timestamp,
    /// When to try again.
    pub until: Timestamp,
}

/// A token that waits to be written.
#[derive(Clone)]
pub struct Pending {
    /// The token.
    pub grant: Arc<Grant>,
    /// Of region and refresh token: the one sent until a rotated one is written back, then that.
    pub fingerprint: Fingerprint,
    /// The value of the annotation `renew-requested-at` that this answers.
    pub request: Option<Box<str>>,
    /// The refresh token of the answer is still to be written back.
    pub duty: Option<Arc<Duty>>,
    /// The answer's refresh token differs, and this resource is the one to tell of it.
    pub tell_rotation: bool,
}

impl Pending {
    /// An answer whose refresh token nobody is about to write back: this resource is.
    pub fn left_behind(grant: Arc<Grant>, duty: Duty) -> Self {
        let fingerprint = duty.sent();
        Self { grant, fingerprint, request: None, duty: Some(Arc::new(duty)), tell_rotation: true }
    }

    /// It was minted for this refresh token and is still good for a while.
    pub fn good_for(&self, fingerprint: Fingerprint, now: Timestamp) -> bool {
        let expires = local(&self.grant, self.grant.expires_at);
        self.fingerprint == fingerprint && expires.is_some_and(|at| seconds_between(now, at) > 5)
    }

    /// It was got for the request that this resource makes now.
    pub fn answers(&self, request: Option<&str>) -> bool {
        self.request.is_some() && self.request.as_deref() == request
    }

    /// The source still holds the refresh token that was sent, and its successor is to be written there: it is
    /// worth that also when the access token that came with it is not worth anything any more.
    pub fn to_write_back(&self, fingerprint: Fingerprint) -> Option<&Duty> {
        self.duty.as_deref().filter(|_| self.fingerprint == fingerprint)
    }
}

impl Memory {
    /// There is nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.last_grant.is_none() && self.last_answer.is_none() && self.is_settled()
    }

    /// Nothing is left to be done or to be counted: there is at most when the last exchange was.
    pub fn is_settled(&self) -> bool {
        let Self {
            pending,
            repairs,
            rewrites,
            last_grant: _,
            last_answer: _,
            unwritten,
            unreachable,
            leftover,
            last_chance,
        } = self;
        pending.is_none()
            && repairs.is_empty()
            && rewrites.is_empty()
            && unwritten.is_none()
            && *unreachable == 0
            && leftover.is_none()
            && !last_chance
    }

    /// Forgets what is of no use any more.
    pub fn forget_old(&mut self, now: Timestamp) {
        let is_old = |at: &mut Timestamp| !exchange_matters(*at, now);
        self.last_grant.take_if(is_old);
        self.last_answer.take_if(is_old);
        self.repairs.retain(|at| within_the_hour(*at, now));
        self.rewrites.retain(|at| within_the_hour(*at, now));
    }

    /// Lets go of a duty to write to another place than this one, which is left to those that read that, and of one that
    /// is void, since somebody has replaced the refresh token that was sent.
    pub fn let_go(&mut self, source: &Line, found: Option<Fingerprint>) {
        let Some(pending) = &mut self.pending else { return };
        let Some(duty) = pending.duty.as_deref() else { return };
        if duty.source() != source {
            self.pending = None;
        } else if let Some(found) = found.filter(|found| *found != duty.sent()) {
            duty.done();
            let successor = pending.grant.rotated.as_ref().map(|new| new.fingerprint(&source.region));
            if successor == Some(found) {
                // Another one has written it back.
                (pending.fingerprint, pending.duty) = (found, None);
            } else {
                self.pending = None;
            }
        }
    }

    /// A refresh token is still to be written back.
    pub fn has_duty(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.duty.is_some())
    }

    /// How long to wait, in seconds, where the API server could not be asked once more.
    pub fn wait_for_api(&mut self) -> i64 {
        let wait = schedule::back_off(self.unreachable, None, None).min(UNREACHABLE_CAP);
        self.unreachable = self.unreachable.saturating_add(1);
        wait
    }

    /// Notes a repair of data.
    pub fn repaired(&mut self, now: Timestamp) {
        note(&mut self.repairs, now);
    }

    /// Notes a repair of labels, annotations or owners.
    pub fn rewritten(&mut self, now: Timestamp) {
        note(&mut self.rewrites, now);
    }
}

/// Notes an instant and forgets those of more than an hour ago.
fn note(list: &mut Vec<Timestamp>, now: Timestamp) {
    list.retain(|at| within_the_hour(*at, now));
    list.push(now);
}

fn within_the_hour(at: Timestamp, now: Timestamp) -> bool {
    plus(at, 3600) > now
}

/// An instant of Squadcast's clock by ours.
pub fn local(grant: &Grant, second: i64) -> Option<Timestamp> {
    Timestamp::from_second(second.checked_sub(grant.skew)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap_or_default()
    }

    #[test]
    fn what_is_of_no_use_any_more_is_forgotten() {
        let mut memory = Memory {
            last_grant: Some(at(1000)),
            last_answer: Some(at(1000)),
            repairs: vec![at(1000)],
            rewrites: vec![at(1000)],
            ..Memory::default()
        };
        memory.forget_old(at(1059));
        assert!(memory.last_grant.is_some() && memory.last_answer.is_some(), "two exchanges are kept apart");
        memory.forget_old(at(1060));
        assert!(memory.last_grant.is_none() && memory.last_answer.is_none());
        memory.forget_old(at(4599));
        assert_eq!((memory.repairs.len(), memory.rewrites.len()), (1, 1), "of the last hour");
        memory.forget_old(at(4600));
        assert!(memory.is_empty());
    }

    #[test]
    fn what_is_still_to_be_done_is_not_forgotten() {
        let mut memory = Memory { unreachable: 1, last_grant: Some(at(0)), ..Memory::default() };
        memory.forget_old(at(1_000_000));
        assert!(!memory.is_empty());
    }
}
