//! A token's life: first issue, renewal, restart, expiry; when each comes, and what it costs in requests.

mod cost;
mod status;
mod times;
mod undecodable;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::{
    DEADLINE, eventually,
    eventually::unless,
    squadcast::{Reply, Script},
    world::{REGION, World},
};

/// Source, target and refresh token of a resource.
fn names(name: &str) -> (String, String, String) {
    (format!("{name}-source"), format!("{name}-target"), format!("rt-{name}"))
}

/// A spec of the usual form with more fields.
fn spec(name: &str, more: &Value) -> Value {
    let (source, target, _) = names(name);
    let mut spec = json!({
        "region": REGION,
        "refreshTokenSecretRef": {"name": source},
        "target": {"name": target},
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        match field.as_str() {
            "creationPolicy" => spec["target"][field] = value.clone(),
            _ => spec[field] = value.clone(),
        }
    }
    spec
}

/// Creates a resource whose refresh token is answered like this.
async fn create(world: &World, name: &str, answer: impl Into<Script>, more: &Value) {
    let (source, _, refresh_token) = names(name);
    world.squadcast.script(&refresh_token, answer);
    world.put_secret(&source, &[("refresh_token", &refresh_token)]).await;
    world.apply(name, spec(name, more)).await;
}

/// Waits until a resource's events have these reasons.
async fn wait_events(world: &World, name: &str, wanted: &[&str]) {
    eventually(&format!("events {wanted:?} about {name}"), DEADLINE, async || {
        let reasons = world.event_reasons(name).await;
        unless(reasons == wanted, reasons)
    })
    .await;
}

/// One more resource from its creation to the event of its first issue. What the operator was about to do before
/// it has done by then.
async fn full_cycle(world: &World, name: &str) -> Value {
    create(world, name, Reply::token(), &json!({})).await;
    let resource = world.wait_ready(name).await;
    wait_events(world, name, &["TokenIssued"]).await;
    resource
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap_or_else(|| panic!("{value} is no time")).parse().unwrap()
}

fn seconds(resource: &Value, from: &str, to: &str) -> i64 {
    let status = &resource["status"];
    time(&status[to]).as_second() - time(&status[from]).as_second()
}

/// `renewAt` lies within a tenth before so many seconds after issue.
fn renews_after(resource: &Value, base: i64) {
    let after = seconds(resource, "issuedAt", "renewAt");
    assert!((base * 9 / 10 - 1..=base).contains(&after), "{after} of {base}: {}", resource["status"]);
}

async fn version(world: &World, secret: &str) -> String {
    world.secret(secret).await.unwrap().metadata.resource_version.unwrap()
}
