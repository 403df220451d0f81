//! The watches: one on resources and one on Secrets for each namespace, or one of each for all; two on Secrets,
//! by label, where only labelled ones may be read. What they tell
//! goes to the loop as [`News`], reduced on receipt to what is kept. Each goes on by itself after an error.

use std::time::Duration;

use futures::{FutureExt, StreamExt, future::BoxFuture};
use kube::{
    Api, Client, Resource,
    runtime::watcher::{self, Event},
};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::{index::WatchId, watched::Watched};
use crate::{
    api::{Key, names},
    ops::{clients::WATCH_SECONDS, health::Readiness},
    reconcile::Credential,
    secret::SecretMeta,
};

/// Shortest and longest pause before a watch that failed is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// Objects in one page of a list, where the API server cannot stream lists.
const PAGE: u32 = 100;

/// What is watched, in words.
pub const RESOURCES: &str = "SquadcastCredentials";
/// What is watched, in words.
pub const SECRETS: &str = "Secrets";

/// Label selectors of the watches on Secrets; none selects all.
pub fn secret_selectors(label_required: bool) -> Vec<Option<String>> {
    if !label_required {
        return vec![None];
    }
    vec![
        Some(format!("{}=true", names::LABEL_REFRESH_TOKEN)),
        Some(format!("{}={}", names::LABEL_MANAGED_BY, names::FIELD_MANAGER)),
    ]
}

/// Something that a watch tells.
pub enum News {
    /// Of a resource.
    Credential(WatchId, Change<Box<Result<Credential, Undecodable>>>),
    /// Of a Secret.
    Secret(WatchId, Change<Box<SecretMeta>>),
}

/// What has happened.
pub enum Change<T> {
    /// Added or changed.
    Applied(T),
    /// Gone.
    Deleted(T),
    /// A list begins.
    Listing,
    /// The list is complete.
    Listed,
}

/// An object that this version of the operator cannot read.
pub struct Undecodable {
    /// Namespace and name.
    pub key: Key,
    /// Why.
    pub error: String,
}

/// Where news comes from: one watch on resources or on Secrets. It goes on until nobody listens any more.
pub trait Watch: Send + Sync {
    /// The namespace, or all.
    fn namespace(&self) -> Option<&str>;
    /// What `/readyz` calls the watch on objects of this kind.
    fn watch_on(&self, kind: &str) -> String;
    /// Tells of resources.
    fn credentials(&self, id: WatchId, news: mpsc::Sender<News>, ready: Readiness) -> BoxFuture<'static, ()>;
    /// Tells of Secrets.
    fn secrets(&self, id: WatchId, news: mpsc::Sender<News>, ready: Readiness) -> BoxFuture<'static, ()>;
}

/// Watches that the loop holds by their place.
pub type Watches = Vec<std::sync::Arc<dyn Watch>>;

/// A watch of an API server.
#[derive(Clone)]
pub struct Scope {
    /// The client for watches.
    pub client: Client,
    /// One namespace, or all.
    pub namespace: Option<String>,
    /// Label selector on the objects.
    pub selector: Option<String>,
}

impl Scope {
    fn objects(&self, kind: &str) -> String {
        let place = self.namespace.as_ref().map(|ns| format!(" in namespace \"{ns}\""));
        let labels = self.selector.as_ref().map(|labels| format!(" with \"{labels}\""));
        format!("{kind}{}{}", place.unwrap_or_default(), labels.unwrap_or_default())
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    async fn watch_credentials(self, id: WatchId, news: mpsc::Sender<News>, ready: Readiness) {
        let part = Part::new(RESOURCES, &self, ready);
        let api = self.api::<Watched>();
        let convert = |watched: Watched| Box::new(watched.decoded());
        follow(api, self.selector, &part, news, |change| News::Credential(id, change.map(convert))).await;
    }

    /// Of Secrets only the metadata.
    async fn watch_secrets(self, id: WatchId, news: mpsc::Sender<News>, ready: Readiness) {
        let part = Part::new(SECRETS, &self, ready);
        let api = self.api::<SecretMeta>();
        follow(api, self.selector, &part, news, |change| News::Secret(id, change.map(Box::new))).await;
    }
}

impl Watch for Scope {
    fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    fn watch_on(&self, kind: &str) -> String {
        format!("watch on {}", self.objects(kind))
    }

