//! Leader election: of several processes at most one works. Touches one Lease.
//!
//! `election` decides, `lease` writes, this file turns the loop and tells the rest of the process.

mod election;
mod lease;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kube::Client;
use tokio::{
    sync::watch,
    time::{sleep_until, timeout},
};

pub use self::election::Moment;
use self::{
    election::{Action, Answer, Election},
    lease::{KubeLease, Store},
};

/// How long giving the lease back may take; who misses it waits for its end instead.
const RELEASE: Duration = Duration::from_secs(3);

/// Whether this process may work. Clones share it.
#[derive(Clone, Debug)]
pub struct Leadership {
    term: Arc<Mutex<Term>>,
    leads: watch::Sender<bool>,
}

#[derive(Clone, Copy, Debug)]
enum Term {
    /// Leading or not, without end: there is no election.
    Always,
    /// Leading since a write that was sent then, or not at all.
    From(Option<Moment>),
}

impl Leadership {
    /// For a process without rivals: it always leads.
    pub fn always() -> Self {
        Self { term: Arc::new(Mutex::new(Term::Always)), leads: watch::Sender::new(true) }
    }

    fn contested() -> Self {
        Self { term: Arc::new(Mutex::new(Term::From(None))), leads: watch::Sender::new(false) }
    }

    /// Whether this process may act now: to be asked before every exchange and every write. It is the last
    /// word: a process that was stopped for a while finds out here before the election does.
    pub fn may_act(&self, now: Moment) -> bool {
        match *self.term.lock().unwrap_or_else(PoisonError::into_inner) {
            Term::Always => true,
            Term::From(held) => held.is_some_and(|held| held.is_recent(now)),
        }
    }

    /// Whether this process leads, and every change of that. False means: drop the work in hand.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.leads.subscribe()
    }

    fn publish(&self, held: Option<Moment>) {
        *self.term.lock().unwrap_or_else(PoisonError::into_inner) = Term::From(held);
        self.leads.send_if_modified(|leads| {
            let changed = *leads != held.is_some();
            if changed {
                tracing::info!("{}", if held.is_some() { "leading" } else { "no longer leading" });
            }
            *leads = held.is_some();
            changed
        });
    }
}

/// Takes part in an election.
pub struct Candidate {
    lease: KubeLease,
    identity: String,
    leadership: Leadership,
}

impl Candidate {
    /// For the Lease of this name; `identity` must be unique among all processes, past ones too.
    pub fn new(client: Client, namespace: &str, name: &str, identity: String) -> Self {
        let lease = KubeLease::new(client, namespace, name);
        Self { lease, identity, leadership: Leadership::contested() }
    }

    /// What the rest of the process asks.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Takes part until `release`, then gives the lease back, so that another takes over within about 2 s.
    /// `release` is to come when all work has ended: until then the lease is kept.
    pub async fn run(self, release: impl Future<Output = ()>) {
        take_part(self.lease, self.identity, &self.leadership, release).await;
    }
}

async fn take_part(
    store: impl Store,
    identity: String,
    leadership: &Leadership,
    release: impl Future<Output = ()>,
) {
    let mut election = Election::new(identity, Moment::now().steady);
    {
        let mut release = std::pin::pin!(release);
        let mut problem = Problem::default();
        loop {
            tokio::select! {
                biased;
                () = &mut release => break,
                () = step(&store, &mut election, leadership, &mut problem) => {}
            }
        }
    }
    let led = election.leads_from(Moment::now()).is_some();
    leadership.publish(None);
    if led && timeout(RELEASE, give_back(&store, election)).await.is_err() {
        tracing::warn!("the Lease could not be given back in time; it runs out by itself");
    }
}

/// Sleeps until something is due, or does it. Stopping half-way is safe: what was not learnt is looked up.
async fn step(store: &impl Store, election: &mut Election, leadership: &Leadership, problem: &mut Problem) {
    let now = Moment::now();
    leadership.publish(election.leads_from(now));
    let action = election.decide(now.steady);
    if action == Action::Wait {
        election.rest(now.steady);
        sleep_until(election.wakes_at(now)).await;
        return;
    }
    let request = store.perform(action, election.us(), election.record(), now.wall);
    let answer = timeout(election.patience(now), request).await;
    let answer = problem.tell(answer.unwrap_or_else(|_| Err("no answer in time".to_owned())));
    let heard = Moment::now();
    election.learn(action, answer, now, heard);
    leadership.publish(election.leads_from(heard));
}

/// Gives the lease back if it is ours, also where a renewal was under way.
async fn give_back(store: &impl Store, mut election: Election) {
    loop {
        let now = Moment::now();
        let ours = |record: &&election::Record| record.holder.as_deref() == Some(election.us());
        let Some(seen) = election.record().filter(ours) else { return };
        match store.release(seen).await {
            Ok(Answer::Conflict) => {}
            Ok(_) => return tracing::info!("the Lease is given back"),
            Err(error) => return tracing::warn!(error, "the Lease could not be given back"),
        }
        match store.perform(Action::Look, election.us(), None, now.wall).await {
            Ok(answer) => election.learn(Action::Look, answer, now, Moment::now()),
            Err(error) => return tracing::warn!(error, "the Lease could not be given back"),
        }
    }
}

/// What is wrong with the API server, logged when it changes.
#[derive(Default)]
struct Problem(Option<String>);

impl Problem {
    fn tell(&mut self, answer: Result<Answer, String>) -> Answer {
        match answer {
            Ok(answer) => {
                if self.0.take().is_some() {
                    tracing::info!("leader election: the API server answers again");
                }
                answer
            }
            Err(error) => {
                if self.0.as_ref() != Some(&error) {
                    tracing::warn!(error, "leader election: the Lease cannot be read or written");
                }
                self.0 = Some(error);
                Answer::Failed
            }
        }
    }
}

#[cfg(test)]
mod tests;
