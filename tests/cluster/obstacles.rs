//! What the API server refuses: quotas, admission, rights, a namespace that goes. A token that was minted is kept
//! and written later; where the right is lacking, nothing more is minted.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::{
    OPERATOR,
    administrator::{ALL, WORDS, forbid, grant, permit, refuse, wait_probe},
    steps::{Stage, conditions, failures, message, source, target, wait_of},
    support::{
        DEADLINE, Gate, Operator, Reply, eventually,
        eventually::unless,
        world::{REGION, World},
    },
};

#[tokio::test]
async fn a_token_whose_write_was_refused_is_written_later_and_not_minted_again() {
    let stage = Stage::new("write-refused").await;
    stage.resource("held", Reply::token()).await;
    stage.settled("held").await;
    forbid(&stage, "-target");
    wait_probe(&stage, "-target", false).await;
    stage.resource("new", Reply::token()).await;
    stage.ask("held").await;
    for (name, ready, exchanges) in
        [("new", "Ready=False WriteFailed", 1), ("held", "Ready=True TokenValid", 2)]
    {
        let wanted = format!("{ready}, Synced=False WriteFailed");
        let first = stage.wait_conditions(name, &wanted).await;
        let said = message(&first, "Synced");
        assert!(said.contains(WORDS) && said.contains(&target(name)), "{said}");
        let again = stage.wait_status(name, "more failures", |r| failures(r) >= 2).await;
        assert_eq!(conditions(&again), wanted);
        assert!((8..=12).contains(&wait_of(&again)) || failures(&again) > 2, "{again}");
        assert_eq!(stage.exchanges(name), exchanges, "{name}");
    }
    permit(&stage, "-target").await;
    for (name, exchanges) in [("new", 1), ("held", 2)] {
        stage.settled(name).await;
        assert_eq!(stage.exchanges(name), exchanges, "{name}: nothing more was minted");
        let minted = stage.squadcast.minted(&format!("rt-{name}")).pop().unwrap();
        assert_eq!(stage.written(name).await, (minted.access_token, true), "{name}");
    }
    assert!(!stage.operator.log().contains("at-canary-"));
}

#[tokio::test]
async fn a_webhook_that_repeats_what_it_sees_tells_no_token() {
    let stage = Stage::new("echo").await;
    stage.resource("one", Reply::token()).await;
    stage.settled("one").await;
    let repeated = "'was ' + string(oldObject.data.access_token) + ' is ' + string(object.data.access_token)";
    refuse(
        &stage,
        "UPDATE",
        "'echo' in object.metadata.labels",
        &format!("messageExpression: \"{repeated}\""),
    );
    let held = stage.written("one").await.0;
    let held = [BASE64.encode(&held), held];
    let labels = json!({ "metadata": { "labels": { "echo": "x" } } });
    eventually("the API server to repeat the token", DEADLINE, async || {
        let params = PatchParams { dry_run: true, ..PatchParams::default() };
        let error = stage.secrets().patch(&target("one"), &params, &Patch::Merge(&labels)).await.err();
        let said = error.map(|error| error.to_string()).unwrap_or_default();
        unless(held.iter().any(|form| said.contains(form)), said)
    })
    .await;
    // Labels alone, then a new token beside the one that is held.
    stage.patch("one", json!({ "spec": { "target": { "labels": { "echo": "x" } } } })).await;
    let refused = "Ready=True TokenValid, Synced=False WriteFailed";
    let first = stage.wait_conditions("one", refused).await;
    let second = stage.attempt("one").await;
    assert_eq!(stage.exchanges("one"), 2);
    for resource in [first, second] {
        let said = message(&resource, "Synced");
        assert!(said.contains("was [redacted]") && said.contains(" is [redacted]"), "{said}");
    }
    let minted: Vec<_> = stage.squadcast.minted("rt-one").into_iter().map(|m| m.access_token).collect();
    let events = format!("{:?}", stage.events("one").await);
    for token in minted.into_iter().flat_map(|token| [BASE64.encode(&token), token]) {
        assert!(!stage.operator.log().contains(&token) && !events.contains(&token));
    }
}