    fn credentials(&self, id: WatchId, news: mpsc::Sender<News>, ready: Readiness) -> BoxFuture<'static, ()> {
        self.clone().watch_credentials(id, news, ready).boxed()
    }

    fn secrets(&self, id: WatchId, news: mpsc::Sender<News>, ready: Readiness) -> BoxFuture<'static, ()> {
        self.clone().watch_secrets(id, news, ready).boxed()
    }
}

impl<T> Change<T> {
    fn map<U>(self, f: impl FnOnce(T) -> U) -> Change<U> {
        match self {
            Self::Applied(object) => Change::Applied(f(object)),
            Self::Deleted(object) => Change::Deleted(f(object)),
            Self::Listing => Change::Listing,
            Self::Listed => Change::Listed,
        }
    }
}

/// What a watch is called where it tells how it fares.
struct Part {
    kind: &'static str,
    /// `Secrets in namespace "a"`.
    objects: String,
    /// What `/readyz` calls it.
    name: String,
    ready: Readiness,
}

impl Part {
    fn new(kind: &'static str, scope: &Scope, ready: Readiness) -> Self {
        Self { kind, objects: scope.objects(kind), name: scope.watch_on(kind), ready }
    }
}

async fn follow<K>(
    api: Api<K>,
    selector: Option<String>,
    part: &Part,
    news: mpsc::Sender<News>,
    tell: impl Fn(Change<K>) -> News,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let plain = || {
        let config = watcher::Config::default().timeout(WATCH_SECONDS);
        match &selector {
            Some(selector) => config.labels(selector),
            None => config,
        }
    };
    let mut stream = watcher::watcher(api.clone(), plain().streaming_lists()).boxed();
    let mut streams_lists = true;
    let mut pause = PAUSES.0;
    while let Some(event) = stream.next().await {
        let change = match event {
            Ok(event) => {
                // A list that only begins proves nothing yet.
                if !matches!(event, Event::Init) {
                    pause = PAUSES.0;
                }
                match event {
                    Event::Init => Change::Listing,
                    Event::InitApply(object) | Event::Apply(object) => Change::Applied(object),
                    Event::Delete(object) => Change::Deleted(object),
                    Event::InitDone => {
                        if part.ready.has(&part.name) {
                            tracing::info!("{} listed", part.objects);
                        }
                        Change::Listed
                    }
                }
            }
            Err(error) => {
                if streams_lists && refuses_streaming(&error) {
                    streams_lists = false;
                    stream = watcher::watcher(api.clone(), plain().page_size(PAGE)).boxed();
                    continue;
                }
                complain(part, &error);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
                continue;
            }
        };
        if news.send(tell(change)).await.is_err() {
            return;
        }
    }
}

fn status(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status.code),
        _ => None,
    }
}

/// An API server that cannot stream lists says so in one of these ways.
fn refuses_streaming(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(_) | watcher::Error::WatchStartFailed(_))
        && matches!(status(error), Some(400 | 422))
}

/// Says what a watch waits for: loudly before its first list, quietly after that, since it goes on by itself.
fn complain(part: &Part, error: &watcher::Error) {
    let why = match status(error) {
        Some(404) if part.kind == RESOURCES => {
            "the CustomResourceDefinition squadcastcredentials.credentials.squadcast.com is not installed: apply crds/squadcastcredentials.yaml".to_owned()
        }
        Some(403) => format!("the operator may not list and watch {}: grant it to the operator's ServiceAccount", part.kind),
        Some(401) => "the API server does not accept the operator's credentials".to_owned(),
        Some(410) => {
            tracing::debug!("the watch on {} starts over: {error}", part.objects);
            return;
        }
        Some(code) => format!("the API server answers {code}: {error}"),
        None => format!("the API server cannot be reached: {}", causes(error)),
    };
    let waiting = part.ready.is_waiting(&part.name);
    if waiting && part.ready.waits(&part.name, why.clone()) {
        tracing::warn!("waiting for the first list of {}: {why}", part.objects);
    } else if !waiting {
        tracing::warn!("the watch on {} was interrupted and goes on by itself: {why}", part.objects);
    }
}

/// The innermost cause, which is the one that tells.
fn causes(error: &watcher::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
