//! What could make the operator spin, and does not: rights that are lacking, and somebody who keeps changing back
//! what it writes.

use std::time::Duration;

use futures::future::join_all;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::{
    OPERATOR,
    administrator::{ALL, grant},
    steps::{Stage, conditions, failures, instant, message, target},
    support::{DEADLINE, eventually, world::World},
};

#[tokio::test]
async fn without_the_right_to_read_a_target_that_exists_is_no_reason_to_spin() {
    let world = World::new("no-get").await;
    let user = format!("limited-{}", world.namespace);
    grant(&world, &user, ALL);
    let names = ["kept", "edited", "foreign"];
    for name in names {
        world.refresh_token(&format!("{name}-source"), &format!("rt-{name}")).await;
    }
    let operator = world.launch_as(OPERATOR, &user, &[]).start();
    operator.wait_ready().await;
    for name in ["kept", "edited"] {
        world.credential(name, &format!("{name}-source"), &format!("{name}-target")).await;
        world.wait_ready(name).await;
    }
    operator.kill();
    operator.wait_exit(DEADLINE).await;
    grant(&world, &user, "list, watch, create, patch, delete");
    // As if somebody had edited it: its metadata does not tell any more what it holds.
    world.put_secret("edited-target", &[("access_token", "mine")]).await;
    world.put_secret("foreign-target", &[("password", "x")]).await;
    world.credential("foreign", "foreign-source", "foreign-target").await;

    // A user whose requests are only this process's.
    let operator = world.launch_as(OPERATOR, &user, &[]).start();
    let before = world.requests_of(&operator).len();
    operator.wait_ready().await;
    for name in names {
        eventually(&format!("{name} to have failed three times"), DEADLINE, async || {
            let resource = world.get(name).await.ok_or("no resource")?;
            let forbidden = conditions(&resource).contains("Synced=False Forbidden");
            if forbidden && failures(&resource) >= 3 { Ok(()) } else { Err(resource["status"].to_string()) }
        })
        .await;
    }
    // Three failures in 15 s or so: for each a look at the source, a status and at most one event; the watches once.
    let requests = world.requests_of(&operator).len() - before;
    let most = usize::try_from(names.iter().map(|_| 4 * 4).sum::<i32>()).unwrap() + 8;
    assert!(requests <= most, "{requests} requests");
    for name in names {
        let exchanges = usize::from(name != "foreign");
        assert_eq!(world.squadcast.count(&format!("rt-{name}")), exchanges, "{name}");
    }
    grant(&world, &user, ALL);
    world.wait_for("kept", "Synced", "True", "Synced").await;
    eventually("the edited one to be repaired", DEADLINE, async || {
        let token = world.secret_data("edited-target").await.remove("access_token").unwrap_or_default();
        world.squadcast.is_good(&token)
    })
    .await;
    world.wait_for("foreign", "Stalled", "True", "TargetNotOwned").await;
}

/// Somebody changes the target of `name` back after each repair, until it is told to stop.
async fn fight(stage: &Stage, name: &str, theirs: &Value) {
    let params = PatchParams { field_manager: Some("other-controller".into()), ..PatchParams::default() };
    loop {
        let patch = json!({ "metadata": theirs });
        let mine = stage.secrets().patch(&target(name), &params, &Patch::Merge(patch)).await.unwrap();
        let version = mine.metadata.resource_version;
        eventually("a repair to undo", DEADLINE, async || {
            stage.secret(&target(name)).await.is_some_and(|s| s.metadata.resource_version != version)
        })
        .await;
    }
}

#[tokio::test]
async fn fights_over_labels_annotations_and_notes_are_slowed_down_told_and_settle_when_they_end() {
    let stage = Stage::new("fights").await;
    let fights = [
        ("label", json!({ "labels": { "ours": "theirs" } })),
        ("annotation", json!({ "annotations": { "ours/a": null } })),
        ("owner", json!({ "ownerReferences": null })),
        ("notes", json!({ "annotations": { "credentials.squadcast.com/managed": null } })),
    ];
    join_all(fights.iter().map(async |(name, theirs)| {
        let fields = json!({ "labels": { "ours": "1" }, "annotations": { "ours/a": "1" } });
        stage.resource_with(name, fields).await;
        stage.settled(name).await;
        let whole = stage.secret(&target(name)).await.unwrap().metadata;
        let told = async {
            let contested = |r: &Value| conditions(r).contains("Synced=False TargetContested");
            let first = stage.wait_status(name, "TargetContested", contested).await;
            let said = message(&first, "Synced");
            assert!(said.contains(&target(name)), "{name}: {said}");
            let next = instant(&first, "nextAttemptAt");
            let later = |r: &Value| contested(r) && instant(r, "nextAttemptAt") > next;
            stage.wait_status(name, "a later repair", later).await;
        };
        tokio::select! {
            () = fight(&stage, name, theirs) => {}
            () = told => {}
        }
        // Two repairs came at once, a third after its wait.
        let repairs = stage.requests_of(&stage.operator);
        let repairs = repairs
            .iter()
            .filter(|r| r.is_write() && r.resource == "secrets" && r.name == target(name))
            .count();
        assert!((3..=4).contains(&repairs), "{name}: {repairs} repairs");
        stage.settled(name).await;
        eventually(&format!("the target of {name} to be whole"), Duration::from_secs(60), async || {
            let now = stage.secret(&target(name)).await.unwrap().metadata;
            (now.labels, now.owner_references) == (whole.labels.clone(), whole.owner_references.clone())
                && now.annotations.is_some_and(|a| {
                    a.contains_key("ours/a") && a.contains_key("credentials.squadcast.com/managed")
                })
        })
        .await;
        assert!(stage.written(name).await.1, "{name}");
    }))
    .await;
    for name in ["label", "annotation", "owner"] {
        assert_eq!(stage.exchanges(name), 1, "{name}");
    }
    assert!(stage.exchanges("notes") <= 5, "{}", stage.exchanges("notes"));
}
