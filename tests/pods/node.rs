//! A cluster with a node: the control plane with its scheduler, containerd and the kubelet, all on this machine, in
//! the namespaces of `tests/pods/enter.sh`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::Api;
use serde_json::{Value, json};

use crate::image;
use crate::support::controlplane::{WORKLOAD_CONTROLLERS, repository};
use crate::support::eventually::unless;
use crate::support::process::Supervised;
use crate::support::{ControlPlane, DEADLINE, Options, eventually};

/// Where Pods find this machine: what the control plane calls the Service `kubernetes`.
pub const ADDRESS: &str = "10.96.0.1";
const NAME: &str = "node";

/// A running cluster; its processes end with it, and what runs in Pods with the namespaces around the test.
pub struct Node {
    pub plane: Arc<ControlPlane>,
    processes: Vec<Supervised>,
}

impl Node {
    /// Starts one and waits until it takes Pods.
    pub async fn start() -> Self {
        assert!(
            std::env::var_os("SQUADCAST_TEST_CGROUP").is_some(),
            "tests of Pods run in namespaces of their own: make test-pods"
        );
        let controllers = WORKLOAD_CONTROLLERS.iter().chain(&["node-lifecycle-controller"]);
        let plane = Arc::new(ControlPlane::start_with(&Options {
            controllers: controllers.map(|&name| name.to_owned()).collect(),
            // The kubelet has the rights of a kubelet, and no name. Pods come through the bridge.
            api_server_flags: [
                "--authorization-mode=Node",
                "--kubelet-preferred-address-types=InternalIP",
                "--bind-address=0.0.0.0",
            ]
            .map(str::to_owned)
            .to_vec(),
            port: Some(443),
            ..Options::default()
        }));
        let mut node = Self { plane, processes: Vec::new() };
        node.containerd();
        import(&image::operator()).await;
        import(&image::consumer(&folder("consumer"))).await;
        node.kubelet();
        node.scheduler();
        let nodes: Api<NodeObject> = Api::all(node.plane.client());
        eventually("the node to be ready", DEADLINE, async || {
            let conditions = nodes.get(NAME).await.map_err(|error| error.to_string())?.status;
            let conditions = conditions.and_then(|status| status.conditions).unwrap_or_default();
            let ready = conditions.iter().find(|one| one.type_ == "Ready").cloned();
            let reports = || node.processes.iter().map(Supervised::report).collect::<Vec<_>>().join("\n");
            unless(ready.as_ref().is_some_and(|ready| ready.status == "True"), &ready)
                .map(drop)
                .map_err(|seen| format!("{seen}\n{}", reports()))
        })
        .await;
        node
    }

    fn spawn(&mut self, name: &str, folder: &Path, command: &Command) {
        let process = Supervised::start(name, folder, command);
        self.processes.push(process.unwrap_or_else(|error| panic!("{name}: {error}")));
    }

    fn containerd(&mut self) {
        let folder = folder("containerd");
        let network = json!({
            "cniVersion": "0.4.0",
            "name": "pods",
            "plugins": [{
                "type": "bridge",
                "bridge": "pods",
                "isGateway": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{ "subnet": "10.244.0.0/24" }]],
                    "routes": [{ "dst": "0.0.0.0/0" }],
                },
            }],
        });
        std::fs::write(folder.join("pods.conflist"), network.to_string()).expect("the network's file");
        let config = format!(
            r#"version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{}"
"#,
            image::CONSUMER,
            folder.display()
        );
        let file = folder.join("config.toml");
        std::fs::write(&file, config).expect("containerd's file");
        self.spawn("containerd", &folder, Command::new("containerd").arg("--config").arg(file));
    }

    fn kubelet(&mut self) {
        let folder = folder("kubelet");
        let config = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": std::env::var("SQUADCAST_TEST_CGROUP").expect("a control group"),
            "failCgroupV1": false,
            "failSwapOn": false,
            // A disk that is nearly full is not what the tests are about.
            "evictionHard": {},
            "localStorageCapacityIsolation": false,
            "resolvConf": "",
            // By default once a minute: how long a mounted Secret may be behind.
            "syncFrequency": "5s",
            // kubectl logs comes through here; nobody else can.
            "authentication": { "anonymous": { "enabled": true }, "webhook": { "enabled": false } },
            "authorization": { "mode": "AlwaysAllow" },
        });
        let file = folder.join("config.json");
        std::fs::write(&file, config.to_string()).expect("the kubelet's file");
        let user = format!("system:node:{NAME}");
        let kubeconfig = self.plane.kubeconfig_for(&user, &["system:nodes"]);
        let mut kubelet = Command::new(program("kubelet"));
        kubelet
            .arg(format!("--config={}", file.display()))
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!("--hostname-override={NAME}"))
            .arg(format!("--node-ip={ADDRESS}"));
        self.spawn("kubelet", &folder, &kubelet);
    }

    fn scheduler(&mut self) {
        let kubeconfig = self.plane.kubeconfig_for("system:kube-scheduler", &[]);
        let mut scheduler = Command::new(program("kube-scheduler"));
        scheduler
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .args(["--leader-elect=false", "--secure-port=0"]);
        self.spawn("kube-scheduler", &folder("kube-scheduler"), &scheduler);
    }

    /// What kubectl says, as JSON.
    pub fn json(&self, args: &[&str]) -> Value {
        let output = self.plane.kubectl(&[args, &["-o", "json"]].concat());
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// The Pods of a namespace with this label that nobody is deleting.
    pub fn pods(&self, namespace: &str, label: &str) -> Vec<Value> {
        let mut list = self.json(&["get", "pods", "-n", namespace, "-l", label, "--sort-by=.metadata.name"]);
        let pods = list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
        pods.into_iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect()
    }

    /// What a Pod's container has written, or why that cannot be read.
    pub fn log(&self, namespace: &str, pod: &str) -> String {
        let output = self.plane.kubectl(&["logs", "-n", namespace, pod]);
        let said = if output.status.success() { output.stdout } else { output.stderr };
        String::from_utf8_lossy(&said).into_owned()
    }
}

/// The process of a Pod's only container.
pub fn process(pod: &Value) -> u32 {
    let id = pod.pointer("/status/containerStatuses/0/containerID").and_then(Value::as_str);
    let id = id.and_then(|id| id.strip_prefix("containerd://")).expect("a container");
    let tasks = ctr(&["tasks", "list"]).expect("containerd's tasks");
    let task = tasks.lines().find(|line| line.starts_with(id)).expect("the container's task");
    task.split_whitespace().nth(1).and_then(|pid| pid.parse().ok()).expect("a process id")
}

async fn import(archive: &Path) {
    let archive = archive.to_str().expect("a path in UTF-8");
    eventually("containerd to take an image", DEADLINE, async || ctr(&["images", "import", archive])).await;
}

/// Lets an image have one more name.
pub fn tag(image: &str, name: &str) {
    ctr(&["images", "tag", image, name]).unwrap_or_else(|error| panic!("{image}: {error}"));
}

fn ctr(args: &[&str]) -> Result<String, String> {
    let output = Command::new("ctr").args(["--namespace", "k8s.io"]).args(args).output().expect("ctr");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// A program that only these tests need; `make test-pods` builds them.
fn program(name: &str) -> PathBuf {
    repository().join(".cache/kubelet/bin").join(name)
}

/// A folder that is gone with the namespaces.
fn folder(name: &str) -> PathBuf {
    let folder = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir();
    folder.expect("a temporary folder").keep()
}
