//! What a test in the cluster starts with: a namespace of its own, a stand-in of its own, and short names for
//! what tests do with Secrets, resources and operators.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::audit::Request;
use super::controlplane::{ControlPlane, definition_file};
use super::eventually::{DEADLINE, eventually};
use super::front::Front;
use super::operator::{Launch, Operator};
use super::squadcast::{Squadcast, Tls};

/// The field manager of what the tests apply, standing for the user.
pub const USER: &str = "user";

/// The region under which a world's operator knows the stand-in.
pub const REGION: &str = "test";

pub struct World {
    pub plane: Arc<ControlPlane>,
    pub client: Client,
    pub namespace: String,
    pub squadcast: Squadcast,
    operators: AtomicU32,
}

impl World {
    /// A fresh namespace on the shared control plane, with the repository's custom resource definition.
    pub async fn new(name: &str) -> Self {
        Self::on(ControlPlane::shared(), name).await
    }

    /// As [`World::new`] on another control plane, for tests that disturb it.
    pub async fn on(plane: &Arc<ControlPlane>, name: &str) -> Self {
        let world = Self::bare(plane, name).await;
        let path = definition_file();
        let yaml =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        install_crd(&world.client, &yaml).await;
        world
    }

    /// As [`World::on`] without the definition.
    pub async fn bare(plane: &Arc<ControlPlane>, name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let client = plane.client();
        let namespace = format!("{name}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let object = serde_json::from_value(json!({"metadata": {"name": namespace}})).expect("a namespace");
        let created = Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await;
        created.unwrap_or_else(|error| panic!("namespace {namespace}: {error}"));
        let plane = plane.clone();
        // On the same kind of address as the API server, so that a cluster of IPv6 alone is one.
        let squadcast = Squadcast::start_on(&plane.address().ip().to_string(), Tls::Valid);
        Self { plane, client, namespace, squadcast, operators: AtomicU32::new(0) }
    }

    // Operators

    /// An operator for this namespace and this stand-in alone, under a user of its own, to be changed and started.
    pub fn launch(&self, program: impl AsRef<Path>) -> Launch {
        let number = self.operators.fetch_add(1, Ordering::Relaxed);
        self.launch_as(program, &format!("operator-{}-{number}", self.namespace), &["system:masters"])
    }

    /// As [`World::launch`], with the rights of this user and these groups.
    pub fn launch_as(&self, program: impl AsRef<Path>, user: &str, groups: &[&str]) -> Launch {
        Launch::new(program.as_ref())
            .user(user)
            .kubeconfig(&self.plane.kubeconfig_for(user, groups))
            .arg(format!("--namespaces={}", self.namespace))
            .arg(format!("--region={REGION}={}", self.squadcast.url()))
            .arg(format!("--ca-file={}", self.squadcast.ca_file().display()))
            // A test may hold an exchange at a gate while it does something that takes long on a busy machine.
            .env("SQUADCAST_OPERATOR_EXCHANGE_TIMEOUT", "2m")
    }

    /// As [`World::launch`], through a proxy that sees, holds and cuts its requests.
    pub fn launch_through(&self, program: impl AsRef<Path>) -> (Launch, Front) {
        let number = self.operators.fetch_add(1, Ordering::Relaxed);
        let user = format!("operator-{}-{number}", self.namespace);
        let groups = ["system:masters"];
        let front = self.plane.front(&user, &groups);
        (self.launch_as(program, &user, &groups).kubeconfig(front.kubeconfig()), front)
    }

    /// Such an operator, started and ready.
    pub async fn operator(&self, program: impl AsRef<Path>, flags: &[&str]) -> Operator {
        let operator = self.launch(program).args(flags.iter().copied()).start();
        operator.wait_ready().await;
        operator
    }

    /// The requests of an operator to the API server.
    pub fn requests_of(&self, operator: &Operator) -> Vec<Request> {
        self.plane.requests_by(operator.user())
    }

    /// The garbage collector leaves only those that it knows to be owned, and takes the others when it hears of them:
    /// once it has taken a Secret that was made just now, it has heard of all before.
    pub async fn collector_has_caught_up(&self, name: &str) {
        let nobody = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": format!("{}-{name}", self.namespace),
        });
        let last = format!("{name}-last");
        self.apply_secret(&last, json!({ "metadata": { "ownerReferences": [nobody] } })).await;
        eventually("the garbage collector", DEADLINE, async || self.secret(&last).await.is_none()).await;
    }

    // Secrets

    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates or replaces a Secret with these keys, as a user does.
    pub async fn put_secret(&self, name: &str, data: &[(&str, &str)]) -> Secret {
        let data: BTreeMap<_, _> = data.iter().copied().collect();
        self.apply_secret(name, json!({ "stringData": data })).await
    }

    /// Applies a Secret of which this is all but kind and name.
    pub async fn apply_secret(&self, name: &str, mut secret: Value) -> Secret {
        secret["apiVersion"] = "v1".into();
        secret["kind"] = "Secret".into();
        secret["metadata"]["name"] = name.into();
        let applied =
            self.secrets().patch(name, &PatchParams::apply(USER).force(), &Patch::Apply(secret)).await;
        applied.unwrap_or_else(|error| panic!("Secret {name}: {error}"))
    }

    /// A Secret with a refresh token under the default key, known to the stand-in.
    pub async fn refresh_token(&self, secret: &str, refresh_token: &str) {
        self.squadcast.accept(refresh_token);
        self.put_secret(secret, &[("refresh_token", refresh_token)]).await;
    }

    pub async fn secret(&self, name: &str) -> Option<Secret> {
        self.secrets().get_opt(name).await.unwrap_or_else(|error| panic!("Secret {name}: {error}"))
    }

    /// A Secret's keys as text; empty where there is no Secret.
    pub async fn secret_data(&self, name: &str) -> BTreeMap<String, String> {
        let data = self.secret(name).await.and_then(|secret| secret.data).unwrap_or_default();
        data.into_iter().map(|(key, value)| (key, String::from_utf8_lossy(&value.0).into_owned())).collect()
    }

    pub async fn delete_secret(&self, name: &str) {
        let deleted = self.secrets().delete(name, &DeleteParams::default()).await;
        deleted.unwrap_or_else(|error| panic!("Secret {name}: {error}"));
    }

    // Resources

    pub fn credentials(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &credential_resource())
    }

    /// Applies a resource with this `spec`.
    pub async fn apply(&self, name: &str, spec: Value) -> Value {
        let applied = self.try_apply(name, json!({ "spec": spec })).await;
        applied.unwrap_or_else(|error| panic!("resource {name}: {error}"))
    }

    /// Applies a resource of which this is all but kind and name; the error is the API server's.
    pub async fn try_apply(&self, name: &str, mut resource: Value) -> kube::Result<Value> {
        let kind = credential_resource();
        resource["apiVersion"] = kind.api_version.into();
        resource["kind"] = kind.kind.into();
        resource["metadata"]["name"] = name.into();
        let params = PatchParams::apply(USER).force();
        self.credentials().patch(name, &params, &Patch::Apply(resource)).await.map(|object| to_value(&object))
    }

    /// A resource of the usual form: this region, source and target.
    pub async fn credential(&self, name: &str, source: &str, target: &str) -> Value {
        let spec = json!({
            "region": REGION,
            "refreshTokenSecretRef": {"name": source},
            "target": {"name": target},
        });
        self.apply(name, spec).await
    }

    /// Changes a resource by a merge patch.
    pub async fn patch(&self, name: &str, patch: Value) -> Value {
        let patched = self.credentials().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        to_value(&patched.unwrap_or_else(|error| panic!("resource {name}: {error}")))
    }

    /// The resource as it is now.
    pub async fn get(&self, name: &str) -> Option<Value> {
        let found = self.credentials().get_opt(name).await;
        found.unwrap_or_else(|error| panic!("resource {name}: {error}")).map(|object| to_value(&object))
    }

    pub async fn delete(&self, name: &str) {
        let deleted = self.credentials().delete(name, &DeleteParams::default()).await;
        deleted.unwrap_or_else(|error| panic!("resource {name}: {error}"));
    }

    pub async fn condition(&self, name: &str, kind: &str) -> Option<Value> {
        condition(&self.get(name).await?, kind)
    }

    /// Waits until a condition has this status and reason; answers with the whole resource.
    pub async fn wait_for(&self, name: &str, kind: &str, status: &str, reason: &str) -> Value {
        let look = async || {
            let resource = self.get(name).await.ok_or_else(|| "no such resource".to_owned())?;
            let found = condition(&resource, kind);
            let is = |field: &str, wanted: &str| found.as_ref().is_some_and(|found| found[field] == wanted);
            if is("status", status) && is("reason", reason) {
                return Ok(resource);
            }
            Err(format!("status {}", resource["status"]))
        };
        eventually(&format!("{name} to have {kind}={status}, {reason}"), DEADLINE, look).await
    }

    /// Waits for `Ready=True`.
    pub async fn wait_ready(&self, name: &str) -> Value {
        self.wait_for(name, "Ready", "True", "TokenValid").await
    }

    /// The events about a resource, oldest first.
    pub async fn events(&self, name: &str) -> Vec<Event> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut events = api.list(&ListParams::default()).await.expect("events").items;
        events.retain(|event| event.regarding.as_ref().and_then(|about| about.name.as_deref()) == Some(name));
        events.sort_by_key(|event| event.event_time.as_ref().map(|time| time.0));
        events
    }

    /// The reasons of those events.
    pub async fn event_reasons(&self, name: &str) -> Vec<String> {
        self.events(name).await.into_iter().filter_map(|event| event.reason).collect()
    }
}

