//! Two processes and one lease: who works when one of them ends, dies, stands still or is cut off.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;

use crate::OPERATOR;
use crate::support::audit::Request;
use crate::support::world::{REGION, World};
use crate::support::{DEADLINE, Front, Gate, Operator, Reply, Script, eventually};

/// One of two processes. Its exchanges have a path of their own.
struct Replica {
    name: &'static str,
    operator: Operator,
    front: Front,
}

impl Replica {
    async fn start(world: &World, name: &'static str) -> Arc<Self> {
        let (launch, front) = world.launch_through(OPERATOR);
        let operator = launch
            .arg("--leader-election")
            .arg(format!("--leader-election-namespace={}", world.namespace))
            .arg("--leader-election-name=pair")
            .arg(format!("--region={REGION}={}/{name},https://api.test.example", world.squadcast.url()))
            .start();
        operator.wait_ready().await;
        Arc::new(Self { name, operator, front })
    }

    fn leads(&self) -> Option<bool> {
        let (_, text) = self.operator.get("/metrics").ok()?;
        text.lines()
            .find_map(|line| line.strip_prefix("squadcast_operator_leader "))
            .map(|value| value == "1")
    }

    async fn wait_leads(&self, leads: bool) -> Instant {
        let what = format!("{} to lead: {leads}", self.name);
        eventually(&what, DEADLINE, async || self.leads() == Some(leads)).await;
        Instant::now()
    }

    /// When its exchanges came, oldest first.
    fn exchanges(&self, world: &World) -> Vec<Instant> {
        let path = format!("/{}/", self.name);
        let all = world.squadcast.all_requests();
        all.iter().filter(|request| request.path.starts_with(&path)).map(|request| request.at).collect()
    }

    /// What it wrote beside the lease, or tried to.
    fn writes(&self, world: &World, since: Timestamp) -> Vec<Request> {
        let mut requests = world.requests_of(&self.operator);
        requests.retain(|r| r.is_write() && r.resource != "leases");
        requests.retain(|r| r.received.parse::<Timestamp>().unwrap() >= since);
        requests
    }
}

/// How often a replica was asked, and from when to when it led all the time.
type Seen = (usize, Vec<(Instant, Instant)>);

/// Asks all replicas again and again whether they lead.
struct Watchers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Seen>>,
}

/// Two looks that are further apart say nothing of the time between.
const CLOSE: Duration = Duration::from_millis(500);

impl Watchers {
    fn new() -> Self {
        Self { stop: Arc::default(), threads: Vec::new() }
    }

    fn watch(&mut self, replica: &Arc<Replica>) {
        let (stop, replica) = (self.stop.clone(), replica.clone());
        self.threads.push(std::thread::spawn(move || {
            let (mut looks, mut led, mut reigns) = (0, None::<Instant>, Vec::new());
            while !stop.load(Ordering::SeqCst) {
                let before = Instant::now();
                let leads = replica.leads() == Some(true);
                looks += 1;
                if let Some(since) = led.filter(|since| leads && before - *since < CLOSE) {
                    reigns.push((since, before));
                }
                led = leads.then(Instant::now);
                std::thread::sleep(Duration::from_millis(10));
            }
            (looks, reigns)
        }));
    }

    /// Ends, and fails where two led at one time. Returns how many looks there were.
    fn end(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        let seen: Vec<_> = self.threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        for (at, (_, one)) in seen.iter().enumerate() {
            for (_, other) in &seen[at + 1..] {
                let both = one.iter().find(|a| other.iter().any(|b| a.0 < b.1 && b.0 < a.1));
                assert!(both.is_none(), "two led at one time");
            }
        }
        seen.iter().map(|(looks, _)| looks).sum()
    }
}

async fn resources(world: &World, count: usize, reply: &Reply, renew_before: &str) -> Vec<String> {
    let names: Vec<_> = (0..count).map(|number| format!("r{number}")).collect();
    for name in &names {
        let source = format!("{name}-source");
        world.squadcast.script(&format!("rt-{name}"), reply.clone());
        world.put_secret(&source, &[("refresh_token", &format!("rt-{name}"))]).await;
        let spec = json!({
            "region": REGION,
            "refreshTokenSecretRef": { "name": source },
            "target": { "name": format!("{name}-target") },
            "renewBefore": renew_before,
        });
        world.apply(name, spec).await;
    }
    for name in &names {
        world.wait_ready(name).await;
    }
    names
}

/// Resources with status and target, to see whether anybody has written one of them.
async fn versions(world: &World, names: &[String]) -> Vec<(Option<String>, String)> {
    let mut all = Vec::new();
    for name in names {
        let secret = world.secret(&format!("{name}-target")).await.unwrap();
        let resource = world.get(name).await.unwrap();
        all.push((secret.metadata.resource_version, resource["metadata"]["resourceVersion"].to_string()));
    }
    all
}

/// A follower is ready and has its watches; the first of two that leads does so before the second starts.
async fn pair(world: &World) -> (Arc<Replica>, Arc<Replica>, Watchers) {
    let mut watchers = Watchers::new();
    let first = Replica::start(world, "a").await;
    watchers.watch(&first);
    first.wait_leads(true).await;
    let second = Replica::start(world, "b").await;
    watchers.watch(&second);
    assert_eq!(second.leads(), Some(false));
    let asked = second.front.asked();
    // An API server that cannot stream lists is asked for a watch a second time.
    let watched = asked.iter().filter(|asked| asked.is_watch()).map(|asked| asked.path.split('?').next());
    assert_eq!(watched.collect::<BTreeSet<_>>().len(), 2, "warm watches: {asked:?}");
    assert_eq!(second.operator.get("/readyz").unwrap().0, 200);
    (first, second, watchers)
}

