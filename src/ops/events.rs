//! Kubernetes Events on a resource, off the critical path: sent into a bounded queue, posted by a worker,
//! dropped where the API server does not keep up. Touches the API server only.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, future};
use http::Method;
use jiff::Timestamp;
use k8s_openapi::api::{core::v1::ObjectReference, events::v1::Event as KubeEvent};
use kube::{Client, api::ObjectMeta};
use serde::de::IgnoredAny;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    describe,
    identity::{cut, random_hex},
    is_of_ending_namespace,
    metrics::Metrics,
    micro_time,
    requests::{self, Body},
};
use crate::api::names::{API_VERSION, FIELD_MANAGER, KIND};

/// How many events may wait.
const QUEUE: usize = 4096;
/// How many are posted at once.
const IN_FLIGHT: usize = 16;

// What the API server accepts, in bytes.
const NAME: usize = 253;
const NOTE: usize = 1024;
const WORD: usize = 128;

/// What the operator was doing. The API server asks for it; the reason says more.
const ACTION: &str = "Reconcile";

/// The resource that an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// Whether an event is good or bad news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// Something happened as it should.
    Normal,
    /// Something went wrong.
    Warning,
}

impl EventType {
    /// The name as users see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Good or bad news.
    pub type_: EventType,
    /// One word for programs.
    pub reason: &'static str,
    /// A sentence for people; cut at 1024 bytes.
    pub note: String,
}

struct Queued {
    about: ObjectRef,
    event: Event,
    at: Timestamp,
}

/// Sends events. Clones share one queue; sending never waits.
#[derive(Clone)]
pub struct EventSender {
    queue: mpsc::Sender<Queued>,
    metrics: Arc<Metrics>,
    dropping: Arc<AtomicBool>,
}

impl EventSender {
    /// Queues an event of `now`; drops and counts it where the queue is full.
    pub fn send(&self, about: ObjectRef, event: Event, now: Timestamp) {
        let was_dropping = match self.queue.try_send(Queued { about, event, at: now }) {
            Ok(()) => return self.dropping.store(false, Ordering::Relaxed),
            Err(_) => self.dropping.swap(true, Ordering::Relaxed),
        };
        self.metrics.event_dropped();
        if !was_dropping {
            tracing::warn!("Events come faster than the API server takes them; some are dropped");
        }
    }
}

/// Posts what was sent.
pub struct EventWorker {
    queue: mpsc::Receiver<Queued>,
    client: Client,
    instance: Arc<str>,
    metrics: Arc<Metrics>,
}

/// A queue and its worker. `instance` is the name of the pod.
pub fn queue(client: Client, instance: &str, metrics: Arc<Metrics>) -> (EventSender, EventWorker) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let instance = if instance.is_empty() { FIELD_MANAGER } else { cut(instance, WORD) };
    let worker =
        EventWorker { queue: receiver, client, instance: instance.into(), metrics: Arc::clone(&metrics) };
    (EventSender { queue: sender, metrics, dropping: Arc::default() }, worker)
}

impl EventWorker {
    /// Posts until `stop`, or until every sender is gone; then what is still queued, within `patience`.
    pub async fn run(mut self, stop: impl Future<Output = ()>, patience: Duration) {
        let mut stop = std::pin::pin!(stop.fuse());
        let mut deadline = None;
        let mut failing = None;
        let mut flights = JoinSet::new();
        loop {
            let drained = self.queue.is_closed() && self.queue.is_empty();
            if drained && flights.is_empty() {
                return;
            }
            let late =
                deadline.map_or_else(|| future::pending().left_future(), |at| sleep_until(at).right_future());
            tokio::select! {
                received = self.queue.recv(), if !drained && flights.len() < IN_FLIGHT => {
                    if let Some(queued) = received {
                        flights.spawn(post(self.client.clone(), Arc::clone(&self.instance), queued));
                    }
                }
                Some(posted) = flights.join_next() => {
                    self.count(posted.unwrap_or_else(|panic| Err(panic.to_string())), &mut failing);
                }
                () = &mut stop, if deadline.is_none() => {
                    self.queue.close();
                    deadline = Some(Instant::now() + patience);
                }
                () = late => return,
            }
        }
    }

    /// Counts a failure; logs it where the one before was another.
    fn count(&self, posted: Result<(), String>, failing: &mut Option<String>) {
        let failure = posted.err();
        if let Some(error) = &failure {
            self.metrics.event_dropped();
            if failing.as_ref() != Some(error) {
                tracing::warn!(error, "an Event could not be written");
            }
        }
        *failing = failure;
    }
}

async fn post(client: Client, instance: Arc<str>, queued: Queued) -> Result<(), String> {
    match create(&client, queued, &instance).await {
        Ok(()) => Ok(()),
        // Nobody is left who would read it.
        Err(kube::Error::Api(status)) if status.code == 404 || is_of_ending_namespace(&status) => Ok(()),
        Err(error) => Err(describe(&error)),
    }
}

async fn create(client: &Client, queued: Queued, instance: &str) -> Result<(), kube::Error> {
    let namespace = &queued.about.namespace;
    let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events?fieldManager={FIELD_MANAGER}");
    let event = render(queued, instance);
    // What the API server makes of it is of no interest.
    requests::write::<IgnoredAny>(client, Method::POST, &path, Body::Object, &event).await.map(drop)
}

/// The Event as the API server accepts it.
fn render(queued: Queued, instance: &str) -> KubeEvent {
    let Queued { about, event, at } = queued;
    let note = match event.note.len() {
        0..=NOTE => event.note,
        _ => format!("{}…", cut(&event.note, NOTE - '…'.len_utf8())),
    };
    KubeEvent {
        metadata: ObjectMeta {
            namespace: Some(about.namespace.clone()),
            name: Some(event_name(&about.name)),
            ..ObjectMeta::default()
        },
        event_time: Some(micro_time(at)),
        type_: Some(event.type_.as_str().to_owned()),
        reason: Some(cut(event.reason, WORD).to_owned()),
        note: Some(note),
        action: Some(ACTION.to_owned()),
        reporting_controller: Some(FIELD_MANAGER.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some(API_VERSION.to_owned()),
            kind: Some(KIND.to_owned()),
            namespace: Some(about.namespace),
            name: Some(about.name),
            uid: Some(about.uid),
            ..ObjectReference::default()
        }),
        ..KubeEvent::default()
    }
}

/// `<name>.<16 hex digits>`, a legal name however long the resource's is.
fn event_name(name: &str) -> String {
    let suffix = random_hex();
    let kept = cut(name, NAME - 1 - suffix.len()).trim_end_matches(['.', '-']);
    format!("{kept}.{suffix}")
}

#[cfg(test)]
mod tests;
