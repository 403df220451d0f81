//! The last room: from what was decided and done to the next status, the events, and when to look again. Pure.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    Acted, Case, Issued,
    decide::{Blocked, Decision, Held, Why, held, renewal},
    memory::local,
    ownership::claim,
    restart::Restarts,
    trouble::Trouble,
};
use crate::{
    api::{self, Condition, ConditionType, Reason, SquadcastCredentialStatus},
    schedule::{self, Renewal, plus, seconds_between, whole_seconds},
    secret::SecretFacts,
    squadcast::Fingerprint,
};

/// What is to be told.
#[derive(Clone, Debug)]
pub struct Report {
    /// The next status.
    pub status: SquadcastCredentialStatus,
    /// Events on the resource.
    pub events: Vec<Note>,
    /// When to look again without being woken.
    pub wake: Option<Timestamp>,
    /// One word for the metric `squadcast_reconciles_total`.
    pub outcome: &'static str,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// A Warning, else Normal.
    pub warning: bool,
    /// CamelCase, one word.
    pub reason: &'static str,
    /// For people.
    pub text: String,
}

/// How the last attempt ended, for the conditions `Synced` and `Stalled`.
enum Verdict {
    /// It did what it should.
    Synced,
    /// As the status says already.
    Unchanged,
    /// It did not.
    Not { reason: Reason, message: String, stalled: Option<(Reason, String)> },
}

/// Reports a reconcile.
pub fn report(
    case: &Case<'_>,
    decision: &Decision,
    acted: &Acted,
    restarts: &Restarts,
    now: Timestamp,
) -> Report {
    let history = case.history;
    let name = &case.credential.spec.target.name;
    let mut next = history.clone();
    let mut events = Vec::new();
    let generation = case.credential.generation;
    let now_second = whole_seconds(now);

    let written: Option<&Arc<SecretFacts>>;
    let owned;
    (written, owned) = match acted {
        Acted::Issued(issued) => (None, Some(Arc::new(issued.target.facts.clone()))),
        Acted::Rewritten(meta) => (None, Some(Arc::new(meta.facts.clone()))),
        _ => (case.seen.target.facts(), None),
    };
    let facts = owned.as_ref().or(written);
    let issued = match acted {
        Acted::Issued(issued) => Some(issued),
        _ => None,
    };
    let token_held = facts.and_then(|facts| held_after(case, facts, issued.is_some(), now));
    let fingerprint = token_held.as_ref().map(|h| h.token.fingerprint).or(case.seen.fingerprint());

    // What the token is.
    let renews = token_held.as_ref().map(|held| match (issued, decision) {
        (Some(issued), _) => renewal_after(case, issued, held, now),
        (None, Decision::Fine { renewal } | Decision::Rewrite { renewal }) => *renewal,
        _ => renewal(case, held),
    });
    next.issued_at = token_held.as_ref().map(|h| h.token.life.issued);
    next.expires_at = token_held.as_ref().map(|h| h.token.life.expires);
    next.renew_at = renews.map(|r| r.at);

    // How the attempt ended.
    let mut wake = None;
    let mut rejected = token_held.as_ref().is_some_and(|h| h.rejected);
    let mut usable = token_held.as_ref().is_some_and(|h| h.usable);
    let verdict = match (acted, decision) {
        (Acted::Issued(_) | Acted::Rewritten(_), _) | (Acted::Nothing, Decision::Fine { .. }) => {
            wake = next.renew_at;
            next.target_name = Some(name.clone());
            succeed(&mut next);
            Verdict::Synced
        }
        (Acted::Blocked(blocked), _) | (_, Decision::Blocked(blocked)) => {
            wake = Some(plus(now, schedule::RECHECK));
            if history.reason(ConditionType::Synced) != Some(blocked.reason) {
                next.last_failure_at = Some(now_second);
            }
            blocked_verdict(blocked)
        }
        (Acted::Failed(trouble), _) => {
            let left =
                token_held.as_ref().filter(|h| h.usable).map(|h| seconds_between(now, h.token.life.expires));
            let expired = token_held.as_ref().filter(|h| !h.usable).map(|_| 0);
            let failed = Failed { case, trouble, left, expired, now };
            let fingerprint = case.seen.fingerprint();
            let verdict = failed.count(&mut next, fingerprint);
            wake = next.next_attempt_at;
            let of_held = token_held.as_ref().is_some_and(|h| Some(h.token.fingerprint) == fingerprint);
            if matches!(&verdict, Verdict::Not { stalled: Some(_), reason: Reason::RefreshTokenRejected, .. })
                && of_held
            {
                rejected = true;
                usable = false;
            }
            verdict
        }
        (_, Decision::Contested { until }) => {
            wake = Some(*until);
            next.next_attempt_at = Some(*until);
            Verdict::Not { reason: Reason::TargetContested, message: contested(case), stalled: None }
        }
        (_, Decision::Suspended) => Verdict::Not {
            reason: Reason::Suspended,
            message:
                "spec.suspend is true: the operator makes no exchange and writes no Secret until it is false"
                    .to_owned(),
            stalled: None,
        },
        (_, Decision::BackOff { until } | Decision::TooSoon { until }) => {
            wake = Some(*until);
            Verdict::Unchanged
        }
        _ => Verdict::Unchanged,
    };
    // Where the last word on this generation is still out, a reader should see that.
    let undecided = matches!(verdict, Verdict::Unchanged);
    if !undecided {
        next.observed_generation = Some(generation);
    }
    if let Some(issued) = issued {
        next.last_renewed_at = Some(now_second);
        next.last_attempt_fingerprint = fingerprint.map(|f| f.to_string());
        events.push(issue_note(case, issued, &next, name));
        if issued.rotated {
            events.push(rotation_note(case));
        }
        if renews.is_some_and(|r| r.wish_too_long)
            && (history.last_renewed_at.is_none() || case.spec_changed())
        {
            events.push(Note {
                warning: true,
                reason: "RenewBeforeTooLong",
                text: "spec.renewBefore is not shorter than the life of the token: it is renewed after two thirds of its life instead; shorten renewBefore".to_owned(),
            });
        }
    }
    if matches!(decision, Decision::Exchange(Why::Requested))
        && matches!(acted, Acted::Issued(_) | Acted::Failed(_) | Acted::Blocked(_))
    {
        next.last_handled_renew_request = case.credential.renew_request.as_deref().map(str::to_owned);
    }

    let verdict = after_restarts(case, verdict, restarts, facts, &mut next, &mut events, &mut wake, now);
    let observed =
        if undecided { history.observed_generation.unwrap_or(generation).max(0) } else { generation };
    conditions(&mut next, &verdict, &Facts { usable, rejected, name, case }, observed, now_second);
    if let Verdict::Not { reason, message, .. } = &verdict
        && *reason != Reason::Suspended
        && history.reason(ConditionType::Synced) != Some(*reason)
    {
        events.push(Note { warning: true, reason: reason.as_str(), text: message.clone() });
    }
    if decision == &Decision::WritePending && issued.is_some() && case.requested() {
        wake = Some(now);
    }
    if usable && let Some(held) = &token_held {
        let expires = held.token.life.expires;
        wake = Some(wake.map_or(expires, |at| at.min(expires)));
    }
    Report { status: next, events, wake, outcome: outcome(decision, acted) }
}

