//! What asks for an exchange: a request, another refresh token, another region; and what does not.

use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use super::annotations;
use crate::{
    steps::{Stage, conditions, failures, instant, source, spec, target},
    support::{DEADLINE, Gate, Reply, Script, eventually, world::World},
};

#[tokio::test]
async fn a_renew_request_makes_one_exchange_and_is_echoed_whatever_comes_of_it() {
    let mut stage = Stage::new("renew-request").await;
    let gate = Gate::new();
    let script = Script::of([Reply::token(), Reply::token(), Reply::error(500), Reply::token().hold(&gate)]);
    stage.resource("one", script).await;
    stage.settled("one").await;
    let first = stage.attempt("one").await;
    assert_eq!(
        (conditions(&first).as_str(), stage.exchanges("one")),
        ("Ready=True TokenValid, Synced=True Synced", 2)
    );
    // The same value, and a restart, ask for nothing more.
    stage.patch("one", json!({ "metadata": { "labels": { "touched": "yes" } } })).await;
    stage.restart(async |_| ()).await;
    stage.flush().await;
    assert_eq!(stage.exchanges("one"), 2);
    let failed = stage.attempt("one").await;
    assert_eq!((failures(&failed), stage.squadcast.minted("rt-one").len()), (1, 2));
    assert!((3..=4).contains(&stage.exchanges("one")), "its retry may have begun");
    gate.release();
    // A new value overrides the back-off; whether that or the retry came first, one more exchange or two.
    let good = stage.attempt("one").await;
    assert_eq!(conditions(&good), "Ready=True TokenValid, Synced=True Synced");
    let last = stage.squadcast.minted("rt-one").pop().unwrap().access_token;
    assert_eq!(stage.written("one").await.0, last);
}

#[tokio::test]
async fn another_refresh_token_needs_an_exchange_and_a_touched_source_none() {
    let stage = Stage::new("source-change").await;
    stage.resource("one", Reply::token()).await;
    stage.settled("one").await;
    let value = |text: &str| json!({ "refresh_token": text });
    for body in [
        json!({ "metadata": { "labels": { "a": "b" }, "annotations": { "a": "b" } }, "stringData": value("rt-one") }),
        json!({ "stringData": { "refresh_token": "rt-one", "other": "1" } }),
        json!({ "stringData": { "refresh_token": " rt-one\n", "other": "2" } }),
    ] {
        stage.apply_secret(&source("one"), body).await;
        stage.flush().await;
    }
    // Deleted and made again with the same value.
    stage.delete_secret(&source("one")).await;
    stage.put_secret(&source("one"), &[("refresh_token", "rt-one")]).await;
    stage.settled("one").await;
    stage.flush().await;
    assert_eq!(stage.exchanges("one"), 1);

    let (former, _) = stage.written("one").await;
    let before = stage.secret(&target("one")).await.unwrap();
    stage.squadcast.accept("rt-other");
    stage.put_secret(&source("one"), &[("refresh_token", "rt-other")]).await;
    stage.wait_other_token("one", &former).await;
    let after = stage.secret(&target("one")).await.unwrap();
    let print = |s: &Secret| annotations(s)["credentials.squadcast.com/refresh-token-fingerprint"].clone();
    assert_ne!(print(&before), print(&after));
    assert_eq!(print(&after).len(), 16);
    assert_eq!(stage.squadcast.count("rt-other"), 1);
    // Another key of the same Secret, and another Secret.
    stage.put_secret(&source("one"), &[("refresh_token", "rt-other"), ("second", "rt-second")]).await;
    stage.squadcast.accept("rt-second");
    let mut moved = spec("one", json!({}));
    moved["refreshTokenSecretRef"]["key"] = "second".into();
    stage.apply("one", moved).await;
    stage.settled("one").await;
    assert_eq!((stage.squadcast.count("rt-other"), stage.squadcast.count("rt-second")), (1, 1));
}

#[tokio::test]
async fn another_region_needs_an_exchange_and_ends_ready_until_then() {
    let world = World::new("region-change").await;
    let flags = [format!("--region=other={}", world.squadcast.url())];
    let stage = Stage::with(world, &flags).await;
    stage.resource("one", Script::of([Reply::token(), Reply::error(503), Reply::token()])).await;
    stage.settled("one").await;
    let mut moved = spec("one", json!({}));
    moved["region"] = "other".into();
    stage.apply("one", moved).await;
    let down = "Ready=False ServiceUnavailable, Synced=False ServiceUnavailable";
    stage.wait_conditions("one", down).await;
    stage.settled("one").await;
    assert_eq!(stage.exchanges("one"), 3);
    // And back: the token of the first region has gone.
    stage.apply("one", spec("one", json!({}))).await;
    stage.settled("one").await;
    assert_eq!(stage.exchanges("one"), 4);
}

#[tokio::test]
async fn an_exchange_that_hangs_does_not_keep_ready_true_for_another_region() {
    let world = World::new("region-hang").await;
    let flags = [format!("--region=other={}", world.squadcast.url()), "--exchange-timeout=300s".to_owned()];
    let stage = Stage::with(world, &flags).await;
    let gate = Gate::new();
    stage.resource("one", Script::of([Reply::token(), Reply::token().hold(&gate)])).await;
    let issued = stage.settled("one").await;
    // Past the pause between two exchanges, the next one is made at once.
    let due = instant(&issued, "lastRenewedAt").as_second() + 7;
    eventually("the pause to end", DEADLINE, async || jiff::Timestamp::now().as_second() > due).await;
    let mut moved = spec("one", json!({}));
    moved["region"] = "other".into();
    stage.apply("one", moved).await;
    stage.squadcast.wait_for_count("rt-one", 2, DEADLINE).await;
    stage.wait_status("one", "Ready=False", |r| conditions(r).starts_with("Ready=False")).await;
    gate.release();
    stage.settled("one").await;
}
