//! squadcast-operator keeps valid Squadcast access tokens in Kubernetes Secrets.
//!
//! Somebody creates a [`api::SquadcastCredential`] that names a Secret with a refresh token and a Secret to
//! write. A reconcile is one walk through four rooms, always in the same direction; what decides is pure, what
//! touches the outside is thin:
//!
//! ```text
//!            watches (metadata only for Secrets)         timers
//!                  │                                       │
//!                  ▼            wake up: namespace/name    ▼
//!  controller   index ───────────────▶ queue ◀─────────────┘
//!                                        │
//!                                        ▼
//!  reconcile    observe ──▶ decide ──▶ act ──▶ report
//!               [kube]      [pure]     [kube,  [pure → one status
//!                                       http]   patch, events]
//! ```
//!
//! | where | what |
//! |---|---|
//! | [`api`] | the resource: spec, status, conditions, the catalogue of reasons |
//! | [`controller`] | watches, index (who cares about which Secret), queue, timers, the loop |
//! | [`reconcile`] | the four rooms, and whose Secret is whose |
//! | [`schedule`] | when: renewal, back-off, repairs |
//! | [`squadcast`] | the exchange over HTTP, what answers mean, sharing, limits per region |
//! | [`secret`] | reading the refresh token, rendering, hashing and writing the target |
//! | [`ops`] | logs, metrics, endpoints, events, leader election, shutdown |
//! | [`cli`] | `run`, `crd`, `check` |
//! | `redact` | the words of others, which may hold a token, made fit to be told |
//! | `room` | how much room a table keeps that a wave has filled |
//! | `slots` | how many reconciles are at work at once |
//! | `simulation` | the model of the world and the promises that hold in it; only for tests |
//!
//! Time, randomness and the environment come in as parameters; `cli::run` puts the parts together.

pub mod api;
pub mod cli;
pub mod controller;
pub mod ops;
pub mod reconcile;
mod redact;
mod room;
pub mod schedule;
pub mod secret;
#[cfg(test)]
mod simulation;
mod slots;
pub mod squadcast;

/// What the operator calls itself, to the API server and to Squadcast.
pub(crate) const USER_AGENT: &str = concat!("squadcast-operator/", env!("CARGO_PKG_VERSION"));
