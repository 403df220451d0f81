//! A faulty cluster, one fault after the other on a control plane of its own: the operator neither ends nor spins,
//! and it is right soon after each. What it asked meanwhile and how long it took is printed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::OPERATOR;
use crate::administrator::{forbid, grant, permit, wait_probe};
use crate::setting;
use crate::steps::conditions;
use crate::support::controlplane::definition_file;
use crate::support::world::{REGION, World, install_crd};
use crate::support::{
    Asked, Component, ControlPlane, DEADLINE, Fate, Front, Operator, Options, Reply, eventually,
};

/// The operator is right so soon after a fault.
const AFTERWARDS: Duration = Duration::from_secs(30);
/// Resources whose tokens of a minute are renewed all the time.
const BUSY: [&str; 3] = ["busy-0", "busy-1", "busy-2"];
/// What an outage may cost in requests: so many at once, when everything is tried and looked at again, and so many a
/// second. A loop without a pause makes hundreds a second.
const AT_ONCE: u64 = 100;
const A_SECOND: u64 = 20;

struct Scene {
    world: World,
    front: Front,
    operator: Operator,
    number: AtomicU32,
}

/// Who reaches the API server meanwhile.
#[derive(Clone, Copy, PartialEq)]
enum Reach {
    All,
    /// Nothing can be changed either.
    Nobody,
    /// Everybody, and somebody changes things without a pause.
    Storm,
}

impl Scene {
    async fn new(plane: &Arc<ControlPlane>, name: &str) -> Self {
        let world = World::on(plane, name).await;
        let user = format!("limited-{}", world.namespace);
        grant(&world, &user, RIGHTS);
        let front = plane.front(&user, &[]);
        let operator = world.launch_as(OPERATOR, &user, &[]).kubeconfig(front.kubeconfig()).start();
        operator.wait_ready().await;
        let scene = Self { world, front, operator, number: AtomicU32::new(0) };
        scene.resources().await;
        scene
    }

    async fn resources(&self) {
        for name in BUSY {
            self.resource(name, Reply::token().life(60), json!("50s")).await;
        }
        self.resource("turned", Reply::token(), json!("1h")).await;
        for name in BUSY.into_iter().chain(["turned"]) {
            self.well(name).await;
        }
    }

    async fn resource(&self, name: &str, reply: Reply, renew_before: serde_json::Value) {
        let world = &self.world;
        let token = format!("rt-{name}");
        world.squadcast.script(&token, reply);
        world.put_secret(&format!("{name}-source"), &[("refresh_token", &token)]).await;
        let spec = json!({
            "region": REGION,
            "refreshTokenSecretRef": { "name": format!("{name}-source") },
            "target": { "name": format!("{name}-target") },
            "renewBefore": renew_before,
        });
        world.apply(name, spec).await;
    }

    async fn well(&self, name: &str) {
        eventually(&format!("{name} to be well"), AFTERWARDS, async || {
            let resource = self.world.get(name).await.ok_or("no resource")?;
            let mut data = self.world.secret_data(&format!("{name}-target")).await;
            let token = data.remove("access_token").unwrap_or_default();
            let fine = conditions(&resource) == "Ready=True TokenValid, Synced=True Synced";
            let good = self.world.squadcast.is_good(&token);
            if fine && good { Ok(()) } else { Err(format!("good: {good}, {}", resource["status"])) }
        })
        .await;
    }

    /// Something new to do, and a change: a resource, and another refresh token.
    async fn change(&self) -> u32 {
        let number = self.number.fetch_add(1, Ordering::SeqCst);
        self.resource(&format!("late-{number}"), Reply::token(), json!("1h")).await;
        self.world.refresh_token("turned-source", &format!("rt-turned-{number}")).await;
        number
    }

    async fn right(&self, change: u32) {
        self.well(&format!("late-{change}")).await;
        eventually("the change to have come through", AFTERWARDS, async || {
            let mut data = self.world.secret_data("turned-target").await;
            let token = data.remove("access_token").unwrap_or_default();
            let minted = self.world.squadcast.minted_as(&token).ok_or("no token")?;
            let wanted = format!("rt-turned-{change}");
            if minted.refresh_token == wanted { Ok(()) } else { Err(minted.refresh_token) }
        })
        .await;
        for name in BUSY.into_iter().chain(["turned"]) {
            self.well(name).await;
        }
    }

