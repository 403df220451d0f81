//! Plays a script: does what it says, lets time pass, and looks whether what was promised is so.

mod steps;

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    cluster::Cluster,
    judge::Judge,
    operator::{Operator, World},
    script::{Api, Mood, RESOURCES, Refusal, SOURCES, Script, Step},
    squadcast::Squadcast,
    time::Time,
    watch::Watcher,
    wrong::Wrong,
};
use crate::{api::names, controller::LOOK};

/// Seconds until a process that has died starts again.
const START: u64 = 2;
/// With nothing in the way for this long all is well: the longest wait is an hour, the longest back-off 6 min.
const CALM: i64 = 4200;
/// How often a process looks at the clock while that goes as it should.
const SELDOM: Duration = Duration::from_secs(3600);
/// Seconds of the quiet life at the end.
const QUIET: i64 = 20 * 86_400;

/// What came of a play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Played {
    pub(super) seconds: i64,
    pub(super) exchanges: usize,
    pub(super) requests: u64,
}

/// A play under way.
pub(super) struct Play {
    pub(super) world: World,
    operators: Vec<Operator>,
    processes: u64,
    look: Duration,
    watcher: Watcher,
    /// The process needs the lease, and the API server for it.
    elects: bool,
}

/// Plays a script with the operator, or with one that is wrong, and prints a journal where that is wanted. An
/// error is the promise that was broken.
pub(super) fn play(script: &Script, wrong: Option<Wrong>, journal: bool) -> Result<Played, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut play = Play::new(script, wrong, journal);
        let played = play.perform(script).await;
        for operator in &play.operators {
            if operator.panicked() {
                return Err("a reconcile ended in a panic".to_owned());
            }
        }
        played
    })
}

impl Play {
    fn new(script: &Script, wrong: Option<Wrong>, journal: bool) -> Self {
        let write_back = script.write_back;
        let time = Time::new();
        let cluster = Cluster::new(time.clone());
        let squadcast = Squadcast::new(time.clone());
        for source in SOURCES {
            let token = squadcast.issue();
            cluster.lock().store_token(source, &token);
        }
        for (name, source) in RESOURCES {
            let rotation = if write_back && source == 0 { "WriteBack" } else { "Ignore" };
            let spec = json!({
                "region": "us",
                "refreshTokenSecretRef": { "name": SOURCES[source], "key": "refresh_token" },
                "refreshTokenRotation": rotation,
                "target": { "name": format!("target-{name}"), "creationPolicy": "Owner" },
            });
            cluster.lock().change(name, &json!({ "spec": spec }));
        }
        let world = World { cluster, squadcast, time, judge: Judge::default(), wrong };
        let watcher = Watcher::new(&world, script);
        world.judge.lock().journal = journal;
        // A clock that nobody sets, on a machine that does not sleep, need not be looked at so often.
        let clock = script.steps.iter().any(|(step, _)| matches!(step, Step::SetClock(_) | Step::Sleep(_)));
        let look = if clock { LOOK } else { SELDOM };
        let mut play = Self { world, operators: Vec::new(), processes: 0, look, watcher, elects: false };
        play.start();
        if wrong == Some(Wrong::LeadsTwice) {
            play.start();
        }
        play
    }

    fn start(&mut self) {
        self.processes += 1;
        self.operators.push(Operator::start(&self.world, self.processes, self.look));
    }

    async fn perform(&mut self, script: &Script) -> Result<Played, String> {
        self.pass(30).await?;
        for (step, wait) in &script.steps {
            self.step(*step).await;
            self.watcher.disturbed(&self.world);
            let most = if script.in_full { i64::MAX } else { self.longest() };
            self.pass(i64::from(*wait).min(most)).await?;
        }
        self.calm();
        self.pass(CALM).await?;
        self.replace_what_is_lost();
        self.pass(CALM).await?;
        if self.world.time.offset() != 0 {
            // By a clock that was set, what was got before may have seemed to live longer.
            self.ask_all("again");
            self.pass(CALM).await?;
        }
        Watcher::nothing_is_left_behind(&self.world)?;
        self.quiet().await?;
        let seconds = self.world.time.now() - super::time::DAWN;
        let requests = self.world.cluster.lock().requests;
        Ok(Played { seconds, exchanges: self.world.judge.lock().exchanges, requests })
    }

    /// How long it is left as it is at most: many retries and many renewals are more of the same.
    fn longest(&self) -> i64 {
        let squadcast = self.world.squadcast.lock();
        let state = self.world.cluster.lock();
        let answers = matches!(squadcast.mood, Mood::Fine | Mood::Rotating | Mood::Repeating | Mood::Slow);
        match (state.faults.api, answers && state.faults.refuse == Refusal::Nothing) {
            (Api::Up, true) => squadcast.life * 20,
            (Api::Up, false) => 40_000,
            _ => 3000,
        }
    }

