//! Steps that many tests take: a stand-in, an operator and resources named by one word each, and what their
//! status says in short.

use std::{
    ops::Deref,
    sync::atomic::{AtomicU32, Ordering},
};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    OPERATOR,
    support::{
        DEADLINE, Operator, Script, eventually,
        world::{REGION, World, condition},
    },
};

/// A world with one operator. A resource `x` of it reads the refresh token `rt-x` from the Secret `x-source` and
/// writes the Secret `x-target`.
pub struct Stage {
    pub world: World,
    pub operator: Operator,
    flags: Vec<String>,
}

impl Deref for Stage {
    type Target = World;
    fn deref(&self) -> &World {
        &self.world
    }
}

impl Stage {
    pub async fn new(name: &str) -> Self {
        Self::with(World::new(name).await, &[]).await
    }

    pub async fn with(world: World, flags: &[String]) -> Self {
        let operator = start(&world, flags).await;
        Self { world, operator, flags: flags.to_vec() }
    }

    /// With an operator that was started in another way.
    pub fn of(world: World, operator: Operator) -> Self {
        Self { world, operator, flags: Vec::new() }
    }

    /// Ends the operator at once and starts another; `between` happens while none runs.
    pub async fn restart(&mut self, between: impl AsyncFnOnce(&World)) {
        self.operator.kill();
        self.operator.wait_exit(DEADLINE).await;
        between(&self.world).await;
        self.operator = start(&self.world, &self.flags).await;
    }

    /// The Secret with the refresh token of this resource, answered by `script`.
    pub async fn source(&self, name: &str, script: impl Into<Script>) {
        let token = token(name);
        self.squadcast.script(&token, script);
        self.put_secret(&source(name), &[("refresh_token", &token)]).await;
    }

    /// A resource whose exchanges are answered by `script`.
    pub async fn resource(&self, name: &str, script: impl Into<Script>) {
        self.source(name, script).await;
        self.credential(name, &source(name), &target(name)).await;
    }

    /// A resource whose `spec.target` has these fields beside its name.
    pub async fn resource_with(&self, name: &str, fields: Value) {
        self.refresh_token(&source(name), &token(name)).await;
        self.apply(name, spec(name, fields)).await;
    }

    /// Waits until the status speaks of the present spec and the target is as it should be.
    pub async fn settled(&self, name: &str) -> Value {
        eventually(&format!("{name} to be settled"), DEADLINE, async || {
            let resource = self.get(name).await.ok_or("no resource")?;
            let seen = resource["status"]["observedGeneration"] == resource["metadata"]["generation"];
            let fine = conditions(&resource) == "Ready=True TokenValid, Synced=True Synced";
            if seen && fine { Ok(resource) } else { Err(resource["status"].to_string()) }
        })
        .await
    }

    /// Waits until the conditions are these, as [`conditions`] writes them.
    pub async fn wait_conditions(&self, name: &str, wanted: &str) -> Value {
        self.wait_status(name, wanted, |resource| conditions(resource) == wanted).await
    }

