//! Looks at the play from outside, and knows the truth: whether tokens are good, what stands in the way and
//! since when, and which refresh tokens must not get lost.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{
    operator::{Operator, World},
    promises::{self, LONGEST, is_true, until},
    script::{Api, Mood, RESOURCES, Refusal, SOURCES, Script, Step},
    squadcast::{Minted, Rotation},
};
use crate::api::{ConditionType, Reason, SquadcastCredentialStatus};

/// Seconds after a disturbance in which a status may be out of date.
const GRACE: i64 = 45;
/// Seconds for what is due to be done.
const PROMPT: i64 = 60;
/// Requests of all resources at once, and in each second of fights and conflicts.
const BURST: u64 = 150;
const A_SECOND: u64 = 10;
/// Seconds in which a refresh token is written back once that is possible: the longest back-off and one look.
const WRITTEN_BACK: i64 = 420;

pub(super) struct Watcher {
    write_back: bool,
    /// No token may expire, whatever happens.
    never_expires: bool,
    /// True time of the last disturbance.
    disturbed: i64,
    /// True time since which nothing stands in the way of a resource.
    clear: BTreeMap<&'static str, i64>,
    /// True time since which the operator can write.
    writes: Option<i64>,
    /// Rotations that are not in the source yet; how many of all were looked at.
    unwritten: Vec<Rotation>,
    rotations: usize,
    replaced: usize,
    /// When requests were counted, and how many there were.
    requests: (i64, u64),
    /// The number of the last process that has died.
    dead: u64,
    /// Target → its last token and when it got it first, true time.
    issued: BTreeMap<String, (Value, i64)>,
}

impl Watcher {
    pub(super) fn new(world: &World, script: &Script) -> Self {
        Self {
            write_back: script.write_back,
            never_expires: script.in_full,
            disturbed: world.time.now(),
            clear: BTreeMap::new(),
            writes: None,
            unwritten: Vec::new(),
            rotations: 0,
            replaced: 0,
            requests: (world.time.now(), 0),
            dead: 0,
            issued: BTreeMap::new(),
        }
    }

    pub(super) fn disturbed(&mut self, world: &World) {
        self.disturbed = world.time.now();
        self.clear.clear();
        world.judge.lock().calm_since = self.disturbed;
    }

    /// A step of the script is about to be made.
    pub(super) fn step(&mut self, step: Step, world: &World) {
        self.note_rotations(world);
        match step {
            // A user's value wins over what was to be written back; suspended ones write nothing.
            Step::Replace(0) | Step::Mistype(0) | Step::DeleteSource(0) | Step::Suspend(0 | 1, _) => {
                self.unwritten.clear();
            }
            Step::Recreate(_) => {
                self.unwritten.clear();
                self.issued.clear();
            }
            // Whose answer is lost may try again at once.
            Step::SetClock(_) | Step::LoseAnswers(_) | Step::Storm(_) | Step::Die(..) => self.issued.clear(),
            _ => {}
        }
        self.disturbed(world);
    }

    /// A process has died, and what it alone knew with it.
    pub(super) fn died(&mut self, process: u64, world: &World) {
        world.judge.say(&world.time, || format!("process {process} is dead"));
        self.note_rotations(world);
        self.disturbed(world);
        self.issued.clear();
        world.cluster.lock().issued.clear();
        self.dead = process;
        self.unwritten.retain(|rotation| rotation.process != process);
    }

    /// A process has stopped in its own time.
    pub(super) fn stopped(&mut self, process: u64, world: &World) {
        self.note_rotations(world);
        self.note_written(world);
        if self.writes.is_some()
            && let Some(lost) = self.unwritten.iter().find(|rotation| rotation.process == process)
        {
            let new = lost.new.clone();
            world.judge.broken(|| format!("{new} got lost when the process was told to stop"));
        }
        self.died(process, world);
    }

    /// When there is something to be seen next: just after a token has expired.
    pub(super) fn next_look(world: &World) -> Option<i64> {
        let now = world.time.now();
        RESOURCES
            .iter()
            .filter_map(|(name, _)| facts(world, name).held)
            .map(|held| held.ends + 3)
            .filter(|at| *at > now)
            .min()
    }

    /// Looks at everything.
    pub(super) fn look(&mut self, world: &World, operators: &[Operator]) -> Result<(), String> {
        self.note_what_stands_in_the_way(world, operators);
        self.note_rotations(world);
        self.note_written(world);
        let told = std::mem::take(&mut world.cluster.lock().told);
        for told in &told {
            world.judge.say(&world.time, || told.to_string());
            promises::of_status(told)?;
        }
        if let Some(broken) = world.judge.lock().broken.clone() {
            return Err(broken);
        }
        self.nobody_is_flooded(world)?;
        self.nothing_is_overwritten(world)?;
        self.exchanges_are_apart(world)?;
        self.rotations_are_written(world)?;
        for (name, _) in RESOURCES {
            let seen = self
                .ready_is_true(world, name)
                .and_then(|()| self.what_is_due_is_done(world, name))
                .and_then(|()| self.no_token_expires(world, name));
            seen.map_err(|broken| format!("{name}: {broken}"))?;
        }
        Ok(())
    }

