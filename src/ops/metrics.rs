//! Metrics: what is counted, under which names and labels. Keeps numbers in memory; reads `/proc/self`
//! when asked for the text.

mod credentials;
mod process;
mod text;

use std::sync::{Arc, atomic::AtomicI64};

use jiff::Timestamp;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::Registry,
};

use self::credentials::Credentials;
pub use self::credentials::{CredentialSample, CredentialSource};
use crate::api::Reason;

/// Content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds in seconds: an exchange has 15 s unless configured otherwise.
const EXCHANGE_BUCKETS: [f64; 9] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0];
/// Upper bounds in seconds.
const RECONCILE_BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Exchange {
    region: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Region {
    region: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
    revision: &'static str,
}

#[derive(Clone, Copy, Debug)]
struct ExchangeSeconds;

impl MetricConstructor<Histogram> for ExchangeSeconds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(EXCHANGE_BUCKETS)
    }
}

/// Every metric of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    exchanges: Family<Exchange, Counter>,
    exchange_seconds: Family<Region, Histogram, ExchangeSeconds>,
    rotations: Family<Region, Counter>,
    reconciles: Family<Outcome, Counter>,
    reconcile_seconds: Histogram,
    events_dropped: Counter,
    leader: Gauge<i64, AtomicI64>,
    source: credentials::Source,
}

impl Metrics {
    /// All at zero; `started` is when the process began.
    pub fn new(started: Timestamp) -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            exchanges: Family::default(),
            exchange_seconds: Family::new_with_constructor(ExchangeSeconds),
            rotations: Family::default(),
            reconciles: Family::default(),
            reconcile_seconds: Histogram::new(RECONCILE_BUCKETS),
            events_dropped: Counter::default(),
            leader: Gauge::default(),
            source: credentials::Source::default(),
        };
        metrics.register(started);
        metrics
    }

    fn register(&mut self, started: Timestamp) {
        let build = Family::<Build, ConstGauge<i64>, _>::new_with_constructor(|| ConstGauge::new(1));
        drop(build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION"), revision: revision() }));
        let registry = &mut self.registry;
        // `_total` is appended to the names of counters.
        registry.register("squadcast_exchanges", "Exchanges with Squadcast", self.exchanges.clone());
        registry.register(
            "squadcast_exchange_duration_seconds",
            "How long an exchange took",
            self.exchange_seconds.clone(),
        );
        registry.register(
            "squadcast_refresh_token_rotations",
            "Answers that held another refresh token than the one sent",
            self.rotations.clone(),
        );
        registry.register("squadcast_reconciles", "Reconciles of a resource", self.reconciles.clone());
        registry.register(
            "squadcast_reconcile_duration_seconds",
            "How long a reconcile took, waiting included",
            self.reconcile_seconds.clone(),
        );
        registry.register(
            "squadcast_events_dropped",
            "Kubernetes Events that could not be written",
            self.events_dropped.clone(),
        );
        registry.register("squadcast_operator_leader", "Whether this process leads", self.leader.clone());
        registry.register(
            "squadcast_operator_build_info",
            "Version and source revision of the running program",
            build,
        );
        registry.register_collector(Box::new(Credentials {
            leader: self.leader.clone(),
            source: self.source.clone(),
        }));
        registry.register_collector(Box::new(process::Process { started }));
    }

    /// Where the metrics of single resources come from. Only the first call has an effect.
    pub fn credentials_from(&self, source: Arc<dyn CredentialSource>) {
        self.source.set(source);
    }

    /// A region that exchanges will be made with: its counters start at zero, so that the first failure
    /// is seen as an increase.
    pub fn region(&self, region: &str) {
        let region = region.to_owned();
        drop(self.rotations.get_or_create(&Region { region: region.clone() }));
        drop(self.exchanges.get_or_create(&Exchange { region, outcome: "success" }));
    }

    /// An exchange has ended, with success or for a reason, after so many seconds.
    pub fn exchange(&self, region: &str, outcome: Result<(), Reason>, seconds: f64) {
        let region = region.to_owned();
        self.exchange_seconds.get_or_create(&Region { region: region.clone() }).observe(seconds);
        let outcome = outcome.map_or_else(Reason::as_str, |()| "success");
        self.exchanges.get_or_create(&Exchange { region, outcome }).inc();
    }

    /// An answer held another refresh token than the one sent.
    pub fn rotation(&self, region: &str) {
        self.rotations.get_or_create(&Region { region: region.to_owned() }).inc();
    }

    /// A reconcile has ended after so many seconds. The outcome comes from a small fixed set.
    pub fn reconcile(&self, outcome: &'static str, seconds: f64) {
        self.reconcile_seconds.observe(seconds);
        self.reconciles.get_or_create(&Outcome { outcome }).inc();
    }

    /// An event could not be written.
    pub fn event_dropped(&self) {
        self.events_dropped.inc();
    }

    /// Whether this process leads; the metrics of single resources are shown only while it does.
    pub fn leader(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// Everything as Prometheus text, of [`CONTENT_TYPE`].
    pub fn encode(&self) -> String {
        text::encode(&self.registry)
    }
}

fn revision() -> &'static str {
    option_env!("SQUADCAST_OPERATOR_REVISION").filter(|revision| !revision.is_empty()).unwrap_or("unknown")
}

#[cfg(test)]
mod tests;
