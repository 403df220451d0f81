//! What the operator is before it has anything to do: its size, its start, its memory.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::crowd::launch;
use crate::figures::Figure;
use crate::process::{cpu, memory};
use crate::support::world::World;
use crate::{Bench, median};

const STARTS: usize = 11;
/// How long an operator with nothing to do is watched.
const IDLE: Duration = Duration::from_secs(10);

pub async fn measure(bench: &mut Bench) {
    let size = std::fs::metadata(bench.program()).expect("the binary").len();
    bench.figures.add(Figure::new("size of the binary", size as f64 / 1e6, "MB").at_most(11.0));

    let world = World::on(&bench.plane, "start").await;
    let (mut spawned, mut listed) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let began = Timestamp::now();
        let operator = launch(&world, bench.program(), &[]);
        operator.wait_ready().await;
        spawned.push(since(began, &operator.log(), "starting"));
        listed.push(since(began, &operator.log(), "Secrets in namespace"));
    }
    bench.figures.add(
        Figure::new("start to first lists done, empty namespace", median(listed), "s")
            .against("until its first log line", median(spawned))
            .at_most(0.03),
    );

    let operator = launch(&world, bench.program(), &[]);
    operator.wait_ready().await;
    bench.figures.add(Figure::new("memory, empty", memory(&operator).await, "MB").at_most(11.0));
    let before = cpu(operator.pid());
    tokio::time::sleep(IDLE).await;
    let share = (cpu(operator.pid()) - before) / IDLE.as_secs_f64() * 100.0;
    bench.figures.add(Figure::new("processor share, idle", share, "%"));
}

/// Seconds until the log line whose message begins like that.
fn since(began: Timestamp, log: &str, message: &str) -> f64 {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut found =
        lines.filter(|line| line["message"].as_str().is_some_and(|text| text.starts_with(message)));
    let line = found.next().unwrap_or_else(|| panic!("no line {message:?} in the log"));
    let at: Timestamp = line["timestamp"].as_str().and_then(|at| at.parse().ok()).expect("a time");
    at.duration_since(began).as_secs_f64()
}
