//! The metrics of single resources, read from whoever knows the resources at the moment of the question.
//! Kept nowhere, so they cost no memory and go with the resource.

use std::{
    fmt,
    sync::{Arc, OnceLock, atomic::AtomicI64},
};

use jiff::Timestamp;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder},
    metrics::{MetricType, gauge::Gauge},
};

use crate::api::{Condition, ConditionType, Key, Reason, SquadcastCredentialStatus};

/// What is shown of one resource.
#[derive(Clone, Copy, Debug)]
pub struct CredentialSample {
    /// Whether `Ready` is true.
    pub ready: bool,
    /// When its token expires, in Unix seconds.
    pub expires_at: Option<i64>,
    /// When its token will be renewed, in Unix seconds.
    pub renew_at: Option<i64>,
    /// How many attempts have failed in a row.
    pub failures: u32,
    /// Each present condition: type, whether it is true, reason.
    pub conditions: [Option<(ConditionType, bool, Reason)>; 3],
}

impl CredentialSample {
    /// What a status tells.
    pub fn of(status: &SquadcastCredentialStatus) -> Self {
        let condition = |type_| {
            let condition = status.condition(type_)?;
            Some((type_, condition.is_true(), condition.reason()?))
        };
        Self {
            ready: status.condition(ConditionType::Ready).is_some_and(Condition::is_true),
            expires_at: status.expires_at.map(Timestamp::as_second),
            renew_at: status.renew_at.map(Timestamp::as_second),
            failures: status.failure_count(),
            conditions: [ConditionType::Ready, ConditionType::Synced, ConditionType::Stalled].map(condition),
        }
    }
}

/// Knows every resource.
pub trait CredentialSource: Send + Sync {
    /// Shows each resource once. Called several times for one answer; may show other resources each time.
    fn for_each(&self, show: &mut dyn FnMut(&Key, &CredentialSample));
    /// How many resources cannot be read at present.
    fn undecodable(&self) -> usize;
}

/// The one source, known only after the metrics exist. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Source(Arc<OnceLock<Arc<dyn CredentialSource>>>);

impl Source {
    /// Sets the source, once.
    pub(super) fn set(&self, source: Arc<dyn CredentialSource>) {
        drop(self.0.set(source));
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}

/// Turns the resources into samples: single ones while this process leads.
#[derive(Debug)]
pub(super) struct Credentials {
    pub(super) leader: Gauge<i64, AtomicI64>,
    pub(super) source: Source,
}

/// The labels that every metric of a resource has.
fn labels(key: &Key) -> [(&'static str, &str); 2] {
    [("namespace", key.namespace()), ("name", key.name())]
}

impl Collector for Credentials {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let undecodable = self.source.0.get().map_or(0, |source| source.undecodable());
        encoder
            .encode_descriptor(
                "squadcast_undecodable_objects",
                "SquadcastCredentials that this version cannot read.",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&i64::try_from(undecodable).unwrap_or(i64::MAX))?;
        let Some(source) = self.source.0.get().filter(|_| self.leader.get() != 0) else {
            return Ok(());
        };
        let mut one_each = |name, help, value: fn(&CredentialSample) -> Option<i64>| {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            each(source.as_ref(), &mut |key, sample| match value(sample) {
                Some(value) => metric.encode_family(&labels(key))?.encode_gauge(&value),
                None => Ok(()),
            })
        };
        one_each("squadcast_credential_ready", "Whether the Secret holds an unexpired token.", |sample| {
            Some(sample.ready.into())
        })?;
        one_each("squadcast_credential_expiry_timestamp_seconds", "When the token expires.", |sample| {
            sample.expires_at
        })?;
        one_each("squadcast_credential_renewal_timestamp_seconds", "When the token is renewed.", |sample| {
            sample.renew_at
        })?;
        one_each("squadcast_credential_failures", "Failed attempts in a row.", |sample| {
            Some(sample.failures.into())
        })?;
        let mut metric = encoder.encode_descriptor(
            "squadcast_credential_condition",
            "1 for each present condition.",
            None,
            MetricType::Gauge,
        )?;
        each(source.as_ref(), &mut |key, sample| conditions(&mut metric, key, sample))
    }
}

fn conditions(metric: &mut MetricEncoder<'_>, key: &Key, sample: &CredentialSample) -> fmt::Result {
    for (type_, is_true, reason) in sample.conditions.iter().flatten() {
        let [namespace, name] = labels(key);
        let status = if *is_true { "True" } else { "False" };
        let labels =
            [namespace, name, ("type", type_.as_str()), ("status", status), ("reason", reason.as_str())];
        metric.encode_family(&labels)?.encode_gauge(&1_i64)?;
    }
    Ok(())
}

/// Writes each resource until one write fails.
fn each(
    source: &dyn CredentialSource,
    write: &mut dyn FnMut(&Key, &CredentialSample) -> fmt::Result,
) -> fmt::Result {
    let mut result = Ok(());
    source.for_each(&mut |key, sample| {
        if result.is_ok() {
            result = write(key, sample);
        }
    });
    result
}
