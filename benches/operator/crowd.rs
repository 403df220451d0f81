//! Many resources at once: made by parallel requests, and watched until each is as it should be.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use futures::stream::{StreamExt, iter};
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::core::DynamicObject;
use kube::runtime::watcher::{self, Event};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::audit::Request;
use crate::support::world::{REGION, World, condition, credential_resource};
use crate::support::{Operator, Script};

/// Requests at once that prepare load.
pub const PARALLEL: usize = 32;
/// Nobody waits longer for a crowd.
const PATIENCE: Duration = Duration::from_secs(900);
/// Without a request for so long, an operator is quiet.
const QUIET: Duration = Duration::from_secs(2);

/// Flags that lift the limits on exchanges. All others stay as they are, the log's too.
pub const UNLIMITED: [&str; 2] = ["--exchange-rate=60000", "--exchange-concurrency=1000"];

pub fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("c{number:05}")).collect()
}

pub fn source(name: &str) -> String {
    format!("{name}-source")
}

pub fn target(name: &str) -> String {
    format!("{name}-target")
}

pub fn token(name: &str) -> String {
    format!("refresh-token-of-{name}")
}

/// Sources and resources; each has a refresh token of its own, answered by `script`.
pub async fn prepare(world: &World, names: &[String], script: impl Fn(&str) -> Script) {
    for name in names {
        world.squadcast.script(&token(name), script(name));
    }
    in_parallel(names, async |name| create_source(world, &source(name), &token(name)).await).await;
    in_parallel(names, async |name| create_resource(world, name, &source(name)).await).await;
}

/// Calls `work` for each name, 32 at once.
pub async fn in_parallel<'a, T>(names: &'a [String], work: impl AsyncFn(&'a str) -> T) -> Vec<T> {
    iter(names).map(|name| work(name)).buffer_unordered(PARALLEL).collect().await
}

pub async fn create_source(world: &World, name: &str, token: &str) {
    let secret = Secret {
        metadata: kube::api::ObjectMeta { name: Some(name.to_owned()), ..Default::default() },
        string_data: Some(BTreeMap::from([("refresh_token".to_owned(), token.to_owned())])),
        ..Secret::default()
    };
    let made = world.secrets().create(&PostParams::default(), &secret).await;
    made.unwrap_or_else(|error| panic!("Secret {name}: {error}"));
}

pub async fn create_resource(world: &World, name: &str, source: &str) {
    let mut object = DynamicObject::new(name, &credential_resource());
    object.data = json!({ "spec": {
        "region": REGION,
        "refreshTokenSecretRef": { "name": source },
        "target": { "name": target(name) },
    } });
    let made = world.credentials().create(&PostParams::default(), &object).await;
    made.unwrap_or_else(|error| panic!("resource {name}: {error}"));
}

/// Waits, by a watch, until so many resources of a namespace are as they should be.
pub struct Observer(JoinHandle<Instant>);

impl Observer {
    /// Returns once the watch has listed what is there.
    pub async fn new(
        world: &World,
        count: usize,
        done: impl Fn(&Value) -> bool + Send + Sync + 'static,
    ) -> Self {
        let (listed, is_listed) = oneshot::channel();
        let mut listed = Some(listed);
        let mut stream = watcher::watcher(world.credentials(), watcher::Config::default()).boxed();
        let task = tokio::spawn(async move {
            let mut seen = HashSet::new();
            while let Some(event) = stream.next().await {
                match event {
                    Ok(Event::Apply(object) | Event::InitApply(object)) if done(&object.data) => {
                        seen.insert(object.metadata.name.unwrap_or_default());
                    }
                    Ok(Event::InitDone) => drop(listed.take().map(|listed| listed.send(()))),
                    Ok(_) => {}
                    Err(error) => eprintln!("the observer's watch: {error}"),
                }
                if seen.len() == count {
                    return Instant::now();
                }
            }
            unreachable!("a watch never ends")
        });
        let _ = is_listed.await;
        Self(task)
    }

    /// All have a token.
    pub async fn ready(world: &World, count: usize) -> Self {
        Self::new(world, count, is_ready).await
    }

    /// All were renewed at or after this second.
    pub async fn renewed(world: &World, count: usize, second: i64) -> Self {
        Self::new(world, count, move |object| {
            let at = object.pointer("/status/lastRenewedAt").and_then(Value::as_str);
            at.and_then(|at| at.parse::<jiff::Timestamp>().ok()).is_some_and(|at| at.as_second() >= second)
        })
        .await
    }

    /// When the last one was.
    pub async fn done(self) -> Instant {
        let done = tokio::time::timeout(PATIENCE, self.0).await;
        done.expect("all resources as they should be, in time").expect("an observer")
    }
}

fn is_ready(object: &Value) -> bool {
    condition(object, "Ready").is_some_and(|ready| ready["status"] == "True")
}

/// Waits until an operator asks for nothing any more. Returns its requests, watches and leases aside, and when the
/// last of them came in.
pub async fn quiet(world: &World, operator: &Operator) -> (Vec<Request>, jiff::Timestamp) {
    let mut known = usize::MAX;
    loop {
        let requests = work(world.requests_of(operator));
        if requests.len() == known {
            let last = requests.last().map_or("1970-01-01T00:00:00Z", |request| &request.received);
            return (requests.clone(), last.parse().expect("a time"));
        }
        known = requests.len();
        tokio::time::sleep(QUIET).await;
    }
}

/// Requests without watches and leases.
pub fn work(mut requests: Vec<Request>) -> Vec<Request> {
    requests.retain(|request| !request.is_watch() && request.resource != "leases");
    requests
}

/// `4.00 each: 1.00 create events, …`, most frequent first.
pub fn by_verb(requests: &[Request], count: usize) -> (f64, String) {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for request in requests {
        *counts.entry(request.what()).or_default() += 1;
    }
    let each = |number: usize| number as f64 / count as f64;
    let words: Vec<_> = counts.iter().map(|(what, number)| format!("{:.2} {what}", each(*number))).collect();
    (each(requests.len()), words.join(", "))
}

/// Starts an operator whose limits on exchanges are lifted, without waiting for it.
pub fn launch(world: &World, program: &std::path::Path, more: &[&str]) -> Operator {
    world.launch(program).args(UNLIMITED).args(more.iter().copied()).start()
}
