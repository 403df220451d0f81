//! `run`: puts the parts together, starts them, and ends them in order.

use std::{process::ExitCode, sync::Arc, time::Duration};

use jiff::Timestamp;
use tracing::info;

use super::{RunArgs, Stop, no_client, regions, runtime, selector, usage::Usage};
use crate::{
    api::{Key, Reason},
    controller::{self, Controller, Index, Kinds, Scope, SharedIndex, Watch, Watches, secret_selectors},
    ops::{
        clients::{self, Clients},
        events::{self, Event, EventSender, ObjectRef},
        health::{Heartbeat, Readiness},
        http::{self, Endpoints},
        identity,
        leader::{Candidate, Leadership, Moment},
        metrics::{CredentialSample, CredentialSource, Metrics},
        shutdown::Shutdown,
        telemetry::{self, TelemetryError},
    },
    reconcile::{Context, Credential},
    squadcast::{Client, Exchanges, Hooks, Rate, Regions},
};

/// How long work in hand may take after a signal.
const DRAIN: Duration = Duration::from_secs(25);
/// How long events may take after that.
const LAST_EVENTS: Duration = Duration::from_secs(2);

/// Runs the operator until a signal.
pub(super) fn run(args: RunArgs) -> Result<ExitCode, Stop> {
    telemetry::init(args.log_format, &args.log_filter).map_err(|error| match error {
        TelemetryError::Directive { .. } => Usage::of("--log-filter", error.to_string()).into(),
        TelemetryError::Twice => Stop::Failure(error.to_string()),
    })?;
    let regions = regions(&args.regions, args.squadcast.insecure_allow_http)?;
    let namespaces = namespaces(&args.namespaces)?;
    if let Some(part) = args.selector.as_deref().and_then(selector::fault) {
        let problem = format!(
            "\"{part}\" is not part of a label selector; write one such as team=a,tier!=test,region in (us,eu),!paused"
        );
        return Err(Usage::of("--selector", problem).into());
    }
    let transport = Client::new(args.squadcast.settings()?).map_err(|e| no_client(&e))?;
    runtime()?.block_on(serve(args, namespaces, regions, transport))
}

/// The namespaces to watch, once each; none: all.
fn namespaces(given: &[String]) -> Result<Vec<String>, Usage> {
    let mut names: Vec<String> = given.iter().filter(|name| !name.is_empty()).cloned().collect();
    if names.is_empty() && given.len() > 1 {
        // Commas alone are no wish for all.
        return Err(Usage::of(
            "--namespaces",
            "there is no name between the commas; write such as team-a,team-b",
        ));
    }
    names.sort();
    names.dedup();
    Ok(names)
}

