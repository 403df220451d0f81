//! Bodies of writes, and what is read back from them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::*;
use crate::secret::SecretMeta;

const UID: &str = "11111111-1111-1111-1111-111111111111";

fn target(spec: Value) -> Target {
    serde_json::from_value(spec).unwrap()
}

fn desired(target: &Target) -> Desired<'_> {
    Desired { credential: "api", credential_uid: UID, target }
}

fn data(keys: &[&str]) -> Data {
    keys.iter().map(|k| ((*k).to_owned(), Zeroizing::new(format!("value of {k}")))).collect()
}

fn notes(skew: i64) -> TokenNotes {
    TokenNotes {
        issued_at: 1_587_240_070,
        expires_at: 1_587_412_870,
        fingerprint: Fingerprint::parse("00000000000000ff").unwrap(),
        skew,
        template_hash: "us.0".into(),
    }
}

fn facts(secret: &Value) -> SecretFacts {
    serde_json::from_value::<SecretMeta>(secret.clone()).unwrap().facts
}

/// Applies a merge patch as RFC 7386 says.
fn patched(mut object: Value, patch: &Value) -> Value {
    match patch {
        Value::Object(fields) => {
            if !object.is_object() {
                object = json!({});
            }
            for (key, value) in fields {
                let map = object.as_object_mut().unwrap();
                if value.is_null() {
                    map.remove(key);
                } else {
                    let inner = map.remove(key).unwrap_or_default();
                    map.insert(key.clone(), patched(inner, value));
                }
            }
            object
        }
        other => other.clone(),
    }
}

fn existing(spec: Value, keys: &[&str]) -> Value {
    let mut secret = create(desired(&target(spec)), &data(keys), &notes(0));
    secret["metadata"]["uid"] = "u".into();
    secret["metadata"]["resourceVersion"] = "5".into();
    secret
}

#[test]
fn a_created_secret_is_whole_and_tells_its_story() {
    let spec = json!({ "name": "t", "labels": { "team": "a" }, "annotations": { "note": "b" } });
    let secret = existing(spec.clone(), &["access_token"]);
    assert_eq!(secret["type"], "Opaque");
    assert_eq!(
        secret["metadata"]["labels"],
        json!({
            "team": "a",
            "app.kubernetes.io/managed-by": "squadcast-operator",
            "credentials.squadcast.com/credential": "api",
        })
    );
    let annotations = &secret["metadata"]["annotations"];
    assert_eq!(annotations["credentials.squadcast.com/issued-at"], "2020-04-18T20:01:10Z");
    assert_eq!(annotations["credentials.squadcast.com/expires-at"], "2020-04-20T20:01:10Z");
    assert!(annotations.get("credentials.squadcast.com/clock-skew").is_none());
    assert_eq!(secret["metadata"]["ownerReferences"][0]["controller"], true);
    let facts = facts(&secret);
    assert_eq!(facts.token.as_ref().unwrap().life.expires.as_second(), 1_587_412_870);
    assert!(metadata_is_current(desired(&target(spec)), &facts));
}

#[test]
fn skew_is_noted_and_taken_off_again() {
    let secret = create(desired(&target(json!({ "name": "t" }))), &data(&["k"]), &notes(3600));
    assert_eq!(secret["metadata"]["annotations"]["credentials.squadcast.com/clock-skew"], "3600");
    assert_eq!(facts(&secret).token.unwrap().life.expires.as_second(), 1_587_412_870 - 3600);
}

