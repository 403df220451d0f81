//! How the last attempt ended: how failures are counted, when the next attempt comes, and from when on someone must
//! act. Former targets and restarts of workloads count as attempts of their own that hold up no token.

use jiff::Timestamp;

use super::{
    Acted, Blocked, Case, Decision, Draft, Held, LastFailure, Leftover, Restarts, Trouble, advice, notes,
};
use crate::{
    api::{ConditionType, Reason, SquadcastCredentialStatus},
    redact::clean,
    schedule::{self, plus, seconds_between, whole_seconds},
    secret::SecretFacts,
};

/// How the last attempt ended, for the conditions `Synced` and `Stalled`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It did what it should.
    Synced,
    /// As the status says already.
    Unchanged,
    /// It did not.
    Not {
        reason: Reason,
        message: String,
        /// Someone must act: why.
        stalled: Option<(Reason, String)>,
    },
}

impl Draft<'_> {
    /// How the attempt ended, and when the next one comes.
    pub(super) fn judge(&mut self, decision: &Decision, acted: &Acted, held: Option<&Held<'_>>) -> Verdict {
        match (acted, decision) {
            _ if acted.is_done(decision) => {
                self.wake = self.status.renew_at;
                self.status.target_name = Some(self.case.credential().spec.target.name.clone());
                self.status.failures = None;
                self.status.next_attempt_at = None;
                Verdict::Synced
            }
            (Acted::Blocked(blocked), _) | (_, Decision::Blocked(blocked)) => self.blocked(blocked),
            (Acted::Failed(trouble), _) => self.failed(trouble, held),
            (_, Decision::Contested { until }) => {
                self.wake = Some(*until);
                self.status.next_attempt_at = Some(whole_seconds(*until));
                Verdict::Not { reason: Reason::TargetContested, message: contested(self.case), stalled: None }
            }
            (_, Decision::Suspended) => Verdict::Not {
                reason: Reason::Suspended,
                message: "spec.suspend is true: the operator makes no exchange and writes no Secret; set it to false to go on"
                    .to_owned(),
                stalled: None,
            },
            (_, Decision::BackOff { until } | Decision::TooSoon { until }) => {
                self.wake = Some(*until);
                Verdict::Unchanged
            }
            _ => Verdict::Unchanged,
        }
    }

    fn blocked(&mut self, blocked: &Blocked) -> Verdict {
        self.wake = Some(plus(self.now, schedule::RECHECK));
        if self.case.history.reason(ConditionType::Synced) != Some(blocked.reason) {
            self.status.last_failure_at = Some(whole_seconds(self.now));
        }
        Verdict::Not {
            reason: blocked.reason,
            message: blocked.message.clone(),
            stalled: blocked.stalled.then(|| (blocked.reason, blocked.message.clone())),
        }
    }

    fn failed(&mut self, trouble: &Trouble, held: Option<&Held<'_>>) -> Verdict {
        let left = held.map(|h| if h.usable { seconds_between(self.now, h.token.life.expires) } else { 0 });
        let usable = held.is_some_and(|h| h.usable);
        let failed = Failed { case: self.case, trouble, left, usable, now: self.now };
        let verdict = failed.count(&mut self.status);
        // The status holds whole seconds; whoever was told to wait must not come a moment too early.
        let late = i64::from(trouble.asked_to_wait.is_some());
        self.wake = self.status.next_attempt_at.map(|at| plus(at, late));
        verdict
    }

    /// Takes the restarts of workloads into the verdict: they never hold up the token.
    pub(super) fn fold_in(
        &mut self,
        restarts: &Restarts,
        verdict: Verdict,
        facts: Option<&SecretFacts>,
    ) -> Verdict {
        if self.case.credential().spec.rollout_restart_targets.is_empty() {
            self.status.restarted_data_hash = None;
        }
        let hash = facts.and_then(|f| f.token.as_ref()).map(|t| t.data_hash.to_string());
        match restarts {
            Restarts::NotDue => verdict,
            Restarts::FirstIssue => {
                self.status.restarted_data_hash = hash;
                verdict
            }
            Restarts::Done(names) => {
                self.status.restarted_data_hash = hash;
                self.events.push(notes::restarted(self.case, names));
                verdict
            }
            Restarts::Waiting(until) => {
                // They are still being counted.
                self.status.failures = self.case.history.failures;
                self.status.next_attempt_at = self.case.history.next_attempt_at;
                self.wake_by(*until);
                let synced = self.case.history.condition(ConditionType::Synced);
                let message = synced.map(|c| c.message.clone()).unwrap_or_default();
                Verdict::Not { reason: Reason::RolloutRestartFailed, message, stalled: None }
            }
            Restarts::Failed(message) => {
                let trouble = Trouble::new(Reason::RolloutRestartFailed, message.clone());
                let failed =
                    Failed { case: self.case, trouble: &trouble, left: None, usable: false, now: self.now };
                let verdict = failed.count(&mut self.status);
                if let Some(next) = self.status.next_attempt_at {
                    self.wake_by(next);
                }
                verdict
            }
        }
    }

    /// Takes former targets that are still there into the verdict: they hold up nothing else.
    pub(super) fn fold_in_leftover(&mut self, leftover: Option<&Leftover>, verdict: Verdict) -> Verdict {
        let Some(leftover) = leftover else { return verdict };
        self.wake_by(leftover.until);
        // Until they are gone, the status speaks of them.
        self.status.target_name.clone_from(&self.case.history.target_name);
        if verdict != Verdict::Synced {
            return verdict;
        }
        self.status.failures = Some(i32::try_from(leftover.failures).unwrap_or(i32::MAX));
        self.status.last_failure_at = Some(leftover.at);
        self.status.next_attempt_at = Some(leftover.until);
        let Trouble { reason, message, .. } = leftover.trouble.clone();
        Verdict::Not { reason, message, stalled: None }
    }
}

