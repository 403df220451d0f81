//! The built binary against a real etcd, kube-apiserver and kube-controller-manager, and an HTTPS stand-in for
//! Squadcast. One module a behaviour; each test has a namespace, a stand-in and an operator of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failure in a test's helper is a failed test, and a panic is how to say so"
)]

#[path = "../support/mod.rs"]
mod support;

mod administrator;
mod admission;
mod brakes;
mod canary;
mod check;
mod clocks;
mod command;
mod failures;
mod labelled;
mod leaving;
mod life;
mod meanwhile;
mod obstacles;
mod process;
mod restart;
mod rights;
mod rotation;
mod sharing;
mod steps;
mod target;

/// The binary under test.
const OPERATOR: &str = env!("CARGO_BIN_EXE_squadcast-operator");
