//! What follows an attempt, as far as it tells on the status.

use super::{Draft, Failed, Leftover, Restarts, Trouble, Verdict, notes};
use crate::{
    api::{ConditionType, Reason},
    secret::SecretFacts,
};

impl Draft<'_> {
    /// Takes the restarts of workloads into the verdict: they never hold up the token.
    pub(super) fn fold_in(
        &mut self,
        restarts: &Restarts,
        verdict: Verdict,
        facts: Option<&SecretFacts>,
    ) -> Verdict {
        if self.case.credential.spec.rollout_restart_targets.is_empty() {
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
