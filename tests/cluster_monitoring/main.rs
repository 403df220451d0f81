//! What the chart brings for monitoring, with the real Prometheus: alerts, dashboard, and what the person paged at night
//! sees of three faults.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failure in a helper is a failed test, and a panic is how to say so"
)]

#[path = "../support/mod.rs"]
mod support;

mod alerts;
mod dashboard;
mod document;
mod night;
mod prometheus;
#[path = "../cluster_chart/release.rs"]
#[allow(dead_code, reason = "the chart's own tests use all of it")]
mod release;

/// The binary under test.
const OPERATOR: &str = env!("CARGO_BIN_EXE_squadcast-operator");
