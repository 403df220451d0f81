//! The loop: takes news into the index, runs what the queue holds, and puts away what a reconcile leaves
//! behind. It alone writes the index, the queue and the timers.

mod drain;
mod news;

use std::{
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
    memories::Memories,
    queue::Queue,
    timers::Timers,
    watches::{RESOURCES, SECRETS, Watches},
};
use crate::{
    api::Key,
    ops::{
        health::{Heartbeat, Readiness},
        metrics::Metrics,
        shutdown::Shutdown,
    },
    reconcile::{Context, Done, Ending, Input, reconcile},
    schedule::{plus, seconds_between},
    slots::Slot,
};

/// The loop wakes at least this often, so that a clock that jumped or a machine that slept is noticed.
pub const LOOK: Duration = Duration::from_secs(30);
/// A clock that was set back by more than this holds up what is due; everything is then looked at, in seconds.
const SET_BACK: i64 = 30;
/// How often what is remembered is gone through for what is of no use any more, in seconds. Each memory is looked at two
/// or three times, then it is gone: after a wave there is nothing left.
const TIDY: i64 = 30;
/// When to look again at a resource whose reconcile panicked, in seconds.
const AFTER_PANIC: i64 = 60;

/// What the loop is started with.
pub struct Settings {
    /// The place of a watch in its list is its number.
    pub watches: Kinds<Watches>,
    /// Reconciles at work at once.
    pub concurrency: usize,
    /// How long work in hand may take after a signal.
    pub patience: Duration,
    /// How often the loop looks at the clock at least: [`LOOK`].
    pub look: Duration,
}

/// Something for each kind of object that is watched.
pub struct Kinds<T> {
    /// For `SquadcastCredential`s.
    pub resources: T,
    /// For Secrets.
    pub secrets: T,
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
    memories: Memories,
    slots: Arc<Semaphore>,
    tasks: JoinSet<Ended>,
    watches: JoinSet<()>,
    /// Watches whose first list is not complete.
    unlisted: Kinds<Vec<WatchId>>,
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
        let Kinds { resources, secrets } = &settings.watches;
        let unlisted =
            Kinds { resources: (0..resources.len()).collect(), secrets: (0..secrets.len()).collect() };
        Self {
            slots: Arc::new(Semaphore::new(settings.concurrency)),
            queue: Queue::default(),
            timers: Timers::default(),
            memories: Memories::default(),
            tasks: JoinSet::new(),
            watches: JoinSet::new(),
            unlisted,
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
        for (kind, watches) in
            [(RESOURCES, &self.settings.watches.resources), (SECRETS, &self.settings.watches.secrets)]
        {
            for watch in watches {
                self.readiness.waits(&watch.watch_on(kind), "the first list is not complete");
            }
        }
        for (id, scope) in self.settings.watches.resources.iter().enumerate() {
            self.watches.spawn(scope.credentials(id, sender.clone(), self.readiness.clone()));
        }
        let stop = shutdown.requested();
        tokio::pin!(stop);
        let mut leading = *leads.borrow_and_update();
        let mut seen = (self.context.clock)();
        let mut tidied = seen;
        loop {
            self.heartbeat.beat(tokio::time::Instant::now());
            let now = (self.context.clock)();
            if leading && seconds_between(now, seen) > SET_BACK {
                self.look_at_all();
            }
            seen = now;
            if seconds_between(tidied, now).abs() >= TIDY {
                self.memories.forget_old(now);
                tidied = now;
            }
            while let Some(key) = self.timers.pop_due(now) {
                self.queue.push(&key);
            }
            let works = leading && self.listed() && !self.queue.is_empty();
            let pause = self.until_next(now);
            let slots = self.slots.clone();
            // In this order: what ends it, what gives places back, work, and news for more of it.
            tokio::select! {
                biased;
                () = &mut stop => break,
                changed = leads.changed() => {
                    if changed.is_err() { break; }
                    leading = *leads.borrow_and_update();
                    self.leadership_changed(leading).await;
                }
                Some(ended) = self.tasks.join_next() => if let Ok(ended) = ended { self.ended(ended); },
                Ok(permit) = slots.acquire_owned(), if works => self.start(permit),
                Some(item) = news.recv() => self.take(item, &sender),
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.watches.abort_all();
        self.drain().await;
    }

    fn listed(&self) -> bool {
        self.unlisted.resources.is_empty() && self.unlisted.secrets.is_empty()
    }

    fn until_next(&self, now: jiff::Timestamp) -> Duration {
        let next = self.timers.next().map(|at| at.duration_since(now));
        let look = self.settings.look;
        next.map_or(look, |left| Duration::try_from(left).unwrap_or_default().min(look))
    }

    async fn leadership_changed(&mut self, leading: bool) {
        self.metrics.leader(leading);
        if leading {
            // What was decided by another since is in the cluster.
            self.look_at_all();
        } else {
            // Whoever leads now knows nothing of them; if that is this process again, it goes on with them.
            self.context.exchanges.unsaved().iter().for_each(drain::put_off);
            self.tasks.shutdown().await;
            self.index.lock().all_gave_up();
            self.queue = Queue::default();
            self.timers = Timers::default();
            self.memories.clear();
        }
    }

    /// Everything is looked at once.
    fn look_at_all(&mut self) {
        for key in self.index.lock().keys() {
            self.queue.push(&key);
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
            self.forget(&key);
            return;
        };
        let memory = self.memories.take(&key, &input.credential.uid);
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
        let Some(Done { memory, learned, wake, ending }) = done else {
            tracing::error!(
                namespace = key.namespace(),
                name = key.name(),
                "a reconcile ended in a panic, which is a fault of the operator: please report it; the resource is looked at again in {AFTER_PANIC} s"
            );
            self.metrics.reconcile(Ending::Panic.as_str(), took.as_secs_f64());
            self.index.lock().gave_up(&key);
            self.timers.set(&key, Some(plus((self.context.clock)(), AFTER_PANIC)));
            return;
        };
        self.metrics.reconcile(ending.as_str(), took.as_secs_f64());
        let mut index = self.index.lock();
        let changed = index.finish(&key, &input, learned);
        let known = index.is_known(&key);
        drop(index);
        if !known {
            self.timers.set(&key, None);
            if memory.has_duty() {
                drain::lost(&key);
            }
            return;
        }
        self.memories.put(&key, &input.credential.uid, memory);
        self.timers.set(&key, wake);
        if changed {
            self.queue.push(&key);
        }
    }
}
