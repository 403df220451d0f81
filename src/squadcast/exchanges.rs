//! Exchanges that are shared: whoever needs a token asks here. Talks to Squadcast through a [`Transport`], and
//! starts a task for each request, so that an answer is not lost with the one who asked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::watch;

use super::limits::{Gate, Gates, Pass};
use super::{Client, Clock, Failure, Fingerprint, Grant, Rate, RefreshToken, Region};
use crate::api::{Key, Reason};

mod board;
mod duty;
#[cfg(test)]
mod tests;

pub use self::{
    board::Moment,
    duty::{Duty, Line},
};
use board::{Board, Query, Step};

/// How often what is of no more use is looked for.
const SWEEP: Duration = Duration::from_secs(31);

/// What makes an exchange.
pub trait Transport: Send + Sync {
    /// Exchanges a refresh token; ends in bounded time.
    fn exchange<'a>(
        &'a self,
        region: &'a Region,
        token: &'a RefreshToken,
    ) -> BoxFuture<'a, Result<Grant, Failure>>;
}

impl Transport for Client {
    fn exchange<'a>(
        &'a self,
        region: &'a Region,
        token: &'a RefreshToken,
    ) -> BoxFuture<'a, Result<Grant, Failure>> {
        Box::pin(self.exchange(region, token))
    }
}

/// Who is told of exchanges, once for each.
pub trait Hooks: Send + Sync {
    /// An exchange has ended, with a token or for this reason without one.
    fn on_exchange(&self, region: &str, outcome: Result<(), Reason>, took: Duration);
    /// An answer held another refresh token than the one sent.
    fn on_rotation(&self, region: &str);
}

/// Tells nobody.
impl Hooks for () {
    fn on_exchange(&self, _: &str, _: Result<(), Reason>, _: Duration) {}
    fn on_rotation(&self, _: &str) {}
}

/// What is asked for.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    /// Where the refresh token is good.
    pub region: &'a Region,
    /// The refresh token.
    pub token: &'a RefreshToken,
    /// Where it was read.
    pub source: &'a Line,
    /// Before it was read and after all that calls for a token was seen, by [`Exchanges::moment`]: an answer that was
    /// requested since is good enough, and a refresh token that was replaced since is not sent.
    pub since: Moment,
    /// An answer that was requested before this is not good enough: when the need arose. The retry of a failure
    /// says an instant after that failure's request, or it gets the same failure again for 30 s.
    pub not_before: Timestamp,
    /// When the token that is held expires, for the order among those that wait; `None` where none is held.
    pub expires_at: Option<Timestamp>,
    /// The asker, where it writes a new refresh token back: until that is done, nothing more is sent with the one that
    /// it replaces.
    pub holder: Option<&'a Key>,
}

/// What has come of it.
pub enum Outcome {
    /// A token. Others may have been given it as well.
    Granted {
        /// The token.
        grant: Arc<Grant>,
        /// It was got by this asker's own request: of all who are given it, one says so.
        own: bool,
        /// For a holder, where `rotated` is there.
        duty: Option<Duty>,
    },
    /// No token. Others may have been given the same failure.
    Failed(Failure),
    /// When its turn came it was no longer wanted; nothing was sent.
    NotWanted,
    /// A write-back to this place has ended since: the refresh token may be the one that was replaced, so it is to
    /// be read again. Nothing was sent. Whoever then asks for the same needs says this moment: else all who were told
    /// so together would be served one after the other.
    Replaced(Moment),
    /// Nothing was sent: the new refresh token of this earlier answer is still to be written back, and that has
    /// taken more than 10 s. Whoever writes back does so with this one and then asks again; for others it is a
    /// token, though requested earlier than they would like.
    WriteBackPending(Arc<Grant>, Option<Duty>),
}

/// All exchanges of this process. Clones share everything.
///
/// For each region and refresh token at most one exchange is under way, and its answer, good or bad, serves all
/// who ask within 30 s of its request, under the refresh token sent and the one returned.
#[derive(Clone)]
pub struct Exchanges(Arc<Inner>);

