//! What follows an attempt and never holds up the token: former targets go, workloads restart, and what the
//! resource wants on the target besides the token is kept.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    Case, Context, Input, Learned, Memory, act,
    memory::Leftover,
    restart::{Restarts, restart},
};
use crate::{
    schedule::{self, plus, whole_seconds},
    secret::{SecretFacts, metadata_is_current},
};

/// How that went.
#[derive(Clone, Default)]
pub struct Aftermath {
    /// The restarts of workloads.
    pub restarts: Restarts,
    /// Former targets that are still there.
    pub leftover: Option<Leftover>,
}

/// Former targets are deleted and workloads restarted, once the target is as it should be.
pub(super) async fn afterwards(
    ctx: &Context,
    case: &Case<'_>,
    memory: &mut Memory,
    learned: &Learned,
) -> Aftermath {
    let before = memory.leftover.take().map(|leftover| *leftover);
    let leftover = if case.renamed() { tidy_up(ctx, case.input, before).await } else { None };
    memory.leftover = leftover.clone().map(Box::new);
    let target = case.credential().target();
    let latest: Option<Arc<SecretFacts>> = learned
        .secrets
        .iter()
        .rev()
        .find(|(key, _)| *key == target)
        .and_then(|(_, facts)| facts.clone())
        .or_else(|| case.seen.target.facts().cloned());
    let restarts = match latest {
        Some(facts) => restart(ctx, case, &facts, ctx.now()).await,
        None => Restarts::NotDue,
    };
    Aftermath { restarts, leftover }
}

/// Deletes former targets, or waits for the time to try again.
async fn tidy_up(ctx: &Context, input: &Input, before: Option<Leftover>) -> Option<Leftover> {
    if input.former_targets.is_empty() {
        return None;
    }
    let now = ctx.now();
    if let Some(waiting) = before.clone().filter(|leftover| (leftover.at..leftover.until).contains(&now)) {
        return Some(waiting);
    }
    let trouble = act::remove_former_targets(ctx, &input.former_targets).await?;
    let failures = before.map_or(0, |leftover| leftover.failures);
    let until = whole_seconds(plus(now, schedule::back_off(failures, None, None)));
    Some(Leftover { trouble, failures: failures.saturating_add(1), at: whole_seconds(now), until })
}

/// While no exchange succeeds, labels, annotations and owners are still kept as the resource wants them. Whether
/// that works out is not told: what stands in the way is told already.
pub(super) async fn keep_up(
    ctx: &Context,
    case: &Case<'_>,
    now: Timestamp,
    memory: &mut Memory,
    learned: &mut Learned,
) {
    let held = case.held(now).is_some();
    let current = case.seen.target.facts().is_none_or(|facts| metadata_is_current(case.desired(), facts));
    let contested = !case.spec_changed() && schedule::next_repair(&memory.rewrites, now).is_some();
    if held && !current && !contested && case.input.rival.is_none() && !case.credential().spec.suspend {
        memory.rewritten(now);
        let acted = act::rewrite(ctx, case).await;
        learned.wrote(case.credential(), &acted);
    }
}
