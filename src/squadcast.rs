//! Squadcast's auth service: the exchange of a refresh token for an access token, what its answers mean,
//! and how often it may be asked. Knows nothing of Kubernetes.

mod advice;
mod answer;
mod client;
mod exchanges;
mod limits;
mod region;
mod token;

pub(crate) use advice::{advised, between};
pub use answer::{Body, Failure, Grant, Reply, classify};
pub use client::{Client, ClientError, InvalidCaFile, InvalidProxy, Proxies, Settings};
pub use exchanges::{Ask, Duty, Exchanges, Hooks, Line, Moment, Outcome, Transport};
pub use limits::Rate;
pub use region::{InvalidRegion, Region, Regions};
pub use token::{AccessToken, Fingerprint, InvalidRefreshToken, RefreshToken};

/// The wall clock.
pub type Clock = std::sync::Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>;