struct Inner {
    transport: Box<dyn Transport>,
    hooks: Box<dyn Hooks>,
    clock: Clock,
    gates: Gates,
    board: Mutex<Board>,
    /// Nothing more is sent.
    closed: watch::Sender<bool>,
}

impl Exchanges {
    /// Nothing is under way yet. `rate` is that of each region.
    pub fn new(
        transport: impl Transport + 'static,
        hooks: impl Hooks + 'static,
        rate: Rate,
        clock: Clock,
    ) -> Self {
        Self(Arc::new(Inner {
            transport: Box::new(transport),
            hooks: Box::new(hooks),
            gates: Gates::new(rate, clock.clone()),
            clock,
            board: Mutex::default(),
            closed: watch::Sender::new(false),
        }))
    }

    /// Lets nobody wait for the limits any more: whoever does is told that it is not wanted. What is under way is
    /// still answered.
    pub fn close(&self) {
        self.0.closed.send_replace(true);
    }

    /// What stands for now in [`Ask::since`].
    pub fn moment(&self) -> Moment {
        self.0.board().now()
    }

    /// Gets a token, by an exchange of its own or one that is shared. `still_wanted` is asked right before a
    /// request would be sent. May be dropped at any time; a request that was sent is then still answered.
    pub async fn exchange(&self, ask: Ask<'_>, still_wanted: impl Fn() -> bool) -> Outcome {
        let gate = self.0.gates.of(&ask.region.name);
        let query = Query {
            token: ask.token.fingerprint(&ask.region.name),
            not_before: ask.not_before,
            source: ask.source.clone(),
            since: ask.since,
            expires_at: ask.expires_at,
            holder: ask.holder.cloned(),
        };
        let mut own = false;
        loop {
            let now = (self.0.clock)();
            let step = {
                let mut board = self.0.board();
                board.sweep_sometimes(now);
                board.step(&query, now)
            };
            match step {
                Step::Done(Ok(grant)) => {
                    let duty = Duty::noted(self, &query, &grant);
                    return Outcome::Granted { grant, own, duty };
                }
                Step::Done(Err(failure)) => return Outcome::Failed(failure),
                Step::Pending(grant) => {
                    let duty = Duty::noted(self, &query, &grant);
                    return Outcome::WriteBackPending(grant, duty);
                }
                Step::Wait(changed, at_most, leader) => {
                    if let Some(leader) = leader {
                        gate.hurry(leader, ask.expires_at);
                    }
                    match at_most {
                        Some(at_most) => drop(tokio::time::timeout(at_most, changed).await),
                        None => changed.await,
                    }
                }
                Step::Replaced(from) => return Outcome::Replaced(from),
                Step::Lead => {
                    let lead = Lead { inner: self.0.clone(), token: query.token, landed: false };
                    match lead.fly(&gate, &ask, &query, &still_wanted).await {
                        Progress::Sent => own = true,
                        Progress::Stopped => {}
                        Progress::Ended(outcome) => return outcome,
                    }
                }
            }
        }
    }

    /// The answer whose new refresh token is still to be written here, where nobody is at it any more: the
    /// reconcile was dropped, or came to an end in a panic, or the answer came when nobody waited for it any more. This
    /// resource is at it now.
    pub fn left_behind(&self, sent: Fingerprint, source: &Line, holder: &Key) -> Option<(Arc<Grant>, Duty)> {
        let grant = self.0.board().left_behind(sent, source, holder)?;
        Some((grant, Duty::new(self, sent, source, holder)))
    }

    /// The resources that are at writing a new refresh token back: where it belongs it is not yet.
    pub fn unsaved(&self) -> Vec<Key> {
        self.0.board().holders()
    }

    /// This place holds the new refresh token that came for this one, or somebody has replaced the one sent.
    pub(crate) fn written_back(&self, sent: Fingerprint, source: &Line) {
        let now = (self.0.clock)();
        self.0.board().written_back(sent, source, now);
        self.0.sweep_later();
    }
}