async fn serve(
    args: RunArgs,
    namespaces: Vec<String>,
    regions: Regions,
    transport: Client,
) -> Result<ExitCode, Stop> {
    let shutdown =
        Shutdown::on_signals().map_err(|e| Stop::Failure(format!("cannot listen for signals: {e}")))?;
    let metrics = Arc::new(Metrics::new(Timestamp::now()));
    regions.names().for_each(|name| metrics.region(name));
    let readiness = Readiness::default();
    let heartbeat = Heartbeat::default();
    let listener =
        http::bind(args.listen.unwrap_or_default()).await.map_err(|e| Stop::Failure(e.to_string()))?;
    let Clients { requests, watches, namespace, server } =
        clients::connect().await.map_err(|e| Stop::Failure(e.to_string()))?;
    info!(version = env!("CARGO_PKG_VERSION"), server, namespaces = namespaces.join(","), "starting");

    let index = SharedIndex::new(Index::new(args.require_source_label));
    metrics.credentials_from(Arc::new(index.clone()));
    let (election, leadership) = elect(&args, &requests, &namespace);
    let pod = identity::pod_name();
    let (sender, worker) = events::queue(requests.clone(), &pod, metrics.clone());
    let rate =
        Rate { per_second: f64::from(args.exchange_rate), in_flight: usize::from(args.exchange_concurrency) };
    let exchanges = Exchanges::new(transport, Counter(metrics.clone()), rate, Arc::new(Timestamp::now));
    let context = Arc::new(Context {
        client: requests,
        exchanges,
        regions,
        label_required: args.require_source_label,
        clock: Box::new(Timestamp::now),
        may_act: {
            let leadership = leadership.clone();
            Box::new(move || leadership.may_act(Moment::now()))
        },
        still_wanted: index.still_wanted(&shutdown),
        still_there: index.still_there(),
        tell: Box::new(move |credential, event| tell(&sender, credential, event)),
    });
    let selector = args.selector.filter(|s| !s.trim().is_empty());
    let watches = Kinds {
        resources: scopes(&watches, &namespaces, &[selector]),
        secrets: scopes(&watches, &namespaces, &secret_selectors(args.require_source_label)),
    };
    let settings = controller::Settings {
        watches,
        concurrency: usize::from(args.concurrency),
        patience: DRAIN,
        look: controller::LOOK,
    };
    let controller =
        Controller::new(settings, context, index, metrics.clone(), readiness.clone(), heartbeat.clone());

    // What ends first comes last here: the loop drains, then its events go out, then the lease is given back,
    // and the endpoints answer until the end.
    let drained = Shutdown::default();
    let told = Shutdown::default();
    let ended = Shutdown::default();
    let endpoints = Endpoints { readiness, heartbeat, metrics: metrics.clone() };
    let serving = tokio::spawn(http::serve(listener, endpoints, ended.requested()));
    let telling = tokio::spawn(worker.run(drained.requested(), LAST_EVENTS));
    let electing = election.map(|candidate| tokio::spawn(candidate.run(told.requested())));
    let leads = leadership.watch();
    metrics.leader(*leads.borrow());
    controller.run(leads, shutdown).await;
    drained.request();
    let _ = telling.await;
    told.request();
    if let Some(electing) = electing {
        let _ = electing.await;
    }
    ended.request();
    let _ = serving.await;
    info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// A watch for each namespace, or for all, and each selector.
fn scopes(client: &kube::Client, namespaces: &[String], selectors: &[Option<String>]) -> Watches {
    let all = [None];
    let some: Vec<Option<String>> = namespaces.iter().cloned().map(Some).collect();
    let namespaces = if some.is_empty() { &all[..] } else { &some };
    let each = namespaces.iter().flat_map(|ns| selectors.iter().map(move |labels| (ns, labels)));
    each.map(|(namespace, selector)| {
        let scope =
            Scope { client: client.clone(), namespace: namespace.clone(), selector: selector.clone() };
        Arc::new(scope) as Arc<dyn Watch>
    })
    .collect()
}

fn elect(args: &RunArgs, client: &kube::Client, namespace: &str) -> (Option<Candidate>, Leadership) {
    if !args.leader_election {
        return (None, Leadership::always());
    }
    let namespace = args.leader_election_namespace.as_deref().filter(|n| !n.is_empty()).unwrap_or(namespace);
    let identity = identity::unique(&identity::pod_name());
    let candidate = Candidate::new(client.clone(), namespace, &args.leader_election_name, identity);
    let leadership = candidate.leadership();
    (Some(candidate), leadership)
}

fn tell(sender: &EventSender, credential: &Credential, event: Event) {
    let about = ObjectRef {
        namespace: credential.key.namespace().to_string(),
        name: credential.key.name().to_string(),
        uid: credential.uid.to_string(),
    };
    sender.send(about, event, Timestamp::now());
}

/// Counts exchanges.
struct Counter(Arc<Metrics>);

impl Hooks for Counter {
    fn on_exchange(&self, region: &str, outcome: Result<(), Reason>, took: Duration) {
        self.0.exchange(region, outcome, took.as_secs_f64());
    }

    fn on_rotation(&self, region: &str) {
        self.0.rotation(region);
    }
}

impl CredentialSource for SharedIndex {
    fn undecodable(&self) -> usize {
        self.lock().undecodable_count()
    }

    fn for_each(&self, show: &mut dyn FnMut(&Key, &CredentialSample)) {
        self.lock().for_each(show);
    }
}
