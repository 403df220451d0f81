//! Who needs a reconcile, and when: watches keep an index, events and timers fill a queue, and a loop runs at
//! most so many reconciles at once.
//!
//! `kube::runtime::Controller` is not used: it loses deletions during a relist, keeps monotonic time, cannot
//! cancel a timer, and one reconcile that panics ends it.

mod index;
mod memories;
mod queue;
mod run;
mod timers;
mod watched;
mod watches;

pub use index::{Index, SharedIndex, WatchId};
pub use run::{Controller, Kinds, LOOK, Settings};
pub use watched::Watched;
pub use watches::{Change, News, Scope, Undecodable, Watch, Watches, secret_selectors};
