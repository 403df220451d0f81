//! What an outage means for `Ready`: nothing while the token is good, and the end of it at its expiry.

use super::{all_false, unsynced};
use crate::{
    steps::{Stage, conditions, failures, instant},
    support::{DEADLINE, Gate, Reply, Script, eventually, world::World},
};

#[tokio::test]
async fn a_brief_outage_leaves_ready_true() {
    let stage = Stage::new("outage").await;
    let gate = Gate::new();
    let script = Script::of([Reply::token(), Reply::error(503), Reply::token().hold(&gate)]);
    stage.resource("one", script).await;
    let issued = stage.settled("one").await;
    let down = stage.attempt("one").await;
    assert_eq!(conditions(&down), unsynced("ServiceUnavailable"));
    gate.release();
    let up = stage.settled("one").await;
    let ready = |resource: &serde_json::Value| crate::support::world::condition(resource, "Ready").unwrap();
    assert_eq!(ready(&down), ready(&issued), "an outage is no event for Ready");
    assert_eq!(ready(&up), ready(&issued));
    assert_eq!(failures(&up), 0);
    assert_eq!(stage.exchanges("one"), 3);
    eventually("the events", DEADLINE, async || {
        stage.event_reasons("one").await == ["TokenIssued", "ServiceUnavailable", "TokenRenewed"]
    })
    .await;
}

#[tokio::test]
async fn an_outage_ends_ready_at_the_moment_of_expiry() {
    let stage = Stage::new("outage-expiry").await;
    stage.resource("one", Script::of([Reply::token().life(15), Reply::error(503)])).await;
    stage.settled("one").await;
    let gone = stage.wait_conditions("one", &all_false("ServiceUnavailable")).await;
    let ready = crate::support::world::condition(&gone, "Ready").unwrap();
    let turned: jiff::Timestamp = ready["lastTransitionTime"].as_str().unwrap().parse().unwrap();
    assert!(turned >= instant(&gone, "expiresAt"), "{ready}");
    assert!(!stage.written("one").await.0.is_empty(), "the Secret itself stays");
}

#[tokio::test]
async fn an_exchange_that_hangs_does_not_keep_ready_true_beyond_expiry() {
    let world = World::new("hang-expiry").await;
    let stage = Stage::with(world, &["--exchange-timeout=300s".to_owned()]).await;
    let gate = Gate::new();
    let script = Script::of([Reply::token().life(15), Reply::token().hold(&gate)]);
    stage.resource("one", script).await;
    stage.settled("one").await;
    stage.squadcast.wait_for_count("rt-one", 2, DEADLINE).await;
    stage.wait_status("one", "Ready=False", |r| conditions(r).starts_with("Ready=False")).await;
    stage.operator.wait_for_log("there is no usable token any more").await;
    gate.release();
    stage.settled("one").await;
    // Told when it happened, and not again with the answer.
    let told = stage.operator.log().matches("there is no usable token any more").count();
    assert_eq!(told, 1, "{}", stage.operator.log());
}
