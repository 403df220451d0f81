//! Resources and Secrets that go, change hands or change under an exchange.

use std::{collections::BTreeMap, sync::Arc};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, PropagationPolicy, WatchEvent, WatchParams};
use serde_json::{Value, json};

use crate::{
    steps::{Stage, conditions, message, source, spec, target},
    support::{Component, ControlPlane, DEADLINE, Gate, Reply, Script, eventually, world::World},
};

const ALLOW: &str = "credentials.squadcast.com/allow-write-by";
const CLAIMED: &str = "Ready=False TargetClaimed, Synced=False TargetClaimed, Stalled=True TargetClaimed";

fn controller(secret: &Secret) -> Option<&str> {
    let owners = secret.metadata.owner_references.iter().flatten();
    owners.filter(|owner| owner.controller == Some(true)).map(|owner| owner.uid.as_str()).next()
}

fn labels(secret: &Secret) -> BTreeMap<String, String> {
    secret.metadata.labels.clone().unwrap_or_default()
}

impl Stage {
    async fn finalizers(&self, name: &str, list: Value) {
        self.patch(name, json!({ "metadata": { "finalizers": list } })).await;
    }

    async fn delete_by(&self, name: &str, policy: PropagationPolicy) {
        let params = DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() };
        self.credentials().delete(name, &params).await.unwrap();
    }
}

#[tokio::test]
async fn one_that_is_being_deleted_exchanges_and_writes_nothing_and_claims_nothing() {
    let stage = Stage::new("leaving").await;
    for (name, policy) in [("fore", PropagationPolicy::Foreground), ("back", PropagationPolicy::Background)] {
        stage.resource(name, Reply::token()).await;
        stage.finalizers(name, json!(["test.example/hold"])).await;
        stage.settled(name).await;
        stage.delete_by(name, policy).await;
        let going =
            stage.wait_status(name, "to be going", |r| r["metadata"]["deletionTimestamp"].is_string()).await;
        // Everything that otherwise calls for an exchange.
        stage.squadcast.accept("rt-other");
        stage.put_secret(&source(name), &[("refresh_token", "rt-other")]).await;
        stage.ask(name).await;
        drop(stage.secrets().delete(&target(name), &DeleteParams::default()).await);
        eventually("the target to go", DEADLINE, async || stage.secret(&target(name)).await.is_none()).await;
        stage.flush().await;
        assert_eq!((stage.exchanges(name), stage.squadcast.count("rt-other")), (1, 0), "{name}");
        assert_eq!(stage.secret(&target(name)).await, None, "{name}");
        assert_eq!(stage.get(name).await.unwrap()["status"], going["status"], "{name}");

        // Another one may have its target, and keeps it when the first has gone.
        let heir = format!("{name}-heir");
        stage.refresh_token(&source(&heir), &format!("rt-{heir}")).await;
        stage.credential(&heir, &source(&heir), &target(name)).await;
        let resource = stage.settled(&heir).await;
        stage.finalizers(name, Value::Null).await;
        eventually("the first to go", DEADLINE, async || stage.get(name).await.is_none()).await;
        stage.flush().await;
        let secret = stage.secret(&target(name)).await.unwrap();
        assert_eq!(controller(&secret), resource["metadata"]["uid"].as_str(), "{name}");
        assert_eq!(stage.exchanges(&heir), 1, "{name}");
    }
}

#[tokio::test]
async fn an_exchange_in_flight_for_one_that_is_deleted_meanwhile_is_written_nowhere() {
    let stage = Stage::new("leaving-flight").await;
    let gate = Gate::new();
    stage.resource("one", Reply::token().hold(&gate)).await;
    stage.finalizers("one", json!(["test.example/hold"])).await;
    stage.squadcast.wait_for_count("rt-one", 1, DEADLINE).await;
    stage.delete("one").await;
    stage.flush().await;
    gate.release();
    stage.wait_outcome("dropped", 1.0).await;
    stage.flush().await;
    assert_eq!(stage.secret(&target("one")).await, None);
    assert_eq!(stage.exchanges("one"), 1);
    stage.finalizers("one", Value::Null).await;
}

