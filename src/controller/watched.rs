//! A resource as a watch tells it. What the operator does not need is skipped while it is read, other people's
//! annotations and the record of field managers among it; what cannot be read stops only itself.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::watches::Undecodable;
use crate::{
    api::{Key, SquadcastCredential, SquadcastCredentialSpec, SquadcastCredentialStatus, names},
    reconcile::Credential,
};

/// A resource, or why it cannot be read.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Name, namespace and resource version: what a watch needs.
    metadata: ObjectMeta,
    object: Result<Credential, String>,
}

impl Watched {
    /// The resource, or whose fault it is that there is none.
    pub fn decoded(self) -> Result<Credential, Undecodable> {
        let Self { metadata, object } = self;
        object.map_err(|error| {
            let part = |part: Option<String>| part.unwrap_or_default();
            Undecodable { key: Key::new(&part(metadata.namespace), &part(metadata.name)), error }
        })
    }
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    metadata: Metadata,
    // As they come: a type would fail in the middle of the object, and of the watch with it.
    spec: Option<Value>,
    status: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    annotations: Option<Annotations>,
}

#[derive(Deserialize)]
struct Annotations {
    /// [`names::ANNOTATION_RENEW`]
    #[serde(rename = "credentials.squadcast.com/renew-requested-at")]
    renew: Option<String>,
}

impl From<Wire> for Watched {
    fn from(wire: Wire) -> Self {
        let Metadata {
            name,
            namespace,
            uid,
            resource_version,
            generation,
            creation_timestamp,
            deletion_timestamp,
            annotations,
        } = wire.metadata;
        let metadata = ObjectMeta { name, namespace, resource_version, ..ObjectMeta::default() };
        let renew = annotations.and_then(|annotations| annotations.renew);
        let object = read(wire.spec, wire.status).map(|(spec, status)| {
            let metadata = ObjectMeta {
                uid,
                generation,
                creation_timestamp,
                deletion_timestamp,
                annotations: renew.map(|value| BTreeMap::from([(names::ANNOTATION_RENEW.to_owned(), value)])),
                ..metadata.clone()
            };
            SquadcastCredential { metadata, spec, status }.into()
        });
        Self { metadata, object: object.map_err(|error| error.to_string()) }
    }
}

fn read(
    spec: Option<Value>,
    status: Option<Value>,
) -> serde_json::Result<(SquadcastCredentialSpec, Option<SquadcastCredentialStatus>)> {
    let spec = spec.ok_or_else(|| serde::de::Error::missing_field("spec"))?;
    Ok((serde_json::from_value(spec)?, status.map(serde_json::from_value).transpose()?))
}

impl<'de> Deserialize<'de> for Watched {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Wire::deserialize(deserializer).map(Self::from)
    }
}

impl Resource for Watched {
    type DynamicType = ();
    type Scope = k8s_openapi::NamespaceResourceScope;

    fn kind((): &()) -> std::borrow::Cow<'_, str> {
        SquadcastCredential::kind(&())
    }

    fn group((): &()) -> std::borrow::Cow<'_, str> {
        SquadcastCredential::group(&())
    }

    fn version((): &()) -> std::borrow::Cow<'_, str> {
        SquadcastCredential::version(&())
    }

    fn plural((): &()) -> std::borrow::Cow<'_, str> {
        SquadcastCredential::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt;
    use serde_json::json;

    use super::*;

    fn object() -> Value {
        json!({
            "apiVersion": names::API_VERSION,
            "kind": names::KIND,
            "metadata": {
                "name": "a", "namespace": "ns", "uid": "u", "resourceVersion": "7", "generation": 3,
                "creationTimestamp": "2024-01-01T00:00:00Z", "deletionTimestamp": "2024-01-02T00:00:00Z",
                "annotations": { "other": "value", names::ANNOTATION_RENEW: "now" },
                "managedFields": [{ "manager": "kubectl", "fieldsV1": { "f:spec": {} } }],
            },
            "spec": { "refreshTokenSecretRef": { "name": "source" }, "target": { "name": "target" } },
            "status": { "observedGeneration": 2, "failures": 4 },
        })
    }

    #[test]
    fn it_is_what_the_whole_object_tells() {
        let whole: SquadcastCredential = serde_json::from_value(object()).unwrap();
        let watched: Watched = serde_json::from_str(&object().to_string()).unwrap();
        assert_eq!((watched.name_any(), watched.resource_version()), ("a".to_owned(), Some("7".to_owned())));
        assert_eq!(watched.object, Ok(whole.into()));
        assert_eq!(watched.object.unwrap().renew_request.as_deref(), Some("now"));
    }

    #[test]
    fn what_cannot_be_read_keeps_its_name() {
        for (field, value, why) in [
            ("spec", json!({ "target": { "name": "target" } }), "missing field `refreshTokenSecretRef`"),
            ("spec", json!([1, 2]), "invalid type: "),
            ("status", json!({ "failures": "many" }), "invalid type: string \"many\", expected i32"),
        ] {
            let mut object = object();
            object[field] = value;
            let watched: Watched = serde_json::from_str(&object.to_string()).unwrap();
            assert_eq!(watched.name_any(), "a");
            let error = watched.object.unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        let bare: Watched = serde_json::from_str(r#"{"metadata":{"name":"a"}}"#).unwrap();
        assert_eq!(bare.object, Err("missing field `spec`".to_owned()));
    }
}
