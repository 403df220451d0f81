//! What it costs to start again, or to take over, where every resource is fine.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::Bench;
use crate::bare::{self, Work};
use crate::crowd::{Observer, by_verb, launch, names, prepare, quiet, work};
use crate::figures::Figure;
use crate::process::cpu;
use crate::support::world::World;
use crate::support::{Operator, Reply};

/// Between two looks at the operator's own endpoints.
const LOOK: Duration = Duration::from_millis(5);

pub async fn measure(bench: &mut Bench) {
    for count in [bench.resources, bench.crowd] {
        let names = names(count);
        let world = World::on(&bench.plane, "restart").await;
        prepare(&world, &names, |_| Reply::token().into()).await;
        let observer = Observer::ready(&world, count).await;
        let operator = launch(&world, bench.program(), &[]);
        observer.done().await;
        quiet(&world, &operator).await;
        operator.kill();
        restart(bench, &world, count).await;
        hand_over(bench, &world, count).await;
    }
}

async fn restart(bench: &mut Bench, world: &World, count: usize) {
    let bare = bare::run(world, Work::Look).await;
    let exchanges = world.squadcast.all_requests().len();
    let (began, at) = (Instant::now(), Timestamp::now());
    let operator = launch(world, bench.program(), &[]);
    while !operator.get("/readyz").is_ok_and(|(status, _)| status == 200) {
        tokio::time::sleep(LOOK).await;
    }
    let ready = began.elapsed().as_secs_f64();
    let (requests, last) = quiet(world, &operator).await;
    let what = format!("restart with {count} resources that are fine");
    bench.figures.add(
        Figure::new(format!("{what}: until /readyz"), ready, "s")
            .against("both lists, bare client", bare.lists)
            .at_most(2.0),
    );
    bench.figures.add(
        Figure::new(format!("{what}: until quiet"), last.duration_since(at).as_secs_f64(), "s")
            .against("one GET for each, bare clients", bare.seconds),
    );
    bench.figures.add(
        Figure::new(format!("{what}: processor time"), cpu(operator.pid()), "s")
            .against("one GET for each, bare clients", bare.cpu),
    );
    costs(bench, world, &what, &requests, exchanges, count);
}

/// The leader is told to end; another process, which stands by, takes over.
async fn hand_over(bench: &mut Bench, world: &World, count: usize) {
    let election = ["--leader-election", &format!("--leader-election-namespace={}", world.namespace)];
    let leader = launch(world, bench.program(), &election);
    until_leader(&leader).await;
    quiet(world, &leader).await;
    let standby = launch(world, bench.program(), &election);
    standby.wait_ready().await;
    quiet(world, &standby).await;
    let bare = bare::run(world, Work::Look).await;
    let exchanges = world.squadcast.all_requests().len();
    let (began, at) = (Instant::now(), Timestamp::now());
    leader.sigterm();
    until_leader(&standby).await;
    let took = began.elapsed().as_secs_f64();
    let (requests, last) = quiet(world, &standby).await;
    let what = format!("change of leader with {count} resources that are fine");
    bench.figures.add(Figure::new(format!("{what}: until the other leads"), took, "s"));
    let quiet = last.duration_since(at).as_secs_f64();
    bench.figures.add(
        Figure::new(format!("{what}: until quiet"), quiet, "s")
            .against("one GET for each, bare clients", bare.seconds),
    );
    costs(bench, world, &what, &requests, exchanges, count);
}

async fn until_leader(operator: &Operator) {
    operator.wait_ready().await;
    while operator.metric("squadcast_operator_leader") != Some(1.0) {
        tokio::time::sleep(LOOK).await;
    }
}

fn costs(
    bench: &mut Bench,
    world: &World,
    what: &str,
    requests: &[crate::support::audit::Request],
    exchanges_before: usize,
    count: usize,
) {
    let requests = work(requests.to_vec());
    let (each, words) = by_verb(&requests, count);
    let writes = requests.iter().filter(|request| request.is_write()).count();
    let exchanges = world.squadcast.all_requests().len() - exchanges_before;
    bench.figures.add(Figure::new(format!("{what}: API requests each"), each, "").at_most(1.0).note(words));
    bench.figures.add(Figure::new(format!("{what}: writes"), writes as f64, "").at_most(0.0));
    bench.figures.add(Figure::new(format!("{what}: exchanges"), exchanges as f64, "").at_most(0.0));
}
