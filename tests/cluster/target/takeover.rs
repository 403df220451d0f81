//! A Secret that is there already and may be taken over: one left behind, restored, or handed over.

use kube::api::PostParams;
use serde_json::json;

use super::{ALLOW, NOT_OWNED, annotations, controller, labels, uid};
use crate::{
    steps::{Stage, source, spec, target},
    support::{DEADLINE, Reply, eventually},
};

impl Stage {
    /// Deletes a resource and leaves what it owns.
    async fn delete_credential_only(&self, name: &str) {
        self.collector_has_caught_up(name).await;
        let params = kube::api::DeleteParams {
            propagation_policy: Some(kube::api::PropagationPolicy::Orphan),
            ..kube::api::DeleteParams::default()
        };
        self.credentials().delete(name, &params).await.unwrap();
        eventually("the resource to go", DEADLINE, async || self.get(name).await.is_none()).await;
    }
}

#[tokio::test]
async fn a_restored_secret_is_taken_over_without_an_exchange() {
    let mut stage = Stage::new("restore").await;
    stage.resource_with("one", json!({ "labels": { "a": "b" } })).await;
    stage.settled("one").await;
    let saved = stage.secret(&target("one")).await.unwrap();
    // As a tool for backups does: other uids, no owners, no status, another field manager.
    stage
        .restart(async |world| {
            world.delete("one").await;
            let gone = async || world.secret(&target("one")).await.is_none();
            eventually("the Secret to go", DEADLINE, gone).await;
            let metadata = json!({ "name": target("one"), "labels": labels(&saved),
                "annotations": annotations(&saved) });
            let body = json!({ "metadata": metadata, "data": saved.data, "type": "Opaque" });
            let secret = serde_json::from_value(body).unwrap();
            let params = PostParams { field_manager: Some("backup".into()), ..PostParams::default() };
            world.secrets().create(&params, &secret).await.unwrap();
            world.apply("one", spec("one", json!({ "labels": { "a": "b" } }))).await;
        })
        .await;
    let resource = stage.settled("one").await;
    let secret = stage.secret(&target("one")).await.unwrap();
    assert_eq!(controller(&secret), uid(&resource));
    assert_eq!((&secret.data, stage.exchanges("one")), (&saved.data, 1));
    assert_eq!(resource["status"]["expiresAt"], annotations(&saved)["credentials.squadcast.com/expires-at"]);
}

#[tokio::test]
async fn a_running_secret_is_handed_over_by_annotation() {
    let stage = Stage::new("hand-over").await;
    let before = stage.foreign("one", json!({})).await;
    stage.resource("one", Reply::token()).await;
    stage.wait_conditions("one", NOT_OWNED).await;
    stage.edit(&target("one"), json!({ "metadata": { "annotations": { ALLOW: "one" } } })).await;
    let resource = stage.settled("one").await;
    let secret = stage.secret(&target("one")).await.unwrap();
    assert_eq!(secret.metadata.uid, before.metadata.uid, "it was never deleted");
    assert_eq!(controller(&secret), uid(&resource));
    assert_eq!(stage.secret_data(&target("one")).await["password"], "x");
    assert!(stage.written("one").await.1);

    // On from one resource to another.
    stage.delete_credential_only("one").await;
    stage.refresh_token(&source("two"), "rt-two").await;
    stage.edit(&target("one"), json!({ "metadata": { "annotations": { ALLOW: "two" } } })).await;
    stage.credential("two", &source("two"), &target("one")).await;
    let resource = stage.settled("two").await;
    let secret = stage.secret(&target("one")).await.unwrap();
    assert_eq!(secret.metadata.uid, before.metadata.uid);
    assert_eq!(controller(&secret), uid(&resource));
}

#[tokio::test]
async fn what_a_cascading_orphan_leaves_is_taken_over_without_an_exchange() {
    let stage = Stage::new("cascade").await;
    stage.resource("one", Reply::token()).await;
    stage.settled("one").await;
    stage.delete_credential_only("one").await;
    let left = stage.secret(&target("one")).await.unwrap();
    assert_eq!(controller(&left), None);
    stage.credential("one", &source("one"), &target("one")).await;
    let resource = stage.settled("one").await;
    assert_eq!(controller(&stage.secret(&target("one")).await.unwrap()), uid(&resource));
    assert_eq!(stage.exchanges("one"), 1);
}
