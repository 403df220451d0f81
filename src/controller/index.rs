//! What the watches have told: all resources, what is needed of the Secrets that they name, and of every other
//! Secret at most that it exists. Work for each event does not grow with the number of resources. Pure.

mod entry;
mod groups;
mod packed;
mod resources;
mod secrets;
mod shared;
mod signature;
mod strangers;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    hash::RandomState,
    num::NonZeroU64,
    sync::Arc,
};

pub use self::shared::SharedIndex;
use self::{
    entry::Entry,
    groups::Groups,
    secrets::Secrets,
    signature::{Signature, Version, of_resource, of_uid, still_as_read},
};
use crate::{
    api::Key,
    ops::metrics::CredentialSample,
    reconcile::{Credential, Input, Known, Learned},
    secret::SecretMeta,
    squadcast::Line,
};

/// Room for so many reconciles is always kept.
const FEW: usize = 64;

/// In place of a version: a list did not show it, which may be older or newer than what was read.
const UNSHOWN: u64 = u64::MAX;

/// One of the watches on Secrets or resources.
pub type WatchId = usize;

/// The index.
pub struct Index {
    credentials: HashMap<Key, Box<Entry>>,
    /// Secret → resources that name it as source or target.
    by_secret: Groups<Key>,
    /// How many resources want a replaced refresh token written back.
    write_backs: HashMap<Line, usize>,
    secrets: Secrets,
    /// Resources that a reconcile is at → Secrets of theirs that were deleted since it began, with the version of the
    /// deletion: what that reconcile learned of them before is void.
    at_work: HashMap<Key, Vec<(Key, u64)>>,
    /// Resource → uid of the one that held its target and has been deleted.
    departed: HashMap<Key, Arc<str>>,
    relisted_credentials: HashMap<WatchId, HashSet<Key>>,
    /// Objects that cannot be read, and the watch that shows them.
    undecodable: HashMap<Key, WatchId>,
    hasher: RandomState,
}

impl Index {
    /// An index for watches that show only labelled Secrets, or all.
    pub fn new(by_label: bool) -> Self {
        let hasher = RandomState::new();
        Self {
            credentials: HashMap::new(),
            by_secret: Groups::new(),
            write_backs: HashMap::new(),
            secrets: Secrets::new(by_label, hasher.clone()),
            at_work: HashMap::new(),
            departed: HashMap::new(),
            relisted_credentials: HashMap::new(),
            undecodable: HashMap::new(),
            hasher,
        }
    }

    // Secrets

    /// A Secret was added or changed. Returns whom to wake.
    pub fn apply_secret(&mut self, watch: WatchId, secret: &SecretMeta) -> Vec<Key> {
        let key = Key::new(secret.namespace(), secret.name());
        let key = self.held(key);
        if self.secrets.apply(watch, &key, secret, self.by_secret.held(&key).is_some()) {
            self.changed(self.by_secret.of(&key).to_vec())
        } else {
            Vec::new()
        }
    }