    /// Waits until the resource is as `done` says.
    pub async fn wait_status(&self, name: &str, what: &str, done: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("{name}: {what}"), DEADLINE, async || {
            let resource = self.get(name).await.ok_or("no resource")?;
            if done(&resource) { Ok(resource) } else { Err(resource["status"].to_string()) }
        })
        .await
    }

    /// Asks for an exchange by annotation and waits for its end, whatever that is.
    pub async fn attempt(&self, name: &str) -> Value {
        let request = self.ask(name).await;
        self.handled(name, &request).await
    }

    /// Asks for an exchange by a new value of the annotation.
    pub async fn ask(&self, name: &str) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let value = format!("request-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let annotation = json!({ "credentials.squadcast.com/renew-requested-at": value });
        self.patch(name, json!({ "metadata": { "annotations": annotation } })).await;
        value
    }

    pub async fn handled(&self, name: &str, request: &str) -> Value {
        self.wait_status(name, "the request to be handled", |r| {
            r["status"]["lastHandledRenewRequest"] == request
        })
        .await
    }

    /// How many exchanges were made for this resource's own refresh token.
    pub fn exchanges(&self, name: &str) -> usize {
        self.squadcast.count(&token(name))
    }

    /// The access token in the target, and whether the stand-in takes it.
    pub async fn written(&self, name: &str) -> (String, bool) {
        let text = self.secret_data(&target(name)).await.remove("access_token").unwrap_or_default();
        let good = self.squadcast.is_good(&text);
        (text, good)
    }

    /// Waits until the operator has ended so many reconciles with this outcome.
    pub async fn wait_outcome(&self, outcome: &str, count: f64) {
        eventually(&format!("{count} reconciles with {outcome}"), DEADLINE, async || {
            self.outcomes(outcome) >= count
        })
        .await;
    }

    pub fn outcomes(&self, outcome: &str) -> f64 {
        let name = format!("squadcast_reconciles_total{{outcome=\"{outcome}\"}}");
        self.operator.metric(&name).unwrap_or_default()
    }

    /// Lets the operator show that it has seen everything up to now: a new resource is issued a token.
    pub async fn flush(&self) {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("flush-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.resource(&name, crate::support::Reply::token()).await;
        self.settled(&name).await;
    }
}

async fn start(world: &World, flags: &[String]) -> Operator {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    world.operator(OPERATOR, &flags).await
}

pub fn token(name: &str) -> String {
    format!("rt-{name}")
}

pub fn source(name: &str) -> String {
    format!("{name}-source")
}

pub fn target(name: &str) -> String {
    format!("{name}-target")
}

/// The spec of a resource of a [`Stage`]; `fields` are those of `spec.target` beside its name.
pub fn spec(name: &str, mut fields: Value) -> Value {
    fields["name"] = target(name).into();
    json!({ "region": REGION, "refreshTokenSecretRef": { "name": source(name) }, "target": fields })
}

/// All conditions in one line: `Ready=True TokenValid, Synced=True Synced`.
pub fn conditions(resource: &Value) -> String {
    let each = ["Ready", "Synced", "Stalled"].iter().filter_map(|kind| {
        let found = condition(resource, kind)?;
        Some(format!("{kind}={} {}", found["status"].as_str()?, found["reason"].as_str()?))
    });
    each.collect::<Vec<_>>().join(", ")
}

/// The message of a condition.
pub fn message(resource: &Value, kind: &str) -> String {
    let text = condition(resource, kind).and_then(|c| c["message"].as_str().map(str::to_owned));
    text.unwrap_or_default()
}

/// An instant in the status.
pub fn instant(resource: &Value, field: &str) -> Timestamp {
    let text = resource["status"][field].as_str().unwrap_or_default();
    text.parse().unwrap_or_else(|error| panic!("{field}: {error} in {}", resource["status"]))
}

/// Whole seconds from the last failure to the next attempt.
pub fn wait_of(resource: &Value) -> i64 {
    instant(resource, "nextAttemptAt").as_second() - instant(resource, "lastFailureAt").as_second()
}

/// `status.failures`, 0 where it is left out.
pub fn failures(resource: &Value) -> i64 {
    resource["status"]["failures"].as_i64().unwrap_or_default()
}

/// The count of failures and the next attempt go together as a transient failure's do: 5 s · 2ⁿ up to `cap`,
/// ± 20 %.
pub fn assert_backed_off(resource: &Value, cap: i64) {
    let count = u32::try_from(failures(resource)).unwrap_or_default();
    assert!(count > 0, "{}", resource["status"]);
    let base = (5 * 2i64.pow((count - 1).min(20))).min(cap);
    let wait = wait_of(resource);
    assert!(
        base * 8 / 10 <= wait && wait <= base * 12 / 10,
        "{wait} s are not {base} s ± 20 %: {}",
        resource["status"]
    );
}
