//! One walk through the rooms: observe, decide, act, report; always in this direction.
//!
//! `decide`, `ownership` and `report` are pure. `observe` reads, `act` (with `rotation` and `restart`) writes,
//! and this module carries the resource through them and writes the status.

mod act;
mod aftermath;
mod decide;
mod input;
mod learned;
mod meanwhile;
mod memory;
mod observe;
mod ownership;
mod report;
mod restart;
mod rotation;
mod status;
#[cfg(test)]
mod tests;
mod trouble;
mod unreadable;

use std::sync::Arc;

use jiff::Timestamp;
use kube::Client;
use tracing::{info, warn};

pub use self::{
    act::{Acted, Issued},
    aftermath::Aftermath,
    decide::{Blocked, Case, Decision, Why, decide},
    input::{Credential, Input, Known},
    learned::Learned,
    memory::{Duty, Leftover, Memory, Pending},
    observe::{Content, FoundToken, Observation, Source, Target},
    ownership::{Claim, claim},
    report::{Note, Report, report},
    restart::Restarts,
    trouble::Trouble,
};
use self::{
    decide::decide_unread,
    unreadable::{Unreadable, unreadable},
};
use crate::{
    api::{Condition, ConditionType, Reason, SquadcastCredentialStatus},
    schedule::plus,
    slots::Slot,
    squadcast::{Exchanges, Regions},
};

/// How often a reconcile looks again at once where something changed under its hands.
const ROUNDS: usize = 4;

/// Passes an event on.
pub type Tell = Box<dyn Fn(&Credential, Note) + Send + Sync>;

/// What every reconcile needs. Clock, permission and news of the resource come in as functions.
pub struct Context {
    /// For requests to the API server.
    pub client: Client,
    /// For exchanges with Squadcast.
    pub exchanges: Exchanges,
    /// The regions that the operator knows.
    pub regions: Regions,
    /// Only labelled Secrets may be read as sources.
    pub label_required: bool,
    /// The time.
    pub clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// Whether this process may exchange and write now: it leads, and is not stopping.
    pub may_act: Box<dyn Fn() -> bool + Send + Sync>,
    /// Whether a resource is still as a reconcile found it.
    pub still_wanted: Box<dyn Fn(&Input) -> bool + Send + Sync>,
    /// Whether a resource may still be written for: it has not been deleted, suspended or changed meanwhile.
    pub still_there: Box<dyn Fn(&Credential) -> bool + Send + Sync>,
    /// Passes an event on.
    pub tell: Tell,
}

impl Context {
    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    fn still_wanted(&self, input: &Input) -> bool {
        (self.may_act)() && (self.still_wanted)(input)
    }
}

/// What a reconcile leaves behind.
pub struct Done {
    /// To be given to the next one.
    pub memory: Memory,
    /// For the index.
    pub learned: Learned,
    /// When to look again without being woken.
    pub wake: Option<Timestamp>,
    /// One word for the metric.
    pub outcome: &'static str,
}

/// Carries one resource through the rooms.
pub async fn reconcile(ctx: &Context, slot: &Slot, input: &Input, mut memory: Memory) -> Done {
    let credential = &input.credential;
    let mut history = memory.unwritten.clone().map_or_else(|| credential.status.clone(), |status| *status);
    let mut learned = Learned::default();
    let mut look = input.clone();
    // The resource as the cluster holds it, with what this reconcile has told already.
    let mut current = Arc::clone(credential);
    for round in 1.. {
        if credential.deleting || !(ctx.may_act)() {
            break;
        }
        let seen = observe::observe(&ctx.client, &look, ctx.label_required).await;
        let now = ctx.now();
        let (seen, unread) = match seen {
            Ok(seen) => (seen, None),
            Err(error) => match unreadable(&error, &look) {
                Unreadable::Report(seen, trouble) => (seen, Some(trouble)),
                Unreadable::Gone => break,
                Unreadable::Later(why) => return later(memory, learned, credential, now, &why),
            },
        };
        memory.unreachable = 0;
        learned.secrets.clear();
        if unread.is_none() {
            learned.read(credential, &seen);
        }
        if look.writes_back
            && let Some(sent) = seen.fingerprint()
            && let Some(grant) = ctx.exchanges.left_behind(sent)
        {
            let duty = Duty::new(ctx.exchanges.clone(), sent, credential.key.clone());
            memory.pending = Some(Pending::left_behind(grant, duty));
        }
        let remembered = memory.clone();
        let regions: Vec<&str> = ctx.regions.names().collect();
        let case = Case {
            credential,
            history: &history,
            region: ctx.regions.get(&credential.spec.region),
            regions: &regions,
            rival: look.rival.as_deref(),
            holder_leaves: look.holder_leaves,
            writes_back: look.writes_back,
            seen: &seen,
            memory: &remembered,
        };
        let (decision, (mut acted, told)) = if let Some(trouble) = unread {
            let decision = decide_unread(&case, now);
            let tried = matches!(decision, Decision::Exchange(_));
            (decision, (if tried { Acted::Failed(trouble) } else { Acted::Nothing }, None))
        } else {
            let decision = decide(&case, now);
            // On the heap: in here it would make every reconcile several times as large, and what it leaves when it
            // ends is then cut up by what stays.
            let acting = Box::pin(act::act(ctx, slot, input, &case, &mut memory, &decision, now));
            let acted = meanwhile::attempt(ctx, &case, now, acting).await;
            (decision, acted)
        };
        if let Some(told) = told {
            learned.status = Some((told.resource_version.clone(), told.status.clone()));
            current = Arc::new(told);
        }
        let told_history = current.status.clone();
        let case = if current.resource_version == credential.resource_version {
            case
        } else {
            Case { history: &told_history, ..case }
        };
        match acted {
            Acted::Dropped => break,
            Acted::Changed if round < ROUNDS => {
                // What the watches told has been overtaken: read it all.
                look.source = Known::Present;
                look.target = Known::Present;
                history = case.history.clone();
                continue;
            }
            Acted::Changed => {
                let name = &credential.spec.target.name;
                acted = Acted::Failed(Trouble::new(
                    Reason::WriteFailed,
                    format!(
                        "Secret \"{name}\" kept changing while it was to be written: see who else writes it"
                    ),
                ));
            }
            _ => {}
        }
        learned.wrote(credential, &acted);
        if matches!(acted, Acted::Failed(_)) || matches!(decision, Decision::BackOff { .. }) {
            aftermath::keep_up(ctx, &case, now, &mut memory, &mut learned).await;
        }
        let aftermath =
            aftermath::afterwards(ctx, input, &case, &decision, &acted, &mut memory, &learned).await;
        let report = report(&case, &decision, &acted, &aftermath, ctx.now());
        return conclude(ctx, &current, memory, learned, report).await;
    }
    // What was seen led to nothing: whatever has changed since this reconcile began calls for another.
    learned.secrets.clear();
    Done { memory, learned, wake: None, outcome: "dropped" }
}

