//! Pieces of work, each in a world of its own, and how a process is ended at a point of one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::OPERATOR;
use crate::steps::{conditions, instant};
use crate::support::world::{REGION, World};
use crate::support::{Asked, DEADLINE, Fate, Front, Gate, Operator, Reply, Script, eventually};

/// A piece of work, with all that is to be done for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    Issue,
    IssueRotated,
    Renewal,
    RenewalRotated,
    Repair,
    Rename,
    Restart,
    Policy,
}

/// Where the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// The request of this number has not reached the API server.
    Before(usize),
    /// It has, and its answer has not come back.
    After(usize),
    /// Squadcast has the request and has not minted a token.
    Unminted,
    /// Squadcast has answered, and the answer has not come.
    Minted,
}

impl Work {
    pub fn issues_first(self) -> bool {
        matches!(self, Self::Issue | Self::IssueRotated)
    }

    pub fn rotates(self) -> bool {
        matches!(self, Self::IssueRotated | Self::RenewalRotated)
    }

    /// Exchanges that it needs.
    pub fn exchanges(self) -> usize {
        usize::from(self != Self::Policy)
    }

    fn reply(self) -> Reply {
        if self.rotates() { Reply::token().rotates() } else { Reply::token() }
    }

    fn spec(self, name: &str) -> Value {
        let mut spec = json!({
            "region": REGION,
            "refreshTokenSecretRef": { "name": format!("{name}-source") },
            "target": { "name": format!("{name}-target") },
        });
        if self.rotates() {
            spec["refreshTokenRotation"] = "WriteBack".into();
        }
        if self == Self::Restart {
            spec["rolloutRestartTargets"] = json!([{ "kind": "Deployment", "name": format!("{name}-app") }]);
        }
        spec
    }

    /// The Secret that holds the token in the end.
    fn target(self, name: &str) -> String {
        if self == Self::Rename { format!("{name}-renamed") } else { format!("{name}-target") }
    }
}

/// A process, and how many requests were made before it.
pub struct Started {
    pub operator: Operator,
    asked: usize,
}

/// One world for one piece of work, done once for each point.
pub struct Site {
    work: Work,
    pub world: World,
    pub front: Front,
}

impl Site {
    pub async fn new(work: Work) -> Self {
        let world = World::new(&format!("step-{work:?}").to_lowercase()).await;
        let (_, front) = world.launch_through(OPERATOR);
        Self { work, world, front }
    }

    pub async fn start(&self) -> Started {
        let asked = self.front.asked().len();
        let operator = self.world.launch(OPERATOR).kubeconfig(self.front.kubeconfig()).start();
        operator.wait_ready().await;
        Started { operator, asked }
    }

    /// All that is there before the work begins.
    pub async fn prepare(&self, name: &str) {
        let Self { work, world, .. } = self;
        let token = format!("rt-{name}");
        world.squadcast.script(&token, work.reply());
        world.put_secret(&format!("{name}-source"), &[("refresh_token", &token)]).await;
        if *work == Work::Restart {
            world.workload("Deployment", &format!("{name}-app"));
        }
        if !work.issues_first() {
            world.apply(name, work.spec(name)).await;
        }
    }

    pub async fn begin(&self, name: &str) {
        let Self { work, world, .. } = self;
        if !work.issues_first() {
            // Two exchanges of one resource are seconds apart: without that pause the work begins at once.
            let last = instant(&world.get(name).await.unwrap(), "lastRenewedAt").as_second();
            eventually("the pause to end", DEADLINE, async || Timestamp::now().as_second() > last + 5).await;
        }
        match work {
            Work::Issue | Work::IssueRotated => drop(world.apply(name, work.spec(name)).await),
            Work::Renewal | Work::RenewalRotated | Work::Restart => {
                let request = json!({ "credentials.squadcast.com/renew-requested-at": "now" });
                world.patch(name, json!({ "metadata": { "annotations": request } })).await;
            }
            Work::Repair => {
                let patch = Patch::Merge(json!({ "stringData": { "access_token": "edited" } }));
                let secret = format!("{name}-target");
                world.secrets().patch(&secret, &PatchParams::default(), &patch).await.unwrap();
            }
            Work::Rename => {
                world.patch(name, json!({ "spec": { "target": { "name": work.target(name) } } })).await;
            }
            Work::Policy => {
                world.patch(name, json!({ "spec": { "target": { "creationPolicy": "Orphan" } } })).await;
            }
        }
    }

    /// The work is done and everything says so; `exchanges` is how many there may have been since it began.
    pub async fn ended(&self, name: &str) {
        let Self { work, world, .. } = self;
        let what = format!("{work:?} of {name} to be done");
        let resource = eventually(&what, DEADLINE, async || self.done(name).await).await;
        match work {
            Work::Rename => {
                let gone = async || world.secret(&format!("{name}-target")).await.is_none();
                eventually(&format!("the former target of {name} to go"), DEADLINE, gone).await;
            }
            Work::Restart => {
                let apps: kube::Api<k8s_openapi::api::apps::v1::Deployment> =
                    kube::Api::namespaced(world.client.clone(), &world.namespace);
                let app = apps.get(&format!("{name}-app")).await.unwrap();
                let template = app.spec.unwrap().template.metadata.unwrap().annotations.unwrap_or_default();
                let told = template.get("credentials.squadcast.com/restarted-for").cloned();
                assert_eq!(told.as_deref(), resource["status"]["restartedDataHash"].as_str(), "{name}");
                let restarts = app.metadata.generation.unwrap() - 1;
                assert!((1..=2).contains(&restarts), "{name}: restarted {restarts} times");
            }
            Work::Policy => {
                let secret = world.secret(&work.target(name)).await.unwrap();
                assert_eq!(secret.metadata.owner_references, None, "{name}");
            }
            _ => {}
        }
        if work.rotates() {
            let stored = world.secret_data(&format!("{name}-source")).await.remove("refresh_token").unwrap();
            assert_eq!(stored, world.squadcast.newest(&format!("rt-{name}")), "{name}");
        }
    }