/// A failed attempt and what its counting depends on.
struct Failed<'a> {
    case: &'a Case<'a>,
    trouble: &'a Trouble,
    /// Seconds of life left of the token that is held, 0 where it is of no use; none where none is held.
    left: Option<i64>,
    /// The token that is held can be used.
    usable: bool,
    now: Timestamp,
}

impl Failed<'_> {
    /// Counts the failure, sets the next attempt, and says how it stands.
    fn count(&self, status: &mut SquadcastCredentialStatus) -> Verdict {
        let history = self.case.history;
        let last = self.case.last_failure();
        let reason = self.trouble.reason;
        // Where the source could not be read, nothing says that it is another than before.
        let fingerprint = self.case.seen.fingerprint();
        let tried =
            fingerprint.map_or_else(|| history.last_attempt_fingerprint.clone(), |f| Some(f.to_string()));
        let of_restarts = reason == Reason::RolloutRestartFailed;
        let in_a_row = history.last_attempt_fingerprint == tried
            && of_restarts == (last == Some(LastFailure::Restarts))
            && last != Some(LastFailure::Leftovers);
        let before = if in_a_row { history.failure_count() } else { 0 };
        let confirmed = before > 0 && last == Some(LastFailure::Rejected);

        let usable_left = self.left.filter(|_| self.usable);
        let wait = if reason.is_rejection() {
            if self.usable && !confirmed {
                schedule::CONFIRM_REJECTION
            } else {
                schedule::after_rejection(usable_left)
            }
        } else if let Some(asked) = self.trouble.asked_to_wait {
            schedule::after_rate_limit(asked, usable_left)
        } else {
            schedule::back_off(before, self.left, fingerprint)
        };
        status.failures = Some(i32::try_from(before.saturating_add(1)).unwrap_or(i32::MAX));
        status.last_failure_at = Some(whole_seconds(self.now));
        status.next_attempt_at = Some(whole_seconds(plus(self.now, wait)));
        status.last_attempt_fingerprint = tried;

        let message = advice::told(self.case, self.trouble);
        let stalled = if reason.is_rejection() {
            (!self.usable || confirmed).then(|| (reason, message.clone()))
        } else {
            // A fault on the way does not make a rejected refresh token good.
            history
                .condition(ConditionType::Stalled)
                .filter(|_| in_a_row)
                .and_then(|c| c.reason().filter(|r| r.is_rejection()).map(|r| (r, c.message.clone())))
        };
        Verdict::Not { reason, message, stalled }
    }
}

fn contested(case: &Case<'_>) -> String {
    let facts = case.seen.target.facts();
    let who = match facts.and_then(|f| f.other_manager.as_deref()) {
        Some(who) => format!("field manager \"{}\"", clean(who, &[])),
        None => "somebody".to_owned(),
    };
    let does = if facts.is_some() { "changing" } else { "deleting" };
    format!(
        "{who} keeps {does} Secret \"{}\" after the operator has written it: stop it from managing this Secret, or choose another spec.target.name",
        case.credential().spec.target.name
    )
}