#[tokio::test]
async fn an_exchange_in_flight_for_one_that_is_suspended_meanwhile_is_written_when_it_is_resumed() {
    let stage = Stage::new("suspend-flight").await;
    let gate = Gate::new();
    stage.resource("new", Reply::token().hold(&gate)).await;
    stage.resource("held", Script::of([Reply::token(), Reply::token().hold(&gate)])).await;
    stage.settled("held").await;
    let request = stage.ask("held").await;
    for (name, count) in [("new", 1), ("held", 2)] {
        stage.squadcast.wait_for_count(&format!("rt-{name}"), count, DEADLINE).await;
        stage.patch(name, json!({ "spec": { "suspend": true } })).await;
    }
    stage.flush().await;
    let before = stage.secret(&target("held")).await;
    gate.release();
    stage.wait_conditions("new", "Ready=False Suspended, Synced=False Suspended").await;
    stage.wait_conditions("held", "Ready=True TokenValid, Synced=False Suspended").await;
    stage.flush().await;
    assert_eq!(stage.secret(&target("new")).await, None);
    assert_eq!(stage.secret(&target("held")).await, before);
    for (name, count) in [("new", 1), ("held", 2)] {
        stage.patch(name, json!({ "spec": { "suspend": false } })).await;
        stage.settled(name).await;
        assert!(stage.written(name).await.1, "{name}");
        assert!(stage.exchanges(name) >= count, "{name}");
    }
    stage.handled("held", &request).await;
    assert_eq!(stage.exchanges("new"), 1, "what was minted is kept");
}

#[tokio::test]
async fn a_secret_that_changes_hands_is_there_with_its_token_all_the_time() {
    let stage = Stage::new("hand-over-watch").await;
    stage.resource("one", Reply::token()).await;
    stage.settled("one").await;
    let before = stage.secret(&target("one")).await.unwrap();
    let params = WatchParams::default().fields(&format!("metadata.name={}", target("one")));
    let version = before.metadata.resource_version.clone().unwrap();
    let secrets = stage.secrets();
    let mut events = secrets.watch(&params, &version).await.unwrap().boxed();

    let annotated = json!({ "metadata": { "annotations": { ALLOW: "two" } } });
    let patch = Patch::Merge(annotated);
    secrets.patch(&target("one"), &PatchParams::default(), &patch).await.unwrap();
    stage.refresh_token(&source("two"), "rt-two").await;
    stage.credential("two", &source("two"), &target("one")).await;
    stage.wait_conditions("two", CLAIMED).await;
    stage.collector_has_caught_up("one").await;
    stage.delete_by("one", PropagationPolicy::Orphan).await;
    let heir = stage.settled("two").await;
    let uid = heir["metadata"]["uid"].as_str().unwrap();
    loop {
        let event = tokio::time::timeout(DEADLINE, events.try_next()).await.expect("events end");
        let secret = match event.unwrap() {
            Some(WatchEvent::Added(secret) | WatchEvent::Modified(secret)) => secret,
            other => panic!("{other:?}"),
        };
        assert_eq!(secret.metadata.uid, before.metadata.uid);
        let data = secret.data.clone().unwrap_or_default();
        let text = String::from_utf8(data["access_token"].0.clone()).unwrap();
        assert!(stage.squadcast.is_good(&text), "a good token at every moment");
        let minted = stage.squadcast.minted_as(&text).unwrap();
        if controller(&secret) == Some(uid) && minted.refresh_token == "rt-two" {
            assert_eq!(labels(&secret)["credentials.squadcast.com/credential"], "two");
            break;
        }
    }
}

#[tokio::test]
async fn a_secret_that_is_taken_over_keeps_its_type() {
    let stage = Stage::new("typed").await;
    let metadata = json!({ "annotations": { ALLOW: "one" } });
    let body = json!({ "metadata": metadata, "type": "example.com/theirs", "stringData": { "a": "b" } });
    stage.apply_secret(&target("one"), body).await;
    stage.resource("one", Reply::token()).await;
    stage.settled("one").await;
    let secret = stage.secret(&target("one")).await.unwrap();
    assert_eq!(secret.type_.as_deref(), Some("example.com/theirs"));
    let managers: Vec<_> =
        secret.metadata.managed_fields.iter().flatten().filter_map(|entry| entry.manager.clone()).collect();
    assert!(managers.contains(&"squadcast-operator".to_owned()), "{managers:?}");
}

