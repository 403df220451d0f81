//! The third room: does what was decided. Talks to Squadcast and the API server; every write to the target
//! carries the uid and resource version that were examined.

mod target;

use std::sync::Arc;

use jiff::Timestamp;

use self::target::{may_write, refused};
pub(super) use self::target::{remove_former_targets, rewrite};
use super::{
    Case, Context, Input, Known, Memory, Pending,
    decide::{Blocked, Decision, LastFailure, Why, render_problem},
    memory::local,
    observe::{FoundToken, Source, Target},
    rotation::{self, WrittenBack},
    trouble::{Refusal, Trouble, spellings},
};
use crate::{
    secret::{
        self, SecretMeta, TokenNotes, api,
        render::{self, Inputs},
        template_hash,
    },
    slots::Slot,
    squadcast::{Ask, Duty, Grant, Moment, Outcome, Region},
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
    /// So it is with the refresh token, by a write-back that was waited for: for the same needs, answers that are
    /// requested from here on are good enough.
    Replaced(Moment),
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

impl Acted {
    /// The target is as the resource asks for. What is to follow a token can follow: see `aftermath.rs`.
    pub fn is_done(&self, decision: &Decision) -> bool {
        match self {
            Self::Issued(_) | Self::Rewritten(_) => true,
            Self::Nothing => matches!(decision, Decision::Fine { .. }),
            Self::Blocked(_) | Self::Failed(_) | Self::Changed | Self::Replaced(_) | Self::Dropped => false,
        }
    }
}

/// Carries out an exchange, a pending write or a rewrite.
pub async fn act(
    ctx: &Context,
    slot: &Slot,
    case: &Case<'_>,
    memory: &mut Memory,
    decision: &Decision,
    now: Timestamp,
) -> Acted {
    let (Some(region), Source::Found(found)) = (case.region(), &case.seen.source) else {
        return Acted::Nothing;
    };
    if let Decision::Rewrite { .. } = decision {
        if !case.spec_changed() {
            memory.rewritten(now);
        }
        return rewrite(ctx, case).await;
    }
    let mut attempt = Attempt { ctx, slot, case, region, found, memory, now };
    match (decision, attempt.memory.pending.clone()) {
        (Decision::Exchange(why), _) => attempt.exchange(*why).await,
        (Decision::WriteBack, Some(pending)) => match attempt.write_back(pending).await {
            // What the target needs is another question.
            Ok(_) => Acted::Changed,
            Err(acted) => acted,
        },
        (Decision::WritePending, Some(pending)) => attempt.store(pending).await,
        (Decision::WriteBack | Decision::WritePending, None) => Acted::Changed,
        _ => Acted::Nothing,
    }
}

/// An attempt to get a token, or to write one that was got.
struct Attempt<'a> {
    ctx: &'a Context,
    slot: &'a Slot,
    case: &'a Case<'a>,
    region: &'a Region,
    found: &'a FoundToken,
    memory: &'a mut Memory,
    /// When it was decided.
    now: Timestamp,
}

