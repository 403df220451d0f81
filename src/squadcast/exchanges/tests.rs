//! Sharing, order and limits, with a paused clock and a transport of the test's own.

mod limits;
mod rotation;
mod sharing;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use jiff::SignedDuration;
use tokio::{sync::Semaphore, task::JoinHandle};

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
                    let failure = Failure::unanswered(reason, message, requested_at);
                    return Err(Failure { retry_after, ..failure });
                }
                Script::Rotate(new) => Some(refresh(new)),
                Script::Grant => None,
            };
            Ok(Grant {
                access_token: AccessToken::parse(&format!("access {number}")).unwrap(),
                token_type: "Bearer".into(),
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
    source: &'static str,
    /// Right before it asks, where it does not say.
    since: Option<Moment>,
}

const A: Who = Who {
    token: "token a",
    region: "us",
    not_before: 0,
    expires: None,
    hold: false,
    source: "one",
    since: None,
};
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
        let (token, holder) = (refresh(who.token), reader_of(who.source));
        let after = |seconds| (self.clock)() + SignedDuration::from_secs(seconds);
        let ask = Ask {
            region: regions.get(who.region).unwrap(),
            token: &token,
            source: &source(who.source),
            since: who.since.unwrap_or_else(|| self.exchanges.moment()),
            not_before: after(who.not_before),
            expires_at: who.expires.map(after),
            holder: who.hold.then_some(&holder),
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

    /// The Secret of all who do not name another.
    fn written_back(&self, token: &str) {
        self.exchanges.written_back(refresh(token).fingerprint("us"), &source(A.source));
    }
}

fn source(name: &str) -> Line {
    Line { secret: Key::new("ns", name), key: "refresh_token".into(), region: "us".into() }
}

fn reader_of(name: &str) -> Key {
    Key::new("ns", &format!("reader of {name}"))
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
        Outcome::WriteBackPending(grant, _) => format!("pending {}", token(grant)),
        Outcome::NotWanted => "not wanted".to_owned(),
        Outcome::Replaced(_) => "replaced".to_owned(),
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
