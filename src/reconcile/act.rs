//! The third room: does what was decided. Talks to Squadcast and the API server; every write to the target
//! carries the uid and resource version that were examined.

mod target;

use std::sync::Arc;

use jiff::Timestamp;

use self::target::{may_write, refused};
pub(super) use self::target::{remove_former_targets, rewrite};
use super::{
    Case, Context, Input, Known, Memory, Pending,
    decide::{Blocked, Decision, Why, render_problem},
    memory::{Duty, local},
    observe::{FoundToken, Source, Target},
    rotation::{self, WrittenBack},
    trouble::{Refusal, Trouble, spellings},
};
use crate::{
    api::Reason,
    secret::{
        self, SecretMeta, TokenNotes, api,
        render::{self, Inputs},
        template_hash,
    },
    slots::Slot,
    squadcast::{Ask, Grant, Outcome, Region},
};

/// What came of a decision.
pub enum Acted {
    /// Nothing was to be done.
    Nothing,
    /// A token is in the target that was not there before.
    Issued(Box<Issued>),
    /// Labels, annotations or owners were written.
    Rewritten(Box<SecretMeta>),
    /// It does not go as it is.
    Blocked(Blocked),
    /// The attempt failed.
    Failed(Trouble),
    /// Something is not as it was examined: look again.
    Changed,
    /// The resource does not want it any more, or it may not be done any more; somebody else reports.
    Dropped,
}

/// A token that was written.
pub struct Issued {
    /// The target as it is now.
    pub target: SecretMeta,
    /// The token.
    pub grant: Arc<Grant>,
    /// It expires later than the one held before.
    pub later: bool,
    /// The refresh token of the answer differs and this resource is the one to tell.
    pub rotated: bool,
    /// The source as it is now, where a refresh token was written back.
    pub source: Option<SecretMeta>,
}

#[allow(clippy::too_many_arguments, reason = "what one walk through the rooms carries along")]
/// Carries out an exchange, a pending write or a rewrite.
pub async fn act(
    ctx: &Context,
    slot: &Slot,
    input: &Input,
    case: &Case<'_>,
    memory: &mut Memory,
    decision: &Decision,
    now: Timestamp,
) -> Acted {
    let (Some(region), Source::Found(found)) = (case.region, &case.seen.source) else {
        return Acted::Nothing;
    };
    match decision {
        Decision::Exchange(why) => exchange(ctx, slot, input, case, memory, region, found, *why, now).await,
        Decision::WriteBack => match memory.pending.clone() {
            Some(pending) => match write_back(ctx, case, memory, found, pending).await {
                // What the target needs is another question.
                Ok(_) => Acted::Changed,
                Err(acted) => acted,
            },
            None => Acted::Changed,
        },
        Decision::WritePending => match memory.pending.clone() {
            Some(pending) => store(ctx, case, memory, region, found, pending, now).await,
            None => Acted::Changed,
        },
        Decision::Rewrite { .. } => {
            if !case.spec_changed() {
                memory.rewritten(now);
            }
            rewrite(ctx, case).await
        }
        _ => Acted::Nothing,
    }
}

#[allow(clippy::too_many_arguments, reason = "what one walk through the rooms carries along")]
async fn exchange(
    ctx: &Context,
    slot: &Slot,
    input: &Input,
    case: &Case<'_>,
    memory: &mut Memory,
    region: &Region,
    found: &FoundToken,
    why: Why,
    now: Timestamp,
) -> Acted {
    if case.history.reason(crate::api::ConditionType::Synced) == Some(Reason::Forbidden)
        && let Err(refused) = may_write(ctx, case).await
    {
        return refused;
    }
    let issued_before = case.issued_here();
    let after_last = memory.last_answer.map_or(Timestamp::MIN, |at| at + std::time::Duration::from_nanos(1));
    let held = case.held(now);
    let ask = Ask {
        region,
        token: &found.token,
        not_before: if why.needs_new_answer(issued_before) { now.max(after_last) } else { after_last },
        expires_at: held.as_ref().filter(|h| h.usable).map(|h| h.token.life.expires),
        hold_on_rotation: case.writes_back,
    };
    // A refresh token that is replaced while its exchange waits for its turn is not sent any more.
    let as_read = Input { source: Known::Facts(found.facts.clone()), ..input.clone() };
    // Waiting for Squadcast holds up no other work.
    let outcome = slot.released(ctx.exchanges.exchange(ask, || ctx.still_wanted(&as_read))).await;
    let mut late = false;
    let (grant, own) = match outcome {
        Outcome::Granted { grant, own } => (grant, own),
        // An answer that still is to be written back is a token like any other, and the write-back comes first.
        Outcome::WriteBackPending(grant) if why.needs_new_answer(issued_before) && !case.writes_back => {
            drop(grant);
            return Acted::Failed(rotation::stuck(case));
        }
        Outcome::WriteBackPending(grant) => {
            late = why.needs_new_answer(issued_before);
            (grant, false)
        }
        Outcome::Failed(failure) => {
            memory.last_answer = Some(failure.requested_at);
            return Acted::Failed(Trouble::from(&failure));
        }
        Outcome::NotWanted => return Acted::Dropped,
    };
    memory.last_answer = Some(grant.requested_at);
    memory.last_grant = memory.last_grant.max(Some(grant.received_at));
    if why.is_repair(issued_before) {
        memory.repaired(now);
    }
    let rotates = grant.rotated.is_some();
    let pending = Pending {
        fingerprint: found.fingerprint,
        duty: (rotates && case.writes_back)
            .then(|| Duty::new(ctx.exchanges.clone(), found.fingerprint, case.credential.key.clone()))
            .map(Arc::new),
        tell_rotation: rotates && own,
        request: (why == Why::Requested).then(|| case.credential.renew_request.clone()).flatten(),
        grant,
    };
    memory.pending = Some(pending.clone());
    if late {
        // It only is what comes first; then there can be another.
        return match write_back(ctx, case, memory, found, pending).await {
            Ok(_) => {
                memory.pending = None;
                Acted::Changed
            }
            Err(acted) => acted,
        };
    }
    store(ctx, case, memory, region, found, pending, now).await
}