/// How far an exchange has come with the one who leads it.
enum Progress {
    /// The request is under way; its answer will be on the board.
    Sent,
    /// A write-back has come in between; nothing was sent.
    Stopped,
    /// Nothing was sent, and nothing will be.
    Ended(Outcome),
}

/// What a request is made of, for the task that outlives who asked.
struct Asked {
    region: Region,
    token: RefreshToken,
    expires_at: Option<Timestamp>,
}

/// Whoever makes an exchange. Lets others do so when it is dropped before there is an answer.
struct Lead {
    inner: Arc<Inner>,
    token: Fingerprint,
    landed: bool,
}

impl Lead {
    /// Waits for the limits and sends the request.
    async fn fly(
        self,
        gate: &Arc<Gate>,
        ask: &Ask<'_>,
        query: &Query,
        still_wanted: impl Fn() -> bool,
    ) -> Progress {
        let place = gate.join(ask.expires_at);
        self.inner.board().seat(self.token, place.ticket());
        let mut closed = self.inner.closed.subscribe();
        let passed = tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => return Progress::Ended(Outcome::NotWanted),
            passed = place.pass() => passed,
        };
        let mut pass = match passed {
            Ok(pass) => pass,
            Err(left) => return Progress::Ended(Outcome::Failed(self.held_back(ask.region, left))),
        };
        if !still_wanted() {
            return Progress::Ended(Outcome::NotWanted);
        }
        let number = self.inner.board().send(query);
        let Some(number) = number else { return Progress::Stopped };
        pass.make();
        let asked =
            Asked { region: ask.region.clone(), token: ask.token.clone(), expires_at: ask.expires_at };
        tokio::spawn(self.land(number, pass, gate.clone(), asked));
        Progress::Sent
    }

    /// Makes the request and puts the answer on the board.
    async fn land(mut self, number: Moment, pass: Pass, gate: Arc<Gate>, asked: Asked) {
        let Asked { region, token, expires_at } = asked;
        let inner = self.inner.clone();
        let began = tokio::time::Instant::now();
        let result = inner.transport.exchange(&region, &token).await;
        drop(token);
        let outcome = result.as_ref().map(drop).map_err(|failure| failure.reason);
        inner.hooks.on_exchange(&region.name, outcome, began.elapsed());
        let mut returned = None;
        match &result {
            Ok(grant) => {
                if let Some(new) = &grant.rotated {
                    inner.hooks.on_rotation(&region.name);
                    returned = Some((new.fingerprint(&region.name), Arc::new(grant.without_rotation())));
                }
            }
            Err(Failure { reason: Reason::RateLimited, retry_after: Some(wait), .. }) => {
                gate.refused(self.token, *wait, expires_at);
            }
            Err(_) => {}
        }
        let now = (inner.clock)();
        inner.board().publish(self.token, number, result.map(Arc::new), returned, now);
        inner.sweep_later();
        self.landed = true;
        drop(pass);
    }

    fn held_back(&self, region: &Region, left: Duration) -> Failure {
        let message = format!(
            "Squadcast asked for a pause with several refresh tokens of region \"{}\" (HTTP 429).",
            region.name
        );
        let failure = Failure::unanswered(Reason::RateLimited, message, (self.inner.clock)());
        Failure { retry_after: Some(left), ..failure }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if !self.landed {
            self.inner.board().abandon(self.token);
        }
    }
}

impl Inner {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that no token stays in memory for much longer than it is of use.
    fn sweep_later(self: &Arc<Self>) {
        if std::mem::replace(&mut self.board().is_swept, true) {
            return;
        }
        tokio::spawn(sweep(Arc::downgrade(self)));
    }
}

async fn sweep(inner: Weak<Inner>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(inner) = inner.upgrade() else { return };
        let mut board = inner.board();
        if !board.sweep((inner.clock)()) {
            board.is_swept = false;
            return;
        }
    }
}
