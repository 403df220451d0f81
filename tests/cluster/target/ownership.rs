//! Whose the target is: its controller reference, what goes with a resource, and who of two has it.

use serde_json::json;

use super::{LABEL, MANAGED_BY, controller, labels, uid};
use crate::{
    steps::{Stage, conditions, message, source, spec, target},
    support::{DEADLINE, Reply, eventually, world::condition},
};

const CLAIMED: &str = "Ready=False TargetClaimed, Synced=False TargetClaimed, Stalled=True TargetClaimed";

#[tokio::test]
async fn the_target_goes_with_its_owner_and_outlives_it_as_an_orphan() {
    let stage = Stage::new("deletion").await;
    for (name, policy) in [("owner", "Owner"), ("orphan", "Orphan")] {
        stage.resource_with(name, json!({ "creationPolicy": policy })).await;
        let resource = stage.settled(name).await;
        let secret = stage.secret(&target(name)).await.unwrap();
        assert_eq!(secret.type_.as_deref(), Some("Opaque"));
        assert_eq!(controller(&secret), uid(&resource).filter(|_| name == "owner"));
        stage.delete(name).await;
    }
    eventually("the owned Secret to go", DEADLINE, async || stage.secret("owner-target").await.is_none())
        .await;
    let left = stage.secret("orphan-target").await.unwrap();

    // Whoever has the name next takes the orphan over, without an exchange.
    stage.credential("orphan", &source("orphan"), &target("orphan")).await;
    let resource = stage.settled("orphan").await;
    let taken = stage.secret("orphan-target").await.unwrap();
    assert_eq!(controller(&taken), uid(&resource));
    assert_eq!((taken.data, stage.exchanges("orphan")), (left.data, 1));
}

#[tokio::test]
async fn a_secret_of_a_former_resource_is_waited_for() {
    let stage = Stage::new("former").await;
    let owner = json!([{ "apiVersion": "credentials.squadcast.com/v1alpha1", "kind": "SquadcastCredential",
        "name": "one", "uid": "00000000-1111-2222-3333-444444444444", "controller": true }]);
    let metadata = json!({ "ownerReferences": owner, "finalizers": ["test.example/hold"] });
    stage.apply_secret(&target("one"), json!({ "metadata": metadata, "stringData": { "a": "b" } })).await;
    stage.resource("one", Reply::token()).await;
    let waiting = "Ready=False TargetNotOwned, Synced=False TargetNotOwned";
    stage.wait_conditions("one", waiting).await;
    // Garbage collection wants it gone; the finalizer holds it.
    stage.wait_target("one", "deletion", |s| s.metadata.deletion_timestamp.is_some()).await;
    stage.flush().await;
    assert_eq!(conditions(&stage.get("one").await.unwrap()), waiting);
    assert_eq!(stage.exchanges("one"), 0);
    stage.edit(&target("one"), json!({ "metadata": { "finalizers": null } })).await;
    let resource = stage.settled("one").await;
    assert_eq!(controller(&stage.secret(&target("one")).await.unwrap()), uid(&resource));
}

#[tokio::test]
async fn a_recreated_resource_writes_its_own_target_and_never_stalls() {
    let stage = Stage::new("recreated").await;
    stage.resource("one", Reply::token()).await;
    stage.settled("one").await;
    stage.delete("one").await;
    stage.credential("one", &source("one"), &target("one")).await;
    let resource = eventually("a target of its own", DEADLINE, async || {
        let resource = stage.get("one").await?;
        assert_eq!(condition(&resource, "Stalled"), None);
        let secret = stage.secret(&target("one")).await?;
        (controller(&secret) == uid(&resource)).then_some(resource)
    })
    .await;
    stage.settled("one").await;
    assert_eq!(uid(&stage.get("one").await.unwrap()), uid(&resource));
    assert!(stage.written("one").await.1);
}

#[tokio::test]
async fn a_change_of_policy_changes_the_owner_and_costs_no_exchange() {
    let stage = Stage::new("policy").await;
    stage.resource_with("one", json!({ "labels": { "a": "b" } })).await;
    let resource = stage.settled("one").await;
    let first = stage.secret(&target("one")).await.unwrap();
    for policy in ["Orphan", "Owner", "Merge", "Owner", "Merge", "Orphan", "Owner"] {
        let fields = json!({ "creationPolicy": policy, "labels": { "a": "b" } });
        stage.apply("one", spec("one", fields)).await;
        stage.settled("one").await;
        let secret = stage.secret(&target("one")).await.unwrap();
        assert_eq!(controller(&secret), uid(&resource).filter(|_| policy == "Owner"), "{policy}");
        let labels = labels(&secret);
        assert_eq!(labels.contains_key(LABEL), policy != "Merge", "{policy}: {labels:?}");
        assert_eq!(labels.contains_key(MANAGED_BY), policy != "Merge", "{policy}: {labels:?}");
        assert_eq!(labels.get("a").map(String::as_str), Some("b"), "{policy}");
        assert_eq!((&secret.data, &secret.metadata.uid), (&first.data, &first.metadata.uid), "{policy}");
    }
    assert_eq!(stage.exchanges("one"), 1);
}

#[tokio::test]
async fn two_resources_on_one_target_are_told_apart_and_the_second_follows_the_first() {
    let stage = Stage::new("claimed").await;
    stage.resource("one", Reply::token()).await;
    stage.settled("one").await;
    stage.refresh_token(&source("two"), "rt-two").await;
    stage.credential("two", &source("two"), &target("one")).await;
    let resource = stage.wait_conditions("two", CLAIMED).await;
    let said = message(&resource, "Stalled");
    assert!(said.contains("\"one\"") && said.contains(&target("one")), "{said}");
    // One that is suspended holds on.
    stage.patch("one", json!({ "spec": { "suspend": true } })).await;
    stage.wait_conditions("one", "Ready=True TokenValid, Synced=False Suspended").await;
    stage.flush().await;
    assert_eq!(conditions(&stage.get("two").await.unwrap()), CLAIMED);
    assert_eq!(stage.exchanges("two"), 0);
    stage.delete("one").await;
    let resource = stage.settled("two").await;
    let secret = eventually("its own target", DEADLINE, async || {
        stage.secret(&target("one")).await.filter(|s| controller(s) == uid(&resource))
    })
    .await;
    assert_eq!(labels(&secret)[LABEL], "two");
    // Or the second lets go.
    stage.refresh_token(&source("three"), "rt-three").await;
    stage.credential("three", &source("three"), &target("one")).await;
    stage.wait_conditions("three", CLAIMED).await;
    let mut elsewhere = spec("two", json!({}));
    elsewhere["target"]["name"] = "elsewhere".into();
    stage.apply("two", elsewhere).await;
    stage.settled("two").await;
    stage.settled("three").await;
    let secret = stage.secret(&target("one")).await.unwrap();
    assert_eq!(labels(&secret)[LABEL], "three");
    for name in ["two", "three"] {
        let told = stage.event_reasons(name).await;
        assert!(!told.contains(&"TargetNotOwned".to_owned()), "{name} has nobody to blame: {told:?}");
    }
}
