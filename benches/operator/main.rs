//! Measures the built operator on a real control plane, each figure next to what it is compared with in the same run:
//! `make bench`.
//!
//! Load is prepared by 32 parallel requests. Raw limits are those of bare clients (`bare.rs`) that make the same
//! requests and the same exchanges on the same API server, 32 in flight. Settings come from the environment:
//! `ONLY` names sections, the others sizes; `docs/performance.md` lists them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a measurement that fails says so by a panic, and counts are far below 2^52"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

#[path = "../../tests/support/mod.rs"]
mod support;

mod bare;
mod crowd;
mod figures;
mod first;
mod growth;
mod late;
mod memory;
mod process;
mod react;
mod restart;
mod start;

use figures::Figures;
use support::controlplane::{ControlPlane, Options, definition_file};

/// Sections in their order.
const SECTIONS: [&str; 9] =
    ["start", "first", "renew", "shared", "react", "restart", "late", "memory", "growth"];

/// What to measure, and how much of it.
struct Bench {
    /// The operator's binary.
    program: PathBuf,
    plane: Arc<ControlPlane>,
    figures: Figures,
    /// Resources of a usual section.
    resources: usize,
    /// Resources of a big one.
    crowd: usize,
    /// How often a section that takes seconds is repeated; its figures are medians.
    rounds: usize,
}

impl Bench {
    fn program(&self) -> &Path {
        &self.program
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let [program] = arguments.as_slice() else {
        panic!("usage: cargo bench --bench operator -- PATH_OF_THE_OPERATOR'S_BINARY; `make bench` names it");
    };
    let program = std::fs::canonicalize(program).unwrap_or_else(|error| panic!("{program}: {error}"));
    let only = wanted();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let definitions = vec![std::fs::read_to_string(definition_file()).expect("the definition")];
        let plane = Arc::new(ControlPlane::start_with(&Options { definitions, ..Options::default() }));
        let figures = Figures::new(&plane, &program).await;
        let mut bench = Bench {
            program,
            plane,
            figures,
            resources: setting("RESOURCES", 1000),
            crowd: setting("CROWD", 10_000),
            rounds: setting("ROUNDS", 3),
        };
        for section in only {
            println!("==> {section}");
            match section.as_str() {
                "start" => start::measure(&mut bench).await,
                "first" => first::measure(&mut bench).await,
                "renew" => first::measure_renewals(&mut bench).await,
                "shared" => first::measure_shared(&mut bench).await,
                "react" => react::measure(&mut bench).await,
                "restart" => restart::measure(&mut bench).await,
                "late" => late::measure(&mut bench).await,
                "memory" => memory::measure(&mut bench).await,
                "growth" => growth::measure(&mut bench).await,
                _ => unreachable!("checked before"),
            }
        }
        bench.figures.publish();
    });
}

/// The sections that `ONLY` names, all without it.
fn wanted() -> Vec<String> {
    let text = std::env::var("ONLY").unwrap_or_default();
    let only: Vec<&str> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    for name in &only {
        assert!(SECTIONS.contains(name), "ONLY={text}: there is no section {name}, only {SECTIONS:?}");
    }
    let sections = SECTIONS.into_iter().filter(|name| only.is_empty() || only.contains(name));
    sections.map(str::to_owned).collect()
}

/// A number from the environment.
fn setting(name: &str, usual: usize) -> usize {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")),
        _ => usual,
    }
}

/// The one in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    percentile(&mut values, 50)
}

/// The value that so many per cent of all do not exceed.
fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() * percent).div_ceil(100).clamp(1, values.len()) - 1]
}
