//! The duty to write a replaced refresh token back to where it came from.

use super::{Exchanges, board::Query};
use crate::api::Key;
use crate::squadcast::{Fingerprint, Grant};

/// A key of a Secret, and the region for which its value is a refresh token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Line {
    /// The Secret.
    pub secret: Key,
    /// The key in its data.
    pub key: Box<str>,
    /// The region.
    pub region: Box<str>,
}

/// The duty to write a refresh token back to where it came from. Until it is done or void, nothing more is sent with
/// the one that was replaced. One that is dropped is left to the next resource that reads the same and writes back.
pub struct Duty {
    exchanges: Exchanges,
    sent: Fingerprint,
    source: Line,
    holder: Key,
}

impl Duty {
    /// What the board has noted.
    pub(super) fn new(exchanges: &Exchanges, sent: Fingerprint, source: &Line, holder: &Key) -> Self {
        Self { exchanges: exchanges.clone(), sent, source: source.clone(), holder: holder.clone() }
    }

    /// What the board has noted with this answer.
    pub(super) fn noted(exchanges: &Exchanges, query: &Query, grant: &Grant) -> Option<Self> {
        let holder = query.holder.as_ref().filter(|_| query.holds(grant))?;
        Some(Self::new(exchanges, query.token, &query.source, holder))
    }

    /// Of the refresh token that was sent.
    pub fn sent(&self) -> Fingerprint {
        self.sent
    }

    /// Where to write.
    pub fn source(&self) -> &Line {
        &self.source
    }

    /// It is done, or somebody has replaced the value that was sent.
    pub fn done(&self) {
        self.exchanges.written_back(self.sent, &self.source);
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        let now = (self.exchanges.0.clock)();
        self.exchanges.0.board().release(self.sent, &self.source, &self.holder, now);
    }
}
