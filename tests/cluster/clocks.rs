//! Clocks that differ, answers that repeat themselves, and how far apart exchanges are.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    steps::{Stage, conditions, failures, instant, source, spec, target, token},
    support::{DEADLINE, Reply, Script, eventually, world::condition},
};

const SKEW: &str = "credentials.squadcast.com/clock-skew";

impl Stage {
    /// Seconds between the requests for this resource's refresh token.
    fn pauses(&self, name: &str) -> Vec<Duration> {
        let requests = self.squadcast.requests(&token(name));
        requests.windows(2).map(|pair| pair[1].at - pair[0].at).collect()
    }

    /// An annotation of the operator's on the target.
    async fn told(&self, name: &str, annotation: &str) -> Option<String> {
        self.secret(&target(name)).await?.metadata.annotations?.remove(annotation)
    }

    async fn number(&self, name: &str, key: &str) -> i64 {
        self.secret_data(&target(name)).await[key].parse().unwrap()
    }
}

fn close(a: i64, b: i64) -> bool {
    (a - b).abs() <= 2
}

#[tokio::test]
async fn the_data_holds_squadcasts_numbers_and_the_status_ours() {
    let mut stage = Stage::new("skew").await;
    let cases = [("ahead", 7200), ("behind", -7200), ("days", 3 * 86_400), ("same", 0)];
    let mut before = Vec::new();
    for (name, skew) in cases {
        stage.resource(name, Reply::token().skew(skew)).await;
        let resource = stage.settled(name).await;
        let minted = &stage.squadcast.minted(&token(name))[0];
        assert_eq!(stage.number(name, "issued_at").await, minted.issued_at, "{name}");
        assert_eq!(stage.number(name, "expires_at").await, minted.expires_at, "{name}");
        for (field, theirs) in [("issuedAt", minted.issued_at), ("expiresAt", minted.expires_at)] {
            let ours = instant(&resource, field).as_second();
            assert!(close(ours, theirs - skew), "{name}: {field} {}", resource["status"]);
        }
        let expires = stage.told(name, "credentials.squadcast.com/expires-at").await.unwrap();
        assert_eq!(expires.parse::<Timestamp>().unwrap().as_second(), minted.expires_at, "{name}");
        let told = stage.told(name, SKEW).await.map(|text| text.parse::<i64>().unwrap());
        assert!(close(told.unwrap_or_default(), skew), "{name}: {told:?}");
        assert_eq!(told.is_some(), skew != 0, "{name}");
        let left = instant(&resource, "renewAt").as_second() - Timestamp::now().as_second();
        assert!((28 * 3600..=32 * 3600).contains(&left), "{name}: renewed in {left} s");
        before.push(resource);
    }
    // Another process sees the same, and has nothing to do.
    stage.restart(async |_| ()).await;
    stage.flush().await;
    for ((name, _), before) in cases.into_iter().zip(before) {
        assert_eq!(stage.get(name).await.unwrap(), before, "{name}");
        assert_eq!(stage.exchanges(name), 1, "{name}");
    }
    // A clock that was set right is told of no longer.
    stage.squadcast.script("rt-ahead", Reply::token());
    stage.attempt("ahead").await;
    assert_eq!(stage.told("ahead", SKEW).await, None);
}

#[tokio::test]
async fn under_skew_a_short_token_is_renewed_in_time_and_not_in_a_loop() {
    let mut stage = Stage::new("skew-short").await;
    let names = ["ahead", "behind"];
    for (name, skew) in names.into_iter().zip([10_800, -10_800]) {
        stage.resource(name, Reply::token().skew(skew).life(36)).await;
        stage.settled(name).await;
    }
    stage.restart(async |_| ()).await;
    for name in names {
        stage.squadcast.wait_for_count(&token(name), 3, DEADLINE + DEADLINE).await;
    }
    for name in names {
        // Two thirds of the life, less a tenth of that at most.
        let pauses = stage.pauses(name);
        assert!(pauses.iter().all(|p| (20.0..35.0).contains(&p.as_secs_f64())), "{name}: {pauses:?}");
        let resource = stage.settled(name).await;
        let ready = condition(&resource, "Ready").unwrap()["lastTransitionTime"].clone();
        let turned: Timestamp = ready.as_str().unwrap().parse().unwrap();
        let first: Timestamp = stage.squadcast.requests(&token(name))[1].wall.try_into().unwrap();
        assert!(turned < first, "{name}: Ready has not turned since the first issue");
    }
}

#[tokio::test]
async fn a_repeated_token_is_a_success_that_another_process_does_not_ask_again() {
    let mut stage = Stage::new("repeat").await;
    stage.resource("one", Reply::token().life(6000).repeat()).await;
    stage.settled("one").await;
    let (first, _) = stage.written("one").await;
    stage.attempt("one").await;
    let resource = stage.settled("one").await;
    assert_eq!((stage.exchanges("one"), failures(&resource)), (2, 0));
    assert_eq!(stage.written("one").await, (first, true));
    let second = |field| instant(&resource, field).as_second();
    let half = second("lastRenewedAt") + (second("expiresAt") - second("lastRenewedAt")) / 2;
    assert!(close(second("renewAt"), half), "half of {}", resource["status"]);
    let told = async || stage.event_reasons("one").await == ["TokenIssued", "TokenRenewed"];
    eventually("its events", DEADLINE, told).await;

    stage.restart(async |_| ()).await;
    stage.flush().await;
    assert_eq!(stage.exchanges("one"), 2);
    assert_eq!(stage.get("one").await.unwrap(), resource, "nothing is written either");
}