#[tokio::test]
async fn a_quota_is_no_lack_of_rights() {
    let stage = Stage::new("quota").await;
    let full = r#"{"status": {"hard": {"count/secrets": "1"}, "used": {"count/secrets": "1"}}}"#;
    let quota = "{ apiVersion: v1, kind: ResourceQuota, metadata: { name: full }, spec: { hard: { count/secrets: '1' } } }";
    stage.source("one", Reply::token()).await;
    stage.kubectl_apply(quota);
    // As the quota controller would.
    stage.kubectl(&["patch", "resourcequota", "full", "--subresource=status", "--type=merge", "-p", full]);
    wait_probe(&stage, "-target", false).await;
    stage.credential("one", &source("one"), &target("one")).await;
    let resource = stage.wait_conditions("one", "Ready=False WriteFailed, Synced=False WriteFailed").await;
    let said = message(&resource, "Synced");
    assert!(said.contains("quota"), "{said}");
    stage.kubectl(&["delete", "resourcequota", "full"]);
    stage.settled("one").await;
    assert_eq!(stage.exchanges("one"), 1);
}

const FORBIDDEN: &str = "Ready=False Forbidden, Synced=False Forbidden";

/// An operator with no rights but those of this user.
async fn limited(world: &World, user: &str) -> Operator {
    let operator = world.launch_as(OPERATOR, user, &[]).start();
    operator.wait_ready().await;
    operator
}

/// Waits until the resource `one` counts more failures than these.
async fn fails_again(world: &World, count: i64) -> Value {
    eventually("further failures", DEADLINE, async || {
        let resource = world.get("one").await.ok_or("no resource")?;
        if failures(&resource) > count { Ok(resource) } else { Err(resource["status"].to_string()) }
    })
    .await
}

#[tokio::test]
async fn without_the_right_to_write_one_exchange_is_spent_and_the_right_is_asked_for_before_another() {
    let world = World::new("forbidden").await;
    let user = format!("limited-{}", world.namespace);
    grant(&world, &user, "get, list, watch");
    world.refresh_token("source", "rt").await;
    let operator = limited(&world, &user).await;
    world.credential("one", "source", "target").await;
    let resource = world.wait_for("one", "Synced", "False", "Forbidden").await;
    assert_eq!(conditions(&resource), FORBIDDEN);
    let said = message(&resource, "Synced");
    assert!(said.contains(&user) && said.contains("secrets") && said.contains("create"), "{said}");
    assert_eq!(world.squadcast.count("rt"), 1);

    // Another process, which has not got that token: it asks for the right first.
    operator.kill();
    operator.wait_exit(DEADLINE).await;
    let _operator = limited(&world, &user).await;
    fails_again(&world, failures(&resource)).await;
    assert_eq!(conditions(&world.get("one").await.unwrap()), FORBIDDEN);
    assert_eq!(world.squadcast.count("rt"), 1);

    grant(&world, &user, ALL);
    world.wait_ready("one").await;
    assert_eq!(world.squadcast.count("rt"), 2);
}

#[tokio::test]
async fn without_the_right_to_write_back_the_right_is_asked_for_before_an_exchange() {
    let world = World::new("forbidden-source").await;
    let user = format!("limited-{}", world.namespace);
    grant(&world, &user, "get, list, watch, create");
    world.refresh_token("source", "rt").await;
    world.squadcast.accept("rt-next");
    world.squadcast.script("rt", Reply::token().refresh_token("rt-next"));
    let operator = limited(&world, &user).await;
    let mut spec = json!({ "region": REGION, "target": { "name": "target" } });
    spec["refreshTokenSecretRef"] = json!({ "name": "source" });
    spec["refreshTokenRotation"] = "WriteBack".into();
    world.apply("one", spec).await;
    let resource = world.wait_for("one", "Synced", "False", "Forbidden").await;
    let said = message(&resource, "Synced");
    assert!(said.contains("\"source\"") && said.contains("patch"), "{said}");
    assert_eq!(world.squadcast.count("rt"), 1);

    // Another process has not got the new refresh token; it makes sure that it could save the next one.
    operator.kill();
    operator.wait_exit(DEADLINE).await;
    let _operator = limited(&world, &user).await;
    fails_again(&world, failures(&resource)).await;
    assert_eq!(world.squadcast.count("rt"), 1);
    grant(&world, &user, ALL);
    world.wait_ready("one").await;
}