fn held_after<'a>(case: &Case<'_>, facts: &'a SecretFacts, fresh: bool, now: Timestamp) -> Option<Held<'a>> {
    if fresh {
        // It has just been written: no doubt about its owner or its data, and what was said of the one before
        // does not count.
        let token = facts.token.as_ref()?;
        return Some(Held { token, usable: now < token.life.expires, rejected: false });
    }
    held(
        case.credential,
        case.history,
        facts,
        claim(case.credential, &case.seen.target),
        case.seen.target.edited(),
        now,
    )
}

fn renewal_after(case: &Case<'_>, issued: &Issued, held: &Held<'_>, now: Timestamp) -> Renewal {
    let life = held.token.life;
    let computed = schedule::renewal(life, case.credential.renewal_policy(), held.token.fingerprint);
    let at = if issued.later && computed.at > now {
        computed.at
    } else {
        schedule::half_of_the_rest(now, life.expires)
    };
    Renewal { at, ..computed }
}

fn succeed(next: &mut SquadcastCredentialStatus) {
    next.failures = None;
    next.next_attempt_at = None;
}

fn blocked_verdict(blocked: &Blocked) -> Verdict {
    Verdict::Not {
        reason: blocked.reason,
        message: blocked.message.clone(),
        stalled: blocked.stalled.then(|| (blocked.reason, blocked.message.clone())),
    }
}

/// A failed attempt and what its counting depends on.
struct Failed<'a> {
    case: &'a Case<'a>,
    trouble: &'a Trouble,
    /// Seconds of life left of a usable token.
    left: Option<i64>,
    /// A token is held that is of no use any more.
    expired: Option<i64>,
    now: Timestamp,
}

