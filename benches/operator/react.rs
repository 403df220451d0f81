//! How soon the operator, which has nothing else to do, acts on what happens.

use std::time::{Duration, Instant};

use futures::stream::{BoxStream, StreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use serde_json::json;

use crate::bare::{self, Work};
use crate::crowd::{create_resource, create_source, launch, names, prepare, source, target, token};
use crate::figures::Figure;
use crate::support::Reply;
use crate::support::world::World;
use crate::{Bench, percentile, setting};

/// Two exchanges of one resource are at least so far apart.
const BETWEEN_EXCHANGES: Duration = Duration::from_secs(7);

type Changes = BoxStream<'static, watcher::Result<Event<PartialObjectMeta<Secret>>>>;

pub async fn measure(bench: &mut Bench) {
    let names = names(setting("SAMPLES", 100));
    let bare_world = World::on(&bench.plane, "react").await;
    prepare(&bare_world, &names, |_| Reply::token().into()).await;
    let mut least = bare::run_with(&bare_world, Work::Issue, 1).await.each;

    let world = World::on(&bench.plane, "react").await;
    let operator = launch(&world, bench.program(), &[]);
    operator.wait_ready().await;
    let secrets: Api<PartialObjectMeta<Secret>> = Api::namespaced(world.client.clone(), &world.namespace);
    let mut changes = watcher::watcher(secrets, watcher::Config::default()).boxed();
    let (mut created, mut replaced, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
    for name in &names {
        world.squadcast.script(&token(name), Reply::token());
        create_source(&world, &source(name), &token(name)).await;
        let began = Instant::now();
        create_resource(&world, name, &source(name)).await;
        written(&mut changes, &target(name)).await;
        created.push(began.elapsed().as_secs_f64());
    }
    tokio::time::sleep(BETWEEN_EXCHANGES).await;
    for name in &names {
        let other = format!("other-{}", token(name));
        world.squadcast.script(&other, Reply::token());
        let patch = Patch::Merge(json!({ "stringData": { "refresh_token": other } }));
        let began = Instant::now();
        world.secrets().patch(&source(name), &PatchParams::default(), &patch).await.expect("a Secret");
        written(&mut changes, &target(name)).await;
        replaced.push(began.elapsed().as_secs_f64());
    }
    tokio::time::sleep(BETWEEN_EXCHANGES).await;
    for name in &names {
        let began = Instant::now();
        world.delete_secret(&target(name)).await;
        written(&mut changes, &target(name)).await;
        deleted.push(began.elapsed().as_secs_f64());
    }
    for (what, times) in [
        ("resource created → Secret there", &mut created),
        ("source changed → new token there", &mut replaced),
        ("target deleted → Secret back", &mut deleted),
    ] {
        for percent in [50, 99] {
            bench.figures.add(
                Figure::new(format!("{what}, p{percent}"), percentile(times, percent) * 1e3, "ms").against(
                    "all requests of a first sync in a row, bare client",
                    percentile(&mut least, percent) * 1e3,
                ),
            );
        }
    }
}

/// Waits until a watch shows that this Secret was written.
async fn written(changes: &mut Changes, name: &str) {
    loop {
        let change = changes.next().await.expect("a watch never ends").expect("a watch");
        if let Event::Apply(object) | Event::InitApply(object) = change
            && object.metadata.name.as_deref() == Some(name)
        {
            return;
        }
    }
}