#[tokio::test]
async fn without_the_right_to_read_nothing_is_asked_of_squadcast() {
    let world = World::new("unreadable").await;
    let user = format!("limited-{}", world.namespace);
    grant(&world, &user, "list, watch");
    world.refresh_token("source", "rt").await;
    let _operator = limited(&world, &user).await;
    world.credential("one", "source", "target").await;
    let resource = world.wait_for("one", "Synced", "False", "Forbidden").await;
    assert_eq!(conditions(&resource), FORBIDDEN);
    let said = message(&resource, "Synced");
    assert!(said.contains("\"source\"") && said.contains("get"), "{said}");
    assert_eq!(world.squadcast.count("rt"), 0);

    // Suspended, nothing is missed; resumed, it is.
    world.patch("one", json!({ "spec": { "suspend": true } })).await;
    world.wait_for("one", "Ready", "False", "Suspended").await;
    world.patch("one", json!({ "spec": { "suspend": false } })).await;
    world.wait_for("one", "Synced", "False", "Forbidden").await;

    // What happens to the Secret does not shorten the wait; a renewal that is asked for does, and is echoed.
    let waiting = fails_again(&world, 1).await;
    for n in 0..20 {
        let label = json!({ "metadata": { "labels": { "n": n.to_string() } } });
        let params = PatchParams::default();
        world.secrets().patch("source", &params, &Patch::Merge(label)).await.unwrap();
    }
    let request =
        json!({ "metadata": { "annotations": { "credentials.squadcast.com/renew-requested-at": "1" } } });
    world.patch("one", request).await;
    eventually("the request to be handled", DEADLINE, async || {
        let status = world.get("one").await.ok_or("no resource")?["status"].clone();
        if status["lastHandledRenewRequest"] == "1" { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    let more = failures(&world.get("one").await.unwrap()) - failures(&waiting);
    assert!(more <= 3, "{more}");

    grant(&world, &user, ALL);
    world.wait_ready("one").await;
    assert_eq!(world.squadcast.count("rt"), 1);
}

#[tokio::test]
async fn a_namespace_that_is_deleted_ends_work_without_a_word() {
    let stage = Stage::new("namespace-gone").await;
    let gate = Gate::new();
    stage.resource("one", Reply::token().hold(&gate)).await;
    let finalizers = |list: Value| json!({ "metadata": { "finalizers": list } });
    stage.patch("one", finalizers(json!(["test.example/hold"]))).await;
    stage.squadcast.wait_for_count("rt-one", 1, DEADLINE).await;
    let namespaces: kube::Api<k8s_openapi::api::core::v1::Namespace> = kube::Api::all(stage.client.clone());
    namespaces.delete(&stage.namespace, &DeleteParams::default()).await.unwrap();
    eventually("the resource to be told to go", DEADLINE, async || {
        stage.get("one").await.is_some_and(|r| !r["metadata"]["deletionTimestamp"].is_null())
    })
    .await;
    gate.release();
    stage.wait_outcome("dropped", 1.0).await;
    let left = stage.get("one").await.unwrap();
    assert_eq!(left["status"], json!({ "observedGeneration": -1 }));
    assert_eq!(stage.event_reasons("one").await, Vec::<String>::new());
    assert_eq!((stage.exchanges("one"), stage.outcomes("failed")), (1, 0.0));
    let empty = Patch::Merge(finalizers(json!(null)));
    stage.credentials().patch("one", &PatchParams::default(), &empty).await.unwrap();
    eventually("the namespace to go", DEADLINE, async || {
        namespaces.get_opt(&stage.namespace).await.unwrap().is_none()
    })
    .await;
    assert_eq!(stage.exchanges("one"), 1);
    assert!(stage.operator.exit_code().is_none());
}
