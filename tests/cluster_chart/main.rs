//! The chart, installed by helm on a real control plane, and the built binary run as its Pods would run it. One
//! module a behaviour.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure in a helper is a failed test, and a panic is how to say so; the rights are for people to read"
)]

#[path = "../support/mod.rs"]
mod support;

mod earlier;
mod effects;
mod flags;
mod health;
mod lifecycle;
mod manifests;
mod names;
mod neighbours;
mod pasted;
mod published;
mod release;
mod rights;
mod schema;
mod values;

/// The binary under test.
const OPERATOR: &str = env!("CARGO_BIN_EXE_squadcast-operator");
