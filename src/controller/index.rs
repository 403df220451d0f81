//! What the watches have told: all resources, what is needed of the Secrets that they name, and of every other
//! Secret at most that it exists. Work for each event does not grow with the number of resources. Pure.

mod resources;
mod secrets;
mod signature;
mod strangers;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use self::{
    secrets::Secrets,
    signature::{Signature, still_as_read},
};
use crate::{
    api::Key,
    ops::shutdown::Shutdown,
    reconcile::{Credential, Input, Known, Learned},
    secret::SecretMeta,
};

/// In place of a version: a list did not show it, which may be older or newer than what was read.
const UNSHOWN: u64 = u64::MAX;

struct Entry {
    credential: Arc<Credential>,
    /// A hash over what the last reconcile saw; an event that changes nothing of it wakes nobody.
    seen: Option<u64>,
    /// Secrets deleted while a reconcile ran, with the version of the deletion: what that reconcile learned of
    /// them before is void.
    deleted_meanwhile: Vec<(Key, u64)>,
    /// Uid of the resource that held this one's target and has been deleted.
    departed: Option<Arc<str>>,
}

/// A key of a Secret, and the region for which its value is a refresh token.
type Line = (Key, Box<str>, Box<str>);

/// One of the watches on Secrets or resources.
pub type WatchId = usize;

/// The index.
#[derive(Default)]
pub struct Index {
    credentials: HashMap<Key, Entry>,
    /// Secret → resources that name it as source or target.
    by_secret: HashMap<Key, Vec<Key>>,
    /// How many resources want a replaced refresh token written back.
    write_backs: HashMap<Line, usize>,
    secrets: Secrets,
    relisted_credentials: HashMap<WatchId, HashSet<Key>>,
    listed_credentials: HashMap<Key, WatchId>,
    undecodable: HashSet<Key>,
    hasher: RandomState,
}

/// The index, shared with the metrics endpoint; locked for short moments only.
#[derive(Clone, Default)]
pub struct SharedIndex(Arc<Mutex<Index>>);

impl SharedIndex {
    /// Shares an index.
    pub fn new(index: Index) -> Self {
        Self(Arc::new(Mutex::new(index)))
    }

    /// Tells whether an exchange is still wanted: its resource and its source are as a reconcile found them, and the
    /// process is not told to stop.
    pub fn still_wanted(&self, shutdown: &Shutdown) -> Box<dyn Fn(&Input) -> bool + Send + Sync> {
        let (index, shutdown) = (self.clone(), shutdown.clone());
        Box::new(move |input| !shutdown.is_requested() && index.lock().still_wanted(input))
    }

    /// Tells whether a resource may still be written for.
    pub fn still_there(&self) -> Box<dyn Fn(&Credential) -> bool + Send + Sync> {
        let index = self.clone();
        Box::new(move |credential| index.lock().still_there(credential))
    }

    /// Locks it. A panic elsewhere while it was locked leaves it usable: each change is complete in itself.
    pub fn lock(&self) -> MutexGuard<'_, Index> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    /// An index for watches that show only labelled Secrets, or all.
    pub fn new(by_label: bool) -> Self {
        Self { secrets: Secrets::new(by_label), ..Self::default() }
    }

    // Secrets

    /// A Secret was added or changed. Returns whom to wake.
    pub fn apply_secret(&mut self, watch: WatchId, secret: SecretMeta) -> Vec<Key> {
        let key = Key::new(secret.namespace(), secret.name());
        // The texts of a key that is held already are not held twice.
        let (key, who) = match self.by_secret.get_key_value(&key) {
            Some((held, who)) => (held.clone(), Some(who.clone())),
            None => (key, None),
        };
        if self.secrets.apply(watch, &key, secret, who.is_some()) {
            self.changed(who.unwrap_or_default())
        } else {
            Vec::new()
        }
    }

    /// A Secret is gone. Returns whom to wake.
    pub fn delete_secret(&mut self, watch: WatchId, key: &Key, resource_version: &str) -> Vec<Key> {
        if !self.secrets.delete(watch, key, resource_version) {
            return Vec::new();
        }
        let who = self.by_secret.get(key).cloned().unwrap_or_default();
        for name in &who {
            if let Some(entry) = self.credentials.get_mut(name) {
                entry.deleted_meanwhile.push((key.clone(), version(resource_version)));
            }
        }
        self.changed(who)
    }

    /// A list of Secrets begins.
    pub fn relist_secrets(&mut self, watch: WatchId) {
        self.secrets.relist(watch);
    }

    /// The list is complete: what it did not show is gone. `scope` is the watch's namespace, if it has one.
    /// Returns whom to wake.
    pub fn secrets_listed(&mut self, watch: WatchId, scope: Option<&str>) -> Vec<Key> {
        let gone = self.secrets.listed(watch, scope);
        // A reconcile that runs may have read what has gone since, or written what the list is too old to show.
        for entry in self.credentials.values_mut() {
            for secret in [entry.credential.source(), entry.credential.target()] {
                let within = scope.is_none_or(|ns| *secret.namespace == *ns);
                let unshown = (secret, UNSHOWN);
                if within
                    && !self.secrets.is_present(&unshown.0)
                    && !entry.deleted_meanwhile.contains(&unshown)
                {
                    entry.deleted_meanwhile.push(unshown);
                }
            }
        }
        self.changed(
            gone.iter().flat_map(|key| self.by_secret.get(key).into_iter().flatten()).cloned().collect(),
        )
    }

    // Reconciles

