//! What the tests stand on: a real control plane, a stand-in for Squadcast, the operator as a process.
//!
//! A test binary takes it in with `mod support;`; each uses a part of it.
#![allow(dead_code, unused_imports, reason = "every test binary compiles all of this and uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a failure in a test's support is a failed test, and a panic is how to say so"
)]
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::missing_panics_doc,
    reason = "nothing outside the tests sees these items"
)]

pub mod audit;
pub mod controlplane;
pub mod eventually;
pub mod front;
pub mod kubectl;
pub mod operator;
pub mod pki;
pub mod process;
pub mod proxy;
pub mod squadcast;
pub mod world;

pub use controlplane::{Component, ControlPlane, Options};
pub use eventually::{DEADLINE, eventually};
pub use front::{Asked, Fate, Front};
pub use operator::Operator;
pub use proxy::Proxy;
pub use squadcast::{Cut, Gate, Reply, Script, Squadcast, Tls};
pub use world::World;

/// Makes ring the process's default for TLS; reqwest and kube need one to be chosen.
pub fn install_crypto() {
    // An error says that one is installed already, by an earlier call.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
