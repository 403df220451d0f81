//! While a reconcile waits for Squadcast, time goes on: a token may expire, or already be of no use. That is told
//! then, not when the answer comes.

use std::pin::Pin;

use jiff::Timestamp;
use tracing::debug;

use super::{Acted, Aftermath, Case, Context, Credential, Decision, log, report, status};
use crate::{
    api::{Condition, ConditionType, SquadcastCredentialStatus},
    schedule::plus,
};

/// A quick answer is awaited this long before anything is told, in seconds, so that `Ready` does not flap.
const QUICK: i64 = 1;

/// Waits for an attempt, and keeps `Ready` true to the facts meanwhile. Also returns the resource as it then is,
/// where its status was written.
pub(super) async fn attempt<T>(
    ctx: &Context,
    case: &Case<'_>,
    now: Timestamp,
    mut attempt: Pin<Box<impl Future<Output = T>>>,
) -> (T, Option<Credential>) {
    let expires = case.held(now).filter(|held| held.usable).map(|held| held.token.life.expires);
    let mut told: Option<Credential> = None;
    for at in [Some(plus(now, QUICK)), expires].into_iter().flatten() {
        let wait = at.duration_since(ctx.now()).try_into().unwrap_or_default();
        tokio::select! {
            biased;
            done = &mut attempt => return (done, told),
            () = tokio::time::sleep(wait) => {}
        }
        let credential = told.as_ref().unwrap_or(case.credential());
        let history = told.as_ref().map_or(case.history, |t| &t.status);
        let as_told = Case { history, ..*case };
        // As it is during a back-off: nothing is said of the attempt, only of the token.
        let waiting = Decision::BackOff { until: at };
        let next = report(&as_told, &waiting, &Acted::Nothing, &Aftermath::default(), ctx.now()).status;
        let ready = |status: &SquadcastCredentialStatus| {
            status.condition(ConditionType::Ready).is_some_and(Condition::is_true)
        };
        // Only a promise that does not hold any more is taken back; all else can wait for the answer.
        if !ready(history) || ready(&next) || !(ctx.may_act)() || !(ctx.still_there)(credential) {
            continue;
        }
        match status::write(&ctx.client, credential, &next).await {
            Ok(Some(resource_version)) => {
                log::not_ready(credential, &next);
                told = Some(Credential { resource_version, status: next, ..credential.clone() });
            }
            Ok(None) => {}
            Err(why) => debug!(error = why, "could not write the status while waiting for Squadcast"),
        }
    }
    (attempt.await, told)
}
