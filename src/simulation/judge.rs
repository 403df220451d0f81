//! Judges exchanges: each needs a cause that the contract knows, and none comes before its time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{
    cluster::{Cluster, State},
    script::{RESOURCES, SOURCES},
    squadcast::Squadcast,
    time::{DAWN, Time},
};
use crate::{
    api::{Reason, SquadcastCredentialStatus, names},
    squadcast::{Failure, Grant, RefreshToken},
};

/// Seconds for which an operator may act on what was so before.
const STALE: i64 = 60;
/// An hour of the busiest operator: near expiry a retry every 24 s for each resource, and then some.
const BUSIEST_HOUR: usize = 600;

/// What was found out. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Judge(Arc<Mutex<Findings>>);

#[derive(Default)]
pub(super) struct Findings {
    /// The first promise that was broken.
    pub(super) broken: Option<String>,
    pub(super) exchanges: usize,
    /// True time since when nothing disturbs what the operator sees.
    pub(super) calm_since: i64,
    /// Exchanges under way: refresh token → numbers of processes.
    in_flight: BTreeMap<String, Vec<u64>>,
    asked: Vec<i64>,
    /// Refresh token → true time until which Squadcast has asked not to be asked with it.
    pub(super) limits: BTreeMap<String, i64>,
    /// What happens is printed.
    pub(super) journal: bool,
}

impl Judge {
    pub(super) fn lock(&self) -> MutexGuard<'_, Findings> {
        self.0.lock().unwrap()
    }

    /// A promise was broken.
    pub(super) fn broken(&self, what: impl FnOnce() -> String) {
        let mut findings = self.lock();
        if findings.broken.is_none() {
            findings.broken = Some(what());
        }
    }

    /// Something happens.
    pub(super) fn say(&self, time: &Time, what: impl FnOnce() -> String) {
        if self.lock().journal {
            let passed = time.exact().as_millisecond() - DAWN * 1000;
            println!("{:>8}.{:03} s, wall {:.0}: {}", passed / 1000, passed % 1000, time.wall(), what());
        }
    }

    /// A process is gone, and with it what it had under way.
    pub(super) fn gone(&self, process: u64) {
        let mut findings = self.lock();
        // What Squadcast asked for may not be in the status yet.
        findings.limits.clear();
        findings.in_flight.values_mut().for_each(|who| who.retain(|number| *number != process));
    }

    /// An exchange begins.
    pub(super) fn asked(
        &self,
        cluster: &Cluster,
        squadcast: &Squadcast,
        time: &Time,
        token: &RefreshToken,
        process: u64,
        may: bool,
    ) {
        let (now, value) = (time.now(), token.expose());
        let (calm_since, others, busy) = {
            let mut findings = self.lock();
            findings.exchanges += 1;
            findings.asked.push(now);
            findings.asked.retain(|at| now - at < 3600);
            let busy = findings.asked.len();
            let who = findings.in_flight.entry(value.to_owned()).or_default();
            let others = who.len();
            who.push(process);
            (findings.calm_since, others, busy)
        };
        self.say(time, || format!("process {process} asks with {value}"));
        if !may {
            self.broken(|| format!("an exchange with {value} by a process that does not lead"));
        }
        if others > 0 {
            self.broken(|| format!("two exchanges with {value} are under way"));
        }
        if busy > BUSIEST_HOUR {
            self.broken(|| format!("{busy} exchanges within an hour"));
        }
        let limit = self.lock().limits.get(value).map_or(0, |until| until - now);
        let state = cluster.lock();
        let held = |source: usize| state.value(SOURCES[source], "refresh_token").as_deref() == Some(value);
        let fingerprint = token.fingerprint("us").to_string();
        let wall = time.wall().as_second();
        let mut why = Vec::new();
        let cases: Vec<Result<Case, NotNow>> = RESOURCES
            .iter()
            .filter(|(_, source)| held(*source))
            .map(|(name, _)| Case::of(&state, name, &fingerprint, wall))
            .collect();
        if limit > 0 && !cases.iter().flatten().any(Case::is_asked_for) {
            self.broken(|| {
                format!("an exchange with {value}, {limit} s before Squadcast wants to be asked again")
            });
        }
        for case in cases {
            match case.and_then(|case| case.may_ask(squadcast)) {
                Ok(()) => return,
                Err(NotNow::Early(text)) => why.push((true, text)),
                Err(NotNow::NoCause(text)) => why.push((false, text)),
            }
        }
        drop(state);
        // A status in the cluster that forbids it was known, whatever else is out of date.
        if now - calm_since > STALE || !why.is_empty() && why.iter().all(|(early, _)| *early) {
            let why: Vec<String> = why.into_iter().map(|(_, text)| text).collect();
            self.broken(|| format!("an exchange with {value} that nothing calls for: {}", why.join("; ")));
        }
    }

    /// An exchange has ended.
    pub(super) fn answered(
        &self,
        world: (&Cluster, &Squadcast, &Time),
        token: &RefreshToken,
        process: u64,
        answer: &Result<Grant, Failure>,
    ) {
        let (cluster, squadcast, time) = world;
        let how = answer.as_ref().map_or_else(|failure| failure.reason.as_str(), |_| "a token");
        self.say(time, || format!("process {process} is answered for {}: {how}", token.expose()));
        let wait = answer.as_ref().err().and_then(|failure| failure.retry_after);
        if let Some(wait) = wait.and_then(|wait| i64::try_from(wait.as_secs()).ok()) {
            // At most half of the life that is left of any token that this one is to follow.
            let now = time.now();
            let lives = RESOURCES.iter().filter_map(|(name, _)| {
                let state = cluster.lock();
                let target = state.credentials[*name]["spec"]["target"]["name"].as_str()?.to_owned();
                let access = state.value(&target, "access_token")?;
                drop(state);
                let minted = squadcast.lock().minted.get(&access).cloned()?;
                // As it seems by the operator's clock.
                Some(minted.ends + minted.offset - now - time.offset()).filter(|left| *left > 0)
            });
            let most = lives.min().map_or(wait, |left| (left / 2).max(1));
            // How often it is asked then is for Squadcast to say.
            self.lock().asked.pop();
            self.lock().limits.insert(token.expose().to_owned(), now + wait.min(most) - 1);
        }
        let mut findings = self.lock();
        let who = findings.in_flight.entry(token.expose().to_owned()).or_default();
        if let Some(found) = who.iter().position(|number| *number == process) {
            who.remove(found);
        }
    }
}

