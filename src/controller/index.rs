//! What the watches have told: all resources, what is needed of the Secrets that they name, and of every other
//! Secret only that it exists. Work for each event does not grow with the number of resources. Pure.

use std::{
    collections::{BTreeSet, HashMap, HashSet, hash_map},
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    api::{RefreshTokenRotation, SquadcastCredentialStatus},
    reconcile::{Credential, Input, Key, Known},
    secret::{SecretFacts, SecretMeta},
};

/// Everything about a resource and its surroundings whose change calls for a reconcile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    uid: Box<str>,
    generation: i64,
    deleting: bool,
    renew_request: Option<Box<str>>,
    source: Version,
    target: Version,
    rival: Option<Arc<str>>,
}

/// Which version of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Version {
    Absent,
    /// One of unknown version.
    Present,
    Of(Box<str>, Box<str>),
}

impl Version {
    fn of(known: &Known) -> Self {
        match known {
            Known::Absent => Self::Absent,
            Known::Present => Self::Present,
            Known::Facts(facts) => Self::Of(facts.uid.clone(), facts.resource_version.clone()),
        }
    }
}

struct Entry {
    credential: Arc<Credential>,
    /// What the last reconcile saw; an event that changes nothing of it wakes nobody.
    seen: Option<Signature>,
    /// Secrets deleted while a reconcile ran, with the version of the deletion: what that reconcile learned of
    /// them before is void.
    deleted_meanwhile: Vec<(Key, u64)>,
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
    /// Secrets that a resource names, or controls.
    secrets: HashMap<Key, Arc<SecretFacts>>,
    /// Uid of a resource → Secrets that it controls.
    by_controller: HashMap<Box<str>, BTreeSet<Key>>,
    /// Hashes of the names of all Secrets, for each watch: 8 bytes each, whatever the Secret holds. Two names
    /// of one hash cost a GET, nothing else.
    present: HashMap<WatchId, HashSet<u64>>,
    relisted_secrets: HashMap<WatchId, HashSet<u64>>,
    relisted_credentials: HashMap<WatchId, HashSet<Key>>,
    listed_credentials: HashMap<Key, WatchId>,
    undecodable: HashSet<Key>,
    hasher: RandomState,
    /// The watches see only some of the Secrets: one that they do not show may still be there.
    partial: bool,
}

/// The index, shared with the metrics endpoint; locked for short moments only.
#[derive(Clone, Default)]
pub struct SharedIndex(Arc<Mutex<Index>>);

impl SharedIndex {
    /// Shares an index.
    pub fn new(index: Index) -> Self {
        Self(Arc::new(Mutex::new(index)))
    }

    /// Locks it. A panic elsewhere while it was locked leaves it usable: each change is complete in itself.
    pub fn lock(&self) -> MutexGuard<'_, Index> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a reconcile learned of the cluster.
#[derive(Default)]
pub struct Learned {
    /// Secrets as a read or a write returned them; `None` where there was none.
    pub secrets: Vec<(Key, Option<Arc<SecretFacts>>)>,
    /// Resource version and status of the resource, as its last write left them.
    pub status: Option<(Box<str>, SquadcastCredentialStatus)>,
}

impl Index {
    /// An index for watches that see only some of the Secrets, or all.
    pub fn new(partial: bool) -> Self {
        Self { partial, ..Self::default() }
    }

    // Resources

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
                let who = self.by_secret.entry(secret).or_default();
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
            let entry = Entry { credential, seen: None, deleted_meanwhile: Vec::new() };
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
        self.changed(wake)
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
                    if self.secrets.get(&secret).is_some_and(|f| !controlled_by_credential(f)) {
                        self.secrets.remove(&secret);
                    }
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

    // Secrets

    /// A Secret was added or changed. Returns whom to wake.
    pub fn apply_secret(&mut self, watch: WatchId, secret: SecretMeta) -> Vec<Key> {
        let key = Key::new(secret.namespace(), secret.name());
        let hash = self.hash(&key);
        if let Some(seen) = self.relisted_secrets.get_mut(&watch) {
            seen.insert(hash);
        }
        self.present.entry(watch).or_default().insert(hash);
        let named = self.by_secret.contains_key(&key);
        if named || controlled_by_credential(&secret.facts) || self.secrets.contains_key(&key) {
            if !self.store(&key, Arc::new(secret.facts)) {
                return Vec::new();
            }
            let who = self.by_secret.get(&key).cloned().unwrap_or_default();
            return self.changed(who);
        }
        Vec::new()
    }

    /// A Secret is gone. Returns whom to wake.
    pub fn delete_secret(&mut self, watch: WatchId, key: &Key, resource_version: &str) -> Vec<Key> {
        let hash = self.hash(key);
        if let Some(seen) = self.relisted_secrets.get_mut(&watch) {
            seen.remove(&hash);
        }
        if let Some(present) = self.present.get_mut(&watch) {
            present.remove(&hash);
        }
        self.forget(key);
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
        self.relisted_secrets.insert(watch, HashSet::new());
    }

    /// The list is complete: what it did not show is gone. `scope` is the watch's namespace, if it has one.
    /// Returns whom to wake.
    pub fn secrets_listed(&mut self, watch: WatchId, scope: Option<&str>) -> Vec<Key> {
        let seen = self.relisted_secrets.remove(&watch).unwrap_or_default();
        self.present.insert(watch, seen);
        let gone: Vec<Key> = self
            .secrets
            .keys()
            .filter(|key| scope.is_none_or(|ns| *key.namespace == *ns) && !self.is_present(key))
            .cloned()
            .collect();
        let mut wake = Vec::new();
        for key in gone {
            self.forget(&key);
            wake.extend(self.by_secret.get(&key).cloned().unwrap_or_default());
        }
        self.changed(wake)
    }

