//! The resources: who names which Secret, and who contends for which target. Pure.

use std::collections::{HashSet, hash_map};

use super::{Entry, Index, WatchId, signature::of_uid, version};
use crate::{
    api::{Key, RefreshTokenRotation},
    reconcile::Credential,
};

impl Index {
    /// A resource was added or changed. Returns whom to wake.
    pub fn apply_credential(&mut self, watch: WatchId, credential: &Credential) -> Vec<Key> {
        // The texts of a key that is held already are not held twice.
        let held = self.credentials.get_key_value(&credential.key);
        let key = held.map_or_else(|| credential.key.clone(), |(key, _)| key.clone());
        self.undecodable.remove(&key);
        if let Some(seen) = self.relisted_credentials.get_mut(&watch) {
            seen.insert(key.clone());
        }
        let mut wake = Vec::new();
        let uid = of_uid(&self.hasher, &credential.uid);
        if self.credentials.get(&key).is_some_and(|previous| previous.uid != uid) {
            // Deleted and made anew while no watch looked: whoever claims the same target may have the better claim now.
            wake.extend(self.delete_credential(&key));
        }
        if let Some(previous) = self.credentials.get_mut(&key)
            && previous.resource_version > version(&credential.resource_version)
        {
            previous.watch = watch;
            return Vec::new();
        }
        let before = self.credentials.get(&key).and_then(|previous| previous.credential(&key));
        if let Some(previous) = self.credentials.get_mut(&key)
            && before.as_ref() == Some(credential)
        {
            // The echo of the operator's own status, or a list once more: to pack it again would change nothing.
            previous.watch = watch;
            return self.changed(vec![key]);
        }
        let mut entry = Entry::new(&self.hasher, watch, credential);
        self.count_write_back(before.as_ref(), Some(credential));
        if let Some(previous) = self.credentials.remove(&key) {
            // Nothing else would write it again before the token is due.
            let status_lost = credential.status.conditions.is_empty()
                && before.is_some_and(|before| !before.status.conditions.is_empty());
            entry.seen = previous.seen.filter(|_| !status_lost);
            let moved = previous.source != entry.source
                || previous.target != entry.target
                || previous.deleting != entry.deleting;
            if moved {
                wake.extend(self.unlink(&key, &previous));
                wake.extend(self.link(&key, &mut entry));
            } else {
                (entry.source, entry.target) = (previous.source, previous.target);
            }
        } else {
            wake.extend(self.link(&key, &mut entry));
        }
        self.credentials.insert(key.clone(), Box::new(entry));
        wake.push(key);
        self.changed(wake)
    }

    /// A resource is gone. Returns whom to wake.
    pub fn delete_credential(&mut self, key: &Key) -> Vec<Key> {
        self.undecodable.remove(key);
        let Some(entry) = self.credentials.remove(key) else {
            return Vec::new();
        };
        self.departed.remove(key);
        let credential = entry.credential(key);
        self.count_write_back(credential.as_ref(), None);
        let wake = self.unlink(key, &entry);
        for other in &wake {
            if let Some(credential) = &credential {
                self.departed.insert(other.clone(), credential.uid.clone());
            }
        }
        self.changed(wake)
    }

    /// Whether the target belongs to a resource that is gone or going, or writes elsewhere by now, so that it goes.
    pub(super) fn holder_leaves(&self, key: &Key, target: &Key) -> bool {
        let Some(holder) = self.secrets.facts(target).and_then(|facts| facts.controller) else {
            return false;
        };
        self.departed.get(key) == Some(&holder.uid)
            || holder.credential().is_some_and(|name| {
                let owner = Key::new(target.namespace(), name);
                self.credentials.get(&owner).is_some_and(|owner| {
                    (owner.deleting || owner.target != *target)
                        && owner.asked.unpack().is_some_and(|owner| owner.uid == holder.uid)
                })
            })
    }

