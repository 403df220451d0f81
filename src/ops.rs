//! What every operator needs around its work: logs, metrics, endpoints, events, leader election, clients,
//! shutdown. Knows nothing of tokens; what decides here is pure, what touches the outside is thin.

pub mod clients;
pub mod events;
pub mod health;
pub mod http;
pub mod identity;
pub mod leader;
pub mod metrics;
pub mod shutdown;
pub mod telemetry;

#[cfg(test)]
mod fake_api;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

/// What a failed request to the API server says, on one line: its own words where it answered.
pub(crate) fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        kube::Error::Api(status) => format!("HTTP status {} {}", status.code, status.reason),
        other => {
            let mut text = other.to_string();
            let mut source = std::error::Error::source(other);
            while let Some(cause) = source {
                let cause_text = cause.to_string();
                if !text.contains(&cause_text) {
                    text = format!("{text}: {cause_text}");
                }
                source = cause.source();
            }
            text
        }
    }
}

/// The time as Kubernetes' types hold it, which are built on another version of the same library.
pub(crate) fn micro_time(at: Timestamp) -> MicroTime {
    MicroTime(k8s_openapi::jiff::Timestamp::from_microsecond(at.as_microsecond()).unwrap_or_default())
}