    fn note_what_stands_in_the_way(&mut self, world: &World, operators: &[Operator]) {
        let now = world.time.now();
        let leads = operators[0].leads();
        let state = world.cluster.lock();
        let faults = &state.faults;
        let blind = !leads || faults.api != Api::Up || faults.lag.iter().any(|until| *until > now);
        let stormy = faults.storm > 0 || faults.lose_answers > 0;
        let refused = faults.refuse != Refusal::Nothing;
        if blind || stormy || state.met > self.disturbed {
            self.disturbed = now;
            self.issued.clear();
            world.judge.lock().calm_since = now;
        }
        self.writes = (!blind && !stormy && !refused).then(|| self.writes.unwrap_or(now));
        let mood = world.squadcast.lock().mood;
        for (name, source) in RESOURCES {
            let spec = &state.credentials[name]["spec"];
            let target = spec["target"]["name"].as_str().unwrap_or_default();
            let token = state.value(SOURCES[source], "refresh_token");
            let answers = match mood {
                Mood::Fine | Mood::Slow | Mood::Repeating => true,
                Mood::Rotating => self.write_back && source == 0,
                _ => false,
            };
            let clear = answers
                && self.writes.is_some()
                && !faults.fights.contains_key(target)
                && spec["suspend"] != true
                && token.is_some_and(|token| world.squadcast.lock().good.contains(&token));
            if clear {
                self.clear.entry(name).or_insert(now);
            } else {
                self.clear.remove(name);
            }
        }
    }

    fn note_rotations(&mut self, world: &World) {
        let state = world.squadcast.lock();
        let new = state.rotations.get(self.rotations..).unwrap_or_default();
        self.rotations = state.rotations.len();
        if self.write_back {
            // What a process is answered that has died meanwhile, nobody knows.
            self.unwritten.extend(new.iter().filter(|rotation| rotation.process > self.dead).cloned());
        }
    }

    fn note_written(&mut self, world: &World) {
        let state = world.cluster.lock();
        let other = state.value(SOURCES[1], "refresh_token");
        let written = |new: &str| state.secrets.replaced.iter().any(|(_, _, after)| *after == encoded(new));
        // The other source's resource ignores rotations.
        self.unwritten.retain(|rotation| !written(&rotation.new) && other.as_ref() != Some(&rotation.sent));
    }

    /// However it stands, requests to the API server stay few.
    fn nobody_is_flooded(&mut self, world: &World) -> Result<(), String> {
        let (now, requests) = (world.time.now(), world.cluster.lock().requests);
        let (since, before) = std::mem::replace(&mut self.requests, (now, requests));
        let made = requests - before;
        let most = BURST + A_SECOND * (now - since).max(0).unsigned_abs();
        if made > most { Err(format!("{made} requests in {} s", now - since)) } else { Ok(()) }
    }

    /// A refresh token is only ever replaced by the one that came for it.
    fn nothing_is_overwritten(&mut self, world: &World) -> Result<(), String> {
        let state = world.cluster.lock();
        let squadcast = world.squadcast.lock();
        for (name, before, after) in state.secrets.replaced.iter().skip(self.replaced) {
            let known =
                squadcast.rotations.iter().any(|r| encoded(&r.sent) == *before && encoded(&r.new) == *after);
            if !known {
                return Err(format!("{name}: {before} was replaced by {after}"));
            }
        }
        self.replaced = state.secrets.replaced.len();
        Ok(())
    }

    /// A target gets another token 5 s after the one before at the earliest.
    fn exchanges_are_apart(&mut self, world: &World) -> Result<(), String> {
        let issued = std::mem::take(&mut world.cluster.lock().issued);
        for (name, token, at) in issued {
            match self.issued.get(&name) {
                Some((before, _)) if *before == token => continue,
                Some((_, before)) if at - before < 5 => {
                    return Err(format!("{name} got two tokens within 5 s"));
                }
                _ => {}
            }
            self.issued.insert(name, (token, at));
        }
        Ok(())
    }

    fn rotations_are_written(&self, world: &World) -> Result<(), String> {
        let late = self.writes.is_some_and(|since| world.time.now() - since > WRITTEN_BACK);
        match self.unwritten.first() {
            Some(lost) if late && world.time.now() - self.disturbed > WRITTEN_BACK => {
                Err(format!("{} came for {} and was never written back", lost.new, lost.sent))
            }
            _ => Ok(()),
        }
    }

