//! `rolloutRestartTargets`: restarts workloads once for each change of the Secret's data after the first issue.
//! The workload's own annotation names the data for which it was last restarted, so that a repetition after a
//! crash changes nothing.

use http::Method;
use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde_json::json;

use super::{
    Case, Context, LastFailure,
    trouble::{Refusal, refusal},
};
use crate::{
    api::{Reason, RolloutRestartTarget, names},
    ops::requests::{self, Body},
    secret::SecretFacts,
};

/// How it stands with the restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Restarts {
    /// Nothing to restart, or nothing has changed.
    #[default]
    NotDue,
    /// The first data that these workloads see: noted, nothing restarted.
    FirstIssue,
    /// These were restarted.
    Done(Vec<String>),
    /// Some failed before; the next try comes then.
    Waiting(Timestamp),
    /// Some failed now.
    Failed(String),
}

/// The data for which restarts are due, the target being as it is now; else how it stands with them. Pure.
fn due<'a>(case: &Case<'_>, facts: &'a SecretFacts, now: Timestamp) -> Result<&'a str, Restarts> {
    let Some(token) =
        facts.token.as_ref().filter(|_| !case.credential().spec.rollout_restart_targets.is_empty())
    else {
        return Err(Restarts::NotDue);
    };
    let history = case.history;
    match history.restarted_data_hash.as_deref() {
        None => Err(Restarts::FirstIssue),
        Some(hash) if hash == &*token.data_hash => Err(Restarts::NotDue),
        Some(_) => {
            let failing = case.last_failure() == Some(LastFailure::Restarts) && !case.spec_changed();
            match history.next_attempt_at.filter(|at| failing && now < *at) {
                Some(until) => Err(Restarts::Waiting(until)),
                None => Ok(&token.data_hash),
            }
        }
    }
}

/// Restarts what is due; one workload that fails holds up no other.
pub async fn restart(ctx: &Context, case: &Case<'_>, facts: &SecretFacts, now: Timestamp) -> Restarts {
    let hash = match due(case, facts, now) {
        Ok(hash) => hash,
        Err(standing) => return standing,
    };
    let mut done = Vec::new();
    let mut failed = Vec::new();
    for target in &case.credential().spec.rollout_restart_targets {
        let described = format!("{} \"{}\"", target.kind.as_str(), target.name);
        match patch(ctx, case.credential().key.namespace(), target, hash).await {
            Ok(()) => done.push(described),
            Err(error) => failed.push(why(&error, &described)),
        }
    }
    if failed.is_empty() { Restarts::Done(done) } else { Restarts::Failed(failed.join("; ")) }
}

async fn patch(
    ctx: &Context,
    namespace: &str,
    target: &RolloutRestartTarget,
    hash: &str,
) -> Result<(), kube::Error> {
    let path = format!(
        "/apis/apps/v1/namespaces/{namespace}/{}/{}?fieldManager={}",
        target.kind.plural(),
        target.name,
        names::FIELD_MANAGER
    );
    let body = json!({ "spec": { "template": { "metadata": { "annotations": { names::ANNOTATION_RESTARTED: hash } } } } });
    requests::write::<IgnoredAny>(&ctx.client, Method::PATCH, &path, Body::MergePatch, &body).await.map(drop)
}

pub(super) fn why(error: &kube::Error, described: &str) -> String {
    let doing = format!("restart {described}");
    match refusal(error, &doing, &[]) {
        Refusal::Trouble(trouble) if trouble.reason == Reason::Forbidden => {
            format!("{}; with the Helm chart, set rbac.rolloutRestarts=true", trouble.message)
        }
        Refusal::Trouble(trouble) => trouble.message,
        Refusal::Changed => format!(
            "could not {doing}: it does not exist; create it, or remove it from spec.rolloutRestartTargets"
        ),
        Refusal::NamespaceGone => format!("could not {doing}: its namespace is being deleted"),
    }
}
