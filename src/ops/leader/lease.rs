//! The Lease in the API server: read, created, patched; never listed, updated or deleted.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::{
    Api, Client,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::election::{Action, Answer, DURATION, Record};
use crate::{
    api::names::FIELD_MANAGER,
    ops::{describe, micro_time},
};

/// Where the record is kept.
pub(super) trait Store: Send + Sync + 'static {
    /// Carries out an action of `us` at `now` on the record as it was last seen; says in words what went
    /// wrong.
    fn perform(
        &self,
        action: Action,
        us: &str,
        seen: Option<&Record>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Answer, String>> + Send;

    /// Writes that nobody holds the record.
    fn release(&self, seen: &Record) -> impl Future<Output = Result<Answer, String>> + Send;
}

/// One Lease.
pub(super) struct KubeLease {
    api: Api<Lease>,
    name: String,
}

impl KubeLease {
    pub(super) fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.to_owned() }
    }

    async fn patch(&self, body: Value) -> Result<Answer, String> {
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        understand(self.api.patch(&self.name, &params, &Patch::Merge(body)).await)
    }
}

impl Store for KubeLease {
    async fn perform(
        &self,
        action: Action,
        us: &str,
        seen: Option<&Record>,
        now: Timestamp,
    ) -> Result<Answer, String> {
        match (action, seen) {
            (Action::Create, _) => {
                let params =
                    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
                match self.api.create(&params, &first(&self.name, us, now)).await {
                    // Not the lease is missing, but its namespace.
                    Err(error) if is_code(&error, 404) => Err(describe(&error)),
                    answer => understand(answer),
                }
            }
            (Action::Take, Some(seen)) => self.patch(taken(seen, us, now)).await,
            (Action::Renew, Some(seen)) => self.patch(renewed(seen, us, now)).await,
            _ => understand(self.api.get(&self.name).await),
        }
    }

    async fn release(&self, seen: &Record) -> Result<Answer, String> {
        self.patch(released(seen)).await
    }
}

fn understand(answer: kube::Result<Lease>) -> Result<Answer, String> {
    match answer {
        Ok(lease) => Ok(Answer::Record(record(lease))),
        Err(error) if is_code(&error, 404) => Ok(Answer::Absent),
        Err(error) if is_code(&error, 409) => Ok(Answer::Conflict),
        Err(error) => Err(describe(&error)),
    }
}

fn is_code(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

fn record(lease: Lease) -> Record {
    let spec = lease.spec.unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Record {
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        resource_version: lease.metadata.resource_version.unwrap_or_default(),
        duration: seconds.map_or(DURATION, Duration::from_secs),
        transitions: spec.lease_transitions.unwrap_or(0),
    }
}

fn seconds() -> i32 {
    i32::try_from(DURATION.as_secs()).unwrap_or(i32::MAX)
}

fn first(name: &str, us: &str, now: Timestamp) -> Lease {
    Lease {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        spec: Some(LeaseSpec {
            holder_identity: Some(us.to_owned()),
            lease_duration_seconds: Some(seconds()),
            acquire_time: Some(micro_time(now)),
            renew_time: Some(micro_time(now)),
            lease_transitions: Some(0),
            ..LeaseSpec::default()
        }),
    }
}

fn taken(seen: &Record, us: &str, now: Timestamp) -> Value {
    json!({
        "metadata": { "resourceVersion": seen.resource_version },
        "spec": {
            "holderIdentity": us,
            "leaseDurationSeconds": seconds(),
            "acquireTime": micro_time(now),
            "renewTime": micro_time(now),
            "leaseTransitions": seen.transitions.saturating_add(1),
        },
    })
}

fn renewed(seen: &Record, us: &str, now: Timestamp) -> Value {
    json!({
        "metadata": { "resourceVersion": seen.resource_version },
        "spec": {
            "holderIdentity": us,
            "leaseDurationSeconds": seconds(),
            "renewTime": micro_time(now),
        },
    })
}

fn released(seen: &Record) -> Value {
    json!({
        "metadata": { "resourceVersion": seen.resource_version },
        "spec": { "holderIdentity": null },
    })
}

#[cfg(test)]
mod tests;
