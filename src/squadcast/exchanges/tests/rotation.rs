//! A refresh token that an answer replaces: who is served by it, and what waits until it is written back.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_rotated_token_serves_its_holders_too() {
    let world = World::open([Script::Rotate("token b")]);
    assert_eq!(world.ask(A).await, "access 1 -> token b");
    assert_eq!(world.ask(EARLIER).await, "access 1 -> token b");
    assert_eq!(world.ask(Who { token: "token b", ..EARLIER }).await, "access 1");
    assert_eq!(*world.fake.hooks.lock().unwrap(), ["us success", "us rotated"]);
    // Nobody writes back: the old one goes on being used.
    assert_eq!(world.ask(Who { not_before: 1, ..A }).await, "access 2");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_until_a_rotated_token_is_written_back() {
    let world = Arc::new(World::open([Script::Rotate("token b")]));
    assert_eq!(world.ask(Who { hold: true, ..A }).await, "access 1 -> token b");
    pass(1).await;
    let waiting = world.begin(A).await;
    assert_eq!(world.ask(EARLIER).await, "access 1 -> token b");
    assert!(!waiting.is_finished());
    world.written_back("token a");
    // What it read may be what has been replaced; where it is not, it is sent.
    assert_eq!(waiting.await.unwrap(), "replaced");
    assert_eq!(world.sent().len(), 1);
    assert_eq!(world.ask(A).await, "access 2");
}

#[tokio::test(start_paused = true)]
async fn a_write_back_that_takes_long_is_handed_on() {
    let world = Arc::new(World::open([Script::Rotate("token b")]));
    let writer = Who { hold: true, ..A };
    assert_eq!(world.ask(writer).await, "access 1 -> token b");
    pass(1).await;
    assert_eq!(world.ask(writer).await, "pending access 1 -> token b");
    pass(3600).await;
    assert_eq!(world.ask(writer).await, "pending access 1 -> token b");
    assert_eq!(world.ask(EARLIER).await, "pending access 1 -> token b");
    assert_eq!(world.sent().len(), 1);
    world.written_back("token a");
    assert_eq!(world.ask(A).await, "access 2");
    // Nobody that writes back has asked for hours: they are gone.
    let world = World::open([Script::Rotate("token b")]);
    assert_eq!(world.ask(writer).await, "access 1 -> token b");
    pass(7201).await;
    assert_eq!(world.ask(A).await, "access 2");
}

#[tokio::test(start_paused = true)]
async fn a_write_back_is_due_whoever_made_the_request() {
    let world = Arc::new(World::shut());
    world.fake.script.lock().unwrap().push_back(Script::Rotate("token b"));
    let (leader, writer) = (world.begin(A).await, world.begin(Who { hold: true, ..A }).await);
    writer.abort();
    world.open_doors(9);
    assert_eq!(leader.await.unwrap(), "access 1 -> token b");
    pass(11).await;
    assert_eq!(world.ask(A).await, "pending access 1 -> token b");
    // And where it gets the answer only later.
    let world = World::open([Script::Rotate("token b")]);
    assert_eq!(world.ask(A).await, "access 1 -> token b");
    pass(11).await;
    assert_eq!(world.ask(Who { hold: true, ..EARLIER }).await, "access 1 -> token b");
    pass(11).await;
    assert_eq!(world.ask(A).await, "pending access 1 -> token b");
}

/// A write-back that has begun, one whose request is under way, and one that waits for its turn behind that.
async fn a_write_back_while_one_waits_for_its_turn() -> (Arc<World>, JoinHandle<String>, JoinHandle<String>) {
    let rate = Rate { per_second: 10.0, in_flight: 1 };
    let world = Arc::new(World::new(Some(1), rate, [Script::Rotate("token b")]));
    assert_eq!(world.ask(A).await, "access 1 -> token b");
    pass(1).await;
    let other = world.begin(Who { token: "token c", ..A }).await;
    let about_to_send = world.begin(A).await;
    assert_eq!(world.ask(Who { hold: true, ..EARLIER }).await, "access 1 -> token b");
    (world, other, about_to_send)
}

#[tokio::test(start_paused = true)]
async fn a_write_back_that_begins_stops_what_is_about_to_be_sent() {
    let (world, other, about_to_send) = a_write_back_while_one_waits_for_its_turn().await;
    world.open_doors(9);
    assert_eq!(other.await.unwrap(), "access 2");
    settle().await;
    assert_eq!(world.sent(), ["token a", "token c"]);
    world.written_back("token a");
    assert_eq!(about_to_send.await.unwrap(), "replaced");
    assert_eq!(world.ask(A).await, "access 3");
}

