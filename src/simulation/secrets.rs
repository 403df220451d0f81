//! Secrets as an API server keeps them: versions, preconditions, and who set which key.

use std::{collections::BTreeMap, sync::Arc};

use http::Method;
use serde_json::{Map, Value, json};

use super::objects::{Item, NAMESPACE, merge, refusal};
use crate::api::names;

#[derive(Default)]
pub(super) struct Secrets {
    pub(super) all: BTreeMap<String, Arc<Value>>,
    /// What the watches have not been told yet.
    pub(super) news: Vec<Item>,
    /// Values that the operator replaced by patches with a condition: the Secret, before and after.
    pub(super) replaced: Vec<(String, Value, Value)>,
    /// Secrets into which the operator wrote another access token than they held, and that token.
    pub(super) issued: Vec<(String, Value)>,
    version: u64,
}

impl Secrets {
    /// The next resource version.
    pub(super) fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// Answers a request of the operator's.
    pub(super) fn answer(
        &mut self,
        method: &Method,
        name: Option<&str>,
        dry_run: bool,
        body: &Value,
    ) -> (u16, Arc<Value>) {
        let Some(name) = name else { return self.create(dry_run, body) };
        let Some(secret) = self.all.get(name).cloned() else {
            return refusal(404, "not found");
        };
        match *method {
            Method::GET => (200, secret),
            Method::DELETE => {
                let is_meant = ["uid", "resourceVersion"]
                    .into_iter()
                    .all(|field| body["preconditions"][field] == secret["metadata"][field]);
                if !is_meant {
                    return refusal(409, "the object has been modified");
                }
                self.delete(name);
                (200, Arc::new(json!({})))
            }
            _ => self.patch(name, &secret, dry_run, body),
        }
    }

    fn create(&mut self, dry_run: bool, body: &Value) -> (u16, Arc<Value>) {
        let name = body["metadata"]["name"].as_str().unwrap_or_default();
        if self.all.contains_key(name) {
            return refusal(409, "already exists");
        }
        if !dry_run {
            self.put(name, body.clone(), names::FIELD_MANAGER);
        }
        (201, self.all.get(name).cloned().unwrap_or_else(|| Arc::new(body.clone())))
    }

    fn patch(&mut self, name: &str, secret: &Value, dry_run: bool, body: &Value) -> (u16, Arc<Value>) {
        let mut next = secret.clone();
        if let Some(operations) = body.as_array() {
            for operation in operations {
                let target = next.pointer_mut(operation["path"].as_str().unwrap_or_default());
                match (operation["op"].as_str(), target) {
                    (Some("test"), Some(value)) if *value == operation["value"] => {}
                    (Some("replace"), Some(value)) => {
                        let before = std::mem::replace(value, operation["value"].clone());
                        self.replaced.push((name.to_owned(), before, operation["value"].clone()));
                    }
                    _ => {
                        return refusal(
                            422,
                            "the server rejected our request due to an error in our request",
                        );
                    }
                }
            }
        } else {
            for field in ["uid", "resourceVersion"] {
                let wanted = &body["metadata"][field];
                if !wanted.is_null() && *wanted != secret["metadata"][field] {
                    return refusal(409, "the object has been modified");
                }
            }
            merge(&mut next, body);
        }
        if !dry_run {
            self.put(name, next, names::FIELD_MANAGER);
        }
        (200, self.all[name].clone())
    }

    /// Somebody other than the operator changes a Secret, or creates it.
    pub(super) fn change(&mut self, name: &str, patch: &Value) {
        let held = self.all.get(name).map(|held| (**held).clone());
        let mut next = held.unwrap_or_else(|| json!({ "metadata": {}, "data": {} }));
        merge(&mut next, patch);
        self.put(name, next, "somebody");
    }

    pub(super) fn delete(&mut self, name: &str) {
        if let Some(gone) = self.all.remove(name) {
            let mut gone = Arc::unwrap_or_clone(gone);
            gone["metadata"]["resourceVersion"] = self.next_version().to_string().into();
            self.news.push(Item::Deleted(Arc::new(gone)));
        }
    }

    fn put(&mut self, name: &str, mut next: Value, manager: &str) {
        let before = self.all.get(name);
        if before.is_some_and(|b| b["data"] == next["data"] && b["metadata"] == next["metadata"]) {
            return;
        }
        let access = &next["data"]["access_token"];
        if manager == names::FIELD_MANAGER && before.is_none_or(|b| b["data"]["access_token"] != *access) {
            let owner = &next["metadata"]["ownerReferences"][0]["uid"];
            self.issued.push((format!("{name} of {owner}"), access.clone()));
        }
        let uid = before.map(|b| b["metadata"]["uid"].clone());
        let fields = managed_fields(before.map(|b| &**b), &next, manager);
        let version = self.next_version();
        let metadata = &mut next["metadata"];
        metadata["managedFields"] = fields;
        metadata["resourceVersion"] = version.to_string().into();
        metadata["name"] = name.into();
        metadata["namespace"] = NAMESPACE.into();
        metadata["uid"] = uid.unwrap_or_else(|| format!("secret-{version}").into());
        let next = Arc::new(next);
        self.all.insert(name.to_owned(), next.clone());
        self.news.push(Item::Applied(next));
    }
}

/// Whoever changes a key is from then on the one who has set it.
fn managed_fields(before: Option<&Value>, next: &Value, manager: &str) -> Value {
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    let entries = before.and_then(|b| b["metadata"]["managedFields"].as_array()).into_iter().flatten();
    for entry in entries {
        for key in entry["fieldsV1"]["f:data"].as_object().into_iter().flat_map(Map::keys) {
            owners.insert(key.clone(), entry["manager"].as_str().unwrap_or_default().to_owned());
        }
    }
    let empty = Map::new();
    let data = next["data"].as_object().unwrap_or(&empty);
    owners.retain(|key, _| data.contains_key(&key[2..]));
    for (key, value) in data {
        if before.is_none_or(|b| b["data"][key] != *value) {
            owners.insert(format!("f:{key}"), manager.to_owned());
        }
    }
    let mut entries: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for (key, manager) in &owners {
        entries.entry(manager).or_default().insert(key.clone(), json!({}));
    }
    let entry = |(manager, keys): (&str, Map<String, Value>)| json!({ "manager": manager, "operation": "Update", "fieldsV1": { "f:data": keys } });
    entries.into_iter().map(entry).collect::<Vec<_>>().into()
}
