//! What is known of Secrets: facts of those that a resource names or controls, and of every other at most that its
//! name is taken. Where the watches show only labelled Secrets, these are few, and their facts are all kept. Knows no
//! resources. Pure.

use std::{
    collections::{HashMap, HashSet},
    hash::RandomState,
    num::NonZeroU32,
    sync::Arc,
};

use super::{
    WatchId,
    groups::Groups,
    packed::Packed,
    signature::{Version, of_secret, of_uid},
    strangers::Strangers,
    version,
};
use crate::{
    api::Key,
    reconcile::Known,
    secret::{SecretFacts, SecretMeta},
};

/// The facts of a Secret, and what of them is needed often.
struct AtRest {
    facts: Packed<SecretFacts>,
    resource_version: u64,
    /// [`of_secret`]
    signature: u64,
    /// [`SecretFacts::labelled`]
    labelled: bool,
    /// [`short`] of the uid of the resource that controls it.
    controller: Option<NonZeroU32>,
}

// There are two for each resource.
const _: () = assert!(size_of::<AtRest>() <= 40);

impl AtRest {
    fn new(hasher: &RandomState, facts: &SecretFacts) -> Self {
        Self {
            resource_version: version(&facts.resource_version),
            signature: of_secret(hasher, facts),
            labelled: facts.labelled(),
            controller: controller(facts).map(|uid| short(hasher, uid)),
            facts: Packed::new(facts),
        }
    }
}

pub(super) struct Secrets {
    /// Secrets that a resource names, or controls; with `by_label` all that a watch shows, and what was last read
    /// of those that a resource names and no watch shows.
    facts: HashMap<Key, AtRest>,
    /// [`short`] of the uid of a resource → Secrets that it controls.
    by_controller: Groups<NonZeroU32>,
    /// Those of `facts` that each watch has shown.
    present: HashMap<WatchId, HashSet<Key>>,
    relisted: HashMap<WatchId, HashSet<Key>>,
    strangers: Strangers,
    /// The watches show only labelled Secrets, two of them in each namespace: one for each label.
    by_label: bool,
    hasher: RandomState,
}

impl Secrets {
    pub(super) fn new(by_label: bool, hasher: RandomState) -> Self {
        Self {
            facts: HashMap::new(),
            by_controller: Groups::new(),
            present: HashMap::new(),
            relisted: HashMap::new(),
            strangers: Strangers::default(),
            by_label,
            hasher,
        }
    }

    /// A watch shows a Secret, which a resource names or not. Says whether that is news worth keeping.
    pub(super) fn apply(&mut self, watch: WatchId, key: &Key, secret: &SecretMeta, named: bool) -> bool {
        let facts = &secret.facts;
        let kept = self.keeps(controller(facts).is_some(), facts.labelled());
        if !(named || kept || self.facts.contains_key(key)) {
            self.strangers.note(key);
            return false;
        }
        if let Some(seen) = self.relisted.get_mut(&watch) {
            seen.insert(key.clone());
        }
        self.present.entry(watch).or_default().insert(key.clone());
        self.store(key, facts)
    }

    /// A watch shows a Secret no more, since this version. Says whether none does.
    pub(super) fn delete(&mut self, watch: WatchId, key: &Key, resource_version: &str) -> bool {
        for names in [self.relisted.get_mut(&watch), self.present.get_mut(&watch)].into_iter().flatten() {
            names.remove(key);
        }
        if self.facts.get(key).is_some_and(|f| f.resource_version > version(resource_version)) {
            // A former Secret of this name; what has been written since is another.
            return false;
        }
        if self.by_label && self.is_present(key) {
            // It has lost one of its two labels, which the other watch tells too.
            return false;
        }
        if self.facts.get(key).is_some_and(|facts| self.is_watched(facts.labelled)) {
            self.forget(key);
        }
        true
    }

    /// A list begins.
    pub(super) fn relist(&mut self, watch: WatchId) {
        self.relisted.insert(watch, HashSet::new());
    }

