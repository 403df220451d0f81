//! SIGKILL at every step between observe and report: before each request of a piece of work reaches the API server,
//! after it did and before its answer comes back, and on both sides of the exchange. Another process then ends it.

use std::time::Instant;

use futures::future::join_all;

use crate::support::{Asked, DEADLINE, eventually};

mod site;
use site::{Point, Site, Work};

/// What came of it: kills, exchanges beyond those that were needed, rotated refresh tokens lost.
async fn killed_everywhere(work: Work) -> (usize, usize, usize) {
    let site = Site::new(work).await;
    let steps = site.steps().await;
    let mut points: Vec<_> = (0..steps.len()).flat_map(|n| [Point::Before(n), Point::After(n)]).collect();
    if work.exchanges() > 0 {
        points.extend([Point::Unminted, Point::Minted]);
    }
    let names: Vec<_> = (0..points.len()).map(|number| format!("case-{number:02}")).collect();
    for name in &names {
        site.prepare(name).await;
    }
    let mut before = vec![0; names.len()];
    if !work.issues_first() {
        let keeper = site.start().await.operator;
        for (name, before) in names.iter().zip(&mut before) {
            site.world.wait_ready(name).await;
            *before = site.minted(name);
        }
        keeper.kill();
    }
    // Where Squadcast had answered with another refresh token, and it was not stored.
    let stores = steps.iter().position(|asked| asked.is_write() && asked.names("-source"));
    let loses =
        |point: Point| work.rotates() && (point == Point::Minted || stores.map(Point::Before) == Some(point));
    let (mut extra, mut lost) = (0, 0);
    let mut operator = site.start().await;
    for ((point, name), before) in points.iter().zip(&names).zip(before) {
        site.kill_at(operator, *point, name).await;
        // The next one ends this work before it is killed at another: no kill comes over what was not meant.
        operator = site.start().await;
        if loses(*point) {
            site.lost(name).await;
            lost += 1;
        }
        site.ended(name).await;
        let more = site.minted(name) - before - work.exchanges();
        assert!(more <= 1, "{work:?} killed {point:?}: {more} exchanges more than needed");
        extra += more;
    }
    let what = steps.iter().map(|asked| {
        let path = asked.path.split('?').next().unwrap_or_default();
        let kind = path.trim_end_matches("/status").rsplit('/').find(|part| !part.starts_with("plain"));
        format!(
            "{} {}",
            asked.method,
            if path.ends_with("/status") { "status" } else { kind.unwrap_or_default() }
        )
    });
    let what: Vec<_> = what.collect();
    println!(
        "{work:?} ({}): {} kills, 0 lost, 0 wrong, {extra} exchanges repeated, {lost} rotated refresh tokens lost in the window",
        what.join(", "),
        points.len(),
    );
    (points.len(), extra, lost)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_at_any_step_loses_nothing_and_repeats_one_exchange_at_most() {
    let works = [
        Work::Issue,
        Work::IssueRotated,
        Work::Renewal,
        Work::RenewalRotated,
        Work::Repair,
        Work::Rename,
        Work::Restart,
        Work::Policy,
    ];
    let all = join_all(works.map(killed_everywhere)).await;
    let (kills, extra, lost) =
        all.iter().fold((0, 0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1, sum.2 + one.2));
    println!(
        "every step: kills {kills}, lost 0, wrong states 0, extra exchanges {extra}, rotated in the window {lost}"
    );
    // Twice two points lie in the window: for a first issue and for a renewal.
    assert_eq!(lost, 4);
}

#[tokio::test]
async fn a_replaced_refresh_token_is_stored_by_the_one_request_that_follows_its_answer() {
    let site = Site::new(Work::IssueRotated).await;
    let _operator = site.start().await;
    let (mut until_sent, mut until_stored) = (Vec::new(), Vec::new());
    for number in 0..20 {
        let name = format!("window-{number:02}");
        site.prepare(&name).await;
        let before = site.front.asked().len();
        site.begin(&name).await;
        site.ended(&name).await;
        // The operator may be quicker than the stand-in notes that its answer has gone out.
        let (sent, answered) = eventually("the end of its exchange", DEADLINE, async || {
            let exchange = &site.world.squadcast.requests(&format!("rt-{name}"))[0];
            exchange.ended.map(|ended| (exchange.at, ended))
        })
        .await;
        let asked: Vec<Asked> = site.front.asked().split_off(before);
        let mut after = asked.iter().filter(|asked| !asked.is_watch() && asked.at >= sent);
        let store = after.next().unwrap();
        assert!(store.method == "PATCH" && store.names(&format!("{name}-source")), "{store:?}");
        until_sent.push(store.at.saturating_duration_since(answered));
        until_stored.push(store.answered.unwrap_or_else(Instant::now).saturating_duration_since(answered));
    }
    until_sent.sort();
    until_stored.sort();
    println!(
        "the window of a rotated refresh token: 0 requests, {:.1} ms to the patch (at most {:.1}), {:.1} ms until it is stored (at most {:.1})",
        until_sent[10].as_secs_f64() * 1e3,
        until_sent[19].as_secs_f64() * 1e3,
        until_stored[10].as_secs_f64() * 1e3,
        until_stored[19].as_secs_f64() * 1e3,
    );
}