/// How the resource is called in the API.
pub fn credential_resource() -> ApiResource {
    let kind = GroupVersionKind::gvk("credentials.squadcast.com", "v1alpha1", "SquadcastCredential");
    ApiResource::from_gvk_with_plural(&kind, "squadcastcredentials")
}

/// A condition of a resource by its type.
pub fn condition(resource: &Value, kind: &str) -> Option<Value> {
    let conditions = resource.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind).cloned()
}

fn to_value(object: &DynamicObject) -> Value {
    serde_json::to_value(object).expect("an object as JSON")
}

/// Applies a custom resource definition and waits until its resources are served.
pub async fn install_crd(client: &Client, yaml: &str) {
    let crd: CustomResourceDefinition = serde_saphyr::from_str(yaml).expect("a definition in YAML");
    let name = crd.metadata.name.clone().expect("a definition has a name");
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let params = PatchParams::apply("crd").force();
    eventually(&format!("{name} to be applied"), DEADLINE, async || {
        api.patch(&name, &params, &Patch::Apply(&crd)).await
    })
    .await;
    eventually(&format!("{name} to be established"), DEADLINE, async || {
        let conditions =
            api.get(&name).await?.status.and_then(|status| status.conditions).unwrap_or_default();
        let is =
            |condition: &str| conditions.iter().any(|one| one.type_ == condition && one.status == "True");
        if is("Established") { Ok(()) } else { Err(Box::<dyn std::error::Error>::from("not yet")) }
    })
    .await;
    let version = crd.spec.versions.first().expect("a version");
    let kind = GroupVersionKind::gvk(&crd.spec.group, &version.name, &crd.spec.names.kind);
    let resource = ApiResource::from_gvk_with_plural(&kind, &crd.spec.names.plural);
    eventually(&format!("{name} to be served"), DEADLINE, async || {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        api.list(&ListParams::default().limit(1)).await
    })
    .await;
}
