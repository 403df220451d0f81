//! Sharing, order and limits, with a paused clock and a transport of the test's own.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::SignedDuration;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::*;
use crate::squadcast::{AccessToken, Regions};

/// What the fake does with a request.
enum Script {
    Grant,
    Rotate(&'static str),
    Fail(Reason, Option<u64>),
}

/// Grants, one by one and numbered, unless the script says otherwise. Waits for `doors` where it has some.
struct Fake {
    clock: Clock,
    began: tokio::time::Instant,
    script: Mutex<VecDeque<Script>>,
    doors: Option<Semaphore>,
    /// Seconds since the start, and the token.
    sent: Mutex<Vec<(f64, String)>>,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    hooks: Mutex<Vec<String>>,
}

struct Shared(Arc<Fake>);

impl Transport for Shared {
    fn exchange<'a>(
        &'a self,
        _: &'a Region,
        token: &'a RefreshToken,
    ) -> BoxFuture<'a, Result<Grant, Failure>> {
        let fake = self.0.clone();
        let token = token.expose().to_owned();
        Box::pin(async move {
            let requested_at = (fake.clock)();
            let number = {
                let mut sent = fake.sent.lock().unwrap();
                sent.push((fake.began.elapsed().as_secs_f64(), token.clone()));
                sent.len()
            };
            let flying = fake.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
            fake.most_in_flight.fetch_max(flying, Ordering::SeqCst);
            if let Some(doors) = &fake.doors {
                doors.acquire().await.unwrap().forget();
            }
            fake.in_flight.fetch_sub(1, Ordering::SeqCst);
            let script = fake.script.lock().unwrap().pop_front().unwrap_or(Script::Grant);
            let rotated = match script {
                Script::Fail(reason, wait) => {
                    let (message, retry_after) = (format!("failure {number}"), wait.map(Duration::from_secs));
                    return Err(Failure {
                        reason,
                        message,
                        status: None,
                        retry_after,
                        skew: None,
                        requested_at,
                    });
                }
                Script::Rotate(new) => Some(refresh(new)),
                Script::Grant => None,
            };
            Ok(Grant {
                access_token: AccessToken::parse(&format!("access {number}")).unwrap(),
                token_type: "Bearer".to_owned(),
                issued_at: 0,
                expires_at: 0,
                skew: 0,
                rotated,
                requested_at,
                received_at: (fake.clock)(),
            })
        })
    }
}

impl Hooks for Shared {
    fn on_exchange(&self, region: &str, outcome: Result<(), Reason>, _: Duration) {
        let outcome = outcome.map_or_else(Reason::as_str, |()| "success");
        self.0.hooks.lock().unwrap().push(format!("{region} {outcome}"));
    }

    fn on_rotation(&self, region: &str) {
        self.0.hooks.lock().unwrap().push(format!("{region} rotated"));
    }
}

struct World {
    exchanges: Exchanges,
    fake: Arc<Fake>,
    clock: Clock,
}

/// One who asks; what is left out is usual.
#[derive(Clone, Copy)]
struct Who {
    token: &'static str,
    region: &'static str,
    /// Seconds after now.
    not_before: i64,
    /// Seconds after now.
    expires: Option<i64>,
    hold: bool,
}

const A: Who = Who { token: "token a", region: "us", not_before: 0, expires: None, hold: false };
const EARLIER: Who = Who { not_before: -60, ..A };

impl World {
    fn new(doors: Option<usize>, rate: Rate, script: impl IntoIterator<Item = Script>) -> Self {
        let began = tokio::time::Instant::now();
        let start = Timestamp::from_second(1_700_000_000).unwrap();
        let clock: Clock = Arc::new(move || start + began.elapsed());
        let fake = Arc::new(Fake {
            clock: clock.clone(),
            began,
            script: Mutex::new(script.into_iter().collect()),
            doors: doors.map(Semaphore::new),
            sent: Mutex::default(),
            in_flight: AtomicUsize::default(),
            most_in_flight: AtomicUsize::default(),
            hooks: Mutex::default(),
        });
        let exchanges = Exchanges::new(Shared(fake.clone()), Shared(fake.clone()), rate, clock.clone());
        Self { exchanges, fake, clock }
    }

