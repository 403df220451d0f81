//! The second room: what to do. A chain of small checks, the first that hits decides, in the order in which a
//! person would explain them. Pure: no client, no clock, no randomness.

mod blocked;
mod case;

use jiff::Timestamp;

pub use self::blocked::{Blocked, render_problem};
use self::blocked::{inherits, known_region, passable, usable_source};
pub use self::case::{Case, Held, LastFailure, held};
use super::{
    observe::FoundToken,
    ownership::{Claim, claim},
};
use crate::{
    api::Reason,
    schedule::{self, Renewal, plus, seconds_between},
    secret::{SecretFacts, metadata_is_current, template_hash},
    squadcast::Region,
};

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The resource is being deleted.
    Nothing,
    /// `spec.suspend`.
    Suspended,
    /// Something stands in the way that no attempt of the operator's removes.
    Blocked(Blocked),
    /// Somebody keeps changing the target back; repair it no earlier than this.
    Contested {
        /// When to repair.
        until: Timestamp,
    },
    /// The last attempt failed; the next comes then.
    BackOff {
        /// When to try again.
        until: Timestamp,
    },
    /// An exchange is due, but the last one was a moment ago.
    TooSoon {
        /// When to go on.
        until: Timestamp,
    },
    /// A refresh token that Squadcast has replaced, and that could not be written back then, is to be saved.
    WriteBack,
    /// A token that was got earlier, and could not be written then, is to be written.
    WritePending,
    /// Get a token and write it.
    Exchange(Why),
    /// Labels, annotations or owners are to be written, the data not.
    Rewrite {
        /// When the token is to be renewed.
        renewal: Renewal,
    },
    /// All is well until then.
    Fine {
        /// When the token is to be renewed.
        renewal: Renewal,
    },
}

/// Why an exchange is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A new value of the annotation `renew-requested-at`.
    Requested,
    /// An attempt failed, and its back-off has ended or what it failed for has changed.
    Retry,
    /// The target does not exist.
    Missing,
    /// The target tells of no token.
    NoToken,
    /// The refresh token from which the target's token was minted had been found rejected.
    Rejected,
    /// The target's data was edited or a key removed.
    Edited,
    /// The refresh token's value or the region changed.
    SourceChanged,
    /// The template changed.
    TemplateChanged,
    /// The renewal instant has come.
    Due,
}

impl Why {
    /// An answer that was requested before this moment will not do.
    pub fn needs_new_answer(self, issued_before: bool) -> bool {
        match self {
            Self::Requested | Self::Edited => true,
            // A target that was never there was not deleted either.
            Self::Missing | Self::NoToken => issued_before,
            _ => false,
        }
    }

    /// It repairs what somebody did to the target.
    pub fn is_repair(self, issued_before: bool) -> bool {
        matches!(self, Self::Edited) || matches!(self, Self::Missing | Self::NoToken) && issued_before
    }
}

/// The decision.
pub fn decide(case: &Case<'_>, now: Timestamp) -> Decision {
    let credential = case.credential();
    if credential.deleting {
        return Decision::Nothing;
    }
    if credential.spec.suspend {
        return Decision::Suspended;
    }
    let (region, found) = match (known_region(case), usable_source(case)) {
        (Ok(region), Ok(found)) => (region, found),
        (Err(blocked), _) | (_, Err(blocked)) => return Decision::Blocked(blocked),
    };
    let requested = case.requested();
    let failing = case.failing(found.fingerprint);
    let waits = failing
        .filter(|next| now < *next && !case.spec_changed() && !requested && !case.clock_was_set_back(now));
    let pending = case.memory.pending.as_ref();
    // The refresh token in the source may be worth nothing any more, whatever the target's state.
    if pending.is_some_and(|p| p.to_write_back(found.fingerprint).is_some()) {
        return match waits.filter(|_| !case.memory.last_chance) {
            Some(until) => Decision::BackOff { until },
            None => Decision::WriteBack,
        };
    }
    if let Err(blocked) = passable(case, region, found) {
        return Decision::Blocked(blocked);
    }
    let creates = match claim(credential, &case.seen.target) {
        Claim::Refused(Reason::TargetNotOwned, _) if case.input.holder_leaves => {
            return Decision::Blocked(inherits(case));
        }
        Claim::Refused(reason, message) => {
            return Decision::Blocked(Blocked { reason, message, stalled: reason != Reason::TargetNotFound });
        }
        Claim::Wait(message) => {
            return Decision::Blocked(Blocked { reason: Reason::TargetNotOwned, message, stalled: false });
        }
        Claim::Create => true,
        Claim::Write { .. } => false,
    };

    if let Some(until) = waits {
        return Decision::BackOff { until };
    }
    let answered = pending.is_some_and(|p| p.answers(credential.renew_request.as_deref()));
    if (!requested || answered) && pending.is_some_and(|p| p.good_for(found.fingerprint, now)) {
        return Decision::WritePending;
    }
    // Where only a write failed, what the target needs now tells what to do; it may have been written after all, and
    // the answer been lost.
    let only_a_write = matches!(case.last_failure(), Some(LastFailure::Cluster { .. }));
    let need = match need(case, region, found, creates, now) {
        _ if requested => Err(Why::Requested),
        // What somebody did to the target meanwhile calls for more than another try.
        Err(why) if why.needs_new_answer(case.issued_here()) => Err(why),
        _ if failing.is_some() && !only_a_write => Err(Why::Retry),
        need => need,
    };
    match need {
        Err(why) => exchange(case, why, now),
        Ok((facts, renewal)) if metadata_is_current(case.desired(), facts) => Decision::Fine { renewal },
        // Somebody who keeps changing labels or owners back is no cheaper than one who changes the data.
        Ok((_, renewal)) => match schedule::next_repair(&case.memory.rewrites, now) {
            Some(until) if !case.spec_changed() => {
                Decision::Contested { until: schedule::whole_seconds(until) }
            }
            _ => Decision::Rewrite { renewal },
        },
    }
}

