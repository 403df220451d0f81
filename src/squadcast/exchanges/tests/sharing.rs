//! Those who ask for the same at a time share one request and its answer.

use super::*;

#[tokio::test(start_paused = true)]
async fn those_who_ask_meanwhile_share() {
    let world = Arc::new(World::shut());
    let tasks = [world.begin(A).await, world.begin(A).await, world.begin(EARLIER).await];
    world.open_doors(9);
    for task in tasks {
        assert_eq!(task.await.unwrap(), "access 1");
    }
    assert_eq!(*world.fake.hooks.lock().unwrap(), ["us success"]);
}

#[tokio::test(start_paused = true)]
async fn one_of_those_who_share_made_the_request() {
    let world = World::new(None, Rate { per_second: 10.0, in_flight: 1 }, []);
    let all = [A, A, EARLIER].map(|who| world.ask_if(who, || true));
    let outcomes = futures::future::join_all(all).await;
    let own = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Granted { own: true, .. }));
    assert_eq!((own.count(), world.sent().len()), (1, 1));
    let later = world.ask_if(EARLIER, || true).await;
    assert!(matches!(later, Outcome::Granted { own: false, .. }));
}

#[tokio::test(start_paused = true)]
async fn other_tokens_and_regions_do_not_share() {
    let world = World::open([]);
    assert_eq!(world.ask(A).await, "access 1");
    assert_eq!(world.ask(Who { token: "token b", ..EARLIER }).await, "access 2");
    assert_eq!(world.ask(Who { region: "eu", ..EARLIER }).await, "access 3");
}

#[tokio::test(start_paused = true)]
async fn an_answer_requested_too_early_is_not_good_enough() {
    let world = Arc::new(World::shut());
    let first = world.begin(A).await;
    pass(1).await;
    let late = [world.begin(A).await, world.begin(A).await];
    world.open_doors(1);
    assert_eq!(first.await.unwrap(), "access 1");
    world.open_doors(1);
    for task in late {
        assert_eq!(task.await.unwrap(), "access 2");
    }
}

#[tokio::test(start_paused = true)]
async fn answers_are_good_for_half_a_minute() {
    for script in [Script::Grant, Script::Fail(Reason::RefreshTokenRejected, None)] {
        let world = World::open([script]);
        let first = world.ask(A).await;
        pass(29).await;
        assert_eq!(world.ask(EARLIER).await, first);
        pass(1).await;
        assert_eq!(world.ask(EARLIER).await, "access 2");
        assert_eq!(world.ask(Who { not_before: -10, ..A }).await, "access 2");
    }
}

#[tokio::test(start_paused = true)]
async fn answers_are_forgotten_without_being_asked_for() {
    let world = World::open([]);
    assert_eq!(world.ask(A).await, "access 1");
    assert_eq!(world.ask(Who { token: "token b", ..A }).await, "access 2");
    assert_eq!(world.exchanges.0.board().len(), 2);
    pass(32).await;
    assert_eq!(world.exchanges.0.board().len(), 0);
    assert!(!world.exchanges.0.board().is_swept);
}

#[tokio::test(start_paused = true)]
async fn a_demand_from_the_future_is_met_by_what_is_requested_after_it() {
    let world = World::open([]);
    assert_eq!(world.ask(Who { not_before: 3600, ..A }).await, "access 1");
    assert_eq!(world.ask(Who { not_before: 3600, ..A }).await, "access 2");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_gives_up_strands_nobody() {
    // Before the request is sent: others send it.
    let rate = Rate { per_second: 10.0, in_flight: 1 };
    let world = Arc::new(World::new(Some(0), rate, []));
    let other = world.begin(Who { token: "token b", ..A }).await;
    let (leader, follower) = (world.begin(A).await, world.begin(A).await);
    leader.abort();
    world.open_doors(2);
    assert_eq!(other.await.unwrap(), "access 1");
    assert_eq!(follower.await.unwrap(), "access 2");
    // After that: its answer comes nevertheless.
    let world = Arc::new(World::shut());
    let (leader, follower) = (world.begin(A).await, world.begin(A).await);
    leader.abort();
    settle().await;
    world.open_doors(1);
    assert_eq!(follower.await.unwrap(), "access 1");
    assert_eq!(world.sent().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_wanted_is_not_sent() {
    let rate = Rate { per_second: 1.0, in_flight: 1 };
    let world = Arc::new(World::new(None, rate, []));
    assert_eq!(show(&world.ask_if(A, || false).await), "not wanted");
    assert!(world.sent().is_empty());
    // It has used up nothing, and others go on.
    assert_eq!(world.ask(A).await, "access 1");
    assert!(world.fake.sent.lock().unwrap()[0].0 < 0.1);
}

#[tokio::test(start_paused = true)]
async fn futures_and_exchanges_go_between_threads() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let world = World::open([]);
    assert_eq!(is_send(world.ask(A)).await, "access 1");
    is_send(world.exchanges.clone());
}