#[tokio::test]
async fn of_two_of_one_age_the_smaller_name_has_the_target() {
    let world = World::new("one-age").await;
    // Creation is told in whole seconds: two of one second, sooner or later.
    let mut pair = None;
    for number in 0..20 {
        let (a, b) = (format!("a{number}"), format!("b{number}"));
        for name in [&b, &a] {
            world.refresh_token(&source(name), &format!("rt-{name}")).await;
        }
        let second = world.credential(&b, &source(&b), &format!("shared-{number}")).await;
        let first = world.credential(&a, &source(&a), &format!("shared-{number}")).await;
        let created = |r: &Value| r["metadata"]["creationTimestamp"].clone();
        if created(&first) == created(&second) {
            pair = Some((a, b));
            break;
        }
    }
    let (a, b) = pair.expect("two resources of one second");
    let stage = Stage::with(world, &[]).await;
    stage.settled(&a).await;
    let resource = stage.wait_conditions(&b, CLAIMED).await;
    assert!(message(&resource, "Stalled").contains(&format!("\"{a}\"")), "{resource}");
    stage.flush().await;
    assert_eq!((stage.exchanges(&a), stage.exchanges(&b)), (1, 0));
    stage.delete(&a).await;
    stage.settled(&b).await;
}

#[tokio::test]
async fn one_that_merges_keeps_its_target_against_an_older_one() {
    let mut stage = Stage::new("merge-claimed").await;
    stage.resource("old", Reply::token()).await;
    stage.settled("old").await;
    let body = json!({ "metadata": { "annotations": { ALLOW: "new" } }, "stringData": { "a": "b" } });
    stage.apply_secret(&target("new"), body).await;
    stage.resource_with("new", json!({ "creationPolicy": "Merge" })).await;
    stage.settled("new").await;
    let mut moved = spec("old", json!({}));
    moved["target"]["name"] = target("new").into();
    stage.apply("old", moved).await;
    let claimed = |r: &Value| conditions(r).contains("Stalled=True TargetClaimed");
    stage.wait_status("old", "TargetClaimed", claimed).await;
    stage.restart(async |_| ()).await;
    stage.flush().await;
    assert!(claimed(&stage.get("old").await.unwrap()));
    stage.settled("new").await;
    assert_eq!((stage.exchanges("old"), stage.exchanges("new")), (1, 1));
}

#[tokio::test]
async fn a_target_that_is_renamed_during_an_exchange_gets_the_token_under_its_new_name_only() {
    let stage = Stage::new("renamed-in-flight").await;
    let gate = Gate::new();
    stage.source("one", Script::of([Reply::token().hold(&gate), Reply::token()])).await;
    let mut wanted = spec("one", json!({ "creationPolicy": "Orphan" }));
    stage.apply("one", wanted.clone()).await;
    stage.squadcast.wait_for_count("rt-one", 1, DEADLINE).await;
    wanted["target"]["name"] = "renamed".into();
    stage.apply("one", wanted).await;
    stage.flush().await;
    gate.release();
    stage.settled("one").await;
    assert_eq!(stage.exchanges("one"), 1);
    assert_eq!(
        stage.secret_data("renamed").await["access_token"],
        stage.squadcast.minted("rt-one")[0].access_token
    );
    assert_eq!(stage.secret(&target("one")).await, None);
}

#[tokio::test]
async fn a_source_that_changes_during_an_exchange_wins() {
    let stage = Stage::new("source-in-flight").await;
    let gate = Gate::new();
    stage.source("one", Reply::token().hold(&gate)).await;
    stage.squadcast.script("rt-held", Script::of([Reply::token(), Reply::token().hold(&gate)]));
    stage.put_secret(&source("held"), &[("refresh_token", "rt-held")]).await;
    stage.credential("held", &source("held"), &target("held")).await;
    stage.settled("held").await;
    stage.credential("one", &source("one"), &target("one")).await;
    let request = stage.ask("held").await;
    stage.squadcast.wait_for_count("rt-one", 1, DEADLINE).await;
    stage.squadcast.wait_for_count("rt-held", 2, DEADLINE).await;
    for name in ["one", "held"] {
        stage.refresh_token(&source(name), &format!("rt-{name}-next")).await;
    }
    stage.flush().await;
    gate.release();
    for name in ["one", "held"] {
        let next = format!("rt-{name}-next");
        eventually("a token of the new value", DEADLINE, async || {
            let (text, good) = stage.written(name).await;
            good && stage.squadcast.minted_as(&text).is_some_and(|minted| minted.refresh_token == next)
        })
        .await;
        stage.settled(name).await;
        assert_eq!(stage.squadcast.count(&next), 1, "{name}");
    }
    stage.handled("held", &request).await;
}