/// The API server could not be asked; nor could it be told.
fn later(mut memory: Memory, learned: Learned, credential: &Credential, now: Timestamp, why: &str) -> Done {
    let wait = memory.wait_for_api();
    warn!(
        namespace = &*credential.key.namespace,
        name = &*credential.key.name,
        error = why,
        "could not read from the API server; trying again in {wait} s"
    );
    Done { memory, learned, wake: Some(plus(now, wait)), outcome: "unreachable" }
}

/// Tells and writes what there is to tell.
async fn conclude(
    ctx: &Context,
    credential: &Credential,
    mut memory: Memory,
    mut learned: Learned,
    report: Report,
) -> Done {
    if !(ctx.may_act)() {
        // Another process leads by now, and tells.
        return Done { memory, learned, wake: None, outcome: "dropped" };
    }
    log(credential, &report);
    for note in report.events {
        (ctx.tell)(credential, note);
    }
    let mut wake = report.wake;
    if report.status == credential.status {
        memory.unwritten = None;
    } else {
        match status::write(&ctx.client, credential, &report.status).await {
            Ok(Some(version)) => {
                memory.unwritten = None;
                learned.status = Some((version, report.status));
            }
            // The watch will tell that it is gone. Until then what was learned still holds back the next attempt.
            Ok(None) => memory.unwritten = Some(Box::new(report.status)),
            Err(why) => {
                warn!(
                    namespace = &*credential.key.namespace,
                    name = &*credential.key.name,
                    error = why,
                    "could not write the status; trying again"
                );
                memory.unwritten = Some(Box::new(report.status));
                let again = plus(ctx.now(), memory.wait_for_api());
                wake = Some(wake.map_or(again, |at| at.min(again)));
            }
        }
    }
    Done { memory, learned, wake, outcome: report.outcome }
}

/// One line where `Ready` turns False: nothing else tells of it when it happens between two attempts.
fn log_not_ready(credential: &Credential, next: &SquadcastCredentialStatus) {
    let ready = next.condition(ConditionType::Ready);
    let was = credential.status.condition(ConditionType::Ready).is_some_and(Condition::is_true);
    if let Some(ready) = ready.filter(|ready| was && !ready.is_true()) {
        warn!(
            namespace = &*credential.key.namespace,
            name = &*credential.key.name,
            reason = &*ready.reason,
            "there is no usable token any more: {}",
            ready.message
        );
    }
}

/// One line for each outcome.
fn log(credential: &Credential, report: &Report) {
    log_not_ready(credential, &report.status);
    if matches!(report.outcome, "unchanged" | "waiting") && report.events.is_empty() {
        return;
    }
    let (namespace, name) = (&*credential.key.namespace, &*credential.key.name);
    let synced = report.status.condition(ConditionType::Synced);
    let reason = synced.map_or("", |c| &*c.reason);
    let message = synced.map_or("", |c| &*c.message);
    if report.outcome == "failed" || report.outcome == "blocked" {
        warn!(namespace, name, reason, outcome = report.outcome, "{message}");
    } else {
        let renews = report.status.renew_at.map(|t| t.to_string());
        info!(namespace, name, reason, outcome = report.outcome, renews, "{message}");
    }
}