    /// `Ready` is what the target holds.
    fn ready_is_true(&self, world: &World, name: &str) -> Result<(), String> {
        let now = world.time.now();
        let facts = facts(world, name);
        if now - self.disturbed < GRACE || facts.status.conditions.is_empty() {
            return Ok(());
        }
        let ready = is_true(&facts.status, ConditionType::Ready);
        match &facts.held {
            None if ready => Err("says Ready without a token".to_owned()),
            // With a clock that was set since, nobody could know.
            Some(held) if held.offset != world.time.offset() => Ok(()),
            Some(held) if ready && held.ends + 2 <= now => Err("says Ready with an expired token".to_owned()),
            Some(held) if !ready && held.ends > now + PROMPT => {
                // One that is suspended says so, and is Stalled for the other reason.
                let rejected = [ConditionType::Ready, ConditionType::Stalled]
                    .into_iter()
                    .any(|type_| facts.status.reason(type_) == Some(Reason::RefreshTokenRejected))
                    && held.of.iter().any(|token| world.squadcast.lock().rejected.contains(token));
                let fought = world.cluster.lock().faults.fights.contains_key(&facts.target);
                if rejected || fought {
                    Ok(())
                } else {
                    Err("does not say Ready, with a good token".to_owned())
                }
            }
            _ => Ok(()),
        }
    }

    /// With nothing in the way, what is due is done: at once, or at the end of the wait that the status names.
    fn what_is_due_is_done(&self, world: &World, name: &str) -> Result<(), String> {
        let now = world.time.now();
        let Some(clear) = self.clear.get(name).map(|since| now - since.max(&self.disturbed)) else {
            return Ok(());
        };
        if clear < PROMPT {
            return Ok(());
        }
        let Facts { status, held, .. } = facts(world, name);
        let wall = world.time.wall().as_second();
        let good = held.as_ref().is_some_and(|held| held.ends > now || held.offset != world.time.offset());
        let overdue = -until(status.renew_at, wall) > PROMPT && status.renew_at.is_some();
        let fine = good
            && !overdue
            && is_true(&status, ConditionType::Ready)
            && is_true(&status, ConditionType::Synced);
        if fine {
            return Ok(());
        }
        let left = until(status.next_attempt_at, wall);
        if left > LONGEST {
            return Err(format!("waits for {left} s"));
        }
        if left + PROMPT <= 0 || status.next_attempt_at.is_none() || clear > LONGEST + WRITTEN_BACK {
            return Err(format!("is not as it should be, though nothing stands in the way for {clear} s"));
        }
        Ok(())
    }

    /// A token expires only where nothing could be got for it: Squadcast did not answer, or the cluster not, up to a
    /// wait that a status may name before its end.
    fn no_token_expires(&self, world: &World, name: &str) -> Result<(), String> {
        let now = world.time.now();
        let Facts { status, held: Some(held), .. } = facts(world, name) else { return Ok(()) };
        if held.ends > now || held.offset != world.time.offset() {
            return Ok(());
        }
        let limited = [ConditionType::Synced, ConditionType::Stalled].into_iter().any(|type_| {
            let reason = status.reason(type_);
            reason.is_some_and(|reason| reason == Reason::RateLimited || reason.is_rejection())
        });
        let wait = if limited { LONGEST } else { WRITTEN_BACK } + PROMPT;
        let clear = self.clear.get(name).map_or(0, |since| held.ends - since.max(&self.disturbed));
        if self.never_expires || clear > wait {
            return Err(format!(
                "its token has expired, though nothing stood in the way for {clear} s before"
            ));
        }
        Ok(())
    }

    /// No Secret is left that no resource wants.
    pub(super) fn nothing_is_left_behind(world: &World) -> Result<(), String> {
        let state = world.cluster.lock();
        let wanted: Vec<&str> =
            state.credentials.values().filter_map(|c| c["spec"]["target"]["name"].as_str()).collect();
        match state
            .secrets
            .all
            .keys()
            .find(|name| !SOURCES.contains(&name.as_str()) && !wanted.contains(&name.as_str()))
        {
            Some(name) => Err(format!("{name} is left behind")),
            None => Ok(()),
        }
    }
}

/// How it stands with a resource.
struct Facts {
    status: SquadcastCredentialStatus,
    target: String,
    /// The token that its target holds.
    held: Option<Minted>,
}

fn facts(world: &World, name: &str) -> Facts {
    let state = world.cluster.lock();
    let object = &state.credentials[name];
    let target = object["spec"]["target"]["name"].as_str().unwrap_or_default().to_owned();
    let own =
        state.secrets.all.get(&target).is_some_and(|secret| {
            secret["metadata"]["ownerReferences"][0]["uid"] == object["metadata"]["uid"]
        });
    let access = state.value(&target, "access_token").filter(|_| own);
    let held = access.and_then(|token| world.squadcast.lock().minted.get(&token).cloned());
    let status = SquadcastCredentialStatus::deserialize(&object["status"]).unwrap();
    Facts { status, target, held }
}

fn encoded(token: &str) -> Value {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(token).into()
}
