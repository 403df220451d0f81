//! What users and others do to the cluster, and what the watches are told of it.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Item, Kind, NAMESPACE, State, merge};
use crate::api::names;

impl State {
    /// A user changes a resource, or creates it.
    pub(in crate::simulation) fn change(&mut self, name: &str, patch: &Value) {
        let version = self.secrets.next_version();
        let new = || {
            json!({
                "apiVersion": names::API_VERSION, "kind": names::KIND,
                "metadata": {
                    "name": name, "namespace": NAMESPACE, "uid": format!("uid-{name}-{version}"), "generation": 0,
                    "creationTimestamp": "2024-01-01T00:00:00Z",
                },
                "status": { "observedGeneration": -1 },
            })
        };
        let mut object = self.credentials.get(name).map_or_else(new, |object| (**object).clone());
        let before = object["spec"].clone();
        merge(&mut object, patch);
        if object["spec"] != before {
            let generation = object["metadata"]["generation"].as_i64().unwrap();
            object["metadata"]["generation"] = (generation + 1).into();
        }
        self.store(name, object);
    }

    /// A user deletes a resource. Returns its spec.
    pub(in crate::simulation) fn delete(&mut self, name: &str) -> Option<Value> {
        let mut object = Arc::unwrap_or_clone(self.credentials.remove(name)?);
        object["metadata"]["resourceVersion"] = self.secrets.next_version().to_string().into();
        let spec = object["spec"].clone();
        self.tell(Kind::Credentials, &Item::Deleted(Arc::new(object)));
        Some(spec)
    }

    /// Secrets whose owners are gone go too.
    pub(super) fn collect_garbage(&mut self) {
        let is_orphan = |secret: &Value| {
            let owner = &secret["metadata"]["ownerReferences"][0]["uid"];
            !owner.is_null() && !self.credentials.values().any(|c| c["metadata"]["uid"] == *owner)
        };
        let orphans = self.secrets.all.iter().filter(|(_, secret)| is_orphan(secret));
        for name in orphans.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.delete_secret(&name);
        }
    }

    /// Somebody changes a Secret; `null` removes.
    pub(in crate::simulation) fn change_secret(&mut self, name: &str, patch: &Value) {
        self.secrets.change(name, patch);
        self.tell_of_secrets();
    }

    /// Somebody writes one key of a Secret that is there, or removes it.
    pub(in crate::simulation) fn edit(&mut self, name: &str, key: &str, value: Option<&str>) {
        if self.secrets.all.contains_key(name) {
            self.change_secret(name, &json!({ "data": { key: value.map(|v| BASE64.encode(v)) } }));
        }
    }

    /// A user stores a refresh token.
    pub(in crate::simulation) fn store_token(&mut self, name: &str, value: &str) {
        self.change_secret(name, &json!({ "data": { "refresh_token": BASE64.encode(value) } }));
    }

    pub(in crate::simulation) fn delete_secret(&mut self, name: &str) {
        self.secrets.delete(name);
        self.tell_of_secrets();
    }

    pub(in crate::simulation) fn value(&self, secret: &str, key: &str) -> Option<String> {
        let text = self.secrets.all.get(secret)?["data"][key].as_str()?;
        String::from_utf8(BASE64.decode(text).ok()?).ok()
    }

    // Watches

    /// Begins to watch: what there is, and what comes.
    pub(in crate::simulation) fn watch(
        &mut self,
        kind: Kind,
    ) -> (Vec<Arc<Value>>, mpsc::UnboundedReceiver<Item>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.watches.push((kind, sender));
        let all = match kind {
            Kind::Credentials => self.credentials.values().cloned().collect(),
            Kind::Secrets => self.secrets.all.values().cloned().collect(),
        };
        (all, receiver)
    }

    /// All watches have to start over.
    pub(in crate::simulation) fn expire(&mut self) {
        for kind in [Kind::Credentials, Kind::Secrets] {
            self.tell(kind, &Item::Expired);
        }
    }

    pub(super) fn tell_of_secrets(&mut self) {
        for item in std::mem::take(&mut self.secrets.news) {
            self.tell(Kind::Secrets, &item);
        }
    }

    pub(super) fn tell(&mut self, kind: Kind, item: &Item) {
        self.watches.retain(|(of, sender)| *of != kind || sender.send(item.clone()).is_ok());
    }
}
