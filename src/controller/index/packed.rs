//! What is known of an object while nobody looks at it: there are four for each resource, and each is looked at for
//! a moment, now and then. As JSON, compressed against what nearly all of its kind have in common, it takes a
//! fifth of what it takes as a value, and one block instead of a dozen.

use std::marker::PhantomData;

use lz4_flex::block::{compress_prepend_size_with_dict, decompress_size_prepended_with_dict};
use serde::{Serialize, de::DeserializeOwned};

use super::entry::Told;
use crate::{reconcile::Credential, secret::SecretFacts};

/// What can be packed.
pub(super) trait Pack: Serialize + DeserializeOwned {
    /// What the JSON of most values has in common. What is not in it costs room, nothing else.
    const COMMON: &'static str;
}

impl Pack for Credential {
    const COMMON: &'static str = r#"{"uid":"","generation":1,"deleting":false,"renew_request":null,"spec":{"region":"us","refreshTokenSecretRef":{"name":"refresh-token","key":"refresh_token"},"refreshTokenRotation":"Ignore","target":{"name":"token","creationPolicy":"Owner"},"suspend":false}}"#;
}

impl Pack for Told {
    const COMMON: &'static str = r#""lastTransitionTime":"2026-01-01T00:00:00Z","reason":"RefreshTokenRejected","status":"False","type":"Stalled"},{"resource_version":"1","status":{"observedGeneration":1,"conditions":[{"type":"Ready","status":"True","reason":"TokenValid","message":"Secret \"token\" holds a valid token","lastTransitionTime":"2026-01-01T00:00:00Z","observedGeneration":1},{"type":"Synced","status":"True","reason":"Synced","message":"Secret \"token\" is as this resource asks for","lastTransitionTime":"2026-01-01T00:00:00Z","observedGeneration":1}],"issuedAt":"2026-01-01T00:00:00Z","expiresAt":"2026-01-01T00:00:00Z","renewAt":"2026-01-01T00:00:00Z","lastRenewedAt":"2026-01-01T00:00:00Z","targetName":"token","lastAttemptFingerprint":"","restartedDataHash":""}}"#;
}

impl Pack for SecretFacts {
    const COMMON: &'static str = r#"{"uid":"","resource_version":"1","deleting":false,"controller":null,"other_owners":[],"managed_by_us":false,"credential":null,"source_allowed":false,"allow_write_by":null,"token":null,"managed":{"data":[]},"managed_metadata":{},"untouched":false,"other_manager":"kubectl-create","immutable_set":false}","deleting":false,"controller":{"uid":"","name":"","foreign_kind":null},"other_owners":[],"managed_by_us":true,"credential":"","source_allowed":false,"allow_write_by":null,"token":{"life":{"issued":"2026-01-01T00:00:00Z","expires":"2026-01-01T00:00:00Z"},"fingerprint":1,"data_hash":"","template_hash":"us."},"managed":{"data":["access_token","expires_at","issued_at","token_type"]},"managed_metadata":{},"untouched":true,"other_manager":null,"immutable_set":false}"#;
}

