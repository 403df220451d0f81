//! A Secret's metadata as it comes, as far as it matters: all else is skipped while it is read, and takes no memory.
//! The record of field managers, most of what comes, is reduced to the keys of the data. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use crate::api::names;

/// Metadata on the wire.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) name: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) uid: Option<String>,
    pub(super) resource_version: Option<String>,
    pub(super) deletion_timestamp: Option<IgnoredAny>,
    pub(super) owner_references: Option<Vec<OwnerReference>>,
    pub(super) labels: Option<BTreeMap<String, String>>,
    pub(super) annotations: Option<BTreeMap<String, String>>,
    pub(super) managed_fields: Option<Vec<Entry>>,
}

/// An entry of the record of field managers: what one of them has set.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    manager: Option<String>,
    subresource: Option<String>,
    fields_v1: Option<Fields>,
}

#[derive(Deserialize)]
struct Fields {
    #[serde(rename = "f:data")]
    data: Option<Keys>,
    #[serde(rename = "f:stringData")]
    string_data: Option<Keys>,
    #[serde(rename = "f:immutable")]
    immutable: Option<IgnoredAny>,
}

/// The fields of an object, by their names alone.
struct Keys(Vec<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object whose keys are fields")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, _)) = map.next_entry::<String, IgnoredAny>()? {
                    // Beside fields there is `.`, the object itself.
                    keys.extend(key.strip_prefix("f:").map(str::to_owned));
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_map(Names)
    }
}

/// What the record of field managers tells of the data.
pub(super) struct DataFields {
    pub(super) untouched: bool,
    pub(super) immutable_set: bool,
    pub(super) other_manager: Option<Box<str>>,
}

impl DataFields {
    /// A key that somebody edits leaves our entry for theirs; one that is removed leaves all entries. Whoever applies
    /// `stringData` is recorded with that, and our entry stays as it was: then nothing is told of the data.
    pub(super) fn read(entries: &[Entry], written: &BTreeSet<String>) -> Self {
        let mut ours: BTreeSet<&str> = BTreeSet::new();
        let mut immutable_set = false;
        let mut applied_as_text = false;
        let mut other: Option<(&Entry, bool)> = None;
        for entry in entries.iter().filter(|e| e.subresource.as_deref().unwrap_or_default().is_empty()) {
            let Some(fields) = &entry.fields_v1 else {
                continue;
            };
            immutable_set |= fields.immutable.is_some();
            let data = fields.data.iter().flat_map(|keys| &keys.0);
            let text = fields.string_data.iter().flat_map(|keys| &keys.0);
            if entry.manager.as_deref() == Some(names::FIELD_MANAGER) {
                ours.extend(data.map(String::as_str));
                continue;
            }
            applied_as_text |= text.clone().any(|key| written.contains(key));
            let mut keys = data.chain(text).peekable();
            if keys.peek().is_some() {
                // The one who holds a key that the operator wrote is the one to name.
                let holds_ours = keys.any(|key| written.contains(key));
                if other.is_none_or(|(_, held)| holds_ours && !held) {
                    other = Some((entry, holds_ours));
                }
            }
        }
        Self {
            untouched: !applied_as_text && written.iter().all(|key| ours.contains(key.as_str())),
            immutable_set,
            other_manager: other.and_then(|(entry, _)| entry.manager.as_deref()).map(Into::into),
        }
    }
}