    fn open(script: impl IntoIterator<Item = Script>) -> Self {
        Self::new(None, Rate::default(), script)
    }

    /// No request is answered before a door is opened.
    fn shut() -> Self {
        Self::new(Some(0), Rate::default(), [])
    }

    fn open_doors(&self, count: usize) {
        self.fake.doors.as_ref().unwrap().add_permits(count);
    }

    async fn ask_if(&self, who: Who, wanted: impl Fn() -> bool) -> Outcome {
        let regions = Regions::default();
        let token = refresh(who.token);
        let after = |seconds| (self.clock)() + SignedDuration::from_secs(seconds);
        let ask = Ask {
            region: regions.get(who.region).unwrap(),
            token: &token,
            not_before: after(who.not_before),
            expires_at: who.expires.map(after),
            hold_on_rotation: who.hold,
        };
        self.exchanges.exchange(ask, wanted).await
    }

    async fn ask(&self, who: Who) -> String {
        show(&self.ask_if(who, || true).await)
    }

    /// Asks in a task, and lets it come as far as it can.
    async fn begin(self: &Arc<Self>, who: Who) -> JoinHandle<String> {
        let world = self.clone();
        let task = tokio::spawn(async move { world.ask(who).await });
        settle().await;
        task
    }

    fn sent(&self) -> Vec<String> {
        self.fake.sent.lock().unwrap().iter().map(|(_, token)| token.clone()).collect()
    }

    fn written_back(&self, token: &str) {
        self.exchanges.written_back(refresh(token).fingerprint("us"));
    }
}

fn refresh(token: &str) -> RefreshToken {
    RefreshToken::parse(token.as_bytes()).unwrap()
}

fn show(outcome: &Outcome) -> String {
    let token = |grant: &Grant| {
        let rotated = grant.rotated.as_ref().map(|new| format!(" -> {}", new.expose())).unwrap_or_default();
        format!("{}{rotated}", grant.access_token.expose())
    };
    match outcome {
        Outcome::Granted { grant, .. } => token(grant),
        Outcome::WriteBackPending(grant) => format!("pending {}", token(grant)),
        Outcome::NotWanted => "not wanted".to_owned(),
        Outcome::Failed(failure) => {
            let wait = failure.retry_after.map(|wait| format!(", {} s", wait.as_secs())).unwrap_or_default();
            format!("{}{wait}", failure.message)
        }
    }
}

/// Lets every task come as far as it can without the clock.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

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
    assert_eq!(waiting.await.unwrap(), "access 2");
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

#[tokio::test(start_paused = true)]
async fn a_write_back_that_begins_stops_what_is_about_to_be_sent() {
    let rate = Rate { per_second: 10.0, in_flight: 1 };
    let world = Arc::new(World::new(Some(1), rate, [Script::Rotate("token b")]));
    assert_eq!(world.ask(A).await, "access 1 -> token b");
    pass(1).await;
    let other = world.begin(Who { token: "token c", ..A }).await;
    let about_to_send = world.begin(A).await;
    assert_eq!(world.ask(Who { hold: true, ..EARLIER }).await, "access 1 -> token b");
    world.open_doors(9);
    assert_eq!(other.await.unwrap(), "access 2");
    settle().await;
    assert_eq!(world.sent(), ["token a", "token c"]);
    world.written_back("token a");
    assert_eq!(about_to_send.await.unwrap(), "access 3");
}

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

#[tokio::test(start_paused = true)]
async fn futures_and_exchanges_go_between_threads() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let world = World::open([]);
    assert_eq!(is_send(world.ask(A)).await, "access 1");
    is_send(world.exchanges.clone());
}
