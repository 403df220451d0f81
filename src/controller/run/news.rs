//! News from the watches go into the index, which tells whom they concern.

use tokio::sync::mpsc;

use super::{Controller, drain::lost};
use crate::{
    api::Key,
    controller::{
        index::WatchId,
        watches::{Change, News, Undecodable},
    },
    reconcile::Credential,
    secret::SecretMeta,
};

impl Controller {
    /// Takes news into the index and wakes whom it concerns.
    pub(super) fn take(&mut self, item: News, sender: &mpsc::Sender<News>) {
        let wake = match item {
            News::Credential(id, change) => self.credential(id, change, sender),
            News::Secret(id, change) => self.secret(id, change),
        };
        for key in wake {
            // One that is running is compared with the index when it ends.
            if !self.queue.is_running(&key) {
                self.queue.push(&key);
            }
        }
    }

    fn credential(
        &mut self,
        id: WatchId,
        change: Change<Box<Result<Credential, Undecodable>>>,
        sender: &mpsc::Sender<News>,
    ) -> Vec<Key> {
        let mut index = self.index.lock();
        match change {
            Change::Listing => {
                index.relist_credentials(id);
                Vec::new()
            }
            Change::Listed => {
                let wake = index.credentials_listed(id);
                drop(index);
                self.forget_the_gone();
                self.unlisted.resources.retain(|i| *i != id);
                if self.unlisted.resources.is_empty()
                    && self.watches.len() == self.settings.watches.resources.len()
                {
                    // Secrets come second: which of them matter is known by now.
                    for (id, scope) in self.settings.watches.secrets.iter().enumerate() {
                        self.watches.spawn(scope.secrets(id, sender.clone(), self.readiness.clone()));
                    }
                }
                wake
            }
            Change::Applied(object) => match *object {
                Ok(credential) => index.apply_credential(id, &credential),
                Err(Undecodable { key, error }) => {
                    if let Some(wake) = index.undecodable(id, &key) {
                        tracing::error!(
                            namespace = key.namespace(),
                            name = key.name(),
                            "this SquadcastCredential cannot be read and is left alone: {error}; correct it, or bring operator and CustomResourceDefinition to the same version"
                        );
                        wake
                    } else {
                        Vec::new()
                    }
                }
            },
            Change::Deleted(object) => {
                let key = match *object {
                    Ok(credential) => credential.key,
                    Err(undecodable) => undecodable.key,
                };
                let wake = index.delete_credential(&key);
                drop(index);
                self.forget(&key);
                wake
            }
        }
    }

    /// After a relist: what is not in the index any more needs no timer and no memory.
    fn forget_the_gone(&mut self) {
        let index = self.index.lock();
        let gone: Vec<Key> = self.memories.keys().filter(|key| !index.is_known(key)).cloned().collect();
        drop(index);
        for key in gone {
            self.forget(&key);
        }
    }

    /// Nothing is to be done for it any more.
    pub(super) fn forget(&mut self, key: &Key) {
        self.timers.set(key, None);
        if self.memories.forget(key) {
            lost(key);
        }
    }

    fn secret(&mut self, id: WatchId, change: Change<Box<SecretMeta>>) -> Vec<Key> {
        let mut index = self.index.lock();
        match change {
            Change::Listing => {
                index.relist_secrets(id);
                Vec::new()
            }
            Change::Listed => {
                self.unlisted.secrets.retain(|i| *i != id);
                index.secrets_listed(id, self.settings.watches.secrets.get(id).and_then(|w| w.namespace()))
            }
            Change::Applied(secret) => index.apply_secret(id, &secret),
            Change::Deleted(secret) => {
                let key = Key::new(secret.namespace(), secret.name());
                index.delete_secret(id, &key, &secret.facts.resource_version)
            }
        }
    }
}
