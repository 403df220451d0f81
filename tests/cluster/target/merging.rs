//! Writing into a Secret of somebody else: only where it is allowed, and only the operator's own keys.

use std::collections::BTreeMap;

use serde_json::json;

use super::{ALLOW, controller, keys, labels};
use crate::steps::{Stage, conditions, message, spec, target};

#[tokio::test]
async fn merge_writes_only_where_it_is_allowed_and_never_over_others_keys() {
    let stage = Stage::new("merge").await;
    stage.resource_with("one", json!({ "creationPolicy": "Merge" })).await;
    let missing = "Ready=False TargetNotFound, Synced=False TargetNotFound";
    let resource = stage.wait_conditions("one", missing).await;
    assert!(message(&resource, "Synced").contains(ALLOW), "{resource}");
    let refused = "Ready=False MergeNotAllowed, Synced=False MergeNotAllowed, Stalled=True MergeNotAllowed";
    let data = json!({ "stringData": { "password": "x", "token_type": "theirs" } });
    stage.apply_secret(&target("one"), data).await;
    let resource = stage.wait_conditions("one", refused).await;
    assert!(message(&resource, "Stalled").contains(ALLOW), "{resource}");
    // Allowed, but a key is taken.
    let annotated = json!({ "metadata": { "annotations": { ALLOW: "one" } } });
    let before = stage.edit(&target("one"), annotated).await;
    let resource = stage
        .wait_status("one", "the key to be named", |r| message(r, "Stalled").contains("\"token_type\""))
        .await;
    assert_eq!(conditions(&resource), refused);
    assert_eq!(stage.secret(&target("one")).await.as_ref(), Some(&before));
    assert_eq!(stage.exchanges("one"), 0);

    stage.edit(&target("one"), json!({ "data": { "token_type": null } })).await;
    stage.settled("one").await;
    let secret = stage.secret(&target("one")).await.unwrap();
    assert_eq!(keys(&secret), ["access_token", "expires_at", "issued_at", "password", "token_type"]);
    assert_eq!((labels(&secret), controller(&secret)), (BTreeMap::new(), None));

    // A template that would overwrite their key is refused; the token that is there stays good.
    let fields = |key: &str| json!({ "creationPolicy": "Merge", "template": { key: "{{ access_token }}" } });
    stage.apply("one", spec("one", fields("password"))).await;
    let held = "Ready=True TokenValid, Synced=False MergeNotAllowed, Stalled=True MergeNotAllowed";
    let resource = stage.wait_conditions("one", held).await;
    assert!(message(&resource, "Stalled").contains("\"password\""), "{resource}");
    assert_eq!(stage.exchanges("one"), 1);
    stage.apply("one", spec("one", fields("ours"))).await;
    stage.settled("one").await;
    assert_eq!(keys(&stage.secret(&target("one")).await.unwrap()), ["ours", "password"]);

    // Renewed in place; deleted with nothing taken away.
    stage.attempt("one").await;
    stage.delete("one").await;
    stage.flush().await;
    let left = stage.secret_data(&target("one")).await;
    assert_eq!(left.keys().collect::<Vec<_>>(), ["ours", "password"]);
    assert!(stage.squadcast.is_good(&left["ours"]));
}

#[tokio::test]
async fn a_withdrawn_permission_ends_merging_and_leaves_the_keys() {
    let stage = Stage::new("merge-withdrawn").await;
    stage.foreign("one", json!({ ALLOW: "one" })).await;
    stage.resource_with("one", json!({ "creationPolicy": "Merge" })).await;
    stage.settled("one").await;
    stage.edit(&target("one"), json!({ "metadata": { "annotations": { ALLOW: null } } })).await;
    stage
        .wait_status("one", "MergeNotAllowed", |r| conditions(r).contains("Stalled=True MergeNotAllowed"))
        .await;
    stage.flush().await;
    assert_eq!(
        keys(&stage.secret(&target("one")).await.unwrap()),
        ["access_token", "expires_at", "issued_at", "password", "token_type"]
    );
}

#[tokio::test]
async fn a_merged_token_counts_while_its_secret_cannot_be_written() {
    let stage = Stage::new("immutable-merge").await;
    stage.foreign("one", json!({ ALLOW: "one" })).await;
    stage.resource_with("one", json!({ "creationPolicy": "Merge" })).await;
    stage.settled("one").await;
    stage.edit(&target("one"), json!({ "immutable": true })).await;
    let held = "Ready=True TokenValid, Synced=False TargetImmutable, Stalled=True TargetImmutable";
    stage.wait_conditions("one", held).await;
    assert_eq!(stage.exchanges("one"), 1);
}
