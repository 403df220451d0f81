//! Writes the status: one merge patch that holds what has changed, on the condition that the resource is the
//! one that was examined.

use http::Method;
use kube::Client;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Credential;
use crate::{
    api::{SquadcastCredential, SquadcastCredentialStatus, names},
    ops::{
        describe, is_of_ending_namespace,
        requests::{self, Body},
    },
    redact::clean,
};

/// The fields that differ; `null` for those that go. Pure.
pub fn difference(from: &SquadcastCredentialStatus, to: &SquadcastCredentialStatus) -> Map<String, Value> {
    let fields = |status| match serde_json::to_value(status) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let (from, mut to) = (fields(from), fields(to));
    for key in from.keys() {
        to.entry(key.clone()).or_insert(Value::Null);
    }
    to.retain(|key, value| from.get(key) != Some(value));
    to
}

/// What matters of an answer; all else is skipped while it is read.
#[derive(Deserialize)]
struct Answer {
    metadata: Version,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    resource_version: Box<str>,
}

/// Writes the status of a resource. `Ok(None)`: the resource is gone or has become another.
///
/// A resource that has changed meanwhile is read again and gets the same status: it says for which generation
/// it speaks.
pub async fn write(
    client: &Client,
    credential: &Credential,
    status: &SquadcastCredentialStatus,
) -> Result<Option<Box<str>>, String> {
    let path = format!(
        "/apis/{}/namespaces/{}/squadcastcredentials/{}",
        names::API_VERSION,
        credential.key.namespace(),
        credential.key.name()
    );
    let written = format!("{path}/status?fieldManager={}", names::FIELD_MANAGER);
    let mut version = credential.resource_version.to_string();
    let mut from = credential.status.clone();
    for _ in 0..4 {
        let changes = difference(&from, status);
        if changes.is_empty() {
            return Ok(Some(version.into()));
        }
        let body = json!({ "metadata": { "resourceVersion": version }, "status": changes });
        match requests::write::<Answer>(client, Method::PATCH, &written, Body::MergePatch, &body).await {
            Ok(answer) => return Ok(Some(answer.metadata.resource_version)),
            Err(kube::Error::Api(s)) if s.code == 404 || is_of_ending_namespace(&s) => return Ok(None),
            Err(kube::Error::Api(s)) if s.code == 409 => {}
            Err(error) => return Err(clean(&describe(&error), &[])),
        }
        match requests::get::<SquadcastCredential>(client, &path).await {
            Ok(Some(current)) => {
                let current = Credential::from(current);
                if current.uid != credential.uid || current.deleting {
                    return Ok(None);
                }
                version = current.resource_version.to_string();
                from = current.status;
            }
            Ok(None) => return Ok(None),
            Err(error) => return Err(clean(&describe(&error), &[])),
        }
    }
    Err("the resource kept changing".to_owned())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn only_what_differs_and_null_for_what_goes() {
        let at = Timestamp::from_second(1_600_000_000).unwrap();
        let from = SquadcastCredentialStatus {
            observed_generation: Some(1),
            failures: Some(3),
            expires_at: Some(at),
            ..Default::default()
        };
        let to = SquadcastCredentialStatus {
            observed_generation: Some(2),
            expires_at: Some(at),
            target_name: Some("t".into()),
            ..Default::default()
        };
        let expected = json!({ "observedGeneration": 2, "failures": null, "targetName": "t" });
        assert_eq!(Value::Object(difference(&from, &to)), expected);
        assert!(difference(&to, &to).is_empty());
    }
}
