//! The last room: from what was decided and done to the next status, the events, and when to look again. Pure.

mod advice;
mod conditions;
mod notes;
mod verdict;

use std::sync::Arc;

use jiff::Timestamp;

use self::{conditions::Standing, verdict::Verdict};
use super::{
    Acted, Aftermath, Case, Ending, Issued, Leftover, Trouble,
    decide::{Blocked, Decision, Held, LastFailure, Why, held, renewal},
    ownership::claim,
    restart::Restarts,
};
use crate::{
    api::{ConditionType, Reason, SquadcastCredentialStatus},
    ops::events::{Event, EventType},
    schedule::{self, Renewal, plus, whole_seconds},
    secret::SecretFacts,
};

/// What is to be told.
#[derive(Clone, Debug)]
pub struct Report {
    /// The next status.
    pub status: SquadcastCredentialStatus,
    /// Events on the resource.
    pub events: Vec<Event>,
    /// When to look again without being woken.
    pub wake: Option<Timestamp>,
    /// How the reconcile ended.
    pub ending: Ending,
}

/// Reports a reconcile.
pub fn report(
    case: &Case<'_>,
    decision: &Decision,
    acted: &Acted,
    aftermath: &Aftermath,
    now: Timestamp,
) -> Report {
    let facts = facts_after(case, acted);
    let issued = match acted {
        Acted::Issued(issued) => Some(&**issued),
        _ => None,
    };
    let held = facts.as_deref().and_then(|facts| held_after(case, facts, issued.is_some(), now));
    let mut draft = Draft { case, now, status: case.history.clone(), events: Vec::new(), wake: None };

    let renewal = held.as_ref().map(|held| renewal_after(case, decision, issued, held, now));
    draft.tell_token(held.as_ref(), renewal);
    let verdict = draft.judge(decision, acted, held.as_ref());
    if let Some(issued) = issued {
        draft.tell_issue(issued, held.as_ref(), renewal);
    }
    draft.tell_request(decision, acted);
    let verdict = draft.fold_in(&aftermath.restarts, verdict, facts.as_deref());
    let verdict = draft.fold_in_leftover(aftermath.leftover.as_ref(), verdict);

    let mut standing = Standing {
        usable: held.as_ref().is_some_and(|h| h.usable),
        rejected: held.as_ref().is_some_and(|h| h.rejected),
    };
    if rejects_the_held(case, &verdict, held.as_ref()) {
        standing = Standing { usable: false, rejected: true };
    }
    if standing.rejected {
        // It will not be renewed: `nextAttemptAt` tells when its refresh token is tried again.
        draft.status.renew_at = None;
    }
    draft.tell_conditions(&verdict, standing);
    if let Some(held) = held.filter(|_| standing.usable) {
        draft.wake_by(held.token.life.expires);
    }
    if case.seen.by_label && !facts.as_deref().is_some_and(SecretFacts::labelled) {
        // No watch tells when this target changes.
        draft.wake_by(plus(now, schedule::RECHECK));
    }
    let Draft { status, events, wake, .. } = draft;
    Report { status, events, wake, ending: ending(decision, acted, aftermath, now) }
}

/// The target as it is after what was done.
fn facts_after(case: &Case<'_>, acted: &Acted) -> Option<Arc<SecretFacts>> {
    match acted {
        Acted::Issued(issued) => Some(Arc::new(issued.target.facts.clone())),
        Acted::Rewritten(meta) => Some(Arc::new(meta.facts.clone())),
        _ => case.seen.target.facts().cloned(),
    }
}

fn held_after<'a>(case: &Case<'_>, facts: &'a SecretFacts, fresh: bool, now: Timestamp) -> Option<Held<'a>> {
    if fresh {
        // It has just been written: no doubt about its owner or its data, and what was said of the one before
        // does not count.
        let token = facts.token.as_ref()?;
        return Some(Held { token, usable: now < token.life.expires, rejected: false });
    }
    let claim = claim(case.credential(), &case.seen.target);
    held(case.credential(), case.history, facts, &claim, case.seen.target.edited(), now)
}

fn renewal_after(
    case: &Case<'_>,
    decision: &Decision,
    issued: Option<&Issued>,
    held: &Held<'_>,
    now: Timestamp,
) -> Renewal {
    let Some(issued) = issued else {
        return match decision {
            Decision::Fine { renewal } | Decision::Rewrite { renewal } => *renewal,
            _ => renewal(case, held),
        };
    };
    let life = held.token.life;
    let computed = schedule::renewal(life, case.credential().renewal_policy(), held.token.fingerprint);
    if issued.later && computed.at > now {
        computed
    } else {
        Renewal { at: schedule::half_of_the_rest(now, life.expires), ..computed }
    }
}

