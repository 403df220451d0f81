//! What the cases work on, as the API server and Squadcast would send it.

use jiff::Timestamp;
use serde_json::{Value, json};
use squadcast_operator::secret::{self, Desired, TokenNotes, render, template_hash};
use squadcast_operator::squadcast::{RefreshToken, Region, Regions};
use squadcast_operator::{api::SquadcastCredential, reconcile::Credential};

pub const ISSUED: i64 = 1_700_000_000;
pub const LIFE: i64 = 172_800;

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub fn regions() -> Regions {
    Regions::default()
}

pub fn region() -> Region {
    regions().get("us").unwrap().clone()
}

pub fn refresh_token() -> RefreshToken {
    RefreshToken::parse(b"0123456789abcdef0123456789abcdef01234567").unwrap()
}

/// A resource as it is after its first sync.
pub fn resource(number: usize) -> Value {
    let condition = |kind: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": "True", "reason": reason, "message": message,
            "lastTransitionTime": "2023-11-14T22:13:20Z", "observedGeneration": 1,
        })
    };
    json!({
        "apiVersion": "credentials.squadcast.com/v1alpha1",
        "kind": "SquadcastCredential",
        "metadata": {
            "name": format!("c{number}"), "namespace": "team", "uid": format!("11111111-1111-1111-1111-{number:012}"),
            "resourceVersion": (10 + number).to_string(), "generation": 1, "creationTimestamp": "2023-01-01T00:00:00Z",
            "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "{}".repeat(200) },
            "managedFields": [
                { "manager": "kubectl", "operation": "Apply", "apiVersion": "credentials.squadcast.com/v1alpha1",
                  "time": "2023-11-14T22:13:20Z", "fieldsType": "FieldsV1",
                  "fieldsV1": { "f:spec": { "f:refreshTokenSecretRef": { "f:name": {} }, "f:target": { "f:name": {} } } } },
                { "manager": "squadcast-operator", "operation": "Update", "apiVersion": "credentials.squadcast.com/v1alpha1",
                  "subresource": "status", "time": "2023-11-14T22:13:20Z", "fieldsType": "FieldsV1",
                  "fieldsV1": { "f:status": { "f:conditions": {}, "f:expiresAt": {}, "f:issuedAt": {}, "f:renewAt": {} } } },
            ],
        },
        "spec": {
            "region": "us", "refreshTokenRotation": "Ignore", "suspend": false,
            "refreshTokenSecretRef": { "name": format!("c{number}-source"), "key": "refresh_token" },
            "target": { "name": format!("c{number}-target"), "creationPolicy": "Owner" },
        },
        "status": {
            "observedGeneration": 1,
            "conditions": [
                condition("Ready", "TokenValid", "the Secret holds an unexpired access token"),
                condition("Synced", "Synced", "the last attempt did what it should"),
            ],
            "issuedAt": "2023-11-14T22:13:20Z", "expiresAt": "2023-11-16T22:13:20Z",
            "renewAt": "2023-11-16T04:00:00Z", "lastRenewedAt": "2023-11-14T22:13:20Z",
            "targetName": format!("c{number}-target"),
            "lastAttemptFingerprint": refresh_token().fingerprint("us").to_string(),
        },
    })
}

pub fn credential(number: usize) -> Credential {
    serde_json::from_value::<SquadcastCredential>(resource(number)).unwrap().into()
}

pub fn notes() -> TokenNotes {
    TokenNotes {
        issued_at: ISSUED,
        expires_at: ISSUED + LIFE,
        fingerprint: refresh_token().fingerprint("us"),
        skew: 0,
        template_hash: template_hash("us", &region().api_url, None),
    }
}

pub fn inputs() -> render::Inputs<'static> {
    render::Inputs {
        access_token: "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1c2VyIiwiaWF0IjoxNzAwMDAwMDAwfQ.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg",
        token_type: "Bearer",
        issued_at: ISSUED,
        expires_at: ISSUED + LIFE,
        region: "us",
        api_url: "https://api.squadcast.com",
    }
}

pub fn desired(credential: &Credential) -> Desired<'_> {
    Desired {
        credential: credential.key.name(),
        credential_uid: &credential.uid,
        target: &credential.spec.target,
    }
}

/// The metadata of a target, as a watch tells it.
pub fn target(number: usize, version: usize) -> Value {
    let credential = credential(number);
    let data = render::render(None, &inputs()).unwrap();
    let mut secret = secret::create(desired(&credential), &data, &notes());
    let fields: serde_json::Map<String, Value> = data.keys().map(|k| (format!("f:{k}"), json!({}))).collect();
    let metadata = &mut secret["metadata"];
    metadata["namespace"] = "team".into();
    metadata["uid"] = format!("22222222-2222-2222-2222-{number:012}").into();
    metadata["resourceVersion"] = version.to_string().into();
    metadata["creationTimestamp"] = "2023-11-14T22:13:20Z".into();
    metadata["managedFields"] = json!([{
        "manager": "squadcast-operator", "operation": "Update", "apiVersion": "v1",
        "time": "2023-11-14T22:13:20Z", "fieldsType": "FieldsV1",
        "fieldsV1": { "f:data": fields, "f:metadata": { "f:annotations": {}, "f:labels": {} }, "f:type": {} },
    }]);
    json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata })
}

/// The metadata of a Secret that is none of the operator's business, with what others write on such ones.
pub fn stranger(number: usize) -> Value {
    json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": {
            "name": format!("stranger-{number}"), "namespace": "team", "uid": format!("33333333-3333-3333-3333-{number:012}"),
            "resourceVersion": (1_000_000 + number).to_string(), "creationTimestamp": "2023-11-14T22:13:20Z",
            "labels": { "app.kubernetes.io/managed-by": "Helm", "owner": "helm", "name": "release" },
            "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "x".repeat(4000) },
            "managedFields": [{
                "manager": "helm", "operation": "Update", "apiVersion": "v1", "time": "2023-11-14T22:13:20Z",
                "fieldsType": "FieldsV1",
                "fieldsV1": { "f:data": { ".": {}, "f:release": {} }, "f:metadata": { "f:labels": { ".": {}, "f:name": {} } } },
            }],
        },
    })
}

/// Squadcast's answer.
pub fn answer() -> Vec<u8> {
    let inputs = inputs();
    let data = json!({
        "access_token": inputs.access_token, "expires_at": inputs.expires_at, "issued_at": inputs.issued_at,
        "refresh_token": refresh_token().expose(), "type": "bearer",
    });
    json!({ "data": data }).to_string().into_bytes()
}
