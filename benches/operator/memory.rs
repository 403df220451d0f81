//! Memory with many resources, and with many big Secrets that are none of the operator's business.

use std::time::{Duration, Instant};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::crowd::{Observer, in_parallel, launch, names, prepare, quiet};
use crate::figures::Figure;
use crate::process::{cpu, memory, peak};
use crate::support::world::World;
use crate::support::{Component, Reply};
use crate::{Bench, setting};

/// Data of a foreign Secret in bytes.
const SIZE: usize = 100 * 1024;
/// So many foreign Secrets change each second.
const GROUP: usize = 50;
const SECONDS: usize = 20;
/// Answers are kept for 30 s, for others who share the refresh token; what is remembered of each exchange, for twice that.
pub const SHARED: Duration = Duration::from_secs(100);

pub async fn measure(bench: &mut Bench) {
    let count = bench.crowd;
    let world = World::on(&bench.plane, "memory").await;
    prepare(&world, &names(count), |_| Reply::token().into()).await;
    let observer = Observer::ready(&world, count).await;
    let operator = launch(&world, bench.program(), &[]);
    observer.done().await;
    quiet(&world, &operator).await;
    let resident = memory(&operator).await;
    bench.figures.add(
        Figure::new(format!("memory with {count} resources, after their first syncs"), resident, "MB")
            .at_most(32.0)
            .note(format!("at most {:.1} MB on the way", peak(&operator))),
    );
    tokio::time::sleep(SHARED).await;
    bench.figures.add(
        Figure::new(
            format!("memory with {count} resources, when no answer is kept any more"),
            memory(&operator).await,
            "MB",
        )
        .at_most(32.0),
    );
    operator.kill();
    let restarted = launch(&world, bench.program(), &[]);
    restarted.wait_ready().await;
    quiet(&world, &restarted).await;
    let without = memory(&restarted).await;
    bench.figures.add(
        Figure::new(format!("memory with {count} resources, after a restart"), without, "MB").at_most(32.0),
    );

    let foreign: Vec<String> =
        names(setting("FOREIGN", 10_000)).iter().map(|name| format!("foreign-{name}")).collect();
    in_parallel(&foreign, async |name| create_foreign(&world, name).await).await;
    quiet(&world, &restarted).await;
    let with = memory(&restarted).await;
    let crowd = format!("{} foreign Secrets of 100 KB", foreign.len());
    bench.figures.add(
        Figure::new(format!("memory, and {crowd} that come"), with, "MB")
            .against("before", without)
            .more_at_most(2.0),
    );
    let before = cpus(bench, restarted.pid());
    let changed = change(&world, &foreign).await;
    let after = cpus(bench, restarted.pid());
    let share = |part: usize| (after[part] - before[part]) / changed * 100.0;
    bench.figures.add(
        Figure::new(format!("processor share while {GROUP} of them change each second"), share(0), "%")
            .against("the API server's", share(1)),
    );
    restarted.kill();
    let again = launch(&world, bench.program(), &[]);
    again.wait_ready().await;
    quiet(&world, &again).await;
    bench.figures.add(
        Figure::new(format!("memory, and {crowd}, after a restart"), memory(&again).await, "MB")
            .against("without them", without)
            .more_at_most(2.0)
            .note(format!("at most {:.1} MB on the way", peak(&again))),
    );
}

async fn create_foreign(world: &World, name: &str) {
    let secret = Secret {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        data: Some([("blob".to_owned(), ByteString(vec![b'x'; SIZE]))].into()),
        ..Secret::default()
    };
    let made = world.secrets().create(&PostParams::default(), &secret).await;
    made.unwrap_or_else(|error| panic!("Secret {name}: {error}"));
}

/// Changes a group a second. Returns how long that took in seconds.
async fn change(world: &World, names: &[String]) -> f64 {
    let began = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    for (second, group) in names.chunks(GROUP).cycle().take(SECONDS).enumerate() {
        tick.tick().await;
        let patch = json!({ "metadata": { "annotations": { "second": second.to_string() } } });
        in_parallel(group, async |name| {
            let patched =
                world.secrets().patch_metadata(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
            patched.unwrap_or_else(|error| panic!("Secret {name}: {error}"));
        })
        .await;
    }
    began.elapsed().as_secs_f64()
}

/// Processor time of an operator and of the API server.
fn cpus(bench: &Bench, operator: u32) -> [f64; 2] {
    [cpu(operator), cpu(bench.plane.pids()[Component::ApiServer as usize])]
}
