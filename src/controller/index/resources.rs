//! The resources: who names which Secret, and who contends for which target. Pure.

use std::{
    collections::{HashSet, hash_map},
    sync::Arc,
};

use super::{Entry, Index, WatchId, line, version};
use crate::{
    api::{Key, RefreshTokenRotation},
    reconcile::Credential,
};

impl Index {
    /// A resource was added or changed. Returns whom to wake.
    pub fn apply_credential(&mut self, watch: WatchId, credential: Credential) -> Vec<Key> {
        let key = credential.key.clone();
        self.undecodable.remove(&key);
        if let Some(seen) = self.relisted_credentials.get_mut(&watch) {
            seen.insert(key.clone());
        }
        self.listed_credentials.insert(key.clone(), watch);
        let previous = self.credentials.get(&key).map(|e| e.credential.clone());
        if previous.as_ref().is_some_and(|p| {
            version(&p.resource_version) > version(&credential.resource_version) && p.uid == credential.uid
        }) {
            return Vec::new();
        }
        let mut wake = Vec::new();
        let moved = previous.as_ref().is_none_or(|p| {
            p.source() != credential.source()
                || p.target() != credential.target()
                || p.deleting != credential.deleting
        });
        if moved {
            if let Some(previous) = &previous {
                wake.extend(self.unlink(previous));
            }
            for secret in [credential.source(), credential.target()] {
                let who = self.by_secret.entry(secret).or_insert_with(|| Vec::with_capacity(1));
                if !who.contains(&key) {
                    who.push(key.clone());
                }
            }
            wake.extend(self.contenders(&credential));
        }
        self.count_write_back(previous.as_deref(), Some(&credential));
        // Nothing else would write it again before the token is due.
        let status_lost = previous
            .as_ref()
            .is_some_and(|p| credential.status.conditions.is_empty() && !p.status.conditions.is_empty());
        let credential = Arc::new(credential);
        if let Some(entry) = self.credentials.get_mut(&key) {
            entry.credential = credential;
            if status_lost {
                entry.seen = None;
            }
        } else {
            let entry = Entry { credential, seen: None, deleted_meanwhile: Vec::new(), departed: None };
            self.credentials.insert(key.clone(), entry);
        }
        wake.push(key);
        self.changed(wake)
    }

    /// A resource is gone. Returns whom to wake.
    pub fn delete_credential(&mut self, key: &Key) -> Vec<Key> {
        self.undecodable.remove(key);
        self.listed_credentials.remove(key);
        let Some(entry) = self.credentials.remove(key) else {
            return Vec::new();
        };
        self.count_write_back(Some(&entry.credential), None);
        let wake = self.unlink(&entry.credential);
        for other in &wake {
            if let Some(other) = self.credentials.get_mut(other) {
                other.departed = Some(entry.credential.uid.clone());
            }
        }
        self.changed(wake)
    }

    /// Whether the target belongs to a resource that is gone or going, or writes elsewhere by now, so that it goes.
    pub(super) fn holder_leaves(&self, credential: &Credential) -> bool {
        let target = credential.target();
        let Some(holder) = self.secrets.facts(&target).and_then(|facts| facts.controller.as_ref()) else {
            return false;
        };
        let departed = self.credentials.get(&credential.key).and_then(|entry| entry.departed.as_ref());
        departed == Some(&holder.uid)
            || holder.credential().is_some_and(|name| {
                let key = Key::new(&target.namespace, name);
                self.credentials
                    .get(&key)
                    .map(|e| &e.credential)
                    .is_some_and(|c| c.uid == holder.uid && (c.deleting || c.target() != target))
            })
    }

    fn count_write_back(&mut self, before: Option<&Credential>, now: Option<&Credential>) {
        let writes_back =
            |c: &&Credential| c.spec.refresh_token_rotation == RefreshTokenRotation::WriteBack && !c.deleting;
        if let Some(line) = now.filter(writes_back).map(line) {
            *self.write_backs.entry(line).or_default() += 1;
        }
        if let Some(line) = before.filter(writes_back).map(line)
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
        let news = !self.undecodable.contains(key);
        let wake = self.delete_credential(key);
        self.listed_credentials.insert(key.clone(), watch);
        self.undecodable.insert(key.clone());
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
        let gone: Vec<Key> = self
            .listed_credentials
            .iter()
            .filter(|(key, of)| **of == watch && !seen.contains(*key))
            .map(|(key, _)| key.clone())
            .collect();
        gone.iter().flat_map(|key| self.delete_credential(key)).collect()
    }

    /// Forgets who names which Secret. Returns the others that contended for the target.
    fn unlink(&mut self, credential: &Credential) -> Vec<Key> {
        for secret in [credential.source(), credential.target()] {
            if let Some(who) = self.by_secret.get_mut(&secret) {
                who.retain(|k| *k != credential.key);
                if who.is_empty() {
                    self.by_secret.remove(&secret);
                    self.secrets.unnamed(&secret);
                }
            }
        }
        self.contenders(credential)
    }

    fn contenders(&self, credential: &Credential) -> Vec<Key> {
        let target = credential.target();
        let who = self.by_secret.get(&target).into_iter().flatten();
        who.filter(|k| {
            **k != credential.key && self.credentials.get(*k).is_some_and(|e| e.credential.target() == target)
        })
        .cloned()
        .collect()
    }

    /// The resource with a better claim to the same target: the one that holds it, else the older, then the
    /// smaller name. One that is being deleted claims nothing; a suspended one does.
    pub(super) fn rival(&self, credential: &Credential) -> Option<Arc<str>> {
        let contenders = self.contenders(credential);
        if contenders.is_empty() {
            return None;
        }
        let facts = self.secrets.facts(&credential.target());
        let rank = |c: &Credential| {
            let holds = facts.is_some_and(|f| match &f.controller {
                Some(controller) => controller.uid == c.uid,
                // Under `Merge` it holds what it has written by permission.
                None => match &f.credential {
                    Some(name) => **name == *c.key.name,
                    None => f.written_by_us() && f.allow_write_by.as_deref() == Some(&*c.key.name),
                },
            });
            (!holds, c.created, c.key.name.clone())
        };
        let mine = rank(credential);
        contenders
            .iter()
            .filter_map(|k| self.credentials.get(k))
            .map(|e| &e.credential)
            .filter(|c| !c.deleting && rank(c) < mine)
            .min_by_key(|c| rank(c))
            .map(|c| c.key.name.clone())
    }
}
