//! The bodies of writes to a target: a whole Secret to create, merge patches after that. Pure.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    Managed, SecretFacts,
    facts::{annotation_key, label_key},
    hash::rendered_hash,
    render::Data,
};
use crate::{
    api::{CreationPolicy, Target, names},
    squadcast::Fingerprint,
};

/// What the Secret should be, the token aside.
#[derive(Clone, Copy)]
pub struct Desired<'a> {
    /// Name of the resource.
    pub credential: &'a str,
    /// Uid of the resource.
    pub credential_uid: &'a str,
    /// `spec.target`.
    pub target: &'a Target,
}

/// What the Secret says of its token.
#[derive(Clone)]
pub struct TokenNotes {
    /// Squadcast's clock, Unix seconds.
    pub issued_at: i64,
    /// Squadcast's clock, Unix seconds.
    pub expires_at: i64,
    /// Of region and refresh token.
    pub fingerprint: Fingerprint,
    /// Squadcast's clock less ours; 0 is not written down.
    pub skew: i64,
    /// See [`super::template_hash`].
    pub template_hash: String,
}

/// A whole Secret, for a request that fails if one of this name exists.
pub fn create(desired: Desired<'_>, data: &Data, notes: &TokenNotes) -> Value {
    let mut metadata = metadata(desired, None, data.keys().cloned().collect());
    merge(&mut metadata, "annotations", token_annotations(notes, data));
    drop_nulls(&mut metadata);
    metadata.insert("name".into(), desired.target.name.as_str().into());
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": metadata,
        "data": data.iter().map(|(k, v)| (k.clone(), BASE64.encode(v.as_bytes()).into())).collect::<Map<_, _>>(),
    })
}

/// A merge patch that writes a token into the Secret that was examined, and into no other: it carries the uid
/// and resource version. Removes what the operator wrote earlier and no longer wants.
pub fn patch(desired: Desired<'_>, facts: &SecretFacts, data: &Data, notes: &TokenNotes) -> Value {
    let mut metadata = metadata(desired, Some(facts), data.keys().cloned().collect());
    merge(&mut metadata, "annotations", token_annotations(notes, data));
    let mut body: Map<String, Value> =
        data.iter().map(|(k, v)| (k.clone(), BASE64.encode(v.as_bytes()).into())).collect();
    for gone in facts.managed.data.iter().filter(|k| !data.contains_key(*k)) {
        body.insert(gone.clone(), Value::Null);
    }
    json!({ "metadata": metadata, "data": body })
}

/// A merge patch that brings labels, annotations and owners up to date and leaves the data alone.
pub fn patch_metadata(desired: Desired<'_>, facts: &SecretFacts) -> Value {
    json!({ "metadata": metadata(desired, Some(facts), facts.managed.data.clone()) })
}

/// Whether labels, annotations and owners are as the resource wants them.
pub fn metadata_is_current(desired: Desired<'_>, facts: &SecretFacts) -> bool {
    let target = desired.target;
    let wanted: BTreeMap<String, &String> = (target.labels.iter().map(|(k, v)| (label_key(k), v)))
        .chain(target.annotations.iter().map(|(k, v)| (annotation_key(k), v)))
        .collect();
    let controls = controls(desired, facts);
    let labelled =
        facts.managed_by_us && facts.credential.as_deref().is_some_and(|name| name == desired.credential);
    let whose = match target.creation_policy {
        CreationPolicy::Owner => controls && labelled,
        CreationPolicy::Orphan => !controls && labelled,
        CreationPolicy::Merge => !controls && !labelled,
    };
    whose
        && keys(&target.labels) == facts.managed.labels
        && keys(&target.annotations) == facts.managed.annotations
        && wanted.into_iter().eq(facts.managed_metadata.iter().map(|(k, v)| (k.clone(), v)))
}

fn controls(desired: Desired<'_>, facts: &SecretFacts) -> bool {
    facts.controller.as_ref().is_some_and(|c| *c.uid == *desired.credential_uid)
}

fn keys(map: &BTreeMap<String, String>) -> BTreeSet<String> {
    map.keys().cloned().collect()
}

