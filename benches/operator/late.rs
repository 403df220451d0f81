//! How late renewals come that fall due within a minute, beyond the slots that the configured limits leave them.

use std::time::UNIX_EPOCH;

use jiff::Timestamp;

use crate::crowd::{Observer, launch, names, prepare};
use crate::figures::Figure;
use crate::first::due_at;
use crate::support::world::World;
use crate::{Bench, percentile, setting};

/// Within so many seconds all fall due.
const WINDOW: i64 = 60;

pub async fn measure(bench: &mut Bench) {
    let names = names(bench.crowd);
    let count = i64::try_from(names.len()).expect("few");
    let rate = setting("RATE", 100);
    let issued = Timestamp::now().as_second();
    // Time enough to prepare and issue them all before.
    let first_due = issued + 60 + count / 40;
    let due = |number: i64| first_due + number * WINDOW / count;
    let world = World::on(&bench.plane, "late").await;
    prepare(&world, &names, |name| {
        due_at(name, issued, due(name[1..].parse().expect("the number in a name")))
    })
    .await;
    let observer = Observer::ready(&world, names.len()).await;
    let first = launch(&world, bench.program(), &[]);
    observer.done().await;
    first.kill();
    let limits = [format!("--exchange-rate={rate}"), "--exchange-concurrency=32".to_owned()];
    let operator = world.launch(bench.program()).args(limits).start();
    operator.wait_ready().await;
    assert!(Timestamp::now().as_second() < first_due, "all are issued before the first one is due");
    let observer = Observer::renewed(&world, names.len(), first_due).await;
    observer.done().await;

    let first_due = first_due as f64;
    let came = world.squadcast.all_requests().into_iter();
    let came = came.map(|request| request.wall.duration_since(UNIX_EPOCH).expect("a time").as_secs_f64());
    let mut came: Vec<f64> = came.filter(|at| *at >= first_due).collect();
    came.sort_by(f64::total_cmp);
    let slots = slots((0..count).map(|number| due(number) as f64), rate as f64);
    let lateness = |instants: &[f64]| -> Vec<f64> {
        came.iter().zip(instants).map(|(came, slot)| came - slot).collect()
    };
    let mut beyond = lateness(&slots);
    let mut since_due = lateness(&(0..count).map(|number| due(number) as f64).collect::<Vec<_>>());
    let what =
        format!("{count} renewals due within a minute, at most {rate} a second: begun beyond the slot");
    for percent in [50, 99] {
        let figure = Figure::new(format!("{what}, p{percent}"), percentile(&mut beyond, percent), "s")
            .against("since they were due", percentile(&mut since_due, percent));
        bench.figures.add(if percent == 99 { figure.at_most(1.0) } else { figure });
    }
}

/// The earliest instants at which so many a second, with a burst of one second's worth, may begin.
fn slots(due: impl Iterator<Item = f64>, rate: f64) -> Vec<f64> {
    let (mut budget, mut counted) = (rate, f64::MIN);
    let mut slots = Vec::new();
    for due in due {
        let mut at = due.max(counted);
        if counted > f64::MIN {
            budget = (budget + (at - counted) * rate).min(rate);
        }
        if budget < 1.0 {
            at += (1.0 - budget) / rate;
            budget = 1.0;
        }
        budget -= 1.0;
        counted = at;
        slots.push(at);
    }
    slots
}