#[tokio::test(start_paused = true)]
async fn what_was_read_before_a_write_back_ended_is_read_again() {
    let world = World::open([Script::Rotate("token b")]);
    assert_eq!(world.ask(Who { hold: true, ..A }).await, "access 1 -> token b");
    let since = Some(world.exchanges.moment());
    world.written_back("token a");
    pass(1).await;
    // An answer that is good enough is one still.
    assert_eq!(world.ask(Who { since, ..EARLIER }).await, "access 1 -> token b");
    assert_eq!(world.ask(Who { since, ..A }).await, "replaced");
    assert_eq!(world.sent(), ["token a"]);
    // Nobody has written into other Secrets, nor of other refresh tokens.
    assert_eq!(world.ask(Who { since, source: "two", ..A }).await, "access 2");
    assert_eq!(world.ask(Who { since, token: "token c", ..A }).await, "access 3");
    // Somebody has stored it again.
    assert_eq!(world.ask(Who { not_before: 1, ..A }).await, "access 4");
}

/// However late one of them comes to ask: else each would wait for the write-back of the one before.
#[tokio::test(start_paused = true)]
async fn all_who_are_told_of_a_write_back_share_what_comes_next() {
    let world = World::open([Script::Rotate("token b"), Script::Rotate("token c")]);
    let writer = Who { hold: true, ..A };
    assert_eq!(world.ask(writer).await, "access 1 -> token b");
    let before = world.exchanges.moment();
    pass(1).await;
    world.written_back("token a");
    let told = world.ask_if(Who { since: Some(before), ..writer }, || true).await;
    let Outcome::Replaced(since) = told else { panic!("{}", show(&told)) };
    let late = Who { token: "token b", since: Some(since), not_before: 60, ..writer };
    assert_eq!(world.ask(late).await, "access 2 -> token c");
    pass(1).await;
    assert_eq!(world.ask(late).await, "access 2 -> token c");
    world.written_back("token b");
    pass(1).await;
    assert_eq!(world.ask(late).await, "access 2 -> token c");
    assert_eq!(world.ask(Who { token: "token c", ..late }).await, "access 2");
    assert_eq!(world.sent(), ["token a", "token b"]);
}

#[tokio::test(start_paused = true)]
async fn each_secret_of_a_replaced_refresh_token_is_written_back_for_itself() {
    let world = Arc::new(World::open([Script::Rotate("token b")]));
    let (writer, second) = (Who { hold: true, ..A }, Who { source: "two", ..A });
    let of = |outcome| match outcome {
        Outcome::Granted { duty: Some(duty), .. } => duty,
        other => panic!("{}", show(&other)),
    };
    let one = of(world.ask_if(writer, || true).await);
    let two = of(world.ask_if(Who { hold: true, not_before: -60, ..second }, || true).await);
    let later = Some(world.exchanges.moment());
    pass(1).await;
    let waiting = world.begin(second).await;
    one.done();
    settle().await;
    assert!(!waiting.is_finished());
    assert_eq!(world.exchanges.unsaved(), [reader_of("two")]);
    // That one of them does not hold it any more is known at once, whatever the other one waits for.
    assert_eq!(world.ask(Who { since: later, ..A }).await, "replaced");
    // Whose reconcile is dropped leaves it to the next one of that Secret.
    let (sent, next) = (two.sent(), reader_of("next"));
    for place in ["one", "two", "three"] {
        assert!(world.exchanges.left_behind(sent, &source(place), &next).is_none(), "somebody is at it");
    }
    drop(two);
    let (_, two) = world.exchanges.left_behind(sent, &source("two"), &next).unwrap();
    assert_eq!(world.exchanges.unsaved(), std::slice::from_ref(&next));
    drop(two);
    // Whoever has moved to another Secret with the same refresh token takes it along.
    let (_, three) = world.exchanges.left_behind(sent, &source("three"), &next).unwrap();
    let (_, two) = world.exchanges.left_behind(sent, &source("two"), &next).unwrap();
    three.done();
    assert!(!waiting.is_finished());
    two.done();
    assert_eq!(waiting.await.unwrap(), "replaced");
    assert!(world.exchanges.unsaved().is_empty());
    assert_eq!(world.ask(A).await, "access 2");
}

#[tokio::test(start_paused = true)]
async fn a_write_back_that_comes_and_goes_stops_what_waits_for_its_turn() {
    let (world, other, about_to_send) = a_write_back_while_one_waits_for_its_turn().await;
    world.written_back("token a");
    // However long that takes.
    pass(100).await;
    world.open_doors(9);
    assert_eq!(other.await.unwrap(), "access 2");
    assert_eq!(about_to_send.await.unwrap(), "replaced");
    assert_eq!(world.sent(), ["token a", "token c"]);
    // Then nothing is remembered of it.
    pass(100).await;
    assert_eq!(world.exchanges.0.board().len(), 0);
}
