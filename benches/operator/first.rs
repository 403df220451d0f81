//! First syncs, renewals, and resources that share a refresh token, against bare clients.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::bare::{self, Work};
use crate::crowd::{
    Observer, by_verb, create_resource, create_source, in_parallel, launch, names, prepare, quiet, token,
};
use crate::figures::Figure;
use crate::process::{cpu, memory};
use crate::support::world::{REGION, World};
use crate::support::{Reply, Script};
use crate::{Bench, median};

/// What one round measured.
#[derive(Default)]
struct Rounds {
    seconds: Vec<f64>,
    cpu: Vec<f64>,
    bare_seconds: Vec<f64>,
    bare_cpu: Vec<f64>,
    /// Until the last request, which is an event's: those are off the critical path.
    to_the_end: Vec<f64>,
    bare_to_the_end: Vec<f64>,
    requests: (f64, String),
    memory: Vec<f64>,
}

impl Rounds {
    fn bare(&mut self, ran: &bare::Ran, ended: Instant) {
        self.bare_seconds.push((ended - ran.began).as_secs_f64());
        self.bare_cpu.push(ran.cpu);
        self.bare_to_the_end.push(ran.seconds);
    }

    fn ended(&mut self, began: Timestamp, last: Timestamp) {
        self.to_the_end.push(last.duration_since(began).as_secs_f64());
    }

    /// Four lines: time, time until the last request, requests, processor time.
    fn figures(self, bench: &mut Bench, what: &str, one: &str, targets: [f64; 3]) {
        let [ratio, requests, processor] = targets;
        let bare = "bare clients, the same requests and exchanges, 32 in flight";
        let (seconds, least) = (median(self.seconds), median(self.bare_seconds));
        bench.figures.add(
            Figure::new(format!("{what}, the last one Ready"), seconds, "s")
                .against(bare, least)
                .ratio_at_most(ratio)
                .note(format!("{:.0} a second", bench.resources as f64 / seconds)),
        );
        bench.figures.add(
            Figure::new(format!("{what}, the last event written"), median(self.to_the_end), "s")
                .against(bare, median(self.bare_to_the_end)),
        );
        let (each, words) = self.requests;
        bench
            .figures
            .add(Figure::new(format!("API requests of {one}"), each, "").at_most(requests).note(words));
        bench.figures.add(
            Figure::new(format!("processor time of {what}"), median(self.cpu), "s")
                .against(bare, median(self.bare_cpu))
                .at_most(processor * bench.resources as f64 / 1000.0),
        );
    }
}

/// First syncs of resources with a refresh token each: everything is there before the operator starts.
pub async fn measure(bench: &mut Bench) {
    let names = names(bench.resources);
    let mut rounds = Rounds::default();
    for _ in 0..bench.rounds {
        let world = World::on(&bench.plane, "bare").await;
        prepare(&world, &names, |_| Reply::token().into()).await;
        let observer = Observer::ready(&world, names.len()).await;
        let ran = bare::run(&world, Work::Issue).await;
        rounds.bare(&ran, observer.done().await);

        let world = World::on(&bench.plane, "first").await;
        prepare(&world, &names, |_| Reply::token().into()).await;
        let observer = Observer::ready(&world, names.len()).await;
        let (began, at) = (Instant::now(), Timestamp::now());
        let operator = launch(&world, bench.program(), &[]);
        rounds.seconds.push((observer.done().await - began).as_secs_f64());
        let (requests, last) = quiet(&world, &operator).await;
        rounds.ended(at, last);
        rounds.cpu.push(cpu(operator.pid()));
        rounds.memory.push(memory(&operator).await);
        rounds.requests = by_verb(&requests, names.len());
    }
    let memory = median(rounds.memory.clone());
    let count = names.len();
    rounds.figures(bench, &format!("{count} first syncs"), "a first sync", [1.15, 4.0, 0.7]);
    bench.figures.add(Figure::new(format!("memory after {count} first syncs"), memory, "MB").at_most(18.0));
}