    /// What a reconcile of this resource starts from.
    pub fn input(&mut self, key: &Key) -> Option<Input> {
        let entry = self.credentials.get_mut(key)?;
        entry.deleted_meanwhile.clear();
        let credential = entry.credential.clone();
        let target = credential.target();
        let source = credential.source();
        let former = self.secrets.controlled_by(&credential.uid);
        Some(Input {
            source: self.secrets.known(&source),
            target: self.secrets.known(&target),
            rival: self.rival(&credential),
            holder_leaves: self.holder_leaves(&credential),
            writes_back: self.write_backs.contains_key(&line(&credential)),
            former_targets: former
                .filter(|(k, facts)| **k != target && **k != source && facts.written_by_us())
                .map(|(k, facts)| (k.name.clone(), facts.clone()))
                .collect(),
            credential,
        })
    }

    /// Takes over what a reconcile learned; returns true when something has changed since it looked.
    pub fn finish(&mut self, key: &Key, input: &Input, learned: Learned) -> bool {
        let Some(entry) = self.credentials.get_mut(key) else {
            return false;
        };
        let deleted = std::mem::take(&mut entry.deleted_meanwhile);
        if entry.credential.uid != input.credential.uid {
            return true;
        }
        if let Some((resource_version, status)) = learned.status
            && version(&resource_version) > version(&entry.credential.resource_version)
        {
            let credential = Arc::make_mut(&mut entry.credential);
            credential.resource_version = resource_version;
            credential.status = status;
        }
        let mut seen = input.clone();
        for (secret, facts) in learned.secrets {
            let known = match facts {
                None => {
                    // The watch has told nothing since, so the read is newer.
                    let was = if secret == input.credential.source() { &input.source } else { &input.target };
                    if self.secrets.known(&secret) == *was {
                        self.secrets.missing(&secret);
                    }
                    self.secrets.as_missing(&secret)
                }
                Some(facts) => {
                    let later =
                        |(k, at): &&(Key, u64)| *k == secret && *at > version(&facts.resource_version);
                    match deleted.iter().filter(later).map(|(_, at)| *at).max() {
                        Some(UNSHOWN) => self.secrets.unshown(&secret, &facts),
                        None if self.by_secret.contains_key(&secret) => {
                            self.secrets.store(&secret, facts.clone());
                        }
                        _ => {}
                    }
                    self.secrets.as_read(facts)
                }
            };
            if secret == input.credential.source() {
                seen.source = known;
            } else if secret == input.credential.target() {
                seen.target = known;
            }
        }
        let seen = self.hash(&seen);
        let changed = self.signature(key).is_none_or(|now| now != seen);
        if let Some(entry) = self.credentials.get_mut(key) {
            entry.seen = Some(seen);
        }
        changed
    }

    /// Whether the resource, and the source as it was read, are still as a reconcile found them: checked before an
    /// exchange that had to wait.
    pub fn still_wanted(&self, input: &Input) -> bool {
        self.credentials.get(&input.credential.key).is_some_and(|entry| {
            let now = &entry.credential;
            let source = now.source();
            let read_later =
                |at| matches!(&input.source, Known::Facts(f) if version(&f.resource_version) >= at);
            let gone = |(secret, at): &(Key, u64)| *secret == source && *at != UNSHOWN && !read_later(*at);
            now.uid == input.credential.uid
                && now.generation == input.credential.generation
                && !now.deleting
                && still_as_read(&self.secrets.known(&source), &input.source)
                && !entry.deleted_meanwhile.iter().any(gone)
        })
    }

    /// Whether the resource has been neither deleted nor suspended nor changed since: checked before a token is
    /// written, which may take long to come.
    pub fn still_there(&self, credential: &Credential) -> bool {
        self.credentials.get(&credential.key).is_some_and(|entry| {
            let now = &entry.credential;
            now.uid == credential.uid
                && now.generation == credential.generation
                && !now.deleting
                && !now.spec.suspend
        })
    }

    /// Whether there is a resource of this name.
    pub fn is_known(&self, key: &Key) -> bool {
        self.credentials.contains_key(key)
    }

    /// All resources.
    pub fn keys(&self) -> Vec<Key> {
        self.credentials.keys().cloned().collect()
    }

    /// Calls `f` with every resource.
    pub fn for_each(&self, mut f: impl FnMut(&Credential)) {
        self.credentials.values().for_each(|entry| f(&entry.credential));
    }

    fn hash(&self, input: &Input) -> u64 {
        self.hasher.hash_one(Signature::of(input))
    }

    fn signature(&self, key: &Key) -> Option<u64> {
        let credential = &self.credentials.get(key)?.credential;
        Some(self.hash(&Input {
            source: self.secrets.known(&credential.source()),
            target: self.secrets.known(&credential.target()),
            rival: self.rival(credential),
            holder_leaves: false,
            writes_back: false,
            former_targets: Vec::new(),
            credential: credential.clone(),
        }))
    }

    /// Those among `keys` for which something has changed since the last reconcile.
    fn changed(&self, keys: Vec<Key>) -> Vec<Key> {
        keys.into_iter()
            .filter(|key| {
                self.credentials.get(key).is_some_and(|entry| match entry.seen {
                    None => true,
                    Some(seen) => self.signature(key).is_some_and(|now| now != seen),
                })
            })
            .collect()
    }
}

/// Resource versions count upwards (Kubernetes: "Resource versions", comparable since 1.35, and so in practice
/// before); one that is no number counts as the oldest.
fn version(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

fn line(credential: &Credential) -> Line {
    let key = credential.spec.refresh_token_secret_ref.key.as_str();
    (credential.source(), key.into(), credential.spec.region.as_str().into())
}
