//! The target: repaired, kept in step with the resource, and written only where it may be; what needs an
//! exchange and what does not.

mod exchanges;
mod foreign;
mod merging;
mod metadata;
mod ownership;
mod renaming;
mod repairs;
mod suspension;
mod takeover;
mod template;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::{
    steps::{Stage, target},
    support::{DEADLINE, eventually},
};

const NOT_OWNED: &str =
    "Ready=False TargetNotOwned, Synced=False TargetNotOwned, Stalled=True TargetNotOwned";
const ALLOW: &str = "credentials.squadcast.com/allow-write-by";
const LABEL: &str = "credentials.squadcast.com/credential";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

impl Stage {
    /// Changes a Secret by a merge patch, as this field manager.
    async fn edit_as(&self, manager: &str, secret: &str, patch: Value) -> Secret {
        let params = PatchParams { field_manager: Some(manager.into()), ..PatchParams::default() };
        let patched = self.secrets().patch(secret, &params, &Patch::Merge(patch)).await;
        patched.unwrap_or_else(|error| panic!("Secret {secret}: {error}"))
    }

    async fn edit(&self, secret: &str, patch: Value) -> Secret {
        self.edit_as("somebody", secret, patch).await
    }

    /// Waits until the target of this resource is as `done` says.
    async fn wait_target(&self, name: &str, what: &str, done: impl Fn(&Secret) -> bool) -> Secret {
        eventually(&format!("{}: {what}", target(name)), DEADLINE, async || {
            let secret = self.secret(&target(name)).await.ok_or("no Secret")?;
            if done(&secret) { Ok(secret) } else { Err(format!("{:?}", secret.metadata)) }
        })
        .await
    }

    /// Waits until the target holds a good token that differs from `former`.
    async fn wait_other_token(&self, name: &str, former: &str) -> String {
        eventually(&format!("another token in {}", target(name)), DEADLINE, async || {
            let (text, good) = self.written(name).await;
            (good && text != former).then_some(text)
        })
        .await
    }

    /// Puts a Secret there that is nobody's and looks like nothing of the operator's.
    async fn foreign(&self, name: &str, annotations: Value) -> Secret {
        let metadata = json!({ "annotations": annotations });
        self.apply_secret(&target(name), json!({ "metadata": metadata, "stringData": { "password": "x" } }))
            .await
    }
}

fn labels(secret: &Secret) -> BTreeMap<String, String> {
    secret.metadata.labels.clone().unwrap_or_default()
}

fn annotations(secret: &Secret) -> BTreeMap<String, String> {
    secret.metadata.annotations.clone().unwrap_or_default()
}

fn keys(secret: &Secret) -> Vec<String> {
    secret.data.iter().flatten().map(|(key, _)| key.clone()).collect()
}

/// The uid of the controller among the owners.
fn controller(secret: &Secret) -> Option<String> {
    let owners = secret.metadata.owner_references.iter().flatten();
    owners.filter(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone()).next()
}

fn uid(resource: &Value) -> Option<String> {
    resource["metadata"]["uid"].as_str().map(str::to_owned)
}
