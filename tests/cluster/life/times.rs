//! When a token is renewed and when it expires.

use serde_json::json;

use super::{create, full_cycle, names, renews_after, seconds, spec, time};
use crate::{
    OPERATOR,
    support::{
        DEADLINE, eventually,
        eventually::unless,
        squadcast::{Reply, Script},
        world::{World, condition},
    },
};

#[tokio::test]
async fn renewal_is_due_when_the_spec_says_and_spread_by_the_refresh_token() {
    let world = World::new("when").await;
    let hour = 3600;
    for (name, more) in [
        ("plain", json!({})),
        ("before", json!({"renewBefore": "12h"})),
        ("minutes", json!({"renewBefore": "1h30m"})),
        ("share", json!({"renewBeforePercentage": 25})),
        ("most", json!({"renewBeforePercentage": 99})),
    ] {
        create(&world, name, Reply::token(), &more).await;
    }
    for number in 0..6 {
        create(&world, &format!("s{number}"), Reply::token(), &json!({})).await;
    }
    // A second one with the refresh token of the first.
    world.put_secret("twin-source", &[("refresh_token", "rt-s0")]).await;
    world.apply("twin", spec("twin", &json!({}))).await;

    let _operator = world.operator(OPERATOR, &[]).await;
    for (name, base) in [
        ("plain", 32 * hour),
        ("before", 36 * hour),
        ("minutes", 48 * hour - 5400),
        ("share", 36 * hour),
        ("most", 48 * hour / 100),
    ] {
        let resource = world.wait_ready(name).await;
        assert_eq!(seconds(&resource, "issuedAt", "expiresAt"), 48 * hour);
        renews_after(&resource, base);
    }
    let mut offsets = Vec::new();
    for number in 0..6 {
        let resource = world.wait_ready(&format!("s{number}")).await;
        renews_after(&resource, 32 * hour);
        offsets.push(seconds(&resource, "issuedAt", "renewAt"));
    }
    let twin = world.wait_ready("twin").await;
    assert_eq!(seconds(&twin, "issuedAt", "renewAt"), offsets[0], "one refresh token, one share");
    let spread = offsets.iter().max().unwrap() - offsets.iter().min().unwrap();
    assert!(spread > hour / 2, "{offsets:?}");
}

#[tokio::test]
async fn a_renew_before_that_is_not_shorter_than_the_life_is_warned_of_once() {
    let world = World::new("long").await;
    let _operator = world.operator(OPERATOR, &[]).await;
    create(&world, "x", Reply::token().life(3600), &json!({"renewBefore": "1h"})).await;
    let resource = world.wait_ready("x").await;
    renews_after(&resource, 2400);
    let warnings = async || {
        let events = world.events("x").await;
        events.into_iter().filter(|event| event.type_.as_deref() == Some("Warning")).collect::<Vec<_>>()
    };
    let warning = eventually("a warning", DEADLINE, async || warnings().await.pop()).await;
    assert!(warning.note.clone().unwrap().contains("renewBefore"), "{warning:?}");

    let request = json!({"metadata": {"annotations": {"credentials.squadcast.com/renew-requested-at": "1"}}});
    world.patch("x", request).await;
    eventually("the request to be handled", DEADLINE, async || {
        let status = world.get("x").await.unwrap()["status"].clone();
        unless(status["lastHandledRenewRequest"] == "1", status)
    })
    .await;
    eventually("the renewal's event", DEADLINE, async || {
        world.event_reasons("x").await.iter().any(|reason| reason == "TokenRenewed")
    })
    .await;
    full_cycle(&world, "other").await;
    assert_eq!(warnings().await.len(), 1);
}

#[tokio::test]
async fn ready_turns_false_when_the_token_expires_and_not_before() {
    let world = World::new("expiry").await;
    let _operator = world.operator(OPERATOR, &[]).await;
    // A rejection is tried again after a minute, so that nothing but expiry itself is due at expiry.
    for (name, error, reason) in [("no", 400, "RequestRejected"), ("down", 503, "ServiceUnavailable")] {
        let answers = Script::first([Reply::token().life(20)]).then(Reply::error(error));
        create(&world, name, answers, &json!({})).await;
        let ready = world.wait_ready(name).await;
        assert_eq!(seconds(&ready, "issuedAt", "expiresAt"), 20, "{reason}");
    }
    for (name, reason) in [("no", "RequestRejected"), ("down", "ServiceUnavailable")] {
        let failing = world.wait_for(name, "Synced", "False", reason).await;
        let expired = world.wait_for(name, "Ready", "False", reason).await;
        let end = time(&failing["status"]["expiresAt"]);
        let turned = time(&condition(&expired, "Ready").unwrap()["lastTransitionTime"]);
        let late = turned.as_second() - end.as_second();
        assert!((0..15).contains(&late), "{name}: {late} s after expiry: {}", expired["status"]);
        let failed = time(&condition(&expired, "Synced").unwrap()["lastTransitionTime"]);
        assert!(failed <= turned, "{name}: {}", expired["status"]);
        assert_eq!(expired["status"]["expiresAt"], failing["status"]["expiresAt"]);
        // The Secret stays as it was.
        let minted = world.squadcast.minted(&names(name).2);
        let data = world.secret_data(&names(name).1).await;
        assert_eq!(data["access_token"], minted[0].access_token);
    }
}
