//! How fast and in which order a region is asked, and who is held back.

use super::*;

#[tokio::test(start_paused = true)]
async fn who_has_to_wait_does_not_ask() {
    let world = World::open([Script::Fail(Reason::RateLimited, Some(100))]);
    assert_eq!(world.ask(A).await, "failure 1, 100 s");
    pass(40).await;
    assert_eq!(world.ask(A).await, "failure 1, 60 s");
    assert_eq!(world.ask(Who { token: "token b", ..A }).await, "access 2");
    assert_eq!(world.sent().len(), 2);
    pass(60).await;
    assert_eq!(world.ask(A).await, "access 3");
}

#[tokio::test(start_paused = true)]
async fn being_told_to_slow_down_without_a_time_holds_nobody() {
    let world = World::open([Script::Fail(Reason::RateLimited, None)]);
    assert_eq!(world.ask(A).await, "failure 1");
    pass(1).await;
    assert_eq!(world.ask(A).await, "access 2");
}

#[tokio::test(start_paused = true)]
async fn three_that_have_to_wait_hold_back_their_region() {
    let wait = |seconds| Script::Fail(Reason::RateLimited, Some(seconds));
    let world = World::open([wait(300), wait(100), wait(200)]);
    for token in ["token a", "token b", "token c"] {
        world.ask(Who { token, ..A }).await;
    }
    let other = Who { token: "token d", ..A };
    let held = world.ask(other).await;
    assert!(held.contains("region \"us\" (HTTP 429)") && held.ends_with(", 100 s"), "{held}");
    assert_eq!(world.ask(Who { region: "eu", ..other }).await, "access 4");
    pass(100).await;
    assert_eq!(world.ask(other).await, "access 5");
    assert_eq!(
        *world.fake.hooks.lock().unwrap(),
        ["us RateLimited"; 3]
            .iter()
            .chain(&["eu success", "us success"])
            .map(|s| (*s).to_owned())
            .collect::<Vec<_>>()
    );
}

#[tokio::test(start_paused = true)]
async fn waiting_ones_are_told_that_their_region_is_held_back() {
    let world = Arc::new(World::new(Some(0), Rate { per_second: 10.0, in_flight: 3 }, []));
    world.fake.script.lock().unwrap().extend((0..3).map(|_| Script::Fail(Reason::RateLimited, Some(100))));
    let mut tasks = Vec::new();
    for token in ["token a", "token b", "token c", "token d", "token e"] {
        tasks.push(world.begin(Who { token, ..A }).await);
    }
    world.open_doors(9);
    for task in tasks {
        assert!(task.await.unwrap().ends_with(", 100 s"));
    }
    assert_eq!(world.sent().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_region_is_asked_no_faster_than_its_rate() {
    let world = Arc::new(World::new(Some(1000), Rate { per_second: 10.0, in_flight: 8 }, []));
    let mut tasks = Vec::new();
    for number in 0..40 {
        let token: &'static str = Box::leak(format!("token {number}").into_boxed_str());
        tasks.push(world.begin(Who { token, ..A }).await);
    }
    for task in tasks {
        task.await.unwrap();
    }
    let sent = world.fake.sent.lock().unwrap().clone();
    for from in 0..30 {
        assert!(sent[from + 10].0 - sent[from].0 > 0.09 && sent[39].0 < 3.2, "{sent:?}");
    }
    let within = |second: f64| sent.iter().filter(|(at, _)| (second..second + 1.0).contains(at)).count();
    assert!(within(0.0) <= 20 && within(1.001) <= 11, "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn the_least_life_goes_first_and_no_region_waits_for_another() {
    let world = Arc::new(World::new(Some(0), Rate { per_second: 100.0, in_flight: 1 }, []));
    let mut tasks = vec![world.begin(Who { token: "first", ..A }).await];
    for (token, expires) in [("long", Some(900)), ("short", Some(10)), ("none", None), ("longer", Some(9000))]
    {
        tasks.push(world.begin(Who { token, expires, ..A }).await);
    }
    // Another resource with the same refresh token is in a hurry.
    tasks.push(world.begin(Who { token: "longer", expires: Some(5), ..A }).await);
    tasks.push(world.begin(Who { region: "eu", token: "elsewhere", ..A }).await);
    world.open_doors(100);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(world.sent(), ["first", "elsewhere", "none", "longer", "short", "long"]);
    assert!(world.fake.most_in_flight.load(Ordering::SeqCst) <= 2);
}
