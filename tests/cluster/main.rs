//! The built binary against a real etcd, kube-apiserver and kube-controller-manager, and an HTTPS stand-in for
//! Squadcast. One module a behaviour; each test has a namespace, a stand-in and an operator of its own.

#[path = "../support/mod.rs"]
mod support;

mod admission;
mod canary;
mod command;
mod life;
mod process;

/// The binary under test.
const OPERATOR: &str = env!("CARGO_BIN_EXE_squadcast-operator");
