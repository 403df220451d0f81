//! Exchanges that are shared, and the limits of a region.

use futures::future::join_all;
use serde_json::json;

use crate::{
    steps::{Stage, source, spec, target},
    support::{DEADLINE, Gate, Reply, eventually, world::World},
};

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("s{number}")).collect()
}

/// So many resources that all read the source of `one`.
async fn crowd(stage: &Stage, count: usize) -> Vec<String> {
    let names = names(count);
    join_all(names.iter().map(async |name| {
        let mut spec = spec(name, json!({}));
        spec["refreshTokenSecretRef"]["name"] = source("one").into();
        stage.apply(name, spec).await;
    }))
    .await;
    names
}

#[tokio::test]
async fn sixty_resources_of_one_refresh_token_cost_one_exchange() {
    let stage = Stage::new("sixty").await;
    let gate = Gate::new();
    stage.source("one", Reply::token().hold(&gate)).await;
    let names = crowd(&stage, 60).await;
    gate.release();
    join_all(names.iter().map(async |name| stage.settled(name).await)).await;
    assert_eq!(stage.exchanges("one"), 1);
    let token = stage.squadcast.minted("rt-one")[0].access_token.clone();
    for name in &names {
        assert_eq!(stage.secret_data(&target(name)).await["access_token"], token);
    }
    // Whoever asks for another gets another; nobody else does.
    stage.attempt("s7").await;
    stage.flush().await;
    assert_eq!(stage.exchanges("one"), 2);
    assert_eq!(stage.written("s8").await.0, token);
}

#[tokio::test]
async fn a_revoked_refresh_token_used_by_sixty_resources_costs_one_request() {
    let stage = Stage::new("sixty-revoked").await;
    let gate = Gate::new();
    stage.source("one", Reply::error(401).hold(&gate)).await;
    let names = crowd(&stage, 60).await;
    gate.release();
    let stalled = "Ready=False RefreshTokenRejected, Synced=False RefreshTokenRejected, \
                   Stalled=True RefreshTokenRejected";
    join_all(names.iter().map(async |name| stage.wait_conditions(name, stalled).await)).await;
    stage.flush().await;
    assert_eq!(stage.exchanges("one"), 1);
}

#[tokio::test]
async fn one_refresh_token_in_two_regions_is_exchanged_in_each() {
    let world = World::new("two-regions").await;
    let flags = [format!("--region=other={}", world.squadcast.url())];
    let stage = Stage::with(world, &flags).await;
    stage.resource("one", Reply::token()).await;
    let mut other = spec("two", json!({}));
    other["region"] = "other".into();
    other["refreshTokenSecretRef"]["name"] = source("one").into();
    stage.apply("two", other).await;
    stage.settled("one").await;
    stage.settled("two").await;
    assert_eq!(stage.exchanges("one"), 2);
}

#[tokio::test]
async fn no_more_than_allowed_are_in_flight_and_another_region_does_not_wait() {
    let world = World::new("in-flight").await;
    let flags = [format!("--region=other={}", world.squadcast.url()), "--exchange-concurrency=2".to_owned()];
    let stage = Stage::with(world, &flags).await;
    let gate = Gate::new();
    let names = names(8);
    for name in &names {
        stage.resource(name, Reply::token().hold(&gate)).await;
    }
    let arrived = || stage.squadcast.all_requests().len();
    eventually("two requests", DEADLINE, async || arrived() == 2).await;
    stage.source("elsewhere", Reply::token()).await;
    let mut elsewhere = spec("elsewhere", json!({}));
    elsewhere["region"] = "other".into();
    stage.apply("elsewhere", elsewhere).await;
    stage.settled("elsewhere").await;
    // Nor does work that needs no exchange.
    stage.credential("sourceless", "nothing", "sourceless").await;
    let missing = "Ready=False RefreshTokenSecretNotFound, Synced=False RefreshTokenSecretNotFound";
    stage.wait_conditions("sourceless", missing).await;
    assert_eq!(arrived(), 3);
    gate.release();
    join_all(names.iter().map(async |name| stage.settled(name).await)).await;
    assert!(stage.squadcast.most_in_flight() <= 3, "{}", stage.squadcast.most_in_flight());
    assert_eq!(arrived(), 9);
}

#[tokio::test]
async fn what_changes_while_an_exchange_waits_for_its_turn_is_not_forgotten() {
    let flags = ["--exchange-rate=1", "--exchange-concurrency=1"].map(str::to_owned);
    let stage = Stage::with(World::new("waits-turn").await, &flags).await;
    let gate = Gate::new();
    stage.resource("holds", Reply::token().hold(&gate)).await;
    stage.squadcast.wait_for_count("rt-holds", 1, DEADLINE).await;
    let names = names(8);
    for name in &names {
        stage.resource(name, Reply::token()).await;
    }
    noticed(&stage, "marker-1").await;
    for (number, name) in names.iter().enumerate() {
        // The change that matters, and at once one that does not: the second wakes a reconcile that has just begun.
        stage.refresh_token(&source(name), &format!("rt-{name}-next")).await;
        let label = json!({ "metadata": { "labels": { "touched": "yes" } } });
        if number % 2 == 0 {
            stage.patch(name, label).await;
        } else {
            let params = kube::api::PatchParams::default();
            stage.secrets().patch(&source(name), &params, &kube::api::Patch::Merge(label)).await.unwrap();
        }
    }
    noticed(&stage, "marker-2").await;
    gate.release();
    for name in &names {
        stage.settled(name).await;
        let (token, good) = stage.written(name).await;
        let minted = stage.squadcast.minted_as(&token).unwrap();
        assert_eq!((minted.refresh_token, good), (format!("rt-{name}-next"), true), "{name}");
        assert_eq!(stage.exchanges(name), 0, "{name}: the former value was not sent any more");
        assert_eq!(stage.squadcast.count(&format!("rt-{name}-next")), 1, "{name}");
    }
}

#[tokio::test]
async fn one_that_is_suspended_while_its_exchange_waits_for_its_turn_costs_none() {
    let flags = ["--exchange-concurrency=1".to_owned()];
    let stage = Stage::with(World::new("waits-suspended").await, &flags).await;
    let gate = Gate::new();
    stage.resource("holds", Reply::token().hold(&gate)).await;
    stage.squadcast.wait_for_count("rt-holds", 1, DEADLINE).await;
    stage.resource("waits", Reply::token()).await;
    eventually("its refresh token to be read", DEADLINE, async || {
        let requests = stage.requests_of(&stage.operator);
        requests.iter().any(|r| r.verb == "get" && r.name == source("waits"))
    })
    .await;
    stage.patch("waits", json!({ "spec": { "suspend": true } })).await;
    noticed(&stage, "marker").await;
    gate.release();
    stage.wait_conditions("waits", "Ready=False Suspended, Synced=False Suspended").await;
    stage.flush().await;
    assert_eq!(stage.exchanges("waits"), 0, "nothing was sent for it");
}

/// Waits until the operator has seen everything up to now, on both watches and without an exchange.
async fn noticed(stage: &Stage, name: &str) {
    stage.apply(name, spec(name, json!({}))).await;
    stage.wait_for(name, "Synced", "False", "RefreshTokenSecretNotFound").await;
    stage.put_secret(&source(name), &[("no-token", "x")]).await;
    stage.wait_for(name, "Synced", "False", "RefreshTokenKeyNotFound").await;
}
