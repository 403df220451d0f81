//! The end of the process: what runs may end, and what would be lost is saved.

use std::time::Duration;

use super::Controller;
use crate::{controller::queue::Queue, reconcile::Key};

/// How often saving what would be lost is tried again.
const SAVE_AGAIN: Duration = Duration::from_secs(1);

impl Controller {
    /// Resources whose replaced refresh token is nowhere but in this process.
    pub(super) fn unsaved(&self) -> Vec<Key> {
        self.memories.iter().filter(|(_, known)| known.memory.unsaved()).map(|(key, _)| key.clone()).collect()
    }

    /// Lets the reconciles that run end, and saves what would be lost, within the patience that is left to them.
    pub(super) async fn drain(&mut self) {
        let patience = tokio::time::sleep(self.settings.patience);
        tokio::pin!(patience);
        self.context.exchanges.close();
        // Nothing new is begun from here on.
        self.queue = Queue::default();
        let mut next_try = tokio::time::Instant::now();
        loop {
            let unsaved = self.unsaved();
            if self.tasks.is_empty() && unsaved.is_empty() {
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
                () = tokio::time::sleep_until(next_try), if !unsaved.is_empty() => {}
                () = &mut patience => {
                    if !self.tasks.is_empty() {
                        tracing::warn!("{} reconciles did not end in time and are dropped", self.tasks.len());
                    }
                    self.tasks.shutdown().await;
                    unsaved.iter().for_each(lost);
                    return;
                }
            }
        }
    }

    /// Tries once more to write a replaced refresh token back, whatever the back-off.
    fn save(&mut self, key: &Key) {
        if let Ok(permit) = self.slots.clone().try_acquire_owned() {
            if let Some(known) = self.memories.get_mut(key) {
                known.memory.last_chance = true;
            }
            self.reconcile(key.clone(), permit);
        }
    }
}

/// Says that a refresh token could not be saved before the process had to let go of it.
pub(super) fn lost(key: &Key) {
    tracing::error!(
        namespace = &*key.namespace,
        name = &*key.name,
        "Squadcast had replaced the refresh token, and the new one could not be written back into its Secret before the operator had to let go of it: if exchanges are rejected from now on, create a new refresh token in Squadcast's web application and store it"
    );
}
