//! Writes the status: one merge patch that holds what has changed, on the condition that the resource is the
//! one that was examined.

use http::header::{ACCEPT, CONTENT_TYPE};
use kube::Client;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Credential, trouble::clean};
use crate::{
    api::{SquadcastCredentialStatus, names},
    ops::{METADATA, describe},
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
        credential.key.namespace,
        credential.key.name
    );
    let mut version = credential.resource_version.to_string();
    let mut from = credential.status.clone();
    for _ in 0..4 {
        let changes = difference(&from, status);
        if changes.is_empty() {
            return Ok(Some(version.into()));
        }
        let body = json!({ "metadata": { "resourceVersion": version }, "status": changes });
        match patch(client, &path, &body).await {
            Ok(answer) => return Ok(Some(answer.metadata.resource_version)),
            Err(kube::Error::Api(s)) if s.code == 404 || s.message.contains("is being terminated") => {
                return Ok(None);
            }
            Err(kube::Error::Api(s)) if s.code == 409 => {}
            Err(error) => return Err(clean(&describe(&error), &[])),
        }
        match read(client, &path).await {
            Ok(current) => {
                if current.uid != credential.uid || current.deleting {
                    return Ok(None);
                }
                version = current.resource_version.to_string();
                from = current.status;
            }
            Err(kube::Error::Api(s)) if s.code == 404 => return Ok(None),
            Err(error) => return Err(clean(&describe(&error), &[])),
        }
    }
    Err("the resource kept changing".to_owned())
}

async fn patch(client: &Client, path: &str, body: &Value) -> Result<Answer, kube::Error> {
    let request = http::Request::patch(format!("{path}/status?fieldManager={}", names::FIELD_MANAGER))
        .header(ACCEPT, METADATA)
        .header(CONTENT_TYPE, "application/merge-patch+json")
        .body(serde_json::to_vec(body).map_err(kube::Error::SerdeError)?)
        .map_err(kube::Error::HttpError)?;
    client.request(request).await
}

async fn read(client: &Client, path: &str) -> Result<Credential, kube::Error> {
    let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
    client.request::<crate::api::SquadcastCredential>(request).await.map(Into::into)
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