    /// The resource, where its target and its status say that the work is done.
    pub async fn done(&self, name: &str) -> Result<Value, String> {
        let Self { work, world, .. } = self;
        let request = matches!(work, Work::Renewal | Work::RenewalRotated | Work::Restart);
        let resource = world.get(name).await.ok_or("no resource")?;
        let status = &resource["status"];
        let token = world.secret_data(&work.target(name)).await.remove("access_token").unwrap_or_default();
        let done = conditions(&resource) == "Ready=True TokenValid, Synced=True Synced"
            && status["observedGeneration"] == resource["metadata"]["generation"]
            && status["targetName"] == work.target(name)
            && (!request || status["lastHandledRenewRequest"] == "now")
            && world.squadcast.is_good(&token);
        let last = world.squadcast.minted_as(&token).map(|minted| minted.expires_at);
        let told = status["expiresAt"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
        if done && told.map(Timestamp::as_second) == last { Ok(resource) } else { Err(status.to_string()) }
    }

    /// Exchanges for this resource that Squadcast answered with a token.
    pub fn minted(&self, name: &str) -> usize {
        let own = format!("rt-{name}");
        let of = |token: &str| token.split('~').next() == Some(&own);
        let all = self.world.squadcast.all_requests();
        all.iter().filter(|r| r.minted.is_some() && of(&r.refresh_token)).count()
    }

    /// The requests that the work takes where nothing is in its way.
    pub async fn steps(&self) -> Vec<Asked> {
        let Started { operator, .. } = self.start().await;
        self.prepare("plain").await;
        if !self.work.issues_first() {
            self.world.wait_ready("plain").await;
            eventually("the first event", DEADLINE, async || !self.world.events("plain").await.is_empty())
                .await;
        }
        let before = self.front.asked().len();
        let events = self.world.events("plain").await.len();
        self.begin("plain").await;
        self.ended("plain").await;
        let told = usize::from(self.work.exchanges() > 0) + usize::from(self.work.rotates());
        let told = told + usize::from(self.work == Work::Restart);
        eventually("its events", DEADLINE, async || self.world.events("plain").await.len() >= events + told)
            .await;
        operator.kill();
        let mut steps = self.front.asked().split_off(before);
        steps.retain(|asked| !asked.is_watch() && asked.names("plain"));
        steps
    }

    /// Ends this process at this point of the work.
    pub async fn kill_at(&self, Started { operator, asked }: Started, point: Point, name: &str) {
        if !self.work.issues_first() {
            // It looks once at what is there already.
            let looked =
                async || self.front.asked()[asked..].iter().any(|a| a.names(name) && a.answered.is_some());
            eventually(&format!("a look at {name}"), DEADLINE, looked).await;
        }
        let held = self.front.held();
        let (own, number) = (name.to_owned(), AtomicUsize::new(0));
        if let Point::Before(wanted) | Point::After(wanted) = point {
            let fate = if point == Point::Before(wanted) { Fate::HoldRequest } else { Fate::HoldAnswer };
            self.front.rule(move |asked| {
                let ours = !asked.is_watch() && asked.names(&own);
                if ours && number.fetch_add(1, Ordering::SeqCst) == wanted {
                    fate.clone()
                } else {
                    Fate::Forward
                }
            });
        }
        let token = self.world.squadcast.newest(&format!("rt-{name}"));
        let (seen, minted) = (self.world.squadcast.count(&token), self.minted(name));
        let gate = Gate::new();
        let then = |first: Reply| Script::first([first]).then(self.work.reply());
        match point {
            Point::Unminted => self.world.squadcast.script(&token, then(self.work.reply().hold(&gate))),
            Point::Minted => {
                self.world.squadcast.script(&token, then(self.work.reply().drip(Duration::from_secs(1))));
            }
            _ => {}
        }
        self.begin(name).await;
        match point {
            Point::Before(_) | Point::After(_) => self.front.wait_held(held + 1, DEADLINE).await,
            Point::Unminted => self.world.squadcast.wait_for_count(&token, seen + 1, DEADLINE).await,
            Point::Minted => eventually("a token", DEADLINE, async || self.minted(name) > minted).await,
        }
        operator.kill();
        // What is held dies with its process: to let it go could still send it.
        self.front.cut();
        self.front.let_go();
    }

    /// The person whose refresh token was lost stores the one that is good.
    pub async fn lost(&self, name: &str) {
        self.world.wait_for(name, "Synced", "False", "RefreshTokenRejected").await;
        let newest = self.world.squadcast.newest(&format!("rt-{name}"));
        self.world.put_secret(&format!("{name}-source"), &[("refresh_token", &newest)]).await;
    }
}