    /// The list is complete: what it did not show is forgotten. `scope` is the watch's namespace, if it has one.
    /// Returns what has gone.
    pub(super) fn listed(&mut self, watch: WatchId, scope: Option<&str>) -> Vec<Key> {
        let seen = self.relisted.remove(&watch).unwrap_or_default();
        self.present.insert(watch, seen);
        let gone: Vec<Key> = self
            .facts
            .iter()
            .filter(|(key, facts)| {
                scope.is_none_or(|ns| key.namespace() == ns)
                    && self.is_watched(facts.labelled)
                    && !self.is_present(key)
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in &gone {
            self.forget(key);
            // It may have been written after the list was made: a read tells.
            self.strangers.note(key);
        }
        gone
    }

    /// Stores facts unless newer ones are there; says whether it did.
    pub(super) fn store(&mut self, key: &Key, facts: &SecretFacts) -> bool {
        if let Some(known) = self.facts.get(key) {
            // A former Secret of this name has lower versions, too.
            if known.resource_version > version(&facts.resource_version) {
                return false;
            }
            // The echo of a write, or a list once more: to pack it again would change nothing.
            if known.signature == of_secret(&self.hasher, facts) {
                return true;
            }
        }
        self.forget(key);
        let facts = AtRest::new(&self.hasher, facts);
        if let Some(controller) = facts.controller {
            self.by_controller.add(controller, key.clone());
        }
        self.facts.insert(key.clone(), facts);
        true
    }

    /// What was read of it is in doubt, since a list does not show it: a read tells.
    pub(super) fn unshown(&mut self, key: &Key, facts: &SecretFacts) {
        if self.is_watched(facts.labelled()) {
            self.strangers.note(key);
        } else {
            // No list ever shows it.
            self.store(key, facts);
        }
    }

    /// No resource names it any more.
    pub(super) fn unnamed(&mut self, key: &Key) {
        if self.facts.get(key).is_some_and(|f| !self.keeps(f.controller.is_some(), f.labelled)) {
            self.facts.remove(key);
            self.strangers.note(key);
        }
    }

    /// What the watches have told of it.
    pub(super) fn known(&self, key: &Key) -> Known {
        match self.facts(key) {
            Some(facts) => self.as_read(Arc::new(facts)),
            None if self.by_label => Known::Unwatched(None),
            None if self.facts.contains_key(key) || self.strangers.may_hold(key) => Known::Present,
            None => Known::Absent,
        }
    }

    /// The version of [`Self::known`].
    pub(super) fn version(&self, key: &Key) -> Version {
        match self.facts.get(key) {
            Some(facts) if self.is_watched(facts.labelled) => Version::Of(facts.signature),
            None if !self.by_label && !self.strangers.may_hold(key) => Version::Absent,
            _ => Version::Unknown,
        }
    }

    /// What a read that returned these facts makes known.
    pub(super) fn as_read(&self, facts: Arc<SecretFacts>) -> Known {
        if self.is_watched(facts.labelled()) { Known::Facts(facts) } else { Known::Unwatched(Some(facts)) }
    }

    /// A read found none, and what is known is older.
    pub(super) fn missing(&mut self, key: &Key) {
        if self.facts.get(key).is_some_and(|facts| self.is_watched(facts.labelled)) {
            self.forget(key);
            // Should it be there again before a watch tells, a read does.
            self.strangers.note(key);
        }
    }

    /// What a read that found none makes known.
    pub(super) fn as_missing(&mut self, key: &Key) -> Known {
        if !self.by_label {
            return if self.strangers.may_hold(key) { Known::Present } else { Known::Absent };
        }
        if self.facts.get(key).is_some_and(|facts| !self.is_watched(facts.labelled)) {
            self.forget(key);
        }
        Known::Unwatched(None)
    }

    pub(super) fn facts(&self, key: &Key) -> Option<SecretFacts> {
        self.facts.get(key)?.facts.unpack()
    }

    /// Those that the resource of this uid controls, and `wanted` says to be of interest.
    pub(super) fn controlled_by(&self, uid: &str, wanted: impl Fn(&Key) -> bool) -> Vec<(Key, SecretFacts)> {
        self.by_controller
            .of(&short(&self.hasher, uid))
            .iter()
            .filter(|key| wanted(key))
            .filter_map(|key| Some((key.clone(), self.facts(key)?)))
            .filter(|(_, facts)| controller(facts) == Some(uid))
            .collect()
    }

    /// A watch shows, or is about to show, a Secret with or without a label.
    fn is_watched(&self, labelled: bool) -> bool {
        !self.by_label || labelled
    }

    /// The facts of such a Secret are kept although no resource names it.
    fn keeps(&self, controlled: bool, labelled: bool) -> bool {
        controlled || self.by_label && labelled
    }

    fn forget(&mut self, key: &Key) {
        if let Some(controller) = self.facts.remove(key).and_then(|facts| facts.controller) {
            self.by_controller.remove(&controller, key);
        }
    }

    /// A watch shows it.
    pub(super) fn is_present(&self, key: &Key) -> bool {
        self.present.values().any(|names| names.contains(key))
    }
}

/// A hash over a uid that is short on purpose, for there are many: who looks for a uid compares the uid itself, too.
#[allow(clippy::cast_possible_truncation, reason = "that is what it is for")]
fn short(hasher: &RandomState, uid: &str) -> NonZeroU32 {
    NonZeroU32::new(of_uid(hasher, uid).get() as u32).unwrap_or(NonZeroU32::MIN)
}

/// Uid of the resource that controls it.
fn controller(facts: &SecretFacts) -> Option<&str> {
    facts.controller.as_ref().filter(|c| c.credential().is_some()).map(|c| &*c.uid)
}