/// Renewals that all fall due in the same second.
pub async fn measure_renewals(bench: &mut Bench) {
    let names = names(bench.resources);
    let mut rounds = Rounds::default();
    for _ in 0..bench.rounds {
        let world = World::on(&bench.plane, "renew").await;
        // Time enough to issue them all before.
        let issued = Timestamp::now().as_second();
        let due = issued + 20 + i64::try_from(names.len() / 40).expect("few");
        prepare(&world, &names, |name| due_at(name, issued, due)).await;
        let observer = Observer::ready(&world, names.len()).await;
        let operator = launch(&world, bench.program(), &[]);
        observer.done().await;
        let (before, _) = quiet(&world, &operator).await;
        let at = Timestamp::from_second(due).expect("a time");
        let left = Duration::try_from(at.duration_since(Timestamp::now()));
        let left = left.ok().filter(|left| !left.is_zero());
        let began = Instant::now() + left.expect("all are issued before the first one is due");
        let observer = Observer::renewed(&world, names.len(), due).await;
        let used = cpu(operator.pid());
        rounds.seconds.push((observer.done().await - began).as_secs_f64());
        let (after, last) = quiet(&world, &operator).await;
        rounds.ended(at, last);
        rounds.cpu.push(cpu(operator.pid()) - used);
        rounds.requests = by_verb(&after[before.len()..], names.len());
        operator.kill();

        let now = Timestamp::now().as_second() + 1;
        let observer = Observer::renewed(&world, names.len(), now).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let ran = bare::run(&world, Work::Renew).await;
        rounds.bare(&ran, observer.done().await);
    }
    let count = names.len();
    rounds.figures(bench, &format!("{count} renewals due at once"), "a renewal", [1.15, 4.0, 0.7]);
}

/// First syncs of resources of one refresh token.
pub async fn measure_shared(bench: &mut Bench) {
    let names = names(bench.resources);
    let mut rounds = Rounds::default();
    let mut exchanges = 0;
    for _ in 0..bench.rounds {
        for with_operator in [false, true] {
            let world = World::on(&bench.plane, "shared").await;
            world.squadcast.script(&token("all"), Reply::token());
            create_source(&world, "shared", &token("all")).await;
            in_parallel(&names, async |name| create_resource(&world, name, "shared").await).await;
            let observer = Observer::ready(&world, names.len()).await;
            if with_operator {
                let (began, at) = (Instant::now(), Timestamp::now());
                let operator = launch(&world, bench.program(), &[]);
                rounds.seconds.push((observer.done().await - began).as_secs_f64());
                let (requests, last) = quiet(&world, &operator).await;
                rounds.ended(at, last);
                rounds.cpu.push(cpu(operator.pid()));
                rounds.requests = by_verb(&requests, names.len());
                exchanges = world.squadcast.count(&token("all"));
            } else {
                let ran = bare::run(&world, Work::IssueShared).await;
                rounds.bare(&ran, observer.done().await);
            }
        }
    }
    let count = names.len();
    let what = format!("{count} first syncs with one refresh token");
    rounds.figures(bench, &what, "a first sync with a shared refresh token", [1.15, 4.0, 0.7]);
    bench.figures.add(Figure::new(format!("exchanges for {what}"), exchanges as f64, "").at_most(1.0));
}

/// The first token is due for renewal at this second, whatever the refresh token's own share; those that follow
/// are good for 48 h.
pub fn due_at(name: &str, issued: i64, due: i64) -> Script {
    use squadcast_operator::schedule::{Life, RenewalPolicy, renewal};
    use squadcast_operator::squadcast::RefreshToken;

    let fingerprint = RefreshToken::parse(token(name).as_bytes()).expect("a token").fingerprint(REGION);
    let at = |second| Timestamp::from_second(second).expect("a time");
    let renews = |expires| {
        let life = Life { issued: at(issued), expires: at(expires) };
        renewal(life, RenewalPolicy::TwoThirds, fingerprint).at.as_second()
    };
    let expires = (due..i64::MAX).find(|expires| renews(*expires) >= due).expect("an end");
    Script::first([Reply::token().times(issued, expires)])
}