#[test]
fn a_patch_carries_what_was_examined_and_removes_what_is_no_longer_wanted() {
    let before =
        json!({ "name": "t", "labels": { "old": "1", "kept": "1" }, "annotations": { "gone": "1" } });
    let mut secret = existing(before, &["access_token", "former"]);
    secret["metadata"]["labels"]["foreign"] = "x".into();
    secret["data"]["foreign"] = "eA==".into();
    let after = target(json!({ "name": "t", "labels": { "kept": "2" } }));
    let patch = patch(desired(&after), &facts(&secret), &data(&["access_token"]), &notes(0));
    assert_eq!(
        (&patch["metadata"]["uid"], &patch["metadata"]["resourceVersion"]),
        (&json!("u"), &json!("5"))
    );
    let secret = patched(secret, &patch);
    assert_eq!(secret["metadata"]["labels"]["kept"], "2");
    assert_eq!(secret["metadata"]["labels"]["foreign"], "x");
    assert!(secret["metadata"]["labels"].get("old").is_none());
    assert!(secret["metadata"]["annotations"].get("gone").is_none());
    assert!(secret["data"].get("former").is_none());
    assert_eq!(secret["data"]["foreign"], "eA==");
    assert!(metadata_is_current(desired(&after), &facts(&secret)));
}

#[test]
fn a_change_of_policy_adds_or_removes_the_controller() {
    let policy = |policy: &str| target(json!({ "name": "t", "creationPolicy": policy }));
    let other_owner = json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "o" });
    let mut secret = existing(json!({ "name": "t" }), &["access_token"]);
    secret["metadata"]["ownerReferences"].as_array_mut().unwrap().push(other_owner.clone());
    for name in ["Orphan", "Owner", "Merge", "Owner", "Merge"] {
        let wanted = policy(name);
        assert!(!metadata_is_current(desired(&wanted), &facts(&secret)), "{name}");
        secret = patched(secret.clone(), &patch_metadata(desired(&wanted), &facts(&secret)));
        assert!(metadata_is_current(desired(&wanted), &facts(&secret)), "{name}");
        let owners = secret["metadata"]["ownerReferences"].as_array().unwrap();
        assert_eq!(owners.len(), if name == "Owner" { 2 } else { 1 }, "{name}");
        assert!(owners.contains(&other_owner));
    }
    let annotations = &secret["metadata"]["annotations"];
    assert_eq!(annotations[names::ANNOTATION_ALLOW_WRITE], "api", "goes on by permission");
    assert!(secret["metadata"]["labels"].get(names::LABEL_CREDENTIAL).is_none());
}

#[test]
fn field_managers_tell_of_edits() {
    let ours = |keys: &[&str]| {
        let fields: BTreeMap<String, Value> = keys.iter().map(|k| (format!("f:{k}"), json!({}))).collect();
        json!({ "manager": names::FIELD_MANAGER, "operation": "Update", "fieldsV1": { "f:data": fields } })
    };
    let theirs =
        json!({ "manager": "kubectl-edit", "operation": "Update", "fieldsV1": { "f:data": { "f:b": {} } } });
    let frozen =
        json!({ "manager": "kubectl-edit", "operation": "Update", "fieldsV1": { "f:immutable": {} } });
    let as_text = |key: &str| {
        let fields = json!({ "f:stringData": { format!("f:{key}"): {} } });
        json!({ "manager": "applier", "operation": "Apply", "fieldsV1": fields })
    };
    for (what, entries, untouched, other) in [
        ("as written", json!([ours(&["a", "b"])]), true, None),
        ("edited", json!([ours(&["a"]), theirs]), false, Some("kubectl-edit")),
        ("removed", json!([ours(&["a"])]), false, None),
        ("no record", json!([]), false, None),
        ("made immutable", json!([ours(&["a", "b"]), frozen]), true, None),
        ("applied as text", json!([ours(&["a", "b"]), as_text("b")]), false, Some("applier")),
        ("another key applied as text", json!([ours(&["a", "b"]), as_text("c")]), true, Some("applier")),
    ] {
        let mut secret = existing(json!({ "name": "t" }), &["a", "b"]);
        secret["metadata"]["managedFields"] = entries;
        let facts = facts(&secret);
        assert_eq!((facts.untouched, facts.other_manager.as_deref()), (untouched, other), "{what}");
        assert_eq!(facts.immutable_set, what == "made immutable");
    }
}
