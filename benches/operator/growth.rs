//! Whether work for one resource, and memory for it, stay the same however many others there are.

use crate::Bench;
use crate::crowd::{Observer, launch, names, prepare, quiet};
use crate::figures::Figure;
use crate::memory::SHARED;
use crate::process::{cpu, memory};
use crate::support::Reply;
use crate::support::world::World;

pub async fn measure(bench: &mut Bench) {
    let sizes = std::env::var("GROWTH").unwrap_or_else(|_| "1000,5000,20000".to_owned());
    let mut first = None;
    for size in sizes.split(',') {
        let count: usize = size.trim().parse().unwrap_or_else(|error| panic!("GROWTH={sizes}: {error}"));
        let world = World::on(&bench.plane, "growth").await;
        let idle = launch(&world, bench.program(), &[]);
        idle.wait_ready().await;
        let (base, start) = (memory(&idle).await, cpu(idle.pid()));
        idle.kill();
        prepare(&world, &names(count), |_| Reply::token().into()).await;
        let observer = Observer::ready(&world, count).await;
        let operator = launch(&world, bench.program(), &[]);
        observer.done().await;
        quiet(&world, &operator).await;
        let each = (cpu(operator.pid()) - start) * 1e3 / count as f64;
        // Of few resources all answers are still kept here, of many only the last ones.
        tokio::time::sleep(SHARED).await;
        let bytes = (memory(&operator).await - base) * 1e3 / count as f64;
        let (smallest, least, fewest) = *first.get_or_insert((count, each, bytes));
        let mut processor =
            Figure::new(format!("{count} resources: processor time of a first sync"), each, "ms");
        let mut resident = Figure::new(format!("{count} resources: memory for each"), bytes, "KB");
        if count != smallest {
            processor = processor.against(format!("with {smallest}"), least).ratio_at_most(1.1);
            resident = resident.against(format!("with {smallest}"), fewest).ratio_at_most(1.1);
        }
        bench.figures.add(processor);
        bench.figures.add(resident);
    }
}