#[tokio::test]
async fn who_waits_or_fails_is_not_written_again_by_another_process() {
    let mut stage = Stage::new("quiet").await;
    stage.resource("stalled", Reply::error(401)).await;
    stage.resource("slowed", Reply::error(429).retry_after("3000")).await;
    stage.credential("sourceless", "nothing", "nothing-target").await;
    stage.resource("holder", Reply::token()).await;
    stage.settled("holder").await;
    stage.credential("claims", &source("holder"), &target("holder")).await;
    stage.resource("suspended", Reply::token()).await;
    stage.settled("suspended").await;
    stage.patch("suspended", json!({ "spec": { "suspend": true } })).await;
    stage.resource_with("template", json!({ "template": { "t": "{{ nothing }}" } })).await;
    let wanted = [
        ("stalled", "RefreshTokenRejected"),
        ("slowed", "RateLimited"),
        ("sourceless", "RefreshTokenSecretNotFound"),
        ("claims", "TargetClaimed"),
        ("suspended", "Suspended"),
        ("template", "TemplateInvalid"),
    ];
    let mut before = Vec::new();
    for (name, reason) in wanted {
        before.push(stage.wait_for(name, "Synced", "False", reason).await);
    }
    let spent = stage.squadcast.all_requests().len();
    stage.restart(async |_| ()).await;
    stage.flush().await;
    for ((name, _), before) in wanted.into_iter().zip(before) {
        // Resource version and all.
        assert_eq!(stage.get(name).await.unwrap(), before, "{name}");
    }
    assert_eq!(stage.squadcast.all_requests().len(), spent + 1, "only the one that came after");
    let writes: Vec<_> = stage.requests_of(&stage.operator);
    let writes = writes.iter().filter(|r| r.is_write() && !r.name.starts_with("flush-")).collect::<Vec<_>>();
    assert!(writes.iter().all(|r| r.resource == "events"), "{writes:?}");
}

#[tokio::test]
async fn an_api_server_that_comes_back_finds_nothing_to_be_written() {
    let plane = Arc::new(ControlPlane::start());
    let stage = Stage::with(World::on(&plane, "back").await, &[]).await;
    stage.resource("fine", Reply::token()).await;
    stage.resource("stalled", Reply::error(401)).await;
    stage.wait_for("stalled", "Stalled", "True", "RefreshTokenRejected").await;
    let before = [stage.settled("fine").await, stage.get("stalled").await.unwrap()];
    let secret = stage.secret(&target("fine")).await;
    plane.restart(Component::ApiServer);
    stage.flush().await;
    assert_eq!([stage.get("fine").await.unwrap(), stage.get("stalled").await.unwrap()], before);
    assert_eq!(stage.secret(&target("fine")).await, secret);
    assert_eq!((stage.exchanges("fine"), stage.exchanges("stalled")), (1, 1));
    assert_eq!(stage.operator.exit_code(), None);
}

#[tokio::test]
async fn a_refresh_token_that_was_replaced_for_one_that_is_deleted_meanwhile_is_saved() {
    let stage = Stage::new("leaving-rotated").await;
    let gate = Gate::new();
    stage.squadcast.accept("rt-next");
    stage.source("one", Reply::token().refresh_token("rt-next").hold(&gate)).await;
    let mut saves = spec("one", json!({}));
    saves["refreshTokenRotation"] = "WriteBack".into();
    stage.apply("one", saves).await;
    stage.squadcast.wait_for_count("rt-one", 1, DEADLINE).await;
    stage.delete("one").await;
    stage.flush().await;
    gate.release();
    // The user's other uses of that refresh token would be lost with it.
    eventually("the new value in the source", DEADLINE, async || {
        stage.secret_data(&source("one")).await["refresh_token"] == "rt-next"
    })
    .await;
    stage.flush().await;
    assert_eq!(stage.secret(&target("one")).await, None);
}