/// Writes a rotated refresh token into the source. The pending token is that of the new one then.
async fn write_back(
    ctx: &Context,
    case: &Case<'_>,
    memory: &mut Memory,
    found: &FoundToken,
    mut pending: Pending,
) -> Result<(Pending, SecretMeta), Acted> {
    if !(ctx.may_act)() {
        return Err(Acted::Dropped);
    }
    match rotation::write_back(ctx, case, found, &pending.grant).await {
        Ok(WrittenBack { secret, fingerprint }) => {
            pending.fingerprint = fingerprint;
            if let Some(duty) = pending.duty.take() {
                duty.done();
            }
            memory.pending = Some(pending.clone());
            Ok((pending, secret))
        }
        Err(rotation::NotWritten::NewerValue) => {
            if let Some(duty) = &pending.duty {
                duty.done();
            }
            memory.pending = None;
            Err(Acted::Changed)
        }
        Err(rotation::NotWritten::Refused(refused)) => Err(refused_write(refused)),
    }
}

/// Writes a token that was got: first a rotated refresh token into the source, then the target.
async fn store(
    ctx: &Context,
    case: &Case<'_>,
    memory: &mut Memory,
    region: &Region,
    found: &FoundToken,
    mut pending: Pending,
    now: Timestamp,
) -> Acted {
    let mut source = None;
    if pending.duty.is_some() {
        let (saved, secret) = match write_back(ctx, case, memory, found, pending).await {
            Ok(done) => done,
            Err(acted) => return acted,
        };
        pending = saved;
        source = Some(secret);
    }
    // A refresh token is saved in any case; the target is written only for one that still wants it so.
    if !(ctx.may_act)() || !(ctx.still_there)(case.credential) {
        return Acted::Dropped;
    }
    let grant = &pending.grant;
    let spec = &case.credential.spec;
    let inputs = Inputs {
        access_token: grant.access_token.expose(),
        token_type: &grant.token_type,
        issued_at: grant.issued_at,
        expires_at: grant.expires_at,
        region: &region.name,
        api_url: &region.api_url,
    };
    let data = match render::render(spec.target.template.as_ref(), &inputs) {
        Ok(data) => data,
        Err(error) => return Acted::Blocked(render_problem(&error, &spec.target.name)),
    };
    let notes = TokenNotes {
        issued_at: effective_issue(grant),
        expires_at: grant.expires_at,
        fingerprint: pending.fingerprint,
        skew: grant.skew,
        template_hash: template_hash(&spec.region, &region.api_url, spec.target.template.as_ref()),
    };
    let key = case.credential.target();
    let written = match &case.seen.target {
        Target::Absent => {
            let body = secret::create(case.desired(), &data, &notes);
            api::create(&ctx.client, &key.namespace, &body, false).await
        }
        Target::Present { facts, .. } => {
            let body = secret::patch(case.desired(), facts, &data, &notes);
            api::patch(&ctx.client, &key.namespace, &key.name, &body, false).await
        }
    };
    match written {
        Ok(target) => {
            memory.pending = None;
            let later = case.held(now).is_none_or(|held| {
                local(grant, grant.expires_at).is_some_and(|at| at > held.token.life.expires)
            });
            Acted::Issued(Box::new(Issued {
                target,
                grant: grant.clone(),
                later,
                rotated: pending.tell_rotation,
                source,
            }))
        }
        Err(error) => {
            let tokens = spellings(Some(&grant.access_token), Some(&found.token));
            refused(ctx, case, &error, &format!("write Secret \"{}\"", spec.target.name), tokens).await
        }
    }
}

/// Squadcast's `issued_at`, or the moment of the answer where that makes no sense.
fn effective_issue(grant: &Grant) -> i64 {
    const TEN_YEARS: i64 = 10 * 365 * 86_400;
    let answered = grant.received_at.as_second().saturating_add(grant.skew);
    let life = grant.expires_at.saturating_sub(grant.issued_at);
    if life <= 0 || life > TEN_YEARS { answered } else { grant.issued_at }
}

fn refused_write(refusal: Refusal) -> Acted {
    match refusal {
        Refusal::Changed => Acted::Changed,
        Refusal::NamespaceGone => Acted::Dropped,
        Refusal::Trouble(trouble) => Acted::Failed(trouble),
    }
}
