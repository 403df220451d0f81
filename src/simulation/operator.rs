//! A process of the operator: its real parts, put together as `cli::run` does, at the edges of the model.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio::{sync::watch, task::JoinHandle};

use super::{
    cluster::Cluster, feed::Feed, judge::Judge, process::Process, squadcast::Squadcast, time::Time,
    wrong::Wrong,
};
use crate::{
    controller::{Controller, Index, Kinds, Settings, SharedIndex, Watch},
    ops::{health::Heartbeat, metrics::Metrics, shutdown::Shutdown},
    reconcile::Context,
    squadcast::{Exchanges, Failure, Grant, Rate, RefreshToken, Region, Regions, Transport},
};

/// How long work in hand may take after a signal.
const PATIENCE: Duration = Duration::from_secs(25);

/// A process that runs.
pub(super) struct Operator {
    pub(super) process: Process,
    shutdown: Shutdown,
    lead: watch::Sender<bool>,
    task: JoinHandle<()>,
    metrics: Arc<Metrics>,
}

/// What there is outside of a process.
#[derive(Clone)]
pub(super) struct World {
    pub(super) cluster: Cluster,
    pub(super) squadcast: Squadcast,
    pub(super) time: Time,
    pub(super) judge: Judge,
    pub(super) wrong: Option<Wrong>,
}

impl Operator {
    /// Starts a process that looks at the clock so often.
    pub(super) fn start(world: &World, number: u64, look: Duration) -> Self {
        let process = Process::new(number);
        let shutdown = Shutdown::default();
        let index = SharedIndex::new(Index::new(false));
        let metrics = Arc::new(Metrics::new(world.time.wall()));
        let clock = {
            let (time, wrong) = (world.time.clone(), world.wrong);
            move || if wrong == Some(Wrong::SleepsOn) { time.monotonic() } else { time.wall() }
        };
        let link = Link { world: world.clone(), process: process.clone() };
        let context = Context {
            client: world.cluster.client(&process),
            exchanges: Exchanges::new(link, (), Rate::default(), Arc::new(clock.clone())),
            regions: Regions::default(),
            label_required: false,
            clock: Box::new(clock),
            may_act: {
                let process = process.clone();
                Box::new(move || process.leads() && !process.is_dead())
            },
            still_wanted: index.still_wanted(&shutdown),
            still_there: index.still_there(),
            tell: Box::new(|_, _| {}),
        };
        let feed = Feed { cluster: world.cluster.clone(), time: world.time.clone(), wrong: world.wrong };
        let settings = Settings {
            watches: Kinds {
                resources: vec![Arc::new(feed.clone()) as Arc<dyn Watch>],
                secrets: vec![Arc::new(feed) as Arc<dyn Watch>],
            },
            concurrency: 32,
            patience: PATIENCE,
            look,
        };
        let controller = Controller::new(
            settings,
            Arc::new(context),
            index,
            metrics.clone(),
            crate::ops::health::Readiness::default(),
            Heartbeat::default(),
        );
        let (lead, leads) = watch::channel(true);
        let task = tokio::spawn(controller.run(leads, shutdown.clone()));
        Self { process, shutdown, lead, task, metrics }
    }

    /// It gets the lease, or loses it.
    pub(super) fn lead(&self, leads: bool) {
        self.process.set_leads(leads);
        self.lead.send_replace(leads);
    }

    pub(super) fn leads(&self) -> bool {
        self.process.leads()
    }

    /// It is gone from one moment to the next.
    pub(super) fn kill(&self) {
        self.process.end();
        self.task.abort();
    }

    /// It is told to stop, and has its time for that. False where it takes longer.
    pub(super) async fn stop(&mut self) -> bool {
        self.shutdown.request();
        let most = PATIENCE + Duration::from_secs(1);
        let ended = tokio::time::timeout(most, &mut self.task).await.is_ok();
        self.kill();
        ended
    }

    /// A reconcile has ended in a panic.
    pub(super) fn panicked(&self) -> bool {
        self.metrics.encode().contains("outcome=\"panic\"")
    }
}

/// The way of one process to Squadcast.
struct Link {
    world: World,
    process: Process,
}

impl Transport for Link {
    fn exchange<'a>(
        &'a self,
        _: &'a Region,
        token: &'a RefreshToken,
    ) -> BoxFuture<'a, Result<Grant, Failure>> {
        Box::pin(async move {
            let World { cluster, squadcast, judge, wrong, .. } = &self.world;
            if self.process.is_dead() {
                return self.process.die().await;
            }
            let may = self.process.leads();
            judge.asked(cluster, squadcast, &self.world.time, token, self.process.number(), may);
            let answer = squadcast.exchange(token, self.process.number()).await;
            if self.process.is_dead() {
                return self.process.die().await;
            }
            judge.answered((cluster, squadcast, &self.world.time), token, self.process.number(), &answer);
            match wrong {
                Some(wrong) => wrong.answer(answer),
                None => answer,
            }
        })
    }
}
