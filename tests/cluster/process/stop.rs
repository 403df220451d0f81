//! How the process stops: what is in flight ends well, and nothing more begins.

use crate::{
    OPERATOR,
    support::{
        DEADLINE, eventually,
        squadcast::{Gate, Reply},
        world::World,
    },
};

#[tokio::test]
async fn sigterm_ends_an_idle_process_with_0() {
    let world = World::new("idle").await;
    for signal in ["TERM", "INT"] {
        let operator = world.operator(OPERATOR, &[]).await;
        operator.signal(signal);
        assert_eq!(operator.wait_exit(DEADLINE).await, 0, "SIG{signal}");
    }
}

#[tokio::test]
async fn sigterm_lets_an_exchange_in_flight_finish_and_begins_no_other() {
    let world = World::new("term").await;
    let gate = Gate::new();
    world.squadcast.script("rt-term", Reply::token().hold(&gate));
    world.put_secret("source", &[("refresh_token", "rt-term")]).await;
    world.refresh_token("late", "rt-late").await;
    let operator = world.operator(OPERATOR, &[]).await;
    world.credential("x", "source", "target").await;
    world.squadcast.wait_for_count("rt-term", 1, DEADLINE).await;

    operator.sigterm();
    operator.wait_for_log("SIGTERM").await;
    world.credential("late", "late", "late-token").await;
    assert_eq!(operator.exit_code(), None);
    assert_eq!(operator.get("/livez").unwrap().0, 200);
    gate.release();
    assert_eq!(operator.wait_exit(DEADLINE).await, 0);

    let minted = world.squadcast.minted("rt-term");
    assert_eq!(minted.len(), 1);
    assert_eq!(world.secret_data("target").await["access_token"], minted[0].access_token);
    world.wait_ready("x").await;
    assert_eq!(world.event_reasons("x").await, ["TokenIssued"]);
    assert_eq!(world.squadcast.count("rt-late"), 0);
}

#[tokio::test]
async fn sigterm_waits_for_no_exchange_that_has_not_begun() {
    let world = World::new("sigterm-backlog").await;
    let operator = world.operator(OPERATOR, &["--exchange-rate=1", "--exchange-concurrency=1"]).await;
    for n in 0..40 {
        let (source, target) = (format!("source-{n}"), format!("target-{n}"));
        world.refresh_token(&source, &format!("rt-{n}")).await;
        world.credential(&format!("x-{n}"), &source, &target).await;
    }
    let begun = || (0..40).map(|n| world.squadcast.count(&format!("rt-{n}"))).sum::<usize>();
    eventually("some exchanges", DEADLINE, async || begun() >= 2).await;
    operator.sigterm();
    operator.wait_for_log("SIGTERM").await;
    let before = begun();
    assert_eq!(operator.wait_exit(DEADLINE).await, 0);
    assert!(begun() <= before + 1, "{before}, then {}", begun());
    assert!(!operator.log().contains("are dropped"), "{}", operator.log());
}