/// The decision where the Secrets may not be read: whether to ask again now.
pub fn decide_unread(case: &Case<'_>, now: Timestamp) -> Decision {
    let forbidden = case.last_failure() == Some(LastFailure::Cluster { forbidden: true });
    match case.history.next_attempt_at {
        _ if case.credential().spec.suspend => Decision::Suspended,
        _ if case.requested() => Decision::Exchange(Why::Requested),
        Some(until) if forbidden && now < until && !case.spec_changed() && !case.clock_was_set_back(now) => {
            Decision::BackOff { until }
        }
        _ => Decision::Exchange(Why::Retry),
    }
}

/// The exchange, or when it may come.
fn exchange(case: &Case<'_>, why: Why, now: Timestamp) -> Decision {
    if why.is_repair(case.issued_here())
        && !case.spec_changed()
        && let Some(until) = schedule::next_repair(&case.memory.repairs, now)
    {
        return Decision::Contested { until };
    }
    let renewed = case.history.last_renewed_at.map(|at| plus(at, schedule::BETWEEN_EXCHANGES));
    // What this process got, and perhaps could not write, it knows more exactly.
    let granted = case.memory.last_grant.map(|at| plus(at, schedule::BETWEEN_EXCHANGES - 1));
    // A clock that was set back must not hold up more than those seconds, nor hide the one that counts.
    let waits = |until: &Timestamp| (0..=schedule::BETWEEN_EXCHANGES).contains(&seconds_between(now, *until));
    match [renewed, granted].into_iter().flatten().filter(waits).max() {
        Some(until) if now < until => Decision::TooSoon { until },
        _ => Decision::Exchange(why),
    }
}

/// Whether the target needs a new token: why it does, or its facts and when it will.
fn need<'a>(
    case: &'a Case<'_>,
    region: &Region,
    found: &FoundToken,
    creates: bool,
    now: Timestamp,
) -> Result<(&'a SecretFacts, Renewal), Why> {
    let Some(facts) = case.seen.target.facts().filter(|_| !creates) else {
        return Err(Why::Missing);
    };
    let held = case.held(now).ok_or(Why::NoToken)?;
    if held.rejected {
        return Err(Why::Rejected);
    }
    if case.seen.target.edited() {
        return Err(Why::Edited);
    }
    if held.token.fingerprint != found.fingerprint {
        return Err(Why::SourceChanged);
    }
    let spec = &case.credential().spec;
    if *held.token.template_hash
        != template_hash(&spec.region, &region.api_url, spec.target.template.as_ref())
    {
        return Err(Why::TemplateChanged);
    }
    let renewal = renewal(case, &held);
    if renewal.at <= now { Err(Why::Due) } else { Ok((facts, renewal)) }
}

/// When the token that is held is to be renewed: as the status says while that speaks of the same token and
/// the same spec, else by the token's own life.
pub fn renewal(case: &Case<'_>, held: &Held<'_>) -> Renewal {
    let history = case.history;
    let life = held.token.life;
    let computed = schedule::renewal(life, case.credential().renewal_policy(), held.token.fingerprint);
    let same_token = history.expires_at == Some(life.expires) && history.issued_at == Some(life.issued);
    match (history.renew_at, history.last_renewed_at) {
        (Some(at), _) if same_token && !case.spec_changed() => Renewal { at, ..computed },
        // It was renewed at or after that instant and got this very life: the server repeats itself.
        (_, Some(renewed)) if same_token && computed.at <= renewed => {
            Renewal { at: schedule::half_of_the_rest(renewed, life.expires), ..computed }
        }
        _ => computed,
    }
}
