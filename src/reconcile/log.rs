//! What a reconcile logs of its resource, with namespace, name and reason.

use tracing::{info, warn};

use super::{Credential, Ending, Report};
use crate::api::{Condition, ConditionType, SquadcastCredentialStatus};

/// One line where `Ready` turns False: nothing else tells of it when it happens between two attempts.
pub(super) fn not_ready(credential: &Credential, next: &SquadcastCredentialStatus) {
    let ready = next.condition(ConditionType::Ready);
    let was = credential.status.condition(ConditionType::Ready).is_some_and(Condition::is_true);
    if let Some(ready) = ready.filter(|ready| was && !ready.is_true()) {
        warn!(
            namespace = credential.key.namespace(),
            name = credential.key.name(),
            reason = &*ready.reason,
            "there is no usable token any more: {}",
            ready.message
        );
    }
}

/// One line for each outcome.
pub(super) fn report(credential: &Credential, report: &Report) {
    not_ready(credential, &report.status);
    if matches!(report.ending, Ending::Unchanged | Ending::Waiting) && report.events.is_empty() {
        return;
    }
    let (namespace, name, outcome) =
        (credential.key.namespace(), credential.key.name(), report.ending.as_str());
    let synced = report.status.condition(ConditionType::Synced);
    let reason = synced.map_or("", |c| &*c.reason);
    let message = synced.map_or("", |c| &*c.message);
    if matches!(report.ending, Ending::Failed | Ending::Blocked) {
        warn!(namespace, name, reason, outcome, "{message}");
    } else {
        let renews = report.status.renew_at.map(|t| t.to_string());
        info!(namespace, name, reason, outcome, renews, "{message}");
    }
}