/// Whoever took over did nothing but look, and works.
async fn took_over_quietly(
    world: &World,
    names: &[String],
    fine: &[(Option<String>, String)],
    new: &Replica,
) {
    let late = format!("late-{}", new.name);
    world.refresh_token(&late, &format!("rt-{late}")).await;
    world.credential(&late, &late, &format!("{late}-target")).await;
    world.wait_ready(&late).await;
    assert_eq!(versions(world, names).await, fine);
    assert_eq!(new.exchanges(world).len(), 1, "only for the one that came late");
    for name in names {
        assert_eq!(world.squadcast.count(&format!("rt-{name}")), 1, "{name}");
    }
    let of_fine =
        |r: &&Request| names.iter().any(|name| r.name == *name || r.name == format!("{name}-target"));
    let writes = new.writes(world, Timestamp::MIN);
    assert_eq!(writes.iter().filter(of_fine).count(), 0, "{writes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_and_sigkill_hand_over_without_an_exchange_or_a_write_for_what_is_fine() {
    let world = World::new("hand-over").await;
    let (a, b, mut watchers) = pair(&world).await;
    let names = resources(&world, 10, &Reply::token(), "1h").await;
    let fine = versions(&world, &names).await;

    let began = Instant::now();
    a.operator.sigterm();
    let handed = b.wait_leads(true).await - began;
    assert_eq!(a.operator.wait_exit(DEADLINE).await, 0);
    took_over_quietly(&world, &names, &fine, &b).await;

    let c = Replica::start(&world, "c").await;
    watchers.watch(&c);
    let began = Instant::now();
    b.operator.kill();
    let inherited = c.wait_leads(true).await - began;
    took_over_quietly(&world, &names, &fine, &c).await;
    let looks = watchers.end();
    println!(
        "hand-over after SIGTERM {:.2} s, after SIGKILL {:.2} s; never two leaders in {looks} looks",
        handed.as_secs_f64(),
        inherited.as_secs_f64(),
    );
    // A lease lasts 15 s: below that it was given back, above that it ran out. Looks are 2 s apart.
    assert!(handed < Duration::from_secs(10), "{handed:?}");
    assert!(inherited < Duration::from_secs(25), "{inherited:?}");
}

/// The leader has an exchange in hand and others due later when it stops to be one; the follower does all of it,
/// and the former leader nothing when it comes back.
async fn the_leader_goes_and_comes_back(what: &str, go: impl Fn(&Replica), come_back: impl Fn(&Replica)) {
    let world = World::new(what).await;
    let (a, b, watchers) = pair(&world).await;
    // Due 20 to 22 s after the first issue, when nobody but the follower may do it.
    let names = resources(&world, 12, &Reply::token().life(60), "38s").await;
    let gate = Gate::new();
    world.squadcast.script("rt-flight", Script::first([Reply::token().hold(&gate)]));
    world.put_secret("flight-source", &[("refresh_token", "rt-flight")]).await;
    world.credential("flight", "flight-source", "flight-target").await;
    world.squadcast.wait_for_count("rt-flight", 1, DEADLINE).await;

    let (gone, gone_at) = (Instant::now(), Timestamp::now());
    go(&a);
    let leads = b.wait_leads(true).await;
    let taken_over = leads - gone;
    let renewals =
        a.front.asked().into_iter().filter(|a| a.is_lease() && a.is_write() && a.answered.is_some());
    let lasted = leads - renewals.map(|renewal| renewal.at).max().unwrap();
    assert!(lasted > Duration::from_secs(14), "{lasted:?}: nobody may lead before the lease ran out");
    world.wait_ready("flight").await;
    for name in &names {
        world.squadcast.wait_for_count(&format!("rt-{name}"), 2, DEADLINE).await;
    }
    come_back(&a);
    a.wait_leads(false).await;
    gate.release();
    eventually("the former leader to follow", DEADLINE, async || {
        a.operator.get("/readyz").is_ok_and(|(status, _)| status == 200)
            && a.operator.log().contains("no longer leading")
    })
    .await;
    // What it would do, it would have done when the present leader is through with something new.
    world.refresh_token("late-source", "rt-late").await;
    world.credential("late", "late-source", "late-target").await;
    world.wait_ready("late").await;

    assert_eq!(a.exchanges(&world).iter().filter(|at| **at > gone).count(), 0, "the former leader exchanged");
    let writes = a.writes(&world, gone_at);
    assert_eq!(writes.len(), 0, "{writes:?}");
    assert_eq!(b.leads(), Some(true));
    let token = world.secret_data("flight-target").await.remove("access_token").unwrap();
    let last = world.squadcast.minted("rt-flight").pop().unwrap();
    assert!(world.squadcast.is_good(&token));
    assert_eq!(world.squadcast.requests("rt-flight").len(), 2, "one each: {last:?}");
    let looks = watchers.end();
    println!(
        "{what}: the follower leads after {:.1} s; 0 exchanges and 0 writes by the former leader; never two leaders in {looks} looks",
        taken_over.as_secs_f64()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stands_still_beyond_its_lease_does_nothing_when_it_goes_on() {
    the_leader_goes_and_comes_back("paused", |a| a.operator.signal("STOP"), |a| a.operator.signal("CONT"))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_does_nothing_once_its_lease_ran_out() {
    the_leader_goes_and_comes_back("cut-off", |a| a.front.freeze(true), |a| a.front.freeze(false)).await;
}