/// Labels, annotations, owners and preconditions.
fn metadata(
    desired: Desired<'_>,
    facts: Option<&SecretFacts>,
    data_keys: BTreeSet<String>,
) -> Map<String, Value> {
    let target = desired.target;
    let merge_policy = target.creation_policy == CreationPolicy::Merge;
    let managed =
        Managed { data: data_keys, labels: keys(&target.labels), annotations: keys(&target.annotations) };
    let mut labels = with_removals(&target.labels, facts.map(|f| &f.managed.labels));
    let mut annotations = with_removals(&target.annotations, facts.map(|f| &f.managed.annotations));
    annotations
        .insert(names::ANNOTATION_MANAGED.into(), serde_json::to_string(&managed).unwrap_or_default().into());
    if merge_policy {
        let was_ours = facts.is_some_and(|f| {
            f.managed_by_us && f.credential.as_deref().is_some_and(|name| name == desired.credential)
        });
        if was_ours {
            labels.insert(names::LABEL_MANAGED_BY.into(), Value::Null);
            labels.insert(names::LABEL_CREDENTIAL.into(), Value::Null);
        }
        if was_ours || facts.is_some_and(|f| controls(desired, f)) {
            // The Secret was this resource's own until now. Under Merge it goes on by permission.
            annotations.insert(names::ANNOTATION_ALLOW_WRITE.into(), desired.credential.into());
        }
    } else {
        labels.insert(names::LABEL_MANAGED_BY.into(), names::FIELD_MANAGER.into());
        labels.insert(names::LABEL_CREDENTIAL.into(), desired.credential.into());
    }
    let mut metadata = Map::new();
    if !labels.is_empty() {
        metadata.insert("labels".into(), labels.into());
    }
    metadata.insert("annotations".into(), annotations.into());
    if let Some(owners) = owner_references(desired, facts) {
        metadata.insert("ownerReferences".into(), owners);
    }
    if let Some(facts) = facts {
        metadata.insert("uid".into(), (&*facts.uid).into());
        metadata.insert("resourceVersion".into(), (&*facts.resource_version).into());
    }
    metadata
}

/// The owners to write, where they are to change.
fn owner_references(desired: Desired<'_>, facts: Option<&SecretFacts>) -> Option<Value> {
    let wanted = desired.target.creation_policy == CreationPolicy::Owner;
    if facts.is_some_and(|f| controls(desired, f)) == wanted {
        return None;
    }
    let others = facts.map(|f| f.other_owners.as_slice()).unwrap_or_default();
    // An owner of ours that controls nothing is made the controller, not doubled.
    let others = others.iter().filter(|o| o.uid != desired.credential_uid);
    let mut owners: Vec<Value> = others.filter_map(|o| serde_json::to_value(o).ok()).collect();
    if wanted {
        owners.push(json!({
            "apiVersion": names::API_VERSION,
            "kind": names::KIND,
            "name": desired.credential,
            "uid": desired.credential_uid,
            // Without blockOwnerDeletion, which would need a right on the resource's finalizers.
            "controller": true,
        }));
    }
    Some(owners.into())
}

fn with_removals(
    wanted: &BTreeMap<String, String>,
    written: Option<&BTreeSet<String>>,
) -> Map<String, Value> {
    let gone = written.into_iter().flatten().filter(|k| !wanted.contains_key(*k));
    gone.map(|k| (k.clone(), Value::Null))
        .chain(wanted.iter().map(|(k, v)| (k.clone(), v.as_str().into())))
        .collect()
}

fn token_annotations(notes: &TokenNotes, data: &Data) -> Map<String, Value> {
    let rfc3339 = |second: i64| Timestamp::from_second(second).map_or(Value::Null, |t| t.to_string().into());
    let skew = if notes.skew == 0 { Value::Null } else { notes.skew.to_string().into() };
    Map::from_iter([
        (names::ANNOTATION_ISSUED_AT.into(), rfc3339(notes.issued_at)),
        (names::ANNOTATION_EXPIRES_AT.into(), rfc3339(notes.expires_at)),
        (names::ANNOTATION_FINGERPRINT.into(), notes.fingerprint.to_string().into()),
        (names::ANNOTATION_DATA_HASH.into(), rendered_hash(data).into()),
        (names::ANNOTATION_TEMPLATE_HASH.into(), notes.template_hash.as_str().into()),
        (names::ANNOTATION_CLOCK_SKEW.into(), skew),
    ])
}

fn merge(metadata: &mut Map<String, Value>, field: &str, more: Map<String, Value>) {
    if let Some(Value::Object(map)) = metadata.get_mut(field) {
        map.extend(more);
    }
}

/// Nulls remove in a merge patch; in a new object they have no place.
fn drop_nulls(metadata: &mut Map<String, Value>) {
    for value in metadata.values_mut() {
        if let Value::Object(map) = value {
            map.retain(|_, v| !v.is_null());
        }
    }
}

#[cfg(test)]
mod tests;
