//! What every operator needs around its work: logs, metrics, endpoints, events, leader election, clients,
//! shutdown. Knows nothing of tokens; what decides here is pure, what touches the outside is thin.

pub mod clients;
mod connection;
pub mod events;
pub mod health;
pub mod http;
pub mod identity;
pub mod leader;
pub mod memory;
pub mod metrics;
mod pace;
pub(crate) mod requests;
pub mod shutdown;
pub mod telemetry;

#[cfg(test)]
pub(crate) mod fake_api;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::core::Status;

/// What a failed request to the API server says: its own words where it answered, and never a part of a
/// body that does not decode, which may be a Secret's.
pub(crate) fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        kube::Error::Api(status) => format!("HTTP status {} {}", status.code, status.reason),
        kube::Error::SerdeError(error) => format!("the answer does not decode at column {}", error.column()),
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

/// Whether a refusal says that the namespace is being deleted, or gone: nothing in it is worth doing any more.
pub(crate) fn is_of_ending_namespace(status: &Status) -> bool {
    let details = status.details.as_ref();
    let terminating = || {
        let mut causes = details.into_iter().flat_map(|details| &details.causes);
        causes.any(|cause| cause.reason == "NamespaceTerminating")
            || status.message.contains("is being terminated")
    };
    match status.code {
        404 if details.is_some_and(|details| details.kind == "namespaces") => true,
        403 | 404 | 409 => terminating(),
        _ => false,
    }
}

/// The time as Kubernetes writes it, to the microsecond.
pub(crate) fn micro_time(at: Timestamp) -> MicroTime {
    MicroTime(Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_that_does_not_decode_is_not_repeated() {
        let error = serde_json::from_str::<u8>(r#""hunter2""#).unwrap_err();
        assert!(error.to_string().contains("hunter2"));
        assert!(!describe(&kube::Error::SerdeError(error)).contains("hunter2"));
    }

    #[test]
    fn a_refusal_is_told_in_the_api_servers_words() {
        let status = kube::core::Status::failure("no right to it", "Forbidden").with_code(403);
        assert_eq!(describe(&kube::Error::Api(status.boxed())), "no right to it");
        let status = kube::core::Status::failure("", "Forbidden").with_code(403);
        assert_eq!(describe(&kube::Error::Api(status.boxed())), "HTTP status 403 Forbidden");
    }

    #[test]
    fn what_says_that_the_namespace_goes() {
        for (status, ends) in [
            (json!({ "code": 404, "details": { "kind": "namespaces", "name": "a" } }), true),
            (json!({ "code": 404, "details": { "kind": "secrets", "name": "a" } }), false),
            (json!({ "code": 403, "details": { "causes": [{ "reason": "NamespaceTerminating" }] } }), true),
            (json!({ "code": 403, "message": "namespace a because it is being terminated" }), true),
            (json!({ "code": 409, "message": "namespace a because it is being terminated" }), true),
            (json!({ "code": 500, "message": "the server is being terminated" }), false),
            (json!({ "code": 403, "message": "exceeded quota" }), false),
        ] {
            let read: Status = serde_json::from_value(status.clone()).unwrap();
            assert_eq!(is_of_ending_namespace(&read), ends, "{status}");
        }
    }

    #[test]
    fn times_keep_their_microseconds() {
        let at: Timestamp = "2026-01-02T03:04:05.678901Z".parse().unwrap_or_default();
        assert_eq!(micro_time(at).0.to_string(), "2026-01-02T03:04:05.678901Z");
    }
}
