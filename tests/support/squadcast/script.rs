//! The order of the stand-in's answers, and gates that hold them back.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::watch;

use super::reply::Reply;

/// The answers to one refresh token: some in turn, then one again and again.
#[derive(Debug, Clone)]
pub struct Script {
    queue: VecDeque<Reply>,
    last: Reply,
}

impl Script {
    /// Always this answer.
    pub fn always(reply: Reply) -> Self {
        Self { queue: VecDeque::new(), last: reply }
    }

    /// These in turn, then the last of them again and again.
    pub fn of(replies: impl IntoIterator<Item = Reply>) -> Self {
        let mut queue: VecDeque<_> = replies.into_iter().collect();
        let last = queue.pop_back().expect("a script has a reply");
        Self { queue, last }
    }

    /// These in turn, then good tokens.
    pub fn first(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self { queue: replies.into_iter().collect(), last: Reply::token() }
    }

    /// What comes after those in turn.
    #[must_use]
    pub fn then(mut self, reply: Reply) -> Self {
        self.last = reply;
        self
    }

    pub(super) fn next(&mut self) -> Reply {
        self.queue.pop_front().unwrap_or_else(|| self.last.clone())
    }
}

impl From<Reply> for Script {
    fn from(reply: Reply) -> Self {
        Self::always(reply)
    }
}

/// Holds answers back until a test lets them go.
#[derive(Debug, Clone)]
pub struct Gate {
    open: Arc<watch::Sender<bool>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self { open: Arc::new(watch::Sender::new(false)) }
    }

    /// Lets go what waits, and everything later.
    pub fn release(&self) {
        self.open.send_replace(true);
    }

    /// Holds back again what comes from now on.
    pub fn close(&self) {
        self.open.send_replace(false);
    }

    pub(super) async fn passed(&self) {
        // The sender is in `self`, so the wait cannot fail.
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }
}
