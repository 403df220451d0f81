//! The end of the process: what runs may end, and what would be lost is saved.

use std::time::Duration;

use super::Controller;
use crate::api::Key;

/// How often saving what would be lost is tried again.
const SAVE_AGAIN: Duration = Duration::from_secs(1);

impl Controller {
    /// Lets the reconciles that run end, and saves what would be lost, within the patience that is left to them.
    pub(super) async fn drain(&mut self) {
        let patience = tokio::time::sleep(self.settings.patience);
        tokio::pin!(patience);
        self.context.exchanges.close();
        // Nothing new is begun from here on.
        self.queue.forget_waiting();
        let mut next_try = tokio::time::Instant::now();
        loop {
            let unsaved = self.context.exchanges.unsaved();
            let saves = !unsaved.is_empty() && (self.context.may_act)();
            if self.tasks.is_empty() && !saves {
                unsaved.iter().for_each(lost);
                return;
            }
            if next_try <= tokio::time::Instant::now() {
                next_try = tokio::time::Instant::now() + SAVE_AGAIN;
                for key in &unsaved {
                    self.save(key);
                }
            }
            tokio::select! {
                Some(ended) = self.tasks.join_next() => if let Ok(ended) = ended { self.ended(ended); },
                () = tokio::time::sleep_until(next_try), if saves => {}
                () = &mut patience => {
                    if !self.tasks.is_empty() {
                        tracing::warn!("{} reconciles did not end in time and are dropped", self.tasks.len());
                    }
                    // Before they are dropped, and with them what they are at.
                    self.context.exchanges.unsaved().iter().for_each(lost);
                    self.tasks.shutdown().await;
                    return;
                }
            }
        }
    }

    /// Tries once more to write a replaced refresh token back, whatever the back-off.
    fn save(&mut self, key: &Key) {
        if let Ok(permit) = self.slots.clone().try_acquire_owned()
            && self.memories.last_chance(key)
        {
            self.queue.forget_waiting();
            self.queue.push(key);
            self.start(permit);
        }
    }
}

/// Says that a refresh token could not be saved before the process had to let go of it.
pub(super) fn lost(key: &Key) {
    tracing::error!(
        namespace = key.namespace(),
        name = key.name(),
        "Squadcast had replaced the refresh token, and the new one could not be written back into its Secret before the operator had to let go of it: if exchanges are rejected from now on, create a new refresh token in Squadcast's web application and store it"
    );
}

/// Says that a refresh token is not saved and that another process may lead now.
pub(super) fn put_off(key: &Key) {
    tracing::error!(
        namespace = key.namespace(),
        name = key.name(),
        "Squadcast had replaced the refresh token, and the new one was not yet written back into its Secret when the operator lost its lease: it does that when it leads again; if exchanges are rejected from now on, create a new refresh token in Squadcast's web application and store it"
    );
}
