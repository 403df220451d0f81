//! The loop: takes news into the index, runs what the queue holds, and puts away what a reconcile leaves
//! behind. It alone writes the index, the queue and the timers.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::JoinSet,
};

use super::{
    index::{SharedIndex, WatchId},
    queue::Queue,
    timers::Timers,
    watches::{Change, News, Scope, Undecodable},
};
use crate::{
    ops::{
        health::{Heartbeat, Readiness},
        metrics::Metrics,
        shutdown::Shutdown,
    },
    reconcile::{Context, Credential, Done, Input, Key, Memory, reconcile},
    schedule::plus,
    secret::SecretMeta,
    slots::Slot,
};

/// The loop wakes at least this often, so that a clock that jumped or a machine that slept is noticed.
const LOOK: Duration = Duration::from_secs(30);
/// When to look again at a resource whose reconcile panicked, in seconds.
const AFTER_PANIC: i64 = 60;

/// How often saving what would be lost is tried again while the process ends.
const SAVE_AGAIN: Duration = Duration::from_secs(1);

/// What the loop is started with.
pub struct Settings {
    /// Namespaces to watch; none: all.
    pub namespaces: Vec<String>,
    /// Label selector on resources.
    pub selector: Option<String>,
    /// Reconciles at work at once.
    pub concurrency: usize,
    /// Client for watches.
    pub watches: kube::Client,
    /// How long work in hand may take after a signal.
    pub patience: Duration,
}

/// The loop and what it keeps.
pub struct Controller {
    settings: Settings,
    context: Arc<Context>,
    index: SharedIndex,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    heartbeat: Heartbeat,
    queue: Queue,
    timers: Timers,
    memories: HashMap<Key, (Box<str>, Memory)>,
    slots: Arc<Semaphore>,
    tasks: JoinSet<Ended>,
    watches: JoinSet<()>,
    /// Watches whose first list is not complete: on resources, on Secrets.
    unlisted: (Vec<WatchId>, Vec<WatchId>),
    scopes: Vec<Scope>,
}

struct Ended {
    key: Key,
    input: Input,
    /// `None` where it panicked.
    done: Option<Done>,
    took: Duration,
}

impl Controller {
    /// A loop that has not started yet.
    pub fn new(
        settings: Settings,
        context: Arc<Context>,
        index: SharedIndex,
        metrics: Arc<Metrics>,
        readiness: Readiness,
        heartbeat: Heartbeat,
    ) -> Self {
        let scope = |namespace: Option<String>| Scope {
            client: settings.watches.clone(),
            namespace,
            selector: settings.selector.clone(),
        };
        let scopes: Vec<Scope> = if settings.namespaces.is_empty() {
            vec![scope(None)]
        } else {
            settings.namespaces.iter().map(|ns| scope(Some(ns.clone()))).collect()
        };
        let ids: Vec<WatchId> = (0..scopes.len()).collect();
        Self {
            slots: Arc::new(Semaphore::new(settings.concurrency)),
            queue: Queue::default(),
            timers: Timers::default(),
            memories: HashMap::new(),
            tasks: JoinSet::new(),
            watches: JoinSet::new(),
            unlisted: (ids.clone(), ids),
            scopes,
            settings,
            context,
            index,
            metrics,
            readiness,
            heartbeat,
        }
    }