impl Attempt<'_> {
    /// Gets a token and writes it.
    async fn exchange(&mut self, why: Why) -> Acted {
        let (ctx, case, found) = (self.ctx, self.case, self.found);
        if case.last_failure() == Some(LastFailure::Cluster { forbidden: true })
            && let Err(refused) = may_write(ctx, case).await
        {
            return refused;
        }
        let issued_before = case.issued_here();
        let after_last =
            self.memory.last_answer.map_or(Timestamp::MIN, |at| at + std::time::Duration::from_nanos(1));
        let held = case.held(self.now);
        let source = case.credential().line();
        let ask = Ask {
            region: self.region,
            token: &found.token,
            source: &source,
            since: case.seen.since,
            not_before: if why.needs_new_answer(issued_before) {
                self.now.max(after_last)
            } else {
                after_last
            },
            expires_at: held.as_ref().filter(|h| h.usable).map(|h| h.token.life.expires),
            holder: case.input.writes_back.then_some(&case.credential().key),
        };
        // A refresh token that is replaced while its exchange waits for its turn is not sent any more.
        let as_read = Input { source: Known::Facts(found.facts.clone()), ..case.input.clone() };
        // Waiting for Squadcast holds up no other work.
        let outcome = self.slot.released(ctx.exchanges.exchange(ask, || ctx.still_wanted(&as_read))).await;
        let mut late = false;
        let (grant, own, duty) = match outcome {
            Outcome::Granted { grant, own, duty } => (grant, own, duty),
            // An answer that still is to be written back is a token like any other, and the write-back comes first.
            Outcome::WriteBackPending(..)
                if why.needs_new_answer(issued_before) && !case.input.writes_back =>
            {
                return Acted::Failed(rotation::stuck(case));
            }
            Outcome::WriteBackPending(grant, duty) => {
                late = why.needs_new_answer(issued_before);
                (grant, false, duty)
            }
            Outcome::Failed(failure) => {
                self.memory.last_answer = Some(failure.requested_at);
                return Acted::Failed(Trouble::from(&failure));
            }
            Outcome::NotWanted => return Acted::Dropped,
            Outcome::Replaced(since) => return Acted::Replaced(since),
        };
        if why.is_repair(issued_before) {
            self.memory.repaired(self.now);
        }
        let pending = self.take(grant, duty, own, why);
        if late {
            // It only is what comes first; then there can be another.
            return match self.write_back(pending).await {
                Ok(_) => {
                    self.memory.pending = None;
                    Acted::Changed
                }
                Err(acted) => acted,
            };
        }
        self.store(pending).await
    }

    /// Remembers a token until it is written.
    fn take(&mut self, grant: Arc<Grant>, duty: Option<Duty>, own: bool, why: Why) -> Pending {
        let (case, fingerprint) = (self.case, self.found.fingerprint);
        self.memory.last_answer = Some(grant.requested_at);
        self.memory.last_grant = self.memory.last_grant.max(Some(grant.received_at));
        let credential = case.credential();
        let rotates = grant.rotated.is_some();
        let pending = Pending {
            fingerprint,
            duty: duty.map(Arc::new),
            tell_rotation: rotates && own,
            request: (why == Why::Requested).then(|| credential.renew_request.clone()).flatten(),
            grant,
        };
        self.memory.pending = Some(pending.clone());
        pending
    }

    /// Writes a rotated refresh token into the source. The pending token is that of the new one then.
    async fn write_back(&mut self, mut pending: Pending) -> Result<(Pending, SecretMeta), Acted> {
        if !(self.ctx.may_act)() {
            return Err(Acted::Dropped);
        }
        match rotation::write_back(self.ctx, self.case, self.found, &pending.grant).await {
            Ok(WrittenBack { secret, fingerprint }) => {
                pending.fingerprint = fingerprint;
                if let Some(duty) = pending.duty.take() {
                    duty.done();
                }
                self.memory.pending = Some(pending.clone());
                Ok((pending, secret))
            }
            Err(rotation::NotWritten::NewerValue) => {
                if let Some(duty) = &pending.duty {
                    duty.done();
                }
                self.memory.pending = None;
                Err(Acted::Changed)
            }
            Err(rotation::NotWritten::Refused(refused)) => Err(refused_write(refused)),
        }
    }

    /// Writes a token that was got: first a rotated refresh token into the source, then the target.
    async fn store(&mut self, mut pending: Pending) -> Acted {
        let (ctx, case, region) = (self.ctx, self.case, self.region);
        let mut source = None;
        if pending.duty.is_some() {
            let (saved, secret) = match self.write_back(pending).await {
                Ok(done) => done,
                Err(acted) => return acted,
            };
            pending = saved;
            source = Some(secret);
        }
        // A refresh token is saved in any case; the target is written only for one that still wants it so.
        if !(ctx.may_act)() || !(ctx.still_there)(case.credential()) {
            return Acted::Dropped;
        }
        let grant = &pending.grant;
        let spec = &case.credential().spec;
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
            issued_at: grant.issued(),
            expires_at: grant.expires_at,
            fingerprint: pending.fingerprint,
            skew: grant.skew,
            template_hash: template_hash(&spec.region, &region.api_url, spec.target.template.as_ref()),
        };
        let key = case.credential().target();
        let written = match &case.seen.target {
            Target::Absent => {
                let body = secret::create(case.desired(), &data, &notes);
                api::create(&ctx.client, key.namespace(), &body, false).await
            }
            Target::Present { facts, .. } => {
                let body = secret::patch(case.desired(), facts, &data, &notes);
                api::patch(&ctx.client, key.namespace(), key.name(), &body, false).await
            }
        };
        match written {
            Ok(target) => {
                self.memory.pending = None;
                let later = case.held(self.now).is_none_or(|held| {
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
                let tokens = spellings(Some(&grant.access_token), Some(&self.found.token));
                refused(ctx, case, &error, &format!("write Secret \"{}\"", spec.target.name), tokens).await
            }
        }
    }
}

fn refused_write(refusal: Refusal) -> Acted {
    match refusal {
        Refusal::Changed => Acted::Changed,
        Refusal::NamespaceGone => Acted::Dropped,
        Refusal::Trouble(trouble) => Acted::Failed(trouble),
    }
}
