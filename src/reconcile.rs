//! One walk through the rooms: observe, decide, act, report; always in this direction.
//!
//! `decide`, `ownership` and `report` are pure. `observe` reads, `act` (with `rotation` and `restart`) writes, and
//! `walk` carries the resource through them and writes the status.

mod act;
mod aftermath;
mod decide;
mod ending;
mod input;
mod learned;
mod log;
mod meanwhile;
mod memory;
mod observe;
mod ownership;
mod report;
mod restart;
mod rotation;
mod status;
#[cfg(test)]
mod tests;
mod trouble;
mod unreadable;
mod walk;

use jiff::Timestamp;
use kube::Client;

use self::walk::{Round, Walk};
pub use self::{
    act::{Acted, Issued},
    aftermath::Aftermath,
    decide::{Blocked, Case, Decision, LastFailure, Why, decide},
    ending::Ending,
    input::{Credential, Input, Known},
    learned::Learned,
    memory::{Leftover, Memory, Pending, exchange_matters},
    observe::{Content, FoundToken, Observation, Source, Target},
    ownership::{Claim, claim},
    report::{Report, report},
    restart::Restarts,
    trouble::Trouble,
};
use crate::{
    ops::events::Event,
    slots::Slot,
    squadcast::{Exchanges, Regions},
};

/// How often a reconcile looks again at once where something changed under its hands.
const ROUNDS: usize = 4;

/// Passes an event on.
pub type Tell = Box<dyn Fn(&Credential, Event) + Send + Sync>;

/// What every reconcile needs. Clock, permission and news of the resource come in as functions.
pub struct Context {
    /// For requests to the API server.
    pub client: Client,
    /// For exchanges with Squadcast.
    pub exchanges: Exchanges,
    /// The regions that the operator knows.
    pub regions: Regions,
    /// Only labelled Secrets may be read as sources.
    pub label_required: bool,
    /// The time.
    pub clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// Whether this process may exchange and write now: it leads, and is not stopping.
    pub may_act: Box<dyn Fn() -> bool + Send + Sync>,
    /// Whether a resource is still as a reconcile found it.
    pub still_wanted: Box<dyn Fn(&Input) -> bool + Send + Sync>,
    /// Whether a resource may still be written for: it has not been deleted, suspended or changed meanwhile.
    pub still_there: Box<dyn Fn(&Credential) -> bool + Send + Sync>,
    /// Passes an event on.
    pub tell: Tell,
}

impl Context {
    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    fn still_wanted(&self, input: &Input) -> bool {
        (self.may_act)() && (self.still_wanted)(input)
    }
}

/// What a reconcile leaves behind.
pub struct Done {
    /// To be given to the next one.
    pub memory: Memory,
    /// For the index.
    pub learned: Learned,
    /// When to look again without being woken.
    pub wake: Option<Timestamp>,
    /// How it ended.
    pub ending: Ending,
}

/// Carries one resource through the rooms; again at once where something has changed under its hands.
pub async fn reconcile(ctx: &Context, slot: &Slot, input: &Input, memory: Memory) -> Done {
    let mut walk = Walk::new(ctx, slot, input, memory);
    for round in 1..=ROUNDS {
        match walk.round(round == ROUNDS).await {
            Round::Again => {}
            Round::Ended(report) => return walk.conclude(report).await,
            Round::Dropped => return walk.dropped(),
            Round::Unreachable(why) => return walk.later(&why),
        }
    }
    walk.outrun()
}