    /// A fault from `begin` to `end`, in which as much goes on as can.
    async fn outage(
        &self,
        what: &str,
        reach: Reach,
        begin: impl AsyncFnOnce(),
        end: impl AsyncFnOnce(),
    ) -> usize {
        let length = Duration::from_secs(setting("OUTAGE", 4));
        let exchanges = self.world.squadcast.all_requests().len();
        begin().await;
        let start = Instant::now();
        let before = self.front.asked().len();
        let changed = if reach == Reach::Nobody { None } else { Some(self.change().await) };
        tokio::time::sleep_until((start + length).into()).await;
        let asked = self.front.asked().len() - before;
        let lasted = start.elapsed();
        end().await;
        let over = Instant::now();
        assert_eq!(self.operator.exit_code(), None, "{what}: the operator ended");
        let changed = match changed {
            Some(number) => number,
            None => self.change().await,
        };
        self.right(changed).await;
        let minute = a_minute(asked, lasted);
        let minted = self.world.squadcast.all_requests().len() - exchanges;
        println!(
            "{what}: {minute} requests a minute during {:.0} s, right {:.1} s after it, {minted} exchanges",
            lasted.as_secs_f64(),
            over.elapsed().as_secs_f64()
        );
        assert!(reach == Reach::Storm || few(asked, lasted), "{what}: {asked} requests in {lasted:?}");
        // Three resources that are due every 9 s, two changes, and what they repeat.
        let most = 3 * (2 + usize::try_from(start.elapsed().as_secs() / 8).unwrap()) + 8;
        assert!(minted <= most, "{what}: {minted} exchanges, more than {most}");
        asked
    }

    async fn behind_the_proxy(&self, what: &str, rule: impl Fn(&Asked) -> Fate + Send + Sync + 'static) {
        let begin = async || {
            self.front.rule(rule);
            self.front.cut();
        };
        let _ = self.outage(what, Reach::All, begin, async || self.front.let_go()).await;
    }
}

const RIGHTS: &str = "get, list, watch, create, patch, delete";

/// So many in this time, as many in a minute.
fn a_minute(count: usize, time: Duration) -> u32 {
    u32::try_from(count as u128 * 60_000 / time.as_millis().max(1)).unwrap()
}

fn few(count: usize, time: Duration) -> bool {
    count as u64 <= AT_ONCE + A_SECOND * time.as_secs()
}

fn own_plane() -> Arc<ControlPlane> {
    let definitions = std::fs::read_to_string(definition_file()).into_iter().collect();
    Arc::new(ControlPlane::start_with(&Options { definitions, ..Options::default() }))
}

