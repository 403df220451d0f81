//! Objects as the API server speaks of them: to watches, in patches and in refusals.

use std::sync::Arc;

use serde_json::{Value, json};

pub(super) const NAMESPACE: &str = "team";

/// What a watch is told.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Applied(Arc<Value>),
    Deleted(Arc<Value>),
    /// It has to start over.
    Expired,
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Credentials,
    Secrets,
}

/// Turns a request down.
pub(super) fn refusal(code: u16, message: &str) -> (u16, Arc<Value>) {
    let answer = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message, "reason": "",
    });
    (code, Arc::new(answer))
}

/// Merges as RFC 7386 says.
pub(super) fn merge(into: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let Some(map) = into.as_object_mut() else { return };
    for (key, value) in fields {
        if value.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}
