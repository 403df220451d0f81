//! Whether the process is ready and alive: what its parts say, kept in memory. Touches nothing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// What the process still waits for, in words. Clones share it. Ready once nothing is waited for.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<String, String>>>);

impl Readiness {
    /// A part waits, and why; said again, the newer words replace the older. True where they are news.
    pub fn waits(&self, part: &str, why: impl Into<String>) -> bool {
        let why = why.into();
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let news = waiting.get(part) != Some(&why);
        waiting.insert(part.to_owned(), why);
        news
    }

    /// A part has what it needs. True where it waited before.
    pub fn has(&self, part: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(part).is_some()
    }

    /// Whether a part still waits.
    pub fn is_waiting(&self, part: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(part)
    }

    /// One line for each part that waits: `<part>: <why>`. Ready where there is none.
    pub fn waiting(&self) -> Vec<String> {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.iter().map(|(part, why)| format!("{part}: {why}")).collect()
    }
}

/// How long the main loop may be silent; it wakes at least every 30 s.
pub const SILENCE: Duration = Duration::from_secs(120);

/// A sign of life of the main loop. Clones share it.
///
/// That an answer comes at all proves that the one thread is not blocked. The beat proves more: that the
/// loop itself still turns. It counts from the first beat, so a loop that has not started yet is no corpse.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat(Arc<Mutex<Option<Instant>>>);

impl Heartbeat {
    /// The loop turns.
    pub fn beat(&self, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// Whether the last beat is less than [`SILENCE`] ago, or none was ever due.
    pub fn is_alive(&self, now: Instant) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_none_or(|last| now.saturating_duration_since(last) < SILENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_once_nothing_is_waited_for() {
        let readiness = Readiness::default();
        assert!(readiness.waits("watch of Secrets", "no first list yet"));
        assert!(!readiness.waits("watch of Secrets", "no first list yet"));
        assert!(readiness.waits("watch of Secrets", "forbidden"));
        assert!(readiness.waits("custom resource", "not installed"));
        assert_eq!(readiness.waiting(), ["custom resource: not installed", "watch of Secrets: forbidden"]);
        assert!(readiness.has("watch of Secrets"));
        assert!(!readiness.has("watch of Secrets"));
        assert!(!readiness.clone().waiting().is_empty());
        readiness.has("custom resource");
        assert!(readiness.waiting().is_empty());
    }

    #[test]
    fn dead_after_long_silence_only() {
        let heartbeat = Heartbeat::default();
        let start = Instant::now();
        assert!(heartbeat.is_alive(start + SILENCE * 10));
        heartbeat.beat(start);
        assert!(heartbeat.is_alive(start + SILENCE / 2));
        assert!(!heartbeat.is_alive(start + SILENCE));
        heartbeat.clone().beat(start + SILENCE);
        assert!(heartbeat.is_alive(start + SILENCE));
    }
}