/// Runs what blocks without holding up the tests' own watches and stand-ins.
fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_the_api_server_and_its_store_are_got_over() {
    let plane = own_plane();
    let scene = Scene::new(&plane, "outage").await;
    let kill = async || blocking(|| plane.kill(Component::ApiServer));
    let restart = async || blocking(|| plane.restart(Component::ApiServer));
    scene.outage("API server killed and restarted", Reach::Nobody, kill, restart).await;
    let pause = async || blocking(|| plane.pause(Component::Etcd));
    let resume = async || blocking(|| plane.resume(Component::Etcd));
    scene.outage("etcd stopped and continued", Reach::Nobody, pause, resume).await;
    let pause = async || blocking(|| plane.pause(Component::ApiServer));
    let resume = async || blocking(|| plane.resume(Component::ApiServer));
    scene.outage("API server stopped and continued", Reach::Nobody, pause, resume).await;
    let freeze = async || scene.front.freeze(true);
    scene.outage("network lost", Reach::All, freeze, async || scene.front.freeze(false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_fail_are_got_over() {
    let scene = Scene::new(ControlPlane::shared(), "answers").await;
    let writes =
        |fate: Fate| move |asked: &Asked| if asked.is_write() { fate.clone() } else { Fate::Forward };
    scene.behind_the_proxy("429 for everything", |_| Fate::Answer(429, "Retry-After: 1\r\n")).await;
    scene.behind_the_proxy("503 for everything", |_| Fate::Answer(503, "")).await;
    scene.behind_the_proxy("500 for writes", writes(Fate::Answer(500, ""))).await;
    scene.behind_the_proxy("504 for writes that were made", writes(Fate::CutAnswer(0))).await;
    scene.behind_the_proxy("answers cut after 200 bytes", |_| Fate::CutAnswer(200)).await;
    scene.behind_the_proxy("409 for writes", writes(Fate::Answer(409, ""))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_that_end_or_expire_are_got_over() {
    let scene = Scene::new(ControlPlane::shared(), "watches").await;
    let watches =
        |fate: Fate| move |asked: &Asked| if asked.is_watch() { fate.clone() } else { Fate::Forward };
    scene.behind_the_proxy("watches closed at once", watches(Fate::CutAnswer(0))).await;
    scene.behind_the_proxy("watches closed after 2 kB", watches(Fate::CutAnswer(2000))).await;
    scene.behind_the_proxy("410 for watches", watches(Fate::Answer(410, ""))).await;
    let expired = r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version","reason":"Expired","code":410}}"#;
    scene.behind_the_proxy("410 in watches", watches(Fate::Event(expired))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_who_takes_and_gives_is_got_over() {
    let scene = Scene::new(ControlPlane::shared(), "taken").await;
    let (world, name) = (&scene.world, scene.world.namespace.clone());
    let user = format!("limited-{name}");

    let take = async || drop(world.kubectl(&["delete", "rolebinding", "operator"]));
    scene
        .outage("rights withdrawn and returned", Reach::All, take, async || grant(world, &user, RIGHTS))
        .await;

    let deny = async || {
        forbid(world, "-target");
        wait_probe(world, "-target", false).await;
    };
    scene
        .outage("writes refused by a policy", Reach::All, deny, async || permit(world, "-target").await)
        .await;

    let hook = async || {
        world.kubectl_apply(&format!(
            r#"{{ apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration,
            metadata: {{ name: {name} }}, webhooks: [{{ name: nobody.test.example, failurePolicy: Fail,
            sideEffects: None, admissionReviewVersions: [v1], timeoutSeconds: 2,
            clientConfig: {{ url: "https://127.0.0.1:1/" }},
            matchConditions: [{{ name: operator, expression: "request.userInfo.username == '{user}'" }}],
            rules: [{{ apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [secrets] }}] }}] }}"#
        ));
    };
    let unhook = async || drop(world.kubectl(&["delete", "validatingwebhookconfiguration", &name]));
    scene.outage("a webhook that nobody answers", Reach::All, hook, unhook).await;

    let quota = async || {
        world.kubectl_apply("{ apiVersion: v1, kind: ResourceQuota, metadata: { name: full }, spec: { hard: { count/events.events.k8s.io: '0' } } }");
    };
    let no_quota = async || drop(world.kubectl(&["delete", "resourcequota", "full"]));
    scene.outage("a quota on events", Reach::All, quota, no_quota).await;

    storm(&scene).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_and_a_namespace_that_go_and_come_back_are_got_over() {
    let scene = Scene::new(&own_plane(), "gone").await;
    definition_gone(&scene).await;
    namespace_gone(&scene).await;
}

/// Somebody writes the targets without a pause; what the operator looked at has changed before it writes.
async fn storm(scene: &Scene) {
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (secrets, ended) = (scene.world.secrets(), stop.clone());
    let mut storm = None;
    let begin = async || {
        storm = Some(tokio::spawn(async move {
            let mut writes = 0u32;
            while !ended.load(Ordering::SeqCst) {
                for name in BUSY.into_iter().chain(["turned"]) {
                    writes += 1;
                    let patch = json!({ "metadata": { "annotations": { "storm.test.example/n": writes.to_string() } } });
                    let target = format!("{name}-target");
                    drop(secrets.patch(&target, &PatchParams::default(), &Patch::Merge(patch)).await);
                }
            }
            writes
        }));
    };
    let end = async || stop.store(true, Ordering::SeqCst);
    let asked = scene.outage("a storm of writes", Reach::Storm, begin, end).await;
    let writes = storm.unwrap().await.unwrap();
    println!("    the storm made {writes} writes, and the operator {asked} requests");
    // A look for a change at most, and what it would have done anyway.
    let most = writes as usize + 200;
    assert!(asked <= most, "{asked} requests for {writes} writes");
}

async fn definition_gone(scene: &Scene) {
    let world = &scene.world;
    let crd = "squadcastcredentials.credentials.squadcast.com";
    let began = Instant::now();
    let before = scene.front.asked().len();
    blocking(|| world.kubectl(&["delete", "crd", crd]));
    tokio::time::sleep_until((began + Duration::from_secs(setting("OUTAGE", 4))).into()).await;
    let (asked, lasted) = (scene.front.asked().len() - before, began.elapsed());
    install_crd(&world.client, &std::fs::read_to_string(definition_file()).unwrap()).await;
    let over = Instant::now();
    scene.resources().await;
    let number = scene.change().await;
    scene.right(number).await;
    println!(
        "definition removed and made anew: {} requests a minute, right {:.1} s after it",
        a_minute(asked, lasted),
        over.elapsed().as_secs_f64()
    );
    assert!(few(asked, lasted) && scene.operator.exit_code().is_none());
}

async fn namespace_gone(scene: &Scene) {
    let world = &scene.world;
    let name = world.namespace.clone();
    let namespaces: kube::Api<k8s_openapi::api::core::v1::Namespace> = kube::Api::all(world.client.clone());
    let began = Instant::now();
    let before = scene.front.asked().len();
    namespaces.delete(&name, &DeleteParams::default()).await.unwrap();
    eventually("the namespace to go", DEADLINE, async || namespaces.get_opt(&name).await.unwrap().is_none())
        .await;
    tokio::time::sleep_until((began + Duration::from_secs(setting("OUTAGE", 4))).into()).await;
    let (asked, lasted) = (scene.front.asked().len() - before, began.elapsed());
    world.kubectl(&["create", "namespace", &name]);
    grant(world, &format!("limited-{name}"), RIGHTS);
    let over = Instant::now();
    scene.resources().await;
    let number = scene.change().await;
    scene.right(number).await;
    println!(
        "namespace deleted and made anew: {} requests a minute, right {:.1} s after it",
        a_minute(asked, lasted),
        over.elapsed().as_secs_f64()
    );
    assert!(few(asked, lasted) && scene.operator.exit_code().is_none());
}
