//! What happens to the operator's Pods, and must not reach its users.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::node::process;
use crate::stage::{NAME, PODS, Stage, figure, name, restarts, stage, tell};
use crate::support::eventually::unless;
use crate::support::process::signal_pid;
use crate::support::world::World;
use crate::support::{DEADLINE, Reply, eventually};

/// Seconds that a token lives. Two thirds of it, up to a tenth less, are a resource's time between two exchanges.
const LIFE: i64 = 60;
const SOONEST: Duration = Duration::from_secs(36);
const TOKENS: usize = 20;

fn refresh_token(number: usize) -> String {
    format!("rt-due-{number}")
}

/// Seconds since 1970.
fn now() -> i64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs().try_into().unwrap_or(i64::MAX))
}

/// Resources with a refresh token each, all Ready.
async fn credentials(stage: &Stage, world: &World) {
    for number in 0..TOKENS {
        let (source, token) = (format!("source-{number}"), refresh_token(number));
        stage.squadcast.script(&token, Reply::token().life(LIFE));
        world.put_secret(&source, &[("refresh_token", &token)]).await;
        world.credential(&format!("one-{number}"), &source, &format!("target-{number}")).await;
    }
    for number in 0..TOKENS {
        world.wait_ready(&format!("one-{number}")).await;
    }
}

/// When the tokens run out, in seconds since 1970, and how many do so then.
async fn lives(world: &World) -> BTreeMap<i64, usize> {
    let mut lives = BTreeMap::new();
    for number in 0..TOKENS {
        let data = world.secret_data(&format!("target-{number}")).await;
        *lives.entry(data["expires_at"].parse().expect("a number")).or_default() += 1;
    }
    lives
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_while_tokens_are_due_costs_no_token_and_no_exchange() {
    let (stage, _turn) = stage().await;
    let world = stage.space("due").await;
    credentials(stage, &world).await;
    let old: Vec<Value> = stage.operators();

    // The first ones are due while the Pods are replaced.
    let first = *lives(&world).await.keys().next().expect("a token") - LIFE;
    let due = first + i64::try_from(SOONEST.as_secs()).expect("seconds");
    eventually("tokens to be nearly due", DEADLINE, async || now() >= due - 2).await;
    let began = Instant::now();
    let upgrade = tokio::task::spawn_blocking(move || {
        stage.helm("upgrade", &["--set", "image.tag=next"]);
        began.elapsed()
    });
    let renewed = eventually("each token to be renewed", Duration::from_secs(180), async || {
        let lives = lives(&world).await;
        let (soonest, _) = lives.first_key_value().expect("a token");
        // An expiry is seen here, however short it was: a Secret keeps its token until there is a new one.
        assert!(*soonest > now(), "a token ran out");
        let waiting = (0..TOKENS).filter(|&number| stage.squadcast.count(&refresh_token(number)) < 2).count();
        unless(waiting == 0, waiting)
    });
    let (took, _) = tokio::join!(upgrade, renewed);
    let took = took.expect("the upgrade");
    let after = stage.leader().await;
    assert!(old.iter().all(|pod| name(pod) != name(&after)), "a new Pod leads");
    stage.ready(NAME, PODS, 2).await;
    for number in 0..TOKENS {
        let token = refresh_token(number);
        let requests = stage.squadcast.requests(&token);
        for pair in requests.windows(2) {
            // Tokens are issued in whole seconds.
            let pause = pair[1].at.duration_since(pair[0].at) + Duration::from_secs(1);
            assert!(pause >= SOONEST, "{token} was exchanged {pause:?} after the exchange before");
            let lived = pair[0].wall + Duration::from_secs(LIFE.unsigned_abs());
            assert!(pair[1].wall < lived, "{token} was renewed only after its token had run out");
        }
    }
    figure(&format!(
        "upgrade of both Pods while {TOKENS} tokens were due: {:.1} s; no token ran out, no exchange too many",
        took.as_secs_f64()
    ));
}

/// How long a container that was killed may be away.
const SECONDS: Duration = Duration::from_secs(15);
/// How long a lease outlives who held it.
const LEASE: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_container_is_back_within_seconds_and_costs_nothing() {
    let (stage, _turn) = stage().await;
    let world = stage.space("killed").await;
    stage.squadcast.script("rt-killed", Reply::token());
    world.put_secret("source", &[("refresh_token", "rt-killed")]).await;
    world.credential("one", "source", "target").await;
    world.wait_ready("one").await;
    let token = world.secret_data("target").await;

    let leader = stage.leader().await;
    let pid = process(&leader);
    tell(&format!("kill -9 of the container of pod/{}, which leads", name(&leader)));
    let began = Instant::now();
    assert!(signal_pid(pid, "KILL"));
    let back = async {
        eventually("the container to be back", DEADLINE, async || {
            let pods = stage.operators();
            let one = pods.iter().find(|pod| name(pod) == name(&leader));
            unless(one.is_some_and(|pod| restarts(pod) == restarts(&leader) + 1), one.cloned())
        })
        .await;
        stage.ready(NAME, PODS, 2).await;
        began.elapsed()
    };
    // What is new is done by the other Pod, or by this one when it leads again.
    let served = async {
        world.credential("two", "source", "second-target").await;
        world.wait_ready("two").await;
        began.elapsed()
    };
    let (back, served) = tokio::join!(back, served);
    assert_eq!(world.secret_data("target").await, token);
    assert_eq!(stage.squadcast.count("rt-killed"), 2, "one exchange for each resource");
    // Two seconds on an idle machine; the bound is for a busy one. Who serves meanwhile waits for the lease to run out.
    assert!(back < SECONDS, "{back:?}");
    assert!(served < LEASE + SECONDS, "{served:?}");
    figure(&format!(
        "container of the leader killed: ready again after {:.1} s, what is new served after {:.1} s",
        back.as_secs_f64(),
        served.as_secs_f64()
    ));
}
