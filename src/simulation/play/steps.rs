//! What each step of a script does to the world.

use std::time::Duration;

use serde_json::{Value, json};

use super::Play;
use crate::{
    api::names,
    simulation::{
        operator::World,
        script::{Api, RESOURCES, SOURCES, Step},
    },
};

/// For how long a process leads without having heard from the API server.
const LEASE: Duration = Duration::from_secs(10);
/// How often it looks at its lease.
const LOOK_AT_LEASE: Duration = Duration::from_secs(2);

impl Play {
    pub(super) async fn step(&mut self, step: Step) {
        let name = |i: usize| RESOURCES[i].0;
        let World { cluster, squadcast, time, .. } = self.world.clone();
        self.world.judge.say(&self.world.time, || format!("{step:?}"));
        self.watcher.step(step, &self.world);
        match step {
            Step::Squadcast(mood) => squadcast.lock().mood = mood,
            Step::Life(seconds) => squadcast.lock().life = seconds,
            Step::Revoke(i) => {
                if let Some(token) = cluster.value(SOURCES[i], "refresh_token") {
                    squadcast.lock().good.remove(&token);
                }
            }
            Step::Replace(i) => {
                let token = squadcast.issue();
                cluster.lock().store_token(SOURCES[i], &token);
            }
            Step::Mistype(i) => cluster.lock().store_token(SOURCES[i], "mistyped"),
            Step::DeleteSource(i) => cluster.lock().delete_secret(SOURCES[i]),
            Step::Edit(i) => self.edit(i, Some("somebody else's")),
            Step::RemoveKey(i) => self.edit(i, None),
            Step::Relabel(i) => {
                let target = self.target(i);
                let labels = json!({ names::LABEL_CREDENTIAL: "somebody else's" });
                let mut state = cluster.lock();
                if state.secrets.all.contains_key(&target) {
                    state.change_secret(&target, &json!({ "metadata": { "labels": labels } }));
                }
            }
            Step::DeleteTarget(i) => {
                let target = self.target(i);
                cluster.lock().delete_secret(&target);
            }
            Step::Fight(i, times) => {
                let target = self.target(i);
                cluster.lock().faults.fights.insert(target, times);
                self.edit(i, Some("mine"));
            }
            Step::Suspend(i, on) => self.change(i, &json!({ "spec": { "suspend": on } })),
            Step::AskForRenewal(i) => {
                let annotations = json!({ names::ANNOTATION_RENEW: format!("{}", time.exact()) });
                self.change(i, &json!({ "metadata": { "annotations": annotations } }));
            }
            Step::ChangeTemplate(i, which) => {
                let template = json!({ "access_token": "{{ access_token }}", "which": which.to_string() });
                self.change(i, &json!({ "spec": { "target": { "template": template } } }));
            }
            Step::MoveTarget(i, to) => {
                let target = format!("target-{}-{to}", name(i));
                self.change(i, &json!({ "spec": { "target": { "name": target } } }));
            }
            Step::Recreate(i) => self.recreate(name(i)),
            Step::Api(api) => {
                cluster.lock().faults.api = api;
                match (self.elects, api) {
                    (false, _) => {}
                    (true, Api::Up) => self.operators[0].lead(true),
                    (true, _) => {
                        tokio::time::sleep(LEASE).await;
                        self.operators[0].lead(false);
                    }
                }
            }
            Step::LoseAnswers(writes) => cluster.lock().faults.lose_answers = writes,
            Step::Storm(writes) => cluster.lock().faults.storm = writes,
            Step::Refuse(refusal) => cluster.lock().faults.refuse = refusal,
            Step::Restart => self.restart().await,
            Step::Die(requests, done) => self.operators[0].process.will_die(requests, done),
            Step::Lead(leads) => self.operators[0].lead(leads),
            Step::Elect => self.elects = true,
            Step::Lag(credentials, secrets) => {
                let now = time.now();
                cluster.lock().faults.lag = [now + i64::from(credentials), now + i64::from(secrets)];
            }
            Step::Relist => cluster.lock().expire(),
            Step::SetClock(by) => {
                self.world.judge.lock().limits.clear();
                time.set(by);
                self.doubt_the_lease().await;
            }
            Step::Sleep(seconds) => {
                time.sleep(seconds.into());
                self.doubt_the_lease().await;
            }
        }
    }

    /// The clock has jumped: the lease may have run out, and is got again.
    async fn doubt_the_lease(&self) {
        if self.elects && self.operators[0].leads() {
            self.operators[0].lead(false);
            tokio::time::sleep(LOOK_AT_LEASE).await;
            self.operators[0].lead(true);
        }
    }

    pub(super) fn change(&self, resource: usize, patch: &Value) {
        self.world.cluster.lock().change(RESOURCES[resource].0, patch);
    }

    fn target(&self, resource: usize) -> String {
        let state = self.world.cluster.lock();
        let spec = &state.credentials[RESOURCES[resource].0]["spec"];
        spec["target"]["name"].as_str().unwrap_or_default().to_owned()
    }

    fn edit(&self, resource: usize, value: Option<&str>) {
        let target = self.target(resource);
        self.world.cluster.lock().edit(&target, "access_token", value);
    }

    fn recreate(&self, name: &str) {
        let cluster = &self.world.cluster;
        let Some(spec) = cluster.lock().delete(name) else { return };
        cluster.lock().change(name, &json!({ "spec": spec }));
        cluster.collect_garbage();
    }
}
