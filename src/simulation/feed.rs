//! The watches of a process: late, each in its own time, interrupted, and now and then started over.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;

use super::{
    cluster::Cluster,
    objects::{Item, Kind},
    script::Api,
    time::Time,
    wrong::Wrong,
};
use crate::{
    api::SquadcastCredential,
    controller::{Change, News, Watch, WatchId},
    ops::health::Readiness,
    reconcile::Credential,
    secret::SecretMeta,
};

#[derive(Clone)]
pub(super) struct Feed {
    pub(super) cluster: Cluster,
    pub(super) time: Time,
    pub(super) wrong: Option<Wrong>,
}

impl Watch for Feed {
    fn namespace(&self) -> Option<&str> {
        None
    }

    fn watch_on(&self, kind: &str) -> String {
        kind.to_owned()
    }

    fn credentials(&self, id: WatchId, news: mpsc::Sender<News>, _: Readiness) -> BoxFuture<'static, ()> {
        let read = |object: &Value| {
            let object = SquadcastCredential::deserialize(object).unwrap();
            Box::new(Ok(Credential::from(object)))
        };
        let tell = move |change: Change<Arc<Value>>| News::Credential(id, convert(change, read));
        self.clone().follow(Kind::Credentials, news, tell).boxed()
    }

    fn secrets(&self, id: WatchId, news: mpsc::Sender<News>, _: Readiness) -> BoxFuture<'static, ()> {
        let read = |object: &Value| Box::new(SecretMeta::deserialize(object).unwrap());
        let tell = move |change: Change<Arc<Value>>| News::Secret(id, convert(change, read));
        self.clone().follow(Kind::Secrets, news, tell).boxed()
    }
}

impl Feed {
    async fn follow(self, kind: Kind, news: mpsc::Sender<News>, tell: impl Fn(Change<Arc<Value>>) -> News) {
        loop {
            self.ready(kind).await;
            let (objects, mut items) = self.cluster.lock().watch(kind);
            let list = objects.into_iter().map(|object| Change::Applied(self.shown(object, true)));
            for change in [Change::Listing].into_iter().chain(list).chain([Change::Listed]) {
                if news.send(tell(change)).await.is_err() {
                    return;
                }
            }
            while let Some(item) = items.recv().await {
                self.ready(kind).await;
                let change = match item {
                    Item::Applied(object) => Change::Applied(self.shown(object, false)),
                    Item::Deleted(_) if self.wrong == Some(Wrong::MissesDeletions) => continue,
                    Item::Deleted(object) => Change::Deleted(object),
                    Item::Expired => break,
                };
                if news.send(tell(change)).await.is_err() {
                    return;
                }
            }
        }
    }

    /// An object as the operator sees it.
    fn shown(&self, mut object: Arc<Value>, listed: bool) -> Arc<Value> {
        if let Some(wrong) = self.wrong {
            wrong.sees(Arc::make_mut(&mut object), listed);
        }
        object
    }

    /// Waits until the API server answers and the watch does not lag.
    async fn ready(&self, kind: Kind) {
        self.cluster.latency().await;
        loop {
            let (up, until) = {
                let state = self.cluster.lock();
                (state.faults.api == Api::Up, state.faults.lag[usize::from(kind == Kind::Secrets)])
            };
            let late = until - self.time.now();
            if up && late <= 0 {
                return;
            }
            tokio::time::sleep(Duration::from_secs(late.clamp(1, 10).unsigned_abs())).await;
        }
    }
}

fn convert<T>(change: Change<Arc<Value>>, read: impl FnOnce(&Value) -> T) -> Change<T> {
    match change {
        Change::Applied(object) => Change::Applied(read(&object)),
        Change::Deleted(object) => Change::Deleted(read(&object)),
        Change::Listing => Change::Listing,
        Change::Listed => Change::Listed,
    }
}
