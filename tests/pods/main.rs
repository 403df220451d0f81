//! The chart in real Pods: the operator's image as users get it, run by a kubelet under the restricted Pod Security
//! Standard with its own `ServiceAccount`, and workloads that mount what it writes. One module a behaviour.
//!
//! `make test-pods` runs it, in namespaces that hold no more than these tests; that needs root on Linux.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure in a helper is a failed test, and a panic is how to say so; commands and times are for people to read"
)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../cluster_chart/release.rs"]
#[allow(dead_code, reason = "here its Pods are run by a kubelet")]
mod release;

mod check;
mod consumer;
mod cost;
mod image;
mod life;
mod node;
mod stage;
mod traces;
mod trouble;

/// What a release needs that has no kubelet.
const OPERATOR: &str = env!("CARGO_BIN_EXE_squadcast-operator");
