//! The process: its command line, its endpoints, metrics and logs, what it waits for, and how it stops.

mod logs;
mod metrics;
mod readiness;
mod refusals;
mod settings;
mod stop;
