//! What an administrator of the cluster does: gives rights, forbids writes, lets them through again.

use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::support::{DEADLINE, eventually, world::World};

/// What the API server says where [`forbid`] stands in the way.
pub const WORDS: &str = "the security team forbids this Secret today";

/// Refuses every write of a Secret whose name ends so, with words of its own.
pub fn forbid(world: &World, suffix: &str) {
    refuse(
        world,
        "CREATE, UPDATE",
        &format!("object.metadata.name.endsWith('{suffix}')"),
        &format!("message: {WORDS}"),
    );
}

/// Refuses to delete a Secret whose name ends so.
pub async fn forbid_deletion(world: &World, suffix: &str) {
    let probe = format!("there{suffix}");
    world.put_secret(&probe, &[]).await;
    refuse(
        world,
        "DELETE",
        &format!("oldObject.metadata.name.endsWith('{suffix}')"),
        &format!("message: {WORDS}"),
    );
    let params = DeleteParams { dry_run: true, ..DeleteParams::default() };
    eventually("the API server to have noticed", DEADLINE, async || {
        world.secrets().delete(&probe, &params).await.is_err()
    })
    .await;
}

/// Refuses what is done so to Secrets of which this is true, and says this.
pub fn refuse(world: &World, operations: &str, which: &str, says: &str) {
    let name = &world.namespace;
    world.kubectl_apply(&format!(
        r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{ name: {name} }}
spec:
  failurePolicy: Fail
  matchConstraints:
    namespaceSelector: {{ matchLabels: {{ kubernetes.io/metadata.name: {name} }} }}
    resourceRules:
      - {{ apiGroups: [""], apiVersions: [v1], operations: [{operations}], resources: [secrets] }}
  validations:
    - expression: "!({which})"
      {says}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{ name: {name} }}
spec: {{ policyName: {name}, validationActions: [Deny] }}
"#
    ));
}

/// Waits until a Secret whose name ends so may, or may not, be created.
pub async fn wait_probe(world: &World, suffix: &str, allowed: bool) {
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let secret = serde_json::from_value(json!({ "metadata": { "name": format!("probe{suffix}") } })).unwrap();
    eventually("the API server to have noticed", DEADLINE, async || {
        world.secrets().create(&params, &secret).await.is_ok() == allowed
    })
    .await;
}

pub async fn permit(world: &World, suffix: &str) {
    let kinds = "validatingadmissionpolicybinding,validatingadmissionpolicy";
    world.kubectl(&["delete", kinds, &world.namespace]);
    wait_probe(world, suffix, true).await;
}

/// What the operator may do with Secrets where the chart installs it.
pub const ALL: &str = "get, list, watch, create, patch, delete";

/// Gives a user these verbs on Secrets, and all else that the operator needs.
pub fn grant(world: &World, user: &str, verbs: &str) {
    world.kubectl_apply(&format!(
        r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{ name: operator }}
rules:
  - {{ apiGroups: [""], resources: [secrets], verbs: [{verbs}] }}
  - {{ apiGroups: [credentials.squadcast.com], resources: [squadcastcredentials], verbs: [get, list, watch] }}
  - {{ apiGroups: [credentials.squadcast.com], resources: [squadcastcredentials/status], verbs: [patch] }}
  - {{ apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch] }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{ name: operator }}
roleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: Role, name: operator }}
subjects: [{{ apiGroup: rbac.authorization.k8s.io, kind: User, name: {user} }}]
"#
    ));
}