/// Why a resource gives no reason for an exchange.
enum NotNow {
    /// It has to wait.
    Early(String),
    NoCause(String),
}

/// A resource as the cluster shows it.
struct Case {
    object: Arc<Value>,
    status: SquadcastCredentialStatus,
    target: Option<Arc<Value>>,
    access: Option<String>,
    fingerprint: String,
    wall: i64,
}

impl Case {
    fn of(state: &State, name: &str, fingerprint: &str, wall: i64) -> Result<Self, NotNow> {
        let Some(object) = state.credentials.get(name) else {
            return Err(NotNow::NoCause("does not exist".to_owned()));
        };
        let target = object["spec"]["target"]["name"].as_str().unwrap_or_default();
        Ok(Self {
            status: SquadcastCredentialStatus::deserialize(&object["status"]).unwrap(),
            target: state.secrets.all.get(target).cloned(),
            access: state.value(target, "access_token"),
            object: object.clone(),
            fingerprint: fingerprint.to_owned(),
            wall,
        })
    }

    /// A user asks for an exchange, or has changed the spec: that ends a back-off.
    fn is_asked_for(&self) -> bool {
        let metadata = &self.object["metadata"];
        let request = metadata["annotations"][names::ANNOTATION_RENEW].as_str();
        request.is_some() && request != self.status.last_handled_renew_request.as_deref()
            || self.status.observed_generation != metadata["generation"].as_i64()
    }

    fn may_ask(&self, squadcast: &Squadcast) -> Result<(), NotNow> {
        let spec = &self.object["spec"];
        if spec["suspend"] == true {
            return Err(NotNow::NoCause("is suspended".to_owned()));
        }
        if self.is_asked_for() {
            return Ok(());
        }
        let same = self.status.last_attempt_fingerprint.as_deref() == Some(&*self.fingerprint);
        if self.status.failures.is_some() && same {
            let Some(next) = self.status.next_attempt_at.map(Timestamp::as_second) else { return Ok(()) };
            // What is noted for a failure that is yet to come was noted before the clock was set back.
            let set_back = self.status.last_failure_at.is_some_and(|at| at.as_second() > self.wall);
            return if self.wall >= next - 1 || set_back {
                Ok(())
            } else {
                Err(NotNow::Early(format!("waits until {} s from now", next - self.wall)))
            };
        }
        let Some(target) = &self.target else { return Ok(()) };
        let annotation = |key: &str| target["metadata"]["annotations"][key].as_str();
        let written = self.access.as_ref().is_some_and(|token| squadcast.lock().minted.contains_key(token));
        let which = state_key(target, "which");
        let wanted = spec["target"]["template"]["which"].as_str();
        if !written
            || annotation(names::ANNOTATION_FINGERPRINT) != Some(&*self.fingerprint)
            || which.as_deref() != wanted
        {
            return Ok(());
        }
        if target["metadata"]["ownerReferences"][0]["uid"] != self.object["metadata"]["uid"] {
            return Ok(());
        }
        let ready = self.status.condition(crate::api::ConditionType::Ready);
        if ready.is_some_and(|r| r.reason() == Some(Reason::RefreshTokenRejected)) {
            return Ok(());
        }
        let due = self.status.renew_at.is_none_or(|at| self.wall >= at.as_second() - 1);
        let expired = self.status.expires_at.is_none_or(|at| self.wall >= at.as_second() - 1);
        if due || expired { Ok(()) } else { Err(NotNow::NoCause("is fine".to_owned())) }
    }
}

fn state_key(secret: &Value, key: &str) -> Option<String> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let text = secret["data"][key].as_str()?;
    String::from_utf8(STANDARD.decode(text).ok()?).ok()
}