impl Failed<'_> {
    /// Counts the failure, sets the next attempt, and says how it stands.
    fn count(&self, next: &mut SquadcastCredentialStatus, fingerprint: Option<Fingerprint>) -> Verdict {
        let history = self.case.history;
        // Where the source could not be read, the attempt was made with the refresh token of the one before.
        let text =
            fingerprint.map_or_else(|| history.last_attempt_fingerprint.clone(), |f| Some(f.to_string()));
        let same = history.last_attempt_fingerprint == text;
        let before = if same { history.failure_count() } else { 0 };
        let reason = self.trouble.reason;
        let synced = history.reason(ConditionType::Synced);
        let confirmed = same && before > 0 && synced.is_some_and(Reason::is_rejection);
        let wait = if reason.is_rejection() {
            if self.left.is_some() && !confirmed {
                schedule::CONFIRM_REJECTION
            } else {
                schedule::after_rejection(self.left)
            }
        } else if let Some(asked) = self.trouble.asked_to_wait {
            schedule::after_rate_limit(asked, self.left)
        } else {
            schedule::back_off(before, self.left.or(self.expired), fingerprint)
        };
        next.failures = Some(i32::try_from(before.saturating_add(1)).unwrap_or(i32::MAX));
        next.last_failure_at = Some(whole_seconds(self.now));
        next.next_attempt_at = Some(whole_seconds(plus(self.now, wait)));
        next.last_attempt_fingerprint = text;
        let message = self.trouble.message.clone();
        let stalled = if reason.is_rejection() {
            (self.left.is_none() || confirmed).then(|| (reason, message.clone()))
        } else {
            // A fault on the way does not make a rejected refresh token good.
            history
                .condition(ConditionType::Stalled)
                .filter(|_| same)
                .and_then(|c| c.reason().filter(|r| r.is_rejection()).map(|r| (r, c.message.clone())))
        };
        Verdict::Not { reason, message, stalled }
    }
}

fn contested(case: &Case<'_>) -> String {
    let name = &case.credential.spec.target.name;
    let who = case.seen.target.facts().and_then(|f| f.other_manager.as_deref());
    let what = if case.seen.target.facts().is_some() { "changes" } else { "deletes" };
    format!(
        "{} keeps {} Secret \"{name}\" after the operator has written it: stop it from managing this Secret, or choose another target.name",
        who.map_or_else(
            || "somebody".to_owned(),
            |who| format!("field manager \"{}\"", super::trouble::clean(who, &[]))
        ),
        if what == "changes" { "changing" } else { "deleting" },
    )
}

/// What the conditions are made from.
struct Facts<'a> {
    usable: bool,
    rejected: bool,
    name: &'a str,
    case: &'a Case<'a>,
}

fn conditions(
    next: &mut SquadcastCredentialStatus,
    verdict: &Verdict,
    facts: &Facts<'_>,
    generation: i64,
    now: Timestamp,
) {
    let name = facts.name;
    let list = &mut next.conditions;
    match verdict {
        Verdict::Unchanged => {}
        Verdict::Synced => {
            let message = format!("Secret \"{name}\" is as this resource asks for");
            api::set(list, ConditionType::Synced, true, Reason::Synced, message, generation, now);
            list.retain(|c| c.type_ != ConditionType::Stalled.as_str());
        }
        Verdict::Not { reason, message, stalled } => {
            api::set(list, ConditionType::Synced, false, *reason, message.clone(), generation, now);
            match stalled {
                Some((reason, message)) => {
                    api::set(list, ConditionType::Stalled, true, *reason, message.clone(), generation, now);
                }
                None => list.retain(|c| c.type_ != ConditionType::Stalled.as_str()),
            }
        }
    }
    let (ready, reason, message) = if facts.usable {
        (true, Reason::TokenValid, format!("Secret \"{name}\" holds a valid token"))
    } else {
        let (reason, message) = why_not_ready(list, facts);
        (false, reason, message)
    };
    api::set(list, ConditionType::Ready, ready, reason, message, generation, now);
    list.sort_by_key(|c| match c.type_.as_str() {
        "Ready" => 0,
        "Synced" => 1,
        _ => 2,
    });
}

fn why_not_ready(list: &[Condition], facts: &Facts<'_>) -> (Reason, String) {
    let name = facts.name;
    let synced = api::find(list, ConditionType::Synced).filter(|c| !c.is_true());
    if facts.rejected {
        let said = [synced, api::find(list, ConditionType::Stalled)]
            .into_iter()
            .flatten()
            .find(|c| c.reason() == Some(Reason::RefreshTokenRejected));
        let message = said.map_or_else(
            || {
                format!(
                    "Squadcast rejected the refresh token from which the token in Secret \"{name}\" was minted, and has revoked both: create a new refresh token in Squadcast's web application and store it in Secret \"{}\"",
                    facts.case.credential.spec.refresh_token_secret_ref.name
                )
            },
            |c| c.message.clone(),
        );
        return (Reason::RefreshTokenRejected, message);
    }
    if let Some((reason, message)) = synced.and_then(|c| Some((c.reason()?, c.message.clone()))) {
        return (reason, message);
    }
    let message = match facts.case.seen.target.facts() {
        None => format!("Secret \"{name}\" does not exist: the operator is about to write it"),
        Some(_) if facts.case.seen.target.edited() => {
            format!(
                "the data of Secret \"{name}\" was changed by somebody else: the operator is about to write it again"
            )
        }
        Some(_) => format!("Secret \"{name}\" holds no valid token: the operator is about to renew it"),
    };
    (Reason::TokenExpired, message)
}

