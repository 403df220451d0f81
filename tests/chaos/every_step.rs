//! SIGKILL at every step between observe and report: before each request of a piece of work reaches the API server,
//! after it did and before its answer comes back, and on both sides of the exchange. Another process then ends it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::OPERATOR;
use crate::steps::{conditions, instant};
use crate::support::world::{REGION, World};
use crate::support::{Asked, DEADLINE, Fate, Front, Gate, Operator, Reply, Script, eventually};

/// A piece of work, with all that is to be done for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
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
enum Point {
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
    fn issues_first(self) -> bool {
        matches!(self, Self::Issue | Self::IssueRotated)
    }

    fn rotates(self) -> bool {
        matches!(self, Self::IssueRotated | Self::RenewalRotated)
    }

    /// Exchanges that it needs.
    fn exchanges(self) -> usize {
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

/// One world for one piece of work, done once for each point.
struct Site {
    work: Work,
    world: World,
    front: Front,
}

impl Site {
    async fn new(work: Work) -> Self {
        let world = World::new(&format!("step-{work:?}").to_lowercase()).await;
        let (_, front) = world.launch_through(OPERATOR);
        Self { work, world, front }
    }

    async fn start(&self) -> Operator {
        let operator = self.world.launch(OPERATOR).kubeconfig(self.front.kubeconfig()).start();
        operator.wait_ready().await;
        operator
    }

    /// All that is there before the work begins.
    async fn prepare(&self, name: &str) {
        let Self { work, world, .. } = self;
        let token = format!("rt-{name}");
        world.squadcast.script(&token, work.reply());
        world.put_secret(&format!("{name}-source"), &[("refresh_token", &token)]).await;
        if *work == Work::Restart {
            world.kubectl_apply(&format!(
                r"{{ apiVersion: apps/v1, kind: Deployment, metadata: {{ name: {name}-app }}, spec: {{ replicas: 0,
                selector: {{ matchLabels: {{ a: b }} }}, template: {{ metadata: {{ labels: {{ a: b }} }},
                spec: {{ containers: [{{ name: a, image: a }}] }} }} }} }}"
            ));
        }
        if !work.issues_first() {
            world.apply(name, work.spec(name)).await;
        }
    }

    async fn begin(&self, name: &str) {
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
    async fn ended(&self, name: &str) {
        let Self { work, world, .. } = self;
        let request = matches!(work, Work::Renewal | Work::RenewalRotated | Work::Restart);
        let resource = eventually(&format!("{work:?} of {name} to be done"), DEADLINE, async || {
            let resource = world.get(name).await.ok_or("no resource")?;
            let status = &resource["status"];
            let token =
                world.secret_data(&work.target(name)).await.remove("access_token").unwrap_or_default();
            let done = conditions(&resource) == "Ready=True TokenValid, Synced=True Synced"
                && status["observedGeneration"] == resource["metadata"]["generation"]
                && status["targetName"] == work.target(name)
                && (!request || status["lastHandledRenewRequest"] == "now")
                && world.squadcast.is_good(&token);
            let last = world.squadcast.minted_as(&token).map(|minted| minted.expires_at);
            let told = status["expiresAt"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
            if done && told.map(Timestamp::as_second) == last {
                Ok(resource)
            } else {
                Err(status.to_string())
            }
        })
        .await;
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

    /// Exchanges for this resource that Squadcast answered with a token.
    fn minted(&self, name: &str) -> usize {
        let own = format!("rt-{name}");
        let of = |token: &str| token.split('~').next() == Some(&own);
        let all = self.world.squadcast.all_requests();
        all.iter().filter(|r| r.minted.is_some() && of(&r.refresh_token)).count()
    }

    /// The requests that the work takes where nothing is in its way.
    async fn steps(&self) -> Vec<Asked> {
        let operator = self.start().await;
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

    /// Ends a process at this point of the work.
    async fn kill_at(&self, point: Point, name: &str) {
        let before = self.front.asked().len();
        let operator = self.start().await;
        if !self.work.issues_first() {
            // It looks once at what is there already.
            let looked =
                async || self.front.asked()[before..].iter().any(|a| a.names(name) && a.answered.is_some());
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
        self.front.let_go();
    }

    /// The person whose refresh token was lost stores the one that is good.
    async fn lost(&self, name: &str) {
        self.world.wait_for(name, "Synced", "False", "RefreshTokenRejected").await;
        let newest = self.world.squadcast.newest(&format!("rt-{name}"));
        self.world.put_secret(&format!("{name}-source"), &[("refresh_token", &newest)]).await;
    }
}

/// What came of it: kills, exchanges beyond those that were needed, rotated refresh tokens lost.
async fn killed_everywhere(work: Work) -> (usize, usize, usize) {
    let site = Site::new(work).await;
    let steps = site.steps().await;
    let mut points: Vec<_> = (0..steps.len()).flat_map(|n| [Point::Before(n), Point::After(n)]).collect();
    if work.exchanges() > 0 {
        points.extend([Point::Unminted, Point::Minted]);
    }
    let names: Vec<_> = (0..points.len()).map(|number| format!("case-{number:02}")).collect();
    for name in &names {
        site.prepare(name).await;
    }
    let mut before = vec![0; names.len()];
    if !work.issues_first() {
        let keeper = site.start().await;
        for (name, before) in names.iter().zip(&mut before) {
            site.world.wait_ready(name).await;
            *before = site.minted(name);
        }
        keeper.kill();
    }
    for (point, name) in points.iter().zip(&names) {
        site.kill_at(*point, name).await;
    }
    // Where Squadcast had answered with another refresh token, and it was not stored.
    let stores = steps.iter().position(|asked| asked.is_write() && asked.names("-source"));
    let loses =
        |point: Point| work.rotates() && (point == Point::Minted || stores.map(Point::Before) == Some(point));
    let _operator = site.start().await;
    let (mut extra, mut lost) = (0, 0);
    for ((point, name), before) in points.iter().zip(&names).zip(before) {
        if loses(*point) {
            site.lost(name).await;
            lost += 1;
        }
        site.ended(name).await;
        let more = site.minted(name) - before - work.exchanges();
        assert!(more <= 1, "{work:?} killed {point:?}: {more} exchanges more than needed");
        extra += more;
    }
    let what = steps.iter().map(|asked| {
        let path = asked.path.split('?').next().unwrap_or_default();
        let kind = path.trim_end_matches("/status").rsplit('/').find(|part| !part.starts_with("plain"));
        format!(
            "{} {}",
            asked.method,
            if path.ends_with("/status") { "status" } else { kind.unwrap_or_default() }
        )
    });
    let what: Vec<_> = what.collect();
    println!(
        "{work:?} ({}): {} kills, 0 lost, 0 wrong, {extra} exchanges repeated, {lost} rotated refresh tokens lost in the window",
        what.join(", "),
        points.len(),
    );
    (points.len(), extra, lost)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_at_any_step_loses_nothing_and_repeats_one_exchange_at_most() {
    let works = [
        Work::Issue,
        Work::IssueRotated,
        Work::Renewal,
        Work::RenewalRotated,
        Work::Repair,
        Work::Rename,
        Work::Restart,
        Work::Policy,
    ];
    let all = join_all(works.map(killed_everywhere)).await;
    let (kills, extra, lost) =
        all.iter().fold((0, 0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1, sum.2 + one.2));
    println!(
        "every step: kills {kills}, lost 0, wrong states 0, extra exchanges {extra}, rotated in the window {lost}"
    );
    // Twice two points lie in the window: for a first issue and for a renewal.
    assert_eq!(lost, 4);
}

#[tokio::test]
async fn a_replaced_refresh_token_is_stored_by_the_one_request_that_follows_its_answer() {
    let site = Site::new(Work::IssueRotated).await;
    let _operator = site.start().await;
    let (mut until_sent, mut until_stored) = (Vec::new(), Vec::new());
    for number in 0..20 {
        let name = format!("window-{number:02}");
        site.prepare(&name).await;
        let before = site.front.asked().len();
        site.begin(&name).await;
        site.ended(&name).await;
        let answered = site.world.squadcast.requests(&format!("rt-{name}"))[0].ended.unwrap();
        let asked: Vec<Asked> = site.front.asked().split_off(before);
        let mut after = asked.iter().filter(|asked| !asked.is_watch() && asked.at >= answered);
        let store = after.next().unwrap();
        assert!(store.method == "PATCH" && store.names(&format!("{name}-source")), "{store:?}");
        until_sent.push(store.at - answered);
        until_stored.push(store.answered.unwrap_or_else(Instant::now) - answered);
    }
    until_sent.sort();
    until_stored.sort();
    println!(
        "the window of a rotated refresh token: 0 requests, {:.1} ms to the patch (at most {:.1}), {:.1} ms until it is stored (at most {:.1})",
        until_sent[10].as_secs_f64() * 1e3,
        until_sent[19].as_secs_f64() * 1e3,
        until_stored[10].as_secs_f64() * 1e3,
        until_stored[19].as_secs_f64() * 1e3,
    );
}
