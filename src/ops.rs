//! What every operator needs around its work: logs, metrics, endpoints, events, leader election, clients,
//! shutdown. Knows nothing of tokens; what decides here is pure, what touches the outside is thin.

pub mod clients;
pub mod health;
pub mod http;
pub mod identity;
pub mod metrics;
pub mod shutdown;
pub mod telemetry;
