//! What the API server takes and refuses, what it fills in, and how kubectl shows it: the definition alone,
//! without an operator.

mod definition;
mod kubectl;
mod spec;
mod target;

use kube::api::PostParams;
use serde_json::{Value, json};

use crate::support::world::World;

/// What a Secret may be called, and what not.
const SECRET_NAMES: ([&str; 4], [&str; 8]) =
    (["a", "0", "team-a.squadcast", "a.b.c-d"], ["Source", "a_b", "-a", "a-", ".a", "a..b", "a/b", "\u{e4}"]);

/// A spec that says only what must be said.
fn spec() -> Value {
    json!({"refreshTokenSecretRef": {"name": "source"}, "target": {"name": "target"}})
}

/// That spec with one more field; `null` takes a field away.
fn with(pointer: &str, value: Value) -> Value {
    let mut patch = value;
    for part in pointer.split('.').rev() {
        patch = json!({ part: patch });
    }
    let mut spec = spec();
    merge(&mut spec, patch);
    spec
}

fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    into.remove(&key);
                } else {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (into, patch) => *into = patch,
    }
}

async fn create(world: &World, name: &str, spec: &Value) -> kube::Result<Value> {
    let object = serde_json::from_value(json!({
        "apiVersion": "credentials.squadcast.com/v1alpha1",
        "kind": "SquadcastCredential",
        "metadata": {"name": name},
        "spec": spec,
    }));
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let created = world.credentials().create(&params, &object.unwrap()).await?;
    Ok(serde_json::to_value(&created).unwrap())
}

/// Answers with the object as the API server would store it.
async fn accepts(world: &World, spec: &Value) -> Value {
    create(world, "x", spec).await.unwrap_or_else(|error| panic!("{spec}: {error}"))
}

/// Each of the parts is in the API server's answer.
async fn refuses(world: &World, spec: &Value, parts: &[&str]) {
    match create(world, "x", spec).await {
        Err(kube::Error::Api(status)) if status.code == 422 => {
            for part in parts {
                assert!(status.message.contains(part), "{spec}: no {part:?} in: {}", status.message);
            }
        }
        other => panic!("{spec}: {other:?}"),
    }
}

/// All the good values of a field are taken, all the bad ones refused with these parts of a message.
async fn rule(
    name: &str,
    pointer: &str,
    good: impl IntoIterator<Item = Value>,
    bad: impl IntoIterator<Item = Value>,
    parts: &[&str],
) {
    let world = World::new(name).await;
    for value in good {
        let stored = accepts(&world, &with(pointer, value.clone())).await;
        let path = format!("/spec/{}", pointer.replace('.', "/"));
        assert_eq!(stored.pointer(&path), Some(&value));
    }
    for value in bad {
        refuses(&world, &with(pointer, value), parts).await;
    }
}

fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<Value> {
    texts.into_iter().map(Value::from).collect()
}

/// So many entries with keys `k0`, `k1` and so on.
fn entries(count: usize, value: &str) -> Value {
    (0..count).map(|n| (format!("k{n}"), Value::from(value))).collect::<serde_json::Map<_, _>>().into()
}

fn one(key: &str, value: &str) -> Value {
    json!({ key: value })
}
