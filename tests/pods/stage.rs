//! Where the tests take place: one cluster that all of them share, one after the other, with the chart installed by
//! its first command, and a stand-in for Squadcast outside of it.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::node::{ADDRESS, Node, tag};
use crate::release::{Release, chart, knows, with};
use crate::support::eventually::unless;
use crate::support::world::World;
use crate::support::{DEADLINE, Squadcast, Tls, eventually};

/// The release and its namespace.
pub const NAME: &str = "squadcast-operator";
/// The label of its Pods.
pub const PODS: &str = "app.kubernetes.io/name=squadcast-operator";

pub struct Stage {
    pub node: Node,
    pub squadcast: Squadcast,
    pub release: Release,
    pub values: Value,
    /// How long `helm install --wait` took.
    pub installed: Duration,
}

/// The stage, for one test at a time.
pub async fn stage() -> (&'static Stage, MutexGuard<'static, ()>) {
    static TURN: Mutex<()> = Mutex::const_new(());
    static STAGE: OnceCell<Stage> = OnceCell::const_new();
    let turn = TURN.lock().await;
    (STAGE.get_or_init(Stage::build).await, turn)
}

/// A line of what happens, with the time since the first of them.
pub fn tell(line: &str) {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    println!("{:6.1} s  {line}", BEGAN.get_or_init(Instant::now).elapsed().as_secs_f64());
}

/// A line that `make test-pods` repeats at its end.
pub fn figure(line: &str) {
    println!("pods: {line}");
}

impl Stage {
    async fn build() -> Self {
        tell(
            "etcd, kube-apiserver, kube-controller-manager, kube-scheduler, containerd and the kubelet start",
        );
        let node = Node::start().await;
        tell("the node is ready");
        tell("$ kubectl get pods,crd --all-namespaces");
        let empty = node.plane.kubectl(&["get", "pods,crd", "--all-namespaces"]);
        let said = [empty.stdout, empty.stderr].concat();
        String::from_utf8_lossy(&said).lines().for_each(tell);
        assert_eq!(String::from_utf8_lossy(&said).trim(), "No resources found");
        let squadcast = Squadcast::start_on(ADDRESS, Tls::Valid);
        // Nothing is pulled: these are the names that the chart gives to its images.
        let version = env!("CARGO_PKG_VERSION");
        for next in [version, "next"] {
            let name = format!("ghcr.io/squadcast-operator/squadcast-operator:{next}");
            tag(&format!("docker.io/library/squadcast-operator:{version}"), &name);
        }
        let release = Release::new(&node.plane, NAME, NAME);
        // The namespace enforces the restricted standard. The samples speak of the region us.
        let us = json!({ "regions": { "us": { "authUrl": squadcast.url() } } });
        let values =
            with(with(knows(&release, &squadcast), us), json!({ "rbac": { "rolloutRestarts": true } }));
        let began = Instant::now();
        let stage = Self { node, squadcast, release, values, installed: Duration::ZERO };
        stage.helm("install", &[]);
        Self { installed: began.elapsed(), ..stage }
    }

    /// `helm install` or `upgrade` with these flags, until all Pods are ready.
    pub fn helm(&self, command: &str, flags: &[&str]) {
        let chart = chart();
        let args = [&[command, NAME, chart.to_str().unwrap(), "--wait", "-f", "-"], flags].concat();
        tell(&format!(
            "$ helm {command} {NAME} charts/{NAME} -n {NAME} --wait -f values.yaml {}",
            flags.join(" ")
        ));
        tell(&format!("  values.yaml: {}", self.values));
        let done = self.release.helm(&args, &self.values);
        done.unwrap_or_else(|error| panic!("helm {command}: {error}"));
        tell("");
    }

    /// kubectl in a namespace, told with what it says.
    pub fn kubectl(&self, namespace: &str, args: &str, input: &str) {
        let words: Vec<&str> = args.split_whitespace().chain(["-n", namespace]).collect();
        tell(&format!("$ kubectl {}", words.join(" ")));
        let output = self.node.plane.kubectl_with(&words, input);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said.lines().for_each(tell);
    }

    /// A namespace that enforces the restricted standard.
    pub async fn space(&self, name: &str) -> World {
        let world = World::bare(&self.node.plane, name).await;
        let label = "pod-security.kubernetes.io/enforce=restricted";
        let labelled = self.node.plane.kubectl(&["label", "namespace", &world.namespace, label]);
        assert!(labelled.status.success());
        world
    }

    /// The operator's Pods.
    pub fn operators(&self) -> Vec<Value> {
        self.node.pods(NAME, PODS)
    }

    /// The operator's Pod that leads.
    pub async fn leader(&self) -> Value {
        let leases: Api<Lease> = Api::namespaced(self.node.plane.client(), NAME);
        eventually("an operator to lead", DEADLINE, async || {
            let lease = leases.get(NAME).await.map_err(|error| error.to_string())?;
            let holder = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
            let pods = self.operators();
            let leads = |pod: &&Value| holder.starts_with(pod["metadata"]["name"].as_str().unwrap_or("?"));
            pods.iter().find(leads).cloned().ok_or(holder)
        })
        .await
    }

    /// Waits until each of these Pods is ready.
    pub async fn ready(&self, namespace: &str, label: &str, number: usize) -> Vec<Value> {
        eventually("Pods to be ready", DEADLINE, async || {
            let pods = self.node.pods(namespace, label);
            let ready = pods.iter().filter(|pod| is_ready(pod)).count();
            let statuses: Vec<_> = pods.iter().map(|pod| pod["status"].to_string()).collect();
            unless(pods.len() == number && ready == number, statuses)?;
            Ok::<_, String>(pods)
        })
        .await
    }
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// How often a Pod's container was started again.
pub fn restarts(pod: &Value) -> i64 {
    pod.pointer("/status/containerStatuses/0/restartCount").and_then(Value::as_i64).unwrap_or(-1)
}

/// A Pod's name.
pub fn name(pod: &Value) -> &str {
    pod["metadata"]["name"].as_str().unwrap_or_default()
}