    /// Lets so much time pass, and looks now and then.
    async fn pass(&mut self, seconds: i64) -> Result<(), String> {
        let until = self.world.time.now() + seconds;
        let mut pause = 1;
        loop {
            self.watcher.look(&self.world, &self.operators)?;
            let now = self.world.time.now();
            if now >= until {
                return Ok(());
            }
            let next = Watcher::next_look(&self.world).map_or(pause, |at| pause.min((at - now).max(1)));
            let nap = Duration::from_secs(next.min(until - now).unsigned_abs());
            let process = self.operators[0].process.clone();
            tokio::select! {
                biased;
                () = process.died() => {
                    self.operators[0].kill();
                    self.world.judge.gone(process.number());
                    self.watcher.died(process.number(), &self.world);
                    tokio::time::sleep(Duration::from_secs(START)).await;
                    self.processes += 1;
                    self.operators[0] = Operator::start(&self.world, self.processes, self.look);
                }
                () = tokio::time::sleep(nap) => {}
            }
            pause = (pause * 2).min(900);
        }
    }

    async fn restart(&mut self) {
        let operator = &mut self.operators[0];
        operator.process.survives();
        let number = operator.process.number();
        if !operator.stop().await {
            self.world.judge.broken(|| "it does not stop in time".to_owned());
        }
        self.watcher.stopped(number, &self.world);
        self.world.judge.gone(number);
        self.processes += 1;
        self.operators[0] = Operator::start(&self.world, self.processes, self.look);
    }

    /// Ends all faults; refresh tokens stay as they are.
    fn calm(&mut self) {
        {
            let mut squadcast = self.world.squadcast.lock();
            squadcast.mood = Mood::Fine;
            squadcast.life = 172_800;
            let mut state = self.world.cluster.lock();
            state.faults.api = Api::Up;
            state.faults.lose_answers = 0;
            state.faults.storm = 0;
            state.faults.refuse = Refusal::Nothing;
            state.faults.lag = [0, 0];
            state.faults.fights.clear();
        }
        self.operators[0].process.survives();
        if !self.operators[0].leads() {
            self.operators[0].lead(true);
        }
        for (i, (name, _)) in RESOURCES.iter().enumerate() {
            let suspended = self.world.cluster.lock().credentials[*name]["spec"]["suspend"] == true;
            if suspended {
                self.change(i, &json!({ "spec": { "suspend": false } }));
            }
        }
        self.ask_all("now");
    }

    /// The users put refresh tokens where there are none that are any good.
    fn replace_what_is_lost(&mut self) {
        for source in SOURCES {
            let held = self.world.cluster.value(source, "refresh_token");
            if !held.is_some_and(|token| self.world.squadcast.lock().good.contains(&token)) {
                let token = self.world.squadcast.issue();
                self.world.cluster.lock().store_token(source, &token);
            }
        }
        self.ask_all("at last");
    }

    /// What was got while the life was another, or the clock, gives way to what is usual.
    fn ask_all(&mut self, when: &str) {
        for i in 0..RESOURCES.len() {
            let annotations = json!({ names::ANNOTATION_RENEW: when });
            self.change(i, &json!({ "metadata": { "annotations": annotations } }));
        }
        self.watcher.disturbed(&self.world);
    }

    /// From here on nothing happens but renewals and one restart, and they cost what they should.
    async fn quiet(&mut self) -> Result<(), String> {
        let counts = |world: &World| {
            let state = world.cluster.lock();
            (world.judge.lock().exchanges, state.requests, state.writes)
        };
        let (exchanges, requests, writes) = counts(&self.world);
        self.look = SELDOM;
        self.restart().await;
        self.pass(60).await?;
        let after = counts(&self.world);
        if after.0 != exchanges || after.2 != writes || after.1 - requests > 2 * 3 {
            return Err(format!(
                "a restart cost {} exchanges, {} requests, {} of them writes, with nothing to do",
                after.0 - exchanges,
                after.1 - requests,
                after.2 - writes
            ));
        }
        let conditions = |world: &World| -> Vec<Value> {
            let state = world.cluster.lock();
            RESOURCES
                .iter()
                .map(|(name, _)| state.credentials[*name]["status"]["conditions"].clone())
                .collect()
        };
        let (exchanges, requests, _) = after;
        let before = conditions(&self.world);
        self.pass(QUIET).await?;
        let after = counts(&self.world);
        let (exchanges, requests) = (after.0 - exchanges, after.1 - requests);
        // 28.8 to 32 hours from one to the next, for each of two refresh tokens.
        if !(2 * 15..=2 * 17).contains(&exchanges) || requests > 3 * 17 * 3 {
            return Err(format!("{exchanges} exchanges and {requests} requests in a quiet life of 20 days"));
        }
        if before != conditions(&self.world) {
            return Err("routine renewals change conditions".to_owned());
        }
        Ok(())
    }
}
