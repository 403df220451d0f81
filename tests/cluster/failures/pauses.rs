//! When the next attempt comes: as Squadcast asks, or doubling, and for all who share a refresh token or a region.

use futures::future::join_all;
use serde_json::json;

use super::{all_false, unsynced};
use crate::{
    steps::{Stage, assert_backed_off, conditions, failures, instant, message, source, spec, wait_of},
    support::{
        DEADLINE, Reply, Script, eventually,
        eventually::unless,
        squadcast::http_date,
        world::{REGION, World},
    },
};

#[tokio::test]
async fn a_pause_that_squadcast_asks_for_is_kept() {
    // A region for each: three refresh tokens that are told to wait would hold back their region.
    let world = World::new("pause").await;
    let names = ["seconds", "zero", "endless", "none", "garbage", "date", "past", "held"];
    let flags: Vec<_> = names.map(|name| format!("--region={name}={}", world.squadcast.url())).into();
    let stage = Stage::with(world, &flags).await;
    let start = jiff::Timestamp::now().as_second();
    let told = |value: &str| Script::from(Reply::error(429).retry_after(value));
    let scripts: [Script; 8] = [
        told("700"),
        told("0"),
        told("86400"),
        Reply::error(429).into(),
        told("soon"),
        told(&http_date(start + 1000)),
        told(&http_date(start - 1000)),
        Script::of([Reply::token().life(2000), Reply::error(429).retry_after("3600")]),
    ];
    let stage = &stage;
    join_all(names.into_iter().zip(scripts).map(async |(name, script)| {
        stage.source(name, script).await;
        let mut spec = spec(name, json!({}));
        spec["region"] = name.into();
        stage.apply(name, spec).await;
        if name == "held" {
            stage.settled(name).await;
            let resource = stage.attempt(name).await;
            assert_eq!(conditions(&resource), unsynced("RateLimited"));
            let left =
                instant(&resource, "expiresAt").as_second() - instant(&resource, "lastFailureAt").as_second();
            let wait = wait_of(&resource);
            assert!((left / 2 - 1..=left / 2).contains(&wait), "{wait} of {left}");
            return;
        }
        let resource = stage.wait_conditions(name, &all_false("RateLimited")).await;
        assert!(message(&resource, "Synced").contains("HTTP 429"), "{}", message(&resource, "Synced"));
        match name {
            "seconds" => assert_eq!(wait_of(&resource), 700),
            "endless" => assert_eq!(wait_of(&resource), 3600),
            "zero" | "past" => assert_eq!(wait_of(&resource), 1),
            "date" => {
                let wait = wait_of(&resource);
                assert!(100 < wait && wait <= 1000, "{wait}");
                let next = instant(&resource, "nextAttemptAt").as_second();
                assert!(next >= start + 999, "{next} is before the date that was given");
            }
            _ => assert_backed_off(&resource, 300),
        }
    }))
    .await;
    assert_eq!(stage.exchanges("seconds"), 1);
}

#[tokio::test]
async fn three_refresh_tokens_that_are_told_to_wait_hold_back_the_region() {
    let stage = Stage::new("region-pause").await;
    for name in ["one", "two", "three"] {
        stage.resource(name, Reply::error(429).retry_after("900")).await;
        stage.wait_conditions(name, &all_false("RateLimited")).await;
    }
    stage.resource("four", Reply::token()).await;
    let resource = stage.wait_conditions("four", &all_false("RateLimited")).await;
    let wait = wait_of(&resource);
    assert!(60 < wait && wait <= 900, "{wait}");
    assert!(message(&resource, "Synced").contains(REGION), "{}", message(&resource, "Synced"));
    assert_eq!(stage.exchanges("four"), 0, "nothing was sent for it");
}

#[tokio::test]
async fn back_off_doubles_and_is_one_for_all_resources_of_a_refresh_token() {
    let stage = Stage::new("back-off").await;
    let names = ["a", "b", "c", "d", "e"];
    let waits = join_all(names.map(async |name| {
        stage.resource(name, Reply::error(503)).await;
        let mut resource = stage.wait_conditions(name, &all_false("ServiceUnavailable")).await;
        while failures(&resource) < 8 {
            resource = stage.attempt(name).await;
            assert_backed_off(&resource, 300);
        }
        wait_of(&resource)
    }))
    .await;
    assert!(waits.iter().any(|wait| *wait != waits[0]), "different refresh tokens spread: {waits:?}");

    // Another resource of `a`'s refresh token waits as long for as many failures.
    let mut spec = spec("a2", json!({}));
    spec["refreshTokenSecretRef"]["name"] = source("a").into();
    stage.apply("a2", spec).await;
    let mut resource = stage.wait_conditions("a2", &all_false("ServiceUnavailable")).await;
    while failures(&resource) < 8 {
        resource = stage.attempt("a2").await;
    }
    assert_eq!(wait_of(&resource), waits[0]);
    eventually("one event for one reason", DEADLINE, async || {
        let reasons = stage.event_reasons("a").await;
        unless(reasons == ["ServiceUnavailable"], reasons)
    })
    .await;
}

#[tokio::test]
async fn retries_stay_close_while_little_life_is_left() {
    let stage = Stage::new("little-life").await;
    let script = |life| Script::of([Reply::token().life(life), Reply::error(503)]);
    stage.resource("little", script(850)).await;
    stage.resource("much", script(90_000)).await;
    join_all([("little", 30), ("much", 300)].map(async |(name, cap)| {
        stage.settled(name).await;
        // A retry of its own may come in between.
        let mut count = 0;
        while count < 8 {
            let resource = stage.attempt(name).await;
            assert!(failures(&resource) > count, "{}", resource["status"]);
            count = failures(&resource);
            assert!(stage.exchanges(name) > usize::try_from(count).unwrap(), "each counted once");
            assert_eq!(conditions(&resource), unsynced("ServiceUnavailable"));
            assert_backed_off(&resource, cap);
        }
    }))
    .await;
}

#[tokio::test]
async fn count_and_next_attempt_hold_across_a_restart() {
    let mut stage = Stage::new("back-off-restart").await;
    stage.resource("one", Script::of([Reply::token(), Reply::error(500)])).await;
    stage.settled("one").await;
    let mut before = stage.attempt("one").await;
    while failures(&before) < 3 {
        before = stage.attempt("one").await;
    }
    let (next, count) = (instant(&before, "nextAttemptAt"), failures(&before));
    let sent = usize::try_from(count).unwrap() + 1;
    assert_eq!(stage.exchanges("one"), sent);
    stage.restart(async |_| ()).await;
    stage.squadcast.wait_for_count("rt-one", sent + 1, DEADLINE).await;
    let came = stage.squadcast.requests("rt-one")[sent].wall;
    let due: std::time::SystemTime = next.into();
    assert!(came >= due, "tried {:?} too early", due.duration_since(came));
    let after = stage.wait_status("one", "another failure", |r| failures(r) == count + 1).await;
    assert_eq!(conditions(&after), unsynced("ServiceUnavailable"));
    assert_backed_off(&after, 300);
}
