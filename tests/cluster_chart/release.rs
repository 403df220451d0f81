//! A release of the chart: helm's commands on it, and its Pod's container as a process of this machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PodSpec, Secret};
use kube::Api;
use serde_json::{Value, json};

use crate::OPERATOR;
use crate::support::controlplane::repository;
use crate::support::operator::Launch;
use crate::support::squadcast::Squadcast;
use crate::support::world::REGION;
use crate::support::{ControlPlane, Operator};

/// The chart's folder.
pub fn chart() -> PathBuf {
    repository().join("charts/squadcast-operator")
}

/// A release by its name and namespace, installed or not.
pub struct Release {
    pub plane: Arc<ControlPlane>,
    pub name: String,
    pub namespace: String,
    files: tempfile::TempDir,
}

impl Release {
    pub fn new(plane: &Arc<ControlPlane>, name: &str, namespace: &str) -> Self {
        let files = tempfile::tempdir().expect("a temporary folder");
        Self { plane: plane.clone(), name: name.to_owned(), namespace: namespace.to_owned(), files }
    }

    /// What helm says to this command about the release, on standard output or standard error.
    pub fn helm(&self, args: &[&str], values: &Value) -> Result<String, String> {
        let all = [args, &["--namespace", &self.namespace]].concat();
        let output = self.plane.helm(&all, &values.to_string());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    pub fn try_install(&self, values: &Value) -> Result<String, String> {
        let chart = chart();
        let chart = chart.to_str().expect("a path in UTF-8");
        self.helm(&["install", &self.name, chart, "--create-namespace", "-f", "-"], values)
    }

    /// Installs it; answers with the notes.
    pub fn install(&self, values: &Value) -> String {
        self.try_install(values).unwrap_or_else(|error| panic!("helm install {}: {error}", self.name))
    }

    pub fn upgrade(&self, values: &Value) {
        let chart = chart();
        let chart = chart.to_str().expect("a path in UTF-8");
        let upgraded = self.helm(&["upgrade", &self.name, chart, "-f", "-"], values);
        upgraded.unwrap_or_else(|error| panic!("helm upgrade {}: {error}", self.name));
    }

    pub fn rollback(&self) {
        let back = self.helm(&["rollback", &self.name], &Value::Null);
        back.unwrap_or_else(|error| panic!("helm rollback {}: {error}", self.name));
    }

    pub fn uninstall(&self) -> String {
        let gone = self.helm(&["uninstall", &self.name], &Value::Null);
        gone.unwrap_or_else(|error| panic!("helm uninstall {}: {error}", self.name))
    }

    /// The name of what it puts into its namespace.
    pub fn full_name(&self) -> String {
        if self.name.contains("squadcast-operator") {
            self.name.clone()
        } else {
            format!("{}-squadcast-operator", self.name)
        }
    }

    pub async fn deployment(&self) -> Deployment {
        let api: Api<Deployment> = Api::namespaced(self.plane.client(), &self.namespace);
        api.get(&self.full_name()).await.expect("the release's Deployment")
    }

    async fn pod(&self) -> PodSpec {
        let spec = self.deployment().await.spec.expect("a spec");
        spec.template.spec.expect("a Pod")
    }

    /// The user that its Pods are to the API server.
    pub async fn user(&self) -> String {
        let account = self.pod().await.service_account_name.expect("a ServiceAccount");
        format!("system:serviceaccount:{}:{account}", self.namespace)
    }

    /// The container's arguments as they are in the Deployment.
    pub async fn args(&self) -> Vec<String> {
        let container = self.pod().await.containers.remove(0);
        container.args.unwrap_or_default()
    }

    /// Runs the binary as a Pod of the Deployment would: with its arguments, its environment, its volumes and the
    /// token of its service account; and waits until it is ready.
    pub async fn operator(&self) -> Operator {
        let operator = self.start().await;
        operator.wait_ready().await;
        operator
    }

    /// As [`Release::operator`], without waiting.
    pub async fn start(&self) -> Operator {
        let mut pod = self.pod().await;
        let container = pod.containers.remove(0);
        let account = pod.service_account_name.clone().expect("a ServiceAccount");
        let kubeconfig = self.plane.kubeconfig_of(&self.namespace, &account).await;
        let mut args = container.args.unwrap_or_default();
        assert_eq!(args.remove(0), "run");
        let mut env: Vec<(String, String)> = (container.env.into_iter().flatten())
            .map(|var| (var.name, var.value.expect("a plain value")))
            .collect();
        for mount in container.volume_mounts.unwrap_or_default() {
            let folder = self.mount(&pod, &mount.name).await;
            for (_, value) in &mut env {
                *value = value.replace(&mount.mount_path, folder.to_str().expect("a path in UTF-8"));
            }
        }
        let launch = Launch::new(OPERATOR).kubeconfig(&kubeconfig).user(&self.user().await).args(args);
        env.into_iter().fold(launch, |launch, (name, value)| launch.env(&name, value)).start()
    }

    /// A folder with what a volume of the Pod holds.
    async fn mount(&self, pod: &PodSpec, name: &str) -> PathBuf {
        let volume = pod.volumes.iter().flatten().find(|volume| volume.name == name).expect("the volume");
        let folder = self.files.path().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let write = |key: &str, bytes: &[u8]| std::fs::write(folder.join(key), bytes).expect("a file");
        let client = self.plane.client();
        if let Some(source) = &volume.config_map {
            let api: Api<ConfigMap> = Api::namespaced(client, &self.namespace);
            let found = api.get(&source.name).await.expect("the volume's ConfigMap");
            found.data.iter().flatten().for_each(|(key, text)| write(key, text.as_bytes()));
        } else {
            let source = volume.secret.as_ref().expect("a volume of a kind that the chart uses");
            let api: Api<Secret> = Api::namespaced(client, &self.namespace);
            let found = api.get(source.secret_name.as_deref().unwrap_or_default()).await;
            let found = found.expect("the volume's Secret");
            found.data.iter().flatten().for_each(|(key, bytes)| write(key, &bytes.0));
        }
        folder
    }

    /// Applies this in the release's namespace, which is made where it is lacking. It enforces the restricted Pod
    /// Security Standard.
    pub fn apply(&self, object: &Value) {
        let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
        let metadata = json!({ "name": self.namespace, "labels": labels });
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
        for object in [&namespace, object] {
            let args = ["apply", "--server-side", "-n", &self.namespace, "-f", "-"];
            let output = self.plane.kubectl_with(&args, &object.to_string());
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

/// Values that let the operator know a stand-in as the region of the tests; its authority goes into a config map
/// `squadcast-ca` of the release's namespace.
pub fn knows(release: &Release, squadcast: &Squadcast) -> Value {
    release.apply(&json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "squadcast-ca" },
        "data": { "ca.crt": squadcast.ca_pem() },
    }));
    json!({
        "regions": { REGION: { "authUrl": squadcast.url() } },
        "caBundle": { "configMap": "squadcast-ca" },
    })
}

/// Values, and more of them that win.
pub fn with(mut values: Value, more: Value) -> Value {
    merge(&mut values, more);
    values
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// A file of the repository.
pub fn file(path: impl AsRef<Path>) -> String {
    let path = repository().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The objects of a text in YAML, in their order.
pub fn objects(yaml: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).expect("objects in YAML");
    documents.into_iter().filter(|document| !document.is_null()).collect()
}