    fn count_write_back(&mut self, before: Option<&Credential>, now: Option<&Credential>) {
        let writes_back =
            |c: &&Credential| c.spec.refresh_token_rotation == RefreshTokenRotation::WriteBack && !c.deleting;
        if let Some(line) = now.filter(writes_back).map(Credential::line) {
            *self.write_backs.entry(line).or_default() += 1;
        }
        if let Some(line) = before.filter(writes_back).map(Credential::line)
            && let hash_map::Entry::Occupied(mut count) = self.write_backs.entry(line)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// An object that is no resource this operator can read; what was known of it is forgotten. Where that is
    /// news, returns whom to wake.
    pub fn undecodable(&mut self, watch: WatchId, key: &Key) -> Option<Vec<Key>> {
        if let Some(seen) = self.relisted_credentials.get_mut(&watch) {
            seen.insert(key.clone());
        }
        let news = !self.undecodable.contains_key(key);
        let wake = self.delete_credential(key);
        self.undecodable.insert(key.clone(), watch);
        news.then_some(wake)
    }

    /// How many objects could not be read.
    pub fn undecodable_count(&self) -> usize {
        self.undecodable.len()
    }

    /// A list of resources begins.
    pub fn relist_credentials(&mut self, watch: WatchId) {
        self.relisted_credentials.insert(watch, HashSet::new());
    }

    /// The list is complete: what it did not show is gone. Returns whom to wake.
    pub fn credentials_listed(&mut self, watch: WatchId) -> Vec<Key> {
        let seen = self.relisted_credentials.remove(&watch).unwrap_or_default();
        let listed = self.credentials.iter().map(|(key, entry)| (key, entry.watch));
        let undecodable = self.undecodable.iter().map(|(key, watch)| (key, *watch));
        let gone: Vec<Key> = listed
            .chain(undecodable)
            .filter(|(key, of)| *of == watch && !seen.contains(*key))
            .map(|(key, _)| key.clone())
            .collect();
        gone.iter().flat_map(|key| self.delete_credential(key)).collect()
    }

    /// Notes who names which Secret. Returns the others that contend for the target.
    fn link(&mut self, key: &Key, entry: &mut Entry) -> Vec<Key> {
        for secret in [&mut entry.source, &mut entry.target] {
            *secret = self.held(secret.clone());
            self.by_secret.add(secret.clone(), key.clone());
        }
        self.contenders(key, &entry.target)
    }

    /// Forgets who names which Secret. Returns the others that contended for the target.
    fn unlink(&mut self, key: &Key, entry: &Entry) -> Vec<Key> {
        for secret in [&entry.source, &entry.target] {
            if self.by_secret.remove(secret, key) {
                self.secrets.unnamed(secret);
            }
        }
        self.contenders(key, &entry.target)
    }

    fn contenders(&self, key: &Key, target: &Key) -> Vec<Key> {
        let who = self.by_secret.of(target).iter();
        who.filter(|k| *k != key && self.credentials.get(*k).is_some_and(|e| e.target == *target))
            .cloned()
            .collect()
    }

    /// The resource with a better claim to the same target: the one that holds it, else the older, then the
    /// smaller name. One that is being deleted claims nothing; a suspended one does.
    pub(super) fn rival(&self, key: &Key, target: &Key) -> Option<Box<str>> {
        let who = self.by_secret.of(target);
        if who.len() < 2 {
            return None;
        }
        let facts = self.secrets.facts(target);
        let controller = facts.as_ref().and_then(|f| f.controller.as_ref());
        let controller = controller.map(|controller| of_uid(&self.hasher, &controller.uid));
        let rank = |key: &Key, entry: &Entry| {
            let holds = facts.as_ref().is_some_and(|f| match (controller, &f.credential) {
                (Some(controller), _) => controller == entry.uid,
                // Under `Merge` it holds what it has written by permission.
                (None, Some(name)) => **name == *key.name(),
                (None, None) => f.written_by_us() && f.allow_write_by.as_deref() == Some(key.name()),
            });
            (!holds, entry.created)
        };
        let mine = (rank(key, self.credentials.get(key)?), key.name());
        // All may claim one target, and each asks who is first: what tells is not packed.
        who.iter()
            .filter(|other| *other != key)
            .filter_map(|other| Some((other, self.credentials.get(other)?)))
            .filter(|(_, entry)| entry.target == *target && !entry.deleting)
            .map(|(other, entry)| (rank(other, entry), other.name()))
            .filter(|theirs| *theirs < mine)
            .min()
            .map(|(_, name)| name.into())
    }
}
