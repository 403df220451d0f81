//! What first issue, renewal and restart cost in requests, and that being well costs none.

use serde_json::json;

use super::{create, full_cycle, time, version, wait_events};
use crate::{
    OPERATOR,
    support::{DEADLINE, Operator, audit::Request, eventually, squadcast::Reply, world::World},
};

/// What a first issue costs, sorted.
const FIRST_ISSUE: [&str; 4] =
    ["create events", "create secrets", "get secrets", "patch squadcastcredentials/status"];

/// Requests that are not about a Lease, and no watch or the list that it begins with where that cannot be streamed.
fn counted(world: &World, requests: &[Request]) -> Vec<String> {
    let streamed = world.plane.streams_lists();
    let watching = |request: &&Request| request.is_watch() || (request.verb == "list" && !streamed);
    let others = requests.iter().filter(|request| !watching(request) && request.resource != "leases");
    others.map(Request::what).collect()
}

fn requests(world: &World, operator: &Operator) -> Vec<String> {
    counted(world, &world.requests_of(operator))
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

#[tokio::test]
async fn a_first_issue_costs_four_requests_and_being_well_none() {
    let world = World::new("first").await;
    let operator = world.operator(OPERATOR, &[]).await;
    let idle = requests(&world, &operator);
    assert!(idle.is_empty(), "{idle:?}");
    for number in 1..=3 {
        full_cycle(&world, &format!("x{number}")).await;
        // Those that came before are well, and cost nothing more.
        let all: Vec<_> = (0..number).flat_map(|_| FIRST_ISSUE).map(str::to_owned).collect();
        assert_eq!(sorted(requests(&world, &operator)), sorted(all));
    }

    let minted = &world.squadcast.minted("rt-x1")[0];
    let data = world.secret_data("x1-target").await;
    assert_eq!(data["access_token"], minted.access_token);
    assert_eq!(data["token_type"], "Bearer");
    assert_eq!(data["issued_at"], minted.issued_at.to_string());
    assert_eq!(data["expires_at"], minted.expires_at.to_string());
    assert_eq!(data.len(), 4);
}

#[tokio::test]
async fn a_renewal_costs_at_most_four_requests_and_moves_no_condition() {
    let world = World::new("renewal").await;
    let operator = world.operator(OPERATOR, &[]).await;
    create(&world, "x", Reply::token().life(60), &json!({"renewBefore": "46s"})).await;
    let first = world.wait_ready("x").await;
    wait_events(&world, "x", &["TokenIssued"]).await;
    let uid = world.secret("x-target").await.unwrap().metadata.uid;
    let mut so_far = requests(&world, &operator).len();
    let mut events = vec!["TokenIssued"];
    let mut before = first.clone();
    for number in 1..=2 {
        events.push("TokenRenewed");
        let renewed = eventually("a renewal", DEADLINE, async || {
            let resource = world.get("x").await.ok_or("no resource")?;
            let news = resource["status"]["lastRenewedAt"] != before["status"]["lastRenewedAt"];
            if news { Ok(resource) } else { Err("the status is the old one") }
        })
        .await;
        wait_events(&world, "x", &events).await;
        let all = requests(&world, &operator);
        let spent = &all[so_far..];
        assert!(spent.len() <= 4, "renewal {number}: {spent:?}");
        so_far = all.len();
        assert_eq!(world.squadcast.count("rt-x"), number + 1);
        assert_eq!(renewed["status"]["conditions"], first["status"]["conditions"]);
        assert_eq!(renewed["status"]["observedGeneration"], first["status"]["observedGeneration"]);
        assert!(time(&renewed["status"]["expiresAt"]) > time(&before["status"]["expiresAt"]));
        before = renewed;
    }
    let target = world.secret("x-target").await.unwrap();
    assert_eq!(target.metadata.uid, uid, "patched, not created anew");
    let minted = world.squadcast.minted("rt-x");
    assert_eq!(world.secret_data("x-target").await["access_token"], minted[2].access_token);
}

#[tokio::test]
async fn a_restart_costs_no_exchange_no_write_and_at_most_two_reads() {
    let world = World::new("restart").await;
    let mut operator = world.operator(OPERATOR, &[]).await;
    full_cycle(&world, "x").await;
    for (well, signal) in [(1, "TERM"), (2, "KILL")] {
        operator.signal(signal);
        operator.wait_exit(DEADLINE).await;
        let before = (world.get("x").await, version(&world, "x-target").await);
        operator = world.operator(OPERATOR, &[]).await;
        full_cycle(&world, &signal.to_lowercase()).await;

        let all = world.requests_of(&operator);
        let of_x = all.iter().filter(|request| request.name.starts_with('x')).count();
        assert!(of_x <= 2, "SIG{signal}: {all:?}");
        // What is left after the new resource's share.
        let mut rest = counted(&world, &all);
        for what in FIRST_ISSUE {
            let at = rest.iter().position(|one| one == what).unwrap_or_else(|| panic!("no {what}: {all:?}"));
            rest.swap_remove(at);
        }
        assert!(rest.len() <= 2 * well && rest.iter().all(|what| what == "get secrets"), "{rest:?}");
        assert_eq!((world.get("x").await, version(&world, "x-target").await), before, "SIG{signal}");
        assert_eq!(world.squadcast.count("rt-x"), 1);
        assert_eq!(world.event_reasons("x").await, ["TokenIssued"]);
    }
}
