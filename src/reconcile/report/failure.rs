//! Failures: how they are counted, when the next attempt comes, and from when on someone must act.

use jiff::Timestamp;

use super::{Case, Trouble, Verdict, advice};
use crate::{
    api::{ConditionType, Reason, SquadcastCredentialStatus},
    schedule::{self, plus, whole_seconds},
};

/// A failed attempt and what its counting depends on.
pub(super) struct Failed<'a> {
    pub(super) case: &'a Case<'a>,
    pub(super) trouble: &'a Trouble,
    /// Seconds of life left of the token that is held, 0 where it is of no use; none where none is held.
    pub(super) left: Option<i64>,
    /// The token that is held can be used.
    pub(super) usable: bool,
    pub(super) now: Timestamp,
}

impl Failed<'_> {
    /// Counts the failure, sets the next attempt, and says how it stands.
    pub(super) fn count(&self, status: &mut SquadcastCredentialStatus) -> Verdict {
        let history = self.case.history;
        let synced = history.reason(ConditionType::Synced);
        let reason = self.trouble.reason;
        // Where the source could not be read, nothing says that it is another than before.
        let fingerprint = self.case.seen.fingerprint();
        let tried =
            fingerprint.map_or_else(|| history.last_attempt_fingerprint.clone(), |f| Some(f.to_string()));
        let of_restarts = |reason| reason == Some(Reason::RolloutRestartFailed);
        let in_a_row = history.last_attempt_fingerprint == tried
            && of_restarts(synced) == of_restarts(Some(reason))
            && !self.case.leaves_leftovers();
        let before = if in_a_row { history.failure_count() } else { 0 };
        let confirmed = before > 0 && synced.is_some_and(Reason::is_rejection);

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
