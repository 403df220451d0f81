//! The way of one resource through the rooms, step by step. Writes the status at its end.

use std::sync::Arc;

use jiff::Timestamp;
use tracing::warn;

use super::{
    Acted, Aftermath, Case, Context, Credential, Decision, Done, Ending, Input, Known, Learned, Memory,
    Observation, Pending, Report, Trouble, act, aftermath, decide,
    decide::decide_unread,
    log, meanwhile, observe, report, status,
    unreadable::{Unreadable, unreadable},
};
use crate::{
    api::{Reason, SquadcastCredentialStatus},
    schedule::plus,
    slots::Slot,
    squadcast::Moment,
};

/// When to look again where a round more would have been needed, in seconds.
const OUTRUN: i64 = 1;

/// How a round ended.
pub(super) enum Round {
    /// Something was not as it had been told: look again.
    Again,
    /// This is to be told.
    Ended(Box<Report>),
    /// There is nothing to do here any more, or somebody else does it.
    Dropped,
    /// The API server could not be asked; nor could it be told.
    Unreachable(String),
}

/// A reconcile under way.
pub(super) struct Walk<'a> {
    ctx: &'a Context,
    slot: &'a Slot,
    /// What it started from; after a round that met a change nothing of the Secrets is taken as known.
    input: Input,
    memory: Memory,
    learned: Learned,
    /// The status as the operator last meant it.
    history: Arc<SquadcastCredentialStatus>,
    /// The resource as the cluster holds it, with what this reconcile has told already.
    current: Arc<Credential>,
    /// After a round that waited for a write-back: from when on an answer is good enough for a target of this version.
    since: Option<(Moment, Option<Box<str>>)>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(ctx: &'a Context, slot: &'a Slot, input: &Input, memory: Memory) -> Self {
        let current = Arc::clone(&input.credential);
        let history = match &memory.unwritten {
            Some(unwritten) => (**unwritten).clone(),
            None => current.status.clone(),
        };
        let (input, learned) = (input.clone(), Learned::default());
        Self { ctx, slot, input, memory, learned, history: Arc::new(history), current, since: None }
    }

    /// Observe, decide, act, report. The last round looks no further where something changes once more.
    pub(super) async fn round(&mut self, last: bool) -> Round {
        if self.input.credential.deleting || !(self.ctx.may_act)() {
            return Round::Dropped;
        }
        let (seen, unread) = match self.observe().await {
            Ok(seen) => seen,
            Err(round) => return round,
        };
        let now = self.ctx.now();
        self.take_up_write_back(&seen);
        let (input, history, remembered) = (self.input.clone(), self.history.clone(), self.memory.clone());
        let case = Case {
            input: &input,
            history: &history,
            regions: &self.ctx.regions,
            seen: &seen,
            memory: &remembered,
        };
        let (decision, mut acted) = match unread {
            Some(trouble) => unread_decision(&case, trouble, now),
            None => self.decide_and_act(&case, now).await,
        };
        let told = self.current.clone();
        // While it waited for Squadcast, the status may have been written.
        let case = if told.resource_version == input.credential.resource_version {
            case
        } else {
            Case { history: &told.status, ..case }
        };
        match acted {
            Acted::Dropped => return Round::Dropped,
            Acted::Replaced(since) => {
                self.since = Some((since, version(&seen)));
                self.look_anew(&case);
                return Round::Again;
            }
            Acted::Changed if !last => {
                self.look_anew(&case);
                return Round::Again;
            }
            Acted::Changed => acted = Acted::Failed(restless(&input.credential)),
            _ => {}
        }
        let aftermath = self.follow(&case, &decision, &acted, now).await;
        Round::Ended(Box::new(report(&case, &decision, &acted, &aftermath, self.ctx.now())))
    }

    /// The first room. Where the Secrets may not be read, why.
    async fn observe(&mut self) -> Result<(Observation, Option<Trouble>), Round> {
        let Context { client, exchanges, label_required, .. } = self.ctx;
        let seen = observe::observe(client, &self.input, *label_required, || exchanges.moment()).await;
        let (mut seen, unread) = match seen {
            Ok(seen) => (seen, None),
            Err(error) => match unreadable(&error, &self.input) {
                Unreadable::Report(seen, trouble) => (seen, Some(trouble)),
                Unreadable::Gone => return Err(Round::Dropped),
                Unreadable::Later(why) => return Err(Round::Unreachable(why)),
            },
        };
        if let Some((since, target)) = self.since.take()
            && target == version(&seen)
        {
            seen.since = since;
        }
        self.memory.unreachable = 0;
        self.learned.secrets.clear();
        if unread.is_none() {
            self.learned.read(&self.input.credential, &seen);
        }
        Ok((seen, unread))
    }

    /// A new refresh token that somebody else was to write back, and is at no more, is this resource's duty now.
    fn take_up_write_back(&mut self, seen: &Observation) {
        let (exchanges, credential) = (&self.ctx.exchanges, &self.input.credential);
        let source = credential.line();
        self.memory.let_go(&source, seen.fingerprint());
        if self.input.writes_back
            && let Some(sent) = seen.fingerprint()
            && let Some((grant, duty)) = exchanges.left_behind(sent, &source, &credential.key)
        {
            self.memory.pending = Some(Pending::left_behind(grant, duty));
        }
    }

    /// The second and the third room.
    async fn decide_and_act(&mut self, case: &Case<'_>, now: Timestamp) -> (Decision, Acted) {
        let decision = decide(case, now);
        // On the heap: in here it would make every reconcile several times as large, and what it leaves when it
        // ends is then cut up by what stays.
        let acting = Box::pin(act::act(self.ctx, self.slot, case, &mut self.memory, &decision, now));
        let (acted, told) = meanwhile::attempt(self.ctx, case, now, acting).await;
        if let Some(told) = told {
            self.learned.status = Some((told.resource_version.clone(), told.status.clone()));
            self.current = Arc::new(told);
        }
        (decision, acted)
    }

    /// What the watches told has been overtaken: all is read the next time.
    fn look_anew(&mut self, case: &Case<'_>) {
        self.input.source = Known::Present;
        self.input.target = Known::Present;
        self.history = Arc::new(case.history.clone());
    }

    /// What follows an attempt.
    async fn follow(
        &mut self,
        case: &Case<'_>,
        decision: &Decision,
        acted: &Acted,
        now: Timestamp,
    ) -> Aftermath {
        self.learned.wrote(case.credential(), acted);
        if matches!(acted, Acted::Failed(_)) || matches!(decision, Decision::BackOff { .. }) {
            aftermath::keep_up(self.ctx, case, now, &mut self.memory, &mut self.learned).await;
        }
        if acted.is_done(decision) {
            aftermath::afterwards(self.ctx, case, &mut self.memory, &self.learned).await
        } else {
            self.memory.leftover = None;
            Aftermath::default()
        }
    }

    /// What was seen led to nothing: whatever has changed since this reconcile began calls for another.
    pub(super) fn dropped(mut self) -> Done {
        self.learned.secrets.clear();
        Done { memory: self.memory, learned: self.learned, wake: None, ending: Ending::Dropped }
    }

    /// The refresh token was replaced faster than it could be read.
    pub(super) fn outrun(self) -> Done {
        let wake = Some(plus(self.ctx.now(), OUTRUN));
        Done { wake, ..self.dropped() }
    }

    /// The API server could not be asked.
    pub(super) fn later(mut self, why: &str) -> Done {
        let wait = self.memory.wait_for_api();
        warn!(
            namespace = self.current.key.namespace(),
            name = self.current.key.name(),
            error = why,
            "could not read from the API server; trying again in {wait} s"
        );
        let wake = Some(plus(self.ctx.now(), wait));
        Done { memory: self.memory, learned: self.learned, wake, ending: Ending::Unreachable }
    }

    /// Tells and writes what there is to tell.
    pub(super) async fn conclude(mut self, report: Box<Report>) -> Done {
        if !(self.ctx.may_act)() {
            // Another process leads by now, and tells.
            return Done { memory: self.memory, learned: self.learned, wake: None, ending: Ending::Dropped };
        }
        log::report(&self.current, &report);
        for event in report.events {
            (self.ctx.tell)(&self.current, event);
        }
        let again = self.write(report.status).await;
        let wake = [report.wake, again].into_iter().flatten().min();
        Done { memory: self.memory, learned: self.learned, wake, ending: report.ending }
    }

    /// Writes the status where it differs. Where that fails, when to try again.
    async fn write(&mut self, status: SquadcastCredentialStatus) -> Option<Timestamp> {
        self.memory.unwritten = None;
        if status == self.current.status {
            return None;
        }
        match status::write(&self.ctx.client, &self.current, &status).await {
            Ok(Some(version)) => {
                self.learned.status = Some((version, status));
                None
            }
            // The watch will tell that it is gone. Until then what was learned still holds back the next attempt.
            Ok(None) => {
                self.memory.unwritten = Some(Box::new(status));
                None
            }
            Err(why) => {
                warn!(
                    namespace = self.current.key.namespace(),
                    name = self.current.key.name(),
                    error = why,
                    "could not write the status; trying again"
                );
                self.memory.unwritten = Some(Box::new(status));
                Some(plus(self.ctx.now(), self.memory.wait_for_api()))
            }
        }
    }
}

/// Where the Secrets may not be read, asking for them again was the attempt.
fn unread_decision(case: &Case<'_>, trouble: Trouble, now: Timestamp) -> (Decision, Acted) {
    let decision = decide_unread(case, now);
    let tried = matches!(decision, Decision::Exchange(_));
    (decision, if tried { Acted::Failed(trouble) } else { Acted::Nothing })
}

/// The target's version, where there is one.
fn version(seen: &Observation) -> Option<Box<str>> {
    seen.target.facts().map(|facts| facts.resource_version.clone())
}

fn restless(credential: &Credential) -> Trouble {
    let name = &credential.spec.target.name;
    let message =
        format!("Secret \"{name}\" kept changing while it was to be written: see who else writes it");
    Trouble::new(Reason::WriteFailed, message)
}