    /// A Secret is gone. Returns whom to wake.
    pub fn delete_secret(&mut self, watch: WatchId, key: &Key, resource_version: &str) -> Vec<Key> {
        if !self.secrets.delete(watch, key, resource_version) {
            return Vec::new();
        }
        let who = self.by_secret.of(key).to_vec();
        for name in &who {
            if let Some(deleted) = self.at_work.get_mut(name) {
                deleted.push((key.clone(), version(resource_version)));
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
        for (key, deleted) in &mut self.at_work {
            let secrets =
                self.credentials.get(key).into_iter().flat_map(|entry| [&entry.source, &entry.target]);
            for secret in secrets {
                let within = scope.is_none_or(|ns| secret.namespace() == ns);
                let unshown = (secret.clone(), UNSHOWN);
                if within && !self.secrets.is_present(secret) && !deleted.contains(&unshown) {
                    deleted.push(unshown);
                }
            }
        }
        self.changed(gone.iter().flat_map(|key| self.by_secret.of(key)).cloned().collect())
    }

    // Reconciles

    /// What a reconcile of this resource starts from.
    pub fn input(&mut self, key: &Key) -> Option<Input> {
        let entry = self.credentials.get(key)?;
        let credential = entry.credential(key)?;
        self.at_work.insert(key.clone(), Vec::new());
        let (source, target) = (entry.source.clone(), entry.target.clone());
        let former = self.secrets.controlled_by(&credential.uid, |key| *key != target && *key != source);
        Some(Input {
            source: self.secrets.known(&source),
            target: self.secrets.known(&target),
            rival: self.rival(key, &target),
            holder_leaves: self.holder_leaves(key, &target),
            writes_back: self.write_backs.contains_key(&credential.line()),
            former_targets: former
                .into_iter()
                .filter(|(_, facts)| facts.written_by_us())
                .map(|(key, facts)| (key, Arc::new(facts)))
                .collect(),
            credential: Arc::new(credential),
        })
    }

    /// Takes over what a reconcile learned; returns true when something has changed since it looked.
    pub fn finish(&mut self, key: &Key, input: &Input, learned: Learned) -> bool {
        let deleted = self.ended(key);
        let Some(entry) = self.credentials.get_mut(key) else {
            return false;
        };
        if entry.uid != of_uid(&self.hasher, &input.credential.uid) {
            return true;
        }
        if let Some((resource_version, status)) = learned.status
            && version(&resource_version) > entry.resource_version
        {
            entry.wrote(resource_version, status);
        }
        let (source, target) = (input.credential.source(), input.credential.target());
        let mut seen = Signature {
            resource: of_resource(&self.hasher, &input.credential),
            source: Version::of(&self.hasher, &input.source),
            target: Version::of(&self.hasher, &input.target),
            rival: input.rival.as_deref(),
        };
        for (secret, facts) in learned.secrets {
            let secret = self.held(secret);
            let known = match facts {
                None => {
                    // The watch has told nothing since, so the read is newer.
                    let was = if secret == source { &input.source } else { &input.target };
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
                        None if self.by_secret.held(&secret).is_some() => {
                            self.secrets.store(&secret, &facts);
                        }
                        _ => {}
                    }
                    self.secrets.as_read(facts)
                }
            };
            let version = Version::of(&self.hasher, &known);
            if secret == source {
                seen.source = version;
            } else if secret == target {
                seen.target = version;
            }
        }
        let seen = seen.digest(&self.hasher);
        let changed = self.signature(key).is_none_or(|now| now != seen);
        if let Some(entry) = self.credentials.get_mut(key) {
            entry.seen = Some(seen);
        }
        changed
    }

    /// The reconcile of this resource came to no end.
    pub fn gave_up(&mut self, key: &Key) {
        self.ended(key);
    }

    /// No reconcile runs any more.
    pub fn all_gave_up(&mut self) {
        self.at_work = HashMap::new();
    }

    /// No reconcile is at it any more; tells what was deleted since it began.
    fn ended(&mut self, key: &Key) -> Vec<(Key, u64)> {
        let deleted = self.at_work.remove(key).unwrap_or_default();
        if self.at_work.is_empty() {
            // Those that wait for an exchange are at work too: after a wave of them there is room for all.
            self.at_work.shrink_to(FEW);
        }
        deleted
    }

    /// Whether the resource, and the source as it was read, are still as a reconcile found them: checked before an
    /// exchange that had to wait.
    pub fn still_wanted(&self, input: &Input) -> bool {
        let Some(entry) = self.credentials.get(&input.credential.key) else {
            return false;
        };
        let source = &entry.source;
        let read_later = |at| matches!(&input.source, Known::Facts(f) if version(&f.resource_version) >= at);
        let gone = |(secret, at): &(Key, u64)| secret == source && *at != UNSHOWN && !read_later(*at);
        entry.asked.unpack().is_some_and(|now| is_as_it_was(&now, &input.credential))
            && still_as_read(&self.hasher, &self.secrets.known(source), &input.source)
            && !self.at_work.get(&input.credential.key).into_iter().flatten().any(gone)
    }

    /// Whether the resource has been neither deleted nor suspended nor changed since: checked before a token is
    /// written, which may take long to come.
    pub fn still_there(&self, credential: &Credential) -> bool {
        let now = self.credentials.get(&credential.key).and_then(|entry| entry.asked.unpack());
        now.is_some_and(|now| is_as_it_was(&now, credential) && !now.spec.suspend)
    }

    /// Whether there is a resource of this name.
    pub fn is_known(&self, key: &Key) -> bool {
        self.credentials.contains_key(key)
    }

    /// All resources.
    pub fn keys(&self) -> Vec<Key> {
        self.credentials.keys().cloned().collect()
    }

    /// Calls `f` with what the metrics show of every resource.
    pub fn for_each(&self, mut f: impl FnMut(&Key, &CredentialSample)) {
        self.credentials.iter().for_each(|(key, entry)| f(key, &entry.sample));
    }

    fn signature(&self, key: &Key) -> Option<NonZeroU64> {
        let entry = self.credentials.get(key)?;
        let rival = self.rival(key, &entry.target);
        let now = Signature {
            resource: entry.signature,
            source: self.secrets.version(&entry.source),
            target: self.secrets.version(&entry.target),
            rival: rival.as_deref(),
        };
        Some(now.digest(&self.hasher))
    }

    /// The key of a Secret, of which the text is not held twice.
    fn held(&self, secret: Key) -> Key {
        self.by_secret.held(&secret).cloned().unwrap_or(secret)
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

/// Neither deleted nor changed by its user since.
fn is_as_it_was(now: &Credential, before: &Credential) -> bool {
    now.uid == before.uid && now.generation == before.generation && !now.deleting
}

/// Resource versions count upwards (Kubernetes: "Resource versions", comparable since 1.35, and so in practice
/// before); one that is no number counts as the oldest.
fn version(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}