#[cfg(test)]
thread_local! {
    /// How many values were unpacked: what is done for each event may not need many.
    pub(super) static UNPACKED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// A value, packed.
pub(super) struct Packed<T> {
    bytes: Box<[u8]>,
    of: PhantomData<fn() -> T>,
}

impl<T: Pack> Packed<T> {
    /// Packs a value.
    pub(super) fn new(value: &T) -> Self {
        // It has no map whose keys are not texts, which is all that JSON refuses.
        let json = serde_json::to_vec(value).unwrap_or_default();
        let packed = compress_prepend_size_with_dict(&json, T::COMMON.as_bytes());
        // A copy: what it was packed into has room for more, and to shrink it would leave a hole behind each value.
        Self { bytes: packed.as_slice().into(), of: PhantomData }
    }

    /// The value as it was packed; nobody has ever seen `None`.
    pub(super) fn unpack(&self) -> Option<T> {
        #[cfg(test)]
        UNPACKED.set(UNPACKED.get() + 1);
        let json = decompress_size_prepended_with_dict(&self.bytes, T::COMMON.as_bytes()).ok()?;
        serde_json::from_slice(&json).ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::{SquadcastCredential, names},
        secret::SecretMeta,
    };

    fn credential(more: &Value) -> Credential {
        let condition = |kind: &str, reason: &str, message: &str| {
            json!({
                "type": kind, "status": "True", "reason": reason, "message": message,
                "lastTransitionTime": "2026-03-02T08:12:44Z", "observedGeneration": 1,
            })
        };
        let mut object = json!({
            "apiVersion": names::API_VERSION,
            "kind": names::KIND,
            "metadata": {
                "name": "checkout-squadcast", "namespace": "team-payments", "resourceVersion": "8429166",
                "uid": "3f8a0c52-9b1e-4d7c-8a56-0e2b7d914c33", "generation": 1, "creationTimestamp": "2026-01-05T10:00:00Z",
            },
            "spec": {
                "region": "eu", "refreshTokenRotation": "Ignore", "suspend": false,
                "refreshTokenSecretRef": { "name": "checkout-refresh", "key": "refresh_token" },
                "target": { "name": "checkout-token", "creationPolicy": "Owner" },
            },
            "status": {
                "observedGeneration": 1,
                "conditions": [
                    condition("Ready", "TokenValid", "Secret \"checkout-token\" holds a valid token"),
                    condition("Synced", "Synced", "Secret \"checkout-token\" is as this resource asks for"),
                ],
                "issuedAt": "2026-03-02T08:12:43Z", "expiresAt": "2026-03-04T08:12:43Z",
                "renewAt": "2026-03-03T14:03:10Z", "lastRenewedAt": "2026-03-02T08:12:44Z",
                "targetName": "checkout-token", "lastAttemptFingerprint": "9d31c07be26f4a58",
            },
        });
        let (object_map, more) = (object.as_object_mut().unwrap(), more.as_object().unwrap());
        object_map.extend(more.clone());
        serde_json::from_value::<SquadcastCredential>(object).unwrap().into()
    }

    fn target() -> SecretFacts {
        let secret: SecretMeta = serde_json::from_value(json!({ "metadata": {
            "name": "checkout-token", "namespace": "team-payments", "resourceVersion": "8429170",
            "uid": "b7c4e1a9-2d06-4f38-9e71-5a80c3f62d1b",
            "labels": { names::LABEL_MANAGED_BY: names::FIELD_MANAGER, names::LABEL_CREDENTIAL: "checkout-squadcast" },
            "ownerReferences": [{
                "apiVersion": names::API_VERSION, "kind": names::KIND, "name": "checkout-squadcast",
                "uid": "3f8a0c52-9b1e-4d7c-8a56-0e2b7d914c33", "controller": true,
            }],
            "annotations": {
                names::ANNOTATION_ISSUED_AT: "2026-03-02T08:12:43Z",
                names::ANNOTATION_EXPIRES_AT: "2026-03-04T08:12:43Z",
                names::ANNOTATION_FINGERPRINT: "9d31c07be26f4a58",
                names::ANNOTATION_DATA_HASH: "5b1f97e20c8a46d3",
                names::ANNOTATION_TEMPLATE_HASH: "eu.c04d7a1163f8e29b",
                names::ANNOTATION_MANAGED: r#"{"data":["access_token","expires_at","issued_at","token_type"]}"#,
            },
            "managedFields": [{ "manager": names::FIELD_MANAGER, "operation": "Update",
                "fieldsV1": { "f:data": { "f:access_token": {}, "f:expires_at": {}, "f:issued_at": {}, "f:token_type": {} } } }],
        } }))
        .unwrap();
        secret.facts
    }

    fn told(credential: &Credential) -> Told {
        let Credential { resource_version, status, .. } = credential.clone();
        Told { resource_version, status }
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        let odd = credential(&json!({ "spec": {
            "region": "moon", "refreshTokenRotation": "WriteBack", "suspend": true, "renewBefore": "90m",
            "refreshTokenSecretRef": { "name": "s", "key": "k" },
            "rolloutRestartTargets": [{ "kind": "DaemonSet", "name": "d" }],
            "target": { "name": "t", "creationPolicy": "Merge", "labels": { "a": "\u{1F600}\"\\" },
                "template": { "header": "{{ token_type }} {{ access_token }}\n" } },
        } }));
        for credential in [credential(&json!({})), credential(&json!({ "status": {} })), odd] {
            let asked = Packed::new(&credential).unpack().unwrap();
            assert_eq!((&asked.spec, &asked.uid), (&credential.spec, &credential.uid));
            assert_eq!(Packed::new(&told(&credential)).unpack(), Some(told(&credential)));
        }
        assert_eq!(Packed::new(&target()).unpack(), Some(target()));
    }

    /// A field that is renamed here and not in what is common shows.
    #[test]
    fn the_usual_takes_little_room() {
        let resource = credential(&json!({}));
        let asked = Packed::new(&resource).bytes.len();
        let told = Packed::new(&told(&resource)).bytes.len();
        let target = Packed::new(&target()).bytes.len();
        assert!(asked <= 75 && told <= 165 && target <= 210, "{asked}, {told} and {target} bytes");
    }
}
