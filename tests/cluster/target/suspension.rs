//! A suspended resource: nothing is exchanged or written, and its status goes on telling the truth.

use serde_json::json;

use super::labels;
use crate::{
    steps::{Stage, instant, source, spec, target},
    support::{Reply, Script, world::condition},
};

#[tokio::test]
async fn a_suspended_resource_neither_exchanges_nor_writes_and_goes_on_when_resumed() {
    let stage = Stage::new("suspend").await;
    stage.resource("one", Reply::token()).await;
    stage.settled("one").await;
    let mut suspended = spec("one", json!({ "labels": { "late": "yes" } }));
    suspended["suspend"] = true.into();
    stage.apply("one", suspended).await;
    stage.wait_conditions("one", "Ready=True TokenValid, Synced=False Suspended").await;
    let request = stage.ask("one").await;
    stage.put_secret(&source("one"), &[("refresh_token", "rt-late")]).await;
    stage.squadcast.accept("rt-late");
    stage.flush().await;
    let secret = stage.secret(&target("one")).await.unwrap();
    assert!(!labels(&secret).contains_key("late"));
    stage.delete_secret(&target("one")).await;
    let resource = stage.wait_conditions("one", "Ready=False Suspended, Synced=False Suspended").await;
    assert!(resource["status"]["lastHandledRenewRequest"].is_null(), "{resource}");
    stage.flush().await;
    assert_eq!(stage.secret(&target("one")).await, None);
    assert_eq!((stage.exchanges("one"), stage.squadcast.count("rt-late")), (1, 0));

    stage.apply("one", spec("one", json!({ "labels": { "late": "yes" } }))).await;
    stage.settled("one").await;
    stage.handled("one", &request).await;
    assert_eq!(labels(&stage.secret(&target("one")).await.unwrap())["late"], "yes");
    assert_eq!((stage.exchanges("one"), stage.squadcast.count("rt-late")), (1, 1));
}

#[tokio::test]
async fn a_suspended_resource_keeps_in_mind_that_its_refresh_token_is_rejected() {
    let stage = Stage::new("suspend-rejected").await;
    stage.resource("one", Script::of([Reply::token(), Reply::error(401)])).await;
    stage.settled("one").await;
    stage.attempt("one").await;
    stage.attempt("one").await;
    let rejected = "Ready=False RefreshTokenRejected, Synced=False RefreshTokenRejected, Stalled=True RefreshTokenRejected";
    let resource = stage.wait_conditions("one", rejected).await;
    assert!(resource["status"]["renewAt"].is_null(), "nothing is renewed: {resource}");
    stage.patch("one", json!({ "spec": { "suspend": true } })).await;
    let suspended = "Ready=False Suspended, Synced=False Suspended, Stalled=True RefreshTokenRejected";
    stage.wait_conditions("one", suspended).await;
    stage.patch("one", json!({ "spec": { "suspend": false } })).await;
    stage.wait_conditions("one", rejected).await;
    assert_eq!(stage.exchanges("one"), 4);
    stage.squadcast.accept("rt-good");
    stage.refresh_token(&source("one"), "rt-good").await;
    stage.settled("one").await;
}

#[tokio::test]
async fn a_suspended_resource_tells_of_the_expiry() {
    let stage = Stage::new("suspend-expiry").await;
    stage.resource("one", Script::of([Reply::token().life(15), Reply::token()])).await;
    stage.settled("one").await;
    stage.patch("one", json!({ "spec": { "suspend": true } })).await;
    stage.wait_conditions("one", "Ready=True TokenValid, Synced=False Suspended").await;
    let expired = stage.wait_conditions("one", "Ready=False Suspended, Synced=False Suspended").await;
    let ready = condition(&expired, "Ready").unwrap();
    let turned: jiff::Timestamp = ready["lastTransitionTime"].as_str().unwrap().parse().unwrap();
    assert!(turned >= instant(&expired, "expiresAt"), "{expired}");
    assert_eq!(stage.exchanges("one"), 1);
    stage.patch("one", json!({ "spec": { "suspend": false } })).await;
    stage.settled("one").await;
}
