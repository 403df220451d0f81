//! A Secret that is somebody else's is left as it is, whenever it appears.

use futures::future::join_all;
use kube::api::PostParams;
use serde_json::json;

use super::{ALLOW, LABEL, MANAGED_BY, NOT_OWNED};
use crate::{
    steps::{Stage, message, target},
    support::{DEADLINE, Gate, Reply, Script},
};

#[tokio::test]
async fn a_foreign_secret_is_never_touched() {
    let stage = Stage::new("foreign").await;
    let cases = [
        ("plain", json!({})),
        ("labelled", json!({ "labels": { MANAGED_BY: "squadcast-operator", LABEL: "other" } })),
        ("allowed", json!({ "annotations": { ALLOW: "other" } })),
        ("controlled", json!({ "annotations": { ALLOW: "controlled" } })),
    ];
    let map: k8s_openapi::api::core::v1::ConfigMap =
        serde_json::from_value(json!({ "metadata": { "name": "holder" } })).unwrap();
    let holder = kube::Api::namespaced(stage.client.clone(), &stage.namespace)
        .create(&PostParams::default(), &map)
        .await
        .unwrap();
    let stage = &stage;
    let holder = holder.metadata.uid.as_deref().unwrap();
    join_all(cases.map(async |(name, mut metadata)| {
        if name == "controlled" {
            metadata["ownerReferences"] = json!([{ "apiVersion": "v1", "kind": "ConfigMap",
                "name": "holder", "uid": holder, "controller": true }]);
        }
        let body = json!({ "metadata": metadata, "stringData": { "access_token": "theirs" } });
        let before = stage.apply_secret(&target(name), body).await;
        stage.resource(name, Reply::token()).await;
        let resource = stage.wait_conditions(name, NOT_OWNED).await;
        let said = message(&resource, "Stalled");
        assert!(said.contains(&target(name)), "{said}");
        assert_eq!(said.contains("ConfigMap \"holder\""), name == "controlled", "{said}");
        assert_eq!(said.contains(ALLOW), name != "controlled", "{said}");
        stage.ask(name).await;
        stage.flush().await;
        assert_eq!(stage.secret(&target(name)).await.as_ref(), Some(&before), "{name}");
        assert_eq!(stage.exchanges(name), 0, "{name}: ownership is checked before an exchange is spent");
        stage.delete_secret(&target(name)).await;
        stage.settled(name).await;
        assert!(stage.written(name).await.1);
        assert_eq!(stage.exchanges(name), 1, "{name}");
    }))
    .await;
}

#[tokio::test]
async fn a_secret_that_appears_during_the_exchange_is_not_overwritten() {
    let stage = Stage::new("creation-race").await;
    let gate = Gate::new();
    stage.resource("one", Reply::token().hold(&gate)).await;
    stage.squadcast.wait_for_count("rt-one", 1, DEADLINE).await;
    let before = stage.foreign("one", json!({})).await;
    gate.release();
    stage.wait_conditions("one", NOT_OWNED).await;
    assert_eq!(stage.secret(&target("one")).await.as_ref(), Some(&before));
    stage.delete_secret(&target("one")).await;
    stage.settled("one").await;
    assert_eq!(stage.exchanges("one"), 1, "the token that was minted is kept and written");
}

#[tokio::test]
async fn a_write_on_a_stale_look_never_lands_on_somebody_elses_secret() {
    let stage = Stage::new("stale-write").await;
    let gate = Gate::new();
    stage.resource("one", Script::of([Reply::token(), Reply::token().hold(&gate)])).await;
    stage.settled("one").await;
    stage.ask("one").await;
    stage.squadcast.wait_for_count("rt-one", 2, DEADLINE).await;
    // Between the look and the write it goes, and another of this name is somebody's.
    stage.delete_secret(&target("one")).await;
    let theirs = stage.foreign("one", json!({})).await;
    gate.release();
    stage.wait_conditions("one", NOT_OWNED).await;
    assert_eq!(stage.secret(&target("one")).await.as_ref(), Some(&theirs));
}