/// The refresh token from which the target's token was minted is rejected, and that is confirmed: Squadcast
/// revokes both together.
fn rejects_the_held(case: &Case<'_>, verdict: &Verdict, held: Option<&Held<'_>>) -> bool {
    matches!(verdict, Verdict::Not { reason: Reason::RefreshTokenRejected, stalled: Some(_), .. })
        && held.is_some_and(|held| case.seen.fingerprint() == Some(held.token.fingerprint))
}

/// A report in the making.
struct Draft<'a> {
    case: &'a Case<'a>,
    now: Timestamp,
    status: SquadcastCredentialStatus,
    events: Vec<Event>,
    wake: Option<Timestamp>,
}

impl Draft<'_> {
    fn wake_by(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |earlier| earlier.min(at)));
    }

    fn tell_token(&mut self, held: Option<&Held<'_>>, renewal: Option<Renewal>) {
        self.status.issued_at = held.map(|h| h.token.life.issued);
        self.status.expires_at = held.map(|h| h.token.life.expires);
        self.status.renew_at = renewal.map(|r| r.at);
    }

    fn tell_issue(&mut self, issued: &Issued, held: Option<&Held<'_>>, renewal: Option<Renewal>) {
        let (case, history) = (self.case, self.case.history);
        self.status.last_renewed_at = Some(whole_seconds(self.now));
        self.status.last_attempt_fingerprint = held.map(|h| h.token.fingerprint.to_string());
        self.events.push(notes::issued(case, issued, &self.status));
        if issued.rotated {
            self.events.push(notes::rotated(case));
        }
        let news = history.last_renewed_at.is_none() || case.spec_changed();
        if news && renewal.is_some_and(|r| r.wish_too_long) {
            self.events.push(notes::renew_before_too_long());
        }
    }

    /// A renewal asked for by annotation is handled when its attempt has ended, whatever its outcome.
    fn tell_request(&mut self, decision: &Decision, acted: &Acted) {
        let failed = matches!(acted, Acted::Failed(_) | Acted::Blocked(_));
        let issued = matches!(acted, Acted::Issued(_));
        match decision {
            Decision::Exchange(Why::Requested) if issued || failed => {}
            // The refresh token that is to be written back first stood in the way: that was the attempt.
            Decision::WriteBack if failed && self.case.requested() => {}
            // It was got for this very request, and something came in between.
            Decision::WritePending if (issued || failed) && self.answers_request() => {}
            _ => return,
        }
        self.status.last_handled_renew_request =
            self.case.credential().renew_request.as_deref().map(str::to_owned);
    }

    fn answers_request(&self) -> bool {
        let pending = self.case.memory.pending.as_ref();
        pending.is_some_and(|p| p.answers(self.case.credential().renew_request.as_deref()))
    }

    fn tell_conditions(&mut self, verdict: &Verdict, standing: Standing) {
        let history = self.case.history;
        if let Verdict::Not { reason, message, .. } = verdict
            && *reason != Reason::Suspended
            && history.reason(ConditionType::Synced) != Some(*reason)
        {
            let (reason, note) = (reason.as_str(), message.clone());
            self.events.push(Event { type_: EventType::Warning, reason, note });
        }
        // While the last word on a changed spec is still out, the generation says so.
        let generation = match verdict {
            Verdict::Unchanged => history.observed_generation,
            _ => Some(self.case.credential().generation),
        };
        self.status.observed_generation = generation;
        let (generation, now) = (generation.unwrap_or_default().max(0), whole_seconds(self.now));
        conditions::set(&mut self.status.conditions, self.case, verdict, standing, generation, now);
    }
}

fn ending(decision: &Decision, acted: &Acted, aftermath: &Aftermath, now: Timestamp) -> Ending {
    let left = aftermath.leftover.as_ref().is_some_and(|leftover| leftover.at >= whole_seconds(now));
    match (acted, decision) {
        _ if left || matches!(aftermath.restarts, Restarts::Failed(_)) => Ending::Failed,
        (Acted::Issued(_), _) => Ending::Issued,
        (Acted::Rewritten(_), _) => Ending::Rewritten,
        (Acted::Failed(_), _) => Ending::Failed,
        (Acted::Blocked(_), _) | (_, Decision::Blocked(_)) => Ending::Blocked,
        (_, Decision::Suspended) => Ending::Suspended,
        (_, Decision::Contested { .. } | Decision::BackOff { .. } | Decision::TooSoon { .. }) => {
            Ending::Waiting
        }
        _ => Ending::Unchanged,
    }
}