#[tokio::test]
async fn a_short_token_that_is_repeated_to_its_end_costs_few_exchanges_and_is_replaced() {
    let stage = Stage::new("repeat-short").await;
    stage.resource("one", Reply::token().life(24).repeat()).await;
    stage.settled("one").await;
    let (first, _) = stage.written("one").await;
    eventually("another token", DEADLINE, async || {
        let (text, good) = stage.written("one").await;
        good && text != first
    })
    .await;
    // An answer with the very last seconds of a life is no usable one, and is followed by a retry.
    let pauses = stage.pauses("one");
    assert!(pauses.len() <= 5, "{pauses:?}");
    assert!(pauses.iter().all(|pause| pause.as_secs_f64() >= 4.0), "{pauses:?}");
    stage.settled("one").await;
}

#[tokio::test]
async fn two_successful_exchanges_are_five_seconds_apart_whatever_calls_for_the_second() {
    let stage = Stage::new("apart").await;
    let names = ["asked", "edited", "moved", "short", "stale"];
    for name in names {
        stage.source(name, Reply::token()).await;
        let mut spec = spec(name, json!({}));
        if name == "short" {
            // A second short of the life: due again as soon as it is there.
            spec["renewBefore"] = "47h59m59s".into();
        }
        if name == "stale" {
            stage.squadcast.script("rt-stale", Reply::token().life(8));
        }
        stage.apply(name, spec).await;
    }
    for name in names {
        stage.wait_status(name, "a token", |r| r["status"]["lastRenewedAt"].is_string()).await;
    }
    stage.ask("asked").await;
    let edit: Value = json!({ "stringData": { "access_token": "edited" } });
    let params = kube::api::PatchParams::default();
    stage.secrets().patch(&target("edited"), &params, &kube::api::Patch::Merge(edit)).await.unwrap();
    stage.apply("moved", spec("moved", json!({ "template": { "t": "{{ access_token }}" } }))).await;
    for name in names {
        let count = if matches!(name, "short" | "stale") { 3 } else { 2 };
        stage.squadcast.wait_for_count(&token(name), count, DEADLINE).await;
        let pauses = stage.pauses(name);
        assert!(pauses.iter().all(|p| (5.0..20.0).contains(&p.as_secs_f64())), "{name}: {pauses:?}");
    }
}

#[tokio::test]
async fn what_fell_due_while_the_process_stood_still_is_done_when_it_goes_on() {
    let stage = Stage::new("standstill").await;
    stage.resource("due", Reply::token().life(20)).await;
    let issued = stage.settled("due").await;
    stage.put_secret(&source("new"), &[("refresh_token", "rt-new")]).await;
    stage.squadcast.accept("rt-new");
    stage.operator.signal("STOP");
    let renews = instant(&issued, "expiresAt");
    eventually("the expiry", DEADLINE, async || Timestamp::now() > renews).await;
    stage.credential("new", &source("new"), &target("new")).await;
    assert_eq!(stage.exchanges("due"), 1);
    stage.operator.signal("CONT");
    stage.squadcast.wait_for_count("rt-due", 2, DEADLINE).await;
    stage.settled("due").await;
    stage.settled("new").await;
}

#[tokio::test]
async fn ready_ends_within_two_seconds_of_expiry_while_the_next_attempt_is_far_away() {
    let stage = Stage::new("expiry-prompt").await;
    // After a rejection the next attempt comes after a minute: nothing but expiry is due then.
    stage.resource("one", Script::of([Reply::token().life(20), Reply::error(402)])).await;
    stage.settled("one").await;
    let failing = stage.attempt("one").await;
    let expired = stage.wait_status("one", "Ready=False", |r| conditions(r).starts_with("Ready=False")).await;
    let ready = condition(&expired, "Ready").unwrap();
    let turned: Timestamp = ready["lastTransitionTime"].as_str().unwrap().parse().unwrap();
    let late = turned.as_second() - instant(&failing, "expiresAt").as_second();
    assert!((0..=2).contains(&late), "{late} s after expiry: {}", expired["status"]);
    assert!(instant(&failing, "nextAttemptAt") > turned, "{}", expired["status"]);
    assert_eq!(stage.exchanges("one"), 2);
    let line = stage.operator.wait_for_log("there is no usable token any more").await;
    assert!(line.contains("PaymentRequired") && line.contains("WARN"), "{line}");
}

#[tokio::test]
async fn a_change_is_acted_on_within_two_seconds_at_the_median() {
    let stage = Stage::new("prompt").await;
    let names: Vec<_> = (0..9).map(|number| format!("p{number}")).collect();
    let median = |mut taken: Vec<Duration>| {
        taken.sort();
        taken[taken.len() / 2]
    };
    let (mut created, mut changed) = (Vec::new(), Vec::new());
    for name in &names {
        stage.source(name, Reply::token()).await;
        let began = Instant::now();
        stage.credential(name, &source(name), &target(name)).await;
        eventually("the Secret", DEADLINE, async || stage.written(name).await.1).await;
        created.push(began.elapsed());
    }
    // The pause between two exchanges of one resource is over.
    let due = instant(&stage.settled("p8").await, "lastRenewedAt").as_second() + 7;
    eventually("the pause to end", DEADLINE, async || Timestamp::now().as_second() > due).await;
    for name in &names {
        let next = format!("rt-{name}-next");
        stage.squadcast.accept(&next);
        let began = Instant::now();
        stage.put_secret(&source(name), &[("refresh_token", &next)]).await;
        stage.squadcast.wait_for_count(&next, 1, DEADLINE).await;
        changed.push(began.elapsed());
    }
    for taken in [median(created), median(changed)] {
        assert!(taken < Duration::from_secs(2), "{taken:?}");
    }
}
