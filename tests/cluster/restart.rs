//! Workloads that are restarted after a change of the Secret: once for each change after the first issue.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::{
    OPERATOR,
    administrator::{ALL, grant},
    steps::{Stage, assert_backed_off, conditions, failures, message, spec, target},
    support::{DEADLINE, Reply, eventually, world::World},
};

const KINDS: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];

/// The generation of a workload, which counts the changes of its template, and the template's annotations.
fn seen(world: &World, kind: &str, name: &str) -> (i64, Value) {
    let object: Value = serde_json::from_str(&world.kubectl(&["get", kind, name, "-o", "json"])).unwrap();
    let generation = object["metadata"]["generation"].as_i64().unwrap();
    (generation, object["spec"]["template"]["metadata"]["annotations"].clone())
}

fn restarting(name: &str, workloads: &[(&str, &str)]) -> Value {
    let mut spec = spec(name, json!({}));
    let list: Vec<_> = workloads.iter().map(|(kind, name)| json!({ "kind": kind, "name": name })).collect();
    spec["rolloutRestartTargets"] = list.into();
    spec
}

#[tokio::test]
async fn workloads_restart_once_for_each_change_after_the_first_issue() {
    let mut stage = Stage::new("restarts").await;
    let workloads = KINDS.map(|kind| (kind, "app"));
    for (kind, name) in workloads {
        stage.workload(kind, name);
    }
    stage.source("one", Reply::token()).await;
    stage.apply("one", restarting("one", &workloads)).await;
    stage.settled("one").await;
    stage.flush().await;
    for (kind, name) in workloads {
        assert_eq!(seen(&stage, kind, name), (1, Value::Null), "{kind}: the first issue restarts nothing");
    }
    stage.attempt("one").await;
    stage.settled("one").await;
    let first = workloads.map(|(kind, name)| seen(&stage, kind, name));
    assert!(first.iter().all(|(generation, _)| *generation == 2), "{first:?}");
    let told = async || stage.event_reasons("one").await.contains(&"RolloutRestarted".to_owned());
    eventually("the event", DEADLINE, told).await;

    // Labels alone, somebody's key, and a restart of the operator are no change of the data.
    let mut labelled = restarting("one", &workloads);
    labelled["target"]["labels"] = json!({ "a": "b" });
    stage.apply("one", labelled).await;
    stage.settled("one").await;
    stage.restart(async |_| ()).await;
    stage.flush().await;
    assert_eq!(workloads.map(|(kind, name)| seen(&stage, kind, name)), first);

    stage.attempt("one").await;
    stage.settled("one").await;
    for ((kind, name), (_, annotations)) in workloads.into_iter().zip(&first) {
        let (generation, now) = seen(&stage, kind, name);
        assert_eq!(generation, 3, "{kind}");
        assert_ne!(now, *annotations, "{kind}");
    }
}

/// What a process that was killed after the write of the Secret leaves: the status of before.
async fn status_of(world: &World, before: &Value) {
    let mut status = before["status"].clone();
    status["lastHandledRenewRequest"] =
        world.get("one").await.unwrap()["status"]["lastHandledRenewRequest"].clone();
    let patch = Patch::Merge(json!({ "status": status }));
    world.credentials().patch_status("one", &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test]
async fn workloads_restart_once_where_the_operator_was_killed_before_or_after_restarting_them() {
    let mut stage = Stage::new("restart-killed").await;
    stage.workload("Deployment", "app");
    stage.source("one", Reply::token()).await;
    stage.apply("one", restarting("one", &[("Deployment", "app")])).await;
    let first = stage.settled("one").await;
    stage.attempt("one").await;
    let renewed = stage.settled("one").await;
    assert_eq!(seen(&stage, "Deployment", "app").0, 2);
    let hash = |r: &Value| r["status"]["restartedDataHash"].clone();
    assert_ne!(hash(&first), hash(&renewed));

    // Killed after the restart, before the status told of it: not a second time.
    stage.restart(async |world| status_of(world, &first).await).await;
    stage.wait_status("one", "the hash", |r| hash(r) == hash(&renewed)).await;
    assert_eq!(seen(&stage, "Deployment", "app").0, 2);

    // Killed between the write of the Secret and the restart: once.
    stage
        .restart(async |world| {
            status_of(world, &first).await;
            world.kubectl(&["delete", "deployment", "app", "--wait=true"]);
            world.workload("Deployment", "app");
        })
        .await;
    stage.wait_status("one", "the hash", |r| hash(r) == hash(&renewed)).await;
    stage.flush().await;
    assert_eq!(seen(&stage, "Deployment", "app").0, 2);
    assert_eq!(stage.exchanges("one"), 2);
}

#[tokio::test]
async fn a_workload_that_is_missing_holds_up_neither_the_token_nor_the_others() {
    let mut stage = Stage::new("restart-missing").await;
    stage.workload("Deployment", "there");
    stage.source("one", Reply::token()).await;
    let workloads = [("StatefulSet", "missing"), ("Deployment", "there")];
    stage.apply("one", restarting("one", &workloads)).await;
    stage.settled("one").await;
    let (former, _) = stage.written("one").await;
    stage.ask("one").await;
    let failed = "Ready=True TokenValid, Synced=False RolloutRestartFailed";
    let resource = stage.wait_conditions("one", failed).await;
    let said = message(&resource, "Synced");
    assert!(said.contains("StatefulSet \"missing\"") && !said.contains("there\""), "{said}");
    assert_backed_off(&resource, 300);
    let (text, good) = stage.written("one").await;
    assert!(good && text != former);
    assert_eq!(seen(&stage, "Deployment", "there").0, 2);
    let again = stage.wait_status("one", "another failure", |r| failures(r) > failures(&resource)).await;
    assert_eq!(conditions(&again), failed);
    assert_backed_off(&again, 300);
    // A reconcile is counted when it ends, and its status is seen a little before.
    stage.wait_outcome("failed", 2.0).await;

    // It is still owed when another operator comes.
    stage.restart(async |world| world.workload("StatefulSet", "missing")).await;
    stage.settled("one").await;
    assert_eq!(seen(&stage, "StatefulSet", "missing").0, 2);
    assert_eq!(seen(&stage, "Deployment", "there").0, 2, "it was restarted for this change already");
    assert_eq!(stage.exchanges("one"), 2);
}

#[tokio::test]
async fn a_lack_of_rights_names_the_value_of_the_chart() {
    let world = World::new("restart-forbidden").await;
    let user = format!("limited-{}", world.namespace);
    grant(&world, &user, ALL);
    world.workload("Deployment", "app");
    let operator = world.launch_as(OPERATOR, &user, &[]).start();
    operator.wait_ready().await;
    world.refresh_token("one-source", "rt-one").await;
    world.apply("one", restarting("one", &[("Deployment", "app")])).await;
    world.wait_ready("one").await;
    let renew = json!({ "credentials.squadcast.com/renew-requested-at": "now" });
    world.patch("one", json!({ "metadata": { "annotations": renew } })).await;
    let resource = world.wait_for("one", "Synced", "False", "RolloutRestartFailed").await;
    let said = message(&resource, "Synced");
    assert!(said.contains("rbac.rolloutRestarts") && said.contains("Deployment \"app\""), "{said}");
    assert!(conditions(&resource).starts_with("Ready=True"), "{said}");
    assert_eq!(world.squadcast.count("rt-one"), 2);
    assert!(world.secret(&target("one")).await.is_some());
}
