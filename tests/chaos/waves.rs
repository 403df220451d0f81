//! Resources that come and go in waves: the process's memory returns to its base, and nothing is left of them in the
//! metrics.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::iter;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use crate::OPERATOR;
use crate::setting;
use crate::support::squadcast::Reply;
use crate::support::world::{REGION, World, condition};
use crate::support::{DEADLINE, Operator, eventually};

/// Refresh tokens that the resources of a wave share.
const SOURCES: usize = 25;
const MIB: f64 = 1024.0 * 1024.0;

fn resident(operator: &Operator) -> f64 {
    operator.metric("process_resident_memory_bytes").unwrap() / MIB
}

fn series(operator: &Operator) -> usize {
    operator.metrics().lines().filter(|line| line.starts_with("squadcast_credential_")).count()
}

async fn come(world: &World, wave: usize, count: usize) {
    let create = async |number: usize| {
        let spec = json!({
            "region": REGION,
            "refreshTokenSecretRef": { "name": format!("source-{}", number % SOURCES) },
            "target": { "name": format!("target-{wave}-{number}") },
        });
        world.apply(&format!("w{wave}-{number}"), spec).await;
    };
    iter((0..count).map(create)).buffer_unordered(16).collect::<Vec<_>>().await;
    // A big wave takes its time.
    let patience = DEADLINE + Duration::from_millis(100) * u32::try_from(count).unwrap();
    eventually(&format!("wave {wave} to be ready"), patience, async || {
        // To list a big wave costs as much as some of the work that is waited for.
        tokio::time::sleep(Duration::from_millis(count as u64)).await;
        let all =
            world.credentials().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let ready = |resource: &_| {
            let resource = serde_json::to_value(resource).unwrap();
            condition(&resource, "Ready").is_some_and(|ready| ready["status"] == "True")
        };
        let ready = all.items.iter().filter(|one| ready(one)).count();
        if ready == count { Ok(()) } else { Err(format!("{ready} of {count}")) }
    })
    .await;
}

async fn go(world: &World, operator: &Operator) {
    let all = ListParams::default();
    world.credentials().delete_collection(&DeleteParams::default(), &all).await.unwrap();
    // The garbage collector would take them too, later.
    let targets = ListParams::default().labels("app.kubernetes.io/managed-by=squadcast-operator");
    eventually("the targets to be gone", DEADLINE, async || {
        let _ = world.secrets().delete_collection(&DeleteParams::default(), &targets).await;
        world.secrets().list(&targets).await.is_ok_and(|left| left.items.is_empty())
    })
    .await;
    eventually("the metrics to be gone", DEADLINE, async || series(operator) == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resources_that_come_and_go_leave_nothing_behind() {
    let total = usize::try_from(setting("RESOURCES", 500)).unwrap();
    let waves = usize::try_from(setting("WAVES", 5)).unwrap();
    let count = total / waves;
    let world = World::new("waves").await;
    for number in 0..SOURCES {
        let token = format!("rt-wave-{number}");
        world.squadcast.script(&token, Reply::token());
        world.put_secret(&format!("source-{number}"), &[("refresh_token", &token)]).await;
    }
    let operator = world.operator(OPERATOR, &["--exchange-rate=1000", "--log-filter=warn"]).await;
    let empty = resident(&operator);
    let (mut full, mut after) = (Vec::new(), Vec::new());
    for wave in 0..waves {
        come(&world, wave, count).await;
        assert!(series(&operator) >= count);
        full.push(resident(&operator));
        go(&world, &operator).await;
        after.push(resident(&operator));
    }
    let (first, last) = (after[0], after[waves - 1]);
    let most = full.iter().copied().fold(0.0, f64::max);
    println!(
        "waves: {total} resources in {waves} waves; resident {empty:.1} MiB empty, {most:.1} at most, {first:.1} after the first wave, {last:.1} after the last ({:.2} times), 0 series left",
        last / first
    );
    // What the first wave made the process keep for later, and no more for the others.
    assert!(last < first * 1.25 + 2.0, "{after:?}");
}
