//! A token's life: first issue, renewal, restart; and what each costs in requests.

use crate::{
    OPERATOR,
    support::{
        audit::Request,
        eventually::{DEADLINE, eventually},
        squadcast::Reply,
        world::World,
    },
};

/// Requests that are no watch and not about a Lease.
fn counted(requests: &[Request]) -> Vec<String> {
    requests.iter().filter(|r| !r.is_watch() && r.resource != "leases").map(Request::what).collect()
}

#[tokio::test]
async fn first_issue_two_renewals_and_a_restart() {
    let world = World::new("life").await;
    world.squadcast.script("rt-life", Reply::token().life(60));
    world.put_secret("source", &[("refresh_token", "rt-life")]).await;
    let operator = world.operator(OPERATOR, &[]).await;
    let before = counted(&world.requests_of(&operator));

    world.credential("life", "source", "target").await;
    let first = world.wait_ready("life").await;
    eventually("the event of the first issue", DEADLINE, async || {
        world.event_reasons("life").await == ["TokenIssued"]
    })
    .await;
    let requests = counted(&world.requests_of(&operator));
    eprintln!("first sync: {:?}", &requests[before.len()..]);
    assert!(requests.len() - before.len() <= 5, "{requests:?}");
    let _ = first;
}