fn issue_note(case: &Case<'_>, issued: &Issued, next: &SquadcastCredentialStatus, name: &str) -> Note {
    let first = case.history.last_renewed_at.is_none();
    let until = local(&issued.grant, issued.grant.expires_at);
    let mut text = format!("wrote a {} token into Secret \"{name}\"", if first { "first" } else { "new" });
    for (what, at) in [("expires", until), ("renews", next.renew_at)] {
        if let Some(at) = at {
            text.push_str(&format!(", {what} {at}"));
        }
    }
    Note { warning: false, reason: if first { "TokenIssued" } else { "TokenRenewed" }, text }
}

fn rotation_note(case: &Case<'_>) -> Note {
    let spec = &case.credential.spec;
    let source = &spec.refresh_token_secret_ref.name;
    let text = match spec.refresh_token_rotation {
        crate::api::RefreshTokenRotation::Ignore => format!(
            "Squadcast answered with another refresh token than the one in Secret \"{source}\", which stays as it is: if it is rejected later, store a new one, or set spec.refreshTokenRotation to WriteBack"
        ),
        crate::api::RefreshTokenRotation::WriteBack => {
            format!(
                "Squadcast answered with another refresh token, which was written into Secret \"{source}\""
            )
        }
    };
    Note { warning: true, reason: "RefreshTokenRotated", text }
}

/// Folds the restarts of workloads into the verdict: they never hold up the token.
#[allow(clippy::too_many_arguments, reason = "the parts of one report")]
fn after_restarts(
    case: &Case<'_>,
    verdict: Verdict,
    restarts: &Restarts,
    facts: Option<&Arc<SecretFacts>>,
    next: &mut SquadcastCredentialStatus,
    events: &mut Vec<Note>,
    wake: &mut Option<Timestamp>,
    now: Timestamp,
) -> Verdict {
    let hash = || facts.and_then(|f| f.token.as_ref()).map(|t| t.data_hash.to_string());
    if case.credential.spec.rollout_restart_targets.is_empty() {
        next.restarted_data_hash = None;
    }
    match restarts {
        Restarts::NotDue => verdict,
        Restarts::FirstIssue => {
            next.restarted_data_hash = hash();
            verdict
        }
        Restarts::Done(names) => {
            next.restarted_data_hash = hash();
            events.push(Note {
                warning: false,
                reason: "RolloutRestarted",
                text: format!(
                    "restarted {} after a change of Secret \"{}\"",
                    names.join(", "),
                    case.credential.spec.target.name
                ),
            });
            verdict
        }
        Restarts::Waiting(until) => {
            // `succeed` has cleared what is still being counted here.
            next.failures = case.history.failures;
            next.next_attempt_at = case.history.next_attempt_at;
            *wake = Some(wake.map_or(*until, |at| at.min(*until)));
            match case.history.condition(ConditionType::Synced) {
                Some(c) => Verdict::Not {
                    reason: Reason::RolloutRestartFailed,
                    message: c.message.clone(),
                    stalled: None,
                },
                None => verdict,
            }
        }
        Restarts::Failed(message) => {
            let counting = case.history.reason(ConditionType::Synced) == Some(Reason::RolloutRestartFailed);
            let before = if counting { case.history.failure_count() } else { 0 };
            let fingerprint = case.seen.fingerprint();
            let until = whole_seconds(plus(now, schedule::back_off(before, None, fingerprint)));
            next.failures = Some(i32::try_from(before.saturating_add(1)).unwrap_or(i32::MAX));
            next.last_failure_at = Some(whole_seconds(now));
            next.next_attempt_at = Some(until);
            next.last_attempt_fingerprint = fingerprint.map(|f| f.to_string());
            *wake = Some(wake.map_or(until, |at| at.min(until)));
            Verdict::Not { reason: Reason::RolloutRestartFailed, message: message.clone(), stalled: None }
        }
    }
}

fn outcome(decision: &Decision, acted: &Acted) -> &'static str {
    match (acted, decision) {
        (Acted::Issued(_), _) => "issued",
        (Acted::Rewritten(_), _) => "rewritten",
        (Acted::Failed(_), _) => "failed",
        (Acted::Blocked(_), _) | (_, Decision::Blocked(_)) => "blocked",
        (_, Decision::Suspended) => "suspended",
        (_, Decision::Contested { .. } | Decision::BackOff { .. } | Decision::TooSoon { .. }) => "waiting",
        _ => "unchanged",
    }
}