    /// Runs until `shutdown`, then lets work in hand end.
    pub async fn run(mut self, mut leads: watch::Receiver<bool>, shutdown: Shutdown) {
        let (sender, mut news) = mpsc::channel(256);
        self.readiness.waits("watch on SquadcastCredentials", "the first list is not complete");
        self.readiness.waits("watch on Secrets", "the first list is not complete");
        for (id, scope) in self.scopes.iter().cloned().enumerate() {
            self.watches.spawn(scope.credentials(id, sender.clone(), self.readiness.clone()));
        }
        let stop = shutdown.requested();
        tokio::pin!(stop);
        let mut leading = *leads.borrow_and_update();
        loop {
            self.heartbeat.beat(tokio::time::Instant::now());
            let now = (self.context.clock)();
            while let Some(key) = self.timers.pop_due(now) {
                self.queue.push(&key);
            }
            let works = leading && self.listed() && !self.queue.is_empty();
            let pause = self.until_next(now);
            let slots = self.slots.clone();
            tokio::select! {
                () = &mut stop => break,
                changed = leads.changed() => {
                    if changed.is_err() { break; }
                    leading = *leads.borrow_and_update();
                    self.leadership_changed(leading).await;
                }
                Some(ended) = self.tasks.join_next() => if let Ok(ended) = ended { self.ended(ended); },
                Some(item) = news.recv() => self.take(item, &sender),
                Ok(permit) = slots.acquire_owned(), if works => self.start(permit),
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.watches.abort_all();
        self.drain().await;
    }

    fn listed(&self) -> bool {
        self.unlisted.0.is_empty() && self.unlisted.1.is_empty()
    }

    fn until_next(&self, now: jiff::Timestamp) -> Duration {
        let next = self.timers.next().map(|at| at.duration_since(now));
        next.map_or(LOOK, |left| Duration::try_from(left).unwrap_or_default().min(LOOK))
    }

    async fn leadership_changed(&mut self, leading: bool) {
        self.metrics.leader(leading);
        if leading {
            // What was decided by another since is in the cluster; look at everything once.
            for key in self.index.lock().keys() {
                self.queue.push(&key);
            }
        } else {
            self.tasks.shutdown().await;
            self.queue = Queue::default();
            self.timers = Timers::default();
            self.unsaved().iter().for_each(lost);
            self.memories.clear();
        }
    }

    /// Starts the reconcile that is next.
    fn start(&mut self, permit: OwnedSemaphorePermit) {
        if let Some(key) = self.queue.pop() {
            self.reconcile(key, permit);
        }
    }

    fn reconcile(&mut self, key: Key, permit: OwnedSemaphorePermit) {
        let Some(input) = self.index.lock().input(&key) else {
            self.queue.done(&key);
            self.timers.set(&key, None);
            self.memories.remove(&key);
            return;
        };
        let memory = match self.memories.remove(&key) {
            Some((uid, memory)) if uid == input.credential.uid => memory,
            _ => Memory::default(),
        };
        let context = self.context.clone();
        let slot = Slot::new(self.slots.clone(), permit);
        self.tasks.spawn(async move {
            let started = Instant::now();
            let walk = AssertUnwindSafe(reconcile(&context, &slot, &input, memory)).catch_unwind();
            let done = walk.await.ok();
            Ended { key, input, done, took: started.elapsed() }
        });
    }

    /// Puts away what a reconcile leaves behind.
    fn ended(&mut self, ended: Ended) {
        let Ended { key, input, done, took } = ended;
        self.queue.done(&key);
        let Some(Done { memory, learned, wake, outcome }) = done else {
            tracing::error!(
                namespace = &*key.namespace,
                name = &*key.name,
                "a reconcile ended in a panic, which is a fault of the operator: please report it; the resource is looked at again in {AFTER_PANIC} s"
            );
            self.metrics.reconcile("panic", took.as_secs_f64());
            self.timers.set(&key, Some(plus((self.context.clock)(), AFTER_PANIC)));
            return;
        };
        self.metrics.reconcile(outcome, took.as_secs_f64());
        let mut index = self.index.lock();
        let changed = index.finish(&key, &input, learned);
        let known = index.is_known(&key);
        drop(index);
        if !known {
            self.timers.set(&key, None);
            return;
        }
        self.memories.insert(key.clone(), (input.credential.uid.clone(), memory));
        self.timers.set(&key, wake);
        if changed {
            self.queue.push(&key);
        }
    }

    /// Takes news into the index and wakes whom it concerns.
    fn take(&mut self, item: News, sender: &mpsc::Sender<News>) {
        let wake = match item {
            News::Credential(id, change) => self.credential(id, change, sender),
            News::Secret(id, change) => self.secret(id, change),
        };
        for key in wake {
            // One that is running is compared with the index when it ends.
            if !self.queue.is_running(&key) {
                self.queue.push(&key);
            }
        }
    }

    fn credential(
        &mut self,
        id: WatchId,
        change: Change<Box<Result<Credential, Undecodable>>>,
        sender: &mpsc::Sender<News>,
    ) -> Vec<Key> {
        let mut index = self.index.lock();
        match change {
            Change::Listing => {
                index.relist_credentials(id);
                Vec::new()
            }
            Change::Listed => {
                let wake = index.credentials_listed(id);
                drop(index);
                self.forget_the_gone();
                self.unlisted.0.retain(|i| *i != id);
                if self.unlisted.0.is_empty() && self.watches.len() == self.scopes.len() {
                    // Secrets come second: which of them matter is known by now.
                    for (id, scope) in self.scopes.iter().cloned().enumerate() {
                        self.watches.spawn(scope.secrets(id, sender.clone(), self.readiness.clone()));
                    }
                }
                wake
            }
            Change::Applied(object) => match *object {
                Ok(credential) => {
                    let wake = index.apply_credential(id, credential);
                    self.metrics.undecodable(index.undecodable_count());
                    wake
                }
                Err(Undecodable { key, error }) => {
                    let wake = index.undecodable(id, &key);
                    self.metrics.undecodable(index.undecodable_count());
                    if let Some(wake) = wake {
                        tracing::error!(
                            namespace = &*key.namespace,
                            name = &*key.name,
                            "this SquadcastCredential cannot be read and is left alone: {error}; correct it, or bring operator and CustomResourceDefinition to the same version"
                        );
                        wake
                    } else {
                        Vec::new()
                    }
                }
            },
            Change::Deleted(object) => {
                let key = match *object {
                    Ok(credential) => credential.key,
                    Err(undecodable) => undecodable.key,
                };
                let wake = index.delete_credential(&key);
                self.metrics.undecodable(index.undecodable_count());
                drop(index);
                self.timers.set(&key, None);
                self.memories.remove(&key);
                wake
            }
        }
    }

    /// After a relist: what is not in the index any more needs no timer and no memory.
    fn forget_the_gone(&mut self) {
        let index = self.index.lock();
        let gone: Vec<Key> = self.memories.keys().filter(|key| !index.is_known(key)).cloned().collect();
        self.metrics.undecodable(index.undecodable_count());
        drop(index);
        for key in gone {
            self.memories.remove(&key);
            self.timers.set(&key, None);
        }
    }

    fn secret(&mut self, id: WatchId, change: Change<Box<SecretMeta>>) -> Vec<Key> {
        let mut index = self.index.lock();
        match change {
            Change::Listing => {
                index.relist_secrets(id);
                Vec::new()
            }
            Change::Listed => {
                self.unlisted.1.retain(|i| *i != id);
                index.secrets_listed(id, self.scopes.get(id).and_then(|s| s.namespace.as_deref()))
            }
            Change::Applied(secret) => index.apply_secret(id, *secret),
            Change::Deleted(secret) => {
                let key = Key::new(secret.namespace(), secret.name());
                index.delete_secret(id, &key, &secret.facts.resource_version)
            }
        }
    }

    /// Resources whose replaced refresh token is nowhere but in this process.
    fn unsaved(&self) -> Vec<Key> {
        self.memories.iter().filter(|(_, (_, memory))| memory.unsaved()).map(|(key, _)| key.clone()).collect()
    }

    /// Lets the reconciles that run end, and saves what would be lost, within the patience that is left to them.
    async fn drain(&mut self) {
        let patience = tokio::time::sleep(self.settings.patience);
        tokio::pin!(patience);
        self.context.exchanges.close();
        // Nothing new is begun from here on.
        self.queue = Queue::default();
        let mut next_try = tokio::time::Instant::now();
        loop {
            let unsaved = self.unsaved();
            if self.tasks.is_empty() && unsaved.is_empty() {
                return;
            }
            if next_try <= tokio::time::Instant::now() {
                next_try = tokio::time::Instant::now() + SAVE_AGAIN;
                for key in &unsaved {
                    self.save(key);
                }
            }
            tokio::select! {
                Some(ended) = self.tasks.join_next() => if let Ok(ended) = ended { self.ended(ended); },
                () = tokio::time::sleep_until(next_try), if !unsaved.is_empty() => {}
                () = &mut patience => {
                    if !self.tasks.is_empty() {
                        tracing::warn!("{} reconciles did not end in time and are dropped", self.tasks.len());
                    }
                    self.tasks.shutdown().await;
                    unsaved.iter().for_each(lost);
                    return;
                }
            }
        }
    }

    /// Tries once more to write a replaced refresh token back, whatever the back-off.
    fn save(&mut self, key: &Key) {
        if let Ok(permit) = self.slots.clone().try_acquire_owned() {
            if let Some((_, memory)) = self.memories.get_mut(key) {
                memory.last_chance = true;
            }
            self.reconcile(key.clone(), permit);
        }
    }
}

/// Says that a refresh token could not be saved before the process had to let go of it.
fn lost(key: &Key) {
    tracing::error!(
        namespace = &*key.namespace,
        name = &*key.name,
        "Squadcast had replaced the refresh token, and the new one could not be written back into its Secret before the operator had to stop: if exchanges are rejected from now on, create a new refresh token in Squadcast's web application and store it"
    );
}