    /// Stores facts unless newer ones are there; says whether it did.
    fn store(&mut self, key: &Key, facts: Arc<SecretFacts>) -> bool {
        if let Some(known) = self.secrets.get(key)
            && known.uid == facts.uid
            && version(&known.resource_version) > version(&facts.resource_version)
        {
            return false;
        }
        self.forget(key);
        if let Some(controller) = facts.controller.as_ref().filter(|c| c.credential.is_some()) {
            self.by_controller.entry(controller.uid.clone()).or_default().insert(key.clone());
        }
        self.secrets.insert(key.clone(), facts);
        true
    }

    fn forget(&mut self, key: &Key) {
        let Some(facts) = self.secrets.remove(key) else {
            return;
        };
        if let Some(controller) = &facts.controller
            && let Some(owned) = self.by_controller.get_mut(&controller.uid)
        {
            owned.remove(key);
            if owned.is_empty() {
                self.by_controller.remove(&controller.uid);
            }
        }
    }

    fn hash(&self, key: &Key) -> u64 {
        self.hasher.hash_one(key)
    }

    fn is_present(&self, key: &Key) -> bool {
        let hash = self.hash(key);
        self.present.values().any(|names| names.contains(&hash))
    }

    fn known(&self, key: &Key) -> Known {
        match self.secrets.get(key) {
            Some(facts) => Known::Facts(facts.clone()),
            None if self.partial || self.is_present(key) => Known::Present,
            None => Known::Absent,
        }
    }

    // Reconciles

    /// What a reconcile of this resource starts from.
    pub fn input(&mut self, key: &Key) -> Option<Input> {
        let entry = self.credentials.get_mut(key)?;
        entry.deleted_meanwhile.clear();
        let credential = entry.credential.clone();
        let target = credential.target();
        let former = self.by_controller.get(&credential.uid).into_iter().flatten();
        Some(Input {
            source: self.known(&credential.source()),
            target: self.known(&target),
            rival: self.rival(&credential),
            writes_back: self.write_backs.contains_key(&line(&credential)),
            former_targets: former
                .filter(|k| **k != target && k.namespace == target.namespace)
                .filter_map(|k| Some((k.name.clone(), self.secrets.get(k)?.clone())))
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
                None => Known::Absent,
                Some(facts) => {
                    let void =
                        deleted.iter().any(|(k, at)| *k == secret && *at > version(&facts.resource_version));
                    if !void && self.by_secret.contains_key(&secret) {
                        self.store(&secret, facts.clone());
                    }
                    Known::Facts(facts)
                }
            };
            if secret == input.credential.source() {
                seen.source = known;
            } else if secret == input.credential.target() {
                seen.target = known;
            }
        }
        let seen = signature(&seen);
        let changed = self.signature(key).is_none_or(|now| now != seen);
        if let Some(entry) = self.credentials.get_mut(key) {
            entry.seen = Some(seen);
        }
        changed
    }

    /// Whether the resource is still as a reconcile found it: checked before an exchange that had to wait.
    pub fn still_wanted(&self, input: &Input) -> bool {
        self.credentials.get(&input.credential.key).is_some_and(|entry| {
            let now = &entry.credential;
            now.uid == input.credential.uid
                && now.generation == input.credential.generation
                && !now.deleting
                && Version::of(&self.known(&now.source())).unchanged_since(&Version::of(&input.source))
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

    fn signature(&self, key: &Key) -> Option<Signature> {
        let credential = &self.credentials.get(key)?.credential;
        Some(signature(&Input {
            source: self.known(&credential.source()),
            target: self.known(&credential.target()),
            rival: self.rival(credential),
            writes_back: false,
            former_targets: Vec::new(),
            credential: credential.clone(),
        }))
    }

    /// Those among `keys` for which something has changed since the last reconcile.
    fn changed(&self, keys: Vec<Key>) -> Vec<Key> {
        keys.into_iter()
            .filter(|key| {
                self.credentials.get(key).is_some_and(|entry| match &entry.seen {
                    None => true,
                    Some(seen) => self.signature(key).is_some_and(|now| now != *seen),
                })
            })
            .collect()
    }

    /// The resource with a better claim to the same target: the one that holds it, else the older, then the
    /// smaller name. One that is being deleted claims nothing; a suspended one does.
    fn rival(&self, credential: &Credential) -> Option<Arc<str>> {
        let contenders = self.contenders(credential);
        if contenders.is_empty() {
            return None;
        }
        let facts = self.secrets.get(&credential.target());
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

impl Version {
    fn unchanged_since(&self, before: &Self) -> bool {
        self == before || matches!((self, before), (Self::Of(..), Self::Present))
    }
}

fn signature(input: &Input) -> Signature {
    let credential = &input.credential;
    Signature {
        uid: credential.uid.clone(),
        generation: credential.generation,
        deleting: credential.deleting,
        renew_request: credential.renew_request.clone(),
        source: Version::of(&input.source),
        target: Version::of(&input.target),
        rival: input.rival.clone(),
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

fn controlled_by_credential(facts: &SecretFacts) -> bool {
    facts.controller.as_ref().is_some_and(|c| c.credential.is_some())
}

#[cfg(test)]
mod tests;
