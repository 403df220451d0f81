//! Requests about Secrets. What comes back from a write is metadata only, so that no token does; what is read
//! is the one key or the few keys that are asked for, in types without `Debug`.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::Method;
use kube::Client;
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use super::{SecretMeta, data_hash, facts::SecretFacts, metadata::Metadata};
use crate::{
    api::names::FIELD_MANAGER,
    ops::requests::{self, Body},
};

/// A Secret as it is read: facts and data, the data zeroed when dropped.
#[derive(Deserialize)]
#[serde(from = "Wire")]
pub struct FullSecret {
    meta: SecretMeta,
    data: BTreeMap<String, Bytes>,
    immutable: bool,
}

/// A Secret on the wire, as far as it matters.
#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    data: Option<BTreeMap<String, Bytes>>,
    #[serde(default)]
    immutable: Option<bool>,
}

impl From<Wire> for FullSecret {
    fn from(wire: Wire) -> Self {
        Self {
            meta: wire.metadata.into(),
            data: wire.data.unwrap_or_default(),
            immutable: wire.immutable.unwrap_or_default(),
        }
    }
}

/// One decoded value of a Secret's data.
struct Bytes(Zeroizing<Vec<u8>>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut text = String::deserialize(deserializer)?;
        let decoded = BASE64.decode(text.as_bytes());
        text.zeroize();
        // The cause would name the offending byte.
        decoded.map(|bytes| Self(Zeroizing::new(bytes))).map_err(|_| serde::de::Error::custom("not base64"))
    }
}

impl FullSecret {
    /// What its metadata tells.
    pub fn facts(&self) -> &SecretFacts {
        &self.meta.facts
    }

    /// The same, as a watch would have told.
    pub fn into_meta(self) -> SecretMeta {
        self.meta
    }

    /// The value of a key.
    pub fn value(&self, key: &str) -> Option<&[u8]> {
        self.data.get(key).map(|b| b.0.as_slice())
    }

    /// All values that are text.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.data.values().filter_map(|bytes| str::from_utf8(&bytes.0).ok())
    }

    /// The keys that it holds.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.data.keys().map(String::as_str)
    }

    /// Kubernetes refuses every change of its data.
    pub fn immutable(&self) -> bool {
        self.immutable
    }

    /// Whether the keys that the operator wrote still hold what it wrote.
    pub fn data_is_ours(&self) -> bool {
        let facts = self.facts();
        let managed = facts.managed.data.iter();
        let present = managed.clone().filter_map(|k| Some((k.as_str(), self.value(k)?)));
        managed.clone().all(|k| self.data.contains_key(k))
            && facts.token.as_ref().is_some_and(|t| *t.data_hash == data_hash(present))
    }
}

/// Reads a Secret with its data; `None` where there is none.
pub async fn get(client: &Client, namespace: &str, name: &str) -> Result<Option<FullSecret>, kube::Error> {
    requests::get(client, &path(namespace, Some(name))).await
}

/// Creates a Secret; 409 where one of this name exists. A `dry_run` only asks whether it could.
pub async fn create(
    client: &Client,
    namespace: &str,
    body: &Value,
    dry_run: bool,
) -> Result<SecretMeta, kube::Error> {
    let path = write_path(namespace, None, dry_run);
    requests::write(client, Method::POST, &path, Body::Object, body).await
}

/// Patches the Secret whose uid and resource version the body carries; 409 or 422 where it has become
/// another. A `dry_run` only asks whether it could.
pub async fn patch(
    client: &Client,
    namespace: &str,
    name: &str,
    body: &Value,
    dry_run: bool,
) -> Result<SecretMeta, kube::Error> {
    let path = write_path(namespace, Some(name), dry_run);
    requests::write(client, Method::PATCH, &path, Body::MergePatch, body).await
}

/// Applies a JSON patch, which brings its own preconditions.
pub async fn json_patch(
    client: &Client,
    namespace: &str,
    name: &str,
    body: &Value,
) -> Result<SecretMeta, kube::Error> {
    let path = write_path(namespace, Some(name), false);
    requests::write(client, Method::PATCH, &path, Body::JsonPatch, body).await
}

/// Deletes the Secret of this uid and resource version, if there still is one of this name; 409 where it has
/// become another.
pub async fn delete(
    client: &Client,
    namespace: &str,
    name: &str,
    facts: &SecretFacts,
) -> Result<(), kube::Error> {
    let body = serde_json::json!({
        "preconditions": { "uid": &*facts.uid, "resourceVersion": &*facts.resource_version },
    });
    let path = path(namespace, Some(name));
    match requests::write::<IgnoredAny>(client, Method::DELETE, &path, Body::Object, &body).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}

fn path(namespace: &str, name: Option<&str>) -> String {
    let name = name.map(|n| format!("/{n}")).unwrap_or_default();
    format!("/api/v1/namespaces/{namespace}/secrets{name}")
}

fn write_path(namespace: &str, name: Option<&str>, dry_run: bool) -> String {
    let dry_run = if dry_run { "&dryRun=All" } else { "" };
    format!("{}?fieldManager={FIELD_MANAGER}{dry_run}", path(namespace, name))
}

#[cfg(test)]
mod tests;
