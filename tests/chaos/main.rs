//! What dies, hangs or lies while the operator works: the process itself, the cluster, Squadcast, the leader.
//!
//! The figures that are printed are the point; `make chaos` shows them and goes on for longer, by `KILLS` and
//! `WAVES`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure in a test's helper is a failed test, and what was measured is to be seen"
)]

#[path = "../support/mod.rs"]
mod support;

#[allow(dead_code, reason = "the tests of the cluster use the rest")]
#[path = "../cluster/steps.rs"]
mod steps;

#[allow(dead_code, reason = "the tests of the cluster use the rest")]
#[path = "../cluster/administrator.rs"]
mod administrator;

mod away;
mod every_step;
mod kills;
mod leaders;
mod outages;
mod waves;

/// The binary under test.
const OPERATOR: &str = env!("CARGO_BIN_EXE_squadcast-operator");

/// A number from the environment: how long to go on, or where chance begins.
fn setting(name: &str, usual: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")),
        Err(_) => usual,
    }
}
